//! A table of a model's layers.

use std::fmt;

use wengert_tensor::{IntoDims, Shape, Tensor, no_grad};

use crate::layer::Layer;
use crate::module::{Module, Part, Walk};
use crate::param::Mode;
use crate::scope::listen;

/// The layers of a model, with the shapes of their outputs as a forward pass shows them, and their parameters.
///
/// It prints as a table. Layers are listed in declaration order, by [`Scope`](crate::Scope), those that consist of other
/// layers only if they have parameters of their own, besides; parameters that belong to no layer have lines of their own.
/// Of a layer that runs several times the first output is shown.
///
/// ```
/// use wengert_nn::{Linear, ReLU, Sequential, Summary};
/// let net = Sequential::new().push(Linear::new(784, 32)).push(ReLU::new()).push(Linear::new(32, 10));
/// let summary = Summary::of_layer(&net, [1, 784]);
/// assert_eq!(
///     summary.to_string(),
///     "layer  kind    output   parameters\n\
///      0      Linear  [1, 32]      25,120\n\
///      1      ReLU    [1, 32]           0\n\
///      2      Linear  [1, 10]         330\n\
///      total                       25,450"
/// );
/// ```
#[derive(Clone, Debug)]
pub struct Summary {
    rows: Vec<Row>,
    frozen: usize,
}

/// A line of a [`Summary`].
///
/// ```
/// use wengert_nn::{Linear, Row, Sequential, Summary};
/// let summary = Summary::of_layer(&Sequential::new().push(Linear::new(4, 2)), [1, 4]);
/// let Row { path, kind, parameters, .. } = &summary.rows()[0];
/// assert_eq!((path.as_str(), *kind, *parameters), ("0", "Linear", 10));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The path of the layer.
    pub path: String,
    /// What kind of layer it is.
    pub kind: &'static str,
    /// The shape of its output; none if the forward pass did not run it.
    pub output: Option<Shape>,
    /// The number of elements of its parameters.
    pub parameters: usize,
}

impl Summary {
    /// The summary of a model whose forward pass `forward` runs: for models that take more, or something else, than a
    /// tensor. It runs in evaluation, without recording; afterwards the model is as it was.
    ///
    /// ```
    /// # extern crate wengert_nn as wengert;
    /// use wengert_nn::{Layer, Linear, Module, Summary};
    /// use wengert_tensor::Tensor;
    /// #[derive(Module)]
    /// struct Score {
    ///     left: Linear,
    ///     right: Linear,
    /// }
    /// impl Score {
    ///     fn forward(&self, a: &Tensor, b: &Tensor) -> Tensor {
    ///         self.left.forward(a) * self.right.forward(b)
    ///     }
    /// }
    /// let net = Score { left: Linear::new(2, 4), right: Linear::new(3, 4) };
    /// let summary = Summary::of(&net, || net.forward(&Tensor::zeros([1, 2]), &Tensor::zeros([1, 3])));
    /// assert_eq!(summary.parameters(), 12 + 16);
    /// assert_eq!(summary.rows()[1].path, "right");
    /// ```
    pub fn of<M: Module + ?Sized, T>(model: &M, forward: impl FnOnce() -> T) -> Summary {
        let mut rows: Vec<Row> = Vec::new();
        let mut modes = Modes(Vec::new());
        Walk::over(model, &mut |path, part| match part {
            Part::Scope(scope) => {
                rows.push(Row { path: path.to_string(), kind: scope.kind(), output: None, parameters: 0 });
            }
            Part::Mode(mode) => modes.0.push((mode.clone(), mode.is_training())),
            Part::Param(_) | Part::Buffer(_) => {}
        });
        model.eval();
        let heard = listen(|| drop(no_grad(forward)));
        drop(modes);

        for row in &mut rows {
            row.output = heard.iter().find(|(path, _)| **path == *row.path).map(|(_, shape)| shape.clone());
        }
        let mut frozen = 0;
        for (name, param) in model.named_parameters() {
            if !param.is_trainable() {
                frozen += param.elements();
            }
            // The innermost layer that it is a part of.
            let holder = rows.iter_mut().filter(|row| within(&name, &row.path)).max_by_key(|row| row.path.len());
            match holder {
                Some(row) => row.parameters += param.elements(),
                None => {
                    rows.push(Row { path: name, kind: "Param", output: None, parameters: param.elements() });
                }
            }
        }
        // What contains other layers, and no parameters of its own, is seen through them.
        let paths: Vec<String> = rows.iter().filter(|row| row.kind != "Param").map(|row| row.path.clone()).collect();
        rows.retain(|row| row.parameters > 0 || !paths.iter().any(|p| *p != row.path && within(p, &row.path)));
        Summary { rows, frozen }
    }

