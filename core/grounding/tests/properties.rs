//! What holds for any map on any grid, tried on random ones. A failure is kept beside this file as
//! `properties.regressions` and tried again first.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use common::UNIT;
use grounding::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// At least so many cases; `PROPTEST_CASES` asks for more.
fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = cases.max(default.cases);
    ProptestConfig {
        cases,
        max_global_rejects: cases.saturating_mul(10),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..default
    }
}

// ------------------------------------------------------------------------------------------------------ strategies

/// Grids of all shapes: ordinary ones, single rows and columns, and rows about as long as a machine word and longer.
fn grid() -> impl Strategy<Value = Grid> {
    let sides = prop_oneof![
        4 => (1usize..=12, 1usize..=12),
        1 => (Just(1), 1usize..=70),
        1 => (1usize..=70, Just(1)),
        3 => (1usize..=7, 60usize..=70),
    ];
    sides.prop_map(|(rows, cols)| Grid::new(rows, cols))
}

/// Values of a map: without ties, full of ties, mostly zero, in two levels.
fn values(grid: Grid, lowest: i8) -> impl Strategy<Value = Vec<f64>> {
    let (low, n) = (f64::from(lowest), grid.len());
    prop_oneof![
        vec(low..1.0, n),
        vec((lowest..=4).prop_map(|v| f64::from(v) / 64.0), n),
        vec(prop_oneof![5 => Just(0.0), 1 => 0.0..1.0], n),
        vec(prop_oneof![Just(0.125), Just(0.25)], n),
        vec(prop_oneof![9 => 0.0..0.01, 1 => 0.5..1.0], n),
    ]
}

/// A grid and a map of weights from 0 up that sum to at most one.
fn weights() -> impl Strategy<Value = (Grid, Vec<f64>)> {
    (grid(), 0.01..1.0).prop_flat_map(|(grid, total)| {
        values(grid, 0).prop_map(move |map| (grid, scaled(map, total)))
    })
}

fn scaled(map: Vec<f64>, total: f64) -> Vec<f64> {
    let sum: f64 = map.iter().sum();
    let scale = if sum > 0.0 { total / sum } else { 0.0 };
    // What a capture stores.
    map.into_iter()
        .map(|v| f64::from((v * scale) as f32))
        .collect()
}

/// A map with values of either sign, quantised.
fn any_map() -> impl Strategy<Value = Quantised> {
    let map = (grid(), prop_oneof![Just(0i8), Just(-3)])
        .prop_flat_map(|(grid, lowest)| (Just(grid), values(grid, lowest)));
    map.prop_map(|(grid, map)| Quantised::new(grid, &map).unwrap())
}

fn entropy_rule() -> impl Strategy<Value = EntropyRule> {
    let floor = prop_oneof![
        (0.0..2.0).prop_map(Floor::Rel),
        (0.0..0.01).prop_map(Floor::Abs),
        Just(Floor::Rel(0.576)),
        Just(Floor::Abs(0.001)),
        Just(Floor::Rel(0.0)),
    ];
    let c = prop_oneof![Just(0.0), Just(1.0), Just(2.0), 0.0..3.0];
    let choice = any::<[bool; 5]>();
    (c, floor, choice).prop_map(|(c, floor, [normalise, eight, mass, kept, infinite])| {
        EntropyRule {
            normalise,
            c,
            floor,
            connectivity: if eight {
                Connectivity::Eight
            } else {
                Connectivity::Four
            },
            weight: if mass {
                EntropyWeight::Mass
            } else {
                EntropyWeight::Pixels
            },
            total: if kept {
                EntropyTotal::Kept
            } else {
                EntropyTotal::Positive
            },
            no_component: if infinite {
                NoComponent::Inf
            } else {
                NoComponent::Zero
            },
            max: None,
        }
    })
}

// --------------------------------------------------------------------------------------------- plain, slow versions

/// The up to eight patches around one, or four of them.
fn around(grid: Grid, patch: usize, corners: bool) -> Vec<usize> {
    let (row, col) = ((patch / grid.cols) as i64, (patch % grid.cols) as i64);
    let mut found = Vec::new();
    for (dr, dc) in (-1..=1).flat_map(|dr| (-1..=1).map(move |dc| (dr, dc))) {
        let (r, c) = (row + dr, col + dc);
        let inside = r >= 0 && c >= 0 && r < grid.rows as i64 && c < grid.cols as i64;
        if inside && (dr, dc) != (0, 0) && (corners || dr == 0 || dc == 0) {
            found.push(r as usize * grid.cols + c as usize);
        }
    }
    found
}

