//! Linear systems, inverses and determinants.
//!
//! Everything here and in [`factor`](super::factor) takes batches of matrices, `[.., rows, columns]`, and computes in
//! double precision, whatever the precision of the tensor.

use std::sync::Mutex;

use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, Saves, apply, apply1};
use crate::dtype::{DType, Element};
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::factor::{self, Fault};
use crate::kind::Float;
use crate::layout::Layout;
use crate::ops::elementwise::unsupported;
use crate::ops::twin;
use crate::par::{GRAIN, Par};
use crate::registry::{Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::Shape;
use crate::storage::Storage;
use crate::tape::Vjp;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&INVERSE, &SOLVE, &DET, &COFACTORS, &SLOGDET];

/// The precisions that matrices are factored in.
pub(super) const PRECISE: &[DType] = &[DType::F32, DType::F64];

/// A batch of matrices, as doubles.
pub(super) struct Matrices {
    pub(super) batch: Shape,
    pub(super) rows: usize,
    pub(super) columns: usize,
    values: Vec<f64>,
}

impl Matrices {
    /// The matrices of a tensor.
    pub(super) fn of(x: &AnyTensor) -> Result<Matrices> {
        if !PRECISE.contains(&x.dtype()) {
            let e = unsupported(x.dtype());
            return Err(if x.dtype().is_float() { e.help("factor in to_dtype(DType::F32)") } else { e });
        }
        let rank = x.rank();
        if rank < 2 {
            return Err(Error::new(format!("rank {rank} is below 2: it takes matrices"))
                .help("a matrix is [rows, columns], a batch of them [.., rows, columns]"));
        }
        let values = doubles(x);
        // Without leaving the loop early, which then vectorises.
        let finite = values.iter().fold(true, |finite, v| finite & v.is_finite());
        if !finite && let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(Error::new(format!("element {} is {}", index(at, x.shape()), values[at]))
                .kind_of(ErrorKind::Value)
                .help(
                    "matrices of finite numbers only; check_finite names the operation that made the first other one",
                ));
        }
        let (rows, columns) = (x.shape()[rank - 2], x.shape()[rank - 1]);
        Ok(Matrices { batch: x.shape()[..rank - 2].into(), rows, columns, values })
    }

    /// The matrices of a tensor, which must be square.
    pub(super) fn square(x: &AnyTensor) -> Result<Matrices> {
        let all = Matrices::of(x)?;
        match (all.rows, all.columns) {
            (m, n) if m == n => Ok(all),
            (m, n) => Err(Error::new(format!("a matrix of {m} rows and {n} columns is not square"))),
        }
    }

    /// Matrix number `i` of the batch.
    pub(super) fn get(&self, i: usize) -> &[f64] {
        let each = self.rows * self.columns;
        &self.values[i * each..][..each]
    }

    /// Calls `kernel` with the number of each matrix and a place for its results, which are of shapes `results`, and
    /// gathers these, over the batch, as tensors of precision `dtype`. A single matrix may go to several threads.
    pub(super) fn each(
        &self,
        batch: &Shape,
        dtype: DType,
        results: &[&[usize]],
        kernel: impl Fn(usize, &mut [f64], &Par) -> Result<(), Fault> + Sync,
    ) -> Result<Outputs> {
        let sizes: Vec<usize> = results.iter().map(|shape| shape.iter().product()).collect();
        let (n, each) = (batch.elements(), sizes.iter().sum::<usize>());
        let mut packed = vec![0.0; n * each];
        let first: Mutex<Option<(usize, Fault)>> = Mutex::new(None);
        let work = self.rows.saturating_mul(self.columns).saturating_mul(self.rows.max(self.columns));
        let par = Par::of(work.saturating_mul(n));
        let within = if n == 1 { par.clone() } else { Par::sequential() };
        // Small matrices go to threads some at a time.
        let together = (GRAIN / work.max(1)).clamp(1, n.max(1));
        par.chunks_mut(&mut packed, each * together, |block, out| {
            for (i, out) in out.chunks_mut(each).enumerate().map(|(k, out)| (block * together + k, out)) {
                if let Err(fault) = kernel(i, out, &within) {
                    let mut first = first.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    // The same one for any number of threads.
                    if first.is_none_or(|(k, _)| i < k) {
                        *first = Some((i, fault));
                    }
                }
            }
        });
        if let Some((i, fault)) = first.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            return Err(explain(fault, batch, i));
        }
        let mut start = 0;
        let outputs = results.iter().zip(&sizes).map(|(shape, size)| {
            let whole: Shape = batch.iter().chain(shape.iter()).copied().collect();
            let values = packed.chunks(each.max(1)).map(|one| &one[start..start + size]);
            let storage = match dtype {
                DType::F64 => gathered(values, n, *size, |v| v),
                _ => gathered(values, n, *size, |v| v as f32),
            };
            start += size;
            AnyTensor::dense(storage, whole, dtype)
        });
        Ok(outputs.collect())
    }
}

