//! Walks the window by accessible label, without display or GPU.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::time::{Duration, Instant};

use egui::accesskit::{Role, Toggled};
use egui::{Key, Modifiers, Rect};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use egui_kittest::{Harness, Node};
use gazelab::command::{Command, Menu};
use gazelab::panes::PaneKind;
use gazelab::state::WorkbenchState;
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
        (Key::ArrowRight, Modifiers::NONE, 1),
        (Key::ArrowRight, Modifiers::SHIFT, jumped),
        (Key::ArrowLeft, Modifiers::NONE, jumped - 1),
        (Key::End, Modifiers::NONE, steps - 1),
        (Key::Home, Modifiers::NONE, 0),
    ] {
        harness.key_press_modifiers(modifiers, key);
        harness.run_steps(3);
        assert_eq!(harness.state().state().cursor.step, expected, "{key:?}");
    }
    harness.key_press(Key::ArrowDown);
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
    harness.key_press(Key::Space);
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
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    harness.run_steps(3);
    assert!(harness.state().state().settings.overlay.mask);
    assert_eq!(harness.state().state().settings.selection, changed);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    harness.run_steps(3);
    assert_eq!(harness.state().state().settings.selection, before);
    harness.key_press_modifiers(Modifiers::COMMAND.plus(Modifiers::SHIFT), Key::Z);
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
    wait(&mut harness, "the file", |_| path.is_file());

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

