//! The network as a whole: paths agree, nothing sees what it must not, and it learns.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, Tensor},
};
use common::{batch, config, samples};
use model::{
    Attention, Batch, Criterion, Inputs, Labels, MaeConfig, MaskSource, Objective, PatchMasks,
    Policy, Stem, Vla,
    optim::{AdamW, AdamWConfig},
    parameter_shapes,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn mae() -> Objective {
    let mut selection = grounding::HeadSelection::default();
    // Nets of two layers have too few heads for an elbow.
    selection.elbow.mode = grounding::ElbowMode::None;
    selection.bottom_row = grounding::BottomRow::Off;
    Objective::Mae(MaeConfig {
        source: MaskSource::Selected,
        decoder_width: 32,
        warmup_share: 0.5,
        reselect_every: 3,
        selection,
        ..MaeConfig::default()
    })
}

/// The CPU device on burn's own operations: recomputing activations is the plain path's.
fn plain() -> Device {
    Device::flex().autodiff().gradient_checkpointing()
}

fn assert_close(what: &str, a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
    for (a, b) in a.iter().zip(b) {
        assert!(
            (a - b).abs() <= tolerance * scale,
            "{what}: {a} against {b} (scale {scale})"
        );
    }
}

#[test]
fn kernels_and_plain_operations_are_the_same_model() {
    for (stem, attention, labels) in [
        (
            Stem::Conv,
            Attention::Prefix,
            Labels::Soft { sigma_bins: 1.5 },
        ),
        (Stem::Linear, Attention::Causal, Labels::Hard),
    ] {
        let config = model::VlaConfig {
            stem,
            attention,
            labels,
            ..config()
        }
        .for_objective(&mae());
        let run = |device: Device| {
            let vla = Vla::new(&config, 3, &device).unwrap();
            let batch = batch(&config, 5, 1, &device.clone().inner());
            let rng = &mut ChaCha8Rng::seed_from_u64(5);
            let criterion = Criterion::new(&mae(), &config, 100).unwrap();
            let losses = criterion.losses(&vla, &batch, 0, rng).unwrap();
            let grads = GradientsParams::from_grads(losses.total.clone().backward(), &vla);
            let (stepped, norm) = AdamW::new(AdamWConfig::default()).step(1e-2, vla.clone(), grads);
            let rows = vla
                .forward_with_attention(&batch.inputs, &[3, config.sequence().read_out])
                .1;
            let after = stepped.forward(&batch.inputs).logits;
            (
                values(losses.total),
                norm,
                rows.values,
                values(losses.logits),
                values(after),
            )
        };
        let (kernels, reference) = (run(Device::flex().autodiff()), run(plain()));
        assert_close("loss", &kernels.0, &reference.0, 1e-5);
        assert!(
            (kernels.1 - reference.1).abs() < 1e-4 * reference.1,
            "{} against {}",
            kernels.1,
            reference.1
        );
        assert_close("attention", &kernels.2, &reference.2, 1e-5);
        assert_close("logits", &kernels.3, &reference.3, 1e-5);
        // One Adam step divides gradients by their own size, which magnifies rounding where they are tiny.
        assert_close("logits after a step", &kernels.4, &reference.4, 2e-2);
    }
}

#[test]
fn validation_and_training_models_agree() {
    let config = config();
    let vla = Vla::new(&config, 3, &Device::flex().autodiff()).unwrap();
    let inputs = batch(&config, 3, 1, &Device::flex()).inputs;
    let plain = values(vla.valid().forward(&inputs).logits);
    assert_eq!(plain, values(vla.forward(&inputs).logits));
    let read_out = config.sequence().read_out;
    let (output, rows) = vla.forward_with_attention(&inputs, &[read_out]);
    assert_eq!(plain, values(output.logits));
    for row in rows.values.chunks(rows.keys) {
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }
}

#[test]
fn padding_changes_nothing() {
    let config = config();
    let vla = Vla::new(&config, 3, &Device::flex()).unwrap();
    let mut inputs = batch(&config, 3, 1, &Device::flex()).inputs;
    let before = values(vla.forward(&inputs).logits);
    // Other words where the mask says that there is none.
    let hidden = inputs.word_mask.clone().lower_elem(0.5);
    inputs.words = inputs.words.clone().mask_fill(hidden, 3);
    assert_eq!(before, values(vla.forward(&inputs).logits));
}

#[test]
fn words_state_and_both_pictures_are_seen() {
    for attention in [Attention::Causal, Attention::Prefix] {
        let config = model::VlaConfig {
            attention,
            ..config()
        };
        let vla = Vla::new(&config, 3, &Device::flex()).unwrap();
        let logits = |change: &dyn Fn(&mut model::Sample)| {
            let mut samples = samples(1, 4);
            change(&mut samples[0]);
            values(
                vla.forward(
                    &Batch::new(&config, &samples, &Device::flex())
                        .unwrap()
                        .inputs,
                )
                .logits,
            )
        };
        let base = logits(&|_| {});
        assert_eq!(base, logits(&|_| {}));
        assert_ne!(
            base,
            logits(&|s| s.observation.instruction = "pick up nothing".into())
        );
        assert_ne!(base, logits(&|s| s.observation.state[1] += 0.5));
        for camera in 0..2 {
            assert_ne!(
                base,
                logits(
                    &|s| std::sync::Arc::make_mut(&mut s.observation.images[camera]).rgb[10] ^= 128
                )
            );
        }
        // A change of light is not seen.
        let lit = logits(&|s| s.colour.offset = [0.05, -0.02, 0.03]);
        assert_close("another light", &lit, &base, 1e-3);
    }
}

#[test]
fn hidden_patches_never_enter() {
    let config = config().for_objective(&mae());
    let vla = Vla::new(&config, 3, &Device::flex()).unwrap();
    let masks = PatchMasks::random(
        1,
        &config.grids(),
        &[4, 1],
        &mut ChaCha8Rng::seed_from_u64(1),
    );
    let predicted = |samples: &[model::Sample]| {
        let inputs = Batch::new(&config, samples, &Device::flex())
            .unwrap()
            .inputs;
        let result = vla.reconstruct(&inputs, &masks).unwrap();
        (
            result
                .patches
                .into_iter()
                .flat_map(values)
                .collect::<Vec<_>>(),
            values(result.loss)[0],
        )
    };
    let plain = samples(1, 4);
    let mut changed = plain.clone();
    for (camera, side) in [(0, 16), (1, 8)] {
        let image = std::sync::Arc::make_mut(&mut changed[0].observation.images[camera]);
        let columns = config.grids()[camera].cols;
        for y in 0..side {
            for x in 0..side {
                if masks.frame(camera, 0)[(y / 4) * columns + x / 4] {
                    let at = (y * side + x) * 3;
                    image.rgb[at..at + 3].copy_from_slice(&[(x * 16) as u8, (y * 16) as u8, 255]);
                }
            }
        }
    }
    let (before, after) = (predicted(&plain), predicted(&changed));
    assert_eq!(
        before.0, after.0,
        "the reconstruction knows what was hidden"
    );
    assert_ne!(
        before.1, after.1,
        "the loss does not see the hidden patches"
    );
}

#[test]
fn patch_targets_are_the_patches() {
    for norm_pix in [false, true] {
        let Objective::Mae(mae) = mae() else {
            unreachable!()
        };
        let config = config().for_objective(&Objective::Mae(MaeConfig { norm_pix, ..mae }));
        let vla = Vla::new(&config, 3, &Device::flex()).unwrap();
        let samples = samples(2, 4);
        let inputs = Batch::new(&config, &samples, &Device::flex())
            .unwrap()
            .inputs;
        let targets = values(vla.patch_targets(&inputs, 0));
        // Patch 6 (row 1, column 2) of frame 1.
        let image = &samples[1].observation.images[0];
        let pixels: Vec<f32> = (0..4)
            .flat_map(|y| (0..4).map(move |x| (4 + y, 8 + x)))
            .flat_map(|(y, x)| image.pixel(x, y).unwrap())
            .map(|byte| f32::from(byte) / 255.0)
            .collect();
        let mean = pixels.iter().sum::<f32>() / 48.0;
        let variance = pixels.iter().map(|p| (p - mean).powi(2)).sum::<f32>() / 47.0;
        let expected: Vec<f32> = pixels
            .iter()
            .map(|p| {
                if norm_pix {
                    (p - mean) / (variance + 1e-6).sqrt()
                } else {
                    (p - 0.5) * 4.0
                }
            })
            .collect();
        assert_close("patch", &targets[(16 + 6) * 48..][..48], &expected, 1e-4);
    }
}

#[test]
fn decoding_finds_the_value_behind_soft_labels() {
    let config = config();
    let vla = Vla::new(&config, 3, &Device::flex()).unwrap();
    let batch = batch(&config, 4, 1, &Device::flex());
    // Logits that are the labels themselves: Gaussians around the value.
    let place = (batch.actions.clone() + 1.0) * 8.0 - 0.5;
    let index = Tensor::<1, burn::tensor::Int>::arange(0..16, &Device::flex())
        .float()
        .unsqueeze::<4>();
    let logits = (index.expand([4, 2, 2, 16]) - place.unsqueeze_dim::<4>(3).expand([4, 2, 2, 16]))
        .square()
        / -4.5;
    assert!(values(vla.action_loss(logits.clone(), &batch))[0].abs() < 1e-5);
    let error = values((vla.decode(logits) - batch.actions).abs().max());
    assert!(error[0] < 0.13, "{error:?}");
}

#[test]
fn missing_actions_carry_no_loss() {
    let config = config();
    let vla = Vla::new(&config, 3, &Device::flex()).unwrap();
    let mut samples = samples(2, 4);
    samples[1].actions.truncate(2);
    let batch = Batch::new(&config, &samples, &Device::flex()).unwrap();
    assert_eq!(values(batch.action_mask.clone()), [1.0, 1.0, 1.0, 0.0]);
    let logits = vla.forward(&batch.inputs).logits;
    let loss = values(vla.action_loss(logits.clone(), &batch));
    let disturbed = logits.clone().slice_assign(
        [1..2, 1..2, 0..2, 0..16],
        Tensor::ones([1, 1, 2, 16], &Device::flex()) * 3.0
            + logits.slice([0..1, 0..1, 0..2, 0..16]),
    );
    assert_eq!(loss, values(vla.action_loss(disturbed, &batch)));
}

fn train(objective: &Objective, steps: u64, threads: usize) -> (Vec<f32>, Vla) {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap();
    pool.install(|| {
        let config = config().for_objective(objective);
        let device = Device::flex().autodiff();
        let mut vla = Vla::new(&config, 3, &device).unwrap();
        let mut optimizer = AdamW::new(AdamWConfig::default());
        let mut criterion = Criterion::new(objective, &config, steps).unwrap();
        let calibration = batch(&config, 8, 1000, &Device::flex()).inputs;
        let rng = &mut ChaCha8Rng::seed_from_u64(5);
        let mut curve = Vec::new();
        for step in 0..steps {
            if criterion.calibration_due(step) {
                criterion.calibrate(&vla, &calibration, step).unwrap();
            }
            let batch = batch(&config, 16, step % 4, &Device::flex());
            let losses = criterion.losses(&vla, &batch, step, rng).unwrap();
            curve.push(values(losses.total.clone())[0]);
            let grads = GradientsParams::from_grads(losses.total.backward(), &vla);
            vla = optimizer.step(2e-3, vla, grads).0;
        }
        (curve, vla)
    })
}

#[test]
fn both_objectives_are_learned_and_reproduced_to_the_bit() {
    for objective in [Objective::Action, mae()] {
        let (curve, vla) = train(&objective, 60, 2);
        let (start, end) = (
            curve[..4].iter().sum::<f32>(),
            curve[56..].iter().sum::<f32>(),
        );
        assert!(end < 0.6 * start, "{objective}: {start} → {end}");
        let (again, other) = train(&objective, 60, 3);
        assert_eq!(curve, again, "{objective} depends on the number of threads");
        let inputs = batch(vla.config(), 3, 77, &Device::flex()).inputs;
        assert_eq!(
            values(vla.forward(&inputs).logits),
            values(other.forward(&inputs).logits)
        );
    }
}

/// A red and a blue square; the instruction says which of them is the goal.
fn two_squares(count: usize, seed: u64) -> Vec<[model::Sample; 2]> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count)
        .map(|_| {
            let mut picture = episode::Image::filled(16, 16, [60, 70, 80]);
            let mut place = || [rng.random_range(0..13u32), rng.random_range(0..13u32)];
            let first = place();
            let second = loop {
                let second = place();
                if first.iter().zip(second).any(|(a, b)| a.abs_diff(b) > 4) {
                    break second;
                }
            };
            for ([x, y], colour) in [(first, [230, 40, 40]), (second, [40, 60, 230])] {
                for (row, column) in (y..y + 4).flat_map(|y| (x..x + 4).map(move |x| (y, x))) {
                    let at = (row * 16 + column) as usize * 3;
                    picture.rgb[at..at + 3].copy_from_slice(&colour);
                }
            }
            let images: Vec<_> = vec![picture.into(), episode::Image::filled(8, 8, [90; 3]).into()];
            [("red", first), ("blue", second)].map(|(colour, [x, y])| {
                let target = [x as f32 / 3.0 - 2.0, y as f32 / 1.2];
                model::Sample {
                    observation: model::Observation {
                        images: images.clone(),
                        state: vec![1.0; 3],
                        instruction: format!("pick up the {colour} cube").into(),
                    },
                    actions: [target, target].concat(),
                    colour: model::ColourJitter::NONE,
                }
            })
        })
        .collect()
}

