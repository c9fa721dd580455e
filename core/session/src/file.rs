//! The session file.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use grounding::HeadSelection;
use serde::{Deserialize, Serialize};

use crate::{MapChoice, Overlay};

/// The version this program writes. It reads this version and all before it.
pub const FORMAT_VERSION: u32 = 1;

/// A session is text written by hand or by this program; anything larger is another kind of file.
const MAX_BYTES: u64 = 8 << 20;

/// Why a session could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read or written.
    #[error("cannot {verb} the session: {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is too large to be a session.
    #[error("not a session, it is larger than {} MiB: {}", MAX_BYTES >> 20, path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a session in RON.
    #[error("not a session, line {line}, column {column}: {}", path.display())]
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
    /// The session was written by a later version of the program.
    #[error(
        "the session has format version {found}, this program knows versions up to {FORMAT_VERSION}; \
         open it with a newer Gazelab, or save under another name: {}", path.display()
    )]
    Newer {
        /// The file, untouched.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The session could not be put into RON.
    #[error("cannot write the session as RON: {}", path.display())]
    Encode {
        /// The file that was to be written.
        path: PathBuf,
        /// The cause.
        source: ron::Error,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Where captures come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceRef {
    /// No attention is shown.
    #[default]
    Nothing,
    /// An `attncap/1` file.
    Capture(PathBuf),
    /// One checkpoint folder of a model.
    Checkpoint(PathBuf),
    /// A training run, at one of its checkpoints.
    Run {
        /// The run directory.
        dir: PathBuf,
        /// The training step looked at; none for the latest.
        step: Option<u64>,
    },
}

/// A saved place in the work.
///
/// In the file, relative paths are taken from the folder of the session file; in memory, after [`Session::load`], they
/// are joined with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Version of the format, see [`FORMAT_VERSION`].
    pub version: u32,
    /// A name for the title bar; empty for the file's name.
    #[serde(default)]
    pub name: String,
    /// The open dataset: a path, or a `tabletop:` specification.
    #[serde(default)]
    pub dataset: Option<String>,
    /// A box file other than the one beside the dataset.
    #[serde(default)]
    pub boxes: Option<PathBuf>,
    /// Where captures come from.
    #[serde(default)]
    pub source: SourceRef,
    /// Whether the view follows the latest checkpoint of a run that is still training.
    #[serde(default)]
    pub follow: bool,
    /// Episode index.
    #[serde(default)]
    pub episode: usize,
    /// Step within the episode.
    #[serde(default)]
    pub step: usize,
    /// Camera index.
    #[serde(default)]
    pub camera: usize,
    /// Every threshold from attention to mask.
    #[serde(default)]
    pub selection: HeadSelection,
    /// Another selection that is measured beside it.
    #[serde(default)]
    pub beside: Option<HeadSelection>,
    /// Which map is shown.
    #[serde(default)]
    pub map: MapChoice,
    /// What is painted.
    #[serde(default)]
    pub overlay: Overlay,
    /// The figure under construction.
    #[serde(default)]
    pub figure: Option<figure::Recipe>,
    /// Folders watched for runs.
    #[serde(default)]
    pub run_folders: Vec<PathBuf>,
    /// The window's pane layout, in the window's own versioned notation; none for the default layout.
    #[serde(default)]
    pub layout: Option<String>,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            version: FORMAT_VERSION,
            name: String::new(),
            dataset: None,
            boxes: None,
            source: SourceRef::default(),
            follow: false,
            episode: 0,
            step: 0,
            camera: 0,
            selection: HeadSelection::default(),
            beside: None,
            map: MapChoice::default(),
            overlay: Overlay::default(),
            figure: None,
            run_folders: Vec::new(),
            layout: None,
        }
    }
}

#[derive(Deserialize)]
struct Header {
    version: u32,
}

fn options() -> ron::Options {
    ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME)
}

impl Session {
    /// Whether a path names a session file, by its ending.
    pub fn is_session(path: &Path) -> bool {
        path.extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("ron"))
    }

    /// Reads a session.
    ///
    /// # Errors
    /// When the file is missing, too large, not a session, or from a newer version. The file is never changed.
    pub fn load(path: &Path) -> Result<Self> {
        let text = read(path)?;
        let version = version_of(&text, path)?;
        if version > FORMAT_VERSION {
            return Err(Error::Newer {
                path: path.to_owned(),
                found: version,
            });
        }
        let mut session: Self = options().from_str(&text).map_err(|e| syntax(path, e))?;
        session.version = FORMAT_VERSION;
        if let Some(folder) = path.parent() {
            session.join(folder);
        }
        Ok(session)
    }

    /// Writes the session, whole or not at all: to a temporary file beside it, which then takes its name.
    ///
    /// # Errors
    /// When the folder cannot be written to, or when the file exists and was written by a newer version, which would
    /// lose what this version does not know.
    pub fn save(&self, path: &Path) -> Result<()> {
        let io = |source| Error::Io {
            verb: "write",
            path: path.to_owned(),
            source,
        };
        if path.exists()
            && let Ok(text) = read(path)
            && let Ok(found) = version_of(&text, path)
            && found > FORMAT_VERSION
        {
            return Err(Error::Newer {
                path: path.to_owned(),
                found,
            });
        }
        let pretty =
            ron::ser::PrettyConfig::new().extensions(ron::extensions::Extensions::IMPLICIT_SOME);
        let mut text = ron::Options::default()
            .to_string_pretty(self, pretty)
            .map_err(|source| Error::Encode {
                path: path.to_owned(),
                source,
            })?;
        text.push('\n');
        let folder = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(io)?;
        let mut file = tempfile::Builder::new()
            .prefix(".session-")
            .tempfile_in(folder)
            .map_err(io)?;
        file.write_all(text.as_bytes()).map_err(io)?;
        file.as_file().sync_all().map_err(io)?;
        file.persist(path).map_err(|e| io(e.error))?;
        Ok(())
    }

    /// Makes relative paths absolute from `folder`.
    fn join(&mut self, folder: &Path) {
        let join = |p: &mut PathBuf| {
            if p.is_relative() {
                *p = folder.join(&*p);
            }
        };
        if let Some(dataset) = &mut self.dataset
            && !figure::is_specification(dataset)
            && Path::new(dataset.as_str()).is_relative()
        {
            *dataset = folder.join(&*dataset).to_string_lossy().into_owned();
        }
        if let Some(figure) = &mut self.figure {
            figure.join(folder);
        }
        self.boxes.iter_mut().for_each(join);
        self.run_folders.iter_mut().for_each(join);
        match &mut self.source {
            SourceRef::Nothing => {}
            SourceRef::Capture(path)
            | SourceRef::Checkpoint(path)
            | SourceRef::Run { dir: path, .. } => join(path),
        }
    }
}

