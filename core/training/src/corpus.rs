//! Which frames a step trains on.

use std::ops::Range;
use std::sync::Arc;

use episode::{SharedDataset, Signals};
use model::{ColourJitter, Normaliser, Observation, Sample, VlaConfig};
use rand::RngExt;
use rand::seq::index;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::rng::{Purpose, stream};
use crate::spec::RunSpec;

/// Episodes whose actions and states the normalisation is measured on; generated ones must be simulated for that.
const MEASURED_EPISODES: usize = 256;
/// Tail of the quantiles beyond which numbers may be outliers (OpenVLA's choice).
const TAIL: f64 = 0.01;
/// How far extremes may lie beyond the quantiles, in ranges, and still not be outliers.
const OUTLIER: f32 = 0.25;
/// Held-out episodes that the early error is measured on.
const EARLY_EPISODES: usize = 64;

/// Training episodes that heads are chosen on.
const CALIBRATION_EPISODES: usize = 64;

/// A data set as one run sees it: its cameras, and its episodes split into trained on and held out.
#[derive(Clone)]
pub(crate) struct Corpus {
    data: SharedDataset,
    cameras: Vec<usize>,
    train: Range<usize>,
    held_out: Range<usize>,
    spec: Arc<RunSpec>,
}

/// A frame with the action that was taken there.
#[derive(Clone)]
pub(crate) struct Demonstration {
    /// Where the frame is from, in words.
    pub(crate) source: String,
    /// Step in its episode.
    pub(crate) step: usize,
    /// What was seen.
    pub(crate) observation: Observation,
    /// What was done, in the data set's units.
    pub(crate) action: Vec<f32>,
}

impl Corpus {
    pub(crate) fn open(spec: &Arc<RunSpec>) -> Result<Self> {
        let data = spec.data.open()?;
        let cameras = spec.data.camera_indices(&data)?;
        let episodes = data.info().episodes;
        let train = spec.data.train_episodes(data.info())?;
        Ok(Self {
            data,
            cameras,
            train: 0..train,
            held_out: train..episodes,
            spec: spec.clone(),
        })
    }

    /// The model that `run.ron` describes, for this data: preset, words, and ranges of actions and states.
    pub(crate) fn model_config(&self) -> Result<VlaConfig> {
        let (actions, states) = self.measure()?;
        let config = self
            .spec
            .model
            .config(self.data.info(), &self.cameras, states, actions)?;
        Ok(config.for_objective(&self.spec.objective))
    }

    /// Refuses a model made for other data.
    pub(crate) fn check_config(&self, config: &VlaConfig) -> Result<()> {
        let info = self.data.info();
        let names: Vec<&str> = self
            .cameras
            .iter()
            .map(|&camera| info.cameras[camera].name.as_str())
            .collect();
        let of_model: Vec<&str> = config.cameras.iter().map(|c| c.name.as_str()).collect();
        if names == of_model {
            Ok(())
        } else {
            Err(Error::Spec(format!(
                "the checkpoint's cameras are {}, those of the data {}: {}",
                of_model.join(", "),
                names.join(", "),
                info.path.display()
            )))
        }
    }

    /// The examples of one step: a pure function of the run's seed and the step.
    ///
    /// Episodes are drawn uniformly. The first `early_share` of the batch comes from their first frames, the rest
    /// from anywhere in them.
    pub(crate) fn batch(&self, step: u64, chunk: usize) -> Result<Vec<Sample>> {
        let schedule = &self.spec.schedule;
        let mut rng = stream(self.spec.seed, Purpose::Batch, step);
        let early = (schedule.batch as f64 * schedule.early_share).round() as usize;
        // Drawn before anything is decoded, in one order, whatever the threads do afterwards.
        let draws: Vec<_> = (0..schedule.batch)
            .map(|place| {
                let episode = rng.random_range(self.train.clone());
                let position: f64 = rng.random();
                let colour = ColourJitter::sample(&mut rng, schedule.colour_jitter as f32);
                (episode, place < early, position, colour)
            })
            .collect();
        draws
            .into_par_iter()
            .map(|(episode, is_early, position, colour)| {
                let (episode, signals) = self.episode_from(episode)?;
                let length = signals.steps();
                let window = if is_early {
                    length.min(schedule.early_frames)
                } else {
                    length
                };
                let frame = ((position * window as f64) as usize).min(window - 1);
                let actions = chunk_of(&signals, frame, chunk).to_vec();
                Ok(Sample {
                    observation: self.observation(episode, frame, &signals)?,
                    actions,
                    colour,
                })
            })
            .collect()
    }

