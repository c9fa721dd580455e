//! One test for each of the 15 defects of public code that section 10 of the specification lists, in its order.
//!
//! Where the published behaviour can still be chosen, the test also shows that it has the defect: so it can fail. Tests
//! on generated frames take all folders of fixtures that are there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::{Case, Folder, UNIT, entropy, folders, id, maps, noise, quantised, spikes};
use grounding::*;

fn cases() -> Vec<Case> {
    folders().iter().flat_map(Folder::cases).collect()
}

fn preset(name: &str) -> HeadSelection {
    HeadSelection::preset(name).unwrap()
}

fn measure(map: &[f64], grid: Grid, rule: &EntropyRule) -> (f64, usize) {
    let found = spatial_entropy(map, grid, rule).unwrap();
    (found.entropy, found.components)
}

/// The published rule with an absolute floor, with what stood in for it since.
fn raw() -> EntropyRule {
    EntropyRule {
        normalise: false,
        floor: Floor::Abs(0.001),
        ..EntropyRule::default()
    }
}

#[test]
fn defect_01_elbow_index_instead_of_value() {
    // The head with the threshold value stands in the middle of the network: brighter heads before it must pass, and
    // darker ones behind it must not.
    let sums = [10, 0, 1, 3, 2, 0].map(|v| v * UNIT / 16);
    let mode = |mode| Elbow {
        mode,
        over: ElbowPool::All,
        exclude_layers: Some(0),
    };
    let keep = |rule| elbow(&sums, &[0, 1], 3, &mode(rule)).unwrap().keep;
    let by_value = keep(ElbowMode::Value);
    let by_index = keep(ElbowMode::Index);
    assert_eq!(by_value, [true, false, false, true, false, false]);
    assert_eq!(by_index, [false, false, false, true, true, true]);

    let (mut published, mut ours) = (0, 0);
    for case in cases() {
        let layers: Vec<u32> = (0..case.layers as u32).collect();
        for scores in case.scores(&HeadSelection::default()) {
            let sums: Vec<i64> = scores.heads.iter().map(|h| h.sum_q).collect();
            let value = elbow(&sums, &layers, case.heads, &mode(ElbowMode::Value)).unwrap();
            for (&sum, keep) in sums.iter().zip(value.keep) {
                assert_eq!(keep, sum >= value.tau_q);
            }
        }
        let localisers = |name| case.true_localisers(&case.select(&preset(name)));
        published += localisers("published_june").unwrap_or(0);
        ours += localisers("default").unwrap_or(0);
    }
    assert!(
        published < ours,
        "{published} true localisers by position, {ours} by value"
    );
}

#[test]
fn defect_02_no_component_ranked_best() {
    // One patch at twice the mean, on weights so small that the published floor swallows it.
    let grid = Grid::new(27, 27);
    let mut weak = vec![0.05 / 730.0; grid.len()];
    weak[100] *= 2.0;
    let june = preset("published_june").entropy;
    assert_eq!(measure(&weak, grid, &june), (0.0, 0));
    assert_eq!(measure(&weak, grid, &raw()), (f64::INFINITY, 0));
    assert_eq!(measure(&weak, grid, &EntropyRule::default()).1, 1);

    // A head that looks at one place exactly must win against it.
    let sharp = spikes(grid, &[(50, 0.5), (52, 0.1), (400, 0.2)]);
    let best = |entropy| {
        let selection = HeadSelection {
            entropy,
            elbow: Elbow {
                mode: ElbowMode::None,
                ..Elbow::default()
            },
            ..HeadSelection::default()
        };
        let scores = score_heads(
            &maps(grid, 1, &[weak.clone(), sharp.clone()]),
            None,
            &selection,
        );
        scores.unwrap().candidates[0]
    };
    assert_eq!(best(june), id(0, 0), "the defect");
    assert_eq!(best(raw()), id(0, 1));

    let phantoms = |name: &str| -> usize {
        let selection = preset(name);
        let scores: Vec<_> = cases().iter().flat_map(|c| c.scores(&selection)).collect();
        let candidates = scores.iter().flat_map(|s| {
            let heads = s.candidates.iter();
            heads.map(|&id| s.head(id).unwrap().components)
        });
        candidates.filter(|&components| components == 0).count()
    };
    assert_eq!(phantoms("default"), 0);
    assert!(phantoms("published_june") > 0);
}

