//! Times one job on attention rows from a file: what `tests/compare/grounding.py` sets beside numpy and scipy.
//!
//! `time_grounding entropy|select_mask ROWS.f32 SAMPLES LAYERS HEADS ROWS COLS REPETITIONS RESULTS`
//!
//! The input is `[samples, layers, heads, rows * cols]` in little-endian f32. Seconds of every repetition, all samples
//! together, go to the standard output as JSON. The results of the last one go to the last file:
//!
//! * `entropy`: per head its entropy and its number of components, f64.
//! * `select_mask`: per sample the flat indices of the selected heads and then one number per patch, u32. Heads are
//!   chosen from the sample alone; the mask is the component of the peak among the patches that hold 60 %.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use grounding::{
    BaseMask, Grid, HeadMaps, HeadSelection, MaskRule, Meter, gaze, score_heads, select_heads,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [
        job,
        input,
        samples,
        layers,
        heads,
        rows,
        cols,
        repetitions,
        results,
    ] = &arguments[..]
    else {
        return Err(
            "expected: JOB ROWS.f32 SAMPLES LAYERS HEADS ROWS COLS REPETITIONS RESULTS".into(),
        );
    };
    let samples: usize = samples.parse()?;
    let (layers, heads) = (layers.parse()?, heads.parse()?);
    let grid = Grid::new(rows.parse()?, cols.parse()?);
    let bytes = std::fs::read(input)?;
    let data: Vec<f32> = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect();
    let sample_len = layers * heads * grid.len();
    if data.len() != samples * sample_len || data.is_empty() {
        return Err(format!("{} weights are not {samples} samples", data.len()).into());
    }
    let (seconds, written) = match job.as_str() {
        "entropy" => repeat(repetitions.parse()?, || entropy(&data, grid))?,
        "select_mask" => {
            let frames: Vec<Arc<[f32]>> = data.chunks_exact(sample_len).map(Into::into).collect();
            repeat(repetitions.parse()?, || {
                select_mask(&frames, layers, heads, grid)
            })?
        }
        _ => return Err(format!("no job `{job}`").into()),
    };
    std::fs::write(results, written)?;
    println!("{}", serde_json::json!({ "seconds": seconds }));
    Ok(())
}

/// Runs a job once to warm up and then so often, and returns the times and the last result.
fn repeat(times: usize, mut job: impl FnMut() -> Result<Vec<u8>>) -> Result<(Vec<f64>, Vec<u8>)> {
    let mut result = job()?;
    let mut seconds = Vec::with_capacity(times);
    for _ in 0..times {
        let start = Instant::now();
        result = black_box(job()?);
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok((seconds, result))
}

fn entropy(data: &[f32], grid: Grid) -> Result<Vec<u8>> {
    let mut meter = Meter::new(grid, &HeadSelection::default())?;
    let mut out = Vec::with_capacity(data.len() / grid.len() * 16);
    for map in data.chunks_exact(grid.len()) {
        let measure = meter.measure(map)?;
        out.extend(measure.entropy.to_le_bytes());
        out.extend(f64::from(measure.components).to_le_bytes());
    }
    Ok(out)
}

fn select_mask(frames: &[Arc<[f32]>], layers: usize, heads: usize, grid: Grid) -> Result<Vec<u8>> {
    let selection = HeadSelection {
        mask: MaskRule::RegionComponent {
            base: BaseMask::KeepMass(0.6),
        },
        ..HeadSelection::default()
    };
    let mut out = Vec::with_capacity(frames.len() * (grid.len() + selection.k) * 4);
    for frame in frames {
        let maps = HeadMaps::new(grid, layers, heads, Arc::clone(frame))?;
        let scores = score_heads(&maps, None, &selection)?;
        let selected = select_heads(&[scores], &selection)?;
        let gaze = gaze(&maps, &selected.heads, &selection)?;
        let flat = |id: &grounding::HeadId| u32::from(id.layer) * heads as u32 + u32::from(id.head);
        for number in selected.heads.iter().map(flat) {
            out.extend(number.to_le_bytes());
        }
        for &bit in &gaze.mask.bits {
            out.extend(u32::from(bit).to_le_bytes());
        }
    }
    Ok(out)
}
