//! Files are written whole or not at all.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use crate::{Error, Result};

/// Writes to a temporary file in the same folder, which then takes the name.
pub(crate) fn write(path: &Path, what: &'static str, bytes: &[u8]) -> Result<()> {
    let io = |source| Error::Io {
        verb: "write",
        what,
        path: path.to_owned(),
        source,
    };
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(io)?;
    let mut file = tempfile::Builder::new()
        .prefix(".figure-")
        .tempfile_in(folder)
        .map_err(io)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // Temporary files are private; a figure is as readable as any other file.
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(0o644))
            .map_err(io)?;
    }
    file.write_all(bytes).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    file.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}
