//! The cameras side by side, with the overlay on the inspected one, and the instruction.

use egui::{Align, Layout, Rect, RichText, Role, Sense, Stroke, Ui, Vec2, WidgetInfo, vec2};

use super::attention::{map_picker_ui, overlay_toggles_ui, query_picker_ui, shown_bar_ui};
use super::{Pane, PaneContext, PaneKind};
use crate::command::Command;
use crate::inspector::{CameraFrame, FrameState, LookState, PATIENCE, Picture, Truth};
use crate::paint::{Layers, Scene};
use crate::theme::{self, SPACE};
use crate::widgets::empty_state;

/// Camera pictures with overlay, and the instruction.
#[derive(Default)]
pub struct Trajectory {}

impl Pane for Trajectory {
    fn title(&self) -> &str {
        PaneKind::Trajectory.title()
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PaneContext<'_>) {
        if context.state.dataset.is_none() && context.state.source.captures().is_none() {
            empty_state(
                ui,
                context,
                "No trajectory open",
                "Open a recording to see what the robot's cameras saw, and what a model looked at. Datasets in LeRobot v3 \
                 and RLDS format and attention captures can also be dropped onto the window.",
                &[
                    Command::OpenDemo,
                    Command::OpenDataset,
                    Command::OpenCapture,
                ],
            );
            return;
        }
        headline_ui(ui, context);
        let footer = footer_height(ui);
        let area = ui.available_rect_before_wrap();
        let pictures = Rect::from_min_max(area.min, area.max - vec2(0.0, footer));
        ui.allocate_rect(pictures, Sense::hover());
        cameras_ui(ui, context, pictures);
        footer_ui(ui, context);
    }
}

fn footer_height(ui: &Ui) -> f32 {
    ui.spacing().interact_size.y + 2.0 * SPACE
}

/// What the robot was told, and where the cursor stands.
fn headline_ui(ui: &mut Ui, context: &PaneContext<'_>) {
    let state = context.state;
    let tokens = theme::tokens(ui);
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let step = state.cursor.step + 1;
            let place = match (state.dataset.is_some(), state.steps()) {
                (true, Some(steps)) => {
                    format!("episode {} · step {step} of {steps}", state.cursor.episode)
                }
                (true, None) => format!("episode {} · step {step}", state.cursor.episode),
                (false, steps) => format!("capture {step} of {}", steps.unwrap_or(step)),
            };
            ui.label(RichText::new(place).color(tokens.text_weak));
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                let instruction = state.instruction().unwrap_or_default();
                let text = if instruction.is_empty() {
                    RichText::new("No instruction recorded").color(tokens.text_weak)
                } else {
                    RichText::new(format!("“{instruction}”"))
                        .text_style(theme::section_style())
                        .color(tokens.text_strong)
                };
                ui.add(egui::Label::new(text).truncate());
            });
        });
    });
}

/// What is switched on, which map it is, and its scale.
fn footer_ui(ui: &mut Ui, context: &mut PaneContext<'_>) {
    ui.add_space(SPACE);
    ui.horizontal(|ui| {
        overlay_toggles_ui(ui, context);
        if context.inspector.look().is_some() {
            ui.separator();
            map_picker_ui(ui, context, "trajectory");
            query_picker_ui(ui, context, "trajectory");
            let width = ui.available_width().min(60.0 * SPACE);
            if width > 24.0 * SPACE {
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    shown_bar_ui(ui, context, width)
                });
            }
        }
    });
}

fn cameras_ui(ui: &mut Ui, context: &mut PaneContext<'_>, area: Rect) {
    let state = context.state;
    // Without a dataset the views of the capture take the place of cameras; there is no picture behind their maps.
    let cameras: Vec<(String, u32, u32)> = match (&state.dataset, context.inspector.look()) {
        (Some(dataset), _) => dataset
            .data
            .info()
            .cameras
            .iter()
            .map(|c| (c.name.clone(), c.width, c.height))
            .collect(),
        (None, Some(look)) => {
            let capture = &look.inputs.capture;
            capture
                .grid_views()
                .iter()
                .map(|v| &capture.views[*v])
                .map(|v| (v.name.clone(), v.width, v.height))
                .collect()
        }
        (None, None) => Vec::new(),
    };
    if cameras.is_empty() {
        message_ui(ui, area, "This dataset has no cameras");
        return;
    }
    let caption = ui.text_style_height(&egui::TextStyle::Small) + SPACE;
    let chosen = if state.dataset.is_some() {
        state.cursor.camera
    } else {
        state.cursor.camera.min(cameras.len() - 1)
    };
    let widest = cameras
        .iter()
        .map(|(_, w, h)| *w as f32 / (*h).max(1) as f32)
        .fold(0.0, f32::max);
    for (index, (cell, (name, width, height))) in tile(area, cameras.len(), widest, caption)
        .into_iter()
        .zip(cameras)
        .enumerate()
    {
        camera_ui(
            ui,
            context,
            cell,
            caption,
            index,
            index == chosen,
            &name,
            (width, height),
        );
    }
}

