use crate::selection::{HeadSelection, MaskRule};
use crate::{Error, HeadId, HeadMaps, HeatMap, Mask, Quantised, Rect, Result, heat_map};

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
        let regions = quantised.cut(rule)?;
        Ok(Self::assemble(map, &quantised, regions, dilate))
    }

    /// The same, with an empty mask and the reason where none can be cut: a miss, where frames are compared.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::NonFinite`] for a map that was not made by this crate.
    pub fn from_map_or_why(
        map: HeatMap,
        rule: &MaskRule,
        dilate: usize,
    ) -> Result<(Self, Option<Error>)> {
        let quantised = map.quantised()?;
        let (regions, why) = match quantised.cut(rule) {
            Ok(regions) => (regions, None),
            Err(why) => ((Mask::empty(map.grid), None), Some(why)),
        };
        Ok((Self::assemble(map, &quantised, regions, dilate), why))
    }

    fn assemble(
        map: HeatMap,
        quantised: &Quantised,
        (first, second): (Mask, Option<Mask>),
        dilate: usize,
    ) -> Self {
        let grown = |mask: Mask| {
            if dilate == 0 {
                mask
            } else {
                mask.dilated(dilate)
            }
        };
        let mask = grown(first);
        Self {
            rect: mask.rect(),
            peak: quantised.peak(),
            map,
            mask,
            second: second.map(grown),
        }
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
