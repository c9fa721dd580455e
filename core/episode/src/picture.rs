//! PNG and JPEG from strangers: the declared size is read and judged before a decoder sees the bytes.

use crate::Image;
use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::{CompressionType, FilterType, PngDecoder, PngEncoder};
use image::{ColorType, DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, Limits};
use std::fmt;
use std::io::Cursor;

/// Largest picture that is decoded: 192 MiB as RGB.
const MAX_PIXELS: u64 = 1 << 26;
/// Memory that a PNG may take beside its pixels, for colour profiles and texts, which are packed and can unpack to
/// anything.
const MAX_EXTRAS: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Png,
    Jpeg,
}

/// What the header of a picture declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    codec: Codec,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codec = match self.codec {
            Codec::Png => "PNG",
            Codec::Jpeg => "JPEG",
        };
        write!(f, "the {codec} declares {}x{}", self.width, self.height)
    }
}

/// Reads the declared size; takes no memory.
pub(crate) fn header(bytes: &[u8]) -> Result<Header, String> {
    let be16 = |at: usize| {
        bytes
            .get(at..at + 2)
            .and_then(|b| b.try_into().ok())
            .map(u16::from_be_bytes)
    };
    let be32 = |at: usize| {
        bytes
            .get(at..at + 4)
            .and_then(|b| b.try_into().ok())
            .map(u32::from_be_bytes)
    };
    if bytes.is_empty() {
        return Err("the picture has no bytes".to_owned());
    }
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return match (bytes.get(12..16), be32(16), be32(20)) {
            (Some(b"IHDR"), Some(width), Some(height)) => Ok(Header {
                codec: Codec::Png,
                width,
                height,
            }),
            _ => Err("the PNG ends within its header".to_owned()),
        };
    }
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return Err("the picture is neither PNG nor JPEG".to_owned());
    }
    // Segments up to the frame header (SOF0 to SOF15 without DHT, JPG, DAC): marker, length, precision, height, width.
    let mut at = 2;
    loop {
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(0xff), Some(0xff)) => at += 1,
            (Some(0xff), Some(0x01 | 0xd0..=0xd8)) => at += 2,
            (Some(0xff), Some(marker)) => {
                let Some(length) = be16(at + 2).filter(|len| *len >= 2) else {
                    break;
                };
                if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
                    let (Some(height), Some(width)) = (be16(at + 5), be16(at + 7)) else {
                        break;
                    };
                    return Ok(Header {
                        codec: Codec::Jpeg,
                        width: width.into(),
                        height: height.into(),
                    });
                }
                at += 2 + usize::from(length);
            }
            _ => break,
        }
    }
    Err("the JPEG has no frame header".to_owned())
}

/// Decodes a picture that must have the size `[width, height]`, which `declared_by` promised.
pub(crate) fn decode(bytes: &[u8], size: [u32; 2], declared_by: &str) -> Result<Image, String> {
    let header = header(bytes)?;
    if [header.width, header.height] != size {
        return Err(format!(
            "{header}, {declared_by} says {}x{}",
            size[0], size[1]
        ));
    }
    let pixels = u64::from(header.width) * u64::from(header.height);
    if pixels == 0 || pixels > MAX_PIXELS {
        return Err(format!("{header}, 1 to {MAX_PIXELS} pixels are read"));
    }
    match header.codec {
        Codec::Png => rgb(png_decoder(bytes, pixels), header),
        Codec::Jpeg => rgb(JpegDecoder::new(Cursor::new(bytes)), header),
    }
}

fn png_decoder(bytes: &[u8], pixels: u64) -> image::ImageResult<PngDecoder<Cursor<&[u8]>>> {
    let mut limits = Limits::no_limits();
    // Four channels at most; 16 bits a channel are refused.
    limits.max_alloc = Some(4 * pixels + MAX_EXTRAS);
    PngDecoder::with_limits(Cursor::new(bytes), limits)
}

