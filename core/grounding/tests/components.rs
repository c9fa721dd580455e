//! Spatial entropy against the plainest way to say it: one patch after the other, with the logarithm of the standard
//! library, on grids whose rows are shorter than a machine word, as long and longer.

mod common;

use common::Noise;
use grounding::{
    BottomRow, Connectivity, EntropyRule, EntropyTotal, EntropyWeight, Floor, Grid, HeadSelection,
    Meter, spatial_entropy,
};

const GRIDS: [(usize, usize); 16] = [
    (1, 1),
    (1, 7),
    (7, 1),
    (1, 200),
    (200, 1),
    (2, 2),
    (9, 2),
    (13, 27),
    (27, 27),
    (5, 63),
    (5, 64),
    (6, 65),
    (4, 127),
    (4, 128),
    (3, 130),
    (70, 3),
];

impl Noise {
    /// A map of which a share of the patches is bright.
    fn map(&mut self, grid: Grid, bright: f32) -> Vec<f32> {
        let scale = 1.0 / grid.len() as f32;
        (0..grid.len())
            .map(|_| {
                let by = if self.next() < bright { 0.5 } else { 0.01 };
                (by + 0.1 * self.next()) * scale
            })
            .collect()
    }
}

/// Entropy, number of components, and whether the bottom row is full.
fn plain(map: &[f64], grid: Grid, rule: &EntropyRule) -> (f64, usize, bool) {
    let patches = grid.len() as f64;
    let sum: f64 = map.iter().sum();
    let map: Vec<f64> = map
        .iter()
        .map(|a| if rule.normalise { a / sum } else { *a })
        .collect();
    let mean = map.iter().sum::<f64>() / patches;
    let excess: Vec<f64> = map.iter().map(|a| (a - rule.c * mean).max(0.0)).collect();
    let floor = match rule.floor {
        Floor::Rel(value) => value / patches,
        Floor::Abs(value) => value,
    };
    let floor = floor.max(1e-12 * map.iter().copied().fold(0.0, f64::max));
    let set: Vec<bool> = excess.iter().map(|&b| b > floor).collect();
    let full = set[grid.len() - grid.cols..].iter().all(|&bit| bit);

    let mut left = set;
    let mut weights = Vec::new();
    for start in 0..left.len() {
        let mut weight = 0.0;
        let mut open = vec![start];
        while let Some(patch) = open.pop() {
            if !std::mem::take(&mut left[patch]) {
                continue;
            }
            weight += match rule.weight {
                EntropyWeight::Mass => excess[patch],
                EntropyWeight::Pixels => 1.0,
            };
            let (row, col) = (patch / grid.cols, patch % grid.cols);
            for r in row.saturating_sub(1)..(row + 2).min(grid.rows) {
                for c in col.saturating_sub(1)..(col + 2).min(grid.cols) {
                    if rule.connectivity == Connectivity::Eight || r == row || c == col {
                        open.push(r * grid.cols + c);
                    }
                }
            }
        }
        if weight > 0.0 {
            weights.push(weight);
        }
    }
    let by_mass = rule.weight == EntropyWeight::Mass;
    let total: f64 = if by_mass && rule.total == EntropyTotal::Positive {
        excess.iter().sum()
    } else {
        weights.iter().sum()
    };
    let terms = weights.iter().map(|w| w / total * (w / total).ln());
    let entropy = if weights.is_empty() {
        f64::INFINITY
    } else {
        (-terms.sum::<f64>()).max(0.0)
    };
    (entropy, weights.len(), full)
}

fn rules() -> Vec<EntropyRule> {
    let default = EntropyRule::default();
    vec![
        default,
        EntropyRule {
            connectivity: Connectivity::Four,
            ..default
        },
        EntropyRule {
            weight: EntropyWeight::Pixels,
            connectivity: Connectivity::Four,
            ..default
        },
        EntropyRule {
            normalise: false,
            floor: Floor::Abs(1e-4),
            total: EntropyTotal::Positive,
            ..default
        },
        // Everything is in the set.
        EntropyRule {
            c: 0.0,
            floor: Floor::Abs(0.0),
            ..default
        },
    ]
}

#[test]
fn components_of_any_grid_are_found() {
    let mut noise = Noise(7);
    let mut most = 0;
    for (rows, cols) in GRIDS {
        let grid = Grid::new(rows, cols);
        for bright in [0.1, 0.3, 0.45, 0.6, 0.9] {
            let map: Vec<f64> = noise.map(grid, bright).into_iter().map(f64::from).collect();
            for rule in rules() {
                let got = spatial_entropy(&map, grid, &rule).unwrap();
                let (entropy, components, full) = plain(&map, grid, &rule);
                let what = format!("{rows}x{cols}, {bright}, {rule:?}");
                assert_eq!(got.components, components, "{what}");
                assert_eq!(got.bottom_row_full, full, "{what}");
                let same = got.entropy == entropy || (got.entropy - entropy).abs() < 1e-12;
                assert!(same, "{what}: {} and {entropy}", got.entropy);
                most = most.max(components);
            }
        }
    }
    assert!(most > 50, "{most} components");
}

/// The same code runs on both; what differs is the comparison.
#[test]
fn a_meter_of_f32_rows_agrees_with_f64_maps() {
    let mut noise = Noise(3);
    for (rows, cols) in GRIDS {
        let grid = Grid::new(rows, cols);
        for rule in rules() {
            let selection = HeadSelection {
                entropy: rule,
                bottom_row: BottomRow::ComponentFull,
                ..HeadSelection::default()
            };
            let mut meter = Meter::new(grid, &selection).unwrap();
            for _ in 0..20 {
                let map = noise.map(grid, 0.3);
                let wide: Vec<f64> = map.iter().map(|&a| f64::from(a)).collect();
                let got = meter.measure(&map).unwrap();
                let want = spatial_entropy(&wide, grid, &rule).unwrap();
                assert_eq!(got.entropy, want.entropy);
                assert_eq!(got.components as usize, want.components);
                assert_eq!(got.bottom, want.bottom_row_full);
            }
        }
    }
}

/// The floor is put so that the threshold lies between two neighbouring numbers of f32, or on one.
#[test]
fn the_threshold_is_exact() {
    let grid = Grid::new(1, 4);
    let rule = |floor| EntropyRule {
        normalise: false,
        c: 0.0,
        floor: Floor::Abs(floor),
        ..EntropyRule::default()
    };
    let bright = 0.3f32;
    let map = [bright, 0.0, bright.next_up(), 0.0];
    for (floor, components) in [
        (f64::from(bright).next_down(), 2),
        (f64::from(bright), 1),
        (f64::from(bright).next_up(), 1),
        (f64::from(bright.next_up()).next_down(), 1),
        (f64::from(bright.next_up()), 0),
    ] {
        let selection = HeadSelection {
            entropy: rule(floor),
            ..HeadSelection::default()
        };
        let mut meter = Meter::new(grid, &selection).unwrap();
        assert_eq!(meter.measure(&map).unwrap().components, components);
    }
}
