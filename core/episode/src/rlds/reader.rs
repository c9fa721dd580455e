//! Reader of RLDS datasets.

use super::example::{Entry, Kind, Payload};
use super::features::{self, Feature, FeatureKind};
use super::tfrecord::{self, Record};
use crate::cache::{Cache, Footprint};
use crate::source::{Source, read_json};
use crate::{
    CameraInfo, Dataset, DatasetInfo, EpisodeMeta, Error, Image, PixelMask, Region, Result,
    SharedDataset, Signals, picture,
};
use rayon::prelude::*;
use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Budgets of the caches in bytes.
const IMAGE_BUDGET: usize = 64 << 20;
const EPISODE_BUDGET: usize = 64 << 20;
/// When all files together are no larger, every checksum is verified on opening; else when an episode is first read.
const VERIFIED_BYTES: u64 = 256 << 20;
/// Longest episode that is read.
const MAX_STEPS: usize = 1 << 20;
const MAX_INFO_BYTES: u64 = 16 << 20;
/// Episodes of which a picture is looked at when the dataset is opened.
const CHECKED_EPISODES: usize = 32;
/// At most this many warnings of one kind.
const MAX_WARNINGS: usize = 20;
/// Proprioception without a name of its own is put together from vectors no wider than this.
const MAX_STATE_PART: usize = 64;

/// Whether a file name is that of a shard.
pub(crate) fn is_shard(name: &str) -> bool {
    name.ends_with(".tfrecord") || name.contains(".tfrecord-")
}

/// Opens the dataset whose shards lie in `folder`.
pub(crate) fn open(folder: &Path) -> Result<SharedDataset> {
    Ok(Arc::new(Reader::open(folder)?))
}

struct Reader {
    info: DatasetInfo,
    shards: Vec<Source>,
    episodes: Vec<Episode>,
    layout: Layout,
    images: Cache<(usize, usize, usize), Image>,
    loaded: Cache<usize, Loaded>,
}

struct Episode {
    shard: usize,
    record: Record,
    steps: usize,
    instruction: Arc<str>,
}

/// Which features of a record stand for what.
struct Layout {
    cameras: Vec<Camera>,
    action: Vec<Part>,
    state: Vec<Part>,
    instruction: Option<String>,
}

struct Camera {
    key: String,
    size: [u32; 2],
    /// Who gave the size.
    declared_by: &'static str,
}

/// A vector, or a piece of one that is stored in several features.
struct Part {
    key: String,
    dim: usize,
}

/// An episode without its pictures.
struct Loaded {
    signals: Arc<Signals>,
    /// Where the pictures lie in the record, by camera and step.
    pictures: Vec<Result<Vec<Range<u64>>, String>>,
}

impl Footprint for Loaded {
    fn footprint(&self) -> usize {
        let spans: usize = self.pictures.iter().flatten().map(Vec::capacity).sum();
        self.signals.footprint() + spans * size_of::<Range<u64>>()
    }
}

/// What opening learns about a record.
struct Summary {
    steps: usize,
    instruction: Option<String>,
}

