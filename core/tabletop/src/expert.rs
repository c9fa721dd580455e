use crate::World;
use crate::physics::MAX_STEP;
use crate::scene::HOVER;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

/// The hand may go down beside an object when it is this close to being above it, per axis.
const ALIGNED: f32 = 0.08;
/// Fingers close and open when the grip point is this close to where it should be, per axis.
const ARRIVED: f32 = 0.05;
/// The grip point lies this far below the centre of a grasped object.
const GRIP_BELOW_CENTRE: f32 = 0.02;
/// An object is let go with its underside this far above the table, so that the fingers clear a bowl's rim.
const RELEASE_HEIGHT: f32 = 0.07;

const OPEN: f32 = 1.0;
const CLOSE: f32 = -1.0;

/// A scripted policy that sees the true state and solves every task.
///
/// It answers from the present state with the waypoint of the present phase (above the object, at the object, above the
/// container, …), not with the next small step, so it recovers from noise and from being started anywhere.
#[derive(Clone, Debug)]
pub struct Expert {
    /// Fingers have begun to close and go on, whatever the noise does to the alignment.
    closing: bool,
}

impl Expert {
    /// An expert for the task of `world`. It knows nothing but what it will be shown.
    pub fn new(_world: &World) -> Self {
        Self { closing: false }
    }

    /// The next action: absolute waypoint x, y, z and gripper command, as [`World::step`] takes it.
    pub fn act(&mut self, world: &World) -> [f32; 4] {
        let [x, y, z, aperture] = world.state();
        let target = world.task().target();
        let Some(object) = world.position(target) else {
            return [x, y, z, OPEN];
        };
        let goal = world.task().goal().and_then(|id| world.position(id));
        match world.held() {
            Some(held) if held == target => {
                self.closing = false;
                let Some(goal) = goal else {
                    return [x, y, HOVER + MAX_STEP, CLOSE];
                };
                // What the object lacks to the goal, the hand lacks too.
                let (gx, gy) = (x + goal.x - object.x, y + goal.y - object.y);
                let away = (gx - x).abs().max((gy - y).abs());
                let lowered = z - (world.underside(target).unwrap_or(z) - RELEASE_HEIGHT);
                let is_high = z >= HOVER - 0.06;
                if away <= ARRIVED && z - lowered <= ARRIVED {
                    [gx, gy, lowered, OPEN]
                } else if away <= ALIGNED || (is_high && away <= MAX_STEP) {
                    [gx, gy, lowered, CLOSE]
                } else if is_high {
                    [gx, gy, HOVER, CLOSE]
                } else {
                    [x, y, HOVER, CLOSE]
                }
            }
            Some(_) => {
                self.closing = false;
                [x, y, z, OPEN]
            }
            None => {
                if let Some(goal) = goal
                    && (object - goal).truncate().length() <= world.scene().difficulty.place_radius
                {
                    // Just let go; it still has to come to rest.
                    self.closing = false;
                    return [x, y, HOVER, OPEN];
                }
                let grip = (object.z - GRIP_BELOW_CENTRE).max(0.0);
                let away = (object.x - x).abs().max((object.y - y).abs());
                let arrived = away <= ARRIVED && z - grip <= ARRIVED && aperture > 0.95;
                self.closing = arrived || (self.closing && aperture > 0.0);
                if self.closing {
                    [object.x, object.y, grip, CLOSE]
                } else if aperture > 0.95
                    && (away <= ALIGNED || (away <= MAX_STEP && z >= HOVER - 0.05))
                {
                    [object.x, object.y, grip, OPEN]
                } else {
                    [object.x, object.y, HOVER, OPEN]
                }
            }
        }
    }
}

/// Disturbance of the executed action while the recorded label stays clean, so that the data also shows how to recover
/// (DART, Laskey et al. 2017).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// Standard deviation per axis, as a share of the longest control step.
    pub sigma: f32,
    /// Share of the steps that are disturbed.
    pub share: f64,
}

impl Default for Noise {
    fn default() -> Self {
        Self {
            sigma: 0.25,
            share: 0.6,
        }
    }
}

impl Noise {
    /// What is executed instead of `action`.
    pub(crate) fn disturb(
        &self,
        world: &World,
        action: [f32; 4],
        rng: &mut ChaCha8Rng,
    ) -> [f32; 4] {
        if !rng.random_bool(self.share.clamp(0.0, 1.0)) {
            return action;
        }
        let mut executed = action;
        for (wanted, present) in executed.iter_mut().zip(world.state()).take(3) {
            let noise: f32 = rng.sample(StandardNormal);
            let way = (*wanted - present).clamp(-MAX_STEP, MAX_STEP);
            *wanted = present + way + self.sigma * MAX_STEP * noise;
        }
        executed
    }
}
