//! The one layout that all formats share.

use std::collections::{BTreeMap, BTreeSet};

use grounding::{Mask, Rect};

use crate::data::{BoxKind, Cell, CellNumbers, ColumnHead, FigureData, MapLayer, PatchEdges, Row};
use crate::export::Figure;
use crate::font::{ASCENT, CAP_HEIGHT, DESCENT, LINE_HEIGHT, Ruler, Weight};
use crate::outline::outline;
use crate::scale::{Tick, ValueScale, times_ten_to};
use crate::scene::{Area, BLACK, Head, Item, PT_PER_MM, Rgb, Scene, Type, num, polygon};
use crate::style::{CASING_PT, Mark};
use crate::{ColorMap, Error, Result, Scale, Style};

/// Space between columns, between rows, and between blocks, in points.
const COLUMN_GAP: f64 = 4.0;
const ROW_GAP: f64 = 7.0;
const BLOCK_GAP: f64 = 7.0;
/// Space between a picture and the text that belongs to it.
const TEXT_GAP: f64 = 2.5;
/// Height of a colour bar, and length of its ticks.
const BAR_HEIGHT: f64 = 5.0;
const TICK: f64 = 2.0;
/// Length of a colour bar that serves several columns.
const WIDE_BAR: f64 = 110.0;
/// Narrowest cell that can still be read: 9 mm.
const MIN_CELL: f64 = 9.0 * PT_PER_MM;
/// Tallest figure: two A4 pages, so that a slip is an error and not a file.
const MAX_HEIGHT: f64 = 594.0 * PT_PER_MM;
/// Pictures may be so many times as high as wide, or as wide as high; far beyond any camera.
const MAX_ASPECT: f64 = 50.0;
/// Patch size, in parts of it, by which a line of the grid may be off its even place and still count as even.
const EVEN: f64 = 0.01;
/// How dark the picture gets outside a spotlight mask.
const SHADE_OPACITY: f64 = 0.6;
/// Cells without a picture.
const EMPTY: Rgb = [217, 217, 217];
/// A picture is drawn with square pixels where they are wider than this; smaller ones are averaged when printed.
const CRISP_PIXEL: f64 = 72.0 / 300.0;

/// Sets a figure.
///
/// # Errors
/// [`Error::Recipe`] when the style is out of bounds, the columns are too narrow, or the figure is too tall;
/// [`Error::Render`] when the data does not fit together.
pub fn render(data: &FigureData, style: &Style) -> Result<Figure> {
    style.check()?;
    check(data)?;
    let ruler = Ruler::new()?;
    let mut page = Page::new(data, style, &ruler)?;
    page.title();
    page.headings();
    for (index, row) in data.rows.iter().enumerate() {
        page.row(index, row)?;
    }
    page.color_bars()?;
    page.legend();
    page.caption();
    page.provenance();
    let scene = page.finish()?;
    let head = head(data);
    Ok(Figure::new(
        scene.svg(&ruler, &head)?,
        [scene.width, scene.height],
        head,
    ))
}

fn check(data: &FigureData) -> Result<()> {
    let fail = |reason: String| Err(Error::render("SVG", reason));
    if data.columns.is_empty() || data.rows.is_empty() {
        return Err(Error::Recipe("it has no cell".into()));
    }
    for (index, row) in data.rows.iter().enumerate() {
        if row.cells.len() != data.columns.len() {
            return fail(format!(
                "row {} has {} cells for {} columns",
                index + 1,
                row.cells.len(),
                data.columns.len()
            ));
        }
        if !(row.aspect.is_finite() && row.aspect > 0.0) {
            return fail(format!("row {} has a picture without area", index + 1));
        }
        if !(1.0 / MAX_ASPECT..=MAX_ASPECT).contains(&row.aspect) {
            return Err(Error::Recipe(format!(
                "row {} has a picture {} times as high as wide; 1/{MAX_ASPECT} to {MAX_ASPECT} times are possible",
                index + 1,
                row.aspect
            )));
        }
        for cell in &row.cells {
            let fits = |edges: &PatchEdges, grid: grounding::Grid, len: usize| {
                len == grid.len()
                    && edges.x.len() == grid.cols + 1
                    && edges.y.len() == grid.rows + 1
                    && !grid.is_empty()
            };
            let map = cell
                .map
                .as_ref()
                .is_none_or(|m| fits(&m.edges, m.map.grid, m.map.values.len()));
            let mask = cell.mask.as_ref().is_none_or(|m| {
                fits(&m.edges, m.first.grid, m.first.bits.len())
                    && m.second.as_ref().is_none_or(|s| {
                        s.grid == m.first.grid && s.bits.len() == m.first.bits.len()
                    })
            });
            if !map || !mask {
                return fail(format!(
                    "row {} has a map that does not fit its patch grid",
                    index + 1
                ));
            }
        }
    }
    Ok(())
}