/// The recipe's point: the model must find what the words name, not what stands out.
#[test]
fn the_instruction_decides_where_to_go() {
    let config = model::VlaConfig {
        width: 64,
        ..config()
    };
    let mut vla = Vla::new(&config, 3, &Device::flex().autodiff()).unwrap();
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let criterion = Criterion::new(&Objective::Action, &config, STEPS).unwrap();
    const STEPS: u64 = 800;
    for step in 0..STEPS {
        // Fresh scenes, one instruction each.
        let samples: Vec<_> = two_squares(32, step)
            .into_iter()
            .enumerate()
            .map(|(index, [red, blue])| if index % 2 == 0 { red } else { blue })
            .collect();
        let batch = Batch::new(&config, &samples, &Device::flex()).unwrap();
        let rng = &mut ChaCha8Rng::seed_from_u64(step);
        let losses = criterion.losses(&vla, &batch, step, rng).unwrap();
        let grads = GradientsParams::from_grads(losses.total.backward(), &vla);
        let rate = 2e-3 * (step as f64 / 50.0).min(1.0 - step as f64 / STEPS as f64);
        vla = optimizer.step(rate, vla, grads).0;
    }
    let mut errors = Vec::new();
    for [red, blue] in two_squares(50, 1_000_000) {
        let samples = [red, blue];
        let batch = Batch::new(&config, &samples, &Device::flex()).unwrap();
        let decoded = vla
            .valid()
            .decode(vla.valid().forward(&batch.inputs).logits);
        let error = (decoded - batch.actions)
            .abs()
            .slice([0..2, 0..1, 0..2])
            .max_dim(2);
        errors.extend(values(error));
    }
    errors.sort_by(f32::total_cmp);
    // Squares lie 1.0 apart on average; a model without ear is off by half of it or more.
    assert!(
        errors[50] < 0.15,
        "median error {}, nine of ten {}",
        errors[50],
        errors[90]
    );
}

