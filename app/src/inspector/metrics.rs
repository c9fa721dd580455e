//! Dataset-wide numbers for the newest selection, in the background.

use super::companions::{Companions, read};
use super::latest::Latest;
use super::look::swap_metrics;
use super::survey::{Split, Survey};
use super::truth::{Truth, TruthSource};
use crate::worker::{guard, spawn_worker};
use anyhow::Context as _;
use episode::boxes::BoxFile;
use grounding::{
    Aggregate, Budget, Criterion, DatasetMetrics, ElbowMode, FrameMetrics, Gaze, HeadId, HeadMaps,
    HeadSelection, HeatMap, Mask, MaskRule, Rect, SampleScores, Selected, dataset_metrics,
    frame_metrics, gaze, heat_map, score_heads, select_heads,
};
use parking_lot::Mutex;
use rayon::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Re-scoring the tuning split inside a frame of the window is allowed up to this.
const INLINE: Duration = Duration::from_millis(4);

/// Strips are left out when all of them together would take longer than this.
const SWEEP_BUDGET: Duration = Duration::from_secs(4);

/// Numbers are wanted for this selection.
#[derive(Clone)]
pub struct MetricsRequest {
    /// The captured sample.
    pub survey: Arc<Survey>,
    /// Every threshold.
    pub selection: HeadSelection,
    /// Name of the view whose patches are looked at.
    pub view: String,
    /// Detector boxes of the dataset.
    pub boxes: Option<Arc<BoxFile>>,
}

impl MetricsRequest {
    /// Whether maps and truths of the frames are the same for both.
    fn reads_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.survey, &other.survey)
            && self.selection.reads_like(&other.selection)
            && self.view == other.view
            && match (&self.boxes, &other.boxes) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (a, b) => a.is_none() && b.is_none(),
            }
    }
}

impl PartialEq for MetricsRequest {
    fn eq(&self, other: &Self) -> bool {
        self.reads_like(other) && self.selection == other.selection
    }
}

/// Maps and reference boxes of all frames of a survey, for one query and one view.
struct Prepared {
    /// One entry per frame: its maps, or why it has none.
    maps: Vec<Result<HeadMaps, Arc<str>>>,
    /// One entry per frame: the reference box on the grid.
    truth: Vec<Option<(Rect, TruthSource)>>,
}

impl Prepared {
    fn new(request: &MetricsRequest) -> Self {
        let one = |frame: &super::SurveyFrame| {
            let capture = &frame.capture;
            let Some(view) = capture.views.iter().position(|v| v.name == request.view) else {
                let reason: Arc<str> =
                    format!("the model does not look through `{}`", request.view).into();
                return (Err(reason), None);
            };
            let companions = Companions {
                swapped: frame.swapped.clone(),
                generic: frame.generic.clone(),
            };
            let maps = if request.selection.forward == request.survey.passes.forward {
                read(capture, &companions, &request.selection, view)
            } else {
                Err(grounding::Error::Recorded)
            };
            let maps = maps.map_err(|e| Arc::from(e.to_string()));
            let truth = Truth {
                target: frame.exact.get(view).copied().flatten(),
                detections: Truth::detections(
                    request.boxes.as_deref(),
                    frame.episode,
                    frame.step,
                    &request.view,
                    Some((capture, view)),
                ),
                goal: None,
            };
            let grid = capture.view_grid(view).ok();
            let truth = truth
                .reference()
                .zip(grid)
                .map(|((rect, source), grid)| (grid.grid_from_image(rect), source));
            (maps, truth)
        };
        let (maps, truth) = request.survey.frames.par_iter().map(one).unzip();
        Self { maps, truth }
    }
}

/// One frame of a report.
#[derive(Clone, Debug)]
pub struct FrameReport {
    /// Episode index.
    pub episode: usize,
    /// Step within the episode.
    pub step: usize,
    /// Which half it belongs to.
    pub split: Split,
    /// Its numbers, where it has a reference box and the query token. Without a mask it is a miss.
    pub metrics: Option<FrameMetrics>,
    /// What the numbers are measured against.
    pub source: Option<TruthSource>,
    /// Why there is no mask.
    pub failure: Option<Arc<str>>,
}

/// A threshold whose effect is shown as a strip under its slider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SweepField {
    /// A fixed threshold on the image-attention sum.
    Tau,
    /// Number of selected heads.
    K,
    /// Standard deviation of the smoothing, in patches.
    Sigma,
    /// Share of patches in the mask.
    Area,
}

