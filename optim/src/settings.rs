//! How an optimizer is declared: its rule, and its settings as methods.

/// Declares an optimizer: the type, its rule as a struct of the settings, `new`, and one method for each setting, which
/// the optimizer has and so have its parameter groups.
///
/// A setting is `name: kind = default`. The kinds: `non_negative`, `positive`, `finite` and `fraction` (at least 0,
/// below 1) are `f64`, `count` is `u32`, `flag` is `bool`, and `betas` are two fractions.
macro_rules! optimizer {
    (
        $(#[$doc:meta])*
        $Optimizer:ident = $Rule:ident, lr: $lr:literal
        $(, $(#[$about:meta])* $setting:ident: $kind:ident = $default:expr)* $(,)?
    ) => {
        $(#[$doc])*
        pub type $Optimizer = $crate::optimizer::Stepper<$Rule>;

        #[doc = concat!("The rule of [`", stringify!($Optimizer), "`].")]
        ///
        /// ```
        #[doc = concat!("use wengert_optim::{", stringify!($Optimizer), ", ", stringify!($Rule), ", Stepper};")]
        #[doc = concat!("let opt: Stepper<", stringify!($Rule), "> = ", stringify!($Optimizer), "::new([]);")]
        /// assert_eq!(opt.parameters().count(), 0);
        /// ```
        #[derive(Clone, Debug)]
        pub struct $Rule {
            $($setting: setting!(@type $kind),)*
        }

        impl $Optimizer {
            #[doc = concat!("An optimizer of these parameters, with learning rate ", stringify!($lr), " unless set.")]
            #[track_caller]
            pub fn new(params: impl IntoIterator<Item = wengert_nn::Param>) -> Self {
                let rule = $Rule { $($setting: $default,)* };
                $crate::optimizer::Stepper::with_rule(rule, params, $lr)
            }
        }

        impl $Rule {
            /// All settings by name.
            fn settings(&self) -> Vec<(&'static str, f64)> {
                [$(setting!(@list $kind, stringify!($setting), self.$setting)),*].concat()
            }
        }

        impl $crate::optimizer::Stepper<$Rule> {
            $(setting!(@method $kind, $(#[$about])* $setting, $default);)*
        }

        impl $crate::optimizer::Group<$Rule> {
            $(setting!(@method $kind, $(#[$about])* $setting, $default);)*
        }
    };
}

/// The parts of [`optimizer!`] that depend on the kind of a setting.
macro_rules! setting {
    (@type betas) => { (f64, f64) };
    (@type count) => { u32 };
    (@type flag) => { bool };
    (@type $number:ident) => { f64 };

    (@list betas, $name:expr, $value:expr) => { vec![("beta1", $value.0), ("beta2", $value.1)] };
    (@list $kind:ident, $name:expr, $value:expr) => { vec![($name, f64::from($value))] };

    (@method betas, $(#[$doc:meta])* $name:ident, $default:expr) => {
        $(#[$doc])*
        #[doc = concat!(" `", stringify!($default), "` unless set.")]
        ///
        /// # Panics
        /// If one is not in `[0, 1)`.
        #[track_caller]
        pub fn $name(self, beta1: f64, beta2: f64) -> Self {
            let fits = |b: f64| (0.0..1.0).contains(&b);
            assert!(fits(beta1) && fits(beta2), "betas {beta1} and {beta2} are not both in [0, 1)");
            self.with(|rule| rule.$name = (beta1, beta2))
        }
    };
    (@method count, $(#[$doc:meta])* $name:ident, $default:expr) => {
        $(#[$doc])*
        #[doc = concat!(" ", stringify!($default), " unless set.")]
        pub fn $name(self, $name: u32) -> Self {
            self.with(|rule| rule.$name = $name)
        }
    };
    (@method flag, $(#[$doc:meta])* $name:ident, $default:expr) => {
        $(#[$doc])*
        #[doc = concat!(" `", stringify!($default), "` unless set.")]
        pub fn $name(self, $name: bool) -> Self {
            self.with(|rule| rule.$name = $name)
        }
    };
    (@method non_negative, $($rest:tt)*) => {
        setting!(@number |x: f64| x >= 0.0 && x.is_finite(), "negative or not finite", $($rest)*);
    };
    (@method positive, $($rest:tt)*) => {
        setting!(@number |x: f64| x > 0.0 && x.is_finite(), "not above 0 or not finite", $($rest)*);
    };
    (@method finite, $($rest:tt)*) => {
        setting!(@number |x: f64| x.is_finite(), "not finite", $($rest)*);
    };
    (@method fraction, $($rest:tt)*) => {
        setting!(@number |x: f64| (0.0..1.0).contains(&x), "not in [0, 1)", $($rest)*);
    };
    (@number $fits:expr, $problem:literal, $(#[$doc:meta])* $name:ident, $default:expr) => {
        $(#[$doc])*
        #[doc = concat!(" ", stringify!($default), " unless set.")]
        ///
        /// # Panics
        #[doc = concat!("If it is ", $problem, ".")]
        #[track_caller]
        pub fn $name(self, $name: f64) -> Self {
            let fits: fn(f64) -> bool = $fits;
            assert!(fits($name), concat!(stringify!($name), " {} is ", $problem), $name);
            self.with(|rule| rule.$name = $name)
        }
    };
}

pub(crate) use {optimizer, setting};