/// What is made of the numbers of `n` slices of one size, one after the other.
fn gathered<'a, T: Element>(
    slices: impl Iterator<Item = &'a [f64]>,
    n: usize,
    size: usize,
    f: impl Fn(f64) -> T,
) -> Storage {
    Storage::filled(n * size, |out: &mut [T]| {
        for (out, slice) in out.chunks_exact_mut(size.max(1)).zip(slices) {
            out.iter_mut().zip(slice).for_each(|(out, &v)| *out = f(v));
        }
    })
}

/// The elements in row-major order.
fn doubles(x: &AnyTensor) -> Vec<f64> {
    match x.dtype() {
        DType::F32 if x.layout().is_dense() => {
            x.dense_slice::<f32>()[..x.elements()].iter().map(|&v| v as f64).collect()
        }
        DType::F64 if x.layout().is_dense() => x.dense_slice::<f64>()[..x.elements()].to_vec(),
        _ => x.to_f64_vec(),
    }
}

/// The index of element number `at`, in row-major order.
fn index(mut at: usize, shape: &Shape) -> Shape {
    let mut index = shape.clone();
    for n in index.iter_mut().rev() {
        (at, *n) = (at / *n, at % *n);
    }
    index
}

/// What is wrong with matrix number `i` of a batch.
fn explain(fault: Fault, batch: &Shape, i: usize) -> Error {
    let which = match batch.rank() {
        0 => "the matrix".to_string(),
        _ => format!("matrix {} of the batch", index(i, batch)),
    };
    let e = |text: &str| Error::new(format!("{which} {text}")).kind_of(ErrorKind::Value);
    match fault {
        Fault::Singular => {
            e("is singular").help("its rows are linearly dependent; a small multiple of eye(n) added to it mends that")
        }
        Fault::NotPositiveDefinite => e("is not positive definite").help(
            "the symmetric part, (a + a.t()) / 2, needs eigenvalues above 0; a small multiple of eye(n) added may do",
        ),
        Fault::NoConvergence => e("is too badly scaled: the iteration did not converge"),
    }
}

/// A constant `rows` by `columns` matrix, to be multiplied with in a gradient rule.
pub(super) fn pattern(rows: usize, columns: usize, dtype: DType, f: impl Fn(usize, usize) -> f64) -> Tensor {
    let values = (0..rows * columns).map(|at| f(at / columns, at % columns)).collect();
    Tensor::from_vec::<f64>(values, [rows, columns]).to_dtype(dtype)
}

/// The shapes of samples: matrices, and batches of them, empty ones among them.
pub(super) fn sample_batch(g: &mut Gen) -> Shape {
    let batch = g.shape(0, 1);
    if g.below(2) == 0 { Shape::scalar() } else { batch }
}

/// Random matrices of which the first `min(rows, columns)` diagonal elements stand out, by 2, 3, 4 ..: far from
/// singular, with eigenvalues and singular values far from each other.
pub(super) fn sample(g: &mut Gen, batch: &Shape, rows: usize, columns: usize) -> AnyTensor {
    let n = batch.elements() * rows * columns;
    let values: Vec<f64> = (0..n)
        .map(|at| {
            let (i, j) = (at / columns % rows, at % columns);
            g.real(-0.4, 0.4) + if i == j { 2.0 + i as f64 } else { 0.0 }
        })
        .collect();
    let shape: Shape = batch.iter().copied().chain([rows, columns]).collect();
    g.tensor(&values, &shape)
}

