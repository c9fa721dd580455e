//! Everything that can be set about a figure.

use egui::{
    Align, ComboBox, DragValue, Layout, Response, RichText, ScrollArea, Slider, TextEdit, Ui, vec2,
};
use figure::{Arm, ColorMap, Column, Content, Recipe, Reference, Scale, Style, Width};
use grounding::HeadId;

use super::super::PaneContext;
use super::compose;
use crate::command::Command;
use crate::icons::Icon;
use crate::theme::{self, SPACE};
use crate::widgets::{icon_button, section};

/// Width of the names of settings.
const NAME: f32 = 24.0 * SPACE;

/// Rows, columns, models, style and texts, each with its controls.
pub(super) fn options_ui(ui: &mut Ui, context: &mut PaneContext<'_>, recipe: &mut Recipe) {
    ScrollArea::vertical()
        .id_salt("figure options")
        .auto_shrink([false, false])
        .show(ui, |ui| {
            // Room for the scroll bar.
            ui.set_max_width(ui.available_width() - 3.0 * SPACE);
            frames_ui(ui, context, recipe);
            columns_ui(ui, context, recipe);
            models_ui(ui, context, recipe);
            style_ui(ui, &mut recipe.style, &mut recipe.reference);
            text_ui(ui, recipe);
            ui.add_space(2.0 * SPACE);
        });
}

/// What was asked of a line of a list.
enum Edit {
    Up(usize),
    Down(usize),
    Remove(usize),
}

impl Edit {
    fn apply<T>(self, list: &mut Vec<T>) {
        match self {
            Self::Up(index) if index > 0 && index < list.len() => list.swap(index, index - 1),
            Self::Down(index) if index + 1 < list.len() => list.swap(index, index + 1),
            Self::Remove(index) if index < list.len() => {
                list.remove(index);
            }
            _ => {}
        }
    }
}

/// Buttons that move or remove a line, at the right end of it. What must not be empty keeps its last line.
fn edit_ui(ui: &mut Ui, what: &str, index: usize, count: usize, edit: &mut Option<Edit>) {
    let number = index + 1;
    if ui
        .add_enabled_ui(count > 1, |ui| {
            icon_button(ui, Icon::Close, &format!("Remove {what} {number}"))
        })
        .inner
        .clicked()
    {
        *edit = Some(Edit::Remove(index));
    }
    let down = ui.add_enabled_ui(number < count, |ui| {
        icon_button(ui, Icon::Down, &format!("Move {what} {number} down"))
    });
    if down.inner.clicked() {
        *edit = Some(Edit::Down(index));
    }
    let up = ui.add_enabled_ui(index > 0, |ui| {
        icon_button(ui, Icon::Up, &format!("Move {what} {number} up"))
    });
    if up.inner.clicked() {
        *edit = Some(Edit::Up(index));
    }
}

fn frames_ui(ui: &mut Ui, context: &mut PaneContext<'_>, recipe: &mut Recipe) {
    section(ui, "Rows");
    let mut edit = None;
    let count = recipe.frames.len();
    let origin = context
        .state
        .dataset
        .as_ref()
        .map(|d| compose::origin(&d.origin));
    for (index, frame) in recipe.frames.iter_mut().enumerate() {
        ui.push_id(("frame", index), |ui| {
            ui.horizontal(|ui| {
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    edit_ui(ui, "row", index, count, &mut edit);
                    ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                        let name = compose::frame_name(frame);
                        let here = origin.as_deref() == Some(frame.dataset.as_str());
                        let show = egui::Button::new(name)
                            .truncate()
                            .frame_when_inactive(false);
                        let show = ui
                            .add_enabled(here, show)
                            .on_hover_text("Show this frame in the window");
                        if show
                            .on_disabled_hover_text("This frame is from data that is not open")
                            .clicked()
                        {
                            context.send(Command::GoTo {
                                episode: frame.episode,
                                step: frame.step,
                            });
                        }
                    });
                });
            });
            let label = TextEdit::singleline(&mut frame.label).hint_text("Automatic label");
            ui.add(label.desired_width(f32::INFINITY))
                .accessible_name(format!("Label of row {}", index + 1));
            ui.add_space(SPACE);
        });
    }
    if let Some(edit) = edit {
        edit.apply(&mut recipe.frames);
    }
}