/// Somebody with the demo open who finds everything by what it is called.
struct Person(Harness<'static, Workbench>);

impl Person {
    /// Opens the demo from the welcome screen.
    fn with_the_demo() -> Self {
        let mut harness = Harness::builder()
            .with_size([1600.0, 1000.0])
            .build_eframe(|creation| Workbench::new(&creation.egui_ctx, Options::bare()));
        harness.run_steps(3);
        let mut person = Self(harness);
        person.click(Role::Button, "Built-in tabletop demo");
        wait(&mut person.0, "the numbers of the demo", |workbench| {
            workbench.inspector().report().is_some()
        });
        person.settle();
        person
    }

    fn state(&self) -> &WorkbenchState {
        self.0.state().state()
    }

    /// Until nothing works behind the window.
    fn settle(&mut self) {
        self.0.run_steps(4);
        wait(&mut self.0, "rest", Workbench::is_idle);
        self.0.run_steps(4);
    }

    fn all<'a>(&'a self, role: Role, label: &'a str) -> Vec<Node<'a>> {
        self.0.query_all_by_role_and_label(role, label).collect()
    }

    /// The one widget of this kind and name.
    fn one<'a>(&'a self, role: Role, label: &'a str) -> Node<'a> {
        let mut found = self.all(role, label);
        assert_eq!(found.len(), 1, "{role:?} {label:?}");
        found.remove(0)
    }

    fn sees(&self, role: Role, label: &str) -> bool {
        !self.all(role, label).is_empty()
    }

    fn click(&mut self, role: Role, label: &str) {
        let node = self.one(role, label);
        assert!(
            !node.accesskit_node().is_disabled(),
            "{label:?} is disabled"
        );
        node.click();
        self.settle();
    }

    /// Scrolls there: what lies outside its pane has a place on the screen, but something else is there.
    fn scroll_to(&mut self, role: Role, label: &str) {
        self.one(role, label).scroll_to_me();
        self.0.run_steps(8);
    }

    fn press(&mut self, modifiers: Modifiers, key: Key) {
        self.0.key_press_modifiers(modifiers, key);
        self.settle();
    }

    fn value(&self, role: Role, label: &str) -> String {
        self.one(role, label).value().unwrap_or_default()
    }

    fn number(&self, role: Role, label: &str) -> f64 {
        let node = self.one(role, label).accesskit_node();
        node.numeric_value().expect("a number")
    }

    fn is_on(&self, role: Role, label: &str) -> bool {
        is_on(&self.one(role, label))
    }

    /// Every text on the screen, and where.
    fn texts(&self) -> Vec<(Rect, String)> {
        let labels = self.0.query_all_by_role(Role::Label);
        labels
            .map(|node| (node.rect(), node.value().unwrap_or_default()))
            .collect()
    }

    fn text_with(&self, part: &str) -> String {
        let found = self.texts().into_iter().map(|(_, text)| text);
        let found: Vec<String> = found.filter(|text| text.contains(part)).collect();
        assert_eq!(found.len(), 1, "{part:?}: {found:?}");
        found.concat()
    }

    /// The numbers right of a name.
    fn row(&self, name: &str) -> Vec<String> {
        let texts = self.texts();
        let (place, _) = texts.iter().find(|(_, text)| text == name).expect(name);
        let is_beside = |rect: &Rect| {
            (rect.center().y - place.center().y).abs() < 4.0 && rect.left() > place.right()
        };
        let beside = texts.iter().filter(|(rect, _)| is_beside(rect));
        beside.map(|(_, text)| text.clone()).collect()
    }

    /// Opens a menu and gives back what stands in it.
    fn open_menu(&mut self, menu: Menu) -> Vec<Rect> {
        let before = self.places();
        // The bar lies above everything else that has the name of a menu.
        let titles = self.all(Role::Button, menu.label());
        let title = titles
            .iter()
            .min_by(|a, b| a.rect().top().total_cmp(&b.rect().top()));
        title.expect("a menu").click();
        self.0.run_steps(4);
        let places = self.places().into_iter();
        let new: Vec<Rect> = places.filter(|place| !before.contains(place)).collect();
        assert!(!new.is_empty(), "{} did not open", menu.label());
        new
    }

    fn places(&self) -> Vec<Rect> {
        let buttons = self.0.query_all_by_role(Role::Button);
        buttons.map(|node| node.rect()).collect()
    }

    /// Chooses a command from its menu.
    fn choose(&mut self, command: &Command) {
        let info = command.info().unwrap();
        let items = self.open_menu(info.menu);
        let named = self.all(Role::Button, info.label);
        let item = named.iter().find(|node| items.contains(&node.rect()));
        item.expect(info.label).click();
        self.settle();
    }

    /// The size of the figure's preview, once it is another one.
    fn preview_other_than(&mut self, before: &str) -> String {
        let start = Instant::now();
        loop {
            let mut texts = self.texts().into_iter().map(|(_, text)| text);
            if let Some(size) = texts.find(|text| text.ends_with(" mm") && text != before) {
                return size;
            }
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "the preview did not come"
            );
            std::thread::sleep(Duration::from_millis(10));
            self.0.step();
        }
    }

    /// Chooses from a list that opens where its name stands.
    fn pick(&mut self, list: &str, option: &str) {
        self.click(Role::ComboBox, list);
        self.click(Role::Button, option);
    }

    /// The tab of a pane, whether or not it is in front.
    fn tab(&self, kind: PaneKind) -> Option<Node<'_>> {
        let named = self.all(Role::Button, kind.title()).into_iter();
        // Titles of menus are neither on nor off.
        let mut tabs = named.filter(|node| node.accesskit_node().toggled().is_some());
        tabs.next()
    }
}

fn is_on(node: &Node<'_>) -> bool {
    node.accesskit_node().toggled() == Some(Toggled::True)
}

/// Something that only this pane shows while the demo is open.
fn mark(kind: PaneKind) -> (Role, &'static str) {
    match kind {
        PaneKind::Sources => (Role::TextInput, "Search episodes"),
        PaneKind::Trajectory => (Role::Button, "Camera static"),
        PaneKind::Attention => (Role::Slider, "Opacity"),
        PaneKind::Heads => (Role::Button, "One scale"),
        PaneKind::Timeline => (Role::Slider, "Step"),
        PaneKind::Tuning => (Role::ComboBox, "Preset"),
        PaneKind::Compare => (Role::Label, "Largest gaps first"),
        PaneKind::Figure => (Role::Button, "Start with the current frame"),
        PaneKind::Runs => (Role::Label, "No runs yet"),
        PaneKind::Log => (Role::TextInput, "Search the log"),
    }
}

