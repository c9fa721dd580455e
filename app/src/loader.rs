//! Threads that read files for the window, and the bounded channel on which their results arrive.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crossbeam_channel::{Receiver, Sender, bounded};
use episode::boxes::BoxFile;
use episode::{EpisodeMeta, SharedDataset};
use session::{Session, SourceRef};

use crate::command::Command;
use crate::jobs::{JobHandle, Jobs};
use crate::opening::{self, DatasetWithBoxes, Kind, Opened};
use crate::state::OpenEpisode;
use crate::toasts::Notice;
use crate::worker::{guard, spawn_worker};

/// Results wait here until the window takes them; a thread that is far ahead waits.
const CAPACITY: usize = 64;
/// Episodes whose length and instruction arrive together.
const NAMES_AT_ONCE: usize = 64;

/// What a thread has to say.
pub enum Message {
    /// Something was opened; the number says when it was asked for.
    Opened(u64, Opened),
    /// A session was opened, with what it names; the number says when it was asked for.
    Session(u64, Box<OpenedSession>),
    /// The demo was opened; the number says when it was asked for.
    Demo(u64, Box<DatasetWithBoxes>, Option<PathBuf>),
    /// The session was saved, or why it was not.
    Saved(Box<SavedSession>),
    /// These runs were created, and shall be started or not.
    Created(Vec<PathBuf>, bool),
    /// This run was not started.
    NotStarted(PathBuf),
    /// Signals of an episode of the dataset with this number.
    Episode(u64, OpenEpisode),
    /// Length and instruction of episodes of the dataset with this number, from the first index on.
    Names(u64, usize, Vec<EpisodeMeta>),
    /// The boxes of the dataset with this number.
    Boxes(u64, PathBuf, Arc<BoxFile>),
    /// The checkpoints of a run; the number says when they were asked for.
    Checkpoints(u64, PathBuf, Vec<(u64, PathBuf)>),
    /// Something to say.
    Notice(Notice),
    /// Something to do.
    Command(Command),
}

/// A session that was written, or not.
pub struct SavedSession {
    /// Which session of the window it is.
    pub number: u64,
    /// The file.
    pub path: PathBuf,
    /// What was written.
    pub session: Session,
    /// Whether it was.
    pub result: anyhow::Result<()>,
}

/// A session and what it names, as far as it could be opened.
pub struct OpenedSession {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub session: Session,
    /// The dataset it names.
    pub dataset: Option<DatasetWithBoxes>,
    /// The box file, run, model or capture it names.
    pub others: Vec<Opened>,
    /// What could not be opened.
    pub missing: Vec<Notice>,
}

/// Starts the threads and takes their results.
pub struct Loader {
    sender: Sender<Message>,
    receiver: Receiver<Message>,
    jobs: Jobs,
    repaint: egui::Context,
}

impl Loader {
    /// A loader whose results repaint `repaint`.
    pub fn new(jobs: Jobs, repaint: egui::Context) -> Self {
        let (sender, receiver) = bounded(CAPACITY);
        Self {
            sender,
            receiver,
            jobs,
            repaint,
        }
    }

    /// What has arrived.
    pub fn take(&self) -> Vec<Message> {
        self.receiver.try_iter().collect()
    }

    /// Runs `work` on a thread of its own under a line in the jobs list. `failure` begins the toast when it fails.
    pub fn spawn(
        &self,
        label: impl Into<String>,
        failure: impl Into<String>,
        work: impl FnOnce(&Job) -> anyhow::Result<()> + Send + 'static,
    ) {
        let label = label.into();
        let failure = failure.into();
        let job = Job {
            handle: self.jobs.start(label.clone(), true),
            sender: self.sender.clone(),
            repaint: self.repaint.clone(),
        };
        let body = move || {
            if let Err(error) = guard(|| work(&job))
                && !job.handle.is_cancelled()
            {
                job.send(Message::Notice(Notice::error(failure, &error)));
            }
        };
        let told = |error| tracing::error!("a loader ended: {error:#}");
        if let Err(error) = spawn_worker("loader", body, told) {
            let error = anyhow::Error::from(error).context("no thread could be started");
            let _full = self
                .sender
                .try_send(Message::Notice(Notice::error(label, &error)));
        }
    }
}

/// The thread's side.
pub struct Job {
    /// Progress and the wish to cancel.
    pub handle: JobHandle,
    sender: Sender<Message>,
    repaint: egui::Context,
}

impl Job {
    /// Hands a result to the window. False when the window is gone or the job was cancelled.
    pub fn send(&self, message: Message) -> bool {
        !self.handle.is_cancelled() && self.tell(message)
    }

    /// Hands over what has happened whether or not the job was cancelled since. False when the window is gone.
    pub fn tell(&self, message: Message) -> bool {
        let sent = self.sender.send(message).is_ok();
        self.repaint.request_repaint();
        sent
    }
}

/// Reads lengths and instructions of all episodes and hands them over piece by piece.
///
/// # Errors
/// When an episode cannot be read.
pub fn read_names(job: &Job, ticket: u64, data: &SharedDataset) -> anyhow::Result<()> {
    let total = data.info().episodes;
    let mut first = 0;
    while first < total {
        let last = (first + NAMES_AT_ONCE).min(total);
        let names = (first..last)
            .map(|index| data.episode(index))
            .collect::<Result<Vec<_>, _>>()?;
        if !job.send(Message::Names(ticket, first, names)) {
            break;
        }
        first = last;
        job.handle
            .progress(first as f32 / total as f32, format!("{first} of {total}"));
    }
    Ok(())
}

/// Opens what a session names. What is missing is told; the rest opens.
///
/// # Errors
/// When the session itself cannot be read.
pub fn open_session(path: PathBuf, session: Session, cancel: &AtomicBool) -> OpenedSession {
    let mut missing = Vec::new();
    let mut tell = |what: &str, error: anyhow::Error| {
        missing.push(Notice::error(
            format!("The session's {what} did not open"),
            &error,
        ));
    };
    let dataset = session.dataset.as_deref().and_then(|origin| {
        opening::open_dataset(origin)
            .map_err(|error| tell("dataset", error))
            .ok()
    });
    let mut others = Vec::new();
    if let Some(boxes) = &session.boxes {
        match opening::open_only(boxes, Kind::Boxes, cancel) {
            Ok(opened) => others.push(opened),
            Err(error) => tell("box file", error),
        }
    }
    let source = match &session.source {
        SourceRef::Nothing => None,
        SourceRef::Capture(path) => Some((path, Kind::Capture, "capture")),
        SourceRef::Checkpoint(path) => Some((path, Kind::Model, "model")),
        SourceRef::Run { dir, .. } => Some((dir, Kind::Run, "run")),
    };
    if let Some((path, kind, what)) = source {
        match opening::open_only(path, kind, cancel) {
            Ok(opened) => others.push(opened),
            Err(error) => tell(what, error),
        }
    }
    OpenedSession {
        path,
        session,
        dataset,
        others,
        missing,
    }
}
