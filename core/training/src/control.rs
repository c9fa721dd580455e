//! `control.ron`, what the user wants now, and `status.ron`, what the trainer says.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::files::Document;
use crate::process::host;
use crate::spec::RunSpec;
use crate::state::{State, Wish};

/// Time between two signs of life of a trainer.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);
/// A trainer on another machine that was silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(3 * HEARTBEAT.as_secs());
/// How long a trainer that was called may take to report; a loaded machine or a cold network folder takes its time.
const CALL: Duration = Duration::from_secs(30);

/// What the user wants now, with the values that may change while the run is under way.
///
/// Read by the trainer between steps. Changing it never changes the trained model: what is computed stands in
/// `run.ron`, which is written once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Layout version of the file.
    #[serde(default)]
    pub version: u32,
    /// Go on, pause or stop.
    pub wish: Wish,
    /// Steps between two lines of `metrics.jsonl`.
    pub log_every: u64,
    /// Steps between two measurements of the early error.
    pub early_every: u64,
    /// Steps between two checkpoints.
    pub checkpoint_every: u64,
    /// How many of the newest checkpoints stay.
    pub keep_checkpoints: usize,
}

impl Control {
    /// The same controls with intervals that can be; files are also edited by hand.
    pub(crate) fn sound(self) -> Self {
        Self {
            log_every: self.log_every.max(1),
            checkpoint_every: self.checkpoint_every.max(1),
            keep_checkpoints: self.keep_checkpoints.max(1),
            ..self
        }
    }

    /// The controls a run starts with.
    pub fn of(spec: &RunSpec) -> Self {
        Self {
            version: Self::VERSION,
            wish: Wish::Run,
            log_every: spec.log_every,
            early_every: spec.early_every,
            checkpoint_every: spec.checkpoint_every,
            keep_checkpoints: spec.keep_checkpoints,
        }
    }
}

impl Document for Control {
    const WHAT: &'static str = "the controls of a run";
    const VERSION: u32 = 1;
}

/// What the trainer says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Layout version of the file.
    #[serde(default)]
    pub version: u32,
    /// Where the run stands.
    pub state: State,
    /// Steps done.
    pub step: u64,
    /// Steps to do.
    pub steps: u64,
    /// Recent speed; zero before the first steps and while paused.
    pub steps_per_s: f64,
    /// Machine the trainer is, or last was, on.
    pub host: String,
    /// Process id of the trainer on that machine; zero before it has taken up the run.
    pub pid: u32,
    /// Last sign of life, in milliseconds since 1970.
    pub heartbeat: u64,
    /// The device in words; empty before the first start.
    pub device: String,
    /// Why the run failed: message and causes, outermost first.
    pub error: Option<Vec<String>>,
}

impl Status {
    /// The status of a run that nobody has started.
    pub fn queued(steps: u64) -> Self {
        Self {
            version: Self::VERSION,
            state: State::Queued,
            step: 0,
            steps,
            steps_per_s: 0.0,
            host: String::new(),
            pid: 0,
            heartbeat: now_ms(),
            device: String::new(),
            error: None,
        }
    }

    /// Seconds to the end at the present speed; `None` while that is unknown.
    pub fn seconds_left(&self) -> Option<f64> {
        (self.state == State::Running && self.steps_per_s > 0.0)
            .then(|| self.steps.saturating_sub(self.step) as f64 / self.steps_per_s)
    }

    /// Whether a trainer was called for the run and has not taken it up yet.
    pub(crate) fn is_called(&self) -> bool {
        self.state == State::Starting && self.pid == 0
    }

    /// Whether, by its signs of life, a trainer is there or on its way although nobody is seen to hold the lock: one
    /// that was called just now, or one on another machine, since not every network folder shares locks.
    pub(crate) fn shows_life(&self) -> bool {
        let silence = Duration::from_millis(now_ms().abs_diff(self.heartbeat));
        if self.is_called() {
            return silence < CALL;
        }
        let is_foreign = !self.host.is_empty() && self.host != host();
        self.state.needs_trainer() && is_foreign && silence < SILENCE
    }

    /// The same status, read by who holds the lock: whatever trainer there was is gone.
    pub(crate) fn left_behind(self) -> Self {
        if self.state.needs_trainer() {
            self.interrupted()
        } else {
            self
        }
    }

    /// The same status, seen without a living trainer behind it.
    ///
    /// A trainer that was killed leaves "Running" behind; whoever finds its lock free knows better.
    pub(crate) fn interrupted(mut self) -> Self {
        let what = if self.is_called() {
            format!(
                "the trainer called on {} did not take up the run; log.txt may tell why",
                self.host
            )
        } else {
            format!(
                "interrupted: the trainer (process {} on {}) ended without a word while the run was {}",
                self.pid, self.host, self.state
            )
        };
        self.error = Some(vec![
            what,
            "resume continues from the last checkpoint".to_owned(),
        ]);
        self.state = State::Failed;
        self.steps_per_s = 0.0;
        self
    }
}

impl Document for Status {
    const WHAT: &'static str = "the status of a run";
    const VERSION: u32 = 1;
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}
