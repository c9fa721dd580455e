//! `gazelab ground`: heads, masks and metrics without the window, by the window's own code.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use episode::boxes::BoxFile;
use grounding::analysis::Summary;
use grounding::{Analysis, Capture, Error, Forward, HeadId, HeadSelection, Split};
use model::DeviceChoice;
use serde_json::{Value, json};
use session::Session;
use training::RunDir;

use crate::cli::checkpoint_of;
use crate::inspector::{self, MetricsRequest, Passes, Report, Survey};
use crate::opening::{self, Kind};

/// What to ground.
pub struct Request {
    /// A capture file, a run directory or a checkpoint.
    pub path: PathBuf,
    /// Every threshold.
    pub selection: HeadSelection,
    /// The data a model looks at; a run's own data without it.
    pub data: Option<String>,
    /// Detector boxes; the file beside the dataset without it.
    pub boxes: Option<PathBuf>,
    /// The camera; the first that the model sees without it.
    pub camera: Option<String>,
    /// Frames that are looked at.
    pub frames: usize,
    /// Where a model computes.
    pub device: DeviceChoice,
}

/// What came of it.
pub struct Grounded {
    source: PathBuf,
    camera: String,
    report: Report,
    survey: Arc<Survey>,
}

/// The largest file that can hold a head selection, in bytes.
const MAX_SELECTION: u64 = 1 << 20;

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
    let is_capture = opening::sniff(&request.path)? == Kind::Capture;
    let mut boxes = None;
    let survey = if is_capture {
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
        if request.selection.forward != Forward::AsTrained {
            bail!("{}: {}", Error::Recorded, request.path.display());
        }
        let captures = grounding::attncap::read(&request.path)?;
        Survey::of_captures(&captures, request.frames)
    } else {
        let checkpoint = checkpoint_of(&request.path)?;
        let origin = match &request.data {
            Some(data) => data.clone(),
            None => own_data(&request.path)?,
        };
        let opened = opening::open_dataset(&origin)?;
        // Read before the model runs, which takes a while.
        boxes = match (&request.boxes, opened.boxes_error) {
            (Some(path), _) => Some(Arc::new(BoxFile::load(path, opened.data.as_ref())?)),
            (None, Some(error)) => return Err(error),
            (None, None) => opened.boxes.map(|(_, boxes)| boxes),
        };
        let interrupt = training::stop_on_signals().context("cannot listen for signals")?;
        inspector::survey(
            &checkpoint,
            &opened.data,
            request.frames,
            Passes::of(&request.selection),
            request.device,
            &mut |_, _| !interrupt.load(Ordering::Relaxed),
        )?
    };
    let survey = Arc::new(survey);
    let camera = camera(request, &survey)?;
    let metrics = MetricsRequest {
        survey: survey.clone(),
        selection: request.selection.clone(),
        beside: None,
        view: camera.clone(),
        memory: Analysis::DEFAULT_MEMORY,
        boxes,
    };
    let report = Report::measure(
        &metrics,
        &mut std::iter::empty(),
        &[],
        &AtomicBool::new(false),
    )?;
    Ok(Grounded {
        source: request.path.clone(),
        camera,
        report,
        survey,
    })
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

