//! A moving average of the weights.

use std::path::Path;

use num_traits::Float;
use wengert_nn::{Param, StateDict};
use wengert_tensor::{Int, Result, Tensor, no_grad};

use crate::optimizer::names;
use crate::rule::{Pass, kept_dtype, lit};
use crate::state::{number_in, tensor_in, unfit};

/// An exponential moving average of parameters, which often does better than the parameters of any one step.
///
/// After each step, `a <- decay * a + (1 - decay) * p`. The averages start as the parameters are; buffers, such as the
/// running statistics of batch normalisation, are no part of it.
///
/// B. Polyak and A. Juditsky, "Acceleration of stochastic approximation by averaging", 1992.
///
/// ```
/// use wengert_nn::Param;
/// use wengert_optim::Ema;
/// use wengert_tensor::tensor;
/// let w = Param::new(tensor![0.0]);
/// let mut ema = Ema::new([w.clone()], 0.75);
/// w.set(&tensor![1.0]); // a step of an optimizer
/// ema.update();
/// let averaged = ema.applied(|| w.value().item()); // evaluate with the averages
/// assert_eq!((averaged, w.value().item()), (0.25, 1.0));
/// ```
pub struct Ema {
    decay: f64,
    warm_up: bool,
    updates: u64,
    params: Vec<Param>,
    averages: Vec<Tensor>,
    /// The parameters as trained, while the averages stand in for them.
    trained: Option<Vec<Tensor>>,
}

impl Ema {
    /// An average of these parameters, which start it as they are.
    ///
    /// # Panics
    /// If the decay is not in `[0, 1)`.
    #[track_caller]
    pub fn new(params: impl IntoIterator<Item = Param>, decay: f64) -> Ema {
        assert!((0.0..1.0).contains(&decay), "Ema: decay {decay} is not in [0, 1)");
        let params: Vec<Param> = params.into_iter().collect();
        let averages = params.iter().map(|p| p.value().to_constant().to_dtype(kept_dtype(p.dtype()))).collect();
        Ema { decay, warm_up: false, updates: 0, params, averages, trained: None }
    }

    /// Follows faster at first: update `t`, counted from 1, has the decay `(1 + t) / (10 + t)` where that is smaller.
    pub fn warm_up(mut self) -> Ema {
        self.warm_up = true;
        self
    }

    /// Takes the parameters as they are into the averages. Call it after each step.
    ///
    /// # Panics
    /// If the averages stand in for the parameters, see [`swap`](Ema::swap).
    #[track_caller]
    pub fn update(&mut self) {
        assert!(
            self.trained.is_none(),
            "Ema::update: the averages stand in for the parameters; swap() them back first"
        );
        self.updates += 1;
        let t = self.updates as f64;
        let decay = if self.warm_up { self.decay.min((1.0 + t) / (10.0 + t)) } else { self.decay };
        no_grad(|| {
            for (average, param) in self.averages.iter_mut().zip(&self.params) {
                Average { decay }.over(average, &param.value().detach().to_dtype(average.dtype()), []);
            }
        });
    }

    /// Puts the averages in the place of the parameters; called again, puts the parameters back. See
    /// [`applied`](Ema::applied) for both at once.
    ///
    /// ```
    /// use wengert_nn::Param;
    /// use wengert_optim::Ema;
    /// use wengert_tensor::tensor;
    /// let w = Param::new(tensor![0.0]);
    /// let mut ema = Ema::new([w.clone()], 0.99).warm_up();
    /// w.set(&tensor![1.0]);
    /// ema.update();
    /// ema.swap();
    /// assert!(ema.is_swapped() && w.value().sum().item() > 0.01); // early averages follow more quickly
    /// ema.swap();
    /// assert_eq!(w.value().sum().item(), 1.0);
    /// ```
    pub fn swap(&mut self) {
        match self.trained.take() {
            Some(trained) => trained.iter().zip(&self.params).for_each(|(value, p)| p.set(value)),
            None => {
                self.trained = Some(self.params.iter().map(|p| p.value().to_constant()).collect());
                self.averages.iter().zip(&self.params).for_each(|(a, p)| p.set(&a.to_dtype(p.dtype())));
            }
        }
    }

    /// Whether the averages stand in for the parameters.
    pub fn is_swapped(&self) -> bool {
        self.trained.is_some()
    }

    /// Runs `f` with the averages in the place of the parameters, which come back after it, also when it panics.
    ///
    /// # Panics
    /// If the averages stand in for the parameters already.
    #[track_caller]
    pub fn applied<R>(&mut self, f: impl FnOnce() -> R) -> R {
        struct Back<'a>(&'a mut Ema);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                self.0.swap();
            }
        }
        assert!(!self.is_swapped(), "Ema::applied: the averages stand in for the parameters already");
        self.swap();
        let _back = Back(self);
        f()
    }

    /// The averages under the names of the parameters and in their precisions, to be saved or loaded as the weights of
    /// a model.
    pub fn weights(&self) -> StateDict {
        let averages = self.averages.iter().zip(&self.params).map(|(a, p)| a.to_dtype(p.dtype()));
        names(self.params.iter()).into_iter().zip(averages).collect()
    }

    /// All that a later run needs to go on bit for bit: the averages in the precision they are kept in, and the number
    /// of updates.
    pub fn state_dict(&self) -> StateDict {
        let names = names(self.params.iter()).into_iter().map(|name| format!("{name}.average"));
        let mut state: StateDict = names.zip(self.averages.iter().cloned()).collect();
        state.insert("Ema.updates", Tensor::<Int>::from_vec(vec![self.updates as i64], ()));
        state
    }

    /// Takes over a state that [`state_dict`](Ema::state_dict) gave.
    ///
    /// # Errors
    /// If it is of other parameters. Nothing is changed then.
    pub fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let Some(updates) = number_in(state, "Ema.updates") else {
            return Err(unfit("this is no state of a moving average"));
        };
        let of =
            |(name, own): (String, &Tensor)| tensor_in(state, &format!("{name}.average"), own.shape(), own.dtype());
        let averages: Vec<Tensor> =
            names(self.params.iter()).into_iter().zip(&self.averages).map(of).collect::<Result<_>>()?;
        if state.len() != averages.len() + 1 {
            return Err(unfit(format!(
                "the saved state has {} averages, and {} are needed",
                state.len() - 1,
                averages.len()
            )));
        }
        (self.averages, self.updates) = (averages, updates as u64);
        Ok(())
    }

    /// Writes the averages to a file in the safetensors format, under the names of the parameters: a file that the
    /// model loads.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_weights(&self, path: impl AsRef<Path>) -> Result<()> {
        self.weights().save(path)
    }
}

struct Average {
    decay: f64,
}

impl Pass for Average {
    #[inline(always)]
    fn run<S: Float>(&self, average: &mut [S], value: &[S], _: &mut [&mut [S]]) {
        let follow = lit::<S>(1.0 - self.decay);
        for (a, &x) in average.iter_mut().zip(value) {
            *a = *a + (x - *a) * follow;
        }
    }
}
