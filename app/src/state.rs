//! What the window shows: the one state that panes read and only [`crate::workbench::Workbench::apply`] changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use episode::boxes::BoxFile;
use episode::{EpisodeMeta, SharedDataset, Signals};
use grounding::{Analysis, HeadId, HeadSelection};
use serde::{Deserialize, Serialize};
use session::{MapChoice, Overlay};

use crate::capture_file::OpenCaptures;
use crate::inspector::SURVEY_FRAMES;
use crate::jobs::Jobs;
use crate::panes::tuning::View as TuningView;
use crate::undo::UndoStack;

/// What can be undone and is saved in a session: every choice that changes what is seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Every threshold from attention to mask, and which token looks ([`HeadSelection::query`]).
    pub selection: HeadSelection,
    /// Another selection that is measured beside it.
    pub beside: Option<Box<HeadSelection>>,
    /// Which map is shown.
    pub map: MapChoice,
    /// What is painted over the frame.
    pub overlay: Overlay,
    /// The figure under construction; none until the figure pane made one.
    pub figure: Option<Box<figure::Recipe>>,
}

/// An open dataset.
#[derive(Clone)]
pub struct OpenDataset {
    /// The reader. Never call its decoding methods on the window's thread.
    pub data: SharedDataset,
    /// Path or `tabletop:` specification it was opened from.
    pub origin: String,
    /// The box file that is found beside the dataset whenever it is opened.
    pub boxes_beside: Option<PathBuf>,
    /// The box file in use, and its path.
    pub boxes: Option<(PathBuf, Arc<BoxFile>)>,
    /// What is known of each episode so far, by index; filled in the background.
    pub episodes: Vec<Option<EpisodeMeta>>,
}

/// The episode under the cursor, as far as it is read.
#[derive(Clone)]
pub struct OpenEpisode {
    /// Length and instruction.
    pub meta: EpisodeMeta,
    /// Actions and states of every step.
    pub signals: Arc<Signals>,
}

/// Where the captures come from.
#[derive(Clone, Debug, Default)]
pub enum Source {
    /// Nothing looks.
    #[default]
    Nothing,
    /// A capture file; one capture per step.
    Captures {
        /// The file.
        path: PathBuf,
        /// Its captures.
        captures: Arc<OpenCaptures>,
    },
    /// A model on its own.
    Checkpoint {
        /// The checkpoint folder.
        path: PathBuf,
    },
    /// A training run, looked at through one of its checkpoints.
    Run {
        /// The run directory.
        dir: PathBuf,
        /// Its checkpoints so far, by training step.
        checkpoints: Vec<(u64, PathBuf)>,
        /// Index of the one looked at.
        chosen: usize,
        /// Whether to move on to the latest by itself.
        follow: bool,
    },
}

impl Source {
    /// The model folder to capture with, if a model is the source.
    pub fn checkpoint(&self) -> Option<&Path> {
        match self {
            Self::Nothing | Self::Captures { .. } => None,
            Self::Checkpoint { path } => Some(path),
            Self::Run {
                checkpoints,
                chosen,
                ..
            } => checkpoints.get(*chosen).map(|(_, path)| path.as_path()),
        }
    }

    /// The captures, if a file is the source.
    pub fn captures(&self) -> Option<&Arc<OpenCaptures>> {
        match self {
            Self::Captures { captures, .. } => Some(captures),
            _ => None,
        }
    }

    /// The run directory, if a run is the source.
    pub fn run(&self) -> Option<&Path> {
        match self {
            Self::Run { dir, .. } => Some(dir),
            _ => None,
        }
    }

    /// Training step of the checkpoint looked at, if a run is the source.
    pub fn training_step(&self) -> Option<u64> {
        match self {
            Self::Run {
                checkpoints,
                chosen,
                ..
            } => checkpoints.get(*chosen).map(|(step, _)| *step),
            _ => None,
        }
    }

    /// Whether the latest checkpoint is followed.
    pub fn follows(&self) -> bool {
        matches!(self, Self::Run { follow: true, .. })
    }
}

/// Where the cursor of robot time stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Episode index.
    pub episode: usize,
    /// Step within the episode.
    pub step: usize,
    /// Index of the inspected camera in [`episode::DatasetInfo::cameras`].
    pub camera: usize,
}

/// How much of a dataset its numbers are measured on, and what that may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// Frames, spread over the episodes.
    pub frames: usize,
    /// Memory for attention in MiB: half of it for captures, after which no more frames are measured, half for what is
    /// analysed of them, of which what is more goes to f16, then to disk.
    pub memory_mib: usize,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            frames: SURVEY_FRAMES,
            memory_mib: Analysis::DEFAULT_MEMORY >> 20,
        }
    }
}

impl Sample {
    /// Most frames that can be asked for.
    pub const MAX_FRAMES: usize = 100_000;

    /// Numbers from a file may be anything.
    pub fn sane(self) -> Self {
        Self {
            frames: self.frames.clamp(2, Self::MAX_FRAMES),
            memory_mib: self.memory_mib.clamp(16, 1 << 20),
        }
    }

    /// Memory for attention weights in bytes.
    pub fn memory(self) -> usize {
        self.memory_mib << 20
    }
}

