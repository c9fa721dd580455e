//! What works behind the panes: decoding frames, looking through models, measuring datasets.
//!
//! Three named threads, each with a mailbox in which the newest wish wins:
//!
//! | thread | does | answers with |
//! |---|---|---|
//! | `frames` | decodes the frame under the cursor, then its neighbours | [`CameraFrame`] |
//! | `inspector` | owns the loaded models; captures the frame under the cursor, then the same under other prompts, then a survey of the dataset | [`Capture`], [`Survey`] |
//! | `metrics` | evaluates the newest selection on the survey, then what is beside it and the curves under the sliders | [`Report`] |
//!
//! [`Inspector::update`] runs once per frame of the window. It compares what the state asks for with what is there, sends
//! wishes, takes answers, and computes the [`Look`] at the frame under the cursor: from capture to mask, usually well
//! under a millisecond, so that mask and box follow a slider in the same frame.

mod captures;
mod companions;
#[cfg(test)]
pub(crate) mod fake;
mod frames;
mod latest;
mod look;
mod metrics;
mod survey;
mod truth;

pub(crate) use captures::capture_bytes;
pub use captures::{CaptureRequest, Eye, Models, Prompt, Stamp, sample};
pub use companions::Companions;
pub use frames::{CameraFrame, FrameState, Place};
pub use latest::Latest;
pub use look::{HeadsFrom, Look, LookInputs, head_name};
pub use metrics::{FrameReport, MetricsRequest, Report};
pub use survey::{Halves, Passes, SURVEY_FRAMES, Survey, SurveyFrame, SurveyPlan};
pub use truth::{Truth, TruthSource, mask_rect};

use crate::capture_file::OpenCaptures;
use crate::command::Command;
use crate::jobs::Jobs;
use crate::state::{Sample, Source, WorkbenchState};
use crate::toasts::Notice;
use crate::worker::{guard, spawn_worker};
use captures::{CaptureReply, Captures, SurveyReply, SurveyRequest};
use episode::SharedDataset;
use frames::{FrameRequest, Frames};
use grounding::analysis::Progress;
use grounding::{Capture, Criterion, Forward, HeadId, HeadSelection};
use metrics::Metrics;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What is late by more than this says so.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// Name of the job that captures the survey of a dataset.
pub const SURVEY_JOB: &str = "Measuring the dataset";

/// A look that takes longer than this is computed in the background from then on.
const INLINE_LOOK: Duration = Duration::from_millis(16);

/// How long it takes from cursor to mask, as far as it was measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// All cameras of the last wanted frame, from wish to picture; nothing to speak of when they were decoded ahead.
    pub decoding: Option<Duration>,
    /// The last forward pass, loading the model included where it had to be.
    pub capture: Option<Duration>,
    /// From capture to mask.
    pub look: Option<Duration>,
}

