//! From attention to a pseudo-gaze mask: which heads look at what the instruction names, where they look, and how
//! well that agrees with a box.
//!
//! The one currency is the [`Capture`]: attention rows of one model on one frame, with the box of the original image
//! that every token stands for. The one value is the [`HeadSelection`]: every threshold on the way to the mask.
//!
//! Nothing here knows about tensors of a network library, windows or files, except [`attncap`], which stores captures.

mod aggregate;
pub mod analysis;
pub mod attncap;
mod capture;
mod components;
mod criteria;
mod elbow;
mod entropy;
mod error;
mod forward;
mod gaze;
mod geometry;
mod maps;
mod mask;
mod metrics;
mod quantum;
mod score;
pub mod selection;
mod sinks;

pub use aggregate::{HeatMap, heat_map, relative_attention};
pub use analysis::{Analysis, Evaluation, Sample, Split, Watch};
pub use capture::{Capture, CaptureParts, Detection, Key, Query, TokenRole, View, ViewGrid};
pub use criteria::{box_scores, head_merits, instruction_change};
pub use elbow::{ElbowOutcome, elbow};
pub use entropy::{SpatialEntropy, spatial_entropy};
pub use error::{Error, Result};
pub use forward::{redistribute_sinks, toward_instruction};
pub use gaze::{Gaze, gaze};
pub use geometry::{Grid, Rect};
pub use maps::{HeadId, HeadMaps, Sinks};
pub use mask::{Mask, Quantised, mask_from_map};
pub use metrics::{
    DatasetMetrics, FrameMetrics, SwapMetrics, SwapSummary, dataset_metrics, frame_metrics,
    mask_box_iou, paraphrase_iou,
};
pub use score::{
    HeadMeasure, HeadScore, Meter, SampleScores, Selected, measure_heads, rank_heads, score_heads,
    select_heads,
};
pub use selection::{
    Aggregate, BaseMask, BottomRow, BoxScore, Budget, Connectivity, Criterion, Elbow, ElbowMode,
    ElbowPool, EntropyRule, EntropyTotal, EntropyWeight, Floor, Forward, FrequencyTie,
    HeadSelection, MaskRule, NoComponent, PRESETS, QuerySelector, SinkFilter, SinkRedistribution,
    SinkRule, Smoothing, SumSource, TARGETS, Tie,
};
pub use sinks::{detect as detect_sinks, sink_phi};
