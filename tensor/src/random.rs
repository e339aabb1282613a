//! Random number generators: seeded, counted, and the same for any number of threads.

use std::cell::RefCell;
use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};

use crate::kernels::random::Numbers;

/// A source of random numbers that is all determined by a seed and a position.
///
/// The numbers of a seed form one long numbered list, and every draw takes the next ones from it: a tensor of `n`
/// elements takes `n` numbers, whatever its precision. So a seed gives the same tensors for any number of threads, and
/// the same ones in each precision but for rounding. Two numbers, [`state`](Rng::state), are all there is to save.
///
/// ```
/// use wengert_tensor::Rng;
/// let mut rng = Rng::new(1);
/// let x = rng.randn([2, 3]);
/// let state = rng.state();
/// let y = rng.rand([4]);
/// assert_eq!(Rng::from_state(state).rand([4]).to_vec::<f32>(), y.to_vec::<f32>());
/// # assert_eq!(x.elements(), 6);
/// ```
///
/// It is a `rand_core` generator, too, so it works with crates that take one.
#[derive(Clone, Debug)]
pub struct Rng {
    key: u64,
    numbers: Numbers,
}

impl Rng {
    /// The generator of this seed, at its start.
    pub fn new(seed: u64) -> Rng {
        Rng::from_state([seed, 0])
    }

    /// The seed, and how many numbers were taken: all that is needed to go on from here later.
    pub fn state(&self) -> [u64; 2] {
        [self.key, self.numbers.counter()]
    }

    /// The generator that [`state`](Rng::state) was asked of, as it was then.
    pub fn from_state([key, counter]: [u64; 2]) -> Rng {
        Rng { key, numbers: Numbers::new(key, counter) }
    }

    /// A generator for the part of a program that `name` names. It depends on this generator's seed and the name
    /// alone, not on what was drawn before: adding a layer does not change how the others are initialised.
    ///
    /// ```
    /// use wengert_tensor::Rng;
    /// let rng = Rng::new(1);
    /// assert_eq!(rng.child("fc.weight").state(), rng.child("fc.weight").state());
    /// assert_ne!(rng.child("fc.weight").state(), rng.child("fc.bias").state());
    /// ```
    pub fn child(&self, name: &str) -> Rng {
        // FNV-1a from a start that depends on the seed.
        let hash = name.bytes().fold(mix(self.key), |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Rng::new(mix(hash))
    }

    /// A generator that is independent of this one, seeded with its next number.
    ///
    /// ```
    /// use wengert_tensor::{Rng, tensor};
    /// let mut rng = Rng::new(1);
    /// let (mut a, mut b) = (rng.split(), rng.split());
    /// assert_ne!(a.next_u64(), b.next_u64());
    /// assert_eq!(rng.bernoulli_each(&tensor![0.0, 1.0]).to_vec::<bool>(), [false, true]);
    /// ```
    pub fn split(&mut self) -> Rng {
        Rng::new(self.next_u64())
    }

    /// The next number: 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.numbers.next()
    }

    /// Takes the next `n` numbers for a draw: their key, and the position of the first.
    fn reserve(&mut self, n: u64) -> (u64, u64) {
        let counter = self.numbers.counter();
        self.numbers.skip(n);
        (self.key, counter)
    }
}

/// Spreads the bits of a number over all of it: the last step of SplitMix64 (Steele, Lea and Flood, 2014).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl rand_core::TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.next_u64() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next_u64())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for part in out.chunks_mut(8) {
            part.copy_from_slice(&self.next_u64().to_le_bytes()[..part.len()]);
        }
        Ok(())
    }
}

thread_local! {
    static DEFAULT: RefCell<Option<Rng>> = const { RefCell::new(None) };
}

fn with_default<R>(f: impl FnOnce(&mut Rng) -> R) -> R {
    DEFAULT.with(|rng| {
        // The standard library's hash keys come from the system's entropy.
        f(rng.borrow_mut().get_or_insert_with(|| Rng::new(RandomState::new().hash_one(0))))
    })
}

/// Where a draw takes its numbers from: a given generator, or this thread's default one.
pub(crate) trait Source {
    /// Takes the next `n` numbers: their key, and the position of the first.
    fn reserve(self, n: u64) -> (u64, u64);
}

impl Source for &mut Rng {
    fn reserve(self, n: u64) -> (u64, u64) {
        Rng::reserve(self, n)
    }
}

/// This thread's default generator.
pub(crate) struct OfThread;

impl Source for OfThread {
    fn reserve(self, n: u64) -> (u64, u64) {
        with_default(|rng| rng.reserve(n))
    }
}

/// Seeds the default generator of this thread, which `Tensor::randn` and all that names no generator draw from.
///
/// Every thread has a default generator of its own, so that what it draws does not hang on what other threads do; one
/// that was never seeded starts from a seed of the system's. The kernels of one draw may run on many threads: the
/// elements are the same for any number of them. Threads that you start yourself best get a generator each, made with
/// [`Rng::child`] or [`Rng::split`].
///
/// ```
/// use wengert_tensor::{Tensor, manual_seed};
/// manual_seed(1);
/// let x = Tensor::randn([3]);
/// manual_seed(1);
/// assert_eq!(Tensor::randn([3]).to_vec::<f32>(), x.to_vec::<f32>());
/// ```
pub fn manual_seed(seed: u64) {
    set_rng_state([seed, 0]);
}

/// The state of this thread's default generator, to be saved with a training run and restored by [`set_rng_state`].
pub fn rng_state() -> [u64; 2] {
    with_default(|rng| rng.state())
}

/// Sets this thread's default generator to a state that [`rng_state`] gave.
///
/// ```
/// use wengert_tensor::{Tensor, rng_state, set_rng_state};
/// let state = rng_state();
/// let x = Tensor::rand([3]);
/// set_rng_state(state);
/// assert_eq!(Tensor::rand([3]).to_vec::<f32>(), x.to_vec::<f32>());
/// ```
pub fn set_rng_state(state: [u64; 2]) {
    with_default(|rng| *rng = Rng::from_state(state));
}

/// A new generator, seeded by this thread's default one: where code wants to keep one of its own.
///
/// ```
/// use wengert_tensor::{manual_seed, split_rng};
/// manual_seed(1);
/// let mut shuffle = split_rng();
/// assert_eq!(shuffle.randperm(10).elements(), 10);
/// ```
pub fn split_rng() -> Rng {
    with_default(Rng::split)
}
