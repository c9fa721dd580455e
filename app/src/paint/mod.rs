//! From numbers to pixels: colour maps, heat maps, outlines, boxes and the textures that hold them.
//!
//! Everything here works on the CPU and needs nothing but an [`egui::Context`]. A heat map becomes a texture at patch
//! resolution (one texel a patch), so an upload is a few kilobytes and the GPU does the scaling. Colours come from
//! [`figure::colormap`], the table that printed figures use, so screen and paper agree.

mod bar;
mod heat;
mod outline;
mod overlay;
mod texture;

pub use bar::{color_bar_ui, format_value};
pub use heat::{AtlasLayout, Scale, atlas_image, bar_image, heat_image};
pub use outline::{Vertex, outline};
pub use overlay::{Dash, FrameView, Line};
pub use texture::{Textures, content_key, map_key};

use egui::{Color32, TextureOptions};
use session::Upsampling;

/// The colour of arm `index` in plots: the Okabe–Ito set without black (which a dark theme would swallow) and without
/// yellow (which a light one would), repeated after six. Use a second cue (dash, marker) beyond that.
pub fn arm_color(index: usize) -> Color32 {
    use figure::colormap::okabe_ito as c;
    const ARMS: [[u8; 3]; 6] = [c::BLUE, c::VERMILLION, c::GREEN, c::ORANGE, c::SKY_BLUE, c::PURPLE];
    let [r, g, b] = ARMS[index % ARMS.len()];
    Color32::from_rgb(r, g, b)
}

/// Filtering that shows a heat map as the person chose.
pub fn filtering(upsampling: Upsampling) -> TextureOptions {
    match upsampling {
        Upsampling::Nearest => TextureOptions::NEAREST,
        Upsampling::Smooth => TextureOptions::LINEAR,
    }
}
