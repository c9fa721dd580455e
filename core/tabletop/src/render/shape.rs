//! Rays against the shapes of the benchmark.

use glam::Vec3;

/// A ray; `direction` need not have unit length.
#[derive(Clone, Copy)]
pub(super) struct Ray {
    pub(super) origin: Vec3,
    pub(super) direction: Vec3,
}

/// Where a ray meets a surface.
#[derive(Clone, Copy)]
pub(super) struct Hit {
    /// Multiple of the ray's direction.
    pub(super) t: f32,
    /// Unit normal, towards the side the ray comes from.
    pub(super) normal: Vec3,
    /// Factor on the colour of the part.
    pub(super) tint: f32,
}

impl Ray {
    #[inline]
    pub(super) fn at(&self, t: f32) -> Vec3 {
        self.origin + self.direction * t
    }
}

/// A shape around the origin of its own frame.
pub(super) trait Shape {
    /// Lowest and highest corner of a box around the shape.
    fn extent(&self) -> [Vec3; 2];

    /// The nearest front face at `t > 0`.
    fn hit(&self, ray: Ray) -> Option<Hit>;

    /// Whether the shape stands between a point on the table, from which `ray` goes upwards, and the light.
    #[inline]
    fn blocks(&self, ray: Ray) -> bool {
        self.hit(ray).is_some()
    }
}

pub(super) struct Sphere {
    pub(super) radius: f32,
}

impl Shape for Sphere {
    fn extent(&self) -> [Vec3; 2] {
        [Vec3::splat(-self.radius), Vec3::splat(self.radius)]
    }

    #[inline]
    fn hit(&self, ray: Ray) -> Option<Hit> {
        let a = ray.direction.length_squared();
        let b = ray.origin.dot(ray.direction);
        let c = ray.origin.length_squared() - self.radius * self.radius;
        let discriminant = b * b - a * c;
        if discriminant < 0.0 {
            return None;
        }
        let t = (-b - discriminant.sqrt()) / a;
        (t > 0.0).then(|| Hit {
            t,
            normal: ray.at(t) / self.radius,
            tint: 1.0,
        })
    }
}

pub(super) struct Cuboid {
    pub(super) half: Vec3,
}

impl Shape for Cuboid {
    fn extent(&self) -> [Vec3; 2] {
        [-self.half, self.half]
    }

    #[inline]
    fn hit(&self, ray: Ray) -> Option<Hit> {
        let inverse = ray.direction.recip();
        let a = (-self.half - ray.origin) * inverse;
        let b = (self.half - ray.origin) * inverse;
        let (near, far) = (a.min(b), a.max(b));
        let t = near.max_element();
        if !(t > 0.0 && t <= far.min_element()) {
            return None;
        }
        let normal = if t == near.x {
            Vec3::new(-ray.direction.x.signum(), 0.0, 0.0)
        } else if t == near.y {
            Vec3::new(0.0, -ray.direction.y.signum(), 0.0)
        } else {
            Vec3::new(0.0, 0.0, -ray.direction.z.signum())
        };
        Some(Hit {
            t,
            normal,
            tint: 1.0,
        })
    }
}

/// Axis along z.
pub(super) struct Cylinder {
    pub(super) radius: f32,
    pub(super) half_height: f32,
}

impl Shape for Cylinder {
    fn extent(&self) -> [Vec3; 2] {
        let half = Vec3::new(self.radius, self.radius, self.half_height);
        [-half, half]
    }

    #[inline]
    fn hit(&self, ray: Ray) -> Option<Hit> {
        let Ray {
            origin: o,
            direction: d,
        } = ray;
        let radius2 = self.radius * self.radius;
        // The cap that faces the ray.
        if d.z != 0.0 {
            let side = -d.z.signum();
            let t = (side * self.half_height - o.z) / d.z;
            let p = ray.at(t);
            if t > 0.0 && p.x * p.x + p.y * p.y <= radius2 {
                return Some(Hit {
                    t,
                    normal: Vec3::new(0.0, 0.0, side),
                    tint: 1.0,
                });
            }
        }
        let a = d.x * d.x + d.y * d.y;
        let b = o.x * d.x + o.y * d.y;
        let c = o.x * o.x + o.y * o.y - radius2;
        let discriminant = b * b - a * c;
        if discriminant < 0.0 || a <= 0.0 {
            return None;
        }
        let t = (-b - discriminant.sqrt()) / a;
        let p = ray.at(t);
        (t > 0.0 && p.z.abs() <= self.half_height).then(|| Hit {
            t,
            normal: Vec3::new(p.x, p.y, 0.0) / self.radius,
            tint: 1.0,
        })
    }
}

