//! The early error: has the policy found what the instruction names?

use burn::module::Module;
use model::{Inputs, Observation};

use crate::corpus::Demonstration;
use crate::error::Result;
use crate::learner::Learner;

/// Frames per forward pass.
const BATCH: usize = 64;

/// Median over `frames` of max(|Δ₀|, |Δ₁|), with Δ the difference between the predicted and the shown next action in
/// its first two components, in the data set's units; `None` without frames.
///
/// For waypoints x and y this is how far off the policy aims. Measured on the first frames of held-out episodes,
/// where only the instruction tells the target; the loss also falls by copying, this does not.
pub(crate) fn early_error(learner: &Learner, frames: &[Demonstration]) -> Result<Option<f64>> {
    let vla = learner.model().valid();
    let config = vla.config();
    let mut errors = Vec::with_capacity(frames.len());
    for frames in frames.chunks(BATCH) {
        let seen: Vec<Observation> = frames.iter().map(|f| f.observation.clone()).collect();
        let inputs = Inputs::new(config, &seen, learner.device())?;
        let predicted = vla.decode(vla.forward(&inputs).logits).into_data();
        let predicted: Vec<f32> = predicted.iter::<f32>().collect();
        for (chunk, frame) in predicted
            .chunks_exact(config.chunk * config.action_dim)
            .zip(frames)
        {
            let mut next = chunk[..config.action_dim].to_vec();
            config.action_norm.restore(&mut next);
            let worst = next
                .iter()
                .zip(&frame.action)
                .take(2)
                .map(|(predicted, shown)| f64::from((predicted - shown).abs()))
                .fold(0.0, f64::max);
            errors.push(worst);
        }
    }
    Ok(median(errors))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
