//! What is painted over a frame.

use grounding::HeadId;
use serde::{Deserialize, Serialize};

/// Which attention map is shown over the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MapChoice {
    /// The aggregate of the selected heads, as [`grounding::HeadSelection::aggregate`] asks for.
    #[default]
    Selected,
    /// The mean over all captured heads of all captured layers.
    Mean,
    /// One head.
    Head(HeadId),
}

/// A perceptually uniform colour map for heat maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ColorMap {
    /// Dark blue over green to yellow.
    #[default]
    Viridis,
    /// Black over purple to pale yellow.
    Magma,
    /// Dark blue over grey to yellow; made for colour-vision deficiency.
    Cividis,
}

impl ColorMap {
    /// Every colour map, in menu order.
    pub const ALL: [Self; 3] = [Self::Viridis, Self::Magma, Self::Cividis];

    /// The name shown to people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Viridis => "Viridis",
            Self::Magma => "Magma",
            Self::Cividis => "Cividis",
        }
    }
}

/// How a patch grid is brought to the size of the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Upsampling {
    /// A patch is a patch.
    #[default]
    Nearest,
    /// Bilinear between patch centres; looks finer than the data is, so it is a visible choice.
    Smooth,
}

/// What is drawn over the frame, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overlay {
    /// Whether the heat map is drawn.
    pub heat_map: bool,
    /// Whether the pseudo-gaze mask is drawn.
    pub mask: bool,
    /// Whether detector and ground-truth boxes are drawn.
    pub boxes: bool,
    /// Opacity of the heat map, 0 to 1.
    pub opacity: f32,
    /// Colour map of the heat map.
    pub color_map: ColorMap,
    /// How patches become pixels.
    pub upsampling: Upsampling,
    /// Whether each head of the grid is scaled to its own maximum; otherwise all share one scale.
    pub scale_per_head: bool,
}

impl Default for Overlay {
    fn default() -> Self {
        Self {
            heat_map: true,
            mask: true,
            boxes: true,
            opacity: 0.6,
            color_map: ColorMap::default(),
            upsampling: Upsampling::default(),
            scale_per_head: false,
        }
    }
}
