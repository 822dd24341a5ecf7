//! Judging and writing heads.

use super::*;

fn judge(head: &str) -> Result<(Request, String), Refusal> {
    let mut out = Vec::new();
    let request = request(head.as_bytes(), &mut out)?.expect("head is complete");
    Ok((request, String::from_utf8(out).unwrap()))
}

fn refusal(head: &str) -> (u16, &'static str) {
    judge(head)
        .map_err(|refusal| (refusal.status, refusal.reason))
        .unwrap_err()
}

#[test]
fn request_drops_hop_by_hop_and_named_fields() {
    let (request, out) = judge(concat!(
        "POST /v1/x?y=1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n",
        "Upgrade: h2c\r\nProxy-Authorization: z\r\nContent-Length: 5\r\nX-Kept: yes\r\n\r\nhello"
    ))
    .unwrap();
    assert_eq!(
        out,
        "POST /v1/x?y=1 HTTP/1.1\r\nHost: a\r\nX-Kept: yes\r\ncontent-length: 5\r\n\r\n"
    );
    assert_eq!(
        (request.framing, request.keep_alive, request.route),
        (Framing::Length(5), true, Route::Workload)
    );
}

#[test]
fn request_refuses_every_ambiguous_length() {
    let with = |fields: &str| refusal(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    assert_eq!(
        with("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
        (400, "both `Transfer-Encoding` and `Content-Length`")
    );
    assert_eq!(
        with("Content-Length: 1\r\nContent-Length: 1\r\n"),
        (400, "more than one `Content-Length`")
    );
    for value in ["+1", "-1", "1,1", "0x1", "", "1 1", "99999999999999999999"] {
        assert_eq!(
            with(&format!("Content-Length: {value}\r\n")),
            (400, "malformed `Content-Length`"),
            "{value}"
        );
    }
    for value in [
        "gzip, chunked",
        "xchunked",
        "chunked, identity",
        "\"chunked\"",
    ] {
        assert_eq!(
            with(&format!("Transfer-Encoding: {value}\r\n")).0,
            501,
            "{value}"
        );
    }
    assert_eq!(
        with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n").0,
        400
    );
    assert_eq!(
        refusal("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").0,
        400
    );
}

#[test]
fn request_refuses_malformed_heads() {
    for bad in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\n",
    ] {
        assert_eq!(refusal(bad).0, 400, "{bad:?}");
    }
    assert_eq!(refusal("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n").0, 405);
    assert_eq!(
        refusal("POST / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n").0,
        417
    );
    let many = "X: y\r\n".repeat(MAX_FIELDS);
    assert_eq!(
        refusal(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")).0,
        431
    );
    let long = "x".repeat(MAX_HEAD);
    assert_eq!(
        refusal(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n")).0,
        431
    );
    assert_eq!(
        request(format!("GET /{long}").as_bytes(), &mut Vec::new())
            .unwrap_err()
            .status,
        431
    );
}

#[test]
fn request_waits_for_the_whole_head() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for end in 0..head.len() {
        let mut out = Vec::new();
        assert_eq!(request(&head[..end], &mut out), Ok(None));
        assert!(out.is_empty());
    }
}

#[test]
fn response_is_reframed_for_the_client() {
    let write = |head: &str, http10: bool| {
        let mut space = field_space();
        let mut out = Vec::new();
        response(head.as_bytes(), &mut space, Method::Get)
            .unwrap()
            .write(http10, true, &mut out);
        String::from_utf8(out).unwrap()
    };
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nKeep-Alive: x\r\nA: b\r\n\r\n";
    assert_eq!(
        write(chunked, false),
        "HTTP/1.1 200 OK\r\nA: b\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    assert_eq!(write(chunked, true), "HTTP/1.1 200 OK\r\nA: b\r\n\r\n");
    assert_eq!(
        write("HTTP/1.0 200 OK\r\n\r\n", false),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    assert_eq!(
        write("HTTP/1.1 404 No\r\ncontent-length: 3\r\n\r\n", false),
        "HTTP/1.1 404 No\r\ncontent-length: 3\r\n\r\n"
    );
}

#[test]
fn response_with_ambiguous_length_is_malformed() {
    for fields in [
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 1\r\nContent-Length: 2\r\n",
        "Transfer-Encoding: gzip\r\n",
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        assert!(
            response(head.as_bytes(), &mut field_space(), Method::Get).is_err(),
            "{fields}"
        );
    }
}
