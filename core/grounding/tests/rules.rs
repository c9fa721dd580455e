//! The rules worked out by hand. What the public releases get wrong is in `defects.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::{UNIT, entropy, id, maps, noise, quantised, spikes};
use grounding::*;

fn patches(mask: &Mask) -> Vec<usize> {
    mask.iter().collect()
}

#[test]
fn elbow_by_hand() {
    // Sorted 0 0 1 2 3 10: the chord rises by 2, the gaps are 0 2 3 4 5 0.
    let sums: Vec<i64> = [3, 0, 10, 2, 1, 0].map(|v| v * UNIT / 16).to_vec();
    let value = elbow(&sums, &[0, 1], 3, &Elbow::default()).unwrap();
    assert_eq!(
        (value.position, value.head, value.tau_q),
        (Some(4), Some(0), 3 * UNIT / 16)
    );
    assert_eq!(value.keep, [true, false, true, false, false, false]);
    let by_position = Elbow {
        mode: ElbowMode::Index,
        ..Elbow::default()
    };
    assert!(
        elbow(&sums, &[0, 1], 3, &by_position)
            .unwrap()
            .keep
            .iter()
            .all(|&keep| keep)
    );
    let manual = Elbow {
        mode: ElbowMode::Manual(0.125),
        ..Elbow::default()
    };
    assert_eq!(
        elbow(&sums, &[0, 1], 3, &manual).unwrap().keep,
        [true, false, true, true, false, false]
    );
}

#[test]
fn entropy_by_hand() {
    let grid = Grid::new(4, 4);
    let two = spikes(grid, &[(0, 0.25), (15, 0.25)]);
    assert!((entropy(&two, grid) - 2f64.ln()).abs() < 1e-15);
    // 0.75 and 0.25 of the mass, mean 1/16: 11/14 and 3/14 above it.
    let uneven = spikes(grid, &[(0, 0.375), (15, 0.125)]);
    let p = 11.0 / 14.0f64;
    assert!((entropy(&uneven, grid) + p * p.ln() + (1.0 - p) * (1.0 - p).ln()).abs() < 1e-14);
    let pixels = EntropyRule {
        weight: EntropyWeight::Pixels,
        ..EntropyRule::default()
    };
    assert!((spatial_entropy(&uneven, grid, &pixels).unwrap().entropy - 2f64.ln()).abs() < 1e-15);
    let diagonal = spikes(grid, &[(0, 0.25), (5, 0.25)]);
    assert_eq!(entropy(&diagonal, grid), 0.0);
    let four = EntropyRule {
        connectivity: Connectivity::Four,
        ..EntropyRule::default()
    };
    assert_eq!(
        spatial_entropy(&diagonal, grid, &four).unwrap().components,
        2
    );
}

#[test]
fn sinks_are_removed_before_entropy_and_aggregation() {
    let grid = Grid::new(4, 4);
    let map = spikes(grid, &[(0, 0.5), (10, 0.25)]);
    let mut selection = HeadSelection::preset("sink_filtered").unwrap();
    let plain = maps(grid, 1, std::slice::from_ref(&map));
    assert!(
        matches!(score_heads(&plain, None, &selection), Err(Error::NoSinks)),
        "no silent way round the filter"
    );
    let mut sink = vec![false; 16];
    sink[0] = true;
    let known = plain.with_sinks(Sinks::Verdict(sink.into())).unwrap();
    assert_eq!(
        score_heads(&known, None, &selection).unwrap().heads[0].components,
        1
    );
    assert_eq!(
        score_heads(&known, None, &HeadSelection::default())
            .unwrap()
            .heads[0]
            .components,
        2
    );
    selection.smoothing.sigma = 0.0;
    assert_eq!(
        heat_map(&known, &[id(0, 0)], &selection).unwrap().values,
        spikes(grid, &[(10, 0.25)])
    );
    selection.sinks.renormalise = true;
    assert_eq!(
        heat_map(&known, &[id(0, 0)], &selection).unwrap().values,
        spikes(grid, &[(10, 0.75)])
    );
    selection.aggregate = Aggregate::Naive;
    assert_eq!(
        heat_map(&known, &[], &selection).unwrap().values,
        map,
        "the naive arm is never filtered"
    );
}

