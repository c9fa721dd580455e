//! Equality with what other programs wrote down: every tensor of every file of a folder of fixtures.
//!
//! The set in `tests/fixtures` always runs. A further folder runs as it is, whatever its grids, sizes and seeds: the one
//! that `GAZELAB_FIXTURES` names, else `../shared/fixtures/grounding` beside the repository where that is there.
//! A name that says nothing to the code below is a failure, as is a tensor that nothing was compared with.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use common::{Case, Fixture, Folder, folders, say};
use grounding::*;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, serialize_to_file};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Tolerances of section 9 of the specification. Maps: times their largest value.
const SUM: f64 = 1e-12;
const ENTROPY: f64 = 1e-9;
const MAP: f64 = 1e-12;
const METRIC: f64 = 1e-9;

const UNIT: f64 = (1u64 << 30) as f64;

/// What is wrong with one tensor or entry, if anything.
type Verdict = Result<(), String>;

#[test]
fn the_set_in_the_repository_agrees() {
    expect_none(&check(&Folder::committed()));
}

#[test]
fn a_further_set_agrees() {
    if let Some(folder) = Folder::external() {
        expect_none(&check(&folder));
    }
}

#[track_caller]
fn expect_none(failures: &[String]) {
    let n = failures.len();
    assert!(n == 0, "{n} failures:\n{}", failures.join("\n"));
}

#[test]
fn what_is_unknown_or_wrong_is_named() {
    let committed = Folder::committed();
    let (file, stray) = ("tiny_9x4.safetensors", "edge.safetensors");
    let folder = tempfile::tempdir().unwrap();
    let given = committed.fixture(file);
    let given = SafeTensors::deserialize(&given.0).unwrap();
    let one = [1u8];
    let mut tensors: Vec<(&str, TensorView)> = given.iter().collect();
    for name in ["out.bottom.component_full", "gen.head_type"] {
        tensors.retain(|(there, _)| *there != name);
    }
    for name in [
        "out.entropy.odd.H",
        "out.mask.naive.mask_odd",
        "out.new",
        "more",
    ] {
        tensors.push((name, TensorView::new(Dtype::U8, vec![1], &one).unwrap()));
    }
    let zeros = vec![
        0;
        given
            .tensor("out.bottom.component_full")
            .unwrap()
            .data()
            .len()
    ];
    let shape = given
        .tensor("out.bottom.component_full")
        .unwrap()
        .shape()
        .to_vec();
    let changed = TensorView::new(Dtype::U8, shape, &zeros).unwrap();
    tensors.push(("out.bottom.component_full", changed));
    serialize_to_file(tensors, None, &folder.path().join(file)).unwrap();
    std::fs::copy(
        committed.path.join(stray),
        folder.path().join("stray.safetensors"),
    )
    .unwrap();
    std::fs::copy(
        committed.path.join("manifest.json"),
        folder.path().join("manifest.json"),
    )
    .unwrap();

    let failures = check(&Folder::open(folder.path().into()).unwrap());
    for wanted in [
        "tiny_9x4.safetensors: sha256: ",
        "tiny_9x4.safetensors: out.entropy.odd.H: unknown entropy `odd`",
        "tiny_9x4.safetensors: out.mask.naive.mask_odd: unknown mask `mask_odd`",
        "tiny_9x4.safetensors: out.new: unknown tensor `out.new`",
        "tiny_9x4.safetensors: compared with nothing: more",
        "tiny_9x4.safetensors: out.bottom.component_full: true instead of false at flat index",
        "stray.safetensors: sha256: the manifest gives none",
        "stray.safetensors: it holds no in.attn and the manifest does not list it",
        "tiny_6x9.safetensors: in the manifest, but not there",
        "edge.safetensors: in the manifest, but not there",
    ] {
        let named = failures.iter().any(|failure| failure.starts_with(wanted));
        assert!(named, "{wanted}\n{}", failures.join("\n"));
    }
    assert_eq!(failures.len(), 12, "{}", failures.join("\n"));
}

/// Tensors of one file: those compared, those that only served to compute others, and what was wrong.
#[derive(Default)]
struct Report {
    compared: BTreeSet<String>,
    consumed: BTreeSet<String>,
    failures: Vec<String>,
}

impl Report {
    fn compared(&mut self, name: &str, verdict: Verdict) {
        self.compared.insert(name.to_owned());
        self.note(name, verdict);
    }

    fn note(&mut self, what: &str, verdict: Verdict) {
        if let Err(reason) = verdict {
            self.failures.push(format!("{what}: {reason}"));
        }
    }
}

/// Compares every tensor of every file, and says what is wrong.
fn check(folder: &Folder) -> Vec<String> {
    let place = folder.path.file_name().unwrap_or_default();
    let files = folder.files();
    let mut failures = Vec::new();
    for file in &files {
        let fixture = folder.fixture(file);
        let mut report = Report::default();
        report.note("sha256", check_hash(folder, file, &fixture));
        if fixture.has("in.attn") {
            check_case(folder, file, &mut report);
        } else {
            check_edge(folder, file, &fixture, &mut report);
        }
        let left: Vec<String> = fixture
            .names()
            .into_iter()
            .filter(|name| !report.compared.contains(name) && !report.consumed.contains(name))
            .collect();
        if !left.is_empty() {
            let left = left.join(", ");
            report
                .failures
                .push(format!("compared with nothing: {left}"));
        }
        if report.compared.is_empty() {
            report.failures.push("nothing to compare".into());
        }
        say(&format!(
            "{}/{file}: {} tensors compared",
            place.display(),
            report.compared.len()
        ));
        failures.extend(report.failures.iter().map(|f| format!("{file}: {f}")));
    }
    let named = folder.manifest["cases"].as_array().into_iter().flatten();
    for entry in named.chain([&folder.manifest["edge"]]) {
        if let Some(file) = entry["file"].as_str()
            && !files.iter().any(|there| there == file)
        {
            failures.push(format!("{file}: in the manifest, but not there"));
        }
    }
    failures
}

fn check_hash(folder: &Folder, file: &str, fixture: &Fixture) -> Verdict {
    let wanted = folder.manifest["sha256"][file].as_str();
    let wanted = wanted.ok_or("the manifest gives none")?;
    let got: String = Sha256::digest(&fixture.0)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    same(&got, &wanted.to_owned())
}

