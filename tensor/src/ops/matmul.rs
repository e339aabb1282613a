//! Matrix products.

use std::panic::Location;

use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, apply1, in_op};
use crate::dtype::{DType, Element, with_dtype};
use crate::error::{Error, Result, or_panic};
use crate::kernels::gemm::{self, Matrix};
use crate::kind::{Float, Numeric};
use crate::layout::Joint;
use crate::ops::cast::in_single;
use crate::ops::elementwise::unsupported;
use crate::ops::{other_input, twin};
use crate::par::{GRAIN, Par};
use crate::registry::{Family, Gen, Misuse, NUMERIC, OpInfo, Sample};
use crate::shape::Shape;
use crate::storage::Storage;
use crate::tape::Vjp;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&MATMUL];

/// A tensor of rank 2, as kernels see it.
pub(super) fn as_matrix<T: Element>(t: &AnyTensor) -> Matrix<'_, T> {
    let (layout, data) = (t.layout(), t.storage().slice::<T>());
    let &[row_stride, column_stride] = &layout.strides()[..] else { unreachable!("of rank 2") };
    Matrix { data, offset: layout.offset(), row_stride, column_stride }
}

/// The operation of [`Tensor::matmul`].
pub(crate) static MATMUL: Op = {
    /// Rows, inner size, columns, the shape of the batch, and the shape of the result.
    struct Sizes {
        m: usize,
        k: usize,
        n: usize,
        batch: Shape,
        out: Shape,
    }

    fn sizes(lhs: &Shape, rhs: &Shape) -> Result<Sizes> {
        for (name, shape) in [("lhs", lhs), ("rhs", rhs)] {
            if shape.rank() == 0 {
                return Err(Error::new(format!("{name} has rank 0, and a matrix product needs rank 1 or more"))
                    .help("to scale by a number, use `*`"));
            }
        }
        let (l, r) = (lhs.rank(), rhs.rank());
        let (l_axis, r_axis) = (l - 1, r.saturating_sub(2));
        let (m, k) = (if l > 1 { lhs[l - 2] } else { 1 }, lhs[l_axis]);
        let (k2, n) = (rhs[r_axis], if r > 1 { rhs[r - 1] } else { 1 });
        if k != k2 {
            let e = Error::new(format!(
                "inner dimensions differ: {k} (axis {l_axis} of lhs) and {k2} (axis {r_axis} of rhs)"
            ));
            // A transposed operand is the usual slip.
            let turned = |s: &Shape| {
                let mut s = s.clone();
                let r = s.rank();
                s.swap(r - 2, r - 1);
                s
            };
            if r > 1
                && rhs[r - 1] == k
                && let Ok(s) = sizes(lhs, &turned(rhs))
            {
                return Err(e.help(format!("transpose the right operand: lhs.matmul(&rhs.t()) gives {}", s.out)));
            }
            if l > 1
                && lhs[l - 2] == k2
                && let Ok(s) = sizes(&turned(lhs), rhs)
            {
                return Err(e.help(format!("transpose the left operand: lhs.t().matmul(&rhs) gives {}", s.out)));
            }
            return Err(e.help("the last axis of lhs must have the size of the last but one of rhs"));
        }
        let batch_of = |s: &Shape| Shape::from(&s[..s.rank().saturating_sub(2)]);
        let batch = batch_of(lhs).broadcast(&batch_of(rhs)).map_err(|_| {
            Error::new(format!("batch axes {} and {} do not broadcast", batch_of(lhs), batch_of(rhs)))
                .help("all axes but the last two must be equal or 1, counted from the last")
        })?;
        let mut out = batch.clone();
        if l > 1 {
            out.push(m);
        }
        if r > 1 {
            out.push(n);
        }
        Ok(Sizes { m, k, n, batch, out: out.addressable()? })
    }

    /// The operand as a batch of matrices: a vector is a row on the left, a column on the right.
    fn as_matrices(t: &AnyTensor, left: bool) -> AnyTensor {
        if t.rank() > 1 {
            return t.clone();
        }
        let n = t.shape()[0];
        let shape: Shape = if left { [1, n].into() } else { [n, 1].into() };
        t.view(t.layout().reshape(shape).expect("an axis of size 1 moves no element"))
    }

    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let dtype = call.same_dtype()?;
        let (x, y) = (call.input(0), call.input(1));
        let s = sizes(x.shape(), y.shape())?;
        if dtype == DType::Bool {
            return Err(unsupported(dtype));
        }
        if matches!(dtype, DType::F16 | DType::BF16) {
            return in_single(call, &MATMUL);
        }
        let (a, b) = (as_matrices(x, true), as_matrices(y, false));
        let total = s.out.elements();
        let storage = with_dtype!(wide dtype, T => {
            let mut storage = Storage::stale::<T>(total);
            let out = &mut storage.unique_mut::<T>().expect("a fresh buffer is unique")[..total];
            multiply::<T>(out, &s, &a, &b);
            storage
        });
        Ok(AnyTensor::dense(storage, s.out, dtype).into())
    }

    fn multiply<T: gemm::Product>(out: &mut [T], s: &Sizes, a: &AnyTensor, b: &AnyTensor) {
        let strides_of = |t: &AnyTensor| {
            let st = t.layout().strides();
            (st[t.rank() - 2], st[t.rank() - 1])
        };
        let batch_layout = |t: &AnyTensor| {
            let (shape, strides) = (t.shape(), t.layout().strides());
            let r = t.rank() - 2;
            crate::layout::Layout::strided(shape[..r].into(), strides[..r].into(), t.layout().offset())
        };
        let ((ar, ac), (br, bc)) = (strides_of(a), strides_of(b));
        let (la, lb) = (batch_layout(a), batch_layout(b));
        let matrix = |data, offset, row_stride, column_stride| Matrix { data, offset, row_stride, column_stride };
        let (xs, ys) = (a.storage().slice::<T>(), b.storage().slice::<T>());
        let batches = s.batch.elements();
        let each = s.m * s.n;
        if each == 0 || batches == 0 {
            return;
        }
        // One matrix on the right for all: the batch is one tall matrix, if the left operand lies so.
        let work = s.m.saturating_mul(s.k).saturating_mul(s.n);
        let joint = Joint::new(&s.batch, [&la, &lb]);
        let mut places = Vec::with_capacity(batches);
        joint.for_runs(0..joint.runs(), |_, [x, y]| {
            for i in 0..joint.inner as isize {
                let [xi, yi] = joint.inner_strides;
                places.push(((x as isize + i * xi) as usize, (y as isize + i * yi) as usize));
            }
        });
        let tall = batches > 1
            && joint.runs() == 1
            && joint.inner_strides[1] == 0
            && joint.inner_strides[0] == s.m as isize * ar;
        if tall {
            let (x, y) = (matrix(xs, places[0].0, ar, ac), matrix(ys, places[0].1, br, bc));
            gemm::gemm(batches * s.m, s.k, s.n, x, y, out, false, &Par::of(work.saturating_mul(batches) / 32));
        } else if batches == 1 {
            let (x, y) = (matrix(xs, places[0].0, ar, ac), matrix(ys, places[0].1, br, bc));
            gemm::gemm(s.m, s.k, s.n, x, y, out, false, &Par::of(work / 32));
        } else {
            // To begin a product takes as long as touching some elements. Small ones go some at a time.
            const BEGIN: usize = 128;
            let each_takes = (work / 32).saturating_add(BEGIN);
            let (par, together) = (Par::of(each_takes.saturating_mul(batches)), (GRAIN / 4 / each_takes).max(1));
            par.chunks_mut(out, each * together, |task, out| {
                for (out, place) in out.chunks_mut(each).zip(&places[task * together..]) {
                    let (x, y) = (matrix(xs, place.0, ar, ac), matrix(ys, place.1, br, bc));
                    gemm::gemm(s.m, s.k, s.n, x, y, out, false, &Par::sequential());
                }
            });
        }
    }

    fn vjp(cx: &mut Vjp<'_>) {
        let g = cx.g();
        let (l, r) = (cx.input_shape(0).rank(), cx.input_shape(1).rank());
        // Vectors become matrices, and their axis comes back at the end.
        let g = if r == 1 { g.unsqueeze(-1) } else { g };
        let g = if l == 1 { g.unsqueeze(-2) } else { g };
        if cx.needs(0) {
            let rhs = cx.input::<Float>(1);
            let rhs = if r == 1 { rhs.unsqueeze(-1) } else { rhs };
            let d = g.matmul(&rhs.t());
            let d = if l == 1 { d.squeeze(-2) } else { d };
            cx.give(0, d);
        }
        if cx.needs(1) {
            let lhs = cx.input::<Float>(0);
            let lhs = if l == 1 { lhs.unsqueeze(0) } else { lhs };
            let d = if r <= 2 && l > 2 {
                // One matrix for the whole batch: one product over all rows instead of a sum of products.
                let rows = |t: &Tensor| t.flatten(..-1);
                rows(&lhs).t().matmul(&rows(&g))
            } else {
                lhs.t().matmul(&g)
            };
            let d = if r == 1 { d.squeeze(-1) } else { d };
            cx.give(1, d);
        }
    }

    fn samples(g: &mut Gen) -> Vec<Sample> {
        let (m, k, n) = (g.below(4), g.below(4), g.below(4));
        let (a, b) = g.broadcast_pair();
        let with = |batch: &Shape, sizes: [usize; 2]| -> Shape { batch.iter().copied().chain(sizes).collect() };
        let (lhs, rhs) = match g.below(4) {
            0 => (Shape::from([k]), with(&b, [k, n])),
            1 => (with(&a, [m, k]), Shape::from([k])),
            2 => (Shape::from([m, k]), Shape::from([k, n])),
            _ => (with(&a, [m, k]), with(&b, [k, n])),
        };
        vec![Sample::new([g.numbers(&lhs, -2.0, 2.0), g.numbers(&rhs, -2.0, 2.0)], Attrs::NONE)]
    }

    fn misuses() -> Vec<Misuse> {
        let z = |shape: &[usize]| -> AnyTensor { Tensor::zeros(shape).into() };
        vec![
            Misuse::new(
                [z(&[2, 3]), z(&[4, 3])],
                Attrs::NONE,
                "transpose the right operand: lhs.matmul(&rhs.t()) gives [2, 4]",
            ),
            Misuse::new([z(&[3, 2]), z(&[3, 5])], Attrs::NONE, "transpose the left operand"),
            Misuse::new(
                [z(&[2, 3]), z(&[4, 5])],
                Attrs::NONE,
                "inner dimensions differ: 3 (axis 1 of lhs) and 4 (axis 0 of rhs)",
            ),
            Misuse::new(
                [z(&[2, 3, 4, 5]), z(&[3, 2, 5, 4])],
                Attrs::NONE,
                "batch axes [2, 3] and [3, 2] do not broadcast",
            ),
            Misuse::new([z(&[]), z(&[2])], Attrs::NONE, "lhs has rank 0"),
        ]
    }

    Op {
        name: "matmul",
        operands: &["lhs", "rhs"],
        forward,
        gradient: Gradient::Rule { saves: other_input, vjp },
        info: || OpInfo {
            family: Family::Gemm,
            numpy: "matmul",
            torch: "matmul",
            precisions: NUMERIC,
            samples,
            specials: |_| Vec::new(),
            misuses,
        },
    }
};

