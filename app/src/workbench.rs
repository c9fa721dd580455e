//! The window. Panes read [`WorkbenchState`] and send [`Command`]s; [`Workbench::apply`] is where they take effect.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui_tiles::{TileId, Tiles, Tree, UiResponse};
use episode::boxes::BoxFile;
use grounding::HeadId;
use model::DeviceChoice;
use session::{MapChoice, Session, SourceRef, Upsampling};
use training::{RunDir, Wish};

use crate::command::Command;
use crate::dialogs::{Answer, Ask, Dialogs};
use crate::inspector::Inspector;
use crate::jobs::Jobs;
use crate::loader::{self, Loader, Message, OpenedSession, SavedSession};
use crate::log::LogMemory;
use crate::opening::{self, DatasetWithBoxes, Opened};
use crate::palette::Palette;
use crate::panes::{self, Pane, PaneContext, PaneKind, layout};
use crate::settings::{RecentKind, SettingsFile, ThemeChoice};
use crate::state::{Cursor, OpenDataset, Settings, Source, WorkbenchState};
use crate::theme;
use crate::toasts::{Notice, Toasts};
use crate::worker::guard;
use crate::{assets, modals, runs, top_bar, welcome};

/// Stands for the built-in demo in [`Options::open`].
pub const DEMO: &str = "demo:";

/// How a window starts.
pub struct Options {
    /// What to open: a path or a `tabletop:` specification.
    pub open: Option<String>,
    /// What is remembered of the person.
    pub settings: SettingsFile,
    /// Something to say at the start, such as that the settings were unreadable.
    pub warning: Option<String>,
    /// The memory of the log.
    pub log: LogMemory,
    /// Where models compute.
    pub device: DeviceChoice,
}

impl Options {
    /// Nothing open, nothing remembered: what tests start from.
    pub fn bare() -> Self {
        Self {
            open: None,
            settings: SettingsFile::in_memory(),
            warning: None,
            log: LogMemory::default(),
            device: DeviceChoice::Auto,
        }
    }
}

/// The window's contents: needs an egui context, but neither display nor GPU.
pub struct Workbench {
    context: egui::Context,
    state: WorkbenchState,
    settings: SettingsFile,
    log: LogMemory,
    tree: Tree<PaneKind>,
    panes: BTreeMap<PaneKind, Box<dyn Pane>>,
    inspector: Inspector,
    loader: Loader,
    watcher: Option<training::Watcher>,
    /// Runs opened by hand; watched beside the folders.
    opened_runs: Vec<PathBuf>,
    dialogs: Dialogs,
    modal: modals::Modal,
    palette: Palette,
    toasts: Toasts,
    pictures: welcome::Pictures,
    commands: Vec<Command>,
    /// Whether the welcome screen stands where the panes will be.
    welcome: bool,
    /// Numbers the open datasets, so that late results of a closed one are known.
    ticket: u64,
    /// Episode whose signals were asked for, under which ticket.
    asked_episode: Option<(u64, usize)>,
    /// When the next step of a playing episode is due.
    next_tick: Option<f64>,
    /// When openings were asked for, so that a slow one does not replace what was opened after it.
    openings: Openings,
    /// Numbers the questions for checkpoints, so that an old list does not replace a new one.
    listing: (u64, u64),
    /// The session as it was last saved or loaded, to know whether there is something to lose.
    saved: Option<Session>,
    /// The session as the person agreed to lose it, and for what.
    given_up: Option<(Session, Command)>,
    /// Numbers the sessions that were shown, so that a file saved late is not taken for that of its successor.
    session_number: u64,
    /// Whether the session is being written.
    saving: bool,
    /// What to do once the session is saved.
    after_save: Option<Command>,
    /// Where new runs go by themselves; watched even before it exists.
    usual_runs: Option<PathBuf>,
    /// Runs to be started, one after the other.
    to_start: VecDeque<PathBuf>,
    /// The one that was started last, and whether it was seen in the list since.
    started: Option<(PathBuf, bool)>,
    allow_close: bool,
}

/// Numbers of openings: given when something is asked for, compared when it is there.
#[derive(Default)]
struct Openings {
    last: u64,
    /// Of the dataset that is shown.
    dataset: u64,
    /// Of the run, model or capture that is shown.
    source: u64,
}

impl Openings {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Whether `number` is not older than what is shown in its place; it is shown from now on.
    fn replaces(shown: &mut u64, number: u64) -> bool {
        let newer = number >= *shown;
        *shown = number.max(*shown);
        newer
    }
}

impl Workbench {
    /// A window as `options` ask. Nothing heavy happens here: what is opened is opened by threads.
    pub fn new(context: &egui::Context, options: Options) -> Self {
        theme::install(context);
        let Options {
            open,
            settings,
            warning,
            log,
            device,
        } = options;
        let jobs = Jobs::new(context.clone());
        let mut state = WorkbenchState::new(jobs.clone(), device);
        state.theme = match settings.settings.theme {
            ThemeChoice::Dark => egui::ThemePreference::Dark,
            ThemeChoice::Light => egui::ThemePreference::Light,
            ThemeChoice::System => egui::ThemePreference::System,
        };
        context.set_theme(state.theme);
        context.set_zoom_factor(settings.settings.zoom);
        context.options_mut(|options| options.zoom_with_keyboard = false);
        state.run_folders = settings.settings.run_folders.clone();
        state.sample = settings.settings.sample;
        let usual_runs = settings.watches_usual_folder.then(runs::default_folder);
        let tree = settings
            .settings
            .layout
            .as_deref()
            .and_then(layout::parse)
            .unwrap_or_else(layout::default_tree);
        let mut this = Self {
            context: context.clone(),
            inspector: Inspector::new(jobs.clone(), context.clone()),
            loader: Loader::new(jobs, context.clone()),
            state,
            settings,
            log,
            tree,
            panes: BTreeMap::new(),
            watcher: None,
            opened_runs: Vec::new(),
            dialogs: Dialogs::default(),
            modal: modals::Modal::default(),
            palette: Palette::default(),
            toasts: Toasts::default(),
            pictures: welcome::Pictures::default(),
            commands: Vec::new(),
            welcome: true,
            ticket: 0,
            asked_episode: None,
            next_tick: None,
            openings: Openings::default(),
            listing: (0, 0),
            saved: None,
            given_up: None,
            session_number: 0,
            saving: false,
            after_save: None,
            usual_runs,
            to_start: VecDeque::new(),
            started: None,
            allow_close: false,
        };
        if let Some(warning) = warning {
            this.toasts.add(Notice::warning(warning));
        }
        if let Some(open) = open {
            this.send(match open.as_str() {
                DEMO => Command::OpenDemo,
                text if episode::is_specification(text) => Command::OpenSpecification(open),
                _ => Command::OpenPath(open.into()),
            });
        }
        this.watch_runs();
        this
    }

    /// What the window shows.
    pub fn state(&self) -> &WorkbenchState {
        &self.state
    }

    /// What arrived from the inspector's threads.
    pub fn inspector(&self) -> &Inspector {
        &self.inspector
    }

    /// Errors shown since the start.
    pub fn errors(&self) -> usize {
        self.toasts.errors()
    }