impl Reader {
    fn open(folder: &Path) -> Result<Self> {
        let mut warnings = Vec::new();
        let declared = DatasetJson::read(folder, &mut warnings)?;
        let shards = find_shards(folder, &declared, &mut warnings)?;
        let sources = shards
            .iter()
            .map(|shard| Source::open(&shard.path))
            .collect::<Result<Vec<_>>>()?;
        let indexed: Vec<_> = sources
            .par_iter()
            .map(tfrecord::index)
            .collect::<Result<_>>()?;
        let mut records = Vec::new();
        for (at, ((found, warning), shard)) in indexed.into_iter().zip(&shards).enumerate() {
            warnings.extend(warning);
            if let Some(announced) = shard
                .announced
                .filter(|announced| *announced != found.len() as u64)
            {
                let path = shard.path.display();
                warnings.push(format!(
                    "{announced} records are announced, {} are there: {path}",
                    found.len()
                ));
            }
            records.extend(found.into_iter().map(|record| (at, record)));
        }

        let features_path = folder.join("features.json");
        let features = if features_path.is_file() {
            features::read(&features_path)?
        } else {
            warnings.push(format!(
                "features.json is missing, cameras and vectors are guessed: {}",
                folder.display()
            ));
            guess_features(&sources, &records)?
        };
        let layout = Layout::new(&features, &sources, &records)?;
        if layout.cameras.is_empty() {
            warnings.push(format!(
                "no camera is described: {}",
                features_path.display()
            ));
        }

        let total: u64 = sources.iter().map(Source::len).sum();
        let summaries: Vec<_> = records
            .par_iter()
            .map(|(shard, record)| {
                layout.summarise(&sources[*shard], *record, total <= VERIFIED_BYTES)
            })
            .collect::<Result<_>>()?;
        let mut episodes = Vec::with_capacity(records.len());
        let mut texts = HashSet::<Arc<str>>::new();
        let mut instructions = Vec::new();
        for ((shard, record), summary) in records.into_iter().zip(summaries) {
            if summary.steps == 0 {
                let path = sources[shard].path().display();
                warnings.push(format!(
                    "{} has no step and is left out: {path}",
                    record.name()
                ));
                continue;
            }
            let text = summary.instruction.unwrap_or_default();
            let instruction = texts
                .get(text.as_str())
                .cloned()
                .unwrap_or_else(|| Arc::from(text));
            if texts.insert(Arc::clone(&instruction)) && !instruction.is_empty() {
                instructions.push(instruction.to_string());
            }
            episodes.push(Episode {
                shard,
                record,
                steps: summary.steps,
                instruction,
            });
        }
        if episodes.is_empty() {
            return Err(Error::malformed(folder, "no episode has a step"));
        }
        let unsaid = episodes.iter().filter(|e| e.instruction.is_empty()).count();
        if unsaid > 0 {
            warnings.push(format!(
                "{unsaid} of {} episodes have no instruction: {}",
                episodes.len(),
                folder.display()
            ));
        }
        let more = warnings.len().saturating_sub(MAX_WARNINGS);
        if more > 0 {
            warnings.truncate(MAX_WARNINGS);
            warnings.push(format!("{more} more warnings: {}", folder.display()));
        }

        let cameras = layout.cameras.iter().map(|camera| CameraInfo {
            name: camera_name(&camera.key, &layout.cameras),
            width: camera.size[0],
            height: camera.size[1],
        });
        let names = |parts: &[Part]| -> Vec<String> {
            let feature = |part: &Part| {
                features
                    .iter()
                    .find(|f| f.key == part.key)
                    .map(|f| f.component_names(part.dim))
            };
            parts.iter().filter_map(feature).flatten().collect()
        };
        let info = DatasetInfo {
            format: "rlds".to_owned(),
            path: folder.to_path_buf(),
            name: declared.title(folder),
            fps: None,
            episodes: episodes.len(),
            frames: episodes.iter().map(|e| e.steps).sum(),
            cameras: cameras.collect(),
            instructions,
            action_names: names(&layout.action),
            state_names: names(&layout.state),
            has_masks: false,
            warnings,
        };
        let (images, loaded) = (Cache::new(IMAGE_BUDGET), Cache::new(EPISODE_BUDGET));
        let mut reader = Self {
            info,
            shards: sources,
            episodes,
            layout,
            images,
            loaded,
        };
        let found = reader.check()?;
        reader.info.warnings.extend(found);
        Ok(reader)
    }

