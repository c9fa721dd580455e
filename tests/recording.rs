//! A recording of the benchmark among what lies around it: detector boxes beside it, and LeRobot.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use episode::lerobot::{Frame, Writer, WriterSpec};
use episode::{Region, SharedDataset};
use gazelab_tests::run;
use serde_json::{Value, json};

/// A recording of three episodes in `folder`.
fn recording(folder: &Path) -> PathBuf {
    let path = folder.join("recording");
    let words = "data record --suite object --episodes 3 --env A --seed 5 --out";
    run(&format!("{words} {}", path.display())).ok();
    path
}

/// The same frames without masks, as data from the world is.
fn without_masks(dataset: &SharedDataset, path: &Path) {
    let info = dataset.info();
    let spec = WriterSpec {
        fps: 10,
        robot_type: "gripper".into(),
        cameras: info.cameras.clone(),
        mask_cameras: Vec::new(),
        action_names: info.action_names.clone(),
        state_names: info.state_names.clone(),
    };
    let mut writer = Writer::create(path, spec).unwrap();
    for episode in 0..info.episodes {
        let signals = dataset.signals(episode).unwrap();
        for step in 0..signals.steps() {
            let images: Vec<_> = (0..info.cameras.len())
                .map(|camera| episode::Image::clone(&dataset.image(episode, step, camera).unwrap()))
                .collect();
            let frame = Frame {
                images: &images,
                masks: &[],
                state: signals.state(step).unwrap(),
                action: signals.action(step).unwrap(),
            };
            writer.push_frame(&frame).unwrap();
        }
        let instruction = dataset.episode(episode).unwrap().instruction;
        writer.end_episode(&instruction).unwrap();
    }
    writer.finish().unwrap();
}

/// A box file with what a perfect detector would find: the box round the exact mask.
fn perfect_boxes(dataset: &SharedDataset) -> Value {
    let info = dataset.info();
    let mut boxes = Vec::new();
    for episode in 0..info.episodes {
        for step in 0..dataset.episode(episode).unwrap().length {
            for (index, camera) in info.cameras.iter().enumerate() {
                let mask = dataset.mask(episode, step, index, Region::Target).unwrap();
                let Some([x0, y0, x1, y1]) = mask.and_then(|mask| mask.bounds()) else {
                    continue;
                };
                let (w, h) = (f64::from(camera.width), f64::from(camera.height));
                let [x0, y0, x1, y1] = [x0, y0, x1, y1].map(f64::from);
                boxes.push(json!({
                    "episode": episode, "step": step, "camera": camera.name,
                    "xyxy": [x0 / w, y0 / h, x1 / w, y1 / h], "label": "target", "score": 0.9,
                }));
            }
        }
    }
    json!({ "format": "gazelab-boxes/1", "boxes": boxes })
}

