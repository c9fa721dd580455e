//! The small vision-language-action (VLA) model of Gazelab.

mod batch;
mod config;
mod error;
mod objective;

pub use batch::{Batch, ColourJitter, Inputs, Observation, Sample};
pub use config::{
    Attention, CameraConfig, DecoderConfig, Labels, Normaliser, Sequence, Size, Stem, VlaConfig, Vocabulary,
};
pub use error::{Error, Result};
pub use objective::{MaeConfig, MaskSource, Objective};
