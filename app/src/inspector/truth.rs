//! What a mask is compared with.

use episode::PixelMask;
use episode::boxes::BoxFile;
use grounding::{Capture, Detection, Rect};

/// Where a reference box comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TruthSource {
    /// The exact mask of the target, from the dataset.
    Exact,
    /// The detector's most confident box.
    Detector,
}

impl TruthSource {
    /// The name shown to people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Exact => "exact mask",
            Self::Detector => "detector box",
        }
    }
}

/// Everything known about where one view should be looked at, in `[0, 1]` of its image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Truth {
    /// Box around the exact mask of the target.
    pub target: Option<Rect>,
    /// Box around the exact mask of the goal.
    pub goal: Option<Rect>,
    /// Boxes of the detector, most confident first.
    pub detections: Vec<Detection>,
}

impl Truth {
    /// The detections of one frame: those of the box file, else those the capture carries.
    pub fn detections(
        boxes: Option<&BoxFile>,
        episode: usize,
        step: usize,
        camera: &str,
        capture: Option<(&Capture, usize)>,
    ) -> Vec<Detection> {
        let view = capture.map_or(0, |(_, view)| view);
        let from_file = boxes
            .into_iter()
            .flat_map(|file| file.detections(episode, step, camera))
            .map(|d| Detection {
                rect: Rect::new(
                    f64::from(d.x0),
                    f64::from(d.y0),
                    f64::from(d.x1),
                    f64::from(d.y1),
                ),
                label: d.label.clone(),
                score: d.score,
                view,
            });
        let mut detections: Vec<Detection> = from_file.collect();
        if let (true, Some((capture, view))) = (detections.is_empty(), capture) {
            detections.extend(capture.boxes.iter().filter(|d| d.view == view).cloned());
        }
        detections.sort_by(|a, b| b.score.total_cmp(&a.score));
        detections
    }

    /// The box that numbers are measured against: exact where there is an exact one.
    pub fn reference(&self) -> Option<(Rect, TruthSource)> {
        let exact = self.target.map(|rect| (rect, TruthSource::Exact));
        exact.or_else(|| {
            self.detections
                .first()
                .map(|d| (d.rect, TruthSource::Detector))
        })
    }
}

/// The smallest box around a pixel mask, in `[0, 1]` of the image.
pub fn mask_rect(mask: &PixelMask) -> Option<Rect> {
    let [x0, y0, x1, y1] = mask.bounds()?.map(f64::from);
    let (width, height) = (f64::from(mask.width), f64::from(mask.height));
    Some(Rect::new(x0 / width, y0 / height, x1 / width, y1 / height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_masks_come_before_detections() {
        let mut mask = PixelMask::empty(4, 2);
        mask.bits[5] = true;
        let exact = mask_rect(&mask).unwrap();
        assert_eq!(exact, Rect::new(0.25, 0.5, 0.5, 1.0));
        assert!(mask_rect(&PixelMask::empty(4, 2)).is_none());
        let detection = Detection {
            rect: exact,
            label: "cube".into(),
            score: 0.4,
            view: 0,
        };
        let mut truth = Truth {
            detections: vec![detection],
            ..Truth::default()
        };
        assert_eq!(truth.reference().unwrap().1, TruthSource::Detector);
        truth.target = Some(exact);
        assert_eq!(truth.reference().unwrap().1, TruthSource::Exact);
        assert!(Truth::default().reference().is_none());
    }
}
