use crate::task::{self, Suite, Task};
use crate::{Difficulty, Error};
use glam::{Quat, Vec2, Vec3};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Half the edge of the table top; the workspace of the hand is smaller.
pub(crate) const TABLE_HALF: f32 = 1.22;
/// Height of the grip point above the table when the hand travels.
pub(crate) const HOVER: f32 = 0.45;
/// Objects start with their centre within this distance of the middle, per axis.
const OBJECT_EXTENT: f32 = 0.74;
const CONTAINER_EXTENT: f32 = 0.64;
const CLUTTER_EXTENT: f32 = 1.02;

/// Where an episode plays. Environments differ in table texture, light, camera pose and clutter, so that training on
/// some and testing on another measures generalisation (the split idea of CALVIN).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Environment {
    /// Pale planks, light from the left, no clutter.
    A,
    /// Grey cloth, light from the right.
    B,
    /// Dark wood, warm light from behind.
    C,
    /// Speckled stone, cool light from the front.
    D,
}

impl Environment {
    /// All environments in order.
    pub const ALL: [Self; 4] = [Self::A, Self::B, Self::C, Self::D];

    fn clutter(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 2,
            Self::C | Self::D => 3,
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for Environment {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        match s.trim() {
            "A" | "a" => Ok(Self::A),
            "B" | "b" => Ok(Self::B),
            "C" | "c" => Ok(Self::C),
            "D" | "d" => Ok(Self::D),
            other => Err(Error::Environment(other.to_owned())),
        }
    }
}

/// What a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A cube.
    Cube,
    /// An upright cylinder as high as it is wide.
    Cylinder,
    /// A ball, damped so that it stays where it is put.
    Ball,
    /// A round bowl, fixed to the table.
    Bowl,
    /// A flat round plate, fixed to the table.
    Plate,
    /// Clutter: a flat grey tile that no instruction names.
    Tile,
    /// Clutter: a flat grey disc that no instruction names.
    Puck,
}

impl Kind {
    pub(crate) const SHAPES: [Self; 3] = [Self::Cube, Self::Cylinder, Self::Ball];

    /// The noun in an instruction.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cube => "cube",
            Self::Cylinder => "cylinder",
            Self::Ball => "ball",
            Self::Bowl => "bowl",
            Self::Plate => "plate",
            Self::Tile => "tile",
            Self::Puck => "puck",
        }
    }

    /// Whether things rest in or on it.
    pub fn is_container(self) -> bool {
        matches!(self, Self::Bowl | Self::Plate)
    }

    /// Whether instructions may ask to move it.
    pub fn is_object(self) -> bool {
        matches!(self, Self::Cube | Self::Cylinder | Self::Ball)
    }
}

/// The colour word of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Colour {
    /// Red.
    Red,
    /// Green.
    Green,
    /// Blue.
    Blue,
    /// Yellow.
    Yellow,
    /// Purple.
    Purple,
    /// Cyan.
    Cyan,
    /// Clutter only.
    Grey,
}

impl Colour {
    pub(crate) const NAMED: [Self; 6] = [
        Self::Red,
        Self::Green,
        Self::Blue,
        Self::Yellow,
        Self::Purple,
        Self::Cyan,
    ];

    /// The adjective in an instruction.
    pub fn word(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Yellow => "yellow",
            Self::Purple => "purple",
            Self::Cyan => "cyan",
            Self::Grey => "grey",
        }
    }
}

/// Index of a thing in [`Scene::things`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ThingId(pub u8);

impl ThingId {
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Position and orientation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    /// Centre of an object; centre of the underside of a container.
    pub position: Vec3,
    /// Turn from the upright pose.
    pub rotation: Quat,
}

/// One thing on the table, as it lies when the episode starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Thing {
    /// What it is.
    pub kind: Kind,
    /// Its colour.
    pub colour: Colour,
    /// Half the edge of a cube; radius of anything round.
    pub half: f32,
    /// Where it starts.
    pub start: Pose,
}

impl Thing {
    /// Half the height.
    pub(crate) fn half_height(&self) -> f32 {
        match self.kind {
            Kind::Tile | Kind::Puck => 0.025,
            _ => self.half,
        }
    }
}

/// Everything that moves, at one instant: enough to draw the identical picture from the episode's [`Scene`].
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Grip point x, y, z in table units and aperture in `[0, 1]`: the proprioceptive state.
    pub hand: [f32; 4],
    /// Poses of the movable things (all but containers), in the order of [`Scene::things`].
    pub bodies: Box<[Pose]>,
}