/// Components of a mask, each as a list of patches, in the order of their lowest patches.
fn components(grid: Grid, mask: &[bool], corners: bool) -> Vec<Vec<usize>> {
    let mut left = mask.to_vec();
    let mut found = Vec::new();
    for start in 0..mask.len() {
        if !left[start] {
            continue;
        }
        let mut patches = vec![start];
        left[start] = false;
        let mut next = 0;
        while next < patches.len() {
            for near in around(grid, patches[next], corners) {
                if left[near] {
                    left[near] = false;
                    patches.push(near);
                }
            }
            next += 1;
        }
        found.push(patches);
    }
    found
}

/// Entropy as the specification states it; `None` where a patch lies so near a threshold that the order of a sum could
/// decide.
fn slow_entropy(map: &[f64], grid: Grid, rule: &EntropyRule) -> Option<SpatialEntropy> {
    let nothing = |entropy, bottom_row_full| SpatialEntropy {
        entropy,
        components: 0,
        bottom_row_full,
    };
    let patches = grid.len() as f64;
    let sum: f64 = map.iter().sum();
    if sum <= 0.0 {
        return Some(nothing(f64::INFINITY, false));
    }
    let scale = if rule.normalise { sum } else { 1.0 };
    let map: Vec<f64> = map.iter().map(|a| a / scale).collect();
    let mean = map.iter().sum::<f64>() / patches;
    let largest = map.iter().copied().fold(0.0, f64::max);
    let noise = 1e-12 * largest;
    let floor = match rule.floor {
        Floor::Rel(value) => value / patches,
        Floor::Abs(value) => value,
    }
    .max(noise);
    let excess: Vec<f64> = map.iter().map(|a| (a - rule.c * mean).max(0.0)).collect();
    let near = |b: f64, threshold: f64| (b - threshold).abs() < 1e-13 * largest;
    if excess.iter().any(|&b| near(b, floor) || near(b, noise)) {
        return None;
    }
    let above: Vec<bool> = excess.iter().map(|&b| b > floor).collect();
    let positive: f64 = excess.iter().filter(|&&b| b > noise).sum();
    if positive <= 0.0 {
        return Some(nothing(f64::INFINITY, false));
    }
    let found = components(grid, &above, rule.connectivity == Connectivity::Eight);
    let pixels = rule.weight == EntropyWeight::Pixels;
    let kept = pixels || rule.total == EntropyTotal::Kept;
    let weights: Vec<f64> = found
        .iter()
        .map(|component| {
            let weigh = |&patch: &usize| if pixels { 1.0 } else { excess[patch] };
            component.iter().map(weigh).sum()
        })
        .collect();
    let total = if kept { weights.iter().sum() } else { positive };
    let entropy = match weights.len() {
        0 if rule.no_component == NoComponent::Zero => 0.0,
        0 => f64::INFINITY,
        1 if kept => 0.0,
        _ => weights
            .iter()
            .map(|weight| -(weight / total) * (weight / total).ln())
            .sum::<f64>()
            .max(0.0),
    };
    Some(SpatialEntropy {
        entropy,
        components: weights.len(),
        bottom_row_full: above[grid.len() - grid.cols..].iter().all(|&bit| bit),
    })
}

fn same_entropy(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= 1e-9
}

/// The total order of patches: value descending, index ascending.
fn order(q: &Quantised) -> Vec<usize> {
    let mut order: Vec<usize> = (0..q.steps().len()).collect();
    order.sort_by_key(|&patch| (-q.steps()[patch], patch));
    order
}

fn is_connected(mask: &Mask) -> bool {
    components(mask.grid, &mask.bits, true).len() == 1
}

fn contains(outer: &Mask, inner: &Mask) -> bool {
    outer.union(inner).unwrap() == *outer
}

/// Whether no region can be cut, and with which error.
fn no_region(q: &Quantised) -> Option<&'static str> {
    let (min, max) = (q.steps().iter().min()?, q.steps().iter().max()?);
    match (*max <= 0, min == max) {
        (true, _) => Some("E_EMPTY_MAP"),
        (_, true) => Some("E_FLAT_MAP"),
        _ => None,
    }
}

