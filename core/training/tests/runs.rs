//! Whole runs of a few steps: resume, control, failure.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use training::{
    Control, Error, Event, Launch, MetricRow, RunDir, RunRequest, RunSpec, State, Status, Wish,
    train_until,
};

/// Eight steps of two frames, checkpoints after four and eight.
fn tiny(objective: &str) -> RunSpec {
    let mut spec = RunSpec::from_request(&RunRequest {
        objective,
        size: "nano",
        data: "tabletop:object+goal?episodes=8&seed=5",
        cameras: Vec::new(),
        steps: Some(8),
        seed: 3,
        device: "cpu",
    })
    .unwrap();
    spec.schedule.batch = 2;
    spec.data.held_out = Some(2);
    spec.log_every = 1;
    spec.early_every = 3;
    spec.checkpoint_every = 4;
    spec.probes = 1;
    if let model::Objective::Mae(mae) = &mut spec.objective {
        mae.warmup_share = 0.0;
        mae.reselect_every = 3;
    }
    spec
}

fn train(run: &RunDir) -> training::Result<State> {
    train_until(run, None, &AtomicBool::new(false), &mut |_| {})
}

/// Trains until `stop_at` is reported, then acts as `how` says.
fn train_and(run: &RunDir, how: &dyn Fn(&Event<'_>, &AtomicBool)) -> training::Result<State> {
    let interrupt = AtomicBool::new(false);
    train_until(run, None, &interrupt, &mut |event| how(&event, &interrupt))
}

fn rows(run: &RunDir) -> Vec<MetricRow> {
    run.metrics_reader().poll().unwrap().to_vec()
}

/// Rows without what the clock decides.
fn timeless(run: &RunDir) -> Vec<MetricRow> {
    let mut rows = rows(run);
    for row in &mut rows {
        row.steps_per_s = 0.0;
        row.data_wait = 0.0;
        row.time = 0;
    }
    rows
}

fn assert_same_result(a: &RunDir, b: &RunDir) {
    let (step, left) = a.latest_checkpoint().unwrap().unwrap();
    let (other, right) = b.latest_checkpoint().unwrap().unwrap();
    assert_eq!((step, other), (8, 8));
    for file in [
        "model.safetensors",
        "model.json",
        "optimizer.safetensors",
        "state.json",
    ] {
        let same = fs::read(left.join(file)).unwrap() == fs::read(right.join(file)).unwrap();
        assert!(same, "{file} differs");
    }
    assert_eq!(timeless(a), timeless(b));
    let probe = |run: &RunDir| {
        let (_, folder) = run.probes().unwrap().pop().unwrap();
        fs::read(folder.join("frame-0.safetensors")).unwrap()
    };
    assert!(probe(a) == probe(b), "the probes differ");
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(60), "no {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    for objective in ["action", "mae:random", "mae:selected"] {
        let root = tempfile::tempdir().unwrap();
        let whole = RunDir::create(&root.path().join("whole"), &tiny(objective)).unwrap();
        assert_eq!(train(&whole).unwrap(), State::Finished);
        assert_eq!(whole.status().unwrap().state, State::Finished);
        assert_eq!(rows(&whole).len(), 8);

        // Stopped between two checkpoints, which writes one more.
        let stopped = RunDir::create(&root.path().join("stopped"), &tiny(objective)).unwrap();
        let end = train_and(&stopped, &|event, interrupt| {
            if matches!(event, Event::Row(row) if row.step == 5) {
                interrupt.store(true, Ordering::Relaxed);
            }
        });
        assert_eq!(end.unwrap(), State::Stopped);
        assert_eq!(stopped.latest_checkpoint().unwrap().unwrap().0, 5);
        assert_eq!(train(&stopped).unwrap(), State::Finished);
        assert_same_result(&whole, &stopped);

        // Torn down two steps after a checkpoint, which repeats these two.
        let broken = RunDir::create(&root.path().join("broken"), &tiny(objective)).unwrap();
        let end = train_and(&broken, &|event, _| {
            assert!(
                !matches!(event, Event::Row(row) if row.step == 6),
                "pulled the plug"
            );
        });
        assert!(matches!(end, Err(Error::Panicked(message)) if message.contains("plug")));
        let status = broken.status().unwrap();
        assert_eq!(status.state, State::Failed);
        assert!(status.error.unwrap()[0].contains("plug"));
        assert_eq!(rows(&broken).len(), 6);
        assert_eq!(train(&broken).unwrap(), State::Finished);
        assert_same_result(&whole, &broken);
    }
}

