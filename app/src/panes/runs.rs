//! The runs pane: training runs as a list, the form that makes them, and the curves of the chosen one.

use std::path::{Path, PathBuf};

use grounding::HeadSelection;

use egui::{Align, Color32, Layout, RichText, Role, Sense, Ui, Vec2, WidgetInfo};
use egui_plot::{Line, Plot, PlotPoints, Points, VLine};
use training::{MetricRow, RunRequest, RunSpec, RunSummary, RunView, State};

use super::{Pane, PaneContext, PaneKind};
use crate::command::Command;
use crate::state::WorkbenchState;
use crate::theme::{self, SPACE};
use crate::top_bar::progress_bar;
use crate::widgets::{self, duration_text, grouped};

/// The runs pane.
#[derive(Default)]
pub struct Runs {
    form: Option<Form>,
}

impl Pane for Runs {
    fn title(&self) -> &str {
        PaneKind::Runs.title()
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PaneContext<'_>) {
        if context.state.run_form {
            let form = self.form.get_or_insert_with(|| Form::new(context.state));
            form.show(ui.ctx(), context);
        } else {
            self.form = None;
        }
        if context.state.runs.is_empty() {
            widgets::empty_state(
                ui,
                context,
                "No runs yet",
                "Runs you create, and runs started elsewhere in a watched folder, appear here by themselves",
                &[Command::NewRun, Command::ChooseRunFolder],
            );
            return;
        }
        ui.horizontal(|ui| {
            widgets::command_button(ui, context, &Command::NewRun);
            ui.separator();
            widgets::command_button(ui, context, &Command::ResumeRun);
            widgets::command_button(ui, context, &Command::PauseRun);
            widgets::command_button(ui, context, &Command::StopRun);
            ui.separator();
            widgets::command_button(ui, context, &Command::InspectRun);
        });
        ui.add_space(SPACE);
        let height = ui.available_height();
        egui::ScrollArea::vertical()
            .id_salt("list")
            .max_height((height * 0.5).max(28.0 * SPACE))
            .auto_shrink([false, true])
            .show(ui, |ui| {
                for run in context.state.runs.iter() {
                    run_row(ui, context, run);
                }
            });
        ui.add_space(SPACE);
        ui.separator();
        match context.state.chosen_run() {
            Some(run) => details_ui(ui, context, run),
            None => {
                ui.label(RichText::new("Choose a run to see its curves").weak());
            }
        }
    }
}

/// A run's state in words, and its colour.
pub fn state_text(ui: &Ui, run: &RunSummary) -> (String, Color32) {
    let tokens = theme::tokens(ui);
    let Some(view) = run.view() else {
        return ("unreadable".to_owned(), tokens.bad);
    };
    let status = &view.status;
    let color = match status.state {
        State::Running => tokens.accent,
        State::Finished => tokens.good,
        State::Failed => tokens.bad,
        State::Paused | State::Pausing | State::Stopping | State::Starting => tokens.warn,
        State::Queued | State::Stopped => tokens.text_weak,
    };
    let text = match status.state {
        State::Running | State::Paused | State::Stopped => {
            format!(
                "{}, {:.0} %",
                status.state,
                100.0 * status.step as f64 / status.steps.max(1) as f64
            )
        }
        state => state.to_string(),
    };
    (text, color)
}

const ROW: f32 = 14.0 * SPACE;

