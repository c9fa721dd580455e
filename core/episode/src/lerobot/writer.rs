use super::stats::{Layout, NAMES, Stats};
use super::{ACTION, DATA_PATH, IMAGE_PREFIX, MASK_PREFIX, STATE};
use crate::picture::encode_png;
use crate::{CameraInfo, Error, Image, PixelMask, Result};
use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BinaryArray, FixedSizeListArray, Float32Array, Float64Array, Int64Array, ListArray,
    RecordBatch, StringArray, StructArray,
};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// LeRobot starts a new file when one grows past this.
const FILE_SIZE_MB: usize = 100;
/// Files in one chunk folder.
const CHUNK_SIZE: usize = 1000;
/// Episodes whose metadata go to disk together.
const EPISODES_PER_FLUSH: usize = 128;

/// What every frame of a recording has in common.
#[derive(Clone, Debug)]
pub struct WriterSpec {
    /// Control steps a second, at least 1.
    pub fps: u32,
    /// LeRobot's `robot_type`.
    pub robot_type: String,
    /// Cameras in the order of [`Frame::images`].
    pub cameras: Vec<CameraInfo>,
    /// Names of the cameras that also have masks, in the order of [`Frame::masks`].
    pub mask_cameras: Vec<String>,
    /// One name a component of an action.
    pub action_names: Vec<String>,
    /// One name a component of the state; empty when there is none.
    pub state_names: Vec<String>,
}

/// Exact target and goal masks of one picture.
#[derive(Clone, Debug)]
pub struct RegionMasks {
    /// The object to act on.
    pub target: PixelMask,
    /// Where it should go.
    pub goal: PixelMask,
}

/// One control step: what was seen and what was then done.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// One picture a camera, in the order of [`WriterSpec::cameras`].
    pub images: &'a [Image],
    /// One pair a masked camera, in the order of [`WriterSpec::mask_cameras`].
    pub masks: &'a [RegionMasks],
    /// Proprioceptive state, as long as [`WriterSpec::state_names`].
    pub state: &'a [f32],
    /// Action, as long as [`WriterSpec::action_names`].
    pub action: &'a [f32],
}

/// Writes a LeRobotDataset v3.0 that LeRobot's own loader reads.
///
/// The same frames give the same bytes: no time, no random name and no machine-dependent setting goes into a file.
/// Files are written into a hidden folder beside the destination, which takes its place in [`Writer::finish`]; a writer
/// that is dropped before leaves nothing behind, and nothing that existed is ever overwritten.
///
/// ```no_run
/// # use episode::{CameraInfo, Image, lerobot::{Frame, Writer, WriterSpec}};
/// let spec = WriterSpec {
///     fps: 10,
///     robot_type: "gripper".into(),
///     cameras: vec![CameraInfo { name: "static".into(), width: 64, height: 64 }],
///     mask_cameras: vec![],
///     action_names: vec!["x".into(), "y".into()],
///     state_names: vec![],
/// };
/// let mut writer = Writer::create("recording".as_ref(), spec)?;
/// let image = Image::filled(64, 64, [90; 3]);
/// writer.push_frame(&Frame { images: &[image], masks: &[], state: &[], action: &[0.1, 0.2] })?;
/// writer.end_episode("push the cube")?;
/// writer.finish()?;
/// # Ok::<(), episode::Error>(())
/// ```
pub struct Writer {
    /// Where the dataset will be.
    dir: PathBuf,
    /// Where it is being written.
    partial: Partial,
    spec: WriterSpec,
    pictures: Vec<PictureFeature>,
    features: Vec<Feature>,
    data: Shards,
    episodes: Shards,
    /// Episodes whose metadata are not on disk yet.
    pending: Vec<EpisodeRow>,
    current: Steps,
    tasks: Vec<String>,
    task_index: HashMap<String, usize>,
    /// Of all finished episodes, in the order of the features.
    totals: Vec<Stats>,
    total_episodes: usize,
    total_frames: usize,
}

/// A feature that holds one PNG a step.
struct PictureFeature {
    key: String,
    width: u32,
    height: u32,
}

