//! `meta/info.json` and the path templates in it.

use crate::source::read_json;
use crate::{Error, Result};
use serde_json::Value;
use std::path::{Component, Path, PathBuf};

/// A larger `info.json` is not read.
const MAX_INFO_BYTES: u64 = 16 << 20;
/// A template may pad a number to this many digits.
const MAX_WIDTH: usize = 20;
/// Widest vector that is read.
const MAX_COMPONENTS: u64 = 65_536;

/// The part of `meta/info.json` that reading needs.
pub(super) struct Info {
    pub(super) fps: f32,
    pub(super) total_episodes: u64,
    pub(super) total_frames: u64,
    pub(super) data_path: Template,
    pub(super) features: Vec<Feature>,
}

/// One entry of `features`.
pub(super) struct Feature {
    pub(super) key: String,
    pub(super) dtype: String,
    pub(super) shape: Vec<u64>,
    names: Value,
}

impl Info {
    pub(super) fn read(root: &Path, path: &Path) -> Result<Self> {
        let json = read_json(path, MAX_INFO_BYTES)?;
        let fail = |reason: String| Err(Error::malformed(path, reason));
        match json.get("codebase_version").and_then(Value::as_str) {
            Some("v3.0") => {}
            Some("v2.0" | "v2.1") => {
                let hint = "LeRobotDataset before v3.0; `python -m lerobot.datasets.v30.convert_dataset_v21_to_v30` converts it";
                return Err(Error::unsupported(root, hint));
            }
            Some(version) => {
                return fail(format!(
                    "codebase_version {} is not known, v3.0 is",
                    short(version)
                ));
            }
            None => return fail("codebase_version is missing".to_owned()),
        }
        let fps = json.get("fps").and_then(Value::as_f64).unwrap_or(f64::NAN);
        if !(fps > 0.0 && fps <= 1e6) {
            let found = json
                .get("fps")
                .map_or("missing".to_owned(), Value::to_string);
            return fail(format!(
                "fps is {}, a positive number is expected",
                short(&found)
            ));
        }
        let template = |key: &str| -> Result<Option<Template>> {
            match json.get(key) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => Template::parse(text)
                    .map(Some)
                    .map_err(|e| Error::malformed(path, format!("{key} {e}"))),
                Some(_) => Err(Error::malformed(path, format!("{key} is not a string"))),
            }
        };
        // Videos are not read, but a path that leads out is refused all the same.
        let (video_path, data_path) = (template("video_path")?, template("data_path")?);
        for (key, template) in [("video_path", &video_path), ("data_path", &data_path)] {
            if let Some(template) = template {
                template
                    .fill(0, 0)
                    .map_err(|e| Error::malformed(path, format!("{key} {e}")))?;
            }
        }
        let Some(data_path) = data_path else {
            return fail("data_path is missing".to_owned());
        };
        let Some(features) = json.get("features").and_then(Value::as_object) else {
            return fail("features is missing".to_owned());
        };
        let features = features
            .iter()
            .map(|(key, value)| Feature::parse(key, value));
        let features = features
            .collect::<Result<_, String>>()
            .map_err(|e| Error::malformed(path, e))?;
        let count = |key: &str| json.get(key).and_then(Value::as_u64).unwrap_or(0);
        Ok(Self {
            fps: fps as f32,
            total_episodes: count("total_episodes"),
            total_frames: count("total_frames"),
            data_path,
            features,
        })
    }

    pub(super) fn feature(&self, key: &str) -> Option<&Feature> {
        self.features.iter().find(|feature| feature.key == key)
    }
}

impl Feature {
    fn parse(key: &str, value: &Value) -> Result<Self, String> {
        let dtype = value.get("dtype").and_then(Value::as_str);
        let shape = value.get("shape").and_then(Value::as_array);
        let shape: Option<Vec<u64>> =
            shape.and_then(|shape| shape.iter().map(Value::as_u64).collect());
        match (dtype, shape) {
            (Some(dtype), Some(shape)) => Ok(Self {
                key: key.to_owned(),
                dtype: dtype.to_owned(),
                shape,
                names: value.get("names").cloned().unwrap_or(Value::Null),
            }),
            _ => Err(format!("feature {} needs a dtype and a shape", short(key))),
        }
    }

    /// Components of a vector.
    pub(super) fn dim(&self) -> Result<usize, String> {
        match self.shape.as_slice() {
            [dim @ 1..=MAX_COMPONENTS] => Ok(*dim as usize),
            shape => Err(format!(
                "{} has shape {shape:?}, one dimension of 1 to {MAX_COMPONENTS} is expected",
                self.key
            )),
        }
    }

