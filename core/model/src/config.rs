//! What a small VLA looks like: everything that fixes its shapes and the meaning of its numbers.

use crate::{Error, Objective, Result};
use episode::DatasetInfo;
use grounding::{Grid, TokenRole};
use serde::{Deserialize, Serialize};
use std::{fmt, ops::Range, str::FromStr};

/// Size preset of the small VLA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// About 1 M parameters: width 128, 4 layers, 4 heads. Trains on two CPU cores.
    Nano,
    /// About 5 M parameters: width 256, 6 layers, 8 heads, pictures up to 128 pixels.
    Small,
    /// About 27 M parameters: width 512, 8 layers, 8 heads, pictures up to 224 pixels.
    Base,
}

impl Size {
    /// All sizes, smallest first.
    pub const ALL: [Self; 3] = [Self::Nano, Self::Small, Self::Base];

    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nano => "nano",
            Self::Small => "small",
            Self::Base => "base",
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|size| size.name() == text)
            .ok_or_else(|| Error::Unknown {
                what: "model size",
                given: text.into(),
                expected: "nano, small, base",
            })
    }
}

/// One camera as the model sees it: pictures are resized to `width` × `height` before they enter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CameraConfig {
    /// Name of the camera in the dataset.
    pub name: String,
    /// Input width in pixels, a multiple of `patch`.
    pub width: u32,
    /// Input height in pixels, a multiple of `patch`.
    pub height: u32,
    /// Side of one patch in pixels; one patch is one token.
    pub patch: u32,
}

impl CameraConfig {
    /// The token grid of this camera.
    pub fn grid(&self) -> Grid {
        Grid {
            rows: (self.height / self.patch) as usize,
            cols: (self.width / self.patch) as usize,
        }
    }

    /// The same camera cut into patches of another size.
    ///
    /// # Errors
    /// When the input size is no multiple of `patch`.
    pub fn with_patch(&self, patch: u32) -> Result<Self> {
        let camera = Self {
            patch,
            ..self.clone()
        };
        camera.check()?;
        Ok(camera)
    }

    fn check(&self) -> Result<()> {
        let Self {
            name,
            width,
            height,
            patch,
        } = self;
        if *patch == 0 || *width == 0 || *height == 0 || width % patch != 0 || height % patch != 0 {
            return Err(Error::Config(format!(
                "camera {name:?}: {width}×{height} pixels cannot be cut into patches of {patch}"
            )));
        }
        if *width > MAX_SIDE || *height > MAX_SIDE {
            return Err(Error::Config(format!(
                "camera {name:?}: {width}×{height} pixels, the most is {MAX_SIDE}"
            )));
        }
        Ok(())
    }
}

/// How pixels become tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// 3×3 convolutions of stride 2 with GELU until one cell is one patch, then 1×1 to the width
    /// ("Early Convolutions Help Transformers See Better", Xiao et al. 2021). Needs a patch of 2ⁿ.
    #[default]
    Conv,
    /// One linear map per patch, as in ViT.
    Linear,
}

/// The target distribution over the bins of one action value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Labels {
    /// All mass on the bin that holds the value (cross entropy).
    Hard,
    /// A Gaussian around the value, in units of bins (Kullback–Leibler divergence).
    Soft {
        /// Standard deviation in bins.
        sigma_bins: f64,
    },
}

impl Default for Labels {
    fn default() -> Self {
        Self::Soft { sigma_bins: 1.5 }
    }
}

impl FromStr for Labels {
    type Err = Error;

    /// `hard`, `soft` for the default width, or `soft:SIGMA` with the standard deviation in bins.
    fn from_str(text: &str) -> Result<Self> {
        let unknown = || Error::Unknown {
            what: "labels",
            given: text.into(),
            expected: "hard, soft, soft:SIGMA",
        };
        match text.split_once(':') {
            None if text == "hard" => Ok(Self::Hard),
            None if text == "soft" => Ok(Self::default()),
            Some(("soft", sigma)) => match sigma.parse() {
                Ok(sigma_bins) if is_sigma(sigma_bins) => Ok(Self::Soft { sigma_bins }),
                _ => Err(unknown()),
            },
            _ => Err(unknown()),
        }
    }
}

