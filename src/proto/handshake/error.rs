//! What a request's head can break, and the HTTP answer that each breach earns.
//!
//! Pure values. Writing the answer is `response`'s business, closing the connection the caller's.

/// A rule of RFC 9112 or of RFC 6455 §4 that the opening handshake broke. Fatal for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// A TLS ClientHello on a port that speaks plain HTTP; an answer would be noise to its sender.
    TlsOnPlainPort,
    /// The first byte can't begin a request line (RFC 9112 §3).
    NotHttp,
    /// A CR without LF behind it (RFC 9112 §2.2).
    BareCr,
    /// An LF without CR before it; allowed to recipients by RFC 9112 §2.2, but smugglers live off it.
    BareLf,
    /// A NUL byte (RFC 9110 §5.5).
    Nul,
    /// The request line alone is longer than `head_bytes_max`.
    RequestLineTooLong,
    /// The head is longer than `head_bytes_max`.
    HeadTooLong,
    /// More header lines than `headers_max`.
    TooManyHeaders,
    /// The client did not send a whole head in time.
    Timeout,
    /// What was given to the parser is not exactly one head, blank line included.
    HeadNotWhole,
    /// A request line that is not a method, a target and a version with one space between (RFC 9112 §3).
    RequestLineInvalid,
    /// A control or non-ASCII byte or a fragment in the target, or a form that the method can't have (RFC 9112 §3.2).
    TargetInvalid,
    /// A version other than HTTP/1.1, the HTTP/2 preface included (RFC 9113 §3.4).
    HttpVersionUnsupported,
    /// A header line without a colon, with an empty or non-token name, with a space before the colon or at its
    /// start (RFC 9112 §5, §5.1, §5.2).
    HeaderNameInvalid,
    /// A control byte in a header's value (RFC 9110 §5.5).
    HeaderValueInvalid,
    /// No Host (RFC 9112 §3.2).
    HostMissing,
    /// More than one Host (RFC 9112 §3.2).
    HostDuplicate,
    /// A Host, or an authority in the target, that is not a host and perhaps a port (RFC 9110 §7.2).
    HostInvalid,
    /// More than one Origin (RFC 6454 §7.3).
    OriginDuplicate,
    /// An Origin with a byte that is not printable ASCII (RFC 6454 §7.1).
    OriginInvalid,
    /// An Origin that the server does not serve (RFC 6455 §10.2).
    OriginForbidden,
    /// A Content-Length that is not a number of at most 19 digits (RFC 9110 §8.6).
    ContentLengthInvalid,
    /// More than one Content-Length (RFC 9112 §6.3).
    ContentLengthDuplicate,
    /// Content-Length with Transfer-Encoding (RFC 9112 §6.1).
    ContentLengthWithTransferEncoding,
    /// A Transfer-Encoding other than `chunked`, once (RFC 9112 §6.1).
    TransferEncodingInvalid,
    /// An upgrade by another method than GET (RFC 6455 §4.1).
    MethodNotGet,
    /// No Upgrade header that lists `websocket` (RFC 6455 §4.2.1).
    UpgradeMissing,
    /// No Connection header that lists `upgrade`; often a proxy on the way took it out (RFC 6455 §4.2.1).
    ConnectionNotUpgrade,
    /// No Sec-WebSocket-Version: a draft from before RFC 6455.
    VersionMissing,
    /// A Sec-WebSocket-Version other than 13 (RFC 6455 §4.4).
    VersionUnsupported,
    /// More than one Sec-WebSocket-Version (RFC 6455 §11.3.5).
    VersionDuplicate,
    /// A Sec-WebSocket-Version that is not a number of at most three digits (RFC 6455 §4.3).
    VersionInvalid,
    /// No Sec-WebSocket-Key (RFC 6455 §4.2.1).
    KeyMissing,
    /// More than one Sec-WebSocket-Key (RFC 6455 §11.3.1).
    KeyDuplicate,
    /// A Sec-WebSocket-Key that is not the base64 of 16 bytes (RFC 6455 §4.2.1).
    KeyInvalid,
    /// An upgrade with a body: its bytes could be taken for frames.
    BodyOnUpgrade,
    /// A Sec-WebSocket-Protocol list with an element that is not a token (RFC 6455 §4.1).
    SubprotocolInvalid,
}

