//! From a recipe to everything it names.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use episode::boxes::BoxFile;
use episode::{Region, SharedDataset, is_specification};
use grounding::attncap::CaptureFile;
use grounding::{
    Aggregate, Capture, Error as GroundingError, Forward, Gaze, HeadId, HeadMaps, HeadSelection,
    HeatMap, Rect, ViewGrid, frame_metrics, heat_map, score_heads, select_heads,
};
use sha2::{Digest as _, Sha256};

use crate::data::{
    ArmProvenance, BoxKind, Cell, CellNumbers, ColumnHead, FigureData, FrameProvenance, MapLayer,
    MaskLayer, PatchEdges, Provenance, Row,
};
use crate::recipe;
use crate::{
    Arm, Column, Content, Error, Frame, Look, MapChoice, Recipe, Reference, Result, SourceError,
};

/// Supplies what a figure cannot fetch by itself: datasets of every kind, and the attention of a model.
pub trait CaptureSource {
    /// Opens a dataset: a path, or a `tabletop:` specification.
    ///
    /// # Errors
    /// Whatever the reader says.
    fn dataset(&mut self, dataset: &str) -> Result<SharedDataset, SourceError>;

    /// Runs the model of a checkpoint folder on one frame, with its attention changed by `forward`.
    ///
    /// # Errors
    /// Whatever the model says.
    fn capture(
        &mut self,
        checkpoint: &Path,
        dataset: &SharedDataset,
        episode: usize,
        step: usize,
        forward: Forward,
    ) -> Result<Arc<Capture>, SourceError>;