/// Whether labels can be this wide.
fn is_sigma(bins: f64) -> bool {
    bins > 0.0 && bins.is_finite()
}

/// Which tokens see which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attention {
    /// Every token sees itself and what stands before it.
    Causal,
    /// Text and image see each other both ways; state and read-out see everything before them.
    #[default]
    Prefix,
}

impl FromStr for Attention {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "causal" => Ok(Self::Causal),
            "prefix" => Ok(Self::Prefix),
            _ => Err(Error::Unknown {
                what: "attention",
                given: text.into(),
                expected: "causal, prefix",
            }),
        }
    }
}

/// Maps the raw numbers of each dimension linearly to [-1, 1], and back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normaliser {
    /// The raw value that becomes -1, per dimension.
    pub low: Vec<f32>,
    /// The raw value that becomes 1, per dimension.
    pub high: Vec<f32>,
}

impl Normaliser {
    /// Leaves `dim` values in [-1, 1] as they are.
    pub fn identity(dim: usize) -> Self {
        Self {
            low: vec![-1.0; dim],
            high: vec![1.0; dim],
        }
    }

    /// Takes the range between the `tail` and `1 - tail` quantiles of each column of `values`
    /// (row-major, `[rows, dim]`); `tail = 0` is minimum and maximum. OpenVLA uses 0.01.
    ///
    /// # Errors
    /// When `values` is empty, ragged or not finite, or `tail` is not in [0, 0.5).
    pub fn fit(values: &[f32], dim: usize, tail: f64) -> Result<Self> {
        if dim == 0 || values.is_empty() || !values.len().is_multiple_of(dim) {
            return Err(Error::Input(format!(
                "{} numbers are not rows of {dim}",
                values.len()
            )));
        }
        if !(0.0..0.5).contains(&tail) {
            return Err(Error::Config(format!(
                "normaliser tail {tail} is not in [0, 0.5)"
            )));
        }
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(Error::Input(format!(
                "row {}, column {} is {}",
                at / dim,
                at % dim,
                values[at]
            )));
        }
        let (mut low, mut high) = (Vec::with_capacity(dim), Vec::with_capacity(dim));
        for column in 0..dim {
            let mut sorted: Vec<f32> = values.iter().skip(column).step_by(dim).copied().collect();
            sorted.sort_by(f32::total_cmp);
            let last = sorted.len() - 1;
            let at = |share: f64| sorted[((last as f64 * share).round() as usize).min(last)];
            low.push(at(tail));
            high.push(at(1.0 - tail));
        }
        Ok(Self { low, high })
    }

    /// Number of dimensions.
    pub fn dim(&self) -> usize {
        self.low.len()
    }

    /// One raw row to [-1, 1]; values outside the range are clipped, a dimension without range becomes 0.
    pub fn normalise(&self, row: &mut [f32]) {
        for ((value, low), high) in row.iter_mut().zip(&self.low).zip(&self.high) {
            let range = high - low;
            *value = if range > 0.0 {
                ((*value - low) / range * 2.0 - 1.0).clamp(-1.0, 1.0)
            } else {
                0.0
            };
        }
    }

    /// One row in [-1, 1] back to raw units.
    pub fn restore(&self, row: &mut [f32]) {
        for ((value, low), high) in row.iter_mut().zip(&self.low).zip(&self.high) {
            *value = low + (*value + 1.0) * 0.5 * (high - low);
        }
    }

    fn check(&self, what: &str, dim: usize) -> Result<()> {
        let finite = self.low.iter().chain(&self.high).all(|v| v.is_finite());
        let ordered = self
            .low
            .iter()
            .zip(&self.high)
            .all(|(low, high)| low <= high);
        if self.low.len() != dim || self.high.len() != dim || !finite || !ordered {
            return Err(Error::Config(format!(
                "{what} normaliser does not hold {dim} finite ranges"
            )));
        }
        Ok(())
    }
}

