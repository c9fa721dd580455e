//! From attention to a pseudo-gaze mask: which heads look at what the instruction names, where they look, and how
//! well that agrees with a box.
//!
//! The one currency is the [`Capture`]: attention rows of one model on one frame, with the box of the original image
//! that every token stands for. The one value is the [`HeadSelection`]: every threshold on the way to the mask.
//!
//! Nothing here knows about tensors of a network library, windows or files, except [`attncap`], which stores captures.

mod capture;
mod error;
mod geometry;
mod maps;
pub mod selection;
mod sinks;

pub use capture::{Capture, CaptureParts, Detection, Key, Query, TokenRole, View, ViewGrid};
pub use error::{Error, Result};
pub use geometry::{Grid, Rect};
pub use maps::{HeadId, HeadMaps, Sinks};
pub use selection::{
    Aggregate, BaseMask, BottomRow, Budget, Connectivity, Elbow, ElbowMode, ElbowPool, EntropyRule,
    EntropyTotal, EntropyWeight, Floor, FrequencyTie, HeadSelection, MaskRule, NoComponent,
    PRESETS, QuerySelector, SinkFilter, SinkRule, Smoothing, SumSource, Tie,
};
pub use sinks::{detect as detect_sinks, sink_phi};
