//! Request heads: one verdict wherever the bytes end; a head ends where the first blank line does; a naive reading takes and
//! upgrades the same ones; what is read, written anew, is read as the same; and a client whose request is accepted takes the answer.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use wsfast::proto::handshake::client::{ClientKey, check_response};
use wsfast::proto::handshake::{
    Answer, BodyLength, HandshakeError, HeadLimits, HeadScan, Request, Upgrade, encode_accept,
    encode_refusal,
};

use super::naive_request::Naive;

/// Checks it, within the usual limits and within small ones.
pub fn check(bytes: &[u8]) {
    for limits in [HeadLimits::default(), HeadLimits { head_bytes_max: 150, headers_max: 3 }] {
        let verdict = scan_agrees(bytes, &limits);
        let error = match verdict {
            Ok(None) => continue,
            Ok(Some(len)) => match means_the_same_again(&bytes[..len], &limits) {
                Ok(()) => continue,
                Err(error) => error,
            },
            Err(error) => error,
        };
        is_refused_soundly(error);
    }
}

/// Scans in one piece, byte by byte, and in two pieces of each length.
pub(crate) fn scan_agrees(
    bytes: &[u8],
    limits: &HeadLimits,
) -> Result<Option<usize>, HandshakeError> {
    let verdict = HeadScan::new().scan(bytes, limits);
    let mut scan = HeadScan::new();
    let by_bytes = (0..=bytes.len()).map(|len| scan.scan(&bytes[..len], limits));
    assert_eq!(
        by_bytes.into_iter().find(|verdict| *verdict != Ok(None)).unwrap_or(Ok(None)),
        verdict
    );
    for cut in 0..bytes.len().min(600) {
        let mut scan = HeadScan::new();
        let first = scan.scan(&bytes[..cut], limits);
        let both = if first == Ok(None) { scan.scan(bytes, limits) } else { first };
        assert_eq!(both, verdict, "cut at {cut}");
    }
    if let Ok(Some(len)) = verdict {
        assert!(len <= limits.head_bytes_max);
        let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
        let blank = bytes[start..].windows(4).position(|four| four == b"\r\n\r\n");
        assert_eq!(blank.map(|at| start + at + 4), Some(len));
        assert!(!bytes[..len].contains(&0));
    }
    verdict
}

fn means_the_same_again(head: &[u8], limits: &HeadLimits) -> Result<(), HandshakeError> {
    let parsed = Request::parse(head, limits);
    let naive = Naive::of(head).filter(|naive| naive.is_sound(limits.headers_max));
    assert_eq!(parsed.is_ok(), naive.is_some(), "{:?}", parsed.err());
    let request = parsed?;
    let naive = naive.expect("it was compared");
    let mut lines = [httparse::EMPTY_HEADER; 128];
    let mut twin = httparse::Request::new(&mut lines);
    let parsed = twin.parse(head).map(|status| status.is_complete());
    assert_eq!(parsed, Ok(true), "another parser refuses it");
    assert_eq!((twin.method, twin.path), (Some(request.method()), Some(request.target())));
    let mut again = format!("{} {} HTTP/1.1\r\n", request.method(), request.target()).into_bytes();
    for line in &*twin.headers {
        assert!(request.headers(line.name).any(|value| value == line.value));
        again.extend_from_slice(&[line.name.as_bytes(), b":", line.value, b"\r\n"].concat());
    }
    again.extend_from_slice(b"\r\n");
    let roomy = HeadLimits { head_bytes_max: usize::MAX, ..*limits };
    assert_eq!(HeadScan::new().scan(&again, &roomy), Ok(Some(again.len())));
    let other = Request::parse(&again, &roomy).expect("it was read before");
    assert_eq!(parts(&other), parts(&request));
    assert!(request.target().bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(
        request.method() == "CONNECT" || request.path() == "*" || request.path().starts_with('/')
    );
    let upgrade = request.upgrade();
    assert_eq!(
        other.upgrade().map(|upgrade| upgrade.accept()),
        upgrade.map(|upgrade| upgrade.accept())
    );
    assert_eq!(upgrade.map(|_| ()), naive.upgrade());
    let upgrade = upgrade?;
    assert_eq!(upgrade.subprotocols().collect::<Vec<_>>(), naive.subprotocols());
    opens(&request, &upgrade);
    Ok(())
}

type Parts<'a> = (&'a str, &'a str, &'a str, Option<&'a str>, &'a str, Option<&'a str>, BodyLength);

fn parts<'a>(request: &Request<'a>) -> Parts<'a> {
    (
        request.method(),
        request.target(),
        request.path(),
        request.query(),
        request.host(),
        request.origin(),
        request.body_length(),
    )
}

/// Whatever was offered, the client takes the 101.
fn opens(request: &Request<'_>, upgrade: &Upgrade<'_>) {
    assert!(request.asks_for_websocket() && request.method() == "GET");
    assert!(matches!(request.body_length(), BodyLength::None | BodyLength::Bytes(0)));
    let key = request.header("sec-websocket-key").expect("it was proved");
    // Last bits that stand for nothing are taken as they come, since the key is only hashed; our client never sends them.
    let Ok(nonce) = BASE64_STANDARD.decode(key) else { return };
    let nonce: [u8; 16] = nonce.try_into().expect("16 bytes");
    let offered: Vec<&str> = upgrade.subprotocols().collect();
    let mut out = Vec::new();
    encode_accept(&mut out, &upgrade.accept(), offered.first().copied(), None);
    assert_eq!(
        HeadScan::new().scan(&out, &HeadLimits { head_bytes_max: usize::MAX, headers_max: 5 }),
        Ok(Some(out.len()))
    );
    let response = check_response(&out, &ClientKey::from_nonce(nonce), &offered, None);
    assert_eq!(response.map(|response| response.subprotocol), Ok(offered.first().copied()));
}

/// A refusal is a whole response, whose body is as long as it says.
fn is_refused_soundly(error: HandshakeError) {
    let Answer::Refuse(status) = error.answer() else { return };
    let mut out = Vec::new();
    encode_refusal(&mut out, status, error.reason(), &[]);
    let mut lines = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut lines);
    let Ok(httparse::Status::Complete(len)) = response.parse(&out) else { panic!("{error:?}") };
    let length = response.headers.iter().find(|line| line.name == "Content-Length");
    assert_eq!(length.map(|line| line.value), Some((out.len() - len).to_string().as_bytes()));
    assert!(response.code.is_some_and(|code| code >= 400));
}
