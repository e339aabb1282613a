//! Printing: values aligned in columns, long tensors cut in the middle.

use std::fmt::{self, Write as _};

use crate::dtype::DType;
use crate::kind::Kind;
use crate::layout::Cut;
use crate::tape::Edge;
use crate::tensor::{AnyTensor, Tensor};

/// Tensors with more elements than this are cut: along each long axis only the first and last few are shown.
const MOST: usize = 1000;
/// How many positions are shown at each end of a cut axis.
const EDGE: usize = 3;

impl<K: Kind> fmt::Display for Tensor<K> {
    /// The values, aligned. `{:.2}` sets the number of decimals, `{:#}` shows a long tensor whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_values(self.as_any(), f)
    }
}

impl<K: Kind> fmt::Debug for Tensor<K> {
    /// The values, then the precision, the shape, and where the tensor came from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_any(), f)
    }
}

impl fmt::Display for AnyTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_values(self, f)
    }
}

impl fmt::Debug for AnyTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_values(self, f)?;
        write!(f, " {} {}", self.dtype(), self.shape())?;
        match (self.edge(), self.origin()) {
            (_, origin) if origin.is_empty() => Ok(()),
            (Edge::Cut(cut), origin) => write!(f, " {origin}, no gradient: {cut}"),
            (_, origin) => write!(f, " {origin}"),
        }
    }
}

/// The tensor with long axes cut to their ends, and which axes were cut.
fn ends(t: &AnyTensor, whole: bool) -> (Vec<f64>, Vec<usize>, Vec<bool>) {
    let long = !whole && t.elements() > MOST;
    let cut: Vec<bool> = t.shape().iter().map(|&n| long && n > 2 * EDGE).collect();
    let mut shown: Vec<usize> = t.shape().to_vec();
    for (axis, &is_cut) in cut.iter().enumerate() {
        if is_cut {
            shown[axis] = 2 * EDGE;
        }
    }
    if !cut.contains(&true) {
        return (t.to_f64_vec(), shown, cut);
    }
    let mut values = vec![0.0; shown.iter().product()];
    // Each combination of ends is a slice of the tensor; it lands in its corner of `values`.
    let corners = 1usize << cut.iter().filter(|c| **c).count();
    for corner in 0..corners {
        let (mut bit, mut cuts, mut starts) = (0, Vec::new(), Vec::new());
        for (axis, &n) in t.shape().iter().enumerate() {
            let (start, at, count) = match (cut[axis], corner >> bit & 1) {
                (false, _) => (0, 0, n),
                (true, 0) => (0, 0, EDGE),
                (true, _) => (n - EDGE, EDGE, EDGE),
            };
            bit += cut[axis] as usize;
            cuts.push(Cut { start, step: 1, count });
            starts.push(at);
        }
        let part = t.view(t.layout().slice(&cuts));
        let sizes = part.shape().clone();
        for (i, v) in part.to_f64_vec().into_iter().enumerate() {
            let (mut rest, mut place, mut step) = (i, 0, 1);
            for axis in (0..sizes.rank()).rev() {
                place += (starts[axis] + rest % sizes[axis]) * step;
                rest /= sizes[axis];
                step *= shown[axis];
            }
            values[place] = v;
        }
    }
    (values, shown, cut)
}

/// How the numbers of one tensor are written, all alike.
enum Style {
    Bool,
    Int,
    /// All floats are whole numbers.
    Whole,
    Decimals(usize),
    Scientific(usize),
}

impl Style {
    fn of(dtype: DType, values: &[f64], precision: Option<usize>) -> Style {
        if dtype == DType::Bool {
            return Style::Bool;
        }
        if dtype.is_int() {
            return Style::Int;
        }
        let sizes = || values.iter().filter(|v| v.is_finite() && **v != 0.0).map(|v| v.abs());
        let (largest, smallest) = (sizes().fold(0.0, f64::max), sizes().fold(f64::INFINITY, f64::min));
        let decimals = precision.unwrap_or(4);
        if largest >= 1e8 || (precision.is_none() && largest < 1e-3 && largest > 0.0) {
            return Style::Scientific(decimals);
        }
        if precision.is_none() {
            if values.iter().all(|v| !v.is_finite() || v.fract() == 0.0) {
                return Style::Whole;
            }
            if smallest < 1e-4 && largest > 1e3 {
                return Style::Scientific(decimals);
            }
        }
        Style::Decimals(decimals)
    }

    fn write(&self, v: f64) -> String {
        match self {
            Style::Bool => if v != 0.0 { "true" } else { "false" }.to_string(),
            _ if v.is_nan() => "NaN".to_string(),
            _ if v.is_infinite() => if v > 0.0 { "inf" } else { "-inf" }.to_string(),
            Style::Int => format!("{v}"),
            Style::Whole => format!("{v:.1}"),
            Style::Decimals(d) => format!("{v:.d$}"),
            Style::Scientific(d) => format!("{v:.d$e}"),
        }
    }
}