/// What a column shows, without the map it is made from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Picture,
    HeatMap,
    Map,
    Mask,
    Compare,
    Difference,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Picture,
        Self::HeatMap,
        Self::Map,
        Self::Mask,
        Self::Compare,
        Self::Difference,
    ];

    fn of(content: Content) -> Self {
        match content {
            Content::Picture => Self::Picture,
            Content::HeatMap(_) => Self::HeatMap,
            Content::Map(_) => Self::Map,
            Content::Mask(_) => Self::Mask,
            Content::Compare(_) => Self::Compare,
            Content::Difference { .. } => Self::Difference,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Picture => "Camera picture",
            Self::HeatMap => "Heat map over picture",
            Self::Map => "Heat map alone",
            Self::Mask => "Mask",
            Self::Compare => "Mask and boxes",
            Self::Difference => "Difference of models",
        }
    }

    /// The content with the map of the one before.
    fn content(self, before: Content) -> Content {
        let map = before.map().unwrap_or_default();
        let minus = match before {
            Content::Difference { minus, .. } => minus,
            _ => 1,
        };
        match self {
            Self::Picture => Content::Picture,
            Self::HeatMap => Content::HeatMap(map),
            Self::Map => Content::Map(map),
            Self::Mask => Content::Mask(map),
            Self::Compare => Content::Compare(map),
            Self::Difference => Content::Difference { map, minus },
        }
    }
}

fn columns_ui(ui: &mut Ui, context: &PaneContext<'_>, recipe: &mut Recipe) {
    section(ui, "Columns");
    let mut edit = None;
    let count = recipe.columns.len();
    let arms: Vec<String> = recipe.arms.iter().map(compose::arm_name).collect();
    for (index, column) in recipe.columns.iter_mut().enumerate() {
        ui.push_id(("column", index), |ui| {
            column_ui(ui, context, column, index, &arms, |ui| {
                edit_ui(ui, "column", index, count, &mut edit)
            });
        });
    }
    if let Some(edit) = edit {
        edit.apply(&mut recipe.columns);
    }
    ui.horizontal(|ui| {
        if ui.button("Add column").clicked() {
            let content = if recipe.arms.is_empty() {
                Content::Picture
            } else {
                Content::HeatMap(Default::default())
            };
            recipe.columns.push(Column {
                content,
                ..Column::default()
            });
        }
    });
}

fn column_ui(
    ui: &mut Ui,
    context: &PaneContext<'_>,
    column: &mut Column,
    index: usize,
    arms: &[String],
    buttons: impl FnOnce(&mut Ui),
) {
    let number = index + 1;
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            buttons(ui);
            let kind = Kind::of(column.content);
            let combo = ComboBox::from_id_salt("content")
                .width(ui.available_width())
                .truncate()
                .selected_text(kind.label());
            let shown = combo.show_ui(ui, |ui| {
                for option in Kind::ALL {
                    let possible = match option {
                        Kind::Picture => true,
                        Kind::Difference => arms.len() > 1,
                        _ => !arms.is_empty(),
                    };
                    let label = ui.add_enabled(
                        possible,
                        egui::Button::selectable(option == kind, option.label()),
                    );
                    if label.on_disabled_hover_text("Add a model first").clicked() {
                        column.content = option.content(column.content);
                    }
                }
            });
            shown
                .response
                .accessible_name(format!("Content of column {number}"));
        });
    });
    let several = arms.len() > 1;
    if column.content.map().is_some() {
        ui.horizontal_wrapped(|ui| {
            if let Some(map) = map_of(&mut column.content) {
                map_ui(ui, context, map, number);
            }
            if several {
                arm_ui(
                    ui,
                    &mut column.arm,
                    arms,
                    &format!("Model of column {number}"),
                );
            }
        });
    }
    if let Content::Difference { minus, .. } = &mut column.content {
        ui.horizontal(|ui| {
            ui.label("minus");
            arm_ui(
                ui,
                minus,
                arms,
                &format!("Model subtracted in column {number}"),
            );
        });
    }
    let title = TextEdit::singleline(&mut column.title).hint_text("Automatic title");
    ui.add(title.desired_width(f32::INFINITY))
        .accessible_name(format!("Title of column {number}"));
    ui.add_space(SPACE);
}

fn map_of(content: &mut Content) -> Option<&mut figure::MapChoice> {
    match content {
        Content::Picture => None,
        Content::HeatMap(map)
        | Content::Map(map)
        | Content::Mask(map)
        | Content::Compare(map)
        | Content::Difference { map, .. } => Some(map),
    }
}

