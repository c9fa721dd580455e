//! From numbers to pixels: colour maps, heat maps, outlines, boxes and the textures that hold them.
//!
//! Everything here works on the CPU and needs nothing but an [`egui::Context`]; only [`Scene`] knows the inspector's [`Look`](crate::inspector::Look). A heat map becomes a texture at patch
//! resolution (one texel a patch), so an upload is a few kilobytes and the GPU does the scaling. Colours come from
//! [`figure::ColorMap`], the table that printed figures use, so screen and paper agree.

mod bar;
mod heat;
mod overlay;
mod scene;
mod texture;

pub use bar::{color_bar_ui, format_value};
pub use figure::{Vertex, outline};
pub use heat::{AtlasLayout, Scale, atlas_image, bar_image, heat_image};
pub use overlay::{Dash, FrameView, Line};
pub use scene::{Layers, Scene, honest_color_map, legend_ui};
pub use texture::{Textures, content_key, map_key};

use egui::TextureOptions;
use session::Upsampling;

/// Filtering that shows a heat map as the person chose.
pub fn filtering(upsampling: Upsampling) -> TextureOptions {
    match upsampling {
        Upsampling::Nearest => TextureOptions::NEAREST,
        Upsampling::Smooth => TextureOptions::LINEAR,
    }
}
