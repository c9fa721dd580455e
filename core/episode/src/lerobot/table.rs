//! Bounded random access to a parquet file that a stranger wrote.

use crate::cache::Footprint;
use crate::source::Source;
use crate::{Error, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;

/// A larger footer is not read.
const MAX_FOOTER: u64 = 256 << 20;
/// A page may unpack to this many bytes. Writers aim at 1 MiB, but never split a batch of rows.
const MAX_PAGE: u64 = 256 << 20;

/// An open parquet file: its footer, and rows on demand.
pub(super) struct Table {
    source: Arc<Source>,
    metadata: ArrowReaderMetadata,
    /// First row of every row group, and the end.
    starts: Vec<u64>,
}

impl Footprint for Table {
    fn footprint(&self) -> usize {
        self.metadata.metadata().memory_size() + 8 * self.starts.len()
    }
}

impl Table {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let source = Arc::new(Source::open(path)?);
        check_frame(&source)?;
        // The embedded Arrow schema is one more thing to parse and says nothing that is needed here.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = caught(|| ArrowReaderMetadata::load(&Footer(Arc::clone(&source)), options))
            .map_err(|e| Error::malformed(path, format!("the footer cannot be read: {e}")))?;
        let mut starts = vec![0u64];
        let mut end = 0u64;
        for (at, group) in metadata.metadata().row_groups().iter().enumerate() {
            let rows = u64::try_from(group.num_rows())
                .ok()
                .and_then(|rows| end.checked_add(rows));
            end = rows.ok_or_else(|| {
                Error::malformed(
                    path,
                    format!("row group {at} has an impossible number of rows"),
                )
            })?;
            starts.push(end);
            for column in group.columns() {
                let start = column
                    .dictionary_page_offset()
                    .unwrap_or(column.data_page_offset());
                let inside = |start: u64, len: u64| {
                    start
                        .checked_add(len)
                        .is_some_and(|end| end <= source.len())
                };
                match (
                    u64::try_from(start),
                    u64::try_from(column.compressed_size()),
                ) {
                    (Ok(start), Ok(len))
                        if inside(start, len) && column.data_page_offset() >= 0 => {}
                    _ => {
                        let name = column.column_path();
                        return Err(Error::malformed(
                            path,
                            format!("column {name} of row group {at} lies outside the file"),
                        ));
                    }
                }
            }
        }
        Ok(Self {
            source,
            metadata,
            starts,
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.source.path()
    }

    pub(super) fn rows(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Type of a top-level column; an error lists what is there.
    pub(super) fn column_type(&self, name: &str) -> Result<&DataType, String> {
        let fields = self.metadata.schema().fields();
        fields
            .iter()
            .find(|f| f.name() == name)
            .map(|f| f.data_type())
            .ok_or_else(|| {
                let present: Vec<&str> =
                    fields.iter().map(|f| f.name().as_str()).take(40).collect();
                format!("no column {name} (present are {})", present.join(", "))
            })
    }

    /// Row group of a row and the row range of the group.
    pub(super) fn group_of(&self, row: u64) -> Option<(usize, Range<u64>)> {
        let group = self
            .starts
            .partition_point(|start| *start <= row)
            .checked_sub(1)?;
        Some((
            group,
            *self.starts.get(group)?..*self.starts.get(group + 1)?,
        ))
    }

    /// Unpacked bytes of a leaf column in a row group; 0 when there is no such column.
    pub(super) fn unpacked_bytes(&self, group: usize, leaf: &[&str]) -> u64 {
        let group = self.metadata.metadata().row_group(group);
        let column = group
            .columns()
            .iter()
            .find(|c| c.column_path().parts().iter().eq(leaf));
        column
            .and_then(|c| u64::try_from(c.uncompressed_size()).ok())
            .unwrap_or(0)
    }

    /// Batches of at most `batch` rows of the given row range, with the leaf columns for which `is_wanted` answers yes
    /// to the path.
    pub(super) fn read(
        &self,
        rows: Range<u64>,
        batch: usize,
        is_wanted: impl Fn(&[String]) -> bool,
    ) -> Result<Batches<'_>> {
        let metadata = self.metadata.metadata();
        let leaves = metadata.file_metadata().schema_descr().columns();
        let wanted = leaves
            .iter()
            .enumerate()
            .filter(|(_, leaf)| is_wanted(leaf.path().parts()))
            .map(|(at, _)| at);
        let mask = ProjectionMask::leaves(metadata.file_metadata().schema_descr(), wanted);
        let groups = self.groups(&rows);
        let first = self.starts.get(groups.start).copied().unwrap_or(0);
        let total = self.starts.get(groups.end).copied().unwrap_or(first) - first;
        let to_usize = |row: u64| {
            usize::try_from(row).map_err(|_| self.fail("too many rows for this machine"))
        };
        let end = to_usize(rows.end.saturating_sub(first).min(total))?;
        let start = to_usize(rows.start.saturating_sub(first))?.min(end);
        let selection =
            RowSelection::from_consecutive_ranges(std::iter::once(start..end), to_usize(total)?);
        let pages = Pages(Arc::clone(&self.source));
        let build = || {
            ParquetRecordBatchReaderBuilder::new_with_metadata(pages, self.metadata.clone())
                .with_projection(mask)
                .with_row_groups(groups.collect())
                .with_row_selection(selection)
                .with_batch_size(batch)
                .build()
        };
        let reader =
            caught(build).map_err(|e| self.fail(format!("the rows cannot be read: {e}")))?;
        Ok(Batches {
            table: self,
            reader: Some(reader),
        })
    }

    fn groups(&self, rows: &Range<u64>) -> Range<usize> {
        let last_group = self.starts.len().saturating_sub(1);
        let start = self
            .starts
            .partition_point(|start| *start <= rows.start)
            .saturating_sub(1);
        let end = self.starts.partition_point(|start| *start < rows.end);
        start.min(last_group)..end.clamp(start, last_group)
    }

    pub(super) fn fail(&self, reason: impl std::fmt::Display) -> Error {
        Error::malformed(self.path(), reason.to_string())
    }
}

/// Batches of rows; ends after the first fault.
pub(super) struct Batches<'a> {
    table: &'a Table,
    reader: Option<ParquetRecordBatchReader>,
}

impl Iterator for Batches<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let reader = self.reader.as_mut()?;
        let batch = caught(|| reader.next().transpose().map_err(ParquetError::from)).transpose()?;
        if batch.is_err() {
            self.reader = None;
        }
        Some(batch.map_err(|e| self.table.fail(format!("the rows cannot be read: {e}"))))
    }
}

