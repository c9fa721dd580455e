//! What a run carries from step to step, in memory and as a checkpoint.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use burn::optim::GradientsParams;
use burn::tensor::Device;
use model::optim::AdamW;
use model::{Batch, Criterion, CriterionState, Inputs, Sample, Vla, load_model, save_model};
use serde::{Deserialize, Serialize};

use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::files::{step_name, write_folder};
use crate::rng::{Purpose, stream};
use crate::run_dir::RunDir;
use crate::spec::RunSpec;

const OPTIMIZER_FILE: &str = "optimizer.safetensors";
const STATE_FILE: &str = "state.json";
const MAX_STATE_BYTES: u64 = 4 << 20;

/// Model, optimiser and objective after some number of steps.
///
/// Checkpoints hold exactly this. Nothing else influences a step but `run.ron`, the data and the step's number.
pub(crate) struct Learner {
    vla: Vla,
    optimizer: AdamW,
    criterion: Criterion,
    step: u64,
    device: Device,
}

/// The numbers of one step.
pub(crate) struct StepReport {
    pub(crate) loss: f64,
    pub(crate) action_loss: f64,
    pub(crate) mae_loss: Option<f64>,
    pub(crate) grad_norm: f64,
    pub(crate) lr: f64,
}

/// `state.json`: what the weights and the optimiser's file do not say.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    version: u32,
    step: u64,
    /// The streams of all random numbers are set by this seed and by a step's number; there is no other generator
    /// state.
    seed: u64,
    /// Examples drawn so far, where the data order continues.
    examples: u64,
    criterion: CriterionState,
}

impl State {
    const VERSION: u32 = 1;
}

impl Learner {
    /// A model that has learned nothing.
    ///
    /// `device` is the plain device; gradients are added here.
    pub(crate) fn begin(spec: &RunSpec, corpus: &Corpus, device: &Device) -> Result<Self> {
        let config = corpus.model_config()?;
        Ok(Self {
            criterion: Criterion::new(&spec.objective, &config, spec.schedule.steps)?,
            vla: Vla::new(&config, spec.seed, &device.clone().autodiff())?,
            optimizer: AdamW::new(spec.schedule.optimizer),
            step: 0,
            device: device.clone(),
        })
    }

    /// The learner as it was when `folder` was written.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when a file is missing, damaged or of another run.
    pub(crate) fn load(spec: &RunSpec, folder: &Path, device: &Device) -> Result<Self> {
        let unusable = |error: model::Error| Error::Checkpoint {
            why: error.to_string(),
            path: folder.to_owned(),
        };
        let state = read_state(&folder.join(STATE_FILE))?;
        if state.seed != spec.seed {
            return Err(Error::Checkpoint {
                why: format!(
                    "it was trained with seed {}, run.ron says {}",
                    state.seed, spec.seed
                ),
                path: folder.to_owned(),
            });
        }
        let vla = load_model(folder, &device.clone().autodiff()).map_err(unusable)?;
        let optimizer = AdamW::load(spec.schedule.optimizer, &folder.join(OPTIMIZER_FILE), &vla)
            .map_err(unusable)?;
        if optimizer.steps() != state.step {
            return Err(Error::Checkpoint {
                why: format!(
                    "its optimiser has done {} steps, its state says {}",
                    optimizer.steps(),
                    state.step
                ),
                path: folder.to_owned(),
            });
        }
        let mut criterion = Criterion::new(&spec.objective, vla.config(), spec.schedule.steps)?;
        criterion.restore(state.criterion).map_err(unusable)?;
        Ok(Self {
            vla,
            optimizer,
            criterion,
            step: state.step,
            device: device.clone(),
        })
    }

    /// Writes the checkpoint of this step, complete or not at all.
    pub(crate) fn save(&self, run: &RunDir) -> Result<PathBuf> {
        let spec = run.spec();
        let state = State {
            version: State::VERSION,
            step: self.step,
            seed: spec.seed,
            examples: self.step * spec.schedule.batch as u64,
            criterion: self.criterion.state().clone(),
        };
        write_folder(&run.checkpoints_path(), &step_name(self.step), |folder| {
            save_model(&self.vla, folder)?;
            self.optimizer.save(&folder.join(OPTIMIZER_FILE))?;
            let path = folder.join(STATE_FILE);
            let text = serde_json::to_vec_pretty(&state).map_err(|error| Error::Encode {
                what: "the state of a checkpoint",
                why: error.to_string(),
                path: path.clone(),
            })?;
            fs::write(&path, text).map_err(Error::io("write the state", &path))
        })
    }

