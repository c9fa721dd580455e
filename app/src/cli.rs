//! The command line. Without a subcommand it opens the window; every subcommand does what the window does, without it.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use model::DeviceChoice;
use serde_json::{Value, json};
use training::{Event, Launch, ModelSpec, RunDir, RunRequest, RunSpec, State, Wish};

use crate::walk::Walk;
use crate::window::{self, Opening};
use crate::workbench::Options;
use crate::{ground, log, opening, runs};

/// A workbench for researchers who debug where a robot policy looks.
#[derive(Debug, Parser)]
#[command(
    name = "gazelab",
    version,
    override_usage = "gazelab [OPTIONS] [PATH]\n       gazelab [OPTIONS] <COMMAND>",
    max_term_width = 110
)]
pub struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,

    /// What to open in the window: a dataset, run, model, capture, session, or generated data as in
    /// tabletop:object?episodes=20&env=A&seed=1
    path: Option<String>,

    /// Open the built-in demo
    #[arg(long, conflicts_with = "path")]
    demo: bool,

    /// Print the milliseconds to the first frame, and leave
    #[arg(long, hide = true)]
    time_first_frame: bool,

    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Debug, Args)]
struct Common {
    /// Where models compute: auto, cpu or gpu
    #[arg(long, global = true, value_parser = DeviceChoice::from_str)]
    device: Option<DeviceChoice>,

    /// Threads for work on the processor; all cores unless given
    #[arg(long, global = true, value_name = "N")]
    threads: Option<usize>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Look at datasets and make them
    #[command(subcommand)]
    Data(Data),
    /// Train a run: a new one, or one that was left, paused, stopped or killed
    Train(Train),
    /// Steer and ask a run, wherever it trains
    #[command(subcommand)]
    Run(Run),
    /// Closed-loop success of a run's policy on the built-in benchmark
    Eval(Eval),
    /// Heads, masks and metrics of captures, or of a model on its data
    Ground(Ground),
    /// Render a figure from its recipe
    Figure(Figure),
    /// Walk through the real window and keep a picture of every pane
    #[command(hide = true)]
    Walk(WalkArgs),
}

