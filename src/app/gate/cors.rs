//! What lets a page of another origin read a response (CORS, the Fetch standard §3.3).
//!
//! Header lines alone. Which origins may is `access`'; statuses and bodies are the caller's. No cookie is ever asked for, so
//! that credentials (Access-Control-Allow-Credentials) are not allowed: keys and tokens travel in headers and URLs.

/// That a page of this origin may read the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cors<'a> {
    /// As the request has it: `null`, or scheme, host and port, of which none has a character that could end the line.
    origin: &'a str,
}

impl<'a> Cors<'a> {
    /// `origin` is what `Access::readable_by` gave.
    pub(super) const fn new(origin: &'a str) -> Self {
        Self { origin }
    }

    /// Appends the header lines that any response to the page needs, refusals too.
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        self.encode_origin(out);
        out.extend_from_slice(b"Access-Control-Expose-Headers: ETag, Retry-After\r\n");
    }

    /// Appends the header lines of the answer to a preflight request: OPTIONS, which asks what the page may send.
    pub(crate) fn encode_preflight(self, out: &mut Vec<u8>) {
        self.encode_origin(out);
        out.extend_from_slice(
            b"Access-Control-Allow-Methods: GET, POST\r\n\
              Access-Control-Allow-Headers: Authorization, X-API-Key, Content-Type, If-None-Match, Last-Event-ID, Cache-Control\r\n\
              Access-Control-Max-Age: 7200\r\n",
        );
    }

    fn encode_origin(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Access-Control-Allow-Origin: ");
        out.extend_from_slice(self.origin.as_bytes());
        // Another origin's answer is another, which caches must know.
        out.extend_from_slice(b"\r\nVary: Origin\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_name_the_origin_and_what_it_may_send() {
        let cors = Cors::new("https://example.com");
        let mut out = b"kept\r\n".to_vec();
        cors.encode(&mut out);
        assert_eq!(
            str::from_utf8(&out).unwrap(),
            "kept\r\nAccess-Control-Allow-Origin: https://example.com\r\nVary: Origin\r\n\
             Access-Control-Expose-Headers: ETag, Retry-After\r\n"
        );
        out.clear();
        cors.encode_preflight(&mut out);
        let lines: Vec<&str> = str::from_utf8(&out).unwrap().split_terminator("\r\n").collect();
        assert_eq!(
            lines,
            [
                "Access-Control-Allow-Origin: https://example.com",
                "Vary: Origin",
                "Access-Control-Allow-Methods: GET, POST",
                "Access-Control-Allow-Headers: Authorization, X-API-Key, Content-Type, If-None-Match, Last-Event-ID, \
                 Cache-Control",
                "Access-Control-Max-Age: 7200",
            ]
        );
    }
}
