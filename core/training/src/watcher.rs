//! All runs below some folders, as they are now, wherever their trainers were started.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use notify::{RecursiveMode, Watcher as _};
use parking_lot::Mutex;

use crate::control::Status;
use crate::error::{Error, Result};
use crate::metrics::{MetricRow, MetricsReader};
use crate::run_dir::RunDir;
use crate::spec::RunSpec;
use crate::state::Wish;

/// File systems shared over a network tell nobody about changes made elsewhere; so folders are also read this often.
const POLL: Duration = Duration::from_secs(2);
/// Changes come in bursts; one reading answers all of a burst.
const SETTLE: Duration = Duration::from_millis(100);
/// Runs lie in the folder, in its folders (`runs/pilot`), or in theirs (`runs/sweep/seed-3`).
const DEPTH: usize = 2;
/// Somebody may point at a home folder.
const MAX_FOLDERS: usize = 5_000;

/// One run, as read from its directory.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// The run directory.
    pub dir: PathBuf,
    /// The run's name, or the folder's where `run.ron` cannot be read.
    pub name: String,
    /// What the run is; `Err` holds the reason and its causes why its files cannot be read.
    pub state: Result<RunView, Vec<String>>,
}

/// The readable part of a [`RunSummary`].
#[derive(Clone, Debug, PartialEq)]
pub struct RunView {
    /// What was asked.
    pub spec: Arc<RunSpec>,
    /// Where the run stands.
    pub status: Status,
    /// What the user wants.
    pub wish: Wish,
    /// All metrics so far.
    pub metrics: Arc<[MetricRow]>,
    /// Steps of the complete checkpoints, oldest first.
    pub checkpoints: Vec<u64>,
    /// Steps with attention captures of the probe frames, oldest first.
    pub probes: Vec<u64>,
}

impl RunSummary {
    /// The readable part, `None` where the run's files cannot be read.
    pub fn view(&self) -> Option<&RunView> {
        self.state.as_ref().ok()
    }
}

/// Keeps a list of all runs below some folders up to date from a thread of its own.
///
/// The list is a latest-value slot: readers take what is newest and never wait for the file system.
pub struct Watcher {
    shared: Arc<Shared>,
    wake: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    roots: Mutex<Vec<PathBuf>>,
    runs: Mutex<Arc<Vec<RunSummary>>>,
    closing: std::sync::atomic::AtomicBool,
}

impl Shared {
    fn is_closing(&self) -> bool {
        self.closing.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Waits for `least`, then until something happens or it is time to look; not at all when the watcher closes.
    fn rest(&self, woken: &Receiver<()>, least: Duration) {
        let until = Instant::now() + least;
        let mut deadline = until + POLL;
        while !self.is_closing() {
            match woken.recv_deadline(deadline) {
                // What else happens until then is seen by the same reading.
                Ok(()) if Instant::now() < until => deadline = until,
                _ => return,
            }
        }
    }
}

impl Watcher {
    /// Watches `roots`. `on_change` is called from the watcher's thread after the list has changed, say to ask for
    /// a repaint.
    ///
    /// # Errors
    /// When the thread cannot be started. Without file notifications the folders are polled.
    pub fn new(roots: Vec<PathBuf>, on_change: impl Fn() + Send + 'static) -> Result<Self> {
        let shared = Arc::new(Shared {
            roots: Mutex::new(roots),
            runs: Mutex::default(),
            closing: false.into(),
        });
        // One pending wake-up is enough: the reading that answers it sees everything.
        let (wake, woken) = bounded(1);
        let scanner = Scanner {
            shared: shared.clone(),
            known: BTreeMap::new(),
            is_cut: false,
            notifier: Notifier::new(wake.clone()),
        };
        let thread = std::thread::Builder::new()
            .name("run-watcher".into())
            .spawn(move || scanner.run(&woken, on_change))
            .map_err(|source| Error::Worker {
                thread: "run-watcher",
                why: source.to_string(),
            })?;
        Ok(Self {
            shared,
            wake,
            thread: Some(thread),
        })
    }

    /// The newest list, sorted by path.
    pub fn runs(&self) -> Arc<Vec<RunSummary>> {
        self.shared.runs.lock().clone()
    }

    /// Watches other folders from now on.
    pub fn set_roots(&self, roots: Vec<PathBuf>) {
        *self.shared.roots.lock() = roots;
        self.refresh();
    }

