//! Every threshold on the way from attention to a mask, in one serialisable value.

use std::fmt;

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Grid, HeadId, Result};

/// Version of the written form of a [`HeadSelection`].
pub const VERSION: u32 = 1;

/// Names accepted by [`HeadSelection::preset`].
pub const PRESETS: [&str; 7] = [
    "default",
    "paper",
    "published_june",
    "published_august",
    "sink_filtered",
    "robust",
    "elbow_all",
];

/// Every threshold on the way from attention to a mask: the slider, the dataset-wide number, the training target,
/// the saved session and the exported figure all read this one value.
///
/// Heads are found by the recipe of *Your Large Vision-Language Model Only Needs A Few Attention Heads For Visual
/// Grounding* (Kang et al., CVPR 2025, arXiv 2503.06287), with scale-free thresholds as defaults.
///
/// A file gives every field, or names a preset and what differs from it:
/// `(version: 1, preset: "robust", k: 5)`. A field that is given replaces the whole one of the preset. Without a preset,
/// missing fields take their default, so old files keep loading; unknown fields and newer versions are refused.
/// What is written gives every field, so that it means the same when a preset changes.
///
/// [`fmt::Display`] prints what differs from the default, for captions and logs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Written")]
pub struct HeadSelection {
    /// Which token looks.
    pub query: QuerySelector,
    /// What is done to the attention of the forward pass itself.
    pub forward: Forward,
    /// What makes a head a good one.
    pub criterion: Criterion,
    /// Criterion 1: heads that give enough attention to the image.
    pub elbow: Elbow,
    /// Criterion 2: heads whose attention is in few places.
    pub entropy: EntropyRule,
    /// Drops heads that look at the bottom edge of the picture.
    pub bottom_row: BottomRow,
    /// Removes attention to sink tokens first.
    pub sinks: SinkFilter,
    /// Lowest-entropy heads that each frame votes for.
    pub candidates: usize,
    /// Heads kept after the vote.
    pub k: usize,
    /// Order of heads of equal entropy within one frame.
    pub tie: Tie,
    /// Order of heads with equally many votes.
    pub freq_tie: FrequencyTie,
    /// How head maps become one heat map.
    pub aggregate: Aggregate,
    /// Gaussian applied to every selected head map.
    pub smoothing: Smoothing,
    /// How the heat map becomes a mask.
    pub mask: MaskRule,
    /// Rounds of 3×3 dilation of the mask. A budgeted mask does not keep its exact area when this is not 0.
    pub dilate: usize,
}

impl Default for HeadSelection {
    fn default() -> Self {
        Self {
            query: QuerySelector::default(),
            forward: Forward::default(),
            criterion: Criterion::default(),
            elbow: Elbow::default(),
            entropy: EntropyRule::default(),
            bottom_row: BottomRow::default(),
            sinks: SinkFilter::default(),
            candidates: 10,
            k: 3,
            tie: Tie::default(),
            freq_tie: FrequencyTie::default(),
            aggregate: Aggregate::default(),
            smoothing: Smoothing::default(),
            mask: MaskRule::default(),
            dilate: 0,
        }
    }
}

impl HeadSelection {
    /// A named set of head-selection rules, see [`PRESETS`]. Aggregation, mask and query stay at their defaults.
    ///
    /// * `paper`: as in the paper, pixels count instead of mass and the floor is absolute.
    /// * `published_june`, `published_august`: the two public releases of the authors' code, with their defects.
    /// * `sink_filtered`, `robust`: sink tokens removed first; `robust` also breaks ties by attention instead of by
    ///   position, which matters below some hundred frames.
    /// * `elbow_all`: the elbow is sought among all heads, excluded layers too, as published.
    ///
    /// # Errors
    /// [`Error::Option`] for any other name.
    pub fn preset(name: &str) -> Result<Self> {
        let released = EntropyRule {
            normalise: false,
            floor: Floor::Abs(0.001),
            total: EntropyTotal::Positive,
            no_component: NoComponent::Zero,
            ..EntropyRule::default()
        };
        let all = |mode, exclude_layers| Elbow {
            mode,
            over: ElbowPool::All,
            exclude_layers,
        };
        let filtered = SinkFilter {
            apply: true,
            ..SinkFilter::default()
        };
        let base = Self::default();
        Ok(match name {
            "default" => base,
            "paper" => Self {
                entropy: EntropyRule {
                    weight: EntropyWeight::Pixels,
                    total: EntropyTotal::Kept,
                    no_component: NoComponent::Inf,
                    ..released
                },
                elbow: all(ElbowMode::Value, Some(0)),
                bottom_row: BottomRow::Off,
                ..base
            },
            "published_june" => Self {
                entropy: released,
                elbow: all(ElbowMode::Index, Some(0)),
                bottom_row: BottomRow::Off,
                candidates: 5,
                ..base
            },
            "published_august" => Self {
                entropy: EntropyRule { c: 2.0, ..released },
                elbow: all(ElbowMode::Value, Some(2)),
                bottom_row: BottomRow::Abs(0.05),
                candidates: 5,
                ..base
            },
            "sink_filtered" => Self {
                sinks: filtered,
                ..base
            },
            "robust" => Self {
                sinks: filtered,
                tie: Tie::Sum,
                freq_tie: FrequencyTie::RankSum,
                ..base
            },
            "elbow_all" => Self {
                elbow: all(ElbowMode::Value, None),
                ..base
            },
            _ => {
                return Err(Error::Option(format!(
                    "no preset `{name}`; there are {}",
                    PRESETS.join(", ")
                )));
            }
        })
    }

