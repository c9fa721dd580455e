//! The typeface of print: Roboto, with tabular figures. See `assets/fonts`.

mod kerning;
mod subset;

use std::collections::BTreeSet;
use std::sync::Arc;

use resvg::usvg::fontdb;
use ttf_parser::{Face, GlyphId};

use crate::{Error, Result};
use kerning::Kerning;

/// Roboto Regular (TrueType).
pub static REGULAR: &[u8] = include_bytes!("../../../assets/fonts/Roboto-Regular.ttf");
/// Roboto Bold (TrueType).
pub static BOLD: &[u8] = include_bytes!("../../../assets/fonts/Roboto-Bold.ttf");
/// Family name of both.
pub const FAMILY: &str = "Roboto";

/// Height of an upper-case letter, of ascenders with accents, and of descenders, in parts of the size.
pub(crate) const CAP_HEIGHT: f64 = 0.711;
pub(crate) const ASCENT: f64 = 0.928;
pub(crate) const DESCENT: f64 = 0.244;
/// Distance between baselines in parts of the size.
pub(crate) const LINE_HEIGHT: f64 = 1.22;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    Regular,
    Bold,
}

/// Measures and breaks text exactly as it will be set: advances and pair kerning, no ligatures.
pub(crate) struct Ruler {
    regular: Cut,
    bold: Cut,
}

/// One of the two fonts.
struct Cut {
    face: Face<'static>,
    kerning: Kerning<'static>,
}

impl Cut {
    fn new(data: &'static [u8]) -> Result<Self> {
        let face = Face::parse(data, 0).map_err(|e| Error::render("text", e))?;
        let kerning = Kerning::of(&face);
        Ok(Self { face, kerning })
    }

    fn glyph(&self, c: char) -> GlyphId {
        // Glyph 0 is the box that stands for a missing character.
        self.face.glyph_index(c).unwrap_or(GlyphId(0))
    }
}

impl Ruler {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            regular: Cut::new(REGULAR)?,
            bold: Cut::new(BOLD)?,
        })
    }

    fn cut(&self, weight: Weight) -> &Cut {
        match weight {
            Weight::Regular => &self.regular,
            Weight::Bold => &self.bold,
        }
    }

    /// Width of one line in the unit of `size`.
    pub(crate) fn width(&self, text: &str, weight: Weight, size: f64) -> f64 {
        let cut = self.cut(weight);
        let mut units = 0.0;
        let mut previous = None;
        for c in text.chars() {
            let glyph = cut.glyph(c);
            if let Some(left) = previous {
                units += f64::from(cut.kerning.between(left, glyph));
            }
            units += f64::from(cut.face.glyph_hor_advance(glyph).unwrap_or(0));
            previous = Some(glyph);
        }
        units * size / f64::from(cut.face.units_per_em())
    }

    /// Breaks a text at spaces, but for no-break spaces, into at most `max_lines` lines of at most `max_width`. What does not fit ends in "…";
    /// words wider than a line are broken.
    pub(crate) fn wrap(
        &self,
        text: &str,
        weight: Weight,
        size: f64,
        max_width: f64,
        max_lines: usize,
    ) -> Vec<String> {
        // Widths come from floating-point sums; a text that was measured must fit into its own width.
        let fits = |line: &str| self.width(line, weight, size) <= max_width + 1e-6;
        let mut lines: Vec<String> = Vec::new();
        let mut line = String::new();
        let mut words: Vec<String> = text
            .split(|c: char| c.is_whitespace() && c != '\u{a0}')
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect();
        words.reverse();
        while let Some(word) = words.pop() {
            let longer = if line.is_empty() {
                word.clone()
            } else {
                format!("{line} {word}")
            };
            if fits(&longer) {
                line = longer;
                continue;
            }
            if lines.len() + 1 == max_lines {
                lines.push(self.shorten(&longer, weight, size, max_width));
                return lines;
            }
            if line.is_empty() {
                // At least one character goes on the line, so this ends.
                let fitting = (1..word.chars().count())
                    .rev()
                    .find(|&n| fits(&prefix(&word, n)))
                    .unwrap_or(1);
                lines.push(prefix(&word, fitting));
                let rest: String = word.chars().skip(fitting).collect();
                if !rest.is_empty() {
                    words.push(rest);
                }
            } else {
                lines.push(std::mem::take(&mut line));
                words.push(word);
            }
        }
        if !line.is_empty() {
            lines.push(line);
        }
        lines
    }

    /// The longest beginning of a text that fits with "…" behind it.
    fn shorten(&self, text: &str, weight: Weight, size: f64, max_width: f64) -> String {
        let count = text.chars().count();
        let short = |n: usize| format!("{}…", prefix(text, n).trim_end());
        (0..count)
            .rev()
            .map(short)
            .find(|s| self.width(s, weight, size) <= max_width)
            .unwrap_or_else(|| "…".to_owned())
    }

    /// A TrueType font with the glyphs of `chars` only, for embedding in an SVG.
    pub(crate) fn subset(&self, weight: Weight, chars: &BTreeSet<char>) -> Result<Vec<u8>> {
        let cut = self.cut(weight);
        subset::subset(&cut.face, &cut.kerning, chars).ok_or_else(|| {
            Error::render("SVG", "the font cannot be reduced to the characters in use")
        })
    }
}

