//! The command line end to end: what users type, and what they mistype.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use gazelab_tests::{Ran, command, run, shared};
use serde_json::Value;

/// All files below a folder.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_owned();
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

/// A folder that lives as long as the tests.
fn scratch() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

fn at(name: &str) -> PathBuf {
    scratch().join(name)
}

fn show(path: &Path) -> std::path::Display<'_> {
    path.display()
}

/// A recording of three episodes.
fn recording() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = at("recording");
        let words = "data record --suite object --episodes 3 --env A --seed 5 --out";
        run(&format!("{words} {}", show(&path))).ok();
        path
    })
}

const TINY: &str = "train --size nano --objective mae:selected --data tabletop:object?episodes=6 --batch 4 --seed 1 \
                    --device cpu --checkpoint-every 2";

/// A finished run of six steps.
fn finished_run() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = at("finished");
        let said = run(&format!("{TINY} --steps 6 --out {}", show(&path))).ok();
        assert!(said.ends_with("Finished\n"), "{said}");
        path
    })
}

fn status(dir: &Path) -> Value {
    run(&format!("run status {} --json", show(dir))).json()
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A trainer that is ended when a test fails.
struct Trainer(Child);

impl Trainer {
    fn start(arguments: &str) -> Self {
        let mut command = command(arguments);
        Self(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }

    fn signal(&self, name: &str) {
        let done = std::process::Command::new("kill")
            .args([&format!("-{name}"), &self.0.id().to_string()])
            .status();
        assert!(done.unwrap().success());
    }

    /// Waits for its end; whether it succeeded.
    fn end(mut self) -> bool {
        self.0.wait().unwrap().success()
    }
}

impl Drop for Trainer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn real_bridge_data_is_described() {
    let Some(bridge) = shared("data/bridge") else {
        return;
    };
    let info = run(&format!("data info {} --json", show(&bridge))).json();
    assert_eq!(
        (&info["episodes"], &info["frames"]),
        (&15.into(), &150.into())
    );
    assert_eq!(info["cameras"].as_array().unwrap().len(), 4);
    assert!(!info["instructions"].as_array().unwrap().is_empty());
    assert!(info["warnings"].is_array() && info["format"].is_string());
    let text = run(&format!("data info {}", show(&bridge))).ok();
    assert!(text.contains("episodes      15"), "{text}");
}

#[test]
fn a_recording_is_the_same_twice_and_is_described() {
    let (a, b) = (at("twice-a"), at("twice-b"));
    let words = "data record --suite spatial+goal --episodes 4 --env A+B --seed 3 --out";
    for path in [&a, &b] {
        assert_eq!(
            run(&format!("{words} {}", show(path))).ok().trim(),
            show(path).to_string()
        );
    }
    let (a_files, b_files) = (files(&a), files(&b));
    assert!(a_files.len() > 3);
    assert!(a_files == b_files);
    let info = run(&format!("data info {} --json", show(&a))).json();
    assert_eq!(info["episodes"], 4);
    assert_eq!(info["has_masks"], true);
    // What is there is neither mixed with something else nor overwritten.
    run(&format!("{words} {}", show(&a))).refused(&a);
    assert!(files(&a) == a_files);
    for wrong in [
        "--suite spatial --episodes 0",
        "--suite nope --episodes 1",
        "--suite spatial --episodes 1 --env Q",
    ] {
        let path = at("wrong");
        let ran = run(&format!("data record {wrong} --out {}", show(&path)));
        assert!(!ran.success && ran.err.starts_with("error: "), "{ran:?}");
        assert!(!path.exists());
    }
}

#[test]
fn a_killed_run_goes_on_and_ends_as_if_nothing_had_happened() {
    let killed = at("killed");
    let trainer = Trainer::start(&format!("{TINY} --steps 6 --out {}", show(&killed)));
    wait_for("a checkpoint", || {
        killed.join("checkpoints/step-00000002").is_dir()
    });
    trainer.signal("KILL");
    assert!(!trainer.end());
    let last = |run: &Path| fs::read(run.join("checkpoints/step-00000006/model.safetensors"));
    let said = run(&format!("train {}", show(&killed))).ok();
    assert!(said.ends_with("Finished\n"), "{said}");
    assert!(last(&killed).unwrap() == last(finished_run()).unwrap());
    let status = status(&killed);
    assert_eq!(status["state"], "Finished");
    assert_eq!((&status["step"], &status["steps"]), (&6.into(), &6.into()));
    assert!(status["error"].is_null());
}

#[test]
fn a_run_is_steered_from_another_process() {
    let dir = at("steered");
    let trainer = Trainer::start(&format!("{TINY} --steps 100000 --out {}", show(&dir)));
    let is = |state: &str| status(&dir)["state"] == state;
    wait_for("the run", || dir.join("status.ron").exists());
    wait_for("training", || is("Running"));
    run(&format!("run pause {}", show(&dir))).ok();
    wait_for("the pause", || is("Paused"));
    let second = run(&format!("train {}", show(&dir)));
    assert!(
        !second.success && second.err.contains("error: "),
        "two trainers: {second:?}"
    );
    run(&format!("run resume {}", show(&dir))).ok();
    wait_for("going on", || is("Running"));
    run(&format!("run stop {}", show(&dir))).ok();
    assert!(trainer.end(), "a stop is no failure");
    assert!(is("Stopped"), "{}", status(&dir));
    let step = status(&dir)["step"].as_u64().unwrap();
    assert!(dir.join(format!("checkpoints/step-{step:08}")).is_dir());

    // Ctrl-C and a shutdown of the machine leave a checkpoint, too, and the run can go on.
    for signal in ["INT", "TERM"] {
        let before = status(&dir)["step"].as_u64().unwrap();
        let trainer = Trainer::start(&format!("train {}", show(&dir)));
        wait_for("more steps", || {
            status(&dir)["step"].as_u64().unwrap() > before + 1
        });
        trainer.signal(signal);
        trainer.end();
        let after = status(&dir);
        assert!(after["error"].is_null(), "{after}");
        let step = after["step"].as_u64().unwrap();
        assert!(
            dir.join(format!("checkpoints/step-{step:08}")).is_dir(),
            "{after}"
        );
    }
}

#[test]
fn a_policy_is_evaluated() {
    let dir = show(finished_run());
    let report = run(&format!(
        "eval {dir} --suite object --episodes 3 --seed 7 --swapped --json"
    ))
    .json();
    assert_eq!(report["episodes"], 3);
    assert!(report["success_rate"].is_number() && report["per_task"].is_object());
    assert!(report["swapped"]["original_rate"].is_number());
    let text = run(&format!("eval {dir} --suite object --episodes 2 --seed 7")).ok();
    assert!(text.contains('%'), "{text}");
    assert!(!run(&format!("eval {dir} --suite object --episodes 0")).success);
}

#[test]
fn attention_is_grounded() {
    let dir = finished_run();
    let checkpoint = dir.join("checkpoints/step-00000006");
    let capture = dir.join("probes/step-00000006/frame-0.safetensors");
    let selection = at("selection.ron");
    fs::write(&selection, "(k: 2)").unwrap();
    let frames = "--frames 6 --json";
    for words in [
        format!("{} {frames}", show(dir)),
        format!(
            "{} {frames} --data {}",
            show(&checkpoint),
            show(recording())
        ),
        format!("{} {frames}", show(&capture)),
        format!("{} {frames} --selection {}", show(dir), show(&selection)),
    ] {
        let grounded = run(&format!("ground {words}")).json();
        for key in ["frames", "heads", "metrics"] {
            assert!(!grounded[key].is_null(), "{key} of {words}");
        }
    }
    fs::write(&selection, "(k: \"two\")").unwrap();
    run(&format!(
        "ground {} --selection {}",
        show(dir),
        show(&selection)
    ))
    .refused(&selection);
    let ran = run(&format!("ground {} --camera nope --frames 2", show(dir)));
    assert!(ran.refused(dir).contains("static"));
}

#[test]
fn a_figure_is_the_same_twice_in_every_format() {
    let recipe = at("figure.ron");
    let text = format!(
        "(arms: [(look: Checkpoint({:?}))], columns: [(content: Picture), (content: Compare(Selected))], \
         frames: [(dataset: {:?}, episode: 1, step: 2)])",
        finished_run().join("checkpoints/step-00000006"),
        recording(),
    );
    fs::write(&recipe, text).unwrap();
    for ending in ["pdf", "svg", "png"] {
        let [a, b] = ["a", "b"].map(|name| {
            let out = at(&format!("{name}.{ending}"));
            run(&format!("figure {} --out {}", show(&recipe), show(&out))).ok();
            fs::read(out).unwrap()
        });
        assert!(a.len() > 1000 && a == b, "{ending}");
    }
    let out = at("figure.docx");
    run(&format!("figure {} --out {}", show(&recipe), show(&out))).refused(&out);
    assert!(!out.exists());
}

/// Every verb that reads a path, with `PATH` in its place.
const READERS: [&str; 6] = [
    "data info PATH",
    "train PATH",
    "run status PATH",
    "eval PATH --suite object --episodes 1",
    "ground PATH",
    "figure PATH --out OUT",
];

#[test]
fn what_cannot_be_read_is_named() {
    let folder = at("bad");
    fs::create_dir_all(&folder).unwrap();
    let bad = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let good = fs::read(finished_run().join("probes/step-00000006/frame-0.safetensors")).unwrap();
    let empty_folder = folder.join("empty-folder");
    fs::create_dir_all(&empty_folder).unwrap();
    let paths = [
        folder.join("missing"),
        bad("empty", b""),
        bad("program.exe", b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff"),
        bad("other.json", b"{\"name\": 3}"),
        bad("broken.ron", b"(version: 1, columns: ["),
        bad("newer.ron", b"(version: 99)"),
        bad("cut.safetensors", &good[..good.len() / 2]),
        bad("huge.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}"),
        bad("noise.tfrecord", &[7; 1000]),
        empty_folder,
    ];
    let before = files(&folder);
    let out = at("bad.pdf");
    for path in &paths {
        for reader in READERS {
            let words = reader
                .replace("PATH", &show(path).to_string())
                .replace("OUT", &show(&out).to_string());
            let ran = run(&words);
            let named = |ran: &Ran| {
                let last = ran.err.lines().last().unwrap_or_default().to_owned();
                last.starts_with("error: ") && last.contains(&show(path).to_string())
            };
            assert!(
                !ran.success && ran.out.is_empty() && named(&ran),
                "{words}: {ran:?}"
            );
            assert!(!ran.err.contains("panicked"), "{words}: {ran:?}");
        }
    }
    run(&format!("data info {}", show(&paths[0]))).refused(&paths[0]);
    run(&format!("figure {} --out {}", show(&paths[5]), show(&out))).refused(&paths[5]);
    assert!(!out.exists());
    assert!(files(&folder) == before, "something was changed");
}

#[test]
fn damaged_datasets_are_named() {
    // Cut every kind of file of a recording in half, one at a time.
    let names: Vec<PathBuf> = files(recording()).into_keys().collect();
    for name in names.iter().filter(|name| !name.ends_with("README.md")) {
        let copy = at("damaged");
        for (file, bytes) in files(recording()) {
            let path = copy.join(&file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let kept = if file == *name {
                bytes.len() / 2
            } else {
                bytes.len()
            };
            fs::write(path, &bytes[..kept]).unwrap();
        }
        let out = at("trained-on-damaged");
        let words = format!(
            "train --size nano --data {} --steps 2 --batch 2 --out {}",
            show(&copy),
            show(&out)
        );
        let ran = run(&words);
        assert!(!ran.err.contains("panicked"), "{ran:?}");
        if !ran.success {
            assert!(
                ran.err.contains("error: ") && ran.err.contains("damaged"),
                "{name:?}: {ran:?}"
            );
        }
        // Statistics and the list of instructions can be done without; the data cannot.
        let is_data = ["data", "meta/episodes", "meta/info.json"]
            .iter()
            .any(|part| name.starts_with(part));
        assert!(!(is_data && ran.success), "{name:?} was not missed");
        fs::remove_dir_all(&copy).unwrap();
        let _ = fs::remove_dir_all(&out);
    }
}

#[test]
fn runs_that_cannot_be_are_refused() {
    let out = at("refused");
    let words = format!("train --data {} --out {}", show(recording()), show(&out));
    let ran = run(&format!("{words} --cameras nope"));
    assert!(
        !ran.success && ran.err.contains("static, gripper"),
        "{ran:?}"
    );
    for wrong in ["--size huge", "--objective nope", "--steps 0", "--batch 0"] {
        let ran = run(&format!("{words} {wrong}"));
        assert!(
            !ran.success && ran.err.contains("error: "),
            "{wrong}: {ran:?}"
        );
        assert!(
            ran.out.is_empty() && !ran.err.contains("panicked"),
            "{wrong}: {ran:?}"
        );
    }
    // A run directory that a newer version made, and one whose description is lost.
    let run_dir = at("newer");
    fs::create_dir_all(&run_dir).unwrap();
    let good = fs::read_to_string(finished_run().join("run.ron")).unwrap();
    fs::write(
        run_dir.join("run.ron"),
        good.replacen("version: 1", "version: 99", 1),
    )
    .unwrap();
    for verb in ["train", "run status", "run resume"] {
        let ran = run(&format!("{verb} {}", show(&run_dir)));
        assert!(ran.refused(run_dir.join("run.ron")).contains("99"));
    }
    fs::remove_file(run_dir.join("run.ron")).unwrap();
    for verb in ["train", "run status", "run pause"] {
        run(&format!("{verb} {}", show(&run_dir))).refused(run_dir.join("run.ron"));
    }
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_half_done() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        eprintln!("not found, skipped: {}", show(full));
        return;
    }
    let recipe = at("full.ron");
    let text = format!("(columns: [()], frames: [(dataset: {:?})])", recording());
    fs::write(&recipe, text).unwrap();
    // A link to the full device stands for the disk.
    let out = at("full.png");
    std::os::unix::fs::symlink(full, &out).unwrap();
    let ran = run(&format!("figure {} --out {}", show(&recipe), show(&out)));
    assert!(!ran.err.contains("panicked"), "{ran:?}");
    if !ran.success {
        ran.refused(&out);
    }
    let info = command(&format!("data info {} --json", show(recording())))
        .stdout(fs::OpenOptions::new().write(true).open(full).unwrap())
        .output()
        .unwrap();
    let ran = Ran::from(info);
    assert!(!ran.success && ran.err.starts_with("error: "), "{ran:?}");
}

#[test]
fn without_a_display_the_window_says_so() {
    let ran = run("--demo");
    assert!(!ran.success && ran.err.contains("display"), "{ran:?}");
    assert!(
        ran.err.starts_with("error: ") && !ran.err.contains("panicked"),
        "{ran:?}"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = command("data info tabletop:object?episodes=200 --json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    child.wait().unwrap();
    assert_eq!(err, "");
}
