use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::maps::{check_rows, sum};
use crate::selection::{Aggregate, HeadSelection, QuerySelector};
use crate::{Error, Grid, HeadMaps, Rect, Result, Sinks};

/// What a token stands for. The numbers are those of `attncap/1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum TokenRole {
    /// A piece of the instruction or of the prompt around it.
    #[default]
    Text = 0,
    /// A patch of an image.
    Image = 1,
    /// A piece of an action, or the token an action is read from.
    Action = 2,
    /// Proprioception.
    State = 3,
    /// Begin, end and other markers.
    Special = 4,
    /// Padding.
    Pad = 5,
}

impl TokenRole {
    /// Role with this number in a file.
    pub fn from_u8(number: u8) -> Option<Self> {
        [
            Self::Text,
            Self::Image,
            Self::Action,
            Self::State,
            Self::Special,
            Self::Pad,
        ]
        .get(usize::from(number))
        .copied()
    }
}

/// One camera as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct View {
    /// Camera name.
    pub name: String,
    /// Width of the original image in pixels.
    pub width: u32,
    /// Height of the original image in pixels.
    pub height: u32,
}

/// One token that is looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Key {
    /// Its text, empty where it has none.
    pub token: String,
    /// What it stands for.
    pub role: TokenRole,
    /// Index of its camera in [`Capture::views`].
    pub view: Option<usize>,
    /// Where it lies in the original image of its camera.
    pub rect: Option<Rect>,
}

/// One token that looks: one captured attention row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Position in the sequence the model saw.
    pub position: usize,
    /// Its text, empty where it has none.
    pub token: String,
    /// What it stands for.
    pub role: TokenRole,
}

/// A box of a detector on one view.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// Where, in the original image.
    pub rect: Rect,
    /// Of what.
    pub label: String,
    /// How sure, in [0, 1].
    pub score: f32,
    /// Index of the view.
    pub view: usize,
}

/// What [`Capture::new`] checks and takes. Fields as in [`Capture`].
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "documented at Capture")]
pub struct CaptureParts {
    pub model_id: String,
    pub source: String,
    pub instruction: String,
    pub step: u64,
    pub layers: Vec<u32>,
    pub heads: Vec<u32>,
    pub views: Vec<View>,
    pub queries: Vec<Query>,
    pub keys: Vec<Key>,
    pub attn: Vec<f32>,
    pub boxes: Vec<Detection>,
    pub action: Option<Vec<f32>>,
    pub sinks: Option<Sinks>,
}

/// Attention of one model on one frame, and for every token looked at, which box of which original image it is.
///
/// A live model, a training probe and a recorded file all yield this; nothing downstream asks where it came from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Capture {
    /// Name of the model.
    pub model_id: String,
    /// Dataset, episode and cameras it looked at, for people to read.
    pub source: String,
    /// What it was told to do.
    pub instruction: String,
    /// Step of the episode.
    pub step: u64,
    /// Number in the model of every captured layer, ascending.
    pub layers: Vec<u32>,
    /// Number in its layer of every captured head.
    pub heads: Vec<u32>,
    /// Cameras.
    pub views: Vec<View>,
    /// Captured rows.
    pub queries: Vec<Query>,
    /// Tokens looked at.
    pub keys: Vec<Key>,
    /// Post-softmax weights `[layers, heads, queries, keys]`.
    pub attn: Arc<[f32]>,
    /// Boxes recorded with the attention.
    pub boxes: Vec<Detection>,
    /// Action the model chose, where recorded.
    pub action: Option<Vec<f32>>,
    /// Sink tokens among the keys, where measured.
    pub sinks: Option<Sinks>,
}

/// The patch grid of one view within a capture.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewGrid {
    /// Rows and columns.
    pub grid: Grid,
    /// Index of the key of every patch, row-major.
    pub key_of_patch: Vec<usize>,
    /// Where every patch lies in the original image.
    pub rects: Vec<Rect>,
}

