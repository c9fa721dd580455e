//! What a figure is to show: small, readable, and enough to make the same file again.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use episode::is_specification;
use grounding::{HeadId, HeadSelection};
use serde::{Deserialize, Serialize};

use crate::style::Style;
use crate::{Error, Result, files};

/// The version this program writes. It reads this version and all before it.
pub const FORMAT_VERSION: u32 = 1;

/// A recipe is text written by hand or by the figure pane; anything larger is another kind of file.
const MAX_BYTES: u64 = 1 << 20;

/// Rows, columns and cells that one page can bear.
const MAX_ROWS: usize = 40;
const MAX_COLUMNS: usize = 16;
const MAX_ARMS: usize = 16;
const MAX_CELLS: usize = 240;
/// Characters of one text.
const MAX_TEXT: usize = 4000;

/// A figure: rows are frames, columns are ways to look at them.
///
/// In the file, relative paths are taken from the folder of the recipe; in memory, after [`Recipe::load`], they are
/// joined with it. Fields missing in a file take their default, so old files keep loading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Version of the format, see [`FORMAT_VERSION`].
    pub version: u32,
    /// Set in bold above the columns; also the title in the file's metadata. Empty for none.
    pub title: String,
    /// Set below. Empty for none.
    pub caption: String,
    /// Size, type, colours, and what is written round the cells.
    pub style: Style,
    /// The models that are compared; [`Column::arm`] counts from 0. One arm is the usual case.
    pub arms: Vec<Arm>,
    /// From left to right.
    pub columns: Vec<Column>,
    /// From top to bottom.
    pub frames: Vec<Frame>,
    /// A box file other than the one beside the dataset.
    pub boxes: Option<PathBuf>,
    /// What masks are compared with.
    pub reference: Reference,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            version: FORMAT_VERSION,
            title: String::new(),
            caption: String::new(),
            style: Style::default(),
            arms: Vec::new(),
            columns: Vec::new(),
            frames: Vec::new(),
            boxes: None,
            reference: Reference::default(),
        }
    }
}

/// One model or capture file, and how its attention becomes a mask.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Arm {
    /// Set above its columns when there are several arms.
    pub name: String,
    /// Where attention comes from.
    pub look: Look,
    /// Every threshold from attention to mask, and which token looks.
    pub selection: HeadSelection,
    /// The selected heads. `None`: they are voted over the frames of this figure.
    pub heads: Option<Vec<HeadId>>,
    /// What named heads were chosen on, for the provenance line, such as "voted over 32 tuning frames".
    pub heads_from: String,
}

/// Where attention comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Look {
    /// Nowhere: only pictures and boxes can be shown.
    #[default]
    Nothing,
    /// A capture file (`attncap/1`).
    Captures(PathBuf),
    /// The checkpoint folder of a model.
    Checkpoint(PathBuf),
}

/// One way to look at a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Column {
    /// Set above. Empty: what the content is called.
    pub title: String,
    /// What the cells show.
    pub content: Content,
    /// Index into [`Recipe::arms`].
    pub arm: usize,
}

/// What a cell shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Content {
    /// The camera picture.
    #[default]
    Picture,
    /// A heat map over the picture.
    HeatMap(MapChoice),
    /// A heat map alone, in its exact colours.
    Map(MapChoice),
    /// The picture, dark outside the mask.
    Mask(MapChoice),
    /// The picture with the outline of the mask and the boxes.
    Compare(MapChoice),
    /// A heat map minus that of another arm on the same frame, alone, on a scale centred at zero.
    Difference {
        /// Which map of both.
        map: MapChoice,
        /// The arm that is subtracted.
        minus: usize,
    },
}

impl Content {
    /// The map it is made from, if any.
    #[must_use]
    pub fn map(self) -> Option<MapChoice> {
        match self {
            Self::Picture => None,
            Self::HeatMap(map)
            | Self::Map(map)
            | Self::Mask(map)
            | Self::Compare(map)
            | Self::Difference { map, .. } => Some(map),
        }
    }
}

/// Which attention map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MapChoice {
    /// The aggregate of the selected heads, as [`HeadSelection::aggregate`] asks for.
    #[default]
    Selected,
    /// The mean over all captured heads of all captured layers.
    Mean,
    /// One head, as captured. Masks are cut from its smoothed map, as those of selected heads are.
    Head(HeadId),
}

