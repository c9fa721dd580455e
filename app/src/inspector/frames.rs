//! Decoded frames: the one under the cursor first, then those around it.

use super::latest::Latest;
use crate::worker::{guard, spawn_worker};
use episode::{Image, PixelMask, Region, SharedDataset};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of decoded pictures and masks kept.
const CACHE_BYTES: usize = 256 << 20;

/// Steps decoded ahead of the cursor, and half as many behind it, once the wanted frame is there.
const PREFETCH: usize = 16;

/// One picture with its exact masks, where the dataset has them.
#[derive(Clone, Debug)]
pub struct CameraFrame {
    /// The picture.
    pub image: Arc<Image>,
    /// Pixels of the target.
    pub target: Option<Arc<PixelMask>>,
    /// Pixels of the goal.
    pub goal: Option<Arc<PixelMask>>,
}

impl CameraFrame {
    fn decode(dataset: &SharedDataset, at: Place) -> anyhow::Result<Self> {
        let image = dataset.image(at.episode, at.step, at.camera)?;
        let mut frame = Self {
            image,
            target: None,
            goal: None,
        };
        if dataset.info().has_masks {
            frame.target = dataset.mask(at.episode, at.step, at.camera, Region::Target)?;
            frame.goal = dataset.mask(at.episode, at.step, at.camera, Region::Goal)?;
        }
        Ok(frame)
    }

    fn bytes(&self) -> usize {
        let mask = |m: &Option<Arc<PixelMask>>| m.as_ref().map_or(0, |m| m.bits.len());
        self.image.rgb.len() + mask(&self.target) + mask(&self.goal)
    }
}

/// Which picture of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Episode index.
    pub episode: usize,
    /// Step within the episode.
    pub step: usize,
    /// Camera index.
    pub camera: usize,
}

/// What is known of a picture that was asked for.
#[derive(Clone)]
pub enum FrameState {
    /// It is decoded.
    Ready(CameraFrame),
    /// It cannot be decoded.
    Failed(Arc<anyhow::Error>),
}

/// What the window wants to see.
#[derive(Clone)]
pub struct FrameRequest {
    /// The dataset; another one empties the cache.
    pub dataset: SharedDataset,
    /// Episode index.
    pub episode: usize,
    /// Step within the episode.
    pub step: usize,
    /// Number of steps of the episode, where it is known: the bound of decoding ahead.
    pub length: Option<usize>,
    /// The inspected camera, decoded before the others.
    pub camera: usize,
}

impl FrameRequest {
    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.dataset, &other.dataset)
            && (self.episode, self.step, self.camera, self.length)
                == (other.episode, other.step, other.camera, other.length)
    }
}

/// The decoder thread ("frames") and its bounded cache.
pub struct Frames {
    shared: Arc<Shared>,
    last: Option<FrameRequest>,
}

struct Shared {
    inbox: Latest<FrameRequest>,
    cache: Mutex<Cache>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Frames {
    /// Starts the thread. `wake` is called whenever a wanted frame has arrived.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            inbox: Latest::default(),
            cache: Mutex::new(Cache::default()),
            wake: Box::new(wake),
        });
        let body = {
            let shared = shared.clone();
            move || shared.run()
        };
        spawn_worker("frames", body, |error| {
            tracing::error!("the decoder ended: {error:#}");
        })?;
        Ok(Self { shared, last: None })
    }

    /// Asks for a frame of all cameras. Newest wins: an older wish that was not yet begun is forgotten.
    pub fn request(&mut self, request: FrameRequest) {
        if self.last.as_ref().is_some_and(|last| last.same(&request)) {
            return;
        }
        self.last = Some(request.clone());
        self.shared.inbox.put(request);
    }

    /// Forgets everything: the dataset was closed.
    pub fn clear(&mut self) {
        self.last = None;
        self.shared.inbox.take();
        *self.shared.cache.lock() = Cache::default();
    }

    /// The picture, if it is there. Never waits for the decoder.
    pub fn get(&self, dataset: &SharedDataset, place: Place) -> Option<FrameState> {
        self.shared.cache.lock().get(dataset, place)
    }

    /// How long the last wanted frame took from request to ready, all cameras.
    pub fn latency(&self) -> Option<Duration> {
        self.shared.cache.lock().latency
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.shared.inbox.close();
    }
}

