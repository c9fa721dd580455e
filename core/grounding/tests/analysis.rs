//! The dataset analysis gives what the plain functions give, and computes no more than it must.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use common::Noise;
use grounding::analysis::{Field, Form, Progress, Summary};
use grounding::*;
use parking_lot::Mutex;

const GRID: Grid = Grid::new(6, 7);
const LAYERS: usize = 5;
const HEADS: usize = 3;
/// Looks at the target under either instruction.
const LANGUAGE: HeadId = HeadId { layer: 3, head: 1 };
/// Looks at one place whatever is said.
const SALIENT: HeadId = HeadId { layer: 2, head: 2 };

/// Patch of the object that instruction 0 or 1 names in a frame; never at the border.
fn object(frame: usize, instruction: usize) -> usize {
    let (row, col) = if instruction == 0 {
        (1 + frame % 2, 1 + frame % 3)
    } else {
        (4, 5 - frame % 3)
    };
    row * GRID.cols + col
}

fn maps_of(frame: usize, instruction: usize) -> HeadMaps {
    let mut noise = Noise(0x9E37_79B9_7F4A_7C15 ^ (frame as u64 * 2 + 1));
    let mut data = Vec::new();
    for layer in 0..LAYERS {
        for head in 0..HEADS {
            let id = HeadId {
                layer: layer as u16,
                head: head as u16,
            };
            let mut map: Vec<f32> = (0..GRID.len())
                .map(|_| 0.002 + 0.004 * noise.next())
                .collect();
            if id == LANGUAGE {
                map[object(frame, instruction)] += 0.4;
            } else if id == SALIENT {
                map[3 * GRID.cols + 3] += 0.5;
            } else {
                for _ in 0..6 {
                    map[(noise.next() * GRID.len() as f32) as usize] += 0.05;
                }
            }
            // What f16 can hold, so that every form of storage is exact.
            data.extend(map.iter().map(|&w| half::f16::from_f32(w).to_f32()));
        }
    }
    let sinks: Vec<bool> = (0..GRID.len())
        .map(|patch| patch == 3 * GRID.cols + 3)
        .collect();
    HeadMaps::new(GRID, LAYERS, HEADS, data)
        .unwrap()
        .with_sinks(Sinks::Verdict(sinks.into()))
        .unwrap()
}

/// Frame `i` of episode `i / 2`; episodes belong in turn to the two halves.
fn sample(frame: usize) -> Sample {
    let maps = maps_of(frame, 0).with_swapped(maps_of(frame, 1)).unwrap();
    Sample {
        maps,
        truth: Some(GRID.patch_rect(object(frame, 0))),
        split: if (frame / 2).is_multiple_of(2) {
            Split::Tune
        } else {
            Split::HeldOut
        },
        episode: frame / 2,
    }
}

fn analysis(frames: usize, memory: usize) -> Analysis {
    let mut analysis = Analysis::new(memory);
    (0..frames).for_each(|frame| analysis.push(sample(frame)).unwrap());
    analysis
}

/// What the plain functions make of the same frames.
fn plainly(frames: usize, selection: &HeadSelection) -> (Vec<HeadId>, [Option<Summary>; 2]) {
    let samples: Vec<Sample> = (0..frames).map(sample).collect();
    let scores: Vec<SampleScores> = samples
        .iter()
        .filter(|s| s.split == Split::Tune)
        .map(|s| score_heads(&s.maps, s.truth.as_ref(), selection).unwrap())
        .collect();
    let heads = select_heads(&scores, selection).unwrap().heads;
    let look = |maps: &HeadMaps| {
        let map = heat_map(maps, &heads, selection).unwrap();
        Gaze::from_map_or_why(map, &selection.mask, selection.dilate)
            .unwrap()
            .0
    };
    let of = |split| {
        let metrics: Vec<(usize, FrameMetrics)> = samples
            .iter()
            .filter(|s| s.split == split)
            .map(|s| {
                let truth = s.truth.unwrap();
                let gaze = look(&s.maps);
                let swapped = look(s.maps.swapped.as_ref().unwrap());
                let metrics = FrameMetrics {
                    swapped: Some(SwapMetrics::new(&gaze, &swapped, &truth).unwrap()),
                    ..frame_metrics(&gaze, &truth).unwrap()
                };
                (s.episode, metrics)
            })
            .collect();
        Summary::of(&metrics)
    };
    let summaries = [of(Split::Tune), of(Split::HeldOut)];
    (heads, summaries)
}

