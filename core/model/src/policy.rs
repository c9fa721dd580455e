//! A trained model at work: actions and attention for frames of a dataset.

use crate::{
    AttentionRows, DeviceChoice, Inputs, Observation, Result, Vla, VlaConfig, Vocabulary,
    load_model, steer,
};
use burn::{module::Module, tensor::Device};
use grounding::{Capture, CaptureParts, Forward, Key, Query, Sinks, TokenRole, View};
use std::path::Path;

/// Frames computed at once; bounds the memory that a long list of observations takes.
const BATCH: usize = 64;

/// Bytes of weights of one layer that lie on the host at once where they are changed.
const CHANGED_BYTES: usize = 256 << 20;

/// What a policy is told when attention without a task is wanted, for [`grounding::Aggregate::Relative`].
///
/// mllms_know asks a large model to "Write a general description of the image." A small model knows only the words of its
/// instructions, and an unknown word is a token that training never touched: of that sentence it would see seven of them.
/// "the" is a word of nearly every English instruction that tells none from another; a model that does not know it sees
/// one unknown word, as it does of an empty instruction.
pub const GENERIC_PROMPT: &str = "the";

/// A model for inference.
#[derive(Clone, Debug)]
pub struct Policy {
    vla: Vla,
    device: Device,
    name: String,
    forward: Forward,
}

/// The next actions for one frame, in the dataset's units.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionChunk {
    /// [`VlaConfig::chunk`] actions of [`VlaConfig::action_dim`] numbers, the next one first.
    pub rows: Vec<Vec<f32>>,
}

impl Policy {
    /// Loads the checkpoint folder `dir` (`model.safetensors`, `model.json`).
    ///
    /// # Errors
    /// As [`load_model`] and [`DeviceChoice::resolve`].
    pub fn load(dir: &Path, device: &DeviceChoice) -> Result<Self> {
        Self::load_on(dir, &device.resolve()?.0)
    }

    /// Loads the checkpoint folder `dir` onto a device that is already open, such as the window's.
    ///
    /// # Errors
    /// As [`load_model`].
    pub fn load_on(dir: &Path, device: &Device) -> Result<Self> {
        Ok(Self::new(load_model(dir, &device.clone().inner())?))
    }

    /// A policy from a model, for example one in training.
    pub fn new(vla: Vla) -> Self {
        let vla = vla.valid();
        let name = format!("gazelab-{}", vla.config().size);
        Self {
            device: vla.device(),
            vla,
            name,
            forward: Forward::AsTrained,
        }
    }

    /// The same policy with its attention changed in every forward pass, for its actions and its captures alike. Without
    /// training and on the host, so a pass takes several times as long.
    ///
    /// # Errors
    /// When the change is out of range or cannot do anything in this model: a sink threshold that can never fire, layers
    /// that it does not have.
    pub fn with_forward(mut self, forward: Forward) -> Result<Self> {
        steer::check(self.config(), forward)?;
        self.forward = forward;
        Ok(self)
    }

    /// What is done to the attention of a forward pass.
    pub fn forward(&self) -> Forward {
        self.forward
    }

    /// What the model looks like.
    pub fn config(&self) -> &VlaConfig {
        self.vla.config()
    }

    /// The model.
    pub fn vla(&self) -> &Vla {
        &self.vla
    }

    /// The next actions for each observation.
    ///
    /// # Errors
    /// When an observation does not fit the model.
    pub fn act(&self, observations: &[Observation]) -> Result<Vec<ActionChunk>> {
        let mut chunks = Vec::with_capacity(observations.len());
        for observations in observations.chunks(self.frames_at_once()) {
            let inputs = Inputs::new(self.config(), observations, &self.device)?;
            let output = match self.forward {
                Forward::AsTrained => self.vla.forward(&inputs),
                forward => self.vla.pass(&inputs, forward, None, false)?.output,
            };
            chunks.extend(self.chunks(output.logits));
        }
        Ok(chunks)
    }

    fn frames_at_once(&self) -> usize {
        if self.forward == Forward::AsTrained {
            return BATCH;
        }
        let (heads, tokens) = (self.config().heads, self.config().sequence().len());
        (CHANGED_BYTES / (heads * tokens * tokens * size_of::<f32>()).max(1)).clamp(1, BATCH)
    }

    fn chunks(&self, logits: burn::tensor::Tensor<4>) -> Vec<ActionChunk> {
        let config = self.config();
        let values: Vec<f32> = self.vla.decode(logits).into_data().iter::<f32>().collect();
        values
            .chunks_exact(config.chunk * config.action_dim)
            .map(|chunk| ActionChunk {
                rows: chunk
                    .chunks_exact(config.action_dim)
                    .map(|action| {
                        let mut action = action.to_vec();
                        config.action_norm.restore(&mut action);
                        action
                    })
                    .collect(),
            })
            .collect()
    }

