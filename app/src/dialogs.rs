//! File dialogs of the desktop, off the window's thread.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError, bounded};

use crate::command::Command;
use crate::worker::spawn_worker;

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
    /// The recipe of a figure.
    Figure,
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
    /// Anything that can be opened; asked for in the window only.
    Anything,
}

impl Ask {
    /// The command that an answer stands for.
    pub fn command(&self, path: PathBuf) -> Command {
        match self {
            Self::Dataset
            | Self::Run
            | Self::Capture
            | Self::Boxes
            | Self::Figure
            | Self::Session
            | Self::Anything => Command::OpenPath(path),
            Self::SaveSession { .. } => Command::SaveSessionTo(with_ending(path, "ron")),
            Self::SaveFigure { .. } => Command::WriteFigure(with_ending(path, "pdf")),
            Self::RunFolder => Command::AddRunFolder(path),
        }
    }

    /// What it asks for, as the title of a dialog.
    pub fn title(&self) -> &'static str {
        match self {
            Self::Dataset => "Open dataset",
            Self::Run => "Open run",
            Self::Capture => "Open capture",
            Self::Boxes => "Open boxes",
            Self::Figure => "Open figure",
            Self::Session => "Open session",
            Self::SaveSession { .. } => "Save session",
            Self::SaveFigure { .. } => "Export figure",
            Self::RunFolder => "Watch folder for runs",
            Self::Anything => "Open path",
        }
    }
}

/// How a dialog ended.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// Something was chosen.
    Command(Command),
    /// Nothing was chosen.
    Cancelled,
    /// The desktop has no dialogs; the window has to ask by itself.
    NoDialog(Ask),
}

/// A dialog that ends sooner than this was never seen by a person: the desktop has no dialogs.
const UNSEEN: Duration = Duration::from_millis(250);

/// What was chosen, and how long the dialog was open.
type Chosen = (Option<PathBuf>, Duration);

/// The open dialog, if any. One at a time, as with any desktop program.
#[derive(Default)]
pub struct Dialogs {
    open: Option<(Ask, Receiver<Chosen>)>,
}

impl Dialogs {
    /// Opens a dialog unless one is open already.
    pub fn ask(&mut self, ask: Ask, folder: Option<PathBuf>, repaint: egui::Context) {
        if self.open.is_some() {
            return;
        }
        let wanted = ask.clone();
        let (sender, receiver) = bounded(1);
        let woken = repaint.clone();
        let body = move || {
            let start = Instant::now();
            let path = choose(&wanted, folder);
            // Nobody listens any more when the window is gone.
            let _closed = sender.send((path, start.elapsed()));
            repaint.request_repaint();
        };
        // A dialog that cannot be shown leaves the channel without a sender, which is an answer too.
        if let Err(error) = spawn_worker("dialog", body, move |_| woken.request_repaint()) {
            tracing::warn!("no thread for a dialog: {error}");
        }
        self.open = Some((ask, receiver));
    }

    /// How the dialog ended, once it has.
    pub fn poll(&mut self) -> Option<Answer> {
        let (ask, receiver) = self.open.take()?;
        match receiver.try_recv() {
            Err(TryRecvError::Empty) => {
                self.open = Some((ask, receiver));
                None
            }
            Err(TryRecvError::Disconnected) => Some(Answer::NoDialog(ask)),
            Ok((Some(path), _)) => Some(Answer::Command(ask.command(path))),
            Ok((None, took)) if took < UNSEEN => Some(Answer::NoDialog(ask)),
            Ok((None, _)) => Some(Answer::Cancelled),
        }
    }
}

/// Dialogs do not add the ending of the filter by themselves.
fn with_ending(path: PathBuf, ending: &str) -> PathBuf {
    if path.extension().is_some() {
        path
    } else {
        path.with_extension(ending)
    }
}

fn choose(ask: &Ask, folder: Option<PathBuf>) -> Option<PathBuf> {
    let mut dialog = rfd::FileDialog::new();
    if let Some(folder) = folder {
        dialog = dialog.set_directory(folder);
    }
    dialog = dialog.set_title(ask.title());
    match ask {
        Ask::Dataset | Ask::Run | Ask::RunFolder => dialog.pick_folder(),
        Ask::Capture => dialog
            .add_filter("Attention capture", &["safetensors"])
            .pick_file(),
        Ask::Boxes => dialog.add_filter("Detector boxes", &["json"]).pick_file(),
        Ask::Figure => dialog.add_filter("Figure recipe", &["ron"]).pick_file(),
        Ask::Session => dialog.add_filter("Session", &["ron"]).pick_file(),
        Ask::Anything => dialog.pick_file(),
        Ask::SaveSession { name } => dialog
            .add_filter("Session", &["ron"])
            .set_file_name(name)
            .save_file(),
        Ask::SaveFigure { name } => dialog
            .add_filter("PDF", &["pdf"])
            .add_filter("SVG", &["svg"])
            .add_filter("PNG", &["png"])
            .set_file_name(name)
            .save_file(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialog_that_broke_down_is_asked_in_the_window() {
        let (sender, receiver) = bounded(1);
        let mut dialogs = Dialogs {
            open: Some((Ask::Dataset, receiver)),
        };
        assert_eq!(dialogs.poll(), None);
        drop(sender);
        assert_eq!(dialogs.poll(), Some(Answer::NoDialog(Ask::Dataset)));
        assert_eq!(dialogs.poll(), None);
    }
}
