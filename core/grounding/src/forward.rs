//! Ways of changing the attention of a forward pass without training: the formulas. The hook is in the model.

use std::str::FromStr;

use crate::selection::{Forward, SinkRedistribution, SinkRule};
use crate::{Error, Result, TokenRole};

impl Forward {
    /// A name for files that no other value has: `as_trained`, `sinks_redistributed`, `toward_instruction-2`, and for
    /// sinks whatever is not as usual, as in `sinks_redistributed-keep0.3-from3`.
    pub fn name(self) -> String {
        match self {
            Self::AsTrained => "as_trained".to_owned(),
            Self::TowardInstruction(factor) => format!("toward_instruction-{factor}"),
            Self::RedistributeSinks(rule) => {
                let usual = SinkRedistribution::default();
                let mut name = "sinks_redistributed".to_owned();
                let mut say = |differs: bool, text: String| {
                    if differs {
                        name.push('-');
                        name.push_str(&text);
                    }
                };
                say(rule.keep != usual.keep, format!("keep{}", rule.keep));
                let (min, max) = (rule.min_image, rule.max_sinks);
                say(min != usual.min_image, format!("image{min}"));
                say(max != usual.max_sinks, format!("sinks{max}"));
                let from = rule.from_layer;
                say(from != usual.from_layer, format!("from{from}"));
                say(
                    rule.rule != usual.rule,
                    match rule.rule {
                        SinkRule::Relative(share) => format!("relative{share}"),
                        SinkRule::Absolute(phi) => format!("absolute{phi}"),
                    },
                );
                name
            }
        }
    }
}

impl FromStr for Forward {
    type Err = Error;

    /// `as_trained`, `sinks_redistributed` or `sinks_redistributed:KEEP` with the share that sinks keep,
    /// `toward_instruction` or `toward_instruction:FACTOR`; everything else at its default.
    fn from_str(text: &str) -> Result<Self> {
        let unknown = || {
            Error::Option(format!(
                "no change of attention `{text}`; there are as_trained, sinks_redistributed, sinks_redistributed:KEEP, \
                 toward_instruction, toward_instruction:FACTOR"
            ))
        };
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value.parse().map_err(|_| unknown())?)),
            None => (text, None),
        };
        let usual = SinkRedistribution::default();
        let forward = match (name, value) {
            ("as_trained", None) => Self::AsTrained,
            ("sinks_redistributed", keep) => Self::RedistributeSinks(SinkRedistribution {
                keep: keep.unwrap_or(usual.keep),
                ..usual
            }),
            ("toward_instruction", factor) => {
                Self::TowardInstruction(factor.unwrap_or(Self::USUAL_FACTOR))
            }
            _ => return Err(unknown()),
        };
        forward.validate()?;
        Ok(forward)
    }
}

/// Moves attention from sinks to the other image tokens, in one row `[keys]` of post-softmax weights (VAR; Kang et al.,
/// ICLR 2025, arXiv 2503.03321, section 5).
///
/// With s the attention to image tokens and r the share of it on sinks, a row with s ≥ `min_image` and r ≤ `max_sinks`
/// changes: every sink, text or image, keeps the share `keep` of its weight, and what is freed goes to the image tokens
/// that are no sinks, in proportion to their weights. The sum of the row stays. Returns whether the row was changed.
///
/// # Errors
/// [`Error::Shape`] when the lengths differ.
pub fn redistribute_sinks(
    row: &mut [f32],
    roles: &[TokenRole],
    sinks: &[bool],
    rule: &SinkRedistribution,
) -> Result<bool> {
    check(row, roles.len())?;
    check(row, sinks.len())?;
    let (mut image, mut image_sinks, mut all_sinks) = (0.0, 0.0, 0.0);
    for ((&weight, &role), &sink) in row.iter().zip(roles).zip(sinks) {
        let weight = f64::from(weight);
        if role == TokenRole::Image {
            image += weight;
            image_sinks += if sink { weight } else { 0.0 };
        }
        all_sinks += if sink { weight } else { 0.0 };
    }
    let rest = image - image_sinks;
    let image_centric = image >= rule.min_image && image_sinks <= rule.max_sinks * image;
    if !image_centric || rest <= 0.0 || all_sinks == 0.0 {
        return Ok(false);
    }
    let (kept, gain) = (rule.keep, 1.0 + (1.0 - rule.keep) * all_sinks / rest);
    for ((weight, &role), &sink) in row.iter_mut().zip(roles).zip(sinks) {
        let factor = match (sink, role) {
            (true, _) => kept,
            (false, TokenRole::Image) => gain,
            (false, _) => 1.0,
        };
        *weight = (f64::from(*weight) * factor) as f32;
    }
    Ok(true)
}

/// Multiplies the attention to tokens of the instruction by `factor` and brings the row `[keys]` back to its sum. The
/// same as adding ln `factor` to their logits before the softmax (the form of post-hoc attention steering, PASTA;
/// Zhang et al., ICLR 2024, arXiv 2311.02262, which scales the other tokens down instead). Which tokens are of the
/// instruction, and not of the prompt around it, is for the caller to say.
///
/// # Errors
/// [`Error::Shape`] when the lengths differ, [`Error::Option`] unless the factor is a number above 0.
pub fn toward_instruction(row: &mut [f32], instruction: &[bool], factor: f64) -> Result<()> {
    check(row, instruction.len())?;
    if !(factor.is_finite() && factor > 0.0) {
        return Err(Error::Option(format!(
            "factor {factor} on attention to the instruction is not a number above 0"
        )));
    }
    let (mut before, mut after) = (0.0, 0.0);
    for (&weight, &of_instruction) in row.iter().zip(instruction) {
        let weight = f64::from(weight);
        before += weight;
        after += weight * if of_instruction { factor } else { 1.0 };
    }
    if after > 0.0 {
        let scale = before / after;
        for (weight, &of_instruction) in row.iter_mut().zip(instruction) {
            let factor = if of_instruction { factor } else { 1.0 };
            *weight = (f64::from(*weight) * factor * scale) as f32;
        }
    }
    Ok(())
}

