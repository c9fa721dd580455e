//! What a page holds, and how it is written as SVG. Lengths are points from the top left corner.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::font::{FAMILY, Ruler, Weight};
use crate::style::{CASING_PT, LINE_PT, Stroke};
use crate::{Error, Result};

/// Points per millimetre.
pub(crate) const PT_PER_MM: f64 = 72.0 / 25.4;

/// sRGB.
pub(crate) type Rgb = [u8; 3];

pub(crate) const BLACK: Rgb = [0, 0, 0];
/// Text of second rank: 7 : 1 on white.
pub(crate) const GREY: Rgb = [89, 89, 89];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
}

/// How a line is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Type {
    pub size: f64,
    pub weight: Weight,
    pub anchor: Anchor,
    pub color: Rgb,
}

impl Type {
    /// Black, regular, from the left.
    pub(crate) const fn new(size: f64) -> Self {
        Self {
            size,
            weight: Weight::Regular,
            anchor: Anchor::Start,
            color: BLACK,
        }
    }

    pub(crate) const fn bold(self) -> Self {
        Self {
            weight: Weight::Bold,
            ..self
        }
    }

    pub(crate) const fn centred(self) -> Self {
        Self {
            anchor: Anchor::Middle,
            ..self
        }
    }

    pub(crate) const fn grey(self) -> Self {
        Self {
            color: GREY,
            ..self
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Area {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// Index of a picture in [`Scene::images`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImageId(usize);

#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// One line of text; `y` is the baseline.
    Text {
        x: f64,
        y: f64,
        kind: Type,
        text: String,
    },
    Fill {
        area: Area,
        color: Rgb,
    },
    Image {
        id: ImageId,
        area: Area,
        opacity: f64,
    },
    /// Rectangles of one opacity that may overlap without showing it.
    Patches {
        patches: Vec<(Area, Rgb)>,
        opacity: f64,
    },
    /// A filled area with holes (even–odd rule).
    Shade {
        path: String,
        color: Rgb,
        opacity: f64,
    },
    /// A line with a dark casing below it.
    Outline {
        path: String,
        stroke: Stroke,
    },
    /// A thin black line.
    Rule {
        from: [f64; 2],
        to: [f64; 2],
    },
}

/// A page.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    pub width: f64,
    pub height: f64,
    pub items: Vec<Item>,
    images: Images,
}

/// Pictures as PNG, each kept once however often it is shown.
#[derive(Debug, Default)]
struct Images {
    index: BTreeMap<Vec<u8>, usize>,
    /// By index: PNG bytes are the key above, this says how they are enlarged.
    crisp: Vec<bool>,
}

impl Scene {
    pub(crate) fn of_width(width: f64) -> Self {
        Self {
            width,
            ..Self::default()
        }
    }

    pub(crate) fn push(&mut self, item: Item) {
        self.items.push(item);
    }

    /// Adds a picture, `rgb` of `width × height × 3` bytes. `crisp`: pixels stay squares when enlarged.
    pub(crate) fn image(
        &mut self,
        width: u32,
        height: u32,
        rgb: &[u8],
        crisp: bool,
    ) -> Result<ImageId> {
        let mut png = Vec::new();
        let mut encoder = png::Encoder::new(&mut png, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Balanced);
        let write =
            |encoder: png::Encoder<'_, &mut Vec<u8>>| encoder.write_header()?.write_image_data(rgb);
        write(encoder).map_err(|e| Error::render("PNG", e))?;
        let next = self.images.crisp.len();
        let index = *self.images.index.entry(png).or_insert(next);
        if index == next {
            self.images.crisp.push(crisp);
        }
        Ok(ImageId(index))
    }

    /// The page as SVG with embedded pictures and fonts.
    pub(crate) fn svg(&self, ruler: &Ruler, head: &Head) -> Result<String> {
        let mut out = String::new();
        self.write(&mut out, ruler, head)?;
        Ok(out)
    }

    fn write(&self, out: &mut String, ruler: &Ruler, head: &Head) -> Result<()> {
        // Writing to a string cannot fail.
        let mm = |pt: f64| num(pt / PT_PER_MM);
        let _ = writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}mm\" height=\"{}mm\" viewBox=\"0 0 {} {}\" \
             font-family=\"{FAMILY}, Helvetica, Arial, sans-serif\" role=\"img\">\n<title>{}</title>\n<desc>{}</desc>",
            mm(self.width),
            mm(self.height),
            num(self.width),
            num(self.height),
            escape(&head.title),
            escape(&head.description),
        );
        let _ = writeln!(
            out,
            "<metadata><rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\" \
             xmlns:dc=\"http://purl.org/dc/elements/1.1/\"><rdf:Description rdf:about=\"\"><dc:title>{}</dc:title>\
             <dc:creator>{}</dc:creator><dc:description>{}</dc:description><dc:source>{}</dc:source></rdf:Description>\
             </rdf:RDF></metadata>",
            escape(&head.title),
            escape(&head.creator),
            escape(&head.description),
            escape(&head.provenance),
        );
        self.write_fonts(out, ruler)?;
        self.write_images(out);
        let _ = writeln!(
            out,
            "<rect width=\"{}\" height=\"{}\" fill=\"#fff\"/>",
            num(self.width),
            num(self.height)
        );
        for item in &self.items {
            write_item(out, item);
        }
        out.push_str("</svg>\n");
        Ok(())
    }