/// What stays the same during an episode: the things on the table, the light and the camera.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// The suite it was made for.
    pub suite: Suite,
    /// Where it plays.
    pub environment: Environment,
    /// Everything on the table; movable things first, then containers.
    pub things: Vec<Thing>,
    /// Grip point of the hand at the start.
    pub hand_start: Vec3,
    /// Brightness of this episode relative to the environment's light.
    pub brightness: f32,
    /// The numbers it was made with.
    pub difficulty: Difficulty,
    /// Number of movable things.
    pub(crate) movable: usize,
}

impl Scene {
    /// Makes a scene and its task from a seed.
    ///
    /// Every object of a scene is the target of at least one instruction that fits no other object, and the target is
    /// drawn uniformly among them, so a policy that ignores the instruction succeeds at chance level only.
    pub(crate) fn generate(
        suite: Suite,
        environment: Environment,
        seed: u64,
        difficulty: &Difficulty,
    ) -> (Self, Task) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(suite as u64 * 8 + environment as u64);
        let mut clearance = 1.0;
        loop {
            // Each round draws colours, shapes and places anew. Crowded settings may need many rounds, hence
            // the slow relaxation, which also makes this loop end for any difficulty.
            for _ in 0..200 {
                let drawn = Self::draw(suite, environment, difficulty, clearance, &mut rng);
                if let Some(found) = drawn.and_then(|scene| {
                    let task = task::draw(&scene, &mut rng)?;
                    Some((scene, task))
                }) {
                    return found;
                }
            }
            clearance *= 0.97;
        }
    }

    fn draw(
        suite: Suite,
        environment: Environment,
        difficulty: &Difficulty,
        clearance: f32,
        rng: &mut ChaCha8Rng,
    ) -> Option<Self> {
        let (objects, containers) = cast(suite, difficulty, rng);
        let half = match suite {
            Suite::Object => difficulty.object_half,
            Suite::Spatial => difficulty.spatial_half,
            Suite::Goal => difficulty.goal_half,
        };
        let spacing = Spacing::new(half, difficulty, clearance);
        let mut floor = Floor::default();
        let mut placed_containers = Vec::new();
        for &(kind, colour) in &containers {
            let at = floor.place(CONTAINER_EXTENT, Footprint::Container, &spacing, rng)?;
            placed_containers.push(Thing {
                kind,
                colour,
                half: difficulty.container_radius,
                start: Pose {
                    position: at.extend(0.0),
                    rotation: Quat::IDENTITY,
                },
            });
        }
        let mut things = Vec::new();
        for &(kind, colour) in &objects {
            let at = floor.place(OBJECT_EXTENT, Footprint::Object, &spacing, rng)?;
            let turn = if kind == Kind::Cube {
                difficulty.yaw * rng.random_range(-1.0f32..1.0)
            } else {
                0.0
            };
            things.push(Thing {
                kind,
                colour,
                half,
                start: Pose {
                    position: at.extend(half),
                    rotation: turn_about_z(turn),
                },
            });
        }
        for _ in 0..environment.clutter() {
            let at = floor.place(CLUTTER_EXTENT, Footprint::Clutter, &spacing, rng)?;
            let (kind, half) = if rng.random_bool(0.5) {
                (Kind::Tile, 0.07)
            } else {
                (Kind::Puck, 0.06)
            };
            let mut thing = Thing {
                kind,
                colour: Colour::Grey,
                half,
                start: Pose {
                    position: at.extend(0.0),
                    rotation: turn_about_z(rng.random_range(-1.0f32..1.0)),
                },
            };
            thing.start.position.z = thing.half_height();
            things.push(thing);
        }
        let movable = things.len();
        things.append(&mut placed_containers);
        let spread = difficulty.start_spread.clamp(0.0, 1.0);
        let hand_start = Vec3::new(
            spread * rng.random_range(-1.0f32..1.0),
            spread * rng.random_range(-1.0f32..1.0),
            HOVER + 0.1 * rng.random_range(0.0f32..1.0),
        );
        let brightness = 1.0 + difficulty.light_jitter * rng.random_range(-1.0f32..1.0);
        Some(Self {
            suite,
            environment,
            things,
            hand_start,
            brightness,
            difficulty: difficulty.clone(),
            movable,
        })
    }

    /// A thing by its id; `None` for an id of another scene.
    pub fn thing(&self, id: ThingId) -> Option<&Thing> {
        self.things.get(id.index())
    }

    /// The things that instructions may ask to move.
    pub fn objects(&self) -> impl Iterator<Item = (ThingId, &Thing)> {
        self.with_ids().filter(|(_, thing)| thing.kind.is_object())
    }

    /// The containers.
    pub fn containers(&self) -> impl Iterator<Item = (ThingId, &Thing)> {
        self.with_ids()
            .filter(|(_, thing)| thing.kind.is_container())
    }

    pub(crate) fn with_ids(&self) -> impl Iterator<Item = (ThingId, &Thing)> {
        (0u8..).map(ThingId).zip(&self.things)
    }

    /// The pose of a thing at the instant of `snapshot`.
    pub(crate) fn pose(&self, snapshot: &Snapshot, id: ThingId) -> Option<Pose> {
        let thing = self.thing(id)?;
        Some(*snapshot.bodies.get(id.index()).unwrap_or(&thing.start))
    }
}

