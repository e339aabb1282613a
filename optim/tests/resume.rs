//! A run that is saved, and resumed in another program, goes on bit for bit.

use wengert_autograd::Differentiate;
use wengert_nn::{Batches, Dropout, Layer, Linear, Module, ReLU, Sequential};
use wengert_optim::schedule::{Cosine, Schedule};
use wengert_optim::{
    Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Checkpoint, Ema, Lamb, Lbfgs, Lion, Muon, NAdam, Optimizer,
    RAdam, RmsProp, Sgd,
};
use wengert_tensor::{Rng, Tensor, manual_seed};

fn net() -> Sequential {
    Sequential::new().push(Linear::new(3, 16)).push(ReLU::new()).push(Dropout::new(0.3)).push(Linear::new(16, 2))
}

fn bits(net: &Sequential) -> Vec<u32> {
    net.parameters().iter().flat_map(|p| p.value().to_vec::<f32>()).map(f32::to_bits).collect()
}

type Make = fn(&Sequential) -> Box<dyn Optimizer>;

const OPTIMIZERS: [(&str, Make); 14] = [
    ("Sgd", |net| Box::new(Sgd::new(net.parameters()).momentum(0.9).nesterov(true))),
    ("Adam", |net| Box::new(Adam::new(net.parameters()).amsgrad(true))),
    ("AdamW", |net| Box::new(AdamW::new(net.parameters()).group("*.bias", |g| g.weight_decay(0.0).lr_factor(0.5)))),
    ("Adamax", |net| Box::new(Adamax::new(net.parameters()))),
    ("NAdam", |net| Box::new(NAdam::new(net.parameters()))),
    ("RAdam", |net| Box::new(RAdam::new(net.parameters()))),
    ("RmsProp", |net| Box::new(RmsProp::new(net.parameters()).centred(true).momentum(0.9))),
    ("Adagrad", |net| Box::new(Adagrad::new(net.parameters()).initial(0.1).lr_decay(0.01))),
    ("Adadelta", |net| Box::new(Adadelta::new(net.parameters()))),
    ("Adafactor", |net| Box::new(Adafactor::new(net.parameters()))),
    ("Lion", |net| Box::new(Lion::new(net.parameters()))),
    ("Lamb", |net| Box::new(Lamb::new(net.parameters()))),
    ("Muon", |net| Box::new(Muon::new(net.parameters().into_iter().filter(|p| p.shape().rank() == 2)))),
    ("skipping", |net| Box::new(AdamW::new(net.parameters()).skip_non_finite())),
];

struct Run {
    net: Sequential,
    opt: Box<dyn Optimizer>,
    ema: Ema,
}

impl Run {
    fn new(make: Make) -> Run {
        let net = net();
        Run { opt: make(&net), ema: Ema::new(net.parameters(), 0.9).warm_up(), net }
    }

    /// Trains from one step to another.
    fn train(&mut self, steps: std::ops::Range<usize>) {
        let mut rng = Rng::new(5);
        let (x, y) = (rng.randn([22, 3]), rng.randn([22, 2]));
        let batches: Batches<wengert_tensor::Float, wengert_tensor::Float> = Batches::new(&x, &y, 4).shuffle(7);
        let schedule = Cosine::new(0.01, 20).warm_up(3);
        for step in steps {
            let (epoch, batch) = (step / batches.len(), step % batches.len());
            let (x, y) = batches.epoch(epoch as u64).nth(batch).unwrap();
            self.opt.set_lr(schedule.lr(step));
            self.opt.step(&self.net.forward(&x).mse_loss(&y).backward());
            self.ema.update();
        }
    }

    fn averages(&mut self) -> Vec<u32> {
        let Run { net, ema, .. } = self;
        ema.applied(|| bits(net))
    }
}