#[allow(clippy::too_many_arguments, reason = "one call, all different kinds")]
fn camera_ui(
    ui: &mut Ui,
    context: &mut PaneContext<'_>,
    cell: Rect,
    caption: f32,
    index: usize,
    chosen: bool,
    name: &str,
    size: (u32, u32),
) {
    let tokens = theme::tokens(ui);
    let state = context.state;
    let inspector = context.inspector;
    let picture = inspector.picture(index);
    let frame = picture.and_then(|p| match &p.state {
        FrameState::Ready(frame) => Some(frame),
        FrameState::Failed(_) => None,
    });
    let look = inspector
        .look()
        .filter(|_| chosen && !inspector.look_is_late());
    let detections = look.map_or_else(
        || detections_without_look(context, index, name),
        |look| look.inputs.truth.detections.clone(),
    );
    let overlay = &state.settings.overlay;
    let mut layers = Layers::of(overlay);
    // The exact outline belongs to the picture that is shown; only one camera carries the overlay.
    layers.exact &= chosen;
    layers.detections &= chosen;
    let scene = Scene {
        frame,
        size,
        look: look.map(|l| &**l),
        detections: &detections,
        overlay,
        layers,
    };
    let mut room = cell;
    room.max.y -= caption;
    let view = scene.paint(ui, room);
    if chosen {
        view.border(ui.painter(), Stroke::new(2.0, tokens.accent));
    }
    if let Some(Picture {
        state: FrameState::Failed(error),
        ..
    }) = picture
    {
        message_ui(
            ui,
            view.rect,
            &format!("This frame cannot be decoded: {error}"),
        );
    } else if let (true, LookState::Failed(reason)) =
        (chosen && frame.is_none(), inspector.look_state())
    {
        message_ui(ui, view.rect, reason);
    }
    late_ui(ui, context, &view.rect, picture, chosen);

    let response = ui.interact(
        view.rect,
        ui.scope_id().with(("camera", index)),
        Sense::click(),
    );
    let label = format!("Camera {name}");
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, chosen, &label));
    if response.clicked() && !chosen {
        context.send(Command::SetCamera(index));
    }
    let why = match (chosen, inspector.look_state()) {
        (true, LookState::Failed(reason)) => Some(reason.to_string()),
        _ => None,
    };
    let text = format!("{name} · {} × {} px", size.0, size.1);
    let color = if chosen {
        tokens.text
    } else {
        tokens.text_weak
    };
    let at = egui::pos2(view.rect.left(), view.rect.bottom() + SPACE);
    let galley = {
        let text = why.map_or(text, |why| why);
        let mut job = egui::text::LayoutJob::simple_singleline(
            text,
            egui::TextStyle::Small.resolve(ui.style()),
            color,
        );
        job.wrap = egui::text::TextWrapping::truncate_at_width(cell.right() - at.x);
        ui.painter().layout_job(job)
    };
    ui.painter().galley(at, galley, color);
    response.on_hover_text(if chosen {
        inspector.timing().text()
    } else {
        format!("Inspect attention in `{name}`")
    });
}

/// The detector's boxes of the frame under the cursor when nothing looks at it.
fn detections_without_look(
    context: &PaneContext<'_>,
    camera: usize,
    name: &str,
) -> Vec<grounding::Detection> {
    let state = context.state;
    let boxes = state
        .dataset
        .as_ref()
        .and_then(|d| d.boxes.as_ref())
        .map(|(_, boxes)| boxes.as_ref());
    let shown = context.inspector.picture(camera).map(|p| p.place);
    let Some(place) = shown else {
        return Vec::new();
    };
    Truth::detections(boxes, place.episode, place.step, name, None)
}

