//! How well a gaze agrees with a box.

use serde::Serialize;

use crate::{Error, Gaze, Grid, HeatMap, Mask, Rect, Result};

/// Mass that the threshold mask of DINO keeps.
const DINO_MASS: f64 = 0.6;

/// Patches by which a box grows on every side for a hit with slack. Stems and two-way attention smear an object into its
/// neighbours, so an exact patch is a hard test of small grids.
pub(crate) const HIT_SLACK: f64 = 1.0;

/// One frame against one box.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FrameMetrics {
    /// Intersection over union of mask and box; patches count by the share of their area inside the box.
    pub mask_iou: f64,
    /// Intersection in patches.
    pub intersection: f64,
    /// Union in patches.
    pub union: f64,
    /// Intersection over union of the mask's box with the box; 0 without a mask.
    pub box_iou: f64,
    /// Pointing game: the centre of the brightest patch lies in the box.
    pub pointing: bool,
    /// The same with the box grown by one patch on every side.
    pub pointing_slack: bool,
    /// Share of the map's mass inside the box (energy pointing game).
    pub mass_inside: f64,
    /// The same divided by the box's share of the image; 1 is chance. NaN for a box without area.
    pub lift: f64,
    /// Intersection over union of the box with the mask that keeps 60 % of the mass, whatever mask rule is set.
    pub dino_iou: f64,
    /// Whether the mask holds a patch.
    pub found: bool,
    /// The same map rule under another instruction; `None` where the frame was not seen under one.
    pub swapped: Option<SwapMetrics>,
}

/// What is left of a frame's gaze under another instruction, against the box of the original one. A gaze that follows
/// language leaves; one that stays was led by salience, and its hits prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SwapMetrics {
    /// The brightest patch still lies in the original box.
    pub pointing: bool,
    /// The same with one patch of slack.
    pub pointing_slack: bool,
    /// Intersection over union of the masks under both instructions.
    pub mask_overlap: f64,
}

impl SwapMetrics {
    /// Compares the gaze of a frame with that under another instruction.
    ///
    /// # Errors
    /// [`Error::Box`] when `truth` is not a box, [`Error::Shape`] when the gazes are on different grids.
    pub fn new(gaze: &Gaze, swapped: &Gaze, truth: &Rect) -> Result<Self> {
        let truth = truth.clipped()?;
        let grid = swapped.map.grid;
        let hit = |slack| {
            swapped
                .peak
                .is_some_and(|peak| peak_hits(peak, grid, &truth, slack))
        };
        Ok(Self {
            pointing: hit(0.0),
            pointing_slack: hit(HIT_SLACK),
            mask_overlap: gaze.mask.iou(&swapped.mask)?,
        })
    }
}

/// Means over the frames of a dataset. All NaN without a frame.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DatasetMetrics {
    /// Frames with a box to compare with.
    pub frames: usize,
    /// Mean IoU of mask and box (`gIoU` of LISA; not generalised IoU).
    pub mean_iou: f64,
    /// Standard error of [`DatasetMetrics::mean_iou`] over frames; NaN below two frames. Frames of one episode
    /// resemble each other, so this is a lower bound.
    pub iou_sem: f64,
    /// Sum of intersections over sum of unions (`cIoU` of LISA).
    pub overall_iou: f64,
    /// Mean IoU of the mask's box.
    pub box_iou: f64,
    /// Share of frames whose box IoU is at least 0.5.
    pub box_recall: f64,
    /// Share of frames whose brightest patch lies in the box.
    pub pointing: f64,
    /// The same with one patch of slack.
    pub pointing_slack: f64,
    /// Mean share of the mass inside the box.
    pub mass_inside: f64,
    /// Mean lift, over frames whose box has an area.
    pub lift: f64,
    /// Mean IoU of the 60 % mask.
    pub dino_iou: f64,
    /// Frames whose map shows no region; they count as misses above.
    pub empty: usize,
    /// Means over the frames that were also seen under another instruction; `None` without one.
    pub swapped: Option<SwapSummary>,
}