/// Layers, heads and grids of a frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Form {
    layers: Vec<u32>,
    heads: Vec<u32>,
    /// Per view; `None` for one without image tokens, or whose tokens form no full grid.
    grids: Vec<Option<Grid>>,
}

impl Form {
    pub(crate) fn of(layers: &[u32], heads: &[u32], views: &[View], keys: &[Key]) -> Self {
        let grid = |view| ViewGrid::of(keys, view).ok().map(|found| found.grid);
        Self {
            layers: layers.to_vec(),
            heads: heads.to_vec(),
            grids: (0..views.len()).map(grid).collect(),
        }
    }

    /// The tensor in which a frame differs from the first one of its file, and how.
    pub(crate) fn difference(
        &self,
        first: &Self,
        views: &[View],
    ) -> Option<(&'static str, String)> {
        let numbers = [
            ("lm.layers", "layers", &self.layers, &first.layers),
            ("lm.heads", "heads", &self.heads, &first.heads),
        ];
        for (tensor, what, own, theirs) in numbers {
            if own != theirs {
                return Some((tensor, format!("{what} {own:?} instead of {theirs:?}")));
            }
        }
        let size = |grid: &Option<Grid>| match grid {
            Some(Grid { rows, cols }) => format!("{rows} × {cols} patches"),
            None => "no full grid".into(),
        };
        let mut grids = views.iter().zip(&self.grids).zip(&first.grids);
        let ((view, own), theirs) = grids.find(|((_, own), theirs)| own != theirs)?;
        let difference = format!(
            "{} of view {} instead of {}",
            size(own),
            view.name,
            size(theirs)
        );
        Some(("key_box", difference))
    }
}

/// What is wrong with the parts of a capture, and which tensor of a file would hold it.
pub(crate) struct Fault {
    pub(crate) tensor: &'static str,
    /// Where in it, e.g. ` at key 7`; may be empty.
    pub(crate) at: String,
    pub(crate) error: Error,
}

impl Fault {
    fn new(tensor: &'static str, error: Error) -> Box<Self> {
        Box::new(Self {
            tensor,
            at: String::new(),
            error,
        })
    }

    fn at(tensor: &'static str, place: String, error: Error) -> Box<Self> {
        Box::new(Self {
            tensor,
            at: format!(" at {place}"),
            error,
        })
    }
}

impl Capture {
    /// A capture from its parts. Boxes are rounded to f32, so that a capture equals itself read back from a file.
    ///
    /// # Errors
    /// [`Error::Shape`] when lengths do not fit or a key, box, action or layer number is not what it should be;
    /// [`Error::NonFinite`], [`Error::Negative`], [`Error::RowSum`] when the weights are not rows of a softmax;
    /// [`Error::Box`] for a box that is none.
    pub fn new(parts: CaptureParts) -> Result<Self> {
        Self::checked(parts).map_err(|fault| fault.error)
    }