#[test]
fn defect_03_absolute_floor() {
    let grid = Grid::new(13, 27);
    let map = noise(grid, 3, 0.8);
    let small: Vec<f64> = map.iter().map(|v| v / 64.0).collect();
    assert_eq!(entropy(&map, grid), entropy(&small, grid));
    assert_ne!(
        measure(&map, grid, &raw()),
        measure(&small, grid, &raw()),
        "the published floor depends on attention to text"
    );
    for case in cases() {
        let grid = case.grid;
        for (_, map) in case.maps[0].iter() {
            let map: Vec<f64> = map.iter().map(|&v| v.into()).collect();
            let small: Vec<f64> = map.iter().map(|v| v / 64.0).collect();
            assert_eq!(entropy(&map, grid), entropy(&small, grid));
        }
    }
}

#[test]
fn defect_04_total_includes_mass_below_the_floor() {
    let grid = Grid::new(8, 8);
    let mut map = vec![0.0005; 64];
    map[40..50].fill(0.0015);
    map[0] = 0.02;
    let june = preset("published_june").entropy;
    let (published, components) = measure(&map, grid, &june);
    assert_eq!(components, 1);
    assert!(published > 0.0, "one place, and yet an entropy");
    let kept = EntropyRule {
        total: EntropyTotal::Kept,
        ..june
    };
    assert_eq!(measure(&map, grid, &kept), (0.0, 1));
}

#[test]
fn defect_05_square_grid_assumed() {
    for (rows, cols) in [(13, 27), (20, 11), (1, 7), (7, 1), (1, 1), (3, 100)] {
        let grid = Grid::new(rows, cols);
        // What stands in the last row and column still counts.
        let map = spikes(grid, &[(grid.len() - 1, 0.5)]);
        let head = maps(grid, 1, &[map]);
        let scores = score_heads(&head, None, &HeadSelection::default()).unwrap();
        assert_eq!(scores.heads[0].sum, 0.5);
        let selection = HeadSelection {
            aggregate: Aggregate::Naive,
            mask: MaskRule::TopN(Budget::Patches(1)),
            ..HeadSelection::default()
        };
        let found = gaze(&head, &[], &selection).unwrap();
        assert_eq!(found.peak, Some(grid.len() - 1));
        let rect = found.rect.unwrap();
        assert_eq!((rect.x1, rect.y1), (1.0, 1.0));
        assert!((rect.area() - 1.0 / grid.len() as f64).abs() < 1e-15);
    }
    // Neighbours along the rows are neighbours only on the grid that is meant.
    let map = spikes(Grid::new(2, 8), &[(7, 0.25), (8, 0.25)]);
    assert_eq!(measure(&map, Grid::new(2, 8), &EntropyRule::default()).1, 2);
    assert_eq!(
        measure(&map, Grid::new(1, 16), &EntropyRule::default()).1,
        1
    );
    let error = HeadMaps::new(Grid::new(3, 3), 1, 1, vec![0.1; 10]).unwrap_err();
    assert_eq!(error.code(), Some("E_SHAPE"), "no patch is cut off");
}

#[test]
fn defect_06_bottom_row_flag_not_applied_or_not_scaled() {
    let grid = Grid::new(24, 24);
    // 0.06 in the bottom row out of 1: above 0.05 of the sum.
    let heads = [1.0, 0.25].map(|scale| {
        let mut map = vec![0.9 * scale / 575.0; grid.len()];
        map[575] = 0.06 * scale;
        map
    });
    let score = |bottom_row| {
        let selection = HeadSelection {
            bottom_row,
            ..HeadSelection::default()
        };
        score_heads(&maps(grid, 1, &heads), None, &selection).unwrap()
    };
    let flags = |bottom_row| {
        score(bottom_row)
            .heads
            .iter()
            .map(|h| h.bottom)
            .collect::<Vec<_>>()
    };
    assert_eq!(flags(BottomRow::Share(28.8)), [true, true]);
    assert_eq!(
        flags(BottomRow::Abs(0.05)),
        [true, false],
        "the published rule depends on the sum"
    );
    assert_eq!(flags(BottomRow::Off), [false, false]);
    assert!(
        score(BottomRow::Share(28.8)).candidates.is_empty(),
        "a flag has its effect"
    );
    assert!(!score(BottomRow::Off).candidates.is_empty());

    let mut moved = 0;
    for case in cases() {
        let quarter = |maps: &HeadMaps| {
            let data: Vec<f32> = maps.data.iter().map(|v| v / 4.0).collect();
            HeadMaps::new(case.grid, case.layers, case.heads, data).unwrap()
        };
        let flags = |maps: &HeadMaps, bottom_row| {
            let selection = HeadSelection {
                bottom_row,
                ..HeadSelection::default()
            };
            let scores = score_heads(maps, None, &selection).unwrap();
            for &id in &scores.candidates {
                assert!(!scores.head(id).unwrap().bottom);
            }
            scores.heads.iter().map(|h| h.bottom).collect::<Vec<_>>()
        };
        for maps in &case.maps {
            let (share, abs) = (BottomRow::Share(28.8), BottomRow::Abs(0.05));
            let quarter = quarter(maps);
            assert_eq!(flags(maps, share), flags(&quarter, share));
            moved += usize::from(flags(maps, abs) != flags(&quarter, abs));
        }
    }
    assert!(moved > 0);
}

