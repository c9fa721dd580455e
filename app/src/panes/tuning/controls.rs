//! Rows of the form: a name at the left, controls at the right.

use egui::{
    Align, ComboBox, DragValue, Layout, Rect, RichText, Sense, Slider, SliderClamping, TextStyle,
    Ui, UiBuilder, vec2,
};
use std::ops::RangeInclusive;

use crate::theme::{self, SPACE};

/// Width of the names left of the controls, in points.
pub(super) const NAME: f32 = 33.0 * SPACE;
/// The same where there is little room.
const NARROW_NAME: f32 = 24.0 * SPACE;
/// Below this width names have less room.
const NARROW: f32 = 66.0 * SPACE;
/// Width of the numbers right of the sliders.
pub(super) const VALUE: f32 = 17.0 * SPACE;

/// The name of a row, with its help; gives back the id that labels the control.
pub(super) fn name_cell(ui: &mut Ui, name: &str, help: &str) -> egui::Id {
    let width = match ui.available_width() < NARROW {
        true => NARROW_NAME,
        false => NAME,
    };
    ui.allocate_ui_with_layout(
        vec2(width, ui.spacing().interact_size.y),
        Layout::left_to_right(Align::Center),
        |ui| {
            ui.set_min_width(width);
            let label = ui.add(egui::Label::new(name).wrap());
            let id = label.id;
            if !help.is_empty() {
                label.on_hover_text(help);
            }
            id
        },
    )
    .inner
}

/// A row with a name and controls of any kind, which are given the id of their label.
pub(super) fn row(ui: &mut Ui, name: &str, help: &str, controls: impl FnOnce(&mut Ui, egui::Id)) {
    ui.horizontal(|ui| {
        let label = name_cell(ui, name, help);
        controls(ui, label);
    });
}

/// Rows that can do nothing at present stay where they are, greyed, and say why.
pub(super) fn idle<R>(ui: &mut Ui, why: Option<&str>, rows: impl FnOnce(&mut Ui) -> R) -> R {
    let Some(why) = why else {
        return rows(ui);
    };
    let inner = ui.scope_builder(UiBuilder::new(), |ui| {
        ui.disable();
        rows(ui)
    });
    let response = inner.response;
    ui.interact(response.rect, response.id.with("why"), Sense::hover())
        .on_hover_text(why);
    inner.inner
}

/// A row with a list to choose from.
pub(super) fn choice(
    ui: &mut Ui,
    name: &str,
    help: &str,
    selected: &str,
    options: impl FnOnce(&mut Ui),
) {
    row(ui, name, help, |ui, label| {
        let width = ui.available_width();
        ComboBox::from_id_salt(name)
            .width(width)
            .height(100.0 * SPACE)
            .truncate()
            .selected_text(selected)
            .show_ui(ui, options)
            .response
            .labelled_by(label)
            .on_hover_text(help);
    });
}

/// A row with some values to choose from.
pub(super) fn among<T: PartialEq + Copy>(
    ui: &mut Ui,
    name: &str,
    help: &str,
    value: &mut T,
    options: &[(T, &str)],
) {
    let shown = options
        .iter()
        .find(|(o, _)| o == value)
        .map_or("", |(_, name)| *name);
    choice(ui, name, help, shown, |ui| {
        for (option, name) in options {
            ui.selectable_value(value, *option, *name);
        }
    });
}

/// A row with the kinds of a value that carries numbers; choosing another kind puts that option in its place.
pub(super) fn kind<T: Copy>(
    ui: &mut Ui,
    name: &str,
    help: &str,
    value: &mut T,
    options: &[(T, &str)],
) {
    let same = |a: &T, b: &T| std::mem::discriminant(a) == std::mem::discriminant(b);
    let shown = options
        .iter()
        .find(|(option, _)| same(option, value))
        .map_or("", |(_, name)| *name);
    choice(ui, name, help, shown, |ui| {
        for (option, name) in options {
            let is_on = same(option, value);
            if ui.selectable_label(is_on, *name).clicked() && !is_on {
                *value = *option;
            }
        }
    });
}

/// A small text in the column of the controls.
pub(super) fn note(ui: &mut Ui, text: &str, color: egui::Color32) {
    ui.horizontal(|ui| {
        name_cell(ui, "", "");
        ui.add(egui::Label::new(RichText::new(text).small().color(color)).wrap());
    });
}

/// What is chosen, in a sentence. Takes the room of the longest sentence there is, so that nothing below it moves.
pub(super) fn sentence(ui: &mut Ui, all: &[&str], chosen: &str) {
    ui.horizontal_top(|ui| {
        name_cell(ui, "", "");
        let (width, font) = (ui.available_width(), TextStyle::Small.resolve(ui.style()));
        let color = theme::tokens(ui).text_weak;
        let height = |text: &&str| {
            let galley = ui.painter().layout(
                (*text).to_owned(),
                font.clone(),
                egui::Color32::PLACEHOLDER,
                width,
            );
            galley.size().y
        };
        let tallest = all.iter().map(height).fold(0.0, f32::max);
        ui.allocate_ui_with_layout(vec2(width, tallest), Layout::top_down(Align::Min), |ui| {
            ui.set_min_size(vec2(width, tallest));
            ui.add(egui::Label::new(RichText::new(chosen).small().color(color)).wrap());
        });
    });
}

/// What a slider shows.
pub(super) struct SliderRow<'a> {
    pub name: &'a str,
    pub help: &'a str,
    pub range: RangeInclusive<f64>,
    pub decimals: usize,
    pub unit: &'a str,
}

impl SliderRow<'_> {
    /// Shows name, slider and number; gives back where the slider is. A value out of the slider's range, from a file, stays
    /// what it is until it is moved.
    pub(super) fn show(&self, ui: &mut Ui, value: &mut f64) -> Rect {
        ui.horizontal(|ui| {
            let label = name_cell(ui, self.name, self.help);
            let spacing = ui.spacing().item_spacing.x;
            ui.spacing_mut().slider_width =
                (ui.available_width() - VALUE - spacing).max(8.0 * SPACE);
            let step = if self.decimals == 0 { 1.0 } else { 0.0 };
            let slider = Slider::new(value, self.range.clone())
                .show_value(false)
                .step_by(step)
                .clamping(SliderClamping::Edits);
            let slider = ui.add(slider).labelled_by(label);
            let speed = (self.range.end() - self.range.start()) / 200.0;
            let number = DragValue::new(value)
                .range(self.range.clone())
                .clamp_existing_to_range(false)
                .speed(speed)
                .fixed_decimals(self.decimals)
                .suffix(self.unit);
            let size = vec2(ui.available_width(), ui.spacing().interact_size.y);
            ui.add_sized(size, number).labelled_by(label);
            slider.rect
        })
        .inner
    }
}
