//! Attention captures as files: `attncap/1`, a safetensors layout that any PyTorch model can be made to write.
//!
//! One file holds one model and one set of cameras, and any number of steps, which agree in their layers, heads and patch
//! grids. Per step, under a prefix `s00000/`, `s00001/`, … in the order of the list `steps` in the metadata:
//!
//! | tensor | type, shape | meaning |
//! |---|---|---|
//! | `lm.attn` | f16 or f32 `[L, H, Q, K]` | post-softmax weights of the captured rows |
//! | `lm.layers`, `lm.heads` | i32 `[L]`, `[H]` | numbers in the model |
//! | `lm.query_index` | i32 `[Q]` | position of every captured row |
//! | `token_role` | u8 `[K]` | see [`TokenRole`] |
//! | `key_view` | i32 `[K]` | camera, −1 for none |
//! | `key_box` | f32 `[K, 4]` | `x0 y0 x1 y1` in the original image, NaN for none |
//! | `boxes`, `box_view`, `box_score` | f32 `[N, 4]`, i32 `[N]`, f32 `[N]` | detections, optional |
//! | `action` | f32 `[A]` | optional |
//! | `query_role` | u8 `[Q]` | optional; else the role of the key at the query's position |
//! | `key_sink` or `key_sink_phi` + `key_sink_width` | u8 `[K]`; f64 `[K]`, i32 `[1]` | sink tokens, optional |
//!
//! Metadata are strings: `format`, `model_id`, `source`, `instruction`, `steps` (JSON list), `views` (JSON list of
//! name, width, height), and optionally `tokens`, `query_tokens`, `box_labels` (JSON objects from prefix to list of
//! strings) and `sources`, `instructions` (JSON objects from prefix to string) where steps differ. Other tensors,
//! such as the vision tower's `vis.attn`, are left alone.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use half::f16;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::capture::Form;
use crate::{
    Capture, CaptureParts, Detection, Error, Key, Query, Rect, Result, Sinks, TokenRole, View,
};

/// What `format` in the metadata says.
pub const FORMAT: &str = "attncap/1";

/// Name of the attention weights, the tensor whose shape all others have to fit.
const ATTN: &str = "lm.attn";

/// Longest header that is parsed. A long episode with the text of all its tokens needs some megabytes.
const MAX_HEADER: u64 = 64 << 20;

/// Bytes of a tensor that are read together; a multiple of every size of number.
const PIECE: usize = 128 << 10;

/// Whether a file is an attention capture, by its contents. False for files that cannot be read.
pub fn is_attncap(path: &Path) -> bool {
    let format = || {
        let (mut file, len) = open_regular(path).ok()??;
        let header = read_header(&mut file, len).ok()??;
        let header: Value = serde_json::from_slice(&header).ok()?;
        Some(
            header
                .get("__metadata__")?
                .get("format")?
                .as_str()?
                .starts_with("attncap/"),
        )
    };
    format().unwrap_or(false)
}

/// An open file and its length; `None` for what is no regular file. Asked before opening: opening a named pipe would
/// wait for ever.
fn open_regular(path: &Path) -> io::Result<Option<(fs::File, u64)>> {
    let meta = fs::metadata(path)?;
    if !meta.is_file() {
        return Ok(None);
    }
    Ok(Some((fs::File::open(path)?, meta.len())))
}

/// The header of a safetensors file of `len` bytes, the first thing in it; `None` when it can be none.
fn read_header(file: &mut fs::File, len: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(rest) = len.checked_sub(8) else {
        return Ok(None);
    };
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER.min(rest) {
        return Ok(None);
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header)?;
    Ok(Some(header))
}

/// Fills `bytes` from `offset`; several threads may do so at once.
pub(crate) fn read_exact_at(file: &fs::File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
    }
    #[cfg(windows)]
    {
        let (mut bytes, mut offset) = (bytes, offset);
        while !bytes.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => {
                    bytes = &mut bytes[n..];
                    offset += n as u64;
                }
            }
        }
        Ok(())
    }
}

/// Reads all captures of a file, one per step.
///
/// # Errors
/// [`Error::Io`] when it cannot be read, [`Error::File`] when it is not a capture or a tensor is missing, of the wrong
/// shape or unlike that of the first step, [`Error::Step`] when its contents make no [`Capture`]. All name the file, and
/// the tensor with the prefix of its step.
pub fn read(path: &Path) -> Result<Vec<Capture>> {
    let file = CaptureFile::open(path)?;
    (0..file.len()).map(|index| file.capture(index)).collect()
}