impl Timing {
    /// One line for people.
    pub fn text(&self) -> String {
        let part = |name: &str, time: Option<Duration>| {
            time.map(|t| format!("{name} {:.1} ms", t.as_secs_f64() * 1e3))
        };
        let parts = [
            part("decoded in", self.decoding),
            part("captured in", self.capture),
            part("mask in", self.look),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
    }
}

/// A picture on screen.
#[derive(Clone)]
pub struct Picture {
    /// Which frame it is.
    pub place: Place,
    /// The picture, or why it cannot be decoded.
    pub state: FrameState,
}

/// How far the look at the frame under the cursor has come.
#[derive(Clone, Default)]
pub enum LookState {
    /// Nothing looks.
    #[default]
    Nothing,
    /// A capture is on its way.
    Waiting {
        /// Since when.
        since: Instant,
    },
    /// It is there and belongs to the cursor.
    Ready,
    /// It cannot be made.
    Failed(Arc<str>),
}

/// Handle to everything that works behind the panes.
pub struct Inspector {
    jobs: Jobs,
    repaint: egui::Context,
    workers: Option<Workers>,
    /// One per camera of `dataset`.
    pictures: Vec<Option<Picture>>,
    dataset: Option<SharedDataset>,
    /// What is shown; may lag behind the cursor, see [`Inspector::look_state`].
    look: Option<Arc<Look>>,
    look_state: LookState,
    /// Whether looks are computed in the background because they are slow.
    slow: bool,
    capture: Option<CaptureReply>,
    wanted_capture: Option<(CaptureRequest, Instant)>,
    /// The wanted capture's frame under other prompts.
    companions: Vec<AskedCompanion>,
    /// What the look and the capture belong to.
    look_of: Option<LookOf>,
    /// Since when a slow look is awaited.
    look_asked: Option<Instant>,
    survey: Option<Arc<Survey>>,
    survey_of: Option<SurveyOf>,
    /// How much was asked for.
    survey_sample: Sample,
    survey_wanted: AtomicBool,
    report: Option<Arc<Report>>,
    heads: Option<HeadsMemo>,
    device: Option<String>,
}

/// A frame under another prompt that was asked for.
struct AskedCompanion {
    request: CaptureRequest,
    /// What came; the inner one is none where there is nothing to be had.
    capture: Option<Option<Arc<Capture>>>,
}

/// The threads. They start with the first update, so that making an inspector costs nothing.
struct Workers {
    frames: Frames,
    captures: Captures,
    metrics: Metrics,
    looks: Looks,
}

/// A dataset and what looks at it. The checkpoints of a run are one model at several ages.
struct LookOf {
    /// A run, a model's folder or a capture file.
    model: PathBuf,
    dataset: Option<SharedDataset>,
    opening: u64,
}

impl PartialEq for LookOf {
    fn eq(&self, other: &Self) -> bool {
        self.model == other.model
            && self.opening == other.opening
            && same_data(self.dataset.as_ref(), other.dataset.as_ref())
    }
}

impl LookOf {
    fn of(state: &WorkbenchState) -> Option<Self> {
        let model = match &state.source {
            Source::Nothing => return None,
            Source::Captures { path, .. } | Source::Checkpoint { path } => path,
            Source::Run { dir, .. } => dir,
        };
        Some(Self {
            model: model.clone(),
            dataset: state.dataset.as_ref().map(|d| d.data.clone()),
            opening: state.openings,
        })
    }
}

fn same_data(a: Option<&SharedDataset>, b: Option<&SharedDataset>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// What a survey was made of.
enum SurveyOf {
    Checkpoint {
        checkpoint: PathBuf,
        dataset: SharedDataset,
        opening: u64,
        passes: Passes,
    },
    File(Arc<OpenCaptures>, Option<SharedDataset>),
}

impl SurveyOf {
    fn of(state: &WorkbenchState) -> Option<Self> {
        let dataset = state.dataset.as_ref().map(|d| d.data.clone());
        match (&state.source, state.source.checkpoint()) {
            (Source::Captures { captures, .. }, _) => Some(Self::File(captures.clone(), dataset)),
            (_, Some(checkpoint)) => Some(Self::Checkpoint {
                checkpoint: checkpoint.to_owned(),
                dataset: dataset?,
                opening: state.openings,
                passes: Passes::of(&state.settings.selection).and(state.settings.beside.as_deref()),
            }),
            _ => None,
        }
    }

    /// Whether a reply answers this.
    fn is_answered_by(&self, reply: &SurveyReply) -> bool {
        matches!(self, Self::Checkpoint { checkpoint, dataset, passes, .. }
            if *checkpoint == reply.checkpoint
                && Arc::ptr_eq(dataset, &reply.dataset)
                && *passes == reply.passes)
    }

    /// Whether a survey of this is one of `other`, too.
    fn serves(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Checkpoint {
                    checkpoint,
                    dataset,
                    opening,
                    passes,
                },
                Self::Checkpoint {
                    checkpoint: other_checkpoint,
                    dataset: other_dataset,
                    opening: other_opening,
                    passes: other_passes,
                },
            ) => {
                checkpoint == other_checkpoint
                    && Arc::ptr_eq(dataset, other_dataset)
                    && opening == other_opening
                    && passes.serve(*other_passes)
            }
            (Self::File(a, x), Self::File(b, y)) => {
                Arc::ptr_eq(a, b) && same_data(x.as_ref(), y.as_ref())
            }
            _ => false,
        }
    }
}

/// The heads that a report chose for a selection.
struct HeadsMemo {
    report: Arc<Report>,
    selection: HeadSelection,
    heads: Vec<HeadId>,
}

impl Inspector {
    /// Makes an inspector. Cheap: no thread, device or model is touched before the first [`Inspector::update`] that
    /// needs it.
    pub fn new(jobs: Jobs, repaint: egui::Context) -> Self {
        Self {
            jobs,
            repaint,
            workers: None,
            pictures: Vec::new(),
            dataset: None,
            look: None,
            look_state: LookState::Nothing,
            slow: false,
            capture: None,
            wanted_capture: None,
            companions: Vec::new(),
            look_of: None,
            look_asked: None,
            survey: None,
            survey_of: None,
            survey_sample: Sample::default(),
            survey_wanted: AtomicBool::new(false),
            report: None,
            heads: None,
            device: None,
        }
    }

    /// Asks for what the state needs and takes what has arrived. Never waits. Errors go out as a notice, once each.
    pub fn update(&mut self, state: &WorkbenchState, commands: &mut Vec<Command>) {
        if self.workers.is_none() {
            match Workers::start(state.device, &self.repaint) {
                Ok(workers) => self.workers = Some(workers),
                Err(error) => {
                    let error = anyhow::Error::new(error).context("the system gave no thread");
                    commands.push(Command::Notify(Notice::error(
                        "Nothing can be decoded",
                        &error,
                    )));
                    return;
                }
            }
        }
        self.forget_others(state, commands);
        self.take_answers(commands);
        self.want_frames(state);
        self.want_survey(state, commands);
        let capture = self.want_capture(state);
        let companions = self.want_companions(state, capture.is_some());
        self.want_look(state, capture, companions);
        self.want_report(state);
    }

