//! Reader of LeRobotDataset v3.0.

use super::info::{Feature, Info};
use super::table::{Table, floats, integers, is_number};
use super::{ACTION, IMAGE_PREFIX, MASK_PREFIX, STATE};
use crate::cache::{Cache, Footprint};
use crate::{
    CameraInfo, Dataset, DatasetInfo, EpisodeMeta, Error, Image, PixelMask, Region, Result,
    SharedDataset, Signals, picture,
};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Budgets of the caches in bytes.
const TABLE_BUDGET: usize = 64 << 20;
const BLOCK_BUDGET: usize = 128 << 20;
const IMAGE_BUDGET: usize = 64 << 20;
const SIGNAL_BUDGET: usize = 32 << 20;
/// Encoded pictures that are read together: neighbours are asked for next.
const BLOCK_BYTES: u64 = 4 << 20;
const MAX_BLOCK_ROWS: u64 = 512;
/// Longest episode that is read.
const MAX_STEPS: u64 = 1 << 20;
/// Steps whose vectors are looked at when the dataset is opened.
const CHECKED_STEPS: usize = 20_000;
/// At most this many warnings of one kind.
const MAX_WARNINGS: usize = 20;

/// Opens the dataset in the folder `root`, a canonical path.
pub(crate) fn open(root: &Path) -> Result<SharedDataset> {
    Ok(Arc::new(Reader::open(root)?))
}

struct Reader {
    info: DatasetInfo,
    episodes: Vec<Episode>,
    files: Vec<DataFile>,
    /// Cameras, then the masks of the cameras that have some.
    pictures: Vec<Picture>,
    action: Option<Vector>,
    state: Option<Vector>,
    tables: Cache<usize, Table>,
    blocks: Cache<BlockKey, Block>,
    images: Cache<(usize, usize, usize), Image>,
    signals: Cache<usize, Signals>,
}

struct Episode {
    /// `episode_index` in the files.
    id: i64,
    /// Index of [`Reader::files`].
    file: usize,
    /// Rows of the file.
    rows: Range<u64>,
    instruction: Arc<str>,
}

impl Episode {
    /// What is wrong with a row that the file gives to another episode.
    fn belies(&self, row: u64, found: Option<i64>) -> String {
        let found = found.map_or("no episode".to_owned(), |id| format!("episode {id}"));
        format!(
            "row {row} belongs to {found}, meta/episodes says episode {}",
            self.id
        )
    }
}

struct DataFile {
    /// Where the dataset has it.
    name: PathBuf,
    /// Where it really is, or what stands in the way of reading it.
    path: Result<PathBuf, String>,
}

/// A feature with one picture a step.
struct Picture {
    key: String,
    size: [u32; 2],
    /// The camera that it masks.
    masks: Option<usize>,
}

/// A feature with one vector a step.
struct Vector {
    key: String,
    dtype: String,
    dim: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct BlockKey {
    file: usize,
    first: u64,
    picture: usize,
}

/// Encoded pictures of consecutive rows.
struct Block {
    first: u64,
    /// End of every picture in `bytes`.
    ends: Vec<usize>,
    /// `episode_index` of every row; empty where the file has none.
    ids: Vec<Option<i64>>,
    bytes: Vec<u8>,
}

impl Footprint for Block {
    fn footprint(&self) -> usize {
        self.bytes.capacity()
            + size_of::<usize>() * self.ends.capacity()
            + size_of::<Option<i64>>() * self.ids.capacity()
    }
}

impl Block {
    fn get(&self, row: u64) -> Option<&[u8]> {
        let at = usize::try_from(row.checked_sub(self.first)?).ok()?;
        let start = at
            .checked_sub(1)
            .map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.bytes.get(start..*self.ends.get(at)?)
    }