/// The steps of the current episode.
struct Steps {
    len: usize,
    /// One column a picture feature.
    pngs: Vec<Vec<Vec<u8>>>,
    histograms: Vec<[[u64; 256]; 3]>,
    /// `[len, state_dim]`.
    states: Vec<f32>,
    /// `[len, action_dim]`.
    actions: Vec<f32>,
}

struct EpisodeRow {
    index: usize,
    task: String,
    length: usize,
    data_place: Place,
    first_frame: usize,
    stats: Vec<Stats>,
}

impl Writer {
    /// Starts a dataset at `dir`, which must not exist or be an empty folder. Parent folders are made.
    ///
    /// # Errors
    /// [`Error::Record`] when `spec` contradicts itself or `dir` holds something, [`Error::Io`] when the disk refuses.
    pub fn create(dir: &Path, spec: WriterSpec) -> Result<Self> {
        check_spec(dir, &spec)?;
        check_vacant(dir)?;
        let mut pictures: Vec<PictureFeature> = spec
            .cameras
            .iter()
            .map(|c| PictureFeature {
                key: format!("{IMAGE_PREFIX}{}", c.name),
                width: c.width,
                height: c.height,
            })
            .collect();
        for name in &spec.mask_cameras {
            let camera = spec.cameras.iter().find(|c| c.name == *name);
            let camera = camera.ok_or_else(|| {
                Error::record(dir, format!("masks of {name:?}, which is no camera"))
            })?;
            let key = format!("{MASK_PREFIX}{name}");
            pictures.push(PictureFeature {
                key,
                width: camera.width,
                height: camera.height,
            });
        }
        let partial = Partial::create(dir)?;
        let features = features(&pictures, &spec);
        let (data_schema, data_properties) = data_layout(&features);
        let data = Shards::new(partial.dir.join("data"), data_schema, data_properties);
        let episodes = Shards::new(
            partial.dir.join("meta/episodes"),
            episode_schema(&features),
            properties(),
        );
        let current = Steps::new(pictures.len());
        Ok(Self {
            dir: dir.to_path_buf(),
            partial,
            spec,
            pictures,
            features,
            data,
            episodes,
            pending: Vec::new(),
            current,
            tasks: Vec::new(),
            task_index: HashMap::new(),
            totals: Vec::new(),
            total_episodes: 0,
            total_frames: 0,
        })
    }

    /// Adds a step to the current episode.
    ///
    /// # Errors
    /// [`Error::Record`] when a size differs from the [`WriterSpec`] or a number is not finite; the step is then left out.
    pub fn push_frame(&mut self, frame: &Frame<'_>) -> Result<()> {
        self.check_frame(frame)?;
        let masks: Vec<Image> = frame.masks.iter().map(paint_masks).collect();
        for (column, (picture, feature)) in frame
            .images
            .iter()
            .chain(&masks)
            .zip(&self.pictures)
            .enumerate()
        {
            let png = encode_png(picture)
                .map_err(|e| Error::record(&self.dir, format!("{}: {e}", feature.key)))?;
            self.current.pngs[column].push(png);
            for pixel in picture.rgb.chunks_exact(3) {
                for (histogram, value) in self.current.histograms[column].iter_mut().zip(pixel) {
                    histogram[usize::from(*value)] += 1;
                }
            }
        }
        self.current.states.extend_from_slice(frame.state);
        self.current.actions.extend_from_slice(frame.action);
        self.current.len += 1;
        Ok(())
    }

    /// Ends the current episode, which needs at least one step, and writes it.
    ///
    /// # Errors
    /// [`Error::Record`] without a step, [`Error::Io`] when the disk refuses.
    pub fn end_episode(&mut self, instruction: &str) -> Result<()> {
        if self.current.len == 0 {
            return Err(Error::record(
                &self.dir,
                format!("episode {} has no step", self.total_episodes),
            ));
        }
        let steps = std::mem::replace(&mut self.current, Steps::new(self.pictures.len()));
        let task = *self
            .task_index
            .entry(instruction.to_owned())
            .or_insert_with(|| {
                self.tasks.push(instruction.to_owned());
                self.tasks.len() - 1
            });
        let counters = Counters::new(
            &steps,
            &self.spec,
            self.total_episodes,
            self.total_frames,
            task,
        );
        let stats = self.episode_stats(&steps, &counters);
        let batch = self
            .data_batch(&steps, counters)
            .map_err(|e| self.arrow_error(e))?;
        let data_place = self.data.write(&batch, steps.bytes())?;
        if self.totals.is_empty() {
            self.totals = stats.clone();
        } else {
            self.totals
                .iter_mut()
                .zip(&stats)
                .for_each(|(total, new)| total.merge(new));
        }
        self.pending.push(EpisodeRow {
            index: self.total_episodes,
            task: instruction.to_owned(),
            length: steps.len,
            data_place,
            first_frame: self.total_frames,
            stats,
        });
        self.total_episodes += 1;
        self.total_frames += steps.len;
        if self.pending.len() == EPISODES_PER_FLUSH {
            self.flush_episodes()?;
        }
        Ok(())
    }

