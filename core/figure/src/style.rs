//! How a figure is set.

use serde::{Deserialize, Serialize};

use crate::colormap::okabe_ito;
use crate::{ColorMap, Error, Result};

/// Size, type, colours, and what is written round the cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Style {
    /// Width on paper.
    pub width: Width,
    /// Size of the text in points, 7 to 9. Numbers, legend and provenance are one point smaller, but never below 7.
    pub text_pt: f64,
    /// Colour map of heat maps. Maps with negative values and differences use [`ColorMap::Diverging`] whatever this is.
    pub color_map: ColorMap,
    /// Which cells share a scale.
    pub scale: Scale,
    /// Opacity of a heat map over a picture, 0 to 1.
    pub opacity: f64,
    /// Whether colour bars are drawn.
    pub color_bar: bool,
    /// Whether IoU and hit are written under the cells.
    pub numbers: bool,
    /// Whether outlines are explained.
    pub legend: bool,
    /// Whether rows are lettered a, b, c.
    pub letters: bool,
    /// Whether model, checkpoint, selection and data are written below. The metadata of the file has them always.
    pub provenance: bool,
    /// Resolution of PNG files in dots per inch, 50 to 1200.
    pub dpi: u32,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            width: Width::default(),
            text_pt: 8.0,
            color_map: ColorMap::default(),
            scale: Scale::default(),
            opacity: 0.6,
            color_bar: true,
            numbers: true,
            legend: true,
            letters: false,
            provenance: true,
            dpi: 300,
        }
    }
}

impl Style {
    /// # Errors
    /// [`Error::Recipe`] that names the field.
    pub(crate) fn check(&self) -> Result<()> {
        let fail = |message: String| Err(Error::Recipe(message));
        let mm = self.width.mm();
        if !(Width::MIN_MM..=Width::MAX_MM).contains(&mm) {
            return fail(format!(
                "width {mm} mm is not between {} and {} mm",
                Width::MIN_MM,
                Width::MAX_MM
            ));
        }
        if !(7.0..=9.0).contains(&self.text_pt) {
            return fail(format!(
                "text of {} pt is not between 7 and 9 pt",
                self.text_pt
            ));
        }
        if !(0.0..=1.0).contains(&self.opacity) {
            return fail(format!("opacity {} is not between 0 and 1", self.opacity));
        }
        if !(50..=1200).contains(&self.dpi) {
            return fail(format!(
                "resolution {} dpi is not between 50 and 1200 dpi",
                self.dpi
            ));
        }
        if let Scale::Fixed(max) = self.scale
            && !(max.is_finite() && max > 0.0)
        {
            return fail(format!("scale maximum {max} is not above 0"));
        }
        Ok(())
    }

    /// Size of numbers, legend and provenance in points.
    pub(crate) fn small_pt(&self) -> f64 {
        (self.text_pt - 1.0).max(7.0)
    }
}

/// Width of a figure on paper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Width {
    /// One column of a two-column page, 85 mm.
    Single,
    /// Both columns, 178 mm.
    #[default]
    Double,
    /// So many millimetres, 30 to 400.
    Mm(f64),
}

impl Width {
    const MIN_MM: f64 = 30.0;
    const MAX_MM: f64 = 400.0;

    /// In millimetres.
    #[must_use]
    pub fn mm(self) -> f64 {
        match self {
            Self::Single => 85.0,
            Self::Double => 178.0,
            Self::Mm(mm) => mm,
        }
    }
}

/// Which heat maps of a figure share one scale from zero to their largest value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Scale {
    /// All of them.
    Figure,
    /// Those of one column.
    #[default]
    Column,
    /// Each has its own; every cell then says its maximum.
    Cell,
    /// All of them, with this maximum; larger values take the last colour and the bar says so.
    Fixed(f64),
}

/// Line drawn over a picture: colour, and dashes as a second cue for readers who cannot tell the colours apart.
/// A wider black line below keeps it visible on any ground.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stroke {
    pub color: [u8; 3],
    /// On and off lengths in points; empty for a solid line.
    pub dash: &'static [f64],
}

/// Points. The casing shows 0.35 pt on either side.
pub(crate) const LINE_PT: f64 = 0.8;
pub(crate) const CASING_PT: f64 = 1.5;

/// What is outlined in a cell. The colours are those of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mark {
    Mask,
    SecondRegion,
    Detector,
    Truth,
}

impl Mark {
    pub(crate) fn stroke(self) -> Stroke {
        match self {
            Self::Mask => Stroke {
                color: [255, 255, 255],
                dash: &[],
            },
            Self::SecondRegion => Stroke {
                color: okabe_ito::YELLOW,
                dash: &[4.0, 1.2],
            },
            Self::Detector => Stroke {
                color: okabe_ito::ORANGE,
                dash: &[2.4, 1.4],
            },
            Self::Truth => Stroke {
                color: okabe_ito::SKY_BLUE,
                dash: &[4.0, 1.2, 0.9, 1.2],
            },
        }
    }

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Mask => "pseudo-gaze mask",
            Self::SecondRegion => "second region",
            Self::Detector => "detector box",
            Self::Truth => "ground-truth box",
        }
    }
}
