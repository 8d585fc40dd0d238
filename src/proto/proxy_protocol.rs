//! The PROXY protocol's headers, versions 1 and 2 (haproxy.org, `doc/proxy-protocol.txt`): for whom a proxy speaks.
//!
//! ```text
//! v1   PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\n                                      at most 107 bytes
//! v2   \r\n\r\n\0\r\nQUIT\n | version, command | family, transport | length, 2 bytes | addresses | TLVs
//! ```
//!
//! A pure function over a prefix of the stream. What a proxy says besides the source (the destination, TLVs, and the
//! checksum among them) is skipped. Does not know who may be believed: that is `net`'s. Addresses are `core::net`'s,
//! where there are values and no sockets.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::proto::parsed::Parsed;

/// Which versions of the header are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// The line of text alone.
    V1,
    /// The binary header alone.
    V2,
    /// Either.
    Auto,
}

saved!(enum Versions { 0 => V1, 1 => V2, 2 => Auto });

/// Who is at the other end of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The proxy itself (LOCAL, as health checks do), or it does not know (UNKNOWN, UNSPEC).
    Proxy,
    /// This address.
    Ip(SocketAddr),
    /// A Unix socket of the proxy's machine.
    Unix,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyHeaderError {
    /// They do not begin like one of a version that is taken.
    NoHeader,
    /// A line of version 1 does not end within 107 bytes, or version 2 declares more than [`V2_BODY_BYTES_MAX`].
    TooLong,
    /// A line of version 1 that is not as the specification has it.
    MalformedLine,
    /// A version, command, family or transport that version 2 does not define.
    UndefinedCode,
    /// A length of version 2 in which the addresses of its family have no room.
    TooShort,
}

impl ProxyHeaderError {
    /// One line for the log, without control characters.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoHeader => {
                "the connection does not begin with a PROXY header of a version that is taken"
            }
            Self::TooLong => "the PROXY header is too long",
            Self::MalformedLine => "the line of PROXY version 1 is malformed",
            Self::UndefinedCode => {
                "PROXY version 2 does not define such a command, family or transport"
            }
            Self::TooShort => "the PROXY header has no room for its addresses",
        }
    }
}

/// Parses a header at the start of `bytes`.
///
/// # Errors
///
/// No bytes behind `bytes` could make it a header.
pub fn parse(bytes: &[u8], versions: Versions) -> Result<Parsed<Source>, ProxyHeaderError> {
    let is_prefix = |of: &[u8]| bytes.iter().zip(of).all(|(a, b)| a == b);
    let v1 = versions != Versions::V2 && is_prefix(V1_START);
    let v2 = versions != Versions::V1 && is_prefix(V2_SIGNATURE);
    // The two differ in their first byte.
    match (v1, v2) {
        (false, false) => Err(ProxyHeaderError::NoHeader),
        (true, true) => Ok(Parsed::NeedBytes(1)),
        (true, false) => parse_v1(bytes),
        (false, true) => parse_v2(bytes),
    }
}

/// Bytes of a header at most, of either version.
pub const HEADER_BYTES_MAX: usize = V2_FIXED_BYTES + V2_BODY_BYTES_MAX;

/// Bytes of addresses and TLVs of version 2 that are taken. Unix addresses are 216; certificates' names fit behind.
pub const V2_BODY_BYTES_MAX: usize = 2048;

const V1_START: &[u8] = b"PROXY ";
const V1_BYTES_MAX: usize = 107;
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED_BYTES: usize = 16;

#[expect(clippy::arithmetic_side_effects, reason = "places in the first 107 bytes")]
fn parse_v1(bytes: &[u8]) -> Result<Parsed<Source>, ProxyHeaderError> {
    let within = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    // The CR is the last but one at most; a byte further on changes nothing.
    let mut to_cr = within.iter().take(V1_BYTES_MAX - 1);
    let Some(end) = to_cr.position(|&byte| matches!(byte, b'\r' | b'\n')) else {
        return if within.len() >= V1_BYTES_MAX - 1 {
            Err(ProxyHeaderError::TooLong)
        } else {
            Ok(Parsed::NeedBytes(within.len().max(V1_START.len()) + 1))
        };
    };
    match within[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] => return Ok(Parsed::NeedBytes(end + 2)),
        _ => return Err(ProxyHeaderError::MalformedLine),
    }
    let line = within[..end]
        .strip_prefix(V1_START)
        .and_then(|line| str::from_utf8(line).ok())
        .ok_or(ProxyHeaderError::MalformedLine)?;
    let source = v1_source(line).ok_or(ProxyHeaderError::MalformedLine)?;
    Ok(Parsed::Done(source, end + 2))
}

