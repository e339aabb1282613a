//! Random tensors.
//!
//! An operation is told the key and the position of its numbers as attributes, so a recorded call can be repeated.

use smallvec::SmallVec;

use crate::attrs;
use crate::dispatch::{Attrs, Gradient, Op, apply1};
use crate::dtype::{DType, default_dtype, with_dtype};
use crate::error::{Error, ErrorKind, Result, or_panic};
use crate::kernels::{copy, random};
use crate::kind::{Bool, Int, Kind};
use crate::ops::elementwise::demand_float;
use crate::ops::twin;
use crate::par::Par;
use crate::random::{OfThread, Rng, Source};
use crate::registry::{FLOATS, Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::{IntoDims, checked_shape};
use crate::storage::Storage;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&UNIFORM, &NORMAL, &RANDINT, &RANDPERM, &BERNOULLI, &MULTINOMIAL];

/// The attributes of a draw of `n` elements: those given, and which numbers it takes.
pub(crate) fn numbered(attrs: Attrs, source: impl Source, n: usize) -> Attrs {
    let (key, counter) = source.reserve(n as u64);
    attrs.with("key", key as i64).with("counter", counter as i64)
}

/// The key and the position that [`numbered`] gave.
pub(crate) fn place(attrs: &Attrs) -> (u64, u64) {
    (attrs.int("key") as u64, attrs.int("counter") as u64)
}

/// How many numbers a draw of this shape takes; a shape that is refused later takes none.
fn count(shape: &[isize]) -> usize {
    checked_shape(shape).map_or(0, |s| s.elements())
}

/// The elements in `F64`, dense.
fn doubles(x: &AnyTensor) -> Storage {
    let n = x.elements();
    Storage::filled(n, |out| {
        let to = copy::Receiver::<f64>::new(out);
        with_dtype!(float x.dtype(), T => copy::cast::<T>(x.storage().slice(), x.layout(), &to, &Par::of(n)));
    })
}

fn bad(message: String, help: &str) -> Error {
    Error::new(message).kind_of(ErrorKind::Value).help(help)
}

/// Attributes of a sample: some numbers of some key.
fn sample_place(g: &mut Gen, attrs: Attrs) -> Attrs {
    attrs.with("key", g.below(1000)).with("counter", g.below(1000))
}

