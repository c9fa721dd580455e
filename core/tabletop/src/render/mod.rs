//! Pictures and masks, by casting rays into the scene.
//!
//! Every output pixel is [`SAMPLES`]² rays. A part is only tested where its bounding box projects to; the table as
//! the static camera sees it is drawn once per environment. Masks come from the same rays as the picture.

mod look;
mod shape;

use crate::CAMERAS;
use crate::physics::{self, FINGER_HALF, PALM_ABOVE, PALM_HALF, finger_centre};
use crate::scene::{Environment, Kind, Scene, Snapshot, ThingId};
use crate::task::Task;
use episode::{Image, PixelMask, Region};
use glam::{Mat3, Vec2, Vec3};
use look::{Look, paint};
use shape::{Cuboid, Cylinder, Ray, Shape, Sphere, Vessel};
use std::cell::RefCell;
use std::sync::LazyLock;

/// Rays per pixel and axis.
const SAMPLES: usize = 2;
/// Share of the directed light that a shadow takes.
const SHADOW: f32 = 0.62;

/// Nothing closer to the eye than this is drawn.
const NEAR: f32 = 0.02;

const GROUND: u8 = u8::MAX;
const SHADOWED_GROUND: u8 = u8::MAX - 1;
const BEYOND: u8 = u8::MAX - 2;
const HAND: u8 = u8::MAX - 3;

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
            let gain = self.brightness / (SAMPLES * SAMPLES) as f32;
            canvas.for_pixels(|[a, b, c, d]| {
                let pixel: [u8; 3] = std::array::from_fn(|i| {
                    let sum = [a, b, c, d]
                        .map(|s| u16::from(s.rgb[i]))
                        .iter()
                        .sum::<u16>();
                    // `as` saturates.
                    (f32::from(sum) * gain + 0.5) as u8
                });
                rgb.extend(pixel);
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
            let mut frame = Frame { canvas, view, look };
            // Every shadow falls on ground that nothing covers, so all parts come first.
            self.paint_things(snapshot, &mut frame, Pass::Parts);
            self.paint_hand(snapshot, &mut frame, Pass::Parts);
            self.paint_things(snapshot, &mut frame, Pass::Shadows);
            self.paint_hand(snapshot, &mut frame, Pass::Shadows);
            use_it(frame.canvas);
        });
    }

    fn paint_things(&self, snapshot: &Snapshot, frame: &mut Frame<'_>, pass: Pass) {
        for (id, thing) in self.with_ids() {
            let Some(pose) = self.pose(snapshot, id) else {
                continue;
            };
            let part = Part {
                id: id.0,
                centre: pose.position,
                axes: Mat3::from_quat(pose.rotation),
                colour: paint(thing.colour),
                gloss: if thing.kind == Kind::Ball { 0.5 } else { 0.0 },
            };
            let (half, half_height) = (thing.half, thing.half_height());
            match thing.kind {
                Kind::Ball => frame.paint(&part, &Sphere { radius: half }, pass),
                Kind::Cylinder | Kind::Puck => {
                    let cylinder = Cylinder {
                        radius: half,
                        half_height,
                    };
                    frame.paint(&part, &cylinder, pass);
                }
                Kind::Cube | Kind::Tile => {
                    let half = Vec3::new(half, half, half_height);
                    frame.paint(&part, &Cuboid { half }, pass);
                }
                Kind::Bowl | Kind::Plate => {
                    let make = physics::Vessel::of(thing.kind);
                    let vessel = Vessel {
                        bottom_radius: half * make.bottom,
                        top_radius: half,
                        height: make.height,
                        wall: make.wall,
                        floor: make.floor,
                    };
                    frame.paint(&part, &vessel, pass);
                }
            }
        }
    }

    fn paint_hand(&self, snapshot: &Snapshot, frame: &mut Frame<'_>, pass: Pass) {
        let [x, y, z, aperture] = snapshot.hand;
        let grip = Vec3::new(x, y, z);
        let piece = |centre: Vec3, grey: f32| Part {
            id: HAND,
            centre,
            axes: Mat3::IDENTITY,
            colour: Vec3::splat(grey),
            gloss: 0.0,
        };
        let gap = aperture * self.difficulty.open_gap;
        for side in [-1.0, 1.0] {
            let finger = piece(finger_centre(grip, side, gap), 0.17);
            frame.paint(&finger, &Cuboid { half: FINGER_HALF }, pass);
        }
        let palm = piece(grip + Vec3::Z * PALM_ABOVE, 0.33);
        frame.paint(&palm, &Cuboid { half: PALM_HALF }, pass);
        // The stem has no shadow, which would lie across the whole table and only distract.
        if pass == Pass::Parts {
            let stem = Cylinder {
                radius: 0.04,
                half_height: 0.5,
            };
            let height = PALM_ABOVE + PALM_HALF.z + stem.half_height;
            frame.paint(&piece(grip + Vec3::Z * height, 0.42), &stem, pass);
        }
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

/// Where something is and how it looks, but for its shape.
struct Part {
    id: u8,
    centre: Vec3,
    /// Directions of the shape's own axes.
    axes: Mat3,
    colour: Vec3,
    gloss: f32,
}

impl Part {
    /// Corners of a box around the shape; bit 0 of the index chooses the side in x, bit 1 in y, bit 2 in z.
    fn corners(&self, shape: &impl Shape) -> [Vec3; 8] {
        let [low, high] = shape.extent();
        std::array::from_fn(|i| {
            let pick = |bit: usize, low: f32, high: f32| if i & bit == 0 { low } else { high };
            let corner = Vec3::new(
                pick(1, low.x, high.x),
                pick(2, low.y, high.y),
                pick(4, low.z, high.z),
            );
            self.centre + self.axes * corner
        })
    }

    /// A direction in the shape's frame.
    fn inwards(&self, direction: Vec3) -> Vec3 {
        // The transpose of a rotation is its inverse.
        self.axes.transpose() * direction
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Parts,
    Shadows,
}

/// A canvas while things are painted on it.
struct Frame<'a> {
    canvas: &'a mut Canvas,
    view: View,
    look: &'a Look,
}

impl Frame<'_> {
    fn paint(&mut self, part: &Part, shape: &impl Shape, pass: Pass) {
        match pass {
            Pass::Parts => self.canvas.draw(part, shape, &self.view, self.look),
            Pass::Shadows => self.canvas.shade(part, shape, &self.view, self.look),
        }
    }
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

    /// The same camera in the frame of a part. Rays there are found without turning each of them.
    fn in_frame(&self, part: &Part) -> Self {
        Self {
            eye: part.inwards(self.eye - part.centre),
            right: part.inwards(self.right),
            up: part.inwards(self.up),
            forward: part.inwards(self.forward),
            spread: self.spread,
        }
    }

    /// Columns and rows `[x0, y0, x1, y1)` of the samples that may see any of a box with these corners, in the order of
    /// [`Part::corners`]; `None` when it is outside of the picture.
    fn bounds(&self, corners: &[Vec3; 8], width: usize, height: usize) -> Option<[usize; 4]> {
        let mut low = Vec2::INFINITY;
        let mut high = Vec2::NEG_INFINITY;
        let mut include = |p: Vec3| {
            let projected = Vec2::new(p.x, p.y) / p.z;
            low = low.min(projected);
            high = high.max(projected);
        };
        // Right, down and depth from the eye.
        let corners = corners.map(|corner| {
            let p = corner - self.eye;
            Vec3::new(p.dot(self.right), -p.dot(self.up), p.dot(self.forward))
        });
        for (i, &corner) in corners.iter().enumerate() {
            if corner.z >= NEAR {
                include(corner);
            }
            // Corners whose numbers differ in one bit share an edge; where it passes the near plane the box is cut.
            for bit in [1, 2, 4] {
                if i & bit == 0
                    && let Some(&other) = corners.get(i | bit)
                    && (corner.z < NEAR) != (other.z < NEAR)
                {
                    let share = (NEAR - corner.z) / (other.z - corner.z);
                    include(corner + (other - corner) * share);
                }
            }
        }
        let scale = |v: f32, size: usize| (v / self.spread * 0.5 + 0.5) * size as f32;
        // `as` saturates, so what is left of or above the picture becomes 0.
        let first = |v: f32, size: usize| (scale(v, size) as usize).min(size);
        let last = |v: f32, size: usize| (scale(v, size).ceil() as usize).min(size);
        let bounds = [
            first(low.x, width),
            first(low.y, height),
            last(high.x, width),
            last(high.y, height),
        ];
        (bounds[0] < bounds[2] && bounds[1] < bounds[3]).then_some(bounds)
    }
}

