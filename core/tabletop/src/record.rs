use crate::generated::{Recipe, camera_infos};
use crate::render::Camera;
use crate::trace::Trace;
use crate::{ACTION_NAMES, CAMERAS, Error, FPS, Result, STATE_NAMES};
use episode::Region;
use episode::lerobot::{Frame, RegionMasks, Writer, WriterSpec};
use rayon::prelude::*;
use std::path::Path;

/// Episodes that are played and drawn at the same time; bounds the memory that pictures take.
const BATCH: usize = 32;

/// Lets the expert play and writes what happens as a LeRobotDataset v3.0 with exact masks at `out`, which must not
/// exist or be an empty folder. The same recipe writes the same bytes; the episodes are those of [`Generated`] for the
/// same recipe.
///
/// `progress` is told the number of finished episodes and stops the recording by returning `false`.
///
/// [`Generated`]: crate::Generated
pub fn record(recipe: &Recipe, out: &Path, progress: &mut dyn FnMut(usize) -> bool) -> Result<()> {
    let mut writer = Writer::create(
        out,
        WriterSpec {
            fps: FPS,
            robot_type: "tabletop".to_owned(),
            cameras: camera_infos(),
            mask_cameras: CAMERAS.map(|(name, _, _)| name.to_owned()).to_vec(),
            action_names: ACTION_NAMES.map(str::to_owned).to_vec(),
            state_names: STATE_NAMES.map(str::to_owned).to_vec(),
        },
    )?;
    let mut done = 0;
    while done < recipe.episodes {
        let batch = done..recipe.episodes.min(done + BATCH);
        let drawn: Vec<_> = batch
            .into_par_iter()
            .map(|index| {
                let trace = recipe.simulate(index);
                let frames = draw(&trace);
                (trace, frames)
            })
            .collect();
        for (trace, frames) in drawn {
            for ((drawn, snapshot), action) in
                frames.iter().zip(&trace.snapshots).zip(&trace.actions)
            {
                writer.push_frame(&Frame {
                    images: &drawn.images,
                    masks: &drawn.masks,
                    state: &snapshot.hand,
                    action,
                })?;
            }
            writer.end_episode(trace.task.instruction())?;
            done += 1;
            if !progress(done) {
                return Err(Error::Cancelled);
            }
        }
    }
    writer.finish()?;
    Ok(())
}

struct Drawn {
    images: [episode::Image; 2],
    masks: [RegionMasks; 2],
}

fn draw(trace: &Trace) -> Vec<Drawn> {
    let Trace { scene, task, .. } = trace;
    let draw = |snapshot| Drawn {
        images: Camera::ALL.map(|camera| scene.render(snapshot, camera)),
        masks: Camera::ALL.map(|camera| RegionMasks {
            target: scene.mask(snapshot, task, camera, Region::Target),
            goal: scene.mask(snapshot, task, camera, Region::Goal),
        }),
    };
    trace.snapshots.iter().map(draw).collect()
}