/// Misuses that all operations on square matrices share.
pub(super) fn square_misuses() -> Vec<Misuse> {
    let of = |shape: &[usize], v: f64| -> AnyTensor { Tensor::full(shape, v).into() };
    vec![
        Misuse::new([of(&[3], 1.0)], Attrs::NONE, "rank 1 is below 2"),
        Misuse::new([of(&[2, 3], 1.0)], Attrs::NONE, "a matrix of 2 rows and 3 columns is not square"),
        Misuse::new([of(&[2, 1, 1], f64::NAN)], Attrs::NONE, "element [0, 0, 0] is NaN"),
        Misuse::new([of(&[2, 2], f64::INFINITY)], Attrs::NONE, "element [0, 0] is inf"),
        Misuse::new(
            [of(&[1, 1], 1.0).float().expect("a float").to_dtype(DType::F16).into()],
            Attrs::NONE,
            "to_dtype(DType::F32)",
        ),
    ]
}

/// The operation of [`Tensor::inverse`].
pub(crate) static INVERSE: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let a = Matrices::square(call.input(0))?;
        let n = a.rows;
        a.each(&a.batch, call.input(0).dtype(), &[&[n, n]], |i, out, par| match n {
            0 => Ok(()),
            _ => factor::inverse(out, a.get(i), n, par),
        })
    }
    Op {
        name: "inverse",
        operands: &["input"],
        forward,
        gradient: Gradient::Rule {
            saves: |_| Saves::OUTPUT,
            // d(A^-1) = -A^-1 dA A^-1.
            vjp: |cx| {
                let (g, y) = (cx.g(), cx.output::<Float>(0).t());
                cx.give(0, y.matmul(&g).matmul(&y).neg());
            },
        },
        info: || OpInfo {
            family: Family::Factor,
            numpy: "linalg.inv",
            torch: "linalg.inv",
            precisions: PRECISE,
            samples: |g| {
                let (batch, n) = (sample_batch(g), g.below(4));
                vec![Sample::new([sample(g, &batch, n, n)], Attrs::NONE)]
            },
            specials: |g| {
                // A pivot of 0: rows must be exchanged.
                vec![Sample::new([g.tensor(&[0.0, 2.0, 1.0, 0.0], &[2, 2].into())], Attrs::NONE)]
            },
            misuses: || {
                let mut all = square_misuses();
                all.push(Misuse::new([Tensor::ones([2, 2]).into()], Attrs::NONE, "the matrix is singular"));
                let batch = Tensor::cat(&[Tensor::eye(2).unsqueeze(0), Tensor::zeros([1, 2, 2])], 0);
                all.push(Misuse::new([batch.into()], Attrs::NONE, "matrix [1] of the batch is singular"));
                all
            },
        },
    }
};

