//! What one head selection gives on a whole dataset, and what a change of one threshold would do.
//!
//! What is expensive is kept, and a change recomputes only what it touches:
//!
//! | kept, in this order | until a change of |
//! |---|---|
//! | weights of every frame, in bounded memory ([`Form`]) | token, view, forward pass (a new analysis) |
//! | sums and entropies of every head of the tuning split | entropy rule, bottom-row rule, sink filter |
//! | merits (change under another instruction, agreement with boxes) | criterion |
//! | places and candidates of every frame | elbow, entropy cap, number of candidates, ties |
//! | smoothed maps of the heads in use | smoothing, sink filter, normalisation |
//!
//! Vote, masks, metrics and intervals are computed anew each time. Heads are chosen on the tuning split alone; what is
//! reported is the held-out split.

mod bootstrap;
mod field;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use bootstrap::{Interval, intervals};
pub use field::{Curve, CurvePoint, Field};
pub use store::Form;

use crate::aggregate::{HeadSmoother, heat_map};
use crate::selection::{Aggregate, Criterion, HeadSelection, SinkFilter, Smoothing};
use crate::{
    DatasetMetrics, Error, FrameMetrics, Gaze, HeadId, HeadMaps, HeadMeasure, HeatMap, Rect,
    Result, SampleScores, Selected, SwapMetrics, dataset_metrics, frame_metrics, head_merits,
    measure_heads, rank_heads, select_heads,
};
use store::Store;

/// Which half of a dataset a frame belongs to. All frames of an episode are in one half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Heads are chosen and thresholds are tuned on it: its numbers are no result.
    Tune,
    /// Only measured: what reports and figures show.
    HeldOut,
}

impl Split {
    /// The name shown to people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Tune => "Tuning split",
            Self::HeldOut => "Held out",
        }
    }
}

/// One frame of a dataset.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Attention of the query that the selection names, with its companions.
    pub maps: HeadMaps,
    /// Where it should look, normalised to the grid; `None` when nobody knows.
    pub truth: Option<Rect>,
    /// Which half it belongs to.
    pub split: Split,
    /// Episode it is from: the unit of the intervals.
    pub episode: usize,
}

/// How far an analysis has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Frames whose heads are measured.
    pub measured: usize,
    /// Frames of the tuning split.
    pub of: usize,
}

/// Who waits for an analysis. All of it may be called from any thread.
pub trait Watch: Sync {
    /// Whether to stop, because something newer is wanted. Looked at before every frame.
    fn is_cancelled(&self) -> bool {
        false
    }

    /// Heads of some more frames are measured.
    fn progress(&self, _progress: Progress) {}

    /// What the frames measured so far say, in ever longer distances. Not called where nothing has to be measured.
    fn partial(&self, _evaluation: Evaluation) {}
}

/// Nobody waits.
impl Watch for () {}

/// One frame under one selection.
#[derive(Clone, Debug)]
pub struct FrameOutcome {
    /// Its numbers, where it has a box. A frame without a mask is a miss.
    pub metrics: Option<FrameMetrics>,
    /// Heads it votes for; `None` in the held-out split, which does not vote, and where it cannot be scored.
    pub candidates: Option<usize>,
    /// Why it has no mask.
    pub failure: Option<Arc<Error>>,
}

/// Numbers of one split.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Means over its frames.
    #[serde(flatten)]
    pub metrics: DatasetMetrics,
    /// Episodes they are from.
    pub episodes: usize,
    /// 95 % intervals over episodes; `None` below two episodes.
    pub intervals: Option<Intervals>,
}

/// 95 % intervals of the means, see [`intervals`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Intervals {
    /// Of [`DatasetMetrics::mean_iou`].
    pub mean_iou: Interval,
    /// Of [`DatasetMetrics::box_recall`].
    pub box_recall: Interval,
    /// Of [`DatasetMetrics::pointing`].
    pub pointing: Interval,
    /// Of [`DatasetMetrics::pointing_slack`].
    pub pointing_slack: Interval,
    /// Of [`DatasetMetrics::mass_inside`].
    pub mass_inside: Interval,
    /// Of [`crate::SwapSummary::pointing`]; NaN where no frame was seen under another instruction.
    pub swapped_pointing: Interval,
    /// Of [`crate::SwapSummary::pointing_slack`].
    pub swapped_pointing_slack: Interval,
}