    /// Reads the folders soon, without waiting for a notification.
    pub fn refresh(&self) {
        // A full channel means that a wake-up is pending already.
        let _pending = self.wake.try_send(());
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared
            .closing
            .store(true, std::sync::atomic::Ordering::Relaxed);
        self.refresh();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::warn!("the run watcher panicked");
        }
    }
}

struct Scanner {
    shared: Arc<Shared>,
    known: BTreeMap<PathBuf, Known>,
    /// Whether there were too many folders the last time; told once when that begins.
    is_cut: bool,
    notifier: Notifier,
}

/// What is kept of a run between two readings.
struct Known {
    run: RunDir,
    reader: MetricsReader,
    metrics: Arc<[MetricRow]>,
}

impl Scanner {
    fn run(mut self, woken: &Receiver<()>, on_change: impl Fn()) {
        while !self.shared.is_closing() {
            let started = Instant::now();
            let roots = self.shared.roots.lock().clone();
            let folders = find_runs(&roots, MAX_FOLDERS);
            if folders.is_cut && !self.is_cut {
                tracing::warn!("too many folders to look for runs in all of them");
            }
            self.is_cut = folders.is_cut;
            self.known.retain(|path, _| folders.runs.contains(path));
            let runs: Vec<_> = folders.runs.iter().map(|path| self.read(path)).collect();
            self.notifier.follow(folders);
            let changed = {
                let mut slot = self.shared.runs.lock();
                let changed = !same_but_for_heartbeat(&slot, &runs);
                *slot = Arc::new(runs);
                changed
            };
            if changed {
                on_change();
            }
            // Never busier than half of the time, however many runs there are.
            self.shared.rest(woken, SETTLE.max(started.elapsed()));
        }
    }

    fn read(&mut self, path: &Path) -> RunSummary {
        let name = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned();
        match self.view(path) {
            Ok(view) => RunSummary {
                dir: path.to_owned(),
                name: view.spec.name.clone(),
                state: Ok(view),
            },
            Err(error) => RunSummary {
                dir: path.to_owned(),
                name,
                state: Err(error.chain()),
            },
        }
    }

    fn view(&mut self, path: &Path) -> Result<RunView> {
        let known = match self.known.entry(path.to_owned()) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let run = RunDir::open(path)?;
                place.insert(Known {
                    reader: run.metrics_reader(),
                    metrics: Arc::new([]),
                    run,
                })
            }
        };
        let rows = known.reader.poll()?;
        if rows != &*known.metrics {
            known.metrics = rows.into();
        }
        let steps = |folders: Vec<(u64, PathBuf)>| folders.into_iter().map(|(step, _)| step);
        Ok(RunView {
            spec: known.run.spec().clone(),
            status: known.run.status()?,
            wish: known.run.control()?.wish,
            metrics: known.metrics.clone(),
            checkpoints: steps(known.run.checkpoints()?).collect(),
            probes: steps(known.run.probes()?).collect(),
        })
    }
}

/// Signs of life alone are no reason to paint.
fn same_but_for_heartbeat(old: &[RunSummary], new: &[RunSummary]) -> bool {
    old.len() == new.len()
        && old.iter().zip(new).all(|(old, new)| {
            let (Ok(a), Ok(b)) = (&old.state, &new.state) else {
                return old == new;
            };
            let status = Status {
                heartbeat: a.status.heartbeat,
                ..b.status.clone()
            };
            old.dir == new.dir
                && a.status == status
                && a.wish == b.wish
                && a.checkpoints == b.checkpoints
                && a.probes == b.probes
                && Arc::ptr_eq(&a.metrics, &b.metrics)
                && Arc::ptr_eq(&a.spec, &b.spec)
        })
}

/// Folders worth watching.
#[derive(Default)]
struct Folders {
    runs: BTreeSet<PathBuf>,
    others: BTreeSet<PathBuf>,
    /// Whether there are more.
    is_cut: bool,
}

fn find_runs(roots: &[PathBuf], most: usize) -> Folders {
    let mut found = Folders::default();
    let mut open: Vec<(PathBuf, usize)> = roots.iter().map(|root| (root.clone(), 0)).collect();
    while let Some((folder, depth)) = open.pop() {
        if found.runs.len() + found.others.len() >= most {
            found.is_cut = true;
            break;
        }
        if RunDir::is_run(&folder) {
            found.runs.insert(folder);
            continue;
        }
        // A root may not exist yet, and a folder may vanish or be closed to us.
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        if depth < DEPTH {
            for entry in entries.flatten() {
                let hidden = entry.file_name().to_string_lossy().starts_with('.');
                if !hidden && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    open.push((entry.path(), depth + 1));
                }
            }
        }
        found.others.insert(folder);
    }
    found
}

