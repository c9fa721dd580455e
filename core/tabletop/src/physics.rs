//! Rigid bodies and the hand.

use crate::FPS;
use crate::scene::{Kind, Pose, Scene, Snapshot, TABLE_HALF, Thing, ThingId};
use glam::{Quat, Vec3};
use rapier3d::math::Pose as RapierPose;
use rapier3d::parry::query;
use rapier3d::prelude::{
    BroadPhaseBvh, CCDSolver, ColliderBuilder, ColliderHandle, ColliderSet, Cuboid,
    FixedJointBuilder, Group, ImpulseJointHandle, ImpulseJointSet, IntegrationParameters,
    InteractionGroups, InteractionTestMode, IslandManager, MultibodyJointSet, NarrowPhase,
    PhysicsPipeline, RigidBodyBuilder, RigidBodyHandle, RigidBodySet, SoftBodySet,
};
use std::f32::consts::FRAC_1_SQRT_2;

/// Longest way of the hand in one control step, per axis, in table units.
pub(crate) const MAX_STEP: f32 = 0.15;
/// Lowest and highest grip point, in table units.
pub(crate) const HEIGHT: [f32; 2] = [0.06, 0.75];

const SUBSTEPS: usize = 5;
/// 9.81 m/s² with a table unit of about 0.4 m.
const GRAVITY: f32 = 24.0;
/// The hand opens or closes fully in this many control steps.
const CLOSING_STEPS: f32 = 1.0;

/// Half extents of a finger; its tip reaches [`FINGER_BELOW`] below the grip point.
pub(crate) const FINGER_HALF: Vec3 = Vec3::new(0.025, 0.045, 0.16);
pub(crate) const FINGER_BELOW: f32 = 0.04;
/// Half extents of the palm and the height of its centre above the grip point.
pub(crate) const PALM_HALF: Vec3 = Vec3::new(0.30, 0.035, 0.025);
pub(crate) const PALM_ABOVE: f32 = 0.305;

/// Fixed shape of a container: outer radius at the bottom relative to the top, height, thickness of wall and floor.
pub(crate) struct Vessel {
    pub(crate) bottom: f32,
    pub(crate) height: f32,
    pub(crate) wall: f32,
    pub(crate) floor: f32,
}

impl Vessel {
    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Plate => Self {
                bottom: 0.80,
                height: 0.045,
                wall: 0.045,
                floor: 0.025,
            },
            _ => Self {
                bottom: 0.84,
                height: 0.14,
                wall: 0.03,
                floor: 0.03,
            },
        }
    }
}

/// rapier's cylinders stand along y, ours along z.
const Y_TO_Z: Quat = Quat::from_xyzw(FRAC_1_SQRT_2, 0.0, 0.0, FRAC_1_SQRT_2);

const OBJECTS: Group = Group::GROUP_1;
const FINGERS: Group = Group::GROUP_2;
const STATIC: Group = Group::GROUP_3;
const HELD: Group = Group::GROUP_4;

fn groups(memberships: Group, filter: Group) -> InteractionGroups {
    InteractionGroups::new(memberships, filter, InteractionTestMode::And)
}

fn free_groups() -> InteractionGroups {
    groups(OBJECTS, Group::ALL)
}

#[derive(Clone)]
struct Held {
    thing: ThingId,
    joint: ImpulseJointHandle,
    /// The hand does not press what it holds below the height at which it took it.
    lowest: f32,
}

#[derive(Clone)]
struct Body {
    body: RigidBodyHandle,
    collider: ColliderHandle,
}

/// The simulated state of one episode.
pub(crate) struct Physics {
    parameters: IntegrationParameters,
    pipeline: PhysicsPipeline,
    islands: IslandManager,
    broad_phase: BroadPhaseBvh,
    narrow_phase: NarrowPhase,
    bodies: RigidBodySet,
    colliders: ColliderSet,
    joints: ImpulseJointSet,
    multibody_joints: MultibodyJointSet,
    soft_bodies: SoftBodySet,
    ccd: CCDSolver,

    movable: Vec<Body>,
    palm: RigidBodyHandle,
    fingers: [Body; 2],
    open_gap: f32,
    grip: Vec3,
    aperture: f32,
    held: Option<Held>,
}

