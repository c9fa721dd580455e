//! Two selections side by side: what differs, which heads each chooses, what each gives.

use egui::{Align, Button, Color32, Layout, RichText, Ui, vec2};
use grounding::analysis::{Interval, intervals};
use grounding::{
    Evaluation, FrameMetrics, HeadId, HeadSelection, PRESETS, Selected, Split, TARGETS,
};
use std::sync::Arc;

use super::Table;
use super::controls::{choice, unnamed};
use super::names::{Named, Phrases};
use super::numbers::{Measure, audit_text, has_room_for_intervals};
use crate::command::Command;
use crate::icons::Face;
use crate::inspector::{FrameReport, Report, head_name};
use crate::panes::PaneContext;
use crate::theme::{self, SPACE};
use crate::widgets::command_icon;

/// Frames that are listed.
const FRAMES: usize = 8;

/// What is computed once for two evaluations.
#[derive(Default)]
pub(super) struct Beside {
    of: Option<(Arc<Evaluation>, Arc<Evaluation>)>,
    pairs: Pairs,
}

/// Frames under both selections.
#[derive(Default)]
struct Pairs {
    /// Those that differ, most first.
    frames: Vec<Pair>,
    /// Held out: beside minus this, mean IoU and share of hits, with their 95 % intervals.
    difference: Option<[(f64, Option<Interval>); 2]>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Pair {
    episode: usize,
    step: usize,
    this: f64,
    beside: f64,
}

impl Pairs {
    fn of(frames: &[FrameReport], beside: &Evaluation) -> Self {
        let both = frames.iter().filter_map(|frame| {
            let other = beside.frames.get(frame.number?)?.metrics?;
            Some((frame, frame.metrics?, other))
        });
        let both: Vec<(&FrameReport, FrameMetrics, FrameMetrics)> = both.collect();
        let share = |hit: bool| f64::from(u8::from(hit));
        let rows: Vec<(usize, [f64; 2])> = both
            .iter()
            .filter(|(frame, ..)| frame.split == Split::HeldOut)
            .map(|(frame, a, b)| {
                let hits = share(b.pointing) - share(a.pointing);
                (frame.episode, [b.mask_iou - a.mask_iou, hits])
            })
            .collect();
        let ranges = intervals(&rows);
        let mean = |i: usize| rows.iter().map(|(_, v)| v[i]).sum::<f64>() / rows.len() as f64;
        let difference =
            (!rows.is_empty()).then(|| [0, 1].map(|i| (mean(i), ranges.map(|ranges| ranges[i]))));
        let mut frames: Vec<Pair> = both
            .iter()
            .map(|(frame, a, b)| Pair {
                episode: frame.episode,
                step: frame.step,
                this: a.mask_iou,
                beside: b.mask_iou,
            })
            .filter(|pair| pair.this != pair.beside)
            .collect();
        let gap = |pair: &Pair| (pair.this - pair.beside).abs();
        frames.sort_by(|a, b| gap(b).total_cmp(&gap(a)));
        Self { frames, difference }
    }
}

impl Beside {
    /// Draws the whole comparison.
    pub(super) fn show(&mut self, ui: &mut Ui, context: &mut PaneContext<'_>) {
        chooser(ui, context);
        let Some(beside) = context.state.settings.beside.as_deref() else {
            ui.add_space(SPACE);
            let text = "Choose a named set to measure it on the same frames, or keep the thresholds as they are now and \
                        change on.";
            ui.add(egui::Label::new(RichText::new(text).weak()).wrap());
            return;
        };
        let inspector = context.inspector;
        let report = inspector.report().map(|r| &**r);
        let other = report
            .filter(|r| r.request.beside.as_ref() == Some(beside))
            .and_then(|r| r.beside.as_ref());
        self.pair_up(report, other);
        let this = &context.state.settings.selection;
        let name = 23.0 * SPACE;
        let table = Table::new(ui, name, &[1.0, 1.0], 48.0 * SPACE);
        rules_ui(ui, &table, this, beside);
        heads_ui(ui, &table, context, report, other.map(|e| &**e));
        self.numbers_ui(ui, &table, context, report, other.map(|e| &**e));
        self.frames_ui(ui, context);
    }