/// Words known to the model, one token per word. Token 0 is padding and token 1 any unknown word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Vocabulary {
    /// Sorted and without repetition, so that a look-up is a binary search.
    words: Vec<String>,
}

impl Vocabulary {
    /// Token of an empty place.
    pub const PAD: u32 = 0;
    /// Token of a word that no instruction of the dataset has.
    pub const UNKNOWN: u32 = 1;

    /// Collects the words of `instructions`.
    pub fn build<S: AsRef<str>>(instructions: impl IntoIterator<Item = S>) -> Self {
        let mut words: Vec<String> = instructions
            .into_iter()
            .flat_map(|text| Self::split(text.as_ref()))
            .collect();
        words.sort();
        words.dedup();
        Self { words }
    }

    /// Number of tokens, padding and unknown included.
    pub fn len(&self) -> usize {
        self.words.len() + 2
    }

    /// Whether no word is known.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Lower-case words of a text; everything but letters and digits separates.
    pub fn split(text: &str) -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect()
    }

    /// The first `max_words` tokens of `text`; never empty: a text without words is one unknown word.
    pub fn encode(&self, text: &str, max_words: usize) -> Vec<u32> {
        let mut tokens: Vec<u32> = Self::split(text)
            .iter()
            .take(max_words.max(1))
            .map(|word| self.token(word))
            .collect();
        if tokens.is_empty() {
            tokens.push(Self::UNKNOWN);
        }
        tokens
    }

    fn token(&self, word: &str) -> u32 {
        match self
            .words
            .binary_search_by(|known| known.as_str().cmp(word))
        {
            Ok(index) => index as u32 + 2,
            Err(_) => Self::UNKNOWN,
        }
    }

    fn check(&self) -> Result<()> {
        if self.words.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(Error::Config("vocabulary is not sorted".into()));
        }
        Ok(())
    }
}

/// The decoder that reconstructs masked patches, part of the model when it is trained by MAE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderConfig {
    /// Width of the decoder's blocks, a multiple of 32 (one attention head per 32).
    pub width: usize,
    /// Number of blocks.
    pub blocks: usize,
    /// Whether a patch is reconstructed relative to its own mean and deviation.
    pub norm_pix: bool,
}

/// Shapes and numbers of one [`Vla`](crate::Vla), stored as `model.json` beside the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VlaConfig {
    /// Format of this description; [`VlaConfig::FORMAT`].
    pub format: String,
    /// The preset that the shapes come from.
    pub size: Size,
    /// Token width, a multiple of `heads`.
    pub width: usize,
    /// Number of transformer blocks.
    pub layers: usize,
    /// Attention heads per block.
    pub heads: usize,
    /// Hidden width of each block's MLP in multiples of `width`.
    pub mlp_ratio: usize,
    /// How pixels become tokens.
    pub stem: Stem,
    /// Cameras in token order.
    pub cameras: Vec<CameraConfig>,
    /// Known words.
    pub vocabulary: Vocabulary,
    /// Places for words in each of the two copies of the instruction; longer instructions are cut.
    pub max_words: usize,
    /// Numbers of proprioception; may be 0.
    pub state_dim: usize,
    /// Numbers of one action.
    pub action_dim: usize,
    /// Actions decoded at once.
    pub chunk: usize,
    /// Bins per action value over [-1, 1].
    pub bins: usize,
    /// Target distribution over the bins.
    pub labels: Labels,
    /// Which tokens see which.
    pub attention: Attention,
    /// Range of the state.
    pub state_norm: Normaliser,
    /// Range of the actions.
    pub action_norm: Normaliser,
    /// Decoder of masked patches, `None` when the model is trained on actions alone.
    pub decoder: Option<DecoderConfig>,
}

const MAX_SIDE: u32 = 1024;
/// Longest token sequence; attention is quadratic, and a foreign file must not take the memory.
const MAX_TOKENS: usize = 8192;

