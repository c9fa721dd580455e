//! Every field of the head selection.

use egui::{CollapsingHeader, DragValue, RichText, Ui};
use grounding::analysis::Field;
use grounding::{
    Aggregate, BaseMask, BottomRow, BoxScore, Budget, Connectivity, Criterion, ElbowMode,
    ElbowPool, EntropyTotal, EntropyWeight, Floor, Forward, FrequencyTie, HeadId, HeadSelection,
    MaskRule, NoComponent, PRESETS, QuerySelector, SinkRedistribution, SinkRule, SumSource,
    TARGETS, Tie,
};

use super::controls::{SliderRow, among, choice, idle, kind, note, row, sentence};
use super::names::{self, Named};
use super::numbers::histogram_ui;
use super::strip::{Strip, Strips};
use crate::command::Command;
use crate::inspector::{Look, Report};
use crate::panes::PaneContext;
use crate::panes::attention::{query_name, selector_of};
use crate::theme::{self, SPACE};
use crate::widgets::section;

/// From this width on the form has two columns.
const TWO_COLUMNS: f32 = 170.0 * SPACE;

/// Why a threshold of the head choice does nothing.
const NO_HEADS: &str = "The heat map is made without choosing heads, so this does nothing";

/// Draws the rows. What it reads besides the selection only explains: found thresholds, strips, token names.
pub(super) struct Form<'a> {
    pub look: Option<&'a Look>,
    pub report: Option<&'a Report>,
    pub strips: &'a Strips,
    /// Whether what looks is a model, and not a recording of one.
    pub is_live: bool,
}

/// A slider with its strip.
struct Threshold<'a> {
    field: Field,
    name: &'a str,
    help: &'a str,
    decimals: usize,
    unit: &'a str,
    /// What is shown is so many times the value.
    scale: f64,
    /// What is shown where the rules in use have no such threshold.
    usual: f64,
}

