//! The figure on screen, drawn by a thread of its own; the newest recipe wins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use egui::{
    ColorImage, RichText, Role, ScrollArea, Sense, TextureHandle, TextureOptions, Ui, WidgetInfo,
    vec2,
};
use figure::{Raster, Recipe};
use parking_lot::Mutex;

use crate::figure_job::{self, FigureSource};
use crate::inspector::{Latest, PATIENCE};
use crate::theme::{self, SPACE};
use crate::worker::{guard, spawn_worker};

/// Points of the screen per millimetre at print size; a point is 1/96 inch.
const POINTS_PER_MM: f32 = 96.0 / 25.4;
/// Room round the sheet.
const MARGIN: f32 = 2.0 * SPACE;

/// How large the figure is on screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Zoom {
    /// As wide as the pane.
    #[default]
    Fit,
    /// As large as on paper.
    Print,
    /// Twice that.
    Double,
}

impl Zoom {
    pub(super) const ALL: [Self; 3] = [Self::Fit, Self::Print, Self::Double];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Fit => "Fit width",
            Self::Print => "Print size",
            Self::Double => "200 %",
        }
    }

    /// Points of the screen per millimetre of a figure `width_mm` wide.
    fn points_per_mm(self, width_mm: f64, available: f32) -> f32 {
        match self {
            Self::Fit => (available / width_mm.max(1.0) as f32).clamp(0.5, 4.0 * POINTS_PER_MM),
            Self::Print => POINTS_PER_MM,
            Self::Double => 2.0 * POINTS_PER_MM,
        }
    }
}

/// A figure to draw.
struct Task {
    number: u64,
    recipe: Recipe,
    px_per_mm: f64,
    cancel: Arc<AtomicBool>,
}

/// A drawn figure.
struct Drawn {
    raster: Raster,
    size_mm: [f64; 2],
}

/// What the thread and the pane share.
#[derive(Default)]
struct Shared {
    inbox: Latest<Task>,
    /// The newest answer, and to which task.
    outbox: Mutex<Option<(u64, Result<Drawn, String>)>>,
}

/// What was asked of the thread last.
struct Asked {
    number: u64,
    recipe: Recipe,
    px_per_mm: f64,
    cancel: Arc<AtomicBool>,
    since: Instant,
    is_answered: bool,
}

/// The preview of one figure.
#[derive(Default)]
pub(super) struct Preview {
    shared: Option<Arc<Shared>>,
    asked: Option<Asked>,
    sheet: Option<(TextureHandle, [f64; 2])>,
    error: Option<String>,
}

impl Drop for Preview {
    fn drop(&mut self) {
        if let Some(asked) = &self.asked {
            asked.cancel.store(true, Ordering::Relaxed);
        }
        if let Some(shared) = &self.shared {
            shared.inbox.close();
        }
    }
}

impl Preview {
    /// Width and height on paper of what is shown.
    pub(super) fn size_mm(&self) -> Option<[f64; 2]> {
        self.sheet.as_ref().map(|(_, size)| *size)
    }

    /// Draws the newest finished sheet and asks for a newer one where it is out of date.
    pub(super) fn ui(&mut self, ui: &mut Ui, recipe: &Recipe, zoom: Zoom) {
        let available = ui.available_width() - 2.0 * MARGIN - 3.0 * SPACE;
        let points_per_mm = zoom.points_per_mm(recipe.style.width.mm(), available);
        // Rounded up to half pixels, so that dragging the edge of a pane does not draw the sheet for every pixel.
        let px_per_mm = f64::from((points_per_mm * ui.ctx().pixels_per_point() * 2.0).ceil() / 2.0);
        self.ask(ui.ctx(), recipe, px_per_mm);
        let tokens = theme::tokens(ui);
        let waits = self
            .asked
            .as_ref()
            .filter(|a| !a.is_answered)
            .map(|a| a.since.elapsed());
        if let Some(error) = &self.error {
            ui.add(egui::Label::new(RichText::new(error).color(tokens.bad)).wrap());
        }
        let late = waits.is_some_and(|waited| waited > PATIENCE);
        let Some((texture, size_mm)) = &self.sheet else {
            if late {
                ui.horizontal(|ui| {
                    ui.spinner();
                    ui.label(RichText::new("Drawing the figure…").color(tokens.text_weak));
                });
            }
            if waits.is_some() {
                ui.ctx().request_repaint_after(PATIENCE);
            }
            return;
        };
        let size = vec2(size_mm[0] as f32, size_mm[1] as f32) * points_per_mm;
        let top = ui.cursor().min;
        ScrollArea::both()
            .id_salt("figure preview")
            .auto_shrink([false, false])
            .show(ui, |ui| {
                let (outer, response) =
                    ui.allocate_exact_size(size + vec2(2.0, 2.0) * MARGIN, Sense::hover());
                let sheet = outer.shrink(MARGIN);
                // Paper is white in both themes; a hair line shows where it ends.
                ui.painter()
                    .rect_filled(sheet.expand(MARGIN * 0.75), 2.0, egui::Color32::WHITE);
                let hair = egui::Stroke::new(1.0, tokens.border);
                ui.painter().rect_stroke(
                    sheet.expand(MARGIN * 0.75),
                    2.0,
                    hair,
                    egui::StrokeKind::Outside,
                );
                let uv = egui::Rect::from_min_max(egui::pos2(0.0, 0.0), egui::pos2(1.0, 1.0));
                ui.painter()
                    .image(texture.id(), sheet, uv, egui::Color32::WHITE);
                response.widget_info(|| {
                    WidgetInfo::labeled(Role::Image, true, "Preview of the figure")
                });
            });
        if late {
            // Over the sheet, so that nothing moves.
            let corner =
                egui::Rect::from_min_size(top + vec2(MARGIN, MARGIN), vec2(5.0, 5.0) * SPACE);
            ui.put(corner, egui::Spinner::new());
        } else if waits.is_some() {
            ui.ctx().request_repaint_after(PATIENCE);
        }
    }

