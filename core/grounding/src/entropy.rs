//! Criterion 2: spatial entropy of a head map.

use crate::components::Components;
use crate::maps::{Weight, largest, sum};
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
    Ok(EntropyMeasure::new(grid, *rule).run(map, sum(map), 1.0))
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
    #[inline(always)]
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
        let largest = largest(map).real();
        let noise = NOISE * largest;
        if largest - cut <= noise {
            return nothing;
        }
        let floor = match rule.floor {
            Floor::Rel(value) => value / patches,
            Floor::Abs(value) => value,
        };
        let floor = floor * if rule.normalise { sum } else { 1.0 / scale };
        // On a uniform map the mean is not exact, and the difference must not become a component.
        self.components
            .mark(map, T::at_most(cut + floor.max(noise)));

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
            0 if rule.no_component == NoComponent::Zero => 0.0,
            0 => f64::INFINITY,
            1 if shares_sum_to_one => 0.0,
            _ => {
                let total = if shares_sum_to_one {
                    weights.iter().sum::<f64>()
                } else {
                    (0..map.len()).map(excess).filter(|&b| b > noise).sum()
                };
                let share = weights.iter().map(|w| w / total);
                (-share.map(|p| p * p.ln()).sum::<f64>()).max(0.0)
            }
        };
        SpatialEntropy {
            entropy,
            components: n,
            bottom_row_full: self.components.holds_bottom_row(),
        }
    }
}
