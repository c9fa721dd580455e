//! Which token looks, which heads are good ones, and how frames vote for them.

use egui::{CollapsingHeader, DragValue, RichText, Ui};
use grounding::analysis::Field;
use grounding::{
    Aggregate, BottomRow, BoxScore, Connectivity, Criterion, ElbowMode, ElbowPool, EntropyTotal,
    EntropyWeight, Floor, Forward, FrequencyTie, HeadSelection, NoComponent, QuerySelector,
    SinkRedistribution, SinkRule, SumSource, Tie,
};

use super::super::controls::{SliderRow, among, choice, idle, kind, note, row};
use super::super::numbers::histogram_ui;
use super::{Form, NO_HEADS, Threshold, why_no_heads};
use crate::inspector::Report;
use crate::panes::attention::{query_name, selector_of};
use crate::theme;
use crate::widgets::section;

impl Form<'_> {
    pub(super) fn token(&self, ui: &mut Ui, s: &mut HeadSelection) {
        section(ui, "Which token looks");
        let capture = self.look.map(|l| &l.inputs.capture);
        let name = |selector: &QuerySelector| match selector {
            QuerySelector::ReadOut => "Action token".to_owned(),
            QuerySelector::Last => "Last captured token".to_owned(),
            QuerySelector::Token(token) => format!("“{token}”"),
            QuerySelector::Index(index) => {
                capture.map_or_else(|| format!("Query {index}"), |c| query_name(c, *index))
            }
        };
        let shown = name(&s.query);
        choice(
            ui,
            "Token",
            "The token whose attention is read: the one the action comes from, or a word of the instruction",
            &shown,
            |ui| {
                for selector in [QuerySelector::ReadOut, QuerySelector::Last] {
                    let text = name(&selector);
                    ui.selectable_value(&mut s.query, selector, text);
                }
                if let Some(capture) = capture {
                    ui.separator();
                    for index in 0..capture.queries.len() {
                        let selector = selector_of(capture, index);
                        if selector != QuerySelector::ReadOut {
                            ui.selectable_value(&mut s.query, selector, query_name(capture, index));
                        }
                    }
                }
            },
        );
        self.forward(ui, s);
    }

    /// What is done to the forward pass. Rarely used, so folded; its header says what is on.
    fn forward(&self, ui: &mut Ui, s: &mut HeadSelection) {
        let state = match s.forward {
            Forward::AsTrained => "as trained",
            Forward::RedistributeSinks(_) => "sinks redistributed",
            Forward::TowardInstruction(_) => "toward instruction",
        };
        let recorded =
            (!self.is_live).then_some("Needs a live model: a recorded capture is what it is");
        let color = match s.forward == Forward::AsTrained {
            true => theme::tokens(ui).text,
            false => theme::tokens(ui).accent,
        };
        let title = RichText::new(format!("Forward pass: {state}")).color(color);
        CollapsingHeader::new(title)
            .id_salt("forward pass")
            .show_unindented(ui, |ui| {
                // What is on must stay reachable, or it could not be switched off.
                let why = recorded.filter(|_| s.forward == Forward::AsTrained);
                idle(ui, why, |ui| {
                    kind(
                        ui,
                        "Attention",
                        "What is done to attention before it weighs the values. Everything but “as trained” needs a live \
                         model",
                        &mut s.forward,
                        &[
                            (Forward::AsTrained, "As trained"),
                            (
                                Forward::RedistributeSinks(SinkRedistribution::default()),
                                "Redistribute sinks (VAR)",
                            ),
                            (Forward::TowardInstruction(2.0), "Toward the instruction"),
                        ],
                    );
                });
                let mut usual = SinkRedistribution::default();
                let (rule, why) = match &mut s.forward {
                    Forward::RedistributeSinks(rule) => (rule, None),
                    _ => (&mut usual, Some("Only where sinks are redistributed")),
                };
                idle(ui, why, |ui| redistribution(ui, rule));
                let mut usual = 2.0;
                let (factor, why) = match &mut s.forward {
                    Forward::TowardInstruction(factor) => (factor, None),
                    _ => (&mut usual, Some("Only where attention is turned toward the instruction")),
                };
                idle(ui, why, |ui| {
                    let row = SliderRow {
                        name: "Factor",
                        help: "Attention to tokens of the instruction is multiplied by this, and the row brought back to its \
                               sum",
                        range: 0.1..=8.0,
                        decimals: 1,
                        unit: " ×",
                    };
                    row.show(ui, factor);
                });
            });
    }

    pub(super) fn criterion(&self, ui: &mut Ui, s: &mut HeadSelection) {
        section(ui, "What makes a head good");
        let why = why_no_heads(s);
        let score = match s.criterion {
            Criterion::Boxes(score) => score,
            _ => BoxScore::default(),
        };
        idle(ui, why, |ui| {
            kind(
                ui,
                "Criterion",
                "Focus is what was published, but in a small model nearly every head is focused. The other two measure \
                 language: they need frames seen under another instruction, or boxes on the tuning split",
                &mut s.criterion,
                &[
                    (Criterion::Entropy, "Focus: least entropy"),
                    (
                        Criterion::InstructionChange,
                        "Change under another instruction",
                    ),
                    (Criterion::Boxes(score), "Agreement with boxes"),
                ],
            );
        });
        let mut usual = BoxScore::default();
        let (score, why) = match &mut s.criterion {
            Criterion::Boxes(score) => (score, why),
            _ => (
                &mut usual,
                Some("Only where heads are chosen by their agreement with boxes"),
            ),
        };
        idle(ui, why, |ui| {
            among(
                ui,
                "Box score",
                "How well the map of one head agrees with a box",
                score,
                &[
                    (BoxScore::MassInside, "Attention inside the box"),
                    (BoxScore::Hit, "Hit"),
                    (BoxScore::NearHit, "Hit ± 1 patch"),
                    (BoxScore::Iou, "Overlap of the brightest patches"),
                ],
            );
        });
    }

    pub(super) fn elbow(&self, ui: &mut Ui, s: &mut HeadSelection) {
        section(ui, "Attention to the image");
        let found = self
            .look
            .and_then(|l| l.scores.as_deref().ok())
            .map(|scores| scores.tau);
        let typical = self.report.and_then(|r| r.evaluation.tau).or(found);
        let why = why_no_heads(s);
        idle(ui, why, |ui| {
            kind(
                ui,
                "Threshold τ",
                "Criterion 1: a head must give at least τ of its attention to the image. On models with few heads the elbow is \
                 fragile: none, or a manual threshold, is steadier",
                &mut s.elbow.mode,
                &[
                    (ElbowMode::Value, "Elbow of the sums"),
                    (
                        ElbowMode::Manual(typical.unwrap_or(0.5)),
                        "Manual threshold",
                    ),
                    (ElbowMode::None, "None: keep every head"),
                    (ElbowMode::Index, "Elbow by position (defect)"),
                ],
            );
        });
        let usual = match s.elbow.mode {
            ElbowMode::Manual(tau) => tau,
            ElbowMode::None => 0.0,
            ElbowMode::Value | ElbowMode::Index => typical.unwrap_or(0.0),
        };
        let threshold = Threshold {
            field: Field::Tau,
            name: "τ",
            help: "Dragging sets a manual threshold; the elbow's own value, median over frames, is shown otherwise",
            decimals: 3,
            unit: "",
            scale: 1.0,
            usual,
        };
        self.threshold(ui, s, &threshold, why);
        let searched = matches!(s.elbow.mode, ElbowMode::Value | ElbowMode::Index);
        let no_search = (!searched).then_some("Only where an elbow is sought");
        idle(ui, why.or(no_search), |ui| {
            among(
                ui,
                "Elbow among",
                "Which heads the elbow is sought among: a head that cannot be chosen should not set the threshold",
                &mut s.elbow.over,
                &[
                    (ElbowPool::Eligible, "Eligible heads"),
                    (ElbowPool::All, "All heads, as published"),
                ],
            );
        });
        let last = self.look.and_then(|l| l.inputs.capture.layers.last());
        let layers = last.map_or(4, |n| *n as usize + 1);
        let standard = if layers > 4 { 2 } else { 0 };
        idle(ui, why, |ui| {
            row(
                ui,
                "Skip layers",
                "Early layers look broadly at everything. Automatic skips the first 2 in models of more than 4 layers",
                |ui, label| {
                    let mut automatic = s.elbow.exclude_layers.is_none();
                    ui.checkbox(&mut automatic, "automatic");
                    let mut skipped = s.elbow.exclude_layers.unwrap_or(standard);
                    let value = DragValue::new(&mut skipped).range(0..=layers).speed(0.05);
                    ui.add_enabled(!automatic, value).labelled_by(label);
                    s.elbow.exclude_layers = (!automatic).then_some(skipped);
                },
            );
        });
    }

    pub(super) fn entropy(&self, ui: &mut Ui, s: &mut HeadSelection) {
        section(ui, "Spatial entropy");
        let why = why_no_heads(s);
        idle(ui, why, |ui| {
            row(
                ui,
                "Limit entropy",
                "Whether heads above the largest entropy are dropped",
                |ui, _| {
                    let mut limited = s.entropy.max.is_some();
                    if ui.checkbox(&mut limited, "drop diffuse heads").changed() {
                        s.entropy.max = limited.then_some(std::f64::consts::LN_2);
                    }
                },
            );
        });
        let threshold = Threshold {
            field: Field::EntropyMax,
            name: "Largest entropy",
            help: "Heads above this entropy are dropped. One region has entropy 0, two equal ones 0.69 nat",
            decimals: 2,
            unit: " nat",
            scale: 1.0,
            usual: std::f64::consts::LN_2,
        };
        let unlimited = s.entropy.max.is_none().then_some("Entropy is not limited");
        self.threshold(ui, s, &threshold, why.or(unlimited));
        let why = why_no_entropy(s);
        let (Floor::Rel(floor) | Floor::Abs(floor)) = s.entropy.floor;
        let threshold = Threshold {
            field: Field::EntropyC,
            name: "Mean factor c",
            help: "Multiple of the mean that is subtracted before regions are sought",
            decimals: 2,
            unit: "",
            scale: 1.0,
            usual: s.entropy.c,
        };
        self.threshold(ui, s, &threshold, why);
        idle(ui, why, |ui| {
            kind(
                ui,
                "Floor",
                "How far above the mean a patch must be to belong to a region",
                &mut s.entropy.floor,
                &[
                    (Floor::Rel(0.576), "Relative to 1 / patches"),
                    (Floor::Abs(0.001), "Absolute (published)"),
                ],
            );
        });
        let relative = matches!(s.entropy.floor, Floor::Rel(_));
        let threshold = Threshold {
            field: Field::EntropyFloor,
            name: "Floor value",
            help: match relative {
                true => {
                    "Times 1 / number of patches; 0.576 equals the published 0.001 on its own 24 × 24 grid"
                }
                false => "Used as it is; published: 0.001",
            },
            decimals: if relative { 3 } else { 4 },
            unit: "",
            scale: 1.0,
            usual: floor,
        };
        self.threshold(ui, s, &threshold, why);
        let e = &mut s.entropy;
        idle(ui, why, |ui| {
            among(
                ui,
                "Neighbours",
                "Which patches touch",
                &mut e.connectivity,
                &[
                    (Connectivity::Eight, "Edges and corners"),
                    (Connectivity::Four, "Edges only"),
                ],
            );
            among(
                ui,
                "A region weighs",
                "What a region counts for in the entropy",
                &mut e.weight,
                &[
                    (EntropyWeight::Mass, "Its attention"),
                    (EntropyWeight::Pixels, "Its patches (paper)"),
                ],
            );
        });
        let patches = (e.weight == EntropyWeight::Pixels)
            .then_some("Patches are always shares of all patches in regions");
        idle(ui, why.or(patches), |ui| {
            among(
                ui,
                "Divided by",
                "What the weights are shares of",
                &mut e.total,
                &[
                    (EntropyTotal::Kept, "Mass in regions"),
                    (EntropyTotal::Positive, "Mass above the mean (published)"),
                ],
            );
        });
        idle(ui, why, |ui| {
            among(
                ui,
                "No region",
                "Entropy of a map in which nothing stands out",
                &mut e.no_component,
                &[
                    (NoComponent::Inf, "Never selected"),
                    (NoComponent::Zero, "Ranked best (published)"),
                ],
            );
            row(
                ui,
                "Every map",
                "Divide the map by its sum first, so that attention given to text does not matter",
                |ui, _| {
                    ui.checkbox(&mut e.normalise, "is divided by its sum");
                },
            );
        });
    }

    pub(super) fn filters(&self, ui: &mut Ui, s: &mut HeadSelection) {
        section(ui, "Filters");
        let why = why_no_heads(s);
        idle(ui, why, |ui| {
            kind(
                ui,
                "Bottom row",
                "Drops heads that look at the bottom edge. Switch off for two cameras stacked in one picture",
                &mut s.bottom_row,
                &[
                    (BottomRow::Off, "Off"),
                    (BottomRow::Share(28.8), "Share of the map"),
                    (BottomRow::Abs(0.05), "Absolute (published)"),
                    (BottomRow::ComponentFull, "Whole row in a region"),
                ],
            );
        });
        let absolute = matches!(s.bottom_row, BottomRow::Abs(_));
        let threshold = Threshold {
            field: Field::BottomRow,
            name: "Bottom threshold",
            help: match absolute {
                true => "Largest weight allowed in the bottom row; published: 0.05",
                false => {
                    "Times the map's sum / number of patches; 28.8 equals the published 0.05 on its own 24 × 24 grid"
                }
            },
            decimals: if absolute { 3 } else { 1 },
            unit: "",
            scale: 1.0,
            usual: 28.8,
        };
        self.threshold(
            ui,
            s,
            &threshold,
            why.or(Some("The rule for the bottom row has no threshold")
                .filter(|_| Field::BottomRow.get(s).is_none())),
        );
        self.sinks(ui, s);
    }

    fn sinks(&self, ui: &mut Ui, s: &mut HeadSelection) {
        let known = self.look.is_none_or(|l| l.maps.sinks.is_some());
        let whole = matches!(
            s.aggregate,
            Aggregate::Naive | Aggregate::MeanSubtracted | Aggregate::Relative { .. }
        );
        let always = s.aggregate == Aggregate::NaiveSinkFiltered;
        let no_use = whole.then_some(NO_HEADS);
        // A filter that is on must stay reachable, or it could not be switched off.
        let unknown = (!known && !s.sinks.apply)
            .then_some("This capture does not say which tokens are sinks");
        let without = always.then_some("The mean without sinks never has any");
        idle(ui, no_use.or(unknown).or(without), |ui| {
            row(
                ui,
                "Sink tokens",
                "Tokens that draw attention without meaning. Attention to them is removed before entropy and heat map",
                |ui, _| {
                    ui.checkbox(&mut s.sinks.apply, "remove");
                },
            );
        });
        let kept = (!s.sinks.apply && !always).then_some("Sink tokens are not removed");
        idle(ui, no_use.or(kept), |ui| {
            row(
                ui,
                "The rest",
                "Scale the rest of the map up, so that it keeps its sum",
                |ui, _| {
                    ui.checkbox(&mut s.sinks.renormalise, "keeps the sum");
                },
            );
        });
        idle(ui, why_no_heads(s).or(kept), |ui| {
            among(
                ui,
                "τ compares",
                "Which sum criterion 1 uses",
                &mut s.sinks.sum_source,
                &[
                    (SumSource::Raw, "Sum with sinks"),
                    (SumSource::Filtered, "Sum without sinks"),
                ],
            );
        });
        idle(ui, no_use.or(kept), |ui| {
            sink_rule(ui, &mut s.sinks.rule);
        });
        let (SinkRule::Relative(usual) | SinkRule::Absolute(usual)) = s.sinks.rule;
        let relative = matches!(s.sinks.rule, SinkRule::Relative(_));
        let threshold = Threshold {
            field: Field::Sinks,
            name: "Sink threshold",
            help: sink_help(s.sinks.rule),
            decimals: if relative { 2 } else { 1 },
            unit: "",
            scale: 1.0,
            usual,
        };
        self.threshold(ui, s, &threshold, no_use.or(kept));
    }

    pub(super) fn vote(&self, ui: &mut Ui, s: &mut HeadSelection) {
        section(ui, "Vote");
        let why = why_no_heads(s);
        let threshold = Threshold {
            field: Field::Candidates,
            name: "Candidates",
            help: "Best heads that each frame votes for; the paper uses 10, its code 5",
            decimals: 0,
            unit: "",
            scale: 1.0,
            usual: s.candidates as f64,
        };
        self.threshold(ui, s, &threshold, why);
        idle(ui, why, |ui| {
            histogram_ui(ui, self.report.map(|r| &*r.evaluation), s);
        });
        let threshold = Threshold {
            field: Field::K,
            name: "Heads k",
            help: "How many heads are kept after the vote over the tuning frames",
            decimals: 0,
            unit: "",
            scale: 1.0,
            usual: s.k as f64,
        };
        self.threshold(ui, s, &threshold, why);
        idle(ui, why, |ui| {
            among(
                ui,
                "Equal heads",
                "Order of equally good heads within one frame",
                &mut s.tie,
                &[
                    (Tie::Index, "Earlier layer first"),
                    (Tie::Sum, "More attention first"),
                ],
            );
            among(
                ui,
                "Equal votes",
                "Order of heads with equally many votes; use ranks below some hundred frames",
                &mut s.freq_tie,
                &[
                    (FrequencyTie::Index, "Earlier layer first"),
                    (FrequencyTie::RankSum, "Better ranks first"),
                ],
            );
        });
        self.tie_hint(ui, s);
    }

    /// Says when the votes are too few to tell heads apart.
    fn tie_hint(&self, ui: &mut Ui, s: &HeadSelection) {
        /// Below this many frames, many heads have equally many votes.
        const FEW: usize = 100;
        let frames = self.report.map_or(0, Report::tuning_frames);
        let by_votes = s.criterion == Criterion::Entropy && s.needs_heads();
        let text = match (1..FEW).contains(&frames) && s.freq_tie == FrequencyTie::Index && by_votes
        {
            true => format!("With {frames} frames this favours early layers"),
            // Keeps its room.
            false => " ".to_owned(),
        };
        note(ui, &text, theme::tokens(ui).warn);
    }
}

