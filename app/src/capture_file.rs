//! The captures of a file, and which frames of a dataset they are of.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use episode::DatasetInfo;
use grounding::Capture;
use grounding::attncap::{self, CaptureFile, Label};

use crate::inspector::{Halves, SurveyFrame};

/// Bytes of captures that are read from one file; a longer one is shown up to there.
const BUDGET: usize = 4 << 30;

/// An opened capture file.
#[derive(Debug)]
pub struct OpenCaptures {
    /// One per frame.
    captures: Vec<Arc<Capture>>,
    /// One per capture: the same frame under another instruction.
    swaps: Vec<Option<Arc<Capture>>>,
    /// One per capture.
    origins: Vec<Origin>,
    /// Whether captures that name no episode can only be of one.
    one_nameless: bool,
    /// Captures that were read, swaps among them.
    read: usize,
    /// Captures in the file, also those that were not read.
    total: usize,
}

/// What a capture says about where it was made.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    /// Name of the dataset, where it is certain to be one.
    dataset: Option<String>,
    /// Index of the episode.
    episode: Option<usize>,
    /// The same for all captures of one episode.
    group: String,
}

impl Origin {
    /// Reads [`Capture::source`]: `NAME, episode 3` and `NAME episode 3 step 14` are what this program writes; others
    /// write what they like, so that only the number after "episode" is taken from it.
    fn of(source: &str, step: u64) -> Self {
        let lower = source.to_ascii_lowercase();
        let found = lower.rmatch_indices("episode").find_map(|(start, word)| {
            let after = start + word.len();
            let gap = lower.get(after..)?.find(|c: char| !" _-#:=".contains(c))?;
            let digits = after + gap;
            let end = lower
                .get(digits..)?
                .find(|c: char| !c.is_ascii_digit())
                .map_or(lower.len(), |length| digits + length);
            let number = lower.get(digits..end)?.parse().ok()?;
            Some((start, end, number))
        });
        let Some((start, end, number)) = found else {
            return Self {
                dataset: None,
                episode: None,
                group: source.to_owned(),
            };
        };
        let (name, rest) = (source.get(..start), source.get(end..));
        let name = name.unwrap_or_default().trim_end_matches([' ', ',']);
        let is_probe = rest.is_some_and(|rest| rest == format!(" step {step}"));
        let is_name = episode::is_specification(name) || (is_probe && !name.is_empty());
        Self {
            dataset: is_name.then(|| name.to_owned()),
            episode: Some(number),
            group: source.get(..end).unwrap_or(source).to_owned(),
        }
    }

    fn may_be_of(&self, data: &DatasetInfo) -> bool {
        self.dataset.as_ref().is_none_or(|name| *name == data.name)
    }
}

impl OpenCaptures {
    /// Captures in memory. Of those that name the same source and step under different instructions the first is the
    /// frame and the next its swap; further ones are left out.
    pub fn new(captures: Vec<Capture>) -> Self {
        let read = captures.len();
        let labels = captures.iter().map(|capture| Label {
            model_id: &capture.model_id,
            source: &capture.source,
            instruction: &capture.instruction,
            step: capture.step,
        });
        let pairs = pairs(labels);
        let all: Vec<Arc<Capture>> = captures.into_iter().map(Arc::new).collect();
        let (captures, swaps): (Vec<Arc<Capture>>, Vec<_>) = pairs
            .into_iter()
            .filter_map(|(frame, swap)| {
                let swap = swap.and_then(|swap| all.get(swap).cloned());
                Some((all.get(frame)?.clone(), swap))
            })
            .unzip();
        let origins: Vec<Origin> = captures
            .iter()
            .map(|c| Origin::of(&c.source, c.step))
            .collect();
        let mut nameless = origins
            .iter()
            .filter(|o| o.episode.is_none())
            .map(|o| &o.group);
        let first = nameless.next();
        Self {
            one_nameless: nameless.all(|group| Some(group) == first),
            total: read,
            read,
            origins,
            captures,
            swaps,
        }
    }

    /// Reads a file, up to a few gigabytes of it.
    ///
    /// # Errors
    /// When it is no capture file, is empty, or `cancel` is set.
    pub fn read(path: &Path, cancel: &AtomicBool) -> anyhow::Result<Self> {
        let file = CaptureFile::open(path)?;
        if file.is_empty() {
            bail!("the capture has no steps: {}", path.display());
        }
        let (mut captures, mut bytes) = (Vec::new(), 0);
        for index in 0..file.len() {
            if cancel.load(Ordering::Relaxed) {
                bail!("cancelled");
            }
            let capture = file.capture(index)?;
            bytes += crate::inspector::capture_bytes(&capture);
            captures.push(capture);
            if bytes > BUDGET {
                break;
            }
        }
        Ok(Self {
            total: file.len(),
            ..Self::new(captures)
        })
    }