/// Counts what had to be measured.
#[derive(Default)]
struct Counter {
    measured: AtomicUsize,
    partial: Mutex<Vec<usize>>,
    stop_after: Option<usize>,
    asked: AtomicUsize,
}

impl Watch for Counter {
    fn is_cancelled(&self) -> bool {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        self.stop_after.is_some_and(|most| asked >= most)
    }

    fn progress(&self, progress: Progress) {
        self.measured.store(progress.measured, Ordering::Relaxed);
    }

    fn partial(&self, evaluation: Evaluation) {
        assert!(evaluation.is_partial);
        self.partial.lock().push(evaluation.frames.len());
    }
}

impl Counter {
    fn measured(&self) -> usize {
        self.measured.load(Ordering::Relaxed)
    }
}

/// Selections that go through every stage.
fn selections() -> Vec<HeadSelection> {
    let preset = |name| HeadSelection {
        mask: MaskRule::RegionBudget(Budget::Patches(3)),
        ..HeadSelection::preset(name).unwrap()
    };
    let base = preset("default");
    let mut all: Vec<HeadSelection> = PRESETS.into_iter().map(preset).collect();
    for aggregate in [
        Aggregate::Selected { normalise: true },
        Aggregate::Naive,
        Aggregate::NaiveSinkFiltered,
        Aggregate::Head(LANGUAGE),
    ] {
        all.push(HeadSelection {
            aggregate,
            ..base.clone()
        });
    }
    for criterion in [
        Criterion::InstructionChange,
        Criterion::Boxes(BoxScore::Hit),
        Criterion::Boxes(BoxScore::NearHit),
        Criterion::Boxes(BoxScore::MassInside),
        Criterion::Boxes(BoxScore::Iou),
    ] {
        all.push(HeadSelection {
            criterion,
            k: 2,
            ..base.clone()
        });
    }
    all.push(HeadSelection {
        mask: MaskRule::TwoRegions {
            base: BaseMask::default(),
        },
        dilate: 1,
        ..base
    });
    all
}

#[test]
fn every_form_of_storage_gives_what_the_plain_functions_give() {
    let frames = 24;
    let bytes = 2 * LAYERS * HEADS * GRID.len() * size_of::<f32>() * frames;
    for (memory, form) in [
        (bytes, Form::Single),
        (bytes / 2, Form::Half),
        (bytes / 4, Form::Disk),
    ] {
        let mut analysis = analysis(frames, memory);
        assert_eq!(analysis.form(), form);
        assert!(analysis.bytes() <= memory);
        // In this order and backwards, so that every cache meets every change.
        let all = selections();
        for selection in all.iter().chain(all.iter().rev()) {
            let got = analysis.evaluate(selection, &()).unwrap();
            let (heads, [tune, held_out]) = plainly(frames, selection);
            assert_eq!(got.heads(), heads, "{selection}");
            let counted_again = got.votes.unwrap().select(selection).unwrap().unwrap();
            assert_eq!(counted_again.heads, heads, "{selection}");
            // By their text, in which NaN equals itself.
            let same =
                |a: Option<Summary>, b: Option<Summary>| format!("{a:?}") == format!("{b:?}");
            assert!(same(got.tune, tune), "{selection}");
            assert!(same(got.held_out, held_out), "{selection}");
        }
    }
}

