//! The window by accessible label: what a person must not lose, and what a run must obey.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use gazelab::command::Command;
use gazelab::figure_job::{FigureSource, figure, recipe_path};
use gazelab::panes::PaneKind;
use gazelab::settings::SettingsFile;
use gazelab::workbench::{Options, Workbench};
use training::{RunDir, RunRequest, RunSpec, State};

type Window = Harness<'static, Workbench>;

/// A window of 1280 × 800 points.
fn window(options: Options) -> Window {
    let mut harness = Harness::builder()
        .with_size([1280.0, 800.0])
        .build_eframe(|creation| Workbench::new(&creation.egui_ctx, options));
    harness.run_steps(3);
    harness
}

fn open(what: impl Into<String>) -> Window {
    window(Options {
        open: Some(what.into()),
        ..Options::bare()
    })
}

/// Steps until `done` or, after a while, fails.
fn wait(harness: &mut Window, what: &str, done: impl Fn(&Workbench) -> bool) {
    let start = Instant::now();
    while !done(harness.state()) {
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "{what} did not come"
        );
        std::thread::sleep(Duration::from_millis(10));
        harness.step();
    }
    harness.run_steps(2);
}

fn send(harness: &mut Window, command: Command) {
    harness.state_mut().send(command);
    harness.run_steps(3);
}

fn click(harness: &mut Window, label: &str) {
    harness.get_by_label(label).click();
    harness.run_steps(4);
}

/// Moves a threshold, as the sliders do.
fn tune(harness: &mut Window, k: usize) {
    let mut selection = harness.state().state().settings.selection.clone();
    selection.k = k;
    send(harness, Command::SetSelection(Box::new(selection)));
}

fn k(harness: &Window) -> usize {
    harness.state().state().settings.selection.k
}

fn asks(harness: &Window) -> bool {
    harness.query_by_label("Save changes first?").is_some()
}

fn spec(steps: u64) -> RunSpec {
    RunSpec::from_request(&RunRequest {
        objective: "action",
        size: "nano",
        data: "tabletop:object?episodes=4&env=A&seed=1",
        cameras: Vec::new(),
        steps: Some(steps),
        seed: 1,
        device: "cpu",
    })
    .unwrap()
}

const SMALL: &str = "tabletop:object?episodes=1&env=A&seed=2";

/// A session in a file, and a window that shows it.
fn named_session(dir: &Path) -> (Window, PathBuf) {
    let path = dir.join("pilot.ron");
    let mut harness = window(Options::bare());
    send(&mut harness, Command::SaveSessionTo(path.clone()));
    wait(&mut harness, "the file", |w| {
        w.state().session_path.is_some()
    });
    (harness, path)
}

#[test]
fn work_without_a_name_is_asked_about_before_it_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other.ron");
    session::Session::default().save(&other).unwrap();
    let mut harness = window(Options::bare());
    // Nothing was made yet.
    send(&mut harness, Command::NewSession);
    assert!(!asks(&harness));
    tune(&mut harness, 9);
    send(&mut harness, Command::NewSession);
    assert!(asks(&harness));
    click(&mut harness, "Cancel");
    assert_eq!(k(&harness), 9);
    // Another session asks as well, and only then takes its place.
    send(&mut harness, Command::OpenPath(other.clone()));
    wait(&mut harness, "the other session", |w| w.is_idle());
    assert!(asks(&harness));
    assert_eq!(k(&harness), 9);
    click(&mut harness, "Discard changes");
    wait(&mut harness, "the other session", |w| {
        w.state().session_path.is_some()
    });
    assert_ne!(k(&harness), 9);
    assert_eq!(harness.state().errors(), 0);
}

#[test]
fn changes_of_a_named_session_are_saved_before_another_one_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other.ron");
    session::Session::default().save(&other).unwrap();
    let (mut harness, path) = named_session(dir.path());
    tune(&mut harness, 9);
    send(&mut harness, Command::OpenPath(other.clone()));
    wait(&mut harness, "the question", |w| w.is_idle());
    assert!(asks(&harness));
    click(&mut harness, "Save");
    wait(&mut harness, "the other session", |w| {
        w.state().session_path.as_deref() == Some(other.as_path())
    });
    assert_eq!(session::Session::load(&path).unwrap().selection.k, 9);
    assert_ne!(k(&harness), 9);
}