    /// Checks every value that could make a rule meaningless.
    ///
    /// # Errors
    /// [`Error::Option`] naming the field.
    pub fn validate(&self) -> Result<()> {
        let fail = |message: String| Err(Error::Option(message));
        let at_least_zero = |v: f64| v.is_finite() && v >= 0.0;
        if let ElbowMode::Manual(tau) = self.elbow.mode
            && !at_least_zero(tau)
        {
            return fail(format!("elbow threshold {tau} is not a number from 0 up"));
        }
        if !at_least_zero(self.entropy.c) {
            return fail(format!(
                "entropy factor c = {} is not a number from 0 up",
                self.entropy.c
            ));
        }
        let (Floor::Rel(floor) | Floor::Abs(floor)) = self.entropy.floor;
        if !at_least_zero(floor) {
            return fail(format!("entropy floor {floor} is not a number from 0 up"));
        }
        if let Some(max) = self.entropy.max
            && !at_least_zero(max)
        {
            return fail(format!("largest entropy {max} is not a number from 0 up"));
        }
        if let BottomRow::Abs(t) | BottomRow::Share(t) = self.bottom_row
            && !at_least_zero(t)
        {
            return fail(format!(
                "bottom-row threshold {t} is not a number from 0 up"
            ));
        }
        let (SinkRule::Relative(t) | SinkRule::Absolute(t)) = self.sinks.rule;
        if !at_least_zero(t) {
            return fail(format!("sink threshold {t} is not a number from 0 up"));
        }
        let most = usize::from(u16::MAX) + 1;
        if !(1..=most).contains(&self.candidates) {
            let n = self.candidates;
            return fail(format!(
                "{n} candidate heads per frame, from 1 to {most} are possible"
            ));
        }
        if self.k == 0 {
            return fail("at least one head (k) is needed".into());
        }
        self.forward.validate()?;
        self.smoothing.validate()?;
        self.mask.validate()
    }

    /// Whether both read the same attention: the same token of the same forward pass, with the same companions
    /// (baseline, generic prompt).
    pub fn reads_like(&self, other: &Self) -> bool {
        let companions = |s: &Self| (s.aggregate.needs_baseline(), s.aggregate.needs_generic());
        self.query == other.query
            && self.forward == other.forward
            && companions(self) == companions(other)
    }

    /// Whether [`crate::HeadMeasure`]s made under `self` are what `other` would give: what is expensive about a head.
    pub fn measures_like(&self, other: &Self) -> bool {
        let rule = |s: &Self| EntropyRule {
            max: None,
            ..s.entropy
        };
        self.query == other.query
            && self.forward == other.forward
            && rule(self) == rule(other)
            && self.bottom_row == other.bottom_row
            && self.sinks == other.sinks
    }

    /// Whether scores made under `self` are what `other` would give: true when only aggregation, smoothing, mask or
    /// the vote over frames differ. A cache of [`crate::SampleScores`] stays valid exactly then.
    pub fn scores_like(&self, other: &Self) -> bool {
        self.measures_like(other)
            && self.criterion == other.criterion
            && self.elbow == other.elbow
            && self.entropy.max == other.entropy.max
            && self.candidates == other.candidates
            && self.tie == other.tie
    }

    /// Whether heads are chosen at all: otherwise the heat map needs none.
    pub fn needs_heads(&self) -> bool {
        matches!(self.aggregate, Aggregate::Selected { .. })
    }

