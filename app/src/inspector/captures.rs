//! The actor that owns the loaded models.
//!
//! One named thread holds every model and runs every forward pass, so that GPU streams stay on one thread and the window
//! never waits for one. Three kinds of work reach it: the capture of the frame under the cursor (newest wins), the same
//! frame under other prompts once that is answered (a newer frame drops them), and a survey of the dataset (many captures,
//! done one by one while nothing else is wanted).

use super::survey::{Passes, PlannedFrame, Survey, SurveyFrame, SurveyPlan};
use crate::jobs::JobHandle;
use crate::worker::{guard, spawn_worker};
use anyhow::Context as _;
use burn::tensor::Device;
use episode::{Region, SharedDataset};
use grounding::{Capture, Forward, Rect};
use model::{DeviceChoice, GENERIC_PROMPT, Observation, Policy, VlaConfig};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Models kept loaded, so that stepping between neighbouring checkpoints reads each from disk once.
const LOADED_MODELS: usize = 4;

/// Frames of a survey that are delivered before the others are there; then always as many again.
const FIRST_LOOK: usize = 16;

/// Bytes of captures kept for frames that were looked at.
const CACHE_BYTES: usize = 256 << 20;

/// What a model is told about a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Prompt {
    /// The episode's instruction.
    #[default]
    AsGiven,
    /// Something else that fits the episode, see [`episode::Dataset::other_instruction`].
    Swapped,
    /// [`GENERIC_PROMPT`].
    Generic,
}

impl Prompt {
    /// The words; none where the dataset knows no other instruction.
    fn words(self, dataset: &SharedDataset, episode: usize) -> anyhow::Result<Option<Arc<str>>> {
        Ok(match self {
            Self::AsGiven => Some(dataset.episode(episode)?.instruction),
            Self::Swapped => dataset.other_instruction(episode)?,
            Self::Generic => Some(GENERIC_PROMPT.into()),
        })
    }
}

/// A frame of a dataset seen through a checkpoint.
#[derive(Clone)]
pub struct CaptureRequest {
    /// The checkpoint folder.
    pub checkpoint: PathBuf,
    /// Where the frame lies.
    pub dataset: SharedDataset,
    /// Episode index.
    pub episode: usize,
    /// Step within the episode.
    pub step: usize,
    /// What the model is told.
    pub prompt: Prompt,
    /// What is done to its attention.
    pub forward: Forward,
}

impl CaptureRequest {
    /// The same frame under another prompt.
    pub fn under(&self, prompt: Prompt) -> Self {
        Self {
            prompt,
            ..self.clone()
        }
    }
}

impl PartialEq for CaptureRequest {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.dataset, &other.dataset)
            && (self.episode, self.step) == (other.episode, other.step)
            && self.checkpoint == other.checkpoint
            && self.prompt == other.prompt
            && self.forward == other.forward
    }
}

/// A frame under another prompt; none where the dataset knows no other instruction.
pub struct CompanionReply {
    /// What was asked.
    pub request: CaptureRequest,
    /// The capture, or why there is none.
    pub result: Result<Option<Arc<Capture>>, Arc<anyhow::Error>>,
}

/// What became of a request.
#[derive(Clone)]
pub struct CaptureReply {
    /// What was asked.
    pub request: CaptureRequest,
    /// The capture, or why there is none.
    pub result: Result<Arc<Capture>, Arc<anyhow::Error>>,
    /// From the start of the work to its end; loading the model included.
    pub elapsed: Duration,
}

/// Captures of a sample of the dataset are wanted.
pub struct SurveyRequest {
    /// The checkpoint folder.
    pub checkpoint: PathBuf,
    /// The dataset to sample.
    pub dataset: SharedDataset,
    /// Frames wanted.
    pub frames: usize,
    /// Bytes of captures after which no more are made.
    pub memory: usize,
    /// How each of them is looked at.
    pub passes: Passes,
    /// Where progress is shown and cancelling is asked.
    pub job: JobHandle,
}

/// A survey, finished or as far as it is, and what it was asked for.
pub struct SurveyReply {
    /// The checkpoint folder.
    pub checkpoint: PathBuf,
    /// The sampled dataset.
    pub dataset: SharedDataset,
    /// How its frames were to be looked at.
    pub passes: Passes,
    /// The survey, or why there is none.
    pub result: Result<Arc<Survey>, Arc<anyhow::Error>>,
}

/// Which weights lie in a checkpoint folder: a run that was deleted and trained again has the same paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(Option<(SystemTime, u64)>);

