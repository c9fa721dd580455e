//! The program `gazelab`. Everything is in the library, where tests reach it.

/// The window allocates and frees small things all the time; so do data loaders.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    gazelab::cli::main()
}