    fn ask(&mut self, ctx: &egui::Context, recipe: &Recipe, px_per_mm: f64) {
        if self
            .asked
            .as_ref()
            .is_some_and(|a| a.recipe == *recipe && a.px_per_mm == px_per_mm)
        {
            return;
        }
        let shared = match &self.shared {
            Some(shared) => shared.clone(),
            None => match start(ctx.clone()) {
                Ok(shared) => self.shared.insert(shared).clone(),
                Err(error) => {
                    self.error = Some(format!("no thread could be started: {error}"));
                    return;
                }
            },
        };
        if let Some(before) = &self.asked
            && before.recipe != *recipe
        {
            // What is drawn now is out of date; a model need not go on for it.
            before.cancel.store(true, Ordering::Relaxed);
        }
        let cancel = Arc::new(AtomicBool::new(false));
        let number = self.asked.as_ref().map_or(0, |a| a.number + 1);
        shared.inbox.put(Task {
            number,
            recipe: recipe.clone(),
            px_per_mm,
            cancel: cancel.clone(),
        });
        self.asked = Some(Asked {
            number,
            recipe: recipe.clone(),
            px_per_mm,
            cancel,
            since: Instant::now(),
            is_answered: false,
        });
    }

    /// Takes what the thread has drawn, if it has.
    pub(super) fn take(&mut self, ctx: &egui::Context) {
        let Some((number, answer)) = self.shared.as_ref().and_then(|s| s.outbox.lock().take())
        else {
            return;
        };
        if let Some(asked) = self.asked.as_mut().filter(|a| a.number == number) {
            asked.is_answered = true;
        }
        match answer {
            Ok(Drawn { raster, size_mm }) => {
                let size = [raster.width as usize, raster.height as usize];
                let image = ColorImage::from_rgba_unmultiplied(size, &raster.rgba);
                match &mut self.sheet {
                    Some((texture, size)) => {
                        texture.set(image, TextureOptions::LINEAR);
                        *size = size_mm;
                    }
                    None => {
                        self.sheet = Some((
                            ctx.load_texture("figure", image, TextureOptions::LINEAR),
                            size_mm,
                        ))
                    }
                }
                self.error = None;
            }
            // The last good sheet stays, with the reason above it.
            Err(error) => self.error = Some(error),
        }
    }
}

fn start(ctx: egui::Context) -> std::io::Result<Arc<Shared>> {
    let shared = Arc::new(Shared::default());
    let body = {
        let shared = shared.clone();
        move || draw_all(&shared, &ctx)
    };
    spawn_worker("figure", body, |error| {
        tracing::error!("the figure's preview ended: {error:#}");
    })?;
    Ok(shared)
}

/// Draws what comes in until the pane is gone.
fn draw_all(shared: &Shared, ctx: &egui::Context) {
    let mut source = FigureSource::new(Arc::default());
    let mut last: Option<(Recipe, figure::Figure)> = None;
    while let Some(task) = shared.inbox.wait() {
        source.heed(task.cancel.clone());
        let answer = match guard(|| draw(&task, &mut source, &mut last)) {
            Ok(drawn) => Ok(drawn),
            Err(_) if task.cancel.load(Ordering::Relaxed) => continue,
            Err(error) => Err(format!("{error:#}")),
        };
        *shared.outbox.lock() = Some((task.number, answer));
        ctx.request_repaint();
    }
}

fn draw(
    task: &Task,
    source: &mut FigureSource,
    last: &mut Option<(Recipe, figure::Figure)>,
) -> anyhow::Result<Drawn> {
    let figure = match last {
        // Only the size on screen changed.
        Some((recipe, figure)) if *recipe == task.recipe => figure,
        _ => {
            let figure = figure_job::figure(&task.recipe, source)?;
            &mut last.insert((task.recipe.clone(), figure)).1
        }
    };
    Ok(Drawn {
        raster: figure.raster(task.px_per_mm)?,
        size_mm: figure.size_mm(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use figure::{Column, Frame};

    use super::*;

    #[test]
    fn the_newest_recipe_is_drawn_and_errors_are_told() {
        let ctx = egui::Context::default();
        let mut preview = Preview::default();
        let recipe = |episodes: usize| Recipe {
            columns: vec![Column::default()],
            frames: vec![Frame {
                dataset: format!("tabletop:object?episodes={episodes}&env=A&seed=1"),
                ..Frame::default()
            }],
            ..Recipe::default()
        };
        let wait = |preview: &mut Preview, done: &dyn Fn(&Preview) -> bool| {
            let start = Instant::now();
            while !done(preview) {
                assert!(
                    start.elapsed() < Duration::from_secs(60),
                    "nothing was drawn: {:?}",
                    preview.error
                );
                std::thread::sleep(Duration::from_millis(5));
                preview.take(&ctx);
            }
        };
        preview.ask(&ctx, &recipe(2), 2.0);
        preview.ask(&ctx, &recipe(1), 2.0);
        wait(&mut preview, &|p| p.asked.as_ref().unwrap().is_answered);
        let [width, _] = preview.size_mm().unwrap();
        assert!((width - 178.0).abs() < 1e-9);
        preview.ask(
            &ctx,
            &Recipe {
                frames: Vec::new(),
                ..recipe(1)
            },
            2.0,
        );
        wait(&mut preview, &|p| p.error.is_some());
        assert!(preview.error.as_deref().unwrap().contains("no frame"));
        assert!(preview.sheet.is_some(), "the last good sheet stays");
    }
}