impl Summary {
    /// Means and intervals over frames given with their episode; `None` without a frame.
    pub fn of(frames: &[(usize, FrameMetrics)]) -> Option<Self> {
        let metrics: Vec<FrameMetrics> = frames.iter().map(|(_, metrics)| *metrics).collect();
        let share = |hit: bool| f64::from(u8::from(hit));
        let swapped = |m: &FrameMetrics, hit: fn(&SwapMetrics) -> bool| {
            m.swapped.as_ref().map_or(f64::NAN, |s| share(hit(s)))
        };
        let rows: Vec<(usize, [f64; 7])> = frames
            .iter()
            .map(|(episode, m)| {
                let values = [
                    m.mask_iou,
                    share(m.box_iou >= 0.5),
                    share(m.pointing),
                    share(m.pointing_slack),
                    m.mass_inside,
                    swapped(m, |s| s.pointing),
                    swapped(m, |s| s.pointing_slack),
                ];
                (*episode, values)
            })
            .collect();
        let mut episodes: Vec<usize> = frames.iter().map(|(episode, _)| *episode).collect();
        episodes.sort_unstable();
        episodes.dedup();
        (!frames.is_empty()).then(|| Self {
            metrics: dataset_metrics(&metrics),
            episodes: episodes.len(),
            intervals: intervals(&rows).map(
                |[
                    mean_iou,
                    box_recall,
                    pointing,
                    pointing_slack,
                    mass_inside,
                    swapped_pointing,
                    swapped_pointing_slack,
                ]| Intervals {
                    mean_iou,
                    box_recall,
                    pointing,
                    pointing_slack,
                    mass_inside,
                    swapped_pointing,
                    swapped_pointing_slack,
                },
            ),
        })
    }
}

/// What one head selection gives on a dataset.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The vote of the tuning split, or why it chose no head.
    pub selected: Result<Selected, Arc<Error>>,
    /// The frames in the order they were added; fewer than were added in a partial result.
    pub frames: Vec<FrameOutcome>,
    /// Numbers of the split on which heads are chosen and thresholds tuned; `None` without a frame that has a box.
    pub tune: Option<Summary>,
    /// Numbers of the other split.
    pub held_out: Option<Summary>,
    /// Median threshold τ of the frames that vote.
    pub tau: Option<f64>,
    /// What the vote was counted from; `None` where a frame could not be measured.
    pub votes: Option<Votes>,
    /// Whether more frames are still to be measured.
    pub is_partial: bool,
    /// How long it took.
    pub elapsed: Duration,
}

impl Evaluation {
    /// The chosen heads, best first; empty where none could be chosen.
    pub fn heads(&self) -> &[HeadId] {
        self.selected.as_ref().map_or(&[], |s| &s.heads)
    }

    /// Numbers of one split.
    pub fn summary(&self, split: Split) -> Option<&Summary> {
        match split {
            Split::Tune => self.tune.as_ref(),
            Split::HeldOut => self.held_out.as_ref(),
        }
    }

    /// How many frames vote for how many heads, ascending. Zeros and small numbers say that the elbow is fragile here.
    pub fn candidates(&self) -> BTreeMap<usize, usize> {
        let mut counts = BTreeMap::new();
        for candidates in self.frames.iter().filter_map(|f| f.candidates) {
            *counts.entry(candidates).or_default() += 1;
        }
        counts
    }
}

/// The measures of the frames that vote: enough to count again under another elbow, `k` or order, without a look at the
/// attention.
#[derive(Clone, Debug)]
pub struct Votes {
    selection: HeadSelection,
    layers: Arc<[u32]>,
    n_heads: usize,
    frames: Vec<Ballot>,
}

/// Measures of the heads of one frame, and their merits where heads are chosen by them.
type Ballot = (Arc<[HeadMeasure]>, Option<Arc<[f64]>>);

impl Votes {
    /// Frames that vote.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Heads of all frames that vote together: what [`Votes::select`] ranks.
    pub fn heads(&self) -> usize {
        self.frames.len() * self.layers.len() * self.n_heads
    }

