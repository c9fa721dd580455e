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
    let eligible = |flat: usize| layers[flat / n_heads] as usize >= exclude;
    let mut pool: Vec<usize> = (0..sums_q.len())
        .filter(|&flat| rule.over == ElbowPool::All || eligible(flat))
        .collect();
    pool.sort_by_key(|&flat| (sums_q[flat], flat));

    let sought = matches!(rule.mode, ElbowMode::Value | ElbowMode::Index) && !pool.is_empty();
    let position = sought.then(|| farthest_from_chord(&pool, sums_q));
    let head = position.map(|p| pool[p]);
    let tau_q = match rule.mode {
        ElbowMode::Manual(tau) => quantum::round(tau),
        _ => head.map_or(0, |head| sums_q[head]),
    };
    let keep = (0..sums_q.len())
        .map(|flat| {
            eligible(flat)
                && match rule.mode {
                    ElbowMode::Value | ElbowMode::Manual(_) => sums_q[flat] >= tau_q,
                    ElbowMode::Index => head.is_none_or(|head| flat >= head),
                    ElbowMode::None => true,
                }
        })
        .collect();
    Ok(ElbowOutcome {
        keep,
        tau_q,
        head,
        position,
    })
}

/// Lowest place with the largest distance from the chord of the sorted sums.
///
/// The vertical gap, which is proportional to the perpendicular distance, is taken times `n - 1` in integers, so a
/// chord of length zero divides nothing and equal gaps are exactly equal. The absolute value serves concave curves too.
fn farthest_from_chord(sorted: &[usize], sums_q: &[i64]) -> usize {
    let (Some(&first), Some(&last)) = (sorted.first(), sorted.last()) else {
        return 0;
    };
    let (low, span) = (sums_q[first], sums_q[last] - sums_q[first]);
    let steps = sorted.len() as i64 - 1;
    let mut best = (0, -1);
    for (i, &flat) in sorted.iter().enumerate() {
        let gap = (steps * (sums_q[flat] - low) - i as i64 * span).abs();
        if gap > best.1 {
            best = (i, gap);
        }
    }
    best.0
}
