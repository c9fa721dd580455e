//! Pictures and masks, by casting rays into the scene.
//!
//! Every output pixel is [`SAMPLES`]² rays. A part is only tested where its bounding box projects to; the table as
//! the static camera sees it is drawn once per environment. Masks come from the same rays as the picture.

mod look;
mod shape;

use crate::CAMERAS;
use crate::physics::{FINGER_HALF, PALM_ABOVE, PALM_HALF, Vessel, finger_centre};
use crate::scene::{Environment, Kind, Scene, Snapshot, ThingId};
use crate::task::Task;
use episode::{Image, PixelMask, Region};
use glam::{Quat, Vec3};
use look::{Look, paint};
use shape::{Ray, Shape};
use std::cell::RefCell;
use std::sync::LazyLock;

/// Rays per pixel and axis.
const SAMPLES: usize = 2;
/// Share of the directed light that a shadow takes.
const SHADOW: f32 = 0.62;

const GROUND: u8 = u8::MAX;
const BEYOND: u8 = u8::MAX - 1;
const HAND: u8 = u8::MAX - 2;

/// One of the two cameras.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Camera {
    /// Looks at the table from the front and above.
    Static,
    /// Rides on the hand and looks down between the fingers.
    Gripper,
}

impl Camera {
    /// Both, in the order of [`CAMERAS`].
    pub const ALL: [Self; 2] = [Self::Static, Self::Gripper];

    /// Index in [`CAMERAS`].
    pub fn index(self) -> usize {
        match self {
            Self::Static => 0,
            Self::Gripper => 1,
        }
    }

    /// Columns and rows in pixels.
    pub fn size(self) -> [u32; 2] {
        let [still, gripper] = CAMERAS;
        let (_, width, height) = match self {
            Self::Static => still,
            Self::Gripper => gripper,
        };
        [width, height]
    }
}

impl Scene {
    /// The picture of one camera at the instant of `snapshot`.
    pub fn render(&self, snapshot: &Snapshot, camera: Camera) -> Image {
        let [width, height] = camera.size();
        let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
        self.with_canvas(snapshot, camera, |canvas| {
            let gain = 255.0 * self.brightness / (SAMPLES * SAMPLES) as f32;
            canvas.for_pixels(|samples| {
                let sum: Vec3 = samples.iter().map(|s| s.colour).sum();
                let pixel = (sum * gain + 0.5).clamp(Vec3::ZERO, Vec3::splat(255.0));
                rgb.extend(pixel.to_array().map(|c| c as u8));
            });
        });
        Image { width, height, rgb }
    }

    /// Where the target or goal of a task is visible: pixels of which it covers at least half of the rays. Empty for
    /// the goal of a task without one.
    pub fn mask(
        &self,
        snapshot: &Snapshot,
        task: &Task,
        camera: Camera,
        region: Region,
    ) -> PixelMask {
        let [width, height] = camera.size();
        let wanted = match region {
            Region::Target => Some(task.target()),
            Region::Goal => task.goal(),
        };
        let Some(ThingId(wanted)) = wanted else {
            return PixelMask::empty(width, height);
        };
        let mut bits = Vec::with_capacity(width as usize * height as usize);
        self.with_canvas(snapshot, camera, |canvas| {
            canvas.for_pixels(|samples| {
                let covered = samples.iter().filter(|s| s.part == wanted).count();
                bits.push(2 * covered >= SAMPLES * SAMPLES);
            });
        });
        PixelMask {
            width,
            height,
            bits,
        }
    }

    fn with_canvas(&self, snapshot: &Snapshot, camera: Camera, use_it: impl FnOnce(&Canvas)) {
        thread_local! {
            static CANVASES: RefCell<[Canvas; 2]> =
                RefCell::new(Camera::ALL.map(|_| Canvas::default()));
        }
        let look = Look::of(self.environment);
        CANVASES.with_borrow_mut(|canvases| {
            let [still, gripper] = canvases;
            let canvas = match camera {
                Camera::Static => {
                    static BACKGROUNDS: [LazyLock<Canvas>; 4] = [
                        LazyLock::new(|| background(Environment::A)),
                        LazyLock::new(|| background(Environment::B)),
                        LazyLock::new(|| background(Environment::C)),
                        LazyLock::new(|| background(Environment::D)),
                    ];
                    let [a, b, c, d] = &BACKGROUNDS;
                    let background = match self.environment {
                        Environment::A => a,
                        Environment::B => b,
                        Environment::C => c,
                        Environment::D => d,
                    };
                    still.copy_from(background);
                    still
                }
                Camera::Gripper => {
                    let view = View::gripper(snapshot);
                    gripper.reset(camera);
                    gripper.draw_ground(&view, look);
                    gripper
                }
            };
            let view = match camera {
                Camera::Static => View::still(look),
                Camera::Gripper => View::gripper(snapshot),
            };
            let parts = self.parts(snapshot);
            for part in &parts {
                canvas.draw(part, &view, look);
            }
            for part in &parts {
                canvas.shade(part, &view, look);
            }
            use_it(canvas);
        });
    }

