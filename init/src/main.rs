//! PID 1 of a Cloister guest, and its children, which begin as the same program.

use std::process::ExitCode;

use cloister_init::{boot, console::Console, front, gpu, power, provision, spawn, workload};

fn main() -> ExitCode {
    // The children are told their role by their own name. Arguments tell nothing: the kernel hands
    // PID 1 those words of the command line that it does not know.
    match std::env::args().next().as_deref() {
        Some(spawn::SERVE) => front::main(),
        Some(spawn::WORKLOAD) => workload::main(),
        Some(spawn::GPU_HELPER) => gpu::main(),
        Some(spawn::PROVISION) => provision::main(),
        _ if std::process::id() == 1 => init(),
        _ => {
            let usage = "cloister-init is PID 1 of a Cloister guest; it does nothing elsewhere\n";
            let _ = std::io::Write::write_all(&mut std::io::stderr(), usage.as_bytes());
            return ExitCode::from(2);
        }
    }
    ExitCode::FAILURE
}

/// Boots; every way out of it is power-off.
fn init() -> ! {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        power::off(&mut Console::new(), &format!("panic: {place}"));
    }));
    let mut console = Console::new();
    let error = match boot::run(&mut console) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    power::off(&mut console, &error.to_string())
}