    /// Reads the first episode and the first picture of every camera in some episodes, so that a contradiction is known
    /// at once and blank cameras are named: the `has_image_…` flags of BridgeData cannot be trusted for that.
    fn check(&self) -> Result<Vec<String>> {
        let path = self.info.path.display();
        let mut warnings = Vec::new();
        let signals = self.signals(0)?;
        for (what, values) in [("action", &signals.actions), ("state", &signals.states)] {
            if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                warnings.push(format!(
                    "{what} of episode 0 is {} at number {at}: {path}",
                    values[at]
                ));
            }
        }
        let looked_at = self.episodes.len().min(CHECKED_EPISODES);
        let mut faults = Vec::new();
        for (at, camera) in self.info.cameras.iter().enumerate() {
            let spread = (0..looked_at).map(|i| i * self.episodes.len() / looked_at);
            let (images, errors): (Vec<_>, Vec<_>) = spread
                .map(|episode| self.image(episode, 0, at))
                .partition(Result::is_ok);
            let blank = images
                .into_iter()
                .flatten()
                .filter(|image| is_blank(image))
                .count();
            if blank > 0 {
                warnings.push(format!(
                    "camera {} is blank in {blank} of {looked_at} episodes: {path}",
                    camera.name
                ));
            }
            if errors.len() == looked_at {
                faults.extend(errors.into_iter().filter_map(Result::err).next());
            } else {
                warnings.extend(
                    errors
                        .into_iter()
                        .filter_map(Result::err)
                        .map(|e| e.in_one_line()),
                );
            }
        }
        // A camera without a readable picture is a warning, a dataset without one an error.
        if faults.len() == self.info.cameras.len() && !faults.is_empty() {
            return Err(faults.swap_remove(0));
        }
        warnings.extend(faults.iter().map(Error::in_one_line));
        Ok(warnings)
    }

    fn loaded(&self, episode: usize) -> Result<Arc<Loaded>> {
        Error::check("episode", episode, self.episodes.len(), &self.info.path)?;
        self.loaded.get_or_try(episode, || {
            let Episode {
                shard,
                record,
                steps,
                ..
            } = &self.episodes[episode];
            let source = &self.shards[*shard];
            let bytes = record.read(source)?;
            let fail =
                |e: String| Error::malformed(source.path(), format!("{}: {e}", record.name()));
            self.layout
                .load(&Payload::Memory(&bytes), *steps)
                .map_err(fail)
        })
    }
}

impl Dataset for Reader {
    fn info(&self) -> &DatasetInfo {
        &self.info
    }

    fn episode(&self, episode: usize) -> Result<EpisodeMeta> {
        Error::check("episode", episode, self.episodes.len(), &self.info.path)?;
        let Episode {
            steps, instruction, ..
        } = &self.episodes[episode];
        Ok(EpisodeMeta {
            index: episode,
            length: *steps,
            instruction: Arc::clone(instruction),
        })
    }

    fn signals(&self, episode: usize) -> Result<Arc<Signals>> {
        Ok(Arc::clone(&self.loaded(episode)?.signals))
    }

    fn image(&self, episode: usize, step: usize, camera: usize) -> Result<Arc<Image>> {
        Error::check("camera", camera, self.layout.cameras.len(), &self.info.path)?;
        Error::check("episode", episode, self.episodes.len(), &self.info.path)?;
        let Episode {
            shard,
            record,
            steps,
            ..
        } = &self.episodes[episode];
        Error::check("step", step, *steps, &self.info.path)?;
        self.images.get_or_try((episode, step, camera), || {
            let Camera {
                key,
                size,
                declared_by,
                ..
            } = &self.layout.cameras[camera];
            let source = &self.shards[*shard];
            let fail = |e: String| {
                Error::malformed(
                    source.path(),
                    format!("{}, step {step} of {key}: {e}", record.name()),
                )
            };
            let loaded = self.loaded(episode)?;
            let spans = loaded.pictures[camera]
                .as_ref()
                .map_err(|e| fail(e.clone()))?;
            let span = spans
                .get(step)
                .cloned()
                .ok_or_else(|| fail("the picture is missing".to_owned()))?;
            let bytes = Payload::File(source, *record)
                .bytes(span)
                .map_err(fail)?
                .into_owned();
            picture::decode(&bytes, *size, declared_by).map_err(fail)
        })
    }

