//! From head maps to one heat map.

use serde::Serialize;

use crate::maps::sum;
use crate::mask::Quantised;
use crate::score::remove_sinks;
use crate::selection::{Aggregate, HeadSelection, Smoothing};
use crate::{Error, Grid, HeadId, HeadMaps, Result};

/// One value per patch. May hold negative values (mean subtraction).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeatMap {
    /// Patch grid.
    pub grid: Grid,
    /// Values `[P]`, row-major.
    pub values: Vec<f64>,
}

impl HeatMap {
    /// A map, checked.
    ///
    /// # Errors
    /// [`Error::Shape`] when the length is not that of the grid, [`Error::NonFinite`] for a value that is no number.
    pub fn new(grid: Grid, values: Vec<f64>) -> Result<Self> {
        grid.check_len(values.len())?;
        match values.iter().position(|v| !v.is_finite()) {
            Some(index) => Err(Error::NonFinite { index }),
            None => Ok(Self { grid, values }),
        }
    }

    /// Largest value.
    pub fn max(&self) -> f64 {
        self.values
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max)
    }

    /// Sum of the values above 0.
    pub fn mass(&self) -> f64 {
        self.values.iter().map(|v| v.max(0.0)).sum()
    }

    /// Values from 0 to 1 for painting: negative values become 0, the largest becomes 1. All 0 when nothing is above 0.
    pub fn normalised(&self) -> Vec<f32> {
        let max = self.max();
        if max <= 0.0 {
            return vec![0.0; self.values.len()];
        }
        self.values
            .iter()
            .map(|v| (v.max(0.0) / max) as f32)
            .collect()
    }

    /// The map in whole steps of 2⁻³⁰ of its largest magnitude: what masks are cut from.
    ///
    /// # Errors
    /// [`Error::Shape`] or [`Error::NonFinite`] for a map that was not made by this crate.
    pub fn quantised(&self) -> Result<Quantised> {
        Quantised::new(self.grid, &self.values)
    }
}

/// Heat map of one frame as the selection aggregates it. `heads` is only read by [`Aggregate::Selected`].
///
/// # Errors
/// [`Error::NoHeads`] for an empty list, [`Error::Option`] for a head that does not exist or an option out of range,
/// [`Error::NoSinks`], [`Error::NoBaseline`] and [`Error::NoGeneric`] when the maps lack what the selection needs,
/// [`Error::EmptyMap`] when the generic prompt looks nowhere.
pub fn heat_map(maps: &HeadMaps, heads: &[HeadId], selection: &HeadSelection) -> Result<HeatMap> {
    selection.smoothing.validate()?;
    let grid = maps.grid;
    let values = match selection.aggregate {
        Aggregate::Selected { normalise } => sum_of_heads(maps, heads, selection, normalise)?,
        Aggregate::Head(head) => sum_of_heads(maps, &[head], selection, false)?,
        Aggregate::Naive => naive_mean(maps),
        Aggregate::NaiveSinkFiltered => {
            let sinks = maps.sink_patches(selection.sinks.rule)?;
            if selection.sinks.renormalise {
                let mut total = vec![0.0; grid.len()];
                let mut map = vec![0.0; grid.len()];
                for (_, weights) in maps.iter() {
                    widen(&mut map, weights);
                    remove_sinks(&mut map, &sinks, true, sum(weights));
                    add(&mut total, &map);
                }
                mean_of(total, maps)
            } else {
                let mut mean = naive_mean(maps);
                remove_sinks(&mut mean, &sinks, false, 0.0);
                mean
            }
        }
        Aggregate::MeanSubtracted => {
            let baseline = maps.baseline.as_deref().ok_or(Error::NoBaseline)?;
            let mut mean = naive_mean(maps);
            mean.iter_mut().zip(baseline).for_each(|(m, b)| *m -= b);
            mean
        }
        Aggregate::Relative { layer } => return relative(maps, layer),
    };
    Ok(HeatMap { grid, values })
}