fn head(data: &FigureData) -> Head {
    let title = if data.title.is_empty() {
        "Attention figure".to_owned()
    } else {
        data.title.clone()
    };
    let mut keywords = vec![
        "attention".to_owned(),
        "vision-language-action model".to_owned(),
    ];
    keywords.extend(
        data.provenance
            .arms
            .iter()
            .map(|a| a.model.clone())
            .filter(|m| !m.is_empty()),
    );
    keywords.extend(data.provenance.datasets.iter().cloned());
    keywords.dedup();
    let line = data.provenance.line();
    Head {
        title,
        description: if data.caption.is_empty() {
            line
        } else {
            format!("{} ({line})", data.caption)
        },
        provenance: data.provenance.json(),
        creator: format!("Gazelab {}", data.provenance.gazelab)
            .trim_end()
            .to_owned(),
        keywords,
    }
}

/// Which scale a heat map is on: maps with equal keys share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ScaleKey {
    row: Option<usize>,
    column: Option<usize>,
    is_signed: bool,
}

impl ScaleKey {
    fn new(scale: Scale, row: usize, column: usize, map: &MapLayer) -> Self {
        let (row, column) = match scale {
            Scale::Figure | Scale::Fixed(_) => (None, None),
            Scale::Column => (None, Some(column)),
            Scale::Cell => (Some(row), Some(column)),
        };
        Self {
            row,
            column,
            is_signed: is_signed(map),
        }
    }
}

/// A map with negative values needs a scale about zero, whatever it is called.
fn is_signed(map: &MapLayer) -> bool {
    map.is_signed || map.map.values.iter().any(|&v| v < 0.0)
}

/// A scale and what is on it.
struct ScaleUse {
    scale: ValueScale,
    quantities: BTreeSet<String>,
    columns: BTreeSet<usize>,
    /// Whether some map on it is drawn over a picture.
    is_overlaid: bool,
}

fn scales(data: &FigureData, style: &Style) -> BTreeMap<ScaleKey, ScaleUse> {
    let mut ranges: BTreeMap<ScaleKey, (f64, f64, ScaleUse)> = BTreeMap::new();
    for (r, row) in data.rows.iter().enumerate() {
        for (c, cell) in row.cells.iter().enumerate() {
            let Some(layer) = &cell.map else { continue };
            let key = ScaleKey::new(style.scale, r, c, layer);
            let entry = ranges.entry(key).or_insert_with(|| {
                let scale = ValueScale::spanning(0.0, 0.0, style.color_map);
                let users = ScaleUse {
                    scale,
                    quantities: BTreeSet::new(),
                    columns: BTreeSet::new(),
                    is_overlaid: false,
                };
                (f64::INFINITY, f64::NEG_INFINITY, users)
            });
            for &value in &layer.map.values {
                entry.0 = entry.0.min(value);
                entry.1 = entry.1.max(value);
            }
            entry.2.quantities.insert(layer.quantity.clone());
            entry.2.columns.insert(c);
            entry.2.is_overlaid |= cell.picture.is_some();
        }
    }
    ranges
        .into_iter()
        .map(|(key, (least, largest, mut users))| {
            users.scale = match (style.scale, key.is_signed) {
                (Scale::Fixed(max), false) => ValueScale {
                    min: 0.0,
                    max,
                    map: style.color_map,
                    clipped: largest > max,
                },
                (Scale::Fixed(max), true) => {
                    let clipped = largest > max || least < -max;
                    ValueScale {
                        min: -max,
                        max,
                        map: ColorMap::Diverging,
                        clipped,
                    }
                }
                (_, true) => {
                    let bound = largest.max(-least);
                    let bound = if bound > 0.0 { bound } else { 1.0 };
                    ValueScale::spanning(-bound, bound, ColorMap::Diverging)
                }
                (_, false) => ValueScale::spanning(least, largest, style.color_map),
            };
            (key, users)
        })
        .collect()
}

