//! Dataset-wide numbers for the newest selection, in the background.

use super::companions::{Companions, read};
use super::latest::Latest;
use super::survey::{Survey, SurveyFrame};
use super::truth::{Truth, TruthSource};
use crate::worker::{guard, spawn_worker};
use anyhow::Context as _;
use episode::boxes::BoxFile;
use grounding::analysis::{Curve, Field, Form, FrameOutcome, Progress, Votes};
use grounding::{
    Analysis, Error, Evaluation, FrameMetrics, HeadId, HeadMaps, HeadSelection, Rect, Sample,
    Selected, Split, Watch,
};
use parking_lot::Mutex;
use rayon::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Heads that are ranked again inside a frame of the window; more than these wait for the worker.
const INLINE_HEADS: usize = 20_000;

/// Curves that are not there after this are left out until something else is asked.
const CURVE_BUDGET: Duration = Duration::from_secs(20);

/// Frames that are read together.
const PIECE: usize = 64;

/// Numbers are wanted for this selection.
#[derive(Clone)]
pub struct MetricsRequest {
    /// The captured sample.
    pub survey: Arc<Survey>,
    /// Every threshold.
    pub selection: HeadSelection,
    /// Another selection, to be measured beside it.
    pub beside: Option<HeadSelection>,
    /// Name of the view whose patches are looked at.
    pub view: String,
    /// Detector boxes of the dataset.
    pub boxes: Option<Arc<BoxFile>>,
    /// Bytes of attention weights kept in memory.
    pub memory: usize,
}

impl MetricsRequest {
    /// Whether maps and truths of the frames that both know are the same.
    fn reads_like(&self, other: &Self) -> bool {
        self.survey.is_more_of(&other.survey)
            && self.selection.reads_like(&other.selection)
            && self.view == other.view
            && self.memory == other.memory
            && match (self.beside_apart(), other.beside_apart()) {
                (Some(a), Some(b)) => a.reads_like(b),
                (a, b) => a.is_none() && b.is_none(),
            }
            && match (&self.boxes, &other.boxes) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (a, b) => a.is_none() && b.is_none(),
            }
    }
}

impl MetricsRequest {
    /// The selection beside where it reads other attention than the one in use, so that its frames are analysed apart.
    fn beside_apart(&self) -> Option<&HeadSelection> {
        let beside = self.beside.as_ref();
        beside.filter(|beside| !beside.reads_like(&self.selection))
    }

    /// What is wanted of that selection alone; both together keep to the memory that is set.
    fn apart(&self) -> Option<Self> {
        self.beside_apart().map(|beside| Self {
            selection: beside.clone(),
            beside: None,
            memory: self.memory / 2,
            ..self.clone()
        })
    }
}

impl PartialEq for MetricsRequest {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.survey, &other.survey)
            && self.reads_like(other)
            && self.selection == other.selection
            && self.beside == other.beside
    }
}

/// Frames of a survey under analysis, for one query and one view.
struct Prepared {
    request: MetricsRequest,
    analysis: Analysis,
    /// One entry per frame of the survey.
    frames: Vec<PreparedFrame>,
    /// The same frames as the selection beside reads them, where that is not the same attention.
    apart: Option<Box<Self>>,
}

/// Maps of a frame, or why it has none, and its reference box on the grid.
type ReadFrame = (Result<HeadMaps, Arc<str>>, Option<(Rect, TruthSource)>);

/// What the analysis does not know about a frame.
struct PreparedFrame {
    episode: usize,
    step: usize,
    split: Split,
    source: Option<TruthSource>,
    /// Number in the analysis, or why it has no maps.
    place: Result<usize, Arc<str>>,
}

impl Prepared {
    fn new(request: &MetricsRequest) -> Self {
        let apart = request.apart();
        let memory = apart.as_ref().map_or(request.memory, |apart| apart.memory);
        Self {
            request: request.clone(),
            analysis: Analysis::new(memory),
            frames: Vec::new(),
            apart: apart.map(|request| Box::new(Self::new(&request))),
        }
    }

