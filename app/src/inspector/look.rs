//! The frame under the cursor, from capture to mask and numbers.

use super::companions::{Companions, read};
use super::truth::{Truth, TruthSource};
use grounding::{
    Aggregate, Capture, Criterion, FrameMetrics, FrequencyTie, Gaze, HeadId, HeadMaps,
    HeadSelection, HeatMap, Rect, SampleScores, SwapMetrics, ViewGrid, frame_metrics, gaze,
    heat_map, score_heads, select_heads,
};
use session::MapChoice;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the selected heads were chosen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadsFrom {
    /// The tuning split of a survey, with its number of frames.
    TuningSplit(usize),
    /// The shown frame alone, because no survey is there yet.
    ThisFrame,
}

impl HeadsFrom {
    /// Completes "chosen on …".
    pub fn text(self) -> String {
        match self {
            Self::TuningSplit(1) => "one tuning frame".to_owned(),
            Self::TuningSplit(frames) => format!("{frames} tuning frames"),
            Self::ThisFrame => "this frame alone".to_owned(),
        }
    }
}

/// Everything that the look at one frame depends on.
#[derive(Clone)]
pub struct LookInputs {
    /// The capture.
    pub capture: Arc<Capture>,
    /// The same frame under other prompts, as far as that is there.
    pub companions: Companions,
    /// The view whose patches are looked at.
    pub view: usize,
    /// Every threshold.
    pub selection: HeadSelection,
    /// Which map is shown.
    pub map: MapChoice,
    /// Heads chosen on a survey, with its number of frames; none lets the frame choose for itself.
    pub heads: Option<(Vec<HeadId>, usize)>,
    /// What the mask is compared with.
    pub truth: Truth,
}

impl PartialEq for LookInputs {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.capture, &other.capture)
            && self.companions == other.companions
            && self.view == other.view
            && self.selection == other.selection
            && self.map == other.map
            && self.heads == other.heads
            && self.truth == other.truth
    }
}

/// One frame looked at: what the panes paint.
pub struct Look {
    /// What it was made from.
    pub inputs: LookInputs,
    /// Row of the capture that is read.
    pub query: usize,
    /// Patch grid of the view.
    pub grid: ViewGrid,
    /// Part of the image that the grid covers, in `[0, 1]`.
    pub extent: Rect,
    /// Attention of the query to the patches, all heads.
    pub maps: Arc<HeadMaps>,
    /// Scores of all heads on this frame, or why there are none.
    pub scores: Result<Arc<SampleScores>, Arc<str>>,
    /// The selected heads, best first. Empty when there are none; [`Look::gaze`] says why.
    pub heads: Vec<HeadId>,
    /// What they were chosen on.
    pub heads_from: HeadsFrom,
    /// The map that is shown, which need not be the one the mask is cut from.
    pub shown: Result<HeatMap, Arc<str>>,
    /// Heat map, mask and box of the selection.
    pub gaze: Result<Arc<Gaze>, Arc<str>>,
    /// Numbers against the reference box, with where that comes from.
    pub metrics: Option<(FrameMetrics, TruthSource)>,
    /// How long it took.
    pub elapsed: Duration,
}

