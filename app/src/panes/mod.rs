//! The panes of the window, and the tree that lays them out.

pub mod attention;
pub mod compare;
pub mod figure;
pub mod heads;
pub mod layout;
pub mod log;
pub mod runs;
pub mod sources;
pub mod timeline;
pub mod trajectory;
pub mod tuning;

use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::inspector::Inspector;
use crate::log::LogMemory;
use crate::state::WorkbenchState;

/// A part of the window.
///
/// A pane reads the state and sends commands; it changes nothing itself. What it keeps (a search text, which section is
/// folded) is its own affair and is not saved.
pub trait Pane {
    /// The text of its tab.
    fn title(&self) -> &str;

    /// Draws it into all of `ui`.
    fn ui(&mut self, ui: &mut egui::Ui, context: &mut PaneContext<'_>);
}

/// What a pane may see and do.
pub struct PaneContext<'a> {
    /// What is open, where the cursors stand, what is chosen.
    pub state: &'a WorkbenchState,
    /// Decoded frames, captures, gazes and metrics, as far as they have arrived.
    pub inspector: &'a Inspector,
    /// The last lines of the log.
    pub log: &'a LogMemory,
    /// Commands sent so far in this frame.
    pub commands: &'a mut Vec<Command>,
}

impl PaneContext<'_> {
    /// Asks for a change; it takes effect before the next frame is drawn.
    pub fn send(&mut self, command: Command) {
        self.commands.push(command);
    }
}

/// Names the panes in layouts and commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PaneKind {
    /// Datasets, episodes, runs, models and captures.
    Sources,
    /// Cameras with overlay, and the instruction.
    Trajectory,
    /// One large frame with heat map, colour bar and query picker.
    Attention,
    /// All heads as small multiples.
    Heads,
    /// Both time cursors; action and state plots.
    Timeline,
    /// Every field of the head selection.
    Tuning,
    /// Mask against boxes.
    Compare,
    /// The figure under construction.
    Figure,
    /// Training runs.
    Runs,
    /// What happened.
    Log,
}

impl PaneKind {
    /// Every pane, in menu order.
    pub const ALL: [Self; 10] = [
        Self::Sources,
        Self::Trajectory,
        Self::Attention,
        Self::Heads,
        Self::Timeline,
        Self::Tuning,
        Self::Compare,
        Self::Figure,
        Self::Runs,
        Self::Log,
    ];

    /// The text of its tab.
    pub fn title(self) -> &'static str {
        match self {
            Self::Sources => "Sources",
            Self::Trajectory => "Trajectory",
            Self::Attention => "Attention",
            Self::Heads => "Heads",
            Self::Timeline => "Timeline",
            Self::Tuning => "Tuning",
            Self::Compare => "Compare",
            Self::Figure => "Figure",
            Self::Runs => "Runs",
            Self::Log => "Log",
        }
    }

    /// What it is for.
    pub fn help(self) -> &'static str {
        match self {
            Self::Sources => "What is open: datasets, episodes, runs, models and captures",
            Self::Trajectory => "Camera pictures with overlay, and the instruction",
            Self::Attention => "One frame at large, with colour bar and query token",
            Self::Heads => "All heads of all layers side by side",
            Self::Timeline => "Robot time and training time, with action and state plots",
            Self::Tuning => "Every threshold from attention to mask",
            Self::Compare => "Pseudo-gaze mask against detector boxes and ground truth",
            Self::Figure => "The figure under construction, at print size",
            Self::Runs => "Create, watch and steer training runs",
            Self::Log => "What happened, newest last",
        }
    }

    /// The digit that brings it to the front together with Ctrl.
    pub fn key(self) -> Option<egui::Key> {
        use egui::Key;
        Some(match self {
            Self::Sources => Key::Num1,
            Self::Trajectory => Key::Num2,
            Self::Attention => Key::Num3,
            Self::Heads => Key::Num4,
            Self::Timeline => Key::Num5,
            Self::Tuning => Key::Num6,
            Self::Compare => Key::Num7,
            Self::Figure => Key::Num8,
            Self::Runs => Key::Num9,
            Self::Log => return None,
        })
    }

    /// A new pane of this kind.
    pub fn build(self) -> Box<dyn Pane> {
        match self {
            Self::Sources => Box::<sources::Sources>::default(),
            Self::Trajectory => Box::<trajectory::Trajectory>::default(),
            Self::Attention => Box::<attention::Attention>::default(),
            Self::Heads => Box::<heads::Heads>::default(),
            Self::Timeline => Box::<timeline::Timeline>::default(),
            Self::Tuning => Box::<tuning::Tuning>::default(),
            Self::Compare => Box::<compare::Compare>::default(),
            Self::Figure => Box::<figure::Figure>::default(),
            Self::Runs => Box::<runs::Runs>::default(),
            Self::Log => Box::<log::Log>::default(),
        }
    }
}
