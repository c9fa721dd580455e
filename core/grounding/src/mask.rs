//! From a heat map to a mask.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use serde::Serialize;

use crate::selection::{BaseMask, MaskRule};
use crate::{Error, Grid, HeatMap, Rect, Result, quantum};

/// A set of patches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mask {
    /// Patch grid.
    pub grid: Grid,
    /// Whether a patch belongs to it, `[P]`, row-major.
    pub bits: Vec<bool>,
}

impl Mask {
    /// A mask from its bits.
    ///
    /// # Errors
    /// [`Error::Shape`] when the length is not that of the grid.
    pub fn new(grid: Grid, bits: Vec<bool>) -> Result<Self> {
        grid.check_len(bits.len())?;
        Ok(Self { grid, bits })
    }

    /// No patch at all.
    pub fn empty(grid: Grid) -> Self {
        Self {
            grid,
            bits: vec![false; grid.len()],
        }
    }

    fn of(grid: Grid, patches: impl IntoIterator<Item = usize>) -> Self {
        let mut mask = Self::empty(grid);
        patches
            .into_iter()
            .for_each(|patch| mask.bits[patch] = true);
        mask
    }

    /// Number of patches.
    pub fn count(&self) -> usize {
        self.bits.iter().filter(|&&bit| bit).count()
    }

    /// Whether it holds no patch.
    pub fn is_empty(&self) -> bool {
        !self.bits.contains(&true)
    }

    /// Its patches, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.bits
            .iter()
            .enumerate()
            .filter_map(|(patch, &bit)| bit.then_some(patch))
    }

    /// Patches in either mask.
    ///
    /// # Errors
    /// [`Error::Shape`] when the grids differ.
    pub fn union(&self, other: &Self) -> Result<Self> {
        self.same_grid(other)?;
        let bits = self
            .bits
            .iter()
            .zip(&other.bits)
            .map(|(a, b)| a | b)
            .collect();
        Ok(Self {
            grid: self.grid,
            bits,
        })
    }

    /// Intersection over union with another mask; 0 when both are empty, for two empty masks agree on nothing.
    ///
    /// # Errors
    /// [`Error::Shape`] when the grids differ.
    pub fn iou(&self, other: &Self) -> Result<f64> {
        self.same_grid(other)?;
        let (mut inter, mut union) = (0u32, 0u32);
        for (&a, &b) in self.bits.iter().zip(&other.bits) {
            inter += u32::from(a & b);
            union += u32::from(a | b);
        }
        Ok(if union == 0 {
            0.0
        } else {
            f64::from(inter) / f64::from(union)
        })
    }

    fn same_grid(&self, other: &Self) -> Result<()> {
        if self.grid == other.grid {
            Ok(())
        } else {
            Err(Error::Shape("masks on different grids".into()))
        }
    }

    /// Smallest box around it, normalised to the grid; `None` when it is empty.
    pub fn rect(&self) -> Option<Rect> {
        let mut patches = self.iter();
        let first = self.grid.patch_rect(patches.next()?);
        Some(
            patches
                .map(|patch| self.grid.patch_rect(patch))
                .fold(first, |a, b| {
                    Rect::new(
                        a.x0.min(b.x0),
                        a.y0.min(b.y0),
                        a.x1.max(b.x1),
                        a.y1.max(b.y1),
                    )
                }),
        )
    }

    /// The mask after some rounds of 3×3 dilation, clipped at the border.
    pub fn dilated(&self, rounds: usize) -> Self {
        let mut mask = self.clone();
        // After as many rounds as the longer side nothing is left to fill.
        for _ in 0..rounds.min(self.grid.rows.max(self.grid.cols)) {
            let before = mask.clone();
            for near in before.iter().flat_map(|patch| self.grid.neighbours(patch)) {
                mask.take(near, true);
            }
        }
        mask
    }

    /// The 8-connected component that holds a patch of the mask.
    fn component(&self, patch: usize) -> Self {
        let mut left = self.clone();
        Self::of(self.grid, left.take_component(patch))
    }

    /// Removes the 8-connected component of a patch and returns its patches.
    fn take_component(&mut self, patch: usize) -> Vec<usize> {
        let mut found = Vec::new();
        if self.take(patch, false) {
            found.push(patch);
        }
        let mut next = 0;
        while let Some(&at) = found.get(next) {
            next += 1;
            for near in self.grid.neighbours(at) {
                if self.take(near, false) {
                    found.push(near);
                }
            }
        }
        found
    }

    /// Sets one patch and returns what it was; patches beyond the mask are never in it.
    fn take(&mut self, patch: usize, value: bool) -> bool {
        self.bits
            .get_mut(patch)
            .is_some_and(|bit| std::mem::replace(bit, value))
    }
}

