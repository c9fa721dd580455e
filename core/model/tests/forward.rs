//! Forward passes whose attention is changed without training.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use burn::tensor::Device;
use common::{config, samples};
use grounding::{
    Capture, Forward, SinkRedistribution, SinkRule, Sinks, TokenRole, redistribute_sinks,
    toward_instruction,
};
use model::{Attention, GENERIC_PROMPT, Inputs, Observation, Policy, Vla, VlaConfig};

const KINDS: [Attention; 2] = [Attention::Causal, Attention::Prefix];

/// Four layers, so that one is neither too early nor the last.
fn policy(attention: Attention) -> Policy {
    let config = VlaConfig {
        attention,
        layers: 4,
        ..config()
    };
    Policy::new(Vla::new(&config, 3, &Device::flex()).unwrap())
}

/// Instructions of five, two and no words.
fn observations() -> Vec<Observation> {
    let mut observations: Vec<Observation> =
        samples(3, 4).into_iter().map(|s| s.observation).collect();
    observations[1].instruction = "red cube".into();
    observations[2].instruction = "".into();
    observations
}

fn under(policy: &Policy, forward: Forward) -> Policy {
    policy.clone().with_forward(forward).unwrap()
}

fn sinks(rule: SinkRedistribution) -> Forward {
    Forward::RedistributeSinks(rule)
}

/// Redistribution that leaves no head alone, with a threshold that half of the tokens exceed.
fn strong(capture: &Capture) -> SinkRedistribution {
    let Some(Sinks::Phi { phi, width }) = &capture.sinks else {
        panic!("φ is not measured");
    };
    let mut sorted = phi.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    SinkRedistribution {
        keep: 0.1,
        min_image: 0.0,
        max_sinks: 1.0,
        rule: SinkRule::Relative(sorted[sorted.len() / 2] / (*width as f64).sqrt()),
        ..SinkRedistribution::default()
    }
}

fn roles(capture: &Capture) -> Vec<TokenRole> {
    capture.keys.iter().map(|key| key.role).collect()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    apart.fold(0.0, f32::max)
}

/// Weights of one layer of a capture, `[heads, queries, keys]`.
fn layer(capture: &Capture, layer: usize) -> &[f32] {
    let len = capture.heads.len() * capture.queries.len() * capture.keys.len();
    &capture.attn[layer * len..][..len]
}

#[test]
fn as_trained_is_the_network_itself() {
    for attention in KINDS {
        let policy = policy(attention);
        let same = under(&policy, Forward::AsTrained);
        let observations = observations();
        let inputs = Inputs::new(policy.config(), &observations, &Device::flex()).unwrap();
        let read_out = policy.config().sequence().read_out;
        let (output, rows) = policy.vla().forward_with_attention(&inputs, &[read_out]);
        let logits: Vec<f32> = output.logits.clone().into_data().iter::<f32>().collect();
        let fast: Vec<f32> = policy
            .vla()
            .forward(&inputs)
            .logits
            .into_data()
            .iter::<f32>()
            .collect();
        assert_eq!(logits, fast);
        let decoded: Vec<f32> = policy
            .vla()
            .decode(output.logits)
            .into_data()
            .iter()
            .collect();
        assert_eq!(
            policy.act(&observations).unwrap(),
            same.act(&observations).unwrap()
        );
        let captures = same.captures(&observations).unwrap();
        assert_eq!(captures, policy.captures(&observations).unwrap());
        for (frame, capture) in captures.iter().enumerate() {
            let query = capture.default_query();
            for (index, wanted) in rows.frame(frame).chunks(rows.keys).enumerate() {
                let row = capture.row(index / rows.heads, index % rows.heads, query);
                assert_eq!(row.unwrap(), wanted);
            }
            let mut action = decoded[frame * 4..][..2].to_vec();
            policy.config().action_norm.restore(&mut action);
            assert_eq!(capture.action.as_ref(), Some(&action));
        }
    }
}

