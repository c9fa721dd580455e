//! What a selection gives: both splits with their intervals, and how many heads the frames vote for.

use egui::text::LayoutJob;
use egui::{
    Color32, FontFamily, FontId, Rect, RichText, Role, Sense, Shape, Stroke, TextFormat, TextStyle,
    Ui, WidgetInfo, WidgetText, vec2,
};
use grounding::analysis::{Interval, Summary};
use grounding::{ElbowMode, Evaluation, FrameMetrics, HeadSelection, Split, SwapMetrics};
use std::collections::BTreeMap;

use super::{Table, controls, hit_text};
use crate::inspector::{LookState, SURVEY_JOB};
use crate::panes::PaneContext;
use crate::theme::{self, SPACE, Tokens};

/// A number of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    MeanIou,
    BoxRecall,
    Hit,
    SwappedHit,
    NearHit,
    SwappedNearHit,
}

impl Measure {
    /// Every number, beside each hit the one under another instruction.
    pub(super) const ALL: [Self; 6] = [
        Self::MeanIou,
        Self::BoxRecall,
        Self::Hit,
        Self::SwappedHit,
        Self::NearHit,
        Self::SwappedNearHit,
    ];

    /// The name shown to people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::MeanIou => "Mean IoU",
            Self::BoxRecall => "Box IoU ≥ 0.5",
            Self::Hit => "Hit",
            Self::SwappedHit => "Hit, swapped",
            Self::NearHit => "Hit ± 1 patch",
            Self::SwappedNearHit => "± 1, swapped",
        }
    }

    fn help(self) -> &'static str {
        match self {
            Self::MeanIou => {
                "Intersection over union of mask and reference box, mean over frames; patches count by the share of their \
                 area inside the box"
            }
            Self::BoxRecall => {
                "Share of frames in which the mask's box and the reference box overlap by at least 0.5 (box recall at 0.5)"
            }
            Self::Hit => {
                "Share of frames in which the brightest patch lies in the reference box (pointing game)"
            }
            Self::SwappedHit => {
                "The same frames under another instruction: how often the brightest patch stays in the box of the original \
                 one. A head that does not move shows what catches the eye, not what the instruction names"
            }
            Self::NearHit => "Hit, with the box grown by one patch on every side",
            Self::SwappedNearHit => {
                "Hit within one patch of the original box, under another instruction"
            }
        }
    }

    /// Whether it needs frames seen under another instruction.
    fn is_swapped(self) -> bool {
        matches!(self, Self::SwappedHit | Self::SwappedNearHit)
    }

    /// Its value and 95 % interval; none where no frame has it.
    pub(super) fn of(self, summary: &Summary) -> Option<(f64, Option<Interval>)> {
        let (m, i) = (&summary.metrics, summary.intervals.as_ref());
        let (value, interval) = match self {
            Self::MeanIou => (m.mean_iou, i.map(|i| i.mean_iou)),
            Self::BoxRecall => (m.box_recall, i.map(|i| i.box_recall)),
            Self::Hit => (m.pointing, i.map(|i| i.pointing)),
            Self::SwappedHit => (m.swapped?.pointing, i.map(|i| i.swapped_pointing)),
            Self::NearHit => (m.pointing_slack, i.map(|i| i.pointing_slack)),
            Self::SwappedNearHit => (
                m.swapped?.pointing_slack,
                i.map(|i| i.swapped_pointing_slack),
            ),
        };
        let interval = interval.filter(|i| i.low.is_finite() && i.high.is_finite());
        value.is_finite().then_some((value, interval))
    }

    /// Its value on one frame: a number, or hit and miss.
    fn of_frame(self, m: &FrameMetrics, tokens: &Tokens) -> Option<RichText> {
        let number = |v: f64| {
            RichText::new(format!("{v:.2}"))
                .monospace()
                .color(tokens.text)
        };
        // Under another instruction the box of the original one is not what should be hit.
        let swapped = |hit: fn(&SwapMetrics) -> bool| {
            let (text, color) = match hit(m.swapped.as_ref()?) {
                true => ("hit", tokens.warn),
                false => ("miss", tokens.text_weak),
            };
            Some(RichText::new(text).color(color))
        };
        match self {
            Self::MeanIou => Some(number(m.mask_iou)),
            Self::BoxRecall => Some(number(m.box_iou)),
            Self::Hit => Some(hit_text(m.pointing, tokens)),
            Self::NearHit => Some(hit_text(m.pointing_slack, tokens)),
            Self::SwappedHit => swapped(|s| s.pointing),
            Self::SwappedNearHit => swapped(|s| s.pointing_slack),
        }
    }

    /// `0.48`, or `61 %`.
    pub(super) fn text(self, value: f64) -> String {
        match self {
            Self::MeanIou => format!("{value:.2}"),
            _ => format!("{:.0} %", value * 100.0),
        }
    }

    /// `0.41–0.55`, or `52–70`, without the unit that the value carries.
    fn interval_text(self, interval: Interval) -> String {
        let Interval { low, high } = interval;
        match self {
            Self::MeanIou => format!("{low:.2}–{high:.2}"),
            _ => format!("{:.0}–{:.0}", low * 100.0, high * 100.0),
        }
    }

    /// A row of the name and the numbers of some splits, with what the tooltips say besides.
    pub(super) fn row(
        self,
        ui: &mut Ui,
        table: &Table,
        first: Option<(WidgetText, String)>,
        splits: &[(Option<&Summary>, Color32, &str)],
        has_room: bool,
    ) {
        let tokens = theme::tokens(ui);
        let cells: Vec<_> = splits
            .iter()
            .map(|(summary, color, audit)| self.cell(ui, *summary, *color, audit, has_room))
            .collect();
        let color = match self.is_swapped() {
            true => tokens.text_weak,
            false => tokens.text,
        };
        let name = RichText::new(self.name()).color(color);
        table.row(ui, name, self.help(), first.into_iter().chain(cells));
    }

    fn cell(
        self,
        ui: &Ui,
        summary: Option<&Summary>,
        color: Color32,
        audit: &str,
        has_room: bool,
    ) -> (WidgetText, String) {
        let Some((value, interval)) = summary.and_then(|summary| self.of(summary)) else {
            let why = match summary {
                Some(_) if self.is_swapped() => {
                    "These frames were not seen under another instruction: that needs a live model, or a capture that was \
                     recorded with it"
                }
                _ => audit,
            };
            return (dash(ui, has_room).into(), why.to_owned());
        };
        let text = match interval {
            Some(i) => format!("95 % over episodes: {}", self.interval_text(i)),
            None => "No interval: that takes two episodes".to_owned(),
        };
        let hover = format!("{} {}\n{text}\n{audit}", self.name(), self.text(value));
        let mut job = LayoutJob::default();
        job.append(
            &self.text(value),
            0.0,
            mono(ui, &TextStyle::Monospace, color),
        );
        if has_room {
            let text = interval.map_or_else(String::new, |i| self.interval_text(i));
            let weak = mono(ui, &TextStyle::Small, theme::tokens(ui).text_weak);
            job.append(&format!(" {text:>INTERVAL$}"), 0.0, weak);
        }
        (job.into(), hover)
    }
}

