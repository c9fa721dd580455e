//! The timeline pane: the cursors of robot time and training time, and the actions and states under them.

use egui::{Align, Key, Layout, RichText, Sense, Ui, Vec2, WidgetInfo};
use egui_plot::{Line, Plot, PlotPoints, VLine};
use episode::Signals;

use super::{Pane, PaneContext, PaneKind};
use crate::command::Command;
use crate::icons::Icon;
use crate::state::Source;
use crate::theme::{self, SPACE};
use crate::widgets::{self, grouped};

/// The timeline pane.
#[derive(Default)]
pub struct Timeline;

impl Pane for Timeline {
    fn title(&self) -> &str {
        PaneKind::Timeline.title()
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PaneContext<'_>) {
        let Some(steps) = context.state.steps() else {
            if context.state.dataset.is_some() {
                ui.centered_and_justified(|ui| {
                    ui.label(RichText::new("Reading the episode…").weak())
                });
            } else {
                widgets::empty_state(
                    ui,
                    context,
                    "No time to show",
                    "An open dataset or capture brings its steps, actions and states",
                    &[Command::OpenDataset],
                );
            }
            return;
        };
        transport_ui(ui, context, steps);
        if matches!(context.state.source, Source::Run { .. }) {
            training_ui(ui, context);
        }
        ui.add_space(SPACE);
        if let Some(episode) = &context.state.episode {
            signals_ui(ui, context, &episode.signals.clone(), steps);
        }
    }
}

/// Buttons, scrubber and where it stands.
fn transport_ui(ui: &mut Ui, context: &mut PaneContext<'_>, steps: usize) {
    let state = context.state;
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = SPACE;
        widgets::command_icon(ui, context, Icon::First, &Command::FirstStep);
        widgets::command_icon(ui, context, Icon::Previous, &Command::StepBack);
        let icon = if state.playing {
            Icon::Pause
        } else {
            Icon::Play
        };
        widgets::command_icon(ui, context, icon, &Command::TogglePlay);
        widgets::command_icon(ui, context, Icon::Next, &Command::StepForward);
        widgets::command_icon(ui, context, Icon::Last, &Command::LastStep);
        ui.add_space(SPACE);
        let mut speed = state.speed;
        egui::ComboBox::from_id_salt("speed")
            .width(14.0 * SPACE)
            .selected_text(speed_text(speed))
            .show_ui(ui, |ui| {
                for choice in [0.25, 0.5, 1.0, 2.0, 4.0] {
                    ui.selectable_value(&mut speed, choice, speed_text(choice));
                }
            })
            .response
            .on_hover_text("Playing speed as a multiple of the recorded rate");
        if speed != state.speed {
            context.send(Command::SetSpeed(speed));
        }
        ui.add_space(SPACE);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let text = format!("step {} of {steps}", state.cursor.step + 1);
            let size = Vec2::new(32.0 * SPACE, 6.0 * SPACE);
            ui.allocate_ui_with_layout(size, Layout::right_to_left(Align::Center), |ui| {
                ui.label(RichText::new(text).monospace());
            });
            let step = scrubber(ui, "Step", state.cursor.step, steps, &[]);
            if let Some(step) = step {
                context.send(Command::SetStep(step));
            }
        });
    });
}

fn speed_text(speed: f32) -> String {
    format!("{speed} ×")
}

/// The cursor of training time over the checkpoints of the run.
fn training_ui(ui: &mut Ui, context: &mut PaneContext<'_>) {
    let state = context.state;
    let Source::Run {
        checkpoints,
        chosen,
        dir,
        ..
    } = &state.source
    else {
        return;
    };
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = SPACE;
        widgets::command_icon(ui, context, Icon::Previous, &Command::PreviousCheckpoint);
        widgets::command_icon(ui, context, Icon::Next, &Command::NextCheckpoint);
        widgets::command_icon(ui, context, "Follow", &Command::ToggleFollow);
        ui.add_space(SPACE);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let text = match checkpoints.get(*chosen) {
                Some((step, _)) => format!("training {}", grouped(*step)),
                None => "no checkpoint yet".to_owned(),
            };
            ui.allocate_ui_with_layout(
                Vec2::new(32.0 * SPACE, 6.0 * SPACE),
                Layout::right_to_left(Align::Center),
                |ui| {
                    ui.label(RichText::new(text).monospace());
                },
            );
            // The track is all of training; one can stand only where a checkpoint is.
            let total = state
                .runs
                .iter()
                .find(|run| run.dir == *dir)
                .and_then(|run| run.view())
                .map(|view| view.status.steps)
                .or_else(|| checkpoints.last().map(|(step, _)| *step))
                .unwrap_or(0);
            let pins: Vec<usize> = checkpoints
                .iter()
                .filter_map(|(step, _)| usize::try_from(*step).ok())
                .collect();
            let at = pins.get(*chosen).copied().unwrap_or(0);
            let length = usize::try_from(total)
                .unwrap_or(usize::MAX)
                .saturating_add(1);
            if let Some(wanted) = scrubber(ui, "Training step", at, length, &pins)
                && let Some(nearest) = pins.iter().min_by_key(|pin| pin.abs_diff(wanted))
                && *nearest != at
            {
                context.send(Command::SetCheckpoint(*nearest as u64));
            }
        });
    });
}