/// Means of [`SwapMetrics`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SwapSummary {
    /// Frames seen under both instructions.
    pub frames: usize,
    /// Share of them whose brightest patch stays in the original box.
    pub pointing: f64,
    /// The same with one patch of slack.
    pub pointing_slack: f64,
    /// Mean overlap of the two masks.
    pub mask_overlap: f64,
}

/// Compares one gaze with one box. The first region counts where there are two.
///
/// # Errors
/// [`Error::Box`] when `truth` is not a box, [`Error::Shape`] when the parts of the gaze do not fit together.
pub fn frame_metrics(gaze: &Gaze, truth: &Rect) -> Result<FrameMetrics> {
    let truth = truth.clipped()?;
    let map = &gaze.map;
    let grid = map.grid;
    grid.check_len(map.values.len())?;
    let overlap = overlap_fraction(&truth, grid)?;
    let (intersection, union) = iou_parts(&gaze.mask, &overlap, &truth, grid)?;
    let mass_inside = mass_inside(map, &overlap);
    let area = truth.area();
    let (dino_inter, dino_union) = iou_parts(
        &map.quantised()?.keep_mass(DINO_MASS)?,
        &overlap,
        &truth,
        grid,
    )?;
    let hit = |slack| {
        gaze.peak
            .is_some_and(|peak| peak_hits(peak, grid, &truth, slack))
    };
    Ok(FrameMetrics {
        mask_iou: ratio(intersection, union),
        intersection,
        union,
        box_iou: gaze.rect.map_or(Ok(0.0), |rect| rect.iou(truth))?,
        pointing: hit(0.0),
        pointing_slack: hit(HIT_SLACK),
        mass_inside,
        lift: if area > 0.0 {
            mass_inside / area
        } else {
            f64::NAN
        },
        dino_iou: ratio(dino_inter, dino_union),
        found: !gaze.mask.is_empty(),
        swapped: None,
    })
}

/// Means over frames.
pub fn dataset_metrics(frames: &[FrameMetrics]) -> DatasetMetrics {
    let n = frames.len() as f64;
    let mean = |value: fn(&FrameMetrics) -> f64| frames.iter().map(value).sum::<f64>() / n;
    let share =
        |test: fn(&FrameMetrics) -> bool| frames.iter().filter(|f| test(f)).count() as f64 / n;
    // A frame whose mask and box are both empty is in full agreement (LISA's convention).
    let iou = |f: &FrameMetrics| {
        if f.union > 0.0 {
            f.intersection / f.union
        } else {
            1.0
        }
    };
    let mean_iou = frames.iter().map(iou).sum::<f64>() / n;
    let variance = frames
        .iter()
        .map(|f| (iou(f) - mean_iou).powi(2))
        .sum::<f64>()
        / (n - 1.0);
    let lifts: Vec<f64> = frames
        .iter()
        .map(|f| f.lift)
        .filter(|lift| !lift.is_nan())
        .collect();
    DatasetMetrics {
        frames: frames.len(),
        mean_iou,
        iou_sem: if frames.len() < 2 {
            f64::NAN
        } else {
            (variance / n).sqrt()
        },
        overall_iou: mean(|f| f.intersection) / mean(|f| f.union),
        box_iou: mean(|f| f.box_iou),
        box_recall: share(|f| f.box_iou >= 0.5),
        pointing: share(|f| f.pointing),
        pointing_slack: share(|f| f.pointing_slack),
        mass_inside: mean(|f| f.mass_inside),
        lift: lifts.iter().sum::<f64>() / lifts.len() as f64,
        dino_iou: mean(|f| f.dino_iou),
        empty: frames.iter().filter(|f| !f.found).count(),
        swapped: SwapSummary::of(frames),
    }
}

