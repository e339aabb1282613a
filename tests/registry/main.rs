//! What follows from the registry: every operation at all its samples, special points and misuses, in every precision,
//! layout and way of handing over its inputs, on any number of threads.
//!
//! Nothing here names an operation to be tested; what names one is an exception, with its reason beside it.

mod call;
mod gradients;
mod hygiene;
mod layouts;
mod misuses;
mod ownership;
mod precisions;
mod threads;
