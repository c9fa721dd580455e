//! The pseudo-gaze mask against what it should cover: detector boxes and, where there is one, exact ground truth.

use egui::{Align, Color32, Layout, Rect, RichText, Role, ScrollArea, Sense, Ui, WidgetInfo, vec2};
use grounding::{FrameMetrics, Rect as Area, Split};

use super::attention::no_look_ui;
use super::trajectory::{inspected_frame, inspected_size, tile};
use super::tuning::{Table, hit_text};
use super::{Pane, PaneContext, PaneKind};
use crate::command::Command;
use crate::icons::Icon;
use crate::inspector::{FrameReport, Look, TruthSource};
use crate::paint::{Layers, Scene, legend_ui};
use crate::theme::{self, SPACE};
use crate::widgets::{command_button, command_icon};

/// Below this width the numbers stand under the pictures.
const WIDE: f32 = 150.0 * SPACE;

/// Mask against boxes.
#[derive(Default)]
pub struct Compare {
    /// Row of the queue that was scrolled to last.
    scrolled_to: Option<(usize, usize)>,
}

impl Pane for Compare {
    fn title(&self) -> &str {
        PaneKind::Compare.title()
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PaneContext<'_>) {
        let Some(look) = context.inspector.look().cloned() else {
            no_look_ui(ui, context);
            return;
        };
        let wide = ui.available_width() >= WIDE;
        let height = ui.available_height();
        if wide {
            ui.horizontal_top(|ui| {
                let left = ui.available_width() - 68.0 * SPACE;
                ui.allocate_ui_with_layout(
                    vec2(left, height),
                    Layout::top_down(Align::Min),
                    |ui| {
                        pictures_ui(ui, context, &look, Some(height));
                    },
                );
                ui.allocate_ui_with_layout(
                    vec2(ui.available_width(), height),
                    Layout::top_down(Align::Min),
                    |ui| {
                        numbers_ui(ui, context, &look);
                        let height = ui.available_height();
                        self.queue_ui(ui, context, height);
                    },
                );
            });
        } else {
            // Pictures of a useful size, numbers and queue are higher than a small pane: the whole scrolls.
            ScrollArea::vertical()
                .id_salt("compare")
                .auto_shrink([false, false])
                .show(ui, |ui| {
                    ui.set_max_width(ui.available_width() - 2.0 * SPACE);
                    pictures_ui(ui, context, &look, None);
                    numbers_ui(ui, context, &look);
                    self.queue_ui(ui, context, (height * 0.6).max(60.0 * SPACE));
                });
        }
    }
}

