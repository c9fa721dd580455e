//! From what the window shows to parts of a recipe.

use std::path::Path;

use anyhow::Context as _;
use figure::{Arm, Column, Content, Frame, Look, MapChoice, Recipe, Style};
use grounding::Aggregate;

use crate::inspector::{HeadsFrom, Inspector};
use crate::opening::absolute;
use crate::state::{Source, WorkbenchState};

/// A figure of the current frame: the picture, where the mean of all heads looks, where the selected heads look, and
/// their mask against the boxes.
///
/// # Errors
/// When nothing is open.
pub(super) fn recipe(state: &WorkbenchState, inspector: &Inspector) -> anyhow::Result<Recipe> {
    let frame = frame(state)?;
    let arm = arm(state, inspector);
    let mut contents = Vec::new();
    if !frame.dataset.is_empty() {
        contents.push(Content::Picture);
    }
    if arm.is_some() {
        contents.extend([
            Content::HeatMap(MapChoice::Mean),
            Content::HeatMap(MapChoice::Selected),
            Content::Compare(MapChoice::Selected),
        ]);
    }
    anyhow::ensure!(
        !contents.is_empty(),
        "there is nothing to show: open a dataset or a capture"
    );
    let overlay = &state.settings.overlay;
    Ok(Recipe {
        style: Style {
            color_map: overlay.color_map,
            // The slider counts in percent; f32 would write 0.6 as 0.6000000238.
            opacity: (f64::from(overlay.opacity) * 100.0).round() / 100.0,
            ..Style::default()
        },
        arms: arm.into_iter().collect(),
        columns: contents
            .into_iter()
            .map(|content| Column {
                content,
                ..Column::default()
            })
            .collect(),
        frames: vec![frame],
        boxes: state
            .dataset
            .as_ref()
            .and_then(|d| d.boxes.as_ref())
            .map(|(path, _)| absolute(path)),
        ..Recipe::default()
    })
}

/// The frame under the cursor.
///
/// # Errors
/// When nothing is open, or the capture file has no capture of this frame.
pub(super) fn frame(state: &WorkbenchState) -> anyhow::Result<Frame> {
    let cursor = state.cursor;
    let captures = state.source.captures();
    let capture = state
        .capture_index()
        .transpose()
        .map_err(anyhow::Error::msg)?;
    match &state.dataset {
        Some(dataset) => {
            let cameras = &dataset.data.info().cameras;
            let camera = cameras
                .get(cursor.camera)
                .context("the dataset has no such camera")?;
            Ok(Frame {
                dataset: origin(&dataset.origin),
                episode: cursor.episode,
                step: cursor.step,
                camera: camera.name.clone(),
                capture,
                ..Frame::default()
            })
        }
        None => {
            let found = captures
                .and_then(|c| c.captures().get(cursor.step))
                .context("open a dataset or a capture first")?;
            let camera = found
                .views
                .get(cursor.camera)
                .map(|v| v.name.clone())
                .unwrap_or_default();
            let step = usize::try_from(found.step).unwrap_or(cursor.step);
            Ok(Frame {
                step,
                camera,
                capture,
                ..Frame::default()
            })
        }
    }
}

/// A dataset's path from the root, so that the recipe can be kept anywhere; specifications stay as they are.
pub(super) fn origin(origin: &str) -> String {
    if episode::is_specification(origin) {
        return origin.to_owned();
    }
    absolute(Path::new(origin)).to_string_lossy().into_owned()
}

/// What the window looks through, with its thresholds and heads; none when nothing looks.
pub(super) fn arm(state: &WorkbenchState, inspector: &Inspector) -> Option<Arm> {
    let look = match &state.source {
        Source::Nothing => return None,
        Source::Captures { path, .. } => Look::Captures(absolute(path)),
        Source::Checkpoint { .. } | Source::Run { .. } => {
            Look::Checkpoint(absolute(state.source.checkpoint()?))
        }
    };
    let selection = state.settings.selection.clone();
    let selects = matches!(selection.aggregate, Aggregate::Selected { .. });
    let (mut heads, mut heads_from) = (None, String::new());
    if let Some(seen) = inspector.look().filter(|_| selects)
        && let HeadsFrom::TuningSplit(frames) = seen.heads_from
        && !seen.heads.is_empty()
    {
        heads = Some(seen.heads.clone());
        heads_from = format!("voted over {frames} frames of the tuning split");
    }
    Some(Arm {
        name: String::new(),
        look,
        selection,
        heads,
        heads_from,
    })
}

/// Whether two arms make the same mask from the same attention.
pub(super) fn same_rules(a: &Arm, b: &Arm) -> bool {
    a.selection == b.selection && a.heads == b.heads
}

/// What an arm is called: its name, or the end of its path.
pub(super) fn arm_name(arm: &Arm) -> String {
    if arm.name.is_empty() {
        arm.look.name()
    } else {
        arm.name.clone()
    }
}

