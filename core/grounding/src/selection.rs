//! Every threshold on the way from attention to a mask, in one serialisable value.

use serde::{Deserialize, Serialize};

use crate::{Error, Grid, HeadId, Result};

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
/// Fields missing in a file take their default, so old files keep loading; unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadSelection {
    /// Which token looks.
    pub query: QuerySelector,
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
        self.smoothing.validate()?;
        self.mask.validate()
    }

    /// Whether scores made under `self` are what `other` would give: true when only aggregation, smoothing, mask or
    /// the vote over frames differ. A cache of [`crate::SampleScores`] stays valid exactly then.
    pub fn scores_like(&self, other: &Self) -> bool {
        self.query == other.query
            && self.elbow == other.elbow
            && self.entropy == other.entropy
            && self.bottom_row == other.bottom_row
            && self.sinks == other.sinks
            && self.candidates == other.candidates
            && self.tie == other.tie
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