    fn write_fonts(&self, out: &mut String, ruler: &Ruler) -> Result<()> {
        let mut used: BTreeMap<Weight, BTreeSet<char>> = BTreeMap::new();
        for item in &self.items {
            if let Item::Text { kind, text, .. } = item {
                used.entry(kind.weight).or_default().extend(text.chars());
            }
        }
        if used.is_empty() {
            return Ok(());
        }
        out.push_str("<style>");
        for (weight, chars) in &used {
            let _ = write!(
                out,
                "@font-face{{font-family:{FAMILY};font-weight:{};src:url(data:font/ttf;base64,{})}}",
                css_weight(*weight),
                BASE64.encode(ruler.subset(*weight, chars)?)
            );
        }
        out.push_str("</style>\n");
        Ok(())
    }

    fn write_images(&self, out: &mut String) {
        if self.images.index.is_empty() {
            return;
        }
        let mut by_index: Vec<(usize, &Vec<u8>)> =
            self.images.index.iter().map(|(png, &i)| (i, png)).collect();
        by_index.sort_unstable_by_key(|(index, _)| *index);
        out.push_str("<defs>\n");
        for ((index, png), crisp) in by_index.into_iter().zip(&self.images.crisp) {
            let rendering = if *crisp {
                " image-rendering=\"optimizeSpeed\" style=\"image-rendering:pixelated\""
            } else {
                ""
            };
            let _ = writeln!(
                out,
                "<image id=\"i{index}\" width=\"1\" height=\"1\" preserveAspectRatio=\"none\"{rendering} \
                 href=\"data:image/png;base64,{}\"/>",
                BASE64.encode(png)
            );
        }
        out.push_str("</defs>\n");
    }
}

/// What a file says about itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub title: String,
    pub description: String,
    /// JSON.
    pub provenance: String,
    pub creator: String,
    pub keywords: Vec<String>,
}

