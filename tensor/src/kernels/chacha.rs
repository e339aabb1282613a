//! The source of random numbers: ChaCha with 8 rounds.
//!
//! A block of 16 words is a function of key, stream and number alone, so the numbers of a key can be asked for in any order,
//! and blocks are computed side by side, one in each lane of a register.
//!
//! D. J. Bernstein, "ChaCha, a variant of Salsa20" (2008); block number and stream have 64 bits each.

use rand_core::SeedableRng;

use crate::kernels::simd::{self, Isa, Loop};
use crate::kernels::transpose::transpose;

/// Words of 32 bits in a block.
const WORDS: usize = 16;

/// Numbers of 64 bits in a block.
const IN_BLOCK: usize = WORDS / 2;

/// Blocks that are computed together: lanes of the widest register.
const ASIDE: usize = 16;

/// The key of a seed.
#[derive(Clone, Debug)]
struct Key([u32; 8]);

/// For what it provides: a seed of 64 bits becomes a key by PCG.
impl SeedableRng for Key {
    type Seed = [u8; 32];

    fn from_seed(seed: [u8; 32]) -> Key {
        let (words, _) = seed.as_chunks::<4>();
        Key(std::array::from_fn(|i| u32::from_le_bytes(words[i])))
    }
}

#[inline(always)]
fn quarter_round(x: &mut [u32; WORDS], [a, b, c, d]: [usize; 4]) {
    for (to, from, turned, by) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
        x[to] = x[to].wrapping_add(x[from]);
        x[turned] = (x[turned] ^ x[to]).rotate_left(by);
    }
}

#[inline(always)]
fn double_round(x: &mut [u32; WORDS]) {
    quarter_round(x, [0, 4, 8, 12]);
    quarter_round(x, [1, 5, 9, 13]);
    quarter_round(x, [2, 6, 10, 14]);
    quarter_round(x, [3, 7, 11, 15]);
    quarter_round(x, [0, 5, 10, 15]);
    quarter_round(x, [1, 6, 11, 12]);
    quarter_round(x, [2, 7, 8, 13]);
    quarter_round(x, [3, 4, 9, 14]);
}

/// The block of a number, whose halves are given, the lower one first.
#[inline(always)]
fn block(key: &[u32; 8], [low, high]: [u32; 2], stream: u64) -> [u32; WORDS] {
    // "expand 32-byte k".
    let mut start = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574, 0, 0, 0, 0, 0, 0, 0, 0, low, high, 0, 0];
    start[4..12].copy_from_slice(key);
    (start[14], start[15]) = (stream as u32, (stream >> 32) as u32);
    let mut x = start;
    double_round(&mut x);
    double_round(&mut x);
    double_round(&mut x);
    double_round(&mut x);
    x.iter_mut().zip(start).for_each(|(x, start)| *x = x.wrapping_add(start));
    x
}

/// Blocks from number `first` on, word by word: the first words of all, and so on.
struct Blocks<'a> {
    words: &'a mut [[u32; ASIDE]; WORDS],
    key: [u32; 8],
    first: u64,
}

impl Loop for Blocks<'_> {
    type Output = ();
    #[inline(always)]
    fn run<I: Isa>(self) {
        let Blocks { words, key, first } = self;
        let [low, high] = [first as u32, (first >> 32) as u32];
        for lane in 0..ASIDE as u32 {
            // In words: with numbers of 64 bits only half as many lanes are used.
            let own = low.wrapping_add(lane);
            let x = block(&key, [own, high.wrapping_add((own < lane) as u32)], 0);
            for (words, x) in words.iter_mut().zip(x) {
                words[lane as usize] = x;
            }
        }
    }
}

#[inline(always)]
fn number(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// The 64-bit random numbers of a key, in order.
#[derive(Clone, Debug)]
pub struct Numbers {
    key: Key,
    /// Of the next number.
    counter: u64,
    /// The numbers of a block, and which one it is.
    held: [u64; IN_BLOCK],
    block: Option<u64>,
}

impl Numbers {
    /// The numbers of a seed from `counter` on.
    pub fn new(seed: u64, counter: u64) -> Numbers {
        Numbers { key: Key::seed_from_u64(seed), counter, held: [0; IN_BLOCK], block: None }
    }

    /// The number at the next place in another stream of the same key.
    pub(super) fn again(&self, stream: u64) -> u64 {
        self.of_block(stream)[self.counter as usize % IN_BLOCK]
    }

    fn of_block(&self, stream: u64) -> [u64; IN_BLOCK] {
        let at = self.counter / IN_BLOCK as u64;
        let words = block(&self.key.0, [at as u32, (at >> 32) as u32], stream);
        std::array::from_fn(|i| number(words[2 * i], words[2 * i + 1]))
    }

    /// The next number.
    #[inline]
    pub fn next(&mut self) -> u64 {
        let at = self.counter / IN_BLOCK as u64;
        if self.block != Some(at) {
            (self.held, self.block) = (self.of_block(0), Some(at));
        }
        let next = self.held[self.counter as usize % IN_BLOCK];
        self.skip(1);
        next
    }

    /// The next numbers, as many as `out` takes.
    pub(super) fn take(&mut self, out: &mut [u64]) {
        let mut words = [[0; ASIDE]; WORDS];
        let mut blocks = [[0; WORDS]; ASIDE];
        let mut done = 0;
        while done < out.len() {
            let first = self.counter / IN_BLOCK as u64;
            simd::run(Blocks { words: &mut words, key: self.key.0, first });
            let to: &mut [i32] = bytemuck::cast_slice_mut(blocks.as_flattened_mut());
            transpose(to, WORDS, bytemuck::cast_slice(words.as_flattened()), ASIDE, WORDS, ASIDE);
            let (pairs, _) = blocks.as_flattened().as_chunks::<2>();
            let pairs = &pairs[self.counter as usize % IN_BLOCK..];
            let n = pairs.len().min(out.len() - done);
            out[done..done + n].iter_mut().zip(pairs).for_each(|(o, &[low, high])| *o = number(low, high));
            self.skip(n as u64);
            done += n;
        }
    }

    /// How many numbers lie before the next one.
    pub fn counter(&self) -> u64 {
        self.counter
    }

    /// Leaves out `n` numbers.
    pub fn skip(&mut self, n: u64) {
        self.counter = self.counter.wrapping_add(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_published_algorithm() {
        // Key 0, stream 0, 8 rounds: draft-strombergson-chacha-test-vectors-01, section 4.1, the first 16 bytes.
        let words = block(&[0; 8], [0, 0], 0);
        let bytes: Vec<u8> = words[..4].iter().flat_map(|w| w.to_le_bytes()).collect();
        let want = [0x3e, 0x00, 0xef, 0x2f, 0x89, 0x5f, 0x40, 0xd6, 0x7f, 0x5b, 0xb8, 0xe8, 0x1f, 0x09, 0xa5, 0xa1];
        assert_eq!(bytes, want);
    }

    #[test]
    fn numbers_stay_what_they_are() {
        use rand_core::Rng as _;
        // Also where the lower half of the block's number overflows.
        for (seed, counter) in [(0, 0), (1, 3), (u64::MAX, (1 << 35) - 60)] {
            let mut want = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            want.set_word_pos(u128::from(counter) * 2);
            let mut have = [0; 300];
            Numbers::new(seed, counter).take(&mut have);
            assert_eq!(have, std::array::from_fn(|_| want.next_u64()));
            let mut other = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            other.set_stream(3);
            other.set_word_pos(u128::from(counter) * 2);
            assert_eq!(Numbers::new(seed, counter).again(3), other.next_u64());
        }
    }
}
