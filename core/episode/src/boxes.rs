//! Detector boxes that lie beside a dataset.

use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// One detection; corners normalised to `[0, 1]` of the original picture.
#[derive(Clone, Debug, PartialEq)]
pub struct BoxDetection {
    /// Left edge.
    pub x0: f32,
    /// Top edge.
    pub y0: f32,
    /// Right edge.
    pub x1: f32,
    /// Bottom edge.
    pub y1: f32,
    /// What the detector calls it.
    pub label: String,
    /// Confidence.
    pub score: f32,
}

/// The detections of one file, by episode, step and camera name.
#[derive(Clone, Debug, Default)]
pub struct BoxFile {}

impl BoxFile {
    /// Reads a box file.
    pub fn load(path: &Path) -> Result<Self> {
        Err(Error::unsupported(path, "box files follow"))
    }

    /// The box file in or beside a dataset, if there is one.
    pub fn beside(dataset: &Path) -> Option<PathBuf> {
        let _ = dataset;
        None
    }

    /// Detections of one picture; empty when there are none.
    pub fn detections(&self, episode: usize, step: usize, camera: &str) -> &[BoxDetection] {
        let _ = (episode, step, camera);
        &[]
    }
}
