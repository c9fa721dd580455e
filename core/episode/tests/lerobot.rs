//! LeRobotDataset v3.0: what is written is read back, by us and by LeRobot.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use common::{error, shared};
use episode::lerobot::{Frame, RegionMasks, Writer, WriterSpec};
use episode::{CameraInfo, Error, Image, PixelMask, Region, open};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const LENGTHS: [usize; 3] = [5, 1, 7];
const TASKS: [&str; 3] = [
    "push the red cube",
    "lift the “blue” cube",
    "push the red cube",
];

fn spec() -> WriterSpec {
    let camera = |name: &str, width, height| CameraInfo {
        name: name.into(),
        width,
        height,
    };
    WriterSpec {
        fps: 10,
        robot_type: "gripper".into(),
        cameras: vec![camera("static", 24, 16), camera("gripper", 8, 8)],
        mask_cameras: vec!["static".into()],
        action_names: ["x", "y", "z", "gripper"].map(String::from).to_vec(),
        state_names: ["x", "y", "z"].map(String::from).to_vec(),
    }
}

fn image(episode: usize, step: usize, width: u32, height: u32) -> Image {
    let rgb = (0..height).flat_map(|y| {
        (0..width).flat_map(move |x| {
            [
                (x * 9) as u8,
                (y * 13) as u8,
                (episode * 40 + step * 5) as u8,
            ]
        })
    });
    Image {
        width,
        height,
        rgb: rgb.collect(),
    }
}

fn mask(step: usize, width: u32, height: u32, offset: usize) -> PixelMask {
    let mut mask = PixelMask::empty(width, height);
    for bit in mask.bits.iter_mut().skip(step * 3 + offset).take(20) {
        *bit = true;
    }
    mask
}

fn vectors(episode: usize, step: usize) -> ([f32; 3], [f32; 4]) {
    let t = (episode * 10 + step) as f32;
    (
        [t, -t, t * 0.5],
        [
            t * 0.1,
            1.0 - t,
            0.25,
            if step.is_multiple_of(2) { -1.0 } else { 1.0 },
        ],
    )
}

fn write(dir: &Path) -> Result<(), Error> {
    let mut writer = Writer::create(dir, spec())?;
    for (episode, (length, task)) in LENGTHS.into_iter().zip(TASKS).enumerate() {
        for step in 0..length {
            let images = [image(episode, step, 24, 16), image(episode, step, 8, 8)];
            let masks = [RegionMasks {
                target: mask(step, 24, 16, 0),
                goal: mask(step, 24, 16, 40),
            }];
            let (state, action) = vectors(episode, step);
            writer.push_frame(&Frame {
                images: &images,
                masks: &masks,
                state: &state,
                action: &action,
            })?;
        }
        writer.end_episode(task)?;
    }
    writer.finish()
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(
                    path.strip_prefix(dir).unwrap().to_path_buf(),
                    fs::read(&path).unwrap(),
                );
            }
        }
    }
    found
}

#[test]
fn what_is_written_is_read_back() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("recording");
    write(&dir).unwrap();
    let dataset = open(&dir).unwrap();

    let info = dataset.info();
    assert_eq!(info.format, "lerobot-v3.0");
    assert_eq!((info.episodes, info.frames, info.fps), (3, 13, Some(10.0)));
    assert_eq!(info.cameras, spec().cameras);
    assert_eq!(info.instructions, [TASKS[0], TASKS[1]]);
    assert_eq!(
        (&info.action_names, &info.state_names),
        (&spec().action_names, &spec().state_names)
    );
    assert!(info.has_masks);
    assert!(info.warnings.is_empty(), "{:?}", info.warnings);

    for (episode, length) in LENGTHS.into_iter().enumerate() {
        let meta = dataset.episode(episode).unwrap();
        assert_eq!((meta.length, &*meta.instruction), (length, TASKS[episode]));
        let signals = dataset.signals(episode).unwrap();
        assert_eq!(signals.steps(), length);
        for step in (0..length).rev() {
            let (state, action) = vectors(episode, step);
            assert_eq!(
                (signals.state(step).unwrap(), signals.action(step).unwrap()),
                (&state[..], &action[..])
            );
            assert_eq!(
                *dataset.image(episode, step, 0).unwrap(),
                image(episode, step, 24, 16)
            );
            assert_eq!(
                *dataset.image(episode, step, 1).unwrap(),
                image(episode, step, 8, 8)
            );
            for (region, offset) in [(Region::Target, 0), (Region::Goal, 40)] {
                let found = dataset.mask(episode, step, 0, region).unwrap().unwrap();
                assert_eq!(*found, mask(step, 24, 16, offset));
            }
            assert!(
                dataset
                    .mask(episode, step, 1, Region::Target)
                    .unwrap()
                    .is_none()
            );
        }
    }
    for (result, what) in [
        (dataset.image(3, 0, 0), "episode 3"),
        (dataset.image(0, 5, 0), "step 5"),
        (dataset.image(0, 0, 2), "camera 2"),
    ] {
        assert!(error(result).starts_with(what));
    }
}

