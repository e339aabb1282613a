//! A steady training loop copies no parameter and asks the system for no memory. A test binary of its own, since other
//! tests in the process would ask for some.

use wengert_autograd::Differentiate;
use wengert_nn::Param;
use wengert_optim::{Adafactor, AdamW, Ema, Lamb, Muon, NAdam, Optimizer, Sgd};
use wengert_tensor::{Rng, storage};

#[test]
fn a_steady_loop_copies_no_parameter_and_asks_for_no_memory() {
    let w = Param::new(Rng::new(1).randn([300, 400]));
    let x = Rng::new(2).randn([8, 400]);
    let optimizers: [Box<dyn Optimizer>; 6] = [
        Box::new(Sgd::new([w.clone()]).momentum(0.9).nesterov(true)),
        Box::new(AdamW::new([w.clone()]).amsgrad(true)),
        Box::new(NAdam::new([w.clone()])),
        Box::new(Lamb::new([w.clone()])),
        Box::new(Adafactor::new([w.clone()])),
        Box::new(Muon::new([w.clone()])),
    ];
    let mut ema = Ema::new([w.clone()], 0.9);
    for mut opt in optimizers {
        let mut step = || {
            let loss = x.matmul(&w.value().t()).mean();
            // The loss is in scope while its gradients are applied.
            opt.step(&loss.backward());
            ema.update();
            let address = w.value().as_slice::<f32>().unwrap().as_ptr();
            (address, storage::system_buffers())
        };
        step();
        let steady = step();
        for _ in 0..20 {
            assert_eq!(step(), steady, "the parameter was copied, or memory asked for");
        }
    }
}