    /// The same, with the tensor of a capture file that is to blame.
    pub(crate) fn checked(parts: CaptureParts) -> Result<Self, Box<Fault>> {
        let CaptureParts {
            model_id,
            source,
            instruction,
            step,
            layers,
            heads,
            views,
            queries,
            mut keys,
            attn,
            mut boxes,
            action,
            sinks,
        } = parts;
        let shape = [layers.len(), heads.len(), queries.len(), keys.len()];
        let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if len != Some(attn.len()) || attn.is_empty() {
            let n = attn.len();
            let shape = format!("{n} weights for [layers, heads, queries, keys] = {shape:?}");
            return Err(Fault::new("lm.attn", Error::Shape(shape)));
        }
        if !layers.is_sorted_by(|a, b| a < b) {
            let layers = format!("layer numbers {layers:?} do not ascend");
            return Err(Fault::new("lm.layers", Error::Shape(layers)));
        }
        let no_view = |what| {
            Error::Shape(format!(
                "{what} belongs to none of the {} views",
                views.len()
            ))
        };
        for (index, key) in keys.iter_mut().enumerate() {
            if key.view.is_some_and(|view| view >= views.len()) {
                let error = no_view(format!("key {index}"));
                return Err(Fault::new("key_view", error));
            }
            if let Some(rect) = &mut key.rect {
                let stored = rect.as_stored();
                *rect = stored.map_err(|e| Fault::at("key_box", format!("key {index}"), e))?;
            }
        }
        for (index, detection) in boxes.iter_mut().enumerate() {
            let stored = detection.rect.as_stored();
            detection.rect = stored.map_err(|e| Fault::at("boxes", format!("box {index}"), e))?;
            if detection.view >= views.len() {
                let error = no_view(format!("box {index}"));
                return Err(Fault::new("box_view", error));
            }
            if !detection.score.is_finite() {
                let score = format!("box {index} has the score {}", detection.score);
                return Err(Fault::new("box_score", Error::Shape(score)));
            }
        }
        for (index, value) in action.iter().flatten().enumerate() {
            if !value.is_finite() {
                let value = format!("value {index} of the action is {value}");
                return Err(Fault::new("action", Error::Shape(value)));
            }
        }
        if let Some(sinks) = &sinks {
            let phi: &[f64] = match sinks {
                Sinks::Verdict(_) => &[],
                Sinks::Phi { phi, .. } => phi,
            };
            let tensor = match sinks {
                Sinks::Verdict(_) => "key_sink",
                Sinks::Phi { .. } => "key_sink_phi",
            };
            if sinks.len() != keys.len() {
                let lengths = format!("{} sink tokens for {} keys", sinks.len(), keys.len());
                return Err(Fault::new(tensor, Error::Shape(lengths)));
            }
            if let Some(key) = phi.iter().position(|phi| !phi.is_finite() || *phi < 0.0) {
                let value = format!("key {key} has φ = {}", phi[key]);
                return Err(Fault::new(tensor, Error::Shape(value)));
            }
        }
        check_rows(&attn, keys.len()).map_err(|error| {
            let (row, key) = match error {
                Error::RowSum { row, .. } => (row, None),
                _ => {
                    let index = error.index().unwrap_or(0);
                    (index / keys.len(), Some(index % keys.len()))
                }
            };
            let (map, query) = (row / queries.len(), row % queries.len());
            let (layer, head) = (layers[map / heads.len()], heads[map % heads.len()]);
            let place = format!("layer {layer}, head {head}, query {query}");
            let key = key.map_or_else(String::new, |key| format!(", key {key}"));
            Fault::at("lm.attn", place + &key, error)
        })?;
        Ok(Self {
            model_id,
            source,
            instruction,
            step,
            layers,
            heads,
            views,
            queries,
            keys,
            attn: attn.into(),
            boxes,
            action,
            sinks,
        })
    }

    /// Index of the row the action is read from: the first action token, else the last captured row.
    pub fn default_query(&self) -> usize {
        let action = self
            .queries
            .iter()
            .position(|q| q.role == TokenRole::Action);
        action.unwrap_or(self.queries.len().saturating_sub(1))
    }

    /// Index of the row a selection asks for.
    ///
    /// # Errors
    /// [`Error::NoQuery`] when it was not captured.
    pub fn query(&self, selector: &QuerySelector) -> Result<usize> {
        match selector {
            QuerySelector::ReadOut => Ok(self.default_query()),
            QuerySelector::Last => Ok(self.queries.len().saturating_sub(1)),
            QuerySelector::Index(index) if *index < self.queries.len() => Ok(*index),
            QuerySelector::Index(index) => Err(Error::NoQuery(format!(
                "query {index}, there are {}",
                self.queries.len()
            ))),
            QuerySelector::Token(token) => {
                let plain = |text: &str| text.trim_matches(['Ġ', '▁', ' ']).to_lowercase();
                let wanted = plain(token);
                let found = self.queries.iter().rposition(|q| plain(&q.token) == wanted);
                found.ok_or_else(|| Error::NoQuery(format!("token `{token}`")))
            }
        }
    }

