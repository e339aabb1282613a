//! A model of a user's own, through the public interface alone.

use wengert::prelude::*;

#[derive(Module)]
struct Block<L: Layer> {
    conv: Conv2d,
    norm: Option<BatchNorm2d>,
    skip: L,
}

impl<L: Layer> Layer for Block<L> {
    fn forward(&self, x: &Tensor) -> Tensor {
        let h = self.conv.forward(x);
        let h = match &self.norm {
            Some(norm) => norm.forward(&h),
            None => h,
        };
        (h + self.skip.forward(x)).relu()
    }
}

#[derive(Module)]
struct Net {
    body: Sequential,
    head: Linear,
    classes: usize,
}

impl Net {
    fn new() -> Net {
        let first = Block { conv: Conv2d::new(1, 4, 3).padding(1), norm: None, skip: Conv2d::new(1, 4, 1) };
        let second =
            Block { conv: Conv2d::new(4, 4, 3).padding(1), norm: Some(BatchNorm2d::new(4)), skip: Sequential::new() };
        let body =
            Sequential::new().push(first).push(MaxPool2d::new(2)).push_named("last", second).push(Flatten::new());
        Net { body, head: Linear::new(4 * 4 * 4, 10), classes: 10 }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let logits = self.head.forward(&self.body.forward(x));
        assert_eq!(logits.size(-1), self.classes);
        logits
    }
}

#[test]
fn a_derived_model_trains_saves_and_loads() -> Result<()> {
    manual_seed(1);
    let net = Net::new();
    let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "body.0.conv.weight",
            "body.0.conv.bias",
            "body.0.skip.weight",
            "body.0.skip.bias",
            "body.last.conv.weight",
            "body.last.conv.bias",
            "body.last.norm.weight",
            "body.last.norm.bias",
            "head.weight",
            "head.bias",
        ]
    );
    let (x, y) = (Tensor::randn([8, 1, 8, 8]), Int::arange(0, 8));
    let loss = || net.forward(&x).cross_entropy(&y);
    let before = loss();
    for _ in 0..20 {
        let grads = loss().backward();
        for p in net.parameters() {
            // Every parameter gets a gradient, and the steps are plain gradient descent.
            p.set(&(p.value().detach() - grads.of(&p) * 0.05));
        }
    }
    assert!(loss().item() < 0.5 * before.item(), "{} to {}", before.item(), loss().item());

    let file = std::env::temp_dir().join(format!("wengert-modules-{}.safetensors", std::process::id()));
    net.save(&file)?;
    let copy = Net::new();
    copy.load(&file)?;
    std::fs::remove_file(&file)?;
    net.eval();
    copy.eval();
    assert_eq!(net.forward(&x).to_vec::<f32>(), copy.forward(&x).to_vec::<f32>());
    Ok(())
}

#[test]
fn a_summary_shows_what_a_forward_pass_does() {
    let net = Net::new();
    let summary = Summary::of(&net, || net.forward(&Tensor::zeros([1, 1, 8, 8])));
    assert_eq!(
        summary.to_string(),
        "layer           kind         output        parameters
body.0.conv     Conv2d       [1, 4, 8, 8]          40
body.0.skip     Conv2d       [1, 4, 8, 8]           8
body.1          MaxPool2d    [1, 4, 4, 4]           0
body.last.conv  Conv2d       [1, 4, 4, 4]         148
body.last.norm  BatchNorm2d  [1, 4, 4, 4]           8
body.last.skip  Sequential   [1, 4, 4, 4]           0
body.3          Flatten      [1, 64]                0
head            Linear       [1, 10]              650
total                                             854"
    );
}