#[test]
fn only_what_a_change_touches_is_measured_again() {
    let mut analysis = analysis(40, usize::MAX);
    let base = HeadSelection::default();
    let first = Counter::default();
    analysis.evaluate(&base, &first).unwrap();
    assert_eq!(first.measured(), 20, "the tuning split, and no more");
    for changed in [
        HeadSelection {
            k: 1,
            ..base.clone()
        },
        HeadSelection {
            elbow: Elbow {
                mode: ElbowMode::Manual(0.1),
                ..base.elbow
            },
            ..base.clone()
        },
        HeadSelection {
            mask: MaskRule::KeepMass(0.5),
            ..base.clone()
        },
        HeadSelection {
            mask: MaskRule::RegionBudget(Budget::Share(0.2)),
            ..base.clone()
        },
        HeadSelection {
            smoothing: Smoothing {
                sigma: 0.5,
                ..base.smoothing
            },
            entropy: EntropyRule {
                max: Some(1.0),
                ..base.entropy
            },
            ..base.clone()
        },
    ] {
        let again = Counter::default();
        analysis.evaluate(&changed, &again).unwrap();
        assert_eq!(again.measured(), 0, "{changed}");
    }
    let entropy = HeadSelection {
        entropy: EntropyRule {
            c: 2.0,
            ..base.entropy
        },
        ..base.clone()
    };
    let again = Counter::default();
    analysis.evaluate(&entropy, &again).unwrap();
    assert_eq!(again.measured(), 20);
    // A selection beside it and a curve leave what is known alone.
    analysis.evaluate_beside(&base, &()).unwrap();
    analysis.sensitivity(&base, Field::EntropyC, &()).unwrap();
    let again = Counter::default();
    analysis.evaluate(&entropy, &again).unwrap();
    assert_eq!(again.measured(), 0);
    // Frames that come later are measured, the others not again.
    let got = {
        (40..48).for_each(|frame| analysis.push(sample(frame)).unwrap());
        analysis.evaluate(&entropy, &()).unwrap()
    };
    assert_eq!(got.heads(), plainly(48, &entropy).0);
}

#[test]
fn what_a_cancelled_request_measured_is_not_lost() {
    let mut analysis = analysis(40, usize::MAX);
    let selection = HeadSelection::default();
    let stopped = Counter {
        stop_after: Some(10),
        ..Counter::default()
    };
    let error = analysis.evaluate(&selection, &stopped).unwrap_err();
    assert!(matches!(error, Error::Cancelled));
    let resumed = Counter::default();
    let got = analysis.evaluate(&selection, &resumed).unwrap();
    assert_eq!(got.heads(), plainly(40, &selection).0);
    // Asked once for each of the 40 masks and of the frames that were not yet measured.
    assert!(resumed.asked.load(Ordering::Relaxed) <= 40 + 10);
}

#[test]
fn results_come_while_frames_are_measured() {
    let mut analysis = analysis(300, usize::MAX);
    let selection = HeadSelection::default();
    let watch = Counter::default();
    let whole = analysis.evaluate(&selection, &watch).unwrap();
    assert!(!whole.is_partial);
    assert_eq!(whole.frames.len(), 300);
    assert_eq!(*watch.partial.lock(), [64, 128, 256]);
    assert_eq!(watch.measured(), 150);
}

#[test]
fn held_out_frames_choose_no_head() {
    let selection = HeadSelection {
        criterion: Criterion::Boxes(BoxScore::MassInside),
        k: 1,
        ..HeadSelection::default()
    };
    let mut misled = Analysis::new(usize::MAX);
    for frame in 0..16 {
        let mut sample = sample(frame);
        if sample.split == Split::HeldOut {
            // Here the salient head would be the best.
            sample.truth = Some(GRID.patch_rect(3 * GRID.cols + 3));
        }
        misled.push(sample).unwrap();
    }
    let got = misled.evaluate(&selection, &()).unwrap();
    assert_eq!(got.heads(), [LANGUAGE]);
    assert_eq!(got.tune.unwrap().metrics.pointing, 1.0);
    assert_eq!(got.held_out.unwrap().metrics.pointing, 0.0);
    let voters = got.frames.iter().filter(|f| f.candidates.is_some()).count();
    assert_eq!(voters, 8);
    assert_eq!(got.candidates().values().sum::<usize>(), 8);
}