/// A page under construction; `y` is where the next block starts.
struct Page<'a> {
    data: &'a FigureData,
    style: &'a Style,
    ruler: &'a Ruler,
    scene: Scene,
    y: f64,
    cell_width: f64,
    scales: BTreeMap<ScaleKey, ScaleUse>,
    marks: BTreeSet<Mark>,
}

impl<'a> Page<'a> {
    fn new(data: &'a FigureData, style: &'a Style, ruler: &'a Ruler) -> Result<Self> {
        let width = style.width.mm() * PT_PER_MM;
        let columns = data.columns.len() as f64;
        let cell_width = (width - COLUMN_GAP * (columns - 1.0)) / columns;
        if cell_width < MIN_CELL {
            return Err(Error::Recipe(format!(
                "{columns} columns in {} mm would be {:.1} mm wide each, less than the 9 mm that can be read; \
                 take fewer columns or a wider figure",
                style.width.mm(),
                cell_width.max(0.0) / PT_PER_MM
            )));
        }
        Ok(Self {
            data,
            style,
            ruler,
            scene: Scene::of_width(width),
            y: 0.0,
            cell_width,
            scales: scales(data, style),
            marks: BTreeSet::new(),
        })
    }

    fn finish(mut self) -> Result<Scene> {
        if self.y > MAX_HEIGHT {
            return Err(Error::Recipe(format!(
                "it would be {:.0} mm tall, more than the {:.0} mm that can be set; take fewer rows",
                self.y / PT_PER_MM,
                MAX_HEIGHT / PT_PER_MM
            )));
        }
        self.scene.height = self.y;
        Ok(self.scene)
    }

    fn column_x(&self, column: usize) -> f64 {
        column as f64 * (self.cell_width + COLUMN_GAP)
    }

    /// Opens space before a block, unless it is the first.
    fn gap(&mut self, gap: f64) {
        if self.y > 0.0 {
            self.y += gap;
        }
    }

    fn text(&mut self, x: f64, y: f64, kind: Type, text: impl Into<String>) {
        self.scene.push(Item::Text {
            x,
            y,
            kind,
            text: text.into(),
        });
    }

    /// Sets lines from `y` down and returns where they end.
    fn lines(&mut self, x: f64, y: f64, kind: Type, lines: &[String]) -> f64 {
        for (i, line) in lines.iter().enumerate() {
            let baseline = y + ASCENT * kind.size + i as f64 * LINE_HEIGHT * kind.size;
            self.text(x, baseline, kind, line.as_str());
        }
        y + block_height(lines.len(), kind.size)
    }

    fn title(&mut self) {
        let size = (self.style.text_pt + 1.0).min(9.0);
        let lines = self
            .ruler
            .wrap(&self.data.title, Weight::Bold, size, self.scene.width, 3);
        if !lines.is_empty() {
            self.y = self.lines(0.0, self.y, Type::new(size).bold(), &lines);
        }
    }

    /// Headings stand on one baseline, just above the first row.
    fn headings(&mut self) {
        let size = self.style.text_pt;
        let set = |head: &ColumnHead| -> Vec<(Weight, String)> {
            let wrap = |text: &str, weight, lines| {
                self.ruler
                    .wrap(text, weight, size, self.cell_width, lines)
                    .into_iter()
                    .map(move |l| (weight, l))
            };
            let arm = head.arm.iter().flat_map(|arm| wrap(arm, Weight::Bold, 2));
            arm.chain(wrap(&head.title, Weight::Regular, 3)).collect()
        };
        let blocks: Vec<Vec<(Weight, String)>> = self.data.columns.iter().map(set).collect();
        let most = blocks.iter().map(Vec::len).max().unwrap_or(0);
        if most == 0 {
            return;
        }
        self.gap(BLOCK_GAP - 3.0);
        for (column, block) in blocks.into_iter().enumerate() {
            let x = self.column_x(column) + self.cell_width / 2.0;
            let above = most - block.len();
            for (i, (weight, line)) in block.into_iter().enumerate() {
                let baseline = self.y + ASCENT * size + (above + i) as f64 * LINE_HEIGHT * size;
                self.text(
                    x,
                    baseline,
                    Type {
                        weight,
                        ..Type::new(size).centred()
                    },
                    line,
                );
            }
        }
        self.y += block_height(most, size);
    }

