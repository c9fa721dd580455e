//! Equality with the reference implementation on its published fixtures.
//!
//! They lie outside the repository; where they are absent these tests say so and pass.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::path::PathBuf;
use std::sync::Arc;

use grounding::*;
use half::f16;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

const METRIC: f64 = 1e-9;

fn folder() -> Option<PathBuf> {
    let folder =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/grounding");
    if folder.join("manifest.json").is_file() {
        return Some(folder);
    }
    eprintln!("not found, skipped: {}", folder.display());
    None
}

struct Fixture(Vec<u8>);

impl Fixture {
    fn open(name: &str) -> Option<Self> {
        Some(Self(std::fs::read(folder()?.join(name)).unwrap()))
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).unwrap()
    }

    fn has(&self, name: &str) -> bool {
        self.file().tensor(name).is_ok()
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        self.file().tensor(name).unwrap().shape().to_vec()
    }

    /// A tensor of any number type, exactly.
    fn f64(&self, name: &str) -> Vec<f64> {
        let file = self.file();
        let tensor = file.tensor(name).unwrap_or_else(|_| panic!("no {name}"));
        let data = tensor.data();
        match tensor.dtype() {
            Dtype::F64 => data
                .as_chunks()
                .0
                .iter()
                .map(|&b| f64::from_le_bytes(b))
                .collect(),
            Dtype::F32 => data
                .as_chunks()
                .0
                .iter()
                .map(|&b| f32::from_le_bytes(b).into())
                .collect(),
            Dtype::F16 => data
                .as_chunks()
                .0
                .iter()
                .map(|&b| f16::from_le_bytes(b).into())
                .collect(),
            other => panic!("{name} is {other:?}"),
        }
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        self.f64(name).into_iter().map(|v| v as f32).collect()
    }

    fn i64(&self, name: &str) -> Vec<i64> {
        let file = self.file();
        let tensor = file.tensor(name).unwrap_or_else(|_| panic!("no {name}"));
        let data = tensor.data();
        match tensor.dtype() {
            Dtype::I64 => data
                .as_chunks()
                .0
                .iter()
                .map(|&b| i64::from_le_bytes(b))
                .collect(),
            Dtype::I32 => data
                .as_chunks()
                .0
                .iter()
                .map(|&b| i32::from_le_bytes(b).into())
                .collect(),
            Dtype::I16 => data
                .as_chunks()
                .0
                .iter()
                .map(|&b| i16::from_le_bytes(b).into())
                .collect(),
            Dtype::U8 => data.iter().map(|&b| b.into()).collect(),
            other => panic!("{name} is {other:?}"),
        }
    }

    fn bools(&self, name: &str) -> Vec<bool> {
        self.i64(name).into_iter().map(|v| v != 0).collect()
    }
}

fn manifest() -> Option<Value> {
    Some(serde_json::from_slice(&std::fs::read(folder()?.join("manifest.json")).unwrap()).unwrap())
}

/// One generated case: N frames of L × H heads.
struct Case {
    fixture: Fixture,
    manifest: Value,
    grid: Grid,
    n: usize,
    layers: usize,
    heads: usize,
    maps: Vec<HeadMaps>,
}

impl Case {
    fn p(&self) -> usize {
        self.grid.len()
    }

    fn budget(&self) -> usize {
        self.fixture.i64("in.budget_n")[0] as usize
    }

    fn rows<'a, T>(&self, values: &'a [T]) -> Vec<&'a [T]> {
        values.chunks_exact(values.len() / self.n).collect()
    }

    fn boxes(&self) -> Vec<Rect> {
        let corners = self.fixture.f64("in.box");
        corners
            .as_chunks()
            .0
            .iter()
            .map(|&[a, b, c, d]| Rect::new(a, b, c, d))
            .collect()
    }

    fn scores(&self, selection: &HeadSelection) -> Vec<SampleScores> {
        self.maps
            .iter()
            .map(|maps| score_heads(maps, None, selection).unwrap())
            .collect()
    }

    /// One value of every head of every frame.
    fn all<T>(&self, selection: &HeadSelection, value: impl Fn(&HeadScore) -> T) -> Vec<T> {
        self.scores(selection)
            .iter()
            .flat_map(|s| s.heads.iter().map(&value).collect::<Vec<_>>())
            .collect()
    }
}