impl Stamp {
    /// Looks at the weights of a checkpoint folder.
    pub fn of(checkpoint: &Path) -> Self {
        let metadata = std::fs::metadata(checkpoint.join("model.safetensors"));
        Self(
            metadata
                .ok()
                .and_then(|m| Some((m.modified().ok()?, m.len()))),
        )
    }
}

/// Turns a frame into a capture: the loaded models, or a stand-in in tests.
pub trait Eye {
    /// The capture of one frame.
    fn capture(&mut self, request: &CaptureRequest) -> anyhow::Result<Capture>;

    /// Captures of one frame under several prompts. Those without words are left out.
    fn captures(
        &mut self,
        request: &CaptureRequest,
        prompts: &[Prompt],
    ) -> anyhow::Result<Vec<(Prompt, Capture)>> {
        let mut captures = Vec::with_capacity(prompts.len());
        for &prompt in prompts {
            if prompt.words(&request.dataset, request.episode)?.is_some() {
                captures.push((prompt, self.capture(&request.under(prompt))?));
            }
        }
        Ok(captures)
    }

    /// The device it works on, once that is known.
    fn device(&self) -> Option<String>;
}

/// Handle to the actor.
pub struct Captures {
    shared: Arc<Shared>,
}

struct Shared {
    inbox: Mutex<Inbox>,
    changed: Condvar,
    outbox: Mutex<Outbox>,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Inbox {
    live: Option<CaptureRequest>,
    /// The frame that was asked for last, under other prompts.
    companions: VecDeque<CaptureRequest>,
    survey: Option<Option<SurveyRequest>>,
    /// Captures of other datasets than this one are to be forgotten.
    keep: Option<Option<SharedDataset>>,
    closed: bool,
    /// Something was asked that is not yet answered.
    busy: bool,
}

#[derive(Default)]
struct Outbox {
    reply: Option<CaptureReply>,
    companions: Vec<CompanionReply>,
    survey: Option<SurveyReply>,
    device: Option<String>,
}

enum Wish {
    Live(CaptureRequest),
    Companion(CaptureRequest),
    Survey(Option<SurveyRequest>),
    Keep(Option<SharedDataset>),
    Idle,
    Close,
}

impl Captures {
    /// Starts the thread, named `inspector`. `eye` is made on it. `wake` is called whenever an answer is ready.
    pub fn new<E: Eye>(
        eye: impl FnOnce() -> E + Send + 'static,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            inbox: Mutex::default(),
            changed: Condvar::new(),
            outbox: Mutex::default(),
            wake: Box::new(wake),
        });
        let body = {
            let shared = shared.clone();
            move || shared.run(eye())
        };
        let told = {
            let shared = shared.clone();
            // Every piece of work is guarded; should the thread end all the same, nothing is awaited from it.
            move |error: anyhow::Error| {
                tracing::error!("the inspector ended: {error:#}");
                shared.inbox.lock().busy = false;
            }
        };
        spawn_worker("inspector", body, told)?;
        Ok(Self { shared })
    }

    /// Asks for a capture; an older wish that was not yet begun is forgotten.
    pub fn request(&self, request: CaptureRequest) {
        let mut inbox = self.shared.inbox.lock();
        inbox.live = Some(request);
        inbox.companions.clear();
        inbox.busy = true;
        drop(inbox);
        self.shared.changed.notify_one();
    }

    /// Asks for a frame under another prompt, when nothing else is wanted but a survey. Forgotten with the next
    /// [`Captures::request`].
    pub fn companion(&self, request: CaptureRequest) {
        let mut inbox = self.shared.inbox.lock();
        inbox.companions.push_back(request);
        inbox.busy = true;
        drop(inbox);
        self.shared.changed.notify_one();
    }

    /// Asks for a survey, or with `None` for the end of the one that goes on. An older one is given up.
    pub fn survey(&self, request: Option<SurveyRequest>) {
        let mut inbox = self.shared.inbox.lock();
        inbox.survey = Some(request);
        inbox.busy = true;
        drop(inbox);
        self.shared.changed.notify_one();
    }

    /// Forgets captures of all datasets but this one.
    pub fn keep_only(&self, dataset: Option<SharedDataset>) {
        self.shared.inbox.lock().keep = Some(dataset);
        self.shared.changed.notify_one();
    }

    /// Takes the newest reply.
    pub fn take_reply(&self) -> Option<CaptureReply> {
        self.shared.outbox.lock().reply.take()
    }

    /// Takes what arrived of frames under other prompts.
    pub fn take_companions(&self) -> Vec<CompanionReply> {
        std::mem::take(&mut self.shared.outbox.lock().companions)
    }

    /// Takes the newest survey.
    pub fn take_survey(&self) -> Option<SurveyReply> {
        self.shared.outbox.lock().survey.take()
    }

    /// Whether an answer is still to come, or lies there to be taken.
    pub fn is_busy(&self) -> bool {
        let waits = || {
            let outbox = self.shared.outbox.lock();
            outbox.reply.is_some() || !outbox.companions.is_empty() || outbox.survey.is_some()
        };
        self.shared.inbox.lock().busy || waits()
    }

    /// The device models run on, once one was loaded.
    pub fn device(&self) -> Option<String> {
        self.shared.outbox.lock().device.clone()
    }
}