    /// What the file says instead, when it does not give a row to episode `id`.
    fn stranger(&self, row: u64, id: i64) -> Option<Option<i64>> {
        let at = usize::try_from(row.checked_sub(self.first)?).ok()?;
        self.ids.get(at).copied().filter(|found| *found != Some(id))
    }
}

impl Reader {
    fn open(root: &Path) -> Result<Self> {
        let info_path = root.join("meta/info.json");
        let info = Info::read(root, &info_path)?;
        let mut warnings = Vec::new();
        let (cameras, pictures) = pictures(root, &info, &mut warnings)?;
        let vector = |key: &str| -> Result<Option<Vector>> {
            let Some(feature) = info.feature(key) else {
                return Ok(None);
            };
            let dim = feature.dim().map_err(|e| Error::malformed(&info_path, e))?;
            Ok(Some(Vector {
                key: key.to_owned(),
                dtype: feature.dtype.clone(),
                dim,
            }))
        };
        let (action, state) = (vector(ACTION)?, vector(STATE)?);
        if action.is_none() {
            warnings.push(format!(
                "no feature is called {ACTION}: {}",
                info_path.display()
            ));
        }
        let names = |vector: &Option<Vector>| {
            let feature = vector
                .as_ref()
                .and_then(|v| Some((info.feature(&v.key)?, v.dim)));
            feature.map_or_else(Vec::new, |(feature, dim)| feature.component_names(dim))
        };
        let index = Index::read(root, &info, &mut warnings)?;
        let mut instructions = Vec::new();
        let mut seen = HashSet::new();
        for episode in index.episodes.iter().filter(|e| !e.instruction.is_empty()) {
            if seen.insert(&episode.instruction) {
                instructions.push(episode.instruction.to_string());
            }
        }
        let frames = index
            .episodes
            .iter()
            .map(|e| e.rows.end - e.rows.start)
            .sum::<u64>();
        if info.total_episodes != index.episodes.len() as u64 || info.total_frames != frames {
            warnings.push(format!(
                "{} episodes with {} frames are announced, {} with {frames} are listed: {}",
                info.total_episodes,
                info.total_frames,
                index.episodes.len(),
                info_path.display()
            ));
        }
        let info = DatasetInfo {
            format: "lerobot-v3.0".to_owned(),
            name: root
                .file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            fps: Some(info.fps),
            episodes: index.episodes.len(),
            frames: usize::try_from(frames).unwrap_or(usize::MAX),
            cameras,
            instructions,
            action_names: names(&action),
            state_names: names(&state),
            has_masks: pictures.iter().any(|p| p.masks.is_some()),
            warnings,
            path: root.to_path_buf(),
        };
        let mut reader = Self {
            info,
            episodes: index.episodes,
            files: index.files,
            pictures,
            action,
            state,
            tables: Cache::new(TABLE_BUDGET),
            blocks: Cache::new(BLOCK_BUDGET),
            images: Cache::new(IMAGE_BUDGET),
            signals: Cache::new(SIGNAL_BUDGET),
        };
        let found = reader.check()?;
        reader.info.warnings.extend(found);
        Ok(reader)
    }

    /// Looks at the files, the vectors of the first episodes and the first picture of every camera, so that a fault is
    /// known at once. A dataset of which nothing that was looked at can be read is an error.
    fn check(&self) -> Result<Vec<String>> {
        let mut faults: Vec<Error> = self.files.iter().filter_map(|file| file.error()).collect();
        if faults.len() == self.files.len() {
            return Err(faults.swap_remove(0));
        }
        let mut warnings = Vec::new();
        let (mut steps, mut checked, mut broken) = (0, 0, Vec::new());
        for at in 0..self.episodes.len() {
            if steps >= CHECKED_STEPS || broken.len() > MAX_WARNINGS {
                break;
            }
            checked += 1;
            match self.signals(at) {
                Ok(signals) => {
                    steps += signals.steps();
                    warnings.extend(self.not_finite(at, &signals));
                }
                Err(e) => broken.push(e),
            }
        }
        if broken.len() == checked && !broken.is_empty() {
            return Err(broken.swap_remove(0));
        }
        let sound = (0..checked).find(|at| self.files[self.episodes[*at].file].path.is_ok());
        if let Some(episode) = sound {
            for at in 0..self.pictures.len() {
                match self.picture(episode, 0, at) {
                    Ok(_) => {}
                    // The feature and its pictures contradict each other: no picture of it would be readable.
                    Err(PictureError::Size(e)) => return Err(e),
                    Err(PictureError::Other(e)) => broken.push(e),
                }
            }
        }
        faults.extend(broken);
        let more = faults.len().saturating_sub(MAX_WARNINGS);
        warnings.truncate(MAX_WARNINGS);
        warnings.extend(faults.iter().take(MAX_WARNINGS).map(Error::in_one_line));
        if more > 0 {
            warnings.push(format!("{more} more faults: {}", self.info.path.display()));
        }
        Ok(warnings)
    }

