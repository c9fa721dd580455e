//! The small VLA: encoders, transformer, action head, and the decoder of masked patches.

use crate::{
    Attention, Batch, DecoderConfig, Error, Inputs, Labels, PatchMasks, Result, Sequence, Stem,
    VlaConfig,
    config::CameraConfig,
    fused::{self, Visibility},
    layers::{Block, Init, Linear, Mlp, Norm, sine_positions},
};
use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor, activation},
};
use std::sync::Arc;

/// A small vision-language-action transformer after ReconVLA's recipe, with pre-norm blocks.
///
/// Sequence: `instruction | image of each camera | instruction | state | read-out`. The instruction
/// stands on both sides of the image, so image tokens see it even under causal attention. All actions of
/// a chunk are read from the last token in parallel, as a distribution over bins per value.
#[derive(Module, Debug)]
pub struct Vla {
    words: Param<Tensor<2>>,
    words_before: Param<Tensor<2>>,
    words_after: Param<Tensor<2>>,
    cameras: Vec<PatchEncoder>,
    state: Mlp,
    state_position: Param<Tensor<2>>,
    read_out: Param<Tensor<2>>,
    blocks: Vec<Block>,
    norm: Norm,
    head: Linear,
    decoder: Option<Decoder>,
    #[module(skip)]
    config: Arc<VlaConfig>,
}

/// What a forward pass predicts.
#[derive(Clone, Debug)]
pub struct Output {
    /// Unnormalised log-probabilities `[batch, chunk, action_dim, bins]`.
    pub logits: Tensor<4>,
}

/// Post-softmax attention weights of some query tokens of every layer and head, on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionRows {
    /// Frames.
    pub batch: usize,
    /// Blocks of the model.
    pub layers: usize,
    /// Heads per block.
    pub heads: usize,
    /// The query tokens, as positions in the sequence.
    pub queries: Vec<usize>,
    /// Tokens of the sequence.
    pub keys: usize,
    /// `[batch, layers, heads, queries, keys]`.
    pub values: Vec<f32>,
}

impl AttentionRows {
    /// All weights of one frame, `[layers, heads, queries, keys]`.
    pub fn frame(&self, frame: usize) -> &[f32] {
        let len = self.layers * self.heads * self.queries.len() * self.keys;
        &self.values[frame * len..][..len]
    }

    /// Weights of one frame and one query (index into `queries`) on the keys in `keys`,
    /// `[layers, heads, keys]`.
    pub fn map(&self, frame: usize, query: usize, keys: std::ops::Range<usize>) -> Vec<f32> {
        self.frame(frame)
            .chunks_exact(self.queries.len() * self.keys)
            .flat_map(|head| &head[query * self.keys..][keys.clone()])
            .copied()
            .collect()
    }
}

/// Reconstruction of masked patches.
#[derive(Clone, Debug)]
pub struct Reconstruction {
    /// Mean squared error over the pixels of the masked patches of all cameras.
    pub loss: Tensor<1>,
    /// Per camera the predicted patches `[batch, patches, patch² · 3]` (rows, columns, channels) in the
    /// units of [`Vla::patch_targets`].
    pub patches: Vec<Tensor<3>>,
}

/// Pixels of one camera to tokens.
#[derive(Module, Debug)]
struct PatchEncoder {
    convolutions: Vec<Linear>,
    project: Linear,
    norm: Norm,
    position: Param<Tensor<2>>,
    #[module(skip)]
    stem: Stem,
    #[module(skip)]
    patch: usize,
}

impl PatchEncoder {
    fn new(init: &Init, camera: &CameraConfig, stem: Stem, width: usize) -> Self {
        let (patch, grid) = (camera.patch as usize, camera.grid());
        let mut channels = 3;
        let mut convolutions = Vec::new();
        if stem == Stem::Conv {
            for index in 0..patch.trailing_zeros() as usize {
                let outputs = 32 * (index + 1);
                let init = init.at("convolutions").at(&index.to_string());
                convolutions.push(Linear::kaiming(&init, 9 * channels, outputs));
                channels = outputs;
            }
        }
        let inputs = if stem == Stem::Conv {
            channels
        } else {
            patch * patch * 3
        };
        let (rows, columns) = (grid.rows, grid.cols);
        Self {
            convolutions,
            project: Linear::new(&init.at("project"), inputs, width),
            norm: Norm::new(&init.at("norm"), width),
            // Full scale: with a tenth of it the prototype never found the objects.
            position: init.values([grid.len(), width], move || {
                sine_positions(rows, columns, width)
            }),
            stem,
            patch,
        }
    }

