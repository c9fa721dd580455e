//! Which heads look in few places (one frame), and which do so in most frames.

use std::borrow::Borrow;

use crate::elbow::elbow;
use crate::entropy::EntropyMeasure;
use crate::maps::{check_heads, largest, sum};
use crate::selection::{
    BottomRow, Criterion, FrequencyTie, HeadSelection, SinkFilter, SumSource, Tie,
};
use crate::{Error, Grid, HeadId, HeadMaps, Rect, Result, head_merits, quantum};

/// One head in one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadScore {
    /// Which head.
    pub id: HeadId,
    /// Share of attention it gives to the view.
    pub sum: f64,
    /// The same in steps of 2⁻³⁰: what the elbow compares.
    pub sum_q: i64,
    /// Spatial entropy in nats; infinite when no place stands out.
    pub entropy: f64,
    /// Connected components above the floor.
    pub components: usize,
    /// Passes the elbow and lies in an eligible layer.
    pub kept: bool,
    /// Looks at the bottom row and is dropped for it.
    pub bottom: bool,
    /// What the criterion makes of it, larger is better; `None` where heads are chosen by entropy.
    pub merit: Option<f64>,
    /// Place by the criterion among the heads that pass every filter, from 0.
    pub rank: Option<usize>,
}

/// All heads of one frame, and those it votes for.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleScores {
    /// Layers of the capture.
    pub n_layers: usize,
    /// Heads per layer.
    pub n_heads: usize,
    /// Every head, layer by layer.
    pub heads: Vec<HeadScore>,
    /// Threshold on [`HeadScore::sum`]; 0 where none applies.
    pub tau: f64,
    /// The same in steps of 2⁻³⁰.
    pub tau_q: i64,
    /// Head at the elbow, where one was sought.
    pub elbow: Option<HeadId>,
    /// Heads this frame votes for, best first. May be fewer than asked for, or none.
    pub candidates: Vec<HeadId>,
}

impl SampleScores {
    /// Score of one head.
    pub fn head(&self, id: HeadId) -> Option<&HeadScore> {
        let head = usize::from(id.head);
        (head < self.n_heads)
            .then(|| self.heads.get(usize::from(id.layer) * self.n_heads + head))?
    }
}

/// Result of the vote over frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Selected {
    /// The chosen heads, most votes first.
    pub heads: Vec<HeadId>,
    /// Votes of every head, `[layers, heads]`.
    pub counts: Vec<u32>,
    /// Sum over frames of the place among the candidates, or the number of candidates where a head is not among
    /// them, `[layers, heads]`.
    pub rank_sums: Vec<u64>,
    /// Mean over frames of what the criterion makes of every head, a frame in which a filter drops it counting 0,
    /// `[layers, heads]`; `None` where heads are chosen by entropy.
    pub merits: Option<Vec<f64>>,
    /// Frames that could vote.
    pub n_samples: usize,
    /// Heads per layer.
    pub n_heads: usize,
}

impl Selected {
    /// Frames that voted for a head.
    pub fn votes(&self, id: HeadId) -> u32 {
        let head = usize::from(id.head);
        if head >= self.n_heads {
            return 0;
        }
        let flat = usize::from(id.layer) * self.n_heads + head;
        self.counts.get(flat).copied().unwrap_or(0)
    }

    /// Share of frames that voted for a head.
    pub fn frequency(&self, id: HeadId) -> f64 {
        if self.n_samples == 0 {
            0.0
        } else {
            f64::from(self.votes(id)) / self.n_samples as f64
        }
    }
}

/// What is expensive about one head of one frame. It depends on the entropy rule, the bottom-row rule and the sink
/// filter only, so that elbow, ties and votes can change without another look at the map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadMeasure {
    /// Share of attention it gives to the view, as criterion 1 reads it.
    pub sum: f64,
    /// The same in steps of 2⁻³⁰.
    pub sum_q: i64,
    /// Spatial entropy in nats; infinite when no place stands out.
    pub entropy: f64,
    /// Connected components above the floor.
    pub components: u32,
    /// Looks at the bottom row.
    pub bottom: bool,
}

