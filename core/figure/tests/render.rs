//! Sets small synthetic figures and looks at the files: geometry, colours, fonts, metadata, repeatability.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use episode::Image;
use figure::{
    ArmProvenance, BoxKind, Cell, CellNumbers, ColorMap, ColumnHead, FigureData, Format, MapLayer,
    MaskLayer, PatchEdges, Provenance, Row, Scale, Style, Width, render,
};
use grounding::{Grid, HeatMap, Mask, Rect};

/// A table with two blocks, seen by a camera of 64 × 64 pixels.
fn picture(shift: u32) -> Arc<Image> {
    let mut image = Image::filled(64, 64, [181, 150, 118]);
    let mut paint = |x0: u32, y0: u32, x1: u32, y1: u32, color: [u8; 3]| {
        for y in y0..y1 {
            for x in x0..x1 {
                let at = ((y * 64 + x) * 3) as usize;
                image.rgb[at..at + 3].copy_from_slice(&color);
            }
        }
    };
    paint(0, 0, 64, 14, [228, 232, 236]);
    paint(12 + shift, 30, 24 + shift, 42, [200, 40, 40]);
    paint(40, 20, 52, 31, [40, 80, 190]);
    paint(30, 48, 46, 56, [70, 160, 90]);
    Arc::new(image)
}

fn grid() -> Grid {
    Grid::new(8, 8)
}

/// Attention that falls off from one patch.
fn map(row: f64, col: f64, peak: f64) -> Arc<HeatMap> {
    let values = (0..64)
        .map(|p| {
            let (dy, dx) = ((p / 8) as f64 - row, (p % 8) as f64 - col);
            peak * (-(dx * dx + dy * dy) / 3.0).exp() + 0.0006 * ((p * 37 % 11) as f64)
        })
        .collect();
    Arc::new(HeatMap::new(grid(), values).unwrap())
}

fn mask(patches: &[usize]) -> Mask {
    Mask::new(grid(), (0..64).map(|p| patches.contains(&p)).collect()).unwrap()
}

/// A grid that covers the whole picture in equal patches.
fn even(grid: Grid) -> PatchEdges {
    let lines = |n: usize| (0..=n).map(|i| i as f64 / n as f64).collect();
    PatchEdges {
        x: lines(grid.cols),
        y: lines(grid.rows),
    }
}