    /// Centred pixels `[batch, height, width, 3]` to tokens without position `[batch, patches, width]`.
    fn forward(&self, mut x: Tensor<4>) -> Tensor<3> {
        let x = match self.stem {
            Stem::Conv => {
                for convolution in &self.convolutions {
                    x = fused::gelu(convolution.convolve(x, 3, 2, 1));
                }
                self.project.forward(x)
            }
            Stem::Linear => self.project.convolve(x, self.patch, self.patch, 0),
        };
        let [batch, rows, columns, width] = x.dims();
        self.norm.forward(x.reshape([batch, rows * columns, width]))
    }
}

/// Final hidden states at the image positions to the pixels of the patches.
#[derive(Module, Debug)]
pub(crate) struct Decoder {
    mask_token: Param<Tensor<2>>,
    embed: Linear,
    positions: Vec<Param<Tensor<2>>>,
    blocks: Vec<Block>,
    norm: Norm,
    pixels: Vec<Linear>,
    #[module(skip)]
    norm_pix: bool,
}

impl Decoder {
    fn new(init: &Init, config: &VlaConfig, decoder: DecoderConfig) -> Self {
        let DecoderConfig {
            width,
            blocks,
            norm_pix,
        } = decoder;
        Self {
            mask_token: init.normal("mask_token", [1, config.width], 0.02),
            embed: Linear::new(&init.at("embed"), config.width, width),
            positions: config
                .grids()
                .into_iter()
                .map(|grid| {
                    init.values([grid.len(), width], move || {
                        sine_positions(grid.rows, grid.cols, width)
                    })
                })
                .collect(),
            blocks: (0..blocks)
                .map(|index| {
                    Block::new(
                        &init.at("blocks").at(&index.to_string()),
                        width,
                        width / 32,
                        4,
                    )
                })
                .collect(),
            norm: Norm::new(&init.at("norm"), width),
            pixels: config
                .cameras
                .iter()
                .enumerate()
                .map(|(index, camera)| {
                    let init = init.at("pixels").at(&index.to_string());
                    Linear::new(&init, width, (camera.patch * camera.patch * 3) as usize)
                })
                .collect(),
            norm_pix,
        }
    }

    /// `[batch, image tokens, model width]` to patches per camera.
    fn forward(&self, x: Tensor<3>) -> Vec<Tensor<3>> {
        let [batch, tokens, _] = x.dims();
        let position = Tensor::cat(self.positions.iter().map(|p| p.val()).collect(), 0);
        let mut x = self.embed.forward(x) + position.unsqueeze();
        let keep = Tensor::ones([batch, tokens], &x.device().without_autodiff());
        for block in &self.blocks {
            x = block
                .forward(
                    x,
                    keep.clone(),
                    Visibility {
                        prefix: tokens,
                        first: 0,
                    },
                    None,
                )
                .0;
        }
        let x = self.norm.forward(x);
        let mut start = 0;
        self.pixels
            .iter()
            .zip(&self.positions)
            .map(|(pixels, position)| {
                let end = start + position.dims()[0];
                let patches = pixels.forward(x.clone().slice_dim(1, start..end));
                start = end;
                patches
            })
            .collect()
    }
}

impl Vla {
    /// A fresh model on `device` ([`Device::autodiff`] to train it). Its parameters depend on `seed` and
    /// on their own names alone.
    ///
    /// # Errors
    /// When `config` describes no model.
    pub fn new(config: &VlaConfig, seed: u64, device: &Device) -> Result<Self> {
        config.check()?;
        let init = Init::new(seed, device);
        let width = config.width;
        Ok(Self {
            words: init.normal("words", [config.vocabulary.len(), width], 0.5),
            words_before: init.normal("words_before", [config.max_words, width], 0.02),
            words_after: init.normal("words_after", [config.max_words, width], 0.02),
            cameras: config
                .cameras
                .iter()
                .enumerate()
                .map(|(index, camera)| {
                    PatchEncoder::new(
                        &init.at("cameras").at(&index.to_string()),
                        camera,
                        config.stem,
                        width,
                    )
                })
                .collect(),
            state: Mlp::new(&init.at("state"), config.state_dim.max(1), width, width),
            state_position: init.normal("state_position", [1, width], 0.02),
            read_out: init.normal("read_out", [1, width], 0.02),
            blocks: (0..config.layers)
                .map(|index| {
                    Block::new(
                        &init.at("blocks").at(&index.to_string()),
                        width,
                        config.heads,
                        config.mlp_ratio,
                    )
                })
                .collect(),
            norm: Norm::new(&init.at("norm"), width),
            head: Linear::new(
                &init.at("head"),
                width,
                config.chunk * config.action_dim * config.bins,
            ),
            decoder: config
                .decoder
                .map(|decoder| Decoder::new(&init.at("decoder"), config, decoder)),
            config: Arc::new(config.clone()),
        })
    }

