//! One seed, one random stream per step and purpose.
//!
//! No generator is carried from step to step, so what step `n` draws depends on the seed and on `n` alone: a resumed
//! run draws what an uninterrupted one draws, and the batch of a step can be prepared ahead on another thread.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What a stream is used for; streams of different purposes never meet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Which frames are in a batch, and their colours.
    Batch = 1,
    /// Random masks and what else the objective draws.
    Objective = 2,
    /// Which episodes the normalisation is measured on.
    Statistics = 3,
}

/// The generator of `purpose` at `step`.
pub(crate) fn stream(seed: u64, purpose: Purpose, step: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(((purpose as u64) << 56) | (step & ((1 << 56) - 1)));
    rng
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn streams_depend_on_seed_purpose_and_step_only() {
        let draw = |seed, purpose, step| stream(seed, purpose, step).next_u64();
        assert_eq!(draw(1, Purpose::Batch, 7), draw(1, Purpose::Batch, 7));
        assert_ne!(draw(1, Purpose::Batch, 7), draw(2, Purpose::Batch, 7));
        assert_ne!(draw(1, Purpose::Batch, 7), draw(1, Purpose::Batch, 8));
        assert_ne!(draw(1, Purpose::Batch, 7), draw(1, Purpose::Objective, 7));
    }
}
