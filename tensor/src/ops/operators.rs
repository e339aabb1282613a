//! Operators: `+ - * /` between tensors (owned operands give their memory to the result) and with numbers, unary `-`,
//! and the assigning forms.

use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Not, Sub, SubAssign};

use crate::attrs;
use crate::dispatch::{Arg, Attrs, apply1};
use crate::error::or_panic;
use crate::kind::{Bool, Int, Numeric};
use crate::ops::binary::{ADD, DIV, IntoOperand, MUL, SUB};
use crate::ops::scalar::{ADD_SCALAR, DIV_SCALAR, MUL_SCALAR, RDIV_SCALAR, RSUB_SCALAR, SUB_SCALAR};
use crate::ops::unary::NEG;
use crate::tensor::Tensor;

macro_rules! between_tensors {
    ($generics:tt $K:ident: $($Trait:ident $method:ident $Assign:ident $assign:ident $OP:ident;)*) => {$(
        between_tensors!(@one $generics $K $Trait $method $Assign $assign $OP);
    )*};
    (@one [$($generics:tt)*] $K:ident $Trait:ident $method:ident $Assign:ident $assign:ident $OP:ident) => {
        impl $($generics)* $Trait<Tensor<$K>> for Tensor<$K> {
            type Output = Tensor<$K>;
            #[track_caller]
            fn $method(self, rhs: Tensor<$K>) -> Tensor<$K> {
                or_panic(apply1(&$OP, Attrs::NONE, &mut [Arg::from(self), Arg::from(rhs)]))
            }
        }
        impl $($generics)* $Trait<&Tensor<$K>> for Tensor<$K> {
            type Output = Tensor<$K>;
            #[track_caller]
            fn $method(self, rhs: &Tensor<$K>) -> Tensor<$K> {
                or_panic(apply1(&$OP, Attrs::NONE, &mut [Arg::from(self), Arg::from(rhs)]))
            }
        }
        impl $($generics)* $Trait<Tensor<$K>> for &Tensor<$K> {
            type Output = Tensor<$K>;
            #[track_caller]
            fn $method(self, rhs: Tensor<$K>) -> Tensor<$K> {
                or_panic(apply1(&$OP, Attrs::NONE, &mut [Arg::from(self), Arg::from(rhs)]))
            }
        }
        impl $($generics)* $Trait<&Tensor<$K>> for &Tensor<$K> {
            type Output = Tensor<$K>;
            #[track_caller]
            fn $method(self, rhs: &Tensor<$K>) -> Tensor<$K> {
                or_panic(apply1(&$OP, Attrs::NONE, &mut [Arg::from(self), Arg::from(rhs)]))
            }
        }
        impl $($generics)* $Assign<Tensor<$K>> for Tensor<$K> {
            #[track_caller]
            fn $assign(&mut self, rhs: Tensor<$K>) {
                let lhs = self.take();
                *self = lhs.$method(rhs);
            }
        }
        impl $($generics)* $Assign<&Tensor<$K>> for Tensor<$K> {
            #[track_caller]
            fn $assign(&mut self, rhs: &Tensor<$K>) {
                let lhs = self.take();
                *self = lhs.$method(rhs);
            }
        }
    };
}
between_tensors! { [<K: Numeric>] K:
    Add add AddAssign add_assign ADD;
    Sub sub SubAssign sub_assign SUB;
    Mul mul MulAssign mul_assign MUL;
    Div div DivAssign div_assign DIV;
}