impl SweepField {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tau, Self::K, Self::Sigma, Self::Area];

    /// The selection with this field set; none where the rules in use have no such field.
    fn set(self, selection: &HeadSelection, value: f64) -> Option<HeadSelection> {
        let mut changed = selection.clone();
        match self {
            Self::Tau => changed.elbow.mode = ElbowMode::Manual(value),
            Self::K => changed.k = value as usize,
            Self::Sigma => changed.smoothing.sigma = value,
            Self::Area => match &mut changed.mask {
                MaskRule::TopN(budget)
                | MaskRule::RegionBudget(budget)
                | MaskRule::TwoRegionsBudget { budget, .. } => *budget = Budget::Share(value),
                MaskRule::Mean
                | MaskRule::KeepMass(_)
                | MaskRule::RegionComponent { .. }
                | MaskRule::TwoRegions { .. } => return None,
            },
        }
        let heads_matter = matches!(changed.aggregate, Aggregate::Selected { .. });
        (heads_matter || matches!(self, Self::Area)).then_some(changed)
    }

    /// The values tried.
    fn values(self, scores: &[SampleScores]) -> Vec<f64> {
        let spaced = |low: f64, high: f64, n: usize| {
            (0..n)
                .map(|i| low + (high - low) * i as f64 / (n - 1) as f64)
                .collect::<Vec<f64>>()
        };
        match self {
            Self::Tau => {
                let sums = || scores.iter().flat_map(|s| s.heads.iter().map(|h| h.sum));
                let high = sums().fold(0.0, f64::max);
                if high > 0.0 {
                    spaced(0.0, high, 25)
                } else {
                    Vec::new()
                }
            }
            Self::K => {
                let heads = scores.iter().map(|s| s.heads.len()).min().unwrap_or(0);
                (1..=heads.min(16)).map(|k| k as f64).collect()
            }
            Self::Sigma => spaced(0.0, 3.0, 13),
            Self::Area => spaced(0.02, 0.5, 25),
        }
    }
}

/// A metric against the value of one threshold, everything else as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// The threshold.
    pub field: SweepField,
    /// Value and mean IoU of mask and reference box on the tuning split.
    pub points: Vec<[f64; 2]>,
}

/// Dataset-wide numbers of one selection.
pub struct Report {
    /// What was measured.
    pub request: MetricsRequest,
    /// The vote over the tuning split, or why it chose no head.
    pub selected: Result<Selected, Arc<str>>,
    /// Fewest and most heads that a frame of the tuning split voted for.
    pub candidates: Option<(usize, usize)>,
    /// All frames.
    pub frames: Vec<FrameReport>,
    /// Numbers of the half on which heads are chosen and thresholds tuned; none without a reference box.
    pub tune: Option<DatasetMetrics>,
    /// Numbers of the other half.
    pub held_out: Option<DatasetMetrics>,
    /// What the numbers are measured against; none without a reference box.
    pub source: Option<TruthSource>,
    /// Median threshold τ of the frames of the tuning split.
    pub tau: Option<f64>,
    /// Strips; empty until they are computed, and when they would take too long.
    pub sweeps: Vec<Sweep>,
    /// How long the numbers took, strips not counted.
    pub elapsed: Duration,
    prepared: Arc<Prepared>,
    scores: Arc<Scores>,
    scoring: Duration,
}

/// The tuning split, scored for one selection.
struct Scores {
    frames: Vec<SampleScores>,
    /// Why frames could not be scored: the first reason.
    error: Option<Arc<str>>,
}

impl Scores {
    /// The vote; frames that cannot be scored are not passed over in silence.
    fn select(&self, selection: &HeadSelection) -> Result<Selected, Arc<str>> {
        match &self.error {
            Some(error) => Err(error.clone()),
            None => select_heads(&self.frames, selection).map_err(|e| Arc::from(e.to_string())),
        }
    }

    /// The chosen heads, best first; empty where none can be chosen.
    fn heads(&self, selection: &HeadSelection) -> Vec<HeadId> {
        self.select(selection).map(|s| s.heads).unwrap_or_default()
    }
}

