//! Every threshold from attention to mask, with the numbers that follow it.

use egui::{
    Align, ComboBox, DragValue, Layout, Rect, RichText, ScrollArea, Sense, Slider, SliderClamping,
    Ui, vec2,
};
use grounding::{
    Aggregate, BaseMask, BottomRow, Budget, Connectivity, DatasetMetrics, ElbowMode, ElbowPool,
    EntropyTotal, EntropyWeight, Floor, FrequencyTie, HeadId, HeadSelection, MaskRule, NoComponent,
    PRESETS, QuerySelector, SinkRule, Split, SumSource, Tie,
};
use std::ops::RangeInclusive;

use super::attention::{query_name, selector_of};
use super::{Pane, PaneContext, PaneKind};
use crate::command::Command;
use crate::ground;
use crate::inspector::{Look, LookState, Report};
use crate::paint::format_value;
use crate::theme::{self, SPACE};
use crate::widgets::{command_button, empty_state, section};
use grounding::analysis::Field;

/// Width of the names left of the controls, in points.
const NAME: f32 = 33.0 * SPACE;
/// Width of the numbers right of the sliders.
const VALUE: f32 = 16.0 * SPACE;
/// Height of the strip under a slider.
const STRIP: f32 = 6.0 * SPACE;

/// Every field of the head selection.
#[derive(Default)]
pub struct Tuning {}

impl Pane for Tuning {
    fn title(&self) -> &str {
        PaneKind::Tuning.title()
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PaneContext<'_>) {
        if !context.state.has_source() {
            empty_state(
                ui,
                context,
                "Nothing to tune yet",
                "Thresholds turn attention into a mask. Open a training run or a capture, and every slider here moves mask, \
                 box and numbers at once.",
                &[Command::OpenDemo, Command::OpenRun, Command::OpenCapture],
            );
            return;
        }
        numbers_ui(ui, context);
        ui.separator();
        let (state, inspector) = (context.state, context.inspector);
        let mut selection = state.settings.selection.clone();
        ScrollArea::vertical()
            .id_salt("thresholds")
            .auto_shrink([false, false])
            .show(ui, |ui| {
                // The floating scroll bar must not lie on the numbers.
                ui.set_max_width(ui.available_width() - 2.0 * SPACE);
                let form = Form {
                    look: inspector.look().map(|l| &**l),
                    report: inspector.report().map(|r| &**r),
                };
                form.preset(ui, &mut selection);
                form.query(ui, &mut selection);
                form.elbow(ui, &mut selection);
                form.entropy(ui, &mut selection);
                form.filters(ui, &mut selection);
                form.vote(ui, &mut selection);
                form.map(ui, &mut selection);
                form.mask(ui, &mut selection);
                ui.add_space(2.0 * SPACE);
                command_button(ui, context, &Command::ResetSelection);
                ui.add_space(2.0 * SPACE);
            });
        if selection != state.settings.selection {
            context.send(Command::SetSelection(Box::new(selection)));
        }
    }
}

/// A small table: a name at the left of every row, numbers right-aligned in columns.
pub(super) struct Table {
    name: f32,
    columns: Vec<f32>,
}

impl Table {
    /// Names take `name` points; the rest is shared by the columns in proportion to their `weights`, up to `widest` each.
    pub(super) fn new(ui: &Ui, name: f32, weights: &[f32], widest: f32) -> Self {
        let gaps = weights.len() as f32 * ui.spacing().item_spacing.x;
        let room = (ui.available_width() - name - gaps).max(0.0);
        let total: f32 = weights.iter().sum();
        let columns = weights
            .iter()
            .map(|weight| (room * weight / total).min(widest * weight).floor())
            .collect();
        Self { name, columns }
    }

    /// One row; every cell has a text and what its tooltip says, if anything.
    pub(super) fn row(
        &self,
        ui: &mut Ui,
        name: RichText,
        help: &str,
        cells: impl IntoIterator<Item = (RichText, String)>,
    ) {
        let height = ui.text_style_height(&egui::TextStyle::Body) + SPACE;
        let cell = |ui: &mut Ui, width: f32, layout: Layout, text: RichText, hover: &str| {
            ui.allocate_ui_with_layout(vec2(width, height), layout, |ui| {
                ui.set_min_width(width);
                let response = ui.add(egui::Label::new(text).truncate());
                if !hover.is_empty() {
                    response.on_hover_text(hover);
                }
            });
        };
        ui.horizontal(|ui| {
            let (left, right) = (
                Layout::left_to_right(Align::Center),
                Layout::right_to_left(Align::Center),
            );
            cell(ui, self.name, left, name, help);
            for (width, (text, hover)) in self.columns.iter().zip(cells) {
                cell(ui, *width, right, text, &hover);
            }
        });
    }
}

/// Whether the brightest patch is where it should be, in a word and a colour.
pub(super) fn hit_text(hit: bool, tokens: &theme::Tokens) -> RichText {
    if hit {
        RichText::new("hit").color(tokens.good)
    } else {
        RichText::new("miss").color(tokens.bad)
    }
}

