//! A whole dataset at once, on all cores.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use crate::selection::{Aggregate, HeadSelection};
use crate::{
    DatasetMetrics, Error, FrameMetrics, Gaze, HeadMaps, Rect, Result, SampleScores, Selected,
    dataset_metrics, frame_metrics, heat_map, score_heads, select_heads,
};

/// One frame of a dataset.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Attention of the query that the selection names.
    pub maps: HeadMaps,
    /// Where it should look, normalised to the grid; `None` when nobody knows.
    pub truth: Option<Rect>,
}

/// What one head selection gives on a dataset.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// Heads that the frames voted for. Empty when no head passes and the aggregation needs none.
    pub selected: Selected,
    /// One entry per sample, `None` without a box to compare with.
    pub frames: Vec<Option<FrameMetrics>>,
    /// Means over the frames that have one.
    pub metrics: DatasetMetrics,
    /// Candidates of every frame. Zeros and small numbers say that the elbow is fragile here: try another mode.
    pub candidates: Vec<usize>,
}

/// Scores all frames, lets them vote, and compares the gaze of every frame with its box.
///
/// A frame whose map shows no region counts as a miss. `cancel` is looked at before every frame.
///
/// # Errors
/// [`Error::Cancelled`] when asked to stop, [`Error::NoHeads`] when heads are needed and none passes, otherwise as
/// [`score_heads`], [`select_heads`], [`crate::gaze`] and [`frame_metrics`].
pub fn evaluate(
    samples: &[Sample],
    selection: &HeadSelection,
    cancel: &AtomicBool,
) -> Result<Evaluation> {
    let scores = score_samples(samples, selection, cancel)?;
    evaluate_scored(samples, &scores, selection, cancel)
}

/// The first half of [`evaluate`]: the scores of every frame. They stay valid while
/// [`HeadSelection::scores_like`] holds, so a move of the mask slider need not measure entropies again.
///
/// # Errors
/// [`Error::Cancelled`], otherwise as [`score_heads`].
pub fn score_samples(
    samples: &[Sample],
    selection: &HeadSelection,
    cancel: &AtomicBool,
) -> Result<Vec<SampleScores>> {
    samples
        .par_iter()
        .map(|sample| {
            go_on(cancel)?;
            score_heads(&sample.maps, sample.truth.as_ref(), selection)
        })
        .collect()
}

/// The second half of [`evaluate`]: vote, gaze and metrics.
///
/// # Errors
/// [`Error::Shape`] unless there is one score per sample, otherwise as [`evaluate`].
pub fn evaluate_scored(
    samples: &[Sample],
    scores: &[SampleScores],
    selection: &HeadSelection,
    cancel: &AtomicBool,
) -> Result<Evaluation> {
    if samples.len() != scores.len() {
        return Err(Error::Shape(format!(
            "{} scores for {} frames",
            scores.len(),
            samples.len()
        )));
    }
    let needs_heads = matches!(selection.aggregate, Aggregate::Selected { .. });
    let selected = match select_heads(scores, selection) {
        Err(Error::NoHeads) if !needs_heads => Selected::none(scores),
        other => other?,
    };
    let frames: Vec<Option<FrameMetrics>> = samples
        .par_iter()
        .map(|sample| {
            go_on(cancel)?;
            let Some(truth) = &sample.truth else {
                return Ok(None);
            };
            let map = heat_map(&sample.maps, &selected.heads, selection)?;
            let gaze = Gaze::from_map_or_empty(map, &selection.mask, selection.dilate)?;
            frame_metrics(&gaze, truth).map(Some)
        })
        .collect::<Result<_>>()?;
    let measured: Vec<FrameMetrics> = frames.iter().flatten().copied().collect();
    Ok(Evaluation {
        selected,
        metrics: dataset_metrics(&measured),
        candidates: scores.iter().map(|s| s.candidates.len()).collect(),
        frames,
    })
}

fn go_on(cancel: &AtomicBool) -> Result<()> {
    if cancel.load(Ordering::Relaxed) {
        Err(Error::Cancelled)
    } else {
        Ok(())
    }
}