    /// Takes the frames of a survey that are not yet here.
    fn extend(&mut self, request: &MetricsRequest) -> grounding::Result<()> {
        let new = request
            .survey
            .frames
            .get(self.frames.len()..)
            .unwrap_or_default();
        // In pieces, so that few frames lie in memory beside what is kept of them.
        for piece in new.chunks(PIECE) {
            let read: Vec<_> = piece
                .par_iter()
                .map(|frame| Self::read(request, frame))
                .collect();
            for (frame, read) in piece.iter().zip(read) {
                self.push(frame, read)?;
            }
        }
        self.request = request.clone();
        if let (Some(apart), Some(request)) = (&mut self.apart, request.apart()) {
            apart.extend(&request)?;
        }
        Ok(())
    }

    /// Takes one frame that is in no survey.
    fn take(&mut self, frame: &SurveyFrame) -> grounding::Result<()> {
        self.push(frame, Self::read(&self.request, frame))?;
        match &mut self.apart {
            Some(apart) => apart.take(frame),
            None => Ok(()),
        }
    }

    /// Evaluates the selection beside, on the same frames in the same order.
    fn evaluate_beside(
        &mut self,
        beside: &HeadSelection,
        watch: &dyn Watch,
    ) -> grounding::Result<Evaluation> {
        let Some(apart) = &mut self.apart else {
            return self.analysis.evaluate_beside(beside, watch);
        };
        let mut evaluation = apart.analysis.evaluate(beside, watch)?;
        let unread = |why: &Arc<str>| FrameOutcome {
            metrics: None,
            candidates: None,
            failure: Some(Arc::new(Error::Unread(why.to_string()))),
        };
        // A frame may have maps in one reading and none in the other.
        let pairs = self.frames.iter().zip(&apart.frames);
        let outcomes = pairs
            .filter(|(here, _)| here.place.is_ok())
            .map(|(_, there)| match &there.place {
                Ok(number) => evaluation.frames.get(*number).cloned(),
                Err(why) => Some(unread(why)),
            });
        evaluation.frames = outcomes.collect::<Option<Vec<_>>>().unwrap_or_default();
        if let Some(why) = unread_by_all(&apart.frames) {
            evaluation.selected = Err(Arc::new(Error::Unread(why.to_string())));
        }
        Ok(evaluation)
    }

    fn push(&mut self, frame: &SurveyFrame, (maps, truth): ReadFrame) -> grounding::Result<()> {
        let place = match maps {
            Err(reason) => Err(reason),
            Ok(maps) => {
                self.analysis.push(Sample {
                    maps,
                    truth: truth.map(|(rect, _)| rect),
                    split: frame.split,
                    episode: frame.group,
                })?;
                Ok(self.analysis.len() - 1)
            }
        };
        self.frames.push(PreparedFrame {
            episode: frame.episode,
            step: frame.step,
            split: frame.split,
            source: truth.map(|(_, source)| source),
            place,
        });
        Ok(())
    }

