//! PID 1 of a Cloister guest, and its two children, which are the same program.

use std::process::ExitCode;

use cloister_init::{boot, console::Console, front, power, workload};

fn main() -> ExitCode {
    let role = std::env::args().nth(1);
    if std::process::id() == 1 && role.is_none() {
        init();
    }
    match role.as_deref() {
        Some("serve") => front::main(),
        Some("workload") => workload::main(),
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
