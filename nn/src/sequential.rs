//! A chain of layers.

use wengert_tensor::{Tensor, current_module, in_module};

use crate::layer::Layer;
use crate::module::{Module, Walk};
use crate::scope::Scope;

/// Layers one after the other. They are named by their position, unless pushed with a name.
///
/// Errors below it carry the path of the layer that failed, as `net.2.conv`, since the caller's line is inside this
/// container. The path begins at the model's root once something has walked over the model, as
/// [`Module::parameters`] does.
///
/// ```
/// use wengert_nn::{Layer, Linear, Module, ReLU, Sequential};
/// use wengert_tensor::Tensor;
/// let net = Sequential::new().push(Linear::new(4, 8)).push(ReLU::new()).push_named("out", Linear::new(8, 2));
/// assert_eq!(net.forward(&Tensor::ones([5, 4])).shape().to_string(), "[5, 2]");
/// let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["0.weight", "0.bias", "out.weight", "out.bias"]);
/// ```
pub struct Sequential {
    scope: Scope,
    layers: Vec<(String, Box<dyn Layer>)>,
}

impl Sequential {
    /// A chain without layers: it returns its input.
    pub fn new() -> Sequential {
        Sequential { scope: Scope::new("Sequential"), layers: Vec::new() }
    }

    /// Appends a layer, named by its position.
    pub fn push(self, layer: impl Layer + 'static) -> Sequential {
        let name = self.layers.len().to_string();
        self.push_named(name, layer)
    }

    /// Appends a layer by name.
    ///
    /// # Panics
    /// If there is a layer of that name.
    #[track_caller]
    pub fn push_named(mut self, name: impl Into<String>, layer: impl Layer + 'static) -> Sequential {
        let name = name.into();
        assert!(self.get(&name).is_none(), "push_named: there is a layer `{name}` already");
        self.layers.push((name, Box::new(layer)));
        self
    }

    /// The layer of that name.
    pub fn get(&self, name: &str) -> Option<&dyn Layer> {
        self.layers.iter().find(|(n, _)| n == name).map(|(_, layer)| &**layer)
    }

    /// The number of layers.
    ///
    /// ```
    /// use wengert_nn::{Linear, Sequential};
    /// assert!(Sequential::new().is_empty());
    /// assert_eq!(Sequential::new().push(Linear::new(4, 2)).len(), 1);
    /// ```
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are no layers.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl Default for Sequential {
    fn default() -> Sequential {
        Sequential::new()
    }
}

impl FromIterator<Box<dyn Layer>> for Sequential {
    fn from_iter<I: IntoIterator<Item = Box<dyn Layer>>>(layers: I) -> Sequential {
        layers.into_iter().fold(Sequential::new(), Sequential::push)
    }
}

impl Module for Sequential {
    fn visit(&self, walk: &mut Walk<'_>) {
        walk.child("scope", &self.scope);
        self.layers.iter().for_each(|(name, layer)| walk.child(name, layer));
    }
}

impl Layer for Sequential {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        // Before any walk over the model, what the enclosing container knows is all that is known.
        let own = self.scope.path().or_else(current_module).filter(|path| !path.is_empty());
        let output = self.layers.iter().fold(x.clone(), |x, (name, layer)| {
            let path = match &own {
                Some(own) => format!("{own}.{name}"),
                None => name.clone(),
            };
            in_module(path, || layer.forward(&x))
        });
        self.scope.output(output)
    }
}