    /// Whether nothing works behind the window and nothing waits to be applied.
    pub fn is_idle(&self) -> bool {
        self.commands.is_empty()
            && self.state.jobs.is_empty()
            && !self.inspector.is_busy(&self.state)
    }

    /// Whether the welcome screen is shown.
    pub fn shows_welcome(&self) -> bool {
        self.welcome
    }

    /// Asks for a change; it takes effect at the start of the next frame.
    pub fn send(&mut self, command: Command) {
        self.commands.push(command);
        self.context.request_repaint();
    }

    /// One frame: takes what threads have to say, applies commands, draws.
    pub fn ui(&mut self, ui: &mut egui::Ui) {
        self.take_results();
        self.hear_input();
        self.play();
        self.apply_pending();
        // After the commands, so that what it computes belongs to what is drawn below.
        self.inspector.update(&self.state, &mut self.commands);
        self.apply_pending();

        self.bar_ui(ui);
        let frame = egui::Frame::NONE.fill(theme::tokens(ui).ground);
        egui::CentralPanel::default().frame(frame).show(ui, |ui| {
            if self.welcome {
                let recent = &self.settings.settings.recent;
                welcome::ui(
                    ui,
                    recent,
                    &mut self.pictures,
                    &self.state,
                    &mut self.commands,
                );
            } else {
                self.panes_ui(ui);
            }
        });
        welcome::drop_hint_ui(&self.context);
        let command = self.palette.show(&self.context, &self.state);
        self.commands.extend(command);
        let facts = modals::Facts {
            state: &self.state,
            device: self.inspector.device_name(),
            settings: &self.settings,
        };
        let asked_where = self.modal.asks_where_to_save();
        let answers = self.modal.show(&self.context, &facts);
        if asked_where && !self.modal.is_open() && answers.is_empty() {
            self.after_save = None;
        }
        self.commands.extend(answers);
        self.toasts.show(&self.context);
        // Commands take effect in the next frame; without this it might be long in coming.
        if !self.commands.is_empty() {
            self.context.request_repaint();
        }
    }

    fn apply_pending(&mut self) {
        for command in std::mem::take(&mut self.commands) {
            self.apply(command);
        }
    }

    fn bar_ui(&mut self, ui: &mut egui::Ui) {
        let mut context = PaneContext {
            state: &self.state,
            inspector: &self.inspector,
            log: &self.log,
            commands: &mut self.commands,
        };
        top_bar::ui(ui, &mut context);
    }

    fn panes_ui(&mut self, ui: &mut egui::Ui) {
        let mut behavior = PanesUi {
            in_front: self.tree.active_tiles(),
            panes: &mut self.panes,
            context: PaneContext {
                state: &self.state,
                inspector: &self.inspector,
                log: &self.log,
                commands: &mut self.commands,
            },
        };
        self.tree.ui(&mut behavior, ui);
        if self.tree.is_empty() {
            let mut context = behavior.context;
            crate::widgets::empty_state(
                ui,
                &mut context,
                "All panes are closed",
                "Bring them back one by one from the View menu, or all at once",
                &[Command::ResetLayout],
            );
        }
    }

    /// Takes what threads, dialogs and the run watcher have to say.
    fn take_results(&mut self) {
        for message in self.loader.take() {
            self.take_message(message);
        }
        match self.dialogs.poll() {
            None => {}
            Some(Answer::Cancelled) => self.after_save = None,
            Some(Answer::Command(command)) => self.commands.push(command),
            Some(Answer::NoDialog(ask)) => self.modal = modals::Modal::path(ask),
        }
        if let Some(watcher) = &self.watcher {
            let runs = watcher.runs();
            if !Arc::ptr_eq(&runs, &self.state.runs) {
                self.state.runs = runs;
                self.follow_run();
                self.start_next();
            }
        }
    }

    fn take_message(&mut self, message: Message) {
        match message {
            Message::Opened(number, opened) => self.take_opened(number, opened, true),
            Message::Session(number, session) => self.take_session(number, *session),
            Message::Demo(number, dataset, model) => self.take_demo(number, *dataset, model),
            Message::Saved(saved) => self.take_saved(*saved),
            Message::Created(runs, start) => self.take_created(runs, start),
            Message::NotStarted(dir) => {
                if self.started.as_ref().is_some_and(|(run, _)| *run == dir) {
                    self.started = None;
                    self.start_next();
                }
            }
            Message::Episode(ticket, episode) => {
                if ticket == self.ticket && episode.meta.index == self.state.cursor.episode {
                    let slot = self
                        .state
                        .dataset
                        .as_mut()
                        .and_then(|d| d.episodes.get_mut(episode.meta.index));
                    if let Some(slot) = slot {
                        *slot = Some(episode.meta.clone());
                    }
                    let last = episode.meta.length.saturating_sub(1);
                    self.state.cursor.step = self.state.cursor.step.min(last);
                    self.state.episode = Some(episode);
                }
            }
            Message::Names(ticket, first, names) => {
                if ticket == self.ticket
                    && let Some(dataset) = &mut self.state.dataset
                {
                    for (slot, name) in dataset.episodes.iter_mut().skip(first).zip(names) {
                        *slot = Some(name);
                    }
                }
            }
            Message::Boxes(ticket, path, boxes) => {
                if let Some(dataset) = self
                    .state
                    .dataset
                    .as_mut()
                    .filter(|_| ticket == self.ticket)
                {
                    dataset.boxes = Some((path, boxes));
                }
            }
            Message::Checkpoints(number, dir, found) => {
                if !Openings::replaces(&mut self.listing.1, number) {
                    return;
                }
                if let Source::Run {
                    dir: open,
                    checkpoints,
                    chosen,
                    follow,
                } = &mut self.state.source
                    && *open == dir
                {
                    let step = checkpoints.get(*chosen).map(|(step, _)| *step);
                    *checkpoints = found;
                    let latest = checkpoints.len().saturating_sub(1);
                    *chosen = if *follow {
                        latest
                    } else {
                        // The step looked at may have been cleared away; the next later one is closest.
                        step.and_then(|step| checkpoints.iter().position(|(s, _)| *s >= step))
                            .unwrap_or(latest)
                    };
                }
            }
            Message::Notice(notice) => self.toasts.add(notice),
            Message::Command(command) => self.commands.push(command),
        }
    }

    /// The demo is a session of its own without a file; thresholds and figure stay as they are.
    fn take_demo(&mut self, number: u64, dataset: DatasetWithBoxes, model: Option<PathBuf>) {
        let newest = Openings::replaces(&mut self.openings.dataset, number)
            & Openings::replaces(&mut self.openings.source, number);
        if !newest {
            return;
        }
        self.take_dataset(dataset);
        if let Some(path) = model {
            self.show_source(Source::Checkpoint { path });
        }
        self.session_number += 1;
        self.state.session_path = None;
        self.saved = None;
        self.state.session_name = "Built-in tabletop demo".to_owned();
    }

    /// Looks through another run, model or capture.
    fn show_source(&mut self, source: Source) {
        self.state.source = source;
        self.state.openings += 1;
        self.welcome = false;
    }

