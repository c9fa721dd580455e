//! The log pane: what happened, newest last.

use std::time::SystemTime;

use egui::{RichText, Ui};
use tracing::Level;

use super::{Pane, PaneContext, PaneKind};
use crate::log::Line;
use crate::theme::{self, SPACE};

/// The log pane.
#[derive(Default)]
pub struct Log {
    search: String,
    problems_only: bool,
}

impl Pane for Log {
    fn title(&self) -> &str {
        PaneKind::Log.title()
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PaneContext<'_>) {
        let needle = self.search.to_lowercase();
        let wanted: Vec<Line> = context.log.read(|lines| {
            lines
                .iter()
                .filter(|line| !self.problems_only || line.level <= Level::WARN)
                .filter(|line| needle.is_empty() || line.text.to_lowercase().contains(&needle))
                .cloned()
                .collect()
        });
        ui.horizontal(|ui| {
            let field = egui::TextEdit::singleline(&mut self.search)
                .hint_text("Search the log")
                .desired_width(60.0 * SPACE);
            crate::widgets::named(ui.add(field), egui::Role::TextInput, "Search the log");
            ui.checkbox(&mut self.problems_only, "Problems only");
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                if ui
                    .button("Copy all")
                    .on_hover_text("Copy the lines shown to the clipboard")
                    .clicked()
                {
                    let text: Vec<String> = wanted
                        .iter()
                        .map(|line| format!("{} {} {}", clock(line.time), line.level, line.text))
                        .collect();
                    context.send(crate::command::Command::CopyText(text.join("\n")));
                }
            });
        });
        ui.add_space(SPACE);
        if wanted.is_empty() {
            ui.label(RichText::new("Nothing to report").weak());
            return;
        }
        let tokens = theme::tokens(ui);
        let height = ui.text_style_height(&egui::TextStyle::Monospace);
        egui::ScrollArea::both()
            .auto_shrink(false)
            .stick_to_bottom(true)
            .show_rows(ui, height, wanted.len(), |ui, range| {
                ui.style_mut().wrap_mode = Some(egui::TextWrapMode::Extend);
                for line in wanted.get(range).unwrap_or_default() {
                    let color = match line.level {
                        Level::ERROR => tokens.bad,
                        Level::WARN => tokens.warn,
                        Level::INFO => tokens.text,
                        _ => tokens.text_weak,
                    };
                    ui.horizontal(|ui| {
                        ui.label(
                            RichText::new(clock(line.time))
                                .monospace()
                                .color(tokens.text_weak),
                        );
                        ui.label(RichText::new(&line.text).color(color))
                            .on_hover_text(line.target);
                    });
                }
            });
    }
}

/// Time of day in UTC, `hh:mm:ss`.
fn clock(time: SystemTime) -> String {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    )
}