    /// What is to be said about the file: that it is too long.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.total > self.read {
            warnings.push(format!(
                "The capture file is shown up to step {} of {}: more would not fit into memory",
                self.read, self.total
            ));
        }
        warnings
    }

    /// Number of captures, swaps not counted.
    pub fn len(&self) -> usize {
        self.captures.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.captures.is_empty()
    }

    /// All captures in the order of the file, without swaps.
    pub fn captures(&self) -> &[Arc<Capture>] {
        &self.captures
    }

    /// The same frame under another instruction, where the file holds that.
    pub fn swap_of(&self, index: usize) -> Option<&Arc<Capture>> {
        self.swaps.get(index)?.as_ref()
    }

    /// A name that all captures of one episode share.
    pub fn group(&self, index: usize) -> &str {
        self.origins.get(index).map_or("", |o| o.group.as_str())
    }

    /// The capture of a frame of a dataset.
    ///
    /// # Errors
    /// When there is none, in words for people.
    pub fn index_of(
        &self,
        data: &DatasetInfo,
        episode: usize,
        step: usize,
    ) -> Result<usize, String> {
        let fits = |(capture, origin): (&Arc<Capture>, &Origin)| {
            usize::try_from(capture.step) == Ok(step)
                && origin.may_be_of(data)
                && origin.episode.map_or(self.one_nameless, |e| e == episode)
        };
        let mut all = self.captures.iter().zip(&self.origins);
        if let Some(index) = all.position(fits) {
            return Ok(index);
        }
        let mine = || self.origins.iter().filter(|o| o.may_be_of(data));
        if let (None, Some(Some(name))) = (
            mine().next(),
            self.origins.first().map(|o| o.dataset.as_ref()),
        ) {
            return Err(format!(
                "The captures are of {name}, the open dataset is {}",
                data.name
            ));
        }
        if !self.one_nameless && mine().all(|o| o.episode.is_none()) {
            return Err("The captures do not say which episode they are of".to_owned());
        }
        let other = (0..self.len()).find_map(|index| self.place(data, index));
        Err(match other {
            Some((e, s)) => format!(
                "The file has no capture of episode {episode}, step {}; it begins with episode {e}, step {}",
                step + 1,
                s + 1
            ),
            None => format!("The file has no capture of step {}", step + 1),
        })
    }

    /// The frame of a dataset that a capture is of, as episode and step; none when it does not say.
    pub fn place(&self, data: &DatasetInfo, index: usize) -> Option<(usize, usize)> {
        let (capture, origin) = (self.captures.get(index)?, self.origins.get(index)?);
        let alone = (self.one_nameless && data.episodes == 1).then_some(0);
        let episode = origin.episode.or(alone)?;
        let fits = origin.may_be_of(data) && episode < data.episodes;
        Some((episode, usize::try_from(capture.step).ok()?)).filter(|_| fits)
    }
}

/// Places of frames, each with that of its swap: of captures of one source and step under different instructions the
/// first is the frame and the next its swap; further ones are left out. Captures without a source say nothing about which
/// frame they are of.
fn pairs<'a>(labels: impl Iterator<Item = Label<'a>>) -> Vec<(usize, Option<usize>)> {
    let plain = |text: &str| text.trim().to_lowercase();
    let mut frames: Vec<(usize, Option<usize>)> = Vec::new();
    let mut first: HashMap<(&str, &str, u64), (usize, String)> = HashMap::new();
    for (at, label) in labels.enumerate() {
        let frame = (label.model_id, label.source, label.step);
        let known = first.get(&frame).filter(|_| !label.source.is_empty());
        match known {
            Some((index, instruction)) if *instruction != plain(label.instruction) => {
                if let Some((_, swap)) = frames.get_mut(*index) {
                    swap.get_or_insert(at);
                }
            }
            _ => {
                let this = (frames.len(), plain(label.instruction));
                first.entry(frame).or_insert(this);
                frames.push((at, None));
            }
        }
    }
    frames
}

/// A capture file, or all of a folder, of which only the headers are read until a frame is wanted.
pub struct CaptureIndex {
    files: Vec<CaptureFile>,
    /// File and place in it, for all captures.
    places: Vec<(usize, usize)>,
    /// Frames with their swaps, as indices into `places`.
    frames: Vec<(usize, Option<usize>)>,
    /// For every frame a name that all of its episode share.
    groups: Vec<String>,
}

