use std::sync::Arc;

use serde::{Deserialize, Serialize};

use wide::{f32x8, f64x8};

use crate::selection::{HeadSelection, SinkRule};
use crate::{Error, Grid, Result, sinks};

/// Largest sum of an attention row; the excess over one leaves room for weights stored as f16.
pub(crate) const MAX_ROW_SUM: f64 = 1.01;

/// One attention head, by its position in the capture (not its number in the model).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HeadId {
    /// Index into [`crate::Capture::layers`].
    pub layer: u16,
    /// Index into [`crate::Capture::heads`].
    pub head: u16,
}

/// What is known about sink tokens, one entry per token.
#[derive(Clone, Debug, PartialEq)]
pub enum Sinks {
    /// The verdict.
    Verdict(Arc<[bool]>),
    /// The statistic φ of [`crate::sink_phi`], so that the threshold can still be moved.
    Phi {
        /// One value per token.
        phi: Arc<[f64]>,
        /// Width of the hidden states that φ was measured on.
        width: usize,
    },
}

impl Sinks {
    /// Number of tokens.
    pub fn len(&self) -> usize {
        match self {
            Self::Verdict(verdict) => verdict.len(),
            Self::Phi { phi, .. } => phi.len(),
        }
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which tokens are sinks.
    ///
    /// # Errors
    /// [`Error::Option`] when the rule cannot fire at this width.
    pub fn verdict(&self, rule: SinkRule) -> Result<Vec<bool>> {
        match self {
            Self::Verdict(verdict) => Ok(verdict.to_vec()),
            Self::Phi { phi, width } => sinks::detect(phi, *width, rule),
        }
    }

    /// The same for a selection of tokens.
    pub(crate) fn gather(&self, tokens: &[usize]) -> Option<Self> {
        fn pick<T: Copy>(values: &[T], tokens: &[usize]) -> Option<Arc<[T]>> {
            tokens.iter().map(|&t| values.get(t).copied()).collect()
        }
        Some(match self {
            Self::Verdict(verdict) => Self::Verdict(pick(verdict, tokens)?),
            Self::Phi { phi, width } => Self::Phi {
                phi: pick(phi, tokens)?,
                width: *width,
            },
        })
    }
}

/// Attention of one query token to the patches of one view: `[layers, heads, P]`.
///
/// Weights are after the softmax and not renormalised, so the sum of a map is the share of attention that goes to the
/// view. They are kept as f32 as captured; all arithmetic on them is f64.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HeadMaps {
    /// Patch grid of the view.
    pub grid: Grid,
    /// Captured layers.
    pub n_layers: usize,
    /// Captured heads per layer.
    pub n_heads: usize,
    /// `[layers, heads, P]`, row-major.
    pub data: Arc<[f32]>,
    /// Number in the model of every captured layer; `0..n_layers` unless the capture leaves some out.
    pub layers: Arc<[u32]>,
    /// Sink tokens among the patches, where known.
    pub sinks: Option<Sinks>,
    /// `[P]` mean over heads, layers and at least two query tokens of the frame: what
    /// [`crate::Aggregate::MeanSubtracted`] subtracts.
    pub baseline: Option<Arc<[f64]>>,
    /// `[layers, P]` mean over heads under a generic prompt on the same frame: what [`crate::Aggregate::Relative`]
    /// divides by.
    pub generic: Option<Arc<[f64]>>,
    /// The same frame under another instruction: what tells language from salience.
    pub swapped: Option<Arc<HeadMaps>>,
}

impl HeadMaps {
    /// Maps of `n_layers` × `n_heads` heads on a grid, checked.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::NonFinite`], [`Error::Negative`] or [`Error::RowSum`], sought in this order over the
    /// whole tensor; the first offending flat index is reported.
    pub fn new(
        grid: Grid,
        n_layers: usize,
        n_heads: usize,
        data: impl Into<Arc<[f32]>>,
    ) -> Result<Self> {
        let data = data.into();
        check_attention(&data, grid, &[n_layers, n_heads])?;
        Self::trusted(grid, (0..n_layers as u32).collect(), n_heads, data)
    }

    /// Maps whose weights were checked before.
    pub(crate) fn trusted(
        grid: Grid,
        layers: Arc<[u32]>,
        n_heads: usize,
        data: Arc<[f32]>,
    ) -> Result<Self> {
        let n_layers = layers.len();
        check_heads(n_layers, n_heads)?;
        Ok(Self {
            grid,
            n_layers,
            n_heads,
            data,
            layers,
            sinks: None,
            baseline: None,
            generic: None,
            swapped: None,
        })
    }

    /// Adds the sink tokens among the patches.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is one entry per patch.
    pub fn with_sinks(mut self, sinks: Sinks) -> Result<Self> {
        self.grid.check_len(sinks.len())?;
        self.sinks = Some(sinks);
        Ok(self)
    }

