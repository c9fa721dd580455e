//! Threads that outlive a panic: whatever goes wrong in one piece of work is told, and the next piece is done.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Starts a named thread. When `body` panics, `told` hears why; nobody has to wait for it in vain.
///
/// # Errors
/// When the system gives no thread.
pub fn spawn_worker(
    name: &str,
    body: impl FnOnce() + Send + 'static,
    told: impl FnOnce(anyhow::Error) + Send + 'static,
) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            if let Err(error) = guard(|| {
                body();
                Ok(())
            }) {
                told(error);
            }
        })?;
    Ok(())
}

/// Does one piece of work; a panic in it (out of memory on the device, say) is an error like any other.
///
/// # Errors
/// Those of the work, and its panic.
pub fn guard<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    // What a panic leaves half done is thrown away or made anew by every caller.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        Err(anyhow::anyhow!(
            "it stopped unexpectedly: {}",
            panic_text(&*payload)
        ))
    })
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given")
}

/// Panics go to the log, where the log pane shows them, and no longer past it to stderr.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let reason = panic_text(info.payload());
        tracing::error!("thread `{thread}` panicked at {place}: {reason}");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_panic_is_told() {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        spawn_worker(
            "doomed",
            || panic!("the disk is gone"),
            move |error| sender.send(error.to_string()).unwrap(),
        )
        .unwrap();
        let told = receiver.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(told.contains("the disk is gone"), "{told}");
        assert_eq!(guard(|| Ok(3)).unwrap(), 3);
    }
}