impl Drop for Captures {
    fn drop(&mut self) {
        self.shared.inbox.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn run(&self, mut eye: impl Eye) {
        let mut cache = CaptureCache::default();
        let mut running: Option<Running> = None;
        loop {
            match self.next(running.is_some()) {
                Wish::Close => return,
                Wish::Live(request) => {
                    let began = Instant::now();
                    let result = cache.get_or_make(&request, || look(&mut eye, &request));
                    let mut outbox = self.outbox.lock();
                    outbox.device = eye.device();
                    outbox.reply = Some(CaptureReply {
                        request,
                        result,
                        elapsed: began.elapsed(),
                    });
                    drop(outbox);
                    (self.wake)();
                }
                Wish::Companion(request) => {
                    let known = guard(|| request.prompt.words(&request.dataset, request.episode));
                    let result = match known {
                        Ok(None) => Ok(None),
                        Ok(Some(_)) => cache
                            .get_or_make(&request, || look(&mut eye, &request))
                            .map(Some),
                        Err(error) => Err(Arc::new(error)),
                    };
                    let reply = CompanionReply { request, result };
                    self.outbox.lock().companions.push(reply);
                    (self.wake)();
                }
                Wish::Keep(dataset) => cache.keep_only(dataset.as_ref()),
                Wish::Survey(request) => {
                    running = request.and_then(|request| {
                        let plan = guard(|| {
                            let data = request.dataset.as_ref();
                            Ok(SurveyPlan::spread(data, request.frames)?)
                        });
                        match plan {
                            Ok(plan) => Some(Running::start(request, plan)),
                            Err(error) => {
                                self.deliver(&request, Err(error));
                                None
                            }
                        }
                    });
                }
                Wish::Idle => {
                    let Some(mut survey) = running.take() else {
                        continue;
                    };
                    match guard(|| survey.step(&mut eye)) {
                        Ok(Progress::More) => {
                            if survey.is_worth_a_look() {
                                self.deliver(&survey.request, Ok(survey.so_far()));
                            }
                            running = Some(survey);
                        }
                        Ok(Progress::Cancelled) => {}
                        Ok(Progress::Done) => {
                            let (request, survey) = survey.finish();
                            self.deliver(&request, Ok(survey));
                        }
                        Err(error) => self.deliver(&survey.request, Err(error)),
                    }
                }
            }
        }
    }

    fn deliver(&self, request: &SurveyRequest, result: anyhow::Result<Survey>) {
        self.outbox.lock().survey = Some(SurveyReply {
            checkpoint: request.checkpoint.clone(),
            dataset: request.dataset.clone(),
            passes: request.passes,
            result: result.map(Arc::new).map_err(Arc::new),
        });
        (self.wake)();
    }

    /// What to do next; waits for a wish unless there is something to go on with.
    fn next(&self, busy: bool) -> Wish {
        let mut inbox = self.inbox.lock();
        loop {
            if inbox.closed {
                return Wish::Close;
            }
            if let Some(dataset) = inbox.keep.take() {
                return Wish::Keep(dataset);
            }
            if let Some(request) = inbox.live.take() {
                return Wish::Live(request);
            }
            if let Some(request) = inbox.companions.pop_front() {
                return Wish::Companion(request);
            }
            if let Some(request) = inbox.survey.take() {
                return Wish::Survey(request);
            }
            if busy {
                return Wish::Idle;
            }
            inbox.busy = false;
            self.changed.wait(&mut inbox);
        }
    }
}

/// One capture. A panic in a model (out of memory on the device, say) becomes an error: the window stays.
fn look(eye: &mut impl Eye, request: &CaptureRequest) -> anyhow::Result<Arc<Capture>> {
    guard(|| eye.capture(request)).map(Arc::new)
}

/// A survey that goes on.
struct Running {
    request: SurveyRequest,
    plan: SurveyPlan,
    frames: Vec<SurveyFrame>,
    bytes: usize,
}

enum Progress {
    More,
    Done,
    Cancelled,
}

impl Running {
    fn start(request: SurveyRequest, plan: SurveyPlan) -> Self {
        Self {
            request,
            plan,
            frames: Vec::new(),
            bytes: 0,
        }
    }