// ------------------------------------------------------------------------------------------------------- entropies

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn entropy_equals_a_plain_flood_fill((grid, map) in weights(), rule in entropy_rule()) {
        let Some(wanted) = slow_entropy(&map, grid, &rule) else {
            return Err(TestCaseError::reject("a patch on a threshold"));
        };
        let got = spatial_entropy(&map, grid, &rule).unwrap();
        prop_assert_eq!(got.components, wanted.components);
        prop_assert!(same_entropy(got.entropy, wanted.entropy), "{} instead of {}", got.entropy, wanted.entropy);
        prop_assert_eq!(got.bottom_row_full, wanted.bottom_row_full);
    }
}

proptest! {
    #![proptest_config(config(400))]

    /// Heads are measured one after the other; nothing of one may stay behind for the next.
    #[test]
    fn every_head_of_a_frame_is_measured_alone(
        (grid, heads, sinks) in grid().prop_flat_map(|grid| (
            Just(grid),
            vec(values(grid, 0), 2..6),
            vec(prop::bool::weighted(0.1), grid.len()),
        )),
        entropy in entropy_rule(),
        apply in any::<bool>(),
    ) {
        let heads: Vec<Vec<f64>> = heads.into_iter().map(|map| scaled(map, 0.7)).collect();
        let maps = common::maps(grid, 1, &heads);
        let maps = maps.with_sinks(Sinks::Verdict(sinks.as_slice().into())).unwrap();
        let selection = HeadSelection {
            entropy,
            sinks: SinkFilter { apply, ..SinkFilter::default() },
            bottom_row: BottomRow::ComponentFull,
            ..HeadSelection::default()
        };
        let scores = score_heads(&maps, None, &selection).unwrap();
        for (score, mut map) in scores.heads.iter().zip(heads) {
            if apply {
                map.iter_mut().zip(&sinks).filter(|(_, sink)| **sink).for_each(|(v, _)| *v = 0.0);
            }
            let Some(wanted) = slow_entropy(&map, grid, &entropy) else {
                continue;
            };
            prop_assert_eq!(score.components, wanted.components);
            prop_assert!(same_entropy(score.entropy, wanted.entropy), "{} instead of {}", score.entropy, wanted.entropy);
            prop_assert_eq!(score.bottom, wanted.bottom_row_full);
        }
    }

    #[test]
    fn scaling_a_map_leaves_the_default_entropy_unchanged((grid, map) in weights(), exponent in -12i32..0, factor in 0.001..1.0) {
        let rule = EntropyRule::default();
        prop_assume!(slow_entropy(&map, grid, &rule).is_some());
        let entropy = |scale: f64| {
            let map: Vec<f64> = map.iter().map(|v| v * scale).collect();
            spatial_entropy(&map, grid, &rule).unwrap()
        };
        prop_assert_eq!(entropy(2f64.powi(exponent)), entropy(1.0));
        let (one, other) = (entropy(1.0), entropy(factor));
        prop_assert_eq!(other.components, one.components);
        prop_assert!(same_entropy(other.entropy, one.entropy));
    }
}