#[derive(Debug, Subcommand)]
enum Data {
    /// What is in a dataset
    Info {
        /// The dataset, or generated data as in tabletop:object?episodes=20
        path: String,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Record episodes of the built-in benchmark as a LeRobotDataset v3
    Record {
        /// object, spatial or goal; several take turns: object+spatial+goal
        #[arg(long)]
        suite: String,
        /// Number of episodes
        #[arg(long)]
        episodes: usize,
        /// A, B, C or D; several take turns: A+B
        #[arg(long, default_value = "A")]
        env: String,
        /// The same seed makes the same bytes
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Let the expert make no mistakes; training data is better with some
        #[arg(long)]
        no_noise: bool,
        /// A folder that does not exist or is empty
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Train {
    /// A run to go on with; without it --data and --out make a new one
    #[arg(required_unless_present = "out", conflicts_with_all = ["out", "data", "size", "objective", "steps", "seed", "batch", "cameras", "name", "checkpoint_every", "bins", "chunk", "labels", "attention", "patch"])]
    run_dir: Option<PathBuf>,
    /// nano, small or base
    #[arg(long, default_value = "nano")]
    size: String,
    /// action, mae:random or mae:selected
    #[arg(long, default_value = "mae:selected")]
    objective: String,
    /// A dataset, or generated data as in tabletop:object+spatial+goal?episodes=6000&env=A&seed=1
    #[arg(long, required_unless_present = "run_dir")]
    data: Option<String>,
    /// Optimiser steps
    #[arg(long)]
    steps: Option<u64>,
    /// Frames per step
    #[arg(long)]
    batch: Option<usize>,
    /// Seed of weights, data order and masks
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Cameras by name, in token order; chosen from the dataset unless given
    #[arg(long, value_delimiter = ',', num_args = 1..)]
    cameras: Vec<String>,
    /// Bins that each action value is cut into; 64 unless given
    #[arg(long, value_name = "N")]
    bins: Option<usize>,
    /// Actions predicted at once; 4 unless given
    #[arg(long, value_name = "N")]
    chunk: Option<usize>,
    /// Targets over the bins: hard, soft, or soft:SIGMA with the width in bins; soft:1.5 unless given
    #[arg(long)]
    labels: Option<model::Labels>,
    /// Which tokens see which: causal, or prefix for text and pictures that see each other both ways; prefix unless
    /// given
    #[arg(long)]
    attention: Option<model::Attention>,
    /// Side of a picture's patch in pixels: 2, 4, 8, 16, 32 or 64; the size's own unless given
    #[arg(long, value_name = "PIXELS")]
    patch: Option<u32>,
    /// A name for people
    #[arg(long)]
    name: Option<String>,
    /// Steps between two checkpoints
    #[arg(long)]
    checkpoint_every: Option<u64>,
    /// The new run directory
    #[arg(long)]
    out: Option<PathBuf>,
    /// Do what the run's controls say; whoever starts this process has written them
    #[arg(long, hide = true, requires = "run_dir")]
    called: bool,
}

#[derive(Debug, Subcommand)]
enum Run {
    /// Write a checkpoint and wait
    Pause(RunArgs),
    /// Go on; starts a trainer where none is alive
    Resume(RunArgs),
    /// Write a checkpoint and end
    Stop(RunArgs),
    /// Where it stands
    Status(RunArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The run directory
    run_dir: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Eval {
    /// A run directory or a checkpoint in it
    run_dir: PathBuf,
    /// object, spatial or goal
    #[arg(long)]
    suite: tabletop::Suite,
    /// Number of episodes
    #[arg(long, default_value_t = 100)]
    episodes: usize,
    /// Seed of the scenes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A, B, C or D
    #[arg(long, default_value = "A")]
    env: tabletop::Environment,
    /// Also run every scene under another instruction, to see whether the policy listens
    #[arg(long)]
    swapped: bool,
    /// What is done to the policy's attention, without training: as_trained, sinks_redistributed[:KEEP] with the share
    /// that sinks keep, or toward_instruction[:FACTOR]
    #[arg(long, default_value = "as_trained")]
    forward: grounding::Forward,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Ground {
    /// A capture file, a folder of them, a run directory or a checkpoint; with --model, a dataset
    path: PathBuf,
    /// What looks at the dataset PATH: a run directory or a checkpoint
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,
    /// The name of a preset or target, or a head selection or session in RON; defaults unless given
    #[arg(long, value_name = "NAME|FILE")]
    selection: Option<String>,
    /// Another selection, measured beside it
    #[arg(long, value_name = "NAME|FILE")]
    beside: Option<String>,
    /// Also try out every threshold in use, on the tuning split
    #[arg(long)]
    curves: bool,
    /// A known way of turning attention into a target, in place of the selection's: selected, naive, groundlmm_point,
    /// relative, dino_60, sinks_redistributed or toward_instruction
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// What is done to the model's attention, in place of the selection's: as_trained, sinks_redistributed[:KEEP] with the
    /// share that sinks keep, or toward_instruction[:FACTOR]
    #[arg(long)]
    forward: Option<grounding::Forward>,
    /// The data a model looks at; a run's own data unless given
    #[arg(long)]
    data: Option<String>,
    /// Detector boxes; the file beside the dataset unless given
    #[arg(long)]
    boxes: Option<PathBuf>,
    /// The camera; the first that the model sees unless given
    #[arg(long)]
    camera: Option<String>,
    /// Frames that are looked at, spread over the data
    #[arg(long, default_value_t = 64)]
    frames: usize,
    /// Memory for attention weights in MiB; what is more is kept as f16, then on disk
    #[arg(long, default_value_t = grounding::Analysis::DEFAULT_MEMORY >> 20)]
    memory: usize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Figure {
    /// A figure recipe in RON
    recipe: PathBuf,
    /// The figure; .pdf, .svg or .png
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct WalkArgs {
    /// Where the pictures go
    #[arg(long)]
    out: PathBuf,
    /// Size of the window
    #[arg(long, default_value = "1280x800")]
    size: String,
    /// What to open in place of the demo
    #[arg(long)]
    open: Option<String>,
}

/// Runs the program; 0 only on success.
pub fn main() -> ExitCode {
    let started = Instant::now();
    let cli = Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    match cli.run(started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A reader that went away, as in `gazelab … | head`, is nothing to report.
            if !is_broken_pipe(&error) {
                tell(format_args!("error: {}", message(&error)));
            }
            ExitCode::FAILURE
        }
    }
}

/// The message and its causes in one line, with the path last. What a cause repeats of the message before it is left
/// out.
fn message(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if !parts.iter().any(|part| part.contains(&cause)) {
            parts.push(cause);
        }
    }
    // Every message of ours ends in the path it is about; the causes that systems and parsers add have none.
    let has_foreign_cause = error.root_cause().is::<std::io::Error>();
    if let [.., ours, cause] = parts.as_mut_slice()
        && let Some((what, path)) = ours.rsplit_once(": ")
        && !cause.ends_with(path)
        && (has_foreign_cause || Path::new(path).exists())
    {
        let path = path.to_owned();
        *ours = what.to_owned();
        parts.push(path);
    }
    parts.join(": ")
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

impl Cli {
    /// Reads the command line. What is for the window alone does not go with a command; clap can only refuse that
    /// together with the options that both have.
    fn read(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let cli = Self::try_parse_from(arguments)?;
        let stray = match &cli {
            Self {
                path: Some(path), ..
            } => Some(path.as_str()),
            Self { demo: true, .. } => Some("--demo"),
            _ => None,
        };
        match stray {
            Some(stray) if cli.verb.is_some() => Err(Self::command().error(
                ErrorKind::ArgumentConflict,
                format!("'{stray}' before a command: that opens the window, a command does not"),
            )),
            _ => Ok(cli),
        }
    }

    fn run(self, started: Instant) -> anyhow::Result<()> {
        let Common { device, threads } = self.common;
        if let Some(threads) = threads {
            if threads == 0 {
                bail!("--threads must be at least 1");
            }
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build_global()
                .context("cannot start the threads")?;
        }
        let is_window = matches!(self.verb, None | Some(Verb::Walk(_)));
        let memory = log::install(is_window);
        match self.verb {
            None => {
                let (settings, warning) = window::settings();
                let open = match self.demo {
                    true => Some(crate::workbench::DEMO.to_owned()),
                    false => self.path,
                };
                let device = device.unwrap_or_default();
                let options = Options {
                    open,
                    settings,
                    warning,
                    log: memory,
                    device,
                };
                window::open(Opening {
                    options,
                    started,
                    time_first_frame: self.time_first_frame,
                })
            }
            Some(Verb::Walk(args)) => crate::walk::walk(Walk {
                out: args.out,
                size: window::parse_size(&args.size)?,
                open: args.open,
                device: device.unwrap_or_default(),
                log: memory,
            }),
            Some(Verb::Data(Data::Info { path, json })) => data_info(&path, json),
            Some(Verb::Data(Data::Record {
                suite,
                episodes,
                env,
                seed,
                no_noise,
                out,
            })) => {
                let noise = if no_noise {
                    None
                } else {
                    Some(Default::default())
                };
                let recipe = tabletop::Recipe {
                    suites: tabletop::parts(&suite)?,
                    environments: tabletop::parts(&env)?,
                    episodes,
                    seed,
                    noise,
                    ..Default::default()
                };
                data_record(&recipe, &out)
            }
            Some(Verb::Train(train)) => train.run(device),
            Some(Verb::Run(run)) => run.run(Launch { device, threads }),
            Some(Verb::Eval(eval)) => eval.run(device.unwrap_or_default()),
            Some(Verb::Ground(ground)) => ground.run(device.unwrap_or_default()),
            Some(Verb::Figure(figure)) => {
                let recipe = figure::Recipe::load(&figure.recipe)?;
                crate::figure_job::export(&recipe, &figure.out, &Default::default())
            }
        }
    }
}

/// Prints one JSON document.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// Prints a line; unlike `println!` a closed pipe is an error, not a panic.
fn say(text: std::fmt::Arguments<'_>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_fmt(text)?;
    out.write_all(b"\n")?;
    Ok(())
}

/// Tells something beside the result, on stderr; that nobody is there to read it is no reason to end.
fn tell(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn data_info(path: &str, json: bool) -> anyhow::Result<()> {
    let data = tabletop::open(path)?;
    let info = data.info();
    if json {
        return print_json(info);
    }
    say(format_args!("{}  {}", info.name, info.path.display()))?;
    say(format_args!("format        {}", info.format))?;
    say(format_args!("episodes      {}", info.episodes))?;
    say(format_args!("frames        {}", info.frames))?;
    if let Some(fps) = info.fps {
        say(format_args!("rate          {fps} steps/s"))?;
    }
    for camera in &info.cameras {
        say(format_args!(
            "camera        {} {} × {} px",
            camera.name, camera.width, camera.height
        ))?;
    }
    say(format_args!(
        "actions       {}",
        info.action_names.join(", ")
    ))?;
    say(format_args!(
        "states        {}",
        info.state_names.join(", ")
    ))?;
    say(format_args!(
        "exact masks   {}",
        if info.has_masks { "yes" } else { "no" }
    ))?;
    for instruction in &info.instructions {
        say(format_args!("instruction   {instruction}"))?;
    }
    for warning in &info.warnings {
        tell(format_args!("warning: {warning}"));
    }
    Ok(())
}

fn data_record(recipe: &tabletop::Recipe, out: &Path) -> anyhow::Result<()> {
    let interrupt = training::stop_on_signals().context("cannot listen for signals")?;
    let start = Instant::now();
    let total = recipe.episodes;
    tabletop::record(recipe, out, &mut |done| {
        if done % 50 == 0 || done == total {
            tell(format_args!(
                "{done} of {total} episodes, {:.0} s",
                start.elapsed().as_secs_f64()
            ));
        }
        !interrupt.load(std::sync::atomic::Ordering::Relaxed)
    })?;
    say(format_args!("{}", out.display()))
}

impl Train {
    fn run(self, device: Option<DeviceChoice>) -> anyhow::Result<()> {
        let run = match (&self.run_dir, &self.out) {
            (Some(dir), _) => {
                let run = RunDir::open(dir)?;
                if !self.called && run.status()?.state != State::Finished {
                    run.call_trainer()?;
                }
                run
            }
            (None, Some(out)) => {
                let spec = self.spec(device)?;
                // What cannot be trained leaves no run behind.
                spec.check_data()?;
                if spec.device == DeviceChoice::Gpu {
                    spec.device.resolve()?;
                }
                RunDir::create(out, &spec)?
            }
            (None, None) => bail!("name a run directory, or --data and --out for a new one"),
        };
        let total = run.spec().schedule.steps;
        let mut on_event = |event: Event<'_>| {
            // A trainer whose terminal went away trains on; there is nobody to tell.
            let _ = match event {
                Event::Device(name, 0) => say(format_args!("computing on {name}")),
                Event::Device(name, step) => say(format_args!(
                    "computing on {name}, going on after step {step}"
                )),
                Event::State(State::Starting) => {
                    tell(format_args!(
                        "{}: {total} steps, {}",
                        run.spec().name,
                        run.path().display()
                    ));
                    say(format_args!("Starting"))
                }
                Event::State(state) => say(format_args!("{state:?}")),
                Event::Row(row) => {
                    let left = (total.saturating_sub(row.step)) as f64 / row.steps_per_s.max(1e-9);
                    let mae = row
                        .mae_loss
                        .map(|loss| format!("  mae {loss:.4}"))
                        .unwrap_or_default();
                    let early = row
                        .early_error
                        .map(|error| format!("  early error {error:.3}"))
                        .unwrap_or_default();
                    say(format_args!(
                        "step {:>7} of {total}  loss {:.4}  action {:.4}{mae}{early}  {:.1} steps/s  {} left",
                        row.step,
                        row.loss,
                        row.action_loss,
                        row.steps_per_s,
                        crate::widgets::duration_text(left),
                    ))
                }
                Event::Checkpoint(step, path) => {
                    say(format_args!("checkpoint {step}: {}", path.display()))
                }
            };
        };
        training::train(&run, device, &mut on_event)?;
        Ok(())
    }

    fn spec(&self, device: Option<DeviceChoice>) -> anyhow::Result<RunSpec> {
        let data = self
            .data
            .as_deref()
            .context("say what to train on with --data")?;
        let mut spec = RunSpec::from_request(&RunRequest {
            objective: &self.objective,
            size: &self.size,
            data,
            cameras: self.cameras.clone(),
            steps: self.steps,
            seed: self.seed,
            device: device.unwrap_or_default().name(),
        })?;
        if let Some(batch) = self.batch {
            spec.schedule.batch = batch;
        }
        let usual = spec.model;
        spec.model = ModelSpec {
            size: usual.size,
            patch: self.patch.or(usual.patch),
            bins: self.bins.unwrap_or(usual.bins),
            chunk: self.chunk.unwrap_or(usual.chunk),
            labels: self.labels.unwrap_or(usual.labels),
            attention: self.attention.unwrap_or(usual.attention),
        };
        if let Some(every) = self.checkpoint_every {
            spec.checkpoint_every = every;
        }
        if let Some(name) = &self.name {
            spec.name = name.clone();
        }
        spec.check()?;
        Ok(spec)
    }
}

impl Run {
    fn run(self, launch: Launch) -> anyhow::Result<()> {
        let (wish, args) = match self {
            Self::Status(args) => (None, args),
            Self::Pause(args) => (Some(Wish::Pause), args),
            Self::Resume(args) => (Some(Wish::Run), args),
            Self::Stop(args) => (Some(Wish::Stop), args),
        };
        let run = RunDir::open(&args.run_dir)?;
        match wish {
            Some(Wish::Run) => runs::resume(&run, launch)?,
            Some(wish) => run.set_wish(wish)?,
            None => {}
        }
        let status = run.status()?;
        if args.json {
            return print_json(&run_json(&run, &status)?);
        }
        say(format_args!(
            "{}, step {} of {}",
            status.state, status.step, status.steps
        ))?;
        if status.state == State::Running {
            let left = status.seconds_left().map(crate::widgets::duration_text);
            say(format_args!(
                "{:.1} steps/s, {} left",
                status.steps_per_s,
                left.unwrap_or_else(|| "unknown time".into())
            ))?;
        }
        if !status.device.is_empty() {
            say(format_args!("on {} of {}", status.device, status.host))?;
        }
        if let Some((step, path)) = run.latest_checkpoint()? {
            say(format_args!("checkpoint {step}: {}", path.display()))?;
        }
        for (depth, cause) in status.error.iter().flatten().enumerate() {
            say(format_args!(
                "{}{cause}",
                if depth == 0 { "" } else { "caused by " }
            ))?;
        }
        Ok(())
    }
}

/// What `run status --json` prints: the status with the run's name, its wish and its checkpoints.
fn run_json(run: &RunDir, status: &training::Status) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(status)?;
    let checkpoints: Vec<u64> = run
        .checkpoints()?
        .into_iter()
        .map(|(step, _)| step)
        .collect();
    if let Value::Object(map) = &mut value {
        map.insert("name".into(), json!(run.spec().name));
        map.insert("wish".into(), serde_json::to_value(run.control()?.wish)?);
        map.insert("checkpoints".into(), json!(checkpoints));
        map.insert("seconds_left".into(), json!(status.seconds_left()));
        map.insert("path".into(), json!(run.path()));
    }
    Ok(value)
}

/// The checkpoint folder that a path names: itself, or the latest of a run.
pub(crate) fn checkpoint_of(path: &Path) -> anyhow::Result<PathBuf> {
    match opening::sniff(path)? {
        opening::Kind::Model if path.is_dir() => Ok(path.to_owned()),
        opening::Kind::Model => Ok(path.parent().unwrap_or(Path::new(".")).to_owned()),
        opening::Kind::Run => {
            let run = RunDir::open(if path.is_dir() {
                path
            } else {
                path.parent().unwrap_or(Path::new("."))
            })?;
            let latest = run.latest_checkpoint()?;
            Ok(latest
                .with_context(|| format!("the run has no checkpoint yet: {}", path.display()))?
                .1)
        }
        _ => bail!("not a run directory or a checkpoint: {}", path.display()),
    }
}

impl Eval {
    fn run(self, device: DeviceChoice) -> anyhow::Result<()> {
        let checkpoint = checkpoint_of(&self.run_dir)?;
        let policy = model::Policy::load(&checkpoint, &device)?
            .with_forward(self.forward)
            .with_context(|| format!("cannot change the attention: {}", checkpoint.display()))?;
        let spec = evaluation::EvalSpec {
            swapped: self.swapped,
            ..evaluation::EvalSpec::new(self.suite, self.env, self.episodes, self.seed)
        };
        let interrupt = training::stop_on_signals().context("cannot listen for signals")?;
        let mut told = 0;
        let mut progress = |at: evaluation::Progress| {
            if at.done - told >= 25 || at.done == at.total {
                told = at.done;
                tell(format_args!("{} of {} episodes", at.done, at.total));
            }
        };
        let report = evaluation::evaluate(&policy, &spec, &mut progress, &interrupt)?;
        // A run keeps what was measured of its checkpoints.
        if let Some(folder) = eval_folder(&checkpoint) {
            match report.save(&folder) {
                Ok(path) => tell(format_args!("saved: {}", path.display())),
                // The run may be somebody else's; what took hours to measure is still told.
                Err(error) => {
                    tell(format_args!(
                        "warning: not saved: {}",
                        message(&error.into())
                    ));
                }
            }
        }
        if self.json {
            print_json(&report)
        } else {
            print_eval(&report)
        }
    }
}

/// `RUN_DIR/eval/step-…` for the checkpoint of a run.
fn eval_folder(checkpoint: &Path) -> Option<PathBuf> {
    let checkpoint = opening::absolute(checkpoint);
    let run = checkpoint.parent()?.parent()?;
    RunDir::is_run(run).then(|| {
        run.join("eval")
            .join(checkpoint.file_name().unwrap_or_default())
    })
}

fn print_eval(report: &evaluation::Report) -> anyhow::Result<()> {
    let percent = |rate: f64, [low, high]: [f64; 2]| {
        format!(
            "{:.1} % (95 % interval {:.1} to {:.1} %)",
            100.0 * rate,
            100.0 * low,
            100.0 * high
        )
    };
    say(format_args!(
        "suite {}, environment {}, {} episodes, seed {}",
        report.suite, report.env, report.episodes, report.seed
    ))?;
    if report.forward != grounding::Forward::AsTrained {
        say(format_args!("attention        {}", report.forward))?;
    }
    say(format_args!(
        "success          {}",
        percent(report.success_rate, report.success_interval)
    ))?;
    say(format_args!(
        "wrong object     {:.1} %",
        100.0 * report.wrong_object_rate
    ))?;
    say(format_args!(
        "wrong goal       {:.1} %",
        100.0 * report.wrong_goal_rate
    ))?;
    if let Some(swapped) = &report.swapped {
        say(format_args!(
            "under another instruction, {} episodes",
            swapped.episodes
        ))?;
        say(format_args!(
            "  does the new   {}",
            percent(swapped.other_rate, swapped.other_interval)
        ))?;
        say(format_args!(
            "  does the old   {}",
            percent(swapped.original_rate, swapped.original_interval)
        ))?;
    }
    for (task, count) in &report.per_task {
        say(format_args!(
            "{:>3} of {:>3}  {task}",
            count.successes, count.attempts
        ))?;
    }
    Ok(())
}

impl Ground {
    fn run(self, device: DeviceChoice) -> anyhow::Result<()> {
        let find = |text: &Option<String>| text.as_deref().map(ground::find_selection).transpose();
        let mut selection = find(&self.selection)?.unwrap_or_default();
        let mut beside = find(&self.beside)?;
        if let Some(name) = &self.target {
            selection = selection.with_target(name)?;
        }
        if let Some(forward) = self.forward {
            selection.forward = forward;
            if let Some(beside) = &mut beside {
                beside.forward = forward;
            }
        }
        let request = ground::Request {
            path: self.path,
            model: self.model,
            selection,
            beside,
            curves: self.curves,
            memory: self.memory.saturating_mul(1 << 20),
            data: self.data,
            boxes: self.boxes,
            camera: self.camera,
            frames: self.frames,
            device,
        };
        let report = ground::ground(&request)?;
        if self.json {
            print_json(&report.json())
        } else {
            say(format_args!("{report}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn verbs_and_paths_do_not_get_in_each_others_way() {
        let parse = |args: &[&str]| Cli::read([&["gazelab"], args].concat());
        assert!(parse(&[]).unwrap().verb.is_none());
        assert_eq!(
            parse(&["some/folder"]).unwrap().path.as_deref(),
            Some("some/folder")
        );
        assert!(matches!(
            parse(&["data", "info", "x", "--json"]).unwrap().verb,
            Some(Verb::Data(_))
        ));
        assert!(matches!(
            parse(&["train", "R"]).unwrap().verb,
            Some(Verb::Train(_))
        ));
        assert!(parse(&["train"]).is_err());
        assert!(parse(&["train", "R", "--out", "S"]).is_err());
        assert!(
            parse(&["train", "--out", "S"]).is_err(),
            "a new run needs data"
        );
        let new = "train --size nano --objective mae:selected --data D --steps 50 --seed 1 --device cpu --out R";
        assert!(parse(&new.split(' ').collect::<Vec<_>>()).is_ok());
        assert!(
            parse(&[
                "eval",
                "R",
                "--suite",
                "object",
                "--episodes",
                "3",
                "--seed",
                "7",
                "--json"
            ])
            .is_ok()
        );
        assert!(parse(&["--device", "tpu"]).is_err());
        for (forward, fits) in [
            ("as_trained", true),
            ("toward_instruction:3", true),
            ("sinks_redistributed:0.5", true),
            ("toward_instruction:0", false),
            ("sinks_redistributed:2", false),
            ("var", false),
        ] {
            let eval = ["eval", "R", "--suite", "object", "--forward", forward];
            assert_eq!(parse(&eval).is_ok(), fits, "{forward}");
            let ground = ["ground", "R", "--forward", forward];
            assert_eq!(parse(&ground).is_ok(), fits, "{forward}");
        }
        for stray in [
            &["some/folder", "train", "R"][..],
            &["--demo", "train", "R"],
        ] {
            let error = parse(stray).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ArgumentConflict, "{error}");
        }
    }

    #[test]
    fn options_of_all_commands_stand_before_or_after_them() {
        for line in [
            "--threads 1 --device cpu train R",
            "train R --threads 1 --device cpu",
            "--threads 1 run resume R --device cpu",
            "run --device cpu resume R --threads 1",
            "--threads 1 --device cpu",
            "--threads 1 some/folder --device cpu",
        ] {
            let line = format!("gazelab {line}");
            let common = Cli::read(line.split(' ')).unwrap().common;
            assert_eq!(common.threads, Some(1), "{line}");
            assert_eq!(common.device, Some(DeviceChoice::Cpu), "{line}");
        }
    }

    #[test]
    fn messages_do_not_repeat_themselves() {
        let inner = std::io::Error::other("disk full");
        let error = anyhow::Error::new(inner)
            .context("cannot write: disk full: a.ron")
            .context("no figure");
        assert_eq!(message(&error), "no figure: cannot write: disk full: a.ron");
        let error = anyhow::Error::new(std::io::Error::other("disk full"))
            .context("cannot write: a: b.ron");
        assert_eq!(message(&error), "cannot write: a: disk full: b.ron");
    }
}
