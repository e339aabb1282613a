//! Models as trees of modules: the walk over them, and what a walk makes possible.

use std::collections::{BTreeMap, HashSet};
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use wengert_tensor::tape::LeafId;
use wengert_tensor::{DType, Error, Result, Rng, Shape, or_panic, split_rng};

use crate::init::Init;
use crate::param::{Buffer, Mode, Param};
use crate::scope::{Scope, replaces};
use crate::state::{self, LoadReport, StateDict};

/// A part of a model: parameters, buffers, switches, and further modules.
///
/// `#[derive(Module)]` writes [`visit`](Module::visit), the one method that has no default; the field names become the
/// names of the parameters, joined by dots. Everything takes `&self`, since parameters are handles: a model can be
/// shared between threads, and a forward pass in evaluation changes nothing.
///
/// ```
/// # extern crate wengert_nn as wengert;
/// use wengert_nn::{Linear, Module};
/// #[derive(Module)]
/// struct Net {
///     hidden: Linear,
///     out: Linear,
///     steps: usize,
/// }
/// let net = Net { hidden: Linear::new(4, 8), out: Linear::new(8, 2), steps: 3 };
/// let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["hidden.weight", "hidden.bias", "out.weight", "out.bias"]);
/// assert_eq!(net.num_parameters(), 4 * 8 + 8 + 8 * 2 + 2);
/// ```
///
/// A list of modules is a `Vec` (or an array), whose parts are named by their positions; a map of them is a
/// `BTreeMap<String, _>`, named by its keys. Of parts of several types, they hold `Box<dyn Layer>`. Weights are tied by
/// putting clones of one [`Param`] in several places: it is one parameter, to optimizers too, and its value stands under
/// each of its names in a state.
///
/// ```
/// # extern crate wengert_nn as wengert;
/// use std::collections::BTreeMap;
/// use wengert_nn::{Layer, Linear, Module, ReLU};
/// #[derive(Module)]
/// struct Net {
///     blocks: Vec<Linear>,
///     heads: BTreeMap<String, Box<dyn Layer>>,
/// }
/// let heads: [(String, Box<dyn Layer>); 2] =
///     [("class".into(), Box::new(Linear::new(4, 3).bias(false))), ("none".into(), Box::new(ReLU::new()))];
/// let net = Net { blocks: vec![Linear::new(4, 4), Linear::new(4, 4)], heads: heads.into() };
/// let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "blocks.1.bias", "heads.class.weight"]);
/// ```
///
/// A field of a type that is no module does not compile, and the error says what to do:
///
/// ```compile_fail
/// # extern crate wengert_nn as wengert;
/// # use wengert_nn::Module;
/// #[derive(Module)]
/// struct Net {
///     calls: std::sync::Mutex<usize>, // `#[module(skip)]` belongs here
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a module",
    label = "not a `Module`",
    note = "a tensor that is trained is a `Param`, one that is state is a `Buffer`",
    note = "derive or implement `Module` for it, or mark a field that holds nothing of the model `#[module(skip)]`"
)]
pub trait Module: Send + Sync {
    /// Shows the parts of this module to `walk`, in declaration order.
    fn visit(&self, walk: &mut Walk<'_>);

    /// All parameters in declaration order, each once. Names them by their paths.
    fn parameters(&self) -> Vec<Param> {
        self.named_parameters().into_iter().map(|(_, p)| p).collect()
    }

    /// All parameters with their paths, in declaration order, each once: one that is shared has its first path.
    fn named_parameters(&self) -> Vec<(String, Param)> {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        Walk::over(self, &mut |path, part| {
            if let Part::Param(p) = part
                && seen.insert(p.id())
            {
                found.push((path.to_string(), p.clone()));
            }
        });
        found
    }

    /// All buffers with their paths, in declaration order, each once.
    ///
    /// ```
    /// use wengert_nn::{BatchNorm1d, Module};
    /// let names = BatchNorm1d::new(4).named_buffers().into_iter().map(|(name, _)| name);
    /// assert_eq!(names.collect::<Vec<_>>(), ["running_mean", "running_var", "num_batches_tracked"]);
    /// ```
    fn named_buffers(&self) -> Vec<(String, Buffer)> {
        let mut found: Vec<(String, Buffer)> = Vec::new();
        Walk::over(self, &mut |path, part| {
            if let Part::Buffer(b) = part
                && !found.iter().any(|(_, other)| other.same(b))
            {
                found.push((path.to_string(), b.clone()));
            }
        });
        found
    }

    /// The number of elements of all parameters.
    fn num_parameters(&self) -> usize {
        self.parameters().iter().map(Param::elements).sum()
    }

    /// The number of elements of the parameters that are trained: all but the frozen ones.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module};
    /// let fc = Linear::new(2, 3);
    /// fc.freeze("bias");
    /// assert_eq!((fc.num_parameters(), fc.num_trainable()), (9, 6));
    /// ```
    fn num_trainable(&self) -> usize {
        self.parameters().iter().filter(|p| p.is_trainable()).map(Param::elements).sum()
    }

    /// Draws every parameter anew, each from a generator of its own that hangs on `seed` and the parameter's path
    /// alone: a layer that is added, taken out or made in another order changes no other layer's start. Layers in a
    /// container are best named for that: positions shift.
    ///
    /// Without it a new model is as the thread's default generator made it, parameter by parameter in the order of
    /// construction, when no path is known yet. So `manual_seed` repeats one program, while `init` also holds still
    /// where the program changes.
    ///
    /// Parameters that do not know how they start ([`Param::new`]), and buffers, keep their values.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module, ReLU, Sequential};
    /// let small = Sequential::new().push_named("out", Linear::new(8, 2));
    /// let large = Sequential::new().push(Linear::new(8, 8)).push(ReLU::new()).push_named("out", Linear::new(8, 2));
    /// small.init(7);
    /// large.init(7);
    /// let bias = |net: &Sequential| net.state_dict().get("out.bias").unwrap().to_f64_vec();
    /// assert_eq!(bias(&small), bias(&large));
    /// ```
    fn init(&self, seed: u64) {
        let rng = Rng::new(seed);
        self.named_parameters().iter().for_each(|(name, param)| param.draw(&mut rng.child(name)));
    }

    /// Gives the parameters that `pattern` means (as in [`freeze`](Module::freeze)) another way to start, and draws
    /// them from the thread's default generator at once. They remember it: a later [`init`](Module::init) draws them
    /// so, too.
    ///
    /// # Panics
    /// If no parameter fits, or the initialiser cannot make one of that shape: a bias has no fan.
    ///
    /// ```
    /// use wengert_nn::{Init, Linear, Module, ReLU, Sequential};
    /// let net = Sequential::new().push(Linear::new(8, 8)).push(ReLU::new()).push(Linear::new(8, 2));
    /// net.init_as("*.weight", Init::kaiming_normal());
    /// net.init_as("*.bias", Init::zeros());
    /// net.init(7);
    /// assert_eq!(net.state_dict().get("2.bias").unwrap().to_f64_vec(), [0.0, 0.0]);
    /// ```
    #[track_caller]
    fn init_as(&self, pattern: &str, init: Init) {
        let found = matching(self, pattern, "init_as");
        for param in &found {
            or_panic(init.check(&param.shape()).map_err(|e| {
                let name = param.name().unwrap_or_else(|| "".into());
                Error::new(format!("parameter `{name}`: {}", e.message()))
                    .help("name weights alone: `*.weight`")
                    .in_op("init_as", std::panic::Location::caller())
            }));
        }
        for param in found {
            param.set_init(init);
            param.draw(&mut split_rng());
        }
    }

    /// Sets the model to training: dropout drops, batch normalisation uses and keeps the statistics of the batch.
    fn train(&self) {
        set_training(self, true);
    }

    /// Sets the model to evaluation: a forward pass is deterministic and changes nothing, so threads can share it.
    fn eval(&self) {
        set_training(self, false);
    }

    /// Whether any part of the model is set to training. A model without such parts, as dropout, says no.
    ///
    /// ```
    /// use wengert_nn::{Dropout, Module};
    /// let dropout = Dropout::new(0.5);
    /// assert!(dropout.is_training());
    /// dropout.eval();
    /// assert!(!dropout.is_training());
    /// ```
    fn is_training(&self) -> bool {
        let mut training = false;
        Walk::over(self, &mut |_, part| {
            if let Part::Mode(mode) = part {
                training |= mode.is_training();
            }
        });
        training
    }

    /// Takes parameters out of training: those whose path is `pattern`, or begins with it and a dot. A `*` stands for
    /// any characters, so that `freeze("*")` freezes all and `freeze("conv*.bias")` some.
    ///
    /// # Panics
    /// If no parameter fits.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module};
    /// let fc = Linear::new(2, 3);
    /// fc.freeze("weight");
    /// assert!(!fc.weight.value().is_tracked());
    /// fc.unfreeze("*");
    /// assert!(fc.weight.value().is_tracked());
    /// ```
    #[track_caller]
    fn freeze(&self, pattern: &str) {
        matching(self, pattern, "freeze").iter().for_each(Param::freeze);
    }

    /// Takes parameters into training again, see [`freeze`](Module::freeze).
    ///
    /// # Panics
    /// If no parameter fits.
    #[track_caller]
    fn unfreeze(&self, pattern: &str) {
        matching(self, pattern, "unfreeze").iter().for_each(Param::unfreeze);
    }

    /// Converts all parameters and float buffers to the precision `dtype`.
    ///
    /// # Panics
    /// If `dtype` is not a float precision.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module};
    /// use wengert_tensor::DType;
    /// let fc = Linear::new(2, 3);
    /// fc.to_dtype(DType::F64);
    /// assert_eq!(fc.weight.dtype(), DType::F64);
    /// ```
    #[track_caller]
    fn to_dtype(&self, dtype: DType) {
        assert!(dtype.is_float(), "to_dtype: {dtype} is not a float precision; choose F32, F64, BF16 or F16");
        self.parameters().iter().for_each(|p| p.to_dtype(dtype));
        self.named_buffers().iter().for_each(|(_, b)| b.to_dtype(dtype));
    }

    /// The values of all parameters and buffers by path, in declaration order. What is shared stands under each of its
    /// paths, as in PyTorch, where the values share memory.
    fn state_dict(&self) -> StateDict {
        state::collect(self)
    }

    /// Takes over the values in `state`: all of them, or none.
    ///
    /// # Errors
    /// If anything is missing, left over, or has another shape or precision, or if what the model shares is not the same
    /// under all its names. The error holds the whole report, and the model is unchanged.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module};
    /// let (fc, copy) = (Linear::new(2, 3), Linear::new(2, 3));
    /// copy.load_state_dict(&fc.state_dict()).unwrap();
    /// assert_eq!(copy.weight.value().to_vec::<f32>(), fc.weight.value().to_vec::<f32>());
    /// assert!(copy.load_state_dict(&Linear::new(3, 3).state_dict()).is_err());
    /// ```
    fn load_state_dict(&self, state: &StateDict) -> Result<LoadReport> {
        state::load_strict(self, state)
    }

    /// Takes over what fits of `state`, and reports what does not.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module, StateDict};
    /// use wengert_tensor::Tensor;
    /// let fc = Linear::new(2, 3);
    /// let report = fc.load_partial(&StateDict::from_iter([("wieght", Tensor::ones([3, 2]))]));
    /// assert_eq!(report.missing, ["weight", "bias"]);
    /// assert_eq!(report.unexpected, ["wieght"]);
    /// assert!(report.to_string().contains("unexpected  wieght [3, 2], is it weight?"));
    /// ```
    fn load_partial(&self, state: &StateDict) -> LoadReport {
        state::load_partial(self, state)
    }

    /// Writes all parameters and buffers to a file in the safetensors format. A file of that name is replaced once the
    /// new one is complete, so that a failed save loses nothing.
    ///
    /// # Errors
    /// If the file cannot be written.
    ///
    /// ```
    /// use wengert_nn::{Linear, Module};
    /// # let dir = std::env::temp_dir().join(format!("wengert-doc-save-{}", std::process::id()));
    /// # std::fs::create_dir_all(&dir)?;
    /// # let file = dir.join("fc.safetensors");
    /// let fc = Linear::new(2, 3);
    /// fc.save(&file)?;
    /// let copy = Linear::new(2, 3);
    /// copy.load(&file)?;
    /// assert_eq!(copy.weight.value().to_vec::<f32>(), fc.weight.value().to_vec::<f32>());
    /// # std::fs::remove_dir_all(&dir)?;
    /// # Ok::<(), wengert_tensor::Error>(())
    /// ```
    fn save(&self, path: impl AsRef<Path>) -> Result<()>
    where
        Self: Sized,
    {
        self.state_dict().save(path)
    }

    /// Reads a file that [`save`](Module::save) wrote, or any other in the safetensors format with these names.
    ///
    /// # Errors
    /// If the file cannot be read or is damaged, and those of [`load_state_dict`](Module::load_state_dict). The model
    /// is then unchanged.
    fn load(&self, path: impl AsRef<Path>) -> Result<LoadReport>
    where
        Self: Sized,
    {
        self.load_state_dict(&StateDict::load(path)?)
    }
}

fn set_training<M: Module + ?Sized>(module: &M, training: bool) {
    Walk::over(module, &mut |_, part| {
        if let Part::Mode(mode) = part {
            mode.set_training(training);
        }
    });
}

/// The parameters that a pattern of [`Module::freeze`] means.
#[track_caller]
fn matching<M: Module + ?Sized>(module: &M, pattern: &str, method: &str) -> Vec<Param> {
    let named = module.named_parameters();
    let found: Vec<Param> = named.iter().filter(|(n, _)| means(pattern, n)).map(|(_, p)| p.clone()).collect();
    if found.is_empty() {
        let names = named.iter().map(|(n, _)| n.as_str());
        let help = match state::nearest(pattern, names) {
            Some(name) => format!("is it `{name}`?"),
            None => format!("the model has {} parameters; named_parameters() lists them", named.len()),
        };
        panic!("{method}: no parameter fits `{pattern}`\n  help: {help}");
    }
    found
}

/// Whether `pattern` means the parameter at the path `name`: that very path, or the beginning of it before a dot.
pub(crate) fn means(pattern: &str, name: &str) -> bool {
    fits(pattern, name) || fits(&format!("{pattern}.*"), name)
}

/// Whether `name` is `pattern`, in which `*` stands for any characters.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name
            .strip_prefix(head)
            .is_some_and(|rest| (0..=rest.len()).filter(|&i| rest.is_char_boundary(i)).any(|i| fits(tail, &rest[i..]))),
    }
}

