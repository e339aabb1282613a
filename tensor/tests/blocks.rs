//! Work that is large enough to be split into blocks gives what plain loops give, for any number of threads.

use wengert_tensor::{By, DType, Int, Tensor, with_threads};

/// Whole numbers that look random, below `bound`, the same on every machine.
fn noise(seed: u64, n: usize, bound: i64) -> Vec<i64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as i64 % bound
        })
        .collect()
}

fn tensor(values: &[i64], shape: [usize; 3]) -> Tensor<Int> {
    Tensor::<Int>::from_slice(values, shape)
}

/// Runs on one thread and on three: the results must be those of `want`.
fn check(want: &[i64], f: impl Fn() -> Tensor<Int>) {
    for threads in [1, 3] {
        assert!(with_threads(threads, || f().to_vec::<i64>()) == want, "other numbers with {threads} threads");
    }
}

// Several blocks of 2^15 elements, which no axis divides evenly.
const SHAPE: [usize; 3] = [77, 31, 53];

fn at(place: [usize; 3], shape: [usize; 3]) -> usize {
    (place[0] * shape[1] + place[1]) * shape[2] + place[2]
}

fn places(shape: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..shape[0]).flat_map(move |i| (0..shape[1]).flat_map(move |j| (0..shape[2]).map(move |k| [i, j, k])))
}

#[test]
fn picking_and_adding_by_index() {
    let values = noise(1, SHAPE.iter().product(), 1000);
    let x = tensor(&values, SHAPE);
    for axis in 0..3 {
        let mut shape = SHAPE;
        shape[axis] = 40;
        shape[(axis + 1) % 3] -= 2;
        let n = shape.iter().product();
        let (index, added) = (noise(2, n, SHAPE[axis] as i64), noise(3, n, 1000));
        let source = |i: usize, mut place: [usize; 3]| {
            place[axis] = index[i] as usize;
            at(place, SHAPE)
        };
        let picked: Vec<i64> = places(shape).enumerate().map(|(i, p)| values[source(i, p)]).collect();
        check(&picked, || x.gather(axis as isize, &tensor(&index, shape)));
        let mut sums = values.clone();
        places(shape).enumerate().for_each(|(i, p)| sums[source(i, p)] += added[i]);
        check(&sums, || x.scatter_add(axis as isize, &tensor(&index, shape), &tensor(&added, shape)));
    }
}

#[test]
fn picking_and_adding_slices() {
    let values = noise(4, SHAPE.iter().product(), 1000);
    let x = tensor(&values, SHAPE);
    // The same elements in another order of memory.
    let strided = x.permute([2, 0, 1]).contiguous().permute([1, 2, 0]);
    for axis in 0..3 {
        let index = noise(5, 90, SHAPE[axis] as i64);
        let mut shape = SHAPE;
        shape[axis] = 90;
        let added = noise(6, shape.iter().product(), 1000);
        let source = |mut place: [usize; 3]| {
            place[axis] = index[place[axis]] as usize;
            at(place, SHAPE)
        };
        let picked: Vec<i64> = places(shape).map(|p| values[source(p)]).collect();
        let positions = Tensor::<Int>::from_slice(&index, [90]);
        check(&picked, || x.index_select(axis as isize, &positions));
        check(&picked, || strided.index_select(axis as isize, &positions));
        let mut sums = values.clone();
        places(shape).enumerate().for_each(|(i, p)| sums[source(p)] += added[i]);
        check(&sums, || x.index_add(axis as isize, &positions, &tensor(&added, shape)));
        check(&sums, || strided.index_add(axis as isize, &positions, &tensor(&added, shape)));
    }
}

#[test]
fn joining_and_padding() {
    let values = noise(7, SHAPE.iter().product(), 1000);
    let x = tensor(&values, SHAPE);
    let turned = x.flip(..);
    for axis in 0..3 {
        let mut shape = SHAPE;
        shape[axis] *= 2;
        let want: Vec<i64> = places(shape)
            .map(|mut p| match p[axis].checked_sub(SHAPE[axis]) {
                None => values[at(p, SHAPE)],
                Some(i) => {
                    p[axis] = i;
                    values[values.len() - 1 - at(p, SHAPE)]
                }
            })
            .collect();
        check(&want, || Tensor::cat(&[&x, &turned], axis as isize));
    }
    let padded = [SHAPE[0] + 3, SHAPE[1] + 1, SHAPE[2] + 2];
    let want: Vec<i64> = places(padded)
        .map(|p| match (p[0].checked_sub(1), p[1], p[2].checked_sub(2)) {
            (Some(i), j, Some(k)) if i < SHAPE[0] && j < SHAPE[1] => values[at([i, j, k], SHAPE)],
            _ => -1,
        })
        .collect();
    check(&want, || x.pad(&[(1, 2), (0, 1), (2, 0)], -1));
}