#[test]
fn a_change_that_changes_nothing_gives_the_same() {
    for attention in KINDS {
        let policy = policy(attention);
        let observations = observations();
        let before = policy.captures(&observations).unwrap();
        let kept = SinkRedistribution {
            keep: 1.0,
            ..strong(&before[0])
        };
        for forward in [Forward::TowardInstruction(1.0), sinks(kept)] {
            let after = under(&policy, forward).captures(&observations).unwrap();
            for (before, after) in before.iter().zip(&after) {
                assert!(distance(&before.attn, &after.attn) < 1e-6, "{forward}");
                let (a, b) = (
                    before.action.as_ref().unwrap(),
                    after.action.as_ref().unwrap(),
                );
                assert!(distance(a, b) < 1e-4, "{forward}: {a:?} {b:?}");
            }
        }
    }
}

#[test]
fn attention_to_the_instruction_is_multiplied_in_every_layer() {
    for attention in KINDS {
        let policy = policy(attention);
        let observations = observations();
        let before = policy.captures(&observations).unwrap();
        let changed = under(&policy, Forward::TowardInstruction(5.0));
        let after = changed.captures(&observations).unwrap();
        for (before, after) in before.iter().zip(&after) {
            let words: Vec<bool> = roles(before)
                .iter()
                .map(|r| *r == TokenRole::Text)
                .collect();
            // Both copies: of an instruction without words one unknown word is seen.
            let count = before.keys.iter().filter(|k| !k.token.is_empty()).count() - 2;
            assert_eq!(words.iter().filter(|w| **w).count(), count.max(2));
            // The first layer sees what it saw before, so its rows are the formula's, by a plain loop.
            let mut wanted = layer(before, 0).to_vec();
            for row in wanted.chunks_mut(words.len()) {
                let total: f32 = row.iter().sum();
                let mut new = 0.0;
                for (weight, word) in row.iter_mut().zip(&words) {
                    *weight *= if *word { 5.0 } else { 1.0 };
                    new += *weight;
                }
                row.iter_mut().for_each(|weight| *weight *= total / new);
            }
            assert!(distance(&wanted, layer(after, 0)) < 1e-6);
            // Later layers work on what the changed ones gave them.
            let mut apart = layer(before, 3).to_vec();
            for row in apart.chunks_mut(words.len()) {
                toward_instruction(row, &words, 5.0).unwrap();
            }
            assert!(distance(&apart, layer(after, 3)) > 1e-4);
            for row in after.attn.chunks(words.len()) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            }
            let (a, b) = (
                before.action.as_ref().unwrap(),
                after.action.as_ref().unwrap(),
            );
            assert!(distance(a, b) > 1e-4, "{a:?} {b:?}");
        }
        // What it does is what its captures say, and frames of a batch do not touch each other.
        let chunks = changed.act(&observations).unwrap();
        for ((chunk, capture), observation) in chunks.iter().zip(&after).zip(&observations) {
            assert!(distance(&chunk.rows[0], capture.action.as_ref().unwrap()) < 1e-5);
            let alone = changed.capture(observation).unwrap();
            assert!(distance(&alone.attn, &capture.attn) < 1e-6);
        }
    }
}

#[test]
fn attention_leaves_sinks_in_the_middle_layers() {
    for attention in KINDS {
        let policy = policy(attention);
        let observations = observations();
        let before = policy.captures(&observations).unwrap();
        let rule = strong(&before[0]);
        let changed = under(&policy, sinks(rule));
        let after = changed.captures(&observations).unwrap();
        for (before, after) in before.iter().zip(&after) {
            let roles = roles(before);
            let verdict = before.sinks.as_ref().unwrap().verdict(rule.rule).unwrap();
            assert!(verdict.iter().any(|s| *s) && verdict.iter().any(|s| !*s));
            // Up to the third layer nothing was changed yet. What is said of sinks is said of its input.
            assert_eq!(before.sinks, after.sinks);
            for early in 0..2 {
                assert_eq!(layer(before, early), layer(after, early));
            }
            let mut wanted = layer(before, 2).to_vec();
            let mut touched = 0;
            for row in wanted.chunks_mut(roles.len()) {
                touched += usize::from(redistribute_sinks(row, &roles, &verdict, &rule).unwrap());
            }
            assert!(touched > 0);
            assert!(distance(&wanted, layer(after, 2)) < 1e-6);
            assert!(distance(layer(before, 2), layer(after, 2)) > 1e-3);
            // The last layer is not changed itself, but sees what came before.
            assert!(distance(layer(before, 3), layer(after, 3)) > 1e-6);
            for row in after.attn.chunks(roles.len()) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            }
        }
        assert_ne!(
            policy.act(&observations).unwrap(),
            changed.act(&observations).unwrap()
        );
    }
}

