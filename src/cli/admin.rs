//! Where `--admin` listens: as `--listen` is written, but one, without TLS, and not passed on by who starts the server.
//!
//! Pure functions over text. What is served there is `app::admin`'s.

use std::fmt;
use std::str::FromStr;

use wsfast::Scheme;

use crate::app::config::{Ask, AskAt};
use crate::cli::listens::{AskList, BadListen};

/// A value of `--admin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AdminAsk(pub(super) Ask);

impl AdminAsk {
    /// Whether others than this machine can reach it.
    pub(super) const fn is_open_to_others(&self) -> bool {
        match &self.0.at {
            AskAt::Tcp(addr) => !addr.ip().to_canonical().is_loopback(),
            AskAt::Unix { .. } | AskAt::Fd(_) | AskAt::FdName(_) => false,
        }
    }
}

impl FromStr for AdminAsk {
    type Err = BadAdmin;

    fn from_str(text: &str) -> Result<Self, BadAdmin> {
        let AskList(mut asks) = text.parse().map_err(BadAdmin::Listen)?;
        match (asks.pop(), asks.is_empty()) {
            (Some(ask), true) => match (&ask.at, ask.scheme) {
                (_, Scheme::Wss) => Err(BadAdmin::Tls),
                (AskAt::Fd(_) | AskAt::FdName(_), _) => Err(BadAdmin::Inherited),
                (AskAt::Tcp(_) | AskAt::Unix { .. }, Scheme::Ws) => Ok(Self(ask)),
            },
            _ => Err(BadAdmin::Several),
        }
    }
}

/// Why a text is nothing for `--admin`. The texts say what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadAdmin {
    Listen(BadListen),
    Several,
    Tls,
    Inherited,
}

impl fmt::Display for BadAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listen(error) => return error.fmt(f),
            Self::Several => {
                "is more than one; write one, such as 127.0.0.1:8003 or unix:/run/wsfast-admin.sock"
            }
            Self::Tls => "has no TLS; leave out tls:, and put a proxy in front where it must go over a network",
            Self::Inherited => {
                "is passed on; write 127.0.0.1:8003 or unix:/run/wsfast-admin.sock, which the server makes itself"
            }
        })
    }
}

impl std::error::Error for BadAdmin {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_or_one_path() {
        for (text, is_open_to_others) in [
            ("127.0.0.1:8003", false),
            ("localhost:0", false),
            ("[::1]:8003", false),
            ("[::ffff:127.0.0.1]:8003", false),
            ("unix:/run/a.sock,mode=600", false),
            ("0.0.0.0:8003", true),
            ("[::]:8003", true),
            ("192.0.2.1:8003", true),
        ] {
            let asked: AdminAsk = text.parse().unwrap();
            assert_eq!(asked.is_open_to_others(), is_open_to_others, "{text}");
        }
        for (text, expected) in [
            ("8003", BadAdmin::Listen(BadListen::PortAlone)),
            ("", BadAdmin::Listen(BadListen::Malformed)),
            ("127.0.0.1:1,127.0.0.1:2", BadAdmin::Several),
            ("tls:127.0.0.1:1", BadAdmin::Tls),
            ("fd:3", BadAdmin::Inherited),
            ("fd:admin", BadAdmin::Inherited),
        ] {
            assert_eq!(text.parse::<AdminAsk>(), Err(expected), "{text}");
        }
    }
}
