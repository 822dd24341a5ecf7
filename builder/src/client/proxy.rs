//! The local side of `cloister connect`: plain HTTP/1.1 on a loopback address, forwarded over the attested connection.
//!
//! Bodies are passed on frame by frame in both directions. A client that goes away drops its stream, which resets it
//! at the guest. Not covered: protocol upgrades.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::upstream::{Refusal, Upstream};

type Body = BoxBody<Bytes, hyper::Error>;

/// Headers that concern one hop only (RFC 9110 section 7.6.1), and the target, which HTTP/2 carries elsewhere.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Answers clients of `listener` until it is dropped.
pub(crate) async fn serve(listener: TcpListener, upstream: Arc<Upstream>) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                tokio::spawn(answer(client, upstream.clone()));
            }
            // Out of descriptors, or a client that left at once: the next one may do better.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
}

async fn answer(client: TcpStream, upstream: Arc<Upstream>) {
    client.set_nodelay(true).ok();
    let service = service_fn(move |request| {
        let upstream = upstream.clone();
        async move { Ok::<_, Infallible>(forward(request, &upstream).await) }
    });
    // An error here is a client that went away or does not speak HTTP; there is nobody to tell.
    http1::Builder::new()
        .serve_connection(TokioIo::new(client), service)
        .await
        .ok();
}

async fn forward(request: Request<Incoming>, upstream: &Upstream) -> Response<Body> {
    if !from_this_machine(request.headers()) {
        let reason = "the `host` header does not name a loopback address";
        return failure(StatusCode::FORBIDDEN, "foreign_host", reason);
    }
    let session = match upstream.session().await {
        Ok(session) => session,
        Err(refusal) => return refused(&refusal),
    };
    let (mut parts, body) = request.into_parts();
    strip(&mut parts.headers);
    match session.send(Request::from_parts(parts, body.boxed())).await {
        Ok(response) => {
            let (mut parts, body) = response.into_parts();
            strip(&mut parts.headers);
            parts.version = http::Version::HTTP_11;
            Response::from_parts(parts, body.boxed())
        }
        Err(error) => {
            let reason = format!("the attested connection broke off: {error}");
            failure(StatusCode::BAD_GATEWAY, "endpoint_broke_off", &reason)
        }
    }
}

/// Whether the client asked for a loopback name: web pages of other origins cannot, even by a forged DNS answer.
fn from_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
    else {
        return false;
    };
    let Ok(authority) = host.parse::<http::uri::Authority>() else {
        return false;
    };
    let name = authority.host().trim_matches(['[', ']']);
    name == "localhost"
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let kind = match refusal {
        Refusal::Rejected(_) => "endpoint_rejected",
        Refusal::Unreachable(_) => "endpoint_unreachable",
    };
    failure(StatusCode::BAD_GATEWAY, kind, &refusal.to_string())
}

/// An error as OpenAI's clients expect it.
fn failure(status: StatusCode, kind: &str, reason: &str) -> Response<Body> {
    let text = serde_json::json!({ "error": { "message": reason, "type": kind } }).to_string();
    let mut response = Response::new(Full::from(text).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests;
