//! Files: the same bytes for the same model, the same model from the same bytes, and clear refusals.
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
    CONFIG_FILE, Criterion, DeviceChoice, MaeConfig, Objective, Policy, Vla, WEIGHTS_FILE,
    load_model,
    optim::{AdamW, AdamWConfig},
    save_model,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::fs;

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn steps(mut vla: Vla, optimizer: &mut AdamW, range: std::ops::Range<u64>) -> Vla {
    let criterion = Criterion::new(&Objective::Action, vla.config(), 10).unwrap();
    for step in range {
        let batch = batch(vla.config(), 8, step, &Device::flex());
        let losses = criterion
            .losses(&vla, &batch, step, &mut ChaCha8Rng::seed_from_u64(step))
            .unwrap();
        let grads = GradientsParams::from_grads(losses.total.backward(), &vla);
        vla = optimizer.step(1e-3, vla, grads).0;
    }
    vla
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let device = Device::flex().autodiff();
    let dir = tempfile::tempdir().unwrap();
    let mut optimizer = AdamW::new(AdamWConfig::default());
    let vla = steps(
        Vla::new(&config(), 3, &device).unwrap(),
        &mut optimizer,
        0..4,
    );
    save_model(&vla, dir.path()).unwrap();
    optimizer
        .save(&dir.path().join("optimizer.safetensors"))
        .unwrap();
    let straight = steps(vla, &mut optimizer, 4..8);

    let vla = load_model(dir.path(), &device).unwrap();
    let mut resumed = AdamW::load(
        AdamWConfig::default(),
        &dir.path().join("optimizer.safetensors"),
        &vla,
    )
    .unwrap();
    assert_eq!(resumed.steps(), 4);
    let resumed_vla = steps(vla, &mut resumed, 4..8);

    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (dir, vla, optimizer) in [(&a, &straight, &optimizer), (&b, &resumed_vla, &resumed)] {
        save_model(vla, dir.path()).unwrap();
        optimizer
            .save(&dir.path().join("optimizer.safetensors"))
            .unwrap();
    }
    for file in [WEIGHTS_FILE, CONFIG_FILE, "optimizer.safetensors"] {
        assert_eq!(
            fs::read(a.path().join(file)).unwrap(),
            fs::read(b.path().join(file)).unwrap(),
            "{file}"
        );
    }
    assert!(
        fs::read_dir(a.path())
            .unwrap()
            .all(|f| f.unwrap().path().extension().unwrap() != "partial")
    );
}

#[test]
fn an_optimizer_that_took_no_step_is_saved_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("optimizer.safetensors");
    AdamW::new(AdamWConfig::default()).save(&path).unwrap();
    let vla = Vla::new(&config(), 3, &Device::flex().autodiff()).unwrap();
    let mut loaded = AdamW::load(AdamWConfig::default(), &path, &vla).unwrap();
    assert_eq!(loaded.steps(), 0);
    steps(vla, &mut loaded, 0..1);
    assert_eq!(loaded.steps(), 1);
}

#[test]
fn policies_load_what_was_saved() {
    let dir = tempfile::tempdir().unwrap();
    let config = config().for_objective(&Objective::Mae(MaeConfig::default()));
    let vla = Vla::new(&config, 3, &Device::flex()).unwrap();
    save_model(&vla, dir.path()).unwrap();
    let policy = Policy::load(dir.path(), &DeviceChoice::Cpu).unwrap();
    assert_eq!(policy.config(), &config);
    let inputs = batch(&config, 2, 1, &Device::flex()).inputs;
    assert_eq!(
        values(policy.vla().forward(&inputs).logits),
        values(vla.forward(&inputs).logits)
    );
}

#[test]
fn damaged_and_foreign_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = |what: &str| {
        let error = load_model(dir.path(), &Device::flex())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(dir.path().to_str().unwrap()),
            "{what}: {error}"
        );
        error
    };
    assert!(error("nothing there").contains("model.json"));
    let vla = Vla::new(&config(), 3, &Device::flex()).unwrap();
    save_model(&vla, dir.path()).unwrap();
    let (weights, json) = (dir.path().join(WEIGHTS_FILE), dir.path().join(CONFIG_FILE));
    let good = fs::read(&weights).unwrap();
    let config_text = fs::read_to_string(&json).unwrap();

    fs::write(&weights, &good[..good.len() / 2]).unwrap();
    assert!(error("truncated").contains("not a usable model file"));
    fs::write(&weights, b"not weights at all").unwrap();
    assert!(error("foreign").contains("not a usable model file"));
    fs::write(&weights, &good).unwrap();

    // Another width.
    fs::write(&json, config_text.replace("\"width\": 32", "\"width\": 64")).unwrap();
    let text = error("another shape");
    assert!(
        text.contains("different shape") && text.contains("more"),
        "{text}"
    );
    // More layers than the file has, then fewer.
    fs::write(&json, config_text.replace("\"layers\": 2", "\"layers\": 3")).unwrap();
    assert!(error("missing").contains("missing: blocks.2."));
    fs::write(&json, config_text.replace("\"layers\": 2", "\"layers\": 1")).unwrap();
    assert!(error("unused").contains("unused: blocks.1."));
    // A configuration that asks for far more memory than the file could fill.
    fs::write(
        &json,
        config_text
            .replace("\"width\": 32", "\"width\": 8192")
            .replace("\"layers\": 2", "\"layers\": 128"),
    )
    .unwrap();
    assert!(error("huge").contains("different shape"));
    fs::write(&json, config_text.replace("\"heads\": 4", "\"heads\": 5")).unwrap();
    assert!(error("contradiction").contains("5 heads"));
    fs::write(&json, config_text.replace("gazelab-vla/1", "gazelab-vla/9")).unwrap();
    assert!(error("newer").contains("gazelab-vla/9"));
    fs::write(&json, &config_text[..40]).unwrap();
    assert!(error("truncated configuration").contains("model.json"));
}

#[test]
fn an_optimizer_of_another_model_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("optimizer.safetensors");
    let device = Device::flex().autodiff();
    let mut optimizer = AdamW::new(AdamWConfig::default());
    steps(
        Vla::new(&config(), 3, &device).unwrap(),
        &mut optimizer,
        0..1,
    );
    optimizer.save(&path).unwrap();
    let other = Vla::new(
        &model::VlaConfig {
            layers: 3,
            ..config()
        },
        3,
        &device,
    )
    .unwrap();
    let error = AdamW::load(AdamWConfig::default(), &path, &other)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("missing: first.blocks.2") && error.ends_with("optimizer.safetensors"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn a_named_pipe_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(CONFIG_FILE);
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let error = model::load_config(dir.path()).unwrap_err().to_string();
    assert!(error.contains("not a regular file"), "{error}");
    assert!(error.ends_with(CONFIG_FILE), "{error}");
}