// ----------------------------------------------------------------------------------------------------------- masks

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn budgeted_regions_are_exact_connected_and_nested(q in any_map()) {
        let patches = q.steps().len();
        if let Some(code) = no_region(&q) {
            prop_assert_eq!(q.region_budget(1).unwrap_err().code(), Some(code));
            return Ok(());
        }
        let mut smaller = Mask::empty(q.mean().grid);
        for n in 1..=patches {
            let region = q.region_budget(n).unwrap();
            prop_assert_eq!(region.count(), n);
            prop_assert!(is_connected(&region));
            prop_assert!(region.bits[order(&q)[0]], "the peak is inside");
            prop_assert!(contains(&region, &smaller));
            // The new patch is the first in the order among all that touch the smaller region.
            let added = region.iter().find(|&patch| !smaller.bits[patch]);
            let rim = |&patch: &usize| {
                !smaller.bits[patch] && (n == 1 || around(region.grid, patch, true).iter().any(|&near| smaller.bits[near]))
            };
            prop_assert_eq!(added, order(&q).into_iter().find(rim));
            smaller = region;
        }
        for n in [0, patches + 1] {
            prop_assert_eq!(q.region_budget(n).unwrap_err().code(), Some("E_BUDGET"));
        }
    }

    #[test]
    fn a_budgeted_region_is_the_threshold_component_of_its_size(q in any_map(), share in 0.01..1.0) {
        for base in [q.mean(), q.keep_mass(share).unwrap(), q.keep_mass(1.0).unwrap()] {
            let Ok(component) = q.region_component(&base) else {
                prop_assert!(no_region(&q).is_some());
                continue;
            };
            prop_assert!(is_connected(&component));
            prop_assert!(contains(&base, &component));
            let outside = |patch: usize| base.bits[patch] && !component.bits[patch];
            let touched = component.iter().any(|patch| around(base.grid, patch, true).into_iter().any(outside));
            prop_assert!(!touched, "a component is whole");
            prop_assert_eq!(q.region_budget(component.count()).unwrap(), component);
        }
    }

    #[test]
    fn two_budgeted_regions_add_up_and_never_touch(q in any_map(), part in 0.0..1.0, share in 0.01..1.0, share1 in 0.01..0.99) {
        let patches = q.steps().len();
        let n = 1 + (part * patches as f64) as usize;
        let base = q.keep_mass(share).unwrap();
        if let Some(code) = no_region(&q) {
            prop_assert_eq!(q.two_regions_budget(&base, n, share1).unwrap_err().code(), Some(code));
            return Ok(());
        }
        if n < 2 || n > patches {
            prop_assert_eq!(q.two_regions_budget(&base, n, share1).unwrap_err().code(), Some("E_BUDGET"));
            return Ok(());
        }
        let (first, second) = q.two_regions_budget(&base, n, share1).unwrap();
        prop_assert!(is_connected(&first));
        prop_assert!(first.bits[order(&q)[0]]);
        match second {
            Some(second) => {
                prop_assert_eq!(first.count() + second.count(), n);
                prop_assert_eq!(first.count(), ((share1 * n as f64).ceil() as usize).clamp(1, n - 1));
                prop_assert!(is_connected(&second));
                prop_assert!(first.dilated(1).iter().all(|patch| !second.bits[patch]));
            }
            None => prop_assert_eq!(first, q.region_budget(n).unwrap()),
        }
        let (first, second) = q.two_regions(&base).unwrap();
        if let Some(second) = second {
            prop_assert!(contains(&base, &first) && contains(&base, &second));
            prop_assert!(first.dilated(1).iter().all(|patch| !second.bits[patch]));
        }
    }

    #[test]
    fn no_smaller_mask_keeps_the_mass(q in any_map(), share in 0.001..1.0) {
        let mask = q.keep_mass(share).unwrap();
        let positive: Vec<i64> = q.steps().iter().map(|&q| q.max(0)).collect();
        let total: i64 = positive.iter().sum();
        let kept: i64 = mask.iter().map(|patch| positive[patch]).sum();
        if total == 0 {
            prop_assert!(mask.is_empty());
            return Ok(());
        }
        let wanted = ((share * total as f64).ceil() as i64).clamp(1, total);
        prop_assert!(kept >= wanted);
        // It is a beginning of the order, and its last patch is needed.
        let begin: Vec<usize> = order(&q).into_iter().take(mask.count()).collect();
        prop_assert!(begin.iter().all(|&patch| mask.bits[patch]));
        prop_assert!(kept - positive[*begin.last().unwrap()] < wanted);
    }

    #[test]
    fn scattered_masks_hold_the_brightest(q in any_map(), part in 0.0..1.0) {
        let n = 1 + (part * (q.steps().len() - 1) as f64) as usize;
        match q.top_n(n) {
            Ok(mask) => {
                prop_assert_eq!(mask.count(), n);
                prop_assert!(order(&q)[..n].iter().all(|&patch| mask.bits[patch]));
            }
            Err(error) => {
                prop_assert_eq!(error.code(), Some("E_EMPTY_MAP"));
                prop_assert_eq!(q.peak(), None);
            }
        }
    }

    #[test]
    fn mask_and_box_overlap_by_a_share(
        (grid, bits) in grid().prop_flat_map(|grid| (Just(grid), vec(any::<bool>(), grid.len()))),
        (a, b, c, d) in (-0.5..1.5, -0.5..1.5, -0.5..1.5, -0.5..1.5),
    ) {
        let truth = Rect::new(f64::min(a, b), f64::min(c, d), f64::max(a, b), f64::max(c, d));
        let mask = Mask::new(grid, bits).unwrap();
        let iou = mask_box_iou(&mask, &truth).unwrap();
        prop_assert!((0.0..=1.0 + 1e-12).contains(&iou), "{}", iou);
        if let Some(rect) = mask.rect() {
            let own = mask_box_iou(&mask, &rect).unwrap();
            let filled = (rect.area() * grid.len() as f64).round() as usize == mask.count();
            prop_assert_eq!(filled, (own - 1.0).abs() < 1e-9);
        } else {
            prop_assert_eq!(iou, 0.0);
        }
    }
}

