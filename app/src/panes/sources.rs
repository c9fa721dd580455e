//! The sources pane: what is open, the list of episodes, the runs in reach.

use egui::{Align, Layout, RichText, Role, Sense, Ui, Vec2, WidgetInfo};

use super::{Pane, PaneContext, PaneKind};
use crate::command::Command;
use crate::icons::Icon;
use crate::state::{OpenDataset, Source};
use crate::theme::{self, SPACE};
use crate::widgets::{self, grouped};

/// The sources pane.
#[derive(Default)]
pub struct Sources {
    search: String,
    /// The episode that was scrolled to last, so that the list follows the cursor but never the reader.
    shown: Option<usize>,
}

const ROW: f32 = 9.0 * SPACE;

impl Pane for Sources {
    fn title(&self) -> &str {
        PaneKind::Sources.title()
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PaneContext<'_>) {
        attention_ui(ui, context);
        runs_ui(ui, context);
        let state = context.state;
        match &state.dataset {
            Some(dataset) => {
                dataset_ui(ui, context, dataset);
                self.episodes_ui(ui, context, dataset);
            }
            None => {
                widgets::section(ui, "Dataset");
                ui.label(RichText::new("None open").weak());
                ui.add_space(SPACE);
                ui.horizontal_wrapped(|ui| {
                    widgets::command_button(ui, context, &Command::OpenDataset);
                    widgets::command_button(ui, context, &Command::OpenDemo);
                });
            }
        }
    }
}

/// A heading with a frameless button at its right.
fn heading(ui: &mut Ui, title: &str, button: Option<(Icon, &str)>) -> bool {
    ui.add_space(SPACE);
    ui.horizontal(|ui| {
        let title = RichText::new(title)
            .text_style(theme::section_style())
            .color(theme::tokens(ui).text_strong);
        ui.label(title);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            button.is_some_and(|(icon, name)| widgets::icon_button(ui, icon, name).clicked())
        })
        .inner
    })
    .inner
}

fn attention_ui(ui: &mut Ui, context: &mut PaneContext<'_>) {
    let state = context.state;
    let close = state
        .has_source()
        .then_some((Icon::Close, "Close the source of attention"));
    if heading(ui, "Attention from", close) {
        context.send(Command::CloseSource);
    }
    let name = |path: &std::path::Path| {
        path.file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned()
    };
    match &state.source {
        Source::Nothing => {
            ui.label(RichText::new("Nothing yet").weak());
            ui.add_space(SPACE);
            ui.horizontal_wrapped(|ui| {
                widgets::command_button(ui, context, &Command::OpenRun);
                widgets::command_button(ui, context, &Command::OpenCapture);
            });
        }
        Source::Captures { path, captures } => {
            ui.add(egui::Label::new(name(path)).truncate())
                .on_hover_text(path.display().to_string());
            widgets::fact(ui, "Steps", grouped(captures.len() as u64));
            if let Some(capture) = captures.captures().first() {
                widgets::fact(ui, "Model", capture.model_id.clone());
            }
        }
        Source::Checkpoint { path } => {
            ui.add(egui::Label::new(name(path)).truncate())
                .on_hover_text(path.display().to_string());
        }
        Source::Run {
            dir,
            checkpoints,
            follow,
            ..
        } => {
            let title = state
                .runs
                .iter()
                .find(|run| run.dir == *dir)
                .map_or_else(|| name(dir), |run| run.name.clone());
            ui.add(egui::Label::new(title).truncate())
                .on_hover_text(dir.display().to_string());
            match state.source.training_step() {
                Some(step) => {
                    widgets::fact(ui, "Training step", grouped(step));
                    widgets::fact(ui, "Checkpoints", checkpoints.len().to_string());
                }
                None => {
                    ui.add(
                        egui::Label::new(
                            RichText::new(
                                "No checkpoint yet; the first is shown when it is written",
                            )
                            .weak(),
                        )
                        .wrap(),
                    );
                }
            }
            let mut following = *follow;
            let response = ui.checkbox(&mut following, "Follow latest checkpoint");
            if widgets::command_tooltip(response, &Command::ToggleFollow, None).changed() {
                context.send(Command::ToggleFollow);
            }
        }
    }
    ui.add_space(2.0 * SPACE);
}

fn runs_ui(ui: &mut Ui, context: &mut PaneContext<'_>) {
    let state = context.state;
    if heading(ui, "Runs", Some((Icon::Add, "New run"))) {
        context.send(Command::NewRun);
    }
    if state.runs.is_empty() {
        ui.label(RichText::new("Runs in watched folders appear here").weak());
    }
    let room = (ui.available_height() * 0.3).max(2.0 * ROW);
    egui::ScrollArea::vertical()
        .id_salt("runs")
        .max_height(room)
        .auto_shrink([false, true])
        .show(ui, |ui| {
            for run in state.runs.iter() {
                let chosen = state.selected_run.as_deref() == Some(&run.dir);
                let (detail, color) = super::runs::state_text(ui, run);
                let response = row(ui, &run.name, &detail, Some(color), chosen);
                let response = response.on_hover_text(format!(
                    "{}\nDouble-click to look through it",
                    run.dir.display()
                ));
                if response.double_clicked() {
                    context.send(Command::OpenRunAt(run.dir.clone()));
                } else if response.clicked() {
                    context.send(Command::SelectRun(run.dir.clone()));
                }
            }
        });
    ui.add_space(2.0 * SPACE);
}