impl Report {
    /// Measures a selection on the calling thread, without strips. Looks at `cancel` before every frame.
    ///
    /// # Errors
    /// When it was cancelled.
    pub fn measure(request: &MetricsRequest, cancel: &AtomicBool) -> anyhow::Result<Self> {
        evaluate(request.clone(), None, &|| cancel.load(Ordering::Relaxed)).context("cancelled")
    }

    /// The heads that the tuning split chooses under `selection`: at once when that is a matter of counting votes or the
    /// split is quickly scored, else those of this report, until its successor is there.
    pub fn heads_for(&self, selection: &HeadSelection) -> Vec<HeadId> {
        let own = || {
            self.selected
                .as_ref()
                .map(|s| s.heads.clone())
                .unwrap_or_default()
        };
        let asked = &self.request.selection;
        if *selection == *asked || !selection.reads_like(asked) {
            return own();
        }
        if selection.scores_like(asked) {
            return self.scores.heads(selection);
        }
        if self.scoring > INLINE {
            return own();
        }
        score_tuning_split(&self.request.survey, &self.prepared, selection, &|| false)
            .heads(selection)
    }

    /// Frames of the tuning split that could vote.
    pub fn tuning_frames(&self) -> usize {
        self.scores.frames.len()
    }

    /// The strip of one threshold.
    pub fn sweep(&self, field: SweepField) -> Option<&Sweep> {
        self.sweeps.iter().find(|s| s.field == field)
    }

    /// Frames as `(episode, step)`, those whose mask and reference box agree least first.
    pub fn by_disagreement(&self) -> Vec<(usize, usize)> {
        let mut frames: Vec<(&FrameReport, f64)> = self
            .frames
            .iter()
            .filter_map(|f| Some((f, f.metrics.as_ref()?.mask_iou)))
            .collect();
        // A frame that not even points into the box comes before one of equal IoU that does.
        frames.sort_by(|(a, x), (b, y)| {
            let hit = |f: &FrameReport| f.metrics.is_some_and(|m| m.pointing);
            x.total_cmp(y)
                .then(hit(a).cmp(&hit(b)))
                .then((a.episode, a.step).cmp(&(b.episode, b.step)))
        });
        frames
            .into_iter()
            .map(|(f, _)| (f.episode, f.step))
            .collect()
    }

    /// The report on one frame of the survey.
    pub fn frame(&self, episode: usize, step: usize) -> Option<&FrameReport> {
        self.frames
            .iter()
            .find(|f| (f.episode, f.step) == (episode, step))
    }
}

/// Scores of the tuning split; frames without maps are left out. Incomplete when interrupted.
fn score_tuning_split(
    survey: &Survey,
    prepared: &Prepared,
    selection: &HeadSelection,
    interrupted: &(impl Fn() -> bool + Sync),
) -> Scores {
    let tuning = || {
        let frames = survey
            .frames
            .iter()
            .zip(&prepared.maps)
            .zip(&prepared.truth);
        frames
            .filter(|((frame, _), _)| frame.split == Split::Tune)
            .map(|((_, maps), truth)| (maps, truth.as_ref().map(|(rect, _)| rect)))
    };
    let mut frames: Vec<(&HeadMaps, Option<&Rect>)> = tuning()
        .filter_map(|(maps, truth)| Some((maps.as_ref().ok()?, truth)))
        .collect();
    // Frames without a box do not vote, unless there is none with one: that is to be said.
    if matches!(selection.criterion, Criterion::Boxes(_)) && frames.iter().any(|f| f.1.is_some()) {
        frames.retain(|(_, truth)| truth.is_some());
    }
    let scored: Vec<grounding::Result<SampleScores>> = frames
        .par_iter()
        .filter(|_| !interrupted())
        .map(|(maps, truth)| score_heads(maps, *truth, selection))
        .collect();
    let error = scored.iter().find_map(|s| s.as_ref().err());
    // Where no frame has maps the first says why.
    let unread = || tuning().find_map(|(maps, _)| maps.as_ref().err().cloned());
    Scores {
        error: match error {
            Some(error) => Some(error.to_string().into()),
            None if frames.is_empty() => unread(),
            None => None,
        },
        frames: scored.into_iter().flatten().collect(),
    }
}

/// What became of a request.
pub struct MetricsReply {
    /// What was asked.
    pub request: MetricsRequest,
    /// The numbers, or why there are none.
    pub result: anyhow::Result<Arc<Report>>,
}

