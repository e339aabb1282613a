//! Operations made of others, against values that PyTorch gives, and the gradients that follow.

use wengert::prelude::*;

fn counted(shape: &[usize]) -> Tensor {
    Tensor::from_vec((0..shape.iter().product::<usize>()).map(|i| i as f32).collect(), shape)
}

/// The gradient of the sum of `f(x)`, with weights 1, 2, ..
fn gradient(x: &Tensor, f: impl Fn(&Tensor) -> Tensor) -> Vec<f64> {
    let x = x.requires_grad();
    let y = f(&x);
    let weights = (1..=y.elements()).map(|i| i as f32).collect::<Vec<_>>();
    (&y * Tensor::from_vec(weights, y.shape())).sum().backward().of(&x).to_vec()
}

fn sizes<K: wengert::Kind>(pieces: &[Tensor<K>]) -> Vec<usize> {
    pieces.iter().map(|p| p.size(0)).collect()
}

#[test]
fn borders() {
    let x = counted(&[3, 4]);
    let reflected = x.pad_reflect(&[(2, 1), (1, 2)]);
    assert_eq!(reflected.shape()[..], [6, 7]);
    let rows = |order: [f64; 6], row: [f64; 7]| -> Vec<f64> {
        order.iter().flat_map(|r| row.iter().map(move |c| 4.0 * r + c)).collect()
    };
    assert_eq!(reflected.to_vec::<f64>(), rows([2., 1., 0., 1., 2., 1.], [1., 0., 1., 2., 3., 2., 1.]));
    let replicated = x.pad_replicate(&[(2, 1), (1, 2)]);
    assert_eq!(replicated.to_vec::<f64>(), rows([0., 0., 0., 1., 2., 2.], [0., 0., 1., 2., 3., 3., 3.]));
    let x = tensor![1.0, 2.0, 3.0];
    assert_eq!(gradient(&x, |x| x.pad_reflect(&[(2, 1)])), [3.0, 2.0 + 4.0 + 6.0, 1.0 + 5.0]);
    assert_eq!(gradient(&x, |x| x.pad_replicate(&[(2, 1)])), [1.0 + 2.0 + 3.0, 4.0, 5.0 + 6.0]);
    assert_eq!(Tensor::zeros([0, 2]).pad_replicate(&[(0, 0), (1, 0)]).shape()[..], [0, 3]);
}

#[test]
fn pieces() {
    let x = Int::arange(0, 6);
    assert_eq!(sizes(&x.chunk(4, 0)), [2, 2, 2]);
    assert_eq!(sizes(&x.chunk(9, 0)), [1; 6]);
    assert_eq!(sizes(&x.split(4, 0)), [4, 2]);
    assert_eq!(sizes(&x.split_sizes([0, 5, 1], 0)), [0, 5, 1]);
    assert_eq!(sizes(&Int::arange(0, 0).split(2, 0)), [0]);
    assert_eq!(sizes(&Int::arange(0, 0).chunk(2, 0)), [0]);
    assert!(x.split(2, 0).iter().all(|p| p.shares_memory(&x)));
    let x = tensor![1.0, 2.0, 3.0];
    assert_eq!(gradient(&x, |x| x.split(2, 0)[1].clone()), [0.0, 0.0, 1.0]);
}