    /// What is looked at. It may belong to an earlier cursor while [`Inspector::look_state`] is waiting.
    pub fn look(&self) -> Option<&Arc<Look>> {
        self.look.as_ref()
    }

    /// Whether [`Inspector::look`] belongs to the cursor, and why not.
    pub fn look_state(&self) -> &LookState {
        &self.look_state
    }

    /// Whether the look belongs to another step than the cursor for so long that painting it over the picture would
    /// mislead.
    pub fn look_is_late(&self) -> bool {
        matches!(self.look_state, LookState::Waiting { since } if since.elapsed() > PATIENCE)
    }

    /// A decoded picture, if it is there.
    pub fn frame(&self, dataset: &SharedDataset, place: Place) -> Option<FrameState> {
        self.workers.as_ref()?.frames.get(dataset, place)
    }

    /// The newest picture of a camera: the one under the cursor, or until that is decoded the one shown before, so that
    /// nothing flickers. Its place says which.
    pub fn picture(&self, camera: usize) -> Option<&Picture> {
        self.pictures.get(camera)?.as_ref()
    }

    /// Numbers on the survey for the newest selection that was evaluated.
    pub fn report(&self) -> Option<&Arc<Report>> {
        self.report.as_ref()
    }

    /// Whether a newer selection waits for its numbers.
    pub fn report_is_behind(&self) -> bool {
        let awaits_survey = self.survey.as_ref().is_some_and(|s| !self.is_wanted(s));
        let behind = |w: &Workers| w.metrics.is_behind(self.report.as_deref());
        awaits_survey || self.workers.as_ref().is_some_and(behind)
    }

    /// Whether a survey was made the way the wanted one is. Otherwise its successor is on its way.
    fn is_wanted(&self, survey: &Survey) -> bool {
        match &self.survey_of {
            Some(SurveyOf::Checkpoint { passes, .. }) => survey.passes.serve(*passes),
            _ => true,
        }
    }

    /// How far the measuring of heads has come, while it goes on.
    pub fn measuring(&self) -> Option<Progress> {
        self.workers.as_ref()?.metrics.progress()
    }

    /// The survey that the numbers are measured on.
    pub fn survey(&self) -> Option<&Arc<Survey>> {
        self.survey.as_ref()
    }

    /// Captures the survey again, also after it was cancelled.
    pub fn measure_again(&self) {
        self.survey_wanted.store(true, Ordering::Relaxed);
        self.repaint.request_repaint();
    }

    /// Whether something that was asked for is still on its way: a picture, a capture, a look, the survey, numbers.
    pub fn is_busy(&self, state: &WorkbenchState) -> bool {
        let Some(workers) = &self.workers else {
            return state.dataset.is_some() || state.has_source();
        };
        let (episode, step) = (state.cursor.episode, state.cursor.step);
        let late = |p: &Option<Picture>| {
            p.as_ref()
                .is_none_or(|p| (p.place.episode, p.place.step) != (episode, step))
        };
        self.pictures.iter().any(late)
            || matches!(self.look_state, LookState::Waiting { .. })
            || workers.captures.is_busy()
            || workers.metrics.is_busy()
            || !workers.looks.0.inbox.is_idle()
    }

    /// Layers and heads of the shown capture.
    pub fn shape(&self) -> Option<(usize, usize)> {
        self.look
            .as_ref()
            .map(|look| (look.maps.n_layers, look.maps.n_heads))
    }

    /// The device that models run on, once one was loaded.
    pub fn device_name(&self) -> Option<String> {
        self.device.clone()
    }

    /// How long the last steps took.
    pub fn timing(&self) -> Timing {
        Timing {
            decoding: self.workers.as_ref().and_then(|w| w.frames.latency()),
            capture: self.capture.as_ref().map(|c| c.elapsed),
            look: self.look.as_ref().map(|l| l.elapsed),
        }
    }

    /// Drops what belongs to another model or dataset than the open ones: it says nothing about these. What belongs to
    /// an earlier checkpoint of the same run stays until its successor is there.
    fn forget_others(&mut self, state: &WorkbenchState, commands: &mut Vec<Command>) {
        let look_of = LookOf::of(state);
        if look_of == self.look_of {
            return;
        }
        self.look = None;
        self.capture = None;
        self.wanted_capture = None;
        self.companions.clear();
        self.look_asked = None;
        self.look_of = look_of;
        self.survey_of = None;
        self.forget_numbers(commands);
    }

    /// Without survey: whatever is still on its way answers something else.
    fn forget_numbers(&mut self, commands: &mut Vec<Command>) {
        self.survey = None;
        if self.report.take().is_some() {
            commands.push(Command::SetQueue(Vec::new()));
        }
        if let Some(workers) = &mut self.workers {
            workers.captures.survey(None);
            workers.metrics.clear();
        }
    }

