//! Icons, drawn rather than taken from a font: the same on every system and sharp at every scale.

use egui::{Color32, Painter, Pos2, Rect, Shape, Stroke, Vec2, epaint::PathShape};

/// What an icon shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Icon {
    /// A cross: close, remove, dismiss.
    Close,
    /// A plus: add, create.
    Add,
    /// A tick: on.
    Check,
    /// An arrow up: move up.
    Up,
    /// An arrow down: move down.
    Down,
    /// A triangle to the right.
    Play,
    /// Two bars.
    Pause,
    /// A triangle to the left, against a bar: to the start.
    First,
    /// A triangle to the right, against a bar: to the end.
    Last,
    /// An angle to the left: one back.
    Previous,
    /// An angle to the right: one on.
    Next,
}

impl Icon {
    /// Draws it in the middle of `rect`, at most 12 points wide.
    pub fn paint(self, painter: &Painter, rect: Rect, color: Color32) {
        let half = (rect.width().min(rect.height()) / 2.0).min(6.0);
        let center = rect.center();
        let at = |x: f32, y: f32| center + Vec2::new(x, y) * half;
        let stroke = Stroke::new(1.5, color);
        let line = |points: &[Pos2]| painter.add(Shape::line(points.to_vec(), stroke));
        let triangle = |points: [Pos2; 3]| {
            painter.add(PathShape::convex_polygon(
                points.to_vec(),
                color,
                Stroke::new(1.0, color),
            ));
        };
        let bar = |x: f32| {
            let bar = Rect::from_center_size(at(x, 0.0), Vec2::new(0.34, 1.5) * half);
            painter.rect_filled(bar, 1.0, color);
        };
        match self {
            Self::Close => {
                line(&[at(-0.6, -0.6), at(0.6, 0.6)]);
                line(&[at(0.6, -0.6), at(-0.6, 0.6)]);
            }
            Self::Add => {
                line(&[at(-0.75, 0.0), at(0.75, 0.0)]);
                line(&[at(0.0, -0.75), at(0.0, 0.75)]);
            }
            Self::Check => {
                line(&[at(-0.7, 0.05), at(-0.2, 0.55), at(0.75, -0.5)]);
            }
            Self::Up => {
                line(&[at(0.0, 0.8), at(0.0, -0.7)]);
                line(&[at(-0.55, -0.15), at(0.0, -0.75), at(0.55, -0.15)]);
            }
            Self::Down => {
                line(&[at(0.0, -0.8), at(0.0, 0.7)]);
                line(&[at(-0.55, 0.15), at(0.0, 0.75), at(0.55, 0.15)]);
            }
            Self::Play => triangle([at(-0.5, -0.75), at(0.75, 0.0), at(-0.5, 0.75)]),
            Self::Pause => {
                bar(-0.38);
                bar(0.38);
            }
            Self::First => {
                bar(-0.75);
                triangle([at(0.7, -0.7), at(-0.35, 0.0), at(0.7, 0.7)]);
            }
            Self::Last => {
                bar(0.75);
                triangle([at(-0.7, -0.7), at(0.35, 0.0), at(-0.7, 0.7)]);
            }
            Self::Previous => {
                line(&[at(0.3, -0.65), at(-0.35, 0.0), at(0.3, 0.65)]);
            }
            Self::Next => {
                line(&[at(-0.3, -0.65), at(0.35, 0.0), at(-0.3, 0.65)]);
            }
        }
    }
}

/// What stands on a button: an icon or a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face<'a> {
    /// An icon.
    Icon(Icon),
    /// A word.
    Text(&'a str),
}

impl From<Icon> for Face<'_> {
    fn from(icon: Icon) -> Self {
        Self::Icon(icon)
    }
}

impl<'a> From<&'a str> for Face<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}
