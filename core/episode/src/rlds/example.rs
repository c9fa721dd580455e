//! `tf.train.Example` by hand (`tensorflow/core/example/{example,feature}.proto`):
//!
//! ```text
//! Example  { 1: Features }              Feature   { 1: BytesList | 2: FloatList | 3: Int64List }
//! Features { 1: map<string, Feature> }  *List     { 1: repeated value, numbers packed or not }
//! ```
//!
//! Keys and list headers are read without touching the values, so that a directory of large records is known quickly.

use super::tfrecord::Record;
use crate::source::Source;
use std::borrow::Cow;
use std::ops::Range;

/// Most features of a record.
const MAX_ENTRIES: usize = 4096;
const MAX_KEY: u64 = 1024;
/// Most values of a bytes list: one a step.
const MAX_VALUES: usize = 1 << 20;

/// Which list a feature holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bytes,
    Floats,
    Integers,
}

/// A feature of a record and where its list lies in the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) kind: Kind,
    pub(super) list: Range<u64>,
}

/// The payload of a record, in memory or in its file.
pub(super) enum Payload<'a> {
    Memory(&'a [u8]),
    File(&'a Source, Record),
}

impl Payload<'_> {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, record) => record.len,
        }
    }

    /// All features, without their values.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, String> {
        if self.len() == 0 {
            return Err("is empty".to_owned());
        }
        let entries = self
            .read_entries()
            .map_err(|e| format!("is not a tf.train.Example ({e})"))?;
        if entries.is_empty() {
            Err("holds no feature".to_owned())
        } else {
            Ok(entries)
        }
    }

    fn read_entries(&self) -> Result<Vec<Entry>, String> {
        let mut entries = Vec::new();
        let mut wire = Wire::new(self, 0..self.len());
        while let Some(features) = wire.message(1)? {
            let mut wire = Wire::new(self, features);
            while let Some(entry) = wire.message(1)? {
                if entries.len() == MAX_ENTRIES {
                    return Err(format!("more than {MAX_ENTRIES} features"));
                }
                entries.extend(self.entry(&mut wire, entry)?);
            }
        }
        Ok(entries)
    }

    /// One entry of the map; `None` when its feature has no list.
    fn entry(&self, outer: &mut Wire<'_>, range: Range<u64>) -> Result<Option<Entry>, String> {
        let mut wire = outer.within(range);
        let (mut key, mut feature) = (None, None);
        while let Some((number, value)) = wire.field()? {
            match (number, value) {
                (1, Field::Bytes(range)) if range.end - range.start <= MAX_KEY => {
                    let bytes = self.bytes(range)?.into_owned();
                    key = Some(String::from_utf8(bytes).map_err(|_| "a key is not UTF-8")?);
                }
                (2, Field::Bytes(range)) => feature = Some(range),
                _ => return Err("an entry of the map is malformed".to_owned()),
            }
        }
        let key = key.ok_or("a feature has no key")?;
        let Some(feature) = feature else {
            return Ok(None);
        };
        let mut wire = wire.within(feature);
        let mut entry = None;
        while let Some((number, value)) = wire.field()? {
            let kind = match number {
                1 => Kind::Bytes,
                2 => Kind::Floats,
                3 => Kind::Integers,
                _ => return Err(format!("feature {key:?} has an unknown kind")),
            };
            let Field::Bytes(list) = value else {
                return Err(format!("feature {key:?} is malformed"));
            };
            entry = Some(Entry {
                key: key.clone(),
                kind,
                list,
            });
        }
        Ok(entry)
    }

    /// A range of the payload.
    pub(super) fn bytes(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>, String> {
        let whole = 0..self.len();
        if range.start > range.end || range.end > whole.end {
            return Err(format!(
                "bytes {} to {} lie outside the record",
                range.start, range.end
            ));
        }
        let len = (range.end - range.start) as usize;
        match self {
            Self::Memory(bytes) => Ok(Cow::Borrowed(&bytes[range.start as usize..][..len])),
            Self::File(source, record) => source
                .bytes(record.offset + range.start, len)
                .map(Cow::Owned)
                .map_err(|e| e.to_string()),
        }
    }

    /// Where the values of a bytes list lie, at most `limit` of them.
    pub(super) fn byte_values(
        &self,
        entry: &Entry,
        limit: usize,
    ) -> Result<Vec<Range<u64>>, String> {
        if entry.kind != Kind::Bytes {
            return Err(format!(
                "{} holds numbers where bytes are expected",
                entry.key
            ));
        }
        let mut values = Vec::new();
        let mut wire = Wire::new(self, entry.list.clone());
        while values.len() < limit.min(MAX_VALUES)
            && let Some(value) = wire.message(1)?
        {
            values.push(value);
        }
        Ok(values)
    }

    /// How many numbers a list of floats holds; looks at headers only.
    pub(super) fn float_count(&self, entry: &Entry) -> Result<usize, String> {
        let mut count = 0;
        let mut wire = Wire::new(self, entry.list.clone());
        while let Some((_, value)) = wire.field()? {
            count += match value {
                Field::Bytes(packed) => (packed.end - packed.start) / 4,
                _ => 1,
            };
        }
        usize::try_from(count).map_err(|_| "too many numbers".to_owned())
    }

    /// The numbers of a list of floats or integers.
    pub(super) fn numbers(&self, entry: &Entry) -> Result<Vec<f32>, String> {
        let malformed = || format!("{} is malformed", entry.key);
        let mut numbers = Vec::new();
        let mut wire = Wire::new(self, entry.list.clone());
        while let Some((number, value)) = wire.field()? {
            match (number, entry.kind, value) {
                (1, Kind::Floats, Field::Bytes(packed)) => {
                    let bytes = self.bytes(packed)?;
                    let (words, rest) = bytes.as_chunks::<4>();
                    if !rest.is_empty() {
                        return Err(malformed());
                    }
                    numbers.extend(words.iter().map(|word| f32::from_le_bytes(*word)));
                }
                (1, Kind::Floats, Field::Fixed32(bits)) => numbers.push(f32::from_bits(bits)),
                (1, Kind::Integers, Field::Bytes(packed)) => {
                    let mut packed = Wire::new(self, packed);
                    while packed.at < packed.end {
                        numbers.push(packed.varint()? as i64 as f32);
                    }
                }
                (1, Kind::Integers, Field::Varint(value)) => numbers.push(value as i64 as f32),
                (_, Kind::Bytes, _) => {
                    return Err(format!(
                        "{} holds bytes where numbers are expected",
                        entry.key
                    ));
                }
                _ => return Err(malformed()),
            }
        }
        Ok(numbers)
    }
}

