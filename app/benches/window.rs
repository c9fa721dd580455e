//! What a person at the window waits for: the first frame, a random frame, a moved slider, another frame's mask, the grid
//! of all heads; and what the window costs while nothing changes.
//!
//! `cargo bench --workspace --bench window`. Budgets: 1 s for the first frame, 33 ms for a random frame, 5 ms for a
//! slider, 4 ms for a frame in which nothing changes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "bench")]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use divan::Bencher;
use gazelab::command::Command;
use gazelab::inspector::{FrameState, Inspector, Look, LookInputs, Place, Truth};
use gazelab::jobs::Jobs;
use gazelab::paint::{AtlasLayout, Scale, atlas_image, heat_image};
use gazelab::state::{OpenDataset, WorkbenchState};
use gazelab::workbench::{Options, Workbench};
use grounding::{
    Budget, Capture, CaptureParts, Grid, HeadSelection, Key, MaskRule, Query, Rect, TokenRole, View,
};
use session::{MapChoice, Upsampling};

fn main() {
    divan::main();
}

/// Layers, heads per layer, grid: the nano VLA, and a 7 B model with 28 layers of 28 heads.
const MODELS: [(usize, usize, Grid); 2] = [(4, 4, Grid::new(16, 16)), (28, 28, Grid::new(27, 27))];

/// A capture whose heads look at one to three places each.
fn capture(layers: usize, heads: usize, grid: Grid) -> Arc<Capture> {
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 40) as f32 / (1u64 << 24) as f32
    };
    let mut attn = Vec::with_capacity(layers * heads * grid.len());
    for _ in 0..layers * heads {
        let (row, col) = (next() * grid.rows as f32, next() * grid.cols as f32);
        let map: Vec<f32> = (0..grid.len())
            .map(|p| {
                let (dy, dx) = ((p / grid.cols) as f32 - row, (p % grid.cols) as f32 - col);
                0.1 * next() + (-(dx * dx + dy * dy) / 6.0).exp()
            })
            .collect();
        let scale = (0.2 + 0.7 * next()) / map.iter().sum::<f32>();
        attn.extend(map.iter().map(|v| v * scale));
    }
    let keys = (0..grid.len())
        .map(|p| Key {
            role: TokenRole::Image,
            view: Some(0),
            rect: Some(grid.patch_rect(p)),
            ..Key::default()
        })
        .collect();
    let parts = CaptureParts {
        layers: (0..layers as u32).collect(),
        heads: (0..heads as u32).collect(),
        views: vec![View {
            name: "static".into(),
            width: 224,
            height: 224,
        }],
        queries: vec![Query {
            position: 0,
            token: "action".into(),
            role: TokenRole::Action,
        }],
        keys,
        attn,
        ..CaptureParts::default()
    };
    Arc::new(Capture::new(parts).unwrap())
}

fn inputs(capture: Arc<Capture>, area: f64) -> LookInputs {
    LookInputs {
        capture,
        companions: Default::default(),
        view: 0,
        selection: HeadSelection {
            mask: MaskRule::RegionBudget(Budget::Share(area)),
            ..HeadSelection::default()
        },
        map: MapChoice::Selected,
        heads: None,
        truth: Truth {
            target: Some(Rect::new(0.2, 0.2, 0.4, 0.4)),
            ..Truth::default()
        },
    }
}

/// One move of a slider that changes the mask: mask, box and numbers of the frame in view.
#[divan::bench(args = 0..MODELS.len())]
fn slider_move(bencher: Bencher, model: usize) {
    let (layers, heads, grid) = MODELS[model];
    let before = Look::new(inputs(capture(layers, heads, grid), 0.1), None).unwrap();
    let mut area = 0.1;
    bencher.bench_local(|| {
        area = if area > 0.4 { 0.1 } else { area + 0.01 };
        let moved = inputs(before.inputs.capture.clone(), area);
        black_box(Look::new(moved, Some(&before)).unwrap())
    });
}

/// Another frame: maps of all heads out of the capture, their scores, and the mask.
#[divan::bench(args = 0..MODELS.len())]
fn another_frame(bencher: Bencher, model: usize) {
    let (layers, heads, grid) = MODELS[model];
    let capture = capture(layers, heads, grid);
    bencher.bench_local(|| black_box(Look::new(inputs(capture.clone(), 0.1), None).unwrap()));
}

/// The picture of all heads.
#[divan::bench(args = 0..MODELS.len())]
fn head_grid(bencher: Bencher, model: usize) {
    let (layers, heads, grid) = MODELS[model];
    let look = Look::new(inputs(capture(layers, heads, grid), 0.1), None).unwrap();
    let layout = AtlasLayout::new(grid, layers * heads, 8192).unwrap();
    let scale = Scale {
        low: 0.0,
        high: 0.05,
    };
    bencher.bench_local(|| {
        black_box(atlas_image(
            &look.maps,
            &layout,
            figure::ColorMap::Viridis,
            |_| scale,
        ))
    });
}