#[test]
fn every_menu_offers_what_can_be_done() {
    let mut person = Person::with_the_demo();
    for menu in Menu::ALL {
        let items = person.open_menu(menu);
        for command in Command::all() {
            let info = command.info().unwrap();
            if info.menu != menu {
                continue;
            }
            let named = person.all(Role::Button, info.label);
            let item = named.iter().find(|node| items.contains(&node.rect()));
            let item = item.expect(info.label).accesskit_node();
            let state = person.state();
            assert_eq!(
                item.is_disabled(),
                command.why_disabled(state).is_some(),
                "{}",
                info.label
            );
            assert_eq!(
                item.toggled() == Some(Toggled::True),
                command.checked(state) == Some(true),
                "{}",
                info.label
            );
        }
        person.press(Modifiers::NONE, Key::Escape);
    }
    let undo = Command::Undo.why_disabled(person.state());
    assert!(undo.is_some(), "looking into menus changes nothing");
    assert_eq!(person.0.state().errors(), 0);
}

#[test]
fn every_pane_closes_and_opens_again() {
    let mut person = Person::with_the_demo();
    for kind in PaneKind::ALL {
        let (role, label) = mark(kind);
        person.tab(kind).expect("a tab").click();
        person.settle();
        assert!(person.sees(role, label), "{} is in front", kind.title());
        // The cross at the tab in front.
        let tab = person.tab(kind).unwrap().rect();
        let crosses = person.all(Role::Button, "Close");
        let cross = crosses.iter().min_by(|a, b| {
            let distance = |node: &Node<'_>| node.rect().left_center().distance(tab.right_center());
            distance(a).total_cmp(&distance(b))
        });
        cross.unwrap().click();
        person.settle();
        assert!(person.tab(kind).is_none(), "{} is closed", kind.title());
        assert!(!person.sees(role, label), "{} is closed", kind.title());
        person.choose(&Command::ShowPane(kind));
        let tab = person.tab(kind).expect("a tab");
        assert!(is_on(&tab), "{}", kind.title());
        assert!(person.sees(role, label), "{} is back", kind.title());
    }
    person.choose(&Command::ResetLayout);
    for kind in PaneKind::ALL {
        assert!(person.tab(kind).is_some(), "{}", kind.title());
    }
    assert_eq!(person.0.state().errors(), 0);
}

#[test]
fn the_time_of_the_robot_is_scrubbed() {
    let mut person = Person::with_the_demo();
    let steps = person.state().steps().unwrap();
    assert_eq!(person.number(Role::Slider, "Step"), 0.0);
    let action = person.row("Action");
    assert!(action.len() >= 2, "{action:?}");
    // Drag along the whole bar, and half the way back.
    let bar = person.one(Role::Slider, "Step").rect();
    person.0.drag_at(bar.left_center() + egui::vec2(8.0, 0.0));
    person.0.run_steps(2);
    for place in [bar.right_center() - egui::vec2(1.0, 0.0), bar.center()] {
        person.0.hover_at(place);
        person.0.run_steps(2);
        let reached = person.number(Role::Slider, "Step") as usize;
        assert_eq!(reached, person.state().cursor.step);
        match place == bar.center() {
            true => assert!(reached > 0 && reached + 1 < steps, "{reached}"),
            false => assert_eq!(reached, steps - 1),
        }
    }
    person.0.drop_at(bar.center());
    person.settle();
    let step = person.state().cursor.step;
    assert!(person.sees(Role::Label, &format!("step {} of {steps}", step + 1)));
    assert!(person.sees(
        Role::Label,
        &format!("episode 0 · step {} of {steps}", step + 1)
    ));
    assert_ne!(person.row("Action"), action, "the values under the cursor");
    person.click(Role::Button, "Step forward");
    assert_eq!(person.state().cursor.step, step + 1);
    person.click(Role::Button, "First step");
    assert_eq!(person.row("Action"), action);
    // Another episode from the list.
    let episodes = person.0.query_all_by_label_contains(", Episode 1, ");
    let episodes: Vec<_> = episodes.collect();
    assert_eq!(episodes.len(), 1);
    episodes[0].click();
    drop(episodes);
    person.settle();
    let steps = person.state().steps().unwrap();
    assert!(person.sees(Role::Label, &format!("episode 1 · step 1 of {steps}")));
    assert_eq!(person.0.state().errors(), 0);
}