/// One field of a message.
enum Field {
    Varint(u64),
    Fixed64,
    Bytes(Range<u64>),
    Fixed32(u32),
}

/// A position in a payload, with a small window of it in memory.
struct Wire<'a> {
    payload: &'a Payload<'a>,
    at: u64,
    end: u64,
    window: Cow<'a, [u8]>,
    window_at: u64,
}

/// Holds the headers of one feature with its key.
const WINDOW: u64 = 192;

impl<'a> Wire<'a> {
    fn new(payload: &'a Payload<'a>, range: Range<u64>) -> Self {
        let (window, window_at) = match payload {
            Payload::Memory(bytes) => (Cow::Borrowed(*bytes), 0),
            Payload::File(..) => (Cow::Borrowed(&[][..]), range.start),
        };
        Self {
            payload,
            at: range.start,
            end: range.end,
            window,
            window_at,
        }
    }

    /// The same window, another range.
    fn within(&self, range: Range<u64>) -> Self {
        let Self {
            payload,
            window,
            window_at,
            ..
        } = self;
        Self {
            payload,
            at: range.start,
            end: range.end,
            window: window.clone(),
            window_at: *window_at,
        }
    }

    fn byte(&mut self) -> Result<u8, String> {
        if self.at >= self.end {
            return Err(format!("it ends within a field at byte {}", self.at));
        }
        let known = |wire: &Self| {
            let offset = usize::try_from(wire.at.checked_sub(wire.window_at)?).ok()?;
            wire.window.get(offset).copied()
        };
        let byte = match known(self) {
            Some(byte) => byte,
            None => {
                let end = (self.at + WINDOW).min(self.payload.len());
                self.window = Cow::Owned(self.payload.bytes(self.at..end)?.into_owned());
                self.window_at = self.at;
                known(self).ok_or("it cannot be read")?
            }
        };
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(format!("a number is too long at byte {}", self.at))
    }

