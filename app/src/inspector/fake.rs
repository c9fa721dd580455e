//! Small stand-ins for tests: a dataset of flat pictures, captures with one bright patch, and a window without a window.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
#![allow(missing_docs, reason = "tests")]

use super::{Inspector, Prompt};
use crate::capture_file::OpenCaptures;
use crate::command::Command;
use crate::jobs::Jobs;
use crate::log::LogMemory;
use crate::panes::{Pane, PaneContext};
use crate::state::{OpenDataset, Source, WorkbenchState};
use episode::{
    CameraInfo, Dataset, DatasetInfo, EpisodeMeta, Error, Image, PixelMask, Region, Result,
    SharedDataset, Signals,
};
use grounding::{Capture, CaptureParts, Detection, Grid, Key, Query, TokenRole, View};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Patches of every fake view.
pub const GRID: Grid = Grid { rows: 6, cols: 8 };

/// Episodes of equal length with two cameras; the target is where [`fake_capture`] looks.
pub struct FakeDataset {
    info: DatasetInfo,
    length: usize,
    /// How long a picture takes.
    delay: Duration,
    /// The step whose picture panics.
    broken: Option<usize>,
    decoded: AtomicUsize,
    /// Whether something else could be asked for.
    twins: bool,
}

/// What else a fake robot can be told.
pub const OTHER: &str = "look elsewhere";

impl FakeDataset {
    pub fn new(episodes: usize, length: usize) -> Self {
        let camera = |name: &str| CameraInfo {
            name: name.into(),
            width: 16,
            height: 12,
        };
        let info = DatasetInfo {
            format: "fake".into(),
            path: PathBuf::new(),
            name: "fake".into(),
            fps: None,
            episodes,
            frames: episodes * length,
            cameras: vec![camera("static"), camera("gripper")],
            instructions: vec!["look".into()],
            action_names: Vec::new(),
            state_names: Vec::new(),
            has_masks: true,
            warnings: Vec::new(),
        };
        Self {
            info,
            length,
            delay: Duration::ZERO,
            broken: None,
            decoded: AtomicUsize::new(0),
            twins: false,
        }
    }

    /// The same with another instruction for every episode.
    pub fn with_twins(mut self) -> Self {
        self.twins = true;
        self
    }

    /// The same with pictures that take a while.
    pub fn slow(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The same with a picture whose reader panics.
    pub fn broken_at(mut self, step: usize) -> Self {
        self.broken = Some(step);
        self
    }

    pub fn decoded(&self) -> usize {
        self.decoded.load(Ordering::Relaxed)
    }
}

impl Dataset for FakeDataset {
    fn info(&self) -> &DatasetInfo {
        &self.info
    }

    fn episode(&self, index: usize) -> Result<EpisodeMeta> {
        Ok(EpisodeMeta {
            index,
            length: self.length,
            instruction: "look".into(),
        })
    }

    fn other_instruction(&self, _: usize) -> Result<Option<Arc<str>>> {
        Ok(self.twins.then(|| OTHER.into()))
    }

    fn signals(&self, _: usize) -> Result<Arc<Signals>> {
        Ok(Arc::default())
    }

    fn image(&self, episode: usize, step: usize, camera: usize) -> Result<Arc<Image>> {
        std::thread::sleep(self.delay);
        assert_ne!(Some(step), self.broken, "a broken picture");
        self.decoded.fetch_add(1, Ordering::Relaxed);
        if episode >= self.info.episodes || step >= self.length {
            return Err(Error::OutOfRange {
                what: "step",
                index: step,
                len: self.length,
                path: PathBuf::new(),
            });
        }
        Ok(Arc::new(Image::filled(
            16,
            12,
            [step as u8, episode as u8, camera as u8],
        )))
    }