impl Look {
    /// Computes what `inputs` ask for, taking over from `before` what has not changed.
    ///
    /// # Errors
    /// When the capture has no such view or query; what fails later is an error of the part that failed.
    pub fn new(inputs: LookInputs, before: Option<&Self>) -> grounding::Result<Self> {
        let began = Instant::now();
        let LookInputs {
            capture,
            companions,
            view,
            selection,
            map,
            heads,
            truth,
        } = &inputs;
        let query = capture.query(&selection.query)?;
        let same_capture = before.filter(|b| {
            Arc::ptr_eq(&b.inputs.capture, capture) && (b.inputs.view, b.query) == (*view, query)
        });
        let same_maps = same_capture.filter(|b| {
            b.inputs.selection.reads_like(selection) && b.inputs.companions == *companions
        });
        let (grid, maps) = match same_maps {
            Some(b) => (b.grid.clone(), b.maps.clone()),
            None => (
                capture.view_grid(*view)?,
                Arc::new(read(capture, companions, selection, *view)?),
            ),
        };
        let extent = grid.image_from_grid(Rect::new(0.0, 0.0, 1.0, 1.0));
        let reference = truth
            .reference()
            .map(|(rect, source)| (grid.grid_from_image(rect), source));
        // Entropy is a matter of the capture alone.
        let same_scores = same_capture.filter(|b| {
            b.inputs.selection.scores_like(selection)
                && match selection.criterion {
                    Criterion::Entropy => true,
                    Criterion::InstructionChange => b.inputs.companions == *companions,
                    Criterion::Boxes(_) => b.inputs.truth == *truth,
                }
        });
        let scores = match same_scores {
            Some(b) => b.scores.clone(),
            None => score_heads(&maps, reference.as_ref().map(|(rect, _)| rect), selection)
                .map(Arc::new)
                .map_err(text),
        };
        let (heads, heads_from) = match heads {
            Some((heads, frames)) => (heads.clone(), HeadsFrom::TuningSplit(*frames)),
            None => {
                // One frame gives every candidate one vote; its order of preference is all there is to go by.
                let alone = HeadSelection {
                    freq_tie: FrequencyTie::RankSum,
                    ..selection.clone()
                };
                let chosen = scores
                    .as_ref()
                    .ok()
                    .and_then(|s| select_heads(std::slice::from_ref(&**s), &alone).ok());
                (
                    chosen.map(|s| s.heads).unwrap_or_default(),
                    HeadsFrom::ThisFrame,
                )
            }
        };
        let same_gaze = same_maps.filter(|b| b.inputs.selection == *selection && b.heads == heads);
        let gaze = match same_gaze {
            Some(b) => b.gaze.clone(),
            None => match (&scores, &selection.aggregate) {
                // What kept the heads from being scored says more than that there are none.
                (Err(reason), Aggregate::Selected { .. }) if heads.is_empty() => {
                    Err(reason.clone())
                }
                _ => gaze(&maps, &heads, selection).map(Arc::new).map_err(text),
            },
        };
        let shown = match map {
            MapChoice::Selected => gaze.as_ref().map(|g| g.map.clone()).map_err(Clone::clone),
            MapChoice::Mean => {
                let naive = HeadSelection {
                    aggregate: Aggregate::Naive,
                    ..selection.clone()
                };
                heat_map(&maps, &[], &naive).map_err(text)
            }
            MapChoice::Head(id) => head_map(&maps, *id),
        };
        let metrics = reference.and_then(|(rect, source)| {
            let gaze = gaze.as_ref().ok()?;
            let mut metrics = frame_metrics(gaze, &rect).ok()?;
            metrics.swapped = swap_metrics(&maps, &heads, selection, gaze, &rect);
            Some((metrics, source))
        });
        Ok(Self {
            query,
            grid,
            extent,
            maps,
            scores,
            heads,
            heads_from,
            shown,
            gaze,
            metrics,
            elapsed: began.elapsed(),
            inputs,
        })
    }

    /// The mask against a box in `[0, 1]` of the image, also under another instruction where that is known.
    pub fn against(&self, rect: Rect) -> Option<FrameMetrics> {
        let gaze = self.gaze.as_ref().ok()?;
        let rect = self.grid.grid_from_image(rect);
        let swapped = swap_metrics(&self.maps, &self.heads, &self.inputs.selection, gaze, &rect);
        let metrics = frame_metrics(gaze, &rect).ok()?;
        Some(FrameMetrics { swapped, ..metrics })
    }

    /// The mask's box in `[0, 1]` of the image.
    pub fn mask_rect(&self) -> Option<Rect> {
        self.gaze
            .as_ref()
            .ok()?
            .rect
            .map(|rect| self.grid.image_from_grid(rect))
    }