    /// `[width, height]` of a picture, `None` when it has not three channels.
    pub(super) fn picture_size(&self) -> Option<[u32; 2]> {
        let side = |v: u64| u32::try_from(v).ok().filter(|v| *v > 0);
        match self.shape.as_slice() {
            [height, width, 3] => Some([side(*width)?, side(*height)?]),
            [3, height, width] => Some([side(*width)?, side(*height)?]),
            _ => None,
        }
    }

    /// One name a component: the list that the dataset gives, alone or under one or more headings (`motors`), else
    /// `action[0]`…
    pub(super) fn component_names(&self, dim: usize) -> Vec<String> {
        let strings = |list: &Value| -> Option<Vec<String>> {
            list.as_array()?
                .iter()
                .map(|name| name.as_str().map(str::to_owned))
                .collect()
        };
        let given = match &self.names {
            Value::Object(groups) => groups
                .values()
                .map(strings)
                .collect::<Option<Vec<_>>>()
                .map(|lists| lists.concat()),
            list => strings(list),
        };
        given
            .filter(|names| names.len() == dim)
            .unwrap_or_else(|| crate::dataset::numbered(&self.key, dim))
    }
}

/// A path with numbers to fill in: `data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet`.
pub(super) struct Template {
    parts: Vec<Part>,
}

enum Part {
    Text(String),
    Number {
        is_chunk: bool,
        width: usize,
    },
    /// The camera of a video path.
    VideoKey,
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > 4096 {
            return Err("is longer than 4096 bytes".to_owned());
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (field, after) = after
                .split_once('}')
                .ok_or("has a brace that is not closed")?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::parse(field)?);
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { parts })
    }

    /// The path of a file, relative to the dataset and never leaving it.
    pub(super) fn fill(&self, chunk: u64, file: u64) -> Result<PathBuf, String> {
        let mut path = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::Number { is_chunk, width } => {
                    let number = if *is_chunk { chunk } else { file };
                    path.push_str(&format!("{number:0width$}"));
                }
                Part::VideoKey => path.push_str("video"),
            }
        }
        let path = PathBuf::from(path);
        let is_inside = path.components().all(|c| matches!(c, Component::Normal(_)));
        if is_inside && path.components().next().is_some() {
            Ok(path)
        } else {
            Err("leads out of the dataset".to_owned())
        }
    }
}

impl Part {
    fn parse(field: &str) -> Result<Self, String> {
        let (name, format) = field.split_once(':').unwrap_or((field, ""));
        let digits = format.strip_suffix('d').unwrap_or(format);
        let width = match digits {
            "" => 0,
            digits => digits
                .parse()
                .ok()
                .filter(|width| *width <= MAX_WIDTH)
                .ok_or_else(|| {
                    format!(
                        "pads {} to an unreasonable width, at most {MAX_WIDTH} digits are",
                        short(name)
                    )
                })?,
        };
        match name {
            "chunk_index" => Ok(Self::Number {
                is_chunk: true,
                width,
            }),
            "file_index" => Ok(Self::Number {
                is_chunk: false,
                width,
            }),
            "video_key" => Ok(Self::VideoKey),
            _ => Err(format!("has an unknown field {}", short(name))),
        }
    }
}

/// A stranger's text, cut to a length that fits a message.
fn short(text: &str) -> String {
    let cut: String = text.chars().take(60).collect();
    if cut.len() < text.len() {
        format!("{cut:?}…")
    } else {
        format!("{cut:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_fill_and_stay_inside() {
        let fill = |text: &str| Template::parse(text).and_then(|t| t.fill(2, 17));
        assert_eq!(
            fill(super::super::DATA_PATH).unwrap(),
            Path::new("data/chunk-002/file-017.parquet")
        );
        assert_eq!(
            fill("a{file_index}.parquet").unwrap(),
            Path::new("a17.parquet")
        );
        for bad in [
            "../a",
            "/a",
            "data/{chunk_index:03d}/../../../b",
            "",
            "{file_index:0999999999d}",
            "{x}",
            "{file_index",
        ] {
            assert!(fill(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_come_from_a_list_or_its_groups() {
        let names = |names: Value| {
            Feature {
                key: "action".into(),
                dtype: String::new(),
                shape: vec![2],
                names,
            }
            .component_names(2)
        };
        assert_eq!(names(serde_json::json!(["x", "y"])), ["x", "y"]);
        assert_eq!(names(serde_json::json!({"motors": ["x", "y"]})), ["x", "y"]);
        assert_eq!(
            names(serde_json::json!({"arm": ["x"], "hand": ["y"]})),
            ["x", "y"]
        );
        assert_eq!(names(serde_json::json!(["x"])), ["action[0]", "action[1]"]);
        assert_eq!(names(Value::Null), ["action[0]", "action[1]"]);
    }
}
