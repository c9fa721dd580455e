//! From one SVG to the three formats.

use std::path::Path;
use std::sync::Arc;

use krilla::geom::Size;
use krilla::metadata::Metadata;
use krilla::page::PageSettings;
use krilla::{Document, SerializeSettings};
use krilla_svg::{SurfaceExt as _, SvgSettings};
use resvg::usvg::fontdb::Database;
use resvg::{tiny_skia, usvg};

use crate::scene::{Head, PT_PER_MM};
use crate::{Error, Result, files, font};

/// Most pixels of one PNG; 178 × 240 mm at 1200 dpi are 95 million.
const MAX_PIXELS: u64 = 120_000_000;

/// A set figure. All formats are made from its one SVG.
#[derive(Clone, Debug)]
pub struct Figure {
    svg: String,
    /// Points.
    size: [f64; 2],
    head: Head,
}

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Scalable, with live text and the fonts in the file.
    Svg,
    /// The same on one page.
    Pdf,
    /// Pixels.
    Png {
        /// Dots per inch.
        dpi: u32,
    },
}

impl Format {
    /// The format that a file name asks for; `dpi` is for PNG.
    ///
    /// # Errors
    /// [`Error::Format`] unless it ends in .svg, .pdf or .png.
    pub fn of(path: &Path, dpi: u32) -> Result<Self> {
        let ending = path
            .extension()
            .map(|e| e.to_string_lossy().to_ascii_lowercase());
        match ending.as_deref() {
            Some("svg") => Ok(Self::Svg),
            Some("pdf") => Ok(Self::Pdf),
            Some("png") => Ok(Self::Png { dpi }),
            _ => Err(Error::Format {
                path: path.to_owned(),
            }),
        }
    }
}

/// Pixels of a figure on white.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raster {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `[height, width, 4]`, opaque.
    pub rgba: Vec<u8>,
}

impl Figure {
    pub(crate) fn new(svg: String, size: [f64; 2], head: Head) -> Self {
        Self { svg, size, head }
    }

    /// The SVG.
    #[must_use]
    pub fn svg(&self) -> &str {
        &self.svg
    }