/// An open, upright, round container whose underside is at z = 0.
pub(super) struct Vessel {
    pub(super) bottom_radius: f32,
    pub(super) top_radius: f32,
    pub(super) height: f32,
    pub(super) wall: f32,
    pub(super) floor: f32,
}

impl Vessel {
    fn slope(&self) -> f32 {
        (self.top_radius - self.bottom_radius) / self.height
    }

    /// The wall is a cone `radius(z) = base + slope z`: the first hit between `low` and the rim whose side, outer (+1)
    /// or inner (−1), faces the ray.
    #[inline]
    fn wall(&self, ray: Ray, base: f32, low: f32, side: f32) -> Option<(f32, Vec3)> {
        let slope = self.slope();
        let (o, d) = (ray.origin, ray.direction);
        let (r, dr) = (base + slope * o.z, slope * d.z);
        let a = d.x * d.x + d.y * d.y - dr * dr;
        let b = o.x * d.x + o.y * d.y - r * dr;
        let c = o.x * o.x + o.y * o.y - r * r;
        let discriminant = b * b - a * c;
        if discriminant < 0.0 || a == 0.0 {
            return None;
        }
        let root = discriminant.sqrt();
        [(-b - root) / a, (-b + root) / a]
            .into_iter()
            .filter_map(|t| {
                let p = ray.at(t);
                let radius = base + slope * p.z;
                let normal = side * Vec3::new(p.x, p.y, -slope * radius);
                let is_wall = p.z >= low && p.z <= self.height && radius > 0.0;
                (t > 0.0 && is_wall && normal.dot(d) < 0.0).then_some((t, normal))
            })
            .min_by(|a, b| a.0.total_cmp(&b.0))
    }
}

impl Shape for Vessel {
    fn extent(&self) -> [Vec3; 2] {
        let radius = self.top_radius;
        [
            Vec3::new(-radius, -radius, 0.0),
            Vec3::new(radius, radius, self.height),
        ]
    }

    /// Both cameras always look from above the rim: where the ray passes its height decides which surface it can meet.
    #[inline]
    fn hit(&self, ray: Ray) -> Option<Hit> {
        let (o, d) = (ray.origin, ray.direction);
        if d.z >= 0.0 || o.z <= self.height {
            return None;
        }
        let pass = |z: f32| {
            let t = (z - o.z) / d.z;
            let p = ray.at(t);
            (t, p.x * p.x + p.y * p.y)
        };
        let flat = |t: f32, tint: f32| Hit {
            t,
            normal: Vec3::Z,
            tint,
        };
        let steep = |(t, normal): (f32, Vec3), tint: f32| Hit {
            t,
            normal: normal.normalize_or_zero(),
            tint,
        };
        let (t, distance2) = pass(self.height);
        if distance2 > self.top_radius * self.top_radius {
            let hit = self.wall(ray, self.bottom_radius, 0.0, 1.0);
            return hit.map(|hit| steep(hit, 1.0));
        }
        let inner = self.top_radius - self.wall;
        if distance2 >= inner * inner {
            return Some(flat(t, 1.12));
        }
        let base = self.bottom_radius - self.wall;
        let (t, distance2) = pass(self.floor);
        let inner = base + self.slope() * self.floor;
        if distance2 <= inner * inner {
            return Some(flat(t, 0.92));
        }
        let hit = self.wall(ray, base, self.floor, -1.0);
        hit.map(|hit| steep(hit, 0.8))
    }

    #[inline]
    fn blocks(&self, ray: Ray) -> bool {
        self.wall(ray, self.bottom_radius, 0.0, 1.0).is_some()
    }
}
