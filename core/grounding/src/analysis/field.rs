//! The thresholds of a selection as numbers that can be tried out.

use std::ops::RangeInclusive;

use serde::Serialize;

use super::Interval;
use crate::selection::{
    Aggregate, BaseMask, BottomRow, Budget, ElbowMode, Floor, HeadSelection, MaskRule, SinkRule,
};

/// One threshold of a [`HeadSelection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// A fixed threshold on the image-attention sum.
    Tau,
    /// Multiple of the mean that the entropy rule subtracts.
    EntropyC,
    /// Floor of the entropy rule.
    EntropyFloor,
    /// Largest entropy of a candidate.
    EntropyMax,
    /// Threshold of the bottom-row rule.
    BottomRow,
    /// Threshold of the sink filter.
    Sinks,
    /// Heads that each frame votes for.
    Candidates,
    /// Heads kept after the vote.
    K,
    /// Standard deviation of the smoothing, in patches.
    Sigma,
    /// Share of patches in the mask.
    Area,
    /// Number of patches in the mask.
    Patches,
    /// Share of the attention that the mask, or the mask that regions are taken from, keeps.
    KeepMass,
    /// Share of the area that the first of two regions gets.
    FirstShare,
    /// Rounds of dilation.
    Dilate,
}

/// A metric against the value of one threshold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// The threshold.
    pub field: Field,
    /// Ascending in value.
    pub points: Vec<CurvePoint>,
}

/// One value of a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// The value.
    pub value: f64,
    /// Mean IoU of mask and box on the tuning split.
    pub mean_iou: f64,
    /// Its 95 % interval over episodes, where there are at least two.
    pub interval: Option<Interval>,
}

impl Curve {
    /// The point of the largest mean IoU, the first among equals.
    pub fn best(&self) -> Option<&CurvePoint> {
        let better = |best: &CurvePoint, p: &CurvePoint| p.mean_iou > best.mean_iou;
        self.points
            .iter()
            .reduce(|best, p| if better(best, p) { p } else { best })
    }
}

impl Field {
    /// All of them, in the order of the way from attention to mask.
    pub const ALL: [Self; 14] = [
        Self::Tau,
        Self::EntropyC,
        Self::EntropyFloor,
        Self::EntropyMax,
        Self::BottomRow,
        Self::Sinks,
        Self::Candidates,
        Self::K,
        Self::Sigma,
        Self::Area,
        Self::Patches,
        Self::KeepMass,
        Self::FirstShare,
        Self::Dilate,
    ];