    fn not_finite(&self, episode: usize, signals: &Signals) -> Option<String> {
        let first_row = self.episodes[episode].rows.start as usize;
        let vectors = [
            (&self.action, &signals.actions),
            (&self.state, &signals.states),
        ];
        vectors.into_iter().find_map(|(vector, values)| {
            let vector = vector.as_ref()?;
            let at = values.iter().position(|v| !v.is_finite())?;
            let count = values.iter().filter(|v| !v.is_finite()).count();
            let (row, component) = (first_row + at / vector.dim, at % vector.dim);
            let path = self.files[self.episodes[episode].file].name.display();
            Some(format!(
                "{} is {} at row {row}, component {component} ({count} such values in episode {episode}): {path}",
                vector.key, values[at]
            ))
        })
    }

    fn table(&self, file: usize) -> Result<Arc<Table>> {
        self.tables.get_or_try(file, || {
            let path = self.files[file]
                .path
                .as_ref()
                .map_err(|_| self.files[file].error_or_unknown())?;
            let table = Table::open(path)?;
            self.check_schema(&table)?;
            Ok(table)
        })
    }

    fn check_schema(&self, table: &Table) -> Result<()> {
        let fail = |reason: String| table.fail(reason);
        for vector in self.vectors() {
            let kind = table.column_type(&vector.key).map_err(fail)?;
            let is_right = match kind {
                DataType::List(item) => is_number(item.data_type()),
                kind => vector.dim == 1 && is_number(kind),
            };
            if !is_right {
                let Vector { key, dtype, dim } = vector;
                return Err(table.fail(format!(
                    "column {key} is {kind}, info.json says {dtype}[{dim}]"
                )));
            }
        }
        for picture in &self.pictures {
            let kind = table.column_type(&picture.key).map_err(fail)?;
            let is_right = match kind {
                DataType::Struct(fields) => fields
                    .iter()
                    .any(|f| f.name() == "bytes" && *f.data_type() == DataType::Binary),
                kind => *kind == DataType::Binary,
            };
            if !is_right {
                return Err(table.fail(format!(
                    "column {} is {kind}, info.json says image",
                    picture.key
                )));
            }
        }
        Ok(())
    }

    fn vectors(&self) -> impl Iterator<Item = &Vector> {
        self.action.iter().chain(&self.state)
    }

    /// The episode and its rows, checked against the file.
    fn episode_rows(&self, episode: usize) -> Result<(&Episode, Arc<Table>)> {
        Error::check("episode", episode, self.episodes.len(), &self.info.path)?;
        let entry = &self.episodes[episode];
        let table = self.table(entry.file)?;
        if entry.rows.end > table.rows() {
            let Range { start, end } = entry.rows;
            return Err(table.fail(format!(
                "episode {episode} is rows {start} to {end}, the file has {}",
                table.rows()
            )));
        }
        Ok((entry, table))
    }