#[test]
fn defect_07_early_layers() {
    let everything = |exclude_layers| Elbow {
        mode: ElbowMode::None,
        over: ElbowPool::All,
        exclude_layers,
    };
    let layers: Vec<u32> = (0..24).collect();
    for depth in 1..=24 {
        let sums = vec![UNIT / 2; 3 * depth];
        let keep = |exclude| elbow(&sums, &layers[..depth], 3, &everything(exclude));
        let excluded = if depth > 4 { 2 } else { 0 };
        let wanted: Vec<bool> = (0..3 * depth).map(|flat| flat / 3 >= excluded).collect();
        assert_eq!(keep(None).unwrap().keep, wanted, "{depth} layers");
        if depth == 4 {
            let kept = keep(Some(2)).unwrap().keep;
            assert_eq!(
                kept.iter().filter(|&&keep| keep).count(),
                6,
                "the published rule drops half the heads of a small net"
            );
        }
    }
    // Layers are counted in the model: a capture of late layers loses none.
    let late = elbow(&[UNIT / 2; 4], &[20, 21], 2, &everything(None)).unwrap();
    assert_eq!(late.keep, [true; 4]);

    for case in cases() {
        let early = if case.layers > 4 { 2 } else { 0 };
        for scores in case.scores(&HeadSelection::default()) {
            let layer = |id: &HeadId| usize::from(id.layer);
            assert!(scores.candidates.iter().all(|id| layer(id) >= early));
        }
    }
}

#[test]
fn defect_08_sink_threshold_that_cannot_fire() {
    // The largest φ there is: one dimension holds everything.
    for width in [64usize, 400, 401] {
        let mut hidden = vec![0.0f32; 2 * width];
        hidden[..width].fill(1.0);
        hidden[width + 5] = 1000.0;
        let phi = sink_phi(&hidden, width, None).unwrap();
        assert!(phi[1] <= (width as f64).sqrt());
        let relative = detect_sinks(&phi, width, SinkRule::default()).unwrap();
        assert_eq!(relative, [false, true]);
        let absolute = detect_sinks(&phi, width, SinkRule::Absolute(20.0));
        if width > 400 {
            assert_eq!(absolute.unwrap(), [false, true]);
        } else {
            assert_eq!(absolute.unwrap_err().code(), Some("E_OPTION"));
        }
        let all = detect_sinks(&phi, width, SinkRule::Relative(1.0));
        assert_eq!(all.unwrap_err().code(), Some("E_OPTION"));
    }
    let mut hidden = vec![1.0f32; 128];
    hidden[3] = f32::NAN;
    assert_eq!(sink_phi(&hidden, 64, None).unwrap_err().index(), Some(3));
}

#[test]
fn defect_09_box_of_all_fragments() {
    let q = quantised(&[
        &[9.0, 0.0, 0.0, 0.0],
        &[0.0, 0.0, 0.0, 0.0],
        &[0.0, 0.0, 0.0, 3.0],
    ]);
    assert_eq!(
        q.mean().rect().unwrap(),
        Rect::new(0.0, 0.0, 1.0, 1.0),
        "fragments span the picture"
    );
    let region = q.region_component(&q.mean()).unwrap();
    assert_eq!(region.rect().unwrap(), Rect::new(0.0, 0.0, 0.25, 1.0 / 3.0));

    let mut larger = 0;
    for case in cases() {
        let selection = HeadSelection::default();
        let heads = case.select(&selection);
        for maps in &case.maps {
            let map = heat_map(maps, &heads, &selection).unwrap();
            let q = map.quantised().unwrap();
            let region = q.region_component(&q.mean()).unwrap();
            assert_eq!(q.region_component(&region).unwrap(), region, "connected");
            let area = |mask: &Mask| mask.rect().unwrap().area();
            larger += usize::from(area(&q.mean()) > area(&region));
        }
    }
    assert!(larger > 0, "no frame shows fragments");
}