    fn take_opened(&mut self, number: u64, opened: Opened, by_hand: bool) {
        let newest = match &opened {
            Opened::Dataset(_) => Openings::replaces(&mut self.openings.dataset, number),
            Opened::Run(..) | Opened::Model(_) | Opened::Capture(..) => {
                Openings::replaces(&mut self.openings.source, number)
            }
            Opened::Session(..) => {
                number >= self.openings.dataset && number >= self.openings.source
            }
            Opened::Boxes(_) | Opened::Figure(_) => true,
        };
        if !newest {
            return;
        }
        match opened {
            Opened::Dataset(dataset) => {
                self.remember(RecentKind::Dataset, &dataset.origin, by_hand);
                self.take_dataset(*dataset);
            }
            Opened::Run(run, checkpoints) => {
                let dir = run.path().to_owned();
                self.remember(RecentKind::Run, &dir.to_string_lossy(), by_hand);
                if checkpoints.is_empty() && by_hand {
                    self.toasts.add(Notice::info(format!(
                        "\"{}\" has no checkpoint yet; its attention appears with the first",
                        run.spec().name
                    )));
                }
                let chosen = checkpoints.len().saturating_sub(1);
                self.show_source(Source::Run {
                    dir: dir.clone(),
                    checkpoints,
                    chosen,
                    follow: true,
                });
                self.state.selected_run = Some(dir.clone());
                if !self.opened_runs.contains(&dir) {
                    self.opened_runs.push(dir);
                }
                self.watch_runs();
                if self.state.dataset.is_none() && by_hand {
                    self.open_dataset_of(number, &run);
                }
            }
            Opened::Model(path) => {
                self.remember(RecentKind::Model, &path.to_string_lossy(), by_hand);
                self.show_source(Source::Checkpoint { path });
                if self.state.dataset.is_none() && by_hand {
                    self.toasts
                        .add(Notice::info("Now open a dataset for the model to look at"));
                }
            }
            Opened::Capture(path, captures) => {
                self.remember(RecentKind::Capture, &path.to_string_lossy(), by_hand);
                for warning in captures.warnings() {
                    self.toasts.add(Notice::warning(warning));
                }
                let first = match &self.state.dataset {
                    Some(dataset) => (0..captures.len())
                        .find_map(|index| captures.place(dataset.data.info(), index)),
                    None => {
                        self.state.cursor = Cursor::default();
                        None
                    }
                };
                self.show_source(Source::Captures { path, captures });
                // A probe is of one frame in a thousand; that is the one to see.
                if let (Some(Err(_)), Some((episode, step)), true) =
                    (self.state.capture_index(), first, by_hand)
                {
                    self.go_to(episode, step);
                }
            }
            Opened::Session(path, session) => {
                self.commands.push(Command::ShowSession(path, session));
            }
            Opened::Boxes(path) => self.read_boxes(path),
            Opened::Figure(recipe) => {
                self.apply(Command::SetFigure(recipe));
                self.show_pane(PaneKind::Figure);
            }
        }
    }

    /// Boxes mean something only for the dataset they belong to.
    fn read_boxes(&mut self, path: PathBuf) {
        let Some(dataset) = &self.state.dataset else {
            self.toasts.add(Notice::warning(format!(
                "Open the dataset first, then the boxes that belong to it: {}",
                path.display()
            )));
            return;
        };
        let (ticket, data) = (self.ticket, dataset.data.clone());
        self.loader
            .spawn("Reading boxes", "The boxes did not open", move |job| {
                let boxes = BoxFile::load(&path, data.as_ref())?;
                for warning in boxes.warnings().iter().take(3) {
                    job.send(Message::Notice(Notice::warning(warning.clone())));
                }
                job.send(Message::Boxes(ticket, path, Arc::new(boxes)));
                Ok(())
            });
    }

    fn take_dataset(&mut self, opened: DatasetWithBoxes) {
        let DatasetWithBoxes {
            data,
            origin,
            boxes_beside,
            boxes,
            boxes_error,
        } = opened;
        if let Some(error) = boxes_error {
            self.toasts.add(Notice::error(
                "The box file beside the dataset was left out",
                &error,
            ));
        }
        for warning in data.info().warnings.iter().take(3) {
            self.toasts.add(Notice::warning(warning.clone()));
        }
        self.ticket += 1;
        self.state.cursor = Cursor::default();
        self.state.episode = None;
        self.state.playing = false;
        self.state.queue.clear();
        self.state.queue_position = 0;
        let episodes = vec![None; data.info().episodes];
        let (ticket, reader) = (self.ticket, data.clone());
        self.state.dataset = Some(OpenDataset {
            data,
            origin,
            boxes_beside,
            boxes,
            episodes,
        });
        self.welcome = false;
        self.loader.spawn(
            "Reading instructions",
            "The episodes could not all be listed",
            move |job| loader::read_names(job, ticket, &reader),
        );
        self.read_episode();
    }

    /// A run alone shows nothing; its own data is the natural thing to look at.
    fn open_dataset_of(&mut self, number: u64, run: &RunDir) {
        let source = run.spec().data.source.clone();
        self.loader.spawn(
            "Opening the run's data",
            "The run's data did not open",
            move |job| {
                let dataset = Opened::Dataset(Box::new(opening::open_dataset(&source)?));
                job.send(Message::Opened(number, dataset));
                Ok(())
            },
        );
    }

    fn open_session(&mut self, path: PathBuf, session: Session) {
        let number = self.openings.next();
        self.loader
            .spawn("Opening session", "The session did not open", move |job| {
                let opened = loader::open_session(path, session, job.handle.cancel_flag());
                job.send(Message::Session(number, Box::new(opened)));
                Ok(())
            });
    }

    fn take_session(&mut self, number: u64, opened: OpenedSession) {
        if number < self.openings.dataset || number < self.openings.source {
            return;
        }
        // What was changed while it was read would be lost too.
        let again = Command::ShowSession(opened.path.clone(), Box::new(opened.session.clone()));
        if !self.may_lose(again) {
            return;
        }
        let OpenedSession {
            path,
            session,
            dataset,
            others,
            missing,
        } = opened;
        self.close_everything();
        self.remember(RecentKind::Session, &path.to_string_lossy(), true);
        if let Some(dataset) = dataset {
            self.take_dataset(dataset);
        }
        for other in others {
            let number = self.openings.next();
            self.take_opened(number, other, false);
        }
        for notice in missing {
            self.toasts.add(notice);
        }
        if let Source::Run {
            checkpoints,
            chosen,
            follow,
            ..
        } = &mut self.state.source
        {
            *follow = session.follow;
            if let SourceRef::Run {
                step: Some(step), ..
            } = &session.source
                && let Some(index) = checkpoints.iter().position(|(s, _)| s == step)
            {
                *chosen = index;
            }
        }
        self.state.settings = Settings {
            selection: session.selection.clone(),
            beside: session.beside.clone().map(Box::new),
            map: session.map,
            overlay: session.overlay.clone(),
            figure: session.figure.clone().map(Box::new),
        };
        self.state.undo = Default::default();
        if let Some(dataset) = &self.state.dataset {
            let info = dataset.data.info();
            self.state.cursor = Cursor {
                episode: session.episode.min(info.episodes.saturating_sub(1)),
                step: session.step,
                camera: session.camera.min(info.cameras.len().saturating_sub(1)),
            };
            self.read_episode();
        } else {
            self.state.cursor.step = session.step;
        }
        for folder in &session.run_folders {
            if !self.state.run_folders.contains(folder) {
                self.state.run_folders.push(folder.clone());
            }
        }
        self.watch_runs();
        if let Some(layout) = session.layout.as_deref().and_then(layout::parse) {
            self.tree = layout;
        }
        self.state.session_name = match session.name.is_empty() {
            true => path
                .file_stem()
                .map(|s| s.to_string_lossy().into_owned())
                .unwrap_or_default(),
            false => session.name.clone(),
        };
        self.state.session_path = Some(path);
        self.welcome = false;
        self.saved = Some(self.session());
    }

