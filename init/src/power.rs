//! The only end a guest has: power-off. It never reboots.

use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::console::Console;

/// Prints `reason` as the last line, kills every other process and powers the machine off.
pub fn off(console: &mut Console, reason: &str) -> ! {
    console.line(reason);
    // Whatever happens next, nobody answers any more.
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    nix::unistd::sync();
    let Err(error) = reboot(RebootMode::RB_POWER_OFF);
    console.line(&format!("power-off: {error}"));
    loop {
        // Without power-off there is nothing left that may run: children are dead or unattended,
        // and returning would panic the kernel, which may reboot.
        nix::unistd::pause();
    }
}