type Looks = (Kind, Colour);

/// Kinds and colours of the objects and of the containers of one scene, in random order.
fn cast(suite: Suite, difficulty: &Difficulty, rng: &mut ChaCha8Rng) -> (Vec<Looks>, Vec<Looks>) {
    let mut colours = Colour::NAMED;
    colours.shuffle(rng);
    // All colours of objects differ from all colours of containers: a colour word is about one or the other. Among the
    // objects they repeat, so that neither a colour nor a shape alone tells which one is meant.
    let [a, b, others @ ..] = colours;
    let grid = |kinds: &[Kind]| -> Vec<Looks> {
        kinds
            .iter()
            .flat_map(|&kind| [(kind, a), (kind, b)])
            .collect()
    };
    let mut shapes = Kind::SHAPES;
    shapes.shuffle(rng);
    let [first, second, third] = shapes;
    let mut objects = grid(&[first, second]);
    objects.shuffle(rng);
    let mut more = grid(&[third]);
    more.shuffle(rng);
    objects.extend(more);
    let mut containers: Vec<Looks> = others
        .into_iter()
        .map(|colour| match rng.random_bool(0.5) {
            true => (Kind::Bowl, colour),
            false => (Kind::Plate, colour),
        })
        .collect();
    match suite {
        Suite::Object => {
            objects.truncate(difficulty.candidates.clamp(2, 6));
            containers.clear();
        }
        Suite::Spatial => {
            let [fewest, most] = difficulty.cubes;
            let fewest = fewest.clamp(2, 4);
            let cubes = rng.random_range(fewest..=most.clamp(fewest, 4));
            objects = vec![(Kind::Cube, a); cubes];
            containers.truncate(2);
        }
        Suite::Goal => {
            objects.truncate(difficulty.goal_objects.clamp(1, 3));
            containers.truncate(difficulty.goal_containers.clamp(1, 3));
        }
    }
    (objects, containers)
}

/// A rotation about the vertical from the tangent of half the angle; free of `sin` and `cos`, whose last bit depends on
/// the platform.
fn turn_about_z(half_tangent: f32) -> Quat {
    let norm = (1.0 + half_tangent * half_tangent).sqrt();
    Quat::from_xyzw(0.0, 0.0, half_tangent / norm, 1.0 / norm)
}

#[derive(Clone, Copy)]
enum Footprint {
    Container,
    Object,
    Clutter,
}

/// Smallest distances between centres.
struct Spacing {
    containers: f32,
    container_object: f32,
    objects: f32,
    clutter_container: f32,
    clutter_object: f32,
    clutter: f32,
}

impl Spacing {
    fn new(half: f32, difficulty: &Difficulty, clearance: f32) -> Self {
        // An open hand around an object reaches this far sideways; neighbours stay outside of it.
        let reach = difficulty.open_gap + 0.05;
        let radius = difficulty.container_radius;
        Self {
            containers: clearance * (2.0 * radius + 0.04),
            container_object: clearance * (radius + reach + 0.02),
            objects: clearance * (half + reach + 0.02),
            clutter_container: radius + 0.12,
            clutter_object: clearance * (half + 0.22),
            clutter: 0.25,
        }
    }

    fn between(&self, a: Footprint, b: Footprint) -> f32 {
        use Footprint::{Clutter, Container, Object};
        match (a, b) {
            (Container, Container) => self.containers,
            (Container, Object) | (Object, Container) => self.container_object,
            (Object, Object) => self.objects,
            (Container, Clutter) | (Clutter, Container) => self.clutter_container,
            (Object, Clutter) | (Clutter, Object) => self.clutter_object,
            (Clutter, Clutter) => self.clutter,
        }
    }
}

#[derive(Default)]
struct Floor {
    taken: Vec<(Vec2, Footprint)>,
}

impl Floor {
    /// A free place within `extent` of the middle, or `None` after a bounded number of tries.
    fn place(
        &mut self,
        extent: f32,
        footprint: Footprint,
        spacing: &Spacing,
        rng: &mut ChaCha8Rng,
    ) -> Option<Vec2> {
        for _ in 0..40 {
            let at = extent
                * Vec2::new(
                    rng.random_range(-1.0f32..1.0),
                    rng.random_range(-1.0f32..1.0),
                );
            let free = self
                .taken
                .iter()
                .all(|&(other, kind)| at.distance(other) >= spacing.between(footprint, kind));
            if free {
                self.taken.push((at, footprint));
                return Some(at);
            }
        }
        None
    }
}