/// The worker thread ("metrics").
pub struct Metrics {
    shared: Arc<Shared>,
    last: Option<MetricsRequest>,
    /// What was asked and cannot be answered.
    failed: Option<MetricsRequest>,
}

struct Shared {
    inbox: Latest<MetricsRequest>,
    /// Nobody wants what is being worked on.
    abandoned: AtomicBool,
    outbox: Mutex<Option<MetricsReply>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Metrics {
    /// Starts the thread. `wake` is called whenever a report is ready.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            inbox: Latest::default(),
            abandoned: AtomicBool::new(false),
            outbox: Mutex::default(),
            wake: Box::new(wake),
        });
        let body = {
            let shared = shared.clone();
            move || shared.run()
        };
        spawn_worker("metrics", body, |error| {
            tracing::error!("the numbers ended: {error:#}");
        })?;
        Ok(Self {
            shared,
            last: None,
            failed: None,
        })
    }

    /// Asks for numbers. Newest wins: work on an older wish stops at the next frame.
    pub fn request(&mut self, request: MetricsRequest) {
        if self.last.as_ref() != Some(&request) {
            self.last = Some(request.clone());
            self.shared.inbox.put(request);
        }
    }

    /// Whether the newest wish is not yet answered, strips not counted.
    pub fn is_behind(&self, report: Option<&Report>) -> bool {
        self.last
            .as_ref()
            .filter(|last| self.failed.as_ref() != Some(*last))
            .is_some_and(|last| report.is_none_or(|r| r.request != *last))
    }

    /// Whether numbers or strips are still to come.
    pub fn is_busy(&self) -> bool {
        !self.shared.inbox.is_idle() || self.shared.outbox.lock().is_some()
    }

    /// Forgets what was asked.
    pub fn clear(&mut self) {
        self.last = None;
        self.failed = None;
        self.shared.inbox.take();
        self.shared.abandoned.store(true, Ordering::Relaxed);
        self.shared.outbox.lock().take();
    }

    /// Takes the newest reply.
    pub fn take(&mut self) -> Option<MetricsReply> {
        let reply = self.shared.outbox.lock().take()?;
        if reply.result.is_err() {
            self.failed = Some(reply.request.clone());
        }
        Some(reply)
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.shared.inbox.close();
    }
}

impl Shared {
    fn run(&self) {
        let mut before: Option<Arc<Report>> = None;
        while let Some(request) = self.inbox.wait() {
            self.abandoned.store(false, Ordering::Relaxed);
            let interrupted = || self.inbox.interrupts() || self.abandoned.load(Ordering::Relaxed);
            let report = guard(|| Ok(evaluate(request.clone(), before.as_deref(), &interrupted)));
            let report = match report {
                Ok(None) => continue,
                Ok(Some(report)) => Arc::new(report),
                Err(error) => {
                    self.deliver(request, Err(error));
                    continue;
                }
            };
            self.deliver(request.clone(), Ok(report.clone()));
            before = Some(report.clone());
            match guard(|| Ok(with_sweeps(&report, &interrupted))) {
                Ok(None) => {}
                Ok(Some(report)) => {
                    let report = Arc::new(report);
                    self.deliver(request, Ok(report.clone()));
                    before = Some(report);
                }
                Err(error) => self.deliver(request, Err(error)),
            }
        }
    }

    fn deliver(&self, request: MetricsRequest, result: anyhow::Result<Arc<Report>>) {
        *self.outbox.lock() = Some(MetricsReply { request, result });
        (self.wake)();
    }
}