#[test]
fn the_shared_part_of_two_arms_begins_equal() {
    let action = Vla::new(&config(), 3, &Device::flex()).unwrap();
    let masked = Vla::new(&config().for_objective(&mae()), 3, &Device::flex()).unwrap();
    let inputs = batch(&config(), 2, 1, &Device::flex()).inputs;
    assert_eq!(
        values(action.forward(&inputs).logits),
        values(masked.forward(&inputs).logits)
    );
    let other = Vla::new(&config(), 4, &Device::flex()).unwrap();
    assert_ne!(
        values(action.forward(&inputs).logits),
        values(other.forward(&inputs).logits)
    );
    let names: Vec<String> = parameter_shapes(&masked)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    for name in [
        "words",
        "cameras.1.convolutions.0.weight",
        "blocks.1.mlp.up.bias",
        "decoder.pixels.0.weight",
    ] {
        assert!(
            names.iter().any(|n| n == name),
            "{name} is not among {names:?}"
        );
    }
}

#[test]
fn masks_follow_the_selected_heads_after_the_warm_up() {
    let Objective::Mae(selected) = mae() else {
        unreachable!()
    };
    let random = Objective::Mae(MaeConfig {
        source: MaskSource::Random,
        ..selected
    });
    let config = config().for_objective(&random);
    let vla = Vla::new(&config, 3, &Device::flex().autodiff()).unwrap();
    let batch = batch(&config, 6, 1, &Device::flex());
    let mut selected = Criterion::new(&mae(), &config, 10).unwrap();
    let random = Criterion::new(&random, &config, 10).unwrap();
    assert_eq!(selected.warmup_steps(), 5);
    // During warm-up the two arms are the same run.
    let loss = |criterion: &Criterion, step| {
        let rng = &mut ChaCha8Rng::seed_from_u64(5);
        let losses = criterion.losses(&vla, &batch, step, rng).unwrap();
        (
            values(losses.total)[0],
            losses.sourced_share,
            rand::Rng::next_u64(rng),
        )
    };
    assert!(!selected.calibration_due(4));
    let (a, b) = (loss(&selected, 4), loss(&random, 4));
    assert_eq!((a.0, a.2), (b.0, b.2));
    assert_eq!((a.1, b.1), (0.0, 1.0));
    // Afterwards heads must be chosen first.
    assert!(selected.calibration_due(5) && !random.calibration_due(5));
    assert!(
        selected
            .losses(&vla, &batch, 5, &mut ChaCha8Rng::seed_from_u64(5))
            .is_err()
    );
    selected.calibrate(&vla, &batch.inputs, 5).unwrap();
    assert!(!selected.calibration_due(7) && selected.calibration_due(8));
    assert_eq!(selected.state().heads.len(), 2);
    let (a, b) = (loss(&selected, 5), loss(&random, 5));
    // All of the first camera; an untrained model may show no region on the four patches of the second.
    assert!(a.1 >= 0.5, "only {} of the masks come from attention", a.1);
    assert_ne!(a.0, b.0);
    assert_eq!(a.2, b.2, "the arms draw different random numbers");
    // A restored criterion goes on as if nothing had happened.
    let mut restored = Criterion::new(&mae(), &config, 10).unwrap();
    let state = serde_json::to_string(selected.state()).unwrap();
    restored
        .restore(serde_json::from_str(&state).unwrap())
        .unwrap();
    assert_eq!(loss(&restored, 6), loss(&selected, 6));
}

