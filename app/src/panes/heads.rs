//! All heads of all layers as small multiples.
//!
//! The maps of all heads are one texture and one mesh, so 28 layers of 28 heads cost one upload when the capture changes
//! and one draw call in every frame.

use egui::epaint::Mesh;
use egui::{
    Align, Align2, Color32, Layout, Pos2, Rect, RichText, Role, ScrollArea, Sense, Shape, Stroke,
    StrokeKind, TextureOptions, Ui, Vec2, WidgetInfo, pos2, vec2,
};
use grounding::{HeadId, HeadScore, TokenRole};
use session::MapChoice;
use std::sync::Arc;

use super::attention::no_look_ui;
use super::{Pane, PaneContext, PaneKind};
use crate::command::Command;
use crate::inspector::{Look, head_name};
use crate::paint::{
    AtlasLayout, Scale, Textures, atlas_image, color_bar_ui, content_key, format_value,
};
use crate::theme::{self, SPACE, Tokens};
use crate::widgets::fact;

/// The smallest and largest side of a cell in points; below, the grid scrolls.
const CELL: std::ops::RangeInclusive<f32> = 18.0..=160.0;
/// Width of the column with layer numbers, and height of the row with head numbers.
const GUTTER: Vec2 = vec2(30.0, 16.0);
/// Cells at least this large say their maximum when each has its own scale.
const ROOM_FOR_TEXT: f32 = 44.0;
/// What a head that no rule could select is faded to.
const FADED: f32 = 0.4;

/// Least room beside the grid in which the facts of one head are shown; with less they are a tooltip.
const FACTS: f32 = 60.0 * SPACE;

/// All heads side by side.
#[derive(Default)]
pub struct Heads {
    /// Whether the preview on the frame was asked for from here.
    previewing: bool,
    scales: Option<Scales>,
}

/// The largest value of every head, kept while the maps stay.
struct Scales {
    maps: Arc<grounding::HeadMaps>,
    key: u64,
    each: Vec<Scale>,
    shared: Scale,
    /// Share of a head's attention to the view that goes to sink patches, where sinks are known.
    sinks: Option<Vec<f64>>,
}

impl Scales {
    fn new(look: &Look) -> Self {
        let maps = look.maps.clone();
        let each: Vec<Scale> = maps
            .iter()
            .map(|(_, map)| Scale::from_zero(map.iter().map(|v| f64::from(*v))))
            .collect();
        let shared = Scale::from_zero(each.iter().map(|s| s.high));
        let verdict = maps
            .sinks
            .as_ref()
            .and_then(|s| s.verdict(look.inputs.selection.sinks.rule).ok());
        let sinks = verdict.map(|verdict| {
            let share = |map: &[f32]| {
                let total: f64 = map.iter().map(|v| f64::from(*v)).sum();
                let sunk: f64 = map
                    .iter()
                    .zip(&verdict)
                    .filter(|(_, sink)| **sink)
                    .map(|(v, _)| f64::from(*v))
                    .sum();
                if total > 0.0 { sunk / total } else { 0.0 }
            };
            maps.iter().map(|(_, map)| share(map)).collect()
        });
        // The key names the weights themselves: equal weights give an equal picture.
        let key = content_key(bytemuck::cast_slice::<f32, u8>(&maps.data));
        Self {
            key,
            each,
            shared,
            sinks,
            maps,
        }
    }
}