fn map_ui(ui: &mut Ui, context: &PaneContext<'_>, map: &mut figure::MapChoice, number: usize) {
    use figure::MapChoice as Map;
    let name = match map {
        Map::Selected => "Selected heads",
        Map::Mean => "Mean of all heads",
        Map::Head(_) => "One head",
    };
    let combo = ComboBox::from_id_salt("map")
        .width(34.0 * SPACE)
        .selected_text(name);
    let shown = combo.show_ui(ui, |ui| {
        ui.selectable_value(map, Map::Selected, "Selected heads");
        ui.selectable_value(map, Map::Mean, "Mean of all heads");
        let head = match map {
            Map::Head(id) => *id,
            _ => HeadId { layer: 0, head: 0 },
        };
        ui.selectable_value(map, Map::Head(head), "One head");
    });
    shown
        .response
        .accessible_name(format!("Map of column {number}"));
    if let Map::Head(id) = map {
        let last = |n: usize| u16::try_from(n.saturating_sub(1)).unwrap_or(u16::MAX);
        let (layers, heads) = context
            .inspector
            .shape()
            .map_or((u16::MAX, u16::MAX), |(l, h)| (last(l), last(h)));
        let layer = DragValue::new(&mut id.layer)
            .range(0..=layers)
            .speed(0.05)
            .prefix("L");
        ui.add(layer)
            .accessible_name(format!("Layer of column {number}"));
        let head = DragValue::new(&mut id.head)
            .range(0..=heads)
            .speed(0.05)
            .prefix("H");
        ui.add(head)
            .accessible_name(format!("Head of column {number}"));
    }
}

fn arm_ui(ui: &mut Ui, arm: &mut usize, names: &[String], what: &str) {
    let name = names.get(*arm).map_or("", String::as_str);
    let combo = ComboBox::from_id_salt(what)
        .width(26.0 * SPACE)
        .truncate()
        .selected_text(name);
    let shown = combo.show_ui(ui, |ui| {
        for (index, name) in names.iter().enumerate() {
            ui.selectable_value(arm, index, name);
        }
    });
    shown.response.accessible_name(what);
}

/// The models, and what leads from their attention to a mask.
fn models_ui(ui: &mut Ui, context: &mut PaneContext<'_>, recipe: &mut Recipe) {
    section(ui, "Models");
    let tokens = theme::tokens(ui);
    let current = compose::arm(context.state, context.inspector);
    let several = recipe.arms.len() > 1;
    let mut remove = None;
    for (index, arm) in recipe.arms.iter_mut().enumerate() {
        ui.push_id(("arm", index), |ui| {
            ui.horizontal(|ui| {
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                    if several
                        && icon_button(ui, Icon::Close, &format!("Remove model {}", index + 1))
                            .clicked()
                    {
                        remove = Some(index);
                    }
                    let hint = arm.look.name();
                    let name = TextEdit::singleline(&mut arm.name)
                        .hint_text(hint)
                        .desired_width(f32::INFINITY);
                    ui.add(name)
                        .accessible_name(format!("Name of model {}", index + 1));
                });
            });
            let text = compose::arm_summary(arm);
            ui.add(egui::Label::new(RichText::new(text).small().color(tokens.text_weak)).wrap());
            if let Some(current) = &current
                && current.look == arm.look
                && !compose::same_rules(current, arm)
            {
                ui.horizontal_wrapped(|ui| {
                    ui.label(
                        RichText::new("The window has other thresholds")
                            .small()
                            .color(tokens.warn),
                    );
                    if ui.small_button("Take them").clicked() {
                        *arm = Arm {
                            name: std::mem::take(&mut arm.name),
                            ..current.clone()
                        };
                    }
                });
            }
        });
    }
    if let Some(index) = remove {
        compose::remove_arm(recipe, index);
    }
    let new = current.filter(|c| {
        recipe
            .arms
            .iter()
            .all(|a| a.look != c.look || !compose::same_rules(c, a))
    });
    let add = ui.add_enabled(new.is_some(), egui::Button::new("Add current model"));
    let add = add.on_hover_text(
        "Compare with what the window looks through now: another checkpoint, or other thresholds",
    );
    let add = add
        .on_disabled_hover_text("What the window looks through is in the figure, or nothing looks");
    if let (true, Some(arm)) = (add.clicked(), new) {
        compose::add_arm(recipe, arm);
    }
}

/// A row with a name and controls, which are given the id of their label.
fn row(ui: &mut Ui, name: &str, help: &str, controls: impl FnOnce(&mut Ui, egui::Id)) {
    ui.horizontal(|ui| {
        let size = vec2(NAME, ui.spacing().interact_size.y);
        let label = ui.allocate_ui_with_layout(size, Layout::left_to_right(Align::Center), |ui| {
            ui.set_min_width(NAME);
            ui.add(egui::Label::new(name).truncate())
                .on_hover_text(help)
                .id
        });
        controls(ui, label.inner);
    });
}

fn choice<T: PartialEq>(
    ui: &mut Ui,
    label: egui::Id,
    value: &mut T,
    shown: &str,
    options: Vec<(T, &str)>,
) -> Response {
    let combo = ComboBox::from_id_salt(label)
        .width(40.0 * SPACE)
        .selected_text(shown);
    let response = combo.show_ui(ui, |ui| {
        for (option, name) in options {
            ui.selectable_value(value, option, name);
        }
    });
    response.response.labelled_by(label)
}

