//! The transforms of a side: pixels and taps to points, and points to outputs.
//!
//! A convolution of a few outputs is a product of polynomials, which is known by its values at so many points. With rows
//! of the outputs `y`, the taps `g` and the pixels `d` it is `y = A' ((G g) * (B' d))`, point by point; the gradient of
//! the taps is `G' ((A y) * (B' d))`. Five finite points and infinity do for four outputs of three taps as for two
//! outputs of five.
//!
//! Which points they are says how much rounding errors grow. With 0, 1, -1, 2 and -2, the usual ones, those of an output
//! were four times those of a sum of products, root mean square, over 64 channels; with 0 and the four below twice, and
//! less where products are summed in parts: beside sums of the definition (PyTorch's) those of outputs are 2.7 (16
//! channels) to 1.2 times (128), of the gradient of the input two to three times, of that of the weight a fifth to
//! seven tenths.
//!
//! B. Barabasz, A. Anderson, K. Soodhalter and D. Gregg, "Error Analysis and Improving the Accuracy of Winograd
//! Convolution for Deep Neural Networks", ACM TOMS 46, 2020.

use crate::kernels::vector::Vector;

/// Most points, outputs and taps of a side.
pub const MOST_SIDE: usize = 6;
pub const MOST_OUTPUTS: usize = 4;
pub const MOST_TAPS: usize = 5;

/// The sides of a kernel, and of its tiles of outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Two outputs of three taps.
    TwoOfThree,
    /// Four outputs of three taps.
    FourOfThree,
    /// Two outputs of five taps.
    TwoOfFive,
}

impl Side {
    /// Outputs of a side.
    pub fn outputs(self) -> usize {
        match self {
            Side::TwoOfThree | Side::TwoOfFive => 2,
            Side::FourOfThree => 4,
        }
    }

    /// Weights of a side.
    pub fn taps(self) -> usize {
        match self {
            Side::TwoOfThree | Side::FourOfThree => 3,
            Side::TwoOfFive => 5,
        }
    }

    /// Points of a side, which has as many pixels.
    pub fn points(self) -> usize {
        self.outputs() + self.taps() - 1
    }

    /// Points of a tile.
    pub fn area(self) -> usize {
        self.points() * self.points()
    }
}

/// The transforms of a side. Of arrays the first entries count.
///
/// # Safety
/// All functions are as [`Vector::splat`].
pub trait Transform {
    const OUTPUTS: usize;
    const TAPS: usize;
    const POINTS: usize = Self::OUTPUTS + Self::TAPS - 1;
    /// `A`.
    const OF_OUTPUTS: [[f32; MOST_OUTPUTS]; MOST_SIDE];

    /// Times `B'`.
    unsafe fn of_pixels<V: Vector<Element = f32>>(pixels: [V; MOST_SIDE]) -> [V; MOST_SIDE];
    /// Times `G`.
    unsafe fn of_taps<V: Vector<Element = f32>>(taps: [V; MOST_TAPS]) -> [V; MOST_SIDE];
    /// Times `A`.
    unsafe fn of_outputs<V: Vector<Element = f32>>(outputs: [V; MOST_OUTPUTS]) -> [V; MOST_SIDE];
    /// Times `A'`.
    unsafe fn to_outputs<V: Vector<Element = f32>>(points: [V; MOST_SIDE]) -> [V; MOST_OUTPUTS];
    /// Times `G'`.
    unsafe fn to_taps<V: Vector<Element = f32>>(points: [V; MOST_SIDE]) -> [V; MOST_TAPS];
}

/// Two outputs of three taps, at the points 0, 1, -1 and infinity.
pub struct Four;

