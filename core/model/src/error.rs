//! What can go wrong in this crate.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Failure of building, feeding, loading or placing a model. The path, where there is one, comes last.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A [`VlaConfig`](crate::VlaConfig) or objective that describes no model.
    #[error("model configuration: {0}")]
    Config(String),
    /// Pictures, words or numbers that do not fit the model's configuration.
    #[error("model input: {0}")]
    Input(String),
    /// Text that names no size, objective or device.
    #[error("unknown {what} {given:?}, expected one of {expected}")]
    Unknown {
        /// What was to be named.
        what: &'static str,
        /// The text given.
        given: String,
        /// The names there are.
        expected: &'static str,
    },
    /// A file could not be read or written.
    #[error("cannot {action} model file: {path}")]
    Io {
        /// `read`, `write`.
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
        /// The file.
        path: PathBuf,
    },
    /// A file that is not what its name promises.
    #[error("not a usable model file, {reason}: {path}")]
    Format {
        /// What is wrong with it.
        reason: String,
        /// The file.
        path: PathBuf,
    },
    /// Weights that do not belong to the configuration beside them.
    #[error(
        "weights do not match the configuration{}: {path}",
        describe(missing, unused, mismatched)
    )]
    Weights {
        /// Parameters of the model that the file lacks.
        missing: Vec<String>,
        /// Tensors of the file that the model does not have.
        unused: Vec<String>,
        /// Tensors whose shape or type differs: `name (file [..], model [..])`.
        mismatched: Vec<String>,
        /// The file.
        path: PathBuf,
    },
    /// A GPU was asked for where there is none.
    #[error(
        "no usable GPU: {0}. Install a Vulkan, Metal or DirectX 12 driver, or choose the device `cpu`"
    )]
    NoGpu(String),
    /// Attention that `grounding` refuses.
    #[error("attention of the model")]
    Grounding(#[from] grounding::Error),
}

fn describe(missing: &[String], unused: &[String], mismatched: &[String]) -> String {
    let mut text = String::new();
    for (what, names) in [
        ("missing", missing),
        ("unused", unused),
        ("different shape", mismatched),
    ] {
        if names.is_empty() {
            continue;
        }
        // A wrong file can differ in hundreds of names; the first few say which file it is.
        let shown = names.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
        let more = names.len().saturating_sub(4);
        text.push_str(&format!("; {what}: {shown}"));
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
    }
    text
}
