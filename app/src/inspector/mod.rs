//! What works behind the panes: decoding frames, looking through models, measuring datasets.
//!
//! Three named threads, each with a mailbox in which the newest wish wins:
//!
//! | thread | does | answers with |
//! |---|---|---|
//! | `frames` | decodes the frame under the cursor, then its neighbours | [`CameraFrame`] |
//! | `inspector` | owns the loaded models; captures the frame under the cursor, then a survey of the dataset | [`Capture`], [`Survey`] |
//! | `metrics` | evaluates the newest selection on the survey, then the strips under the sliders | [`Report`] |
//!
//! [`Inspector::update`] runs once per frame of the window. It compares what the state asks for with what is there, sends
//! wishes, takes answers, and computes the [`Look`] at the frame under the cursor: from capture to mask, usually well
//! under a millisecond, so that mask and box follow a slider in the same frame.

mod captures;
#[cfg(test)]
pub(crate) mod fake;
mod frames;
mod latest;
mod look;
mod metrics;
mod survey;
mod truth;

pub use captures::{CaptureRequest, Eye, Models, survey};
pub use frames::{CameraFrame, FrameState, Place};
pub use latest::Latest;
pub use look::{HeadsFrom, Look, LookInputs, head_name};
pub use metrics::{FrameReport, MetricsRequest, Report, Sweep, SweepField};
pub use survey::{SURVEY_FRAMES, Split, Survey, SurveyFrame, SurveyPlan};
pub use truth::{Truth, TruthSource, mask_rect};

use crate::command::Command;
use crate::jobs::Jobs;
use crate::state::{Source, WorkbenchState};
use crate::toasts::Notice;
use captures::{CaptureReply, Captures, SurveyRequest};
use episode::SharedDataset;
use frames::{FrameRequest, Frames};
use grounding::{Capture, HeadId, HeadSelection};
use metrics::Metrics;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What is late by more than this says so.
pub const PATIENCE: Duration = Duration::from_millis(100);

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
    file: Option<OpenFile>,
    survey: Option<Arc<Survey>>,
    survey_of: Option<SurveyOf>,
    survey_wanted: AtomicBool,
    report: Option<Arc<Report>>,
    heads: Option<HeadsMemo>,
    device: Option<String>,
}

/// The threads. They start with the first update, so that making an inspector costs nothing.
struct Workers {
    frames: Frames,
    captures: Captures,
    metrics: Metrics,
    looks: Looks,
}

/// A capture file in memory, with its captures shared one by one.
struct OpenFile {
    captures: Arc<Vec<Capture>>,
    shared: Vec<Option<Arc<Capture>>>,
}

/// What a survey was made of.
#[derive(Clone)]
enum SurveyOf {
    Checkpoint(PathBuf, SharedDataset),
    File(Arc<Vec<Capture>>),
}

