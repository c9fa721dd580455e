//! Heat maps as pictures: scale, colours, upsampling and the atlas of all heads.

use egui::{Color32, ColorImage};
use figure::ColorMap;
use grounding::{Grid, HeadMaps};
use session::Upsampling;

/// The range of numbers that a colour map spans. What the ends of a colour bar say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The number painted in the first colour.
    pub low: f64,
    /// The number painted in the last colour.
    pub high: f64,
}

impl Scale {
    /// Zero to the largest finite value: attention is a share, so an empty patch is the zero of the bar.
    pub fn from_zero(values: impl IntoIterator<Item = f64>) -> Self {
        let high = values
            .into_iter()
            .filter(|v| v.is_finite())
            .fold(0.0, f64::max);
        Self { low: 0.0, high }
    }

    /// Symmetric about zero, for differences and other signed maps.
    pub fn centred(values: impl IntoIterator<Item = f64>) -> Self {
        let high = values
            .into_iter()
            .filter(|v| v.is_finite())
            .fold(0.0, |m: f64, v| m.max(v.abs()));
        Self { low: -high, high }
    }

    /// The scale a map is honestly shown with: centred when the colour map is, or when any value is negative.
    pub fn of(values: &[f64], color_map: ColorMap) -> Self {
        if color_map.is_diverging() {
            Self::centred(values.iter().copied())
        } else {
            let low = values
                .iter()
                .copied()
                .filter(|v| v.is_finite())
                .fold(0.0, f64::min);
            Self {
                low,
                ..Self::from_zero(values.iter().copied())
            }
        }
    }

    /// Position of a value on the scale, 0 at `low` and 1 at `high`; an empty scale maps all to 0.
    pub fn position(self, value: f64) -> f64 {
        let span = self.high - self.low;
        if span > 0.0 {
            (value - self.low) / span
        } else {
            0.0
        }
    }
}

/// Texels per patch and side of a smooth picture; the GPU interpolates linearly between them.
const SMOOTH_FACTOR: usize = 8;

/// The largest side of a smooth picture in texels; beyond it the factor shrinks.
const SMOOTH_SIDE: usize = 1024;

/// Paints a map (`values` row-major over `grid`).
///
/// `Nearest` gives one texel a patch, to be drawn with nearest filtering: the picture holds exactly the data. `Smooth`
/// interpolates the *values* bilinearly between patch centres and colours afterwards, so that every colour in the
/// picture is on the colour bar (interpolated colours need not be). A value that is not finite is transparent.
pub fn heat_image(
    grid: Grid,
    values: &[f64],
    scale: Scale,
    color_map: ColorMap,
    upsampling: Upsampling,
) -> ColorImage {
    let colors = Colors::new(color_map);
    let value = |r: usize, c: usize| values.get(r * grid.cols + c).copied().unwrap_or(f64::NAN);
    let factor = match upsampling {
        Upsampling::Nearest => 1,
        Upsampling::Smooth => {
            (SMOOTH_SIDE / grid.rows.max(grid.cols).max(1)).clamp(1, SMOOTH_FACTOR)
        }
    };
    let (width, height) = (grid.cols * factor, grid.rows * factor);
    let mut pixels = Vec::with_capacity(width * height);
    for y in 0..height {
        let (r0, r1, fy) = neighbours(y, factor, grid.rows);
        for x in 0..width {
            let (c0, c1, fx) = neighbours(x, factor, grid.cols);
            let top = mix(value(r0, c0), value(r0, c1), fx);
            let bottom = mix(value(r1, c0), value(r1, c1), fx);
            pixels.push(colors.at(scale.position(mix(top, bottom, fy))));
        }
    }
    ColorImage::new([width, height], pixels)
}

/// The two patches around texel `at` and the weight of the second; the border is held constant.
fn neighbours(at: usize, factor: usize, n: usize) -> (usize, usize, f64) {
    let centre = (at as f64 + 0.5) / factor as f64 - 0.5;
    let clamped = centre.clamp(0.0, n.saturating_sub(1) as f64);
    let low = clamped as usize;
    (
        low,
        (low + 1).min(n.saturating_sub(1)),
        clamped - low as f64,
    )
}

/// Linear interpolation that does not touch `b` at weight 0, so that a gap does not spread.
fn mix(a: f64, b: f64, weight: f64) -> f64 {
    if weight == 0.0 {
        a
    } else {
        a + (b - a) * weight
    }
}

/// A colour map as opaque [`Color32`]s.
struct Colors([Color32; 256]);

impl Colors {
    fn new(color_map: ColorMap) -> Self {
        Self(color_map.lut().map(|[r, g, b]| Color32::from_rgb(r, g, b)))
    }

    fn at(&self, position: f64) -> Color32 {
        if position.is_finite() {
            self.0[usize::from(ColorMap::index(position))]
        } else {
            Color32::TRANSPARENT
        }
    }
}

/// A colour map as a picture of 256 × 1 texels, first colour left.
pub fn bar_image(color_map: ColorMap) -> ColorImage {
    ColorImage::new([256, 1], Colors::new(color_map).0.to_vec())
}

/// Where the heads lie in the one picture that holds them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtlasLayout {
    grid: Grid,
    across: usize,
    down: usize,
}

impl AtlasLayout {
    /// Packs `n` maps of one grid into a near-square picture; `None` when it would exceed `max_side` texels.
    pub fn new(grid: Grid, n: usize, max_side: usize) -> Option<Self> {
        if grid.rows == 0 || grid.cols == 0 || n == 0 {
            return None;
        }
        // as many columns as make the picture square: across * cols == n / across * rows
        let across = ((n as f64 * grid.rows as f64 / grid.cols as f64)
            .sqrt()
            .ceil() as usize)
            .clamp(1, n);
        let down = n.div_ceil(across);
        (across * grid.cols <= max_side && down * grid.rows <= max_side).then_some(Self {
            grid,
            across,
            down,
        })
    }

