//! Training runs: their directory, their states, the loop that trains, and how to start and watch them.
//!
//! A run is a directory ([`RunDir`]) and nothing else. The trainer ([`train`]) is a process that holds the directory's
//! lock, does what `run.ron` asks and `control.ron` wishes, and says in `status.ron` how far it is. Windows and
//! command lines only read and write these files, so a run outlives the window that started it, and a run on another
//! machine of the same file system looks like a local one.
//!
//! A step draws its batch, colours and masks from the seed and its own number. Together with the optimiser's state in
//! the checkpoint this makes a run that was killed and resumed equal, bit for bit on the CPU, one that was not.

mod control;
mod corpus;
mod early;
mod error;
mod files;
mod learner;
mod metrics;
mod prefetch;
mod process;
mod reporter;
mod rng;
mod run_dir;
mod spec;
mod state;
mod steering;
mod trainer;
mod watcher;

pub use control::{Control, Status};
pub use error::{Error, Result};
pub use metrics::{MetricRow, MetricsReader};
pub use process::{Launch, resume, spawn, stop_on_signals};
pub use run_dir::RunDir;
pub use spec::{DataSpec, ModelSpec, RunRequest, RunSpec, Schedule, default_cameras};
pub use state::{State, Wish};
pub use trainer::{Event, train, train_until};
pub use watcher::{RunSummary, RunView, Watcher};