/// Defines a draw as methods of the tensor type, from the default generator, and of [`Rng`].
macro_rules! draws {
    ($(
        $On:ty {
            $(#[$doc:meta])*
            $name:ident / $try_name:ident ($($arg:ident: $ty:ty),*) -> $ret:ty = $draw:ident($($given:expr),*)
        }
    )*) => {$(
        impl $On {
            $(#[$doc])*
            #[track_caller]
            pub fn $name($($arg: $ty),*) -> $ret {
                or_panic($draw(OfThread, $($given),*))
            }

            #[doc = concat!("Fallible form of [`", stringify!($name), "`](Self::", stringify!($name), ").")]
            ///
            /// # Errors
            /// Where the other form panics.
            #[track_caller]
            pub fn $try_name($($arg: $ty),*) -> Result<$ret> {
                $draw(OfThread, $($given),*)
            }
        }

        impl Rng {
            #[doc = concat!("[`", stringify!($On), "::", stringify!($name), "`] from this generator.")]
            ///
            /// # Panics
            #[doc = concat!("Where [`", stringify!($On), "::", stringify!($name), "`] does.")]
            #[track_caller]
            pub fn $name(&mut self $(, $arg: $ty)*) -> $ret {
                or_panic($draw(self, $($given),*))
            }

            #[doc = concat!("[`", stringify!($On), "::", stringify!($try_name), "`] from this generator.")]
            ///
            /// # Errors
            #[doc = concat!("Where [`", stringify!($On), "::", stringify!($name), "`] panics.")]
            #[track_caller]
            pub fn $try_name(&mut self $(, $arg: $ty)*) -> Result<$ret> {
                $draw(self, $($given),*)
            }
        }
    )*};
}

/// The operation of [`Tensor::uniform`] and [`Tensor::rand`].
pub(crate) static UNIFORM: Op = Op {
    name: "uniform",
    operands: &[],
    forward: |call| {
        let attrs = call.attrs();
        let (low, high, dtype) = (attrs.float("low"), attrs.float("high"), attrs.dtype("dtype"));
        demand_float(dtype)?;
        let (key, counter) = place(attrs);
        let shape = checked_shape(&attrs.ints("shape"))?;
        if !(low < high && (high - low).is_finite()) {
            return Err(bad(
                format!("low {low} is not below high {high}"),
                "give two finite numbers, the smaller first",
            ));
        }
        let n = shape.elements();
        let storage = with_dtype!(float dtype, T => {
            let mut storage = Storage::stale::<T>(n);
            let out = &mut storage.unique_mut::<T>().expect("a fresh buffer is unique")[..n];
            random::uniform(out, low, high, key, counter, &Par::of(n));
            storage
        });
        Ok(AnyTensor::dense(storage, shape, dtype).into())
    },
    gradient: Gradient::NotFloat,
    info: || OpInfo {
        family: Family::Random,
        numpy: "random.uniform",
        torch: "rand",
        precisions: FLOATS,
        samples: |g| {
            let shape = g.shape(0, 3);
            let attrs = attrs! { low: -1.0, high: 2.0, shape: &shape[..], dtype: g.dtype };
            vec![Sample::new([], sample_place(g, attrs))]
        },
        specials: |_| Vec::new(),
        misuses: || {
            let call = |low: f64, high: f64, size: i64| {
                attrs! { low: low, high: high, shape: [size], dtype: DType::F32, key: 0i64, counter: 0i64 }
            };
            vec![
                Misuse::new([], call(1.0, 1.0, 2), "low 1 is not below high 1"),
                Misuse::new([], call(0.0, f64::NAN, 2), "low 0 is not below high NaN"),
                Misuse::new([], call(0.0, 1.0, -2), "size -2 on axis 0 is negative"),
            ]
        },
    },
};

#[track_caller]
fn draw_uniform(from: impl Source, low: f64, high: f64, shape: impl IntoDims, dtype: DType) -> Result<Tensor> {
    let shape = shape.into_dims(0);
    let n = count(&shape);
    let attrs = attrs! { low: low, high: high, shape: shape, dtype: dtype };
    apply1(&UNIFORM, numbered(attrs, from, n), &mut [])
}

draws! {
    Tensor {
        /// Random numbers, uniform in `[0, 1)`.
        ///
        /// # Panics
        /// If a size is negative, or there are more elements than memory can address.
        ///
        /// ```
        /// use wengert_tensor::{Tensor, manual_seed};
        /// manual_seed(1);
        /// let x = Tensor::rand([2, 3]);
        /// assert!(x.min().item() >= 0.0 && x.max().item() < 1.0);
        /// ```
        rand / try_rand(shape: impl IntoDims) -> Tensor = draw_uniform(0.0, 1.0, shape, default_dtype())
    }
    Tensor {
        /// Random numbers, uniform in `[low, high)`.
        ///
        /// # Panics
        /// If `low` is not below `high` or their distance is not finite, a size is negative, or there are more elements
        /// than memory can address.
        ///
        /// ```
        /// use wengert_tensor::Tensor;
        /// let x = Tensor::uniform(-0.1, 0.1, [100]);
        /// assert!(x.abs().max().item() <= 0.1);
        /// ```
        uniform / try_uniform(low: f64, high: f64, shape: impl IntoDims) -> Tensor
            = draw_uniform(low, high, shape, default_dtype())
    }
}

/// The operation of [`Tensor::normal`] and [`Tensor::randn`].
pub(crate) static NORMAL: Op = Op {
    name: "normal",
    operands: &[],
    forward: |call| {
        let attrs = call.attrs();
        let (mean, std, dtype) = (attrs.float("mean"), attrs.float("std"), attrs.dtype("dtype"));
        demand_float(dtype)?;
        let (key, counter) = place(attrs);
        let shape = checked_shape(&attrs.ints("shape"))?;
        if !(mean.is_finite() && std.is_finite() && std >= 0.0) {
            let e = format!("mean {mean} and standard deviation {std} give no normal distribution");
            return Err(bad(e, "give a finite mean and a standard deviation that is finite and not negative"));
        }
        let n = shape.elements();
        let storage = with_dtype!(float dtype, T => {
            let mut storage = Storage::stale::<T>(n);
            let out = &mut storage.unique_mut::<T>().expect("a fresh buffer is unique")[..n];
            random::normal(out, mean, std, key, counter, &Par::of(n));
            storage
        });
        Ok(AnyTensor::dense(storage, shape, dtype).into())
    },
    gradient: Gradient::NotFloat,
    info: || OpInfo {
        family: Family::Random,
        numpy: "random.normal",
        torch: "randn",
        precisions: FLOATS,
        samples: |g| {
            let shape = g.shape(0, 3);
            let attrs = attrs! { mean: 1.0, std: 0.5, shape: &shape[..], dtype: g.dtype };
            vec![Sample::new([], sample_place(g, attrs))]
        },
        specials: |_| Vec::new(),
        misuses: || {
            let call = |mean: f64, std: f64, size: i64| {
                attrs! { mean: mean, std: std, shape: [size], dtype: DType::F32, key: 0i64, counter: 0i64 }
            };
            vec![
                Misuse::new([], call(0.0, -1.0, 2), "mean 0 and standard deviation -1 give no normal distribution"),
                Misuse::new([], call(f64::NAN, 1.0, 2), "mean NaN and standard deviation 1"),
                Misuse::new([], call(0.0, 1.0, -2), "size -2 on axis 0 is negative"),
            ]
        },
    },
};

#[track_caller]
fn draw_normal(from: impl Source, mean: f64, std: f64, shape: impl IntoDims, dtype: DType) -> Result<Tensor> {
    let shape = shape.into_dims(0);
    let n = count(&shape);
    let attrs = attrs! { mean: mean, std: std, shape: shape, dtype: dtype };
    apply1(&NORMAL, numbered(attrs, from, n), &mut [])
}

draws! {
    Tensor {
        /// Random numbers from the standard normal distribution. Always finite.
        ///
        /// # Panics
        /// If a size is negative, or there are more elements than memory can address.
        ///
        /// ```
        /// use wengert_tensor::{Tensor, manual_seed};
        /// manual_seed(1);
        /// assert!(Tensor::randn([10_000]).mean().item().abs() < 0.05);
        /// ```
        randn / try_randn(shape: impl IntoDims) -> Tensor = draw_normal(0.0, 1.0, shape, default_dtype())
    }
    Tensor {
        /// Random numbers from the normal distribution with this mean and standard deviation.
        ///
        /// # Panics
        /// If the mean is not finite, the standard deviation negative or not finite, a size negative, or there are more
        /// elements than memory can address.
        ///
        /// ```
        /// use wengert_tensor::Tensor;
        /// let x = Tensor::normal(5.0, 0.1, [100]);
        /// assert!((x.mean().item() - 5.0).abs() < 0.1);
        /// ```
        normal / try_normal(mean: f64, std: f64, shape: impl IntoDims) -> Tensor
            = draw_normal(mean, std, shape, default_dtype())
    }
}

twin! {
    impl [] Tensor {
        /// [`rand`](Self::rand) of this tensor's shape and precision.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert!(tensor![1.0, 2.0].rand_like().max().item() < 1.0);
        /// ```
        pub fn rand_like / try_rand_like(&self) -> Tensor {
            draw_uniform(OfThread, 0.0, 1.0, self.shape(), self.dtype())
        }

        /// [`uniform`](Self::uniform) of this tensor's shape and precision.
        ///
        /// # Panics
        /// If `low` is not below `high`, or their distance is not finite.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert!(tensor![1.0, 2.0].uniform_like(3.0, 4.0).min().item() >= 3.0);
        /// ```
        pub fn uniform_like / try_uniform_like(&self, low: f64, high: f64) -> Tensor {
            draw_uniform(OfThread, low, high, self.shape(), self.dtype())
        }

        /// [`randn`](Self::randn) of this tensor's shape and precision.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![1.0, 2.0].randn_like().elements(), 2);
        /// ```
        pub fn randn_like / try_randn_like(&self) -> Tensor {
            draw_normal(OfThread, 0.0, 1.0, self.shape(), self.dtype())
        }

        /// [`normal`](Self::normal) of this tensor's shape and precision.
        ///
        /// # Panics
        /// If the mean is not finite, or the standard deviation negative or not finite.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert!(tensor![1.0, 2.0].normal_like(50.0, 0.1).min().item() > 40.0);
        /// ```
        pub fn normal_like / try_normal_like(&self, mean: f64, std: f64) -> Tensor {
            draw_normal(OfThread, mean, std, self.shape(), self.dtype())
        }
    }
}

/// The operation of [`Int::randint`].
pub(crate) static RANDINT: Op = Op {
    name: "randint",
    operands: &[],
    forward: |call| {
        let attrs = call.attrs();
        let (low, high) = (attrs.int("low") as i64, attrs.int("high") as i64);
        let (key, counter) = place(attrs);
        let shape = checked_shape(&attrs.ints("shape"))?;
        if low >= high {
            return Err(bad(format!("low {low} is not below high {high}"), "`high` itself is never drawn"));
        }
        let n = shape.elements();
        let mut storage = Storage::stale::<i64>(n);
        let out = &mut storage.unique_mut::<i64>().expect("a fresh buffer is unique")[..n];
        random::integers(out, low, high, key, counter, &Par::of(n));
        Ok(AnyTensor::dense(storage, shape, DType::I64).into())
    },
    gradient: Gradient::NotFloat,
    info: || OpInfo {
        family: Family::Random,
        numpy: "random.randint",
        torch: "randint",
        precisions: &[DType::I64],
        samples: |g| {
            let (shape, low) = (g.shape(0, 3), g.below(5) as i64 - 5);
            let attrs = attrs! { low: low, high: low + 3, shape: &shape[..] };
            vec![Sample::new([], sample_place(g, attrs))]
        },
        specials: |g| {
            let attrs = attrs! { low: i64::MIN, high: i64::MAX, shape: [3i64] };
            vec![Sample::new([], sample_place(g, attrs))]
        },
        misuses: || {
            let attrs = attrs! { low: 3i64, high: 3i64, shape: [2i64], key: 0i64, counter: 0i64 };
            vec![Misuse::new([], attrs, "low 3 is not below high 3")]
        },
    },
};

#[track_caller]
fn draw_integers(from: impl Source, low: i64, high: i64, shape: impl IntoDims) -> Result<Tensor<Int>> {
    let shape = shape.into_dims(0);
    let n = count(&shape);
    apply1(&RANDINT, numbered(attrs! { low: low, high: high, shape: shape }, from, n), &mut [])
}

/// The operation of [`Int::randperm`].
pub(crate) static RANDPERM: Op = Op {
    name: "randperm",
    operands: &[],
    forward: |call| {
        let attrs = call.attrs();
        let (key, counter) = place(attrs);
        let shape = checked_shape(&[attrs.int("n")])?;
        let n = shape.elements();
        let mut storage = Storage::stale::<i64>(n);
        random::permutation(&mut storage.unique_mut::<i64>().expect("a fresh buffer is unique")[..n], key, counter);
        Ok(AnyTensor::dense(storage, shape, DType::I64).into())
    },
    gradient: Gradient::NotFloat,
    info: || OpInfo {
        family: Family::Random,
        numpy: "random.permutation",
        torch: "randperm",
        precisions: &[DType::I64],
        samples: |g| {
            let attrs = attrs! { n: g.below(6) };
            vec![Sample::new([], sample_place(g, attrs))]
        },
        specials: |_| Vec::new(),
        misuses: || {
            let attrs = attrs! { n: -1i64, key: 0i64, counter: 0i64 };
            vec![Misuse::new([], attrs, "size -1 on axis 0 is negative")]
        },
    },
};

#[track_caller]
fn draw_permutation(from: impl Source, n: usize) -> Result<Tensor<Int>> {
    apply1(&RANDPERM, numbered(attrs! { n: n }, from, n), &mut [])
}

draws! {
    Int {
        /// Random integers from `low` up to but not including `high`, each as likely as any other.
        ///
        /// # Panics
        /// If `low` is not below `high`, a size is negative, or there are more elements than memory can address.
        ///
        /// ```
        /// use wengert_tensor::Int;
        /// let dice = Int::randint(1, 7, [100]);
        /// assert!(dice.min().item() >= 1 && dice.max().item() <= 6);
        /// ```
        randint / try_randint(low: i64, high: i64, shape: impl IntoDims) -> Tensor<Int>
            = draw_integers(low, high, shape)
    }
    Int {
        /// The integers `0..n` in random order, each order as likely as any other.
        ///
        /// # Panics
        /// If there are more elements than memory can address.
        ///
        /// ```
        /// use wengert_tensor::Int;
        /// assert_eq!(Int::randperm(5).sum().item(), 10);
        /// ```
        randperm / try_randperm(n: usize) -> Tensor<Int> = draw_permutation(n)
    }
}

/// The operation of [`Bool::bernoulli`] and [`Tensor::bernoulli`].
pub(crate) static BERNOULLI: Op = Op {
    name: "bernoulli",
    operands: &["probabilities"],
    forward: |call| {
        let (key, counter) = place(call.attrs());
        let p = call.input(0);
        demand_float(p.dtype())?;
        let n = p.elements();
        let values = doubles(p);
        let values = &values.slice::<f64>()[..n];
        if !random::all_within(values, 0.0, 1.0)
            && let Some(i) = values.iter().position(|v| !(0.0..=1.0).contains(v))
        {
            let e = format!("probability {} of element {i} is not between 0 and 1", values[i]);
            return Err(bad(e, "logits become probabilities with sigmoid()"));
        }
        let mut storage = Storage::stale::<u8>(n);
        let out = &mut storage.unique_mut::<u8>().expect("a fresh buffer is unique")[..n];
        random::bernoulli(out, values, key, counter, &Par::of(n));
        Ok(AnyTensor::dense(storage, p.shape().clone(), DType::Bool).into())
    },
    gradient: Gradient::NotFloat,
    info: || OpInfo {
        family: Family::Random,
        numpy: "random.binomial",
        torch: "bernoulli",
        precisions: FLOATS,
        samples: |g| {
            let shape = g.shape(0, 3);
            let p = g.numbers(&shape, 0.0, 1.0);
            vec![Sample::new([p], sample_place(g, Attrs::NONE))]
        },
        specials: |g| {
            let p = g.tensor(&[0.0, 1.0], &[2].into());
            vec![Sample::new([p], sample_place(g, Attrs::NONE))]
        },
        misuses: || {
            let p = |p: f64| -> AnyTensor { Tensor::from_vec(vec![0.5, p], [2]).into() };
            let place = attrs! { key: 0i64, counter: 0i64 };
            vec![
                Misuse::new([p(-0.5)], place.clone(), "probability -0.5 of element 1 is not between 0 and 1"),
                Misuse::new([p(f64::NAN)], place, "probability NaN of element 1 is not between 0 and 1"),
            ]
        },
    },
};

#[track_caller]
fn draw_bernoulli(from: impl Source, p: &Tensor) -> Result<Tensor<Bool>> {
    apply1(&BERNOULLI, numbered(Attrs::NONE, from, p.elements()), &mut [p.into()])
}

#[track_caller]
fn draw_equal_bernoulli(from: impl Source, p: f64, shape: impl IntoDims) -> Result<Tensor<Bool>> {
    draw_bernoulli(from, &Tensor::try_full(shape, p)?)
}

draws! {
    Bool {
        /// Random truth values, true with probability `p`.
        ///
        /// # Panics
        /// If `p` is not between 0 and 1, a size is negative, or there are more elements than memory can address.
        ///
        /// ```
        /// use wengert_tensor::Bool;
        /// assert!(Bool::bernoulli(1.0, [3]).to_vec::<bool>().iter().all(|&b| b));
        /// ```
        bernoulli / try_bernoulli(p: f64, shape: impl IntoDims) -> Tensor<Bool> = draw_equal_bernoulli(p, shape)
    }
}

/// The operation of [`Tensor::multinomial`].
pub(crate) static MULTINOMIAL: Op = Op {
    name: "multinomial",
    operands: &["weights"],
    forward: |call| {
        let attrs = call.attrs();
        let (draws, replacement) = (attrs.int("draws"), attrs.bool("replacement"));
        let (key, counter) = place(attrs);
        let w = call.input(0);
        demand_float(w.dtype())?;
        let Some((&classes, leading)) = w.shape().split_last() else {
            return Err(Error::new("the weights have no axis of classes").help("give weights of rank 1 or more"));
        };
        let sizes: SmallVec<[isize; 4]> = leading.iter().map(|&s| s as isize).chain([draws]).collect();
        let shape = checked_shape(&sizes)?;
        let weights = doubles(w);
        let weights = &weights.slice::<f64>()[..w.elements()];
        // Without overflow in any sum; else row by row.
        if !random::all_within(weights, 0.0, f64::MAX / classes.max(1) as f64) {
            for (row, weights) in weights.chunks(classes.max(1)).enumerate() {
                if let Some(class) = weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
                    let e =
                        format!("weight {} of class {class} in row {row} is negative or not finite", weights[class]);
                    return Err(bad(e, "logits become weights with softmax(-1)"));
                }
                if !weights.iter().sum::<f64>().is_finite() {
                    let e = format!("the weights of row {row} have no finite sum");
                    return Err(bad(e, "divide them by the largest"));
                }
            }
        }
        let n = shape.elements();
        let rows = leading.iter().product();
        if n > 0 {
            let needed = if replacement { 1 } else { draws as usize };
            for row in 0..rows {
                let above = weights[row * classes..][..classes].iter().filter(|w| **w > 0.0);
                let possible = above.take(needed).count();
                if possible == 0 {
                    return Err(bad(format!("row {row} has no weight above 0"), "some class must be possible"));
                }
                if possible < needed {
                    let e = format!("{draws} different classes are asked of row {row}, where {possible} are possible");
                    return Err(bad(e, "draw fewer, or with replacement"));
                }
            }
        }
        let mut storage = Storage::stale::<i64>(n);
        let out = &mut storage.unique_mut::<i64>().expect("a fresh buffer is unique")[..n];
        let draw = if replacement { random::with_replacement } else { random::without_replacement };
        draw(out, weights, rows, key, counter, &Par::of(weights.len() + n));
        Ok(AnyTensor::dense(storage, shape, DType::I64).into())
    },
    gradient: Gradient::NotFloat,
    info: || OpInfo {
        family: Family::Random,
        numpy: "random.choice",
        torch: "multinomial",
        precisions: FLOATS,
        samples: |g| {
            let shape = g.full_shape(1, 3);
            let w = g.numbers(&shape, 0.1, 1.0);
            let replacement = g.below(2) == 0;
            let draws = if replacement { g.below(5) } else { g.below(shape[shape.rank() - 1] + 1) };
            vec![Sample::new([w], sample_place(g, attrs! { draws: draws, replacement: replacement }))]
        },
        specials: |g| {
            let w = g.tensor(&[0.0, 2.0, 0.0, 1.0], &[4].into());
            let none = g.tensor(&[], &[0, 3].into());
            vec![
                Sample::new([w], sample_place(g, attrs! { draws: 2i64, replacement: false })),
                Sample::new([none], sample_place(g, attrs! { draws: 2i64, replacement: true })),
            ]
        },
        misuses: || {
            let call = |draws: i64| attrs! { draws: draws, replacement: false, key: 0i64, counter: 0i64 };
            let w = |w: [f64; 3]| -> AnyTensor { Tensor::from_vec(w.to_vec(), [3]).into() };
            vec![
                Misuse::new([w([1.0, -1.0, 1.0])], call(1), "weight -1 of class 1 in row 0 is negative or not finite"),
                Misuse::new([w([0.0; 3])], call(1), "row 0 has no weight above 0"),
                Misuse::new([w([f64::MAX; 3])], call(1), "the weights of row 0 have no finite sum"),
                Misuse::new(
                    [w([1.0, 0.0, 1.0])],
                    call(3),
                    "3 different classes are asked of row 0, where 2 are possible",
                ),
                Misuse::new([w([1.0; 3])], call(-1), "size -1 on axis 0 is negative"),
                Misuse::new([Tensor::full((), 1.0).into()], call(1), "the weights have no axis of classes"),
            ]
        },
    },
};

#[track_caller]
fn draw_classes(from: impl Source, weights: &Tensor, draws: usize, replacement: bool) -> Result<Tensor<Int>> {
    let classes = weights.shape().last().copied().unwrap_or(1).max(1);
    let n = if replacement { (weights.elements() / classes).saturating_mul(draws) } else { weights.elements() };
    let attrs = attrs! { draws: draws, replacement: replacement };
    apply1(&MULTINOMIAL, numbered(attrs, from, n), &mut [weights.into()])
}

twin! {
    impl [<K: Kind>] Tensor<K> {
        /// [`Int::randint`] of this tensor's shape.
        ///
        /// # Panics
        /// If `low` is not below `high`.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![1.0, 2.0].randint_like(5, 6).to_vec::<i64>(), [5, 5]);
        /// ```
        pub fn randint_like / try_randint_like(&self, low: i64, high: i64) -> Tensor<Int> {
            draw_integers(OfThread, low, high, self.shape())
        }

        /// [`Bool::bernoulli`] of this tensor's shape.
        ///
        /// # Panics
        /// If `p` is not between 0 and 1.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![1.0, 2.0].bernoulli_like(1.0).to_vec::<bool>(), [true, true]);
        /// ```
        pub fn bernoulli_like / try_bernoulli_like(&self, p: f64) -> Tensor<Bool> {
            draw_equal_bernoulli(OfThread, p, self.shape())
        }
    }
}

impl Tensor {
    /// Random truth values: each is true with the probability that stands in its place in this tensor.
    ///
    /// # Panics
    /// If an element is not between 0 and 1.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// assert_eq!(tensor![0.0, 1.0].bernoulli().to_vec::<bool>(), [false, true]);
    /// ```
    #[track_caller]
    pub fn bernoulli(&self) -> Tensor<Bool> {
        or_panic(draw_bernoulli(OfThread, self))
    }

    /// Fallible form of [`bernoulli`](Self::bernoulli).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_bernoulli(&self) -> Result<Tensor<Bool>> {
        draw_bernoulli(OfThread, self)
    }

    /// Random classes: `draws` for each row, where the elements along the last axis are the relative probabilities of
    /// the classes. They need not sum to 1. The last axis of the result has size `draws`.
    ///
    /// Without `replacement` a class is drawn once at most.
    ///
    /// # Panics
    /// If a weight is negative or not finite, a row has no weight above 0, or fewer of them than there are draws without
    /// replacement, or the tensor has rank 0.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let weights = tensor![0.0, 3.0, 1.0];
    /// let classes = weights.multinomial(8, true);
    /// assert!(classes.min().item() >= 1 && classes.max().item() <= 2);
    /// ```
    #[track_caller]
    pub fn multinomial(&self, draws: usize, replacement: bool) -> Tensor<Int> {
        or_panic(draw_classes(OfThread, self, draws, replacement))
    }

    /// Fallible form of [`multinomial`](Self::multinomial).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_multinomial(&self, draws: usize, replacement: bool) -> Result<Tensor<Int>> {
        draw_classes(OfThread, self, draws, replacement)
    }
}

impl Rng {
    /// [`Tensor::bernoulli`] from this generator: a truth value for each probability.
    ///
    /// # Panics
    /// Where [`Tensor::bernoulli`] does.
    #[track_caller]
    pub fn bernoulli_each(&mut self, probabilities: &Tensor) -> Tensor<Bool> {
        or_panic(draw_bernoulli(self, probabilities))
    }

    /// [`Tensor::multinomial`] from this generator.
    ///
    /// # Panics
    /// Where [`Tensor::multinomial`] does.
    #[track_caller]
    pub fn multinomial(&mut self, weights: &Tensor, draws: usize, replacement: bool) -> Tensor<Int> {
        or_panic(draw_classes(self, weights, draws, replacement))
    }
}
