//! Generated and recorded data.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use episode::{Dataset, Region};
use std::collections::BTreeMap;
use std::path::Path;
use tabletop::{Error, Generated, Recipe, record};

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().display().to_string();
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    found
}

const RECIPE: &str = "tabletop:goal+object?episodes=5&env=B+C&seed=3";

fn recipe() -> Recipe {
    RECIPE.parse().unwrap()
}

#[test]
fn recording_twice_gives_identical_files() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let mut seen = Vec::new();
    record(&recipe(), &a, &mut |done| {
        seen.push(done);
        true
    })
    .unwrap();
    assert_eq!(seen, [1, 2, 3, 4, 5]);
    record(&recipe(), &b, &mut |_| true).unwrap();
    let (a, b) = (files(&a), files(&b));
    assert!(!a.is_empty());
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, bytes) in &a {
        assert!(bytes == &b[name], "{name} differs");
    }
}

#[test]
fn a_recording_reads_back_as_the_generated_dataset() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("recorded");
    record(&recipe(), &path, &mut |_| true).unwrap();
    let read = tabletop::open(path.to_str().unwrap()).unwrap();
    let made = Generated::parse(RECIPE).unwrap();
    assert_eq!(read.info().frames, made.info().frames);
    assert_eq!(read.info().cameras, made.info().cameras);
    assert_eq!(read.info().instructions, made.info().instructions);
    assert!(read.info().has_masks);
    for episode in 0..5 {
        assert_eq!(
            read.episode(episode).unwrap(),
            made.episode(episode).unwrap()
        );
        let signals = made.signals(episode).unwrap();
        assert_eq!(read.signals(episode).unwrap(), signals);
        for step in [0, signals.steps() - 1] {
            for camera in 0..2 {
                assert_eq!(
                    read.image(episode, step, camera).unwrap(),
                    made.image(episode, step, camera).unwrap()
                );
                for region in [Region::Target, Region::Goal] {
                    assert_eq!(
                        read.mask(episode, step, camera, region).unwrap(),
                        made.mask(episode, step, camera, region).unwrap()
                    );
                }
            }
        }
    }
}

#[test]
fn a_cancelled_recording_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("recorded");
    let result = record(&recipe(), &path, &mut |done| done < 2);
    assert!(matches!(result, Err(Error::Cancelled)));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn generated_episodes_are_demonstrations() {
    let data = Generated::parse("tabletop:object+spatial+goal?episodes=300&env=A&seed=9").unwrap();
    let info = data.info();
    assert!(info.warnings.is_empty(), "{:?}", info.warnings);
    assert_eq!(info.episodes, 300);
    let frames: usize = (0..300).map(|i| data.episode(i).unwrap().length).sum();
    assert_eq!(info.frames, frames);
    let mean = frames as f64 / 300.0;
    assert!((8.0..20.0).contains(&mean), "{mean}");
    let signals = data.signals(7).unwrap();
    assert_eq!(signals.steps(), data.episode(7).unwrap().length);
    assert!(data.image(300, 0, 0).is_err());
    assert!(data.image(0, 999, 0).is_err());
    assert!(data.image(0, 0, 2).is_err());
    assert!(data.task_id(0).unwrap().starts_with("pick "));
    assert!(data.task_id(2).unwrap().starts_with("put "));
}

#[test]
fn addresses_are_read_and_written() {
    for spec in [
        "tabletop:object+goal?episodes=20&env=A+C&seed=4&noise=off",
        "tabletop:spatial?episodes=1&env=D&seed=18446744073709551615&noise=on",
    ] {
        let recipe: Recipe = spec.parse().unwrap();
        assert_eq!(recipe.to_string(), spec);
    }
    assert_eq!("tabletop:".parse::<Recipe>().unwrap(), Recipe::default());
    for bad in [
        "tabletop:stack",
        "tabletop:object?episodes=0",
        "tabletop:object?episodes=999999999",
        "tabletop:object?episodes=x",
        "tabletop:object?env=E",
        "tabletop:object?colour=red",
        "tabletop:object?seed",
        "tabletop:object?noise=loud",
        "elsewhere:object",
    ] {
        let message = bad.parse::<Recipe>().unwrap_err().to_string();
        assert!(message.ends_with(bad), "{message}");
    }
}

#[test]
fn the_other_instruction_asks_for_another_object_of_the_scene() {
    let spec = "tabletop:object+spatial+goal?episodes=60&seed=4";
    let made = Generated::parse(spec).unwrap();
    let again = Generated::parse(spec).unwrap();
    let mut twins = std::collections::BTreeSet::new();
    for episode in 0..60 {
        let own = made.episode(episode).unwrap().instruction;
        let other = made.other_instruction(episode).unwrap().unwrap();
        assert_ne!(own, other);
        // In the same wording: "grab …" stays "grab …".
        assert_eq!(own.split(' ').next(), other.split(' ').next());
        assert_eq!(
            again.other_instruction(episode).unwrap(),
            Some(other.clone())
        );
        twins.insert(other);
    }
    assert!(twins.len() > 20, "{twins:?}");
    assert!(made.other_instruction(60).is_err());
}