/// A full-width track with a handle; with `pins`, marks for the places where it can stand. Gives where it was moved.
fn scrubber(ui: &mut Ui, name: &str, at: usize, length: usize, pins: &[usize]) -> Option<usize> {
    let tokens = theme::tokens(ui);
    let size = Vec2::new(ui.available_width().max(20.0 * SPACE), 6.0 * SPACE);
    let (rect, response) = ui.allocate_exact_size(size, Sense::click_and_drag());
    let last = length.saturating_sub(1);
    response.widget_info(|| WidgetInfo::slider(true, at as f64, name));
    let track = rect.shrink2(Vec2::new(2.0 * SPACE, 0.0));
    let x_of = |step: usize| {
        let share = if last == 0 {
            0.0
        } else {
            step.min(last) as f32 / last as f32
        };
        egui::lerp(track.x_range(), share)
    };
    let y = rect.center().y;
    let painter = ui.painter();
    let rail = |from: f32, to: f32, color| {
        let bar = egui::Rect::from_x_y_ranges(from..=to, y - 2.0..=y + 2.0);
        painter.rect_filled(bar, 2.0, color);
    };
    rail(track.left(), track.right(), tokens.control_active);
    rail(track.left(), x_of(at), tokens.accent);
    // One mark per step while they can be told apart.
    if pins.is_empty() && last > 0 && track.width() / last as f32 >= 2.0 * SPACE {
        for step in 0..=last {
            let mark = egui::Stroke::new(
                1.0,
                if step <= at {
                    tokens.panel
                } else {
                    tokens.text_weak
                },
            );
            painter.vline(x_of(step), y - 1.0..=y + 1.0, mark);
        }
    }
    for pin in pins {
        painter.circle(
            egui::pos2(x_of(*pin), y),
            SPACE - 1.0,
            tokens.panel,
            egui::Stroke::new(1.5, tokens.accent),
        );
    }
    let handle = egui::pos2(x_of(at), y);
    let radius = if response.hovered() || response.dragged() || response.has_focus() {
        7.0
    } else {
        6.0
    };
    painter.circle(
        handle,
        radius,
        tokens.text_strong,
        egui::Stroke::new(2.0, tokens.accent),
    );
    let moved = response
        .interact_pointer_pos()
        .filter(|_| response.is_pointer_button_down_on())
        .map(|position| {
            let share = ((position.x - track.left()) / track.width().max(1.0)).clamp(0.0, 1.0);
            (share * last as f32).round() as usize
        });
    let by_key = response.has_focus().then(|| {
        ui.input_mut(|input| {
            let left = input.consume_key(egui::Modifiers::NONE, Key::ArrowLeft);
            let right = input.consume_key(egui::Modifiers::NONE, Key::ArrowRight);
            match (left, right) {
                (true, _) => at.checked_sub(1),
                (_, true) => (at < last).then_some(at + 1),
                _ => None,
            }
        })
    });
    moved.or(by_key.flatten()).filter(|step| *step != at)
}

/// Actions beside states, with the cursor of robot time in both.
fn signals_ui(ui: &mut Ui, context: &mut PaneContext<'_>, signals: &Signals, steps: usize) {
    let info = context
        .state
        .dataset
        .as_ref()
        .map(|dataset| dataset.data.info());
    let (action_names, state_names) = match info {
        Some(info) => (info.action_names.as_slice(), info.state_names.as_slice()),
        None => (&[][..], &[][..]),
    };
    let plots: Vec<Signal<'_>> = [
        Signal {
            title: "Action",
            values: &signals.actions,
            dimensions: signals.action_dim,
            names: action_names,
        },
        Signal {
            title: "State",
            values: &signals.states,
            dimensions: signals.state_dim,
            names: state_names,
        },
    ]
    .into_iter()
    .filter(|signal| signal.dimensions > 0)
    .collect();
    let height = ui.available_height();
    if height < 16.0 * SPACE || plots.is_empty() {
        return;
    }
    let gap = 4.0 * SPACE;
    let width = (ui.available_width() - gap * (plots.len() - 1) as f32) / plots.len() as f32;
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = gap;
        for plot in &plots {
            ui.allocate_ui_with_layout(
                Vec2::new(width, height),
                Layout::top_down(Align::Min),
                |ui| {
                    ui.set_min_size(Vec2::new(width, height));
                    plot_ui(ui, context, plot, steps);
                },
            );
        }
    });
}

