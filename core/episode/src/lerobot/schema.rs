//! Columns of the tables that [`Writer`](super::Writer) writes, and their descriptions.

use super::stats::{Layout, NAMES};
use super::writer::{PictureFeature, WriterSpec};
use super::{ACTION, STATE};
use arrow_array::{ArrayRef, FixedSizeListArray, Float64Array, Int64Array, ListArray};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef};
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use serde_json::{Value, json};
use std::sync::Arc;

/// Names of the integer columns, in LeRobot's order.
pub(super) const INTEGERS: [&str; 4] = ["frame_index", "episode_index", "index", "task_index"];

/// One entry of `info.json`'s features.
pub(super) struct Feature {
    pub(super) key: String,
    pub(super) info: Value,
    pub(super) layout: Layout,
    /// Components of a vector.
    dim: usize,
}

/// Every feature in the order of columns and statistics.
pub(super) fn features(pictures: &[PictureFeature], spec: &WriterSpec) -> Vec<Feature> {
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

pub(super) fn element(kind: DataType) -> Arc<Field> {
    Arc::new(Field::new("element", kind, true))
}

pub(super) fn picture_fields() -> Fields {
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
    pub(super) fn array<'a>(
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

pub(super) fn episode_schema(features: &[Feature]) -> SchemaRef {
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

pub(super) fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by("gazelab".to_owned())
}

/// Schema of the data files with the description by which the `datasets` library knows pictures, and how to write it.
pub(super) fn data_layout(features: &[Feature]) -> (SchemaRef, WriterPropertiesBuilder) {
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
