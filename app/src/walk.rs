//! A scripted walk through the real window: every pane, both themes, with and without data; a picture of each.
//!
//! Continuous integration runs it under a virtual display with a software graphics driver. It fails on the first error
//! that the window shows, and when something does not come within its time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use parking_lot::Mutex;

use crate::command::Command;
use crate::panes::PaneKind;
use crate::settings::{Settings, SettingsFile};
use crate::workbench::{Options, Workbench};

/// A scene may take this long to come up, models and data included.
const PATIENCE: Duration = Duration::from_secs(60);
/// After the last change the window is left alone this long before its picture is taken, so that animations end.
const CALM: Duration = Duration::from_millis(400);

/// How to walk.
pub struct Walk {
    /// Where the pictures go.
    pub out: PathBuf,
    /// Size of the window in points.
    pub size: (f32, f32),
    /// What to open in place of the demo.
    pub open: Option<String>,
    /// Where models compute.
    pub device: model::DeviceChoice,
    /// The log's memory.
    pub log: crate::log::LogMemory,
}

/// One picture: what to do before it is taken.
struct Scene {
    name: String,
    commands: Vec<Command>,
}

fn script(open: Option<&str>) -> Vec<Scene> {
    let mut scenes = Vec::new();
    let mut scene = |name: String, commands: Vec<Command>| scenes.push(Scene { name, commands });
    let open = match open {
        Some(text) if crate::opening::is_specification(text) => {
            Some(Command::OpenSpecification(text.to_owned()))
        }
        Some(path) => Some(Command::OpenPath(path.into())),
        None => crate::assets::demo().map(|_| Command::OpenDemo),
    };
    for (theme, set) in [("dark", Command::ThemeDark), ("light", Command::ThemeLight)] {
        scene(
            format!("{theme}-welcome"),
            vec![set.clone(), Command::NewSession],
        );
        scene(format!("{theme}-palette"), vec![Command::ShowPalette]);
        // Every pane with nothing loaded.
        scene(
            format!("{theme}-empty"),
            vec![
                Command::ShowPalette,
                Command::ResetLayout,
                Command::ShowPane(PaneKind::Sources),
            ],
        );
        for kind in [
            PaneKind::Attention,
            PaneKind::Runs,
            PaneKind::Figure,
            PaneKind::Log,
        ] {
            scene(
                format!("{theme}-empty-{}", kind.title().to_lowercase()),
                vec![Command::ShowPane(kind)],
            );
        }
        for (name, command) in [
            ("shortcuts", Command::ShowShortcuts),
            ("about", Command::ShowAbout),
            ("path", Command::TypePath),
        ] {
            scene(
                format!("{theme}-{name}"),
                vec![Command::CloseDialog, command],
            );
        }
        let Some(open) = &open else { continue };
        scene(
            format!("{theme}-demo"),
            vec![Command::CloseDialog, Command::ResetLayout, open.clone()],
        );
        scene(
            format!("{theme}-demo-later"),
            vec![
                Command::JumpForward,
                Command::NextEpisode,
                Command::JumpForward,
            ],
        );
        scene(
            format!("{theme}-demo-head"),
            vec![Command::NextLayer, Command::NextHead],
        );
        for kind in [PaneKind::Attention, PaneKind::Figure, PaneKind::Runs] {
            let name = format!("{theme}-demo-{}", kind.title().to_lowercase());
            scene(
                name,
                vec![Command::ShowSelectedHeads, Command::ShowPane(kind)],
            );
        }
        scene(format!("{theme}-demo-new-run"), vec![Command::NewRun]);
        scene(
            format!("{theme}-demo-zoom"),
            vec![
                Command::ShowRunForm(false),
                Command::ShowPane(PaneKind::Trajectory),
                Command::ZoomIn,
                Command::ZoomIn,
                Command::ZoomIn,
            ],
        );
        scene(format!("{theme}-demo-calm"), vec![Command::ZoomReset]);
    }
    scenes
}

/// Walks.
///
/// # Errors
/// When the window does not come up, shows an error, or a picture cannot be written.
pub fn walk(walk: Walk) -> anyhow::Result<()> {
    std::fs::create_dir_all(&walk.out)
        .with_context(|| format!("cannot make the folder: {}", walk.out.display()))?;
    let scenes = script(walk.open.as_deref());
    if walk.open.is_none() && crate::assets::demo().is_none() {
        eprintln!("not found, skipped: the scenes with the demo");
    }
    let mut settings = SettingsFile::in_memory();
    settings.settings = Settings {
        window_size: walk.size,
        ..Settings::default()
    };
    let mut native = crate::window::native_options(&settings);
    // There may be no window manager to honour anything but a plain window.
    native.centered = false;
    let outcome = Arc::new(Mutex::new(None));
    let (told, out) = (outcome.clone(), walk.out.clone());
    let options = Options {
        settings,
        device: walk.device,
        log: walk.log,
        ..Options::bare()
    };
    crate::window::run(native, move |creation| {
        Box::new(Walker {
            workbench: Workbench::new(&creation.egui_ctx, options),
            scenes,
            next: 0,
            begun: Instant::now(),
            phase: Phase::Begin,
            out,
            outcome: told,
            picture: Arc::default(),
            busy_frames: Vec::new(),
        })
    })?;
    match outcome.lock().take() {
        Some(Ok(summary)) => {
            println!("{summary}");
            Ok(())
        }
        Some(Err(error)) => Err(error),
        None => bail!("the window closed before the walk was over"),
    }
}

