//! Speed of the benchmark: `cargo bench -p tabletop`.

#![allow(missing_docs, reason = "a bench has no API")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tabletop::{Camera, Environment, Expert, Generated, Recipe, Suite, World};

/// Control steps of the expert, started anew when it is done.
struct Player {
    seed: u64,
    world: World,
    expert: Expert,
}

impl Player {
    fn new(seed: u64) -> Self {
        let suite = Suite::ALL[seed as usize % Suite::ALL.len()];
        let world = World::new(suite, Environment::A, seed);
        let expert = Expert::new(&world);
        Self {
            seed,
            world,
            expert,
        }
    }

    fn step(&mut self) {
        let action = self.expert.act(&self.world);
        self.world.step(action);
        if self.world.outcome().success {
            *self = Self::new(self.seed + 1);
        }
    }
}

fn speed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("control steps on one thread");
    group.throughput(Throughput::Elements(1));
    let mut player = Player::new(0);
    group.bench_function("physics only", |b| b.iter(|| player.step()));
    group.bench_function("physics and both cameras", |b| {
        b.iter(|| {
            player.step();
            black_box(player.world.observe())
        });
    });
    group.bench_function("static camera only", |b| {
        b.iter(|| black_box(player.world.render(Camera::Static)));
    });
    group.bench_function("gripper camera only", |b| {
        b.iter(|| black_box(player.world.render(Camera::Gripper)));
    });
    group.finish();

    let mut group = criterion.benchmark_group("expert episodes on all threads");
    let episodes = 300;
    group.sample_size(10);
    group.throughput(Throughput::Elements(episodes as u64));
    group.bench_function("simulate 300", |b| {
        b.iter(|| {
            Generated::new(Recipe {
                episodes,
                ..Recipe::default()
            })
        });
    });
    group.finish();
}

criterion_group!(benches, speed);
criterion_main!(benches);