    /// Moves over `len` bytes and gives their range.
    fn skip(&mut self, len: u64) -> Result<Range<u64>, String> {
        let start = self.at;
        match start.checked_add(len).filter(|end| *end <= self.end) {
            Some(end) => {
                self.at = end;
                Ok(start..end)
            }
            None => Err(format!(
                "a field of {len} bytes at byte {start} goes past the end"
            )),
        }
    }

    /// The next field, `None` at the end.
    fn field(&mut self) -> Result<Option<(u64, Field)>, String> {
        if self.at == self.end {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => {
                self.skip(8)?;
                Field::Fixed64
            }
            2 => {
                let len = self.varint()?;
                Field::Bytes(self.skip(len)?)
            }
            5 => {
                let mut bits = 0;
                for shift in [0, 8, 16, 24] {
                    bits |= u32::from(self.byte()?) << shift;
                }
                Field::Fixed32(bits)
            }
            wire_type => return Err(format!("wire type {wire_type} at byte {}", self.at)),
        };
        Ok(Some((tag >> 3, field)))
    }

    /// The next field, which must be a message or bytes with this number.
    fn message(&mut self, number: u64) -> Result<Option<Range<u64>>, String> {
        let at = self.at;
        match self.field()? {
            None => Ok(None),
            Some((found, Field::Bytes(range))) if found == number => Ok(Some(range)),
            Some((found, _)) => Err(format!("field {found} at byte {at}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::encode;
    use super::*;

    fn sample() -> Vec<u8> {
        encode::example(&[
            ("steps/action", encode::floats(&[1.5, -2.0, 0.25])),
            (
                "steps/observation/image_0",
                encode::bytes(&[b"first".to_vec(), vec![7; 900], vec![]]),
            ),
            ("steps/is_last", encode::integers(&[0, -1, 1 << 20])),
        ])
    }

    #[test]
    fn values_are_found_in_memory_and_in_a_file() {
        let bytes = sample();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), &bytes).unwrap();
        let source = Source::open(&dir.path().join("a")).unwrap();
        let record = Record {
            index: 0,
            offset: 0,
            len: bytes.len() as u64,
        };
        for payload in [Payload::Memory(&bytes), Payload::File(&source, record)] {
            let entries = payload.entries().unwrap();
            let [action, image, last] = entries.as_slice() else {
                panic!("{entries:?}")
            };
            assert_eq!(
                (action.key.as_str(), action.kind),
                ("steps/action", Kind::Floats)
            );
            assert_eq!(payload.float_count(action).unwrap(), 3);
            assert_eq!(payload.numbers(action).unwrap(), [1.5, -2.0, 0.25]);
            assert_eq!(payload.numbers(last).unwrap(), [0.0, -1.0, 1048576.0]);
            let values = payload.byte_values(image, 10).unwrap();
            let lengths: Vec<_> = values.iter().map(|v| v.end - v.start).collect();
            assert_eq!(lengths, [5, 900, 0]);
            assert_eq!(*payload.bytes(values[0].clone()).unwrap(), *b"first");
            assert!(payload.numbers(image).is_err() && payload.byte_values(last, 1).is_err());
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let whole = sample();
        let read = |bytes: &[u8]| {
            let payload = Payload::Memory(bytes);
            let Ok(entries) = payload.entries() else {
                return;
            };
            for entry in &entries {
                let _ = (
                    payload.numbers(entry),
                    payload.byte_values(entry, 9),
                    payload.float_count(entry),
                );
            }
        };
        for at in 0..whole.len() {
            read(&whole[..at]);
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                read(&bytes);
            }
        }
        assert!(
            Payload::Memory(b"")
                .entries()
                .unwrap_err()
                .contains("is empty")
        );
        assert!(
            Payload::Memory(b"<html>")
                .entries()
                .unwrap_err()
                .contains("is not a tf.train.Example")
        );
    }
}