    /// The name of the preset whose rules for choosing heads these are; token, map and mask do not count.
    pub fn preset_name(&self) -> Option<&'static str> {
        PRESETS.into_iter().find(|name| {
            Self::preset(name).is_ok_and(|preset| {
                preset.scores_like(&Self {
                    query: preset.query.clone(),
                    forward: preset.forward,
                    ..self.clone()
                }) && preset.k == self.k
                    && preset.freq_tie == self.freq_tie
            })
        })
    }

    /// A known way of turning attention into a training target, by name, see [`TARGETS`]. Choosing heads stays as in
    /// `self` where the way uses heads.
    ///
    /// * `selected`: the selected heads, a region of exact area (LA-ReconVLA).
    /// * `naive`: the mean of all heads, the same region.
    /// * `groundlmm_point`: the brightest patch of the mean-subtracted map, which GroundLMM hands to a segmenter
    ///   (arXiv 2410.08209).
    /// * `relative`: attention relative to a generic prompt, the same region (mllms_know, ICLR 2025).
    /// * `dino_60`: the fewest patches that hold 60 % of the attention of the selected heads (DINO's pictures).
    /// * `sinks_redistributed`: `selected` under [`Forward::RedistributeSinks`] (VAR, arXiv 2503.03321).
    /// * `toward_instruction`: `selected` under [`Forward::TowardInstruction`].
    ///
    /// # Errors
    /// [`Error::Option`] for any other name.
    pub fn with_target(&self, name: &str) -> Result<Self> {
        let usual = Self::default();
        let base = Self {
            aggregate: usual.aggregate,
            mask: usual.mask,
            dilate: usual.dilate,
            forward: usual.forward,
            ..self.clone()
        };
        Ok(match name {
            "selected" => base,
            "naive" => Self {
                aggregate: Aggregate::Naive,
                ..base
            },
            "groundlmm_point" => Self {
                aggregate: Aggregate::MeanSubtracted,
                mask: MaskRule::TopN(Budget::Patches(1)),
                ..base
            },
            "relative" => Self {
                aggregate: Aggregate::Relative { layer: None },
                ..base
            },
            "dino_60" => Self {
                mask: MaskRule::KeepMass(0.6),
                ..base
            },
            "sinks_redistributed" => Self {
                forward: Forward::RedistributeSinks(SinkRedistribution::default()),
                ..base
            },
            "toward_instruction" => Self {
                forward: Forward::TowardInstruction(Forward::USUAL_FACTOR),
                ..base
            },
            _ => {
                return Err(Error::Option(format!(
                    "no target `{name}`; there are {}",
                    TARGETS.join(", ")
                )));
            }
        })
    }
}

/// Names accepted by [`HeadSelection::with_target`].
pub const TARGETS: [&str; 7] = [
    "selected",
    "naive",
    "groundlmm_point",
    "relative",
    "dino_60",
    "sinks_redistributed",
    "toward_instruction",
];

/// Calls a macro with every field of the selection in the order they are written.
macro_rules! every_field {
    ($with:ident) => {
        $with! {
            query: QuerySelector, forward: Forward, criterion: Criterion, elbow: Elbow, entropy: EntropyRule,
            bottom_row: BottomRow, sinks: SinkFilter, candidates: usize, k: usize, tie: Tie, freq_tie: FrequencyTie,
            aggregate: Aggregate, smoothing: Smoothing, mask: MaskRule, dilate: usize
        }
    };
}

macro_rules! written_form {
    ($($field:ident: $type:ty),*) => {
        /// What a file may hold.
        #[derive(Deserialize)]
        #[serde(rename = "HeadSelection", deny_unknown_fields)]
        struct Written {
            #[serde(default, deserialize_with = "given")]
            version: Option<u32>,
            #[serde(default, deserialize_with = "given")]
            preset: Option<String>,
            $(#[serde(default, deserialize_with = "given")] $field: Option<$type>,)*
        }

        impl TryFrom<Written> for HeadSelection {
            type Error = Error;

            fn try_from(written: Written) -> Result<Self> {
                if let Some(version) = written.version
                    && !(1..=VERSION).contains(&version)
                {
                    return Err(Error::Option(format!(
                        "a head selection of version {version}; this program reads up to {VERSION}"
                    )));
                }
                let base = match &written.preset {
                    Some(name) => Self::preset(name)?,
                    None => Self::default(),
                };
                Ok(Self { $($field: written.$field.unwrap_or(base.$field),)* })
            }
        }

        impl Serialize for HeadSelection {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let fields = 1 + [$(stringify!($field)),*].len();
                let mut written = serializer.serialize_struct("HeadSelection", fields)?;
                written.serialize_field("version", &VERSION)?;
                $(written.serialize_field(stringify!($field), &self.$field)?;)*
                written.end()
            }
        }
    };
}
every_field!(written_form);

/// A field that is there, written plainly: RON would ask for `Some(…)` around an option.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(source: D) -> Result<Option<T>, D::Error> {
    T::deserialize(source).map(Some)
}

impl fmt::Display for HeadSelection {
    /// What differs from the default, in the order of the way from attention to mask; `default` where nothing does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.differences();
        if parts.is_empty() {
            return f.write_str("default");
        }
        f.write_str(&parts.join(", "))
    }
}

