//! Dialogs within the window: a path to type, changes about to be lost, shortcuts, about.

use egui::{Align, Key, Layout, RichText};

use crate::command::{Command, Menu};
use crate::dialogs::Ask;
use crate::settings::SettingsFile;
use crate::state::WorkbenchState;
use crate::theme::{self, SPACE};

/// The dialog in front of the window, if any.
#[derive(Debug, Default)]
pub enum Modal {
    /// None.
    #[default]
    Closed,
    /// A path to type.
    Path {
        /// What it is for.
        ask: Ask,
        /// What was typed.
        text: String,
    },
    /// The session has changes that `then` would lose.
    Unsaved {
        /// What was asked for.
        then: Command,
    },
    /// All keys.
    Shortcuts,
    /// Version, device, licences.
    About {
        /// Where the assets lie.
        assets: String,
    },
}

/// What dialogs tell.
pub struct Facts<'a> {
    /// What the window shows.
    pub state: &'a WorkbenchState,
    /// Where models compute, once known.
    pub device: Option<String>,
    /// What is remembered.
    pub settings: &'a SettingsFile,
}

impl Modal {
    /// A field for a path.
    pub fn path(ask: Ask) -> Self {
        let text = match &ask {
            Ask::SaveSession { name } | Ask::SaveFigure { name } => name.clone(),
            _ => String::new(),
        };
        Self::Path { ask, text }
    }

    /// Version, device and licences.
    pub fn about() -> Self {
        let folder = crate::assets::folder();
        Self::About {
            assets: folder.map_or("not found".to_owned(), |f| f.display().to_string()),
        }
    }

    /// Whether it asks where to save the session.
    pub fn asks_where_to_save(&self) -> bool {
        matches!(
            self,
            Self::Path {
                ask: Ask::SaveSession { .. },
                ..
            }
        )
    }

    /// Whether something is in front of the window.
    pub fn is_open(&self) -> bool {
        !matches!(self, Self::Closed)
    }

    /// Draws it; gives what was asked for in it.
    pub fn show(&mut self, context: &egui::Context, facts: &Facts<'_>) -> Vec<Command> {
        if !self.is_open() {
            return Vec::new();
        }
        let mut commands = Vec::new();
        let response = egui::Modal::new(egui::Id::unique("modal"))
            .frame(crate::widgets::modal_frame(context))
            .show(context, |ui| match self {
                Self::Closed => false,
                Self::Path { ask, text } => path_ui(ui, ask, text, &mut commands),
                Self::Unsaved { then } => unsaved_ui(ui, facts, then, &mut commands),
                Self::Shortcuts => shortcuts_ui(ui),
                Self::About { assets } => about_ui(ui, facts, assets),
            });
        if response.inner || response.should_close() {
            *self = Self::Closed;
            context.request_repaint();
        }
        commands
    }
}

fn title(ui: &mut egui::Ui, text: &str) {
    ui.label(RichText::new(text).text_style(egui::TextStyle::Heading));
    ui.add_space(2.0 * SPACE);
}

/// The row of buttons at the lower right; the last is the one that Enter presses.
fn buttons(ui: &mut egui::Ui, content: impl FnOnce(&mut egui::Ui) -> bool) -> bool {
    ui.add_space(3.0 * SPACE);
    ui.with_layout(Layout::right_to_left(Align::Min), content)
        .inner
}

fn path_ui(ui: &mut egui::Ui, ask: &Ask, text: &mut String, commands: &mut Vec<Command>) -> bool {
    ui.set_width(130.0 * SPACE);
    title(ui, ask.title());
    let help = match ask {
        Ask::Anything => {
            "A dataset, run, model, capture, session or box file, or generated data as in tabletop:object?episodes=20&env=A&seed=1"
        }
        Ask::SaveSession { .. } | Ask::SaveFigure { .. } => {
            "The desktop offers no file dialog; type where to save it"
        }
        _ => "The desktop offers no file dialog; type or paste the path",
    };
    let label = ui.add(egui::Label::new(RichText::new(help).weak()).wrap());
    let field = ui
        .add(
            egui::TextEdit::singleline(text)
                .desired_width(f32::INFINITY)
                .margin(egui::Margin::symmetric(8, 6)),
        )
        .labelled_by(label.id);
    field.request_focus();
    let enter = ui.input(|input| input.key_pressed(Key::Enter));
    buttons(ui, |ui| {
        let trimmed = text.trim().trim_matches('"').to_owned();
        let go = ui
            .add_enabled(!trimmed.is_empty(), egui::Button::new(ask.title()))
            .clicked();
        let cancelled = ui.button("Cancel").clicked();
        if (go || enter) && !trimmed.is_empty() {
            commands.push(match ask {
                Ask::Anything if episode::is_specification(&trimmed) => {
                    Command::OpenSpecification(trimmed)
                }
                _ => ask.command(expand_home(&trimmed)),
            });
            return true;
        }
        cancelled
    })
}

