//! The loop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use burn::module::Module;
use model::{DeviceChoice, Policy};

use crate::control::{Status, now_ms};
use crate::corpus::{Corpus, Demonstration};
use crate::early::early_error;
use crate::error::{Error, Result, panic_message};
use crate::files::{remove_folder, step_name, write_folder};
use crate::learner::{Learner, StepReport, prune};
use crate::metrics::{MetricRow, MetricsWriter};
use crate::prefetch::Prefetch;
use crate::process::{host, stop_on_signals};
use crate::reporter::Reporter;
use crate::run_dir::{LOCK_PATIENCE, RunDir};
use crate::state::{State, Wish};
use crate::steering::Steering;

/// What a trainer tells the program around it while it works.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// What the run computes on, and the number of steps already done.
    Device(&'a str, u64),
    /// The run has reached a state.
    State(State),
    /// A line of metrics was written.
    Row(&'a MetricRow),
    /// A checkpoint was written.
    Checkpoint(u64, &'a Path),
}

/// Trains a run to its end, from its latest checkpoint if it has one: the whole job of a trainer process.
///
/// Returns `Finished`, or `Stopped` when the user wished so or the process was asked to end by a signal. A finished
/// run is left as it is. `device` overrides the one in `run.ron`. The wish in `control.ron` is honoured from the first
/// step on; to go on with a run that was stopped, [call a trainer](RunDir::call_trainer) first.
///
/// # Errors
/// [`Error::Busy`] when another trainer holds the run. Everything else, panics included, is also written to
/// `status.ron`, and the run can be resumed from its last checkpoint.
pub fn train(
    run: &RunDir,
    device: Option<DeviceChoice>,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<State> {
    let interrupt = stop_on_signals().map_err(Error::io("listen for signals for", run.path()))?;
    train_until(run, device, &interrupt, on_event)
}

/// [`train`] without signal handlers: the caller raises `interrupt` to stop.
///
/// # Errors
/// As for [`train`].
pub fn train_until(
    run: &RunDir,
    device: Option<DeviceChoice>,
    interrupt: &AtomicBool,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<State> {
    let _lock = run.lock(LOCK_PATIENCE)?;
    let before = run.status_as_written()?;
    if before.state == State::Finished {
        on_event(Event::State(State::Finished));
        return Ok(State::Finished);
    }
    // One that was called is this one.
    if before.shows_life() && !before.is_called() {
        return Err(Error::Busy {
            path: run.path().to_owned(),
        });
    }
    let left = before.left_behind();
    let status = Status {
        state: left.state.step_to(State::Starting)?,
        host: host(),
        pid: std::process::id(),
        // A run that cannot even be prepared is still as far as it was.
        step: left.step,
        ..Status::queued(run.spec().schedule.steps)
    };
    let reporter = Reporter::start(run.status_path(), status)?;
    on_event(Event::State(State::Starting));
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let (trainer, learner) = Trainer::prepare(run, device, interrupt, &reporter, on_event)?;
        trainer.run(learner)
    }));
    let error = match ended {
        Ok(Ok(state)) => return Ok(state),
        Ok(Err(error)) => error,
        Err(payload) => Error::Panicked(panic_message(&*payload)),
    };
    if let Err(second) = reporter.fail(error.chain()) {
        // On a full disk the first error matters more; the free lock tells the rest.
        tracing::error!("{}", second.chain().join(": "));
    }
    Err(error)
}

/// Everything around the learner while a run is under way.
struct Trainer<'a> {
    run: &'a RunDir,
    corpus: Arc<Corpus>,
    metrics: MetricsWriter,
    steering: Steering<'a>,
    reporter: &'a Reporter,
    on_event: &'a mut dyn FnMut(Event<'_>),
    /// Read when they are first needed: the controls may ask for the early error of a run that was to go without.
    early: Option<Vec<Demonstration>>,
    probes: Vec<Demonstration>,
    clock: Clock,
}

/// Measures speed between two lines of metrics. Pauses, checkpoints and early errors are left out of the next line.
struct Clock {
    since: Instant,
    steps: u64,
    waited: Duration,
}

impl Clock {
    fn start() -> Self {
        Self {
            since: Instant::now(),
            steps: 0,
            waited: Duration::ZERO,
        }
    }

    /// Steps per second and the share of time spent waiting for data since the last call.
    fn read(&mut self) -> (f64, f64) {
        let seconds = self.since.elapsed().as_secs_f64().max(1e-9);
        let read = (
            self.steps as f64 / seconds,
            self.waited.as_secs_f64() / seconds,
        );
        *self = Self::start();
        read
    }
}