    /// The configuration the model was made from.
    pub fn config(&self) -> &VlaConfig {
        &self.config
    }

    /// The device the parameters live on.
    pub fn device(&self) -> Device {
        self.words.lazy_device()
    }

    /// Predicts actions. Of the last block only the read-out token is computed.
    pub fn forward(&self, inputs: &Inputs) -> Output {
        self.predict(inputs, None).0
    }

    /// Predicts actions and returns the attention of the tokens `queries` (positions in
    /// [`VlaConfig::sequence`]) in every layer and head. The weights carry no gradient.
    pub fn forward_with_attention(
        &self,
        inputs: &Inputs,
        queries: &[usize],
    ) -> (Output, AttentionRows) {
        let (output, layers) = self.predict(inputs, Some(queries));
        (output, self.rows(inputs.batch(), queries, &layers))
    }

    /// Weights `[batch, heads, queries, keys]` of every layer, frame by frame on the host.
    pub(crate) fn rows(
        &self,
        batch: usize,
        queries: &[usize],
        layers: &[Tensor<4>],
    ) -> AttentionRows {
        let keys = self.config.sequence().len();
        let per_layer = self.config.heads * queries.len() * keys;
        let mut values = vec![0f32; batch * layers.len() * per_layer];
        for (layer, rows) in layers.iter().enumerate() {
            let rows: Vec<f32> = rows.to_data().iter::<f32>().collect();
            for (frame, rows) in rows.chunks_exact(per_layer.max(1)).enumerate() {
                values[(frame * layers.len() + layer) * per_layer..][..per_layer]
                    .copy_from_slice(rows);
            }
        }
        AttentionRows {
            batch,
            layers: layers.len(),
            heads: self.config.heads,
            queries: queries.to_vec(),
            keys,
            values,
        }
    }

    fn predict(&self, inputs: &Inputs, watch: Option<&[usize]>) -> (Output, Vec<Tensor<4>>) {
        let sequence = self.config.sequence();
        let (x, rows) = self.encode(inputs, None, &sequence, sequence.read_out, watch);
        (self.read(x), rows)
    }

    /// Actions from the final hidden state of the read-out `[batch, 1, width]`.
    pub(crate) fn read(&self, x: Tensor<3>) -> Output {
        let config = &self.config;
        let batch = x.dims()[0];
        let logits = self.head.forward(self.norm.forward(x));
        let logits = logits.reshape([batch, config.chunk, config.action_dim, config.bins]);
        Output { logits }
    }

    /// Hidden states of the tokens from `first` on, before the final norm, with hidden patches if any.
    fn encode(
        &self,
        inputs: &Inputs,
        masks: Option<(&Decoder, &PatchMasks)>,
        sequence: &Sequence,
        first: usize,
        watch: Option<&[usize]>,
    ) -> (Tensor<3>, Vec<Tensor<4>>) {
        let mut x = self.embed(inputs, masks);
        let keep = keep(inputs, sequence);
        let mut rows = Vec::new();
        for (index, block) in self.blocks.iter().enumerate() {
            let visible = self.visibility(index, sequence, first);
            let (next, watched) = block.forward(x, keep.clone(), visible, watch);
            x = next;
            rows.extend(watched);
        }
        (x, rows)
    }

    /// Which tokens see which in one layer, where the last one is needed from the token `first` on only.
    pub(crate) fn visibility(&self, layer: usize, sequence: &Sequence, first: usize) -> Visibility {
        let prefix = match self.config.attention {
            Attention::Causal => 0,
            Attention::Prefix => sequence.words_after.end,
        };
        let last = layer + 1 == self.blocks.len();
        Visibility {
            prefix,
            first: if last { first } else { 0 },
        }
    }