/// A spinner in the corner when picture or capture keep one waiting.
fn late_ui(
    ui: &mut Ui,
    context: &PaneContext<'_>,
    rect: &Rect,
    picture: Option<&Picture>,
    chosen: bool,
) {
    let cursor = context.state.cursor;
    let decoding = context.state.dataset.is_some()
        && picture.is_none_or(|p| (p.place.episode, p.place.step) != (cursor.episode, cursor.step));
    if chosen && matches!(context.inspector.look_state(), LookState::Waiting { .. }) {
        // The moment at which it becomes late must be seen too.
        ui.ctx().request_repaint_after(PATIENCE);
    }
    if decoding || (chosen && context.inspector.look_is_late()) {
        let corner = Rect::from_min_size(
            rect.right_top() + vec2(-6.0 * SPACE, SPACE),
            Vec2::splat(5.0 * SPACE),
        );
        egui::Spinner::new().paint_at(ui, corner);
    }
}

/// Text in the middle of an area.
fn message_ui(ui: &Ui, area: Rect, text: &str) {
    let color = theme::tokens(ui).text_weak;
    let font = egui::TextStyle::Body.resolve(ui.style());
    let galley = ui.painter().layout(
        text.to_owned(),
        font,
        color,
        (area.width() - 8.0 * SPACE).max(20.0 * SPACE),
    );
    ui.painter()
        .galley(area.center() - galley.size() / 2.0, galley, color);
}

/// Equal cells for `n` pictures of the given aspect ratio with a caption each, in as many columns as make them largest,
/// next to each other in the middle of `area`.
pub(super) fn tile(area: Rect, n: usize, aspect: f32, caption: f32) -> Vec<Rect> {
    /// Room between two pictures.
    const GAP: f32 = 3.0 * SPACE;
    let picture = |columns: usize| {
        let rows = n.div_ceil(columns);
        let cell = vec2(
            area.width() / columns as f32 - GAP,
            area.height() / rows as f32 - caption,
        );
        let width = cell.x.min(cell.y * aspect).max(1.0);
        vec2(width, width / aspect)
    };
    let columns = (1..=n)
        .max_by(|a, b| picture(*a).x.total_cmp(&picture(*b).x))
        .unwrap_or(1);
    let size = picture(columns) + vec2(GAP, caption);
    let all = vec2(columns as f32 * size.x, n.div_ceil(columns) as f32 * size.y);
    let corner = area.min + ((area.size() - all) * 0.5).max(Vec2::ZERO);
    (0..n)
        .map(|i| {
            let at = vec2((i % columns) as f32 * size.x, (i / columns) as f32 * size.y);
            Rect::from_min_size(corner + at, size).shrink2(vec2(GAP / 2.0, 0.0))
        })
        .collect()
}

/// The picture of the inspected camera, if it is decoded.
pub(super) fn inspected_frame<'a>(context: &PaneContext<'a>) -> Option<&'a CameraFrame> {
    match &context
        .inspector
        .picture(context.state.cursor.camera)?
        .state
    {
        FrameState::Ready(frame) => Some(frame),
        FrameState::Failed(_) => None,
    }
}

/// Size in pixels of what the inspected camera shows.
pub(super) fn inspected_size(context: &PaneContext<'_>) -> (u32, u32) {
    if let Some(frame) = inspected_frame(context) {
        return (frame.image.width, frame.image.height);
    }
    context
        .inspector
        .look()
        .and_then(|look| look.inputs.capture.views.get(look.inputs.view))
        .map_or((1, 1), |view| (view.width.max(1), view.height.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use egui::pos2;

    #[test]
    fn cameras_are_as_large_as_they_can_be() {
        let area = |w: f32, h: f32| Rect::from_min_size(pos2(10.0, 20.0), vec2(w, h));
        // Wide: side by side, as high as there is room, and close together.
        let wide = tile(area(1000.0, 316.0), 2, 1.0, 16.0);
        assert_eq!(wide[0].size(), vec2(300.0, 316.0));
        assert_eq!(wide[0].top(), wide[1].top());
        assert!(wide[1].left() - wide[0].right() < 5.0 * SPACE);
        // High: one above the other.
        let high = tile(area(300.0, 1000.0), 2, 1.0, 16.0);
        assert!(high[1].top() >= high[0].bottom());
        // Square: two by two.
        let square = tile(area(600.0, 600.0), 4, 1.0, 0.0);
        assert_eq!(
            (square[0].left(), square[1].top()),
            (square[2].left(), square[0].top())
        );
        for cell in wide.iter().chain(&high).chain(&square) {
            assert!(cell.width() > 0.0 && cell.height() > 0.0);
        }
        // A pane that is closed down to nothing.
        assert_eq!(tile(area(0.0, 0.0), 3, 1.3, 16.0).len(), 3);
    }
}
