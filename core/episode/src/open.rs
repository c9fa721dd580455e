use crate::{Error, Result, SharedDataset, lerobot, rlds};
use std::fs::{self, DirEntry};
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
    // What could not be looked into; it matters when nothing is found elsewhere.
    let mut fault = None;
    if meta.is_dir() {
        if let Some(found) = recognise(path)? {
            return found.open();
        }
        let mut below = search_below(path, &mut fault)?;
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
    match (search_above(path, &mut fault), fault) {
        (Some(found), _) => found.open(),
        (None, Some(fault)) => Err(fault),
        (None, None) => Err(Error::foreign(path, hint(path, meta.is_dir())?)),
    }
}

/// What a folder holds.
fn list(folder: &Path) -> Result<impl Iterator<Item = Result<DirEntry>>> {
    let entries = fs::read_dir(folder).map_err(Error::io("list", folder))?;
    Ok(entries.map(move |entry| entry.map_err(Error::io("list", folder))))
}

/// The dataset whose folder this is.
fn recognise(folder: &Path) -> Result<Option<Found>> {
    if folder.join("meta/info.json").is_file() {
        return Ok(Some(Found::LeRobot(folder.to_path_buf())));
    }
    for entry in list(folder)? {
        if entry?.file_name().to_str().is_some_and(rlds::is_shard) {
            return Ok(Some(Found::Rlds(folder.to_path_buf())));
        }
    }
    Ok(None)
}

/// Datasets below a folder, breadth first, not following links. The first folder within that cannot be looked into is
/// the `fault`.
fn search_below(folder: &Path, fault: &mut Option<Error>) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut level = vec![folder.to_path_buf()];
    let mut left = MAX_FOLDERS;
    for _ in 0..MAX_DEPTH {
        let mut next = Vec::new();
        for folder in &level {
            for entry in list(folder)? {
                let entry = entry?;
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
                if !is_folder || is_hidden || left == 0 {
                    continue;
                }
                left -= 1;
                match recognise(&entry.path()) {
                    Ok(Some(dataset)) => found.push(dataset),
                    Ok(None) => next.push(entry.path()),
                    Err(error) => {
                        fault.get_or_insert(error);
                    }
                }
            }
        }
        level = next;
    }
    Ok(found)
}

/// The dataset that a path lies in, by the folders that datasets have.
fn search_above(path: &Path, fault: &mut Option<Error>) -> Option<Found> {
    let path = fs::canonicalize(path).ok()?;
    path.ancestors()
        .skip(1)
        .take(MAX_ANCESTORS)
        .find_map(|folder| {
            let found = match recognise(folder) {
                Ok(found) => found?,
                Err(error) => {
                    // A folder further up may be closed to us and have nothing to do with the path.
                    if path.parent() == Some(folder) {
                        fault.get_or_insert(error);
                    }
                    return None;
                }
            };
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
fn hint(path: &Path, is_folder: bool) -> Result<String> {
    const READ: &str =
        "a LeRobotDataset v3.0 has meta/info.json, an RLDS dataset has *.tfrecord files";
    let paths = |folder: &Path| -> Result<Vec<PathBuf>> {
        let entries = list(folder)?.take(1000);
        entries.map(|entry| Ok(entry?.path())).collect()
    };
    let mut names = vec![path.to_path_buf()];
    if is_folder {
        names = paths(path)?;
        let folders = names.iter().filter(|name| name.is_dir()).take(16);
        let below: Vec<Vec<PathBuf>> = folders.map(|name| paths(name)).collect::<Result<_>>()?;
        names.extend(below.into_iter().flatten());
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
    Ok(format!("{other}; {READ}"))
}
