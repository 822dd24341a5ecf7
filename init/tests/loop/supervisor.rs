//! PID 1's loop with this test in the place of `serve`, and a sleeping process as its body.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};

use cloister_evidence::binding::ReportData;
use cloister_evidence::bundle::{CpuKind, CpuSection};
use cloister_evidence::log::Event as LogEvent;
use cloister_init::attest::Attester;
use cloister_init::channel::{ChannelError, Reply, Request, read_frame, write_frame};
use cloister_init::gpu::Gpu;
use cloister_init::spawn::Serve;
use cloister_init::supervise::{Event, SuperviseError, Supervisor, child_signals};
use cloister_init::tee::{Tee, TeeError};
use nix::unistd::Pid;

/// Evidence that is the report data itself.
struct FakeTee;

impl Tee for FakeTee {
    fn kind(&self) -> CpuKind {
        CpuKind::TpmQuote
    }

    fn extend(&mut self, _: &LogEvent) -> Result<(), TeeError> {
        Ok(())
    }

    fn firmware_log(&self) -> Result<Vec<u8>, TeeError> {
        Ok(Vec::new())
    }

    fn evidence(&mut self, report_data: &ReportData) -> Result<CpuSection, TeeError> {
        Ok(CpuSection {
            kind: CpuKind::TpmQuote,
            value: report_data.as_bytes().to_vec(),
        })
    }
}

/// A supervisor, the other end of its control channel, the process it watches, and its uevents.
fn supervisor() -> (Supervisor, UnixStream, Child, UnixStream) {
    let attester = Attester::new(Box::new(FakeTee), b"conf".to_vec(), "none", Gpu::None).unwrap();
    let body = Command::new("sleep").arg("60").spawn().unwrap();
    let (control, ours) = UnixStream::pair().unwrap();
    let (uevents, kernel) = UnixStream::pair().unwrap();
    uevents.set_nonblocking(true).unwrap();
    let pid = Pid::from_raw(i32::try_from(body.id()).unwrap());
    let serve = Serve { pid, control };
    let supervisor = Supervisor::new(attester, serve, uevents.into(), child_signals().unwrap());
    (supervisor, ours, body, kernel)
}

pub(crate) fn supervisor_answers_and_ends_with_the_right_words() {
    answers_a_leaf_and_hears_of_listening();
    ends_with_serves_own_reason();
    ends_when_serve_leaves_the_protocol();
    ends_on_a_corrupt_block();
    ends_when_nothing_comes();
}

fn answers_a_leaf_and_hears_of_listening() {
    let (mut supervisor, mut control, mut body, _kernel) = supervisor();
    let leaf = Request::Leaf {
        spki_sha256: [1; 32],
        not_before: 5,
        not_after: 6,
    };
    // Half a frame first: the loop must not wait for the rest of it.
    let frame = cloister_init::channel::frame(&leaf.encode()).unwrap();
    let (front, back) = frame.split_at(7);
    control.write_all(front).unwrap();
    assert!(matches!(
        supervisor.wait_for(Event::Attested, 1),
        Err(SuperviseError::Late(Event::Attested, 1))
    ));
    control.write_all(back).unwrap();
    supervisor.wait_for(Event::Attested, 10).unwrap();
    let reply = Reply::decode(&read_frame(&mut control).unwrap()).unwrap();
    assert!(matches!(reply, Reply::Evidence { .. }));
    write_frame(&mut control, &Request::Listening.encode()).unwrap();
    supervisor.wait_for(Event::Listening, 10).unwrap();
    body.kill().unwrap();
    let error = supervisor.run().unwrap_err();
    assert_eq!(error.to_string(), "killed by SIGKILL");
}

fn ends_with_serves_own_reason() {
    let (mut supervisor, mut control, mut body, _kernel) = supervisor();
    let reason = "port\u{1b}[2J taken".to_owned();
    write_frame(&mut control, &Request::Failed { reason }.encode()).unwrap();
    body.kill().unwrap();
    drop(control);
    let error = supervisor.run().unwrap_err();
    assert_eq!(error.to_string(), "killed by SIGKILL: port\\u{1b}[2J taken");
}

fn ends_when_serve_leaves_the_protocol() {
    let (mut supervisor, mut control, mut body, _kernel) = supervisor();
    write_frame(&mut control, b"\x81\x09").unwrap();
    let error = supervisor.run().unwrap_err();
    assert!(matches!(
        error,
        SuperviseError::Channel(ChannelError::Malformed { wanted: "request" })
    ));
    body.kill().unwrap();
    body.wait().unwrap();
}

fn ends_on_a_corrupt_block() {
    let (mut supervisor, _control, mut body, mut kernel) = supervisor();
    kernel
        .write_all(b"change@/devices/virtual/block/dm-0\0DM_VERITY_ERR_BLOCK_NR=1,9\0")
        .unwrap();
    // Even when a child has died of it.
    body.kill().unwrap();
    let error = supervisor.run().unwrap_err();
    assert_eq!(
        error.to_string(),
        "verity error in hash block 9 of the root"
    );
    body.wait().unwrap();
}

fn ends_when_nothing_comes() {
    let (mut supervisor, _control, mut body, _kernel) = supervisor();
    let error = supervisor.wait_for(Event::Listening, 1).unwrap_err();
    assert_eq!(error.to_string(), "no Listening within 1 s");
    body.kill().unwrap();
    body.wait().unwrap();
}
