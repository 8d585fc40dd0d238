//! The protocol's numbers, with the words that belong to them.
//!
//! Only codes that this server has a use for. Words are fixed: nothing that a peer sent gets into them.

/// Why a request is not fulfilled. The connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyError {
    /// Not the client's fault; it may try again.
    Internal,
    /// The connection is not connected yet, since its connect was refused, or its token is not valid yet; the client may try
    /// again.
    Unauthorized,
    /// The client may not do that.
    PermissionDenied,
    /// A request of a kind that this server does not know.
    MethodNotFound,
    /// The client is subscribed to the channel.
    AlreadySubscribed,
    /// Too many subscriptions, topics of one owner, or channels in one request.
    LimitExceeded,
    /// The request lacks something, or says it in the wrong form.
    BadRequest,
    /// Known to the protocol, but not offered here.
    NotAvailable,
    /// The token has expired; the client gets a new one and tries again.
    TokenExpired,
    /// The client may try again, later.
    TooManyRequests,
    /// The topic does not go back that far, or has begun a new epoch.
    UnrecoverablePosition,
}

impl ReplyError {
    /// The number on the wire.
    pub(crate) const fn code(self) -> u16 {
        match self {
            Self::Internal => 100,
            Self::Unauthorized => 101,
            Self::PermissionDenied => 103,
            Self::MethodNotFound => 104,
            Self::AlreadySubscribed => 105,
            Self::LimitExceeded => 106,
            Self::BadRequest => 107,
            Self::NotAvailable => 108,
            Self::TokenExpired => 109,
            Self::TooManyRequests => 111,
            Self::UnrecoverablePosition => 112,
        }
    }

    /// The words on the wire.
    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::Internal => "internal server error",
            Self::Unauthorized => "unauthorized",
            Self::PermissionDenied => "permission denied",
            Self::MethodNotFound => "method not found",
            Self::AlreadySubscribed => "already subscribed",
            Self::LimitExceeded => "limit exceeded",
            Self::BadRequest => "bad request",
            Self::NotAvailable => "not available",
            Self::TokenExpired => "token expired",
            Self::TooManyRequests => "too many requests",
            Self::UnrecoverablePosition => "unrecoverable position",
        }
    }

    /// Whether the same request may succeed later. Clients repeat connects and subscribes that failed like that.
    pub(crate) const fn is_temporary(self) -> bool {
        matches!(self, Self::Internal | Self::Unauthorized | Self::TooManyRequests)
    }
}

/// Why a connection ends: the status code and reason of its Close frame.
///
/// Clients reconnect by themselves from all codes but 3500 to 3999, 4500 to 4999 and, stock JavaScript ones, 1009. So a code from
/// 3500 on is for what a reconnect could only repeat:
///
/// | code | when | what a reconnect would do |
/// |---|---|---|
/// | 3000 | no connect within `--handshake-timeout` | a slow network or a stalled machine is over by then |
/// | 3005 | the connection's token has expired | the client gets a new token first |
/// | 3500 | a token that is forged, malformed or for another server; none where one is asked for | shows the same |
/// | 3501 | a line that is not JSON, or no command with an id; a command before connect; connect twice | what is no client of this protocol stays none |
/// | 3503 | an operator ended the connection | undo what the operator wants; who wants otherwise says 3000 to the API |
/// | 3508 | a `send`, which has no id that a refusal could name | the application sends again |
///
/// All else that is wrong with a command is answered under its id ([`ReplyError`]), and the connection goes on: a value of
/// the wrong type, JSON that is too deep, a limit. The same goes for a token that is not valid yet, and for what comes behind
/// a connect that was refused. 3502, which others have for the first row, is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disconnect {
    /// The connection's token has expired.
    Expired,
    /// The connection's token does not hold.
    InvalidToken,
    /// What came is not the protocol, and nothing of it can be answered.
    BadRequest,
    /// No connect command came in time.
    Stale,
    /// An operator ended it; the client stays away.
    ForceNoReconnect,
    /// A message without an id, to which no reply can say that it is not available.
    NotAvailable,
}

impl Disconnect {
    /// The status code.
    pub(crate) const fn code(self) -> u16 {
        match self {
            Self::Expired => 3005,
            Self::InvalidToken => 3500,
            Self::BadRequest => 3501,
            Self::Stale => 3000,
            Self::ForceNoReconnect => 3503,
            Self::NotAvailable => 3508,
        }
    }

    /// The reason.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Expired => "connection expired",
            Self::InvalidToken => "invalid token",
            Self::BadRequest => "bad request",
            Self::Stale => "no connect in time",
            Self::ForceNoReconnect => "force disconnect",
            Self::NotAvailable => "not available",
        }
    }
}

/// Why a subscription ends while its connection goes on. From 2500 on clients subscribe anew by themselves, and recover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsubscribe {
    /// The topic has moved past the client's place in it.
    InsufficientState,
}

impl Unsubscribe {
    /// The number on the wire.
    pub(crate) const fn code(self) -> u16 {
        match self {
            Self::InsufficientState => 2500,
        }
    }

    /// The words on the wire.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::InsufficientState => "insufficient state",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Close frame has room for 123 bytes, and clients go by the ranges.
    #[test]
    fn disconnects_keep_to_their_ranges() {
        use Disconnect as D;
        let come_back = [D::Expired, D::Stale];
        let stay_away = [D::InvalidToken, D::BadRequest, D::ForceNoReconnect, D::NotAvailable];
        for disconnect in come_back {
            assert!((3000..3500).contains(&disconnect.code()), "{disconnect:?}");
        }
        for disconnect in stay_away {
            assert!((3500..4000).contains(&disconnect.code()), "{disconnect:?}");
        }
        for disconnect in come_back.into_iter().chain(stay_away) {
            assert!((1..=123).contains(&disconnect.reason().len()), "{disconnect:?}");
        }
    }

    #[test]
    fn who_lost_track_recovers() {
        assert_eq!(Unsubscribe::InsufficientState.code(), 2500);
    }

    #[test]
    fn errors_have_the_numbers_that_clients_know() {
        use ReplyError as E;
        let table = [
            (E::Internal, 100, true),
            (E::Unauthorized, 101, true),
            (E::PermissionDenied, 103, false),
            (E::MethodNotFound, 104, false),
            (E::AlreadySubscribed, 105, false),
            (E::LimitExceeded, 106, false),
            (E::BadRequest, 107, false),
            (E::NotAvailable, 108, false),
            (E::TokenExpired, 109, false),
            (E::TooManyRequests, 111, true),
            (E::UnrecoverablePosition, 112, false),
        ];
        for (error, code, temporary) in table {
            assert_eq!((error.code(), error.is_temporary()), (code, temporary), "{error:?}");
            assert!(!error.message().is_empty());
        }
    }
}
