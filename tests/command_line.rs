//! The command line end to end: what users type, and what they mistype.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use gazelab_tests::{Ran, command, program, run, shared};
use serde_json::Value;

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// All files below a folder.
fn files(root: &Path) -> Files {
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

/// Writes files below a folder.
fn write(root: &Path, files: &Files) {
    for (name, bytes) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// A folder for what the tests write, which they find empty.
fn scratch() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("command_line");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    })
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
/// Steps of [`finished_run`], and its last checkpoint.
const STEPS: u64 = 10;
const LAST: &str = "step-00000010";

/// A finished run.
fn finished_run() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = at("finished");
        let said = run(&format!("{TINY} --steps {STEPS} --out {}", show(&path))).ok();
        assert!(said.ends_with("Finished\n"), "{said}");
        path
    })
}

/// A copy of the finished run with its last checkpoint alone, to be spoilt.
fn copy_of_run(name: &str) -> PathBuf {
    let path = at(name);
    let is_kept = |file: &Path| {
        let old = file.starts_with("checkpoints") || file.starts_with("probes");
        !file.starts_with("eval")
            && (!old || file.components().any(|part| part.as_os_str() == LAST))
    };
    let kept = files(finished_run());
    write(
        &path,
        &kept.into_iter().filter(|(file, _)| is_kept(file)).collect(),
    );
    path
}

