//! Positioned reads of files that a stranger wrote.
//!
//! `pread` rather than a memory map: a dataset that is copied anew while it is open then gives an error, not a signal.

use crate::{Error, Result};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A regular file that several threads read at their own offsets.
pub(crate) struct Source {
    file: File,
    len: u64,
    path: PathBuf,
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        // Asked before opening: opening a named pipe would wait for ever.
        let meta = fs::metadata(path).map_err(Error::io("open", path))?;
        if !meta.is_file() {
            return Err(Error::malformed(path, "not a regular file"));
        }
        let file = File::open(path).map_err(Error::io("open", path))?;
        Ok(Self {
            file,
            len: meta.len(),
            path: path.to_path_buf(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buf` from `offset`.
    pub(crate) fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        #[cfg(unix)]
        {
            std::os::unix::fs::FileExt::read_exact_at(&self.file, buf, offset)
        }
        #[cfg(windows)]
        {
            let (mut buf, mut offset) = (buf, offset);
            while !buf.is_empty() {
                match std::os::windows::fs::FileExt::seek_read(&self.file, buf, offset)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    n => {
                        buf = &mut buf[n..];
                        offset += n as u64;
                    }
                }
            }
            Ok(())
        }
    }

    /// `len` bytes from `offset`; the range is compared with the file's size before memory is taken.
    pub(crate) fn bytes(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        if offset
            .checked_add(len as u64)
            .is_none_or(|end| end > self.len)
        {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{len} bytes from {offset} reach past the end, {}", self.len),
            ));
        }
        let mut bytes = vec![0; len];
        self.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// At most `len` bytes from `offset`, fewer at the end of the file.
    pub(crate) fn bytes_up_to(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let left = self.len.saturating_sub(offset);
        self.bytes(
            offset.min(self.len),
            usize::try_from(left).map_or(len, |left| left.min(len)),
        )
    }
}

/// A whole text file of at most `limit` bytes; checked to be UTF-8.
pub(crate) fn read_text(path: &Path, limit: u64) -> Result<String> {
    let meta = fs::metadata(path).map_err(Error::io("read", path))?;
    if !meta.is_file() {
        return Err(Error::malformed(path, "not a regular file"));
    }
    if meta.len() == 0 {
        return Err(Error::malformed(path, "the file is empty"));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(Error::io("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(Error::malformed(
            path,
            format!("larger than {} MiB", limit >> 20),
        ));
    }
    String::from_utf8(bytes).map_err(|e| {
        Error::malformed(
            path,
            format!("not UTF-8 at byte {}", e.utf8_error().valid_up_to()),
        )
    })
}

/// A whole JSON file of at most `limit` bytes.
pub(crate) fn read_json(path: &Path, limit: u64) -> Result<serde_json::Value> {
    let text = read_text(path, limit)?;
    serde_json::from_str(&text).map_err(|e| Error::malformed(path, format!("not JSON: {e}")))
}
