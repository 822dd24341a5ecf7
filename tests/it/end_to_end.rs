//! From a recipe to a verified answer of a real language model, through the real OpenAI client.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crate::guest::{self, free_port};
use crate::images;
use crate::program::{Said, command, repository, run, said};

/// A running `cloister connect`.
struct Connected {
    child: Child,
    port: u16,
}

impl Connected {
    fn to(url: &str, reattest: &str) -> Connected {
        let port = free_port();
        let mut child = command(["connect", url, "--reattest", reattest])
            .args(["--listen", &format!("127.0.0.1:{port}"), "--expect"])
            .arg(images::demo().expected())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cloister starts");
        let said = BufReader::new(child.stderr.take().expect("piped"));
        let mut lines = said.lines().map_while(Result::ok);
        let mut heard = Vec::new();
        let listening = lines.any(|line| {
            heard.push(line.clone());
            line.contains("listening on")
        });
        assert!(listening, "{heard:#?}");
        std::thread::spawn(move || lines.for_each(drop));
        Connected { child, port }
    }

    fn curl(&self, words: &[&str], path: &str) -> Said {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let output = Command::new("curl")
            .args(["-sSN", "--max-time", "120"])
            .args(words)
            .arg(url)
            .output();
        said(output.expect("curl starts"))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Python of the environment that `scripts/test.sh` sets up.
fn python() -> PathBuf {
    let python = repository().join("target/venv/bin/python");
    assert!(
        python.is_file(),
        "no {}: run scripts/test.sh once",
        python.display()
    );
    python
}

const CHAT: &str = r#"
import sys
from openai import OpenAI
client = OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0, timeout=600)
print("models:", [model.id for model in client.models.list()])
question = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "What is the capital of France?"}]
whole = client.chat.completions.create(model="smollm2", messages=question, max_tokens=10, temperature=0)
print("whole:", whole.choices[0].message.content)
parts = [chunk.choices[0].delta.content or "" for chunk in
         client.chat.completions.create(model="smollm2", messages=question, max_tokens=10, temperature=0, stream=True)]
print("parts:", len(parts), "".join(parts))
assert len(parts) > 4 and whole.choices[0].message.content.strip()
assert "".join(parts).strip() == whole.choices[0].message.content.strip()
"#;

#[test]
fn the_openai_client_works_unchanged_through_connect() {
    let connected = Connected::to(&guest::demo().url(), "10m");
    let base = format!("http://127.0.0.1:{}/v1", connected.port);
    let output = Command::new(python())
        .args(["-c", CHAT, &base])
        .output()
        .expect("python starts");
    let said = said(output);
    println!("{}", said.stdout);
    assert_eq!(said.code, 0, "{said:#?}");
    assert!(said.stdout.contains("models: ['smollm2']"), "{said:#?}");
    assert!(said.stdout.contains("Paris"), "{said:#?}");
}

#[test]
fn one_question_is_answered_on_the_command_line() {
    let url = guest::demo().url();
    let expected = images::demo().expected();
    let words = [
        "connect",
        &url,
        "--ask",
        "Which city is the capital of France?",
        "--expect",
    ];
    let said = run(words
        .map(Into::into)
        .into_iter()
        .chain([expected.into_os_string()]));
    println!("{}", said.stdout);
    assert_eq!(said.code, 0, "{said:#?}");
    assert!(said.stdout.contains("Paris"), "{said:#?}");
}

#[test]
fn connect_attests_anew_by_timer_while_it_serves() {
    let connected = Connected::to(&guest::demo().url(), "3s");
    for _ in 0..4 {
        let said = connected.curl(&["-f"], "/v1/models");
        assert!(
            said.code == 0 && said.stdout.contains("smollm2"),
            "{said:#?}"
        );
        std::thread::sleep(Duration::from_secs(2));
    }
}

/// A relay of TCP connections whose destination can change; gives its port.
fn switch(destination: Arc<AtomicU16>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a port").port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let guest = TcpStream::connect(("127.0.0.1", destination.load(Ordering::SeqCst)));
            let Ok(guest) = guest else { continue };
            for (mut from, mut to) in [
                (
                    client.try_clone().expect("a socket"),
                    guest.try_clone().expect("a socket"),
                ),
                (guest, client),
            ] {
                std::thread::spawn(move || {
                    std::io::copy(&mut from, &mut to).ok();
                    to.shutdown(std::net::Shutdown::Both).ok();
                });
            }
        }
    });
    port
}

#[test]
fn connect_answers_502_once_another_image_answers_at_the_address() {
    let destination = Arc::new(AtomicU16::new(guest::demo().port));
    let port = switch(destination.clone());
    let connected = Connected::to(&format!("https://127.0.0.1:{port}"), "2s");
    let said = connected.curl(&["-f"], "/v1/models");
    assert_eq!(said.code, 0, "{said:#?}");
    destination.store(guest::probe().port, Ordering::SeqCst);
    std::thread::sleep(Duration::from_secs(6));
    let said = connected.curl(&["-w", "%{http_code}"], "/v1/models");
    assert!(said.stdout.ends_with("502"), "{said:#?}");
    assert!(
        said.stdout.contains("endpoint_rejected") && said.stdout.contains("pcr11"),
        "{said:#?}"
    );
    destination.store(free_port(), Ordering::SeqCst);
    let said = connected.curl(&["-w", "%{http_code}"], "/v1/models");
    assert!(
        said.stdout.ends_with("502") && said.stdout.contains("endpoint_"),
        "{said:#?}"
    );
    destination.store(guest::demo().port, Ordering::SeqCst);
    let said = connected.curl(&["-f"], "/v1/models");
    assert!(
        said.code == 0 && said.stdout.contains("smollm2"),
        "{said:#?}"
    );
}

#[test]
fn connect_refuses_clients_that_ask_for_another_host() {
    let connected = Connected::to(&guest::demo().url(), "10m");
    let said = connected.curl(
        &["-H", "Host: attacker.example", "-w", "%{http_code}"],
        "/v1/models",
    );
    assert!(said.stdout.ends_with("403"), "{said:#?}");
}