impl PartialEq for SurveyOf {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Checkpoint(a, x), Self::Checkpoint(b, y)) => a == b && Arc::ptr_eq(x, y),
            (Self::File(a), Self::File(b)) => Arc::ptr_eq(a, b),
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
            file: None,
            survey: None,
            survey_of: None,
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
        self.take_answers(commands);
        self.want_frames(state);
        self.want_survey(state, commands);
        let capture = self.want_capture(state);
        self.want_look(state, capture);
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
        self.workers
            .as_ref()
            .is_some_and(|w| w.metrics.is_behind(self.report.as_deref()))
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

    fn take_answers(&mut self, commands: &mut Vec<Command>) {
        let Some(workers) = &self.workers else { return };
        if let Some(reply) = workers.captures.take_reply() {
            if let Err(error) = &reply.result {
                commands.push(Command::Notify(Notice::error(
                    "The model cannot look at this frame",
                    error,
                )));
            }
            self.capture = Some(reply);
        }
        match workers.captures.take_survey() {
            Some(Ok(survey)) => self.survey = Some(survey),
            Some(Err(error)) => commands.push(Command::Notify(Notice::error(
                "The dataset cannot be measured",
                &error,
            ))),
            None => {}
        }
        if let Some(report) = workers.metrics.take() {
            let queue = report.by_disagreement();
            if self
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
        let Some(dataset) = state.dataset.as_ref().map(|d| d.data.clone()) else {
            self.pictures.clear();
            self.dataset = None;
            return;
        };
        if self
            .dataset
            .as_ref()
            .is_none_or(|d| !Arc::ptr_eq(d, &dataset))
        {
            self.pictures = vec![None; dataset.info().cameras.len()];
            self.dataset = Some(dataset.clone());
        }
        let Some(workers) = &mut self.workers else {
            return;
        };
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
        let Some(workers) = &mut self.workers else {
            return;
        };
        let of = match (&state.source, state.source.checkpoint(), &state.dataset) {
            (Source::Captures { captures, .. }, ..) => Some(SurveyOf::File(captures.clone())),
            (_, Some(checkpoint), Some(dataset)) => Some(SurveyOf::Checkpoint(
                checkpoint.to_owned(),
                dataset.data.clone(),
            )),
            _ => None,
        };
        let again = self.survey_wanted.swap(false, Ordering::Relaxed);
        if of == self.survey_of && !again {
            return;
        }
        // Heads and numbers of another model or dataset say nothing about this one; those of an earlier checkpoint of the
        // same dataset stay on screen until their successors are there.
        let same_data = matches!(
            (&of, &self.survey_of),
            (Some(SurveyOf::Checkpoint(_, a)), Some(SurveyOf::Checkpoint(_, b))) if Arc::ptr_eq(a, b)
        );
        if !same_data {
            self.survey = None;
            if self.report.take().is_some() {
                commands.push(Command::SetQueue(Vec::new()));
            }
            workers.metrics.clear();
        }
        match &of {
            Some(SurveyOf::Checkpoint(checkpoint, dataset)) => {
                workers.captures.survey(Some(SurveyRequest {
                    checkpoint: checkpoint.clone(),
                    dataset: dataset.clone(),
                    frames: SURVEY_FRAMES,
                    job: self.jobs.start("Measuring the dataset", true),
                }))
            }
            Some(SurveyOf::File(captures)) => {
                workers.captures.survey(None);
                self.survey = Some(Arc::new(Survey::of_captures(captures, SURVEY_FRAMES)));
            }
            None => workers.captures.survey(None),
        }
        self.survey_of = of;
    }

    /// The capture under the cursor, if it is there.
    fn want_capture(&mut self, state: &WorkbenchState) -> Option<Arc<Capture>> {
        let workers = self.workers.as_ref()?;
        if let Some(captures) = state.source.captures() {
            self.wanted_capture = None;
            let file = match &mut self.file {
                Some(file) if Arc::ptr_eq(&file.captures, captures) => file,
                file => file.insert(OpenFile {
                    captures: captures.clone(),
                    shared: vec![None; captures.len()],
                }),
            };
            let found = file.get(state.cursor.step);
            self.look_state = match &found {
                Some(_) => LookState::Ready,
                None => LookState::Failed("The capture file ends before this step".into()),
            };
            return found;
        }
        self.file = None;
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
        };
        let since = match &self.wanted_capture {
            Some((wanted, since)) if *wanted == request => *since,
            _ => {
                workers.captures.request(request.clone());
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
                self.look_state = LookState::Waiting { since };
                // A look at another dataset or model would be a lie; one at another step is only late.
                let stale = self
                    .capture
                    .as_ref()
                    .is_none_or(|reply| !Arc::ptr_eq(&reply.request.dataset, &request.dataset));
                if stale {
                    self.look = None;
                }
                None
            }
        }
    }

    fn want_look(&mut self, state: &WorkbenchState, capture: Option<Arc<Capture>>) {
        // Between two captures the last one stays, and thresholds still act on it.
        let waiting = matches!(self.look_state, LookState::Waiting { .. });
        let Some(capture) = capture.or_else(|| {
            self.look
                .as_ref()
                .filter(|_| waiting)
                .map(|look| look.inputs.capture.clone())
        }) else {
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
            match workers.looks.take() {
                Some(Ok(look)) => {
                    self.slow = look.elapsed > INLINE_LOOK / 2;
                    self.look = Some(look);
                }
                Some(Err(error)) => self.fail(error),
                None => {}
            }
            return;
        }
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
            view,
            boxes: state
                .dataset
                .as_ref()
                .and_then(|d| d.boxes.as_ref())
                .map(|(_, boxes)| boxes.clone()),
        });
    }
}

impl OpenFile {
    /// Capture at `index`, shared from then on. Attention is shared already; only the small parts are copied, once.
    fn get(&mut self, index: usize) -> Option<Arc<Capture>> {
        let slot = self.shared.get_mut(index)?;
        let capture = self.captures.get(index)?;
        Some(
            slot.get_or_insert_with(|| Arc::new(capture.clone()))
                .clone(),
        )
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
    outbox: Mutex<Option<Result<Arc<Look>, Arc<str>>>>,
}

impl Looks {
    fn new(wake: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(LooksShared {
            inbox: Latest::default(),
            asked: Mutex::default(),
            outbox: Mutex::default(),
        });
        std::thread::Builder::new().name("looks".into()).spawn({
            let shared = shared.clone();
            move || {
                while let Some((inputs, before)) = shared.inbox.wait() {
                    let look = Look::new(inputs, before.as_deref());
                    *shared.outbox.lock() =
                        Some(look.map(Arc::new).map_err(|e| e.to_string().into()));
                    wake();
                }
            }
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

    fn take(&self) -> Option<Result<Arc<Look>, Arc<str>>> {
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
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "tests"
    )]

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
        bench.update_until("strips", |b| {
            b.inspector.report().is_some_and(|r| !r.sweeps.is_empty())
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
}