fn cases() -> Vec<Case> {
    let Some(manifest) = manifest() else {
        return Vec::new();
    };
    let number = |case: &Value, key: &str| case[key].as_u64().unwrap() as usize;
    let load = |case: &Value| {
        let fixture = Fixture::open(case["file"].as_str().unwrap()).unwrap();
        let grid = Grid::new(number(case, "rows"), number(case, "cols"));
        let (n, layers, heads) = (number(case, "N"), number(case, "L"), number(case, "H"));
        let (attn, sinks) = (fixture.f32("in.attn"), fixture.bools("in.sink_mask"));
        let maps = attn
            .chunks_exact(layers * heads * grid.len())
            .zip(sinks.chunks_exact(grid.len()))
            .map(|(attn, sinks)| {
                let maps = HeadMaps::new(grid, layers, heads, attn).unwrap();
                maps.with_sinks(Sinks::Verdict(sinks.into())).unwrap()
            })
            .collect();
        Case {
            fixture,
            manifest: case.clone(),
            grid,
            n,
            layers,
            heads,
            maps,
        }
    };
    manifest["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(load)
        .collect()
}

fn entropy_config(name: &str) -> EntropyRule {
    let default = EntropyRule::default();
    let raw = EntropyRule {
        normalise: false,
        floor: Floor::Abs(0.001),
        ..default
    };
    match name {
        "default" => default,
        "c2" => EntropyRule { c: 2.0, ..default },
        "pixels" => EntropyRule {
            weight: EntropyWeight::Pixels,
            ..default
        },
        "conn4" => EntropyRule {
            connectivity: Connectivity::Four,
            ..default
        },
        "raw_abs" => raw,
        "june" => HeadSelection::preset("published_june").unwrap().entropy,
        "august" => HeadSelection::preset("published_august").unwrap().entropy,
        _ => panic!("{name}"),
    }
}

const ENTROPIES: [&str; 7] = [
    "default", "c2", "pixels", "conn4", "raw_abs", "june", "august",
];

#[track_caller]
fn close(got: &[f64], wanted: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), wanted.len(), "{what}");
    for (i, (&g, &w)) in got.iter().zip(wanted).enumerate() {
        let same = g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= tolerance;
        assert!(same, "{what}[{i}]: {g} instead of {w}");
    }
}

#[test]
fn sums_and_elbows() {
    for case in cases() {
        let f = &case.fixture;
        let default = HeadSelection::default();
        close(&case.all(&default, |h| h.sum), &f.f64("out.S"), 1e-12, "S");
        assert_eq!(case.all(&default, |h| h.sum_q), f.i64("out.S_q"));

        let filtered = SinkFilter {
            apply: true,
            sum_source: SumSource::Filtered,
            ..SinkFilter::default()
        };
        let selection = HeadSelection {
            sinks: filtered,
            ..HeadSelection::default()
        };
        close(
            &case.all(&selection, |h| h.sum),
            &f.f64("out.sinkfilt.S"),
            1e-12,
            "filtered S",
        );

        let layers: Vec<u32> = (0..case.layers as u32).collect();
        let sums = f.i64("out.S_q");
        for (name, rule) in [
            (
                "value_all",
                Elbow {
                    over: ElbowPool::All,
                    ..Elbow::default()
                },
            ),
            ("value_eligible", Elbow::default()),
            (
                "index",
                Elbow {
                    mode: ElbowMode::Index,
                    over: ElbowPool::All,
                    exclude_layers: Some(0),
                },
            ),
        ] {
            let wanted = |what: &str| f.i64(&format!("out.elbow.{name}.{what}"));
            let (keep, tau, head, pos) = (
                wanted("keep"),
                wanted("tau_q"),
                wanted("tau_head"),
                wanted("pos"),
            );
            for (i, (sums, keep)) in case
                .rows(&sums)
                .into_iter()
                .zip(case.rows(&keep))
                .enumerate()
            {
                let got = elbow(sums, &layers, case.heads, &rule).unwrap();
                assert_eq!(
                    got.keep.iter().map(|&k| k.into()).collect::<Vec<i64>>(),
                    keep
                );
                assert_eq!(got.tau_q, tau[i]);
                assert_eq!(got.head.unwrap() as i64, head[i]);
                assert_eq!(got.position.unwrap() as i64, pos[i]);
            }
        }
    }
}