#[test]
fn defect_10_ties_and_float_order() {
    for side in [8, 27, 91] {
        let grid = Grid::new(side, side);
        for total in [1.0, 0.3, 1.0 / 64.0] {
            let map = vec![total / grid.len() as f64; grid.len()];
            assert_eq!(entropy(&map, grid), f64::INFINITY, "{total} on {side}");
            let q = Quantised::new(grid, &map).unwrap();
            assert!(q.mean().is_empty());
            assert!(matches!(q.region_budget(3), Err(Error::FlatMap)));
        }
        assert_eq!(entropy(&vec![0.0; grid.len()], grid), f64::INFINITY);
    }
    // Symmetric spikes stay a tie when smoothed, and fall to the lowest index.
    let grid = Grid::new(9, 9);
    let heads = maps(grid, 1, &[spikes(grid, &[(20, 0.25), (60, 0.25)])]);
    let gaze = gaze(&heads, &[id(0, 0)], &HeadSelection::default()).unwrap();
    assert_eq!(gaze.map.values[20], gaze.map.values[60]);
    assert_eq!(gaze.peak, Some(20));
    assert!(gaze.mask.bits[20] && !gaze.mask.bits[60]);
    assert_eq!(gaze.mask.count(), 9);
    let rect = Rect::new(1.0 / 9.0, 1.0 / 9.0, 4.0 / 9.0, 4.0 / 9.0);
    assert_eq!(gaze.rect, Some(rect));
    // Sums that differ by rounding only are equal: the earlier patch, the earlier head.
    let almost = 0.1 + 0.2;
    assert_ne!(almost, 0.3);
    let q = quantised(&[&[0.3, almost, 0.0, 0.0]]);
    assert_eq!(q.peak(), Some(0));
    assert_eq!(q.top_n(1).unwrap().iter().collect::<Vec<_>>(), [0]);
}

#[test]
fn defect_11_zero_length_chord() {
    for mode in [ElbowMode::Value, ElbowMode::Index] {
        for sums in [vec![UNIT / 3; 4], vec![UNIT / 2], vec![0; 3]] {
            let rule = Elbow {
                mode,
                ..Elbow::default()
            };
            let outcome = elbow(&sums, &[0], sums.len(), &rule).unwrap();
            assert!(outcome.keep.iter().all(|&keep| keep));
            assert_eq!(outcome.position, Some(0));
        }
    }
    let none = elbow(&[], &[], 0, &Elbow::default());
    assert_eq!(none.unwrap_err().code(), Some("E_SHAPE"));
}

#[test]
fn defect_12_nan_attention() {
    let grid = Grid::new(2, 2);
    let with = |changes: &[(usize, f32)]| {
        let mut data = vec![0.1f32; 8];
        changes.iter().for_each(|&(i, v)| data[i] = v);
        let error = HeadMaps::new(grid, 1, 2, data).unwrap_err();
        (error.code().unwrap(), error.index())
    };
    assert_eq!(with(&[(6, f32::NAN)]), ("E_NONFINITE", Some(6)));
    assert_eq!(with(&[(6, f32::INFINITY)]), ("E_NONFINITE", Some(6)));
    assert_eq!(with(&[(2, -0.1)]), ("E_NEGATIVE", Some(2)));
    assert_eq!(
        with(&[(2, -0.1), (7, f32::NAN)]),
        ("E_NONFINITE", Some(7)),
        "no number before a wrong one"
    );
    assert_eq!(with(&[(5, 5.0)]), ("E_SUM", Some(1)));
    let none = HeadMaps::new(grid, 0, 2, vec![]);
    assert_eq!(none.unwrap_err().code(), Some("E_SHAPE"));
    for bad in [f64::NAN, f64::INFINITY] {
        let error = HeatMap::new(grid, vec![0.0, 1.0, bad, 0.0]).unwrap_err();
        assert_eq!(error.index(), Some(2));
        let error = Quantised::new(grid, &[0.0, bad, 0.0, 0.0]).unwrap_err();
        assert_eq!(error.index(), Some(1));
    }
}

