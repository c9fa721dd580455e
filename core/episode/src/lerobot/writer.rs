use crate::{CameraInfo, Error, Image, PixelMask, Result};
use std::path::{Path, PathBuf};

/// What every frame of a recording has in common.
#[derive(Clone, Debug)]
pub struct WriterSpec {
    /// Control steps a second, at least 1.
    pub fps: u32,
    /// LeRobot's `robot_type`.
    pub robot_type: String,
    /// Cameras in the order of [`Frame::images`].
    pub cameras: Vec<CameraInfo>,
    /// Names of the cameras that also have masks, in the order of [`Frame::masks`].
    pub mask_cameras: Vec<String>,
    /// One name a component of an action.
    pub action_names: Vec<String>,
    /// One name a component of the state.
    pub state_names: Vec<String>,
}

/// Exact target and goal masks of one picture.
#[derive(Clone, Debug)]
pub struct RegionMasks {
    /// The object to act on.
    pub target: PixelMask,
    /// Where it should go.
    pub goal: PixelMask,
}

/// One control step: what was seen and what was then done.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// One picture a camera, in the order of [`WriterSpec::cameras`].
    pub images: &'a [Image],
    /// One pair a masked camera, in the order of [`WriterSpec::mask_cameras`].
    pub masks: &'a [RegionMasks],
    /// Proprioceptive state, as long as [`WriterSpec::state_names`].
    pub state: &'a [f32],
    /// Action, as long as [`WriterSpec::action_names`].
    pub action: &'a [f32],
}

/// Writes a LeRobotDataset v3.0.
pub struct Writer {
    dir: PathBuf,
}

impl Writer {
    /// Starts a dataset at `dir`, which must not exist or be an empty folder.
    pub fn create(dir: &Path, spec: WriterSpec) -> Result<Self> {
        let _ = spec;
        Ok(Self {
            dir: dir.to_path_buf(),
        })
    }

    /// Adds a step to the current episode.
    pub fn push_frame(&mut self, frame: &Frame<'_>) -> Result<()> {
        let _ = frame;
        Err(Error::unsupported(&self.dir, "writer follows"))
    }

    /// Ends the current episode, which needs at least one step.
    pub fn end_episode(&mut self, instruction: &str) -> Result<()> {
        let _ = instruction;
        Err(Error::unsupported(&self.dir, "writer follows"))
    }

    /// Completes the dataset and moves it into place.
    pub fn finish(self) -> Result<()> {
        Err(Error::unsupported(&self.dir, "writer follows"))
    }
}
