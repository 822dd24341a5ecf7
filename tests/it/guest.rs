//! Booted guests, and their consoles.
//!
//! A guest lives under a shell that waits for its own standard input to close: however the test process ends, the
//! guest ends with it.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::images::{self, Image};
use crate::peer::Peer;
use crate::program::{Said, cloister, repository, run};

/// How long a guest may take from power-on to its last line under software emulation on a busy machine.
pub(crate) const BOOT_LIMIT: Duration = Duration::from_secs(300);
/// Guests that may boot at once.
const AT_ONCE: usize = 2;

const KEEPER: &str = r#"exec 3<&0; "$@" </dev/null 3<&- & guest=$!
{ cat <&3; kill "$guest"; } >/dev/null 2>&1 &
exec 3<&-; wait "$guest""#;

/// A guest, running or ended.
#[derive(Debug)]
pub(crate) struct Guest {
    shell: Child,
    keep: Option<ChildStdin>,
    console: Arc<Console>,
    /// Port on 127.0.0.1 that leads to it.
    pub(crate) port: u16,
}

#[derive(Debug, Default)]
struct Console {
    state: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

/// The test workload's guest, shared by tests that do not harm it.
pub(crate) fn probe() -> &'static Guest {
    static GUEST: OnceLock<Guest> = OnceLock::new();
    GUEST.get_or_init(|| Guest::serving(images::probe()))
}

/// The demo's guest, shared by tests that do not harm it.
pub(crate) fn demo() -> &'static Guest {
    static GUEST: OnceLock<Guest> = OnceLock::new();
    GUEST.get_or_init(|| {
        let guest = Guest::serving(images::demo());
        // llama.cpp's own word for a loaded model; `/healthz` says only that the workload accepts connections.
        guest.answers("/health");
        guest
    })
}

impl Guest {
    /// Boots `image` and waits until it and its workload serve.
    pub(crate) fn serving(image: &Image) -> Guest {
        let _turn = Turn::take();
        let guest = Guest::boot(&image.recipe, &image.out);
        let line = guest.line("cloister-init: serving on port", BOOT_LIMIT);
        assert!(
            line.is_some(),
            "the guest does not serve:\n{}",
            guest.text()
        );
        guest.answers("/healthz");
        guest
    }