#[test]
fn entropies() {
    for case in cases() {
        let f = &case.fixture;
        for name in ENTROPIES {
            let selection = HeadSelection {
                entropy: entropy_config(name),
                ..HeadSelection::default()
            };
            let wanted = f.f64(&format!("out.entropy.{name}.H"));
            close(&case.all(&selection, |h| h.entropy), &wanted, METRIC, name);
            let components = case.all(&selection, |h| h.components as i64);
            assert_eq!(
                components,
                f.i64(&format!("out.entropy.{name}.ncomp")),
                "{name}"
            );
        }
        let keys = case.all(&HeadSelection::default(), |h| {
            (h.entropy * (1u64 << 30) as f64 + 0.5).floor() as i64
        });
        for (got, wanted) in keys.iter().zip(f.i64("out.entropy.default.key")) {
            assert!(got.abs_diff(wanted) <= 1);
        }
        for (name, entropy, renormalise) in [
            ("sinkfilt", "default", false),
            ("sinkfilt_renorm_raw", "raw_abs", true),
        ] {
            let selection = HeadSelection {
                entropy: entropy_config(entropy),
                sinks: SinkFilter {
                    apply: true,
                    renormalise,
                    ..SinkFilter::default()
                },
                ..HeadSelection::default()
            };
            let wanted = f.f64(&format!("out.entropy.{name}.H"));
            close(&case.all(&selection, |h| h.entropy), &wanted, METRIC, name);
        }
    }
}

#[test]
fn bottom_rows() {
    for case in cases() {
        for (name, bottom_row) in [
            ("component_full", BottomRow::ComponentFull),
            ("abs_0.05", BottomRow::Abs(0.05)),
            ("share_28.8", BottomRow::Share(28.8)),
        ] {
            let selection = HeadSelection {
                bottom_row,
                ..HeadSelection::default()
            };
            assert_eq!(
                case.all(&selection, |h| h.bottom),
                case.fixture.bools(&format!("out.bottom.{name}")),
                "{name}"
            );
        }
    }
}

#[test]
fn selections() {
    for case in cases() {
        for name in PRESETS {
            let selection = HeadSelection::preset(name).unwrap();
            let wanted = |what: &str| case.fixture.i64(&format!("out.select.{name}.{what}"));
            let scores = case.scores(&selection);
            let pairs = |heads: &[HeadId], len: usize| {
                let mut flat: Vec<i64> = heads
                    .iter()
                    .flat_map(|h| [h.layer.into(), h.head.into()])
                    .collect();
                flat.resize(2 * len, -1);
                flat
            };
            let candidates: Vec<i64> = scores
                .iter()
                .flat_map(|s| pairs(&s.candidates, selection.candidates))
                .collect();
            assert_eq!(candidates, wanted("candidates"), "{name}");
            let selected = select_heads(&scores, &selection).unwrap();
            assert_eq!(
                selected
                    .counts
                    .iter()
                    .map(|&c| c.into())
                    .collect::<Vec<i64>>(),
                wanted("counts"),
                "{name}"
            );
            assert_eq!(
                selected
                    .rank_sums
                    .iter()
                    .map(|&r| r as i64)
                    .collect::<Vec<_>>(),
                wanted("rank_sum"),
                "{name}"
            );
            assert_eq!(
                pairs(&selected.heads, selection.k),
                wanted("heads"),
                "{name}"
            );
        }
    }
}

