//! What a slider move costs on the frame in view, and what the dataset-wide numbers cost behind it.
//!
//! `cargo bench -p grounding`
#![allow(missing_docs, reason = "criterion's macros")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "bench")]

use std::hint::black_box;
use std::sync::atomic::AtomicBool;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use grounding::{
    Grid, HeadMaps, HeadSelection, Rect, Sample, evaluate, evaluate_scored, gaze, score_heads,
    score_samples, select_heads,
};

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

fn slider(c: &mut Criterion) {
    let selection = HeadSelection::default();
    for (n_layers, n_heads, grid) in MODELS {
        let name = format!("{n_layers}x{n_heads} heads, {} patches", grid.len());
        let maps = frame(grid, n_layers, n_heads, 1);
        let scores = score_heads(&maps, &selection).unwrap();
        let heads = select_heads(std::slice::from_ref(&scores), &selection)
            .unwrap()
            .heads;
        c.bench_with_input(BenchmarkId::new("score", &name), &maps, |b, maps| {
            b.iter(|| score_heads(black_box(maps), &selection).unwrap());
        });
        c.bench_with_input(
            BenchmarkId::new("heat map, mask and box", &name),
            &maps,
            |b, maps| {
                b.iter(|| gaze(black_box(maps), &heads, &selection).unwrap());
            },
        );
        c.bench_with_input(BenchmarkId::new("slider move", &name), &maps, |b, maps| {
            b.iter(|| {
                let scores = score_heads(black_box(maps), &selection).unwrap();
                let heads = select_heads(&[scores], &selection).unwrap().heads;
                gaze(maps, &heads, &selection).unwrap()
            });
        });
    }
}

fn dataset(c: &mut Criterion) {
    let selection = HeadSelection::default();
    let go_on = AtomicBool::new(false);
    let mut group = c.benchmark_group("dataset");
    group.sample_size(10);
    for (frames, (n_layers, n_heads, grid)) in [(2000, MODELS[0]), (200, MODELS[1])] {
        let samples: Vec<Sample> = (0..frames)
            .map(|seed| Sample {
                maps: frame(grid, n_layers, n_heads, seed),
                truth: Some(Rect::new(0.2, 0.3, 0.5, 0.6)),
            })
            .collect();
        let name = format!(
            "{frames} frames of {n_layers}x{n_heads} heads, {} patches",
            grid.len()
        );
        group.bench_with_input(
            BenchmarkId::new("evaluate", &name),
            &samples,
            |b, samples| {
                b.iter(|| evaluate(samples, &selection, &go_on).unwrap());
            },
        );
        let scores = score_samples(&samples, &selection, &go_on).unwrap();
        group.bench_with_input(
            BenchmarkId::new("evaluate, scores known", &name),
            &samples,
            |b, samples| {
                b.iter(|| evaluate_scored(samples, &scores, &selection, &go_on).unwrap());
            },
        );
    }
    group.finish();
}

criterion_group!(benches, slider, dataset);
criterion_main!(benches);
