use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A grid of image patches, row-major: patch `i` lies in row `i / cols`, column `i % cols`.
///
/// Grids need not be square and the side is never guessed from the number of patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grid {
    /// Patch rows, top to bottom.
    pub rows: usize,
    /// Patch columns, left to right.
    pub cols: usize,
}

impl Grid {
    /// A grid of `rows` × `cols` patches.
    pub const fn new(rows: usize, cols: usize) -> Self {
        Self { rows, cols }
    }

    /// Number of patches.
    pub const fn len(self) -> usize {
        self.rows.saturating_mul(self.cols)
    }

    /// Whether there is no patch at all.
    pub const fn is_empty(self) -> bool {
        self.rows == 0 || self.cols == 0
    }

    /// Rectangle of a patch, normalised to the extent of the grid.
    pub fn patch_rect(self, patch: usize) -> Rect {
        let (row, col) = (patch / self.cols.max(1), patch % self.cols.max(1));
        Rect {
            x0: col as f64 / self.cols as f64,
            y0: row as f64 / self.rows as f64,
            x1: (col + 1) as f64 / self.cols as f64,
            y1: (row + 1) as f64 / self.rows as f64,
        }
    }

    /// The patch that holds a point, `None` outside [0, 1].
    pub fn patch_at(self, x: f64, y: f64) -> Option<usize> {
        let inside = (0.0..=1.0).contains(&x) && (0.0..=1.0).contains(&y) && !self.is_empty();
        inside.then(|| {
            let col = ((x * self.cols as f64) as usize).min(self.cols - 1);
            let row = ((y * self.rows as f64) as usize).min(self.rows - 1);
            row * self.cols + col
        })
    }

    /// The up to eight neighbours of a patch, in ascending order.
    pub(crate) fn neighbours(self, patch: usize) -> impl Iterator<Item = usize> {
        let (row, col) = (patch / self.cols, patch % self.cols);
        let rows = row.saturating_sub(1)..=(row + 1).min(self.rows - 1);
        rows.flat_map(move |r| {
            (col.saturating_sub(1)..=(col + 1).min(self.cols - 1)).map(move |c| r * self.cols + c)
        })
        .filter(move |&other| other != patch)
    }

    /// Refuses a grid without patches and a map whose length is not `rows * cols`.
    pub(crate) fn check_len(self, len: usize) -> Result<()> {
        if self.is_empty() || self.rows.checked_mul(self.cols) != Some(len) {
            let Self { rows, cols } = self;
            return Err(Error::Shape(format!(
                "{len} values for a grid of {rows} rows and {cols} columns"
            )));
        }
        Ok(())
    }
}

/// An axis-parallel rectangle as corners `x0, y0, x1, y1`, normalised to [0, 1] of the view image.
///
/// `y` points down. Zero-area rectangles are legal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rect {
    /// Left edge.
    pub x0: f64,
    /// Top edge.
    pub y0: f64,
    /// Right edge.
    pub x1: f64,
    /// Bottom edge.
    pub y1: f64,
}

impl Rect {
    /// A rectangle from its corners; nothing is checked until [`Rect::clipped`].
    pub const fn new(x0: f64, y0: f64, x1: f64, y1: f64) -> Self {
        Self { x0, y0, x1, y1 }
    }

    /// The part inside [0, 1].
    ///
    /// # Errors
    /// [`Error::Box`] when a corner is not finite or the corners are in the wrong order.
    pub fn clipped(self) -> Result<Self> {
        let Self { x0, y0, x1, y1 } = self;
        let finite = [x0, y0, x1, y1].iter().all(|v| v.is_finite());
        if !finite || x1 < x0 || y1 < y0 {
            return Err(Error::Box { x0, y0, x1, y1 });
        }
        let unit = |v: f64| v.clamp(0.0, 1.0);
        Ok(Self {
            x0: unit(x0),
            y0: unit(y0),
            x1: unit(x1),
            y1: unit(y1),
        })
    }

    /// The box at the precision captures are stored with. Unlike [`Rect::clipped`] it may reach beyond the image, as
    /// patches over padding do.
    ///
    /// # Errors
    /// [`Error::Box`] as in [`Rect::clipped`].
    pub(crate) fn as_stored(self) -> Result<Self> {
        self.clipped()?;
        let stored = |v: f64| f64::from(v as f32);
        let rect = Self {
            x0: stored(self.x0),
            y0: stored(self.y0),
            x1: stored(self.x1),
            y1: stored(self.y1),
        };
        rect.clipped()?;
        Ok(rect)
    }

    /// Width, normalised.
    pub fn width(self) -> f64 {
        self.x1 - self.x0
    }

    /// Height, normalised.
    pub fn height(self) -> f64 {
        self.y1 - self.y0
    }

    /// Area as a share of the image.
    pub fn area(self) -> f64 {
        self.width() * self.height()
    }

    /// Whether the closed rectangle holds the point.
    pub fn contains(self, x: f64, y: f64) -> bool {
        (self.x0..=self.x1).contains(&x) && (self.y0..=self.y1).contains(&y)
    }

    /// Intersection over union with another box; 0 where both have no area.
    ///
    /// # Errors
    /// [`Error::Box`] when one of them is not a box.
    pub fn iou(self, other: Self) -> Result<f64> {
        let (a, b) = (self.clipped()?, other.clipped()?);
        let width = (a.x1.min(b.x1) - a.x0.max(b.x0)).max(0.0);
        let height = (a.y1.min(b.y1) - a.y0.max(b.y0)).max(0.0);
        let inter = width * height;
        let union = a.area() + b.area() - inter;
        Ok(if union > 0.0 { inter / union } else { 0.0 })
    }
}