impl CaptureIndex {
    /// Opens a capture file, or the capture files of a folder in the order of their names; other files there are left
    /// alone.
    ///
    /// # Errors
    /// When there is none, one of them is damaged or empty, or they are of several models.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        for path in Self::paths(path)? {
            let file = CaptureFile::open(&path)?;
            if file.is_empty() {
                bail!("the capture has no steps: {}", path.display());
            }
            files.push(file);
        }
        let places: Vec<(usize, usize)> = files
            .iter()
            .enumerate()
            .flat_map(|(at, file)| (0..file.len()).map(move |index| (at, index)))
            .collect();
        let label = |&(file, index): &(usize, usize)| files.get(file)?.label(index);
        let models: Vec<(&str, &Path)> = files
            .iter()
            .filter_map(|file| Some((file.label(0)?.model_id, file.path())))
            .collect();
        if let Some((first, _)) = models.first()
            && let Some((other, path)) = models.iter().find(|(model, _)| model != first)
        {
            bail!(
                "captures of \"{other}\" beside those of \"{first}\", one model at a time can be measured: {}",
                path.display()
            );
        }
        let frames = pairs(places.iter().filter_map(label));
        let group = |at: &usize| {
            let place = places.get(*at)?;
            let label = label(place)?;
            let origin = Origin::of(label.source, label.step);
            // Files that do not say what they are of are an episode each.
            let nameless = origin.group.is_empty();
            Some(match nameless {
                true => format!("file {:06}", place.0),
                false => origin.group,
            })
        };
        let groups = frames.iter().filter_map(|(at, _)| group(at)).collect();
        Ok(Self {
            groups,
            frames,
            places,
            files,
        })
    }

    /// Whether a folder holds capture files.
    pub fn is_folder(path: &Path) -> bool {
        path.is_dir() && Self::paths(path).is_ok_and(|paths| !paths.is_empty())
    }

    fn paths(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
        if !path.is_dir() {
            return Ok(vec![path.to_owned()]);
        }
        let entries = std::fs::read_dir(path)
            .with_context(|| format!("cannot read the folder: {}", path.display()))?;
        let mut paths = Vec::new();
        for entry in entries {
            let entry =
                entry.with_context(|| format!("cannot read the folder: {}", path.display()))?;
            let path = entry.path();
            if attncap::is_attncap(&path) {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// Number of frames, swaps not counted.
    fn frame_count(&self) -> usize {
        self.frames.len()
    }

    /// Up to `frames` of them at equal distances, with their place and split, each read when it is taken.
    pub fn spread(&self, frames: usize) -> impl Iterator<Item = anyhow::Result<SurveyFrame>> {
        let taken = self.frame_count().min(frames);
        let halves = Halves::of(self.groups.iter().map(String::as_str));
        (0..taken).map(move |rank| {
            let index = rank * self.frame_count() / taken;
            let (at, swap) = self.frames.get(index).context("no such frame")?;
            let (group, split) = halves.place(
                self.groups.get(index).map_or("", String::as_str),
                rank,
                taken,
            );
            let read = |at: &usize| -> anyhow::Result<Arc<Capture>> {
                let (file, place) = self.places.get(*at).context("no such capture")?;
                let file = self.files.get(*file).context("no such file")?;
                Ok(Arc::new(file.capture(*place)?))
            };
            let capture = read(at)?;
            Ok(SurveyFrame {
                episode: 0,
                step: index,
                group,
                split,
                exact: vec![None; capture.views.len()],
                swapped: swap.as_ref().map(read).transpose()?,
                generic: None,
                capture,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspector::fake::{FakeDataset, fake_capture};
    use episode::Dataset as _;

    fn file(sources: &[(&str, usize)]) -> OpenCaptures {
        let of = |(source, step): &(&str, usize)| {
            let mut capture = fake_capture(0, *step);
            capture.source = (*source).to_owned();
            capture
        };
        OpenCaptures::new(sources.iter().map(of).collect())
    }

    #[test]
    fn a_capture_belongs_to_the_frame_it_names() {
        let data = FakeDataset::new(4, 9);
        let info = data.info();
        // As probes, as our own captures, as others write them.
        let open = file(&[
            ("fake episode 2 step 5", 5),
            ("fake, episode 3", 5),
            ("videos/Episode_000001.mp4", 7),
        ]);
        assert_eq!(open.index_of(info, 2, 5), Ok(0));
        assert_eq!(open.index_of(info, 3, 5), Ok(1));
        assert_eq!(open.index_of(info, 1, 7), Ok(2));
        assert_eq!(open.place(info, 0), Some((2, 5)));
        let why = open.index_of(info, 0, 5).unwrap_err();
        assert!(why.contains("episode 0, step 6"), "{why}");
        assert_eq!(open.group(0), "fake episode 2");
    }

    #[test]
    fn a_capture_of_another_dataset_is_not_shown_over_this_one() {
        let data = FakeDataset::new(4, 9);
        let spec = "tabletop:object?episodes=60&env=A";
        for source in [
            format!("{spec} episode 2 step 5"),
            format!("{spec}, episode 2"),
            "demo episode 2 step 5".to_owned(),
        ] {
            let open = file(&[(&source, 5)]);
            let why = open.index_of(data.info(), 2, 5).unwrap_err();
            assert!(why.contains("the open dataset is fake"), "{why}");
            assert_eq!(open.place(data.info(), 0), None);
        }
    }

    #[test]
    fn a_frame_and_its_swap_are_one_frame() {
        let under = |source: &str, step, instruction: &str| {
            let mut capture = fake_capture(0, step);
            capture.source = source.to_owned();
            capture.instruction = instruction.to_owned();
            capture
        };
        let open = OpenCaptures::new(vec![
            under("fake episode 0", 1, "take a"),
            under("fake episode 0", 2, "take a"),
            under("fake episode 0", 1, "take b"),
            under("fake episode 0", 1, "take c"),
            // The same words are no other instruction, and without a source nobody knows which frame it is.
            under("fake episode 0", 2, " Take A"),
            under("", 1, "take a"),
            under("", 1, "take b"),
        ]);
        let told: Vec<&str> = open
            .captures()
            .iter()
            .map(|c| c.instruction.as_str())
            .collect();
        assert_eq!(told, ["take a", "take a", " Take A", "take a", "take b"]);
        let swaps: Vec<Option<&str>> = (0..open.len())
            .map(|index| open.swap_of(index).map(|c| c.instruction.as_str()))
            .collect();
        assert_eq!(swaps, [Some("take b"), None, None, None, None]);
        assert!(open.warnings().is_empty());
        let data = FakeDataset::new(1, 9);
        assert_eq!(open.index_of(data.info(), 0, 1), Ok(0));
        let survey = crate::inspector::Survey::of_file(&open, None, 64, usize::MAX);
        let swapped = survey.frames.iter().filter(|f| f.swapped.is_some()).count();
        assert_eq!((survey.frames.len(), swapped), (5, 1));
    }

    #[test]
    fn without_an_episode_the_step_decides_where_that_is_clear() {
        let (one, many) = (FakeDataset::new(1, 9), FakeDataset::new(4, 9));
        let open = file(&[("robot.mp4", 0), ("robot.mp4", 3)]);
        assert_eq!(open.index_of(many.info(), 2, 3), Ok(1));
        assert_eq!(open.place(many.info(), 1), None);
        assert_eq!(open.place(one.info(), 1), Some((0, 3)));
        let open = file(&[("a.mp4", 3), ("b.mp4", 3)]);
        assert!(open.index_of(one.info(), 0, 3).is_err());
    }

    #[test]
    fn a_folder_of_files_is_read_frame_by_frame() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, model: &str, source: &str, steps: std::ops::Range<usize>| {
            let captures: Vec<Capture> = steps
                .map(|step| {
                    let mut capture = fake_capture(0, step);
                    capture.model_id = model.to_owned();
                    capture.source = source.to_owned();
                    capture
                })
                .collect();
            attncap::write(&dir.path().join(name), &captures).unwrap();
        };
        assert!(!CaptureIndex::is_folder(dir.path()));
        write("b.safetensors", "policy", "fake, episode 1", 0..4);
        write("a.safetensors", "policy", "fake, episode 0", 0..6);
        std::fs::write(dir.path().join("notes.txt"), "").unwrap();
        assert!(CaptureIndex::is_folder(dir.path()));
        let index = CaptureIndex::open(dir.path()).unwrap();
        let frames: Vec<SurveyFrame> = index.spread(5).map(Result::unwrap).collect();
        let steps: Vec<u64> = frames.iter().map(|f| f.capture.step).collect();
        assert_eq!(
            steps,
            [0, 2, 4, 0, 2],
            "every other one, in the order of names"
        );
        let groups: Vec<usize> = frames.iter().map(|f| f.group).collect();
        assert_eq!(groups, [0, 0, 0, 1, 1]);
        assert!(
            frames
                .iter()
                .all(|f| (f.split == grounding::Split::Tune) == (f.group == 0))
        );

        write("c.safetensors", "another", "fake, episode 2", 0..1);
        let why = CaptureIndex::open(dir.path()).err().unwrap().to_string();
        assert!(
            why.contains("one model at a time") && why.ends_with("c.safetensors"),
            "{why}"
        );
    }
}