impl Clone for Physics {
    /// The pipeline is only scratch memory between steps, so a copy gets a new one.
    fn clone(&self) -> Self {
        Self {
            parameters: self.parameters,
            pipeline: PhysicsPipeline::new(),
            islands: self.islands.clone(),
            broad_phase: self.broad_phase.clone(),
            narrow_phase: self.narrow_phase.clone(),
            bodies: self.bodies.clone(),
            colliders: self.colliders.clone(),
            joints: self.joints.clone(),
            multibody_joints: self.multibody_joints.clone(),
            soft_bodies: self.soft_bodies.clone(),
            ccd: self.ccd.clone(),
            movable: self.movable.clone(),
            palm: self.palm,
            fingers: self.fingers.clone(),
            open_gap: self.open_gap,
            grip: self.grip,
            aperture: self.aperture,
            held: self.held.clone(),
        }
    }
}

impl Physics {
    pub(crate) fn new(scene: &Scene) -> Self {
        let parameters = IntegrationParameters {
            dt: 1.0 / (FPS as f32 * SUBSTEPS as f32),
            ..IntegrationParameters::default()
        };
        let mut bodies = RigidBodySet::new();
        let mut colliders = ColliderSet::new();

        let fixed = groups(STATIC, OBJECTS | HELD);
        let mut wall = |half: Vec3, at: Vec3| {
            colliders.insert(
                ColliderBuilder::cuboid(half.x, half.y, half.z)
                    .translation(at)
                    .friction(0.8)
                    .collision_groups(fixed),
            );
        };
        wall(Vec3::new(2.0, 2.0, 0.2), Vec3::new(0.0, 0.0, -0.2));
        // An invisible fence, so that nothing falls off the table.
        for side in [-1.0, 1.0] {
            let at = side * (TABLE_HALF + 0.1);
            wall(Vec3::new(0.1, 2.0, 1.0), Vec3::new(at, 0.0, 1.0));
            wall(Vec3::new(2.0, 0.1, 1.0), Vec3::new(0.0, at, 1.0));
        }
        for (_, container) in scene.containers() {
            insert_container(&mut colliders, container, fixed);
        }

        let mut movable = Vec::with_capacity(scene.movable);
        for thing in scene.things.iter().take(scene.movable) {
            let collider = match thing.kind {
                Kind::Ball => ColliderBuilder::ball(thing.half),
                Kind::Cylinder | Kind::Puck => {
                    ColliderBuilder::cylinder(thing.half_height(), thing.half)
                        .position(RapierPose::from_parts(Vec3::ZERO, Y_TO_Z))
                }
                _ => ColliderBuilder::cuboid(thing.half, thing.half, thing.half_height()),
            };
            // Rolling friction does not exist in rapier; damping stands in for it.
            let damping = if thing.kind == Kind::Ball { 12.0 } else { 1.0 };
            let body = bodies.insert(
                RigidBodyBuilder::dynamic()
                    .pose(RapierPose::from_parts(
                        thing.start.position,
                        thing.start.rotation,
                    ))
                    .linear_damping(0.5)
                    .angular_damping(damping)
                    .sleeping(true),
            );
            let collider = colliders.insert_with_parent(
                collider
                    .density(1.0)
                    .friction(0.8)
                    .collision_groups(free_groups()),
                body,
                &mut bodies,
            );
            movable.push(Body { body, collider });
        }

        let grip = scene.hand_start;
        let palm = bodies.insert(RigidBodyBuilder::kinematic_position_based().translation(grip));
        let open_gap = scene.difficulty.open_gap;
        let fingers = [-1.0, 1.0].map(|side| {
            let body = bodies.insert(
                RigidBodyBuilder::kinematic_position_based()
                    .translation(finger_centre(grip, side, open_gap)),
            );
            let collider = colliders.insert_with_parent(
                ColliderBuilder::cuboid(FINGER_HALF.x, FINGER_HALF.y, FINGER_HALF.z)
                    .friction(0.8)
                    .collision_groups(groups(FINGERS, OBJECTS)),
                body,
                &mut bodies,
            );
            Body { body, collider }
        });

        Self {
            parameters,
            pipeline: PhysicsPipeline::new(),
            islands: IslandManager::new(),
            broad_phase: BroadPhaseBvh::new(),
            narrow_phase: NarrowPhase::new(),
            bodies,
            colliders,
            joints: ImpulseJointSet::new(),
            multibody_joints: MultibodyJointSet::new(),
            soft_bodies: SoftBodySet::new(),
            ccd: CCDSolver::new(),
            movable,
            palm,
            fingers,
            open_gap,
            grip,
            aperture: 1.0,
            held: None,
        }
    }

