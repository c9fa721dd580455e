//! Everything a person can ask of the window.
//!
//! [`Command`] is the one source of menus, shortcuts, tooltips, the palette and the tests that walk them. Panes send
//! commands; [`crate::workbench::Workbench::apply`] is the one place where they take effect.

use std::path::PathBuf;

use egui::{Key, KeyboardShortcut, Modifiers};
use grounding::{HeadId, HeadSelection};
use session::{MapChoice, Overlay, Session, Upsampling};

use crate::panes::PaneKind;
use crate::panes::tuning::View as TuningView;
use crate::state::{Sample, WorkbenchState};

/// A wish of the person at the window.
///
/// The first group takes no argument and appears in menus and the palette, see [`Command::all`]; the second carries a
/// payload and is sent by panes.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    // File
    /// Open the built-in demo.
    OpenDemo,
    /// Choose a dataset folder.
    OpenDataset,
    /// Choose a run directory.
    OpenRun,
    /// Choose a capture file.
    OpenCapture,
    /// Choose a saved session.
    OpenSession,
    /// Choose a file of detector boxes.
    OpenBoxes,
    /// Choose the recipe of a figure.
    OpenFigure,
    /// Type a path.
    TypePath,
    /// Close everything and show the welcome screen.
    NewSession,
    /// Save the session where it was saved last.
    SaveSession,
    /// Choose where to save the session.
    SaveSessionAs,
    /// Choose where to write the figure.
    ExportFigure,
    /// Leave the program. Runs go on.
    Quit,
    // Edit
    /// Take back the last change of a setting.
    Undo,
    /// Bring back what was taken back.
    Redo,
    /// Put every threshold back to its default.
    ResetSelection,
    /// Use the head selection that is measured beside, and measure the one in use beside it. Undoable.
    SwapBeside,
    // Go: robot time
    /// Start or stop playing the episode.
    TogglePlay,
    /// One step back.
    StepBack,
    /// One step on.
    StepForward,
    /// Ten steps back.
    JumpBack,
    /// Ten steps on.
    JumpForward,
    /// To the first step.
    FirstStep,
    /// To the last step.
    LastStep,
    /// To the previous episode.
    PreviousEpisode,
    /// To the next episode.
    NextEpisode,
    /// The next camera is inspected.
    NextCamera,
    // Go: training time
    /// To the checkpoint before.
    PreviousCheckpoint,
    /// To the checkpoint after.
    NextCheckpoint,
    /// Follow the latest checkpoint of a run that is training.
    ToggleFollow,
    // Go: disagreement queue
    /// To the frame with the next larger disagreement.
    NextDisagreement,
    /// To the frame before in the disagreement queue.
    PreviousDisagreement,
    // Attention
    /// Show the layer before.
    PreviousLayer,
    /// Show the layer after.
    NextLayer,
    /// Show the head before.
    PreviousHead,
    /// Show the head after.
    NextHead,
    /// Show the selected heads.
    ShowSelectedHeads,
    /// Show the mean over all heads.
    ShowMeanHeads,
    /// Heat map on or off.
    ToggleHeatMap,
    /// Mask on or off.
    ToggleMask,
    /// Boxes on or off.
    ToggleBoxes,
    /// Nearest or smooth.
    ToggleSmooth,
    /// Own scale per head, or one for all.
    ToggleScalePerHead,
    // Run
    /// Show the form that creates a run.
    NewRun,
    /// Pause the chosen run.
    PauseRun,
    /// Start or resume the chosen run.
    ResumeRun,
    /// Stop the chosen run for good.
    StopRun,
    /// Look through the latest checkpoint of the chosen run.
    InspectRun,
    /// Choose a folder to watch for runs.
    ChooseRunFolder,
    // View
    /// The command palette.
    ShowPalette,
    /// Full screen on or off.
    ToggleFullscreen,
    /// Panes back to where they were at first.
    ResetLayout,
    /// Larger text.
    ZoomIn,
    /// Smaller text.
    ZoomOut,
    /// Text at its usual size.
    ZoomReset,
    /// Dark theme.
    ThemeDark,
    /// Light theme.
    ThemeLight,
    /// Theme of the desktop.
    ThemeSystem,
    /// Bring a pane to the front; reopen it where it was closed.
    ShowPane(PaneKind),
    // Help
    /// Keyboard shortcuts on one page.
    ShowShortcuts,
    /// Version, device, licences.
    ShowAbout,

    // With a payload: sent by panes, never in menus.
    /// Open whatever the path is: dataset, run directory, checkpoint, capture, session, box file.
    OpenPath(PathBuf),
    /// Open a `tabletop:` specification.
    OpenSpecification(String),
    /// Close the dataset, or what captures come from.
    CloseDataset,
    /// Show no attention.
    CloseSource,
    /// Close the dialog within the window.
    CloseDialog,
    /// Go on with this although changes of the session are not saved.
    DiscardChanges(Box<Command>),
    /// Save the session, then go on with this; not when saving fails.
    SaveThen(Box<Command>),
    /// Save the session to this file.
    SaveSessionTo(PathBuf),
    /// Put this session, read from this file, in place of the present one.
    ShowSession(PathBuf, Box<Session>),
    /// Write the figure to this file.
    WriteFigure(PathBuf),
    /// Replace the figure under construction. Undoable.
    SetFigure(Box<figure::Recipe>),
    /// Choose an episode.
    SelectEpisode(usize),
    /// To a frame of any episode; its place in the disagreement queue follows.
    GoTo {
        /// Episode index.
        episode: usize,
        /// Step within the episode.
        step: usize,
    },
    /// Move the cursor of robot time.
    SetStep(usize),
    /// Inspect this camera.
    SetCamera(usize),
    /// Playing speed as a multiple of the recorded rate.
    SetSpeed(f32),
    /// Which map is shown. Undoable.
    SetMap(MapChoice),
    /// Show this head only while the pointer rests on it; `None` ends the preview. Not undoable.
    PreviewHead(Option<HeadId>),
    /// Replace the head selection, whole. Undoable; the steps of one drag count as one.
    SetSelection(Box<HeadSelection>),
    /// Measure another head selection beside the one in use, or none. Undoable.
    SetBeside(Option<Box<HeadSelection>>),
    /// How much of a dataset is measured. Remembered.
    SetSample(Sample),
    /// Replace the overlay options, whole. Undoable.
    SetOverlay(Overlay),
    /// Move the cursor of training time to the checkpoint of this step.
    SetCheckpoint(u64),
    /// Choose a run in the list.
    SelectRun(PathBuf),
    /// Open or close the form that creates runs.
    ShowRunForm(bool),
    /// Show the tuning pane, and this part of it.
    ShowTuning(TuningView),
    /// Create runs, each in its own new folder, and start them one after the other if asked to.
    CreateRuns {
        /// What to train, and where it goes; a number is added to the name of a folder that is there already.
        runs: Vec<(training::RunSpec, PathBuf)>,
        /// Whether to start them at once.
        start: bool,
    },
    /// Ask something of one run.
    SetWish(PathBuf, training::Wish),
    /// Watch this folder for runs.
    AddRunFolder(PathBuf),
    /// Look at a run through its latest checkpoint.
    OpenRunAt(PathBuf),
    /// The frames in order of disagreement, as `(episode, step)`; sent by the pane that computed it.
    SetQueue(Vec<(usize, usize)>),
    /// Cancel a job.
    CancelJob(crate::jobs::JobId),
    /// Put this text on the clipboard.
    CopyText(String),
    /// Say something in a toast.
    Notify(crate::toasts::Notice),
}

