//! Kernels that split large work into blocks and tiles, against plain loops over the elements.

use wengert::prelude::*;

/// Numbers that look random, the same on every machine.
fn noise(n: usize) -> Vec<f64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let draw = move |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f64 / (1u64 << 24) as f64 - 0.5
    };
    (0..n).map(draw).collect()
}

fn noisy(shape: &[usize]) -> Tensor {
    Tensor::from_vec(noise(shape.iter().product()), shape)
}

fn indices(n: usize, below: usize) -> Vec<usize> {
    noise(n).iter().map(|v| ((v + 0.5) * below as f64) as usize % below).collect()
}

fn index(places: &[usize], shape: &[usize]) -> Tensor<Int> {
    Tensor::from_vec(places.iter().map(|&i| i as i64).collect(), shape)
}

#[track_caller]
fn close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "element {i}: {a} and {b}");
    }
}

#[test]
fn transposed_copies() {
    let orders = [[0, 2, 1], [2, 1, 0], [1, 2, 0], [2, 0, 1], [1, 0, 2]];
    for shape in [[1, 70, 45], [3, 40, 65], [5, 32, 64], [33, 2, 31], [2, 300, 171]] {
        let x = noisy(&shape);
        let values = x.to_vec::<f64>();
        for order in orders {
            let sizes = order.map(|a| shape[a]);
            let mut want = Vec::new();
            for i in 0..sizes[0] {
                for j in 0..sizes[1] {
                    for k in 0..sizes[2] {
                        let mut at = [0; 3];
                        order.iter().zip([i, j, k]).for_each(|(&a, p)| at[a] = p);
                        want.push(values[(at[0] * shape[1] + at[1]) * shape[2] + at[2]]);
                    }
                }
            }
            assert_eq!(x.permute(order).contiguous().to_vec::<f64>(), want, "{shape:?} as {order:?}");
            // A part of it, backwards.
            let part = x.permute(order).i((.., (..).by(-1), 1..));
            assert_eq!(part.contiguous().to_vec::<f64>(), part.to_vec::<f64>());
        }
    }
}

/// What a reduction should give: over the elements of each lane, in double precision.
fn reduced(x: &Tensor, axis: isize, f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let lanes = x.transpose(axis, -1).to_vec::<f64>();
    lanes.chunks(x.size(axis)).map(f).collect()
}

#[test]
fn statistics_over_rows_columns_and_long_runs() {
    for (shape, axis) in [
        (&[200_001][..], 0),
        (&[130, 150], 0),
        (&[130, 150], 1),
        (&[3, 70_000], 1),
        (&[70_000, 3], 0),
        (&[9000, 70], 0),
        (&[9, 65, 66], 1),
    ] {
        let x = noisy(shape) + 100.0;
        let variance = |v: &[f64]| {
            let mean = v.iter().sum::<f64>() / v.len() as f64;
            v.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (v.len() - 1) as f64
        };
        close(&x.var_axis(axis, 1.0).to_vec::<f64>(), &reduced(&x, axis, variance), 1e-11);
        let log = |v: &[f64]| 100.0 + v.iter().map(|v| (v - 100.0).exp()).sum::<f64>().ln();
        close(&x.logsumexp_axis(axis).to_vec::<f64>(), &reduced(&x, axis, log), 1e-13);
        let norm = |v: &[f64]| v.iter().map(|v| v * v).sum::<f64>().sqrt();
        close(&x.norm_axis(axis, 2.0).to_vec::<f64>(), &reduced(&x, axis, norm), 1e-12);
        let largest = |v: &[f64]| v.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        close(&x.norm_axis(axis, f64::INFINITY).to_vec::<f64>(), &reduced(&x, axis, largest), 0.0);
        let count = |v: &[f64]| v.iter().filter(|v| **v > 0.0).count() as f64;
        let mask = (&x - 100.0).gt(0.0);
        let counted = mask.count_nonzero_axis(axis).to_float_as(DType::F64).to_vec::<f64>();
        close(&counted, &reduced(&(&x - 100.0), axis, count), 0.0);
        // In single precision the mean of many is far larger than what they vary by.
        let narrow = x.to_dtype(DType::F32);
        let exact = reduced(&narrow.to_dtype(DType::F64), axis, variance);
        close(&narrow.var_axis(axis, 1.0).to_vec::<f64>(), &exact, 1e-6);
    }
}

