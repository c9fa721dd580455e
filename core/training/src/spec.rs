//! `run.ron`: what was asked of a run. Written once, so that a run can be repeated from it.

use std::path::Path;

use episode::{DatasetInfo, SharedDataset};
use grounding::HeadSelection;
use model::optim::AdamWConfig;
use model::{Attention, DeviceChoice, Labels, Normaliser, Objective, Size, VlaConfig};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::Document;

/// What was asked of a run: variant, data, model, schedule, seed.
///
/// Every field but the first four has a default, so a file written by hand can be short. A field that does not exist is
/// refused: a run must not quietly be another than was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSpec {
    /// Layout version of the file.
    #[serde(default)]
    pub version: u32,
    /// Name shown to people.
    pub name: String,
    /// What is trained: actions alone, or with masked reconstruction from one of the mask sources.
    pub objective: Objective,
    /// The data set and which part of it.
    pub data: DataSpec,
    /// Shapes of the model.
    #[serde(default)]
    pub model: ModelSpec,
    /// Steps, batches and the optimiser.
    #[serde(default)]
    pub schedule: Schedule,
    /// Seed of weights, batches, colours and masks. The same seed gives the same data order to every variant.
    #[serde(default)]
    pub seed: u64,
    /// Where to compute.
    #[serde(default = "default_device")]
    pub device: DeviceChoice,
    /// Steps between two lines of metrics.
    #[serde(default = "defaults::log_every")]
    pub log_every: u64,
    /// Steps between two measurements of the early error; 0 never measures it.
    #[serde(default = "defaults::early_every")]
    pub early_every: u64,
    /// Steps between two checkpoints.
    #[serde(default = "defaults::checkpoint_every")]
    pub checkpoint_every: u64,
    /// How many of the newest checkpoints stay.
    #[serde(default = "defaults::keep_checkpoints")]
    pub keep_checkpoints: usize,
    /// Checkpoints at multiples of this step stay for good; 0 pins none.
    #[serde(default)]
    pub pin_every: u64,
    /// Number of held-out frames whose attention is captured at every checkpoint.
    #[serde(default = "defaults::probes")]
    pub probes: usize,
}

fn default_device() -> DeviceChoice {
    DeviceChoice::Auto
}

mod defaults {
    pub(super) fn log_every() -> u64 {
        10
    }
    pub(super) fn early_every() -> u64 {
        250
    }
    pub(super) fn checkpoint_every() -> u64 {
        500
    }
    pub(super) fn keep_checkpoints() -> usize {
        3
    }
    pub(super) fn probes() -> usize {
        4
    }
}

/// The data a run is trained on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// A data set on disk, or generated data: `tabletop:object+spatial+goal?episodes=6000&env=A&seed=1`.
    pub source: String,
    /// Cameras by name, in token order; empty chooses by [`default_cameras`].
    #[serde(default)]
    pub cameras: Vec<String>,
    /// How many episodes, taken from the end, are kept from training for the early error and the probes.
    /// `None` keeps a tenth, at most 96, at least one where there are two.
    #[serde(default)]
    pub held_out: Option<usize>,
}

impl DataSpec {
    /// Opens the data set.
    pub fn open(&self) -> Result<SharedDataset> {
        Ok(tabletop::open(&self.source)?)
    }

    /// Indices of the cameras to train on.
    ///
    /// # Errors
    /// [`Error::UnknownCamera`] for a name the data set lacks.
    pub fn camera_indices(&self, data: &SharedDataset) -> Result<Vec<usize>> {
        if self.cameras.is_empty() {
            return default_cameras(data);
        }
        let info = data.info();
        self.cameras
            .iter()
            .map(|name| {
                info.cameras
                    .iter()
                    .position(|camera| camera.name == *name)
                    .ok_or_else(|| Error::UnknownCamera {
                        name: name.clone(),
                        known: info.cameras.iter().map(|c| c.name.clone()).collect(),
                        path: info.path.clone(),
                    })
            })
            .collect()
    }

