//! Smoke.
use wengert::prelude::*;
use wengert::registry;
#[test]
fn smoke() {
    let x = tensor![[1.0, 2.0], [3.0, 4.0]];
    let w = Tensor::ones([2, 3]).requires_grad();
    let loss = x.matmul(&w).relu().sum();
    let grads = loss.backward();
    assert_eq!(grads.of(&w).to_vec::<f32>(), [4.0, 4.0, 4.0, 6.0, 6.0, 6.0]);
    let s = w.i_test();
    assert_eq!(s, 3);
    for op in registry::ops() {
        println!("{}", op.name);
    }
}
trait T {
    fn i_test(&self) -> i32;
}
impl T for Tensor {
    fn i_test(&self) -> i32 {
        let x = tensor![[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]].requires_grad();
        let y = x.narrow(1, 1, 2).flip(0).t().sum_axis(0).square().sum() + x.mean() / 2.0;
        let g = y.backward();
        println!("{:?}", g.of(&x));
        3
    }
}
#[test]
fn deep() {
    std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(|| {
            let w = scalar(1.0).requires_grad();
            let t = std::time::Instant::now();
            let mut x = w.clone();
            for _ in 0..1_000_000 {
                x = x * 1.0;
            }
            println!("rec {:?}", t.elapsed());
            let g = x.backward();
            println!("back {:?}", t.elapsed());
            drop(x);
            println!("drop {:?}", t.elapsed());
            assert_eq!(g.of(&w).item(), 1.0);
        })
        .unwrap()
        .join()
        .unwrap();
}
