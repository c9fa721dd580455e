use super::files::{
    CHUNK_SIZE, FILE_SIZE_MB, Partial, Place, Shard, Shards, check_vacant, write_json,
};
use super::schema::{self, Feature, INTEGERS, element, picture_fields};
use super::stats::{NAMES, Stats};
use super::{ACTION, DATA_PATH, IMAGE_PREFIX, MASK_PREFIX, STATE};
use crate::picture::encode_png;
use crate::{CameraInfo, Error, Image, PixelMask, Result};
use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BinaryArray, FixedSizeListArray, Float32Array, Int64Array, RecordBatch, StringArray,
    StructArray,
};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// A write failed: the files lack something, and must not be published.
    is_broken: bool,
}

/// A feature that holds one PNG a step.
pub(super) struct PictureFeature {
    pub(super) key: String,
    pub(super) width: u32,
    pub(super) height: u32,
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
        Self::create_with_limit(dir, spec, FILE_SIZE_MB << 20)
    }

    fn create_with_limit(dir: &Path, spec: WriterSpec, file_bytes: usize) -> Result<Self> {
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
        let features = schema::features(&pictures, &spec);
        let (data_schema, data_properties) = schema::data_layout(&features);
        let data = Shards::new(
            partial.dir.join("data"),
            data_schema,
            data_properties,
            file_bytes,
        );
        let episodes = Shards::new(
            partial.dir.join("meta/episodes"),
            schema::episode_schema(&features),
            schema::properties(),
            file_bytes,
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
            is_broken: false,
        })
    }

    /// Adds a step to the current episode.
    ///
    /// # Errors
    /// [`Error::Record`] when a size differs from the [`WriterSpec`] or a number is not finite; the step is then left out.
    pub fn push_frame(&mut self, frame: &Frame<'_>) -> Result<()> {
        self.check_frame(frame)?;
        let masks: Vec<Image> = frame.masks.iter().map(paint_masks).collect();
        let pictures = || frame.images.iter().chain(&masks);
        let encode = |(picture, feature): (&Image, &PictureFeature)| {
            encode_png(picture)
                .map_err(|e| Error::record(&self.dir, format!("{}: {e}", feature.key)))
        };
        let pngs = pictures()
            .zip(&self.pictures)
            .map(encode)
            .collect::<Result<Vec<_>>>()?;
        self.current
            .pngs
            .iter_mut()
            .zip(pngs)
            .for_each(|(column, png)| column.push(png));
        for (picture, histograms) in pictures().zip(&mut self.current.histograms) {
            for pixel in picture.rgb.chunks_exact(3) {
                for (histogram, value) in histograms.iter_mut().zip(pixel) {
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
        let written = self.write_episode(steps, instruction);
        self.is_broken |= written.is_err();
        written
    }

    fn write_episode(&mut self, steps: Steps, instruction: &str) -> Result<()> {
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
        if self.is_broken {
            return Err(Error::record(&self.dir, "an episode could not be written"));
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
        let mut writer = Shard::create(path, batch.schema(), schema::properties())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_of_several_files_reads_as_one() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("recording");
        let spec = WriterSpec {
            fps: 10,
            robot_type: "gripper".into(),
            cameras: vec![CameraInfo {
                name: "static".into(),
                width: 6,
                height: 4,
            }],
            mask_cameras: vec![],
            action_names: vec!["x".into()],
            state_names: vec![],
        };
        let mut writer = Writer::create_with_limit(&dir, spec, 1000).unwrap();
        let lengths = [2, 3, 4, 1, 2];
        for (episode, length) in lengths.into_iter().enumerate() {
            for step in 0..length {
                let image = Image::filled(6, 4, [episode as u8, step as u8, 7]);
                let action = [(episode * 10 + step) as f32];
                writer
                    .push_frame(&Frame {
                        images: &[image],
                        masks: &[],
                        state: &[],
                        action: &action,
                    })
                    .unwrap();
            }
            writer.end_episode(&format!("task {episode}")).unwrap();
        }
        writer.finish().unwrap();
        assert!(dir.join("data/chunk-000/file-002.parquet").is_file());

        let dataset = crate::open(&dir).unwrap();
        assert!(
            dataset.info().warnings.is_empty(),
            "{:?}",
            dataset.info().warnings
        );
        for (episode, length) in lengths.into_iter().enumerate() {
            assert_eq!(
                &*dataset.episode(episode).unwrap().instruction,
                format!("task {episode}")
            );
            for step in 0..length {
                let action = (episode * 10 + step) as f32;
                assert_eq!(
                    dataset.signals(episode).unwrap().action(step),
                    Some(&[action][..])
                );
                let pixel = dataset.image(episode, step, 0).unwrap().pixel(5, 3);
                assert_eq!(pixel, Some([episode as u8, step as u8, 7]));
            }
        }

        // One file less: its episodes are lost, the others are not.
        std::fs::remove_file(dir.join("data/chunk-000/file-001.parquet")).unwrap();
        let dataset = crate::open(&dir).unwrap();
        assert!(
            dataset
                .info()
                .warnings
                .iter()
                .any(|w| w.contains("file-001.parquet"))
        );
        let is_read: Vec<bool> = (0..5)
            .map(|episode| dataset.image(episode, 0, 0).is_ok())
            .collect();
        assert!(
            is_read.contains(&true) && is_read.contains(&false),
            "{is_read:?}"
        );
    }
}