/// The shown frame, the tuning split and the held-out split, in one table.
fn numbers_ui(ui: &mut Ui, context: &mut PaneContext<'_>) {
    let inspector = context.inspector;
    let look = inspector.look().map(|l| &**l);
    let report = inspector.report().map(|r| &**r);
    let tokens = theme::tokens(ui);
    let small = |text: &str| RichText::new(text).small().color(tokens.text_weak);
    let number = |text: String, color| RichText::new(text).monospace().color(color);
    let columns = [
        (
            "IoU",
            "Intersection over union of mask and reference box; patches count by the share of their area inside the box",
        ),
        (
            "Box IoU",
            "This frame: IoU of the mask's box with the reference box. Splits: share of frames where it is at least 0.5",
        ),
        (
            "Hit",
            "Whether the brightest patch lies in the reference box (pointing game)",
        ),
        ("± 1", "Hit with the box grown by one patch on every side"),
    ];
    // The first column also holds a standard error, where there is room.
    let has_room = ui.available_width() >= 68.0 * SPACE;
    let weights = if has_room {
        [1.9, 1.0, 0.85, 0.85]
    } else {
        [1.0, 1.1, 1.0, 1.0]
    };
    let table = Table::new(ui, 20.0 * SPACE, &weights, 20.0 * SPACE);
    let nothing = |hover: &str| vec![(small("–"), hover.to_owned()); columns.len()];

    let source = report
        .and_then(|r| r.source)
        .or(look.and_then(|l| l.metrics).map(|(_, s)| s));
    let against = source.map_or("no reference", |s| s.label());
    let headings = columns.map(|(name, help)| (small(name), help.to_owned()));
    table.row(
        ui,
        small(against),
        "What the numbers are measured against",
        headings,
    );

    let frame = match look.and_then(|l| l.metrics) {
        Some((m, _)) => vec![
            (
                number(format!("{:.2}", m.mask_iou), tokens.text),
                String::new(),
            ),
            (
                number(format!("{:.2}", m.box_iou), tokens.text),
                String::new(),
            ),
            (hit_text(m.pointing, tokens), String::new()),
            (hit_text(m.pointing_slack, tokens), String::new()),
        ],
        None => nothing("No reference box on this frame"),
    };
    table.row(
        ui,
        RichText::new("This frame"),
        "The frame under the cursor",
        frame,
    );

    let behind = inspector.report_is_behind();
    let color = if behind {
        tokens.text_weak
    } else {
        tokens.text
    };
    for (split, metrics) in [
        (Split::Tune, report.and_then(|r| r.evaluation.tune)),
        (Split::HeldOut, report.and_then(|r| r.evaluation.held_out)),
    ] {
        let metrics = metrics.map(|summary| summary.metrics);
        let audit = audit_text(context, split, metrics.as_ref());
        let cells = match metrics {
            Some(m) => {
                let sem = if has_room {
                    ground::sem_text(&m, 2)
                } else {
                    String::new()
                };
                [
                    format!("{:.2}{sem}", m.mean_iou),
                    percent(m.box_recall),
                    percent(m.pointing),
                    percent(m.pointing_slack),
                ]
                .map(|text| (number(text, color), audit.clone()))
                .to_vec()
            }
            None => nothing(&audit),
        };
        table.row(ui, RichText::new(split.label()), &audit, cells);
    }
    status_ui(ui, context);
}

fn percent(share: f64) -> String {
    if share.is_finite() {
        format!("{:.0} %", share * 100.0)
    } else {
        "–".to_owned()
    }
}

/// Where a number comes from.
fn audit_text(context: &PaneContext<'_>, split: Split, metrics: Option<&DatasetMetrics>) -> String {
    let model = match (
        context.state.source.checkpoint(),
        context.state.source.training_step(),
    ) {
        (Some(path), _) => path.display().to_string(),
        (None, _) => "the capture file".to_owned(),
    };
    let Some(metrics) = metrics else {
        return match context.inspector.report() {
            Some(_) => format!(
                "{}: no frame has a reference box. Open a box file, or use data with exact masks",
                split.label()
            ),
            None => format!(
                "{}: measured as soon as a model and a dataset are open",
                split.label()
            ),
        };
    };
    let what = match split {
        Split::Tune => "heads are chosen on these frames, so this is no result",
        Split::HeldOut => "episodes that no head was chosen on",
    };
    let empty = if metrics.empty > 0 {
        format!(", {} without a mask (misses)", metrics.empty)
    } else {
        String::new()
    };
    let overlap = format!(
        "IoU {:.3}{}, cumulative IoU {:.2}, mass inside {}, lift {:.1}",
        metrics.mean_iou,
        ground::sem_text(metrics, 3),
        metrics.overall_iou,
        percent(metrics.mass_inside),
        metrics.lift
    );
    format!(
        "{}: {} frames{empty}; {what}.\n{overlap}\nModel: {model}",
        split.label(),
        metrics.frames
    )
}