impl Pane for Heads {
    fn title(&self) -> &str {
        PaneKind::Heads.title()
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PaneContext<'_>) {
        let Some(look) = context.inspector.look().cloned() else {
            self.preview(context, None);
            no_look_ui(ui, context);
            return;
        };
        if self
            .scales
            .as_ref()
            .is_none_or(|s| !Arc::ptr_eq(&s.maps, &look.maps))
        {
            self.scales = Some(Scales::new(&look));
        }
        let Some(scales) = &self.scales else { return };
        header_ui(ui, context, &look, scales);
        let cell = cell_size(ui.available_size(), &look);
        let facts =
            ui.available_width() - GUTTER.x - cell.x * look.maps.n_heads as f32 - 6.0 * SPACE;
        let hovered = if facts >= FACTS {
            let size = vec2(ui.available_width() - facts, ui.available_height());
            ui.horizontal_top(|ui| {
                let layout = Layout::top_down(Align::Min);
                let grid = |ui: &mut Ui| grid_ui(ui, context, &look, scales, cell, false);
                let hovered = ui.allocate_ui_with_layout(size, layout, grid).inner;
                let id = hovered.unwrap_or_else(|| shown_head(&look));
                ui.vertical(|ui| {
                    ScrollArea::vertical().id_salt("facts").show(ui, |ui| {
                        ui.set_width(facts.min(80.0 * SPACE));
                        facts_ui(ui, context, &look, scales, id);
                    });
                });
                hovered
            })
            .inner
        } else {
            grid_ui(ui, context, &look, scales, cell, true)
        };
        self.preview(context, hovered);
    }
}

impl Heads {
    /// Shows a head on the frame while the pointer rests on it.
    fn preview(&mut self, context: &mut PaneContext<'_>, hovered: Option<HeadId>) {
        if hovered.is_some() || self.previewing {
            if context.state.preview != hovered {
                context.send(Command::PreviewHead(hovered));
            }
            self.previewing = hovered.is_some();
        }
    }
}

/// The scale of the grid, and what its marks mean.
fn header_ui(ui: &mut Ui, context: &mut PaneContext<'_>, look: &Look, scales: &Scales) {
    let overlay = &context.state.settings.overlay;
    let tokens = theme::tokens(ui);
    let (per_head, color_map) = (overlay.scale_per_head, overlay.color_map);
    ui.horizontal(|ui| {
        let command = Command::ToggleScalePerHead;
        for (name, own) in [("One scale", false), ("Per head", true)] {
            let response = ui.selectable_label(per_head == own, name);
            let response = response.on_hover_text(if own {
                "Each head is painted up to its own maximum; brightness cannot be compared between heads"
            } else {
                "All heads share the scale of the brightest one; brightness can be compared"
            });
            if response.clicked() && per_head != own {
                context.send(command.clone());
            }
        }
        ui.separator();
        mark_ui(ui, "Selected", |ui, rect| {
            ui.painter().rect_stroke(rect, 1.0, Stroke::new(2.0, tokens.selected_frame), StrokeKind::Inside);
        });
        mark_ui(ui, "Excluded", |ui, rect| {
            ui.painter().rect_filled(rect, 1.0, tokens.text_weak.gamma_multiply(FADED));
        });
        if scales.sinks.is_some() {
            mark_ui(ui, "Sink share", |ui, rect| {
                ui.painter().circle_filled(rect.center(), 3.0, tokens.bad);
            });
        }
        let chosen = format!("chosen on {}", look.heads_from.text());
        if ui.available_width() > 110.0 * SPACE {
            ui.label(RichText::new(chosen).small().color(tokens.text_weak));
        }
        let width = ui.available_width().min(56.0 * SPACE);
        if width > 24.0 * SPACE {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                if per_head {
                    ui.label(RichText::new("0 to each head's maximum").small().color(tokens.text_weak));
                } else {
                    color_bar_ui(ui, scales.shared, color_map, "attention per patch", width);
                }
            });
        }
    });
}

/// A small sample of a mark and its name.
fn mark_ui(ui: &mut Ui, name: &str, paint: impl FnOnce(&Ui, Rect)) {
    let weak = theme::tokens(ui).text_weak;
    ui.spacing_mut().item_spacing.x = SPACE;
    let (rect, _) = ui.allocate_exact_size(Vec2::splat(3.0 * SPACE), Sense::hover());
    paint(ui, rect);
    ui.label(RichText::new(name).small().color(weak));
    ui.add_space(SPACE);
}

/// Size of one map: as large as fits both ways. A grid that would become too small scrolls instead.
fn cell_size(available: Vec2, look: &Look) -> Vec2 {
    let aspect = look.grid.grid.cols as f32 / look.grid.grid.rows.max(1) as f32;
    let room = available - GUTTER;
    let height = (room.y / look.maps.n_layers as f32)
        .min(room.x / look.maps.n_heads as f32 / aspect)
        .clamp(*CELL.start(), *CELL.end());
    vec2((height * aspect).max(8.0), height).floor()
}

