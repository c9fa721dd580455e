use crate::scene::{Kind, Scene, Thing, ThingId};
use crate::{Error, World};
use glam::Vec2;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A family of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Suite {
    /// Pick an object named by colour and shape.
    Object,
    /// Pick one of several identical cubes, named by where it lies.
    Spatial,
    /// Put a named object into a named container.
    Goal,
}

impl Suite {
    /// All suites in order.
    pub const ALL: [Self; 3] = [Self::Object, Self::Spatial, Self::Goal];
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Object => "object",
            Self::Spatial => "spatial",
            Self::Goal => "goal",
        })
    }
}

impl FromStr for Suite {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|suite| suite.to_string() == s.trim())
            .ok_or_else(|| Error::Suite(s.trim().to_owned()))
    }
}

/// A condition on the state of a [`World`].
///
/// A tree, so that a task may ask for several things at once. Chains in CALVIN's sense need no node of their own: they
/// are several tasks after each other in one world ([`World::set_task`]).
#[derive(Clone, Debug, PartialEq)]
pub enum Predicate {
    /// The hand holds the object and its underside is at least `height` above the table.
    Lifted {
        /// The object.
        object: ThingId,
        /// Table units.
        height: f32,
    },
    /// The object was let go and rests with its centre within `radius` of the container's axis.
    Inside {
        /// The object.
        object: ThingId,
        /// The bowl or plate.
        container: ThingId,
        /// Table units.
        radius: f32,
    },
    /// The object was let go and rests on top of another one.
    OnTop {
        /// The upper object.
        object: ThingId,
        /// The lower object.
        base: ThingId,
    },
    /// All of them at the same time.
    All(Vec<Predicate>),
}

impl Predicate {
    /// Whether the condition holds now. An id of another scene never satisfies it.
    pub fn holds(&self, world: &World) -> bool {
        self.check(world).unwrap_or(false)
    }

    fn check(&self, world: &World) -> Option<bool> {
        Some(match self {
            Self::Lifted { object, height } => {
                world.held() == Some(*object) && world.underside(*object)? >= *height
            }
            Self::Inside {
                object,
                container,
                radius,
            } => {
                let gap = world.position(*object)? - world.position(*container)?;
                world.at_rest(*object)? && gap.truncate().length() <= *radius
            }
            Self::OnTop { object, base } => {
                let (upper, lower) = (world.scene().thing(*object)?, world.scene().thing(*base)?);
                let gap = world.position(*object)? - world.position(*base)?;
                let rise = upper.half_height() + lower.half_height();
                world.at_rest(*object)?
                    && gap.truncate().length() <= lower.half
                    && (gap.z - rise).abs() <= 0.05
            }
            Self::All(parts) => parts.iter().all(|part| part.holds(world)),
        })
    }
}

/// Where an object lies relative to a container, as seen from the static camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// In the quadrant to its left.
    Left,
    /// In the quadrant to its right.
    Right,
    /// In the quadrant towards the camera.
    InFront,
    /// In the quadrant away from the camera.
    Behind,
    /// Closest to it of all, and close.
    NextTo,
}

impl Relation {
    const ALL: [Self; 5] = [
        Self::Left,
        Self::Right,
        Self::InFront,
        Self::Behind,
        Self::NextTo,
    ];

    fn words(self) -> [&'static str; 2] {
        match self {
            Self::Left => ["left of", "to the left of"],
            Self::Right => ["right of", "to the right of"],
            Self::InFront => ["in front of", "in front of"],
            Self::Behind => ["behind", "behind"],
            Self::NextTo => ["next to", "beside"],
        }
    }

    /// Index of the one offset for which the relation holds clearly while no other comes near to it.
    fn only(self, offsets: &[Vec2]) -> Option<usize> {
        let mut clear = None;
        for (i, &offset) in offsets.iter().enumerate() {
            match self.fit(offset) {
                Fit::Clear if clear.is_none() => clear = Some(i),
                Fit::No => {}
                _ => return None,
            }
        }
        clear
    }

    fn fit(self, offset: Vec2) -> Fit {
        // Component along the direction, and across it.
        let (along, across) = match self {
            Self::Left => (-offset.x, offset.y.abs()),
            Self::Right => (offset.x, offset.y.abs()),
            Self::InFront => (-offset.y, offset.x.abs()),
            Self::Behind => (offset.y, offset.x.abs()),
            Self::NextTo => {
                return match offset.length() {
                    d if d <= 0.78 => Fit::Clear,
                    d if d <= 0.90 => Fit::Doubtful,
                    _ => Fit::No,
                };
            }
        };
        // Within 40 degrees is clear; up to 50 degrees somebody might say it.
        if along > 0.0 && across <= 0.84 * along {
            Fit::Clear
        } else if along > 0.0 && across <= 1.19 * along {
            Fit::Doubtful
        } else {
            Fit::No
        }
    }
}

enum Fit {
    Clear,
    Doubtful,
    No,
}

/// What is asked for in one scene.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    id: Arc<str>,
    target: ThingId,
    goal: Option<ThingId>,
    predicate: Predicate,
    paraphrases: Arc<[String]>,
    chosen: usize,
}

impl Task {
    /// What the policy is told.
    pub fn instruction(&self) -> &str {
        self.paraphrases.get(self.chosen).map_or("", String::as_str)
    }

    /// All wordings of this task; the first is the canonical one.
    pub fn paraphrases(&self) -> &[String] {
        &self.paraphrases
    }

