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
    words: Vec<Word>,
    /// One per patch, and what fills the last word; only those of the set are valid.
    nodes: Vec<Node>,
    /// Patches of the set, ascending.
    members: Vec<u32>,
    /// Weights of the components.
    found: Vec<f64>,
}

/// What 64 patches know about their neighbours.
#[derive(Clone, Copy, Default)]
struct Word {
    /// Which have a left neighbour.
    has_left: u64,
    /// Which have a right neighbour.
    has_right: u64,
    /// Which are linked to the row above.
    up: u64,
    /// Which are linked to the left, of their row or the one above.
    left: u64,
    /// Which are linked to the right, in the row above.
    right: u64,
    /// Which join two neighbours that may not know each other: the one they are linked to, and another.
    joins: u64,
}

/// A patch of the set in the tree of its component.
#[derive(Clone, Copy, Default)]
struct Node {
    /// Own weight, in the end with that of all below.
    weight: f64,
    /// An earlier patch of the component, or the patch itself.
    parent: u32,
}

impl Components {
    pub(crate) fn new(grid: Grid, connectivity: Connectivity) -> Self {
        let patches = grid.len();
        let n_words = patches.div_ceil(64);
        let lead = (grid.cols + 1) / 64 + 1;
        let mut words = vec![Word::default(); n_words];
        for patch in 0..patches {
            let (word, col) = (&mut words[patch / 64], patch % grid.cols);
            word.has_left |= u64::from(col > 0) << (patch % 64);
            word.has_right |= u64::from(col + 1 < grid.cols) << (patch % 64);
        }
        Self {
            grid,
            connectivity,
            set: vec![0; lead + n_words],
            lead,
            words,
            nodes: vec![Node::default(); n_words * 64],
            members: vec![0; patches],
            found: vec![0.0; patches],
        }
    }

    /// Makes the patches above a threshold the set.
    pub(crate) fn mark<T: Weight>(&mut self, map: &[T], threshold: T) {
        let words = &mut self.set[self.lead..];
        let (chunks, rest) = map.as_chunks::<64>();
        if let (Some(last), false) = (words.last_mut(), rest.is_empty()) {
            let mut padded = [threshold; 64];
            padded[..rest.len()].copy_from_slice(rest);
            *last = bits_above(&padded, threshold);
        }
        for (word, chunk) in words.iter_mut().zip(chunks) {
            *word = bits_above(chunk, threshold);
        }
    }

    /// Whether every patch of the last row is in the set.
    pub(crate) fn holds_bottom_row(&self) -> bool {
        let words = &self.set[self.lead..];
        let patches = self.grid.len();
        (patches - self.grid.cols..patches).all(|patch| words[patch / 64] >> (patch % 64) & 1 == 1)
    }

    /// Weights of the components of the set.
    pub(crate) fn weigh(&mut self, weight_of: impl Fn(usize) -> f64) -> &mut [f64] {
        self.link();
        let Self {
            lead,
            grid: Grid { cols, .. },
            ..
        } = *self;
        // As slices, which stay in registers where vectors would be looked up at every patch.
        let (nodes, members, found) = (
            &mut self.nodes[..],
            &mut self.members[..],
            &mut self.found[..],
        );
        let mut n_members = 0;
        let trees = nodes.as_chunks_mut::<64>().0.iter_mut();
        for (at, ((nodes, &set), word)) in trees.zip(&self.set[lead..]).zip(&self.words).enumerate()
        {
            let mut open = set;
            while open != 0 {
                let bit = open.trailing_zeros() as usize;
                open &= open - 1;
                let is = |bits: u64| (bits >> bit & 1) as usize;
                let patch = at * 64 + bit;
                let parent = patch - is(word.up) * cols - is(word.left) + is(word.right);
                nodes[bit % 64] = Node {
                    weight: weight_of(patch),
                    parent: parent as u32,
                };
                members[n_members] = patch as u32;
                n_members += 1;
            }
        }

        let other = match self.connectivity {
            Connectivity::Eight => cols - 1,
            Connectivity::Four => 1,
        };
        for (at, word) in self.words.iter().enumerate() {
            let mut open = word.joins;
            while open != 0 {
                let patch = at * 64 + open.trailing_zeros() as usize;
                open &= open - 1;
                join(nodes, patch, patch - other);
            }
        }

        // A parent comes before its children, so one walk backwards carries all weights to the roots.
        let mut n_found = 0;
        for &patch in members[..n_members].iter().rev() {
            let Node { weight, parent } = nodes[patch as usize];
            nodes[parent as usize].weight += weight;
            found[n_found] = weight;
            n_found += usize::from(parent == patch);
        }
        &mut found[..n_found]
    }

    /// Finds for every patch of the set the earlier neighbours that are in it.
    fn link(&mut self) {
        let Grid { rows: _, cols } = self.grid;
        let set = &self.set[self.lead..];
        // The set moved up by some patches: what lies so far before each of its patches.
        let before = |distance: usize| {
            let start = self.lead - distance / 64;
            let bits = distance % 64;
            let pairs = self.set[start..].iter().zip(&self.set[start - 1..]);
            // In two steps, because a shift by 64 is none.
            pairs.map(move |(high, low)| high << bits | low >> 1 >> (63 - bits))
        };
        let eight = self.connectivity == Connectivity::Eight;
        let near = before(1)
            .zip(before(cols))
            .zip(before(cols + 1))
            .zip(before(cols - 1));
        for ((word, set), (((left, above), above_left), above_right)) in
            self.words.iter_mut().zip(set).zip(near)
        {
            let left = set & left & word.has_left;
            let above = set & above;
            let above_left = set & above_left & word.has_left;
            let above_right = set & above_right & word.has_right;
            if eight {
                // The patch above knows those at its sides already, and the one at the left knows the one above it.
                let sides = above_left | above_right;
                word.up = above | (sides & !left);
                word.left = (left | above_left) & !above;
                word.right = above_right & !(above | left | above_left);
                word.joins = word.left & above_right;
            } else {
                word.up = above;
                word.left = left & !above;
                word.right = 0;
                word.joins = left & above & !above_left;
            }
        }
    }
}

/// One bit per value above a threshold.
fn bits_above<T: Weight>(values: &[T; 64], threshold: T) -> u64 {
    let mut bits = 0;
    for (i, &eight) in values.as_chunks::<8>().0.iter().enumerate() {
        bits |= u64::from(T::above(eight, threshold)) << (8 * i);
    }
    bits
}

/// Makes one tree of two.
fn join(nodes: &mut [Node], a: usize, b: usize) {
    let root = |mut patch: usize| {
        while nodes[patch].parent as usize != patch {
            patch = nodes[patch].parent as usize;
        }
        patch
    };
    let (a, b) = (root(a), root(b));
    nodes[a.max(b)].parent = a.min(b) as u32;
}