    fn remember(&mut self, kind: RecentKind, origin: &str, by_hand: bool) {
        if by_hand {
            self.settings.remember(kind, origin);
        }
    }

    /// Asks for the signals of the episode under the cursor.
    fn read_episode(&mut self) {
        let Some(dataset) = &self.state.dataset else {
            return;
        };
        let index = self.state.cursor.episode;
        if self
            .state
            .episode
            .as_ref()
            .is_some_and(|e| e.meta.index == index)
            || self.asked_episode == Some((self.ticket, index))
            || index >= dataset.data.info().episodes
        {
            return;
        }
        self.asked_episode = Some((self.ticket, index));
        self.state.episode = None;
        let (ticket, data) = (self.ticket, dataset.data.clone());
        self.loader.spawn(
            "Reading episode",
            "The episode could not be read",
            move |job| {
                let meta = data.episode(index)?;
                let signals = data.signals(index)?;
                job.send(Message::Episode(
                    ticket,
                    crate::state::OpenEpisode { meta, signals },
                ));
                Ok(())
            },
        );
    }

    /// Keeps the watcher's folders in step with the state.
    fn watch_runs(&mut self) {
        let mut roots = self.state.run_folders.clone();
        roots.extend(self.opened_runs.iter().cloned());
        roots.extend(self.usual_runs.iter().cloned());
        match &self.watcher {
            Some(watcher) => watcher.set_roots(roots),
            None if roots.is_empty() => {}
            None => {
                let repaint = self.context.clone();
                match training::Watcher::new(roots, move || repaint.request_repaint()) {
                    Ok(watcher) => self.watcher = Some(watcher),
                    Err(error) => self
                        .toasts
                        .add(Notice::error("Run folders are not watched", &error.into())),
                }
            }
        }
    }

    /// When the run that is looked at has other checkpoints than before, asks for them.
    fn follow_run(&mut self) {
        let Source::Run {
            dir, checkpoints, ..
        } = &self.state.source
        else {
            return;
        };
        let known = checkpoints.iter().map(|(step, _)| *step);
        let now = self
            .state
            .runs
            .iter()
            .find(|run| run.dir == *dir)
            .and_then(|run| run.view());
        if now.is_none_or(|view| view.checkpoints.iter().copied().eq(known)) {
            return;
        }
        let dir = dir.clone();
        self.listing.0 += 1;
        let number = self.listing.0;
        self.loader.spawn(
            "Looking for checkpoints",
            "The run's checkpoints could not be listed",
            move |job| {
                let checkpoints = RunDir::open(&dir)?.checkpoints()?;
                job.send(Message::Checkpoints(number, dir, checkpoints));
                Ok(())
            },
        );
    }

    /// Keyboard, dropped files, the window's close button.
    fn hear_input(&mut self) {
        let (dropped, pointer_down, close) = self.context.input(|input| {
            let dropped: Vec<PathBuf> = input
                .raw
                .dropped_files
                .iter()
                .map(|file| file.path().to_owned())
                .collect();
            (
                dropped,
                input.pointer.any_down(),
                input.viewport().close_requested(),
            )
        });
        self.commands
            .extend(dropped.into_iter().map(Command::OpenPath));
        if !pointer_down {
            self.state.undo.end_gesture();
        }
        if close && !self.allow_close && !self.may_lose(Command::Quit) {
            self.context
                .send_viewport_cmd(egui::ViewportCommand::CancelClose);
        }
        // What lies behind a dialog hears no keys; the palette is closed by the key that opened it.
        let behind = self
            .context
            .memory(|memory| memory.top_modal_layer().is_some());
        if !self.modal.is_open() && (!behind || self.palette.is_open()) {
            let heard = shortcuts(&self.context, &self.state);
            self.commands.extend(heard);
        }
    }

    /// Moves the cursor of a playing episode.
    fn play(&mut self) {
        let (true, Some(steps)) = (self.state.playing, self.state.steps()) else {
            self.next_tick = None;
            return;
        };
        let fps = self
            .state
            .dataset
            .as_ref()
            .and_then(|d| d.data.info().fps)
            .filter(|fps| *fps > 0.0)
            .unwrap_or(5.0);
        let period = 1.0 / f64::from(fps * self.state.speed.max(0.05));
        let now = self.context.time();
        let mut due = self.next_tick.unwrap_or(now + period);
        while due <= now {
            if self.state.cursor.step + 1 < steps {
                self.state.cursor.step += 1;
            } else {
                self.state.playing = false;
                break;
            }
            due += period;
            // After a long pause of the window, go on from here rather than race.
            due = due.max(now - period);
        }
        self.next_tick = Some(due);
        if self.state.playing {
            self.context
                .request_repaint_after_secs((due - now).max(0.0) as f32);
        }
    }