/// Sum of the smoothed maps of some heads.
fn sum_of_heads(
    maps: &HeadMaps,
    heads: &[HeadId],
    selection: &HeadSelection,
    normalise: bool,
) -> Result<Vec<f64>> {
    if heads.is_empty() {
        return Err(Error::NoHeads);
    }
    let selection = HeadSelection {
        aggregate: Aggregate::Selected { normalise },
        ..selection.clone()
    };
    let smoother = HeadSmoother::new(maps, &selection)?;
    let mut total = vec![0.0; maps.grid.len()];
    for &head in heads {
        add(&mut total, &smoother.apply(maps.get(head)?));
    }
    Ok(total)
}

/// What happens to the map of one head before heads are added up: sinks, normalisation, smoothing.
pub(crate) struct HeadSmoother {
    sinks: Option<Vec<bool>>,
    renormalise: bool,
    normalise: bool,
    gaussian: Gaussian,
}

impl HeadSmoother {
    /// For the heads of one frame; its weights are not looked at.
    ///
    /// # Errors
    /// [`Error::Option`] for options out of range, [`Error::NoSinks`] when sinks are to be filtered and none are known.
    pub(crate) fn new(maps: &HeadMaps, selection: &HeadSelection) -> Result<Self> {
        selection.smoothing.validate()?;
        Ok(Self {
            sinks: maps.filtered_patches(selection)?,
            renormalise: selection.sinks.renormalise,
            normalise: matches!(selection.aggregate, Aggregate::Selected { normalise: true }),
            gaussian: Gaussian::new(maps.grid, selection.smoothing),
        })
    }

    /// The smoothed map of one head `[P]`; zeros for a head without attention that is to be normalised.
    pub(crate) fn apply(&self, weights: &[f32]) -> Vec<f64> {
        let mut map: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
        if let Some(sinks) = &self.sinks {
            remove_sinks(&mut map, sinks, self.renormalise, sum(weights));
        }
        if self.normalise {
            let total = sum(&map);
            if total <= 0.0 {
                return vec![0.0; map.len()];
            }
            map.iter_mut().for_each(|a| *a /= total);
        }
        self.gaussian.apply(&mut map);
        map
    }
}

/// One layer relative to the same under a generic prompt.
fn relative(maps: &HeadMaps, layer: Option<usize>) -> Result<HeatMap> {
    let generic = maps.generic.as_deref().ok_or(Error::NoGeneric)?;
    let layer = layer.unwrap_or(maps.n_layers / 2);
    let patches = maps.grid.len();
    let Some(generic) = generic.chunks_exact(patches).nth(layer) else {
        return Err(Error::Option(format!(
            "layer {layer} does not exist among {} layers",
            maps.n_layers
        )));
    };
    let mut task = vec![0.0; patches];
    for head in 0..maps.n_heads {
        for (t, &weight) in task.iter_mut().zip(maps.head(layer, head)) {
            *t += f64::from(weight);
        }
    }
    task.iter_mut().for_each(|t| *t /= maps.n_heads as f64);
    relative_attention(
        &HeatMap::new(maps.grid, task)?,
        &HeatMap::new(maps.grid, generic.to_vec())?,
    )
}

/// Mean over all layers and heads.
pub(crate) fn naive_mean(maps: &HeadMaps) -> Vec<f64> {
    let mut total = vec![0.0; maps.grid.len()];
    for (_, weights) in maps.iter() {
        for (t, &w) in total.iter_mut().zip(weights) {
            *t += f64::from(w);
        }
    }
    mean_of(total, maps)
}

fn mean_of(mut total: Vec<f64>, maps: &HeadMaps) -> Vec<f64> {
    let count = (maps.n_layers * maps.n_heads) as f64;
    total.iter_mut().for_each(|t| *t /= count);
    total
}

fn widen(to: &mut [f64], from: &[f32]) {
    to.iter_mut()
        .zip(from)
        .for_each(|(to, &from)| *to = f64::from(from));
}

