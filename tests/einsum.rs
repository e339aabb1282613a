//! `einsum` and `tensordot` against sums that are written out, for random equations.

use std::collections::BTreeMap;

use proptest::prelude::*;
use wengert::prelude::*;
use wengert::{GradCheck, gradgradcheck};

/// The sum over all letters, one product after the other.
fn written_out(terms: &[String], output: &str, operands: &[Tensor]) -> Vec<f64> {
    let mut sizes: BTreeMap<char, usize> = BTreeMap::new();
    for (term, x) in terms.iter().zip(operands) {
        sizes.extend(term.chars().zip(x.shape().iter().copied()));
    }
    let place = |term: &str, at: &BTreeMap<char, usize>| term.chars().fold(0, |i, c| i * sizes[&c] + at[&c]);
    let values: Vec<Vec<f64>> = operands.iter().map(|x| x.to_vec()).collect();
    let mut sums = vec![0.0; output.chars().map(|c| sizes[&c]).product()];
    for mut number in 0..sizes.values().product() {
        let mut at = BTreeMap::new();
        for (&c, &size) in &sizes {
            at.insert(c, number % size);
            number /= size;
        }
        sums[place(output, &at)] += terms.iter().zip(&values).map(|(t, v)| v[place(t, &at)]).product::<f64>();
    }
    sums
}

/// Numbers that look random.
fn numbers(shape: &[usize], seed: usize) -> Tensor {
    let n: usize = shape.iter().product();
    let values = (0..n).map(|i| ((i * 37 + seed * 101) as f64 * 0.7).sin() * 2.0).collect();
    Tensor::from_vec::<f64>(values, shape)
}

fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-12 * b.abs().max(1.0))
}

/// Up to three operands of up to four axes each named by `a` to `e`, a letter also twice, with the sizes of the letters
/// and a result of letters that there are.
fn equations() -> impl Strategy<Value = (Vec<String>, String, Vec<usize>)> {
    let term = proptest::collection::vec(0..5usize, 0..4);
    let terms = proptest::collection::vec(term, 1..4);
    (terms, proptest::collection::vec(1..4usize, 5), any::<u64>()).prop_map(|(terms, sizes, mix)| {
        let letter = |i: &usize| (b'a' + *i as u8) as char;
        let mut present: Vec<usize> = terms.iter().flatten().copied().collect();
        present.sort();
        present.dedup();
        let mut output: Vec<usize> = present.iter().copied().filter(|i| mix >> i & 1 == 1).collect();
        if mix >> 8 & 1 == 1 {
            output.reverse();
        }
        let spell = |axes: &[usize]| axes.iter().map(letter).collect::<String>();
        (terms.iter().map(|t| spell(t)).collect(), spell(&output), sizes)
    })
}