    /// Where every command takes effect.
    pub fn apply(&mut self, command: Command) {
        use Command as C;
        if command.why_disabled(&self.state).is_some() {
            return;
        }
        match command {
            // File
            C::OpenDemo => self.open_demo(),
            C::OpenDataset => self.ask(Ask::Dataset),
            C::OpenRun => self.ask(Ask::Run),
            C::OpenCapture => self.ask(Ask::Capture),
            C::OpenBoxes => self.ask(Ask::Boxes),
            C::OpenFigure => self.ask(Ask::Figure),
            C::OpenSession => self.ask(Ask::Session),
            C::TypePath => self.modal = modals::Modal::path(Ask::Anything),
            C::OpenPath(path) => self.open_path(path),
            C::OpenSpecification(text) => self.open_specification(text),
            C::NewSession => {
                if self.may_lose(C::NewSession) {
                    self.close_everything();
                    self.welcome = true;
                }
            }
            C::ShowSession(path, session) => {
                if self.may_lose(C::ShowSession(path.clone(), session.clone())) {
                    self.open_session(path, *session);
                }
            }
            C::SaveSession => self.save(None),
            C::SaveThen(then) => self.save(Some(*then)),
            C::SaveSessionAs => {
                self.after_save = None;
                self.ask_where_to_save();
            }
            C::SaveSessionTo(path) => self.save_session(path),
            C::CloseDialog => self.modal = modals::Modal::Closed,
            C::DiscardChanges(then) => {
                self.given_up = Some((self.session(), (*then).clone()));
                self.apply(*then);
            }
            C::ExportFigure => {
                self.show_pane(PaneKind::Figure);
                self.ask(Ask::SaveFigure {
                    name: "figure.pdf".to_owned(),
                });
            }
            C::WriteFigure(path) => self.write_figure(path),
            C::Quit => {
                if self.may_lose(C::Quit) {
                    self.allow_close = true;
                    self.context.send_viewport_cmd(egui::ViewportCommand::Close);
                }
            }
            C::CloseDataset => {
                self.ticket += 1;
                // What is still being opened was asked for before.
                self.openings.dataset = self.openings.next();
                self.state.dataset = None;
                self.state.episode = None;
                self.state.playing = false;
                self.state.cursor = Cursor::default();
                self.state.queue.clear();
            }
            C::CloseSource => {
                self.openings.source = self.openings.next();
                self.state.source = Source::Nothing;
            }

            // Edit
            C::Undo => {
                if let Some(before) = self.state.undo.undo(&self.state.settings) {
                    self.state.settings = before;
                }
            }
            C::Redo => {
                if let Some(after) = self.state.undo.redo(&self.state.settings) {
                    self.state.settings = after;
                }
            }
            C::ResetSelection => self.change(|s| s.selection = Default::default()),
            C::SetSelection(selection) => self.change(|s| s.selection = *selection),
            C::SetBeside(beside) => self.change(|s| s.beside = beside),
            C::SwapBeside => self.change(|s| {
                if let Some(beside) = &mut s.beside {
                    std::mem::swap(&mut s.selection, beside);
                }
            }),
            C::SetSample(sample) => {
                self.state.sample = sample.sane();
                self.settings.settings.sample = self.state.sample;
            }
            C::SetOverlay(overlay) => self.change(|s| s.overlay = overlay),
            C::SetMap(map) => self.change(|s| s.map = map),
            C::SetFigure(recipe) => self.change(|s| s.figure = Some(recipe)),

            // Go: robot time
            C::TogglePlay => self.toggle_play(),
            C::StepBack => self.move_by(-1),
            C::StepForward => self.move_by(1),
            C::JumpBack => self.move_by(-10),
            C::JumpForward => self.move_by(10),
            C::FirstStep => self.move_to(0),
            C::LastStep => self.move_to(usize::MAX),
            C::SetStep(step) => self.move_to(step),
            C::PreviousEpisode => self.select_episode(self.state.cursor.episode.checked_sub(1)),
            C::NextEpisode => self.select_episode(self.state.cursor.episode.checked_add(1)),
            C::SelectEpisode(index) => self.select_episode(Some(index)),
            C::GoTo { episode, step } => self.go_to(episode, step),
            C::NextCamera => {
                let cameras = self
                    .state
                    .dataset
                    .as_ref()
                    .map_or(0, |d| d.data.info().cameras.len());
                self.state.cursor.camera = (self.state.cursor.camera + 1) % cameras.max(1);
            }
            C::SetCamera(camera) => {
                let cameras = self
                    .state
                    .dataset
                    .as_ref()
                    .map_or(1, |d| d.data.info().cameras.len());
                self.state.cursor.camera = camera.min(cameras.saturating_sub(1));
            }
            C::SetSpeed(speed) => self.state.speed = speed.clamp(0.1, 16.0),

            // Go: training time
            C::PreviousCheckpoint => self.choose_checkpoint(|chosen, _| chosen.saturating_sub(1)),
            C::NextCheckpoint => self.choose_checkpoint(|chosen, _| chosen + 1),
            C::SetCheckpoint(step) => self.choose_checkpoint(|chosen, checkpoints| {
                checkpoints
                    .iter()
                    .position(|(s, _)| *s == step)
                    .unwrap_or(chosen)
            }),
            C::ToggleFollow => {
                if let Source::Run {
                    follow,
                    chosen,
                    checkpoints,
                    ..
                } = &mut self.state.source
                {
                    *follow = !*follow;
                    if *follow {
                        *chosen = checkpoints.len().saturating_sub(1);
                    }
                }
            }

            // Go: disagreement queue
            C::NextDisagreement => self.move_in_queue(1),
            C::PreviousDisagreement => self.move_in_queue(-1),
            C::SetQueue(queue) => {
                self.state.queue_position = 0;
                self.state.queue = queue;
            }

            // Attention
            C::PreviousLayer => self.move_head(-1, 0),
            C::NextLayer => self.move_head(1, 0),
            C::PreviousHead => self.move_head(0, -1),
            C::NextHead => self.move_head(0, 1),
            C::ShowSelectedHeads => self.change(|s| s.map = MapChoice::Selected),
            C::ShowMeanHeads => self.change(|s| s.map = MapChoice::Mean),
            C::PreviewHead(head) => self.state.preview = head,
            C::ToggleHeatMap => self.change(|s| s.overlay.heat_map = !s.overlay.heat_map),
            C::ToggleMask => self.change(|s| s.overlay.mask = !s.overlay.mask),
            C::ToggleBoxes => self.change(|s| s.overlay.boxes = !s.overlay.boxes),
            C::ToggleSmooth => self.change(|s| {
                s.overlay.upsampling = match s.overlay.upsampling {
                    Upsampling::Nearest => Upsampling::Smooth,
                    Upsampling::Smooth => Upsampling::Nearest,
                };
            }),
            C::ToggleScalePerHead => {
                self.change(|s| s.overlay.scale_per_head = !s.overlay.scale_per_head)
            }

            // Run
            C::NewRun => {
                self.show_pane(PaneKind::Runs);
                self.state.run_form = true;
            }
            C::ShowRunForm(open) => self.state.run_form = open,
            C::ShowTuning(view) => {
                self.state.tuning_view = view;
                self.apply(C::ShowPane(PaneKind::Tuning));
            }
            C::CreateRuns { runs, start } => self.create_runs(runs, start),
            C::SelectRun(dir) => self.state.selected_run = Some(dir),
            C::ResumeRun => self.wish_of_chosen(Wish::Run),
            C::PauseRun => self.wish_of_chosen(Wish::Pause),
            C::StopRun => self.wish_of_chosen(Wish::Stop),
            C::SetWish(dir, wish) => self.set_wish(dir, wish),
            C::InspectRun => {
                if let Some(dir) = self.state.selected_run.clone() {
                    self.open_path(dir);
                }
            }
            C::OpenRunAt(dir) => self.open_path(dir),
            C::ChooseRunFolder => self.ask(Ask::RunFolder),
            C::AddRunFolder(folder) => {
                if !self.state.run_folders.contains(&folder) {
                    self.state.run_folders.push(folder);
                }
                self.settings.settings.run_folders = self.state.run_folders.clone();
                self.watch_runs();
            }

            // View
            C::ShowPalette => self.palette.toggle(),
            C::ToggleFullscreen => {
                let full = self
                    .context
                    .input(|input| input.viewport().fullscreen.unwrap_or(false));
                self.context
                    .send_viewport_cmd(egui::ViewportCommand::Fullscreen(!full));
            }
            C::ResetLayout => self.tree = layout::default_tree(),
            C::ShowPane(kind) => self.show_pane(kind),
            C::ZoomIn => self.zoom(self.context.zoom_factor() + 0.1),
            C::ZoomOut => self.zoom(self.context.zoom_factor() - 0.1),
            C::ZoomReset => self.zoom(1.0),
            C::ThemeDark => self.set_theme(egui::ThemePreference::Dark, ThemeChoice::Dark),
            C::ThemeLight => self.set_theme(egui::ThemePreference::Light, ThemeChoice::Light),
            C::ThemeSystem => self.set_theme(egui::ThemePreference::System, ThemeChoice::System),

            // Help and the rest
            C::ShowShortcuts => self.modal = modals::Modal::Shortcuts,
            C::ShowAbout => self.modal = modals::Modal::about(),
            C::CancelJob(id) => self.state.jobs.cancel(id),
            C::CopyText(text) => self.context.copy_text(text),
            C::Notify(notice) => self.toasts.add(notice),
        }
    }