/// Frames of the case as query tokens of one capture.
fn capture(case: &Case) -> Capture {
    let (p, heads) = (case.p(), case.layers * case.heads);
    let mut attn = vec![0.0; case.n * heads * p];
    for (query, maps) in case.maps.iter().enumerate() {
        for (flat, (_, map)) in maps.iter().enumerate() {
            attn[(flat * case.n + query) * p..][..p].copy_from_slice(map);
        }
    }
    let key = |patch| Key {
        role: TokenRole::Image,
        view: Some(0),
        rect: Some(case.grid.patch_rect(patch)),
        ..Key::default()
    };
    Capture::new(CaptureParts {
        layers: (0..case.layers as u32).collect(),
        heads: (0..case.heads as u32).collect(),
        views: vec![View {
            name: "static".into(),
            width: 200,
            height: 200,
        }],
        queries: (0..case.n)
            .map(|position| Query {
                position,
                ..Query::default()
            })
            .collect(),
        keys: (0..p).map(key).collect(),
        attn,
        ..CaptureParts::default()
    })
    .unwrap()
}

/// The heat maps of a case by their name in the fixture.
fn heat_maps(case: &Case, name: &str) -> Vec<HeatMap> {
    let heads = |preset: &str| -> Vec<HeadId> {
        let pairs = case.fixture.i64(&format!("out.select.{preset}.heads"));
        let pairs = pairs
            .as_chunks::<2>()
            .0
            .iter()
            .filter(|[layer, _]| *layer >= 0);
        pairs
            .map(|&[layer, head]| HeadId {
                layer: layer as u16,
                head: head as u16,
            })
            .collect()
    };
    let mut selection = HeadSelection::default();
    let mut chosen = heads("default");
    match name {
        "selected" => {}
        "naive" => selection.aggregate = Aggregate::Naive,
        "naive_sinkfilt" => selection.aggregate = Aggregate::NaiveSinkFiltered,
        "selected_robust_sinkfilt" => {
            selection = HeadSelection::preset("robust").unwrap();
            chosen = heads("robust");
        }
        "selected_r3" => selection.smoothing.truncate = 3.0,
        "selected_norm" => selection.aggregate = Aggregate::Selected { normalise: true },
        "mean_subtracted" => {
            let capture = capture(case);
            let of_query = |index| {
                let selection = HeadSelection {
                    query: QuerySelector::Index(index),
                    aggregate: Aggregate::MeanSubtracted,
                    ..HeadSelection::default()
                };
                let maps = capture.head_maps_for(&selection, 0).unwrap();
                assert_eq!(maps.data, case.maps[index].data);
                heat_map(&maps, &[], &selection).unwrap()
            };
            return (0..case.n).map(of_query).collect();
        }
        "relative" => {
            let layer = case.fixture.i64("in.relative_layer")[0] as usize;
            let generic = case.fixture.f64("in.generic_map");
            let relative = |(maps, generic): (&HeadMaps, &[f64])| {
                let heads = case.heads;
                let mean = |patch: usize| {
                    (0..heads)
                        .map(|head| f64::from(maps.head(layer, head)[patch]))
                        .sum::<f64>()
                        / heads as f64
                };
                let task = HeatMap::new(case.grid, (0..case.p()).map(mean).collect()).unwrap();
                relative_attention(&task, &HeatMap::new(case.grid, generic.to_vec()).unwrap())
                    .unwrap()
            };
            return case
                .maps
                .iter()
                .zip(case.rows(&generic))
                .map(relative)
                .collect();
        }
        _ => panic!("{name}"),
    }
    case.maps
        .iter()
        .map(|maps| heat_map(maps, &chosen, &selection).unwrap())
        .collect()
}