    /// Whether the work is to be given up; asked between frames.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Fetches pictures, captures and boxes, chooses heads, cuts masks and measures them.
///
/// # Errors
/// [`Error::Recipe`] as [`Recipe::check`]; [`Error::Frame`] and [`Error::Missing`] name the row that cannot be had;
/// [`Error::Heads`] when no head passes; [`Error::Cancelled`].
pub fn resolve(recipe: &Recipe, source: &mut dyn CaptureSource) -> Result<FigureData> {
    recipe.check()?;
    let mut files = Files::default();
    let mut frames = Vec::with_capacity(recipe.frames.len());
    for (index, frame) in recipe.frames.iter().enumerate() {
        frames.push(ResolvedFrame::fetch(
            recipe, index, frame, source, &mut files,
        )?);
    }
    let arms = recipe
        .arms
        .iter()
        .enumerate()
        .map(|(a, arm)| Heads::choose(recipe, a, arm, &frames))
        .collect::<Result<Vec<_>>>()?;
    let reference = reference(recipe.reference, &frames);
    let mut rows = Vec::with_capacity(frames.len());
    for (index, frame) in frames.iter().enumerate() {
        if source.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let composer = Composer {
            recipe,
            row: index + 1,
            frame,
            heads: &arms,
            reference,
        };
        rows.push(Row {
            label: frame.label.clone(),
            aspect: frame.aspect,
            cells: recipe
                .columns
                .iter()
                .map(|column| composer.cell(column))
                .collect::<Result<_>>()?,
        });
    }
    Ok(FigureData {
        title: recipe.title.clone(),
        caption: recipe.caption.clone(),
        columns: recipe
            .columns
            .iter()
            .map(|column| heading(recipe, column, &frames))
            .collect(),
        rows,
        reference,
        provenance: provenance(recipe, &arms, &frames, reference),
    })
}

/// Files that several frames share, opened once.
#[derive(Default)]
struct Files {
    datasets: HashMap<String, SharedDataset>,
    captures: HashMap<PathBuf, CaptureFile>,
    /// By file and address of the dataset whose frames it names.
    boxes: HashMap<(PathBuf, usize), Arc<BoxFile>>,
}

/// One row with its picture, boxes, and one look per arm.
struct ResolvedFrame {
    label: String,
    picture: Option<Arc<episode::Image>>,
    camera: String,
    dataset: Option<String>,
    aspect: f64,
    truth: Option<Rect>,
    detector: Option<Rect>,
    /// By arm; `None` where no column needs it.
    looks: Vec<Option<ResolvedLook>>,
}

/// The attention of one arm on one frame.
struct ResolvedLook {
    capture: Arc<Capture>,
    grid: ViewGrid,
    maps: HeadMaps,
}

impl ResolvedFrame {
    fn fetch(
        recipe: &Recipe,
        index: usize,
        frame: &Frame,
        source: &mut dyn CaptureSource,
        files: &mut Files,
    ) -> Result<Self> {
        let row = index + 1;
        let fail = |what: String| move |source: SourceError| Error::Frame { row, what, source };
        let missing = |what: String| Error::Missing { row, what };
        let dataset = match frame.dataset.as_str() {
            "" => None,
            name => Some(match files.datasets.get(name) {
                Some(dataset) => dataset.clone(),
                None => {
                    let dataset = source
                        .dataset(name)
                        .map_err(fail("cannot open the dataset".to_owned()))?;
                    files.datasets.insert(name.to_owned(), dataset.clone());
                    dataset
                }
            }),
        };
        let (episode, step) = (frame.episode, frame.step);
        let place = format!("episode {episode}, step {step}");
        let mut picture = None;
        let mut camera = frame.camera.clone();
        let mut truth = None;
        let mut detector = None;
        let mut instruction = String::new();
        let mut steps = None;
        if let Some(dataset) = &dataset {
            let cameras = &dataset.info().cameras;
            let found = if camera.is_empty() {
                (!cameras.is_empty()).then_some(0)
            } else {
                cameras.iter().position(|c| c.name == camera)
            };
            let Some(camera_index) = found else {
                let names: Vec<&str> = cameras.iter().map(|c| c.name.as_str()).collect();
                return Err(missing(format!(
                    "there is no camera `{camera}`; there are {}",
                    names.join(", ")
                )));
            };
            if let Some(info) = cameras.get(camera_index) {
                camera = info.name.clone();
            }
            let read = |e: episode::Error| fail(format!("cannot read {place}"))(e.into());
            let meta = dataset.episode(episode).map_err(read)?;
            instruction = meta.instruction.to_string();
            steps = Some(meta.length);
            picture = Some(dataset.image(episode, step, camera_index).map_err(read)?);
            let mask = dataset
                .mask(episode, step, camera_index, Region::Target)
                .map_err(read)?;
            truth = mask.and_then(|m| {
                let [x0, y0, x1, y1] = m.bounds()?.map(f64::from);
                let (w, h) = (f64::from(m.width), f64::from(m.height));
                Some(Rect::new(x0 / w, y0 / h, x1 / w, y1 / h))
            });
            detector = files.detection(
                recipe.boxes.as_deref(),
                dataset,
                episode,
                step,
                &camera,
                row,
            )?;
        }
        let mut looks = Vec::with_capacity(recipe.arms.len());
        for (a, arm) in recipe.arms.iter().enumerate() {
            if source.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if !recipe.columns.iter().any(|c| uses(c, a)) {
                looks.push(None);
                continue;
            }
            let own = frame
                .captures
                .clone()
                .filter(|_| a == 0)
                .map(Look::Captures);
            let forward = arm.selection.forward;
            let bad = |e: GroundingError| {
                fail(format!("the attention of arm {} cannot be used", a + 1))(e.into())
            };
            let capture = match own.as_ref().unwrap_or(&arm.look) {
                Look::Nothing => {
                    return Err(missing(format!(
                        "arm {} has nothing to look with; name captures or a checkpoint",
                        a + 1
                    )));
                }
                Look::Captures(_) if forward != Forward::AsTrained => {
                    return Err(bad(GroundingError::Recorded));
                }
                Look::Captures(path) => files.capture(path, frame, row)?,
                Look::Checkpoint(path) => {
                    let Some(dataset) = &dataset else {
                        return Err(missing(
                            "a model needs a picture to look at; name a dataset".to_owned(),
                        ));
                    };
                    source
                        .capture(path, dataset, episode, step, forward)
                        .map_err(fail(format!("cannot capture {place}")))?
                }
            };
            let view = view(&capture, &camera).map_err(missing)?;
            let grid = capture.view_grid(view).map_err(bad)?;
            let maps = capture.head_maps_for(&arm.selection, view).map_err(bad)?;
            if detector.is_none() {
                let boxes = capture.boxes.iter().filter(|b| b.view == view);
                detector = boxes
                    .max_by(|a, b| a.score.total_cmp(&b.score))
                    .map(|b| b.rect);
            }
            looks.push(Some(ResolvedLook {
                capture,
                grid,
                maps,
            }));
        }
        let first = looks.iter().flatten().next();
        if instruction.is_empty() {
            instruction = first
                .map(|l| l.capture.instruction.clone())
                .unwrap_or_default();
        }
        let aspect = match (&picture, first) {
            (Some(picture), _) => f64::from(picture.height) / f64::from(picture.width.max(1)),
            (None, Some(look)) => look.aspect(&camera),
            (None, None) => 1.0,
        };
        let label = if frame.label.is_empty() {
            automatic_label(&instruction, frame, steps)
        } else {
            frame.label.clone()
        };
        let dataset = dataset.map(|d| {
            if is_specification(&frame.dataset) {
                frame.dataset.clone()
            } else {
                d.info().name.clone()
            }
        });
        Ok(Self {
            label,
            picture,
            camera,
            dataset,
            aspect,
            truth,
            detector,
            looks,
        })
    }