    fn pair_up(&mut self, report: Option<&Report>, other: Option<&Arc<Evaluation>>) {
        let (Some(report), Some(other)) = (report, other) else {
            self.of = None;
            self.pairs = Pairs::default();
            return;
        };
        let known = self
            .of
            .as_ref()
            .is_some_and(|(a, b)| Arc::ptr_eq(a, &report.evaluation) && Arc::ptr_eq(b, other));
        if !known {
            self.pairs = Pairs::of(&report.frames, other);
            self.of = Some((report.evaluation.clone(), other.clone()));
        }
    }

    fn numbers_ui(
        &self,
        ui: &mut Ui,
        table: &Table,
        context: &PaneContext<'_>,
        report: Option<&Report>,
        other: Option<&Evaluation>,
    ) {
        let tokens = theme::tokens(ui);
        let has_room = table
            .columns
            .first()
            .is_some_and(|width| has_room_for_intervals(*width));
        let behind = context.inspector.report_is_behind();
        for (split, mark) in [
            (Split::HeldOut, "report this"),
            (Split::Tune, "tuned on, no result"),
        ] {
            let summaries = [
                report.and_then(|r| r.evaluation.summary(split)),
                other.and_then(|e| e.summary(split)),
            ];
            let (color, mark_color) = match split {
                Split::HeldOut if !behind => (tokens.text, tokens.accent),
                Split::HeldOut => (tokens.text_weak, tokens.accent),
                Split::Tune => (tokens.text_weak, tokens.text_weak),
            };
            heading(ui, split.label(), mark, mark_color);
            ui.scope(|ui| {
                ui.spacing_mut().item_spacing.y = 0.0;
                let audits = summaries.map(|summary| match summary {
                    Some(_) => audit_text(context, split, summary),
                    None => "Being measured, or without a reference box".to_owned(),
                });
                let [this, beside] = &audits;
                let cells = [
                    (summaries[0], color, this.as_str()),
                    (summaries[1], color, beside.as_str()),
                ];
                for measure in Measure::ALL {
                    measure.row(ui, table, None, &cells, has_room);
                }
            });
            if let (Split::HeldOut, Some([iou, hits])) = (split, self.pairs.difference) {
                let text = format!(
                    "Beside minus this: IoU {}, hits {}",
                    signed(iou, 1.0, 2, ""),
                    signed(hits, 100.0, 0, " %")
                );
                let label = egui::Label::new(RichText::new(text).small().color(tokens.text));
                ui.add(label.wrap()).on_hover_text(
                    "Mean difference over the held-out frames that have both, with its 95 % interval over episodes. Frame by \
                     frame it is told more exactly than the two intervals above suggest",
                );
            }
        }
    }