    fn row(&mut self, index: usize, row: &Row) -> Result<()> {
        if index > 0 {
            self.gap(ROW_GAP);
        }
        self.row_label(index, row);
        if self.y > 0.0 {
            self.y += TEXT_GAP;
        }
        let height = self.cell_width * row.aspect;
        for (column, cell) in row.cells.iter().enumerate() {
            let area = Area {
                x: self.column_x(column),
                y: self.y,
                width: self.cell_width,
                height,
            };
            self.cell(area, (index, column), cell)?;
        }
        self.y += height;
        self.numbers(index, row);
        Ok(())
    }

    fn row_label(&mut self, index: usize, row: &Row) {
        let size = self.style.text_pt;
        let letter = self.style.letters.then(|| letters(index));
        let indent = letter.as_ref().map_or(0.0, |l| {
            self.ruler.width(l, Weight::Bold, size) + 0.6 * size
        });
        let lines = self.ruler.wrap(
            &row.label,
            Weight::Regular,
            size,
            self.scene.width - indent,
            3,
        );
        if lines.is_empty() && letter.is_none() {
            return;
        }
        if index == 0 {
            self.gap(TEXT_GAP);
        }
        if let Some(letter) = letter {
            self.text(0.0, self.y + ASCENT * size, Type::new(size).bold(), letter);
        }
        let bottom = self.lines(indent, self.y, Type::new(size), &lines);
        self.y = bottom.max(self.y + block_height(1, size));
    }

    fn cell(&mut self, area: Area, (row, column): (usize, usize), cell: &Cell) -> Result<()> {
        match &cell.picture {
            Some(picture) => {
                let crisp = area.width / f64::from(picture.width.max(1)) > CRISP_PIXEL;
                let id = self
                    .scene
                    .image(picture.width, picture.height, &picture.rgb, crisp)?;
                self.scene.push(Item::Image {
                    id,
                    area,
                    opacity: 1.0,
                });
            }
            None => self.scene.push(Item::Fill { area, color: EMPTY }),
        }
        if let Some(layer) = &cell.map {
            let key = ScaleKey::new(self.style.scale, row, column, layer);
            if let Some(scale) = self.scales.get(&key).map(|s| s.scale) {
                let opacity = if cell.picture.is_some() {
                    self.style.opacity
                } else {
                    1.0
                };
                self.heat_map(area, layer, scale, opacity)?;
            }
        }
        if let Some(layer) = &cell.mask {
            if layer.is_spotlight {
                let union: Vec<bool> = match &layer.second {
                    Some(second) => layer
                        .first
                        .bits
                        .iter()
                        .zip(&second.bits)
                        .map(|(a, b)| *a || *b)
                        .collect(),
                    None => layer.first.bits.clone(),
                };
                let mut path = rectangle(area);
                for polygon in mask_polygons(area, &layer.edges, layer.first.grid, &union) {
                    path.push_str(&polygon);
                }
                self.scene.push(Item::Shade {
                    path,
                    color: BLACK,
                    opacity: SHADE_OPACITY,
                });
            }
            if let Some(second) = &layer.second {
                self.mask_outline(area, &layer.edges, second, Mark::SecondRegion);
            }
            self.mask_outline(area, &layer.edges, &layer.first, Mark::Mask);
        }
        for (kind, rect) in &cell.boxes {
            let mark = match kind {
                BoxKind::Detector => Mark::Detector,
                BoxKind::Truth => Mark::Truth,
            };
            let Some(placed) = clamp_box(area, rect) else {
                return Err(Error::render(
                    "SVG",
                    format!("row {} has a box whose corners are out of order", row + 1),
                ));
            };
            self.marks.insert(mark);
            self.scene.push(Item::Outline {
                path: rectangle(placed),
                stroke: mark.stroke(),
            });
        }
        Ok(())
    }

    /// One pixel a patch where patches are even, otherwise one rectangle a patch: never smoothed, always where the model
    /// saw it.
    fn heat_map(
        &mut self,
        area: Area,
        layer: &MapLayer,
        scale: ValueScale,
        opacity: f64,
    ) -> Result<()> {
        let grid = layer.map.grid;
        let colors = layer.map.values.iter().map(|&v| scale.color(v));
        if let Some(extent) = even_extent(&layer.edges) {
            let rgb: Vec<u8> = colors.flatten().collect();
            let size = |n: usize| u32::try_from(n).map_err(|e| Error::render("PNG", e));
            let id = self
                .scene
                .image(size(grid.cols)?, size(grid.rows)?, &rgb, true)?;
            self.scene.push(Item::Image {
                id,
                area: place(area, &extent),
                opacity,
            });
            return Ok(());
        }
        let unit =
            |lines: &[f64]| -> Vec<f64> { lines.iter().map(|v| v.clamp(0.0, 1.0)).collect() };
        let (x, y) = (unit(&layer.edges.x), unit(&layer.edges.y));
        let patches = colors
            .enumerate()
            .map(|(patch, color)| {
                let (row, col) = (patch / grid.cols, patch % grid.cols);
                let at = |lines: &[f64], i: usize| lines.get(i).copied().unwrap_or(1.0);
                let rect = Rect::new(at(&x, col), at(&y, row), at(&x, col + 1), at(&y, row + 1));
                (place(area, &rect), color)
            })
            .filter(|(area, _)| area.width > 0.0 && area.height > 0.0)
            .collect();
        self.scene.push(Item::Patches { patches, opacity });
        Ok(())
    }