/// Most characters of an interval.
const INTERVAL: usize = 9;

/// Figures that stand in columns.
fn mono(ui: &Ui, style: &TextStyle, color: Color32) -> TextFormat {
    let size = style.resolve(ui.style()).size;
    TextFormat {
        font_id: FontId::new(size, FontFamily::Monospace),
        color,
        ..TextFormat::default()
    }
}

/// Nothing, where a number would end.
fn dash(ui: &Ui, has_room: bool) -> LayoutJob {
    let weak = theme::tokens(ui).text_weak;
    let mut job = LayoutJob::default();
    job.append("–", 0.0, mono(ui, &TextStyle::Monospace, weak));
    if has_room {
        // Spaces at the end of a line take no room, unless something without a width ends it.
        let room = format!("{:INTERVAL$} \u{200b}", "");
        job.append(&room, 0.0, mono(ui, &TextStyle::Small, weak));
    }
    job
}

/// From this width on there is room for intervals beside numbers.
pub(super) fn has_room_for_intervals(column: f32) -> bool {
    column >= 24.0 * SPACE
}

/// The shown frame, the tuning split and the held-out split, in one table.
pub(super) fn table_ui(ui: &mut Ui, context: &PaneContext<'_>) {
    let inspector = context.inspector;
    let look = inspector.look().map(|l| &**l);
    let report = inspector.report().map(|r| &**r);
    let tokens = theme::tokens(ui);
    let small = |text: &str, color| RichText::new(text).small().color(color);
    let shows_frame = ui.available_width() >= 68.0 * SPACE;
    let name = match shows_frame {
        true => 23.0 * SPACE,
        false => {
            ui.spacing_mut().item_spacing.x = SPACE;
            22.0 * SPACE
        }
    };
    let weights: &[f32] = match shows_frame {
        true => &[0.45, 1.0, 1.0],
        false => &[1.0, 1.0],
    };
    ui.spacing_mut().item_spacing.y = 0.0;
    let table = Table::new(ui, name, weights, 36.0 * SPACE);
    let has_room = table
        .columns
        .last()
        .is_some_and(|width| has_room_for_intervals(*width));
    // What counts stands on a ground of its own.
    let ground = ui.painter().add(Shape::Noop);
    let top = ui.cursor().min;

    let behind = inspector.report_is_behind();
    let source = report
        .and_then(|r| r.source)
        .or(look.and_then(|l| l.metrics).map(|(_, s)| s));
    let against = source.map_or("no reference", |s| s.label());
    let frame_heading = |text| {
        shows_frame.then(|| {
            let help = "The frame under the cursor".to_owned();
            (small(text, tokens.text_weak).into(), help)
        })
    };
    let heading = |text, color, split| {
        let summary = report.and_then(|r| r.evaluation.summary(split));
        (
            small(text, color).into(),
            audit_text(context, split, summary),
        )
    };
    let held = RichText::new("Held out")
        .text_style(theme::section_style())
        .color(tokens.text_strong);
    let held_out = report.and_then(|r| r.evaluation.summary(Split::HeldOut));
    let mut headings: Vec<(WidgetText, String)> = frame_heading("Frame").into_iter().collect();
    let tuning = if shows_frame {
        "Tuning split"
    } else {
        "Tuning"
    };
    headings.push(heading(tuning, tokens.text_weak, Split::Tune));
    headings.push((held.into(), audit_text(context, Split::HeldOut, held_out)));
    table.row(
        ui,
        small(against, tokens.text_weak),
        "What the numbers are measured against",
        headings,
    );
    let (measured, measured_help, is_partial) = measured_text(context);
    let color = if is_partial {
        tokens.warn
    } else {
        tokens.text_weak
    };
    let mut marks: Vec<(WidgetText, String)> = frame_heading("").into_iter().collect();
    marks.push(heading("no result", tokens.text_weak, Split::Tune));
    marks.push(heading("report this", tokens.accent, Split::HeldOut));
    table.row(ui, small(&measured, color), &measured_help, marks);

    let color = if behind {
        tokens.text_weak
    } else {
        tokens.text
    };
    let audits = [Split::Tune, Split::HeldOut].map(|split| {
        let summary = report.and_then(|r| r.evaluation.summary(split));
        (summary, audit_text(context, split, summary))
    });
    for measure in Measure::ALL {
        let frame = shows_frame.then(|| match look.and_then(|l| l.metrics) {
            Some((m, _)) => match measure.of_frame(&m, tokens) {
                Some(text) => (text.into(), String::new()),
                None => (
                    dash(ui, false).into(),
                    "This frame was not seen under another instruction".to_owned(),
                ),
            },
            None => (
                dash(ui, false).into(),
                "No reference box on this frame".to_owned(),
            ),
        });
        let [tune, held] = &audits;
        let cells = [
            (tune.0, tokens.text_weak, tune.1.as_str()),
            (held.0, color, held.1.as_str()),
        ];
        measure.row(ui, &table, frame, &cells, has_room);
    }
    let bottom = ui.cursor().min.y;
    if let Some(x) = table.last_column(top.x, ui.spacing().item_spacing.x) {
        let rect = Rect::from_x_y_ranges(x.expand(SPACE), top.y..=bottom);
        let border = Stroke::new(1.0, tokens.border);
        let inside = egui::StrokeKind::Inside;
        let shape =
            egui::epaint::RectShape::new(rect, theme::RADIUS, tokens.surface, border, inside);
        ui.painter().set(ground, shape);
    }
}