    fn mask(
        &self,
        episode: usize,
        step: usize,
        camera: usize,
        _: Region,
    ) -> Result<Option<Arc<PixelMask>>> {
        Error::check("camera", camera, self.layout.cameras.len(), &self.info.path)?;
        Error::check("step", step, self.episode(episode)?.length, &self.info.path)?;
        Ok(None)
    }
}

impl Layout {
    fn new(features: &[Feature], sources: &[Source], records: &[(usize, Record)]) -> Result<Self> {
        let mut cameras = Vec::new();
        for feature in features.iter().filter(|f| f.key.starts_with("steps/")) {
            let FeatureKind::Picture { size } = feature.kind else {
                continue;
            };
            let key = feature.key.clone();
            let camera = match size {
                Some(size) => Camera {
                    key,
                    size,
                    declared_by: "features.json",
                },
                None => match first_picture(&key, sources, records)? {
                    Some(size) => Camera {
                        key,
                        size,
                        declared_by: "the first picture",
                    },
                    None => continue,
                },
            };
            cameras.push(camera);
        }
        cameras.sort_by(|a, b| a.key.cmp(&b.key));

        let numbers = |wanted: &dyn Fn(&str, usize) -> bool| -> Vec<Part> {
            let part = |feature: &Feature| match feature.kind {
                FeatureKind::Numbers {
                    dim,
                    is_float: true,
                } if wanted(&feature.key, dim) => Some(Part {
                    key: feature.key.clone(),
                    dim,
                }),
                _ => None,
            };
            let mut parts: Vec<Part> = features.iter().filter_map(part).collect();
            parts.sort_by(|a, b| a.key.cmp(&b.key));
            parts
        };
        let below = |root: &str| {
            let folder = format!("{root}/");
            numbers(&|key, _| key == root || key.starts_with(&folder))
        };
        let named = ["state", "proprio"].map(|name| below(&format!("steps/observation/{name}")));
        let state = named
            .into_iter()
            .find(|parts| !parts.is_empty())
            .unwrap_or_else(|| {
                numbers(&|key, dim| {
                    key.starts_with("steps/observation/")
                        && dim <= MAX_STATE_PART
                        && !key.contains("embedding")
                })
            });
        let text = |key: &str| {
            features
                .iter()
                .any(|f| f.key == key && f.kind == FeatureKind::Text)
        };
        let known = [
            "steps/language_instruction",
            "steps/observation/natural_language_instruction",
            "steps/natural_language_instruction",
            "episode_metadata/language_instruction",
        ];
        let guessed = features
            .iter()
            .find(|f| f.kind == FeatureKind::Text && f.key.contains("instruction"));
        let instruction = known.into_iter().find(|key| text(key)).map(str::to_owned);
        let instruction = instruction.or_else(|| guessed.map(|f| f.key.clone()));
        Ok(Self {
            cameras,
            action: below("steps/action"),
            state,
            instruction,
        })
    }

    /// Number of steps and instruction; checks the payload when `is_verified`.
    fn summarise(&self, source: &Source, record: Record, is_verified: bool) -> Result<Summary> {
        let fail = |e: String| Error::malformed(source.path(), format!("{} {e}", record.name()));
        let bytes = if is_verified {
            Some(record.read(source)?)
        } else {
            None
        };
        let payload = match &bytes {
            Some(bytes) => Payload::Memory(bytes),
            None => Payload::File(source, record),
        };
        let entries = payload.entries().map_err(fail)?;
        self.summary(&payload, &entries)
            .map_err(|e| fail(format!("cannot be read: {e}")))
    }