/// Which heads, chosen on what, and what is still going on.
fn status_ui(ui: &mut Ui, context: &mut PaneContext<'_>) {
    let inspector = context.inspector;
    let tokens = theme::tokens(ui);
    let line = |ui: &mut Ui, text: String, color| {
        let hover = text.clone();
        ui.add(egui::Label::new(RichText::new(text).small().color(color)).truncate())
            .on_hover_text(hover)
    };
    let Some(look) = inspector.look() else {
        if let LookState::Failed(reason) = inspector.look_state() {
            line(ui, reason.to_string(), tokens.warn);
        }
        return;
    };
    if let Err(reason) = &look.gaze {
        line(ui, reason.to_string(), tokens.warn);
    } else {
        let names: Vec<String> = look.heads.iter().map(|h| look.head_name(*h)).collect();
        let on = look.heads_from.text();
        line(
            ui,
            format!("{} chosen on {on}", names.join(", ")),
            tokens.text_weak,
        );
    }
    let candidates = inspector.report().and_then(|r| {
        let counts = r.evaluation.candidates();
        counts
            .keys()
            .copied()
            .min()
            .zip(counts.keys().copied().max())
    });
    ui.horizontal(|ui| {
        if let Some((fewest, most)) = candidates {
            let text = if fewest == most {
                format!("{most} candidate heads a frame")
            } else {
                format!("{fewest} to {most} candidate heads a frame")
            };
            if fewest < look.inputs.selection.k {
                line(ui, format!("{text}; try a manual τ"), tokens.warn).on_hover_text(
                    "Some frames have fewer candidates than heads are wanted. The elbow is fragile on small models: \
                     a manual threshold, or none, is steadier",
                );
            } else {
                line(ui, text, tokens.text_weak);
            }
        } else if inspector.survey().is_none()
            && ui
                .link(RichText::new("Measure the dataset").small())
                .clicked()
        {
            inspector.measure_again();
        }
    });
}

/// Draws the rows. What it reads besides the selection only explains: found thresholds, strips, token names.
struct Form<'a> {
    look: Option<&'a Look>,
    report: Option<&'a Report>,
}