/// One frame of a dataset, or one step of a capture file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Frame {
    /// Set above the row. Empty: the instruction, the episode, and the step as the window counts it, from 1.
    pub label: String,
    /// Path of the dataset, or a `tabletop:` specification. Empty: there is no picture, only attention from a file.
    pub dataset: String,
    /// Episode index, from 0.
    pub episode: usize,
    /// Step within the episode, from 0.
    pub step: usize,
    /// Camera by name. Empty: the first camera.
    pub camera: String,
    /// A capture file for this frame in place of that of arm 0, as when each episode has its own.
    pub captures: Option<PathBuf>,
    /// Which capture of the file. `None`: the one whose step is [`Frame::step`].
    pub capture: Option<usize>,
}

/// What a mask is compared with for numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reference {
    /// Ground truth where the dataset has it for every frame, otherwise detector boxes.
    #[default]
    Auto,
    /// The box round the exact target mask.
    Truth,
    /// The most confident detector box.
    Detector,
}

#[derive(Deserialize)]
struct Header {
    #[serde(default = "current")]
    version: u32,
}

fn current() -> u32 {
    FORMAT_VERSION
}

fn options() -> ron::Options {
    ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME)
}

impl Recipe {
    /// Whether the file can be read as a recipe with at least one column: all fields of a recipe have defaults, so an
    /// empty session could pass for one.
    #[must_use]
    pub fn is_recipe(path: &Path) -> bool {
        read(path).is_ok_and(|text| {
            let recipe = options().from_str::<Self>(&text);
            recipe.is_ok_and(|recipe| !recipe.columns.is_empty())
        })
    }

    /// Reads and checks a recipe.
    ///
    /// # Errors
    /// When the file is missing, too large, not a recipe, from a newer version, or asks for what cannot be set.
    pub fn load(path: &Path) -> Result<Self> {
        let text = read(path)?;
        let header: Header = options().from_str(&text).map_err(|e| syntax(path, e))?;
        if header.version > FORMAT_VERSION {
            return Err(Error::Newer {
                path: path.to_owned(),
                found: header.version,
                known: FORMAT_VERSION,
            });
        }
        let mut recipe: Self = options().from_str(&text).map_err(|e| syntax(path, e))?;
        recipe.version = FORMAT_VERSION;
        recipe.check()?;
        if let Some(folder) = path.parent() {
            recipe.join(folder);
        }
        Ok(recipe)
    }