#[test]
fn scans() {
    for (shape, axis) in [(&[100_000][..], 0), (&[300, 700], 0), (&[300, 700], 1), (&[5, 40, 600], 1)] {
        let x = noisy(shape);
        let lanes = x.transpose(axis, -1);
        let scanned = |f: fn(f64, f64) -> f64| -> Vec<f64> {
            let run = |lane: &[f64]| {
                let mut acc = None;
                lane.iter().map(|&v| *acc.insert(acc.map_or(v, |a| f(a, v)))).collect::<Vec<f64>>()
            };
            lanes.to_vec::<f64>().chunks(x.size(axis)).flat_map(run).collect()
        };
        let in_lanes = |y: Tensor| y.transpose(axis, -1).to_vec::<f64>();
        close(&in_lanes(x.cumsum(axis)), &scanned(|a, b| a + b), 1e-12);
        close(&in_lanes(x.cummax(axis).0), &scanned(f64::max), 0.0);
        let near_one = &x * 1e-3 + 1.0;
        let product = near_one.cumprod(axis).log();
        close(&in_lanes(product), &in_lanes(near_one.log().cumsum(axis)), 1e-11);
        let decayed = Tensor::full_dtype(shape, 0.5, DType::F64).linear_recurrence(&x, axis);
        close(&in_lanes(decayed), &scanned(|a, b| 0.5 * a + b), 1e-15);
    }
}

#[test]
fn scatters() {
    for (rows, columns, places) in [(300, 500, 40), (3, 60_000, 2), (40_000, 3, 100), (50_000, 1, 7)] {
        let (at, x) = (indices(rows * columns, places), noise(rows * columns));
        let (mut sums, mut last) = (vec![0.0; places * columns], vec![0.0; places * columns]);
        for (i, (&p, &v)) in at.iter().zip(&x).enumerate() {
            sums[p * columns + i % columns] += v;
            last[p * columns + i % columns] = v;
        }
        let (at, x) = (index(&at, &[rows, columns]), Tensor::from_vec(x, [rows, columns]));
        let zeros = Tensor::full_dtype([places, columns], 0.0, DType::F64);
        assert_eq!(zeros.scatter_add(0, &at, &x).to_vec::<f64>(), sums);
        assert_eq!(zeros.scatter(0, &at, &x).to_vec::<f64>(), last);
        // The same along the other axis.
        let turned = zeros.t().scatter_add(1, &at.t(), &x.t());
        assert_eq!(turned.t().to_vec::<f64>(), sums);
    }
}

#[test]
fn sorted_lanes() {
    for n in [1usize, 2, 100, 2047, 2048, 5000, 70_000] {
        for dtype in [DType::F64, DType::F32, DType::BF16] {
            let x = (noisy(&[2, n]) * 50.0).round().to_dtype(dtype);
            let lanes = x.to_vec::<f64>();
            for descending in [false, true] {
                let (values, places) = x.sort(1, descending);
                let (values, places) = (values.to_vec::<f64>(), places.to_vec::<i64>());
                for (lane, x) in lanes.chunks(n).enumerate() {
                    let mut order: Vec<usize> = (0..n).collect();
                    let by = |a: &usize, b: &usize| x[*a].partial_cmp(&x[*b]).expect("no NaN");
                    order.sort_by(|a, b| if descending { by(b, a) } else { by(a, b) });
                    let want: Vec<i64> = order.iter().map(|&i| i as i64).collect();
                    assert_eq!(places[lane * n..][..n], want, "{n} {dtype} {descending}");
                    assert_eq!(values[lane * n..][..n], order.iter().map(|&i| x[i]).collect::<Vec<f64>>());
                }
            }
            let k = n.min(17);
            let (sorted, top) = (x.sort(1, true), x.topk(k, 1, true));
            assert_eq!(top.0.to_vec::<f64>(), sorted.0.narrow(1, 0, k).to_vec::<f64>());
            assert_eq!(top.1.to_vec::<i64>(), sorted.1.narrow(1, 0, k).to_vec::<i64>());
            let middle = x.sort(1, false).0.narrow(1, (n - 1) / 2, 1).to_vec::<f64>();
            assert_eq!(x.median_axis(1).0.to_vec::<f64>(), middle);
        }
    }
    let x = tensor![i64::MAX, -1, i64::MIN, 0, 1];
    assert_eq!(x.argsort(0, false).to_vec::<i64>(), [2, 1, 3, 4, 0]);
}