/// The menu that holds a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Menu {
    /// Files and sessions.
    File,
    /// Undo and thresholds.
    Edit,
    /// Both time axes.
    Go,
    /// What is painted.
    Attention,
    /// Training runs.
    Run,
    /// Panes, size and colour of the window.
    View,
    /// Help.
    Help,
}

impl Menu {
    /// Every menu in the order of the bar.
    pub const ALL: [Self; 7] = [
        Self::File,
        Self::Edit,
        Self::Go,
        Self::Attention,
        Self::Run,
        Self::View,
        Self::Help,
    ];

    /// The title in the bar.
    pub fn label(self) -> &'static str {
        match self {
            Self::File => "File",
            Self::Edit => "Edit",
            Self::Go => "Go",
            Self::Attention => "Attention",
            Self::Run => "Run",
            Self::View => "View",
            Self::Help => "Help",
        }
    }
}

/// What menus, palette and tooltips say about a command.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// Sentence case; "…" when it asks for more.
    pub label: &'static str,
    /// One sentence without full stop.
    pub help: &'static str,
    /// Where it stands.
    pub menu: Menu,
    /// Whether a line is drawn above it in the menu.
    pub starts_group: bool,
    /// The key, if it has one.
    pub shortcut: Option<KeyboardShortcut>,
}

