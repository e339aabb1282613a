//! The replaying half of the tape of Wengert: gradients, of any order.
//!
//! Users add the crate `wengert`, which re-exports what is here.

mod backward;
mod engine;
mod functional;
mod gradcheck;
mod gradients;

pub use backward::{Backward, Differentiate};
pub use functional::{IntoTensors, grad, grad_n, hvp, value_and_grad, value_and_grad_n, vjp};
pub use gradcheck::{GradCheck, gradcheck, gradgradcheck};
pub use gradients::{Gradients, Variable};

// Gradients cross threads: checked at compile time.
const _: () = {
    const fn send_sync<T: Send + Sync>() {}
    send_sync::<Gradients>();
};