    fn take_answers(&mut self, commands: &mut Vec<Command>) {
        let Some(workers) = &mut self.workers else {
            return;
        };
        let wanted = self.wanted_capture.as_ref().map(|(request, _)| request);
        if let Some(reply) = workers
            .captures
            .take_reply()
            .filter(|reply| wanted == Some(&reply.request))
        {
            if let Err(error) = &reply.result {
                commands.push(Command::Notify(Notice::error(
                    "The model cannot look at this frame",
                    error,
                )));
            }
            self.capture = Some(reply);
        }
        for reply in workers.captures.take_companions() {
            let mut asked = self.companions.iter_mut();
            let Some(asked) = asked.find(|a| a.request == reply.request) else {
                continue;
            };
            asked.capture = Some(reply.result.unwrap_or_else(|error| {
                tracing::warn!("a frame cannot be seen under another prompt: {error:#}");
                None
            }));
        }
        let survey_of = self.survey_of.as_ref();
        if let Some(reply) = workers
            .captures
            .take_survey()
            .filter(|reply| survey_of.is_some_and(|of| of.is_answered_by(reply)))
        {
            match reply.result {
                Ok(survey) => self.survey = Some(survey),
                Err(error) => commands.push(Command::Notify(Notice::error(
                    "The dataset cannot be measured",
                    &error,
                ))),
            }
        }
        let survey = self.survey.as_ref();
        let reply = workers.metrics.take().filter(|reply| {
            survey.is_some_and(|survey| Arc::ptr_eq(survey, &reply.request.survey))
        });
        if let Some(Err(error)) = reply.as_ref().map(|reply| &reply.result) {
            commands.push(Command::Notify(Notice::error(
                "The numbers cannot be computed",
                error,
            )));
        }
        if let Some(report) = reply.and_then(|reply| reply.result.ok()) {
            let queue = report.by_disagreement();
            // A part of the frames would only make the list jump.
            if !report.evaluation.is_partial
                && self
                    .report
                    .as_ref()
                    .is_none_or(|before| before.by_disagreement() != queue)
            {
                commands.push(Command::SetQueue(queue));
            }
            self.report = Some(report);
        }
        self.device = workers.captures.device().or(self.device.take());
    }

    fn want_frames(&mut self, state: &WorkbenchState) {
        let open = state.dataset.as_ref().map(|d| d.data.clone());
        let Some(workers) = &mut self.workers else {
            return;
        };
        if !same_data(open.as_ref(), self.dataset.as_ref()) {
            let cameras = open.as_ref().map_or(0, |d| d.info().cameras.len());
            self.pictures = vec![None; cameras];
            self.dataset = open.clone();
            workers.captures.keep_only(open.clone());
            if open.is_none() {
                workers.frames.clear();
            }
        }
        let Some(dataset) = open else { return };
        let (episode, step) = (state.cursor.episode, state.cursor.step);
        for (camera, picture) in self.pictures.iter_mut().enumerate() {
            let place = Place {
                episode,
                step,
                camera,
            };
            if picture.as_ref().is_none_or(|p| p.place != place)
                && let Some(state) = workers.frames.get(&dataset, place)
            {
                *picture = Some(Picture { place, state });
            }
        }
        workers.frames.request(FrameRequest {
            dataset,
            episode,
            step,
            length: state.steps(),
            camera: state.cursor.camera,
        });
    }

    /// The survey follows the source by itself; a cancelled one comes back when asked for.
    fn want_survey(&mut self, state: &WorkbenchState, commands: &mut Vec<Command>) {
        let of = SurveyOf::of(state);
        let again = self.survey_wanted.swap(false, Ordering::Relaxed);
        let serves = match (&self.survey_of, &of) {
            (Some(before), Some(of)) => before.serves(of),
            (before, of) => before.is_none() && of.is_none(),
        };
        if serves && !again && self.survey_sample == state.sample {
            return;
        }
        self.survey_sample = state.sample;
        let Some(workers) = &mut self.workers else {
            return;
        };
        match &of {
            Some(SurveyOf::Checkpoint {
                checkpoint,
                dataset,
                passes,
                ..
            }) => workers.captures.survey(Some(SurveyRequest {
                checkpoint: checkpoint.clone(),
                dataset: dataset.clone(),
                frames: state.sample.frames,
                memory: state.sample.memory() / 2,
                passes: *passes,
                job: self.jobs.start(SURVEY_JOB, true),
            })),
            Some(SurveyOf::File(captures, dataset)) => {
                workers.captures.survey(None);
                let info = dataset.as_ref().map(|d| d.info());
                let survey = Survey::of_file(
                    captures,
                    info,
                    state.sample.frames,
                    state.sample.memory() / 2,
                );
                // Without a frame there is nothing to choose heads on but the shown one.
                self.survey = Some(Arc::new(survey)).filter(|s| !s.frames.is_empty());
            }
            None => self.forget_numbers(commands),
        }
        self.survey_of = of;
    }