    /// Adds the numbers that the captured layers have in the model.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is one per layer, ascending.
    pub fn with_layers(mut self, layers: impl Into<Arc<[u32]>>) -> Result<Self> {
        self.layers = layers.into();
        if self.layers.len() != self.n_layers || !self.layers.is_sorted_by(|a, b| a < b) {
            return Err(Error::Shape(format!(
                "layer numbers {:?} for {} layers",
                self.layers, self.n_layers
            )));
        }
        Ok(self)
    }

    /// Adds the mean over the query tokens of the frame, for [`crate::Aggregate::MeanSubtracted`].
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is one value per patch, [`Error::NonFinite`] when one is not finite.
    pub fn with_baseline(mut self, baseline: impl Into<Arc<[f64]>>) -> Result<Self> {
        let baseline = baseline.into();
        self.grid.check_len(baseline.len())?;
        if let Some(index) = baseline.iter().position(|v| !v.is_finite()) {
            return Err(Error::NonFinite { index });
        }
        self.baseline = Some(baseline);
        Ok(self)
    }

    /// Adds the same frame under a generic prompt, for [`crate::Aggregate::Relative`].
    ///
    /// # Errors
    /// [`Error::Shape`] unless grid, layers and heads are the same.
    pub fn with_generic(mut self, generic: &Self) -> Result<Self> {
        self.check_companion(generic, "under a generic prompt")?;
        let patches = self.grid.len();
        let mut mean = vec![0.0; self.n_layers * patches];
        for (layer, heads) in mean
            .chunks_exact_mut(patches)
            .zip(generic.data.chunks_exact(self.n_heads * patches))
        {
            for map in heads.chunks_exact(patches) {
                for (m, &weight) in layer.iter_mut().zip(map) {
                    *m += f64::from(weight);
                }
            }
            layer.iter_mut().for_each(|m| *m /= self.n_heads as f64);
        }
        self.generic = Some(mean.into());
        Ok(self)
    }

    /// Adds the same frame under another instruction.
    ///
    /// # Errors
    /// [`Error::Shape`] unless grid, layers and heads are the same.
    pub fn with_swapped(mut self, swapped: impl Into<Arc<Self>>) -> Result<Self> {
        let swapped = swapped.into();
        self.check_companion(&swapped, "under another instruction")?;
        self.swapped = Some(swapped);
        Ok(self)
    }

    fn check_companion(&self, other: &Self, what: &str) -> Result<()> {
        let shape = |maps: &Self| (maps.grid, maps.n_heads, maps.layers.clone());
        if shape(self) == shape(other) {
            return Ok(());
        }
        Err(Error::Shape(format!(
            "{} layers of {} heads on {} rows and {} columns {what}, {} of {} on {} and {} without",
            other.n_layers,
            other.n_heads,
            other.grid.rows,
            other.grid.cols,
            self.n_layers,
            self.n_heads,
            self.grid.rows,
            self.grid.cols,
        )))
    }

    /// Number of patches.
    pub fn n_patches(&self) -> usize {
        self.grid.len()
    }

    /// Map of one head, empty when there is no such head.
    pub fn head(&self, layer: usize, head: usize) -> &[f32] {
        if layer >= self.n_layers || head >= self.n_heads {
            return &[];
        }
        let p = self.grid.len();
        let start = (layer * self.n_heads + head) * p;
        self.data.get(start..start + p).unwrap_or_default()
    }

    /// Maps of all heads with their ids, layer by layer.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (HeadId, &[f32])> {
        let heads = self.n_heads.max(1);
        self.data
            .chunks_exact(self.grid.len().max(1))
            .enumerate()
            .map(move |(flat, map)| {
                (
                    HeadId {
                        layer: (flat / heads) as u16,
                        head: (flat % heads) as u16,
                    },
                    map,
                )
            })
    }

    /// The map of a head that a selection names.
    pub(crate) fn get(&self, id: HeadId) -> Result<&[f32]> {
        self.flat(id)?;
        Ok(self.head(id.layer.into(), id.head.into()))
    }

    /// Place of a head in `[layers · heads]`.
    pub(crate) fn flat(&self, id: HeadId) -> Result<usize> {
        let (layer, head) = (usize::from(id.layer), usize::from(id.head));
        if layer >= self.n_layers || head >= self.n_heads {
            return Err(Error::Option(format!(
                "head {head} of layer {layer} does not exist among {} layers of {} heads",
                self.n_layers, self.n_heads
            )));
        }
        Ok(layer * self.n_heads + head)
    }

    /// Which patches the selection's sink filter removes; `None` when it is off.
    pub(crate) fn filtered_patches(&self, selection: &HeadSelection) -> Result<Option<Vec<bool>>> {
        if !selection.sinks.apply {
            return Ok(None);
        }
        self.sink_patches(selection.sinks.rule).map(Some)
    }

    /// Which patches are sinks.
    pub(crate) fn sink_patches(&self, rule: SinkRule) -> Result<Vec<bool>> {
        self.sinks.as_ref().ok_or(Error::NoSinks)?.verdict(rule)
    }
}

