//! Speed of the benchmark: `cargo bench -p gazelab-tabletop`.

use divan::Bencher;
use divan::counter::ItemsCount;
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

/// One item is one control step, on one thread.
#[divan::bench]
fn physics_only(bencher: Bencher) {
    let mut player = Player::new(0);
    bencher
        .counter(ItemsCount::new(1u32))
        .bench_local(|| player.step());
}

#[divan::bench]
fn physics_and_both_cameras(bencher: Bencher) {
    let mut player = Player::new(0);
    bencher.counter(ItemsCount::new(1u32)).bench_local(|| {
        player.step();
        black_box(player.world.observe())
    });
}

#[divan::bench]
fn static_camera_only(bencher: Bencher) {
    let player = Player::new(0);
    bencher.bench_local(|| player.world.render(Camera::Static));
}

#[divan::bench]
fn gripper_camera_only(bencher: Bencher) {
    let player = Player::new(0);
    bencher.bench_local(|| player.world.render(Camera::Gripper));
}

/// One item is one episode of the expert, on all threads.
#[divan::bench(sample_count = 10)]
fn simulate_expert_episodes(bencher: Bencher) {
    let episodes = 300;
    bencher.counter(ItemsCount::new(episodes)).bench_local(|| {
        Generated::new(Recipe {
            episodes,
            ..Recipe::default()
        })
    });
}

fn main() {
    divan::main();
}
