//! A training run in one file.

use std::path::Path;

use wengert_nn::StateDict;
use wengert_tensor::{Error, ErrorKind, Int, Result, Tensor, rng_state, set_rng_state};

/// All that a run needs to go on bit for bit: the states of its model and optimizer (and whatever else has one), the
/// number of the step, and the state of this thread's default random generator.
///
/// ```
/// use wengert_nn::{Linear, Module};
/// use wengert_optim::{Adam, Checkpoint, Optimizer};
/// # let dir = std::env::temp_dir().join(format!("wengert-doc-checkpoint-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// # let file = dir.join("run.safetensors");
/// let net = Linear::new(4, 2);
/// let mut opt = Adam::new(net.parameters());
/// let step = 100;
/// Checkpoint::new(step).with("net", net.state_dict()).with("opt", opt.state_dict()).save(&file)?;
///
/// let checkpoint = Checkpoint::load(&file)?;
/// net.load_state_dict(&checkpoint.part("net")?)?;
/// opt.load_state_dict(&checkpoint.part("opt")?)?;
/// checkpoint.restore_rng();
/// assert_eq!(checkpoint.step(), step);
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), wengert_tensor::Error>(())
/// ```
#[derive(Clone)]
pub struct Checkpoint {
    step: u64,
    rng: [u64; 2],
    /// The tensors of all parts, their names after the part's and a slash.
    tensors: StateDict,
}

const STEP: &str = "step";
const RNG: &str = "rng";

impl Checkpoint {
    /// A checkpoint after `step` steps, with the state of this thread's default random generator as it is.
    pub fn new(step: u64) -> Checkpoint {
        Checkpoint { step, rng: rng_state(), tensors: StateDict::default() }
    }

    /// Adds a state, to be asked for by this name with [`part`](Checkpoint::part).
    ///
    /// # Panics
    /// If the name is empty or holds a slash.
    #[track_caller]
    pub fn with(mut self, name: &str, state: StateDict) -> Checkpoint {
        assert!(!name.is_empty() && !name.contains('/'), "Checkpoint: the name {name:?} is empty or holds a slash");
        let own = self.tensors.iter().map(|(n, t)| (n.to_string(), t.clone()));
        let new = state.iter().map(|(n, t)| (format!("{name}/{n}"), t.clone()));
        self.tensors = own.chain(new).collect();
        self
    }

    /// The state that was added by this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn part(&self, name: &str) -> Result<StateDict> {
        let of_part = |(n, t): (&str, &_)| {
            let own = n.strip_prefix(name)?.strip_prefix('/')?;
            Some((own.to_string(), Clone::clone(t)))
        };
        let part: StateDict = self.tensors.iter().filter_map(of_part).collect();
        if part.is_empty() {
            let mut names: Vec<&str> = self.tensors.names().filter_map(|n| n.split('/').next()).collect();
            names.dedup();
            let e = format!("the checkpoint has no part `{name}`; it has {}", names.join(", "));
            return Err(Error::new(e).kind_of(ErrorKind::Value).help("ask for a part by the name it was added by"));
        }
        Ok(part)
    }

    /// The number of steps.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Sets this thread's default random generator to the state it had.
    pub fn restore_rng(&self) {
        set_rng_state(self.rng);
    }

    /// Writes the checkpoint to a file in the safetensors format. A file of that name is replaced once the new one is
    /// complete.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        // As two's complement: I64 is the widest integer there is.
        let integers = |x: &[u64]| Tensor::<Int>::from_vec(x.iter().map(|&x| x as i64).collect(), [x.len()]);
        let mut all = self.tensors.clone();
        all.insert(STEP, integers(&[self.step]));
        all.insert(RNG, integers(&self.rng));
        all.save(path)
    }

    /// Reads a file that [`save`](Checkpoint::save) wrote.
    ///
    /// # Errors
    /// If the file cannot be read or is no checkpoint.
    pub fn load(path: impl AsRef<Path>) -> Result<Checkpoint> {
        let tensors = StateDict::load(path)?;
        let integers = |name: &str| -> Option<Vec<i64>> { Some(tensors.get(name)?.int().ok()?.to_vec()) };
        let (Some(&[step]), Some(&[key, counter])) = (integers(STEP).as_deref(), integers(RNG).as_deref()) else {
            return Err(Error::new("the file is no checkpoint: it has no step and no state of a random generator")
                .kind_of(ErrorKind::Format)
                .help("Checkpoint::save writes them; load weights alone with the model's load()"));
        };
        let parts = tensors.iter().filter(|(name, _)| ![STEP, RNG].contains(name));
        let parts = parts.map(|(name, t)| (name, t.clone())).collect();
        Ok(Checkpoint { step: step as u64, rng: [key as u64, counter as u64], tensors: parts })
    }
}