#[test]
fn places_of_a_large_mask() {
    let x = noisy(&[300, 401]);
    let want: Vec<i64> =
        x.to_vec::<f64>().iter().zip(0..).filter(|(v, _)| **v > 0.3).flat_map(|(_, i)| [i / 401, i % 401]).collect();
    assert_eq!(x.gt(0.3).nonzero().to_vec::<i64>(), want);
}

#[test]
fn folds_of_axes_that_lie_around_one_that_is_kept() {
    for (shape, axes) in [
        (&[5, 3, 9, 11][..], &[0isize, 2, 3][..]),
        (&[70, 2, 64], &[0, 2]),
        (&[3, 4, 5, 6, 20], &[0, 2, 4]),
        (&[2, 3, 4, 70], &[1, 3]),
    ] {
        let x = noisy(shape);
        let flipped = x.flip(0).transpose(0, -1);
        let spread = x.unsqueeze(1).expand([&[shape[0], 7], &shape[1..]].concat());
        for x in [x, flipped, spread] {
            let kept: Vec<isize> = (0..x.rank() as isize).filter(|a| !axes.contains(a)).collect();
            let order: Vec<isize> = kept.iter().chain(axes).copied().collect();
            let rest: usize = axes.iter().map(|&a| x.size(a)).product();
            let values = x.permute(&order[..]).to_vec::<f64>();
            let lanes = || values.chunks(rest);
            let sums: Vec<f64> = lanes().map(|v| v.iter().sum()).collect();
            let largest: Vec<f64> = lanes().map(|v| v.iter().copied().fold(f64::MIN, f64::max)).collect();
            close(&x.sum_axis(axes).to_vec::<f64>(), &sums, 1e-5);
            close(&x.max_axis(axes).to_vec::<f64>(), &largest, 0.0);
        }
    }
}

#[test]
fn positions_of_what_is_not_zero() {
    let shape = [37, 40, 50];
    let x = noisy(&shape);
    for above in [-1.0, 0.2, 0.4999, 1.0] {
        let values = x.to_vec::<f64>();
        let found: Vec<usize> = (0..values.len()).filter(|&i| values[i] > above).collect();
        let places = found.iter().flat_map(|i| [i / 2000, i / 50 % 40, i % 50].map(|p| p as i64));
        let mask = x.gt(above);
        assert_eq!(mask.nonzero().to_vec::<i64>(), places.collect::<Vec<_>>(), "above {above}");
        let want: Vec<f64> = found.iter().map(|&i| values[i]).collect();
        assert_eq!(x.masked_select(&mask).to_vec::<f64>(), want, "above {above}");
    }
}