    fn summary(&self, payload: &Payload<'_>, entries: &[Entry]) -> Result<Summary, String> {
        let entry = |key: &str| entries.iter().find(|entry| entry.key == key);
        let vector = self
            .action
            .iter()
            .chain(&self.state)
            .find_map(|part| Some((part, entry(&part.key)?)));
        let steps = match vector {
            Some((part, entry)) if entry.kind == Kind::Floats => {
                let count = payload.float_count(entry)?;
                if !count.is_multiple_of(part.dim) {
                    return Err(format!(
                        "{} has {count} numbers, no multiple of {}",
                        part.key, part.dim
                    ));
                }
                count / part.dim
            }
            _ => {
                let camera = self.cameras.iter().find_map(|camera| entry(&camera.key));
                let camera = camera.ok_or("it has neither an action, a state nor a picture")?;
                payload.byte_values(camera, MAX_STEPS)?.len()
            }
        };
        if steps > MAX_STEPS {
            return Err(format!("{steps} steps, at most {MAX_STEPS} are read"));
        }
        let instruction = match self.instruction.as_deref().and_then(entry) {
            Some(entry) => match payload.byte_values(entry, 1)?.into_iter().next() {
                Some(span) if span.end - span.start <= 1 << 16 => {
                    let text = payload.bytes(span)?;
                    Some(String::from_utf8_lossy(&text).trim().to_owned())
                }
                Some(_) => return Err(format!("{} is longer than 64 KiB", entry.key)),
                None => None,
            },
            None => None,
        };
        Ok(Summary { steps, instruction })
    }

    fn load(&self, payload: &Payload<'_>, steps: usize) -> Result<Loaded, String> {
        let entries = payload.entries()?;
        let entry = |key: &str| {
            entries
                .iter()
                .find(|entry| entry.key == key)
                .ok_or_else(|| format!("the record has no {key}"))
        };
        let rows = |parts: &[Part]| -> Result<(usize, Vec<f32>), String> {
            let mut columns = Vec::new();
            for part in parts {
                let numbers = payload.numbers(entry(&part.key)?)?;
                if numbers.len() != steps * part.dim {
                    return Err(format!(
                        "{} has {} numbers for {steps} steps of {}",
                        part.key,
                        numbers.len(),
                        part.dim
                    ));
                }
                columns.push((part.dim, numbers));
            }
            let dim = columns.iter().map(|(dim, _)| dim).sum();
            let mut rows = Vec::with_capacity(steps * dim);
            for step in 0..steps {
                for (dim, numbers) in &columns {
                    rows.extend_from_slice(&numbers[step * dim..(step + 1) * dim]);
                }
            }
            Ok((dim, rows))
        };
        let (action_dim, actions) = rows(&self.action)?;
        let (state_dim, states) = rows(&self.state)?;
        let pictures = self.cameras.iter().map(|camera| {
            let spans = payload.byte_values(entry(&camera.key)?, MAX_STEPS)?;
            if spans.len() == steps {
                Ok(spans)
            } else {
                Err(format!("{} pictures for {steps} steps", spans.len()))
            }
        });
        let signals = Arc::new(Signals {
            action_dim,
            state_dim,
            actions,
            states,
        });
        Ok(Loaded {
            signals,
            pictures: pictures.collect(),
        })
    }
}

/// One colour all over, but for what JPEG adds.
fn is_blank(image: &Image) -> bool {
    let channel = |channel: usize| image.rgb.iter().skip(channel).step_by(3).copied();
    (0..3).all(|c| channel(c).max().unwrap_or(0) - channel(c).min().unwrap_or(0) <= 4)
}

/// `steps/observation/image_0` is `image_0`, unless another camera is called so too.
fn camera_name(key: &str, cameras: &[Camera]) -> String {
    let name = |key: &str| key.rsplit('/').next().unwrap_or(key).to_owned();
    let short = name(key);
    if cameras
        .iter()
        .filter(|camera| name(&camera.key) == short)
        .count()
        > 1
    {
        return key
            .trim_start_matches("steps/")
            .trim_start_matches("observation/")
            .to_owned();
    }
    short
}

