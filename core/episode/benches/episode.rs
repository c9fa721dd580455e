//! How long a frame takes to appear: a random one with nothing cached, and the ones after it.
//!
//! The bound is 33 ms, decoding included.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a bench"
)]

#[path = "../tests/common/tfrecord.rs"]
mod tfrecord;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use episode::lerobot::{Frame, Writer, WriterSpec};
use episode::{CameraInfo, Image, SharedDataset, open};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use std::fs;
use std::hint::black_box;
use std::path::Path;

const EPISODES: usize = 100;
const STEPS: usize = 40;
const SIDE: u32 = 64;

/// Smooth with a moving square and some noise, as camera pictures are.
fn picture(episode: usize, step: usize, camera: usize) -> Image {
    let mut noise = (episode * 977 + step * 31 + camera) as u32 | 1;
    let rgb = (0..SIDE * SIDE).flat_map(|i| {
        let (x, y) = (i % SIDE, i / SIDE);
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let grain = (noise >> 29) as u8;
        let is_square = (x + step as u32).is_multiple_of(SIDE / 2) || x.abs_diff(y) < 8;
        [
            x as u8 * 2 + grain,
            y as u8 * 2 + grain,
            if is_square { 200 } else { 80 + grain },
        ]
    });
    Image {
        width: SIDE,
        height: SIDE,
        rgb: rgb.collect(),
    }
}

fn lerobot(dir: &Path) {
    let camera = |name: &str| CameraInfo {
        name: name.into(),
        width: SIDE,
        height: SIDE,
    };
    let spec = WriterSpec {
        fps: 10,
        robot_type: "gripper".into(),
        cameras: vec![camera("static"), camera("gripper")],
        mask_cameras: vec![],
        action_names: ["x", "y", "z", "gripper"].map(String::from).to_vec(),
        state_names: ["x", "y", "z", "aperture"].map(String::from).to_vec(),
    };
    let mut writer = Writer::create(dir, spec).unwrap();
    for episode in 0..EPISODES {
        for step in 0..STEPS {
            let images = [picture(episode, step, 0), picture(episode, step, 1)];
            writer
                .push_frame(&Frame {
                    images: &images,
                    masks: &[],
                    state: &[0.5; 4],
                    action: &[0.5; 4],
                })
                .unwrap();
        }
        writer.end_episode("push the cube").unwrap();
    }
    writer.finish().unwrap();
}

/// The layout of BridgeData V2.
fn bridge(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let jpeg = |image: &Image| {
        let mut bytes = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut bytes, 95);
        encoder
            .write_image(&image.rgb, SIDE, SIDE, ExtendedColorType::Rgb8)
            .unwrap();
        bytes
    };
    let mut shard = Vec::new();
    for episode in 0..EPISODES {
        let pictures = |camera| {
            (0..STEPS)
                .map(|step| jpeg(&picture(episode, step, camera)))
                .collect::<Vec<_>>()
        };
        let record = tfrecord::example(&[
            ("steps/observation/image_0", tfrecord::bytes(&pictures(0))),
            ("steps/observation/image_1", tfrecord::bytes(&pictures(1))),
            ("steps/observation/image_2", tfrecord::bytes(&pictures(2))),
            ("steps/observation/image_3", tfrecord::bytes(&pictures(3))),
            (
                "steps/observation/state",
                tfrecord::floats(&[0.5; 7 * STEPS]),
            ),
            ("steps/action", tfrecord::floats(&[0.5; 7 * STEPS])),
            (
                "steps/language_embedding",
                tfrecord::floats(&[0.5; 512 * STEPS]),
            ),
            (
                "steps/language_instruction",
                tfrecord::bytes(&vec![b"push the cube".to_vec(); STEPS]),
            ),
        ]);
        shard.extend(tfrecord::frame(&record));
    }
    fs::write(dir.join("bridge-train.tfrecord-00000-of-00001"), shard).unwrap();
}

fn measure(c: &mut Criterion, name: &str, dir: &Path) {
    let mut group = c.benchmark_group(name);
    group.sample_size(50);
    group.bench_function("open", |b| b.iter(|| open(black_box(dir)).unwrap()));
    let mut at = 0;
    let mut random = move |dataset: &SharedDataset| {
        at += 1;
        let (episode, step) = ((at * 7919) % EPISODES, (at * 104_729) % STEPS);
        dataset
            .image(episode, step, at % dataset.info().cameras.len())
            .unwrap()
    };
    group.bench_function("random frame, nothing cached", |b| {
        b.iter_batched(
            || open(dir).unwrap(),
            |dataset| random(&dataset),
            BatchSize::PerIteration,
        );
    });
    let dataset = open(dir).unwrap();
    group.bench_function("random frame, dataset in use", |b| {
        b.iter(|| random(&dataset))
    });
    group.bench_function("an episode played, every camera", |b| {
        let mut episode = 0;
        b.iter_batched(
            || open(dir).unwrap(),
            |dataset| {
                episode = (episode + 1) % EPISODES;
                for step in 0..STEPS {
                    for camera in 0..dataset.info().cameras.len() {
                        black_box(dataset.image(episode, step, camera).unwrap());
                    }
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn benches(c: &mut Criterion) {
    let temp = tempfile::tempdir().unwrap();
    let (recording, records) = (temp.path().join("recording"), temp.path().join("bridge"));
    lerobot(&recording);
    bridge(&records);
    measure(c, "lerobot parquet 64x64", &recording);
    measure(c, "rlds tfrecord 64x64", &records);

    // 100,000 episodes, made by the shared data's make_large.py.
    match std::env::var_os("GAZELAB_LARGE_DATASET") {
        Some(path) => {
            let mut group = c.benchmark_group("large lerobot");
            group.sample_size(10);
            group.bench_function("open", |b| b.iter(|| open(Path::new(&path)).unwrap()));
            let dataset = open(Path::new(&path)).unwrap();
            let mut at = 0;
            group.bench_function("random frame", |b| {
                b.iter(|| {
                    at = (at + 7919) % dataset.info().episodes;
                    dataset.image(at, 0, 0).unwrap()
                });
            });
            group.finish();
        }
        None => eprintln!("GAZELAB_LARGE_DATASET names no dataset, skipped: large lerobot"),
    }
}

criterion_group!(frames, benches);
criterion_main!(frames);