#[test]
fn a_capture_says_what_every_token_is() {
    let config = config();
    let vla = Vla::new(&config, 3, &Device::flex()).unwrap();
    let policy = Policy::new(vla);
    let observations: Vec<_> = samples(3, 4).into_iter().map(|s| s.observation).collect();
    let captures = policy.captures(&observations).unwrap();
    let capture = &captures[1];
    assert_eq!(capture.attn, policy.capture(&observations[1]).unwrap().attn);
    assert_eq!((capture.layers.len(), capture.heads.len()), (2, 4));
    // "pick up the red cube" has five of six words.
    let words: Vec<&str> = capture.queries.iter().map(|q| q.token.as_str()).collect();
    assert_eq!(
        (words[..3].to_vec(), &words[5..]),
        (vec!["pick", "up", "the"], &["state", "action"][..])
    );
    assert_eq!(capture.default_query(), 6);
    assert_eq!(capture.keys.len(), config.sequence().len());
    assert_eq!(capture.grid_views(), [0, 1]);
    let maps = capture.head_maps(capture.default_query(), 1).unwrap();
    assert_eq!((maps.grid.rows, maps.grid.cols), (2, 2));
    let rows = policy
        .vla()
        .forward_with_attention(
            &Inputs::new(&config, &observations, &Device::flex()).unwrap(),
            &[config.sequence().read_out],
        )
        .1;
    assert_eq!(
        maps.data.to_vec(),
        rows.map(1, 0, config.sequence().images[1].clone())
    );
    // Actions come back in the dataset's units.
    let chunk = &policy.act(&observations).unwrap()[1];
    assert_eq!((chunk.rows.len(), chunk.rows[0].len()), (2, 2));
    assert!(
        chunk
            .rows
            .iter()
            .all(|row| row[0].abs() <= 2.0 && (0.0..=10.0).contains(&row[1]))
    );
    assert_eq!(capture.action.as_ref(), Some(&chunk.rows[0]));
}