    /// Captures the next planned frame.
    fn step(&mut self, eye: &mut impl Eye) -> anyhow::Result<Progress> {
        if self.request.job.is_cancelled() {
            return Ok(Progress::Cancelled);
        }
        let (done, total) = (self.frames.len(), self.plan.frames.len());
        let Some(planned) = self.plan.frames.get(done).copied() else {
            return Ok(Progress::Done);
        };
        self.request.job.progress(
            done as f32 / total as f32,
            format!("{done} of {total} frames"),
        );
        let frame = capture_planned(
            eye,
            &self.request.checkpoint,
            &self.request.dataset,
            self.request.passes,
            planned,
        )?;
        self.bytes += frame.bytes();
        self.frames.push(frame);
        let full = self.bytes > self.request.memory;
        Ok(if full || self.frames.len() == total {
            Progress::Done
        } else {
            Progress::More
        })
    }

    /// Whether as many frames again have come as when it was last looked at.
    fn is_worth_a_look(&self) -> bool {
        self.frames.len() >= FIRST_LOOK && self.frames.len().is_power_of_two()
    }

    fn so_far(&self) -> Survey {
        Survey {
            planned: self.plan.frames.len(),
            passes: self.request.passes,
            frames: self.frames.clone(),
        }
    }

    fn finish(self) -> (SurveyRequest, Survey) {
        let survey = Survey {
            planned: self.plan.frames.len(),
            passes: self.request.passes,
            frames: self.frames,
        };
        (self.request, survey)
    }
}

/// Captures one planned frame under all prompts that are wanted, with its exact boxes.
fn capture_planned(
    eye: &mut impl Eye,
    checkpoint: &Path,
    dataset: &SharedDataset,
    passes: Passes,
    planned: PlannedFrame,
) -> anyhow::Result<SurveyFrame> {
    let PlannedFrame {
        episode,
        step,
        split,
    } = planned;
    let request = CaptureRequest {
        checkpoint: checkpoint.to_owned(),
        dataset: dataset.clone(),
        episode,
        step,
        prompt: Prompt::AsGiven,
        forward: passes.forward,
    };
    let captures = guard(|| eye.captures(&request, passes.prompts()))?;
    let mut captures: Vec<(Prompt, Arc<Capture>)> = captures
        .into_iter()
        .map(|(prompt, capture)| (prompt, Arc::new(capture)))
        .collect();
    let mut take = |wanted| {
        let found = captures.iter().position(|(prompt, _)| *prompt == wanted)?;
        Some(captures.swap_remove(found).1)
    };
    let capture = take(Prompt::AsGiven).context("the model gave no capture")?;
    let exact = exact_boxes(dataset, episode, step, &capture)?;
    Ok(SurveyFrame {
        episode,
        step,
        group: episode,
        split,
        capture,
        swapped: take(Prompt::Swapped),
        generic: take(Prompt::Generic),
        exact,
    })
}

/// Captures a spread sample of a dataset on the calling thread, each frame when it is taken: what `gazelab ground`
/// measures.
///
/// # Errors
/// When the dataset cannot be sampled; later, when the model or a frame cannot be read or they do not fit.
pub fn sample(
    checkpoint: PathBuf,
    dataset: SharedDataset,
    frames: usize,
    passes: Passes,
    device: DeviceChoice,
) -> anyhow::Result<impl Iterator<Item = anyhow::Result<SurveyFrame>>> {
    let plan = SurveyPlan::spread(dataset.as_ref(), frames)?;
    let mut models = Models::new(device);
    Ok(plan
        .frames
        .into_iter()
        .map(move |planned| capture_planned(&mut models, &checkpoint, &dataset, passes, planned)))
}

/// Boxes around the exact target masks, one entry per view of the capture, normalised to the view's image.
fn exact_boxes(
    dataset: &SharedDataset,
    episode: usize,
    step: usize,
    capture: &Capture,
) -> anyhow::Result<Vec<Option<Rect>>> {
    capture
        .views
        .iter()
        .map(|view| {
            let Some(camera) = dataset
                .info()
                .cameras
                .iter()
                .position(|c| c.name == view.name)
            else {
                return Ok(None);
            };
            let mask = dataset.mask(episode, step, camera, Region::Target)?;
            Ok(mask.and_then(|mask| super::mask_rect(&mask)))
        })
        .collect()
}

/// Bytes a capture is charged for: its weights, and a rough share for its tokens.
pub(crate) fn capture_bytes(capture: &Capture) -> usize {
    capture.attn.len() * size_of::<f32>() + capture.keys.len() * 96
}

/// The last captures, so that scrubbing back costs nothing.
#[derive(Default)]
struct CaptureCache {
    entries: Vec<(CaptureRequest, Stamp, Arc<Capture>)>,
    bytes: usize,
}

impl CaptureCache {
    fn get_or_make(
        &mut self,
        request: &CaptureRequest,
        make: impl FnOnce() -> anyhow::Result<Arc<Capture>>,
    ) -> Result<Arc<Capture>, Arc<anyhow::Error>> {
        let stamp = Stamp::of(&request.checkpoint);
        let same = |(r, s, _): &(CaptureRequest, Stamp, _)| r == request && *s == stamp;
        if let Some(index) = self.entries.iter().position(same) {
            let entry = self.entries.remove(index);
            let capture = entry.2.clone();
            self.entries.push(entry);
            return Ok(capture);
        }
        let capture = make().map_err(Arc::new)?;
        self.bytes += capture_bytes(&capture);
        self.entries.push((request.clone(), stamp, capture.clone()));
        while self.bytes > CACHE_BYTES && self.entries.len() > 1 {
            let (.., old) = self.entries.remove(0);
            self.bytes -= capture_bytes(&old);
        }
        Ok(capture)
    }