fn run_row(ui: &mut Ui, context: &mut PaneContext<'_>, run: &RunSummary) {
    let tokens = theme::tokens(ui);
    let chosen = context.state.selected_run.as_deref() == Some(&run.dir);
    let (state, color) = state_text(ui, run);
    let (rect, response) =
        ui.allocate_exact_size(Vec2::new(ui.available_width(), ROW), Sense::click());
    response.widget_info(|| {
        WidgetInfo::selected(Role::Button, true, chosen, format!("{}, {state}", run.name))
    });
    if chosen || response.hovered() {
        let fill = if chosen {
            tokens.accent_ground
        } else {
            tokens.control
        };
        ui.painter().rect_filled(rect, theme::RADIUS, fill);
    }
    let text_color = if chosen {
        tokens.accent_text
    } else {
        tokens.text
    };
    let weak_color = if chosen {
        tokens.accent_text
    } else {
        tokens.text_weak
    };
    let mut inner = ui.new_child(
        egui::UiBuilder::new()
            .max_rect(rect.shrink2(Vec2::new(2.0 * SPACE, SPACE)))
            .layout(Layout::top_down(Align::Min)),
    );
    inner.spacing_mut().item_spacing.y = 2.0;
    inner.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            widgets::badge(ui, &state, if chosen { tokens.accent_text } else { color });
            let right = match run.view() {
                Some(view) => speed_text(view),
                None => String::new(),
            };
            ui.label(RichText::new(right).small().color(weak_color));
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                ui.add(egui::Label::new(RichText::new(&run.name).color(text_color)).truncate());
            });
        });
    });
    match (&run.state, run.view()) {
        (_, Some(view)) => {
            inner.horizontal(|ui| {
                let status = &view.status;
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    let text = format!("{} / {}", grouped(status.step), grouped(status.steps));
                    ui.label(RichText::new(text).small().monospace().color(weak_color));
                    let bar =
                        progress_bar(ui, status.step as f32 / status.steps.max(1) as f32, color);
                    pins(ui, bar.rect, view);
                });
            });
        }
        (Err(causes), _) => {
            let text = causes.last().map_or("unreadable", String::as_str);
            inner.add(egui::Label::new(RichText::new(text).small().color(tokens.bad)).truncate());
        }
        _ => {}
    }
    let response = response.on_hover_text(format!(
        "{}\nDouble-click to look through it",
        run.dir.display()
    ));
    if response.double_clicked() {
        context.send(Command::OpenRunAt(run.dir.clone()));
    } else if response.clicked() {
        context.send(Command::SelectRun(run.dir.clone()));
    }
}

fn speed_text(view: &RunView) -> String {
    let status = &view.status;
    if status.state != State::Running {
        return status.device.clone();
    }
    match status.seconds_left() {
        Some(left) => format!(
            "{:.1} steps/s, {} left",
            status.steps_per_s,
            duration_text(left)
        ),
        None => String::new(),
    }
}

/// Marks on a progress bar where checkpoints are.
fn pins(ui: &Ui, bar: egui::Rect, view: &RunView) {
    let tokens = theme::tokens(ui);
    for step in &view.checkpoints {
        let share = *step as f32 / view.status.steps.max(1) as f32;
        let at = egui::pos2(egui::lerp(bar.x_range(), share), bar.center().y);
        ui.painter().circle(
            at,
            SPACE - 1.0,
            tokens.panel,
            egui::Stroke::new(1.5, tokens.text),
        );
    }
}

fn details_ui(ui: &mut Ui, context: &mut PaneContext<'_>, run: &RunSummary) {
    let tokens = theme::tokens(ui);
    let view = match &run.state {
        Ok(view) => view,
        Err(causes) => {
            ui.add(egui::Label::new(RichText::new(causes.join("\n")).color(tokens.bad)).wrap());
            return;
        }
    };
    if let Some(error) = &view.status.error {
        let text = error.join(": ");
        ui.add(egui::Label::new(RichText::new(&text).color(tokens.bad)).wrap());
        if ui.link("Copy the error").clicked() {
            context.send(Command::CopyText(error.join("\n")));
        }
    }
    if view.metrics.is_empty() {
        ui.label(RichText::new("Curves appear with the first logged steps").weak());
        return;
    }
    let size = Vec2::new(
        (ui.available_width() - 2.0 * SPACE) / 2.0,
        ui.available_height().max(30.0 * SPACE),
    );
    let at = context
        .state
        .source
        .training_step()
        .filter(|_| context.state.source.run() == Some(&run.dir));
    ui.horizontal_top(|ui| {
        let mut lines = vec![("Total", series(&view.metrics, |row| Some(row.loss)))];
        let reconstruction = series(&view.metrics, |row| row.mae_loss);
        if !reconstruction.is_empty() {
            lines.push(("Action", series(&view.metrics, |row| Some(row.action_loss))));
            lines.push(("Reconstruction", reconstruction));
        }
        curve_ui(ui, "Loss", size, view, &lines, at);
        let early = vec![("Early error", series(&view.metrics, |row| row.early_error))];
        curve_ui(ui, "Early error, held out", size, view, &early, at);
    });
}

