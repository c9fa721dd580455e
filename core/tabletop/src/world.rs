use crate::Difficulty;
use crate::physics::Physics;
use crate::render::Camera;
use crate::scene::{Environment, Scene, Snapshot, ThingId};
use crate::task::{self, Suite, Task};
use episode::{Image, PixelMask, Region};
use glam::Vec3;
use std::sync::Arc;

/// An object slower than this, in table units per second, counts as lying still.
const REST_SPEED: f32 = 0.25;

/// What a policy sees at one control step.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// One picture a camera, in the order of [`CAMERAS`](crate::CAMERAS).
    pub images: [Image; 2],
    /// Grip point x, y, z in table units and aperture in `[0, 1]`.
    pub state: [f32; 4],
}

/// How an episode stands after a control step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The task's predicate holds now.
    pub success: bool,
    /// Since the task was set, an object other than the target was lifted.
    pub wrong_object: bool,
    /// Since the task was set, the target was put into another container than the goal.
    pub wrong_goal: bool,
    /// What the hand holds.
    pub held: Option<ThingId>,
}

/// One episode: a scene, its physics and a task.
///
/// A copy is a fork: both go on independently and, given the same actions, identically.
#[derive(Clone)]
pub struct World {
    scene: Arc<Scene>,
    physics: Physics,
    task: Task,
    steps: usize,
    wrong_object: bool,
    wrong_goal: bool,
}

impl World {
    /// A random scene and task of the default difficulty; the same arguments give the same episode bit for bit.
    pub fn new(suite: Suite, environment: Environment, seed: u64) -> Self {
        Self::with_difficulty(suite, environment, seed, &Difficulty::default())
    }

    /// A random scene and task of another difficulty. Counts outside the documented ranges are clamped; scenes too
    /// full for their spacing are packed closer.
    pub fn with_difficulty(
        suite: Suite,
        environment: Environment,
        seed: u64,
        difficulty: &Difficulty,
    ) -> Self {
        let (scene, task) = Scene::generate(suite, environment, seed, difficulty);
        Self {
            physics: Physics::new(&scene),
            scene: Arc::new(scene),
            task,
            steps: 0,
            wrong_object: false,
            wrong_goal: false,
        }
    }

    /// What lies on the table.
    pub fn scene(&self) -> &Arc<Scene> {
        &self.scene
    }

    /// What is asked for.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// What the policy is told.
    pub fn instruction(&self) -> &str {
        self.task.instruction()
    }

    /// The other tasks that fit this scene unambiguously and have another target or goal: counterfactual twins, in the
    /// wording of the current task.
    pub fn alternatives(&self) -> Vec<Task> {
        task::others(&self.scene, &self.task)
    }

    /// Asks for something else from the present state on, and counts steps and mistakes from here. This makes twins,
    /// and chains of tasks in one world.
    pub fn set_task(&mut self, task: Task) {
        self.task = task;
        self.steps = 0;
        self.wrong_object = false;
        self.wrong_goal = false;
    }

    /// Both pictures and the proprioceptive state.
    pub fn observe(&self) -> Observation {
        let snapshot = self.snapshot();
        Observation {
            images: Camera::ALL.map(|camera| self.scene.render(&snapshot, camera)),
            state: snapshot.hand,
        }
    }

    /// One picture.
    pub fn render(&self, camera: Camera) -> Image {
        self.scene.render(&self.snapshot(), camera)
    }

    /// Where the task's target or goal is visible in a picture; empty for the goal of a task without one.
    pub fn mask(&self, camera: Camera, region: Region) -> PixelMask {
        self.scene
            .mask(&self.snapshot(), &self.task, camera, region)
    }

    /// Everything that moves, at this instant.
    pub fn snapshot(&self) -> Snapshot {
        self.physics.snapshot()
    }

    /// Grip point x, y, z in table units and aperture in `[0, 1]`.
    pub fn state(&self) -> [f32; 4] {
        self.physics.hand()
    }

    /// Runs one control step. `action` is the absolute waypoint x, y, z of the grip point in table units and the
    /// gripper command: negative closes, otherwise it opens. The controller moves at most 0.15 per axis towards the
    /// waypoint. A component that is not finite leaves its axis where it is; a gripper command that is not finite
    /// opens.
    pub fn step(&mut self, action: [f32; 4]) {
        let [x, y, z, _] = self.state();
        let [ax, ay, az, grip] = action;
        let keep = |wanted: f32, present: f32| if wanted.is_finite() { wanted } else { present };
        let waypoint = Vec3::new(keep(ax, x), keep(ay, y), keep(az, z));
        let close = grip < 0.0;
        self.physics.advance(waypoint, !close);
        self.steps += 1;
        self.note_mistakes();
    }

    fn note_mistakes(&mut self) {
        let lift_height = self.scene.difficulty.lift_height;
        let target = self.task.target();
        if let Some(held) = self.held()
            && held != target
            && self.underside(held).is_some_and(|z| z >= lift_height)
        {
            self.wrong_object = true;
        }
        if let Some(goal) = self.task.goal()
            && self.at_rest(target) == Some(true)
        {
            let radius = self.scene.difficulty.place_radius;
            let misplaced = self.scene.containers().any(|(id, container)| {
                id != goal
                    && self.position(target).is_some_and(|at| {
                        (at - container.start.position).truncate().length() <= radius
                    })
            });
            self.wrong_goal |= misplaced;
        }
    }

    /// How the episode stands.
    pub fn outcome(&self) -> Outcome {
        Outcome {
            success: self.satisfies(&self.task),
            wrong_object: self.wrong_object,
            wrong_goal: self.wrong_goal,
            held: self.held(),
        }
    }

    /// Whether a task, of this world or a twin of it, is done now.
    pub fn satisfies(&self, task: &Task) -> bool {
        task.predicate().holds(self)
    }

    /// Control steps after which the episode has failed.
    pub fn horizon(&self) -> usize {
        self.scene.difficulty.horizon
    }

    /// Control steps since the task was set.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// What the hand holds.
    pub fn held(&self) -> Option<ThingId> {
        self.physics.held()
    }

    /// Where a thing is now (its centre; for a container the centre of its underside).
    pub fn position(&self, id: ThingId) -> Option<Vec3> {
        match self.physics.pose(id) {
            Some(pose) => Some(pose.position),
            None => Some(self.scene.thing(id)?.start.position),
        }
    }

    /// Height of an object's underside above the table, were it upright.
    pub(crate) fn underside(&self, id: ThingId) -> Option<f32> {
        let half = self.scene.thing(id)?.half_height();
        Some(self.position(id)?.z - half)
    }

    /// Whether nothing holds or moves the object.
    pub(crate) fn at_rest(&self, id: ThingId) -> Option<bool> {
        Some(self.held() != Some(id) && self.physics.speed(id)? <= REST_SPEED)
    }
}