    fn mask_outline(&mut self, area: Area, edges: &PatchEdges, mask: &Mask, mark: Mark) {
        let path = mask_polygons(area, edges, mask.grid, &mask.bits).concat();
        if !path.is_empty() {
            self.marks.insert(mark);
            self.scene.push(Item::Outline {
                path,
                stroke: mark.stroke(),
            });
        }
    }

    /// Numbers of the cells of one row, centred under each.
    fn numbers(&mut self, index: usize, row: &Row) {
        let size = self.style.small_pt();
        let mut bottom = self.y;
        for (column, cell) in row.cells.iter().enumerate() {
            let mut parts = Vec::new();
            if self.style.scale == Scale::Cell
                && let Some(layer) = &cell.map
                && let Some(users) =
                    self.scales
                        .get(&ScaleKey::new(Scale::Cell, index, column, layer))
            {
                let sign = if users.scale.min < 0.0 { "±" } else { "max " };
                parts.push(format!("{sign}{}", users.scale.format(users.scale.max)));
            }
            if self.style.numbers
                && let Some(numbers) = &cell.numbers
            {
                parts.extend(number_texts(numbers));
            }
            let lines = self.pack(&parts, size);
            let x = self.column_x(column) + self.cell_width / 2.0;
            let end = self.lines(
                x,
                self.y + TEXT_GAP - 1.0,
                Type::new(size).centred(),
                &lines,
            );
            if !lines.is_empty() {
                bottom = bottom.max(end);
            }
        }
        self.y = bottom;
    }