/// What to do about a [`HandshakeError`]. Either way the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Answer with this status and the error's reason.
    Refuse(Status),
    /// Close at once, without an answer.
    Drop,
}

impl HandshakeError {
    /// The answer that the breach earns.
    pub const fn answer(self) -> Answer {
        match self {
            Self::TlsOnPlainPort => Answer::Drop,
            Self::NotHttp
            | Self::BareCr
            | Self::BareLf
            | Self::Nul
            | Self::HeadNotWhole
            | Self::RequestLineInvalid
            | Self::TargetInvalid
            | Self::HeaderNameInvalid
            | Self::HeaderValueInvalid
            | Self::HostMissing
            | Self::HostDuplicate
            | Self::HostInvalid
            | Self::OriginDuplicate
            | Self::OriginInvalid
            | Self::ContentLengthInvalid
            | Self::ContentLengthDuplicate
            | Self::ContentLengthWithTransferEncoding
            | Self::TransferEncodingInvalid
            | Self::VersionDuplicate
            | Self::VersionInvalid
            | Self::KeyMissing
            | Self::KeyDuplicate
            | Self::KeyInvalid
            | Self::BodyOnUpgrade
            | Self::SubprotocolInvalid => Answer::Refuse(Status::BadRequest),
            Self::OriginForbidden => Answer::Refuse(Status::Forbidden),
            Self::MethodNotGet => Answer::Refuse(Status::MethodNotAllowed),
            Self::Timeout => Answer::Refuse(Status::RequestTimeout),
            Self::RequestLineTooLong => Answer::Refuse(Status::UriTooLong),
            Self::UpgradeMissing
            | Self::ConnectionNotUpgrade
            | Self::VersionMissing
            | Self::VersionUnsupported => Answer::Refuse(Status::UpgradeRequired),
            Self::HeadTooLong | Self::TooManyHeaders => {
                Answer::Refuse(Status::RequestHeaderFieldsTooLarge)
            }
            Self::HttpVersionUnsupported => Answer::Refuse(Status::HttpVersionNotSupported),
        }
    }

    /// One line for the refusal's body and for the log: ASCII, no control characters, nothing from the request.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TlsOnPlainPort => "TLS on a port that speaks plain HTTP",
            Self::NotHttp => "first byte cannot begin an HTTP request",
            Self::BareCr => "CR without LF",
            Self::BareLf => "LF without CR",
            Self::Nul => "NUL byte in the head",
            Self::RequestLineTooLong => "request line too long",
            Self::HeadTooLong => "request head too long",
            Self::TooManyHeaders => "too many headers",
            Self::Timeout => "no complete request head in time",
            Self::HeadNotWhole => "not exactly one head",
            Self::RequestLineInvalid => "malformed request line",
            Self::TargetInvalid => "invalid request target",
            Self::HttpVersionUnsupported => "HTTP version is not 1.1",
            Self::HeaderNameInvalid => "header line that does not start with a name and a colon",
            Self::HeaderValueInvalid => "control character in a header value",
            Self::HostMissing => "no Host",
            Self::HostDuplicate => "more than one Host",
            Self::HostInvalid => "invalid Host",
            Self::OriginDuplicate => "more than one Origin",
            Self::OriginInvalid => "invalid Origin",
            Self::OriginForbidden => "Origin not allowed",
            Self::ContentLengthInvalid => "invalid Content-Length",
            Self::ContentLengthDuplicate => "more than one Content-Length",
            Self::ContentLengthWithTransferEncoding => "Content-Length with Transfer-Encoding",
            Self::TransferEncodingInvalid => "Transfer-Encoding is not chunked",
            Self::MethodNotGet => "method is not GET",
            Self::UpgradeMissing => "no Upgrade: websocket",
            Self::ConnectionNotUpgrade => "no Connection: Upgrade; a proxy may have removed it",
            Self::VersionMissing => "no Sec-WebSocket-Version",
            Self::VersionUnsupported => "Sec-WebSocket-Version is not 13",
            Self::VersionDuplicate => "more than one Sec-WebSocket-Version",
            Self::VersionInvalid => "invalid Sec-WebSocket-Version",
            Self::KeyMissing => "no Sec-WebSocket-Key",
            Self::KeyDuplicate => "more than one Sec-WebSocket-Key",
            Self::KeyInvalid => "Sec-WebSocket-Key is not the base64 of 16 bytes",
            Self::BodyOnUpgrade => "upgrade with a body",
            Self::SubprotocolInvalid => "invalid Sec-WebSocket-Protocol",
        }
    }
}