fn same<T: PartialEq + std::fmt::Debug>(got: &T, wanted: &T) -> Verdict {
    if got == wanted {
        Ok(())
    } else {
        Err(format!("{got:?} instead of {wanted:?}"))
    }
}

fn unknown(kind: &str, name: &str) -> String {
    format!("unknown {kind} `{name}`")
}

fn equal<T: Copy + PartialEq + std::fmt::Display>(got: &[T], wanted: &[T]) -> Verdict {
    each(got, wanted, |g, w| g == w)
}

/// Element by element, the first that differs.
fn each<T: Copy + std::fmt::Display>(
    got: &[T],
    wanted: &[T],
    equal: impl Fn(T, T) -> bool,
) -> Verdict {
    if got.len() != wanted.len() {
        return Err(format!("{} values, {} wanted", got.len(), wanted.len()));
    }
    let mut pairs = got.iter().zip(wanted).enumerate();
    match pairs.find(|(_, (g, w))| !equal(**g, **w)) {
        Some((i, (g, w))) => Err(format!("{g} instead of {w} at flat index {i}")),
        None => Ok(()),
    }
}

fn close(got: &[f64], wanted: &[f64], tolerance: f64) -> Verdict {
    each(got, wanted, |g, w| {
        g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= tolerance
    })
}

fn close_map(got: &[f64], wanted: &[f64]) -> Verdict {
    let largest = wanted.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    close(got, wanted, MAP * largest)
}

fn quantum(x: f64) -> i64 {
    (x * UNIT + 0.5).floor() as i64
}

/// A number at the end of a name, as in `c2` or `abs_0.05`.
fn number(name: &str, prefix: &str) -> Option<f64> {
    name.strip_prefix(prefix)?.parse().ok()
}

/// Corners of a box; NaN for none.
fn corners(rect: Option<Rect>) -> [f64; 4] {
    rect.map_or([f64::NAN; 4], |r| [r.x0, r.y0, r.x1, r.y1])
}

// ------------------------------------------------------------------------------------------------ names of options

/// `value`, `index` or `none`, then the pool: `_all` or `_eligible`. `value` modes exclude the early layers, `index`
/// does not.
fn elbow_rule(name: &str) -> Result<Elbow, String> {
    let (mode, over) = match name.rsplit_once('_') {
        Some((mode, "all")) => (mode, ElbowPool::All),
        Some((mode, "eligible")) => (mode, ElbowPool::Eligible),
        _ => (name, ElbowPool::All),
    };
    let (mode, exclude_layers) = match mode {
        "value" => (ElbowMode::Value, None),
        "index" => (ElbowMode::Index, Some(0)),
        "none" => (ElbowMode::None, None),
        _ => return Err(unknown("elbow", name)),
    };
    Ok(Elbow {
        mode,
        over,
        exclude_layers,
    })
}

/// Words joined by `_`, each of which changes the default.
fn entropy_rule(name: &str) -> Result<EntropyRule, String> {
    let mut rule = EntropyRule::default();
    for word in name.split('_') {
        match word {
            "default" => {}
            "pixels" => rule.weight = EntropyWeight::Pixels,
            "conn4" => rule.connectivity = Connectivity::Four,
            "conn8" => rule.connectivity = Connectivity::Eight,
            "raw" => {
                rule.normalise = false;
                rule.floor = Floor::Abs(0.001);
            }
            "abs" => rule.floor = Floor::Abs(0.001),
            "june" => rule = HeadSelection::preset("published_june").unwrap().entropy,
            "august" => rule = HeadSelection::preset("published_august").unwrap().entropy,
            _ => rule.c = number(word, "c").ok_or_else(|| unknown("entropy", name))?,
        }
    }
    Ok(rule)
}

/// `sinkfilt`, then `_renorm`, then words of [`entropy_rule`], where `raw` stands for `raw_abs`.
fn sink_filter(name: &str) -> Option<(SinkFilter, &str)> {
    let rest = name.strip_prefix("sinkfilt")?;
    let (renormalise, rest) = match rest.strip_prefix("_renorm") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let filter = SinkFilter {
        apply: true,
        renormalise,
        ..SinkFilter::default()
    };
    match rest.strip_prefix('_') {
        Some(rest) => Some((filter, rest)),
        None => rest.is_empty().then_some((filter, "default")),
    }
}

fn bottom_rule(name: &str) -> Result<BottomRow, String> {
    match name {
        "off" => Some(BottomRow::Off),
        "component_full" => Some(BottomRow::ComponentFull),
        _ => number(name, "abs_")
            .map(BottomRow::Abs)
            .or_else(|| number(name, "share_").map(BottomRow::Share)),
    }
    .ok_or_else(|| unknown("bottom-row rule", name))
}

fn base_mask(name: &str) -> Option<BaseMask> {
    match name {
        "mean" => Some(BaseMask::Mean),
        _ => number(name, "keep").map(|percent| BaseMask::KeepMass(percent / 100.0)),
    }
}

/// The rule of a mask, or of two regions.
fn mask_rule(name: &str, budget: Budget) -> Option<MaskRule> {
    let keep60 = BaseMask::KeepMass(0.6);
    let rule = match name {
        "mask_top_n" => MaskRule::TopN(budget),
        "region_budget" => MaskRule::RegionBudget(budget),
        "two" => MaskRule::TwoRegions { base: keep60 },
        "two_budget" => MaskRule::TwoRegionsBudget {
            base: keep60,
            budget,
            share1: 0.5,
        },
        _ => match name.split_once('_')? {
            ("mask", base) => match base_mask(base)? {
                BaseMask::Mean => MaskRule::Mean,
                BaseMask::KeepMass(share) => MaskRule::KeepMass(share),
            },
            ("region", base) => MaskRule::RegionComponent {
                base: base_mask(base)?,
            },
            ("two", base) => MaskRule::TwoRegions {
                base: base_mask(base)?,
            },
            _ => return None,
        },
    };
    Some(rule)
}

/// How a heat map comes about.
enum Recipe {
    /// From the heads that a preset selects, as a selection aggregates.
    Selection {
        preset: Box<HeadSelection>,
        aggregate: Box<HeadSelection>,
    },
    MeanSubtracted,
    Relative,
}