fn example(rows: usize) -> FigureData {
    let row = |index: usize| {
        let shift = 4 * index as u32;
        let x = f64::from(shift);
        let truth = Rect::new(
            (12.0 + x) / 64.0,
            30.0 / 64.0,
            (24.0 + x) / 64.0,
            42.0 / 64.0,
        );
        let detector = Rect::new(
            (10.0 + x) / 64.0,
            28.0 / 64.0,
            (25.0 + x) / 64.0,
            44.0 / 64.0,
        );
        let col = 1.8 + index as f64 * 0.5;
        let layer = |map, quantity: &str| {
            Some(MapLayer {
                map,
                edges: even(grid()),
                quantity: quantity.into(),
                is_signed: false,
            })
        };
        let first = 3 * 8 + col as usize;
        let region = mask(&[
            first,
            first + 1,
            first + 8,
            first + 9,
            first + 16,
            first + 17,
        ]);
        let masks = |is_spotlight| {
            Some(MaskLayer {
                first: region.clone(),
                second: Some(mask(&[6 * 8 + 4, 6 * 8 + 5])),
                edges: even(grid()),
                is_spotlight,
            })
        };
        let numbers = |iou, mass_inside, hit| {
            Some(CellNumbers {
                iou,
                mass_inside,
                hit,
            })
        };
        let picture = Some(picture(shift));
        Row {
            label: format!(
                "“put the red block on the green plate” · episode {index}, step {}",
                12 * index
            ),
            aspect: 1.0,
            cells: vec![
                Cell {
                    picture: picture.clone(),
                    ..Cell::default()
                },
                Cell {
                    picture: picture.clone(),
                    map: layer(
                        map(5.0, 6.0 - col / 2.0, 0.006),
                        "attention, mean of all heads",
                    ),
                    numbers: numbers(None, Some(0.07), false),
                    ..Cell::default()
                },
                Cell {
                    picture: picture.clone(),
                    map: layer(
                        map(4.0, col, 0.031 + 0.01 * index as f64),
                        "attention, sum of 3 heads",
                    ),
                    numbers: numbers(None, Some(0.46), true),
                    ..Cell::default()
                },
                Cell {
                    picture: picture.clone(),
                    mask: masks(true),
                    numbers: numbers(Some(0.61), None, true),
                    ..Cell::default()
                },
                Cell {
                    picture,
                    mask: masks(false),
                    boxes: vec![(BoxKind::Detector, detector), (BoxKind::Truth, truth)],
                    numbers: numbers(Some(0.61), None, true),
                    ..Cell::default()
                },
            ],
        }
    };
    let head = |title: &str| ColumnHead {
        arm: None,
        title: title.into(),
    };
    FigureData {
        title: "Where the policy looks while it reaches".into(),
        caption: "Attention of the read-out token to the patches of the static camera. The mean over all heads is drawn to \
                  the gripper, the three selected heads to the block that the instruction names."
            .into(),
        columns: vec![
            head("Camera static"),
            head("Mean of all heads"),
            head("Selected heads"),
            head("Gaze mask"),
            head("Mask and boxes"),
        ],
        rows: (0..rows).map(row).collect(),
        reference: Some(BoxKind::Truth),
        provenance: Provenance {
            arms: vec![ArmProvenance {
                name: String::new(),
                model: "gazelab-nano".into(),
                source: "mae-selected-1/step-00002000".into(),
                query: "read-out".into(),
                heads: vec!["L2H1".into(), "L3H0".into(), "L3H5".into()],
                heads_from: "voted over the 2 frames shown".into(),
                selection_id: "3f9a1c2b".into(),
                ..ArmProvenance::default()
            }],
            datasets: vec!["tabletop:goal?episodes=8&env=A&seed=3".into()],
            reference: Some(BoxKind::Truth),
            gazelab: "0.1.0".into(),
            ..Provenance::default()
        },
    }
}