impl Form<'_> {
    /// All of it.
    pub(super) fn show(&self, ui: &mut Ui, context: &mut PaneContext<'_>, s: &mut HeadSelection) {
        self.presets(ui, context, s);
        let choosing = |ui: &mut Ui, s: &mut HeadSelection| {
            self.token(ui, s);
            self.criterion(ui, s);
            self.elbow(ui, s);
            self.entropy(ui, s);
        };
        let making = |ui: &mut Ui, s: &mut HeadSelection| {
            self.filters(ui, s);
            self.vote(ui, s);
            self.map(ui, s);
            self.mask(ui, s);
        };
        if ui.available_width() < TWO_COLUMNS {
            choosing(ui, s);
            making(ui, s);
        } else {
            ui.columns(2, |columns| {
                if let [left, right] = columns {
                    choosing(left, s);
                    making(right, s);
                }
            });
        }
    }

    fn presets(&self, ui: &mut Ui, context: &mut PaneContext<'_>, s: &mut HeadSelection) {
        let named = |ui: &mut Ui, name: &str, help: &str, known: &[Named], s: &HeadSelection| {
            let current = known.iter().find(|n| n.apply(s).as_ref() == Some(s));
            let mut chosen = None;
            choice(
                ui,
                name,
                help,
                current.map_or("Custom", |n| n.label()),
                |ui| {
                    for option in known {
                        let is_on = current == Some(option);
                        let response = ui.selectable_label(is_on, option.label());
                        if response.on_hover_text(option.explain()).clicked() {
                            chosen = option.apply(s);
                        }
                    }
                },
            );
            const CUSTOM: &str = "Custom: no named set has these values";
            let mut all: Vec<&str> = known.iter().map(|n| n.explain()).collect();
            all.push(CUSTOM);
            sentence(ui, &all, current.map_or(CUSTOM, |n| n.explain()));
            chosen
        };
        let presets = PRESETS.map(Named::Preset);
        let chosen = named(
            ui,
            "Preset",
            "Named sets of rules for choosing heads; token, map and mask stay as they are",
            &presets,
            s,
        );
        *s = chosen.unwrap_or_else(|| s.clone());
        let targets = TARGETS.map(Named::Target);
        let chosen = named(
            ui,
            "Target",
            "Known ways of turning attention into a training target: forward pass, map and mask; the rules for choosing \
             heads stay as they are",
            &targets,
            s,
        );
        *s = chosen.unwrap_or_else(|| s.clone());
        row(
            ui,
            "In short",
            "What differs from the default, as captions and logs say it",
            |ui, _| {
                let room = ui.available_width() - 14.0 * SPACE;
                let text = s.to_string();
                ui.allocate_ui(egui::vec2(room, ui.spacing().interact_size.y), |ui| {
                    ui.set_min_width(room);
                    ui.add(egui::Label::new(&text).wrap());
                });
                let copy = ui
                    .button("Copy")
                    .on_hover_text("Copy every field as RON, for a file or the command line");
                copy.widget_info(|| {
                    let name = "Copy the selection";
                    egui::WidgetInfo::labeled(egui::Role::Button, true, name)
                });
                if copy.clicked() {
                    context.send(Command::CopyText(names::ron(s)));
                }
            },
        );
    }

    fn token(&self, ui: &mut Ui, s: &mut HeadSelection) {
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

    fn criterion(&self, ui: &mut Ui, s: &mut HeadSelection) {
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

    fn elbow(&self, ui: &mut Ui, s: &mut HeadSelection) {
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

    fn entropy(&self, ui: &mut Ui, s: &mut HeadSelection) {
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

    fn filters(&self, ui: &mut Ui, s: &mut HeadSelection) {
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

    fn vote(&self, ui: &mut Ui, s: &mut HeadSelection) {
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

    fn map(&self, ui: &mut Ui, s: &mut HeadSelection) {
        section(ui, "Heat map");
        let head = self
            .look
            .and_then(|l| l.heads.first().copied())
            .unwrap_or(HeadId { layer: 0, head: 0 });
        kind(
            ui,
            "Made of",
            "What the heat map is made of, from which the mask is cut",
            &mut s.aggregate,
            &[
                (Aggregate::Selected { normalise: false }, "Selected heads"),
                (Aggregate::Head(head), "One head"),
                (Aggregate::Naive, "Mean of all heads"),
                (Aggregate::NaiveSinkFiltered, "Mean without sinks"),
                (Aggregate::MeanSubtracted, "Mean minus token mean"),
                (
                    Aggregate::Relative { layer: None },
                    "Relative to a generic prompt",
                ),
            ],
        );
        let layers = self.look.map_or(1, |l| l.maps.n_layers.max(1));
        let heads = self.look.map_or(1, |l| l.maps.n_heads.max(1));
        let mut unused = false;
        let (normalise, why) = match &mut s.aggregate {
            Aggregate::Selected { normalise } => (normalise, None),
            _ => (&mut unused, Some("Only for the sum of the selected heads")),
        };
        idle(ui, why, |ui| {
            row(
                ui,
                "Every head",
                "Divide every head map by its sum before they are added",
                |ui, _| {
                    ui.checkbox(normalise, "weighs the same");
                },
            );
        });
        let mut unused = head;
        let (id, why) = match &mut s.aggregate {
            Aggregate::Head(id) => (id, None),
            _ => (&mut unused, Some("Only where the map is made of one head")),
        };
        idle(ui, why, |ui| {
            row(
                ui,
                "Layer and head",
                "Position in the capture, from 0",
                |ui, label| {
                    let layer = DragValue::new(&mut id.layer).range(0..=layers - 1);
                    ui.add(layer.speed(0.05).prefix("L")).labelled_by(label);
                    let head = DragValue::new(&mut id.head).range(0..=heads - 1);
                    ui.add(head.speed(0.05).prefix("H")).labelled_by(label);
                },
            );
        });
        let mut unused = None;
        let (layer, why) = match &mut s.aggregate {
            Aggregate::Relative { layer } => (layer, None),
            _ => (
                &mut unused,
                Some("Only where the map is relative to a generic prompt"),
            ),
        };
        idle(ui, why, |ui| {
            row(
                ui,
                "Relative at layer",
                "The layer whose heads are compared with a generic prompt, from 0; the middle one as published",
                |ui, label| {
                    let mut middle = layer.is_none();
                    ui.checkbox(&mut middle, "middle");
                    let mut at = layer.unwrap_or(layers / 2);
                    let value = DragValue::new(&mut at).range(0..=layers - 1).speed(0.05);
                    ui.add_enabled(!middle, value).labelled_by(label);
                    *layer = (!middle).then_some(at);
                },
            );
        });
        let threshold = Threshold {
            field: Field::Sigma,
            name: "Smoothing σ",
            help: "Standard deviation of the Gaussian over patches; 0 is off",
            decimals: 2,
            unit: "",
            scale: 1.0,
            usual: s.smoothing.sigma,
        };
        let why = Field::Sigma
            .get(s)
            .is_none()
            .then_some("Only maps of chosen heads are smoothed");
        self.threshold(ui, s, &threshold, why);
        let off = (s.smoothing.sigma == 0.0).then_some("Smoothing is off");
        idle(ui, why.or(off), |ui| {
            let row = SliderRow {
                name: "Cut off at",
                help: "Radius of the Gaussian in σ: 4 gives 9 taps at σ = 1, 3 gives the paper's 7",
                range: 1.0..=6.0,
                decimals: 1,
                unit: " σ",
            };
            row.show(ui, &mut s.smoothing.truncate);
        });
    }

    fn mask(&self, ui: &mut Ui, s: &mut HeadSelection) {
        section(ui, "Mask");
        let base = base_of(&s.mask).unwrap_or_default();
        let budget = budget_of(&s.mask).unwrap_or_default();
        let share = match base {
            BaseMask::KeepMass(share) => share,
            BaseMask::Mean => 0.6,
        };
        kind(
            ui,
            "Rule",
            "How the heat map becomes a mask. Training arms use exact areas, so that they differ in place only",
            &mut s.mask,
            &[
                (MaskRule::RegionBudget(budget), "Region of exact area"),
                (MaskRule::RegionComponent { base }, "Region at the peak"),
                (
                    MaskRule::TwoRegionsBudget {
                        base,
                        budget,
                        share1: 0.5,
                    },
                    "Two regions of exact area",
                ),
                (MaskRule::TwoRegions { base }, "Two regions"),
                (MaskRule::TopN(budget), "Brightest patches, scattered"),
                (MaskRule::KeepMass(share), "Share of the attention"),
                (MaskRule::Mean, "Above the mean (published)"),
            ],
        );
        self.area(ui, s);
        self.regions(ui, s);
        let threshold = Threshold {
            field: Field::Dilate,
            name: "Dilate",
            help: "Rounds of 3 × 3 dilation; the area is no longer exact when this is not 0",
            decimals: 0,
            unit: "",
            scale: 1.0,
            usual: s.dilate as f64,
        };
        self.threshold(ui, s, &threshold, None);
    }

    /// The area of a mask, in patches or as a share of the grid.
    fn area(&self, ui: &mut Ui, s: &mut HeadSelection) {
        let grid = self.look.map(|l| l.grid.grid);
        let patches = grid.map_or(64, |g| g.len());
        let mut usual = Budget::default();
        let (budget, why) = match &mut s.mask {
            MaskRule::TopN(budget)
            | MaskRule::RegionBudget(budget)
            | MaskRule::TwoRegionsBudget { budget, .. } => (budget, None),
            _ => (
                &mut usual,
                Some("The rule for the mask finds its area by itself"),
            ),
        };
        let (share, number) = match *budget {
            Budget::Share(share) => {
                let number = grid.and_then(|grid| budget.patches(grid).ok());
                (share, number.unwrap_or(1).clamp(1, patches))
            }
            Budget::Patches(n) => ((n as f64 / patches as f64).clamp(0.01, 1.0), n),
        };
        idle(ui, why, |ui| {
            kind(
                ui,
                "Area in",
                "Whether the area is a share of the grid or a number of patches",
                budget,
                &[
                    (Budget::Share(share), "Share of the grid"),
                    (Budget::Patches(number), "Patches"),
                ],
            );
        });
        let by_share = matches!(budget, Budget::Share(_));
        let threshold = match by_share {
            true => Threshold {
                field: Field::Area,
                name: "Area",
                help: "Share of all patches in the mask, rounded up",
                decimals: 0,
                unit: " %",
                scale: 100.0,
                usual: share,
            },
            false => Threshold {
                field: Field::Patches,
                name: "Area",
                help: "Exact number of patches in the mask",
                decimals: 0,
                unit: " p.",
                scale: 1.0,
                usual: number as f64,
            },
        };
        self.threshold(ui, s, &threshold, why);
    }

    /// What the regions of a mask are taken from, and how they share its area.
    fn regions(&self, ui: &mut Ui, s: &mut HeadSelection) {
        let mut usual = match s.mask {
            MaskRule::Mean => BaseMask::Mean,
            _ => BaseMask::default(),
        };
        let (base, why) = match &mut s.mask {
            MaskRule::RegionComponent { base }
            | MaskRule::TwoRegions { base }
            | MaskRule::TwoRegionsBudget { base, .. } => (base, None),
            _ => (
                &mut usual,
                Some("Only where regions are parts of a threshold mask"),
            ),
        };
        idle(ui, why, |ui| {
            kind(
                ui,
                "Regions of",
                "The mask whose connected parts are the regions",
                base,
                &[
                    (BaseMask::default(), "Share of the attention"),
                    (BaseMask::Mean, "Patches above the mean"),
                ],
            );
        });
        let threshold = Threshold {
            field: Field::KeepMass,
            name: "Attention kept",
            help: "Fewest patches that hold this share of the attention; DINO uses 60 %",
            decimals: 0,
            unit: " %",
            scale: 100.0,
            usual: 0.6,
        };
        let why = Field::KeepMass
            .get(s)
            .is_none()
            .then_some("The rule for the mask keeps no share of the attention");
        self.threshold(ui, s, &threshold, why);
        let threshold = Threshold {
            field: Field::FirstShare,
            name: "First region",
            help: "Share of the area that the first region gets",
            decimals: 0,
            unit: " %",
            scale: 100.0,
            usual: 0.5,
        };
        let why = Field::FirstShare
            .get(s)
            .is_none()
            .then_some("Only for two regions of exact area");
        self.threshold(ui, s, &threshold, why);
    }

    /// A slider with its strip. The value is not touched unless it is moved: percent and back is not always the same.
    fn threshold(&self, ui: &mut Ui, s: &mut HeadSelection, t: &Threshold<'_>, why: Option<&str>) {
        let now = t.field.get(s);
        let unused = now
            .is_none()
            .then_some("The rules in use have no such threshold");
        let patches = self.look.map_or(64, |l| l.grid.grid.len());
        let range = t.field.range(s, patches);
        let range = range.start() * t.scale..=range.end() * t.scale;
        let shown = now.filter(|v| v.is_finite()).unwrap_or(t.usual) * t.scale;
        let mut value = shown;
        let picked = idle(ui, why.or(unused), |ui| {
            let slider = SliderRow {
                name: t.name,
                help: t.help,
                range: range.clone(),
                decimals: t.decimals,
                unit: t.unit,
            };
            let rail = slider.show(ui, &mut value);
            let strip = Strip {
                strips: self.strips,
                field: t.field,
                name: t.name,
                unit: t.unit,
                decimals: t.decimals,
                scale: t.scale,
                range,
            };
            strip.show(ui, rail, value)
        });
        let value = picked.unwrap_or(value);
        if value != shown
            && let Some(changed) = t.field.set(s, value / t.scale)
        {
            *s = changed;
        }
    }
}

/// Why heads need not be chosen.
fn why_no_heads(s: &HeadSelection) -> Option<&'static str> {
    (!s.needs_heads()).then_some(NO_HEADS)
}

/// Why the entropy of a head does not matter.
fn why_no_entropy(s: &HeadSelection) -> Option<&'static str> {
    why_no_heads(s).or(Field::EntropyC
        .get(s)
        .is_none()
        .then_some("Heads are neither chosen nor dropped by their entropy"))
}

fn base_of(rule: &MaskRule) -> Option<BaseMask> {
    match rule {
        MaskRule::RegionComponent { base }
        | MaskRule::TwoRegions { base }
        | MaskRule::TwoRegionsBudget { base, .. } => Some(*base),
        MaskRule::KeepMass(share) => Some(BaseMask::KeepMass(*share)),
        MaskRule::Mean => Some(BaseMask::Mean),
        MaskRule::TopN(_) | MaskRule::RegionBudget(_) => None,
    }
}

fn budget_of(rule: &MaskRule) -> Option<Budget> {
    match rule {
        MaskRule::TopN(budget)
        | MaskRule::RegionBudget(budget)
        | MaskRule::TwoRegionsBudget { budget, .. } => Some(*budget),
        MaskRule::Mean
        | MaskRule::KeepMass(_)
        | MaskRule::RegionComponent { .. }
        | MaskRule::TwoRegions { .. } => None,
    }
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
    fn a_rule_keeps_area_and_base_when_it_is_exchanged() {
        let budget = Budget::Patches(7);
        assert_eq!(budget_of(&MaskRule::TopN(budget)), Some(budget));
        assert_eq!(
            base_of(&MaskRule::KeepMass(0.3)),
            Some(BaseMask::KeepMass(0.3))
        );
        assert_eq!(budget_of(&MaskRule::Mean), None);
    }

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