/// The operation of [`Tensor::solve`].
pub(crate) static SOLVE: Op = {
    /// The right side as matrices: a vector is one column.
    fn columns_of(b: &AnyTensor) -> AnyTensor {
        if b.rank() != 1 {
            return b.clone();
        }
        let shape: Shape = [b.shape()[0], 1].into();
        b.view(b.layout().reshape(shape).expect("an axis of size 1 moves no element"))
    }
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let dtype = call.same_dtype()?;
        let a = Matrices::square(call.input(0))?;
        let vector = call.input(1).rank() == 1;
        let b = columns_of(call.input(1));
        if b.rank() >= 2 && b.shape()[b.rank() - 2] != a.rows {
            let axis = call.input(1).rank().saturating_sub(2);
            let e = format!(
                "{} unknowns (axis {} of matrix) and {} values (axis {axis} of rhs)",
                a.rows,
                call.input(0).rank() - 1,
                b.shape()[b.rank() - 2]
            );
            return Err(
                Error::new(e).help("a right side is [n], or [.., n, k]; for a batch of vectors, rhs.unsqueeze(-1)")
            );
        }
        let b = Matrices::of(&b)?;
        let batch = a.batch.broadcast(&b.batch).map_err(|_| {
            Error::new(format!("batch axes {} and {} do not broadcast", a.batch, b.batch))
                .help("all axes but the last two must be equal or 1, counted from the last")
        })?;
        // Which matrix and which right side belong together.
        let places = |own: &Shape| -> Vec<usize> {
            let mut all = Vec::with_capacity(batch.elements());
            let layout = Layout::dense(own.clone()).broadcast_to(&batch);
            crate::layout::Joint::new(&batch, [&layout]).for_elements(0..batch.elements(), |_, [at]| all.push(at));
            all
        };
        let (left, right) = (places(&a.batch), places(&b.batch));
        let (n, m) = (a.rows, b.columns);
        let mut x = a.each(&batch, dtype, &[&[n, m]], |i, out, par| match n * m {
            0 => Ok(()),
            _ => factor::solve(out, a.get(left[i]), b.get(right[i]), n, m, par),
        })?;
        if vector {
            let shape: Shape = batch.iter().copied().chain([n]).collect();
            x[0] = x[0].view(Layout::dense(shape));
        }
        Ok(x)
    }
    fn vjp(cx: &mut Vjp<'_>) {
        let (g, a, x) = (cx.g(), cx.input::<Float>(0), cx.output::<Float>(0));
        let vector = cx.input_shape(1).rank() == 1;
        let column = |t: Tensor| if vector { t.unsqueeze(-1) } else { t };
        // A dX + dA X = dB.
        let d = a.t().solve(&column(g));
        if cx.needs(0) {
            cx.give(0, d.matmul(&column(x).t()).neg());
        }
        if cx.needs(1) {
            cx.give(1, if vector { d.squeeze(-1) } else { d });
        }
    }
    Op {
        name: "solve",
        operands: &["matrix", "rhs"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::INPUT.and_output(0), vjp },
        info: || OpInfo {
            family: Family::Factor,
            numpy: "linalg.solve",
            torch: "linalg.solve",
            precisions: PRECISE,
            samples: |g| {
                let (a, b) = g.broadcast_pair();
                let (a, b): (Shape, Shape) = (a[..a.rank().min(1)].into(), b[..b.rank().min(1)].into());
                let (a, b) = if a.broadcast(&b).is_ok() { (a, b) } else { (a, Shape::scalar()) };
                let (n, m) = (g.below(4), g.below(3));
                let matrix = sample(g, &a, n, n);
                let rhs: Shape = match g.below(3) {
                    0 => [n].into(),
                    _ => b.iter().copied().chain([n, m]).collect(),
                };
                let rhs = g.numbers(&rhs, -2.0, 2.0);
                vec![Sample::new([matrix, rhs], Attrs::NONE)]
            },
            specials: |_| Vec::new(),
            misuses: || {
                let ones = |shape: &[usize]| -> AnyTensor { Tensor::ones(shape).into() };
                vec![
                    Misuse::new([ones(&[2, 2]), ones(&[2])], Attrs::NONE, "the matrix is singular"),
                    Misuse::new([ones(&[2, 3]), ones(&[2])], Attrs::NONE, "not square"),
                    Misuse::new(
                        [ones(&[2, 2]), ones(&[3])],
                        Attrs::NONE,
                        "2 unknowns (axis 1 of matrix) and 3 values (axis 0 of rhs)",
                    ),
                    Misuse::new([ones(&[2, 2]), ones(&[])], Attrs::NONE, "rank 0 is below 2"),
                    Misuse::new(
                        [ones(&[3, 1, 1]), ones(&[2, 1, 1])],
                        Attrs::NONE,
                        "batch axes [3] and [2] do not broadcast",
                    ),
                    Misuse::new([ones(&[1, 1]), Tensor::full([1], f64::NAN).into()], Attrs::NONE, "is NaN"),
                ]
            },
        },
    }
};