const COMMAND_SHIFT: Modifiers = Modifiers::COMMAND.plus(Modifiers::SHIFT);

impl Command {
    /// Every command without a payload, in menu order, and one [`Command::ShowPane`] for each pane.
    pub fn all() -> Vec<Self> {
        use Command as C;
        let mut all = vec![
            C::OpenDemo,
            C::OpenDataset,
            C::OpenRun,
            C::OpenCapture,
            C::OpenBoxes,
            C::OpenFigure,
            C::TypePath,
            C::NewSession,
            C::OpenSession,
            C::SaveSession,
            C::SaveSessionAs,
            C::ExportFigure,
            C::Quit,
            C::Undo,
            C::Redo,
            C::ResetSelection,
            C::ShowTuning(TuningView::Beside),
            C::SwapBeside,
            C::TogglePlay,
            C::StepBack,
            C::StepForward,
            C::JumpBack,
            C::JumpForward,
            C::FirstStep,
            C::LastStep,
            C::PreviousEpisode,
            C::NextEpisode,
            C::NextCamera,
            C::PreviousCheckpoint,
            C::NextCheckpoint,
            C::ToggleFollow,
            C::NextDisagreement,
            C::PreviousDisagreement,
            C::ShowSelectedHeads,
            C::ShowMeanHeads,
            C::PreviousLayer,
            C::NextLayer,
            C::PreviousHead,
            C::NextHead,
            C::ToggleHeatMap,
            C::ToggleMask,
            C::ToggleBoxes,
            C::ToggleSmooth,
            C::ToggleScalePerHead,
            C::NewRun,
            C::ResumeRun,
            C::PauseRun,
            C::StopRun,
            C::InspectRun,
            C::ChooseRunFolder,
            C::ShowPalette,
            C::ToggleFullscreen,
            C::ZoomIn,
            C::ZoomOut,
            C::ZoomReset,
            C::ThemeDark,
            C::ThemeLight,
            C::ThemeSystem,
            C::ResetLayout,
        ];
        all.extend(PaneKind::ALL.map(C::ShowPane));
        all.extend([C::ShowShortcuts, C::ShowAbout]);
        all
    }