#[test]
fn moved_and_repeated() {
    let x = counted(&[3, 4]);
    assert_eq!(x.roll([1, -2], [0, 1]).to_vec::<f64>(), [10.0, 11.0, 8.0, 9.0, 2.0, 3.0, 0.0, 1.0, 6.0, 7.0, 4.0, 5.0]);
    assert_eq!(x.roll([30, 7], [0, -1]).to_vec::<f64>(), x.roll([0, -1], [0, 1]).to_vec::<f64>());
    assert_eq!(Tensor::zeros([0]).roll(3, 0).elements(), 0);
    assert_eq!(gradient(&tensor![1.0, 2.0, 3.0], |x| x.roll(1, 0)), [2.0, 3.0, 1.0]);
    assert_eq!(x.tile([2, 1, 2]).shape()[..], [2, 3, 8]);
    assert_eq!(Int::arange(0, 3).tile([2, 2]).to_vec::<i64>(), [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]);
    assert_eq!(x.tile([0, 1]).shape()[..], [0, 4]);
    assert_eq!(scalar(2.0).tile([3]).to_vec::<f64>(), [2.0; 3]);
    assert_eq!(gradient(&tensor![1.0, 2.0], |x| x.tile(2)), [4.0, 6.0]);
    let x = counted(&[2, 2]);
    assert_eq!(x.repeat_interleave(2, 1).to_vec::<f64>(), [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
    assert_eq!(x.repeat_interleave_each(&tensor![2, 1], 0).to_vec::<f64>(), [0.0, 1.0, 0.0, 1.0, 2.0, 3.0]);
    assert_eq!(gradient(&tensor![1.0, 2.0], |x| x.repeat_interleave(2, 0)), [3.0, 7.0]);
    assert_eq!(x.repeat_interleave(0, 0).shape()[..], [0, 2]);
}

#[test]
fn views_are_views() {
    let x = counted(&[2, 3, 4]);
    for y in [x.view([6, 4]), x.view([2, -1]), x.i((.., 1..)).view([2, 8]), x.permute([0, 2, 1]).view([2, 2, 2, 3])] {
        assert!(y.shares_memory(&x));
    }
    assert!(x.permute([0, 2, 1]).try_view([24]).is_err());
    assert!(x.i((.., 1..)).try_view([16]).is_err());
    assert_eq!(x.unflatten(-1, [2, -1]).shape()[..], [2, 3, 2, 2]);
    assert!(x.diagonal(0, 0, 2).shares_memory(&x));
}

#[test]
fn masks() {
    let x = counted(&[2, 3]);
    let mask = x.gt(1.5);
    assert_eq!(x.masked_select(&mask).to_vec::<f64>(), [2.0, 3.0, 4.0, 5.0]);
    assert_eq!(x.masked_select(&tensor![true, false, true]).to_vec::<f64>(), [0.0, 2.0, 3.0, 5.0]);
    assert_eq!(tensor![7.0].masked_select(&tensor![true, true]).to_vec::<f64>(), [7.0, 7.0]);
    assert_eq!(gradient(&x, |x| x.masked_select(&mask)), [0.0, 0.0, 1.0, 2.0, 3.0, 4.0]);
    assert_eq!(gradient(&x, |x| x.masked_fill(&mask, 9.0)), [1.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(Int::arange(0, 3).masked_fill(&tensor![true, false, false], -1).to_vec::<i64>(), [-1, 1, 2]);
    assert_eq!(scalar(1.0).masked_select(&scalar(1.0).gt(0.0)).shape()[..], [1]);
}

#[test]
fn assigned_slices() {
    let x = counted(&[2, 3]);
    assert_eq!(x.slice_assign(1, &scalar(9.0)).to_vec::<f64>(), [0.0, 1.0, 2.0, 9.0, 9.0, 9.0]);
    assert_eq!(x.slice_assign((.., (..).by(-2)), &tensor![8.0, 9.0]).to_vec::<f64>(), [9.0, 1.0, 8.0, 9.0, 4.0, 8.0]);
    assert_eq!(x.to_vec::<f64>(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(gradient(&x, |x| x.slice_assign((0, ..2), &scalar(9.0))), [0.0, 0.0, 3.0, 4.0, 5.0, 6.0]);
    let src = gradient(&scalar(9.0), |src| x.slice_assign((0, ..2), src));
    assert_eq!(src, [3.0]);
}

#[test]
fn positions_of_extremes() {
    let x = tensor![[1.0, 3.0, 3.0], [f64::NAN, 5.0, f64::NAN]];
    let (values, places) = x.max_with_index(1);
    assert_eq!(places.to_vec::<i64>(), [1, 0]);
    assert!(values.to_vec::<f64>()[1].is_nan());
    assert_eq!(gradient(&tensor![2.0, 3.0, 3.0], |x| x.max_with_index(0).0), [0.0, 1.0, 0.0]);
    assert_eq!(gradient(&tensor![2.0, 3.0, 3.0], |x| x.amax(0)), [0.0, 0.5, 0.5]);
    assert_eq!(gradient(&tensor![[4.0, 1.0], [2.0, 3.0]], |x| x.median()), [0.0, 0.0, 1.0, 0.0]);
}

#[test]
fn counts() {
    let x = tensor![1, 3, 3];
    assert_eq!(x.bincount(0).to_vec::<i64>(), [0, 1, 0, 2]);
    assert_eq!(x.bincount_weighted(&tensor![0.5, 1.0, 2.0], 5).to_vec::<f64>(), [0.0, 0.5, 0.0, 3.0, 0.0]);
    assert_eq!(gradient(&tensor![0.5, 1.0, 2.0], |w| x.bincount_weighted(w, 0)), [2.0, 4.0, 4.0]);
    assert_eq!(Int::arange(0, 0).bincount(2).to_vec::<i64>(), [0, 0]);
    // As many that they are counted in 32 bits.
    assert_eq!(Int::arange(0, 100_000).remainder(3).bincount(4).to_vec::<i64>(), [33_334, 33_333, 33_333, 0]);
}
