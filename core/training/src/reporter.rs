//! The trainer's side of `status.ron`.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::control::{Status, now_ms};
use crate::error::{Error, Result};
use crate::files::write_document;
use crate::state::State;

/// Time between two signs of life.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Writes `status.ron`: at once when the state changes, otherwise once a second from a thread of its own, so that a
/// slow disk never holds up a training step and a long step still shows signs of life.
pub(crate) struct Reporter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    path: PathBuf,
    board: Mutex<Board>,
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
            wake: Condvar::new(),
        });
        shared.write(&mut shared.board.lock())?;
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
        let mut board = self.shared.board.lock();
        board.status.state = board.status.state.step_to(next)?;
        if next != State::Running {
            board.status.steps_per_s = 0.0;
        }
        edit(&mut board.status);
        self.shared.write(&mut board)
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
    fn write(&self, board: &mut Board) -> Result<()> {
        board.status.heartbeat = now_ms();
        write_document(&self.path, &board.status)
    }

    fn beat(&self) {
        let mut board = self.board.lock();
        let mut trouble = false;
        while !board.closing {
            if !self.wake.wait_for(&mut board, HEARTBEAT).timed_out() {
                continue;
            }
            // A missed sign of life harms nobody; checkpoints and metrics decide whether the run has failed.
            match self.write(&mut board) {
                Ok(()) => trouble = false,
                Err(error) if !trouble => {
                    trouble = true;
                    tracing::warn!("{}", error.chain().join(": "));
                }
                Err(_) => {}
            }
        }
    }
}