impl SwapSummary {
    fn of(frames: &[FrameMetrics]) -> Option<Self> {
        let swaps: Vec<SwapMetrics> = frames.iter().filter_map(|f| f.swapped).collect();
        let n = swaps.len() as f64;
        let share =
            |test: fn(&SwapMetrics) -> bool| swaps.iter().filter(|s| test(s)).count() as f64 / n;
        (!swaps.is_empty()).then(|| Self {
            frames: swaps.len(),
            pointing: share(|s| s.pointing),
            pointing_slack: share(|s| s.pointing_slack),
            mask_overlap: swaps.iter().map(|s| s.mask_overlap).sum::<f64>() / n,
        })
    }
}

/// Whether the centre of a patch lies in a clipped box grown by `slack` patches on every side.
pub(crate) fn peak_hits(peak: usize, grid: Grid, truth: &Rect, slack: f64) -> bool {
    let (row, col) = (peak / grid.cols, peak % grid.cols);
    let (x, y) = (
        (col as f64 + 0.5) / grid.cols as f64,
        (row as f64 + 0.5) / grid.rows as f64,
    );
    let (dx, dy) = (slack / grid.cols as f64, slack / grid.rows as f64);
    Rect::new(truth.x0 - dx, truth.y0 - dy, truth.x1 + dx, truth.y1 + dy).contains(x, y)
}

/// Intersection over union of a mask with a box; 0 where both are empty.
///
/// # Errors
/// [`Error::Box`] when `truth` is not a box, [`Error::Shape`] for a mask that does not fit its grid.
pub fn mask_box_iou(mask: &Mask, truth: &Rect) -> Result<f64> {
    let truth = truth.clipped()?;
    let overlap = overlap_fraction(&truth, mask.grid)?;
    let (intersection, union) = iou_parts(mask, &overlap, &truth, mask.grid)?;
    Ok(ratio(intersection, union))
}

/// Agreement of the masks of one frame under paraphrases of one instruction: mean IoU over unordered pairs, NaN below
/// two masks. Show the same number for masks of different frames beside it: two fixed masks that cover a share f of
/// the image agree by chance.
///
/// # Errors
/// [`Error::Shape`] when the grids differ.
pub fn paraphrase_iou(masks: &[Mask]) -> Result<f64> {
    let mut total = 0.0;
    for (i, a) in masks.iter().enumerate() {
        for b in &masks[i + 1..] {
            total += a.iou(b)?;
        }
    }
    let pairs = masks.len() * masks.len().saturating_sub(1) / 2;
    Ok(if pairs == 0 {
        f64::NAN
    } else {
        total / pairs as f64
    })
}

/// Share of the area of every patch that lies in a box that was clipped before, `[P]`.
pub(crate) fn overlap_fraction(truth: &Rect, grid: Grid) -> Result<Vec<f64>> {
    if grid.is_empty() {
        return Err(Error::Shape("a grid without patches".into()));
    }
    let cover = |low: f64, high: f64, n: usize| -> Vec<f64> {
        let (low, high) = (low * n as f64, high * n as f64);
        (0..n)
            .map(|i| (high.min(i as f64 + 1.0) - low.max(i as f64)).max(0.0))
            .collect()
    };
    let (x, y) = (
        cover(truth.x0, truth.x1, grid.cols),
        cover(truth.y0, truth.y1, grid.rows),
    );
    Ok(y.iter()
        .flat_map(|&y| x.iter().map(move |&x| y * x))
        .collect())
}

/// Intersection and union of mask and box, in patches.
fn iou_parts(mask: &Mask, overlap: &[f64], truth: &Rect, grid: Grid) -> Result<(f64, f64)> {
    if mask.grid != grid || mask.bits.len() != overlap.len() {
        return Err(Error::Shape("a mask on another grid than its map".into()));
    }
    let inter = mask.iter().map(|patch| overlap[patch]).sum::<f64>();
    let area = truth.width() * grid.cols as f64 * truth.height() * grid.rows as f64;
    Ok((inter, mask.count() as f64 + area - inter))
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn mass_inside(map: &HeatMap, overlap: &[f64]) -> f64 {
    let inside: f64 = map
        .values
        .iter()
        .zip(overlap)
        .map(|(v, o)| v.max(0.0) * o)
        .sum();
    ratio(inside, map.mass())
}
