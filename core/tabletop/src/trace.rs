use crate::scene::{Environment, Scene, Snapshot};
use crate::task::{Suite, Task};
use crate::{Difficulty, Expert, Noise, World};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// An episode of the expert: snapshots instead of pictures, about 200 bytes a step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trace {
    pub(crate) scene: Arc<Scene>,
    pub(crate) task: Task,
    /// State before each action.
    pub(crate) snapshots: Vec<Snapshot>,
    /// Clean labels.
    pub(crate) actions: Vec<[f32; 4]>,
    pub(crate) success: bool,
}

/// What an episode depends on besides its index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) suite: Suite,
    pub(crate) environment: Environment,
    pub(crate) seed: u64,
    pub(crate) noise: Option<Noise>,
    pub(crate) difficulty: &'a Difficulty,
}

impl Trace {
    /// Simulates episode `index`. Under noise the expert fails now and then; such an episode is replaced by one of
    /// another seed, so that demonstrations are successes.
    pub(crate) fn simulate(source: Source<'_>, index: u64) -> Self {
        let mut attempt = 0;
        loop {
            let trace = Self::attempt(source, mix(mix(source.seed, index), attempt));
            attempt += 1;
            if trace.success || attempt == 16 {
                return trace;
            }
        }
    }

    fn attempt(source: Source<'_>, seed: u64) -> Self {
        let Source {
            suite,
            environment,
            noise,
            difficulty,
            ..
        } = source;
        let mut world = World::with_difficulty(suite, environment, seed, difficulty);
        let mut expert = Expert::new(&world);
        // Another stream than the scene's.
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(u64::MAX);
        let mut trace = Self {
            scene: Arc::clone(world.scene()),
            task: world.task().clone(),
            snapshots: Vec::new(),
            actions: Vec::new(),
            success: false,
        };
        while !trace.success && world.steps() < difficulty.horizon {
            let action = expert.act(&world);
            trace.snapshots.push(world.snapshot());
            trace.actions.push(action);
            world.step(match noise {
                Some(noise) => noise.disturb(&world, action, &mut rng),
                None => action,
            });
            trace.success = world.outcome().success;
        }
        trace
    }
}

/// Combines a seed with a number (SplitMix64, Steele et al. 2014).
pub(crate) fn mix(seed: u64, value: u64) -> u64 {
    let mut z = seed
        .wrapping_add(value.wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
