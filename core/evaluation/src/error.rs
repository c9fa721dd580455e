use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in an evaluation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The policy was made for another robot or other cameras.
    #[error(
        "this policy cannot act in the tabletop benchmark: {0}; train one on `tabletop:…` data"
    )]
    Foreign(String),
    /// A number that makes no sense.
    #[error("cannot evaluate: {0}")]
    Spec(&'static str),
    /// The policy's output is not a number; its training has diverged.
    #[error("the policy's action is not a finite number")]
    NotFinite,
    /// The caller asked to stop.
    #[error("the evaluation was cancelled")]
    Cancelled,
    /// The model.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// A report could not be written.
    #[error("cannot write the report: {}", path.display())]
    Report {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