impl Form<'_> {
    fn preset(&self, ui: &mut Ui, s: &mut HeadSelection) {
        // A preset is about choosing heads; which token looks, and how the mask is cut, stay as they are.
        let with_preset = |name: &str, s: &HeadSelection| {
            HeadSelection::preset(name)
                .ok()
                .map(|preset| HeadSelection {
                    query: s.query.clone(),
                    aggregate: s.aggregate,
                    smoothing: s.smoothing,
                    mask: s.mask,
                    dilate: s.dilate,
                    ..preset
                })
        };
        let current = PRESETS
            .into_iter()
            .find(|name| with_preset(name, s).as_ref() == Some(s));
        let mut chosen = None;
        choice(
            ui,
            "Preset",
            "Named sets of rules for choosing heads; token, map and mask stay as they are",
            current.map_or("Custom", preset_name),
            |ui| {
                for name in PRESETS {
                    if ui
                        .selectable_label(current == Some(name), preset_name(name))
                        .clicked()
                    {
                        chosen = with_preset(name, s);
                    }
                }
            },
        );
        if let Some(preset) = chosen {
            *s = preset;
        }
    }

    fn query(&self, ui: &mut Ui, s: &mut HeadSelection) {
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
    }

    fn elbow(&self, ui: &mut Ui, s: &mut HeadSelection) {
        section(ui, "Attention to the image");
        let found = self
            .look
            .and_then(|l| l.scores.as_deref().ok())
            .map(|scores| scores.tau);
        let typical = self.report.and_then(|r| r.evaluation.tau).or(found);
        let manual = matches!(s.elbow.mode, ElbowMode::Manual(_));
        let mode_name = match s.elbow.mode {
            ElbowMode::Value => "Elbow of the sums",
            ElbowMode::Index => "Elbow by position (defect)",
            ElbowMode::None => "None: keep every head",
            ElbowMode::Manual(_) => "Manual threshold",
        };
        choice(
            ui,
            "Threshold τ",
            "Criterion 1: a head must give at least τ of its attention to the image",
            mode_name,
            |ui| {
                ui.selectable_value(&mut s.elbow.mode, ElbowMode::Value, "Elbow of the sums");
                if ui.selectable_label(manual, "Manual threshold").clicked() && !manual {
                    s.elbow.mode = ElbowMode::Manual(typical.unwrap_or(0.5));
                }
                ui.selectable_value(&mut s.elbow.mode, ElbowMode::None, "None: keep every head");
                ui.selectable_value(
                    &mut s.elbow.mode,
                    ElbowMode::Index,
                    "Elbow by position (defect)",
                );
            },
        );
        let most = self
            .look
            .and_then(|l| l.scores.as_deref().ok())
            .map_or(1.0, |scores| {
                scores
                    .heads
                    .iter()
                    .map(|h| h.sum)
                    .fold(0.0, f64::max)
                    .max(0.01)
            });
        let mut tau = match s.elbow.mode {
            ElbowMode::Manual(tau) => tau,
            ElbowMode::None => 0.0,
            ElbowMode::Value | ElbowMode::Index => typical.unwrap_or(0.0),
        };
        let before = tau;
        Row {
            name: "τ",
            help: "Dragging sets a manual threshold; the elbow's own value is shown otherwise",
            range: 0.0..=most,
            decimals: 3,
            unit: "",
        }
        .show(ui, &mut tau, Some((self.report, Field::Tau)));
        if tau != before {
            s.elbow.mode = ElbowMode::Manual(tau);
        }
        let pool = |pool| match pool {
            ElbowPool::Eligible => "Eligible heads",
            ElbowPool::All => "All heads, as published",
        };
        choice(
            ui,
            "Elbow among",
            "Which heads the elbow is sought among: a head that cannot be chosen should not set the threshold",
            pool(s.elbow.over),
            |ui| {
                for option in [ElbowPool::Eligible, ElbowPool::All] {
                    ui.selectable_value(&mut s.elbow.over, option, pool(option));
                }
            },
        );
        let mut automatic = s.elbow.exclude_layers.is_none();
        let layers = self.look.map_or(4, |l| {
            l.inputs
                .capture
                .layers
                .last()
                .map_or(0, |n| *n as usize + 1)
        });
        let standard = if layers > 4 { 2 } else { 0 };
        row(
            ui,
            "Skip first layers",
            "Early layers look broadly at everything. Automatic skips 2 in models of more than 4 layers",
            |ui, label| {
                ui.checkbox(&mut automatic, "automatic");
                let mut skipped = s.elbow.exclude_layers.unwrap_or(standard);
                let value = ui.add_enabled(
                    !automatic,
                    DragValue::new(&mut skipped).range(0..=layers).speed(0.05),
                );
                value.labelled_by(label);
                s.elbow.exclude_layers = (!automatic).then_some(skipped);
            },
        );
    }

    fn entropy(&self, ui: &mut Ui, s: &mut HeadSelection) {
        section(ui, "Spatial entropy");
        let e = &mut s.entropy;
        row(
            ui,
            "Largest entropy",
            "Heads above this entropy are dropped. One region has entropy 0, two equal ones 0.69 nat",
            |ui, label| {
                let mut limited = e.max.is_some();
                ui.checkbox(&mut limited, "limit");
                let mut max = e.max.unwrap_or(std::f64::consts::LN_2);
                let value = DragValue::new(&mut max)
                    .range(0.0..=6.0)
                    .speed(0.01)
                    .fixed_decimals(2)
                    .suffix(" nat");
                ui.add_enabled(limited, value).labelled_by(label);
                e.max = limited.then_some(max);
            },
        );
        Row {
            name: "Mean factor c",
            help: "Multiple of the mean that is subtracted before regions are sought",
            range: 0.0..=4.0,
            decimals: 2,
            unit: "",
        }
        .show(ui, &mut e.c, None);
        let relative = matches!(e.floor, Floor::Rel(_));
        choice(
            ui,
            "Floor",
            "How far above the mean a patch must be to belong to a region",
            if relative {
                "Relative to 1 / patches"
            } else {
                "Absolute"
            },
            |ui| {
                if ui
                    .selectable_label(relative, "Relative to 1 / patches")
                    .clicked()
                    && !relative
                {
                    e.floor = Floor::Rel(0.576);
                }
                if ui.selectable_label(!relative, "Absolute").clicked() && relative {
                    e.floor = Floor::Abs(0.001);
                }
            },
        );
        match &mut e.floor {
            Floor::Rel(floor) => Row { name: "Floor value", help: "Times 1 / number of patches; 0.576 equals the published 0.001 on its own 24 × 24 grid", range: 0.0..=4.0, decimals: 3, unit: "" }.show(ui, floor, None),
            Floor::Abs(floor) => Row { name: "Floor value", help: "Used as it is; published: 0.001", range: 0.0..=0.02, decimals: 4, unit: "" }.show(ui, floor, None),
        }
        pair(
            ui,
            "Neighbours",
            "Which patches touch",
            &mut e.connectivity,
            [
                (Connectivity::Eight, "Edges and corners"),
                (Connectivity::Four, "Edges only"),
            ],
        );
        pair(
            ui,
            "A region weighs",
            "What a region counts for in the entropy",
            &mut e.weight,
            [
                (EntropyWeight::Mass, "Its attention"),
                (EntropyWeight::Pixels, "Its patches (paper)"),
            ],
        );
        pair(
            ui,
            "Divided by",
            "What the weights are shares of",
            &mut e.total,
            [
                (EntropyTotal::Kept, "Mass in regions"),
                (EntropyTotal::Positive, "Mass above the mean (published)"),
            ],
        );
        pair(
            ui,
            "No region",
            "Entropy of a map in which nothing stands out",
            &mut e.no_component,
            [
                (NoComponent::Inf, "Never selected"),
                (NoComponent::Zero, "Ranked best (published)"),
            ],
        );
        ui.horizontal(|ui| {
            name_cell(ui, "", "");
            ui.checkbox(&mut e.normalise, "Normalise first")
                .on_hover_text(
                    "Divide the map by its sum, so that attention given to text does not matter",
                );
        });
    }

    fn filters(&self, ui: &mut Ui, s: &mut HeadSelection) {
        section(ui, "Filters");
        let rule = match s.bottom_row {
            BottomRow::Off => "Off",
            BottomRow::Share(_) => "Share of the map",
            BottomRow::Abs(_) => "Absolute (published)",
            BottomRow::ComponentFull => "Whole row in a region",
        };
        choice(
            ui,
            "Bottom row",
            "Drops heads that look at the bottom edge. Switch off for two cameras stacked in one picture",
            rule,
            |ui| {
                for (option, name) in [
                    (BottomRow::Off, "Off"),
                    (BottomRow::Share(28.8), "Share of the map"),
                    (BottomRow::Abs(0.05), "Absolute (published)"),
                    (BottomRow::ComponentFull, "Whole row in a region"),
                ] {
                    let same =
                        std::mem::discriminant(&s.bottom_row) == std::mem::discriminant(&option);
                    if ui.selectable_label(same, name).clicked() && !same {
                        s.bottom_row = option;
                    }
                }
            },
        );
        match &mut s.bottom_row {
            BottomRow::Share(t) => Row { name: "Bottom threshold", help: "Times the map's sum / number of patches; 28.8 equals the published 0.05 on its own 24 × 24 grid", range: 0.0..=64.0, decimals: 1, unit: "" }.show(ui, t, None),
            BottomRow::Abs(t) => Row { name: "Bottom threshold", help: "Largest weight allowed in the bottom row; published: 0.05", range: 0.0..=0.5, decimals: 3, unit: "" }.show(ui, t, None),
            BottomRow::Off | BottomRow::ComponentFull => {}
        }
        let known = self.look.is_none_or(|l| l.maps.sinks.is_some());
        ui.horizontal(|ui| {
            name_cell(
                ui,
                "Sink tokens",
                "Tokens that draw attention without meaning",
            );
            // A filter that is on must stay reachable, or it could not be switched off.
            let possible = known || s.sinks.apply;
            ui.add_enabled(possible, egui::Checkbox::new(&mut s.sinks.apply, "Remove"))
                .on_hover_text("Attention to sink patches is removed before entropy and heat map")
                .on_disabled_hover_text("This capture does not say which tokens are sinks");
            ui.add_enabled(
                s.sinks.apply,
                egui::Checkbox::new(&mut s.sinks.renormalise, "Keep the sum"),
            )
            .on_hover_text("Scale the rest of the map up, so that it keeps its sum");
        });
        if s.sinks.apply {
            pair(
                ui,
                "τ compares",
                "Which sum criterion 1 uses",
                &mut s.sinks.sum_source,
                [
                    (SumSource::Raw, "Sum with sinks"),
                    (SumSource::Filtered, "Sum without sinks"),
                ],
            );
            let relative = matches!(s.sinks.rule, SinkRule::Relative(_));
            choice(
                ui,
                "Sink rule",
                "Threshold on the largest normalised hidden value of a token",
                if relative {
                    "Relative to √width"
                } else {
                    "Absolute (published)"
                },
                |ui| {
                    if ui
                        .selectable_label(relative, "Relative to √width")
                        .clicked()
                        && !relative
                    {
                        s.sinks.rule = SinkRule::Relative(0.31);
                    }
                    if ui
                        .selectable_label(!relative, "Absolute (published)")
                        .clicked()
                        && relative
                    {
                        s.sinks.rule = SinkRule::Absolute(20.0);
                    }
                },
            );
            match &mut s.sinks.rule {
                SinkRule::Relative(t) => Row {
                    name: "Sink threshold",
                    help: "0.31 equals the published 20 at width 4096",
                    range: 0.0..=1.0,
                    decimals: 2,
                    unit: "",
                }
                .show(ui, t, None),
                SinkRule::Absolute(t) => Row {
                    name: "Sink threshold",
                    help: "Can never fire when above the square root of the model's width",
                    range: 0.0..=64.0,
                    decimals: 1,
                    unit: "",
                }
                .show(ui, t, None),
            }
        }
    }

    fn vote(&self, ui: &mut Ui, s: &mut HeadSelection) {
        section(ui, "Heads");
        let most = self
            .look
            .map_or(32, |l| l.maps.n_layers * l.maps.n_heads)
            .max(1);
        // The strip tries up to 16 heads, and nobody wants hundreds.
        Row {
            name: "Heads k",
            help: "How many heads are kept after the vote over the tuning frames",
            range: 1.0..=most.min(16) as f64,
            decimals: 0,
            unit: "",
        }
        .integer(ui, &mut s.k, Some((self.report, Field::K)));
        Row {
            name: "Candidates",
            help: "Lowest-entropy heads that each frame votes for; the paper uses 10, its code 5",
            range: 1.0..=most.min(64) as f64,
            decimals: 0,
            unit: "",
        }
        .integer(ui, &mut s.candidates, None);
        pair(
            ui,
            "Equal entropy",
            "Order of heads of equal entropy within one frame",
            &mut s.tie,
            [
                (Tie::Index, "Earlier layer first"),
                (Tie::Sum, "More attention first"),
            ],
        );
        pair(
            ui,
            "Equal votes",
            "Order of heads with equally many votes; use ranks below some hundred frames",
            &mut s.freq_tie,
            [
                (FrequencyTie::Index, "Earlier layer first"),
                (FrequencyTie::RankSum, "Better ranks first"),
            ],
        );
        self.tie_hint(ui, s);
    }

    /// Says when the votes are too few to tell heads apart.
    fn tie_hint(&self, ui: &mut Ui, s: &HeadSelection) {
        /// Below this many frames, many heads have equally many votes.
        const FEW: usize = 100;
        let frames = self.report.map_or(0, Report::tuning_frames);
        if (1..FEW).contains(&frames) && s.freq_tie == FrequencyTie::Index {
            ui.horizontal(|ui| {
                name_cell(ui, "", "");
                let text = format!("With {frames} frames this favours early layers");
                ui.label(RichText::new(text).small().color(theme::tokens(ui).warn));
            });
        }
    }

    fn map(&self, ui: &mut Ui, s: &mut HeadSelection) {
        section(ui, "Heat map");
        let head = self
            .look
            .and_then(|l| l.heads.first().copied())
            .unwrap_or(HeadId { layer: 0, head: 0 });
        let options = [
            (Aggregate::Selected { normalise: false }, "Selected heads"),
            (Aggregate::Head(head), "One head"),
            (Aggregate::Naive, "Mean of all heads"),
            (Aggregate::NaiveSinkFiltered, "Mean without sinks"),
            (Aggregate::MeanSubtracted, "Mean minus token mean"),
            (
                Aggregate::Relative { layer: None },
                "Relative to a generic prompt",
            ),
        ];
        let same =
            |a: &Aggregate, b: &Aggregate| std::mem::discriminant(a) == std::mem::discriminant(b);
        let name = options
            .iter()
            .find(|(o, _)| same(o, &s.aggregate))
            .map_or("", |(_, name)| *name);
        choice(
            ui,
            "Made of",
            "What the heat map is made of, from which the mask is cut",
            name,
            |ui| {
                for (option, name) in options {
                    if ui
                        .selectable_label(same(&option, &s.aggregate), name)
                        .clicked()
                        && !same(&option, &s.aggregate)
                    {
                        s.aggregate = option;
                    }
                }
            },
        );
        match &mut s.aggregate {
            Aggregate::Selected { normalise } => {
                ui.horizontal(|ui| {
                    name_cell(ui, "", "");
                    ui.checkbox(normalise, "Equal weight per head")
                        .on_hover_text("Divide every head map by its sum before they are added");
                });
            }
            Aggregate::Head(id) => {
                let (layers, heads) = self
                    .look
                    .map_or((1, 1), |l| (l.maps.n_layers.max(1), l.maps.n_heads.max(1)));
                row(
                    ui,
                    "Layer and head",
                    "Position in the capture, from 0",
                    |ui, label| {
                        ui.add(
                            DragValue::new(&mut id.layer)
                                .range(0..=layers - 1)
                                .speed(0.05)
                                .prefix("L"),
                        )
                        .labelled_by(label);
                        ui.add(
                            DragValue::new(&mut id.head)
                                .range(0..=heads - 1)
                                .speed(0.05)
                                .prefix("H"),
                        )
                        .labelled_by(label);
                    },
                );
            }
            Aggregate::Naive
            | Aggregate::NaiveSinkFiltered
            | Aggregate::MeanSubtracted
            | Aggregate::Relative { .. } => {}
        }
        Row {
            name: "Smoothing σ",
            help: "Standard deviation of the Gaussian over patches; 0 is off",
            range: 0.0..=3.0,
            decimals: 2,
            unit: "",
        }
        .show(
            ui,
            &mut s.smoothing.sigma,
            Some((self.report, Field::Sigma)),
        );
        Row {
            name: "Cut off at",
            help: "Radius of the Gaussian in σ: 4 gives 9 taps at σ = 1, 3 gives the paper's 7",
            range: 1.0..=6.0,
            decimals: 1,
            unit: " σ",
        }
        .show(ui, &mut s.smoothing.truncate, None);
    }

    fn mask(&self, ui: &mut Ui, s: &mut HeadSelection) {
        section(ui, "Mask");
        let base = base_of(&s.mask).unwrap_or_default();
        let budget = budget_of(&s.mask).unwrap_or_default();
        let options = [
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
            (MaskRule::KeepMass(0.6), "Share of the attention"),
            (MaskRule::Mean, "Above the mean (published)"),
        ];
        let same =
            |a: &MaskRule, b: &MaskRule| std::mem::discriminant(a) == std::mem::discriminant(b);
        let name = options
            .iter()
            .find(|(o, _)| same(o, &s.mask))
            .map_or("", |(_, name)| *name);
        choice(
            ui,
            "Rule",
            "How the heat map becomes a mask. Training arms use exact areas, so that they differ in place only",
            name,
            |ui| {
                for (option, name) in options {
                    if ui.selectable_label(same(&option, &s.mask), name).clicked()
                        && !same(&option, &s.mask)
                    {
                        s.mask = option;
                    }
                }
            },
        );
        match &mut s.mask {
            MaskRule::Mean => {}
            MaskRule::KeepMass(share) => keep_mass_row(ui, share),
            MaskRule::TopN(budget) | MaskRule::RegionBudget(budget) => self.budget(ui, budget),
            MaskRule::RegionComponent { base } | MaskRule::TwoRegions { base } => {
                base_rows(ui, base)
            }
            MaskRule::TwoRegionsBudget {
                base,
                budget,
                share1,
            } => {
                self.budget(ui, budget);
                let row = Row {
                    name: "First region",
                    help: "Share of the area that the first region gets",
                    range: 5.0..=95.0,
                    decimals: 0,
                    unit: " %",
                };
                row.share(ui, share1, None);
                base_rows(ui, base);
            }
        }
        Row {
            name: "Dilate",
            help: "Rounds of 3 × 3 dilation; the area is no longer exact when this is not 0",
            range: 0.0..=4.0,
            decimals: 0,
            unit: "",
        }
        .integer(ui, &mut s.dilate, None);
    }

    /// The area of a mask, in patches or as a share of the grid.
    fn budget(&self, ui: &mut Ui, budget: &mut Budget) {
        let grid = self.look.map(|l| l.grid.grid);
        let patches = grid.map_or(64, |g| g.len());
        let by_share = matches!(budget, Budget::Share(_));
        choice(
            ui,
            "Area in",
            "Whether the area is a share of the grid or a number of patches",
            if by_share {
                "Share of the grid"
            } else {
                "Patches"
            },
            |ui| {
                if ui.selectable_label(by_share, "Share of the grid").clicked()
                    && let Budget::Patches(n) = *budget
                {
                    *budget = Budget::Share((n as f64 / patches as f64).clamp(0.01, 1.0));
                }
                if ui.selectable_label(!by_share, "Patches").clicked()
                    && let (Budget::Share(_), Some(grid)) = (*budget, grid)
                {
                    *budget = Budget::Patches(budget.patches(grid).unwrap_or(1).clamp(1, patches));
                }
            },
        );
        match budget {
            Budget::Share(share) => {
                Row {
                    name: "Area",
                    help: "Share of all patches in the mask, rounded up",
                    range: 2.0..=50.0,
                    decimals: 0,
                    unit: " %",
                }
                .share(ui, share, Some((self.report, Field::Area)));
            }
            Budget::Patches(n) => Row {
                name: "Area",
                help: "Exact number of patches in the mask",
                range: 1.0..=patches as f64,
                decimals: 0,
                unit: " patches",
            }
            .integer(ui, n, None),
        }
    }
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