    /// Grip point and aperture.
    pub(crate) fn hand(&self) -> [f32; 4] {
        [self.grip.x, self.grip.y, self.grip.z, self.aperture]
    }

    pub(crate) fn held(&self) -> Option<ThingId> {
        self.held.as_ref().map(|held| held.thing)
    }

    /// Linear speed of a movable thing.
    pub(crate) fn speed(&self, id: ThingId) -> Option<f32> {
        let body = self.bodies.get(self.movable.get(id.index())?.body)?;
        Some(body.linvel().length())
    }

    /// Pose of a movable thing.
    pub(crate) fn pose(&self, id: ThingId) -> Option<Pose> {
        let body = self.bodies.get(self.movable.get(id.index())?.body)?;
        Some(Pose {
            position: body.translation(),
            rotation: *body.rotation(),
        })
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let poses = (0u8..).map(ThingId).take(self.movable.len());
        Snapshot {
            hand: self.hand(),
            bodies: poses.filter_map(|id| self.pose(id)).collect(),
        }
    }

    /// Runs one control step: the grip point moves towards `waypoint`, at most [`MAX_STEP`] per axis, while the
    /// fingers open or close.
    pub(crate) fn advance(&mut self, waypoint: Vec3, open: bool) {
        let way = (waypoint - self.grip).clamp(Vec3::splat(-MAX_STEP), Vec3::splat(MAX_STEP));
        if open {
            self.release();
        }
        let substep = way / SUBSTEPS as f32;
        let turn = 1.0 / (CLOSING_STEPS * SUBSTEPS as f32);
        for _ in 0..SUBSTEPS {
            let mut next = self.grip + substep;
            next = next.clamp(
                Vec3::new(-1.0, -1.0, HEIGHT[0]),
                Vec3::new(1.0, 1.0, HEIGHT[1]),
            );
            if substep.z < 0.0 && self.is_blocked_below(next) {
                next.z = self.grip.z;
            }
            self.grip = next;
            if open {
                self.aperture = (self.aperture + turn).min(1.0);
            } else if self.held.is_none() {
                self.aperture = (self.aperture - turn).max(0.0);
            }
            self.move_hand();
            self.pipeline.step(
                Vec3::new(0.0, 0.0, -GRAVITY),
                &self.parameters,
                &mut self.islands,
                &mut self.broad_phase,
                &mut self.narrow_phase,
                &mut self.bodies,
                &mut self.colliders,
                &mut self.joints,
                &mut self.multibody_joints,
                &mut self.soft_bodies,
                &mut self.ccd,
                &(),
                &(),
            );
            if !open && self.held.is_none() {
                self.grasp();
            }
        }
    }

    fn move_hand(&mut self) {
        let gap = self.aperture * self.open_gap;
        if let Some(palm) = self.bodies.get_mut(self.palm) {
            palm.set_next_kinematic_translation(self.grip);
        }
        for (side, finger) in [-1.0, 1.0].into_iter().zip(&self.fingers) {
            if let Some(body) = self.bodies.get_mut(finger.body) {
                body.set_next_kinematic_translation(finger_centre(self.grip, side, gap));
            }
        }
    }

    /// The arm is compliant downwards: it stops when a finger stands on an object or when what it holds is as low as
    /// it was taken.
    fn is_blocked_below(&self, next: Vec3) -> bool {
        if let Some(held) = &self.held {
            return next.z < held.lowest;
        }
        const TIP: Vec3 = Vec3::new(0.02, 0.04, 0.01);
        let tip = Cuboid::new(TIP);
        let gap = self.aperture * self.open_gap;
        self.movable.iter().any(|thing| {
            let Some(collider) = self.colliders.get(thing.collider) else {
                return false;
            };
            let away = collider.translation() - next;
            if away.truncate().abs().max_element() > 0.8 {
                return false;
            }
            [-1.0, 1.0].into_iter().any(|side| {
                let mut at = finger_centre(next, side, gap);
                at.z -= FINGER_HALF.z - TIP.z;
                query::intersection_test(
                    &RapierPose::from_translation(at),
                    &tip,
                    collider.position(),
                    collider.shape(),
                )
                .is_ok_and(|test| test.intersecting)
            })
        })
    }