    /// Views that have image tokens, ascending.
    pub fn grid_views(&self) -> Vec<usize> {
        (0..self.views.len())
            .filter(|&view| self.image_keys(view).next().is_some())
            .collect()
    }

    fn image_keys(&self, view: usize) -> impl Iterator<Item = (usize, Rect)> {
        image_keys(&self.keys, view)
    }

    /// Rebuilds the patch grid of a view from the boxes of its keys, in whatever order they come.
    ///
    /// # Errors
    /// [`Error::NoView`] without image tokens, [`Error::NotAGrid`] when the boxes leave a gap or lie twice on one spot,
    /// as with tiles of several resolutions.
    pub fn view_grid(&self, view: usize) -> Result<ViewGrid> {
        let name = || {
            let view_of = self.views.get(view);
            view_of.map_or_else(|| view.to_string(), |v| v.name.clone())
        };
        if self.image_keys(view).next().is_none() {
            return Err(Error::NoView(name()));
        }
        ViewGrid::of(&self.keys, view).map_err(|reason| Error::NotAGrid {
            view: name(),
            step: self.step,
            reason,
        })
    }

    /// What must be the same in all frames that are evaluated together, or lie in one file.
    pub(crate) fn form(&self) -> Form {
        Form::of(&self.layers, &self.heads, &self.views, &self.keys)
    }

    /// Attention of one query to the patches of one view, for all heads.
    ///
    /// # Errors
    /// [`Error::NoQuery`], or what [`Capture::view_grid`] says.
    pub fn head_maps(&self, query: usize, view: usize) -> Result<HeadMaps> {
        self.head_maps_on(query, &self.view_grid(view)?)
    }

    /// The same on a grid that is already known, as when many queries of one view are read.
    ///
    /// # Errors
    /// [`Error::NoQuery`].
    pub fn head_maps_on(&self, query: usize, view: &ViewGrid) -> Result<HeadMaps> {
        if query >= self.queries.len() {
            return Err(Error::NoQuery(format!(
                "query {query}, there are {}",
                self.queries.len()
            )));
        }
        let patches = &view.key_of_patch;
        view.grid.check_len(patches.len())?;
        if patches.iter().any(|&key| key >= self.keys.len()) {
            return Err(Error::Shape("the grid belongs to another capture".into()));
        }
        let mut data = Vec::with_capacity(self.layers.len() * self.heads.len() * patches.len());
        for row in self.rows_of(query) {
            data.extend(patches.iter().map(|&key| row[key]));
        }
        let maps = HeadMaps::trusted(
            view.grid,
            self.layers.as_slice().into(),
            self.heads.len(),
            data.into(),
        )?;
        match self.sinks.as_ref().and_then(|s| s.gather(patches)) {
            Some(sinks) => maps.with_sinks(sinks),
            None => Ok(maps),
        }
    }

    /// The maps a selection works on: its query token, and the mean over query tokens where it subtracts that.
    ///
    /// # Errors
    /// As [`Capture::head_maps`]; [`Error::Shape`] when a mean over queries is needed and there is only one.
    pub fn head_maps_for(&self, selection: &HeadSelection, view: usize) -> Result<HeadMaps> {
        let grid = self.view_grid(view)?;
        let maps = self.head_maps_on(self.query(&selection.query)?, &grid)?;
        match selection.aggregate {
            Aggregate::MeanSubtracted => maps.with_baseline(self.mean_over_queries(&grid)?),
            _ => Ok(maps),
        }
    }