impl<K: Numeric> Tensor<K> {
    /// The matrix product, by NumPy's rule: of two matrices their product, of more axes a batch of products with the
    /// leading axes broadcast; a vector counts as a row on the left and as a column on the right, and its axis is not
    /// in the result.
    ///
    /// 16-bit floats accumulate in `F32`; integers wrap.
    ///
    /// # Panics
    /// If the inner sizes differ, the batch axes do not broadcast, an operand has rank 0, or the precisions differ.
    ///
    /// ```
    /// use wengert_tensor::tensor;
    /// let x = tensor![[1.0, 2.0], [3.0, 4.0]];
    /// assert_eq!(x.matmul(&tensor![1.0, 1.0]).to_vec::<f32>(), [3.0, 7.0]);
    /// ```
    #[track_caller]
    pub fn matmul(&self, rhs: &Tensor<K>) -> Tensor<K> {
        or_panic(self.try_matmul(rhs))
    }

    /// Fallible form of [`matmul`](Self::matmul).
    ///
    /// # Errors
    /// Where the other form panics.
    #[track_caller]
    pub fn try_matmul(&self, rhs: &Tensor<K>) -> Result<Tensor<K>> {
        apply1(&MATMUL, Attrs::NONE, &mut [self.into(), rhs.into()])
    }
}

