//! RLDS datasets as TensorFlow Datasets stores them (BridgeData V2, Open X-Embodiment), behind [`crate::open`].
//!
//! ```text
//! NAME/VERSION/features.json                           what a record holds
//! NAME/VERSION/dataset_info.json                       name, splits, records a shard
//! NAME/VERSION/NAME-SPLIT.tfrecord-00000-of-00008      one tf.train.Example an episode
//! ```
//!
//! Keys are flattened: `steps/observation/image_0` is a list with one JPEG or PNG a step, `steps/action` one list of
//! `T × A` floats, `steps/language_instruction` one text a step.
//!
//! Opening reads frames, keys and list headers of every record; pictures are read when asked for.

mod example;
mod features;
mod reader;
mod tfrecord;

#[cfg(test)]
#[path = "../../tests/common/tfrecord.rs"]
mod encode;

pub(crate) use reader::{is_shard, open};