/// Everything that panes may read.
pub struct WorkbenchState {
    /// The open dataset.
    pub dataset: Option<OpenDataset>,
    /// Where the cursor stands. Trust it over `episode`, which follows when it is read.
    pub cursor: Cursor,
    /// The episode under the cursor; none while it is being read.
    pub episode: Option<OpenEpisode>,
    /// Whether the episode plays.
    pub playing: bool,
    /// Playing speed as a multiple of the recorded rate.
    pub speed: f32,
    /// Where captures come from.
    pub source: Source,
    /// Counts what was opened, so that a model trained anew into the same folder is not taken for the one before.
    pub openings: u64,
    /// The head under the pointer, shown in place of [`Settings::map`] while it rests there.
    pub preview: Option<HeadId>,
    /// What can be undone.
    pub settings: Settings,
    /// How it was before.
    pub undo: UndoStack<Settings>,
    /// Frames in order of disagreement, as `(episode, step)`.
    pub queue: Vec<(usize, usize)>,
    /// Where the queue stands.
    pub queue_position: usize,
    /// Runs found in the watched folders, and runs opened by hand.
    pub runs: Arc<Vec<training::RunSummary>>,
    /// The run chosen in the list.
    pub selected_run: Option<PathBuf>,
    /// How much of a dataset is measured.
    pub sample: Sample,
    /// What the tuning pane shows.
    pub tuning_view: TuningView,
    /// Folders watched for runs; new runs go into the first.
    pub run_folders: Vec<PathBuf>,
    /// Whether the form that creates runs is open.
    pub run_form: bool,
    /// Whether runs are being created.
    pub creating_runs: bool,
    /// What works behind the window.
    pub jobs: Jobs,
    /// Dark, light, or as the desktop asks.
    pub theme: egui::ThemePreference,
    /// The session's file, if it has one.
    pub session_path: Option<PathBuf>,
    /// The session's name for the title bar.
    pub session_name: String,
    /// Device asked for on the command line.
    pub device: model::DeviceChoice,
}

impl WorkbenchState {
    /// A state with nothing open.
    pub fn new(jobs: Jobs, device: model::DeviceChoice) -> Self {
        Self {
            dataset: None,
            cursor: Cursor::default(),
            episode: None,
            playing: false,
            speed: 1.0,
            source: Source::Nothing,
            openings: 0,
            preview: None,
            settings: Settings::default(),
            undo: UndoStack::default(),
            queue: Vec::new(),
            queue_position: 0,
            runs: Arc::default(),
            selected_run: None,
            sample: Sample::default(),
            tuning_view: TuningView::default(),
            run_folders: Vec::new(),
            run_form: false,
            creating_runs: false,
            jobs,
            theme: egui::ThemePreference::System,
            session_path: None,
            session_name: String::new(),
            device,
        }
    }

    /// The map to paint now: the previewed head, or the chosen map.
    pub fn shown_map(&self) -> MapChoice {
        self.preview.map_or(self.settings.map, MapChoice::Head)
    }

    /// Whether something looks.
    pub fn has_source(&self) -> bool {
        !matches!(self.source, Source::Nothing)
    }

    /// Steps in the episode under the cursor, or in the capture file where no dataset is open; none when neither is
    /// there or its length is not yet known.
    pub fn steps(&self) -> Option<usize> {
        match &self.dataset {
            Some(dataset) => self.episode.as_ref().map(|e| e.meta.length).or_else(|| {
                dataset
                    .episodes
                    .get(self.cursor.episode)?
                    .as_ref()
                    .map(|e| e.length)
            }),
            None => self.source.captures().map(|captures| captures.len()),
        }
    }

    /// The instruction of the episode or capture under the cursor.
    pub fn instruction(&self) -> Option<&str> {
        match (&self.dataset, self.source.captures()) {
            (Some(dataset), _) => dataset
                .episodes
                .get(self.cursor.episode)?
                .as_ref()
                .map(|e| e.instruction.as_ref()),
            (None, Some(captures)) => captures
                .captures()
                .get(self.cursor.step)
                .map(|c| c.instruction.as_str()),
            (None, None) => None,
        }
    }

    /// Index of the capture of the frame under the cursor where a capture file is the source, or why there is none.
    pub fn capture_index(&self) -> Option<Result<usize, String>> {
        let captures = self.source.captures()?;
        let Cursor { episode, step, .. } = self.cursor;
        Some(match &self.dataset {
            Some(dataset) => captures.index_of(dataset.data.info(), episode, step),
            None if step < captures.len() => Ok(step),
            None => Err("The capture file ends before this step".to_owned()),
        })
    }

    /// The chosen run.
    pub fn chosen_run(&self) -> Option<&training::RunSummary> {
        let dir = self.selected_run.as_deref()?;
        self.runs.iter().find(|run| run.dir == dir)
    }

    /// Why the chosen run cannot be asked this; none when it can.
    pub fn why_not_wish(&self, wish: training::Wish) -> Option<&'static str> {
        self.chosen_run()
            .and_then(|run| crate::runs::why_not_wish(run, wish))
    }
}
