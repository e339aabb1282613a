//! A line search for a step that meets the strong Wolfe conditions.

use wengert_tensor::{Result, Tensor};

/// How much of the decrease that the first slope promises a step must bring.
const DECREASE: f64 = 1e-4;
/// What share of the first slope may be left.
const CURVATURE: f64 = 0.9;

/// A point on the line.
#[derive(Clone)]
pub(crate) struct Point {
    /// How far along the direction.
    pub(crate) at: f64,
    /// The loss; infinite where it is NaN.
    pub(crate) loss: f64,
    pub(crate) gradient: Tensor,
    /// The derivative of the loss along the direction.
    pub(crate) slope: f64,
}

/// A point on the line where the loss has fallen enough and the slope is small enough, and how often `evaluate` was
/// called; the best point of those tried, where `most` calls did not find such a one.
///
/// `start` is the point at 0, `first` the first step to try, `least` the shortest bracket worth searching.
///
/// J. Nocedal and S. Wright, "Numerical Optimization", 2nd edition 2006, algorithms 3.5 and 3.6; with the safeguards of
/// M. Schmidt's minFunc, as PyTorch has them.
pub(crate) fn strong_wolfe(
    start: &Point,
    first: f64,
    least: f64,
    most: usize,
    mut evaluate: impl FnMut(f64) -> Result<Point>,
) -> Result<(Point, usize)> {
    let too_high = |p: &Point| p.loss > start.loss + DECREASE * p.at * start.slope;
    let flat_enough = |p: &Point| p.slope.abs() <= -CURVATURE * start.slope;
    let (mut previous, mut point) = (start.clone(), evaluate(first)?);
    let mut calls = 1;

    // Go on until the best point lies between two that were tried.
    let mut ends = loop {
        if calls > most {
            break [start.clone(), point];
        }
        if too_high(&point) || (calls > 2 && point.loss >= previous.loss) {
            break [previous, point];
        }
        if flat_enough(&point) {
            return Ok((point, calls));
        }
        if point.slope >= 0.0 {
            break [previous, point];
        }
        let bounds = (point.at + 0.01 * (point.at - previous.at), point.at * 10.0);
        let next = evaluate(minimum(&previous, &point, bounds))?;
        previous = std::mem::replace(&mut point, next);
        calls += 1;
    };

    // Narrow the bracket.
    let order = |ends: &[Point; 2]| if ends[0].loss <= ends[1].loss { (0, 1) } else { (1, 0) };
    let (mut low, mut high) = order(&ends);
    let mut near_an_end = false;
    while calls <= most && (ends[1].at - ends[0].at).abs() >= least {
        let (left, right) = (ends[0].at.min(ends[1].at), ends[0].at.max(ends[1].at));
        let mut at = minimum(&ends[0], &ends[1], (left, right));
        // A point near an end tells little: one such point is tried, then one that is a tenth away from the end.
        let margin = 0.1 * (right - left);
        if (right - at).min(at - left) >= margin {
            near_an_end = false;
        } else if near_an_end || at >= right || at <= left {
            at = if (at - right).abs() < (at - left).abs() { right - margin } else { left + margin };
            near_an_end = false;
        } else {
            near_an_end = true;
        }
        let point = evaluate(at)?;
        calls += 1;
        if too_high(&point) || point.loss >= ends[low].loss {
            ends[high] = point;
            (low, high) = order(&ends);
        } else if flat_enough(&point) {
            ends[low] = point;
            break;
        } else {
            if point.slope * (ends[high].at - ends[low].at) >= 0.0 {
                ends[high] = ends[low].clone();
            }
            ends[low] = point;
        }
    }
    let [first, second] = ends;
    Ok((if low == 0 { first } else { second }, calls))
}

/// Where the cubic through two points with their slopes has its minimum, within bounds; the middle of the bounds, where
/// it has none.
fn minimum(a: &Point, b: &Point, (from, to): (f64, f64)) -> f64 {
    let d1 = a.slope + b.slope - 3.0 * (a.loss - b.loss) / (a.at - b.at);
    let d2 = (d1 * d1 - a.slope * b.slope).sqrt();
    let (left, right) = if a.at <= b.at { (a, b) } else { (b, a) };
    let at = right.at - (right.at - left.at) * ((right.slope + d2 - d1) / (right.slope - left.slope + 2.0 * d2));
    if at.is_finite() { at.max(from).min(to) } else { (from + to) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches `f` with derivative `df` from 0 and returns the point found.
    fn search(f: impl Fn(f64) -> f64, df: impl Fn(f64) -> f64, first: f64) -> Point {
        let point = |at: f64| {
            let loss = if f(at).is_nan() { f64::INFINITY } else { f(at) };
            Point { at, loss, gradient: Tensor::zeros([1]), slope: df(at) }
        };
        let start = point(0.0);
        let (found, calls) = strong_wolfe(&start, first, 1e-9, 25, |at| Ok(point(at))).unwrap();
        assert!(calls <= 26);
        assert!(found.loss <= start.loss + DECREASE * found.at * start.slope, "too high at {}", found.at);
        assert!(found.slope.abs() <= -CURVATURE * start.slope, "too steep at {}", found.at);
        found
    }

    #[test]
    fn the_conditions_hold_from_any_first_step() {
        for first in [1e-4, 0.1, 1.0, 3.0, 1e3] {
            let found = search(|x| (x - 1.0).powi(2), |x| 2.0 * (x - 1.0), first);
            assert!(found.at > 0.0 && found.at < 2.0);
            let wavy = search(|x| x * x / 20.0 - (2.0 * x).sin(), |x| x / 10.0 - 2.0 * (2.0 * x).cos(), first);
            assert!(wavy.at > 0.0);
        }
    }

    #[test]
    fn a_loss_that_is_nan_beyond_an_edge_is_searched_before_it() {
        // -ln(1 - x) has its edge at 1.
        let found = search(|x| -2.0 * x - (1.0 - x).ln(), |x| -2.0 + 1.0 / (1.0 - x), 5.0);
        assert!(found.at < 1.0, "{}", found.at);
    }
}