    /// Changes settings in an undoable way; all changes while the pointer is held down are one step.
    fn change(&mut self, edit: impl FnOnce(&mut Settings)) {
        let before = self.state.settings.clone();
        edit(&mut self.state.settings);
        let dragging = self.context.input(|input| input.pointer.any_down());
        self.state
            .undo
            .record(&before, &self.state.settings, dragging);
    }

    fn ask(&mut self, ask: Ask) {
        let folder = self
            .state
            .session_path
            .as_deref()
            .and_then(Path::parent)
            .map(Path::to_owned);
        self.dialogs.ask(ask, folder, self.context.clone());
    }

    fn open_demo(&mut self) {
        let number = self.openings.next();
        self.loader
            .spawn("Opening demo", "The demo did not open", move |job| {
                let Some(demo) = assets::demo() else {
                    job.send(Message::Notice(Notice::warning(format!(
                        "The demo is not beside this program; set {} to the folder \"assets\" of its source tree",
                        assets::VARIABLE
                    ))));
                    return Ok(());
                };
                let dataset = opening::open_dataset(&demo.recording.to_string_lossy())?;
                job.send(Message::Demo(number, Box::new(dataset), demo.model));
                Ok(())
            });
    }

    fn open_path(&mut self, path: PathBuf) {
        let failure = format!("\"{}\" did not open", short_name(&path));
        let number = self.openings.next();
        self.loader.spawn(
            format!("Opening {}", short_name(&path)),
            failure,
            move |job| {
                let opened = opening::open(&path, job.handle.cancel_flag())?;
                job.send(Message::Opened(number, opened));
                Ok(())
            },
        );
    }

    fn open_specification(&mut self, text: String) {
        let number = self.openings.next();
        self.loader.spawn(
            "Preparing tabletop episodes",
            "The tabletop data could not be made",
            move |job| {
                let dataset = Opened::Dataset(Box::new(opening::open_dataset(&text)?));
                job.send(Message::Opened(number, dataset));
                Ok(())
            },
        );
    }

    fn close_everything(&mut self) {
        self.apply(Command::CloseDataset);
        self.apply(Command::CloseSource);
        self.session_number += 1;
        self.given_up = None;
        self.after_save = None;
        self.state.settings = Settings::default();
        self.state.undo = Default::default();
        self.state.session_path = None;
        self.state.session_name = String::new();
        self.saved = None;
    }

    /// The session as it is now.
    pub fn session(&self) -> Session {
        let state = &self.state;
        Session {
            name: state.session_name.clone(),
            dataset: state.dataset.as_ref().map(|d| d.origin.clone()),
            // The file beside the dataset is found again by itself.
            boxes: state.dataset.as_ref().and_then(|d| {
                let (path, _) = d.boxes.as_ref()?;
                (d.boxes_beside.as_ref() != Some(path)).then(|| path.clone())
            }),
            source: match &state.source {
                Source::Nothing => SourceRef::Nothing,
                Source::Captures { path, .. } => SourceRef::Capture(path.clone()),
                Source::Checkpoint { path } => SourceRef::Checkpoint(path.clone()),
                Source::Run { dir, follow, .. } => SourceRef::Run {
                    dir: dir.clone(),
                    step: if *follow {
                        None
                    } else {
                        state.source.training_step()
                    },
                },
            },
            follow: state.source.follows(),
            episode: state.cursor.episode,
            step: state.cursor.step,
            camera: state.cursor.camera,
            selection: state.settings.selection.clone(),
            beside: state.settings.beside.as_deref().cloned(),
            map: state.settings.map,
            overlay: state.settings.overlay.clone(),
            figure: state.settings.figure.as_deref().cloned(),
            run_folders: state.run_folders.clone(),
            layout: layout::describe(&self.tree),
            ..Session::default()
        }
    }

    /// Whether the session would lose something: a move of the cursor or of a pane is nothing to ask about, nor is in a
    /// session without a name what a click brings back.
    fn has_unsaved(&self) -> bool {
        let now = self.session();
        let named = self.state.session_path.is_some();
        match self.saved.as_ref().filter(|_| named) {
            Some(saved) => !holds_the_same(&now, saved),
            None => now.figure.is_some() || now.selection != Default::default(),
        }
    }

    /// Whether `then` may go on. Otherwise it comes again: once the session is written, or when the person says so.
    fn may_lose(&mut self, then: Command) -> bool {
        if self.saving {
            self.after_save = Some(then);
            return false;
        }
        let given_up = |(before, for_this): &(Session, Command)| {
            *for_this == then && holds_the_same(&self.session(), before)
        };
        if !self.given_up.as_ref().is_some_and(given_up) && self.has_unsaved() {
            self.modal = modals::Modal::Unsaved { then };
            return false;
        }
        true
    }

    fn save(&mut self, then: Option<Command>) {
        self.after_save = then;
        match self.state.session_path.clone() {
            Some(path) => self.save_session(path),
            None => self.ask_where_to_save(),
        }
    }

    fn ask_where_to_save(&mut self) {
        let name = if self.state.session_name.is_empty() {
            "session"
        } else {
            &self.state.session_name
        };
        let name = format!("{}.ron", runs::folder_name(name));
        self.ask(Ask::SaveSession { name });
    }

    fn save_session(&mut self, path: PathBuf) {
        if self.state.session_name.is_empty() {
            self.state.session_name = path
                .file_stem()
                .map(|s| s.to_string_lossy().into_owned())
                .unwrap_or_default();
        }
        let (session, number) = (self.session(), self.session_number);
        self.saving = true;
        self.loader
            .spawn("Saving session", "The session was not saved", move |job| {
                let result = guard(|| Ok(session.save(&path)?));
                job.tell(Message::Saved(Box::new(SavedSession {
                    number,
                    path,
                    session,
                    result,
                })));
                Ok(())
            });
    }

    fn take_saved(&mut self, saved: SavedSession) {
        let SavedSession {
            number,
            path,
            session,
            result,
        } = saved;
        self.saving = false;
        let then = self.after_save.take();
        if let Err(error) = result {
            // What was to come after it would lose what is not saved.
            self.toasts
                .add(Notice::error("The session was not saved", &error));
            return;
        }
        self.settings
            .remember(RecentKind::Session, path.to_string_lossy());
        self.toasts.add(Notice::info(format!(
            "Saved the session as {}",
            path.display()
        )));
        if number == self.session_number {
            self.state.session_path = Some(path);
            self.saved = Some(session);
        }
        self.commands.extend(then);
    }

    fn write_figure(&mut self, path: PathBuf) {
        let recipe = match panes::figure::recipe(&self.state, &self.inspector) {
            Ok(recipe) => recipe,
            Err(error) => {
                self.toasts
                    .add(Notice::error("There is no figure to export", &error));
                return;
            }
        };
        self.loader.spawn(
            "Exporting figure",
            "The figure was not exported",
            move |job| {
                panes::figure::export(&recipe, &path, job.handle.cancel_flag())?;
                job.send(Message::Notice(Notice::info(format!(
                    "Exported the figure to {}",
                    path.display()
                ))));
                Ok(())
            },
        );
    }