    /// Held-out early frames, the same for every run of the same data; empty when nothing is held out.
    pub(crate) fn early_frames(&self) -> Result<Vec<Demonstration>> {
        let episodes = spread(&self.held_out, EARLY_EPISODES);
        let frames: Vec<Vec<_>> = episodes
            .into_par_iter()
            .map(|episode| {
                let signals = self.data.signals(episode)?;
                (0..signals.steps().min(self.spec.schedule.early_frames))
                    .map(|frame| self.demonstration(episode, frame, &signals))
                    .collect::<Result<_>>()
            })
            .collect::<Result<_>>()?;
        Ok(frames.into_iter().flatten().collect())
    }

    /// The frames whose attention is captured at every checkpoint; held out if there are such.
    pub(crate) fn probe_frames(&self) -> Result<Vec<Demonstration>> {
        let pool = if self.held_out.is_empty() {
            &self.train
        } else {
            &self.held_out
        };
        self.telling_frames(pool, self.spec.probes)
    }

    /// The training frames on which heads are chosen, the same for every run of the same data.
    pub(crate) fn calibration_frames(&self) -> Result<Vec<Demonstration>> {
        self.telling_frames(&self.train, CALIBRATION_EPISODES)
    }

    /// One frame each of some episodes of `pool`, two steps into the episode: the robot has set out, and its place
    /// does not give the target away yet.
    fn telling_frames(&self, pool: &Range<usize>, amount: usize) -> Result<Vec<Demonstration>> {
        let frames: Vec<Option<_>> = spread(pool, amount)
            .into_par_iter()
            .map(|episode| {
                let signals = self.data.signals(episode)?;
                let last = signals.steps().checked_sub(1);
                last.map(|last| self.demonstration(episode, last.min(2), &signals))
                    .transpose()
            })
            .collect::<Result<_>>()?;
        Ok(frames.into_iter().flatten().collect())
    }

    fn demonstration(
        &self,
        episode: usize,
        frame: usize,
        signals: &Signals,
    ) -> Result<Demonstration> {
        Ok(Demonstration {
            source: format!("{} episode {episode} step {frame}", self.data.info().name),
            step: frame,
            observation: self.observation(episode, frame, signals)?,
            action: chunk_of(signals, frame, 1).to_vec(),
        })
    }

    fn observation(&self, episode: usize, frame: usize, signals: &Signals) -> Result<Observation> {
        let images = self
            .cameras
            .iter()
            .map(|&camera| self.data.image(episode, frame, camera))
            .collect::<Result<_, _>>()?;
        Ok(Observation {
            images,
            state: signals.state(frame).unwrap_or_default().to_vec(),
            instruction: self.data.episode(episode)?.instruction,
        })
    }

    /// The first episode with any actions at or, cyclically, after `episode`, so that an empty recording among
    /// thousands does not end a run.
    fn episode_from(&self, episode: usize) -> Result<(usize, Arc<Signals>)> {
        for candidate in (episode..self.train.end).chain(self.train.start..episode) {
            let signals = self.data.signals(candidate)?;
            if signals.action_dim > 0 && signals.steps() > 0 {
                return Ok((candidate, signals));
            }
        }
        Err(Error::Spec(format!(
            "no episode has actions to learn from: {}",
            self.data.info().path.display()
        )))
    }