impl Shared {
    fn run(&self) {
        let mut before: Option<(usize, usize)> = None;
        while let Some(request) = self.inbox.wait() {
            let began = Instant::now();
            let cameras = request.dataset.info().cameras.len();
            let order = || {
                std::iter::once(request.camera).chain((0..cameras).filter(|c| *c != request.camera))
            };
            for camera in order().filter(|c| *c < cameras) {
                // The inspected camera is shown as soon as it is there.
                if self.decode(&request, request.step, camera) {
                    (self.wake)();
                }
            }
            self.cache.lock().latency = Some(began.elapsed());
            let backwards = before
                .is_some_and(|(episode, step)| episode == request.episode && step > request.step);
            for step in around(request.step, request.length, backwards) {
                for camera in order().filter(|c| *c < cameras) {
                    if self.inbox.interrupts() {
                        break;
                    }
                    self.decode(&request, step, camera);
                }
            }
            before = Some((request.episode, request.step));
        }
    }

    /// Decodes one picture unless it is there already; whether it had to.
    fn decode(&self, request: &FrameRequest, step: usize, camera: usize) -> bool {
        let place = Place {
            episode: request.episode,
            step,
            camera,
        };
        if self.cache.lock().get(&request.dataset, place).is_some() {
            return false;
        }
        let state = match guard(|| CameraFrame::decode(&request.dataset, place)) {
            Ok(frame) => FrameState::Ready(frame),
            Err(error) => FrameState::Failed(Arc::new(error)),
        };
        self.cache.lock().insert(&request.dataset, place, state);
        true
    }
}

/// The steps near `step`, those in the direction of travel first and twice as many. Unknown length: none.
fn around(step: usize, length: Option<usize>, backwards: bool) -> Vec<usize> {
    let length = length.unwrap_or(0);
    let (ahead, behind) = if backwards {
        (PREFETCH / 2, PREFETCH)
    } else {
        (PREFETCH, PREFETCH / 2)
    };
    let forward = (1..=ahead).map(|d| step + d).filter(|s| *s < length);
    let back = (1..=behind)
        .filter_map(|d| step.checked_sub(d))
        .filter(|s| *s < length);
    if backwards {
        back.chain(forward).collect()
    } else {
        forward.chain(back).collect()
    }
}

#[derive(Default)]
struct Cache {
    dataset: Option<SharedDataset>,
    entries: HashMap<Place, (FrameState, u64)>,
    bytes: usize,
    clock: u64,
    latency: Option<Duration>,
}

impl Cache {
    fn is_of(&self, dataset: &SharedDataset) -> bool {
        self.dataset
            .as_ref()
            .is_some_and(|d| Arc::ptr_eq(d, dataset))
    }

    fn get(&mut self, dataset: &SharedDataset, place: Place) -> Option<FrameState> {
        if !self.is_of(dataset) {
            return None;
        }
        self.clock += 1;
        let (state, used) = self.entries.get_mut(&place)?;
        *used = self.clock;
        Some(state.clone())
    }

    fn insert(&mut self, dataset: &SharedDataset, place: Place, state: FrameState) {
        if !self.is_of(dataset) {
            *self = Self {
                dataset: Some(dataset.clone()),
                latency: self.latency,
                ..Self::default()
            };
        }
        self.clock += 1;
        self.bytes += cost(&state);
        if let Some((old, _)) = self.entries.insert(place, (state, self.clock)) {
            self.bytes -= cost(&old);
        }
        if self.bytes > CACHE_BYTES {
            let mut by_use: Vec<(u64, Place)> = self
                .entries
                .iter()
                .map(|(place, (_, used))| (*used, *place))
                .collect();
            by_use.sort_unstable_by_key(|(used, _)| *used);
            // A quarter at once, so that this is rare; the newest entry always stays.
            by_use.pop();
            for (_, place) in by_use {
                if self.bytes <= CACHE_BYTES / 4 * 3 {
                    break;
                }
                if let Some((old, _)) = self.entries.remove(&place) {
                    self.bytes -= cost(&old);
                }
            }
        }
    }
}

