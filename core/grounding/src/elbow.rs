//! Criterion 1: the threshold at the elbow of the sorted image-attention sums.

use crate::selection::{Elbow, ElbowMode, ElbowPool};
use crate::{Error, Result, quantum};

/// What the elbow says about one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct ElbowOutcome {
    /// Per head, `layer * heads + head`: passes criterion 1 and lies in an eligible layer.
    pub keep: Vec<bool>,
    /// Threshold on the quantised sum; 0 where none was sought.
    pub tau_q: i64,
    /// Flat index of the head at the elbow, `None` where none was sought.
    pub head: Option<usize>,
    /// Its place among the sorted sums, `None` where none was sought.
    pub position: Option<usize>,
}

/// Layers below this number are never selected.
pub(crate) fn excluded_layers(rule: &Elbow, layers: &[u32]) -> usize {
    let depth = layers.last().map_or(0, |&last| last as usize + 1);
    // The first layers look broadly at everything; a net of four layers would lose half its heads.
    rule.exclude_layers.unwrap_or(if depth > 4 { 2 } else { 0 })
}

/// Applies criterion 1 to quantised sums, `[layers, heads]`.
///
/// # Errors
/// [`Error::Shape`] when the sums do not fit the layers.
pub fn elbow(sums_q: &[i64], layers: &[u32], n_heads: usize, rule: &Elbow) -> Result<ElbowOutcome> {
    if sums_q.is_empty() || sums_q.len() != layers.len() * n_heads {
        return Err(Error::Shape(format!(
            "{} sums for {} layers of {n_heads} heads",
            sums_q.len(),
            layers.len()
        )));
    }
    let exclude = excluded_layers(rule, layers);
    let eligible = |layer: u32| layer as usize >= exclude;
    let of_layers = || layers.iter().zip(sums_q.chunks_exact(n_heads)).enumerate();
    // Layer by layer: the place of the first head, and the sums.
    let pool = || {
        of_layers()
            .filter(|&(_, (&layer, _))| rule.over == ElbowPool::All || eligible(layer))
            .map(|(at, (_, sums))| (at * n_heads, sums))
    };

    let mut sorted = Vec::new();
    if matches!(rule.mode, ElbowMode::Value | ElbowMode::Index) {
        sorted.reserve(sums_q.len());
        pool().for_each(|(_, sums)| sorted.extend_from_slice(sums));
        sorted.sort_unstable();
    }
    let position = farthest_from_chord(&sorted);
    // Equal sums stand in the order of their heads.
    let head = position.and_then(|position| {
        let at_elbow = sorted[position];
        let smaller = sorted.partition_point(|&sum| sum < at_elbow);
        pool()
            .flat_map(|(start, sums)| (start..).zip(sums))
            .filter(|&(_, &sum)| sum == at_elbow)
            .nth(position - smaller)
            .map(|(flat, _)| flat)
    });
    let tau_q = match rule.mode {
        ElbowMode::Manual(tau) => quantum::round(tau),
        _ => position.map_or(0, |position| sorted[position]),
    };
    let mut keep = Vec::with_capacity(sums_q.len());
    for (at, (&layer, sums)) in of_layers() {
        let eligible = eligible(layer);
        let start = at * n_heads;
        keep.extend((start..).zip(sums).map(|(flat, &sum)| {
            eligible
                && match rule.mode {
                    ElbowMode::Value | ElbowMode::Manual(_) => sum >= tau_q,
                    ElbowMode::Index => head.is_none_or(|head| flat >= head),
                    ElbowMode::None => true,
                }
        }));
    }
    Ok(ElbowOutcome {
        keep,
        tau_q,
        head,
        position,
    })
}

/// Lowest place with the largest distance from the chord of the sorted sums; `None` where there are none.
///
/// The vertical gap, which is proportional to the perpendicular distance, is taken times `n - 1` in integers, so a
/// chord of length zero divides nothing and equal gaps are exactly equal. The absolute value serves concave curves too.
fn farthest_from_chord(sorted: &[i64]) -> Option<usize> {
    let (&low, &high) = (sorted.first()?, sorted.last()?);
    let (span, steps) = (high - low, sorted.len() as i64 - 1);
    let mut best = (0, -1);
    for (i, &sum) in sorted.iter().enumerate() {
        let gap = (steps * (sum - low) - i as i64 * span).abs();
        if gap > best.1 {
            best = (i, gap);
        }
    }
    Some(best.0)
}