    /// Number of episodes that are trained on; the rest, from the end, is held out.
    ///
    /// # Errors
    /// [`Error::Spec`] when nothing is left to train on.
    pub fn train_episodes(&self, info: &DatasetInfo) -> Result<usize> {
        let held_out = self
            .held_out
            .unwrap_or_else(|| (info.episodes / 10).clamp(1, 96).min(info.episodes / 2));
        match info.episodes.checked_sub(held_out) {
            Some(train) if train > 0 => Ok(train),
            _ => Err(Error::Spec(format!(
                "{held_out} of {} episodes are held out, none is left to train on: {}",
                info.episodes,
                info.path.display()
            ))),
        }
    }
}

/// Names of fixed cameras that data sets use, the most telling first.
const FIXED_CAMERAS: [&str; 8] = [
    "static",
    "image_0",
    "agentview",
    "primary",
    "front",
    "top",
    "exterior",
    "image",
];
/// Parts of names of cameras at the gripper.
const HAND_CAMERAS: [&str; 4] = ["gripper", "wrist", "hand", "eye_in_hand"];

/// The cameras to train on when none are named: one fixed view and, if there is one, the view from the gripper.
///
/// Cameras whose first pictures have one colour only are passed over; recordings carry such fillers.
///
/// # Errors
/// When a picture cannot be read or no camera shows anything.
pub fn default_cameras(data: &SharedDataset) -> Result<Vec<usize>> {
    let info = data.info();
    let mut seeing = Vec::new();
    for camera in 0..info.cameras.len() {
        if shows_something(data, camera)? {
            seeing.push(camera);
        }
    }
    let name = |camera: usize| info.cameras[camera].name.to_lowercase();
    let is_hand = |camera: usize| HAND_CAMERAS.iter().any(|part| name(camera).contains(part));
    let rank = |camera: usize| {
        FIXED_CAMERAS
            .iter()
            .position(|fixed| name(camera).contains(fixed))
            .unwrap_or(FIXED_CAMERAS.len())
    };
    let fixed = seeing
        .iter()
        .copied()
        .filter(|&camera| !is_hand(camera))
        .min_by_key(|&camera| (rank(camera), camera));
    let hand = seeing.iter().copied().find(|&camera| is_hand(camera));
    let chosen: Vec<usize> = fixed.into_iter().chain(hand).collect();
    if chosen.is_empty() {
        return Err(Error::Spec(format!(
            "no camera shows a picture: {}",
            info.path.display()
        )));
    }
    Ok(chosen)
}

fn shows_something(data: &SharedDataset, camera: usize) -> Result<bool> {
    const LOOKED_AT: usize = 3;
    for episode in 0..data.info().episodes.min(LOOKED_AT) {
        if data.episode(episode)?.length == 0 {
            continue;
        }
        let image = data.image(episode, 0, camera)?;
        let mut pixels = image.rgb.chunks_exact(3);
        let first = pixels.next();
        if pixels.any(|pixel| Some(pixel) != first) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Shapes of the model, where they differ from the preset of its size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSpec {
    /// Preset of width, depth and picture size.
    pub size: Size,
    /// Side of one image patch in pixels; `None` takes the preset's.
    pub patch: Option<u32>,
    /// Which tokens see which.
    pub attention: Attention,
    /// Bins per action value, 2 to 4096.
    pub bins: usize,
    /// Actions decoded at once, 1 to 256.
    pub chunk: usize,
    /// Targets over the action bins.
    pub labels: Labels,
}

impl Default for ModelSpec {
    fn default() -> Self {
        Self {
            size: Size::Nano,
            patch: None,
            attention: Attention::default(),
            bins: VlaConfig::BINS,
            chunk: VlaConfig::CHUNK,
            labels: Labels::default(),
        }
    }
}

impl ModelSpec {
    /// The model's shapes for `cameras` of a data set whose states and actions have these ranges.
    ///
    /// # Errors
    /// What [`VlaConfig::check`] says, say when pictures cannot be cut into patches of that size.
    pub(crate) fn config(
        &self,
        info: &DatasetInfo,
        cameras: &[usize],
        states: Normaliser,
        actions: Normaliser,
    ) -> Result<VlaConfig> {
        let mut config = VlaConfig::preset(self.size, info, cameras, states, actions)?;
        config.attention = self.attention;
        config.bins = self.bins;
        config.chunk = self.chunk;
        config.labels = self.labels;
        if let Some(patch) = self.patch {
            config = config.with_patch(patch)?;
        }
        config.check()?;
        Ok(config)
    }
}

/// Steps, batches and the optimiser: AdamW with warm-up and cosine decay.
///
/// The defaults are the recipe that learned the built-in benchmark from scratch within minutes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Number of optimiser steps.
    pub steps: u64,
    /// Frames per step.
    pub batch: usize,
    /// Peak learning rate.
    pub lr: f64,
    /// Learning rate at the last step as a share of the peak.
    pub lr_end: f64,
    /// Steps of linear warm-up; at most a tenth of all steps.
    pub warmup: u64,
    /// Numbers of the optimiser that do not change over time.
    pub optimizer: AdamWConfig,
    /// Share of each batch drawn from the first [`early_frames`](Self::early_frames) frames of its episode; the
    /// rest is drawn from the whole episode. Late frames give the target away by where the gripper is.
    pub early_share: f64,
    /// How many frames count as early.
    pub early_frames: usize,
    /// Strength of the colour jitter of each frame, see [`ColourJitter::sample`](model::ColourJitter::sample).
    pub colour_jitter: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            steps: 5_000,
            batch: 32,
            lr: 1e-3,
            lr_end: 0.02,
            warmup: 200,
            optimizer: AdamWConfig::default(),
            early_share: 0.5,
            early_frames: 3,
            colour_jitter: 0.15,
        }
    }
}