impl std::fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for HandshakeError {}

/// An HTTP status that this server answers with (RFC 9110 §15.3, §15.5, §15.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// 200: here it is.
    Ok,
    /// 204: there is nothing to send.
    NoContent,
    /// 400: malformed.
    BadRequest,
    /// 401: no or wrong credentials.
    Unauthorized,
    /// 403: understood, and not allowed.
    Forbidden,
    /// 404: nothing at this path.
    NotFound,
    /// 405: another method than GET.
    MethodNotAllowed,
    /// 408: the request did not arrive in time.
    RequestTimeout,
    /// 411: a body without a declared length.
    LengthRequired,
    /// 413: a body above its limit.
    ContentTooLarge,
    /// 414: a request line above its limit.
    UriTooLong,
    /// 426: WebSocket, version 13, or nothing.
    UpgradeRequired,
    /// 429: above a rate or a count that one client may have.
    TooManyRequests,
    /// 431: a head above its limits.
    RequestHeaderFieldsTooLarge,
    /// 500: the application failed.
    InternalServerError,
    /// 503: full, or going down.
    ServiceUnavailable,
    /// 505: another version than HTTP/1.1.
    HttpVersionNotSupported,
}

impl Status {
    /// The number in the status line.
    pub const fn code(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::NoContent => 204,
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::LengthRequired => 411,
            Self::ContentTooLarge => 413,
            Self::UriTooLong => 414,
            Self::UpgradeRequired => 426,
            Self::TooManyRequests => 429,
            Self::RequestHeaderFieldsTooLarge => 431,
            Self::InternalServerError => 500,
            Self::ServiceUnavailable => 503,
            Self::HttpVersionNotSupported => 505,
        }
    }

    /// The words behind the number, as IANA's registry has them.
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::NoContent => "No Content",
            Self::BadRequest => "Bad Request",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::RequestTimeout => "Request Timeout",
            Self::LengthRequired => "Length Required",
            Self::ContentTooLarge => "Content Too Large",
            Self::UriTooLong => "URI Too Long",
            Self::UpgradeRequired => "Upgrade Required",
            Self::TooManyRequests => "Too Many Requests",
            Self::RequestHeaderFieldsTooLarge => "Request Header Fields Too Large",
            Self::InternalServerError => "Internal Server Error",
            Self::ServiceUnavailable => "Service Unavailable",
            Self::HttpVersionNotSupported => "HTTP Version Not Supported",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_one_printable_line() {
        for error in ALL {
            let reason = error.reason();
            assert!(!reason.is_empty(), "{error:?}");
            assert!(reason.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{error:?}");
        }
    }

    #[test]
    fn no_two_errors_share_a_reason() {
        for (at, error) in ALL.iter().enumerate() {
            for other in &ALL[..at] {
                assert_ne!(error.reason(), other.reason(), "{error:?} and {other:?}");
            }
        }
    }

    #[test]
    fn errors_earn_their_status() {
        let codes = |code: u16| -> Vec<HandshakeError> {
            let earns = |error: &HandshakeError| matches!(error.answer(), Answer::Refuse(s) if s.code() == code);
            ALL.into_iter().filter(earns).collect()
        };
        assert_eq!(codes(403), [HandshakeError::OriginForbidden]);
        assert_eq!(codes(405), [HandshakeError::MethodNotGet]);
        assert_eq!(codes(408), [HandshakeError::Timeout]);
        assert_eq!(codes(414), [HandshakeError::RequestLineTooLong]);
        assert_eq!(
            codes(426),
            [
                HandshakeError::UpgradeMissing,
                HandshakeError::ConnectionNotUpgrade,
                HandshakeError::VersionMissing,
                HandshakeError::VersionUnsupported,
            ]
        );
        assert_eq!(codes(431), [HandshakeError::HeadTooLong, HandshakeError::TooManyHeaders]);
        assert_eq!(codes(505), [HandshakeError::HttpVersionUnsupported]);
        assert_eq!(codes(400).len(), 25);
        assert_eq!(HandshakeError::TlsOnPlainPort.answer(), Answer::Drop);
        assert_eq!(ALL.len(), 25 + 1 + 1 + 1 + 1 + 4 + 2 + 1 + 1);
    }

    #[test]
    fn statuses_have_the_registered_phrases() {
        let table = [
            (Status::Ok, 200, "OK"),
            (Status::NoContent, 204, "No Content"),
            (Status::BadRequest, 400, "Bad Request"),
            (Status::Unauthorized, 401, "Unauthorized"),
            (Status::Forbidden, 403, "Forbidden"),
            (Status::NotFound, 404, "Not Found"),
            (Status::MethodNotAllowed, 405, "Method Not Allowed"),
            (Status::RequestTimeout, 408, "Request Timeout"),
            (Status::LengthRequired, 411, "Length Required"),
            (Status::ContentTooLarge, 413, "Content Too Large"),
            (Status::UriTooLong, 414, "URI Too Long"),
            (Status::UpgradeRequired, 426, "Upgrade Required"),
            (Status::TooManyRequests, 429, "Too Many Requests"),
            (Status::RequestHeaderFieldsTooLarge, 431, "Request Header Fields Too Large"),
            (Status::InternalServerError, 500, "Internal Server Error"),
            (Status::ServiceUnavailable, 503, "Service Unavailable"),
            (Status::HttpVersionNotSupported, 505, "HTTP Version Not Supported"),
        ];
        for (status, code, phrase) in table {
            assert_eq!((status.code(), status.phrase()), (code, phrase));
        }
    }

    const ALL: [HandshakeError; 37] = [
        HandshakeError::TlsOnPlainPort,
        HandshakeError::NotHttp,
        HandshakeError::BareCr,
        HandshakeError::BareLf,
        HandshakeError::Nul,
        HandshakeError::RequestLineTooLong,
        HandshakeError::HeadTooLong,
        HandshakeError::TooManyHeaders,
        HandshakeError::Timeout,
        HandshakeError::HeadNotWhole,
        HandshakeError::RequestLineInvalid,
        HandshakeError::TargetInvalid,
        HandshakeError::HttpVersionUnsupported,
        HandshakeError::HeaderNameInvalid,
        HandshakeError::HeaderValueInvalid,
        HandshakeError::HostMissing,
        HandshakeError::HostDuplicate,
        HandshakeError::HostInvalid,
        HandshakeError::OriginDuplicate,
        HandshakeError::OriginInvalid,
        HandshakeError::OriginForbidden,
        HandshakeError::ContentLengthInvalid,
        HandshakeError::ContentLengthDuplicate,
        HandshakeError::ContentLengthWithTransferEncoding,
        HandshakeError::TransferEncodingInvalid,
        HandshakeError::MethodNotGet,
        HandshakeError::UpgradeMissing,
        HandshakeError::ConnectionNotUpgrade,
        HandshakeError::VersionMissing,
        HandshakeError::VersionUnsupported,
        HandshakeError::VersionDuplicate,
        HandshakeError::VersionInvalid,
        HandshakeError::KeyMissing,
        HandshakeError::KeyDuplicate,
        HandshakeError::KeyInvalid,
        HandshakeError::BodyOnUpgrade,
        HandshakeError::SubprotocolInvalid,
    ];
}