    /// Writes the recipe, whole or not at all.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn save(&self, path: &Path) -> Result<()> {
        let pretty =
            ron::ser::PrettyConfig::new().extensions(ron::extensions::Extensions::IMPLICIT_SOME);
        let mut text = ron::Options::default()
            .to_string_pretty(self, pretty)
            .map_err(|source| Error::Encode {
                path: path.to_owned(),
                source,
            })?;
        text.push('\n');
        files::write(path, "figure recipe", text.as_bytes())
    }

    /// Checks every number and every text against what a page can bear, before any data is touched.
    ///
    /// # Errors
    /// [`Error::Recipe`] that names the field.
    pub fn check(&self) -> Result<()> {
        let fail = |message: String| Err(Error::Recipe(message));
        self.style.check()?;
        let (rows, columns) = (self.frames.len(), self.columns.len());
        if rows == 0 {
            return fail("it has no frame; add one".into());
        }
        if columns == 0 {
            return fail("it has no column; add one".into());
        }
        if rows > MAX_ROWS || columns > MAX_COLUMNS || rows * columns > MAX_CELLS {
            return fail(format!(
                "{rows} rows of {columns} columns; at most {MAX_ROWS} rows, {MAX_COLUMNS} columns and {MAX_CELLS} \
                 cells fit on a page"
            ));
        }
        if self.arms.len() > MAX_ARMS {
            return fail(format!(
                "{} arms, at most {MAX_ARMS} are possible",
                self.arms.len()
            ));
        }
        for (index, column) in self.columns.iter().enumerate() {
            let minus = match column.content {
                Content::Difference { minus, .. } => Some(minus),
                _ => None,
            };
            let needs_arm = column.content.map().is_some();
            for arm in std::iter::once(column.arm)
                .filter(|_| needs_arm)
                .chain(minus)
            {
                if arm >= self.arms.len() {
                    return fail(format!(
                        "column {} names arm {}, there are {}",
                        index + 1,
                        arm + 1,
                        self.arms.len()
                    ));
                }
            }
        }
        for (index, arm) in self.arms.iter().enumerate() {
            if let Err(error) = arm.selection.validate() {
                return fail(format!("arm {}: {error}", index + 1));
            }
            if arm.heads.as_ref().is_some_and(Vec::is_empty) {
                return fail(format!(
                    "arm {} names an empty list of heads; leave `heads` out to vote",
                    index + 1
                ));
            }
        }
        let texts = [&self.title, &self.caption]
            .into_iter()
            .chain(self.columns.iter().map(|c| &c.title))
            .chain(self.arms.iter().flat_map(|a| [&a.name, &a.heads_from]))
            .chain(
                self.frames
                    .iter()
                    .flat_map(|f| [&f.label, &f.dataset, &f.camera]),
            );
        for text in texts {
            if text.chars().count() > MAX_TEXT {
                return fail(format!("a text is longer than {MAX_TEXT} characters"));
            }
        }
        let looks = self.arms.iter().filter_map(|a| a.look.path());
        let paths = looks
            .chain(self.frames.iter().filter_map(|f| f.captures.as_deref()))
            .chain(self.boxes.as_deref());
        for path in paths {
            if path.as_os_str().is_empty() || path.to_string_lossy().contains('\0') {
                return fail("a path is empty or holds a zero byte".into());
            }
        }
        Ok(())
    }

    /// Takes relative paths from `folder`.
    pub fn join(&mut self, folder: &Path) {
        let join = |path: &mut PathBuf| *path = folder.join(&*path);
        for frame in &mut self.frames {
            if !frame.dataset.is_empty() && !is_specification(&frame.dataset) {
                frame.dataset = folder.join(&frame.dataset).to_string_lossy().into_owned();
            }
            frame.captures.iter_mut().for_each(join);
        }
        for arm in &mut self.arms {
            match &mut arm.look {
                Look::Nothing => {}
                Look::Captures(path) | Look::Checkpoint(path) => join(path),
            }
        }
        self.boxes.iter_mut().for_each(join);
    }
}

impl Look {
    /// The file or folder.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Nothing => None,
            Self::Captures(path) | Self::Checkpoint(path) => Some(path),
        }
    }

    /// Run and step of a checkpoint, or the name of a file; what an arm without a name is called.
    #[must_use]
    pub fn name(&self) -> String {
        self.path().map(short_path).unwrap_or_default()
    }
}

/// The run and step of a checkpoint, or the name of a capture file.
pub(crate) fn short_path(path: &Path) -> String {
    let names: Vec<String> = path
        .components()
        .filter_map(|c| match c {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        })
        .filter(|name| name != "checkpoints")
        .collect();
    let is_step = names.last().is_some_and(|n| n.starts_with("step-"));
    let keep = if is_step { 2 } else { 1 };
    names
        .get(names.len().saturating_sub(keep)..)
        .unwrap_or_default()
        .join("/")
}

