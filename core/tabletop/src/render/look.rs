//! How environments look: table texture, light and camera pose.

use crate::scene::{Colour, Environment, TABLE_HALF};
use glam::Vec3;
use std::sync::LazyLock;

/// Light and camera of an environment.
pub(super) struct Look {
    /// Unit vector from the table to the light.
    pub(super) light: Vec3,
    /// Colour of the directed light.
    pub(super) sun: Vec3,
    /// Colour of the light from everywhere.
    pub(super) ambient: Vec3,
    pub(super) floor: Vec3,
    pub(super) eye: Vec3,
    pub(super) look_at: Vec3,
    /// Tangent of half the field of view of the static camera.
    pub(super) spread: f32,
    texture: Texture,
}

impl Look {
    pub(super) fn of(environment: Environment) -> &'static Self {
        static LOOKS: [LazyLock<Look>; 4] = [
            LazyLock::new(|| Look::make(Environment::A)),
            LazyLock::new(|| Look::make(Environment::B)),
            LazyLock::new(|| Look::make(Environment::C)),
            LazyLock::new(|| Look::make(Environment::D)),
        ];
        let [a, b, c, d] = &LOOKS;
        match environment {
            Environment::A => a,
            Environment::B => b,
            Environment::C => c,
            Environment::D => d,
        }
    }

    fn make(environment: Environment) -> Self {
        let v = Vec3::new;
        let texture = Texture::default();
        let mut look = match environment {
            Environment::A => Self {
                light: v(-0.45, -0.30, 1.0).normalize(),
                sun: v(0.56, 0.54, 0.50),
                ambient: v(0.50, 0.51, 0.54),
                floor: v(0.30, 0.31, 0.34),
                eye: v(0.0, -3.0, 3.7),
                look_at: v(0.0, -0.04, 0.05),
                spread: 0.216,
                texture,
            },
            Environment::B => Self {
                light: v(0.55, -0.20, 1.0).normalize(),
                sun: v(0.52, 0.53, 0.56),
                ambient: v(0.52, 0.52, 0.53),
                floor: v(0.42, 0.38, 0.34),
                eye: v(0.22, -2.95, 3.75),
                look_at: v(-0.01, -0.04, 0.05),
                spread: 0.222,
                texture,
            },
            Environment::C => Self {
                light: v(-0.15, 0.50, 1.0).normalize(),
                sun: v(0.64, 0.57, 0.46),
                ambient: v(0.50, 0.48, 0.46),
                floor: v(0.50, 0.48, 0.44),
                eye: v(-0.20, -2.9, 3.8),
                look_at: v(0.01, -0.02, 0.05),
                spread: 0.222,
                texture,
            },
            Environment::D => Self {
                light: v(0.20, -0.60, 1.0).normalize(),
                sun: v(0.48, 0.52, 0.57),
                ambient: v(0.53, 0.55, 0.57),
                floor: v(0.24, 0.27, 0.26),
                eye: v(0.10, -3.15, 3.55),
                look_at: v(0.0, -0.05, 0.05),
                spread: 0.216,
                texture,
            },
        };
        let light = look.ambient + look.sun * look.light.z;
        look.texture = Texture::bake(environment, light);
        look
    }

    /// Colour of the lit table at a point; `None` beside it.
    #[inline]
    pub(super) fn table(&self, x: f32, y: f32) -> Option<[u8; 3]> {
        (x.abs() <= TABLE_HALF && y.abs() <= TABLE_HALF).then(|| self.texture.at(x, y))
    }
}

/// Base colour of a thing.
pub(super) fn paint(colour: Colour) -> Vec3 {
    let v = Vec3::new;
    match colour {
        Colour::Red => v(0.86, 0.12, 0.10),
        Colour::Green => v(0.12, 0.60, 0.20),
        Colour::Blue => v(0.13, 0.27, 0.88),
        Colour::Yellow => v(0.97, 0.82, 0.08),
        Colour::Purple => v(0.56, 0.17, 0.70),
        Colour::Cyan => v(0.12, 0.78, 0.84),
        Colour::Grey => v(0.45, 0.45, 0.46),
    }
}

const TEXELS: usize = 384;

/// The lit table top as a picture.
#[derive(Default)]
struct Texture {
    texels: Vec<[u8; 3]>,
}

