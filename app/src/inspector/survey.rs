//! The sample of a dataset that dataset-wide numbers are measured on.

use super::captures::{Prompt, capture_bytes};
use crate::capture_file::OpenCaptures;
use episode::{Dataset, DatasetInfo};
use grounding::{Capture, Forward, HeadSelection, Rect, Split};
use std::sync::Arc;

/// Frames in a survey. 32 frames a half give a standard error of about 0.04 for an IoU that spreads by 0.2, at less than
/// a second of work for a nano model.
pub const SURVEY_FRAMES: usize = 64;

/// A frame to be captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedFrame {
    /// Episode index.
    pub episode: usize,
    /// Step within the episode.
    pub step: usize,
    /// Which half it belongs to; the same for all frames of an episode.
    pub split: Split,
}

/// Which frames a survey captures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SurveyPlan {
    /// In order of episode and step.
    pub frames: Vec<PlannedFrame>,
}

impl SurveyPlan {
    /// Spreads up to `frames` frames over a dataset, the same ones every time.
    ///
    /// Episodes are taken at equal distances and belong in turn to the tuning and to the held-out half, so that no
    /// episode is in both. An episode that gives several frames is cut into as many equal stretches; the place within
    /// the stretch follows the golden-ratio sequence, so that early, middle and late steps are equally frequent.
    pub fn spread(dataset: &dyn Dataset, frames: usize) -> episode::Result<Self> {
        const GOLDEN: f64 = 0.618_033_988_749_894_9;
        let episodes = dataset.info().episodes;
        let taken = episodes.min(frames);
        let mut plan = Self::default();
        let mut chosen = Vec::with_capacity(taken);
        let mut missing = frames;
        for rank in 0..taken {
            let episode = rank * episodes / taken;
            let length = dataset.episode(episode)?.length;
            // The first `frames % taken` episodes give one frame more.
            let share = (frames / taken + usize::from(rank < frames % taken)).min(length);
            missing -= share;
            chosen.push((episode, length, share));
        }
        // Longer episodes make up for those that are too short.
        while missing > 0 {
            let before = missing;
            for (_, length, share) in &mut chosen {
                if *share < *length && missing > 0 {
                    *share += 1;
                    missing -= 1;
                }
            }
            if missing == before {
                break;
            }
        }
        for (rank, (episode, length, share)) in chosen.into_iter().enumerate() {
            let offset = ((rank as f64 + 0.5) * GOLDEN).fract();
            let split = if rank % 2 == 0 {
                Split::Tune
            } else {
                Split::HeldOut
            };
            plan.frames.extend((0..share).map(|j| {
                let step = (j as f64 + offset) / share as f64 * length as f64;
                PlannedFrame {
                    episode,
                    step: (step as usize).min(length - 1),
                    split,
                }
            }));
        }
        Ok(plan)
    }
}

/// How groups of frames are divided into halves.
pub struct Halves<'a> {
    /// Their names, ascending.
    groups: Vec<&'a str>,
}

impl<'a> Halves<'a> {
    /// From the group of every frame.
    pub fn of(groups: impl Iterator<Item = &'a str>) -> Self {
        let mut groups: Vec<&str> = groups.collect();
        groups.sort_unstable();
        groups.dedup();
        Self { groups }
    }

    /// Number of a group, and its half: groups belong in turn to the two. When there is only one, the first half of the
    /// `taken` frames is for tuning and the second is held out.
    pub fn place(&self, group: &str, rank: usize, taken: usize) -> (usize, Split) {
        let number = self.groups.binary_search(&group).unwrap_or(0);
        let second = match self.groups.len() {
            0 | 1 => rank >= taken.div_ceil(2),
            _ => number % 2 == 1,
        };
        (number, if second { Split::HeldOut } else { Split::Tune })
    }
}