/// Changes columns of the list of episodes of a recording.
fn relist(dir: &Path, change: impl Fn(&str, &mut [i64])) {
    let path = dir.join("meta/episodes/chunk-000/file-000.parquet");
    let file = fs::File::open(&path).unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let schema = builder.schema().clone();
    let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    let out = fs::File::create(&path).unwrap();
    let mut writer = ArrowWriter::try_new(out, schema.clone(), None).unwrap();
    for batch in batches {
        let columns = schema.fields().iter().zip(batch.columns());
        let columns = columns.map(|(field, column)| -> ArrayRef {
            let Some(numbers) = column.as_primitive_opt::<Int64Type>() else {
                return column.clone();
            };
            let mut numbers = numbers.values().to_vec();
            change(field.name(), &mut numbers);
            Arc::new(Int64Array::from(numbers))
        });
        let columns = columns.collect();
        writer
            .write(&RecordBatch::try_new(schema.clone(), columns).unwrap())
            .unwrap();
    }
    writer.close().unwrap();
}

#[test]
fn an_episode_that_is_left_out_shifts_no_picture() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("recording");
    write(&dir).unwrap();
    // The first episode claims to have no frame.
    relist(&dir, |name, numbers| {
        if name == "dataset_to_index" {
            numbers[0] = 0;
        }
    });
    let dataset = open(&dir).unwrap();
    let info = dataset.info();
    assert_eq!((info.episodes, info.frames), (2, 8));
    assert!(
        info.warnings[0].starts_with("episode 0 has frames 0 to 0 and is left out"),
        "{:?}",
        info.warnings
    );
    for (episode, length) in LENGTHS[1..].iter().enumerate() {
        for step in 0..*length {
            let wanted = image(episode + 1, step, 24, 16);
            assert_eq!(*dataset.image(episode, step, 0).unwrap(), wanted);
            let (state, _) = vectors(episode + 1, step);
            let signals = dataset.signals(episode).unwrap();
            assert_eq!(signals.state(step).unwrap(), state);
        }
    }
}

#[test]
fn pictures_of_another_episode_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("recording");
    write(&dir).unwrap();
    // The second episode claims the last frame of the first.
    relist(&dir, |name, numbers| match name {
        "dataset_from_index" => numbers[1] = 4,
        "dataset_to_index" => numbers[0] = 4,
        _ => {}
    });
    let dataset = open(&dir).unwrap();
    let message = error(dataset.image(1, 0, 0));
    assert!(
        message.contains("row 4 belongs to episode 0, meta/episodes says episode 1"),
        "{message}"
    );
    assert_eq!(*dataset.image(1, 1, 0).unwrap(), image(1, 0, 24, 16));
}

#[test]
fn the_same_frames_give_the_same_bytes() {
    let temp = tempfile::tempdir().unwrap();
    let (a, b) = (temp.path().join("a"), temp.path().join("elsewhere/b"));
    write(&a).unwrap();
    write(&b).unwrap();
    assert!(files(&a) == files(&b));
    assert_eq!(files(&a).len(), 5);
}

#[test]
fn nothing_that_existed_is_overwritten_and_nothing_half_done_stays() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("recording");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("notes.txt"), "mine").unwrap();
    assert!(error(write(&dir)).contains("not empty"));
    assert_eq!(fs::read(dir.join("notes.txt")).unwrap(), b"mine");

    let other = temp.path().join("other");
    let mut writer = Writer::create(&other, spec()).unwrap();
    assert!(error(writer.end_episode("x")).contains("no step"));
    let bad = Frame {
        images: &[],
        masks: &[],
        state: &[0.0; 3],
        action: &[0.0; 4],
    };
    assert!(error(writer.push_frame(&bad)).contains("0 pictures instead of 2"));
    drop(writer);
    assert!(error(Writer::create(&other, spec()).unwrap().finish()).contains("no episode"));
    let left: Vec<_> = fs::read_dir(temp.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["recording"]);

    // An empty folder, and one that gets filled while the recording runs.
    fs::remove_file(dir.join("notes.txt")).unwrap();
    write(&dir).unwrap();
    let mut writer = Writer::create(
        &other,
        WriterSpec {
            cameras: vec![],
            mask_cameras: vec![],
            ..spec()
        },
    )
    .unwrap();
    writer
        .push_frame(&Frame {
            images: &[],
            masks: &[],
            state: &[0.0; 3],
            action: &[0.0; 4],
        })
        .unwrap();
    writer.end_episode("wait").unwrap();
    fs::create_dir(&other).unwrap();
    fs::write(other.join("notes.txt"), "mine").unwrap();
    assert!(error(writer.finish()).contains("not empty"));
    assert_eq!(files(&other).len(), 1);
}

