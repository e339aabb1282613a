//! The norm family: means and variances of channels, and elements scaled by them.
//!
//! The elements are dense, `[N, C, ..]`; a plane is what the axes after the channels hold.

use crate::dtype::Element;
use crate::kernels::number::Precise;
use crate::kernels::simd::{self, Isa, Loop};
use crate::par::{GRAIN, Par};

/// Mean and biased variance of a channel, accumulated in `f64`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moments {
    /// The mean.
    pub mean: f64,
    /// The mean squared distance from the mean.
    pub variance: f64,
}

/// The moments of each of `channels` channels, whose planes have `plane` elements.
pub fn moments<T: Element>(x: &[T], channels: usize, plane: usize, par: &Par) -> Vec<Moments> {
    /// The sum of `(x - center)`, squared or not.
    struct Sum<'a, T>(&'a [T], f64, bool);
    impl<T: Element> Loop for Sum<'_, T> {
        type Output = f64;
        #[inline(always)]
        fn run<I: Isa>(self) -> f64 {
            let Sum(x, center, squared) = self;
            if squared { sum(x, |v| (v - center) * (v - center)) } else { sum(x, |v| v - center) }
        }
    }
    let images = x.len() / (channels * plane).max(1);
    let count = (images * plane) as f64;
    par.map(channels, |channel| {
        // Two passes over the channel: squares of distances lose nothing to a large mean.
        let mean_of = |center, squared| {
            let planes = (0..images).map(|image| &x[(image * channels + channel) * plane..][..plane]);
            planes.map(|x| simd::run(Sum(x, center, squared))).sum::<f64>() / count
        };
        let mean = mean_of(0.0, false);
        Moments { mean, variance: mean_of(mean, true) }
    })
}

/// The sum of `f` of each element, with so many accumulators that additions need not wait for one another.
#[inline(always)]
pub(super) fn sum<T: Element>(x: &[T], f: impl Fn(f64) -> f64) -> f64 {
    const LANES: usize = 32;
    let mut acc = [0.0; LANES];
    let (wide, rest) = x.as_chunks::<LANES>();
    for w in wide {
        acc.iter_mut().zip(w).for_each(|(a, v)| *a += f(v.to_f64()));
    }
    acc.iter_mut().zip(rest).for_each(|(a, v)| *a += f(v.to_f64()));
    acc.iter().sum()
}

/// How the elements of a channel are mapped: `(x - center) * scale + shift`.
#[derive(Clone, Copy, Debug)]
pub struct Affine {
    /// What is subtracted.
    pub center: f64,
    /// The factor.
    pub scale: f64,
    /// What is added.
    pub shift: f64,
}

/// `out = (x - center) * scale + shift`, channel by channel.
pub fn affine<T>(out: &mut [T], x: &[T], channels: &[Affine], plane: usize, par: &Par)
where
    T: Element<Compute: Precise>,
{
    struct Plane<'a, T>(&'a mut [T], &'a [T], Affine);
    impl<T: Element<Compute: Precise>> Loop for Plane<'_, T> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self) {
            let Plane(out, x, a) = self;
            let [center, scale, shift] = [a.center, a.scale, a.shift].map(T::Compute::from_f64);
            out.iter_mut().zip(x).for_each(|(o, v)| *o = T::down((v.up() - center) * scale + shift));
        }
    }
    let plane = plane.max(1);
    let each = (GRAIN / plane).max(1);
    par.chunks_mut(out, each * plane, |task, out| {
        for (k, out) in out.chunks_mut(plane).enumerate() {
            let number = task * each + k;
            simd::run(Plane(out, &x[number * plane..][..plane], channels[number % channels.len()]));
        }
    });
}