/// An open capture file, for reading single steps of a long one.
///
/// Tensors are read when a step is asked for, not mapped: another program may cut the file off while it is open, and
/// that shall be an error, not a signal.
pub struct CaptureFile {
    path: Arc<Path>,
    file: fs::File,
    /// Where tensor data begin.
    data_start: u64,
    tensors: Metadata,
    /// Prefix and environment step, in order.
    steps: Vec<(String, u64)>,
    header: Header,
    /// Layers, heads and grids of the first step, once they were needed.
    form: OnceLock<Form>,
}

/// Metadata that were understood.
struct Header {
    model_id: String,
    source: String,
    instruction: String,
    sources: HashMap<String, String>,
    instructions: HashMap<String, String>,
    views: Vec<View>,
    tokens: HashMap<String, Vec<String>>,
    query_tokens: HashMap<String, Vec<String>>,
    box_labels: HashMap<String, Vec<String>>,
}

impl CaptureFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::File`], as [`read`].
    pub fn open(path: &Path) -> Result<Self> {
        let io = |source| Error::Io {
            what: "cannot open",
            path: path.into(),
            source,
        };
        let file_error = |reason: String| Error::File {
            reason,
            path: path.into(),
        };
        let (mut file, len) = open_regular(path)
            .map_err(io)?
            .ok_or_else(|| file_error("not an attention capture".into()))?;
        let header = read_header(&mut file, len)
            .map_err(io)?
            .ok_or_else(|| file_error("not an attention capture (no safetensors header)".into()))?;
        let data_start = 8 + header.len() as u64;
        let tensors: Metadata = serde_json::from_slice(&header)
            .map_err(|e| file_error(format!("not a whole safetensors file ({e})")))?;
        if data_start.checked_add(tensors.data_len() as u64) != Some(len) {
            return Err(file_error(format!(
                "not a whole safetensors file ({} bytes of tensors are announced, {} are there)",
                tensors.data_len(),
                len - data_start
            )));
        }
        let none = HashMap::new();
        let meta = tensors.metadata().as_ref().unwrap_or(&none);
        match meta.get("format").map(String::as_str) {
            Some(FORMAT) => {}
            Some(other) if other.starts_with("attncap/") => {
                return Err(file_error(format!(
                    "a capture of format {other}, only {FORMAT} is understood"
                )));
            }
            _ => {
                return Err(file_error(format!(
                    "not an attention capture (no format `{FORMAT}`)"
                )));
            }
        }
        let text = |key: &str| meta.get(key).cloned().unwrap_or_default();
        let header = Header {
            model_id: text("model_id"),
            source: text("source"),
            instruction: text("instruction"),
            sources: parse(meta, "sources")
                .map_err(file_error)?
                .unwrap_or_default(),
            instructions: parse(meta, "instructions")
                .map_err(file_error)?
                .unwrap_or_default(),
            views: parse(meta, "views")
                .map_err(file_error)?
                .ok_or_else(|| file_error("the metadata name no `views`".into()))?,
            tokens: parse(meta, "tokens")
                .map_err(file_error)?
                .unwrap_or_default(),
            query_tokens: parse(meta, "query_tokens")
                .map_err(file_error)?
                .unwrap_or_default(),
            box_labels: parse(meta, "box_labels")
                .map_err(file_error)?
                .unwrap_or_default(),
        };
        let listed: Option<Vec<u64>> = parse(meta, "steps").map_err(file_error)?;
        let steps = steps(&tensors, listed).map_err(file_error)?;
        Ok(Self {
            path: path.into(),
            file,
            data_start,
            tensors,
            steps,
            header,
            form: OnceLock::new(),
        })
    }

    /// Number of steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it holds no step.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Environment step of every capture.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = u64> {
        self.steps.iter().map(|(_, step)| *step)
    }

    /// Cameras.
    pub fn views(&self) -> &[View] {
        &self.header.views
    }

    /// Reads one capture.
    ///
    /// # Errors
    /// As [`read`]; also when it differs from the first one in its layers, heads or grids.
    pub fn capture(&self, index: usize) -> Result<Capture> {
        let Some((prefix, step)) = self.steps.get(index) else {
            return Err(self.error(format!("no capture {index} among {}", self.len())));
        };
        let tensors = StepTensors::of(self, prefix)?;
        let [.., n_keys] = tensors.shape;
        let header = &self.header;
        let own = |special: &HashMap<String, String>, common: &String| {
            special.get(prefix).unwrap_or(common).clone()
        };
        let keys = tensors.keys()?;
        let queries = tensors.queries(&keys)?;
        let parts = CaptureParts {
            model_id: header.model_id.clone(),
            source: own(&header.sources, &header.source),
            instruction: own(&header.instructions, &header.instruction),
            step: *step,
            layers: tensors.layers()?,
            heads: tensors.heads()?,
            views: header.views.clone(),
            queries,
            boxes: tensors.detections()?,
            action: tensors.action()?,
            sinks: tensors.sinks(n_keys)?,
            // Last, for it is large, and everything else fits by now.
            attn: tensors
                .floats(ATTN)?
                .ok_or_else(|| tensors.missing(ATTN))?
                .1,
            keys,
        };
        let capture = Capture::checked(parts).map_err(|fault| Error::Step {
            place: format!("tensor `{prefix}/{}`{}", fault.tensor, fault.at),
            reason: Box::new(fault.error),
            path: self.path.to_path_buf(),
        })?;
        self.check_form(index, prefix, &capture)?;
        Ok(capture)
    }

    /// Refuses a frame that is not like the first one: heads of different layers would vote for each other.
    fn check_form(&self, index: usize, prefix: &str, capture: &Capture) -> Result<()> {
        let (Some((first, _)), true) = (self.steps.first(), self.len() > 1) else {
            return Ok(());
        };
        let form = capture.form();
        let known = match self.form.get() {
            Some(known) => known,
            None if index == 0 => self.form.get_or_init(|| form.clone()),
            None => {
                let found = StepTensors::of(self, first)?.form()?;
                self.form.get_or_init(|| found)
            }
        };
        match form.difference(known, &self.header.views) {
            Some((tensor, difference)) => Err(self.error(format!(
                "tensor `{prefix}/{tensor}` gives {difference} as in `{first}`; one file is for one model and one set of cameras"
            ))),
            None => Ok(()),
        }
    }

    fn error(&self, reason: String) -> Error {
        Error::File {
            reason,
            path: self.path.to_path_buf(),
        }
    }
}

/// A JSON value of the metadata.
fn parse<T: DeserializeOwned>(
    meta: &HashMap<String, String>,
    key: &str,
) -> Result<Option<T>, String> {
    let parsed = meta.get(key).map(|text| serde_json::from_str(text));
    parsed
        .transpose()
        .map_err(|e| format!("the metadata entry `{key}` is not what it should be ({e})"))
}

/// Prefixes and environment steps.
fn steps(tensors: &Metadata, listed: Option<Vec<u64>>) -> Result<Vec<(String, u64)>, String> {
    let names = tensors.offset_keys();
    let number = |prefix: &str| {
        let digits = prefix.strip_prefix('s')?;
        let digits = digits
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then_some(digits)?;
        digits.parse::<u64>().ok()
    };
    let prefixes: BTreeSet<(u64, &str)> = names
        .iter()
        .filter_map(|name| name.split_once('/'))
        .filter_map(|(prefix, _)| Some((number(prefix)?, prefix)))
        .collect();
    let (Some((_, first)), Some((_, last))) = (prefixes.first(), prefixes.last()) else {
        return Err(format!(
            "the capture holds no frame: there is no tensor `s00000/{ATTN}`"
        ));
    };
    let steps = listed.unwrap_or_else(|| prefixes.iter().map(|&(number, _)| number).collect());
    if steps.len() != prefixes.len() {
        return Err(format!(
            "the metadata entry `steps` lists {} frames, and there are tensors of {}, `{first}/` to `{last}/`",
            steps.len(),
            prefixes.len()
        ));
    }
    Ok(prefixes
        .into_iter()
        .zip(steps)
        .map(|((_, prefix), step)| (prefix.to_owned(), step))
        .collect())
}

/// Shape and values of a tensor.
type Shaped<'a, T> = (&'a [usize], T);

/// Tensors of one step. The shape of each is looked at before its values are read, so that nothing is allocated for a
/// tensor that does not fit.
struct StepTensors<'a> {
    file: &'a CaptureFile,
    prefix: &'a str,
    /// Layers, heads, queries and keys.
    shape: [usize; 4],
}

impl<'a> StepTensors<'a> {
    /// The tensors of a step that has attention weights.
    fn of(file: &'a CaptureFile, prefix: &'a str) -> Result<Self> {
        let mut tensors = Self {
            file,
            prefix,
            shape: [0; 4],
        };
        let info = tensors.info(ATTN).ok_or_else(|| tensors.missing(ATTN))?;
        let &[layers, heads, queries, keys] = &info.shape[..] else {
            return Err(tensors.wrong(
                ATTN,
                "has",
                &format!(
                    "the shape {:?} instead of [layers, heads, queries, keys]",
                    info.shape
                ),
            ));
        };
        tensors.shape = [layers, heads, queries, keys];
        let names = ["layers", "heads", "queries", "keys"];
        for (what, n) in names.into_iter().zip(tensors.shape) {
            if n == 0 {
                return Err(tensors.wrong(
                    ATTN,
                    "holds",
                    &format!("no {what}: its shape is {:?}", info.shape),
                ));
            }
        }
        Ok(tensors)
    }

    fn missing(&self, name: &str) -> Error {
        let prefix = self.prefix;
        self.file
            .error(format!("there is no tensor `{prefix}/{name}`"))
    }

    fn wrong(&self, name: &str, verb: &str, what: &str) -> Error {
        let prefix = self.prefix;
        self.file
            .error(format!("tensor `{prefix}/{name}` {verb} {what}"))
    }

    /// Description of a tensor. Its place was checked against the length of the file.
    fn info(&self, name: &str) -> Option<&'a TensorInfo> {
        let tensors = &self.file.tensors;
        tensors.info(&format!("{}/{name}", self.prefix))
    }

    /// Description of a tensor that must have this shape to fit another one.
    fn fitting(&self, name: &str, shape: &[usize], other: &str) -> Result<Option<&'a TensorInfo>> {
        match self.info(name) {
            Some(info) if info.shape != shape => {
                let other_shape = self.info(other).map_or(&[][..], |info| &info.shape);
                Err(self.wrong(
                    name,
                    "has",
                    &format!(
                        "the shape {:?} instead of {shape:?}, for `{other}` has {other_shape:?}",
                        info.shape
                    ),
                ))
            }
            info => Ok(info),
        }
    }

    /// The numbers of a tensor, of `N` bytes each, piece by piece: a buffer as large as the tensor would cost more time
    /// than reading does.
    fn read<const N: usize, T>(
        &self,
        info: &TensorInfo,
        number: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        let (start, end) = info.data_offsets;
        let mut numbers = Vec::with_capacity((end - start) / N);
        let mut buffer = vec![0; PIECE.min(end - start)];
        for at in (start..end).step_by(PIECE) {
            let piece = buffer.split_at_mut(PIECE.min(end - at)).0;
            let offset = self.file.data_start + at as u64;
            read_exact_at(&self.file.file, piece, offset).map_err(|source| Error::Io {
                what: "cannot read",
                path: self.file.path.to_path_buf(),
                source,
            })?;
            numbers.extend(piece.as_chunks().0.iter().map(|&bytes| number(bytes)));
        }
        Ok(numbers)
    }

    /// Numbers of a tensor whose type is fixed.
    fn typed<const N: usize, T>(
        &self,
        name: &str,
        info: &TensorInfo,
        dtype: Dtype,
        number: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>> {
        if info.dtype != dtype {
            return Err(self.wrong(
                name,
                "holds",
                &format!("{:?} instead of {dtype:?}", info.dtype),
            ));
        }
        self.read(info, number)
    }

    /// Shape and numbers of a tensor of f16 or f32.
    fn floats(&self, name: &str) -> Result<Option<Shaped<'a, Vec<f32>>>> {
        let Some(info) = self.info(name) else {
            return Ok(None);
        };
        let numbers = match info.dtype {
            Dtype::F16 => self.read(info, |b| f16::from_le_bytes(b).to_f32())?,
            Dtype::F32 => self.read(info, f32::from_le_bytes)?,
            other => {
                return Err(self.wrong(name, "holds", &format!("{other:?} instead of F16 or F32")));
            }
        };
        Ok(Some((&info.shape, numbers)))
    }

    /// One byte for each of the keys or queries.
    fn bytes(&self, name: &str, len: usize) -> Result<Option<Vec<u8>>> {
        let info = self.fitting(name, &[len], ATTN)?;
        info.map(|info| self.typed(name, info, Dtype::U8, u8::from_le_bytes))
            .transpose()
    }

    fn required_ints(&self, name: &str, len: usize, other: &str) -> Result<Vec<i32>> {
        let info = self.fitting(name, &[len], other)?;
        let info = info.ok_or_else(|| self.missing(name))?;
        self.typed(name, info, Dtype::I32, i32::from_le_bytes)
    }

    /// Numbers from 0 up.
    fn numbers(&self, name: &str, len: usize, other: &str) -> Result<Vec<u32>> {
        let ints = self.required_ints(name, len, other)?;
        let positive = |(i, n): (usize, i32)| {
            u32::try_from(n).map_err(|_| {
                self.wrong(
                    name,
                    "holds",
                    &format!("{n} at index {i}, numbers from 0 up are needed"),
                )
            })
        };
        ints.into_iter().enumerate().map(positive).collect()
    }

    fn layers(&self) -> Result<Vec<u32>> {
        self.numbers("lm.layers", self.shape[0], ATTN)
    }

    fn heads(&self) -> Result<Vec<u32>> {
        self.numbers("lm.heads", self.shape[1], ATTN)
    }

    /// What all steps of a file have in common.
    fn form(&self) -> Result<Form> {
        let views = &self.file.header.views;
        Ok(Form::of(
            &self.layers()?,
            &self.heads()?,
            views,
            &self.keys()?,
        ))
    }

    fn keys(&self) -> Result<Vec<Key>> {
        let n_keys = self.shape[3];
        let roles = self
            .bytes("token_role", n_keys)?
            .ok_or_else(|| self.missing("token_role"))?;
        let views = self.required_ints("key_view", n_keys, ATTN)?;
        let rects = self
            .rects("key_box", n_keys, ATTN)?
            .ok_or_else(|| self.missing("key_box"))?;
        let mut tokens = self.texts("tokens", &self.file.header.tokens, n_keys)?;
        tokens.resize(n_keys, String::new());
        let keys = tokens.into_iter().zip(roles).zip(views).zip(rects);
        keys.enumerate()
            .map(|(index, (((token, number), view), rect))| {
                Ok(Key {
                    token,
                    role: self.role("token_role", index, number)?,
                    view: usize::try_from(view).ok(),
                    rect,
                })
            })
            .collect()
    }

    fn queries(&self, keys: &[Key]) -> Result<Vec<Query>> {
        let n_queries = self.shape[2];
        let positions = self.numbers("lm.query_index", n_queries, ATTN)?;
        let roles = self.bytes("query_role", n_queries)?;
        let tokens = self.texts("query_tokens", &self.file.header.query_tokens, n_queries)?;
        let query = |(index, position): (usize, u32)| {
            let position = position as usize;
            let key = keys.get(position);
            let token = tokens.get(index).or(key.map(|k| &k.token));
            Ok(Query {
                position,
                token: token.cloned().unwrap_or_default(),
                role: match roles.as_ref().and_then(|roles| roles.get(index)) {
                    Some(&number) => self.role("query_role", index, number)?,
                    None => key.map(|k| k.role).unwrap_or_default(),
                },
            })
        };
        positions.into_iter().enumerate().map(query).collect()
    }

    fn role(&self, name: &str, index: usize, number: u8) -> Result<TokenRole> {
        TokenRole::from_u8(number).ok_or_else(|| {
            self.wrong(
                name,
                "holds",
                &format!("{number} at index {index}, roles are 0 to 5"),
            )
        })
    }

    /// Boxes; `None` for one that is all NaN.
    fn rects(&self, name: &str, len: usize, other: &str) -> Result<Option<Vec<Option<Rect>>>> {
        self.fitting(name, &[len, 4], other)?;
        let Some((_, values)) = self.floats(name)? else {
            return Ok(None);
        };
        let rects = values
            .as_chunks()
            .0
            .iter()
            .map(|&[x0, y0, x1, y1]: &[f32; 4]| {
                let none = [x0, y0, x1, y1].iter().all(|v| v.is_nan());
                (!none).then(|| Rect::new(x0.into(), y0.into(), x1.into(), y1.into()))
            });
        Ok(Some(rects.collect()))
    }

    /// Strings of this step from the metadata, none or as many as asked for.
    fn texts(
        &self,
        name: &str,
        all: &HashMap<String, Vec<String>>,
        len: usize,
    ) -> Result<Vec<String>> {
        match all.get(self.prefix) {
            Some(texts) if texts.len() != len => Err(self.file.error(format!(
                "the metadata entry `{name}` has {} texts for `{}` instead of {len}",
                texts.len(),
                self.prefix
            ))),
            Some(texts) => Ok(texts.clone()),
            None => Ok(Vec::new()),
        }
    }

    fn detections(&self) -> Result<Vec<Detection>> {
        let Some(info) = self.info("boxes") else {
            return Ok(Vec::new());
        };
        let len = info.shape.first().copied().unwrap_or(0);
        let rects = self.rects("boxes", len, "boxes")?.unwrap_or_default();
        let views = self.required_ints("box_view", len, "boxes")?;
        self.fitting("box_score", &[len], "boxes")?;
        let scores = self.floats("box_score")?;
        let (_, scores) = scores.ok_or_else(|| self.missing("box_score"))?;
        let mut labels = self.texts("box_labels", &self.file.header.box_labels, len)?;
        labels.resize(len, String::new());
        let parts = rects.into_iter().zip(views).zip(scores).zip(labels);
        parts
            .enumerate()
            .map(|(index, (((rect, view), score), label))| {
                let rect = rect.ok_or_else(|| {
                    self.wrong("boxes", "holds", &format!("no corners for box {index}"))
                });
                let view = usize::try_from(view).map_err(|_| {
                    self.wrong(
                        "box_view",
                        "holds",
                        &format!("{view} for box {index}, every box needs a view"),
                    )
                });
                Ok(Detection {
                    rect: rect?,
                    label,
                    score,
                    view: view?,
                })
            })
            .collect()
    }

    fn action(&self) -> Result<Option<Vec<f32>>> {
        Ok(self.floats("action")?.map(|(_, action)| action))
    }

    fn sinks(&self, len: usize) -> Result<Option<Sinks>> {
        if let Some(verdict) = self.bytes("key_sink", len)? {
            return Ok(Some(Sinks::Verdict(
                verdict.iter().map(|&b| b != 0).collect(),
            )));
        }
        let name = "key_sink_phi";
        let Some(info) = self.fitting(name, &[len], ATTN)? else {
            return Ok(None);
        };
        let phi = self.typed(name, info, Dtype::F64, f64::from_le_bytes)?;
        let width = self.numbers("key_sink_width", 1, name)?;
        let width = width.first().map_or(0, |&width| width as usize);
        Ok(Some(Sinks::Phi {
            phi: phi.into(),
            width,
        }))
    }
}

/// Writes captures of one model into one file: beside it first, then in its place, so that a reader sees the old file
/// or the new one. Weights that came from f16 are written as f16; nothing is ever rounded.
///
/// # Errors
/// [`Error::Shape`] without a capture, when they differ in model, cameras, layers, heads or grids, or when their texts
/// are longer than a reader takes; [`Error::Io`] naming the file.
pub fn write(path: &Path, captures: &[Capture]) -> Result<()> {
    let file = Layout::of(captures)?;
    let header = file.header();
    if header.len() as u64 > MAX_HEADER {
        return Err(Error::Shape(format!(
            "the header would have {} MiB, at most {} are read; write fewer captures into one file",
            header.len() >> 20,
            MAX_HEADER >> 20
        )));
    }
    let io = |what| {
        move |source| Error::Io {
            what,
            path: path.to_path_buf(),
            source,
        }
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}.partial", std::process::id()));
    let written = fs::File::create(&beside).and_then(|out| {
        let mut out = BufWriter::new(out);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for tensor in &file.tensors {
            tensor.data.write(&mut out)?;
        }
        out.into_inner().map_err(|e| e.into_error())?.sync_all()
    });
    let moved = written
        .map_err(io("cannot write"))
        .and_then(|()| fs::rename(&beside, path).map_err(io("cannot replace")));
    if moved.is_err() {
        // Best effort: the error that matters is the one returned.
        let _ = fs::remove_file(&beside);
    }
    moved
}

/// A safetensors file before it is written. The header is made here, because the library writes several metadata
/// entries in random order, and equal captures shall give equal files.
#[derive(Default)]
struct Layout<'a> {
    metadata: Map<String, Value>,
    tensors: Vec<Tensor<'a>>,
}

struct Tensor<'a> {
    name: String,
    shape: Vec<usize>,
    data: Data<'a>,
}

enum Data<'a> {
    F64(Vec<f64>),
    F32(Vec<f32>),
    Weights(&'a [f32]),
    WeightsF16(&'a [f32]),
    I32(Vec<i32>),
    U8(Vec<u8>),
}

impl Data<'_> {
    fn dtype(&self) -> (&'static str, usize) {
        match self {
            Self::F64(_) => ("F64", 8),
            Self::F32(_) | Self::Weights(_) => ("F32", 4),
            Self::WeightsF16(_) => ("F16", 2),
            Self::I32(_) => ("I32", 4),
            Self::U8(_) => ("U8", 1),
        }
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::F64(v) => v.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            Self::F32(v) => v.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            Self::Weights(v) => v.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            Self::WeightsF16(v) => v
                .iter()
                .try_for_each(|&v| out.write_all(&f16::from_f32(v).to_le_bytes())),
            Self::I32(v) => v.iter().try_for_each(|v| out.write_all(&v.to_le_bytes())),
            Self::U8(v) => out.write_all(v),
        }
    }
}

impl<'a> Layout<'a> {
    fn of(captures: &'a [Capture]) -> Result<Self> {
        let Some(first) = captures.first() else {
            return Err(Error::Shape(
                "a capture file needs at least one capture".into(),
            ));
        };
        if captures
            .iter()
            .any(|c| c.model_id != first.model_id || c.views != first.views)
        {
            return Err(Error::Shape(
                "captures of several models or camera sets need a file each".into(),
            ));
        }
        let form = first.form();
        for (index, capture) in captures.iter().enumerate().skip(1) {
            if let Some((_, difference)) = capture.form().difference(&form, &first.views) {
                return Err(Error::Shape(format!(
                    "capture {index} has {difference} as capture 0 has; they need a file each"
                )));
            }
        }
        let mut layout = Self::default();
        let mut tokens = Map::new();
        let mut query_tokens = Map::new();
        let mut box_labels = Map::new();
        let mut sources = Map::new();
        let mut instructions = Map::new();
        for (index, capture) in captures.iter().enumerate() {
            let prefix = format!("s{index:05}");
            tokens.insert(
                prefix.clone(),
                capture.keys.iter().map(|k| k.token.as_str()).collect(),
            );
            query_tokens.insert(
                prefix.clone(),
                capture.queries.iter().map(|q| q.token.as_str()).collect(),
            );
            if !capture.boxes.is_empty() {
                box_labels.insert(
                    prefix.clone(),
                    capture.boxes.iter().map(|b| b.label.as_str()).collect(),
                );
            }
            if capture.source != first.source {
                sources.insert(prefix.clone(), capture.source.as_str().into());
            }
            if capture.instruction != first.instruction {
                instructions.insert(prefix.clone(), capture.instruction.as_str().into());
            }
            layout.add_step(&prefix, capture)?;
        }
        let steps: Vec<u64> = captures.iter().map(|c| c.step).collect();
        let text = |value: Value| Value::String(value.to_string());
        let most = |numbers: &[u32]| numbers.iter().max().map_or(0, |&n| u64::from(n) + 1);
        let entries = [
            ("format", FORMAT.into()),
            ("model_id", first.model_id.as_str().into()),
            ("n_layers", text(most(&first.layers).into())),
            ("n_heads", text(most(&first.heads).into())),
            ("producer", "gazelab".into()),
            ("source", first.source.as_str().into()),
            ("instruction", first.instruction.as_str().into()),
            ("reduction", "none".into()),
            ("steps", text(json!(steps))),
            ("views", text(json!(first.views))),
            (
                "roles",
                "0 text,1 image,2 action,3 state,4 special,5 pad".into(),
            ),
        ];
        layout
            .metadata
            .extend(entries.map(|(key, value)| (key.to_owned(), value)));
        let maps = [
            ("tokens", tokens),
            ("query_tokens", query_tokens),
            ("box_labels", box_labels),
            ("sources", sources),
            ("instructions", instructions),
        ];
        for (key, map) in maps {
            if !map.is_empty() {
                layout
                    .metadata
                    .insert(key.to_owned(), text(Value::Object(map)));
            }
        }
        // Wide types first keeps every tensor aligned, as readers that map the file expect.
        layout
            .tensors
            .sort_by_key(|tensor| std::cmp::Reverse(tensor.data.dtype().1));
        Ok(layout)
    }

    fn add_step(&mut self, prefix: &str, capture: &'a Capture) -> Result<()> {
        let (n_queries, n_keys, n_boxes) = (
            capture.queries.len(),
            capture.keys.len(),
            capture.boxes.len(),
        );
        let mut add = |name: &str, shape: &[usize], data: Data<'a>| {
            self.tensors.push(Tensor {
                name: format!("{prefix}/{name}"),
                shape: shape.to_vec(),
                data,
            });
        };
        let ints = |what: &str, numbers: &mut dyn Iterator<Item = usize>| -> Result<Vec<i32>> {
            numbers
                .map(|n| {
                    i32::try_from(n)
                        .map_err(|_| Error::Shape(format!("{what} {n} is too large for a file")))
                })
                .collect()
        };
        let shape = [capture.layers.len(), capture.heads.len(), n_queries, n_keys];
        let exact_f16 = capture.attn.iter().all(|&w| f16::from_f32(w).to_f32() == w);
        let weights = if exact_f16 {
            Data::WeightsF16(&capture.attn)
        } else {
            Data::Weights(&capture.attn)
        };
        add("lm.attn", &shape, weights);
        let layers = ints("layer", &mut capture.layers.iter().map(|&n| n as usize))?;
        add("lm.layers", &[layers.len()], Data::I32(layers));
        let heads = ints("head", &mut capture.heads.iter().map(|&n| n as usize))?;
        add("lm.heads", &[heads.len()], Data::I32(heads));
        let positions = ints("position", &mut capture.queries.iter().map(|q| q.position))?;
        add("lm.query_index", &[n_queries], Data::I32(positions));
        add(
            "query_role",
            &[n_queries],
            Data::U8(capture.queries.iter().map(|q| q.role as u8).collect()),
        );
        // Ids belong to a tokenizer, which a capture does not know: −1 is no id.
        add("token_ids", &[n_keys], Data::I32(vec![-1; n_keys]));
        add(
            "token_role",
            &[n_keys],
            Data::U8(capture.keys.iter().map(|k| k.role as u8).collect()),
        );
        let view = |view: Option<usize>| view.and_then(|v| i32::try_from(v).ok()).unwrap_or(-1);
        add(
            "key_view",
            &[n_keys],
            Data::I32(capture.keys.iter().map(|k| view(k.view)).collect()),
        );
        let corners = |rect: Rect| [rect.x0, rect.y0, rect.x1, rect.y1].map(|v| v as f32);
        let key_box = |key: &Key| key.rect.map_or([f32::NAN; 4], corners);
        add(
            "key_box",
            &[n_keys, 4],
            Data::F32(capture.keys.iter().flat_map(key_box).collect()),
        );
        if n_boxes > 0 {
            let boxes = &capture.boxes;
            add(
                "boxes",
                &[n_boxes, 4],
                Data::F32(boxes.iter().flat_map(|b| corners(b.rect)).collect()),
            );
            add(
                "box_view",
                &[n_boxes],
                Data::I32(boxes.iter().map(|b| view(Some(b.view))).collect()),
            );
            add(
                "box_score",
                &[n_boxes],
                Data::F32(boxes.iter().map(|b| b.score).collect()),
            );
        }
        if let Some(action) = &capture.action {
            add("action", &[action.len()], Data::F32(action.clone()));
        }
        match &capture.sinks {
            Some(Sinks::Verdict(verdict)) => {
                add(
                    "key_sink",
                    &[n_keys],
                    Data::U8(verdict.iter().map(|&sink| sink.into()).collect()),
                );
            }
            Some(Sinks::Phi { phi, width }) => {
                add("key_sink_phi", &[n_keys], Data::F64(phi.to_vec()));
                let width = ints("width", &mut std::iter::once(*width))?;
                add("key_sink_width", &[1], Data::I32(width));
            }
            None => {}
        }
        Ok(())
    }

    fn header(&self) -> Vec<u8> {
        let mut header = Map::new();
        header.insert("__metadata__".into(), Value::Object(self.metadata.clone()));
        let mut start = 0;
        for Tensor { name, shape, data } in &self.tensors {
            let (dtype, size) = data.dtype();
            let end = start + size * shape.iter().product::<usize>();
            header.insert(
                name.clone(),
                json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]}),
            );
            start = end;
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        header
    }
}