/// The operation of [`Tensor::det`].
pub(crate) static DET: Op = Op {
    name: "det",
    operands: &["input"],
    forward: |call| {
        let a = Matrices::square(call.input(0))?;
        a.each(&a.batch, call.input(0).dtype(), &[&[]], |i, out, _| {
            out[0] = if a.rows == 0 { 1.0 } else { factor::det(a.get(i), a.rows) };
            Ok(())
        })
    },
    gradient: Gradient::Rule {
        saves: |_| Saves::INPUT,
        vjp: |cx| {
            let (g, a) = (cx.g(), cx.input::<Float>(0));
            let cofactors = crate::error::or_panic(apply1::<Float>(&COFACTORS, Attrs::NONE, &mut [(&a).into()]));
            cx.give(0, g.unsqueeze(-1).unsqueeze(-1) * cofactors);
        },
    },
    info: || OpInfo {
        family: Family::Factor,
        numpy: "linalg.det",
        torch: "linalg.det",
        precisions: PRECISE,
        samples: |g| {
            let (batch, n) = (sample_batch(g), g.below(4));
            vec![Sample::new([sample(g, &batch, n, n)], Attrs::NONE)]
        },
        specials: |g| {
            let point: Shape = [2, 2].into();
            vec![
                Sample::new([g.tensor(&[0.0, 2.0, 1.0, 0.0], &point)], Attrs::NONE),
                // Singular: the gradient is that of the minors.
                Sample::new([g.tensor(&[0.0, 0.0, 0.0, 2.0], &point)], Attrs::NONE)
                    .with_gradient([vec![2.0, 0.0, 0.0, 0.0]]),
            ]
        },
        misuses: square_misuses,
    },
};

/// The derivative of [`Tensor::det`]: `det(A)` times the transposed inverse, which exists for singular matrices, too.
/// Its own derivative is computed for invertible matrices only.
pub(crate) static COFACTORS: Op = {
    fn vjp(cx: &mut Vjp<'_>) {
        // C = det(A) W with W = A^-T: dC = det(A) (<W, dA> W - W dA' W).
        let (g, a) = (cx.g(), cx.input::<Float>(0));
        let w = a.inverse().t();
        let det = a.det().unsqueeze(-1).unsqueeze(-1);
        let along = (&g * &w).sum_keepdim([-2, -1]);
        cx.give(0, det * (along * &w - w.matmul(&g.t()).matmul(&w)));
    }
    Op {
        name: "cofactors",
        operands: &["input"],
        forward: |call| {
            let a = Matrices::square(call.input(0))?;
            let n = a.rows;
            a.each(&a.batch, call.input(0).dtype(), &[&[n, n]], |i, out, par| match n {
                0 => Ok(()),
                _ => factor::cofactors(out, a.get(i), n, par),
            })
        },
        gradient: Gradient::Rule { saves: |_| Saves::INPUT, vjp },
        info: || OpInfo {
            family: Family::Factor,
            numpy: "",
            torch: "",
            precisions: PRECISE,
            samples: |g| {
                // Larger ones have gradients that are 0 in theory and cancel to noise.
                let (batch, n) = (sample_batch(g), g.below(3));
                vec![Sample::new([sample(g, &batch, n, n)], Attrs::NONE)]
            },
            specials: |_| Vec::new(),
            misuses: square_misuses,
        },
    }
};