    /// Its name for people, lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tau => "τ",
            Self::EntropyC => "c",
            Self::EntropyFloor => "entropy floor",
            Self::EntropyMax => "entropy cap",
            Self::BottomRow => "bottom row",
            Self::Sinks => "sink φ",
            Self::Candidates => "candidates",
            Self::K => "k",
            Self::Sigma => "σ",
            Self::Area | Self::Patches => "area",
            Self::KeepMass => "mass kept",
            Self::FirstShare => "first region",
            Self::Dilate => "dilation",
        }
    }

    /// Its value in a selection; `None` where the rules in use have no such threshold, or it has no influence on the
    /// mask. An elbow that is sought stands for a threshold that is not yet fixed: NaN.
    pub fn get(self, selection: &HeadSelection) -> Option<f64> {
        let s = selection;
        let about_heads = !matches!(
            self,
            Self::Sinks
                | Self::Sigma
                | Self::Area
                | Self::Patches
                | Self::KeepMass
                | Self::FirstShare
                | Self::Dilate
        );
        if about_heads && !s.needs_heads() {
            return None;
        }
        let with_components = s.bottom_row == BottomRow::ComponentFull;
        let with_entropy =
            s.criterion == crate::Criterion::Entropy || s.entropy.max.is_some() || with_components;
        match self {
            Self::Tau => match s.elbow.mode {
                ElbowMode::Manual(tau) => Some(tau),
                ElbowMode::Value | ElbowMode::Index | ElbowMode::None => Some(f64::NAN),
            },
            Self::EntropyC => with_entropy.then_some(s.entropy.c),
            Self::EntropyFloor => {
                let (Floor::Rel(v) | Floor::Abs(v)) = s.entropy.floor;
                with_entropy.then_some(v)
            }
            Self::EntropyMax => s.entropy.max,
            Self::BottomRow => match s.bottom_row {
                BottomRow::Abs(v) | BottomRow::Share(v) => Some(v),
                BottomRow::Off | BottomRow::ComponentFull => None,
            },
            Self::Sinks => {
                let (SinkRule::Relative(v) | SinkRule::Absolute(v)) = s.sinks.rule;
                let removed = match s.aggregate {
                    Aggregate::Selected { .. } | Aggregate::Head(_) => s.sinks.apply,
                    Aggregate::NaiveSinkFiltered => true,
                    Aggregate::Naive | Aggregate::MeanSubtracted | Aggregate::Relative { .. } => {
                        false
                    }
                };
                removed.then_some(v)
            }
            Self::Candidates => Some(s.candidates as f64),
            Self::K => Some(s.k as f64),
            Self::Sigma => {
                let smoothed =
                    matches!(s.aggregate, Aggregate::Selected { .. } | Aggregate::Head(_));
                smoothed.then_some(s.smoothing.sigma)
            }
            Self::Area | Self::Patches => match (self, s.mask.budget()?) {
                (Self::Area, Budget::Share(share)) => Some(share),
                (Self::Patches, Budget::Patches(n)) => Some(n as f64),
                _ => None,
            },
            Self::KeepMass => match s.mask.base()? {
                BaseMask::KeepMass(share) => Some(share),
                BaseMask::Mean => None,
            },
            Self::FirstShare => match s.mask {
                MaskRule::TwoRegionsBudget { share1, .. } => Some(share1),
                _ => None,
            },
            Self::Dilate => Some(s.dilate as f64),
        }
    }

    /// The selection with this threshold at a value; `None` where [`Field::get`] gives none.
    pub fn set(self, selection: &HeadSelection, value: f64) -> Option<HeadSelection> {
        self.get(selection)?;
        let mut changed = selection.clone();
        let whole = value.round().max(0.0) as usize;
        match self {
            Self::Tau => changed.elbow.mode = ElbowMode::Manual(value),
            Self::EntropyC => changed.entropy.c = value,
            Self::EntropyFloor => match &mut changed.entropy.floor {
                Floor::Rel(v) | Floor::Abs(v) => *v = value,
            },
            Self::EntropyMax => changed.entropy.max = Some(value),
            Self::BottomRow => match &mut changed.bottom_row {
                BottomRow::Abs(v) | BottomRow::Share(v) => *v = value,
                BottomRow::Off | BottomRow::ComponentFull => {}
            },
            Self::Sinks => match &mut changed.sinks.rule {
                SinkRule::Relative(v) | SinkRule::Absolute(v) => *v = value,
            },
            Self::Candidates => changed.candidates = whole.max(1),
            Self::K => changed.k = whole.max(1),
            Self::Sigma => changed.smoothing.sigma = value,
            Self::Area | Self::Patches => {
                if let Some(budget) = changed.mask.budget_mut() {
                    *budget = match self {
                        Self::Area => Budget::Share(value),
                        _ => Budget::Patches(whole.max(1)),
                    };
                }
            }
            Self::KeepMass => {
                if let Some(share) = changed.mask.kept_mass_mut() {
                    *share = value;
                }
            }
            Self::FirstShare => {
                if let MaskRule::TwoRegionsBudget { share1, .. } = &mut changed.mask {
                    *share1 = value;
                }
            }
            Self::Dilate => changed.dilate = whole,
        }
        Some(changed)
    }

    /// The values worth a look, where a slider ends. `patches` is the size of the grid.
    pub fn range(self, selection: &HeadSelection, patches: usize) -> RangeInclusive<f64> {
        match self {
            Self::Tau => 0.0..=1.0,
            Self::EntropyC => 0.0..=4.0,
            Self::EntropyFloor => match selection.entropy.floor {
                Floor::Rel(_) => 0.0..=4.0,
                Floor::Abs(_) => 0.0..=0.02,
            },
            Self::EntropyMax => 0.0..=4.0,
            Self::BottomRow => match selection.bottom_row {
                BottomRow::Abs(_) => 0.0..=0.2,
                _ => 0.0..=100.0,
            },
            Self::Sinks => match selection.sinks.rule {
                SinkRule::Relative(_) => 0.0..=0.95,
                SinkRule::Absolute(_) => 0.0..=60.0,
            },
            Self::Candidates => 1.0..=32.0,
            Self::K => 1.0..=16.0,
            Self::Sigma => 0.0..=3.0,
            Self::Area => 0.02..=0.5,
            Self::Patches => 1.0..=(patches as f64 / 2.0).max(1.0),
            Self::KeepMass => 0.05..=1.0,
            Self::FirstShare => 0.05..=0.95,
            Self::Dilate => 0.0..=4.0,
        }
    }

    /// Whether only whole numbers make sense.
    pub fn is_whole(self) -> bool {
        matches!(
            self,
            Self::Candidates | Self::K | Self::Patches | Self::Dilate
        )
    }
}