fn check(row: &[f32], tokens: usize) -> Result<()> {
    if row.len() == tokens {
        return Ok(());
    }
    Err(Error::Shape(format!(
        "a row of {} weights on {tokens} tokens",
        row.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: TokenRole = TokenRole::Image;
    const TEXT: TokenRole = TokenRole::Text;

    fn close(row: &[f32], wanted: &[f32]) {
        for (got, wanted) in row.iter().zip(wanted) {
            assert!((got - wanted).abs() < 1e-6, "{row:?}");
        }
    }

    #[test]
    fn names_are_read_and_told_apart() {
        let usual = SinkRedistribution::default();
        let sinks = |rule| Forward::RedistributeSinks(rule);
        let read = |text: &str| text.parse::<Forward>();
        assert_eq!(read("as_trained").unwrap(), Forward::AsTrained);
        assert_eq!(read("sinks_redistributed").unwrap(), sinks(usual));
        let keep = |keep| sinks(SinkRedistribution { keep, ..usual });
        assert_eq!(read("sinks_redistributed:0.3").unwrap(), keep(0.3));
        let toward = Forward::TowardInstruction;
        assert_eq!(read("toward_instruction").unwrap(), toward(2.0));
        assert_eq!(read("toward_instruction:0.5").unwrap(), toward(0.5));
        for wrong in [
            "",
            "var",
            "as_trained:1",
            "sinks_redistributed:x",
            "toward_instruction:",
        ] {
            assert!(
                read(wrong).unwrap_err().to_string().contains("there are"),
                "{wrong}"
            );
        }
        assert!(read("sinks_redistributed:1.5").is_err() && read("toward_instruction:0").is_err());
        // The targets of the same names are the same changes.
        for name in ["sinks_redistributed", "toward_instruction"] {
            let target = crate::HeadSelection::default().with_target(name).unwrap();
            assert_eq!(target.forward, read(name).unwrap());
        }
        let mut names: Vec<String> = [
            Forward::AsTrained,
            toward(2.0),
            toward(2.5),
            sinks(usual),
            keep(0.3),
            sinks(SinkRedistribution {
                min_image: 0.3,
                ..usual
            }),
            sinks(SinkRedistribution {
                max_sinks: 0.3,
                ..usual
            }),
            sinks(SinkRedistribution {
                from_layer: 3,
                ..usual
            }),
            sinks(SinkRedistribution {
                rule: SinkRule::Relative(0.3),
                ..usual
            }),
            sinks(SinkRedistribution {
                rule: SinkRule::Absolute(0.3),
                ..usual
            }),
        ]
        .map(Forward::name)
        .to_vec();
        assert_eq!(names[3], "sinks_redistributed");
        assert!(
            names
                .iter()
                .all(|name| !name.contains([' ', '/', ':', ',']))
        );
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 10);
    }

    #[test]
    fn freed_attention_goes_to_image_tokens_in_proportion() {
        let roles = [TEXT, TEXT, IMAGE, IMAGE, IMAGE];
        let sinks = [true, false, true, false, false];
        let rule = SinkRedistribution::default();
        let mut row = [0.3, 0.1, 0.2, 0.1, 0.3];
        assert!(redistribute_sinks(&mut row, &roles, &sinks, &rule).unwrap());
        // 0.4 × 0.5 is freed and shared 1 : 3.
        close(&row, &[0.18, 0.1, 0.12, 0.15, 0.45]);
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn heads_that_are_not_about_the_image_are_left_alone() {
        let roles = [TEXT, IMAGE, IMAGE];
        let rule = SinkRedistribution::default();
        for (row, sinks) in [
            // Too little image attention.
            ([0.85, 0.05, 0.10], [true, true, false]),
            // Mostly on sinks.
            ([0.20, 0.60, 0.20], [true, true, false]),
            // Nothing to free.
            ([0.20, 0.60, 0.20], [false, false, false]),
            // Nowhere to put it.
            ([0.20, 0.80, 0.00], [true, true, true]),
        ] {
            let mut changed = row;
            assert!(!redistribute_sinks(&mut changed, &roles, &sinks, &rule).unwrap());
            assert_eq!(changed, row);
        }
        assert!(redistribute_sinks(&mut [0.5], &roles, &[true; 3], &rule).is_err());
    }

    #[test]
    fn instruction_gains_what_the_rest_loses() {
        let mut row = [0.2, 0.3, 0.5];
        toward_instruction(&mut row, &[true, false, false], 2.0).unwrap();
        close(&row, &[0.4 / 1.2, 0.3 / 1.2, 0.5 / 1.2]);
        // A row that is the image's part of a longer one keeps its sum.
        let mut part = [0.1, 0.1];
        toward_instruction(&mut part, &[true, false], 3.0).unwrap();
        close(&part, &[0.15, 0.05]);
        let mut nothing = [0.0, 0.0];
        toward_instruction(&mut nothing, &[true, false], 3.0).unwrap();
        assert_eq!(nothing, [0.0, 0.0]);
        assert!(toward_instruction(&mut part, &[true, false], 0.0).is_err());
    }
}
