//! Small things that several panes draw alike.

use egui::{Align, Color32, Layout, Response, RichText, Role, Sense, Ui, Vec2, WidgetInfo};

use crate::command::Command;
use crate::icons::Face;
use crate::panes::PaneContext;
use crate::theme::{self, SPACE};

/// A pane with nothing in it: what would fill it, and the commands that do.
pub fn empty_state(
    ui: &mut Ui,
    context: &mut PaneContext<'_>,
    title: &str,
    text: &str,
    actions: &[Command],
) {
    const WIDTH: f32 = 96.0 * SPACE;
    let width = ui.available_width().min(WIDTH);
    // Centred by its own height, which is known from the second frame on; a low pane starts at its top.
    let id = ui.scope_id().with("empty state");
    let height = ui
        .data(|data| data.get_temp::<f32>(id))
        .unwrap_or(28.0 * SPACE);
    let top = ((ui.available_height() - height) * 0.42).max(0.0);
    egui::ScrollArea::vertical()
        .id_salt("empty state")
        .auto_shrink([false, true])
        .show(ui, |ui| {
            ui.add_space(top);
            let inner = ui.vertical_centered(|ui| {
                ui.label(RichText::new(title).text_style(egui::TextStyle::Heading));
                ui.add_space(SPACE);
                ui.scope(|ui| {
                    ui.set_max_width(width);
                    ui.add(egui::Label::new(RichText::new(text).weak()).wrap());
                });
                ui.add_space(2.0 * SPACE);
                for row in rows_that_fit(ui, actions, ui.available_width()) {
                    let row_width = row.iter().map(|(_, width)| width).sum::<f32>()
                        + (row.len().saturating_sub(1)) as f32 * ui.spacing().item_spacing.x;
                    ui.horizontal(|ui| {
                        ui.add_space(((ui.available_width() - row_width) / 2.0).max(0.0));
                        for (command, _) in row {
                            command_button(ui, context, command);
                        }
                    });
                }
            });
            let now = inner.response.rect.height();
            if (now - height).abs() > 0.5 {
                ui.data_mut(|data| data.insert_temp(id, now));
                ui.ctx().request_repaint();
            }
        });
}

/// Buttons with their widths, broken into rows.
fn rows_that_fit<'a>(ui: &Ui, commands: &'a [Command], room: f32) -> Vec<Vec<(&'a Command, f32)>> {
    let font = egui::TextStyle::Button.resolve(ui.style());
    let padding = 2.0 * ui.spacing().button_padding.x;
    let gap = ui.spacing().item_spacing.x;
    let mut rows: Vec<Vec<(&Command, f32)>> = Vec::new();
    let mut used = f32::INFINITY;
    for command in commands {
        let Some(info) = command.info() else { continue };
        let galley =
            ui.painter()
                .layout_no_wrap(info.label.to_owned(), font.clone(), Color32::PLACEHOLDER);
        let width = galley.size().x + padding;
        match rows.last_mut() {
            Some(row) if used + gap + width <= room => {
                used += gap + width;
                row.push((command, width));
            }
            _ => {
                used = width;
                rows.push(vec![(command, width)]);
            }
        }
    }
    rows
}

/// A button for a command: its label, its help and shortcut on hover, disabled with the reason when it cannot be done.
pub fn command_button(
    ui: &mut Ui,
    context: &mut PaneContext<'_>,
    command: &Command,
) -> Option<Response> {
    let info = command.info()?;
    let why_disabled = command.why_disabled(context.state);
    let response = ui.add_enabled(why_disabled.is_none(), egui::Button::new(info.label));
    let response = command_tooltip(response, command, why_disabled);
    if response.clicked() {
        context.send(command.clone());
    }
    Some(response)
}

/// A small button with an icon or a word for a command; its accessible name is the command's label.
pub fn command_icon<'a>(
    ui: &mut Ui,
    context: &mut PaneContext<'_>,
    face: impl Into<Face<'a>>,
    command: &Command,
) -> Option<Response> {
    let info = command.info()?;
    let why_disabled = command.why_disabled(context.state);
    let selected = command.checked(context.state).unwrap_or(false);
    let response = ui
        .add_enabled_ui(why_disabled.is_none(), |ui| {
            face_button(ui, face.into(), selected, true)
        })
        .inner;
    response.widget_info(|| {
        WidgetInfo::selected(Role::Button, why_disabled.is_none(), selected, info.label)
    });
    let response = command_tooltip(response, command, why_disabled);
    if response.clicked() {
        context.send(command.clone());
    }
    Some(response)
}