/// Where each kind of token stands in the sequence
/// `instruction | image of each camera | instruction | state | read-out`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// First copy of the instruction.
    pub words_before: Range<usize>,
    /// Patches of each camera, row-major.
    pub images: Vec<Range<usize>>,
    /// Second copy of the instruction.
    pub words_after: Range<usize>,
    /// Proprioception.
    pub state: usize,
    /// The token that the actions are read from; the last one.
    pub read_out: usize,
}

impl Sequence {
    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.read_out + 1
    }

    /// Never: a sequence has at least a read-out.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// All image tokens.
    pub fn image(&self) -> Range<usize> {
        self.words_before.end..self.words_after.start
    }

    /// What every token stands for when both copies of the instruction hold `words` words.
    pub fn roles(&self, words: usize) -> Vec<TokenRole> {
        let copies = [&self.words_before, &self.words_after];
        let role = |token: usize| {
            if let Some(copy) = copies.iter().find(|copy| copy.contains(&token)) {
                if token - copy.start < words {
                    TokenRole::Text
                } else {
                    TokenRole::Pad
                }
            } else if token == self.state {
                TokenRole::State
            } else if token == self.read_out {
                TokenRole::Action
            } else {
                TokenRole::Image
            }
        };
        (0..self.len()).map(role).collect()
    }
}

impl VlaConfig {
    /// Value of [`format`](Self::format) that this version writes and reads.
    pub const FORMAT: &'static str = "gazelab-vla/1";
    /// Actions decoded at once unless asked for otherwise.
    pub const CHUNK: usize = 4;
    /// Bins per action value unless asked for otherwise.
    pub const BINS: usize = 64;

