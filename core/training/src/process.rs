//! Starting trainers as processes of their own, and the signals that end them.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::{Error, Result};
use crate::run_dir::RunDir;
use crate::state::{State, Wish};

/// Starts `program train RUN_DIR` as a process that outlives this one, and returns its process id.
///
/// It is in a process group of its own, reads nothing, and prints to [`RunDir::log_path`]. From then on the run
/// directory is the only way to talk to it.
///
/// # Errors
/// [`Error::Busy`] when a trainer is at work on the run, [`Error::Refused`] when the run is finished,
/// [`Error::Spawn`] when the program cannot be started.
pub fn spawn(run: &RunDir, program: &Path) -> Result<u32> {
    let state = run.status()?.state;
    if state == State::Finished {
        return Err(Error::Refused {
            wish: Wish::Run,
            state,
            why: "it has done all its steps; create a new run to train further",
            path: run.path().to_owned(),
        });
    }
    if !state.can_start() {
        return Err(Error::Busy {
            path: run.path().to_owned(),
        });
    }
    let log_path = run.log_path();
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .map_err(Error::io("open the log", &log_path))?;
    let log_too = log
        .try_clone()
        .map_err(Error::io("open the log", &log_path))?;
    let folder = std::path::absolute(run.path())
        .map_err(Error::io("find the absolute path of", run.path()))?;
    let mut command = Command::new(program);
    command
        .arg("train")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_too);
    detach(&mut command);
    let spawned = |source| Error::Spawn {
        program: program.to_owned(),
        source,
    };
    let mut child = command.spawn().map_err(spawned)?;
    let pid = child.id();
    // Without somebody waiting for it an ended child stays in the process table for as long as the window is open.
    std::thread::Builder::new()
        .name("trainer-reaper".into())
        .spawn(move || child.wait())
        .map_err(spawned)?;
    Ok(pid)
}

/// Lets a run go on: wakes a paused trainer, or starts `program` where none is alive. Returns the process id of a
/// newly started trainer.
///
/// # Errors
/// [`Error::Refused`] when the run is finished or still stopping, and what [`spawn`] says.
pub fn resume(run: &RunDir, program: &Path) -> Result<Option<u32>> {
    if run.status()?.state.can_start() {
        spawn(run, program).map(Some)
    } else {
        run.set_wish(Wish::Run).map(|()| None)
    }
}

#[cfg(unix)]
fn detach(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // Ctrl-C and the end of a terminal reach process groups; a trainer of its own group does not hear them.
    command.process_group(0);
}

#[cfg(windows)]
fn detach(command: &mut Command) {
    use std::os::windows::process::CommandExt;
    const DETACHED_PROCESS: u32 = 0x0000_0008;
    const CREATE_NEW_PROCESS_GROUP: u32 = 0x0000_0200;
    command.creation_flags(DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
}

#[cfg(not(any(unix, windows)))]
fn detach(_command: &mut Command) {}

/// A flag that is raised when this process is asked to end (ctrl-C, `kill`, a closed terminal, Slurm's time limit).
///
/// The first signal raises the flag, so that the trainer can write a checkpoint; a second one ends the process.
///
/// # Errors
/// When the system refuses to install the handlers.
pub fn stop_on_signals() -> std::io::Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let flag = Arc::new(AtomicBool::new(false));
    let signals = [
        SIGTERM,
        SIGINT,
        #[cfg(unix)]
        signal_hook::consts::SIGHUP,
    ];
    for signal in signals {
        // In this order: the shutdown looks at the flag before the second handler raises it.
        signal_hook::flag::register_conditional_shutdown(signal, 130, flag.clone())?;
        signal_hook::flag::register(signal, flag.clone())?;
    }
    Ok(flag)
}

/// Name of this machine.
pub(crate) fn host() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}