impl HeadSelection {
    /// What differs from the default, one phrase each, in the order of the way from attention to mask; nothing for the
    /// default. Rules for choosing heads that are those of a preset are named by it.
    pub fn differences(&self) -> Vec<String> {
        let usual = Self::default();
        let mut parts = Vec::new();
        let mut say = |differs: bool, text: String| {
            if differs {
                parts.push(text);
            }
        };
        let preset = self.preset_name();
        let named = preset.is_some();
        say(
            preset.is_some_and(|name| name != "default"),
            preset.unwrap_or_default().to_owned(),
        );
        say(self.query != usual.query, format!("{}", self.query));
        say(self.forward != usual.forward, format!("{}", self.forward));
        if !named {
            say(
                self.criterion != usual.criterion,
                format!("{}", self.criterion),
            );
            self.elbow.differences(&mut say);
            self.entropy.differences(&mut say);
            say(
                self.bottom_row != usual.bottom_row,
                match self.bottom_row {
                    BottomRow::Off => "bottom row kept".into(),
                    BottomRow::ComponentFull => "bottom row full in components".into(),
                    BottomRow::Abs(t) => format!("bottom row ≤ {t}"),
                    BottomRow::Share(t) => format!("bottom row ≤ {t}/P of the map"),
                },
            );
            self.sinks.differences(&mut say);
            say(
                self.candidates != usual.candidates,
                format!("{} candidates", self.candidates),
            );
            say(self.k != usual.k, format!("k {}", self.k));
            say(self.tie != usual.tie, "ties by attention".into());
            say(self.freq_tie != usual.freq_tie, "vote ties by rank".into());
        }
        say(
            self.aggregate != usual.aggregate,
            format!("{}", self.aggregate),
        );
        let Smoothing { sigma, truncate } = self.smoothing;
        say(
            sigma != usual.smoothing.sigma,
            if sigma == 0.0 {
                "no smoothing".into()
            } else {
                format!("σ {sigma}")
            },
        );
        say(
            truncate != usual.smoothing.truncate && sigma != 0.0,
            format!("truncated at {truncate} σ"),
        );
        say(self.mask != usual.mask, format!("{}", self.mask));
        say(
            self.dilate != usual.dilate,
            format!("dilated {}", self.dilate),
        );
        parts
    }
}

impl Elbow {
    fn differences(&self, say: &mut impl FnMut(bool, String)) {
        let usual = Self::default();
        say(
            self.mode != usual.mode,
            match self.mode {
                ElbowMode::Value => "elbow by value".into(),
                ElbowMode::Index => "elbow by head index".into(),
                ElbowMode::None => "no elbow".into(),
                ElbowMode::Manual(tau) => format!("τ {tau}"),
            },
        );
        let searched = matches!(self.mode, ElbowMode::Value | ElbowMode::Index);
        say(
            searched && self.over != usual.over,
            "elbow over all heads".into(),
        );
        if let Some(layers) = self.exclude_layers {
            say(true, format!("layers from {layers}"));
        }
    }
}

impl EntropyRule {
    fn differences(&self, say: &mut impl FnMut(bool, String)) {
        let usual = Self::default();
        say(!self.normalise, "entropy of raw maps".into());
        say(self.c != usual.c, format!("c {}", self.c));
        say(
            self.floor != usual.floor,
            match self.floor {
                Floor::Rel(v) => format!("floor {v}/P"),
                Floor::Abs(v) => format!("floor {v}"),
            },
        );
        say(
            self.connectivity != usual.connectivity,
            "4-connected".into(),
        );
        say(self.weight != usual.weight, "pixels counted".into());
        say(
            self.total != usual.total && self.weight == EntropyWeight::Mass,
            "mass below the floor counted".into(),
        );
        say(
            self.no_component != usual.no_component,
            "no component ranks best".into(),
        );
        if let Some(max) = self.max {
            say(true, format!("entropy ≤ {max}"));
        }
    }
}

impl SinkFilter {
    fn differences(&self, say: &mut impl FnMut(bool, String)) {
        let usual = Self::default();
        if !self.apply {
            return;
        }
        let rescaled = if self.renormalise {
            ", rest rescaled"
        } else {
            ""
        };
        say(true, format!("sinks removed{rescaled}"));
        say(
            self.sum_source != usual.sum_source,
            "elbow without sinks".into(),
        );
        say(
            self.rule != usual.rule,
            match self.rule {
                SinkRule::Relative(v) => format!("sinks at φ > {v} √d"),
                SinkRule::Absolute(v) => format!("sinks at φ > {v}"),
            },
        );
    }
}

/// Which captured attention row is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum QuerySelector {
    /// The row the action is read from: the first action token, or the last captured row where there is none.
    #[default]
    ReadOut,
    /// The last captured row, whatever its role.
    Last,
    /// The last row whose token reads so; word markers of tokenizers and case are ignored.
    Token(String),
    /// The row with this index in [`crate::Capture::queries`].
    Index(usize),
}

