//! Reduces a TrueType font to the characters in use, so that an SVG can carry it: about 10 kB instead of 300.
//!
//! Glyphs are renumbered. Kerning between the glyphs that are left moves from GPOS to a plain `kern` table. The tables are
//! those of the OpenType specification, version 1.9.

use std::collections::{BTreeMap, BTreeSet};

use ttf_parser::{Face, GlyphId, Tag};

use super::kerning::Kerning;

/// `None` when a table is missing or torn.
pub(super) fn subset(
    face: &Face<'_>,
    kerning: &Kerning<'_>,
    chars: &BTreeSet<char>,
) -> Option<Vec<u8>> {
    let table = |tag: &[u8; 4]| face.raw_face().table(Tag::from_bytes(tag));
    let glyphs = Glyphs::of(face)?;

    // Old numbers of all glyphs that are needed, the missing-character box first.
    let wanted: BTreeMap<char, u16> = chars
        .iter()
        .filter_map(|&c| Some((c, face.glyph_index(c)?.0)))
        .collect();
    let mut old: BTreeSet<u16> = wanted.values().copied().chain([0]).collect();
    let mut open: Vec<u16> = old.iter().copied().collect();
    while let Some(glyph) = open.pop() {
        for at in components(glyphs.data(glyph)?)? {
            let component = u16_at(glyphs.data(glyph)?, at)?;
            if old.insert(component) {
                open.push(component);
            }
        }
    }
    let new_of: BTreeMap<u16, u16> = old
        .iter()
        .zip(0u16..)
        .map(|(&old, new)| (old, new))
        .collect();
    let count = u16::try_from(old.len()).ok()?;

    let (mut glyf, mut loca, mut hmtx) = (Vec::new(), Vec::new(), Vec::new());
    for &glyph in &old {
        loca.extend(u32::try_from(glyf.len()).ok()?.to_be_bytes());
        let mut data = glyphs.data(glyph)?.to_vec();
        for at in components(&data)? {
            let new = new_of.get(&u16_at(&data, at)?)?;
            data.get_mut(at..at + 2)?
                .copy_from_slice(&new.to_be_bytes());
        }
        data.resize(data.len().next_multiple_of(4), 0);
        glyf.extend(data);
        hmtx.extend(
            face.glyph_hor_advance(GlyphId(glyph))
                .unwrap_or(0)
                .to_be_bytes(),
        );
        hmtx.extend(
            face.glyph_hor_side_bearing(GlyphId(glyph))
                .unwrap_or(0)
                .to_be_bytes(),
        );
    }
    loca.extend(u32::try_from(glyf.len()).ok()?.to_be_bytes());

    let mut head = table(b"head")?.to_vec();
    head.get_mut(8..12)?.fill(0); // checkSumAdjustment, set at the end
    head.get_mut(50..52)?.copy_from_slice(&1i16.to_be_bytes()); // long offsets in loca
    let mut hhea = table(b"hhea")?.to_vec();
    hhea.get_mut(34..36)?.copy_from_slice(&count.to_be_bytes());
    let mut maxp = table(b"maxp")?.to_vec();
    maxp.get_mut(4..6)?.copy_from_slice(&count.to_be_bytes());
    let mut post = table(b"post")?.get(..32)?.to_vec();
    post.get_mut(..4)?
        .copy_from_slice(&0x0003_0000u32.to_be_bytes()); // no glyph names

    let mapping: BTreeMap<u16, u16> = wanted
        .iter()
        .filter_map(|(&c, glyph)| Some((u16::try_from(u32::from(c)).ok()?, *new_of.get(glyph)?)))
        .collect();
    let mut tables: BTreeMap<[u8; 4], Vec<u8>> = BTreeMap::from([
        (*b"OS/2", table(b"OS/2")?.to_vec()),
        (*b"cmap", cmap(&mapping)?),
        (*b"glyf", glyf),
        (*b"head", head),
        (*b"hhea", hhea),
        (*b"hmtx", hmtx),
        (*b"loca", loca),
        (*b"maxp", maxp),
        (*b"name", table(b"name")?.to_vec()),
        (*b"post", post),
    ]);
    if let Some(kern) = kern(kerning, &new_of)? {
        tables.insert(*b"kern", kern);
    }
    assemble(&tables)
}

/// Access to glyph descriptions by number.
struct Glyphs<'a> {
    glyf: &'a [u8],
    loca: &'a [u8],
    long: bool,
}

impl<'a> Glyphs<'a> {
    fn of(face: &Face<'a>) -> Option<Self> {
        let table = |tag| face.raw_face().table(Tag::from_bytes(tag));
        let long = u16_at(table(b"head")?, 50)? == 1;
        Some(Self {
            glyf: table(b"glyf")?,
            loca: table(b"loca")?,
            long,
        })
    }

    /// Empty for glyphs without an outline, as the space.
    fn data(&self, glyph: u16) -> Option<&'a [u8]> {
        let offset = |index: usize| {
            Some(if self.long {
                u32_at(self.loca, index * 4)? as usize
            } else {
                usize::from(u16_at(self.loca, index * 2)?) * 2
            })
        };
        self.glyf
            .get(offset(usize::from(glyph))?..offset(usize::from(glyph) + 1)?)
    }
}

