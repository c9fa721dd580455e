//! What the tests that cross crates share; they lie beside `Cargo.toml`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The built program.
///
/// # Panics
/// When it was not built.
#[allow(clippy::panic, clippy::expect_used, reason = "only tests call this")]
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let found = test
        .ancestors()
        .map(|folder| folder.join(format!("gazelab{}", std::env::consts::EXE_SUFFIX)))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("there is no program; run cargo build --release first"))
}

/// A file or folder of the reference data beside the checkout (`GAZELAB_SHARED`, default `../shared`). When it is not
/// there this says so, and the test goes without.
pub fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("GAZELAB_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let path = root.join(name);
    let is_there = path.exists();
    if !is_there {
        eprintln!("not found, skipped: {}", path.display());
    }
    is_there.then_some(path)
}

/// The program with these arguments, words separated by spaces, without a desktop.
pub fn command(arguments: &str) -> Command {
    let mut command = Command::new(program());
    command.args(arguments.split(' '));
    for variable in ["DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR"] {
        command.env_remove(variable);
    }
    command
}

/// What a finished program left.
#[derive(Debug)]
pub struct Ran {
    /// Whether it ended with 0.
    pub success: bool,
    /// What it said.
    pub out: String,
    /// What it warned of.
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            success: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs the program to its end.
///
/// # Panics
/// When it cannot be started.
#[allow(clippy::expect_used, reason = "only tests call this")]
pub fn run(arguments: &str) -> Ran {
    let output = command(arguments).output();
    output.expect("the program starts").into()
}

impl Ran {
    /// Its output, if it succeeded.
    ///
    /// # Panics
    /// When it failed.
    pub fn ok(self) -> String {
        assert!(self.success && !self.err.contains("panicked"), "{self:?}");
        self.out
    }

    /// The one JSON document that it printed.
    ///
    /// # Panics
    /// When it failed or printed something else.
    #[allow(clippy::expect_used, reason = "only tests call this")]
    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).expect("one JSON document")
    }

    /// It failed as it should: nothing printed, and one line `error: …`, which is returned.
    ///
    /// # Panics
    /// When it did not.
    pub fn failed(self) -> String {
        let line = self.err.trim_end();
        assert!(!self.success, "it succeeded: {self:?}");
        assert!(self.out.is_empty(), "it printed: {self:?}");
        assert!(
            line.starts_with("error: ") && line.lines().count() == 1 && !line.contains("panicked"),
            "{self:?}"
        );
        line.to_owned()
    }

    /// It [`failed`](Self::failed), and its line ends in `path` or something below it.
    ///
    /// # Panics
    /// When it did not.
    pub fn refused(self, path: impl AsRef<Path>) -> String {
        let line = self.failed();
        let path = path.as_ref().display().to_string();
        let last = line.rsplit(": ").next().unwrap_or_default();
        let below = last.strip_prefix(&path);
        assert!(
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            "{line:?} does not end in {path}"
        );
        line
    }
}
