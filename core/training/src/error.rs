//! What can go wrong around a run, in words that say what to do; the path comes last.

use std::io;
use std::path::{Path, PathBuf};

use crate::state::{State, Wish};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong around a run directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder has no `run.ron`.
    #[error(
        "not a run directory, run.ron is missing; choose a folder made by `gazelab train … --out DIR`: {}",
        path.display()
    )]
    NotARun {
        /// Where `run.ron` was looked for.
        path: PathBuf,
    },
    /// A run cannot be created where something already is.
    #[error("a run is written into a new or empty folder, and this one holds files already; choose another: {}", path.display())]
    Occupied {
        /// The folder that is not empty.
        path: PathBuf,
    },
    /// Reading or writing failed.
    #[error("could not {doing}: {}", path.display())]
    Io {
        /// What was tried, as a verb phrase.
        doing: &'static str,
        /// The file or folder it was tried on.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A RON file does not say what it must.
    #[error("not readable as {what}: {}", path.display())]
    Ron {
        /// What the file should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<ron::error::SpannedError>,
    },
    /// A value could not be written as RON or JSON.
    #[error("could not encode {what}: {why}; for {}", path.display())]
    Encode {
        /// What was to be written.
        what: &'static str,
        /// The reason.
        why: String,
        /// The file it was meant for.
        path: PathBuf,
    },
    /// The file was written by a newer Gazelab.
    #[error("written by a newer Gazelab (version {found}, this one reads up to {known}); update Gazelab to open it: {}", path.display())]
    Newer {
        /// Version in the file.
        found: u32,
        /// Newest version this program reads.
        known: u32,
        /// The file.
        path: PathBuf,
    },
    /// The run's description asks for something impossible.
    #[error("the run cannot be trained as described: {0}")]
    Spec(String),
    /// A step that the state machine does not have.
    #[error("a run that is {from} cannot become {to}")]
    Transition {
        /// The state the run is in.
        from: State,
        /// The state that was asked for.
        to: State,
    },
    /// A wish that the run's state does not allow.
    #[error("cannot {wish} a run that is {state}: {why}: {}", path.display())]
    Refused {
        /// What was wished.
        wish: Wish,
        /// The state the run is in.
        state: State,
        /// Why not, and what to do.
        why: &'static str,
        /// The run directory.
        path: PathBuf,
    },
    /// Another trainer holds the run.
    #[error("another trainer is at work on this run; stop it first or wait: {}", path.display())]
    Busy {
        /// The run directory.
        path: PathBuf,
    },
    /// A camera that the data set does not have.
    #[error("no camera \"{name}\"; the data set has {}: {}", .known.join(", "), path.display())]
    UnknownCamera {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
        /// The data set.
        path: PathBuf,
    },
    /// A checkpoint is not what it must be.
    #[error("the checkpoint is unusable, {why}; delete its folder to continue from the one before: {}", path.display())]
    Checkpoint {
        /// What is wrong.
        why: String,
        /// The checkpoint or one of its files.
        path: PathBuf,
    },
    /// The loss or a gradient became infinite or not a number.
    #[error(
        "the {what} is no longer a finite number at step {step}; lower the learning rate, and resume from the last checkpoint"
    )]
    NotFinite {
        /// Loss or gradient.
        what: &'static str,
        /// Training step, counted from 1.
        step: u64,
    },
    /// A worker thread ended without a result.
    #[error("the {thread} thread ended early: {why}")]
    Worker {
        /// Name of the thread.
        thread: &'static str,
        /// What it said last.
        why: String,
    },
    /// The training loop panicked; caught at the process boundary.
    #[error("the trainer panicked: {0}")]
    Panicked(String),
    /// The trainer process could not be started.
    #[error("could not start the trainer process: {}", program.display())]
    Spawn {
        /// The program that was tried.
        program: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The data set.
    #[error(transparent)]
    Episode(#[from] episode::Error),
    /// The built-in benchmark.
    #[error(transparent)]
    Tabletop(#[from] tabletop::Error),
    /// The model.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// Head selection or captures.
    #[error(transparent)]
    Grounding(#[from] grounding::Error),
}

impl Error {
    /// The message and those of its causes, outermost first: what `status.ron` keeps.
    pub fn chain(&self) -> Vec<String> {
        let mut chain = vec![self.to_string()];
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            chain.push(error.to_string());
            cause = error.source();
        }
        chain
    }

    /// Wraps an I/O error with what was tried on which path.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }
}

/// What a caught panic said.
pub(crate) fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|message| (*message).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