    fn keep_only(&mut self, dataset: Option<&SharedDataset>) {
        self.entries
            .retain(|(r, ..)| dataset.is_some_and(|d| Arc::ptr_eq(d, &r.dataset)));
        self.bytes = self.entries.iter().map(|(.., c)| capture_bytes(c)).sum();
    }
}

/// The models in memory.
pub struct Models {
    choice: DeviceChoice,
    /// The device and its name, once the first model asked for it.
    device: Option<(Device, String)>,
    /// Least recently used first.
    loaded: Vec<(PathBuf, Stamp, Policy)>,
}

impl Models {
    /// Nothing is loaded and no device is touched before the first capture.
    pub fn new(choice: DeviceChoice) -> Self {
        Self {
            choice,
            device: None,
            loaded: Vec::new(),
        }
    }

    /// Reads a checkpoint folder from disk unless it is among the last few used, and puts it last in the list.
    fn load(&mut self, checkpoint: &Path) -> anyhow::Result<()> {
        let stamp = Stamp::of(checkpoint);
        let same = |(path, _, _): &(PathBuf, Stamp, Policy)| path == checkpoint;
        if let Some(index) = self.loaded.iter().position(same) {
            let entry = self.loaded.remove(index);
            if entry.1 == stamp {
                self.loaded.push(entry);
                return Ok(());
            }
        }
        let (device, _) = match &self.device {
            Some(device) => device,
            None => self.device.insert(self.choice.resolve()?),
        };
        let policy = Policy::load_on(checkpoint, device)?;
        if self.loaded.len() == LOADED_MODELS {
            self.loaded.remove(0);
        }
        self.loaded.push((checkpoint.to_owned(), stamp, policy));
        Ok(())
    }
}

impl Eye for Models {
    fn capture(&mut self, request: &CaptureRequest) -> anyhow::Result<Capture> {
        let captures = self.captures(request, &[request.prompt])?;
        let (_, capture) = captures
            .into_iter()
            .next()
            .context("the dataset has no other instruction")?;
        Ok(capture)
    }

