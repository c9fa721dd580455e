//! LeRobotDataset v3.0 with images in parquet: reader and writer.

mod writer;

pub use writer::{Frame, RegionMasks, Writer, WriterSpec};
