//! The scripted expert solves the benchmark.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use tabletop::{Environment, Expert, Suite, World};

#[test]
fn expert_succeeds_in_95_of_100_scenes_of_every_suite_and_environment() {
    for suite in Suite::ALL {
        for environment in Environment::ALL {
            let (mut successes, mut steps, mut longest) = (0, 0, 0);
            for seed in 0..100 {
                let mut world = World::new(suite, environment, seed);
                let mut expert = Expert::new(&world);
                while !world.outcome().success && world.steps() < world.horizon() {
                    let action = expert.act(&world);
                    world.step(action);
                }
                let outcome = world.outcome();
                assert!(!outcome.wrong_object, "{suite} {environment} {seed}");
                if outcome.success {
                    successes += 1;
                    steps += world.steps();
                    longest = longest.max(world.steps());
                } else {
                    eprintln!("failed: {suite} {environment} {seed}");
                }
            }
            let mean = steps as f64 / f64::from(successes.max(1));
            eprintln!("{suite} {environment}: {successes}/100, {mean:.1} steps, longest {longest}");
            assert!(successes >= 95, "{suite} {environment}: {successes}/100");
        }
    }
}
