//! From a recipe to figure data: datasets, captures from files and from a model, heads, masks, numbers, errors.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use episode::{
    CameraInfo, Dataset, DatasetInfo, EpisodeMeta, Image, PixelMask, Region, SharedDataset, Signals,
};
use figure::{
    Arm, BoxKind, CaptureSource, Column, Content, Error, Frame, Look, MapChoice, Recipe, Reference,
    SourceError, render, resolve,
};
use grounding::{
    Capture, CaptureParts, Detection, Forward, HeadId, HeadSelection, Key, Query, Rect, TokenRole,
    View, attncap,
};

/// Attention from capture files only.
struct FilesOnly;

impl CaptureSource for FilesOnly {
    fn dataset(&mut self, dataset: &str) -> Result<SharedDataset, SourceError> {
        Ok(episode::open(Path::new(dataset))?)
    }

    fn capture(
        &mut self,
        _: &Path,
        _: &SharedDataset,
        _: usize,
        _: usize,
        _: Forward,
    ) -> Result<Arc<Capture>, SourceError> {
        Err("no model can be run here".into())
    }
}

const ROWS: usize = 4;
const COLS: usize = 6;

/// Two cameras, two episodes of five steps; the target is the patch in row 1, column 2 of every picture.
struct Table(DatasetInfo);

impl Table {
    fn shared() -> SharedDataset {
        let camera = |name: &str| CameraInfo {
            name: name.into(),
            width: 60,
            height: 40,
        };
        Arc::new(Self(DatasetInfo {
            format: "test".into(),
            path: PathBuf::from("/nonexistent/table"),
            name: "table".into(),
            fps: None,
            episodes: 2,
            frames: 10,
            cameras: vec![camera("static"), camera("wrist")],
            instructions: vec!["push the block".into()],
            action_names: Vec::new(),
            state_names: Vec::new(),
            has_masks: true,
            warnings: Vec::new(),
        }))
    }
}

impl Dataset for Table {
    fn info(&self) -> &DatasetInfo {
        &self.0
    }

    fn episode(&self, index: usize) -> episode::Result<EpisodeMeta> {
        Ok(EpisodeMeta {
            index,
            length: 5,
            instruction: "push the block".into(),
        })
    }

    fn signals(&self, _: usize) -> episode::Result<Arc<Signals>> {
        Ok(Arc::default())
    }

    fn image(&self, _: usize, step: usize, _: usize) -> episode::Result<Arc<Image>> {
        match step {
            0..5 => Ok(Arc::new(Image::filled(60, 40, [120, 110, step as u8]))),
            _ => Err(episode::Error::OutOfRange {
                what: "step",
                index: step,
                len: 5,
                path: "/nonexistent/table".into(),
            }),
        }
    }

    fn mask(
        &self,
        _: usize,
        _: usize,
        _: usize,
        region: Region,
    ) -> episode::Result<Option<Arc<PixelMask>>> {
        let mut mask = PixelMask::empty(60, 40);
        if region == Region::Target {
            for y in 10..20 {
                for x in 20..30 {
                    mask.bits[y * 60 + x] = true;
                }
            }
        }
        Ok(Some(Arc::new(mask)))
    }
}