#[test]
fn aggregations() {
    for case in cases() {
        for name in [
            "naive",
            "naive_sinkfilt",
            "selected",
            "selected_robust_sinkfilt",
            "selected_r3",
            "selected_norm",
            "relative",
            "mean_subtracted",
        ] {
            let wanted = case.fixture.f64(&format!("out.map.{name}"));
            for (got, wanted) in heat_maps(&case, name).iter().zip(case.rows(&wanted)) {
                close(&got.values, wanted, 1e-12 * got.max().abs().max(1e-3), name);
            }
        }
    }
}

#[test]
fn masks_and_metrics() {
    let keep60 = BaseMask::KeepMass(0.6);
    for case in cases() {
        let f = &case.fixture;
        let budget = Budget::Patches(case.budget());
        for name in [
            "naive",
            "selected",
            "selected_robust_sinkfilt",
            "relative",
            "mean_subtracted",
        ] {
            if !f.has(&format!("out.mask.{name}.q")) {
                continue;
            }
            let full = |what: &str| format!("out.mask.{name}.{what}");
            let maps = heat_maps(&case, name);
            let boxes = case.boxes();
            let (q, peak) = (f.i64(&full("q")), f.i64(&full("peak")));
            let quantised: Vec<Quantised> =
                maps.iter().map(|map| map.quantised().unwrap()).collect();
            for ((got, wanted), &peak) in quantised.iter().zip(case.rows(&q)).zip(&peak) {
                assert!(
                    got.steps()
                        .iter()
                        .zip(wanted)
                        .all(|(a, b)| a.abs_diff(*b) <= 1)
                );
                assert_eq!(got.peak().unwrap() as i64, peak);
            }

            let rules = [
                ("mask_mean", MaskRule::Mean),
                ("mask_keep60", MaskRule::KeepMass(0.6)),
                ("mask_top_n", MaskRule::TopN(budget)),
                (
                    "region_mean",
                    MaskRule::RegionComponent {
                        base: BaseMask::Mean,
                    },
                ),
                ("region_keep60", MaskRule::RegionComponent { base: keep60 }),
                ("region_budget", MaskRule::RegionBudget(budget)),
            ];
            let mut ious = vec![Vec::new(); case.n];
            for (what, rule) in rules {
                let wanted = f.bools(&full(what));
                for (i, wanted) in case.rows(&wanted).into_iter().enumerate() {
                    let mask = mask_from_map(&maps[i], &rule).unwrap();
                    assert_eq!(mask.bits, wanted, "{name} {what} of frame {i}");
                    ious[i].push(mask_box_iou(&mask, &boxes[i]).unwrap());
                }
            }
            close(
                &ious.concat(),
                &f.f64(&full("m_mask_box_iou")),
                METRIC,
                "mask_box_iou",
            );

            for (prefix, rule) in [
                ("two", MaskRule::TwoRegions { base: keep60 }),
                (
                    "two_budget",
                    MaskRule::TwoRegionsBudget {
                        base: keep60,
                        budget,
                        share1: 0.5,
                    },
                ),
            ] {
                let part = |part: &str| f.bools(&full(&format!("{prefix}_{part}")));
                let (first, second, status) = (part("r1"), part("r2"), part("status"));
                let rows = case
                    .rows(&first)
                    .into_iter()
                    .zip(case.rows(&second))
                    .zip(status);
                for (q, ((first, second), two)) in quantised.iter().zip(rows) {
                    let got = q.cut(&rule).unwrap();
                    assert_eq!(got.0.bits, first);
                    assert_eq!(got.1.is_some(), two);
                    assert_eq!(got.1.unwrap_or(Mask::empty(case.grid)).bits, second);
                }
            }

            let rect = |mask: &Mask| {
                let r = mask
                    .rect()
                    .unwrap_or(Rect::new(f64::NAN, f64::NAN, f64::NAN, f64::NAN));
                [r.x0, r.y0, r.x1, r.y1]
            };
            let means: Vec<f64> = quantised.iter().flat_map(|q| rect(&q.mean())).collect();
            close(
                &means,
                &f.f64(&full("box_mask_mean")),
                METRIC,
                "box of the mean mask",
            );
            let gazes: Vec<Gaze> = maps
                .iter()
                .map(|map| Gaze::from_map(map.clone(), &MaskRule::RegionBudget(budget), 0).unwrap())
                .collect();
            let rects: Vec<f64> = gazes.iter().flat_map(|g| rect(&g.mask)).collect();
            close(
                &rects,
                &f.f64(&full("box_region_budget")),
                METRIC,
                "box of the region",
            );

            let frames: Vec<FrameMetrics> = gazes
                .iter()
                .zip(&boxes)
                .map(|(gaze, truth)| frame_metrics(gaze, truth).unwrap())
                .collect();
            let check = |what: &str, value: fn(&FrameMetrics) -> f64| {
                let got: Vec<f64> = frames.iter().map(value).collect();
                close(&got, &f.f64(&full(what)), METRIC, what);
            };
            check("m_box_iou", |m| m.box_iou);
            check("m_mass_inside", |m| m.mass_inside);
            check("m_lift", |m| m.lift);
            check("m_dino_iou", |m| m.dino_iou);
            let pointing: Vec<bool> = frames.iter().map(|m| m.pointing).collect();
            assert_eq!(pointing, f.bools(&full("m_pointing")));
            assert!(frames.iter().all(|m| m.pointing_slack || !m.pointing));
            let parts: Vec<f64> = frames
                .iter()
                .flat_map(|m| [m.intersection, m.union])
                .collect();
            close(
                &parts,
                &f.f64(&full("m_parts_region_budget")),
                METRIC,
                "parts",
            );

            let total = dataset_metrics(&frames);
            let masks: Vec<Mask> = gazes.into_iter().map(|gaze| gaze.mask).collect();
            let got = [
                total.box_recall,
                total.mean_iou,
                total.overall_iou,
                total.pointing,
                paraphrase_iou(&masks).unwrap(),
            ];
            close(&got, &f.f64(&full("aggregate")), METRIC, "aggregate");
        }
    }
}

