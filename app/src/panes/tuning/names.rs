//! Named sets of thresholds, and selections in words.

use grounding::HeadSelection;

/// A named set of thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// Rules for choosing heads, see [`HeadSelection::preset`].
    Preset(&'static str),
    /// A way from attention to a training target, see [`HeadSelection::with_target`].
    Target(&'static str),
}

impl Named {
    /// `s` with this set in place; what the set is not about stays as it is.
    pub(super) fn apply(self, s: &HeadSelection) -> Option<HeadSelection> {
        match self {
            // A preset is about choosing heads; which token looks, and how the mask is cut, stay as they are.
            Self::Preset(name) => HeadSelection::preset(name)
                .ok()
                .map(|preset| HeadSelection {
                    query: s.query.clone(),
                    forward: s.forward,
                    aggregate: s.aggregate,
                    smoothing: s.smoothing,
                    mask: s.mask,
                    dilate: s.dilate,
                    ..preset
                }),
            Self::Target(name) => s.with_target(name).ok(),
        }
    }

    /// The name shown to people.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Preset(name) => match name {
                "default" => "Default",
                "paper" => "Paper",
                "published_june" => "Published code, June",
                "published_august" => "Published code, August",
                "sink_filtered" => "Sinks removed",
                "robust" => "Robust (few frames)",
                "elbow_all" => "Elbow over all heads",
                other => other,
            },
            Self::Target(name) => match name {
                "selected" => "Selected heads",
                "naive" => "Mean of all heads",
                "groundlmm_point" => "GroundLMM point",
                "relative" => "Against a generic prompt",
                "dino_60" => "DINO, 60 % of attention",
                "sinks_redistributed" => "Sinks redistributed (VAR)",
                "toward_instruction" => "Instruction doubled",
                other => other,
            },
        }
    }

    /// What it is, in one line.
    pub(super) fn explain(self) -> &'static str {
        match self {
            Self::Preset(name) => match name {
                "default" => "Kang et al. with thresholds free of scale and grid",
                "paper" => "As the paper says: pixels count, the floor is absolute",
                "published_june" => {
                    "The first public release, with its defects; for comparison only"
                }
                "published_august" => "The second public release: value elbow, bottom row filtered",
                "sink_filtered" => "Default, with attention to sink tokens removed first",
                "robust" => {
                    "Sinks removed, ties broken by attention and rank; below some hundred frames"
                }
                "elbow_all" => "Default, with the elbow sought among all heads as published",
                _ => "",
            },
            Self::Target(name) => match name {
                "selected" => "A region of exact area from the selected heads (LA-ReconVLA)",
                "naive" => "The same region from the mean of all heads",
                "groundlmm_point" => "The brightest patch of the mean-subtracted map",
                "relative" => "A region of attention relative to a generic prompt (mllms_know)",
                "dino_60" => "The fewest patches that hold 60 % of the attention",
                "sinks_redistributed" => {
                    "The selected heads after sinks gave attention back; live model"
                }
                "toward_instruction" => {
                    "The selected heads with instruction tokens × 2; live model"
                }
                _ => "",
            },
        }
    }
}

/// Every field of a selection, as a file holds it.
pub(super) fn ron(s: &HeadSelection) -> String {
    ron::ser::to_string_pretty(s, ron::ser::PrettyConfig::new()).unwrap_or_else(|e| e.to_string())
}

/// What two selections differ in, phrase by phrase.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Phrases {
    /// Of the first, each with whether the other has it, too.
    pub this: Vec<(String, bool)>,
    /// Of the second.
    pub beside: Vec<(String, bool)>,
}

impl Phrases {
    pub(super) fn of(this: &HeadSelection, beside: &HeadSelection) -> Self {
        let words = |s: &HeadSelection| match s.differences() {
            empty if empty.is_empty() => vec!["default".to_owned()],
            phrases => phrases,
        };
        let (a, b) = (words(this), words(beside));
        let mark = |own: &[String], other: &[String]| {
            let shared = |p: &String| (p.clone(), other.contains(p));
            own.iter().map(shared).collect()
        };
        Self {
            this: mark(&a, &b),
            beside: mark(&b, &a),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grounding::{Budget, MaskRule, PRESETS, TARGETS};

    #[test]
    fn every_set_has_a_name_and_a_sentence_for_people() {
        let all = PRESETS
            .map(Named::Preset)
            .into_iter()
            .chain(TARGETS.map(Named::Target));
        let mut seen = Vec::new();
        for named in all {
            let label = named.label();
            assert!(!label.contains('_') && !seen.contains(&label), "{label}");
            assert!(named.explain().len() > 20, "{label}");
            assert!(named.apply(&HeadSelection::default()).is_some(), "{label}");
            seen.push(label);
        }
    }

    #[test]
    fn a_preset_leaves_the_mask_and_a_target_the_heads() {
        let mut s = HeadSelection::preset("robust").unwrap();
        s.mask = MaskRule::RegionBudget(Budget::Patches(7));
        let june = Named::Preset("published_june").apply(&s).unwrap();
        assert_eq!(
            (june.preset_name(), june.mask),
            (Some("published_june"), s.mask)
        );
        let naive = Named::Target("naive").apply(&june).unwrap();
        assert_eq!(naive.preset_name(), Some("published_june"));
        assert_ne!(naive.mask, june.mask);
    }

    #[test]
    fn differences_are_told_apart_from_what_is_common() {
        let default = HeadSelection::default();
        let mut june = HeadSelection::preset("published_june").unwrap();
        let phrases = Phrases::of(&default, &june);
        assert_eq!(phrases.this, [("default".to_owned(), false)]);
        assert_eq!(phrases.beside, [("published_june".to_owned(), false)]);
        june.dilate = 1;
        let other = HeadSelection {
            dilate: 1,
            ..default
        };
        let phrases = Phrases::of(&other, &june);
        assert_eq!(phrases.this, [("dilated 1".to_owned(), true)]);
    }

    #[test]
    fn what_is_copied_reads_back() {
        let s = HeadSelection::preset("published_august").unwrap();
        assert_eq!(ron::from_str::<HeadSelection>(&ron(&s)).unwrap(), s);
    }
}