impl Transform for Four {
    const OUTPUTS: usize = 2;
    const TAPS: usize = 3;
    const OF_OUTPUTS: [[f32; MOST_OUTPUTS]; MOST_SIDE] =
        [[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [1.0, -1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0; 4], [0.0; 4]];

    #[inline(always)]
    unsafe fn of_pixels<V: Vector<Element = f32>>([a, b, c, d, zero, _]: [V; MOST_SIDE]) -> [V; MOST_SIDE] {
        // SAFETY: the caller's.
        unsafe { [a.sub(c), b.add(c), c.sub(b), d.sub(b), zero, zero] }
    }

    #[inline(always)]
    unsafe fn of_taps<V: Vector<Element = f32>>([a, b, c, zero, _]: [V; MOST_TAPS]) -> [V; MOST_SIDE] {
        // SAFETY: the caller's.
        unsafe {
            let (half, ends) = (V::splat(0.5), a.add(c));
            [a, ends.add(b).mul_add(half, zero), ends.sub(b).mul_add(half, zero), c, zero, zero]
        }
    }

    #[inline(always)]
    unsafe fn of_outputs<V: Vector<Element = f32>>([a, b, zero, _]: [V; MOST_OUTPUTS]) -> [V; MOST_SIDE] {
        // SAFETY: the caller's.
        unsafe { [a, a.add(b), a.sub(b), b, zero, zero] }
    }

    #[inline(always)]
    unsafe fn to_outputs<V: Vector<Element = f32>>([a, b, c, d, zero, _]: [V; MOST_SIDE]) -> [V; MOST_OUTPUTS] {
        // SAFETY: the caller's.
        unsafe { [a.add(b).add(c), b.sub(c).add(d), zero, zero] }
    }

    #[inline(always)]
    unsafe fn to_taps<V: Vector<Element = f32>>([a, b, c, d, zero, _]: [V; MOST_SIDE]) -> [V; MOST_TAPS] {
        // SAFETY: the caller's.
        unsafe {
            let half = V::splat(0.5);
            let even = b.add(c).mul_add(half, zero);
            [a.add(even), b.sub(c).mul_add(half, zero), even.add(d), zero, zero]
        }
    }
}

/// The points beside 0 and infinity, with either sign.
const POINTS: [f64; 2] = [0.75, 1.375];

/// Their powers, and those over the product of a point's differences to the others.
const POWERS: [[f32; MOST_TAPS]; 2] = [powers(POINTS[0], 1.0), powers(POINTS[1], 1.0)];
const SHARES: [[f32; MOST_TAPS]; 2] = [
    powers(POINTS[0], product_of_differences(POINTS[0], POINTS[1])),
    powers(POINTS[1], product_of_differences(POINTS[1], POINTS[0])),
];

/// The squares' product, and their sum with the other sign.
const PRODUCT: f32 = POWERS[0][2] * POWERS[1][2];
const SUM: f32 = -(POWERS[0][2] + POWERS[1][2]);

/// Those of a point to 0, to its opposite and to the other two.
const fn product_of_differences(point: f64, other: f64) -> f64 {
    2.0 * point * point * (point * point - other * other)
}

/// The powers of a point over a number.
const fn powers(point: f64, by: f64) -> [f32; MOST_TAPS] {
    let (mut powers, mut power, mut n) = ([0.0; MOST_TAPS], 1.0, 0);
    while n < MOST_TAPS {
        powers[n] = (power / by) as f32;
        (power, n) = (power * point, n + 1);
    }
    powers
}

/// Six points: 0, [`POINTS`] with either sign, and infinity.
pub struct Six<const TAPS: usize, const OUTPUTS: usize>;

impl<const TAPS: usize, const OUTPUTS: usize> Transform for Six<TAPS, OUTPUTS> {
    const OUTPUTS: usize = OUTPUTS;
    const TAPS: usize = TAPS;
    const OF_OUTPUTS: [[f32; MOST_OUTPUTS]; MOST_SIDE] = {
        let mut rows = [[0.0; MOST_OUTPUTS]; MOST_SIDE];
        (rows[0][0], rows[MOST_SIDE - 1][OUTPUTS - 1]) = (1.0, 1.0);
        let mut n = 0;
        while n < OUTPUTS {
            let sign = if n % 2 == 0 { 1.0 } else { -1.0 };
            [rows[1][n], rows[2][n], rows[3][n], rows[4][n]] =
                [POWERS[0][n], sign * POWERS[0][n], POWERS[1][n], sign * POWERS[1][n]];
            n += 1;
        }
        rows
    };

    #[inline(always)]
    unsafe fn of_pixels<V: Vector<Element = f32>>([a, b, c, d, e, f]: [V; MOST_SIDE]) -> [V; MOST_SIDE] {
        // SAFETY: the caller's.
        unsafe {
            let (product, sum) = (V::splat(PRODUCT), V::splat(SUM));
            let near = both(c.mul_add(V::splat(-POWERS[1][2]), e), b.mul_add(V::splat(-POWERS[1][2]), d), POWERS[0][1]);
            let far = both(c.mul_add(V::splat(-POWERS[0][2]), e), b.mul_add(V::splat(-POWERS[0][2]), d), POWERS[1][1]);
            let zero = a.mul_add(product, c.mul_add(sum, e));
            [zero, near[0], near[1], far[0], far[1], b.mul_add(product, d.mul_add(sum, f))]
        }
    }

    #[inline(always)]
    unsafe fn of_taps<V: Vector<Element = f32>>(taps: [V; MOST_TAPS]) -> [V; MOST_SIDE] {
        // SAFETY: the caller's.
        unsafe {
            let zero = taps[0].mul_add(V::splat(1.0 / PRODUCT), V::splat(0.0));
            let (near, far) = (of_taps_at::<V, TAPS, 0>(taps), of_taps_at::<V, TAPS, 1>(taps));
            [zero, near[0], near[1], far[0], far[1], taps[TAPS - 1]]
        }
    }