    fn mask(
        &self,
        episode: usize,
        step: usize,
        _: usize,
        region: Region,
    ) -> Result<Option<Arc<PixelMask>>> {
        if region == Region::Goal {
            return Ok(None);
        }
        // Two pixels a patch and side.
        let peak = peak(episode, step);
        let (row, col) = (peak / GRID.cols * 2, peak % GRID.cols * 2);
        let mut mask = PixelMask::empty(16, 12);
        for y in row..row + 2 {
            mask.bits[y * 16 + col..][..2].fill(true);
        }
        Ok(Some(Arc::new(mask)))
    }
}

/// The patch that a good head looks at; never in the bottom row, for which heads are dropped.
pub fn peak(episode: usize, step: usize) -> usize {
    (episode * 7 + step * 3) % (GRID.len() - GRID.cols)
}

/// The same frame under another prompt: the good heads look elsewhere when told something else, and nowhere when told
/// nothing in particular.
pub fn fake_capture_under(episode: usize, step: usize, prompt: Prompt) -> Capture {
    let mut capture = fake_capture(episode, step);
    let keys = capture.keys.len();
    let elsewhere = (peak(episode, step) + 5) % (GRID.len() - GRID.cols);
    let words = match prompt {
        Prompt::AsGiven => return capture,
        Prompt::Swapped => OTHER,
        Prompt::Generic => model::GENERIC_PROMPT,
    };
    let mut attn = capture.attn.to_vec();
    for (index, row) in attn.chunks_mut(keys).enumerate() {
        // Head 1 of layers 3 and 4, second query.
        if [(3 * 4 + 1) * 2 + 1, (4 * 4 + 1) * 2 + 1].contains(&index) {
            match prompt {
                Prompt::Swapped => row.swap(peak(episode, step), elsewhere),
                _ => {
                    let mean = row[..GRID.len()].iter().sum::<f32>() / GRID.len() as f32;
                    row[..GRID.len()].fill(mean);
                }
            }
        }
    }
    capture.attn = attn.into();
    capture.instruction = words.into();
    capture
}

/// 6 layers of 4 heads and two queries. Head 1 of layers 3 and 4 looks at [`peak`]; all others look everywhere.
pub fn fake_capture(episode: usize, step: usize) -> Capture {
    let (layers, heads, queries, patches) = (6u32, 4u32, 2usize, GRID.len());
    let keys: Vec<Key> = (0..patches)
        .map(|p| Key {
            role: TokenRole::Image,
            view: Some(0),
            rect: Some(GRID.patch_rect(p)),
            ..Key::default()
        })
        .chain([Key {
            token: "look".into(),
            ..Key::default()
        }])
        .collect();
    let mut attn = Vec::new();
    for layer in 0..layers {
        for head in 0..heads {
            for query in 0..queries {
                let sharp = head == 1 && (3..5).contains(&layer) && query == 1;
                let base = if sharp { 0.2 } else { 0.4 } / patches as f32;
                let mut row = vec![base; patches];
                if sharp {
                    row[peak(episode, step)] += 0.7;
                } else {
                    // Two far apart bright spots: not one region, so not localised.
                    row[(layer + head) as usize] += 0.1;
                    row[patches - 9 - (layer * heads + head) as usize % 8] += 0.1;
                }
                row.push(1.0 - row.iter().sum::<f32>());
                attn.extend(row);
            }
        }
    }
    Capture::new(CaptureParts {
        model_id: "fake".into(),
        source: format!("episode {episode}"),
        instruction: "look".into(),
        step: step as u64,
        layers: (0..layers).collect(),
        heads: (0..heads).collect(),
        views: vec![View {
            name: "static".into(),
            width: 16,
            height: 12,
        }],
        queries: vec![
            Query {
                position: 0,
                token: "look".into(),
                role: TokenRole::Text,
            },
            Query {
                position: 50,
                token: "<act>".into(),
                role: TokenRole::Action,
            },
        ],
        keys,
        attn,
        ..CaptureParts::default()
    })
    .unwrap()
}

/// The same with a detector box on the target.
fn boxed_capture(episode: usize, step: usize) -> Capture {
    let mut capture = fake_capture(episode, step);
    capture.boxes.push(Detection {
        rect: GRID.patch_rect(peak(episode, step)),
        label: "cube".into(),
        score: 0.9,
        view: 0,
    });
    capture
}

/// A workbench without a window: the state of a fake dataset and capture file, and an inspector that serves it.
pub struct Bench {
    pub state: WorkbenchState,
    pub inspector: Inspector,
    pub log: LogMemory,
    pub sent: Vec<Command>,
}

impl Bench {
    /// Nothing is open.
    pub fn empty() -> Self {
        let context = egui::Context::default();
        let jobs = Jobs::new(context.clone());
        Self {
            state: WorkbenchState::new(jobs.clone(), model::DeviceChoice::Cpu),
            inspector: Inspector::new(jobs, context),
            log: LogMemory::default(),
            sent: Vec::new(),
        }
    }

    /// A file with captures of 24 episodes, which carry a box each.
    pub fn captures() -> Self {
        let mut bench = Self::empty();
        let captures = (0..24).map(|episode| boxed_capture(episode, 2)).collect();
        bench.state.source = Source::Captures {
            path: "fake.safetensors".into(),
            captures: Arc::new(OpenCaptures::new(captures)),
        };
        bench
    }

    /// The same with a dataset behind it, so that there are pictures and exact masks.
    pub fn dataset() -> Self {
        let mut bench = Self::captures();
        let data: SharedDataset = Arc::new(FakeDataset::new(1, 24));
        let captures = (0..24).map(|step| boxed_capture(0, step)).collect();
        bench.state.source = Source::Captures {
            path: "fake.safetensors".into(),
            captures: Arc::new(OpenCaptures::new(captures)),
        };
        let meta = data.episode(0).unwrap();
        bench.state.dataset = Some(OpenDataset {
            data,
            origin: "fake".into(),
            boxes_beside: None,
            boxes: None,
            episodes: vec![Some(meta)],
        });
        bench
    }

    /// One frame of the window as far as the inspector is concerned.
    pub fn update(&mut self) {
        self.inspector.update(&self.state, &mut self.sent);
    }

    /// Frames until `done`.
    pub fn update_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            self.update();
            if done(self) {
                return;
            }
            assert!(Instant::now() < deadline, "{what} never came");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Draws a pane.
    pub fn show(&mut self, pane: &mut dyn Pane, ui: &mut egui::Ui) {
        let Self {
            state,
            inspector,
            log,
            sent,
        } = self;
        pane.ui(
            ui,
            &mut PaneContext {
                state,
                inspector,
                log,
                commands: sent,
            },
        );
    }
}
