//! Devices by name. What only a machine with a GPU can show is skipped elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use burn::{
    optim::GradientsParams,
    tensor::{Device, Tensor},
};
use common::{batch, config};
use model::{
    Criterion, DeviceChoice, Error, MaeConfig, Objective, Vla, fused,
    optim::{AdamW, AdamWConfig},
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

#[test]
fn the_processor_is_always_there() {
    let (device, name) = DeviceChoice::Cpu.resolve().unwrap();
    assert!(fused::is_fused(&device) && fused::is_fused(&device.autodiff()));
    assert!(name.starts_with("CPU"));
    assert!(DeviceChoice::Auto.resolve().is_ok());
}

#[test]
fn names_round_trip() {
    for choice in DeviceChoice::ALL {
        assert_eq!(choice.to_string().parse::<DeviceChoice>().unwrap(), choice);
    }
    let error = "tpu".parse::<DeviceChoice>().unwrap_err().to_string();
    assert!(
        error.contains("tpu") && error.contains("auto, cpu, gpu"),
        "{error}"
    );
}

/// Loss, gradient norm and logits after one step of masked training.
fn one_step(device: Device) -> (f32, f32, Vec<f32>) {
    let objective = Objective::Mae(MaeConfig::default());
    let config = config().for_objective(&objective);
    let vla = Vla::new(&config, 3, &device.clone().autodiff()).unwrap();
    let batch = batch(&config, 5, 1, &device);
    let criterion = Criterion::new(&objective, &config, 100).unwrap();
    let losses = criterion
        .losses(&vla, &batch, 0, &mut ChaCha8Rng::seed_from_u64(5))
        .unwrap();
    let grads = GradientsParams::from_grads(losses.total.clone().backward(), &vla);
    let (vla, norm) = AdamW::new(AdamWConfig::default()).step(1e-3, vla, grads);
    let values = |tensor: Tensor<1>| tensor.into_data().iter::<f32>().collect::<Vec<_>>();
    (
        values(losses.total)[0],
        norm,
        values(vla.forward(&batch.inputs).logits.flatten(0, 3)),
    )
}

fn assert_same_model(device: Device, name: &str) {
    eprintln!("comparing with {name}");
    assert!(!fused::is_fused(&device));
    let (cpu, gpu) = (one_step(Device::flex()), one_step(device));
    assert!(
        (cpu.0 - gpu.0).abs() < 1e-3 * cpu.0,
        "loss {} against {}",
        cpu.0,
        gpu.0
    );
    assert!(
        (cpu.1 - gpu.1).abs() < 1e-2 * cpu.1,
        "norm {} against {}",
        cpu.1,
        gpu.1
    );
    for (cpu, gpu) in cpu.2.iter().zip(&gpu.2) {
        assert!((cpu - gpu).abs() < 2e-2, "logit {cpu} against {gpu}");
    }
}

#[test]
fn a_gpu_trains_the_same_model() {
    let (device, name) = DeviceChoice::Auto.resolve().unwrap();
    if fused::is_fused(&device) {
        eprintln!("not found, skipped: GPU");
        return;
    }
    assert_same_model(device, &name);
}

#[test]
#[ignore = "a software renderer compiles its shaders for minutes"]
fn a_software_renderer_trains_the_same_model() {
    match DeviceChoice::Gpu.resolve() {
        Ok((device, name)) => assert_same_model(device, &name),
        Err(Error::NoGpu(reason)) => eprintln!("not found, skipped: {reason}"),
        Err(error) => panic!("{error}"),
    }
}