#[test]
fn selection_by_hand() {
    // One spike, two spikes, one spike, and almost nothing.
    let grid = Grid::new(4, 4);
    let heads = |third: f64| {
        maps(
            grid,
            1,
            &[
                spikes(grid, &[(5, 0.5)]),
                spikes(grid, &[(0, 0.25), (15, 0.25)]),
                spikes(grid, &[(9, third)]),
                spikes(grid, &[(6, 0.001)]),
            ],
        )
    };
    let selection = HeadSelection {
        bottom_row: BottomRow::Off,
        ..HeadSelection::default()
    };
    let scores = score_heads(&heads(0.5), None, &selection).unwrap();
    assert_eq!(scores.candidates, [id(0, 0), id(0, 2), id(0, 1)]);
    assert_eq!(
        scores.heads.iter().map(|h| h.rank).collect::<Vec<_>>(),
        [Some(0), Some(2), Some(1), None]
    );
    let votes = [scores.clone(), scores];
    assert_eq!(
        select_heads(&votes, &selection).unwrap().heads,
        [id(0, 0), id(0, 1), id(0, 2)]
    );
    let by_rank = HeadSelection {
        freq_tie: FrequencyTie::RankSum,
        ..selection.clone()
    };
    let selected = select_heads(&votes, &by_rank).unwrap();
    assert_eq!(selected.heads, [id(0, 0), id(0, 2), id(0, 1)]);
    assert_eq!(
        (&selected.counts, selected.n_samples),
        (&vec![2, 2, 2, 0], 2)
    );
    assert_eq!(
        [id(0, 2), id(0, 3), id(0, 4)].map(|id| selected.votes(id)),
        [2, 0, 0]
    );
    let by_sum = HeadSelection {
        tie: Tie::Sum,
        ..selection.clone()
    };
    assert_eq!(
        score_heads(&heads(0.75), None, &by_sum).unwrap().candidates[0],
        id(0, 2)
    );
    let capped = HeadSelection {
        entropy: EntropyRule {
            max: Some(0.5),
            ..selection.entropy
        },
        ..selection.clone()
    };
    assert_eq!(
        score_heads(&heads(0.5), None, &capped).unwrap().candidates,
        [id(0, 0), id(0, 2)]
    );

    let nothing = score_heads(&maps(grid, 1, &[vec![0.0; 16]]), None, &selection).unwrap();
    assert!(nothing.candidates.is_empty());
    assert!(matches!(
        select_heads(&[nothing], &selection),
        Err(Error::NoHeads)
    ));
}

#[test]
fn gaussian_conserves_mass_and_symmetry() {
    for (rows, cols) in [(9, 9), (2, 11), (1, 3)] {
        let grid = Grid::new(rows, cols);
        let map = noise(grid, 9, 0.5);
        let selection = HeadSelection {
            aggregate: Aggregate::Head(id(0, 0)),
            ..HeadSelection::default()
        };
        let smooth = heat_map(&maps(grid, 1, &[map]), &[], &selection).unwrap();
        assert!((smooth.mass() - 0.5).abs() < 1e-7);
        // A centred spike stays exactly symmetric, so the peak is a tie nowhere.
        let spike = spikes(grid, &[(grid.len() / 2, 0.5)]);
        let smooth = heat_map(&maps(grid, 1, &[spike]), &[], &selection).unwrap();
        if rows % 2 == 1 && cols % 2 == 1 {
            let mirrored: Vec<f64> = smooth.values.iter().rev().copied().collect();
            assert_eq!(smooth.values, mirrored);
        }
    }
}

