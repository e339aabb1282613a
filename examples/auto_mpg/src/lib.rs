//! How far a car goes on a gallon of fuel, learned from a table of cars.
//!
//! A crate of its own that depends on `wengert` alone: the way a program that uses the library looks.

mod data;
mod model;

pub use data::{FEATURES, Table, load};
pub use model::{Mileage, Standardize, log_cosh};