/// One ray's result.
#[derive(Clone, Copy)]
struct Sample {
    depth: f32,
    /// Before the brightness of the episode.
    rgb: [u8; 3],
    /// Index of the thing, or one of the constants above.
    part: u8,
}

fn quantise(colour: Vec3) -> [u8; 3] {
    // `as` saturates.
    (colour * 255.0 + 0.5).to_array().map(|c| c as u8)
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
                depth: f32::INFINITY,
                rgb: [0; 3],
                part: BEYOND,
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
        let floor = quantise(look.floor);
        self.cast(view, [0, 0, self.width, self.height], |ray, sample| {
            let t = -ray.origin.z / ray.direction.z;
            let p = ray.at(t);
            match look.table(p.x, p.y) {
                Some(rgb) if t > 0.0 => {
                    *sample = Sample {
                        depth: t,
                        rgb,
                        part: GROUND,
                    };
                }
                _ => sample.rgb = floor,
            }
        });
    }

    fn draw(&mut self, part: &Part, shape: &impl Shape, view: &View, look: &Look) {
        let Some(bounds) = view.bounds(&part.corners(shape), self.width, self.height) else {
            return;
        };
        let light = part.inwards(look.light);
        self.cast(&view.in_frame(part), bounds, |ray, sample| {
            let Some(hit) = shape.hit(ray).filter(|hit| hit.t < sample.depth) else {
                return;
            };
            let facing = hit.normal.dot(light).max(0.0);
            let mut colour = part.colour * hit.tint * (look.ambient + look.sun * facing);
            if part.gloss > 0.0 {
                let d = ray.direction;
                let mirrored = d - 2.0 * d.dot(hit.normal) * hit.normal;
                let shine = (mirrored.dot(light) / d.length()).max(0.0);
                let shine = shine * shine;
                let shine = shine * shine;
                colour += look.sun * (part.gloss * shine * shine);
            }
            *sample = Sample {
                depth: hit.t,
                rgb: quantise(colour),
                part: part.id,
            };
        });
    }

    /// Darkens the ground where `part` stands between it and the light.
    fn shade(&mut self, part: &Part, shape: &impl Shape, view: &View, look: &Look) {
        let slide = look.light / look.light.z;
        let corners = part.corners(shape).map(|corner| corner - slide * corner.z);
        let Some(bounds) = view.bounds(&corners, self.width, self.height) else {
            return;
        };
        let full = look.ambient + look.sun * look.light.z;
        let dimmed = look.ambient + look.sun * look.light.z * (1.0 - SHADOW);
        let factor = dimmed / full;
        let light = part.inwards(look.light);
        self.cast(&view.in_frame(part), bounds, |ray, sample| {
            if sample.part != GROUND {
                return;
            }
            let towards_light = Ray {
                origin: ray.at(sample.depth),
                direction: light,
            };
            if shape.blocks(towards_light) {
                let lit = Vec3::from(sample.rgb.map(f32::from)) / 255.0;
                sample.rgb = quantise(lit * factor);
                sample.part = SHADOWED_GROUND;
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