    /// Steps of the current episode so far.
    pub fn current_len(&self) -> usize {
        self.current.len
    }

    /// Forgets the steps of the current episode.
    pub fn discard_episode(&mut self) {
        self.current = Steps::new(self.pictures.len());
    }

    /// Completes the dataset and moves it into place.
    ///
    /// # Errors
    /// [`Error::Record`] when there is no episode, the last one was not ended or the destination has been filled
    /// meanwhile; [`Error::Io`] when the disk refuses. Nothing is left at the destination then.
    pub fn finish(mut self) -> Result<()> {
        if self.current.len > 0 {
            return Err(Error::record(
                &self.dir,
                format!("episode {} was not ended", self.total_episodes),
            ));
        }
        if self.total_episodes == 0 {
            return Err(Error::record(&self.dir, "there is no episode"));
        }
        self.flush_episodes()?;
        self.data.close()?;
        self.episodes.close()?;
        self.write_tasks()?;
        let stats: serde_json::Map<String, Value> = self
            .features
            .iter()
            .zip(&self.totals)
            .map(|(f, stats)| (f.key.clone(), stats.to_json(f.layout)))
            .collect();
        write_json(&self.partial.dir.join("meta/stats.json"), &stats.into())?;
        write_json(&self.partial.dir.join("meta/info.json"), &self.info())?;
        check_vacant(&self.dir)?;
        self.partial.publish(&self.dir)
    }

    fn check_frame(&self, frame: &Frame<'_>) -> Result<()> {
        let step = self.current.len;
        let fail = |reason: String| Err(Error::record(&self.dir, format!("step {step}: {reason}")));
        let spec = &self.spec;
        let counts = [
            ("pictures", frame.images.len(), spec.cameras.len()),
            ("mask pairs", frame.masks.len(), spec.mask_cameras.len()),
            (
                "state components",
                frame.state.len(),
                spec.state_names.len(),
            ),
            (
                "action components",
                frame.action.len(),
                spec.action_names.len(),
            ),
        ];
        if let Some((what, given, wanted)) = counts
            .into_iter()
            .find(|(_, given, wanted)| given != wanted)
        {
            return fail(format!("{given} {what} instead of {wanted}"));
        }
        for (image, camera) in frame.images.iter().zip(&spec.cameras) {
            let pixels = image.width as usize * image.height as usize;
            if (image.width, image.height) != (camera.width, camera.height)
                || image.rgb.len() != pixels * 3
            {
                return fail(format!(
                    "camera {} gave {}x{} with {} bytes instead of {}x{}",
                    camera.name,
                    image.width,
                    image.height,
                    image.rgb.len(),
                    camera.width,
                    camera.height
                ));
            }
        }
        let masked = self.pictures.iter().skip(spec.cameras.len());
        for (masks, feature) in frame.masks.iter().zip(masked) {
            let pixels = feature.width as usize * feature.height as usize;
            let fits = |m: &PixelMask| {
                (m.width, m.height) == (feature.width, feature.height) && m.bits.len() == pixels
            };
            if !fits(&masks.target) || !fits(&masks.goal) {
                return fail(format!(
                    "{} is not {}x{}",
                    feature.key, feature.width, feature.height
                ));
            }
        }
        for (what, values) in [(STATE, frame.state), (ACTION, frame.action)] {
            if let Some(at) = values.iter().position(|v| !v.is_finite()) {
                return fail(format!("{what} component {at} is {}", values[at]));
            }
        }
        Ok(())
    }

