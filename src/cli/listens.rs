//! Where to listen, as people write it: `127.0.0.1:8002`, `unix:/run/wsfast.sock,mode=600`, `fd:3`, `tls:` before any.
//!
//! Pure functions over text: nothing is bound here, and no descriptor is looked at.

use std::ffi::OsStr;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use wsfast::Scheme;

use crate::app::config::{Ask, AskAt};

/// A value of `--listen`: one, or several with commas between them, as the variable has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AskList(pub(super) Vec<Ask>);

impl FromStr for AskList {
    type Err = BadListen;

    fn from_str(text: &str) -> Result<Self, BadListen> {
        let mut asks: Vec<Ask> = Vec::new();
        for item in text.split(',') {
            match (item.strip_prefix("mode="), asks.last_mut()) {
                (Some(octal), Some(Ask { at: AskAt::Unix { mode, .. }, .. })) => {
                    *mode = parse_mode(octal)?;
                }
                (Some(_), _) => return Err(BadListen::StrayMode),
                (None, _) => asks.push(parse_ask(item)?),
            }
        }
        Ok(Self(asks))
    }
}

fn parse_ask(text: &str) -> Result<Ask, BadListen> {
    let (scheme, text) = match text.strip_prefix("tls:") {
        Some(rest) => (Scheme::Wss, rest),
        None => (Scheme::Ws, text),
    };
    let at = if let Some(path) = text.strip_prefix("unix:") {
        match path {
            "" => return Err(BadListen::NoPath),
            path if path.starts_with('@') => return Err(BadListen::Abstract),
            path => AskAt::Unix { path: OsStr::new(path).into(), mode: MODE },
        }
    } else if let Some(which) = text.strip_prefix("fd:") {
        match which.bytes().all(|byte| byte.is_ascii_digit()) {
            true => AskAt::Fd(which.parse().map_err(|_| BadListen::Descriptor)?),
            false => AskAt::FdName(which.to_owned()),
        }
    } else {
        AskAt::Tcp(parse_address(text)?)
    };
    Ok(Ask { at, scheme })
}

fn parse_address(text: &str) -> Result<SocketAddr, BadListen> {
    if let Ok(addr) = text.parse() {
        return Ok(addr);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    match port.parse::<u16>() {
        Ok(port) if host.eq_ignore_ascii_case("localhost") => {
            Ok((Ipv4Addr::LOCALHOST, port).into())
        }
        Ok(_) if host.is_empty() => Err(BadListen::PortAlone),
        _ if super::values::address(text).is_ok() => Err(BadListen::NoPort),
        _ => Err(BadListen::Malformed),
    }
}

/// Octal, as chmod takes it, without the bits that mean nothing for a socket.
fn parse_mode(text: &str) -> Result<u32, BadListen> {
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if is_octal && mode <= 0o777 => Ok(mode),
        _ => Err(BadListen::Mode),
    }
}

/// A Unix socket's file without `mode=`: for its owner and its group, of which a proxy can be.
const MODE: u32 = 0o660;

/// Why a text is nothing to listen on. The texts say what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadListen {
    Malformed,
    NoPort,
    PortAlone,
    NoPath,
    Abstract,
    Mode,
    StrayMode,
    Descriptor,
}

impl fmt::Display for BadListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => {
                "is nothing to listen on; write 127.0.0.1:8002, [::1]:8002, unix:/run/wsfast.sock or fd:3"
            }
            Self::NoPort => "has no port; write it behind the address, such as 127.0.0.1:8002 or [::1]:8002",
            Self::PortAlone => {
                "has no address; write 127.0.0.1:PORT, or 0.0.0.0:PORT for all of IPv4"
            }
            Self::NoPath => "has no path; write one, such as unix:/run/wsfast.sock",
            Self::Abstract => {
                "has no file whose mode could say who may connect; write a path, such as unix:/run/wsfast.sock"
            }
            Self::Mode => "has a mode that is none; write it in octal, such as mode=660",
            Self::StrayMode => "has a mode without a Unix socket; write it as unix:/run/wsfast.sock,mode=660",
            Self::Descriptor => "is not a descriptor's number; write one such as fd:3, or a name of LISTEN_FDNAMES",
        })
    }
}