fn dataset_ui(ui: &mut Ui, context: &mut PaneContext<'_>, dataset: &OpenDataset) {
    if heading(ui, "Dataset", Some((Icon::Close, "Close the dataset"))) {
        context.send(Command::CloseDataset);
    }
    let info = dataset.data.info();
    ui.add(egui::Label::new(&info.name).truncate())
        .on_hover_text(&dataset.origin);
    widgets::fact(ui, "Format", info.format.clone());
    widgets::fact(ui, "Frames", grouped(info.frames as u64));
    if let Some(fps) = info.fps {
        widgets::fact(ui, "Rate", format!("{fps} steps/s"));
    }
    let cameras: Vec<String> = info
        .cameras
        .iter()
        .map(|c| format!("{} {} × {} px", c.name, c.width, c.height))
        .collect();
    widgets::fact(ui, "Cameras", info.cameras.len().to_string()).on_hover_text(cameras.join("\n"));
    let boxes = match &dataset.boxes {
        Some((path, _)) => path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        None if info.has_masks => "exact masks".to_owned(),
        None => "none".to_owned(),
    };
    widgets::fact(ui, "Boxes", boxes);
    if !info.warnings.is_empty() {
        let tokens = theme::tokens(ui);
        let text = match info.warnings.len() {
            1 => "1 warning".to_owned(),
            count => format!("{count} warnings"),
        };
        ui.label(RichText::new(text).color(tokens.warn))
            .on_hover_text(info.warnings.join("\n"));
    }
    ui.add_space(2.0 * SPACE);
}

impl Sources {
    fn episodes_ui(&mut self, ui: &mut Ui, context: &mut PaneContext<'_>, dataset: &OpenDataset) {
        let total = dataset.episodes.len();
        ui.horizontal(|ui| {
            let title = RichText::new("Episodes")
                .text_style(theme::section_style())
                .color(theme::tokens(ui).text_strong);
            ui.label(title);
            ui.label(RichText::new(grouped(total as u64)).weak());
        });
        let field = egui::TextEdit::singleline(&mut self.search)
            .hint_text("Search instruction or number")
            .desired_width(f32::INFINITY);
        widgets::named(ui.add(field), Role::TextInput, "Search episodes");
        ui.add_space(SPACE);
        let needle = self.search.trim().to_lowercase();
        let found: Vec<usize> = (0..total)
            .filter(|&index| {
                needle.is_empty()
                    || index.to_string() == needle
                    || dataset
                        .episodes
                        .get(index)
                        .and_then(Option::as_ref)
                        .is_some_and(|episode| episode.instruction.to_lowercase().contains(&needle))
            })
            .collect();
        if found.is_empty() {
            ui.label(RichText::new("No episode matches").weak());
            return;
        }
        let current = context.state.cursor.episode;
        let mut area = egui::ScrollArea::vertical()
            .id_salt("episodes")
            .auto_shrink(false);
        // Keys move the cursor out of sight; bring the list along, once.
        if self
            .shown
            .replace(current)
            .is_some_and(|shown| shown != current)
            && let Ok(row) = found.binary_search(&current)
        {
            let offset = row as f32 * ROW - ui.available_height() / 2.0;
            area = area.vertical_scroll_offset(offset.max(0.0));
        }
        ui.spacing_mut().item_spacing.y = 0.0;
        area.show_rows(ui, ROW, found.len(), |ui, range| {
            for &index in found.get(range).unwrap_or_default() {
                let meta = dataset.episodes.get(index).and_then(Option::as_ref);
                let title = match meta {
                    Some(meta) if meta.instruction.is_empty() => "No instruction",
                    Some(meta) => &meta.instruction,
                    None => "…",
                };
                let detail = match meta {
                    Some(meta) => format!("Episode {index}, {} steps", meta.length),
                    None => format!("Episode {index}"),
                };
                let response = row(ui, title, &detail, None, index == current).on_hover_text(title);
                if response.clicked() {
                    self.shown = Some(index);
                    context.send(Command::SelectEpisode(index));
                }
            }
        });
    }
}

/// Two lines that can be chosen: a title, and below it a smaller detail.
fn row(
    ui: &mut Ui,
    title: &str,
    detail: &str,
    color: Option<egui::Color32>,
    chosen: bool,
) -> egui::Response {
    let tokens = theme::tokens(ui);
    let (rect, response) =
        ui.allocate_exact_size(Vec2::new(ui.available_width(), ROW), Sense::click());
    response.widget_info(|| {
        WidgetInfo::selected(Role::Button, true, chosen, format!("{title}, {detail}"))
    });
    if !ui.is_rect_visible(rect) {
        return response;
    }
    if chosen || response.hovered() {
        let fill = if chosen {
            tokens.accent_ground
        } else {
            tokens.control
        };
        ui.painter().rect_filled(rect, theme::RADIUS, fill);
    }
    let (strong, weak) = if chosen {
        (tokens.accent_text, tokens.accent_text)
    } else {
        (tokens.text, tokens.text_weak)
    };
    let mut left = rect.left() + SPACE;
    if let Some(color) = color {
        ui.painter()
            .circle_filled(egui::pos2(left + SPACE, rect.center().y), SPACE, color);
        left += 4.0 * SPACE;
    }
    let width = rect.right() - left - SPACE;
    let line = |text: &str, style: egui::TextStyle, color| {
        let mut job = egui::text::LayoutJob::simple_singleline(
            text.to_owned(),
            style.resolve(ui.style()),
            color,
        );
        job.wrap = egui::text::TextWrapping::truncate_at_width(width);
        ui.painter().layout_job(job)
    };
    let first = line(title, egui::TextStyle::Body, strong);
    let second = line(detail, egui::TextStyle::Small, weak);
    let gap = 1.0;
    let top = rect.center().y - (first.size().y + gap + second.size().y) / 2.0;
    let below = top + first.size().y + gap;
    ui.painter().galley(egui::pos2(left, top), first, strong);
    ui.painter().galley(egui::pos2(left, below), second, weak);
    response
}
