//! A scripted walk through the real window: every pane, both themes, with and without data; a picture of each.
//!
//! Continuous integration runs it under a virtual display with a software graphics driver. It fails on the first error
//! that the window shows, and when something does not come within its time.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use parking_lot::Mutex;

use crate::command::Command;
use crate::panes::tuning::View;
use crate::panes::{self, PaneKind};
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
    acts: VecDeque<Act>,
}

enum Act {
    Send(Command),
    /// A figure of the shown frame, as the button in the figure pane starts it.
    StartFigure,
    /// Until no run trains.
    AwaitRuns,
}

impl<const N: usize> From<[Command; N]> for Scene {
    fn from(commands: [Command; N]) -> Self {
        Self {
            name: String::new(),
            acts: commands.into_iter().map(Act::Send).collect(),
        }
    }
}

impl Scene {
    fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    fn then(mut self, act: Act) -> Self {
        self.acts.push_back(act);
        self
    }
}

/// A run of a few steps goes into `run`.
fn script(open: Option<&str>, run: &Path) -> anyhow::Result<Vec<Scene>> {
    use Command as C;
    let open = match open {
        Some(text) if episode::is_specification(text) => {
            Some(C::OpenSpecification(text.to_owned()))
        }
        Some(path) => Some(C::OpenPath(path.into())),
        None => crate::assets::demo().map(|_| C::OpenDemo),
    };
    let spec = training::RunSpec::from_request(&training::RunRequest {
        objective: "mae:selected",
        size: "nano",
        data: "tabletop:object+spatial+goal?episodes=12",
        cameras: Vec::new(),
        steps: Some(24),
        seed: 1,
        device: "cpu",
    })?;
    let mut scenes = Vec::new();
    for (theme, set) in [("dark", C::ThemeDark), ("light", C::ThemeLight)] {
        let mut scene = |name: &str, scene: Scene| {
            scenes.push(scene.named(format!("{theme}-{name}")));
        };
        let fresh = C::DiscardChanges(Box::new(C::NewSession));
        scene("welcome", [set, fresh].into());
        scene("palette", [C::ShowPalette].into());
        // Every pane with nothing loaded.
        let empty = [C::ShowPalette, C::ResetLayout];
        scene("empty", empty.into());
        scene("empty-attention", [C::ShowPane(PaneKind::Attention)].into());
        let below = [PaneKind::Runs, PaneKind::Figure, PaneKind::Log].map(C::ShowPane);
        scene("empty-runs-figure-log", below.into());
        scene("shortcuts", [C::ShowShortcuts].into());
        scene("about", [C::CloseDialog, C::ShowAbout].into());
        scene("path", [C::CloseDialog, C::TypePath].into());
        let Some(open) = &open else {
            continue;
        };
        let demo = [C::CloseDialog, C::ResetLayout, open.clone()];
        scene("demo", demo.into());
        let later = [C::JumpForward, C::NextEpisode, C::JumpForward];
        scene("demo-later", later.into());
        scene("demo-head", [C::NextLayer, C::NextHead].into());
        let attention = [C::ShowSelectedHeads, C::ShowPane(PaneKind::Attention)];
        scene("demo-attention", attention.into());
        scene("demo-new-run", [C::NewRun].into());
        let june = grounding::HeadSelection::preset("published_june")?;
        let beside = [
            C::ShowRunForm(false),
            C::SetBeside(Some(Box::new(june))),
            C::ShowTuning(View::Beside),
        ];
        scene("demo-beside", beside.into());
        scene("demo-sample", [C::ShowTuning(View::Sample)].into());
        let figure = [
            C::SetBeside(None),
            C::ShowTuning(View::Thresholds),
            C::ShowRunForm(false),
            C::ShowPane(PaneKind::Figure),
        ];
        scene("demo-figure", Scene::from(figure).then(Act::StartFigure));
        let train = C::CreateRuns {
            runs: vec![(spec.clone(), run.to_owned())],
            start: true,
        };
        let runs = C::ShowPane(PaneKind::Runs);
        scene(
            "demo-runs",
            match theme {
                "dark" => Scene::from([train, runs]).then(Act::AwaitRuns),
                _ => [runs].into(),
            },
        );
        let follow = [
            C::OpenRunAt(run.to_owned()),
            C::ShowPane(PaneKind::Trajectory),
        ];
        scene("demo-follow", follow.into());
        scene("demo-zoom", [C::ZoomIn, C::ZoomIn, C::ZoomIn].into());
        scene("demo-calm", [C::ZoomReset].into());
    }
    Ok(scenes)
}

/// Walks.
///
/// # Errors
/// When the window does not come up, shows an error, or a picture cannot be written.
pub fn walk(walk: Walk) -> anyhow::Result<()> {
    std::fs::create_dir_all(&walk.out)
        .with_context(|| format!("cannot make the folder: {}", walk.out.display()))?;
    let scenes = script(walk.open.as_deref(), &walk.out.join("runs/walk"))?;
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
            Ok(false) => self.finish(Ok(())),
            Err(error) => self.finish(Err(error)),
        }
    }

    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        self.workbench.clear_color(visuals)
    }
}

impl Walker {
    /// One frame on. False when the walk is over.
    fn advance(&mut self, context: &egui::Context) -> anyhow::Result<bool> {
        let Some(scene) = self.scenes.get_mut(self.next) else {
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
            Phase::Begin => match scene.acts.front() {
                None => self.phase = Phase::Settle(Instant::now()),
                Some(Act::StartFigure) if !self.workbench.is_idle() => {}
                Some(Act::AwaitRuns) if !all_finished(&self.workbench.state().runs) => {}
                Some(act) => {
                    match act {
                        Act::Send(command) => self.workbench.send(command.clone()),
                        Act::StartFigure => {
                            let (state, inspector) =
                                (self.workbench.state(), self.workbench.inspector());
                            let figure = panes::figure::recipe(state, inspector)?;
                            self.workbench.send(Command::SetFigure(Box::new(figure)));
                        }
                        Act::AwaitRuns => {}
                    }
                    scene.acts.pop_front();
                }
            },
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

    fn finish(&mut self, result: anyhow::Result<()>) {
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
        // The figure of the walk is nothing to keep.
        self.workbench
            .send(Command::DiscardChanges(Box::new(Command::Quit)));
    }
}

fn all_finished(runs: &[training::RunSummary]) -> bool {
    let is_finished = |run: &training::RunSummary| {
        run.view()
            .is_some_and(|view| view.status.state == training::State::Finished)
    };
    !runs.is_empty() && runs.iter().all(is_finished)
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