/// Why the entropy of a head does not matter.
fn why_no_entropy(s: &HeadSelection) -> Option<&'static str> {
    why_no_heads(s).or(Field::EntropyC
        .get(s)
        .is_none()
        .then_some("Heads are neither chosen nor dropped by their entropy"))
}

/// The five values of sink redistribution.
fn redistribution(ui: &mut Ui, rule: &mut SinkRedistribution) {
    let share = |name, help| SliderRow {
        name,
        help,
        range: 0.0..=1.0,
        decimals: 2,
        unit: "",
    };
    share(
        "A sink keeps",
        "Share of its attention that a sink keeps; published: 0.6",
    )
    .show(ui, &mut rule.keep);
    share(
        "Least image share",
        "Only heads that give at least this share to the image are changed; published: 0.2",
    )
    .show(ui, &mut rule.min_image);
    share(
        "Most sink share",
        "Only heads that give at most this share of their image attention to sinks are changed; published: 0.5",
    )
    .show(ui, &mut rule.max_sinks);
    row(
        ui,
        "From layer",
        "Layers below this one are left alone, published: 2; the last layer always is",
        |ui, label| {
            let value = DragValue::new(&mut rule.from_layer).range(0..=64);
            ui.add(value.speed(0.05)).labelled_by(label);
        },
    );
    ui.push_id("redistribution", |ui| sink_rule(ui, &mut rule.rule));
    let help = sink_help(rule.rule);
    let (SinkRule::Relative(value) | SinkRule::Absolute(value)) = &mut rule.rule;
    let row = SliderRow {
        name: "Sinks above",
        help,
        range: 0.0..=if *value > 1.0 { 60.0 } else { 0.95 },
        decimals: if *value > 1.0 { 1 } else { 2 },
        unit: "",
    };
    row.show(ui, value);
}

fn sink_rule(ui: &mut Ui, rule: &mut SinkRule) {
    kind(
        ui,
        "Sink rule",
        "Threshold on the largest normalised hidden value of a token",
        rule,
        &[
            (SinkRule::Relative(0.31), "Relative to √width"),
            (SinkRule::Absolute(20.0), "Absolute (published)"),
        ],
    );
}

fn sink_help(rule: SinkRule) -> &'static str {
    match rule {
        SinkRule::Relative(_) => "0.31 equals the published 20 at width 4096",
        SinkRule::Absolute(_) => "Can never fire when above the square root of the model's width",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_nothing_says_why() {
        let mut s = HeadSelection::default();
        assert_eq!((why_no_heads(&s), why_no_entropy(&s)), (None, None));
        s.criterion = Criterion::InstructionChange;
        assert!(why_no_heads(&s).is_none() && why_no_entropy(&s).is_some());
        s.entropy.max = Some(0.7);
        assert_eq!(why_no_entropy(&s), None, "heads are dropped by it");
        s.aggregate = Aggregate::Naive;
        assert_eq!(why_no_entropy(&s), Some(NO_HEADS));
    }
}