#[test]
fn distinct_integers_that_lie_close_and_far() {
    for (n, below, apart) in [(5000, 40, 1), (5000, 9000, 1), (3000, 700, 1 << 40), (1, 1, 1), (0, 1, 1)] {
        let x: Vec<i64> = indices(n, below).iter().map(|&i| (i as i64 - below as i64 / 2) * apart).collect();
        let mut counted = std::collections::BTreeMap::new();
        x.iter().for_each(|v| *counted.entry(*v).or_insert(0i64) += 1);
        let values: Vec<i64> = counted.keys().copied().collect();
        let (got, places, counts) = Tensor::<Int>::from_vec(x.clone(), [n]).unique();
        assert_eq!(got.to_vec::<i64>(), values);
        assert_eq!(counts.to_vec::<i64>(), counted.values().copied().collect::<Vec<_>>());
        assert_eq!(places.to_vec::<i64>().iter().map(|&p| values[p as usize]).collect::<Vec<_>>(), x);
    }
    let ends = Tensor::<Int>::from_vec(vec![i64::MAX, i64::MIN, i64::MAX, i64::MAX - 1], [4]);
    assert_eq!(ends.unique().0.to_vec::<i64>(), [i64::MIN, i64::MAX - 1, i64::MAX]);
    assert_eq!(ends.i(2..).unique().1.to_vec::<i64>(), [1, 0]);
}

#[test]
fn scans_of_any_number_of_rows() {
    for rows in [1, 2, 3, 4, 5, 8, 9, 700] {
        let n = 77;
        let mut values = noise(rows * n);
        values[n / 2] = f64::NAN;
        let x = Tensor::from_vec(values.clone(), [rows, n]).to_dtype(DType::F64);
        let scan = |f: &dyn Fn(f64, f64) -> f64| -> Vec<f64> {
            let lanes = values.chunks(n).map(|row| {
                row.iter().scan(None, |acc: &mut Option<f64>, &v| {
                    *acc = Some(acc.map_or(v, |acc| f(acc, v)));
                    *acc
                })
            });
            lanes.flatten().collect()
        };
        let alike = |a: &Tensor, b: Vec<f64>| {
            let same = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-6 || a.is_nan() && b.is_nan();
            assert!(a.to_vec::<f64>().iter().zip(&b).all(same), "{rows} rows");
        };
        alike(&x.cumsum(1), scan(&|a, v| a + v));
        alike(&x.cumprod(1), scan(&|a, v| a * v));
        let (largest, places) = x.cummax(1);
        alike(&largest, scan(&|a, v| if a.is_nan() || a > v { a } else { v }));
        alike(&x.take_along_axis(&places, 1), largest.to_vec());
        // `s[i] = x[i] s[i - 1] + 1` by the definition.
        let ones = x.ones_like();
        let last = |row: &[f64]| row[1..].iter().fold(1.0, |s, v| v * s + 1.0);
        let want: Vec<f64> = values.chunks(n).map(last).collect();
        alike(&x.linear_recurrence(&ones, 1).i((.., -1)), want);
    }
}

#[test]
fn places_in_sorted_rows_of_any_length() {
    for n in 0..40 {
        let mut sorted: Vec<f64> = (0..n).map(|i| (i / 3) as f64 - 4.0).collect();
        if n > 30 {
            sorted[n - 1] = f64::NAN;
        }
        let values: Vec<f64> = (-24..24).map(|i| i as f64 / 2.0).chain([f64::NAN, f64::INFINITY, -0.0]).collect();
        let lane = Tensor::from_vec(sorted.clone(), [n]);
        let asked = Tensor::from_vec(values.clone(), [values.len()]);
        for right in [false, true] {
            // NaN is larger than every number, and equal to itself.
            let goes_before = |s: f64, v: f64| match (s.is_nan(), v.is_nan()) {
                (true, other) => right && other,
                (false, true) => true,
                _ => s < v || right && s == v,
            };
            let want = values.iter().map(|&v| sorted.iter().filter(|&&s| goes_before(s, v)).count() as i64);
            assert_eq!(lane.searchsorted(&asked, right).to_vec::<i64>(), want.collect::<Vec<_>>(), "{n} {right}");
        }
    }
}

