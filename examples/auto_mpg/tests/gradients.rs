//! The gradients of this crate's own code, checked over generated inputs.

use auto_mpg::{Mileage, log_cosh};
use proptest::prelude::*;
use wengert::prelude::*;

/// Matrices in F64 of up to `rows` rows, with numbers up to `size`.
fn matrix(rows: std::ops::RangeInclusive<usize>, columns: usize, size: f64) -> impl Strategy<Value = Tensor> {
    rows.prop_flat_map(move |n| {
        let numbers = prop::collection::vec(-size..size, n * columns);
        numbers.prop_map(move |v| Tensor::from_vec(v, [n, columns]))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The loss, from tiny errors to ones at which cosh would overflow.
    #[test]
    fn the_loss_has_its_gradient(x in matrix(1..=5, 2, 1.0), scale in prop::sample::select(vec![1e-3, 1.0, 30.0, 800.0])) {
        let (x, y) = (&x * scale, (&x * 0.5 + 0.1) * scale);
        // Away from equal numbers, at which the magnitude has its kink.
        prop_assume!((&x - &y).abs().min().item() > 1e-4 * scale);
        prop_assert!(gradcheck(|v| log_cosh(&v[0], &v[1]), &[x, y]).is_ok());
    }

    /// The whole network, in its inputs and targets.
    #[test]
    fn the_network_has_its_gradients_in_the_inputs(x in matrix(2..=4, 3, 2.0), seed in 0u64..1000) {
        let net = network(seed);
        let y = x.i((.., ..1)).square() + 5.0;
        let checked = gradcheck(|v| net.loss(&v[0], &v[1]), &[x, y]);
        prop_assert!(checked.is_ok(), "{}", checked.unwrap_err());
    }

    /// The whole network, in an element of each parameter: against a difference, as anyone would take it.
    #[test]
    fn the_network_has_its_gradients_in_the_weights(x in matrix(1..=4, 3, 2.0), seed in 0u64..1000, at in 0usize..1000) {
        let net = network(seed);
        let y = x.i((.., ..1)).square() - 1.0;
        let gradients = net.loss(&x, &y).backward();
        for (name, param) in net.named_parameters() {
            let at = at % param.elements();
            let given = gradients.of(&param).to_vec::<f64>()[at];
            let h = 1e-5;
            let loss_with = |change: f64| {
                param.update(|w| w.as_mut_slice::<f64>()[at] += change);
                let loss = net.loss(&x, &y).item();
                param.update(|w| w.as_mut_slice::<f64>()[at] -= change);
                loss
            };
            let difference = (loss_with(h) - loss_with(-h)) / (2.0 * h);
            prop_assert!((given - difference).abs() < 1e-7, "{name} at {at}: {given}, and {difference} by difference");
        }
    }
}

fn network(seed: u64) -> Mileage {
    manual_seed(seed);
    let spread = Tensor::randn([8, 3]) * 2.0;
    let net = Mileage::new(&spread, &(spread.i((.., ..1)) + 1.0));
    net.to_dtype(DType::F64);
    net
}

#[test]
fn small_errors_count_as_squares_and_large_ones_as_magnitudes() {
    let loss = |e: f64| log_cosh(&scalar(e).to_dtype(DType::F64), &scalar(0.0).to_dtype(DType::F64)).item();
    assert!((loss(1e-3) / 0.5e-6 - 1.0).abs() < 1e-3);
    assert!((loss(1e4) - (1e4 - std::f64::consts::LN_2)).abs() < 1e-9);
}

#[test]
fn the_scaling_is_saved_with_the_network() {
    let names: Vec<String> = network(1).named_buffers().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["inputs.mean", "inputs.deviation", "targets.mean", "targets.deviation"]);
}