enum Phase {
    Begin,
    /// Until the window is at rest since this moment.
    Settle(Instant),
    /// A picture was asked for.
    Shoot,
}

struct Walker {
    workbench: Workbench,
    scenes: Vec<Scene>,
    next: usize,
    begun: Instant,
    phase: Phase,
    out: PathBuf,
    outcome: Arc<Mutex<Option<anyhow::Result<String>>>>,
    /// The picture that was asked for, once it is there.
    picture: Arc<Mutex<Option<Arc<egui::ColorImage>>>>,
    /// CPU seconds of each frame drawn while nothing changed.
    busy_frames: Vec<f32>,
}

impl eframe::App for Walker {
    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut eframe::Frame) {
        let start = Instant::now();
        self.workbench.ui(ui);
        if matches!(self.phase, Phase::Settle(_)) && self.workbench.is_idle() {
            self.busy_frames.push(start.elapsed().as_secs_f32());
        }
        let _ = frame;
        let context = ui.ctx().clone();
        match self.advance(&context) {
            Ok(true) => context.request_repaint_after(Duration::from_millis(30)),
            Ok(false) => self.finish(&context, Ok(())),
            Err(error) => self.finish(&context, Err(error)),
        }
    }

    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        self.workbench.clear_color(visuals)
    }
}

impl Walker {
    /// One frame on. False when the walk is over.
    fn advance(&mut self, context: &egui::Context) -> anyhow::Result<bool> {
        let Some(scene) = self.scenes.get(self.next) else {
            return Ok(false);
        };
        if self.workbench.errors() > 0 {
            bail!(
                "the window showed an error in scene {}; see the log above",
                scene.name
            );
        }
        if self.begun.elapsed() > PATIENCE {
            bail!(
                "scene {} did not come to rest within {} s",
                scene.name,
                PATIENCE.as_secs()
            );
        }
        match self.phase {
            Phase::Begin => {
                for command in scene.commands.clone() {
                    self.workbench.send(command);
                }
                self.phase = Phase::Settle(Instant::now());
            }
            Phase::Settle(since) => {
                if !self.workbench.is_idle() {
                    self.phase = Phase::Settle(Instant::now());
                } else if since.elapsed() > CALM {
                    let slot = self.picture.clone();
                    let repaint = context.clone();
                    context.request_screenshot(move |image| {
                        *slot.lock() = Some(image);
                        repaint.request_repaint();
                    });
                    self.phase = Phase::Shoot;
                }
            }
            Phase::Shoot => {
                let image = self.picture.lock().take();
                if let Some(image) = image {
                    write_png(&self.out.join(format!("{}.png", scene.name)), &image)?;
                    self.next += 1;
                    self.begun = Instant::now();
                    self.phase = Phase::Begin;
                }
            }
        }
        Ok(true)
    }

    fn finish(&mut self, context: &egui::Context, result: anyhow::Result<()>) {
        let pictures = self.next;
        self.busy_frames.sort_by(f32::total_cmp);
        let median = self
            .busy_frames
            .get(self.busy_frames.len() / 2)
            .copied()
            .unwrap_or(0.0)
            * 1e3;
        let mut outcome = self.outcome.lock();
        if outcome.is_none() {
            *outcome = Some(result.map(|()| {
                format!(
                    "{pictures} pictures, {median:.1} ms per frame at rest (median): {}",
                    self.out.display()
                )
            }));
        }
        drop(outcome);
        context.send_viewport_cmd(egui::ViewportCommand::Close);
    }
}

fn write_png(path: &Path, image: &egui::ColorImage) -> anyhow::Result<()> {
    let [width, height] = image.size;
    let rgba: Vec<u8> = image
        .pixels
        .iter()
        .flat_map(egui::Color32::to_array)
        .collect();
    image::save_buffer(
        path,
        &rgba,
        width as u32,
        height as u32,
        image::ExtendedColorType::Rgba8,
    )
    .with_context(|| format!("cannot write the picture: {}", path.display()))
}