#[test]
fn cross_entropy_of_pixels_is_that_of_rows() {
    let (n, classes, high, wide) = (3, 5, 60, 70);
    let labels: Vec<i64> =
        indices(n * high * wide, classes + 1).iter().map(|&c| if c == classes { -1 } else { c as i64 }).collect();
    let pixels = noisy(&[n, classes, high, wide]) * 8.0;
    let rows = pixels.permute([0, 2, 3, 1]).reshape([-1, classes as isize]);
    // One class weighs nothing.
    let weights = vec![1.0, 0.5, 0.0, 1.0, 3.0];
    for (smoothing, weights) in [(0.0, vec![]), (0.0, weights.clone()), (0.2, weights)] {
        let loss = |x: &Tensor, shape: &[usize], reduction| {
            let options = CrossEntropy::default().label_smoothing(smoothing).ignore_index(-1).reduction(reduction);
            let options = if weights.is_empty() { options } else { options.class_weights(weights.clone()) };
            x.cross_entropy_with(&Tensor::<Int>::from_slice(&labels, shape), options)
        };
        for reduction in [Reduction::Mean, Reduction::None] {
            let (a, b) = (pixels.requires_grad(), rows.requires_grad());
            let (la, lb) = (loss(&a, &[n, high, wide], reduction), loss(&b, &[n * high * wide], reduction));
            close(&la.to_vec::<f64>(), &lb.to_vec::<f64>(), 1e-6);
            let weigh = |l: &Tensor| (l * noisy(&[l.elements()]).reshape(l.shape())).sum().backward();
            let (ga, gb) = (weigh(&la), weigh(&lb));
            let ga = ga.of(&a).permute([0, 2, 3, 1]).reshape([-1, classes as isize]);
            close(&ga.to_vec::<f64>(), &gb.of(&b).to_vec::<f64>(), 1e-6);
        }
    }
}

#[test]
fn a_wrong_index_far_behind_is_named() {
    let mut places = vec![0; 100_000];
    places[77_777] = 5;
    let e = Tensor::zeros([5]).try_gather(0, &index(&places, &[100_000])).unwrap_err().to_string();
    assert!(e.contains("index 5 at position [77777] is out of range for axis 0 of size 5"), "{e}");
}

#[test]
fn results_lie_as_turned_operands_do() {
    let (x, y) = (noisy(&[37, 5, 70]), noisy(&[37, 5, 70]));
    let dense = |t: &Tensor| t.contiguous();
    for order in [[2, 1, 0], [1, 2, 0], [0, 2, 1], [2, 0, 1]] {
        let (a, b) = (x.permute(order), y.permute(order));
        let (rows, column) = (b.i((..1, .., ..)), b.i((.., .., ..1)));
        for (turned, plain) in [
            (&a + &b, dense(&a) + dense(&b)),
            (&a - &column, dense(&a) - dense(&column)),
            (&rows * &a, dense(&rows) * dense(&a)),
            (a.exp(), dense(&a).exp()),
            (a.softmax(1), dense(&a).softmax(1)),
        ] {
            close(&turned.to_vec::<f64>(), &plain.to_vec::<f64>(), 1e-12);
            assert_eq!(turned.layout().strides(), a.layout().strides(), "{order:?}");
        }
        let larger = a.gt(&b);
        assert_eq!(larger.to_vec::<bool>(), dense(&a).gt(dense(&b)).to_vec::<bool>());
        assert_eq!(larger.layout().strides(), a.layout().strides());
        // One that lies row-major decides.
        let mixed = &a + dense(&b);
        assert_eq!(mixed.to_vec::<f64>(), (dense(&a) + dense(&b)).to_vec::<f64>());
        assert!(mixed.layout().is_dense());
    }
    // None has all elements: the larger one decides.
    let (a, b) = (noisy(&[70, 90]), noisy(&[6, 1, 1]));
    let sum = (a.t() + &b).to_vec::<f64>();
    assert_eq!(sum, (a.t().contiguous() + b.expand([6, 90, 70]).contiguous()).to_vec::<f64>());
}

