//! The figure pane: frames × columns at print size, with everything that is set around them.

mod compose;
mod options;
mod preview;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use egui::{Align, ComboBox, Layout, RichText, Ui, vec2};
use figure::Recipe;

use super::{Pane, PaneContext, PaneKind};
use crate::command::Command;
use crate::inspector::Inspector;
use crate::state::WorkbenchState;
use crate::theme::{self, SPACE};
use crate::toasts::Notice;
use crate::widgets::{command_button, empty_state};
use options::options_ui;
use preview::{Preview, Zoom};

/// Below this width the options stand under the preview.
const WIDE: f32 = 160.0 * SPACE;
/// Width of the options beside the preview.
const OPTIONS: f32 = 84.0 * SPACE;

/// The figure under construction.
#[derive(Default)]
pub struct Figure {
    preview: Preview,
    zoom: Zoom,
    /// Whether the options are shown in place of the preview, where there is no room for both.
    shows_options: bool,
}

/// The figure under construction, or a new one of what the window shows now.
///
/// # Errors
/// When nothing is open.
pub fn recipe(state: &WorkbenchState, inspector: &Inspector) -> anyhow::Result<Recipe> {
    match &state.settings.figure {
        Some(recipe) => Ok((**recipe).clone()),
        None => compose::recipe(state, inspector),
    }
}

/// Writes a figure and, beside it, the recipe that makes it again. May take as long as the models it runs.
///
/// # Errors
/// As [`crate::figure_job::export`]; when the recipe cannot be written.
pub fn export(recipe: &Recipe, path: &Path, cancel: &Arc<AtomicBool>) -> anyhow::Result<()> {
    crate::figure_job::export(recipe, path, cancel)?;
    Ok(recipe.save(&crate::figure_job::recipe_path(path))?)
}

impl Pane for Figure {
    fn title(&self) -> &str {
        PaneKind::Figure.title()
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PaneContext<'_>) {
        let Some(recipe) = context.state.settings.figure.as_deref().cloned() else {
            Self::start_ui(ui, context);
            return;
        };
        let mut next = recipe.clone();
        self.preview.take(ui.ctx());
        let is_wide = ui.available_width() >= WIDE;
        self.toolbar_ui(ui, context, &mut next, is_wide);
        ui.add_space(SPACE);
        if is_wide {
            let height = ui.available_height();
            ui.horizontal_top(|ui| {
                let left = vec2(ui.available_width() - OPTIONS - 2.0 * SPACE, height);
                ui.allocate_ui_with_layout(left, Layout::top_down(Align::Min), |ui| {
                    self.preview.ui(ui, &recipe, self.zoom);
                });
                ui.add_space(SPACE);
                let right = vec2(OPTIONS, height);
                ui.allocate_ui_with_layout(right, Layout::top_down(Align::Min), |ui| {
                    options_ui(ui, context, &mut next);
                });
            });
        } else if self.shows_options {
            options_ui(ui, context, &mut next);
        } else {
            self.preview.ui(ui, &recipe, self.zoom);
        }
        if next != recipe {
            context.send(Command::SetFigure(Box::new(next)));
        }
    }
}

impl Figure {
    /// Before there is a figure.
    fn start_ui(ui: &mut Ui, context: &mut PaneContext<'_>) {
        let text = "A figure sets frames in rows and ways to look at them in columns, at print size, and is exported as PDF, \
                    SVG or PNG with its recipe";
        if context.state.dataset.is_none() && context.state.source.captures().is_none() {
            let actions = [
                Command::OpenDemo,
                Command::OpenDataset,
                Command::OpenCapture,
            ];
            empty_state(ui, context, "No figure yet", text, &actions);
            return;
        }
        empty_state(ui, context, "No figure yet", text, &[]);
        ui.vertical_centered(|ui| {
            if ui.button("Start with the current frame").clicked() {
                match compose::recipe(context.state, context.inspector) {
                    Ok(recipe) => context.send(Command::SetFigure(Box::new(recipe))),
                    Err(error) => context.send(Command::Notify(Notice::error(
                        "No figure can be started",
                        &error,
                    ))),
                }
            }
            command_button(ui, context, &Command::OpenFigure);
        });
    }

    fn toolbar_ui(
        &mut self,
        ui: &mut Ui,
        context: &mut PaneContext<'_>,
        next: &mut Recipe,
        is_wide: bool,
    ) {
        ui.horizontal_wrapped(|ui| {
            if !is_wide {
                ui.selectable_value(&mut self.shows_options, false, "Preview");
                ui.selectable_value(&mut self.shows_options, true, "Options");
            }
            let frame = compose::frame(context.state);
            let known = frame.as_ref().is_ok_and(|f| next.frames.contains(f));
            let add = ui.add_enabled(
                frame.is_ok() && !known,
                egui::Button::new("Add current frame"),
            );
            let add = add.on_hover_text("Add the frame under the cursor as a row");
            let add = add.on_disabled_hover_text(if known {
                "This frame is in the figure"
            } else {
                "Nothing is open"
            });
            if let (true, Ok(frame)) = (add.clicked(), frame) {
                next.frames.push(frame);
            }
            command_button(ui, context, &Command::ExportFigure);
            if is_wide || self.shows_options {
                command_button(ui, context, &Command::OpenFigure);
            }
            if self.shows_options && !is_wide {
                return;
            }
            ComboBox::from_id_salt("zoom")
                .width(22.0 * SPACE)
                .selected_text(self.zoom.label())
                .show_ui(ui, |ui| {
                    for zoom in Zoom::ALL {
                        ui.selectable_value(&mut self.zoom, zoom, zoom.label());
                    }
                })
                .response
                .accessible_name("Zoom")
                .on_hover_text("Size of the preview on screen");
            if let Some([width, height]) = self.preview.size_mm() {
                let text = format!("{width:.0} × {height:.0} mm");
                let text = RichText::new(text).color(theme::tokens(ui).text_weak);
                ui.add(egui::Label::new(text).extend());
            }
        });
    }
}
