//! The files that ship with the program: demo recording, demo model, example sessions.

use std::path::{Path, PathBuf};

/// Names the folder of assets when it lies somewhere else.
pub const VARIABLE: &str = "GAZELAB_ASSETS";

/// The built-in demo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demo {
    /// A tabletop recording.
    pub recording: PathBuf,
    /// A small model trained on such recordings; none when only the recording ships.
    pub model: Option<PathBuf>,
}

/// The folder of assets: `GAZELAB_ASSETS`, or `assets` beside the executable or above it, or in the source tree.
pub fn folder() -> Option<PathBuf> {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let executable = std::env::current_exe().ok();
    let beside = executable.iter().flat_map(|exe| {
        exe.ancestors()
            .skip(1)
            .take(4)
            .map(|dir| dir.join("assets"))
    });
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(|house| house.join("assets"));
    named
        .into_iter()
        .chain(beside)
        .chain(source)
        .find(|dir| dir.join("demo").is_dir() || dir.join("fonts").is_dir())
}

/// The demo, when it ships with this program.
pub fn demo() -> Option<Demo> {
    let dir = folder()?.join("demo");
    let existing = |path: PathBuf| path.exists().then_some(path);
    Some(Demo {
        recording: existing(dir.join("recording"))?,
        model: existing(dir.join("model")),
    })
}

/// A picture for a card of the welcome screen, by the card's name.
pub fn card_picture(name: &str) -> Option<PathBuf> {
    let path = folder()?.join("demo").join(format!("{name}.png"));
    path.is_file().then_some(path)
}
