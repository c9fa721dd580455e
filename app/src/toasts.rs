//! Short messages in the corner: what happened, to what, and what to do; the causes on demand.

use std::time::{Duration, Instant};

use egui::{Align2, RichText, Vec2};

use crate::theme::{self, SPACE};

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something went as asked.
    Info,
    /// Something may not be as expected.
    Warning,
    /// Something did not happen.
    Error,
}

/// A message to the person at the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub level: Level,
    /// What happened, in one sentence.
    pub title: String,
    /// Why: causes from the nearest to the root. May be empty.
    pub causes: Vec<String>,
}

impl Notice {
    /// Something went as asked.
    pub fn info(title: impl Into<String>) -> Self {
        Self {
            level: Level::Info,
            title: title.into(),
            causes: Vec::new(),
        }
    }

    /// Something may not be as expected.
    pub fn warning(title: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            title: title.into(),
            causes: Vec::new(),
        }
    }

    /// Something did not happen; the causes are those of `error`.
    pub fn error(title: impl Into<String>, error: &anyhow::Error) -> Self {
        let mut causes: Vec<String> = error.chain().map(ToString::to_string).collect();
        // thiserror messages that end in their source's text would say the same twice.
        causes.dedup();
        Self {
            level: Level::Error,
            title: title.into(),
            causes,
        }
    }

    /// Writes it to the log; called once, where the notice is shown first.
    fn log(&self) {
        let causes = self.causes.join(": ");
        let text = if causes.is_empty() {
            self.title.clone()
        } else {
            format!("{}: {causes}", self.title)
        };
        match self.level {
            Level::Info => tracing::info!("{text}"),
            Level::Warning => tracing::warn!("{text}"),
            Level::Error => tracing::error!("{text}"),
        }
    }
}

struct Toast {
    notice: Notice,
    born: Instant,
    /// How often the same notice came.
    count: usize,
    unfolded: bool,
}

/// The messages on screen.
#[derive(Default)]
pub struct Toasts {
    shown: Vec<Toast>,
    errors: usize,
}

/// At most this many are on screen; older ones are in the log.
const MOST: usize = 4;
const WIDTH: f32 = 90.0 * SPACE;

impl Toasts {
    /// Shows a notice and logs it. The same notice again only raises its count.
    pub fn add(&mut self, notice: Notice) {
        notice.log();
        self.errors += usize::from(notice.level == Level::Error);
        if let Some(same) = self.shown.iter_mut().find(|toast| toast.notice == notice) {
            same.count += 1;
            same.born = Instant::now();
            return;
        }
        if self.shown.len() == MOST {
            self.shown.remove(0);
        }
        self.shown.push(Toast {
            notice,
            born: Instant::now(),
            count: 1,
            unfolded: false,
        });
    }

    /// Errors since the start; a scripted walk fails when there is one.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Draws them, newest lowest. Info leaves by itself, warnings later, errors when closed.
    pub fn show(&mut self, context: &egui::Context) {
        let lifetime = |level| match level {
            Level::Info => Some(Duration::from_secs(5)),
            Level::Warning => Some(Duration::from_secs(12)),
            Level::Error => None,
        };
        self.shown.retain(|toast| {
            let Some(lifetime) = lifetime(toast.notice.level) else {
                return true;
            };
            match lifetime.checked_sub(toast.born.elapsed()) {
                Some(left) if !left.is_zero() => {
                    context.request_repaint_after(left);
                    true
                }
                _ => false,
            }
        });
        if self.shown.is_empty() {
            return;
        }
        let mut closed = None;
        egui::Area::new(egui::Id::unique("toasts"))
            .anchor(Align2::RIGHT_BOTTOM, Vec2::splat(-4.0 * SPACE))
            .order(egui::Order::Foreground)
            .show(context, |ui| {
                ui.spacing_mut().item_spacing.y = 2.0 * SPACE;
                for (index, toast) in self.shown.iter_mut().enumerate() {
                    if toast_ui(ui, index, toast) {
                        closed = Some(index);
                    }
                }
            });
        if let Some(index) = closed {
            self.shown.remove(index);
            context.request_repaint();
        }
    }
}

/// Draws one; says whether it was closed.
fn toast_ui(ui: &mut egui::Ui, index: usize, toast: &mut Toast) -> bool {
    let tokens = theme::tokens(ui);
    let (color, word) = match toast.notice.level {
        Level::Info => (tokens.good, "Done"),
        Level::Warning => (tokens.warn, "Warning"),
        Level::Error => (tokens.bad, "Error"),
    };
    let mut closed = false;
    let frame = egui::Frame::window(ui.style()).inner_margin(egui::Margin::symmetric(12, 8));
    frame.show(ui, |ui| {
        ui.set_width(WIDTH);
        ui.push_id(("toast", index), |ui| {
            ui.horizontal_top(|ui| {
                let (dot, level) = ui
                    .allocate_exact_size(Vec2::new(2.0 * SPACE, 5.0 * SPACE), egui::Sense::hover());
                ui.painter().circle_filled(dot.center(), SPACE, color);
                level.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, word));
                ui.vertical(|ui| {
                    ui.set_width(WIDTH - 14.0 * SPACE);
                    let title = RichText::new(&toast.notice.title).color(tokens.text_strong);
                    ui.add(egui::Label::new(title).wrap());
                    if let Some(first) = toast.notice.causes.first() {
                        ui.add(
                            egui::Label::new(RichText::new(first).color(tokens.text_weak)).wrap(),
                        );
                    }
                    if toast.unfolded {
                        for cause in toast.notice.causes.iter().skip(1) {
                            let line = RichText::new(format!("caused by {cause}"))
                                .small()
                                .color(tokens.text_weak);
                            ui.add(egui::Label::new(line).wrap());
                        }
                    }
                    ui.horizontal(|ui| {
                        if toast.count > 1 {
                            ui.label(
                                RichText::new(format!("{} times", toast.count))
                                    .small()
                                    .weak(),
                            );
                        }
                        if toast.notice.causes.len() > 1 {
                            let label = if toast.unfolded {
                                "Hide details"
                            } else {
                                "Show details"
                            };
                            if ui.link(RichText::new(label).small()).clicked() {
                                toast.unfolded = !toast.unfolded;
                            }
                        }
                        if toast.notice.level == Level::Error
                            && ui
                                .link(RichText::new("Copy").small())
                                .on_hover_text("Copy the whole message")
                                .clicked()
                        {
                            let mut text = vec![toast.notice.title.clone()];
                            text.extend(toast.notice.causes.iter().cloned());
                            ui.ctx().copy_text(text.join("\n"));
                        }
                    });
                });
                if crate::widgets::icon_button(ui, crate::icons::Icon::Close, "Dismiss").clicked() {
                    closed = true;
                }
            });
        });
    });
    closed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_error_twice_is_one_toast() {
        let mut toasts = Toasts::default();
        let error = anyhow::anyhow!("no such file: a.ron").context("cannot read");
        toasts.add(Notice::error("The session did not open", &error));
        toasts.add(Notice::error("The session did not open", &error));
        assert_eq!(toasts.shown.len(), 1);
        assert_eq!(toasts.shown[0].count, 2);
        assert_eq!(
            toasts.shown[0].notice.causes,
            ["cannot read", "no such file: a.ron"]
        );
    }
}