/// Measures many maps of one grid under one selection without allocating for each.
pub struct Meter {
    grid: Grid,
    bottom_row: BottomRow,
    sinks: SinkFilter,
    /// Patches that the sink filter removes; empty where it is off or none are known yet.
    removed: Vec<bool>,
    /// The map without them.
    filtered: Vec<f32>,
    measure: EntropyMeasure,
}

impl Meter {
    /// A meter for maps of a grid. Where the selection filters sinks, [`Meter::filter`] says which they are.
    ///
    /// # Errors
    /// [`Error::Shape`] for a grid without patches, [`Error::Option`] for options out of range.
    pub fn new(grid: Grid, selection: &HeadSelection) -> Result<Self> {
        selection.validate()?;
        grid.check_len(grid.len())?;
        Ok(Self {
            grid,
            bottom_row: selection.bottom_row,
            sinks: selection.sinks,
            removed: Vec::new(),
            filtered: Vec::new(),
            measure: EntropyMeasure::new(grid, selection.entropy),
        })
    }

    /// Says which patches are sinks, for the maps to come. Without effect while the selection does not filter them.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is one entry per patch.
    pub fn filter(&mut self, sinks: &[bool]) -> Result<()> {
        self.grid.check_len(sinks.len())?;
        self.removed.clear();
        if self.sinks.apply {
            self.removed.extend_from_slice(sinks);
        }
        Ok(())
    }

    /// Measures one map `[P]` of weights that [`HeadMaps::new`] would accept.
    ///
    /// # Errors
    /// [`Error::Shape`] when the map does not fit the grid, [`Error::NoSinks`] when sinks are to be filtered and
    /// nobody said which they are.
    pub fn measure(&mut self, map: &[f32]) -> Result<HeadMeasure> {
        self.grid.check_len(map.len())?;
        if self.sinks.apply && self.removed.is_empty() {
            return Err(Error::NoSinks);
        }
        let raw_sum = sum(map);
        let (mut map, mut map_sum, mut scale) = (map, raw_sum, 1.0);
        if self.sinks.apply {
            self.filtered.clear();
            let kept = |(&weight, &sink)| if sink { 0.0 } else { weight };
            self.filtered
                .extend(map.iter().zip(&self.removed).map(kept));
            map = &self.filtered;
            map_sum = sum(map);
            if self.sinks.renormalise && map_sum > 0.0 {
                scale = raw_sum / map_sum;
            }
        }
        let spatial = self.measure.run(map, map_sum, scale);
        map_sum *= scale;
        let patches = map.len();
        let bottom_row = &map[patches - self.grid.cols..];
        let brightest_below = f64::from(largest(bottom_row)) * scale;
        let bottom = match self.bottom_row {
            BottomRow::Off => false,
            BottomRow::ComponentFull => spatial.bottom_row_full,
            BottomRow::Abs(threshold) => brightest_below > threshold,
            BottomRow::Share(share) => {
                map_sum > 0.0 && brightest_below > share / patches as f64 * map_sum
            }
        };
        let sum = match self.sinks.sum_source {
            SumSource::Raw => raw_sum,
            SumSource::Filtered => map_sum,
        };
        Ok(HeadMeasure {
            sum,
            sum_q: quantum::round(sum),
            entropy: spatial.entropy,
            components: spatial.components as u32,
            bottom,
        })
    }
}

/// Scores all heads of one frame: [`rank_heads`] of [`measure_heads`] and [`head_merits`]. `truth`, normalised to the
/// grid, is read only where heads are chosen by boxes.
///
/// # Errors
/// [`Error::Option`] for options out of range, [`Error::NoSinks`], [`Error::NoSwap`] and [`Error::NoBoxes`] when the
/// frame lacks what the selection needs, [`Error::Box`] when `truth` is not a box.
pub fn score_heads(
    maps: &HeadMaps,
    truth: Option<&Rect>,
    selection: &HeadSelection,
) -> Result<SampleScores> {
    let measures = measure_heads(maps, selection)?;
    let merits = head_merits(maps, truth, selection)?;
    rank_heads(
        &measures,
        merits.as_deref(),
        &maps.layers,
        maps.n_heads,
        selection,
    )
}