/// Mask, references, and both over each other.
fn pictures_ui(ui: &mut Ui, context: &mut PaneContext<'_>, look: &Look, height: Option<f32>) {
    let frame = inspected_frame(context);
    let has_exact = frame.is_some_and(|f| f.target.is_some());
    let has_boxes = !look.inputs.truth.detections.is_empty();
    let mask = Layers {
        heat_map: context.state.settings.overlay.heat_map,
        mask: true,
        ..Layers::NONE
    };
    let reference = Layers {
        detections: true,
        exact: true,
        ..Layers::NONE
    };
    let both = Layers {
        heat_map: false,
        mask: true,
        detections: true,
        exact: true,
    };
    let panels = [
        ("Pseudo-gaze mask", mask),
        ("Reference", reference),
        ("Overlaid", both),
    ];
    let size = inspected_size(context);
    let caption = ui.text_style_height(&egui::TextStyle::Small) + SPACE;
    let aspect = size.0 as f32 / size.1.max(1) as f32;
    let available = ui.available_width();
    // In a pane that scrolls the pictures stand in a row, else they fill the room there is.
    let room = match height {
        Some(height) => vec2(
            available,
            height - ui.spacing().interact_size.y - 2.0 * SPACE,
        ),
        None => vec2(available, available / 3.0 / aspect + caption),
    };
    let (area, _) =
        ui.allocate_exact_size(room.max(vec2(12.0 * SPACE, 12.0 * SPACE)), Sense::hover());
    let cells = tile(area, panels.len(), aspect, caption);
    for (index, ((name, layers), cell)) in panels.into_iter().zip(cells).enumerate() {
        let mut cell = cell;
        cell.min.y += caption;
        let width = cell.width();
        let scene = Scene {
            frame,
            size,
            look: Some(look).filter(|_| !context.inspector.look_is_late()),
            detections: &look.inputs.truth.detections,
            overlay: &context.state.settings.overlay,
            layers,
        };
        let view = scene.paint(ui, cell);
        let tokens = theme::tokens(ui);
        let font = egui::TextStyle::Small.resolve(ui.style());
        ui.painter().text(
            egui::pos2(view.rect.left(), view.rect.top() - caption),
            egui::Align2::LEFT_TOP,
            name,
            font.clone(),
            tokens.text_weak,
        );
        if index == 1 && !has_exact && !has_boxes {
            let galley = ui.painter().layout(
                "No box on this frame".to_owned(),
                font,
                tokens.text_strong,
                width,
            );
            let plate = Rect::from_center_size(view.rect.center(), galley.size() + vec2(12.0, 8.0));
            ui.painter()
                .rect_filled(plate, 4.0, tokens.panel.gamma_multiply(0.9));
            ui.painter()
                .galley(plate.min + vec2(6.0, 4.0), galley, tokens.text_strong);
        }
    }
    ui.horizontal(|ui| {
        legend_ui(ui, both, Some(look), frame);
        if !has_exact && !has_boxes {
            command_button(ui, context, &Command::OpenBoxes);
        }
    });
}

