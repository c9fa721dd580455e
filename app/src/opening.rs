//! From a path to what it is. The window and the command line open things here.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use episode::SharedDataset;
use episode::boxes::BoxFile;
use figure::Recipe;
use session::Session;
use training::RunDir;

use crate::capture_file::OpenCaptures;

/// What lies at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A trajectory dataset, or a file within one.
    Dataset,
    /// A training run.
    Run,
    /// The folder of one model.
    Model,
    /// An attention capture.
    Capture,
    /// A saved session.
    Session,
    /// Detector boxes.
    Boxes,
    /// The recipe of a figure.
    Figure,
}

impl Kind {
    /// What it is called, with its article.
    fn name(self) -> &'static str {
        match self {
            Self::Dataset => "a dataset",
            Self::Run => "a run",
            Self::Model => "a model",
            Self::Capture => "a capture",
            Self::Session => "a session",
            Self::Boxes => "a box file",
            Self::Figure => "a figure",
        }
    }
}

/// Something opened.
pub enum Opened {
    /// A dataset and the box file beside it.
    Dataset(Box<DatasetWithBoxes>),
    /// A run and its checkpoints so far.
    Run(RunDir, Vec<(u64, PathBuf)>),
    /// The folder of one model; the inspector loads it.
    Model(PathBuf),
    /// A capture file.
    Capture(PathBuf, Arc<OpenCaptures>),
    /// A session.
    Session(PathBuf, Box<Session>),
    /// A box file; it is read against the dataset it belongs to.
    Boxes(PathBuf),
    /// The recipe of a figure.
    Figure(Box<Recipe>),
}

/// A dataset and the box file that belongs to it.
pub struct DatasetWithBoxes {
    /// The reader.
    pub data: SharedDataset,
    /// Path or `tabletop:` specification.
    pub origin: String,
    /// Where a box file was found beside it, readable or not.
    pub boxes_beside: Option<PathBuf>,
    /// What it holds.
    pub boxes: Option<(PathBuf, Arc<BoxFile>)>,
    /// Why the box file beside it could not be read.
    pub boxes_error: Option<anyhow::Error>,
}

/// Looks at a path without reading much of it.
///
/// # Errors
/// When nothing is there.
pub fn sniff(path: &Path) -> anyhow::Result<Kind> {
    let metadata =
        fs::metadata(path).with_context(|| format!("cannot open: {}", path.display()))?;
    if metadata.is_dir() {
        return Ok(if RunDir::is_run(path) {
            Kind::Run
        } else if is_model(path) {
            Kind::Model
        } else {
            Kind::Dataset
        });
    }
    let ends_in = |end: &str| {
        path.extension()
            .is_some_and(|e| e.eq_ignore_ascii_case(end))
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    Ok(if path.file_name().is_some_and(|name| name == "run.ron") {
        Kind::Run
    } else if ends_in("ron") && Recipe::is_recipe(path) {
        Kind::Figure
    } else if Session::is_session(path) {
        Kind::Session
    } else if grounding::attncap::is_attncap(path) {
        Kind::Capture
    } else if ends_in("safetensors") && is_model(folder) {
        Kind::Model
    } else if ends_in("json") && is_boxes(path) {
        Kind::Boxes
    } else if ends_in("safetensors") {
        // Reading it says what is wrong with it.
        Kind::Capture
    } else {
        Kind::Dataset
    })
}

/// Whether the file begins like one of the two layouts of box files: ours, or a list of detections.
fn is_boxes(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(256).read_to_end(&mut start));
    let text = String::from_utf8_lossy(&start);
    read.is_ok() && (text.contains("gazelab-boxes/") || text.trim_start().starts_with('['))
}

fn is_model(folder: &Path) -> bool {
    folder.join("model.json").is_file() && folder.join("model.safetensors").is_file()
}

/// Opens whatever lies at a path. A long file is given up once `cancel` is set.
///
/// # Errors
/// When nothing is there or it is unsound; the message ends in the path.
pub fn open(path: &Path, cancel: &AtomicBool) -> anyhow::Result<Opened> {
    let kind = sniff(path)?;
    open_kind(path, kind, cancel)
}

/// Opens what lies at a path if it is `wanted`: what a session names must not be another session.
///
/// # Errors
/// As [`open`], and when it is something else.
pub fn open_only(path: &Path, wanted: Kind, cancel: &AtomicBool) -> anyhow::Result<Opened> {
    let kind = sniff(path)?;
    anyhow::ensure!(
        kind == wanted,
        "{} was expected, this is {}: {}",
        wanted.name(),
        kind.name(),
        path.display()
    );
    open_kind(path, kind, cancel)
}

fn open_kind(path: &Path, kind: Kind, cancel: &AtomicBool) -> anyhow::Result<Opened> {
    // A bare file name has no folder before it is seen from the root.
    let path = &absolute(path);
    let folder_of_file = || {
        if path.is_file() {
            path.parent().unwrap_or(Path::new(".")).to_owned()
        } else {
            path.to_owned()
        }
    };
    Ok(match kind {
        Kind::Dataset => Opened::Dataset(Box::new(open_dataset(&path.to_string_lossy())?)),
        Kind::Run => open_run(&folder_of_file())?,
        Kind::Model => Opened::Model(folder_of_file()),
        Kind::Capture => Opened::Capture(path.clone(), Arc::new(OpenCaptures::read(path, cancel)?)),
        Kind::Session => Opened::Session(path.clone(), Box::new(Session::load(path)?)),
        Kind::Boxes => Opened::Boxes(path.clone()),
        Kind::Figure => Opened::Figure(Box::new(Recipe::load(path)?)),
    })
}

