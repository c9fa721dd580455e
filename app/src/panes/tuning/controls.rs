//! Rows of the form: a name at the left, controls at the right.

use egui::{
    Align, ComboBox, DragValue, Layout, Rect, RichText, Sense, Slider, SliderClamping, TextStyle,
    TextWrapMode, Ui, UiBuilder, vec2,
};
use std::ops::RangeInclusive;

use crate::theme::{self, SPACE};

/// Width of the names left of the controls, in points.
const NAME: f32 = 33.0 * SPACE;
/// Below this width names stand above their controls.
const NARROW: f32 = 72.0 * SPACE;
/// Width of the numbers right of the sliders.
const VALUE: f32 = 17.0 * SPACE;

/// A row with a name and controls of any kind, which are given the id of their label.
pub(super) fn row<R>(
    ui: &mut Ui,
    name: &str,
    help: &str,
    controls: impl FnOnce(&mut Ui, egui::Id) -> R,
) -> R {
    let named = |ui: &mut Ui| {
        let label = ui.add(egui::Label::new(name).wrap());
        let id = label.id;
        if !help.is_empty() {
            label.on_hover_text(help);
        }
        id
    };
    if ui.available_width() < NARROW {
        let label = named(ui);
        return ui.horizontal(|ui| controls(ui, label)).inner;
    }
    ui.horizontal(|ui| {
        let size = vec2(NAME, ui.spacing().interact_size.y);
        let left = Layout::left_to_right(Align::Center);
        let label = ui.allocate_ui_with_layout(size, left, |ui| {
            ui.set_min_size(size);
            named(ui)
        });
        controls(ui, label.inner)
    })
    .inner
}

/// Something in the column of the controls.
pub(super) fn unnamed<R>(ui: &mut Ui, controls: impl FnOnce(&mut Ui) -> R) -> R {
    if ui.available_width() < NARROW {
        return ui.horizontal_wrapped(controls).inner;
    }
    ui.horizontal_top(|ui| {
        ui.add_space(NAME + ui.spacing().item_spacing.x);
        let size = vec2(ui.available_width(), 0.0);
        let wrapped = Layout::left_to_right(Align::Min).with_main_wrap(true);
        ui.allocate_ui_with_layout(size, wrapped, controls).inner
    })
    .inner
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
    let mode = match ui.available_width() < NARROW {
        true => TextWrapMode::Wrap,
        false => TextWrapMode::Truncate,
    };
    row(ui, name, help, |ui, label| {
        let width = ui.available_width();
        ComboBox::from_id_salt(name)
            .width(width)
            .height(130.0 * SPACE)
            .wrap_mode(mode)
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
    unnamed(ui, |ui| {
        ui.add(egui::Label::new(RichText::new(text).small().color(color)).wrap());
    });
}

/// What is chosen, in a sentence. Takes the room of the longest sentence there is, so that nothing below it moves.
pub(super) fn sentence(ui: &mut Ui, all: &[&str], chosen: &str) {
    unnamed(ui, |ui| {
        let (width, font) = (ui.available_width(), TextStyle::Small.resolve(ui.style()));
        let color = theme::tokens(ui).text_weak;
        let height = |text: &&str| {
            let (text, any) = ((*text).to_owned(), egui::Color32::PLACEHOLDER);
            let galley = ui.painter().layout(text, font.clone(), any, width);
            galley.size().y
        };
        let size = vec2(width, all.iter().map(height).fold(0.0, f32::max));
        ui.allocate_ui_with_layout(size, Layout::top_down(Align::Min), |ui| {
            ui.set_min_size(size);
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
        row(ui, self.name, self.help, |ui, label| {
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
    }
}
