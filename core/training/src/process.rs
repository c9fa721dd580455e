//! Starting trainers as processes of their own, and the signals that end them.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use model::DeviceChoice;

use crate::control::Status;
use crate::error::{Error, Result};
use crate::run_dir::RunDir;
use crate::state::{State, Wish};

/// How a trainer process is started where that is not as usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// The device; `None` takes the one in `run.ron`.
    pub device: Option<DeviceChoice>,
    /// Threads for work on the processor; `None` takes all cores.
    pub threads: Option<usize>,
}

/// Starts `program train RUN_DIR --called` as a process that outlives this one, and returns its process id. The run is
/// `Starting` from here on.
///
/// It is in a process group of its own, reads nothing, and prints to [`RunDir::log_path`]. From then on the run
/// directory is the only way to talk to it.
///
/// # Errors
/// What [`RunDir::call_trainer`] says, [`Error::Spawn`] when the program cannot be started.
pub fn spawn(run: &RunDir, program: &Path, launch: Launch) -> Result<u32> {
    let before = run.call()?;
    let started = start(run, program, launch);
    if started.is_err() {
        run.end_call(|_| before)?;
    }
    started
}

/// Starts the process for a run that a trainer has been called for.
fn start(run: &RunDir, program: &Path, launch: Launch) -> Result<u32> {
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
        // The wish has been written, and may have changed since.
        .arg("--called")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_too);
    if let Some(device) = launch.device {
        command.args(["--device", device.name()]);
    }
    if let Some(threads) = launch.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    detach(&mut command);
    let spawned = |source| Error::Spawn {
        program: program.to_owned(),
        source,
    };
    let mut child = command.spawn().map_err(spawned)?;
    let pid = child.id();
    // Without somebody waiting for it an ended child stays in the process table for as long as the window is open, and
    // one that ends at once would be waited for.
    let run = run.clone();
    std::thread::Builder::new()
        .name("trainer-reaper".into())
        .spawn(move || {
            let _ended = child.wait();
            if let Err(error) = run.end_call(Status::interrupted) {
                tracing::warn!("{}", error.chain().join(": "));
            }
        })
        .map_err(spawned)?;
    Ok(pid)
}

/// Lets a run go on: wakes a paused trainer, or starts `program` where none is alive. Returns the process id of a
/// newly started trainer.
///
/// # Errors
/// [`Error::Refused`] when the run is finished or still stopping, or has a trainer that cannot be had in another way,
/// and what [`spawn`] says.
pub fn resume(run: &RunDir, program: &Path, launch: Launch) -> Result<Option<u32>> {
    let state = run.status()?.state;
    if state.can_start() {
        return spawn(run, program, launch).map(Some);
    }
    if state != State::Finished && launch != Launch::default() {
        return Err(Error::Refused {
            wish: Wish::Run,
            state,
            why: "its trainer keeps the device and threads it was started with; stop it first to change them",
            path: run.path().to_owned(),
        });
    }
    run.set_wish(Wish::Run).map(|()| None)
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
