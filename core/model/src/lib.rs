//! The small vision-language-action (VLA) model of Gazelab: its network, its training objectives and
//! optimizer, its files, and its attention as [`grounding::Capture`].
//!
//! A [`VlaConfig`] fixes every shape; [`Vla`] is the network; [`Criterion`] turns a [`Batch`] into a loss
//! (and owns the sources of masks for masked reconstruction); [`optim::AdamW`] takes the step;
//! [`save_model`] and [`load_model`] are the file format; [`Policy`] acts and captures attention. On the CPU
//! the network runs on the kernels of [`fused`], elsewhere on burn's own operations.

mod batch;
mod checkpoint;
mod config;
mod device;
mod error;
pub mod fused;
mod layers;
mod masks;
mod objective;
pub mod optim;
mod parameters;
mod policy;
mod steer;
mod vla;

pub use batch::{Batch, ColourJitter, Inputs, Observation, Sample};
pub use checkpoint::{CONFIG_FILE, WEIGHTS_FILE, load_config, load_model, save_model};
pub use config::{
    Attention, CameraConfig, DecoderConfig, Labels, Normaliser, Sequence, Size, Stem, VlaConfig,
    Vocabulary,
};
pub use device::DeviceChoice;
pub use error::{Error, Result};
pub use masks::PatchMasks;
pub use objective::{Criterion, CriterionState, Losses, MaeConfig, MaskSource, Objective};
pub use parameters::parameter_shapes;
pub use policy::{ActionChunk, GENERIC_PROMPT, Policy};
pub use vla::{AttentionRows, Output, Reconstruction, Vla};
