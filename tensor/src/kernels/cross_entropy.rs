//! Cross entropy against class numbers: row by row along one axis, in any layout, from logits or from log-probabilities.

use crate::dtype::Element;
use crate::kernels::copy;
use crate::kernels::number::Precise;
use crate::kernels::softmax::{Rows, exponentials, for_rows, log_sum, rows_in_compute};
use crate::layout::Layout;
use crate::par::{GRAIN, Par};

/// What is asked of each row, as a weight for each class: `(1 - smoothing) w` of the row's class at that class, and
/// `smoothing / C` times `w` at each of the `C` classes.
pub struct Classes {
    /// The class of each row; `None` for rows that do not count.
    pub labels: Vec<Option<usize>>,
    /// A weight for each class; none where all are 1.
    pub weights: Vec<f64>,
    /// The share that is spread over all classes.
    pub smoothing: f64,
}

impl Classes {
    /// The weight of a class.
    pub fn weight(&self, class: usize) -> f64 {
        self.weights.get(class).copied().unwrap_or(1.0)
    }

    /// What each of `classes` classes is asked for beside the row's own.
    fn spread(&self, classes: usize) -> f64 {
        self.smoothing / classes as f64
    }
}

/// The loss of each row of `x` along `axis`, in `f64`: minus the log-probabilities, times what is asked. `x` holds
/// those themselves or, where `logits` says so, the logits that `log(softmax(x))` makes them from.
pub fn losses<T>(x: &[T], layout: &Layout, axis: usize, classes: &Classes, logits: bool, par: &Par) -> Vec<f64>
where
    T: Element<Compute: Precise>,
{
    let (rows, n) = (Rows::new(layout, axis), layout.shape()[axis]);
    let per_block = (GRAIN / n.max(1)).max(1);
    let mut losses = vec![0.0; classes.labels.len()];
    par.chunks_mut(&mut losses, per_block, |block, part| {
        let mut row = vec![T::default(); n];
        let mut up = Vec::new();
        let first = block * per_block;
        rows.joint.for_elements(first..first + part.len(), |r, [at]| {
            let Some(label) = classes.labels[r] else { return };
            copy::strided_run(&mut row, x, at, rows.step);
            part[r - first] = rows_in_compute(&mut row, &mut up, |row| {
                let zero = T::Compute::from_f64(0.0);
                let (max, log_sum) = if logits { log_sum(row) } else { (zero, zero) };
                let minus_log = |v: T::Compute| (log_sum - (v - max)).to_f64();
                let own = (1.0 - classes.smoothing) * classes.weight(label) * minus_log(row[label]);
                if classes.smoothing == 0.0 {
                    return own;
                }
                let all = row.iter().enumerate().map(|(c, &v)| classes.weight(c) * minus_log(v));
                own + classes.spread(n) * all.sum::<f64>()
            });
        });
    });
    losses
}

/// The gradient of [`losses`] times `scale` of each row, with respect to logits.
pub fn logits_gradient<T>(
    out: &mut [T],
    x: &[T],
    layout: &Layout,
    axis: usize,
    classes: &Classes,
    scale: impl Fn(usize) -> f64 + Sync,
    par: &Par,
) where
    T: Element<Compute: Precise>,
{
    let lit = T::Compute::from_f64;
    let total: f64 = (0..layout.shape()[axis]).map(|c| classes.weight(c)).sum();
    let n = layout.shape()[axis];
    for_rows(out, x, layout, axis, par, |first, rows| {
        exponentials(rows, n);
        for (i, row) in rows.chunks_exact_mut(n).enumerate() {
            let r = first + i;
            let Some(label) = classes.labels[r] else {
                row.fill(T::Compute::default());
                continue;
            };
            let (own, spread) = ((1.0 - classes.smoothing) * classes.weight(label), classes.spread(n));
            // softmax(x) times all that is asked, less what is asked.
            let asked = own + spread * total;
            if classes.smoothing == 0.0 {
                row[label] = row[label] - lit(1.0);
            } else {
                row[label] = row[label] - lit(own / asked);
                row.iter_mut().enumerate().for_each(|(c, v)| *v = *v - lit(spread * classes.weight(c) / asked));
            }
            let scale = lit(asked * scale(r));
            row.iter_mut().for_each(|v| *v = *v * scale);
        }
    });
}

/// The gradient of [`losses`] times `scale` of each row, with respect to log-probabilities; `out` is dense, of layout
/// `layout`.
pub fn log_gradient<T>(out: &mut [T], layout: &Layout, axis: usize, classes: &Classes, scale: impl Fn(usize) -> f64)
where
    T: Element,
{
    out.fill(T::default());
    let (rows, n) = (Rows::new(layout, axis), layout.shape()[axis]);
    let step = rows.step as usize;
    rows.joint.for_elements(0..classes.labels.len(), |r, [at]| {
        let Some(label) = classes.labels[r] else { return };
        let own = (1.0 - classes.smoothing) * classes.weight(label);
        if classes.smoothing > 0.0 {
            for c in 0..n {
                out[at + c * step] = T::from_f64(-classes.spread(n) * classes.weight(c) * scale(r));
            }
        }
        let there = &mut out[at + label * step];
        *there = T::from_f64(there.to_f64() - own * scale(r));
    });
}