    /// Name of the view.
    pub fn view_name(&self) -> &str {
        self.inputs
            .capture
            .views
            .get(self.inputs.view)
            .map_or("", |v| v.name.as_str())
    }

    /// How a head is named to people: the numbers of layer and head in the model.
    pub fn head_name(&self, id: HeadId) -> String {
        head_name(&self.inputs.capture, id)
    }

    /// How the shown map is named to people.
    pub fn shown_name(&self) -> String {
        match self.inputs.map {
            MapChoice::Selected => match self.inputs.selection.aggregate {
                Aggregate::Selected { .. } => {
                    let names: Vec<String> =
                        self.heads.iter().map(|h| self.head_name(*h)).collect();
                    format!("Selected heads {}", names.join(", "))
                }
                Aggregate::Naive => "Mean of all heads".into(),
                Aggregate::NaiveSinkFiltered => "Mean of all heads without sinks".into(),
                Aggregate::Head(id) => format!("Head {}, smoothed", self.head_name(id)),
                Aggregate::MeanSubtracted => "Mean over heads minus mean over tokens".into(),
                Aggregate::Relative { .. } => "One layer relative to a generic prompt".into(),
            },
            MapChoice::Mean => "Mean of all heads".into(),
            MapChoice::Head(id) => format!("Head {}", self.head_name(id)),
        }
    }
}

/// What the same heads and rules make of the frame under another instruction; none where it was not seen under one.
fn swap_metrics(
    maps: &HeadMaps,
    heads: &[HeadId],
    selection: &HeadSelection,
    gaze: &Gaze,
    truth: &Rect,
) -> Option<SwapMetrics> {
    let map = heat_map(maps.swapped.as_ref()?, heads, selection).ok()?;
    let (swapped, _) = Gaze::from_map_or_why(map, &selection.mask, selection.dilate).ok()?;
    SwapMetrics::new(gaze, &swapped, truth).ok()
}

/// Layer and head numbers in the model, as in `L3·H5`.
pub fn head_name(capture: &Capture, id: HeadId) -> String {
    let number = |list: &[u32], index: u16| {
        list.get(usize::from(index))
            .copied()
            .unwrap_or(u32::from(index))
    };
    format!(
        "L{}·H{}",
        number(&capture.layers, id.layer),
        number(&capture.heads, id.head)
    )
}

/// The map of one head as it was captured, not smoothed.
fn head_map(maps: &HeadMaps, id: HeadId) -> Result<HeatMap, Arc<str>> {
    let (layer, head) = (usize::from(id.layer), usize::from(id.head));
    if layer >= maps.n_layers || head >= maps.n_heads {
        return Err("the capture has no such head".into());
    }
    Ok(HeatMap {
        grid: maps.grid,
        values: maps
            .head(layer, head)
            .iter()
            .map(|v| f64::from(*v))
            .collect(),
    })
}

