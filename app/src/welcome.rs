//! The first screen: what one can open, with real pictures, and what was open last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use egui::{Align2, RichText, Role, Sense, Ui, Vec2, WidgetInfo};

use crate::assets;
use crate::command::Command;
use crate::settings::{Recent, RecentKind};
use crate::state::WorkbenchState;
use crate::theme::{self, SPACE};
use crate::worker::spawn_worker;

/// Largest side of a picture that is worth showing on a card, in pixels.
const LARGEST_PICTURE: u32 = 4096;

/// Pictures of the cards: read by threads, kept as textures.
#[derive(Default)]
pub struct Pictures {
    found: BTreeMap<&'static str, Picture>,
}

enum Picture {
    Reading(Receiver<egui::ColorImage>),
    Missing,
    Ready(egui::TextureHandle),
}

impl Pictures {
    fn get(&mut self, ui: &Ui, name: &'static str) -> Option<egui::TextureHandle> {
        let context = ui.ctx().clone();
        let picture = self.found.entry(name).or_insert_with(|| {
            let (sender, receiver) = bounded(1);
            let woken = context.clone();
            let body = move || {
                if let Some(image) = assets::card_picture(name).and_then(|path| read_picture(&path))
                {
                    // Nobody listens any more when the window is gone.
                    let _closed = sender.send(image);
                }
                context.request_repaint();
            };
            match spawn_worker("picture", body, move |_| woken.request_repaint()) {
                Ok(()) => Picture::Reading(receiver),
                Err(_) => Picture::Missing,
            }
        });
        if let Picture::Reading(receiver) = picture {
            match receiver.try_recv() {
                Ok(image) => {
                    let options = egui::TextureOptions::LINEAR;
                    *picture = Picture::Ready(ui.ctx().load_texture(name, image, options));
                }
                Err(TryRecvError::Disconnected) => *picture = Picture::Missing,
                Err(TryRecvError::Empty) => {}
            }
        }
        match picture {
            Picture::Ready(texture) => Some(texture.clone()),
            Picture::Reading(_) | Picture::Missing => None,
        }
    }
}

fn read_picture(path: &Path) -> Option<egui::ColorImage> {
    let read = || -> Result<egui::ColorImage, image::ImageError> {
        let mut reader = image::ImageReader::open(path)?.with_guessed_format()?;
        let mut limits = image::Limits::default();
        limits.max_image_width = Some(LARGEST_PICTURE);
        limits.max_image_height = Some(LARGEST_PICTURE);
        reader.limits(limits);
        let image = reader.decode()?.to_rgba8();
        let size = [image.width() as usize, image.height() as usize];
        Ok(egui::ColorImage::from_rgba_unmultiplied(
            size,
            image.as_raw(),
        ))
    };
    read()
        .inspect_err(|error| tracing::warn!("no picture on a card: {error}: {}", path.display()))
        .ok()
}

struct Card {
    name: &'static str,
    title: &'static str,
    text: &'static str,
    command: Command,
}

const CARDS: [Card; 4] = [
    Card {
        name: "card-demo",
        title: "Built-in tabletop demo",
        text: "A recording and a small trained policy, ready to look at",
        command: Command::OpenDemo,
    },
    Card {
        name: "card-dataset",
        title: "Open dataset…",
        text: "LeRobot v3 or RLDS trajectories, such as BridgeData V2",
        command: Command::OpenDataset,
    },
    Card {
        name: "card-run",
        title: "Open run…",
        text: "A training run, living or finished, and its checkpoints",
        command: Command::OpenRun,
    },
    Card {
        name: "card-capture",
        title: "Open capture…",
        text: "Attention recorded from any PyTorch model as attncap/1",
        command: Command::OpenCapture,
    },
];

const CARD: Vec2 = Vec2::new(56.0 * SPACE, 58.0 * SPACE);
const PICTURE_HEIGHT: f32 = 34.0 * SPACE;
const GAP: f32 = 4.0 * SPACE;