/// Measures all heads of one frame, layer by layer. Valid while entropy rule, bottom-row rule and sink filter stay
/// as they are.
///
/// # Errors
/// [`Error::Option`] for options out of range, [`Error::NoSinks`] when sinks are to be filtered and none are known.
pub fn measure_heads(maps: &HeadMaps, selection: &HeadSelection) -> Result<Vec<HeadMeasure>> {
    let mut meter = Meter::new(maps.grid, selection)?;
    if let Some(sinks) = maps.filtered_patches(selection)? {
        meter.filter(&sinks)?;
    }
    maps.iter().map(|(_, map)| meter.measure(map)).collect()
}

/// Applies elbow, filters and order to the measures of one frame, `[layers, heads]`; `layers` holds the number of
/// every layer in the model. Heads are ordered by `merits` where there are any, else by entropy.
///
/// # Errors
/// [`Error::Option`] for options out of range, [`Error::Shape`] when the measures do not fit the layers or the merits.
pub fn rank_heads(
    measures: &[HeadMeasure],
    merits: Option<&[f64]>,
    layers: &[u32],
    n_heads: usize,
    selection: &HeadSelection,
) -> Result<SampleScores> {
    selection.validate()?;
    if let Some(merits) = merits
        && merits.len() != measures.len()
    {
        return Err(Error::Shape(format!(
            "{} merits of {} heads",
            merits.len(),
            measures.len()
        )));
    }
    check_heads(layers.len(), n_heads)?;
    let sums_q: Vec<i64> = measures.iter().map(|head| head.sum_q).collect();
    let elbow = elbow(&sums_q, layers, n_heads, &selection.elbow)?;
    let numbers = |n: usize| (0..=u16::MAX).take(n);
    let ids = numbers(layers.len())
        .flat_map(|layer| numbers(n_heads).map(move |head| HeadId { layer, head }));
    let mut heads: Vec<HeadScore> = Vec::with_capacity(measures.len());
    heads.extend(measures.iter().zip(&elbow.keep).zip(ids).enumerate().map(
        |(flat, ((measure, &kept), id))| HeadScore {
            id,
            sum: measure.sum,
            sum_q: measure.sum_q,
            entropy: measure.entropy,
            components: measure.components as usize,
            kept,
            bottom: measure.bottom,
            merit: merits.map(|merits| merits[flat]),
            rank: None,
        },
    ));
    let entropy_cap = selection.entropy.max.map_or(i64::MAX, quantum::round);
    // What is sorted is the whole key, so that no comparison has to look a head up.
    let mut ranking: Vec<(i64, i64, usize)> = Vec::with_capacity(heads.len());
    for (flat, head) in heads.iter().enumerate() {
        let entropy = quantum::round(head.entropy);
        // Infinite entropy says that no place stands out, which matters only where focus is what is asked for.
        let focused = head.entropy.is_finite() && entropy <= entropy_cap
            || head.merit.is_some() && selection.entropy.max.is_none();
        if head.kept && !head.bottom && focused {
            let best_first = head.merit.map_or(entropy, |merit| -quantum::round(merit));
            let attention = if selection.tie == Tie::Sum {
                -head.sum_q
            } else {
                0
            };
            ranking.push((best_first, attention, flat));
        }
    }
    ranking.sort_unstable();
    for (rank, &(.., flat)) in ranking.iter().enumerate() {
        heads[flat].rank = Some(rank);
    }
    let candidates = ranking
        .iter()
        .take(selection.candidates)
        .map(|&(.., flat)| heads[flat].id)
        .collect();
    Ok(SampleScores {
        n_layers: layers.len(),
        n_heads,
        tau: quantum::real(elbow.tau_q),
        tau_q: elbow.tau_q,
        elbow: elbow.head.map(|flat| heads[flat].id),
        candidates,
        heads,
    })
}