/// Refuses more layers or heads than a [`HeadId`] can name.
pub(crate) fn check_heads(n_layers: usize, n_heads: usize) -> Result<()> {
    let most = usize::from(u16::MAX) + 1;
    if n_layers > most || n_heads > most {
        return Err(Error::Shape(format!(
            "{n_layers} layers of {n_heads} heads, at most {most} are possible"
        )));
    }
    Ok(())
}

/// Checks post-softmax attention `[lead.., P]`.
///
/// # Errors
/// [`Error::Shape`], [`Error::NonFinite`], [`Error::Negative`], [`Error::RowSum`], in this order over the whole tensor.
pub(crate) fn check_attention(data: &[f32], grid: Grid, lead: &[usize]) -> Result<()> {
    let rows = lead.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let len = rows.and_then(|rows| rows.checked_mul(grid.rows)?.checked_mul(grid.cols));
    if len != Some(data.len()) || data.is_empty() {
        return Err(Error::Shape(format!(
            "{} weights for {lead:?} maps of {} rows and {} columns",
            data.len(),
            grid.rows,
            grid.cols
        )));
    }
    check_rows(data, grid.len())
}

/// Checks that rows of `len` weights are finite, not negative and sum to at most one.
pub(crate) fn check_rows(data: &[f32], len: usize) -> Result<()> {
    // One pass proves the good case; the search for a culprit runs only when something is wrong. The bits of a weight
    // from 0 up stay below those of infinity: neither they nor they plus the distance to the sign bit have that bit.
    const TO_SIGN: u32 = (1 << 31) - f32::INFINITY.to_bits();
    let (mut any, mut over) = (0, None);
    for (row, weights) in data.chunks(len.max(1)).enumerate() {
        let bits = weights.iter().map(|v| v.to_bits());
        any = bits.fold(any, |any, bits| any | bits | bits.wrapping_add(TO_SIGN));
        let sum = sum(weights);
        if sum > MAX_ROW_SUM && over.is_none() {
            over = Some(Error::RowSum { row, sum });
        }
    }
    if any >> 31 != 0 {
        if let Some(index) = data.iter().position(|v| !v.is_finite()) {
            return Err(Error::NonFinite { index });
        }
        if let Some(index) = data.iter().position(|&v| v < 0.0) {
            return Err(Error::Negative { index });
        }
    }
    over.map_or(Ok(()), Err)
}

/// A weight as it is stored.
pub(crate) trait Weight: Copy + PartialOrd {
    /// No attention.
    const ZERO: Self;
    /// The same number for arithmetic.
    fn real(self) -> f64;
    /// The largest storable number that is not above `bound`: weights exceed the one exactly when they exceed the
    /// other.
    fn at_most(bound: f64) -> Self;
    /// One bit for every value above a threshold, lowest first.
    fn above(values: [Self; 8], threshold: Self) -> u8;
}

impl Weight for f64 {
    const ZERO: Self = 0.0;

    fn real(self) -> f64 {
        self
    }

    fn at_most(bound: f64) -> Self {
        bound
    }

    fn above(values: [Self; 8], threshold: Self) -> u8 {
        f64x8::from(values)
            .simd_gt(f64x8::splat(threshold))
            .to_bitmask() as u8
    }
}

impl Weight for f32 {
    const ZERO: Self = 0.0;

    fn real(self) -> f64 {
        f64::from(self)
    }

    fn at_most(bound: f64) -> Self {
        let nearest = bound as Self;
        if f64::from(nearest) > bound {
            nearest.next_down()
        } else {
            nearest
        }
    }

    fn above(values: [Self; 8], threshold: Self) -> u8 {
        f32x8::from(values)
            .simd_gt(f32x8::splat(threshold))
            .to_bitmask() as u8
    }
}

/// Sum in f64.
pub(crate) fn sum<T: Weight>(values: &[T]) -> f64 {
    reduce(values, 0.0, T::real, |sum, v| sum + v)
}

/// Largest value, 0 where none is above it.
pub(crate) fn largest<T: Weight>(values: &[T]) -> T {
    reduce(
        values,
        T::ZERO,
        |v| v,
        |max, v| if v > max { v } else { max },
    )
}

/// Sixteen running results, which are halved in the end: the compiler keeps several to a vector register, and none
/// waits for the last.
fn reduce<T: Copy, U: Copy>(
    values: &[T],
    start: U,
    read: impl Fn(T) -> U,
    merge: impl Fn(U, U) -> U,
) -> U {
    let mut lanes = [start; 16];
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = merge(*lane, read(v));
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane = merge(*lane, read(v));
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] = merge(lanes[i], lanes[i + half]);
        }
    }
    lanes[0]
}
