//! Prepares the next batches while the device computes.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, bounded};
use model::Sample;

use crate::corpus::Corpus;
use crate::error::{Error, Result, panic_message};

/// Batches that lie ready at most. Two cover a slow batch; more would only hold memory.
const AHEAD: usize = 2;
const THREAD: &str = "batch-prefetch";

/// The batches of steps `first..=last` in order, decoded on a thread of their own.
pub(crate) struct Prefetch {
    batches: Option<Receiver<Result<Vec<Sample>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Prefetch {
    pub(crate) fn start(corpus: Arc<Corpus>, chunk: usize, first: u64, last: u64) -> Result<Self> {
        let (sender, batches) = bounded(AHEAD);
        let thread = std::thread::Builder::new()
            .name(THREAD.into())
            .spawn(move || {
                for step in first..=last {
                    let batch = corpus.batch(step, chunk);
                    let failed = batch.is_err();
                    // The loop has ended when nobody receives any more.
                    if sender.send(batch).is_err() || failed {
                        return;
                    }
                }
            })
            .map_err(|source| Error::Worker {
                thread: THREAD,
                why: source.to_string(),
            })?;
        Ok(Self {
            batches: Some(batches),
            thread: Some(thread),
        })
    }

    /// The batch of the next step.
    ///
    /// # Errors
    /// What reading the data said, or [`Error::Worker`] when the thread panicked.
    pub(crate) fn next(&mut self) -> Result<Vec<Sample>> {
        let received = self.batches.as_ref().map(Receiver::recv);
        match received {
            Some(Ok(batch)) => batch,
            _ => Err(Error::Worker {
                thread: THREAD,
                why: self.join().unwrap_or_else(|| "no more batches".to_owned()),
            }),
        }
    }

    /// Ends the thread; what it panicked with, if it did.
    fn join(&mut self) -> Option<String> {
        // A thread that waits for room in the channel wakes up when the receiver is gone.
        self.batches = None;
        let payload = self.thread.take()?.join().err()?;
        Some(panic_message(&*payload))
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.join();
    }
}