    fn look(&self, arm: usize) -> Option<&ResolvedLook> {
        self.looks.get(arm)?.as_ref()
    }

    fn reference(&self, kind: BoxKind) -> Option<Rect> {
        match kind {
            BoxKind::Truth => self.truth,
            BoxKind::Detector => self.detector,
        }
    }
}

impl ResolvedLook {
    /// Height over width of the view the model saw.
    fn aspect(&self, camera: &str) -> f64 {
        let view = self
            .capture
            .views
            .iter()
            .find(|v| v.name == camera)
            .or_else(|| self.capture.views.first());
        match view {
            Some(view) if view.width > 0 && view.height > 0 => {
                f64::from(view.height) / f64::from(view.width)
            }
            _ => self.grid.grid.rows as f64 / self.grid.grid.cols.max(1) as f64,
        }
    }
}

impl Files {
    fn capture(&mut self, path: &Path, frame: &Frame, row: usize) -> Result<Arc<Capture>> {
        let fail = |e: GroundingError| Error::Frame {
            row,
            what: "cannot read the captures".to_owned(),
            source: e.into(),
        };
        let file = match self.captures.entry(path.to_owned()) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(CaptureFile::open(path).map_err(fail)?),
        };
        let index = match frame.capture {
            Some(index) => index,
            None => {
                let wanted = u64::try_from(frame.step).unwrap_or(u64::MAX);
                file.steps().position(|step| step == wanted).ok_or_else(|| Error::Missing {
                    row,
                    what: format!(
                        "no capture of step {wanted}; the file holds {} captures of steps {} to {}: {}",
                        file.len(),
                        file.steps().min().unwrap_or(0),
                        file.steps().max().unwrap_or(0),
                        path.display()
                    ),
                })?
            }
        };
        file.capture(index).map(Arc::new).map_err(fail)
    }

    /// The most confident box of the named box file, or of the one beside the dataset.
    fn detection(
        &mut self,
        named: Option<&Path>,
        dataset: &SharedDataset,
        episode: usize,
        step: usize,
        camera: &str,
        row: usize,
    ) -> Result<Option<Rect>> {
        let path = match named {
            Some(path) => Some(path.to_owned()),
            None if dataset.is_generated() => None,
            None => BoxFile::beside(&dataset.info().path),
        };
        let Some(path) = path else { return Ok(None) };
        let key = (path, Arc::as_ptr(dataset).cast::<()>() as usize);
        let boxes = match self.boxes.get(&key) {
            Some(boxes) => boxes.clone(),
            None => {
                let boxes = Arc::new(BoxFile::load(&key.0, dataset.as_ref()).map_err(|e| {
                    Error::Frame {
                        row,
                        what: "cannot read the boxes".to_owned(),
                        source: e.into(),
                    }
                })?);
                self.boxes.insert(key, boxes.clone());
                boxes
            }
        };
        let best = boxes
            .detections(episode, step, camera)
            .iter()
            .max_by(|a, b| a.score.total_cmp(&b.score));
        Ok(best.map(|b| Rect::new(b.x0.into(), b.y0.into(), b.x1.into(), b.y1.into())))
    }
}

fn uses(column: &Column, arm: usize) -> bool {
    let minus = matches!(column.content, Content::Difference { minus, .. } if minus == arm);
    column.content.map().is_some() && (column.arm == arm || minus)
}