/// Files stay here to be looked at.
fn out(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Output of a poppler tool, `None` where it is not installed.
fn poppler(tool: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(tool).args(arguments).output() {
        Ok(output) => {
            assert!(
                output.status.success(),
                "{tool}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(
                output.stderr.is_empty(),
                "{tool}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(_) => {
            eprintln!("not found, skipped: {tool}");
            None
        }
    }
}

fn decode(png: &[u8]) -> (u32, u32, Vec<u8>, png::Info<'static>) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png))
        .read_info()
        .unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    let info = reader.info().clone();
    (info.width, info.height, pixels, info)
}

#[test]
fn all_formats_are_written_and_repeat_byte_for_byte() {
    for (name, style, rows) in [
        (
            "double",
            Style {
                letters: true,
                ..Style::default()
            },
            2,
        ),
        (
            "single",
            Style {
                width: Width::Single,
                text_pt: 7.0,
                scale: Scale::Figure,
                ..Style::default()
            },
            2,
        ),
        (
            "cell",
            Style {
                scale: Scale::Cell,
                color_map: ColorMap::Magma,
                text_pt: 9.0,
                ..Style::default()
            },
            1,
        ),
        (
            "fixed",
            Style {
                scale: Scale::Fixed(0.02),
                width: Width::Mm(120.0),
                ..Style::default()
            },
            1,
        ),
    ] {
        let figure = render(&example(rows), &style).unwrap();
        let again = render(&example(rows), &style).unwrap();
        for (format, ending) in [
            (Format::Svg, "svg"),
            (Format::Pdf, "pdf"),
            (Format::Png { dpi: 300 }, "png"),
        ] {
            let bytes = figure.encode(format).unwrap();
            assert_eq!(bytes, again.encode(format).unwrap(), "{name}.{ending}");
            figure
                .export(format, &out(&format!("{name}.{ending}")))
                .unwrap();
            eprintln!("{name}.{ending}: {} kB", bytes.len() / 1000);
        }
    }
}

#[test]
fn the_svg_is_well_formed_and_holds_live_text_and_its_fonts() {
    let figure = render(&example(1), &Style::default()).unwrap();
    let document = resvg::usvg::roxmltree::Document::parse(figure.svg()).unwrap();
    let texts: Vec<&str> = document
        .descendants()
        .filter(|n| n.has_tag_name("text"))
        .filter_map(|n| n.text())
        .collect();
    assert!(texts.contains(&"Selected heads"));
    assert!(texts.contains(&"IoU 0.61 · hit"));
    assert!(figure.svg().contains("@font-face"));
    assert!(!figure.svg().contains("NaN") && !figure.svg().contains("inf"));
    let root = document.root_element();
    assert_eq!(root.attribute("width"), Some("178mm"));
    let metadata = document
        .descendants()
        .find(|n| n.tag_name().name() == "source")
        .unwrap()
        .text()
        .unwrap();
    let provenance: serde_json::Value = serde_json::from_str(metadata).unwrap();
    assert_eq!(provenance["arms"][0]["selection_id"], "3f9a1c2b");
    assert!(provenance["arms"][0]["selection"]["k"].is_number());
}

#[test]
fn the_pdf_has_its_fonts_its_text_and_its_size() {
    let path = out("fonts.pdf");
    render(&example(2), &Style::default())
        .unwrap()
        .export(Format::Pdf, &path)
        .unwrap();
    let path = path.to_str().unwrap();
    if let Some(fonts) = poppler("pdffonts", &[path]) {
        let lines: Vec<&str> = fonts.lines().skip(2).collect();
        assert_eq!(lines.len(), 2, "{fonts}");
        for line in lines {
            assert!(line.contains("Roboto"), "{fonts}");
            // emb sub uni
            assert!(line.contains("yes yes yes"), "{fonts}");
        }
    }
    if let Some(text) = poppler("pdftotext", &["-layout", path, "-"]) {
        for wanted in [
            "Where the policy looks",
            "Selected heads",
            "IoU 0.61 · hit",
            "3f9a1c2b",
            "ground-truth box",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
    }
    if let Some(info) = poppler("pdfinfo", &[path]) {
        assert!(
            info.contains("Where the policy looks while it reaches"),
            "{info}"
        );
        assert!(info.contains("Gazelab 0.1.0"), "{info}");
        assert!(info.contains("gazelab-nano"), "{info}");
        assert!(info.contains("Page size:       504.567"), "{info}");
        assert!(!info.contains("CreationDate"), "{info}");
    }
    poppler(
        "pdftoppm",
        &["-r", "200", "-png", path, out("fonts").to_str().unwrap()],
    );
}

#[test]
fn the_png_is_as_large_as_its_millimetres_and_says_where_it_comes_from() {
    for dpi in [72, 150, 600] {
        let figure = render(
            &example(1),
            &Style {
                width: Width::Single,
                ..Style::default()
            },
        )
        .unwrap();
        let (width, height, _, info) = decode(&figure.encode(Format::Png { dpi }).unwrap());
        let [w, h] = figure.size_mm();
        assert_eq!(w, 85.0);
        assert_eq!(f64::from(width), (w / 25.4 * f64::from(dpi)).round());
        assert_eq!(f64::from(height), (h / 25.4 * f64::from(dpi)).round());
        let dims = info.pixel_dims.unwrap();
        assert_eq!(dims.xppu, (f64::from(dpi) / 0.0254).round() as u32);
        let text = |key: &str| {
            let latin = info
                .uncompressed_latin1_text
                .iter()
                .find(|t| t.keyword == key)
                .map(|t| t.text.clone());
            latin
                .or_else(|| {
                    Some(
                        info.utf8_text
                            .iter()
                            .find(|t| t.keyword == key)?
                            .get_text()
                            .unwrap(),
                    )
                })
                .unwrap()
        };
        assert_eq!(text("Software"), "Gazelab 0.1.0");
        assert!(text("Description").contains("mae-selected-1/step-00002000"));
    }
}

/// Every patch of a heat map is one flat square in exactly the colour that the scale gives its value.
#[test]
fn heat_maps_are_true_to_scale() {
    let grid = Grid::new(3, 5);
    let values: Vec<f64> = (0..15).map(|i| f64::from(i) / 14.0 * 0.08).collect();
    let uneven = PatchEdges {
        x: vec![0.0, 0.1, 0.3, 0.55, 0.8, 1.0],
        y: vec![0.0, 0.5, 0.75, 1.0],
    };
    for edges in [even(grid), uneven] {
        let layer = MapLayer {
            map: Arc::new(HeatMap::new(grid, values.clone()).unwrap()),
            edges: edges.clone(),
            quantity: "attention".into(),
            is_signed: false,
        };
        let over = Image::filled(50, 30, [255, 255, 255]);
        for opacity in [1.0, 0.5] {
            let data = FigureData {
                columns: vec![ColumnHead::default(), ColumnHead::default()],
                rows: vec![Row {
                    label: String::new(),
                    aspect: 0.6,
                    cells: vec![
                        Cell {
                            map: Some(layer.clone()),
                            ..Cell::default()
                        },
                        Cell {
                            map: Some(layer.clone()),
                            picture: Some(Arc::new(over.clone())),
                            ..Cell::default()
                        },
                    ],
                }],
                ..FigureData::default()
            };
            for color_map in ColorMap::SEQUENTIAL {
                let style = Style {
                    width: Width::Mm(100.0),
                    provenance: false,
                    scale: Scale::Figure,
                    color_map,
                    opacity,
                    ..Style::default()
                };
                let figure = render(&data, &style).unwrap();
                let dpi = 254; // ten pixels a millimetre
                let (width, _, pixels, _) = decode(&figure.encode(Format::Png { dpi }).unwrap());
                let gap = 4.0 / 72.0 * 25.4;
                let cell = (100.0 - gap) / 2.0;
                for column in 0..2 {
                    for (patch, &value) in values.iter().enumerate() {
                        let (row, col) = (patch / 5, patch % 5);
                        let expected = color_map.color(value / 0.08);
                        // The centre, and points close to the corners: a patch is flat, not a bump.
                        for (fx, fy) in [(0.5, 0.5), (0.1, 0.1), (0.9, 0.1), (0.1, 0.9), (0.9, 0.9)]
                        {
                            let x = edges.x[col] + fx * (edges.x[col + 1] - edges.x[col]);
                            let y = edges.y[row] + fy * (edges.y[row + 1] - edges.y[row]);
                            let px = ((column as f64 * (cell + gap) + x * cell) * 10.0) as usize;
                            let py = (y * cell * 0.6 * 10.0) as usize;
                            let at = (py * width as usize + px) * 3;
                            let found = &pixels[at..at + 3];
                            let alpha = if column == 0 { 1.0 } else { opacity };
                            for c in 0..3 {
                                let mixed = alpha * f64::from(expected[c]) + (1.0 - alpha) * 255.0;
                                let tolerance = if alpha < 1.0 { 1.5 } else { 0.0 };
                                assert!(
                                    (f64::from(found[c]) - mixed).abs() <= tolerance,
                                    "{color_map} column {column} patch {patch} at ({fx}, {fy}): {found:?}, not {expected:?}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn the_pdf_keeps_heat_maps_at_patch_resolution() {
    let path = out("patches.pdf");
    render(&example(1), &Style::default())
        .unwrap()
        .export(Format::Pdf, &path)
        .unwrap();
    let Some(images) = poppler("pdfimages", &["-list", path.to_str().unwrap()]) else {
        return;
    };
    // page num type width height color comp bpc enc interp …
    let rows: Vec<Vec<&str>> = images
        .lines()
        .skip(2)
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert!(rows.iter().any(|r| r[3] == "8" && r[4] == "8"), "{images}");
    assert!(
        rows.iter().all(|r| r[9] == "no"),
        "smoothing is switched off: {images}"
    );
}

#[test]
fn what_cannot_be_set_is_an_error() {
    let narrow = Style {
        width: Width::Mm(40.0),
        ..Style::default()
    };
    assert!(
        render(&example(1), &narrow)
            .unwrap_err()
            .to_string()
            .contains("9 mm")
    );
    let tall = FigureData {
        rows: vec![example(1).rows.remove(0); 39],
        ..example(1)
    };
    assert!(
        render(&tall, &Style::default())
            .unwrap_err()
            .to_string()
            .contains("tall")
    );
    assert!(render(&FigureData::default(), &Style::default()).is_err());
    let mut torn = example(1);
    torn.rows[0].cells.pop();
    assert!(render(&torn, &Style::default()).is_err());
    let mut torn = example(1);
    torn.rows[0].cells[1].map.as_mut().unwrap().edges.x.pop();
    assert!(render(&torn, &Style::default()).is_err());
    let figure = render(
        &example(3),
        &Style {
            width: Width::Mm(400.0),
            ..Style::default()
        },
    )
    .unwrap();
    assert!(figure.encode(Format::Png { dpi: 1200 }).is_err());
    assert!(
        Format::of(Path::new("a.docx"), 300)
            .unwrap_err()
            .to_string()
            .ends_with("a.docx")
    );
    assert!(
        figure
            .export(Format::Svg, Path::new("/proc/nowhere/f.svg"))
            .is_err()
    );
}

#[test]
fn long_and_hostile_text_stays_on_the_page() {
    let mut data = example(1);
    data.title =
        "A title that is much longer than one line of a narrow figure can hold <&> \u{0}\u{1b}"
            .repeat(3);
    data.columns[1].title = "Donaudampfschifffahrtsgesellschaftskapitän".into();
    data.columns[2].arm = Some("an arm with quite a long name".into());
    data.rows[0].label = "x".repeat(300);
    let figure = render(
        &data,
        &Style {
            width: Width::Single,
            ..Style::default()
        },
    )
    .unwrap();
    figure
        .export(Format::Png { dpi: 200 }, &out("long.png"))
        .unwrap();
    let (width, height, pixels, _) = decode(&figure.encode(Format::Png { dpi: 200 }).unwrap());
    // The outermost column of pixels is white wherever no picture lies: nothing was cut off at the right.
    let white = (0..height as usize)
        .filter(|y| pixels[(y * width as usize + width as usize - 1) * 3..][..3] == [255; 3]);
    assert!(white.count() > height as usize / 2);
}

/// A capture file may declare views of any size; its pictures are set, or refused, but never a panic.
#[test]
fn pictures_of_extreme_shape_are_set_or_refused() {
    for (aspect, is_set) in [
        (1.0 / 50.0, true),
        (50.0, false), // Too tall for a page.
        (1.0 / 51.0, false),
        (51.0, false),
        (1e-300, false),
        (1e300, false),
    ] {
        let mut data = example(1);
        data.rows[0].aspect = aspect;
        let style = Style {
            width: Width::Mm(30.0),
            ..Style::default()
        };
        // Two columns: the flattest picture is then thinner than the line round a box.
        data.columns.truncate(2);
        let cell = Cell {
            mask: data.rows[0].cells.iter().find_map(|c| c.mask.clone()),
            boxes: vec![(BoxKind::Truth, Rect::new(0.0, 0.0, 1.0, 1.0))],
            ..Cell::default()
        };
        data.rows[0].cells = vec![cell; 2];
        let set = render(&data, &style);
        assert_eq!(set.is_ok(), is_set, "{aspect}: {:?}", set.err());
    }
}