fn style_ui(ui: &mut Ui, style: &mut Style, reference: &mut Reference) {
    section(ui, "Style");
    row(
        ui,
        "Width",
        "A column of a two-column page is 85 mm wide, both are 178 mm",
        |ui, label| {
            let custom = Width::Mm(style.width.mm());
            let name = match style.width {
                Width::Single => "Single column, 85 mm",
                Width::Double => "Double column, 178 mm",
                Width::Mm(_) => "Other",
            };
            let options = vec![
                (Width::Single, "Single column, 85 mm"),
                (Width::Double, "Double column, 178 mm"),
                (custom, "Other"),
            ];
            choice(ui, label, &mut style.width, name, options);
            if let Width::Mm(mm) = &mut style.width {
                ui.add(
                    DragValue::new(mm)
                        .range(30.0..=400.0)
                        .speed(0.5)
                        .fixed_decimals(0)
                        .suffix(" mm"),
                )
                .labelled_by(label);
            }
        },
    );
    row(ui, "Text", "Size of the text on paper", |ui, label| {
        let size = DragValue::new(&mut style.text_pt)
            .range(7.0..=9.0)
            .speed(0.02)
            .fixed_decimals(1)
            .suffix(" pt");
        ui.add(size).labelled_by(label);
    });
    row(
        ui,
        "Colour map",
        "Perceptually uniform; values below zero and differences use a diverging map",
        |ui, label| {
            let shown = style.color_map.label();
            choice(
                ui,
                label,
                &mut style.color_map,
                shown,
                ColorMap::SEQUENTIAL.map(|m| (m, m.label())).into(),
            );
        },
    );
    row(
        ui,
        "Scale",
        "Which heat maps share one scale; a scale of its own is said under every cell",
        |ui, label| {
            let name = match style.scale {
                Scale::Figure => "One for the figure",
                Scale::Column => "One per column",
                Scale::Cell => "One per cell",
                Scale::Fixed(_) => "Fixed maximum",
            };
            let fixed = match style.scale {
                Scale::Fixed(max) => Scale::Fixed(max),
                _ => Scale::Fixed(0.05),
            };
            let options = vec![
                (Scale::Figure, "One for the figure"),
                (Scale::Column, "One per column"),
                (Scale::Cell, "One per cell"),
                (fixed, "Fixed maximum"),
            ];
            choice(ui, label, &mut style.scale, name, options);
            if let Scale::Fixed(max) = &mut style.scale {
                ui.add(
                    DragValue::new(max)
                        .range(1e-6..=10.0)
                        .speed(0.0005)
                        .max_decimals(6),
                )
                .labelled_by(label);
            }
        },
    );
    row(
        ui,
        "Opacity",
        "Opacity of a heat map over a picture",
        |ui, label| {
            let mut percent = style.opacity * 100.0;
            let before = percent;
            ui.add(
                Slider::new(&mut percent, 0.0..=100.0)
                    .fixed_decimals(0)
                    .suffix(" %"),
            )
            .labelled_by(label);
            if percent != before {
                style.opacity = percent / 100.0;
            }
        },
    );
    row(
        ui,
        "Numbers against",
        "What the mask is compared with",
        |ui, label| {
            let name = match reference {
                Reference::Auto => "Ground truth, else detector",
                Reference::Truth => "Ground truth",
                Reference::Detector => "Detector boxes",
            };
            let options = vec![
                (Reference::Auto, "Ground truth, else detector"),
                (Reference::Truth, "Ground truth"),
                (Reference::Detector, "Detector boxes"),
            ];
            choice(ui, label, reference, name, options);
        },
    );
    row(
        ui,
        "PNG resolution",
        "Dots per inch of PNG files; PDF and SVG have none",
        |ui, label| {
            ui.add(
                DragValue::new(&mut style.dpi)
                    .range(50..=1200)
                    .speed(5.0)
                    .suffix(" dpi"),
            )
            .labelled_by(label);
        },
    );
    ui.horizontal_wrapped(|ui| {
        ui.checkbox(&mut style.color_bar, "Colour bars");
        ui.checkbox(&mut style.numbers, "Numbers");
        ui.checkbox(&mut style.legend, "Legend");
        ui.checkbox(&mut style.letters, "Row letters");
        let provenance = ui.checkbox(&mut style.provenance, "Provenance line");
        provenance.on_hover_text("Model, checkpoint, selection and data below the figure; the file's metadata has them always");
    });
}

fn text_ui(ui: &mut Ui, recipe: &mut Recipe) {
    section(ui, "Text");
    let label = ui.label("Title");
    let title = TextEdit::singleline(&mut recipe.title)
        .hint_text("None")
        .desired_width(f32::INFINITY);
    ui.add(title).labelled_by(label.id);
    let label = ui.label("Caption");
    let caption = TextEdit::multiline(&mut recipe.caption)
        .hint_text("None")
        .desired_rows(3)
        .desired_width(f32::INFINITY);
    ui.add(caption).labelled_by(label.id);
}
