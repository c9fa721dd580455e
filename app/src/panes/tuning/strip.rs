//! Under every slider: mean IoU on the tuning split against the slider's value.

use egui::{Align2, Mesh, Pos2, Rect, Role, Sense, Shape, Stroke, TextStyle, Ui, WidgetInfo, vec2};
use grounding::analysis::{Curve, CurvePoint, Field, Interval};
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::inspector::{Report, Survey};
use crate::theme::{self, SPACE};

/// Height of a strip, in points.
const HEIGHT: f32 = 7.0 * SPACE;

/// The newest curve of every threshold. While the curves of a new selection are on their way those of the one before stay,
/// dimmed, so that nothing flickers under a slider that is dragged.
#[derive(Default)]
pub(super) struct Strips {
    survey: Option<Arc<Survey>>,
    curves: Vec<(Arc<Curve>, bool)>,
}

impl Strips {
    /// Takes what has arrived; what is old goes when nothing `is_coming` any more.
    pub(super) fn update(&mut self, report: Option<&Report>, is_coming: bool) {
        let survey = report.map(|r| &r.request.survey);
        let same = match (survey, &self.survey) {
            (Some(new), Some(old)) => new.is_more_of(old),
            (new, old) => new.is_none() && old.is_none(),
        };
        if !same {
            self.curves.clear();
        }
        self.survey = survey.cloned();
        let now = report.map_or(&[][..], |r| &r.curves);
        self.curves
            .retain(|(old, _)| is_coming && now.iter().all(|new| new.field != old.field));
        for (_, is_new) in &mut self.curves {
            *is_new = false;
        }
        self.curves
            .extend(now.iter().map(|curve| (curve.clone(), true)));
    }

    /// The curve of a threshold, and whether it belongs to the newest numbers.
    fn get(&self, field: Field) -> Option<(&Curve, bool)> {
        let mut known = self.curves.iter();
        let (curve, is_new) = known.find(|(curve, _)| curve.field == field)?;
        Some((curve, *is_new))
    }
}

/// A strip, on the axis of the slider above it. What it shows is `scale` times the value of the field.
pub(super) struct Strip<'a> {
    pub strips: &'a Strips,
    pub field: Field,
    pub name: &'a str,
    pub unit: &'a str,
    pub decimals: usize,
    pub scale: f64,
    pub range: RangeInclusive<f64>,
}

