//! How head maps become a heat map, and that a mask.

use egui::{DragValue, Ui};
use grounding::analysis::Field;
use grounding::{Aggregate, BaseMask, Budget, HeadId, HeadSelection, MaskRule};

use super::super::controls::{SliderRow, idle, kind, row};
use super::{Form, Threshold};
use crate::widgets::section;

impl Form<'_> {
    pub(super) fn map(&self, ui: &mut Ui, s: &mut HeadSelection) {
        section(ui, "Heat map");
        let head = self
            .look
            .and_then(|l| l.heads.first().copied())
            .unwrap_or(HeadId { layer: 0, head: 0 });
        kind(
            ui,
            "Made of",
            "What the heat map is made of, from which the mask is cut",
            &mut s.aggregate,
            &[
                (Aggregate::Selected { normalise: false }, "Selected heads"),
                (Aggregate::Head(head), "One head"),
                (Aggregate::Naive, "Mean of all heads"),
                (Aggregate::NaiveSinkFiltered, "Mean without sinks"),
                (Aggregate::MeanSubtracted, "Mean minus token mean"),
                (
                    Aggregate::Relative { layer: None },
                    "Relative to a generic prompt",
                ),
            ],
        );
        let layers = self.look.map_or(1, |l| l.maps.n_layers.max(1));
        let heads = self.look.map_or(1, |l| l.maps.n_heads.max(1));
        let mut unused = false;
        let (normalise, why) = match &mut s.aggregate {
            Aggregate::Selected { normalise } => (normalise, None),
            _ => (&mut unused, Some("Only for the sum of the selected heads")),
        };
        idle(ui, why, |ui| {
            row(
                ui,
                "Every head",
                "Divide every head map by its sum before they are added",
                |ui, _| {
                    ui.checkbox(normalise, "weighs the same");
                },
            );
        });
        let mut unused = head;
        let (id, why) = match &mut s.aggregate {
            Aggregate::Head(id) => (id, None),
            _ => (&mut unused, Some("Only where the map is made of one head")),
        };
        idle(ui, why, |ui| {
            row(
                ui,
                "Layer and head",
                "Position in the capture, from 0",
                |ui, label| {
                    let layer = DragValue::new(&mut id.layer).range(0..=layers - 1);
                    ui.add(layer.speed(0.05).prefix("L")).labelled_by(label);
                    let head = DragValue::new(&mut id.head).range(0..=heads - 1);
                    ui.add(head.speed(0.05).prefix("H")).labelled_by(label);
                },
            );
        });
        let mut unused = None;
        let (layer, why) = match &mut s.aggregate {
            Aggregate::Relative { layer } => (layer, None),
            _ => (
                &mut unused,
                Some("Only where the map is relative to a generic prompt"),
            ),
        };
        idle(ui, why, |ui| {
            row(
                ui,
                "Relative at layer",
                "The layer whose heads are compared with a generic prompt, from 0; the middle one as published",
                |ui, label| {
                    let mut middle = layer.is_none();
                    ui.checkbox(&mut middle, "middle");
                    let mut at = layer.unwrap_or(layers / 2);
                    let value = DragValue::new(&mut at).range(0..=layers - 1).speed(0.05);
                    ui.add_enabled(!middle, value).labelled_by(label);
                    *layer = (!middle).then_some(at);
                },
            );
        });
        let threshold = Threshold {
            field: Field::Sigma,
            name: "Smoothing σ",
            help: "Standard deviation of the Gaussian over patches; 0 is off",
            decimals: 2,
            unit: "",
            scale: 1.0,
            usual: s.smoothing.sigma,
        };
        let why = Field::Sigma
            .get(s)
            .is_none()
            .then_some("Only maps of chosen heads are smoothed");
        self.threshold(ui, s, &threshold, why);
        let off = (s.smoothing.sigma == 0.0).then_some("Smoothing is off");
        idle(ui, why.or(off), |ui| {
            let row = SliderRow {
                name: "Cut off at",
                help: "Radius of the Gaussian in σ: 4 gives 9 taps at σ = 1, 3 gives the paper's 7",
                range: 1.0..=6.0,
                decimals: 1,
                unit: " σ",
            };
            row.show(ui, &mut s.smoothing.truncate);
        });
    }

    pub(super) fn mask(&self, ui: &mut Ui, s: &mut HeadSelection) {
        section(ui, "Mask");
        let base = s.mask.base().unwrap_or_default();
        let budget = s.mask.budget().unwrap_or_default();
        let share = match base {
            BaseMask::KeepMass(share) => share,
            BaseMask::Mean => 0.6,
        };
        kind(
            ui,
            "Rule",
            "How the heat map becomes a mask. Training arms use exact areas, so that they differ in place only",
            &mut s.mask,
            &[
                (MaskRule::RegionBudget(budget), "Region of exact area"),
                (MaskRule::RegionComponent { base }, "Region at the peak"),
                (
                    MaskRule::TwoRegionsBudget {
                        base,
                        budget,
                        share1: 0.5,
                    },
                    "Two regions of exact area",
                ),
                (MaskRule::TwoRegions { base }, "Two regions"),
                (MaskRule::TopN(budget), "Brightest patches, scattered"),
                (MaskRule::KeepMass(share), "Share of the attention"),
                (MaskRule::Mean, "Above the mean (published)"),
            ],
        );
        self.area(ui, s);
        self.regions(ui, s);
        let threshold = Threshold {
            field: Field::Dilate,
            name: "Dilate",
            help: "Rounds of 3 × 3 dilation; the area is no longer exact when this is not 0",
            decimals: 0,
            unit: "",
            scale: 1.0,
            usual: s.dilate as f64,
        };
        self.threshold(ui, s, &threshold, None);
    }

    /// The area of a mask, in patches or as a share of the grid.
    fn area(&self, ui: &mut Ui, s: &mut HeadSelection) {
        let grid = self.look.map(|l| l.grid.grid);
        let patches = grid.map_or(64, |g| g.len());
        let mut usual = Budget::default();
        let (budget, why) = match &mut s.mask {
            MaskRule::TopN(budget)
            | MaskRule::RegionBudget(budget)
            | MaskRule::TwoRegionsBudget { budget, .. } => (budget, None),
            _ => (
                &mut usual,
                Some("The rule for the mask finds its area by itself"),
            ),
        };
        let (share, number) = match *budget {
            Budget::Share(share) => {
                let number = grid.and_then(|grid| budget.patches(grid).ok());
                (share, number.unwrap_or(1).clamp(1, patches))
            }
            Budget::Patches(n) => ((n as f64 / patches as f64).clamp(0.01, 1.0), n),
        };
        idle(ui, why, |ui| {
            kind(
                ui,
                "Area in",
                "Whether the area is a share of the grid or a number of patches",
                budget,
                &[
                    (Budget::Share(share), "Share of the grid"),
                    (Budget::Patches(number), "Patches"),
                ],
            );
        });
        let by_share = matches!(budget, Budget::Share(_));
        let threshold = match by_share {
            true => Threshold {
                field: Field::Area,
                name: "Area",
                help: "Share of all patches in the mask, rounded up",
                decimals: 0,
                unit: " %",
                scale: 100.0,
                usual: share,
            },
            false => Threshold {
                field: Field::Patches,
                name: "Area",
                help: "Exact number of patches in the mask",
                decimals: 0,
                unit: " p.",
                scale: 1.0,
                usual: number as f64,
            },
        };
        self.threshold(ui, s, &threshold, why);
    }

    /// What the regions of a mask are taken from, and how they share its area.
    fn regions(&self, ui: &mut Ui, s: &mut HeadSelection) {
        let mut usual = match s.mask {
            MaskRule::Mean => BaseMask::Mean,
            _ => BaseMask::default(),
        };
        let (base, why) = match &mut s.mask {
            MaskRule::RegionComponent { base }
            | MaskRule::TwoRegions { base }
            | MaskRule::TwoRegionsBudget { base, .. } => (base, None),
            _ => (
                &mut usual,
                Some("Only where regions are parts of a threshold mask"),
            ),
        };
        idle(ui, why, |ui| {
            kind(
                ui,
                "Regions of",
                "The mask whose connected parts are the regions",
                base,
                &[
                    (BaseMask::default(), "Share of the attention"),
                    (BaseMask::Mean, "Patches above the mean"),
                ],
            );
        });
        let threshold = Threshold {
            field: Field::KeepMass,
            name: "Attention kept",
            help: "Fewest patches that hold this share of the attention; DINO uses 60 %",
            decimals: 0,
            unit: " %",
            scale: 100.0,
            usual: 0.6,
        };
        let why = Field::KeepMass
            .get(s)
            .is_none()
            .then_some("The rule for the mask keeps no share of the attention");
        self.threshold(ui, s, &threshold, why);
        let threshold = Threshold {
            field: Field::FirstShare,
            name: "First region",
            help: "Share of the area that the first region gets",
            decimals: 0,
            unit: " %",
            scale: 100.0,
            usual: 0.5,
        };
        let why = Field::FirstShare
            .get(s)
            .is_none()
            .then_some("Only for two regions of exact area");
        self.threshold(ui, s, &threshold, why);
    }
}