/// How many frames were measured, what a tooltip says of it, and whether more are to come.
fn measured_text(context: &PaneContext<'_>) -> (String, String, bool) {
    let Some(report) = context.inspector.report() else {
        return (String::new(), String::new(), false);
    };
    let survey = &report.request.survey;
    let (frames, all) = (report.evaluation.frames.len(), survey.frames.len());
    let jobs = context.state.jobs.list();
    let is_growing = all < survey.planned && jobs.iter().any(|job| job.label == SURVEY_JOB);
    if report.evaluation.is_partial || is_growing {
        let help = "More frames are being measured; the numbers are of those measured so far";
        let text = format!("{} of {} frames", frames.min(all), survey.planned);
        return (text, help.to_owned(), true);
    }
    let help = match survey.planned > all {
        true => format!(
            "{} frames were asked for; the memory that is set ends at {all}",
            survey.planned
        ),
        false => "Frames of both splits together".to_owned(),
    };
    (format!("{all} frames"), help, false)
}

/// One line with what counts most, where there is no room for the table.
pub(super) fn line_ui(ui: &mut Ui, context: &PaneContext<'_>) {
    let tokens = theme::tokens(ui);
    let report = context.inspector.report();
    let held_out = report.and_then(|r| r.evaluation.held_out.as_ref());
    let audit = audit_text(context, Split::HeldOut, held_out);
    let text = match held_out {
        None => "Held out –".to_owned(),
        Some(summary) => {
            let part = |measure: Measure| {
                let (value, _) = measure.of(summary)?;
                Some(format!("{} {}", measure.name(), measure.text(value)))
            };
            let parts = [Measure::MeanIou, Measure::Hit]
                .into_iter()
                .filter_map(part);
            let (measured, _, is_partial) = measured_text(context);
            let partial = is_partial.then_some(measured);
            let parts: Vec<String> = parts.chain(partial).collect();
            format!("Held out: {}", parts.join(" · "))
        }
    };
    let color = match context.inspector.report_is_behind() {
        true => tokens.text_weak,
        false => tokens.text_strong,
    };
    ui.add(egui::Label::new(RichText::new(text).color(color)).wrap())
        .on_hover_text(audit);
}