    /// The layers, first one first.
    pub(crate) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The token sequence `[batch, tokens, width]`.
    pub(crate) fn embed(
        &self,
        inputs: &Inputs,
        masks: Option<(&Decoder, &PatchMasks)>,
    ) -> Tensor<3> {
        let [batch, max_words] = inputs.words.dims();
        let width = self.config.width;
        let words = self
            .words
            .val()
            .select(0, inputs.words.clone().reshape([batch * max_words]));
        let words = words.reshape([batch, max_words, width]);
        let mut tokens = vec![words.clone() + self.words_before.val().unsqueeze()];
        for (index, camera) in self.cameras.iter().enumerate() {
            let pixels = inputs.images[index].clone();
            let patches = match masks {
                None => camera.forward(centre(pixels, None)),
                Some((decoder, masks)) => {
                    let device = pixels.device();
                    let visible = masks.visible_pixels(index, camera.patch, &device);
                    let hidden = masks.hidden_patches(index, &device);
                    let patches = camera.forward(centre(pixels, Some(visible)));
                    let token: Tensor<3> = decoder.mask_token.val().unsqueeze();
                    patches * (hidden.clone().neg() + 1.0) + token * hidden
                }
            };
            tokens.push(patches + camera.position.val().unsqueeze());
        }
        tokens.push(words + self.words_after.val().unsqueeze());
        let state = self.state.forward(inputs.state.clone()) + self.state_position.val();
        tokens.push(state.reshape([batch, 1, width]));
        tokens.push(
            self.read_out
                .val()
                .unsqueeze::<3>()
                .expand([batch, 1, width]),
        );
        Tensor::cat(tokens, 1)
    }

    /// Mean Kullback–Leibler divergence between the label distribution of each action value and the
    /// predicted one; for hard labels this is the cross entropy. Actions past the end of an episode do
    /// not count.
    pub fn action_loss(&self, logits: Tensor<4>, batch: &Batch) -> Tensor<1> {
        let labels = self.labels(batch.actions.clone());
        // Σ t ln t, with 0 ln 0 = 0.
        let entropy = (labels.clone() * (labels.clone() + 1e-30).log()).sum_dim(3);
        let cross = (labels * activation::log_softmax(logits, 3)).sum_dim(3);
        let divergence: Tensor<3> = (entropy - cross).squeeze_dim(3);
        let mask: Tensor<3> = batch.action_mask.clone().unsqueeze_dim(2);
        let count = batch.action_mask.clone().sum() * self.config.action_dim as f32;
        (divergence * mask).sum() / count
    }

    /// Label distribution `[batch, chunk, action_dim, bins]` of normalised actions.
    fn labels(&self, actions: Tensor<3>) -> Tensor<4> {
        let bins = self.config.bins;
        let [batch, chunk, dim] = actions.dims();
        let shape = [batch, chunk, dim, bins];
        let index = Tensor::<1, Int>::arange(0..bins as i64, &actions.device())
            .float()
            .unsqueeze::<4>();
        // Place on the axis of bins: the centre of bin i is at i.
        let place = (actions + 1.0) * (bins as f32 / 2.0) - 0.5;
        match self.config.labels {
            Labels::Hard => {
                let bin = (place + 0.5).floor().clamp(0.0, (bins - 1) as f32);
                let distance: Tensor<4> =
                    index.expand(shape) - bin.unsqueeze_dim::<4>(3).expand(shape);
                distance.abs().lower_elem(0.25).float()
            }
            Labels::Soft { sigma_bins } => {
                let distance: Tensor<4> =
                    index.expand(shape) - place.unsqueeze_dim::<4>(3).expand(shape);
                activation::softmax(distance.square() * (-0.5 / (sigma_bins * sigma_bins)), 3)
            }
        }
    }

    /// Normalised actions `[batch, chunk, action_dim]`: the expectation over the bins within two of the
    /// most likely one, which keeps the resolution of soft labels without mixing far-apart modes.
    pub fn decode(&self, logits: Tensor<4>) -> Tensor<3> {
        let bins = self.config.bins;
        let shape = logits.dims();
        let index = Tensor::<1, Int>::arange(0..bins as i64, &logits.device())
            .float()
            .unsqueeze::<4>();
        let mode = logits.clone().argmax(3).float().expand(shape);
        let near = (index.clone().expand(shape) - mode)
            .abs()
            .lower_elem(2.5)
            .float();
        let weights = activation::softmax(logits, 3) * near;
        let centres = (index + 0.5) * (2.0 / bins as f32) - 1.0;
        let value = (weights.clone() * centres).sum_dim(3) / weights.sum_dim(3);
        value.squeeze_dim(3)
    }

