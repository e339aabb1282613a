//! The registry: every operation there is, with what tests, documentation and benchmarks need to know of it.
//!
//! An operation without an entry does not exist. From its entry come its gradient checks, layout and ownership tests,
//! and the tests of its errors.

use crate::dispatch::{Attrs, Op};
use crate::dtype::DType;
use crate::kernels::random::Numbers;
use crate::kind::{Bool, Float, Int};
use crate::shape::Shape;
use crate::tensor::{AnyTensor, Tensor};

/// The kernel family that does an operation's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)] // the names are those of the kernel files
pub enum Family {
    Fill,
    Copy,
    Map,
    Zip,
    Reduce,
    Scan,
    Gather,
    Scatter,
    Select,
    Gemm,
    Factor,
    Conv,
    Pool,
    Sort,
    Random,
    Norm,
    Recurrent,
}

/// What is known of an operation beyond how to compute it.
pub struct OpInfo {
    /// The kernel family that does the work.
    pub family: Family,
    /// What NumPy calls it; empty where it has no such function.
    pub numpy: &'static str,
    /// What PyTorch calls it; empty where it has no such function.
    pub torch: &'static str,
    /// The precisions of the first input (of the output, where there are no inputs) that it takes.
    pub precisions: &'static [DType],
    /// Random inputs: each call gives other ones. Inputs of precision [`Gen::dtype`], shapes of all sorts: empty,
    /// size 1, rank 0, broadcast. Away from points where the gradient jumps.
    pub samples: fn(&mut Gen) -> Vec<Sample>,
    /// Inputs at the points where mistakes hide: zeros, ties, kinks, infinities.
    pub specials: fn(&mut Gen) -> Vec<Sample>,
    /// Inputs that must fail.
    pub misuses: fn() -> Vec<Misuse>,
}

/// All float precisions.
pub const FLOATS: &[DType] = &DType::FLOATS;
/// All float and integer precisions.
///
/// ```
/// use wengert_tensor::registry::{ALL, FLOATS, NUMERIC};
/// assert!(FLOATS.iter().all(|d| NUMERIC.contains(d)) && NUMERIC.len() + 1 == ALL.len());
/// ```
pub const NUMERIC: &[DType] =
    &[DType::F32, DType::F64, DType::F16, DType::BF16, DType::I64, DType::I32, DType::U8, DType::I8];
/// All precisions.
pub const ALL: &[DType] = &DType::ALL;

/// One call of an operation.
#[derive(Clone)]
pub struct Sample {
    /// The inputs.
    pub inputs: Vec<AnyTensor>,
    /// The attributes.
    pub attrs: Attrs,
    /// Where differences do not tell (at a kink), the gradient that the sum of the outputs must have with respect to
    /// each input, in row-major order.
    pub gradients: Option<Vec<Vec<f64>>>,
}

impl Sample {
    /// A call with these inputs.
    pub fn new(inputs: impl IntoIterator<Item = AnyTensor>, attrs: Attrs) -> Sample {
        Sample { inputs: inputs.into_iter().collect(), attrs, gradients: None }
    }

    /// States the gradient, for a point where differences do not tell.
    ///
    /// ```
    /// use wengert_tensor::registry::Sample;
    /// use wengert_tensor::{dispatch::Attrs, scalar};
    /// let at_the_kink = Sample::new([scalar(0.0).into()], Attrs::NONE).with_gradient([vec![0.0]]);
    /// assert!(at_the_kink.gradients.is_some());
    /// ```
    pub fn with_gradient(mut self, gradients: impl IntoIterator<Item = Vec<f64>>) -> Sample {
        self.gradients = Some(gradients.into_iter().collect());
        self
    }
}

/// A call that must fail, and a part of what its error must say.
pub struct Misuse {
    /// The inputs.
    pub inputs: Vec<AnyTensor>,
    /// The attributes.
    pub attrs: Attrs,
    /// What the error's text must contain.
    pub says: &'static str,
}

impl Misuse {
    /// A call that must fail with an error that says `says`.
    pub fn new(inputs: impl IntoIterator<Item = AnyTensor>, attrs: Attrs, says: &'static str) -> Misuse {
        Misuse { inputs: inputs.into_iter().collect(), attrs, says }
    }
}

/// A source of sample inputs: seeded, so that a failure can be repeated.
///
/// ```
/// use wengert_tensor::DType;
/// use wengert_tensor::registry::Gen;
/// let mut g = Gen::new(1, DType::F64);
/// let (a, b) = g.broadcast_pair();
/// assert!(a.broadcast(&b).is_ok());
/// let shape = g.full_shape(1, 3); // no axis is empty
/// assert!((1..=3).contains(&shape.rank()) && shape.elements() > 0);
/// assert!(g.below(3) < 3 && (-1.0..1.0).contains(&g.real(-1.0, 1.0)) && [2, 4].contains(&g.pick(&[2, 4])));
/// assert!(g.ints(&shape, 0, 5).to_f64_vec().iter().all(|&i| i < 5.0));
/// assert_eq!(g.bools(&shape).dtype(), DType::Bool);
/// let mut values = g.distinct(&shape).to_f64_vec();
/// values.sort_by(f64::total_cmp);
/// assert!(values.windows(2).all(|pair| pair[0] < pair[1]));
/// ```
pub struct Gen {
    numbers: Numbers,
    /// The precision of number inputs.
    pub dtype: DType,
}