/// Two layers of two heads that look at one patch of camera `static`, and from layer 4 on sharply so.
fn capture(step: u64, row: usize, col: usize) -> Capture {
    let patches = ROWS * COLS;
    let mut keys: Vec<Key> = (0..patches)
        .map(|p| {
            let (r, c) = ((p / COLS) as f64, (p % COLS) as f64);
            let (w, h) = (1.0 / COLS as f64, 1.0 / ROWS as f64);
            Key {
                token: String::new(),
                role: TokenRole::Image,
                view: Some(0),
                rect: Some(Rect::new(c * w, r * h, (c + 1.0) * w, (r + 1.0) * h)),
            }
        })
        .collect();
    keys.push(Key {
        token: "push".into(),
        role: TokenRole::Text,
        view: None,
        rect: None,
    });
    let mut attn = Vec::new();
    for head in 0..4 {
        let peak = 0.1 + 0.15 * head as f32;
        let rest = 0.2 / patches as f32;
        let image = (0..patches).map(|p| if p == row * COLS + col { peak } else { rest });
        let text = 1.0 - peak - rest * (patches - 1) as f32;
        attn.extend(image.chain([text]));
    }
    Capture::new(CaptureParts {
        model_id: "test-vla".into(),
        source: "table".into(),
        instruction: "push the block".into(),
        step,
        layers: vec![4, 7],
        heads: vec![0, 1],
        views: vec![View {
            name: "static".into(),
            width: 60,
            height: 40,
        }],
        queries: vec![Query {
            position: patches + 1,
            token: "<act>".into(),
            role: TokenRole::Action,
        }],
        keys,
        attn,
        boxes: vec![Detection {
            rect: Rect::new(0.3, 0.2, 0.6, 0.55),
            label: "block".into(),
            score: 0.7,
            view: 0,
        }],
        action: None,
        sinks: None,
    })
    .unwrap()
}

/// A model that looks at the target when its folder is called `good` or its attention is changed, and at a corner
/// otherwise.
#[derive(Default)]
struct Models {
    runs: usize,
    cancelled: bool,
}

impl CaptureSource for Models {
    fn dataset(&mut self, dataset: &str) -> Result<SharedDataset, SourceError> {
        match dataset {
            "table" => Ok(Table::shared()),
            other => Err(format!("no such data: {other}").into()),
        }
    }

    fn capture(
        &mut self,
        checkpoint: &Path,
        _: &SharedDataset,
        _: usize,
        step: usize,
        forward: Forward,
    ) -> Result<Arc<Capture>, SourceError> {
        self.runs += 1;
        let (row, col) = if checkpoint.ends_with("good") || forward != Forward::AsTrained {
            (1, 2)
        } else {
            (3, 5)
        };
        Ok(Arc::new(capture(step as u64, row, col)))
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled
    }
}

fn column(content: Content) -> Column {
    Column {
        content,
        ..Column::default()
    }
}

fn arm(folder: &str) -> Arm {
    let mut selection = HeadSelection {
        k: 1,
        ..HeadSelection::default()
    };
    selection.smoothing.sigma = 0.0;
    selection.mask = grounding::MaskRule::RegionBudget(grounding::Budget::Patches(1));
    Arm {
        name: folder.into(),
        look: Look::Checkpoint(format!("/runs/x/{folder}").into()),
        selection,
        ..Arm::default()
    }
}

fn recipe() -> Recipe {
    Recipe {
        arms: vec![arm("good")],
        columns: vec![
            column(Content::Picture),
            column(Content::HeatMap(MapChoice::Mean)),
            column(Content::Map(MapChoice::Head(HeadId { layer: 1, head: 0 }))),
            column(Content::Mask(MapChoice::Selected)),
            column(Content::Compare(MapChoice::Selected)),
        ],
        frames: vec![
            Frame {
                dataset: "table".into(),
                episode: 1,
                step: 2,
                ..Frame::default()
            },
            Frame {
                dataset: "table".into(),
                episode: 0,
                step: 4,
                camera: "static".into(),
                ..Frame::default()
            },
        ],
        ..Recipe::default()
    }
}