/// The view of a capture that shows a camera: the one of its name. A single view without a name fits any camera.
fn view(capture: &Capture, camera: &str) -> Result<usize, String> {
    let views = capture.grid_views();
    let name = |view: usize| capture.views.get(view).map_or("", |v| v.name.as_str());
    let named = views.iter().find(|&&v| name(v) == camera);
    match (named, views.as_slice()) {
        (Some(&view), _) => Ok(view),
        (None, [view, ..]) if camera.is_empty() => Ok(*view),
        (None, &[view]) if name(view).is_empty() => Ok(view),
        (None, views) => {
            let names: Vec<&str> = views
                .iter()
                .filter_map(|&v| Some(capture.views.get(v)?.name.as_str()))
                .collect();
            Err(format!(
                "the model does not look at camera `{camera}`; it looks at {}",
                names.join(", ")
            ))
        }
    }
}

/// Steps are counted from 1, as in the window; `steps` is the length of the episode where it is known.
fn automatic_label(instruction: &str, frame: &Frame, steps: Option<usize>) -> String {
    let mut parts = Vec::new();
    if !instruction.is_empty() {
        parts.push(format!("“{instruction}”"));
    }
    let step = frame.step.saturating_add(1);
    parts.push(match steps {
        Some(steps) => format!("episode {}, step {step} of {steps}", frame.episode),
        None => format!("step {step}"),
    });
    parts.join(" · ")
}

/// One kind of box for the whole figure, so that its numbers can be compared.
fn reference(wanted: Reference, frames: &[ResolvedFrame]) -> Option<BoxKind> {
    let all = |kind| frames.iter().all(|f| f.reference(kind).is_some());
    let any = |kind| frames.iter().any(|f| f.reference(kind).is_some());
    let kinds: &[BoxKind] = match wanted {
        Reference::Truth => &[BoxKind::Truth],
        Reference::Detector => &[BoxKind::Detector],
        Reference::Auto => &[BoxKind::Truth, BoxKind::Detector],
    };
    kinds
        .iter()
        .copied()
        .find(|&k| all(k))
        .or_else(|| kinds.iter().copied().find(|&k| any(k)))
}

/// The heads of one arm and how they were chosen.
struct Heads {
    ids: Vec<HeadId>,
    from: String,
}

impl Heads {
    fn choose(recipe: &Recipe, index: usize, arm: &Arm, frames: &[ResolvedFrame]) -> Result<Self> {
        let selects = matches!(arm.selection.aggregate, Aggregate::Selected { .. });
        let shown = recipe
            .columns
            .iter()
            .any(|c| uses(c, index) && c.content.map() == Some(MapChoice::Selected));
        if !(selects && shown) {
            return Ok(Self {
                ids: Vec::new(),
                from: String::new(),
            });
        }
        if let Some(ids) = &arm.heads {
            let from = if arm.heads_from.is_empty() {
                "as named"
            } else {
                &arm.heads_from
            };
            return Ok(Self {
                ids: ids.clone(),
                from: from.to_owned(),
            });
        }
        let fail = |source| Error::Heads {
            arm: index + 1,
            source,
        };
        let looks: Vec<&ResolvedLook> = frames.iter().filter_map(|f| f.look(index)).collect();
        let scores = looks
            .iter()
            .map(|look| score_heads(&look.maps, None, &arm.selection))
            .collect::<Result<Vec<_>, _>>()
            .map_err(fail)?;
        let selected = select_heads(&scores, &arm.selection).map_err(fail)?;
        let frames = if looks.len() == 1 { "frame" } else { "frames" };
        Ok(Self {
            ids: selected.heads,
            from: format!("voted over the {} {frames} shown", looks.len()),
        })
    }
}

/// Makes the cells of one row.
struct Composer<'a> {
    recipe: &'a Recipe,
    /// From 1, for messages.
    row: usize,
    frame: &'a ResolvedFrame,
    heads: &'a [Heads],
    reference: Option<BoxKind>,
}

