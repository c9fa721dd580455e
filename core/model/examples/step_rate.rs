//! Prints training steps per second of the `nano` model on the processor: forward, backward and AdamW at
//! batch 32, two cameras (64×64 and 32×32), made-up frames.
//!
//! `cargo run --release -p gazelab-model --example step_rate [steps] [patch] [objective]`
//!
//! The processor time beside the rate says what a step costs when other programs share the cores.

use burn::{optim::GradientsParams, tensor::Device};
use episode::{CameraInfo, DatasetInfo, Image};
use model::{
    Batch, ColourJitter, Criterion, MaeConfig, MaskSource, Normaliser, Objective, Observation,
    Sample, Size, Vla, VlaConfig,
    optim::{AdamW, AdamWConfig},
    parameter_shapes,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{sync::Arc, time::Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const INSTRUCTION: &str = "put the red cube in the blue bowl";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let steps: usize = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let patch: Option<u32> = arguments.next().map(|text| text.parse()).transpose()?;
    let objective_name: Option<String> = arguments.next();
    let camera = |name: &str, side| CameraInfo {
        name: name.into(),
        width: side,
        height: side,
    };
    let info = DatasetInfo {
        format: "made up".into(),
        path: Default::default(),
        name: "made up".into(),
        fps: None,
        episodes: 0,
        frames: 0,
        cameras: vec![camera("static", 64), camera("gripper", 32)],
        instructions: vec![INSTRUCTION.into()],
        action_names: Vec::new(),
        state_names: Vec::new(),
        has_masks: false,
        warnings: Vec::new(),
    };
    let mae = |source| {
        Objective::Mae(MaeConfig {
            source,
            warmup_share: 0.0,
            ..MaeConfig::default()
        })
    };
    let wanted = |objective: &Objective| {
        objective_name
            .as_ref()
            .is_none_or(|name| *name == objective.to_string())
    };
    for patch in [8, 4]
        .into_iter()
        .filter(|p| patch.is_none_or(|patch| patch == *p))
    {
        let objectives = [
            Objective::Action,
            mae(MaskSource::Random),
            mae(MaskSource::Selected),
        ];
        for objective in objectives.into_iter().filter(wanted) {
            let norm = Normaliser::identity(4);
            let config = VlaConfig::preset(Size::Nano, &info, &[0, 1], norm.clone(), norm)?
                .with_patch(patch)?
                .for_objective(&objective);
            run(&config, &objective, steps)?;
        }
    }
    Ok(())
}

fn run(
    config: &VlaConfig,
    objective: &Objective,
    steps: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex().autodiff();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut vla = Vla::new(config, 1, &device)?;
    let mut criterion = Criterion::new(objective, config, steps as u64)?;
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let samples: Vec<Sample> = (0..32).map(|_| sample(&mut rng)).collect();
    let batch = Batch::new(config, &samples, &Device::flex())?;
    criterion.calibrate(&vla, &batch.inputs, 0)?;
    let mut times = Vec::new();
    let mut processor = 0.0;
    for step in 0..steps + 2 {
        let start = Instant::now();
        let batch = Batch::new(config, &samples, &Device::flex())?;
        let losses = criterion.losses(&vla, &batch, (step % 100) as u64, &mut rng)?;
        let grads = GradientsParams::from_grads(losses.total.backward(), &vla);
        vla = optimizer.step(1e-3, vla, grads).0;
        // The first steps pay for pages and caches.
        if step == 1 {
            processor = processor_seconds();
        }
        if step >= 2 {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    let processor = (processor_seconds() - processor) / steps as f64;
    times.sort_by(f64::total_cmp);
    let parameters: usize = parameter_shapes(&vla)
        .iter()
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum();
    println!(
        "patch {}, {:>4} tokens, {objective:<13} {:.2} M parameters: {:>6.2} steps/s median, {:>6.2} best, {:.0} ms of processor time",
        config.cameras[0].patch,
        config.sequence().len(),
        parameters as f64 / 1e6,
        1.0 / times[times.len() / 2],
        1.0 / times[0],
        processor * 1e3,
    );
    Ok(())
}

/// Processor time of this process so far; 0 where the system does not tell it in this way.
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // User and system time are the 14th and 15th field, in hundredths; the second field ends with ')'.
    let fields = text
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(11)
        .take(2);
    fields
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

fn sample(rng: &mut ChaCha8Rng) -> Sample {
    let mut image = |side: u32| {
        Arc::new(Image {
            width: side,
            height: side,
            rgb: (0..side * side * 3).map(|_| rng.random()).collect(),
        })
    };
    Sample {
        observation: Observation {
            images: vec![image(64), image(32)],
            state: vec![0.1, -0.2, 0.3, 1.0],
            instruction: INSTRUCTION.into(),
        },
        actions: vec![0.25; 16],
        colour: ColourJitter::sample(rng, 0.15),
    }
}