    /// The summary of a layer, from a forward pass over zeros of shape `input`: all axes, the batch among them.
    ///
    /// # Panics
    /// If the layer cannot take an input of that shape.
    #[track_caller]
    pub fn of_layer<L: Layer + ?Sized>(layer: &L, input: impl IntoDims) -> Summary {
        let mut x = Tensor::zeros(input);
        if let Some(param) = layer.parameters().first() {
            x = x.to_dtype(param.dtype());
        }
        Summary::of(layer, || layer.forward(&x))
    }

    /// The lines, in declaration order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The number of elements of all parameters.
    pub fn parameters(&self) -> usize {
        self.rows.iter().map(|row| row.parameters).sum()
    }
}

/// Whether `path` names `module`, or a part of it.
fn within(path: &str, module: &str) -> bool {
    match path.strip_prefix(module) {
        Some(rest) => module.is_empty() || rest.is_empty() || rest.starts_with('.'),
        None => false,
    }
}

/// The switches of a model as they were, to be set back even if the forward pass panics.
struct Modes(Vec<(Mode, bool)>);

impl Drop for Modes {
    fn drop(&mut self) {
        self.0.iter().for_each(|(mode, training)| mode.set_training(*training));
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<[String; 4]> = vec![["layer", "kind", "output", "parameters"].map(String::from)];
        for row in &self.rows {
            let output = row.output.as_ref().map_or("not run".to_string(), Shape::to_string);
            let output = if row.kind == "Param" { String::new() } else { output };
            lines.push([row.path.clone(), row.kind.to_string(), output, grouped(row.parameters)]);
        }
        let total = |what: &str, n| [what.to_string(), String::new(), String::new(), grouped(n)];
        lines.push(total("total", self.parameters()));
        if self.frozen > 0 {
            lines.push(total("frozen", self.frozen));
        }
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2), width(3)];
        for (i, [path, kind, output, parameters]) in lines.iter().enumerate() {
            let [a, b, c, d] = widths;
            write!(f, "{}{path:a$}  {kind:b$}  {output:c$}  {parameters:>d$}", if i > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

/// A number with its digits in groups of three.
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let mut s = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            s.push(',');
        }
        s.push(digit);
    }
    s
}

#[cfg(test)]
mod tests {
    use wengert_tensor::DType;

    use super::*;
    use crate::{Dropout, Linear, Param, ReLU, Sequential};

    #[derive(crate::Module)]
    struct Net {
        body: Sequential,
        unused: Linear,
        head: Linear,
        scale: Param,
    }

    impl Layer for Net {
        fn forward(&self, x: &Tensor) -> Tensor {
            self.head.forward(&self.body.forward(x)) * self.scale.value()
        }
    }

    fn net() -> Net {
        Net {
            body: Sequential::new().push(Linear::new(6, 200)).push(ReLU::new()).push(Dropout::new(0.5)),
            unused: Linear::new(1, 1),
            head: Linear::new(200, 2).bias(false),
            scale: Param::new(Tensor::ones([2])),
        }
    }

    #[test]
    fn a_summary_lists_layers_outputs_and_parameters() {
        let net = net();
        net.freeze("head");
        assert_eq!(
            Summary::of_layer(&net, [5, 6]).to_string(),
            "layer   kind     output    parameters
body.0  Linear   [5, 200]       1,400
body.1  ReLU     [5, 200]           0
body.2  Dropout  [5, 200]           0
unused  Linear   not run            2
head    Linear   [5, 2]           400
scale   Param                       2
total                           1,804
frozen                            400"
        );
        assert_eq!(Summary::of_layer(&net, [5, 6]).parameters(), net.num_parameters());
    }

    #[test]
    fn a_summary_leaves_the_model_as_it_was() {
        let net = net();
        net.to_dtype(DType::F64);
        assert!(net.is_training());
        Summary::of_layer(&net, [1, 6]);
        assert!(net.is_training());
        let wrong = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Summary::of_layer(&net, [1, 7])));
        assert!(wrong.is_err() && net.is_training());
        net.eval();
        Summary::of_layer(&net, [1, 6]);
        assert!(!net.is_training());
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!([0, 999, 1000, 1234567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