#[test]
fn mean_subtraction_by_hand() {
    let grid = Grid::new(2, 2);
    let first = maps(grid, 1, &[spikes(grid, &[(1, 0.5)]), vec![0.0; 4]]);
    let selection = HeadSelection {
        aggregate: Aggregate::MeanSubtracted,
        ..HeadSelection::default()
    };
    assert!(matches!(
        heat_map(&first, &[], &selection),
        Err(Error::NoBaseline)
    ));
    // The other query looks at patch 2 with 0.25 of one head.
    let first = first.with_baseline(vec![0.0, 0.125, 0.0625, 0.0]).unwrap();
    assert_eq!(
        heat_map(&first, &[], &selection).unwrap().values,
        [0.0, 0.125, -0.0625, 0.0]
    );
}

#[test]
fn relative_attention_by_hand() {
    let map = |values: [f64; 4]| HeatMap::new(Grid::new(2, 2), values.to_vec()).unwrap();
    let ratio = relative_attention(&map([0.2, 0.2, 0.0, 0.0]), &map([0.4, 0.0, 0.0, 0.0])).unwrap();
    assert!(
        (ratio.values[0] - 0.2 / 0.401).abs() < 1e-12 && (ratio.values[1] - 200.0).abs() < 1e-9
    );
    assert!(matches!(
        relative_attention(&map([1.0; 4]), &map([0.0; 4])),
        Err(Error::EmptyMap)
    ));
}

#[test]
fn threshold_masks_by_hand() {
    // Mean 8/9; 4 and 2 are 6/8 of the mass.
    let q = quantised(&[&[4.0, 2.0, 0.0], &[1.0, 1.0, 0.0], &[0.0, 0.0, 0.0]]);
    assert_eq!(patches(&q.mean()), [0, 1, 3, 4]);
    assert_eq!(patches(&q.keep_mass(0.6).unwrap()), [0, 1]);
    assert_eq!(patches(&q.keep_mass(0.5).unwrap()), [0], "exactly half");
    assert_eq!(
        patches(&q.keep_mass(0.8).unwrap()),
        [0, 1, 3],
        "equal values by index"
    );
    assert_eq!(
        patches(&q.keep_mass(1.0).unwrap()),
        [0, 1, 3, 4],
        "never a zero"
    );
    assert_eq!(patches(&q.top_n(3).unwrap()), [0, 1, 3]);
    for (error, code) in [
        (q.keep_mass(0.0), "E_OPTION"),
        (q.keep_mass(f64::NAN), "E_OPTION"),
        (q.top_n(0), "E_BUDGET"),
        (q.region_budget(10), "E_BUDGET"),
        (
            q.region_component(&Mask::empty(Grid::new(3, 3))),
            "E_EMPTY_MAP",
        ),
        (q.region_component(&Mask::empty(Grid::new(9, 1))), "E_SHAPE"),
        (quantised(&[&[0.0, -1.0]]).region_budget(1), "E_EMPTY_MAP"),
        (quantised(&[&[0.0, 0.0]]).top_n(1), "E_EMPTY_MAP"),
    ] {
        assert_eq!(error.unwrap_err().code(), Some(code));
    }
}

#[test]
fn region_grows_by_brightness_then_index() {
    let q = quantised(&[
        &[9.0, 1.0, 0.0, 7.0],
        &[2.0, 0.0, 0.0, 0.0],
        &[0.0, 0.0, 3.0, 0.0],
    ]);
    for (n, wanted) in [
        (1, vec![0]),
        (2, vec![0, 4]),
        (3, vec![0, 1, 4]),
        (4, vec![0, 1, 2, 4]),
        (5, vec![0, 1, 2, 3, 4]),
    ] {
        assert_eq!(patches(&q.region_budget(n).unwrap()), wanted);
    }
    assert_eq!(q.region_budget(12).unwrap().count(), 12);
}