    /// The preset `size` for the `cameras` (indices into `info.cameras`) of a dataset. Pictures keep
    /// their aspect ratio and are shrunk to the preset's longest side; patches are 8 pixels (`base`: 16).
    /// Words and their greatest number come from the dataset's instructions.
    ///
    /// # Errors
    /// When a camera index is unknown or none is given, or the actions have no dimension.
    pub fn preset(
        size: Size,
        info: &DatasetInfo,
        cameras: &[usize],
        state_norm: Normaliser,
        action_norm: Normaliser,
    ) -> Result<Self> {
        let (width, layers, heads, longest_side, patch) = match size {
            Size::Nano => (128, 4, 4, 64, 8),
            Size::Small => (256, 6, 8, 128, 8),
            Size::Base => (512, 8, 8, 224, 16),
        };
        let cameras = cameras
            .iter()
            .map(|&index| {
                let camera = info.cameras.get(index).ok_or_else(|| {
                    Error::Config(format!(
                        "camera {index} of {} in {}",
                        info.cameras.len(),
                        info.name
                    ))
                })?;
                let scale = (f64::from(longest_side)
                    / f64::from(camera.width.max(camera.height).max(1)))
                .min(1.0);
                let side = |pixels: u32| {
                    ((f64::from(pixels) * scale / f64::from(patch)).round() as u32).max(1) * patch
                };
                Ok(CameraConfig {
                    name: camera.name.clone(),
                    width: side(camera.width),
                    height: side(camera.height),
                    patch,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let longest = info
            .instructions
            .iter()
            .map(|text| Vocabulary::split(text).len())
            .max()
            .unwrap_or(0);
        let config = Self {
            format: Self::FORMAT.into(),
            size,
            width,
            layers,
            heads,
            mlp_ratio: 4,
            stem: Stem::Conv,
            cameras,
            vocabulary: Vocabulary::build(&info.instructions),
            max_words: longest.clamp(1, 32),
            state_dim: state_norm.dim(),
            action_dim: action_norm.dim(),
            chunk: Self::CHUNK,
            bins: Self::BINS,
            labels: Labels::default(),
            attention: Attention::default(),
            state_norm,
            action_norm,
            decoder: None,
        };
        config.check()?;
        Ok(config)
    }

    /// The same model with all cameras cut into patches of `patch` pixels.
    ///
    /// # Errors
    /// When a picture is no multiple of it.
    pub fn with_patch(mut self, patch: u32) -> Result<Self> {
        self.cameras = self
            .cameras
            .iter()
            .map(|camera| camera.with_patch(patch))
            .collect::<Result<_>>()?;
        self.check()?;
        Ok(self)
    }

    /// The same model with what `objective` needs beyond the policy: MAE adds a decoder.
    pub fn for_objective(mut self, objective: &Objective) -> Self {
        self.decoder = match objective {
            Objective::Action => None,
            Objective::Mae(mae) => Some(DecoderConfig {
                width: mae.decoder_width,
                blocks: mae.decoder_blocks,
                norm_pix: mae.norm_pix,
            }),
        };
        self
    }

    /// Where the tokens stand.
    pub fn sequence(&self) -> Sequence {
        let mut end = self.max_words;
        let images = self
            .cameras
            .iter()
            .map(|camera| {
                let start = end;
                end += camera.grid().len();
                start..end
            })
            .collect();
        let words_after = end..end + self.max_words;
        let state = words_after.end;
        Sequence {
            words_before: 0..self.max_words,
            images,
            words_after,
            state,
            read_out: state + 1,
        }
    }

    /// The token grid of each camera.
    pub fn grids(&self) -> Vec<Grid> {
        self.cameras.iter().map(CameraConfig::grid).collect()
    }

    /// Verifies that the numbers describe a model, so that building one cannot fail.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn check(&self) -> Result<()> {
        let fail = |text: String| Err(Error::Config(text));
        if self.format != Self::FORMAT {
            return fail(format!(
                "format {:?}, this version reads {:?}",
                self.format,
                Self::FORMAT
            ));
        }
        for (what, value, most) in [
            ("width", self.width, 8192),
            ("layers", self.layers, 128),
            ("heads", self.heads, 256),
            ("mlp_ratio", self.mlp_ratio, 16),
            ("max_words", self.max_words, 256),
            ("action_dim", self.action_dim, 256),
            ("chunk", self.chunk, 256),
            ("bins", self.bins, 4096),
            ("cameras", self.cameras.len(), 16),
        ] {
            if value == 0 || value > most {
                return fail(format!("{what} is {value}, expected 1 to {most}"));
            }
        }
        if !self.width.is_multiple_of(self.heads) || !self.width.is_multiple_of(4) {
            return fail(format!(
                "width {} must be a multiple of 4 and of {} heads",
                self.width, self.heads
            ));
        }
        for camera in &self.cameras {
            camera.check()?;
            if self.stem == Stem::Conv
                && (!camera.patch.is_power_of_two() || !(2..=64).contains(&camera.patch))
            {
                return fail(format!(
                    "camera {:?}: the convolutional stem needs a patch of 2, 4, 8, 16, 32 or 64 pixels, not {}",
                    camera.name, camera.patch
                ));
            }
        }
        self.vocabulary.check()?;
        if self.vocabulary.len() > 1 << 20 {
            return fail(format!("vocabulary of {} words", self.vocabulary.len()));
        }
        let tokens = self.sequence().len();
        if tokens > MAX_TOKENS {
            return fail(format!("{tokens} tokens, the most is {MAX_TOKENS}"));
        }
        if let Labels::Soft { sigma_bins } = self.labels
            && !is_sigma(sigma_bins)
        {
            return fail(format!("soft labels with sigma {sigma_bins}"));
        }
        if let Some(DecoderConfig { width, blocks, .. }) = self.decoder
            && (width == 0 || width % 32 != 0 || width > 8192 || blocks == 0 || blocks > 64)
        {
            return fail(format!(
                "decoder of {blocks} blocks of width {width}; the width is a multiple of 32"
            ));
        }
        if self.state_dim > 4096 {
            return fail(format!("state of {} numbers", self.state_dim));
        }
        self.state_norm.check("state", self.state_dim)?;
        self.action_norm.check("action", self.action_dim)
    }
}
