//! One frame at large: any layer and head, the mean, or the selection, for any word that looks.

use egui::{Align, ComboBox, Layout, Rect, RichText, Sense, Slider, Ui, vec2};
use figure::ColorMap;
use grounding::{Capture, HeadId, QuerySelector, TokenRole};
use session::{MapChoice, Upsampling};

use super::trajectory::{inspected_frame, inspected_size};
use super::{Pane, PaneContext, PaneKind};
use crate::command::Command;
use crate::inspector::{Look, LookState, head_name};
use crate::paint::{
    FrameView, Layers, Scale, Scene, color_bar_ui, format_value, honest_color_map, legend_ui,
};
use crate::theme::{self, SPACE};
use crate::widgets::{command_icon, empty_state};

/// Heat map at large, with colour bar and query picker.
#[derive(Default)]
pub struct Attention {}

impl Pane for Attention {
    fn title(&self) -> &str {
        PaneKind::Attention.title()
    }

    fn ui(&mut self, ui: &mut Ui, context: &mut PaneContext<'_>) {
        let Some(look) = context.inspector.look().cloned() else {
            no_look_ui(ui, context);
            return;
        };
        ui.horizontal_wrapped(|ui| {
            map_picker_ui(ui, context, "attention");
            head_steppers_ui(ui, context, &look);
        });
        tokens_ui(ui, context, &look);
        let below =
            3.0 * (ui.spacing().interact_size.y + ui.spacing().item_spacing.y) + 2.0 * SPACE;
        let area = ui.available_rect_before_wrap();
        let room = Rect::from_min_max(area.min, area.max - vec2(0.0, below));
        let response = ui.allocate_rect(room, Sense::hover());
        let state = context.state;
        let scene = Scene {
            frame: inspected_frame(context),
            size: inspected_size(context),
            look: Some(&look)
                .filter(|_| !context.inspector.look_is_late())
                .map(|l| &**l),
            detections: &look.inputs.truth.detections,
            overlay: &state.settings.overlay,
            layers: Layers::of(&state.settings.overlay),
        };
        let frame = scene.frame;
        let layers = scene.layers;
        let view = scene.paint(ui, room);
        readout_ui(ui, &look, &view, response.hover_pos());
        ui.horizontal(|ui| {
            overlay_toggles_ui(ui, context);
            legend_ui(ui, layers, Some(&look), frame);
        });
        options_ui(ui, context);
    }
}

/// What a pane shows that needs a look when there is none.
pub(super) fn no_look_ui(ui: &mut Ui, context: &mut PaneContext<'_>) {
    match context.inspector.look_state().clone() {
        LookState::Nothing => empty_state(
            ui,
            context,
            "Nothing looks at this yet",
            "Attention comes from a model: open a training run and look through any of its checkpoints, or open a \
             capture recorded from another model.",
            &[Command::OpenDemo, Command::OpenRun, Command::OpenCapture],
        ),
        LookState::Waiting { .. } | LookState::Ready => {
            ui.centered_and_justified(|ui| ui.add(egui::Spinner::new().size(8.0 * SPACE)));
        }
        LookState::Failed(reason) => {
            empty_state(
                ui,
                context,
                "No attention for this frame",
                &reason,
                &[Command::NextCamera, Command::OpenRun],
            );
        }
    }
}

/// Chooses between the selected heads, the mean and a single head.
pub(super) fn map_picker_ui(ui: &mut Ui, context: &mut PaneContext<'_>, place: &str) {
    let Some(look) = context.inspector.look() else {
        return;
    };
    let chosen = context.state.settings.map;
    let capture = look.inputs.capture.clone();
    let name = |map: MapChoice| match map {
        MapChoice::Selected => "Selected heads".to_owned(),
        MapChoice::Mean => "Mean of all heads".to_owned(),
        MapChoice::Head(id) => format!("Head {}", head_name(&capture, id)),
    };
    let mut map = chosen;
    let combo = ComboBox::from_id_salt(("map", place))
        .width(30.0 * SPACE)
        .selected_text(name(chosen));
    let response = combo.show_ui(ui, |ui| {
        for choice in [MapChoice::Selected, MapChoice::Mean] {
            ui.selectable_value(&mut map, choice, name(choice));
        }
        ui.separator();
        for id in look.heads.iter().copied() {
            ui.selectable_value(
                &mut map,
                MapChoice::Head(id),
                format!("{}, selected", name(MapChoice::Head(id))),
            );
        }
        if let MapChoice::Head(id) = chosen
            && !look.heads.contains(&id)
        {
            ui.selectable_value(&mut map, chosen, name(chosen));
        }
    });
    response.response.accessible_name("Attention map").on_hover_text("Which attention map is painted; single heads are chosen in the Heads pane (keys S, A, [ ] { })");
    if map != chosen {
        context.send(Command::SetMap(map));
    }
}