    /// In the order of [`features`].
    fn episode_stats(&self, steps: &Steps, counters: &Counters) -> Vec<Stats> {
        let wide = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let integers = |values: &[i64]| values.iter().map(|v| *v as f64).collect::<Vec<_>>();
        let mut stats: Vec<Stats> = steps
            .histograms
            .iter()
            .map(|h| Stats::of_pictures(h, steps.len as u64))
            .collect();
        if !self.spec.state_names.is_empty() {
            stats.push(Stats::of_rows(
                &wide(&steps.states),
                self.spec.state_names.len(),
            ));
        }
        stats.push(Stats::of_rows(
            &wide(&steps.actions),
            self.spec.action_names.len(),
        ));
        stats.push(Stats::of_rows(&wide(&counters.timestamps), 1));
        stats.extend(
            counters
                .integers
                .iter()
                .map(|(_, column)| Stats::of_rows(&integers(column), 1)),
        );
        stats
    }

    fn data_batch(&self, steps: &Steps, counters: Counters) -> Result<RecordBatch, ArrowError> {
        let mut columns: Vec<ArrayRef> = Vec::new();
        for pngs in &steps.pngs {
            let paths = (0..steps.len).map(|step| format!("frame-{step:06}.png"));
            let parts: Vec<ArrayRef> = vec![
                Arc::new(BinaryArray::from_iter_values(pngs)),
                Arc::new(StringArray::from_iter_values(paths)),
            ];
            columns.push(Arc::new(StructArray::try_new(
                picture_fields(),
                parts,
                None,
            )?));
        }
        let vector = |values: &[f32], dim: usize| -> Result<ArrayRef, ArrowError> {
            let values: ArrayRef = Arc::new(Float32Array::from(values.to_vec()));
            if dim == 1 {
                return Ok(values);
            }
            Ok(Arc::new(FixedSizeListArray::try_new(
                element(DataType::Float32),
                dim as i32,
                values,
                None,
            )?))
        };
        if !self.spec.state_names.is_empty() {
            columns.push(vector(&steps.states, self.spec.state_names.len())?);
        }
        columns.push(vector(&steps.actions, self.spec.action_names.len())?);
        columns.push(Arc::new(Float32Array::from(counters.timestamps)));
        for (_, column) in counters.integers {
            columns.push(Arc::new(Int64Array::from(column)));
        }
        RecordBatch::try_new(Arc::clone(&self.data.schema), columns)
    }

    fn flush_episodes(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let numbers: usize = self
            .totals
            .iter()
            .flat_map(Stats::columns)
            .map(|(_, column)| column.len())
            .sum();
        let place = self.episodes.place(self.pending.len() * numbers * 8)?;
        let batch = self.episode_batch(place).map_err(|e| self.arrow_error(e))?;
        self.episodes.write_here(&batch)?;
        self.pending.clear();
        Ok(())
    }

