use crate::render::Camera;
use crate::scene::Environment;
use crate::task::{self, Suite, Task};
use crate::trace::{Source, Trace, mix};
use crate::{ACTION_NAMES, CAMERAS, Difficulty, Error, FPS, Noise, Result, STATE_NAMES};
use episode::{
    CameraInfo, Dataset, DatasetInfo, EpisodeMeta, Image, PixelMask, Region, SPECIFICATION_PREFIX,
    SharedDataset, Signals, is_specification,
};
use parking_lot::Mutex;
use rayon::prelude::*;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

const MOST_EPISODES: usize = 200_000;
/// About 4 KB each.
const TRACES_KEPT: usize = 16_384;

/// Opens a dataset: an address that starts with `tabletop:` is made on demand, anything else is a path.
pub fn open(spec: &str) -> Result<SharedDataset> {
    if is_specification(spec) {
        Ok(Arc::new(Generated::parse(spec)?))
    } else {
        Ok(episode::open(Path::new(spec))?)
    }
}

/// What a generated dataset is made of, written as `tabletop:object+spatial?episodes=600&env=A+B&seed=1&noise=on`.
/// Everything after the suites is optional.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Episodes take turns through the suites.
    pub suites: Vec<Suite>,
    /// Environments change after every round of the suites.
    pub environments: Vec<Environment>,
    /// Number of episodes, at most 200,000.
    pub episodes: usize,
    /// Seed of all episodes together.
    pub seed: u64,
    /// Disturbance of the expert, or none.
    pub noise: Option<Noise>,
    /// Numbers of the benchmark; not part of the written form.
    pub difficulty: Difficulty,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            suites: Suite::ALL.to_vec(),
            environments: vec![Environment::A],
            episodes: 600,
            seed: 1,
            noise: Some(Noise::default()),
            difficulty: Difficulty::default(),
        }
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn join(parts: impl Iterator<Item = impl ToString>) -> String {
            let parts: Vec<_> = parts.map(|part| part.to_string()).collect();
            parts.join("+")
        }
        write!(
            f,
            "{SPECIFICATION_PREFIX}{}?episodes={}&env={}&seed={}&noise={}",
            join(self.suites.iter()),
            self.episodes,
            join(self.environments.iter()),
            self.seed,
            if self.noise.is_some() { "on" } else { "off" },
        )
    }
}

impl FromStr for Recipe {
    type Err = Error;

    fn from_str(spec: &str) -> Result<Self> {
        let bad = |reason: String| Error::Spec {
            reason,
            spec: spec.to_owned(),
        };
        let rest = spec
            .strip_prefix(SPECIFICATION_PREFIX)
            .ok_or_else(|| bad(format!("does not start with {SPECIFICATION_PREFIX}")))?;
        let (suites, settings) = rest.split_once('?').unwrap_or((rest, ""));
        let mut recipe = Self::default();
        if !suites.is_empty() {
            recipe.suites = parts(suites).map_err(|e: Error| bad(e.to_string()))?;
        }
        for setting in settings.split('&').filter(|s| !s.is_empty()) {
            let (key, value) = setting
                .split_once('=')
                .ok_or_else(|| bad(format!("{setting:?} has no value")))?;
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|e| bad(format!("{key} is not a number ({e})")))
            };
            match key {
                "episodes" => {
                    recipe.episodes = usize::try_from(number()?)
                        .ok()
                        .filter(|n| (1..=MOST_EPISODES).contains(n))
                        .ok_or_else(|| bad(format!("episodes must be 1 to {MOST_EPISODES}")))?;
                }
                "seed" => recipe.seed = number()?,
                "env" => {
                    recipe.environments = parts(value).map_err(|e: Error| bad(e.to_string()))?;
                }
                "noise" => {
                    recipe.noise = match value {
                        "on" => Some(Noise::default()),
                        "off" => None,
                        _ => return Err(bad("noise is on or off".to_owned())),
                    };
                }
                _ => return Err(bad(format!("no such setting {key:?}"))),
            }
        }
        Ok(recipe)
    }
}

