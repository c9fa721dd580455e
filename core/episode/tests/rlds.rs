//! RLDS datasets: a small one made here, and the BridgeData V2 excerpt.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::tfrecord::{bytes, example, floats, frame, integers};
use common::{error, shared};
use episode::{Region, open};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const TASKS: [&str; 3] = [
    "put the spoon in the pot",
    "close the drawer",
    "put the spoon in the pot",
];

/// The last pixel has this value; the others are darker, unless the picture is to be blank.
fn png(width: u32, height: u32, value: u8, is_blank: bool) -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    let pixels = image::RgbImage::from_fn(width, height, |x, y| {
        let red = if is_blank {
            value
        } else {
            value - (width - 1 - x) as u8 - (height - 1 - y) as u8
        };
        image::Rgb([red, 10, 20])
    });
    pixels.write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

fn value(episode: usize, step: usize, camera: usize) -> u8 {
    (50 + episode * 50 + camera * 20 + step) as u8
}

fn record(episode: usize, steps: usize) -> Vec<u8> {
    let pictures = |camera: usize| {
        (0..steps)
            .map(|t| {
                png(
                    12,
                    8,
                    value(episode, t, camera),
                    (episode, camera) == (1, 1),
                )
            })
            .collect::<Vec<_>>()
    };
    let numbers = |dim: usize, scale: f32| {
        (0..steps * dim)
            .map(|i| (episode * 100 + i) as f32 * scale)
            .collect::<Vec<_>>()
    };
    example(&[
        ("steps/observation/front", bytes(&pictures(0))),
        ("steps/observation/wrist", bytes(&pictures(1))),
        ("steps/observation/state", floats(&numbers(2, 0.5))),
        ("steps/action", floats(&numbers(3, 1.0))),
        (
            "steps/language_instruction",
            bytes(&vec![TASKS[episode].as_bytes().to_vec(); steps]),
        ),
        (
            "steps/is_last",
            integers(
                &(0..steps)
                    .map(|t| i64::from(t + 1 == steps))
                    .collect::<Vec<_>>(),
            ),
        ),
    ])
}

fn features() -> Value {
    let picture = json!({"image": {"shape": {"dimensions": ["8", "12", "3"]}, "dtype": "uint8", "encodingFormat": "png"}});
    let vector = |dim: &str, description: &str| json!({"tensor": {"shape": {"dimensions": [dim]}, "dtype": "float32"}, "description": description});
    let scalar = |dtype: &str| json!({"tensor": {"shape": {}, "dtype": dtype}});
    let group = |features: Value| json!({"featuresDict": {"features": features}});
    let observation = group(json!({"wrist": picture, "front": picture, "state": vector("2", "")}));
    let steps = group(json!({
        "observation": observation,
        "action": vector("3", "consists of [2x position, 1x gripper]"),
        "language_instruction": {"text": {}},
        "is_last": scalar("bool"),
    }));
    group(json!({"steps": {"sequence": {"feature": steps}}}))
}

/// Three episodes of 2, 3 and 4 steps in two shards.
fn write(root: &Path) -> PathBuf {
    let dir = root.join("kitchen/1.2.0");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("features.json"), features().to_string()).unwrap();
    let info = json!({"name": "kitchen", "version": "1.2.0", "fileFormat": "tfrecord",
        "splits": [{"name": "train", "shardLengths": ["2", "1"]}]});
    fs::write(dir.join("dataset_info.json"), info.to_string()).unwrap();
    let shards = [
        [frame(&record(0, 2)), frame(&record(1, 3))].concat(),
        frame(&record(2, 4)),
    ];
    for (at, shard) in shards.iter().enumerate() {
        fs::write(
            dir.join(format!("kitchen-train.tfrecord-0000{at}-of-00002")),
            shard,
        )
        .unwrap();
    }
    dir
}

#[test]
fn a_small_dataset_is_read() {
    let temp = tempfile::tempdir().unwrap();
    let dir = write(temp.path());
    let dataset = open(&dir).unwrap();
    let info = dataset.info();
    assert_eq!(
        (info.format.as_str(), info.name.as_str()),
        ("rlds", "kitchen 1.2.0")
    );
    assert_eq!((info.episodes, info.frames), (3, 9));
    let cameras: Vec<_> = info
        .cameras
        .iter()
        .map(|c| (c.name.as_str(), c.width, c.height))
        .collect();
    assert_eq!(cameras, [("front", 12, 8), ("wrist", 12, 8)]);
    assert_eq!(info.instructions, [TASKS[0], TASKS[1]]);
    assert_eq!(info.action_names, ["position[0]", "position[1]", "gripper"]);
    assert_eq!(info.state_names, ["state[0]", "state[1]"]);
    let [blank] = info.warnings.as_slice() else {
        panic!("{:?}", info.warnings)
    };
    assert!(
        blank.contains("camera wrist is blank in 1 of 3 episodes"),
        "{blank}"
    );

    for (episode, steps) in [2, 3, 4].into_iter().enumerate() {
        let meta = dataset.episode(episode).unwrap();
        assert_eq!((meta.length, &*meta.instruction), (steps, TASKS[episode]));
        let signals = dataset.signals(episode).unwrap();
        assert_eq!(
            (signals.steps(), signals.action_dim, signals.state_dim),
            (steps, 3, 2)
        );
        let first = (episode * 100) as f32;
        assert_eq!(
            signals.action(1).unwrap(),
            [first + 3.0, first + 4.0, first + 5.0]
        );
        assert_eq!(
            signals.state(1).unwrap(),
            [(first + 2.0) * 0.5, (first + 3.0) * 0.5]
        );
        for step in 0..steps {
            for camera in 0..2 {
                let image = dataset.image(episode, step, camera).unwrap();
                assert_eq!(
                    image.pixel(11, 7),
                    Some([value(episode, step, camera), 10, 20])
                );
                assert!(
                    dataset
                        .mask(episode, step, camera, Region::Target)
                        .unwrap()
                        .is_none()
                );
            }
        }
    }
    assert!(error(dataset.image(0, 2, 0)).starts_with("step 2"));
    assert!(error(dataset.image(0, 0, 2)).starts_with("camera 2"));
    assert!(error(dataset.signals(3)).starts_with("episode 3"));
}