/// Chooses which token looks.
pub(super) fn query_picker_ui(ui: &mut Ui, context: &mut PaneContext<'_>, place: &str) {
    let Some(look) = context.inspector.look() else {
        return;
    };
    let capture = look.inputs.capture.clone();
    let mut chosen = None;
    let combo = ComboBox::from_id_salt(("query", place))
        .width(24.0 * SPACE)
        .selected_text(query_name(&capture, look.query));
    let response = combo.show_ui(ui, |ui| {
        for index in 0..capture.queries.len() {
            if ui
                .selectable_label(index == look.query, query_name(&capture, index))
                .clicked()
            {
                chosen = Some(index);
            }
        }
    });
    response
        .response
        .accessible_name("Token that looks")
        .on_hover_text(
            "Which token looks: a word of the instruction, or the token the action is read from",
        );
    if let Some(index) = chosen {
        send_query(context, &capture, index);
    }
}

fn send_query(context: &mut PaneContext<'_>, capture: &Capture, index: usize) {
    let mut selection = context.state.settings.selection.clone();
    selection.query = selector_of(capture, index);
    if selection != context.state.settings.selection {
        context.send(Command::SetSelection(Box::new(selection)));
    }
}

/// The selector that names a query best in other frames too: the read-out as such, a word by its text, the rest by index.
pub(super) fn selector_of(capture: &Capture, index: usize) -> QuerySelector {
    if index == capture.default_query() {
        return QuerySelector::ReadOut;
    }
    let Some(query) = capture.queries.get(index) else {
        return QuerySelector::Index(index);
    };
    let by_word = QuerySelector::Token(query.token.clone());
    match query.role {
        // A word said twice is found by its last place only.
        TokenRole::Text
            if !query.token.is_empty()
                && capture.query(&by_word).is_ok_and(|found| found == index) =>
        {
            by_word
        }
        _ => QuerySelector::Index(index),
    }
}

/// A query as people call it.
pub(super) fn query_name(capture: &Capture, index: usize) -> String {
    let Some(query) = capture.queries.get(index) else {
        return format!("Query {index}");
    };
    let token = query.token.trim_matches(['Ġ', '▁', ' ']);
    match query.role {
        TokenRole::Action => "Action token".to_owned(),
        TokenRole::State => "Robot state".to_owned(),
        TokenRole::Text if !token.is_empty() => format!("“{token}”"),
        _ if !token.is_empty() => token.to_owned(),
        _ => format!("Query {index}"),
    }
}

/// Layer and head as numbers to step through, when a single head is shown.
fn head_steppers_ui(ui: &mut Ui, context: &mut PaneContext<'_>, look: &Look) {
    let capture = &look.inputs.capture;
    let chosen = match context.state.settings.map {
        MapChoice::Head(id) => Some(id),
        MapChoice::Selected | MapChoice::Mean => None,
    };
    let at = chosen
        .or(look.heads.first().copied())
        .unwrap_or(HeadId { layer: 0, head: 0 });
    let mut next = at;
    let mut stepper = |name: &str, value: &mut u16, numbers: &[u32]| {
        let label = ui.label(RichText::new(name).weak());
        let mut index = usize::from(*value).min(numbers.len().saturating_sub(1));
        let response = ComboBox::from_id_salt(("stepper", name))
            .width(12.0 * SPACE)
            .selected_text(
                numbers
                    .get(index)
                    .map_or(String::new(), ToString::to_string),
            )
            .show_index(ui, &mut index, numbers.len(), |i| numbers[i].to_string());
        let changed = response.changed();
        response.labelled_by(label.id);
        *value = index as u16;
        changed
    };
    let changed = stepper("Layer", &mut next.layer, &capture.layers)
        | stepper("Head", &mut next.head, &capture.heads);
    if changed {
        context.send(Command::SetMap(MapChoice::Head(next)));
    }
    let share = match chosen {
        Some(id) => {
            capture.attention_by_role(usize::from(id.layer), usize::from(id.head), look.query)
        }
        None => None,
    };
    if let Some(share) = share {
        let percent = |role: TokenRole| format!("{:.0} %", share[role as usize] * 100.0);
        let text = format!(
            "image {} · text {} · state {}",
            percent(TokenRole::Image),
            percent(TokenRole::Text),
            percent(TokenRole::State)
        );
        ui.label(RichText::new(text).weak()).on_hover_text(
            "Where this head's attention goes, as shares of one; the rest goes to special tokens and to the action",
        );
    }
}

/// The tokens that look as a line of chips.
fn tokens_ui(ui: &mut Ui, context: &mut PaneContext<'_>, look: &Look) {
    let capture = look.inputs.capture.clone();
    // A long prompt has hundreds of tokens; a list serves better there.
    const CHIPS: usize = 24;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = SPACE;
        ui.label(RichText::new("Token that looks").weak());
        if capture.queries.len() > CHIPS {
            query_picker_ui(ui, context, "attention");
            return;
        }
        for index in 0..capture.queries.len() {
            let name = query_name(&capture, index);
            let chip = ui.selectable_label(index == look.query, name.as_str());
            let share = capture.view_share(index, look.inputs.view);
            let chip = chip.on_hover_text(format!(
                "{name} gives {:.0} % of its attention to this camera, mean over all heads",
                share * 100.0
            ));
            if chip.clicked() {
                send_query(context, &capture, index);
            }
        }
    });
}

