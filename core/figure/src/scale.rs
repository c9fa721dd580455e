//! From value to colour, and the numbers beside a colour bar.

use crate::ColorMap;

/// A linear scale. Its ends are the ends of the colour map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ValueScale {
    pub min: f64,
    pub max: f64,
    pub map: ColorMap,
    /// Whether some value lies above `max`.
    pub clipped: bool,
}

/// A number beside a colour bar.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    /// Place along the bar in `[0, 1]`.
    pub at: f64,
    pub label: String,
}

impl ValueScale {
    /// The scale of values whose least and largest are given: from zero up in `map`, or symmetric about zero in the
    /// diverging map where there are negative values.
    pub(crate) fn spanning(least: f64, largest: f64, map: ColorMap) -> Self {
        if least < 0.0 {
            let bound = largest.max(-least);
            return Self {
                min: -bound,
                max: bound,
                map: ColorMap::Diverging,
                clipped: false,
            };
        }
        // A map without attention is black on any scale.
        let max = if largest > 0.0 { largest } else { 1.0 };
        Self {
            min: 0.0,
            max,
            map,
            clipped: false,
        }
    }

    pub(crate) fn color(&self, value: f64) -> [u8; 3] {
        self.map.color((value - self.min) / (self.max - self.min))
    }

    /// Power of ten that numbers are divided by, so that they stay short: 0 unless the values are tiny or huge.
    pub(crate) fn exponent(&self) -> i32 {
        let exponent = self.max.abs().log10().floor();
        if (-3.0..4.0).contains(&exponent) {
            0
        } else {
            exponent as i32
        }
    }

    /// Round numbers within the scale, at most `most` and at least two; numbers are divided by ten to `exponent`.
    pub(crate) fn ticks(&self, most: usize) -> Vec<Tick> {
        let span = self.max - self.min;
        let unit = 10f64.powi(self.exponent());
        let mut step = 10f64.powi((span / unit).log10().floor() as i32 - 1);
        // 1, 2, 5, 10, 20, 50, …
        for factor in [2.0, 2.5, 2.0].into_iter().cycle().take(12) {
            if ((span / unit / step).floor() as usize) < most.max(2) {
                break;
            }
            step *= factor;
        }
        let decimals = (-(step * 1.000_001).log10().floor()).max(0.0) as usize;
        let first = (self.min / unit / step - 1e-9).ceil() as i64;
        let last = (self.max / unit / step + 1e-9).floor() as i64;
        (first..=last)
            .map(|i| {
                let value = i as f64 * step;
                let label = if i == 0 {
                    "0".to_owned()
                } else {
                    minus(format!("{value:.decimals$}"))
                };
                Tick {
                    at: (value * unit - self.min) / span,
                    label,
                }
            })
            .collect()
    }

    /// A value with three significant figures, or fewer decimals where the scale is coarse.
    pub(crate) fn format(&self, value: f64) -> String {
        let unit = 10f64.powi(self.exponent());
        let scaled = value / unit;
        let decimals = (2 - (self.max / unit).abs().log10().floor() as i32).clamp(0, 5) as usize;
        let number = minus(format!("{scaled:.decimals$}"));
        match self.exponent() {
            0 => number,
            exponent => format!("{number}{}", times_ten_to(exponent)),
        }
    }
}

/// " × 10⁻⁵"
pub(crate) fn times_ten_to(exponent: i32) -> String {
    let digits = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let power: String = exponent
        .to_string()
        .chars()
        .filter_map(|c| match c {
            '-' => Some('⁻'),
            _ => digits.get(c.to_digit(10)? as usize).copied(),
        })
        .collect();
    format!(" × 10{power}")
}

/// A true minus sign, as wide as the figures.
fn minus(number: String) -> String {
    number.replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: ValueScale, most: usize) -> Vec<String> {
        scale.ticks(most).into_iter().map(|t| t.label).collect()
    }

    #[test]
    fn ticks_are_round_and_few() {
        let scale = |max| ValueScale::spanning(0.0, max, ColorMap::Viridis);
        assert_eq!(labels(scale(0.031), 4), ["0", "0.01", "0.02", "0.03"]);
        assert_eq!(labels(scale(1.0), 3), ["0", "0.5", "1.0"]);
        assert_eq!(labels(scale(0.98), 6), ["0", "0.2", "0.4", "0.6", "0.8"]);
        assert_eq!(scale(3.2e-5).exponent(), -5);
        assert_eq!(labels(scale(3.2e-5), 4), ["0", "1", "2", "3"]);
        assert_eq!(
            labels(ValueScale::spanning(-0.02, 0.01, ColorMap::Viridis), 3),
            ["−0.02", "0", "0.02"]
        );
        for max in [1e-9, 0.017, 0.5, 0.999, 1.0, 7.3, 80.0, 1234.5, 1e7] {
            for most in 2..8 {
                let ticks = scale(max).ticks(most);
                assert!(
                    (2..=most.max(2)).contains(&ticks.len()),
                    "{max} {most}: {ticks:?}"
                );
                assert!(
                    ticks.iter().all(|t| (-1e-9..=1.0 + 1e-6).contains(&t.at)),
                    "{ticks:?}"
                );
            }
        }
    }

    #[test]
    fn the_ends_of_the_scale_are_the_ends_of_the_map() {
        let scale = ValueScale::spanning(0.0, 0.2, ColorMap::Magma);
        assert_eq!(scale.color(0.0), ColorMap::Magma.lut()[0]);
        assert_eq!(scale.color(0.2), ColorMap::Magma.lut()[255]);
        let signed = ValueScale::spanning(-0.1, 0.3, ColorMap::Magma);
        assert_eq!(
            (signed.min, signed.max, signed.map),
            (-0.3, 0.3, ColorMap::Diverging)
        );
        assert_eq!(ValueScale::spanning(0.0, 0.0, ColorMap::Magma).max, 1.0);
    }

    #[test]
    fn powers_of_ten_are_written_out() {
        assert_eq!(times_ten_to(-12), " × 10⁻¹²");
        assert_eq!(
            ValueScale::spanning(0.0, 3.21e-5, ColorMap::Viridis).format(3.21e-5),
            "3.21 × 10⁻⁵"
        );
        assert_eq!(
            ValueScale::spanning(0.0, 0.0312, ColorMap::Viridis).format(0.0312),
            "0.0312"
        );
    }
}
