//! The server's own pages, each one file that asks for nothing from anywhere.

use wsfast::Response;
use wsfast::proto::handshake::Status;

/// How to use the server.
pub(crate) const INDEX: &str = include_str!("index.html");

/// Joins the topic whose path it is at.
pub(crate) const PAGE: &str = include_str!("page.html");

/// A page of the server's own. It names by hash what it may run (its Content-Security-Policy is in it).
pub(crate) fn page(html: &'static str) -> Response {
    Response::new(Status::Ok, "text/html; charset=utf-8", html)
        .with("Cache-Control", "no-cache")
        .with("Content-Security-Policy", "frame-ancestors 'none'")
        .with("X-Content-Type-Options", "nosniff")
        .with("Referrer-Policy", "no-referrer")
        .with("Vary", "Accept")
}
