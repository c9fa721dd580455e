use crate::{Error, Result, SharedDataset, lerobot};
use std::path::Path;

/// Opens the dataset at `path`.
pub fn open(path: &Path) -> Result<SharedDataset> {
    if path.join("meta/info.json").is_file() {
        return lerobot::open(path);
    }
    Err(Error::foreign(path, "readers follow"))
}