/// Draws the screen.
pub fn ui(
    ui: &mut Ui,
    recent: &[Recent],
    pictures: &mut Pictures,
    state: &WorkbenchState,
    commands: &mut Vec<Command>,
) {
    let tokens = theme::tokens(ui);
    let columns = if ui.available_width() > 4.0 * CARD.x + 7.0 * GAP {
        4
    } else {
        2
    };
    let width = columns as f32 * CARD.x + (columns - 1) as f32 * GAP;
    egui::ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        let left = ((ui.available_width() - width) / 2.0).max(0.0);
        ui.add_space((ui.available_height() * 0.10).max(6.0 * SPACE));
        ui.horizontal_top(|ui| {
            ui.add_space(left);
            ui.vertical(|ui| {
                ui.set_width(width);
                ui.label(RichText::new("Gazelab").text_style(theme::title_style()).color(tokens.text_strong));
                ui.label(RichText::new("See where a robot policy looks, and whether it looks at the right thing").color(tokens.text_weak));
                ui.add_space(6.0 * SPACE);
                for row in CARDS.chunks(columns) {
                    ui.horizontal(|ui| {
                        ui.spacing_mut().item_spacing.x = GAP;
                        for card in row {
                            let picture = pictures.get(ui, card.name);
                            if card_ui(ui, card, picture.as_ref()) {
                                commands.push(card.command.clone());
                            }
                        }
                    });
                    ui.add_space(GAP - SPACE);
                }
                ui.add_space(4.0 * SPACE);
                below_ui(ui, recent, state, commands);
            });
        });
    });
}

fn card_ui(ui: &mut Ui, card: &Card, picture: Option<&egui::TextureHandle>) -> bool {
    let tokens = theme::tokens(ui);
    let (rect, response) = ui.allocate_exact_size(CARD, Sense::click());
    let response = match card.command.info() {
        Some(info) => response.on_hover_text(match info.shortcut {
            Some(shortcut) => format!(
                "{}\n{}",
                info.help,
                crate::widgets::shortcut_text(ui.ctx(), &shortcut)
            ),
            None => info.help.to_owned(),
        }),
        None => response,
    };
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, card.title));
    let painter = ui.painter().with_clip_rect(rect);
    let active = response.hovered() || response.has_focus();
    let radius = 2 * theme::RADIUS;
    painter.rect_filled(rect, radius, tokens.surface);
    let top = egui::Rect::from_min_size(rect.min, Vec2::new(rect.width(), PICTURE_HEIGHT));
    let corners = egui::CornerRadius {
        nw: radius,
        ne: radius,
        sw: 0,
        se: 0,
    };
    match picture {
        Some(texture) => {
            // Fill the card's upper part, cutting off what is too much.
            let size = texture.size_vec2();
            let scale = (top.width() / size.x).max(top.height() / size.y);
            let shown = top.size() / (size * scale);
            let uv = egui::Rect::from_center_size(egui::pos2(0.5, 0.5), shown);
            painter.add(
                egui::epaint::RectShape::filled(top, corners, egui::Color32::WHITE)
                    .with_texture(texture.id(), uv),
            );
        }
        None => {
            painter.rect_filled(top, corners, tokens.well);
            emblem(&painter, top, card.name, tokens);
        }
    }
    let border = if active { tokens.accent } else { tokens.border };
    painter.rect_stroke(
        rect,
        radius,
        egui::Stroke::new(1.0, border),
        egui::StrokeKind::Inside,
    );
    // Painted rather than added: the card is one button with one name.
    let width = rect.width() - 6.0 * SPACE;
    let at = top.left_bottom() + Vec2::splat(3.0 * SPACE);
    let title_font = theme::section_style().resolve(ui.style());
    let title = painter.layout(card.title.to_owned(), title_font, tokens.text_strong, width);
    let below = at + Vec2::new(0.0, title.size().y + SPACE);
    painter.galley(at, title, tokens.text_strong);
    let font = egui::TextStyle::Body.resolve(ui.style());
    let text = painter.layout(card.text.to_owned(), font, tokens.text_weak, width);
    painter.galley(below, text, tokens.text_weak);
    response.clicked()
}

