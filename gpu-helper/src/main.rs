//! The program: requests on standard input, records on standard output, no arguments.

use std::path::Path;
use std::process::ExitCode;

use cloister_gpu_helper::serve::{LIBRARY, serve};

fn main() -> ExitCode {
    let served = serve(
        Path::new(LIBRARY),
        std::io::stdin().lock(),
        std::io::stdout().lock(),
    );
    // PID 1 sees the exit; there is nobody else to tell.
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
