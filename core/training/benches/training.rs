//! Speed of the whole training loop, and where its time goes: `cargo bench -p gazelab-training`.
//!
//! Prints one line per objective: steps per second of `nano` on generated tabletop data with batch 32, processor time
//! per step (on a shared machine the steadier number), and the share of time the loop waited for data. The first
//! steps are left out. Episodes are simulated when they are first drawn, so later steps are somewhat cheaper.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench may fail loudly"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use training::{Event, RunDir, RunRequest, RunSpec, train_until};

/// Same allocator as the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WARM_UP: u64 = 20;
const MEASURED: Duration = Duration::from_secs(15);

fn main() {
    // `cargo bench` and `cargo test --benches` pass options for harnesses that this bench does not have.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    for objective in ["action", "mae:random", "mae:selected"] {
        if wanted.is_empty() || wanted.iter().any(|word| objective.contains(word.as_str())) {
            measure(objective);
        }
    }
}

fn measure(objective: &str) {
    let root = tempfile::tempdir().unwrap();
    let mut spec = RunSpec::from_request(&RunRequest {
        objective,
        size: "nano",
        data: "tabletop:object+spatial+goal?episodes=6000&seed=1",
        cameras: Vec::new(),
        steps: Some(1_000_000),
        seed: 1,
        device: "cpu",
    })
    .unwrap();
    if let model::Objective::Mae(mae) = &mut spec.objective {
        mae.warmup_share = 0.0;
    }
    spec.early_every = 0;
    spec.probes = 0;
    let run = RunDir::create(&root.path().join("run"), &spec).unwrap();
    let enough = AtomicBool::new(false);
    let mut started = None;
    let mut busy = 0.0;
    let (mut steps, mut waited) = (0.0, 0.0);
    train_until(&run, None, &enough, &mut |event| {
        let Event::Row(row) = event else { return };
        if row.step < WARM_UP {
            return;
        }
        let started = *started.get_or_insert_with(|| {
            busy = processor_seconds();
            Instant::now()
        });
        if row.step > WARM_UP {
            let seconds = spec.log_every as f64 / row.steps_per_s;
            steps += spec.log_every as f64;
            waited += seconds * row.data_wait;
            if started.elapsed() >= MEASURED {
                let total = started.elapsed().as_secs_f64();
                println!(
                    "{objective:<13} {:6.2} steps/s, {:4.0} ms of processor per step, {:4.1} % waiting for data",
                    steps / total,
                    1e3 * (processor_seconds() - busy) / steps,
                    100.0 * waited / total,
                );
                enough.store(true, Ordering::Relaxed);
            }
        }
    })
    .unwrap();
}

/// User and system time of this process so far; 0 where the system has no `/proc`.
fn processor_seconds() -> f64 {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else {
        return 0.0;
    };
    // Fields 14 and 15 in hundredths of a second; the name in field 2 may hold spaces.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|field| field.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}
