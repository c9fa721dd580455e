//! LeRobotDataset v3.0 with pictures in parquet: [`Writer`] and the reader behind [`crate::open`].
//!
//! ```text
//! meta/info.json                            features, fps, path templates
//! meta/stats.json                           statistics of every feature
//! meta/tasks.parquet                        instruction by task index
//! meta/episodes/chunk-000/file-000.parquet  one row an episode: file, first and last row, statistics
//! data/chunk-000/file-000.parquet           one row a step; pictures as PNG or JPEG bytes
//! ```
//!
//! Exact masks travel as one more picture a camera, `masks.<camera>`: red is the target, green the goal, blue is 0.
//! Layout and conventions follow `lerobot` 0.4 (`lerobot/datasets/{lerobot_dataset,utils,compute_stats}.py`).

mod files;
mod info;
mod reader;
mod schema;
mod stats;
mod table;
mod writer;

pub use writer::{Frame, RegionMasks, Writer, WriterSpec};

pub(crate) use reader::open;

/// Prefix of a camera's feature.
const IMAGE_PREFIX: &str = "observation.images.";
/// Prefix of a mask's feature.
const MASK_PREFIX: &str = "masks.";
/// Feature of the proprioceptive state.
const STATE: &str = "observation.state";
/// Feature of the action.
const ACTION: &str = "action";
/// Template of the data files, as lerobot writes it.
const DATA_PATH: &str = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet";