fn operands(terms: &[String], sizes: &[usize]) -> Vec<Tensor> {
    let shape = |t: &String| t.bytes().map(|c| sizes[(c - b'a') as usize]).collect::<Vec<usize>>();
    terms.iter().enumerate().map(|(i, t)| numbers(&shape(t), i)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn it_is_the_sum_written_out((terms, output, sizes) in equations()) {
        let operands = operands(&terms, &sizes);
        let lent: Vec<&Tensor> = operands.iter().collect();
        let y = Tensor::einsum(&format!("{}->{output}", terms.join(",")), &lent);
        prop_assert_eq!(y.shape().rank(), output.len());
        prop_assert!(close(&y.to_vec::<f64>(), &written_out(&terms, &output, &operands)));
        // Without a result named: the letters that occur once.
        let mut once: Vec<char> = terms.concat().chars().filter(|c| terms.concat().matches(*c).count() == 1).collect();
        once.sort();
        let once: String = once.into_iter().collect();
        let y = Tensor::einsum(&terms.join(" , "), &lent);
        prop_assert!(close(&y.to_vec::<f64>(), &written_out(&terms, &once, &operands)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(25))]

    #[test]
    fn gradients_of_any_order((terms, output, sizes) in equations()) {
        let operands = operands(&terms, &sizes);
        let equation = format!("{}->{output}", terms.join(","));
        let f = |x: &[Tensor]| Tensor::einsum(&equation, &x.iter().collect::<Vec<_>>());
        GradCheck::new().check(f, &operands).unwrap();
        gradgradcheck(f, &operands).unwrap();
    }
}

#[test]
fn an_ellipsis_broadcasts() {
    let (x, y) = (numbers(&[5, 1, 2, 3], 0), numbers(&[4, 3, 2], 1));
    let z = Tensor::einsum("...ij,...jk->...ik", &[&x, &y]);
    assert_eq!(z.shape().to_string(), "[5, 4, 2, 2]");
    assert_eq!(z.to_vec::<f64>(), x.matmul(&y).to_vec::<f64>());
    let implicit = Tensor::einsum("...ij,...jk", &[&x, &y]);
    assert_eq!(implicit.to_vec::<f64>(), z.to_vec::<f64>());
    let summed = Tensor::einsum("...ij,...jk->ik", &[&x, &y]);
    assert!(close(&summed.to_vec::<f64>(), &z.sum_axis([0, 1]).to_vec::<f64>()));
    let turned = Tensor::einsum("a...->...a", &[&numbers(&[2, 3, 4], 0)]);
    assert_eq!(turned.shape().to_string(), "[3, 4, 2]");
    // Size 1 everywhere, and size 0 against 1.
    assert_eq!(Tensor::einsum("...,...", &[&numbers(&[1], 0), &numbers(&[1, 1], 0)]).shape().to_string(), "[1, 1]");
    let none = Tensor::einsum("...i,...i->...", &[&numbers(&[0, 3], 0), &numbers(&[1, 3], 0)]);
    assert_eq!(none.shape().to_string(), "[0]");
}

#[test]
fn integers_and_empty_sums() {
    let x = tensor![[1, 2], [3, 4]];
    assert_eq!(Tensor::einsum("ij,ij->", &[&x, &x]).item(), 30);
    let empty = Tensor::zeros([2, 0]);
    assert_eq!(Tensor::einsum("ij,kj->ik", &[&empty, &empty]).to_vec::<f32>(), [0.0; 4]);
}

#[test]
fn many_operands_take_the_cheap_order() {
    // From the left this would make 20,000 by 20,000 elements on the way.
    let (tall, flat) = (Tensor::ones([20_000, 2]), Tensor::ones([2, 20_000]));
    let y = Tensor::einsum("ab,bc,cd,de->ae", &[&tall, &flat, &tall, &Tensor::ones([2, 3])]);
    assert_eq!((y.shape().to_string(), y.max().item()), ("[20000, 3]".to_string(), 80_000.0));
}

#[test]
fn tensordot_is_an_einsum() {
    let (x, y) = (numbers(&[2, 3, 4], 0), numbers(&[4, 5, 3], 1));
    let z = x.tensordot(&y, [2, 1], [0, -1]);
    assert!(close(&z.to_vec::<f64>(), &Tensor::einsum("abc,cdb->ad", &[&x, &y]).to_vec::<f64>()));
    let outer = x.tensordot(&y, (), ());
    assert_eq!(outer.shape().to_string(), "[2, 3, 4, 4, 5, 3]");
}

#[test]
fn products_of_vectors_and_batches_have_gradients() {
    let (x, y) = (numbers(&[4], 0), numbers(&[4], 1));
    gradgradcheck(|v| v[0].dot(&v[1]), &[x.clone(), y.clone()]).unwrap();
    gradgradcheck(|v| v[0].outer(&v[1]), &[x, y]).unwrap();
    gradgradcheck(|v| v[0].bmm(&v[1]).trace(), &[numbers(&[2, 3, 4], 0), numbers(&[2, 4, 2], 1)]).unwrap();
    assert_eq!(tensor![[1, 2, 3], [4, 5, 6]].trace().item(), 6);
    assert_eq!(Tensor::zeros([2, 0, 3]).trace().to_vec::<f32>(), [0.0, 0.0]);
}