impl<'a> Trainer<'a> {
    fn prepare(
        run: &'a RunDir,
        device: Option<DeviceChoice>,
        interrupt: &'a AtomicBool,
        reporter: &'a Reporter,
        on_event: &'a mut dyn FnMut(Event<'_>),
    ) -> Result<(Self, Learner)> {
        let spec = run.spec();
        let steering = Steering::start(run, interrupt)?;
        run.remove_unfinished()?;
        let (device, name) = device.unwrap_or(spec.device).resolve()?;
        reporter.device(&name);
        let corpus = Arc::new(Corpus::open(spec)?);
        let learner = match run.latest_checkpoint()? {
            Some((_, folder)) => {
                let learner = Learner::load(spec, &folder, &device)?;
                corpus.check_config(learner.model().config())?;
                learner
            }
            None => Learner::begin(spec, &corpus, &device)?,
        };
        let done = learner.step();
        for (step, folder) in run.probes()? {
            if step > done {
                remove_folder(&folder)?;
            }
        }
        reporter.progress(done, None);
        on_event(Event::Device(&name, done));
        let trainer = Self {
            run,
            metrics: MetricsWriter::resume(&run.metrics_path(), done)?,
            probes: corpus.probe_frames()?,
            early: None,
            corpus,
            steering,
            reporter,
            on_event,
            clock: Clock::start(),
        };
        Ok((trainer, learner))
    }

    fn run(mut self, mut learner: Learner) -> Result<State> {
        let spec = self.run.spec().clone();
        let steps = spec.schedule.steps;
        let first = learner.step() + 1;
        let chunk = learner.model().config().chunk;
        let mut batches = Prefetch::start(self.corpus.clone(), chunk, first, steps)?;
        if first == 1 {
            self.capture_probes(&learner)?;
        }
        self.enter(State::Running)?;
        self.clock = Clock::start();
        for step in first..=steps {
            if self.obey(&learner)? == Wish::Stop {
                self.enter(State::Stopped)?;
                return Ok(State::Stopped);
            }
            let asked = Instant::now();
            let samples = batches.next()?;
            self.clock.waited += asked.elapsed();
            let report;
            (learner, report) = learner.learn(&samples, &self.corpus, &spec)?;
            self.clock.steps += 1;
            self.reporter.progress(step, None);
            self.log(&learner, &report)?;
            let every = self.steering.control().checkpoint_every;
            if step.is_multiple_of(every) || step == steps {
                self.save(&learner)?;
            }
        }
        self.enter(State::Finished)?;
        Ok(State::Finished)
    }

    /// Does what the user wants between two steps; returns when the run goes on or ends.
    fn obey(&mut self, learner: &Learner) -> Result<Wish> {
        loop {
            let state = self.reporter.state();
            match (self.steering.control().wish, state) {
                (Wish::Run, State::Running) => return Ok(Wish::Run),
                (Wish::Run, _) => {
                    self.enter(State::Running)?;
                    self.clock = Clock::start();
                }
                (Wish::Pause, State::Running) => {
                    self.enter(State::Pausing)?;
                    // Whatever happens to a paused process, nothing of its work is lost.
                    self.save(learner)?;
                }
                (Wish::Pause, State::Pausing) => self.enter(State::Paused)?,
                (Wish::Pause, _) => self.steering.idle(),
                (Wish::Stop, _) => {
                    self.enter(State::Stopping)?;
                    self.save(learner)?;
                    return Ok(Wish::Stop);
                }
            }
        }
    }

    fn enter(&mut self, state: State) -> Result<()> {
        self.reporter.step_to(state)?;
        (self.on_event)(Event::State(state));
        Ok(())
    }

    /// Writes a line of metrics if this step is one of those that are logged.
    fn log(&mut self, learner: &Learner, report: &StepReport) -> Result<()> {
        let step = learner.step();
        let last = step == self.run.spec().schedule.steps;
        let control = self.steering.control();
        let early_due =
            control.early_every > 0 && (step.is_multiple_of(control.early_every) || last);
        if !(step == 1 || step.is_multiple_of(control.log_every) || early_due || last) {
            return Ok(());
        }
        let (steps_per_s, data_wait) = self.clock.read();
        let early_error = if early_due {
            let frames = match &mut self.early {
                Some(frames) => frames,
                early @ None => early.insert(self.corpus.early_frames()?),
            };
            early_error(learner, frames)?
        } else {
            None
        };
        let row = MetricRow {
            step,
            loss: report.loss,
            action_loss: report.action_loss,
            mae_loss: report.mae_loss,
            early_error,
            grad_norm: report.grad_norm,
            lr: report.lr,
            steps_per_s,
            data_wait,
            time: now_ms(),
        };
        self.metrics.append(&row)?;
        self.reporter.progress(step, Some(steps_per_s));
        (self.on_event)(Event::Row(&row));
        self.clock = Clock::start();
        Ok(())
    }

    /// Writes probes and checkpoint of the present step, unless they are there.
    fn save(&mut self, learner: &Learner) -> Result<()> {
        let step = learner.step();
        // Before the first step there is nothing to keep: a new start gives the same.
        if step == 0 || self.run.checkpoint_path(step).exists() {
            return Ok(());
        }
        // The checkpoint comes last: what it stands for is complete when it appears.
        self.capture_probes(learner)?;
        self.metrics.sync()?;
        let folder = learner.save(self.run)?;
        prune(self.run, self.steering.control().keep_checkpoints)?;
        (self.on_event)(Event::Checkpoint(step, &folder));
        self.clock = Clock::start();
        Ok(())
    }

    /// Writes where the model looks in the probe frames.
    fn capture_probes(&self, learner: &Learner) -> Result<()> {
        if self.probes.is_empty() {
            return Ok(());
        }
        let policy = Policy::new(learner.model().valid());
        write_folder(
            &self.run.probes_path(),
            &step_name(learner.step()),
            |folder| {
                for (index, frame) in self.probes.iter().enumerate() {
                    let mut capture = policy.capture(&frame.observation)?;
                    capture.source = frame.source.clone();
                    capture.step = frame.step as u64;
                    let path = folder.join(format!("frame-{index}.safetensors"));
                    grounding::attncap::write(&path, &[capture])?;
                }
                Ok(())
            },
        )?;
        Ok(())
    }
}