/// Numbers of one selection; none when interrupted.
fn evaluate(
    request: MetricsRequest,
    before: Option<&Report>,
    interrupted: &(impl Fn() -> bool + Sync),
) -> Option<Report> {
    let began = Instant::now();
    let before = before.filter(|b| b.request.reads_like(&request));
    let prepared = before.map_or_else(|| Arc::new(Prepared::new(&request)), |b| b.prepared.clone());
    let scored = Instant::now();
    let (scores, scoring) =
        match before.filter(|b| b.request.selection.scores_like(&request.selection)) {
            Some(b) => (b.scores.clone(), b.scoring),
            None => {
                let scores =
                    score_tuning_split(&request.survey, &prepared, &request.selection, interrupted);
                (Arc::new(scores), scored.elapsed())
            }
        };
    if interrupted() {
        return None;
    }
    let selected = scores.select(&request.selection);
    let heads = selected
        .as_ref()
        .map(|s: &Selected| s.heads.clone())
        .unwrap_or_default();
    let mut frames = measure(
        &request.survey,
        &prepared,
        &request.selection,
        &heads,
        None,
        interrupted,
    )?;
    if let Some(error) = &scores.error {
        // No mask for want of heads, and no heads for this reason.
        let failures = frames.iter_mut().filter_map(|f| f.failure.as_mut());
        failures.for_each(|failure| *failure = error.clone());
    }
    let mut taus: Vec<f64> = scores.frames.iter().map(|s| s.tau).collect();
    taus.sort_unstable_by(f64::total_cmp);
    let votes = || scores.frames.iter().map(|s| s.candidates.len());
    // Sweeps that do not depend on what changed stay; the others are computed again.
    let sweeps = before.map_or_else(Vec::new, |b| {
        let same = |s: &&Sweep| {
            s.field.set(&b.request.selection, 0.5) == s.field.set(&request.selection, 0.5)
        };
        b.sweeps.iter().filter(same).cloned().collect()
    });
    Some(Report {
        selected,
        candidates: votes().min().zip(votes().max()),
        tune: split_metrics(&frames, Split::Tune),
        held_out: split_metrics(&frames, Split::HeldOut),
        source: frames.iter().find_map(|f| f.source),
        tau: taus.get(taus.len() / 2).copied(),
        sweeps,
        frames,
        elapsed: began.elapsed(),
        prepared,
        scores,
        scoring,
        request,
    })
}

/// Masks and numbers of the frames of one split, or of all; none when interrupted.
fn measure(
    survey: &Survey,
    prepared: &Prepared,
    selection: &HeadSelection,
    heads: &[HeadId],
    split: Option<Split>,
    interrupted: &(impl Fn() -> bool + Sync),
) -> Option<Vec<FrameReport>> {
    let frames = survey
        .frames
        .par_iter()
        .zip(&prepared.maps)
        .zip(&prepared.truth);
    frames
        .filter(|((frame, _), _)| split.is_none_or(|s| s == frame.split))
        .map(|((frame, maps), truth)| {
            if interrupted() {
                return None;
            }
            let (gaze, failure) = match maps {
                Ok(maps) => match gaze(maps, heads, selection) {
                    Ok(gaze) => (Some(gaze), None),
                    Err(error) => (
                        Some(without_mask(maps, heads, selection)),
                        Some(error.to_string().into()),
                    ),
                },
                Err(reason) => (None, Some(reason.clone())),
            };
            Some(FrameReport {
                episode: frame.episode,
                step: frame.step,
                split: frame.split,
                metrics: gaze.zip(truth.as_ref()).and_then(|(gaze, (rect, _))| {
                    let metrics = frame_metrics(&gaze, rect).ok()?;
                    let maps = maps.as_ref().ok()?;
                    Some(FrameMetrics {
                        swapped: swap_metrics(maps, heads, selection, &gaze, rect),
                        ..metrics
                    })
                }),
                source: truth.map(|(_, source)| source),
                failure,
            })
        })
        .collect()
}

/// Means over one half; none without a frame that has a reference box.
fn split_metrics(frames: &[FrameReport], split: Split) -> Option<DatasetMetrics> {
    let measured: Vec<FrameMetrics> = frames
        .iter()
        .filter(|f| f.split == split)
        .filter_map(|f| f.metrics)
        .collect();
    (!measured.is_empty()).then(|| dataset_metrics(&measured))
}

/// What a frame counts for when no mask can be cut: a miss, for leaving it out would reward saying nothing. The heat map
/// still has its peak and its mass where there is one.
fn without_mask(maps: &HeadMaps, heads: &[HeadId], selection: &HeadSelection) -> Gaze {
    let map = heat_map(maps, heads, selection).unwrap_or_else(|_| HeatMap {
        grid: maps.grid,
        values: vec![0.0; maps.grid.len()],
    });
    let peak = map.quantised().ok().and_then(|q| q.peak());
    Gaze {
        mask: Mask::empty(maps.grid),
        second: None,
        rect: None,
        peak,
        map,
    }
}

