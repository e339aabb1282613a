//! Memory that a kernel needs for a while.

use std::ops::{Deref, DerefMut};

use crate::dtype::Element;
use crate::storage::Storage;

/// Elements with arbitrary contents, from the pool; they go back there.
pub(crate) struct Scratch<T> {
    storage: Storage,
    len: usize,
    element: std::marker::PhantomData<T>,
}

impl<T: Element> Scratch<T> {
    pub(crate) fn new(len: usize) -> Scratch<T> {
        Scratch { storage: Storage::stale::<T>(len), len, element: std::marker::PhantomData }
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        &self.storage.slice()[..self.len]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.storage.unique_mut().expect("no one else has this memory")[..self.len]
    }
}

impl<T: Element> Deref for Scratch<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T: Element> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.as_mut_slice()
    }
}
