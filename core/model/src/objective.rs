//! What a model is trained to do, and the source of the masks for masked reconstruction.

use crate::{Error, Result};
use grounding::HeadSelection;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Training objective; all of it is data, so that a run is described by its file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Objective {
    /// The action loss alone.
    #[default]
    Action,
    /// The action loss plus the reconstruction of masked patches.
    Mae(MaeConfig),
}

/// Masked reconstruction as an auxiliary task ("Masked Autoencoders Are Scalable Vision Learners", He
/// et al. 2022, with the mask chosen by `source`).
///
/// The action loss is computed on the clean pictures. A **second forward pass** sees pictures whose
/// masked patches are hidden before the patch encoder, and the decoder reconstructs their pixels from
/// the final hidden states at the image positions. Every source masks the same number of patches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaeConfig {
    /// Where the masks come from.
    pub source: MaskSource,
    /// Share of each camera's patches that is masked, in (0, 1); rounded up, at least one patch.
    pub mask_share: f64,
    /// Weight of the reconstruction loss; the action loss has weight 1.
    pub weight: f64,
    /// Width of the decoder, a multiple of 32.
    pub decoder_width: usize,
    /// Transformer blocks of the decoder.
    pub decoder_blocks: usize,
    /// Whether each patch is reconstructed relative to its own mean and deviation.
    pub norm_pix: bool,
    /// Share of the training steps with random masks before `source` takes over, in [0, 1].
    pub warmup_share: f64,
    /// How heads are chosen, for [`MaskSource::Selected`]. Its mask rule is replaced by a connected
    /// region of exactly the masked number of patches.
    pub selection: HeadSelection,
    /// Steps between two choices of heads.
    pub reselect_every: u64,
}

impl Default for MaeConfig {
    fn default() -> Self {
        Self {
            source: MaskSource::Random,
            // 16 of 64 patches, as in the prototype of the built-in benchmark.
            mask_share: 0.25,
            weight: 1.0,
            decoder_width: 96,
            decoder_blocks: 1,
            norm_pix: false,
            warmup_share: 0.25,
            selection: HeadSelection::default(),
            reselect_every: 200,
        }
    }
}

/// Where the masked patches come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskSource {
    /// Patches drawn uniformly.
    #[default]
    Random,
    /// The connected region where the selected heads of the model itself look.
    Selected,
}

impl MaskSource {
    /// All sources.
    pub const ALL: [Self; 2] = [Self::Random, Self::Selected];

    /// The name used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Selected => "selected",
        }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action => f.write_str("action"),
            Self::Mae(mae) => write!(f, "mae:{}", mae.source.name()),
        }
    }
}

impl FromStr for Objective {
    type Err = Error;

    /// `action`, `mae:random` or `mae:selected`, everything else at its default.
    fn from_str(text: &str) -> Result<Self> {
        let unknown =
            || Error::Unknown { what: "objective", given: text.into(), expected: "action, mae:random, mae:selected" };
        if text == "action" {
            return Ok(Self::Action);
        }
        let source = text.strip_prefix("mae:").ok_or_else(unknown)?;
        let source = MaskSource::ALL.into_iter().find(|s| s.name() == source).ok_or_else(unknown)?;
        Ok(Self::Mae(MaeConfig { source, ..MaeConfig::default() }))
    }
}