/// `[width, height]` of the first picture of a feature.
fn first_picture(
    key: &str,
    sources: &[Source],
    records: &[(usize, Record)],
) -> Result<Option<[u32; 2]>> {
    let Some((shard, record)) = records.first() else {
        return Ok(None);
    };
    let source = &sources[*shard];
    let bytes = record.read(source)?;
    let payload = Payload::Memory(&bytes);
    let find = || -> Result<Option<[u32; 2]>, String> {
        let entries = payload.entries()?;
        let Some(entry) = entries
            .iter()
            .find(|entry| entry.key == key && entry.kind == Kind::Bytes)
        else {
            return Ok(None);
        };
        let Some(span) = payload.byte_values(entry, 1)?.into_iter().next() else {
            return Ok(None);
        };
        Ok(picture::header(&payload.bytes(span)?)
            .ok()
            .map(|header| [header.width, header.height]))
    };
    find().map_err(|e| Error::malformed(source.path(), format!("{} {e}", record.name())))
}

/// Features of the first record, for a folder without `features.json`: pictures by their first bytes, text by the key,
/// vectors by what is left, all numbers a step.
fn guess_features(sources: &[Source], records: &[(usize, Record)]) -> Result<Vec<Feature>> {
    let Some((shard, record)) = records.first() else {
        return Ok(Vec::new());
    };
    let source = &sources[*shard];
    let bytes = record.read(source)?;
    let payload = Payload::Memory(&bytes);
    let guess = || -> Result<Vec<Feature>, String> {
        let entries = payload.entries()?;
        let mut steps = None;
        let mut features = Vec::new();
        for entry in entries.iter().filter(|entry| entry.kind == Kind::Bytes) {
            let spans = payload.byte_values(entry, MAX_STEPS)?;
            let Some(first) = spans.first() else { continue };
            let kind = match picture::header(&payload.bytes(first.clone())?) {
                Ok(_) => {
                    steps = Some(spans.len());
                    FeatureKind::Picture { size: None }
                }
                Err(_) => FeatureKind::Text,
            };
            features.push(Feature {
                key: entry.key.clone(),
                kind,
                description: String::new(),
            });
        }
        let Some(steps) = steps.filter(|steps| *steps > 0) else {
            return Ok(features);
        };
        for entry in entries.iter().filter(|entry| entry.kind == Kind::Floats) {
            let count = payload.float_count(entry)?;
            if count.is_multiple_of(steps) && count > 0 {
                let kind = FeatureKind::Numbers {
                    dim: count / steps,
                    is_float: true,
                };
                features.push(Feature {
                    key: entry.key.clone(),
                    kind,
                    description: String::new(),
                });
            }
        }
        Ok(features)
    };
    guess().map_err(|e| Error::malformed(source.path(), format!("{} {e}", record.name())))
}

/// What `dataset_info.json` says, as far as it is there.
#[derive(Default)]
struct DatasetJson {
    name: Option<String>,
    version: Option<String>,
    /// Splits in order, with the number of records of every shard.
    splits: Vec<(String, Vec<u64>)>,
}

impl DatasetJson {
    fn read(folder: &Path, warnings: &mut Vec<String>) -> Result<Self> {
        let path = folder.join("dataset_info.json");
        if !path.is_file() {
            warnings.push(format!(
                "dataset_info.json is missing: {}",
                folder.display()
            ));
            return Ok(Self::default());
        }
        let json = read_json(&path, MAX_INFO_BYTES)?;
        let text = |key: &str| json.get(key).and_then(Value::as_str).map(str::to_owned);
        if let Some(format) = text("fileFormat").filter(|format| format != "tfrecord") {
            return Err(Error::unsupported(
                &path,
                format!("file format {format:?}, tfrecord is read"),
            ));
        }
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        let split = |split: &Value| {
            let lengths = split.get("shardLengths").and_then(Value::as_array);
            let lengths = lengths
                .map(|lengths| lengths.iter().filter_map(number).collect())
                .unwrap_or_default();
            Some((split.get("name")?.as_str()?.to_owned(), lengths))
        };
        let splits = json.get("splits").and_then(Value::as_array);
        let splits = splits
            .map(|splits| splits.iter().filter_map(split).collect())
            .unwrap_or_default();
        Ok(Self {
            name: text("name"),
            version: text("version"),
            splits,
        })
    }