    fn episode_batch(&self, place: Place) -> Result<RecordBatch, ArrowError> {
        let rows = &self.pending;
        let integers = |value: &dyn Fn(&EpisodeRow) -> usize| -> ArrayRef {
            Arc::new(
                rows.iter()
                    .map(|row| value(row) as i64)
                    .collect::<Int64Array>(),
            )
        };
        let mut tasks = ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8));
        for row in rows {
            tasks.values().append_value(&row.task);
            tasks.append(true);
        }
        let mut columns: Vec<ArrayRef> = vec![
            integers(&|row| row.index),
            Arc::new(tasks.finish()),
            integers(&|row| row.length),
            integers(&|row| row.data_place.chunk),
            integers(&|row| row.data_place.file),
            integers(&|row| row.first_frame),
            integers(&|row| row.first_frame + row.length),
        ];
        for (at, feature) in self.features.iter().enumerate() {
            for (column, name) in NAMES.into_iter().enumerate() {
                let numbers = rows
                    .iter()
                    .filter_map(|row| row.stats.get(at)?.columns().nth(column))
                    .map(|(_, v)| v);
                columns.push(feature.layout.array(name, numbers)?);
            }
        }
        columns.push(integers(&|_| place.chunk));
        columns.push(integers(&|_| place.file));
        RecordBatch::try_new(Arc::clone(&self.episodes.schema), columns)
    }

    /// `tasks.parquet` is a pandas frame whose index is the instruction; the embedded description makes it so.
    fn write_tasks(&self) -> Result<()> {
        let column = |name: &str, field: &str, pandas: &str, numpy: &str| {
            let name = if name.is_empty() {
                Value::Null
            } else {
                json!(name)
            };
            json!({"name": name, "field_name": field, "pandas_type": pandas, "numpy_type": numpy, "metadata": null})
        };
        const INDEX: &str = "__index_level_0__";
        let pandas = json!({
            "index_columns": [INDEX],
            "column_indexes": [{"name": null, "field_name": null, "pandas_type": "unicode", "numpy_type": "object",
                "metadata": {"encoding": "UTF-8"}}],
            "columns": [column("task_index", "task_index", "int64", "int64"), column("", INDEX, "unicode", "object")],
            "attributes": {},
            "creator": {"library": "gazelab", "version": env!("CARGO_PKG_VERSION")},
            "pandas_version": "2.0.0",
        });
        let fields = vec![
            Field::new("task_index", DataType::Int64, true),
            Field::new(INDEX, DataType::Utf8, true),
        ];
        let schema = Schema::new(fields).with_metadata([("pandas", pandas.to_string())]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new((0..self.tasks.len() as i64).collect::<Int64Array>()),
            Arc::new(StringArray::from_iter_values(&self.tasks)),
        ];
        let batch =
            RecordBatch::try_new(Arc::new(schema), columns).map_err(|e| self.arrow_error(e))?;
        let path = self.partial.dir.join("meta/tasks.parquet");
        let mut writer = Shard::create(path, batch.schema(), properties())?;
        writer.write(&batch)?;
        writer.close()
    }

    fn info(&self) -> Value {
        let features: serde_json::Map<String, Value> = self
            .features
            .iter()
            .map(|f| (f.key.clone(), f.info.clone()))
            .collect();
        json!({
            "codebase_version": "v3.0",
            "robot_type": self.spec.robot_type,
            "total_episodes": self.total_episodes,
            "total_frames": self.total_frames,
            "total_tasks": self.tasks.len(),
            "chunks_size": CHUNK_SIZE,
            "data_files_size_in_mb": FILE_SIZE_MB,
            "video_files_size_in_mb": 200,
            "fps": self.spec.fps,
            "splits": {"train": format!("0:{}", self.total_episodes)},
            "data_path": DATA_PATH,
            "video_path": null,
            "features": features,
        })
    }

    fn arrow_error(&self, error: ArrowError) -> Error {
        Error::record(&self.dir, error.to_string())
    }
}

