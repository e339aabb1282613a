//! The one error type, and how an error becomes a panic at the caller's line.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;

use crate::dtype::DType;
use crate::shape::Shape;
use crate::tensor::AnyTensor;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of mistake an [`Error`] reports, for code that wants to tell them apart.
///
/// ```
/// use wengert_tensor::{ErrorKind, Tensor};
/// let e = Tensor::zeros([2]).try_add(&Tensor::zeros([3])).unwrap_err();
/// assert_eq!((e.kind(), e.op()), (ErrorKind::Shape, Some("add")));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Shapes, axes or sizes that do not fit.
    Shape,
    /// Precisions or kinds that do not fit.
    DType,
    /// An index outside its axis.
    Index,
    /// A gradient that cannot be had.
    Gradient,
    /// A value outside what is allowed.
    Value,
    /// A file that could not be read or written.
    Io,
    /// Bytes that are not what they should be.
    Format,
}

/// What went wrong, where, with which operands, and how to mend it.
///
/// Every operation has a form that panics with this error at the caller's line, and a `try_` form that returns it.
///
/// ```
/// use wengert_tensor::Tensor;
/// let e = Tensor::zeros([2, 3]).try_matmul(&Tensor::zeros([4, 5])).unwrap_err();
/// assert!(e.to_string().contains("inner dimensions differ: 3 (axis 1 of lhs) and 4 (axis 0 of rhs)"));
/// assert!(e.location().unwrap().file().ends_with(".rs"));
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    op: Option<&'static str>,
    message: String,
    operands: Vec<Operand>,
    help: Option<String>,
    module: Option<String>,
    at: Option<&'static Location<'static>>,
}

/// An operand as an error shows it.
#[derive(Clone)]
pub(crate) struct Operand {
    pub(crate) name: String,
    pub(crate) shape: Shape,
    pub(crate) dtype: DType,
    pub(crate) origin: String,
    /// The path of the module that owns the operand, where it is a named parameter.
    pub(crate) module: Option<String>,
}