fn status(dir: &Path) -> Value {
    run(&format!("run status {} --json", show(dir))).json()
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{what} did not come"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A trainer that is ended when a test fails.
struct Trainer(Child);

impl Trainer {
    fn start(arguments: &str) -> Self {
        let mut command = command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        let sent = kill
            .args([&format!("-{name}"), &self.0.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
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

/// A run whose trainer, wherever it came from, is asked to stop when a test fails.
struct Stopped<'a>(&'a Path);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        run(&format!("run stop {}", show(self.0)));
    }
}

#[test]
fn real_bridge_data_is_described() {
    let Some(bridge) = shared("data/bridge") else {
        return;
    };
    let info = run(&format!("data info {} --json", show(&bridge))).json();
    assert_eq!(
        (&info["format"], &info["episodes"], &info["frames"]),
        (&"rlds".into(), &15.into(), &150.into()),
        "{info}"
    );
    let names: Vec<_> = info["cameras"]
        .as_array()
        .unwrap()
        .iter()
        .map(|camera| &camera["name"])
        .collect();
    assert_eq!(names, ["image_0", "image_1", "image_2", "image_3"]);
    let instructions = info["instructions"].as_array().unwrap();
    assert!(
        instructions.contains(&"put carrot on plate".into()),
        "{info}"
    );
    assert!(!info["warnings"].as_array().unwrap().is_empty(), "{info}");

    let ran = run(&format!("data info {}", show(&bridge)));
    assert!(
        ran.err.starts_with("warning: camera image_3 is blank"),
        "{ran:?}"
    );
    let text = ran.ok();
    for line in [
        "episodes      15\n",
        "frames        150\n",
        "camera        image_0 64 × 64 px\n",
        "instruction   put carrot on plate\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
}

#[test]
fn a_recording_is_the_same_twice_and_is_described() {
    for (name, recipe) in [
        ("one", "--suite spatial --env A"),
        ("mixed", "--suite object+goal --env A+B"),
    ] {
        let words = format!("data record {recipe} --episodes 4 --seed 3 --out");
        let [a, b] = ["a", "b"].map(|twin| {
            let path = at(&format!("{name}-{twin}"));
            let said = run(&format!("{words} {}", show(&path))).ok();
            assert_eq!(said, format!("{}\n", show(&path)));
            path
        });
        let recorded = files(&a);
        assert!(
            recorded.len() > 3 && recorded == files(&b),
            "{:?}",
            recorded.keys()
        );

        let info = run(&format!("data info {} --json", show(&a))).json();
        assert_eq!(
            (&info["episodes"], &info["has_masks"]),
            (&4.into(), &true.into()),
            "{info}"
        );
        for key in ["format", "frames", "cameras", "instructions", "warnings"] {
            assert!(!info[key].is_null(), "{key} is not in {info}");
        }
        let text = run(&format!("data info {}", show(&a))).ok();
        assert!(
            text.contains("episodes      4\n") && text.contains("camera        static "),
            "{text}"
        );

        // What is there is neither mixed with something else nor overwritten.
        run(&format!("{words} {}", show(&a))).refused(&a);
        assert!(files(&a) == recorded);
    }
    let nowhere = at("not-recorded");
    for (words, why) in [
        ("--suite spatial --episodes 0", "there is no episode"),
        (
            "--suite nope --episodes 1",
            "object, spatial and goal: nope",
        ),
        (
            "--suite object+nope --episodes 1",
            "object, spatial and goal: nope",
        ),
        ("--suite spatial --episodes 1 --env Q", ": Q"),
    ] {
        let said = run(&format!("data record {words} --out {}", show(&nowhere))).failed();
        assert!(said.contains(why), "{words}: {said}");
        assert!(!nowhere.exists(), "{words}");
    }
}

#[test]
fn a_killed_run_goes_on_and_ends_as_if_nothing_had_happened() {
    let killed = at("killed");
    let trainer = Trainer::start(&format!("{TINY} --steps {STEPS} --out {}", show(&killed)));
    wait_for("a checkpoint", || {
        killed.join("checkpoints/step-00000002").is_dir()
    });
    trainer.signal("KILL");
    assert!(!trainer.end(), "it was killed too late");
    let left = status(&killed);
    assert_eq!(left["state"], "Failed", "{left}");
    assert!(left["error"].is_array(), "{left}");

    let said = run(&format!("train {}", show(&killed))).ok();
    assert!(
        said.contains("going on after step") && said.ends_with("Finished\n"),
        "{said}"
    );
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let last = |run: &Path| fs::read(run.join("checkpoints").join(LAST).join(file)).unwrap();
        assert!(last(&killed) == last(finished_run()), "{file} differs");
    }
    let done = status(&killed);
    assert_eq!(
        (
            &done["state"],
            &done["step"],
            &done["steps"],
            &done["error"]
        ),
        (
            &"Finished".into(),
            &STEPS.into(),
            &STEPS.into(),
            &Value::Null
        ),
        "{done}"
    );
    let text = run(&format!("run status {}", show(&killed))).ok();
    assert!(text.starts_with("finished, step 10 of 10\n"), "{text}");
    // There is nothing more to do, and nothing to steer.
    let said = run(&format!("train {}", show(&killed))).ok();
    assert_eq!(said, "Finished\n");
    for verb in ["pause", "resume", "stop"] {
        let said = run(&format!("run {verb} {}", show(&killed))).refused(&killed);
        assert!(said.contains("create a new run"), "{said}");
    }
}

/// Numbers of a run by step.
fn rows(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn selected_heads_learn_real_data_and_survive_a_kill() {
    let data = shared("data/bridge").unwrap_or_else(|| recording().to_owned());
    let words = format!(
        "train --objective mae:selected --data {} --batch 4 --steps 60 --checkpoint-every 15 --seed 3 --device cpu --out",
        show(&data)
    );
    let [whole, killed] = ["learned", "learned-killed"].map(at);
    run(&format!("{words} {}", show(&whole))).ok();
    let rows = rows(&whole);
    let of = |row: &Value, key: &str| row[key].as_f64().unwrap();
    let (first, last) = (&rows[0], &rows[rows.len() - 1]);
    assert_eq!(of(last, "step"), 60.0);
    assert!(
        of(last, "action_loss") < 0.7 * of(first, "action_loss"),
        "{first} {last}"
    );
    let rebuilt: Vec<&Value> = rows.iter().filter(|row| row["mae_loss"].is_f64()).collect();
    let (first, last) = (rebuilt[0], rebuilt[rebuilt.len() - 1]);
    assert!(
        of(last, "mae_loss") < of(first, "mae_loss"),
        "{first} {last}"
    );

    let trainer = Trainer::start(&format!("{words} {}", show(&killed)));
    wait_for("half of it", || {
        killed.join("checkpoints/step-00000030").is_dir()
    });
    trainer.signal("KILL");
    assert!(!trainer.end(), "it was killed too late");
    let said = run(&format!("train {}", show(&killed))).ok();
    assert!(said.ends_with("Finished\n"), "{said}");
    let model = |run: &Path| fs::read(run.join("checkpoints/step-00000060/model.safetensors"));
    assert!(model(&killed).unwrap() == model(&whole).unwrap());
}

#[test]
fn a_wish_is_honoured_however_early_it_comes() {
    for attempt in 0..6 {
        let dir = at(&format!("early-{attempt}"));
        let trainer = Trainer::start(&format!("{TINY} --steps 100000 --out {}", show(&dir)));
        wait_for("the run", || dir.join("run.ron").exists());
        std::thread::sleep(Duration::from_millis(15 * attempt));
        run(&format!("run stop {}", show(&dir))).ok();
        assert!(trainer.end(), "a stop is no failure");
        assert_eq!(status(&dir)["state"], "Stopped", "{attempt}");

        // A trainer that `resume` starts is on its way when it returns.
        let resumed = run(&format!("run resume {} --json", show(&dir))).json();
        assert!(
            resumed["state"] == "Starting" || resumed["state"] == "Running",
            "{resumed}"
        );
        std::thread::sleep(Duration::from_millis(15 * attempt));
        run(&format!("run stop {}", show(&dir))).ok();
        wait_for("its end", || status(&dir)["state"] == "Stopped");
    }
}

#[test]
fn options_of_a_trainer_reach_it() {
    let dir = at("options");
    let words = "--threads 1 --device cpu train --data tabletop:object?episodes=6 --steps 100000 --batch 2 \
                 --bins 32 --chunk 8 --labels hard --attention causal --patch 16 --out";
    let trainer = Trainer::start(&format!("{words} {}", show(&dir)));
    let _stopped = Stopped(&dir);
    let is = |state: &str| status(&dir)["state"] == state;
    wait_for("the run", || dir.join("run.ron").exists());
    wait_for("training", || is("Running"));
    let spec = fs::read_to_string(dir.join("run.ron")).unwrap();
    for part in [
        "bins: 32",
        "chunk: 8",
        "labels: hard",
        "attention: causal",
        "patch: Some(16)",
    ] {
        assert!(spec.contains(part), "{part} is not in {spec}");
    }
    let said = run(&format!("run resume {} --device cpu", show(&dir))).refused(&dir);
    assert!(said.contains("stop it first"), "{said}");
    run(&format!("run stop {}", show(&dir))).ok();
    assert!(trainer.end());
    let model = fs::read_dir(dir.join("checkpoints")).unwrap().next();
    let model = fs::read(model.unwrap().unwrap().path().join("model.json")).unwrap();
    let model: Value = serde_json::from_slice(&model).unwrap();
    assert_eq!(
        (&model["bins"], &model["chunk"], &model["labels"]),
        (&32.into(), &8.into(), &"hard".into()),
        "{model}"
    );

    run(&format!(
        "--threads 2 run resume {} --device cpu",
        show(&dir)
    ))
    .ok();
    wait_for("the new trainer", || is("Running"));
    let pid = status(&dir)["pid"].to_string();
    if let Ok(command) = fs::read_to_string(format!("/proc/{pid}/cmdline")) {
        let command = command.replace('\0', " ");
        assert!(command.ends_with("--device cpu --threads 2 "), "{command}");
    }
    run(&format!("run stop {}", show(&dir))).ok();
    wait_for("its end", || is("Stopped"));
}

#[test]
fn a_run_is_steered_from_another_process() {
    let dir = at("steered");
    let say = |verb: &str| run(&format!("run {verb} {}", show(&dir))).ok();
    let is = |state: &str| status(&dir)["state"] == state;
    let has_checkpoint = || {
        let step = status(&dir)["step"].as_u64().unwrap();
        dir.join(format!("checkpoints/step-{step:08}")).is_dir()
    };
    let trainer = Trainer::start(&format!("{TINY} --steps 100000 --out {}", show(&dir)));
    wait_for("the run", || dir.join("run.ron").exists());
    let _stopped = Stopped(&dir);
    wait_for("training", || is("Running"));
    say("pause");
    wait_for("the pause", || is("Paused"));
    assert!(has_checkpoint(), "{}", status(&dir));
    let second = run(&format!("train {}", show(&dir))).refused(&dir);
    assert!(second.contains("another trainer is at work"), "{second}");
    assert!(is("Paused"), "{}", status(&dir));
    say("resume");
    wait_for("going on", || is("Running"));
    say("stop");
    assert!(trainer.end(), "a stop is no failure");
    assert!(is("Stopped") && has_checkpoint(), "{}", status(&dir));

    // Ctrl-C and a shutdown of the machine leave a checkpoint, too, and the run can go on.
    for signal in ["INT", "TERM"] {
        let before = status(&dir)["step"].as_u64().unwrap();
        let trainer = Trainer::start(&format!("train {}", show(&dir)));
        wait_for("more steps", || {
            status(&dir)["step"].as_u64().unwrap() > before + 1
        });
        trainer.signal(signal);
        assert!(trainer.end(), "{signal} is no failure");
        assert!(
            is("Stopped") && has_checkpoint(),
            "{signal}: {}",
            status(&dir)
        );
    }

    // Without a trainer, `resume` starts one, which outlives the command.
    let before = status(&dir)["step"].as_u64().unwrap();
    say("resume");
    wait_for("a new trainer", || {
        is("Running") && status(&dir)["step"].as_u64().unwrap() > before
    });
    let second = run(&format!("train {}", show(&dir))).refused(&dir);
    assert!(second.contains("another trainer is at work"), "{second}");
    say("stop");
    wait_for("its end", || is("Stopped"));
    assert!(has_checkpoint(), "{}", status(&dir));
}

#[test]
fn a_policy_is_evaluated() {
    let dir = show(finished_run());
    let words = format!("eval {dir} --suite object --episodes 3 --seed 7");
    let report = run(&format!("{words} --json")).json();
    assert_eq!(report["episodes"], 3, "{report}");
    assert!(
        report["success_rate"].is_number() && report["per_task"].is_object(),
        "{report}"
    );
    assert!(report["swapped"].is_null(), "{report}");
    let swapped = run(&format!("{words} --swapped --json")).json();
    assert_eq!(
        swapped["success_rate"], report["success_rate"],
        "the same scenes"
    );
    assert!(swapped["swapped"]["original_rate"].is_number(), "{swapped}");
    // Both are kept.
    let eval = finished_run().join("eval").join(LAST);
    for name in ["object-A-seed7-3.json", "object-A-seed7-3-swapped.json"] {
        assert!(eval.join(name).is_file(), "{name}");
    }
    let text = run(&words).ok();
    assert!(
        text.starts_with("suite object, environment A, 3 episodes, seed 7\nsuccess "),
        "{text}"
    );
    run(&format!("eval {dir} --suite object --episodes 0")).failed();

    // So are evaluations under changed attention, each on its own.
    for (forward, name) in [
        (
            "toward_instruction:3",
            "object-A-seed7-3-toward_instruction-3.json",
        ),
        (
            "sinks_redistributed",
            "object-A-seed7-3-sinks_redistributed.json",
        ),
        (
            "sinks_redistributed:0.1",
            "object-A-seed7-3-sinks_redistributed-keep0.1.json",
        ),
    ] {
        let changed = run(&format!("{words} --forward {forward} --json")).json();
        assert_eq!(changed["episodes"], 3, "{changed}");
        assert_ne!(changed["forward"], report["forward"]);
        assert!(eval.join(name).is_file(), "{name}");
    }
    let kept = fs::read(eval.join("object-A-seed7-3.json")).unwrap();
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(kept["forward"], "AsTrained");
    let text = run(&format!("{words} --forward toward_instruction")).ok();
    assert!(text.contains("instruction × 2"), "{text}");

    // A run that cannot be written to, say somebody else's, can be evaluated.
    let foreign = copy_of_run("not-mine");
    fs::write(foreign.join("eval"), "").unwrap();
    let ran = run(&format!(
        "eval {} --suite object --episodes 1",
        show(&foreign)
    ));
    assert!(ran.err.contains("warning: not saved: "), "{ran:?}");
    assert!(ran.ok().contains("success "));
}

#[test]
fn attention_is_grounded() {
    let dir = finished_run();
    let checkpoint = dir.join("checkpoints").join(LAST);
    let capture = dir.join("probes").join(LAST).join("frame-0.safetensors");
    let (selection, session) = (at("selection.ron"), at("session.ron"));
    fs::write(&selection, "(k: 2)").unwrap();
    fs::write(&session, "(version: 1, selection: (k: 1))").unwrap();
    for (words, frames, k) in [
        (format!("{} --frames 6", show(dir)), 6, 3),
        (
            format!(
                "{} --frames 6 --data {}",
                show(&checkpoint),
                show(recording())
            ),
            6,
            3,
        ),
        (show(&capture).to_string(), 1, 3),
        (
            format!("{} --frames 2 --selection {}", show(dir), show(&selection)),
            2,
            2,
        ),
        (
            format!("{} --frames 2 --selection {}", show(dir), show(&session)),
            2,
            1,
        ),
    ] {
        let grounded = run(&format!("ground {words} --json")).json();
        assert_eq!(
            grounded["frames"].as_array().unwrap().len(),
            frames,
            "{words}: {grounded}"
        );
        assert_eq!(grounded["selection"]["k"], k, "{words}");
        assert!(
            grounded["heads"].as_array().unwrap().len() <= k,
            "{words}: {grounded}"
        );
        assert!(grounded["metrics"].is_object(), "{words}: {grounded}");
        let text = run(&format!("ground {words}")).ok();
        assert!(
            text.starts_with(&format!("{frames} frames, camera static\n")),
            "{text}"
        );
    }
    let said = run(&format!("ground {} --camera nope --frames 2", show(dir))).refused(dir);
    assert!(said.contains("known are static"), "{said}");
    let said = run(&format!(
        "ground {} --boxes {}",
        show(&capture),
        show(&selection)
    ))
    .refused(&selection);
    assert!(said.contains("carries its own"), "{said}");
    run(&format!(
        "ground {} --data {}",
        show(&capture),
        show(recording())
    ))
    .refused(&capture);
    run(&format!("ground {} --frames 0", show(dir))).failed();
}

#[test]
fn two_selections_are_measured_side_by_side() {
    let dir = finished_run();
    let data = "tabletop:object?episodes=8";
    let words = format!(
        "ground {data} --model {} --frames 16 --selection robust --beside published_june --curves --memory 1",
        show(dir)
    );
    let grounded = run(&format!("{words} --json")).json();
    assert_eq!(grounded["selection_text"], "robust");
    let beside = &grounded["beside"];
    assert_eq!(beside["selection_text"], "published_june");
    let list = |value: &Value| value.as_array().unwrap().clone();
    let names = |key: &str| list(&beside[key]);
    assert_eq!(
        names("heads_of_both").len() + names("heads_only_here").len(),
        list(&grounded["heads"]).len()
    );
    assert_eq!(
        names("heads_of_both").len() + names("heads_only_beside").len(),
        names("heads").len()
    );
    for split in ["tune", "held_out"] {
        for side in [&grounded, beside] {
            let metrics = &side["metrics"][split];
            let (hit, interval) = (&metrics["pointing"], &metrics["intervals"]["pointing"]);
            let number = |value: &Value| value.as_f64().unwrap();
            assert!(number(&interval["low"]) <= number(hit), "{metrics}");
            assert!(number(hit) <= number(&interval["high"]), "{metrics}");
            assert!(metrics["swapped"]["pointing"].is_number(), "{metrics}");
        }
    }
    let votes = grounded["candidates"].as_object().unwrap();
    let frames: u64 = votes.values().map(|frames| frames.as_u64().unwrap()).sum();
    assert_eq!(frames, 8, "every frame of the tuning split is counted");
    let curves = list(&grounded["curves"]);
    let fields: Vec<&Value> = curves.iter().map(|curve| &curve["field"]).collect();
    for field in ["k", "sigma", "area", "sinks"] {
        assert!(fields.iter().any(|f| *f == field), "{fields:?}");
    }
    assert!(list(&curves[0]["points"]).len() > 4);
    let text = run(&words).ok();
    assert!(text.contains("beside        published_june"), "{text}");
    assert!(text.contains("tuned on, no result"), "{text}");

    let said = run(&format!("ground {} --selection rubost", show(dir))).failed();
    assert!(said.contains("there are default, paper"), "{said}");
    let both = format!(
        "ground {} --model {} --data x",
        show(recording()),
        show(dir)
    );
    run(&both).refused(recording());
}

#[test]
fn a_folder_of_captures_is_grounded_as_one() {
    let probe = finished_run()
        .join("probes")
        .join(LAST)
        .join("frame-0.safetensors");
    let folder = at("captures");
    fs::create_dir_all(&folder).unwrap();
    for name in ["a", "b"] {
        fs::copy(&probe, folder.join(format!("{name}.safetensors"))).unwrap();
    }
    // Other files beside them are left alone, a damaged capture is named.
    fs::write(folder.join("notes.txt"), "about these").unwrap();
    let grounded = run(&format!("ground {} --json", show(&folder))).json();
    let frames = grounded["frames"].as_array().unwrap();
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[0]["metrics"], frames[1]["metrics"]);
    let whole = fs::read(&probe).unwrap();
    let cut = folder.join("zz.safetensors");
    fs::write(&cut, &whole[..whole.len() - 1]).unwrap();
    run(&format!("ground {}", show(&folder))).refused(&cut);
}

#[test]
fn known_targets_are_compared_by_name() {
    let dir = finished_run();
    let probe = dir.join("probes").join(LAST).join("frame-0.safetensors");
    let look = format!("ground {} --frames 6", show(dir));
    for target in grounding::TARGETS {
        let grounded = run(&format!("{look} --json --target {target}")).json();
        assert_eq!(grounded["frames"].as_array().unwrap().len(), 6, "{target}");
        let frame = &grounded["frames"][0];
        assert!(
            frame["metrics"]["pointing"].is_boolean(),
            "{target}: {frame}"
        );
        // Beside every hit there is one under another instruction.
        let swapped = &frame["metrics"]["swapped"];
        assert!(swapped["pointing"].is_boolean(), "{target}: {frame}");
        if ["naive", "groundlmm_point", "relative"].contains(&target) {
            assert!(frame["failure"].is_null(), "{target}: {frame}");
        }
    }
    let text = run(&format!("{look} --target relative")).ok();
    assert!(text.contains("under another instruction"), "{text}");
    // A change of the attention is part of the target, and can be asked for on its own.
    let changed = |words: &str| {
        let grounded = run(&format!("{look} --json {words}")).json();
        (
            grounded["selection"]["forward"].clone(),
            grounded["frames"].clone(),
        )
    };
    let plain = changed("--target naive");
    let factor = changed("--target naive --forward toward_instruction:4");
    assert_eq!(plain.0, "AsTrained");
    assert_eq!(factor.0["TowardInstruction"], 4.0);
    assert_ne!(plain.1, factor.1);
    assert_eq!(
        changed("--target toward_instruction --forward as_trained").0,
        "AsTrained"
    );

    let said = run(&format!("{look} --target somewhere")).failed();
    assert!(said.contains("there are selected, naive"), "{said}");
    let recorded = format!("ground {} --target toward_instruction", show(&probe));
    let said = run(&recorded).refused(&probe);
    assert!(said.contains("cannot be changed"), "{said}");
    let absolute = at("absolute.ron");
    let rule = "(forward: RedistributeSinks((rule: Absolute(20.0))))";
    fs::write(&absolute, rule).unwrap();
    let said = run(&format!("{look} --selection {}", show(&absolute))).failed();
    assert!(said.contains("can never fire"), "{said}");
}

/// A recipe of a picture and of what the finished run's model selects.
fn recipe() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = at("figure.ron");
        let text = format!(
            "(arms: [(look: Checkpoint({:?}))], columns: [(content: Picture), (content: Compare(Selected))], \
             frames: [(dataset: {:?}, episode: 1, step: 2)])",
            finished_run().join("checkpoints").join(LAST),
            recording(),
        );
        fs::write(&path, text).unwrap();
        path
    })
}

