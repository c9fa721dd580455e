use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use grounding::Forward;
use serde::{Deserialize, Serialize};
use tabletop::{Environment, Suite};

use crate::error::{Error, Result};
use crate::statistics::Count;

/// What an evaluation found; `gazelab eval --json` prints it as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The family of tasks.
    pub suite: Suite,
    /// The look of the scenes.
    pub env: Environment,
    /// Seed of the scenes.
    pub seed: u64,
    /// Episodes played, the swapped ones not counted.
    pub episodes: usize,
    /// Control steps after which an episode has failed.
    pub horizon: usize,
    /// Actions executed of each predicted chunk.
    pub execute: usize,
    /// What was done to the attention of the policy's forward passes. Reports of earlier versions do not say: nothing.
    #[serde(default)]
    pub forward: Forward,
    /// Share of episodes whose task was done within the horizon.
    pub success_rate: f64,
    /// Wilson's 95 % interval of it, `[low, high]`.
    pub success_interval: [f64; 2],
    /// Share of episodes in which an object other than the target was lifted.
    pub wrong_object_rate: f64,
    /// Share of episodes in which the target was put into another container than the goal.
    pub wrong_goal_rate: f64,
    /// Successes by task.
    pub per_task: BTreeMap<String, Count>,
    /// Mean control steps of the successful episodes; `None` without one.
    pub mean_steps: Option<f64>,
    /// The same scenes under another instruction, if that was asked for.
    pub swapped: Option<Swapped>,
    /// Control steps per second of all worlds together, swapped ones included.
    pub steps_per_s: f64,
}

/// Success when the instruction is exchanged for that of another task the scene allows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Swapped {
    /// Episodes played: scenes that allow another task.
    pub episodes: usize,
    /// Share in which the *original* task was done, although nobody asked for it.
    pub original_rate: f64,
    /// Wilson's 95 % interval of it.
    pub original_interval: [f64; 2],
    /// Share in which the other task, the instructed one, was done.
    pub other_rate: f64,
    /// Wilson's 95 % interval of it.
    pub other_interval: [f64; 2],
}

impl Swapped {
    pub(crate) fn new(original: Count, other: Count) -> Self {
        Self {
            episodes: original.attempts,
            original_rate: original.rate(),
            original_interval: original.wilson95(),
            other_rate: other.rate(),
            other_interval: other.wilson95(),
        }
    }
}

impl Report {
    /// A name that tells evaluations of one checkpoint apart: `object-A-seed7-100.json`, and with everything that is
    /// not as usual `object-A-seed7-100-execute4-toward_instruction-2-swapped.json`.
    pub fn file_name(&self) -> String {
        let Self {
            suite,
            env,
            seed,
            episodes,
            execute,
            forward,
            ..
        } = self;
        let execute = match execute {
            1 => String::new(),
            more => format!("-execute{more}"),
        };
        let forward = match forward {
            Forward::AsTrained => String::new(),
            changed => format!("-{}", changed.name()),
        };
        let swapped = match self.swapped {
            Some(_) => "-swapped",
            None => "",
        };
        format!("{suite}-{env}-seed{seed}-{episodes}{execute}{forward}{swapped}.json")
    }

    /// Writes the report into `folder`, say `RUN_DIR/eval/step-00005000`, under [`file_name`](Self::file_name), and
    /// returns the path. The file is complete or absent.
    ///
    /// # Errors
    /// [`Error::Report`].
    pub fn save(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join(self.file_name());
        let write = || -> io::Result<()> {
            fs::create_dir_all(folder)?;
            let mut text = serde_json::to_vec_pretty(self)?;
            text.push(b'\n');
            // Deletes itself when anything below fails.
            let mut beside = tempfile::Builder::new()
                .prefix(".writing-")
                .tempfile_in(folder)?;
            share(beside.as_file())?;
            beside.write_all(&text)?;
            beside.as_file().sync_all()?;
            beside.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        match write() {
            Ok(()) => Ok(path),
            Err(source) => Err(Error::Report { path, source }),
        }
    }
}

/// Temporary files are private by default; reports are read by others of the group.
#[cfg(unix)]
fn share(file: &fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn share(_file: &fs::File) -> io::Result<()> {
    Ok(())
}