fn series(rows: &[MetricRow], value: impl Fn(&MetricRow) -> Option<f64>) -> Vec<[f64; 2]> {
    rows.iter()
        .filter_map(|row| Some([row.step as f64, value(row).filter(|v| v.is_finite())?]))
        .collect()
}

fn curve_ui(
    ui: &mut Ui,
    title: &str,
    size: Vec2,
    view: &RunView,
    lines: &[(&str, Vec<[f64; 2]>)],
    at: Option<u64>,
) {
    let tokens = theme::tokens(ui);
    ui.allocate_ui_with_layout(size, Layout::top_down(Align::Min), |ui| {
        ui.set_min_size(size);
        ui.spacing_mut().item_spacing.y = 2.0;
        ui.horizontal(|ui| {
            ui.label(RichText::new(title).small().color(tokens.text_weak));
            let last = lines.first().and_then(|(_, points)| points.last());
            if let Some([step, value]) = last {
                ui.label(
                    RichText::new(format!("{value:.3} at {}", grouped(*step as u64)))
                        .small()
                        .monospace()
                        .color(tokens.text),
                );
            }
        });
        if lines.iter().all(|(_, points)| points.is_empty()) {
            ui.label(RichText::new("Not measured yet").weak());
            return;
        }
        let highest = lines
            .iter()
            .flat_map(|(_, points)| points)
            .map(|[_, value]| *value)
            .fold(0.0, f64::max);
        let mut plot = Plot::new(title)
            .include_y(0.0)
            .include_y(1.05 * highest)
            .grid_spacing(egui::Rangef::new(16.0, 80.0))
            .custom_x_axes(widgets::step_axis())
            .height(ui.available_height())
            .allow_scroll(false)
            .allow_drag(false)
            .allow_zoom(false)
            .allow_boxed_zoom(false)
            .show_grid([false, true])
            .y_axis_min_width(10.0 * SPACE)
            .include_x(0.0)
            .include_x(view.status.steps as f64)
            .label_formatter(widgets::plot_label);
        if lines.len() > 1 {
            plot = plot.legend(
                egui_plot::Legend::default()
                    .text_style(egui::TextStyle::Small)
                    .background_alpha(0.85),
            );
        }
        plot.show(ui, |plot| {
            for (index, (name, points)) in lines.iter().enumerate() {
                let color = tokens.series[index % tokens.series.len()];
                // Few points are measured seldom; a line alone would not show where.
                if points.len() < 40 {
                    plot.points(
                        Points::new(*name, PlotPoints::from(points.clone()))
                            .color(color)
                            .radius(2.5),
                    );
                }
                plot.line(
                    Line::new(*name, PlotPoints::from(points.clone()))
                        .color(color)
                        .width(1.5),
                );
            }
            if let Some(at) = at {
                plot.vline(VLine::new("", at as f64).color(tokens.cursor).width(1.0));
            }
        });
    });
}

/// The variant whose mask is what the selected heads look at.
const SELECTED: &str = "mae:selected";

/// The variants of the study that this version trains.
const ARMS: [(&str, &str, &str); 3] = [
    (
        "action",
        "Action only",
        "The policy alone, without reconstruction",
    ),
    (
        "mae:random",
        "MAE, random mask",
        "Reconstructs patches drawn at random",
    ),
    (
        SELECTED,
        "MAE, selected heads",
        "Reconstructs the patches that the selected heads look at",
    ),
];

/// The form that makes runs: the ticked variants times the seeds.
struct Form {
    data: String,
    /// Cameras of the open dataset, ticked or not; the trainer chooses when none is ticked.
    cameras: Vec<(String, bool)>,
    arms: [bool; ARMS.len()],
    /// Whether heads are chosen by the thresholds of this window.
    as_tuned: bool,
    size: model::Size,
    steps: u64,
    batch: usize,
    seeds: String,
    device: model::DeviceChoice,
    folder: String,
    start: bool,
}

/// Generated data that learns all suites, see TABLETOP.md.
const GENERATED: &str = "tabletop:object+spatial+goal?episodes=6000&env=A&seed=1";