/// Not a test of its own: the process that [`a_killed_trainer_leaves_a_run_that_can_be_resumed`] kills.
#[test]
#[ignore = "started by another test"]
fn trainer_process() {
    let path = std::env::var_os("GAZELAB_TEST_RUN").expect("started by another test");
    let run = RunDir::open(Path::new(&path)).unwrap();
    train_and(&run, &|event, _| {
        if matches!(event, Event::Row(row) if row.step == 6) {
            std::thread::sleep(Duration::from_secs(60));
        }
    })
    .unwrap();
}

#[test]
fn a_killed_trainer_leaves_a_run_that_can_be_resumed() {
    let root = tempfile::tempdir().unwrap();
    let whole = RunDir::create(&root.path().join("whole"), &tiny("mae:selected")).unwrap();
    train(&whole).unwrap();
    let killed = RunDir::create(&root.path().join("killed"), &tiny("mae:selected")).unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "trainer_process",
            "--ignored",
            "--test-threads=1",
        ])
        .env("GAZELAB_TEST_RUN", killed.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_for("sixth step", || rows(&killed).len() == 6);
    assert_eq!(killed.status().unwrap().state, State::Running);
    assert!(matches!(train(&killed), Err(Error::Busy { .. })));
    child.kill().unwrap();
    child.wait().unwrap();

    let status = killed.status().unwrap();
    assert_eq!(status.state, State::Failed);
    assert!(status.error.unwrap()[0].contains("interrupted"));
    // The kill may come in the middle of a line.
    let metrics = killed.path().join("metrics.jsonl");
    let mut torn = fs::read(&metrics).unwrap();
    torn.extend(b"{\"step\":7,\"lo");
    fs::write(&metrics, torn).unwrap();
    assert_eq!(train(&killed).unwrap(), State::Finished);
    assert_same_result(&whole, &killed);
}

#[test]
fn a_run_is_paused_resumed_and_stopped_through_its_directory() {
    let root = tempfile::tempdir().unwrap();
    let mut spec = tiny("action");
    spec.schedule.steps = 1_000_000;
    spec.checkpoint_every = 1_000_000;
    let run = RunDir::create(&root.path().join("run"), &spec).unwrap();
    assert_eq!(run.status().unwrap().state, State::Queued);
    assert!(matches!(
        run.set_wish(Wish::Pause),
        Err(Error::Refused { .. })
    ));
    let state = || run.status().unwrap().state;
    std::thread::scope(|scope| {
        let trainer = scope.spawn(|| train(&run));
        wait_for("running", || state() == State::Running);
        wait_for("step", || !rows(&run).is_empty());

        run.set_wish(Wish::Pause).unwrap();
        wait_for("pause", || state() == State::Paused);
        let written = rows(&run).len();
        let heartbeat = run.status().unwrap().heartbeat;
        wait_for("sign of life", || {
            run.status().unwrap().heartbeat > heartbeat
        });
        assert_eq!(rows(&run).len(), written);
        assert!(run.latest_checkpoint().unwrap().is_some());

        run.set_wish(Wish::Run).unwrap();
        wait_for("running again", || state() == State::Running);
        wait_for("progress", || rows(&run).len() > written);

        run.set_wish(Wish::Stop).unwrap();
        assert_eq!(trainer.join().unwrap().unwrap(), State::Stopped);
    });
    let status = run.status().unwrap();
    assert_eq!(status.state, State::Stopped);
    assert_eq!(run.latest_checkpoint().unwrap().unwrap().0, status.step);
    assert!(matches!(
        run.set_wish(Wish::Pause),
        Err(Error::Refused { .. })
    ));
}