#[test]
fn a_save_that_fails_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("unplugged");
    std::fs::create_dir(&folder).unwrap();
    let (mut harness, _) = named_session(&folder);
    tune(&mut harness, 9);
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    send(&mut harness, Command::NewSession);
    click(&mut harness, "Save");
    wait(&mut harness, "the error", |w| w.errors() == 1);
    harness.get_by_label("The session was not saved");
    assert_eq!(k(&harness), 9);
    assert!(harness.state().state().session_path.is_some());
    // It is still not saved, and still asked about.
    send(&mut harness, Command::Quit);
    assert!(asks(&harness));
}

#[test]
fn the_demo_does_not_take_over_the_file_of_a_session() {
    if gazelab::assets::demo().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut harness, _) = named_session(dir.path());
    send(&mut harness, Command::OpenDemo);
    wait(&mut harness, "the demo", |w| w.state().dataset.is_some());
    assert_eq!(harness.state().state().session_path, None);
}

#[test]
fn a_session_that_names_a_session_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("loop.ron");
    for source in ["Capture", "Checkpoint"] {
        let text = format!("(version: 1, source: {source}(\"loop.ron\"))");
        std::fs::write(&path, text).unwrap();
        let mut harness = open(path.to_string_lossy());
        wait(&mut harness, "the refusal", |w| w.errors() == 1);
        wait(&mut harness, "the end of it", |w| w.is_idle());
        harness.run_steps(10);
        assert!(harness.state().is_idle());
        assert_eq!(harness.state().errors(), 1);
    }
}

#[test]
fn a_slow_opening_does_not_replace_a_later_one() {
    let mut harness = window(Options::bare());
    for text in ["tabletop:object?episodes=600&env=A&seed=1", SMALL] {
        harness
            .state_mut()
            .send(Command::OpenSpecification(text.to_owned()));
    }
    wait(&mut harness, "both", |w| {
        w.state().dataset.is_some() && w.is_idle()
    });
    let dataset = harness.state().state().dataset.as_ref().unwrap();
    assert_eq!(dataset.origin, SMALL);
    // The same for what is closed before it is there.
    send(&mut harness, Command::OpenSpecification(SMALL.to_owned()));
    harness.state_mut().send(Command::CloseDataset);
    wait(&mut harness, "the end of it", |w| w.is_idle());
}

#[test]
fn what_was_closed_while_it_was_opened_stays_closed() {
    let mut harness = window(Options::bare());
    let slow = "tabletop:object?episodes=300&env=A&seed=1".to_owned();
    harness.state_mut().send(Command::OpenSpecification(slow));
    harness.state_mut().send(Command::NewSession);
    harness.run_steps(2);
    wait(&mut harness, "the end of it", |w| w.is_idle());
    assert!(harness.state().state().dataset.is_none());
}

#[derive(Debug)]
struct Dropped(PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        Err("only its path is asked for".to_owned())
    }
}

#[test]
fn a_path_dropped_on_the_window_opens() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    RunDir::create(&run, &spec(10)).unwrap();
    let mut harness = window(Options::bare());
    harness
        .input_mut()
        .dropped_files
        .push(Arc::new(Dropped(run.clone())));
    wait(&mut harness, "the run", |w| {
        w.state().source.run() == Some(run.as_path())
    });
    assert_eq!(harness.state().errors(), 0);
}

#[test]
fn keys_do_not_reach_what_lies_behind_the_run_form() {
    let mut harness = window(Options::bare());
    let mask = harness.state().state().settings.overlay.mask;
    send(&mut harness, Command::NewRun);
    harness.get_by_label("Create run");
    harness.key_press(egui::Key::M);
    harness.run_steps(3);
    assert_eq!(harness.state().state().settings.overlay.mask, mask);
    click(&mut harness, "Cancel");
    harness.key_press(egui::Key::M);
    harness.run_steps(3);
    assert_ne!(harness.state().state().settings.overlay.mask, mask);
}

#[test]
fn the_run_form_says_how_heads_are_chosen() {
    let mut harness = window(Options::bare());
    send(&mut harness, Command::NewRun);
    harness.get_by_label("by the default thresholds");
    click(&mut harness, "Cancel");
    tune(&mut harness, 9);
    send(&mut harness, Command::NewRun);
    harness.get_by_label("As tuned in this window");
}

#[test]
fn a_run_that_cannot_be_made_keeps_the_form_open() {
    let dir = tempfile::tempdir().unwrap();
    let mut harness = window(Options::bare());
    send(&mut harness, Command::NewRun);
    let mut bad = spec(10);
    bad.data.source = "/nowhere/at/all".to_owned();
    send(
        &mut harness,
        Command::CreateRuns {
            runs: vec![(bad, dir.path().join("bad"))],
            start: false,
        },
    );
    wait(&mut harness, "the error", |w| {
        w.errors() == 1 && !w.state().creating_runs
    });
    assert!(harness.state().state().run_form);
    assert!(!dir.path().join("bad").exists());
}

