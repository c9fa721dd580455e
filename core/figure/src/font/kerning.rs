//! Pair kerning as a shaper applies it to Latin text: the `kern` feature of the GPOS table.

use ttf_parser::gpos::{PairAdjustment, PositioningSubtable};
use ttf_parser::{Face, GlyphId, Tag};

/// The kerning of one font.
pub(super) struct Kerning<'a> {
    /// One list of subtables per lookup, in the order in which they apply.
    lookups: Vec<Vec<PairAdjustment<'a>>>,
}

impl<'a> Kerning<'a> {
    /// Reads the pair lookups of a font; none where it has no GPOS table.
    pub(super) fn of(face: &Face<'a>) -> Self {
        Self {
            lookups: lookups(face).unwrap_or_default(),
        }
    }

    /// What is added to the advance of the left glyph, in font units.
    pub(super) fn between(&self, left: GlyphId, right: GlyphId) -> i16 {
        self.lookups
            .iter()
            .map(|subtables| {
                subtables
                    .iter()
                    .find_map(|s| adjustment(s, left, right))
                    .unwrap_or(0)
            })
            .sum()
    }
}

fn lookups<'a>(face: &Face<'a>) -> Option<Vec<Vec<PairAdjustment<'a>>>> {
    let gpos = face.tables().gpos?;
    let script = gpos
        .scripts
        .find(Tag::from_bytes(b"latn"))
        .or_else(|| gpos.scripts.find(Tag::from_bytes(b"DFLT")))?;
    let mut indices: Vec<u16> = script
        .default_language?
        .feature_indices
        .into_iter()
        .filter_map(|index| gpos.features.get(index))
        .filter(|feature| feature.tag == Tag::from_bytes(b"kern"))
        .flat_map(|feature| feature.lookup_indices)
        .collect();
    indices.sort_unstable();
    indices.dedup();
    let pairs = |index| {
        let subtables = gpos.lookups.get(index)?.subtables;
        Some(
            subtables
                .into_iter::<PositioningSubtable<'_>>()
                .filter_map(|subtable| match subtable {
                    PositioningSubtable::Pair(pair) => Some(pair),
                    _ => None,
                })
                .collect(),
        )
    };
    Some(indices.into_iter().filter_map(pairs).collect())
}

/// `None` where the subtable does not speak about the pair, so that the next one is asked.
fn adjustment(subtable: &PairAdjustment<'_>, left: GlyphId, right: GlyphId) -> Option<i16> {
    match subtable {
        PairAdjustment::Format1 { coverage, sets } => {
            let (first, _) = sets.get(coverage.get(left)?)?.get(right)?;
            Some(first.x_advance)
        }
        PairAdjustment::Format2 {
            coverage,
            classes,
            matrix,
        } => {
            coverage.get(left)?;
            let (first, _) = matrix.get((classes.0.get(left), classes.1.get(right)))?;
            Some(first.x_advance)
        }
    }
}
