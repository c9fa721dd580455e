//! Work that goes on behind the window: what runs, how far it is, and how to stop it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

/// Names one job for as long as it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(u64);

/// The list of running jobs, shared by the window and the threads that work for it.
#[derive(Clone)]
pub struct Jobs(Arc<Shared>);

struct Shared {
    repaint: egui::Context,
    next: AtomicU64,
    running: Mutex<Vec<Entry>>,
}

struct Entry {
    view: JobView,
    cancel: Arc<AtomicBool>,
}

/// What the jobs list shows of one job.
#[derive(Clone, Debug)]
pub struct JobView {
    /// Its name.
    pub id: JobId,
    /// What it does, as in "Opening dataset".
    pub label: String,
    /// To what, or how far; may be empty.
    pub detail: String,
    /// Share done, 0 to 1, where it is known.
    pub progress: Option<f32>,
    /// Whether it heeds a wish to stop.
    pub cancellable: bool,
    /// Whether it was asked to stop.
    pub cancelled: bool,
    /// When it began.
    pub started: Instant,
}

impl Jobs {
    /// An empty list; changes in it repaint `context`.
    pub fn new(repaint: egui::Context) -> Self {
        Self(Arc::new(Shared {
            repaint,
            next: AtomicU64::new(1),
            running: Mutex::new(Vec::new()),
        }))
    }

    /// Enters a job. It leaves the list when the handle is dropped.
    #[must_use = "the job ends when the handle is dropped"]
    pub fn start(&self, label: impl Into<String>, cancellable: bool) -> JobHandle {
        let id = JobId(self.0.next.fetch_add(1, Ordering::Relaxed));
        let cancel = Arc::new(AtomicBool::new(false));
        let view = JobView {
            id,
            label: label.into(),
            detail: String::new(),
            progress: None,
            cancellable,
            cancelled: false,
            started: Instant::now(),
        };
        self.0.running.lock().push(Entry {
            view,
            cancel: cancel.clone(),
        });
        self.0.repaint.request_repaint();
        JobHandle {
            id,
            cancel,
            jobs: self.clone(),
        }
    }

    /// What runs now, oldest first.
    pub fn list(&self) -> Vec<JobView> {
        self.0
            .running
            .lock()
            .iter()
            .map(|e| e.view.clone())
            .collect()
    }

    /// Whether nothing runs.
    pub fn is_empty(&self) -> bool {
        self.0.running.lock().is_empty()
    }

    /// Asks a job to stop. It may take a moment to notice.
    pub fn cancel(&self, id: JobId) {
        let mut running = self.0.running.lock();
        if let Some(entry) = running.iter_mut().find(|e| e.view.id == id) {
            entry.cancel.store(true, Ordering::Relaxed);
            entry.view.cancelled = true;
        }
    }
}

/// Held by the thread that works.
pub struct JobHandle {
    id: JobId,
    cancel: Arc<AtomicBool>,
    jobs: Jobs,
}

impl JobHandle {
    /// The name of the job.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Whether the person asked for it to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// The same wish as a flag, for code that takes one.
    pub fn cancel_flag(&self) -> &Arc<AtomicBool> {
        &self.cancel
    }

    /// Says how far it is: `share` from 0 to 1.
    pub fn progress(&self, share: f32, detail: impl Into<String>) {
        let mut running = self.jobs.0.running.lock();
        if let Some(entry) = running.iter_mut().find(|e| e.view.id == self.id) {
            entry.view.progress = Some(share.clamp(0.0, 1.0));
            entry.view.detail = detail.into();
        }
        drop(running);
        self.jobs.0.repaint.request_repaint();
    }

    /// Says what it works on.
    pub fn detail(&self, detail: impl Into<String>) {
        let mut running = self.jobs.0.running.lock();
        if let Some(entry) = running.iter_mut().find(|e| e.view.id == self.id) {
            entry.view.detail = detail.into();
        }
        drop(running);
        self.jobs.0.repaint.request_repaint();
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        self.jobs.0.running.lock().retain(|e| e.view.id != self.id);
        self.jobs.0.repaint.request_repaint();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_listed_while_its_handle_lives() {
        let jobs = Jobs::new(egui::Context::default());
        let handle = jobs.start("Opening dataset", true);
        handle.progress(0.5, "7 of 14");
        assert_eq!(jobs.list().len(), 1);
        assert_eq!(jobs.list()[0].progress, Some(0.5));
        jobs.cancel(handle.id());
        assert!(handle.is_cancelled());
        drop(handle);
        assert!(jobs.is_empty());
    }
}
