use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can be wrong with attention, options or a capture file.
///
/// The variants that correspond to an error code of the published specification carry it in [`Error::code`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `E_SHAPE`: lengths that do not fit together, or a zero dimension.
    #[error("shapes do not fit: {0}")]
    Shape(String),
    /// `E_NONFINITE`: NaN or infinity, with its flat index in the tensor that was given.
    #[error("attention is not finite at flat index {index}")]
    NonFinite {
        /// Flat index of the first offending value.
        index: usize,
    },
    /// `E_NEGATIVE`: a negative weight; usually logits were passed instead of softmax weights.
    #[error("attention is negative at flat index {index}; weights after the softmax are needed")]
    Negative {
        /// Flat index of the first offending value.
        index: usize,
    },
    /// `E_SUM`: one attention row sums to more than 1.01.
    #[error("attention row {row} sums to {sum:.4}, more than one")]
    RowSum {
        /// Row in the flattened leading dimensions.
        row: usize,
        /// Its sum.
        sum: f64,
    },
    /// `E_OPTION`: a value no rule can work with.
    #[error("option out of range: {0}")]
    Option(String),
    /// `E_BUDGET`: the number of patches asked for cannot be had.
    #[error(
        "cannot cut {patches} patches out of a grid of {available}, at least {least} and at most {available} are possible"
    )]
    Budget {
        /// Patches asked for.
        patches: usize,
        /// Fewest patches the rule can cut.
        least: usize,
        /// Patches in the grid.
        available: usize,
    },
    /// `E_EMPTY_MAP`: nothing in the map is above zero, so there is no region to cut.
    #[error("the map holds no attention")]
    EmptyMap,
    /// `E_FLAT_MAP`: every patch is equally bright, so no region stands out.
    #[error("the map is flat: every patch holds the same attention")]
    FlatMap,
    /// `E_NO_HEADS`: no head passed the filters in any frame.
    #[error(
        "no attention head passes the filters; relax the elbow, the entropy cap or the bottom-row filter"
    )]
    NoHeads,
    /// `E_BOX`: a box with non-finite corners or corners in the wrong order.
    #[error("not a box: ({x0}, {y0}) to ({x1}, {y1})")]
    Box {
        /// Left.
        x0: f64,
        /// Top.
        y0: f64,
        /// Right.
        x1: f64,
        /// Bottom.
        y1: f64,
    },
    /// The sink filter is on, but nobody measured which tokens are sinks.
    #[error(
        "the sink filter is on, but this capture does not say which tokens are sinks; switch the filter off"
    )]
    NoSinks,
    /// Mean subtraction is asked for, but the maps carry no mean over query tokens.
    #[error(
        "mean subtraction needs the mean over the query tokens of the frame; take the maps with `Capture::head_maps_for`"
    )]
    NoBaseline,
    /// Attention relative to a generic prompt is asked for, but the frame was not seen under one.
    #[error(
        "relative attention needs the frame under a generic prompt, which a capture file does not hold; open the model"
    )]
    NoGeneric,
    /// Heads are to be chosen by their change under another instruction, but no frame was seen under one.
    #[error(
        "choosing heads by their change needs frames under another instruction, which these captures do not hold; open the \
         model, or choose heads by entropy"
    )]
    NoSwap,
    /// Heads are to be chosen by boxes, but no frame has one.
    #[error(
        "choosing heads by boxes needs boxes, which these frames do not have; open a box file, or choose heads by entropy"
    )]
    NoBoxes,
    /// The forward pass is to be changed, but the attention was recorded.
    #[error(
        "the attention of a recorded forward pass cannot be changed; open the model, or take the attention as trained"
    )]
    Recorded,
    /// The capture holds no row for the query asked for.
    #[error("the capture holds no attention row for {0}")]
    NoQuery(String),
    /// The capture has no such view, or none of its keys belong to it.
    #[error("the capture has no image tokens for view {0}")]
    NoView(String),
    /// The image tokens of a view are not a full grid.
    #[error(
        "the boxes of the image tokens (`key_box`) of view {view} at step {step} do not form a full grid: {reason}"
    )]
    NotAGrid {
        /// Name of the view.
        view: String,
        /// Step of the episode.
        step: u64,
        /// What is missing or twice there.
        reason: String,
    },
    /// The attention of a frame cannot be read as a selection asks for, in words.
    #[error("{0}")]
    Unread(String),
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// A file could not be read or written.
    #[error("{what}: {}", path.display())]
    Io {
        /// What was tried, e.g. `cannot open`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file is not an attention capture, or a damaged one.
    #[error("{reason}: {}", path.display())]
    File {
        /// What is wrong with it.
        reason: String,
        /// The file.
        path: PathBuf,
    },
    /// The contents of one tensor of a capture file are not valid.
    #[error("{place} is not valid: {reason}: {}", path.display())]
    Step {
        /// The tensor with the prefix of its step, and where in it, e.g. ``tensor `s00003/key_box` at key 7``.
        place: String,
        /// What is wrong there. Not a source: the message says it already.
        reason: Box<Error>,
        /// The file.
        path: PathBuf,
    },
}

impl Error {
    /// The machine-readable code of the specification, where there is one.
    pub fn code(&self) -> Option<&'static str> {
        Some(match self {
            Self::Shape(_) => "E_SHAPE",
            Self::NonFinite { .. } => "E_NONFINITE",
            Self::Negative { .. } => "E_NEGATIVE",
            Self::RowSum { .. } => "E_SUM",
            Self::Option(_) => "E_OPTION",
            Self::Budget { .. } => "E_BUDGET",
            Self::EmptyMap => "E_EMPTY_MAP",
            Self::FlatMap => "E_FLAT_MAP",
            Self::NoHeads => "E_NO_HEADS",
            Self::Box { .. } => "E_BOX",
            Self::Step { reason, .. } => return reason.code(),
            _ => return None,
        })
    }

    /// First offending flat index (or row, for `E_SUM`) in the tensor that was given.
    pub fn index(&self) -> Option<usize> {
        match self {
            Self::NonFinite { index } | Self::Negative { index } => Some(*index),
            Self::RowSum { row, .. } => Some(*row),
            Self::Step { reason, .. } => reason.index(),
            _ => None,
        }
    }
}