#[test]
fn everything_a_recipe_names_is_fetched_and_measured() {
    let mut models = Models::default();
    let data = resolve(&recipe(), &mut models).unwrap();
    assert_eq!(models.runs, 2);
    assert_eq!(data.rows.len(), 2);
    assert_eq!(
        data.rows[0].label,
        "“push the block” · episode 1, step 3 of 5"
    );
    assert!((data.rows[0].aspect - 40.0 / 60.0).abs() < 1e-12);
    let titles: Vec<&str> = data.columns.iter().map(|c| c.title.as_str()).collect();
    assert_eq!(
        titles,
        [
            "Camera static",
            "Mean of all heads",
            "Layer 7, head 0",
            "Gaze mask",
            "Mask and boxes"
        ]
    );
    assert_eq!(data.reference, Some(BoxKind::Truth));

    let cells = &data.rows[0].cells;
    // A single head is shown as captured.
    let head = &cells[2].map.as_ref().unwrap().map;
    assert!((head.values[COLS + 2] - f64::from(0.1f32 + 0.15 * 2.0)).abs() < 1e-6);
    assert!(cells[2].picture.is_none());
    let mean = &cells[1].map.as_ref().unwrap().map;
    assert!((mean.values[COLS + 2] - 0.325).abs() < 1e-6);
    // The mask is the target patch, which is the ground-truth box.
    let numbers = cells[4].numbers.unwrap();
    assert!((numbers.iou.unwrap() - 1.0).abs() < 1e-6 && numbers.hit);
    assert_eq!(cells[4].mask.as_ref().unwrap().first.count(), 1);
    assert!(cells[3].mask.as_ref().unwrap().is_spotlight && cells[3].boxes.is_empty());
    let kinds: Vec<BoxKind> = cells[4].boxes.iter().map(|(k, _)| *k).collect();
    assert_eq!(kinds, [BoxKind::Detector, BoxKind::Truth]);

    let arm = &data.provenance.arms[0];
    assert_eq!(arm.model, "test-vla");
    assert_eq!(arm.heads.len(), 1);
    assert_eq!(arm.heads_from, "voted over the 2 frames shown");
    assert_eq!(data.provenance.frames[1].step, 4);
    let line = data.provenance.line();
    assert!(
        line.contains("model test-vla, good, query read-out") && line.contains("data table"),
        "{line}"
    );
    assert!(!line.contains("/runs"), "{line}");
    render(&data, &recipe().style).unwrap();
}

#[test]
fn a_model_is_looked_through_under_the_forward_pass_of_its_arm() {
    let mut recipe = recipe();
    recipe.arms = vec![arm("other")];
    let shown = |recipe: &Recipe| {
        resolve(recipe, &mut Models::default()).map(|data| data.rows[0].cells[4].numbers)
    };
    assert!(!shown(&recipe).unwrap().unwrap().hit);
    recipe.arms[0].selection.forward = Forward::TowardInstruction(2.0);
    assert!(shown(&recipe).unwrap().unwrap().hit);
    // What was recorded is what it is.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("captures.safetensors");
    attncap::write(&path, &[capture(2, 1, 2), capture(4, 1, 2)]).unwrap();
    recipe.arms[0].look = Look::Captures(path);
    let error = shown(&recipe).unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    assert!(
        cause.unwrap_or_default().contains("recorded forward pass"),
        "{error}"
    );
}

#[test]
fn two_arms_are_named_and_can_be_subtracted() {
    let mut recipe = recipe();
    recipe.arms.push(arm("other"));
    recipe.columns = vec![
        column(Content::HeatMap(MapChoice::Selected)),
        Column {
            arm: 1,
            ..column(Content::HeatMap(MapChoice::Selected))
        },
        column(Content::Difference {
            map: MapChoice::Selected,
            minus: 1,
        }),
    ];
    let data = resolve(&recipe, &mut Models::default()).unwrap();
    assert_eq!(data.columns[1].arm.as_deref(), Some("other"));
    assert_eq!(data.columns[2].title, "Selected heads: good − other");
    let difference = data.rows[0].cells[2].map.as_ref().unwrap();
    assert!(difference.is_signed);
    assert!(difference.map.values[COLS + 2] > 0.1 && difference.map.values[3 * COLS + 5] < -0.1);
    assert!(!data.rows[0].cells[1].numbers.unwrap().hit);
    let svg = render(&data, &recipe.style).unwrap();
    assert!(
        svg.svg().contains("−0.2"),
        "the scale of differences is centred at zero"
    );
}

