use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use model::{Observation, Policy, VlaConfig};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tabletop::{CAMERAS, Camera, Environment, Suite, Task, World};

use crate::error::{Error, Result};
use crate::report::{Report, Swapped};
use crate::statistics::Count;

/// What is evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalSpec {
    /// The family of tasks.
    pub suite: Suite,
    /// The look of the scenes.
    pub env: Environment,
    /// Number of episodes.
    pub episodes: usize,
    /// Seed of the scenes. It is no training seed: the same number gives other scenes there.
    pub seed: u64,
    /// Whether every scene is also played under the instruction of another task.
    pub swapped: bool,
    /// Actions executed of each predicted chunk before the policy looks again.
    pub execute: usize,
    /// Worlds played at the same time.
    pub lanes: usize,
}

impl EvalSpec {
    /// `episodes` of a suite, re-planning after every control step.
    pub fn new(suite: Suite, env: Environment, episodes: usize, seed: u64) -> Self {
        Self {
            suite,
            env,
            episodes,
            seed,
            swapped: false,
            execute: 1,
            lanes: 64,
        }
    }
}

/// How far an evaluation is, in episodes; swapped ones count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Episodes over.
    pub done: usize,
    /// Episodes to play.
    pub total: usize,
}

/// Plays `spec.episodes` episodes with `policy` and counts successes. The policy's attention is changed as
/// [`Policy::with_forward`] says, and the report names that.
///
/// The first [`EvalSpec::execute`] actions of each predicted chunk are executed, then the policy looks again. An
/// episode is over when its task is done or after [`World::horizon`] control steps; a swapped one also when the
/// original task is done. `progress` is told whenever episodes are over; `cancel` is looked at between steps.
///
/// # Errors
/// [`Error::Foreign`] for a policy with cameras, states or actions that the benchmark does not have,
/// [`Error::Cancelled`].
pub fn evaluate(
    policy: &Policy,
    spec: &EvalSpec,
    progress: &mut dyn FnMut(Progress),
    cancel: &AtomicBool,
) -> Result<Report> {
    if spec.episodes == 0 {
        return Err(Error::Spec("at least one episode is needed"));
    }
    if spec.lanes == 0 {
        return Err(Error::Spec("at least one world at a time is needed"));
    }
    let config = policy.config();
    if spec.execute == 0 || spec.execute > config.chunk {
        return Err(Error::Spec(
            "the number of executed actions must be between 1 and the policy's chunk",
        ));
    }
    let mut pilot = Seeing {
        policy,
        cameras: cameras(config)?,
    };
    let report = play(&mut pilot, spec, progress, cancel)?;
    Ok(Report {
        forward: policy.forward(),
        ..report
    })
}

/// Who decides what to do in a world.
trait Pilot {
    /// The next actions for each lane, at least one.
    fn plan(&mut self, lanes: &[&mut Lane]) -> Result<Vec<Vec<[f32; 4]>>>;
}

/// A policy that sees pictures and the state of the hand.
struct Seeing<'a> {
    policy: &'a Policy,
    cameras: Vec<Camera>,
}

impl Pilot for Seeing<'_> {
    fn plan(&mut self, lanes: &[&mut Lane]) -> Result<Vec<Vec<[f32; 4]>>> {
        let observations: Vec<Observation> = lanes
            .par_iter()
            .map(|lane| Observation {
                images: self
                    .cameras
                    .iter()
                    .map(|&camera| Arc::new(lane.world.render(camera)))
                    .collect(),
                state: lane.world.state().to_vec(),
                instruction: lane.instruction.clone(),
            })
            .collect();
        let waypoint = |row: &Vec<f32>| match <[f32; 4]>::try_from(row.as_slice()) {
            Ok(action) if action.iter().all(|value| value.is_finite()) => Ok(action),
            _ => Err(Error::NotFinite),
        };
        let chunks = self.policy.act(&observations)?;
        chunks
            .iter()
            .map(|chunk| chunk.rows.iter().map(waypoint).collect())
            .collect()
    }
}

