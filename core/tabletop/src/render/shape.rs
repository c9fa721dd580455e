//! Rays against the shapes of the benchmark.

use glam::{Mat3, Quat, Vec3};

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

pub(super) enum Shape {
    Sphere {
        radius: f32,
    },
    Cuboid {
        half: Vec3,
        axes: Mat3,
    },
    /// Axis along the local z.
    Cylinder {
        radius: f32,
        half_height: f32,
        axes: Mat3,
    },
    /// An open, upright, round container; the centre is that of its underside.
    Vessel {
        bottom_radius: f32,
        top_radius: f32,
        height: f32,
        wall: f32,
        floor: f32,
    },
}

impl Shape {
    pub(super) fn cuboid(half: Vec3, rotation: Quat) -> Self {
        Self::Cuboid {
            half,
            axes: Mat3::from_quat(rotation),
        }
    }

    pub(super) fn cylinder(radius: f32, half_height: f32, rotation: Quat) -> Self {
        Self::Cylinder {
            radius,
            half_height,
            axes: Mat3::from_quat(rotation),
        }
    }

    /// Corners of a box around the shape, relative to its centre.
    pub(super) fn corners(&self) -> [Vec3; 8] {
        let (low, high, axes) = match self {
            Self::Sphere { radius } => (Vec3::splat(-radius), Vec3::splat(*radius), Mat3::IDENTITY),
            Self::Cuboid { half, axes } => (-*half, *half, *axes),
            Self::Cylinder {
                radius,
                half_height,
                axes,
            } => {
                let half = Vec3::new(*radius, *radius, *half_height);
                (-half, half, *axes)
            }
            Self::Vessel {
                top_radius, height, ..
            } => (
                Vec3::new(-top_radius, -top_radius, 0.0),
                Vec3::new(*top_radius, *top_radius, *height),
                Mat3::IDENTITY,
            ),
        };
        std::array::from_fn(|i| {
            let pick = |bit: usize, low: f32, high: f32| if i & bit == 0 { low } else { high };
            axes * Vec3::new(
                pick(1, low.x, high.x),
                pick(2, low.y, high.y),
                pick(4, low.z, high.z),
            )
        })
    }

    /// The nearest front face at `t > 0`. `ray.origin` is relative to the shape's centre.
    #[inline]
    pub(super) fn hit(&self, ray: Ray) -> Option<Hit> {
        match self {
            Self::Sphere { radius } => sphere(ray, *radius),
            Self::Cuboid { half, axes } => {
                let local = ray.into_frame(axes);
                cuboid(local, *half).map(|hit| hit.out_of_frame(axes))
            }
            Self::Cylinder {
                radius,
                half_height,
                axes,
            } => {
                let local = ray.into_frame(axes);
                cylinder(local, *radius, *half_height).map(|hit| hit.out_of_frame(axes))
            }
            Self::Vessel {
                bottom_radius,
                top_radius,
                height,
                wall,
                floor,
            } => vessel(ray, *bottom_radius, *top_radius, *height, *wall, *floor),
        }
    }
}

impl Ray {
    #[inline]
    fn into_frame(self, axes: &Mat3) -> Self {
        // The transpose of a rotation is its inverse.
        let turn = |v: Vec3| Vec3::new(axes.x_axis.dot(v), axes.y_axis.dot(v), axes.z_axis.dot(v));
        Self {
            origin: turn(self.origin),
            direction: turn(self.direction),
        }
    }

    #[inline]
    pub(super) fn at(&self, t: f32) -> Vec3 {
        self.origin + self.direction * t
    }
}

impl Hit {
    #[inline]
    fn out_of_frame(mut self, axes: &Mat3) -> Self {
        self.normal = *axes * self.normal;
        self
    }
}

fn sphere(ray: Ray, radius: f32) -> Option<Hit> {
    let a = ray.direction.length_squared();
    let b = ray.origin.dot(ray.direction);
    let c = ray.origin.length_squared() - radius * radius;
    let discriminant = b * b - a * c;
    if discriminant < 0.0 {
        return None;
    }
    let t = (-b - discriminant.sqrt()) / a;
    (t > 0.0).then(|| Hit {
        t,
        normal: ray.at(t) / radius,
        tint: 1.0,
    })
}

fn cuboid(ray: Ray, half: Vec3) -> Option<Hit> {
    let inverse = ray.direction.recip();
    let a = (-half - ray.origin) * inverse;
    let b = (half - ray.origin) * inverse;
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

fn cylinder(ray: Ray, radius: f32, half_height: f32) -> Option<Hit> {
    let Ray {
        origin: o,
        direction: d,
    } = ray;
    // The cap that faces the ray.
    if d.z != 0.0 {
        let side = -d.z.signum();
        let t = (side * half_height - o.z) / d.z;
        let p = ray.at(t);
        if t > 0.0 && p.x * p.x + p.y * p.y <= radius * radius {
            return Some(Hit {
                t,
                normal: Vec3::new(0.0, 0.0, side),
                tint: 1.0,
            });
        }
    }
    let a = d.x * d.x + d.y * d.y;
    let b = o.x * d.x + o.y * d.y;
    let c = o.x * o.x + o.y * o.y - radius * radius;
    let discriminant = b * b - a * c;
    if discriminant < 0.0 || a <= 0.0 {
        return None;
    }
    let t = (-b - discriminant.sqrt()) / a;
    let p = ray.at(t);
    (t > 0.0 && p.z.abs() <= half_height).then(|| Hit {
        t,
        normal: Vec3::new(p.x, p.y, 0.0) / radius,
        tint: 1.0,
    })
}

fn vessel(ray: Ray, bottom: f32, top: f32, height: f32, wall: f32, floor: f32) -> Option<Hit> {
    let slope = (top - bottom) / height;
    let mut best: Option<Hit> = None;
    let mut offer = |t: f32, normal: Vec3, tint: f32| {
        if t > 0.0 && best.is_none_or(|hit| t < hit.t) {
            best = Some(Hit { t, normal, tint });
        }
    };
    // Outside and inside of the wall: cones `radius(z) = base + slope z`, of which the faces towards the ray count.
    for (base, low, outwards, tint) in [(bottom, 0.0, 1.0, 1.0), (bottom - wall, floor, -1.0, 0.8)]
    {
        let (o, d) = (ray.origin, ray.direction);
        let (r, dr) = (base + slope * o.z, slope * d.z);
        let a = d.x * d.x + d.y * d.y - dr * dr;
        let b = o.x * d.x + o.y * d.y - r * dr;
        let c = o.x * o.x + o.y * o.y - r * r;
        let discriminant = b * b - a * c;
        if discriminant < 0.0 || a == 0.0 {
            continue;
        }
        let root = discriminant.sqrt();
        for t in [(-b - root) / a, (-b + root) / a] {
            let p = ray.at(t);
            let radius = base + slope * p.z;
            let normal = outwards * Vec3::new(p.x, p.y, -slope * radius);
            if (low..=height).contains(&p.z) && radius > 0.0 && normal.dot(d) < 0.0 {
                offer(t, normal.normalize_or_zero(), tint);
            }
        }
    }
    if ray.direction.z < 0.0 {
        let mut disc = |z: f32, inner: f32, outer: f32, tint: f32| {
            let t = (z - ray.origin.z) / ray.direction.z;
            let p = ray.at(t);
            let distance = (p.x * p.x + p.y * p.y).sqrt();
            if (inner..=outer).contains(&distance) {
                offer(t, Vec3::Z, tint);
            }
        };
        disc(height, top - wall, top, 1.12);
        disc(floor, 0.0, bottom - wall + slope * floor, 0.92);
    }
    best
}
