//! One camera picture with everything that is drawn over it.

use super::{FrameView, Line, Scale, Textures, filtering, heat_image, map_key, outline};
use crate::inspector::{CameraFrame, Look, mask_rect};
use crate::theme::{self, Tokens};
use egui::epaint::Mesh;
use egui::{Rect, Shape, Stroke, Ui};
use episode::PixelMask;
use figure::ColorMap;
use grounding::{Detection, HeatMap, Mask};
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
    /// The exact masks of target and goal, and their boxes.
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
            exact_region(ui, &view, frame.goal.as_deref(), Line::goal(tokens));
            exact_region(ui, &view, frame.target.as_deref(), Line::target(tokens));
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

/// Opacity of the ground on which the pixels of an exact mask lie.
const TINT: f32 = 0.35;

/// Draws an exact mask: its pixels tinted, and round them the box that numbers are measured against.
fn exact_region(ui: &Ui, view: &FrameView, mask: Option<&PixelMask>, line: Line) {
    let Some((mask, rect)) = mask.and_then(|mask| Some((mask, mask_rect(mask)?))) else {
        return;
    };
    let (width, height) = (f64::from(mask.width), f64::from(mask.height));
    let mut mesh = Mesh::default();
    for (y, row) in mask
        .bits
        .chunks_exact(mask.width.max(1) as usize)
        .enumerate()
    {
        let mut x = 0;
        // One rectangle per run of pixels: a mask has a few runs per row.
        for run in row.chunk_by(|a, b| a == b) {
            if run.first() == Some(&true) {
                let (x0, x1) = (x as f64 / width, (x + run.len()) as f64 / width);
                let area = grounding::Rect::new(x0, y as f64 / height, x1, (y + 1) as f64 / height);
                mesh.add_colored_rect(view.area(&area), line.color.gamma_multiply(TINT));
            }
            x += run.len();
        }
    }
    ui.painter().add(Shape::mesh(mesh));
    view.boxed(ui.painter(), &rect, line, None);
}

/// The names of the lines that a scene with these layers may hold, each behind a sample of its line.
pub fn legend_ui(ui: &mut Ui, layers: Layers, look: Option<&Look>, frame: Option<&CameraFrame>) {
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
    if layers.detections && look.is_some_and(|l| !l.inputs.truth.detections.is_empty()) {
        entry(Line::detection(tokens), "Detector box");
    }
    if layers.exact && frame.is_some_and(|f| has_pixels(f.target.as_deref())) {
        entry(Line::target(tokens), "Target, exact");
    }
    if layers.exact && frame.is_some_and(|f| has_pixels(f.goal.as_deref())) {
        entry(Line::goal(tokens), "Goal, exact");
    }
}

fn has_pixels(mask: Option<&PixelMask>) -> bool {
    mask.is_some_and(|mask| mask.bits.contains(&true))
}
