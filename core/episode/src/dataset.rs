use crate::Result;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// A decoded picture: RGB, 8 bits a channel, rows from the top, `rgb.len() == width * height * 3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Columns in pixels.
    pub width: u32,
    /// Rows in pixels.
    pub height: u32,
    /// `[height, width, 3]`, row-major.
    pub rgb: Vec<u8>,
}

impl Image {
    /// A picture of one colour.
    pub fn filled(width: u32, height: u32, rgb: [u8; 3]) -> Self {
        Self {
            width,
            height,
            rgb: rgb.repeat(width as usize * height as usize),
        }
    }

    /// Colour at column `x`, row `y`; `None` outside.
    pub fn pixel(&self, x: u32, y: u32) -> Option<[u8; 3]> {
        if x >= self.width || y >= self.height {
            return None;
        }
        let at = (y as usize * self.width as usize + x as usize) * 3;
        self.rgb.get(at..at + 3).and_then(|p| p.try_into().ok())
    }
}

/// A camera of a dataset and the size of its pictures in pixels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CameraInfo {
    /// The dataset's own name, without the format's prefix (`image_0`, `static`).
    pub name: String,
    /// Columns in pixels.
    pub width: u32,
    /// Rows in pixels.
    pub height: u32,
}

/// What a dataset says about itself. `gazelab data info --json` prints it as it is.
#[derive(Clone, Debug, Serialize)]
pub struct DatasetInfo {
    /// `lerobot-v3.0`, `rlds` or `tabletop` (generated).
    pub format: String,
    /// The dataset's folder.
    pub path: PathBuf,
    /// A short name to show.
    pub name: String,
    /// Control steps a second, when the dataset says so.
    pub fps: Option<f32>,
    /// Number of episodes.
    pub episodes: usize,
    /// Steps of all episodes together.
    pub frames: usize,
    /// Cameras, in the order of [`Dataset::image`]'s index.
    pub cameras: Vec<CameraInfo>,
    /// Distinct instructions in the order in which episodes first use them.
    pub instructions: Vec<String>,
    /// One name a component of an action.
    pub action_names: Vec<String>,
    /// One name a component of the proprioceptive state; empty when there is none.
    pub state_names: Vec<String>,
    /// Whether any camera has exact target and goal masks.
    pub has_masks: bool,
    /// Faults that leave the rest usable, each naming its file.
    pub warnings: Vec<String>,
}

/// One episode, without its pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpisodeMeta {
    /// Position in the dataset, from 0.
    pub index: usize,
    /// Number of steps.
    pub length: usize,
    /// What the robot was told; empty when the dataset has no instruction.
    pub instruction: Arc<str>,
}

/// Per-step vectors of one episode, in the dataset's own units.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signals {
    /// Components of an action, A.
    pub action_dim: usize,
    /// Components of a state, S; 0 when there is none.
    pub state_dim: usize,
    /// `[T, A]`, row-major.
    pub actions: Vec<f32>,
    /// `[T, S]`, row-major.
    pub states: Vec<f32>,
}

impl Signals {
    /// Number of steps T.
    pub fn steps(&self) -> usize {
        let rows = |len: usize, dim: usize| len.checked_div(dim);
        rows(self.actions.len(), self.action_dim)
            .or_else(|| rows(self.states.len(), self.state_dim))
            .unwrap_or(0)
    }

    /// Action of one step, `[A]`; `None` past the end.
    pub fn action(&self, step: usize) -> Option<&[f32]> {
        self.actions
            .get(step * self.action_dim..(step + 1) * self.action_dim)
    }

    /// State of one step, `[S]`; `None` past the end.
    pub fn state(&self, step: usize) -> Option<&[f32]> {
        self.states
            .get(step * self.state_dim..(step + 1) * self.state_dim)
    }
}

/// Which of the two exact masks of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Region {
    /// The object to act on.
    Target,
    /// Where it should go.
    Goal,
}

/// A set of pixels of one picture, rows from the top, `bits.len() == width * height`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PixelMask {
    /// Columns in pixels.
    pub width: u32,
    /// Rows in pixels.
    pub height: u32,
    /// `[height, width]`, row-major.
    pub bits: Vec<bool>,
}

impl PixelMask {
    /// A mask without pixels.
    pub fn empty(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            bits: vec![false; width as usize * height as usize],
        }
    }

    /// Number of pixels in the mask.
    pub fn count(&self) -> usize {
        self.bits.iter().filter(|b| **b).count()
    }

    /// The smallest box around the mask, `[x0, y0, x1, y1]` in pixels with x1 and y1 exclusive; `None` when empty.
    pub fn bounds(&self) -> Option<[u32; 4]> {
        if self.width == 0 {
            return None;
        }
        let mut bounds: Option<[u32; 4]> = None;
        for (y, row) in (0u32..).zip(self.bits.chunks_exact(self.width as usize)) {
            for (x, _) in (0u32..).zip(row).filter(|(_, bit)| **bit) {
                let b = bounds.get_or_insert([x, y, x + 1, y + 1]);
                *b = [b[0].min(x), b[1].min(y), b[2].max(x + 1), b[3].max(y + 1)];
            }
        }
        bounds
    }
}

/// How a specification of generated data begins, such as `tabletop:goal?episodes=20`. Wherever a dataset is named,
/// anything else is a path.
pub const SPECIFICATION_PREFIX: &str = "tabletop:";