    fn parts(&self, snapshot: &Snapshot) -> Vec<Part> {
        let mut parts = Vec::with_capacity(self.things.len() + 4);
        for (id, thing) in self.with_ids() {
            let Some(pose) = self.pose(snapshot, id) else {
                continue;
            };
            let shape = match thing.kind {
                Kind::Ball => Shape::Sphere { radius: thing.half },
                Kind::Cylinder | Kind::Puck => {
                    Shape::cylinder(thing.half, thing.half_height(), pose.rotation)
                }
                Kind::Cube | Kind::Tile => Shape::cuboid(
                    Vec3::new(thing.half, thing.half, thing.half_height()),
                    pose.rotation,
                ),
                Kind::Bowl | Kind::Plate => {
                    let vessel = Vessel::of(thing.kind);
                    Shape::Vessel {
                        bottom_radius: thing.half * vessel.bottom,
                        top_radius: thing.half,
                        height: vessel.height,
                        wall: vessel.wall,
                        floor: vessel.floor,
                    }
                }
            };
            parts.push(Part {
                id: id.0,
                centre: pose.position,
                shape,
                colour: paint(thing.colour),
                gloss: if thing.kind == Kind::Ball { 0.5 } else { 0.0 },
            });
        }
        let [x, y, z, aperture] = snapshot.hand;
        let grip = Vec3::new(x, y, z);
        let mut hand = |shape, centre, colour| {
            parts.push(Part {
                id: HAND,
                centre,
                shape,
                colour,
                gloss: 0.0,
            });
        };
        let gap = aperture * self.difficulty.open_gap;
        for side in [-1.0, 1.0] {
            hand(
                Shape::cuboid(FINGER_HALF, Quat::IDENTITY),
                finger_centre(grip, side, gap),
                Vec3::splat(0.17),
            );
        }
        hand(
            Shape::cuboid(PALM_HALF, Quat::IDENTITY),
            grip + Vec3::new(0.0, 0.0, PALM_ABOVE),
            Vec3::splat(0.33),
        );
        hand(
            Shape::cylinder(0.04, 0.5, Quat::IDENTITY),
            grip + Vec3::new(0.0, 0.0, PALM_ABOVE + PALM_HALF.z + 0.5),
            Vec3::splat(0.42),
        );
        parts
    }
}

/// The table as the static camera of an environment sees it.
fn background(environment: Environment) -> Canvas {
    let look = Look::of(environment);
    let mut canvas = Canvas::default();
    canvas.reset(Camera::Static);
    canvas.draw_ground(&View::still(look), look);
    canvas
}

/// Something that is drawn.
struct Part {
    id: u8,
    centre: Vec3,
    shape: Shape,
    colour: Vec3,
    gloss: f32,
}

/// A pinhole camera. Rays go through `forward + u right + v up` with `u`, `v` in `[-spread, spread]`, so that a ray's
/// parameter is the depth.
struct View {
    eye: Vec3,
    right: Vec3,
    up: Vec3,
    forward: Vec3,
    spread: f32,
}

impl View {
    fn new(eye: Vec3, look_at: Vec3, spread: f32) -> Self {
        let forward = (look_at - eye).normalize();
        let right = forward.cross(Vec3::Z).normalize();
        Self {
            eye,
            right,
            up: right.cross(forward),
            forward,
            spread,
        }
    }

    fn still(look: &Look) -> Self {
        Self::new(look.eye, look.look_at, look.spread)
    }

    fn gripper(snapshot: &Snapshot) -> Self {
        let [x, y, z, _] = snapshot.hand;
        let grip = Vec3::new(x, y, z);
        Self::new(
            grip + Vec3::new(0.0, -0.36, 0.34),
            grip + Vec3::new(0.0, 0.04, -0.14),
            0.80,
        )
    }

    /// Columns and rows `[x0, y0, x1, y1)` of the samples that may see any of the points' hull; `None` when it is
    /// outside of the picture.
    fn bounds(&self, points: &[Vec3; 8], width: usize, height: usize) -> Option<[usize; 4]> {
        let mut low = [f32::INFINITY; 2];
        let mut high = [f32::NEG_INFINITY; 2];
        for point in points {
            let p = *point - self.eye;
            let depth = p.dot(self.forward);
            if depth <= 0.05 {
                // Beside or behind the camera the projection has no bound.
                return Some([0, 0, width, height]);
            }
            let u = p.dot(self.right) / depth;
            let v = -p.dot(self.up) / depth;
            low = [low[0].min(u), low[1].min(v)];
            high = [high[0].max(u), high[1].max(v)];
        }
        let scale = |v: f32, size: usize| (v / self.spread * 0.5 + 0.5) * size as f32;
        // `as` saturates, so what is left of or above the picture becomes 0.
        let first = |v: f32, size: usize| (scale(v, size) as usize).min(size);
        let last = |v: f32, size: usize| (scale(v, size).ceil().max(0.0) as usize).min(size);
        let bounds = [
            first(low[0], width),
            first(low[1], height),
            last(high[0], width),
            last(high[1], height),
        ];
        (bounds[0] < bounds[2] && bounds[1] < bounds[3]).then_some(bounds)
    }
}