    /// The vote under `selection`; `None` where heads must be measured anew for it.
    ///
    /// # Errors
    /// As [`select_heads`].
    pub fn select(&self, selection: &HeadSelection) -> Option<Result<Selected>> {
        let counted_only = self.selection.measures_like(selection)
            && self.selection.criterion == selection.criterion;
        counted_only.then(|| {
            let scores: Vec<SampleScores> = self
                .frames
                .iter()
                .map(|(measures, merits)| {
                    rank_heads(
                        measures,
                        merits.as_deref(),
                        &self.layers,
                        self.n_heads,
                        selection,
                    )
                })
                .collect::<Result<_>>()?;
            select_heads(&scores, selection)
        })
    }
}

/// Attention of one frame under one instruction; the weights are in the store.
struct Side {
    /// Everything but the weights.
    shell: HeadMaps,
    weights: usize,
}

struct Frame {
    main: Side,
    swapped: Option<Side>,
    truth: Option<Rect>,
    split: Split,
    episode: usize,
}

/// Frames of a dataset with what was computed about them. See the [module](self).
pub struct Analysis {
    store: Store,
    frames: Vec<Frame>,
    kept: Kept,
}

/// Results that later requests can build on.
#[derive(Clone, Default)]
struct Kept {
    /// What the cells were computed for.
    selection: HeadSelection,
    cells: Vec<Cell>,
}

/// The same of one frame.
#[derive(Clone, Default)]
struct Cell {
    measures: Option<Result<Arc<[HeadMeasure]>, Arc<Error>>>,
    merits: Option<Result<Arc<[f64]>, Arc<Error>>>,
    scores: Option<Result<Arc<SampleScores>, Arc<Error>>>,
    /// Of the frame, and of it under another instruction.
    maps: [Vec<(MapKey, Arc<[f64]>)>; 2],
}

/// A map of a frame before heads are added up.
#[derive(Clone, Copy, PartialEq)]
enum MapKey {
    Head(HeadId),
    /// Any aggregate that looks at all heads.
    Whole(Aggregate),
}

impl Kept {
    /// Forgets what does not hold under `selection`, and makes room for `frames` frames.
    fn prepare(&mut self, selection: &HeadSelection, frames: usize) {
        let before = std::mem::replace(&mut self.selection, selection.clone());
        let maps_of = |s: &HeadSelection| -> (SinkFilter, Smoothing, bool) {
            let normalise = matches!(s.aggregate, Aggregate::Selected { normalise: true });
            (s.sinks, s.smoothing, normalise)
        };
        let measures_hold = before.measures_like(selection);
        let merits_hold = before.criterion == selection.criterion;
        let scores_hold = before.scores_like(selection);
        let maps_hold = maps_of(&before) == maps_of(selection);
        for cell in &mut self.cells {
            if !measures_hold {
                cell.measures = None;
            }
            if !merits_hold {
                cell.merits = None;
            }
            if !scores_hold {
                cell.scores = None;
            }
            if !maps_hold {
                cell.maps = Default::default();
            }
        }
        self.cells.resize_with(frames, Cell::default);
    }

    /// Largest image-attention sum that was measured.
    fn largest_sum(&self) -> f64 {
        let measures = self.cells.iter().filter_map(|c| c.measures.as_ref());
        let sums = measures
            .flatten()
            .flat_map(|heads| heads.iter().map(|h| h.sum));
        sums.fold(0.0, f64::max)
    }
}

impl Analysis {
    /// Memory that weights take by default, in bytes.
    pub const DEFAULT_MEMORY: usize = 2 << 30;

    /// Frames measured before the first partial result.
    const FIRST_PARTIAL: usize = 64;

