//! One camera picture with everything that is drawn over it.

use super::{FrameView, Line, Scale, Textures, filtering, heat_image, map_key, outline};
use crate::inspector::{CameraFrame, Look, Truth};
use crate::theme::{self, Tokens};
use egui::{Rect, Stroke, Ui};
use episode::PixelMask;
use figure::ColorMap;
use grounding::{Detection, Grid, HeatMap, Mask};
use session::Overlay;

/// What of a look is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers {
    /// The shown heat map.
    pub heat_map: bool,
    /// The pseudo-gaze mask and its box.
    pub mask: bool,
    /// Detector boxes.
    pub detections: bool,
    /// The exact outlines of target and goal.
    pub exact: bool,
}

impl Layers {
    /// Only the picture.
    pub const NONE: Self = Self {
        heat_map: false,
        mask: false,
        detections: false,
        exact: false,
    };

    /// What the overlay options ask for.
    pub fn of(overlay: &Overlay) -> Self {
        Self {
            heat_map: overlay.heat_map,
            mask: overlay.mask,
            detections: overlay.boxes,
            exact: overlay.boxes,
        }
    }
}

/// A camera picture and what is known about it.
pub struct Scene<'a> {
    /// The picture; a dark plate where there is none.
    pub frame: Option<&'a CameraFrame>,
    /// Size of the picture in pixels.
    pub size: (u32, u32),
    /// The look at it.
    pub look: Option<&'a Look>,
    /// Boxes of the detector.
    pub detections: &'a [Detection],
    /// Opacity, colours and upsampling.
    pub overlay: &'a Overlay,
    /// What is drawn.
    pub layers: Layers,
}

impl Scene<'_> {
    /// Paints the scene into `rect` and says where the picture stands.
    pub fn paint(&self, ui: &Ui, rect: Rect) -> FrameView {
        let tokens = theme::tokens(ui);
        let view = FrameView::fit(rect, self.size.0, self.size.1);
        let painter = ui.painter();
        let whole = grounding::Rect::new(0.0, 0.0, 1.0, 1.0);
        let textures = Textures::of(ui.ctx());
        match self.frame {
            Some(frame) => {
                view.texture(painter, textures.frame(ui.ctx(), &frame.image), &whole, 1.0)
            }
            None => {
                painter.rect_filled(view.rect, 0.0, tokens.well);
            }
        }
        if let Some(look) = self.look
            && self.layers.heat_map
            && let Ok(map) = &look.shown
        {
            self.heat(ui, &view, look, map);
        }
        if self.layers.exact
            && let Some(frame) = self.frame
        {
            exact_outline(ui, &view, frame.goal.as_deref(), Line::goal(tokens));
            exact_outline(ui, &view, frame.target.as_deref(), Line::target(tokens));
        }
        if self.layers.detections {
            for detection in self.detections.iter().rev() {
                let label = format!("{} {:.2}", detection.label, detection.score);
                view.boxed(
                    painter,
                    &detection.rect,
                    Line::detection(tokens),
                    Some(label.trim()),
                );
            }
        }
        if let Some(look) = self.look
            && self.layers.mask
        {
            mask_outlines(ui, &view, look, tokens);
        }
        view.border(painter, Stroke::new(1.0, tokens.border));
        view
    }

    fn heat(&self, ui: &Ui, view: &FrameView, look: &Look, map: &HeatMap) {
        let Overlay {
            color_map,
            upsampling,
            opacity,
            ..
        } = *self.overlay;
        let color_map = honest_color_map(&map.values, color_map);
        let scale = Scale::of(&map.values, color_map);
        let key = map_key(&map.values, (map.grid, color_map, upsampling));
        let texture = Textures::of(ui.ctx()).computed(ui.ctx(), key, filtering(upsampling), || {
            heat_image(map.grid, &map.values, scale, color_map, upsampling)
        });
        // Without a picture there is nothing for the map to be seen through to.
        let opacity = if self.frame.is_some() { opacity } else { 1.0 };
        view.texture(ui.painter(), texture, &look.extent, opacity);
    }
}

/// The colour map a map is shown with: one that has a middle where the values have two signs.
pub fn honest_color_map(values: &[f64], chosen: ColorMap) -> ColorMap {
    if values.iter().any(|v| *v < 0.0) {
        ColorMap::Diverging
    } else {
        chosen
    }
}

fn mask_outlines(ui: &Ui, view: &FrameView, look: &Look, tokens: &Tokens) {
    let Ok(gaze) = &look.gaze else { return };
    let painter = ui.painter();
    let draw = |mask: &Mask, line| {
        let paths = outline(mask.grid.rows, mask.grid.cols, &mask.bits);
        view.outline(painter, &paths, mask.grid, &look.extent, line);
    };
    if let Some(second) = &gaze.second {
        draw(second, Line::second(tokens));
    }
    draw(&gaze.mask, Line::mask(tokens));
    if let Some(peak) = gaze.peak.and_then(|p| look.grid.rects.get(p)) {
        view.peak(painter, peak, tokens.mask);
    }
}

/// Traces an exact mask. Fine masks are traced at every pixel: their outline is the truth that boxes only bound.
fn exact_outline(ui: &Ui, view: &FrameView, mask: Option<&PixelMask>, line: Line) {
    let Some(mask) = mask else { return };
    let grid = Grid::new(mask.height as usize, mask.width as usize);
    let whole = grounding::Rect::new(0.0, 0.0, 1.0, 1.0);
    view.outline(
        ui.painter(),
        &outline(grid.rows, grid.cols, &mask.bits),
        grid,
        &whole,
        line,
    );
}

/// The names of the lines that a scene with these layers may hold, each behind a sample of its line.
pub fn legend_ui(ui: &mut Ui, layers: Layers, look: Option<&Look>, has_exact: bool, truth: &Truth) {
    let tokens = theme::tokens(ui);
    let mut entry = |line: Line, name: &str| {
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = theme::SPACE;
            line.sample_ui(ui);
            ui.label(egui::RichText::new(name).small().color(tokens.text_weak));
        });
    };
    let gaze = look.and_then(|l| l.gaze.as_ref().ok());
    if layers.mask && gaze.is_some() {
        entry(Line::mask(tokens), "Pseudo-gaze mask");
        if gaze.is_some_and(|g| g.second.is_some()) {
            entry(Line::second(tokens), "Second region");
        }
    }
    if layers.detections && !truth.detections.is_empty() {
        entry(Line::detection(tokens), "Detector box");
    }
    if layers.exact && has_exact {
        entry(Line::target(tokens), "Target, exact");
        entry(Line::goal(tokens), "Goal, exact");
    }
}
