//! Square matrices: the identity, triangles, and what has a given diagonal.

use crate::attrs;
use crate::dispatch::{Arg, Call, Gradient, Op, Outputs, Saves, apply1, in_op};
use crate::dtype::{DType, Element, default_dtype, with_dtype};
use crate::error::{Error, Result, or_panic};
use crate::kernels::fill;
use crate::kind::{Kind, Numeric};
use crate::ops::diagonal::DIAGONAL_ADD;
use crate::ops::shape::owned;
use crate::ops::{full_any, twin};
use crate::par::Par;
use crate::registry::{ALL as ALL_PRECISIONS, Family, Misuse, OpInfo, Sample};
use crate::shape::checked_shape;
use crate::storage::Storage;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&EYE, &TRIL, &TRIU];

/// The operation of [`Tensor::eye`].
pub(crate) static EYE: Op = Op {
    name: "eye",
    operands: &[],
    forward: |call| {
        let n = call.attrs().int("n");
        let dtype = call.attrs().dtype("dtype");
        let shape = checked_shape(&[n, n])?;
        let n = n as usize;
        let storage = with_dtype!(dtype, T => {
            let mut storage = Storage::zeros::<T>(n * n);
            let out = storage.unique_mut::<T>().expect("a fresh buffer is unique");
            (0..n).for_each(|i| out[i * (n + 1)] = T::from_i64(1));
            storage
        });
        Ok(AnyTensor::dense(storage, shape, dtype).into())
    },
    gradient: Gradient::NotFloat,
    info: || OpInfo {
        family: Family::Fill,
        numpy: "eye",
        torch: "eye",
        precisions: ALL_PRECISIONS,
        samples: |g| vec![Sample::new([], attrs! { n: g.below(4), dtype: g.dtype })],
        specials: |_| Vec::new(),
        misuses: || vec![Misuse::new([], attrs! { n: -2i64, dtype: DType::F32 }, "size -2 on axis 0 is negative")],
    },
};

impl Tensor {
    /// The identity matrix of `n` rows.
    ///
    /// # Panics
    /// If there are more elements than memory can address.
    ///
    /// ```
    /// use wengert_tensor::Tensor;
    /// assert_eq!(Tensor::eye(2).to_vec::<f32>(), [1.0, 0.0, 0.0, 1.0]);
    /// ```
    #[track_caller]
    pub fn eye(n: usize) -> Tensor {
        or_panic(Tensor::try_eye(n))
    }

    /// Fallible form of [`eye`](Self::eye).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_eye(n: usize) -> Result<Tensor> {
        apply1(&EYE, attrs! { n: n.min(isize::MAX as usize), dtype: default_dtype() }, &mut [])
    }
}

/// Copies matrices with one triangle set to 0.
fn triangle(call: &mut Call<'_, '_>, lower: bool) -> Result<Outputs> {
    let shape = call.input(0).shape().clone();
    let offset = call.attrs().int("offset");
    let [.., rows, columns] = shape[..] else {
        return Err(Error::new(format!("a matrix has rank 2 or more, not {}", shape.rank())));
    };
    let mut x = owned(call);
    with_dtype!(moved x.dtype(), T => {
        fill::triangle::<T>(x.fresh_slice(), rows, columns, offset, lower, &Par::of(shape.elements()));
    });
    Ok(x.into())
}

