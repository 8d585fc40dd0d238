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

    /// The header lines that any response to the page needs, refusals too.
    pub(crate) fn lines(self) -> Vec<(&'static str, String)> {
        let mut lines = self.origin_lines();
        lines.push(("Access-Control-Expose-Headers", "ETag, Retry-After".to_owned()));
        lines
    }

    /// The header lines of the answer to a preflight request: OPTIONS, which asks what the page may send.
    pub(crate) fn preflight_lines(self) -> Vec<(&'static str, String)> {
        let mut lines = self.origin_lines();
        for (name, value) in [
            ("Access-Control-Allow-Methods", "GET, POST"),
            (
                "Access-Control-Allow-Headers",
                "Authorization, X-API-Key, Content-Type, If-None-Match, Last-Event-ID, Cache-Control",
            ),
            ("Access-Control-Max-Age", "7200"),
        ] {
            lines.push((name, value.to_owned()));
        }
        lines
    }

    fn origin_lines(self) -> Vec<(&'static str, String)> {
        // Another origin's answer is another, which caches must know.
        let origin = self.origin.to_owned();
        vec![("Access-Control-Allow-Origin", origin), ("Vary", "Origin".to_owned())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_name_the_origin_and_what_it_may_send() {
        let cors = Cors::new("https://example.com");
        let written = |lines: Vec<(&str, String)>| {
            lines.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>()
        };
        assert_eq!(
            written(cors.lines()),
            [
                "Access-Control-Allow-Origin: https://example.com",
                "Vary: Origin",
                "Access-Control-Expose-Headers: ETag, Retry-After",
            ]
        );
        assert_eq!(
            written(cors.preflight_lines()),
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
