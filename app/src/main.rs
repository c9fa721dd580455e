//! The program `gazelab`. Everything is in the library, where tests reach it.

/// The window allocates and frees small things all the time; so do data loaders.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // Mesa's choice among graphics cards asks the desktop for its opinion, and where there is no desktop, as on a
    // cluster, prints lines that look like errors of ours. It has no say there: models choose the card themselves.
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: no other thread runs yet that could read the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
    gazelab::cli::main()
}