/// A button of the height of all buttons; an icon on it is drawn in the colour that text would have.
fn face_button(ui: &mut Ui, face: Face<'_>, selected: bool, framed: bool) -> Response {
    let size = Vec2::splat(6.0 * SPACE);
    let (text, icon) = match face {
        Face::Text(text) => (text, None),
        Face::Icon(icon) => ("", Some(icon)),
    };
    let button = egui::Button::new(text)
        .selected(selected)
        .min_size(size)
        .frame_when_inactive(framed);
    let response = ui.add(button);
    if let Some(icon) = icon {
        let color = if selected {
            ui.visuals().selection.stroke.color
        } else {
            ui.style().interact(&response).text_color()
        };
        icon.paint(ui.painter(), response.rect, color);
    }
    response
}

/// Help and shortcut of a command, or why it can do nothing.
pub fn command_tooltip(
    response: Response,
    command: &Command,
    why_disabled: Option<&'static str>,
) -> Response {
    let Some(info) = command.info() else {
        return response;
    };
    let shortcut = info.shortcut.map(|s| shortcut_text(&response.ctx, &s));
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

/// A frameless button with an icon or a word, and an accessible name.
pub fn icon_button<'a>(ui: &mut Ui, face: impl Into<Face<'a>>, name: &str) -> Response {
    let response = face_button(ui, face.into(), false, false);
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
    ui.label(
        RichText::new(title)
            .text_style(theme::section_style())
            .color(theme::tokens(ui).text_strong),
    );
}

/// The frame of dialogs within the window.
pub fn modal_frame(context: &egui::Context) -> egui::Frame {
    egui::Frame::window(&context.global_style()).inner_margin(egui::Margin::same(16))
}

/// A small word on a coloured ground, for states.
pub fn badge(ui: &mut Ui, text: &str, color: Color32) -> Response {
    let font = egui::TextStyle::Small.resolve(ui.style());
    let galley = ui.painter().layout_no_wrap(text.to_owned(), font, color);
    let size = galley.size() + Vec2::new(3.0 * SPACE, SPACE);
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    ui.painter()
        .rect_filled(rect, size.y / 2.0, color.gamma_multiply(0.16));
    ui.painter()
        .galley(rect.center() - galley.size() / 2.0, galley, color);
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, text));
    response
}

/// Name at the left, value in tabular figures at the right.
pub fn fact(ui: &mut Ui, name: &str, value: impl Into<String>) -> Response {
    ui.horizontal(|ui| {
        ui.label(RichText::new(name).weak());
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.add(egui::Label::new(value.into()).truncate())
        })
        .inner
    })
    .inner
}

/// What a plot says of the point under the pointer.
pub fn plot_label(position: &egui_plot::HoverPosition<'_>) -> Option<String> {
    match position {
        egui_plot::HoverPosition::NearDataPoint {
            plot_name,
            position,
            ..
        } if !plot_name.is_empty() => Some(format!(
            "{plot_name}\nstep {:.0}\n{:.4}",
            position.x, position.y
        )),
        _ => None,
    }
}

/// Keys as they stand on a keyboard: `Ctrl+K`, `←`, `[`.
pub fn shortcut_text(context: &egui::Context, shortcut: &egui::KeyboardShortcut) -> String {
    let key = shortcut.logical_key;
    let shown = match key {
        egui::Key::OpenBracket => "[",
        egui::Key::CloseBracket => "]",
        egui::Key::OpenCurlyBracket => "{",
        egui::Key::CloseCurlyBracket => "}",
        egui::Key::Comma => ",",
        egui::Key::Period => ".",
        egui::Key::Plus => "+",
        egui::Key::Minus => "−",
        egui::Key::ArrowLeft => "←",
        egui::Key::ArrowRight => "→",
        egui::Key::ArrowUp => "↑",
        egui::Key::ArrowDown => "↓",
        key => key.name(),
    };
    let modifiers = context.format_modifiers(shortcut.modifiers);
    match modifiers.as_str() {
        "" => shown.to_owned(),
        modifiers => format!("{modifiers}+{shown}"),
    }
}

/// A number with two decimals; what rounds to nothing has no sign.
pub fn decimal(value: f32) -> String {
    let text = format!("{value:.2}");
    if text == "-0.00" {
        "0.00".to_owned()
    } else {
        text
    }
}

/// An axis of steps: marks as close together as their numbers allow.
pub fn step_axis<'a>() -> Vec<egui_plot::AxisHints<'a>> {
    vec![egui_plot::AxisHints::new_x().label_spacing(egui::Rangef::new(24.0, 44.0))]
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
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
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
