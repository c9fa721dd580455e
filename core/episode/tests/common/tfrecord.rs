//! Writes tf.train.Example records and the TFRecord frames around them, independently of the reader.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    reason = "tests"
)]

fn masked_crc(bytes: &[u8]) -> [u8; 4] {
    let crc = crc32c::crc32c(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// One record of a file.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    [
        &announce(payload.len() as u64)[..],
        payload,
        &masked_crc(payload),
    ]
    .concat()
}

/// The head of a record of `len` bytes.
pub fn announce(len: u64) -> Vec<u8> {
    let length = len.to_le_bytes();
    [&length[..], &masked_crc(&length)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn field(number: u8, payload: &[u8]) -> Vec<u8> {
    [
        &[number << 3 | 2][..],
        &varint(payload.len() as u64),
        payload,
    ]
    .concat()
}

/// A feature that is a bytes list.
pub fn bytes(values: &[Vec<u8>]) -> Vec<u8> {
    field(
        1,
        &values.iter().flat_map(|v| field(1, v)).collect::<Vec<_>>(),
    )
}

/// A feature that is a float list, packed.
pub fn floats(values: &[f32]) -> Vec<u8> {
    field(
        2,
        &field(
            1,
            &values
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<_>>(),
        ),
    )
}

/// A feature that is an integer list, packed.
pub fn integers(values: &[i64]) -> Vec<u8> {
    field(
        3,
        &field(
            1,
            &values
                .iter()
                .flat_map(|v| varint(*v as u64))
                .collect::<Vec<_>>(),
        ),
    )
}

/// A record.
pub fn example(features: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entry = |(key, feature): &(&str, Vec<u8>)| {
        field(1, &[field(1, key.as_bytes()), field(2, feature)].concat())
    };
    field(1, &features.iter().map(entry).collect::<Vec<_>>().concat())
}