    /// An analysis without frames, which keeps up to `memory` bytes of weights in memory as f32, then as f16, and what
    /// does not fit in a temporary file.
    pub fn new(memory: usize) -> Self {
        Self {
            store: Store::new(memory),
            frames: Vec::new(),
            kept: Kept::default(),
        }
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there is no frame.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// In which form weights are kept.
    pub fn form(&self) -> Form {
        self.store.form()
    }

    /// Bytes of weights in memory.
    pub fn bytes(&self) -> usize {
        self.store.bytes()
    }

    /// Adds a frame. What is known about the others stays, unless memory became short and their weights were rounded.
    ///
    /// # Errors
    /// [`Error::Shape`] when it has other layers or heads than the first frame, [`Error::Box`] when its truth is not a
    /// box, [`Error::Io`] when it should go to disk and cannot.
    pub fn push(&mut self, sample: Sample) -> Result<()> {
        let Sample {
            maps,
            truth,
            split,
            episode,
        } = sample;
        truth.map(Rect::clipped).transpose()?;
        if let Some(first) = self.frames.first().map(|f| &f.main.shell)
            && (&first.layers, first.n_heads) != (&maps.layers, maps.n_heads)
        {
            return Err(Error::Shape(format!(
                "frame {} has {} layers of {} heads, the first one {} of {}",
                self.frames.len(),
                maps.n_layers,
                maps.n_heads,
                first.n_layers,
                first.n_heads
            )));
        }
        let swapped = maps.swapped.clone();
        let main = self.keep(maps)?;
        let swapped = swapped.map(|s| self.keep((*s).clone())).transpose()?;
        self.frames.push(Frame {
            main,
            swapped,
            truth,
            split,
            episode,
        });
        Ok(())
    }

    fn keep(&mut self, mut maps: HeadMaps) -> Result<Side> {
        let weights = std::mem::take(&mut maps.data);
        maps.swapped = None;
        let (weights, rounded) = self.store.push(weights)?;
        if rounded {
            self.kept = Kept::default();
        }
        Ok(Side {
            shell: maps,
            weights,
        })
    }

    /// Evaluates a selection on all frames. Later requests build on what this one computed, also when it was cancelled.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when `watch` says so, [`Error::Option`] for options out of range, [`Error::Io`] when weights
    /// cannot be read back. What is wrong with single frames is in the result.
    pub fn evaluate(&mut self, selection: &HeadSelection, watch: &dyn Watch) -> Result<Evaluation> {
        let Self {
            store,
            frames,
            kept,
        } = self;
        Work::new(store, frames, selection, watch).run(kept)
    }

    /// Evaluates another selection beside the one in use, which keeps its results.
    ///
    /// # Errors
    /// As [`Analysis::evaluate`].
    pub fn evaluate_beside(
        &self,
        selection: &HeadSelection,
        watch: &dyn Watch,
    ) -> Result<Evaluation> {
        Work::new(&self.store, &self.frames, selection, watch).run(&mut self.kept.clone())
    }

    /// How the mean IoU of the tuning split depends on one threshold, all others as in `selection`; `None` where the
    /// rules in use have no such threshold, or no frame has a box.
    ///
    /// # Errors
    /// As [`Analysis::evaluate`].
    pub fn sensitivity(
        &self,
        selection: &HeadSelection,
        field: Field,
        watch: &dyn Watch,
    ) -> Result<Option<Curve>> {
        if field.get(selection).is_none() {
            return Ok(None);
        }
        let run = |selection: &HeadSelection, kept: &mut Kept| {
            let quiet = Quiet(watch);
            let work = Work {
                only_tuning: true,
                ..Work::new(&self.store, &self.frames, selection, &quiet)
            };
            work.run(kept)
        };
        // Every value starts from what is known for the selection itself.
        let mut kept = self.kept.clone();
        run(selection, &mut kept)?;
        let mut points = Vec::new();
        for value in self.values(selection, field, kept.largest_sum()) {
            let Some(tried) = field.set(selection, value) else {
                continue;
            };
            let evaluation = run(&tried, &mut kept)?;
            points.extend(evaluation.tune.map(|summary| CurvePoint {
                value,
                mean_iou: summary.metrics.mean_iou,
                interval: summary.intervals.map(|i| i.mean_iou),
            }));
        }
        Ok((!points.is_empty()).then_some(Curve { field, points }))
    }

    /// The values of a threshold that a curve tries: 17 at equal distances, or every whole number there is.
    fn values(&self, selection: &HeadSelection, field: Field, largest_sum: f64) -> Vec<f64> {
        const POINTS: usize = 17;
        let patches = self.frames.first().map_or(1, |f| f.main.shell.grid.len());
        let range = field.range(selection, patches);
        let (low, high) = (*range.start(), *range.end());
        let high = match field {
            // Above the largest sum nothing passes.
            Field::Tau => largest_sum,
            Field::K | Field::Candidates => high.min(self.heads() as f64),
            _ => high,
        };
        let points = if field.is_whole() {
            POINTS.min((high - low) as usize + 1)
        } else {
            POINTS
        };
        let mut values: Vec<f64> = (0..points)
            .map(|i| low + (high - low) * i as f64 / (points - 1).max(1) as f64)
            .map(|v| if field.is_whole() { v.round() } else { v })
            .collect();
        values.dedup();
        values
    }

    /// Heads of every frame.
    fn heads(&self) -> usize {
        let shell = self.frames.first().map(|f| &f.main.shell);
        shell.map_or(0, |s| s.n_layers * s.n_heads)
    }
}

/// Passes on the wish to stop, and nothing else.
struct Quiet<'a>(&'a dyn Watch);