/// The columns that LeRobot adds to every frame.
struct Counters {
    /// Seconds since the episode began.
    timestamps: Vec<f32>,
    integers: [(&'static str, Vec<i64>); 4],
}

/// Names of the integer columns, in LeRobot's order.
const INTEGERS: [&str; 4] = ["frame_index", "episode_index", "index", "task_index"];

impl Counters {
    fn new(
        steps: &Steps,
        spec: &WriterSpec,
        episode: usize,
        first_frame: usize,
        task: usize,
    ) -> Self {
        let column = |value: &dyn Fn(usize) -> usize| {
            (0..steps.len)
                .map(|step| value(step) as i64)
                .collect::<Vec<_>>()
        };
        let [frame_index, episode_index, index, task_index] = INTEGERS;
        Self {
            timestamps: (0..steps.len)
                .map(|step| (step as f64 / f64::from(spec.fps)) as f32)
                .collect(),
            integers: [
                (frame_index, column(&|step| step)),
                (episode_index, column(&|_| episode)),
                (index, column(&|step| first_frame + step)),
                (task_index, column(&|_| task)),
            ],
        }
    }
}

impl Steps {
    /// Size on disk, nearly.
    fn bytes(&self) -> usize {
        let pictures: usize = self.pngs.iter().flatten().map(Vec::len).sum();
        pictures + 4 * (self.states.len() + self.actions.len()) + 36 * self.len
    }

    fn new(pictures: usize) -> Self {
        Self {
            len: 0,
            pngs: vec![Vec::new(); pictures],
            histograms: vec![[[0; 256]; 3]; pictures],
            states: Vec::new(),
            actions: Vec::new(),
        }
    }
}

/// One entry of `info.json`'s features.
struct Feature {
    key: String,
    info: Value,
    layout: Layout,
    /// Components of a vector.
    dim: usize,
}

/// Every feature in the order of columns and statistics.
fn features(pictures: &[PictureFeature], spec: &WriterSpec) -> Vec<Feature> {
    let feature = |key: &str, layout, dim: usize, info: Value| Feature {
        key: key.to_owned(),
        info,
        layout,
        dim,
    };
    let picture = |p: &PictureFeature| {
        let info = json!({"dtype": "image", "shape": [p.height, p.width, 3], "names": ["height", "width", "channels"]});
        feature(&p.key, Layout::Picture, 3, info)
    };
    let vector = |key: &str, names: &[String]| {
        let info = json!({"dtype": "float32", "shape": [names.len()], "names": {"motors": names}});
        feature(key, Layout::Vector, names.len(), info)
    };
    let scalar = |key: &str, layout, dtype: &str| {
        feature(
            key,
            layout,
            1,
            json!({"dtype": dtype, "shape": [1], "names": null}),
        )
    };
    let mut features: Vec<Feature> = pictures.iter().map(picture).collect();
    if !spec.state_names.is_empty() {
        features.push(vector(STATE, &spec.state_names));
    }
    features.push(vector(ACTION, &spec.action_names));
    features.push(scalar("timestamp", Layout::Vector, "float32"));
    features.extend(INTEGERS.map(|key| scalar(key, Layout::Integer, "int64")));
    features
}

fn element(kind: DataType) -> Arc<Field> {
    Arc::new(Field::new("element", kind, true))
}

fn picture_fields() -> Fields {
    vec![
        Field::new("bytes", DataType::Binary, true),
        Field::new("path", DataType::Utf8, true),
    ]
    .into()
}

/// `values` as nested lists: the outermost `dim` long, `depth - 1` more of length 1 within.
fn nest(values: ArrayRef, depth: usize, dim: usize) -> Result<ArrayRef, ArrowError> {
    let mut array = values;
    for level in (0..depth).rev() {
        let len = if level == 0 { dim as i32 } else { 1 };
        let fixed =
            FixedSizeListArray::try_new(element(array.data_type().clone()), len, array, None)?;
        array = Arc::new(ListArray::from(fixed));
    }
    Ok(array)
}

impl Layout {
    /// Column of one statistic, one row an episode.
    fn array<'a>(
        self,
        name: &str,
        rows: impl Iterator<Item = &'a [f64]> + Clone,
    ) -> Result<ArrayRef, ArrowError> {
        let (is_integer, depth) = self.of(name);
        let dim = rows.clone().next().map_or(0, <[f64]>::len);
        let numbers = rows.flatten().copied();
        let values: ArrayRef = if is_integer {
            Arc::new(numbers.map(|v| v as i64).collect::<Int64Array>())
        } else {
            Arc::new(numbers.collect::<Float64Array>())
        };
        nest(values, depth, dim)
    }

    fn data_type(self, name: &str) -> DataType {
        let (is_integer, depth) = self.of(name);
        let number = if is_integer {
            DataType::Int64
        } else {
            DataType::Float64
        };
        (0..depth).fold(number, |inner, _| DataType::List(element(inner)))
    }
}

fn episode_schema(features: &[Feature]) -> SchemaRef {
    let integer = |name: &str| Field::new(name, DataType::Int64, true);
    let mut fields = vec![
        integer("episode_index"),
        Field::new("tasks", DataType::List(element(DataType::Utf8)), true),
        integer("length"),
        integer("data/chunk_index"),
        integer("data/file_index"),
        integer("dataset_from_index"),
        integer("dataset_to_index"),
    ];
    for feature in features {
        fields.extend(NAMES.map(|name| {
            Field::new(
                format!("stats/{}/{name}", feature.key),
                feature.layout.data_type(name),
                true,
            )
        }));
    }
    fields.extend([
        integer("meta/episodes/chunk_index"),
        integer("meta/episodes/file_index"),
    ]);
    Arc::new(Schema::new(fields))
}

fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by("gazelab".to_owned())
}