/// File notifications for a changing set of folders, where the system has them.
struct Notifier {
    watcher: Option<notify::RecommendedWatcher>,
    followed: BTreeSet<PathBuf>,
}

impl Notifier {
    fn new(wake: Sender<()>) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading must not wake us again.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                let _pending = wake.try_send(());
            }
        });
        Self {
            watcher: watcher
                .inspect_err(|error| tracing::warn!("no file notifications, polling: {error}"))
                .ok(),
            followed: BTreeSet::new(),
        }
    }

    fn follow(&mut self, folders: Folders) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let wanted: BTreeSet<PathBuf> = folders.runs.into_iter().chain(folders.others).collect();
        for gone in self.followed.difference(&wanted) {
            // A deleted folder has taken its watch with it.
            let _gone = watcher.unwatch(gone);
        }
        let followed = &self.followed;
        // What cannot be watched, for lack of handles say, is polled and tried again next time.
        self.followed = wanted
            .into_iter()
            .filter(|path| {
                followed.contains(path) || watcher.watch(path, RecursiveMode::NonRecursive).is_ok()
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::RunRequest;

    fn spec() -> RunSpec {
        RunSpec::from_request(&RunRequest {
            objective: "action",
            size: "nano",
            data: "tabletop:object?episodes=4",
            cameras: Vec::new(),
            steps: Some(10),
            seed: 1,
            device: "cpu",
        })
        .unwrap()
    }

    fn wait_for(watcher: &Watcher, what: impl Fn(&[RunSummary]) -> bool) {
        let started = Instant::now();
        while !what(&watcher.runs()) {
            assert!(started.elapsed() < Duration::from_secs(20), "not seen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn runs_appear_change_and_vanish_by_themselves() {
        let root = tempfile::tempdir().unwrap();
        let watcher = Watcher::new(vec![root.path().to_owned()], || {}).unwrap();
        let run = RunDir::create(&root.path().join("sweep/seed-1"), &spec()).unwrap();
        wait_for(&watcher, |runs| runs.len() == 1);
        assert_eq!(watcher.runs()[0].dir, run.path());
        run.set_wish(Wish::Stop).unwrap();
        wait_for(&watcher, |runs| {
            runs[0].view().unwrap().status.state == crate::State::Stopped
        });
        fs::remove_dir_all(run.path()).unwrap();
        wait_for(&watcher, <[_]>::is_empty);
    }

    #[test]
    fn a_resting_watcher_closes_at_once() {
        let shared = Shared {
            roots: Mutex::default(),
            runs: Mutex::default(),
            closing: false.into(),
        };
        let (wake, woken) = bounded(1);
        let started = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| shared.rest(&woken, Duration::from_secs(600)));
            // A burst of changes does not end the rest.
            for _ in 0..3 {
                wake.send(()).unwrap();
            }
            shared
                .closing
                .store(true, std::sync::atomic::Ordering::Relaxed);
            let _pending = wake.try_send(());
        });
        assert!(started.elapsed() < Duration::from_secs(60));
        // Something that happened meanwhile ends it when its time has come.
        shared
            .closing
            .store(false, std::sync::atomic::Ordering::Relaxed);
        let started = Instant::now();
        wake.try_send(()).ok();
        shared.rest(&woken, Duration::from_millis(50));
        assert!((Duration::from_millis(50)..POLL).contains(&started.elapsed()));
    }

    #[test]
    fn too_many_folders_are_cut_off() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let roots = [root.path().to_owned()];
        assert!(find_runs(&roots, 3).is_cut);
        assert!(!find_runs(&roots, 4).is_cut);
    }

    #[test]
    fn an_unreadable_run_says_why() {
        let root = tempfile::tempdir().unwrap();
        let run = root.path().join("broken");
        fs::create_dir(&run).unwrap();
        fs::write(run.join("run.ron"), "(version: 99, everything: New)").unwrap();
        let watcher = Watcher::new(vec![root.path().to_owned()], || {}).unwrap();
        wait_for(&watcher, |runs| runs.len() == 1);
        let runs = watcher.runs();
        let why = runs[0].state.as_ref().unwrap_err().join(": ");
        assert!(why.contains("newer Gazelab"), "{why}");
        assert_eq!(runs[0].name, "broken");
    }
}