    fn title(&self, folder: &Path) -> String {
        let words: Vec<&str> = self
            .name
            .iter()
            .chain(&self.version)
            .map(String::as_str)
            .collect();
        if words.is_empty() {
            return folder
                .file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        }
        words.join(" ")
    }
}

struct ShardFile {
    path: PathBuf,
    /// Records that `dataset_info.json` announces.
    announced: Option<u64>,
}

/// What the name of a shard says: `kitchen-train.tfrecord-00002-of-00008`.
struct ShardName {
    /// `train`.
    split: String,
    /// 2 of 8; `None` for a split in one file without a number.
    number: Option<(u64, u64)>,
    name: String,
}

impl ShardName {
    fn parse(name: &str) -> Option<Self> {
        let (stem, number) = name.split_once(".tfrecord").filter(|_| is_shard(name))?;
        let split = stem.rsplit('-').next().unwrap_or(stem).to_owned();
        let number = number
            .strip_prefix('-')
            .and_then(|number| number.split_once("-of-"));
        let number = number.and_then(|(at, total)| Some((at.parse().ok()?, total.parse().ok()?)));
        Some(Self {
            split,
            number,
            name: name.to_owned(),
        })
    }
}

/// The shards of all splits, in the order of `dataset_info.json`, then of their number.
fn find_shards(
    folder: &Path,
    declared: &DatasetJson,
    warnings: &mut Vec<String>,
) -> Result<Vec<ShardFile>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let entry = entry.map_err(Error::io("list", folder))?;
        names.extend(entry.file_name().to_str().and_then(ShardName::parse));
    }
    if names.is_empty() {
        return Err(Error::malformed(folder, "holds no tfrecord file"));
    }
    let rank = |split: &str| {
        declared
            .splits
            .iter()
            .position(|(name, _)| name == split)
            .unwrap_or(usize::MAX)
    };
    names.sort_by_cached_key(|name| {
        (
            rank(&name.split),
            name.split != "train",
            name.split.clone(),
            name.number,
            name.name.clone(),
        )
    });
    let splits: Vec<&[ShardName]> = names.chunk_by(|a, b| a.split == b.split).collect();
    if splits.len() > 1 {
        let names: Vec<&str> = splits
            .iter()
            .filter_map(|shards| shards.first())
            .map(|shard| shard.split.as_str())
            .collect();
        warnings.push(format!(
            "the splits {} are shown one after the other: {}",
            names.join(", "),
            folder.display()
        ));
    }
    let mut files = Vec::new();
    for shards in splits {
        let total = shards
            .iter()
            .filter_map(|shard| shard.number)
            .map(|(_, total)| total)
            .max()
            .unwrap_or(0);
        let present = shards.iter().filter(|shard| shard.number.is_some()).count() as u64;
        let split = shards.first().map_or("", |shard| shard.split.as_str());
        if present != total {
            warnings.push(format!(
                "{present} of {total} shards of split {split} are there: {}",
                folder.display()
            ));
        }
        let lengths = declared
            .splits
            .iter()
            .find(|(name, _)| name == split)
            .map(|(_, lengths)| lengths);
        let lengths = lengths.filter(|lengths| lengths.len() as u64 == total);
        files.extend(shards.iter().map(|shard| {
            let at = shard.number.and_then(|(at, _)| usize::try_from(at).ok());
            ShardFile {
                path: folder.join(&shard.name),
                announced: at.and_then(|at| lengths?.get(at).copied()),
            }
        }));
    }
    Ok(files)
}