/// One ray's result.
#[derive(Clone, Copy)]
struct Sample {
    colour: Vec3,
    depth: f32,
    /// Index of the thing, or one of the constants above.
    part: u8,
    shadowed: bool,
}

/// The samples of one picture, rows from the top.
#[derive(Clone, Default)]
struct Canvas {
    width: usize,
    height: usize,
    samples: Vec<Sample>,
}

impl Canvas {
    fn reset(&mut self, camera: Camera) {
        let [width, height] = camera.size().map(|s| s as usize * SAMPLES);
        self.width = width;
        self.height = height;
        self.samples.clear();
        self.samples.resize(
            width * height,
            Sample {
                colour: Vec3::ZERO,
                depth: f32::INFINITY,
                part: BEYOND,
                shadowed: false,
            },
        );
    }

    fn copy_from(&mut self, other: &Self) {
        self.width = other.width;
        self.height = other.height;
        self.samples.clone_from(&other.samples);
    }

    /// Calls `visit` for every sample within `bounds` with its ray.
    #[inline]
    fn cast(
        &mut self,
        view: &View,
        [x0, y0, x1, y1]: [usize; 4],
        mut visit: impl FnMut(Ray, &mut Sample),
    ) {
        let step = |size: usize| 2.0 * view.spread / size as f32;
        let (du, dv) = (step(self.width), step(self.height));
        for y in y0..y1 {
            let v = view.spread - (y as f32 + 0.5) * dv;
            let row_direction = view.forward + view.up * v;
            let row = &mut self.samples[y * self.width + x0..y * self.width + x1];
            for (x, sample) in (x0..).zip(row) {
                let u = (x as f32 + 0.5) * du - view.spread;
                let ray = Ray {
                    origin: view.eye,
                    direction: row_direction + view.right * u,
                };
                visit(ray, sample);
            }
        }
    }

    fn draw_ground(&mut self, view: &View, look: &Look) {
        let light = look.ambient + look.sun * look.light.z;
        self.cast(view, [0, 0, self.width, self.height], |ray, sample| {
            let t = -ray.origin.z / ray.direction.z;
            let p = ray.at(t);
            match look.ground(p.x, p.y) {
                Some(colour) if t > 0.0 => {
                    *sample = Sample {
                        colour: colour * light,
                        depth: t,
                        part: GROUND,
                        shadowed: false,
                    };
                }
                _ => sample.colour = look.floor,
            }
        });
    }

    fn draw(&mut self, part: &Part, view: &View, look: &Look) {
        let corners = part.shape.corners().map(|c| part.centre + c);
        let Some(bounds) = view.bounds(&corners, self.width, self.height) else {
            return;
        };
        self.cast(view, bounds, |mut ray, sample| {
            let direction = ray.direction;
            ray.origin -= part.centre;
            let Some(hit) = part.shape.hit(ray).filter(|hit| hit.t < sample.depth) else {
                return;
            };
            let facing = hit.normal.dot(look.light).max(0.0);
            let mut colour = part.colour * hit.tint * (look.ambient + look.sun * facing);
            if part.gloss > 0.0 {
                let mirrored = direction - 2.0 * direction.dot(hit.normal) * hit.normal;
                let shine = (mirrored.dot(look.light) / direction.length()).max(0.0);
                let shine = shine * shine;
                let shine = shine * shine;
                colour += look.sun * (part.gloss * shine * shine);
            }
            *sample = Sample {
                colour,
                depth: hit.t,
                part: part.id,
                shadowed: false,
            };
        });
    }

    /// Darkens the ground where `part` stands between it and the light.
    fn shade(&mut self, part: &Part, view: &View, look: &Look) {
        let slide = look.light / look.light.z;
        let corners = part.shape.corners().map(|c| {
            let p = part.centre + c;
            p - slide * p.z
        });
        let Some(bounds) = view.bounds(&corners, self.width, self.height) else {
            return;
        };
        let full = look.ambient + look.sun * look.light.z;
        let dimmed = look.ambient + look.sun * look.light.z * (1.0 - SHADOW);
        let factor = dimmed / full;
        self.cast(view, bounds, |ray, sample| {
            if sample.part != GROUND || sample.shadowed {
                return;
            }
            let towards_light = Ray {
                origin: ray.at(sample.depth) - part.centre,
                direction: look.light,
            };
            if part.shape.hit(towards_light).is_some() {
                sample.colour *= factor;
                sample.shadowed = true;
            }
        });
    }

    /// Calls `visit` for every output pixel with its samples, rows from the top.
    fn for_pixels(&self, mut visit: impl FnMut(&[Sample; SAMPLES * SAMPLES])) {
        for rows in self.samples.chunks_exact(self.width * SAMPLES) {
            let (upper, lower) = rows.split_at(self.width);
            for (a, b) in upper.chunks_exact(2).zip(lower.chunks_exact(2)) {
                if let (&[a, b], &[c, d]) = (a, b) {
                    visit(&[a, b, c, d]);
                }
            }
        }
    }
}
