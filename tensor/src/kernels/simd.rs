//! The SIMD seam: one text of a loop, compiled for several instruction sets, chosen at run time.
//!
//! A loop is written once, without branches; the compiler vectorises it for each level. `WENGERT_SIMD=plain|avx2|avx512`
//! forces a level down.
//!
//! ```
//! use wengert_tensor::simd::{self, Isa, Loop};
//! struct Halve<'a>(&'a mut [f32]);
//! impl Loop for Halve<'_> {
//!     type Output = ();
//!     #[inline(always)]
//!     fn run<I: Isa>(self) {
//!         self.0.iter_mut().for_each(|x| *x *= 0.5);
//!     }
//! }
//! let mut x = [2.0; 100];
//! simd::run(Halve(&mut x));
//! simd::run_narrow(Halve(&mut x));
//! assert_eq!(x, [0.5; 100]);
//! assert!(simd::level() >= simd::Level::Plain);
//! assert!(simd::Fused::FMA); // `I` is one of three types
//! assert!(simd::Library::LIBRARY && !simd::Plain::LIBRARY);
//! ```

use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// What every processor of the target has.
    Plain = 1,
    /// AVX2 and fused multiply-add (with F16C, BMI1 and BMI2).
    Avx2 = 2,
    /// AVX-512 (F, BW, DQ, VL).
    Avx512 = 3,
}

/// Whether multiply-add is one instruction, as a type.
pub trait Isa: Copy + Default + 'static {
    /// Whether `a * b + c` is fused.
    const FMA: bool;
    /// Whether functions whose branch-free form does not hold everywhere are the standard library's.
    const LIBRARY: bool = false;
}

/// No fused multiply-add.
#[derive(Clone, Copy, Default)]
pub struct Plain;
/// Fused multiply-add in hardware.
#[derive(Clone, Copy, Default)]
pub struct Fused;

/// No particular instructions, and the standard library's functions where others do not hold everywhere.
#[derive(Clone, Copy, Default)]
pub struct Library;

impl Isa for Plain {
    // NEON always has it; on x86-64 only the levels above do.
    const FMA: bool = cfg!(target_arch = "aarch64");
}
impl Isa for Fused {
    const FMA: bool = true;
}
impl Isa for Library {
    const FMA: bool = false;
    const LIBRARY: bool = true;
}

/// A loop to run at the level of this machine.
pub trait Loop {
    /// What it returns.
    type Output;
    /// The loop. Implementations are `#[inline(always)]`, so that they are compiled for the level they run at.
    fn run<I: Isa>(self) -> Self::Output;
}

static LEVEL: AtomicU8 = AtomicU8::new(0);

/// The level in force.
#[inline]
pub fn level() -> Level {
    match LEVEL.load(Ordering::Relaxed) {
        1 => Level::Plain,
        2 => Level::Avx2,
        3 => Level::Avx512,
        _ => detect(),
    }
}

#[cold]
fn detect() -> Level {
    let level = best().min(match std::env::var("WENGERT_SIMD").as_deref() {
        Ok("plain") => Level::Plain,
        Ok("avx2") => Level::Avx2,
        _ => Level::Avx512,
    });
    LEVEL.store(level as u8, Ordering::Relaxed);
    level
}

/// The highest level of this machine.
#[cfg(target_arch = "x86_64")]
pub(super) fn best() -> Level {
    use std::arch::is_x86_feature_detected as has;
    if !(has!("avx2") && has!("fma") && has!("f16c") && has!("bmi1") && has!("bmi2")) {
        Level::Plain
    } else if has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
        Level::Avx512
    } else {
        Level::Avx2
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn best() -> Level {
    Level::Plain
}

/// Whether Intel made this processor.
pub(super) fn intel() -> bool {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        static INTEL: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
            #[allow(unused_unsafe)] // later compilers know that it is safe
            // SAFETY: every processor of the target has this instruction.
            let name = unsafe { std::arch::x86_64::__cpuid(0) };
            [name.ebx, name.edx, name.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
        });
        *INTEL
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    false
}

/// [`run`] for a loop that memory holds up, or that is seldom run: wider registers than those of AVX2 are not worth
/// compiling it once more.
#[inline]
pub fn run_narrow<L: Loop>(l: L) -> L::Output {
    match level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as in `run`; AVX-512 is found where AVX2 is, too.
        Level::Avx2 | Level::Avx512 => unsafe { run_avx2(l) },
        _ => run_plain(l),
    }
}

/// [`run`] for elements of single precision, and [`run_narrow`] for those of double: for loops that are seldom run in it.
#[inline]
pub(super) fn run_single<T, L: Loop>(l: L) -> L::Output {
    if const { size_of::<T>() < size_of::<f64>() } { run(l) } else { run_narrow(l) }
}

/// Runs a loop at the level of this machine.
#[inline]
pub fn run<L: Loop>(l: L) -> L::Output {
    match level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `best` found these features on this machine, and the level is never above that.
        Level::Avx512 => unsafe { run_avx512(l) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Level::Avx2 => unsafe { run_avx2(l) },
        _ => run_plain(l),
    }
}

/// Apart from its callers, as the others are by their features: callers that differ in type share the loop.
#[inline(never)]
fn run_plain<L: Loop>(l: L) -> L::Output {
    l.run::<Plain>()
}

/// # Safety
/// The machine must have the features named.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi1,bmi2")]
unsafe fn run_avx512<L: Loop>(l: L) -> L::Output {
    l.run::<Fused>()
}

/// # Safety
/// The machine must have the features named.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2")]
unsafe fn run_avx2<L: Loop>(l: L) -> L::Output {
    l.run::<Fused>()
}