/// How the frames of a survey are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Passes {
    /// What is done to the attention.
    pub forward: Forward,
    /// Whether also under a generic prompt, which takes half as much time and memory again. Another instruction is always
    /// tried, where there is one.
    pub generic: bool,
}

impl Passes {
    /// What a selection works on.
    pub fn of(selection: &HeadSelection) -> Self {
        Self {
            forward: selection.forward,
            generic: selection.aggregate.needs_generic(),
        }
    }

    /// The same with what a selection beside needs of it; another forward pass would be another survey.
    pub fn and(self, beside: Option<&HeadSelection>) -> Self {
        let generic =
            beside.is_some_and(|s| s.forward == self.forward && s.aggregate.needs_generic());
        Self {
            generic: self.generic || generic,
            ..self
        }
    }

    /// Whether captures made so hold all that `wanted` asks for.
    pub fn serve(self, wanted: Self) -> bool {
        self.forward == wanted.forward && (self.generic || !wanted.generic)
    }

    /// What the model is told, one after the other.
    pub fn prompts(self) -> &'static [Prompt] {
        match self.generic {
            true => &[Prompt::AsGiven, Prompt::Swapped, Prompt::Generic],
            false => &[Prompt::AsGiven, Prompt::Swapped],
        }
    }
}

/// One captured frame of a survey.
#[derive(Clone, Debug)]
pub struct SurveyFrame {
    /// Episode index.
    pub episode: usize,
    /// Step within the episode.
    pub step: usize,
    /// Frames of one group resemble each other: the episode, or for captures alone what they say they are of.
    pub group: usize,
    /// Which half it belongs to; the same for all frames of a group, unless there is one group only.
    pub split: Split,
    /// What the model looked at.
    pub capture: Arc<Capture>,
    /// The same under another instruction, where there is one.
    pub swapped: Option<Arc<Capture>>,
    /// The same under a generic prompt, where that was asked for.
    pub generic: Option<Arc<Capture>>,
    /// For every view of the capture the box around the exact target mask, in `[0, 1]` of the image.
    pub exact: Vec<Option<Rect>>,
}

impl SurveyFrame {
    /// Bytes that its captures are charged for.
    pub fn bytes(&self) -> usize {
        let captures = [
            Some(&self.capture),
            self.swapped.as_ref(),
            self.generic.as_ref(),
        ];
        captures
            .into_iter()
            .flatten()
            .map(|c| capture_bytes(c))
            .sum()
    }
}

/// Captures of a spread sample of a dataset, or of a capture file.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Frames that were planned; more than were captured only when memory set the limit.
    pub planned: usize,
    /// How the frames were looked at; recorded ones as they were trained, with whatever prompts the file holds.
    pub passes: Passes,
    /// The frames.
    pub frames: Vec<SurveyFrame>,
}

impl Survey {
    /// Whether this is the other survey, or that one with more frames at its end.
    pub fn is_more_of(&self, other: &Self) -> bool {
        self.passes == other.passes
            && self.frames.len() >= other.frames.len()
            && self
                .frames
                .iter()
                .zip(&other.frames)
                .all(|(a, b)| Arc::ptr_eq(&a.capture, &b.capture))
    }

    /// A survey of captures alone, see [`Survey::of_file`].
    pub fn of_captures(captures: &[Capture], frames: usize) -> Self {
        Self::of_file(
            &OpenCaptures::new(captures.to_vec()),
            None,
            frames,
            usize::MAX,
        )
    }