/// The values of one plot.
struct Signal<'a> {
    title: &'static str,
    /// `[steps, dimensions]`, row-major.
    values: &'a [f32],
    dimensions: usize,
    names: &'a [String],
}

impl Signal<'_> {
    fn name(&self, dimension: usize) -> String {
        self.names
            .get(dimension)
            .cloned()
            .unwrap_or_else(|| (dimension + 1).to_string())
    }

    fn at(&self, step: usize, dimension: usize) -> Option<f32> {
        self.values.get(step * self.dimensions + dimension).copied()
    }

    fn points(&self, dimension: usize) -> Vec<[f64; 2]> {
        self.values
            .chunks_exact(self.dimensions)
            .enumerate()
            .filter_map(|(step, row)| Some([step as f64 + 1.0, f64::from(*row.get(dimension)?)]))
            .filter(|[_, value]| value.is_finite())
            .collect()
    }
}

fn plot_ui(ui: &mut Ui, context: &mut PaneContext<'_>, signal: &Signal<'_>, steps: usize) {
    let tokens = theme::tokens(ui);
    let cursor = context.state.cursor.step;
    ui.spacing_mut().item_spacing.y = 2.0;
    let color = |dimension: usize| tokens.series[dimension % tokens.series.len()];
    // The legend tells the values under the cursor, and hides none of them.
    ui.horizontal(|ui| {
        let is_narrow = ui.available_width() < 90.0 * SPACE;
        let (gap, mark) = if is_narrow { (1.0, 2.0) } else { (3.0, 3.0) };
        ui.spacing_mut().item_spacing.x = gap * SPACE;
        ui.label(RichText::new(signal.title).small().color(tokens.text_weak));
        egui::ScrollArea::horizontal()
            .id_salt(signal.title)
            .scroll_bar_visibility(egui::scroll_area::ScrollBarVisibility::AlwaysHidden)
            .show(ui, |ui| {
                ui.style_mut().wrap_mode = Some(egui::TextWrapMode::Extend);
                for dimension in 0..signal.dimensions {
                    let value = signal
                        .at(cursor, dimension)
                        .map_or("–".to_owned(), widgets::decimal);
                    ui.horizontal(|ui| {
                        ui.spacing_mut().item_spacing.x = SPACE;
                        let (mark, _) = ui.allocate_exact_size(
                            Vec2::new(mark * SPACE, 3.0 * SPACE),
                            Sense::hover(),
                        );
                        let stroke = egui::Stroke::new(2.0, color(dimension));
                        ui.painter().hline(mark.x_range(), mark.center().y, stroke);
                        ui.label(RichText::new(signal.name(dimension)).small());
                        ui.label(
                            RichText::new(format!("{value:>5}"))
                                .small()
                                .monospace()
                                .color(tokens.text_weak),
                        );
                    });
                }
            });
    });
    let response = Plot::new(signal.title)
        .height(ui.available_height())
        .allow_drag(false)
        .allow_zoom(false)
        .allow_scroll(false)
        .allow_boxed_zoom(false)
        .allow_double_click_reset(false)
        .set_margin_fraction(Vec2::new(0.01, 0.08))
        .show_grid([false, true])
        .grid_spacing(egui::Rangef::new(16.0, 80.0))
        .custom_x_axes(widgets::step_axis())
        .y_axis_min_width(8.0 * SPACE)
        .include_x(1.0)
        .include_x(steps as f64)
        .label_formatter(widgets::plot_label)
        .show(ui, |plot| {
            for dimension in 0..signal.dimensions {
                let mut line = Line::new(
                    signal.name(dimension),
                    PlotPoints::from(signal.points(dimension)),
                )
                .color(color(dimension))
                .width(1.5);
                // A second cue where the colours come round again.
                if dimension >= tokens.series.len() {
                    line = line.style(egui_plot::LineStyle::dashed_dense());
                }
                plot.line(line);
            }
            plot.vline(
                VLine::new("", cursor as f64 + 1.0)
                    .color(tokens.cursor)
                    .width(1.0),
            );
            let pressed = plot.response().is_pointer_button_down_on();
            plot.pointer_coordinate()
                .filter(|_| pressed)
                .map(|point| point.x.round())
        });
    if let Some(x) = response.inner {
        let step = (x - 1.0).clamp(0.0, steps.saturating_sub(1) as f64) as usize;
        if step != cursor {
            context.send(Command::SetStep(step));
        }
    }
}