#[test]
fn edge_cases() {
    let (Some(f), Some(manifest)) = (Fixture::open("edge.safetensors"), manifest()) else {
        return;
    };
    for case in manifest["edge"]["maps"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        let grid = Grid::new(number("rows"), number("cols"));
        let map = f.f64(&format!("{name}.in"));
        let maps = HeadMaps::new(grid, 1, 1, f.f32(&format!("{name}.in"))).unwrap();

        for config in ENTROPIES {
            let got = spatial_entropy(&map, grid, &entropy_config(config)).unwrap();
            let wanted = &case["entropy"][config];
            let entropy = wanted["H"].as_f64().unwrap_or(f64::INFINITY);
            close(&[got.entropy], &[entropy], METRIC, name);
            assert_eq!(
                got.components as u64,
                wanted["ncomp"].as_u64().unwrap(),
                "{name} {config}"
            );
        }

        let head = HeadId { layer: 0, head: 0 };
        let selection = HeadSelection {
            aggregate: Aggregate::Head(head),
            ..HeadSelection::default()
        };
        let smooth = heat_map(&maps, &[], &selection).unwrap();
        close(
            &smooth.values,
            &f.f64(&format!("{name}.gauss")),
            1e-15,
            name,
        );

        let map = HeatMap::new(grid, map).unwrap();
        let q = map.quantised().unwrap();
        assert_eq!(q.steps(), f.i64(&format!("{name}.q")), "{name}");
        let budget = Budget::Patches(number("budget_n"));
        for (what, rule) in [
            ("mask_mean", MaskRule::Mean),
            ("mask_keep60", MaskRule::KeepMass(0.6)),
            ("mask_top_n", MaskRule::TopN(budget)),
            (
                "region_mean",
                MaskRule::RegionComponent {
                    base: BaseMask::Mean,
                },
            ),
            (
                "region_keep60",
                MaskRule::RegionComponent {
                    base: BaseMask::KeepMass(0.6),
                },
            ),
            ("region_budget", MaskRule::RegionBudget(budget)),
        ] {
            let wanted = &case["masks"][what];
            match mask_from_map(&map, &rule) {
                Ok(mask) => {
                    assert_eq!(
                        mask.bits,
                        f.bools(&format!("{name}.{what}")),
                        "{name} {what}"
                    );
                    assert_eq!(mask.count() as u64, wanted["count"].as_u64().unwrap());
                    let rect = mask.rect().map(|r| [r.x0, r.y0, r.x1, r.y1]);
                    assert_eq!(rect.is_none(), wanted["box"].is_null(), "{name} {what}");
                    for (i, corner) in rect.into_iter().flatten().enumerate() {
                        close(
                            &[corner],
                            &[wanted["box"][i].as_f64().unwrap()],
                            METRIC,
                            what,
                        );
                    }
                }
                Err(error) => assert_eq!(error.code(), wanted["code"].as_str(), "{name} {what}"),
            }
        }
        let two = q.cut(&MaskRule::TwoRegions {
            base: BaseMask::KeepMass(1.0),
        });
        let status = case["two_keep100"].as_str().unwrap();
        match two {
            Ok((first, second)) => {
                assert_eq!(
                    if second.is_some() { "two" } else { "single" },
                    status,
                    "{name}"
                );
                assert_eq!(first.bits, f.bools(&format!("{name}.two_keep100_r1")));
                let second = second.unwrap_or(Mask::empty(grid));
                assert_eq!(second.bits, f.bools(&format!("{name}.two_keep100_r2")));
            }
            Err(error) => assert_eq!(error.code(), Some(status), "{name}"),
        }
    }

    for case in manifest["edge"]["elbow"].as_array().unwrap() {
        let sums: Vec<i64> = case["S"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| (s.as_f64().unwrap() * (1u64 << 30) as f64) as i64)
            .collect();
        for (key, mode) in [("value", ElbowMode::Value), ("index", ElbowMode::Index)] {
            let rule = Elbow {
                mode,
                over: ElbowPool::All,
                exclude_layers: None,
            };
            let got = elbow(&sums, &[0], sums.len(), &rule).unwrap();
            let wanted = &case[key];
            let keep: Vec<u8> = got.keep.iter().map(|&k| k.into()).collect();
            assert_eq!(serde_json::to_value(keep).unwrap(), wanted["keep"]);
            assert_eq!(got.tau_q, wanted["tau_q"].as_i64().unwrap());
            assert_eq!(
                got.head.unwrap() as i64,
                wanted["tau_head"].as_i64().unwrap()
            );
            assert_eq!(
                got.position.unwrap() as i64,
                wanted["elbow_pos"].as_i64().unwrap()
            );
        }
    }
}