    fn read_signals(&self, episode: usize) -> Result<Signals> {
        let (entry, table) = self.episode_rows(episode)?;
        let wanted: Vec<&str> = self
            .vectors()
            .map(|v| v.key.as_str())
            .chain(["episode_index"])
            .collect();
        let mut row = entry.rows.start;
        let mut values: Vec<Vec<f32>> = self.vectors().map(|_| Vec::new()).collect();
        let batches = table.read(entry.rows.clone(), 1024, |path| {
            path.first().is_some_and(|p| wanted.contains(&p.as_str()))
        })?;
        for batch in batches {
            let batch = batch?;
            for (vector, values) in self.vectors().zip(&mut values) {
                let column = column(&batch, &vector.key).map_err(|e| table.fail(e))?;
                append_rows(column, vector, row, values).map_err(|e| table.fail(e))?;
            }
            if let Some(column) = batch.column_by_name("episode_index") {
                let ids = integers(column)
                    .map_err(|e| table.fail(format!("column episode_index {e}")))?;
                if let Some(at) = ids.iter().position(|id| *id != Some(entry.id)) {
                    return Err(table.fail(entry.belies(row + at as u64, ids[at])));
                }
            }
            row += batch.num_rows() as u64;
        }
        if row != entry.rows.end {
            return Err(table.fail(format!(
                "the rows end at {row}, episode {episode} goes on to {}",
                entry.rows.end
            )));
        }
        let mut values = values.into_iter();
        let mut take = |vector: &Option<Vector>| {
            vector.as_ref().map_or((0, Vec::new()), |v| {
                (v.dim, values.next().unwrap_or_default())
            })
        };
        let ((action_dim, actions), (state_dim, states)) = (take(&self.action), take(&self.state));
        Ok(Signals {
            action_dim,
            state_dim,
            actions,
            states,
        })
    }

    fn picture(&self, episode: usize, step: usize, at: usize) -> Result<Arc<Image>, PictureError> {
        let (entry, table) = self.episode_rows(episode)?;
        let length = (entry.rows.end - entry.rows.start) as usize;
        Error::check("step", step, length, &self.info.path)?;
        let picture = &self.pictures[at];
        // The size is looked at first: it is an error of its own.
        let mut wrong_size = false;
        let image = self.images.get_or_try((episode, step, at), || {
            let row = entry.rows.start + step as u64;
            let fail = |reason: String| table.fail(format!("row {row} {}: {reason}", picture.key));
            let block = self.block(&table, entry.file, row, at)?;
            if let Some(found) = block.stranger(row, entry.id) {
                return Err(table.fail(entry.belies(row, found)));
            }
            let bytes = block
                .get(row)
                .ok_or_else(|| fail("the row is missing".to_owned()))?;
            let header = picture::header(bytes).map_err(fail)?;
            wrong_size = [header.width, header.height] != picture.size;
            picture::decode(bytes, picture.size, "info.json").map_err(fail)
        });
        image.map_err(|e| {
            if wrong_size {
                PictureError::Size(e)
            } else {
                PictureError::Other(e)
            }
        })
    }

    /// The encoded pictures around a row.
    fn block(&self, table: &Table, file: usize, row: u64, picture: usize) -> Result<Arc<Block>> {
        let (group, rows) = table
            .group_of(row)
            .ok_or_else(|| table.fail(format!("there is no row {row}")))?;
        let key = self.pictures[picture].key.as_str();
        let bytes = table
            .unpacked_bytes(group, &[key, "bytes"])
            .max(table.unpacked_bytes(group, &[key]));
        let bytes_a_row = (bytes / (rows.end - rows.start).max(1)).max(1);
        let block_rows = (BLOCK_BYTES / bytes_a_row).clamp(1, MAX_BLOCK_ROWS);
        let first = rows.start + (row - rows.start) / block_rows * block_rows;
        let last = (first + block_rows).min(rows.end);
        let block = self.blocks.get_or_try(
            BlockKey {
                file,
                first,
                picture,
            },
            || read_block(table, first..last, key),
        )?;
        if block.get(row).is_some() {
            return Ok(block);
        }
        // Rows far larger than the footer makes believe: this one alone.
        Ok(Arc::new(read_block(table, row..row + 1, key)?))
    }
}

enum PictureError {
    /// The size differs from `info.json`.
    Size(Error),
    Other(Error),
}

impl From<Error> for PictureError {
    fn from(e: Error) -> Self {
        Self::Other(e)
    }
}

impl From<PictureError> for Error {
    fn from(e: PictureError) -> Self {
        match e {
            PictureError::Size(e) | PictureError::Other(e) => e,
        }
    }
}

impl Dataset for Reader {
    fn info(&self) -> &DatasetInfo {
        &self.info
    }