#[test]
fn frames_that_do_not_fit_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(&temp.path().join("a"), spec()).unwrap();
    let images = [image(0, 0, 24, 16), image(0, 0, 8, 8)];
    let masks = [RegionMasks {
        target: mask(0, 24, 16, 0),
        goal: mask(0, 24, 16, 0),
    }];
    let frame = Frame {
        images: &images,
        masks: &masks,
        state: &[0.0; 3],
        action: &[0.0; 4],
    };
    let wrong_size = [image(0, 0, 16, 24), image(0, 0, 8, 8)];
    assert!(
        error(writer.push_frame(&Frame {
            images: &wrong_size,
            ..frame
        }))
        .contains("camera static gave 16x24")
    );
    let action = [0.0, f32::NAN, 0.0, 0.0];
    assert!(
        error(writer.push_frame(&Frame {
            action: &action,
            ..frame
        }))
        .contains("action component 1 is NaN")
    );
    let small = [RegionMasks {
        target: mask(0, 8, 8, 0),
        goal: mask(0, 24, 16, 0),
    }];
    assert!(
        error(writer.push_frame(&Frame {
            masks: &small,
            ..frame
        }))
        .contains("masks.static is not 24x16")
    );
    writer.push_frame(&frame).unwrap();

    let twice = WriterSpec {
        mask_cameras: vec!["static".into(), "static".into()],
        ..spec()
    };
    assert!(error(Writer::create(&temp.path().join("b"), twice)).contains("named twice"));
    let unknown = WriterSpec {
        mask_cameras: vec!["wrist".into()],
        ..spec()
    };
    assert!(error(Writer::create(&temp.path().join("b"), unknown)).contains("which is no camera"));
}

#[test]
fn a_dataset_written_by_lerobot_is_read() {
    let Some(dir) = shared("lerobot_v30_image") else {
        return;
    };
    let dataset = open(&dir).unwrap();
    let info = dataset.info();
    assert_eq!((info.episodes, info.frames, info.fps), (2, 117, Some(20.0)));
    let cameras: Vec<_> = info
        .cameras
        .iter()
        .map(|c| (c.name.as_str(), c.width, c.height))
        .collect();
    assert_eq!(cameras, [("agentview", 128, 128), ("wrist", 128, 128)]);
    assert_eq!(
        info.instructions,
        [
            "stack the red cube on the green cube",
            "put the can in the right bin"
        ]
    );
    assert_eq!(
        info.action_names,
        ["dx", "dy", "dz", "drx", "dry", "drz", "gripper"]
    );
    assert_eq!(info.state_names[6..], ["finger_0", "finger_1"]);
    assert!(info.warnings.is_empty(), "{:?}", info.warnings);
    assert!(!info.has_masks);
    assert_eq!(dataset.episode(1).unwrap().length, 60);
    assert_eq!(dataset.signals(1).unwrap().actions.len(), 60 * 7);

    // The pictures of the first episode also lie there as PNG files.
    let png =
        shared("frames/stack_the_red_cube_on_the_green_cube/demo_0/agentview_000012.png").unwrap();
    let png = image::open(png).unwrap().into_rgb8();
    assert_eq!(dataset.image(0, 12, 0).unwrap().rgb, png.into_raw());
}

