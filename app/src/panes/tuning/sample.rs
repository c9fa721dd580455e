//! How much of a dataset the numbers are measured on, and what that may cost.

use egui::{DragValue, ProgressBar, Response, RichText, Ui};
use grounding::Split;
use grounding::analysis::Form as Stored;

use super::controls::{note, row, unnamed};
use crate::command::Command;
use crate::inspector::SURVEY_JOB;
use crate::panes::PaneContext;
use crate::state::Sample;
use crate::theme::{self, SPACE};
use crate::widgets::{fact, grouped, section};

/// What is being typed or dragged, before it counts: measuring a dataset anew is not for every step of a drag.
#[derive(Default)]
pub(super) struct SampleForm {
    pending: Option<Sample>,
}

impl SampleForm {
    pub(super) fn show(&mut self, ui: &mut Ui, context: &mut PaneContext<'_>) {
        let tokens = theme::tokens(ui);
        let now = context.state.sample;
        let mut sample = self.pending.unwrap_or(now);
        let all = all_frames(context);
        section(ui, "How much is measured");
        let mut done = false;
        row(
            ui,
            "Frames",
            "Frames that are measured, spread over the episodes; half of the episodes are for tuning, half are held out. More \
             frames make the intervals narrower and take longer",
            |ui, label| {
                let field = DragValue::new(&mut sample.frames)
                    .range(2..=all.max(2))
                    .clamp_existing_to_range(false)
                    .update_while_editing(false)
                    .speed(2.0);
                done |= is_final(&ui.add(field).labelled_by(label), &mut self.pending, sample);
                ui.label(RichText::new(format!("of {}", grouped(all as u64))).weak());
            },
        );
        unnamed(ui, |ui| {
            for frames in steps(all) {
                let text = match frames == all {
                    true => "all".to_owned(),
                    false => grouped(frames as u64),
                };
                let is_on = now.frames == frames;
                let response = ui.selectable_label(is_on, text);
                response.widget_info(|| {
                    let name = format!("Measure {frames} frames");
                    egui::WidgetInfo::selected(egui::Role::Button, true, is_on, name)
                });
                if response.clicked() {
                    (sample.frames, done) = (frames, true);
                }
            }
        });
        row(
            ui,
            "Memory",
            "Half of it is for captures: when that is full, fewer frames are measured. The other half is for attention \
             weights: as f32, then as f16, and what does not fit goes to a temporary file",
            |ui, label| {
                let field = DragValue::new(&mut sample.memory_mib)
                    .range(16..=1 << 20)
                    .update_while_editing(false)
                    .speed(16.0)
                    .suffix(" MiB");
                done |= is_final(&ui.add(field).labelled_by(label), &mut self.pending, sample);
            },
        );
        if done {
            self.pending = None;
            if sample.sane() != now {
                context.send(Command::SetSample(sample));
            }
        }
        // An estimate of what the choice means, where something is measured already.
        let Some(report) = context.inspector.report() else {
            note(ui, "Nothing is measured yet", tokens.text_weak);
            progress_ui(ui, context);
            return;
        };
        progress_ui(ui, context);
        section(ui, "What was measured");
        let survey = &report.request.survey;
        let splits = [Split::Tune, Split::HeldOut].map(|split| {
            let frames = survey.frames.iter().filter(|f| f.split == split);
            let mut episodes: Vec<usize> = frames.clone().map(|f| f.episode).collect();
            episodes.sort_unstable();
            episodes.dedup();
            (split, frames.count(), episodes.len())
        });
        for (split, frames, episodes) in splits {
            let text = format!("{frames} frames of {episodes} episodes");
            fact(ui, split.label(), text);
        }
        let seconds = report.evaluation.elapsed.as_secs_f64();
        fact(ui, "Evaluated in", format!("{:.0} ms", seconds * 1e3));
        let stored = fact(ui, "Attention kept as", report.form.label());
        match report.form {
            Stored::Single => stored.on_hover_text("Nothing is rounded"),
            Stored::Half | Stored::Disk => stored.on_hover_text(
                "Memory is short: weights are rounded to f16, which loses what lies below 1/2048 of each",
            ),
        };
        if report.form != Stored::Single {
            let text =
                "Memory is short, so weights are rounded; give more memory or measure fewer frames";
            ui.add(egui::Label::new(RichText::new(text).small().color(tokens.warn)).wrap());
        }
        if survey.planned > survey.frames.len() {
            let text = format!(
                "{} frames were planned; memory ends at {}; give more to measure all",
                survey.planned,
                survey.frames.len()
            );
            ui.add(egui::Label::new(RichText::new(text).small().color(tokens.warn)).wrap());
        }
    }
}

/// Keeps what is typed or dragged; true once it counts.
fn is_final(response: &Response, pending: &mut Option<Sample>, sample: Sample) -> bool {
    if response.dragged() {
        *pending = Some(sample);
        return false;
    }
    response.drag_stopped() || response.changed()
}

/// Frames there are.
fn all_frames(context: &PaneContext<'_>) -> usize {
    let state = context.state;
    match (&state.dataset, state.source.captures()) {
        (_, Some(captures)) => captures.len(),
        (Some(dataset), None) => dataset.data.info().frames,
        (None, None) => 0,
    }
}

/// Numbers of frames worth a button.
fn steps(all: usize) -> Vec<usize> {
    let fewer = [32, 64, 256, 1024].into_iter().filter(|n| *n < all);
    fewer.chain((all >= 2).then_some(all)).collect()
}

/// How far the measuring has come, while it goes on. Keeps its room.
fn progress_ui(ui: &mut Ui, context: &PaneContext<'_>) {
    let jobs = context.state.jobs.list();
    let capturing = jobs.iter().find(|job| job.label == SURVEY_JOB);
    let measuring = context.inspector.measuring();
    let (share, text) = match (capturing, measuring) {
        (Some(job), _) => (
            job.progress.unwrap_or(0.0),
            format!("Looking: {}", job.detail),
        ),
        (None, Some(p)) => (
            p.measured as f32 / p.of.max(1) as f32,
            format!("Measuring: {} of {} frames", p.measured, p.of),
        ),
        (None, None) => {
            ui.add_space(ui.spacing().interact_size.y + SPACE);
            return;
        }
    };
    ui.add_space(SPACE);
    let height = ui.spacing().interact_size.y - SPACE;
    ui.add(ProgressBar::new(share).text(text).desired_height(height));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buttons_end_with_all_there_is() {
        assert_eq!(steps(40), [32, 40]);
        assert_eq!(steps(64), [32, 64]);
        assert_eq!(steps(5000), [32, 64, 256, 1024, 5000]);
        assert!(steps(0).is_empty());
    }
}