    /// What to say about the command; none for those with a payload.
    pub fn info(&self) -> Option<Info> {
        use Command as C;
        use Menu as M;
        let plain = |key| Some(KeyboardShortcut::new(Modifiers::NONE, key));
        let shift = |key| Some(KeyboardShortcut::new(Modifiers::SHIFT, key));
        let ctrl = |key| Some(KeyboardShortcut::new(Modifiers::COMMAND, key));
        let ctrl_shift = |key| Some(KeyboardShortcut::new(COMMAND_SHIFT, key));
        let (menu, label, help, shortcut) = match self {
            C::OpenDemo => (
                M::File,
                "Open built-in tabletop demo",
                "Open the recording and the small trained model that ship with Gazelab",
                None,
            ),
            C::OpenDataset => (
                M::File,
                "Open dataset…",
                "Choose a folder with LeRobot v3 or RLDS trajectories",
                ctrl(Key::O),
            ),
            C::OpenRun => (
                M::File,
                "Open run…",
                "Choose a run directory and look through its checkpoints",
                ctrl(Key::R),
            ),
            C::OpenCapture => (
                M::File,
                "Open capture…",
                "Choose an attention capture (attncap/1, .safetensors) recorded from any model",
                None,
            ),
            C::OpenBoxes => (
                M::File,
                "Open boxes…",
                "Choose a JSON file of detector boxes to compare with",
                None,
            ),
            C::OpenFigure => (
                M::File,
                "Open figure…",
                "Continue with a figure that was exported before, by its recipe",
                None,
            ),
            C::TypePath => (
                M::File,
                "Open path…",
                "Type or paste the path of anything that can be opened",
                ctrl(Key::L),
            ),
            C::NewSession => (
                M::File,
                "New session",
                "Close everything and start from the welcome screen",
                ctrl(Key::N),
            ),
            C::OpenSession => (
                M::File,
                "Open session…",
                "Choose a saved session (.ron)",
                ctrl_shift(Key::O),
            ),
            C::SaveSession => (
                M::File,
                "Save session",
                "Keep data, model, thresholds and layout in a file",
                ctrl(Key::S),
            ),
            C::SaveSessionAs => (
                M::File,
                "Save session as…",
                "Choose a file for the session",
                ctrl_shift(Key::S),
            ),
            C::ExportFigure => (
                M::File,
                "Export figure…",
                "Write the current comparison as PDF, SVG or PNG, with its recipe beside it",
                ctrl(Key::E),
            ),
            C::Quit => (
                M::File,
                "Quit",
                "Close the window; training runs go on",
                ctrl(Key::Q),
            ),
            C::Undo => (
                M::Edit,
                "Undo",
                "Take back the last change of a setting; one drag is one step",
                ctrl(Key::Z),
            ),
            C::Redo => (
                M::Edit,
                "Redo",
                "Bring back what was taken back",
                ctrl_shift(Key::Z),
            ),
            C::ResetSelection => (
                M::Edit,
                "Reset thresholds",
                "Put every field of the head selection back to its default",
                None,
            ),
            C::ShowTuning(TuningView::Beside) => (
                M::Edit,
                "Compare two selections",
                "Measure another head selection on the same frames: a preset, a target, or the present one kept",
                None,
            ),
            C::SwapBeside => (
                M::Edit,
                "Swap with the selection beside",
                "Use the thresholds that are measured beside, and measure the present ones beside them",
                None,
            ),
            C::TogglePlay => (
                M::Go,
                "Play or pause",
                "Play the episode at its recorded rate",
                plain(Key::Space),
            ),
            C::StepBack => (
                M::Go,
                "Step back",
                "Go one step back",
                plain(Key::ArrowLeft),
            ),
            C::StepForward => (
                M::Go,
                "Step forward",
                "Go one step on",
                plain(Key::ArrowRight),
            ),
            C::JumpBack => (
                M::Go,
                "Ten steps back",
                "Go ten steps back",
                shift(Key::ArrowLeft),
            ),
            C::JumpForward => (
                M::Go,
                "Ten steps forward",
                "Go ten steps on",
                shift(Key::ArrowRight),
            ),
            C::FirstStep => (
                M::Go,
                "First step",
                "Go to the start of the episode",
                plain(Key::Home),
            ),
            C::LastStep => (
                M::Go,
                "Last step",
                "Go to the end of the episode",
                plain(Key::End),
            ),
            C::PreviousEpisode => (
                M::Go,
                "Previous episode",
                "Open the episode above in the list",
                plain(Key::ArrowUp),
            ),
            C::NextEpisode => (
                M::Go,
                "Next episode",
                "Open the episode below in the list",
                plain(Key::ArrowDown),
            ),
            C::NextCamera => (
                M::Go,
                "Next camera",
                "Inspect attention in the next camera",
                plain(Key::C),
            ),
            C::PreviousCheckpoint => (
                M::Go,
                "Earlier checkpoint",
                "Look through the checkpoint before in training time",
                plain(Key::Comma),
            ),
            C::NextCheckpoint => (
                M::Go,
                "Later checkpoint",
                "Look through the checkpoint after in training time",
                plain(Key::Period),
            ),
            C::ToggleFollow => (
                M::Go,
                "Follow latest checkpoint",
                "Move on by itself whenever the run writes a checkpoint",
                plain(Key::F),
            ),
            C::NextDisagreement => (
                M::Go,
                "Next disagreement",
                "Go to the frame with the next largest gap between mask and box",
                plain(Key::J),
            ),
            C::PreviousDisagreement => (
                M::Go,
                "Previous disagreement",
                "Go one frame back in the disagreement queue",
                plain(Key::K),
            ),
            C::ShowSelectedHeads => (
                M::Attention,
                "Selected heads",
                "Show the aggregate of the selected heads",
                plain(Key::S),
            ),
            C::ShowMeanHeads => (
                M::Attention,
                "Mean of all heads",
                "Show the mean over all layers and heads",
                plain(Key::A),
            ),
            C::PreviousLayer => (
                M::Attention,
                "Previous layer",
                "Show the same head one layer earlier",
                plain(Key::OpenBracket),
            ),
            C::NextLayer => (
                M::Attention,
                "Next layer",
                "Show the same head one layer later",
                plain(Key::CloseBracket),
            ),
            C::PreviousHead => (
                M::Attention,
                "Previous head",
                "Show the head before in the same layer",
                plain(Key::OpenCurlyBracket),
            ),
            C::NextHead => (
                M::Attention,
                "Next head",
                "Show the head after in the same layer",
                plain(Key::CloseCurlyBracket),
            ),
            C::ToggleHeatMap => (
                M::Attention,
                "Heat map",
                "Show or hide the heat map",
                plain(Key::H),
            ),
            C::ToggleMask => (
                M::Attention,
                "Mask",
                "Show or hide the pseudo-gaze mask",
                plain(Key::M),
            ),
            C::ToggleBoxes => (
                M::Attention,
                "Boxes",
                "Show or hide detector and ground-truth boxes",
                plain(Key::B),
            ),
            C::ToggleSmooth => (
                M::Attention,
                "Smooth upsampling",
                "Interpolate between patches; off shows every patch as it is",
                None,
            ),
            C::ToggleScalePerHead => (
                M::Attention,
                "Scale per head",
                "Give each head its own scale; off shares one scale",
                None,
            ),
            C::NewRun => (
                M::Run,
                "New run…",
                "Create a training run",
                ctrl_shift(Key::N),
            ),
            C::ResumeRun => (
                M::Run,
                "Start or resume run",
                "Start the chosen run, or let it go on",
                None,
            ),
            C::PauseRun => (M::Run, "Pause run", "Write a checkpoint and wait", None),
            C::StopRun => (
                M::Run,
                "Stop run",
                "Write a checkpoint and end the chosen run",
                None,
            ),
            C::InspectRun => (
                M::Run,
                "Inspect run",
                "Show the attention of the chosen run's latest checkpoint",
                None,
            ),
            C::ChooseRunFolder => (
                M::Run,
                "Watch folder…",
                "Choose a folder; runs in it appear by themselves, wherever they train",
                None,
            ),
            C::ShowPalette => (
                M::View,
                "Command palette…",
                "Find any command by name",
                ctrl(Key::K),
            ),
            C::ToggleFullscreen => (
                M::View,
                "Full screen",
                "Fill the screen with the window, or go back",
                plain(Key::F11),
            ),
            C::ZoomIn => (
                M::View,
                "Larger text",
                "Make everything larger",
                ctrl(Key::Plus),
            ),
            C::ZoomOut => (
                M::View,
                "Smaller text",
                "Make everything smaller",
                ctrl(Key::Minus),
            ),
            C::ZoomReset => (
                M::View,
                "Usual text size",
                "Go back to 100 %",
                ctrl(Key::Num0),
            ),
            C::ThemeDark => (M::View, "Dark theme", "Light text on dark", None),
            C::ThemeLight => (M::View, "Light theme", "Dark text on light", None),
            C::ThemeSystem => (
                M::View,
                "System theme",
                "Whatever the desktop asks for",
                None,
            ),
            C::ResetLayout => (
                M::View,
                "Reset layout",
                "Put every pane back where it was at first",
                None,
            ),
            C::ShowPane(kind) => (
                M::View,
                kind.title(),
                kind.help(),
                kind.key().and_then(ctrl),
            ),
            C::ShowShortcuts => (
                M::Help,
                "Keyboard shortcuts",
                "All keys on one page",
                plain(Key::F1),
            ),
            C::ShowAbout => (
                M::Help,
                "About Gazelab",
                "Version, device and licences",
                None,
            ),
            _ => return None,
        };
        let starts_group = matches!(
            self,
            C::NewSession
                | C::ExportFigure
                | C::Quit
                | C::ResetSelection
                | C::PreviousEpisode
                | C::PreviousCheckpoint
                | C::NextDisagreement
                | C::PreviousLayer
                | C::ToggleHeatMap
                | C::ResumeRun
                | C::InspectRun
                | C::ZoomIn
                | C::ThemeDark
                | C::ResetLayout
        ) || matches!(self, C::ShowPane(kind) if *kind == PaneKind::ALL[0]);
        Some(Info {
            label,
            help,
            menu,
            starts_group,
            shortcut,
        })
    }

