//! The replaying half of the tape of Wengert: gradients, of any order.
//!
//! Users add the crate `wengert`, which re-exports what is here.

mod backward;
mod engine;
mod gradients;

pub use backward::{Backward, Differentiate};
pub use gradients::{Gradients, Variable};

// Gradients cross threads: checked at compile time.
const _: () = {
    const fn send_sync<T: Send + Sync>() {}
    send_sync::<Gradients>();
};