fn play(
    pilot: &mut dyn Pilot,
    spec: &EvalSpec,
    progress: &mut dyn FnMut(Progress),
    cancel: &AtomicBool,
) -> Result<Report> {
    let originals = (0..spec.episodes).map(|episode| (episode, false));
    let twins = (0..spec.episodes).filter_map(|episode| spec.swapped.then_some((episode, true)));
    let mut queue: VecDeque<(usize, bool)> = originals.chain(twins).collect();
    let total = queue.len();
    let mut lanes: Vec<Lane> = Vec::with_capacity(spec.lanes.min(total));
    let mut tally = Tally::default();
    let mut steps = 0;
    let started = Instant::now();
    while !(queue.is_empty() && lanes.is_empty()) {
        if cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        let free = queue.len().min(spec.lanes - lanes.len());
        let seats: Vec<_> = queue.drain(..free).collect();
        // A scene that allows one task only has no twin, and its seat stays free.
        lanes.par_extend(
            seats
                .into_par_iter()
                .filter_map(|(episode, swapped)| Lane::enter(spec, episode, swapped)),
        );
        let mut waiting: Vec<&mut Lane> = lanes
            .iter_mut()
            .filter(|lane| lane.plan.is_empty())
            .collect();
        if !waiting.is_empty() {
            let plans = pilot.plan(&waiting)?;
            for (lane, actions) in waiting.iter_mut().zip(plans) {
                lane.plan.extend(actions.into_iter().take(spec.execute));
            }
        }
        lanes.par_iter_mut().for_each(Lane::step);
        steps += lanes.len();
        let playing = lanes.len();
        lanes.retain(|lane| {
            let over = lane.is_over();
            if over {
                tally.count(lane);
            }
            !over
        });
        if lanes.len() < playing {
            let done = total - queue.len() - lanes.len();
            progress(Progress { done, total });
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(tally.report(spec, steps as f64 / seconds.max(1e-9)))
}

/// The benchmark's camera for each of the policy's.
fn cameras(config: &VlaConfig) -> Result<Vec<Camera>> {
    let has = [
        (
            "numbers in an action",
            config.action_dim,
            tabletop::ACTION_NAMES.len(),
        ),
        (
            "numbers in a state",
            config.state_dim,
            tabletop::STATE_NAMES.len(),
        ),
    ];
    for (what, policy, benchmark) in has {
        if policy != benchmark {
            return Err(Error::Foreign(format!(
                "it has {policy} {what}, the benchmark {benchmark}"
            )));
        }
    }
    config
        .cameras
        .iter()
        .map(|wanted| {
            let known = CAMERAS
                .iter()
                .position(|(name, ..)| *name == wanted.name)
                .and_then(|index| Camera::ALL.get(index));
            match known {
                Some(&camera) => Ok(camera),
                None => Err(Error::Foreign(format!(
                    "it looks through camera \"{}\", the benchmark has {}",
                    wanted.name,
                    CAMERAS.map(|(name, ..)| name).join(" and ")
                ))),
            }
        })
        .collect()
}

/// One world being played.
struct Lane {
    world: World,
    /// Key of the task for the table.
    task: String,
    /// In a swapped episode the task of the scene before the exchange.
    original: Option<Task>,
    /// Whether the original task of a swapped episode was done.
    original_done: bool,
    instruction: Arc<str>,
    plan: VecDeque<[f32; 4]>,
}

impl Lane {
    /// Sets up an episode; `None` when it should be swapped and the scene allows one task only.
    fn enter(spec: &EvalSpec, episode: usize, swapped: bool) -> Option<Self> {
        let seed = world_seed(spec.seed, episode);
        let mut world = World::new(spec.suite, spec.env, seed);
        let mut original = None;
        if swapped {
            let mut others = world.alternatives();
            if others.is_empty() {
                return None;
            }
            // The low bits of a hash are as random as any.
            let chosen = (seed % others.len() as u64) as usize;
            original = Some(world.task().clone());
            world.set_task(others.swap_remove(chosen));
        }
        Some(Self {
            task: world.task().id().to_owned(),
            instruction: world.instruction().into(),
            world,
            original,
            original_done: false,
            plan: VecDeque::new(),
        })
    }

    fn step(&mut self) {
        if let Some(action) = self.plan.pop_front() {
            self.world.step(action);
        }
        if let Some(original) = &self.original {
            self.original_done |= self.world.satisfies(original);
        }
    }

    fn is_over(&self) -> bool {
        self.world.outcome().success
            || self.original_done
            || self.world.steps() >= self.world.horizon()
    }
}

/// Seed of the scene of one episode.
///
/// Training data hashes its seed and the number of an episode into 64 bits; evaluation does so with a constant of its
/// own (the fraction of √2), so the same small seeds give unrelated scenes. That one of a thousand evaluation scenes
/// is among ten thousand training scenes has a probability of about 10⁷ / 2⁶⁴, five in ten million million.
fn world_seed(seed: u64, episode: usize) -> u64 {
    const EVALUATION: u64 = 0x6A09_E667_F3BC_C908;
    let mut z = seed
        .wrapping_mul(0xD134_2543_DE82_EF95)
        .wrapping_add((episode as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))
        ^ EVALUATION;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Counts that do not depend on the order in which episodes end.
#[derive(Default)]
struct Tally {
    success: Count,
    wrong_object: Count,
    wrong_goal: Count,
    per_task: BTreeMap<String, Count>,
    steps_of_successes: usize,
    horizon: usize,
    swapped_original: Count,
    swapped_other: Count,
}

impl Tally {
    fn count(&mut self, lane: &Lane) {
        let outcome = lane.world.outcome();
        if lane.original.is_some() {
            self.swapped_original.record(lane.original_done);
            self.swapped_other.record(outcome.success);
            return;
        }
        self.horizon = self.horizon.max(lane.world.horizon());
        self.success.record(outcome.success);
        self.wrong_object.record(outcome.wrong_object);
        self.wrong_goal.record(outcome.wrong_goal);
        self.per_task
            .entry(lane.task.clone())
            .or_default()
            .record(outcome.success);
        if outcome.success {
            self.steps_of_successes += lane.world.steps();
        }
    }

    fn report(self, spec: &EvalSpec, steps_per_s: f64) -> Report {
        let successes = self.success.successes;
        Report {
            suite: spec.suite,
            env: spec.env,
            seed: spec.seed,
            episodes: self.success.attempts,
            horizon: self.horizon,
            execute: spec.execute,
            forward: grounding::Forward::AsTrained,
            success_rate: self.success.rate(),
            success_interval: self.success.wilson95(),
            wrong_object_rate: self.wrong_object.rate(),
            wrong_goal_rate: self.wrong_goal.rate(),
            per_task: self.per_task,
            mean_steps: (successes > 0).then(|| self.steps_of_successes as f64 / successes as f64),
            swapped: spec
                .swapped
                .then(|| Swapped::new(self.swapped_original, self.swapped_other)),
            steps_per_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tabletop::Expert;

    /// Does what the world asks for, or, when deaf, what the scene's first task asks for.
    struct Scripted {
        deaf: bool,
    }

    impl Pilot for Scripted {
        fn plan(&mut self, lanes: &[&mut Lane]) -> Result<Vec<Vec<[f32; 4]>>> {
            let act = |lane: &&mut Lane| {
                let mut world = lane.world.clone();
                if let Some(original) = lane.original.clone().filter(|_| self.deaf) {
                    world.set_task(original);
                }
                // What an expert remembers only matters under noise.
                vec![Expert::new(&world).act(&world)]
            };
            Ok(lanes.iter().map(act).collect())
        }
    }

    fn spec(suite: Suite) -> EvalSpec {
        EvalSpec {
            swapped: true,
            lanes: 7,
            ..EvalSpec::new(suite, Environment::A, 20, 1)
        }
    }

    fn run(pilot: &mut dyn Pilot, spec: &EvalSpec) -> Report {
        let mut last = None;
        let report = play(
            pilot,
            spec,
            &mut |at| last = Some(at),
            &AtomicBool::new(false),
        )
        .unwrap();
        assert_eq!(
            last.unwrap(),
            Progress {
                done: 40,
                total: 40
            }
        );
        report
    }

    #[test]
    fn one_who_listens_does_the_other_task_when_instructions_are_swapped() {
        for suite in Suite::ALL {
            let report = run(&mut Scripted { deaf: false }, &spec(suite));
            assert_eq!(report.episodes, 20);
            assert_eq!(report.horizon, tabletop::Difficulty::default().horizon);
            assert!(report.success_rate >= 0.9, "{report:?}");
            let swapped = report.swapped.unwrap();
            assert!(swapped.other_rate >= 0.9, "{swapped:?}");
            assert!(swapped.original_rate <= 0.1, "{swapped:?}");
            assert_eq!(
                report
                    .per_task
                    .values()
                    .map(|count| count.attempts)
                    .sum::<usize>(),
                20
            );
        }
    }

    #[test]
    fn one_who_is_deaf_does_the_original_task_all_the_same() {
        let report = run(&mut Scripted { deaf: true }, &spec(Suite::Object));
        let swapped = report.swapped.unwrap();
        assert!(swapped.original_rate >= 0.9, "{swapped:?}");
        assert!(swapped.other_rate <= 0.1, "{swapped:?}");
    }

    #[test]
    fn numbers_do_not_depend_on_how_many_worlds_are_played_at_once() {
        let few = spec(Suite::Goal);
        let many = EvalSpec {
            lanes: 40,
            ..few.clone()
        };
        let timeless = |spec: &EvalSpec| {
            let report = run(&mut Scripted { deaf: false }, spec);
            Report {
                steps_per_s: 0.0,
                ..report
            }
        };
        assert_eq!(timeless(&few), timeless(&many));
    }

    #[test]
    fn cancelling_ends_an_evaluation() {
        let cancelled = AtomicBool::new(true);
        let end = play(
            &mut Scripted { deaf: false },
            &spec(Suite::Object),
            &mut |_| {},
            &cancelled,
        );
        assert!(matches!(end, Err(Error::Cancelled)));
    }

    #[test]
    fn evaluation_scenes_are_all_different() {
        let mut seeds: Vec<u64> = (0..10)
            .flat_map(|seed| (0..1000).map(move |episode| world_seed(seed, episode)))
            .collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 10_000);
    }
}