    /// Steps done.
    pub(crate) fn step(&self) -> u64 {
        self.step
    }

    pub(crate) fn model(&self) -> &Vla {
        &self.vla
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Takes one optimiser step on `samples`, the batch of the step after [`step`](Self::step).
    ///
    /// # Errors
    /// [`Error::NotFinite`] when the run has diverged. The learner is gone with any error; its checkpoints stay.
    pub(crate) fn learn(
        mut self,
        samples: &[Sample],
        corpus: &Corpus,
        spec: &RunSpec,
    ) -> Result<(Self, StepReport)> {
        let step = self.step + 1;
        if self.criterion.calibration_due(step) {
            let frames: Vec<_> = corpus
                .calibration_frames()?
                .into_iter()
                .map(|frame| frame.observation)
                .collect();
            let inputs = Inputs::new(self.vla.config(), &frames, &self.device)?;
            self.criterion.calibrate(&self.vla, &inputs, step)?;
        }
        let batch = Batch::new(self.vla.config(), samples, &self.device)?;
        let mut rng = stream(spec.seed, Purpose::Objective, step);
        let losses = self.criterion.losses(&self.vla, &batch, step, &mut rng)?;
        let number = |tensor: burn::tensor::Tensor<1>| f64::from(tensor.into_scalar::<f32>());
        let gradients = losses.total.backward();
        let gradients = GradientsParams::from_grads(gradients, &self.vla);
        let lr = spec.schedule.lr_at(step);
        let (vla, grad_norm) = self.optimizer.step(lr, self.vla, gradients);
        self.vla = vla;
        let report = StepReport {
            loss: number(losses.total),
            action_loss: number(losses.action),
            mae_loss: losses.reconstruction.map(number),
            grad_norm: f64::from(grad_norm),
            lr,
        };
        for (what, value) in [("loss", report.loss), ("gradient", report.grad_norm)] {
            if !value.is_finite() {
                return Err(Error::NotFinite { what, step });
            }
        }
        self.step = step;
        Ok((self, report))
    }
}

fn read_state(path: &Path) -> Result<State> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_STATE_BYTES).read_to_end(&mut bytes))
        .map_err(Error::io("read the state of the checkpoint", path))?;
    let unusable = |error: serde_json::Error| Error::Checkpoint {
        why: error.to_string(),
        path: path.to_owned(),
    };
    let Version { version } = serde_json::from_slice(&bytes).map_err(unusable)?;
    if version > State::VERSION {
        return Err(Error::Newer {
            found: version,
            known: State::VERSION,
            path: path.to_owned(),
        });
    }
    serde_json::from_slice(&bytes).map_err(unusable)
}

/// Deletes checkpoints that are neither among the newest `keep` nor pinned.
pub(crate) fn prune(run: &RunDir, keep: usize) -> Result<()> {
    let mut checkpoints = run.checkpoints()?;
    let pin = run.spec().pin_every;
    checkpoints.truncate(checkpoints.len().saturating_sub(keep));
    for (step, folder) in checkpoints {
        if pin > 0 && step.is_multiple_of(pin) {
            continue;
        }
        // Out of sight first, so that nobody ever lists a half-deleted checkpoint.
        crate::files::remove_folder(&folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::DeviceChoice;

    use super::*;
    use crate::spec::RunRequest;

    #[test]
    fn every_size_learns() {
        let (device, _) = DeviceChoice::Cpu.resolve().unwrap();
        for (size, width) in [("nano", 128), ("small", 256), ("base", 512)] {
            let mut spec = RunSpec::from_request(&RunRequest {
                objective: "mae:random",
                size,
                data: "tabletop:object?episodes=4",
                cameras: vec!["static".to_owned()],
                steps: Some(2),
                seed: 1,
                device: "cpu",
            })
            .unwrap();
            spec.schedule.batch = 1;
            spec.check_data().unwrap();
            let spec = Arc::new(spec);
            let corpus = Corpus::open(&spec).unwrap();
            let learner = Learner::begin(&spec, &corpus, &device).unwrap();
            let config = learner.model().config();
            assert_eq!(config.width, width);
            let samples = corpus.batch(1, config.chunk).unwrap();
            let (learner, report) = learner.learn(&samples, &corpus, &spec).unwrap();
            assert_eq!(learner.step(), 1);
            assert!(report.loss > 0.0 && report.grad_norm > 0.0, "{size}");
        }
    }
}