impl Composer<'_> {
    fn cell(&self, column: &Column) -> Result<Cell> {
        let frame = self.frame;
        let picture = frame.picture.clone();
        let Some(choice) = column.content.map() else {
            if picture.is_none() {
                return Err(self.missing("there is no picture; name a dataset"));
            }
            return Ok(Cell {
                picture,
                ..Cell::default()
            });
        };
        let look = self.look(column.arm)?;
        let selection = self.selection(column.arm, choice)?;
        // What is shown of a single head is what was captured; masks are cut from what the selection makes of it.
        let is_shown = matches!(
            column.content,
            Content::HeatMap(_) | Content::Map(_) | Content::Difference { .. }
        );
        let map = if is_shown {
            self.shown_map(column.arm, choice)?
        } else {
            self.map(column.arm, choice)?
        };
        let edges = PatchEdges::of(&look.grid);
        let quantity = self.quantity(column.arm, &selection.aggregate);
        let layer = |map: &HeatMap| MapLayer {
            map: Arc::new(map.clone()),
            edges: edges.clone(),
            quantity: quantity.clone(),
            is_signed: selection.aggregate == Aggregate::MeanSubtracted,
        };
        Ok(match column.content {
            Content::Picture => Cell {
                picture,
                ..Cell::default()
            },
            Content::HeatMap(_) | Content::Map(_) => {
                let numbers = self.numbers(look, &self.gaze(&map, &selection)?)?;
                Cell {
                    picture: picture.filter(|_| matches!(column.content, Content::HeatMap(_))),
                    map: Some(layer(&map)),
                    numbers: numbers.map(|n| CellNumbers { iou: None, ..n }),
                    ..Cell::default()
                }
            }
            Content::Mask(_) | Content::Compare(_) => {
                let gaze = self.gaze(&map, &selection)?;
                let numbers = self.numbers(look, &gaze)?;
                let compares = matches!(column.content, Content::Compare(_));
                let boxes = [
                    (BoxKind::Detector, frame.detector),
                    (BoxKind::Truth, frame.truth),
                ];
                Cell {
                    picture,
                    mask: Some(MaskLayer {
                        first: gaze.mask,
                        second: gaze.second,
                        edges,
                        is_spotlight: !compares,
                    }),
                    boxes: boxes
                        .into_iter()
                        .filter_map(|(k, r)| Some((k, r?)))
                        .filter(|_| compares)
                        .collect(),
                    numbers: numbers.map(|n| CellNumbers {
                        mass_inside: None,
                        ..n
                    }),
                    ..Cell::default()
                }
            }
            Content::Difference { minus, .. } => {
                let other = self.shown_map(minus, choice)?;
                let same =
                    other.grid == map.grid && PatchEdges::of(&self.look(minus)?.grid) == edges;
                if !same {
                    return Err(self.missing(
                        "the two arms look through different patch grids and cannot be subtracted",
                    ));
                }
                let values = map
                    .values
                    .iter()
                    .zip(&other.values)
                    .map(|(a, b)| a - b)
                    .collect();
                let map = HeatMap {
                    grid: map.grid,
                    values,
                };
                Cell {
                    map: Some(MapLayer {
                        quantity: format!("difference of {quantity}"),
                        is_signed: true,
                        ..layer(&map)
                    }),
                    ..Cell::default()
                }
            }
        })
    }

    fn missing(&self, what: &str) -> Error {
        Error::Missing {
            row: self.row,
            what: what.to_owned(),
        }
    }

    fn bad(&self, error: GroundingError) -> Error {
        Error::Frame {
            row: self.row,
            what: "no map can be made".to_owned(),
            source: error.into(),
        }
    }

    fn look(&self, arm: usize) -> Result<&ResolvedLook> {
        self.frame
            .look(arm)
            .ok_or_else(|| self.missing("there is no attention"))
    }

    fn selection(&self, arm: usize, choice: MapChoice) -> Result<HeadSelection> {
        let selection = &self
            .recipe
            .arms
            .get(arm)
            .ok_or_else(|| self.missing("there is no such arm"))?
            .selection;
        let aggregate = match choice {
            MapChoice::Selected => selection.aggregate,
            MapChoice::Mean => Aggregate::Naive,
            MapChoice::Head(id) => Aggregate::Head(id),
        };
        Ok(HeadSelection {
            aggregate,
            ..selection.clone()
        })
    }

    fn map(&self, arm: usize, choice: MapChoice) -> Result<HeatMap> {
        let selection = self.selection(arm, choice)?;
        let heads = self.heads.get(arm).map_or(&[][..], |h| &h.ids);
        heat_map(&self.look(arm)?.maps, heads, &selection).map_err(|e| self.bad(e))
    }

    fn shown_map(&self, arm: usize, choice: MapChoice) -> Result<HeatMap> {
        let MapChoice::Head(id) = choice else {
            return self.map(arm, choice);
        };
        let maps = &self.look(arm)?.maps;
        let weights = maps.head(id.layer.into(), id.head.into());
        if weights.is_empty() {
            let HeadId { layer, head } = id;
            return Err(self.missing(&format!(
                "no head {head} of layer {layer} among {} layers of {} heads",
                maps.n_layers, maps.n_heads
            )));
        }
        HeatMap::new(maps.grid, weights.iter().map(|&w| f64::from(w)).collect())
            .map_err(|e| self.bad(e))
    }

    /// The mask of a map; empty where the map shows no region, which is a miss and not an error.
    fn gaze(&self, map: &HeatMap, selection: &HeadSelection) -> Result<Gaze> {
        match Gaze::from_map_or_why(map.clone(), &selection.mask, selection.dilate) {
            Ok((_, Some(why)))
                if !matches!(why, GroundingError::EmptyMap | GroundingError::FlatMap) =>
            {
                Err(self.bad(why))
            }
            gaze => gaze.map(|(gaze, _)| gaze).map_err(|e| self.bad(e)),
        }
    }

    fn numbers(&self, look: &ResolvedLook, gaze: &Gaze) -> Result<Option<CellNumbers>> {
        let Some(truth) = self.reference.and_then(|kind| self.frame.reference(kind)) else {
            return Ok(None);
        };
        let metrics =
            frame_metrics(gaze, &look.grid.grid_from_image(truth)).map_err(|e| self.bad(e))?;
        Ok(Some(CellNumbers {
            iou: Some(metrics.mask_iou),
            mass_inside: Some(metrics.mass_inside),
            hit: metrics.pointing,
        }))
    }

    /// What the values of a map are.
    fn quantity(&self, arm: usize, aggregate: &Aggregate) -> String {
        let heads = match self.heads.get(arm).map_or(0, |h| h.ids.len()) {
            1 => "1 head".to_owned(),
            n => format!("{n} heads"),
        };
        match aggregate {
            Aggregate::Selected { normalise: false } => format!("attention, sum of {heads}"),
            Aggregate::Selected { normalise: true } => {
                format!("share of image attention, sum of {heads}")
            }
            Aggregate::Naive => "attention, mean of all heads".to_owned(),
            Aggregate::NaiveSinkFiltered => "attention without sinks, mean of all heads".to_owned(),
            Aggregate::Head(_) => "attention of one head".to_owned(),
            Aggregate::MeanSubtracted => "attention minus its mean over tokens".to_owned(),
            Aggregate::Relative { .. } => "attention relative to a generic prompt".to_owned(),
        }
    }
}

