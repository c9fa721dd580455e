//! What a slider move costs on the frame in view, and what the dataset-wide numbers cost behind it.
//!
//! `cargo bench -p gazelab-grounding`
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "bench")]

use std::fmt;
use std::hint::black_box;

use divan::Bencher;
use grounding::*;

/// A model's heads: some look broadly, some at one place, some at two corners; all with noise.
fn frame(grid: Grid, n_layers: usize, n_heads: usize, seed: u64) -> HeadMaps {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let mut data = Vec::new();
    for head in 0..n_layers * n_heads {
        let (row, col) = (next() * grid.rows as f32, next() * grid.cols as f32);
        let sharp = [0.0, 3.0, 6.0][head % 3];
        let map: Vec<f32> = (0..grid.len())
            .map(|patch| {
                let (dy, dx) = (
                    (patch / grid.cols) as f32 - row,
                    (patch % grid.cols) as f32 - col,
                );
                (1.5 * next() + sharp * (-(dx * dx + dy * dy) / 8.0).exp()).exp()
            })
            .collect();
        let scale = (0.05 + 0.5 * next()) / map.iter().sum::<f32>();
        data.extend(map.iter().map(|v| v * scale));
    }
    HeadMaps::new(grid, n_layers, n_heads, data).unwrap()
}

/// Layers, heads per layer, grid: the small VLA, a 12-layer model and LLaVA-OneVision 0.5B.
const MODELS: [(usize, usize, Grid); 3] = [
    (4, 4, Grid::new(16, 16)),
    (12, 12, Grid::new(27, 27)),
    (24, 14, Grid::new(27, 27)),
];

/// A model and a number of frames, as the bench prints it.
#[derive(Clone, Copy)]
struct Case {
    frames: u64,
    n_layers: usize,
    n_heads: usize,
    grid: Grid,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            frames,
            n_layers,
            n_heads,
            grid,
        } = self;
        write!(
            f,
            "{frames} × {n_layers}×{n_heads} heads, {} patches",
            grid.len()
        )
    }
}

impl Case {
    const fn new(frames: u64, (n_layers, n_heads, grid): (usize, usize, Grid)) -> Self {
        Self {
            frames,
            n_layers,
            n_heads,
            grid,
        }
    }

    fn frame(&self, seed: u64) -> HeadMaps {
        frame(self.grid, self.n_layers, self.n_heads, seed)
    }

    fn samples(&self) -> Vec<Sample> {
        (0..self.frames)
            .map(|seed| Sample {
                maps: self.frame(seed),
                truth: Some(Rect::new(0.2, 0.3, 0.5, 0.6)),
                split: if seed % 2 == 0 {
                    Split::Tune
                } else {
                    Split::HeldOut
                },
                episode: seed as usize / 10,
            })
            .collect()
    }
}

fn analysis(samples: &[Sample]) -> Analysis {
    let mut analysis = Analysis::new(Analysis::DEFAULT_MEMORY);
    for sample in samples {
        analysis.push(sample.clone()).unwrap();
    }
    analysis
}

/// What a slider of the head scores recomputes on the frame in view.
const FRAMES: [Case; 3] = [
    Case::new(1, MODELS[0]),
    Case::new(1, MODELS[1]),
    Case::new(1, MODELS[2]),
];

/// What follows in the background.
const DATASETS: [Case; 2] = [Case::new(2000, MODELS[0]), Case::new(1000, MODELS[2])];

#[divan::bench(args = FRAMES)]
fn score(bencher: Bencher, case: Case) {
    let (maps, selection) = (case.frame(1), HeadSelection::default());
    bencher.bench_local(|| score_heads(black_box(&maps), None, &selection).unwrap());
}

#[divan::bench(args = FRAMES)]
fn heat_map_mask_and_box(bencher: Bencher, case: Case) {
    let (maps, selection) = (case.frame(1), HeadSelection::default());
    let scores = score_heads(&maps, None, &selection).unwrap();
    let heads = select_heads(&[scores], &selection).unwrap().heads;
    bencher.bench_local(|| gaze(black_box(&maps), &heads, &selection).unwrap());
}

#[divan::bench(args = FRAMES)]
fn slider_move(bencher: Bencher, case: Case) {
    let (maps, selection) = (case.frame(1), HeadSelection::default());
    bencher.bench_local(|| {
        let scores = score_heads(black_box(&maps), None, &selection).unwrap();
        let heads = select_heads(&[scores], &selection).unwrap().heads;
        gaze(&maps, &heads, &selection).unwrap()
    });
}

#[divan::bench(args = DATASETS, sample_count = 10)]
fn evaluate_dataset(bencher: Bencher, case: Case) {
    let samples = case.samples();
    bencher
        .with_inputs(|| analysis(&samples))
        .bench_local_values(|mut analysis| {
            analysis.evaluate(&HeadSelection::default(), &()).unwrap()
        });
}

/// What a change of `k`, τ or the mask rule costs, with everything before it known: the change goes back and forth.
fn change(bencher: Bencher, case: Case, changed: &HeadSelection) {
    let mut analysis = analysis(&case.samples());
    let usual = HeadSelection::default();
    for selection in [&usual, changed] {
        analysis.evaluate(selection, &()).unwrap();
    }
    let mut turn = 0;
    bencher.bench_local(|| {
        turn += 1;
        analysis
            .evaluate(if turn % 2 == 0 { changed } else { &usual }, &())
            .unwrap()
    });
}

#[divan::bench(args = DATASETS, sample_count = 10)]
fn change_of_k(bencher: Bencher, case: Case) {
    let changed = HeadSelection {
        k: 5,
        ..HeadSelection::default()
    };
    change(bencher, case, &changed);
}

#[divan::bench(args = DATASETS, sample_count = 10)]
fn change_of_tau(bencher: Bencher, case: Case) {
    let changed = HeadSelection {
        elbow: Elbow {
            mode: ElbowMode::Manual(0.3),
            ..Elbow::default()
        },
        ..HeadSelection::default()
    };
    change(bencher, case, &changed);
}

#[divan::bench(args = DATASETS, sample_count = 10)]
fn change_of_mask_rule(bencher: Bencher, case: Case) {
    let changed = HeadSelection {
        mask: MaskRule::TwoRegionsBudget {
            base: BaseMask::default(),
            budget: Budget::Share(0.12),
            share1: 0.5,
        },
        ..HeadSelection::default()
    };
    change(bencher, case, &changed);
}

#[divan::bench(args = DATASETS, sample_count = 10)]
fn change_of_entropy_rule(bencher: Bencher, case: Case) {
    let changed = HeadSelection {
        entropy: EntropyRule {
            c: 1.5,
            ..EntropyRule::default()
        },
        ..HeadSelection::default()
    };
    change(bencher, case, &changed);
}

fn main() {
    divan::main();
}
