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
