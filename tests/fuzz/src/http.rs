//! What is written, in both roles, says what was meant to whoever reads it, whatever it is made of: no value gets out of its
//! line. And what a server answers to an opening handshake is read without harm.
//!
//! An input is a status, then strings that end with zero bytes.

use wsfast::Response;
use wsfast::proto::deflate::Offer;
use wsfast::proto::handshake::client::{ClientKey, ClientRequest, check_response, encode_request};
use wsfast::proto::handshake::{HeadLimits, HeadScan, Request, Status};
use wsfast::proto::http::{Body, End, encode};

use super::input::Input;
use super::request::scan_agrees;

/// Checks it.
pub fn check(bytes: &[u8]) {
    response_is_read_as_written(Input(bytes));
    request_is_read_as_written(Input(bytes));
    answer_is_read(bytes);
}

fn response_is_read_as_written(mut input: Input<'_>) {
    let status =
        input.one_of(&[Status::Ok, Status::NoContent, Status::NotFound, Status::ContentTooLarge]);
    let end = input.one_of(&[End::KeepAlive, End::Close, End::Stream]);
    let body = input.one_of(&[Body::Sent, Body::LeftOut]);
    let values = [input.until_zero(), input.until_zero()].map(String::from_utf8_lossy);
    let response = Response::new(status, &values[0], input.0)
        .with("X-Further", values[1].clone().into_owned());
    let mut out = Vec::new();
    encode(&mut out, &response, end, body);
    let mut lines = [httparse::EMPTY_HEADER; 8];
    let mut twin = httparse::Response::new(&mut lines);
    let Ok(httparse::Status::Complete(len)) = twin.parse(&out) else { panic!("no response") };
    assert_eq!((twin.code, twin.reason), (Some(status.code()), Some(status.phrase())));
    let is_line = |value: &str| value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let length = input.0.len().to_string();
    let has_length = end != End::Stream && status != Status::NoContent;
    let expected: Vec<(&str, &str)> = [
        is_line(&values[0]).then(|| ("Content-Type", values[0].trim_matches(' '))),
        is_line(&values[1]).then(|| ("X-Further", values[1].trim_matches(' '))),
        has_length.then_some(("Content-Length", &*length)),
        (end != End::KeepAlive).then_some(("Connection", "close")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let read: Vec<(&str, &str)> = twin
        .headers
        .iter()
        .map(|line| (line.name, std::str::from_utf8(line.value).unwrap_or_default()))
        .collect();
    assert_eq!(read, expected);
    assert_eq!(&out[len..], if body == Body::Sent { input.0 } else { b"" });
}

/// All that a client can write, a server takes as it was meant.
fn request_is_read_as_written(mut input: Input<'_>) {
    let key = ClientKey::from_nonce([input.byte(); 16]);
    let [host, target, origin, subprotocol, value] =
        [(); 5].map(|()| String::from_utf8_lossy(input.until_zero()).into_owned());
    let subprotocols = [&*subprotocol, "other"];
    let request = ClientRequest {
        host: &host,
        target: &target,
        key: &key,
        origin: (!origin.is_empty()).then_some(&*origin),
        subprotocols: if subprotocol.is_empty() { &[] } else { &subprotocols },
        deflate: Some(Offer::FULL),
        headers: &[("X-Further", &*value)],
    };
    let mut out = Vec::new();
    if encode_request(&mut out, &request).is_err() {
        assert!(out.is_empty());
        return;
    }
    let limits = HeadLimits { head_bytes_max: usize::MAX, headers_max: 10 };
    assert_eq!(HeadScan::new().scan(&out, &limits), Ok(Some(out.len())));
    let read = Request::parse(&out, &limits).expect("it was written");
    assert_eq!((read.target(), read.host()), (&*target, &*host));
    assert_eq!(read.origin(), request.origin.map(|origin| origin.trim_matches(' ')));
    assert_eq!(read.header("x-further"), Some(value.trim_matches(' ').as_bytes()));
    let upgrade = read.upgrade().expect("it was written");
    assert_eq!(upgrade.subprotocols().collect::<Vec<_>>(), request.subprotocols);
    assert_eq!(upgrade.extensions().count(), 1);
}

/// The client's half: any head is read, and nothing that was not offered is taken.
fn answer_is_read(bytes: &[u8]) {
    let Ok(Some(len)) = scan_agrees(bytes, &HeadLimits::default()) else { return };
    let key = ClientKey::from_nonce(*b"the sample nonce");
    let read = check_response(&bytes[..len], &key, &["chat", "superchat"], Some(Offer::FULL));
    if let Ok(response) = read {
        assert!(bytes.starts_with(b"HTTP/1.1 101") || bytes.starts_with(b"\r\nHTTP/1.1 101"));
        assert!(response.subprotocol.is_none_or(|name| ["chat", "superchat"].contains(&name)));
    }
}