/// `selected` is followed by words: `sinkfilt`, `norm`, `r` and a radius, or those of a preset's name.
fn recipe(name: &str) -> Result<Recipe, String> {
    let default = HeadSelection::default();
    let naive = |aggregate| {
        Ok(Recipe::Selection {
            preset: Box::default(),
            aggregate: Box::new(HeadSelection {
                aggregate,
                ..HeadSelection::default()
            }),
        })
    };
    let words = match name {
        "naive" => return naive(Aggregate::Naive),
        "naive_sinkfilt" => return naive(Aggregate::NaiveSinkFiltered),
        "mean_subtracted" => return Ok(Recipe::MeanSubtracted),
        "relative" => return Ok(Recipe::Relative),
        _ => name
            .strip_prefix("selected")
            .filter(|rest| rest.is_empty() || rest.starts_with('_'))
            .ok_or_else(|| unknown("map", name))?,
    };
    let (mut smoothing, mut sinks, mut normalise) = (default.smoothing, default.sinks, false);
    let mut preset = Vec::new();
    for word in words.split('_').skip(1) {
        match word {
            "sinkfilt" => sinks.apply = true,
            "norm" => normalise = true,
            _ => match number(word, "r") {
                Some(truncate) => smoothing.truncate = truncate,
                None => preset.push(word),
            },
        }
    }
    let preset = match &preset[..] {
        [] => default,
        words => HeadSelection::preset(&words.join("_"))
            .map_err(|e| format!("{}: {e}", unknown("map", name)))?,
    };
    Ok(Recipe::Selection {
        aggregate: Box::new(HeadSelection {
            sinks,
            smoothing,
            aggregate: Aggregate::Selected { normalise },
            ..preset.clone()
        }),
        preset: Box::new(preset),
    })
}

// ----------------------------------------------------------------------------------------------------------- cases

fn check_case(folder: &Folder, file: &str, report: &mut Report) {
    let case = match Case::new(folder.fixture(file), folder.entry(file)) {
        Ok(case) => case,
        Err(reason) => return report.failures.push(reason),
    };
    let run = Run::new(&case);
    for name in case.fixture.names() {
        match name.split_once('.') {
            Some(("in" | "gen", _)) => {
                report.consumed.insert(name);
            }
            Some(("out", rest)) => {
                let verdict = run.compare(&name, rest);
                report.compared(&name, verdict);
            }
            _ => {}
        }
    }
    for (key, verdict) in run.manifest(folder.entry(file).unwrap()) {
        report.note(&format!("`{key}` of the manifest"), verdict);
    }
}

/// What was computed from one case, so that nothing is computed twice.
struct Run<'a> {
    case: &'a Case,
    scores: RefCell<Vec<(HeadSelection, Rc<Vec<SampleScores>>)>>,
    maps: RefCell<HashMap<String, Rc<Vec<HeatMap>>>>,
    frames: RefCell<HashMap<String, Rc<Vec<FrameMetrics>>>>,
    capture: OnceCell<Capture>,
}

impl<'a> Run<'a> {
    fn new(case: &'a Case) -> Self {
        Self {
            case,
            scores: RefCell::default(),
            maps: RefCell::default(),
            frames: RefCell::default(),
            capture: OnceCell::new(),
        }
    }

    fn scores(&self, selection: &HeadSelection) -> Rc<Vec<SampleScores>> {
        let mut known = self.scores.borrow_mut();
        if let Some((_, scores)) = known.iter().find(|(s, _)| s.scores_like(selection)) {
            return Rc::clone(scores);
        }
        let scores = Rc::new(self.case.scores(selection));
        known.push((selection.clone(), Rc::clone(&scores)));
        scores
    }

    /// One value of every head of every frame.
    fn heads<T>(&self, selection: &HeadSelection, value: impl Fn(&HeadScore) -> T) -> Vec<T> {
        let scores = self.scores(selection);
        let heads = scores.iter().flat_map(|s| &s.heads);
        heads.map(value).collect()
    }