/// A drawing in place of a picture: what kind of thing the card opens.
fn emblem(painter: &egui::Painter, rect: egui::Rect, name: &str, tokens: &theme::Tokens) {
    let center = rect.center();
    let unit = rect.height() / 12.0;
    let line = egui::Stroke::new(1.5, tokens.text_weak);
    let bright = egui::Stroke::new(2.0, tokens.accent);
    match name {
        "card-dataset" => {
            // Frames of a film, one behind the other.
            for i in [2.0, 1.0, 0.0] {
                let at = egui::Rect::from_center_size(
                    center + Vec2::new(i - 1.0, 1.0 - i) * unit * 1.4,
                    Vec2::new(7.0, 5.0) * unit,
                );
                painter.rect(
                    at,
                    3.0,
                    tokens.surface,
                    if i == 0.0 { bright } else { line },
                    egui::StrokeKind::Inside,
                );
            }
        }
        "card-run" => {
            // A loss that falls.
            let at = |i: f32| {
                center
                    + Vec2::new(
                        i * 0.7 - 5.0,
                        2.8 - 6.0 * (-0.32 * i).exp().mul_add(-1.0, 1.0),
                    ) * unit
            };
            let flip = |p: egui::Pos2| egui::pos2(p.x, 2.0 * center.y - p.y);
            let points: Vec<_> = (0..15).map(|i| flip(at(i as f32))).collect();
            painter.line(points, bright);
            painter.hline(
                center.x - 5.4 * unit..=center.x + 5.4 * unit,
                center.y + 3.6 * unit,
                line,
            );
        }
        "card-capture" => {
            // Patches, one of them looked at.
            for row in 0..4u8 {
                for column in 0..4u8 {
                    let offset = Vec2::new(f32::from(column) - 1.5, f32::from(row) - 1.5);
                    let looked_at = 1.0 / (1.0 + (offset - Vec2::new(0.5, -0.5)).length_sq());
                    let cell = egui::Rect::from_center_size(
                        center + offset * unit * 1.9,
                        Vec2::splat(unit * 1.7),
                    );
                    painter.rect_filled(
                        cell,
                        2.0,
                        tokens.control.lerp_to_gamma(tokens.accent, looked_at),
                    );
                }
            }
        }
        _ => {
            // A table, an object and a gaze.
            painter.hline(
                center.x - 5.0 * unit..=center.x + 5.0 * unit,
                center.y + 2.6 * unit,
                line,
            );
            let cube = egui::Rect::from_center_size(
                center + Vec2::new(1.8, 1.4) * unit,
                Vec2::splat(2.4 * unit),
            );
            painter.rect(cube, 2.0, tokens.surface, line, egui::StrokeKind::Inside);
            painter.circle_stroke(cube.center(), 2.6 * unit, bright);
        }
    }
}

fn below_ui(ui: &mut Ui, recent: &[Recent], state: &WorkbenchState, commands: &mut Vec<Command>) {
    let tokens = theme::tokens(ui);
    let half = ui.available_width() / 2.0 - GAP;
    ui.horizontal_top(|ui| {
        ui.vertical(|ui| {
            ui.set_width(half);
            crate::widgets::section(ui, "Recent");
            if recent.is_empty() {
                ui.label(RichText::new("What you open appears here").weak());
            }
            for item in recent {
                let name = Path::new(&item.origin)
                    .file_name()
                    .map_or(item.origin.clone(), |n| n.to_string_lossy().into_owned());
                ui.horizontal(|ui| {
                    let link = ui
                        .add(egui::Link::new(RichText::new(&name).color(tokens.accent)))
                        .on_hover_text(&item.origin);
                    if link.clicked() {
                        commands.push(match item.kind {
                            RecentKind::Dataset if episode::is_specification(&item.origin) => {
                                Command::OpenSpecification(item.origin.clone())
                            }
                            _ => Command::OpenPath(PathBuf::from(&item.origin)),
                        });
                    }
                    ui.label(RichText::new(item.kind.label()).small().weak());
                });
            }
        });
        ui.add_space(GAP);
        ui.vertical(|ui| {
            ui.set_width(half);
            crate::widgets::section(ui, "Start");
            for command in [
                Command::OpenSession,
                Command::NewRun,
                Command::TypePath,
                Command::ShowShortcuts,
            ] {
                let Some(info) = command.info() else { continue };
                ui.horizontal(|ui| {
                    let why_disabled = command.why_disabled(state);
                    let link = ui.add_enabled(why_disabled.is_none(), egui::Link::new(info.label));
                    if crate::widgets::command_tooltip(link, &command, why_disabled).clicked() {
                        commands.push(command.clone());
                    }
                    if let Some(shortcut) = info.shortcut {
                        ui.label(
                            RichText::new(crate::widgets::shortcut_text(ui.ctx(), &shortcut))
                                .small()
                                .weak(),
                        );
                    }
                });
            }
            ui.add_space(2.0 * SPACE);
            ui.label(RichText::new("Or drop a folder or file onto the window").weak());
        });
    });
    ui.add_space(8.0 * SPACE);
}

/// Says that what hovers over the window can be dropped.
pub fn drop_hint_ui(context: &egui::Context) {
    if context.input(|input| input.raw.hovered_files.is_empty()) {
        return;
    }
    let painter = context.layer_painter(egui::LayerId::new(
        egui::Order::Foreground,
        egui::Id::unique("drop"),
    ));
    let visuals = context.global_style().visuals.clone();
    let tokens = theme::of(&visuals);
    let rect = context.content_rect();
    painter.rect_filled(rect, 0.0, tokens.ground.gamma_multiply(0.85));
    painter.rect_stroke(
        rect.shrink(3.0 * SPACE),
        8.0,
        egui::Stroke::new(2.0, tokens.accent),
        egui::StrokeKind::Inside,
    );
    let font = egui::TextStyle::Heading.resolve(&context.global_style());
    painter.text(
        rect.center(),
        Align2::CENTER_CENTER,
        "Drop to open",
        font,
        tokens.text_strong,
    );
}
