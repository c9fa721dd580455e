//! Colour maps and categorical colours: the one table the window, the command line and the printed figure share.
//!
//! All maps are perceptually uniform and readable with a colour-vision deficiency. Colours are sRGB, 8 bits per channel.

mod tables;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a number becomes a colour.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum ColorMap {
    /// Dark violet to yellow; the default.
    #[default]
    Viridis,
    /// Black through magenta to near white.
    Magma,
    /// Dark blue to yellow; the same for red–green colour-blind readers.
    Cividis,
    /// Blue through near white to orange: differences, centred at zero.
    Diverging,
}

impl ColorMap {
    /// Every map.
    pub const ALL: [Self; 4] = [Self::Viridis, Self::Magma, Self::Cividis, Self::Diverging];
    /// Maps for quantities that start at zero, such as attention, in menu order.
    pub const SEQUENTIAL: [Self; 3] = [Self::Viridis, Self::Magma, Self::Cividis];

    /// Name shown in menus and accepted by [`FromStr`].
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Viridis => "viridis",
            Self::Magma => "magma",
            Self::Cividis => "cividis",
            Self::Diverging => "diverging",
        }
    }

    /// Whether the middle of the map stands for zero, so that a scale must be symmetric.
    #[must_use]
    pub fn is_diverging(self) -> bool {
        self == Self::Diverging
    }

    /// The 256 sRGB entries, lowest value first. What a GPU texture is filled with.
    #[must_use]
    pub fn lut(self) -> &'static [[u8; 3]; 256] {
        match self {
            Self::Viridis => &tables::VIRIDIS,
            Self::Magma => &tables::MAGMA,
            Self::Cividis => &tables::CIVIDIS,
            Self::Diverging => &tables::DIVERGING,
        }
    }

    /// Index of the table entry for `t` in `[0, 1]`: 256 equal bins, values outside are clamped, NaN counts as 0.
    ///
    /// A shader that samples a 256-texel texture with nearest filtering at `t` picks the same entry.
    #[must_use]
    pub fn index(t: f64) -> u8 {
        // The cast saturates and maps NaN to 0.
        (t * 256.0) as u8
    }

    /// Colour of `t` in `[0, 1]`.
    #[must_use]
    pub fn color(self, t: f64) -> [u8; 3] {
        self.lut()[usize::from(Self::index(t))]
    }
}

impl fmt::Display for ColorMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A name that is no colour map.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown colour map {0:?}; known are viridis, magma, cividis, diverging")]
pub struct UnknownColorMap(pub String);

impl FromStr for ColorMap {
    type Err = UnknownColorMap;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|m| m.label().eq_ignore_ascii_case(s))
            .ok_or_else(|| UnknownColorMap(s.to_owned()))
    }
}

/// The set of M. Okabe and K. Ito (Color Universal Design, 2008), distinguishable with every common colour-vision
/// deficiency. Order: black, orange, sky blue, bluish green, yellow, blue, vermillion, reddish purple.
pub const OKABE_ITO: [[u8; 3]; 8] = [
    [0, 0, 0],
    [230, 159, 0],
    [86, 180, 233],
    [0, 158, 115],
    [240, 228, 66],
    [0, 114, 178],
    [213, 94, 0],
    [204, 121, 167],
];

/// Names into [`OKABE_ITO`], so that no other place writes these colours out.
pub mod okabe_ito {
    use super::OKABE_ITO;

    /// Black.
    pub const BLACK: [u8; 3] = OKABE_ITO[0];
    /// Orange.
    pub const ORANGE: [u8; 3] = OKABE_ITO[1];
    /// Sky blue.
    pub const SKY_BLUE: [u8; 3] = OKABE_ITO[2];
    /// Bluish green.
    pub const GREEN: [u8; 3] = OKABE_ITO[3];
    /// Yellow.
    pub const YELLOW: [u8; 3] = OKABE_ITO[4];
    /// Blue.
    pub const BLUE: [u8; 3] = OKABE_ITO[5];
    /// Vermillion.
    pub const VERMILLION: [u8; 3] = OKABE_ITO[6];
    /// Reddish purple.
    pub const PURPLE: [u8; 3] = OKABE_ITO[7];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CIE relative luminance of an sRGB colour.
    fn luminance(c: [u8; 3]) -> f64 {
        let [r, g, b] = c.map(|v| {
            let v = f64::from(v) / 255.0;
            if v <= 0.04045 {
                v / 12.92
            } else {
                ((v + 0.055) / 1.055).powf(2.4)
            }
        });
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    #[test]
    fn bins_are_equal_and_the_ends_are_the_ends() {
        assert_eq!(ColorMap::index(0.0), 0);
        assert_eq!(ColorMap::index(1.0), 255);
        assert_eq!(ColorMap::index(-3.0), 0);
        assert_eq!(ColorMap::index(7.0), 255);
        assert_eq!(ColorMap::index(f64::NAN), 0);
        for i in 0..=255u8 {
            assert_eq!(ColorMap::index((f64::from(i) + 0.5) / 256.0), i);
        }
        // Published end points.
        assert_eq!(ColorMap::Viridis.color(0.0), [68, 1, 84]);
        assert_eq!(ColorMap::Viridis.color(1.0), [253, 231, 37]);
    }

    #[test]
    fn sequential_maps_brighten_and_the_diverging_one_is_balanced() {
        for map in [ColorMap::Viridis, ColorMap::Magma, ColorMap::Cividis] {
            for pair in map.lut().windows(2) {
                assert!(
                    luminance(pair[1]) > luminance(pair[0]) - 1.5e-3,
                    "{map}: {pair:?}"
                );
            }
        }
        let table = ColorMap::Diverging.lut();
        for i in 0..128 {
            let (low, high) = (luminance(table[i]), luminance(table[255 - i]));
            assert!((low - high).abs() < 0.06, "{i}: {low} {high}");
        }
    }

    #[test]
    fn names_round_trip() {
        for map in ColorMap::ALL {
            assert_eq!(map.to_string().parse::<ColorMap>().unwrap(), map);
        }
        assert!("jet".parse::<ColorMap>().is_err());
    }
}