#[test]
fn observations_that_do_not_fit_are_refused() {
    let config = config();
    let policy = Policy::new(Vla::new(&config, 3, &Device::flex()).unwrap());
    let good = samples(1, 4).remove(0).observation;
    let refused = |change: &dyn Fn(&mut model::Observation)| {
        let mut observation = good.clone();
        change(&mut observation);
        policy.act(&[observation]).unwrap_err().to_string()
    };
    assert!(refused(&|o| o.images.truncate(1)).contains("1 pictures for 2 cameras"));
    assert!(refused(&|o| o.state.push(0.0)).contains("state of 4 numbers"));
    assert!(refused(&|o| o.state[2] = f32::NAN).contains("state[2] is NaN"));
    let broken = episode::Image {
        width: 4,
        height: 4,
        rgb: vec![0; 7],
    };
    assert!(refused(&|o| o.images[0] = broken.clone().into()).contains("7 bytes"));
    assert!(policy.act(&[]).unwrap().is_empty());
    // Pictures of another size are resized, instructions of any length cut.
    let mut other = good.clone();
    other.images[0] = episode::Image::filled(101, 57, [9, 9, 9]).into();
    other.instruction = "word ".repeat(50).into();
    assert!(policy.act(&[other]).is_ok());
    let mut silent = good;
    silent.instruction = "".into();
    assert!(policy.capture(&silent).is_ok());
}