/// `~/` as a shell would read it.
fn expand_home(text: &str) -> std::path::PathBuf {
    match (text.strip_prefix("~/"), directories::UserDirs::new()) {
        (Some(rest), Some(dirs)) => dirs.home_dir().join(rest),
        _ => text.into(),
    }
}

fn unsaved_ui(
    ui: &mut egui::Ui,
    facts: &Facts<'_>,
    then: &Command,
    commands: &mut Vec<Command>,
) -> bool {
    ui.set_width(100.0 * SPACE);
    title(ui, "Save changes first?");
    let text = match facts.state.session_path {
        Some(_) => format!(
            "Thresholds, overlay, figure or data of \"{}\" changed since it was saved",
            facts.state.session_name
        ),
        None => "The thresholds and the figure of this session were never saved".to_owned(),
    };
    ui.add(egui::Label::new(text).wrap());
    buttons(ui, |ui| {
        if ui.button("Save").clicked() {
            commands.push(Command::SaveThen(Box::new(then.clone())));
            return true;
        }
        if ui.button("Discard changes").clicked() {
            commands.push(Command::DiscardChanges(Box::new(then.clone())));
            return true;
        }
        ui.button("Cancel").clicked()
    })
}

fn shortcuts_ui(ui: &mut egui::Ui) -> bool {
    /// Three columns of about the same height.
    const COLUMNS: [&[Menu]; 3] = [
        &[Menu::File, Menu::Edit, Menu::Attention],
        &[Menu::Go, Menu::Run],
        &[Menu::View, Menu::Help],
    ];
    ui.set_width(208.0 * SPACE);
    title(ui, "Keyboard shortcuts");
    let all = Command::all();
    let height = ui.ctx().content_rect().height() - 44.0 * SPACE;
    egui::ScrollArea::vertical()
        .max_height(height)
        .show(ui, |ui| {
            ui.spacing_mut().item_spacing = egui::vec2(10.0 * SPACE, 2.0);
            ui.spacing_mut().interact_size.y = 5.0 * SPACE;
            ui.columns(COLUMNS.len(), |columns| {
                for (ui, menus) in columns.iter_mut().zip(COLUMNS) {
                    for menu in menus {
                        crate::widgets::section(ui, menu.label());
                        let infos = all.iter().filter_map(Command::info);
                        for info in infos.filter(|info| info.menu == *menu) {
                            if let Some(shortcut) = info.shortcut {
                                let keys = crate::widgets::shortcut_text(ui.ctx(), &shortcut);
                                crate::widgets::fact(ui, info.label, keys);
                            }
                        }
                        ui.add_space(2.0 * SPACE);
                    }
                }
            });
        });
    buttons(ui, |ui| ui.button("Close").clicked())
}

fn about_ui(ui: &mut egui::Ui, facts: &Facts<'_>, assets: &str) -> bool {
    ui.set_width(110.0 * SPACE);
    title(ui, "Gazelab");
    ui.add(
        egui::Label::new("A workbench for researchers who debug where a robot policy looks").wrap(),
    );
    ui.add_space(2.0 * SPACE);
    crate::widgets::fact(ui, "Version", env!("CARGO_PKG_VERSION"));
    crate::widgets::fact(
        ui,
        "Models compute on",
        facts
            .device
            .clone()
            .unwrap_or_else(|| "not chosen yet".to_owned()),
    );
    crate::widgets::fact(ui, "Settings", facts.settings.place());
    crate::widgets::fact(ui, "Assets", assets.to_owned());
    ui.add_space(2.0 * SPACE);
    let text = RichText::new("The typeface is Inter, under the SIL Open Font License").small();
    ui.label(text.color(theme::tokens(ui).text_weak));
    buttons(ui, |ui| ui.button("Close").clicked())
}