    /// Ties the object that both fingers touch to the hand.
    fn grasp(&mut self) {
        let touched = |finger: &Body, thing: &Body| {
            self.narrow_phase
                .contact_pair(finger.collider, thing.collider)
                .is_some_and(|pair| pair.has_any_active_contact())
        };
        let Some((id, thing)) = (0u8..)
            .map(ThingId)
            .zip(&self.movable)
            .find(|(_, thing)| self.fingers.iter().all(|finger| touched(finger, thing)))
        else {
            return;
        };
        let Some(body) = self.bodies.get(thing.body) else {
            return;
        };
        let in_hand = RapierPose::from_translation(self.grip).inv_mul(body.position());
        let joint = FixedJointBuilder::new()
            .local_frame1(in_hand)
            .contacts_enabled(false);
        let joint = self.joints.insert(self.palm, thing.body, joint, true);
        if let Some(collider) = self.colliders.get_mut(thing.collider) {
            collider.set_collision_groups(groups(HELD, OBJECTS | STATIC));
        }
        self.held = Some(Held {
            thing: id,
            joint,
            lowest: self.grip.z - 0.01,
        });
    }

    fn release(&mut self) {
        let Some(held) = self.held.take() else {
            return;
        };
        self.joints.remove(held.joint, true);
        let Some(thing) = self.movable.get(held.thing.index()) else {
            return;
        };
        if let Some(collider) = self.colliders.get_mut(thing.collider) {
            collider.set_collision_groups(free_groups());
        }
        if let Some(body) = self.bodies.get_mut(thing.body) {
            body.set_linvel(Vec3::ZERO, true);
            body.set_angvel(Vec3::ZERO, true);
        }
    }
}

/// Centre of the left (`side` −1) or right (+1) finger when its inner face is `gap` from the middle.
pub(crate) fn finger_centre(grip: Vec3, side: f32, gap: f32) -> Vec3 {
    grip + Vec3::new(
        side * (gap + FINGER_HALF.x),
        0.0,
        FINGER_HALF.z - FINGER_BELOW,
    )
}

/// A floor and eight upright walls around it.
fn insert_container(colliders: &mut ColliderSet, container: &Thing, fixed: InteractionGroups) {
    let vessel = Vessel::of(container.kind);
    let at = container.start.position;
    let radius = container.half;
    let mut insert = |collider: ColliderBuilder| {
        colliders.insert(collider.friction(0.8).collision_groups(fixed));
    };
    let half_floor = vessel.floor / 2.0;
    let floor_centre = at + Vec3::new(0.0, 0.0, half_floor);
    insert(
        ColliderBuilder::cylinder(half_floor, radius * vessel.bottom)
            .position(RapierPose::from_parts(floor_centre, Y_TO_Z)),
    );
    let inner = radius * vessel.bottom - vessel.wall * 0.3;
    // Directions of a regular octagon without trigonometry.
    let d = FRAC_1_SQRT_2;
    let directions = [
        (1.0, 0.0),
        (d, d),
        (0.0, 1.0),
        (-d, d),
        (-1.0, 0.0),
        (-d, -d),
        (0.0, -1.0),
        (d, -d),
    ];
    let thickness = vessel.wall / 2.0;
    for (x, y) in directions {
        let out = Vec3::new(x, y, 0.0) * (inner + thickness);
        // The turn about z that brings the x axis to (x, y): half-angle formulas.
        let half = ((1.0 + x) / 2.0).max(0.0).sqrt();
        let turn = if half > 1e-3 {
            Quat::from_xyzw(0.0, 0.0, y / (2.0 * half), half)
        } else {
            Quat::from_xyzw(0.0, 0.0, 1.0, 0.0)
        };
        let centre = at + out + Vec3::new(0.0, 0.0, vessel.height / 2.0);
        insert(
            ColliderBuilder::cuboid(thickness, radius * 0.42, vessel.height / 2.0)
                .position(RapierPose::from_parts(centre, turn.normalize())),
        );
    }
}