macro_rules! float_with_number {
    ($t:ty: $($Trait:ident $method:ident $Assign:ident $assign:ident $right:ident $left:ident;)*) => {$(
        impl $Trait<$t> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, number: $t) -> Tensor {
                or_panic(apply1(&$right, attrs! { number: number as f64 }, &mut [Arg::from(self)]))
            }
        }
        impl $Trait<$t> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, number: $t) -> Tensor {
                or_panic(apply1(&$right, attrs! { number: number as f64 }, &mut [Arg::from(self)]))
            }
        }
        impl $Trait<Tensor> for $t {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, x: Tensor) -> Tensor {
                or_panic(apply1(&$left, attrs! { number: self as f64 }, &mut [Arg::from(x)]))
            }
        }
        impl $Trait<&Tensor> for $t {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, x: &Tensor) -> Tensor {
                or_panic(apply1(&$left, attrs! { number: self as f64 }, &mut [Arg::from(x)]))
            }
        }
        impl $Assign<$t> for Tensor {
            #[track_caller]
            fn $assign(&mut self, number: $t) {
                let lhs = self.take();
                *self = lhs.$method(number);
            }
        }
    )*};
}
macro_rules! floats_with_numbers {
    ($($t:ty)*) => {$(
        float_with_number! { $t:
            Add add AddAssign add_assign ADD_SCALAR ADD_SCALAR;
            Sub sub SubAssign sub_assign SUB_SCALAR RSUB_SCALAR;
            Mul mul MulAssign mul_assign MUL_SCALAR MUL_SCALAR;
            Div div DivAssign div_assign DIV_SCALAR RDIV_SCALAR;
        }
    )*};
}
// One float and one integer type: with more, `x * 2.0` would not say which is meant.
floats_with_numbers! { f64 i32 }

macro_rules! ints_with_numbers {
    ($t:ty: $($Trait:ident $method:ident $Assign:ident $assign:ident $OP:ident;)*) => {$(
        impl $Trait<$t> for Tensor<Int> {
            type Output = Tensor<Int>;
            #[track_caller]
            fn $method(self, number: $t) -> Tensor<Int> {
                let rhs = IntoOperand::<Int>::into_operand(number, self.dtype());
                or_panic(apply1(&$OP, Attrs::NONE, &mut [Arg::from(self), rhs]))
            }
        }
        impl $Trait<$t> for &Tensor<Int> {
            type Output = Tensor<Int>;
            #[track_caller]
            fn $method(self, number: $t) -> Tensor<Int> {
                let rhs = IntoOperand::<Int>::into_operand(number, self.dtype());
                or_panic(apply1(&$OP, Attrs::NONE, &mut [Arg::from(self), rhs]))
            }
        }
        impl $Trait<Tensor<Int>> for $t {
            type Output = Tensor<Int>;
            #[track_caller]
            fn $method(self, x: Tensor<Int>) -> Tensor<Int> {
                let lhs = IntoOperand::<Int>::into_operand(self, x.dtype());
                or_panic(apply1(&$OP, Attrs::NONE, &mut [lhs, Arg::from(x)]))
            }
        }
        impl $Trait<&Tensor<Int>> for $t {
            type Output = Tensor<Int>;
            #[track_caller]
            fn $method(self, x: &Tensor<Int>) -> Tensor<Int> {
                let lhs = IntoOperand::<Int>::into_operand(self, x.dtype());
                or_panic(apply1(&$OP, Attrs::NONE, &mut [lhs, Arg::from(x)]))
            }
        }
        impl $Assign<$t> for Tensor<Int> {
            #[track_caller]
            fn $assign(&mut self, number: $t) {
                let lhs = self.take();
                *self = lhs.$method(number);
            }
        }
    )*};
}
ints_with_numbers! {
    i64: Add add AddAssign add_assign ADD; Sub sub SubAssign sub_assign SUB; Mul mul MulAssign mul_assign MUL;
    Div div DivAssign div_assign DIV;
}

impl<K: Numeric> Neg for Tensor<K> {
    type Output = Tensor<K>;
    #[track_caller]
    fn neg(self) -> Tensor<K> {
        or_panic(apply1(&NEG, Attrs::NONE, &mut [Arg::from(self)]))
    }
}

impl<K: Numeric> Neg for &Tensor<K> {
    type Output = Tensor<K>;
    #[track_caller]
    fn neg(self) -> Tensor<K> {
        or_panic(apply1(&NEG, Attrs::NONE, &mut [Arg::from(self)]))
    }
}

impl Not for &Tensor<Bool> {
    type Output = Tensor<Bool>;
    #[track_caller]
    fn not(self) -> Tensor<Bool> {
        Tensor::not(self)
    }
}
