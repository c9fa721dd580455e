//! The files and the folder of a recording.

use crate::{Error, Result};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterPropertiesBuilder;
use serde::Serialize;
use serde_json::Value;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// LeRobot starts a new file when one grows past this.
pub(super) const FILE_SIZE_MB: usize = 100;
/// Files in one chunk folder.
pub(super) const CHUNK_SIZE: usize = 1000;

/// Which file of a [`Shards`].
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) chunk: usize,
    pub(super) file: usize,
}

/// A table split over files `chunk-000/file-000.parquet`, one row group a write.
pub(super) struct Shards {
    folder: PathBuf,
    pub(super) schema: SchemaRef,
    properties: WriterPropertiesBuilder,
    /// A file does not grow past this.
    limit_bytes: usize,
    place: Place,
    shard: Option<Shard>,
}

impl Shards {
    pub(super) fn new(
        folder: PathBuf,
        schema: SchemaRef,
        properties: WriterPropertiesBuilder,
        limit_bytes: usize,
    ) -> Self {
        Self {
            folder,
            schema,
            properties,
            limit_bytes,
            place: Place::default(),
            shard: None,
        }
    }

    /// Where the next `bytes` belong; begins a new file when the current one would grow too large.
    pub(super) fn place(&mut self, bytes: usize) -> Result<Place> {
        if self
            .shard
            .as_ref()
            .is_some_and(|shard| shard.writer.bytes_written() + bytes > self.limit_bytes)
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
    pub(super) fn write_here(&mut self, batch: &RecordBatch) -> Result<()> {
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

    pub(super) fn write(&mut self, batch: &RecordBatch, bytes: usize) -> Result<Place> {
        let place = self.place(bytes)?;
        self.write_here(batch)?;
        Ok(place)
    }

    pub(super) fn close(&mut self) -> Result<()> {
        self.shard.take().map_or(Ok(()), Shard::close)
    }
}

/// One parquet file being written.
pub(super) struct Shard {
    path: PathBuf,
    writer: ArrowWriter<BufWriter<File>>,
}

impl Shard {
    pub(super) fn create(
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
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer
            .write(batch)
            .and_then(|()| self.writer.flush())
            .map_err(failed(&self.path))
    }

    pub(super) fn close(self) -> Result<()> {
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

pub(super) fn write_json(path: &Path, value: &Value) -> Result<()> {
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
pub(super) struct Partial {
    pub(super) dir: PathBuf,
    is_published: bool,
}

impl Partial {
    pub(super) fn create(destination: &Path) -> Result<Self> {
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
    pub(super) fn publish(mut self, destination: &Path) -> Result<()> {
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
pub(super) fn check_vacant(dir: &Path) -> Result<()> {
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Error::record(dir, "the folder is not empty")),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("record to", dir)(e)),
    }
}