/// Whether a dataset of this name is generated rather than read from a path.
#[must_use]
pub fn is_specification(name: &str) -> bool {
    name.starts_with(SPECIFICATION_PREFIX)
}

/// A set of episodes with random access to every frame. Every method may be called from several threads at once.
///
/// Indices count from 0. An index past the end is [`Error::OutOfRange`](crate::Error::OutOfRange); a frame whose bytes
/// are unsound is an error for that frame only.
pub trait Dataset: Send + Sync {
    /// What was found when the dataset was opened.
    fn info(&self) -> &DatasetInfo;

    /// Length and instruction of one episode.
    fn episode(&self, episode: usize) -> Result<EpisodeMeta>;

    /// Actions and states of one episode.
    fn signals(&self, episode: usize) -> Result<Arc<Signals>>;

    /// One picture; `camera` indexes [`DatasetInfo::cameras`].
    fn image(&self, episode: usize, step: usize, camera: usize) -> Result<Arc<Image>>;

    /// The exact mask of a region, `None` when the dataset has none for this camera.
    fn mask(
        &self,
        episode: usize,
        step: usize,
        camera: usize,
        region: Region,
    ) -> Result<Option<Arc<PixelMask>>>;

    /// Something else that the robot could be told in the scenes of an episode: what attention is compared under to tell
    /// language from salience. Always the same for one episode; `None` when the dataset knows one instruction only.
    ///
    /// A generated dataset asks for another object of the scene. What is recorded knows no scenes, so this is the
    /// instruction of the next episode that has another one, case and surrounding space not counted; after the last
    /// episode comes the first. It may name what the scene does not hold, or say the same in other words.
    fn other_instruction(&self, episode: usize) -> Result<Option<Arc<str>>> {
        let own = self.episode(episode)?.instruction;
        let info = self.info();
        if info.instructions.len() < 2 {
            return Ok(None);
        }
        let plain = |text: &str| text.trim().to_lowercase();
        let told = plain(&own);
        for next in (episode + 1..info.episodes).chain(0..episode) {
            let other = self.episode(next)?.instruction;
            let words = plain(&other);
            if !words.is_empty() && words != told {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// Whether pictures are made on demand rather than read from a file.
    fn is_generated(&self) -> bool {
        false
    }
}

/// A dataset as panes and trainers share it.
pub type SharedDataset = Arc<dyn Dataset>;

/// Names for components that have none: `action[0]`, `action[1]`…
pub(crate) fn numbered(key: &str, dim: usize) -> Vec<String> {
    let key = key.rsplit(['.', '/']).next().unwrap_or(key);
    (0..dim)
        .map(|component| format!("{key}[{component}]"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Told(DatasetInfo, Vec<&'static str>);

    impl Told {
        fn new(instructions: &[&'static str]) -> Self {
            let mut distinct: Vec<String> = Vec::new();
            for text in instructions {
                if !distinct.iter().any(|d| d == text) {
                    distinct.push((*text).to_owned());
                }
            }
            let info = DatasetInfo {
                format: String::new(),
                path: PathBuf::new(),
                name: String::new(),
                fps: None,
                episodes: instructions.len(),
                frames: instructions.len(),
                cameras: Vec::new(),
                instructions: distinct,
                action_names: Vec::new(),
                state_names: Vec::new(),
                has_masks: false,
                warnings: Vec::new(),
            };
            Self(info, instructions.to_vec())
        }

        fn others(&self) -> Vec<String> {
            let other = |episode| self.other_instruction(episode).unwrap();
            (0..self.1.len())
                .map(|episode| other(episode).map_or(String::new(), |text| text.to_string()))
                .collect()
        }
    }

    impl Dataset for Told {
        fn info(&self) -> &DatasetInfo {
            &self.0
        }

        fn episode(&self, episode: usize) -> Result<EpisodeMeta> {
            crate::Error::check("episode", episode, self.1.len(), &self.0.path)?;
            Ok(EpisodeMeta {
                index: episode,
                length: 1,
                instruction: self.1[episode].into(),
            })
        }

        fn signals(&self, _: usize) -> Result<Arc<Signals>> {
            Ok(Arc::default())
        }

        fn image(&self, _: usize, _: usize, _: usize) -> Result<Arc<Image>> {
            Ok(Arc::new(Image::filled(1, 1, [0; 3])))
        }

        fn mask(&self, _: usize, _: usize, _: usize, _: Region) -> Result<Option<Arc<PixelMask>>> {
            Ok(None)
        }
    }

    #[test]
    fn the_other_instruction_is_that_of_the_next_episode_that_has_one() {
        let told = Told::new(&["push a", " Push A ", "", "lift b", "push a"]);
        assert_eq!(
            told.others(),
            ["lift b", "lift b", "lift b", "push a", "lift b"]
        );
        assert!(told.other_instruction(5).is_err());
        for alone in [
            &["push a", "push a"][..],
            &["push a", "PUSH A "],
            &["push a", ""],
        ] {
            let others = Told::new(alone).others();
            assert_eq!(others[0], "", "{alone:?}");
        }
        // Where nothing was said, anything is something else.
        assert_eq!(Told::new(&["", "push a"]).others(), ["push a", ""]);
    }
}
