//! How long a frame takes to appear: a random one with nothing cached, and the ones after it.
//!
//! The bound is 33 ms, decoding included.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench"
)]

#[path = "../tests/common/tfrecord.rs"]
mod tfrecord;

use divan::Bencher;
use episode::lerobot::{Frame, Writer, WriterSpec};
use episode::{CameraInfo, Image, SharedDataset, open};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder};
use std::cell::Cell;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;

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

/// The two layouts, written once.
#[derive(Clone, Copy, Debug)]
enum Layout {
    Lerobot,
    Rlds,
}

const LAYOUTS: [Layout; 2] = [Layout::Lerobot, Layout::Rlds];

impl Layout {
    fn dir(self) -> PathBuf {
        static HOME: OnceLock<TempDir> = OnceLock::new();
        let home = HOME.get_or_init(|| {
            let home = tempfile::tempdir().unwrap();
            lerobot(&home.path().join("lerobot"));
            bridge(&home.path().join("rlds"));
            home
        });
        match self {
            Self::Lerobot => home.path().join("lerobot"),
            Self::Rlds => home.path().join("rlds"),
        }
    }
}

/// A frame that the one before does not foretell.
fn random(dataset: &SharedDataset, at: &Cell<usize>) -> Arc<Image> {
    at.set(at.get() + 1);
    let (episode, step) = ((at.get() * 7919) % EPISODES, (at.get() * 104_729) % STEPS);
    let camera = at.get() % dataset.info().cameras.len();
    dataset.image(episode, step, camera).unwrap()
}

#[divan::bench(args = LAYOUTS)]
fn open_dataset(bencher: Bencher, layout: Layout) {
    let dir = layout.dir();
    bencher.bench_local(|| open(black_box(&dir)).unwrap());
}

#[divan::bench(args = LAYOUTS)]
fn random_frame_nothing_cached(bencher: Bencher, layout: Layout) {
    let (dir, at) = (layout.dir(), Cell::new(0));
    bencher
        .with_inputs(|| open(&dir).unwrap())
        .bench_local_refs(|dataset| random(dataset, &at));
}

#[divan::bench(args = LAYOUTS)]
fn random_frame_dataset_in_use(bencher: Bencher, layout: Layout) {
    let (dataset, at) = (open(&layout.dir()).unwrap(), Cell::new(0));
    bencher.bench_local(|| random(&dataset, &at));
}

#[divan::bench(args = LAYOUTS, sample_count = 20)]
fn episode_played_every_camera(bencher: Bencher, layout: Layout) {
    let (dir, episode) = (layout.dir(), Cell::new(0));
    bencher
        .with_inputs(|| open(&dir).unwrap())
        .bench_local_refs(|dataset| {
            episode.set((episode.get() + 1) % EPISODES);
            for step in 0..STEPS {
                for camera in 0..dataset.info().cameras.len() {
                    black_box(dataset.image(episode.get(), step, camera).unwrap());
                }
            }
        });
}

/// 100,000 episodes, made by the shared data's `make_large.py`.
fn large() -> Option<PathBuf> {
    let path = std::env::var_os("GAZELAB_LARGE_DATASET").map(PathBuf::from);
    if path.is_none() {
        eprintln!("GAZELAB_LARGE_DATASET names no dataset, skipped: large");
    }
    path
}

#[divan::bench(sample_count = 10)]
fn open_large(bencher: Bencher) {
    let Some(path) = large() else { return };
    bencher.bench_local(|| open(black_box(&path)).unwrap());
}

#[divan::bench]
fn random_frame_of_large(bencher: Bencher) {
    let Some(path) = large() else { return };
    let (dataset, at) = (open(&path).unwrap(), Cell::new(0));
    bencher.bench_local(|| {
        at.set((at.get() + 7919) % dataset.info().episodes);
        dataset.image(at.get(), 0, 0).unwrap()
    });
}

fn main() {
    divan::main();
}