fn base_rows(ui: &mut Ui, base: &mut BaseMask) {
    let keeps = matches!(base, BaseMask::KeepMass(_));
    choice(
        ui,
        "Regions of",
        "The mask whose connected parts are the regions",
        if keeps {
            "Share of the attention"
        } else {
            "Patches above the mean"
        },
        |ui| {
            if ui
                .selectable_label(keeps, "Share of the attention")
                .clicked()
                && !keeps
            {
                *base = BaseMask::default();
            }
            if ui
                .selectable_label(!keeps, "Patches above the mean")
                .clicked()
                && keeps
            {
                *base = BaseMask::Mean;
            }
        },
    );
    if let BaseMask::KeepMass(share) = base {
        keep_mass_row(ui, share);
    }
}

fn keep_mass_row(ui: &mut Ui, share: &mut f64) {
    Row {
        name: "Attention kept",
        help: "Fewest patches that hold this share of the attention; DINO uses 60 %",
        range: 1.0..=100.0,
        decimals: 0,
        unit: " %",
    }
    .share(ui, share, None);
}

fn preset_name(name: &str) -> &str {
    match name {
        "default" => "Default",
        "paper" => "Paper",
        "published_june" => "Published code, June",
        "published_august" => "Published code, August",
        "sink_filtered" => "Sinks removed",
        "robust" => "Robust (few frames)",
        "elbow_all" => "Elbow over all heads",
        other => other,
    }
}