/// The operation of [`Tensor::slogdet`]. Its first output is the logarithm.
pub(crate) static SLOGDET: Op = Op {
    name: "slogdet",
    operands: &["input"],
    forward: |call| {
        let a = Matrices::square(call.input(0))?;
        a.each(&a.batch, call.input(0).dtype(), &[&[], &[]], |i, out, _| {
            (out[0], out[1]) = if a.rows == 0 { (0.0, 1.0) } else { factor::log_det(a.get(i), a.rows) };
            Ok(())
        })
    },
    gradient: Gradient::Rule {
        saves: |_| Saves::INPUT,
        // The sign does not change.
        vjp: |cx| {
            let (g, a) = (cx.g(), cx.input::<Float>(0));
            cx.give(0, g.unsqueeze(-1).unsqueeze(-1) * a.inverse().t());
        },
    },
    info: || OpInfo {
        family: Family::Factor,
        numpy: "linalg.slogdet",
        torch: "linalg.slogdet",
        precisions: PRECISE,
        samples: |g| {
            let (batch, n) = (sample_batch(g), g.below(4));
            vec![Sample::new([sample(g, &batch, n, n)], Attrs::NONE)]
        },
        specials: |g| vec![Sample::new([g.tensor(&[0.0, 2.0, 1.0, 0.0], &[2, 2].into())], Attrs::NONE)],
        misuses: square_misuses,
    },
};

twin! {
    impl [] Tensor {
        /// The inverse of a matrix, or of each of a batch of matrices: `[.., n, n]`. To solve a system,
        /// [`solve`](Self::solve) is faster and more precise.
        ///
        /// Computed in double precision, by LU with partial pivoting.
        ///
        /// # Panics
        /// If the matrices are not square, one of them is singular, an element is NaN or infinite, or the precision is
        /// neither F32 nor F64.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let a = tensor![[2.0, 0.0], [0.0, 4.0]];
        /// assert_eq!(a.inverse().to_vec::<f32>(), [0.5, 0.0, 0.0, 0.25]);
        /// ```
        pub fn inverse / try_inverse(&self) -> Tensor {
            apply1(&INVERSE, Attrs::NONE, &mut [self.into()])
        }

        /// The `x` with `self.matmul(&x) == rhs`, for a matrix or a batch of matrices `[.., n, n]`. The right side is a
        /// vector `[n]`, or matrices `[.., n, k]`, whose leading axes broadcast with those of the matrices.
        ///
        /// Computed in double precision, by LU with partial pivoting.
        ///
        /// # Panics
        /// If the matrices are not square, one of them is singular, the sizes do not fit, an element is NaN or infinite,
        /// or the precisions differ or are neither F32 nor F64.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let a = tensor![[2.0, 1.0], [0.0, 4.0]];
        /// assert_eq!(a.solve(&tensor![4.0, 8.0]).to_vec::<f32>(), [1.0, 2.0]);
        /// ```
        pub fn solve / try_solve(&self, rhs: &Tensor) -> Tensor {
            apply1(&SOLVE, Attrs::NONE, &mut [self.into(), rhs.into()])
        }

        /// The determinant of a matrix, or of each of a batch of matrices: `[.., n, n]` gives `[..]`.
        ///
        /// The gradient exists for singular matrices, too; the second derivative is computed
        /// for invertible ones.
        ///
        /// # Panics
        /// If the matrices are not square, an element is NaN or infinite, or the precision is neither F32 nor F64.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// assert_eq!(tensor![[1.0, 2.0], [3.0, 4.0]].det().item(), -2.0);
        /// ```
        pub fn det / try_det(&self) -> Tensor {
            apply1(&DET, Attrs::NONE, &mut [self.into()])
        }

        /// The sign of the determinant, and the logarithm of its magnitude, which neither overflows nor underflows:
        /// `[.., n, n]` gives two of `[..]`. For a singular matrix they are 0 and negative infinity.
        ///
        /// # Panics
        /// If the matrices are not square, an element is NaN or infinite, or the precision is neither F32 nor F64.
        /// Backward panics for a singular matrix.
        ///
        /// ```
        /// use wengert_tensor::Tensor;
        /// let (sign, log) = (Tensor::eye(1000) * -0.01).slogdet();
        /// assert_eq!(sign.item(), 1.0);
        /// assert!((log.item() - 1000.0 * 0.01_f64.ln()).abs() < 1e-3);
        /// ```
        pub fn slogdet / try_slogdet(&self) -> (Tensor, Tensor) {
            let mut outputs = apply(&SLOGDET, Attrs::NONE, &mut [self.into()])?.into_iter();
            let mut next = || outputs.next().expect("two outputs").downcast();
            let log = next()?;
            Ok((next()?, log))
        }
    }
}