#[test]
fn a_threshold_moves_the_numbers_and_is_taken_back() {
    let mut person = Person::with_the_demo();
    let before = person.row("Mean IoU");
    assert_eq!(before.len(), 3, "frame, tuning split, held out: {before:?}");
    let area = person.number(Role::Slider, "Area");
    person
        .one(Role::Slider, "Area")
        .set_value_accesskit(3.0 * area);
    person.settle();
    assert_eq!(person.number(Role::SpinButton, "Area"), 3.0 * area);
    let after = person.row("Mean IoU");
    assert_ne!(after, before, "a mask of three times the area");
    person.press(Modifiers::COMMAND, Key::Z);
    assert_eq!(person.number(Role::Slider, "Area"), area);
    assert_eq!(person.row("Mean IoU"), before);
    person.press(Modifiers::COMMAND | Modifiers::SHIFT, Key::Z);
    assert_eq!(person.row("Mean IoU"), after);

    // Fewer heads, by the field beside the slider; then everything back at once.
    let chosen = |person: &Person| {
        let texts = person.texts().into_iter().map(|(_, text)| text);
        let mut lines = texts.filter(|text| text.starts_with('L') && text.contains(" chosen on "));
        lines.next().unwrap().matches('·').count()
    };
    let heads = chosen(&person);
    let k = person.number(Role::SpinButton, "Heads k") as usize;
    assert!(heads > 1 && heads <= k, "{heads} of {k}");
    person
        .one(Role::SpinButton, "Heads k")
        .set_value_accesskit(1.0);
    person.settle();
    assert_eq!(chosen(&person), 1);
    person.choose(&Command::ResetSelection);
    assert_eq!(person.number(Role::SpinButton, "Heads k") as usize, k);
    assert_eq!(person.row("Mean IoU"), before);
    person.choose(&Command::Undo);
    assert_eq!(person.number(Role::SpinButton, "Heads k"), 1.0);
    assert_eq!(person.0.state().errors(), 0);
}

#[test]
fn both_splits_show_intervals_and_the_swapped_instruction() {
    let person = Person::with_the_demo();
    let iou = person.row("Mean IoU");
    for split in &iou[1..] {
        // `0.14 0.12–0.17`
        let (value, interval) = split.split_once(' ').unwrap();
        let (low, high) = interval.trim().split_once('–').unwrap();
        let [value, low, high] = [value, low, high].map(|text| text.parse::<f64>().unwrap());
        assert!(low <= value && value <= high, "{split}");
    }
    for hit in ["Hit", "Hit ± 1 patch", "Box IoU ≥ 0.5"] {
        let row = person.row(hit);
        assert!(
            row[1..]
                .iter()
                .all(|cell| cell.contains(" %") && cell.contains('–')),
            "{row:?}"
        );
    }
    for swapped in ["Hit, swapped", "± 1, swapped"] {
        let row = person.row(swapped);
        assert_eq!(row.len(), 3, "{row:?}");
        let is_told = |cell: &String| cell.starts_with('–') || cell.contains(" %");
        assert!(row[1..].iter().all(is_told), "{row:?}");
    }
    assert!(person.sees(Role::Label, "report this") && person.sees(Role::Label, "no result"));
    let votes = person
        .0
        .query_all_by_label_contains(" tuning frames vote for ");
    assert_eq!(votes.count(), 1);
}

#[test]
fn every_named_set_is_chosen_and_says_what_it_is() {
    let mut person = Person::with_the_demo();
    let presets = [
        "Paper",
        "Published code, June",
        "Published code, August",
        "Sinks removed",
        "Robust (few frames)",
        "Elbow over all heads",
        "Default",
    ];
    let targets = [
        "Mean of all heads",
        "GroundLMM point",
        "Against a generic prompt",
        "DINO, 60 % of attention",
        "Sinks redistributed (VAR)",
        "Instruction doubled",
        "Selected heads",
    ];
    let sets = presets.map(|name| ("Preset", name));
    for (list, name) in sets.into_iter().chain(targets.map(|name| ("Target", name))) {
        person.pick(list, name);
        assert_eq!(person.value(Role::ComboBox, list), name);
        let inspector = person.0.state().inspector();
        let look = inspector.look().expect("a look");
        assert_eq!(look.inputs.selection, person.state().settings.selection);
        if let Err(reason) = &look.gaze {
            assert!(!reason.is_empty(), "{name}");
            assert!(person.sees(Role::Label, reason), "{name}: {reason}");
        }
        if let Err(reason) = inspector.report().unwrap().selected() {
            assert!(!reason.to_string().is_empty(), "{name}");
        }
    }
    // A change that no set knows.
    person
        .one(Role::SpinButton, "Heads k")
        .set_value_accesskit(7.0);
    person.settle();
    assert_eq!(person.value(Role::ComboBox, "Preset"), "Custom");
    assert!(person.sees(Role::Label, "k 7"), "what differs, in short");
    assert_eq!(person.0.state().errors(), 0);
}