    fn toggle_play(&mut self) {
        let Some(steps) = self.state.steps() else {
            return;
        };
        self.state.playing = !self.state.playing;
        if self.state.playing && self.state.cursor.step + 1 >= steps {
            self.state.cursor.step = 0;
        }
        self.next_tick = None;
    }

    fn move_by(&mut self, steps: isize) {
        self.state.playing = false;
        self.move_to(self.state.cursor.step.saturating_add_signed(steps));
    }

    fn move_to(&mut self, step: usize) {
        if let Some(steps) = self.state.steps() {
            self.state.cursor.step = step.min(steps.saturating_sub(1));
        }
    }

    fn select_episode(&mut self, index: Option<usize>) {
        let Some((dataset, index)) = self.state.dataset.as_ref().zip(index) else {
            return;
        };
        if index < dataset.data.info().episodes && index != self.state.cursor.episode {
            self.state.cursor.episode = index;
            self.state.cursor.step = 0;
            self.state.playing = false;
            self.read_episode();
        }
    }

    fn move_in_queue(&mut self, by: isize) {
        let position = self.state.queue_position.saturating_add_signed(by);
        if let Some(&(episode, step)) = self.state.queue.get(position) {
            self.go_to(episode, step);
        }
    }

    /// To a frame whose episode's length need not be known yet.
    fn go_to(&mut self, episode: usize, step: usize) {
        let episodes = self
            .state
            .dataset
            .as_ref()
            .map_or(1, |dataset| dataset.data.info().episodes);
        if episode >= episodes {
            return;
        }
        self.state.playing = false;
        self.state.cursor.episode = episode;
        self.state.cursor.step = step;
        if let Some(position) = self
            .state
            .queue
            .iter()
            .position(|place| *place == (episode, step))
        {
            self.state.queue_position = position;
        }
        self.read_episode();
    }

    fn choose_checkpoint(&mut self, choose: impl FnOnce(usize, &[(u64, PathBuf)]) -> usize) {
        if let Source::Run {
            checkpoints,
            chosen,
            follow,
            ..
        } = &mut self.state.source
        {
            let last = checkpoints.len().saturating_sub(1);
            let before = *chosen;
            *chosen = choose(before, checkpoints).min(last);
            if *chosen != before {
                // Who looks back stays there; who comes to the end goes on following.
                *follow = *chosen == last;
            }
        }
    }

    fn move_head(&mut self, layers: i32, heads: i32) {
        let Some((n_layers, n_heads)) = self.inspector.shape() else {
            return;
        };
        let shift = |at: u16, by: i32, n: usize| {
            let n = i32::try_from(n).unwrap_or(i32::MAX).max(1);
            u16::try_from((i32::from(at) + by).rem_euclid(n)).unwrap_or(0)
        };
        let head = match self.state.settings.map {
            MapChoice::Head(head) => HeadId {
                layer: shift(head.layer, layers, n_layers),
                head: shift(head.head, heads, n_heads),
            },
            _ => HeadId { layer: 0, head: 0 },
        };
        self.change(|s| s.map = MapChoice::Head(head));
    }

    fn create_runs(&mut self, wanted: Vec<(training::RunSpec, PathBuf)>, start: bool) {
        self.state.creating_runs = true;
        self.loader
            .spawn("Creating runs", "The runs were not created", move |job| {
                let mut created = Vec::new();
                let made = guard(|| create_all(job, &wanted, &mut created));
                job.tell(Message::Created(created, start));
                made
            });
    }

    fn take_created(&mut self, created: Vec<PathBuf>, start: bool) {
        self.state.creating_runs = false;
        // The form stays when nothing came of it: what was filled in is to be corrected.
        let Some(first) = created.first().cloned() else {
            return;
        };
        self.state.run_form = false;
        if let Some(folder) = first.parent().map(Path::to_owned) {
            self.apply(Command::AddRunFolder(folder));
        }
        self.state.selected_run = Some(first);
        if start {
            self.to_start.extend(created);
            self.start_next();
        }
        if let Some(watcher) = &self.watcher {
            watcher.refresh();
        }
    }

    /// Starts the next of the runs that wait for each other, when the one before has come to its end.
    fn start_next(&mut self) {
        let state_of = |dir: &Path| {
            let run = self.state.runs.iter().find(|run| run.dir == dir)?;
            run.view().map(|view| view.status.state)
        };
        if let Some((dir, seen)) = &mut self.started {
            match state_of(dir) {
                Some(state) if state.has_ended() => {}
                None if *seen => {}
                now => {
                    *seen |= now.is_some();
                    return;
                }
            }
        }
        self.started = None;
        // One that somebody started or stopped in the meantime is left alone.
        let mut waiting = std::iter::from_fn(|| self.to_start.pop_front());
        let next = waiting.find(|dir| {
            let state = self.state.runs.iter().find(|run| run.dir == **dir);
            state
                .and_then(|run| run.view())
                .is_none_or(|view| view.status.state == training::State::Queued)
        });
        if let Some(dir) = next {
            self.started = Some((dir.clone(), false));
            self.set_wish(dir, Wish::Run);
        }
    }

    fn wish_of_chosen(&mut self, wish: Wish) {
        if let Some(dir) = self.state.selected_run.clone() {
            self.set_wish(dir, wish);
        }
    }

    fn set_wish(&mut self, dir: PathBuf, wish: Wish) {
        let (label, failure) = match wish {
            Wish::Run => ("Starting run", "The run did not start"),
            Wish::Pause => ("Pausing run", "The run was not paused"),
            Wish::Stop => ("Stopping run", "The run was not stopped"),
        };
        self.loader.spawn(label, failure, move |job| {
            runs::wish(&dir, wish).inspect_err(|_| {
                if wish == Wish::Run {
                    job.tell(Message::NotStarted(dir));
                }
            })
        });
        if let Some(watcher) = &self.watcher {
            watcher.refresh();
        }
    }

    fn show_pane(&mut self, kind: PaneKind) {
        self.welcome = false;
        layout::show(&mut self.tree, kind);
    }

    fn zoom(&mut self, zoom: f32) {
        let zoom = (zoom * 10.0).round() / 10.0;
        self.context.set_zoom_factor(zoom.clamp(0.5, 3.0));
        self.settings.settings.zoom = self.context.zoom_factor();
    }

    fn set_theme(&mut self, preference: egui::ThemePreference, choice: ThemeChoice) {
        self.context.set_theme(preference);
        self.state.theme = preference;
        self.settings.settings.theme = choice;
    }

    /// Remembers what shall be as it was at the next start.
    fn remember_window(&mut self) {
        let (size, maximized) = self.context.input(|input| {
            let viewport = input.viewport();
            (
                viewport.inner_rect.map(|rect| rect.size()),
                viewport.maximized.unwrap_or(false),
            )
        });
        let settings = &mut self.settings.settings;
        settings.maximized = maximized;
        if let Some(size) = size.filter(|_| !maximized) {
            settings.window_size = (
                size.x * self.context.zoom_factor(),
                size.y * self.context.zoom_factor(),
            );
        }
        settings.layout = layout::describe(&self.tree);
    }
}

