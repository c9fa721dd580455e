//! Head criteria that measure language, or agreement with boxes, instead of focus.
//!
//! In a small model with one read-out token nearly every head gives most of its attention to the image and a quarter or
//! more of the maps are one component, so entropy does not tell heads apart. What does is whether the map follows the
//! instruction, and whether it agrees with boxes that somebody drew.

use crate::maps::sum;
use crate::metrics::{HIT_SLACK, overlap_fraction, peak_hits};
use crate::selection::{BoxScore, Criterion, HeadSelection};
use crate::{Error, HeadMaps, Rect, Result};

/// What the criterion of a selection makes of every head of a frame, larger is better, `[layers · heads]`; `None` for
/// entropy, which [`crate::measure_heads`] measures.
///
/// # Errors
/// [`Error::NoSwap`] or [`Error::NoBoxes`] when the frame lacks what the criterion needs, [`Error::Box`] when `truth` is
/// not a box.
pub fn head_merits(
    maps: &HeadMaps,
    truth: Option<&Rect>,
    selection: &HeadSelection,
) -> Result<Option<Vec<f64>>> {
    match selection.criterion {
        Criterion::Entropy => Ok(None),
        Criterion::InstructionChange => {
            let swapped = maps.swapped.as_ref().ok_or(Error::NoSwap)?;
            Ok(Some(instruction_change(maps, swapped)))
        }
        Criterion::Boxes(score) => {
            let truth = truth.ok_or(Error::NoBoxes)?;
            box_scores(maps, truth, score).map(Some)
        }
    }
}

/// How much every head's map changes between two instructions on one frame: the total variation distance
/// ½ Σ |aᵢ/Σa − bᵢ/Σb|, from 0 (the same) to 1 (nothing in common). 0 where a head looks away from the image under both,
/// 1 where under one of them. `[layers · heads]`
pub fn instruction_change(maps: &HeadMaps, swapped: &HeadMaps) -> Vec<f64> {
    maps.iter()
        .zip(swapped.iter())
        .map(|((_, a), (_, b))| {
            let (sum_a, sum_b) = (sum(a), sum(b));
            if sum_a <= 0.0 || sum_b <= 0.0 {
                return if sum_a <= 0.0 && sum_b <= 0.0 {
                    0.0
                } else {
                    1.0
                };
            }
            let apart =
                |(&a, &b): (&f32, &f32)| (f64::from(a) / sum_a - f64::from(b) / sum_b).abs();
            0.5 * a.iter().zip(b).map(apart).sum::<f64>()
        })
        .collect()
}

/// How well every head's map agrees with a box, normalised to the grid, from 0 to 1. A head without attention to the view
/// scores 0. `[layers · heads]`
///
/// # Errors
/// [`Error::Box`] when `truth` is not a box.
pub fn box_scores(maps: &HeadMaps, truth: &Rect, score: BoxScore) -> Result<Vec<f64>> {
    let truth = truth.clipped()?;
    let grid = maps.grid;
    let overlap = overlap_fraction(&truth, grid)?;
    let box_patches = truth.area() * grid.len() as f64;
    // As many patches as the box covers, at least one.
    let brightest = (box_patches.round() as usize).clamp(1, grid.len());
    let mut order: Vec<usize> = Vec::with_capacity(grid.len());
    Ok(maps
        .iter()
        .map(|(_, map)| {
            let total = sum(map);
            if total <= 0.0 {
                return 0.0;
            }
            match score {
                BoxScore::Hit | BoxScore::NearHit => {
                    let slack = if score == BoxScore::Hit {
                        0.0
                    } else {
                        HIT_SLACK
                    };
                    f64::from(u8::from(peak_hits(brightest_of(map), grid, &truth, slack)))
                }
                BoxScore::MassInside => {
                    let inside = |(&a, &o): (&f32, &f64)| f64::from(a) * o;
                    map.iter().zip(&overlap).map(inside).sum::<f64>() / total
                }
                BoxScore::Iou => {
                    order.clear();
                    order.extend(0..map.len());
                    let by_brightness =
                        |a: &usize, b: &usize| map[*b].total_cmp(&map[*a]).then(a.cmp(b));
                    order.select_nth_unstable_by(brightest - 1, by_brightness);
                    // Summed in the order of patches, whatever order the selection left behind.
                    let chosen = &mut order[..brightest];
                    chosen.sort_unstable();
                    let inside: f64 = chosen.iter().map(|&patch| overlap[patch]).sum();
                    inside / (brightest as f64 + box_patches - inside)
                }
            }
        })
        .collect())
}

/// Index of the largest weight, the lowest among equals.
fn brightest_of(map: &[f32]) -> usize {
    let best =
        |best: (usize, f32), (at, &v): (usize, &f32)| if v > best.1 { (at, v) } else { best };
    map.iter().enumerate().fold((0, f32::NEG_INFINITY), best).0
}