#[test]
fn a_strip_sets_the_value_it_is_clicked_at() {
    let mut person = Person::with_the_demo();
    let before = person.state().settings.selection.clone();
    let area = person.number(Role::Slider, "Area");
    person.scroll_to(Role::Slider, "Area");
    let strip = {
        let strips = person
            .0
            .query_all_by_label_contains("IoU against Area, best ");
        let strips: Vec<Rect> = strips.map(|node| node.rect()).collect();
        assert_eq!(strips.len(), 1);
        strips[0]
    };
    let place = |share: f32| strip.left_center() + egui::vec2(share * strip.width(), 0.0);
    person.0.hover_at(place(0.5));
    person.0.drag_at(place(0.5));
    person.0.run_steps(2);
    let middle = person.number(Role::Slider, "Area");
    assert!((middle - 26.0).abs() < 2.0 && middle != area, "{middle}");
    person.0.hover_at(place(0.8));
    person.0.run_steps(2);
    person.0.drop_at(place(0.8));
    person.settle();
    assert!(person.number(Role::Slider, "Area") > middle);
    // One drag is one step.
    person.press(Modifiers::COMMAND, Key::Z);
    assert_eq!(person.state().settings.selection, before);
    assert_eq!(person.0.state().errors(), 0);
}

#[test]
fn two_selections_stand_side_by_side() {
    let mut person = Person::with_the_demo();
    let before = person.state().settings.selection.clone();
    person.click(Role::Button, "Side by side");
    assert!(
        person
            .one(Role::Button, "Swap with the selection beside")
            .accesskit_node()
            .is_disabled()
    );
    person.pick("Compare with", "Published code, June");
    assert_eq!(
        person.value(Role::ComboBox, "Compare with"),
        "Published code, June"
    );
    assert!(person.sees(Role::Label, "default") && person.sees(Role::Label, "published_june"));
    // Both lists of heads, best first, as the report has them.
    let columns = |person: &Person| -> [Vec<String>; 2] {
        let right = |name: &str| person.one(Role::Label, name).rect().right();
        let top = person.one(Role::Label, "Chosen").rect().top();
        let column = |right: f32| {
            let texts = person.texts().into_iter();
            texts
                .filter(|(rect, text)| {
                    text.starts_with('L')
                        && text.contains("·H")
                        && rect.top() >= top - 4.0
                        && (rect.right() - right).abs() < 8.0
                })
                .map(|(_, text)| text)
                .collect()
        };
        [column(right("This")), column(right("Beside"))]
    };
    let inspector = person.0.state().inspector();
    let report = inspector.report().unwrap().clone();
    let look = inspector.look().unwrap().clone();
    let beside = report.beside.as_ref().expect("the numbers beside");
    let heads: [Vec<String>; 2] = [&report.evaluation, beside].map(|evaluation| {
        let heads = evaluation.heads().iter();
        heads.map(|id| look.head_name(*id)).collect()
    });
    assert_eq!(columns(&person), heads);
    assert_ne!(heads[0], heads[1], "the demo tells the two apart");
    assert!(person.text_with(" in common").starts_with(char::is_numeric));
    assert_eq!(person.row("Mean IoU").len(), 2);
    person.text_with("Beside minus this: IoU ");

    person.click(Role::Button, "Swap with the selection beside");
    assert_eq!(
        person.state().settings.selection.preset_name(),
        Some("published_june")
    );
    let [this, other] = columns(&person);
    assert_eq!([other, this], heads);
    person.press(Modifiers::COMMAND, Key::Z);
    assert_eq!(person.state().settings.selection, before);
    // From the list of frames to the frame.
    let rows = person.0.query_all_by_label_contains(": IoU ");
    let row = rows.filter_map(|node| node.accesskit_node().label()).next();
    let row = row.expect("a frame that differs");
    person.scroll_to(Role::Button, &row);
    person.click(Role::Button, &row);
    let place = row.split(": ").next().unwrap();
    person.text_with(&format!("{place} of "));
    person.scroll_to(Role::Button, "Clear");
    person.click(Role::Button, "Clear");
    assert_eq!(person.state().settings.beside, None);
    assert_eq!(person.0.state().errors(), 0);
}

