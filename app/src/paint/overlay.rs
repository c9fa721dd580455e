//! What is drawn over a frame: heat map, mask outline, boxes and their names.

use crate::theme::Tokens;
use egui::{Color32, Painter, Pos2, Rect, Shape, Stroke, StrokeKind, Vec2, pos2};
use figure::Vertex;

/// How an outline is told from the others when colour does not do it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dash {
    /// One line.
    Solid,
    /// Dashes, as long as given in points.
    Dashed(f32),
    /// Round dots.
    Dotted,
}

/// Colour, width and dash of one kind of outline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Colour of the line.
    pub color: Color32,
    /// Width in points.
    pub width: f32,
    /// The second cue.
    pub dash: Dash,
}

/// What lies between a line and the picture, so that the line stands out on any picture in either theme.
const CASING: Color32 = Color32::from_black_alpha(150);
/// The ground of words on a picture.
const PLATE: Color32 = Color32::from_black_alpha(190);

impl Line {
    /// The pseudo-gaze mask: solid, in a colour that no map holds without its casing.
    pub fn mask(tokens: &Tokens) -> Self {
        Self {
            color: tokens.mask,
            width: 2.0,
            dash: Dash::Solid,
        }
    }

    /// The box around the mask.
    pub fn mask_box(tokens: &Tokens) -> Self {
        Self {
            color: tokens.mask,
            width: 1.5,
            dash: Dash::Dotted,
        }
    }

    /// The second region of a two-region rule.
    pub fn second(tokens: &Tokens) -> Self {
        Self {
            color: tokens.mask_second,
            width: 2.0,
            dash: Dash::Solid,
        }
    }

    /// A detector's box.
    pub fn detection(tokens: &Tokens) -> Self {
        Self {
            color: tokens.box_detector,
            width: 2.0,
            dash: Dash::Dashed(6.0),
        }
    }

    /// Exact outline or box of the target.
    pub fn target(tokens: &Tokens) -> Self {
        Self {
            color: tokens.box_truth,
            width: 2.0,
            dash: Dash::Dashed(3.0),
        }
    }

    /// Exact outline or box of the goal.
    pub fn goal(tokens: &Tokens) -> Self {
        Self {
            color: tokens.box_truth,
            width: 1.5,
            dash: Dash::Dotted,
        }
    }

    /// The line as shapes over a dark casing, so that it stands out on any picture. `points` is closed if `closed`.
    pub fn shapes(self, mut points: Vec<Pos2>, closed: bool) -> Vec<Shape> {
        if points.len() < 2 {
            return Vec::new();
        }
        let casing = Stroke::new(self.width + 2.0, CASING);
        let stroke = Stroke::new(self.width, self.color);
        let whole = |stroke: Stroke, points: &[Pos2]| {
            if closed {
                Shape::closed_line(points.to_vec(), stroke)
            } else {
                Shape::line(points.to_vec(), stroke)
            }
        };
        let mut shapes = vec![whole(casing, &points)];
        match self.dash {
            Dash::Solid => shapes.push(whole(stroke, &points)),
            Dash::Dashed(length) => {
                points.extend(closed.then(|| points[0]));
                shapes.extend(Shape::dashed_line(&points, stroke, length, length * 0.75));
            }
            Dash::Dotted => {
                points.extend(closed.then(|| points[0]));
                shapes.extend(Shape::dotted_line(
                    &points,
                    self.color,
                    self.width * 2.5,
                    self.width * 0.75,
                ));
            }
        }
        shapes
    }

    /// A short sample of the line for a legend.
    pub fn sample_ui(self, ui: &mut egui::Ui) -> egui::Response {
        let (rect, response) = ui.allocate_exact_size(Vec2::new(24.0, 12.0), egui::Sense::hover());
        let y = rect.center().y;
        ui.painter().extend(self.shapes(
            vec![pos2(rect.left() + 2.0, y), pos2(rect.right() - 2.0, y)],
            false,
        ));
        response
    }
}

/// Where a frame stands on screen: maps `[0, 1]` of the picture, x right and y down, to points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameView {
    /// The picture's rectangle on screen.
    pub rect: Rect,
}

impl FrameView {
    /// The largest rectangle of a picture's aspect ratio inside `outer`, centred.
    pub fn fit(outer: Rect, width: u32, height: u32) -> Self {
        let size = Vec2::new(width.max(1) as f32, height.max(1) as f32);
        let scale = (outer.width() / size.x)
            .min(outer.height() / size.y)
            .max(0.0);
        Self {
            rect: Rect::from_center_size(outer.center(), size * scale),
        }
    }

    /// A normalised point on screen.
    pub fn point(&self, x: f64, y: f64) -> Pos2 {
        pos2(
            self.rect.left() + self.rect.width() * x as f32,
            self.rect.top() + self.rect.height() * y as f32,
        )
    }

    /// A normalised rectangle on screen.
    pub fn area(&self, rect: &grounding::Rect) -> Rect {
        Rect::from_min_max(self.point(rect.x0, rect.y0), self.point(rect.x1, rect.y1))
    }