fn read(path: &Path) -> Result<String> {
    let io = |source| Error::Io {
        verb: "read",
        what: "figure recipe",
        path: path.to_owned(),
        source,
    };
    // Asked before opening: opening a named pipe would wait for ever.
    let meta = fs::metadata(path).map_err(io)?;
    if !meta.is_file() {
        return Err(io(io::Error::other("not a regular file")));
    }
    if meta.len() > MAX_BYTES {
        return Err(Error::TooLarge {
            limit: MAX_BYTES,
            path: path.to_owned(),
        });
    }
    let file = fs::File::open(path).map_err(io)?;
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

fn syntax(path: &Path, error: ron::error::SpannedError) -> Error {
    Error::Syntax {
        path: path.to_owned(),
        line: error.span.start.line,
        column: error.span.start.col,
        source: error.code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Width;

    fn example() -> Recipe {
        Recipe {
            title: "Where does it look?".into(),
            arms: vec![Arm {
                look: Look::Checkpoint("/runs/a/step-00000500".into()),
                ..Arm::default()
            }],
            columns: vec![
                Column::default(),
                Column {
                    content: Content::HeatMap(MapChoice::Head(HeadId { layer: 2, head: 1 })),
                    ..Column::default()
                },
                Column {
                    content: Content::Compare(MapChoice::Selected),
                    ..Column::default()
                },
            ],
            frames: vec![Frame {
                dataset: "tabletop:spatial".into(),
                step: 4,
                ..Frame::default()
            }],
            ..Recipe::default()
        }
    }

    #[test]
    fn paths_are_kept_short() {
        assert_eq!(
            short_path(Path::new(
                "/home/someone/runs/mae-1/checkpoints/step-00000500"
            )),
            "mae-1/step-00000500"
        );
        assert_eq!(
            short_path(Path::new("/home/someone/gaze.safetensors")),
            "gaze.safetensors"
        );
        assert_eq!(short_path(Path::new("demo/policy")), "policy");
        assert_eq!(short_path(Path::new("/")), "");
    }

    #[test]
    fn round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/figure.ron");
        example().save(&path).unwrap();
        assert_eq!(Recipe::load(&path).unwrap(), example());
    }

    #[test]
    fn a_short_file_is_enough_and_paths_start_at_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.ron");
        let text = r#"(
            style: (width: Double),
            arms: [(look: Captures("gaze.safetensors"))],
            columns: [(content: Picture), (content: Compare(Mean))],
            frames: [(dataset: "demo", step: 3), (dataset: "tabletop:object")],
        )"#;
        fs::write(&path, text).unwrap();
        let recipe = Recipe::load(&path).unwrap();
        assert_eq!(recipe.style.width, Width::Double);
        assert_eq!(
            recipe.arms[0].look,
            Look::Captures(dir.path().join("gaze.safetensors"))
        );
        assert_eq!(
            recipe.frames[0].dataset,
            dir.path().join("demo").to_str().unwrap()
        );
        assert_eq!(recipe.frames[1].dataset, "tabletop:object");
        assert_eq!(recipe.arms[0].selection, HeadSelection::default());
    }

    #[test]
    fn bad_files_are_errors_that_end_in_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.ron");
        for bytes in [
            &b"("[..],
            b"[1]",
            b"(version: 99, frames: 7)",
            b"(width: 3)",
            b"\xff\xfe",
            b"(version: \"1\")",
        ] {
            fs::write(&path, bytes).unwrap();
            let error = Recipe::load(&path).unwrap_err().to_string();
            assert!(error.ends_with("f.ron"), "{error}");
        }
        fs::write(&path, vec![b' '; (MAX_BYTES + 1) as usize]).unwrap();
        assert!(matches!(Recipe::load(&path), Err(Error::TooLarge { .. })));
        assert!(Recipe::load(&dir.path().join("none.ron")).is_err());
    }

    #[test]
    fn what_cannot_be_set_is_refused() {
        assert!(example().check().is_ok());
        let refuse = |change: &dyn Fn(&mut Recipe)| {
            let mut recipe = example();
            change(&mut recipe);
            assert!(
                matches!(recipe.check(), Err(Error::Recipe(_))),
                "{recipe:?}"
            );
        };
        refuse(&|r| r.frames.clear());
        refuse(&|r| r.columns.clear());
        refuse(&|r| r.arms.clear());
        refuse(&|r| r.columns[1].arm = 1);
        refuse(&|r| {
            r.columns[0].content = Content::Difference {
                map: MapChoice::Mean,
                minus: 3,
            }
        });
        refuse(&|r| r.frames = vec![Frame::default(); 4000]);
        refuse(&|r| r.caption = "x".repeat(5000));
        refuse(&|r| r.style.width = Width::Mm(f64::NAN));
        refuse(&|r| r.style.width = Width::Mm(1e9));
        refuse(&|r| r.style.text_pt = 3.0);
        refuse(&|r| r.style.opacity = -1.0);
        refuse(&|r| r.style.dpi = 1_000_000);
        refuse(&|r| r.arms[0].look = Look::Captures("".into()));
        refuse(&|r| r.arms[0].heads = Some(Vec::new()));
        refuse(&|r| r.arms[0].selection.k = 0);
    }
}