/// Numbers of this frame against every reference there is.
fn numbers_ui(ui: &mut Ui, context: &PaneContext<'_>, look: &Look) {
    let tokens = theme::tokens(ui);
    let truth = &look.inputs.truth;
    // Numbers of the step before are not those of this one; dashes keep their place.
    let late = context.inspector.look_is_late();
    let dash = || (RichText::new("–").monospace(), String::new());
    let detection = truth.detections.first().map(|d| d.rect);
    let against = |rect: Option<Area>| look.against(rect?);
    let columns: Vec<(&str, FrameMetrics)> = [
        ("Detector", against(detection)),
        ("Exact", against(truth.target)),
    ]
    .into_iter()
    .filter_map(|(name, metrics)| Some((name, metrics?)))
    .collect();
    if columns.is_empty() {
        let reason = match &look.gaze {
            Err(reason) => reason.to_string(),
            Ok(_) => "Nothing to compare with on this frame: open a box file, or use data with exact masks".to_owned(),
        };
        ui.add(egui::Label::new(RichText::new(reason).color(tokens.text_weak)).wrap());
        return;
    }
    let table = Table::new(ui, 30.0 * SPACE, &vec![1.0; columns.len()], 18.0 * SPACE);
    ui.spacing_mut().item_spacing.y = 0.0;
    let name = |text: &str| RichText::new(text).color(tokens.text_weak);
    let plain = |value: &dyn Fn(&FrameMetrics) -> String| -> Vec<(RichText, String)> {
        let cell = |m| match late {
            true => dash(),
            false => (RichText::new(value(m)).monospace(), String::new()),
        };
        columns.iter().map(|(_, m)| cell(m)).collect()
    };
    let hit = |value: fn(&FrameMetrics) -> bool| -> Vec<(RichText, String)> {
        columns
            .iter()
            .map(|(_, m)| match late {
                true => dash(),
                false => (hit_text(value(m), tokens), String::new()),
            })
            .collect()
    };
    let headings: Vec<(RichText, String)> = columns
        .iter()
        .map(|(name, _)| {
            (
                RichText::new(*name).small().color(tokens.text_weak),
                String::new(),
            )
        })
        .collect();
    table.row(
        ui,
        RichText::new("This frame")
            .text_style(theme::section_style())
            .color(tokens.text_strong),
        "The mask against the detector's most confident box, and against the exact target",
        headings,
    );
    table.row(
        ui,
        name("IoU"),
        "Intersection over union of mask and box; patches count by the share of their area inside",
        plain(&|m| format!("{:.2}", m.mask_iou)),
    );
    table.row(
        ui,
        name("Box IoU"),
        "IoU of the mask's box with the box",
        plain(&|m| format!("{:.2}", m.box_iou)),
    );
    table.row(
        ui,
        name("Pointing"),
        "Whether the brightest patch lies in the box",
        hit(|m| m.pointing),
    );
    table.row(
        ui,
        name("Within one patch"),
        "The same with the box grown by one patch on every side",
        hit(|m| m.pointing_slack),
    );
    let still: Vec<_> = columns
        .iter()
        .map(|(_, m)| match m.swapped {
            Some(swapped) if !late => {
                let (text, color) = match swapped.pointing {
                    true => ("stays", tokens.warn),
                    false => ("leaves", tokens.text),
                };
                (RichText::new(text).color(color), String::new())
            }
            _ => dash(),
        })
        .collect();
    table.row(
        ui,
        name("Pointing, swapped"),
        "Whether the brightest patch still lies in the box under another instruction: a gaze that stays is led by what \
         stands out, not by language",
        still,
    );
    table.row(
        ui,
        name("Mass inside"),
        "Share of the heat map that lies in the box",
        plain(&|m| format!("{:.0} %", m.mass_inside * 100.0)),
    );
    table.row(
        ui,
        name("Lift"),
        "Mass inside divided by the box's share of the picture; 1 is chance",
        plain(&|m| {
            if m.lift.is_finite() {
                format!("{:.1} ×", m.lift)
            } else {
                "–".to_owned()
            }
        }),
    );
    table.row(
        ui,
        name("60 % mask IoU"),
        "IoU of the box with the patches that hold 60 % of the attention, as in DINO",
        plain(&|m| format!("{:.2}", m.dino_iou)),
    );
    if let (Some(a), Some(b), false) = (detection, truth.target, late)
        && let Ok(iou) = a.iou(b)
    {
        let text = format!("Detector and exact box agree by IoU {iou:.2}");
        ui.label(RichText::new(text).small().color(tokens.text_weak));
    }
    if context.inspector.report_is_behind() {
        ui.ctx()
            .request_repaint_after(std::time::Duration::from_millis(100));
    }
}

impl Compare {
    /// The frames of the survey, those with the largest gap first.
    fn queue_ui(&mut self, ui: &mut Ui, context: &mut PaneContext<'_>, height: f32) {
        ui.add_space(SPACE);
        let tokens = theme::tokens(ui);
        let source = context.inspector.report().and_then(|r| r.source);
        ui.horizontal(|ui| {
            let heading = RichText::new("Largest gaps first").text_style(theme::section_style());
            ui.label(heading.color(tokens.text_strong));
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                command_icon(ui, context, Icon::Next, &Command::NextDisagreement);
                command_icon(ui, context, Icon::Previous, &Command::PreviousDisagreement);
                if let Some(source) = source {
                    let text = format!("IoU, {}", source.label());
                    ui.add(
                        egui::Label::new(RichText::new(text).small().color(tokens.text_weak))
                            .truncate(),
                    );
                }
            });
        });
        let Some(report) = context.inspector.report().cloned() else {
            let text = "The queue is made as soon as the dataset is measured";
            ui.label(RichText::new(text).color(tokens.text_weak));
            return;
        };
        let queue = context.state.queue.clone();
        if queue.is_empty() {
            let text = "No frame of the sample has a reference box: open a box file, or use data with exact masks";
            ui.add(egui::Label::new(RichText::new(text).color(tokens.text_weak)).wrap());
            return;
        }
        let cursor = (context.state.cursor.episode, context.state.cursor.step);
        let against = report.source.map_or("", TruthSource::label);
        let is_file = context.state.dataset.is_none();
        let row_height = ui.spacing().interact_size.y;
        let room =
            (height - 2.0 * ui.spacing().interact_size.y).max(4.0 * ui.spacing().interact_size.y);
        let scroll = ScrollArea::vertical()
            .id_salt("queue")
            .max_height(room)
            .auto_shrink([false, false]);
        let moved = self.scrolled_to != Some(cursor);
        self.scrolled_to = Some(cursor);
        let current = queue.iter().position(|place| *place == cursor);
        let scroll = match current.filter(|_| moved) {
            // The cursor's row is brought into view once; afterwards the list belongs to the person.
            Some(index) => {
                let pitch = row_height + ui.spacing().item_spacing.y;
                scroll.vertical_scroll_offset((index as f32 * pitch - room * 0.4).max(0.0))
            }
            None => scroll,
        };
        scroll.show_rows(ui, row_height, queue.len(), |ui, rows| {
            for index in rows {
                let Some((episode, step)) = queue.get(index).copied() else {
                    continue;
                };
                let Some(frame) = report.frame(episode, step) else {
                    continue;
                };
                let chosen = current == Some(index);
                if row_ui(ui, index, frame, chosen, against, is_file).clicked() {
                    context.send(Command::GoTo { episode, step });
                }
            }
        });
    }
}