impl Watch for Quiet<'_> {
    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// One request.
struct Work<'a> {
    store: &'a Store,
    frames: &'a [Frame],
    selection: &'a HeadSelection,
    watch: &'a dyn Watch,
    /// Leave the held-out split out.
    only_tuning: bool,
    /// Maps kept per frame.
    most_maps: usize,
    began: Instant,
}

impl<'a> Work<'a> {
    fn new(
        store: &'a Store,
        frames: &'a [Frame],
        selection: &'a HeadSelection,
        watch: &'a dyn Watch,
    ) -> Self {
        // As many as fit into a quarter of the memory for weights, at least those in use.
        let one_each: usize = frames
            .iter()
            .map(|f| (1 + usize::from(f.swapped.is_some())) * f.main.shell.grid.len())
            .sum();
        let fitting = store.limit() / 4 / (one_each * size_of::<f64>()).max(1);
        Self {
            store,
            frames,
            selection,
            watch,
            only_tuning: false,
            most_maps: fitting.clamp(selection.k.min(64), 64),
            began: Instant::now(),
        }
    }

    fn run(&self, kept: &mut Kept) -> Result<Evaluation> {
        self.selection.validate()?;
        kept.prepare(self.selection, self.frames.len());
        let total = self.frames.len();
        let votes = |frames: &[Frame]| frames.iter().filter(|f| f.split == Split::Tune).count();
        let of = votes(self.frames);
        let mut done = 0;
        let mut batch = Analysis::FIRST_PARTIAL;
        while done < total {
            let end = (done + batch).min(total);
            if self.score(&mut kept.cells[done..end], &self.frames[done..end])? {
                let measured = votes(&self.frames[..end]);
                self.watch.progress(Progress { measured, of });
                if end < total && !self.only_tuning {
                    self.watch.partial(self.conclude(&mut kept.cells[..end])?);
                }
            }
            // Partial results cost time, too: with ever larger batches, at most as much again.
            batch = end;
            done = end;
        }
        self.conclude(&mut kept.cells)
    }

