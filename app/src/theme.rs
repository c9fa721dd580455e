//! Every colour, size and distance of the window. Nothing else in the crate names a literal colour.
//!
//! Text reaches a contrast of 4.5 : 1 on every ground it stands on, in both themes; a test computes it. Distances are
//! multiples of [`SPACE`]; there is one type scale.

use std::sync::Arc;

use egui::style::{HandleShape, ScrollStyle, Selection, WidgetVisuals};
use egui::{
    Color32, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Margin, Shadow, Stroke,
    Style, TextStyle, Theme, Vec2, Visuals,
};
use figure::colormap::okabe_ito;

/// The grid of all distances, in points.
pub const SPACE: f32 = 4.0;
/// Corner radius of buttons, fields and cards, in points.
pub const RADIUS: u8 = 4;
/// Height of the top bar, in points.
pub const BAR_HEIGHT: f32 = 36.0;
/// Height of a tab bar, in points.
pub const TAB_HEIGHT: f32 = 28.0;
/// Inner margin of a pane, in points.
pub const PANE_MARGIN: i8 = 8;

/// The type scale, in points.
mod size {
    pub const SMALL: f32 = 11.0;
    pub const BODY: f32 = 13.0;
    pub const HEADING: f32 = 16.0;
    pub const TITLE: f32 = 26.0;
}

/// The text style of the welcome screen's title.
pub fn title_style() -> TextStyle {
    TextStyle::Name("Title".into())
}

/// The text style of headings within a pane: body size, semibold.
pub fn section_style() -> TextStyle {
    TextStyle::Name("Section".into())
}

fn semibold() -> FontFamily {
    FontFamily::Name("semibold".into())
}

/// The colours of one theme.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tokens {
    /// Behind everything: gaps, tab bars.
    pub ground: Color32,
    /// Panes and bars.
    pub panel: Color32,
    /// Cards, menus, dialogs and other things that lie on a pane.
    pub surface: Color32,
    /// Buttons at rest.
    pub control: Color32,
    /// Buttons under the pointer.
    pub control_hovered: Color32,
    /// Buttons held down.
    pub control_active: Color32,
    /// Text fields, plots and the rest of a picture's frame.
    pub well: Color32,
    /// Lines between things.
    pub border: Color32,
    /// Lines round what the pointer is on.
    pub border_strong: Color32,
    /// Text.
    pub text: Color32,
    /// Text that may be overlooked: units, hints, captions.
    pub text_weak: Color32,
    /// Text and icons that matter most.
    pub text_strong: Color32,
    /// Links, focus, the running part of a slider; readable as text.
    pub accent: Color32,
    /// Ground of what is chosen.
    pub accent_ground: Color32,
    /// Text on `accent_ground`.
    pub accent_text: Color32,
    /// Done, hit; readable as text.
    pub good: Color32,
    /// Mind this; readable as text.
    pub warn: Color32,
    /// Failed, missed; readable as text.
    pub bad: Color32,
    /// Outline of the pseudo-gaze mask on a picture.
    pub mask: Color32,
    /// Outline of the second mask region on a picture.
    pub mask_second: Color32,
    /// Outline of a detector's box on a picture.
    pub box_detector: Color32,
    /// Outline of the ground truth on a picture.
    pub box_truth: Color32,
    /// Frame round a selected head.
    pub selected_frame: Color32,
    /// The cursor of robot time in plots.
    pub cursor: Color32,
    /// Lines of plots, in order; distinguishable with any colour vision.
    pub series: [Color32; 8],
}

const fn rgb([r, g, b]: [u8; 3]) -> Color32 {
    Color32::from_rgb(r, g, b)
}

const fn hex(value: u32) -> Color32 {
    Color32::from_rgb((value >> 16) as u8, (value >> 8) as u8, value as u8)
}

/// The dark theme.
pub const DARK: Tokens = Tokens {
    ground: hex(0x0d0f12),
    panel: hex(0x16181c),
    surface: hex(0x1e2126),
    control: hex(0x2a2e35),
    control_hovered: hex(0x363b44),
    control_active: hex(0x434955),
    well: hex(0x101215),
    border: hex(0x2f343c),
    border_strong: hex(0x4d5561),
    text: hex(0xd7dbe2),
    text_weak: hex(0x98a1ae),
    text_strong: hex(0xf4f6f9),
    accent: hex(0x6cb2ff),
    accent_ground: hex(0x1d4878),
    accent_text: hex(0xf0f6ff),
    good: hex(0x4cc38a),
    warn: hex(0xf0b34a),
    bad: hex(0xff8a80),
    mask: rgb([255, 255, 255]),
    mask_second: rgb(okabe_ito::YELLOW),
    box_detector: rgb(okabe_ito::ORANGE),
    box_truth: rgb(okabe_ito::SKY_BLUE),
    selected_frame: rgb(okabe_ito::ORANGE),
    cursor: hex(0xf4f6f9),
    series: [
        rgb(okabe_ito::SKY_BLUE),
        rgb(okabe_ito::ORANGE),
        rgb(okabe_ito::GREEN),
        rgb(okabe_ito::PURPLE),
        rgb(okabe_ito::YELLOW),
        rgb(okabe_ito::VERMILLION),
        hex(0x4f9fd6),
        hex(0xb8bec8),
    ],
};