    /// The capture under the cursor, if it is there.
    fn want_capture(&mut self, state: &WorkbenchState) -> Option<Arc<Capture>> {
        let workers = self.workers.as_ref()?;
        if let Some(captures) = state.source.captures() {
            self.wanted_capture = None;
            let index = state.capture_index()?;
            if state.settings.selection.forward != Forward::AsTrained {
                self.look_state = LookState::Failed(grounding::Error::Recorded.to_string().into());
                return None;
            }
            self.look_state = match &index {
                Ok(_) => LookState::Ready,
                Err(reason) => LookState::Failed(reason.as_str().into()),
            };
            return captures.captures().get(index.ok()?).cloned();
        }
        let (Some(checkpoint), Some(dataset)) = (state.source.checkpoint(), &state.dataset) else {
            self.wanted_capture = None;
            self.look_state = LookState::Nothing;
            self.look = None;
            return None;
        };
        let request = CaptureRequest {
            checkpoint: checkpoint.to_owned(),
            dataset: dataset.data.clone(),
            episode: state.cursor.episode,
            step: state.cursor.step,
            prompt: Prompt::AsGiven,
            forward: state.settings.selection.forward,
        };
        let since = match &self.wanted_capture {
            Some((wanted, since)) if *wanted == request => *since,
            _ => {
                workers.captures.request(request.clone());
                self.companions.clear();
                let now = Instant::now();
                self.wanted_capture = Some((request.clone(), now));
                now
            }
        };
        match &self.capture {
            Some(reply) if reply.request == request => match &reply.result {
                Ok(capture) => {
                    self.look_state = LookState::Ready;
                    Some(capture.clone())
                }
                Err(error) => {
                    self.look_state = LookState::Failed(format!("{error:#}").into());
                    self.look = None;
                    None
                }
            },
            _ => {
                // A look at another dataset or model was dropped; one at another step or age is only late.
                self.look_state = LookState::Waiting { since };
                None
            }
        }
    }

    /// The frame under the cursor under other prompts, once it is there itself: nothing that a scrubbing cursor waits for.
    /// `None` while something is on its way that the selection cannot do without.
    fn want_companions(&mut self, state: &WorkbenchState, ready: bool) -> Option<Companions> {
        let selection = &state.settings.selection;
        if let Some(captures) = state.source.captures() {
            let index = state.capture_index()?.ok()?;
            return Some(Companions {
                swapped: captures.swap_of(index).cloned(),
                generic: None,
            });
        }
        if !ready {
            return None;
        }
        let (workers, (given, since)) = (self.workers.as_ref()?, self.wanted_capture.as_ref()?);
        let prompts = Passes::of(selection).prompts();
        let mut companions = Companions::default();
        let mut lacks = false;
        for &prompt in prompts.iter().filter(|prompt| **prompt != Prompt::AsGiven) {
            let (place, needed) = match prompt {
                Prompt::Generic => (&mut companions.generic, true),
                _ => (
                    &mut companions.swapped,
                    selection.criterion == Criterion::InstructionChange,
                ),
            };
            let wanted = given.under(prompt);
            match self.companions.iter().find(|a| a.request == wanted) {
                Some(asked) => {
                    *place = asked.capture.clone().flatten();
                    lacks |= needed && asked.capture.is_none();
                }
                None => {
                    workers.captures.companion(wanted.clone());
                    self.companions.push(AskedCompanion {
                        request: wanted,
                        capture: None,
                    });
                    lacks |= needed;
                }
            }
        }
        if lacks {
            self.look_state = LookState::Waiting { since: *since };
            return None;
        }
        Some(companions)
    }

    fn want_look(
        &mut self,
        state: &WorkbenchState,
        capture: Option<Arc<Capture>>,
        companions: Option<Companions>,
    ) {
        // Between two captures the last one stays, and thresholds still act on it.
        let waiting = matches!(self.look_state, LookState::Waiting { .. });
        let seen = capture.zip(companions).or_else(|| {
            self.look
                .as_ref()
                .filter(|_| waiting)
                .map(|look| (look.inputs.capture.clone(), look.inputs.companions.clone()))
        });
        let Some((capture, companions)) = seen else {
            if !matches!(self.look_state, LookState::Nothing) {
                self.look = None;
            }
            return;
        };
        let Some(view) = self.view_of(state, &capture) else {
            return;
        };
        let heads = self.chosen_heads(state);
        let truth = if waiting {
            self.look
                .as_ref()
                .map(|look| look.inputs.truth.clone())
                .unwrap_or_default()
        } else {
            self.truth(state, &capture, view)
        };
        let inputs = LookInputs {
            capture,
            companions,
            view,
            selection: state.settings.selection.clone(),
            map: state.shown_map(),
            heads,
            truth,
        };
        if self.look.as_ref().is_some_and(|look| look.inputs == inputs) {
            return;
        }
        let Some(workers) = &self.workers else { return };
        if self.slow {
            workers.looks.request(inputs.clone(), self.look.clone());
            let taken = workers.looks.take();
            // A look at a frame that is no longer wanted comes too late to be shown.
            let answer = taken
                .filter(|(of, _)| Arc::ptr_eq(&of.capture, &inputs.capture))
                .map(|(_, look)| look);
            match answer {
                Some(Ok(look)) => {
                    self.slow = look.elapsed > INLINE_LOOK / 2;
                    self.look = Some(look);
                }
                Some(Err(error)) => self.fail(error),
                None => {}
            }
            let shows_another =
                |look: &Arc<Look>| !Arc::ptr_eq(&look.inputs.capture, &inputs.capture);
            if matches!(self.look_state, LookState::Ready)
                && self.look.as_ref().is_none_or(shows_another)
            {
                let since = *self.look_asked.get_or_insert_with(Instant::now);
                self.look_state = LookState::Waiting { since };
            } else {
                self.look_asked = None;
            }
            return;
        }
        self.look_asked = None;
        match Look::new(inputs, self.look.as_deref()) {
            Ok(look) => {
                self.slow = look.elapsed > INLINE_LOOK;
                self.look = Some(Arc::new(look));
            }
            Err(error) => self.fail(error.to_string().into()),
        }
    }