impl Error {
    /// An error that says `message`: first what disagrees, then the values.
    ///
    /// ```
    /// use std::panic::Location;
    /// use wengert_tensor::{Error, ErrorKind, Tensor, or_panic};
    /// let x = Tensor::zeros([2]);
    /// let e = Error::new("the rank is 1, not 2")
    ///     .kind_of(ErrorKind::Shape)
    ///     .help("unsqueeze it first")
    ///     .in_op("rotate", Location::caller())
    ///     .operand("input", x.as_any());
    /// assert_eq!((e.op(), e.message()), (Some("rotate"), "the rank is 1, not 2"));
    /// assert!(e.to_string().contains("unsqueeze it first"));
    /// assert_eq!(or_panic(Ok(2)), 2);
    /// ```
    pub fn new(message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind: ErrorKind::Shape,
            op: None,
            message: message.into(),
            operands: Vec::new(),
            help: None,
            module: current_module().map(|m| m.to_string()),
            at: None,
        }))
    }

    /// Sets the kind. [`ErrorKind::Shape`] unless set.
    pub fn kind_of(mut self, kind: ErrorKind) -> Error {
        self.0.kind = kind;
        self
    }

    /// Adds the line that says how to mend it.
    pub fn help(mut self, help: impl Into<String>) -> Error {
        self.0.help = Some(help.into());
        self
    }

    /// Names the operation and the caller's place, unless a name is there already.
    pub fn in_op(mut self, op: &'static str, at: &'static Location<'static>) -> Error {
        self.0.op.get_or_insert(op);
        self.0.at.get_or_insert(at);
        self
    }

    pub(crate) fn with_operands(mut self, operands: impl FnOnce() -> Vec<Operand>) -> Error {
        if self.0.operands.is_empty() {
            for operand in operands() {
                self.push_operand(operand);
            }
        }
        self
    }

    /// Adds an operand to show: its name, shape, and where it came from. Operations do so themselves; this is for
    /// checks that a layer makes before it calls any.
    pub fn operand(mut self, name: &str, tensor: &AnyTensor) -> Error {
        self.push_operand(tensor.as_operand(name.to_string()));
        self
    }

    fn push_operand(&mut self, operand: Operand) {
        // A parameter knows more of the path than the enclosing container does.
        if let (Some(known), Some(path)) = (&self.0.module, &operand.module)
            && path.strip_prefix(&**known).is_some_and(|rest| rest.starts_with('.'))
        {
            self.0.module = Some(path.clone());
        }
        self.0.operands.push(operand);
    }

    /// The same error with what it is about in front.
    pub(crate) fn prefixed(mut self, about: &str) -> Error {
        self.0.message.insert_str(0, &format!("{about}: "));
        self
    }

    pub(crate) fn has_op(&self) -> bool {
        self.0.op.is_some()
    }

    /// The kind of mistake.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation that failed.
    pub fn op(&self) -> Option<&'static str> {
        self.0.op
    }

    /// What went wrong, without operands, help and place.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The line that called the operation.
    pub fn location(&self) -> Option<&'static Location<'static>> {
        self.0.at
    }

    /// The path of the module that called the operation, as in `net.2.conv`, where containers were entered.
    pub fn module(&self) -> Option<&str> {
        self.0.module.as_deref()
    }

    /// The text of a panic, which has the caller's place in its first line already.
    fn report(&self) -> String {
        let inner = &*self.0;
        let mut s = String::new();
        if let Some(op) = inner.op {
            let _ = write!(s, "{op}: ");
        }
        s.push_str(&inner.message);
        let names = inner.operands.iter().map(|o| o.name.len()).max().unwrap_or(0);
        let described: Vec<String> = inner
            .operands
            .iter()
            .map(|o| match o.dtype {
                DType::F32 | DType::I64 | DType::Bool => o.shape.to_string(),
                other => format!("{} {other}", o.shape),
            })
            .collect();
        let widest = described.iter().map(String::len).max().unwrap_or(0);
        for (o, what) in inner.operands.iter().zip(&described) {
            let line = format!("  {:names$} {what:widest$}  {}", o.name, o.origin);
            let _ = write!(s, "\n{}", line.trim_end());
        }
        if let Some(module) = &inner.module {
            let _ = write!(s, "\n  in module `{module}`");
        }
        if let Some(help) = &inner.help {
            let _ = write!(s, "\n  help: {help}");
        }
        s
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report())?;
        match self.0.at {
            Some(at) => write!(f, "\n  at {at}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `main` and `unwrap` print errors with `Debug`: the text is what helps there.
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Error {
        Error::new(e.to_string()).kind_of(ErrorKind::Io)
    }
}

/// The value, or a panic with the error's text at the caller's line.
#[track_caller]
#[inline]
pub fn or_panic<T>(result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(e) => fail(e),
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn fail(e: Error) -> ! {
    panic!("{}", e.report())
}

thread_local! {
    static MODULE: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Runs `f` as the part of a model whose path is `path`: errors raised inside carry it.
///
/// Containers that call their children through `dyn` use this, since there the caller's line says nothing. Calls nest,
/// and the innermost path counts; it is the whole path, from the root of the model.
///
/// ```
/// use wengert_tensor::{in_module, Tensor};
/// let e = in_module("net.2", || Tensor::zeros([2]).try_reshape([3])).unwrap_err();
/// assert_eq!(e.module(), Some("net.2"));
/// ```
pub fn in_module<R>(path: impl Into<Arc<str>>, f: impl FnOnce() -> R) -> R {
    let _inside = enter_module(path);
    f()
}

/// As [`in_module`], until the guard is dropped: for layers, whose callers' lines a closure would hide.
///
/// ```
/// use wengert_tensor::{enter_module, Tensor};
/// let inside = enter_module("net.2");
/// let e = Tensor::zeros([2]).try_reshape([3]).unwrap_err();
/// drop(inside);
/// assert_eq!(e.module(), Some("net.2"));
/// ```
#[must_use = "the module is left when the guard is dropped"]
pub fn enter_module(path: impl Into<Arc<str>>) -> InModule {
    InModule { outer: MODULE.replace(Some(path.into())), on_this_thread: PhantomData }
}

/// The guard of [`enter_module`].
///
/// ```
/// use wengert_tensor::{InModule, current_module, enter_module};
/// let guard: InModule = enter_module("net.0");
/// assert_eq!(current_module().as_deref(), Some("net.0"));
/// drop(guard);
/// assert_eq!(current_module(), None);
/// ```
pub struct InModule {
    outer: Option<Arc<str>>,
    on_this_thread: PhantomData<*const ()>,
}

impl Drop for InModule {
    fn drop(&mut self) {
        MODULE.set(self.outer.take());
    }
}

/// The path that [`in_module`] was called with, where this code runs inside such a call.
pub fn current_module() -> Option<Arc<str>> {
    MODULE.try_with(|m| m.borrow().clone()).ok().flatten()
}