impl fmt::Display for QuerySelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadOut => f.write_str("read-out"),
            Self::Last => f.write_str("last token"),
            Self::Token(token) => write!(f, "“{token}”"),
            Self::Index(index) => write!(f, "row {index}"),
        }
    }
}

/// What is done to the attention of a forward pass before it weighs the values. Everything but `AsTrained` needs a live
/// model: a recorded capture is what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Forward {
    /// Nothing.
    #[default]
    AsTrained,
    /// Attention to sinks goes to the other image tokens (VAR), see [`crate::redistribute_sinks`].
    RedistributeSinks(SinkRedistribution),
    /// Attention to tokens of the instruction is multiplied by this, and the row brought back to its sum, see
    /// [`crate::toward_instruction`].
    TowardInstruction(f64),
}

impl Forward {
    /// Factor on attention to the instruction unless another is asked for.
    pub const USUAL_FACTOR: f64 = 2.0;

    /// Checks every value that could make the change meaningless.
    ///
    /// # Errors
    /// [`Error::Option`] naming the value.
    pub fn validate(self) -> Result<()> {
        let share = |v: f64| (0.0..=1.0).contains(&v);
        match self {
            Self::AsTrained => Ok(()),
            Self::TowardInstruction(factor) if factor.is_finite() && factor > 0.0 => Ok(()),
            Self::TowardInstruction(factor) => Err(Error::Option(format!(
                "factor {factor} on attention to the instruction is not a number above 0"
            ))),
            Self::RedistributeSinks(rule)
                if share(rule.keep) && share(rule.min_image) && share(rule.max_sinks) =>
            {
                Ok(())
            }
            Self::RedistributeSinks(rule) => Err(Error::Option(format!(
                "redistribution of sinks with shares {}, {} and {}, each must be from 0 to 1",
                rule.keep, rule.min_image, rule.max_sinks
            ))),
        }
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsTrained => f.write_str("attention as trained"),
            Self::RedistributeSinks(rule) => {
                write!(f, "sinks redistributed, {} kept", rule.keep)
            }
            Self::TowardInstruction(factor) => write!(f, "instruction × {factor}"),
        }
    }
}

/// Attention-sink redistribution (VAR; Kang et al., ICLR 2025, arXiv 2503.03321, section 5 and released configuration).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SinkRedistribution {
    /// Share of its attention that a sink keeps (p = 0.6).
    pub keep: f64,
    /// Only heads that give at least this share to the image are changed (0.2).
    pub min_image: f64,
    /// Only heads that give at most this share of their image attention to sinks are changed (ρ = 0.5).
    pub max_sinks: f64,
    /// Layers below this one are left alone (2); the last layer always is.
    pub from_layer: usize,
    /// Which tokens are sinks.
    pub rule: SinkRule,
}

impl Default for SinkRedistribution {
    fn default() -> Self {
        Self {
            keep: 0.6,
            min_image: 0.2,
            max_sinks: 0.5,
            from_layer: 2,
            rule: SinkRule::default(),
        }
    }
}

/// What makes a head a good one, once it passes the filters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Criterion {
    /// Low spatial entropy, as published. Measures focus, not language: in small models nearly every head passes.
    #[default]
    Entropy,
    /// Its map changes much when the instruction is exchanged on the same frame, see [`crate::instruction_change`].
    InstructionChange,
    /// It agrees with the boxes of the tuning split. Frames without a box do not vote.
    Boxes(BoxScore),
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Entropy => "least entropy",
            Self::InstructionChange => "most change under another instruction",
            Self::Boxes(BoxScore::Hit) => "most hits of the boxes",
            Self::Boxes(BoxScore::NearHit) => "most hits within a patch of the boxes",
            Self::Boxes(BoxScore::MassInside) => "most attention inside the boxes",
            Self::Boxes(BoxScore::Iou) => "best overlap with the boxes",
        })
    }
}

/// How well the map of one head agrees with a box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BoxScore {
    /// Its brightest patch lies in the box (pointing game).
    Hit,
    /// The same with one patch of slack.
    NearHit,
    /// Share of its attention to the view that lies inside the box.
    #[default]
    MassInside,
    /// Overlap of its brightest patches, as many as the box is large, with the box.
    Iou,
}

/// Criterion 1: which heads give enough attention to the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Elbow {
    /// How the threshold τ is found.
    pub mode: ElbowMode,
    /// Which heads the elbow is sought among.
    pub over: ElbowPool,
    /// Layers below this one are never selected; `None` means 2 in a model of more than 4 layers and 0 otherwise.
    /// Counts layers of the model, so a capture that lacks early layers is treated right.
    pub exclude_layers: Option<usize>,
}

/// How the threshold on the image-attention sum is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum ElbowMode {
    /// Value at the elbow of the sorted sums (largest distance from the chord).
    #[default]
    Value,
    /// Position of the elbow's head in the network: the defect of the first public release, for comparison only.
    Index,
    /// Every head of an eligible layer passes.
    None,
    /// A fixed threshold.
    Manual(f64),
}

