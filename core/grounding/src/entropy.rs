//! Criterion 2: spatial entropy of a head map.

use crate::maps::{largest, sum64};
use crate::selection::{
    Connectivity, EntropyRule, EntropyTotal, EntropyWeight, Floor, NoComponent,
};
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
    let mut measure = EntropyMeasure::new(grid, *rule);
    measure.map.copy_from_slice(map);
    Ok(measure.run())
}

/// Measures many maps of one grid without allocating for each.
pub(crate) struct EntropyMeasure {
    grid: Grid,
    rule: EntropyRule,
    /// The map to measure, `[P]`; overwritten by the excess over the mean.
    pub(crate) map: Vec<f64>,
    /// Whether a patch is above the floor and not yet in a component, with a border of one patch on every side, so
    /// that no neighbour needs a bounds test.
    open: Vec<bool>,
    /// Patches of the current component whose neighbours are to be looked at, as indices into `open`.
    stack: Vec<usize>,
    /// Weight of every component.
    weights: Vec<f64>,
}

impl EntropyMeasure {
    pub(crate) fn new(grid: Grid, rule: EntropyRule) -> Self {
        Self {
            grid,
            rule,
            map: vec![0.0; grid.len()],
            open: vec![false; (grid.rows + 2) * (grid.cols + 2)],
            stack: Vec::new(),
            weights: Vec::new(),
        }
    }

    /// Measures `self.map`.
    pub(crate) fn run(&mut self) -> SpatialEntropy {
        let Self {
            grid,
            rule,
            map,
            open,
            stack,
            weights,
        } = self;
        let nothing = SpatialEntropy {
            entropy: f64::INFINITY,
            components: 0,
            bottom_row_full: false,
        };
        let patches = grid.len() as f64;
        let mut sum = sum64(map);
        if sum <= 0.0 {
            return nothing;
        }
        if rule.normalise {
            map.iter_mut().for_each(|a| *a /= sum);
            sum = sum64(map);
        }
        let cut = rule.c * (sum / patches);
        let noise = NOISE * largest(map);
        let floor = match rule.floor {
            Floor::Rel(value) => value / patches,
            Floor::Abs(value) => value,
        };
        // On a uniform map the mean is not exact, and the difference must not become a component.
        let floor = floor.max(noise);

        let width = grid.cols + 2;
        let mut any = false;
        for (row, values) in map.chunks_exact_mut(grid.cols).enumerate() {
            let start = (row + 1) * width + 1;
            for (a, open) in values.iter_mut().zip(&mut open[start..start + grid.cols]) {
                let excess = *a - cut;
                *a = if excess > 0.0 { excess } else { 0.0 };
                any |= *a > noise;
                *open = *a > floor;
            }
        }
        if !any {
            // Nothing above the noise means nothing above the floor: `open` is clear for the next map.
            return nothing;
        }
        let bottom = &open[grid.rows * width + 1..][..grid.cols];
        let bottom_row_full = bottom.iter().all(|&open| open);

        let by_pixels = rule.weight == EntropyWeight::Pixels;
        let step = width as isize;
        // Edge neighbours first, corners last.
        let near = [-step, -1, 1, step, -step - 1, -step + 1, step - 1, step + 1];
        let near = match rule.connectivity {
            Connectivity::Eight => &near[..],
            Connectivity::Four => &near[..4],
        };
        weights.clear();
        for row in 0..grid.rows {
            for col in 0..grid.cols {
                let start = (row + 1) * width + col + 1;
                if !std::mem::take(&mut open[start]) {
                    continue;
                }
                let mut weight = 0.0;
                stack.push(start);
                while let Some(at) = stack.pop() {
                    weight += if by_pixels {
                        1.0
                    } else {
                        map[(at / width - 1) * grid.cols + at % width - 1]
                    };
                    for &offset in near {
                        let next = at.wrapping_add_signed(offset);
                        if std::mem::take(&mut open[next]) {
                            stack.push(next);
                        }
                    }
                }
                weights.push(weight);
            }
        }

        let components = weights.len();
        let shares_sum_to_one = by_pixels || rule.total == EntropyTotal::Kept;
        let entropy = match components {
            0 if rule.no_component == NoComponent::Zero => 0.0,
            0 => f64::INFINITY,
            1 if shares_sum_to_one => 0.0,
            _ => {
                let total = if shares_sum_to_one {
                    weights.iter().sum::<f64>()
                } else {
                    map.iter().filter(|&&a| a > noise).sum()
                };
                let share = weights.iter().map(|w| w / total);
                (-share.map(|p| p * p.ln()).sum::<f64>()).max(0.0)
            }
        };
        SpatialEntropy {
            entropy,
            components,
            bottom_row_full: bottom_row_full && components > 0,
        }
    }
}