fn rgb<D: ImageDecoder>(decoder: image::ImageResult<D>, header: Header) -> Result<Image, String> {
    let broken = |e: image::ImageError| format!("the picture cannot be decoded: {e}");
    let decoder = decoder.map_err(broken)?;
    let Header { width, height, .. } = header;
    if decoder.dimensions() != (width, height) {
        return Err(format!("{header} and decodes to another size"));
    }
    let color = decoder.color_type();
    let rgb = match color {
        ColorType::Rgb8 => {
            let mut rgb = vec![0; width as usize * height as usize * 3];
            decoder.read_image(&mut rgb).map_err(broken)?;
            rgb
        }
        ColorType::L8 | ColorType::La8 | ColorType::Rgba8 => DynamicImage::from_decoder(decoder)
            .map_err(broken)?
            .into_rgb8()
            .into_raw(),
        _ => {
            return Err(format!(
                "the picture is {color:?}, 8 bits a channel are read"
            ));
        }
    };
    Ok(Image { width, height, rgb })
}

/// Encodes as PNG; the same picture always gives the same bytes.
pub(crate) fn encode_png(image: &Image) -> Result<Vec<u8>, String> {
    let mut png = Vec::new();
    PngEncoder::new_with_quality(&mut png, CompressionType::Fast, FilterType::Adaptive)
        .write_image(
            &image.rgb,
            image.width,
            image.height,
            ExtendedColorType::Rgb8,
        )
        .map_err(|e| e.to_string())?;
    Ok(png)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::jpeg::JpegEncoder;

    fn gradient(width: u32, height: u32) -> Image {
        let rgb = (0..height)
            .flat_map(|y| (0..width).flat_map(move |x| [x as u8 * 3, y as u8 * 5, 90]))
            .collect();
        Image { width, height, rgb }
    }

    #[test]
    fn png_round_trips_and_is_reproducible() {
        let image = gradient(20, 13);
        let png = encode_png(&image).unwrap();
        assert_eq!(png, encode_png(&image).unwrap());
        assert_eq!(decode(&png, [20, 13], "test").unwrap(), image);
    }

    #[test]
    fn jpeg_header_is_found() {
        let image = gradient(40, 24);
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, 95)
            .write_image(&image.rgb, 40, 24, ExtendedColorType::Rgb8)
            .unwrap();
        assert_eq!(
            header(&jpeg).unwrap(),
            Header {
                codec: Codec::Jpeg,
                width: 40,
                height: 24
            }
        );
        let decoded = decode(&jpeg, [40, 24], "test").unwrap();
        let worst = decoded
            .rgb
            .iter()
            .zip(&image.rgb)
            .map(|(a, b)| a.abs_diff(*b))
            .max()
            .unwrap();
        assert!(worst < 24, "{worst}");
    }

    #[test]
    fn sizes_are_judged_before_decoding() {
        let mut png = encode_png(&gradient(4, 4)).unwrap();
        png[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        let side = i32::MAX as u32;
        assert!(
            decode(&png, [4, 4], "info.json")
                .unwrap_err()
                .contains("info.json says 4x4")
        );
        assert!(
            decode(&png, [side, side], "test")
                .unwrap_err()
                .contains("pixels are read")
        );
    }

    #[test]
    fn a_color_profile_takes_no_more_memory_than_its_picture() {
        let image = gradient(4, 4);
        for (profile, is_kept) in [(vec![0; 4096], true), (vec![0; 64 << 20], false)] {
            let mut png = Vec::new();
            let mut encoder = PngEncoder::new(&mut png);
            encoder.set_icc_profile(profile).unwrap();
            encoder
                .write_image(&image.rgb, 4, 4, ExtendedColorType::Rgb8)
                .unwrap();
            assert!(png.len() < 1 << 20, "{}", png.len());
            let mut decoder = png_decoder(&png, 16).unwrap();
            assert_eq!(decoder.icc_profile().unwrap().is_some(), is_kept);
            assert_eq!(decode(&png, [4, 4], "test").unwrap(), image);
        }
    }

    #[test]
    fn any_cut_of_a_picture_is_an_error() {
        let image = gradient(16, 16);
        let png = encode_png(&image).unwrap();
        let mut jpeg = Vec::new();
        JpegEncoder::new(&mut jpeg)
            .write_image(&image.rgb, 16, 16, ExtendedColorType::Rgb8)
            .unwrap();
        for whole in [png, jpeg] {
            for len in 0..whole.len() / 2 {
                assert!(decode(&whole[..len], [16, 16], "test").is_err(), "{len}");
            }
        }
    }
}
