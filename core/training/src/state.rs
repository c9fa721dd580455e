//! The states of a run and the steps between them.
//!
//! ```text
//! Queued → Starting → Running ⇄ Paused → Finished | Stopped | Failed
//!                        Pausing ┘
//!                        Stopping ─────────────────┘
//! ```
//! [`State::may_become`] is the only list of legal steps. Who holds the run's lock takes them: the trainer, and for a
//! moment who calls one or cancels a run that never had one. Everybody else says a [`Wish`], and [`State::accepts`] says
//! which wishes make sense when.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum State {
    /// Described, never started.
    Queued,
    /// A trainer was called, or reads data and builds or loads the model.
    Starting,
    /// Steps are being taken.
    Running,
    /// Asked to pause; the trainer writes a checkpoint first.
    Pausing,
    /// The trainer is alive and idle.
    Paused,
    /// Asked to stop; the trainer writes a checkpoint first.
    Stopping,
    /// Ended on request; can be resumed.
    Stopped,
    /// All steps are done.
    Finished,
    /// Ended by an error, or the trainer vanished; can be resumed.
    Failed,
}

impl State {
    /// Every state, in the order of a run's life.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Starting,
        Self::Running,
        Self::Pausing,
        Self::Paused,
        Self::Stopping,
        Self::Stopped,
        Self::Finished,
        Self::Failed,
    ];

    /// Whether a trainer must be alive in this state.
    pub fn needs_trainer(self) -> bool {
        matches!(
            self,
            Self::Starting | Self::Running | Self::Pausing | Self::Paused | Self::Stopping
        )
    }

    /// Whether the run is over, for now or for good.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Stopped | Self::Finished | Self::Failed)
    }

    /// Whether a trainer can be started on a run in this state.
    pub fn can_start(self) -> bool {
        self.may_become(Self::Starting)
    }

    /// Whether the step from this state to `next` exists.
    pub fn may_become(self, next: Self) -> bool {
        use State::{
            Failed, Finished, Paused, Pausing, Queued, Running, Starting, Stopped, Stopping,
        };
        match self {
            Queued => matches!(next, Starting | Stopped | Failed),
            Starting => matches!(next, Running | Stopping | Finished | Failed),
            Running => matches!(next, Pausing | Stopping | Finished | Failed),
            Pausing => matches!(next, Paused | Running | Stopping | Failed),
            Paused => matches!(next, Running | Stopping | Failed),
            Stopping => matches!(next, Stopped | Failed),
            Stopped | Failed => matches!(next, Starting),
            Finished => false,
        }
    }

    /// The state after the step to `next`.
    ///
    /// # Errors
    /// [`Error::Transition`] when there is no such step.
    pub fn step_to(self, next: Self) -> Result<Self> {
        if self.may_become(next) {
            Ok(next)
        } else {
            Err(Error::Transition {
                from: self,
                to: next,
            })
        }
    }

    /// Whether `wish` makes sense now; if not, why, and what to do instead.
    pub fn accepts(self, wish: Wish) -> Result<(), &'static str> {
        match (wish, self) {
            (_, Self::Finished) => Err("it is finished; create a new run to train further"),
            (Wish::Run, Self::Stopping) => Err("wait until it has stopped, then resume it"),
            (Wish::Run, Self::Stopped | Self::Failed) => {
                Err("no trainer is alive; start one with `gazelab run resume RUN_DIR`")
            }
            (Wish::Pause, Self::Queued) => Err("it has not been started"),
            (Wish::Pause, Self::Stopping) => Err("it is stopping already"),
            (Wish::Pause | Wish::Stop, Self::Stopped | Self::Failed) => {
                Err("no trainer is at work on it")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
            Self::Failed => "failed",
        })
    }
}

/// What the user wants of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Wish {
    /// Go on.
    #[default]
    Run,
    /// Stay alive and idle.
    Pause,
    /// Write a checkpoint and end.
    Stop,
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Run => "resume",
            Self::Pause => "pause",
            Self::Stop => "stop",
        })
    }
}

impl FromStr for Wish {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "run" | "resume" => Ok(Self::Run),
            "pause" => Ok(Self::Pause),
            "stop" => Ok(Self::Stop),
            _ => Err(Error::Spec(format!(
                "unknown wish \"{text}\"; it is one of resume, pause, stop"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_can_live_through_pause_stop_and_resume() {
        use State::{Finished, Paused, Pausing, Queued, Running, Starting, Stopped, Stopping};
        let life = [
            Queued, Starting, Running, Pausing, Paused, Running, Stopping, Stopped, Starting,
            Running, Finished,
        ];
        for pair in life.windows(2) {
            assert_eq!(pair[0].step_to(pair[1]).unwrap(), pair[1]);
        }
    }

    #[test]
    fn illegal_steps_are_refused_by_name() {
        for next in State::ALL {
            let error = State::Finished.step_to(next).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("a run that is finished cannot become {next}")
            );
        }
        assert!(State::Queued.step_to(State::Running).is_err());
        assert!(State::Paused.step_to(State::Finished).is_err());
        assert!(State::Stopped.step_to(State::Running).is_err());
    }

    #[test]
    fn a_state_is_alive_or_ended_or_queued() {
        for state in State::ALL {
            let queued = state == State::Queued;
            let kinds = [state.needs_trainer(), state.has_ended(), queued];
            assert_eq!(kinds.iter().filter(|&&is| is).count(), 1, "{state}");
            assert!(
                !state.needs_trainer() || state.may_become(State::Failed),
                "{state}"
            );
        }
    }

    #[test]
    fn wishes_are_refused_with_a_reason() {
        assert!(State::Finished.accepts(Wish::Run).is_err());
        assert!(State::Stopped.accepts(Wish::Pause).is_err());
        assert!(
            State::Stopped
                .accepts(Wish::Run)
                .unwrap_err()
                .contains("resume")
        );
        assert!(State::Running.accepts(Wish::Pause).is_ok());
        assert!(State::Paused.accepts(Wish::Run).is_ok());
        assert!(State::Queued.accepts(Wish::Stop).is_ok());
    }
}
