//! What the loop asks between two steps: go on, pause, or end?

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::control::Control;
use crate::error::Result;
use crate::run_dir::RunDir;
use crate::state::Wish;

/// How often `control.ron` is read. Its content is compared, not its time stamp: on network file systems stamps are
/// coarse and late.
const POLL: Duration = Duration::from_millis(200);

/// The newest readable controls and the stop signal.
pub(crate) struct Steering<'a> {
    run: &'a RunDir,
    interrupt: &'a AtomicBool,
    control: Control,
    read_at: Instant,
    complained: bool,
}

impl<'a> Steering<'a> {
    /// Starts with what is wished now. Whoever started this trainer has said so before; what was wished since then
    /// counts.
    pub(crate) fn start(run: &'a RunDir, interrupt: &'a AtomicBool) -> Result<Self> {
        Ok(Self {
            run,
            interrupt,
            control: run.control()?.sound(),
            read_at: Instant::now(),
            complained: false,
        })
    }

    /// The controls, read again when they are older than a moment. A signal to end counts as the wish to stop.
    pub(crate) fn control(&mut self) -> &Control {
        if self.read_at.elapsed() >= POLL {
            self.read_at = Instant::now();
            match self.run.control() {
                Ok(control) => {
                    self.control = control.sound();
                    self.complained = false;
                }
                // A slip in a file edited by hand must not end a run of hours; the last sound controls stay.
                Err(error) if !self.complained => {
                    self.complained = true;
                    tracing::warn!("{}", error.chain().join(": "));
                }
                Err(_) => {}
            }
        }
        if self.interrupt.load(Ordering::Relaxed) {
            self.control.wish = Wish::Stop;
        }
        &self.control
    }

    /// Sleeps until the controls are worth reading again.
    pub(crate) fn idle(&self) {
        std::thread::sleep(POLL.saturating_sub(self.read_at.elapsed()).min(POLL / 2));
    }
}
