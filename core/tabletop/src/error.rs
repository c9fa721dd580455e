/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong; the simulation itself cannot fail.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A word that names no suite.
    #[error("no such suite, there are object, spatial and goal: {0}")]
    Suite(String),
    /// A word that names no environment.
    #[error("no such environment, there are A, B, C and D: {0}")]
    Environment(String),
    /// A `tabletop:` address that cannot be read.
    #[error("{reason}, expected e.g. tabletop:object+goal?episodes=600&env=A&seed=1: {spec}")]
    Spec {
        /// What is wrong.
        reason: String,
        /// The whole address.
        spec: String,
    },
    /// Reading or writing a dataset failed.
    #[error(transparent)]
    Dataset(#[from] episode::Error),
    /// The caller's progress function asked to stop; nothing was left behind.
    #[error("recording was cancelled")]
    Cancelled,
}
