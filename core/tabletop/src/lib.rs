//! The built-in benchmark: a table, a two-finger gripper, coloured objects and containers.
//!
//! Needs no download, no GPU and no display. Everything an experiment wants to know is exact here, because pictures
//! and masks come from rays cast into the scene that the physics simulates.
//!
//! | part | module |
//! |---|---|
//! | what lies on the table, and which instruction names exactly one thing on it | [`Scene`] |
//! | what is asked for, as words and as a predicate tree | [`Task`], [`Predicate`] |
//! | rigid bodies (rapier3d), the hand and its grasp | [`World`] |
//! | pictures and masks of the two cameras | [`Scene::render`], [`Scene::mask`] |
//! | a scripted policy that solves every task | [`Expert`] |
//! | training data made on demand, or written as LeRobotDataset v3.0 | [`Generated`], [`record`] |
//!
//! # Units
//! Lengths are *table units*: the hand's workspace is `[-1, 1]²`, one unit is about 0.4 m. `x` points right and `y`
//! away from the static camera, `z` up from the table top.
//!
//! # The grasp is a constraint
//! Fingers push objects by contact. Once both fingers touch the same object while they close, the object is tied to
//! the hand by a fixed joint and is let go when the hand opens. Friction grasps, slipping and in-hand rotation are
//! therefore not part of this benchmark.
//!
//! # Reproducibility
//! A scene, an episode and every picture of it are a function of (suite, environment, seed, difficulty) and of the
//! actions, bit for bit, on any number of threads.

mod difficulty;
mod error;
mod expert;
mod generated;
mod physics;
mod record;
mod render;
mod scene;
mod task;
mod trace;
mod world;

pub use difficulty::Difficulty;
pub use error::{Error, Result};
pub use expert::{Expert, Noise};
pub use generated::{Generated, Recipe, open, parts};
pub use record::record;
pub use render::Camera;
pub use scene::{Colour, Environment, Kind, Pose, Scene, Snapshot, Thing, ThingId};
pub use task::{Predicate, Relation, Suite, Task};
pub use world::{Observation, Outcome, World};

/// Cameras as `(name, width, height)`, in the order of [`Observation::images`] and of a dataset's camera index.
pub const CAMERAS: [(&str, u32, u32); 2] = [("static", 64, 64), ("gripper", 32, 32)];

/// Control steps a second.
pub const FPS: u32 = 10;

/// Names of the components of an action.
pub const ACTION_NAMES: [&str; 4] = ["x", "y", "z", "gripper"];

/// Names of the components of the proprioceptive state.
pub const STATE_NAMES: [&str; 4] = ["x", "y", "z", "aperture"];
