//! Arguments in, exit code out; the only place that ends the process.

/// Buffers and tasks come and go in a few sizes. Size classes in pages of their own keep a burst of busy connections from
/// leaving holes that never go back to the system: see `bench/runs`, idle.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let code = gateway::cli::run(std::env::args_os());
    // Not a return from `main`: a worker that did not drain, or that a second signal overtook, still has I/O in the
    // kernel that refers to its memory, so nothing of it may be torn down before the process is gone.
    std::process::exit(code)
}
