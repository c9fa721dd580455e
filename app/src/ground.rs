//! `gazelab ground`: heads, masks and metrics without the window, by the window's own code.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use episode::boxes::BoxFile;
use grounding::analysis::{Curve, Field, Form, Interval, Intervals, Summary};
use grounding::{
    Capture, Error, Evaluation, Forward, HeadId, HeadSelection, PRESETS, Selected, Split, TARGETS,
};
use model::DeviceChoice;
use serde_json::{Value, json};
use session::Session;
use training::RunDir;

use crate::capture_file::CaptureIndex;
use crate::cli::checkpoint_of;
use crate::inspector::{self, MetricsRequest, Passes, Report, Survey, SurveyFrame};
use crate::opening::{self, Kind};

/// What to ground.
pub struct Request {
    /// A capture file, a folder of them, a run directory or a checkpoint; with `model`, a dataset.
    pub path: PathBuf,
    /// What looks at the dataset `path`.
    pub model: Option<PathBuf>,
    /// Every threshold.
    pub selection: HeadSelection,
    /// Another selection, measured beside it.
    pub beside: Option<HeadSelection>,
    /// Whether every threshold in use is tried out, too.
    pub curves: bool,
    /// The data a model looks at; a run's own data without it.
    pub data: Option<String>,
    /// Detector boxes; the file beside the dataset without it.
    pub boxes: Option<PathBuf>,
    /// The camera; the first that the model sees without it.
    pub camera: Option<String>,
    /// Frames that are looked at.
    pub frames: usize,
    /// Bytes of attention weights kept in memory.
    pub memory: usize,
    /// Where a model computes.
    pub device: DeviceChoice,
}

/// What came of it.
pub struct Grounded {
    source: PathBuf,
    camera: String,
    report: Report,
    /// The first frame, which knows model, layers and heads.
    first: Arc<Capture>,
}

/// The largest file that can hold a head selection, in bytes.
const MAX_SELECTION: u64 = 1 << 20;

/// A head selection by the name of a preset or target, or from a file.
///
/// # Errors
/// As [`read_selection`].
pub fn find_selection(text: &str) -> anyhow::Result<HeadSelection> {
    if PRESETS.contains(&text) {
        return Ok(HeadSelection::preset(text)?);
    }
    if TARGETS.contains(&text) {
        return Ok(HeadSelection::default().with_target(text)?);
    }
    let path = Path::new(text);
    if !path.exists() && !text.contains(['.', '/', '\\']) {
        bail!(
            "no head selection is called \"{text}\"; there are {}, or the name of a file",
            [&PRESETS[..], &TARGETS[..]].concat().join(", ")
        );
    }
    read_selection(path)
}

/// Reads a head selection, alone or within a session.
///
/// # Errors
/// When the file holds neither.
pub fn read_selection(path: &Path) -> anyhow::Result<HeadSelection> {
    let name = || format!("cannot read the head selection: {}", path.display());
    // Asked before opening: opening a named pipe would wait for ever.
    let meta = std::fs::metadata(path).with_context(name)?;
    if !meta.is_file() {
        bail!("not a regular file: {}", path.display());
    }
    if meta.len() > MAX_SELECTION {
        bail!("too large for a head selection: {}", path.display());
    }
    let text = std::fs::read_to_string(path).with_context(name)?;
    let options =
        ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
    let alone = match options.from_str::<HeadSelection>(&text) {
        // Every field has a default, so a session would pass for an empty selection.
        Ok(selection) if !text.contains("selection:") => return Ok(selection),
        Ok(_) => None,
        Err(error) => Some(error),
    };
    match (Session::load(path), alone) {
        (Ok(session), _) => Ok(session.selection),
        (Err(error @ session::Error::Newer { .. }), _) => Err(error.into()),
        (Err(_), Some(error)) => bail!("not a head selection ({error}): {}", path.display()),
        (Err(error), None) => Err(error.into()),
    }
}