/// Bytes an entry is charged for; a failure costs little and not nothing.
fn cost(state: &FrameState) -> usize {
    match state {
        FrameState::Ready(frame) => frame.bytes() + 256,
        FrameState::Failed(_) => 256,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakeDataset;
    use super::*;

    fn wait_for(frames: &Frames, dataset: &SharedDataset, place: Place) -> FrameState {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(state) = frames.get(dataset, place) {
                return state;
            }
            assert!(Instant::now() < deadline, "{place:?} never came");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn the_newest_wish_is_served_and_old_ones_are_forgotten() {
        let fake = Arc::new(FakeDataset::new(4, 400).slow(Duration::from_millis(5)));
        let dataset: SharedDataset = fake.clone();
        let mut frames = Frames::new(|| {}).unwrap();
        for step in 0..300 {
            frames.request(FrameRequest {
                dataset: dataset.clone(),
                episode: 1,
                step,
                length: None,
                camera: 0,
            });
        }
        let place = Place {
            episode: 1,
            step: 299,
            camera: 0,
        };
        assert!(matches!(
            wait_for(&frames, &dataset, place),
            FrameState::Ready(_)
        ));
        // 300 frames of two cameras would have been 600 pictures.
        assert!(fake.decoded() < 100, "{}", fake.decoded());
    }

    #[test]
    fn neighbours_are_decoded_ahead_and_errors_are_kept() {
        let fake = Arc::new(FakeDataset::new(4, 40));
        let dataset: SharedDataset = fake.clone();
        let mut frames = Frames::new(|| {}).unwrap();
        frames.request(FrameRequest {
            dataset: dataset.clone(),
            episode: 0,
            step: 10,
            length: Some(40),
            camera: 1,
        });
        for step in [10, 11, 26, 9, 2] {
            wait_for(
                &frames,
                &dataset,
                Place {
                    episode: 0,
                    step,
                    camera: 0,
                },
            );
        }
        frames.request(FrameRequest {
            dataset: dataset.clone(),
            episode: 99,
            step: 0,
            length: None,
            camera: 0,
        });
        let place = Place {
            episode: 99,
            step: 0,
            camera: 0,
        };
        assert!(matches!(
            wait_for(&frames, &dataset, place),
            FrameState::Failed(_)
        ));
        // Another dataset empties the cache.
        let other: SharedDataset = Arc::new(FakeDataset::new(1, 1));
        assert!(
            frames
                .get(
                    &other,
                    Place {
                        episode: 0,
                        step: 10,
                        camera: 0
                    }
                )
                .is_none()
        );
    }

    #[test]
    fn a_panic_of_a_reader_is_a_frame_that_failed() {
        let dataset: SharedDataset = Arc::new(FakeDataset::new(1, 9).broken_at(3));
        let mut frames = Frames::new(|| {}).unwrap();
        let place = |step| Place {
            episode: 0,
            step,
            camera: 0,
        };
        for (step, fails) in [(3, true), (4, false)] {
            frames.request(FrameRequest {
                dataset: dataset.clone(),
                episode: 0,
                step,
                length: None,
                camera: 0,
            });
            let state = wait_for(&frames, &dataset, place(step));
            assert_eq!(matches!(state, FrameState::Failed(_)), fails);
        }
        frames.clear();
        assert!(frames.get(&dataset, place(3)).is_none());
    }

    #[test]
    fn prefetch_looks_where_the_cursor_goes() {
        assert_eq!(around(5, Some(8), false), vec![6, 7, 4, 3, 2, 1, 0]);
        assert_eq!(around(2, Some(5), true), vec![1, 0, 3, 4]);
        assert!(around(5, None, false).is_empty());
    }

    #[test]
    fn the_cache_is_bounded() {
        let dataset: SharedDataset = Arc::new(FakeDataset::new(1, 1));
        let mut cache = Cache::default();
        let image = Arc::new(Image::filled(2048, 1024, [0; 3]));
        for step in 0..200 {
            let frame = CameraFrame {
                image: image.clone(),
                target: None,
                goal: None,
            };
            cache.insert(
                &dataset,
                Place {
                    episode: 0,
                    step,
                    camera: 0,
                },
                FrameState::Ready(frame),
            );
        }
        assert!(cache.bytes <= CACHE_BYTES);
        assert_eq!(
            cache.bytes,
            cache.entries.values().map(|(s, _)| cost(s)).sum::<usize>()
        );
        assert!(
            cache
                .get(
                    &dataset,
                    Place {
                        episode: 0,
                        step: 199,
                        camera: 0
                    }
                )
                .is_some()
        );
        assert!(
            cache
                .get(
                    &dataset,
                    Place {
                        episode: 0,
                        step: 0,
                        camera: 0
                    }
                )
                .is_none()
        );
    }
}
