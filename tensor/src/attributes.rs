//! Attributes of calls: what an operation needs to know beside its inputs, as data.

use std::fmt;

use smallvec::SmallVec;

use crate::dtype::DType;
use crate::shape::short;

/// An attribute of an operation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A switch.
    Bool(bool),
    /// A number of positions, an axis.
    Int(i64),
    /// A number.
    Float(f64),
    /// Axes, sizes, strides. Up to two lie in place.
    Ints(SmallVec<[i64; 2]>),
    /// Numbers, one for each class or the like.
    Floats(Box<[f64]>),
    /// A precision.
    DType(DType),
    /// A name among a few, as `"mean"`.
    Name(&'static str),
}

impl From<bool> for Value {
    fn from(v: bool) -> Value {
        Value::Bool(v)
    }
}
impl From<usize> for Value {
    fn from(v: usize) -> Value {
        Value::Int(v as i64)
    }
}
impl From<isize> for Value {
    fn from(v: isize) -> Value {
        Value::Int(v as i64)
    }
}
impl From<i64> for Value {
    fn from(v: i64) -> Value {
        Value::Int(v)
    }
}
impl From<i32> for Value {
    fn from(v: i32) -> Value {
        Value::Int(v.into())
    }
}
impl From<f64> for Value {
    fn from(v: f64) -> Value {
        Value::Float(v)
    }
}
impl From<DType> for Value {
    fn from(v: DType) -> Value {
        Value::DType(v)
    }
}
impl From<&'static str> for Value {
    fn from(v: &'static str) -> Value {
        Value::Name(v)
    }
}
impl From<&[isize]> for Value {
    fn from(v: &[isize]) -> Value {
        Value::Ints(short(v.iter().map(|&x| x as i64)))
    }
}
impl From<&[usize]> for Value {
    fn from(v: &[usize]) -> Value {
        Value::Ints(short(v.iter().map(|&x| x as i64)))
    }
}
impl From<&[i64]> for Value {
    fn from(v: &[i64]) -> Value {
        Value::Ints(short(v.iter().copied()))
    }
}
impl<const N: usize> From<[i64; N]> for Value {
    fn from(v: [i64; N]) -> Value {
        Value::from(&v[..])
    }
}
impl<const N: usize> From<[usize; N]> for Value {
    fn from(v: [usize; N]) -> Value {
        Value::from(&v[..])
    }
}
impl From<&[f64]> for Value {
    fn from(v: &[f64]) -> Value {
        Value::Floats(v.into())
    }
}
impl From<SmallVec<[isize; 4]>> for Value {
    fn from(v: SmallVec<[isize; 4]>) -> Value {
        Value::from(&v[..])
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(v) => write!(f, "{v}"),
            Value::Int(v) => write!(f, "{v}"),
            Value::Float(v) => write!(f, "{v}"),
            Value::Ints(v) => write!(f, "{v:?}"),
            Value::Floats(v) => write!(f, "{v:?}"),
            Value::DType(v) => write!(f, "{v}"),
            Value::Name(v) => write!(f, "{v}"),
        }
    }
}

/// The attributes of a call: data, by name. Two attributes cost no allocation.
///
/// ```
/// use wengert_tensor::DType;
/// use wengert_tensor::dispatch::{Attrs, Value};
/// let attrs = Attrs::from_pairs([("axis", Value::from(-1_i64))])
///     .with("keepdim", true)
///     .with("sizes", [2_usize, 3])
///     .with("weights", &[0.5, 1.5][..])
///     .with("dtype", DType::F64);
/// assert_eq!((attrs.int("axis"), attrs.bool("keepdim"), attrs.dtype("dtype")), (-1, true, DType::F64));
/// assert_eq!((&attrs.ints("sizes")[..], attrs.floats("weights")), (&[2, 3][..], &[0.5, 1.5][..]));
/// assert!(attrs.get("eps").is_none() && attrs.iter().count() == 5);
/// ```
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Attrs(SmallVec<[(&'static str, Value); 2]>);

/// Attributes by name: `attrs! { axis: -1, keepdim: true }`.
#[macro_export]
macro_rules! attrs {
    ($($name:ident : $value:expr),* $(,)?) => {
        $crate::dispatch::Attrs::from_pairs([$((stringify!($name), $crate::dispatch::Value::from($value))),*])
    };
}

impl Attrs {
    /// No attributes.
    pub const NONE: Attrs = Attrs(SmallVec::new_const());

    /// Attributes from names and values, see [`attrs!`](crate::attrs).
    #[inline]
    pub fn from_pairs<const N: usize>(pairs: [(&'static str, Value); N]) -> Attrs {
        let mut attrs = Attrs(SmallVec::with_capacity(N));
        for pair in pairs {
            attrs.0.push(pair);
        }
        attrs
    }

    /// Adds an attribute.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Attrs {
        self.0.push((name, value.into()));
        self
    }

    /// The attribute of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        // Nearly always the very same literal.
        self.0.iter().find(|(n, _)| std::ptr::eq(*n, name) || *n == name).map(|(_, v)| v)
    }

    /// All attributes, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(n, v)| (*n, v))
    }

    /// The switch `name`; off where it is not given.
    ///
    /// # Panics
    /// This and the other readers panic if the attribute is of another type, or misses: calls from outside that build
    /// their own attributes must give what the operation's methods give.
    #[track_caller]
    pub fn bool(&self, name: &str) -> bool {
        match self.get(name) {
            None => false,
            Some(Value::Bool(v)) => *v,
            other => wrong(name, "a bool", other),
        }
    }

    /// The integer `name`.
    #[track_caller]
    pub fn int(&self, name: &str) -> isize {
        match self.get(name) {
            Some(Value::Int(v)) => *v as isize,
            other => wrong(name, "an integer", other),
        }
    }

    /// The number `name`.
    #[track_caller]
    pub fn float(&self, name: &str) -> f64 {
        match self.get(name) {
            Some(Value::Float(v)) => *v,
            Some(Value::Int(v)) => *v as f64,
            other => wrong(name, "a number", other),
        }
    }

    /// The integers `name`.
    #[track_caller]
    pub fn ints(&self, name: &str) -> SmallVec<[isize; 4]> {
        match self.get(name) {
            Some(Value::Ints(v)) => short(v.iter().map(|&x| x as isize)),
            other => wrong(name, "integers", other),
        }
    }

    /// The numbers `name`; none where they are not given.
    #[track_caller]
    pub fn floats(&self, name: &str) -> &[f64] {
        match self.get(name) {
            None => &[],
            Some(Value::Floats(v)) => v,
            other => wrong(name, "numbers", other),
        }
    }

    /// The precision `name`.
    #[track_caller]
    pub fn dtype(&self, name: &str) -> DType {
        match self.get(name) {
            Some(Value::DType(v)) => *v,
            other => wrong(name, "a precision", other),
        }
    }

    /// The name `name`.
    #[track_caller]
    pub fn name(&self, name: &str) -> &'static str {
        match self.get(name) {
            Some(Value::Name(v)) => v,
            other => wrong(name, "a name", other),
        }
    }
}

#[cold]
#[track_caller]
fn wrong(name: &str, want: &str, have: Option<&Value>) -> ! {
    match have {
        Some(have) => panic!("attribute `{name}` is {have}, not {want}"),
        None => panic!("attribute `{name}` ({want}) is missing"),
    }
}

impl fmt::Display for Attrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name}={value}", if i > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}