/// Opens a dataset by path or `tabletop:` specification, with the box file beside it.
///
/// # Errors
/// When it is no dataset. A box file that cannot be read is not an error of the dataset; it is told beside it.
pub fn open_dataset(origin: &str) -> anyhow::Result<DatasetWithBoxes> {
    let data = tabletop::open(origin)?;
    let mut found = None;
    let mut boxes_error = None;
    // The named folder may be one around the dataset's own.
    let folders = [Path::new(origin), data.info().path.as_path()];
    let boxes_beside = (!episode::is_specification(origin))
        .then(|| folders.into_iter().find_map(BoxFile::beside))
        .flatten();
    if let Some(path) = &boxes_beside {
        match BoxFile::load(path, data.as_ref()) {
            Ok(boxes) => found = Some((path.clone(), Arc::new(boxes))),
            Err(error) => boxes_error = Some(error.into()),
        }
    }
    Ok(DatasetWithBoxes {
        data,
        origin: origin.to_owned(),
        boxes_beside,
        boxes: found,
        boxes_error,
    })
}

/// Opens a run directory.
///
/// # Errors
/// When it is none, or its `run.ron` is unsound.
pub fn open_run(dir: &Path) -> anyhow::Result<Opened> {
    let run = RunDir::open(&absolute(dir))?;
    let checkpoints = run.checkpoints()?;
    Ok(Opened::Run(run, checkpoints))
}

/// The path from the root, so that it means the same wherever it is read again.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_known_by_their_look() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        assert!(
            sniff(&at("missing"))
                .unwrap_err()
                .to_string()
                .ends_with("missing")
        );
        fs::create_dir(at("run")).unwrap();
        fs::write(at("run/run.ron"), "()").unwrap();
        assert_eq!(sniff(&at("run")).unwrap(), Kind::Run);
        assert_eq!(sniff(&at("run/run.ron")).unwrap(), Kind::Run);
        fs::create_dir(at("model")).unwrap();
        fs::write(at("model/model.json"), "{}").unwrap();
        fs::write(at("model/model.safetensors"), "").unwrap();
        assert_eq!(sniff(&at("model")).unwrap(), Kind::Model);
        assert_eq!(sniff(&at("model/model.safetensors")).unwrap(), Kind::Model);
        fs::write(at("pilot.ron"), "(version: 1)").unwrap();
        assert_eq!(sniff(&at("pilot.ron")).unwrap(), Kind::Session);
        fs::write(
            at("figure.ron"),
            "(version: 1, columns: [()], frames: [()])",
        )
        .unwrap();
        assert_eq!(sniff(&at("figure.ron")).unwrap(), Kind::Figure);
        assert_eq!(sniff(dir.path()).unwrap(), Kind::Dataset);
    }

    #[test]
    fn foreign_files_are_errors_that_name_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        fs::write(&path, b"junk").unwrap();
        let error = format!("{:#}", open(&path, &AtomicBool::new(false)).err().unwrap());
        assert!(error.ends_with("x.safetensors"), "{error}");
    }

    #[test]
    fn boxes_are_found_in_the_datasets_own_folder_too() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("outer/recordings/inner");
        let spec = episode::lerobot::WriterSpec {
            fps: 5,
            robot_type: "gripper".into(),
            cameras: vec![episode::CameraInfo {
                name: "top".into(),
                width: 20,
                height: 10,
            }],
            mask_cameras: Vec::new(),
            action_names: vec!["x".into()],
            state_names: Vec::new(),
        };
        fs::create_dir_all(inner.parent().unwrap()).unwrap();
        let mut writer = episode::lerobot::Writer::create(&inner, spec).unwrap();
        writer
            .push_frame(&episode::lerobot::Frame {
                images: &[episode::Image::filled(20, 10, [1, 2, 3])],
                masks: &[],
                state: &[],
                action: &[0.5],
            })
            .unwrap();
        writer.end_episode("push").unwrap();
        writer.finish().unwrap();
        let boxes = inner.join("gazelab_boxes.json");
        fs::write(&boxes, "broken").unwrap();
        for folder in [inner.clone(), dir.path().join("outer")] {
            let opened = open_dataset(&folder.to_string_lossy()).unwrap();
            let beside = opened.boxes_beside.as_deref();
            assert_eq!(beside, Some(boxes.as_path()), "{}", folder.display());
            assert!(opened.boxes_error.is_some());
        }
    }

    #[test]
    fn only_what_was_asked_for_is_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("again.ron");
        fs::write(&path, "(version: 1)").unwrap();
        let error = open_only(&path, Kind::Capture, &AtomicBool::new(false));
        let error = error.err().unwrap().to_string();
        assert!(
            error.contains("a capture was expected, this is a session"),
            "{error}"
        );
    }
}
