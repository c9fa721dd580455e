//! The bar at the top: menus, the session's name, the device, what works behind the window.

use egui::{Align, Color32, Layout, RichText, Role, Sense, Ui, Vec2, WidgetInfo};
use training::{State, Wish};

use crate::command::{Command, Menu};
use crate::icons::Icon;
use crate::panes::{PaneContext, PaneKind};
use crate::theme::{self, BAR_HEIGHT, SPACE};
use crate::widgets;

/// Draws the bar at the top of `ui`.
pub fn ui(ui: &mut Ui, context: &mut PaneContext<'_>) {
    let tokens = theme::tokens(ui);
    let frame = egui::Frame::NONE
        .fill(tokens.panel)
        .inner_margin(egui::Margin::symmetric(8, 0));
    egui::Panel::top("bar")
        .exact_size(BAR_HEIGHT)
        .frame(frame)
        .show_separator_line(false)
        .show(ui, |ui| {
            ui.horizontal_centered(|ui| {
                let bar = ui.max_rect();
                egui::MenuBar::new().ui(ui, |ui| {
                    let mut left = bar.left();
                    for menu in Menu::ALL {
                        let response = ui
                            .menu_button(menu.label(), |ui| menu_ui(ui, context, menu))
                            .response;
                        left = response.rect.right();
                    }
                    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                        ui.spacing_mut().item_spacing.x = 2.0 * SPACE;
                        palette_chip(ui, context);
                        jobs_chip(ui, context);
                        device_chip(ui, context);
                        session_name(ui, context, bar, left);
                    });
                });
            });
        });
}

fn menu_ui(ui: &mut Ui, context: &mut PaneContext<'_>, menu: Menu) {
    ui.set_min_width(58.0 * SPACE);
    let commands: Vec<Command> = Command::all()
        .into_iter()
        .filter(|c| c.info().is_some_and(|i| i.menu == menu))
        .collect();
    // Room for ticks at the left, in menus that have any.
    let has_switches = commands
        .iter()
        .any(|command| command.checked(context.state).is_some());
    for command in commands {
        let Some(info) = command.info() else { continue };
        if info.starts_group {
            ui.separator();
        }
        let why_disabled = command.why_disabled(context.state);
        let checked = command.checked(context.state).unwrap_or(false);
        let tick = egui::IdSalt::new("tick");
        let mut button = if has_switches {
            egui::Button::new((
                egui::Atom::custom(tick, Vec2::splat(3.0 * SPACE)),
                info.label,
            ))
        } else {
            egui::Button::new(info.label)
        };
        if let Some(shortcut) = info.shortcut {
            let keys = widgets::shortcut_text(ui.ctx(), &shortcut);
            button = button.shortcut_text(RichText::new(keys).color(theme::tokens(ui).text_weak));
        }
        let shown = ui.add_enabled_ui(why_disabled.is_none(), |ui| {
            let shown = button.atom_ui(ui);
            if let Some(rect) = shown.rect(tick).filter(|_| checked) {
                Icon::Check.paint(ui.painter(), rect, ui.visuals().text_color());
            }
            shown
        });
        let response = shown.inner.response;
        let label = info.label;
        response.widget_info(|| {
            WidgetInfo::selected(Role::Button, why_disabled.is_none(), checked, label)
        });
        let response = widgets::command_tooltip(response, &command, why_disabled);
        if response.clicked() {
            context.send(command);
            ui.close();
        }
    }
}