    /// Mean over layers, heads and all captured queries, per patch.
    ///
    /// # Errors
    /// [`Error::Shape`] with fewer than two queries.
    pub fn mean_over_queries(&self, view: &ViewGrid) -> Result<Vec<f64>> {
        if self.queries.len() < 2 {
            return Err(Error::Shape(
                "a mean over query tokens needs at least two captured rows".into(),
            ));
        }
        let patches = &view.key_of_patch;
        let mut total = vec![0.0; patches.len()];
        for row in self.attn.chunks_exact(self.keys.len().max(1)) {
            for (sum, &key) in total.iter_mut().zip(patches) {
                *sum += f64::from(row.get(key).copied().unwrap_or(0.0));
            }
        }
        let rows = (self.layers.len() * self.heads.len() * self.queries.len()) as f64;
        total.iter_mut().for_each(|sum| *sum /= rows);
        Ok(total)
    }

    /// Share of attention that one query of one head gives to every role, in the order of [`TokenRole`].
    pub fn attention_by_role(&self, layer: usize, head: usize, query: usize) -> Option<[f64; 6]> {
        let row = self.row(layer, head, query)?;
        let mut share = [0.0; 6];
        for (key, &weight) in self.keys.iter().zip(row) {
            share[key.role as usize] += f64::from(weight);
        }
        Some(share)
    }

    /// One attention row `[keys]`.
    pub fn row(&self, layer: usize, head: usize, query: usize) -> Option<&[f32]> {
        let inside =
            layer < self.layers.len() && head < self.heads.len() && query < self.queries.len();
        if !inside {
            return None;
        }
        let row = (layer * self.heads.len() + head) * self.queries.len() + query;
        self.attn
            .get(row * self.keys.len()..(row + 1) * self.keys.len())
    }

    /// Share of attention, averaged over all heads, that one query gives to one view.
    pub fn view_share(&self, query: usize, view: usize) -> f64 {
        let keys: Vec<usize> = self.image_keys(view).map(|(key, _)| key).collect();
        let mut weights = Vec::with_capacity(keys.len());
        let mut total = 0.0;
        for row in self.rows_of(query) {
            weights.clear();
            weights.extend(keys.iter().map(|&key| row[key]));
            total += sum(&weights);
        }
        total / (self.layers.len() * self.heads.len()) as f64
    }

    /// Rows `[keys]` of one query, layer by layer and head by head.
    fn rows_of(&self, query: usize) -> impl Iterator<Item = &[f32]> {
        let stride = self.queries.len().max(1);
        self.attn
            .chunks_exact(self.keys.len().max(1))
            .skip(query)
            .step_by(stride)
    }
}

/// Keys that have a place in a view, and that place.
fn image_keys(keys: &[Key], view: usize) -> impl Iterator<Item = (usize, Rect)> {
    let keys = keys.iter().enumerate();
    keys.filter(move |(_, key)| key.view == Some(view))
        .filter_map(|(i, key)| Some((i, key.rect?)))
}

impl ViewGrid {
    /// The grid that the boxes of a view form, or why they form none.
    fn of(keys: &[Key], view: usize) -> Result<Self, String> {
        let keys: Vec<(usize, Rect)> = image_keys(keys, view).collect();
        let xs = Lines::of(keys.iter().map(|(_, r)| (r.x0, r.x1))).ok_or("a token has no width")?;
        let ys =
            Lines::of(keys.iter().map(|(_, r)| (r.y0, r.y1))).ok_or("a token has no height")?;
        let grid = Grid::new(ys.count(), xs.count());
        if grid.is_empty() || grid.len() != keys.len() {
            return Err(format!(
                "{} tokens for {} rows and {} columns",
                keys.len(),
                grid.rows,
                grid.cols
            ));
        }
        let mut cells = vec![None; grid.len()];
        for (key, rect) in keys {
            let (row, col) = (ys.index(rect.y0, rect.y1), xs.index(rect.x0, rect.x1));
            let cell = &mut cells[row * grid.cols + col];
            if let Some((first, _)) = cell {
                return Err(format!(
                    "tokens {first} and {key} are both in row {row}, column {col}"
                ));
            }
            *cell = Some((key, rect));
        }
        // As many tokens as cells and no cell twice, so none is empty.
        let (key_of_patch, rects) = cells.into_iter().flatten().unzip();
        Ok(Self {
            grid,
            key_of_patch,
            rects,
        })
    }