/// The head that facts are shown of while the pointer rests on none.
fn shown_head(look: &Look) -> HeadId {
    match look.inputs.map {
        MapChoice::Head(id) => id,
        MapChoice::Selected | MapChoice::Mean => look
            .heads
            .first()
            .copied()
            .unwrap_or(HeadId { layer: 0, head: 0 }),
    }
}

/// Draws the grid and gives back the head under the pointer.
fn grid_ui(
    ui: &mut Ui,
    context: &mut PaneContext<'_>,
    look: &Look,
    scales: &Scales,
    cell: Vec2,
    tooltips: bool,
) -> Option<HeadId> {
    let (layers, heads) = (look.maps.n_layers, look.maps.n_heads);
    let size = GUTTER + vec2(cell.x * heads as f32, cell.y * layers as f32);
    ScrollArea::both()
        .id_salt("head grid")
        .auto_shrink(false)
        .show(ui, |ui| {
            let (rect, response) = ui.allocate_exact_size(size, Sense::click());
            let grid = Rect::from_min_max(rect.min + GUTTER, rect.max);
            paint_grid(ui, context, look, scales, grid, cell);
            let at = |p: Pos2| {
                let offset = p - grid.min;
                let (col, row) = ((offset.x / cell.x) as usize, (offset.y / cell.y) as usize);
                let inside = offset.x >= 0.0 && offset.y >= 0.0 && col < heads && row < layers;
                inside.then_some(HeadId {
                    layer: row as u16,
                    head: col as u16,
                })
            };
            let shown = look.shown_name();
            response.widget_info(|| {
                let name = format!("Attention heads, {layers} layers of {heads}; shown: {shown}");
                WidgetInfo::labeled(Role::Image, true, name)
            });
            let hovered = response.hover_pos().and_then(at);
            if response.clicked()
                && let Some(id) = response.interact_pointer_pos().and_then(at)
            {
                let map = MapChoice::Head(id);
                let again = context.state.settings.map == map;
                context.send(Command::SetMap(if again {
                    MapChoice::Selected
                } else {
                    map
                }));
            }
            if let Some(id) = hovered.filter(|_| tooltips) {
                response.on_hover_ui_at_pointer(|ui| {
                    ui.set_max_width(FACTS);
                    facts_ui(ui, context, look, scales, id);
                });
            }
            hovered
        })
        .inner
}

