//! Threads that read files for the window, and the bounded channel on which their results arrive.

use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use episode::boxes::BoxFile;
use episode::{EpisodeMeta, SharedDataset};
use session::{Session, SourceRef};

use crate::command::Command;
use crate::jobs::{JobHandle, Jobs};
use crate::opening::{self, DatasetWithBoxes, Opened};
use crate::state::OpenEpisode;
use crate::toasts::Notice;

/// Results wait here until the window takes them; a thread that is far ahead waits.
const CAPACITY: usize = 64;
/// Episodes whose length and instruction arrive together.
const NAMES_AT_ONCE: usize = 64;

/// What a thread has to say.
pub enum Message {
    /// Something was opened.
    Opened(Opened),
    /// A session was opened, with what it names.
    Session(Box<OpenedSession>),
    /// The demo was opened.
    Demo(Box<DatasetWithBoxes>, Option<PathBuf>),
    /// Signals of an episode of the dataset with this number.
    Episode(u64, OpenEpisode),
    /// Length and instruction of episodes of the dataset with this number, from the first index on.
    Names(u64, usize, Vec<EpisodeMeta>),
    /// The boxes of the dataset with this number.
    Boxes(u64, PathBuf, Arc<BoxFile>),
    /// The checkpoints of a run.
    Checkpoints(PathBuf, Vec<(u64, PathBuf)>),
    /// Something to say.
    Notice(Notice),
    /// Something to do.
    Command(Command),
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
            if let Err(error) = work(&job)
                && !job.handle.is_cancelled()
            {
                job.send(Message::Notice(Notice::error(failure, &error)));
            }
        };
        if let Err(error) = std::thread::Builder::new()
            .name("loader".into())
            .spawn(body)
        {
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
        let sent = !self.handle.is_cancelled() && self.sender.send(message).is_ok();
        self.repaint.request_repaint();
        sent
    }
}

/// An episode that is made on demand has to be played to know its length; beyond this many the list says only numbers.
const GENERATED_NAMES: usize = 512;

/// Reads lengths and instructions of all episodes and hands them over piece by piece.
///
/// # Errors
/// When an episode cannot be read.
pub fn read_names(job: &Job, ticket: u64, data: &SharedDataset) -> anyhow::Result<()> {
    let most = if data.is_generated() {
        GENERATED_NAMES
    } else {
        usize::MAX
    };
    let total = data.info().episodes.min(most);
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
pub fn open_session(path: PathBuf, session: Session) -> OpenedSession {
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
        match opening::open(boxes) {
            Ok(opened) => others.push(opened),
            Err(error) => tell("box file", error),
        }
    }
    let source = match &session.source {
        SourceRef::Nothing => None,
        SourceRef::Capture(path)
        | SourceRef::Checkpoint(path)
        | SourceRef::Run { dir: path, .. } => Some(path),
    };
    if let Some(source) = source {
        match opening::open(source) {
            Ok(opened) => others.push(opened),
            Err(error) => tell("run, model or capture", error),
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