/// Recording the same frames again must give the statistics that LeRobot computed.
#[test]
fn statistics_are_those_of_lerobot() {
    let Some(dir) = shared("lerobot_v30_image") else {
        return;
    };
    let dataset = open(&dir).unwrap();
    let info = dataset.info();
    let temp = tempfile::tempdir().unwrap();
    let again = temp.path().join("again");
    let spec = WriterSpec {
        fps: 20,
        robot_type: "panda".into(),
        cameras: info.cameras.clone(),
        mask_cameras: vec![],
        action_names: info.action_names.clone(),
        state_names: info.state_names.clone(),
    };
    let mut writer = Writer::create(&again, spec).unwrap();
    for episode in 0..info.episodes {
        let signals = dataset.signals(episode).unwrap();
        for step in 0..signals.steps() {
            let image = |camera| Image::clone(&dataset.image(episode, step, camera).unwrap());
            let (state, action) = (signals.state(step).unwrap(), signals.action(step).unwrap());
            writer
                .push_frame(&Frame {
                    images: &[image(0), image(1)],
                    masks: &[],
                    state,
                    action,
                })
                .unwrap();
        }
        writer
            .end_episode(&dataset.episode(episode).unwrap().instruction)
            .unwrap();
    }
    writer.finish().unwrap();

    let read = |path: &Path| -> serde_json::Value {
        serde_json::from_slice(&fs::read(path.join("meta/stats.json")).unwrap()).unwrap()
    };
    let (ours, theirs) = (read(&again), read(&dir));
    for (key, theirs) in theirs.as_object().unwrap() {
        let ours = &ours[key];
        let range = flat(&ours["max"])
            .iter()
            .zip(flat(&ours["min"]))
            .map(|(max, min)| max - min)
            .collect::<Vec<_>>();
        for (name, theirs) in theirs.as_object().unwrap() {
            let (a, b) = (flat(&ours[name]), flat(theirs));
            assert_eq!(a.len(), b.len(), "{key} {name}");
            // Within an episode, lerobot squares pictures as bytes, which overflows: its spread is too small.
            if key.contains("images") && name == "std" {
                assert!(a.iter().zip(&b).all(|(a, b)| a > b));
                continue;
            }
            for ((a, b), range) in a.iter().zip(&b).zip(&range) {
                // Their quantiles are known to one bin of 5000.
                let slack = 2e-5
                    + if name.starts_with('q') {
                        range / 2500.0
                    } else {
                        0.0
                    };
                assert!((a - b).abs() <= slack, "{key} {name}: {a} {b}");
            }
        }
        assert_eq!(shape(&ours["min"]), shape(&theirs["min"]), "{key}");
    }
}

fn flat(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().map_or_else(
        || vec![value.as_f64().unwrap()],
        |items| items.iter().flat_map(flat).collect(),
    )
}

fn shape(value: &serde_json::Value) -> Vec<usize> {
    value.as_array().map_or_else(Vec::new, |items| {
        std::iter::once(items.len())
            .chain(items.first().map(shape).unwrap_or_default())
            .collect()
    })
}

#[test]
fn videos_are_refused_by_name() {
    for (name, what) in [
        ("lerobot_v30_video", "pictures in videos"),
        ("lerobot_v21_video", "before v3.0"),
    ] {
        let Some(dir) = shared(name) else { return };
        let message = error(open(&dir));
        assert!(
            message.contains("not supported yet")
                && message.contains(what)
                && message.ends_with(name),
            "{message}"
        );
        assert!(matches!(
            open(&dir).err().unwrap(),
            Error::Unsupported { .. }
        ));
    }
}

/// A Python that has LeRobot.
fn python() -> Option<String> {
    let python = std::env::var("GAZELAB_LEROBOT_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python)
        .args([
            "-c",
            "import importlib.util as u; exit(u.find_spec('lerobot') is None)",
        ])
        .output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    eprintln!(
        "not found, skipped: a Python with lerobot ({python}; GAZELAB_LEROBOT_PYTHON names another)"
    );
    None
}

#[test]
fn lerobot_reads_what_is_written() {
    let Some(python) = python() else { return };
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("recording");
    write(&dir).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lerobot_reads.py");
    let output = Command::new(python).arg(script).arg(&dir).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    eprintln!("{found:#}");
    assert_eq!(
        (&found["episodes"], &found["frames"], &found["fps"]),
        (&3.into(), &13.into(), &10.into())
    );
    assert_eq!(
        found["shapes"]["observation.images.static"],
        serde_json::json!([3, 16, 24])
    );
    assert_eq!(
        found["shapes"]["masks.static"],
        serde_json::json!([3, 16, 24])
    );
    assert_eq!(found["shapes"]["action"], serde_json::json!([4]));
    assert_eq!(found["task"], TASKS[2]);
    assert_eq!(found["first_pixel"], serde_json::json!([0, 0, 0]));
    let action: Vec<f32> = serde_json::from_value(found["action"].clone()).unwrap();
    assert_eq!(action, vectors(2, 6).1);
    assert!((found["timestamp"].as_f64().unwrap() - 0.6).abs() < 1e-6);
    let mut names = [
        "min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99",
    ];
    names.sort_unstable();
    assert_eq!(found["stats"]["action"], serde_json::json!(names));
}
