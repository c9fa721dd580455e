//! From frames of a dataset to the tensors of one batch.

use crate::{Error, Result, VlaConfig, Vocabulary};
use burn::tensor::{Device, Int, Tensor, TensorData};
use episode::Image;
use rand::{Rng, RngExt};
use rayon::prelude::*;
use std::sync::Arc;

/// What a policy sees at one moment.
#[derive(Clone, Debug)]
pub struct Observation {
    /// One picture per camera, in the order of [`VlaConfig::cameras`], of any size.
    pub images: Vec<Arc<Image>>,
    /// Proprioception in raw units, [`VlaConfig::state_dim`] numbers.
    pub state: Vec<f32>,
    /// What to do.
    pub instruction: Arc<str>,
}

/// One training example.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What is seen.
    pub observation: Observation,
    /// The next actions in raw units, row-major `[steps, action_dim]` with 1 to [`VlaConfig::chunk`]
    /// steps; fewer at the end of an episode, where the rest of the chunk carries no loss.
    pub actions: Vec<f32>,
    /// Change of colour for augmentation.
    pub colour: ColourJitter,
}

/// A change of colour, the same for all pixels of a frame: `pixel · gain + offset` per channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColourJitter {
    /// Factor per channel.
    pub gain: [f32; 3],
    /// Addend per channel, in units of the full range.
    pub offset: [f32; 3],
}

impl ColourJitter {
    /// Leaves colours as they are.
    pub const NONE: Self = Self {
        gain: [1.0; 3],
        offset: [0.0; 3],
    };

    /// Gains uniform in 1 ± `strength`, offsets uniform in ± `strength` / 2. Draws six numbers.
    pub fn sample(rng: &mut impl Rng, strength: f32) -> Self {
        let mut draw = |centre: f32, spread: f32| {
            std::array::from_fn(|_| centre + spread * (rng.random::<f32>() * 2.0 - 1.0))
        };
        Self {
            gain: draw(1.0, strength),
            offset: draw(0.0, strength / 2.0),
        }
    }
}

impl Default for ColourJitter {
    fn default() -> Self {
        Self::NONE
    }
}

/// Input tensors of the model for `B` frames.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Per camera `[B, height, width, 3]`, values in [0, 1] (augmented colours may leave it). Channels
    /// last, as pictures are stored and as the patch encoder reads them.
    pub images: Vec<Tensor<4>>,
    /// Tokens of the instruction `[B, max_words]`.
    pub words: Tensor<2, Int>,
    /// 1 where a word stands and 0 in empty places, `[B, max_words]`. The first place is never empty.
    pub word_mask: Tensor<2>,
    /// Normalised proprioception `[B, max(state_dim, 1)]`; one 0 for datasets without state.
    pub state: Tensor<2>,
}

/// One training batch.
#[derive(Clone, Debug)]
pub struct Batch {
    /// What is seen.
    pub inputs: Inputs,
    /// Normalised actions `[B, chunk, action_dim]`.
    pub actions: Tensor<3>,
    /// 1 where an action exists and 0 past the end of the episode, `[B, chunk]`.
    pub action_mask: Tensor<2>,
}

impl Inputs {
    /// Resizes, normalises and stacks observations.
    ///
    /// # Errors
    /// When there is none, or one does not have the cameras or the state of `config`.
    pub fn new(config: &VlaConfig, observations: &[Observation], device: &Device) -> Result<Self> {
        let frames: Vec<_> = observations
            .iter()
            .map(|o| (o, ColourJitter::NONE))
            .collect();
        Self::stack(config, &frames, device)
    }

    /// Number of frames.
    pub fn batch(&self) -> usize {
        self.words.dims()[0]
    }

    fn stack(
        config: &VlaConfig,
        frames: &[(&Observation, ColourJitter)],
        device: &Device,
    ) -> Result<Self> {
        // A batch is data, not a function of the parameters: it carries no gradient and no graph.
        let batch = frames.len();
        if batch == 0 {
            return Err(Error::Input("a batch of no frames".into()));
        }
        let state_width = config.state_dim.max(1);
        let mut words = vec![Vocabulary::PAD as i32; batch * config.max_words];
        let mut word_mask = vec![0f32; batch * config.max_words];
        let mut state = vec![0f32; batch * state_width];
        for (row, (frame, _)) in frames.iter().enumerate() {
            if frame.images.len() != config.cameras.len() {
                return Err(Error::Input(format!(
                    "{} pictures for {} cameras",
                    frame.images.len(),
                    config.cameras.len()
                )));
            }
            if frame.state.len() != config.state_dim {
                return Err(Error::Input(format!(
                    "state of {} numbers, the model takes {}",
                    frame.state.len(),
                    config.state_dim
                )));
            }
            if let Some(at) = frame.state.iter().position(|v| !v.is_finite()) {
                return Err(Error::Input(format!("state[{at}] is {}", frame.state[at])));
            }
            let tokens = config
                .vocabulary
                .encode(&frame.instruction, config.max_words);
            let place = row * config.max_words;
            for (at, token) in tokens.into_iter().enumerate() {
                words[place + at] = token as i32;
                word_mask[place + at] = 1.0;
            }
            let place = &mut state[row * state_width..][..config.state_dim];
            place.copy_from_slice(&frame.state);
            config.state_norm.normalise(place);
        }
        let images = config
            .cameras
            .iter()
            .enumerate()
            .map(|(index, camera)| {
                let (width, height) = (camera.width as usize, camera.height as usize);
                let mut pixels = vec![0f32; batch * height * width * 3];
                pixels
                    .par_chunks_mut(height * width * 3)
                    .zip(frames)
                    .try_for_each(|(out, (frame, colour))| {
                        resize(&frame.images[index], width, height, *colour, out)
                    })?;
                Ok(Tensor::from_data(
                    TensorData::new(pixels, [batch, height, width, 3]),
                    device,
                ))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            images,
            words: Tensor::from_data(TensorData::new(words, [batch, config.max_words]), device),
            word_mask: Tensor::from_data(
                TensorData::new(word_mask, [batch, config.max_words]),
                device,
            ),
            state: Tensor::from_data(TensorData::new(state, [batch, state_width]), device),
        })
    }
}