#[test]
fn a_finished_run_stays_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let run = RunDir::create(&root.path().join("run"), &tiny("action")).unwrap();
    train(&run).unwrap();
    let before = fs::read(run.path().join("status.ron")).unwrap();
    assert_eq!(train(&run).unwrap(), State::Finished);
    assert_eq!(fs::read(run.path().join("status.ron")).unwrap(), before);
    let error = run.set_wish(Wish::Run).unwrap_err().to_string();
    assert!(error.contains("finished"), "{error}");
}

#[test]
fn old_checkpoints_go_and_pinned_ones_stay() {
    let root = tempfile::tempdir().unwrap();
    let mut spec = tiny("action");
    spec.checkpoint_every = 1;
    spec.keep_checkpoints = 2;
    spec.pin_every = 3;
    let run = RunDir::create(&root.path().join("run"), &spec).unwrap();
    train(&run).unwrap();
    let steps = |folders: Vec<(u64, _)>| -> Vec<u64> { folders.into_iter().map(|f| f.0).collect() };
    assert_eq!(steps(run.checkpoints().unwrap()), [3, 6, 7, 8]);
    assert_eq!(steps(run.probes().unwrap()), (0..=8).collect::<Vec<_>>());
}

#[test]
fn a_failure_is_told_with_its_causes_and_old_checkpoints_survive() {
    let root = tempfile::tempdir().unwrap();
    let run = RunDir::create(&root.path().join("run"), &tiny("action")).unwrap();
    let metrics = run.path().join("metrics.jsonl");
    // After the first checkpoint the folder for probes can no longer be written into.
    let end = train_and(&run, &|event, _| {
        if matches!(event, Event::Checkpoint(4, _)) {
            fs::remove_dir_all(run.path().join("probes")).unwrap();
            fs::write(run.path().join("probes"), "in the way").unwrap();
        }
    });
    assert!(end.is_err());
    let status = run.status().unwrap();
    assert_eq!(status.state, State::Failed);
    let chain = status.error.unwrap();
    assert!(chain.len() >= 2, "{chain:?}");
    assert!(chain[0].contains("probes"), "{chain:?}");
    assert_eq!(run.latest_checkpoint().unwrap().unwrap().0, 4);
    assert!(metrics.is_file());

    fs::remove_file(run.path().join("probes")).unwrap();
    assert_eq!(train(&run).unwrap(), State::Finished);
}

#[test]
fn a_damaged_checkpoint_is_named() {
    let root = tempfile::tempdir().unwrap();
    let run = RunDir::create(&root.path().join("run"), &tiny("action")).unwrap();
    train_and(&run, &|event, interrupt| {
        if matches!(event, Event::Checkpoint(4, _)) {
            interrupt.store(true, Ordering::Relaxed);
        }
    })
    .unwrap();
    let (_, folder) = run.latest_checkpoint().unwrap().unwrap();
    let weights = folder.join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let error = train(&run).unwrap_err().to_string();
    assert!(error.contains("unusable"), "{error}");
    assert!(error.ends_with("step-00000004"), "{error}");
}

#[test]
fn an_unknown_camera_is_refused_with_the_known_ones() {
    let root = tempfile::tempdir().unwrap();
    let mut spec = tiny("action");
    spec.data.cameras = vec!["overhead".to_owned()];
    let run = RunDir::create(&root.path().join("run"), &spec).unwrap();
    let error = train(&run).unwrap_err().to_string();
    assert!(error.contains("overhead") && error.contains("static, gripper"));
    assert_eq!(run.status().unwrap().error.unwrap(), [error]);
}