#[test]
fn defect_13_file_bytes_in_random_order() {
    let capture = |step: u64| {
        Capture::new(CaptureParts {
            model_id: "model".into(),
            source: format!("episode {step}"),
            instruction: format!("pick cube {step}"),
            step,
            layers: vec![0, 1],
            heads: vec![0],
            views: vec![View {
                name: "static".into(),
                width: 8,
                height: 8,
            }],
            queries: vec![Query::default()],
            keys: vec![Key::default(); 4],
            attn: vec![0.25; 8],
            action: Some(vec![0.5]),
            ..CaptureParts::default()
        })
        .unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.attncap");
    let bytes = || {
        // Made anew each time: the order of a hash map differs from one map to the next.
        let captures: Vec<Capture> = (0..20).map(capture).collect();
        attncap::write(&path, &captures).unwrap();
        std::fs::read(&path).unwrap()
    };
    let first = bytes();
    for _ in 0..8 {
        assert_eq!(bytes(), first, "equal captures give equal files");
    }
    let header = String::from_utf8_lossy(&first[8..1024]);
    let place = |word: &str| header.find(word).unwrap_or_else(|| panic!("{header}"));
    let words = [
        "\"__metadata__\"",
        "\"format\"",
        "\"model_id\"",
        "\"steps\"",
        "\"views\"",
    ];
    assert!(words.map(place).is_sorted(), "entries stand in one order");
}

#[test]
fn defect_14_arms_of_different_area() {
    let grid = Grid::new(13, 27);
    let map = HeatMap::new(grid, noise(grid, 21, 0.6)).unwrap();
    let arms = |map: &HeatMap, budget| {
        let base = BaseMask::default();
        let two = |share1| MaskRule::TwoRegionsBudget {
            base,
            budget,
            share1,
        };
        let rules = [
            MaskRule::TopN(budget),
            MaskRule::RegionBudget(budget),
            two(0.5),
            two(0.2),
        ];
        rules.map(|rule| mask_from_map(map, &rule).unwrap().count())
    };
    for budget in [Budget::Patches(29), Budget::Share(0.08)] {
        assert_eq!(budget.patches(grid).unwrap(), 29);
        assert_eq!(arms(&map, budget), [29; 4]);
    }
    assert_eq!(Budget::Share(0.07).patches(Grid::new(10, 10)).unwrap(), 7);
    assert_eq!(Budget::Share(0.001).patches(Grid::new(10, 10)).unwrap(), 1);

    let mut areas = std::collections::BTreeSet::new();
    for case in cases() {
        let selection = HeadSelection::default();
        let heads = case.select(&selection);
        let n = case.budget().patches(case.grid).unwrap();
        for maps in &case.maps {
            let map = heat_map(maps, &heads, &selection).unwrap();
            assert_eq!(arms(&map, case.budget()), [n; 4]);
            areas.insert(mask_from_map(&map, &MaskRule::Mean).unwrap().count());
        }
    }
    assert!(
        areas.len() > 1,
        "a threshold gives every frame its own area"
    );
}

#[test]
fn defect_15_elbow_over_excluded_layers() {
    // Five layers of two heads; the first two layers look broadly at everything.
    let sums = [0.2, 0.2, 0.2, 0.9, 0.1, 0.105, 0.1, 0.15, 0.1, 0.1];
    let sums = sums.map(|s| (s * UNIT as f64) as i64);
    let layers = [0, 1, 2, 3, 4];
    let eligible = elbow(&sums, &layers, 2, &Elbow::default()).unwrap();
    let kept: Vec<usize> = (0..10).filter(|&flat| eligible.keep[flat]).collect();
    assert_eq!(kept, [5, 7]);
    let over_all = Elbow {
        over: ElbowPool::All,
        ..Elbow::default()
    };
    let all = elbow(&sums, &layers, 2, &over_all).unwrap();
    assert!(
        !all.keep.contains(&true),
        "the early layers' sums set a threshold nobody reaches"
    );

    let mut silenced = 0;
    for case in cases().iter().filter(|case| case.layers > 4) {
        let votes = |name| {
            let scores = case.scores(&preset(name));
            scores
                .iter()
                .map(|s| s.candidates.len())
                .collect::<Vec<_>>()
        };
        let pairs = votes("default").into_iter().zip(votes("elbow_all"));
        silenced += pairs
            .filter(|&(ours, theirs)| ours > 0 && theirs == 0)
            .count();
        for scores in case.scores(&HeadSelection::default()) {
            let layer = scores.elbow.unwrap().layer;
            assert!(
                layer >= 2,
                "the threshold is that of a head of layer {layer}"
            );
        }
    }
    assert!(silenced > 0, "no frame is left without a candidate");
}
