//! Where a module stands in a model, and what its forward pass reports to a listener.

use std::cell::RefCell;
use std::panic::Location;
use std::sync::{Arc, RwLock};

use wengert_tensor::{Error, InModule, Shape, Tensor, enter_module, or_panic};

/// A module's path within its model, such as `net.2.conv`, and what kind of module it is.
///
/// A layer that has a `Scope` as a field learns its path from every walk over the model. Its forward pass begins with
/// [`Scope::enter`], so that errors name the path, and ends with [`Scope::output`], so that it appears in the
/// [`summary`](crate::Summary).
///
/// ```
/// use wengert_nn::{Module, Layer, Param, Scope, Walk};
/// use wengert_tensor::Tensor;
///
/// struct Scale {
///     scope: Scope,
///     factor: Param,
/// }
/// impl Module for Scale {
///     fn visit(&self, walk: &mut Walk<'_>) {
///         walk.child("scope", &self.scope);
///         walk.child("factor", &self.factor);
///     }
/// }
/// impl Layer for Scale {
///     fn forward(&self, x: &Tensor) -> Tensor {
///         let _scope = self.scope.enter();
///         self.scope.output(x * &self.factor.value())
///     }
/// }
/// let scale = Scale { scope: Scope::new("Scale"), factor: Param::new(Tensor::ones([3])) };
/// assert_eq!(scale.parameters()[0].name().unwrap().as_ref(), "factor");
/// ```
pub struct Scope {
    kind: &'static str,
    path: RwLock<Option<Arc<str>>>,
}

impl Scope {
    /// The scope of a module of kind `kind`, such as `"Linear"`, that does not know its path yet.
    pub fn new(kind: &'static str) -> Scope {
        Scope { kind, path: RwLock::new(None) }
    }

    /// What kind of module it is.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The path of the module, once something has walked over the model. The root's is empty.
    ///
    /// ```
    /// use wengert_nn::Scope;
    /// let scope = Scope::new("Scale");
    /// assert_eq!((scope.kind(), scope.path()), ("Scale", None)); // in no model yet
    /// ```
    pub fn path(&self) -> Option<Arc<str>> {
        self.path.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    pub(crate) fn set_path(&self, path: &str) {
        let mut own = self.path.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        if own.as_deref().is_none_or(|old| replaces(path, old)) {
            *own = Some(path.into());
        }
    }

    /// Enters the module until the guard is dropped: errors meanwhile name its path, if it is known.
    pub fn enter(&self) -> Option<InModule> {
        self.path().filter(|path| !path.is_empty()).map(enter_module)
    }

    /// Panics at the caller's line with an error of the module: its kind stands for the operation.
    ///
    /// ```should_panic
    /// use wengert_nn::Scope;
    /// use wengert_tensor::{Error, Tensor};
    /// let (scope, x) = (Scope::new("Scale"), Tensor::zeros(()));
    /// // Scale: the input has rank 0
    /// //   input []  from zeros at src/main.rs:3:43
    /// scope.refuse(Error::new("the input has rank 0").operand("input", x.as_any()));
    /// ```
    #[track_caller]
    pub fn refuse(&self, e: Error) -> ! {
        or_panic::<()>(Err(e.in_op(self.kind, Location::caller())));
        unreachable!("an error panics")
    }

    /// Returns the module's output after showing it to whoever listens on this thread, such as a summary.
    pub fn output(&self, output: Tensor) -> Tensor {
        HEARD.with_borrow_mut(|heard| {
            if let (Some(heard), Some(path)) = (heard, self.path()) {
                heard.push((path, output.shape().clone()));
            }
        });
        output
    }
}

/// Whether a module that is known by the path `old` is to be known by `new` from now on. A walk over a part of a model
/// finds the tail of the path that a walk over the whole found: the longer one stays.
pub(crate) fn replaces(new: &str, old: &str) -> bool {
    let tail = new.is_empty() || old.strip_suffix(new).is_some_and(|head| head.is_empty() || head.ends_with('.'));
    !tail
}

/// The paths of modules that were run, and the shapes of their outputs.
pub(crate) type Heard = Vec<(Arc<str>, Shape)>;

thread_local! {
    static HEARD: RefCell<Option<Heard>> = const { RefCell::new(None) };
}

/// Runs `f` and returns which scopes showed which output shapes meanwhile, in order.
pub(crate) fn listen(f: impl FnOnce()) -> Heard {
    struct Restore(Option<Heard>);
    impl Drop for Restore {
        fn drop(&mut self) {
            HEARD.set(self.0.take());
        }
    }
    let _restore = Restore(HEARD.replace(Some(Vec::new())));
    f();
    HEARD.take().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::replaces;

    #[test]
    fn a_tail_of_the_known_path_is_no_news() {
        assert!(!replaces("conv.weight", "net.2.conv.weight"));
        assert!(!replaces("", "net"));
        assert!(!replaces("net", "net"));
        assert!(replaces("net.2.conv.weight", "conv.weight"));
        assert!(replaces("v.weight", "conv.weight"));
    }
}