#[test]
fn operands_that_broadcast_by_rows_of_any_length() {
    for n in [1, 2, 3, 16, 31, 32, 33, 100, 300, 5000, 40_000] {
        let m = (90_000 / n).clamp(2, 300);
        let (x, row, column) = (noisy(&[m, n]), noisy(&[n]), noisy(&[m, 1]));
        let (x_values, row_values, column_values) = (x.to_vec::<f64>(), row.to_vec::<f64>(), column.to_vec::<f64>());
        let want = |f: &dyn Fn(f64, f64, f64) -> f64| -> Vec<f64> {
            (0..m * n).map(|i| f(x_values[i], row_values[i % n], column_values[i / n])).collect()
        };
        assert_eq!((&x - &row).to_vec::<f64>(), want(&|x, row, _| x - row), "{n}");
        assert_eq!((&x / &column).to_vec::<f64>(), want(&|x, _, column| x / column), "{n}");
        assert_eq!((&column - &x).to_vec::<f64>(), want(&|x, _, column| column - x), "{n}");
        assert_eq!((&row - &column).to_vec::<f64>(), want(&|_, row, column| row - column), "{n}");
        assert_eq!(x.maximum(&column).to_vec::<f64>(), want(&|x, _, column| x.max(column)), "{n}");
        assert_eq!(
            row.lt(&column).to_float().to_vec::<f64>(),
            want(&|_, row, column| (row < column) as u8 as f64),
            "{n}"
        );
        // Rows in the reverse order.
        let back = x.i((.., (..).by(1))).flip(0);
        assert_eq!((&back + &row).flip(0).to_vec::<f64>(), want(&|x, row, _| x + row), "{n}");
    }
}

#[test]
fn axes_with_few_lanes_behind_them() {
    for shape in [[50, 33, 2], [7, 900, 5], [3, 20, 63], [130, 7, 16]] {
        let x = noisy(&shape) * 20.0;
        let share = |v: &[f64]| 1.0 / v.iter().map(|u| (u - v[0]).exp()).sum::<f64>();
        close(&x.softmax(1).i((.., 0, ..)).to_vec::<f64>(), &reduced(&x, 1, share), 1e-12);
        let log = |v: &[f64]| -v.iter().map(|u| (u - v[0]).exp()).sum::<f64>().ln();
        close(&x.log_softmax(1).i((.., 0, ..)).to_vec::<f64>(), &reduced(&x, 1, log), 1e-12);
        let log_sum = |v: &[f64]| v.iter().map(|u| u.exp()).sum::<f64>().ln();
        close(&x.logsumexp_axis(1).to_vec::<f64>(), &reduced(&x, 1, log_sum), 1e-12);
    }
    // Infinities and NaN among many results.
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let x = Tensor::from_vec([-inf, inf, nan, 0.0].repeat(50), [50, 4]).t();
    let y = Tensor::stack(&[&x, &x], 0).logsumexp_axis(0).contiguous().to_vec::<f64>();
    assert!(y[..50].iter().all(|&v| v == -inf) && y[50..100].iter().all(|&v| v == inf));
    assert!(y[100..150].iter().all(|v| v.is_nan()) && y[150..].iter().all(|&v| (v - 2f64.ln()).abs() < 1e-12));
}

#[test]
fn folds_of_turned_tensors() {
    let x = noisy(&[6, 70, 5, 40]);
    for order in [[3, 1, 0, 2], [2, 0, 3, 1], [0, 1, 2, 3], [1, 3, 2, 0]] {
        let (turned, plain) = (x.permute(order), x.permute(order).contiguous());
        for axes in [&[0][..], &[1, 3], &[0, 2], &[0, 1, 3], &[0, 1, 2, 3]] {
            close(&turned.sum_axis(axes).to_vec::<f64>(), &plain.sum_axis(axes).to_vec::<f64>(), 1e-12);
            assert_eq!(turned.amax(axes).to_vec::<f64>(), plain.amax(axes).to_vec::<f64>(), "{order:?} {axes:?}");
            close(&turned.var_axis(axes, 1.0).to_vec::<f64>(), &plain.var_axis(axes, 1.0).to_vec::<f64>(), 1e-12);
        }
    }
}