/// Captures, chooses heads, cuts masks and measures.
///
/// # Errors
/// When something cannot be read, the camera is unknown, or the query token is not there.
pub fn ground(request: &Request) -> anyhow::Result<Grounded> {
    if request.frames == 0 {
        bail!("--frames must be at least 1");
    }
    let index;
    let (mut frames, boxes): (Box<dyn Iterator<Item = anyhow::Result<SurveyFrame>>>, _) =
        if is_recorded(request)? {
            refuse_what_is_for_models(request)?;
            index = CaptureIndex::open(&request.path)?;
            (Box::new(index.spread(request.frames)), None)
        } else {
            let (frames, boxes) = look(request)?;
            (Box::new(frames), boxes)
        };
    let first = frames
        .next()
        .with_context(|| format!("there are no frames: {}", request.path.display()))??;
    let (camera, capture) = (camera(request, &first.capture)?, first.capture.clone());
    let metrics = MetricsRequest {
        survey: Arc::new(Survey {
            planned: request.frames,
            passes: Passes::of(&request.selection),
            frames: Vec::new(),
        }),
        selection: request.selection.clone(),
        beside: request.beside.clone(),
        view: camera.clone(),
        memory: request.memory,
        boxes,
    };
    let interrupt = training::stop_on_signals().context("cannot listen for signals")?;
    let fields = if request.curves { &Field::ALL[..] } else { &[] };
    let mut frames = std::iter::once(Ok(first)).chain(frames);
    let report = Report::measure(&metrics, &mut frames, fields, &interrupt)?;
    Ok(Grounded {
        source: request.path.clone(),
        camera,
        report,
        first: capture,
    })
}

/// Whether the path is a capture file or a folder of them.
fn is_recorded(request: &Request) -> anyhow::Result<bool> {
    if request.model.is_some() {
        return Ok(false);
    }
    Ok(match opening::sniff(&request.path)? {
        Kind::Capture => true,
        Kind::Dataset => CaptureIndex::is_folder(&request.path),
        _ => false,
    })
}

fn refuse_what_is_for_models(request: &Request) -> anyhow::Result<()> {
    if request.data.is_some() {
        bail!(
            "--data is for models; a capture file brings its own frames: {}",
            request.path.display()
        );
    }
    if let Some(path) = &request.boxes {
        bail!(
            "boxes belong to a dataset, a capture file carries its own: {}",
            path.display()
        );
    }
    let forwards = [Some(&request.selection), request.beside.as_ref()];
    if forwards
        .into_iter()
        .flatten()
        .any(|s| s.forward != Forward::AsTrained)
    {
        bail!("{}: {}", Error::Recorded, request.path.display());
    }
    Ok(())
}

/// Frames of a dataset as a model sees them, each looked at when it is taken, and the boxes of the dataset.
fn look(
    request: &Request,
) -> anyhow::Result<(
    impl Iterator<Item = anyhow::Result<SurveyFrame>> + use<>,
    Option<Arc<BoxFile>>,
)> {
    let model = request.model.as_ref().unwrap_or(&request.path);
    let checkpoint = checkpoint_of(model)?;
    let origin = match (&request.data, &request.model) {
        (Some(_), Some(_)) => bail!(
            "--data and --model both say what is looked at: {}",
            request.path.display()
        ),
        (Some(data), None) => data.clone(),
        (None, Some(_)) => request.path.display().to_string(),
        (None, None) => own_data(&request.path)?,
    };
    if let Some(beside) = &request.beside
        && beside.forward != request.selection.forward
    {
        bail!(
            "both selections must look at the same forward pass, \"{}\" is not \"{}\": {}",
            beside.forward,
            request.selection.forward,
            request.path.display()
        );
    }
    let opened = opening::open_dataset(&origin)?;
    // Read before the model runs, which takes a while.
    let boxes = match (&request.boxes, opened.boxes_error) {
        (Some(path), _) => Some(Arc::new(BoxFile::load(path, opened.data.as_ref())?)),
        (None, Some(error)) => return Err(error),
        (None, None) => opened.boxes.map(|(_, boxes)| boxes),
    };
    let passes = Passes::of(&request.selection).and(request.beside.as_ref());
    let frames = inspector::sample(
        checkpoint,
        opened.data,
        request.frames,
        passes,
        request.device,
    )?;
    Ok((frames, boxes))
}