#[test]
fn criteria_of_language_find_the_head_that_follows_it() {
    let mut analysis = analysis(24, usize::MAX);
    let with = |criterion| HeadSelection {
        criterion,
        k: 1,
        mask: MaskRule::RegionBudget(Budget::Patches(1)),
        ..HeadSelection::default()
    };
    // The salient head is as focused as the one that follows language, and its layer comes first.
    let by_entropy = analysis.evaluate(&with(Criterion::Entropy), &()).unwrap();
    assert_eq!(by_entropy.heads(), [SALIENT]);
    for criterion in [
        Criterion::InstructionChange,
        Criterion::Boxes(BoxScore::Hit),
        Criterion::Boxes(BoxScore::MassInside),
    ] {
        let got = analysis.evaluate(&with(criterion), &()).unwrap();
        assert_eq!(got.heads(), [LANGUAGE], "{criterion}");
        let held_out = got.held_out.unwrap();
        let swapped = held_out.metrics.swapped.unwrap();
        assert_eq!((held_out.metrics.pointing, swapped.pointing), (1.0, 0.0));
        assert_eq!(swapped.mask_overlap, 0.0);
        assert_eq!(swapped.frames, 12);
    }
}

#[test]
fn frames_that_lack_what_a_criterion_needs_do_not_vote() {
    let by_boxes = HeadSelection {
        criterion: Criterion::Boxes(BoxScore::Hit),
        k: 1,
        ..HeadSelection::default()
    };
    let by_change = HeadSelection {
        criterion: Criterion::InstructionChange,
        ..by_boxes.clone()
    };
    let mut some = Analysis::new(usize::MAX);
    let mut none = Analysis::new(usize::MAX);
    for frame in 0..8 {
        let mut lacking = sample(frame);
        lacking.maps.swapped = None;
        lacking.truth = None;
        none.push(lacking.clone()).unwrap();
        some.push(if frame < 2 { lacking } else { sample(frame) })
            .unwrap();
    }
    for selection in [&by_boxes, &by_change] {
        let got = some.evaluate(selection, &()).unwrap();
        assert_eq!(got.heads(), [LANGUAGE]);
        assert_eq!(got.selected.unwrap().n_samples, 2);
    }
    let why = |analysis: &mut Analysis, selection| {
        let got = analysis.evaluate(selection, &()).unwrap();
        got.selected.unwrap_err().to_string()
    };
    assert!(why(&mut none, &by_boxes).contains("needs boxes"));
    assert!(why(&mut none, &by_change).contains("another instruction"));
}

#[test]
fn curves_try_every_threshold_in_use() {
    let analysis = analysis(24, usize::MAX);
    let selection = HeadSelection {
        criterion: Criterion::Boxes(BoxScore::Hit),
        k: 1,
        ..HeadSelection::default()
    };
    let curve = |field| analysis.sensitivity(&selection, field, &()).unwrap();
    let k = curve(Field::K).unwrap();
    let tried: Vec<f64> = k.points.iter().map(|p| p.value).collect();
    assert_eq!(tried, (1..=15).map(f64::from).collect::<Vec<_>>());
    assert_eq!(
        k.best().unwrap().value,
        1.0,
        "one head is right, the others dilute it"
    );
    let area = curve(Field::Area).unwrap();
    assert!(area.points[0].mean_iou > area.points[16].mean_iou);
    let interval = area.points[0].interval.unwrap();
    assert!(interval.low <= area.points[0].mean_iou && area.points[0].mean_iou <= interval.high);
    for field in Field::ALL {
        let in_use = field.get(&selection).is_some();
        assert_eq!(curve(field).is_some(), in_use, "{field:?}");
        if in_use {
            let moved = field.set(&selection, 1.0).unwrap();
            assert!(field.get(&moved) == Some(1.0), "{field:?}");
        }
    }
    // Heads do not matter to the mean of all heads.
    let naive = HeadSelection {
        aggregate: Aggregate::Naive,
        ..selection
    };
    assert!(
        analysis
            .sensitivity(&naive, Field::K, &())
            .unwrap()
            .is_none()
    );
    assert!(
        analysis
            .sensitivity(&naive, Field::Area, &())
            .unwrap()
            .is_some()
    );
}