// ------------------------------------------------------------------------------------------------------- selection

/// Frames of 3 × 3 heads on one grid, many of them alike, so that there are ties.
fn frames() -> impl Strategy<Value = Vec<HeadMaps>> {
    let grid = Grid::new(3, 4);
    let head = vec(
        prop_oneof![6 => Just(0.0), 1 => Just(1.0), 1 => 0.0..2.0],
        grid.len(),
    );
    let frame = vec((head, prop_oneof![Just(0.5), 0.1..0.9]), 9);
    let frame = frame.prop_map(move |heads| {
        let heads = heads.into_iter().map(|(map, total)| scaled(map, total));
        common::maps(grid, 3, &heads.collect::<Vec<_>>())
    });
    vec(frame, 1..7)
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn selection_does_not_depend_on_the_order_of_samples(
        (given, shuffled) in frames().prop_flat_map(|given| {
            let order = Just((0..given.len()).collect::<Vec<_>>()).prop_shuffle();
            (Just(given), order)
        }),
        candidates in 1usize..12,
        k in 1usize..5,
        (by_sum, by_rank) in any::<(bool, bool)>(),
    ) {
        let selection = HeadSelection {
            candidates,
            k,
            tie: if by_sum { Tie::Sum } else { Tie::Index },
            freq_tie: if by_rank { FrequencyTie::RankSum } else { FrequencyTie::Index },
            bottom_row: BottomRow::Off,
            ..HeadSelection::default()
        };
        let scores: Vec<SampleScores> = given.iter().map(|maps| score_heads(maps, None, &selection).unwrap()).collect();
        let others: Vec<SampleScores> = shuffled.iter().map(|&i| scores[i].clone()).collect();
        match (select_heads(&scores, &selection), select_heads(&others, &selection)) {
            (Ok(one), Ok(other)) => {
                prop_assert!(one.heads.len() <= k);
                prop_assert_eq!(one, other);
            }
            (Err(one), Err(other)) => prop_assert_eq!(one.code(), other.code()),
            (one, other) => prop_assert!(false, "{:?} and {:?}", one, other),
        }
    }

    #[test]
    fn the_elbow_is_the_farthest_sum_from_the_chord(sums in vec(prop_oneof![0i64..20, 0..UNIT], 1..60)) {
        let keep_all = Elbow { exclude_layers: Some(0), over: ElbowPool::All, ..Elbow::default() };
        let outcome = elbow(&sums, &[0], sums.len(), &keep_all).unwrap();
        let mut sorted: Vec<(i64, usize)> = sums.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        let (low, high, last) = (sorted[0].0, sorted[sorted.len() - 1].0, sorted.len() as i128 - 1);
        let gap = |i: usize| {
            let rise = last * i128::from(sorted[i].0 - low);
            (rise - i as i128 * i128::from(high - low)).abs()
        };
        let most = (0..sorted.len()).map(gap).max().unwrap();
        let place = (0..sorted.len()).find(|&i| gap(i) == most);
        prop_assert_eq!(outcome.position, place);
        prop_assert_eq!(outcome.head, place.map(|i| sorted[i].1));
        for (sum, keep) in sums.iter().zip(outcome.keep) {
            prop_assert_eq!(keep, *sum >= outcome.tau_q);
        }
    }
}

fn budget() -> impl Strategy<Value = Budget> {
    prop_oneof![
        (1usize..500).prop_map(Budget::Patches),
        (0.001..=1.0).prop_map(Budget::Share),
    ]
}

fn base() -> impl Strategy<Value = BaseMask> {
    prop_oneof![
        Just(BaseMask::Mean),
        (0.001..=1.0).prop_map(BaseMask::KeepMass),
    ]
}

fn mask_rule() -> impl Strategy<Value = MaskRule> {
    prop_oneof![
        Just(MaskRule::Mean),
        (0.001..=1.0).prop_map(MaskRule::KeepMass),
        budget().prop_map(MaskRule::TopN),
        base().prop_map(|base| MaskRule::RegionComponent { base }),
        budget().prop_map(MaskRule::RegionBudget),
        base().prop_map(|base| MaskRule::TwoRegions { base }),
        (base(), budget(), 0.001..0.999).prop_map(|(base, budget, share1)| {
            MaskRule::TwoRegionsBudget {
                base,
                budget,
                share1,
            }
        }),
    ]
}