/// Where the numbers of a split come from.
pub(super) fn audit_text(
    context: &PaneContext<'_>,
    split: Split,
    summary: Option<&Summary>,
) -> String {
    let model = match (
        context.state.source.checkpoint(),
        context.state.source.training_step(),
    ) {
        (Some(path), _) => path.display().to_string(),
        (None, _) => "the capture file".to_owned(),
    };
    let Some(summary) = summary else {
        return match context.inspector.report() {
            Some(_) => format!(
                "{}: no frame has a reference box. Open a box file, or use data with exact masks",
                split.label()
            ),
            None => format!(
                "{}: measured as soon as a model and a dataset are open",
                split.label()
            ),
        };
    };
    let metrics = &summary.metrics;
    let what = match split {
        Split::Tune => {
            "heads are chosen and thresholds tuned on these frames, so this is no result"
        }
        Split::HeldOut => "episodes that nothing was chosen on: the number to report",
    };
    let empty = match metrics.empty {
        0 => String::new(),
        n => format!(", {n} without a mask (misses)"),
    };
    let swapped = metrics.swapped.map_or_else(String::new, |s| {
        format!(
            "\nUnder another instruction, {} frames: masks overlap by {:.2}",
            s.frames, s.mask_overlap
        )
    });
    format!(
        "{}: {} frames of {} episodes{empty}; {what}\nCumulative IoU {:.2}, mass inside {:.0} %, lift {:.1}{swapped}\nModel: \
         {model}",
        split.label(),
        metrics.frames,
        summary.episodes,
        metrics.overall_iou,
        metrics.mass_inside * 100.0,
        metrics.lift,
    )
}