    /// Joins short texts with " · " as long as they fit a cell, so that none is broken.
    fn pack(&self, parts: &[String], size: f64) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for part in parts {
            let longer = lines.last().map(|line| format!("{line} · {part}"));
            match (longer, lines.last_mut()) {
                (Some(longer), Some(last))
                    if self.ruler.width(&longer, Weight::Regular, size) <= self.cell_width =>
                {
                    *last = longer;
                }
                _ => lines.extend(
                    self.ruler
                        .wrap(part, Weight::Regular, size, self.cell_width, 2),
                ),
            }
        }
        lines
    }

    fn color_bars(&mut self) -> Result<()> {
        if !self.style.color_bar || self.scales.is_empty() {
            return Ok(());
        }
        self.gap(BLOCK_GAP);
        let top = self.y;
        let bars: Vec<Bar> = self.bars();
        let mut bottom = top;
        let mut last_wide = top;
        for bar in &bars {
            // Bars under columns stand side by side, bars for the whole figure one below the other.
            let y = if bar.is_wide { last_wide } else { top };
            let end = self.color_bar(bar, y)?;
            if bar.is_wide {
                last_wide = end + TEXT_GAP;
            }
            bottom = bottom.max(end);
        }
        self.y = bottom;
        Ok(())
    }

    /// Which bars are needed, and where.
    fn bars(&self) -> Vec<Bar> {
        let mut bars: Vec<Bar> = Vec::new();
        for (key, users) in &self.scales {
            let overlaid = if users.is_overlaid && self.style.opacity < 1.0 {
                format!(", drawn at {:.0}\u{a0}%", self.style.opacity * 100.0)
            } else {
                String::new()
            };
            let quantity = match users.quantities.len() {
                1 => users.quantities.first().cloned().unwrap_or_default(),
                _ => "attention".to_owned(),
            };
            let clipped = if users.scale.clipped {
                ", larger values clipped"
            } else {
                ""
            };
            let first = users.columns.first().copied().unwrap_or(0);
            let per_cell = key.row.is_some();
            if per_cell {
                // One bar stands for all cells of its kind: the ends say what they mean.
                let same = |b: &&mut Bar| b.scale.map == users.scale.map;
                if let Some(bar) = bars.iter_mut().find(same) {
                    bar.is_overlaid |= users.is_overlaid;
                    continue;
                }
            }
            let scope = match self.style.scale {
                Scale::Figure if users.columns.len() > 1 || self.data.rows.len() > 1 => {
                    ", one scale"
                }
                _ => "",
            };
            bars.push(Bar {
                scale: users.scale,
                x: if per_cell {
                    0.0
                } else {
                    self.column_x(if key.column.is_some() { first } else { 0 })
                },
                is_wide: key.column.is_none() || per_cell,
                is_per_cell: per_cell,
                is_overlaid: users.is_overlaid,
                label: if per_cell {
                    "attention, each cell on its own scale".to_owned()
                } else {
                    format!("{quantity}{scope}{clipped}{overlaid}")
                },
            });
        }
        for bar in bars
            .iter_mut()
            .filter(|b| b.is_per_cell && b.is_overlaid && self.style.opacity < 1.0)
        {
            bar.label.push_str(&format!(
                ", drawn at {:.0}\u{a0}%",
                self.style.opacity * 100.0
            ));
        }
        bars
    }

    /// Draws one bar with ticks and label and returns where it ends.
    fn color_bar(&mut self, bar: &Bar, y: f64) -> Result<f64> {
        let size = self.style.small_pt();
        let length = if bar.is_wide {
            WIDE_BAR.min(self.scene.width)
        } else {
            self.cell_width
        };
        let rgb: Vec<u8> = bar.scale.map.lut().iter().flatten().copied().collect();
        let id = self.scene.image(256, 1, &rgb, true)?;
        self.scene.push(Item::Image {
            id,
            area: Area {
                x: bar.x,
                y,
                width: length,
                height: BAR_HEIGHT,
            },
            opacity: 1.0,
        });
        let ticks = if bar.is_per_cell {
            self.place_ticks(bar, length, size, bar.per_cell_ticks()).0
        } else {
            self.fitting_ticks(bar, length, size)
        };
        let baseline = y + BAR_HEIGHT + TICK + 1.0 + CAP_HEIGHT * size;
        for tick in ticks {
            let bottom = y + BAR_HEIGHT + TICK;
            self.scene.push(Item::Rule {
                from: [tick.rule, y + BAR_HEIGHT],
                to: [tick.rule, bottom],
            });
            self.text(tick.text, baseline, Type::new(size).centred(), tick.label);
        }
        let mut label = bar.label.clone();
        if !bar.is_per_cell && bar.scale.exponent() != 0 {
            label.push_str(&format!(
                " ({})",
                times_ten_to(bar.scale.exponent()).trim_start()
            ));
        }
        let below = baseline + DESCENT * size;
        if bar.is_wide && self.scene.width - length > 60.0 {
            let x = bar.x + length + 6.0;
            let lines = self
                .ruler
                .wrap(&label, Weight::Regular, size, self.scene.width - x, 3);
            let middle = y + BAR_HEIGHT / 2.0 + CAP_HEIGHT * size / 2.0;
            let end = self.lines(x, middle - ASCENT * size, Type::new(size), &lines);
            return Ok(end.max(below));
        }
        let lines = self.ruler.wrap(&label, Weight::Regular, size, length, 4);
        let x = bar.x + length / 2.0;
        Ok(self.lines(x, below, Type::new(size).centred(), &lines))
    }

    /// As many ticks as fit without their numbers touching.
    fn fitting_ticks(&self, bar: &Bar, length: f64, size: f64) -> Vec<PlacedTick> {
        let mut placed = Vec::new();
        for most in (2..=6).rev() {
            let fits;
            (placed, fits) = self.place_ticks(bar, length, size, bar.scale.ticks(most));
            if fits {
                return placed;
            }
        }
        // A cell of 9 mm holds one number beside the zero.
        placed.truncate(2);
        placed
    }

    /// Where ticks and their numbers stand, and whether the numbers keep their distance. Numbers at the ends move
    /// inwards, so that they never run into those of the next column.
    fn place_ticks(
        &self,
        bar: &Bar,
        length: f64,
        size: f64,
        ticks: Vec<Tick>,
    ) -> (Vec<PlacedTick>, bool) {
        let (left, right) = (bar.x, bar.x + length);
        let mut end = f64::NEG_INFINITY;
        let mut fits = true;
        let placed = ticks
            .into_iter()
            .map(|Tick { at, label }| {
                let x = bar.x + at * length;
                let half = self.ruler.width(&label, Weight::Regular, size) / 2.0;
                let text = x.min(right - half).max(left + half);
                fits &= text - half >= end + 0.5 * size;
                end = text + half;
                // The line stays on the bar.
                PlacedTick {
                    rule: x.clamp(bar.x + 0.25, bar.x + length - 0.25),
                    text,
                    label,
                }
            })
            .collect();
        (placed, fits)
    }

    fn legend(&mut self) {
        let size = self.style.small_pt();
        if self.style.legend && !self.marks.is_empty() {
            self.gap(BLOCK_GAP);
            const SAMPLE: f64 = 16.0;
            let mut x = 0.0;
            for mark in self.marks.clone() {
                let width = SAMPLE + 4.0 + self.ruler.width(mark.label(), Weight::Regular, size);
                if x > 0.0 && x + width > self.scene.width {
                    x = 0.0;
                    self.y += LINE_HEIGHT * size;
                }
                let baseline = self.y + ASCENT * size;
                let middle = baseline - CAP_HEIGHT * size / 2.0;
                let half = CASING_PT / 2.0;
                let path = format!(
                    "M{} {}L{} {}",
                    num(x + half),
                    num(middle),
                    num(x + SAMPLE - half),
                    num(middle)
                );
                self.scene.push(Item::Outline {
                    path,
                    stroke: mark.stroke(),
                });
                self.text(x + SAMPLE + 4.0, baseline, Type::new(size), mark.label());
                x += width + 12.0;
            }
            self.y += block_height(1, size);
        }
        self.explain_numbers(size);
    }

    /// What the numbers under the cells mean.
    fn explain_numbers(&mut self, size: f64) {
        let Some(reference) = self.data.reference.filter(|_| self.style.numbers) else {
            return;
        };
        let numbers: Vec<&CellNumbers> = self
            .data
            .rows
            .iter()
            .flat_map(|r| &r.cells)
            .filter_map(|c| c.numbers.as_ref())
            .collect();
        let mut parts = Vec::new();
        if numbers.iter().any(|n| n.iou.is_some()) {
            parts.push(format!("IoU: mask against the {}", reference.label()));
        }
        if numbers.iter().any(|n| n.mass_inside.is_some()) {
            parts.push(format!(
                "inside: share of the map inside the {}",
                reference.label()
            ));
        }
        if !numbers.is_empty() {
            parts.push("hit: its brightest patch lies inside".to_owned());
        }
        if parts.is_empty() {
            return;
        }
        self.gap(if self.marks.is_empty() || !self.style.legend {
            BLOCK_GAP
        } else {
            1.0
        });
        let lines = self.ruler.wrap(
            &parts.join(" · "),
            Weight::Regular,
            size,
            self.scene.width,
            4,
        );
        self.y = self.lines(0.0, self.y, Type::new(size), &lines);
    }

    fn caption(&mut self) {
        let size = self.style.text_pt;
        let lines = self.ruler.wrap(
            &self.data.caption,
            Weight::Regular,
            size,
            self.scene.width,
            usize::MAX,
        );
        if !lines.is_empty() {
            self.gap(BLOCK_GAP);
            self.y = self.lines(0.0, self.y, Type::new(size), &lines);
        }
    }

    fn provenance(&mut self) {
        if self.style.provenance {
            let size = self.style.small_pt();
            let line = self.data.provenance.line();
            let lines = self
                .ruler
                .wrap(&line, Weight::Regular, size, self.scene.width, usize::MAX);
            self.gap(BLOCK_GAP - 2.0);
            self.y = self.lines(0.0, self.y, Type::new(size).grey(), &lines);
        }
        // Descenders of the last line stay on the page.
        self.y += 0.5;
    }
}

