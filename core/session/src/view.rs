//! What is painted over a frame.

use figure::ColorMap;
use serde::{Deserialize, Serialize};

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
