//! Cross entropy against class numbers: row by row along one axis, in any layout, from logits or from log-probabilities.

use crate::dtype::Element;
use crate::kernels::number::Precise;
use crate::kernels::pane::strided_run;
use crate::kernels::scratch::Scratch;
use crate::kernels::softmax::{self, Rows, exponentials, for_rows, log_sum, rows_in_compute};
use crate::layout::Layout;
use crate::par::{GRAIN, Par, SharedMut};

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

/// Whether neighbours of an element belong to other rows, so that rows are best worked on side by side, and results are
/// stored in the precision that kernels compute in.
fn lie_aside<T: Element>(layout: &Layout, axis: usize) -> bool {
    let after: usize = layout.shape()[axis + 1..].iter().product();
    after > 1 && layout.contiguous().is_some() && T::direct(&[]).is_some()
}

/// The loss of each row of `x` along `axis`, in `f64`: minus the log-probabilities, times what is asked. `x` holds
/// those themselves or, where `logits` says so, the logits that `log(softmax(x))` makes them from.
pub fn losses<T>(x: &[T], layout: &Layout, axis: usize, classes: &Classes, logits: bool, par: &Par) -> Vec<f64>
where
    T: Element<Compute: Precise>,
{
    if logits && lie_aside::<T>(layout, axis) {
        let mut logs = Scratch::<T>::new(layout.elements());
        softmax::log_softmax(&mut logs, x, layout, axis, par);
        return losses(&logs, &Layout::dense(layout.shape().clone()), axis, classes, false, par);
    }
    let (rows, n) = (Rows::new(layout, axis), layout.shape()[axis]);
    let per_block = (GRAIN / n.max(1)).max(1);
    let mut losses = vec![0.0; classes.labels.len()];
    if !logits && classes.smoothing == 0.0 {
        // Of each row one element is asked for.
        rows.joint.for_elements(0..losses.len(), |r, [at]| {
            let Some(label) = classes.labels[r] else { return };
            let there = x[at.wrapping_add_signed(label as isize * rows.step)];
            losses[r] = classes.weight(label) * -there.to_f64();
        });
        return losses;
    }
    par.chunks_mut(&mut losses, per_block, |block, part| {
        let mut row = vec![T::default(); n];
        let mut up = Vec::new();
        let first = block * per_block;
        rows.joint.for_elements(first..first + part.len(), |r, [at]| {
            let Some(label) = classes.labels[r] else { return };
            strided_run(&mut row, x, at, rows.step);
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

/// What is asked of a row with some label, as a share of all that is asked of it.
struct Asked<'a> {
    classes: &'a Classes,
    /// Of each class, times its weight; and the weights of all.
    spread: f64,
    total: f64,
}

impl Asked<'_> {
    fn new(classes: &Classes, n: usize) -> Asked<'_> {
        Asked { classes, spread: classes.spread(n), total: (0..n).map(|c| classes.weight(c)).sum() }
    }

    fn own(&self, label: usize) -> f64 {
        (1.0 - self.classes.smoothing) * self.classes.weight(label)
    }

    /// All of it: not a share.
    fn whole(&self, label: usize) -> f64 {
        self.own(label) + self.spread * self.total
    }

    /// The label's part. Of a label that weighs nothing, too.
    fn at_label(&self, label: usize) -> f64 {
        if self.classes.smoothing == 0.0 { 1.0 } else { self.own(label) / self.whole(label) }
    }

    /// A class's part, beside that.
    fn at_class(&self, label: usize, class: usize) -> f64 {
        self.spread * self.classes.weight(class) / self.whole(label)
    }
}

/// The gradient of [`losses`] times `scale` of each row, with respect to logits: their softmax times all that is asked,
/// less what is asked.
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
    let n = layout.shape()[axis];
    let asked = Asked::new(classes, n);
    if lie_aside::<T>(layout, axis) {
        softmax::softmax(out, x, layout, axis, par);
        let out = T::direct_mut(out).expect("the precision that kernels compute in");
        return less_asked(out, [n, layout.shape()[axis + 1..].iter().product()], &asked, scale, par);
    }
    for_rows(out, x, layout, axis, par, |first, rows| {
        exponentials(rows, n);
        for (i, row) in rows.chunks_exact_mut(n).enumerate() {
            let r = first + i;
            let Some(label) = classes.labels[r] else {
                row.fill(T::Compute::default());
                continue;
            };
            row[label] = row[label] - lit(asked.at_label(label));
            if classes.smoothing > 0.0 {
                row.iter_mut().enumerate().for_each(|(c, v)| *v = *v - lit(asked.at_class(label, c)));
            }
            let scale = lit(asked.whole(label) * scale(r));
            row.iter_mut().for_each(|v| *v = *v * scale);
        }
    });
}

/// Makes the softmax of rows that lie side by side, `[before, n, after]`, the gradient of their losses.
fn less_asked<C: Element + Precise>(
    out: &mut [C],
    [n, after]: [usize; 2],
    asked: &Asked<'_>,
    scale: impl Fn(usize) -> f64 + Sync,
    par: &Par,
) {
    let lit = <C as Element>::from_f64;
    let width = (GRAIN / n.max(1)).clamp(1, after);
    let stretches = after.div_ceil(width);
    let (tasks, out) = (asked.classes.labels.len() / after * stretches, SharedMut::new(out));
    par.for_each(tasks, |task| {
        let (b, from) = (task / stretches, task % stretches * width);
        let labels = &asked.classes.labels[b * after + from..][..width.min(after - from)];
        let line = |c: usize| {
            let start = (b * n + c) * after + from;
            // SAFETY: each task has its own rows, and one of their lines at a time.
            unsafe { out.range(start..start + labels.len()) }
        };
        let scale = |j: usize| labels[j].map_or(0.0, |label| asked.whole(label) * scale(b * after + from + j));
        let scales: Vec<C> = (0..labels.len()).map(|j| lit(scale(j))).collect();
        let counted = || labels.iter().enumerate().filter_map(|(j, label)| Some((j, (*label)?)));
        for (j, label) in counted() {
            let there = &mut line(label)[j];
            *there = *there - lit(asked.at_label(label));
        }
        for c in 0..n {
            let line = line(c);
            if asked.classes.smoothing > 0.0 {
                counted().for_each(|(j, label)| line[j] = line[j] - lit(asked.at_class(label, c)));
            }
            line.iter_mut().zip(&scales).for_each(|(v, &scale)| *v = *v * scale);
        }
        for j in (0..labels.len()).filter(|&j| labels[j].is_none()) {
            (0..n).for_each(|c| line(c)[j] = lit(0.0));
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