    fn episode(&self, episode: usize) -> Result<EpisodeMeta> {
        Error::check("episode", episode, self.episodes.len(), &self.info.path)?;
        let entry = &self.episodes[episode];
        let length = (entry.rows.end - entry.rows.start) as usize;
        Ok(EpisodeMeta {
            index: episode,
            length,
            instruction: Arc::clone(&entry.instruction),
        })
    }

    fn signals(&self, episode: usize) -> Result<Arc<Signals>> {
        self.signals
            .get_or_try(episode, || self.read_signals(episode))
    }

    fn image(&self, episode: usize, step: usize, camera: usize) -> Result<Arc<Image>> {
        Error::check("camera", camera, self.info.cameras.len(), &self.info.path)?;
        Ok(self.picture(episode, step, camera)?)
    }

    fn mask(
        &self,
        episode: usize,
        step: usize,
        camera: usize,
        region: Region,
    ) -> Result<Option<Arc<PixelMask>>> {
        Error::check("camera", camera, self.info.cameras.len(), &self.info.path)?;
        let Some(at) = self.pictures.iter().position(|p| p.masks == Some(camera)) else {
            return Ok(None);
        };
        let image = self.picture(episode, step, at)?;
        let channel = match region {
            Region::Target => 0,
            Region::Goal => 1,
        };
        let bits = image
            .rgb
            .iter()
            .skip(channel)
            .step_by(3)
            .map(|v| *v >= 128)
            .collect();
        Ok(Some(Arc::new(PixelMask {
            width: image.width,
            height: image.height,
            bits,
        })))
    }
}

impl DataFile {
    fn error(&self) -> Option<Error> {
        self.path
            .as_ref()
            .err()
            .map(|reason| Error::malformed(&self.name, reason.clone()))
    }