    fn fail(&mut self, error: Arc<str>) {
        self.look = None;
        self.look_state = LookState::Failed(error);
    }

    /// The view of the inspected camera. Without a dataset the camera counts the views that have image tokens.
    fn view_of(&mut self, state: &WorkbenchState, capture: &Capture) -> Option<usize> {
        let views = capture.grid_views();
        let Some(dataset) = &state.dataset else {
            return views.get(state.cursor.camera).or(views.first()).copied();
        };
        let camera = dataset.data.info().cameras.get(state.cursor.camera)?;
        let found = views
            .iter()
            .copied()
            .find(|v| capture.views[*v].name == camera.name);
        if found.is_none() {
            let names: Vec<&str> = views
                .iter()
                .map(|v| capture.views[*v].name.as_str())
                .collect();
            self.fail(
                format!(
                    "The model does not look through `{}` but through {}",
                    camera.name,
                    names.join(", ")
                )
                .into(),
            );
        }
        found
    }

    /// Heads chosen on the tuning split for the present selection, with the number of its frames.
    fn chosen_heads(&mut self, state: &WorkbenchState) -> Option<(Vec<HeadId>, usize)> {
        let report = self.report.as_ref()?;
        let selection = &state.settings.selection;
        let memo = match &mut self.heads {
            Some(memo) if Arc::ptr_eq(&memo.report, report) && memo.selection == *selection => memo,
            memo => memo.insert(HeadsMemo {
                report: report.clone(),
                selection: selection.clone(),
                heads: report.heads_for(selection),
            }),
        };
        Some((memo.heads.clone(), report.tuning_frames()))
    }

    /// What is known about where the frame under the cursor should be looked at.
    fn truth(&self, state: &WorkbenchState, capture: &Capture, view: usize) -> Truth {
        let name = capture.views.get(view).map_or("", |v| v.name.as_str());
        let boxes = state
            .dataset
            .as_ref()
            .and_then(|d| d.boxes.as_ref())
            .map(|(_, boxes)| boxes.as_ref());
        let detections = Truth::detections(
            boxes,
            state.cursor.episode,
            state.cursor.step,
            name,
            Some((capture, view)),
        );
        let place = Place {
            episode: state.cursor.episode,
            step: state.cursor.step,
            camera: state.cursor.camera,
        };
        match self
            .picture(place.camera)
            .filter(|p| p.place == place)
            .map(|p| &p.state)
        {
            Some(FrameState::Ready(frame)) => Truth {
                target: frame.target.as_deref().and_then(mask_rect),
                goal: frame.goal.as_deref().and_then(mask_rect),
                detections,
            },
            _ => Truth {
                detections,
                ..Truth::default()
            },
        }
    }

    fn want_report(&mut self, state: &WorkbenchState) {
        let (Some(workers), Some(survey)) = (&mut self.workers, &self.survey) else {
            return;
        };
        let selection = &state.settings.selection;
        let is_live = state.source.captures().is_none();
        let wanted = Passes::of(selection).and(state.settings.beside.as_deref());
        if is_live && !survey.passes.serve(wanted) {
            return;
        }
        let view = match (&state.dataset, &self.look) {
            (Some(dataset), _) => dataset
                .data
                .info()
                .cameras
                .get(state.cursor.camera)
                .map(|c| c.name.clone()),
            (None, Some(look)) => Some(look.view_name().to_owned()),
            (None, None) => None,
        };
        let Some(view) = view else { return };
        workers.metrics.request(MetricsRequest {
            survey: survey.clone(),
            selection: state.settings.selection.clone(),
            // Another forward pass needs captures of its own.
            beside: state
                .settings
                .beside
                .as_deref()
                .filter(|beside| beside.forward == selection.forward)
                .cloned(),
            view,
            memory: state.sample.memory() / 2,
            boxes: state
                .dataset
                .as_ref()
                .and_then(|d| d.boxes.as_ref())
                .map(|(_, boxes)| boxes.clone()),
        });
    }
}