/// Runs a part of the parquet library, which asserts some things about a file instead of returning an error (levels
/// that disagree with the number of rows, for one). What it was working on must not be used after a panic.
fn caught<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    match panic::catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(payload) => {
            let said = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
            let said = said
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            Err(format!("the file contradicts itself ({said})"))
        }
    }
}

/// Head, tail and footer length, for messages that say more than the library's.
fn check_frame(source: &Source) -> Result<()> {
    let fail = |reason: &str| Err(Error::malformed(source.path(), reason));
    let read = |offset: u64, len: usize| {
        source
            .bytes(offset, len)
            .map_err(Error::io("read", source.path()))
    };
    if source.len() == 0 {
        return fail("the file is empty (0 bytes)");
    }
    if source.len() < 12 || read(0, 4)? != b"PAR1" {
        return fail("not a parquet file");
    }
    let tail = read(source.len() - 8, 8)?;
    let Some((length, b"PAR1")) = tail.split_first_chunk::<4>() else {
        return fail("the file has no footer: it was cut off or is still being written");
    };
    let length = u64::from(u32::from_le_bytes(*length));
    if length > source.len() - 12 {
        return fail("the footer is longer than the file");
    }
    if length > MAX_FOOTER {
        return fail("the footer is larger than 256 MiB");
    }
    Ok(())
}

/// The file as the parquet library reads its footer.
struct Footer(Arc<Source>);

impl Length for Footer {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for Footer {
    type T = BufReader<Cursor>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(buffered(&self.0, start))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        Ok(self.0.bytes(start, length)?.into())
    }
}

/// The file as the parquet library reads its pages. Before a page is decoded its header passes through here: the
/// library takes the unpacked size that the header declares at its word.
struct Pages(Arc<Source>);

