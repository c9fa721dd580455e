//! A forward pass whose attention is looked at, and changed on request before it weighs the values.

use crate::{
    Error, Inputs, Result, Vla, VlaConfig,
    vla::{Output, keep},
};
use burn::tensor::Tensor;
use grounding::{
    Forward, SinkRedistribution, TokenRole, detect_sinks, redistribute_sinks, sink_phi,
    toward_instruction,
};
use rayon::prelude::*;
use std::ops::Range;

/// Layers whose input says which tokens are sinks: from the third on, as published, up to the last but one, which are those
/// that redistribution may change; the last one alone in a model that has no such layer.
pub(crate) fn sink_layers(layers: usize) -> Range<usize> {
    let first = layers.saturating_sub(1).min(2);
    first..layers.saturating_sub(1).max(first + 1)
}

/// Verifies that a way of changing attention means something for a model.
pub(crate) fn check(config: &VlaConfig, forward: Forward) -> Result<()> {
    forward.validate()?;
    if let Forward::RedistributeSinks(rule) = forward {
        detect_sinks(&[], config.width, rule.rule)?;
        if rule.from_layer + 1 >= config.layers {
            return Err(Error::Config(format!(
                "sinks redistributed from layer {} on: of {} layers the last is never changed, so none is left",
                rule.from_layer, config.layers
            )));
        }
    }
    Ok(())
}

/// What one pass gave.
pub(crate) struct Pass {
    pub output: Output,
    /// Weights of the watched tokens in every layer, `[batch, heads, watch, tokens]`; empty where none is watched.
    pub rows: Vec<Tensor<4>>,
    /// The largest φ of every token over [`sink_layers`], `[batch, tokens]`, where asked for.
    pub phi: Option<Vec<f64>>,
}

impl Vla {
    /// Predicts actions under `forward`; for a model at work, without gradients. In every layer the weights of **all**
    /// tokens are changed before they weigh the values, so that later layers and the actions see the change, and the
    /// rows of watched tokens are the changed ones. As trained, the layers run as in [`Vla::forward`].
    pub(crate) fn pass(
        &self,
        inputs: &Inputs,
        forward: Forward,
        watch: Option<&[usize]>,
        with_phi: bool,
    ) -> Result<Pass> {
        let config = self.config();
        let sequence = config.sequence();
        let (tokens, last) = (sequence.len(), config.layers - 1);
        let counts = inputs.word_mask.clone().sum_dim(1).into_data();
        let roles: Vec<Vec<TokenRole>> = counts
            .iter::<f32>()
            .map(|words| sequence.roles(words as usize))
            .collect();
        let keep = keep(inputs, &sequence);
        let mut x = self.embed(inputs, None);
        let mut rows = Vec::new();
        let mut largest = with_phi.then(|| vec![0.0f64; roles.len() * tokens]);
        for (layer, block) in self.blocks().iter().enumerate() {
            let redistributed = match forward {
                Forward::RedistributeSinks(rule) if layer >= rule.from_layer && layer != last => {
                    Some(rule)
                }
                _ => None,
            };
            let measured = with_phi && sink_layers(config.layers).contains(&layer);
            let phi = if measured || redistributed.is_some() {
                let hidden: Vec<f32> = x.to_data().iter::<f32>().collect();
                sink_phi(&hidden, config.width, None)?
            } else {
                Vec::new()
            };
            if let Some(largest) = largest.as_mut().filter(|_| measured) {
                for (largest, phi) in largest.iter_mut().zip(&phi) {
                    *largest = largest.max(*phi);
                }
            }
            let visible = self.visibility(layer, &sequence, sequence.read_out);
            let change = match (forward, redistributed) {
                (Forward::TowardInstruction(factor), _) => Some(Change::Instruction(factor)),
                (_, Some(rule)) => Some(Change::Sinks(
                    rule,
                    detect_sinks(&phi, config.width, rule.rule)?,
                )),
                _ => None,
            };
            let (next, watched) = match change {
                None => block.forward(x, keep.clone(), visible, watch),
                Some(change) => {
                    block.forward_changed(x, keep.clone(), visible, watch, |weights| {
                        change.apply(weights, &roles)
                    })?
                }
            };
            x = next;
            rows.extend(watched);
        }
        Ok(Pass {
            output: self.read(x),
            rows,
            phi: largest,
        })
    }
}

/// What one layer's weights undergo.
enum Change {
    /// Attention leaves sinks; which tokens are sinks, `[batch, tokens]`.
    Sinks(SinkRedistribution, Vec<bool>),
    /// Attention to the instruction is multiplied.
    Instruction(f64),
}

impl Change {
    /// Changes `[batch, heads, queries, tokens]` in place; `roles` has one entry per frame.
    fn apply(&self, weights: &mut [f32], roles: &[Vec<TokenRole>]) -> Result<()> {
        let per_frame = (weights.len() / roles.len().max(1)).max(1);
        weights
            .par_chunks_exact_mut(per_frame)
            .zip(roles)
            .enumerate()
            .try_for_each(|(frame, (weights, roles))| {
                let tokens = roles.len();
                let words: Vec<bool> = roles.iter().map(|r| *r == TokenRole::Text).collect();
                for row in weights.chunks_exact_mut(tokens) {
                    match self {
                        Self::Sinks(rule, sinks) => {
                            let sinks = sinks.get(frame * tokens..).unwrap_or_default();
                            let sinks = sinks.get(..tokens).unwrap_or_default();
                            redistribute_sinks(row, roles, sinks, rule)?;
                        }
                        Self::Instruction(factor) => toward_instruction(row, &words, *factor)?,
                    }
                }
                Ok(())
            })
    }
}