fn read(path: &Path) -> Result<String> {
    let io = |source| Error::Io {
        verb: "read",
        path: path.to_owned(),
        source,
    };
    // Asked before opening: opening a named pipe would wait for ever.
    let meta = fs::metadata(path).map_err(io)?;
    if !meta.is_file() {
        return Err(io(io::Error::other("not a regular file")));
    }
    if meta.len() > MAX_BYTES {
        return Err(Error::TooLarge {
            path: path.to_owned(),
        });
    }
    let file = fs::File::open(path).map_err(io)?;
    let mut text = String::new();
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

/// The version alone, so that a newer file is recognised even where the rest of it cannot be read.
fn version_of(text: &str, path: &Path) -> Result<u32> {
    options()
        .from_str::<Header>(text)
        .map(|h| h.version)
        .map_err(|e| syntax(path, e))
}

fn syntax(path: &Path, error: ron::error::SpannedError) -> Error {
    Error::Syntax {
        path: path.to_owned(),
        line: error.span.start.line,
        column: error.span.start.col,
        source: error.code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/pilot.ron");
        let session = Session {
            name: "Pilot".into(),
            dataset: Some("tabletop:spatial?episodes=2&env=A&seed=1".into()),
            source: SourceRef::Run {
                dir: dir.path().join("run"),
                step: Some(500),
            },
            episode: 3,
            figure: Some(figure::Recipe::default()),
            layout: Some("(version: 1)".into()),
            ..Session::default()
        };
        session.save(&path).unwrap();
        assert_eq!(Session::load(&path).unwrap(), session);
        // Nothing but the session is left behind.
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn minimal_file_is_enough_and_paths_start_at_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.ron");
        fs::write(
            &path,
            r#"(version: 1, dataset: "demo/recording", source: Checkpoint("m"))"#,
        )
        .unwrap();
        let session = Session::load(&path).unwrap();
        assert_eq!(
            session.dataset.as_deref(),
            dir.path().join("demo/recording").to_str()
        );
        assert_eq!(session.source, SourceRef::Checkpoint(dir.path().join("m")));
        assert_eq!(session.selection, HeadSelection::default());
    }

    #[test]
    fn paths_of_the_figure_start_at_the_file_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.ron");
        fs::write(
            &path,
            r#"(version: 1, figure: Some((
                boxes: Some("b.json"),
                arms: [(look: Checkpoint("m"))],
                frames: [(dataset: "demo", captures: Some("c.attncap")), (dataset: "tabletop:goal")],
            )))"#,
        )
        .unwrap();
        let figure = Session::load(&path).unwrap().figure.unwrap();
        let at = |name: &str| dir.path().join(name);
        assert_eq!(figure.boxes, Some(at("b.json")));
        assert_eq!(figure.arms[0].look, figure::Look::Checkpoint(at("m")));
        assert_eq!(Path::new(&figure.frames[0].dataset), at("demo"));
        assert_eq!(figure.frames[0].captures, Some(at("c.attncap")));
        assert_eq!(figure.frames[1].dataset, "tabletop:goal");
    }

    #[cfg(unix)]
    #[test]
    fn a_named_pipe_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.ron");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        assert!(matches!(Session::load(&path), Err(Error::Io { .. })));
    }

    #[test]
    fn example_sessions_load() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sessions");
        for name in ["welcome.ron", "pilot.ron"] {
            let session = Session::load(&folder.join(name)).unwrap();
            assert!(
                session
                    .dataset
                    .is_some_and(|dataset| !dataset.starts_with("..")),
                "{name}"
            );
        }
    }

    #[test]
    fn newer_version_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.ron");
        let text = "(version: 99, dataset: 7, hologram: Spinning(speed: 3.5, at: [1, 2]))";
        fs::write(&path, text).unwrap();
        assert!(matches!(
            Session::load(&path),
            Err(Error::Newer { found: 99, .. })
        ));
        assert!(matches!(
            Session::default().save(&path),
            Err(Error::Newer { found: 99, .. })
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn foreign_bytes_are_an_error_that_ends_in_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.ron");
        for bytes in [
            &b""[..],
            b"(",
            b"[1,2]",
            b"(version: -1)",
            b"(version: 1, episode: \"x\")",
            b"\xff\xfe",
        ] {
            fs::write(&path, bytes).unwrap();
            let error = Session::load(&path).unwrap_err().to_string();
            assert!(error.ends_with("s.ron"), "{error}");
        }
        assert!(Session::load(&dir.path().join("none.ron")).is_err());
    }
}