/// A heat map in whole steps of 2⁻³⁰ of its largest magnitude.
///
/// All masks are cut from this, so that ties are ties on every machine. The order of patches is always: value
/// descending, then index ascending; the first in this order is the peak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantised {
    grid: Grid,
    /// `[P]`, each within ±2³⁰.
    q: Vec<i64>,
}

impl Quantised {
    /// Quantises a map; a map of zeros stays one.
    ///
    /// # Errors
    /// [`Error::Shape`] when the length is not that of the grid, [`Error::NonFinite`] for a value that is no number.
    pub fn new(grid: Grid, map: &[f64]) -> Result<Self> {
        grid.check_len(map.len())?;
        if let Some(index) = map.iter().position(|v| !v.is_finite()) {
            return Err(Error::NonFinite { index });
        }
        let largest = map.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let q = if largest > 0.0 {
            map.iter().map(|v| quantum::round(v / largest)).collect()
        } else {
            vec![0; map.len()]
        };
        Ok(Self { grid, q })
    }

    /// Steps per patch.
    pub fn steps(&self) -> &[i64] {
        &self.q
    }

    /// Brightest patch; `None` when nothing is above 0.
    pub fn peak(&self) -> Option<usize> {
        let peak = self.brightest(0..self.q.len())?;
        (self.q[peak] > 0).then_some(peak)
    }

    fn brightest(&self, patches: impl Iterator<Item = usize>) -> Option<usize> {
        patches.min_by_key(|&patch| self.key(patch))
    }

    /// Patches above the mean, which none are on a uniform map.
    pub fn mean(&self) -> Mask {
        let (sum, patches) = (self.q.iter().sum::<i64>(), self.q.len() as i64);
        Mask {
            grid: self.grid,
            bits: self.q.iter().map(|&q| q * patches > sum).collect(),
        }
    }

    /// Fewest patches that hold this share of what is above 0; empty when nothing is.
    ///
    /// # Errors
    /// [`Error::Option`] unless the share is inside (0, 1].
    pub fn keep_mass(&self, share: f64) -> Result<Mask> {
        MaskRule::KeepMass(share).validate()?;
        let total: i64 = self.q.iter().map(|&q| q.max(0)).sum();
        let mut mask = Mask::empty(self.grid);
        if total == 0 {
            return Ok(mask);
        }
        let target = ((share * total as f64).ceil() as i64).clamp(1, total);
        let mut kept = 0;
        let mut order = self.keys();
        order.sort_unstable();
        for patch in order.into_iter().map(patch_of) {
            mask.bits[patch] = true;
            kept += self.q[patch].max(0);
            if kept >= target {
                break;
            }
        }
        Ok(mask)
    }

    /// Exactly the `n` first patches of the order, wherever they lie.
    ///
    /// # Errors
    /// [`Error::Budget`] unless `n` is in `1..=P`, [`Error::EmptyMap`] when nothing is above 0.
    pub fn top_n(&self, n: usize) -> Result<Mask> {
        self.check_budget(n, 1)?;
        self.peak().ok_or(Error::EmptyMap)?;
        let mut order = self.keys();
        order.select_nth_unstable(n - 1);
        Ok(Mask::of(self.grid, order.into_iter().take(n).map(patch_of)))
    }