impl Gen {
    /// A source for inputs of precision `dtype`.
    pub fn new(seed: u64, dtype: DType) -> Gen {
        Gen { numbers: Numbers::new(seed, 0), dtype }
    }

    /// A number below `n`.
    ///
    /// # Panics
    /// If `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.numbers.next() % n as u64) as usize
    }

    /// A number in `[low, high)`.
    pub fn real(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.numbers.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One of `choices`.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// A shape of `min_rank` to `max_rank` axes of sizes 1 to 4, and now and then an empty axis.
    pub fn shape(&mut self, min_rank: usize, max_rank: usize) -> Shape {
        let rank = min_rank + self.below(max_rank - min_rank + 1);
        let mut shape: Shape = (0..rank).map(|_| 1 + self.below(4)).collect();
        if rank > 0 && self.below(12) == 0 {
            let axis = self.below(rank);
            shape[axis] = 0;
        }
        shape
    }

    /// A shape without empty axes.
    pub fn full_shape(&mut self, min_rank: usize, max_rank: usize) -> Shape {
        let mut shape = self.shape(min_rank, max_rank);
        shape.iter_mut().for_each(|s| *s = (*s).max(1));
        shape
    }

    /// Two shapes that broadcast to one another.
    pub fn broadcast_pair(&mut self) -> (Shape, Shape) {
        let whole = self.shape(0, 3);
        let part = |g: &mut Gen| -> Shape {
            let drop = if g.below(2) == 0 { 0 } else { g.below(whole.rank() + 1) };
            whole[drop..].iter().map(|&s| if g.below(4) == 0 { 1 } else { s }).collect()
        };
        if self.below(2) == 0 { (whole.clone(), part(self)) } else { (part(self), whole.clone()) }
    }

    /// Numbers of precision [`Gen::dtype`] in `[low, high)`; integers are rounded down.
    pub fn numbers(&mut self, shape: &Shape, low: f64, high: f64) -> AnyTensor {
        self.avoiding(shape, low, high, &[])
    }

    /// Numbers in `[low, high)` that keep 0.05 away from each of `points`.
    pub fn avoiding(&mut self, shape: &Shape, low: f64, high: f64, points: &[f64]) -> AnyTensor {
        let values: Vec<f64> = (0..shape.elements())
            .map(|_| {
                loop {
                    let v = self.real(low, high);
                    if points.iter().all(|p| (v - p).abs() > 0.05) {
                        return v;
                    }
                }
            })
            .collect();
        self.tensor(&values, shape)
    }

    /// Numbers in shuffled order that all differ by at least 0.25.
    pub fn distinct(&mut self, shape: &Shape) -> AnyTensor {
        let n = shape.elements();
        let mut values: Vec<f64> = (0..n).map(|i| (i as f64 - n as f64 / 2.0) * 0.25 + 0.1).collect();
        for i in (1..n).rev() {
            let j = self.below(i + 1);
            values.swap(i, j);
        }
        self.tensor(&values, shape)
    }

    /// A tensor of precision [`Gen::dtype`] with these values, row-major.
    ///
    /// # Panics
    /// If their number is not that of the shape.
    pub fn tensor(&mut self, values: &[f64], shape: &Shape) -> AnyTensor {
        match self.dtype {
            DType::Bool => {
                let v: Vec<bool> = values.iter().map(|v| *v > 0.0).collect();
                Tensor::<Bool>::from_vec(v, shape).into()
            }
            d if d.is_int() => {
                let v: Vec<i64> = values.iter().map(|v| v.floor() as i64).collect();
                Tensor::<Int>::from_vec(v, shape).to_dtype(d).into()
            }
            d => Tensor::<Float>::from_vec(values.to_vec(), shape).to_dtype(d).into(),
        }
    }

    /// Integers (`I64`) in `low..high`.
    ///
    /// # Panics
    /// If the range is empty and the shape is not.
    pub fn ints(&mut self, shape: &Shape, low: i64, high: i64) -> AnyTensor {
        let v: Vec<i64> = (0..shape.elements()).map(|_| low + self.below((high - low) as usize) as i64).collect();
        Tensor::<Int>::from_vec(v, shape).into()
    }

    /// Truth values.
    pub fn bools(&mut self, shape: &Shape) -> AnyTensor {
        let v: Vec<bool> = (0..shape.elements()).map(|_| self.below(2) == 0).collect();
        Tensor::<Bool>::from_vec(v, shape).into()
    }
}

/// Every operation, family by family.
///
/// ```
/// use wengert_tensor::registry::ops;
/// let differentiable = ops().filter(|op| op.gradient.rule().is_some()).count();
/// assert!(differentiable > 100);
/// ```
pub fn ops() -> impl Iterator<Item = &'static Op> {
    crate::ops::ALL.iter().flat_map(|family| family.iter().copied())
}

/// The operation of that name.
pub fn find(name: &str) -> Option<&'static Op> {
    ops().find(|op| op.name == name)
}