    /// Turns a box on the grid (normalised to its extent) into one on the original image. They differ where the model
    /// saw a padded, squashed or cropped image.
    pub fn image_from_grid(&self, rect: Rect) -> Rect {
        let (x, y) = (self.edges_x(), self.edges_y());
        Rect::new(
            at(&x, rect.x0),
            at(&y, rect.y0),
            at(&x, rect.x1),
            at(&y, rect.y1),
        )
    }

    /// Turns a box on the original image into one on the grid, clipped to its extent.
    pub fn grid_from_image(&self, rect: Rect) -> Rect {
        let (x, y) = (self.edges_x(), self.edges_y());
        Rect::new(
            find(&x, rect.x0),
            find(&y, rect.y0),
            find(&x, rect.x1),
            find(&y, rect.y1),
        )
    }

    /// The `cols + 1` vertical lines between the patches, normalised to the width of the original image.
    pub fn edges_x(&self) -> Vec<f64> {
        let row = self.rects.get(..self.grid.cols).unwrap_or_default();
        row.iter()
            .map(|r| r.x0)
            .chain(row.last().map(|r| r.x1))
            .collect()
    }

    /// The `rows + 1` horizontal lines between the patches, normalised to the height of the original image.
    pub fn edges_y(&self) -> Vec<f64> {
        let column = self.rects.iter().step_by(self.grid.cols.max(1));
        column
            .map(|r| r.y0)
            .chain(self.rects.last().map(|r| r.y1))
            .collect()
    }
}

/// Value at the share `t` of a list of edges.
fn at(edges: &[f64], t: f64) -> f64 {
    let cells = edges.len().saturating_sub(1);
    let position = t.clamp(0.0, 1.0) * cells as f64;
    let cell = (position as usize).min(cells.saturating_sub(1));
    match (edges.get(cell), edges.get(cell + 1)) {
        (Some(a), Some(b)) => a + (b - a) * (position - cell as f64),
        _ => t,
    }
}

/// Share of a list of edges at which a value lies.
fn find(edges: &[f64], value: f64) -> f64 {
    let cells = edges.len().saturating_sub(1);
    let cell = edges
        .partition_point(|&edge| edge <= value)
        .clamp(1, cells.max(1))
        - 1;
    match (edges.get(cell), edges.get(cell + 1)) {
        (Some(a), Some(b)) if b > a => {
            ((cell as f64 + (value - a) / (b - a)) / cells as f64).clamp(0.0, 1.0)
        }
        _ => value,
    }
}

/// The rows, or the columns, that a set of boxes falls into.
struct Lines {
    /// Centre of every line, ascending.
    centres: Vec<f64>,
}

impl Lines {
    /// Groups intervals whose centres are nearer than half the narrowest one; `None` when one has no extent.
    fn of(intervals: impl Iterator<Item = (f64, f64)> + Clone) -> Option<Self> {
        let narrowest = intervals
            .clone()
            .map(|(a, b)| b - a)
            .fold(f64::INFINITY, f64::min);
        if narrowest <= 0.0 {
            return None;
        }
        let mut centres: Vec<f64> = intervals.map(|(a, b)| (a + b) / 2.0).collect();
        centres.sort_unstable_by(f64::total_cmp);
        centres.dedup_by(|next, kept| *next - *kept < narrowest / 2.0);
        Some(Self { centres })
    }

    fn count(&self) -> usize {
        self.centres.len()
    }

    /// Index of the nearest line.
    fn index(&self, a: f64, b: f64) -> usize {
        let centre = (a + b) / 2.0;
        let right = self.centres.partition_point(|&c| c < centre);
        let left = right.saturating_sub(1);
        match (self.centres.get(left), self.centres.get(right)) {
            (Some(l), Some(r)) if r - centre < centre - l => right,
            _ => left,
        }
    }
}
