//! Figures for papers: one recipe, one layout, written as SVG, PDF and PNG.

pub mod colormap;

pub use colormap::ColorMap;
