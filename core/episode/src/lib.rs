//! Robot episodes: one [`Dataset`] trait, readers for what is on disk, and one writer.
//!
//! | format | module | notes |
//! |---|---|---|
//! | LeRobotDataset v3.0, images in parquet | [`lerobot`] | read and written |
//! | RLDS / TFRecord (BridgeData V2, Open X-Embodiment) | [`rlds`] | read |
//! | detector boxes (ours, Hugging Face Grounding DINO) | [`boxes`] | read |
//!
//! [`open`] looks at a path and picks the reader. Readers are lazy: opening builds an index, a picture is decoded when
//! it is asked for, and decoded bytes live in a cache with a byte budget.
//!
//! Files are treated as written by a stranger: sizes are checked before memory is taken, no path leaves the dataset's
//! folder, and a fault is an [`Error`] that names the file.

pub mod boxes;
mod cache;
mod dataset;
mod error;
pub mod lerobot;
mod open;
mod picture;
pub mod rlds;
mod source;

pub use dataset::{
    CameraInfo, Dataset, DatasetInfo, EpisodeMeta, Image, PixelMask, Region, SPECIFICATION_PREFIX,
    SharedDataset, Signals, is_specification,
};
pub use error::{Error, Result};
pub use open::open;
