use crate::selection::{HeadSelection, MaskRule};
use crate::{Error, HeadId, HeadMaps, HeatMap, Mask, Rect, Result, heat_map};

/// Where a model looks in one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaze {
    /// Heat map.
    pub map: HeatMap,
    /// Mask, or the first of two regions.
    pub mask: Mask,
    /// Second region, where the rule asks for two and the map shows two.
    pub second: Option<Mask>,
    /// Box around [`Gaze::mask`], normalised to the grid; `None` when the mask is empty.
    pub rect: Option<Rect>,
    /// Brightest patch; `None` when nothing is above 0.
    pub peak: Option<usize>,
}

impl Gaze {
    /// Cuts the mask out of a heat map.
    ///
    /// # Errors
    /// [`Error::EmptyMap`] and [`Error::FlatMap`] when the rule needs a region and the map shows none;
    /// [`Error::Budget`] and [`Error::Option`] when the rule asks for the impossible.
    pub fn from_map(map: HeatMap, rule: &MaskRule, dilate: usize) -> Result<Self> {
        let quantised = map.quantised()?;
        let (first, second) = quantised.cut(rule)?;
        let mask = if dilate == 0 {
            first
        } else {
            first.dilated(dilate)
        };
        let second = second.map(|second| second.dilated(dilate));
        Ok(Self {
            rect: mask.rect(),
            peak: quantised.peak(),
            map,
            mask,
            second,
        })
    }

    /// A gaze without a region, for a map that shows none.
    pub(crate) fn without_region(map: HeatMap) -> Result<Self> {
        let peak = map.quantised()?.peak();
        Ok(Self {
            mask: Mask::empty(map.grid),
            second: None,
            rect: None,
            peak,
            map,
        })
    }

    /// Both regions together.
    pub fn union(&self) -> Mask {
        match &self.second {
            Some(second) => self
                .mask
                .union(second)
                .unwrap_or_else(|_| self.mask.clone()),
            None => self.mask.clone(),
        }
    }
}

/// Heat map, mask and box of one frame: what one move of a slider computes anew.
///
/// # Errors
/// As [`heat_map`] and [`Gaze::from_map`].
pub fn gaze(maps: &HeadMaps, heads: &[HeadId], selection: &HeadSelection) -> Result<Gaze> {
    Gaze::from_map(
        heat_map(maps, heads, selection)?,
        &selection.mask,
        selection.dilate,
    )
}

/// The same, with an empty mask where the map shows no region.
pub(crate) fn gaze_or_none(
    maps: &HeadMaps,
    heads: &[HeadId],
    selection: &HeadSelection,
) -> Result<Gaze> {
    let map = heat_map(maps, heads, selection)?;
    match Gaze::from_map(map.clone(), &selection.mask, selection.dilate) {
        Err(Error::EmptyMap | Error::FlatMap) => Gaze::without_region(map),
        other => other,
    }
}
