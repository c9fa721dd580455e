//! The log: to stderr, and to a short memory that the log pane shows.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tracing::Level;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

/// Lines that the pane remembers.
const MEMORY: usize = 2_000;
/// Longest line that is remembered whole, in bytes.
const LONGEST: usize = 4_096;

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Line {
    /// When.
    pub time: SystemTime,
    /// How much it matters.
    pub level: Level,
    /// The part of the program that said it.
    pub target: &'static str,
    /// What it said.
    pub text: String,
}

/// The last lines of the log, shared with the pane.
#[derive(Clone, Default)]
pub struct LogMemory(Arc<Mutex<Memory>>);

#[derive(Default)]
struct Memory {
    lines: VecDeque<Line>,
    total: u64,
}

impl LogMemory {
    /// Reads the lines, oldest first.
    pub fn read<R>(&self, reader: impl FnOnce(&VecDeque<Line>) -> R) -> R {
        reader(&self.0.lock().lines)
    }

    /// How many lines there have been in all; changes when there is something new to draw.
    pub fn total(&self) -> u64 {
        self.0.lock().total
    }
}

impl<S: tracing::Subscriber> Layer<S> for LogMemory {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut text = String::new();
        event.record(
            &mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                // Writing to a String cannot fail.
                let _ = if field.name() == "message" {
                    write!(text, "{value:?}")
                } else {
                    write!(text, " {field}={value:?}")
                };
            },
        );
        if text.len() > LONGEST {
            let mut end = LONGEST;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push('…');
        }
        let mut memory = self.0.lock();
        if memory.lines.len() == MEMORY {
            memory.lines.pop_front();
        }
        memory.total += 1;
        memory.lines.push_back(Line {
            time: SystemTime::now(),
            level: *metadata.level(),
            target: metadata.target(),
            text,
        });
    }
}

/// Starts logging to stderr and to the returned memory. `GAZELAB_LOG` filters, as in `GAZELAB_LOG=debug`; by default
/// the program speaks from `info` in the window and from `warn` on the command line, where the result is the message.
pub fn install(window: bool) -> LogMemory {
    let memory = LogMemory::default();
    // winit reports every X11 request to a window that has just closed as an error; what matters comes back from it as
    // a result. The notes of the graphics stack on software drivers are for its developers; on the command line, where
    // a machine without a GPU is as good as any, so are its complaints that there is none.
    let usual = if window {
        "warn,gazelab=info,model=info,training=info,winit=off,eframe=off,wgpu_hal=error,egui_wgpu=error"
    } else {
        "warn,wgpu_hal=off"
    };
    let filter = EnvFilter::try_from_env("GAZELAB_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let stderr = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // A second call, as in tests, keeps the first subscriber.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(stderr)
        .with(memory.clone())
        .try_init();
    if window {
        crate::worker::log_panics();
    }
    memory
}
