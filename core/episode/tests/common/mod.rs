//! What several tests need.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    reason = "tests"
)]

pub mod tfrecord;

use std::path::{Path, PathBuf};

/// A file or folder of the shared test data; `None`, with a notice, where it is absent.
pub fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data")
        .join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("not found, skipped: {}", path.display());
    None
}

/// The error of something that must fail.
pub fn error<T>(result: Result<T, episode::Error>) -> String {
    result.err().expect("an error").to_string()
}