    /// The 8-connected component of `base` that holds its brightest patch.
    ///
    /// # Errors
    /// [`Error::EmptyMap`] when nothing is above 0 or the base is empty, [`Error::FlatMap`] when all values are equal,
    /// [`Error::Shape`] when the base is on another grid.
    pub fn region_component(&self, base: &Mask) -> Result<Mask> {
        self.check_peaked()?;
        self.check_grid(base)?;
        let peak = self.brightest(base.iter()).ok_or(Error::EmptyMap)?;
        Ok(base.component(peak))
    }

    /// A region of exactly `n` patches: from the peak, the first neighbouring patch in the order is added until `n`
    /// are there. It is 8-connected, holds the peak, and the region of `n` contains the region of `n - 1`.
    ///
    /// For `n` equal to the size of a threshold component around the peak it is that component, so a threshold has no
    /// influence once `n` is given.
    ///
    /// # Errors
    /// As [`Quantised::region_component`], and [`Error::Budget`] unless `n` is in `1..=P`.
    pub fn region_budget(&self, n: usize) -> Result<Mask> {
        let peak = self.check_peaked()?;
        self.check_budget(n, 1)?;
        // The whole grid is reachable, so there are always n patches.
        self.grow(peak, n, None).ok_or(Error::FlatMap)
    }

    /// Grows from a seed to `n` patches; `None` when fewer can be reached without entering `forbidden`.
    fn grow(&self, seed: usize, n: usize, forbidden: Option<&Mask>) -> Option<Mask> {
        let mut seen = forbidden.map_or_else(|| Mask::empty(self.grid), Mask::clone);
        if std::mem::replace(&mut seen.bits[seed], true) {
            return None;
        }
        let mut region = Mask::empty(self.grid);
        let mut frontier = BinaryHeap::from([Reverse(self.key(seed))]);
        for _ in 0..n {
            let patch = patch_of(frontier.pop()?.0);
            region.bits[patch] = true;
            for near in self.grid.neighbours(patch) {
                if !std::mem::replace(&mut seen.bits[near], true) {
                    frontier.push(Reverse(self.key(near)));
                }
            }
        }
        Some(region)
    }

    /// The component of the peak, and among the components of the base that do not touch it the one that holds most;
    /// `None` when there is no second one.
    ///
    /// # Errors
    /// As [`Quantised::region_component`].
    pub fn two_regions(&self, base: &Mask) -> Result<(Mask, Option<Mask>)> {
        let first = self.region_component(base)?;
        let second = self.second_component(base, &first.dilated(1));
        Ok((first, second))
    }

    /// Two regions of together exactly `n` patches that do not touch: a share `share1` grown from the peak, the rest
    /// from the brightest patch of the second component of the base. Where that cannot be had, one region of `n`.
    ///
    /// # Errors
    /// As [`Quantised::region_component`], and [`Error::Budget`] unless `n` is in `2..=P`.
    pub fn two_regions_budget(
        &self,
        base: &Mask,
        n: usize,
        share1: f64,
    ) -> Result<(Mask, Option<Mask>)> {
        let peak = self.check_peaked()?;
        self.check_budget(n, 2)?;
        let n1 = ((share1 * n as f64).ceil() as usize).clamp(1, n - 1);
        let component = self.region_component(base)?;
        if let Some(first) = self.grow(peak, n1, None) {
            // Without the whole first component the second region would be the rim of the first object.
            let forbidden = component.union(&first)?.dilated(1);
            let start = self
                .second_component(base, &forbidden)
                .and_then(|component| self.brightest(component.iter()));
            let second = start.and_then(|start| self.grow(start, n - n1, Some(&forbidden)));
            if let Some(second) = second {
                return Ok((first, Some(second)));
            }
        }
        Ok((self.region_budget(n)?, None))
    }