#[test]
fn the_gradient_of_a_slice_lands_where_the_slice_was() {
    use wengert_tensor::{attrs, dispatch, registry};
    let slice_add = registry::find("slice_add").expect("it is registered");
    let values = noise(8, SHAPE.iter().product(), 1000);
    let x = tensor(&values, SHAPE);
    for (starts, steps, counts) in [
        ([0usize, 1, 0], [1isize, 2, 1], [77usize, 15, 53]),
        ([76, 30, 0], [-1, -1, 3], [77, 31, 18]),
        ([3, 0, 52], [2, 1, -1], [37, 31, 53]),
    ] {
        let added = noise(9, counts.iter().product(), 1000);
        let mut sums = values.clone();
        places(counts).enumerate().for_each(|(i, p)| {
            let place = std::array::from_fn(|a| (starts[a] as isize + p[a] as isize * steps[a]) as usize);
            sums[at(place, SHAPE)] += added[i];
        });
        check(&sums, || {
            let attrs = attrs! { starts: starts, steps: &steps[..], counts: counts };
            let addend = tensor(&added, counts);
            let sum = dispatch::apply(slice_add, attrs, &mut [(&x).into(), (&addend).into()]).expect("a legal slice");
            sum[0].int().expect("integers")
        });
    }
}

#[test]
fn order_and_running_sums() {
    let values = noise(10, SHAPE.iter().product(), 50);
    let x = tensor(&values, SHAPE);
    for axis in 0..3 {
        let lane = |place: [usize; 3]| -> Vec<i64> {
            let walk = |i| {
                let mut p = place;
                p[axis] = i;
                values[at(p, SHAPE)]
            };
            (0..SHAPE[axis]).map(walk).collect()
        };
        let mut kept = SHAPE;
        kept[axis] = 1;
        let largest = |p| {
            let lane = lane(p);
            lane.iter().position(|v| Some(v) == lane.iter().max()).expect("a lane is not empty") as i64
        };
        check(&places(kept).map(largest).collect::<Vec<_>>(), || x.argmax_keepdim(axis as isize));
        let sorted = |p: [usize; 3]| {
            let mut order: Vec<usize> = (0..SHAPE[axis]).collect();
            let lane = lane(p);
            order.sort_by_key(|&i| -lane[i]);
            order[p[axis]] as i64
        };
        check(&places(SHAPE).map(sorted).collect::<Vec<_>>(), || x.argsort(axis as isize, true));
        let sum = |p: [usize; 3]| lane(p)[..=p[axis]].iter().sum();
        check(&places(SHAPE).map(sum).collect::<Vec<i64>>(), || x.cumsum(axis as isize));
    }
    // One lane of many blocks, with ties across them.
    let first = values.iter().position(|&v| v == 0).expect("a zero") as i64;
    check(&[first], || x.argmin());
    check(&[values.len() as i64 - 1], || {
        let rising = Tensor::<Int>::from_vec((0..values.len() as i64).collect(), [values.len()]);
        rising.argmax()
    });
}

#[test]
fn nan_sorts_last_and_wins_searches() {
    let mut values = vec![1.0f32; 100_000];
    (values[70_000], values[80_000], values[3]) = (f32::NAN, f32::NAN, -2.0);
    let x = Tensor::from_vec(values, [100_000]);
    for threads in [1, 3] {
        with_threads(threads, || {
            assert_eq!((x.argmax().item(), x.argmin().item()), (70_000, 70_000));
            let up = x.argsort(0, false);
            assert_eq!((up.i(0).item(), up.i(-2).item(), up.i(-1).item()), (3, 70_000, 80_000));
            let down = x.argsort(0, true);
            assert_eq!(
                (down.i(0).item(), down.i(1).item(), down.i(2).item(), down.i(-1).item()),
                (70_000, 80_000, 0, 3)
            );
            assert!(x.i((..).by(-1)).sort(0, false).0.i(-1).item().is_nan());
        });
    }
}

