//! Statistics of a feature, as `lerobot/datasets/compute_stats.py` defines them.
//!
//! Two differences, both towards the exact value: LeRobot samples pictures of long episodes and we count every pixel; LeRobot
//! reads quantiles off a histogram of 5000 bins and we take the order statistic that the histogram approximates.

use serde_json::{Value, json};

/// Levels of the quantiles.
const QUANTILES: [f64; 5] = [0.01, 0.1, 0.5, 0.9, 0.99];
/// Names of the statistics in LeRobot's order.
pub(super) const NAMES: [&str; 10] = [
    "min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99",
];

/// How the numbers of a feature are nested on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// `[dim]`.
    Vector,
    /// `[1]`; minimum and maximum are integers.
    Integer,
    /// `[3, 1, 1]`, channels of a picture in `[0, 1]`.
    Picture,
}

impl Layout {
    /// Whether a statistic of this feature is an integer, and how many lists its numbers are nested in.
    pub(super) fn of(self, name: &str) -> (bool, usize) {
        match (self, name) {
            (_, "count") => (true, 1),
            (Self::Integer, "min" | "max") => (true, 1),
            (Self::Integer | Self::Vector, _) => (false, 1),
            (Self::Picture, _) => (false, 3),
        }
    }
}

/// Statistics of one feature over some frames, one number a component or channel.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stats {
    pub(super) min: Vec<f64>,
    pub(super) max: Vec<f64>,
    pub(super) mean: Vec<f64>,
    /// Population standard deviation.
    pub(super) std: Vec<f64>,
    /// At [`QUANTILES`].
    pub(super) quantiles: [Vec<f64>; 5],
    /// Frames, as a float since the others are.
    pub(super) count: [f64; 1],
}

impl Stats {
    /// Of rows `[frames, dim]` with at least one frame.
    pub(super) fn of_rows(rows: &[f64], dim: usize) -> Self {
        let count = (rows.len() / dim) as u64;
        let mut stats = Self::with_capacity(dim, count);
        for component in 0..dim {
            let mut values: Vec<f64> = rows.iter().skip(component).step_by(dim).copied().collect();
            values.sort_by(f64::total_cmp);
            let mean = values.iter().sum::<f64>() / count as f64;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count as f64;
            let quantile = |q: f64| values.get(rank(q, count)).copied().unwrap_or(mean);
            stats.push(
                quantile(0.0),
                quantile(1.0),
                mean,
                variance.sqrt(),
                quantile,
            );
        }
        stats
    }

    /// Of pictures, from how often each channel took each of its 256 values.
    pub(super) fn of_pictures(channels: &[[u64; 256]; 3], frames: u64) -> Self {
        let mut stats = Self::with_capacity(3, frames);
        for histogram in channels {
            let pixels: u64 = histogram.iter().sum();
            let levels = || {
                (0..256)
                    .map(|v| f64::from(v) / 255.0)
                    .zip(histogram.iter().map(|n| *n as f64))
            };
            let mean = levels().map(|(v, n)| v * n).sum::<f64>() / pixels as f64;
            let variance =
                levels().map(|(v, n)| n * (v - mean).powi(2)).sum::<f64>() / pixels as f64;
            let quantile = |q: f64| {
                let rank = rank(q, pixels) as u64;
                let mut below = 0;
                let level = histogram.iter().position(|n| {
                    below += n;
                    below > rank
                });
                level.unwrap_or(255) as f64 / 255.0
            };
            stats.push(
                quantile(0.0),
                quantile(1.0),
                mean,
                variance.sqrt(),
                quantile,
            );
        }
        stats
    }

    fn with_capacity(dim: usize, count: u64) -> Self {
        let column = || Vec::with_capacity(dim);
        let quantiles = std::array::from_fn(|_| column());
        Self {
            min: column(),
            max: column(),
            mean: column(),
            std: column(),
            quantiles,
            count: [count as f64],
        }
    }

    fn push(&mut self, min: f64, max: f64, mean: f64, std: f64, quantile: impl Fn(f64) -> f64) {
        self.min.push(min);
        self.max.push(max);
        self.mean.push(mean);
        self.std.push(std);
        for (column, level) in self.quantiles.iter_mut().zip(QUANTILES) {
            column.push(quantile(level));
        }
    }