#[test]
fn region_is_exact_connected_nested_and_equals_its_threshold_component() {
    for (seed, (rows, cols)) in [(5, 7), (9, 4), (11, 11)].into_iter().enumerate() {
        let grid = Grid::new(rows, cols);
        let smooth = HeadSelection {
            aggregate: Aggregate::Head(id(0, 0)),
            ..HeadSelection::default()
        };
        let noise = noise(grid, seed as u64 + 1, 0.7);
        let q = heat_map(&maps(grid, 1, &[noise]), &[], &smooth)
            .unwrap()
            .quantised()
            .unwrap();
        let mut smaller = Mask::empty(grid);
        for n in 1..=grid.len() {
            let region = q.region_budget(n).unwrap();
            assert_eq!(region.count(), n);
            assert!(region.bits[q.peak().unwrap()]);
            assert_eq!(q.region_component(&region).unwrap(), region, "connected");
            assert_eq!(region.union(&smaller).unwrap(), region, "nested");
            smaller = region;
        }
        for base in [
            q.mean(),
            q.keep_mass(0.6).unwrap(),
            q.keep_mass(0.3).unwrap(),
        ] {
            let component = q.region_component(&base).unwrap();
            assert_eq!(q.region_budget(component.count()).unwrap(), component);
        }
    }
}

#[test]
fn two_regions_by_hand() {
    let zeros: &[f64] = &[0.0; 5];
    let q = quantised(&[
        &[8.0, 4.0, 0.0, 0.0, 0.0],
        zeros,
        zeros,
        &[0.0, 0.0, 0.0, 3.0, 5.0],
    ]);
    let everything = q.keep_mass(1.0).unwrap();
    let (first, second) = q.two_regions(&everything).unwrap();
    assert_eq!(
        (patches(&first), patches(&second.unwrap())),
        (vec![0, 1], vec![18, 19])
    );
    let (first, second) = q.two_regions_budget(&everything, 3, 0.5).unwrap();
    assert_eq!(
        (patches(&first), patches(&second.unwrap())),
        (vec![0, 1], vec![19])
    );
    let (first, second) = q
        .two_regions_budget(&q.keep_mass(0.4).unwrap(), 3, 0.5)
        .unwrap();
    assert_eq!(
        (first.count(), second),
        (3, None),
        "nothing else in the base"
    );
    // 4 patches, two around the 9: what is left on the other side of the gap is one patch, and two are needed.
    let q = quantised(&[&[5.0, 0.0, 0.0, 9.0, 0.0, 0.0]]);
    let base = q.keep_mass(1.0).unwrap();
    let (first, second) = q.two_regions_budget(&base, 4, 0.5).unwrap();
    assert_eq!((first.count(), second), (4, None));
    assert!(q.two_regions_budget(&base, 3, 0.5).unwrap().1.is_some());
    assert_eq!(
        q.two_regions_budget(&base, 1, 0.5).unwrap_err().code(),
        Some("E_BUDGET")
    );
}

#[test]
fn dilation_stops_at_the_border() {
    let grid = Grid::new(4, 5);
    let corner = Mask::new(grid, (0..20).map(|i| i == 0).collect()).unwrap();
    assert_eq!(patches(&corner.dilated(1)), [0, 1, 5, 6]);
    assert_eq!(corner.dilated(0), corner);
    assert_eq!(corner.dilated(usize::MAX).count(), 20);
}