impl Strip<'_> {
    /// Draws it below a slider at `rail` that stands at `value`; gives back the value that was clicked or dragged to. Its
    /// room is always kept, so that nothing moves when the curve arrives.
    pub(super) fn show(&self, ui: &mut Ui, rail: Rect, value: f64) -> Option<f64> {
        let width = ui.available_width();
        let (row, _) = ui.allocate_exact_size(vec2(width, HEIGHT), Sense::hover());
        // The rail ends half a handle before the slider's rectangle does.
        let inset = ui.spacing().interact_size.y / 2.5;
        let area = Rect::from_x_y_ranges(rail.x_range().shrink(inset), row.y_range().shrink(2.0));
        // The slider above is what the keyboard reaches.
        let sense = Sense::CLICK | Sense::DRAG;
        let target = Rect::from_x_y_ranges(rail.x_range(), row.y_range());
        let id = ui.scope_id().with(("strip", self.field));
        let response = ui.interact(target, id, sense);
        let curve = self.strips.get(self.field).filter(|_| ui.is_enabled());
        let best = curve.and_then(|(curve, _)| curve.best());
        response.widget_info(|| {
            let known = match best {
                Some(best) => format!(", best {:.2} at {}", best.mean_iou, self.text(best.value)),
                None => String::new(),
            };
            let name = format!("IoU against {}{known}", self.name);
            WidgetInfo::labeled(Role::Image, ui.is_enabled(), name)
        });
        self.paint(ui, row, area, curve, value);

        let share = |x: f32| f64::from((x - area.left()) / area.width().max(1.0)).clamp(0.0, 1.0);
        if let Some((curve, _)) = curve {
            let under = response.hover_pos().map(|at| self.at(share(at.x)));
            let text = || self.explain(curve, under.unwrap_or(value));
            response
                .clone()
                .on_hover_ui_at_pointer(|ui| {
                    ui.label(text());
                })
                .on_hover_cursor(egui::CursorIcon::ResizeHorizontal);
        }
        let held = response.is_pointer_button_down_on();
        let at = response
            .interact_pointer_pos()
            .filter(|_| held || response.clicked())?;
        Some(self.at(share(at.x)))
    }

    /// The value at a share of the axis, without digits that say nothing.
    fn at(&self, share: f64) -> f64 {
        let (low, high) = (*self.range.start(), *self.range.end());
        let digits = 10_f64.powi(self.decimals as i32);
        ((low + share * (high - low)) * digits).round() / digits
    }

    /// A value of the field, in the unit of the slider.
    fn text(&self, value: f64) -> String {
        format!("{:.*}{}", self.decimals, value * self.scale, self.unit)
    }

    fn explain(&self, curve: &Curve, shown: f64) -> String {
        let point = |p: &CurvePoint| match p.interval {
            Some(Interval { low, high }) => {
                format!("{:.3}, 95 % {low:.2} to {high:.2}", p.mean_iou)
            }
            None => format!("{:.3}", p.mean_iou),
        };
        let distance = |p: &CurvePoint| (p.value * self.scale - shown).abs();
        let near = curve
            .points
            .iter()
            .min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let mut lines = vec![format!(
            "Mean IoU on the tuning split against {}",
            self.name
        )];
        lines.extend(near.map(|p| format!("At {}: {}", self.text(p.value), point(p))));
        lines.extend(
            curve
                .best()
                .map(|p| format!("Best at {}: {}", self.text(p.value), point(p))),
        );
        lines.push("All other thresholds as they are. Tuned on, so no result".to_owned());
        lines.push("Click or drag to set the value".to_owned());
        lines.join("\n")
    }

    fn paint(&self, ui: &Ui, row: Rect, area: Rect, curve: Option<(&Curve, bool)>, value: f64) {
        let tokens = theme::tokens(ui);
        let painter = ui.painter().with_clip_rect(ui.clip_rect().intersect(row));
        let base = Stroke::new(1.0, tokens.border);
        painter.hline(area.x_range(), area.bottom(), base);
        let Some((curve, is_new)) = curve else {
            return;
        };
        let points: Vec<&CurvePoint> = curve
            .points
            .iter()
            .filter(|p| p.value * self.scale <= self.range.end() + 1e-9)
            .collect();
        let (Some(best), true) = (curve.best(), points.len() > 1) else {
            return;
        };
        let strength = if is_new { 1.0 } else { 0.4 };
        let line = tokens.series[0].gamma_multiply(strength);
        let top = points
            .iter()
            .map(|p| p.interval.map_or(p.mean_iou, |i| i.high.max(p.mean_iou)))
            .fold(1e-9, f64::max);
        let (low, high) = (*self.range.start(), *self.range.end());
        let x = |shown: f64| {
            let share = (shown - low) / (high - low);
            area.left() + area.width() * share.clamp(0.0, 1.0) as f32
        };
        let y = |iou: f64| area.bottom() - area.height() * (iou / top) as f32;
        let place = |p: &CurvePoint, iou: f64| Pos2::new(x(p.value * self.scale), y(iou));

        let mut band = Mesh::default();
        for pair in points.windows(2) {
            let [a, b] = pair else { continue };
            let ends = |p: &CurvePoint| {
                p.interval.unwrap_or(Interval {
                    low: 0.0,
                    high: p.mean_iou,
                })
            };
            let (ia, ib) = (ends(a), ends(b));
            let at = band.vertices.len() as u32;
            for corner in [
                place(a, ia.high),
                place(b, ib.high),
                place(b, ib.low),
                place(a, ia.low),
            ] {
                band.colored_vertex(corner, line.gamma_multiply(0.28));
            }
            band.add_triangle(at, at + 1, at + 2);
            band.add_triangle(at, at + 2, at + 3);
        }
        painter.add(Shape::mesh(band));
        let path: Vec<Pos2> = points.iter().map(|p| place(p, p.mean_iou)).collect();
        painter.line(path, Stroke::new(1.5, line));
        if value.is_finite() {
            let cursor = Stroke::new(1.0, tokens.cursor.gamma_multiply(strength));
            painter.vline(x(value), row.y_range(), cursor);
        }
        let mark = place(best, best.mean_iou);
        let ground = Stroke::new(1.5, tokens.panel);
        painter.circle(mark, 3.5, tokens.series[1].gamma_multiply(strength), ground);

        let font = TextStyle::Small.resolve(ui.style());
        let text = match is_new {
            true => tokens.text_weak,
            false => tokens.text_weak.gamma_multiply(0.6),
        };
        let caption = format!("best {:.2}\nat {}", best.mean_iou, self.text(best.value));
        let at = Pos2::new(row.right(), row.center().y);
        painter.text(at, Align2::RIGHT_CENTER, caption, font, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(strips: &Strips) -> Strip<'_> {
        Strip {
            strips,
            field: Field::Area,
            name: "Area",
            unit: " %",
            decimals: 0,
            scale: 100.0,
            range: 2.0..=50.0,
        }
    }

    #[test]
    fn a_place_on_the_strip_is_a_round_value() {
        let strips = Strips::default();
        let strip = strip(&strips);
        assert_eq!((strip.at(0.0), strip.at(1.0)), (2.0, 50.0));
        assert_eq!(strip.at(0.333), 18.0);
        assert_eq!(strip.text(0.1), "10 %");
    }

    #[test]
    fn a_tooltip_tells_the_point_under_the_pointer_and_the_best() {
        let interval = Some(Interval {
            low: 0.4,
            high: 0.6,
        });
        let point = |value, mean_iou| CurvePoint {
            value,
            mean_iou,
            interval,
        };
        let curve = Curve {
            field: Field::Area,
            points: vec![point(0.02, 0.1), point(0.1, 0.5), point(0.5, 0.2)],
        };
        let strips = Strips::default();
        let text = strip(&strips).explain(&curve, 3.0);
        assert!(text.contains("At 2 %: 0.100, 95 % 0.40 to 0.60"), "{text}");
        assert!(text.contains("Best at 10 %: 0.500"), "{text}");
    }
}
