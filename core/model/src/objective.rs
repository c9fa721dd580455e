//! What a model is trained to do, and the source of the masks for masked reconstruction.

use crate::{AttentionRows, Batch, Error, Inputs, PatchMasks, Result, Vla, VlaConfig};
use burn::{module::Module, tensor::Tensor};
use grounding::{
    Aggregate, Budget, Forward, Grid, HeadId, HeadMaps, HeadSelection, MaskRule, QuerySelector,
    gaze, score_heads, select_heads,
};
use rand::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Training objective; all of it is data, so that a run is described by its file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "a run holds a handful of these, and a box would show in every pattern"
)]
pub enum Objective {
    /// The action loss alone.
    #[default]
    Action,
    /// The action loss plus the reconstruction of masked patches.
    Mae(MaeConfig),
}

/// Masked reconstruction as an auxiliary task ("Masked Autoencoders Are Scalable Vision Learners", He
/// et al. 2022, with the mask chosen by `source`).
///
/// The action loss is computed on the clean pictures. A **second forward pass** sees pictures whose
/// masked patches are hidden before the patch encoder, and the decoder reconstructs their pixels from
/// the final hidden states at the image positions. Every source masks the same number of patches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaeConfig {
    /// Where the masks come from.
    pub source: MaskSource,
    /// Share of each camera's patches that is masked, in (0, 1); rounded up, at least one patch.
    pub mask_share: f64,
    /// Weight of the reconstruction loss; the action loss has weight 1.
    pub weight: f64,
    /// Width of the decoder, a multiple of 32.
    pub decoder_width: usize,
    /// Transformer blocks of the decoder.
    pub decoder_blocks: usize,
    /// Whether each patch is reconstructed relative to its own mean and deviation.
    pub norm_pix: bool,
    /// Share of the training steps with random masks before `source` takes over, in [0, 1].
    pub warmup_share: f64,
    /// How heads are chosen, for [`MaskSource::Selected`]. Its mask rule is replaced by a connected
    /// region of exactly the masked number of patches.
    pub selection: HeadSelection,
    /// Steps between two choices of heads.
    pub reselect_every: u64,
}

impl Default for MaeConfig {
    fn default() -> Self {
        Self {
            source: MaskSource::Random,
            // 16 of 64 patches, as in the prototype of the built-in benchmark.
            mask_share: 0.25,
            weight: 1.0,
            decoder_width: 96,
            decoder_blocks: 1,
            norm_pix: false,
            warmup_share: 0.25,
            selection: HeadSelection::default(),
            reselect_every: 200,
        }
    }
}

/// Where the masked patches come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskSource {
    /// Patches drawn uniformly.
    #[default]
    Random,
    /// The connected region where the selected heads of the model itself look.
    Selected,
}

impl MaskSource {
    /// All sources.
    pub const ALL: [Self; 2] = [Self::Random, Self::Selected];

    /// The name used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Selected => "selected",
        }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action => f.write_str("action"),
            Self::Mae(mae) => write!(f, "mae:{}", mae.source.name()),
        }
    }
}

impl FromStr for Objective {
    type Err = Error;

    /// `action`, `mae:random` or `mae:selected`, everything else at its default.
    fn from_str(text: &str) -> Result<Self> {
        let unknown = || Error::Unknown {
            what: "objective",
            given: text.into(),
            expected: "action, mae:random, mae:selected",
        };
        if text == "action" {
            return Ok(Self::Action);
        }
        let source = text.strip_prefix("mae:").ok_or_else(unknown)?;
        let source = MaskSource::ALL
            .into_iter()
            .find(|s| s.name() == source)
            .ok_or_else(unknown)?;
        Ok(Self::Mae(MaeConfig {
            source,
            ..MaeConfig::default()
        }))
    }
}

/// The losses of one batch.
#[derive(Clone, Debug)]
pub struct Losses {
    /// What is to be minimised: action + weight · reconstruction.
    pub total: Tensor<1>,
    /// The action loss, see [`Vla::action_loss`].
    pub action: Tensor<1>,
    /// The reconstruction loss under [`Objective::Mae`].
    pub reconstruction: Option<Tensor<1>>,
    /// Predicted action distributions `[batch, chunk, action_dim, bins]` on the clean pictures.
    pub logits: Tensor<4>,
    /// Share of the masks that came from [`MaeConfig::source`]; the others were random: all of them
    /// during warm-up, later those of frames whose attention shows no region.
    pub sourced_share: f64,
}

/// What a [`Criterion`] has learned; part of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CriterionState {
    /// Selected heads of each camera, best first; empty before the first choice.
    pub heads: Vec<Vec<HeadId>>,
    /// Step of the last choice.
    pub calibrated_at: Option<u64>,
}

/// Everything between a batch and its loss: the seam where mask sources are plugged in.
///
/// Per step the trainer asks [`calibration_due`](Self::calibration_due), calls
/// [`calibrate`](Self::calibrate) with a fixed set of frames if so, then [`losses`](Self::losses).
#[derive(Clone, Debug)]
pub struct Criterion {
    objective: Objective,
    grids: Vec<Grid>,
    /// Masked patches per frame of each camera.
    budgets: Vec<usize>,
    warmup_steps: u64,
    state: CriterionState,
}