impl Length for Pages {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl ChunkReader for Pages {
    type T = BufReader<Cursor>;

    /// Called for every page, at its header.
    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let fail = |reason| Err(ParquetError::General(reason));
        match unpacked_page_size(&self.0.bytes_up_to(start, 32)?) {
            Some(size) if size <= MAX_PAGE => Ok(buffered(&self.0, start)),
            Some(size) => fail(format!(
                "a page declares {size} bytes, at most {MAX_PAGE} are read"
            )),
            // The library may understand what this does not, and would then take the memory.
            None => fail(format!("there is no page header at byte {start}")),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        Ok(self.0.bytes(start, length)?.into())
    }
}

fn buffered(source: &Arc<Source>, at: u64) -> BufReader<Cursor> {
    let source = Arc::clone(source);
    BufReader::with_capacity(4096, Cursor { source, at })
}

/// A reader with its own position.
struct Cursor {
    source: Arc<Source>,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.source.len().saturating_sub(self.at))
            .map_or(buf.len(), |left| left.min(buf.len()));
        self.source.read_exact_at(&mut buf[..len], self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

/// `uncompressed_page_size`, field 2 of a page header in Thrift's compact protocol; `None` when the bytes are no page
/// header as writers write it, or the size is negative.
fn unpacked_page_size(header: &[u8]) -> Option<u64> {
    // Fields 1 and 2 are required 32-bit integers: one byte (field step 1, type 5), then a zigzag varint.
    let (_, rest) = zigzag_field(header)?;
    let (size, _) = zigzag_field(rest)?;
    u64::try_from(size).ok()
}

fn zigzag_field(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (0x15, mut rest) = bytes.split_first().map(|(b, r)| (*b, r))? else {
        return None;
    };
    let mut value = 0u64;
    for shift in (0..35).step_by(7) {
        let (byte, after) = rest.split_first()?;
        rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(((value >> 1) as i64 ^ -((value & 1) as i64), rest));
        }
    }
    None
}

/// A column of whole numbers; `None` where null, an error when it is of another type.
pub(super) fn integers(column: &ArrayRef) -> Result<Vec<Option<i64>>, String> {
    match column.data_type() {
        DataType::Int64 => Ok(column.as_primitive::<Int64Type>().iter().collect()),
        DataType::Int32 => Ok(column
            .as_primitive::<Int32Type>()
            .iter()
            .map(|v| v.map(i64::from))
            .collect()),
        other => Err(format!("is {other} where whole numbers are expected")),
    }
}

/// A column of numbers as 32-bit floats; `None` where null.
pub(super) fn floats(column: &dyn Array) -> Result<Vec<Option<f32>>, String> {
    match column.data_type() {
        DataType::Float32 => Ok(column.as_primitive::<Float32Type>().iter().collect()),
        DataType::Float64 => Ok(column
            .as_primitive::<Float64Type>()
            .iter()
            .map(|v| v.map(|v| v as f32))
            .collect()),
        DataType::Int64 => Ok(column
            .as_primitive::<Int64Type>()
            .iter()
            .map(|v| v.map(|v| v as f32))
            .collect()),
        DataType::Int32 => Ok(column
            .as_primitive::<Int32Type>()
            .iter()
            .map(|v| v.map(|v| v as f32))
            .collect()),
        other => Err(format!("is {other} where numbers are expected")),
    }
}

/// Whether [`floats`] can read a column of this type, or a list of it.
pub(super) fn is_number(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Float32 | DataType::Float64 | DataType::Int64 | DataType::Int32
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_are_found_in_the_header() {
        // Field 1 type DATA_PAGE = 0, field 2 = 300, field 3 = 20.
        assert_eq!(
            unpacked_page_size(&[0x15, 0x00, 0x15, 0xd8, 0x04, 0x15, 0x28]),
            Some(300)
        );
        assert_eq!(
            unpacked_page_size(&[0x15, 0x00, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f]),
            Some((1 << 31) - 1)
        );
        assert_eq!(unpacked_page_size(b"PAR1"), None);
        assert_eq!(unpacked_page_size(&[0x15, 0x80]), None);
    }
}