    /// A survey of the captures of a file: up to `frames` of them at equal distances. Where a dataset is open, only
    /// those that are known to be of one of its frames; without one, a capture's place is that in the file. It ends early
    /// once its captures take `memory` bytes.
    ///
    /// Captures of different episodes belong in turn to the two halves. When all are of one episode the first half of
    /// them is for tuning and the second is held out.
    pub fn of_file(
        file: &OpenCaptures,
        data: Option<&DatasetInfo>,
        frames: usize,
        memory: usize,
    ) -> Self {
        let place = |index| match data {
            Some(data) => file.place(data, index).map(|(e, s)| (index, e, s)),
            None => Some((index, 0, index)),
        };
        let places: Vec<(usize, usize, usize)> = (0..file.len()).filter_map(place).collect();
        let taken = places.len().min(frames);
        let chosen = (0..taken).filter_map(|i| places.get(i * places.len() / taken));
        let halves = Halves::of(places.iter().map(|(index, ..)| file.group(*index)));
        let mut bytes = 0;
        let mut survey = Self {
            planned: taken,
            passes: Passes {
                forward: Forward::AsTrained,
                generic: true,
            },
            frames: Vec::with_capacity(taken),
        };
        for (rank, &(index, episode, step)) in chosen.enumerate() {
            let Some(capture) = file.captures().get(index) else {
                continue;
            };
            let (group, split) = halves.place(file.group(index), rank, taken);
            let frame = SurveyFrame {
                episode,
                step,
                group,
                split,
                exact: vec![None; capture.views.len()],
                capture: capture.clone(),
                swapped: file.swap_of(index).cloned(),
                generic: None,
            };
            bytes += frame.bytes();
            if bytes > memory {
                break;
            }
            survey.frames.push(frame);
        }
        survey
    }

    /// Number of frames in one half.
    pub fn count(&self, split: Split) -> usize {
        self.frames.iter().filter(|f| f.split == split).count()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{FakeDataset, fake_capture};
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_plan_is_spread_and_no_episode_is_in_both_halves() {
        for (episodes, length, frames) in [
            (100, 17, 64),
            (15, 10, 64),
            (3, 5, 64),
            (64, 1, 64),
            (1, 40, 8),
        ] {
            let plan = SurveyPlan::spread(&FakeDataset::new(episodes, length), frames).unwrap();
            assert_eq!(
                plan,
                SurveyPlan::spread(&FakeDataset::new(episodes, length), frames).unwrap()
            );
            assert_eq!(plan.frames.len(), frames.min(episodes * length));
            let distinct: HashSet<(usize, usize)> =
                plan.frames.iter().map(|f| (f.episode, f.step)).collect();
            assert_eq!(
                distinct.len(),
                plan.frames.len(),
                "{episodes} {length} {frames}"
            );
            let of = |split| -> HashSet<usize> {
                plan.frames
                    .iter()
                    .filter(|f| f.split == split)
                    .map(|f| f.episode)
                    .collect()
            };
            assert!(of(Split::Tune).is_disjoint(&of(Split::HeldOut)));
            let early = plan
                .frames
                .iter()
                .filter(|f| f.step < length.div_ceil(2))
                .count();
            assert!(
                early * 10 >= plan.frames.len() * 3,
                "{early} of {} are early",
                plan.frames.len()
            );
        }
        assert!(
            SurveyPlan::spread(&FakeDataset::new(0, 0), 64)
                .unwrap()
                .frames
                .is_empty()
        );
    }

    #[test]
    fn a_capture_file_is_halved_by_source_or_in_time() {
        let one: Vec<Capture> = (0..10).map(|step| fake_capture(0, step)).collect();
        let survey = Survey::of_captures(&one, 64);
        assert_eq!(
            (survey.count(Split::Tune), survey.count(Split::HeldOut)),
            (5, 5)
        );
        assert!(survey.frames[..5].iter().all(|f| f.split == Split::Tune));

        let many: Vec<Capture> = (0..6)
            .flat_map(|e| (0..4).map(move |s| fake_capture(e, s)))
            .collect();
        let survey = Survey::of_captures(&many, 12);
        assert_eq!(survey.frames.len(), 12);
        for frame in &survey.frames {
            let twins = survey
                .frames
                .iter()
                .filter(|f| f.capture.source == frame.capture.source);
            assert!(twins.into_iter().all(|f| f.split == frame.split));
        }
        assert!(Survey::of_captures(&[], 64).frames.is_empty());
    }
}
