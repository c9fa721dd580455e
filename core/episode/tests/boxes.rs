//! Box files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::{error, shared};
use episode::boxes::{BoxDetection, BoxFile};
use episode::lerobot::{Frame, Writer, WriterSpec};
use episode::{CameraInfo, Image, SharedDataset, open};
use std::fs;
use std::path::{Path, PathBuf};

/// Two tasks in turn, four episodes of three steps.
fn dataset(root: &Path) -> SharedDataset {
    let dir = root.join("recording");
    let spec = WriterSpec {
        fps: 5,
        robot_type: "gripper".into(),
        cameras: vec![CameraInfo {
            name: "top_view".into(),
            width: 20,
            height: 10,
        }],
        mask_cameras: vec![],
        action_names: vec!["x".into()],
        state_names: vec![],
    };
    let mut writer = Writer::create(&dir, spec).unwrap();
    for task in [
        "Push the cube.",
        "lift the cube",
        "Push the cube.",
        "lift the cube",
    ] {
        for _ in 0..3 {
            let image = Image::filled(20, 10, [1, 2, 3]);
            writer
                .push_frame(&Frame {
                    images: &[image],
                    masks: &[],
                    state: &[],
                    action: &[0.5],
                })
                .unwrap();
        }
        writer.end_episode(task).unwrap();
    }
    writer.finish().unwrap();
    open(&dir).unwrap()
}

fn file(root: &Path, text: &str) -> PathBuf {
    let path = root.join("boxes.json");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn our_own_layout() {
    let temp = tempfile::tempdir().unwrap();
    let dataset = dataset(temp.path());
    let load = |boxes: &str| {
        let text = format!(r#"{{"format": "gazelab-boxes/1", "boxes": [{boxes}]}}"#);
        BoxFile::load(&file(temp.path(), &text), &*dataset)
    };
    let good = r#"{"episode": 1, "step": 2, "camera": "top_view", "xyxy": [0.25, 0, 0.5, 1], "label": "cube", "score": 0.5}"#;
    let boxes = load(good).unwrap();
    let expected = BoxDetection {
        x0: 0.25,
        y0: 0.0,
        x1: 0.5,
        y1: 1.0,
        label: "cube".into(),
        score: 0.5,
    };
    assert_eq!(boxes.detections(1, 2, "top_view"), [expected]);
    assert!(
        boxes.detections(1, 1, "top_view").is_empty() && boxes.detections(1, 2, "wrist").is_empty()
    );
    assert!(boxes.warnings().is_empty());

    let boxes = load(&format!(
        "{good}, {}",
        good.replace("\"step\": 2", "\"step\": 3")
    ))
    .unwrap();
    assert_eq!(boxes.len(), 1);
    assert!(boxes.warnings()[0].starts_with("1 boxes belong to no frame"));
    assert!(
        error(load(&good.replace("0.25", "25")))
            .contains("box 0: [25.0, 0.0, 0.5, 1.0] is not within 0 to 1")
    );
    assert!(error(load(&good.replace("top_view", "wrist"))).contains("none of 1 boxes"));
    assert!(error(load(&good.replace("0.25, ", ""))).contains("xyxy is not four numbers"));
    assert!(load("").unwrap().is_empty());
}

#[test]
fn grounding_dino_lists() {
    let temp = tempfile::tempdir().unwrap();
    let dataset = dataset(temp.path());
    let item = |name: &str| {
        format!(
            r#"{{"file": "{name}", "boxes": [[5, 1, 10, 6]], "scores": [0.5], "labels": [0], "text_labels": ["cube"]}}"#
        )
    };
    let load = |items: &[String]| {
        BoxFile::load(
            &file(temp.path(), &format!("[{}]", items.join(","))),
            &*dataset,
        )
    };
    let boxes = load(&[
        item("frames/push_the_cube/demo_1/top_view_000002.png"),
        item("frames/lift_the_cube/demo_0/top_view_000000.png"),
        item("frames/push_the_cube/demo_5/top_view_000002.png"),
    ]);
    let boxes = boxes.unwrap();
    let expected = BoxDetection {
        x0: 0.25,
        y0: 0.1,
        x1: 0.5,
        y1: 0.6,
        label: "cube".into(),
        score: 0.5,
    };
    assert_eq!(
        boxes.detections(2, 2, "top_view"),
        std::slice::from_ref(&expected)
    );
    assert_eq!(boxes.detections(1, 0, "top_view"), [expected]);
    assert_eq!((boxes.len(), boxes.warnings().len()), (2, 1));

    let plain = load(&[item("demo_3/top_view_1.jpg")]).unwrap();
    assert_eq!(plain.detections(3, 1, "top_view").len(), 1);
    let foreign = [
        item("a/demo_0/top_view_1.png"),
        item("b/demo_0/top_view_1.png"),
    ];
    assert!(error(load(&foreign)).contains("none of 2 boxes"));
}

#[test]
fn box_files_are_found_beside_a_dataset() {
    let temp = tempfile::tempdir().unwrap();
    let dataset = temp.path().join("bridge/1.0.0");
    fs::create_dir_all(&dataset).unwrap();
    assert_eq!(BoxFile::beside(&dataset), None);
    for folder in [temp.path(), &temp.path().join("bridge"), &dataset] {
        let path = folder.join("gazelab_boxes.json");
        fs::write(&path, "[]").unwrap();
        assert_eq!(BoxFile::beside(&dataset), Some(path));
    }
}

#[test]
fn detections_of_the_shared_data() {
    let (Some(dir), Some(path)) = (
        shared("lerobot_v30_image"),
        shared("annotations/grounding_dino.json"),
    ) else {
        return;
    };
    let dataset = open(&dir).unwrap();
    let boxes = BoxFile::load(&path, &*dataset).unwrap();
    let first = boxes.detections(0, 0, "agentview");
    let labels: Vec<_> = first.iter().map(|b| b.label.as_str()).collect();
    assert_eq!(labels, ["red cube", "green cube"]);
    assert!((first[0].x0 - 55.506_12 / 128.0).abs() < 1e-6);
    assert!(
        !boxes.detections(1, 12, "agentview").is_empty(),
        "{:?}",
        boxes.warnings()
    );
}

#[test]
fn malformed_box_files() {
    let Some(root) = shared("malformed/annotations") else {
        return;
    };
    let temp = tempfile::tempdir().unwrap();
    let dataset = dataset(temp.path());
    let cases: [(&str, &[&str]); 5] = [
        (
            "grounding_dino_lengths_differ.json",
            &["item 0 (a.png)", "2 boxes, 2 scores and 1 labels"],
        ),
        ("grounding_dino_nan.json", &["not JSON", "NaN"]),
        ("grounding_dino_relative.json", &["at most 1", "relative"]),
        ("truncated.json", &["not JSON", "line 1 column"]),
        ("coco_bad_boxes.json", &["neither gazelab-boxes/1 nor"]),
    ];
    for (name, words) in cases {
        let message = error(BoxFile::load(&root.join(name), &*dataset));
        assert!(
            words.iter().all(|word| message.contains(word)) && message.ends_with(name),
            "{message}"
        );
    }
}