impl Schedule {
    /// Learning rate of step `step`, counted from 1.
    ///
    /// Linear from 0 to the peak over the warm-up, then half a cosine down to [`lr_end`](Self::lr_end) × peak.
    pub fn lr_at(&self, step: u64) -> f64 {
        let warmup = self.warmup.min(self.steps / 10);
        if step <= warmup {
            return self.lr * step as f64 / warmup.max(1) as f64;
        }
        let decay = (self.steps - warmup).max(1) as f64;
        let progress = ((step - warmup) as f64 / decay).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        self.lr * (self.lr_end + (1.0 - self.lr_end) * cosine)
    }
}

/// What the command line and the window say when they create a run.
#[derive(Clone, Debug)]
pub struct RunRequest<'a> {
    /// `action`, `mae:random` or `mae:selected`.
    pub objective: &'a str,
    /// `nano`, `small` or `base`.
    pub size: &'a str,
    /// A path, or `tabletop:…`.
    pub data: &'a str,
    /// Camera names; empty for the default choice.
    pub cameras: Vec<String>,
    /// Number of steps; `None` for the default.
    pub steps: Option<u64>,
    /// Seed.
    pub seed: u64,
    /// `auto`, `cpu` or `gpu`.
    pub device: &'a str,
}

impl RunSpec {
    /// A run of `objective` on `data` with the default recipe.
    ///
    /// # Errors
    /// When a word is unknown; the message lists the known ones.
    pub fn from_request(request: &RunRequest<'_>) -> Result<Self> {
        let objective: Objective = request.objective.parse()?;
        let mut schedule = Schedule::default();
        if let Some(steps) = request.steps {
            schedule.steps = steps;
        }
        let steps = schedule.steps;
        let at_most = |every: u64, times: u64| every.min(steps / times).max(1);
        let spec = Self {
            version: Self::VERSION,
            name: format!(
                "{} {} seed {}",
                request.objective, request.size, request.seed
            ),
            objective,
            data: DataSpec {
                source: absolute(request.data),
                cameras: request.cameras.clone(),
                held_out: None,
            },
            model: ModelSpec {
                size: request.size.parse()?,
                ..ModelSpec::default()
            },
            schedule,
            seed: request.seed,
            device: request.device.parse()?,
            // A short run is watched, and loses as little when it is killed, as a long one.
            log_every: at_most(defaults::log_every(), 50),
            early_every: at_most(defaults::early_every(), 10),
            checkpoint_every: at_most(defaults::checkpoint_every(), 5),
            keep_checkpoints: defaults::keep_checkpoints(),
            pin_every: 0,
            probes: defaults::probes(),
        };
        spec.check()?;
        Ok(spec)
    }

