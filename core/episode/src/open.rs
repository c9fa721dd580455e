use crate::{Error, Result, SharedDataset, lerobot, rlds};
use std::fs;
use std::path::{Path, PathBuf};

/// How deep below the given folder a dataset is looked for: `bridge/bridge_dataset/1.0.0`.
const MAX_DEPTH: usize = 3;
/// Folders that are looked into.
const MAX_FOLDERS: usize = 256;
/// How many folders above the given path may be the dataset's: `meta/episodes/chunk-000/file-000.parquet`.
const MAX_ANCESTORS: usize = 4;

/// Files of an RLDS dataset beside its shards that stand for it.
const RLDS_DESCRIPTIONS: [&str; 2] = ["dataset_info.json", "features.json"];

/// A format and the folder in which it was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    LeRobot(PathBuf),
    Rlds(PathBuf),
}

impl Found {
    fn folder(&self) -> &Path {
        let (Self::LeRobot(folder) | Self::Rlds(folder)) = self;
        folder
    }

    fn open(&self) -> Result<SharedDataset> {
        let folder = fs::canonicalize(self.folder()).map_err(Error::io("open", self.folder()))?;
        match self {
            Self::LeRobot(_) => lerobot::open(&folder),
            Self::Rlds(_) => rlds::open(&folder),
        }
    }
}

/// Opens the dataset at `path`: its folder, a folder around it that holds no other, or a file or folder within.
///
/// # Errors
/// [`Error::Foreign`] when no dataset is recognised, with what was found instead; [`Error::Unsupported`] and
/// [`Error::Malformed`] when one is and cannot be read.
pub fn open(path: &Path) -> Result<SharedDataset> {
    let meta = fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::foreign(path, "there is nothing at this path"),
        _ => Error::io("open", path)(e),
    })?;
    if meta.is_dir() {
        if let Some(found) = recognise(path) {
            return found.open();
        }
        let mut below = search_below(path);
        below.sort_by(|a, b| a.folder().cmp(b.folder()));
        match below.as_slice() {
            [] => {}
            [one] => return one.open(),
            many => {
                let names = many.iter().take(6).map(|f| {
                    f.folder()
                        .strip_prefix(path)
                        .unwrap_or(f.folder())
                        .display()
                        .to_string()
                });
                let names = names.collect::<Vec<_>>().join(", ");
                let more = if many.len() > 6 { ", …" } else { "" };
                return Err(Error::foreign(
                    path,
                    format!("{} are inside, open one of them: {names}{more}", many.len()),
                ));
            }
        }
    }
    match search_above(path) {
        Some(found) => found.open(),
        None => Err(Error::foreign(path, hint(path, meta.is_dir()))),
    }
}

/// The dataset whose folder this is.
fn recognise(folder: &Path) -> Option<Found> {
    if folder.join("meta/info.json").is_file() {
        return Some(Found::LeRobot(folder.to_path_buf()));
    }
    let has_shards = || {
        let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.any(|entry| entry.file_name().to_str().is_some_and(rlds::is_shard))
    };
    has_shards().then(|| Found::Rlds(folder.to_path_buf()))
}

/// Datasets below a folder, breadth first, not following links.
fn search_below(folder: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    let mut level = vec![folder.to_path_buf()];
    let mut left = MAX_FOLDERS;
    for _ in 0..MAX_DEPTH {
        let mut next = Vec::new();
        for folder in &level {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
                if !is_folder || is_hidden || left == 0 {
                    continue;
                }
                left -= 1;
                match recognise(&entry.path()) {
                    Some(dataset) => found.push(dataset),
                    None => next.push(entry.path()),
                }
            }
        }
        level = next;
    }
    found
}

/// The dataset that a path lies in, by the folders that datasets have.
fn search_above(path: &Path) -> Option<Found> {
    let path = fs::canonicalize(path).ok()?;
    path.ancestors()
        .skip(1)
        .take(MAX_ANCESTORS)
        .find_map(|folder| {
            let found = recognise(folder)?;
            let inner = path.strip_prefix(folder).ok()?;
            let is_inside = match &found {
                Found::LeRobot(_) => ["meta", "data", "videos", "images"]
                    .iter()
                    .any(|name| inner.starts_with(name)),
                Found::Rlds(_) => inner
                    .to_str()
                    .is_some_and(|name| rlds::is_shard(name) || RLDS_DESCRIPTIONS.contains(&name)),
            };
            is_inside.then_some(found)
        })
}

/// What a path without a dataset holds instead.
fn hint(path: &Path, is_folder: bool) -> String {
    const READ: &str =
        "a LeRobotDataset v3.0 has meta/info.json, an RLDS dataset has *.tfrecord files";
    let list = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .take(1000)
            .map(|entry| entry.path())
            .collect()
    };
    let mut names = if is_folder {
        list(path)
    } else {
        vec![path.to_path_buf()]
    };
    if is_folder {
        let below: Vec<PathBuf> = names
            .iter()
            .filter(|name| name.is_dir())
            .take(16)
            .flat_map(|name| list(name))
            .collect();
        names.extend(below);
    }
    let has = |extension: &str| {
        names.iter().any(|name| {
            name.extension()
                .is_some_and(|e| e.eq_ignore_ascii_case(extension))
        })
    };
    let other = if has("hdf5") || has("h5") {
        "HDF5 files are not supported yet"
    } else if has("npz") || has("npy") {
        "CALVIN's npz files are not supported yet"
    } else if names.is_empty() {
        "the folder is empty"
    } else if is_folder {
        "none of its files is known"
    } else {
        "the file is of no known kind"
    };
    format!("{other}; {READ}")
}