    /// The component of `base` outside `forbidden` that holds most; the one with the lowest patch among equals.
    fn second_component(&self, base: &Mask, forbidden: &Mask) -> Option<Mask> {
        let mut left = base.clone();
        for (bit, banned) in left.bits.iter_mut().zip(&forbidden.bits) {
            *bit &= !banned;
        }
        let mut best = (0, None);
        for patch in 0..left.bits.len() {
            let component = left.take_component(patch);
            let mass: i64 = component.iter().map(|&patch| self.q[patch].max(0)).sum();
            if mass > best.0 {
                best = (mass, Some(component));
            }
        }
        Some(Mask::of(self.grid, best.1?))
    }

    /// The first region a rule cuts, and the second one where it cuts two.
    ///
    /// # Errors
    /// What the rule in question says.
    pub fn cut(&self, rule: &MaskRule) -> Result<(Mask, Option<Mask>)> {
        rule.validate()?;
        Ok(match *rule {
            MaskRule::Mean => (self.mean(), None),
            MaskRule::KeepMass(share) => (self.keep_mass(share)?, None),
            MaskRule::TopN(budget) => (self.top_n(budget.patches(self.grid)?)?, None),
            MaskRule::RegionComponent { base } => (self.region_component(&self.base(base)?)?, None),
            MaskRule::RegionBudget(budget) => {
                (self.region_budget(budget.patches(self.grid)?)?, None)
            }
            MaskRule::TwoRegions { base } => self.two_regions(&self.base(base)?)?,
            MaskRule::TwoRegionsBudget {
                base,
                budget,
                share1,
            } => self.two_regions_budget(&self.base(base)?, budget.patches(self.grid)?, share1)?,
        })
    }

    fn base(&self, base: BaseMask) -> Result<Mask> {
        match base {
            BaseMask::Mean => Ok(self.mean()),
            BaseMask::KeepMass(share) => self.keep_mass(share),
        }
    }

    /// Place of a patch in the order, as one number: lower is earlier.
    fn key(&self, patch: usize) -> u64 {
        // A value lies within ±2³⁰, so 32 bits hold its distance from the largest, and the rest the patch.
        (((1 << 30) - self.q[patch]) as u64) << 32 | patch as u64
    }

    /// The keys of all patches.
    fn keys(&self) -> Vec<u64> {
        (0..self.q.len()).map(|patch| self.key(patch)).collect()
    }

    /// The peak of a map that has one.
    fn check_peaked(&self) -> Result<usize> {
        let peak = self.peak().ok_or(Error::EmptyMap)?;
        if self.q.iter().all(|&q| q == self.q[peak]) {
            return Err(Error::FlatMap);
        }
        Ok(peak)
    }

    fn check_budget(&self, patches: usize, least: usize) -> Result<()> {
        let available = self.q.len();
        if (least..=available).contains(&patches) {
            Ok(())
        } else {
            Err(Error::Budget {
                patches,
                least,
                available,
            })
        }
    }

    fn check_grid(&self, base: &Mask) -> Result<()> {
        base.grid.check_len(base.bits.len())?;
        if self.grid == base.grid {
            Ok(())
        } else {
            Err(Error::Shape("mask on another grid than the map".into()))
        }
    }
}

/// The patch that a key stands for.
fn patch_of(key: u64) -> usize {
    (key & u64::from(u32::MAX)) as usize
}

/// Mask of a heat map; both regions together where the rule cuts two. [`crate::gaze`] keeps them apart.
///
/// # Errors
/// What [`Quantised::cut`] says.
pub fn mask_from_map(map: &HeatMap, rule: &MaskRule) -> Result<Mask> {
    match map.quantised()?.cut(rule)? {
        (first, Some(second)) => first.union(&second),
        (first, None) => Ok(first),
    }
}