    /// Values per frame.
    fn per_frame<'v, T>(&self, values: &'v [T]) -> impl Iterator<Item = &'v [T]> {
        values.chunks_exact((values.len() / self.case.n).max(1))
    }

    fn compare(&self, name: &str, rest: &str) -> Verdict {
        let f = &self.case.fixture;
        let default = HeadSelection::default();
        let (family, rest) = rest.split_once('.').unwrap_or((rest, ""));
        let split = || rest.rsplit_once('.').ok_or_else(|| unknown("tensor", name));
        match (family, rest) {
            ("S", "") => close(&self.heads(&default, |h| h.sum), &f.f64(name), SUM),
            ("S_q", "") => equal(&self.heads(&default, |h| h.sum_q), &f.i64(name)),
            ("sinkfilt", "S") => {
                let mut selection = default;
                selection.sinks.apply = true;
                selection.sinks.sum_source = SumSource::Filtered;
                close(&self.heads(&selection, |h| h.sum), &f.f64(name), SUM)
            }
            ("elbow", _) => {
                let (variant, what) = split()?;
                self.elbow(name, elbow_rule(variant)?, what)
            }
            ("entropy", _) => {
                let (config, what) = split()?;
                self.entropy(name, config, what)
            }
            ("bottom", rule) => {
                let selection = HeadSelection {
                    bottom_row: bottom_rule(rule)?,
                    ..default
                };
                equal(&self.heads(&selection, |h| h.bottom), &f.bools(name))
            }
            ("select", _) => {
                let (preset, what) = split()?;
                let preset = HeadSelection::preset(preset).map_err(|e| e.to_string())?;
                self.select(name, &preset, what)
            }
            ("map", map) => {
                let (maps, wanted) = (self.heat_maps(map)?, f.f64(name));
                let frames = maps.iter().zip(self.per_frame(&wanted)).enumerate();
                for (i, (got, wanted)) in frames {
                    close_map(&got.values, wanted).map_err(|e| format!("frame {i}: {e}"))?;
                }
                same(&(maps.len() * self.case.grid.len()), &wanted.len())
            }
            ("mask", rest) => {
                let (map, what) = rest
                    .split_once('.')
                    .ok_or_else(|| unknown("tensor", name))?;
                self.mask(name, map, what)
            }
            _ => Err(unknown("tensor", name)),
        }
    }

    fn elbow(&self, name: &str, rule: Elbow, what: &str) -> Verdict {
        let layers: Vec<u32> = (0..self.case.layers as u32).collect();
        let sums = self.heads(&HeadSelection::default(), |h| h.sum_q);
        let place = |found: Option<usize>| vec![found.map_or(-1, |i| i as i64)];
        let mut got = Vec::new();
        for sums in self.per_frame(&sums) {
            let outcome =
                elbow(sums, &layers, self.case.heads, &rule).map_err(|e| e.to_string())?;
            got.extend(match what {
                "keep" => outcome.keep.into_iter().map(i64::from).collect(),
                "tau_q" => vec![outcome.tau_q],
                "tau_head" => place(outcome.head),
                "pos" => place(outcome.position),
                _ => return Err(unknown("result of an elbow", what)),
            });
        }
        equal(&got, &self.case.fixture.i64(name))
    }

    fn entropy(&self, name: &str, config: &str, what: &str) -> Verdict {
        let (sinks, config) = sink_filter(config).unwrap_or((SinkFilter::default(), config));
        let selection = HeadSelection {
            entropy: entropy_rule(config)?,
            sinks,
            ..HeadSelection::default()
        };
        let f = &self.case.fixture;
        match what {
            "H" => close(
                &self.heads(&selection, |h| h.entropy),
                &f.f64(name),
                ENTROPY,
            ),
            "ncomp" => equal(
                &self.heads(&selection, |h| h.components as i64),
                &f.i64(name),
            ),
            "key" => {
                let keys = self.heads(&selection, |h| quantum(h.entropy));
                each(&keys, &f.i64(name), |g, w| g.abs_diff(w) <= 1)
            }
            _ => Err(unknown("result of an entropy", what)),
        }
    }

    fn select(&self, name: &str, preset: &HeadSelection, what: &str) -> Verdict {
        let pairs = |heads: &[HeadId], len: usize| {
            let ids = heads.iter().flat_map(|h| [h.layer.into(), h.head.into()]);
            let mut flat: Vec<i64> = ids.collect();
            flat.resize(2 * len, -1);
            flat
        };
        let scores = self.scores(preset);
        let selected = select_heads(&scores, preset).map_err(|e| e.to_string())?;
        let got: Vec<i64> = match what {
            "candidates" => scores
                .iter()
                .flat_map(|s| pairs(&s.candidates, preset.candidates))
                .collect(),
            "counts" => selected.counts.iter().map(|&c| c.into()).collect(),
            "rank_sum" => selected.rank_sums.iter().map(|&r| r as i64).collect(),
            "heads" => pairs(&selected.heads, preset.k),
            _ => return Err(unknown("result of a selection", what)),
        };
        equal(&got, &self.case.fixture.i64(name))
    }

    /// The frames of the case as the query tokens of one capture.
    fn capture(&self) -> &Capture {
        self.capture.get_or_init(|| {
            let case = self.case;
            let (p, heads) = (case.grid.len(), case.layers * case.heads);
            let mut attn = vec![0.0; case.n * heads * p];
            for (query, maps) in case.maps.iter().enumerate() {
                for (flat, (_, map)) in maps.iter().enumerate() {
                    attn[(flat * case.n + query) * p..][..p].copy_from_slice(map);
                }
            }
            capture_of(case.grid, case.layers, case.heads, case.n, attn)
        })
    }

    fn heat_maps(&self, name: &str) -> Result<Rc<Vec<HeatMap>>, String> {
        if let Some(known) = self.maps.borrow().get(name) {
            return Ok(Rc::clone(known));
        }
        let case = self.case;
        let maps: Result<Vec<HeatMap>> = match recipe(name)? {
            Recipe::Selection { preset, aggregate } => {
                let heads = match aggregate.aggregate {
                    Aggregate::Selected { .. } => {
                        let selected = select_heads(&self.scores(&preset), &preset);
                        selected.map_err(|e| e.to_string())?.heads
                    }
                    _ => Vec::new(),
                };
                let frames = case.maps.iter();
                frames
                    .map(|maps| heat_map(maps, &heads, &aggregate))
                    .collect()
            }
            Recipe::MeanSubtracted => (0..case.n)
                .map(|query| {
                    let selection = HeadSelection {
                        query: QuerySelector::Index(query),
                        aggregate: Aggregate::MeanSubtracted,
                        ..HeadSelection::default()
                    };
                    let maps = self.capture().head_maps_for(&selection, 0)?;
                    assert_eq!(maps.data, case.maps[query].data);
                    heat_map(&maps, &[], &selection)
                })
                .collect(),
            Recipe::Relative => {
                let layer = case.fixture.i64("in.relative_layer")[0] as usize;
                let generic = case.fixture.f64("in.generic_map");
                let frames = case.maps.iter().zip(self.per_frame(&generic));
                frames
                    .map(|(maps, generic)| {
                        let mut task = vec![0.0; case.grid.len()];
                        for head in 0..case.heads {
                            for (mean, &w) in task.iter_mut().zip(maps.head(layer, head)) {
                                *mean += f64::from(w) / case.heads as f64;
                            }
                        }
                        let task = HeatMap::new(case.grid, task)?;
                        relative_attention(&task, &HeatMap::new(case.grid, generic.to_vec())?)
                    })
                    .collect()
            }
        };
        let maps = Rc::new(maps.map_err(|e| e.to_string())?);
        self.maps
            .borrow_mut()
            .insert(name.to_owned(), Rc::clone(&maps));
        Ok(maps)
    }

    fn gazes(&self, map: &str, rule: &MaskRule) -> Result<Vec<Gaze>, String> {
        let maps = self.heat_maps(map)?;
        let gazes = maps
            .iter()
            .map(|map| Gaze::from_map(map.clone(), rule, 0))
            .collect::<Result<_>>();
        gazes.map_err(|e| e.to_string())
    }

    /// The budgeted region of every frame against the box it should look at.
    fn frames(&self, map: &str) -> Result<Rc<Vec<FrameMetrics>>, String> {
        if let Some(known) = self.frames.borrow().get(map) {
            return Ok(Rc::clone(known));
        }
        let gazes = self.gazes(map, &MaskRule::RegionBudget(self.case.budget()))?;
        let boxes = self.case.fixture.rects("in.box");
        let frames = gazes
            .iter()
            .zip(&boxes)
            .map(|(gaze, truth)| frame_metrics(gaze, truth))
            .collect::<Result<Vec<_>>>();
        let frames = Rc::new(frames.map_err(|e| e.to_string())?);
        self.frames
            .borrow_mut()
            .insert(map.to_owned(), Rc::clone(&frames));
        Ok(frames)
    }

    fn mask(&self, name: &str, map: &str, what: &str) -> Verdict {
        let f = &self.case.fixture;
        let budget = self.case.budget();
        let rule = |rule: &str| mask_rule(rule, budget).ok_or_else(|| unknown("mask", what));
        if let Some((two, part)) = what
            .rsplit_once('_')
            .filter(|(two, part)| two.starts_with("two") && part.starts_with(['r', 's']))
        {
            let gazes = self.gazes(map, &rule(two)?)?;
            let second = |gaze: Gaze| {
                let none = Mask::empty(self.case.grid);
                gaze.second.unwrap_or(none).bits
            };
            let got: Vec<bool> = match part {
                "r1" => gazes.into_iter().flat_map(|g| g.mask.bits).collect(),
                "r2" => gazes.into_iter().flat_map(second).collect(),
                "status" => gazes.iter().map(|g| g.second.is_some()).collect(),
                _ => return Err(unknown("mask", what)),
            };
            return equal(&got, &f.bools(name));
        }
        let metric = |value: fn(&FrameMetrics) -> f64| -> Verdict {
            let got: Vec<f64> = self.frames(map)?.iter().map(value).collect();
            close(&got, &f.f64(name), METRIC)
        };
        match what {
            "q" | "peak" => {
                let quantised = |m: &HeatMap| m.quantised().unwrap();
                let maps: Vec<Quantised> = self.heat_maps(map)?.iter().map(quantised).collect();
                if what == "peak" {
                    let peak = |q: &Quantised| q.peak().map_or(-1, |peak| peak as i64);
                    return equal(&maps.iter().map(peak).collect::<Vec<_>>(), &f.i64(name));
                }
                let steps: Vec<i64> = maps.iter().flat_map(Quantised::steps).copied().collect();
                each(&steps, &f.i64(name), |g, w| g.abs_diff(w) <= 1)
            }
            "m_mask_box_iou" => {
                let rules = [
                    "mask_mean",
                    "mask_keep60",
                    "mask_top_n",
                    "region_mean",
                    "region_keep60",
                    "region_budget",
                ];
                let boxes = f.rects("in.box");
                let mut got = vec![f64::NAN; rules.len() * boxes.len()];
                for (column, name) in rules.into_iter().enumerate() {
                    for (row, gaze) in self.gazes(map, &rule(name)?)?.iter().enumerate() {
                        got[row * rules.len() + column] =
                            mask_box_iou(&gaze.mask, &boxes[row]).unwrap();
                    }
                }
                close(&got, &f.f64(name), METRIC)
            }
            "m_box_iou" => metric(|m| m.box_iou),
            "m_mass_inside" => metric(|m| m.mass_inside),
            "m_lift" => metric(|m| m.lift),
            "m_dino_iou" => metric(|m| m.dino_iou),
            "m_pointing" => {
                let frames = self.frames(map)?;
                assert!(frames.iter().all(|m| m.pointing_slack || !m.pointing));
                let got: Vec<bool> = frames.iter().map(|m| m.pointing).collect();
                equal(&got, &f.bools(name))
            }
            "aggregate" => self.aggregate(name, map),
            _ => {
                if let Some(of) = what.strip_prefix("box_") {
                    let rects = self.gazes(map, &rule(of)?)?;
                    let got: Vec<f64> = rects.iter().flat_map(|g| corners(g.rect)).collect();
                    return close(&got, &f.f64(name), METRIC);
                }
                if let Some(of) = what.strip_prefix("m_parts_") {
                    let mut got = Vec::new();
                    for (gaze, truth) in self.gazes(map, &rule(of)?)?.iter().zip(f.rects("in.box"))
                    {
                        let m = frame_metrics(gaze, &truth).map_err(|e| e.to_string())?;
                        got.extend([m.intersection, m.union]);
                    }
                    return close(&got, &f.f64(name), METRIC);
                }
                let gazes = self.gazes(map, &rule(what)?)?;
                let got: Vec<bool> = gazes.into_iter().flat_map(|g| g.mask.bits).collect();
                equal(&got, &f.bools(name))
            }
        }
    }

    /// Numbers of a dataset, from the frames and, where a selection says it all, from the dataset at once.
    fn aggregate(&self, name: &str, map: &str) -> Verdict {
        let case = self.case;
        let region = MaskRule::RegionBudget(case.budget());
        let gazes = self.gazes(map, &region)?;
        let masks: Vec<Mask> = gazes.into_iter().map(|gaze| gaze.mask).collect();
        let agreement = paraphrase_iou(&masks).map_err(|e| e.to_string())?;
        let numbers = |m: &DatasetMetrics| {
            let boxes = [m.box_recall, m.mean_iou, m.overall_iou, m.pointing];
            [boxes.as_slice(), &[agreement]].concat()
        };
        let wanted = case.fixture.f64(name);
        close(
            &numbers(&dataset_metrics(&self.frames(map)?)),
            &wanted,
            METRIC,
        )?;

        let Recipe::Selection { preset, aggregate } = recipe(map)? else {
            return Ok(());
        };
        if preset.sinks != aggregate.sinks && aggregate.aggregate != Aggregate::NaiveSinkFiltered {
            return Ok(()); // the preset selects on other maps than these
        }
        let boxes = case.fixture.rects("in.box").into_iter();
        let mut analysis = Analysis::new(usize::MAX);
        for (episode, (maps, truth)) in case.maps.iter().zip(boxes).enumerate() {
            let sample = Sample {
                maps: maps.clone(),
                truth: Some(truth),
                split: Split::Tune,
                episode,
            };
            analysis.push(sample).map_err(|e| e.to_string())?;
        }
        let selection = HeadSelection {
            mask: region,
            ..*aggregate
        };
        let evaluation = analysis
            .evaluate(&selection, &())
            .map_err(|e| format!("the dataset at once: {e}"))?;
        let summary = evaluation
            .tune
            .ok_or("the dataset at once: nothing measured")?;
        close(&numbers(&summary.metrics), &wanted, METRIC)
            .map_err(|e| format!("the dataset at once: {e}"))
    }

    /// What the manifest says about the case.
    fn manifest(&self, entry: &Value) -> Vec<(String, Verdict)> {
        let case = self.case;
        let value = |v: usize| Value::from(v);
        let is_f16 = case.fixture.dtype("in.attn") == Dtype::F16;
        let Budget::Patches(budget) = case.budget() else {
            panic!("a budget in patches")
        };
        let mut verdicts = Vec::new();
        for (key, wanted) in entry.as_object().unwrap() {
            let got = match key.as_str() {
                "L" => value(case.layers),
                "H" => value(case.heads),
                "N" => value(case.n),
                "dtype" => if is_f16 { "f16" } else { "f32" }.into(),
                "budget_n" => value(budget),
                "exclude_layers_default" => value(if case.layers > 4 { 2 } else { 0 }),
                "selected_heads" => {
                    for (preset, wanted) in wanted.as_object().unwrap() {
                        let verdict = HeadSelection::preset(preset)
                            .and_then(|preset| select_heads(&self.scores(&preset), &preset))
                            .map_err(|e| e.to_string())
                            .and_then(|selected| {
                                let heads = selected.heads.iter().map(|h| [h.layer, h.head]);
                                let heads = heads.collect::<Vec<_>>();
                                same(&serde_json::to_value(heads).unwrap(), wanted)
                            });
                        verdicts.push((format!("{key}.{preset}"), verdict));
                    }
                    continue;
                }
                // The grid was used, and the rest is for people to read.
                _ => continue,
            };
            verdicts.push((key.clone(), same(&got, wanted)));
        }
        verdicts
    }
}