fn write_values(t: &AnyTensor, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (values, shown, cut) = ends(t, f.alternate());
    // Integers that an f64 does not hold are written from their own type.
    let style = Style::of(t.dtype(), &values, f.precision());
    let texts: Vec<String> = match style {
        Style::Int if !cut.contains(&true) => exact_ints(t),
        _ => values.iter().map(|&v| style.write(v)).collect(),
    };
    if shown.is_empty() {
        return f.write_str(&texts[0]);
    }
    let width = texts.iter().map(String::len).max().unwrap_or(0);
    let mut out = String::new();
    write_axis(&mut out, &texts, &shown, &cut, 0, width);
    f.write_str(&out)
}

fn exact_ints(t: &AnyTensor) -> Vec<String> {
    match t.int() {
        Ok(t) => t.to_vec::<i64>().iter().map(i64::to_string).collect(),
        Err(_) => Vec::new(),
    }
}

/// Writes the part of the values below one position of the axes before `axis`.
fn write_axis(out: &mut String, texts: &[String], shown: &[usize], cut: &[bool], axis: usize, width: usize) {
    let n = shown[axis];
    let last = axis + 1 == shown.len();
    let each = texts.len().checked_div(n).unwrap_or(0);
    out.push('[');
    for i in 0..n {
        if i > 0 {
            out.push(',');
            if last {
                out.push(' ');
            } else {
                newline(out, shown.len() - axis, axis);
            }
        }
        if cut[axis] && i == EDGE {
            out.push_str("..,");
            if last {
                out.push(' ');
            } else {
                newline(out, shown.len() - axis, axis);
            }
        }
        if last {
            let _ = write!(out, "{:>width$}", texts[i]);
        } else {
            write_axis(out, &texts[i * each..(i + 1) * each], shown, cut, axis + 1, width);
        }
    }
    out.push(']');
}

/// Blocks are set apart by one blank line for each axis beyond a matrix's.
fn newline(out: &mut String, axes_left: usize, axis: usize) {
    (0..axes_left - 1).for_each(|_| out.push('\n'));
    (0..=axis).for_each(|_| out.push(' '));
}

#[cfg(test)]
mod tests {
    use crate::{Bool, DType, Int, Tensor, scalar, tensor};

    #[test]
    fn numbers_are_aligned_and_alike() {
        assert_eq!(tensor![[1.0, -2.5], [100.0, 3.0]].to_string(), "[[  1.0000,  -2.5000],\n [100.0000,   3.0000]]");
        assert_eq!(tensor![1.0, 2.0].to_string(), "[1.0, 2.0]");
        assert_eq!(format!("{:.1}", tensor![1.0, 2.25]), "[1.0, 2.2]");
        assert_eq!(tensor![1e9, 1.0].to_string(), "[1.0000e9, 1.0000e0]");
        assert_eq!(tensor![f64::NAN, f64::INFINITY, 1.5].to_string(), "[   NaN,    inf, 1.5000]");
        assert_eq!(tensor![1, -20].to_string(), "[  1, -20]");
        assert_eq!(tensor![true, false].to_string(), "[ true, false]");
        assert_eq!(scalar(2.5).to_string(), "2.5000");
        assert_eq!(tensor![i64::MAX].to_string(), "[9223372036854775807]");
    }

    #[test]
    fn shapes_are_shown_by_brackets_and_blank_lines() {
        assert_eq!(Tensor::zeros([2, 1, 2]).to_string(), "[[[0.0, 0.0]],\n\n [[0.0, 0.0]]]");
        assert_eq!(Tensor::zeros([0]).to_string(), "[]");
        assert_eq!(Tensor::zeros([2, 0]).to_string(), "[[],\n []]");
        assert_eq!(Bool::zeros([0, 2]).to_string(), "[]");
    }

    #[test]
    fn long_tensors_are_cut_unless_asked_for_whole() {
        let x = Int::arange(0, 10_000).reshape([100, 100]);
        let text = x.to_string();
        assert!(text.starts_with("[[   0,    1,    2, ..,   97,   98,   99],\n"), "{text}");
        assert!(text.ends_with("[9900, 9901, 9902, .., 9997, 9998, 9999]]"), "{text}");
        assert_eq!(text.lines().count(), 7);
        assert_eq!(format!("{x:#}").lines().count(), 100);
    }

    #[test]
    fn debug_says_what_a_tensor_is_and_where_it_is_from() {
        let x = Tensor::ones([2]).to_dtype(DType::F64);
        let text = format!("{x:?}");
        assert!(text.starts_with("[1.0, 1.0] F64 [2] from cast at tensor/src/print.rs:"), "{text}");
    }
}