    /// Width and height on paper in millimetres.
    #[must_use]
    pub fn size_mm(&self) -> [f64; 2] {
        self.size.map(|pt| pt / PT_PER_MM)
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// [`Error::Render`] when a backend refuses the figure or it has too many pixels.
    pub fn encode(&self, format: Format) -> Result<Vec<u8>> {
        match format {
            Format::Svg => Ok(self.svg.clone().into_bytes()),
            Format::Pdf => self.pdf(),
            Format::Png { dpi } => self.png(dpi),
        }
    }

    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    /// As [`Figure::encode`]; [`Error::Io`] when the folder cannot be written to.
    pub fn export(&self, format: Format, path: &Path) -> Result<()> {
        files::write(path, "figure", &self.encode(format)?)
    }

    /// Draws the figure in so many pixels per millimetre, as for a preview.
    ///
    /// # Errors
    /// [`Error::Render`] when it has too many pixels.
    pub fn raster(&self, px_per_mm: f64) -> Result<Raster> {
        let pixmap = self.pixmap(px_per_mm * 25.4)?;
        Ok(Raster {
            width: pixmap.width(),
            height: pixmap.height(),
            rgba: pixmap.take(),
        })
    }

    fn tree(&self, format: &'static str) -> Result<usvg::Tree> {
        // The backends take the fonts from the database and would warn about the ones in the file.
        let plain = match (self.svg.find("<style>"), self.svg.find("</style>")) {
            (Some(start), Some(end)) => [
                self.svg.get(..start),
                self.svg.get(end + "</style>".len()..),
            ],
            _ => [Some(self.svg.as_str()), None],
        };
        let plain: String = plain.into_iter().flatten().collect();
        usvg::Tree::from_str(&plain, &options(font::database()))
            .map_err(|e| Error::render(format, e))
    }

    fn pixmap(&self, dpi: f64) -> Result<tiny_skia::Pixmap> {
        let tree = self.tree("PNG")?;
        let [width, height] = self.size.map(|pt| (pt / 72.0 * dpi).round().max(1.0));
        if !dpi.is_finite() || dpi <= 0.0 || width * height > MAX_PIXELS as f64 {
            return Err(Error::render(
                "PNG",
                format!("{width} × {height} pixels; choose a lower resolution"),
            ));
        }
        let mut pixmap = tiny_skia::Pixmap::new(width as u32, height as u32)
            .ok_or_else(|| Error::render("PNG", "no memory for the pixels"))?;
        pixmap.fill(tiny_skia::Color::WHITE);
        let scale = |pixels: f64, size: f32| (pixels / f64::from(size)) as f32;
        let transform = tiny_skia::Transform::from_scale(
            scale(width, tree.size().width()),
            scale(height, tree.size().height()),
        );
        resvg::render(&tree, transform, &mut pixmap.as_mut());
        Ok(pixmap)
    }

    fn png(&self, dpi: u32) -> Result<Vec<u8>> {
        let pixmap = self.pixmap(f64::from(dpi))?;
        let (width, height) = (pixmap.width(), pixmap.height());
        // Everything lies on white, so the fourth channel says nothing.
        let rgb: Vec<u8> = pixmap
            .data()
            .chunks_exact(4)
            .flat_map(|p| p.iter().take(3).copied())
            .collect();
        let mut bytes = Vec::new();
        let mut write = || -> Result<(), png::EncodingError> {
            let mut encoder = png::Encoder::new(&mut bytes, width, height);
            encoder.set_color(png::ColorType::Rgb);
            encoder.set_depth(png::BitDepth::Eight);
            encoder.set_compression(png::Compression::Balanced);
            let per_meter = (f64::from(dpi) / 0.0254).round() as u32;
            encoder.set_pixel_dims(Some(png::PixelDimensions {
                xppu: per_meter,
                yppu: per_meter,
                unit: png::Unit::Meter,
            }));
            for (key, text) in [
                ("Title", &self.head.title),
                ("Description", &self.head.description),
                ("Software", &self.head.creator),
                ("Source", &self.head.provenance),
            ] {
                // Latin-1 chunks are the ones that every tool reads; what does not fit them goes into UTF-8 ones.
                if text.chars().all(|c| u32::from(c) < 256) {
                    encoder.add_text_chunk(key.to_owned(), text.clone())?;
                } else {
                    encoder.add_itxt_chunk(key.to_owned(), text.clone())?;
                }
            }
            encoder.write_header()?.write_image_data(&rgb)
        };
        write().map_err(|e| Error::render("PNG", e))?;
        Ok(bytes)
    }

    fn pdf(&self) -> Result<Vec<u8>> {
        let tree = self.tree("PDF")?;
        let [width, height] = self.size.map(|pt| pt as f32);
        let refuse = || Error::render("PDF", "the page has no area");
        // Numbers of the file come from its content, and there is no date, so equal figures are equal files.
        let mut document = Document::new_with(SerializeSettings::default());
        let mut page =
            document.start_page_with(PageSettings::from_wh(width, height).ok_or_else(refuse)?);
        let mut surface = page.surface();
        surface
            .draw_svg(
                &tree,
                Size::from_wh(width, height).ok_or_else(refuse)?,
                SvgSettings::default(),
            )
            .ok_or_else(|| Error::render("PDF", "the drawing was refused"))?;
        surface.finish();
        page.finish();
        document.set_metadata(
            Metadata::new()
                .title(self.head.title.clone())
                .description(self.head.description.clone())
                .keywords(
                    self.head
                        .keywords
                        .iter()
                        .cloned()
                        .chain([self.head.provenance.clone()])
                        .collect(),
                )
                .creator(self.head.creator.clone())
                .language("en".to_owned()),
        );
        document
            .finish()
            .map_err(|e| Error::render("PDF", format!("{e:?}")))
    }
}

/// Our fonts and no others; pictures only from within the SVG, never from a file.
fn options(fonts: Arc<Database>) -> usvg::Options<'static> {
    usvg::Options {
        font_family: font::FAMILY.to_owned(),
        fontdb: fonts,
        image_href_resolver: usvg::ImageHrefResolver {
            resolve_data: usvg::ImageHrefResolver::default_data_resolver(),
            resolve_string: Box::new(|_, _| None),
        },
        ..usvg::Options::default()
    }
}