impl Texture {
    fn bake(environment: Environment, light: Vec3) -> Self {
        let pattern = match environment {
            Environment::A => planks,
            Environment::B => cloth,
            Environment::C => dark_wood,
            Environment::D => stone,
        };
        let position = |i: usize| ((i as f32 + 0.5) / TEXELS as f32 * 2.0 - 1.0) * TABLE_HALF;
        let texels = (0..TEXELS * TEXELS)
            .map(|i| {
                let colour = pattern(position(i % TEXELS), position(i / TEXELS));
                // `as` saturates.
                (colour * light * 255.0 + 0.5).to_array().map(|c| c as u8)
            })
            .collect();
        Self { texels }
    }

    #[inline]
    fn at(&self, x: f32, y: f32) -> [u8; 3] {
        const PER_UNIT: f32 = TEXELS as f32 / (2.0 * TABLE_HALF);
        let index = |v: f32| (((v + TABLE_HALF) * PER_UNIT) as usize).min(TEXELS - 1);
        let texel = self.texels.get(index(y) * TEXELS + index(x));
        texel.copied().unwrap_or_default()
    }
}

/// A fixed random number in `[0, 1)` for a lattice point (integer hash, 32-bit finaliser of MurmurHash3).
fn lattice(x: i32, y: i32, salt: u32) -> f32 {
    let mut h = (x as u32)
        .wrapping_mul(0x9E37_79B1)
        .wrapping_add((y as u32).wrapping_mul(0x85EB_CA77))
        .wrapping_add(salt.wrapping_mul(0xC2B2_AE3D));
    h ^= h >> 16;
    h = h.wrapping_mul(0x85EB_CA6B);
    h ^= h >> 13;
    h = h.wrapping_mul(0xC2B2_AE35);
    h ^= h >> 16;
    (h >> 8) as f32 / (1u32 << 24) as f32
}

/// Value noise in `[0, 1)`.
fn noise(x: f32, y: f32, salt: u32) -> f32 {
    let (fx, fy) = (x.floor(), y.floor());
    let (ix, iy) = (fx as i32, fy as i32);
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (tx, ty) = (ease(x - fx), ease(y - fy));
    let mix = |a: f32, b: f32, t: f32| a + (b - a) * t;
    let low = mix(lattice(ix, iy, salt), lattice(ix + 1, iy, salt), tx);
    let high = mix(lattice(ix, iy + 1, salt), lattice(ix + 1, iy + 1, salt), tx);
    mix(low, high, ty)
}

fn planks(x: f32, y: f32) -> Vec3 {
    let across = y * 2.6 + 20.0;
    let plank = across.floor();
    let tone = 0.94 + 0.10 * lattice(plank as i32, 3, 1);
    let grain = 0.95 + 0.09 * noise(x * 3.0 + plank * 17.0, y * 42.0, 2);
    let seam = if across - plank < 0.035 { 0.80 } else { 1.0 };
    Vec3::new(0.80, 0.69, 0.54) * (tone * grain * seam)
}

fn cloth(x: f32, y: f32) -> Vec3 {
    let weave = 0.96 + 0.06 * lattice((x * 60.0) as i32, (y * 60.0) as i32, 5);
    let (sx, sy) = ((x * 1.5 + 30.25).fract(), (y * 1.5 + 30.25).fract());
    let stripe = if sx < 0.10 || sy < 0.10 { 0.88 } else { 1.0 };
    Vec3::new(0.64, 0.67, 0.72) * (weave * stripe)
}

fn dark_wood(x: f32, y: f32) -> Vec3 {
    let bend = 0.5 * noise(x * 1.2, y * 1.2, 9);
    let grain = noise(x * 34.0 + bend * 14.0, y * 2.2, 8);
    Vec3::new(0.42, 0.27, 0.18) * (0.80 + 0.34 * grain)
}

fn stone(x: f32, y: f32) -> Vec3 {
    let cloud = 0.90 + 0.12 * noise(x * 3.1, y * 3.1, 11);
    let speckle = if lattice((x * 70.0).floor() as i32, (y * 70.0).floor() as i32, 12) > 0.93 {
        0.80
    } else {
        1.0
    };
    Vec3::new(0.72, 0.76, 0.70) * (cloud * speckle)
}