/// The name of a row, with its help; gives back the id that labels the control.
fn name_cell(ui: &mut Ui, name: &str, help: &str) -> egui::Id {
    ui.allocate_ui_with_layout(
        vec2(NAME, ui.spacing().interact_size.y),
        Layout::left_to_right(Align::Center),
        |ui| {
            ui.set_min_width(NAME);
            let label = ui.add(egui::Label::new(name).truncate());
            let id = label.id;
            if !help.is_empty() {
                label.on_hover_text(help);
            }
            id
        },
    )
    .inner
}

/// A row with a name and controls of any kind, which are given the id of their label.
fn row(ui: &mut Ui, name: &str, help: &str, controls: impl FnOnce(&mut Ui, egui::Id)) {
    ui.horizontal(|ui| {
        let label = name_cell(ui, name, help);
        controls(ui, label);
    });
}

/// A row with a list to choose from.
fn choice(ui: &mut Ui, name: &str, help: &str, selected: &str, options: impl FnOnce(&mut Ui)) {
    row(ui, name, help, |ui, label| {
        let width = ui.available_width();
        let combo = ComboBox::from_id_salt(name)
            .width(width)
            .truncate()
            .selected_text(selected);
        combo
            .show_ui(ui, options)
            .response
            .labelled_by(label)
            .on_hover_text(help);
    });
}

