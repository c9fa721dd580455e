//! Small stand-ins for tests: a dataset of flat pictures and captures with one bright patch.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use episode::{
    CameraInfo, Dataset, DatasetInfo, EpisodeMeta, Error, Image, PixelMask, Region, Result, Signals,
};
use grounding::{Capture, CaptureParts, Grid, Key, Query, TokenRole, View};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Patches of every fake view.
pub const GRID: Grid = Grid { rows: 6, cols: 8 };

/// Episodes of equal length with two cameras; the target is where [`fake_capture`] looks.
pub struct FakeDataset {
    info: DatasetInfo,
    length: usize,
    /// How long a picture takes.
    pub delay: Duration,
    decoded: AtomicUsize,
}

impl FakeDataset {
    pub fn new(episodes: usize, length: usize) -> Self {
        let camera = |name: &str| CameraInfo { name: name.into(), width: 16, height: 12 };
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
        Self { info, length, delay: Duration::ZERO, decoded: AtomicUsize::new(0) }
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
        Ok(EpisodeMeta { index, length: self.length, instruction: "look".into() })
    }

    fn signals(&self, _: usize) -> Result<Arc<Signals>> {
        Ok(Arc::default())
    }

    fn image(&self, episode: usize, step: usize, camera: usize) -> Result<Arc<Image>> {
        std::thread::sleep(self.delay);
        self.decoded.fetch_add(1, Ordering::Relaxed);
        if episode >= self.info.episodes || step >= self.length {
            return Err(Error::OutOfRange { what: "step", index: step, len: self.length, path: PathBuf::new() });
        }
        Ok(Arc::new(Image::filled(16, 12, [step as u8, episode as u8, camera as u8])))
    }

    fn mask(&self, episode: usize, step: usize, _: usize, region: Region) -> Result<Option<Arc<PixelMask>>> {
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

/// The patch that a good head looks at.
pub fn peak(episode: usize, step: usize) -> usize {
    (episode * 7 + step * 3) % GRID.len()
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
        .chain([Key { token: "look".into(), ..Key::default() }])
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
        views: vec![View { name: "static".into(), width: 16, height: 12 }],
        queries: vec![
            Query { position: 0, token: "look".into(), role: TokenRole::Text },
            Query { position: 50, token: "<act>".into(), role: TokenRole::Action },
        ],
        keys,
        attn,
        ..CaptureParts::default()
    })
    .unwrap()
}