/// The report with all strips; none when interrupted, when nothing is missing, or when it would take too long.
fn with_sweeps(report: &Report, interrupted: &(impl Fn() -> bool + Sync)) -> Option<Report> {
    report.tune.as_ref()?;
    let selection = &report.request.selection;
    let missing: Vec<(SweepField, Vec<f64>)> = SweepField::ALL
        .into_iter()
        .filter(|field| report.sweep(*field).is_none() && field.set(selection, 0.5).is_some())
        .map(|field| (field, field.values(&report.scores.frames)))
        .collect();
    let evaluations: usize = missing.iter().map(|(_, values)| values.len()).sum();
    if evaluations == 0 || (report.elapsed + report.scoring) * evaluations as u32 > SWEEP_BUDGET {
        return None;
    }
    let survey = &report.request.survey;
    let mut sweeps = report.sweeps.clone();
    for (field, values) in missing {
        let mut points = Vec::with_capacity(values.len());
        for value in values {
            if interrupted() {
                return None;
            }
            let Some(tried) = field.set(selection, value) else {
                continue;
            };
            let rescored;
            let scores = if tried.scores_like(selection) {
                &*report.scores
            } else {
                rescored = score_tuning_split(survey, &report.prepared, &tried, interrupted);
                &rescored
            };
            let heads = scores.heads(&tried);
            let frames = measure(
                survey,
                &report.prepared,
                &tried,
                &heads,
                Some(Split::Tune),
                interrupted,
            )?;
            points.extend(
                split_metrics(&frames, Split::Tune).map(|metrics| [value, metrics.mean_iou]),
            );
        }
        sweeps.push(Sweep { field, points });
    }
    Some(Report {
        sweeps,
        ..report.shallow_clone()
    })
}

