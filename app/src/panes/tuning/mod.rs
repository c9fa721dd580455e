//! Every threshold from attention to mask, with the numbers that follow it.

mod beside;
mod controls;
mod form;
mod names;
mod numbers;
mod sample;
mod strip;

use egui::{Align, Layout, Rangef, RichText, ScrollArea, Ui, WidgetText, vec2};
use grounding::ElbowMode;

use super::{Pane, PaneContext, PaneKind};
use crate::command::Command;
use crate::state::Source;
use crate::theme::{self, SPACE};
use crate::widgets::{command_button, empty_state};
use beside::Beside;
use form::Form;
use sample::SampleForm;
use strip::Strips;

/// Below this height the numbers scroll with the form, and one line of them stays.
const ROOM_FOR_NUMBERS: f32 = 100.0 * SPACE;

/// Below this width the buttons of the views move together.
const NARROW: f32 = 66.0 * SPACE;

/// Every field of the head selection.
#[derive(Default)]
pub struct Tuning {
    strips: Strips,
    beside: Beside,
    sample: SampleForm,
}

/// What the pane shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// The form with its strips.
    #[default]
    Thresholds,
    /// Two selections side by side.
    Beside,
    /// How much is measured.
    Sample,
}

impl View {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Thresholds, Self::Beside, Self::Sample];

    fn label(self) -> &'static str {
        match self {
            Self::Thresholds => "Thresholds",
            Self::Beside => "Side by side",
            Self::Sample => "Sample",
        }
    }

    fn help(self) -> &'static str {
        match self {
            Self::Thresholds => "Every field of the head selection",
            Self::Beside => "Another selection on the same frames: rules, heads and numbers",
            Self::Sample => "How many frames are measured, and how much memory that may take",
        }
    }
}

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
        let inspector = context.inspector;
        let report = inspector.report().map(|r| &**r);
        self.strips.update(report, inspector.is_busy(context.state));
        let view = context.state.tuning_view;
        let is_high = ui.available_height() >= ROOM_FOR_NUMBERS;
        ui.horizontal_wrapped(|ui| {
            if ui.available_width() < NARROW {
                ui.spacing_mut().button_padding.x = SPACE;
                ui.spacing_mut().item_spacing.x = SPACE / 2.0;
            }
            for choice in View::ALL {
                let button = ui.selectable_label(view == choice, choice.label());
                if button.on_hover_text(choice.help()).clicked() {
                    context.send(Command::ShowTuning(choice));
                }
            }
        });
        let shows_table = view != View::Beside;
        if shows_table && is_high {
            ui.scope(|ui| numbers::table_ui(ui, context));
        } else if shows_table {
            numbers::line_ui(ui, context);
        }
        ui.separator();
        let mut selection = context.state.settings.selection.clone();
        ScrollArea::vertical()
            .id_salt(view.label())
            .auto_shrink([false, false])
            .show(ui, |ui| {
                // The floating scroll bar must not lie on the numbers.
                ui.set_max_width(ui.available_width() - 3.0 * SPACE);
                if view == View::Thresholds && !is_high {
                    ui.scope(|ui| numbers::table_ui(ui, context));
                }
                match view {
                    View::Thresholds => {
                        if numbers::status_ui(ui, context) {
                            selection.elbow.mode = ElbowMode::None;
                        }
                        let form = Form {
                            look: inspector.look().map(|l| &**l),
                            report,
                            strips: &self.strips,
                            is_live: !matches!(context.state.source, Source::Captures { .. }),
                        };
                        form.show(ui, context, &mut selection);
                        ui.add_space(2.0 * SPACE);
                        command_button(ui, context, &Command::ResetSelection);
                    }
                    View::Beside => self.beside.show(ui, context),
                    View::Sample => self.sample.show(ui, context),
                }
                ui.add_space(2.0 * SPACE);
            });
        if selection != context.state.settings.selection {
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

    /// Where the last column is in a table that begins at `left`, with its columns `gap` apart.
    fn last_column(&self, left: f32, gap: f32) -> Option<Rangef> {
        let (last, before) = self.columns.split_last()?;
        let start = left + self.name + gap + before.iter().map(|width| width + gap).sum::<f32>();
        Some(Rangef::new(start, start + last))
    }

    /// One row; every cell has a text and what its tooltip says, if anything.
    pub(super) fn row<T: Into<WidgetText>>(
        &self,
        ui: &mut Ui,
        name: RichText,
        help: &str,
        cells: impl IntoIterator<Item = (T, String)>,
    ) {
        let height = ui.text_style_height(&egui::TextStyle::Body) + SPACE;
        let cell = |ui: &mut Ui, width: f32, layout: Layout, text: WidgetText, hover: &str| {
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
            cell(ui, self.name, left, name.into(), help);
            for (width, (text, hover)) in self.columns.iter().zip(cells) {
                cell(ui, *width, right, text.into(), &hover);
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