fn prefix(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

/// The fonts for the PDF and PNG backends; no font of the system is ever used.
pub(crate) fn database() -> Arc<fontdb::Database> {
    let mut fonts = fontdb::Database::new();
    for data in [REGULAR, BOLD] {
        fonts.load_font_source(fontdb::Source::Binary(Arc::new(data)));
    }
    fonts.set_sans_serif_family(FAMILY);
    Arc::new(fonts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_tabular() {
        let ruler = Ruler::new().unwrap();
        for weight in [Weight::Regular, Weight::Bold] {
            let zero = ruler.width("0000", weight, 8.0);
            for text in ["1111", "4747", "7171", "9999"] {
                assert!(
                    (ruler.width(text, weight, 8.0) - zero).abs() < 1e-9,
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn pairs_are_kerned() {
        let ruler = Ruler::new().unwrap();
        let apart = ruler.width("A", Weight::Regular, 1.0) + ruler.width("V", Weight::Regular, 1.0);
        assert!(ruler.width("AV", Weight::Regular, 1.0) < apart - 0.01);
    }

    #[test]
    fn lines_fit_and_lose_nothing() {
        let ruler = Ruler::new().unwrap();
        let text = "put the orange carrot on the plate next to the Donaudampfschifffahrtsgesellschaft please";
        for width in [20.0, 40.0, 90.0, 500.0] {
            let lines = ruler.wrap(text, Weight::Regular, 8.0, width, 100);
            assert!(
                lines
                    .iter()
                    .all(|l| ruler.width(l, Weight::Regular, 8.0) <= width + 1e-6),
                "{lines:?}"
            );
            let letters = |s: &str| s.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            assert_eq!(letters(&lines.concat()), letters(text));
        }
        let short = ruler.wrap(text, Weight::Bold, 8.0, 60.0, 2);
        assert_eq!(short.len(), 2);
        assert!(short[1].ends_with('…'));
        assert!(ruler.wrap("  ", Weight::Bold, 8.0, 60.0, 2).is_empty());
    }

    #[test]
    fn a_subset_has_the_same_outlines_and_kerning() {
        let ruler = Ruler::new().unwrap();
        let text = "AV. To ½ Ångström × 0.61 é";
        let chars: BTreeSet<char> = text.chars().collect();
        for weight in [Weight::Regular, Weight::Bold] {
            let bytes = ruler.subset(weight, &chars).unwrap();
            assert!(bytes.len() < 24_000, "{}", bytes.len());
            let whole = &ruler.cut(weight).face;
            let part = Face::parse(&bytes, 0).unwrap();
            assert_eq!(part.units_per_em(), whole.units_per_em());
            for &c in &chars {
                let (a, b) = (whole.glyph_index(c).unwrap(), part.glyph_index(c).unwrap());
                assert_eq!(whole.glyph_hor_advance(a), part.glyph_hor_advance(b), "{c}");
                assert_eq!(
                    whole.glyph_bounding_box(a),
                    part.glyph_bounding_box(b),
                    "{c}"
                );
                assert_eq!(outline(whole, a), outline(&part, b), "{c}");
            }
            let kern = part
                .tables()
                .kern
                .unwrap()
                .subtables
                .into_iter()
                .next()
                .unwrap();
            let glyph = |c| part.glyph_index(c).unwrap();
            assert!(kern.glyphs_kerning(glyph('A'), glyph('V')).unwrap() < 0);
            assert_eq!(bytes, ruler.subset(weight, &chars).unwrap());
        }
    }

    fn outline(face: &Face<'_>, glyph: GlyphId) -> Vec<[i32; 2]> {
        struct Points(Vec<[i32; 2]>);
        impl ttf_parser::OutlineBuilder for Points {
            fn move_to(&mut self, x: f32, y: f32) {
                self.0.push([x as i32, y as i32]);
            }
            fn line_to(&mut self, x: f32, y: f32) {
                self.0.push([x as i32, y as i32]);
            }
            fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
                self.0
                    .extend([[x1 as i32, y1 as i32], [x as i32, y as i32]]);
            }
            fn curve_to(&mut self, _: f32, _: f32, _: f32, _: f32, x: f32, y: f32) {
                self.0.push([x as i32, y as i32]);
            }
            fn close(&mut self) {}
        }
        let mut points = Points(Vec::new());
        face.outline_glyph(glyph, &mut points);
        points.0
    }
}
