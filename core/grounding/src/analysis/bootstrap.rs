//! Intervals for means over frames that come in episodes.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

/// Draws per interval. The ends of a 95 % interval then move by some hundredths of its width from seed to seed.
const RESAMPLES: usize = 1000;

/// Share of the draws inside the interval.
const COVERAGE: f64 = 0.95;

/// A percentile interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// 95 % percentile intervals of the means of some values, by the cluster bootstrap (Efron and Tibshirani, *An
/// Introduction to the Bootstrap*, 1993, sections 13.3 and 8.6): whole episodes are drawn with replacement, because
/// frames of one episode resemble each other.
///
/// `rows` holds the episode of a frame and its values; a value that is NaN does not count in its mean. The draws are the
/// same every time. `None` below two episodes, which say nothing about others; an interval with NaN ends where no frame
/// has the value.
pub fn intervals<const N: usize>(rows: &[(usize, [f64; N])]) -> Option<[Interval; N]> {
    let mut episodes: Vec<usize> = rows.iter().map(|(episode, _)| *episode).collect();
    episodes.sort_unstable();
    episodes.dedup();
    if episodes.len() < 2 {
        return None;
    }
    // Sum and count of every value in every episode.
    let mut totals = vec![[(0.0, 0.0); N]; episodes.len()];
    for (episode, values) in rows {
        let Ok(at) = episodes.binary_search(episode) else {
            continue;
        };
        for (total, &value) in totals[at].iter_mut().zip(values) {
            if !value.is_nan() {
                total.0 += value;
                total.1 += 1.0;
            }
        }
    }
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut means = vec![Vec::with_capacity(RESAMPLES); N];
    for _ in 0..RESAMPLES {
        let mut drawn = [(0.0, 0.0); N];
        for _ in 0..totals.len() {
            let episode = &totals[rng.random_range(0..totals.len())];
            for (sum, part) in drawn.iter_mut().zip(episode) {
                sum.0 += part.0;
                sum.1 += part.1;
            }
        }
        for (means, (sum, count)) in means.iter_mut().zip(drawn) {
            if count > 0.0 {
                means.push(sum / count);
            }
        }
    }
    let mut means = means.into_iter();
    Some(std::array::from_fn(|_| {
        percentiles(means.next().unwrap_or_default())
    }))
}

fn percentiles(mut draws: Vec<f64>) -> Interval {
    draws.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        let place = share * draws.len().saturating_sub(1) as f64;
        draws
            .get(place.round() as usize)
            .copied()
            .unwrap_or(f64::NAN)
    };
    let tail = (1.0 - COVERAGE) / 2.0;
    Interval {
        low: at(tail),
        high: at(1.0 - tail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_mean_is_about_two_standard_errors_wide() {
        // 400 episodes of one frame, half of them hits: the standard error is 0.5 / 20.
        let rows: Vec<(usize, [f64; 1])> = (0..400).map(|i| (i, [(i % 2) as f64])).collect();
        let [interval] = intervals(&rows).unwrap();
        assert!(
            (interval.low - (0.5 - 1.96 * 0.025)).abs() < 0.01,
            "{interval:?}"
        );
        assert!(
            (interval.high - (0.5 + 1.96 * 0.025)).abs() < 0.01,
            "{interval:?}"
        );
        assert_eq!(intervals(&rows), Some([interval]), "the same every time");
    }

    #[test]
    fn frames_of_one_episode_are_no_evidence_of_others() {
        let alike: Vec<(usize, [f64; 1])> =
            (0..400).map(|i| (i / 40, [(i / 40 % 2) as f64])).collect();
        let [wide] = intervals(&alike).unwrap();
        assert!(
            wide.high - wide.low > 0.4,
            "ten episodes, not 400 frames: {wide:?}"
        );
        assert!(intervals(&alike[..40]).is_none());
        assert!(intervals::<1>(&[]).is_none());
    }

    #[test]
    fn values_that_a_frame_lacks_do_not_count() {
        let rows = [
            (0, [1.0, f64::NAN]),
            (1, [f64::NAN, f64::NAN]),
            (2, [1.0, f64::NAN]),
        ];
        let [some, none] = intervals(&rows).unwrap();
        assert_eq!((some.low, some.high), (1.0, 1.0));
        assert!(none.low.is_nan());
    }
}