/// One heat map, smooth: the dearer of the two.
#[divan::bench]
fn smooth_heat_map(bencher: Bencher) {
    let (layers, heads, grid) = MODELS[1];
    let look = Look::new(inputs(capture(layers, heads, grid), 0.1), None).unwrap();
    let map = look.shown.unwrap();
    let scale = Scale::from_zero(map.values.iter().copied());
    bencher.bench_local(|| {
        black_box(heat_image(
            map.grid,
            &map.values,
            scale,
            figure::ColorMap::Viridis,
            Upsampling::Smooth,
        ))
    });
}

/// From a jump of the cursor to a random frame until the picture of every camera is there.
#[divan::bench(args = ["tabletop:object?episodes=200&env=A&seed=1", "../../shared/data/bridge"], max_time = 5)]
fn scrub_to_a_random_frame(bencher: Bencher, data: &str) {
    let data = match data.strip_prefix("../../") {
        Some(rest) => {
            let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../..")
                .join(rest);
            if !path.exists() {
                eprintln!("not found, skipped: {}", path.display());
                return;
            }
            path.to_string_lossy().into_owned()
        }
        None => data.to_owned(),
    };
    let dataset = tabletop::open(&data).unwrap();
    let context = egui::Context::default();
    let jobs = Jobs::new(context.clone());
    let mut state = WorkbenchState::new(jobs.clone(), model::DeviceChoice::Cpu);
    state.dataset = Some(OpenDataset {
        episodes: vec![None; dataset.info().episodes],
        origin: data,
        boxes: None,
        boxes_beside: None,
        data: dataset.clone(),
    });
    let cameras = dataset.info().cameras.len();
    let mut inspector = Inspector::new(jobs, context);
    let mut commands = Vec::new();
    let mut jump = 1usize;
    bencher.bench_local(|| {
        // Steps of a full cycle through all episodes in an order that nothing can foresee.
        jump = jump.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) % (1 << 32);
        state.cursor.episode = jump % dataset.info().episodes;
        state.cursor.step = (jump >> 16) % dataset.episode(state.cursor.episode).unwrap().length;
        let deadline = Instant::now() + Duration::from_secs(10);
        let place = |camera| Place {
            episode: state.cursor.episode,
            step: state.cursor.step,
            camera,
        };
        loop {
            inspector.update(&state, &mut commands);
            let there = |camera| match inspector.picture(camera) {
                Some(picture) => {
                    assert!(matches!(picture.state, FrameState::Ready(_)));
                    picture.place == place(camera)
                }
                None => false,
            };
            if (0..cameras).all(there) {
                break;
            }
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_micros(100));
        }
    });
}

/// A frame of the whole workbench with the demo open and nothing to do: layout, input and tessellation, all the work of
/// the processor except handing the triangles to the graphics card.
#[divan::bench]
fn frame_in_which_nothing_changes(bencher: Bencher) {
    let mut harness = egui_kittest::Harness::builder()
        .with_size([1280.0, 800.0])
        .build_eframe(|creation| Workbench::new(&creation.egui_ctx, Options::bare()));
    harness.state_mut().send(Command::OpenDemo);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        harness.step();
        let workbench = harness.state();
        if workbench.state().dataset.is_some() && workbench.is_idle() {
            break;
        }
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    harness.run_steps(20);
    bencher.bench_local(|| {
        harness.step();
        let output = harness.output();
        harness
            .ctx
            .tessellate(output.shapes.clone(), output.pixels_per_point)
    });
}

/// From the start of the program until its first frame is on the display: needs one, or `xvfb-run`.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn first_frame(bencher: Bencher) {
    let program = env!("CARGO_BIN_EXE_gazelab");
    let has_display = ["DISPLAY", "WAYLAND_DISPLAY"].map(|name| std::env::var_os(name).is_some());
    let mut command = if has_display.contains(&true) {
        Process::new(program)
    } else {
        let mut virtual_display = Process::new("xvfb-run");
        virtual_display.args(["-a", "-s", "-screen 0 1280x800x24", program]);
        virtual_display
    };
    command.arg("--time-first-frame");
    let mut times = Vec::new();
    bencher.bench_local(|| match command.output() {
        Ok(output) => times.extend(
            String::from_utf8_lossy(&output.stdout)
                .trim()
                .parse::<f64>(),
        ),
        Err(_) => eprintln!("no display and no xvfb-run, skipped"),
    });
    times.sort_by(f64::total_cmp);
    // The table has the whole life of the process, a virtual display included; this is what the program saw.
    if let Some(median) = times.get(times.len() / 2) {
        eprintln!(
            "first frame after {median:.0} ms (median of {})",
            times.len()
        );
    }
}
