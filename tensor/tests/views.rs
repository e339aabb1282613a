//! Views share memory, whatever their rank, offset and strides; indexing means what Python's does, or fails.
// The lint takes `1..-1` for a range to walk; here, as in Python, it ends one before the end.
#![allow(clippy::reversed_empty_ranges)]

use wengert_tensor::layout::Cut;
use wengert_tensor::{By, Ellipsis, ErrorKind, Index, Int, IntoIndex, NewAxis, Shape, Tensor, tensor};

/// The numbers 0, 1, 2, .. in a shape.
fn counted(shape: &[usize]) -> Tensor<Int> {
    let n = shape.iter().product::<usize>() as i64;
    Tensor::<Int>::from_vec((0..n).collect(), shape)
}

/// What a view must hold: the element of `x` at the place that `place` computes for each place of the result.
fn expected(x: &Tensor<Int>, shape: &[usize], place: impl Fn(&[usize]) -> Vec<usize>) -> Vec<i64> {
    let (values, strides) = (x.to_vec::<i64>(), x.shape().strides());
    let n: usize = shape.iter().product();
    (0..n)
        .map(|flat| {
            let mut rest = flat;
            let mut at = vec![0; shape.len()];
            for (a, &size) in shape.iter().enumerate().rev() {
                (at[a], rest) = (rest % size, rest / size);
            }
            values[place(&at).iter().zip(&strides).map(|(&p, &s)| p * s as usize).sum::<usize>()]
        })
        .collect()
}

fn assert_view(view: &Tensor<Int>, of: &Tensor<Int>, shape: &[usize], values: &[i64]) {
    assert!(view.shares_memory(of), "{view} is no view");
    assert_eq!(view.shape(), shape);
    assert_eq!(view.to_vec::<i64>(), values);
}

#[test]
fn views_of_every_rank_share_memory() {
    for rank in 0..=8 {
        let shape: Vec<usize> = (0..rank).map(|a| [2, 1, 3, 2][a % 4]).collect();
        let x = counted(&shape);
        let reversed: Vec<usize> = shape.iter().rev().copied().collect();
        let turned = x.permute((0..rank).rev().collect::<Vec<_>>());
        let back = |at: &[usize]| at.iter().rev().copied().collect();
        assert_view(&turned, &x, &reversed, &expected(&x, &reversed, back));

        let flipped = x.flip(..);
        let mirror = |at: &[usize]| at.iter().zip(&shape).map(|(&p, &n)| n - 1 - p).collect();
        assert_view(&flipped, &x, &shape, &expected(&x, &shape, mirror));
        assert!(flipped.layout().strides().iter().zip(&shape).all(|(&s, &n)| n == 1 || s < 0));
        assert_view(&flipped.flip(..), &x, &shape, &x.to_vec::<i64>());

        let tail: Vec<usize> = shape.iter().map(|&n| n.div_ceil(2)).collect();
        let cuts: Vec<Cut> = shape.iter().map(|&n| Cut { start: n / 2, step: 1, count: n.div_ceil(2) }).collect();
        let cut = |at: &[usize]| at.iter().zip(&shape).map(|(&p, &n)| p + n / 2).collect();
        assert_view(&x.slice_cuts(&cuts), &x, &tail, &expected(&x, &tail, cut));

        let flat = x.elements();
        assert_view(&x.reshape([flat]), &x, &[flat], &x.to_vec::<i64>());
        let mut wider = vec![3];
        wider.extend(&shape);
        assert_view(&x.expand(&wider), &x, &wider, &expected(&x, &wider, |at| at[1..].to_vec()));
    }
}

#[test]
fn a_reshape_of_a_view_is_a_view_where_strides_allow_it_and_a_copy_elsewhere() {
    let x = counted(&[4, 6]);
    let rows = x.i(1..3);
    assert_view(&rows.reshape([2, 3, 2]), &x, &[2, 3, 2], &(6..18).collect::<Vec<_>>());
    assert_view(&rows.reshape([12]), &x, &[12], &(6..18).collect::<Vec<_>>());
    assert_view(&x.flip(0).reshape([4, 1, 3, 2]), &x, &[4, 1, 3, 2], &x.flip(0).to_vec::<i64>());
    let columns = x.i((.., 1..3));
    let copy = columns.reshape([8]);
    assert!(!copy.shares_memory(&x));
    assert_eq!(copy.to_vec::<i64>(), [1, 2, 7, 8, 13, 14, 19, 20]);
}

#[test]
fn indexing_gives_views() {
    let x = counted(&[3, 4, 2]);
    assert_view(&x.i(-1), &x, &[4, 2], &(16..24).collect::<Vec<_>>());
    assert_view(&x.i((1, 2, 1)), &x, &[], &[13]);
    assert_view(&x.i((.., 1)), &x, &[3, 2], &[2, 3, 10, 11, 18, 19]);
    assert_view(&x.i((Ellipsis, 0)), &x, &[3, 4], &[0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22]);
    assert_view(&x.i((0, Ellipsis, 0)), &x, &[4], &[0, 2, 4, 6]);
    assert_view(&x.i((0, 1..-1)), &x, &[2, 2], &[2, 3, 4, 5]);
    assert_view(&x.i((0, -3..=2, 1)), &x, &[2], &[3, 5]);
    assert_view(&x.i((0, ..=1, 0)), &x, &[2], &[0, 2]);
    assert_view(&x.i((0, (..).by(-1), 0)), &x, &[4], &[6, 4, 2, 0]);
    assert_view(&x.i((0, (1..).by(2), 0)), &x, &[2], &[2, 6]);
    assert_view(&x.i((0, (..-1).by(-2), 0)), &x, &[2], &[4, 0]);
    assert_view(&x.i((NewAxis, 0, .., NewAxis, 1)), &x, &[1, 4, 1], &[1, 3, 5, 7]);
    assert_view(&x.i(..), &x, &[3, 4, 2], &x.to_vec::<i64>());
    assert_view(&x.i(()), &x, &[3, 4, 2], &x.to_vec::<i64>());
    let built: Vec<Index> = vec![(-1).into_index(), (..).into_index(), 0.into_index()];
    assert_view(&x.i(built), &x, &[4], &[16, 18, 20, 22]);
    let big = counted(&[1, 2, 1, 2, 1, 2, 1, 2]);
    assert_view(&big.i((.., 1, .., 0, .., 1)), &big, &[1, 1, 1, 1, 2], &[10, 11]);
}