/// Which heads, chosen on what, and what is doubtful about it. True when the elbow should be switched off.
pub(super) fn status_ui(ui: &mut Ui, context: &PaneContext<'_>) -> bool {
    let inspector = context.inspector;
    let tokens = theme::tokens(ui);
    let line = |ui: &mut Ui, text: String, color| {
        ui.add(egui::Label::new(RichText::new(text).small().color(color)).wrap())
    };
    let Some(look) = inspector.look() else {
        if let LookState::Failed(reason) = inspector.look_state() {
            line(ui, reason.to_string(), tokens.warn);
        }
        return false;
    };
    if let Err(reason) = &look.gaze {
        line(ui, reason.to_string(), tokens.warn);
    } else {
        let names: Vec<String> = look.heads.iter().map(|h| look.head_name(*h)).collect();
        let on = look.heads_from.text();
        line(
            ui,
            format!("{} chosen on {on}", names.join(", ")),
            tokens.text_weak,
        );
    }
    let Some(report) = inspector.report() else {
        if inspector.survey().is_none()
            && ui
                .link(RichText::new("Measure the dataset").small())
                .clicked()
        {
            inspector.measure_again();
        }
        return false;
    };
    let counts = report.evaluation.candidates();
    let Some(warning) = candidates_warning(&counts, &look.inputs.selection) else {
        return false;
    };
    line(ui, warning, tokens.warn).on_hover_text(
        "The elbow is fragile on small models. Keep every head, or set τ by hand; how many heads each frame votes for is shown \
         under Candidates",
    );
    let searched = matches!(
        look.inputs.selection.elbow.mode,
        ElbowMode::Value | ElbowMode::Index
    );
    searched
        && ui
            .link(RichText::new("Use no elbow").small())
            .on_hover_text("Sets the threshold τ to none: every head of an eligible layer passes")
            .clicked()
}

/// What to say when frames have fewer candidates than heads are wanted.
fn candidates_warning(
    counts: &BTreeMap<usize, usize>,
    selection: &HeadSelection,
) -> Option<String> {
    let few: usize = counts.range(..selection.k).map(|(_, frames)| frames).sum();
    let all: usize = counts.values().sum();
    if few == 0 || !selection.needs_heads() {
        return None;
    }
    let what = format!(
        "{few} of {all} frames have fewer than {} candidate heads",
        selection.k
    );
    Some(match selection.elbow.mode {
        ElbowMode::Value | ElbowMode::Index => {
            format!("{what}; try no elbow, or a manual threshold")
        }
        ElbowMode::Manual(_) => format!("{what}; try a lower threshold τ"),
        ElbowMode::None => format!("{what}; the filters drop too many"),
    })
}