/// Where an arm's attention comes from and how its heads are chosen, in one line.
pub(super) fn arm_summary(arm: &Arm) -> String {
    let source = match &arm.look {
        Look::Nothing => "nothing looks".to_owned(),
        Look::Captures(path) | Look::Checkpoint(path) => path.display().to_string(),
    };
    let heads = match (&arm.heads, arm.selection.aggregate) {
        (
            _,
            Aggregate::Naive
            | Aggregate::NaiveSinkFiltered
            | Aggregate::MeanSubtracted
            | Aggregate::Relative { .. }
            | Aggregate::Head(_),
        ) => "no vote needed".to_owned(),
        (Some(heads), _) => {
            let from = if arm.heads_from.is_empty() {
                "as named"
            } else {
                &arm.heads_from
            };
            format!("{} heads, {from}", heads.len())
        }
        (None, _) => format!(
            "{} heads, voted over the rows of this figure",
            arm.selection.k
        ),
    };
    format!("{source} · {heads}")
}

/// What a frame is called in the list of rows.
pub(super) fn frame_name(frame: &Frame) -> String {
    let step = frame.step + 1;
    match frame.dataset.is_empty() {
        true => format!("step {step}"),
        false => format!("episode {}, step {step}, {}", frame.episode, frame.camera),
    }
}

/// Adds an arm, and for every column of the first arm one of the new arm behind it.
pub(super) fn add_arm(recipe: &mut Recipe, arm: Arm) {
    let new = recipe.arms.len();
    recipe.arms.push(arm);
    let of_first = |c: &&Column| c.content.map().is_some() && (new == 0 || c.arm == 0);
    let added: Vec<Column> = match new {
        0 => [
            Content::HeatMap(MapChoice::Selected),
            Content::Compare(MapChoice::Selected),
        ]
        .into_iter()
        .map(|content| Column {
            content,
            ..Column::default()
        })
        .collect(),
        _ => recipe
            .columns
            .iter()
            .filter(of_first)
            .map(|c| Column {
                arm: new,
                ..c.clone()
            })
            .collect(),
    };
    recipe.columns.extend(added);
}

/// Removes an arm and its columns.
pub(super) fn remove_arm(recipe: &mut Recipe, index: usize) {
    if index >= recipe.arms.len() {
        return;
    }
    recipe.arms.remove(index);
    let uses = |c: &Column| {
        let minus = matches!(c.content, Content::Difference { minus, .. } if minus == index);
        c.content.map().is_some() && (c.arm == index || minus)
    };
    recipe.columns.retain(|c| !uses(c));
    for column in &mut recipe.columns {
        if column.arm > index {
            column.arm -= 1;
        }
        if let Content::Difference { minus, .. } = &mut column.content
            && *minus > index
        {
            *minus -= 1;
        }
    }
    if recipe.columns.is_empty() {
        recipe.columns.push(Column::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspector::fake::Bench;

    #[test]
    fn a_recipe_of_the_current_frame_can_be_set() {
        let mut bench = Bench::dataset();
        bench.state.cursor.step = 2;
        bench.update_until("a look", |b| b.inspector.look().is_some());
        let made = recipe(&bench.state, &bench.inspector).unwrap();
        made.check().unwrap();
        assert_eq!(made.frames[0].step, 2);
        assert_eq!(made.frames[0].camera, "static");
        assert_eq!(made.columns[0].content, Content::Picture);
        assert_eq!(made.style.opacity, 0.6);
    }

    #[test]
    fn nothing_open_is_an_error() {
        let mut bench = Bench::captures();
        bench.state.source = Source::Nothing;
        bench.state.dataset = None;
        assert!(recipe(&bench.state, &bench.inspector).is_err());
        assert!(arm(&bench.state, &bench.inspector).is_none());
    }

    #[test]
    fn arms_come_and_go_with_their_columns() {
        let column = |content| Column {
            content,
            ..Column::default()
        };
        let mut made = Recipe {
            arms: vec![Arm::default()],
            columns: vec![
                column(Content::Picture),
                column(Content::Compare(MapChoice::Selected)),
            ],
            frames: vec![Frame::default()],
            ..Recipe::default()
        };
        let before = made.clone();
        add_arm(
            &mut made,
            Arm {
                look: Look::Checkpoint("b".into()),
                ..Arm::default()
            },
        );
        assert_eq!(made.columns.len(), 3);
        made.columns.push(column(Content::Difference {
            map: MapChoice::Mean,
            minus: 1,
        }));
        made.check().unwrap();
        remove_arm(&mut made, 1);
        assert_eq!(made, before);
        remove_arm(&mut made, 0);
        assert_eq!(made.columns, vec![column(Content::Picture)]);
        made.check().unwrap();
    }
}