#[test]
fn any_path_to_the_dataset_opens_it() {
    let temp = tempfile::tempdir().unwrap();
    let dir = write(temp.path());
    let shard = dir.join("kitchen-train.tfrecord-00000-of-00002");
    for path in [
        temp.path(),
        &temp.path().join("kitchen"),
        &shard,
        &dir.join("features.json"),
    ] {
        assert_eq!(open(path).unwrap().info().episodes, 3, "{}", path.display());
    }
    write(&temp.path().join("other"));
    let message = error(open(temp.path()));
    assert!(
        message.contains("2 are inside") && message.contains("kitchen/1.2.0"),
        "{message}"
    );
}

#[test]
fn missing_pieces_are_warnings() {
    let temp = tempfile::tempdir().unwrap();
    let dir = write(temp.path());
    fs::remove_file(dir.join("kitchen-train.tfrecord-00000-of-00002")).unwrap();
    fs::remove_file(dir.join("features.json")).unwrap();
    let dataset = open(&dir).unwrap();
    let info = dataset.info();
    assert_eq!((info.episodes, info.cameras.len()), (1, 2));
    assert_eq!((info.action_names.len(), info.state_names.len()), (3, 2));
    assert_eq!(info.instructions, [TASKS[2]]);
    assert!(
        info.warnings.iter().any(|w| w.contains("1 of 2 shards")),
        "{:?}",
        info.warnings
    );
    assert!(
        info.warnings
            .iter()
            .any(|w| w.contains("features.json is missing")),
        "{:?}",
        info.warnings
    );

    // A record that is cut off, behind a sound one.
    let shard = dir.join("kitchen-train.tfrecord-00001-of-00002");
    let mut bytes = fs::read(&shard).unwrap();
    bytes.extend_from_slice(&bytes.clone()[..500]);
    fs::write(&shard, bytes).unwrap();
    let info = open(&dir).unwrap().info().clone();
    assert_eq!(info.episodes, 1);
    assert!(
        info.warnings
            .iter()
            .any(|w| w.contains("record 1 at byte") && w.contains("cut off")),
        "{:?}",
        info.warnings
    );
}

#[test]
fn pictures_that_contradict_features_json_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let dir = write(temp.path());
    let json = fs::read_to_string(dir.join("features.json"))
        .unwrap()
        .replace("\"12\"", "\"60000\"");
    fs::write(dir.join("features.json"), json).unwrap();
    let message = error(open(&dir));
    assert!(
        message.contains("declares 12x8, features.json says 60000x8"),
        "{message}"
    );
}

#[test]
fn bridge_data_v2_is_read() {
    let Some(dir) = shared("bridge") else { return };
    let dataset = open(&dir).unwrap();
    let info = dataset.info();
    assert_eq!(
        (info.format.as_str(), info.episodes, info.frames),
        ("rlds", 15, 150)
    );
    let cameras: Vec<_> = info
        .cameras
        .iter()
        .map(|c| (c.name.as_str(), c.width, c.height))
        .collect();
    assert_eq!(
        cameras,
        [
            ("image_0", 64, 64),
            ("image_1", 64, 64),
            ("image_2", 64, 64),
            ("image_3", 64, 64)
        ]
    );
    assert_eq!((info.action_names.len(), info.state_names.len()), (7, 7));
    assert_eq!(info.instructions.len(), 4);
    let [blank] = info.warnings.as_slice() else {
        panic!("{:?}", info.warnings)
    };
    assert!(
        blank.contains("camera image_3 is blank in 15 of 15 episodes"),
        "{blank}"
    );
    for episode in 0..info.episodes {
        assert_eq!(dataset.episode(episode).unwrap().length, 10);
        assert_eq!(dataset.signals(episode).unwrap().steps(), 10);
        for step in 0..10 {
            for camera in 0..4 {
                dataset.image(episode, step, camera).unwrap();
            }
        }
    }
}
