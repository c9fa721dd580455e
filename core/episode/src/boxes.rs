//! Detector boxes that lie in or beside a dataset.
//!
//! Two layouts are read. Ours names the frame and is normalised:
//!
//! ```json
//! {"format": "gazelab-boxes/1", "boxes": [
//!   {"episode": 0, "step": 3, "camera": "static", "xyxy": [0.25, 0.5, 0.375, 0.625], "label": "red cube", "score": 0.61}]}
//! ```
//!
//! The list that Hugging Face's Grounding DINO gives after post-processing has one item a picture, in pixels:
//!
//! ```json
//! [{"file": "stack_the_cubes/demo_0/agentview_000012.png", "boxes": [[55.5, 55.6, 66.2, 68.3]],
//!   "scores": [0.65], "labels": ["red cube"]}]
//! ```
//!
//! There the frame comes out of the file name: `demo_0` (or `episode_0`) holds `CAMERA_STEP.png`. When the folder around
//! it is an instruction of the dataset (`stack_the_cubes`), `demo_0` is the first episode with that instruction; else it is
//! episode 0.

use crate::source::read_text;
use crate::{CameraInfo, Dataset, Error, Result};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A larger file is not read.
const MAX_BYTES: u64 = 256 << 20;
/// Names under which box files are looked for.
const NAMES: [&str; 2] = ["gazelab_boxes.json", "grounding_dino.json"];
/// How far a normalised corner may lie outside the picture by rounding.
const SLACK: f64 = 1e-4;

/// One detection; corners normalised to `[0, 1]` of the original picture.
#[derive(Clone, Debug, PartialEq)]
pub struct BoxDetection {
    /// Left edge.
    pub x0: f32,
    /// Top edge.
    pub y0: f32,
    /// Right edge, right of `x0`.
    pub x1: f32,
    /// Bottom edge, below `y0`.
    pub y1: f32,
    /// What the detector calls it.
    pub label: String,
    /// Confidence.
    pub score: f32,
}

/// The detections of one file for one dataset, by episode, step and camera.
#[derive(Clone, Debug, Default)]
pub struct BoxFile {
    /// By episode and step.
    frames: HashMap<(usize, usize), Vec<CameraBoxes>>,
    warnings: Vec<String>,
}

/// Name of a camera and its detections in one frame.
type CameraBoxes = (String, Vec<BoxDetection>);

impl BoxFile {
    /// Reads the boxes of `dataset`, which gives the sizes of the pictures and the instructions that file names refer to.
    ///
    /// Boxes for frames that the dataset does not have are left out with a [warning](Self::warnings).
    ///
    /// # Errors
    /// [`Error::Malformed`] when the file is neither layout, when numbers are missing, not finite or, in the second layout,
    /// all at most 1 (relative boxes, which cannot be told from tiny ones), and when no box belongs to the dataset.
    pub fn load(path: &Path, dataset: &dyn Dataset) -> Result<Self> {
        let text = read_text(path, MAX_BYTES)?;
        let json: Value = serde_json::from_str(&text).map_err(|e| {
            let python = ["NaN", "Infinity"].iter().any(|word| text.contains(word));
            let hint = if python {
                " (Python writes NaN and Infinity, JSON has neither)"
            } else {
                ""
            };
            Error::malformed(path, format!("not JSON: {e}{hint}"))
        })?;
        let frames = Frames::new(dataset)?;
        let mut reading = Reading {
            frames,
            file: Self::default(),
            placed: 0,
            strays: 0,
            clipped: 0,
            empty: 0,
        };
        let read = match &json {
            Value::Array(items) => reading.grounding_dino(items),
            object if object.get("format").and_then(Value::as_str) == Some("gazelab-boxes/1") => {
                reading.ours(object)
            }
            _ => Err("neither gazelab-boxes/1 nor a list of Grounding DINO results".to_owned()),
        };
        read.and_then(|()| reading.finish(path))
            .map_err(|e| Error::malformed(path, e))
    }

    /// The box file in the folder of a dataset or beside it (`gazelab_boxes.json`, `grounding_dino.json`), if there is one.
    pub fn beside(dataset: &Path) -> Option<PathBuf> {
        let folder = if dataset.is_file() {
            dataset.parent()?
        } else {
            dataset
        };
        // An RLDS dataset is NAME/VERSION: beside it is beside NAME.
        let is_version = folder
            .file_name()?
            .to_string_lossy()
            .chars()
            .all(|c| c.is_ascii_digit() || c == '.');
        let levels = if is_version { 3 } else { 2 };
        let candidates = folder
            .ancestors()
            .take(levels)
            .flat_map(|folder| NAMES.map(|name| folder.join(name)));
        candidates.into_iter().find(|path| path.is_file())
    }

    /// Detections of one picture; empty when there are none.
    pub fn detections(&self, episode: usize, step: usize, camera: &str) -> &[BoxDetection] {
        let cameras = self
            .frames
            .get(&(episode, step))
            .map_or(&[][..], Vec::as_slice);
        cameras
            .iter()
            .find(|(name, _)| name == camera)
            .map_or(&[], |(_, boxes)| boxes)
    }