#[test]
fn another_number_of_frames_is_measured() {
    let mut person = Person::with_the_demo();
    let measured = |person: &Person| person.0.state().inspector().report().unwrap().frames.len();
    let before = measured(&person);
    person.click(Role::Button, "Sample");
    assert!(person.sees(Role::Label, "f32 in memory"));
    person
        .one(Role::SpinButton, "Frames")
        .set_value_accesskit(24.0);
    person.settle();
    assert_eq!((person.state().sample.frames, measured(&person)), (24, 24));
    assert!(person.sees(Role::Label, "12 frames of 6 episodes"));
    person
        .one(Role::SpinButton, "Memory")
        .set_value_accesskit(512.0);
    person.settle();
    assert_eq!(person.state().sample.memory_mib, 512);
    let all = person.state().dataset.as_ref().unwrap().data.info().frames;
    person.click(Role::Button, &format!("Measure {all} frames"));
    assert_eq!(measured(&person), all);
    assert!(all > before);
    assert_eq!(person.0.state().errors(), 0);
}

#[test]
fn heads_overlay_and_token_are_chosen() {
    let mut person = Person::with_the_demo();
    let shown = |person: &Person| {
        let grids = person.0.query_all_by_label_contains("Attention heads, ");
        let names: Vec<String> = grids
            .filter_map(|node| node.accesskit_node().label())
            .collect();
        assert_eq!(names.len(), 1, "{names:?}");
        names[0].split("shown: ").last().unwrap().to_owned()
    };
    let selected = shown(&person);
    assert!(selected.starts_with("Selected heads L"), "{selected}");
    assert_eq!(
        person.value(Role::ComboBox, "Attention map"),
        "Selected heads"
    );

    // A head in the grid; a second click goes back to the selected ones.
    let grid = person.0.get_by_label_contains("Attention heads, ").rect();
    let middle = grid.center() + egui::vec2(6.0, 6.0);
    let click = |person: &mut Person| {
        person.0.hover_at(middle);
        person.0.drag_at(middle);
        person.0.drop_at(middle);
        person.settle();
    };
    click(&mut person);
    let head = shown(&person);
    assert!(head.starts_with("Head L"), "{head}");
    assert_eq!(person.value(Role::ComboBox, "Attention map"), head);
    click(&mut person);
    assert_eq!(shown(&person), selected);
    person.pick("Attention map", "Mean of all heads");
    assert_eq!(shown(&person), "Mean of all heads");
    person.choose(&Command::ShowSelectedHeads);
    assert_eq!(shown(&person), selected);

    // How it is painted.
    person.tab(PaneKind::Attention).unwrap().click();
    person.settle();
    let opacity = person.number(Role::Slider, "Opacity");
    person
        .one(Role::Slider, "Opacity")
        .set_value_accesskit(25.0);
    person.settle();
    assert_eq!(person.value(Role::SpinButton, "Opacity"), "25 %");
    assert_eq!(person.state().settings.overlay.opacity, 0.25);
    person.press(Modifiers::COMMAND, Key::Z);
    assert_eq!(person.number(Role::Slider, "Opacity"), opacity);
    let color = person.state().settings.overlay.color_map;
    person.pick("Colour map", "magma");
    assert_eq!(person.value(Role::ComboBox, "Colour map"), "magma");
    assert_ne!(person.state().settings.overlay.color_map, color);
    person.click(Role::CheckBox, "Smooth");
    assert!(person.is_on(Role::CheckBox, "Smooth"));

    // Which token looks: a word of the instruction.
    assert!(person.is_on(Role::Button, "Action token"));
    let bars = |person: &Person| -> Vec<String> {
        let texts = person.texts().into_iter().map(|(_, text)| text);
        texts
            .filter(|text| text.starts_with("Colour bar"))
            .collect()
    };
    let before = bars(&person);
    let words = person.0.query_all_by_label_contains("“");
    let words: Vec<String> = words
        .filter(|node| node.accesskit_node().role() == Role::Button)
        .filter_map(|node| node.accesskit_node().label())
        .collect();
    let word = words.first().expect("a word of the instruction");
    person.click(Role::Button, word);
    assert!(person.is_on(Role::Button, word));
    assert!(!person.is_on(Role::Button, "Action token"));
    assert_eq!(person.value(Role::ComboBox, "Token"), *word);
    assert_ne!(bars(&person), before, "another token looks elsewhere");
    person.click(Role::Button, "Action token");
    assert!(person.is_on(Role::Button, "Action token"));
    assert_eq!(bars(&person), before);
    assert_eq!(person.0.state().errors(), 0);
}

