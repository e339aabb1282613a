//! Optimizers, schedules and gradient clipping for Wengert.
//!
//! Users add the crate `wengert`, which re-exports what is here.

mod adam;
mod clip;
mod optimizer;
pub mod schedule;
mod sgd;

pub use adam::{Adam, AdamRule, AdamW};
pub use clip::{clip_global_norm, clip_value};
pub use optimizer::{Optimizer, Rule, Step, StepReport, Stepper};
pub use schedule::Schedule;
pub use sgd::{Sgd, SgdRule};
