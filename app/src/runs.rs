//! Training runs as the window sees them: what may be asked of them now.

use std::path::{Path, PathBuf};

use training::{Launch, RunDir, RunSummary, State, Wish};

/// Why a run cannot be asked this now; none when it can.
pub fn why_not_wish(run: &RunSummary, wish: Wish) -> Option<&'static str> {
    let Some(view) = run.view() else {
        return Some("Its files cannot be read");
    };
    let state = view.status.state;
    match (wish, state) {
        (Wish::Run, State::Starting | State::Running) if view.wish == Wish::Run => {
            Some("It is running")
        }
        // A run without a living trainer is started anew.
        (Wish::Run, state) if state.can_start() => None,
        (Wish::Pause, State::Pausing | State::Paused) => Some("It is paused"),
        (Wish::Stop, State::Stopping) => Some("It is stopping"),
        _ => state.accepts(wish).err(),
    }
}

/// Asks something of a run; starts a trainer where none is alive and the run shall go on.
///
/// # Errors
/// When the run refuses, with what to do instead.
pub fn wish(dir: &Path, wish: Wish) -> anyhow::Result<()> {
    let run = RunDir::open(dir)?;
    match wish {
        Wish::Run => resume(&run, Launch::default())?,
        Wish::Pause | Wish::Stop => run.set_wish(wish)?,
    }
    Ok(())
}

/// Lets a run go on, with a new trainer where none is alive.
///
/// # Errors
/// When the run refuses, with what to do instead.
pub fn resume(run: &RunDir, launch: Launch) -> anyhow::Result<()> {
    training::resume(run, &program()?, launch)?;
    Ok(())
}

/// The program that trains: this one.
///
/// # Errors
/// When the system cannot say where it lies.
pub fn program() -> anyhow::Result<PathBuf> {
    use anyhow::Context as _;
    std::env::current_exe().context("cannot find this program's own file to start a trainer with")
}

/// Where new runs go unless told otherwise: `runs` in the working folder where that can be written, else in the
/// user's data folder.
pub fn default_folder() -> PathBuf {
    let here = std::env::current_dir()
        .ok()
        .filter(|dir| dir.parent().is_some() && can_write(dir));
    let data = || {
        directories::ProjectDirs::from("org", "Gazelab", "gazelab")
            .map(|dirs| dirs.data_local_dir().to_owned())
    };
    here.or_else(data)
        .unwrap_or_else(std::env::temp_dir)
        .join("runs")
}

/// Whether files can be made in a folder. Permissions tell only half: it may belong to somebody else, or lie on a disk
/// that is mounted read-only.
fn can_write(folder: &Path) -> bool {
    tempfile::tempfile_in(folder).is_ok()
}

/// A folder name made of a run's name: lower case, digits and dashes.
pub fn folder_name(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            text.push(c.to_ascii_lowercase());
        } else if !text.ends_with('-') && !text.is_empty() {
            text.push('-');
        }
    }
    let text = text.trim_end_matches('-');
    if text.is_empty() {
        "run".to_owned()
    } else {
        text.to_owned()
    }
}

/// A path below `folder` where nothing is yet: `name`, `name-2`, `name-3` and so on.
pub fn free_path(folder: &Path, name: &str, taken: &[PathBuf]) -> PathBuf {
    let is_free = |path: &PathBuf| !path.exists() && !taken.contains(path);
    let plain = folder.join(name);
    if is_free(&plain) {
        return plain;
    }
    (2u64..)
        .map(|n| folder.join(format!("{name}-{n}")))
        .find(is_free)
        .unwrap_or(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_cannot_be_written_are_told_apart() {
        assert!(can_write(&std::env::temp_dir()));
        assert!(!can_write(Path::new("/nowhere")));
        // Not even root writes there, and its permissions say nothing of it.
        if Path::new("/proc/self").exists() {
            assert!(!can_write(Path::new("/proc/self")));
        }
    }

    #[test]
    fn names_become_folders() {
        assert_eq!(
            folder_name("mae:selected nano seed 1"),
            "mae-selected-nano-seed-1"
        );
        assert_eq!(folder_name("  ÄÖ "), "run");
        let taken = [PathBuf::from("/nowhere/a")];
        assert_eq!(
            free_path(Path::new("/nowhere"), "a", &taken),
            Path::new("/nowhere/a-2")
        );
    }
}