/// A colour bar to draw.
struct Bar {
    scale: ValueScale,
    x: f64,
    /// Whether it serves several columns and has its label at its side.
    is_wide: bool,
    is_per_cell: bool,
    is_overlaid: bool,
    label: String,
}

impl Bar {
    /// The numbers differ from cell to cell, so the bar names its ends.
    fn per_cell_ticks(&self) -> Vec<Tick> {
        let names: &[(f64, &str)] = if self.scale.min < 0.0 {
            &[(0.0, "−max"), (0.5, "0"), (1.0, "max")]
        } else {
            &[(0.0, "0"), (1.0, "max")]
        };
        names
            .iter()
            .map(|&(at, label)| Tick {
                at,
                label: label.to_owned(),
            })
            .collect()
    }
}

/// A tick on the page.
struct PlacedTick {
    /// Where its line stands.
    rule: f64,
    /// Middle of its number.
    text: f64,
    label: String,
}

fn number_texts(numbers: &CellNumbers) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(iou) = numbers.iou {
        parts.push(format!("IoU {iou:.2}"));
    }
    if let Some(inside) = numbers.mass_inside {
        parts.push(format!("inside {:.0} %", inside * 100.0));
    }
    parts.push(if numbers.hit { "hit" } else { "miss" }.to_owned());
    parts
}

