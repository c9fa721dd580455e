//! Integers for everything that is ranked.
//!
//! Sums taken in another order differ by some 1e-16, which makes ties (uniform maps, symmetric smoothing, equal head
//! sums) fall differently on every machine. So whatever is ranked, or compared with another derived value, is first
//! rounded to 2⁻³⁰, far below the resolution of f16 attention.

/// Steps per unit.
pub(crate) const PER_UNIT: f64 = (1u64 << 30) as f64;

/// `floor(x * 2^30 + 0.5)`; infinity saturates.
pub(crate) fn round(x: f64) -> i64 {
    let steps = x * PER_UNIT + 0.5;
    // `floor` is a call where the processor is not known to have an instruction for it.
    let towards_zero = steps as i64;
    towards_zero.saturating_sub(i64::from(steps < towards_zero as f64))
}

/// Back to a real number.
pub(crate) fn real(q: i64) -> f64 {
    q as f64 / PER_UNIT
}