#[test]
fn errors_name_their_place() {
    let (Some(f), Some(manifest)) = (Fixture::open("edge.safetensors"), manifest()) else {
        return;
    };
    let mut seen = 0;
    for case in manifest["edge"]["errors"].as_array().unwrap() {
        let Some(tensor) = case["tensor"].as_str() else {
            continue;
        };
        let shape = f.shape(tensor);
        let side = |key: &str| case[key].as_u64().unwrap() as usize;
        let grid = Grid::new(side("rows"), side("cols"));
        // Frames are stacked as layers here: the flat index is that of the whole tensor either way.
        let error = if case["call"] == "select_heads" {
            let values = f.f32(tensor);
            let frames = values.chunks_exact(values.len() / shape[0]);
            let scores: Vec<SampleScores> = frames
                .map(|frame| {
                    let maps = HeadMaps::new(grid, shape[1], shape[2], frame).unwrap();
                    score_heads(&maps, None, &HeadSelection::default()).unwrap()
                })
                .collect();
            select_heads(&scores, &HeadSelection::default()).unwrap_err()
        } else {
            HeadMaps::new(grid, shape[0] * shape[1], shape[2], f.f32(tensor)).unwrap_err()
        };
        assert_eq!(error.code(), case["code"].as_str(), "{case}");
        assert_eq!(
            error.index().map(|i| i as u64),
            case["index"].as_u64(),
            "{case}"
        );
        seen += 1;
    }
    assert!(seen >= 8);
}