/// That an operand has the rank that a product is defined for.
fn of_rank<K: Numeric>(name: &str, x: &Tensor<K>, rank: usize, help: &str) -> Result<()> {
    match x.rank() == rank {
        true => Ok(()),
        false => Err(Error::new(format!("{name} has rank {}, not {rank}", x.rank())).help(help)),
    }
}

twin! {
    impl [<K: Numeric>] Tensor<K> {
        /// The inner product of two vectors, as a tensor of rank 0: the sum of the products of their elements.
        ///
        /// # Panics
        /// If an operand is not of rank 1, or the sizes or precisions differ.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![1.0, 2.0].dot(&tensor![3.0, 4.0]).item(), 11.0);
        /// ```
        pub fn dot / try_dot(&self, rhs: &Tensor<K>) -> Tensor<K> {
            let at = Location::caller();
            let check = || {
                let help = "dot is of vectors; matmul multiplies matrices, and einsum sums over any axes";
                of_rank("lhs", self, 1, help)?;
                of_rank("rhs", rhs, 1, help)?;
                match (self.elements(), rhs.elements()) {
                    (m, n) if m == n => Ok(()),
                    (m, n) => Err(Error::new(format!("sizes differ: {m} (lhs) and {n} (rhs)"))),
                }
            };
            in_op("dot", &[("lhs", self.as_any()), ("rhs", rhs.as_any())], at, check())?;
            self.try_matmul(rhs).map(|t| t.called("dot", at))
        }

        /// The outer product of two vectors: element `[i, j]` is `self[i] * rhs[j]`.
        ///
        /// # Panics
        /// If an operand is not of rank 1, or the precisions differ.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![1.0, 2.0].outer(&tensor![3.0, 4.0]).to_vec::<f32>(), [3.0, 4.0, 6.0, 8.0]);
        /// ```
        pub fn outer / try_outer(&self, rhs: &Tensor<K>) -> Tensor<K> {
            let at = Location::caller();
            let help = "outer is of vectors; flatten(..) makes one of any tensor";
            let check = of_rank("lhs", self, 1, help).and_then(|()| of_rank("rhs", rhs, 1, help));
            in_op("outer", &[("lhs", self.as_any()), ("rhs", rhs.as_any())], at, check)?;
            self.try_unsqueeze(1)?.try_mul(&rhs.try_unsqueeze(0)?).map(|t| t.called("outer", at))
        }

        /// The products of two batches of matrices, `[B, m, k]` and `[B, k, n]`. [`matmul`](Self::matmul) without its
        /// broadcasting: the batches must be equal.
        ///
        /// # Panics
        /// If an operand is not of rank 3, or the sizes or precisions differ.
        ///
        /// ```
        /// use wengert_tensor::Tensor;
        /// let z = Tensor::ones([5, 2, 3]).bmm(&Tensor::ones([5, 3, 4]));
        /// assert_eq!(z.shape().to_string(), "[5, 2, 4]");
        /// ```
        pub fn bmm / try_bmm(&self, rhs: &Tensor<K>) -> Tensor<K> {
            let at = Location::caller();
            let check = || {
                let help = "bmm is of batches of matrices, [B, m, k] and [B, k, n]; matmul broadcasts";
                of_rank("lhs", self, 3, help)?;
                of_rank("rhs", rhs, 3, help)?;
                match (self.shape()[0], rhs.shape()[0]) {
                    (m, n) if m == n => Ok(()),
                    (m, n) => {
                        let e = format!("batches differ: {m} (axis 0 of lhs) and {n} (axis 0 of rhs)");
                        Err(Error::new(e).help("matmul broadcasts batches of size 1"))
                    }
                }
            };
            in_op("bmm", &[("lhs", self.as_any()), ("rhs", rhs.as_any())], at, check())?;
            self.try_matmul(rhs).map(|t| t.called("bmm", at))
        }

        /// The sum of the diagonal of a matrix, or of each of a batch of matrices. The matrix need not be square.
        ///
        /// # Panics
        /// If the rank is below 2.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[1.0, 2.0], [3.0, 4.0]].trace().item(), 5.0);
        /// ```
        pub fn trace / try_trace(&self) -> Tensor<K> {
            let at = Location::caller();
            let matrix = match self.rank() {
                0 | 1 => Err(Error::new(format!("rank {} is below 2: it takes matrices", self.rank()))),
                _ => Ok(()),
            };
            in_op("trace", &[("input", self.as_any())], at, matrix)?;
            self.try_diagonal(0, -2, -1)?.try_sum_axis(-1).map(|t| t.called("trace", at))
        }
    }
}