fn write_item(out: &mut String, item: &Item) {
    let _ = match item {
        Item::Text { x, y, kind, text } => {
            let anchor = match kind.anchor {
                Anchor::Start => "",
                Anchor::Middle => " text-anchor=\"middle\"",
            };
            let weight = match kind.weight {
                Weight::Regular => "",
                Weight::Bold => " font-weight=\"700\"",
            };
            writeln!(
                out,
                "<text x=\"{}\" y=\"{}\" font-size=\"{}\"{weight}{anchor} fill=\"{}\">{}</text>",
                num(*x),
                num(*y),
                num(kind.size),
                hex(kind.color),
                escape(text)
            )
        }
        Item::Fill { area, color } => write_area(out, area, *color),
        Item::Image { id, area, opacity } => writeln!(
            out,
            "<use href=\"#i{}\" transform=\"translate({} {}) scale({} {})\"{}/>",
            id.0,
            num(area.x),
            num(area.y),
            num(area.width),
            num(area.height),
            opacity_attribute(*opacity)
        ),
        Item::Patches { patches, opacity } => {
            // Crisp edges, so that no ground shines through between neighbours.
            let _ = writeln!(
                out,
                "<g shape-rendering=\"crispEdges\"{}>",
                opacity_attribute(*opacity)
            );
            for (area, color) in patches {
                let _ = write_area(out, area, *color);
            }
            writeln!(out, "</g>")
        }
        Item::Shade {
            path,
            color,
            opacity,
        } => writeln!(
            out,
            "<path d=\"{path}\" fill=\"{}\" fill-rule=\"evenodd\"{}/>",
            hex(*color),
            opacity_attribute(*opacity)
        ),
        Item::Outline { path, stroke } => {
            let dash: Vec<String> = stroke.dash.iter().map(|d| num(*d)).collect();
            let dash = if dash.is_empty() {
                String::new()
            } else {
                format!(" stroke-dasharray=\"{}\"", dash.join(" "))
            };
            writeln!(
                out,
                "<g fill=\"none\" stroke-linejoin=\"miter\"><path d=\"{path}\" stroke=\"#000\" stroke-width=\"{}\"/>\
                 <path d=\"{path}\" stroke=\"{}\" stroke-width=\"{}\"{dash}/></g>",
                num(CASING_PT),
                hex(stroke.color),
                num(LINE_PT)
            )
        }
        Item::Rule { from, to } => writeln!(
            out,
            "<path d=\"M{} {}L{} {}\" stroke=\"#000\" stroke-width=\"0.5\"/>",
            num(from[0]),
            num(from[1]),
            num(to[0]),
            num(to[1])
        ),
    };
}

fn write_area(out: &mut String, area: &Area, color: Rgb) -> std::fmt::Result {
    writeln!(
        out,
        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>",
        num(area.x),
        num(area.y),
        num(area.width),
        num(area.height),
        hex(color)
    )
}

fn opacity_attribute(opacity: f64) -> String {
    if opacity < 1.0 {
        format!(" opacity=\"{}\"", num(opacity))
    } else {
        String::new()
    }
}

fn css_weight(weight: Weight) -> u16 {
    match weight {
        Weight::Regular => 400,
        Weight::Bold => 700,
    }
}

/// A closed polygon through points.
pub(crate) fn polygon(points: impl IntoIterator<Item = [f64; 2]>) -> String {
    let mut path = String::new();
    for (i, [x, y]) in points.into_iter().enumerate() {
        let _ = write!(
            path,
            "{}{} {}",
            if i == 0 { 'M' } else { 'L' },
            num(x),
            num(y)
        );
    }
    path.push('Z');
    path
}

/// A number with at most three decimals: a thousandth of a point is a third of a micrometre.
pub(crate) fn num(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" || text.is_empty() {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

fn hex([r, g, b]: Rgb) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Text for XML 1.0: markup escaped, characters that XML cannot hold replaced by spaces.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push(' '),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(num(0.0), "0");
        assert_eq!(num(-0.0001), "0");
        assert_eq!(num(12.0), "12");
        assert_eq!(num(100.0), "100");
        assert_eq!(num(1.23456), "1.235");
    }

    #[test]
    fn hostile_text_stays_text() {
        let text = escape("</text><script>\u{0}\u{1b}&\"'\u{FFFF}");
        assert!(!text.contains('<') && !text.contains('\u{0}') && !text.contains('\u{1b}'));
        parse(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1\" height=\"1\"><text>{text}</text></svg>"
        ));
    }

    fn parse(svg: &str) {
        resvg::usvg::Tree::from_str(svg, &resvg::usvg::Options::default()).unwrap();
    }

    #[test]
    fn a_picture_shown_twice_is_kept_once() {
        let mut scene = Scene::default();
        let a = scene.image(1, 1, &[1, 2, 3], true).unwrap();
        let b = scene.image(1, 1, &[3, 2, 1], true).unwrap();
        assert_ne!(a, b);
        assert_eq!(a, scene.image(1, 1, &[1, 2, 3], true).unwrap());
        assert_eq!(scene.images.crisp.len(), 2);
    }
}