#[test]
fn the_queue_of_gaps_leads_to_frames() {
    let mut person = Person::with_the_demo();
    let queue = |person: &Person| -> Vec<(String, bool)> {
        let rows = person.0.query_all_by_role(Role::ListBoxOption);
        rows.map(|node| (node.accesskit_node().label().unwrap(), is_on(&node)))
            .collect()
    };
    let rows = queue(&person);
    assert!(rows.len() > 2, "{rows:?}");
    let gap = |row: &str| -> f64 {
        let (_, iou) = row.split_once("IoU ").unwrap();
        iou.split(',').next().unwrap().parse().unwrap()
    };
    assert!(
        rows.is_sorted_by(|(a, _), (b, _)| gap(a) <= gap(b)),
        "{rows:?}"
    );
    // `2. episode 1 · step 7, IoU 0.00, miss`
    let place = |row: &str| {
        let (_, place) = row.split_once(". ").unwrap();
        place.split(',').next().unwrap().to_owned()
    };
    let second = rows[1].0.clone();
    person.scroll_to(Role::Button, "Next disagreement");
    person.click(Role::ListBoxOption, &second);
    assert!(
        person.is_on(Role::ListBoxOption, &second),
        "{:?}",
        queue(&person)
    );
    person.text_with(&format!("{} of ", place(&second)));
    assert_eq!(person.row("Mean IoU")[0], format!("{:.2}", gap(&second)));
    person.click(Role::Button, "Next disagreement");
    let chosen: Vec<String> = queue(&person)
        .into_iter()
        .filter_map(|(row, is_on)| is_on.then_some(row))
        .collect();
    assert_eq!(chosen.len(), 1, "{chosen:?}");
    // The list shows the rows around the open frame, so that the second one may have any number.
    let number = |row: &str| -> usize { row.split_once(". ").unwrap().0.parse().unwrap() };
    assert_eq!(number(&chosen[0]), number(&second) + 1, "{chosen:?}");
    person.text_with(&format!("{} of ", place(&chosen[0])));
    person.click(Role::Button, "Previous disagreement");
    assert!(person.is_on(Role::ListBoxOption, &second));
    assert_eq!(person.0.state().errors(), 0);
}