    fn frames_ui(&self, ui: &mut Ui, context: &mut PaneContext<'_>) {
        let tokens = theme::tokens(ui);
        if self.of.is_none() {
            return;
        }
        heading(
            ui,
            "Frames",
            &format!("{} differ in IoU", self.pairs.frames.len()),
            tokens.text_weak,
        );
        for pair in self.pairs.frames.iter().take(FRAMES) {
            let at = format!("episode {} · step {}", pair.episode, pair.step + 1);
            let numbers = format!("{:.2} → {:.2}", pair.this, pair.beside);
            let button = Button::new(&at)
                .right_text(RichText::new(&numbers).monospace())
                .frame_when_inactive(false)
                .min_size(vec2(ui.available_width(), 0.0))
                .truncate();
            let response = ui.add(button);
            response.widget_info(|| {
                let name = format!("{at}: IoU {numbers}");
                egui::WidgetInfo::labeled(egui::Role::Button, true, name)
            });
            let response =
                response.on_hover_text("IoU under this selection → beside; click to go there");
            if response.clicked() {
                context.send(Command::GoTo {
                    episode: pair.episode,
                    step: pair.step,
                });
            }
        }
    }
}

/// A section with a remark at its end.
fn heading(ui: &mut Ui, title: &str, remark: &str, color: Color32) {
    ui.add_space(SPACE);
    ui.horizontal(|ui| {
        let title = RichText::new(title).text_style(theme::section_style());
        ui.label(title.color(theme::tokens(ui).text_strong));
        ui.label(RichText::new(remark).small().color(color));
    });
}

/// `−0.05 (−0.09 to −0.01)`.
fn signed(
    (value, interval): (f64, Option<Interval>),
    scale: f64,
    digits: usize,
    unit: &str,
) -> String {
    let number = |v: f64| {
        let text = format!("{:.digits$}", (v * scale).abs());
        let is_zero = text.chars().all(|c| matches!(c, '0' | '.'));
        match (is_zero, v < 0.0) {
            (true, _) => text,
            (false, true) => format!("−{text}"),
            (false, false) => format!("+{text}"),
        }
    };
    let range = interval.filter(|i| i.low.is_finite() && i.high.is_finite());
    let range = range.map_or_else(String::new, |i| {
        format!(" ({} to {})", number(i.low), number(i.high))
    });
    format!("{}{unit}{range}", number(value))
}

/// What is measured beside.
fn chooser(ui: &mut Ui, context: &mut PaneContext<'_>) {
    let this = &context.state.settings.selection;
    let beside = context.state.settings.beside.as_deref();
    let presets = PRESETS.map(Named::Preset);
    let targets = TARGETS.map(Named::Target);
    let shown = match beside {
        None => "None".to_owned(),
        Some(beside) if beside == this => "The same thresholds".to_owned(),
        Some(beside) => presets
            .iter()
            .chain(&targets)
            .find(|named| named.apply(this).as_ref() == Some(beside))
            .map_or_else(|| beside.to_string(), |named| named.label().to_owned()),
    };
    let mut wish = None;
    choice(
        ui,
        "Compare with",
        "Another selection that is measured on the same frames. Named sets replace what they are about and take the rest from \
         the present thresholds",
        &shown,
        |ui| {
            let tokens = theme::tokens(ui);
            if ui.selectable_label(beside.is_none(), "None").clicked() {
                wish = Some(None);
            }
            let keep = ui.selectable_label(beside == Some(this), "The selection as it is now");
            if keep
                .on_hover_text(
                    "Keeps the present thresholds, so that changes can be held against them",
                )
                .clicked()
            {
                wish = Some(Some(this.clone()));
            }
            for (title, named) in [("Presets", &presets), ("Targets", &targets)] {
                ui.label(RichText::new(title).small().color(tokens.text_weak));
                for named in named {
                    let other = named.apply(this);
                    let is_on = beside.is_some() && other.as_ref() == beside;
                    let response = ui.selectable_label(is_on, named.label());
                    if response.on_hover_text(named.explain()).clicked() {
                        wish = Some(other);
                    }
                }
            }
        },
    );
    if let Some(wish) = wish
        && wish.as_ref() != beside
    {
        context.send(Command::SetBeside(wish.map(Box::new)));
    }
    unnamed(ui, |ui| {
        command_icon(ui, context, Face::Text("Swap"), &Command::SwapBeside);
        let none = Command::SetBeside(None);
        let clear = ui.add_enabled(beside.is_some(), Button::new("Clear"));
        if clear.on_hover_text("Measure nothing beside").clicked() {
            context.send(none);
        }
    });
}

/// Both selections in words: what only one of them says stands out.
fn rules_ui(ui: &mut Ui, table: &Table, this: &HeadSelection, beside: &HeadSelection) {
    let tokens = theme::tokens(ui);
    ui.add_space(SPACE);
    let strong = |text: &str| {
        RichText::new(text)
            .text_style(theme::section_style())
            .color(tokens.text_strong)
    };
    let headings = [
        (strong("This"), "The thresholds in use".to_owned()),
        (strong("Beside"), "What they are compared with".to_owned()),
    ];
    table.row(ui, RichText::new(""), "", headings);
    let phrases = Phrases::of(this, beside);
    let help = "What differs from the default; what both have in common is grey";
    table.cells(ui, "Rules", help, |ui, column| {
        let own = if column == 0 {
            &phrases.this
        } else {
            &phrases.beside
        };
        for (phrase, is_shared) in own {
            let color = match is_shared {
                true => tokens.text_weak,
                false => tokens.text,
            };
            ui.add(egui::Label::new(RichText::new(phrase).small().color(color)).wrap());
        }
    });
}

/// The heads of both; those of one alone are framed.
fn heads_ui(
    ui: &mut Ui,
    table: &Table,
    context: &PaneContext<'_>,
    report: Option<&Report>,
    other: Option<&Evaluation>,
) {
    let tokens = theme::tokens(ui);
    let this = report.map(|r| &*r.evaluation);
    let both = [this, other];
    let lists = both.map(|e| e.map_or(&[][..], Evaluation::heads));
    let shared = lists[0].iter().filter(|h| lists[1].contains(h)).count();
    let capture = context.inspector.look().map(|l| &l.inputs.capture);
    let name = |id: HeadId| match capture {
        Some(capture) => head_name(capture, id),
        None => format!("L{}·H{}", id.layer, id.head),
    };
    let summary = match (this, other) {
        (Some(_), Some(_)) => {
            let most = lists[0].len().max(lists[1].len());
            format!("{shared} of {most} in common")
        }
        _ => "being measured…".to_owned(),
    };
    heading(ui, "Heads", &summary, tokens.text_weak);
    let help = "Chosen by the tuning split, best first; what only one selection chooses is framed";
    table.cells(ui, "Chosen", help, |ui, column| {
        match both[column].map(|e| &e.selected) {
            None => {
                ui.label(RichText::new("–").weak());
            }
            Some(Err(reason)) => {
                let text = RichText::new(reason.to_string()).small().color(tokens.warn);
                ui.add(egui::Label::new(text).wrap());
            }
            Some(Ok(selected)) => {
                let others = lists[1 - column];
                for &id in &selected.heads {
                    let differs = !others.is_empty() && !others.contains(&id);
                    head_ui(ui, &name(id), differs, selected, id);
                }
            }
        }
    });
}

/// One head: framed where only one selection has it.
fn head_ui(ui: &mut Ui, name: &str, differs: bool, selected: &Selected, id: HeadId) {
    let tokens = theme::tokens(ui);
    let (text, frame, mark) = match differs {
        true => (tokens.text_strong, tokens.selected_frame, "only here"),
        false => (tokens.text_weak, Color32::TRANSPARENT, "in both"),
    };
    let inner = egui::Frame::new()
        .stroke(egui::Stroke::new(1.0, frame))
        .corner_radius(theme::RADIUS)
        .inner_margin(egui::Margin::symmetric(4, 1))
        .show(ui, |ui| {
            ui.add(egui::Label::new(RichText::new(name).monospace().color(text)).extend())
        });
    let flat = usize::from(id.layer) * selected.n_heads + usize::from(id.head);
    let votes = selected.counts.get(flat).copied().unwrap_or(0);
    let merit = selected.merits.as_ref().and_then(|m| m.get(flat).copied());
    let merit = merit.map_or_else(String::new, |m| format!(", mean merit {m:.2}"));
    let hover = format!(
        "{name} {mark}: {votes} of {} frames vote for it{merit}",
        selected.n_samples
    );
    inner.inner.on_hover_text(hover);
}

impl Table {
    /// A row whose cells hold anything, as high as the highest of them.
    fn cells(&self, ui: &mut Ui, name: &str, help: &str, mut cell: impl FnMut(&mut Ui, usize)) {
        let tokens = theme::tokens(ui);
        let named = |ui: &mut Ui| {
            let label = ui.label(RichText::new(name).color(tokens.text));
            label.on_hover_text(help);
        };
        // Words need more room than numbers: where there is little, the name stands above.
        let is_narrow = self.columns.iter().any(|width| *width < 22.0 * SPACE);
        let gap = ui.spacing().item_spacing.x;
        let half = (ui.available_width() - gap) / 2.0;
        if is_narrow {
            named(ui);
        }
        ui.horizontal_top(|ui| {
            let height = ui.text_style_height(&egui::TextStyle::Body);
            let left = Layout::left_to_right(Align::Center);
            if !is_narrow {
                ui.allocate_ui_with_layout(vec2(self.name, height), left, |ui| {
                    ui.set_min_width(self.name);
                    named(ui);
                });
            }
            for (column, width) in self.columns.iter().enumerate() {
                let width = if is_narrow { &half } else { width };
                let layout = Layout::right_to_left(Align::Min).with_main_wrap(true);
                ui.allocate_ui_with_layout(vec2(*width, height), layout, |ui| {
                    ui.set_min_width(*width);
                    ui.spacing_mut().item_spacing = vec2(2.0, 2.0);
                    ui.with_layout(Layout::top_down(Align::Max), |ui| cell(ui, column));
                });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_have_a_sign_unless_they_round_to_nothing() {
        let interval = |low, high| Some(Interval { low, high });
        assert_eq!(
            signed((-0.051, interval(-0.09, 0.001)), 1.0, 2, ""),
            "−0.05 (−0.09 to 0.00)"
        );
        assert_eq!(signed((0.125, None), 100.0, 0, " %"), "+12 %");
        assert_eq!(signed((0.0, interval(f64::NAN, 1.0)), 1.0, 2, ""), "0.00");
    }
}
