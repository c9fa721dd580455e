//! The run directory: the only interface between a trainer and everybody else.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::{Control, Status, now_ms};
use crate::error::{Error, Result};
use crate::files::{
    Document, read_document, remove_unfinished, step_folders, step_name, write_document,
};
use crate::metrics::MetricsReader;
use crate::process::host;
use crate::spec::RunSpec;
use crate::state::{State, Wish};

/// A folder that holds one run. Cheap to clone; every call reads the files as they are now.
///
/// ```text
/// run.ron         what was asked; written once
/// control.ron     what the user wants now
/// status.ron      what the trainer says
/// run.lock        held by the living trainer, released by the system when it dies
/// metrics.jsonl   one line per logged step
/// log.txt         what a trainer started by `spawn` printed
/// checkpoints/step-00000500/   model.safetensors, model.json, optimizer.safetensors, state.json
/// probes/step-00000500/        frame-0.safetensors … (attncap/1)
/// eval/step-00000500/          reports of closed-loop evaluations
/// ```
#[derive(Clone, Debug)]
pub struct RunDir {
    root: PathBuf,
    spec: Arc<RunSpec>,
}

impl RunDir {
    /// Makes a run directory for `spec` at `path`, which must not exist or be empty. The run is `Queued`.
    ///
    /// # Errors
    /// [`Error::Occupied`] when files are there already, [`Error::Spec`] when the description makes no sense.
    pub fn create(path: &Path, spec: &RunSpec) -> Result<Self> {
        spec.check()?;
        let occupied = match fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => path.exists(),
        };
        if occupied {
            return Err(Error::Occupied {
                path: path.to_owned(),
            });
        }
        let is_new = !path.exists();
        fs::create_dir_all(path).map_err(Error::io("create the run directory", path))?;
        let spec = RunSpec {
            version: RunSpec::VERSION,
            ..spec.clone()
        };
        let run = Self {
            root: path.to_owned(),
            spec: Arc::new(spec),
        };
        if let Err(error) = run.write_new() {
            // What is left of it, say on a full disk, would keep the next try from this folder.
            for file in [run.control_path(), run.status_path()] {
                let _ = fs::remove_file(file);
            }
            if is_new {
                let _ = fs::remove_dir(path);
            }
            return Err(error);
        }
        Ok(run)
    }

    /// The files of a run that has not been started.
    fn write_new(&self) -> Result<()> {
        write_document(&self.control_path(), &Control::of(&self.spec))?;
        write_document(
            &self.status_path(),
            &Status::queued(self.spec.schedule.steps),
        )?;
        // Last, because a folder with `run.ron` is a run.
        write_document(&self.root.join(SPEC), &*self.spec)
    }

    /// Opens an existing run directory.
    ///
    /// # Errors
    /// [`Error::NotARun`] without `run.ron`; [`Error::Newer`] when a newer program wrote it.
    pub fn open(path: &Path) -> Result<Self> {
        let file = path.join(SPEC);
        if !file.is_file() {
            return Err(Error::NotARun { path: file });
        }
        let spec: RunSpec = read_document(&file)?;
        spec.check()?;
        Ok(Self {
            root: path.to_owned(),
            spec: Arc::new(spec),
        })
    }

    /// Whether `path` looks like a run directory.
    pub fn is_run(path: &Path) -> bool {
        path.join(SPEC).is_file()
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// What was asked.
    pub fn spec(&self) -> &Arc<RunSpec> {
        &self.spec
    }

    /// What `status.ron` says, true or not.
    pub(crate) fn status_as_written(&self) -> Result<Status> {
        let path = self.status_path();
        if path.exists() {
            read_document(&path)
        } else {
            // A folder written by hand holds `run.ron` alone.
            Ok(Status::queued(self.spec.schedule.steps))
        }
    }

    /// Where the run stands. A run whose trainer vanished is `Failed`, whatever its file still says.
    pub fn status(&self) -> Result<Status> {
        let status = self.status_as_written()?;
        if !status.state.needs_trainer() || status.shows_life() || self.has_trainer()? {
            return Ok(status);
        }
        // Between reading the file and looking at the lock the trainer may have ended properly.
        let status = self.status_as_written()?;
        if status.state.needs_trainer() && !status.shows_life() {
            Ok(status.interrupted())
        } else {
            Ok(status)
        }
    }

    /// What the user wants now.
    pub fn control(&self) -> Result<Control> {
        let path = self.control_path();
        if path.exists() {
            read_document(&path)
        } else {
            Ok(Control::of(&self.spec))
        }
    }

    /// Replaces the controls.
    ///
    /// # Errors
    /// [`Error::Spec`] when an interval is zero.
    pub fn set_control(&self, control: &Control) -> Result<()> {
        if control.log_every == 0 || control.checkpoint_every == 0 || control.keep_checkpoints == 0
        {
            return Err(Error::Spec(
                "log_every, checkpoint_every and keep_checkpoints must be at least 1".to_owned(),
            ));
        }
        let control = Control {
            version: Control::VERSION,
            ..control.clone()
        };
        write_document(&self.control_path(), &control)
    }

    /// Says what the user wants. The trainer obeys between two steps; stopping a run that has not been started
    /// cancels it at once.
    ///
    /// # Errors
    /// [`Error::Refused`] when the run's state does not allow it, with what to do instead. To go on with a run that
    /// has no living trainer use [`resume`](crate::resume).
    pub fn set_wish(&self, wish: Wish) -> Result<()> {
        let status = self.status()?;
        status.state.accepts(wish).map_err(|why| Error::Refused {
            wish,
            state: status.state,
            why,
            path: self.root.clone(),
        })?;
        self.set_control(&Control {
            wish,
            ..self.control()?
        })?;
        if status.state == State::Queued && wish == Wish::Stop {
            match self.lock(Duration::ZERO) {
                Ok(_lock) => {
                    let status = self.status_as_written()?;
                    // Otherwise a trainer has just been called; it reads the wish by itself.
                    if status.state == State::Queued {
                        self.write_status(Status {
                            state: State::Stopped,
                            ..status
                        })?;
                    }
                }
                // A trainer has just started; it reads the wish by itself.
                Err(Error::Busy { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Calls a trainer: the wish becomes [`Wish::Run`] whatever it was, and the run is `Starting`. What is wished from
    /// now on is for the trainer that comes.
    ///
    /// Whoever starts a trainer on a run that exists calls it first; [`spawn`](crate::spawn) does. The controls of a
    /// new run say `Run` already.
    ///
    /// # Errors
    /// [`Error::Busy`] when a trainer is at work or has been called, [`Error::Refused`] when the run is finished.
    pub fn call_trainer(&self) -> Result<()> {
        self.call().map(drop)
    }

    /// [`call_trainer`](Self::call_trainer); returns the status before.
    pub(crate) fn call(&self) -> Result<Status> {
        let _lock = self.lock(LOCK_PATIENCE)?;
        let before = self.status_as_written()?;
        if before.shows_life() {
            return Err(Error::Busy {
                path: self.root.clone(),
            });
        }
        let left = before.clone().left_behind();
        if left.state == State::Finished {
            return Err(Error::Refused {
                wish: Wish::Run,
                state: left.state,
                why: "it has done all its steps; create a new run to train further",
                path: self.root.clone(),
            });
        }
        self.set_control(&Control {
            wish: Wish::Run,
            ..self.control()?
        })?;
        self.write_status(Status {
            state: left.state.step_to(State::Starting)?,
            host: host(),
            pid: 0,
            steps: self.spec.schedule.steps,
            steps_per_s: 0.0,
            error: None,
            ..left
        })?;
        Ok(before)
    }

    /// Replaces the status by `status` if the trainer that was called has still not taken up the run.
    pub(crate) fn end_call(&self, status: impl FnOnce(Status) -> Status) -> Result<()> {
        if !self.status_as_written()?.is_called() {
            return Ok(());
        }
        let _lock = match self.lock(LOCK_PATIENCE) {
            Err(Error::Busy { .. }) => return Ok(()),
            lock => lock?,
        };
        let called = self.status_as_written()?;
        if called.is_called() {
            self.write_status(status(called))?;
        }
        Ok(())
    }

    /// Deletes what a killed trainer left half written. Only the holder of the lock may call this.
    pub(crate) fn remove_unfinished(&self) -> Result<()> {
        for folder in [&self.root, &self.checkpoints_path(), &self.probes_path()] {
            remove_unfinished(folder, CONTROL)?;
        }
        Ok(())
    }

    /// Only the holder of the lock may call this.
    fn write_status(&self, status: Status) -> Result<()> {
        let status = Status {
            heartbeat: now_ms(),
            ..status
        };
        write_document(&self.status_path(), &status)
    }

    /// A reader that follows `metrics.jsonl`.
    pub fn metrics_reader(&self) -> MetricsReader {
        MetricsReader::new(self.metrics_path())
    }

    /// Complete checkpoints, oldest first, with the steps done in each.
    pub fn checkpoints(&self) -> Result<Vec<(u64, PathBuf)>> {
        step_folders(&self.checkpoints_path())
    }

    /// The newest complete checkpoint.
    pub fn latest_checkpoint(&self) -> Result<Option<(u64, PathBuf)>> {
        Ok(self.checkpoints()?.pop())
    }

    /// Folders of attention captures by training step, oldest first. Each holds one `attncap/1` file per probe
    /// frame, named `frame-0.safetensors` and so on; the same number is the same frame at every step.
    pub fn probes(&self) -> Result<Vec<(u64, PathBuf)>> {
        step_folders(&self.root.join("probes"))
    }

    /// Where a trainer started by [`spawn`](crate::spawn) prints to.
    pub fn log_path(&self) -> PathBuf {
        self.root.join("log.txt")
    }

    pub(crate) fn metrics_path(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    pub(crate) fn checkpoints_path(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    pub(crate) fn checkpoint_path(&self, step: u64) -> PathBuf {
        self.checkpoints_path().join(step_name(step))
    }

    pub(crate) fn probes_path(&self) -> PathBuf {
        self.root.join("probes")
    }

    pub(crate) fn control_path(&self) -> PathBuf {
        self.root.join(CONTROL)
    }

    pub(crate) fn status_path(&self) -> PathBuf {
        self.root.join("status.ron")
    }

    fn lock_path(&self) -> PathBuf {
        self.root.join("run.lock")
    }

    /// Whether a living trainer holds the run.
    fn has_trainer(&self) -> Result<bool> {
        let path = self.lock_path();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io("open the lock", &path)(error)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(Error::io("test the lock", &path)(error)),
        }
    }

    /// Takes the run for this process, waiting up to `patience` for others to let go.
    ///
    /// # Errors
    /// [`Error::Busy`] when another trainer holds it.
    pub(crate) fn lock(&self, patience: Duration) -> Result<RunLock> {
        let path = self.lock_path();
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io("open the lock", &path))?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(RunLock { _file: file }),
                Err(TryLockError::WouldBlock) if started.elapsed() < patience => {
                    // A reader that looks whether the trainer lives holds the lock for a moment.
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Busy {
                        path: self.root.clone(),
                    });
                }
                Err(TryLockError::Error(error)) => {
                    return Err(Error::io("take the lock", &path)(error));
                }
            }
        }
    }
}

const SPEC: &str = "run.ron";
/// The one file that others than the holder of the lock replace while a run is under way.
const CONTROL: &str = "control.ron";

/// How long to wait for readers, or for a trainer that is just ending, to let go of the run.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Held by the one trainer of a run. The system releases it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct RunLock {
    _file: File,
}
