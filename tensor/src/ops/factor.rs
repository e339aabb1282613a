//! Factors of matrices: Cholesky, QR, eigenvalues and singular values.

use crate::dispatch::{Attrs, Call, Gradient, Op, Outputs, Saves, apply, apply1};
use crate::error::Result;
use crate::kernels::factor;
use crate::kind::Float;
use crate::ops::linalg::{Matrices, PRECISE, pattern, sample, sample_batch, square_misuses};
use crate::ops::twin;
use crate::registry::{Family, Gen, Misuse, OpInfo, Sample};
use crate::tape::Vjp;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&CHOLESKY, &QR, &EIGH, &SVD];

/// 1 below the diagonal, half of it there, 0 above: the part of a matrix that is half of its sum with its transpose.
fn half(i: usize, j: usize) -> f64 {
    match i.cmp(&j) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    }
}

fn symmetric_part(x: &Tensor) -> Tensor {
    (x + x.t()) * 0.5
}

/// One for each column: `x.matmul(&diagonal)`, where only the diagonal is given.
fn by_columns(x: &Tensor, diagonal: &Tensor) -> Tensor {
    x * diagonal.unsqueeze(-2)
}

fn square_samples(g: &mut Gen) -> Vec<Sample> {
    let (batch, n) = (sample_batch(g), g.below(4));
    vec![Sample::new([sample(g, &batch, n, n)], Attrs::NONE)]
}

fn rectangular_samples(g: &mut Gen) -> Vec<Sample> {
    let (batch, rows, columns) = (sample_batch(g), g.below(4), g.below(4));
    vec![Sample::new([sample(g, &batch, rows, columns)], Attrs::NONE)]
}

fn rectangular_misuses() -> Vec<Misuse> {
    let of = |shape: &[usize], v: f64| -> AnyTensor { Tensor::full(shape, v).into() };
    vec![
        Misuse::new([of(&[], 1.0)], Attrs::NONE, "rank 0 is below 2"),
        Misuse::new([of(&[1, 2], f64::NAN)], Attrs::NONE, "element [0, 0] is NaN"),
    ]
}

/// The operation of [`Tensor::cholesky`].
pub(crate) static CHOLESKY: Op = {
    // I. Murray, Differentiation of the Cholesky decomposition, 2016, eq. 10.
    fn vjp(cx: &mut Vjp<'_>) {
        let (g, l) = (cx.g(), cx.output::<Float>(0));
        let n = l.size(-1);
        let up = l.t();
        let p = up.matmul(&g) * pattern(n, n, l.dtype(), half);
        // L^-T P L^-1.
        let d = up.solve(&up.solve(&p).t()).t();
        cx.give(0, symmetric_part(&d));
    }
    Op {
        name: "cholesky",
        operands: &["input"],
        forward: |call| {
            let a = Matrices::square(call.input(0))?;
            let n = a.rows;
            a.each(&a.batch, call.input(0).dtype(), &[&[n, n]], |i, out, _| match n {
                0 => Ok(()),
                _ => factor::cholesky(out, a.get(i), n),
            })
        },
        gradient: Gradient::Rule { saves: |_| Saves::OUTPUT, vjp },
        info: || OpInfo {
            family: Family::Factor,
            numpy: "linalg.cholesky",
            torch: "linalg.cholesky",
            precisions: PRECISE,
            samples: square_samples,
            specials: |_| Vec::new(),
            misuses: || {
                let mut all = square_misuses();
                let negative = Tensor::eye(2) * -1.0;
                all.push(Misuse::new([negative.into()], Attrs::NONE, "the matrix is not positive definite"));
                all.push(Misuse::new([Tensor::ones([2, 2]).into()], Attrs::NONE, "not positive definite"));
                all
            },
        },
    }
};

