//! From a recipe to a figure, for the window and the command line alike.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use episode::SharedDataset;
use figure::{CaptureSource, Figure, Recipe, SourceError};
use grounding::{Capture, Forward};
use model::DeviceChoice;

use crate::inspector::{CaptureRequest, Eye as _, Models, Prompt, Stamp};

/// Captures kept between two renderings, so that a change of a label does not run a model again.
const KEPT_CAPTURES: usize = 64;

/// Datasets, models and captures for figures.
///
/// Models run on the CPU whatever the window uses: its sums come in the same order every time, so the same recipe gives
/// the same bytes with and without a window.
pub struct FigureSource {
    cancel: Arc<AtomicBool>,
    models: Models,
    datasets: HashMap<String, SharedDataset>,
    captures: Vec<KeptCapture>,
}

/// A capture and the frame, checkpoint and weights it was made of.
struct KeptCapture {
    checkpoint: PathBuf,
    stamp: Stamp,
    dataset: String,
    episode: usize,
    step: usize,
    forward: Forward,
    capture: Arc<Capture>,
}

impl FigureSource {
    /// Nothing is opened before it is needed. The work is given up once `cancel` is set.
    pub fn new(cancel: Arc<AtomicBool>) -> Self {
        Self {
            cancel,
            models: Models::new(DeviceChoice::Cpu),
            datasets: HashMap::new(),
            captures: Vec::new(),
        }
    }

    /// Follows another wish to cancel from now on.
    pub fn heed(&mut self, cancel: Arc<AtomicBool>) {
        self.cancel = cancel;
    }

    /// The name under which a dataset was opened.
    fn name_of(&self, dataset: &SharedDataset) -> String {
        let known = self.datasets.iter().find(|(_, d)| Arc::ptr_eq(d, dataset));
        known.map(|(name, _)| name.clone()).unwrap_or_default()
    }
}

impl CaptureSource for FigureSource {
    fn dataset(&mut self, dataset: &str) -> Result<SharedDataset, SourceError> {
        if let Some(open) = self.datasets.get(dataset) {
            return Ok(open.clone());
        }
        let open = tabletop::open(dataset)?;
        self.datasets.insert(dataset.to_owned(), open.clone());
        Ok(open)
    }

    fn capture(
        &mut self,
        checkpoint: &Path,
        dataset: &SharedDataset,
        episode: usize,
        step: usize,
        forward: Forward,
    ) -> Result<Arc<Capture>, SourceError> {
        let name = self.name_of(dataset);
        let stamp = Stamp::of(checkpoint);
        let same = |k: &&KeptCapture| {
            (k.checkpoint.as_path(), k.stamp) == (checkpoint, stamp)
                && (k.dataset.as_str(), k.episode, k.step) == (name.as_str(), episode, step)
                && k.forward == forward
        };
        if let Some(kept) = self.captures.iter().find(same) {
            return Ok(kept.capture.clone());
        }
        let request = CaptureRequest {
            checkpoint: checkpoint.to_owned(),
            dataset: dataset.clone(),
            episode,
            step,
            prompt: Prompt::AsGiven,
            forward,
        };
        let capture = Arc::new(self.models.capture(&request)?);
        if self.captures.len() == KEPT_CAPTURES {
            self.captures.remove(0);
        }
        self.captures.push(KeptCapture {
            checkpoint: checkpoint.to_owned(),
            stamp,
            dataset: name,
            episode,
            step,
            forward,
            capture: capture.clone(),
        });
        Ok(capture)
    }

    fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

/// Makes a figure.
///
/// # Errors
/// When the recipe asks for what cannot be set, or something it names cannot be had.
pub fn figure(recipe: &Recipe, source: &mut FigureSource) -> anyhow::Result<Figure> {
    let data = figure::resolve(recipe, source)?;
    Ok(figure::render(&data, &recipe.style)?)
}

/// Writes the figure of a recipe; the ending of the name says in which format.
///
/// # Errors
/// As [`figure()`]; when the ending is none of .pdf, .svg and .png; when the file cannot be written.
pub fn export(recipe: &Recipe, path: &Path, cancel: &Arc<AtomicBool>) -> anyhow::Result<()> {
    // A wrong ending is told before a model is run.
    let format = figure::Format::of(path, recipe.style.dpi)?;
    let figure = figure(recipe, &mut FigureSource::new(cancel.clone()))?;
    Ok(figure.export(format, path)?)
}

/// Where the recipe of an exported figure is kept: `gaze.pdf` has `gaze.recipe.ron` beside it.
pub fn recipe_path(figure: &Path) -> PathBuf {
    figure.with_extension("recipe.ron")
}