impl Batch {
    /// Resizes, normalises, augments and stacks training examples.
    ///
    /// # Errors
    /// When there is none, or one does not fit `config`.
    pub fn new(config: &VlaConfig, samples: &[Sample], device: &Device) -> Result<Self> {
        let frames: Vec<_> = samples.iter().map(|s| (&s.observation, s.colour)).collect();
        let inputs = Inputs::stack(config, &frames, device)?;
        let (chunk, dim) = (config.chunk, config.action_dim);
        let mut actions = vec![0f32; samples.len() * chunk * dim];
        let mut mask = vec![0f32; samples.len() * chunk];
        for (row, sample) in samples.iter().enumerate() {
            let given = &sample.actions;
            if given.is_empty() || given.len() % dim != 0 || given.len() > chunk * dim {
                return Err(Error::Input(format!(
                    "{} action numbers, the model takes 1 to {chunk} rows of {dim}",
                    given.len()
                )));
            }
            if let Some(at) = given.iter().position(|v| !v.is_finite()) {
                return Err(Error::Input(format!(
                    "action[{}] is {}",
                    at % dim,
                    given[at]
                )));
            }
            let place = &mut actions[row * chunk * dim..][..given.len()];
            place.copy_from_slice(given);
            place
                .chunks_mut(dim)
                .for_each(|action| config.action_norm.normalise(action));
            mask[row * chunk..][..given.len() / dim].fill(1.0);
        }
        Ok(Self {
            inputs,
            actions: Tensor::from_data(
                TensorData::new(actions, [samples.len(), chunk, dim]),
                device,
            ),
            action_mask: Tensor::from_data(TensorData::new(mask, [samples.len(), chunk]), device),
        })
    }
}

/// Area-averaging resize of an RGB8 picture to `[height, width, 3]` in [0, 1], then the change of colour.
fn resize(
    image: &Image,
    width: usize,
    height: usize,
    colour: ColourJitter,
    out: &mut [f32],
) -> Result<()> {
    let (w, h) = (image.width as usize, image.height as usize);
    if w == 0 || h == 0 || image.rgb.len() != w * h * 3 {
        return Err(Error::Input(format!(
            "picture of {w}×{h} pixels with {} bytes",
            image.rgb.len()
        )));
    }
    if (w, h) == (width, height) {
        for (out, &byte) in out.iter_mut().zip(&image.rgb) {
            *out = f32::from(byte) / 255.0;
        }
    } else {
        let (columns, rows) = (coverage(w, width), coverage(h, height));
        // Columns first into one wide-enough buffer, then rows.
        let mut narrow = vec![0f32; h * width * 3];
        for (line, source) in narrow
            .chunks_exact_mut(width * 3)
            .zip(image.rgb.chunks_exact(w * 3))
        {
            for (pixel, (start, weights)) in line.chunks_exact_mut(3).zip(&columns) {
                for (weight, rgb) in weights.iter().zip(source[start * 3..].chunks_exact(3)) {
                    for (sum, &byte) in pixel.iter_mut().zip(rgb) {
                        *sum += weight * f32::from(byte);
                    }
                }
            }
        }
        for (line, (start, weights)) in out.chunks_exact_mut(width * 3).zip(&rows) {
            line.fill(0.0);
            for (weight, source) in weights
                .iter()
                .zip(narrow[start * width * 3..].chunks_exact(width * 3))
            {
                for (sum, value) in line.iter_mut().zip(source) {
                    *sum += weight * value / 255.0;
                }
            }
        }
    }
    if colour != ColourJitter::NONE {
        for pixel in out.chunks_exact_mut(3) {
            for ((value, gain), offset) in pixel.iter_mut().zip(colour.gain).zip(colour.offset) {
                *value = *value * gain + offset;
            }
        }
    }
    Ok(())
}

/// For each of `to` cells over `from` cells: the first covered cell and the share of each covered one.
fn coverage(from: usize, to: usize) -> Vec<(usize, Vec<f32>)> {
    let scale = from as f64 / to as f64;
    (0..to)
        .map(|cell| {
            let (start, end) = (cell as f64 * scale, (cell + 1) as f64 * scale);
            let first = (start.floor() as usize).min(from - 1);
            let last = (end.ceil() as usize).clamp(first + 1, from);
            let weights = (first..last)
                .map(|source| {
                    let covered =
                        (end.min((source + 1) as f64) - start.max(source as f64)).max(0.0);
                    (covered / (end - start)) as f32
                })
                .collect();
            (first, weights)
        })
        .collect()
}