/// What stands between plus signs, as in `object+spatial`.
pub fn parts<T: FromStr>(joined: &str) -> Result<Vec<T>, T::Err> {
    joined.split('+').map(str::parse).collect()
}

impl Recipe {
    pub(crate) fn simulate(&self, episode: usize) -> Trace {
        let round = episode / self.suites.len().max(1);
        let pick = |i: usize, len: usize| i.checked_rem(len).unwrap_or(0);
        let suite = self.suites.get(pick(episode, self.suites.len()));
        let environment = self.environments.get(pick(round, self.environments.len()));
        let source = Source {
            suite: suite.copied().unwrap_or(Suite::Object),
            environment: environment.copied().unwrap_or(Environment::A),
            seed: self.seed,
            noise: self.noise,
            difficulty: &self.difficulty,
        };
        Trace::simulate(source, episode as u64)
    }
}

/// A dataset whose episodes the expert plays when they are needed and whose pictures are drawn when they are asked for.
pub struct Generated {
    recipe: Recipe,
    info: DatasetInfo,
    episodes: Vec<EpisodeMeta>,
    traces: Mutex<Traces>,
}

/// The most recently simulated episodes.
#[derive(Default)]
struct Traces {
    kept: HashMap<usize, Arc<Trace>>,
    order: VecDeque<usize>,
}

impl Traces {
    fn insert(&mut self, episode: usize, trace: Arc<Trace>) {
        if self.kept.insert(episode, trace).is_none() {
            self.order.push_back(episode);
        }
        while self.order.len() > TRACES_KEPT {
            if let Some(oldest) = self.order.pop_front() {
                self.kept.remove(&oldest);
            }
        }
    }
}

impl Generated {
    /// The dataset of a `tabletop:` address.
    pub fn parse(spec: &str) -> Result<Self> {
        Ok(Self::new(spec.parse()?))
    }

    /// Plays every episode once, on all threads, to know its length: hundreds of episodes a second and core.
    pub fn new(recipe: Recipe) -> Self {
        let traces: Vec<Arc<Trace>> = (0..recipe.episodes)
            .into_par_iter()
            .map(|episode| Arc::new(recipe.simulate(episode)))
            .collect();
        let mut instructions: HashMap<String, Arc<str>> = HashMap::new();
        let episodes: Vec<EpisodeMeta> = traces
            .iter()
            .enumerate()
            .map(|(index, trace)| {
                let words = trace.task.instruction();
                let shared = instructions
                    .entry(words.to_owned())
                    .or_insert_with(|| Arc::from(words));
                EpisodeMeta {
                    index,
                    length: trace.actions.len(),
                    instruction: Arc::clone(shared),
                }
            })
            .collect();
        let mut seen = HashSet::new();
        let failed = traces.iter().filter(|trace| !trace.success).count();
        let mut warnings = Vec::new();
        if failed > 0 {
            warnings.push(format!("the expert failed in {failed} episodes"));
        }
        let spec = recipe.to_string();
        let info = DatasetInfo {
            format: "tabletop".to_owned(),
            path: PathBuf::from(&spec),
            name: spec,
            fps: Some(FPS as f32),
            episodes: episodes.len(),
            frames: episodes.iter().map(|e| e.length).sum(),
            cameras: camera_infos(),
            instructions: episodes
                .iter()
                .filter(|e| seen.insert(Arc::clone(&e.instruction)))
                .map(|e| e.instruction.to_string())
                .collect(),
            action_names: ACTION_NAMES.map(str::to_owned).to_vec(),
            state_names: STATE_NAMES.map(str::to_owned).to_vec(),
            has_masks: true,
            warnings,
        };
        let mut kept = Traces::default();
        for (episode, trace) in traces.into_iter().enumerate().take(TRACES_KEPT) {
            kept.insert(episode, trace);
        }
        Self {
            recipe,
            info,
            episodes,
            traces: Mutex::new(kept),
        }
    }

    /// What it is made of.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Key for per-task tables of one episode.
    pub fn task_id(&self, episode: usize) -> Result<String> {
        Ok(self.trace(episode)?.task.id().to_owned())
    }