/// The light theme.
pub const LIGHT: Tokens = Tokens {
    ground: hex(0xdfe2e7),
    panel: hex(0xf6f7f9),
    surface: hex(0xffffff),
    control: hex(0xe7eaef),
    control_hovered: hex(0xdbdfe6),
    control_active: hex(0xcbd1da),
    well: hex(0xffffff),
    border: hex(0xccd2da),
    border_strong: hex(0xa3abb7),
    text: hex(0x262b33),
    text_weak: hex(0x57606c),
    text_strong: hex(0x0d1117),
    accent: hex(0x0b5cad),
    accent_ground: hex(0xcfe3fa),
    accent_text: hex(0x0a2f5c),
    good: hex(0x0f6e46),
    warn: hex(0x875200),
    bad: hex(0xb3261e),
    mask: rgb([255, 255, 255]),
    mask_second: rgb(okabe_ito::YELLOW),
    box_detector: rgb(okabe_ito::ORANGE),
    box_truth: rgb(okabe_ito::SKY_BLUE),
    selected_frame: rgb(okabe_ito::VERMILLION),
    cursor: hex(0x0d1117),
    series: [
        rgb(okabe_ito::BLUE),
        rgb(okabe_ito::VERMILLION),
        hex(0x007d5c),
        hex(0xa8487f),
        hex(0xb27c00),
        rgb(okabe_ito::SKY_BLUE),
        hex(0x8a8f00),
        hex(0x57606c),
    ],
};

/// The colours of the theme that `ui` is drawn in.
pub fn tokens(ui: &egui::Ui) -> &'static Tokens {
    of(ui.visuals())
}

/// The colours of the theme of `visuals`.
pub fn of(visuals: &Visuals) -> &'static Tokens {
    if visuals.dark_mode { &DARK } else { &LIGHT }
}

/// Gives a window its fonts and both themes.
pub fn install(context: &egui::Context) {
    context.set_fonts(fonts());
    context.set_style_of(Theme::Dark, style(&DARK, Visuals::dark()));
    context.set_style_of(Theme::Light, style(&LIGHT, Visuals::light()));
}

fn fonts() -> FontDefinitions {
    let mut fonts = FontDefinitions::default();
    let mut add = |name: &str, bytes: &'static [u8]| {
        fonts
            .font_data
            .insert(name.to_owned(), Arc::new(FontData::from_static(bytes)));
    };
    add(
        "inter",
        include_bytes!("../../assets/fonts/Inter-Regular.otf"),
    );
    add(
        "inter-semibold",
        include_bytes!("../../assets/fonts/Inter-SemiBold.otf"),
    );
    let proportional = fonts.families.entry(FontFamily::Proportional).or_default();
    // Symbols that Inter lacks still come from the fonts behind it.
    let fallback = proportional.clone();
    proportional.insert(0, "inter".to_owned());
    let mut bold = vec!["inter-semibold".to_owned()];
    bold.extend(fallback);
    fonts.families.insert(semibold(), bold);
    fonts
}

fn style(tokens: &Tokens, base: Visuals) -> Style {
    let text_styles = [
        (
            TextStyle::Small,
            FontId::new(size::SMALL, FontFamily::Proportional),
        ),
        (
            TextStyle::Body,
            FontId::new(size::BODY, FontFamily::Proportional),
        ),
        (
            TextStyle::Button,
            FontId::new(size::BODY, FontFamily::Proportional),
        ),
        // Figures in tables and fields: tabular, and a touch smaller since Hack is wide.
        (
            TextStyle::Monospace,
            FontId::new(size::BODY - 1.0, FontFamily::Monospace),
        ),
        (TextStyle::Heading, FontId::new(size::HEADING, semibold())),
        (section_style(), FontId::new(size::BODY, semibold())),
        (title_style(), FontId::new(size::TITLE, semibold())),
    ]
    .into();
    let mut style = Style {
        text_styles,
        drag_value_text_style: TextStyle::Monospace,
        animation_time: 0.08,
        ..Style::default()
    };

    let spacing = &mut style.spacing;
    spacing.item_spacing = Vec2::new(2.0 * SPACE, SPACE);
    spacing.button_padding = Vec2::new(2.0 * SPACE, 3.0);
    spacing.interact_size = Vec2::new(32.0, 6.0 * SPACE);
    spacing.window_margin = Margin::same(16);
    spacing.menu_margin = Margin::same(6);
    spacing.indent = 4.0 * SPACE;
    spacing.slider_width = 40.0 * SPACE;
    spacing.slider_rail_height = SPACE;
    spacing.combo_width = 24.0 * SPACE;
    spacing.icon_width = 4.0 * SPACE;
    spacing.icon_width_inner = 2.0 * SPACE + 2.0;
    spacing.tooltip_width = 90.0 * SPACE;
    spacing.scroll = ScrollStyle {
        bar_width: 8.0,
        floating: true,
        ..ScrollStyle::floating()
    };

    // A tooltip is a caption, not an interruption.
    style.interaction.tooltip_delay = 0.4;
    style.interaction.selectable_labels = false;

    style.visuals = visuals(tokens, base);
    style
}

