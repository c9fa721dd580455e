//! A figure with everything it shows at hand: no path, no model, no choice left to make.

use std::sync::Arc;

use episode::Image;
use grounding::{HeadSelection, HeatMap, Mask, Rect};
use serde::Serialize;

/// What [`crate::render`] sets. Rows from top to bottom; every row has one cell per column.
#[derive(Clone, Debug, Default)]
pub struct FigureData {
    /// Set in bold above; empty for none.
    pub title: String,
    /// Set below; empty for none.
    pub caption: String,
    /// Headings, left to right.
    pub columns: Vec<ColumnHead>,
    /// Frames, top to bottom.
    pub rows: Vec<Row>,
    /// What numbers under the cells compare with; `None` when nothing is compared.
    pub reference: Option<BoxKind>,
    /// Where it all comes from.
    pub provenance: Provenance,
}

/// The heading of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnHead {
    /// The arm, where several are compared; set in bold.
    pub arm: Option<String>,
    /// What the column shows.
    pub title: String,
}

/// One frame.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Set above the cells; empty for none.
    pub label: String,
    /// Height over width of the picture, the same for all cells of the row.
    pub aspect: f64,
    /// One per column.
    pub cells: Vec<Cell>,
}

/// One frame looked at in one way. Layers are drawn in the order of the fields.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// The camera picture; grey without one, unless a heat map fills the cell.
    pub picture: Option<Arc<Image>>,
    /// A heat map: over a picture in the opacity of the style, without one in its exact colours.
    pub map: Option<MapLayer>,
    /// A mask.
    pub mask: Option<MaskLayer>,
    /// Boxes, normalised to the picture.
    pub boxes: Vec<(BoxKind, Rect)>,
    /// Numbers set below.
    pub numbers: Option<CellNumbers>,
}

/// Where the patches of a grid lie in the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchEdges {
    /// `cols + 1` ascending vertical lines, normalised to the width of the picture.
    pub x: Vec<f64>,
    /// `rows + 1` ascending horizontal lines, normalised to its height.
    pub y: Vec<f64>,
}

impl PatchEdges {
    /// The lines of a captured grid.
    #[must_use]
    pub fn of(grid: &grounding::ViewGrid) -> Self {
        Self {
            x: grid.edges_x(),
            y: grid.edges_y(),
        }
    }
}

/// A heat map and where it lies.
#[derive(Clone, Debug)]
pub struct MapLayer {
    /// The values.
    pub map: Arc<HeatMap>,
    /// Where its patches lie.
    pub edges: PatchEdges,
    /// What the values are, for the colour bar, such as "attention, sum of 3 heads".
    pub quantity: String,
    /// Whether zero is the middle of the scale.
    pub is_signed: bool,
}

/// A mask and where it lies.
#[derive(Clone, Debug)]
pub struct MaskLayer {
    /// The mask, or the first of two regions.
    pub first: Mask,
    /// The second region.
    pub second: Option<Mask>,
    /// Where its patches lie.
    pub edges: PatchEdges,
    /// Whether the picture is darkened outside.
    pub is_spotlight: bool,
}

/// Where a box comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum BoxKind {
    /// A detector such as Grounding DINO.
    Detector,
    /// The exact mask of the target.
    Truth,
}

impl BoxKind {
    /// What it is called in the figure.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Detector => "detector box",
            Self::Truth => "ground-truth box",
        }
    }
}

/// Numbers of one cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CellNumbers {
    /// Intersection over union of mask and reference box; for cells that show the mask.
    pub iou: Option<f64>,
    /// Share of the map's mass inside the reference box; for cells that show the map.
    pub mass_inside: Option<f64>,
    /// Whether the brightest patch lies inside the reference box.
    pub hit: bool,
}

/// Where a figure comes from: set below it, and kept in the metadata of every file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Provenance {
    /// One per model or capture file.
    pub arms: Vec<ArmProvenance>,
    /// Names of the datasets.
    pub datasets: Vec<String>,
    /// The frames, top to bottom.
    pub frames: Vec<FrameProvenance>,
    /// What numbers compare with.
    pub reference: Option<BoxKind>,
    /// Version of the program.
    pub gazelab: String,
}

/// Where one row comes from. Indices count from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FrameProvenance {
    /// Name of the dataset, empty for a capture without pictures.
    pub dataset: String,
    /// Episode index.
    pub episode: usize,
    /// Step within the episode.
    pub step: usize,
    /// Camera by name.
    pub camera: String,
}

/// Where the attention of one arm comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ArmProvenance {
    /// Its name in the figure.
    pub name: String,
    /// The model, as it calls itself.
    pub model: String,
    /// Run and step of the checkpoint, or name of the capture file. No more of the path than that, so that a figure
    /// says nothing about whose computer it was made on.
    pub source: String,
    /// The token that looks.
    pub query: String,
    /// The selected heads in numbers of the model, such as "L2H0"; empty where none are selected.
    pub heads: Vec<String>,
    /// How they came to be selected.
    pub heads_from: String,
    /// First eight hexadecimal digits of the SHA-256 of the selection, to tell two figures apart at a glance.
    pub selection_id: String,
    /// Every threshold.
    pub selection: HeadSelection,
}

impl Provenance {
    /// In one line.
    #[must_use]
    pub fn line(&self) -> String {
        let mut parts = Vec::new();
        for arm in &self.arms {
            let mut text = String::new();
            if self.arms.len() > 1 && !arm.name.is_empty() {
                text = format!("{}: ", arm.name);
            }
            text.push_str(&format!("model {}", arm.model));
            if !arm.source.is_empty() {
                text.push_str(&format!(", {}", arm.source));
            }
            text.push_str(&format!(", query {}", arm.query));
            if !arm.heads.is_empty() {
                text.push_str(&format!(
                    ", heads {} ({})",
                    arm.heads.join(" "),
                    arm.heads_from
                ));
            }
            // The token is said above.
            let thresholds = HeadSelection {
                query: Default::default(),
                ..arm.selection.clone()
            };
            text.push_str(&format!(", selection {thresholds} ({})", arm.selection_id));
            parts.push(text);
        }
        if !self.datasets.is_empty() {
            parts.push(format!("data {}", self.datasets.join(", ")));
        }
        parts.push(format!("Gazelab {}", self.gazelab));
        parts.join(" · ")
    }

    /// As JSON, with every threshold.
    #[must_use]
    pub fn json(&self) -> String {
        // Strings, numbers and enums without maps: nothing that JSON cannot hold.
        serde_json::to_string(self).unwrap_or_default()
    }
}