    /// Maps of one frame, or why it has none, and its reference box on the grid.
    fn read(request: &MetricsRequest, frame: &SurveyFrame) -> ReadFrame {
        let capture = &frame.capture;
        let Some(view) = capture.views.iter().position(|v| v.name == request.view) else {
            let reason = format!("the model does not look through `{}`", request.view);
            return (Err(reason.into()), None);
        };
        let companions = Companions {
            swapped: frame.swapped.clone(),
            generic: frame.generic.clone(),
        };
        let maps = if request.selection.forward == request.survey.passes.forward {
            read(capture, &companions, &request.selection, view)
        } else {
            Err(Error::Recorded)
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
    }
}

/// Why no frame has maps, where none has.
fn unread_by_all(frames: &[PreparedFrame]) -> Option<Arc<str>> {
    match frames.iter().any(|known| known.place.is_ok()) {
        true => None,
        false => frames.iter().find_map(|known| known.place.clone().err()),
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
    /// Its place in [`Evaluation::frames`], of this selection and of the one beside it; none without maps.
    pub number: Option<usize>,
    /// Its numbers, where it has a reference box and the query token. Without a mask it is a miss.
    pub metrics: Option<FrameMetrics>,
    /// What the numbers are measured against.
    pub source: Option<TruthSource>,
    /// Why there is no mask.
    pub failure: Option<Arc<str>>,
}

/// Dataset-wide numbers of one selection.
pub struct Report {
    /// What was measured.
    pub request: MetricsRequest,
    /// The numbers.
    pub evaluation: Arc<Evaluation>,
    /// Those of the selection beside it, where one is asked for: once they are there.
    pub beside: Option<Arc<Evaluation>>,
    /// All frames.
    pub frames: Arc<[FrameReport]>,
    /// What the numbers are measured against; none without a reference box.
    pub source: Option<TruthSource>,
    /// Mean IoU on the tuning split against every threshold in use; they come one by one.
    pub curves: Vec<Arc<Curve>>,
    /// In which form attention is kept.
    pub form: Form,
    /// Why no frame has maps, where none has.
    unread: Option<Arc<str>>,
}

impl Report {
    /// Measures a selection, and another beside it where one is asked for, on the calling thread, with the curves that are
    /// asked for. Takes `frames` one by one, after those of the request's survey, and keeps only what is measured of them.
    /// Looks at `cancel` before every frame.
    ///
    /// # Errors
    /// When it was cancelled, a frame cannot be had, or attention cannot be kept.
    pub fn measure(
        request: &MetricsRequest,
        frames: &mut dyn Iterator<Item = anyhow::Result<SurveyFrame>>,
        fields: &[Field],
        cancel: &AtomicBool,
    ) -> anyhow::Result<Self> {
        let mut prepared = Prepared::new(request);
        prepared.extend(request)?;
        for frame in frames {
            prepared.take(&frame?)?;
            anyhow::ensure!(!cancel.load(Ordering::Relaxed), "cancelled");
        }
        let watch = Interrupt(&|| cancel.load(Ordering::Relaxed));
        let evaluation = prepared.analysis.evaluate(&request.selection, &watch)?;
        let form = prepared.analysis.form();
        let mut report = Self::of(request, &prepared.frames, form, evaluation);
        if let Some(beside) = &request.beside {
            report.beside = Some(Arc::new(prepared.evaluate_beside(beside, &watch)?));
        }
        for &field in fields {
            let curve = prepared
                .analysis
                .sensitivity(&request.selection, field, &watch)?;
            report.curves.extend(curve.map(Arc::new));
        }
        Ok(report)
    }

    fn of(
        request: &MetricsRequest,
        prepared: &[PreparedFrame],
        form: Form,
        evaluation: Evaluation,
    ) -> Self {
        let frames: Vec<FrameReport> = prepared
            .iter()
            .map_while(|known| {
                let (metrics, failure) = match &known.place {
                    Err(reason) => (None, Some(reason.clone())),
                    Ok(number) => {
                        // Frames beyond a partial result are not there yet.
                        let outcome = evaluation.frames.get(*number)?;
                        let failure = outcome.failure.as_ref().map(|e| Arc::from(e.to_string()));
                        (outcome.metrics, failure)
                    }
                };
                Some(FrameReport {
                    episode: known.episode,
                    step: known.step,
                    split: known.split,
                    number: known.place.as_ref().ok().copied(),
                    metrics,
                    source: known.source,
                    failure,
                })
            })
            .collect();
        Self {
            request: request.clone(),
            unread: unread_by_all(prepared),
            source: frames.iter().find_map(|f| f.source),
            frames: frames.into(),
            evaluation: Arc::new(evaluation),
            beside: None,
            curves: Vec::new(),
            form,
        }
    }

    /// The vote over the tuning split, or why it chose no head.
    pub fn selected(&self) -> Result<&Selected, Arc<str>> {
        let why = |error: &Arc<Error>| {
            self.unread
                .clone()
                .unwrap_or_else(|| error.to_string().into())
        };
        self.evaluation.selected.as_ref().map_err(why)
    }

    /// The heads that the tuning split chooses under `selection`: at once when that is a matter of counting again, else
    /// those of this report, until its successor is there.
    pub fn heads_for(&self, selection: &HeadSelection) -> Vec<HeadId> {
        let own = || self.evaluation.heads().to_vec();
        if *selection == self.request.selection {
            return own();
        }
        let votes = self.evaluation.votes.as_ref();
        let few = votes.filter(|votes| votes.heads() <= INLINE_HEADS);
        match few.and_then(|votes| votes.select(selection)) {
            Some(Ok(selected)) => selected.heads,
            // What the report to come will say, too.
            Some(Err(_)) => Vec::new(),
            None => own(),
        }
    }

    /// Frames of the tuning split that could vote.
    pub fn tuning_frames(&self) -> usize {
        self.evaluation.votes.as_ref().map_or(0, Votes::frames)
    }

    /// The curve of one threshold.
    pub fn curve(&self, field: Field) -> Option<&Curve> {
        self.curves.iter().find(|c| c.field == field).map(|c| &**c)
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

    fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = Self {
            request: self.request.clone(),
            evaluation: self.evaluation.clone(),
            beside: self.beside.clone(),
            frames: self.frames.clone(),
            source: self.source,
            curves: self.curves.clone(),
            form: self.form,
            unread: self.unread.clone(),
        };
        change(&mut next);
        next
    }
}

/// Stops when somebody says so.
struct Interrupt<'a>(&'a (dyn Fn() -> bool + Sync));

impl Watch for Interrupt<'_> {
    fn is_cancelled(&self) -> bool {
        (self.0)()
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
    /// How far the measuring of heads has come, while it goes on.
    progress: Mutex<Option<Progress>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Metrics {
    /// Starts the thread. `wake` is called whenever a report is ready.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            inbox: Latest::default(),
            abandoned: AtomicBool::new(false),
            outbox: Mutex::default(),
            progress: Mutex::default(),
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

    /// Whether the newest wish is not yet answered in full, curves not counted.
    pub fn is_behind(&self, report: Option<&Report>) -> bool {
        self.last
            .as_ref()
            .filter(|last| self.failed.as_ref() != Some(*last))
            .is_some_and(|last| {
                report.is_none_or(|r| r.request != *last || r.evaluation.is_partial)
            })
    }

    /// Whether numbers or curves are still to come.
    pub fn is_busy(&self) -> bool {
        !self.shared.inbox.is_idle() || self.shared.outbox.lock().is_some()
    }

    /// How far the measuring of heads has come, while it goes on.
    pub fn progress(&self) -> Option<Progress> {
        *self.shared.progress.lock()
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
        let mut prepared: Option<Prepared> = None;
        let mut before: Option<Arc<Report>> = None;
        while let Some(request) = self.inbox.wait() {
            self.abandoned.store(false, Ordering::Relaxed);
            let work = guard(|| {
                let known = prepared.take().filter(|p| request.reads_like(&p.request));
                let prepared = prepared.insert(known.unwrap_or_else(|| Prepared::new(&request)));
                self.answer(&request, prepared, before.as_deref())
            });
            *self.progress.lock() = None;
            match work {
                Ok(report) => before = report.or(before),
                Err(error) => self.deliver(request, Err(error)),
            }
        }
    }

    fn is_unwanted(&self) -> bool {
        self.inbox.interrupts() || self.abandoned.load(Ordering::Relaxed)
    }

    /// Delivers the numbers, then those of the selection beside it, then the curves one by one; gives back the last report,
    /// none when interrupted before there was one.
    fn answer(
        &self,
        request: &MetricsRequest,
        prepared: &mut Prepared,
        before: Option<&Report>,
    ) -> anyhow::Result<Option<Arc<Report>>> {
        prepared
            .extend(request)
            .context("attention cannot be kept")?;
        let publish = |report: Report| {
            let report = Arc::new(report);
            self.deliver(request.clone(), Ok(report.clone()));
            report
        };
        let Prepared {
            analysis, frames, ..
        } = prepared;
        let form = analysis.form();
        let watch = Streaming {
            shared: self,
            publish: &|evaluation| {
                publish(Report::of(request, frames, form, evaluation));
            },
        };
        let evaluation = match analysis.evaluate(&request.selection, &watch) {
            Err(Error::Cancelled) => return Ok(None),
            evaluation => evaluation?,
        };
        let mut report = Report::of(request, frames, form, evaluation);
        let same_frames = |b: &&Report| {
            Arc::ptr_eq(&b.request.survey, &request.survey) && request.reads_like(&b.request)
        };
        if let Some(before) = before.filter(same_frames) {
            // Curves that do not depend on what changed stay.
            let same = |c: &&Arc<Curve>| {
                let others = |s: &HeadSelection| c.field.set(s, 0.5);
                others(&before.request.selection) == others(&request.selection)
            };
            report.curves = before.curves.iter().filter(same).cloned().collect();
            if before.request.beside == request.beside {
                report.beside = before.beside.clone();
            }
        }
        let mut report = publish(report);
        let interrupt = || self.is_unwanted();
        let quiet = Interrupt(&interrupt);
        if let (Some(beside), None) = (&request.beside, &report.beside) {
            match prepared.evaluate_beside(beside, &quiet) {
                Err(Error::Cancelled) => return Ok(Some(report)),
                other => {
                    let other = Arc::new(other?);
                    report = publish(report.with(|r| r.beside = Some(other)));
                }
            }
        }
        if report.evaluation.tune.is_none() {
            return Ok(Some(report));
        }
        let began = Instant::now();
        for field in Field::ALL {
            if report.curve(field).is_some() || began.elapsed() > CURVE_BUDGET {
                continue;
            }
            match prepared
                .analysis
                .sensitivity(&request.selection, field, &quiet)
            {
                Err(Error::Cancelled) => return Ok(Some(report)),
                curve => {
                    if let Some(curve) = curve? {
                        report = publish(report.with(|r| r.curves.push(Arc::new(curve))));
                    }
                }
            }
        }
        Ok(Some(report))
    }

    fn deliver(&self, request: MetricsRequest, result: anyhow::Result<Arc<Report>>) {
        *self.outbox.lock() = Some(MetricsReply { request, result });
        (self.wake)();
    }
}

/// Passes on what is known so far.
struct Streaming<'a> {
    shared: &'a Shared,
    publish: &'a (dyn Fn(Evaluation) + Sync),
}

impl Watch for Streaming<'_> {
    fn is_cancelled(&self) -> bool {
        self.shared.is_unwanted()
    }