    /// Number of boxes.
    pub fn len(&self) -> usize {
        self.frames
            .values()
            .flatten()
            .map(|(_, boxes)| boxes.len())
            .sum()
    }

    /// Whether there is no box.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was left out or changed, each naming the file.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn push(&mut self, episode: usize, step: usize, camera: &str, detection: BoxDetection) {
        let cameras = self.frames.entry((episode, step)).or_default();
        match cameras.iter_mut().find(|(name, _)| name == camera) {
            Some((_, boxes)) => boxes.push(detection),
            None => cameras.push((camera.to_owned(), vec![detection])),
        }
    }
}

/// What the dataset has.
struct Frames {
    cameras: Vec<CameraInfo>,
    lengths: Vec<usize>,
    /// Episodes of every instruction, which is written as a folder name.
    by_instruction: HashMap<String, Vec<usize>>,
}

impl Frames {
    fn new(dataset: &dyn Dataset) -> Result<Self> {
        let mut by_instruction: HashMap<String, Vec<usize>> = HashMap::new();
        let mut lengths = Vec::new();
        for at in 0..dataset.info().episodes {
            let meta = dataset.episode(at)?;
            lengths.push(meta.length);
            by_instruction
                .entry(folder_name(&meta.instruction))
                .or_default()
                .push(at);
        }
        Ok(Self {
            cameras: dataset.info().cameras.clone(),
            lengths,
            by_instruction,
        })
    }

    /// The camera, when the dataset has this frame of it.
    fn camera(&self, episode: usize, step: usize, camera: &str) -> Option<&CameraInfo> {
        let is_there = self
            .lengths
            .get(episode)
            .is_some_and(|length| step < *length);
        self.cameras.iter().find(|c| is_there && c.name == camera)
    }
}

/// `Stack the red cube.` as `stack_the_red_cube`.
fn folder_name(text: &str) -> String {
    let words = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("_")
}

/// A picture's file name, taken apart.
struct PictureName<'a> {
    /// Folder around the demonstration's.
    task: Option<&'a str>,
    demo: usize,
    camera: &'a str,
    step: usize,
}

impl<'a> PictureName<'a> {
    fn parse(file: &'a str) -> Option<Self> {
        let mut parts = file.rsplit(['/', '\\']);
        let (stem, _) = parts.next()?.rsplit_once('.')?;
        let (camera, step) = stem.rsplit_once('_')?;
        let folder = parts.next()?;
        let demo = folder
            .strip_prefix("demo_")
            .or_else(|| folder.strip_prefix("episode_"))?;
        Some(Self {
            task: parts.next(),
            demo: demo.parse().ok()?,
            camera,
            step: step.parse().ok()?,
        })
    }
}

struct Reading {
    frames: Frames,
    file: BoxFile,
    placed: usize,
    strays: usize,
    clipped: usize,
    empty: usize,
}

impl Reading {
    fn ours(&mut self, json: &Value) -> Result<(), String> {
        let boxes = json
            .get("boxes")
            .and_then(Value::as_array)
            .ok_or("boxes is missing")?;
        for (at, entry) in boxes.iter().enumerate() {
            let fail = |what: &str| format!("box {at}: {what}");
            let index = |key: &str| {
                let index = entry
                    .get(key)
                    .and_then(Value::as_u64)
                    .and_then(|v| usize::try_from(v).ok());
                index.ok_or_else(|| fail(&format!("{key} is not a whole number")))
            };
            let (episode, step) = (index("episode")?, index("step")?);
            let camera = entry
                .get("camera")
                .and_then(Value::as_str)
                .ok_or_else(|| fail("camera is not a name"))?;
            let corners = entry
                .get("xyxy")
                .and_then(four_numbers)
                .ok_or_else(|| fail("xyxy is not four numbers"))?;
            if corners.iter().any(|v| !(-SLACK..=1.0 + SLACK).contains(v)) {
                return Err(fail(&format!("{corners:?} is not within 0 to 1")));
            }
            let label = entry
                .get("label")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let score = entry
                .get("score")
                .map_or(Some(1.0), Value::as_f64)
                .ok_or_else(|| fail("score is not a number"))?;
            match self.frames.camera(episode, step, camera) {
                Some(_) => self.place(episode, step, camera, corners, label, score),
                None => self.strays += 1,
            }
        }
        Ok(())
    }