/// Heads among which the elbow is sought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ElbowPool {
    /// Only heads that could be selected: a head that cannot must not set the threshold.
    #[default]
    Eligible,
    /// All heads, as published.
    All,
}

/// Criterion 2: spatial entropy of one head map. See [`crate::spatial_entropy`] for the formula.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EntropyRule {
    /// Divide the map by its sum first, so that attention given to text does not matter.
    pub normalise: bool,
    /// Multiple of the mean that is subtracted before thresholding.
    pub c: f64,
    /// Excess over the mean that makes a patch part of a component.
    pub floor: Floor,
    /// Which patches count as neighbours.
    pub connectivity: Connectivity,
    /// What a component weighs.
    pub weight: EntropyWeight,
    /// What the weights are divided by.
    pub total: EntropyTotal,
    /// Entropy of a map in which nothing is above the floor.
    pub no_component: NoComponent,
    /// Heads above this entropy (nats) are dropped.
    pub max: Option<f64>,
}

impl Default for EntropyRule {
    fn default() -> Self {
        Self {
            normalise: true,
            c: 1.0,
            floor: Floor::Rel(0.576),
            connectivity: Connectivity::Eight,
            weight: EntropyWeight::Mass,
            total: EntropyTotal::Kept,
            no_component: NoComponent::Inf,
            max: None,
        }
    }
}

/// Floor of the entropy rule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Floor {
    /// Divided by the number of patches. 0.576 equals the published 0.001 on its own 24×24 grid.
    Rel(f64),
    /// Used as it is (published: 0.001).
    Abs(f64),
}

/// Neighbourhood of a patch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Connectivity {
    /// Edges and corners.
    #[default]
    Eight,
    /// Edges only.
    Four,
}

/// Weight of a component in the entropy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntropyWeight {
    /// Its attention above the mean (both public releases).
    #[default]
    Mass,
    /// Its number of patches (paper).
    Pixels,
}

/// Denominator of the mass weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntropyTotal {
    /// Mass inside components, so that the weights sum to one.
    #[default]
    Kept,
    /// Everything above the mean, as published: one single component then has an entropy above 0.
    Positive,
}

/// Entropy of a map without a component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoComponent {
    /// Infinite: never selected.
    #[default]
    Inf,
    /// Zero, as published: ranked best.
    Zero,
}

/// Drops heads that look at the bottom edge. Switch it off for stacked two-camera images whose bottom row belongs to
/// another camera.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum BottomRow {
    /// No head is dropped.
    Off,
    /// Dropped when every patch of the bottom row is in a component.
    ComponentFull,
    /// Dropped when a bottom-row weight is above this value (published: 0.05).
    Abs(f64),
    /// Dropped when a bottom-row weight is above this value / P × the sum of the map. 28.8 equals the published 0.05
    /// on its own 24×24 grid, and is free of scale.
    Share(f64),
}

impl Default for BottomRow {
    fn default() -> Self {
        Self::Share(28.8)
    }
}

/// Removes attention to sink tokens (Kang et al., ICLR 2025, arXiv 2503.03321) before entropy and aggregation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SinkFilter {
    /// Whether the filter is on.
    pub apply: bool,
    /// Scale the rest of the map so that it keeps its sum.
    pub renormalise: bool,
    /// Which sum criterion 1 uses.
    pub sum_source: SumSource,
    /// Which tokens are sinks, where the capture carries the statistic φ and not the verdict.
    pub rule: SinkRule,
}

impl Default for SinkFilter {
    fn default() -> Self {
        Self {
            apply: false,
            renormalise: false,
            sum_source: SumSource::Raw,
            rule: SinkRule::default(),
        }
    }
}

/// Map whose sum enters criterion 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SumSource {
    /// The map as captured.
    #[default]
    Raw,
    /// The map without sinks.
    Filtered,
}

/// Threshold on φ, the largest RMS-normalised hidden value of a token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum SinkRule {
    /// φ > value × √width; 0.31 equals the published 20 at width 4096 and can fire at any width.
    Relative(f64),
    /// φ > value (published: 20). Refused where φ cannot reach it: φ ≤ √width.
    Absolute(f64),
}

impl Default for SinkRule {
    fn default() -> Self {
        Self::Relative(0.31)
    }
}

/// Order of heads of equal entropy within one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tie {
    /// Earlier layer, then earlier head.
    #[default]
    Index,
    /// More image attention first.
    Sum,
}

/// Order of heads with equally many votes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrequencyTie {
    /// Earlier layer, then earlier head.
    #[default]
    Index,
    /// Smaller sum of ranks first. Use it below some hundred frames.
    RankSum,
}