/// A row with two values to choose from.
fn pair<T: PartialEq + Copy>(
    ui: &mut Ui,
    name: &str,
    help: &str,
    value: &mut T,
    options: [(T, &str); 2],
) {
    let shown = options
        .iter()
        .find(|(o, _)| o == value)
        .map_or("", |(_, name)| *name);
    choice(ui, name, help, shown, |ui| {
        for (option, name) in options {
            ui.selectable_value(value, option, name);
        }
    });
}

/// A row with a slider and its number.
struct Row<'a> {
    name: &'a str,
    help: &'a str,
    range: RangeInclusive<f64>,
    decimals: usize,
    unit: &'a str,
}

impl Row<'_> {
    /// Shows the row, with a strip of IoU against the value where there is one. A value out of the slider's range, from a
    /// file, stays what it is until it is moved.
    fn show(&self, ui: &mut Ui, value: &mut f64, strip: Option<(Option<&Report>, Field)>) {
        self.show_scaled(ui, value, strip, 1.0);
    }

    /// The same where the row shows `scale` times what the strip was computed for.
    fn show_scaled(
        &self,
        ui: &mut Ui,
        value: &mut f64,
        strip: Option<(Option<&Report>, Field)>,
        scale: f64,
    ) {
        let rail = ui
            .horizontal(|ui| {
                let label = name_cell(ui, self.name, self.help);
                let spacing = ui.spacing().item_spacing.x;
                ui.spacing_mut().slider_width =
                    (ui.available_width() - VALUE - spacing).max(15.0 * SPACE);
                let step = if self.decimals == 0 { 1.0 } else { 0.0 };
                let slider = Slider::new(value, self.range.clone())
                    .show_value(false)
                    .step_by(step)
                    .clamping(SliderClamping::Edits);
                let slider = ui.add(slider).labelled_by(label);
                let speed = (self.range.end() - self.range.start()) / 200.0;
                let number = DragValue::new(value)
                    .range(self.range.clone())
                    .clamp_existing_to_range(false)
                    .speed(speed)
                    .fixed_decimals(self.decimals)
                    .suffix(self.unit);
                ui.add_sized(
                    vec2(ui.available_width(), ui.spacing().interact_size.y),
                    number,
                )
                .labelled_by(label);
                slider.rect
            })
            .inner;
        if let Some((report, field)) = strip {
            strip_ui(ui, rail, report, field, *value, &self.range, scale);
        }
    }

    /// A share from 0 to 1, shown in percent. Not touched unless it is moved: percent and back is not always the same.
    fn share(&self, ui: &mut Ui, share: &mut f64, strip: Option<(Option<&Report>, Field)>) {
        let shown = *share * 100.0;
        let mut percent = shown;
        self.show_scaled(ui, &mut percent, strip, 100.0);
        if percent != shown {
            *share = percent / 100.0;
        }
    }

    fn integer(&self, ui: &mut Ui, value: &mut usize, strip: Option<(Option<&Report>, Field)>) {
        let mut number = *value as f64;
        self.show(ui, &mut number, strip);
        *value = number.round().max(0.0) as usize;
    }
}