    fn grounding_dino(&mut self, items: &[Value]) -> Result<(), String> {
        let items = items
            .iter()
            .enumerate()
            .map(|(at, item)| Item::parse(at, item))
            .collect::<Result<Vec<_>, _>>()?;
        let mut corners = items
            .iter()
            .flat_map(|item| &item.boxes)
            .flatten()
            .peekable();
        if corners.peek().is_some() && corners.all(|v| v.abs() <= 1.0) {
            return Err(
                "every coordinate is at most 1: probably relative boxes, for which target_sizes was not given to \
                 post_process_grounded_object_detection; pixels are expected"
                    .to_owned(),
            );
        }
        let tasks: std::collections::HashSet<_> = items
            .iter()
            .map(|item| item.name.as_ref().and_then(|n| n.task))
            .collect();
        for item in &items {
            let frame = item.name.as_ref().and_then(|name| {
                let known = name
                    .task
                    .and_then(|task| self.frames.by_instruction.get(&folder_name(task)));
                let episode = match known {
                    Some(episodes) => episodes.get(name.demo).copied()?,
                    // Demonstrations of several unknown tasks would fall on the same episodes.
                    None if tasks.len() > 1 => return None,
                    None => name.demo,
                };
                let camera = self.frames.camera(episode, name.step, name.camera)?;
                Some((episode, name.step, camera.clone()))
            });
            let Some((episode, step, camera)) = frame else {
                self.strays += item.boxes.len();
                continue;
            };
            let (width, height) = (f64::from(camera.width), f64::from(camera.height));
            for ((corners, score), label) in item.boxes.iter().zip(&item.scores).zip(&item.labels) {
                let [x0, y0, x1, y1] = *corners;
                let corners = [x0 / width, y0 / height, x1 / width, y1 / height];
                self.place(episode, step, &camera.name, corners, label, *score);
            }
        }
        Ok(())
    }

    fn place(
        &mut self,
        episode: usize,
        step: usize,
        camera: &str,
        corners: [f64; 4],
        label: &str,
        score: f64,
    ) {
        let inside = corners.map(|v| v.clamp(0.0, 1.0));
        let [x0, y0, x1, y1] = inside.map(|v| v as f32);
        if x0 >= x1 || y0 >= y1 {
            self.empty += 1;
            return;
        }
        self.clipped += usize::from(corners.iter().any(|v| !(-SLACK..=1.0 + SLACK).contains(v)));
        self.placed += 1;
        let detection = BoxDetection {
            x0,
            y0,
            x1,
            y1,
            label: label.to_owned(),
            score: score as f32,
        };
        self.file.push(episode, step, camera, detection);
    }

    fn finish(mut self, path: &Path) -> Result<BoxFile, String> {
        if self.placed == 0 && self.strays > 0 {
            return Err(format!(
                "none of {} boxes belongs to a frame of the dataset",
                self.strays
            ));
        }
        let notes = [
            (
                self.strays,
                "boxes belong to no frame of the dataset and are left out",
            ),
            (
                self.clipped,
                "boxes reach out of the picture and are clipped",
            ),
            (
                self.empty,
                "boxes have no area in the picture and are left out",
            ),
        ];
        let notes = notes.iter().filter(|(count, _)| *count > 0);
        self.file.warnings = notes
            .map(|(count, what)| format!("{count} {what}: {}", path.display()))
            .collect();
        Ok(self.file)
    }
}

/// One picture of a Grounding DINO list.
struct Item<'a> {
    name: Option<PictureName<'a>>,
    /// `[x0, y0, x1, y1]` in pixels.
    boxes: Vec<[f64; 4]>,
    scores: Vec<f64>,
    labels: Vec<&'a str>,
}

impl<'a> Item<'a> {
    fn parse(at: usize, item: &'a Value) -> Result<Self, String> {
        let file = ["file", "image", "file_name"]
            .iter()
            .find_map(|key| item.get(key)?.as_str());
        let file = file.ok_or_else(|| format!("item {at} names no file"))?;
        let fail = |what: String| format!("item {at} ({file}): {what}");
        let list = |key: &str| {
            item.get(key)
                .and_then(Value::as_array)
                .ok_or_else(|| fail(format!("{key} is no list")))
        };
        let (boxes, scores) = (list("boxes")?, list("scores")?);
        // Newer versions give class numbers as labels and the words as text_labels.
        let strings = |key: &str| -> Option<Vec<&'a str>> {
            item.get(key)?
                .as_array()?
                .iter()
                .map(Value::as_str)
                .collect()
        };
        let labels = strings("text_labels").or_else(|| strings("labels"));
        let labels = labels
            .ok_or_else(|| fail("neither text_labels nor labels is a list of words".to_owned()))?;
        if boxes.len() != scores.len() || boxes.len() != labels.len() {
            let (b, s, l) = (boxes.len(), scores.len(), labels.len());
            return Err(fail(format!("{b} boxes, {s} scores and {l} labels")));
        }
        let boxes = boxes.iter().map(four_numbers).collect::<Option<_>>();
        let scores = scores.iter().map(Value::as_f64).collect::<Option<_>>();
        Ok(Self {
            name: PictureName::parse(file),
            boxes: boxes.ok_or_else(|| fail("a box is not four numbers".to_owned()))?,
            scores: scores.ok_or_else(|| fail("a score is not a number".to_owned()))?,
            labels,
        })
    }
}

fn four_numbers(value: &Value) -> Option<[f64; 4]> {
    let numbers: Vec<f64> = value
        .as_array()?
        .iter()
        .map(Value::as_f64)
        .collect::<Option<_>>()?;
    numbers.try_into().ok()
}