#[test]
fn captures_come_from_files_with_and_without_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gaze.safetensors");
    attncap::write(&path, &[capture(3, 1, 2), capture(7, 0, 0)]).unwrap();
    let mut recipe = recipe();
    recipe.arms[0].look = Look::Captures(path.clone());
    recipe.arms[0].heads = Some(vec![HeadId { layer: 1, head: 1 }]);
    recipe.columns = vec![
        column(Content::Map(MapChoice::Selected)),
        column(Content::Compare(MapChoice::Selected)),
    ];
    recipe.frames = vec![
        Frame {
            step: 7,
            ..Frame::default()
        },
        Frame {
            step: 3,
            ..Frame::default()
        },
        Frame {
            capture: Some(1),
            ..Frame::default()
        },
    ];
    let data = resolve(&recipe, &mut FilesOnly).unwrap();
    assert_eq!(data.rows[0].label, "“push the block” · step 8");
    // Without pictures there is no ground truth; the box in the file counts.
    assert_eq!(data.reference, Some(BoxKind::Detector));
    let hits: Vec<bool> = data
        .rows
        .iter()
        .map(|r| r.cells[1].numbers.unwrap().hit)
        .collect();
    assert_eq!(hits, [false, true, false]);
    assert_eq!(data.provenance.arms[0].heads, ["L7H1"]);
    assert_eq!(data.provenance.arms[0].source, "gaze.safetensors");
    render(&data, &recipe.style).unwrap();

    let refuse = |change: &dyn Fn(&mut Recipe), wanted: &str| {
        let mut bad = recipe.clone();
        change(&mut bad);
        let error = resolve(&bad, &mut FilesOnly).err().unwrap();
        let text = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ");
        assert!(text.contains(wanted), "{text}");
    };
    refuse(
        &|r| r.frames[1].step = 5,
        "row 2 of the figure: no capture of step 5",
    );
    refuse(&|r| r.frames[2].capture = Some(9), "row 3");
    refuse(
        &|r| r.columns[0].content = Content::Picture,
        "there is no picture",
    );
    refuse(
        &|r| r.columns[0].content = Content::Map(MapChoice::Head(HeadId { layer: 9, head: 0 })),
        "no head 0 of layer 9",
    );
    refuse(
        &|r| r.arms[0].heads = Some(vec![HeadId { layer: 9, head: 0 }]),
        "layer 9",
    );
    refuse(&|r| r.arms[0].look = Look::Nothing, "nothing to look with");
    refuse(
        &|r| r.arms[0].look = Look::Checkpoint("m".into()),
        "name a dataset",
    );
    refuse(
        &|r| r.arms[0].look = Look::Captures("none.safetensors".into()),
        "none.safetensors",
    );
    refuse(
        &|r| r.arms[0].selection.query = grounding::QuerySelector::Token("carrot".into()),
        "carrot",
    );
}

#[test]
fn what_cannot_be_had_names_its_row() {
    let refuse = |change: &dyn Fn(&mut Recipe), wanted: &str| {
        let mut bad = recipe();
        change(&mut bad);
        let error = resolve(&bad, &mut Models::default()).err().unwrap();
        assert!(error.to_string().contains(wanted), "{error}");
    };
    refuse(
        &|r| r.frames[1].camera = "back".into(),
        "row 2 of the figure: there is no camera `back`; there are static, wrist",
    );
    refuse(
        &|r| r.frames[1].camera = "wrist".into(),
        "does not look at camera",
    );
    refuse(
        &|r| r.frames[0].dataset = "chair".into(),
        "row 1 of the figure: cannot open the dataset",
    );
    refuse(
        &|r| r.frames[0].step = 99,
        "row 1 of the figure: cannot read episode 1, step 99",
    );
    let cancelled = resolve(
        &recipe(),
        &mut Models {
            cancelled: true,
            ..Models::default()
        },
    );
    assert!(matches!(cancelled, Err(Error::Cancelled)));
}

#[test]
fn the_reference_is_one_for_the_whole_figure() {
    let kind = |reference| {
        resolve(
            &Recipe {
                reference,
                ..recipe()
            },
            &mut Models::default(),
        )
        .unwrap()
        .reference
    };
    assert_eq!(kind(Reference::Auto), Some(BoxKind::Truth));
    assert_eq!(kind(Reference::Truth), Some(BoxKind::Truth));
    assert_eq!(kind(Reference::Detector), Some(BoxKind::Detector));
}
