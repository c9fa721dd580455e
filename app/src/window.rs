//! The real window: a display, a GPU or its stand-in, and the [`Workbench`] in it.

use std::time::Instant;

use anyhow::{Context as _, bail};

use crate::settings::SettingsFile;
use crate::workbench::{Options, Workbench};

/// How the window comes up.
pub struct Opening {
    /// What it shows.
    pub options: Options,
    /// When the program started.
    pub started: Instant,
    /// Print how long the first frame took, and leave.
    pub time_first_frame: bool,
}

/// Opens the window and stays until it is closed.
///
/// # Errors
/// When there is no display, no graphics driver, or the window system refuses; the message says what to do.
pub fn open(opening: Opening) -> anyhow::Result<()> {
    let Opening {
        options,
        started,
        time_first_frame,
    } = opening;
    let native = native_options(&options.settings);
    run(native, move |creation| {
        Box::new(Timed {
            workbench: Workbench::new(&creation.egui_ctx, options),
            started,
            time_first_frame,
            frames: 0,
        })
    })
}

/// Opens a window for any application of ours.
///
/// # Errors
/// As [`open`].
pub fn run(
    native: eframe::NativeOptions,
    make: impl FnOnce(&eframe::CreationContext<'_>) -> Box<dyn eframe::App>,
) -> anyhow::Result<()> {
    require_display()?;
    eframe::run_native("gazelab", native, Box::new(|creation| Ok(make(creation)))).map_err(explain)
}

/// Options of the window itself.
pub fn native_options(settings: &SettingsFile) -> eframe::NativeOptions {
    let (width, height) = settings.settings.window_size;
    let viewport = egui::ViewportBuilder::default()
        .with_title("Gazelab")
        .with_app_id("gazelab")
        .with_inner_size([width, height])
        .with_min_inner_size([800.0, 560.0])
        .with_maximized(settings.settings.maximized)
        .with_icon(icon())
        .with_drag_and_drop(true);
    eframe::NativeOptions {
        viewport,
        centered: true,
        system_font_fallback: false,
        ..Default::default()
    }
}

/// Without a display the window system's own message is hard to read.
fn require_display() -> anyhow::Result<()> {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let needs_display = cfg!(all(unix, not(target_os = "macos")));
    if needs_display
        && !["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"]
            .into_iter()
            .any(is_set)
    {
        bail!(
            "there is no display to open a window on: neither DISPLAY nor WAYLAND_DISPLAY is set; \
             everything but the window works here too, see gazelab --help"
        );
    }
    Ok(())
}

/// Says what to do about it.
fn explain(error: eframe::Error) -> anyhow::Error {
    const NO_DRIVER: &str = "no graphics driver offers what the window needs; install one (on Debian: \
         apt install mesa-vulkan-drivers, which also draws without a GPU), or work without the window, see gazelab --help";
    const NO_WINDOW: &str = "the display refused to open a window; check DISPLAY or WAYLAND_DISPLAY, or work without \
         the window, see gazelab --help";
    match error {
        eframe::Error::Wgpu(error) => anyhow::Error::new(error).context(NO_DRIVER),
        // winit's message names the line of its source where it gave up; what follows that is the reason.
        eframe::Error::Winit(_) | eframe::Error::WinitEventLoop(_) => {
            let text = error.to_string();
            let reason = text.rsplit(": ").next().unwrap_or(&text).to_owned();
            anyhow::Error::msg(reason).context(NO_WINDOW)
        }
        error => anyhow::Error::new(error).context("the window did not open"),
    }
}

/// A gaze on a patch grid, drawn rather than stored.
fn icon() -> egui::IconData {
    const SIDE: usize = 64;
    let mut rgba = Vec::with_capacity(SIDE * SIDE * 4);
    for y in 0..SIDE {
        for x in 0..SIDE {
            let (column, row) = (x / 16, y / 16);
            let gap = x % 16 == 0 || y % 16 == 0 || x % 16 == 15 || y % 16 == 15;
            let (dx, dy) = (column as f64 - 2.0, row as f64 - 1.0);
            let heat = 1.0 / (1.0 + 1.2 * (dx * dx + dy * dy));
            let [r, g, b] = figure::ColorMap::Viridis.color(heat);
            rgba.extend(if gap { [0, 0, 0, 0] } else { [r, g, b, 255] });
        }
    }
    egui::IconData {
        rgba,
        width: SIDE as u32,
        height: SIDE as u32,
    }
}

/// The workbench with a clock for its first frame.
struct Timed {
    workbench: Workbench,
    started: Instant,
    time_first_frame: bool,
    frames: u32,
}

impl eframe::App for Timed {
    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut eframe::Frame) {
        eframe::App::ui(&mut self.workbench, ui, frame);
        self.frames = self.frames.saturating_add(1);
        // The second call begins after the first frame was presented.
        if self.frames == 2 {
            let milliseconds = self.started.elapsed().as_secs_f64() * 1e3;
            tracing::info!("first frame after {milliseconds:.0} ms");
            if self.time_first_frame {
                println!("{milliseconds:.0}");
                ui.ctx().send_viewport_cmd(egui::ViewportCommand::Close);
            }
        } else if self.frames == 1 {
            ui.ctx().request_repaint();
        }
    }

    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        self.workbench.clear_color(visuals)
    }

    fn on_exit(&mut self) {
        self.workbench.on_exit();
    }
}

/// The settings of this person; those of a scripted walk or of a system without a configuration folder are not kept.
pub fn settings() -> (SettingsFile, Option<String>) {
    match SettingsFile::default_path() {
        Some(path) => SettingsFile::load(path),
        None => {
            let mut settings = SettingsFile::in_memory();
            settings.watches_usual_folder = true;
            (settings, None)
        }
    }
}

/// Parses `1280x800`.
///
/// # Errors
/// When the text is no size.
pub fn parse_size(text: &str) -> anyhow::Result<(f32, f32)> {
    let parse = || {
        let (width, height) = text.split_once('x')?;
        Some((width.parse::<u16>().ok()?, height.parse::<u16>().ok()?))
    };
    let (width, height) =
        parse().with_context(|| format!("\"{text}\" is no size; write it as in 1280x800"))?;
    Ok((f32::from(width), f32::from(height)))
}