/// How head maps become one heat map.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Aggregate {
    /// Sum of the smoothed maps of the selected heads.
    Selected {
        /// Divide every head map by its sum first.
        normalise: bool,
    },
    /// Mean over all layers and heads: no selection, no sink filter, no smoothing.
    Naive,
    /// [`Aggregate::Naive`] on sink-filtered maps, whether or not the filter is on elsewhere.
    NaiveSinkFiltered,
    /// One head, smoothed.
    Head(HeadId),
    /// Mean over all heads minus the same mean over all query tokens of the frame (GroundLMM, arXiv 2410.08209).
    /// Holds negative values, which every mask rule treats as 0.
    MeanSubtracted,
    /// Mean over the heads of one layer, divided by the same under a generic prompt, see [`crate::relative_attention`]
    /// (mllms_know, ICLR 2025).
    Relative {
        /// Position of the layer in the capture; `None` means the middle one, `layers / 2`.
        layer: Option<usize>,
    },
}

impl Aggregate {
    /// Whether the mean over the query tokens of the frame is subtracted.
    pub fn needs_baseline(self) -> bool {
        matches!(self, Self::MeanSubtracted)
    }

    /// Whether the frame must have been seen under a generic prompt, too.
    pub fn needs_generic(self) -> bool {
        matches!(self, Self::Relative { .. })
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Selected { normalise: false } => f.write_str("sum of the selected heads"),
            Self::Selected { normalise: true } => f.write_str("sum of the normalised heads"),
            Self::Naive => f.write_str("mean of all heads"),
            Self::NaiveSinkFiltered => f.write_str("mean of all heads without sinks"),
            Self::Head(id) => write!(f, "head {} of layer {}", id.head, id.layer),
            Self::MeanSubtracted => f.write_str("mean-subtracted"),
            Self::Relative { layer: None } => f.write_str("relative to a generic prompt"),
            Self::Relative { layer: Some(layer) } => {
                write!(f, "layer {layer} relative to a generic prompt")
            }
        }
    }
}

impl Default for Aggregate {
    fn default() -> Self {
        Self::Selected { normalise: false }
    }
}

/// Gaussian over the patch grid.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Smoothing {
    /// Standard deviation in patches; 0 switches smoothing off.
    pub sigma: f64,
    /// Radius in standard deviations: 4 gives 9 taps at σ = 1, 3 gives the 7 taps of the paper.
    pub truncate: f64,
}

impl Default for Smoothing {
    fn default() -> Self {
        Self {
            sigma: 1.0,
            truncate: 4.0,
        }
    }
}

impl Smoothing {
    /// Largest radius in patches; a wider kernel than any grid only costs time.
    const MAX_RADIUS: f64 = 4096.0;

    /// # Errors
    /// [`Error::Option`] when a value is not a number from 0 up or the radius is absurd.
    pub(crate) fn validate(self) -> Result<()> {
        let Self { sigma, truncate } = self;
        let fine = sigma.is_finite() && sigma >= 0.0 && truncate.is_finite() && truncate >= 0.0;
        if !fine || sigma * truncate > Self::MAX_RADIUS {
            return Err(Error::Option(format!(
                "smoothing with sigma {sigma}, truncated at {truncate} sigma"
            )));
        }
        Ok(())
    }
}

/// How a heat map becomes a mask.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum MaskRule {
    /// Every patch above the mean (published).
    Mean,
    /// Fewest patches that hold this share of the attention (DINO uses 0.6).
    KeepMass(f64),
    /// The brightest patches, wherever they lie: the scattered control arm.
    TopN(Budget),
    /// The connected part of the base mask that holds its brightest patch.
    RegionComponent {
        /// Mask the component is taken from.
        base: BaseMask,
    },
    /// A connected region grown from the peak to an exact number of patches.
    RegionBudget(Budget),
    /// The component of the peak, and the heaviest component that does not touch it.
    TwoRegions {
        /// Mask the components are taken from.
        base: BaseMask,
    },
    /// Two regions that together have an exact number of patches.
    TwoRegionsBudget {
        /// Mask that says where the second region may start.
        base: BaseMask,
        /// Patches of both together.
        budget: Budget,
        /// Share of the first region.
        share1: f64,
    },
}

impl Default for MaskRule {
    fn default() -> Self {
        Self::RegionBudget(Budget::default())
    }
}

impl MaskRule {
    /// The area, where it is exact.
    pub fn budget(&self) -> Option<Budget> {
        let mut rule = *self;
        rule.budget_mut().map(|budget| *budget)
    }

    /// The same, to be changed.
    pub fn budget_mut(&mut self) -> Option<&mut Budget> {
        match self {
            Self::TopN(budget)
            | Self::RegionBudget(budget)
            | Self::TwoRegionsBudget { budget, .. } => Some(budget),
            Self::Mean
            | Self::KeepMass(_)
            | Self::RegionComponent { .. }
            | Self::TwoRegions { .. } => None,
        }
    }