impl eframe::App for Workbench {
    fn ui(&mut self, ui: &mut egui::Ui, _: &mut eframe::Frame) {
        self.remember_window();
        Workbench::ui(self, ui);
    }

    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        theme::of(visuals).ground.to_normalized_gamma_f32()
    }

    fn on_exit(&mut self) {
        if let Err(error) = self.settings.save() {
            tracing::error!("{error:#}");
        }
    }
}

/// Whether two sessions are the same but for cursor, layout and source.
fn holds_the_same(a: &Session, b: &Session) -> bool {
    a.dataset == b.dataset
        && a.boxes == b.boxes
        && a.selection == b.selection
        && a.beside == b.beside
        && a.map == b.map
        && a.overlay == b.overlay
        && a.figure == b.figure
}

/// Creates the folders of runs, after a look at their data. Those that cannot be made are told.
fn create_all(
    job: &loader::Job,
    wanted: &[(training::RunSpec, PathBuf)],
    created: &mut Vec<PathBuf>,
) -> anyhow::Result<()> {
    // Many runs share their data, which may take a while to open.
    let mut checked: Vec<&training::DataSpec> = Vec::new();
    for (index, (spec, path)) in wanted.iter().enumerate() {
        if job.handle.is_cancelled() {
            break;
        }
        let share = index as f32 / wanted.len() as f32;
        job.handle.progress(share, spec.name.clone());
        let mut make = || -> anyhow::Result<PathBuf> {
            if !checked.contains(&&spec.data) {
                spec.check_data()?;
                checked.push(&spec.data);
            }
            let folder = path.parent().unwrap_or(Path::new(""));
            let path = runs::free_path(folder, &short_name(path), created);
            Ok(RunDir::create(&path, spec)?.path().to_owned())
        };
        match make() {
            Ok(path) => created.push(path),
            Err(error) => {
                let title = format!("\"{}\" was not created", spec.name);
                job.send(Message::Notice(Notice::error(title, &error)));
            }
        }
    }
    Ok(())
}

/// The last part of a path.
fn short_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// Commands whose key was pressed. Plain keys belong to the widget that has the keyboard, if one has.
fn shortcuts(context: &egui::Context, state: &WorkbenchState) -> Vec<Command> {
    let widget_has_keyboard = context.egui_wants_keyboard_input();
    let mut bound: Vec<(egui::KeyboardShortcut, Command)> = Command::all()
        .into_iter()
        .filter_map(|command| Some((command.info()?.shortcut?, command)))
        .filter(|(shortcut, _)| {
            let plain = !shortcut.modifiers.command && !is_function_key(shortcut.logical_key);
            !(plain && widget_has_keyboard)
        })
        .collect();
    // egui takes Shift+→ for → too, so the more particular shortcut is asked first.
    bound.sort_by_key(|(shortcut, _)| !shortcut.modifiers.shift);
    let is_text_undo = |command: &Command| {
        matches!(command, Command::Undo | Command::Redo) && context.text_edit_focused()
    };
    bound
        .into_iter()
        .filter(|(shortcut, command)| {
            !is_text_undo(command) && context.input_mut(|input| input.consume_shortcut(shortcut))
        })
        .map(|(_, command)| command)
        .filter(|command| command.why_disabled(state).is_none())
        .collect()
}

fn is_function_key(key: egui::Key) -> bool {
    matches!(key, egui::Key::F1 | egui::Key::F11)
}

/// Draws panes into the tree.
struct PanesUi<'a> {
    /// Tiles whose tab is in front.
    in_front: Vec<TileId>,
    panes: &'a mut BTreeMap<PaneKind, Box<dyn Pane>>,
    context: PaneContext<'a>,
}

impl egui_tiles::Behavior<PaneKind> for PanesUi<'_> {
    fn pane_ui(&mut self, ui: &mut egui::Ui, _: TileId, kind: &mut PaneKind) -> UiResponse {
        let kind = *kind;
        let pane = self.panes.entry(kind).or_insert_with(|| kind.build());
        let tokens = theme::tokens(ui);
        egui::Frame::NONE
            .fill(tokens.panel)
            .inner_margin(theme::PANE_MARGIN)
            .show(ui, |ui| {
                ui.set_min_size(ui.available_size());
                ui.push_id(kind.title(), |ui| pane.ui(ui, &mut self.context));
            });
        UiResponse::None
    }

    fn tab_title_for_pane(&mut self, kind: &PaneKind) -> egui::WidgetText {
        match self.panes.get(kind) {
            Some(pane) => pane.title().into(),
            None => kind.title().into(),
        }
    }

    fn is_tab_closable(&self, _: &Tiles<PaneKind>, id: TileId) -> bool {
        // Only the tab in front: a row of crosses is noise.
        self.in_front.contains(&id)
    }

    fn simplification_options(&self) -> egui_tiles::SimplificationOptions {
        egui_tiles::SimplificationOptions {
            all_panes_must_have_tabs: true,
            ..Default::default()
        }
    }

    fn gap_width(&self, _: &egui::Style) -> f32 {
        theme::SPACE
    }

    fn min_size(&self) -> f32 {
        30.0 * theme::SPACE
    }

    fn tab_bar_height(&self, _: &egui::Style) -> f32 {
        theme::TAB_HEIGHT
    }

    fn tab_bar_color(&self, visuals: &egui::Visuals) -> egui::Color32 {
        theme::of(visuals).ground
    }

    fn tab_bg_color(
        &self,
        visuals: &egui::Visuals,
        _: &Tiles<PaneKind>,
        _: TileId,
        state: &egui_tiles::TabState,
    ) -> egui::Color32 {
        if state.active {
            theme::of(visuals).panel
        } else {
            egui::Color32::TRANSPARENT
        }
    }

    fn tab_outline_stroke(
        &self,
        _: &egui::Visuals,
        _: &Tiles<PaneKind>,
        _: TileId,
        _: &egui_tiles::TabState,
    ) -> egui::Stroke {
        egui::Stroke::NONE
    }

    fn tab_bar_hline_stroke(&self, _: &egui::Visuals) -> egui::Stroke {
        egui::Stroke::NONE
    }

    fn tab_text_color(
        &self,
        visuals: &egui::Visuals,
        _: &Tiles<PaneKind>,
        _: TileId,
        state: &egui_tiles::TabState,
    ) -> egui::Color32 {
        let tokens = theme::of(visuals);
        if state.active {
            tokens.text_strong
        } else {
            tokens.text_weak
        }
    }

    fn tab_title_spacing(&self, _: &egui::Visuals) -> f32 {
        3.0 * theme::SPACE
    }

    fn resize_stroke(&self, style: &egui::Style, state: egui_tiles::ResizeState) -> egui::Stroke {
        let tokens = theme::of(&style.visuals);
        match state {
            egui_tiles::ResizeState::Idle => egui::Stroke::NONE,
            egui_tiles::ResizeState::Hovering => {
                egui::Stroke::new(2.0, tokens.accent.gamma_multiply(0.6))
            }
            egui_tiles::ResizeState::Dragging => egui::Stroke::new(2.0, tokens.accent),
        }
    }
}