/// How many frames vote for how many heads: a bar for every number of heads.
pub(super) fn histogram_ui(
    ui: &mut Ui,
    evaluation: Option<&Evaluation>,
    selection: &HeadSelection,
) {
    const HEIGHT: f32 = 10.0 * SPACE;
    let counts = evaluation.map(Evaluation::candidates).unwrap_or_default();
    let tokens = theme::tokens(ui);
    let help = "How many frames of the tuning split vote for how many heads. Bars below k are marked: zeros and small \
                numbers say that the elbow is fragile here";
    controls::row(ui, "Votes a frame", help, |ui, _| {
        let (rect, response) =
            ui.allocate_exact_size(vec2(ui.available_width(), HEIGHT), Sense::hover());
        let text = histogram_text(&counts);
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &text));
        let painter = ui.painter();
        let font = TextStyle::Small.resolve(ui.style());
        let axis = rect.bottom() - 3.5 * SPACE;
        painter.hline(rect.x_range(), axis, Stroke::new(1.0, tokens.border));
        let Some(most) = counts.values().copied().max() else {
            let at = egui::pos2(rect.left(), axis - 2.0);
            let text = "not measured yet";
            painter.text(at, egui::Align2::LEFT_BOTTOM, text, font, tokens.text_weak);
            return;
        };
        let last = counts
            .keys()
            .copied()
            .max()
            .unwrap_or(0)
            .max(selection.candidates);
        let step = rect.width() / (last + 1) as f32;
        let middle = |heads: usize| rect.left() + (heads as f32 + 0.5) * step;
        for (&heads, &frames) in &counts {
            let height = (axis - rect.top()) * frames as f32 / most as f32;
            let color = match heads < selection.k {
                true => tokens.warn,
                false => tokens.series[0],
            };
            let half = (step / 2.0 - 1.0).clamp(0.5, 3.0 * SPACE);
            let x = middle(heads) - half..=middle(heads) + half;
            let bar = Rect::from_x_y_ranges(x, axis - height.max(1.0)..=axis);
            painter.rect_filled(bar, 0.0, color);
        }
        // As many numbers as fit, the ends always.
        let every = (5.0 * SPACE / step).ceil().max(1.0) as usize;
        for heads in (0..=last).filter(|n| n % every == 0 && n + every <= last || *n == last) {
            let at = egui::pos2(middle(heads), rect.bottom());
            let font = font.clone();
            let text = heads.to_string();
            painter.text(
                at,
                egui::Align2::CENTER_BOTTOM,
                text,
                font,
                tokens.text_weak,
            );
        }
        response.on_hover_ui(|ui| {
            ui.label(&text);
            for (heads, frames) in &counts {
                ui.label(RichText::new(format!("{heads:>3} heads: {frames} frames")).monospace());
            }
        });
    });
}

/// The histogram in words.
fn histogram_text(counts: &BTreeMap<usize, usize>) -> String {
    let frames: usize = counts.values().sum();
    let ends = counts.keys().next().zip(counts.keys().next_back());
    match ends {
        None => "No frame has voted yet".to_owned(),
        Some((fewest, most)) if fewest == most => {
            format!("{frames} tuning frames vote for {most} heads each")
        }
        Some((fewest, most)) => {
            format!("{frames} tuning frames vote for {fewest} to {most} heads each")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_intervals_fit_their_room() {
        let whole = Interval {
            low: 0.0,
            high: 1.0,
        };
        for measure in Measure::ALL {
            assert!(measure.interval_text(whole).chars().count() <= INTERVAL);
            assert!(measure.text(1.0).chars().count() <= 5);
        }
        assert_eq!(Measure::MeanIou.text(0.456), "0.46");
        assert_eq!(Measure::Hit.text(0.456), "46 %");
    }

    #[test]
    fn few_candidates_are_told_with_the_way_out() {
        let mut selection = HeadSelection::default();
        let counts = BTreeMap::from([(1, 2), (2, 1), (10, 29)]);
        let text = candidates_warning(&counts, &selection).unwrap();
        assert!(
            text.starts_with("3 of 32 frames") && text.contains("no elbow"),
            "{text}"
        );
        selection.elbow.mode = ElbowMode::None;
        let text = candidates_warning(&counts, &selection).unwrap();
        assert!(text.contains("filters"), "{text}");
        selection.k = 1;
        assert_eq!(candidates_warning(&counts, &selection), None);
        assert!(histogram_text(&counts).contains("1 to 10 heads"));
        assert!(histogram_text(&BTreeMap::new()).contains("yet"));
    }
}