/// Schema of the data files with the description by which the `datasets` library knows pictures, and how to write it.
fn data_layout(features: &[Feature]) -> (SchemaRef, WriterPropertiesBuilder) {
    // Pictures are compressed already and never repeat: no dictionary, no smallest and largest, and pages that are
    // looked at often enough to stay small.
    let mut properties = properties().set_write_batch_size(32);
    let mut fields = Vec::new();
    let mut described = serde_json::Map::new();
    for feature in features {
        let value = |dtype: &str| json!({"dtype": dtype, "_type": "Value"});
        let (kind, description) = match (feature.layout, feature.dim) {
            (Layout::Picture, _) => {
                let bytes = ColumnPath::new(vec![feature.key.clone(), "bytes".to_owned()]);
                properties = properties
                    .set_column_dictionary_enabled(bytes.clone(), false)
                    .set_column_statistics_enabled(bytes, EnabledStatistics::None);
                (
                    DataType::Struct(picture_fields()),
                    json!({"_type": "Image"}),
                )
            }
            (Layout::Integer, _) => (DataType::Int64, value("int64")),
            (Layout::Vector, 1) => (DataType::Float32, value("float32")),
            (Layout::Vector, dim) => (
                DataType::FixedSizeList(element(DataType::Float32), dim as i32),
                json!({"feature": value("float32"), "length": dim, "_type": "List"}),
            ),
        };
        fields.push(Field::new(&feature.key, kind, true));
        described.insert(feature.key.clone(), description);
    }
    let huggingface = json!({"info": {"features": described}}).to_string();
    let schema = Schema::new(fields).with_metadata([("huggingface", huggingface)]);
    (Arc::new(schema), properties)
}

/// Red where the target is, green where the goal is.
fn paint_masks(masks: &RegionMasks) -> Image {
    let channel = |bit: bool| if bit { 255 } else { 0 };
    let pixels = masks.target.bits.iter().zip(&masks.goal.bits);
    Image {
        width: masks.target.width,
        height: masks.target.height,
        rgb: pixels
            .flat_map(|(target, goal)| [channel(*target), channel(*goal), 0])
            .collect(),
    }
}

/// Which file of a [`Shards`].
#[derive(Clone, Copy, Default)]
struct Place {
    chunk: usize,
    file: usize,
}

/// A table split over files `chunk-000/file-000.parquet`, one row group a write.
struct Shards {
    folder: PathBuf,
    schema: SchemaRef,
    properties: WriterPropertiesBuilder,
    place: Place,
    shard: Option<Shard>,
}

impl Shards {
    fn new(folder: PathBuf, schema: SchemaRef, properties: WriterPropertiesBuilder) -> Self {
        Self {
            folder,
            schema,
            properties,
            place: Place::default(),
            shard: None,
        }
    }

    /// Where the next `bytes` belong; begins a new file when the current one would grow too large.
    fn place(&mut self, bytes: usize) -> Result<Place> {
        if self
            .shard
            .as_ref()
            .is_some_and(|shard| shard.writer.bytes_written() + bytes > FILE_SIZE_MB << 20)
        {
            self.close()?;
            self.place = match self.place {
                Place { chunk, file } if file + 1 == CHUNK_SIZE => Place {
                    chunk: chunk + 1,
                    file: 0,
                },
                Place { chunk, file } => Place {
                    chunk,
                    file: file + 1,
                },
            };
        }
        Ok(self.place)
    }

    /// Writes to the current file.
    fn write_here(&mut self, batch: &RecordBatch) -> Result<()> {
        let shard = match &mut self.shard {
            Some(shard) => shard,
            None => {
                let Place { chunk, file } = self.place;
                let path = self
                    .folder
                    .join(format!("chunk-{chunk:03}/file-{file:03}.parquet"));
                self.shard.insert(Shard::create(
                    path,
                    Arc::clone(&self.schema),
                    self.properties.clone(),
                )?)
            }
        };
        shard.write(batch)
    }

    fn write(&mut self, batch: &RecordBatch, bytes: usize) -> Result<Place> {
        let place = self.place(bytes)?;
        self.write_here(batch)?;
        Ok(place)
    }

    fn close(&mut self) -> Result<()> {
        self.shard.take().map_or(Ok(()), Shard::close)
    }
}

/// One parquet file being written.
struct Shard {
    path: PathBuf,
    writer: ArrowWriter<BufWriter<File>>,
}

