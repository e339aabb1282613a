//! Losses that are made of several operations, differentiated twice; and gradients where they are small.

use wengert::{
    Bce, BceWithLogits, CrossEntropy, Ctc, DType, Differentiate, GradCheck, Reduction, Tensor, TripletMargin,
    manual_seed, tensor,
};

/// That first and second derivatives agree with differences.
#[track_caller]
fn differentiable(shapes: &[&[usize]], f: impl Fn(&[Tensor]) -> Tensor) {
    manual_seed(4);
    let inputs: Vec<Tensor> = shapes.iter().map(|&s| Tensor::randn(s).to_dtype(DType::F64)).collect();
    GradCheck::new().check(&f, &inputs).unwrap();
    GradCheck::new().check_second(&f, &inputs).unwrap();
}

#[test]
fn temporal_classification_is_differentiable_twice() {
    // Different lengths, a label twice in a row, and no label at all.
    let (targets, steps, labels) = (tensor![[1, 1], [2, 1], [0, 0]], tensor![5, 4, 3], tensor![2, 2, 0]);
    let options = Ctc::new().blank(3).reduction(Reduction::Sum);
    differentiable(&[&[5, 3, 4]], |v| v[0].log_softmax(-1).ctc_loss_with(&targets, &steps, &labels, options.clone()));
}

#[test]
fn an_impossible_target_has_no_gradient_where_its_infinity_is_left_out() {
    let x = Tensor::zeros([2, 2, 3]).log_softmax(-1).requires_grad();
    let (targets, two) = (tensor![[1, 1], [1, 2]], tensor![2, 2]);
    assert_eq!(x.ctc_loss(&targets, &two, &two).item(), f64::INFINITY);
    let loss = x.ctc_loss_with(&targets, &two, &two, Ctc::new().zero_infinity(true));
    let gradient = loss.backward().of(&x).sum_axis([0, 2]).to_vec::<f32>();
    assert_eq!(gradient[0], 0.0);
    assert!(gradient[1] < -0.4, "{gradient:?}");
}

#[test]
fn a_probability_of_zero_is_as_good_as_a_very_small_one() {
    let row = |p: [f64; 3]| Tensor::from_vec(p.map(f64::ln).to_vec(), [1, 1, 3]);
    let x = Tensor::cat(&[row([0.5, 0.5, 0.0]), row([0.0, 0.25, 0.75])], 0).requires_grad();
    // All that is possible: 1 then 1, or the blank then 1.
    let loss = x.ctc_loss(&tensor![[1]], &tensor![2], &tensor![1]);
    assert!((loss.item() + 0.25f64.ln()).abs() < 1e-12);
    assert!(loss.backward().of(&x).isfinite().all().item());
}

#[test]
fn weighted_and_vector_losses_are_differentiable_twice() {
    let signs = tensor![1, -1, 1];
    differentiable(&[&[3, 4], &[3, 4]], |v| v[0].cosine_embedding_loss(&v[1], &signs));
    differentiable(&[&[3, 4], &[3, 4], &[3, 4]], |v| {
        v[0].triplet_margin_loss_with(&v[1], &v[2], TripletMargin::new().margin(3.0).swap(true))
    });
    differentiable(&[&[3, 4], &[3, 4]], |v| {
        let options = CrossEntropy::new().label_smoothing(0.2).class_weights([1.0, 2.0, 0.5, 1.0]);
        v[0].cross_entropy_with(&v[1].softmax(1), options)
    });
    differentiable(&[&[3, 4], &[3, 4], &[4], &[4]], |v| {
        let options = BceWithLogits::new().weight(&v[2]).pos_weight(&v[3]);
        v[0].bce_with_logits_loss_with(&v[1].sigmoid(), options)
    });
    differentiable(&[&[3, 4], &[3, 4], &[4]], |v| {
        v[0].sigmoid().bce_loss_with(&v[1].sigmoid(), Bce::new().weight(&v[2]))
    });
}

#[test]
fn the_gradient_of_gelu_is_precise_far_to_the_left() {
    // The distribution function plus x times the density, with 40 digits.
    let x = tensor![-5.0, -10.0, -20.0, -35.0].to_dtype(DType::F64).requires_grad();
    let known = [-7.146946001792295e-6, -7.618400096464814e-22, -1.1014360483133464e-86, -1.378013786291136e-265];
    let gradient = x.gelu().sum().backward().of(&x).to_vec::<f64>();
    for (own, known) in gradient.iter().zip(known) {
        assert!((own / known - 1.0).abs() < 1e-12, "{own:e} should be {known:e}");
    }
}

#[test]
fn sequences_end_exactly_where_they_should() {
    for (start, end) in [(0.0, 0.1), (-1.0 / 3.0, 1.0 / 7.0), (1e300, -1e300)] {
        let x = wengert::with_default_dtype(DType::F64, || Tensor::linspace(start, end, 98)).to_vec::<f64>();
        assert_eq!((x[0], x[97]), (start, end));
    }
    assert_eq!(Tensor::linspace(2.0, 3.0, 1).to_vec::<f32>(), [2.0]);
    assert_eq!(Tensor::linspace(2.0, 3.0, 0).elements(), 0);
}

#[test]
fn assigning_operators_do_what_the_others_do() {
    let mut x = tensor![7, -7];
    x += 1;
    x *= tensor![2, 3];
    x -= &tensor![1, 1];
    x /= 2;
    assert_eq!(x.to_vec::<i64>(), [7, -9]);
    let mut y = tensor![1.0, 2.0];
    y += 1.0;
    y /= &tensor![2.0, 3.0];
    y -= tensor![0.5, 0.5];
    y *= 4;
    assert_eq!(y.to_vec::<f32>(), [2.0, 2.0]);
}