/// The operation of [`Tensor::qr`].
pub(crate) static QR: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let a = Matrices::of(call.input(0))?;
        let (m, n) = (a.rows, a.columns);
        let k = m.min(n);
        a.each(&a.batch, call.input(0).dtype(), &[&[m, k], &[k, n]], |i, out, _| {
            if k > 0 {
                factor::qr(out, a.get(i), m, n);
            }
            Ok(())
        })
    }
    // S. Walter and L. Lehmann, Algorithmic differentiation of linear algebra functions, 2012, for tall matrices; for
    // wide ones, Q and the left square of R are the factors of the left square of A.
    fn vjp(cx: &mut Vjp<'_>) {
        let (q, r) = (cx.output::<Float>(0), cx.output::<Float>(1));
        let (gq, gr) = (cx.take_cotangent(0), cx.take_cotangent(1));
        let (m, n, dtype) = (q.size(-2), r.size(-1), q.dtype());
        if m >= n {
            let mut inner = r.zeros_like();
            if let Some(gr) = &gr {
                inner = gr.matmul(&r.t());
            }
            if let Some(gq) = &gq {
                inner -= q.t().matmul(gq);
            }
            // The upper triangle, mirrored.
            let upper = inner * pattern(n, n, dtype, |i, j| 2.0 * half(j, i));
            let mut d = q.matmul(&symmetric_part(&upper));
            if let Some(gq) = gq {
                d += gq;
            }
            return cx.give(0, r.solve(&d.t()).t());
        }
        let mut inner = Tensor::full_dtype(q.shape(), 0.0, dtype);
        if let Some(gr) = &gr {
            inner = gr.matmul(&r.t());
        }
        if let Some(gq) = &gq {
            inner -= q.t().matmul(gq);
        }
        // The part of A that turns Q: skew, and of the lower triangle.
        let skew = (inner.t() - inner) * pattern(m, m, dtype, half);
        let left = r.narrow(-1, 0, m).solve(&skew.t()).t();
        let mut d = Tensor::cat(&[left, r.narrow(-1, m, n - m).zeros_like()], -1);
        if let Some(gr) = gr {
            d += gr;
        }
        cx.give(0, q.matmul(&d));
    }
    Op {
        name: "qr",
        operands: &["input"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::OUTPUT.and_output(1), vjp },
        info: || OpInfo {
            family: Family::Factor,
            numpy: "linalg.qr",
            torch: "linalg.qr",
            precisions: PRECISE,
            samples: rectangular_samples,
            specials: |_| Vec::new(),
            misuses: rectangular_misuses,
        },
    }
};

/// The operation of [`Tensor::eigh`].
pub(crate) static EIGH: Op = {
    // M. Giles, Collected matrix derivative results for forward and reverse mode algorithmic differentiation, 2008.
    fn vjp(cx: &mut Vjp<'_>) {
        let (values, v) = (cx.output::<Float>(0), cx.output::<Float>(1));
        let (n, dtype) = (v.size(-1), v.dtype());
        let along = cx.take_cotangent(0).map(|g| by_columns(&v, &g).matmul(&v.t()));
        let turned = cx.take_cotangent(1).map(|g| {
            // The diagonal is divided by 1 and dropped.
            let apart =
                values.unsqueeze(-2) - values.unsqueeze(-1) + pattern(n, n, dtype, |i, j| (i == j) as u8 as f64);
            let inner = v.t().matmul(&g) * pattern(n, n, dtype, |i, j| (i != j) as u8 as f64) / apart;
            v.matmul(&inner).matmul(&v.t())
        });
        if let Some(d) = along.into_iter().chain(turned).reduce(|a, b| a + b) {
            cx.give(0, symmetric_part(&d));
        }
    }
    Op {
        name: "eigh",
        operands: &["input"],
        forward: |call| {
            let a = Matrices::square(call.input(0))?;
            let n = a.rows;
            a.each(&a.batch, call.input(0).dtype(), &[&[n], &[n, n]], |i, out, par| match n {
                0 => Ok(()),
                _ => factor::eigh(out, a.get(i), n, par),
            })
        },
        gradient: Gradient::Rule { saves: |_| Saves::OUTPUT.and_output(1), vjp },
        info: || OpInfo {
            family: Family::Factor,
            numpy: "linalg.eigh",
            torch: "linalg.eigh",
            precisions: PRECISE,
            samples: square_samples,
            specials: |g| {
                // Equal eigenvalues: each still has a gradient, since the sum of all is the trace.
                let x = g.tensor(&[2.0, 0.0, 0.0, 2.0], &[2, 2].into());
                vec![Sample::new([x], Attrs::NONE).with_gradient([vec![1.0, 0.0, 0.0, 1.0]])]
            },
            misuses: square_misuses,
        },
    }
};