/// What is open, in the middle of the bar where it fits there.
fn session_name(ui: &mut Ui, context: &PaneContext<'_>, bar: egui::Rect, left: f32) {
    let state = context.state;
    let dataset = state
        .dataset
        .as_ref()
        .map(|dataset| dataset.data.info().name.as_str());
    let name = match state.session_name.as_str() {
        "" => dataset.unwrap_or_default(),
        name => name,
    };
    let tokens = theme::tokens(ui);
    let font = egui::TextStyle::Body.resolve(ui.style());
    let right = ui.available_rect_before_wrap().right();
    let room = egui::Rect::from_x_y_ranges(left + 4.0 * SPACE..=right - 2.0 * SPACE, bar.y_range());
    if name.is_empty() || room.width() < 20.0 * SPACE {
        return;
    }
    let mut job = egui::text::LayoutJob::simple_singleline(name.to_owned(), font, tokens.text_weak);
    job.wrap = egui::text::TextWrapping::truncate_at_width(room.width());
    let galley = ui.painter().layout_job(job);
    let half = galley.size().x / 2.0;
    let x = bar.center().x.clamp(
        room.left() + half,
        (room.right() - half).max(room.left() + half),
    );
    let place = egui::Rect::from_center_size(egui::pos2(x, bar.center().y), galley.size());
    ui.painter().galley(place.min, galley, tokens.text_weak);
    let response = ui.interact(place, ui.scope_id().with("session"), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, format!("Session {name}")));
    if let Some(path) = &state.session_path {
        response.on_hover_text(path.display().to_string());
    }
}

fn palette_chip(ui: &mut Ui, context: &mut PaneContext<'_>) {
    let command = Command::ShowPalette;
    let keys = command
        .info()
        .and_then(|info| info.shortcut)
        .map(|s| widgets::shortcut_text(ui.ctx(), &s))
        .unwrap_or_default();
    let response = chip(ui, &keys, theme::tokens(ui).text_weak, None);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, "Command palette"));
    if widgets::command_tooltip(response, &command, None).clicked() {
        context.send(command);
    }
}

fn device_chip(ui: &mut Ui, context: &PaneContext<'_>) {
    let name = context.inspector.device_name();
    let text = name.clone().unwrap_or_else(|| match context.state.device {
        model::DeviceChoice::Auto => "Device chosen on first use".to_owned(),
        model::DeviceChoice::Cpu => "CPU".to_owned(),
        model::DeviceChoice::Gpu => "GPU".to_owned(),
    });
    let tokens = theme::tokens(ui);
    if ui.available_width() < 60.0 * SPACE {
        return;
    }
    ui.scope(|ui| {
        ui.set_max_width(56.0 * SPACE);
        let hover = match name {
            Some(name) => format!("Models compute on {name}"),
            None => "Start with --device cpu or --device gpu to choose it".to_owned(),
        };
        ui.add(egui::Label::new(RichText::new(text).small().color(tokens.text_weak)).truncate())
            .on_hover_text(hover);
    });
}