    /// The threshold mask that this is, or that its regions are taken from.
    pub fn base(&self) -> Option<BaseMask> {
        match *self {
            Self::RegionComponent { base }
            | Self::TwoRegions { base }
            | Self::TwoRegionsBudget { base, .. } => Some(base),
            Self::KeepMass(share) => Some(BaseMask::KeepMass(share)),
            Self::Mean => Some(BaseMask::Mean),
            Self::TopN(_) | Self::RegionBudget(_) => None,
        }
    }

    /// The share of the mass that [`MaskRule::base`] keeps, to be changed; `None` where it keeps what is above the mean.
    pub fn kept_mass_mut(&mut self) -> Option<&mut f64> {
        match self {
            Self::KeepMass(share)
            | Self::RegionComponent {
                base: BaseMask::KeepMass(share),
            }
            | Self::TwoRegions {
                base: BaseMask::KeepMass(share),
            }
            | Self::TwoRegionsBudget {
                base: BaseMask::KeepMass(share),
                ..
            } => Some(share),
            _ => None,
        }
    }

    /// # Errors
    /// [`Error::Option`] naming the value.
    pub(crate) fn validate(&self) -> Result<()> {
        match *self {
            Self::Mean => Ok(()),
            Self::KeepMass(share) => BaseMask::KeepMass(share).validate(),
            Self::TopN(budget) | Self::RegionBudget(budget) => budget.validate(),
            Self::RegionComponent { base } | Self::TwoRegions { base } => base.validate(),
            Self::TwoRegionsBudget {
                base,
                budget,
                share1,
            } => {
                if !(share1 > 0.0 && share1 < 1.0) {
                    return Err(Error::Option(format!(
                        "share {share1} of the first region is not inside (0, 1)"
                    )));
                }
                base.validate()?;
                budget.validate()
            }
        }
    }
}

impl fmt::Display for MaskRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mean => f.write_str("mask above the mean"),
            Self::KeepMass(share) => write!(f, "mask of {} of the mass", percent(*share)),
            Self::TopN(Budget::Patches(1)) => f.write_str("brightest patch"),
            Self::TopN(budget) => write!(f, "brightest {budget}"),
            Self::RegionComponent { base } => write!(f, "region of {base}"),
            Self::RegionBudget(budget) => write!(f, "region of {budget}"),
            Self::TwoRegions { base } => write!(f, "two regions of {base}"),
            Self::TwoRegionsBudget {
                base,
                budget,
                share1,
            } => write!(
                f,
                "two regions of {budget} ({} first, from {base})",
                percent(*share1)
            ),
        }
    }
}

/// A share in percent, without digits that say nothing.
fn percent(share: f64) -> String {
    format!("{} %", (share * 1e4).round() / 1e2)
}

/// Threshold mask that region rules start from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum BaseMask {
    /// See [`MaskRule::Mean`].
    Mean,
    /// See [`MaskRule::KeepMass`].
    KeepMass(f64),
}

impl Default for BaseMask {
    fn default() -> Self {
        Self::KeepMass(0.6)
    }
}

impl fmt::Display for BaseMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mean => f.write_str("what is above the mean"),
            Self::KeepMass(share) => write!(f, "{} of the mass", percent(*share)),
        }
    }
}

impl BaseMask {
    fn validate(self) -> Result<()> {
        match self {
            Self::KeepMass(share) if !(share > 0.0 && share <= 1.0) => Err(Error::Option(format!(
                "mass to keep {share} is not inside (0, 1]"
            ))),
            _ => Ok(()),
        }
    }
}

/// How many patches a mask has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Budget {
    /// Exactly so many.
    Patches(usize),
    /// This share of the grid, rounded up, at least one patch.
    Share(f64),
}

impl Default for Budget {
    fn default() -> Self {
        Self::Share(0.10)
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Patches(1) => f.write_str("1 patch"),
            Self::Patches(n) => write!(f, "{n} patches"),
            Self::Share(share) => write!(f, "{} of the grid", percent(*share)),
        }
    }
}

impl Budget {
    fn validate(self) -> Result<()> {
        match self {
            Self::Share(share) if !(share > 0.0 && share <= 1.0) => Err(Error::Option(format!(
                "share of patches {share} is not inside (0, 1]"
            ))),
            _ => Ok(()),
        }
    }

    /// Number of patches on a grid. Whether the grid has so many is for the mask rule to say.
    ///
    /// # Errors
    /// [`Error::Option`] for a share outside (0, 1].
    pub fn patches(self, grid: Grid) -> Result<usize> {
        self.validate()?;
        Ok(match self {
            Self::Patches(n) => n,
            // 0.07 * 100 is a little above 7 in floating point and must still be 7 patches.
            Self::Share(share) => ((share * grid.len() as f64 - 1e-9).ceil() as usize).max(1),
        })
    }
}