    /// Looks at the data, which [`check`](Self::check) does not: it must open, have the cameras and leave episodes to
    /// train on, and the model must be able to take its pictures.
    ///
    /// # Errors
    /// What the data set says, [`Error::UnknownCamera`], [`Error::Spec`] when no episode is left, or what the model
    /// says.
    pub fn check_data(&self) -> Result<()> {
        let data = self.data.open()?;
        let cameras = self.data.camera_indices(&data)?;
        self.data.train_episodes(data.info())?;
        // The ranges of states and actions, which take time to measure, do not matter to the shapes.
        let (states, actions) = (Normaliser::identity(0), Normaliser::identity(1));
        self.model.config(data.info(), &cameras, states, actions)?;
        Ok(())
    }

    /// Refuses values with which training makes no sense.
    ///
    /// # Errors
    /// [`Error::Spec`] naming the value.
    pub fn check(&self) -> Result<()> {
        let Schedule {
            steps,
            batch,
            lr,
            lr_end,
            optimizer,
            early_share,
            early_frames,
            colour_jitter,
            ..
        } = self.schedule;
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let share = |value: f64| (0.0..=1.0).contains(&value);
        let rules = [
            (steps > 0, "steps must be at least 1"),
            (
                (2..=4096).contains(&self.model.bins),
                "bins must be between 2 and 4096",
            ),
            (
                (1..=256).contains(&self.model.chunk),
                "chunk must be between 1 and 256",
            ),
            (
                match self.model.labels {
                    Labels::Hard => true,
                    Labels::Soft { sigma_bins } => positive(sigma_bins),
                },
                "sigma_bins must be above 0",
            ),
            (
                self.model
                    .patch
                    .is_none_or(|patch| patch.is_power_of_two() && (2..=64).contains(&patch)),
                "patch must be 2, 4, 8, 16, 32 or 64",
            ),
            (
                (1..=65_536).contains(&batch),
                "batch must be between 1 and 65536",
            ),
            (positive(lr), "lr must be above 0"),
            (share(lr_end), "lr_end must be between 0 and 1"),
            (
                (0.0..1.0).contains(&optimizer.beta1) && (0.0..1.0).contains(&optimizer.beta2),
                "beta1 and beta2 must be at least 0 and below 1",
            ),
            (
                positive(optimizer.epsilon.into()),
                "epsilon must be above 0",
            ),
            (
                optimizer.weight_decay.is_finite() && optimizer.weight_decay >= 0.0,
                "weight_decay must not be negative",
            ),
            (
                optimizer.clip_norm.is_none_or(|norm| positive(norm.into())),
                "clip_norm must be above 0",
            ),
            (share(early_share), "early_share must be between 0 and 1"),
            (early_frames > 0, "early_frames must be at least 1"),
            (
                (0.0..1.0).contains(&colour_jitter),
                "colour_jitter must be at least 0 and below 1",
            ),
            (
                self.checkpoint_every > 0,
                "checkpoint_every must be at least 1",
            ),
            (self.log_every > 0, "log_every must be at least 1"),
            (
                self.keep_checkpoints > 0,
                "keep_checkpoints must be at least 1",
            ),
        ];
        if let Some((_, rule)) = rules.into_iter().find(|(holds, _)| !holds) {
            return Err(Error::Spec(rule.to_owned()));
        }
        match &self.objective {
            Objective::Action => Ok(()),
            Objective::Mae(mae) => Ok(mae.check()?),
        }
    }

    /// How heads become a mask, for objectives that look at attention.
    pub fn selection(&self) -> Option<&HeadSelection> {
        match &self.objective {
            Objective::Action => None,
            Objective::Mae(mae) => Some(&mae.selection),
        }
    }

    /// The same run with another [`selection`](Self::selection), say the one the sliders stand at.
    pub fn with_selection(mut self, selection: &HeadSelection) -> Self {
        if let Objective::Mae(mae) = &mut self.objective {
            mae.selection = selection.clone();
        }
        self
    }
}

impl Document for RunSpec {
    const WHAT: &'static str = "the description of a run";
    const VERSION: u32 = 1;
}