/// A capture of one view that fills the picture.
fn capture_of(grid: Grid, layers: usize, heads: usize, n: usize, attn: Vec<f32>) -> Capture {
    let key = |patch| Key {
        role: TokenRole::Image,
        view: Some(0),
        rect: Some(grid.patch_rect(patch)),
        ..Key::default()
    };
    let query = |position| Query {
        position,
        ..Query::default()
    };
    Capture::new(CaptureParts {
        layers: (0..layers as u32).collect(),
        heads: (0..heads as u32).collect(),
        views: vec![View {
            name: "static".into(),
            width: 200,
            height: 200,
        }],
        queries: (0..n).map(query).collect(),
        keys: (0..grid.len()).map(key).collect(),
        attn,
        ..CaptureParts::default()
    })
    .unwrap()
}

// ------------------------------------------------------------------------------------------------------ edge cases

fn check_edge(folder: &Folder, file: &str, fixture: &Fixture, report: &mut Report) {
    let edge = &folder.manifest["edge"];
    if edge["file"] != file {
        let reason = "it holds no in.attn and the manifest does not list it as the edge cases";
        return report.failures.push(reason.into());
    }
    for (key, entries) in edge.as_object().unwrap() {
        let entries = entries.as_array().into_iter().flatten();
        let check: fn(&Value, &Fixture, &mut Report) -> Verdict = match key.as_str() {
            "file" => continue,
            "maps" => edge_map,
            "elbow" => edge_elbow,
            "errors" => edge_error,
            _ => {
                report.failures.push(unknown("entry of the manifest", key));
                continue;
            }
        };
        for entry in entries {
            let name = entry["name"].as_str().unwrap_or("without a name");
            let verdict = check(entry, fixture, report);
            report.note(&format!("{key}, {name}"), verdict);
        }
    }
    for name in fixture.names() {
        let Some((family, what)) = name.split_once('.') else {
            continue;
        };
        let verdict = match (family, what) {
            ("boxes", "pairs") | ("paraphrase", "masks") => None,
            ("boxes", "iou") => Some(edge_boxes(fixture)),
            ("paraphrase", "iou") => Some(edge_paraphrases(fixture)),
            ("gaussian", what) => Some(edge_taps(fixture, &name, what)),
            (sink, "x" | "dims") if number(sink, "sink").is_some() => None,
            (sink, what) if number(sink, "sink").is_some() => Some(edge_sinks(fixture, sink, what)),
            _ => continue,
        };
        match verdict {
            Some(verdict) => report.compared(&name, verdict),
            None => {
                report.consumed.insert(name);
            }
        }
    }
}

