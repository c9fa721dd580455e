//! Criterion 2: spatial entropy of a head map.

use crate::components::Components;
use crate::maps::{self, Weight, largest};
use crate::selection::{EntropyRule, EntropyTotal, EntropyWeight, Floor, NoComponent};
use crate::{Grid, Result};

/// Values below this share of the largest one are rounding noise.
const NOISE: f64 = 1e-12;

/// Spatial entropy of one head map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpatialEntropy {
    /// Entropy in nats; 0 when all attention above the mean is in one place, infinite when no place stands out.
    pub entropy: f64,
    /// Connected components above the floor.
    pub components: usize,
    /// Whether every patch of the bottom row is in a component.
    pub bottom_row_full: bool,
}

/// Spatial entropy of a map `[P]` of weights from 0 up.
///
/// With `B = max(a - c·mean(a), 0)` and the connected components of `B > floor`, H = −Σ pₙ ln pₙ over the shares pₙ of
/// the components (Kang et al., CVPR 2025, section 4.2; the rule says what is normalised and weighed how).
///
/// # Errors
/// [`crate::Error::Shape`] when the map does not fit the grid.
pub fn spatial_entropy(map: &[f64], grid: Grid, rule: &EntropyRule) -> Result<SpatialEntropy> {
    grid.check_len(map.len())?;
    Ok(EntropyMeasure::new(grid, *rule).run(map, maps::sum(map), 1.0))
}

/// Measures many maps of one grid without allocating for each.
pub(crate) struct EntropyMeasure {
    grid: Grid,
    rule: EntropyRule,
    components: Components,
}

impl EntropyMeasure {
    pub(crate) fn new(grid: Grid, rule: EntropyRule) -> Self {
        Self {
            grid,
            rule,
            components: Components::new(grid, rule.connectivity),
        }
    }

    /// Measures a map `[P]` that adds up to `sum` and of which `scale` times every weight is meant.
    ///
    /// Shares do not depend on a common factor, so the map is neither normalised nor scaled; only the floor is.
    pub(crate) fn run<T: Weight>(&mut self, map: &[T], sum: f64, scale: f64) -> SpatialEntropy {
        let rule = self.rule;
        let nothing = SpatialEntropy {
            entropy: f64::INFINITY,
            components: 0,
            bottom_row_full: false,
        };
        if sum <= 0.0 {
            return nothing;
        }
        let patches = self.grid.len() as f64;
        let cut = rule.c * (sum / patches);
        let floor = match rule.floor {
            Floor::Rel(value) => value / patches,
            Floor::Abs(value) => value,
        };
        let mut floor = floor * if rule.normalise { sum } else { 1.0 / scale };
        let largest = || largest(map).real();
        // On a uniform map the mean is not exact, and the difference must not become a component. No value is larger
        // than the sum, so a floor above that much needs no look at the map.
        if floor < NOISE * sum {
            floor = floor.max(NOISE * largest());
        }
        self.components.mark(map, T::at_most(cut + floor));

        let excess = |patch: usize| map[patch].real() - cut;
        let by_pixels = rule.weight == EntropyWeight::Pixels;
        let weights = if by_pixels {
            self.components.weigh(|_| 1.0)
        } else {
            self.components.weigh(excess)
        };
        let n = weights.len();
        let shares_sum_to_one = by_pixels || rule.total == EntropyTotal::Kept;
        let entropy = match n {
            0 if rule.no_component == NoComponent::Zero && largest() - cut > NOISE * largest() => {
                0.0
            }
            0 => f64::INFINITY,
            1 if shares_sum_to_one => 0.0,
            _ => {
                let total = if shares_sum_to_one {
                    maps::sum(weights)
                } else {
                    let noise = NOISE * largest();
                    (0..map.len()).map(excess).filter(|&b| b > noise).sum()
                };
                surprise(weights, total)
            }
        };
        SpatialEntropy {
            entropy,
            components: n,
            bottom_row_full: self.components.holds_bottom_row(),
        }
    }
}

/// −Σ p ln p over the shares of the weights in a total, never below 0. The weights become the terms.
fn surprise(weights: &mut [f64], total: f64) -> f64 {
    let scale = 1.0 / total;
    for weight in &mut *weights {
        let share = *weight * scale;
        *weight = share * ln(share);
    }
    (-maps::sum(weights)).max(0.0)
}

/// Natural logarithm of a positive normal number to some 1e-15.
///
/// The one of the standard library calls into the system for every value. This one has no branch, so the compiler takes
/// several at a time.
fn ln(x: f64) -> f64 {
    const ONE: u64 = 1.0f64.to_bits();
    const ROOT_HALF: u64 = std::f64::consts::FRAC_1_SQRT_2.to_bits();
    const EXPONENT: u64 = 0x7ff << 52;
    // 2^52, whose mantissa counts ones.
    const COUNT: f64 = (1u64 << 52) as f64;

    // x = 2^e · m with m in [√½, √2).
    let moved = x.to_bits().wrapping_add(ONE - ROOT_HALF);
    let e = f64::from_bits(moved >> 52 | COUNT.to_bits()) - (COUNT + 1023.0);
    let m = f64::from_bits(x.to_bits().wrapping_sub(moved & EXPONENT).wrapping_add(ONE));
    // ln m = 2 artanh((m - 1) / (m + 1)).
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let series = 1.0 / 13.0 + z * (1.0 / 15.0 + z * (1.0 / 17.0));
    let series = 1.0 / 7.0 + z * (1.0 / 9.0 + z * (1.0 / 11.0 + z * series));
    let series = 1.0 + z * (1.0 / 3.0 + z * (1.0 / 5.0 + z * series));
    e * std::f64::consts::LN_2 + 2.0 * s * series
}