impl Form {
    fn new(state: &WorkbenchState) -> Self {
        let defaults = training::Schedule::default();
        let folder = state
            .run_folders
            .first()
            .cloned()
            .unwrap_or_else(crate::runs::default_folder);
        Self {
            data: state
                .dataset
                .as_ref()
                .map_or_else(|| GENERATED.to_owned(), |dataset| dataset.origin.clone()),
            cameras: camera_choices(state),
            arms: [false, false, true],
            as_tuned: true,
            size: model::Size::Nano,
            steps: defaults.steps,
            batch: defaults.batch,
            seeds: "1".to_owned(),
            device: state.device,
            folder: folder.to_string_lossy().into_owned(),
            start: true,
        }
    }

    /// Whether a ticked variant trains on what the selected heads look at.
    fn looks_at_heads(&self) -> bool {
        let ticked = ARMS.iter().zip(self.arms).filter(|(_, ticked)| *ticked);
        ticked.into_iter().any(|((arm, ..), _)| *arm == SELECTED)
    }

    fn show(&mut self, ctx: &egui::Context, context: &mut PaneContext<'_>) {
        let response = egui::Modal::new(egui::Id::unique("run form"))
            .frame(widgets::modal_frame(ctx))
            .show(ctx, |ui| {
                ui.set_width(124.0 * SPACE);
                ui.label(RichText::new("New run").text_style(egui::TextStyle::Heading));
                ui.add_space(2.0 * SPACE);
                self.fields_ui(ui, context.state);
                ui.add_space(3.0 * SPACE);
                let plan = self.plan(&context.state.settings.selection);
                match &plan {
                    Ok(runs) => {
                        let text = match runs.len() {
                            1 => format!("One run goes to a new folder in {}", self.folder.trim()),
                            n => format!("{n} runs go to new folders in {}", self.folder.trim()),
                        };
                        ui.add(egui::Label::new(RichText::new(text).weak()).wrap());
                    }
                    Err(error) => {
                        let tokens = theme::tokens(ui);
                        ui.add(egui::Label::new(RichText::new(error).color(tokens.bad)).wrap());
                    }
                }
                ui.add_space(SPACE);
                ui.with_layout(Layout::right_to_left(Align::Min), |ui| {
                    let creating = context.state.creating_runs;
                    let label = match &plan {
                        _ if creating => "Creating…".to_owned(),
                        Ok(runs) if runs.len() > 1 => format!("Create {} runs", runs.len()),
                        _ => "Create run".to_owned(),
                    };
                    if ui
                        .add_enabled(plan.is_ok() && !creating, egui::Button::new(label))
                        .clicked()
                        && let Ok(runs) = plan
                    {
                        context.send(Command::CreateRuns {
                            runs,
                            start: self.start,
                        });
                    }
                    if ui.button("Cancel").clicked() {
                        context.send(Command::ShowRunForm(false));
                    }
                });
            });
        if response.should_close() {
            context.send(Command::ShowRunForm(false));
        }
    }

