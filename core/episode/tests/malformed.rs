//! Files that are broken on purpose: every one gives a message that names the file, none a panic.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::shared;
use episode::lerobot::{Frame, Writer, WriterSpec};
use episode::{CameraInfo, Image, SharedDataset, open};
use std::path::Path;

/// Opens and reads everything; all that is wrong, as messages.
fn faults(path: &Path) -> Vec<String> {
    let dataset = match open(path) {
        Ok(dataset) => dataset,
        Err(e) => return vec![e.to_string()],
    };
    let mut faults = dataset.info().warnings.clone();
    faults.extend(read_all(&dataset));
    faults
}

fn read_all(dataset: &SharedDataset) -> Vec<String> {
    let mut faults = Vec::new();
    for episode in 0..dataset.info().episodes.min(100) {
        let length = match dataset.episode(episode) {
            Ok(meta) => meta.length,
            Err(e) => {
                faults.push(e.to_string());
                continue;
            }
        };
        faults.extend(dataset.signals(episode).err().map(|e| e.to_string()));
        for step in 0..length.min(100) {
            for camera in 0..dataset.info().cameras.len() {
                faults.extend(
                    dataset
                        .image(episode, step, camera)
                        .err()
                        .map(|e| e.to_string()),
                );
            }
        }
    }
    faults
}

