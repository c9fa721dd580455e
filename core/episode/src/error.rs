use std::io;
use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a dataset. Messages name the reason first and the path last.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action}: {}", path.display())]
    Io {
        /// What was tried, e.g. `read`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file breaks the rules of its format; nothing of it is offered as sound.
    #[error("{reason}: {}", path.display())]
    Malformed {
        /// What is wrong and where in the file.
        reason: String,
        /// The file.
        path: PathBuf,
    },
    /// A sound file that this version cannot read.
    #[error("not supported yet: {reason}: {}", path.display())]
    Unsupported {
        /// What is missing.
        reason: String,
        /// The file or folder.
        path: PathBuf,
    },
    /// The path is no dataset of a known format.
    #[error("no dataset found ({hint}): {}", path.display())]
    Foreign {
        /// What was found instead and what would be accepted.
        hint: String,
        /// The path that was asked for.
        path: PathBuf,
    },
    /// An index beyond the end.
    #[error("{what} {index} does not exist, there are {len}: {}", path.display())]
    OutOfRange {
        /// `episode`, `step` or `camera`.
        what: &'static str,
        /// The index that was asked for.
        index: usize,
        /// How many there are.
        len: usize,
        /// The dataset.
        path: PathBuf,
    },
    /// A caller gave the writer something that does not fit its [`WriterSpec`](crate::lerobot::WriterSpec).
    #[error("cannot record: {reason}: {}", path.display())]
    Record {
        /// What does not fit.
        reason: String,
        /// The dataset being written.
        path: PathBuf,
    },
}

impl Error {
    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn malformed(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Malformed {
            reason: reason.into(),
            path: path.as_ref().to_path_buf(),
        }
    }

    pub(crate) fn unsupported(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Unsupported {
            reason: reason.into(),
            path: path.as_ref().to_path_buf(),
        }
    }

    pub(crate) fn foreign(path: impl AsRef<Path>, hint: impl Into<String>) -> Self {
        Self::Foreign {
            hint: hint.into(),
            path: path.as_ref().to_path_buf(),
        }
    }

    pub(crate) fn record(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::Record {
            reason: reason.into(),
            path: path.as_ref().to_path_buf(),
        }
    }

    /// The message with its cause, the path last: for warnings, which are text.
    pub(crate) fn in_one_line(&self) -> String {
        match self {
            Self::Io {
                action,
                path,
                source,
            } => format!("cannot {action}: {source}: {}", path.display()),
            other => other.to_string(),
        }
    }

    /// Checks an index against a length.
    pub(crate) fn check(what: &'static str, index: usize, len: usize, path: &Path) -> Result<()> {
        if index < len {
            Ok(())
        } else {
            Err(Self::OutOfRange {
                what,
                index,
                len,
                path: path.to_path_buf(),
            })
        }
    }
}
