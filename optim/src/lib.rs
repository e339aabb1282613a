//! Optimizers, schedules and gradient clipping for Wengert.
//!
//! Users add the crate `wengert`, which re-exports what is here.
//!
//! | here | PyTorch | |
//! |---|---|---|
//! | [`Sgd`] | `SGD` | momentum, Nesterov's look-ahead |
//! | [`Adam`], [`AdamW`] | `Adam`, `AdamW` | AMSGrad; weight decay as a penalty, or decoupled |
//! | [`Adamax`], [`NAdam`], [`RAdam`] | the same | relatives of Adam |
//! | [`RmsProp`], [`Adagrad`], [`Adadelta`] | `RMSprop`, `Adagrad`, `Adadelta` | |
//! | [`Adafactor`] | `Adafactor` | little memory |
//! | [`Lion`], [`Lamb`] | | signs of momentum; very large batches |
//! | [`Muon`] | `Muon` | orthogonal steps of matrices |
//! | [`Lbfgs`] | `LBFGS` with `strong_wolfe` | smooth losses of all data at once |
//!
//! All but the last are a [`Rule`] that a [`Stepper`] applies to each parameter, and a new one is written the same way.
//! [`Stepper::group`] gives some parameters settings of their own.

mod accumulator;
mod adadelta;
mod adafactor;
mod adagrad;
mod adam;
mod adamax;
mod checkpoint;
mod clip;
mod ema;
mod lamb;
mod lbfgs;
mod line_search;
mod lion;
mod muon;
mod nadam;
mod norm;
mod optimizer;
mod radam;
mod rmsprop;
mod rule;
pub mod schedule;
mod settings;
mod sgd;
mod state;

pub use accumulator::Accumulator;
pub use adadelta::{Adadelta, AdadeltaRule};
pub use adafactor::{Adafactor, AdafactorRule};
pub use adagrad::{Adagrad, AdagradRule};
pub use adam::{Adam, AdamRule, AdamW, AdamWRule};
pub use adamax::{Adamax, AdamaxRule};
pub use checkpoint::Checkpoint;
pub use clip::{clip_global_norm, clip_norm, clip_value};
pub use ema::Ema;
pub use lamb::{Lamb, LambRule};
pub use lbfgs::{Lbfgs, LbfgsReport};
pub use lion::{Lion, LionRule};
pub use muon::{Muon, MuonRule};
pub use nadam::{NAdam, NAdamRule};
pub use optimizer::{Group, Optimizer, StepReport, Stepper};
pub use radam::{RAdam, RAdamRule};
pub use rmsprop::{RmsProp, RmsPropRule};
pub use rule::{Kept, Pass, Rule, Step};
pub use schedule::Schedule;
pub use sgd::{Sgd, SgdRule};
