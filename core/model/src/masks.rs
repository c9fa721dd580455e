//! Which patches of which frames are hidden.

use crate::{Error, Result};
use burn::tensor::{Device, Tensor, TensorData};
use grounding::Grid;
use rand::{Rng, RngExt};

/// Hidden patches of a batch, the same number in every frame of one camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchMasks {
    batch: usize,
    grids: Vec<Grid>,
    /// Per camera `[batch, patches]`.
    hidden: Vec<Vec<bool>>,
}

impl PatchMasks {
    /// Hides `budgets[camera]` patches of each frame, drawn uniformly.
    pub fn random(batch: usize, grids: &[Grid], budgets: &[usize], rng: &mut impl Rng) -> Self {
        let mut masks = Self {
            batch,
            grids: grids.to_vec(),
            hidden: grids
                .iter()
                .map(|grid| vec![false; batch * grid.len()])
                .collect(),
        };
        for frame in 0..batch {
            for ((hidden, grid), &budget) in masks.hidden.iter_mut().zip(grids).zip(budgets) {
                let patches = grid.len();
                let mut order: Vec<usize> = (0..patches).collect();
                for place in 0..budget.min(patches) {
                    order.swap(place, rng.random_range(place..patches));
                    hidden[frame * patches + order[place]] = true;
                }
            }
        }
        masks
    }

    /// Replaces the mask of one frame.
    pub fn set(&mut self, camera: usize, frame: usize, hidden: &[bool]) {
        let patches = self.grids[camera].len();
        self.hidden[camera][frame * patches..][..patches].copy_from_slice(hidden);
    }

    /// The mask of one frame, row-major over the grid.
    pub fn frame(&self, camera: usize, frame: usize) -> &[bool] {
        let patches = self.grids[camera].len();
        &self.hidden[camera][frame * patches..][..patches]
    }

    /// Number of hidden patches of one camera in the whole batch.
    pub fn hidden_count(&self, camera: usize) -> usize {
        self.hidden[camera].iter().filter(|hidden| **hidden).count()
    }

    /// Verifies that the masks belong to a batch.
    ///
    /// # Errors
    /// When they do not.
    pub fn check(&self, batch: usize, grids: &[Grid]) -> Result<()> {
        if self.batch != batch || self.grids != grids {
            return Err(Error::Input(format!(
                "masks of {} frames and {} cameras for a batch of {batch} frames and {} cameras",
                self.batch,
                self.grids.len(),
                grids.len()
            )));
        }
        Ok(())
    }

    /// 1 for hidden patches, `[batch, patches, 1]`.
    pub(crate) fn hidden_patches(&self, camera: usize, device: &Device) -> Tensor<3> {
        let values: Vec<f32> = self.hidden[camera]
            .iter()
            .map(|&hidden| f32::from(u8::from(hidden)))
            .collect();
        let shape = [self.batch, self.grids[camera].len(), 1];
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    /// 1 for pixels of visible patches, `[batch, height, width, 1]`.
    pub(crate) fn visible_pixels(&self, camera: usize, patch: usize, device: &Device) -> Tensor<4> {
        let Grid { rows, cols } = self.grids[camera];
        let mut values = Vec::with_capacity(self.hidden[camera].len() * patch * patch);
        for row in self.hidden[camera].chunks_exact(cols) {
            for _ in 0..patch {
                for &hidden in row {
                    values.extend(std::iter::repeat_n(f32::from(u8::from(!hidden)), patch));
                }
            }
        }
        let shape = [self.batch, rows * patch, cols * patch, 1];
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}
