//! Prints training steps per second of the `nano` model on the processor: forward, backward and AdamW at
//! batch 32, two cameras (64×64 and 32×32), made-up frames.
//!
//! `cargo run --release -p model --example step_rate [steps]`

use burn::{optim::GradientsParams, tensor::Device};
use episode::{CameraInfo, DatasetInfo, Image};
use model::{
    Batch, ColourJitter, Criterion, MaeConfig, MaskSource, Normaliser, Objective, Observation, Sample, Size, Vla,
    VlaConfig,
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
    let steps: usize = std::env::args().nth(1).map_or(Ok(20), |text| text.parse())?;
    let camera = |name: &str, side| CameraInfo { name: name.into(), width: side, height: side };
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
    let mae = |source| Objective::Mae(MaeConfig { source, warmup_share: 0.0, ..MaeConfig::default() });
    for patch in [8, 4] {
        for objective in [Objective::Action, mae(MaskSource::Random), mae(MaskSource::Selected)] {
            let norm = Normaliser::identity(4);
            let config = VlaConfig::preset(Size::Nano, &info, &[0, 1], norm.clone(), norm)?
                .with_patch(patch)?
                .for_objective(&objective);
            run(&config, &objective, steps)?;
        }
    }
    Ok(())
}

fn run(config: &VlaConfig, objective: &Objective, steps: usize) -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex().autodiff();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut vla = Vla::new(config, 1, &device)?;
    let mut criterion = Criterion::new(objective, config, steps as u64)?;
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let samples: Vec<Sample> = (0..32).map(|_| sample(&mut rng)).collect();
    let batch = Batch::new(config, &samples, &Device::flex())?;
    criterion.calibrate(&vla, &batch.inputs, 0)?;
    let mut times = Vec::new();
    for step in 0..steps + 2 {
        let start = Instant::now();
        let batch = Batch::new(config, &samples, &Device::flex())?;
        let losses = criterion.losses(&vla, &batch, (step % 100) as u64, &mut rng)?;
        let grads = GradientsParams::from_grads(losses.total.backward(), &vla);
        vla = optimizer.step(1e-3, vla, grads).0;
        // The first steps pay for pages and caches.
        if step >= 2 {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    times.sort_by(f64::total_cmp);
    let parameters: usize = parameter_shapes(&vla).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    println!(
        "patch {}, {:>4} tokens, {objective:<13} {:.2} M parameters: {:>6.2} steps/s median, {:>6.2} best",
        config.cameras[0].patch,
        config.sequence().len(),
        parameters as f64 / 1e6,
        1.0 / times[times.len() / 2],
        1.0 / times[0],
    );
    Ok(())
}

fn sample(rng: &mut ChaCha8Rng) -> Sample {
    let mut image = |side: u32| {
        Arc::new(Image { width: side, height: side, rgb: (0..side * side * 3).map(|_| rng.random()).collect() })
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