impl Criterion {
    /// The criterion of a run of `total_steps` steps.
    ///
    /// # Errors
    /// When the objective's numbers are out of range or its selection needs what training cannot give.
    pub fn new(objective: &Objective, config: &VlaConfig, total_steps: u64) -> Result<Self> {
        let grids = config.grids();
        let mut budgets = Vec::new();
        let mut warmup_steps = 0;
        if let Objective::Mae(mae) = objective {
            mae.check()?;
            for grid in &grids {
                let budget = (mae.mask_share * grid.len() as f64).ceil() as usize;
                if budget >= grid.len() {
                    return Err(Error::Config(format!(
                        "mask_share {} hides all {} patches of a camera",
                        mae.mask_share,
                        grid.len()
                    )));
                }
                budgets.push(budget.max(1));
            }
            warmup_steps = (mae.warmup_share * total_steps as f64).ceil() as u64;
        }
        Ok(Self {
            objective: objective.clone(),
            grids,
            budgets,
            warmup_steps,
            state: CriterionState::default(),
        })
    }

    /// What is trained.
    pub fn objective(&self) -> &Objective {
        &self.objective
    }

    /// The first step whose masks may come from [`MaeConfig::source`].
    pub fn warmup_steps(&self) -> u64 {
        self.warmup_steps
    }

    /// What was learned so far.
    pub fn state(&self) -> &CriterionState {
        &self.state
    }

    /// Continues from a checkpoint.
    ///
    /// # Errors
    /// When the state is that of a model with other cameras.
    pub fn restore(&mut self, state: CriterionState) -> Result<()> {
        if !state.heads.is_empty() && state.heads.len() != self.grids.len() {
            return Err(Error::Config(format!(
                "selected heads for {} cameras, the model has {}",
                state.heads.len(),
                self.grids.len()
            )));
        }
        self.state = state;
        Ok(())
    }

    /// Whether heads must be chosen before [`losses`](Self::losses) of `step`.
    pub fn calibration_due(&self, step: u64) -> bool {
        let Objective::Mae(MaeConfig {
            source: MaskSource::Selected,
            reselect_every,
            ..
        }) = &self.objective
        else {
            return false;
        };
        step >= self.warmup_steps
            && match self.state.calibrated_at {
                None => true,
                Some(at) => step >= at.saturating_add(*reselect_every),
            }
    }

    /// Chooses heads by the attention of the model's read-out on fixed frames, for each camera of its
    /// own. Where no head passes the selection, the earlier choice stays and a warning is logged.
    ///
    /// # Errors
    /// When the selection refuses the attention.
    pub fn calibrate(&mut self, vla: &Vla, frames: &Inputs, step: u64) -> Result<()> {
        let Objective::Mae(mae) = &self.objective else {
            return Ok(());
        };
        let read_out = vla.config().sequence().read_out;
        let rows = vla.valid().forward_with_attention(frames, &[read_out]).1;
        self.choose(
            &mae.selection.clone(),
            &vla.config().sequence().images,
            &rows,
        )?;
        self.state.calibrated_at = Some(step);
        Ok(())
    }

    fn choose(
        &mut self,
        selection: &HeadSelection,
        images: &[std::ops::Range<usize>],
        rows: &AttentionRows,
    ) -> Result<()> {
        let mut heads = Vec::with_capacity(self.grids.len());
        for (camera, (grid, keys)) in self.grids.iter().zip(images).enumerate() {
            let scores = (0..rows.batch)
                .into_par_iter()
                .map(|frame| score_heads(&head_maps(rows, frame, *grid, keys)?, None, selection))
                .collect::<grounding::Result<Vec<_>>>()?;
            heads.push(match select_heads(&scores, selection) {
                Ok(selected) => selected.heads,
                Err(grounding::Error::NoHeads) => {
                    tracing::warn!(
                        camera,
                        "no attention head passes the selection, masks stay as they were"
                    );
                    self.state.heads.get(camera).cloned().unwrap_or_default()
                }
                Err(error) => return Err(error.into()),
            });
        }
        self.state.heads = heads;
        Ok(())
    }