    fn trace(&self, episode: usize) -> Result<Arc<Trace>, episode::Error> {
        if episode >= self.episodes.len() {
            return Err(self.out_of_range("episode", episode, self.episodes.len()));
        }
        if let Some(trace) = self.traces.lock().kept.get(&episode) {
            return Ok(Arc::clone(trace));
        }
        let trace = Arc::new(self.recipe.simulate(episode));
        self.traces.lock().insert(episode, Arc::clone(&trace));
        Ok(trace)
    }

    fn frame<T>(
        &self,
        episode: usize,
        step: usize,
        camera: usize,
        draw: impl FnOnce(&Trace, &crate::Snapshot, Camera) -> T,
    ) -> Result<T, episode::Error> {
        let trace = self.trace(episode)?;
        let cameras = Camera::ALL;
        match (trace.snapshots.get(step), cameras.get(camera)) {
            (Some(snapshot), Some(&camera)) => Ok(draw(&trace, snapshot, camera)),
            (None, _) => Err(self.out_of_range("step", step, trace.snapshots.len())),
            (_, None) => Err(self.out_of_range("camera", camera, cameras.len())),
        }
    }

    fn out_of_range(&self, what: &'static str, index: usize, len: usize) -> episode::Error {
        episode::Error::OutOfRange {
            what,
            index,
            len,
            path: self.info.path.clone(),
        }
    }
}

pub(crate) fn camera_infos() -> Vec<CameraInfo> {
    CAMERAS
        .map(|(name, width, height)| CameraInfo {
            name: name.to_owned(),
            width,
            height,
        })
        .to_vec()
}

impl Dataset for Generated {
    fn info(&self) -> &DatasetInfo {
        &self.info
    }

    fn episode(&self, episode: usize) -> Result<EpisodeMeta, episode::Error> {
        let meta = self.episodes.get(episode);
        meta.cloned()
            .ok_or_else(|| self.out_of_range("episode", episode, self.episodes.len()))
    }

    fn signals(&self, episode: usize) -> Result<Arc<Signals>, episode::Error> {
        let trace = self.trace(episode)?;
        Ok(Arc::new(Signals {
            action_dim: ACTION_NAMES.len(),
            state_dim: STATE_NAMES.len(),
            actions: trace.actions.iter().flatten().copied().collect(),
            states: trace.snapshots.iter().flat_map(|s| s.hand).collect(),
        }))
    }

    fn image(
        &self,
        episode: usize,
        step: usize,
        camera: usize,
    ) -> Result<Arc<Image>, episode::Error> {
        self.frame(episode, step, camera, |trace, snapshot, camera| {
            Arc::new(trace.scene.render(snapshot, camera))
        })
    }

    fn mask(
        &self,
        episode: usize,
        step: usize,
        camera: usize,
        region: Region,
    ) -> Result<Option<Arc<PixelMask>>, episode::Error> {
        self.frame(episode, step, camera, |trace, snapshot, camera| {
            let mask = trace.scene.mask(snapshot, &trace.task, camera, region);
            Some(Arc::new(mask))
        })
    }

    /// A counterfactual twin of the episode's task, see [`crate::World::alternatives`], in the same wording; one that acts
    /// on another object where the scene allows it, since a gaze on the object says nothing about twins that share it.
    fn other_instruction(&self, episode: usize) -> Result<Option<Arc<str>>, episode::Error> {
        let trace = self.trace(episode)?;
        let others = task::others(&trace.scene, &trace.task);
        let elsewhere: Vec<&Task> = others
            .iter()
            .filter(|other| other.target() != trace.task.target())
            .collect();
        let twins = if elsewhere.is_empty() {
            others.iter().collect()
        } else {
            elsewhere
        };
        let chosen = mix(self.recipe.seed, episode as u64).checked_rem(twins.len() as u64);
        let twin = chosen.and_then(|chosen| twins.get(chosen as usize));
        Ok(twin.map(|twin| twin.instruction().into()))
    }

    fn is_generated(&self) -> bool {
        true
    }
}