/// One frame of the queue.
fn row_ui(
    ui: &mut Ui,
    index: usize,
    frame: &FrameReport,
    chosen: bool,
    against: &str,
    is_file: bool,
) -> egui::Response {
    let tokens = theme::tokens(ui);
    let size = vec2(
        ui.available_width() - 2.0 * SPACE,
        ui.spacing().interact_size.y,
    );
    let (rect, response) = ui.allocate_exact_size(size, Sense::click());
    let place = if is_file {
        format!("capture {}", frame.step + 1)
    } else {
        format!("episode {} · step {}", frame.episode, frame.step + 1)
    };
    let iou = frame.metrics.map_or(0.0, |m| m.mask_iou);
    let hit = frame.metrics.is_some_and(|m| m.pointing);
    let name = format!(
        "{}. {place}, IoU {iou:.2}, {}",
        index + 1,
        if hit { "hit" } else { "miss" }
    );
    response.widget_info(|| WidgetInfo::selected(Role::ListBoxOption, true, chosen, &name));
    let visuals = ui.style().interact_selectable(&response, chosen);
    if chosen || response.hovered() || response.has_focus() {
        ui.painter().rect_filled(rect, 4.0, visuals.weak_bg_fill);
    }
    let text = if chosen {
        visuals.text_color()
    } else {
        tokens.text
    };
    let weak = if chosen {
        visuals.text_color()
    } else {
        tokens.text_weak
    };
    let body = egui::TextStyle::Body.resolve(ui.style());
    let small = egui::TextStyle::Small.resolve(ui.style());
    let mono = egui::TextStyle::Monospace.resolve(ui.style());
    let y = rect.center().y;
    let painter = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
    let right = |x: f32, text: String, font: egui::FontId, color: Color32| {
        painter.text(
            egui::pos2(x, y),
            egui::Align2::RIGHT_CENTER,
            text,
            font,
            color,
        );
    };
    right(
        rect.left() + 7.0 * SPACE,
        format!("{}", index + 1),
        small.clone(),
        weak,
    );
    painter.text(
        egui::pos2(rect.left() + 9.0 * SPACE, y),
        egui::Align2::LEFT_CENTER,
        place,
        body,
        text,
    );
    let verdict = if chosen {
        text
    } else if hit {
        tokens.good
    } else {
        tokens.bad
    };
    right(
        rect.right() - SPACE,
        if hit { "hit" } else { "miss" }.to_owned(),
        small.clone(),
        verdict,
    );
    right(rect.right() - 10.0 * SPACE, format!("{iou:.2}"), mono, text);
    let split = match frame.split {
        Split::Tune => "tuning",
        Split::HeldOut => "held out",
    };
    if rect.width() > 70.0 * SPACE {
        right(rect.right() - 22.0 * SPACE, split.to_owned(), small, weak);
    }
    let why = frame
        .failure
        .as_ref()
        .map_or(String::new(), |reason| format!("\n{reason}"));
    response.on_hover_text(format!(
        "{split} split, IoU of the mask against the {against}{why}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspector::fake::Bench;
    use crate::theme;
    use egui_kittest::Harness;
    use egui_kittest::kittest::Queryable as _;
    use std::cell::RefCell;

    const PANES: [PaneKind; 5] = [
        PaneKind::Trajectory,
        PaneKind::Attention,
        PaneKind::Heads,
        PaneKind::Tuning,
        PaneKind::Compare,
    ];

    /// Draws a pane at a size until it is settled; the harness checks that every input has a name.
    fn draw<R>(
        bench: &RefCell<Bench>,
        kind: PaneKind,
        size: [f32; 2],
        look: impl FnOnce(&mut Harness<'_>) -> R,
    ) -> R {
        let mut pane = kind.build();
        let mut harness = Harness::builder()
            .with_size(size)
            .with_max_steps(60)
            .with_context_setup(theme::install)
            .build_ui(|ui| {
                bench.borrow_mut().update();
                bench.borrow_mut().show(pane.as_mut(), ui);
            });
        harness.run_ok();
        harness.run_ok();
        look(&mut harness)
    }

    #[test]
    fn the_viewing_panes_draw_at_every_size_whatever_is_open() {
        for bench in [Bench::empty(), Bench::captures(), Bench::dataset()] {
            let bench = RefCell::new(bench);
            for kind in PANES {
                for size in [[180.0, 120.0], [420.0, 500.0], [1100.0, 700.0]] {
                    draw(&bench, kind, size, |_| ());
                }
            }
        }
    }

    #[test]
    fn an_empty_pane_offers_the_way_on() {
        let bench = RefCell::new(Bench::empty());
        for kind in PANES {
            draw(&bench, kind, [600.0, 500.0], |harness| {
                harness.get_by_label("Open built-in tabletop demo").click();
                harness.run_ok();
            });
            assert_eq!(
                bench.borrow_mut().sent.pop(),
                Some(Command::OpenDemo),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_row_of_the_queue_opens_its_frame() {
        let mut bench = Bench::captures();
        bench.update_until("a report", |b| {
            b.inspector.report().is_some_and(|r| !r.curves.is_empty())
        });
        bench.state.queue = bench.inspector.report().unwrap().by_disagreement();
        let first = bench.state.queue[0];
        bench.sent.clear();
        let bench = RefCell::new(bench);
        draw(&bench, PaneKind::Compare, [900.0, 600.0], |harness| {
            let row = harness
                .get_all_by_label_contains("1. capture")
                .next()
                .unwrap();
            row.click();
            harness.run_ok();
        });
        assert!(bench.borrow().sent.contains(&Command::GoTo {
            episode: first.0,
            step: first.1
        }));
    }

    #[test]
    fn nothing_is_sent_by_drawing_alone() {
        let mut bench = Bench::dataset();
        bench.update_until("strips", |b| {
            b.inspector.report().is_some_and(|r| !r.curves.is_empty())
        });
        // Values that do not survive a conversion to percent and back must not be touched by their sliders.
        bench.state.settings.overlay.opacity = 0.57;
        bench.state.settings.selection.mask = grounding::MaskRule::TwoRegionsBudget {
            base: grounding::BaseMask::KeepMass(0.57),
            budget: grounding::Budget::Share(0.07),
            share1: 0.29,
        };
        bench.sent.clear();
        let bench = RefCell::new(bench);
        for kind in PANES {
            draw(&bench, kind, [700.0, 900.0], |_| ());
        }
        let sent: Vec<Command> = bench
            .borrow()
            .sent
            .iter()
            .filter(|c| !matches!(c, Command::SetQueue(_)))
            .cloned()
            .collect();
        assert!(sent.is_empty(), "{sent:?}");
    }
}