/// The operation of [`Tensor::svd`]. Its first output is that of the singular values.
pub(crate) static SVD: Op = {
    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let a = Matrices::of(call.input(0))?;
        let (m, n) = (a.rows, a.columns);
        let k = m.min(n);
        a.each(&a.batch, call.input(0).dtype(), &[&[k], &[m, k], &[k, n]], |i, out, par| match k {
            0 => Ok(()),
            _ => factor::svd(out, a.get(i), m, n, par),
        })
    }
    // J. Townsend, Differentiating the singular value decomposition, 2016.
    fn vjp(cx: &mut Vjp<'_>) {
        let (s, u, vh) = (cx.output::<Float>(0), cx.output::<Float>(1), cx.output::<Float>(2));
        let (gs, gu, gvh) = (cx.take_cotangent(0), cx.take_cotangent(1), cx.take_cotangent(2));
        let (m, n, k, dtype) = (u.size(-2), vh.size(-1), s.size(-1), s.dtype());
        let skew = |x: Tensor| &x - x.t();
        let square = s.square();
        let apart = square.unsqueeze(-2) - square.unsqueeze(-1) + pattern(k, k, dtype, |i, j| (i == j) as u8 as f64);
        let mut parts: Vec<Tensor> = Vec::new();
        if let Some(gs) = gs {
            parts.push(by_columns(&u, &gs).matmul(&vh));
        }
        if let Some(gu) = gu {
            let turned = skew(u.t().matmul(&gu)) / &apart;
            parts.push(u.matmul(&by_columns(&turned, &s)).matmul(&vh));
            if m > k {
                // What leaves the space that U spans.
                let out = &gu - u.matmul(&u.t().matmul(&gu));
                parts.push((out / s.unsqueeze(-2)).matmul(&vh));
            }
        }
        if let Some(gvh) = gvh {
            let turned = skew(vh.matmul(&gvh.t())) / &apart;
            parts.push(by_columns(&u, &s).matmul(&turned).matmul(&vh));
            if n > k {
                let out = &gvh - gvh.matmul(&vh.t()).matmul(&vh);
                parts.push((&u / s.unsqueeze(-2)).matmul(&out));
            }
        }
        if let Some(d) = parts.into_iter().reduce(|a, b| a + b) {
            cx.give(0, d);
        }
    }
    Op {
        name: "svd",
        operands: &["input"],
        forward,
        gradient: Gradient::Rule { saves: |_| Saves::OUTPUT.and_output(1).and_output(2), vjp },
        info: || OpInfo {
            family: Family::Factor,
            numpy: "linalg.svd",
            torch: "linalg.svd",
            precisions: PRECISE,
            samples: rectangular_samples,
            specials: |_| Vec::new(),
            misuses: rectangular_misuses,
        },
    }
};

fn two(outputs: Outputs) -> Result<(Tensor, Tensor)> {
    let mut outputs = outputs.into_iter();
    let mut next = || outputs.next().expect("two outputs").downcast();
    Ok((next()?, next()?))
}