#[test]
fn a_figure_is_the_same_twice_in_every_format() {
    for (ending, start) in [("pdf", &b"%PDF"[..]), ("svg", b"<"), ("png", b"\x89PNG")] {
        let [a, b] = ["a", "b"].map(|name| {
            let out = at(&format!("{name}.{ending}"));
            run(&format!("figure {} --out {}", show(recipe()), show(&out))).ok();
            fs::read(out).unwrap()
        });
        assert!(a.len() > 1000 && a.starts_with(start) && a == b, "{ending}");
    }
    for name in ["figure.docx", "figure"] {
        let out = at(name);
        let said = run(&format!("figure {} --out {}", show(recipe()), show(&out))).refused(&out);
        assert!(said.contains(".pdf, .svg or .png"), "{said}");
        assert!(!out.exists());
    }
    // A recipe that names what is not there.
    let (lost, missing) = (at("lost.ron"), at("lost-data"));
    fs::write(
        &lost,
        format!("(columns: [()], frames: [(dataset: {missing:?})])"),
    )
    .unwrap();
    run(&format!(
        "figure {} --out {}",
        show(&lost),
        show(&at("lost.pdf"))
    ))
    .refused(&missing);
}

/// Every verb that reads a path, with `PATH` in its place; `RUN` is a finished run, `OUT` a place for what is written.
const READERS: [&str; 16] = [
    "data info PATH",
    "data info PATH --json",
    "train PATH",
    "train --data PATH --steps 2 --batch 2 --device cpu --out OUT",
    "run status PATH",
    "run status PATH --json",
    "run pause PATH",
    "run resume PATH",
    "run stop PATH",
    "eval PATH --suite object --episodes 1",
    "ground PATH",
    "ground PATH --json",
    "ground RUN --frames 2 --data PATH",
    "ground RUN --frames 2 --boxes PATH",
    "ground RUN --frames 2 --selection PATH",
    "figure PATH --out OUT.pdf",
];