#[test]
fn sinks_boxes_and_paraphrases() {
    let Some(f) = Fixture::open("edge.safetensors") else {
        return;
    };
    for width in [64, 1024] {
        let name = |what: &str| format!("sink{width}.{what}");
        let hidden = f.f32(&name("x"));
        let dims: Vec<usize> = f
            .i64(&name("dims"))
            .into_iter()
            .map(|d| d as usize)
            .collect();
        let all = sink_phi(&hidden, width, None).unwrap();
        let some = sink_phi(&hidden, width, Some(&dims)).unwrap();
        close(&all, &f.f64(&name("phi_all")), METRIC, "phi");
        close(
            &some,
            &f.f64(&name("phi_dims")),
            METRIC,
            "phi of some dimensions",
        );
        let relative = SinkRule::default();
        assert_eq!(
            detect_sinks(&all, width, relative).unwrap(),
            f.bools(&name("relative_all"))
        );
        assert_eq!(
            detect_sinks(&some, width, relative).unwrap(),
            f.bools(&name("relative_dims"))
        );
        let absolute = detect_sinks(&some, width, SinkRule::Absolute(20.0));
        if width == 1024 {
            assert_eq!(absolute.unwrap(), f.bools(&name("absolute20_dims")));
        } else {
            assert_eq!(absolute.unwrap_err().code(), Some("E_OPTION"));
        }
    }

    let pairs = f.f64("boxes.pairs");
    let rects: Vec<Rect> = pairs
        .as_chunks()
        .0
        .iter()
        .map(|&[a, b, c, d]| Rect::new(a, b, c, d))
        .collect();
    let ious: Vec<f64> = rects
        .as_chunks::<2>()
        .0
        .iter()
        .map(|[a, b]| a.iou(*b).unwrap())
        .collect();
    close(&ious, &f.f64("boxes.iou"), METRIC, "box IoU");

    let masks = f.bools("paraphrase.masks");
    let mask = |bits: &[bool]| Mask::new(Grid::new(6, 6), bits.to_vec()).unwrap();
    let masks: Vec<Mask> = masks.chunks_exact(36).map(mask).collect();
    let got = [
        paraphrase_iou(&masks).unwrap(),
        paraphrase_iou(&masks[..2]).unwrap(),
    ];
    close(&got, &f.f64("paraphrase.iou"), METRIC, "paraphrase IoU");
}

#[test]
fn captures_of_the_fixtures_survive_a_file() {
    for case in cases() {
        let mut capture = capture(&case);
        capture.sinks = case.maps[0].sinks.clone();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.attncap");
        attncap::write(&path, &[capture.clone()]).unwrap();
        let read = attncap::read(&path).unwrap();
        assert_eq!(read, [capture]);
        let size = std::fs::metadata(&path).unwrap().len() as usize;
        let weights: Arc<[f32]> = read[0].attn.clone();
        if case.manifest["dtype"] == "f16" {
            assert!(
                size < weights.len() * 4,
                "weights that came as f16 are stored as f16"
            );
        }
    }
}
