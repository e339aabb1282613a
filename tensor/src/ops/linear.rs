//! The linear map of the last axis, which layers are made of.

use smallvec::SmallVec;

use crate::dispatch::{Arg, Attrs, Call, Gradient, Op, Outputs, apply1};
use crate::dtype::with_dtype;
use crate::error::{Error, Result};
use crate::kernels::gemm;
use crate::ops::cast::in_single;
use crate::ops::elementwise::unsupported;
use crate::ops::matmul::as_matrix;
use crate::ops::shape::dense;
use crate::ops::{other_input, twin};
use crate::par::Par;
use crate::registry::{FLOATS, Family, Gen, Misuse, OpInfo, Sample};
use crate::shape::Shape;
use crate::tape::Vjp;
use crate::tensor::{AnyTensor, Tensor};

/// The operations of this file.
pub(crate) static OPS: &[&Op] = &[&LINEAR];

/// The operation of [`Tensor::linear`].
pub(crate) static LINEAR: Op = {
    /// Checks the shapes, and returns that of the result.
    fn result(call: &Call<'_, '_>) -> Result<Shape> {
        let (x, w) = (call.input(0).shape(), call.input(1).shape());
        let &[outputs, inputs] = &w[..] else {
            return Err(Error::new(format!("weight has rank {}, not 2", w.rank()))
                .help("its axes are output features, input features"));
        };
        let Some(&features) = x.last() else {
            return Err(Error::new("input has rank 0, and a linear map is one of its last axis")
                .help("to scale by a number, use `*`"));
        };
        if features != inputs {
            let e = Error::new(format!(
                "features differ: {features} (axis {} of input) and {inputs} (axis 1 of weight)",
                x.rank() - 1
            ));
            return Err(match features == outputs {
                true => e.help("the weight has the output features first: input.linear(&weight.t(), ..)"),
                false => e.help("the last axis of input must have the size of the last axis of weight"),
            });
        }
        if call.len() > 2 && *call.input(2).shape() != [outputs] {
            return Err(Error::new(format!("bias has shape {}, not [{outputs}]", call.input(2).shape()))
                .help("it holds one number for each output feature"));
        }
        let lead = &x[..x.rank() - 1];
        lead.iter().copied().chain([outputs]).collect::<Shape>().addressable()
    }

    fn forward(call: &mut Call<'_, '_>) -> Result<Outputs> {
        let dtype = call.same_dtype()?;
        let shape = result(call)?;
        if !dtype.is_float() {
            return Err(unsupported(dtype).help("convert first: x.to_float()"));
        }
        if dtype.size() == 2 {
            return in_single(call, &LINEAR);
        }
        let &[n, k] = &call.input(1).shape()[..] else { unreachable!("checked above") };
        let m = shape[..shape.rank() - 1].iter().product::<usize>();
        // All rows of the input as one matrix, if it lies so.
        let rows = |x: &AnyTensor| Some(x.view(x.layout().reshape([m, k].into())?));
        let x = call.input(0);
        let x = rows(x).or_else(|| rows(&dense(x.clone()))).expect("what is dense has every shape");
        let (w, bias) = (call.input(1), (call.len() > 2).then(|| dense(call.input(2).clone())));
        let par = Par::of(m.saturating_mul(k).saturating_mul(n) / 32);
        Ok(with_dtype!(precise dtype, T => {
            let (a, b) = (as_matrix::<T>(&x), as_matrix::<T>(w).t());
            AnyTensor::filled(shape, |out: &mut [T]| match &bias {
                Some(bias) => gemm::affine(m, k, n, a, b, bias.dense_slice::<T>(), out, &par),
                None => gemm::gemm(m, k, n, a, b, out, false, &par),
            })
        })
        .into())
    }

    fn vjp(cx: &mut Vjp<'_>) {
        let g = cx.g();
        let rows = |t: &Tensor| match t.rank() {
            1 => t.unsqueeze(0),
            2 => t.clone(),
            _ => t.flatten(..-1),
        };
        if cx.needs(0) {
            cx.give(0, g.matmul(&cx.input(1)));
        }
        if cx.needs(1) {
            // This way round it lies as the weight does.
            cx.give(1, rows(&g).t().matmul(&rows(&cx.input(0))));
        }
        if cx.needs(2) {
            cx.give(2, rows(&g).sum_axis(0));
        }
    }

    fn samples(g: &mut Gen) -> Vec<Sample> {
        let (inputs, outputs, lead) = (g.below(4), g.below(4), g.shape(0, 2));
        let x: Shape = lead.iter().copied().chain([inputs]).collect();
        let bias = (g.below(2) == 0).then(|| Shape::from([outputs]));
        let shapes: Vec<Shape> = [x, [outputs, inputs].into()].into_iter().chain(bias).collect();
        vec![Sample::new(shapes.iter().map(|s| g.numbers(s, -2.0, 2.0)), Attrs::NONE)]
    }

    fn misuses() -> Vec<Misuse> {
        let z = |shape: &[usize]| -> AnyTensor { Tensor::zeros(shape).into() };
        let case = |shapes: &[&[usize]], says| Misuse::new(shapes.iter().map(|s| z(s)), Attrs::NONE, says);
        vec![
            case(&[&[2, 3], &[4, 5]], "features differ: 3 (axis 1 of input) and 5 (axis 1 of weight)"),
            case(&[&[2, 3], &[3, 5]], "input.linear(&weight.t(), ..)"),
            case(&[&[2, 3], &[3]], "weight has rank 1, not 2"),
            case(&[&[], &[3, 1]], "input has rank 0"),
            case(&[&[2, 3], &[4, 3], &[3]], "bias has shape [3], not [4]"),
        ]
    }

    Op {
        name: "linear",
        operands: &["input", "weight", "bias"],
        forward,
        gradient: Gradient::Rule { saves: other_input, vjp },
        info: || OpInfo {
            family: Family::Gemm,
            numpy: "",
            torch: "nn.functional.linear",
            precisions: FLOATS,
            samples,
            specials: |_| Vec::new(),
            misuses,
        },
    }
};

twin! {
    impl [] Tensor {
        /// The linear map of the last axis, `x W^T + b`: `[.., out_features]` of `[.., in_features]`, with a weight
        /// `[out_features, in_features]` and, where given, a bias `[out_features]`.
        ///
        /// 16-bit floats accumulate in `F32`.
        ///
        /// # Panics
        /// If the features or the precisions differ, or a rank does not fit.
        ///
        /// ```
        /// use wengert_tensor::tensor;
        /// let (x, w) = (tensor![[1.0, 2.0]], tensor![[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]);
        /// let y = x.linear(&w, Some(&tensor![0.0, 0.0, 10.0]));
        /// assert_eq!(y.to_vec::<f32>(), [1.0, 2.0, 13.0]);
        /// ```
        pub fn linear / try_linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
            let mut inputs: SmallVec<[Arg<'_>; 3]> = smallvec::smallvec![self.into(), weight.into()];
            inputs.extend(bias.map(Arg::from));
            apply1(&LINEAR, Attrs::NONE, &mut inputs)
        }
    }
}