fn heading(recipe: &Recipe, column: &Column, frames: &[ResolvedFrame]) -> ColumnHead {
    let several = recipe.arms.len() > 1 && column.content.map().is_some();
    let name = |arm: usize| {
        let name = recipe
            .arms
            .get(arm)
            .map(|a| a.name.clone())
            .unwrap_or_default();
        match recipe.arms.get(arm) {
            Some(found) if name.is_empty() => found.look.name(),
            _ => name,
        }
    };
    let title = if column.title.is_empty() {
        automatic_title(recipe, column, frames, &name)
    } else {
        column.title.clone()
    };
    let arm = match column.content {
        Content::Difference { .. } => None,
        _ => several.then(|| name(column.arm)),
    };
    ColumnHead { arm, title }
}

fn automatic_title(
    recipe: &Recipe,
    column: &Column,
    frames: &[ResolvedFrame],
    name: &dyn Fn(usize) -> String,
) -> String {
    let selected = match recipe.arms.get(column.arm).map(|a| a.selection.aggregate) {
        Some(Aggregate::Naive) => "mean of all heads",
        Some(Aggregate::NaiveSinkFiltered) => "mean without sinks",
        Some(Aggregate::Head(_)) => "one head",
        Some(Aggregate::MeanSubtracted) => "mean-subtracted",
        Some(Aggregate::Relative { .. }) => "relative to a generic prompt",
        Some(Aggregate::Selected { .. }) | None => "selected heads",
    };
    let map = |choice: MapChoice| match choice {
        MapChoice::Selected => selected.to_owned(),
        MapChoice::Mean => "mean of all heads".to_owned(),
        MapChoice::Head(id) => {
            let look = frames.iter().find_map(|f| f.look(column.arm));
            let (layer, head) = model_numbers(look.map(|l| l.capture.as_ref()), id);
            format!("layer {layer}, head {head}")
        }
    };
    let of = |what: &str, choice: MapChoice| match choice {
        MapChoice::Selected => what.to_owned(),
        other => format!("{what}, {}", map(other)),
    };
    match column.content {
        Content::Picture => {
            let cameras: BTreeSet<&str> = frames.iter().map(|f| f.camera.as_str()).collect();
            match cameras.first() {
                Some(camera) if cameras.len() == 1 && !camera.is_empty() => {
                    format!("Camera {camera}")
                }
                _ => "Camera".to_owned(),
            }
        }
        Content::HeatMap(choice) | Content::Map(choice) => capitalised(&map(choice)),
        Content::Mask(choice) => of("Gaze mask", choice),
        Content::Compare(choice) => of("Mask and boxes", choice),
        Content::Difference { map: choice, minus } => {
            format!(
                "{}: {} − {}",
                capitalised(&map(choice)),
                name(column.arm),
                name(minus)
            )
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|c| c.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

/// Layer and head as the model counts them.
fn model_numbers(capture: Option<&Capture>, id: HeadId) -> (u32, u32) {
    let number = |all: Option<&Vec<u32>>, index: u16| {
        all.and_then(|a| a.get(usize::from(index)).copied())
            .unwrap_or_else(|| u32::from(index))
    };
    (
        number(capture.map(|c| &c.layers), id.layer),
        number(capture.map(|c| &c.heads), id.head),
    )
}

fn provenance(
    recipe: &Recipe,
    heads: &[Heads],
    frames: &[ResolvedFrame],
    reference: Option<BoxKind>,
) -> Provenance {
    let arms = recipe
        .arms
        .iter()
        .zip(heads)
        .enumerate()
        .filter_map(|(index, (arm, heads))| {
            let capture = &frames.iter().find_map(|f| f.look(index))?.capture;
            let own: BTreeSet<String> = recipe
                .frames
                .iter()
                .filter(|_| index == 0)
                .filter_map(|f| f.captures.as_deref())
                .map(recipe::short_path)
                .collect();
            let sources: BTreeSet<String> =
                if recipe.frames.iter().all(|f| f.captures.is_some()) && !own.is_empty() {
                    own
                } else {
                    arm.look
                        .path()
                        .map(recipe::short_path)
                        .into_iter()
                        .chain(own)
                        .collect()
                };
            let (ids, from) = (&heads.ids, &heads.from);
            let named = |id: &HeadId| {
                let (layer, head) = model_numbers(Some(capture), *id);
                format!("L{layer}H{head}")
            };
            Some(ArmProvenance {
                name: arm.name.clone(),
                model: if capture.model_id.is_empty() {
                    "unnamed".to_owned()
                } else {
                    capture.model_id.clone()
                },
                source: sources.into_iter().collect::<Vec<_>>().join(", "),
                query: arm.selection.query.to_string(),
                heads: ids.iter().map(named).collect(),
                heads_from: from.clone(),
                selection_id: selection_id(&arm.selection),
                selection: arm.selection.clone(),
            })
        })
        .collect();
    let datasets: BTreeSet<String> = frames.iter().filter_map(|f| f.dataset.clone()).collect();
    Provenance {
        arms,
        datasets: datasets.into_iter().collect(),
        frames: recipe
            .frames
            .iter()
            .zip(frames)
            .map(|(wanted, found)| FrameProvenance {
                dataset: found.dataset.clone().unwrap_or_default(),
                episode: wanted.episode,
                step: wanted.step,
                camera: found.camera.clone(),
            })
            .collect(),
        reference,
        gazelab: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn selection_id(selection: &HeadSelection) -> String {
    // Compact RON names every field in the order of the struct, so equal selections give equal text.
    let text = ron::to_string(selection).unwrap_or_default();
    Sha256::digest(text.as_bytes())
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_that_differ_have_other_ids() {
        let a = HeadSelection::default();
        let b = HeadSelection { k: 4, ..a.clone() };
        assert_eq!(selection_id(&a), selection_id(&a.clone()));
        assert_ne!(selection_id(&a), selection_id(&b));
        assert_eq!(selection_id(&a).len(), 8);
    }
}