fn text(error: grounding::Error) -> Arc<str> {
    error.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::super::Prompt;
    use super::super::fake::{GRID, fake_capture, fake_capture_under, peak};
    use super::*;

    fn inputs() -> LookInputs {
        LookInputs {
            capture: Arc::new(fake_capture(1, 2)),
            companions: Companions::default(),
            view: 0,
            selection: HeadSelection {
                k: 2,
                ..HeadSelection::default()
            },
            map: MapChoice::Selected,
            heads: None,
            truth: Truth {
                target: Some(GRID.patch_rect(peak(1, 2))),
                ..Truth::default()
            },
        }
    }

    #[test]
    fn the_mask_covers_what_the_good_heads_look_at() {
        let look = Look::new(inputs(), None).unwrap();
        assert_eq!(
            look.heads,
            vec![HeadId { layer: 3, head: 1 }, HeadId { layer: 4, head: 1 }]
        );
        assert_eq!(look.heads_from, HeadsFrom::ThisFrame);
        let (metrics, source) = look.metrics.as_ref().unwrap();
        assert!(metrics.pointing);
        assert_eq!(*source, TruthSource::Exact);
        assert_eq!(look.gaze.as_ref().unwrap().mask.count(), 5);
        assert_eq!(look.shown_name(), "Selected heads L3·H1, L4·H1");
    }

    #[test]
    fn a_changed_mask_rule_keeps_maps_and_scores() {
        let first = Look::new(inputs(), None).unwrap();
        let mut changed = first.inputs.clone();
        changed.selection.mask = grounding::MaskRule::Mean;
        let second = Look::new(changed, Some(&first)).unwrap();
        assert!(Arc::ptr_eq(&first.maps, &second.maps));
        assert!(Arc::ptr_eq(
            first.scores.as_ref().unwrap(),
            second.scores.as_ref().unwrap()
        ));
        assert!(!Arc::ptr_eq(
            first.gaze.as_ref().unwrap(),
            second.gaze.as_ref().unwrap()
        ));

        let mut preview = second.inputs.clone();
        preview.map = MapChoice::Head(HeadId { layer: 0, head: 0 });
        let third = Look::new(preview, Some(&second)).unwrap();
        assert!(Arc::ptr_eq(
            second.gaze.as_ref().unwrap(),
            third.gaze.as_ref().unwrap()
        ));
        assert_eq!(third.shown.as_ref().unwrap().values.len(), GRID.len());
    }

    #[test]
    fn a_frame_under_another_instruction_is_compared_with_itself() {
        let first = Look::new(inputs(), None).unwrap();
        assert_eq!(first.metrics.unwrap().0.swapped, None);
        let mut complete = first.inputs.clone();
        complete.companions.swapped = Some(Arc::new(fake_capture_under(1, 2, Prompt::Swapped)));
        let second = Look::new(complete, Some(&first)).unwrap();
        // What was measured of the capture itself stays.
        assert!(Arc::ptr_eq(
            first.scores.as_ref().unwrap(),
            second.scores.as_ref().unwrap()
        ));
        assert_eq!(second.heads, first.heads);
        let metrics = second.metrics.unwrap().0;
        assert!(metrics.pointing && !metrics.swapped.unwrap().pointing);
        assert!(metrics.swapped.unwrap().mask_overlap < 0.5);

        // The heads that move are those that follow the instruction.
        let mut by_change = second.inputs.clone();
        by_change.selection.criterion = Criterion::InstructionChange;
        by_change.selection.elbow.mode = grounding::ElbowMode::None;
        let third = Look::new(by_change.clone(), Some(&second)).unwrap();
        assert_eq!(third.heads, first.heads);
        by_change.companions = Companions::default();
        let without = Look::new(by_change, Some(&third)).unwrap();
        let why = without.gaze.unwrap_err();
        assert!(why.contains("another instruction"), "{why}");
    }

    #[test]
    fn relative_attention_needs_the_generic_prompt() {
        let mut relative = inputs();
        relative.selection.aggregate = Aggregate::Relative { layer: Some(3) };
        let look = Look::new(relative.clone(), None).unwrap();
        let why = look.gaze.unwrap_err();
        assert!(why.contains("generic prompt"), "{why}");
        relative.companions.generic = Some(Arc::new(fake_capture_under(1, 2, Prompt::Generic)));
        let look = Look::new(relative, None).unwrap();
        assert_eq!(look.gaze.unwrap().peak, Some(peak(1, 2)));
    }

    #[test]
    fn what_the_capture_lacks_is_said() {
        let mut wrong = inputs();
        wrong.selection.query = grounding::QuerySelector::Token("banana".into());
        assert!(
            Look::new(wrong, None)
                .err()
                .unwrap()
                .to_string()
                .contains("banana")
        );
        let mut wrong = inputs();
        wrong.map = MapChoice::Head(HeadId { layer: 99, head: 0 });
        assert!(Look::new(wrong, None).unwrap().shown.is_err());
    }
}