#[test]
fn what_cannot_be_read_is_named_and_left_alone() {
    let folder = at("bad");
    let capture = fs::read(
        finished_run()
            .join("probes")
            .join(LAST)
            .join("frame-0.safetensors"),
    )
    .unwrap();
    let table = fs::read(recording().join("data/chunk-000/file-000.parquet")).unwrap();
    let picture = at("cut.png");
    run(&format!(
        "figure {} --out {}",
        show(recipe()),
        show(&picture)
    ))
    .ok();
    let picture = fs::read(picture).unwrap();
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let noise: Vec<u8> = (0..5000_u32)
        .map(|i| (i.wrapping_mul(i ^ 0x9E37) >> 3) as u8)
        .collect();
    let mut bad: Files = [
        ("empty", vec![]),
        ("empty.ron", vec![]),
        ("empty.safetensors", vec![]),
        ("empty.parquet", vec![]),
        (
            "program.exe",
            b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff".to_vec(),
        ),
        ("noise", noise.clone()),
        ("noise.ron", noise),
        ("other.json", b"{\"name\": 3}".to_vec()),
        ("broken.ron", b"(version: 1, columns: [".to_vec()),
        ("newer.ron", b"(version: 99, hologram: 3)".to_vec()),
        ("cut.safetensors", half(&capture)),
        ("cut.parquet", half(&table)),
        ("cut.png", half(&picture)),
        (
            "huge.safetensors",
            b"\xff\xff\xff\xff\xff\xff\xff\x7f{}".to_vec(),
        ),
        ("shards/noise.tfrecord", vec![7; 1000]),
        ("not-a-run/notes.txt", b"hello".to_vec()),
    ]
    .map(|(name, bytes)| (name.into(), bytes))
    .into();
    // A model whose weights end early.
    for (file, bytes) in files(&finished_run().join("checkpoints").join(LAST)) {
        let is_cut = file.ends_with("model.safetensors");
        bad.insert(
            Path::new("cut-model").join(file),
            if is_cut { half(&bytes) } else { bytes },
        );
    }
    write(&folder, &bad);
    fs::create_dir_all(folder.join("empty-folder")).unwrap();
    let mut paths = vec![folder.join("missing"), folder.join("missing/deeper")];
    paths.extend(
        fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    assert!(paths.len() > 18);

    let good = copy_of_run("good");
    let good_files = files(&good);
    let out = at("bad-out");
    for path in &paths {
        for reader in READERS {
            let words = reader
                .replace("PATH", &show(path).to_string())
                .replace("RUN", &show(&good).to_string())
                .replace("OUT", &show(&out).to_string());
            eprintln!("{words}");
            run(&words).refused(path);
            assert!(
                !out.exists() && !out.with_extension("pdf").exists(),
                "{words}"
            );
        }
    }
    assert!(files(&folder) == bad, "something was changed");
    assert!(files(&good) == good_files, "something was changed");

    // Some of it can be told more exactly.
    for (words, file, why) in [
        ("figure PATH --out OUT.pdf", "newer.ron", "version 99"),
        ("ground RUN --selection PATH", "newer.ron", "version 99"),
        (
            "figure PATH --out OUT.pdf",
            "broken.ron",
            "line 1, column 23",
        ),
        (
            "eval PATH --suite object",
            "cut-model",
            "not a usable model file",
        ),
        ("ground PATH", "cut.safetensors", "safetensors"),
    ] {
        let path = folder.join(file);
        let words = words
            .replace("PATH", &show(&path).to_string())
            .replace("RUN", &show(&good).to_string())
            .replace("OUT", &show(&out).to_string());
        let said = run(&words).refused(&path);
        assert!(said.contains(why), "{words}: {said}");
    }
}

/// Breaks one file after another of a dataset, cut in half or with zeros inside, and hands the place to `see`.
fn break_one_by_one(good: &Files, place: &Path, see: impl Fn(&Path, &str)) {
    for (name, bytes) in good.iter().filter(|(name, _)| !name.ends_with("README.md")) {
        for damage in ["cut", "zeros"] {
            let mut bytes = bytes.clone();
            let middle = bytes.len() / 2;
            match damage {
                "cut" => bytes.truncate(middle),
                _ => bytes[middle / 2..middle].fill(0),
            }
            let mut broken = good.clone();
            broken.insert(name.clone(), bytes);
            write(place, &broken);
            see(name, damage);
            assert!(
                files(place) == broken,
                "{name:?} {damage}: something was changed"
            );
            fs::remove_dir_all(place).unwrap();
        }
    }
}

#[test]
fn damaged_datasets_are_named() {
    let place = at("damaged");
    break_one_by_one(&files(recording()), &place, |name, damage| {
        let out = at("trained-on-damaged");
        let words = format!(
            "train --size nano --data {} --steps 2 --batch 2 --device cpu --out {}",
            show(&place),
            show(&out)
        );
        let ran = run(&words);
        assert!(!ran.err.contains("panicked"), "{name:?} {damage}: {ran:?}");
        if !ran.success {
            let line = ran.err.lines().last().unwrap();
            let path = line.rsplit(": ").next().unwrap();
            assert!(
                line.starts_with("error: ") && path.starts_with(&show(&place).to_string()),
                "{name:?} {damage}: {ran:?}"
            );
        }
        // Statistics and the list of instructions can be done without; the data cannot.
        let is_data = ["data", "meta/episodes", "meta/info.json"]
            .iter()
            .any(|part| name.starts_with(part));
        assert!(
            !(is_data && ran.success),
            "{name:?} {damage} was not missed"
        );
        let _ = fs::remove_dir_all(&out);
    });
}

#[test]
fn damaged_bridge_data_is_named() {
    let Some(bridge) = shared("data/bridge") else {
        return;
    };
    let place = at("damaged-bridge");
    let look = format!(
        "ground {} --frames 30 --data {}",
        show(finished_run()),
        show(&place)
    );
    break_one_by_one(&files(&bridge), &place, |name, damage| {
        let info = run(&format!("data info {} --json", show(&place)));
        let ground = run(&look);
        let what = format!("{name:?} {damage}: {info:?} {ground:?}");
        assert!(
            !info.err.contains("panicked") && !ground.err.contains("panicked"),
            "{what}"
        );
        let is_record = name.to_string_lossy().contains(".tfrecord");
        if is_record && damage == "cut" {
            // An unfinished download: the episodes before its end can be used, and it says so.
            let info = info.json();
            let warnings = info["warnings"].to_string();
            assert!(warnings.contains("is cut off"), "{what}");
            assert!(
                info["episodes"]
                    .as_u64()
                    .is_some_and(|n| (1..15).contains(&n)),
                "{what}"
            );
            return;
        }
        assert!(!(is_record && ground.success), "it was not missed; {what}");
        for ran in [info, ground].into_iter().filter(|ran| !ran.success) {
            ran.refused(&place);
        }
    });
}

#[test]
fn runs_that_cannot_be_are_refused() {
    let out = at("refused");
    let words = format!(
        "train --data {} --out {} --device cpu",
        show(recording()),
        show(&out)
    );
    for (wrong, why) in [
        ("--cameras nope", "static, gripper"),
        ("--cameras static,nope", "static, gripper"),
        ("--size huge", "huge"),
        ("--objective nope", "nope"),
        ("--steps 0", "steps must be at least 1"),
        ("--batch 0", "batch must be between"),
        ("--bins 1", "bins must be between"),
        ("--chunk 0", "chunk must be between"),
        ("--patch 12", "patch must be 2, 4"),
        ("--patch 64", "cannot be cut into patches of 64"),
        ("--checkpoint-every 0", "at least 1"),
    ] {
        let said = run(&format!("{words} {wrong}")).failed();
        assert!(said.contains(why), "{wrong}: {said}");
        assert!(!out.exists(), "{wrong}");
    }
    // Where something is already, nothing is written.
    let before = files(recording());
    run(&format!("train --data {0} --out {0}", show(recording()))).refused(recording());
    assert!(files(recording()) == before);

    // Files of a run by a newer version, and files that are lost.
    let dir = copy_of_run("newer");
    for (file, verbs) in [
        (
            "status.ron",
            &["train", "run status", "run resume", "run stop"][..],
        ),
        ("control.ron", &["run status --json"]),
        (
            "run.ron",
            &["train", "run status", "run pause", "run resume", "run stop"],
        ),
    ] {
        let path = dir.join(file);
        let good = fs::read_to_string(&path).unwrap();
        let newer = good.replacen("version: 1", "version: 99", 1);
        for (text, why) in [
            (newer.as_str(), "99"),
            (&good[..good.len() / 2], ""),
            ("", ""),
        ] {
            fs::write(&path, text).unwrap();
            let before = files(&dir);
            for verb in verbs {
                let said = run(&format!("{verb} {}", show(&dir))).refused(&path);
                assert!(said.contains(why), "{verb}: {said}");
            }
            assert!(
                files(&dir) == before || file == "status.ron",
                "{file} was changed"
            );
        }
        fs::write(&path, good).unwrap();
    }
    fs::remove_file(dir.join("run.ron")).unwrap();
    for verb in ["train", "run status", "run pause", "run resume", "run stop"] {
        let said = run(&format!("{verb} {}", show(&dir))).refused(dir.join("run.ron"));
        assert!(said.contains("run.ron is missing"), "{said}");
    }
    let checkpoints = dir.join("checkpoints");
    run(&format!("eval {} --suite object", show(&checkpoints))).refused(&checkpoints);
}

/// What writes a path, with `OUT` in its place.
fn writers() -> [String; 3] {
    [
        "data record --suite object --episodes 2 --seed 5 --out OUT".to_owned(),
        format!(
            "train --data {} --steps 2 --batch 2 --device cpu --out OUT",
            show(recording())
        ),
        format!("figure {} --out OUT.pdf", show(recipe())),
    ]
}

#[test]
fn what_cannot_be_written_is_named() {
    let closed = at("closed");
    fs::create_dir_all(&closed).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode;
    fs::set_permissions(&closed, mode(0o555)).unwrap();
    // Root may write everywhere but where the kernel forbids it.
    let is_root = fs::write(closed.join("probe"), "").is_ok();
    let closed = if is_root {
        PathBuf::from("/sys")
    } else {
        closed
    };
    let file = at("a-file");
    fs::write(&file, "kept").unwrap();
    for writer in writers() {
        for out in [closed.join("out"), file.join("out")] {
            if !out.parent().unwrap().exists() {
                eprintln!("not found, skipped: {}", show(out.parent().unwrap()));
                continue;
            }
            let said = run(&writer.replace("OUT", &show(&out).to_string())).failed();
            let path = said.rsplit(": ").next().unwrap();
            let folder = show(out.parent().unwrap()).to_string();
            assert!(path.starts_with(&folder), "{said}");
        }
        // A file where a folder is wanted, a device where a file is wanted, a folder where a file is wanted.
        run(&writer
            .replace("OUT.pdf", "OUT")
            .replace("OUT", &show(&file).to_string()))
        .refused(&file);
        run(&writer.replace("OUT.pdf", "OUT").replace("OUT", "/dev/full")).refused("/dev/full");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    let folder = at("folder.pdf");
    fs::create_dir_all(&folder).unwrap();
    run(&format!(
        "figure {} --out {}",
        show(recipe()),
        show(&folder)
    ))
    .refused(&folder);
}

/// Runs the program on a disk of that size, in `DISK`; what it said and what was on the disk in the end.
fn on_small_disk(size: &str, arguments: &str) -> Option<(Ran, Files)> {
    let (disk, copy) = (at("disk"), at("disk-copy"));
    let _ = fs::remove_dir_all(&copy);
    fs::create_dir_all(&disk).unwrap();
    fs::create_dir_all(&copy).unwrap();
    // The disk is there for this one process, and gone with it.
    let script = r#"mount -t tmpfs -o size="$0" none "$1" || exit 77
        copy=$2; disk=$1; shift 2; "$@"; rc=$?; cp -a "$disk/." "$copy"; exit $rc"#;
    let arguments = arguments.replace("DISK", &show(&disk).to_string());
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script, size])
        .args([&disk, &copy, &program()])
        .args(arguments.split(' '))
        .env_remove("XDG_RUNTIME_DIR")
        .output();
    match output {
        Ok(output)
            if output.status.code() != Some(77) && !output.stderr.starts_with(b"unshare") =>
        {
            Some((output.into(), files(&copy)))
        }
        other => {
            eprintln!("not found, skipped: a disk of our own ({other:?})");
            None
        }
    }
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_half_done() {
    // Neither leaves anything, on a disk for not one file, for the first of several, and for most of them.
    let [record, train, figure] = writers();
    for (words, sizes) in [
        (&record, &["4k", "64k", "100k"][..]),
        (&figure, &["4k", "8k"]),
    ] {
        for size in sizes {
            let Some((ran, left)) = on_small_disk(size, &words.replace("OUT", "DISK/out")) else {
                return;
            };
            assert!(
                ran.err.contains("No space left"),
                "{words} in {size}: {ran:?}"
            );
            assert!(
                !ran.success && ran.out.is_empty() && left.is_empty(),
                "{words} in {size}: {ran:?} {:?}",
                left.keys()
            );
        }
    }
    // A run that could not be made does not keep the next try from its place.
    let (ran, left) = on_small_disk("4k", &train.replace("OUT", "DISK/out")).unwrap();
    assert!(ran.failed().contains("No space left"));
    assert!(left.is_empty(), "{:?}", left.keys());
    // A run keeps its last checkpoint, says why it failed, and goes on where there is room.
    let words = format!("{TINY} --steps {STEPS} --out DISK/run");
    let (ran, left) = on_small_disk("24m", &words).unwrap();
    assert!(!ran.success && !ran.err.contains("panicked"), "{ran:?}");
    let last = ran.err.lines().last().unwrap();
    assert!(
        last.starts_with("error: ") && last.contains("No space left"),
        "{ran:?}"
    );
    let moved = at("moved");
    write(
        &moved,
        &left
            .into_iter()
            .map(|(name, bytes)| (name.strip_prefix("run").unwrap().into(), bytes))
            .collect(),
    );
    let failed = status(&moved);
    assert_eq!(
        (&failed["state"], &failed["checkpoints"]),
        (&"Failed".into(), &serde_json::json!([2])),
        "{failed}"
    );
    let said = run(&format!("train {}", show(&moved))).ok();
    assert!(
        said.contains("going on after step 2") && said.ends_with("Finished\n"),
        "{said}"
    );
    let model = |run: &Path| {
        fs::read(run.join("checkpoints").join(LAST).join("model.safetensors")).unwrap()
    };
    assert!(model(&moved) == model(finished_run()));

    for words in [
        "data info tabletop:object",
        "data info tabletop:object --json",
    ] {
        let full = fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let output = command(words).stdout(full).output().unwrap();
        let said = Ran::from(output).failed();
        assert!(said.contains("No space left"), "{said}");
    }
}

#[test]
fn without_a_display_the_window_says_so() {
    for words in ["--demo", "sessions/pilot.ron", "no/such/path"] {
        let said = run(words).failed();
        assert!(
            said.contains("no display") && said.ends_with("see gazelab --help"),
            "{said}"
        );
    }
}

#[test]
#[cfg(target_os = "linux")]
fn without_a_gpu_one_is_not_pretended() {
    let out = at("no-gpu");
    let dir = show(finished_run());
    for words in [
        format!(
            "train --data {} --steps 2 --device gpu --out {}",
            show(recording()),
            show(&out)
        ),
        format!("eval {dir} --suite object --episodes 1 --device gpu"),
        format!("ground {dir} --frames 2 --device gpu"),
    ] {
        let run = |words: &str| {
            let mut command = command(words);
            // The loader finds no Vulkan driver; that there may be OpenGL is no help.
            command
                .env("VK_DRIVER_FILES", "/nonexistent")
                .env("VK_ICD_FILENAMES", "/nonexistent");
            Ran::from(command.output().unwrap())
        };
        let said = run(&words).failed();
        assert!(
            said.contains("no usable GPU") && said.contains("device `cpu`"),
            "{said}"
        );
        assert!(!out.exists());
        // By default the processor does it, without a word.
        let ran = run(&words.replace("gpu", "auto"));
        assert!(
            ran.success && !ran.err.contains("ERROR") && !ran.err.contains("error"),
            "{ran:?}"
        );
        let _ = fs::remove_dir_all(&out);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let piped = |words: &str| {
        let mut command = command(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    for words in [
        "data info tabletop:object?episodes=200 --json",
        "data info tabletop:object?episodes=200",
    ] {
        let mut child = piped(words);
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(err, "", "{words}");
        // A panic would be 101.
        assert_eq!(output.status.code(), Some(1), "{words}");
    }
    // Nor does anybody have to follow the progress.
    let [record, train] = ["unseen-recording", "unseen-run"].map(at);
    for words in [
        format!(
            "data record --suite object --episodes 2 --out {}",
            show(&record)
        ),
        format!(
            "eval {} --suite object --episodes 2 --seed 1",
            show(finished_run())
        ),
        format!("{TINY} --steps 2 --out {}", show(&train)),
    ] {
        let mut child = piped(&words);
        drop(child.stderr.take());
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert!(ran.success && !ran.out.is_empty(), "{words}: {ran:?}");
    }
    let mut child = piped(&format!("{TINY} --steps 2 --out {}-2", show(&train)));
    drop(child.stdout.take());
    drop(child.stderr.take());
    assert!(child.wait().unwrap().success(), "a trainer trains on alone");
}