/// Paths in `run.ron` are absolute, because a trainer may be started from another folder.
fn absolute(source: &str) -> String {
    if episode::is_specification(source) {
        return source.to_owned();
    }
    std::path::absolute(Path::new(source))
        .map_or_else(|_| source.to_owned(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::corpus::Corpus;

    fn request(objective: &str) -> RunRequest<'_> {
        RunRequest {
            objective,
            size: "nano",
            data: "tabletop:object?episodes=4",
            cameras: Vec::new(),
            steps: Some(50),
            seed: 1,
            device: "cpu",
        }
    }

    #[test]
    fn objectives_are_named_as_on_the_command_line() {
        for name in ["action", "mae:random", "mae:selected"] {
            let spec = RunSpec::from_request(&request(name)).unwrap();
            assert_eq!(spec.objective.to_string(), name);
        }
        let error = RunSpec::from_request(&request("mea")).unwrap_err();
        assert!(error.chain().join(": ").contains("mae:random"), "{error:?}");
    }

    #[test]
    fn a_description_survives_the_round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.ron");
        let spec = RunSpec::from_request(&request("mae:selected")).unwrap();
        crate::files::write_document(&path, &spec).unwrap();
        assert_eq!(crate::files::read_document::<RunSpec>(&path).unwrap(), spec);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let mut spec = RunSpec::from_request(&request("action")).unwrap();
        spec.schedule.optimizer.clip_norm = Some(f32::NAN);
        assert!(spec.check().unwrap_err().to_string().contains("clip"));
    }

    #[test]
    fn the_model_of_a_short_file_is_the_usual_one_but_for_what_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.ron");
        let read = |model: &str| {
            let text = format!(
                "(name: \"n\", objective: Action, data: (source: \"tabletop:object?episodes=4\"), {model})"
            );
            std::fs::write(&path, text).unwrap();
            crate::files::read_document::<RunSpec>(&path)
        };
        assert_eq!(read("").unwrap().model, ModelSpec::default());
        let spec =
            read("model: (bins: 32, chunk: 8, labels: hard, attention: causal, patch: Some(16))");
        let spec = Arc::new(spec.unwrap());
        let config = Corpus::open(&spec).unwrap().model_config().unwrap();
        assert_eq!((config.bins, config.chunk), (32, 8));
        assert_eq!(config.labels, Labels::Hard);
        assert_eq!(config.attention, Attention::Causal);
        assert_eq!(config.cameras[0].patch, 16);

        for unknown in ["model: (bin: 32)", "schedule: (epochs: 3)", "shape: ()"] {
            let error = read(unknown).unwrap_err().chain().join(": ");
            assert!(error.contains("Unexpected field"), "{unknown}: {error}");
        }
        for (wrong, why) in [
            ("bins: 1", "bins must be between 2 and 4096"),
            ("chunk: 0", "chunk must be between 1 and 256"),
            (
                "labels: soft(sigma_bins: -1.0)",
                "sigma_bins must be above 0",
            ),
            ("patch: Some(12)", "patch must be 2, 4, 8, 16, 32 or 64"),
        ] {
            let error = read(&format!("model: ({wrong})")).unwrap().check();
            let error = error.unwrap_err().to_string();
            assert!(error.ends_with(why), "{error}");
        }
        assert!(spec.check_data().is_ok());
    }

    #[test]
    fn the_learning_rate_warms_up_and_decays() {
        let schedule = Schedule {
            steps: 1000,
            warmup: 200,
            ..Schedule::default()
        };
        // Warm-up is capped at a tenth, so that short runs learn too.
        assert!((schedule.lr_at(1) - 1e-5).abs() < 1e-12);
        assert!((schedule.lr_at(100) - 1e-3).abs() < 1e-12);
        assert!((schedule.lr_at(550) - 1e-3 * (0.02 + 0.98 * 0.5)).abs() < 1e-9);
        assert!((schedule.lr_at(1000) - 2e-5).abs() < 1e-12);
        let rates: Vec<f64> = (100..=1000).map(|step| schedule.lr_at(step)).collect();
        assert!(rates.windows(2).all(|pair| pair[0] >= pair[1]));
    }
}