/// What a walk over a model meets.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Part<'a> {
    /// A parameter; one that is shared is met once for each of its paths.
    Param(&'a Param),
    /// A buffer; one that is shared is met once for each of its paths.
    Buffer(&'a Buffer),
    /// A switch between training and evaluation.
    Mode(&'a Mode),
    /// The scope of a module; its path is the module's.
    Scope(&'a Scope),
}

/// A walk over a model, in declaration order, that knows the path of where it is.
///
/// Every walk tells the parameters and scopes it meets their paths: errors and printouts name them.
pub struct Walk<'a> {
    path: String,
    named: HashSet<LeafId>,
    meet: &'a mut dyn FnMut(&str, Part<'_>),
}

impl Walk<'_> {
    /// Walks over `module` and calls `meet` with each part and its path.
    ///
    /// ```
    /// use wengert_nn::{Linear, Part, Walk};
    /// let mut names = Vec::new();
    /// Walk::over(&vec![Linear::new(1, 2)], &mut |path, part| {
    ///     if let Part::Param(p) = part {
    ///         names.push(format!("{path} {}", p.shape()));
    ///     }
    /// });
    /// assert_eq!(names, ["0.weight [2, 1]", "0.bias [2]"]);
    /// ```
    pub fn over<M: Module + ?Sized>(module: &M, meet: &mut dyn FnMut(&str, Part<'_>)) {
        module.visit(&mut Walk { path: String::new(), named: HashSet::new(), meet });
    }

    /// Visits `module` as the part named `name` of the module that is being visited.
    pub fn child<M: Module + ?Sized>(&mut self, name: &str, module: &M) {
        let parent = self.path.len();
        if parent > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        module.visit(self);
        self.path.truncate(parent);
    }

    fn meet(&mut self, part: Part<'_>) {
        (self.meet)(&self.path, part);
    }
}

impl Module for Param {
    fn visit(&self, walk: &mut Walk<'_>) {
        let leaf = self.leaf();
        // The first of several paths is the name.
        if walk.named.insert(leaf.id)
            && !walk.path.is_empty()
            && leaf.name().is_none_or(|old| replaces(&walk.path, &old))
        {
            leaf.set_name(&walk.path);
        }
        walk.meet(Part::Param(self));
    }
}

impl Module for Buffer {
    fn visit(&self, walk: &mut Walk<'_>) {
        walk.meet(Part::Buffer(self));
    }
}

impl Module for Mode {
    fn visit(&self, walk: &mut Walk<'_>) {
        walk.meet(Part::Mode(self));
    }
}

impl Module for Scope {
    fn visit(&self, walk: &mut Walk<'_>) {
        // The scope is a field of the module whose scope it is.
        let module = walk.path.rfind('.').map_or("", |dot| &walk.path[..dot]);
        self.set_path(module);
        (walk.meet)(module, Part::Scope(self));
    }
}

impl<M: Module> Module for Vec<M> {
    fn visit(&self, walk: &mut Walk<'_>) {
        self.as_slice().iter().enumerate().for_each(|(i, m)| walk.child(&i.to_string(), m));
    }
}

impl<M: Module, const N: usize> Module for [M; N] {
    fn visit(&self, walk: &mut Walk<'_>) {
        self.iter().enumerate().for_each(|(i, m)| walk.child(&i.to_string(), m));
    }
}

impl<M: Module> Module for BTreeMap<String, M> {
    fn visit(&self, walk: &mut Walk<'_>) {
        self.iter().for_each(|(name, m)| walk.child(name, m));
    }
}

impl<M: Module> Module for Option<M> {
    fn visit(&self, walk: &mut Walk<'_>) {
        if let Some(m) = self {
            m.visit(walk);
        }
    }
}

impl<M: Module + ?Sized> Module for Box<M> {
    fn visit(&self, walk: &mut Walk<'_>) {
        (**self).visit(walk);
    }
}

impl<M: Module + ?Sized> Module for Arc<M> {
    fn visit(&self, walk: &mut Walk<'_>) {
        (**self).visit(walk);
    }
}

macro_rules! tuples {
    ($($M:ident $i:tt),*) => {
        impl<$($M: Module),*> Module for ($($M,)*) {
            fn visit(&self, walk: &mut Walk<'_>) {
                $(walk.child(stringify!($i), &self.$i);)*
            }
        }
    };
}
tuples!(A 0);
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

/// Settings are modules without parts, so that a model's struct can hold its numbers and names as plain fields.
macro_rules! settings {
    ($($t:ty),*) => {$(
        impl Module for $t {
            fn visit(&self, _: &mut Walk<'_>) {}
        }
    )*};
}
settings!(
    (),
    bool,
    char,
    i8,
    i16,
    i32,
    i64,
    isize,
    u8,
    u16,
    u32,
    u64,
    usize,
    f32,
    f64,
    String,
    &'static str,
    DType,
    Shape
);

impl<T: ?Sized + Send + Sync> Module for PhantomData<T> {
    fn visit(&self, _: &mut Walk<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, want) in [
            ("conv.weight", "conv.weight", true),
            ("conv", "conv.weight", false),
            ("*", "conv.weight", true),
            ("conv*.bias", "conv12.bias", true),
            ("conv*.bias", "conv12.weight", false),
            ("*.weight", "a.b.weight", true),
            ("*x*", "axb", true),
            ("*x*", "ab", false),
            ("é*", "éa", true),
        ] {
            assert_eq!(fits(pattern, name), want, "{pattern} {name}");
        }
    }
}