/// Positions of the glyph numbers within a composite glyph; none in a simple one.
fn components(glyph: &[u8]) -> Option<Vec<usize>> {
    const ARGS_ARE_WORDS: u16 = 0x0001;
    const HAS_SCALE: u16 = 0x0008;
    const MORE: u16 = 0x0020;
    const HAS_XY_SCALE: u16 = 0x0040;
    const HAS_MATRIX: u16 = 0x0080;
    let mut positions = Vec::new();
    if glyph.is_empty() || (u16_at(glyph, 0)? as i16) >= 0 {
        return Some(positions);
    }
    let mut at = 10;
    loop {
        let flags = u16_at(glyph, at)?;
        positions.push(at + 2);
        at += 4;
        at += if flags & ARGS_ARE_WORDS != 0 { 4 } else { 2 };
        at += match flags {
            f if f & HAS_SCALE != 0 => 2,
            f if f & HAS_XY_SCALE != 0 => 4,
            f if f & HAS_MATRIX != 0 => 8,
            _ => 0,
        };
        if flags & MORE == 0 {
            return Some(positions);
        }
    }
}

/// A `cmap` table of format 4 from character to glyph.
fn cmap(mapping: &BTreeMap<u16, u16>) -> Option<Vec<u8>> {
    // Runs in which character and glyph count up together, as (first, last, glyph − character).
    let mut runs: Vec<(u16, u16, u16)> = Vec::new();
    for (&c, &glyph) in mapping.iter().filter(|(c, _)| **c != 0xFFFF) {
        let delta = glyph.wrapping_sub(c);
        match runs.last_mut() {
            Some((_, last, d)) if last.checked_add(1) == Some(c) && *d == delta => *last = c,
            _ => runs.push((c, c, delta)),
        }
    }
    runs.push((0xFFFF, 0xFFFF, 1)); // required end; maps to glyph 0
    let n = u16::try_from(runs.len()).ok()?;
    let power = n.ilog2();
    let length = u16::try_from(16 + 8 * runs.len()).ok()?;
    let range = u16::try_from(2u32.checked_pow(power + 1)?).ok()?;
    let mut out = Vec::new();
    // Header: version, one subtable, Windows platform, Unicode BMP, offset.
    out.extend([0u16, 1, 3, 1, 0, 12].iter().flat_map(|v| v.to_be_bytes()));
    let header = [
        4,
        length,
        0,
        n * 2,
        range,
        power as u16,
        (n * 2).checked_sub(range)?,
    ];
    out.extend(header.iter().flat_map(|v| v.to_be_bytes()));
    out.extend(runs.iter().flat_map(|r| r.1.to_be_bytes()));
    out.extend([0, 0]);
    out.extend(runs.iter().flat_map(|r| r.0.to_be_bytes()));
    out.extend(runs.iter().flat_map(|r| r.2.to_be_bytes()));
    out.extend(runs.iter().flat_map(|_| [0, 0]));
    Some(out)
}

/// A `kern` table of version 0, `None` inside when no pair is kerned.
fn kern(kerning: &Kerning<'_>, new_of: &BTreeMap<u16, u16>) -> Option<Option<Vec<u8>>> {
    let mut pairs = Vec::new();
    for (&left, &new_left) in new_of {
        for (&right, &new_right) in new_of {
            let value = kerning.between(GlyphId(left), GlyphId(right));
            if value != 0 {
                pairs.push((new_left, new_right, value));
            }
        }
    }
    // The length field has 16 bits; more pairs than that never come from the text of a figure.
    const MOST: usize = (u16::MAX as usize - 14) / 6;
    pairs.truncate(MOST);
    let Some(power) = u16::try_from(pairs.len()).ok()?.checked_ilog2() else {
        return Some(None);
    };
    let n = u16::try_from(pairs.len()).ok()?;
    let range = u16::try_from(6u32 << power).ok()?;
    let header = [
        0,
        1,
        0,
        n.checked_mul(6)?.checked_add(14)?,
        1,
        n,
        range,
        power as u16,
        (n * 6).checked_sub(range)?,
    ];
    let mut out: Vec<u8> = header.iter().flat_map(|v| v.to_be_bytes()).collect();
    for (left, right, value) in pairs {
        out.extend(left.to_be_bytes());
        out.extend(right.to_be_bytes());
        out.extend(value.to_be_bytes());
    }
    Some(Some(out))
}

/// Directory, tables in order of their tags, checksums.
fn assemble(tables: &BTreeMap<[u8; 4], Vec<u8>>) -> Option<Vec<u8>> {
    let n = u16::try_from(tables.len()).ok()?;
    let power = n.checked_ilog2()?;
    let range = 16u16.checked_shl(power)?;
    let mut out = Vec::new();
    out.extend(0x0001_0000u32.to_be_bytes());
    out.extend(
        [n, range, power as u16, n * 16 - range]
            .iter()
            .flat_map(|v| v.to_be_bytes()),
    );
    let mut offset = 12 + 16 * tables.len();
    let mut head_at = None;
    for (tag, data) in tables {
        out.extend(tag);
        out.extend(checksum(data).to_be_bytes());
        out.extend(u32::try_from(offset).ok()?.to_be_bytes());
        out.extend(u32::try_from(data.len()).ok()?.to_be_bytes());
        if tag == b"head" {
            head_at = Some(offset);
        }
        offset += data.len().next_multiple_of(4);
    }
    for data in tables.values() {
        out.extend(data);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    let adjustment = 0xB1B0_AFBAu32.wrapping_sub(checksum(&out));
    let at = head_at? + 8;
    out.get_mut(at..at + 4)?
        .copy_from_slice(&adjustment.to_be_bytes());
    Some(out)
}

/// Sum of big-endian words, the last one filled up with zeros.
fn checksum(data: &[u8]) -> u32 {
    data.chunks(4).fold(0u32, |sum, chunk| {
        let mut word = [0; 4];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        sum.wrapping_add(u32::from_be_bytes(word))
    })
}

fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(
        data.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(
        data.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}