/// IoU on the tuning split against the value of the slider above, on the slider's own axis. Its room is always kept, so
/// that nothing moves when it arrives.
fn strip_ui(
    ui: &mut Ui,
    rail: Rect,
    report: Option<&Report>,
    field: Field,
    value: f64,
    range: &RangeInclusive<f64>,
    scale: f64,
) {
    let (row, response) = ui.allocate_exact_size(vec2(ui.available_width(), STRIP), Sense::hover());
    let Some(curve) = report
        .and_then(|r| r.curve(field))
        .filter(|c| c.points.len() > 1)
    else {
        return;
    };
    let points: Vec<[f64; 2]> = curve.points.iter().map(|p| [p.value, p.mean_iou]).collect();
    let tokens = theme::tokens(ui);
    // The rail ends half a handle before the slider's rectangle does.
    let inset = ui.spacing().interact_size.y / 2.5;
    let area = Rect::from_x_y_ranges(rail.x_range().shrink(inset), row.y_range().shrink(2.0));
    let best = points
        .iter()
        .fold([0.0, 0.0], |best, p| if p[1] > best[1] { *p } else { best });
    let x = |v: f64| {
        let share = (v * scale - range.start()) / (range.end() - range.start());
        area.left() + area.width() * share.clamp(0.0, 1.0) as f32
    };
    let y = |iou: f64| area.bottom() - area.height() * (iou / best[1].max(1e-9)) as f32;
    let painter = ui.painter().with_clip_rect(ui.clip_rect().intersect(row));
    let line: Vec<egui::Pos2> = points
        .iter()
        .filter(|p| (p[0] * scale) <= range.end() + 1e-9)
        .map(|p| egui::pos2(x(p[0]), y(p[1])))
        .collect();
    let mut mesh = egui::Mesh::default();
    for pair in line.windows(2) {
        let at = mesh.vertices.len() as u32;
        for p in [
            pair[0],
            pair[1],
            egui::pos2(pair[1].x, area.bottom()),
            egui::pos2(pair[0].x, area.bottom()),
        ] {
            mesh.colored_vertex(p, tokens.series[0].gamma_multiply(0.22));
        }
        mesh.add_triangle(at, at + 1, at + 2);
        mesh.add_triangle(at, at + 2, at + 3);
    }
    painter.add(egui::Shape::mesh(mesh));
    painter.line(line, egui::Stroke::new(1.5, tokens.series[0]));
    let now = x(value / scale);
    painter.vline(now, row.y_range(), egui::Stroke::new(1.0, tokens.cursor));
    let caption = egui::pos2(row.right(), area.center().y);
    let font = egui::TextStyle::Small.resolve(ui.style());
    painter.text(
        caption,
        egui::Align2::RIGHT_CENTER,
        format!("best {:.2}", best[1]),
        font,
        tokens.text_weak,
    );
    response.on_hover_text(format!(
        "Mean IoU on the tuning split against this threshold, all others as they are.\nBest {:.2} at {}. Tuned on, so no result",
        best[1],
        format_value(best[0] * scale)
    ));
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
    fn every_preset_has_a_name_for_people() {
        for name in PRESETS {
            assert!(!preset_name(name).contains('_'), "{name}");
        }
    }
}