    #[inline(always)]
    unsafe fn of_outputs<V: Vector<Element = f32>>(outputs: [V; MOST_OUTPUTS]) -> [V; MOST_SIDE] {
        let [a, b, c, d] = outputs;
        // SAFETY: the caller's.
        unsafe {
            let (mut near, mut far) = ([a, b], [a, b]);
            if OUTPUTS == 4 {
                near = [c.mul_add(V::splat(POWERS[0][2]), a), d.mul_add(V::splat(POWERS[0][2]), b)];
                far = [c.mul_add(V::splat(POWERS[1][2]), a), d.mul_add(V::splat(POWERS[1][2]), b)];
            }
            let (near, far) = (both(near[0], near[1], POWERS[0][1]), both(far[0], far[1], POWERS[1][1]));
            [a, near[0], near[1], far[0], far[1], outputs[OUTPUTS - 1]]
        }
    }

    #[inline(always)]
    unsafe fn to_outputs<V: Vector<Element = f32>>([zero, a, b, c, d, last]: [V; MOST_SIDE]) -> [V; MOST_OUTPUTS] {
        // SAFETY: the caller's.
        unsafe {
            let (even, odd) = ([a.add(b), c.add(d)], [a.sub(b), c.sub(d)]);
            let none = V::splat(0.0);
            let first = zero.add(even[0]).add(even[1]);
            let second = weighted(odd, [POWERS[0][1], POWERS[1][1]], if OUTPUTS == 2 { last } else { none });
            if OUTPUTS == 2 {
                return [first, second, none, none];
            }
            let third = weighted(even, [POWERS[0][2], POWERS[1][2]], none);
            [first, second, third, weighted(odd, [POWERS[0][3], POWERS[1][3]], last)]
        }
    }

    #[inline(always)]
    unsafe fn to_taps<V: Vector<Element = f32>>([zero, a, b, c, d, last]: [V; MOST_SIDE]) -> [V; MOST_TAPS] {
        // SAFETY: the caller's.
        unsafe {
            let (even, odd) = ([a.add(b), c.add(d)], [a.sub(b), c.sub(d)]);
            let none = V::splat(0.0);
            let mut taps = [
                weighted(even, [SHARES[0][0], SHARES[1][0]], zero.mul_add(V::splat(1.0 / PRODUCT), none)),
                weighted(odd, [SHARES[0][1], SHARES[1][1]], none),
                weighted(even, [SHARES[0][2], SHARES[1][2]], none),
                none,
                none,
            ];
            if TAPS == 5 {
                taps[3] = weighted(odd, [SHARES[0][3], SHARES[1][3]], none);
                taps[4] = weighted(even, [SHARES[0][4], SHARES[1][4]], none);
            }
            taps[TAPS - 1] = taps[TAPS - 1].add(last);
            taps
        }
    }
}

/// What taps are at a point and at its opposite.
///
/// # Safety
/// As [`Vector::splat`].
#[inline(always)]
unsafe fn of_taps_at<V: Vector<Element = f32>, const TAPS: usize, const AT: usize>(taps: [V; MOST_TAPS]) -> [V; 2] {
    let [a, b, c, d, e] = taps;
    // SAFETY: the caller's.
    unsafe {
        let zero = V::splat(0.0);
        let (mut even, mut odd) = (a.mul_add(V::splat(SHARES[AT][0]), zero), b.mul_add(V::splat(SHARES[AT][1]), zero));
        even = c.mul_add(V::splat(SHARES[AT][2]), even);
        if TAPS == 5 {
            (even, odd) = (e.mul_add(V::splat(SHARES[AT][4]), even), d.mul_add(V::splat(SHARES[AT][3]), odd));
        }
        [even.add(odd), even.sub(odd)]
    }
}

/// `even + x odd` and `even - x odd`: a polynomial at a point and at its opposite.
///
/// # Safety
/// As [`Vector::splat`].
#[inline(always)]
unsafe fn both<V: Vector<Element = f32>>(even: V, odd: V, x: f32) -> [V; 2] {
    // SAFETY: the caller's.
    unsafe { [odd.mul_add(V::splat(x), even), odd.mul_add(V::splat(-x), even)] }
}

/// The sum of two with weights, and of a third.
///
/// # Safety
/// As [`Vector::splat`].
#[inline(always)]
unsafe fn weighted<V: Vector<Element = f32>>([a, b]: [V; 2], [x, y]: [f32; 2], c: V) -> V {
    // SAFETY: the caller's.
    unsafe { a.mul_add(V::splat(x), b.mul_add(V::splat(y), c)) }
}