    /// The same task in another wording; past the end of [`Self::paraphrases`] the count starts again.
    pub fn with_paraphrase(mut self, index: usize) -> Self {
        self.chosen = index % self.paraphrases.len().max(1);
        self
    }

    /// Key for per-task tables, e.g. `pick red cube`, `pick cube left of bowl`, `put cube in bowl`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The object to act on.
    pub fn target(&self) -> ThingId {
        self.target
    }

    /// The container it should go to, if any.
    pub fn goal(&self) -> Option<ThingId> {
        self.goal
    }

    /// When the task is done.
    pub fn predicate(&self) -> &Predicate {
        &self.predicate
    }

    fn new(
        id: String,
        target: ThingId,
        goal: Option<ThingId>,
        predicate: Predicate,
        paraphrases: Vec<String>,
    ) -> Self {
        Self {
            id: id.into(),
            target,
            goal,
            predicate,
            paraphrases: paraphrases.into(),
            chosen: 0,
        }
    }

    fn pick(scene: &Scene, target: ThingId, short: &str, long: [&str; 2]) -> Self {
        let verbs = ["pick up", "grab", "lift", "take", "get"];
        let paraphrases = verbs
            .iter()
            .zip(long.iter().cycle())
            .map(|(verb, object)| format!("{verb} the {object}"))
            .collect();
        let lifted = Predicate::Lifted {
            object: target,
            height: scene.difficulty.lift_height,
        };
        Self::new(format!("pick {short}"), target, None, lifted, paraphrases)
    }

    fn pick_named(scene: &Scene, target: ThingId, thing: &Thing) -> Self {
        let name = name(thing);
        Self::pick(scene, target, &name, [&name, &name])
    }

    fn pick_related(scene: &Scene, target: ThingId, relation: Relation, landmark: &Thing) -> Self {
        let object = Kind::Cube.word();
        let [short, long] = relation.words();
        let full = name(landmark);
        Self::pick(
            scene,
            target,
            &format!("{object} {short} {}", landmark.kind.word()),
            [
                &format!("{object} {short} the {full}"),
                &format!("{object} {long} the {full}"),
            ],
        )
    }

    fn put(scene: &Scene, target: (ThingId, &Thing), goal: (ThingId, &Thing)) -> Self {
        let (object, container) = (name(target.1), name(goal.1));
        let (at, to) = match goal.1.kind {
            Kind::Plate => ("on", "onto"),
            _ => ("in", "into"),
        };
        let paraphrases = [
            ("put", at),
            ("place", at),
            ("move", to),
            ("drop", at),
            ("set", at),
        ]
        .map(|(verb, preposition)| format!("{verb} the {object} {preposition} the {container}"));
        let inside = Predicate::Inside {
            object: target.0,
            container: goal.0,
            radius: scene.difficulty.place_radius,
        };
        let id = format!("put {} {at} {}", target.1.kind.word(), goal.1.kind.word());
        Self::new(id, target.0, Some(goal.0), inside, paraphrases.into())
    }
}

fn name(thing: &Thing) -> String {
    format!("{} {}", thing.colour.word(), thing.kind.word())
}

/// The tasks of a scene with another target or goal than `task`, in its wording.
pub(crate) fn others(scene: &Scene, task: &Task) -> Vec<Task> {
    all(scene)
        .into_iter()
        .filter(|other| (other.target, other.goal) != (task.target, task.goal))
        .map(|other| other.with_paraphrase(task.chosen))
        .collect()
}

/// Every task whose instruction fits exactly one object (and one container) of the scene, in a fixed order.
pub(crate) fn all(scene: &Scene) -> Vec<Task> {
    let mut tasks = Vec::new();
    match scene.suite {
        Suite::Object => {
            for (id, thing) in scene.objects() {
                tasks.push(Task::pick_named(scene, id, thing));
            }
        }
        Suite::Spatial => {
            let objects: Vec<_> = scene.objects().collect();
            for (_, landmark) in scene.containers() {
                let offsets: Vec<Vec2> = objects
                    .iter()
                    .map(|(_, o)| (o.start.position - landmark.start.position).truncate())
                    .collect();
                for relation in Relation::ALL {
                    if let Some((id, _)) = relation.only(&offsets).and_then(|i| objects.get(i)) {
                        tasks.push(Task::pick_related(scene, *id, relation, landmark));
                    }
                }
            }
        }
        Suite::Goal => {
            for target in scene.objects() {
                for goal in scene.containers() {
                    tasks.push(Task::put(scene, target, goal));
                }
            }
        }
    }
    tasks
}

/// The task of a new scene: first the target, then one of its descriptions, each uniformly. `None` when some object
/// cannot be named unambiguously.
pub(crate) fn draw(scene: &Scene, rng: &mut ChaCha8Rng) -> Option<Task> {
    let tasks = all(scene);
    let targets: Vec<ThingId> = scene.objects().map(|(id, _)| id).collect();
    if !targets
        .iter()
        .all(|id| tasks.iter().any(|task| task.target == *id))
    {
        return None;
    }
    let target = *targets.get(rng.random_range(0..targets.len().max(1)))?;
    let mut fitting: Vec<Task> = tasks
        .into_iter()
        .filter(|task| task.target == target)
        .collect();
    let task = fitting.swap_remove(rng.random_range(0..fitting.len()));
    let wordings = scene
        .difficulty
        .paraphrases
        .clamp(1, task.paraphrases.len());
    Some(task.with_paraphrase(rng.random_range(0..wordings)))
}