fn text<'v>(entry: &'v Value, key: &str) -> Result<&'v str, String> {
    let text = entry[key].as_str();
    text.ok_or_else(|| format!("the manifest gives no `{key}`"))
}

fn count(entry: &Value, key: &str) -> Result<usize, String> {
    let count = entry[key].as_u64();
    count
        .map(|n| n as usize)
        .ok_or_else(|| format!("the manifest gives no `{key}`"))
}

fn grid_of(entry: &Value) -> Result<Grid, String> {
    Ok(Grid::new(count(entry, "rows")?, count(entry, "cols")?))
}

/// A hand-made map: its entropies, its smoothing and its masks.
fn edge_map(entry: &Value, f: &Fixture, report: &mut Report) -> Verdict {
    let name = text(entry, "name")?;
    let full = |what: &str| format!("{name}.{what}");
    let grid = grid_of(entry)?;
    let input = full("in");
    if !f.has(&input) {
        return Err(format!("no tensor `{input}`"));
    }
    let values = f.f64(&input);
    let maps = HeadMaps::new(grid, 1, 1, f.f32(&input)).map_err(|e| e.to_string())?;
    report.consumed.insert(input);
    let map = HeatMap::new(grid, values).unwrap();
    let quantised = map.quantised().unwrap();
    let budget = Budget::Patches(count(entry, "budget_n")?);

    if f.has(&full("q")) {
        report.compared(
            &full("q"),
            each(quantised.steps(), &f.i64(&full("q")), |g, w| {
                g.abs_diff(w) <= 1
            }),
        );
    }
    if f.has(&full("gauss")) {
        let selection = HeadSelection {
            aggregate: Aggregate::Head(HeadId { layer: 0, head: 0 }),
            ..HeadSelection::default()
        };
        let smooth = heat_map(&maps, &[], &selection).unwrap();
        report.compared(
            &full("gauss"),
            close_map(&smooth.values, &f.f64(&full("gauss"))),
        );
    }
    for (key, wanted) in entry.as_object().unwrap() {
        match key.as_str() {
            "name" | "rows" | "cols" | "note" | "budget_n" => {}
            "entropy" => {
                for (config, wanted) in wanted.as_object().unwrap() {
                    let verdict = edge_entropy(&map, config, wanted);
                    report.note(&format!("{name}, entropy {config}"), verdict);
                }
            }
            "masks" => {
                for (what, wanted) in wanted.as_object().unwrap() {
                    let verdict = edge_mask(&map, what, budget, wanted, f, &full(what), report);
                    report.note(&format!("{name}, {what}"), verdict);
                }
            }
            _ => {
                let rule = mask_rule(key, budget)
                    .filter(|rule| matches!(rule, MaskRule::TwoRegions { .. }));
                let rule = rule.ok_or_else(|| unknown("entry of the manifest", key))?;
                let status = wanted.as_str().unwrap_or_default();
                match quantised.cut(&rule) {
                    Ok((first, second)) => {
                        let got = if second.is_some() { "two" } else { "single" };
                        report.note(&full(key), same(&got, &status));
                        let second = second.unwrap_or(Mask::empty(grid));
                        for (part, mask) in [("r1", first), ("r2", second)] {
                            let tensor = full(&format!("{key}_{part}"));
                            if !f.has(&tensor) {
                                return Err(format!("no tensor `{tensor}`"));
                            }
                            let verdict = equal(&mask.bits, &f.bools(&tensor));
                            report.compared(&tensor, verdict);
                        }
                    }
                    Err(error) => report.note(&full(key), same(&error.code(), &Some(status))),
                }
            }
        }
    }
    Ok(())
}

