//! Which page a browser makes a request for (Fetch Metadata: Sec-Fetch-Site, Sec-Fetch-Mode).
//!
//! Browsers alone send it, and no page can change it; but old ones do not, nor does any to a host that is neither this machine nor
//! has TLS. So it refuses, and lets nobody in. Where there is an Origin, that tells more, and is `access`' to judge.

use wsfast::proto::handshake::Request;

/// Whose doing a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// No browser's, the user's own, or that of a page of the same origin.
    Own,
    /// A page of another origin sends the user there, or shows it in a frame.
    Visit,
    /// A page of another origin loads it: as a picture, say.
    Foreign,
}

impl Site {
    /// What `request` says of it. Several lines, or a word that is not known, count as the worst.
    pub(crate) fn of(request: &Request<'_>) -> Self {
        let is_own = |site: &[u8]| matches!(site, b"none" | b"same-origin");
        if request.headers("sec-fetch-site").all(is_own) {
            Self::Own
        } else if request.header("sec-fetch-mode") == Some(b"navigate") {
            Self::Visit
        } else {
            Self::Foreign
        }
    }
}

#[cfg(test)]
mod tests {
    use wsfast::proto::handshake::HeadLimits;

    use super::*;

    #[test]
    fn what_is_not_known_to_be_own_is_foreign() {
        for (lines, expected) in [
            ("", Site::Own),
            ("Sec-Fetch-Mode: no-cors\r\n", Site::Own),
            ("Sec-Fetch-Site: none\r\n", Site::Own),
            ("sec-fetch-site: same-origin\r\nSec-Fetch-Mode: cors\r\n", Site::Own),
            ("Sec-Fetch-Site: same-site\r\n", Site::Foreign),
            ("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n", Site::Foreign),
            ("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n", Site::Visit),
            ("Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: navigate\r\n", Site::Visit),
            ("Sec-Fetch-Site: None\r\n", Site::Foreign),
            ("Sec-Fetch-Site:\r\n", Site::Foreign),
            ("Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site\r\n", Site::Foreign),
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            let request = Request::parse(head.as_bytes(), &HeadLimits::default()).unwrap();
            assert_eq!(Site::of(&request), expected, "{lines}");
        }
    }
}
