//! A tiny model and frames whose answer can be read off the picture.
#![allow(dead_code, reason = "each test file uses its part")]

use episode::Image;
use model::{
    Attention, Batch, CameraConfig, ColourJitter, Labels, Normaliser, Observation, Sample, Size,
    Stem, VlaConfig, Vocabulary,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// Two cameras of 4×4 and 2×2 patches, two layers.
pub fn config() -> VlaConfig {
    let camera = |name: &str, side: u32| CameraConfig {
        name: name.into(),
        width: side,
        height: side,
        patch: 4,
    };
    VlaConfig {
        format: VlaConfig::FORMAT.into(),
        size: Size::Nano,
        width: 32,
        layers: 2,
        heads: 4,
        mlp_ratio: 2,
        stem: Stem::Conv,
        cameras: vec![camera("static", 16), camera("gripper", 8)],
        vocabulary: Vocabulary::build(["pick up the red cube", "pick up the blue cube"]),
        max_words: 6,
        state_dim: 3,
        action_dim: 2,
        chunk: 2,
        bins: 16,
        labels: Labels::Soft { sigma_bins: 1.5 },
        attention: Attention::Prefix,
        state_norm: Normaliser {
            low: vec![0.0; 3],
            high: vec![2.0; 3],
        },
        action_norm: Normaliser {
            low: vec![-2.0, 0.0],
            high: vec![2.0, 10.0],
        },
        decoder: None,
    }
}

/// Frames with one bright square each; the action is where it is.
pub fn samples(count: usize, seed: u64) -> Vec<Sample> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count)
        .map(|_| {
            let (x, y) = (rng.random_range(0..12u32), rng.random_range(0..12u32));
            let mut picture = Image::filled(16, 16, [60, 70, 80]);
            for row in y..y + 4 {
                for column in x..x + 4 {
                    let at = (row * 16 + column) as usize * 3;
                    picture.rgb[at..at + 3].copy_from_slice(&[230, 40, 40]);
                }
            }
            let gripper = Image::filled(8, 8, [rng.random(), rng.random(), rng.random()]);
            let instruction = if rng.random() {
                "pick up the red cube"
            } else {
                "pick up the blue cube"
            };
            let target = [x as f32 / 6.0 - 1.0, y as f32 / 1.2];
            Sample {
                observation: Observation {
                    images: vec![Arc::new(picture), Arc::new(gripper)],
                    state: vec![rng.random(), rng.random(), rng.random()],
                    instruction: instruction.into(),
                },
                actions: [target, target].concat(),
                colour: ColourJitter::NONE,
            }
        })
        .collect()
}

pub fn batch(config: &VlaConfig, count: usize, seed: u64, device: &burn::tensor::Device) -> Batch {
    Batch::new(config, &samples(count, seed), device).unwrap()
}
