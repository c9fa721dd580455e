//! The colour bar: the map's colours with the numbers at its ends.

use super::heat::{Scale, bar_image};
use super::texture::{Textures, content_key};
use egui::{
    Align2, Color32, FontId, Pos2, Rect, Response, Sense, TextStyle, TextureOptions, Ui, Vec2, pos2,
};
use figure::ColorMap;

/// Height of the coloured strip in points.
const STRIP: f32 = 10.0;

/// Draws a horizontal colour bar `width` points wide with its ends (and zero, when it lies inside) in numbers.
///
/// `quantity` says what is measured, with its unit; it is the bar's accessible name together with the range.
pub fn color_bar_ui(
    ui: &mut Ui,
    scale: Scale,
    color_map: ColorMap,
    quantity: &str,
    width: f32,
) -> Response {
    let font = TextStyle::Small.resolve(ui.style());
    let line = ui.fonts_mut(|fonts| fonts.row_height(&font));
    let (rect, response) =
        ui.allocate_exact_size(Vec2::new(width, STRIP + 2.0 + line), Sense::hover());
    let (low, high) = (format_value(scale.low), format_value(scale.high));
    if ui.is_rect_visible(rect) {
        let strip = Rect::from_min_size(rect.min, Vec2::new(width, STRIP));
        let texture = Textures::of(ui.ctx()).computed(
            ui.ctx(),
            content_key(("bar", color_map)),
            TextureOptions::LINEAR,
            || bar_image(color_map),
        );
        let uv = Rect::from_min_max(Pos2::ZERO, pos2(1.0, 1.0));
        ui.painter().image(texture, strip, uv, Color32::WHITE);
        ui.painter().rect_stroke(
            strip,
            0.0,
            ui.visuals().widgets.noninteractive.bg_stroke,
            egui::StrokeKind::Outside,
        );
        let color = ui.visuals().text_color();
        let number = |x: f32, align: Align2, text: &str, font: &FontId| {
            ui.painter().text(
                pos2(x, strip.bottom() + 2.0),
                align,
                text,
                font.clone(),
                color,
            )
        };
        let left = number(strip.left(), Align2::LEFT_TOP, &low, &font);
        let right = number(strip.right(), Align2::RIGHT_TOP, &high, &font);
        let middle = ui.painter().layout_no_wrap(
            quantity.to_owned(),
            font.clone(),
            ui.visuals().weak_text_color(),
        );
        let room = right.left() - left.right() - 12.0;
        if middle.size().x <= room {
            let centre = (left.right() + right.left()) / 2.0;
            let at = pos2(centre - middle.size().x / 2.0, strip.bottom() + 2.0);
            ui.painter().galley(at, middle, color);
        }
        if scale.low < 0.0 && scale.high > 0.0 {
            let x = strip.left() + strip.width() * scale.position(0.0) as f32;
            ui.painter()
                .vline(x, strip.y_range(), egui::Stroke::new(1.0, Color32::BLACK));
        }
    }
    let name = format!("Colour bar, {quantity}, {low} to {high}");
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, &name));
    response.on_hover_text(format!("{quantity}\nfrom {low} to {high}, {color_map}"))
}

/// A number short enough for an axis, with three significant digits: `0`, `0.042`, `1.25`, `3.1e-5`.
pub fn format_value(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !value.is_finite() {
        return "–".to_owned();
    }
    let magnitude = value.abs().log10().floor() as i32;
    if (-4..5).contains(&magnitude) {
        let decimals = (2 - magnitude).clamp(0, 6) as usize;
        let text = format!("{value:.decimals$}");
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        }
    } else {
        format!("{value:.1e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_keep_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.5, "0.5"),
            (0.0421, "0.0421"),
            (0.04216, "0.0422"),
            (12.34, "12.3"),
            (1234.4, "1234"),
            (0.000031, "3.1e-5"),
            (-0.25, "-0.25"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(format_value(value), text);
        }
    }
}
