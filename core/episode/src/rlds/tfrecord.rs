//! TFRecord framing: `u64 length · u32 checksum of the length · payload · u32 checksum of the payload`, little-endian;
//! checksums are CRC-32C, masked (`tensorflow/core/lib/io/record_writer.h`, `tsl/lib/hash/crc32c.h`).

use crate::source::Source;
use crate::{Error, Result};

/// A larger record is not read.
pub(super) const MAX_RECORD: u64 = 512 << 20;
const HEADER: u64 = 12;
const TRAILER: u64 = 4;

/// Where the payload of a record lies in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Position in the file, from 0.
    pub(super) index: usize,
    /// First byte of the payload.
    pub(super) offset: u64,
    /// Bytes of the payload.
    pub(super) len: u64,
}

impl Record {
    /// Names the record in messages.
    pub(super) fn name(&self) -> String {
        format!("record {} at byte {}", self.index, self.offset - HEADER)
    }

    /// The payload, its checksum verified.
    pub(super) fn read(&self, source: &Source) -> Result<Vec<u8>> {
        let fail =
            |reason: &str| Error::malformed(source.path(), format!("{}: {reason}", self.name()));
        let len =
            usize::try_from(self.len + TRAILER).map_err(|_| fail("too large for this machine"))?;
        let mut bytes = source
            .bytes(self.offset, len)
            .map_err(Error::io("read", source.path()))?;
        let checksum = bytes.split_off(bytes.len() - TRAILER as usize);
        if checksum == masked_crc(&bytes).to_le_bytes() {
            Ok(bytes)
        } else {
            Err(fail("data checksum differs"))
        }
    }
}

/// The records of a file. A last record that is cut off is a warning when there are others before it.
///
/// Only the frames are read here, payloads are not.
pub(super) fn index(source: &Source) -> Result<(Vec<Record>, Option<String>)> {
    let mut records = Vec::new();
    let mut at = 0;
    while at < source.len() {
        let record = Record {
            index: records.len(),
            offset: at + HEADER,
            len: 0,
        };
        let name = record.name();
        let fail = |reason: String| Error::malformed(source.path(), reason);
        let left = source.len() - at;
        if left < HEADER {
            return cut_off(source, records, &format!("{name} is cut off in its header"));
        }
        let header = source
            .bytes(at, HEADER as usize)
            .map_err(Error::io("read", source.path()))?;
        let (length, checksum) = header.split_at(8);
        if checksum != masked_crc(length).to_le_bytes() {
            return Err(fail(format!("{name}: length checksum differs")));
        }
        let len = length
            .try_into()
            .map(u64::from_le_bytes)
            .unwrap_or(u64::MAX);
        let body = left - HEADER;
        if len > MAX_RECORD {
            return Err(fail(format!(
                "{name} declares {len} bytes, {body} remain and at most {MAX_RECORD} are read"
            )));
        }
        if len + TRAILER > body {
            return cut_off(
                source,
                records,
                &format!("{name} is cut off: it declares {len} bytes, {body} remain"),
            );
        }
        records.push(Record { len, ..record });
        at += HEADER + len + TRAILER;
    }
    if records.is_empty() {
        Err(Error::malformed(source.path(), "the file is empty"))
    } else {
        Ok((records, None))
    }
}

fn cut_off(
    source: &Source,
    records: Vec<Record>,
    reason: &str,
) -> Result<(Vec<Record>, Option<String>)> {
    if records.is_empty() {
        return Err(Error::malformed(source.path(), reason));
    }
    let warning = format!(
        "{reason}; the {} before it are offered: {}",
        records.len(),
        source.path().display()
    );
    Ok((records, Some(warning)))
}

/// `((crc >> 15) | (crc << 17)) + 0xa282ead8`.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::super::encode::{announce, frame};
    use super::*;
    use std::fs;

    fn source(bytes: &[u8]) -> (tempfile::TempDir, Source) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tfrecord");
        fs::write(&path, bytes).unwrap();
        let source = Source::open(&path).unwrap();
        (dir, source)
    }

    #[test]
    fn records_are_found_and_checked() {
        let mut bytes = [frame(b"one"), frame(b""), frame(b"three")].concat();
        let (_dir, whole) = source(&bytes);
        let (records, warning) = index(&whole).unwrap();
        assert_eq!(warning, None);
        let payloads: Vec<_> = records.iter().map(|r| r.read(&whole).unwrap()).collect();
        assert_eq!(payloads, [&b"one"[..], b"", b"three"]);

        let last = bytes.len() - 5;
        bytes[last] ^= 1;
        let (_dir, flipped) = source(&bytes);
        let (records, _) = index(&flipped).unwrap();
        assert!(
            records[2]
                .read(&flipped)
                .unwrap_err()
                .to_string()
                .contains("record 2 at byte 35: data checksum differs")
        );
    }

    #[test]
    fn every_cut_is_noticed() {
        let bytes = [frame(b"one"), frame(b"two")].concat();
        for len in 0..bytes.len() {
            let (_dir, cut) = source(&bytes[..len]);
            match index(&cut) {
                Ok((records, warning)) => {
                    assert_eq!(records.len(), 1);
                    assert_eq!(warning.is_some(), len != bytes.len() / 2, "{len}");
                }
                Err(e) => assert!(len < bytes.len() / 2, "{len}: {e}"),
            }
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_an_error() {
        let bytes = [frame(b"one"), announce(1 << 60), vec![0; 100]].concat();
        let (_dir, source) = source(&bytes);
        let message = index(&source).unwrap_err().to_string();
        assert!(
            message.contains("record 1 at byte 19") && message.contains("1152921504606846976"),
            "{message}"
        );
    }
}