    fn fields_ui(&mut self, ui: &mut Ui, state: &WorkbenchState) {
        egui::Grid::new("run form")
            .num_columns(2)
            .spacing([4.0 * SPACE, 2.0 * SPACE])
            .show(ui, |ui| {
                let label = ui.label("Data");
                ui.horizontal(|ui| {
                    ui.add(egui::TextEdit::singleline(&mut self.data).desired_width(72.0 * SPACE))
                        .labelled_by(label.id);
                    ui.menu_button("Choose", |ui| {
                        if let Some(dataset) = &state.dataset
                            && ui.button("The open dataset").clicked()
                        {
                            self.data = dataset.origin.clone();
                        }
                        if ui.button("Generated tabletop, all suites").clicked() {
                            self.data = GENERATED.to_owned();
                        }
                    });
                });
                ui.end_row();

                if state
                    .dataset
                    .as_ref()
                    .is_some_and(|dataset| dataset.origin == self.data)
                    && self.cameras.len() > 1
                {
                    ui.label("Cameras");
                    ui.horizontal_wrapped(|ui| {
                        ui.set_max_width(84.0 * SPACE);
                        for (name, ticked) in &mut self.cameras {
                            ui.checkbox(ticked, name.as_str());
                        }
                        if self.cameras.iter().all(|(_, ticked)| !ticked) {
                            ui.label(RichText::new("chosen by the trainer").weak());
                        }
                    });
                    ui.end_row();
                }

                ui.label("Variants");
                ui.vertical(|ui| {
                    for ((_, label, help), ticked) in ARMS.iter().zip(&mut self.arms) {
                        ui.checkbox(ticked, *label).on_hover_text(*help);
                    }
                });
                ui.end_row();

                if self.looks_at_heads() {
                    ui.label("Heads");
                    if state.settings.selection == HeadSelection::default() {
                        ui.label(RichText::new("by the default thresholds").weak());
                    } else {
                        ui.checkbox(&mut self.as_tuned, "As tuned in this window")
                            .on_hover_text(
                                "The thresholds that the sliders stand at; otherwise the default ones",
                            );
                    }
                    ui.end_row();
                }

                let label = ui.label("Size");
                egui::ComboBox::from_id_salt("size")
                    .selected_text(self.size.name())
                    .show_ui(ui, |ui| {
                        for size in model::Size::ALL {
                            ui.selectable_value(&mut self.size, size, size.name());
                        }
                    })
                    .response
                    .labelled_by(label.id);
                ui.end_row();

                let label = ui.label("Steps");
                ui.add(
                    egui::DragValue::new(&mut self.steps)
                        .range(1..=10_000_000)
                        .speed(50.0),
                )
                .labelled_by(label.id);
                ui.end_row();

                let label = ui.label("Batch");
                ui.add(
                    egui::DragValue::new(&mut self.batch)
                        .range(1..=4096)
                        .suffix(" frames"),
                )
                .labelled_by(label.id);
                ui.end_row();

                let label = ui.label("Seeds");
                ui.add(
                    egui::TextEdit::singleline(&mut self.seeds)
                        .desired_width(40.0 * SPACE)
                        .hint_text("1, 2, 3 or 1-3"),
                )
                .labelled_by(label.id);
                ui.end_row();

                let label = ui.label("Device");
                egui::ComboBox::from_id_salt("device")
                    .selected_text(device_name(&self.device))
                    .show_ui(ui, |ui| {
                        for device in [
                            model::DeviceChoice::Auto,
                            model::DeviceChoice::Cpu,
                            model::DeviceChoice::Gpu,
                        ] {
                            let name = device_name(&device);
                            ui.selectable_value(&mut self.device, device, name);
                        }
                    })
                    .response
                    .labelled_by(label.id);
                ui.end_row();

                let label = ui.label("Folder");
                ui.add(egui::TextEdit::singleline(&mut self.folder).desired_width(84.0 * SPACE))
                    .labelled_by(label.id);
                ui.end_row();

                ui.label("");
                ui.checkbox(&mut self.start, "Start at once")
                    .on_hover_text(
                        "Several runs are started one after the other, as long as this window is open. Otherwise they \
                         wait until you start them",
                    );
                ui.end_row();
            });
    }

    /// The runs that the form asks for, or why it asks for none.
    fn plan(&self, tuned: &HeadSelection) -> Result<Vec<(RunSpec, PathBuf)>, String> {
        if self.data.trim().is_empty() {
            return Err("Say what data to train on".to_owned());
        }
        if self.folder.trim().is_empty() {
            return Err("Say which folder the runs go to".to_owned());
        }
        let seeds = parse_seeds(&self.seeds)?;
        let cameras: Vec<String> = self
            .cameras
            .iter()
            .filter(|(_, ticked)| *ticked)
            .map(|(name, _)| name.clone())
            .collect();
        let mut runs: Vec<(RunSpec, PathBuf)> = Vec::new();
        for ((objective, _, _), _) in ARMS.iter().zip(self.arms).filter(|(_, ticked)| *ticked) {
            for seed in &seeds {
                let request = RunRequest {
                    objective,
                    size: self.size.name(),
                    data: self.data.trim(),
                    cameras: cameras.clone(),
                    steps: Some(self.steps),
                    seed: *seed,
                    device: device_name(&self.device),
                };
                let mut spec = RunSpec::from_request(&request)
                    .map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
                spec.schedule.batch = self.batch;
                spec.pin_every = pin_every(&spec);
                if self.as_tuned && *objective == SELECTED && *tuned != HeadSelection::default() {
                    spec = spec.with_selection(tuned);
                }
                spec.check().map_err(|error| error.to_string())?;
                // Whether such a folder is there already is seen when it is made.
                let name = crate::runs::folder_name(&spec.name);
                runs.push((spec, Path::new(self.folder.trim()).join(name)));
            }
        }
        if runs.is_empty() {
            Err("Tick at least one variant".to_owned())
        } else {
            Ok(runs)
        }
    }
}