impl std::error::Error for BadListen {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_listened_on() {
        for (text, expected) in [
            ("127.0.0.1:8002", tcp("127.0.0.1:8002")),
            ("[::1]:0", tcp("[::1]:0")),
            ("[fe80::1%2]:80", tcp("[fe80::1%2]:80")),
            ("localhost:80", tcp("127.0.0.1:80")),
            ("unix:/run/a.sock", unix("/run/a.sock", 0o660)),
            ("unix:/run/a.sock,mode=600", unix("/run/a.sock", 0o600)),
            ("unix:a:b,mode=0777", unix("a:b", 0o777)),
            ("fd:3", AskAt::Fd(3)),
            ("fd:web", AskAt::FdName("web".into())),
        ] {
            for (prefix, scheme) in [("", Scheme::Ws), ("tls:", Scheme::Wss)] {
                let ask = Ask { at: expected.clone(), scheme };
                assert_eq!(format!("{prefix}{text}").parse(), Ok(AskList(vec![ask])), "{text}");
            }
        }
    }

    #[test]
    fn several_have_commas_between_them() {
        let list: AskList = "unix:/a,mode=600,tls:fd:3,unix:/b,127.0.0.1:1".parse().unwrap();
        let asks = [
            Ask { at: unix("/a", 0o600), scheme: Scheme::Ws },
            Ask { at: AskAt::Fd(3), scheme: Scheme::Wss },
            Ask { at: unix("/b", 0o660), scheme: Scheme::Ws },
            Ask { at: tcp("127.0.0.1:1"), scheme: Scheme::Ws },
        ];
        assert_eq!(list.0, asks);
        let shown: Vec<String> = asks.iter().map(Ask::to_string).collect();
        assert_eq!(shown, ["unix:/a", "tls:fd:3", "unix:/b", "127.0.0.1:1"]);
    }

    #[test]
    fn what_cannot() {
        use BadListen::{
            Abstract, Descriptor, Malformed, Mode, NoPath, NoPort, PortAlone, StrayMode,
        };
        for (text, expected) in [
            ("", Malformed),
            ("127.0.0.1:1,", Malformed),
            ("eth0", Malformed),
            ("example.com:80", Malformed),
            ("ws://127.0.0.1:80", Malformed),
            ("127.0.0.1:65536", Malformed),
            ("127.0.0.1:http", Malformed),
            ("tls:tls:127.0.0.1:1", Malformed),
            ("UNIX:/a", Malformed),
            ("127.0.0.1", NoPort),
            ("::1", NoPort),
            ("[::1]", NoPort),
            ("localhost", NoPort),
            ("8002", PortAlone),
            (":8002", PortAlone),
            ("tls:8443", PortAlone),
            ("unix:", NoPath),
            ("unix:@name", Abstract),
            ("unix:/a,mode=", Mode),
            ("unix:/a,mode=66", Mode),
            ("unix:/a,mode=668", Mode),
            ("unix:/a,mode=1777", Mode),
            ("unix:/a,mode=00660", Mode),
            ("unix:/a,mode=+66", Mode),
            ("mode=660", StrayMode),
            ("fd:3,mode=660", StrayMode),
            ("127.0.0.1:1,mode=660", StrayMode),
            ("fd:", Descriptor),
            ("fd:4294967296", Descriptor),
        ] {
            assert_eq!(text.parse::<AskList>(), Err(expected), "{text:?}");
        }
    }

    fn tcp(text: &str) -> AskAt {
        AskAt::Tcp(text.parse().unwrap())
    }

    fn unix(path: &str, mode: u32) -> AskAt {
        AskAt::Unix { path: path.into(), mode }
    }
}