    /// Paints a texture over the part `area` of the picture, with the given opacity; what lies outside is clipped.
    pub fn texture(
        &self,
        painter: &Painter,
        texture: egui::TextureId,
        area: &grounding::Rect,
        opacity: f32,
    ) {
        let tint = Color32::WHITE.gamma_multiply(opacity.clamp(0.0, 1.0));
        let uv = Rect::from_min_max(Pos2::ZERO, pos2(1.0, 1.0));
        painter
            .with_clip_rect(painter.clip_rect().intersect(self.rect))
            .image(texture, self.area(area), uv, tint);
    }

    /// Draws traced outlines of a grid that lies over the part `area` of the picture.
    pub fn outline(
        &self,
        painter: &Painter,
        paths: &[Vec<Vertex>],
        grid: grounding::Grid,
        area: &grounding::Rect,
        line: Line,
    ) {
        if grid.rows == 0 || grid.cols == 0 {
            return;
        }
        let area = self.area(area);
        // Half the casing lies outside of the picture where the mask touches its border.
        let painter =
            painter.with_clip_rect(painter.clip_rect().intersect(self.rect.expand(line.width)));
        for path in paths {
            let points = path
                .iter()
                .map(|[c, r]| {
                    pos2(
                        area.left() + area.width() * *c as f32 / grid.cols as f32,
                        area.top() + area.height() * *r as f32 / grid.rows as f32,
                    )
                })
                .collect();
            painter.extend(line.shapes(points, true));
        }
    }

    /// Draws a box, with its name inside its upper left corner where there is room for it.
    pub fn boxed(
        &self,
        painter: &Painter,
        rect: &grounding::Rect,
        line: Line,
        label: Option<&str>,
    ) {
        let area = self.area(rect);
        let corners = vec![
            area.left_top(),
            area.right_top(),
            area.right_bottom(),
            area.left_bottom(),
        ];
        painter.extend(line.shapes(corners, true));
        if let Some(label) = label.filter(|l| !l.is_empty()) {
            self.tag(painter, area, line.color, label);
        }
    }

    /// A name on a dark plate above a box, or inside it when there is no room above.
    fn tag(&self, painter: &Painter, area: Rect, color: Color32, text: &str) {
        let font = egui::FontId::proportional(11.0);
        let galley = painter.layout_no_wrap(text.to_owned(), font, color);
        let size = galley.size() + Vec2::new(6.0, 2.0);
        if size.x > self.rect.width() || size.y > self.rect.height() {
            return;
        }
        let above = area.top() - size.y - 2.0;
        let top = if above >= self.rect.top() {
            above
        } else {
            area.top() + 2.0
        };
        let left = area
            .left()
            .min(self.rect.right() - size.x)
            .max(self.rect.left());
        let plate = Rect::from_min_size(pos2(left, top), size);
        painter.rect_filled(plate, 2.0, PLATE);
        painter.galley(plate.min + Vec2::new(3.0, 1.0), galley, color);
    }

    /// Marks the peak patch of a map: a cross over `patch`.
    pub fn peak(&self, painter: &Painter, patch: &grounding::Rect, color: Color32) {
        let centre = self.area(patch).center();
        for (color, width) in [(CASING, 4.0), (color, 2.0)] {
            let stroke = Stroke::new(width, color);
            let arm = 5.0;
            painter.line_segment(
                [centre - Vec2::new(arm, arm), centre + Vec2::new(arm, arm)],
                stroke,
            );
            painter.line_segment(
                [centre - Vec2::new(arm, -arm), centre + Vec2::new(arm, -arm)],
                stroke,
            );
        }
    }

    /// A frame around the picture, which also marks the chosen camera.
    pub fn border(&self, painter: &Painter, stroke: Stroke) {
        painter.rect_stroke(self.rect, 0.0, stroke, StrokeKind::Outside);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theme;

    #[test]
    fn a_picture_keeps_its_aspect_ratio() {
        let outer = Rect::from_min_size(pos2(10.0, 20.0), Vec2::new(200.0, 100.0));
        let view = FrameView::fit(outer, 64, 64);
        assert_eq!(view.rect.size(), Vec2::splat(100.0));
        assert_eq!(view.rect.center(), outer.center());
        assert_eq!(view.point(0.0, 0.0), view.rect.min);
        assert_eq!(view.point(1.0, 1.0), view.rect.max);
        let half = view.area(&grounding::Rect {
            x0: 0.0,
            y0: 0.0,
            x1: 0.5,
            y1: 1.0,
        });
        assert_eq!(half.width(), 50.0);
    }

    #[test]
    fn every_line_has_a_casing_and_its_own_look() {
        let square = vec![
            pos2(0.0, 0.0),
            pos2(40.0, 0.0),
            pos2(40.0, 40.0),
            pos2(0.0, 40.0),
        ];
        for tokens in [theme::DARK, theme::LIGHT] {
            let kinds = [
                Line::mask,
                Line::mask_box,
                Line::second,
                Line::detection,
                Line::target,
                Line::goal,
            ];
            let lines = kinds.map(|kind| kind(&tokens));
            for (i, line) in lines.iter().enumerate() {
                assert!(line.shapes(square.clone(), true).len() >= 2);
                for other in &lines[..i] {
                    assert!(line.color != other.color || line.dash != other.dash);
                }
            }
            assert!(lines[0].shapes(vec![pos2(0.0, 0.0)], true).is_empty());
        }
    }
}
