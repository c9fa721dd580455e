//! Every field of the head selection.

mod choosing;
mod mask;

use egui::Ui;
use grounding::analysis::Field;
use grounding::{HeadSelection, PRESETS, TARGETS};

use super::controls::{SliderRow, choice, idle, row, sentence};
use super::names::{self, Named};
use super::strip::{Strip, Strips};
use crate::command::Command;
use crate::inspector::{Look, Report};
use crate::panes::PaneContext;
use crate::theme::SPACE;

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
