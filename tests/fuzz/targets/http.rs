//! HTTP/1.1 as the front reads it from clients and from the workload: no panic, and one reading only.
//!
//! A request head that is let through must be read the same way again by the same rules; a chunked body
//! must decode to the same bytes however it is split.
#![no_main]

use chunked::Decoder;
use head::{Framing, Method};
use libfuzzer_sys::fuzz_target;

#[path = "../../../init/src/serve/chunked.rs"]
mod chunked;
#[path = "../../../init/src/serve/head.rs"]
#[expect(dead_code, reason = "the front uses more of it")]
mod head;

fuzz_target!(|data: &[u8]| {
    request(data);
    response(data);
    body(data);
});

fn request(data: &[u8]) {
    let mut out = Vec::new();
    let Ok(Some(first)) = head::request(data, &mut out) else {
        return;
    };
    let mut again = Vec::new();
    match head::request(&out, &mut again) {
        Ok(Some(second)) => {
            assert_eq!(
                (second.framing, second.consumed),
                (first.framing, out.len())
            );
            assert_eq!(
                out, again,
                "a head that was let through is its own translation"
            );
        }
        // By the `Host` of an HTTP/1.0 request the head may have grown beyond a limit.
        Err(refusal) => assert_eq!(refusal.status, 431),
        Ok(None) => panic!("a head that was let through is complete"),
    }
}

fn response(data: &[u8]) {
    let Ok(Some(end)) = head::head_end(data) else {
        return;
    };
    let mut space = head::field_space();
    let Ok(first) = head::response(&data[..end], &mut space, Method::Get) else {
        return;
    };
    let mut out = Vec::new();
    first.write(false, true, &mut out);
    let mut space = head::field_space();
    let Ok(second) = head::response(&out, &mut space, Method::Get) else {
        assert_eq!(
            first.fields().count(),
            head::MAX_FIELDS,
            "what was written is a response"
        );
        return;
    };
    let expected = if first.framing == Framing::Close {
        Framing::Chunked
    } else {
        first.framing
    };
    assert_eq!((second.status, second.framing), (first.status, expected));
}

fn body(data: &[u8]) {
    let decode = |pieces: usize| {
        let (mut decoder, mut out, mut done) = (Decoder::default(), Vec::new(), false);
        for piece in data.chunks(pieces.max(1)) {
            let mut piece = piece.to_vec();
            let decoded = decoder.decode(&mut piece).ok()?;
            out.extend_from_slice(&piece[..decoded.payload]);
            done = decoded.done;
        }
        Some((out, done))
    };
    let whole = decode(data.len());
    assert_eq!(whole, decode(1));
    assert_eq!(whole, decode(7));
}