/// Every number in a JSON value, in order.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Number(number) => number.as_f64().into_iter().collect(),
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        Value::Object(items) => items.values().flat_map(numbers).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn attention_is_measured_against_the_boxes_beside_the_data() {
    let temp = tempfile::tempdir().unwrap();
    let recording = recording(temp.path());
    let dataset = episode::open(&recording).unwrap();
    let plain = temp.path().join("world/plain");
    without_masks(&dataset, &plain);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/demo/model");
    let ground = |data: &Path, more: &str| {
        let (model, data) = (model.display(), data.display());
        run(&format!(
            "ground {model} --data {data} --frames 6 --device cpu --json{more}"
        ))
        .json()
    };

    let exact = ground(&recording, "");
    assert_eq!(exact["reference"], "exact mask");
    let bare = ground(&plain, "");
    assert_eq!(bare["reference"], Value::Null);
    assert_eq!(bare["metrics"], json!({ "tune": null, "held_out": null }));

    // Detector boxes that equal the exact ones give the numbers that the exact ones gave.
    let boxes = perfect_boxes(&dataset);
    fs::write(plain.join("gazelab_boxes.json"), boxes.to_string()).unwrap();
    let detected = ground(&plain, "");
    assert_eq!(detected["reference"], "detector box");
    assert_eq!(detected["heads"], exact["heads"]);
    for part in ["frames", "metrics"] {
        let (found, wanted) = (numbers(&detected[part]), numbers(&exact[part]));
        assert!(wanted.len() > 10, "{part}: {wanted:?}");
        assert_eq!(found.len(), wanted.len(), "{part}");
        for (found, wanted) in found.iter().zip(&wanted) {
            assert!((found - wanted).abs() < 1e-4, "{part}: {found} {wanted}");
        }
    }
    let text = run(&format!(
        "ground {} --data {} --frames 6 --device cpu",
        model.display(),
        plain.display()
    ))
    .ok();
    assert!(
        text.ends_with("measured against the detector box\n"),
        "{text}"
    );

    // Boxes named on the command line take their place: here, as wrong as can be.
    let mut wrong = boxes;
    for item in wrong["boxes"].as_array_mut().unwrap() {
        item["xyxy"] = json!([0.0, 0.0, 0.02, 0.02]);
    }
    let path = temp.path().join("wrong.json");
    fs::write(&path, wrong.to_string()).unwrap();
    let missed = ground(&plain, &format!(" --boxes {}", path.display()));
    assert_eq!(missed["reference"], "detector box");
    let pointing = |grounded: &Value| {
        let frames = grounded["frames"].as_array().unwrap().iter();
        frames
            .filter(|frame| frame["metrics"]["pointing"] == true)
            .count()
    };
    let held_out = |grounded: &Value| {
        grounded["metrics"]["held_out"]["mean_iou"]
            .as_f64()
            .unwrap()
    };
    assert_eq!(pointing(&missed), 0, "{missed}");
    assert!(held_out(&missed) < 0.05, "{missed}");
    assert_ne!(held_out(&missed), held_out(&detected));

    // A file that is no box file is an error that names it, and no number.
    fs::write(plain.join("gazelab_boxes.json"), "{}").unwrap();
    run(&format!(
        "ground {} --data {} --frames 2 --device cpu --json",
        model.display(),
        plain.display()
    ))
    .refused(plain.canonicalize().unwrap().join("gazelab_boxes.json"));
}

/// A Python that has LeRobot.
fn lerobot() -> Option<String> {
    let python = std::env::var("GAZELAB_LEROBOT_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let look = "import importlib.util as u; exit(u.find_spec('lerobot') is None)";
    let found = Command::new(&python).args(["-c", look]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    eprintln!(
        "not found, skipped: a Python with lerobot ({python}; GAZELAB_LEROBOT_PYTHON names another)"
    );
    None
}

#[test]
fn lerobot_reads_a_recording() {
    let Some(python) = lerobot() else { return };
    let temp = tempfile::tempdir().unwrap();
    let path = recording(temp.path());
    let dataset = episode::open(&path).unwrap();
    let info = dataset.info();
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/episode/tests/lerobot_reads.py");
    let output = Command::new(python)
        .arg(script)
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["episodes"], info.episodes);
    assert_eq!(found["frames"], info.frames);
    assert_eq!(found["fps"].as_f64(), info.fps.map(f64::from));
    let camera = &info.cameras[0];
    let key = format!("observation.images.{}", camera.name);
    assert_eq!(
        found["shapes"][&key],
        json!([3, camera.height, camera.width])
    );
    let last = info.episodes - 1;
    let signals = dataset.signals(last).unwrap();
    let steps = signals.steps();
    let action: Vec<f32> = serde_json::from_value(found["action"].clone()).unwrap();
    assert_eq!(action, signals.action(steps - 1).unwrap());
    let instruction = dataset.episode(last).unwrap().instruction;
    assert_eq!(found["task"].as_str(), Some(&*instruction));
    let first = dataset.image(0, 0, 0).unwrap();
    assert_eq!(found["first_pixel"], json!(first.rgb[..3]));
}
