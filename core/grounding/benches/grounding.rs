//! What a slider move costs on the frame in view, and what the dataset-wide numbers cost behind it.
//!
//! `cargo bench -p gazelab-grounding`
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "bench")]

use std::fmt;
use std::hint::black_box;

use divan::Bencher;
use divan::counter::ItemsCount;
use grounding::*;
use rayon::prelude::*;

/// A model's heads in the five roles that heads of real models have: most look everywhere or at sink tokens, some at a
/// few random patches, some give the picture next to nothing, and few look at one place. All with noise.
fn frame(grid: Grid, n_layers: usize, n_heads: usize, seed: u64) -> HeadMaps {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let patches = grid.len();
    let mut data = Vec::with_capacity(n_layers * n_heads * patches);
    for head in 0..n_layers * n_heads {
        // Six uniform numbers are normal enough; their sum has a variance of 1/2.
        let mut map: Vec<f32> = (0..patches)
            .map(|_| 0.85 * ((0..6).map(|_| next()).sum::<f32>() - 3.0))
            .collect();
        let mut raise = |map: &mut [f32], n: usize, by: f32| {
            for _ in 0..n {
                let patch = (next() * patches as f32) as usize;
                map[patch.min(patches - 1)] += by;
            }
        };
        let share = match head % 20 {
            0..7 => 0.25,
            7..12 => {
                map[patches - grid.cols] += 5.5;
                map[patches - 1] += 5.5;
                raise(&mut map, 2, 5.5);
                0.3
            }
            12..15 => {
                raise(&mut map, patches / 60, 3.5);
                0.2
            }
            15..19 => {
                raise(&mut map, 4, 1.5);
                0.04
            }
            _ => {
                let (row, col) = (next() * grid.rows as f32, next() * grid.cols as f32);
                for (patch, v) in map.iter_mut().enumerate() {
                    let dy = (patch / grid.cols) as f32 - row;
                    let dx = (patch % grid.cols) as f32 - col;
                    *v += 5.0 * (-(dx * dx + dy * dy) / 12.0).exp();
                }
                0.45
            }
        };
        map.iter_mut().for_each(|v| *v = v.exp());
        let scale = share / map.iter().sum::<f32>();
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
                // All vote: nothing is saved by a half that is only measured.
                split: Split::Tune,
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

/// Maps per second on one core, as a caller measures them who keeps the meter.
#[divan::bench(args = FRAMES)]
fn entropy_maps(bencher: Bencher, case: Case) {
    let (maps, selection) = (case.frame(1), HeadSelection::default());
    let mut meter = Meter::new(maps.grid, &selection).unwrap();
    bencher
        .counter(ItemsCount::new(maps.iter().len()))
        .bench_local(|| {
            for (_, map) in black_box(&maps).iter() {
                black_box(meter.measure(map).unwrap());
            }
        });
}

/// Frames per second whose measures are known and whose heads are ranked anew: a move of the elbow slider.
#[divan::bench(args = FRAMES)]
fn rank(bencher: Bencher, case: Case) {
    let (maps, selection) = (case.frame(1), HeadSelection::default());
    let measures = measure_heads(&maps, &selection).unwrap();
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| {
        rank_heads(
            black_box(&measures),
            None,
            &maps.layers,
            maps.n_heads,
            &selection,
        )
        .unwrap()
    });
}

#[divan::bench(args = FRAMES)]
fn score(bencher: Bencher, case: Case) {
    let (maps, selection) = (case.frame(1), HeadSelection::default());
    bencher
        .counter(ItemsCount::new(1usize))
        .bench_local(|| score_heads(black_box(&maps), None, &selection).unwrap());
}

#[divan::bench(args = FRAMES)]
fn heat_map_mask_and_box(bencher: Bencher, case: Case) {
    let (maps, selection) = (case.frame(1), HeadSelection::default());
    let scores = score_heads(&maps, None, &selection).unwrap();
    let heads = select_heads(&[scores], &selection).unwrap().heads;
    bencher
        .counter(ItemsCount::new(1usize))
        .bench_local(|| gaze(black_box(&maps), &heads, &selection).unwrap());
}

/// Scores, selected heads, heat map and mask of one frame.
fn select_and_mask(maps: &HeadMaps, selection: &HeadSelection) -> Gaze {
    let scores = score_heads(maps, None, selection).unwrap();
    let heads = select_heads(&[scores], selection).unwrap().heads;
    gaze(maps, &heads, selection).unwrap()
}

/// Samples per second on one core.
#[divan::bench(args = FRAMES)]
fn slider_move(bencher: Bencher, case: Case) {
    let (maps, selection) = (case.frame(1), HeadSelection::default());
    bencher
        .counter(ItemsCount::new(1usize))
        .bench_local(|| select_and_mask(black_box(&maps), &selection));
}

/// Samples per second by number of threads: what is done for one sample shares nothing with the next.
#[divan::bench(args = [1, 2], sample_count = 200)]
fn select_and_mask_on_threads(bencher: Bencher, threads: usize) {
    let selection = HeadSelection::default();
    let frames: Vec<HeadMaps> = (0..16)
        .map(|seed| Case::new(1, MODELS[2]).frame(seed))
        .collect();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap();
    bencher
        .counter(ItemsCount::new(frames.len()))
        .bench_local(|| {
            pool.install(|| {
                black_box(&frames).par_iter().for_each(|maps| {
                    black_box(select_and_mask(maps, &selection));
                });
            });
        });
}

#[divan::bench(args = DATASETS, sample_count = 10)]
fn evaluate_dataset(bencher: Bencher, case: Case) {
    let samples = case.samples();
    bencher
        .counter(ItemsCount::new(samples.len()))
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