#[test]
fn empty_ranges_are_legal_up_to_the_end_of_the_axis() {
    let x = counted(&[3, 2]);
    for empty in [x.i(0..0), x.i(3..), x.i(3..3), x.i(1..-2), x.i((2..2).by(-1))] {
        assert_eq!(empty.shape(), &Shape::from([0, 2]));
    }
    assert_eq!(counted(&[0, 2]).i((.., 1)).shape(), &Shape::from([0]));
    assert_eq!(counted(&[0, 2]).i((..).by(-1)).shape(), &Shape::from([0, 2]));
}

#[test]
fn a_tensor_takes_positions_of_one_axis() {
    let x = counted(&[3, 4]);
    assert_eq!(x.i(&tensor![2, 0]).to_vec::<i64>(), [8, 9, 10, 11, 0, 1, 2, 3]);
    assert_eq!(x.i((1.., &tensor![3, 3, 0])).to_vec::<i64>(), [7, 7, 4, 11, 11, 8]);
    assert_eq!(x.i((0, &tensor![[3], [1]])).shape(), &Shape::from([2, 1]));
    assert_eq!(x.i((NewAxis, &tensor![1], 0)).to_vec::<i64>(), [4]);
}

#[test]
fn indices_beyond_the_axis_are_errors_and_nothing_is_clipped() {
    let x = counted(&[3, 4]);
    let says = |result: wengert_tensor::Result<Tensor<Int>>, text: &str| {
        let e = result.expect_err(text);
        assert!(e.message().contains(text), "{e}");
        assert!(e.location().is_some_and(|at| at.file().ends_with("views.rs")), "{e}");
        e
    };
    let e = says(x.try_i(3), "index 3 is out of range for axis 0 of size 3");
    assert_eq!((e.op(), e.kind()), (Some("i"), ErrorKind::Index));
    assert!(e.to_string().contains("help: valid indices are -3 to 2"), "{e}");
    says(x.try_i((.., -5)), "index -5 is out of range for axis 1 of size 4");
    says(x.try_i(1..4), "bound 4 is out of range for axis 0 of size 3");
    says(x.try_i(..=3), "bound 3 is out of range for axis 0 of size 3");
    says(x.try_i(-4..), "bound -4 is out of range for axis 0 of size 3");
    says(x.try_i(..=-4), "bound -4 is out of range for axis 0 of size 3");
    says(x.try_i(..i64::MAX), "is out of range for axis 0");
    says(x.try_i(i64::MIN..), "is out of range for axis 0");
    says(x.try_i(i64::MIN), "is out of range for axis 0");
    says(x.try_i(2..-2), "the range 2..1 on axis 0 of size 3 ends before it starts");
    says(x.try_i((..).by(0)), "the step on axis 0 is 0");
    says(x.try_i((0, 0, 0)), "3 axes are indexed, and the rank is 2");
    says(x.try_i((Ellipsis, Ellipsis)), "more than one Ellipsis");
    says(x.try_i((&tensor![0], &tensor![0])), "more than one tensor");
    says(x.try_i(&tensor![0, 3]), "index 3 at position [1] is out of range for axis 0 of size 3");
    says(counted(&[0]).try_i(0), "index 0 is out of range for axis 0 of size 0");
    says(counted(&[]).try_i(0), "1 axes are indexed, and the rank is 0");
}

#[test]
fn steps_as_large_as_they_come_do_not_overflow() {
    let x = counted(&[3]);
    assert_eq!(x.i((..).by(isize::MAX)).to_vec::<i64>(), [0]);
    assert_eq!(x.i((..).by(isize::MIN)).to_vec::<i64>(), [2]);
}

#[test]
fn sums_into_a_slice_are_exact_for_large_integers() {
    use wengert_tensor::{attrs, dispatch, registry};
    let large = (1i64 << 53) + 1;
    let x = Tensor::<Int>::from_vec(vec![large; 6], [3, 2]);
    for (start, step) in [(0usize, 2isize), (2, -2)] {
        let attrs = attrs! { starts: [start, 1], steps: &[step, 1][..], counts: [2usize, 1] };
        let addend = Tensor::<Int>::from_vec(vec![2i64, 4], [2, 1]);
        let slice_add = registry::find("slice_add").expect("it is registered");
        let sum = dispatch::apply(slice_add, attrs, &mut [(&x).into(), (&addend).into()]).expect("a legal slice");
        let (first, last) = if step > 0 { (2, 4) } else { (4, 2) };
        let want = [large, large + first, large, large, large, large + last];
        assert_eq!(sum[0].int().expect("integers").to_vec::<i64>(), want);
    }
}
