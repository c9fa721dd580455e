//! A policy that has learned nothing, in the loop.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use episode::DatasetInfo;
use evaluation::{Error, EvalSpec, Report, evaluate};
use grounding::Forward;
use model::{DeviceChoice, Normaliser, Policy, Size, Vla, VlaConfig};
use tabletop::{Environment, Suite};

fn info() -> DatasetInfo {
    let data = tabletop::open("tabletop:object?episodes=2").unwrap();
    data.info().clone()
}

fn policy(info: &DatasetInfo, cameras: &[usize], action_dim: usize) -> Policy {
    let (states, actions) = (Normaliser::identity(4), Normaliser::identity(action_dim));
    let config = VlaConfig::preset(Size::Nano, info, cameras, states, actions).unwrap();
    let (device, _) = DeviceChoice::Cpu.resolve().unwrap();
    Policy::new(Vla::new(&config, 1, &device).unwrap())
}

fn run(policy: &Policy, spec: &EvalSpec) -> evaluation::Result<Report> {
    let report = evaluate(policy, spec, &mut |_| {}, &AtomicBool::new(false))?;
    // JSON may round the last digit of a measured rate.
    Ok(Report {
        steps_per_s: report.steps_per_s.round(),
        ..report
    })
}

#[test]
fn an_untrained_policy_fails_without_an_error() {
    let spec = EvalSpec {
        swapped: true,
        execute: 2,
        ..EvalSpec::new(Suite::Object, Environment::B, 3, 1)
    };
    let report = run(&policy(&info(), &[0, 1], 4), &spec).unwrap();
    assert_eq!(report.episodes, 3);
    assert_eq!(report.success_rate, 0.0);
    assert_eq!(report.mean_steps, None);
    assert!(report.success_interval[1] > 0.5);

    let folder = tempfile::tempdir().unwrap();
    let eval = folder.path().join("eval");
    let path = report.save(&eval).unwrap();
    assert!(path.ends_with("eval/object-B-seed1-3-execute2-swapped.json"));
    let saved =
        |path: &Path| -> Report { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    assert_eq!(saved(&path), report);

    // Another evaluation of the same scenes is another file.
    let plain = Report {
        swapped: None,
        execute: 1,
        ..report.clone()
    };
    assert!(
        plain
            .save(&eval)
            .unwrap()
            .ends_with("object-B-seed1-3.json")
    );
    assert_eq!(saved(&path), report);

    // So is one under changed attention.
    let changed = policy(&info(), &[0, 1], 4)
        .with_forward(Forward::TowardInstruction(3.0))
        .unwrap();
    let changed = run(&changed, &spec).unwrap();
    assert_eq!(changed.forward, Forward::TowardInstruction(3.0));
    let beside = changed.save(&eval).unwrap();
    assert!(beside.ends_with("object-B-seed1-3-execute2-toward_instruction-3-swapped.json"));
    assert_eq!((saved(&path), saved(&beside)), (report, changed));
    // What earlier versions wrote says nothing of it.
    let mut old: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    old.as_object_mut().unwrap().remove("forward").unwrap();
    let old: Report = serde_json::from_value(old).unwrap();
    assert_eq!(old.forward, Forward::AsTrained);
}

#[test]
fn a_report_that_cannot_be_saved_leaves_nothing() {
    let spec = EvalSpec::new(Suite::Object, Environment::A, 1, 1);
    let report = run(&policy(&info(), &[0], 4), &spec).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join(report.file_name());
    fs::create_dir_all(taken.join("in the way")).unwrap();
    let error = report.save(folder.path()).unwrap_err().to_string();
    assert!(error.ends_with("object-A-seed1-1.json"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn one_camera_of_the_benchmark_is_enough() {
    let spec = EvalSpec::new(Suite::Goal, Environment::A, 1, 1);
    assert!(run(&policy(&info(), &[1], 4), &spec).is_ok());
}

#[test]
fn a_policy_for_another_robot_is_refused() {
    let spec = EvalSpec::new(Suite::Object, Environment::A, 1, 1);
    let error = run(&policy(&info(), &[0], 7), &spec)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("7 numbers in an action, the benchmark 4"),
        "{error}"
    );

    let mut foreign = info();
    foreign.cameras[0].name = "image_0".into();
    let error = run(&policy(&foreign, &[0], 4), &spec)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("\"image_0\"") && error.contains("static and gripper"),
        "{error}"
    );
}

#[test]
fn impossible_numbers_are_refused() {
    let good = EvalSpec::new(Suite::Object, Environment::A, 1, 1);
    for spec in [
        EvalSpec {
            episodes: 0,
            ..good.clone()
        },
        EvalSpec {
            lanes: 0,
            ..good.clone()
        },
        EvalSpec {
            execute: 0,
            ..good.clone()
        },
        EvalSpec {
            execute: 99,
            ..good
        },
    ] {
        assert!(matches!(
            run(&policy(&info(), &[0], 4), &spec),
            Err(Error::Spec(_))
        ));
    }
}