twin! {
    impl [] Tensor {
        /// The lower triangular `L` with `L.matmul(&L.t()) == a`, for a symmetric positive definite matrix or each of a
        /// batch of them: `[.., n, n]`. Of a matrix that is not symmetric, the symmetric part, `(a + a.t()) / 2`, is
        /// factored, and the gradient is symmetric.
        ///
        /// Computed in double precision.
        ///
        /// # Panics
        /// If the matrices are not square, one of them is not positive definite, an element is NaN or infinite, or the
        /// precision is neither F32 nor F64.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let l = tensor![[4.0, 2.0], [2.0, 5.0]].cholesky();
        /// assert_eq!(l.to_vec::<f32>(), [2.0, 0.0, 1.0, 2.0]);
        /// ```
        pub fn cholesky / try_cholesky(&self) -> Tensor {
            apply1(&CHOLESKY, Attrs::NONE, &mut [self.into()])
        }

        /// The reduced QR factors of a matrix or of each of a batch: `[.., m, n]` gives `Q` `[.., m, k]` with
        /// orthonormal columns and `R` `[.., k, n]`, upper triangular with no negative number on its diagonal, with
        /// `k = min(m, n)` and `Q.matmul(&R)` the matrix. So the factors of a matrix of full rank are unique.
        ///
        /// Computed in double precision, by Householder reflections.
        ///
        /// # Panics
        /// If the rank of the tensor is below 2, an element is NaN or infinite, or the precision is neither F32 nor F64.
        /// Backward panics where the first `k` columns are linearly dependent: there is no derivative.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let a = tensor![[0.0, 2.0], [-1.0, 3.0]];
        /// let (q, r) = a.qr();
        /// assert_eq!(r.i((1, 0)).item(), 0.0);
        /// assert!((q.matmul(&r) - a).abs().max().item() < 1e-6);
        /// ```
        pub fn qr / try_qr(&self) -> (Tensor, Tensor) {
            two(apply(&QR, Attrs::NONE, &mut [self.into()])?)
        }

        /// The eigenvalues, in ascending order, and the eigenvectors, as columns, of a symmetric matrix or of each of a
        /// batch: `[.., n, n]` gives `[.., n]` and `[.., n, n]`. Of a matrix that is not symmetric, the symmetric part,
        /// `(a + a.t()) / 2`, is taken, and the gradient is symmetric.
        ///
        /// The sign of an eigenvector is free: here its element of largest magnitude is positive. Where two eigenvalues
        /// are equal, their eigenvectors are any orthonormal pair of a plane, and have no derivative: a gradient that
        /// comes through them is infinite or NaN. One that comes through the values alone is right.
        ///
        /// Computed in double precision.
        ///
        /// # Panics
        /// If the matrices are not square, an element is NaN or infinite, or the precision is neither F32 nor F64.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let (values, vectors) = tensor![[2.0, 0.0], [0.0, 1.0]].eigh();
        /// assert_eq!(values.to_vec::<f32>(), [1.0, 2.0]);
        /// assert_eq!(vectors.to_vec::<f32>(), [0.0, 1.0, 1.0, 0.0]);
        /// ```
        pub fn eigh / try_eigh(&self) -> (Tensor, Tensor) {
            two(apply(&EIGH, Attrs::NONE, &mut [self.into()])?)
        }

        /// The thin singular value decomposition of a matrix or of each of a batch: `[.., m, n]` gives `U` `[.., m, k]`,
        /// the singular values `S` `[.., k]` in descending order, and `Vh` `[.., k, n]`, with `k = min(m, n)` and
        /// `(U * S.unsqueeze(-2)).matmul(&Vh)` the matrix.
        ///
        /// The common sign of a left and a right singular vector is free: here the left one's element of largest
        /// magnitude is positive. Where two singular values are equal, or, for matrices that are not square, one is 0,
        /// the vectors have no derivative: a gradient that comes through them is infinite or NaN. One that comes through
        /// the values alone is right.
        ///
        /// Computed in double precision.
        ///
        /// # Panics
        /// If the rank of the tensor is below 2, an element is NaN or infinite, or the precision is neither F32 nor F64.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let (u, s, vh) = tensor![[0.0, 2.0], [1.0, 0.0]].svd();
        /// assert_eq!(s.to_vec::<f32>(), [2.0, 1.0]);
        /// assert_eq!((u * s.unsqueeze(-2)).matmul(&vh).to_vec::<f32>(), [0.0, 2.0, 1.0, 0.0]);
        /// ```
        pub fn svd / try_svd(&self) -> (Tensor, Tensor, Tensor) {
            let mut outputs = apply(&SVD, Attrs::NONE, &mut [self.into()])?.into_iter();
            let mut next = || outputs.next().expect("three outputs").downcast();
            let (s, u) = (next()?, next()?);
            Ok((u, s, next()?))
        }
    }
}