/// A run knows what it was trained on; a checkpoint of it lies two folders below.
fn own_data(path: &Path) -> anyhow::Result<String> {
    let path = opening::absolute(path);
    let run = path.ancestors().take(4).find(|dir| RunDir::is_run(dir));
    let run = run.with_context(|| {
        format!(
            "say what the model looks at with --data: {}",
            path.display()
        )
    })?;
    Ok(RunDir::open(run)?.spec().data.source.clone())
}

fn camera(request: &Request, capture: &Capture) -> anyhow::Result<String> {
    let names: Vec<&str> = capture
        .grid_views()
        .into_iter()
        .filter_map(|view| capture.views.get(view))
        .map(|view| view.name.as_str())
        .collect();
    match &request.camera {
        None => names
            .first()
            .map(|name| (*name).to_owned())
            .with_context(|| {
                format!(
                    "the captures have no patches of any camera: {}",
                    request.path.display()
                )
            }),
        Some(name) if names.contains(&name.as_str()) => Ok(name.clone()),
        Some(name) => bail!(
            "there is no camera \"{name}\", known are {}: {}",
            names.join(", "),
            request.path.display()
        ),
    }
}

/// Layer and head as the model counts them; a capture may hold only some.
fn model_numbers(capture: &Capture, id: HeadId) -> (u32, u32) {
    let number = |list: &[u32], index: u16| {
        let number = list.get(usize::from(index)).copied();
        number.unwrap_or(u32::from(index))
    };
    (
        number(&capture.layers, id.layer),
        number(&capture.heads, id.head),
    )
}

impl Grounded {
    /// One document: heads, metrics of both splits with their intervals, candidates, curves, frames, and what they come
    /// from. A number that does not exist is null.
    pub fn json(&self) -> Value {
        let evaluation = &self.report.evaluation;
        let frames: Vec<Value> = self
            .report
            .frames
            .iter()
            .map(|frame| {
                json!({
                    "episode": frame.episode,
                    "step": frame.step,
                    "split": frame.split,
                    "metrics": frame.metrics,
                    "failure": frame.failure.as_deref(),
                })
            })
            .collect();
        let (heads, heads_error) = match self.report.selected() {
            Ok(selected) => (self.heads(selected), None),
            Err(why) => (Vec::new(), Some(why.to_string())),
        };
        let request = &self.report.request;
        let curves: Vec<&Curve> = self.report.curves.iter().map(|c| &**c).collect();
        let mut document = json!({
            "path": self.source,
            "model": self.first.model_id,
            "camera": self.camera,
            "reference": self.report.source.map(|source| source.label()),
            "attention_kept_as": self.report.form.label(),
            "heads": heads,
            "heads_error": heads_error,
            "tau": evaluation.tau,
            "candidates": evaluation.candidates(),
            "metrics": { "tune": evaluation.tune, "held_out": evaluation.held_out },
            "curves": curves,
            "frames": frames,
            "selection": request.selection,
            "selection_text": request.selection.to_string(),
        });
        if let (Some(other), Some(selection), Value::Object(document)) =
            (&self.report.beside, &request.beside, &mut document)
        {
            let of_both = |id: &&HeadId| other.heads().contains(*id);
            let names = |ids: Vec<&HeadId>| -> Vec<Value> {
                ids.into_iter().map(|&id| self.head(id)).collect()
            };
            let (both, only): (Vec<&HeadId>, Vec<&HeadId>) =
                evaluation.heads().iter().partition(of_both);
            let only_beside = other
                .heads()
                .iter()
                .filter(|id| !evaluation.heads().contains(id));
            let (heads, error) = match &other.selected {
                Ok(selected) => (self.heads(selected), None),
                Err(why) => (Vec::new(), Some(why.to_string())),
            };
            document.insert(
                "beside".to_owned(),
                json!({
                    "heads": heads,
                    "heads_error": error,
                    "heads_of_both": names(both),
                    "heads_only_here": names(only),
                    "heads_only_beside": names(only_beside.collect()),
                    "candidates": other.candidates(),
                    "metrics": { "tune": other.tune, "held_out": other.held_out },
                    "selection": selection,
                    "selection_text": selection.to_string(),
                }),
            );
        }
        document
    }