fn edge_entropy(map: &HeatMap, config: &str, wanted: &Value) -> Verdict {
    let got = spatial_entropy(&map.values, map.grid, &entropy_rule(config)?).unwrap();
    let entropy = match &wanted["H"] {
        Value::String(inf) if inf == "inf" => f64::INFINITY,
        number => number.as_f64().ok_or("the manifest gives no `H`")?,
    };
    close(&[got.entropy], &[entropy], ENTROPY)?;
    same(&got.components, &count(wanted, "ncomp")?)
}

fn edge_mask(
    map: &HeatMap,
    what: &str,
    budget: Budget,
    wanted: &Value,
    f: &Fixture,
    tensor: &str,
    report: &mut Report,
) -> Verdict {
    let rule = mask_rule(what, budget).ok_or_else(|| unknown("mask", what))?;
    let mask = match mask_from_map(map, &rule) {
        Ok(mask) => mask,
        Err(error) => {
            same(&Some(false), &wanted["ok"].as_bool())?;
            return same(&error.code(), &wanted["code"].as_str());
        }
    };
    same(&Some(true), &wanted["ok"].as_bool())?;
    if !f.has(tensor) {
        return Err(format!("no tensor `{tensor}`"));
    }
    report.compared(tensor, equal(&mask.bits, &f.bools(tensor)));
    same(&mask.count(), &count(wanted, "count")?)?;
    let number = |v: &Value| v.as_f64().unwrap_or(f64::NAN);
    let wanted: Option<Vec<f64>> = wanted["box"]
        .as_array()
        .map(|corners| corners.iter().map(number).collect());
    match (mask.rect(), wanted) {
        (None, None) => Ok(()),
        (rect, wanted) => close(&corners(rect), &wanted.unwrap_or_default(), METRIC),
    }
}

/// A sequence of sums, and what every mode keeps of it.
fn edge_elbow(entry: &Value, _: &Fixture, report: &mut Report) -> Verdict {
    let sums = entry["S"].as_array().ok_or("the manifest gives no `S`")?;
    let sums: Vec<i64> = sums.iter().map(|s| quantum(s.as_f64().unwrap())).collect();
    for (mode, wanted) in entry.as_object().unwrap() {
        if mode == "name" || mode == "S" {
            continue;
        }
        let rule = Elbow {
            exclude_layers: Some(0),
            ..elbow_rule(mode)?
        };
        let got = elbow(&sums, &[0], sums.len(), &rule).map_err(|e| e.to_string())?;
        let place = |found: Option<usize>| found.map_or(-1, |i| i as i64);
        for (key, wanted) in wanted.as_object().unwrap() {
            let got: Value = match key.as_str() {
                "keep" => got.keep.iter().map(|&k| u8::from(k)).collect(),
                "tau_q" => got.tau_q.into(),
                "tau_head" => place(got.head).into(),
                "elbow_pos" => place(got.position).into(),
                _ => return Err(unknown("result of an elbow", key)),
            };
            report.note(&format!("elbow of {sums:?}, {key}"), same(&got, wanted));
        }
    }
    Ok(())
}

/// Something that must be refused, with the code and the place to be named.
fn edge_error(entry: &Value, f: &Fixture, report: &mut Report) -> Verdict {
    let known = ["name", "tensor", "rows", "cols", "code", "index", "call"];
    if let Some(key) = entry
        .as_object()
        .unwrap()
        .keys()
        .find(|key| !known.contains(&key.as_str()))
    {
        return Err(unknown("entry of the manifest", key));
    }
    let call = entry["call"].as_str();
    let Some(tensor) = entry["tensor"].as_str() else {
        let call = call.ok_or("neither a tensor nor a call")?;
        let error = refused(call)?.err().ok_or("not refused")?;
        return same(&error.code(), &Some(text(entry, "code")?));
    };
    if !f.has(tensor) {
        return Err(format!("no tensor `{tensor}`"));
    }
    report.compared.insert(tensor.to_owned());
    let grid = grid_of(entry)?;
    let shape = f.shape(tensor);
    let (values, heads) = (f.f32(tensor), shape[shape.len() - 2]);
    let frames = shape[..shape.len() - 3].iter().product::<usize>();
    let layers = shape[shape.len() - 3];
    let result = match call {
        // Frames are stacked as layers: the flat index is that of the whole tensor either way.
        None => HeadMaps::new(grid, frames * layers, heads, values).map(drop),
        Some("select_heads") => values
            .chunks_exact(values.len() / frames)
            .map(|frame| {
                let maps = HeadMaps::new(grid, layers, heads, frame)?;
                score_heads(&maps, None, &HeadSelection::default())
            })
            .collect::<Result<Vec<_>>>()
            .and_then(|scores| select_heads(&scores, &HeadSelection::default()))
            .map(drop),
        Some(call) => return Err(unknown("call", call)),
    };
    let error = result.err().ok_or("not refused")?;
    same(&error.code(), &Some(text(entry, "code")?))?;
    let index = entry["index"].as_u64();
    same(&error.index().map(|index| index as u64), &index)
}