#[test]
fn every_malformed_dataset_says_what_is_wrong() {
    let Some(root) = shared("malformed") else {
        return;
    };
    // Folder, the words of one message, whether opening is refused.
    let cases: [(&str, &[&str], bool); 24] = [
        (
            "lerobot_parquet_empty",
            &["empty", "data/chunk-000/file-000.parquet"],
            true,
        ),
        (
            "lerobot_parquet_truncated",
            &["no footer", "data/chunk-000/file-000.parquet"],
            true,
        ),
        (
            "lerobot_parquet_wrong_schema",
            &["action is Utf8", "float32[7]", "file-000.parquet"],
            true,
        ),
        (
            "lerobot_parquet_missing_column",
            &[
                "no column action",
                "present are",
                "observation.image",
                "file-000.parquet",
            ],
            true,
        ),
        (
            "lerobot_parquet_ragged_actions",
            &[
                "6 numbers at row 1",
                "null at row 2",
                "0 numbers at row 4",
                "file-000.parquet",
            ],
            true,
        ),
        (
            "lerobot_nan_actions",
            &["action is NaN at row 1, component 2", "file-000.parquet"],
            false,
        ),
        (
            "lerobot_path_traversal",
            &["data_path leads out of the dataset", "meta/info.json"],
            true,
        ),
        (
            "lerobot_path_traversal_template",
            &["leads out of the dataset", "meta/info.json"],
            true,
        ),
        (
            "lerobot_template_width_bomb",
            &["data_path", "unreasonable width", "meta/info.json"],
            true,
        ),
        (
            "lerobot_counts_lie",
            &[
                "1000000000000000 episodes",
                "1 with 5 are listed",
                "meta/info.json",
            ],
            false,
        ),
        (
            "lerobot_unknown_version",
            &["v9.1", "not known", "meta/info.json"],
            true,
        ),
        (
            "lerobot_info_not_json",
            &["not JSON", "line 1 column", "meta/info.json"],
            true,
        ),
        ("lerobot_fps_zero", &["fps is", "0", "meta/info.json"], true),
        (
            "lerobot_png_bomb",
            &[
                "row 0 observation.image",
                "60000x60000",
                "info.json says 16x16",
                "file-000.parquet",
            ],
            true,
        ),
        (
            "lerobot_jpeg_bomb",
            &["row 0 observation.image", "65500x65500", "file-000.parquet"],
            true,
        ),
        (
            "lerobot_task_not_utf8",
            &["UTF-8", "meta/tasks.parquet"],
            false,
        ),
        (
            "lerobot_v21_episodes_not_utf8",
            &["before v3.0", "lerobot_v21_episodes_not_utf8"],
            true,
        ),
        (
            "tfrecord_bad_data_crc",
            &[
                "record 0 at byte 0",
                "data checksum differs",
                "tfrecord-00000-of-00001",
            ],
            true,
        ),
        (
            "tfrecord_bad_length_crc",
            &[
                "record 0 at byte 0",
                "length checksum differs",
                "tfrecord-00000-of-00001",
            ],
            true,
        ),
        (
            "tfrecord_length_2_60",
            &[
                "record 1 at byte 134149",
                "1152921504606846976",
                "100 remain",
            ],
            true,
        ),
        (
            "tfrecord_truncated",
            &["record 1 at byte", "cut off", "tfrecord-00000-of-00001"],
            false,
        ),
        (
            "tfrecord_not_an_example",
            &[
                "record 0",
                "not a tf.train.Example",
                "tfrecord-00000-of-00001",
            ],
            true,
        ),
        (
            "calvin_missing_key",
            &["not supported yet", "calvin_missing_key"],
            true,
        ),
        (
            "hdf5_truncated_demo.hdf5",
            &["HDF5", "hdf5_truncated_demo.hdf5"],
            true,
        ),
    ];
    let mut wrong = Vec::new();
    for (name, words, is_refused) in cases {
        let path = root.join(name);
        let found = faults(&path);
        if !found
            .iter()
            .any(|message| words.iter().all(|word| message.contains(word)))
        {
            wrong.push(format!("{name}: no message has {words:?}: {found:#?}"));
        }
        if open(&path).is_err() != is_refused {
            wrong.push(format!("{name}: refused should be {is_refused}"));
        }
        if found.iter().any(|message| message.contains("root:")) {
            wrong.push(format!("{name}: shows a file outside"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let control = faults(&root.join("lerobot_whole_control"));
    assert!(control.is_empty(), "{control:?}");
}

/// Damage at every place of the small files and at many of the large one.
#[test]
fn no_flipped_byte_makes_a_reader_panic() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("recording");
    let camera = CameraInfo {
        name: "static".into(),
        width: 8,
        height: 8,
    };
    let spec = WriterSpec {
        fps: 10,
        robot_type: "gripper".into(),
        cameras: vec![camera],
        mask_cameras: vec![],
        action_names: vec!["x".into(), "y".into()],
        state_names: vec!["x".into()],
    };
    let mut writer = Writer::create(&dir, spec).unwrap();
    for step in 0..3 {
        let image = Image::filled(8, 8, [step as u8 * 50; 3]);
        writer
            .push_frame(&Frame {
                images: &[image],
                masks: &[],
                state: &[0.5],
                action: &[0.1, 0.2],
            })
            .unwrap();
    }
    writer.end_episode("push").unwrap();
    writer.finish().unwrap();
    assert_eq!(faults(&dir), [""; 0]);

    let names = [
        "data/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/tasks.parquet",
        "meta/info.json",
    ];
    // The parquet library's own panics are caught; what they print would only hide a real one.
    std::panic::set_hook(Box::new(|_| {}));
    let mut noticed = 0;
    for name in names {
        let path = dir.join(name);
        let sound = std::fs::read(&path).unwrap();
        let stride = sound.len().div_ceil(200);
        for at in (0..sound.len()).step_by(stride) {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = sound.clone();
                bytes[at] ^= flip;
                std::fs::write(&path, &bytes).unwrap();
                noticed += usize::from(!faults(&dir).is_empty());
            }
        }
        std::fs::write(&path, &sound).unwrap();
    }
    drop(std::panic::take_hook());
    assert!(noticed > 300, "{noticed}");
}

#[test]
fn foreign_and_missing_paths_are_errors_with_a_hint() {
    let temp = tempfile::tempdir().unwrap();
    let message = |path: &Path| open(path).err().expect("an error").to_string();
    let missing = message(&temp.path().join("nowhere"));
    assert!(
        missing.contains("nothing at this path") && missing.ends_with("nowhere"),
        "{missing}"
    );
    assert!(message(temp.path()).contains("the folder is empty"));
    let text = temp.path().join("notes.txt");
    std::fs::write(&text, "hello").unwrap();
    assert!(message(&text).contains("meta/info.json"));
    assert!(message(temp.path()).contains("none of its files is known"));
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_read_is_not_an_empty_one() {
    use std::os::unix::fs::PermissionsExt as _;
    let temp = tempfile::tempdir().unwrap();
    let closed = temp.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    let mode = |mode| std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(mode));
    mode(0o000).unwrap();
    if std::fs::read_dir(&closed).is_ok() {
        eprintln!("skipped: this user may read every folder");
        return;
    }
    for path in [closed.as_path(), temp.path()] {
        let error = open(path).err().unwrap();
        assert!(matches!(error, episode::Error::Io { .. }), "{error}");
        assert!(error.to_string().ends_with("closed"), "{error}");
        // The cause is told once, by whoever prints the chain.
        assert!(!error.to_string().contains("denied"), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }
    mode(0o755).unwrap();
}