/// Single spaces, addresses of the family that is named, ports without leading zeros. What follows UNKNOWN is skipped.
fn v1_source(line: &str) -> Option<Source> {
    let mut words = line.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Source::Proxy);
    }
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match family {
            "TCP4" => word.parse().map(IpAddr::V4).ok(),
            "TCP6" => word.parse().map(IpAddr::V6).ok(),
            _ => None,
        }
    };
    let (source, _destination) = (address()?, address()?);
    let (port, _destination) = (v1_port(words.next()?)?, v1_port(words.next()?)?);
    words.next().is_none().then_some(Source::Ip(SocketAddr::new(source, port)))
}

fn v1_port(word: &str) -> Option<u16> {
    let is_decimal = word.bytes().all(|byte| byte.is_ascii_digit());
    (is_decimal && (word == "0" || !word.starts_with('0'))).then(|| word.parse().ok()).flatten()
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed<Source>, ProxyHeaderError> {
    use ProxyHeaderError::{TooLong, TooShort, UndefinedCode};
    let need = Ok(Parsed::NeedBytes(V2_FIXED_BYTES));
    let Some(&code) = bytes.get(12) else { return need };
    let is_local = match code {
        0x20 => true,
        0x21 => false,
        _ => return Err(UndefinedCode),
    };
    let Some(&family) = bytes.get(13) else { return need };
    // What carried the client to the proxy may be datagrams (QUIC); its address counts all the same.
    let addresses_len = match family {
        _ if is_local => 0,
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return Err(UndefinedCode),
    };
    let Some(&[high, low]) = bytes.get(14..16).and_then(<[u8]>::first_chunk) else { return need };
    let body_len = usize::from(u16::from_be_bytes([high, low]));
    if body_len > V2_BODY_BYTES_MAX {
        return Err(TooLong);
    }
    if body_len < addresses_len {
        return Err(TooShort);
    }
    let whole_len = V2_FIXED_BYTES + body_len;
    let Some(body) = bytes.get(V2_FIXED_BYTES..whole_len) else {
        return Ok(Parsed::NeedBytes(whole_len));
    };
    let source = v2_source(&body[..addresses_len]).ok_or(TooShort)?;
    Ok(Parsed::Done(source, whole_len))
}

/// Source, destination, source port, destination port; a family is known by the length of its addresses.
fn v2_source(addresses: &[u8]) -> Option<Source> {
    let port = |at: usize| -> Option<u16> {
        Some(u16::from_be_bytes(*addresses.get(at..)?.first_chunk()?))
    };
    Some(match addresses.len() {
        0 => Source::Proxy,
        12 => {
            let ip = Ipv4Addr::from(*addresses.first_chunk::<4>()?);
            Source::Ip((ip, port(8)?).into())
        }
        36 => {
            let ip = Ipv6Addr::from(*addresses.first_chunk::<16>()?);
            Source::Ip((ip, port(32)?).into())
        }
        _ => Source::Unix,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn good_lines() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(V1_BYTES_MAX - 16));
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\n", ip("192.0.2.7:40000")),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                ip("255.255.255.255:65535"),
            ),
            ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", ip("0.0.0.0:0")),
            ("PROXY TCP6 2001:db8::7 ::1 1 2\r\n", ip("[2001:db8::7]:1")),
            (
                "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                ip("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
            ),
            ("PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 1 2\r\n", ip("[::ffff:192.0.2.7]:1")),
            ("PROXY UNKNOWN\r\n", Source::Proxy),
            ("PROXY UNKNOWN whatever it says\r\n", Source::Proxy),
            (&longest, Source::Proxy),
        ] {
            for versions in [Versions::V1, Versions::Auto] {
                check(line.as_bytes(), versions, Ok(Parsed::Done(expected, line.len())));
            }
            check(line.as_bytes(), Versions::V2, Err(ProxyHeaderError::NoHeader));
        }
    }

    #[test]
    fn bad_lines() {
        use ProxyHeaderError::{MalformedLine, NoHeader, TooLong};
        let too_long = format!("PROXY UNKNOWN {}\r\n", "f".repeat(V1_BYTES_MAX - 15));
        let endless = format!("PROXY TCP4 {}", "1".repeat(4000));
        // 106 bytes show it, whatever comes next.
        let ended_late = format!("PROXY UNKNOWN {}\n", "f".repeat(V1_BYTES_MAX - 15));
        for (line, error) in [
            ("GET / HTTP/1.1\r\n", NoHeader),
            ("proxy TCP4 192.0.2.7 192.0.2.1 40000 443\r\n", NoHeader),
            ("PROXYTCP4 192.0.2.7 192.0.2.1 40000 443\r\n", NoHeader),
            ("PROXY\r\n", NoHeader),
            (" PROXY UNKNOWN\r\n", NoHeader),
            ("PROXY \r\n", MalformedLine),
            ("PROXY  TCP4 192.0.2.7 192.0.2.1 40000 443\r\n", MalformedLine),
            ("PROXY TCP4  192.0.2.7 192.0.2.1 40000 443\r\n", MalformedLine),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 40000 443 \r\n", MalformedLine),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 40000\r\n", MalformedLine),
            ("PROXY TCP4 192.0.2.7 192.0.2.1\r\n", MalformedLine),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\n", MalformedLine),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r \n", MalformedLine),
            ("PROXY TCP4 192.0.2.7\t192.0.2.1 40000 443\r\n", MalformedLine),
            ("PROXY TCP4 192.0.2.256 192.0.2.1 40000 443\r\n", MalformedLine),
            ("PROXY TCP4 192.0.2.007 192.0.2.1 40000 443\r\n", MalformedLine),
            ("PROXY TCP4 192.0.2.7 192.0.2 40000 443\r\n", MalformedLine),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 040000 443\r\n", MalformedLine),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 00 443\r\n", MalformedLine),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 +1 443\r\n", MalformedLine),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 65536 443\r\n", MalformedLine),
            ("PROXY TCP4 192.0.2.7 192.0.2.1 1 65536\r\n", MalformedLine),
            ("PROXY TCP4 ::1 ::1 1 2\r\n", MalformedLine),
            ("PROXY TCP6 192.0.2.7 192.0.2.1 1 2\r\n", MalformedLine),
            ("PROXY TCP6 fe80::1%1 ::1 1 2\r\n", MalformedLine),
            ("PROXY TCP6 [::1] ::1 1 2\r\n", MalformedLine),
            ("PROXY UDP4 192.0.2.7 192.0.2.1 1 2\r\n", MalformedLine),
            ("PROXY UNKNOWNS\r\n", MalformedLine),
            ("PROXY unknown\r\n", MalformedLine),
            (&too_long, TooLong),
            (&endless, TooLong),
            (&ended_late, TooLong),
        ] {
            check(line.as_bytes(), Versions::Auto, Err(error));
        }
        check(b"PROXY TCP4 \xff\r\n", Versions::V1, Err(MalformedLine));
    }

    #[test]
    fn good_binary_headers() {
        let v4 = [192, 0, 2, 7, 192, 0, 2, 1, 0x9c, 0x40, 1, 0xbb];
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        v6[32..34].copy_from_slice(&40_000_u16.to_be_bytes());
        let tlvs = [&v4[..], &[0x04, 0, 3, 1, 2, 3], &[0xff; 100]].concat();
        for (code, family, body, expected) in [
            (0x21, 0x11, &v4[..], ip("192.0.2.7:40000")),
            (0x21, 0x12, &v4, ip("192.0.2.7:40000")),
            (0x21, 0x21, &v6, ip("[2001:db8::7]:40000")),
            (0x21, 0x22, &v6, ip("[2001:db8::7]:40000")),
            (0x21, 0x11, &tlvs, ip("192.0.2.7:40000")),
            (0x21, 0x31, &[b'/'; 216], Source::Unix),
            (0x21, 0x32, &[0; 300], Source::Unix),
            (0x21, 0x00, &[], Source::Proxy),
            (0x21, 0x00, &v4, Source::Proxy),
            (0x20, 0x00, &[], Source::Proxy),
            (0x20, 0x11, &v4, Source::Proxy),
            (0x20, 0xff, &[1; 3], Source::Proxy),
            (0x21, 0x11, &[1; V2_BODY_BYTES_MAX], ip("1.1.1.1:257")),
        ] {
            let header = v2(code, family, body);
            let done = Ok(Parsed::Done(expected, header.len()));
            check(&header, Versions::V2, done);
            check(&header, Versions::Auto, done);
            check(&header, Versions::V1, Err(ProxyHeaderError::NoHeader));
        }
    }

    #[test]
    fn bad_binary_headers() {
        use ProxyHeaderError::{NoHeader, TooLong, TooShort, UndefinedCode};
        for (code, family, body, error) in [
            (0x11, 0x11, &[0; 12][..], UndefinedCode),
            (0x31, 0x11, &[0; 12], UndefinedCode),
            (0x22, 0x11, &[0; 12], UndefinedCode),
            (0x2f, 0x11, &[0; 12], UndefinedCode),
            (0x21, 0x01, &[0; 12], UndefinedCode),
            (0x21, 0x10, &[0; 12], UndefinedCode),
            (0x21, 0x13, &[0; 12], UndefinedCode),
            (0x21, 0x41, &[0; 12], UndefinedCode),
            (0x21, 0x11, &[0; 11], TooShort),
            (0x21, 0x21, &[0; 35], TooShort),
            (0x21, 0x31, &[0; 215], TooShort),
            (0x21, 0x11, &[0; V2_BODY_BYTES_MAX + 1], TooLong),
            (0x20, 0x00, &[0; 65_535], TooLong),
        ] {
            check(&v2(code, family, body), Versions::Auto, Err(error));
        }
        check(b"\r\n\r\n\0\r\nQUIT\r\x21\x11", Versions::Auto, Err(NoHeader));
        check(b"\r\n\r\nGET / HTTP/1.1", Versions::Auto, Err(NoHeader));
    }

    #[test]
    fn no_more_bytes_are_asked_for_than_there_are() {
        let whole = v2(0x21, 0x11, &[7; 20]);
        for (bytes, expected) in [
            (&b""[..], 1),
            (b"P", 7),
            (b"PROXY TC", 9),
            (b"PROXY UNKNOWN\r", 15),
            (&whole[..1], V2_FIXED_BYTES),
            (&whole[..15], V2_FIXED_BYTES),
            (&whole[..16], 36),
            (&whole[..35], 36),
        ] {
            assert_eq!(parse(bytes, Versions::Auto), Ok(Parsed::NeedBytes(expected)), "{bytes:?}");
        }
    }

    proptest! {
        /// The header's meaning does not depend on where the network cut it, whatever follows.
        #[test]
        fn any_cut_gives_the_same(
            header in prop_oneof![
                any::<(u32, u32, u16, u16)>().prop_map(|(a, b, c, d)| {
                    let [a, b] = [a, b].map(Ipv4Addr::from);
                    format!("PROXY TCP4 {a} {b} {c} {d}\r\n").into_bytes()
                }),
                any::<(u128, u128, u16, u16)>().prop_map(|(a, b, c, d)| {
                    let [a, b] = [a, b].map(Ipv6Addr::from);
                    format!("PROXY TCP6 {a} {b} {c} {d}\r\n").into_bytes()
                }),
                "PROXY [A-Z0-9 .:\r\n]{0,120}".prop_map(String::into_bytes),
                (0x20..0x23_u8, 0..0x34_u8, proptest::collection::vec(any::<u8>(), 0..300))
                    .prop_map(|(code, family, body)| v2(code, family, &body)),
                proptest::collection::vec(any::<u8>(), 0..40),
            ],
            behind in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let stream = [header, behind].concat();
            let whole = parse(&stream, Versions::Auto);
            for cut in 0..stream.len() {
                match parse(&stream[..cut], Versions::Auto) {
                    Ok(Parsed::NeedBytes(len)) => {
                        prop_assert!(len > cut && len <= HEADER_BYTES_MAX);
                        // What was asked for is needed.
                        if let Ok(Parsed::Done(_, used)) = whole {
                            prop_assert!(len <= used);
                        }
                    }
                    decided => prop_assert_eq!(decided, whole),
                }
            }
        }
    }

    /// As a whole, with bytes behind it, and at every cut.
    #[track_caller]
    fn check(bytes: &[u8], versions: Versions, expected: Result<Parsed<Source>, ProxyHeaderError>) {
        let shown = bytes.escape_ascii();
        assert_eq!(parse(bytes, versions), expected, "{shown}");
        assert_eq!(parse(&[bytes, b"GET"].concat(), versions), expected, "{shown} and more");
        for cut in 0..bytes.len() {
            match parse(&bytes[..cut], versions) {
                Ok(Parsed::NeedBytes(len)) => assert!(len > cut, "{shown} cut at {cut}"),
                decided => assert_eq!(decided, expected, "{shown} cut at {cut}"),
            }
        }
    }

    fn v2(code: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).unwrap();
        [V2_SIGNATURE, &[code, family], &len.to_be_bytes(), body].concat()
    }

    fn ip(text: &str) -> Source {
        Source::Ip(text.parse().unwrap())
    }
}
