//! The trainer's side of `status.ron`.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::control::{HEARTBEAT, Status, now_ms};
use crate::error::{Error, Result};
use crate::files::write_document;
use crate::state::State;

/// Writes `status.ron`: at once when the state changes, otherwise with every [`HEARTBEAT`] from a thread of its own, so
/// that a slow disk never holds up a training step and a long step still shows signs of life.
pub(crate) struct Reporter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    path: PathBuf,
    /// Never held while a file is written: a training step takes it.
    board: Mutex<Board>,
    /// Held by who writes, from before the board is read, so that no status overwrites a later one.
    writing: Mutex<()>,
    wake: Condvar,
}

struct Board {
    status: Status,
    closing: bool,
}

impl Reporter {
    /// Writes `status` and starts the signs of life.
    pub(crate) fn start(path: PathBuf, status: Status) -> Result<Self> {
        let shared = Arc::new(Shared {
            path,
            board: Mutex::new(Board {
                status,
                closing: false,
            }),
            writing: Mutex::new(()),
            wake: Condvar::new(),
        });
        shared.write()?;
        let beating = shared.clone();
        let thread = std::thread::Builder::new()
            .name("run-heartbeat".into())
            .spawn(move || beating.beat())
            .map_err(Error::io("start the heartbeat thread for", &shared.path))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// The present state.
    pub(crate) fn state(&self) -> State {
        self.shared.board.lock().status.state
    }

    /// Takes the step to `next` and writes it.
    pub(crate) fn step_to(&self, next: State) -> Result<()> {
        self.change(next, |_| {})
    }

    /// Takes the step to `Failed` and says why.
    pub(crate) fn fail(&self, chain: Vec<String>) -> Result<()> {
        self.change(State::Failed, |status| status.error = Some(chain))
    }

    fn change(&self, next: State, edit: impl FnOnce(&mut Status)) -> Result<()> {
        {
            let mut board = self.shared.board.lock();
            board.status.state = board.status.state.step_to(next)?;
            if next != State::Running {
                board.status.steps_per_s = 0.0;
            }
            edit(&mut board.status);
        }
        self.shared.write()
    }

    /// Says how far the run is; written with the next sign of life.
    pub(crate) fn progress(&self, step: u64, steps_per_s: Option<f64>) {
        let mut board = self.shared.board.lock();
        board.status.step = step;
        if let Some(speed) = steps_per_s {
            board.status.steps_per_s = speed;
        }
    }

    /// Says what the run computes on.
    pub(crate) fn device(&self, name: &str) {
        name.clone_into(&mut self.shared.board.lock().status.device);
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.shared.board.lock().closing = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the heartbeat thread panicked");
        }
    }
}

impl Shared {
    fn write(&self) -> Result<()> {
        let _in_order = self.writing.lock();
        let status = {
            let mut board = self.board.lock();
            board.status.heartbeat = now_ms();
            board.status.clone()
        };
        write_document(&self.path, &status)
    }

    fn beat(&self) {
        let mut trouble = false;
        while self.wait() {
            // A missed sign of life harms nobody; checkpoints and metrics decide whether the run has failed.
            match self.write() {
                Ok(()) => trouble = false,
                Err(error) if !trouble => {
                    trouble = true;
                    tracing::warn!("{}", error.chain().join(": "));
                }
                Err(_) => {}
            }
        }
    }

    /// Waits for the next sign of life; false when there is none to come.
    fn wait(&self) -> bool {
        let due = Instant::now() + HEARTBEAT;
        let mut board = self.board.lock();
        while !board.closing {
            if self.wake.wait_until(&mut board, due).timed_out() {
                return !board.closing;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::read_document;

    #[test]
    fn a_step_does_not_wait_for_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status.ron");
        let status = Status {
            state: State::Starting,
            ..Status::queued(9)
        };
        let reporter = Reporter::start(path.clone(), status).unwrap();
        let written = || read_document::<Status>(&path).unwrap();
        std::thread::scope(|scope| {
            // As long as this is held, somebody writes to a slow disk.
            let slow = reporter.shared.writing.lock();
            scope.spawn(|| reporter.step_to(State::Running).unwrap());
            while reporter.state() != State::Running {
                std::thread::yield_now();
            }
            reporter.progress(7, None);
            assert_eq!(written().state, State::Starting);
            drop(slow);
        });
        // What waited for its turn writes what is true by then.
        assert_eq!((written().state, written().step), (State::Running, 7));
    }
}