    fn captures(
        &mut self,
        request: &CaptureRequest,
        prompts: &[Prompt],
    ) -> anyhow::Result<Vec<(Prompt, Capture)>> {
        self.load(&request.checkpoint)?;
        let (.., policy) = self.loaded.last().context("no model is loaded")?;
        let CaptureRequest {
            dataset,
            episode,
            step,
            ..
        } = request;
        let given = observe(policy.config(), dataset, *episode, *step)?;
        let (mut told, mut observations) = (Vec::new(), Vec::new());
        for &prompt in prompts {
            if let Some(instruction) = prompt.words(dataset, *episode)? {
                told.push(prompt);
                observations.push(Observation {
                    instruction,
                    ..given.clone()
                });
            }
        }
        // A copy shares the weights.
        let policy = policy.clone().with_forward(request.forward)?;
        let mut captures = policy.captures(&observations)?;
        for capture in &mut captures {
            capture.step = *step as u64;
            capture.source = format!("{}, episode {episode}", dataset.info().name);
        }
        Ok(told.into_iter().zip(captures).collect())
    }

    fn device(&self) -> Option<String> {
        self.device.as_ref().map(|(_, name)| name.clone())
    }
}

/// What a model is shown of one frame. Cameras are found by name; a model with proprioception gets the recorded state.
fn observe(
    config: &VlaConfig,
    dataset: &SharedDataset,
    episode: usize,
    step: usize,
) -> anyhow::Result<Observation> {
    let info = dataset.info();
    let images = config
        .cameras
        .iter()
        .map(|wanted| {
            let camera = info
                .cameras
                .iter()
                .position(|c| c.name == wanted.name)
                .with_context(|| {
                    let names: Vec<&str> = info.cameras.iter().map(|c| c.name.as_str()).collect();
                    format!(
                        "the model looks through camera `{}`, {} has {}",
                        wanted.name,
                        info.name,
                        names.join(", ")
                    )
                })?;
            Ok(dataset.image(episode, step, camera)?)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let state = if config.state_dim == 0 {
        Vec::new()
    } else {
        let signals = dataset.signals(episode)?;
        let state = signals.state(step).unwrap_or_default();
        anyhow::ensure!(
            state.len() == config.state_dim,
            "the model takes a state of {} numbers, {} has {}",
            config.state_dim,
            info.name,
            state.len()
        );
        state.to_vec()
    };
    Ok(Observation {
        images,
        state,
        instruction: dataset.episode(episode)?.instruction,
    })
}

#[cfg(test)]
mod tests {
    use super::super::fake::{FakeDataset, OTHER, fake_capture_under};
    use super::*;
    use crate::jobs::Jobs;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct FakeEye {
        delay: Duration,
        looked: Arc<AtomicUsize>,
    }

    impl Eye for FakeEye {
        fn capture(&mut self, request: &CaptureRequest) -> anyhow::Result<Capture> {
            std::thread::sleep(self.delay);
            self.looked.fetch_add(1, Ordering::Relaxed);
            match request.step {
                66 => panic!("device lost"),
                77 => anyhow::bail!("no such frame"),
                step => Ok(fake_capture_under(request.episode, step, request.prompt)),
            }
        }

        fn device(&self) -> Option<String> {
            Some("fake".into())
        }
    }

    fn start(delay_ms: u64) -> (Captures, Arc<AtomicUsize>) {
        let looked = Arc::new(AtomicUsize::new(0));
        let eye = FakeEye {
            delay: Duration::from_millis(delay_ms),
            looked: looked.clone(),
        };
        (Captures::new(move || eye, || {}).unwrap(), looked)
    }

    fn wait<T>(mut take: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(value) = take() {
                return value;
            }
            assert!(Instant::now() < deadline, "nothing came");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn request(dataset: &SharedDataset, step: usize) -> CaptureRequest {
        CaptureRequest {
            checkpoint: "step-1".into(),
            dataset: dataset.clone(),
            episode: 0,
            step,
            prompt: Prompt::AsGiven,
            forward: Forward::AsTrained,
        }
    }

    #[test]
    fn the_newest_wish_wins_and_going_back_is_free() {
        let dataset: SharedDataset = Arc::new(FakeDataset::new(2, 50));
        let (captures, looked) = start(10);
        for step in 0..40 {
            captures.request(request(&dataset, step));
        }
        let reply = wait(|| captures.take_reply().filter(|r| r.request.step == 39));
        assert_eq!(reply.result.unwrap().step, 39);
        assert!(looked.load(Ordering::Relaxed) <= 3);
        let before = looked.load(Ordering::Relaxed);
        captures.request(request(&dataset, 39));
        wait(|| captures.take_reply());
        assert_eq!(looked.load(Ordering::Relaxed), before);
        assert_eq!(captures.device().as_deref(), Some("fake"));
    }

    #[test]
    fn a_panic_in_a_model_is_an_error_and_the_actor_goes_on() {
        let dataset: SharedDataset = Arc::new(FakeDataset::new(1, 100));
        let (captures, _) = start(0);
        captures.request(request(&dataset, 66));
        let error = wait(|| captures.take_reply()).result.unwrap_err();
        assert!(error.to_string().contains("device lost"), "{error}");
        captures.request(request(&dataset, 77));
        assert!(wait(|| captures.take_reply()).result.is_err());
        captures.request(request(&dataset, 1));
        assert!(wait(|| captures.take_reply()).result.is_ok());
    }

    #[test]
    fn a_survey_lets_the_cursor_go_first_and_can_be_cancelled() {
        let dataset: SharedDataset = Arc::new(FakeDataset::new(10, 20));
        let jobs = Jobs::new(egui::Context::default());
        let survey = |frames| SurveyRequest {
            checkpoint: "step-1".into(),
            dataset: dataset.clone(),
            frames,
            memory: usize::MAX,
            passes: Passes::default(),
            job: jobs.start("Surveying", true),
        };
        let (captures, looked) = start(2);
        captures.survey(Some(survey(200)));
        wait(|| (looked.load(Ordering::Relaxed) > 3).then_some(()));
        captures.request(request(&dataset, 5));
        wait(|| captures.take_reply());
        assert!(
            looked.load(Ordering::Relaxed) < 150,
            "the survey went first"
        );
        jobs.cancel(jobs.list()[0].id);
        wait(|| jobs.is_empty().then_some(()));
        // What was done until then may lie there, the whole does not.
        let left = captures.take_survey().map(|reply| reply.result.unwrap());
        assert!(left.is_none_or(|survey| survey.frames.len() < survey.planned));

        captures.survey(Some(survey(8)));
        let done = wait(|| captures.take_survey()).result.unwrap();
        assert_eq!(done.frames.len(), 8);
        assert!(jobs.is_empty());
    }

    #[test]
    fn a_survey_is_delivered_while_it_goes_on() {
        let dataset: SharedDataset = Arc::new(FakeDataset::new(10, 20));
        let jobs = Jobs::new(egui::Context::default());
        let (captures, _) = start(2);
        captures.survey(Some(SurveyRequest {
            checkpoint: "step-1".into(),
            dataset,
            frames: 40,
            memory: usize::MAX,
            passes: Passes::default(),
            job: jobs.start("Surveying", true),
        }));
        let mut seen: Vec<Arc<Survey>> = Vec::new();
        while seen.last().is_none_or(|s| s.frames.len() < s.planned) {
            seen.push(wait(|| captures.take_survey()).result.unwrap());
        }
        let frames: Vec<usize> = seen.iter().map(|s| s.frames.len()).collect();
        assert_eq!(frames.last(), Some(&40));
        assert!(
            frames.len() > 1 && frames.iter().all(|n| [16, 32, 40].contains(n)),
            "{frames:?}"
        );
        let grows = |pair: &[Arc<Survey>]| pair[1].is_more_of(&pair[0]);
        assert!(seen.windows(2).all(grows));
    }

    #[test]
    fn a_model_trained_anew_into_the_same_folder_is_looked_through_again() {
        let dir = tempfile::tempdir().unwrap();
        let weights = dir.path().join("model.safetensors");
        std::fs::write(&weights, "old").unwrap();
        let dataset: SharedDataset = Arc::new(FakeDataset::new(1, 9));
        let (captures, looked) = start(0);
        let request = CaptureRequest {
            checkpoint: dir.path().to_owned(),
            ..request(&dataset, 1)
        };
        let look = || {
            captures.request(request.clone());
            wait(|| captures.take_reply());
            looked.load(Ordering::Relaxed)
        };
        assert_eq!((look(), look()), (1, 1));
        std::fs::write(&weights, "trained again").unwrap();
        assert_eq!((look(), look()), (2, 2));
    }

    #[test]
    fn captures_of_a_closed_dataset_are_forgotten() {
        let dataset: SharedDataset = Arc::new(FakeDataset::new(1, 9));
        let (captures, _) = start(0);
        captures.request(request(&dataset, 1));
        drop(wait(|| captures.take_reply()));
        assert!(Arc::strong_count(&dataset) > 1);
        captures.keep_only(None);
        wait(|| (Arc::strong_count(&dataset) == 1).then_some(()));
    }

    #[test]
    fn a_frame_is_seen_under_other_prompts_once_it_is_there() {
        let alone: SharedDataset = Arc::new(FakeDataset::new(1, 100));
        let twins: SharedDataset = Arc::new(FakeDataset::new(1, 100).with_twins());
        let (captures, looked) = start(5);
        let both = |given: &CaptureRequest| {
            captures.companion(given.under(Prompt::Swapped));
            captures.companion(given.under(Prompt::Generic));
        };
        for (dataset, instruction) in [(&twins, Some(OTHER)), (&alone, None)] {
            let given = request(dataset, 3);
            captures.request(given.clone());
            both(&given);
            assert!(wait(|| captures.take_reply()).request == given);
            let mut replies = Vec::new();
            wait(|| {
                replies.extend(captures.take_companions());
                (replies.len() == 2).then_some(())
            });
            let told = |prompt| {
                let found = replies.iter().find(|r| r.request.prompt == prompt).unwrap();
                let capture = found.result.as_ref().unwrap().as_ref();
                capture.map(|c| c.instruction.clone())
            };
            assert_eq!(told(Prompt::Swapped).as_deref(), instruction);
            assert_eq!(told(Prompt::Generic).as_deref(), Some(GENERIC_PROMPT));
        }
        // A newer frame goes first and drops what was still to come of the older one.
        wait(|| (!captures.is_busy()).then_some(()));
        let before = looked.load(Ordering::Relaxed);
        for step in 10..30 {
            captures.request(request(&twins, step));
            both(&request(&twins, step));
        }
        wait(|| captures.take_reply().filter(|r| r.request.step == 29));
        wait(|| (captures.take_companions().len() == 2 || !captures.is_busy()).then_some(()));
        let after = looked.load(Ordering::Relaxed);
        assert!(after - before <= 6, "{} frames", after - before);
        // A panic is an error of that companion alone.
        captures.companion(request(&twins, 66).under(Prompt::Generic));
        let failed = wait(|| captures.take_companions().pop());
        assert!(failed.result.is_err());
    }

    #[test]
    fn a_survey_holds_the_prompts_that_are_wanted() {
        let jobs = Jobs::new(egui::Context::default());
        let (captures, looked) = start(0);
        let survey = |dataset: FakeDataset, passes| {
            captures.survey(Some(SurveyRequest {
                checkpoint: "step-1".into(),
                dataset: Arc::new(dataset),
                frames: 8,
                memory: usize::MAX,
                passes,
                job: jobs.start("Surveying", true),
            }));
            let before = looked.load(Ordering::Relaxed);
            let reply = wait(|| captures.take_survey());
            assert_eq!(reply.passes, passes);
            (
                reply.result.unwrap(),
                looked.load(Ordering::Relaxed) - before,
            )
        };
        let alone = || FakeDataset::new(10, 20);
        let plain = Passes::default();
        let (seen, looks) = survey(alone(), plain);
        assert!(
            seen.frames
                .iter()
                .all(|f| f.swapped.is_none() && f.generic.is_none())
        );
        assert_eq!(looks, 8);
        let (seen, looks) = survey(alone().with_twins(), plain);
        for frame in &seen.frames {
            assert_eq!(frame.swapped.as_ref().unwrap().instruction, OTHER);
            assert_eq!(frame.bytes(), 2 * capture_bytes(&frame.capture));
        }
        assert_eq!(looks, 16);
        let everything = Passes {
            forward: Forward::TowardInstruction(2.0),
            generic: true,
        };
        let (seen, looks) = survey(alone().with_twins(), everything);
        assert!(
            seen.frames
                .iter()
                .all(|f| f.swapped.is_some() && f.generic.is_some())
        );
        assert_eq!((looks, seen.passes), (24, everything));
        assert!(!plain.serve(everything) && !everything.serve(plain));
    }

    #[test]
    fn a_panic_within_a_survey_is_told() {
        let dataset: SharedDataset = Arc::new(FakeDataset::new(1, 100));
        let jobs = Jobs::new(egui::Context::default());
        let (captures, _) = start(0);
        captures.survey(Some(SurveyRequest {
            checkpoint: "step-1".into(),
            dataset,
            frames: 100,
            memory: usize::MAX,
            passes: Passes::default(),
            job: jobs.start("Surveying", true),
        }));
        // The eye panics at step 66.
        let reply = wait(|| captures.take_survey().filter(|r| r.result.is_err()));
        assert!(reply.result.is_err() && reply.checkpoint == Path::new("step-1"));
        wait(|| (!captures.is_busy() && jobs.is_empty()).then_some(()));
    }
}