fn selection() -> impl Strategy<Value = HeadSelection> {
    let query = prop_oneof![
        Just(QuerySelector::ReadOut),
        Just(QuerySelector::Last),
        any::<String>().prop_map(QuerySelector::Token),
        any::<usize>().prop_map(QuerySelector::Index),
    ];
    let mode = prop_oneof![
        Just(ElbowMode::Value),
        Just(ElbowMode::Index),
        Just(ElbowMode::None),
        (0.0..2.0).prop_map(ElbowMode::Manual),
    ];
    let pool = prop_oneof![Just(ElbowPool::Eligible), Just(ElbowPool::All)];
    let elbow =
        (mode, pool, prop::option::of(0usize..40)).prop_map(|(mode, over, exclude)| Elbow {
            mode,
            over,
            exclude_layers: exclude,
        });
    let entropy = (entropy_rule(), prop::option::of(0.0..5.0))
        .prop_map(|(rule, max)| EntropyRule { max, ..rule });
    let bottom_row = prop_oneof![
        Just(BottomRow::Off),
        Just(BottomRow::ComponentFull),
        (0.0..1.0).prop_map(BottomRow::Abs),
        (0.0..100.0).prop_map(BottomRow::Share),
    ];
    let sink_rule = prop_oneof![
        (0.0..1.0).prop_map(SinkRule::Relative),
        (0.0..100.0).prop_map(SinkRule::Absolute),
    ];
    let sinks =
        (any::<[bool; 3]>(), sink_rule).prop_map(|([apply, renormalise, raw], rule)| SinkFilter {
            apply,
            renormalise,
            sum_source: if raw {
                SumSource::Raw
            } else {
                SumSource::Filtered
            },
            rule,
        });
    let head = any::<(u16, u16)>().prop_map(|(layer, head)| HeadId { layer, head });
    let aggregate = prop_oneof![
        any::<bool>().prop_map(|normalise| Aggregate::Selected { normalise }),
        Just(Aggregate::Naive),
        Just(Aggregate::NaiveSinkFiltered),
        head.prop_map(Aggregate::Head),
        Just(Aggregate::MeanSubtracted),
    ];
    let smoothing =
        (0.0..5.0, 0.0..6.0).prop_map(|(sigma, truncate)| Smoothing { sigma, truncate });
    let rules = (query, elbow, entropy, bottom_row, sinks);
    let numbers = (1usize..=65536, 1usize..100, 0usize..5, any::<[bool; 2]>());
    (rules, numbers, aggregate, smoothing, mask_rule()).prop_map(
        |(
            (query, elbow, entropy, bottom_row, sinks),
            (candidates, k, dilate, [by_sum, by_rank]),
            aggregate,
            smoothing,
            mask,
        )| {
            #[allow(clippy::needless_update, reason = "a field more needs no change here")]
            HeadSelection {
                query,
                elbow,
                entropy,
                bottom_row,
                sinks,
                candidates,
                k,
                tie: if by_sum { Tie::Sum } else { Tie::Index },
                freq_tie: if by_rank {
                    FrequencyTie::RankSum
                } else {
                    FrequencyTie::Index
                },
                aggregate,
                smoothing,
                mask,
                dilate,
                ..HeadSelection::default()
            }
        },
    )
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn selections_survive_a_file(selection in selection()) {
        selection.validate().unwrap();
        let plain = ron::to_string(&selection).unwrap();
        prop_assert_eq!(&ron::from_str::<HeadSelection>(&plain).unwrap(), &selection);
        let pretty = ron::ser::to_string_pretty(&selection, ron::ser::PrettyConfig::default()).unwrap();
        prop_assert_eq!(&ron::from_str::<HeadSelection>(&pretty).unwrap(), &selection);
    }

    #[test]
    fn any_selection_is_worked_or_refused(selection in selection(), frames in frames()) {
        let mut analysis = Analysis::new(usize::MAX);
        for (episode, maps) in frames.into_iter().enumerate() {
            let truth = Some(Rect::new(0.2, 0.2, 0.7, 0.6));
            analysis.push(Sample { maps, truth, split: Split::Tune, episode }).unwrap();
        }
        if let Ok(evaluation) = analysis.evaluate(&selection, &()) {
            let metrics = evaluation.tune.unwrap().metrics;
            for share in [metrics.mean_iou, metrics.overall_iou, metrics.box_iou, metrics.pointing, metrics.mass_inside, metrics.dino_iou] {
                prop_assert!((0.0..=1.0 + 1e-12).contains(&share), "{:?}", metrics);
            }
            prop_assert!(evaluation.heads().len() <= selection.k);
        }
    }
}