/// a, b, … z, aa, ab, …
fn letters(mut index: usize) -> String {
    let mut text = String::new();
    loop {
        text.insert(0, char::from(b'a' + (index % 26) as u8));
        index /= 26;
        if index == 0 {
            return text;
        }
        index -= 1;
    }
}

/// Height of so many lines, from the top of accents to the bottom of descenders.
fn block_height(lines: usize, size: f64) -> f64 {
    if lines == 0 {
        0.0
    } else {
        ((lines - 1) as f64 * LINE_HEIGHT + ASCENT + DESCENT) * size
    }
}

/// A normalised rectangle within an area.
fn place(area: Area, rect: &Rect) -> Area {
    Area {
        x: area.x + rect.x0 * area.width,
        y: area.y + rect.y0 * area.height,
        width: rect.width() * area.width,
        height: rect.height() * area.height,
    }
}

/// A coordinate moved inwards where a line through it would leave the picture; the middle of a picture that is
/// narrower than the line.
fn inside(v: f64, start: f64, length: f64) -> f64 {
    let half = (CASING_PT / 2.0).min(length / 2.0);
    let first = start + half;
    v.clamp(first, (start + length - half).max(first))
}

/// The place of a box, moved inwards where its line would leave the picture.
fn clamp_box(area: Area, rect: &Rect) -> Option<Area> {
    let placed = place(area, &rect.clipped().ok()?);
    let (x0, x1) = (
        inside(placed.x, area.x, area.width),
        inside(placed.x + placed.width, area.x, area.width),
    );
    let (y0, y1) = (
        inside(placed.y, area.y, area.height),
        inside(placed.y + placed.height, area.y, area.height),
    );
    Some(Area {
        x: x0,
        y: y0,
        width: x1 - x0,
        height: y1 - y0,
    })
}

fn rectangle(area: Area) -> String {
    let (x1, y1) = (area.x + area.width, area.y + area.height);
    polygon([[area.x, area.y], [x1, area.y], [x1, y1], [area.x, y1]])
}

/// One closed path for every region and hole of a mask, along the edges of its patches; moved inwards where the line
/// would leave the picture.
fn mask_polygons(
    area: Area,
    edges: &PatchEdges,
    grid: grounding::Grid,
    bits: &[bool],
) -> Vec<String> {
    let point = |[col, row]: [u32; 2]| {
        let at = |lines: &[f64], i: u32| {
            lines
                .get(i as usize)
                .copied()
                .unwrap_or(1.0)
                .clamp(0.0, 1.0)
        };
        [
            inside(area.x + at(&edges.x, col) * area.width, area.x, area.width),
            inside(
                area.y + at(&edges.y, row) * area.height,
                area.y,
                area.height,
            ),
        ]
    };
    outline(grid.rows, grid.cols, bits)
        .into_iter()
        .map(|path| polygon(path.into_iter().map(point)))
        .collect()
}

/// The extent of a grid of equal patches within the picture; `None` where patches differ or leave it.
fn even_extent(edges: &PatchEdges) -> Option<Rect> {
    let span = |lines: &[f64]| -> Option<(f64, f64)> {
        let (first, last) = (*lines.first()?, *lines.last()?);
        let step = (last - first) / (lines.len().checked_sub(1)? as f64);
        let even = lines
            .iter()
            .enumerate()
            .all(|(i, &v)| (v - (first + i as f64 * step)).abs() <= EVEN * step);
        let inside = first >= -1e-9 && last <= 1.0 + 1e-9 && step > 0.0;
        (even && inside).then_some((first, last))
    };
    let ((x0, x1), (y0, y1)) = (span(&edges.x)?, span(&edges.y)?);
    Some(Rect::new(x0, y0, x1, y1))
}