    /// Adds another set of frames (`aggregate_feature_stats`): variances by the parallel algorithm, quantiles as a
    /// mean weighted by frames.
    pub(super) fn merge(&mut self, other: &Self) {
        let ([a], [b]) = (self.count, other.count);
        let weighted = |x: f64, y: f64| (x * a + y * b) / (a + b);
        for i in 0..self.mean.len().min(other.mean.len()) {
            self.min[i] = self.min[i].min(other.min[i]);
            self.max[i] = self.max[i].max(other.max[i]);
            let mean = weighted(self.mean[i], other.mean[i]);
            let spread = |std: f64, of: f64| std.powi(2) + (of - mean).powi(2);
            self.std[i] = weighted(
                spread(self.std[i], self.mean[i]),
                spread(other.std[i], other.mean[i]),
            )
            .sqrt();
            self.mean[i] = mean;
            for (column, theirs) in self.quantiles.iter_mut().zip(&other.quantiles) {
                column[i] = weighted(column[i], theirs[i]);
            }
        }
        self.count = [a + b];
    }

    /// Name and numbers of every statistic, in LeRobot's order.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&'static str, &[f64])> {
        let [q01, q10, q50, q90, q99] = &self.quantiles;
        let columns: [&[f64]; 10] = [
            &self.min,
            &self.max,
            &self.mean,
            &self.std,
            &self.count,
            q01,
            q10,
            q50,
            q90,
            q99,
        ];
        NAMES.into_iter().zip(columns)
    }

    /// As in `meta/stats.json`.
    pub(super) fn to_json(&self, layout: Layout) -> Value {
        let numbers = |name: &str, column: &[f64]| -> Value {
            let (is_integer, depth) = layout.of(name);
            let nest = |v: &f64| {
                let number = if is_integer {
                    json!(*v as i64)
                } else {
                    json!(v)
                };
                (1..depth).fold(number, |inner, _| json!([inner]))
            };
            column.iter().map(nest).collect()
        };
        let object: serde_json::Map<String, Value> = self
            .columns()
            .map(|(name, column)| (name.to_owned(), numbers(name, column)))
            .collect();
        object.into()
    }
}

/// Index of the quantile among `count` sorted values: the smallest with at least `q * count` values up to it.
fn rank(q: f64, count: u64) -> usize {
    ((q * count as f64).ceil() as u64).clamp(1, count.max(1)) as usize - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_equals_counting_at_once() {
        let rows: Vec<f64> = (0..60).map(|i| f64::from(i * i % 17) - 4.0).collect();
        let whole = Stats::of_rows(&rows, 2);
        let mut merged = Stats::of_rows(&rows[..20], 2);
        merged.merge(&Stats::of_rows(&rows[20..], 2));
        assert_eq!(
            (&merged.min, &merged.max, merged.count),
            (&whole.min, &whole.max, whole.count)
        );
        for i in 0..2 {
            assert!((merged.mean[i] - whole.mean[i]).abs() < 1e-12);
            assert!((merged.std[i] - whole.std[i]).abs() < 1e-12);
        }
    }

    #[test]
    fn pictures_equal_rows_of_their_pixels() {
        let pixels: Vec<u8> = (0..300u32).map(|i| (i * i % 256) as u8).collect();
        let mut histograms = [[0; 256]; 3];
        for pixel in pixels.chunks_exact(3) {
            for (histogram, value) in histograms.iter_mut().zip(pixel) {
                histogram[usize::from(*value)] += 1;
            }
        }
        let rows: Vec<f64> = pixels.iter().map(|v| f64::from(*v) / 255.0).collect();
        let (ours, exact) = (Stats::of_pictures(&histograms, 1), Stats::of_rows(&rows, 3));
        for ((name, a), (_, b)) in ours
            .columns()
            .zip(exact.columns())
            .filter(|((name, _), _)| *name != "count")
        {
            assert!(
                a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12),
                "{name}: {a:?} {b:?}"
            );
        }
    }

    #[test]
    fn quantiles_are_order_statistics() {
        let rows: Vec<f64> = (1..=100).map(f64::from).collect();
        let stats = Stats::of_rows(&rows, 1);
        assert_eq!(stats.quantiles.map(|q| q[0]), [1.0, 10.0, 50.0, 90.0, 99.0]);
    }
}
