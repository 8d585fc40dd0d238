//! How a connection ended.

use crate::proto::close::StatusCode;
use crate::proto::error::ProtocolError;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// The peer sent a Close, with this status code if any (RFC 6455 §7.1.5).
    ByPeer(Option<StatusCode>),
    /// We sent a Close first, with this status code.
    ByUs(StatusCode),
    /// The peer broke the protocol and was sent the error's status code.
    Failed(ProtocolError),
    /// The TCP connection ended or broke without a Close (what a browser shows as 1006).
    Lost,
    /// The connection was cut: the server's run ended, stopped or at its drain deadline, or memory was short.
    Cut,
    /// The peer was silent for longer than the ping interval and the pong timeout together.
    Silent,
}

saved!(enum Closed {
    0 => ByPeer(code), 1 => ByUs(code), 2 => Failed(error), 3 => Lost, 4 => Cut, 5 => Silent,
});

impl Closed {
    /// The status code of the Close that ended it, if there was one with a code.
    pub const fn status_code(self) -> Option<StatusCode> {
        match self {
            Self::ByPeer(code) => code,
            Self::ByUs(code) => Some(code),
            Self::Failed(error) => Some(error.status_code()),
            Self::Lost | Self::Cut | Self::Silent => None,
        }
    }

    /// One line for the log, without control characters.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ByPeer(_) => "the client closed it",
            Self::ByUs(_) => "the server closed it",
            Self::Failed(error) => error.reason(),
            Self::Lost => "the connection ended without a closing handshake",
            Self::Cut => "the server cut it, since it ends or is short of memory",
            Self::Silent => "the client was silent and did not answer a ping",
        }
    }
}