fn add(to: &mut [f64], from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

/// Attention under the task prompt relative to attention under a generic one: `task / (generic + 0.01 mean(generic))`
/// (mllms_know, ICLR 2025; the small term caps patches that the generic prompt ignores at 100-fold).
///
/// # Errors
/// [`Error::Shape`] when the maps differ in their grid, [`Error::EmptyMap`] when the generic map holds nothing.
pub fn relative_attention(task: &HeatMap, generic: &HeatMap) -> Result<HeatMap> {
    task.grid.check_len(generic.values.len())?;
    if task.grid != generic.grid {
        return Err(Error::Shape("maps on different grids".into()));
    }
    let mean = generic.values.iter().sum::<f64>() / generic.values.len() as f64;
    if mean <= 0.0 || mean.is_nan() {
        return Err(Error::EmptyMap);
    }
    let ratio = task
        .values
        .iter()
        .zip(&generic.values)
        .map(|(t, g)| t / (g + 0.01 * mean));
    HeatMap::new(task.grid, ratio.collect())
}

/// Separable Gaussian, rows axis first, with half-sample symmetric borders (`d c b a | a b c d | d c b a`), as
/// `scipy.ndimage.gaussian_filter(mode="reflect")`.
struct Gaussian {
    grid: Grid,
    /// Weights of the centre and of the distances 1, 2, … ; empty for no smoothing.
    taps: Vec<f64>,
}

impl Gaussian {
    fn new(grid: Grid, smoothing: Smoothing) -> Self {
        Self {
            grid,
            taps: gaussian_taps(smoothing),
        }
    }

    /// Smooths a map in place.
    ///
    /// The two values at one distance are added before they are weighed, distances ascending: mirror images of a
    /// symmetric map then go through the same roundings and stay exactly equal.
    fn apply(&self, map: &mut [f64]) {
        let Some((&centre, taps)) = self.taps.split_first() else {
            return;
        };
        let Grid { rows, cols } = self.grid;

        let source = map.to_vec();
        let row_of = |row: isize| &source[mirror(row, rows) * cols..][..cols];
        for (row, out) in map.chunks_exact_mut(cols).enumerate() {
            let row = row as isize;
            out.iter_mut().for_each(|v| *v *= centre);
            for (distance, &tap) in (1..).zip(taps) {
                let (above, below) = (row_of(row - distance), row_of(row + distance));
                for ((v, a), b) in out.iter_mut().zip(above).zip(below) {
                    *v += tap * (a + b);
                }
            }
        }

        let radius = taps.len();
        let mut padded = vec![0.0; cols + 2 * radius];
        for out in map.chunks_exact_mut(cols) {
            for (i, v) in padded.iter_mut().enumerate() {
                *v = out[mirror(i as isize - radius as isize, cols)];
            }
            out.iter_mut().for_each(|v| *v *= centre);
            for (distance, &tap) in (1..).zip(taps) {
                let (left, right) = (&padded[radius - distance..], &padded[radius + distance..]);
                for ((v, a), b) in out.iter_mut().zip(left).zip(right) {
                    *v += tap * (a + b);
                }
            }
        }
    }
}

/// Weights of the centre and of the distances 1, 2, … that together with their mirror images sum to one; empty at σ = 0.
pub(crate) fn gaussian_taps(Smoothing { sigma, truncate }: Smoothing) -> Vec<f64> {
    if sigma <= 0.0 {
        return Vec::new();
    }
    let radius = (truncate * sigma + 0.5) as usize;
    let mut taps: Vec<f64> = (0..=radius)
        .map(|k| (-0.5 * (k as f64 / sigma).powi(2)).exp())
        .collect();
    let total = 2.0 * taps.iter().skip(1).sum::<f64>() + taps[0];
    taps.iter_mut().for_each(|w| *w /= total);
    taps
}

/// Index inside `0..n` that a half-sample symmetric border shows at `i`; repeats with period `2n`.
fn mirror(i: isize, n: usize) -> usize {
    let i = i.rem_euclid(2 * n as isize) as usize;
    if i < n { i } else { 2 * n - 1 - i }
}
