//! Walks the window by accessible label, without display or GPU.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::time::{Duration, Instant};

use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use gazelab::command::{Command, Menu};
use gazelab::panes::PaneKind;
use gazelab::workbench::{Options, Workbench};

/// A window of 1280 × 800 points.
fn window(options: Options) -> Harness<'static, Workbench> {
    let mut harness = Harness::builder()
        .with_size([1280.0, 800.0])
        .build_eframe(|creation| Workbench::new(&creation.egui_ctx, options));
    harness.run_steps(3);
    harness
}

/// Steps until `done` or, after a while, fails.
fn wait(harness: &mut Harness<'static, Workbench>, what: &str, done: impl Fn(&Workbench) -> bool) {
    let start = Instant::now();
    while !done(harness.state()) {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{what} did not come"
        );
        std::thread::sleep(Duration::from_millis(10));
        harness.step();
    }
    harness.run_steps(2);
}

fn send(harness: &mut Harness<'static, Workbench>, command: Command) {
    harness.state_mut().send(command);
    harness.run_steps(3);
}

#[test]
fn the_welcome_screen_offers_what_can_be_opened() {
    let mut harness = window(Options::bare());
    assert!(harness.state().shows_welcome());
    for card in [
        "Built-in tabletop demo",
        "Open dataset…",
        "Open run…",
        "Open capture…",
    ] {
        harness.get_by_label(card);
    }
    harness.get_by_label("New run…").click();
    harness.run_steps(4);
    harness.get_by_label("Create run");
    harness.get_by_label("Cancel").click();
    harness.run_steps(4);
    assert!(!harness.state().shows_welcome());
    assert_eq!(harness.state().errors(), 0);
}

#[test]
fn every_menu_opens_and_every_command_is_in_one() {
    let mut harness = window(Options::bare());
    for menu in Menu::ALL {
        harness.get_by_label(menu.label()).click();
        harness.run_steps(3);
        for command in Command::all() {
            let info = command.info().expect("listed commands have a label");
            if info.menu == menu {
                assert!(
                    harness.query_all_by_label(info.label).next().is_some(),
                    "{} is not in {}",
                    info.label,
                    menu.label()
                );
            }
        }
        harness.key_press(egui::Key::Escape);
        harness.run_steps(3);
    }
}

#[test]
fn every_pane_opens_with_nothing_loaded_in_both_themes() {
    let mut harness = window(Options::bare());
    for theme in [Command::ThemeDark, Command::ThemeLight] {
        send(&mut harness, theme);
        for kind in PaneKind::ALL {
            send(&mut harness, Command::ShowPane(kind));
            assert!(
                harness.query_all_by_label(kind.title()).next().is_some(),
                "{}",
                kind.title()
            );
        }
    }
    send(&mut harness, Command::ResetLayout);
    assert_eq!(harness.state().errors(), 0);
}

#[test]
fn the_palette_finds_and_runs_a_command() {
    let mut harness = window(Options::bare());
    harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::K);
    harness.run_steps(3);
    harness
        .get_by_label("Find a command")
        .type_text("light theme");
    harness.run_steps(3);
    harness.key_press(egui::Key::Enter);
    harness.run_steps(4);
    assert_eq!(harness.state().state().theme, egui::ThemePreference::Light);
    assert!(
        harness.query_by_label("Find a command").is_none(),
        "the palette closes"
    );
}

#[test]
fn a_missing_path_is_a_readable_error_and_nothing_is_lost() {
    let mut harness = window(Options::bare());
    send(&mut harness, Command::OpenPath("/nowhere/at/all".into()));
    wait(&mut harness, "the error", |workbench| {
        workbench.errors() == 1
    });
    harness.get_by_label_contains("\"all\" did not open");
    assert!(harness.state().shows_welcome());
}

#[test]
fn a_generated_dataset_can_be_walked_by_keys() {
    let options = Options {
        open: Some("tabletop:object?episodes=3&env=A&seed=5".into()),
        ..Options::bare()
    };
    let mut harness = window(options);
    wait(&mut harness, "the episode", |workbench| {
        workbench.state().episode.is_some()
    });
    let steps = harness.state().state().steps().unwrap();
    assert!(steps > 4, "{steps}");
    let jumped = (1 + 10).min(steps - 1);
    for (key, modifiers, expected) in [
        (egui::Key::ArrowRight, egui::Modifiers::NONE, 1),
        (egui::Key::ArrowRight, egui::Modifiers::SHIFT, jumped),
        (egui::Key::ArrowLeft, egui::Modifiers::NONE, jumped - 1),
        (egui::Key::End, egui::Modifiers::NONE, steps - 1),
        (egui::Key::Home, egui::Modifiers::NONE, 0),
    ] {
        harness.key_press_modifiers(modifiers, key);
        harness.run_steps(3);
        assert_eq!(harness.state().state().cursor.step, expected, "{key:?}");
    }
    harness.key_press(egui::Key::ArrowDown);
    wait(&mut harness, "the next episode", |workbench| {
        workbench
            .state()
            .episode
            .as_ref()
            .is_some_and(|episode| episode.meta.index == 1)
    });
    // A frame of the harness is a quarter of a second; four times slower, playing lasts longer than the test looks.
    send(&mut harness, Command::SetSpeed(0.25));
    harness.get_by_label("Play or pause").click();
    wait(&mut harness, "playing", |workbench| {
        workbench.state().cursor.step > 1
    });
    assert!(harness.state().state().playing);
    harness.key_press(egui::Key::Space);
    harness.run_steps(3);
    assert!(!harness.state().state().playing);
    assert_eq!(harness.state().errors(), 0);
}