#[test]
fn sixteen_bit_sums_are_taken_in_f32() {
    use wengert_tensor::DType;
    let x = Tensor::ones([4096]).to_dtype(DType::BF16);
    let zero = Tensor::zeros([1]).to_dtype(DType::BF16);
    let nowhere = Int::zeros([4096]);
    assert_eq!(x.cumsum(0).i(-1).item(), 4096.0);
    assert_eq!(zero.scatter_add(0, &nowhere, &x).item(), 4096.0);
    assert_eq!(zero.index_add(0, &nowhere, &x).item(), 4096.0);
}

#[test]
fn operands_that_repeat_along_long_rows() {
    // Rows longer than what is loaded at a time, and of lengths that no register divides.
    for ([x, y], length) in
        [([[4, 3, 1], [1, 3, 1]], 2500), ([[4, 1, 1], [1, 3, 1]], 501), ([[1, 3, 1], [4, 1, 1]], 257)]
    {
        let draw = |seed, shape: [usize; 3]| {
            let n = shape.iter().product();
            Tensor::from_slice(
                &noise(seed, n, 1000).iter().map(|&v| v as f64 / 8.0 - 60.0625).collect::<Vec<_>>(),
                shape,
            )
        };
        let (x, y) = (draw(20, [x[0], x[1], length]), draw(21, y));
        let (flat_x, flat_y) = (x.expand([4, 3, length]).contiguous(), y.expand([4, 3, length]).contiguous());
        type Op = fn(&Tensor, &Tensor) -> Tensor;
        type Definition = fn(f64, f64) -> f64;
        let ops: [(Op, Definition); 4] = [
            (|x, y| x + y, |x, y| x + y),
            (|x, y| x - y, |x, y| x - y),
            (|x, y| x * y, |x, y| x * y),
            (|x, y| x / y, |x, y| x / y),
        ];
        for (op, by_definition) in ops {
            let pairs = flat_x.to_vec::<f64>().into_iter().zip(flat_y.to_vec::<f64>());
            let want: Vec<f64> = pairs.map(|(x, y)| by_definition(x, y)).collect();
            assert_eq!(op(&x, &y).to_vec::<f64>(), want);
            let values = |t: Tensor| t.into_any().to_f64_vec();
            for dtype in [DType::F32, DType::F16] {
                let [x, y, flat_x, flat_y] = [&x, &y, &flat_x, &flat_y].map(|t| t.to_dtype(dtype));
                assert_eq!(values(op(&x, &y)), values(op(&flat_x, &flat_y)), "{dtype}");
                assert_eq!(values(op(&y, &x)), values(op(&flat_y, &flat_x)), "{dtype}, the other way round");
            }
        }
    }
}

#[test]
fn rows_that_are_read_where_they_lie() {
    // Rows of less than a stretch, of one, of more, and of more than a long one; each the inner part of a longer row.
    // The row that is added to all of them is so short that many fill a stretch, or longer than one.
    for (length, rows) in
        [(3, 5000), (33, 700), (300, 3), (300, 150), (1024, 3), (1024, 40), (2500, 3), (5003, 3), (40_000, 3)]
    {
        let draw = |seed, shape: [usize; 3]| {
            let values: Vec<f64> = noise(seed, shape.iter().product(), 1000).iter().map(|&v| v as f64).collect();
            Tensor::from_slice(&values, shape)
        };
        let wide = draw(30, [2, rows, length + 12]);
        let inner = wide.narrow(2, 5, length);
        let values: Vec<f64> =
            wide.to_vec::<f64>().chunks(length + 12).flat_map(|row| row[5..5 + length].to_vec()).collect();
        let (row, other) = (draw(31, [1, 1, length]), draw(32, [2, rows, length]));
        let (rows, others) = (row.to_vec::<f64>().repeat(2 * rows), other.to_vec::<f64>());
        let zipped = |x: &[f64], y: &[f64]| -> Vec<f64> { x.iter().zip(y).map(|(x, y)| x - y).collect() };
        for dtype in [DType::F64, DType::F32, DType::F16] {
            let [inner, row, other] = [&inner, &row, &other].map(|t| t.to_dtype(dtype));
            let values_of = |t: Tensor| t.into_any().to_f64_vec();
            // Whole numbers below 1000 and their differences are exact in all three.
            assert_eq!(values_of(&inner - &row), zipped(&values, &rows), "{dtype} {length}");
            assert_eq!(values_of(&row - &inner), zipped(&rows, &values), "{dtype} {length}");
            assert_eq!(values_of(&other - &inner), zipped(&others, &values), "{dtype} {length}");
            assert_eq!(values_of(&inner - &other), zipped(&values, &others), "{dtype} {length}");
            assert_eq!(values_of(other.clone() - &row), zipped(&others, &rows), "{dtype} {length}, in place");
            assert_eq!(values_of(-&inner), values.iter().map(|x| -x).collect::<Vec<_>>(), "{dtype} {length}");
        }
        let wider = inner.to_dtype(DType::F32).narrow(2, 0, length - 1).to_dtype(DType::F64);
        assert_eq!(
            wider.sum().item(),
            values.chunks(length).map(|row| row[..length - 1].iter().sum::<f64>()).sum::<f64>()
        );
        let picked = inner.gt(&row).where_(&inner, &row);
        let want: Vec<f64> = values.iter().zip(&rows).map(|(&x, &y)| x.max(y)).collect();
        assert_eq!(picked.to_vec::<f64>(), want, "{length}");
    }
}