impl Workers {
    fn start(device: model::DeviceChoice, repaint: &egui::Context) -> std::io::Result<Self> {
        let wake = || {
            let repaint = repaint.clone();
            move || repaint.request_repaint()
        };
        Ok(Self {
            frames: Frames::new(wake())?,
            captures: Captures::new(move || Models::new(device), wake())?,
            metrics: Metrics::new(wake())?,
            looks: Looks::new(wake())?,
        })
    }
}

/// The thread ("looks") for captures so large that a look takes longer than a frame of the window.
struct Looks(Arc<LooksShared>);

struct LooksShared {
    inbox: Latest<(LookInputs, Option<Arc<Look>>)>,
    asked: Mutex<Option<LookInputs>>,
    outbox: Mutex<Option<SlowLook>>,
}

/// A look, or why there is none, and what it was to be made from.
type SlowLook = (LookInputs, Result<Arc<Look>, Arc<str>>);

impl Looks {
    fn new(wake: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(LooksShared {
            inbox: Latest::default(),
            asked: Mutex::default(),
            outbox: Mutex::default(),
        });
        let body = {
            let shared = shared.clone();
            move || {
                while let Some((inputs, before)) = shared.inbox.wait() {
                    let look = guard(|| Ok(Look::new(inputs.clone(), before.as_deref())?));
                    let look = look.map(Arc::new).map_err(|e| e.to_string().into());
                    *shared.outbox.lock() = Some((inputs, look));
                    wake();
                }
            }
        };
        spawn_worker("looks", body, |error| {
            tracing::error!("the looks ended: {error:#}");
        })?;
        Ok(Self(shared))
    }

    fn request(&self, inputs: LookInputs, before: Option<Arc<Look>>) {
        let mut asked = self.0.asked.lock();
        if asked.as_ref() != Some(&inputs) {
            *asked = Some(inputs.clone());
            self.0.inbox.put((inputs, before));
        }
    }

    fn take(&self) -> Option<SlowLook> {
        self.0.outbox.lock().take()
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        self.0.inbox.close();
    }
}

#[cfg(test)]
mod tests {
    use super::fake::Bench;
    use super::*;
    use grounding::{Budget, MaskRule};

    #[test]
    fn mask_and_heads_follow_a_slider_in_the_same_frame() {
        let mut bench = Bench::captures();
        bench.update();
        let look = bench.inspector.look().unwrap().clone();
        assert!(matches!(bench.inspector.look_state(), LookState::Ready));
        assert_eq!(bench.inspector.shape(), Some((6, 4)));
        for patches in [1, 9] {
            bench.state.settings.selection.mask = MaskRule::RegionBudget(Budget::Patches(patches));
            bench.update();
            let look = bench.inspector.look().unwrap();
            assert_eq!(look.gaze.as_ref().unwrap().mask.count(), patches);
        }
        // Heads come from the tuning split once it is measured, and a change of k is a matter of counting votes.
        bench.update_until("a report", |b| {
            b.inspector.look().unwrap().heads_from == HeadsFrom::TuningSplit(12)
        });
        bench.state.settings.selection.k = 1;
        bench.update();
        assert_eq!(bench.inspector.look().unwrap().heads.len(), 1);
        assert!(look.elapsed < Duration::from_millis(100));
    }

