//! Small things that several panes draw alike.

use egui::{Align, Color32, Layout, Response, RichText, Sense, Ui, Vec2, WidgetInfo, Role};

use crate::command::Command;
use crate::panes::PaneContext;
use crate::theme::{self, SPACE};

/// A pane with nothing in it: what would fill it, and the commands that do.
pub fn empty_state(ui: &mut Ui, context: &mut PaneContext<'_>, title: &str, text: &str, actions: &[Command]) {
    let height = ui.available_height();
    ui.vertical_centered(|ui| {
        ui.add_space((height * 0.5 - 14.0 * SPACE).max(4.0 * SPACE));
        ui.label(RichText::new(title).text_style(egui::TextStyle::Heading));
        ui.add_space(SPACE);
        ui.scope(|ui| {
            ui.set_max_width(90.0 * SPACE);
            ui.add(egui::Label::new(RichText::new(text).weak()).wrap());
        });
        ui.add_space(3.0 * SPACE);
        for action in actions {
            command_button(ui, context, action);
        }
    });
}

/// A button for a command: its label, its help and shortcut on hover, disabled with the reason when it cannot be done.
pub fn command_button(ui: &mut Ui, context: &mut PaneContext<'_>, command: &Command) -> Option<Response> {
    let info = command.info()?;
    let why_disabled = command.why_disabled(context.state);
    let response = ui.add_enabled(why_disabled.is_none(), egui::Button::new(info.label));
    let response = command_tooltip(response, command, why_disabled);
    if response.clicked() {
        context.send(command.clone());
    }
    Some(response)
}

/// A button with one symbol for a command; its accessible name is the command's label.
pub fn command_icon(ui: &mut Ui, context: &mut PaneContext<'_>, symbol: &str, command: &Command) -> Option<Response> {
    let info = command.info()?;
    let why_disabled = command.why_disabled(context.state);
    let selected = command.checked(context.state).unwrap_or(false);
    let response = ui
        .add_enabled_ui(why_disabled.is_none(), |ui| {
            ui.add(egui::Button::new(symbol).selected(selected).min_size(Vec2::splat(6.0 * SPACE)))
        })
        .inner;
    response.widget_info(|| WidgetInfo::selected(Role::Button, why_disabled.is_none(), selected, info.label));
    let response = command_tooltip(response, command, why_disabled);
    if response.clicked() {
        context.send(command.clone());
    }
    Some(response)
}

/// Help and shortcut of a command, or why it can do nothing.
pub fn command_tooltip(response: Response, command: &Command, why_disabled: Option<&'static str>) -> Response {
    let Some(info) = command.info() else { return response };
    let shortcut = info.shortcut.map(|s| response.ctx.format_shortcut(&s));
    match why_disabled {
        Some(why) => response.on_disabled_hover_text(why),
        None => response.on_hover_ui(|ui| {
            ui.set_max_width(ui.spacing().tooltip_width);
            ui.label(info.help);
            if let Some(shortcut) = shortcut {
                ui.label(RichText::new(shortcut).weak());
            }
        }),
    }
}

/// A frameless button with one symbol and an accessible name.
pub fn icon_button(ui: &mut Ui, symbol: &str, name: &str) -> Response {
    let response = ui.add(egui::Button::new(symbol).frame_when_inactive(false).min_size(Vec2::splat(5.0 * SPACE)));
    response.widget_info(|| WidgetInfo::labeled(Role::Button, ui.is_enabled(), name));
    response.on_hover_text(name)
}

/// Gives a widget without a text of its own an accessible name.
pub fn named(response: Response, kind: Role, name: &str) -> Response {
    response.widget_info(|| WidgetInfo::labeled(kind, true, name));
    response
}

/// A heading within a pane.
pub fn section(ui: &mut Ui, title: &str) {
    ui.add_space(SPACE);
    ui.label(RichText::new(title).text_style(theme::section_style()).color(theme::tokens(ui).text_strong));
}

/// A small word on a coloured ground, for states.
pub fn badge(ui: &mut Ui, text: &str, color: Color32) -> Response {
    let font = egui::TextStyle::Small.resolve(ui.style());
    let galley = ui.painter().layout_no_wrap(text.to_owned(), font, color);
    let size = galley.size() + Vec2::new(3.0 * SPACE, SPACE);
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    ui.painter().rect_filled(rect, size.y / 2.0, color.gamma_multiply(0.16));
    ui.painter().galley(rect.center() - galley.size() / 2.0, galley, color);
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, text));
    response
}

/// Name at the left, value in tabular figures at the right.
pub fn fact(ui: &mut Ui, name: &str, value: impl Into<String>) -> Response {
    ui.horizontal(|ui| {
        ui.label(RichText::new(name).weak());
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| ui.add(egui::Label::new(value.into()).truncate())).inner
    })
    .inner
}

/// What a plot says of the point under the pointer.
pub fn plot_label(position: &egui_plot::HoverPosition<'_>) -> Option<String> {
    match position {
        egui_plot::HoverPosition::NearDataPoint { plot_name, position, .. } if !plot_name.is_empty() => {
            Some(format!("{plot_name}\nstep {:.0}\n{:.4}", position.x, position.y))
        }
        _ => None,
    }
}

/// Seconds in words short enough for a table.
pub fn duration_text(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "–".to_owned();
    }
    let seconds = seconds.round() as u64;
    match seconds {
        0..=59 => format!("{seconds} s"),
        60..=3599 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// An integer with thin spaces between groups of three digits.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 * 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push('\u{2009}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1\u{2009}234\u{2009}567");
        assert_eq!(duration_text(59.4), "59 s");
        assert_eq!(duration_text(61.0), "1 min 01 s");
        assert_eq!(duration_text(3_700.0), "1 h 01 min");
        assert_eq!(duration_text(f64::NAN), "–");
    }
}
