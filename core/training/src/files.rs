//! Files that are complete or absent, and RON that knows its version.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// RON files here are small; a larger one is not ours.
const MAX_RON_BYTES: u64 = 4 << 20;

/// Start of the name of a folder that is being filled or deleted.
const UNFINISHED: &str = ".unfinished-";
/// Start of the name of a file that is being written; the name it will have follows.
const WRITING: &str = ".writing-";

/// Replaces `path` by `bytes`: temporary file beside it, fsync, rename, fsync of the folder.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = parent(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let write = || -> io::Result<()> {
        let mut temp = tempfile::Builder::new()
            .prefix(&format!("{WRITING}{name}-"))
            .tempfile_in(folder)?;
        share(temp.as_file())?;
        temp.write_all(bytes)?;
        temp.as_file().sync_all()?;
        temp.persist(path).map_err(|error| error.error)?;
        sync_folder(folder)
    };
    write().map_err(Error::io("write the file", path))
}

/// Temporary files are private by default; files of a run are read by others of the group, say on a cluster.
#[cfg(unix)]
fn share(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn share(_file: &File) -> io::Result<()> {
    Ok(())
}

/// Makes the names in a folder durable. Only Unix can open a folder for that.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Makes a file's content durable.
pub(crate) fn sync_file(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A RON document with a `version` field.
pub(crate) trait Document: Serialize + DeserializeOwned {
    /// What the document is called in messages.
    const WHAT: &'static str;
    /// Newest version this program reads and the one it writes.
    const VERSION: u32;
}

/// Reads only the version, whatever else a newer program put beside it.
#[derive(serde::Deserialize)]
struct Version {
    #[serde(default)]
    version: u32,
}

/// Reads a document; a newer version is said to be newer, before its fields are looked at.
pub(crate) fn read_document<T: Document>(path: &Path) -> Result<T> {
    let text = read_text(path).map_err(Error::io("read the file", path))?;
    let ron_error = |source: ron::error::SpannedError| Error::Ron {
        what: T::WHAT,
        path: path.to_owned(),
        source: Box::new(source),
    };
    let Version { version } = ron::from_str(&text).map_err(ron_error)?;
    if version > T::VERSION {
        return Err(Error::Newer {
            found: version,
            known: T::VERSION,
            path: path.to_owned(),
        });
    }
    ron::from_str(&text).map_err(ron_error)
}

/// Writes a document atomically.
pub(crate) fn write_document<T: Document>(path: &Path, document: &T) -> Result<()> {
    let pretty = ron::ser::PrettyConfig::new()
        .struct_names(false)
        .compact_arrays(true);
    let mut text = ron::ser::to_string_pretty(document, pretty).map_err(|error| Error::Encode {
        what: T::WHAT,
        why: error.to_string(),
        path: path.to_owned(),
    })?;
    text.push('\n');
    write_atomic(path, text.as_bytes())
}

fn read_text(path: &Path) -> io::Result<String> {
    let size = fs::metadata(path)?.len();
    if size > MAX_RON_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{size} bytes are too many for such a file"),
        ));
    }
    fs::read_to_string(path)
}

/// Folders named `step-XXXXXXXX` in `folder`, oldest first. A missing folder holds none.
pub(crate) fn step_folders(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list the folder", folder)(error)),
    };
    let mut steps = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list the folder", folder))?;
        let name = entry.file_name();
        let step = name
            .to_str()
            .and_then(|name| name.strip_prefix("step-"))
            .and_then(|digits| digits.parse().ok());
        if let Some(step) = step {
            steps.push((step, entry.path()));
        }
    }
    steps.sort_unstable();
    Ok(steps)
}

/// `step-00000500`: sorts by step up to a hundred million.
pub(crate) fn step_name(step: u64) -> String {
    format!("step-{step:08}")
}

/// Fills a new folder `folder/name` out of sight and moves it into place when complete.
///
/// An existing folder of that name is replaced. If `fill` fails nothing is left behind.
pub(crate) fn write_folder(
    folder: &Path,
    name: &str,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    fs::create_dir_all(folder).map_err(Error::io("create the folder", folder))?;
    let temp = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(folder)
        .map_err(Error::io("create a temporary folder in", folder))?;
    fill(temp.path())?;
    sync_tree(temp.path()).map_err(Error::io("flush the folder", temp.path()))?;
    let target = folder.join(name);
    let place = || -> io::Result<()> {
        if target.exists() {
            fs::remove_dir_all(&target)?;
        }
        share_folder(temp.path())?;
        fs::rename(temp.path(), &target)?;
        sync_folder(folder)
    };
    place().map_err(Error::io("move the finished folder to", &target))?;
    // The folder has moved away under the guard; there is nothing left for it to delete.
    let _moved = temp.keep();
    Ok(target)
}

#[cfg(unix)]
fn share_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn share_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Deletes a folder so that it is there completely or not at all.
pub(crate) fn remove_folder(folder: &Path) -> Result<()> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let hidden = folder.with_file_name(format!("{UNFINISHED}{name}"));
    fs::rename(folder, &hidden)
        .and_then(|()| fs::remove_dir_all(&hidden))
        .map_err(Error::io("delete the folder", folder))
}

/// Deletes what a killed process left half written, but for what will be `foreign`, a file that others write as well.
/// Only the holder of the run's lock may call this.
pub(crate) fn remove_unfinished(folder: &Path, foreign: &str) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with(UNFINISHED) {
            fs::remove_dir_all(&path)
                .map_err(Error::io("delete the half-written folder", &path))?;
        } else if let Some(file) = name.strip_prefix(WRITING)
            && !file.starts_with(foreign)
        {
            fs::remove_file(&path).map_err(Error::io("delete the half-written file", &path))?;
        }
    }
    Ok(())
}

fn sync_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            sync_file(&entry.path())?;
        }
    }
    sync_folder(folder)
}