    #[test]
    fn the_disagreement_queue_is_sent_once() {
        let mut bench = Bench::captures();
        bench.update_until("all curves", |b| {
            b.inspector.report().is_some() && !b.inspector.is_busy(&b.state)
        });
        for _ in 0..20 {
            bench.update();
        }
        let queues: Vec<usize> = bench
            .sent
            .iter()
            .filter_map(|c| {
                if let Command::SetQueue(q) = c {
                    Some(q.len())
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(queues, vec![24]);
        assert!(!bench.inspector.report_is_behind());
        assert!(!bench.inspector.is_busy(&bench.state));
        // Closing the source empties it.
        bench.state.source = Source::Nothing;
        bench.update();
        assert!(matches!(bench.sent.last(), Some(Command::SetQueue(queue)) if queue.is_empty()));
        assert!(bench.inspector.look().is_none() && bench.inspector.report().is_none());
    }

    #[test]
    fn pictures_arrive_and_carry_the_truth() {
        let mut bench = Bench::dataset();
        bench.state.cursor.step = 2;
        bench.update_until("a picture", |b| {
            let metrics = b.inspector.look().and_then(|l| l.metrics);
            metrics.is_some_and(|(_, source)| source == TruthSource::Exact)
        });
        assert_eq!(bench.inspector.picture(0).unwrap().place.step, 2);
        // The model does not look through the other camera.
        bench.state.cursor.camera = 1;
        bench.update();
        assert!(
            matches!(bench.inspector.look_state(), LookState::Failed(why) if why.contains("gripper"))
        );
        bench.state.cursor.step = 99;
        bench.state.cursor.camera = 0;
        bench.update();
        assert!(matches!(bench.inspector.look_state(), LookState::Failed(_)));
    }

    #[test]
    fn a_missing_checkpoint_is_said_once() {
        let mut bench = Bench::dataset();
        bench.state.source = Source::Checkpoint {
            path: "/nonexistent/checkpoint".into(),
        };
        bench.update_until("an error", |b| {
            matches!(b.inspector.look_state(), LookState::Failed(_))
        });
        for _ in 0..20 {
            bench.update();
            std::thread::sleep(Duration::from_millis(1));
        }
        let looks =
            |c: &&Command| matches!(c, Command::Notify(n) if n.title.contains("cannot look"));
        assert_eq!(bench.sent.iter().filter(looks).count(), 1);
    }

    #[test]
    fn numbers_that_come_too_late_are_dropped() {
        for delay in 0..12 {
            let mut bench = Bench::captures();
            bench.update();
            std::thread::sleep(Duration::from_millis(delay));
            bench.state.source = Source::Nothing;
            bench.update_until("rest", |b| !b.inspector.is_busy(&b.state));
            bench.update();
            assert!(bench.inspector.report().is_none(), "after {delay} ms");
            assert!(bench.inspector.survey().is_none());
        }
    }

    #[test]
    fn what_a_closed_model_has_to_say_is_not_heard() {
        let mut bench = Bench::dataset();
        bench.state.source = Source::Checkpoint {
            path: "/nonexistent/a".into(),
        };
        bench.update();
        bench.state.source = Source::Nothing;
        for _ in 0..50 {
            bench.update();
            std::thread::sleep(Duration::from_millis(1));
        }
        let told = |c: &Command| matches!(c, Command::Notify(_));
        assert!(!bench.sent.iter().any(told), "{:?}", bench.sent);
    }

    #[test]
    fn another_model_on_the_same_dataset_does_not_inherit_the_look() {
        let mut bench = Bench::dataset();
        bench.state.source = Source::Checkpoint {
            path: "/nonexistent/a".into(),
        };
        bench.update_until("an error", |b| {
            matches!(b.inspector.look_state(), LookState::Failed(_))
        });
        // As if the model had been there.
        let reply = bench.inspector.capture.clone().unwrap();
        bench.inspector.capture = Some(CaptureReply {
            result: Ok(Arc::new(fake::fake_capture(0, 0))),
            ..reply
        });
        bench.update();
        assert!(bench.inspector.look().is_some());
        bench.state.source = Source::Checkpoint {
            path: "/nonexistent/b".into(),
        };
        bench.update();
        assert!(bench.inspector.look().is_none());
    }

    #[test]
    fn a_recorded_pass_cannot_be_changed_and_shows_its_swap() {
        let mut bench = Bench::captures();
        bench.state.source = Source::Captures {
            path: "pairs.safetensors".into(),
            captures: Arc::new(OpenCaptures::new(
                (0..8)
                    .flat_map(|episode| {
                        [Prompt::AsGiven, Prompt::Swapped]
                            .map(|prompt| fake::fake_capture_under(episode, 2, prompt))
                    })
                    .collect(),
            )),
        };
        bench.update();
        let look = bench.inspector.look().unwrap();
        assert!(look.maps.swapped.is_some());
        assert_eq!(bench.inspector.survey().unwrap().frames.len(), 8);
        bench.state.settings.selection.forward = Forward::TowardInstruction(2.0);
        bench.update();
        assert!(bench.inspector.look().is_none());
        assert!(
            matches!(bench.inspector.look_state(), LookState::Failed(why) if why.contains("recorded forward pass"))
        );
        bench.state.settings.selection.forward = Forward::AsTrained;
        bench.update();
        assert!(bench.inspector.look().is_some());
    }

    #[test]
    fn attention_is_shown_over_the_frame_it_was_captured_on() {
        let mut bench = Bench::dataset();
        let data: SharedDataset = Arc::new(fake::FakeDataset::new(4, 24));
        let open = bench.state.dataset.as_mut().unwrap();
        open.episodes = vec![None; 4];
        open.data = data;
        let captures = [(2, 5), (2, 9), (3, 9)].map(|(e, s)| fake::fake_capture(e, s));
        bench.state.source = Source::Captures {
            path: "probes.safetensors".into(),
            captures: Arc::new(OpenCaptures::new(captures.to_vec())),
        };
        // The first capture is not of the first step of any episode.
        bench.update();
        assert!(bench.inspector.look().is_none());
        assert!(
            matches!(bench.inspector.look_state(), LookState::Failed(why) if why.contains("no capture of episode 0"))
        );
        for (episode, step) in [(3, 9), (2, 9), (2, 5)] {
            (bench.state.cursor.episode, bench.state.cursor.step) = (episode, step);
            bench.update();
            let capture = &bench.inspector.look().unwrap().inputs.capture;
            assert_eq!(capture.step, step as u64);
            assert_eq!(capture.source, format!("episode {episode}"));
        }
        let survey = bench.inspector.survey().unwrap();
        let places: Vec<_> = survey.frames.iter().map(|f| (f.episode, f.step)).collect();
        assert_eq!(places, vec![(2, 5), (2, 9), (3, 9)]);
    }
}
