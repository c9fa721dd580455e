//! The command palette: any command by a few letters of its name.

use egui::{Align, Key, Layout, RichText};

use crate::command::Command;
use crate::state::WorkbenchState;
use crate::theme::{self, SPACE};

/// The palette while it is open.
#[derive(Default)]
pub struct Palette {
    open: bool,
    query: String,
    chosen: usize,
}

const WIDTH: f32 = 140.0 * SPACE;
const ROWS: usize = 12;

impl Palette {
    /// Opens it empty, or closes it.
    pub fn toggle(&mut self) {
        *self = Self {
            open: !self.open,
            ..Self::default()
        };
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Draws it when open; gives the command that was chosen.
    pub fn show(&mut self, context: &egui::Context, state: &WorkbenchState) -> Option<Command> {
        if !self.open {
            return None;
        }
        let (up, down, enter) = context.input_mut(|input| {
            (
                input.consume_key(egui::Modifiers::NONE, Key::ArrowUp),
                input.consume_key(egui::Modifiers::NONE, Key::ArrowDown),
                input.consume_key(egui::Modifiers::NONE, Key::Enter),
            )
        });
        let found = search(&self.query);
        if down {
            self.chosen += 1;
        }
        if up {
            self.chosen = self.chosen.saturating_sub(1);
        }
        self.chosen = self.chosen.min(found.len().saturating_sub(1));
        let mut run = enter.then(|| found.get(self.chosen).cloned()).flatten();

        let modal = egui::Modal::new(egui::Id::unique("palette"))
            .area(
                egui::Modal::default_area(egui::Id::unique("palette"))
                    .anchor(egui::Align2::CENTER_TOP, [0.0, 20.0 * SPACE]),
            )
            .show(context, |ui| {
                ui.set_width(WIDTH);
                let field = egui::TextEdit::singleline(&mut self.query)
                    .hint_text("Find a command")
                    .desired_width(f32::INFINITY)
                    .margin(egui::Margin::symmetric(8, 6));
                let field = ui.add(field);
                field.widget_info(|| {
                    egui::WidgetInfo::labeled(egui::Role::TextInput, true, "Find a command")
                });
                field.request_focus();
                if field.changed() {
                    self.chosen = 0;
                }
                ui.add_space(SPACE);
                let first = self.chosen.saturating_sub(ROWS - 1);
                for (index, command) in found.iter().enumerate().skip(first).take(ROWS) {
                    if row_ui(ui, command, state, index == self.chosen) {
                        run = Some(command.clone());
                    }
                }
                if found.is_empty() {
                    ui.label(RichText::new("No command of that name").weak());
                }
            });
        if let Some(command) = &run
            && command.why_disabled(state).is_some()
        {
            run = None;
        }
        if run.is_some() || modal.should_close() {
            self.open = false;
        }
        run
    }
}

fn row_ui(ui: &mut egui::Ui, command: &Command, state: &WorkbenchState, chosen: bool) -> bool {
    let Some(info) = command.info() else {
        return false;
    };
    let why_disabled = command.why_disabled(state);
    let tokens = theme::tokens(ui);
    let (rect, response) = ui.allocate_exact_size(
        egui::vec2(ui.available_width(), 7.0 * SPACE),
        egui::Sense::click(),
    );
    let response = match why_disabled {
        Some(why) => response.on_hover_text(why),
        None => response.on_hover_text(info.help),
    };
    if chosen || response.hovered() {
        let fill = if chosen {
            tokens.accent_ground
        } else {
            tokens.control
        };
        ui.painter().rect_filled(rect, theme::RADIUS, fill);
    }
    let color = match (why_disabled.is_some(), chosen) {
        (true, _) => tokens.text_weak,
        (false, true) => tokens.accent_text,
        (false, false) => tokens.text,
    };
    let mut row = ui.new_child(
        egui::UiBuilder::new()
            .max_rect(rect.shrink2(egui::vec2(2.0 * SPACE, 0.0)))
            .layout(Layout::left_to_right(Align::Center)),
    );
    row.label(RichText::new(info.label).color(color));
    row.label(RichText::new(info.menu.label()).small().color(if chosen {
        color
    } else {
        tokens.text_weak
    }));
    row.with_layout(Layout::right_to_left(Align::Center), |ui| {
        if let Some(shortcut) = info.shortcut {
            let text = crate::widgets::shortcut_text(ui.ctx(), &shortcut);
            ui.label(RichText::new(text).small().color(if chosen {
                color
            } else {
                tokens.text_weak
            }));
        }
    });
    response.widget_info(|| {
        egui::WidgetInfo::selected(
            egui::Role::Button,
            why_disabled.is_none(),
            chosen,
            info.label,
        )
    });
    response.clicked()
}

/// Commands whose name holds the letters of `query` in order, the closest first.
pub fn search(query: &str) -> Vec<Command> {
    let mut found: Vec<(i32, usize, Command)> = Command::all()
        .into_iter()
        .filter(|command| *command != Command::ShowPalette)
        .enumerate()
        .filter_map(|(index, command)| {
            let info = command.info()?;
            let by_label = score(info.label, query);
            // "view dark" finds a command by its menu too.
            let by_menu =
                score(&format!("{} {}", info.menu.label(), info.label), query).map(|s| s - 5);
            Some((by_label.max(by_menu)?, index, command))
        })
        .collect();
    found.sort_by_key(|(score, index, _)| (-score, *index));
    found.into_iter().map(|(_, _, command)| command).collect()
}

/// How well the letters of `query` appear in order in `text`; none when they do not. Letters at the start of a word
/// and runs of letters count more.
fn score(text: &str, query: &str) -> Option<i32> {
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let mut total = 0;
    let mut from = 0;
    let mut last: Option<usize> = None;
    for wanted in query.to_lowercase().chars().filter(|c| !c.is_whitespace()) {
        let starts_word = |i: usize| i == 0 || !text[i - 1].is_alphanumeric();
        let rest = || (from..text.len()).filter(|&i| text[i] == wanted);
        // A letter that goes on with the last one, else one that starts a word, else any.
        let next = last
            .map(|l| l + 1)
            .filter(|&i| text.get(i) == Some(&wanted));
        let at = next
            .or_else(|| rest().find(|&i| starts_word(i)))
            .or_else(|| rest().next())?;
        total += 1;
        total += if starts_word(at) { 8 } else { 0 };
        total += if last.is_some_and(|l| l + 1 == at) {
            5
        } else {
            0
        };
        total -= i32::try_from(at - from).unwrap_or(0).min(3);
        last = Some(at);
        from = at + 1;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_letters_find_a_command() {
        assert_eq!(search("dark")[0], Command::ThemeDark);
        assert_eq!(search("open da")[0], Command::OpenDataset);
        assert_eq!(search("export")[0], Command::ExportFigure);
        assert_eq!(search("view light")[0], Command::ThemeLight);
        assert!(search("xyzzy").is_empty());
        assert_eq!(search("").len(), Command::all().len() - 1);
    }
}