#[test]
fn runs_in_the_usual_folder_appear_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    // No other test depends on the working folder.
    std::env::set_current_dir(dir.path()).unwrap();
    let folder = gazelab::runs::default_folder();
    assert!(!folder.exists());
    let mut settings = SettingsFile::in_memory();
    settings.watches_usual_folder = true;
    let mut harness = window(Options {
        settings,
        ..Options::bare()
    });
    RunDir::create(&folder.join("mine"), &spec(10)).unwrap();
    wait(&mut harness, "the run", |w| w.state().runs.len() == 1);
}

#[test]
fn a_figure_of_pictures_is_exported_and_its_recipe_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let mut harness = open(SMALL);
    wait(&mut harness, "the episode", |w| {
        w.state().episode.is_some() && w.is_idle()
    });
    send(&mut harness, Command::ShowPane(PaneKind::Figure));
    click(&mut harness, "Start with the current frame");
    assert!(!harness.state().state().has_source());
    let export = harness.get_by_label("Export figure…");
    assert!(!export.accesskit_node().is_disabled());
    let path = dir.path().join("gaze.svg");
    send(&mut harness, Command::WriteFigure(path.clone()));
    wait(&mut harness, "the figure", |w| {
        w.is_idle() && recipe_path(&path).is_file()
    });
    let recipe = ::figure::Recipe::load(&recipe_path(&path)).unwrap();
    let again = figure(&recipe, &mut FigureSource::new(Arc::default())).unwrap();
    let copy = dir.path().join("copy.svg");
    let format = ::figure::Format::of(&copy, recipe.style.dpi).unwrap();
    again.export(format, &copy).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&copy).unwrap());
    // Closing everything but the figure leaves it to be exported.
    send(&mut harness, Command::CloseDataset);
    assert_eq!(
        Command::ExportFigure.why_disabled(harness.state().state()),
        None
    );
    assert_eq!(harness.state().errors(), 0);
}

fn state_of(workbench: &Workbench, dir: &Path) -> Option<State> {
    let run = workbench.state().runs.iter().find(|run| run.dir == dir)?;
    run.view().map(|view| view.status.state)
}

#[test]
fn a_run_is_followed_paused_resumed_and_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    let mut spec = spec(1_000_000);
    spec.schedule.batch = 1;
    spec.checkpoint_every = 20;
    // None is cleared away while it is looked through.
    spec.keep_checkpoints = 100;
    spec.probes = 0;
    let run = RunDir::create(&path, &spec).unwrap();
    let interrupt = Arc::new(AtomicBool::new(false));
    let trainer = std::thread::Builder::new()
        .name("trainer".into())
        .spawn({
            let interrupt = interrupt.clone();
            move || training::train_until(&run, None, &interrupt, &mut |_| {})
        })
        .unwrap();

    let mut harness = window(Options::bare());
    send(&mut harness, Command::AddRunFolder(dir.path().to_owned()));
    wait(&mut harness, "the run", |w| {
        state_of(w, &path) == Some(State::Running)
    });
    send(&mut harness, Command::ShowPane(PaneKind::Runs));
    send(&mut harness, Command::SelectRun(path.clone()));
    send(&mut harness, Command::InspectRun);
    let step = |w: &Workbench| w.state().source.training_step().unwrap_or(0);
    wait(&mut harness, "a checkpoint", |w| step(w) > 0);
    let before = step(harness.state());
    wait(&mut harness, "a later checkpoint", |w| step(w) > before);
    assert!(harness.state().state().source.follows());

    click(&mut harness, "Pause run");
    wait(&mut harness, "the pause", |w| {
        state_of(w, &path) == Some(State::Paused)
    });
    // Pausing writes a checkpoint; wait for it to be followed.
    wait(&mut harness, "rest", |w| w.is_idle());
    send(&mut harness, Command::PreviousCheckpoint);
    assert!(!harness.state().state().source.follows());
    send(&mut harness, Command::NextCheckpoint);
    assert!(harness.state().state().source.follows());

    let before = step(harness.state());
    click(&mut harness, "Start or resume run");
    wait(&mut harness, "more training", |w| step(w) > before);
    click(&mut harness, "Stop run");
    wait(&mut harness, "the end", |w| {
        state_of(w, &path) == Some(State::Stopped)
    });
    interrupt.store(true, Ordering::Relaxed);
    assert_eq!(trainer.join().unwrap().unwrap(), State::Stopped);
    assert_eq!(harness.state().errors(), 0);
}
