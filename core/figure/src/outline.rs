//! The outline of a set of grid cells, as closed paths along cell edges.

/// A vertex of the cell grid, `[column, row]`; cell `(r, c)` spans `[c, r]` to `[c + 1, r + 1]`.
pub type Vertex = [u32; 2];

/// Directions along the grid in screen space (y grows downwards), in clockwise order.
const STEPS: [[i64; 2]; 4] = [[1, 0], [0, 1], [-1, 0], [0, -1]];
const EAST: usize = 0;
const SOUTH: usize = 1;
const WEST: usize = 2;
const NORTH: usize = 3;

/// Traces the boundary of the set cells of a `rows` × `cols` grid (`bits` row-major).
///
/// Every path is closed (the last vertex joins the first), holds corner vertices only and runs clockwise on screen
/// around cells and anticlockwise around holes, so the signed areas of all paths add up to the number of set cells.
/// Cells that touch at a corner only get a path each. Missing bits count as unset.
pub fn outline(rows: usize, cols: usize, bits: &[bool]) -> Vec<Vec<Vertex>> {
    if rows == 0 || cols == 0 {
        return Vec::new();
    }
    let set = |r: usize, c: usize| {
        r < rows && c < cols && bits.get(r * cols + c).copied().unwrap_or(false)
    };
    let stride = cols + 1;
    // Bit d of a vertex: a boundary edge leaves it in direction d, with the set cell on its right.
    let mut leaving = vec![0u8; (rows + 1) * stride];
    for r in 0..rows {
        for c in 0..cols {
            if set(r, c) {
                if r == 0 || !set(r - 1, c) {
                    leaving[r * stride + c] |= 1 << EAST;
                }
                if !set(r, c + 1) {
                    leaving[r * stride + c + 1] |= 1 << SOUTH;
                }
                if !set(r + 1, c) {
                    leaving[(r + 1) * stride + c + 1] |= 1 << WEST;
                }
                if c == 0 || !set(r, c - 1) {
                    leaving[(r + 1) * stride + c] |= 1 << NORTH;
                }
            }
        }
    }
    let mut paths = Vec::new();
    // Every closed path has an edge that runs east, and the first one met in row-major order starts at a corner.
    for start in 0..leaving.len() {
        if leaving[start] & (1 << EAST) != 0 {
            paths.push(trace(&mut leaving, stride, start));
        }
    }
    paths
}

/// Follows one path from the east-running edge at vertex `start`, consuming its edges.
fn trace(leaving: &mut [u8], stride: usize, start: usize) -> Vec<Vertex> {
    let mut path = Vec::new();
    let mut at = start;
    let mut direction = EAST;
    let mut arrived = usize::MAX;
    loop {
        leaving[at] &= !(1 << direction);
        if direction != arrived {
            path.push([(at % stride) as u32, (at / stride) as u32]);
        }
        let [dx, dy] = STEPS[direction];
        at = (at as i64 + dy * stride as i64 + dx) as usize;
        arrived = direction;
        // Turning right first keeps the path on its own cell where two cells meet at a corner.
        let next = [1, 0, 3]
            .map(|turn| (direction + turn) % 4)
            .into_iter()
            .find(|d| leaving[at] & (1 << d) != 0);
        match next {
            Some(d) => direction = d,
            // All edges of the path are used up: it is back at its start.
            None => return path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rows: &[&str]) -> (usize, usize, Vec<bool>) {
        (
            rows.len(),
            rows[0].len(),
            rows.iter()
                .flat_map(|r| r.bytes().map(|b| b == b'#'))
                .collect(),
        )
    }

    /// Signed area by the shoelace formula; positive is clockwise on screen.
    fn area(path: &[Vertex]) -> i64 {
        let twice: i64 = (0..path.len())
            .map(|i| {
                let ([x0, y0], [x1, y1]) = (path[i], path[(i + 1) % path.len()]);
                i64::from(x0) * i64::from(y1) - i64::from(x1) * i64::from(y0)
            })
            .sum();
        twice / 2
    }

    #[test]
    fn one_cell_is_a_square() {
        let (r, c, bits) = parse(&["...", ".#.", "..."]);
        assert_eq!(
            outline(r, c, &bits),
            vec![vec![[1, 1], [2, 1], [2, 2], [1, 2]]]
        );
    }

    #[test]
    fn a_full_grid_has_four_corners() {
        assert_eq!(
            outline(13, 27, &[true; 13 * 27]),
            vec![vec![[0, 0], [27, 0], [27, 13], [0, 13]]]
        );
    }

    #[test]
    fn a_hole_runs_the_other_way() {
        let (r, c, bits) = parse(&["###", "#.#", "###"]);
        let mut areas: Vec<i64> = outline(r, c, &bits).iter().map(|p| area(p)).collect();
        areas.sort_unstable();
        assert_eq!(areas, vec![-1, 9]);
    }

    #[test]
    fn cells_that_touch_at_a_corner_are_two_paths() {
        for rows in [["#.", ".#"], [".#", "#."]] {
            let (r, c, bits) = parse(&rows);
            let paths = outline(r, c, &bits);
            assert_eq!(paths.len(), 2, "{rows:?}");
            assert!(paths.iter().all(|p| p.len() == 4 && area(p) == 1));
        }
    }

    #[test]
    fn nothing_set_has_no_outline() {
        assert!(outline(4, 4, &[false; 16]).is_empty());
        assert!(outline(0, 4, &[]).is_empty());
    }

    #[test]
    fn areas_add_up_and_corners_alternate_on_random_masks() {
        // Knuth's linear congruential generator; its high bits are random enough for masks.
        let mut state = 1u64;
        let mut next = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        for _ in 0..200 {
            let (rows, cols) = (1 + next() % 11, 1 + next() % 11);
            let bits: Vec<bool> = (0..rows * cols).map(|_| next() % 2 == 0).collect();
            let paths = outline(rows, cols, &bits);
            let total: i64 = paths.iter().map(|p| area(p)).sum();
            assert_eq!(total, bits.iter().filter(|b| **b).count() as i64);
            for path in &paths {
                for i in 0..path.len() {
                    let (a, b, c) = (
                        path[i],
                        path[(i + 1) % path.len()],
                        path[(i + 2) % path.len()],
                    );
                    let horizontal = a[1] == b[1];
                    assert_ne!(horizontal, b[1] == c[1], "collinear vertex in {path:?}");
                }
            }
        }
    }
}