    fn error_or_unknown(&self) -> Error {
        self.error()
            .unwrap_or_else(|| Error::malformed(&self.name, "cannot be read"))
    }
}

/// Cameras of the dataset, and the picture features that stand for them and for their masks.
fn pictures(
    root: &Path,
    info: &Info,
    warnings: &mut Vec<String>,
) -> Result<(Vec<CameraInfo>, Vec<Picture>)> {
    let mut cameras: Vec<CameraInfo> = Vec::new();
    let mut pictures = Vec::new();
    let mut masks = Vec::new();
    let mut videos = Vec::new();
    for feature in &info.features {
        match feature.dtype.as_str() {
            "video" => videos.push(feature.key.as_str()),
            "image" => match (
                feature.picture_size(),
                feature.key.strip_prefix(MASK_PREFIX),
            ) {
                (None, _) => warnings.push(format!(
                    "{} has shape {:?} and is left out, [height, width, 3] is read: {}",
                    feature.key,
                    feature.shape,
                    root.display()
                )),
                (Some(size), Some(camera)) => masks.push((feature.key.clone(), size, camera)),
                (Some(size), None) => {
                    cameras.push(CameraInfo {
                        name: camera_name(feature),
                        width: size[0],
                        height: size[1],
                    });
                    pictures.push(Picture {
                        key: feature.key.clone(),
                        size,
                        masks: None,
                    });
                }
            },
            _ => {}
        }
    }
    if !videos.is_empty() {
        let reason = format!("pictures in videos ({})", videos.join(", "));
        if cameras.is_empty() {
            return Err(Error::unsupported(root, reason));
        }
        warnings.push(Error::unsupported(root, reason).to_string());
    }
    for (key, size, camera) in masks {
        match cameras
            .iter()
            .position(|c| c.name == camera && [c.width, c.height] == size)
        {
            Some(at) => pictures.push(Picture {
                key,
                size,
                masks: Some(at),
            }),
            None => warnings.push(format!(
                "{key} fits no camera and is left out: {}",
                root.display()
            )),
        }
    }
    Ok((cameras, pictures))
}

/// `observation.images.wrist` is `wrist`.
fn camera_name(feature: &Feature) -> String {
    let key = feature.key.as_str();
    key.strip_prefix(IMAGE_PREFIX)
        .or_else(|| key.strip_prefix("observation."))
        .unwrap_or(key)
        .to_owned()
}

/// What `meta/tasks.parquet` and `meta/episodes` say.
struct Index {
    episodes: Vec<Episode>,
    files: Vec<DataFile>,
}

/// A row of `meta/episodes`.
struct Row {
    id: i64,
    /// Chunk and file.
    place: (u64, u64),
    /// Frames of the dataset.
    frames: Range<u64>,
    instruction: Arc<str>,
}

/// What `meta/episodes` lists.
#[derive(Default)]
struct Listed {
    /// Episodes that can be shown.
    rows: Vec<Row>,
    /// Frames are numbered over the dataset; a file begins with the smallest number among its episodes, those that are
    /// left out included.
    first_frames: HashMap<(u64, u64), u64>,
}

impl Index {
    fn read(root: &Path, info: &Info, warnings: &mut Vec<String>) -> Result<Self> {
        let mut texts = Texts::default();
        if let Err(e) = texts.read_tasks(root) {
            warnings.push(e.in_one_line());
        }
        let mut listed = Listed::default();
        for name in episode_files(root)? {
            read_episodes(root, &name, &mut texts, &mut listed, warnings)?;
        }
        let Listed { rows, first_frames } = listed;
        if rows.is_empty() {
            return Err(Error::malformed(
                root.join("meta/episodes"),
                "no episode is listed",
            ));
        }
        let mut places: HashMap<(u64, u64), usize> = HashMap::new();
        let mut order = Vec::new();
        for row in &rows {
            places.entry(row.place).or_insert_with(|| {
                order.push(row.place);
                order.len() - 1
            });
        }
        let files = order
            .iter()
            .map(|place| DataFile::find(root, info, *place))
            .collect::<Result<_>>()?;
        let episode = |row: Row| {
            let file = places.get(&row.place).copied().unwrap_or_default();
            let first = first_frames.get(&row.place).copied().unwrap_or_default();
            let rows = row.frames.start - first..row.frames.end - first;
            Episode {
                id: row.id,
                file,
                rows,
                instruction: row.instruction,
            }
        };
        Ok(Self {
            files,
            episodes: rows.into_iter().map(episode).collect(),
        })
    }
}

impl DataFile {
    fn find(root: &Path, info: &Info, (chunk, file): (u64, u64)) -> Result<Self> {
        let name = info.data_path.fill(chunk, file);
        let name = name
            .map_err(|e| Error::malformed(root.join("meta/info.json"), format!("data_path {e}")))?;
        let path = inside(root, &name).and_then(|path| match fs::metadata(&path) {
            Ok(meta) if meta.len() == 0 => Err("the file is empty (0 bytes)".to_owned()),
            Ok(_) => Ok(path),
            Err(e) => Err(format!("cannot be opened: {e}")),
        });
        Ok(Self {
            name: root.join(name),
            path,
        })
    }
}

/// The absolute path of a file of the dataset. A link may lead elsewhere within the dataset, or to the blobs of a
/// Hugging Face cache (`snapshots/REVISION/…` links to `blobs/…`); anywhere else is refused.
fn inside(root: &Path, name: &Path) -> Result<PathBuf, String> {
    let path = fs::canonicalize(root.join(name)).map_err(|e| format!("cannot be opened: {e}"))?;
    let blobs = root
        .parent()
        .filter(|parent| parent.ends_with("snapshots"))
        .and_then(Path::parent)
        .map(|hub| hub.join("blobs"));
    if path.starts_with(root) || blobs.is_some_and(|blobs| path.starts_with(blobs)) {
        Ok(path)
    } else {
        Err("is a link that leads out of the dataset".to_owned())
    }
}

/// Instructions, each stored once.
#[derive(Default)]
struct Texts {
    by_task: HashMap<i64, Arc<str>>,
    all: HashSet<Arc<str>>,
}

impl Texts {
    fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.all.get(text) {
            return Arc::clone(known);
        }
        let text: Arc<str> = text.into();
        self.all.insert(Arc::clone(&text));
        text
    }

