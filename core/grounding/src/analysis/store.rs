//! Attention weights of many frames in bounded memory.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt as _;

use crate::attncap::read_exact_at;
use crate::{Error, Result};

/// In which form weights are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// As captured.
    #[default]
    Single,
    /// As f16: a weight loses what lies below 1/2048 of it. What was recorded as f16 loses nothing.
    Half,
    /// As f16, the newest frames in a temporary file.
    Disk,
}

impl Form {
    /// The name shown to people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Single => "f32 in memory",
            Self::Half => "f16 in memory",
            Self::Disk => "f16, partly on disk",
        }
    }
}

/// Where the weights of one frame are.
#[derive(Clone)]
enum Place {
    Single(Arc<[f32]>),
    Half(Arc<[f16]>),
    /// Bytes from `offset` of the file.
    Disk {
        offset: u64,
        len: usize,
    },
}

/// Attention weights, up to a limit in memory: first as they come, then as f16, then in a file that has no name and goes
/// with the program. All frames are in one form as far as precision goes, so that numbers of frames stay comparable.
pub(super) struct Store {
    limit: usize,
    places: Vec<Place>,
    /// Bytes in memory.
    bytes: usize,
    form: Form,
    file: Option<File>,
    end: u64,
}

impl Store {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            places: Vec::new(),
            bytes: 0,
            form: Form::Single,
            file: None,
            end: 0,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the weights of one more frame and returns its number, and whether weights of earlier frames were rounded.
    pub(super) fn push(&mut self, weights: Arc<[f32]>) -> Result<(usize, bool)> {
        let mut rounded = false;
        if self.form == Form::Single && self.bytes + size_of_val(&*weights) > self.limit {
            rounded = self.halve();
        }
        let number = self.places.len();
        let place = match self.form {
            Form::Single => {
                self.bytes += size_of_val(&*weights);
                Place::Single(weights)
            }
            Form::Half | Form::Disk => {
                let half: Vec<f16> = weights.iter().map(|&w| f16::from_f32(w)).collect();
                if self.bytes + size_of_val(&*half) > self.limit {
                    self.append(&half)?
                } else {
                    self.bytes += size_of_val(&*half);
                    Place::Half(half.into())
                }
            }
        };
        self.places.push(place);
        Ok((number, rounded))
    }

    /// Turns everything into f16; returns whether that changed a weight.
    fn halve(&mut self) -> bool {
        self.form = Form::Half;
        self.bytes = 0;
        let mut rounded = false;
        for place in &mut self.places {
            if let Place::Single(weights) = place {
                let half: Vec<f16> = weights.iter().map(|&w| f16::from_f32(w)).collect();
                rounded |= half.iter().zip(&**weights).any(|(h, &w)| h.to_f32() != w);
                self.bytes += size_of_val(&*half);
                *place = Place::Half(half.into());
            }
        }
        rounded
    }

    fn append(&mut self, half: &[f16]) -> Result<Place> {
        let io = |what| {
            move |source| Error::Io {
                what,
                path: std::env::temp_dir(),
                source,
            }
        };
        if self.file.is_none() {
            self.file = Some(tempfile::tempfile().map_err(io("cannot make a temporary file in"))?);
        }
        self.form = Form::Disk;
        let offset = self.end;
        if let Some(file) = &mut self.file {
            let write = |file: &mut File| {
                file.seek(SeekFrom::Start(offset))?;
                file.write_all(bytemuck::cast_slice(half))
            };
            write(file).map_err(io("cannot write attention to a temporary file in"))?;
        }
        self.end += size_of_val(half) as u64;
        Ok(Place::Disk {
            offset,
            len: half.len(),
        })
    }

    /// All weights of a frame.
    pub(super) fn read(&self, number: usize) -> Result<Arc<[f32]>> {
        let place = self.place(number)?;
        if let Place::Single(weights) = place {
            return Ok(weights.clone());
        }
        let len = match place {
            Place::Single(weights) => weights.len(),
            Place::Half(weights) => weights.len(),
            Place::Disk { len, .. } => *len,
        };
        let mut weights = vec![0.0; len];
        self.read_part(number, 0..len, &mut weights)?;
        Ok(weights.into())
    }

    /// A range of the weights of a frame, as one head.
    pub(super) fn read_part(
        &self,
        number: usize,
        range: Range<usize>,
        to: &mut [f32],
    ) -> Result<()> {
        let outside = || Error::Shape(format!("weights {range:?} of frame {number} do not exist"));
        match self.place(number)? {
            Place::Single(weights) => {
                to.copy_from_slice(weights.get(range.clone()).ok_or_else(outside)?);
            }
            Place::Half(weights) => weights
                .get(range.clone())
                .ok_or_else(outside)?
                .convert_to_f32_slice(to),
            Place::Disk { offset, len } => {
                if range.end > *len {
                    return Err(outside());
                }
                let mut half = vec![f16::ZERO; range.len()];
                let file = self.file.as_ref().ok_or_else(outside)?;
                let from = offset + (range.start * size_of::<f16>()) as u64;
                read_exact_at(file, bytemuck::cast_slice_mut(&mut half), from).map_err(
                    |source| Error::Io {
                        what: "cannot read attention back from a temporary file in",
                        path: std::env::temp_dir(),
                        source,
                    },
                )?;
                half.convert_to_f32_slice(to);
            }
        }
        Ok(())
    }

    fn place(&self, number: usize) -> Result<&Place> {
        self.places
            .get(number)
            .ok_or_else(|| Error::Shape(format!("there is no frame {number}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(frame: usize) -> Arc<[f32]> {
        (0..100)
            .map(|i| (frame * 100 + i) as f32 / 1024.0)
            .collect()
    }

    #[test]
    fn weights_come_back_from_every_form() {
        // Room for five frames as f32, so for ten as f16.
        let mut store = Store::new(2000);
        for frame in 0..12 {
            let (number, rounded) = store.push(weights(frame)).unwrap();
            assert_eq!((number, rounded), (frame, false));
            let form = match frame {
                0..=4 => Form::Single,
                5..=9 => Form::Half,
                _ => Form::Disk,
            };
            assert_eq!(store.form(), form, "frame {frame}");
            assert!(store.bytes() <= 2000);
        }
        for frame in 0..12 {
            assert_eq!(store.read(frame).unwrap(), weights(frame));
            let mut part = [0.0; 7];
            store.read_part(frame, 93..100, &mut part).unwrap();
            assert_eq!(part, weights(frame)[93..]);
            assert!(store.read_part(frame, 94..101, &mut part).is_err());
        }
        assert!(store.read(12).is_err());
    }

    #[test]
    fn rounding_is_told() {
        let mut store = Store::new(400);
        assert!(!store.push([0.1; 100].into()).unwrap().1);
        assert!(store.push([0.1; 100].into()).unwrap().1);
        assert_eq!(store.read(0).unwrap(), store.read(1).unwrap());
    }
}
