//! Arguments in, exit code out; the only place that ends the process.

fn main() {
    let code = gateway::cli::run(std::env::args_os());
    // Not a return from `main`: a worker that did not drain, or that a second signal overtook, still has I/O in the
    // kernel that refers to its memory, so nothing of it may be torn down before the process is gone.
    std::process::exit(code)
}