impl Report {
    fn shallow_clone(&self) -> Self {
        Self {
            request: self.request.clone(),
            selected: self.selected.clone(),
            candidates: self.candidates,
            frames: self.frames.clone(),
            tune: self.tune,
            held_out: self.held_out,
            source: self.source,
            tau: self.tau,
            sweeps: Vec::new(),
            elapsed: self.elapsed,
            prepared: self.prepared.clone(),
            scores: self.scores.clone(),
            scoring: self.scoring,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Prompt;
    use super::super::fake::{GRID, fake_capture, fake_capture_under, peak};
    use super::super::survey::SurveyFrame;
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn survey(n: usize) -> Arc<Survey> {
        let frames = (0..n)
            .map(|i| SurveyFrame {
                episode: i,
                step: 3,
                split: if i % 2 == 0 {
                    Split::Tune
                } else {
                    Split::HeldOut
                },
                capture: Arc::new(fake_capture(i, 3)),
                swapped: Some(Arc::new(fake_capture_under(i, 3, Prompt::Swapped))),
                generic: Some(Arc::new(fake_capture_under(i, 3, Prompt::Generic))),
                exact: vec![Some(GRID.patch_rect(peak(i, 3)))],
            })
            .collect();
        Arc::new(Survey {
            planned: n,
            passes: Default::default(),
            frames,
        })
    }

    fn request(n: usize) -> MetricsRequest {
        let selection = HeadSelection {
            k: 2,
            freq_tie: grounding::FrequencyTie::RankSum,
            mask: MaskRule::RegionBudget(Budget::Patches(1)),
            ..HeadSelection::default()
        };
        MetricsRequest {
            survey: survey(n),
            selection,
            view: "static".into(),
            boxes: None,
        }
    }

    #[test]
    fn heads_are_chosen_on_one_half_and_both_are_measured() {
        let report = evaluate(request(16), None, &|| false).unwrap();
        let heads = &report.selected.as_ref().unwrap().heads;
        assert_eq!(
            *heads,
            vec![HeadId { layer: 3, head: 1 }, HeadId { layer: 4, head: 1 }]
        );
        assert_eq!(report.selected.as_ref().unwrap().n_samples, 8);
        let (tune, held_out) = (
            report.tune.as_ref().unwrap(),
            report.held_out.as_ref().unwrap(),
        );
        assert_eq!((tune.frames, held_out.frames), (8, 8));
        // The mask is the one patch that the truth is, up to the single precision of a box's corners.
        assert!(
            (tune.mean_iou - 1.0).abs() < 1e-6 && held_out.pointing == 1.0,
            "{:?}",
            report.frames
        );
        assert_eq!(report.source, Some(TruthSource::Exact));
    }

    #[test]
    fn every_hit_has_one_under_another_instruction_beside_it() {
        let report = evaluate(request(16), None, &|| false).unwrap();
        let tune = report.tune.unwrap();
        let swapped = tune.swapped.unwrap();
        assert_eq!(
            (tune.pointing, swapped.pointing, swapped.frames),
            (1.0, 0.0, 8)
        );
        assert_eq!(swapped.mask_overlap, 0.0);
    }

    #[test]
    fn heads_can_be_chosen_by_language_and_by_boxes() {
        let good = [HeadId { layer: 3, head: 1 }, HeadId { layer: 4, head: 1 }];
        for criterion in [
            Criterion::InstructionChange,
            Criterion::Boxes(grounding::BoxScore::Iou),
        ] {
            let mut request = request(16);
            request.selection.criterion = criterion;
            request.selection.elbow.mode = ElbowMode::None;
            let report = evaluate(request.clone(), None, &|| false).unwrap();
            assert_eq!(report.selected.as_ref().unwrap().heads, good, "{criterion}");
            // Without what the criterion works on it says so.
            let mut survey = (*request.survey).clone();
            for frame in &mut survey.frames {
                frame.swapped = None;
                frame.exact = vec![None];
            }
            request.survey = Arc::new(survey);
            let report = evaluate(request, None, &|| false).unwrap();
            let why = report.selected.unwrap_err();
            assert!(why.contains("choose heads by entropy"), "{why}");
        }
    }

    #[test]
    fn captures_of_another_forward_pass_are_not_passed_off() {
        let mut request = request(8);
        request.selection.forward = grounding::Forward::TowardInstruction(2.0);
        let report = evaluate(request, None, &|| false).unwrap();
        let why = report.selected.unwrap_err();
        assert!(why.contains("recorded forward pass"), "{why}");
    }

    #[test]
    fn frames_without_a_mask_count_as_misses() {
        let mut request = request(8);
        request.selection.elbow.mode = ElbowMode::Manual(5.0);
        let report = evaluate(request, None, &|| false).unwrap();
        assert!(report.selected.is_err());
        assert_eq!(report.tune.unwrap().mean_iou, 0.0);
        assert!(report.frames.iter().all(|f| f.failure.is_some()));
    }

    #[test]
    fn frames_that_cannot_be_scored_say_why() {
        let mut request = request(8);
        // The captures were recorded without sinks.
        request.selection.sinks.apply = true;
        let report = evaluate(request, None, &|| false).unwrap();
        let why = report.selected.as_ref().unwrap_err();
        assert!(why.contains("sink"), "{why}");
        assert!(
            report
                .frames
                .iter()
                .all(|f| f.failure.as_ref() == Some(why))
        );
    }

    #[test]
    fn strips_cover_the_fields_in_use_and_stay_while_others_move() {
        let report = evaluate(request(8), None, &|| false).unwrap();
        assert!(report.sweeps.is_empty());
        let report = with_sweeps(&report, &|| false).unwrap();
        assert_eq!(report.sweeps.len(), 4);
        let area = report.sweep(SweepField::Area).unwrap();
        assert!(area.points[0][1] > area.points[24][1], "{:?}", area.points);
        // Moving k keeps the strip of k and drops the others.
        let mut moved = report.request.clone();
        moved.selection.k = 3;
        let next = evaluate(moved, Some(&report), &|| false).unwrap();
        assert_eq!(
            next.sweeps.iter().map(|s| s.field).collect::<Vec<_>>(),
            vec![SweepField::K]
        );
        assert!(Arc::ptr_eq(&next.scores, &report.scores));
        // Work is given up when something newer waits.
        assert!(evaluate(next.request.clone(), None, &|| true).is_none());
        assert!(with_sweeps(&next, &|| true).is_none());
    }

    #[test]
    fn the_newest_selection_is_answered() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let mut metrics = Metrics::new({
            let wakes = wakes.clone();
            move || {
                wakes.fetch_add(1, Ordering::Relaxed);
            }
        })
        .unwrap();
        let mut request = request(32);
        for k in 1..=10 {
            request.selection.k = k;
            metrics.request(request.clone());
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        let report = loop {
            if let Some(reply) = metrics.take().filter(|r| r.request.selection.k == 10) {
                break reply.result.unwrap();
            }
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(1));
        };
        assert!(!metrics.is_behind(Some(&report)));
        // Ten wishes, each with strips, would have been twenty reports.
        assert!(wakes.load(Ordering::Relaxed) < 20);
        request.selection.k = 1;
        assert_eq!(report.heads_for(&request.selection).len(), 1);
    }
}