    fn read_tasks(&mut self, root: &Path) -> Result<()> {
        let name = Path::new("meta/tasks.parquet");
        let path = inside(root, name).map_err(|e| Error::malformed(root.join(name), e))?;
        let table = Table::open(&path)?;
        for batch in table.read(0..table.rows(), 1024, |_| true)? {
            let batch = batch?;
            let ids = column(&batch, "task_index")
                .and_then(integers)
                .map_err(|e| table.fail(e))?;
            let texts = batch
                .columns()
                .iter()
                .find_map(|c| c.as_string_opt::<i32>());
            let texts = texts.ok_or_else(|| table.fail("no column of text"))?;
            for (id, text) in ids.into_iter().zip(texts) {
                if let (Some(id), Some(text)) = (id, text) {
                    let text = self.intern(text);
                    self.by_task.insert(id, text);
                }
            }
        }
        Ok(())
    }
}

/// `meta/episodes/chunk-*/file-*.parquet`, relative to the dataset, in order.
fn episode_files(root: &Path) -> Result<Vec<PathBuf>> {
    let folder = Path::new("meta/episodes");
    let list = |relative: &Path| -> Result<Vec<PathBuf>> {
        let full = root.join(relative);
        let entries =
            fs::read_dir(&full).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let mut names: Vec<_> = entries
            .map_err(Error::io("list", &full))?
            .iter()
            .map(|e| relative.join(e.file_name()))
            .collect();
        names.sort();
        Ok(names)
    };
    let mut files = Vec::new();
    for chunk in list(folder)?
        .iter()
        .filter(|chunk| root.join(chunk).is_dir())
    {
        files.extend(
            list(chunk)?
                .into_iter()
                .filter(|file| file.extension().is_some_and(|e| e == "parquet")),
        );
    }
    if files.is_empty() {
        Err(Error::malformed(root.join(folder), "holds no parquet file"))
    } else {
        Ok(files)
    }
}

const EPISODE_COLUMNS: [&str; 5] = [
    "episode_index",
    "data/chunk_index",
    "data/file_index",
    "dataset_from_index",
    "dataset_to_index",
];

