use std::io;
use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of whoever supplies pictures and captures.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Why a figure cannot be made, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot {verb} the {what}: {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is too large to be a recipe.
    #[error("not a figure recipe, it is larger than {} KiB: {}", limit >> 10, path.display())]
    TooLarge {
        /// Largest size in bytes.
        limit: u64,
        /// The file.
        path: PathBuf,
    },
    /// The file is not a recipe in RON.
    #[error("not a figure recipe, line {line}, column {column}: {}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line of the first error, from 1.
        line: usize,
        /// Column of the first error, from 1.
        column: usize,
        /// The cause.
        source: ron::Error,
    },
    /// The recipe was written by a later version of the program.
    #[error(
        "the figure recipe has format version {found}, this program knows versions up to {known}; \
         use a newer Gazelab: {}", path.display()
    )]
    Newer {
        /// The file, untouched.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this program reads.
        known: u32,
    },
    /// A recipe could not be put into RON.
    #[error("cannot write the figure recipe as RON: {}", path.display())]
    Encode {
        /// The file that was to be written.
        path: PathBuf,
        /// The cause.
        source: ron::Error,
    },
    /// The recipe asks for something that cannot be set.
    #[error("the figure cannot be set: {0}")]
    Recipe(String),
    /// A frame of the figure could not be had.
    #[error("row {row} of the figure: {what}")]
    Frame {
        /// Row, from 1.
        row: usize,
        /// What was wanted.
        what: String,
        /// The cause.
        source: SourceError,
    },
    /// A row asks for something that its data does not have.
    #[error("row {row} of the figure: {what}")]
    Missing {
        /// Row, from 1.
        row: usize,
        /// What is missing, and what to do.
        what: String,
    },
    /// Heads could not be chosen for an arm.
    #[error("cannot choose the heads of arm {arm}")]
    Heads {
        /// The arm, from 1.
        arm: usize,
        /// The cause.
        source: grounding::Error,
    },
    /// The work was given up because the caller asked for it.
    #[error("cancelled")]
    Cancelled,
    /// The name of the file does not say which format is wanted.
    #[error("the name must end in .pdf, .svg or .png: {}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// A backend refused the figure.
    #[error("cannot render the figure as {format}: {reason}")]
    Render {
        /// SVG, PDF or PNG.
        format: &'static str,
        /// What it said.
        reason: String,
    },
}

impl Error {
    pub(crate) fn render(format: &'static str, reason: impl ToString) -> Self {
        Self::Render {
            format,
            reason: reason.to_string(),
        }
    }
}