#[test]
fn thresholds_are_undone_by_whole_changes() {
    let mut harness = window(Options::bare());
    let before = harness.state().state().settings.selection.clone();
    let mut changed = before.clone();
    changed.k += 1;
    send(
        &mut harness,
        Command::SetSelection(Box::new(changed.clone())),
    );
    send(&mut harness, Command::ToggleMask);
    assert!(!harness.state().state().settings.overlay.mask);
    harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Z);
    harness.run_steps(3);
    assert!(harness.state().state().settings.overlay.mask);
    assert_eq!(harness.state().state().settings.selection, changed);
    harness.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Z);
    harness.run_steps(3);
    assert_eq!(harness.state().state().settings.selection, before);
    harness.key_press_modifiers(
        egui::Modifiers::COMMAND.plus(egui::Modifiers::SHIFT),
        egui::Key::Z,
    );
    harness.run_steps(3);
    assert_eq!(harness.state().state().settings.selection, changed);
}

#[test]
fn a_session_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pilot.ron");
    let options = Options {
        open: Some("tabletop:goal?episodes=2&env=B&seed=3".into()),
        ..Options::bare()
    };
    let mut harness = window(options);
    wait(&mut harness, "the episode", |workbench| {
        workbench.state().episode.is_some()
    });
    send(&mut harness, Command::SetStep(4));
    send(&mut harness, Command::ToggleBoxes);
    send(&mut harness, Command::SaveSessionTo(path.clone()));
    let saved = harness.state().session();
    assert!(path.is_file());

    let mut again = window(Options {
        open: Some(path.to_string_lossy().into_owned()),
        ..Options::bare()
    });
    wait(&mut again, "the session", |workbench| {
        workbench.state().session_path.is_some()
    });
    wait(&mut again, "the episode", |workbench| {
        workbench.state().episode.is_some()
    });
    assert_eq!(again.state().session(), saved);
    assert_eq!(again.state().state().cursor.step, 4);
    assert!(!again.state().state().settings.overlay.boxes);
    assert_eq!(again.state().errors(), 0);

    // A session from a newer version is refused and kept, and what is open stays open.
    let newer = dir.path().join("newer.ron");
    std::fs::write(&newer, "(version: 99)").unwrap();
    send(&mut again, Command::OpenPath(newer.clone()));
    wait(&mut again, "the refusal", |workbench| {
        workbench.errors() == 1
    });
    assert!(again.state().state().dataset.is_some());
    assert_eq!(std::fs::read_to_string(&newer).unwrap(), "(version: 99)");
}

#[test]
fn runs_appear_by_themselves_and_can_be_created() {
    let dir = tempfile::tempdir().unwrap();
    let mut harness = window(Options::bare());
    send(&mut harness, Command::AddRunFolder(dir.path().to_owned()));
    let request = training::RunRequest {
        objective: "action",
        size: "nano",
        data: "tabletop:object?episodes=4",
        cameras: Vec::new(),
        steps: Some(10),
        seed: 1,
        device: "cpu",
    };
    // One by the window, one by somebody else.
    let spec = training::RunSpec::from_request(&request).unwrap();
    let runs = vec![(spec.clone(), dir.path().join("mine"))];
    send(&mut harness, Command::CreateRuns { runs, start: false });
    let mut other = spec;
    other.name = "Started elsewhere".into();
    training::RunDir::create(&dir.path().join("elsewhere"), &other).unwrap();
    wait(&mut harness, "both runs", |workbench| {
        workbench.state().runs.len() == 2
    });
    send(&mut harness, Command::ShowPane(PaneKind::Runs));
    assert!(
        harness
            .query_all_by_label_contains("Started elsewhere")
            .next()
            .is_some()
    );
    assert_eq!(
        harness.state().state().selected_run.as_deref(),
        Some(dir.path().join("mine").as_path())
    );
    assert_eq!(harness.state().errors(), 0);
}

#[test]
fn real_bridge_data_opens() {
    let Some(path) = gazelab_tests::shared("data/bridge") else {
        return;
    };
    let mut harness = window(Options {
        open: Some(path.to_string_lossy().into_owned()),
        ..Options::bare()
    });
    wait(&mut harness, "the episode", |workbench| {
        workbench.state().episode.is_some()
    });
    assert_eq!(
        harness
            .state()
            .state()
            .dataset
            .as_ref()
            .unwrap()
            .data
            .info()
            .episodes,
        15
    );
    for kind in PaneKind::ALL {
        send(&mut harness, Command::ShowPane(kind));
    }
    assert_eq!(harness.state().errors(), 0);
}