#[test]
fn frames_of_other_models_are_refused() {
    let mut analysis = analysis(1, usize::MAX);
    let other = HeadMaps::new(GRID, 2, 2, vec![0.01; 4 * GRID.len()]).unwrap();
    let error = analysis
        .push(Sample {
            maps: other,
            ..sample(1)
        })
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "shapes do not fit: frame 1 has 2 layers of 2 heads, the first one 5 of 3"
    );
    let error = analysis
        .push(Sample {
            truth: Some(Rect::new(0.5, 0.0, 0.1, 1.0)),
            ..sample(1)
        })
        .unwrap_err();
    assert_eq!(error.code(), Some("E_BOX"));
    assert_eq!(analysis.len(), 1);
}

#[test]
fn a_selection_says_what_differs_and_starts_from_a_preset() {
    let text = |s: &str| ron::from_str::<HeadSelection>(s).unwrap();
    assert_eq!(HeadSelection::default().to_string(), "default");
    assert_eq!(text("()"), HeadSelection::default());
    let robust = text("(version: 1, preset: \"robust\", k: 5)");
    assert_eq!(
        robust,
        HeadSelection {
            k: 5,
            ..HeadSelection::preset("robust").unwrap()
        }
    );
    assert_eq!(
        robust.to_string(),
        "sinks removed, k 5, ties by attention, vote ties by rank"
    );
    assert_eq!(text("(preset: \"robust\")").to_string(), "robust");
    let far = text(
        "(query: Token(\"cube\"), elbow: (mode: Manual(0.2), exclude_layers: Some(1)), entropy: (c: 2.0, max: Some(1.5)), \
         mask: TwoRegionsBudget(base: KeepMass(0.6), budget: Share(0.1), share1: 0.5))",
    );
    assert_eq!(
        far.to_string(),
        "“cube”, τ 0.2, layers from 1, c 2, entropy ≤ 1.5, two regions of 10 % of the grid (50 % first, from 60 % of the mass)"
    );
    for name in TARGETS {
        let target = HeadSelection::default().with_target(name).unwrap();
        assert_eq!(
            target.to_string() == "default",
            name == "selected",
            "{name}"
        );
        let pretty =
            ron::ser::to_string_pretty(&target, ron::ser::PrettyConfig::default()).unwrap();
        assert!(pretty.contains("version: 1"), "{pretty}");
        assert_eq!(text(&pretty), target);
        let json = serde_json::to_string(&target).unwrap();
        assert_eq!(
            serde_json::from_str::<HeadSelection>(&json).unwrap(),
            target
        );
    }
    let refused = |s: &str| ron::from_str::<HeadSelection>(s).unwrap_err().to_string();
    assert!(refused("(version: 2)").contains("version 2"));
    assert!(refused("(preset: \"june\")").contains("published_june"));
}

#[test]
fn relative_attention_needs_the_generic_prompt() {
    let selection = HeadSelection::default().with_target("relative").unwrap();
    let maps = maps_of(0, 0);
    assert!(matches!(
        heat_map(&maps, &[], &selection),
        Err(Error::NoGeneric)
    ));
    // Under the generic prompt the heads of the middle layer look at the salient place alone.
    let mut data = maps.data.to_vec();
    for map in data.chunks_exact_mut(GRID.len()) {
        map.fill(0.001);
        map[3 * GRID.cols + 3] = 0.5;
    }
    let generic = HeadMaps::new(GRID, LAYERS, HEADS, data).unwrap();
    let with = maps.with_generic(&generic).unwrap();
    let map = heat_map(&with, &[], &selection).unwrap();
    let peak = map.quantised().unwrap().peak().unwrap();
    assert_ne!(
        peak,
        3 * GRID.cols + 3,
        "what any prompt looks at is divided away"
    );
    let small = HeadMaps::new(Grid::new(1, 1), LAYERS, HEADS, vec![0.1; LAYERS * HEADS]).unwrap();
    assert_eq!(
        with.with_generic(&small).unwrap_err().code(),
        Some("E_SHAPE")
    );
}