#[test]
fn metrics_by_hand() {
    let grid = Grid::new(4, 4);
    let mask = Mask::new(grid, (0..16).map(|i| [0, 1, 4, 5].contains(&i)).collect()).unwrap();
    for (truth, iou) in [
        (Rect::new(0.0, 0.0, 0.5, 0.5), 1.0),
        (Rect::new(0.25, 0.0, 0.75, 0.5), 2.0 / 6.0),
        (Rect::new(0.0, 0.0, 0.375, 0.5), 0.75),
        (Rect::new(-1.0, -1.0, 0.5, 0.5), 1.0),
        (Rect::new(0.75, 0.75, 0.75, 0.75), 0.0),
    ] {
        assert!((mask_box_iou(&mask, &truth).unwrap() - iou).abs() < 1e-15);
    }
    let map = HeatMap::new(grid, spikes(grid, &[(5, 3.0), (10, 1.0)])).unwrap();
    let gaze = Gaze::from_map(map, &MaskRule::RegionBudget(Budget::Patches(1)), 0).unwrap();
    let metrics = |x0, y0, x1, y1| frame_metrics(&gaze, &Rect::new(x0, y0, x1, y1)).unwrap();
    let hit = metrics(0.25, 0.25, 0.5, 0.5);
    assert!(hit.pointing && hit.pointing_slack && hit.found);
    assert_eq!(
        (hit.mask_iou, hit.box_iou, hit.mass_inside, hit.lift),
        (1.0, 1.0, 0.75, 12.0)
    );
    let miss = metrics(0.5, 0.5, 1.0, 1.0);
    assert_eq!(
        (miss.pointing, miss.mass_inside, miss.lift, miss.box_iou),
        (false, 0.25, 1.0, 0.0)
    );
    assert!(miss.pointing_slack, "one patch beside the box");
    assert!(!metrics(0.75, 0.75, 1.0, 1.0).pointing_slack);
    assert_eq!(
        metrics(0.25, 0.25, 0.375, 0.5).mass_inside,
        0.375,
        "half of one patch"
    );
    assert!(metrics(0.5, 0.5, 0.5, 0.5).lift.is_nan());
    for truth in [
        Rect::new(0.5, 0.0, 0.2, 1.0),
        Rect::new(f64::NAN, 0.0, 1.0, 1.0),
    ] {
        assert_eq!(
            frame_metrics(&gaze, &truth).unwrap_err().code(),
            Some("E_BOX")
        );
    }
    assert!(
        paraphrase_iou(std::slice::from_ref(&mask))
            .unwrap()
            .is_nan()
    );
    let pairs = paraphrase_iou(&[mask.clone(), mask, Mask::empty(grid)]).unwrap();
    assert!((pairs - 1.0 / 3.0).abs() < 1e-15);
    assert!(dataset_metrics(&[]).mean_iou.is_nan());
}

#[test]
fn frames_without_a_region_are_misses() {
    let grid = Grid::new(4, 4);
    let sample = |map: Vec<f64>, truth| Sample {
        maps: maps(grid, 1, &[map]),
        truth,
        split: Split::Tune,
        episode: 0,
    };
    let truth = Some(Rect::new(0.25, 0.25, 0.5, 0.5));
    let samples = [
        sample(spikes(grid, &[(5, 0.5)]), truth),
        sample(vec![0.0; 16], truth),
        sample(vec![1.0 / 32.0; 16], truth),
        sample(spikes(grid, &[(5, 0.5)]), None),
    ];
    let selection = HeadSelection {
        smoothing: Smoothing {
            sigma: 0.0,
            ..Smoothing::default()
        },
        mask: MaskRule::RegionBudget(Budget::Patches(1)),
        ..HeadSelection::default()
    };
    let mut analysis = Analysis::new(usize::MAX);
    for sample in samples {
        analysis.push(sample).unwrap();
    }
    let mut run = |selection: &HeadSelection| analysis.evaluate(selection, &()).unwrap();
    let result = run(&selection);
    let candidates: Vec<_> = result.frames.iter().map(|f| f.candidates).collect();
    assert_eq!(candidates, [Some(1), Some(0), Some(0), Some(1)]);
    assert!(result.frames[3].metrics.is_none());
    let m = result.tune.unwrap().metrics;
    assert_eq!(
        (m.frames, m.empty, m.pointing, m.box_recall),
        (3, 2, 1.0 / 3.0, 1.0 / 3.0)
    );
    assert_eq!(m.mean_iou, 1.0 / 3.0);
    // Without eligible heads the naive arm still works, and the selected one says what is wrong.
    let none = HeadSelection {
        elbow: Elbow {
            exclude_layers: Some(9),
            ..Elbow::default()
        },
        ..selection
    };
    let failed = run(&none);
    assert_eq!(failed.selected.unwrap_err().code(), Some("E_NO_HEADS"));
    assert_eq!(
        failed.frames[0].failure.as_ref().unwrap().code(),
        Some("E_NO_HEADS")
    );
    assert_eq!(failed.tune.unwrap().metrics.empty, 3);
    let naive = run(&HeadSelection {
        aggregate: Aggregate::Naive,
        ..none
    });
    assert_eq!(naive.tune.unwrap().metrics.pointing, 1.0 / 3.0);
    assert!(naive.selected.is_err() && naive.frames[0].failure.is_none());
}

