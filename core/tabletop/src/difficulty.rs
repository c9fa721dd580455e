use serde::{Deserialize, Serialize};

/// Every number that makes the benchmark harder or easier, in table units unless said otherwise.
///
/// The default is the published benchmark; results with other numbers are not comparable with it. It was tuned so that
/// the action-only `nano` baseline neither fails nor saturates on any suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Difficulty {
    /// Objects in the `object` suite, 2 to 6: the first of two colours times two shapes, then of a third shape. From 4 on,
    /// no colour and no shape alone finds a target.
    pub candidates: usize,
    /// Fewest and most identical cubes in the `spatial` suite, within 2 to 4.
    pub cubes: [usize; 2],
    /// Objects in the `goal` suite, 1 to 3, drawn from two colours times two shapes, then of a third shape.
    pub goal_objects: usize,
    /// Containers in the `goal` suite, 1 to 3, bowls and plates, each of its own colour.
    pub goal_containers: usize,
    /// Half the edge of a cube, radius of a ball or cylinder, in the `object` suite.
    pub object_half: f32,
    /// The same in the `spatial` suite.
    pub spatial_half: f32,
    /// The same in the `goal` suite.
    pub goal_half: f32,
    /// Outer radius of a bowl or plate.
    pub container_radius: f32,
    /// Half the gap of the open fingers; what is left beside the object is the tolerance of a grasp.
    pub open_gap: f32,
    /// A picked object counts as lifted when its underside is this far above the table.
    pub lift_height: f32,
    /// An object counts as placed when its centre is this close to the container's axis.
    pub place_radius: f32,
    /// The hand starts within this distance of the middle, per axis.
    pub start_spread: f32,
    /// Largest turn of a cube about the vertical, as the tangent of half the angle.
    pub yaw: f32,
    /// Largest relative change of brightness between episodes of one environment.
    pub light_jitter: f32,
    /// How many paraphrases of an instruction are used, 1 for the canonical words only.
    pub paraphrases: usize,
    /// Control steps after which an episode has failed.
    pub horizon: usize,
}

impl Default for Difficulty {
    fn default() -> Self {
        Self {
            candidates: 4,
            cubes: [3, 4],
            goal_objects: 2,
            goal_containers: 2,
            object_half: 0.10,
            spatial_half: 0.115,
            goal_half: 0.115,
            container_radius: 0.30,
            open_gap: 0.13,
            lift_height: 0.20,
            place_radius: 0.20,
            start_spread: 0.60,
            yaw: 0.06,
            light_jitter: 0.10,
            paraphrases: 5,
            horizon: 40,
        }
    }
}