/// Lets frames vote and keeps the heads with most votes, in that order. Where heads are not chosen by entropy,
/// those with votes are ordered by their mean merit instead: in a small model nearly every head is among the candidates of
/// nearly every frame, and counts would leave the choice to the order of heads.
///
/// # Errors
/// [`Error::Shape`] when frames differ in their heads, [`Error::NoHeads`] when no frame votes for any.
pub fn select_heads<S: Borrow<SampleScores>>(
    samples: &[S],
    selection: &HeadSelection,
) -> Result<Selected> {
    let samples: Vec<&SampleScores> = samples.iter().map(Borrow::borrow).collect();
    selection.validate()?;
    let (n_layers, n_heads) = samples.first().map_or((0, 0), |s| (s.n_layers, s.n_heads));
    if samples
        .iter()
        .any(|s| (s.n_layers, s.n_heads) != (n_layers, n_heads))
    {
        return Err(Error::Shape(
            "frames of models with different numbers of layers or heads".into(),
        ));
    }
    let absent = selection.candidates as u64;
    let mut counts = vec![0u32; n_layers * n_heads];
    let mut rank_sums = vec![samples.len() as u64 * absent; n_layers * n_heads];
    for sample in &samples {
        for (rank, id) in sample
            .candidates
            .iter()
            .take(selection.candidates)
            .enumerate()
        {
            let flat = usize::from(id.layer) * n_heads + usize::from(id.head);
            counts[flat] += 1;
            rank_sums[flat] -= absent - rank as u64;
        }
    }
    let mut voted: Vec<usize> = (0..counts.len()).filter(|&flat| counts[flat] > 0).collect();
    if voted.is_empty() {
        return Err(Error::NoHeads);
    }
    let merits = (selection.criterion != Criterion::Entropy).then(|| mean_merits(&samples));
    voted.sort_by_key(|&flat| {
        let merit = merits
            .as_ref()
            .map_or(0, |merits| -quantum::round(merits[flat]));
        let tie = if selection.freq_tie == FrequencyTie::RankSum {
            rank_sums[flat]
        } else {
            0
        };
        (merit, std::cmp::Reverse(counts[flat]), tie, flat)
    });
    let heads = voted
        .iter()
        .take(selection.k)
        .map(|&flat| HeadId {
            layer: (flat / n_heads) as u16,
            head: (flat % n_heads) as u16,
        })
        .collect();
    Ok(Selected {
        heads,
        counts,
        rank_sums,
        merits,
        n_samples: samples.len(),
        n_heads,
    })
}

/// Mean merit of every head over frames; a frame in which a filter drops the head counts 0.
fn mean_merits(samples: &[&SampleScores]) -> Vec<f64> {
    let mut mean = vec![0.0; samples.first().map_or(0, |s| s.heads.len())];
    for sample in samples {
        for (mean, head) in mean.iter_mut().zip(&sample.heads) {
            if head.rank.is_some() {
                *mean += head.merit.unwrap_or(0.0);
            }
        }
    }
    mean.iter_mut().for_each(|m| *m /= samples.len() as f64);
    mean
}

/// Sets sinks to 0; `renormalise` scales the rest so that the map keeps its sum, where anything is left.
pub(crate) fn remove_sinks(map: &mut [f64], sinks: &[bool], renormalise: bool, sum_before: f64) {
    for (a, &sink) in map.iter_mut().zip(sinks) {
        if sink {
            *a = 0.0;
        }
    }
    if renormalise {
        let left = sum(map);
        if left > 0.0 {
            let scale = sum_before / left;
            map.iter_mut().for_each(|a| *a *= scale);
        }
    }
}