#[test]
fn scores_are_reused_only_while_they_hold() {
    let base = HeadSelection::default();
    let mask = HeadSelection {
        mask: MaskRule::Mean,
        k: 1,
        dilate: 2,
        ..base.clone()
    };
    assert!(base.scores_like(&mask));
    let entropy = HeadSelection {
        entropy: EntropyRule {
            c: 1.5,
            ..base.entropy
        },
        ..base.clone()
    };
    assert!(!base.scores_like(&entropy));
}

#[test]
fn selections_survive_a_file_and_old_files_load() {
    for name in PRESETS {
        let selection = HeadSelection {
            mask: MaskRule::TwoRegionsBudget {
                base: BaseMask::Mean,
                budget: Budget::Patches(7),
                share1: 0.4,
            },
            query: QuerySelector::Token("cube".into()),
            aggregate: Aggregate::Head(id(2, 3)),
            ..HeadSelection::preset(name).unwrap()
        };
        selection.validate().unwrap();
        let text =
            ron::ser::to_string_pretty(&selection, ron::ser::PrettyConfig::default()).unwrap();
        assert_eq!(ron::from_str::<HeadSelection>(&text).unwrap(), selection);
    }
    let old: HeadSelection =
        ron::from_str("(k: 5, entropy: (c: 2.0), elbow: (mode: Manual(0.2)))").unwrap();
    assert_eq!(
        (old.k, old.entropy.c, old.elbow.mode),
        (5, 2.0, ElbowMode::Manual(0.2))
    );
    assert_eq!(old.mask, MaskRule::RegionBudget(Budget::Share(0.10)));
    assert!(
        ron::from_str::<HeadSelection>("(kk: 5)").is_err(),
        "a misspelt threshold is not dropped"
    );
    assert!(
        HeadSelection::preset("june")
            .unwrap_err()
            .to_string()
            .contains("published_june")
    );
}

#[test]
fn meaningless_options_are_refused() {
    let base = HeadSelection::default;
    for bad in [
        HeadSelection { k: 0, ..base() },
        HeadSelection {
            candidates: 0,
            ..base()
        },
        HeadSelection {
            elbow: Elbow {
                mode: ElbowMode::Manual(f64::NAN),
                ..Elbow::default()
            },
            ..base()
        },
        HeadSelection {
            entropy: EntropyRule {
                floor: Floor::Abs(-1.0),
                ..EntropyRule::default()
            },
            ..base()
        },
        HeadSelection {
            smoothing: Smoothing {
                sigma: 1e9,
                truncate: 4.0,
            },
            ..base()
        },
        HeadSelection {
            mask: MaskRule::KeepMass(0.0),
            ..base()
        },
        HeadSelection {
            mask: MaskRule::TopN(Budget::Share(1.5)),
            ..base()
        },
        HeadSelection {
            bottom_row: BottomRow::Share(f64::INFINITY),
            ..base()
        },
    ] {
        assert_eq!(
            bad.validate().unwrap_err().code(),
            Some("E_OPTION"),
            "{bad:?}"
        );
    }
}

#[test]
fn a_mask_rule_tells_its_area_and_its_base() {
    let budget = Budget::Patches(7);
    assert_eq!(MaskRule::TopN(budget).budget(), Some(budget));
    assert_eq!(MaskRule::Mean.budget(), None);
    let mut kept = MaskRule::KeepMass(0.3);
    assert_eq!(kept.base(), Some(BaseMask::KeepMass(0.3)));
    *kept.kept_mass_mut().unwrap() = 0.4;
    assert_eq!(kept, MaskRule::KeepMass(0.4));
    assert_eq!(MaskRule::Mean.kept_mass_mut(), None);
}