#[test]
fn a_resumed_run_is_bit_identical() {
    let dir = std::env::temp_dir().join(format!("wengert-resume-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for (name, make) in OPTIMIZERS {
        let file = dir.join(name);
        manual_seed(3);
        let mut whole = Run::new(make);
        whole.train(0..9);
        // In the middle of an epoch.
        let (net, opt, ema) = (whole.net.state_dict(), whole.opt.state_dict(), whole.ema.state_dict());
        Checkpoint::new(9).with("net", net).with("opt", opt).with("ema", ema).save(&file).unwrap();
        let saved = bits(&whole.net);
        whole.train(9..20);
        assert_ne!(bits(&whole.net), saved, "{name}");

        // Another program: other weights, another state of the generator.
        manual_seed(99);
        let mut resumed = Run::new(make);
        let checkpoint = Checkpoint::load(&file).unwrap();
        resumed.net.load_state_dict(&checkpoint.part("net").unwrap()).unwrap();
        resumed.opt.load_state_dict(&checkpoint.part("opt").unwrap()).unwrap();
        resumed.ema.load_state_dict(&checkpoint.part("ema").unwrap()).unwrap();
        checkpoint.restore_rng();
        resumed.train(checkpoint.step() as usize..20);
        assert!(bits(&resumed.net) == bits(&whole.net), "{name}");
        assert!(resumed.averages() == whole.averages(), "{name}: the averages differ");
        assert!(
            resumed.opt.state_dict().iter().all(|(n, t)| {
                whole.opt.state_dict().get(n).is_some_and(|other| t.to_f64_vec() == other.to_f64_vec())
            })
        );
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_resumed_run_of_lbfgs_is_bit_identical() {
    manual_seed(3);
    let (whole, resumed) = (net(), net());
    whole.eval();
    resumed.eval();
    let mut rng = Rng::new(5);
    let (x, y) = (rng.randn([22, 3]), rng.randn([22, 2]));
    let new = |net: &Sequential| Lbfgs::new(net.parameters()).max_iterations(3).history(4);
    let train = |net: &Sequential, opt: &mut Lbfgs| {
        for _ in 0..3 {
            opt.step(|| net.forward(&x).mse_loss(&y));
        }
    };
    let mut opt = new(&whole);
    train(&whole, &mut opt);
    let mut other = new(&resumed);
    other.load_state_dict(&opt.state_dict()).unwrap();
    resumed.load_state_dict(&whole.state_dict()).unwrap();
    train(&whole, &mut opt);
    train(&resumed, &mut other);
    assert_eq!(bits(&resumed), bits(&whole));
    assert!(other.load_state_dict(&Adam::new(whole.parameters()).state_dict()).is_err());
}

#[test]
fn a_checkpoint_says_what_it_lacks() {
    let dir = std::env::temp_dir().join(format!("wengert-checkpoint-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("run");
    let fc = Linear::new(2, 2);
    Checkpoint::new(7).with("net", fc.state_dict()).save(&file).unwrap();
    let checkpoint = Checkpoint::load(&file).unwrap();
    let e = checkpoint.part("opt").err().unwrap().to_string();
    assert!(e.starts_with("the checkpoint has no part `opt`; it has net"), "{e}");
    fc.save(&file).unwrap();
    let e = Checkpoint::load(&file).err().unwrap().to_string();
    assert!(e.starts_with("the file is no checkpoint: it has no step"), "{e}");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn averages_stand_in_and_go_back_also_after_a_panic() {
    let fc = Linear::new(2, 1);
    fc.weight.set(&Tensor::zeros([1, 2]));
    let mut ema = Ema::new(fc.parameters(), 0.5);
    fc.weight.set(&Tensor::ones([1, 2]));
    ema.update();
    ema.swap();
    assert!(ema.is_swapped());
    assert_eq!(fc.weight.value().to_vec::<f32>(), [0.5; 2]);
    ema.swap();
    assert_eq!(fc.weight.value().to_vec::<f32>(), [1.0; 2]);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ema.applied(|| panic!("on purpose"))));
    assert!(caught.is_err() && !ema.is_swapped());
    assert_eq!(fc.weight.value().to_vec::<f32>(), [1.0; 2]);
    // The averages are the weights of a model.
    let other = Linear::new(2, 1);
    other.load_state_dict(&ema.weights()).unwrap();
    assert_eq!(other.weight.value().to_vec::<f32>(), [0.5; 2]);
}