    /// Why the command can do nothing now, as shown in its tooltip; none when it can.
    pub fn why_disabled(&self, state: &WorkbenchState) -> Option<&'static str> {
        use Command as C;
        let no_dataset = || state.dataset.is_none().then_some("Open a dataset first");
        let no_capture =
            || (!state.has_source()).then_some("Open a run, a model or a capture first");
        let no_run = || state.selected_run.is_none().then_some("Choose a run first");
        match self {
            C::TogglePlay
            | C::StepBack
            | C::StepForward
            | C::JumpBack
            | C::JumpForward
            | C::FirstStep
            | C::LastStep
            | C::PreviousEpisode
            | C::NextEpisode
            | C::NextCamera => state
                .steps()
                .is_none()
                .then_some("Open a dataset or a capture first"),
            C::OpenBoxes => no_dataset(),
            C::NextDisagreement | C::PreviousDisagreement => state
                .queue
                .is_empty()
                .then_some("Open Compare and let it rank the frames first"),
            C::PreviousCheckpoint | C::NextCheckpoint | C::ToggleFollow => state
                .source
                .run()
                .is_none()
                .then_some("Inspect a run first"),
            C::PreviousLayer | C::NextLayer | C::PreviousHead | C::NextHead => no_capture(),
            // A figure need not have attention in it.
            C::ExportFigure => {
                let has_something = state.settings.figure.is_some()
                    || state.dataset.is_some()
                    || state.has_source();
                (!has_something).then_some("Open a dataset, a run, a model or a capture first")
            }
            C::Undo => (!state.undo.can_undo()).then_some("Nothing to take back"),
            C::Redo => (!state.undo.can_redo()).then_some("Nothing to bring back"),
            C::SwapBeside => state
                .settings
                .beside
                .is_none()
                .then_some("No selection is measured beside"),
            C::ResumeRun => no_run().or_else(|| state.why_not_wish(training::Wish::Run)),
            C::PauseRun => no_run().or_else(|| state.why_not_wish(training::Wish::Pause)),
            C::StopRun => no_run().or_else(|| state.why_not_wish(training::Wish::Stop)),
            C::InspectRun => no_run(),
            _ => None,
        }
    }

    /// Whether the command is a switch that is on now; none when it is no switch.
    pub fn checked(&self, state: &WorkbenchState) -> Option<bool> {
        use Command as C;
        let overlay = &state.settings.overlay;
        Some(match self {
            C::ToggleHeatMap => overlay.heat_map,
            C::ToggleMask => overlay.mask,
            C::ToggleBoxes => overlay.boxes,
            C::ToggleSmooth => overlay.upsampling == Upsampling::Smooth,
            C::ToggleScalePerHead => overlay.scale_per_head,
            C::ToggleFollow => state.source.follows(),
            C::ShowSelectedHeads => state.settings.map == MapChoice::Selected,
            C::ShowMeanHeads => state.settings.map == MapChoice::Mean,
            C::ThemeDark => state.theme == egui::ThemePreference::Dark,
            C::ThemeLight => state.theme == egui::ThemePreference::Light,
            C::ThemeSystem => state.theme == egui::ThemePreference::System,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_command_says_what_it_does() {
        let all = Command::all();
        for (i, command) in all.iter().enumerate() {
            let info = command
                .info()
                .unwrap_or_else(|| panic!("{command:?} has no info"));
            assert!(
                !info.help.ends_with('.'),
                "{command:?}: one sentence, no full stop"
            );
            assert!(!all[..i].contains(command), "{command:?} is listed twice");
            let twin = all[..i]
                .iter()
                .find(|c| c.info().unwrap().label == info.label);
            assert!(twin.is_none(), "{command:?} and {twin:?} share a label");
        }
    }

    #[test]
    fn no_two_commands_share_a_shortcut() {
        let mut taken = Vec::new();
        for command in Command::all() {
            let Some(shortcut) = command.info().unwrap().shortcut else {
                continue;
            };
            assert!(
                !taken.contains(&shortcut),
                "{command:?} shares {shortcut:?}"
            );
            taken.push(shortcut);
        }
    }
}