fn paint_grid(
    ui: &Ui,
    context: &PaneContext<'_>,
    look: &Look,
    scales: &Scales,
    grid: Rect,
    cell: Vec2,
) {
    let tokens = theme::tokens(ui);
    let overlay = &context.state.settings.overlay;
    let (layers, heads) = (look.maps.n_layers, look.maps.n_heads);
    let painter = ui.painter();
    let max_side = ui.input(|i| i.max_texture_side);
    let Some(layout) = AtlasLayout::new(look.grid.grid, layers * heads, max_side) else {
        painter.text(
            grid.min,
            Align2::LEFT_TOP,
            "Too many patches for one picture on this graphics device",
            egui::TextStyle::Body.resolve(ui.style()),
            tokens.warn,
        );
        return;
    };
    let key = content_key((
        scales.key,
        "atlas",
        overlay.color_map,
        overlay.scale_per_head,
    ));
    let texture = Textures::of(ui.ctx()).computed(ui.ctx(), key, TextureOptions::NEAREST, || {
        atlas_image(&look.maps, &layout, overlay.color_map, |i| {
            if overlay.scale_per_head {
                scales.each[i]
            } else {
                scales.shared
            }
        })
    });
    let excluded = Excluded::new(look);
    let place = |id: HeadId| {
        let at = vec2(f32::from(id.head) * cell.x, f32::from(id.layer) * cell.y);
        Rect::from_min_size(grid.min + at, cell).shrink(if cell.y > 28.0 { 1.5 } else { 0.5 })
    };
    let clip = ui.clip_rect();
    let mut mesh = Mesh::with_texture(texture);
    for index in 0..layers * heads {
        let id = HeadId {
            layer: (index / heads) as u16,
            head: (index % heads) as u16,
        };
        let rect = place(id);
        if clip.intersects(rect) {
            let tint = if excluded.is(id) {
                Color32::WHITE.gamma_multiply(FADED)
            } else {
                Color32::WHITE
            };
            mesh.add_rect_with_uv(rect, layout.uv(index), tint);
        }
    }
    painter.add(Shape::mesh(mesh));
    if let Some(sinks) = &scales.sinks {
        for (index, share) in sinks.iter().enumerate() {
            let id = HeadId {
                layer: (index / heads) as u16,
                head: (index % heads) as u16,
            };
            // Area, not radius, is proportional to the share.
            let radius = (cell.y * 0.18 * (*share as f32).sqrt()).max(0.0);
            let rect = place(id);
            if radius > 0.6 && clip.intersects(rect) {
                painter.circle_filled(
                    rect.right_top() + vec2(-radius - 1.0, radius + 1.0),
                    radius,
                    tokens.bad,
                );
            }
        }
    }
    if overlay.scale_per_head && cell.x >= ROOM_FOR_TEXT {
        for (index, scale) in scales.each.iter().enumerate() {
            let id = HeadId {
                layer: (index / heads) as u16,
                head: (index % heads) as u16,
            };
            maximum_text(ui, place(id), scale.high, tokens);
        }
    }
    let frame = |id: HeadId, color: Color32, width: f32| {
        painter.rect_stroke(
            place(id),
            1.0,
            Stroke::new(width, color),
            StrokeKind::Outside,
        );
    };
    if let MapChoice::Head(id) = look.inputs.map {
        frame(id, tokens.text_strong, 2.0);
    }
    for id in &look.heads {
        frame(*id, tokens.selected_frame, 2.0);
    }
    axis_text(ui, look, grid, cell);
}

/// The maximum of a cell with its own scale, on a plate so that it is readable on any map.
fn maximum_text(ui: &Ui, cell: Rect, maximum: f64, tokens: &Tokens) {
    let font = egui::FontId::proportional(10.0);
    let galley = ui
        .painter()
        .layout_no_wrap(format_value(maximum), font, tokens.text);
    let plate = Rect::from_min_size(
        pos2(cell.left(), cell.bottom() - galley.size().y),
        galley.size() + vec2(4.0, 0.0),
    );
    ui.painter()
        .rect_filled(plate, 1.0, tokens.panel.gamma_multiply(0.85));
    ui.painter()
        .galley(plate.min + vec2(2.0, 0.0), galley, tokens.text);
}

/// Layer numbers at the left, head numbers on top; every few where they would touch.
fn axis_text(ui: &Ui, look: &Look, grid: Rect, cell: Vec2) {
    let capture = &look.inputs.capture;
    let font = egui::TextStyle::Small.resolve(ui.style());
    let color = theme::tokens(ui).text_weak;
    let every = |step: f32, room: f32| ((room / step).ceil() as usize).max(1);
    let painter = ui.painter();
    for (row, layer) in capture
        .layers
        .iter()
        .enumerate()
        .step_by(every(cell.y, 14.0))
    {
        let at = pos2(
            grid.left() - SPACE,
            grid.top() + (row as f32 + 0.5) * cell.y,
        );
        painter.text(
            at,
            Align2::RIGHT_CENTER,
            format!("L{layer}"),
            font.clone(),
            color,
        );
    }
    for (col, head) in capture
        .heads
        .iter()
        .enumerate()
        .step_by(every(cell.x, 28.0))
    {
        let at = pos2(grid.left() + (col as f32 + 0.5) * cell.x, grid.top() - 2.0);
        painter.text(
            at,
            Align2::CENTER_BOTTOM,
            format!("H{head}"),
            font.clone(),
            color,
        );
    }
}

/// Heads that the rules drop on this frame.
struct Excluded<'a>(Option<&'a grounding::SampleScores>);

impl<'a> Excluded<'a> {
    fn new(look: &'a Look) -> Self {
        Self(look.scores.as_deref().ok())
    }

    fn is(&self, id: HeadId) -> bool {
        self.0
            .and_then(|s| s.head(id))
            .is_some_and(|score| why_excluded(score, 0.0).is_some())
    }
}