#[test]
fn leading_axes_of_any_length_are_folded() {
    for (rows, columns) in (1..=11).flat_map(|rows| [(rows, 5), (rows, 600)]) {
        let values: Vec<f64> = noise(40, rows * columns, 1000).iter().map(|&v| v as f64).collect();
        let x = Tensor::from_slice(&values, [rows, columns]);
        let lane = |j: usize| values[j..].iter().step_by(columns).copied();
        let sums: Vec<f64> = (0..columns).map(|j| lane(j).sum()).collect();
        let largest: Vec<f64> = (0..columns).map(|j| lane(j).fold(f64::NEG_INFINITY, f64::max)).collect();
        assert_eq!(x.sum_axis(0).to_vec::<f64>(), sums, "{rows}x{columns}");
        assert_eq!(x.max_axis(0).to_vec::<f64>(), largest, "{rows}x{columns}");
    }
}

#[test]
fn the_extremes_of_rows_of_any_length_and_nan_wherever_it_is() {
    for columns in (1..200).chain(4090..4100) {
        let values: Vec<f32> = noise(columns as u64, 3 * columns, 1000).iter().map(|&v| v as f32).collect();
        let rows = |values: &[f32]| Tensor::from_vec(values.to_vec(), [3, columns]);
        let folded = |f: fn(f32, f32) -> f32| -> Vec<f32> {
            values.chunks(columns).map(|row| row.iter().copied().reduce(f).expect("a row is not empty")).collect()
        };
        assert_eq!(rows(&values).max_axis(1).to_vec::<f32>(), folded(f32::max), "{columns}");
        assert_eq!(rows(&values).min_axis(1).to_vec::<f32>(), folded(f32::min), "{columns}");
        for place in (0..columns).step_by(1 + columns / 50) {
            let mut values = values.clone();
            values[columns + place] = f32::NAN;
            for extremes in [rows(&values).max_axis(1), rows(&values).min_axis(1)] {
                let nan: Vec<bool> = extremes.to_vec::<f32>().iter().map(|v| v.is_nan()).collect();
                assert_eq!(nan, [false, true, false], "{columns}, {place}");
            }
        }
    }
}

#[test]
fn columns_on_the_left_and_rows_on_the_right() {
    let draw = |seed, n: usize| -> Vec<f64> { noise(seed, n, 1000).iter().map(|&v| v as f64).collect() };
    for (m, n) in [(7, 3), (300, 33), (40, 1000)] {
        let (a, b) = (draw(41, m), draw(42, n));
        let (column, row) = (Tensor::from_slice(&a, [m, 1]), Tensor::from_slice(&b, [1, n]));
        let each =
            |f: fn(f64, f64) -> f64| -> Vec<f64> { a.iter().flat_map(|&a| b.iter().map(move |&b| f(a, b))).collect() };
        assert_eq!((&column + &row).to_vec::<f64>(), each(|a, b| a + b), "{m} + {n}");
        assert_eq!((&column - &row).to_vec::<f64>(), each(|a, b| a - b), "{m} - {n}");
        assert_eq!((&column * &row).to_vec::<f64>(), each(|a, b| a * b), "{m} * {n}");
    }
}