#[test]
fn the_run_form_is_filled_in_and_cancelled() {
    let mut person = Person::with_the_demo();
    let folder = tempfile::tempdir().unwrap();
    person.choose(&Command::NewRun);
    assert!(person.sees(Role::Button, "Create run"));
    let fill = |person: &mut Person, name: &str, text: &str| {
        person.one(Role::TextInput, name).focus();
        person.0.run_steps(2);
        person.0.key_press_modifiers(Modifiers::COMMAND, Key::A);
        person.0.run_steps(2);
        person.one(Role::TextInput, name).type_text(text);
        person.settle();
        assert_eq!(person.value(Role::TextInput, name), text);
    };
    fill(&mut person, "Folder", &folder.path().to_string_lossy());
    fill(&mut person, "Seeds", "2-4");
    assert!(!person.sees(Role::Button, "Create run"));
    person.click(Role::CheckBox, "Action only");
    assert!(
        !person
            .one(Role::Button, "Create 6 runs")
            .accesskit_node()
            .is_disabled()
    );
    person
        .one(Role::SpinButton, "Steps")
        .set_value_accesskit(250.0);
    person.settle();
    assert_eq!(person.number(Role::SpinButton, "Steps"), 250.0);
    person.pick("Size", "small");
    assert_eq!(person.value(Role::ComboBox, "Size"), "small");
    person.click(Role::CheckBox, "Start at once");
    assert!(!person.is_on(Role::CheckBox, "Start at once"));
    fill(&mut person, "Seeds", "4-2");
    assert!(person.text_with("is no seed").contains("\"4-2\""));
    let create = person.one(Role::Button, "Create run").accesskit_node();
    assert!(create.is_disabled(), "there is no run to create");
    person.click(Role::Button, "Cancel");
    assert!(!person.sees(Role::Button, "Create run"));
    assert!(person.state().runs.is_empty());
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    person.tab(PaneKind::Runs).unwrap().click();
    person.settle();
    assert!(person.sees(Role::Label, "No runs yet"));
    assert_eq!(person.0.state().errors(), 0);
}

#[test]
fn a_figure_is_started_and_changed() {
    let mut person = Person::with_the_demo();
    person.tab(PaneKind::Figure).unwrap().click();
    person.settle();
    person.click(Role::Button, "Start with the current frame");
    let before = person.preview_other_than("");
    assert!(before.starts_with("178 × "), "{before}");
    let add = person
        .one(Role::Button, "Add current frame")
        .accesskit_node();
    assert!(add.is_disabled(), "the frame is in the figure");

    // The pane is narrow: options stand in place of the preview.
    person.click(Role::Button, "Options");
    let letters = person.is_on(Role::CheckBox, "Row letters");
    person.scroll_to(Role::CheckBox, "Row letters");
    person.click(Role::CheckBox, "Row letters");
    assert_eq!(person.is_on(Role::CheckBox, "Row letters"), !letters);
    person.one(Role::TextInput, "Title").focus();
    person.0.run_steps(2);
    person
        .one(Role::TextInput, "Title")
        .type_text("Where it looks");
    person.settle();
    assert_eq!(person.value(Role::TextInput, "Title"), "Where it looks");
    let figure = person.state().settings.figure.as_ref().unwrap();
    assert_eq!(figure.style.letters, !letters);
    assert_eq!(figure.title, "Where it looks");
    person.click(Role::Button, "Preview");
    // A title takes room.
    let titled = person.preview_other_than(&before);

    // Another frame makes another row; undoing takes it out again.
    person.click(Role::Button, "Last step");
    person.click(Role::Button, "Add current frame");
    let two = person.preview_other_than(&titled);
    person.press(Modifiers::COMMAND, Key::Z);
    assert_eq!(person.preview_other_than(&two), titled);
    assert_eq!(person.0.state().errors(), 0);
}

#[test]
fn the_palette_and_the_theme() {
    let mut person = Person::with_the_demo();
    let is_dark = |person: &Person| person.0.ctx.global_style().visuals.dark_mode;
    person.choose(&Command::ThemeDark);
    assert!(is_dark(&person));
    person.press(Modifiers::COMMAND, Key::K);
    let field = person.one(Role::TextInput, "Find a command");
    field.type_text("light theme");
    person.settle();
    person.press(Modifiers::NONE, Key::Enter);
    assert!(!person.sees(Role::TextInput, "Find a command"));
    assert!(!is_dark(&person));
    // By the pointer, and for something that shows a pane.
    person.click(Role::Button, "Command palette");
    person
        .one(Role::TextInput, "Find a command")
        .type_text("keyboard");
    person.settle();
    person.press(Modifiers::NONE, Key::Enter);
    let shortcuts = person.texts().into_iter().map(|(_, text)| text);
    assert!(shortcuts.into_iter().any(|text| text == "Play or pause"));
    person.press(Modifiers::NONE, Key::Escape);
    assert!(
        !person
            .texts()
            .iter()
            .any(|(_, text)| text == "Play or pause")
    );
    person.choose(&Command::ThemeDark);
    assert!(is_dark(&person));
    assert_eq!(person.0.state().errors(), 0);
}
