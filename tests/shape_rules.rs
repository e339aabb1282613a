//! Shape rules against naive models of them, over generated shapes.

use proptest::prelude::*;
use wengert::{Conv2dOptions, Int, Pool2d, Shape, Tensor};

fn shape(most: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![8 => 1..5usize, 1 => Just(0)], 0..=most)
}

/// The numbers `0, 1, ..` in a shape.
fn counted(shape: &[usize]) -> Tensor<Int> {
    Tensor::<Int>::from_vec((0..shape.iter().product::<usize>() as i64).collect(), shape)
}

/// The common shape by NumPy's rule, position by position.
fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// All positions of a shape, in row-major order.
fn positions(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![vec![]], |all, &n| {
        all.iter().flat_map(|p| (0..n).map(|i| p.iter().copied().chain([i]).collect())).collect()
    })
}

/// The element of row-major `values` of a shape that stands at a position of a shape it broadcasts to.
fn element(values: &[i64], shape: &[usize], position: &[usize]) -> i64 {
    let lead = position.len() - shape.len();
    let place = shape.iter().zip(&position[lead..]).fold(0, |p, (&n, &i)| p * n + if n == 1 { 0 } else { i });
    values[place]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn broadcasting(a in shape(4), b in shape(4)) {
        let (x, y) = (counted(&a), counted(&b));
        match (broadcast(&a, &b), x.try_sub(&y)) {
            (None, Err(e)) => prop_assert!(e.to_string().contains("shapes do not broadcast"), "{e}"),
            (Some(whole), Ok(z)) => {
                prop_assert_eq!(&z.shape()[..], &whole[..]);
                let (x, y) = (x.to_vec::<i64>(), y.to_vec::<i64>());
                let expected: Vec<i64> =
                    positions(&whole).iter().map(|p| element(&x, &a, p) - element(&y, &b, p)).collect();
                prop_assert_eq!(z.to_vec::<i64>(), expected);
                prop_assert_eq!(Shape::from(&a[..]).broadcast(&Shape::from(&b[..])).unwrap(), Shape::from(&whole[..]));
            }
            (model, z) => prop_assert!(false, "{:?} and {:?}: {:?}, {:?}", a, b, model, z.map(|z| z.shape().clone())),
        }
    }

    #[test]
    fn products(a in shape(4), b in shape(4), shared in 0..4usize, fit: bool) {
        let (mut a, mut b) = (a, b);
        if fit && !a.is_empty() && !b.is_empty() {
            *a.last_mut().unwrap() = shared;
            let inner = b.len().saturating_sub(2);
            b[inner] = shared;
        }
        let (x, y) = (counted(&a), counted(&b));
        // The rule: a vector is a row on the left and a column on the right, and its axis goes.
        let model = || -> Option<Vec<usize>> {
            if a.is_empty() || b.is_empty() {
                return None;
            }
            let left = if a.len() == 1 { vec![1, a[0]] } else { a.clone() };
            let right = if b.len() == 1 { vec![b[0], 1] } else { b.clone() };
            let (l, r) = (left.len(), right.len());
            if left[l - 1] != right[r - 2] {
                return None;
            }
            let mut out = broadcast(&left[..l - 2], &right[..r - 2])?;
            out.extend((a.len() > 1).then_some(left[l - 2]));
            out.extend((b.len() > 1).then_some(right[r - 1]));
            Some(out)
        };
        match (model(), x.try_matmul(&y)) {
            (None, Err(e)) => prop_assert_eq!(e.op(), Some("matmul")),
            (Some(out), Ok(z)) => {
                prop_assert_eq!(&z.shape()[..], &out[..]);
                let (xs, ys) = (x.to_vec::<i64>(), y.to_vec::<i64>());
                let k = a[a.len() - 1];
                let expected: Vec<i64> = positions(&out)
                    .iter()
                    .map(|p| {
                        let (row, column) = match (a.len() > 1, b.len() > 1) {
                            (true, true) => (Some(p[p.len() - 2]), Some(p[p.len() - 1])),
                            (true, false) => (Some(p[p.len() - 1]), None),
                            (false, true) => (None, Some(p[p.len() - 1])),
                            (false, false) => (None, None),
                        };
                        let batch = &p[..p.len() - row.iter().count() - column.iter().count()];
                        let place = |of: [Option<usize>; 2]| -> Vec<usize> {
                            batch.iter().copied().chain(of.into_iter().flatten()).collect()
                        };
                        // A size of 1 among rows or columns is position 0 anyway.
                        (0..k)
                            .map(|i| {
                                let (left, right) = (place([row, Some(i)]), place([Some(i), column]));
                                element(&xs, &a, &left) * element(&ys, &b, &right)
                            })
                            .sum()
                    })
                    .collect();
                prop_assert_eq!(z.to_vec::<i64>(), expected);
            }
            (model, z) => prop_assert!(false, "{:?} and {:?}: {:?}, {:?}", a, b, model, z.map(|z| z.shape().clone())),
        }
    }

    #[test]
    fn reshaping(from in shape(4), to in prop::collection::vec(-1..7isize, 0..4), fit in 0..3usize) {
        let x = counted(&from);
        let n: usize = from.iter().product();
        // Often a shape that fits: the same sizes in another order, one of them to be computed.
        let to = match fit {
            0 => to,
            _ => {
                let mut sizes: Vec<isize> = from.iter().rev().map(|&s| s as isize).collect();
                if fit == 2 && let Some(first) = sizes.first_mut() {
                    *first = -1;
                }
                sizes
            }
        };
        let known: isize = to.iter().filter(|&&s| s != -1).product();
        let unknown = to.iter().filter(|&&s| s == -1).count();
        let expected = match unknown {
            0 if known as usize == n => Some(to.clone()),
            1 if known > 0 && n as isize % known == 0 => {
                Some(to.iter().map(|&s| if s == -1 { n as isize / known } else { s }).collect())
            }
            _ => None,
        };
        match (expected, x.try_reshape(&to[..])) {
            (None, Err(e)) => prop_assert_eq!(e.op(), Some("reshape")),
            (Some(shape), Ok(y)) => {
                prop_assert_eq!(y.shape().iter().map(|&s| s as isize).collect::<Vec<_>>(), shape);
                prop_assert_eq!(y.to_vec::<i64>(), (0..n as i64).collect::<Vec<_>>());
                // Of any layout: the elements go in row-major order.
                let reversed: Vec<usize> = (0..from.len()).rev().collect();
                let turned = x.permute(&reversed[..]);
                prop_assert_eq!(turned.reshape(&to[..]).to_vec::<i64>(), turned.to_vec::<i64>());
            }
            (expected, y) => {
                prop_assert!(false, "{:?} to {:?}: {:?}, {:?}", from, to, expected, y.map(|y| y.shape().clone()))
            }
        }
    }

    #[test]
    fn permuting_and_reducing(from in shape(4), order: u64, chosen: u8, keep: bool) {
        let x = counted(&from);
        let mut axes: Vec<usize> = (0..from.len()).collect();
        let mut rest = order;
        for i in (1..axes.len()).rev() {
            axes.swap(i, (rest % (i as u64 + 1)) as usize);
            rest /= i as u64 + 1;
        }
        let y = x.permute(&axes[..]);
        let shape: Vec<usize> = axes.iter().map(|&a| from[a]).collect();
        prop_assert_eq!(&y.shape()[..], &shape[..]);
        let values = x.to_vec::<i64>();
        let expected: Vec<i64> = positions(&shape)
            .iter()
            .map(|p| {
                let mut source = vec![0; p.len()];
                axes.iter().zip(p).for_each(|(&a, &i)| source[a] = i);
                element(&values, &from, &source)
            })
            .collect();
        prop_assert_eq!(y.to_vec::<i64>(), &expected[..]);

        let over: Vec<usize> = (0..shape.len()).filter(|a| chosen >> a & 1 == 1).collect();
        let kept: Vec<usize> =
            shape.iter().enumerate().filter(|(a, _)| keep || !over.contains(a)).map(|(a, &n)| if over.contains(&a) { 1 } else { n }).collect();
        let sum = if keep { y.sum_keepdim(&over[..]) } else { y.sum_axis(&over[..]) };
        prop_assert_eq!(&sum.shape()[..], &kept[..]);
        let mut totals = std::collections::BTreeMap::new();
        for (p, v) in positions(&shape).into_iter().zip(&expected) {
            let place: Vec<usize> = p.into_iter().enumerate().filter(|(a, _)| !over.contains(a)).map(|(_, i)| i).collect();
            *totals.entry(place).or_insert(0) += v;
        }
        if sum.elements() > 0 && y.elements() > 0 {
            prop_assert_eq!(sum.to_vec::<i64>(), totals.into_values().collect::<Vec<i64>>());
        }
    }

    #[test]
    fn windows(
        size in 0..12usize, kernel in 0..5usize, stride in 0..4usize, padding in 0..4usize, dilation in 0..4usize,
    ) {
        // Counted one by one: the places where the window starts without leaving the padded axis.
        let span = kernel.saturating_sub(1) * dilation + 1;
        let padded = size + 2 * padding;
        let legal = kernel > 0 && stride > 0 && dilation > 0 && span <= padded;
        let starts = if legal { (0..=padded - span).step_by(stride).count() } else { 0 };
        let (x, w) = (Tensor::ones([1, 1, size, 1]), Tensor::ones([1, 1, kernel, 1]));
        let options =
            Conv2dOptions::new().stride([stride, 1]).padding([padding, 0]).dilation([dilation, 1]);
        match x.try_conv2d(&w, None, options) {
            Ok(y) => prop_assert!(legal && y.shape()[..] == [1, 1, starts, 1], "{}", y.shape()),
            Err(e) => prop_assert!(!legal, "{e}"),
        }
        let pool = Pool2d::new([kernel, 1]).stride([stride, 1]).padding([padding, 0]).dilation([dilation, 1]);
        match x.try_max_pool2d(pool) {
            Ok(y) => {
                prop_assert!(legal && y.shape()[..] == [1, 1, starts, 1], "{}", y.shape());
                prop_assert!(y.to_vec::<f32>().iter().all(|v| *v == 1.0), "no window lies in the padding alone");
            }
            Err(e) => prop_assert_eq!(e.op(), Some("max_pool2d")),
        }
    }
}
