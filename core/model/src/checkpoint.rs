//! Models on disk: `model.safetensors` and `model.json`.

use crate::{
    Error, Result, Vla, VlaConfig, parameters::Path as Name, parameters::parameter_shapes,
};
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Device, Tensor, TensorData},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
};

/// File of the weights in a checkpoint.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// File of the [`VlaConfig`] in a checkpoint.
pub const CONFIG_FILE: &str = "model.json";

/// Room for the header of a safetensors file and for a configuration; far more than any of ours takes.
const HEADER_ROOM: u64 = 16 << 20;

/// Writes `model.safetensors` and `model.json` into the existing folder `dir`. Equal models give equal
/// bytes. Each file is written beside its place and then moved there, so a crash leaves the old one.
///
/// # Errors
/// When a file cannot be written.
pub fn save_model(vla: &Vla, dir: &Path) -> Result<()> {
    struct Collect(Name, BTreeMap<String, (Vec<usize>, Vec<f32>)>);
    impl ModuleVisitor for Collect {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.enter(name);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.leave();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let tensor = param.val().inner();
            let shape = tensor.dims().to_vec();
            self.1.insert(
                self.0.name(),
                (shape, tensor.into_data().iter::<f32>().collect()),
            );
        }
    }
    let mut collect = Collect(Name::default(), BTreeMap::new());
    vla.visit(&mut collect);
    write_tensors(&dir.join(WEIGHTS_FILE), collect.1, VlaConfig::FORMAT)?;

    let path = dir.join(CONFIG_FILE);
    let mut text = serde_json::to_vec_pretty(vla.config()).map_err(|error| Error::Format {
        reason: error.to_string(),
        path: path.clone(),
    })?;
    text.push(b'\n');
    write_file(&path, &text)
}

/// Reads the model in the folder `dir` onto `device`.
///
/// # Errors
/// When a file is missing, damaged or foreign, or the weights are not those of the configuration.
pub fn load_model(dir: &Path, device: &Device) -> Result<Vla> {
    let config = load_config(dir)?;
    let path = dir.join(WEIGHTS_FILE);
    // Parameters are lazy: nothing is allocated before the file has shown that it holds them.
    let vla = Vla::new(&config, 0, device)?;
    let shapes = parameter_shapes(&vla);
    let values = read_tensors(&path, &shapes)?;

    struct Place(Name, BTreeMap<String, Vec<f32>>);
    impl ModuleMapper for Place {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.enter(name);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.leave();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            match self.1.remove(&self.0.name()) {
                Some(values) => {
                    let data = TensorData::new(values, param.lazy_shape());
                    let tensor = Tensor::from_data(data, &param.lazy_device());
                    let id = param.id;
                    param.transform_for_load(tensor, id)
                }
                None => param,
            }
        }
    }
    Ok(vla.map(&mut Place(Name::default(), values)))
}

/// Reads only the configuration of the model in `dir`.
///
/// # Errors
/// When `model.json` is missing, damaged or from another version.
pub fn load_config(dir: &Path) -> Result<VlaConfig> {
    let path = dir.join(CONFIG_FILE);
    let text = read_file(&path, HEADER_ROOM)?;
    let config: VlaConfig = serde_json::from_slice(&text).map_err(|error| Error::Format {
        reason: error.to_string(),
        path: path.clone(),
    })?;
    config.check().map_err(|error| Error::Format {
        reason: error.to_string(),
        path,
    })?;
    Ok(config)
}

/// Writes named tensors; equal tensors give equal bytes. `format` becomes the only metadata entry, since
/// the library writes several in hash order.
pub(crate) fn write_tensors(
    path: &Path,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    format: &str,
) -> Result<()> {
    let fail = |error: safetensors::SafeTensorError| Error::Format {
        reason: error.to_string(),
        path: path.into(),
    };
    let bytes: BTreeMap<&String, (&Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            (
                name,
                (shape, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            )
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, (shape, bytes))| {
            Ok((*name, TensorView::new(Dtype::F32, (*shape).clone(), bytes)?))
        })
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(fail)?;
    let metadata = HashMap::from([("format".to_owned(), format.to_owned())]);
    write_file(
        path,
        &safetensors::serialize(views, Some(metadata)).map_err(fail)?,
    )
}

/// Reads f32 tensors that must be exactly those of `shapes`.
pub(crate) fn read_tensors(
    path: &Path,
    shapes: &[(String, Vec<usize>)],
) -> Result<BTreeMap<String, Vec<f32>>> {
    let needed: u64 = shapes
        .iter()
        .map(|(_, shape)| shape.iter().map(|&d| d as u64).product::<u64>() * 4)
        .sum();
    let bytes = read_file(path, needed.saturating_add(HEADER_ROOM))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| Error::Format {
        reason: error.to_string(),
        path: path.into(),
    })?;
    let (mut missing, mut mismatched, mut values) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (name, shape) in shapes {
        match file.tensor(name) {
            Ok(tensor) if tensor.shape() == shape.as_slice() && tensor.dtype() == Dtype::F32 => {
                let numbers = tensor
                    .data()
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|bytes| f32::from_le_bytes(*bytes));
                values.insert(name.clone(), numbers.collect());
            }
            Ok(tensor) => {
                let (found, kind) = (tensor.shape(), tensor.dtype());
                mismatched.push(format!(
                    "{name} (file {kind:?} {found:?}, model F32 {shape:?})"
                ));
            }
            Err(_) => missing.push(name.clone()),
        }
    }
    let mut unused: Vec<String> = file
        .names()
        .into_iter()
        .filter(|name| shapes.iter().all(|(known, _)| known != name))
        .map(|name| name.to_string())
        .collect();
    unused.sort();
    if missing.is_empty() && unused.is_empty() && mismatched.is_empty() {
        Ok(values)
    } else {
        Err(Error::Weights {
            missing,
            unused,
            mismatched,
            path: path.into(),
        })
    }
}

/// Writes beside `path`, makes it durable, and moves it there.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".partial");
    let beside = PathBuf::from(beside);
    let written = File::create(&beside)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|source| {
        // What is left of a failed attempt is of no use to anyone.
        let _ = fs::remove_file(&beside);
        Error::Io {
            action: "write",
            source,
            path: path.into(),
        }
    })
}

/// Reads a file of at most `limit` bytes.
fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let fail = |source| Error::Io {
        action: "read",
        source,
        path: path.into(),
    };
    // Asked before opening: opening a named pipe would wait for ever.
    let meta = fs::metadata(path).map_err(fail)?;
    if !meta.is_file() {
        return Err(Error::Format {
            reason: "not a regular file".into(),
            path: path.into(),
        });
    }
    let length = meta.len();
    if length > limit {
        let reason = format!("{length} bytes where at most {limit} are expected");
        return Err(Error::Format {
            reason,
            path: path.into(),
        });
    }
    let file = File::open(path).map_err(fail)?;
    let mut bytes = Vec::with_capacity(length as usize);
    // The file may grow between the two calls.
    file.take(limit).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}