    fn progress(&self, progress: Progress) {
        *self.shared.progress.lock() = Some(progress);
        (self.shared.wake)();
    }

    fn partial(&self, evaluation: Evaluation) {
        (self.publish)(evaluation);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Prompt;
    use super::super::fake::{GRID, fake_capture, fake_capture_under, peak};
    use super::super::survey::Passes;
    use super::*;
    use grounding::{Aggregate, Budget, Criterion, ElbowMode, MaskRule};
    use std::sync::atomic::AtomicUsize;

    fn survey(n: usize) -> Arc<Survey> {
        let frames = (0..n)
            .map(|i| SurveyFrame {
                episode: i,
                step: 3,
                group: i,
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
            passes: Passes::default(),
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
            beside: None,
            view: "static".into(),
            boxes: None,
            memory: Analysis::DEFAULT_MEMORY,
        }
    }

    fn measure(request: &MetricsRequest) -> Report {
        let nothing_more = &mut std::iter::empty();
        Report::measure(request, nothing_more, &[], &AtomicBool::new(false)).unwrap()
    }

    #[test]
    fn heads_are_chosen_on_one_half_and_both_are_measured() {
        let report = measure(&request(16));
        let selected = report.selected().unwrap();
        assert_eq!(
            selected.heads,
            vec![HeadId { layer: 3, head: 1 }, HeadId { layer: 4, head: 1 }]
        );
        assert_eq!((selected.n_samples, report.tuning_frames()), (8, 8));
        let (tune, held_out) = (
            report.evaluation.tune.unwrap(),
            report.evaluation.held_out.unwrap(),
        );
        assert_eq!((tune.metrics.frames, held_out.metrics.frames), (8, 8));
        // The mask is the one patch that the truth is, up to the single precision of a box's corners.
        assert!(
            (tune.metrics.mean_iou - 1.0).abs() < 1e-6 && held_out.metrics.pointing == 1.0,
            "{:?}",
            report.frames
        );
        assert_eq!(report.source, Some(TruthSource::Exact));
    }

    #[test]
    fn frames_without_a_mask_count_as_misses() {
        let mut request = request(8);
        request.selection.elbow.mode = ElbowMode::Manual(5.0);
        let report = measure(&request);
        assert!(report.selected().is_err());
        assert_eq!(report.evaluation.tune.unwrap().metrics.mean_iou, 0.0);
        assert!(report.frames.iter().all(|f| f.failure.is_some()));
    }

    #[test]
    fn frames_that_cannot_be_scored_say_why() {
        let mut request = request(8);
        // The captures were recorded without sinks.
        request.selection.sinks.apply = true;
        let report = measure(&request);
        let why = report.selected().unwrap_err().to_string();
        assert!(why.contains("sink"), "{why}");
        let same = |f: &FrameReport| f.failure.as_deref() == Some(&*why);
        assert!(report.frames.iter().all(same));
    }

    #[test]
    fn every_hit_has_one_under_another_instruction_beside_it() {
        let tune = measure(&request(16)).evaluation.tune.unwrap().metrics;
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
            let report = measure(&request);
            assert_eq!(report.selected().unwrap().heads, good, "{criterion}");
            // Without what the criterion works on it says so.
            let mut survey = (*request.survey).clone();
            for frame in &mut survey.frames {
                frame.swapped = None;
                frame.exact = vec![None];
            }
            request.survey = Arc::new(survey);
            let report = measure(&request);
            let why = report.selected().unwrap_err();
            assert!(why.contains("choose heads by entropy"), "{why}");
        }
    }

    #[test]
    fn captures_of_another_forward_pass_are_not_passed_off() {
        let mut request = request(8);
        request.selection.forward = grounding::Forward::TowardInstruction(2.0);
        let report = measure(&request);
        let why = report.selected().unwrap_err();
        assert!(why.contains("recorded forward pass"), "{why}");
    }

    #[test]
    fn a_selection_that_reads_other_attention_is_measured_beside() {
        let plain = request(16);
        let relative = HeadSelection {
            aggregate: Aggregate::Relative { layer: Some(3) },
            ..plain.selection.clone()
        };
        let mut survey = (*plain.survey).clone();
        survey.passes.generic = true;
        let both = MetricsRequest {
            survey: Arc::new(survey.clone()),
            beside: Some(relative.clone()),
            ..plain.clone()
        };
        let alone = measure(&MetricsRequest {
            survey: both.survey.clone(),
            selection: relative,
            ..plain
        });
        let beside = measure(&both).beside.unwrap();
        assert_eq!(
            format!("{:?}", beside.held_out),
            format!("{:?}", alone.evaluation.held_out)
        );
        assert_eq!(beside.frames.len(), 16);
        // What it needs may not be there.
        for frame in &mut survey.frames {
            frame.generic = None;
        }
        let missing = MetricsRequest {
            survey: Arc::new(survey),
            ..both
        };
        let report = measure(&missing);
        assert!(report.selected().is_ok());
        let failure = report.beside.unwrap().frames[0].failure.clone().unwrap();
        assert!(failure.to_string().contains("generic prompt"), "{failure}");
    }

    #[test]
    fn another_selection_is_measured_beside() {
        let mut request = request(8);
        request.beside = Some(HeadSelection {
            k: 1,
            ..request.selection.clone()
        });
        let report = measure(&request);
        let beside = report.beside.unwrap();
        assert_eq!(beside.heads(), &report.evaluation.heads()[..1]);
    }

    /// Waits for a report that has what is asked for.
    fn wait(metrics: &mut Metrics, until: impl Fn(&Report) -> bool) -> Arc<Report> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(reply) = metrics.take() {
                let report = reply.result.unwrap();
                if until(&report) {
                    return report;
                }
            }
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn curves_cover_the_fields_in_use_and_stay_while_others_move() {
        let mut metrics = Metrics::new(|| ()).unwrap();
        let mut request = request(8);
        request.selection.mask = MaskRule::RegionBudget(Budget::Share(0.1));
        let in_use: Vec<Field> = Field::ALL
            .into_iter()
            .filter(|field| field.get(&request.selection).is_some())
            .collect();
        metrics.request(request.clone());
        let report = wait(&mut metrics, |r| r.curves.len() == in_use.len());
        let area = report.curve(Field::Area).unwrap();
        assert!(
            area.points[0].mean_iou > area.points[16].mean_iou,
            "{area:?}"
        );
        // Moving k keeps the curve of k; the others are made anew.
        request.selection.k = 3;
        metrics.request(request.clone());
        let first = wait(&mut metrics, |r| r.request == request);
        let kept: Vec<Field> = first.curves.iter().map(|c| c.field).collect();
        assert!(
            kept.contains(&Field::K) && !kept.contains(&Field::Area),
            "{kept:?}"
        );
        let next = wait(&mut metrics, |r| r.curves.len() == in_use.len());
        let k = |r: &Report| {
            r.curves
                .iter()
                .find(|c| c.field == Field::K)
                .cloned()
                .unwrap()
        };
        assert!(Arc::ptr_eq(&k(&report), &k(&next)));
    }

    #[test]
    fn a_survey_that_grows_is_not_measured_anew() {
        let whole = request(16);
        let part = MetricsRequest {
            survey: Arc::new(Survey {
                planned: 16,
                passes: Passes::default(),
                frames: whole.survey.frames[..8].to_vec(),
            }),
            ..whole.clone()
        };
        assert!(whole.reads_like(&part) && !part.reads_like(&whole));
        let mut prepared = Prepared::new(&part);
        prepared.extend(&part).unwrap();
        prepared.analysis.evaluate(&part.selection, &()).unwrap();
        prepared.extend(&whole).unwrap();
        let grown = prepared.analysis.evaluate(&whole.selection, &()).unwrap();
        let at_once = measure(&whole);
        assert_eq!(grown.selected.unwrap(), *at_once.selected().unwrap());
        assert_eq!(
            format!("{:?}", grown.held_out),
            format!("{:?}", at_once.evaluation.held_out)
        );
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
        let report = wait(&mut metrics, |r| r.request.selection.k == 10);
        assert!(!metrics.is_behind(Some(&report)));
        // Ten wishes, each with all curves, would have been a hundred reports and more.
        assert!(wakes.load(Ordering::Relaxed) < 50);
        request.selection.k = 1;
        assert_eq!(report.heads_for(&request.selection).len(), 1);
    }
}
