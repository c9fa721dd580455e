//! What the program remembers of a person between starts: recent items, theme, window size, watched folders.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::state::Sample;

/// A settings file is small; anything larger is not ours.
const MAX_BYTES: u64 = 1 << 20;
/// Recent items that are kept.
const RECENT: usize = 10;

/// What kind of thing a recent item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecentKind {
    /// A dataset.
    Dataset,
    /// A run directory.
    Run,
    /// A model folder.
    Model,
    /// A capture file.
    Capture,
    /// A saved session.
    Session,
}

impl RecentKind {
    /// One word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Dataset => "Dataset",
            Self::Run => "Run",
            Self::Model => "Model",
            Self::Capture => "Capture",
            Self::Session => "Session",
        }
    }
}

/// Something that was open once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    /// What it is.
    pub kind: RecentKind,
    /// Path, or `tabletop:` specification.
    pub origin: String,
}

/// The remembered theme.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ThemeChoice {
    /// Light text on dark.
    Dark,
    /// Dark text on light.
    Light,
    /// As the desktop asks.
    #[default]
    System,
}

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Newest first.
    pub recent: Vec<Recent>,
    /// Dark, light or system.
    pub theme: ThemeChoice,
    /// Inner size of the window in points.
    pub window_size: (f32, f32),
    /// Whether the window filled the screen's work area.
    pub maximized: bool,
    /// Size of everything; 1 is usual.
    pub zoom: f32,
    /// Folders watched for runs.
    pub run_folders: Vec<PathBuf>,
    /// How much of a dataset is measured.
    pub sample: Sample,
    /// Where panes stood last.
    pub layout: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            recent: Vec::new(),
            theme: ThemeChoice::default(),
            window_size: (1440.0, 900.0),
            maximized: false,
            zoom: 1.0,
            run_folders: Vec::new(),
            sample: Sample::default(),
            layout: None,
        }
    }
}

/// The settings and where they are kept.
pub struct SettingsFile {
    /// What is remembered.
    pub settings: Settings,
    saved: Settings,
    path: Option<PathBuf>,
    /// Whether runs in the usual folder are shown without being asked for.
    pub watches_usual_folder: bool,
}

impl SettingsFile {
    /// Settings that are never written, for tests and scripted walks.
    pub fn in_memory() -> Self {
        Self {
            settings: Settings::default(),
            saved: Settings::default(),
            path: None,
            watches_usual_folder: false,
        }
    }

    /// The file in the user's configuration folder; none when the system has no such folder.
    pub fn default_path() -> Option<PathBuf> {
        directories::ProjectDirs::from("org", "Gazelab", "gazelab")
            .map(|dirs| dirs.config_dir().join("settings.ron"))
    }

    /// Reads the settings. A file that cannot be understood is kept under another name and said so; defaults are used.
    pub fn load(path: PathBuf) -> (Self, Option<String>) {
        let (settings, warning) = match read(&path) {
            Ok(settings) => (settings, None),
            Err(error) => {
                let aside = path.with_extension("ron.broken");
                let kept = fs::rename(&path, &aside).is_ok();
                let place = if kept { &aside } else { &path };
                let text = format!(
                    "The settings were unreadable ({error:#}); defaults are used, the old file is {}",
                    place.display()
                );
                (None, Some(text))
            }
        };
        let settings = settings.unwrap_or_default().sane();
        (
            Self {
                saved: settings.clone(),
                settings,
                path: Some(path),
                watches_usual_folder: true,
            },
            warning,
        )
    }

    /// Where they are kept, in words.
    pub fn place(&self) -> String {
        self.path
            .as_ref()
            .map_or_else(|| "not kept".to_owned(), |path| path.display().to_string())
    }

    /// Puts an item in front of the recent ones.
    pub fn remember(&mut self, kind: RecentKind, origin: impl Into<String>) {
        let item = Recent {
            kind,
            origin: origin.into(),
        };
        self.settings.recent.retain(|r| *r != item);
        self.settings.recent.insert(0, item);
        self.settings.recent.truncate(RECENT);
    }

    /// Writes the settings when they changed.
    ///
    /// # Errors
    /// When the configuration folder cannot be written to; what was there stays.
    pub fn save(&mut self) -> anyhow::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        if self.settings == self.saved {
            return Ok(());
        }
        write(path, &self.settings)
            .with_context(|| format!("cannot write the settings: {}", path.display()))?;
        self.saved = self.settings.clone();
        Ok(())
    }
}

impl Settings {
    /// Numbers from a file may be anything.
    fn sane(mut self) -> Self {
        let usable = |v: f32, low: f32, high: f32, usual: f32| {
            if v.is_finite() {
                v.clamp(low, high)
            } else {
                usual
            }
        };
        let usual = Self::default();
        self.window_size = (
            usable(self.window_size.0, 640.0, 8192.0, usual.window_size.0),
            usable(self.window_size.1, 480.0, 8192.0, usual.window_size.1),
        );
        self.zoom = usable(self.zoom, 0.5, 3.0, usual.zoom);
        self.recent.truncate(RECENT);
        self.sample = self.sample.sane();
        self
    }
}

/// None when there is no file yet.
fn read(path: &Path) -> anyhow::Result<Option<Settings>> {
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    anyhow::ensure!(size <= MAX_BYTES, "larger than {} KiB", MAX_BYTES >> 10);
    Ok(Some(ron::from_str(&fs::read_to_string(path)?)?))
}

fn write(path: &Path, settings: &Settings) -> anyhow::Result<()> {
    let folder = path.parent().context("the path has no folder")?;
    fs::create_dir_all(folder)?;
    let text = ron::ser::to_string_pretty(settings, ron::ser::PrettyConfig::new())?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gazelab/settings.ron");
        let (mut file, warning) = SettingsFile::load(path.clone());
        assert_eq!((&file.settings, warning), (&Settings::default(), None));
        for i in 0..12 {
            file.remember(RecentKind::Dataset, format!("/data/{i}"));
        }
        file.remember(RecentKind::Dataset, "/data/5");
        file.settings.theme = ThemeChoice::Light;
        file.save().unwrap();
        let (again, warning) = SettingsFile::load(path);
        assert_eq!(warning, None);
        assert_eq!(again.settings, file.settings);
        assert_eq!(again.settings.recent.len(), RECENT);
        assert_eq!(again.settings.recent[0].origin, "/data/5");
    }

    #[test]
    fn a_broken_file_is_kept_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.ron");
        fs::write(&path, "(theme: Purple").unwrap();
        let (file, warning) = SettingsFile::load(path.clone());
        assert_eq!(file.settings, Settings::default());
        assert!(warning.unwrap().contains("settings.ron.broken"));
        assert_eq!(
            fs::read_to_string(path.with_extension("ron.broken")).unwrap(),
            "(theme: Purple"
        );
    }
}