    fn head(&self, id: HeadId) -> Value {
        let (layer, head) = model_numbers(&self.first, id);
        json!({ "layer": layer, "head": head })
    }

    /// The chosen heads, best first.
    fn heads(&self, selected: &Selected) -> Vec<Value> {
        let one = |&id: &HeadId| {
            let (layer, head) = model_numbers(&self.first, id);
            let flat = usize::from(id.layer) * selected.n_heads + usize::from(id.head);
            json!({
                "layer": layer,
                "head": head,
                "votes": selected.votes(id),
                "of": selected.n_samples,
                "merit": selected.merits.as_ref().and_then(|merits| merits.get(flat)),
            })
        };
        selected.heads.iter().map(one).collect()
    }

    /// Heads and both splits of one selection, for people.
    fn describe(
        &self,
        f: &mut fmt::Formatter<'_>,
        selected: Result<&Selected, String>,
        evaluation: &Evaluation,
    ) -> fmt::Result {
        match selected {
            Ok(selected) => {
                for &id in &selected.heads {
                    let (layer, head) = model_numbers(&self.first, id);
                    writeln!(
                        f,
                        "layer {layer} head {head}, {} of {} votes",
                        selected.votes(id),
                        selected.n_samples
                    )?;
                }
            }
            Err(why) => writeln!(f, "no heads: {why}")?,
        }
        if self.report.source.is_none() {
            return Ok(());
        }
        for split in [Split::Tune, Split::HeldOut] {
            let Some(Summary {
                metrics: m,
                intervals,
                episodes,
            }) = evaluation.summary(split)
            else {
                writeln!(f, "{:<13} nothing to measure", split.label())?;
                continue;
            };
            let tuned = match split {
                Split::Tune => " (tuned on, no result)",
                Split::HeldOut => "",
            };
            writeln!(
                f,
                "{:<13} {} frames of {episodes} episodes{tuned}",
                split.label(),
                m.frames
            )?;
            let interval = |of: fn(&Intervals) -> Interval, scale: f64, digits: usize| {
                let Interval { low, high } = intervals.as_ref().map(of)?;
                let text = format!(" ({:.digits$}–{:.digits$})", low * scale, high * scale);
                low.is_finite().then_some(text)
            };
            let percent = |name: &str, share: f64, of: fn(&Intervals) -> Interval| {
                let interval = interval(of, 100.0, 0).unwrap_or_default();
                format!("{name} {:.0} %{interval}", 100.0 * share)
            };
            let iou = interval(|i| i.mean_iou, 1.0, 3).unwrap_or_default();
            let mut hit = percent("hit", m.pointing, |i| i.pointing);
            let mut near = percent("within a patch", m.pointing_slack, |i| i.pointing_slack);
            if let Some(swapped) = &m.swapped {
                let still = |share, of| percent(", under another instruction", share, of);
                hit += &still(swapped.pointing, |i| i.swapped_pointing);
                near += &still(swapped.pointing_slack, |i| i.swapped_pointing_slack);
            }
            writeln!(f, "  mean IoU {:.3}{iou}", m.mean_iou)?;
            writeln!(f, "  {hit}\n  {near}")?;
            writeln!(
                f,
                "  {}, {}, lift {:.1}",
                percent("box recall", m.box_recall, |i| i.box_recall),
                percent("mass inside", m.mass_inside, |i| i.mass_inside),
                m.lift
            )?;
            if let Some(swapped) = &m.swapped {
                writeln!(
                    f,
                    "  overlap of the masks under both instructions {:.3}, {} frames",
                    swapped.mask_overlap, swapped.frames
                )?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Grounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (report, request) = (&self.report, &self.report.request);
        writeln!(f, "{} frames, camera {}", report.frames.len(), self.camera)?;
        if report.form != Form::Single {
            writeln!(f, "attention was kept as {}", report.form.label())?;
        }
        writeln!(f, "selection     {}", request.selection)?;
        let selected = report.selected().map_err(|why| why.to_string());
        self.describe(f, selected, &report.evaluation)?;
        if let (Some(other), Some(selection)) = (&report.beside, &request.beside) {
            writeln!(f, "beside        {selection}")?;
            let selected = other.selected.as_ref().map_err(|why| why.to_string());
            self.describe(f, selected, other)?;
        }
        for curve in &report.curves {
            if let Some(best) = curve.best() {
                writeln!(
                    f,
                    "{:<13} best at {} (IoU {:.3} on the tuning split)",
                    curve.field.name(),
                    (best.value * 1e4).round() / 1e4,
                    best.mean_iou
                )?;
            }
        }
        match report.source {
            Some(source) => write!(f, "measured against the {}", source.label()),
            None => write!(f, "no boxes or exact masks to compare with"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grounding::{Analysis, CaptureParts, Grid, Key, Query, TokenRole, View, attncap};

    /// Layers 10 and 11 of two heads each; head 3 of layer 11 looks at one patch, the rest at nothing much.
    fn capture(step: u64) -> Capture {
        let grid = Grid::new(4, 4);
        let keys = (0..grid.len()).map(|patch| Key {
            role: TokenRole::Image,
            view: Some(0),
            rect: Some(grid.patch_rect(patch)),
            ..Key::default()
        });
        let mut attn = vec![0.0001; 4 * grid.len()];
        attn[3 * grid.len() + 5] = 0.5;
        Capture::new(CaptureParts {
            model_id: "model".into(),
            step,
            layers: vec![10, 11],
            heads: vec![1, 3],
            views: vec![View {
                name: "static".into(),
                width: 64,
                height: 64,
            }],
            queries: vec![Query::default()],
            keys: keys.collect(),
            attn,
            ..CaptureParts::default()
        })
        .unwrap()
    }

    #[test]
    fn votes_are_those_of_the_head() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("some.attncap");
        attncap::write(&path, &[capture(0), capture(1), capture(2), capture(3)]).unwrap();
        let selection = HeadSelection {
            k: 1,
            bottom_row: grounding::BottomRow::Off,
            ..HeadSelection::default()
        };
        let grounded = ground(&Request {
            path,
            model: None,
            selection,
            beside: None,
            curves: false,
            memory: Analysis::DEFAULT_MEMORY,
            data: None,
            boxes: None,
            camera: None,
            frames: 8,
            device: DeviceChoice::Cpu,
        })
        .unwrap();
        let selected = grounded.report.selected().unwrap();
        assert_eq!(selected.heads, [HeadId { layer: 1, head: 1 }]);
        let frames = selected.n_samples;
        assert!(frames > 0);
        assert_eq!(
            grounded.json()["heads"],
            json!([{ "layer": 11, "head": 3, "votes": frames, "of": frames, "merit": null }])
        );
        let line = format!("layer 11 head 3, {frames} of {frames} votes");
        let text = grounded.to_string();
        assert!(text.contains(&line), "{text}");
    }
}
