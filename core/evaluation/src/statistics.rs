//! Intervals for shares that were counted.

use serde::{Deserialize, Serialize};

/// Successes among attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How many succeeded.
    pub successes: usize,
    /// How many were tried.
    pub attempts: usize,
}

impl Count {
    /// Adds one attempt.
    pub fn record(&mut self, success: bool) {
        self.attempts += 1;
        self.successes += usize::from(success);
    }

    /// Share of successes; 0 without attempts.
    pub fn rate(self) -> f64 {
        if self.attempts == 0 {
            0.0
        } else {
            self.successes as f64 / self.attempts as f64
        }
    }

    /// Wilson's score interval of the share at 95 % confidence, `[low, high]`; `[0, 1]` without attempts.
    ///
    /// With p the observed share, n the attempts and z = 1.96:
    /// (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n).
    /// Unlike p ± z·√(p(1−p)/n) it stays inside [0, 1] and does not shrink to a point at 0 and 1
    /// (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927; recommended below some hundred attempts by Brown, Cai and
    /// DasGupta, Stat. Sci. 16, 2001).
    pub fn wilson95(self) -> [f64; 2] {
        const Z: f64 = 1.959_963_984_540_054;
        if self.attempts == 0 {
            return [0.0, 1.0];
        }
        let (n, p) = (self.attempts as f64, self.rate());
        let z2n = Z * Z / n;
        let centre = p + z2n / 2.0;
        let half = Z * (p * (1.0 - p) / n + z2n / (4.0 * n)).sqrt();
        [
            ((centre - half) / (1.0 + z2n)).max(0.0),
            ((centre + half) / (1.0 + z2n)).min(1.0),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(successes: usize, attempts: usize) -> [f64; 2] {
        Count {
            successes,
            attempts,
        }
        .wilson95()
    }

    /// Computed with a separate program from the formula.
    #[test]
    fn wilson_matches_known_values() {
        for (successes, attempts, low, high) in [
            (15, 20, 0.531_299, 0.888_138),
            (0, 10, 0.0, 0.277_533),
            (10, 10, 0.722_467, 1.0),
            (50, 100, 0.403_832, 0.596_168),
        ] {
            let [l, h] = interval(successes, attempts);
            assert!((l - low).abs() < 5e-6, "{successes}/{attempts}: low {l}");
            assert!((h - high).abs() < 5e-6, "{successes}/{attempts}: high {h}");
        }
    }

    #[test]
    fn wilson_contains_the_share_and_narrows() {
        for attempts in [1, 7, 50, 400] {
            for successes in 0..=attempts {
                let [low, high] = interval(successes, attempts);
                let rate = successes as f64 / attempts as f64;
                assert!((0.0..=rate + 1e-12).contains(&low));
                assert!((rate - 1e-12..=1.0).contains(&high));
            }
        }
        let width = |n: usize| interval(n / 2, n)[1] - interval(n / 2, n)[0];
        assert!(width(400) < width(100));
        assert_eq!(interval(0, 0), [0.0, 1.0]);
    }
}
