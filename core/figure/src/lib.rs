//! Figures for papers: one recipe, one layout, written as SVG, PDF and PNG.
//!
//! ```text
//! Recipe ── resolve (pictures, captures) ──▶ FigureData ── render ──▶ Figure ──▶ .svg .pdf .png
//! ```
//!
//! * A [`Recipe`] is a small RON file. [`resolve`] fetches what it names; models are run by the caller, who hands in a
//!   [`CaptureSource`].
//! * [`render`] sets [`FigureData`] in millimetres and points. The layout is made once, as an SVG with live text and its
//!   own fonts; PDF and PNG are made from that same SVG, so all three show the same.
//! * Heat maps are stored at patch resolution in the exact colours of the colour bar and never smoothed.
//! * The same recipe on the same data gives the same bytes: no clock, no random identifiers, no font of the system.

pub mod colormap;
mod data;
mod error;
mod export;
mod files;
pub mod font;
mod layout;
mod outline;
mod recipe;
mod resolve;
mod scale;
mod scene;
mod style;

pub use colormap::ColorMap;
pub use data::{
    ArmProvenance, BoxKind, Cell, CellNumbers, ColumnHead, FigureData, FrameProvenance, MapLayer,
    MaskLayer, PatchEdges, Provenance, Row,
};
pub use episode::is_specification;
pub use error::{Error, Result, SourceError};
pub use export::{Figure, Format, Raster};
pub use layout::render;
pub use outline::{Vertex, outline};
pub use recipe::{Arm, Column, Content, FORMAT_VERSION, Frame, Look, MapChoice, Recipe, Reference};
pub use resolve::{CaptureSource, resolve};
pub use style::{Scale, Style, Width};
