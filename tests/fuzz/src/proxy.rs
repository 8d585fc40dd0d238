//! PROXY headers: one verdict wherever the bytes end, `Auto` says what the version's own reading says, and an address that is
//! read makes a header that is read as the same.

use std::net::SocketAddr;

use wsfast::proto::parsed::Parsed;
use wsfast::proto::proxy_protocol::{HEADER_BYTES_MAX, ProxyHeaderError, Source, Versions, parse};

/// Checks it.
pub fn check(bytes: &[u8]) {
    let [v1, v2, auto] = [Versions::V1, Versions::V2, Versions::Auto].map(|versions| {
        let whole = parse(bytes, versions);
        for len in 0..bytes.len().min(HEADER_BYTES_MAX + 1) {
            match (parse(&bytes[..len], versions), whole) {
                (Ok(Parsed::NeedBytes(need)), Ok(Parsed::Done(_, used))) => {
                    assert!(len < need && need <= used, "{need} of {used} with {len}");
                }
                (Ok(Parsed::NeedBytes(need)), _) => assert!(len < need && need <= HEADER_BYTES_MAX),
                (cut, whole) => assert_eq!(cut, whole, "cut at {len}"),
            }
        }
        whole
    });
    if !bytes.is_empty() {
        let either = if v1 == Err(ProxyHeaderError::NoHeader) { v2 } else { v1 };
        assert_eq!(auto, either);
    }
    if let Ok(Parsed::Done(source, used)) = auto {
        assert!(used <= bytes.len() && used <= HEADER_BYTES_MAX);
        let behind = [&bytes[..used], b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(parse(&behind, Versions::Auto), auto, "what follows counts");
        if let Source::Ip(address) = source {
            is_read_back(address);
        }
    }
}

/// Writes both versions by the specification's letter.
fn is_read_back(address: SocketAddr) {
    let (ip, port) = (address.ip(), address.port());
    let family = if address.is_ipv4() { "TCP4" } else { "TCP6" };
    let line = format!("PROXY {family} {ip} {ip} {port} 443\r\n");
    assert_eq!(
        parse(line.as_bytes(), Versions::V1),
        Ok(Parsed::Done(Source::Ip(address), line.len()))
    );
    let (code, ip) = match ip {
        std::net::IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        std::net::IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let body = [&ip, &ip, &port.to_be_bytes()[..], &[1, 0xBB]].concat();
    let len = [0, u8::try_from(body.len()).unwrap_or_default()];
    let header = [b"\r\n\r\n\0\r\nQUIT\n\x21", &[code][..], &len, &body].concat();
    assert_eq!(parse(&header, Versions::V2), Ok(Parsed::Done(Source::Ip(address), header.len())));
}