impl Shard {
    fn create(
        path: PathBuf,
        schema: SchemaRef,
        properties: WriterPropertiesBuilder,
    ) -> Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        let file = File::create(&path).map_err(Error::io("create", &path))?;
        let writer = ArrowWriter::try_new(BufWriter::new(file), schema, Some(properties.build()))
            .map_err(failed(&path))?;
        Ok(Self { path, writer })
    }

    /// Writes one row group.
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer
            .write(batch)
            .and_then(|()| self.writer.flush())
            .map_err(failed(&self.path))
    }

    fn close(self) -> Result<()> {
        let buffer = self.writer.into_inner().map_err(failed(&self.path))?;
        let file = buffer
            .into_inner()
            .map_err(|e| Error::io("write", &self.path)(e.into_error()))?;
        file.sync_all().map_err(Error::io("write", &self.path))
    }
}

fn failed(path: &Path) -> impl FnOnce(ParquetError) -> Error {
    let to_error = Error::io("write", path);
    move |e| to_error(io::Error::other(e))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        value.serialize(&mut serde_json::Serializer::with_formatter(
            &mut file, formatter,
        ))?;
        file.into_inner()?.sync_all()
    };
    write().map_err(Error::io("write", path))
}

/// A hidden folder beside the destination, removed unless published.
struct Partial {
    dir: PathBuf,
    is_published: bool,
}

impl Partial {
    fn create(destination: &Path) -> Result<Self> {
        let name = destination
            .file_name()
            .ok_or_else(|| Error::record(destination, "the folder has no name"))?;
        let parent = match destination.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        // A crashed recorder may have left a folder of the same name: take the next.
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for attempt in 0..1000 {
            let dir = parent.join(format!(
                ".{}.{}-{attempt}.partial",
                name.to_string_lossy(),
                std::process::id()
            ));
            match fs::create_dir(&dir) {
                Ok(()) => {
                    return Ok(Self {
                        dir,
                        is_published: false,
                    });
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => last = e,
                Err(e) => return Err(Error::io("create", dir)(e)),
            }
        }
        Err(Error::io("create a temporary folder in", parent)(last))
    }

    /// Moves the folder to `destination`, which is absent or empty.
    fn publish(mut self, destination: &Path) -> Result<()> {
        if destination.exists() {
            // Fails, as it should, when something has been put there.
            fs::remove_dir(destination).map_err(Error::io("replace", destination))?;
        }
        fs::rename(&self.dir, destination).map_err(Error::io("create", destination))?;
        self.is_published = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_published
            && let Err(e) = fs::remove_dir_all(&self.dir)
        {
            tracing::warn!(
                "cannot remove an unfinished recording: {e}: {}",
                self.dir.display()
            );
        }
    }
}

/// The destination must not exist or be an empty folder.
fn check_vacant(dir: &Path) -> Result<()> {
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Error::record(dir, "the folder is not empty")),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("record to", dir)(e)),
    }
}

fn check_spec(dir: &Path, spec: &WriterSpec) -> Result<()> {
    let fail = |reason: String| Err(Error::record(dir, reason));
    if spec.fps == 0 {
        return fail("0 frames a second".to_owned());
    }
    if spec.action_names.is_empty() {
        return fail("an action needs at least one component".to_owned());
    }
    for names in [
        &spec.cameras.iter().map(|c| c.name.clone()).collect(),
        &spec.mask_cameras,
    ] {
        let names: &Vec<String> = names;
        // LeRobot forbids the slash; a feature's key also becomes a column path.
        if let Some(name) = names
            .iter()
            .find(|n| n.is_empty() || n.contains(['/', '\\']) || n.contains(char::is_control))
        {
            return fail(format!("{name:?} cannot name a camera"));
        }
        if let Some(name) = names
            .iter()
            .enumerate()
            .find_map(|(i, n)| names[..i].contains(n).then_some(n))
        {
            return fail(format!("camera {name} is named twice"));
        }
    }
    match spec
        .cameras
        .iter()
        .find(|c| !(1..=8192).contains(&c.width) || !(1..=8192).contains(&c.height))
    {
        Some(c) => fail(format!(
            "camera {} is {}x{}, 1 to 8192 is possible",
            c.name, c.width, c.height
        )),
        None => Ok(()),
    }
}