/// Outcome of a call such as `region_budget(n=P+1)` on a map that has a peak.
fn refused(call: &str) -> Result<Result<()>, String> {
    let no = || unknown("call", call);
    let (function, arguments) = call
        .strip_suffix(')')
        .and_then(|call| call.split_once('('))
        .ok_or_else(no)?;
    let arguments: Vec<(&str, &str)> = arguments
        .split(',')
        .map(|argument| {
            argument
                .trim()
                .split_once('=')
                .unwrap_or(("", argument.trim()))
        })
        .collect();
    let argument = |key: &str| {
        let found = arguments.iter().find(|(name, _)| *name == key);
        found.map(|(_, value)| *value).ok_or_else(no)
    };
    let real = |text: &str| text.parse::<f64>().map_err(|_| no());
    let grid = Grid::new(4, 4);
    let patches = |text: &str| match text.strip_prefix('P') {
        Some("") => Ok(grid.len()),
        Some(more) => more
            .parse::<isize>()
            .map(|more| grid.len().saturating_add_signed(more))
            .map_err(|_| no()),
        None => text.parse().map_err(|_| no()),
    };
    let map: Vec<f64> = (0..16).map(|i| f64::from(i * 5 % 16)).collect();
    let q = Quantised::new(grid, &map).unwrap();
    Ok(match function.trim() {
        "mask_keep_mass" => q.keep_mass(real(argument("frac")?)?).map(drop),
        "mask_top_n" => q.top_n(patches(argument("n")?)?).map(drop),
        "region_budget" => q.region_budget(patches(argument("n")?)?).map(drop),
        "two_regions_budget" => {
            let base = q.keep_mass(0.6).unwrap();
            q.two_regions_budget(&base, patches(argument("n")?)?, 0.5)
                .map(drop)
        }
        "box" => {
            let corners: Vec<f64> = arguments
                .iter()
                .map(|(_, value)| real(value))
                .collect::<Result<_, _>>()?;
            let &[x0, y0, x1, y1] = &corners[..] else {
                return Err(no());
            };
            Rect::new(x0, y0, x1, y1).clipped().map(drop)
        }
        "detect_sinks" => {
            let rule = match argument("")? {
                "absolute" => SinkRule::Absolute(real(argument("tau")?)?),
                "relative" => SinkRule::Relative(real(argument("rel")?)?),
                _ => return Err(no()),
            };
            let width = argument("d")?.parse().map_err(|_| no())?;
            detect_sinks(&[1.0; 3], width, rule).map(drop)
        }
        _ => return Err(no()),
    })
}

/// `phi_all`, `relative_dims`, `absolute20_all`, …
fn edge_sinks(f: &Fixture, family: &str, what: &str) -> Verdict {
    let full = |what: &str| format!("{family}.{what}");
    let (rule, among) = what
        .rsplit_once('_')
        .ok_or_else(|| unknown("result of a sink search", what))?;
    let width = f.shape(&full("x"))[1];
    let dims: Vec<usize> = match among {
        "all" => (0..width).collect(),
        "dims" => f
            .i64(&full("dims"))
            .into_iter()
            .map(|d| d as usize)
            .collect(),
        _ => return Err(unknown("set of dimensions", among)),
    };
    let hidden = f.f32(&full("x"));
    let phi = sink_phi(&hidden, width, Some(&dims)).map_err(|e| e.to_string())?;
    if among == "all" {
        equal(&sink_phi(&hidden, width, None).unwrap(), &phi)?;
    }
    let rule = match rule {
        "phi" => return close(&phi, &f.f64(&full(what)), METRIC),
        "relative" => SinkRule::default(),
        _ => {
            SinkRule::Absolute(number(rule, "absolute").ok_or_else(|| unknown("sink rule", rule))?)
        }
    };
    let found = detect_sinks(&phi, width, rule).map_err(|e| e.to_string())?;
    equal(&found, &f.bools(&full(what)))
}

fn edge_boxes(f: &Fixture) -> Verdict {
    let boxes = f.rects("boxes.pairs");
    let pairs = boxes.as_chunks::<2>().0.iter();
    let ious: Vec<f64> = pairs.map(|[a, b]| a.iou(*b).unwrap()).collect();
    close(&ious, &f.f64("boxes.iou"), METRIC)
}

/// Agreement of all masks, and of the first two.
fn edge_paraphrases(f: &Fixture) -> Verdict {
    let patches = f.shape("paraphrase.masks")[1];
    let bits = f.bools("paraphrase.masks");
    let mask = |bits: &[bool]| Mask::new(Grid::new(1, patches), bits.to_vec()).unwrap();
    let masks: Vec<Mask> = bits.chunks_exact(patches).map(mask).collect();
    let got = [&masks[..], &masks[..2]].map(|masks| paraphrase_iou(masks).unwrap());
    close(&got, &f.f64("paraphrase.iou"), METRIC)
}

/// The taps of the Gaussian, seen by smoothing one bright patch in the middle of a row.
fn edge_taps(f: &Fixture, name: &str, what: &str) -> Verdict {
    let truncate = number(what, "taps_truncate").ok_or_else(|| unknown("Gaussian", what))?;
    let wanted = f.f64(name);
    let middle = wanted.len() / 2;
    let mut row = vec![0.0f32; 3 * wanted.len()];
    row[wanted.len() + middle] = 1.0;
    let maps = HeadMaps::new(Grid::new(1, row.len()), 1, 1, row).unwrap();
    let selection = HeadSelection {
        aggregate: Aggregate::Head(HeadId { layer: 0, head: 0 }),
        smoothing: Smoothing {
            sigma: 1.0,
            truncate,
        },
        ..HeadSelection::default()
    };
    let smooth = heat_map(&maps, &[], &selection).unwrap().values;
    let (left, rest) = smooth.split_at(wanted.len());
    let (taps, right) = rest.split_at(wanted.len());
    if left.iter().chain(right).any(|&v| v != 0.0) {
        return Err("more taps than wanted".into());
    }
    close_map(taps, &wanted)
}

// --------------------------------------------------------------------------------------------------------- captures

#[test]
fn captures_of_the_fixtures_survive_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.attncap");
    for case in folders().iter().flat_map(Folder::cases) {
        let run = Run::new(&case);
        let mut capture = run.capture().clone();
        capture.sinks = case.maps[0].sinks.clone();
        attncap::write(&path, &[capture.clone()]).unwrap();
        let weights = capture.attn.len();
        assert_eq!(attncap::read(&path).unwrap(), [capture]);
        let size = std::fs::metadata(&path).unwrap().len() as usize;
        if case.fixture.dtype("in.attn") == Dtype::F16 {
            assert!(
                size < weights * 3 + 65536,
                "weights that came as f16 are stored as f16"
            );
        }
    }
}