#[test]
fn changes_that_mean_nothing_here_are_refused() {
    let policy = policy(Attention::Prefix);
    let refused = |forward| {
        let error = policy.clone().with_forward(forward).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error} {}", cause.unwrap_or_default())
    };
    let usual = SinkRedistribution::default();
    // φ is at most √32.
    let rule = SinkRule::Absolute(20.0);
    let why = refused(sinks(SinkRedistribution { rule, ..usual }));
    assert!(why.contains("never fire"), "{why}");
    let why = refused(sinks(SinkRedistribution {
        from_layer: 3,
        ..usual
    }));
    assert!(why.contains("none is left"), "{why}");
    let why = refused(sinks(SinkRedistribution { keep: 2.0, ..usual }));
    assert!(why.contains("from 0 to 1"), "{why}");
    for factor in [0.0, -1.0, f64::NAN] {
        let why = refused(Forward::TowardInstruction(factor));
        assert!(why.contains("not a number above 0"), "{why}");
    }
}

#[test]
fn live_captures_know_their_sinks() {
    let policy = policy(Attention::Prefix);
    let capture = policy.capture(&observations()[0]).unwrap();
    let Some(Sinks::Phi { phi, width }) = &capture.sinks else {
        panic!("φ is not measured");
    };
    assert_eq!((phi.len(), *width), (capture.keys.len(), 32));
    assert!(phi.iter().all(|p| (1.0..=32f64.sqrt()).contains(p)));
    for name in ["robust", "sink_filtered"] {
        let mut selection = grounding::HeadSelection::preset(name).unwrap();
        selection.elbow.mode = grounding::ElbowMode::None;
        selection.elbow.exclude_layers = Some(0);
        let maps = capture.head_maps_for(&selection, 0).unwrap();
        grounding::score_heads(&maps, None, &selection).unwrap();
    }
}

#[test]
fn the_generic_prompt_is_a_word_of_the_instructions() {
    let config = config();
    let tokens = config.vocabulary.encode(GENERIC_PROMPT, config.max_words);
    assert_eq!(tokens.len(), 1);
    assert_ne!(tokens[0], model::Vocabulary::UNKNOWN);
}

#[test]
fn training_refuses_what_it_does_not_see() {
    use grounding::{Aggregate, Criterion, HeadSelection, TARGETS};
    let refused = |change: &dyn Fn(&mut HeadSelection)| {
        let mut mae = model::MaeConfig::default();
        change(&mut mae.selection);
        mae.check().err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert_eq!(refused(&|_| {}), "");
    let why = refused(&|s| s.forward = Forward::TowardInstruction(2.0));
    assert!(why.contains("instruction × 2"), "{why}");
    let why = refused(&|s| s.criterion = Criterion::InstructionChange);
    assert!(why.contains("choose them by entropy"), "{why}");
    let why = refused(&|s| s.criterion = Criterion::Boxes(grounding::BoxScore::Iou));
    assert!(why.contains("boxes"), "{why}");
    let why = refused(&|s| s.aggregate = Aggregate::Relative { layer: None });
    assert!(why.contains("generic prompt"), "{why}");
    let fit: Vec<&str> = TARGETS
        .into_iter()
        .filter(|name| {
            let target = HeadSelection::default().with_target(name).unwrap();
            refused(&|s| *s = target.clone()).is_empty()
        })
        .collect();
    assert_eq!(fit, ["selected", "naive", "dino_60"]);
}