    /// Reconstructs the patches hidden by `masks` in a forward pass of its own.
    ///
    /// Hidden patches never enter: their pixels take the mean colour of the visible ones before the patch
    /// encoder (whose windows overlap), their token is replaced by a learned one after it, and the mean
    /// colour itself is taken over visible pixels.
    ///
    /// # Errors
    /// When the model has no decoder, or the masks do not fit the batch.
    pub fn reconstruct(&self, inputs: &Inputs, masks: &PatchMasks) -> Result<Reconstruction> {
        let decoder = self
            .decoder
            .as_ref()
            .ok_or_else(|| Error::Config("the model has no decoder of masked patches".into()))?;
        masks.check(inputs.batch(), &self.config.grids())?;
        let sequence = self.config.sequence();
        let image = sequence.image();
        let (x, _) = self.encode(inputs, Some((decoder, masks)), &sequence, image.start, None);
        let x = self.norm.forward(x.slice_dim(1, 0..image.len()));
        let patches = decoder.forward(x);
        let mut error = None;
        let mut pixels = 0.0;
        for (index, predicted) in patches.iter().enumerate() {
            let target = self.patch_targets(inputs, index);
            let hidden = masks.hidden_patches(index, &target.device());
            pixels += (masks.hidden_count(index) * target.dims()[2]) as f32;
            let part = ((predicted.clone() - target).square() * hidden).sum();
            error = Some(match error {
                Some(error) => error + part,
                None => part,
            });
        }
        let error = error.ok_or_else(|| Error::Config("a model without cameras".into()))?;
        Ok(Reconstruction {
            loss: error / pixels.max(1.0),
            patches,
        })
    }

    /// What the decoder is to predict for one camera, `[batch, patches, patch² · 3]`.
    ///
    /// Without `norm_pix` pixels are standardised by mean 0.5 and deviation 0.25 (near ImageNet's, so the
    /// loss has the scale of the MAE paper's); with it each patch by its own mean and unbiased variance,
    /// `(x - mean) / √(var + 1e-6)`, as in MAE's `norm_pix_loss`.
    pub fn patch_targets(&self, inputs: &Inputs, camera: usize) -> Tensor<3> {
        let patch = self.cameras[camera].patch;
        let image = inputs.images[camera].clone();
        let [batch, height, width, channels] = image.dims();
        let (rows, columns) = (height / patch, width / patch);
        let patches: Tensor<3> = image
            .reshape([batch, rows, patch, columns, patch * channels])
            .swap_dims(2, 3)
            .reshape([batch, rows * columns, patch * patch * channels]);
        if self
            .decoder
            .as_ref()
            .is_some_and(|decoder| decoder.norm_pix)
        {
            let values = (patch * patch * channels) as f32;
            let centred = patches.clone() - patches.mean_dim(2);
            let variance = centred.clone().square().sum_dim(2) / (values - 1.0);
            centred / (variance + 1e-6).sqrt()
        } else {
            (patches - 0.5) * 4.0
        }
    }
}

/// 1 for tokens that may be seen and 0 for padded words, `[batch, tokens]`.
pub(crate) fn keep(inputs: &Inputs, sequence: &Sequence) -> Tensor<2> {
    let mask = inputs.word_mask.clone();
    let ones = |count| Tensor::ones([inputs.batch(), count], &mask.device());
    Tensor::cat(
        vec![
            mask.clone(),
            ones(sequence.image().len()),
            mask.clone(),
            ones(2),
        ],
        1,
    )
}

/// Subtracts the mean colour of each picture's visible pixels (`[batch, height, width, 1]`, 1 where
/// visible) and sets the others to 0, so that a change of light moves no token.
fn centre(image: Tensor<4>, visible: Option<Tensor<4>>) -> Tensor<4> {
    let [batch, height, width, channels] = image.dims();
    let mean = |sum: Tensor<4>| sum.reshape([batch, height * width, channels]).sum_dim(1);
    match visible {
        None => {
            let mean = mean(image.clone()) / (height * width) as f32;
            image - mean.reshape([batch, 1, 1, channels])
        }
        Some(visible) => {
            let count = visible
                .clone()
                .reshape([batch, height * width])
                .sum_dim(1)
                .clamp_min(1.0);
            let mean = mean(image.clone() * visible.clone()).reshape([batch, 1, 1, channels])
                / count.reshape([batch, 1, 1, 1]);
            (image - mean) * visible
        }
    }
}