    /// Size of the picture in texels, `[width, height]`.
    pub fn size(&self) -> [usize; 2] {
        [self.across * self.grid.cols, self.down * self.grid.rows]
    }

    /// Texture coordinates of map `index`.
    pub fn uv(&self, index: usize) -> egui::Rect {
        let (x, y) = ((index % self.across) as f32, (index / self.across) as f32);
        let (w, h) = (self.across as f32, self.down as f32);
        egui::Rect::from_min_max(
            egui::pos2(x / w, y / h),
            egui::pos2((x + 1.0) / w, (y + 1.0) / h),
        )
    }
}

/// Paints every head of `maps`, head `l * n_heads + h` at place `index` of `layout`, each with the scale `scale(index)`.
pub fn atlas_image(
    maps: &HeadMaps,
    layout: &AtlasLayout,
    color_map: ColorMap,
    scale: impl Fn(usize) -> Scale,
) -> ColorImage {
    let colors = Colors::new(color_map);
    let [width, height] = layout.size();
    let mut pixels = vec![Color32::TRANSPARENT; width * height];
    let Grid { rows, cols } = maps.grid;
    for (index, map) in maps
        .data
        .chunks_exact(rows * cols)
        .take(layout.across * layout.down)
        .enumerate()
    {
        let scale = scale(index);
        let (x, y) = (index % layout.across * cols, index / layout.across * rows);
        for (r, row) in map.chunks_exact(cols).enumerate() {
            let at = (y + r) * width + x;
            for (pixel, value) in pixels[at..at + cols].iter_mut().zip(row) {
                *pixel = colors.at(scale.position(f64::from(*value)));
            }
        }
    }
    ColorImage::new([width, height], pixels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const GRID: Grid = Grid { rows: 2, cols: 3 };

    fn color(map: ColorMap, t: f64) -> Color32 {
        let [r, g, b] = map.color(t);
        Color32::from_rgb(r, g, b)
    }

    #[test]
    fn nearest_holds_one_texel_a_patch_and_the_ends_of_the_bar() {
        let values = [0.0, 0.1, 0.2, 0.3, 0.4, f64::NAN];
        let scale = Scale::of(&values, ColorMap::Viridis);
        assert_eq!(
            scale,
            Scale {
                low: 0.0,
                high: 0.4
            }
        );
        let image = heat_image(GRID, &values, scale, ColorMap::Viridis, Upsampling::Nearest);
        assert_eq!(image.size, [3, 2]);
        assert_eq!(image.pixels[0], color(ColorMap::Viridis, 0.0));
        assert_eq!(image.pixels[2], color(ColorMap::Viridis, 0.5));
        assert_eq!(image.pixels[4], color(ColorMap::Viridis, 1.0));
        assert_eq!(image.pixels[5], Color32::TRANSPARENT);
    }

    #[test]
    fn smooth_keeps_the_corners_and_stays_between_its_neighbours() {
        let values = [0.0, 0.5, 1.0, 0.0, 0.5, 1.0];
        let image = heat_image(
            GRID,
            &values,
            Scale {
                low: 0.0,
                high: 1.0,
            },
            ColorMap::Magma,
            Upsampling::Smooth,
        );
        assert_eq!(image.size, [24, 16]);
        assert_eq!(image.pixels[0], color(ColorMap::Magma, 0.0));
        assert_eq!(image.pixels[23], color(ColorMap::Magma, 1.0));
        // Brightness never falls from left to right.
        let brightness = |c: Color32| u32::from(c.r()) + u32::from(c.g()) + u32::from(c.b());
        assert!(
            image.pixels[..24]
                .windows(2)
                .all(|p| brightness(p[1]) + 4 >= brightness(p[0]))
        );
    }

    #[test]
    fn signed_maps_are_centred_at_zero() {
        let scale = Scale::of(&[-0.1, 0.4], ColorMap::Diverging);
        assert_eq!(
            scale,
            Scale {
                low: -0.4,
                high: 0.4
            }
        );
        assert_eq!(scale.position(0.0), 0.5);
        assert_eq!(Scale::of(&[0.0, 0.0], ColorMap::Viridis).position(0.0), 0.0);
    }

    #[test]
    fn the_atlas_puts_every_head_where_its_coordinates_say() {
        let (layers, heads) = (5, 7);
        let n = layers * heads;
        // Head i is constant i / n in units of what a row may hold.
        let data: Arc<[f32]> = (0..n)
            .flat_map(|i| [i as f32 / n as f32 / 6.0; 6])
            .collect();
        let maps = HeadMaps::new(GRID, layers, heads, data).unwrap();
        let layout = AtlasLayout::new(GRID, n, 8192).unwrap();
        let image = atlas_image(&maps, &layout, ColorMap::Cividis, |_| Scale {
            low: 0.0,
            high: 1.0 / 6.0,
        });
        assert_eq!(image.size, layout.size());
        for i in 0..n {
            let uv = layout.uv(i);
            let x = (uv.min.x * image.size[0] as f32).round() as usize;
            let y = (uv.min.y * image.size[1] as f32).round() as usize;
            let expected = color(
                ColorMap::Cividis,
                f64::from(i as f32 / n as f32 / 6.0) * 6.0,
            );
            for (dx, dy) in [(0, 0), (2, 1)] {
                assert_eq!(
                    image.pixels[(y + dy) * image.size[0] + x + dx],
                    expected,
                    "head {i}"
                );
            }
        }
        assert!(AtlasLayout::new(GRID, n, 8).is_none());
    }
}