    /// Waits until the guest answers a GET of `path` with 200.
    fn answers(&self, path: &str) {
        let start = Instant::now();
        while Peer::connect(self.port).ask("GET", path, b"").status != 200 {
            assert!(start.elapsed() < BOOT_LIMIT, "no {path}:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Boots the disk in `out` with `cloister boot`.
    pub(crate) fn boot(recipe: &Path, out: &Path) -> Guest {
        let port = free_port();
        let mut arguments: Vec<OsString> = vec![cloister().into(), "boot".into(), recipe.into()];
        arguments.extend([
            "--out".into(),
            out.into(),
            "--port".into(),
            port.to_string().into(),
        ]);
        Guest::start(&arguments, port)
    }

    /// Boots an image whose temporary files go below `temporary`.
    pub(crate) fn boot_with(image: &Image, temporary: &Path) -> Guest {
        let port = free_port();
        let mut variable = OsString::from("TMPDIR=");
        variable.push(temporary);
        let mut arguments: Vec<OsString> = vec!["env".into(), variable, cloister().into()];
        arguments.extend(["boot".into(), image.recipe.clone().into()]);
        arguments.extend(["--out".into(), image.out.clone().into()]);
        arguments.extend(["--port".into(), port.to_string().into()]);
        Guest::start(&arguments, port)
    }

    /// Runs a command whose standard output is a guest's console.
    pub(crate) fn start(arguments: &[OsString], port: u16) -> Guest {
        let mut shell = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .args(arguments)
            .current_dir(repository())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let console = Arc::new(Console::default());
        let keep = shell.stdin.take();
        // What `cloister boot` itself says is of interest only when a test fails.
        let said = shell.stderr.take().expect("piped");
        let errors = console.clone();
        std::thread::spawn(move || errors.follow(said, false));
        let output = shell.stdout.take().expect("piped");
        let lines = console.clone();
        std::thread::spawn(move || lines.follow(output, true));
        Guest {
            shell,
            keep,
            console,
            port,
        }
    }

    /// Address of the guest.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The first line of the console that holds `text`, waited for; `None` if the guest ends without it.
    pub(crate) fn line(&self, text: &str, limit: Duration) -> Option<String> {
        self.console.wait(limit, |lines, ended| {
            match lines.iter().find(|line| line.contains(text)) {
                Some(line) => Some(Some(line.clone())),
                None => ended.then_some(None),
            }
        })?
    }

    /// Waits until the guest has ended; gives its console.
    pub(crate) fn ended(&mut self, limit: Duration) -> String {
        let ended = self.console.wait(limit, |_, ended| ended.then_some(()));
        let text = self.text();
        assert!(
            ended.is_some(),
            "the guest did not end in {limit:?}:\n{text}"
        );
        let status = self.shell.wait().expect("sh ends");
        assert!(status.success(), "boot ended with {status}:\n{text}");
        text
    }

    /// The console up to now.
    pub(crate) fn text(&self) -> String {
        self.console.state.lock().expect("console").0.join("\n")
    }

    /// Asks `cloister verify` about the guest.
    pub(crate) fn verify(&self, expected: &Path) -> Said {
        let url = self.url();
        let mut arguments: Vec<OsString> = vec!["verify".into(), url.into(), "--json".into()];
        arguments.extend(["--expect".into(), expected.into()]);
        run(arguments)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.keep.take();
        self.shell.wait().ok();
    }
}

impl Console {
    fn follow(&self, output: impl Read, console: bool) {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            let text = if console {
                text
            } else {
                format!("(boot) {text}")
            };
            self.state.lock().expect("console").0.push(text);
            self.changed.notify_all();
            line.clear();
        }
        if console {
            self.state.lock().expect("console").1 = true;
            self.changed.notify_all();
        }
    }

    /// Waits until `found` gives something.
    fn wait<T>(&self, limit: Duration, found: impl Fn(&[String], bool) -> Option<T>) -> Option<T> {
        let end = Instant::now() + limit;
        let mut state = self.state.lock().expect("console");
        loop {
            if let Some(value) = found(&state.0, state.1) {
                return Some(value);
            }
            let left = end.checked_duration_since(Instant::now())?;
            state = self.changed.wait_timeout(state, left).expect("console").0;
        }
    }
}

/// The right to boot: only a few guests do so at once.
pub(crate) struct Turn;

static BOOTING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

impl Turn {
    pub(crate) fn take() -> Turn {
        let mut booting = BOOTING
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        while *booting >= AT_ONCE {
            booting = ENDED
                .wait(booting)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        *booting += 1;
        Turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *BOOTING
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) -= 1;
        ENDED.notify_one();
    }
}

/// The machine of `cloister boot` but for the TPM, and the port that leads to it.
pub(crate) fn without_a_tpm(disk: &Path) -> (Vec<OsString>, u16) {
    let port = free_port();
    let drive = format!(
        "if=none,id=disk,format=raw,readonly=on,file={}",
        disk.display()
    );
    let forward = format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-:443");
    let words = [
        "qemu-system-x86_64",
        "-machine",
        "q35",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-no-reboot",
        "-serial",
        "stdio",
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max,-cx16",
        "-smp",
        "1",
        "-m",
        "1024",
        "-drive",
        "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
        "-drive",
        "if=pflash,format=raw,snapshot=on,file=/usr/share/OVMF/OVMF_VARS_4M.fd",
        "-drive",
        &drive,
        "-device",
        "virtio-blk-pci,drive=disk,bootindex=0",
        "-netdev",
        &forward,
        "-device",
        "virtio-net-pci,netdev=net,romfile=",
        "-object",
        "rng-random,id=rng,filename=/dev/urandom",
        "-device",
        "virtio-rng-pci,rng=rng",
    ];
    (words.map(OsString::from).into(), port)
}

/// A port on 127.0.0.1 that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}
