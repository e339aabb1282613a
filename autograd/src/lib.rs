//! The replaying half of the tape of Wengert: gradients, of any order.
//!
//! Users add the crate `wengert`, which re-exports what is here.

mod backward;
mod custom;
mod engine;
mod finite;
mod functional;
mod gradcheck;
mod gradient_tape;
mod gradients;
mod profile;
mod tape;

pub use backward::{Backward, Differentiate};
pub use custom::custom;
pub use finite::check_finite;
pub use functional::{IntoTensors, grad, grad_n, hvp, jacobian, value_and_grad, value_and_grad_n, vjp};
pub use gradcheck::{GradCheck, gradcheck, gradgradcheck};
pub use gradient_tape::{GradientTape, Unconnected};
pub use gradients::{Gradients, Variable};
pub use profile::{Profile, ProfiledCall, ProfiledOp, profile};
pub use tape::{Record, Source, Tape, TapeLeaf};

// Gradients cross threads: checked at compile time.
const _: () = {
    const fn send_sync<T: Send + Sync>() {}
    send_sync::<Gradients>();
};
