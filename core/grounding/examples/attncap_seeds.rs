//! Writes a few small attention captures into a folder: seeds for the fuzz target, and examples of the format.

use std::error::Error;
use std::path::PathBuf;

use grounding::{
    Capture, CaptureParts, Detection, Grid, Key, Query, Rect, Sinks, TokenRole, View, attncap,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1);
    let folder = PathBuf::from(folder.ok_or("name a folder to write to")?);
    std::fs::create_dir_all(&folder)?;
    let files = [
        ("one.attncap", vec![capture(1, 2, &[Grid::new(1, 2)], 0)?]),
        (
            "two_views.attncap",
            vec![capture(3, 2, &[Grid::new(2, 3), Grid::new(3, 2)], 4)?],
        ),
        (
            "steps.attncap",
            vec![
                capture(1, 1, &[Grid::new(2, 2)], 1)?,
                capture(1, 1, &[Grid::new(2, 2)], 7)?,
            ],
        ),
        ("deep.attncap", vec![capture(6, 3, &[Grid::new(3, 3)], 2)?]),
    ];
    for (name, captures) in files {
        attncap::write(&folder.join(name), &captures)?;
    }
    Ok(())
}

/// A text token, the patches of every view and an action token; `step` also decides what else is recorded.
fn capture(
    n_layers: u32,
    n_heads: u32,
    grids: &[Grid],
    step: u64,
) -> Result<Capture, grounding::Error> {
    let text = Key {
        token: "pick".into(),
        ..Key::default()
    };
    let mut keys = vec![text];
    for (view, grid) in grids.iter().enumerate() {
        keys.extend((0..grid.len()).map(|patch| Key {
            role: TokenRole::Image,
            view: Some(view),
            rect: Some(grid.patch_rect(patch)),
            ..Key::default()
        }));
    }
    let queries = [
        ("pick", TokenRole::Text, 0),
        ("<act>", TokenRole::Action, 40),
    ];
    let queries = queries.map(|(token, role, position)| Query {
        position,
        token: token.into(),
        role,
    });
    // Multiples of 1/256 fit into f16, those of 1/300 do not.
    let unit = if step.is_multiple_of(2) {
        1.0 / 256.0
    } else {
        1.0 / 300.0
    };
    let weights = (n_layers * n_heads) as usize * queries.len() * keys.len();
    let phi = (0..keys.len()).map(|i| i as f64).collect();
    Capture::new(CaptureParts {
        model_id: "model".into(),
        source: "episode 0".into(),
        instruction: "pick the cube".into(),
        step,
        layers: (0..n_layers).collect(),
        heads: (0..n_heads).collect(),
        views: (0..2)
            .map(|view| View {
                name: format!("view {view}"),
                width: 64,
                height: 48,
            })
            .collect(),
        attn: (0..weights).map(|i| ((i * 7) % 11) as f32 * unit).collect(),
        boxes: (0..step.min(1))
            .map(|_| Detection {
                rect: Rect::new(0.1, 0.2, 0.3, 0.4),
                label: "cube".into(),
                score: 0.5,
                view: 0,
            })
            .collect(),
        action: (step > 1).then(|| vec![0.5, -0.25]),
        sinks: match step {
            0 => None,
            1 => Some(Sinks::Verdict(
                keys.iter().map(|k| k.view.is_none()).collect(),
            )),
            _ => Some(Sinks::Phi { phi, width: 64 }),
        },
        queries: queries.into(),
        keys,
    })
}