fn camera(request: &Request, survey: &Survey) -> anyhow::Result<String> {
    let capture = &survey
        .frames
        .first()
        .with_context(|| format!("there are no frames: {}", request.path.display()))?
        .capture;
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
fn model_numbers(capture: Option<&Capture>, id: HeadId) -> (u32, u32) {
    let number = |list: Option<&Vec<u32>>, index: u16| {
        list.and_then(|list| list.get(usize::from(index)))
            .copied()
            .unwrap_or(u32::from(index))
    };
    (
        number(capture.map(|c| &c.layers), id.layer),
        number(capture.map(|c| &c.heads), id.head),
    )
}

impl Grounded {
    /// One document: `frames`, `heads`, `metrics` and what they come from. A number that does not exist is null.
    pub fn json(&self) -> Value {
        let capture = self
            .survey
            .frames
            .first()
            .map(|frame| frame.capture.as_ref());
        let selected = self.report.selected();
        let why = selected.as_ref().err().map(|why| why.to_string());
        let heads: Vec<Value> = selected
            .map(|selected| {
                selected
                    .heads
                    .iter()
                    .map(|&id| {
                        let (layer, head) = model_numbers(capture, id);
                        json!({ "layer": layer, "head": head, "votes": selected.votes(id) })
                    })
                    .collect()
            })
            .unwrap_or_default();
        let frames: Vec<Value> = self
            .report
            .frames
            .iter()
            .map(|frame| {
                json!({
                    "episode": frame.episode,
                    "step": frame.step,
                    "split": match frame.split { Split::Tune => "tune", Split::HeldOut => "held_out" },
                    "metrics": frame.metrics,
                    "failure": frame.failure.as_deref(),
                })
            })
            .collect();
        json!({
            "path": self.source,
            "model": capture.map(|c| c.model_id.clone()),
            "camera": self.camera,
            "reference": self.report.source.map(|source| source.label()),
            "heads": heads,
            "heads_error": why,
            "tau": self.report.evaluation.tau,
            "metrics": { "tune": self.report.evaluation.tune, "held_out": self.report.evaluation.held_out },
            "frames": frames,
            "selection": self.report.request.selection,
        })
    }
}

impl fmt::Display for Grounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let capture = self
            .survey
            .frames
            .first()
            .map(|frame| frame.capture.as_ref());
        writeln!(
            f,
            "{} frames, camera {}",
            self.survey.frames.len(),
            self.camera
        )?;
        match self.report.selected() {
            Ok(selected) => {
                for &id in &selected.heads {
                    let (layer, head) = model_numbers(capture, id);
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
        let Some(source) = self.report.source else {
            return write!(f, "no boxes or exact masks to compare with");
        };
        let line = |f: &mut fmt::Formatter<'_>, name: &str, summary: Option<Summary>| match summary
            .map(|s| s.metrics)
        {
            Some(m) => writeln!(
                f,
                "{name:<13} {:>4} frames  IoU {:.3} {:<6}  pointing {:.0} %  box recall {:.0} %  mass inside {:.0} %",
                m.frames,
                m.mean_iou,
                sem_text(&m, 3),
                100.0 * m.pointing,
                100.0 * m.box_recall,
                100.0 * m.mass_inside
            ),
            None => writeln!(f, "{name:<13} nothing to measure"),
        };
        line(f, Split::Tune.label(), self.report.evaluation.tune)?;
        line(f, Split::HeldOut.label(), self.report.evaluation.held_out)?;
        for split in [Split::Tune, Split::HeldOut] {
            let summary = self.report.evaluation.summary(split);
            if let Some(swapped) = summary.and_then(|s| s.metrics.swapped) {
                writeln!(
                    f,
                    "{:<13} {:>4} frames under another instruction: pointing {:.0} %, overlap of the masks {:.3}",
                    split.label(),
                    swapped.frames,
                    100.0 * swapped.pointing,
                    swapped.mask_overlap
                )?;
            }
        }
        write!(f, "measured against the {}", source.label())
    }
}

/// The standard error of the mean IoU, e.g. `±0.012`; nothing for a single frame.
pub fn sem_text(metrics: &grounding::DatasetMetrics, digits: usize) -> String {
    match metrics.iou_sem.is_finite() {
        true => format!("±{:.digits$}", metrics.iou_sem),
        false => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grounding::{CaptureParts, Grid, Key, Query, TokenRole, View, attncap};

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
            selection,
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
            json!([{ "layer": 11, "head": 3, "votes": frames }])
        );
        let line = format!("layer 11 head 3, {frames} of {frames} votes");
        let text = grounded.to_string();
        assert!(text.contains(&line), "{text}");
    }
}