    /// Ranges of actions and states over a sample of the training episodes.
    fn measure(&self) -> Result<(Normaliser, Normaliser)> {
        let mut rng = stream(self.spec.seed, Purpose::Statistics, 0);
        let amount = self.train.len().min(MEASURED_EPISODES);
        let mut chosen = index::sample(&mut rng, self.train.len(), amount).into_vec();
        chosen.sort_unstable();
        let signals: Vec<Arc<Signals>> = chosen
            .into_par_iter()
            .map(|episode| Ok(self.episode_from(self.train.start + episode)?.1))
            .collect::<Result<_>>()?;
        let dims = |of: fn(&Signals) -> usize| -> Result<usize> {
            let dim = signals.first().map_or(0, |first| of(first));
            if signals.iter().all(|s| of(s) == dim) {
                Ok(dim)
            } else {
                Err(Error::Spec(format!(
                    "episodes differ in the number of action or state components: {}",
                    self.data.info().path.display()
                )))
            }
        };
        let (action_dim, state_dim) = (dims(|s| s.action_dim)?, dims(|s| s.state_dim)?);
        let all = |of: fn(&Signals) -> &[f32]| -> Vec<f32> {
            signals.iter().flat_map(|s| of(s)).copied().collect()
        };
        let actions = range(&all(|s| &s.actions), action_dim)?;
        let states = if state_dim == 0 {
            Normaliser::identity(0)
        } else {
            range(&all(|s| &s.states), state_dim)?
        };
        Ok((actions, states))
    }
}

/// Per column the extremes, or where these are outliers the 1 % and 99 % quantiles.
///
/// Quantiles alone would clip the outermost waypoints of a table that is used up to its edge; extremes alone would let
/// one faulty record squeeze everything else into a few bins.
fn range(values: &[f32], dim: usize) -> Result<Normaliser> {
    let mut fitted = Normaliser::fit(values, dim, TAIL)?;
    let extremes = Normaliser::fit(values, dim, 0.0)?;
    for column in 0..dim {
        let slack = OUTLIER * (fitted.high[column] - fitted.low[column]);
        if fitted.low[column] - extremes.low[column] <= slack {
            fitted.low[column] = extremes.low[column];
        }
        if extremes.high[column] - fitted.high[column] <= slack {
            fitted.high[column] = extremes.high[column];
        }
    }
    Ok(fitted)
}

/// Rows `frame .. frame + chunk` of the actions, fewer at the end of the episode.
fn chunk_of(signals: &Signals, frame: usize, chunk: usize) -> &[f32] {
    let dim = signals.action_dim;
    let end = signals.actions.len().min((frame + chunk) * dim);
    signals.actions.get(frame * dim..end).unwrap_or_default()
}

/// At most `amount` numbers spread evenly over a range.
fn spread(range: &Range<usize>, amount: usize) -> Vec<usize> {
    let amount = amount.min(range.len());
    (0..amount)
        .map(|place| range.start + place * range.len() / amount)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_keep_edges_and_drop_outliers() {
        // Column 0 is used evenly up to its edges, column 1 has one faulty record.
        let values: Vec<f32> = (0..1000)
            .flat_map(|i| {
                let value = i as f32 / 999.0;
                [value, if i == 500 { 1e6 } else { value }]
            })
            .collect();
        let norm = range(&values, 2).unwrap();
        assert_eq!((norm.low[0], norm.high[0]), (0.0, 1.0));
        assert_eq!(norm.low[1], 0.0);
        assert!(norm.high[1] < 1.0, "{}", norm.high[1]);
    }

    #[test]
    fn chunks_end_with_the_episode() {
        let signals = Signals {
            action_dim: 2,
            actions: (0..8).map(|v| v as f32).collect(),
            ..Signals::default()
        };
        assert_eq!(chunk_of(&signals, 1, 2), [2.0, 3.0, 4.0, 5.0]);
        assert_eq!(chunk_of(&signals, 3, 2), [6.0, 7.0]);
    }

    #[test]
    fn spreads_are_even_and_inside() {
        assert_eq!(spread(&(10..20), 4), [10, 12, 15, 17]);
        assert_eq!(spread(&(10..12), 4), [10, 11]);
        assert!(spread(&(3..3), 4).is_empty());
    }
}