/// The first rule that drops a head, given the frame's threshold τ.
fn why_excluded(score: &HeadScore, tau: f64) -> Option<String> {
    Some(if !score.kept && score.sum < tau {
        format!("Excluded: gives less than τ = {tau:.3} of its attention to the image")
    } else if !score.kept {
        "Excluded: lies in a layer that is skipped".to_owned()
    } else if score.bottom {
        "Excluded: looks at the bottom row".to_owned()
    } else if !score.entropy.is_finite() {
        "Excluded: no place stands out".to_owned()
    } else if score.rank.is_none() {
        "Excluded: entropy above the limit".to_owned()
    } else {
        return None;
    })
}

/// What is known about one head.
fn facts_ui(ui: &mut Ui, context: &PaneContext<'_>, look: &Look, scales: &Scales, id: HeadId) {
    ui.spacing_mut().item_spacing.y = 0.0;
    let capture = &look.inputs.capture;
    let scores = look.scores.as_deref().ok();
    let score = scores.and_then(|s| s.head(id));
    let position = look.heads.iter().position(|h| *h == id);
    ui.horizontal(|ui| {
        let name = format!("Head {}", head_name(capture, id));
        ui.label(RichText::new(name).text_style(theme::section_style()));
        if let Some(position) = position {
            let text = format!("selected, {} of {}", position + 1, look.heads.len());
            ui.label(RichText::new(text).weak());
        }
    });
    let index = usize::from(id.layer) * look.maps.n_heads + usize::from(id.head);
    let (layer, head) = (usize::from(id.layer), usize::from(id.head));
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    if let Some(scale) = scales.each.get(index) {
        fact(ui, "Largest patch", format_value(scale.high));
    }
    if let Some(score) = score {
        fact(ui, "Attention to this camera", percent(score.sum));
    }
    if let Some(share) = capture.attention_by_role(layer, head, look.query) {
        fact(
            ui,
            "Attention to words",
            percent(share[TokenRole::Text as usize]),
        );
    }
    if let Some(share) = scales.sinks.as_ref().and_then(|s| s.get(index)) {
        fact(ui, "Of it to sink patches", percent(*share));
    }
    if let Some(score) = score {
        let entropy = if score.entropy.is_finite() {
            format!("{:.3} nat", score.entropy)
        } else {
            "–".to_owned()
        };
        fact(ui, "Spatial entropy", entropy);
        fact(ui, "Regions", score.components.to_string());
        let rank = score
            .rank
            .map_or_else(|| "–".to_owned(), |rank| (rank + 1).to_string());
        fact(ui, "Rank on this frame", rank);
    }
    if let Some(Ok(selected)) = context.inspector.report().map(|r| r.selected()) {
        fact(
            ui,
            "Votes of tuning frames",
            percent(selected.frequency(id)),
        );
    }
    if let (None, Some(why)) = (
        position,
        score.and_then(|s| why_excluded(s, scores.map_or(0.0, |s| s.tau))),
    ) {
        ui.add(egui::Label::new(RichText::new(why).color(theme::tokens(ui).warn)).wrap());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_drops_a_head_is_named() {
        let fine = HeadScore {
            id: HeadId { layer: 0, head: 0 },
            sum: 0.5,
            sum_q: 0,
            entropy: 0.1,
            components: 1,
            kept: true,
            bottom: false,
            merit: None,
            rank: Some(0),
        };
        let why = |score: HeadScore| why_excluded(&score, 0.6).unwrap_or_default();
        assert_eq!(why(fine), "");
        assert!(
            why(HeadScore {
                kept: false,
                ..fine
            })
            .contains("τ = 0.600")
        );
        assert!(
            why(HeadScore {
                kept: false,
                sum: 0.7,
                ..fine
            })
            .contains("skipped")
        );
        assert!(
            why(HeadScore {
                bottom: true,
                ..fine
            })
            .contains("bottom")
        );
        assert!(
            why(HeadScore {
                entropy: f64::INFINITY,
                ..fine
            })
            .contains("stands out")
        );
        assert!(why(HeadScore { rank: None, ..fine }).contains("limit"));
    }
}