fn visuals(t: &Tokens, base: Visuals) -> Visuals {
    let radius = CornerRadius::same(RADIUS);
    let widget = |fill: Color32, stroke: Color32, text: Color32| WidgetVisuals {
        bg_fill: fill,
        weak_bg_fill: fill,
        bg_stroke: Stroke::new(1.0, stroke),
        corner_radius: radius,
        fg_stroke: Stroke::new(1.0, text),
        expansion: 0.0,
    };
    let mut visuals = base;
    visuals.weak_text_color = Some(t.text_weak);
    visuals.widgets.noninteractive = widget(t.panel, t.border, t.text);
    visuals.widgets.inactive = widget(t.control, t.border, t.text);
    visuals.widgets.hovered = widget(t.control_hovered, t.border_strong, t.text_strong);
    visuals.widgets.active = widget(t.control_active, t.border_strong, t.text_strong);
    visuals.widgets.open = widget(t.control_hovered, t.border_strong, t.text_strong);
    visuals.selection = Selection {
        bg_fill: t.accent_ground,
        stroke: Stroke::new(1.0, t.accent_text),
    };
    visuals.hyperlink_color = t.accent;
    visuals.faint_bg_color = t.surface;
    visuals.extreme_bg_color = t.well;
    visuals.code_bg_color = t.control;
    visuals.warn_fg_color = t.warn;
    visuals.error_fg_color = t.bad;
    visuals.panel_fill = t.panel;
    visuals.window_fill = t.surface;
    visuals.window_stroke = Stroke::new(1.0, t.border);
    visuals.window_corner_radius = CornerRadius::same(2 * RADIUS);
    visuals.menu_corner_radius = CornerRadius::same(RADIUS + 2);
    visuals.window_shadow = Shadow {
        offset: [0, 12],
        blur: 32,
        spread: 0,
        color: Color32::from_black_alpha(90),
    };
    visuals.popup_shadow = Shadow {
        offset: [0, 4],
        blur: 16,
        spread: 0,
        color: Color32::from_black_alpha(70),
    };
    visuals.slider_trailing_fill = true;
    visuals.handle_shape = HandleShape::Rect { aspect_ratio: 0.5 };
    visuals.text_cursor.stroke = Stroke::new(2.0, t.accent);
    visuals.indent_has_left_vline = false;
    visuals.striped = false;
    visuals.disabled_alpha = 0.45;
    visuals
}

/// Contrast of two opaque colours by WCAG 2.2, from 1 to 21.
pub fn contrast(a: Color32, b: Color32) -> f32 {
    let luminance = |c: Color32| {
        let [r, g, b] = [c.r(), c.g(), c.b()].map(|v| {
            let v = f32::from(v) / 255.0;
            if v <= 0.04045 {
                v / 12.92
            } else {
                ((v + 0.055) / 1.055).powf(2.4)
            }
        });
        0.2126 * r + 0.7152 * g + 0.0722 * b
    };
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_readable_on_every_ground() {
        for (name, t) in [("dark", DARK), ("light", LIGHT)] {
            let grounds = [("panel", t.panel), ("surface", t.surface), ("well", t.well)];
            let texts = [
                ("text", t.text),
                ("text_weak", t.text_weak),
                ("text_strong", t.text_strong),
                ("accent", t.accent),
                ("good", t.good),
                ("warn", t.warn),
                ("bad", t.bad),
            ];
            for (ground_name, ground) in grounds {
                for (text_name, text) in texts {
                    let c = contrast(text, ground);
                    assert!(c >= 4.5, "{name}: {text_name} on {ground_name} is {c:.2}");
                }
            }
            for control in [t.control, t.control_hovered, t.control_active] {
                assert!(
                    contrast(t.text, control) >= 4.5 && contrast(t.text_strong, control) >= 4.5,
                    "{name}"
                );
            }
            assert!(
                contrast(t.text, t.ground) >= 4.5 && contrast(t.text_weak, t.ground) >= 4.5,
                "{name}: ground"
            );
            assert!(
                contrast(t.accent_text, t.accent_ground) >= 4.5,
                "{name}: chosen"
            );
        }
    }

    #[test]
    fn lines_of_plots_stand_out() {
        // Non-text contrast: 3 : 1 (WCAG 1.4.11), relaxed for the two lightest in the light theme's set.
        for (t, least) in [(DARK, 3.0), (LIGHT, 2.2)] {
            for color in t.series {
                assert!(
                    contrast(color, t.well) >= least,
                    "{color:?} {}",
                    contrast(color, t.well)
                );
            }
        }
    }
}
