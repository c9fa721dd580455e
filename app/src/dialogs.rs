//! File dialogs of the desktop, off the window's thread.

use std::path::PathBuf;

use poll_promise::Promise;

use crate::command::Command;

/// What a dialog asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// A dataset folder.
    Dataset,
    /// A run directory.
    Run,
    /// A capture file.
    Capture,
    /// A box file.
    Boxes,
    /// A session file.
    Session,
    /// Where to save the session.
    SaveSession {
        /// The name offered.
        name: String,
    },
    /// Where to write the figure.
    SaveFigure {
        /// The name offered.
        name: String,
    },
    /// A folder to watch for runs.
    RunFolder,
}

/// The open dialog, if any. One at a time, as with any desktop program.
#[derive(Default)]
pub struct Dialogs {
    open: Option<(Ask, Promise<Option<PathBuf>>)>,
}

impl Dialogs {
    /// Opens a dialog unless one is open already.
    pub fn ask(&mut self, ask: Ask, folder: Option<PathBuf>, repaint: egui::Context) {
        if self.open.is_some() {
            return;
        }
        let wanted = ask.clone();
        let promise = Promise::spawn_thread("dialog", move || {
            let path = choose(&wanted, folder);
            repaint.request_repaint();
            path
        });
        self.open = Some((ask, promise));
    }

    /// The command that the answer asks for, once there is one.
    pub fn poll(&mut self) -> Option<Command> {
        let (ask, promise) = self.open.take()?;
        match promise.try_take() {
            Err(promise) => {
                self.open = Some((ask, promise));
                None
            }
            Ok(path) => path.map(|path| match ask {
                Ask::Dataset | Ask::Run | Ask::Capture | Ask::Boxes | Ask::Session => Command::OpenPath(path),
                Ask::SaveSession { .. } => Command::SaveSessionTo(with_ending(path, "ron")),
                Ask::SaveFigure { .. } => Command::WriteFigure(with_ending(path, "pdf")),
                Ask::RunFolder => Command::AddRunFolder(path),
            }),
        }
    }
}

/// Dialogs do not add the ending of the filter by themselves.
fn with_ending(path: PathBuf, ending: &str) -> PathBuf {
    if path.extension().is_some() { path } else { path.with_extension(ending) }
}

fn choose(ask: &Ask, folder: Option<PathBuf>) -> Option<PathBuf> {
    let mut dialog = rfd::FileDialog::new();
    if let Some(folder) = folder {
        dialog = dialog.set_directory(folder);
    }
    match ask {
        Ask::Dataset => dialog.set_title("Open dataset").pick_folder(),
        Ask::Run => dialog.set_title("Open run").pick_folder(),
        Ask::RunFolder => dialog.set_title("Watch folder for runs").pick_folder(),
        Ask::Capture => {
            dialog.set_title("Open capture").add_filter("Attention capture", &["safetensors"]).pick_file()
        }
        Ask::Boxes => dialog.set_title("Open boxes").add_filter("Detector boxes", &["json"]).pick_file(),
        Ask::Session => dialog.set_title("Open session").add_filter("Session", &["ron"]).pick_file(),
        Ask::SaveSession { name } => {
            dialog.set_title("Save session").add_filter("Session", &["ron"]).set_file_name(name).save_file()
        }
        Ask::SaveFigure { name } => dialog
            .set_title("Export figure")
            .add_filter("PDF", &["pdf"])
            .add_filter("SVG", &["svg"])
            .add_filter("PNG", &["png"])
            .set_file_name(name)
            .save_file(),
    }
}
