//! A tour of Wengert, in the order in which one would try it: `cargo run --example tour`.

use std::panic;

use wengert::prelude::*;

fn title(text: &str) {
    println!("\n--- {text}\n");
}

fn main() -> Result<()> {
    manual_seed(7);

    title("Tensors print their values, aligned");
    let x = tensor![[1.0, -2.5, 100.0], [0.5, 3.25, -4.0]];
    println!("{x}");
    println!("{x:?}");
    println!("labels {}, a mask {}", tensor![3, 1, 4], x.gt(0.0).i(0));

    title("Shapes broadcast from the last axis");
    let column = tensor![[10.0], [20.0]];
    println!("{x}\n  +\n{column}\n  =\n{}", &x + &column);
    println!("the mean of each row: {}", x.mean_axis(1));

    title("Slices, transposes and flips are views: nothing is copied");
    let last_two = x.i((.., 1..));
    println!("{last_two}\n  shares memory with x: {}", last_two.shares_memory(&x));
    println!("transposed, then flipped:\n{}", x.t().flip(0));

    title("A gradient: the slope of a loss in every weight");
    let w = Tensor::randn([3, 2]).requires_grad();
    let loss = x.matmul(&w).tanh().square().mean();
    let grads = loss.backward();
    println!("loss {loss}\ngradient of w:\n{}", grads.of(&w));

    title("What was recorded on the way");
    let loss = x.matmul(&w).tanh().square().mean();
    println!("{}", loss.tape());

    title("Derivatives of any order");
    let third = grad(grad(grad(|t: &Tensor| t.sin())));
    println!("the third derivative of sin at 0.5 is {:.4}; -cos(0.5) is {:.4}", third(&scalar(0.5)), -0.5f64.cos());

    title("Where a NaN comes from");
    let probabilities = tensor![0.7, 0.3, 0.0].requires_grad();
    let traced = check_finite(|| (&probabilities * probabilities.log()).sum().neg());
    println!("{}", traced.unwrap_err());

    title("Three mistakes, as a user sees them");
    // Each panics at the line of its caller; here they are caught, so that the tour goes on.
    let (batch, weight) = (Tensor::zeros([32, 784]), Tensor::zeros([10, 784]));
    let mistakes: [(&str, &dyn Fn()); 3] = [
        ("a weight the wrong way round", &|| drop(batch.matmul(&weight))),
        ("a loss between [N, 1] and [N]", &|| drop(Tensor::zeros([8, 1]).mse_loss(&Tensor::zeros([8])))),
        ("a gradient that was cut off on the way", &|| {
            let w = Tensor::ones([2]).requires_grad();
            let b = Tensor::ones([2]).requires_grad();
            let loss = (w.detach() * 2.0 + &b).sum();
            drop(loss.backward().of(&w).clone());
        }),
    ];
    // Without the environment's wish for backtraces, which would hide the messages.
    panic::set_hook(Box::new(|info| println!("{info}\n")));
    for (name, mistake) in mistakes {
        println!("{name}:");
        assert!(panic::catch_unwind(panic::AssertUnwindSafe(mistake)).is_err(), "the mistake must be found");
    }
    Ok(())
}