    fn go_on(&self) -> Result<()> {
        if self.watch.is_cancelled() {
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    /// Measures and ranks the heads of frames of the tuning split, where that is not known; returns whether anything had
    /// to be measured.
    fn score(&self, cells: &mut [Cell], frames: &[Frame]) -> Result<bool> {
        let needs_merits = self.selection.criterion != Criterion::Entropy;
        let measured = cells
            .par_iter_mut()
            .zip(frames)
            .filter(|(_, frame)| frame.split == Split::Tune)
            .map(|(cell, frame)| {
                let missing = cell.measures.is_none() || needs_merits && cell.merits.is_none();
                if missing {
                    self.go_on()?;
                    let mut maps = self.maps(&frame.main)?;
                    if cell.measures.is_none() {
                        let measures = measure_heads(&maps, self.selection);
                        cell.measures = Some(measures.map(Arc::from).map_err(Arc::new));
                    }
                    if needs_merits && cell.merits.is_none() {
                        if let (Criterion::InstructionChange, Some(side)) =
                            (self.selection.criterion, &frame.swapped)
                        {
                            maps.swapped = Some(Arc::new(self.maps(side)?));
                        }
                        let merits = head_merits(&maps, frame.truth.as_ref(), self.selection);
                        let merits = merits.map(|m| m.unwrap_or_default().into());
                        cell.merits = Some(merits.map_err(Arc::new));
                    }
                }
                if cell.scores.is_none() {
                    cell.scores = self.rank(cell, &frame.main.shell);
                }
                Ok(missing)
            })
            .collect::<Result<Vec<bool>>>()?;
        Ok(measured.contains(&true))
    }

    fn rank(&self, cell: &Cell, shell: &HeadMaps) -> Option<Result<Arc<SampleScores>, Arc<Error>>> {
        let measures = match cell.measures.as_ref()? {
            Ok(measures) => measures,
            Err(error) => return Some(Err(error.clone())),
        };
        let merits = match (self.selection.criterion, cell.merits.as_ref()) {
            (Criterion::Entropy, _) | (_, None) => None,
            (_, Some(Ok(merits))) => Some(&**merits),
            (_, Some(Err(error))) => return Some(Err(error.clone())),
        };
        let scores = rank_heads(
            measures,
            merits,
            &shell.layers,
            shell.n_heads,
            self.selection,
        );
        Some(scores.map(Arc::new).map_err(Arc::new))
    }

    fn maps(&self, side: &Side) -> Result<HeadMaps> {
        let mut maps = side.shell.clone();
        maps.data = self.store.read(side.weights)?;
        Ok(maps)
    }

    /// Vote, masks and numbers of the frames that have a cell.
    fn conclude(&self, cells: &mut [Cell]) -> Result<Evaluation> {
        let selected = self.vote(cells);
        let heads: &[HeadId] = selected.as_ref().map_or(&[], |s| &s.heads);
        let excuse = selected.as_ref().err();
        let frames = cells
            .par_iter_mut()
            .zip(self.frames)
            .map(|(cell, frame)| {
                self.go_on()?;
                let candidates = match &cell.scores {
                    Some(Ok(scores)) => Some(scores.candidates.len()),
                    _ => None,
                };
                let (metrics, failure) = match &frame.truth {
                    _ if self.only_tuning && frame.split == Split::HeldOut => (None, None),
                    None => (None, None),
                    Some(truth) => {
                        let (metrics, failure) = self.measure(cell, frame, heads, truth)?;
                        // No mask for want of heads, and no heads for this reason.
                        let failure = failure.map(|failure| match (&failure, excuse) {
                            (Error::NoHeads, Some(excuse)) => excuse.clone(),
                            _ => Arc::new(failure),
                        });
                        (Some(metrics), failure)
                    }
                };
                Ok(FrameOutcome {
                    metrics,
                    candidates,
                    failure,
                })
            })
            .collect::<Result<Vec<FrameOutcome>>>()?;
        let summary = |split| {
            let of_split = self
                .frames
                .iter()
                .zip(&frames)
                .filter(|(f, _)| f.split == split);
            let measured: Vec<(usize, FrameMetrics)> = of_split
                .filter_map(|(f, o)| Some((f.episode, o.metrics?)))
                .collect();
            Summary::of(&measured)
        };
        let mut taus: Vec<f64> = scores_of(cells).map(|s| s.tau).collect();
        taus.sort_unstable_by(f64::total_cmp);
        Ok(Evaluation {
            tune: summary(Split::Tune),
            held_out: summary(Split::HeldOut),
            tau: taus.get(taus.len() / 2).copied(),
            is_partial: frames.len() < self.frames.len(),
            votes: self.votes(cells),
            selected,
            frames,
            elapsed: self.began.elapsed(),
        })
    }

    /// The vote. A frame that lacks the box or the other instruction that the criterion asks for does not vote; when all
    /// do, that is the error. Any other reason why a frame cannot be scored is one for all.
    fn vote(&self, cells: &[Cell]) -> Result<Selected, Arc<Error>> {
        let errors = cells
            .iter()
            .filter_map(|c| c.scores.as_ref()?.as_ref().err());
        let (lacking, wrong): (Vec<_>, Vec<_>) = errors.partition(|e| lacks(e));
        if let Some(error) = wrong.first() {
            return Err((*error).clone());
        }
        let samples: Vec<&SampleScores> = scores_of(cells).collect();
        match (samples.is_empty(), lacking.first()) {
            (true, Some(error)) => Err((*error).clone()),
            _ => select_heads(&samples, self.selection).map_err(Arc::new),
        }
    }

    fn votes(&self, cells: &[Cell]) -> Option<Votes> {
        let shell = &self.frames.first()?.main.shell;
        let by_merit = self.selection.criterion != Criterion::Entropy;
        let mut frames = Vec::new();
        for cell in cells.iter().filter(|cell| cell.measures.is_some()) {
            let merits = match cell.merits.as_ref().filter(|_| by_merit) {
                None => None,
                Some(Ok(merits)) => Some(merits.clone()),
                Some(Err(error)) if lacks(error) => continue,
                Some(Err(_)) => return None,
            };
            frames.push((cell.measures.as_ref()?.as_ref().ok()?.clone(), merits));
        }
        Some(Votes {
            selection: self.selection.clone(),
            layers: shell.layers.clone(),
            n_heads: shell.n_heads,
            frames,
        })
    }

    /// Numbers of one frame, and why it has no mask. Without one it counts as a miss, for leaving it out would reward
    /// saying nothing; the map still has its peak and its mass where there is one.
    fn measure(
        &self,
        cell: &mut Cell,
        frame: &Frame,
        heads: &[HeadId],
        truth: &Rect,
    ) -> Result<(FrameMetrics, Option<Error>)> {
        let (main_maps, swapped_maps) = {
            let [main, swapped] = &mut cell.maps;
            (main, swapped)
        };
        let (gaze, failure) = self.gaze(main_maps, &frame.main, heads)?;
        let mut metrics = frame_metrics(&gaze, truth)?;
        if let Some(side) = &frame.swapped {
            let (swapped, _) = self.gaze(swapped_maps, side, heads)?;
            metrics.swapped = Some(SwapMetrics::new(&gaze, &swapped, truth)?);
        }
        Ok((metrics, failure))
    }

    fn gaze(
        &self,
        known: &mut Vec<(MapKey, Arc<[f64]>)>,
        side: &Side,
        heads: &[HeadId],
    ) -> Result<(Gaze, Option<Error>)> {
        let grid = side.shell.grid;
        let (map, failure) = match self.heat_map(known, side, heads) {
            Ok(map) => (map, None),
            Err(error @ (Error::Io { .. } | Error::Cancelled)) => return Err(error),
            Err(error) => (
                HeatMap {
                    grid,
                    values: vec![0.0; grid.len()],
                },
                Some(error),
            ),
        };
        let cut = Gaze::from_map_or_why(map, &self.selection.mask, self.selection.dilate)?;
        Ok((cut.0, failure.or(cut.1)))
    }

    /// The heat map of a frame, with the same sums in the same order as [`crate::heat_map`].
    fn heat_map(
        &self,
        known: &mut Vec<(MapKey, Arc<[f64]>)>,
        side: &Side,
        heads: &[HeadId],
    ) -> Result<HeatMap> {
        let one;
        let heads = match self.selection.aggregate {
            Aggregate::Selected { .. } => heads,
            Aggregate::Head(head) => {
                one = [head];
                &one
            }
            whole => {
                let values = remember(known, MapKey::Whole(whole), self.most_maps, || {
                    let map = heat_map(&self.maps(side)?, &[], self.selection)?;
                    Ok(map.values.into())
                })?;
                return Ok(HeatMap {
                    grid: side.shell.grid,
                    values: values.to_vec(),
                });
            }
        };
        if heads.is_empty() {
            return Err(Error::NoHeads);
        }
        let smoother = HeadSmoother::new(&side.shell, self.selection)?;
        let patches = side.shell.grid.len();
        let mut total = vec![0.0; patches];
        for &head in heads {
            let map = remember(known, MapKey::Head(head), self.most_maps, || {
                let flat = side.shell.flat(head)?;
                let mut weights = vec![0.0; patches];
                let range = flat * patches..(flat + 1) * patches;
                self.store.read_part(side.weights, range, &mut weights)?;
                Ok(smoother.apply(&weights).into())
            })?;
            total.iter_mut().zip(&*map).for_each(|(t, m)| *t += m);
        }
        Ok(HeatMap {
            grid: side.shell.grid,
            values: total,
        })
    }
}

/// Whether a frame only lacks what the criterion asks for, so that it does not vote.
fn lacks(error: &Error) -> bool {
    matches!(error, Error::NoBoxes | Error::NoSwap)
}

fn scores_of(cells: &[Cell]) -> impl Iterator<Item = &SampleScores> {
    cells
        .iter()
        .filter_map(|cell| Some(&**cell.scores.as_ref()?.as_ref().ok()?))
}

/// Takes a map from those that are known, or makes it and forgets the one that was used longest ago.
fn remember(
    known: &mut Vec<(MapKey, Arc<[f64]>)>,
    key: MapKey,
    most: usize,
    make: impl FnOnce() -> Result<Arc<[f64]>>,
) -> Result<Arc<[f64]>> {
    let map = match known.iter().position(|(k, _)| *k == key) {
        Some(at) => known.remove(at).1,
        None => make()?,
    };
    if known.len() >= most.max(1) {
        known.remove(0);
    }
    known.push((key, map.clone()));
    Ok(map)
}