#[test]
fn folders_that_are_no_runs_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let error = RunDir::open(root.path()).unwrap_err().to_string();
    assert!(error.contains("run.ron is missing"), "{error}");
    assert!(error.ends_with("run.ron"), "{error}");

    fs::write(root.path().join("notes.txt"), "mine").unwrap();
    let error = RunDir::create(root.path(), &tiny("action")).unwrap_err();
    assert!(matches!(error, Error::Occupied { .. }));
    assert!(!root.path().join("run.ron").exists());

    fs::write(
        root.path().join("run.ron"),
        "(version: 7, objective: Dreams)",
    )
    .unwrap();
    let error = RunDir::open(root.path()).unwrap_err().to_string();
    assert!(error.contains("newer Gazelab (version 7"), "{error}");

    fs::write(root.path().join("run.ron"), "(name: ").unwrap();
    let error = RunDir::open(root.path()).unwrap_err().to_string();
    assert!(error.ends_with("run.ron"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_spawned_trainer_is_told_its_run_and_logs_into_it() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let program = root.path().join("program");
    fs::write(&program, "#!/bin/sh\necho \"$@\"\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let run = RunDir::create(&root.path().join("run"), &tiny("action")).unwrap();
    let launch = Launch {
        device: Some(model::DeviceChoice::Cpu),
        threads: Some(3),
    };
    training::spawn(&run, &program, launch).unwrap();
    let expected = format!(
        "train {} --called --device cpu --threads 3\n",
        run.path().display()
    );
    wait_for("log", || {
        fs::read_to_string(run.log_path()).is_ok_and(|log| log == expected)
    });
    // It ended without having taken up the run.
    let state = || run.status().unwrap().state;
    wait_for("failure", || state() == State::Failed);
    let why = run.status().unwrap().error.unwrap();
    assert!(why[0].contains("did not take up the run"), "{why:?}");

    let before = fs::read(run.path().join("status.ron")).unwrap();
    let missing = root.path().join("missing");
    let error = training::spawn(&run, &missing, Launch::default()).unwrap_err();
    assert!(error.to_string().ends_with("missing"), "{error}");
    assert_eq!(state(), State::Failed);
    let without_heartbeat = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let lines = text.lines().filter(|line| !line.contains("heartbeat"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let after = fs::read(run.path().join("status.ron")).unwrap();
    assert_eq!(without_heartbeat(&before), without_heartbeat(&after));
}

#[cfg(unix)]
#[test]
fn what_is_wished_of_a_called_trainer_is_not_lost() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    // A trainer that takes its time to come up.
    let program = root.path().join("program");
    fs::write(&program, "#!/bin/sh\nsleep 30\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let run = RunDir::create(&root.path().join("run"), &tiny("action")).unwrap();
    run.set_wish(Wish::Stop).unwrap();
    assert_eq!(run.status().unwrap().state, State::Stopped);
    let pid = training::resume(&run, &program, Launch::default()).unwrap();
    assert_eq!(run.control().unwrap().wish, Wish::Run);
    assert_eq!(run.status().unwrap().state, State::Starting);
    assert!(matches!(
        training::spawn(&run, &program, Launch::default()),
        Err(Error::Busy { .. })
    ));
    run.set_wish(Wish::Stop).unwrap();
    assert_eq!(train(&run).unwrap(), State::Stopped);
    assert!(rows(&run).is_empty());
    let mut kill = std::process::Command::new("kill");
    kill.arg(pid.unwrap().to_string()).status().unwrap();
}

#[test]
fn what_is_wished_of_a_starting_trainer_is_not_lost() {
    let root = tempfile::tempdir().unwrap();
    let run = RunDir::create(&root.path().join("run"), &tiny("action")).unwrap();
    let at_start = |wish: Wish| {
        let run = &run;
        move |event: &Event<'_>, _: &AtomicBool| {
            if matches!(event, Event::State(State::Starting)) {
                run.set_wish(wish).unwrap();
            }
        }
    };
    assert_eq!(
        train_and(&run, &at_start(Wish::Stop)).unwrap(),
        State::Stopped
    );
    assert!(rows(&run).is_empty());

    // Stopped runs stay so until somebody wants them to go on.
    assert_eq!(train(&run).unwrap(), State::Stopped);
    run.call_trainer().unwrap();
    assert_eq!(run.status().unwrap().state, State::Starting);
    std::thread::scope(|scope| {
        let trainer = scope.spawn(|| train_and(&run, &at_start(Wish::Pause)));
        wait_for("pause", || run.status().unwrap().state == State::Paused);
        assert!(rows(&run).is_empty());
        let launch = Launch {
            threads: Some(1),
            ..Launch::default()
        };
        let error = training::resume(&run, Path::new("none"), launch).unwrap_err();
        assert!(error.to_string().contains("stop it first"), "{error}");
        run.set_wish(Wish::Run).unwrap();
        assert_eq!(trainer.join().unwrap().unwrap(), State::Finished);
    });
}

/// Replaces the status by an edited one, as somebody on another machine would.
fn write_status(run: &RunDir, status: &Status) {
    let text = ron::ser::to_string(status).unwrap();
    fs::write(run.path().join("status.ron"), text).unwrap();
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_millis().try_into().unwrap()
}

#[test]
fn a_trainer_elsewhere_lives_as_long_as_it_shows_signs_of_life() {
    let root = tempfile::tempdir().unwrap();
    let run = RunDir::create(&root.path().join("run"), &tiny("action")).unwrap();
    let show_life = |seconds_ago: u64| {
        write_status(
            &run,
            &Status {
                state: State::Running,
                step: 3,
                host: "node-17.elsewhere".to_owned(),
                pid: 4711,
                heartbeat: now_ms() - 1000 * seconds_ago,
                ..Status::queued(8)
            },
        );
    };
    // Nobody here sees that trainer's lock.
    show_life(0);
    assert_eq!(run.status().unwrap().state, State::Running);
    show_life(0);
    assert!(matches!(train(&run), Err(Error::Busy { .. })));
    show_life(0);
    assert!(matches!(run.call_trainer(), Err(Error::Busy { .. })));
    show_life(0);
    run.set_wish(Wish::Pause).unwrap();
    run.set_wish(Wish::Run).unwrap();

    show_life(10);
    let status = run.status().unwrap();
    assert_eq!(status.state, State::Failed);
    assert!(status.error.unwrap()[0].contains("4711 on node-17.elsewhere"));
    assert_eq!(train(&run).unwrap(), State::Finished);
}

#[test]
fn a_run_that_cannot_be_prepared_is_as_far_as_it_was() {
    let root = tempfile::tempdir().unwrap();
    let run = RunDir::create(&root.path().join("run"), &tiny("action")).unwrap();
    train_and(&run, &|event, interrupt| {
        if matches!(event, Event::Row(row) if row.step == 5) {
            interrupt.store(true, Ordering::Relaxed);
        }
    })
    .unwrap();
    let (_, folder) = run.latest_checkpoint().unwrap().unwrap();
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    assert!(train(&run).is_err());
    let status = run.status().unwrap();
    assert_eq!((status.state, status.step), (State::Failed, 5));
}

#[test]
fn controls_may_change_while_a_run_is_under_way() {
    let root = tempfile::tempdir().unwrap();
    let mut spec = tiny("action");
    spec.schedule.steps = 1_000_000;
    spec.log_every = 1_000_000;
    spec.checkpoint_every = 1_000_000;
    spec.early_every = 0;
    let run = RunDir::create(&root.path().join("run"), &spec).unwrap();
    std::thread::scope(|scope| {
        let trainer = scope.spawn(|| train(&run));
        wait_for("step", || !rows(&run).is_empty());
        run.set_control(&Control {
            log_every: 2,
            early_every: 6,
            checkpoint_every: 4,
            keep_checkpoints: 2,
            ..run.control().unwrap()
        })
        .unwrap();
        wait_for("checkpoints", || {
            run.checkpoints().unwrap().len() == 2 && rows(&run).len() > 8
        });
        run.set_wish(Wish::Stop).unwrap();
        assert_eq!(trainer.join().unwrap().unwrap(), State::Stopped);
    });
    let rows = rows(&run);
    for row in &rows[1..] {
        assert!(row.step % 2 == 0, "{row:?}");
        assert_eq!(row.early_error.is_some(), row.step % 6 == 0, "{row:?}");
    }
    assert_eq!(run.checkpoints().unwrap().len(), 2);
}

#[test]
fn what_a_killed_trainer_left_half_written_goes() {
    let root = tempfile::tempdir().unwrap();
    let run = RunDir::create(&root.path().join("run"), &tiny("action")).unwrap();
    let left = [".writing-status.ron-a1b2c3", ".writing-a1b2c3"];
    // Somebody may be about to say what is wanted.
    let underway = ".writing-control.ron-d4e5f6";
    for name in left.iter().chain([&underway]) {
        fs::write(run.path().join(name), "(ver").unwrap();
    }
    train(&run).unwrap();
    for name in left {
        assert!(!run.path().join(name).exists(), "{name}");
    }
    assert!(run.path().join(underway).exists());
}