    /// Attention of one frame, see [`captures`](Self::captures).
    ///
    /// # Errors
    /// When the observation does not fit the model.
    pub fn capture(&self, observation: &Observation) -> Result<Capture> {
        let mut captures = self.captures(std::slice::from_ref(observation))?;
        captures
            .pop()
            .ok_or_else(|| crate::Error::Input("no frame".into()))
    }

    /// Attention of all layers and heads for each observation. Query tokens: every word of the second
    /// copy of the instruction, the state, the read-out (role `Action`). Keys: all tokens; a patch knows
    /// its camera and its box. Sinks: φ of every key, the largest over the inputs of the layers from the third to the last
    /// but one (the last alone in a model of one or two layers, the third in one of three). `source` and `step` are left
    /// for the caller to fill in.
    ///
    /// # Errors
    /// When an observation does not fit the model, or its hidden states are not finite.
    pub fn captures(&self, observations: &[Observation]) -> Result<Vec<Capture>> {
        let sequence = self.config().sequence();
        let queries: Vec<usize> = (sequence.words_after.start..sequence.len()).collect();
        let mut captures = Vec::with_capacity(observations.len());
        for observations in observations.chunks(self.frames_at_once()) {
            let inputs = Inputs::new(self.config(), observations, &self.device)?;
            let pass = self.vla.pass(&inputs, self.forward, Some(&queries), true)?;
            let rows = self.vla.rows(observations.len(), &queries, &pass.rows);
            let phi = pass.phi.unwrap_or_default();
            let chunks = self.chunks(pass.output.logits);
            for (frame, (observation, chunk)) in observations.iter().zip(chunks).enumerate() {
                let phi = phi.get(frame * sequence.len()..).unwrap_or_default();
                let sinks = Sinks::Phi {
                    phi: phi.iter().copied().take(sequence.len()).collect(),
                    width: self.config().width,
                };
                captures.push(self.assemble(observation, &rows, frame, chunk, sinks)?);
            }
        }
        Ok(captures)
    }

    fn assemble(
        &self,
        observation: &Observation,
        rows: &AttentionRows,
        frame: usize,
        chunk: ActionChunk,
        sinks: Sinks,
    ) -> Result<Capture> {
        let config = self.config();
        let sequence = config.sequence();
        let mut words = Vocabulary::split(&observation.instruction);
        words.truncate(config.max_words);
        // Of an instruction without words one unknown word is seen.
        let seen = words.len().max(1);
        let word = |place: usize| Key {
            token: words.get(place).cloned().unwrap_or_default(),
            role: if place < seen {
                TokenRole::Text
            } else {
                TokenRole::Pad
            },
            ..Key::default()
        };
        let mut keys: Vec<Key> = (0..config.max_words).map(word).collect();
        for (view, grid) in config.grids().into_iter().enumerate() {
            keys.extend((0..grid.len()).map(|patch| Key {
                role: TokenRole::Image,
                view: Some(view),
                rect: Some(grid.patch_rect(patch)),
                ..Key::default()
            }));
        }
        keys.extend((0..config.max_words).map(word));
        keys.push(Key {
            token: "state".into(),
            role: TokenRole::State,
            ..Key::default()
        });
        keys.push(Key {
            token: "action".into(),
            role: TokenRole::Action,
            ..Key::default()
        });

        // Padded words look at nothing worth keeping.
        let kept: Vec<usize> = (0..rows.queries.len())
            .filter(|&index| keys[rows.queries[index]].role != TokenRole::Pad)
            .collect();
        let queries = kept
            .iter()
            .map(|&index| {
                let Key { token, role, .. } = keys[rows.queries[index]].clone();
                Query {
                    position: rows.queries[index],
                    token,
                    role,
                }
            })
            .collect();
        let attn = rows
            .frame(frame)
            .chunks_exact(rows.queries.len() * rows.keys)
            .flat_map(|head| {
                kept.iter()
                    .flat_map(|&index| &head[index * rows.keys..][..rows.keys])
            })
            .copied()
            .collect();
        let views = config
            .cameras
            .iter()
            .zip(&observation.images)
            .map(|(camera, image)| View {
                name: camera.name.clone(),
                width: image.width,
                height: image.height,
            })
            .collect();
        debug_assert_eq!(keys.len(), sequence.len());
        Ok(Capture::new(CaptureParts {
            model_id: self.name.clone(),
            instruction: observation.instruction.to_string(),
            layers: (0..rows.layers as u32).collect(),
            heads: (0..rows.heads as u32).collect(),
            views,
            queries,
            keys,
            attn,
            action: chunk.rows.into_iter().next(),
            sinks: Some(sinks),
            ..CaptureParts::default()
        })?)
    }
}