/// Pins about this many checkpoints, so that training time can be scrubbed when the run is over.
const PINS: u64 = 10;

fn pin_every(spec: &RunSpec) -> u64 {
    let every = spec.checkpoint_every.max(1);
    (spec.schedule.steps / PINS).div_ceil(every).max(1) * every
}

fn camera_choices(state: &WorkbenchState) -> Vec<(String, bool)> {
    let cameras = state
        .dataset
        .as_ref()
        .map(|dataset| &dataset.data.info().cameras);
    cameras
        .into_iter()
        .flatten()
        .map(|camera| (camera.name.clone(), false))
        .collect()
}

fn device_name(device: &model::DeviceChoice) -> &'static str {
    match device {
        model::DeviceChoice::Auto => "auto",
        model::DeviceChoice::Cpu => "cpu",
        model::DeviceChoice::Gpu => "gpu",
    }
}

/// At most this many runs are created at once.
const MOST_SEEDS: usize = 20;

/// Seeds as people write them: `1`, `1, 2, 5`, `1-3`.
fn parse_seeds(text: &str) -> Result<Vec<u64>, String> {
    let mut seeds = Vec::new();
    for part in text.split([',', ' ']).filter(|part| !part.is_empty()) {
        let bad = || format!("\"{part}\" is no seed; write numbers as in 1, 2 or 1-3");
        let (first, last) = part.split_once(['-', '–']).unwrap_or((part, part));
        let first: u64 = first.parse().map_err(|_| bad())?;
        let last: u64 = last.parse().map_err(|_| bad())?;
        if last < first {
            return Err(bad());
        }
        for seed in (first..=last).take(MOST_SEEDS + 1) {
            if !seeds.contains(&seed) {
                seeds.push(seed);
            }
        }
        if seeds.len() > MOST_SEEDS {
            return Err(format!("At most {MOST_SEEDS} seeds at once"));
        }
    }
    if seeds.is_empty() {
        Err("Give at least one seed".to_owned())
    } else {
        Ok(seeds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> WorkbenchState {
        let jobs = crate::jobs::Jobs::new(egui::Context::default());
        WorkbenchState::new(jobs, model::DeviceChoice::Cpu)
    }

    #[test]
    fn heads_are_trained_as_they_were_tuned() {
        let mut form = Form::new(&state());
        form.arms = [false, true, true];
        let tuned = HeadSelection {
            k: 7,
            ..HeadSelection::default()
        };
        let heads = |form: &Form| -> Vec<usize> {
            let runs = form.plan(&tuned).unwrap();
            runs.iter().map(|(s, _)| s.selection().unwrap().k).collect()
        };
        let usual = HeadSelection::default().k;
        assert!(form.looks_at_heads());
        assert_eq!(heads(&form), [usual, 7], "only what looks at heads");
        form.as_tuned = false;
        assert_eq!(heads(&form), [usual, usual]);
    }

    #[test]
    fn about_ten_checkpoints_stay() {
        let mut form = Form::new(&state());
        for steps in [10, 600, 5000, 20_000, 123_456] {
            form.steps = steps;
            let (spec, _) = form.plan(&HeadSelection::default()).unwrap().remove(0);
            assert_eq!(spec.pin_every % spec.checkpoint_every, 0);
            let pinned = steps / spec.pin_every;
            assert!((5..=10).contains(&pinned), "{pinned} of {steps} steps");
        }
    }

    #[test]
    fn seeds_as_people_write_them() {
        assert_eq!(parse_seeds("1").unwrap(), [1]);
        assert_eq!(parse_seeds("3, 1-3  7").unwrap(), [3, 1, 2, 7]);
        for bad in ["", "x", "3-1", "0-18446744073709551615", "-1"] {
            assert!(parse_seeds(bad).is_err(), "{bad}");
        }
    }
}