/// Defines the operation that keeps one triangle.
macro_rules! triangle {
    ($OP:ident, $name:literal, lower: $lower:literal) => {
        #[doc = concat!("The operation of [`Tensor::", $name, "`].")]
        pub(crate) static $OP: Op = Op {
            name: $name,
            operands: &["input"],
            forward: |call| triangle(call, $lower),
            gradient: Gradient::Rule {
                saves: |_| Saves::NONE,
                vjp: |cx| {
                    let (g, attrs) = (cx.g(), cx.attrs().clone());
                    cx.give(0, or_panic(apply1(&$OP, attrs, &mut [g.into()])));
                },
            },
            info: || OpInfo {
                family: Family::Copy,
                numpy: $name,
                torch: $name,
                precisions: ALL_PRECISIONS,
                samples: |g| {
                    let shape = g.shape(2, 4);
                    let offset = g.below(7) as isize - 3;
                    vec![Sample::new([g.numbers(&shape, -2.0, 2.0)], attrs! { offset: offset })]
                },
                specials: |g| {
                    let x = g.tensor(&[1.0, 2.0, 3.0, 4.0], &[2, 2].into());
                    let far = [isize::MAX, isize::MIN, 0];
                    far.iter().map(|&offset| Sample::new([x.clone()], attrs! { offset: offset })).collect()
                },
                misuses: || {
                    let row = Tensor::zeros([3]).into();
                    vec![Misuse::new([row], attrs! { offset: 0isize }, "a matrix has rank 2 or more, not 1")]
                },
            },
        };
    };
}
triangle!(TRIL, "tril", lower: true);
triangle!(TRIU, "triu", lower: false);

twin! {
    impl [<K: Kind>] Tensor<K> {
        /// The lower triangles of matrices `[.., M, N]`: elements above diagonal number `offset` become 0 (false). Number
        /// 0 is the main diagonal, higher numbers lie above it.
        ///
        /// # Panics
        /// If the rank is below 2.
        ///
        /// ```
        /// use wengert_tensor::{Bool, tensor};
        /// assert_eq!(tensor![[1.0, 2.0], [3.0, 4.0]].tril(0).to_vec::<f32>(), [1.0, 0.0, 3.0, 4.0]);
        /// let causal = Bool::ones([3, 3]).tril(0);
        /// assert_eq!(causal.i(1).to_vec::<bool>(), [true, true, false]);
        /// ```
        pub fn tril / try_tril(&self, offset: isize) -> Tensor<K> {
            apply1(&TRIL, attrs! { offset: offset }, &mut [self.into()])
        }

        /// The upper triangles of matrices `[.., M, N]`: elements below diagonal number `offset` become 0 (false).
        ///
        /// # Panics
        /// If the rank is below 2.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[1.0, 2.0], [3.0, 4.0]].triu(1).to_vec::<f32>(), [0.0, 2.0, 0.0, 0.0]);
        /// ```
        pub fn triu / try_triu(&self, offset: isize) -> Tensor<K> {
            apply1(&TRIU, attrs! { offset: offset }, &mut [self.into()])
        }
    }
}

twin! {
    impl [<K: Numeric>] Tensor<K> {
        /// A square matrix with these elements on diagonal number `offset` and zeros elsewhere, for a tensor of rank 1;
        /// the elements on that diagonal, for a matrix. Number 0 is the main diagonal, higher numbers lie above it.
        ///
        /// # Panics
        /// If the rank is neither 1 nor 2, or there are more elements than memory can address.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let matrix = tensor![1.0, 2.0].diag(0);
        /// assert_eq!(matrix.to_vec::<f32>(), [1.0, 0.0, 0.0, 2.0]);
        /// assert_eq!(matrix.diag(0).to_vec::<f32>(), [1.0, 2.0]);
        /// assert_eq!(tensor![5.0].diag(-1).to_vec::<f32>(), [0.0, 0.0, 5.0, 0.0]);
        /// ```
        pub fn diag / try_diag(&self, offset: isize) -> Tensor<K> {
            let at = std::panic::Location::caller();
            let named = [("input", self.as_any())];
            match self.rank() {
                1 => {
                    let side = self.elements().saturating_add(offset.unsigned_abs()).min(isize::MAX as usize) as isize;
                    let shape = in_op("diag", &named, at, checked_shape(&[side, side]))?;
                    let zeros = full_any(shape, 0i64.into(), self.dtype());
                    let attrs = attrs! { offset: offset, axis1: 0, axis2: 1 };
                    apply1(&DIAGONAL_ADD, attrs, &mut [Arg::Own(zeros), self.into()])
                }
                2 => self.try_diagonal(offset, 0, 1),
                rank => in_op("diag", &named, at, Err(Error::new(format!("the rank is {rank}, neither 1 nor 2")))),
            }
        }
    }
}