    /// The losses of one batch. Draws the same random numbers whatever the mask source, so that runs
    /// that differ in nothing else see the same data.
    ///
    /// # Errors
    /// When a calibration is due and was left out, or the model does not fit.
    pub fn losses(
        &self,
        vla: &Vla,
        batch: &Batch,
        step: u64,
        rng: &mut impl Rng,
    ) -> Result<Losses> {
        let Objective::Mae(mae) = &self.objective else {
            let logits = vla.forward(&batch.inputs).logits;
            let action = vla.action_loss(logits.clone(), batch);
            return Ok(Losses {
                total: action.clone(),
                action,
                reconstruction: None,
                logits,
                sourced_share: 0.0,
            });
        };
        if self.calibration_due(step) {
            return Err(Error::Config(format!(
                "heads must be chosen before step {step}"
            )));
        }
        let mut masks = PatchMasks::random(batch.inputs.batch(), &self.grids, &self.budgets, rng);
        let sequence = vla.config().sequence();
        let selected = mae.source == MaskSource::Selected && step >= self.warmup_steps;
        let (logits, sourced_share) = if selected
            && self.state.heads.iter().any(|heads| !heads.is_empty())
        {
            // The clean pass that the action loss needs anyway also says where the model looks.
            let (output, rows) = vla.forward_with_attention(&batch.inputs, &[sequence.read_out]);
            let replaced =
                self.mask_by_attention(&mae.selection, &sequence.images, &rows, &mut masks)?;
            (
                output.logits,
                replaced as f64 / (rows.batch * self.grids.len()) as f64,
            )
        } else {
            (
                vla.forward(&batch.inputs).logits,
                if mae.source == MaskSource::Random {
                    1.0
                } else {
                    0.0
                },
            )
        };
        let action = vla.action_loss(logits.clone(), batch);
        let reconstruction = vla.reconstruct(&batch.inputs, &masks)?.loss;
        let total = action.clone() + reconstruction.clone() * mae.weight as f32;
        Ok(Losses {
            total,
            action,
            reconstruction: Some(reconstruction),
            logits,
            sourced_share,
        })
    }

    /// Replaces masks by the region where the selected heads look; returns how many.
    fn mask_by_attention(
        &self,
        selection: &HeadSelection,
        images: &[std::ops::Range<usize>],
        rows: &AttentionRows,
        masks: &mut PatchMasks,
    ) -> Result<usize> {
        let mut replaced = 0;
        for (camera, (grid, keys)) in self.grids.iter().zip(images).enumerate() {
            let heads = &self.state.heads[camera];
            if heads.is_empty() {
                continue;
            }
            let rule = MaskRule::RegionBudget(Budget::Patches(self.budgets[camera]));
            let selection = HeadSelection {
                mask: rule,
                dilate: 0,
                ..selection.clone()
            };
            let regions = (0..rows.batch)
                .into_par_iter()
                .map(
                    |frame| match gaze(&head_maps(rows, frame, *grid, keys)?, heads, &selection) {
                        Ok(gaze) => Ok(Some(gaze.mask.bits)),
                        Err(grounding::Error::EmptyMap | grounding::Error::FlatMap) => Ok(None),
                        Err(error) => Err(error),
                    },
                )
                .collect::<grounding::Result<Vec<_>>>()?;
            for (frame, region) in regions.into_iter().enumerate() {
                if let Some(region) = region {
                    masks.set(camera, frame, &region);
                    replaced += 1;
                }
            }
        }
        Ok(replaced)
    }
}

fn head_maps(
    rows: &AttentionRows,
    frame: usize,
    grid: Grid,
    keys: &std::ops::Range<usize>,
) -> grounding::Result<HeadMaps> {
    HeadMaps::new(
        grid,
        rows.layers,
        rows.heads,
        rows.map(frame, 0, keys.clone()),
    )
}

impl MaeConfig {
    /// Verifies that the numbers describe a task.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn check(&self) -> Result<()> {
        let fail = |text: String| Err(Error::Config(text));
        if !(self.mask_share > 0.0 && self.mask_share < 1.0) {
            return fail(format!("mask_share {} is not in (0, 1)", self.mask_share));
        }
        if !(0.0..=1.0).contains(&self.warmup_share) {
            return fail(format!(
                "warmup_share {} is not in [0, 1]",
                self.warmup_share
            ));
        }
        if !(self.weight >= 0.0 && self.weight.is_finite()) {
            return fail(format!("weight {} of the reconstruction", self.weight));
        }
        if self.reselect_every == 0 {
            return fail("reselect_every is 0".into());
        }
        if !matches!(
            self.selection.query,
            QuerySelector::ReadOut | QuerySelector::Last
        ) {
            return fail(
                "masks for training come from the read-out; the selection asks for another token"
                    .into(),
            );
        }
        let HeadSelection {
            forward,
            criterion,
            aggregate,
            sinks,
            ..
        } = &self.selection;
        if sinks.apply || *aggregate == Aggregate::NaiveSinkFiltered {
            return fail(
                "sink tokens are not measured during training; switch the sink filter off".into(),
            );
        }
        if *forward != Forward::AsTrained {
            return fail(format!(
                "masks for training come from the pass that is trained; the selection asks for another ({forward})"
            ));
        }
        if *criterion != grounding::Criterion::Entropy {
            return fail(format!(
                "neither other instructions nor boxes are seen during training; the selection chooses heads by them \
                 ({criterion}), choose them by entropy"
            ));
        }
        if aggregate.needs_generic() || aggregate.needs_baseline() {
            return fail(format!(
                "neither generic prompts nor other tokens are seen during training; the selection needs them ({aggregate})"
            ));
        }
        Ok(self.selection.validate()?)
    }
}