fn read_episodes(
    root: &Path,
    name: &Path,
    texts: &mut Texts,
    listed: &mut Listed,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let path = inside(root, name).map_err(|e| Error::malformed(root.join(name), e))?;
    let table = Table::open(&path)?;
    for column in EPISODE_COLUMNS {
        table.column_type(column).map_err(|e| table.fail(e))?;
    }
    let has_tasks = table.column_type("tasks").is_ok();
    let is_wanted = |path: &[String]| {
        path.first()
            .is_some_and(|first| EPISODE_COLUMNS.contains(&first.as_str()) || first == "tasks")
    };
    let mut several = 0;
    for batch in table.read(0..table.rows(), 4096, is_wanted)? {
        let batch = batch?;
        let read = |name: &str| {
            column(&batch, name)
                .and_then(integers)
                .map_err(|e| table.fail(format!("column {name} {e}")))
        };
        let columns = EPISODE_COLUMNS.map(read);
        let [ids, chunks, files, starts, ends] = columns;
        let (ids, chunks, files, starts, ends) = (ids?, chunks?, files?, starts?, ends?);
        let tasks = batch
            .column_by_name("tasks")
            .and_then(|c| c.as_list_opt::<i32>());
        for at in 0..batch.num_rows() {
            let number = |column: &[Option<i64>]| {
                column
                    .get(at)
                    .copied()
                    .flatten()
                    .and_then(|v| u64::try_from(v).ok())
            };
            let values = (
                number(&ids),
                number(&chunks),
                number(&files),
                number(&starts),
                number(&ends),
            );
            let (Some(id), Some(chunk), Some(file), Some(start), Some(end)) = values else {
                return Err(table.fail(format!("row {at} has a null or negative number")));
            };
            let first = listed.first_frames.entry((chunk, file)).or_insert(start);
            *first = (*first).min(start);
            if end <= start || end - start > MAX_STEPS {
                warnings.push(format!(
                    "episode {id} has frames {start} to {end} and is left out: {}",
                    name.display()
                ));
                continue;
            }
            let words = tasks
                .filter(|tasks| tasks.is_valid(at))
                .map(|tasks| tasks.value(at));
            let words = words.as_ref().and_then(|list| list.as_string_opt::<i32>());
            several += usize::from(words.is_some_and(|w| w.len() > 1));
            let instruction = match words.and_then(|w| w.iter().flatten().next()) {
                Some(text) => texts.intern(text),
                // Without a list of its own, an episode of a dataset with one task has that one.
                None if !has_tasks && texts.by_task.len() == 1 => {
                    texts.by_task.values().next().cloned().unwrap_or_default()
                }
                None => Arc::default(),
            };
            listed.rows.push(Row {
                id: id as i64,
                place: (chunk, file),
                frames: start..end,
                instruction,
            });
        }
    }
    if several > 0 {
        warnings.push(format!(
            "{several} episodes have several tasks, the first is shown: {}",
            name.display()
        ));
    }
    Ok(())
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, String> {
    batch
        .column_by_name(name)
        .ok_or_else(|| format!("no column {name}"))
}

/// Appends the vectors of a batch that starts at `row`; faults name up to four rows.
fn append_rows(
    column: &ArrayRef,
    vector: &Vector,
    row: u64,
    values: &mut Vec<f32>,
) -> Result<(), String> {
    let Vector { key, dim, .. } = vector;
    let mut faults = Vec::new();
    let mut push = |at: usize, numbers: Option<&[Option<f32>]>| {
        let fault = match numbers {
            None => "null".to_owned(),
            Some(numbers) if numbers.len() != *dim => format!("{} numbers", numbers.len()),
            Some(numbers) if numbers.iter().any(Option::is_none) => {
                "a null among its numbers".to_owned()
            }
            Some(numbers) => return values.extend(numbers.iter().flatten()),
        };
        if faults.len() < 4 {
            faults.push(format!("{fault} at row {}", row + at as u64));
        }
    };
    if let Some(list) = column.as_list_opt::<i32>() {
        let numbers = floats(list.values()).map_err(|e| format!("column {key} {e}"))?;
        for (at, range) in list.value_offsets().windows(2).enumerate() {
            let range = (range.first().copied().unwrap_or(0) as usize)
                ..(range.last().copied().unwrap_or(0) as usize);
            push(
                at,
                if list.is_valid(at) {
                    numbers.get(range)
                } else {
                    None
                },
            );
        }
    } else {
        let numbers = floats(column).map_err(|e| format!("column {key} {e}"))?;
        for (at, number) in numbers.iter().enumerate() {
            push(at, number.is_some().then_some(std::slice::from_ref(number)));
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "{key} has {} instead of {dim} numbers",
            faults.join(", ")
        ))
    }
}

/// Reads pictures row by row, so that no more than one beyond the budget is held.
fn read_block(table: &Table, rows: Range<u64>, key: &str) -> Result<Block> {
    let mut block = Block {
        first: rows.start,
        ends: Vec::new(),
        ids: Vec::new(),
        bytes: Vec::new(),
    };
    let is_wanted = |path: &[String]| match path {
        [name] => name == key || name == "episode_index",
        [name, part] => name == key && part == "bytes",
        _ => false,
    };
    for batch in table.read(rows, 1, is_wanted)? {
        let batch = batch?;
        if let Some(ids) = batch.column_by_name("episode_index") {
            let ids = integers(ids).map_err(|e| table.fail(format!("column episode_index {e}")))?;
            block.ids.extend(ids);
        }
        let column = column(&batch, key).map_err(|e| table.fail(e))?;
        let column = column
            .as_struct_opt()
            .and_then(|s| s.columns().first())
            .unwrap_or(column);
        let bytes = column
            .as_binary_opt::<i32>()
            .ok_or_else(|| table.fail(format!("column {key} holds no bytes")))?;
        for picture in bytes {
            block.bytes.extend_from_slice(picture.unwrap_or_default());
            block.ends.push(block.bytes.len());
        }
        if block.bytes.len() as u64 > 2 * BLOCK_BYTES {
            break;
        }
    }
    block.bytes.shrink_to_fit();
    block.ids.shrink_to_fit();
    Ok(block)
}