/// What lies under the pointer, in a line that is always there.
fn readout_ui(ui: &mut Ui, look: &Look, view: &FrameView, pointer: Option<egui::Pos2>) {
    let tokens = theme::tokens(ui);
    let under = pointer.filter(|p| view.rect.contains(*p)).and_then(|p| {
        let x = f64::from((p.x - view.rect.left()) / view.rect.width());
        let y = f64::from((p.y - view.rect.top()) / view.rect.height());
        let patch = look.grid.rects.iter().position(|r| r.contains(x, y))?;
        Some((patch, *look.shown.as_ref().ok()?.values.get(patch)?))
    });
    let text = match (under, &look.shown) {
        (Some((patch, value)), Ok(map)) => {
            let (row, col) = (
                patch / look.grid.grid.cols + 1,
                patch % look.grid.grid.cols + 1,
            );
            let mass = map.mass();
            let share = if mass > 0.0 {
                value.max(0.0) / mass * 100.0
            } else {
                0.0
            };
            format!(
                "Row {row}, column {col}: {} · {share:.1} % of the map",
                format_value(value)
            )
        }
        (None, Ok(_)) => {
            format!(
                "{} · {} × {} patches",
                look.shown_name(),
                look.grid.grid.rows,
                look.grid.grid.cols
            )
        }
        (_, Err(reason)) => reason.to_string(),
    };
    let color = if look.shown.is_err() {
        tokens.warn
    } else {
        tokens.text_weak
    };
    ui.add(egui::Label::new(RichText::new(text).color(color)).truncate());
}

/// Opacity, colours, upsampling and the colour bar.
fn options_ui(ui: &mut Ui, context: &mut PaneContext<'_>) {
    let before = &context.state.settings.overlay;
    let mut overlay = before.clone();
    ui.horizontal(|ui| {
        let label = ui.label(RichText::new("Opacity").weak());
        let shown = overlay.opacity * 100.0;
        let mut percent = shown;
        ui.spacing_mut().slider_width = 20.0 * SPACE;
        let slider = ui.add(
            Slider::new(&mut percent, 0.0..=100.0)
                .fixed_decimals(0)
                .suffix(" %"),
        );
        slider
            .labelled_by(label.id)
            .on_hover_text("Opacity of the heat map over the picture");
        if percent != shown {
            overlay.opacity = percent / 100.0;
        }

        let combo = ComboBox::from_id_salt("colour map")
            .width(20.0 * SPACE)
            .selected_text(overlay.color_map.label());
        let response = combo.show_ui(ui, |ui| {
            for map in ColorMap::SEQUENTIAL {
                ui.selectable_value(&mut overlay.color_map, map, map.label());
            }
        });
        response
            .response
            .accessible_name("Colour map")
            .on_hover_text(
                "Perceptually uniform colour maps; maps with negative values use a diverging one",
            );

        let smooth = overlay.upsampling == Upsampling::Smooth;
        let mut checked = smooth;
        ui.checkbox(&mut checked, "Smooth")
            .on_hover_text("Interpolate between patch centres; off shows every patch as it is");
        overlay.upsampling = if checked {
            Upsampling::Smooth
        } else {
            Upsampling::Nearest
        };

        let width = ui.available_width().min(80.0 * SPACE);
        if width > 20.0 * SPACE {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                shown_bar_ui(ui, context, width)
            });
        }
    });
    if overlay != *before {
        context.send(Command::SetOverlay(overlay));
    }
}

/// The colour bar of the shown map.
pub(super) fn shown_bar_ui(ui: &mut Ui, context: &PaneContext<'_>, width: f32) {
    let Some(look) = context.inspector.look() else {
        return;
    };
    let Ok(map) = &look.shown else { return };
    let color_map = honest_color_map(&map.values, context.state.settings.overlay.color_map);
    color_bar_ui(
        ui,
        Scale::of(&map.values, color_map),
        color_map,
        "attention per patch",
        width,
    );
}

/// Switches for heat map, mask and boxes.
pub(super) fn overlay_toggles_ui(ui: &mut Ui, context: &mut PaneContext<'_>) {
    ui.spacing_mut().item_spacing.x = SPACE;
    for (text, command) in [
        ("Heat", Command::ToggleHeatMap),
        ("Mask", Command::ToggleMask),
        ("Boxes", Command::ToggleBoxes),
    ] {
        command_icon(ui, context, text, &command);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspector::fake::fake_capture;

    #[test]
    fn a_query_is_named_so_that_other_frames_have_it_too() {
        let capture = fake_capture(0, 0);
        assert_eq!(selector_of(&capture, 1), QuerySelector::ReadOut);
        assert_eq!(
            selector_of(&capture, 0),
            QuerySelector::Token("look".into())
        );
        assert_eq!(selector_of(&capture, 9), QuerySelector::Index(9));
        for index in 0..2 {
            assert_eq!(capture.query(&selector_of(&capture, index)).unwrap(), index);
        }
        assert_eq!(query_name(&capture, 0), "“look”");
        assert_eq!(query_name(&capture, 1), "Action token");
    }
}
