//! Connected components of the patches above a threshold, found by words of bits.

use crate::Grid;
use crate::maps::Weight;
use crate::selection::Connectivity;

/// Finds components on one grid, again and again, without allocating.
///
/// The set of patches is one long row of bits, 64 patches to the word, whatever the columns. A shift of the whole set
/// then shows every patch the neighbour at one distance, so that links to neighbours cost work per word, and only the
/// patches of the set, which are few, are visited one by one. Every patch is linked to one earlier neighbour; only
/// where two earlier neighbours do not know each other yet are two trees joined.
pub(crate) struct Components {
    grid: Grid,
    connectivity: Connectivity,
    /// The set after `lead` words of zeros, which are what the shifts find before the first patch.
    set: Vec<u64>,
    lead: usize,
    /// Patches that have a left neighbour.
    has_left: Vec<u64>,
    /// Patches that have a right neighbour.
    has_right: Vec<u64>,
    /// Distance to the earlier neighbour a patch is linked to, by which of the earlier neighbours are in the set.
    link: [u32; 16],
    /// Per patch of the set: an earlier patch of its component, or itself.
    parent: Vec<u32>,
    /// Per patch of the set: weight of what hangs below it.
    weight: Vec<f64>,
    /// Patches of the set, ascending.
    members: Vec<u32>,
    /// Weights of the components.
    found: Vec<f64>,
}

/// Bits of the patterns by which [`Components::link`] is read.
const LEFT: usize = 1;
const ABOVE: usize = 2;
const ABOVE_LEFT: usize = 4;
const ABOVE_RIGHT: usize = 8;

impl Components {
    pub(crate) fn new(grid: Grid, connectivity: Connectivity) -> Self {
        let Grid { rows: _, cols } = grid;
        let patches = grid.len();
        let words = patches.div_ceil(64);
        let lead = (cols + 1) / 64 + 1;
        let bits = |holds: &dyn Fn(usize) -> bool| {
            let mut bits = vec![0u64; words];
            for patch in (0..patches).filter(|&patch| holds(patch)) {
                bits[patch / 64] |= 1 << (patch % 64);
            }
            bits
        };
        let eight = connectivity == Connectivity::Eight;
        let link = std::array::from_fn(|pattern| match pattern {
            // The patch above knows those at its sides already.
            p if p & ABOVE != 0 => cols,
            p if p & LEFT != 0 => 1,
            p if eight && p & ABOVE_LEFT != 0 => cols + 1,
            p if eight && p & ABOVE_RIGHT != 0 => cols - 1,
            _ => 0,
        } as u32);
        Self {
            grid,
            connectivity,
            set: vec![0; lead + words],
            lead,
            has_left: bits(&|patch| patch % cols != 0),
            has_right: bits(&|patch| patch % cols != cols - 1),
            link,
            parent: vec![0; patches],
            weight: vec![0.0; patches],
            members: vec![0; patches],
            found: vec![0.0; patches + LANES],
        }
    }

    /// Makes the patches above a threshold the set.
    #[inline(always)]
    pub(crate) fn mark<T: Weight>(&mut self, map: &[T], threshold: T) {
        let words = &mut self.set[self.lead..];
        let chunks = map.chunks_exact(64);
        let rest = chunks.remainder();
        if let (Some(last), false) = (words.last_mut(), rest.is_empty()) {
            let mut padded = [threshold; 64];
            padded[..rest.len()].copy_from_slice(rest);
            *last = bits_above(&padded, threshold);
        }
        for (word, chunk) in words.iter_mut().zip(chunks) {
            if let Ok(chunk) = chunk.try_into() {
                *word = bits_above(chunk, threshold);
            }
        }
    }

    /// Whether every patch of the last row is in the set.
    pub(crate) fn holds_bottom_row(&self) -> bool {
        let words = &self.set[self.lead..];
        let patches = self.grid.len();
        (patches - self.grid.cols..patches).all(|patch| words[patch / 64] >> (patch % 64) & 1 == 1)
    }

    /// Weights of the components of the set.
    #[inline(always)]
    pub(crate) fn weigh(&mut self, weight_of: impl Fn(usize) -> f64) -> &[f64] {
        let cols = self.grid.cols;
        let eight = self.connectivity == Connectivity::Eight;
        let mut n_members = 0;
        for (word, (&has_left, &has_right)) in self.has_left.iter().zip(&self.has_right).enumerate()
        {
            let at = self.lead + word;
            let set = self.set[at];
            let left = set & shifted(&self.set, at, 1) & has_left;
            let above = set & shifted(&self.set, at, cols);
            let above_left = set & shifted(&self.set, at, cols + 1) & has_left;
            let above_right = set & shifted(&self.set, at, cols - 1) & has_right;

            let mut open = set;
            while open != 0 {
                let bit = open.trailing_zeros();
                open &= open - 1;
                let is = |bits: u64| (bits >> bit & 1) as usize;
                let pattern = is(left) * LEFT
                    | is(above) * ABOVE
                    | is(above_left) * ABOVE_LEFT
                    | is(above_right) * ABOVE_RIGHT;
                let patch = word * 64 + bit as usize;
                self.parent[patch] = patch as u32 - self.link[pattern];
                self.weight[patch] = weight_of(patch);
                self.members[n_members] = patch as u32;
                n_members += 1;
            }

            // Neighbours on both sides of a patch that is not in the set.
            let (mut bridges, distance) = if eight {
                ((left | above_left) & above_right & !above, cols - 1)
            } else {
                (left & above & !above_left, 1)
            };
            while bridges != 0 {
                let patch = word * 64 + bridges.trailing_zeros() as usize;
                bridges &= bridges - 1;
                join(&mut self.parent, patch, patch - distance);
            }
        }

        // A parent comes before its children, so one walk backwards carries all weights to the roots.
        let mut n_found = 0;
        for &patch in self.members[..n_members].iter().rev() {
            let parent = self.parent[patch as usize];
            let weight = self.weight[patch as usize];
            self.weight[parent as usize] += weight;
            self.found[n_found] = weight;
            n_found += usize::from(parent == patch);
        }
        self.found[n_found..n_found + LANES].fill(0.0);
        &self.found[..n_found]
    }
}

const LANES: usize = 8;

/// One bit per value above a threshold.
#[inline(always)]
fn bits_above<T: Weight>(values: &[T; 64], threshold: T) -> u64 {
    let mut above = [0u8; 64];
    for (above, &value) in above.iter_mut().zip(values) {
        *above = u8::from(value > threshold);
    }
    let mut bits = 0;
    for (i, eight) in above.as_chunks::<8>().0.iter().enumerate() {
        // The product moves the lowest bit of byte k to bit 56 + k; no two of its terms meet.
        let byte = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits |= byte << (8 * i);
    }
    bits
}

/// Word `at` of the set moved up by `distance` patches: what lies so far before each of its patches.
#[inline(always)]
fn shifted(set: &[u64], at: usize, distance: usize) -> u64 {
    let (words, bits) = (distance / 64, distance % 64);
    // In two steps, because a shift by 64 is none.
    set[at - words] << bits | set[at - words - 1] >> 1 >> (63 - bits)
}

/// Makes one tree of two.
fn join(parent: &mut [u32], a: usize, b: usize) {
    let root = |mut patch: usize| {
        while parent[patch] as usize != patch {
            patch = parent[patch] as usize;
        }
        patch
    };
    let (a, b) = (root(a), root(b));
    parent[a.max(b)] = a.min(b) as u32;
}