/// How many things work behind the window; opens the list of them.
fn jobs_chip(ui: &mut Ui, context: &mut PaneContext<'_>) {
    let jobs = context.state.jobs.list();
    let running: Vec<_> = context
        .state
        .runs
        .iter()
        .filter_map(|run| Some((run, run.view()?)))
        .filter(|(_, view)| view.status.state.needs_trainer() && view.status.state != State::Paused)
        .collect();
    let count = jobs.len() + running.len();
    let tokens = theme::tokens(ui);
    let (text, color) = match count {
        0 => ("Idle".to_owned(), tokens.text_weak),
        1 => ("1 running".to_owned(), tokens.accent),
        n => (format!("{n} running"), tokens.accent),
    };
    let shares: Vec<f32> = running
        .iter()
        .map(|(_, view)| view.status.step as f32 / view.status.steps.max(1) as f32)
        .chain(jobs.iter().filter_map(|job| job.progress))
        .collect();
    let share = (!shares.is_empty()).then(|| shares.iter().sum::<f32>() / shares.len() as f32);
    let response = chip(ui, &text, color, share);
    let name = format!("Jobs: {text}");
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &name));
    let response = response.on_hover_text("What works behind the window");
    egui::Popup::menu(&response).width(80.0 * SPACE).show(|ui| {
        ui.set_min_width(80.0 * SPACE);
        if count == 0 {
            ui.label(RichText::new("Nothing runs").weak());
        }
        for job in &jobs {
            ui.horizontal(|ui| {
                ui.vertical(|ui| {
                    ui.set_width(60.0 * SPACE);
                    ui.label(&job.label);
                    let detail = if job.cancelled {
                        "stopping…"
                    } else {
                        job.detail.as_str()
                    };
                    if !detail.is_empty() {
                        ui.label(RichText::new(detail).small().weak());
                    }
                    if let Some(share) = job.progress {
                        progress_bar(ui, share, tokens.accent);
                    }
                });
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    if job.cancellable && !job.cancelled && ui.button("Cancel").clicked() {
                        context.send(Command::CancelJob(job.id));
                    }
                });
            });
        }
        for (run, view) in &running {
            ui.horizontal(|ui| {
                ui.vertical(|ui| {
                    ui.set_width(60.0 * SPACE);
                    ui.label(&run.name);
                    let left = view.status.seconds_left().map(widgets::duration_text);
                    let left = left
                        .map(|left| format!(", {left} left"))
                        .unwrap_or_default();
                    let detail = format!("{} of {}{left}", view.status.step, view.status.steps);
                    ui.label(RichText::new(detail).small().weak());
                    progress_bar(
                        ui,
                        view.status.step as f32 / view.status.steps.max(1) as f32,
                        tokens.accent,
                    );
                });
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    if ui.button("Pause").clicked() {
                        context.send(Command::SetWish(run.dir.clone(), Wish::Pause));
                    }
                });
            });
        }
        if !running.is_empty() {
            ui.separator();
            widgets::command_button(ui, context, &Command::ShowPane(PaneKind::Runs));
        }
    });
}

/// A button that holds a word and, where it is known, how far things are.
fn chip(ui: &mut Ui, text: &str, color: Color32, share: Option<f32>) -> egui::Response {
    let tokens = theme::tokens(ui);
    let font = egui::TextStyle::Small.resolve(ui.style());
    let galley = ui.painter().layout_no_wrap(text.to_owned(), font, color);
    let bar = if share.is_some() { 12.0 * SPACE } else { 0.0 };
    let size = Vec2::new(galley.size().x + bar + 4.0 * SPACE, 6.0 * SPACE);
    let (rect, response) = ui.allocate_exact_size(size, Sense::click());
    let fill = if response.hovered() {
        tokens.control_hovered
    } else {
        tokens.control
    };
    ui.painter().rect_filled(rect, theme::RADIUS, fill);
    let at = egui::pos2(
        rect.left() + 2.0 * SPACE,
        rect.center().y - galley.size().y / 2.0,
    );
    let text_right = at.x + galley.size().x;
    ui.painter().galley(at, galley, color);
    if let Some(share) = share {
        let track = egui::Rect::from_min_size(
            egui::pos2(text_right + 2.0 * SPACE, rect.center().y - 2.0),
            Vec2::new(bar - 2.0 * SPACE, SPACE),
        );
        paint_bar(ui, track, share, tokens.accent);
    }
    response
}

/// A thin bar over the full width, filled from the left by `share`.
pub fn progress_bar(ui: &mut Ui, share: f32, color: Color32) -> egui::Response {
    let (rect, response) =
        ui.allocate_exact_size(Vec2::new(ui.available_width(), SPACE), Sense::hover());
    paint_bar(ui, rect, share, color);
    response.widget_info(|| {
        let mut info = WidgetInfo::labeled(Role::ProgressIndicator, true, "Progress");
        info.value = Some(f64::from(share));
        info
    });
    response
}

fn paint_bar(ui: &Ui, rect: egui::Rect, share: f32, color: Color32) {
    let radius = rect.height() / 2.0;
    ui.painter()
        .rect_filled(rect, radius, theme::tokens(ui).control_active);
    let mut filled = rect;
    filled.set_width(rect.width() * share.clamp(0.0, 1.0));
    if filled.width() >= 1.0 {
        ui.painter().rect_filled(filled, radius, color);
    }
}
