//! What pages of other origins can have a browser ask for on the public side, with an Origin and without.

use crate::support::client::RawClient;
use crate::support::process::Process;

/// Pictures, scripts and frames come without an Origin; what the browser says of the page is all there is.
#[test]
fn a_page_of_another_origin_has_nothing_done() {
    let server = Process::start(&["--allow-origin", "https://chat.example", "--publish-key", KEY]);
    let html = "Accept: text/html,*/*\r\nSec-Fetch-Mode: navigate\r\n";
    let listed = "Origin: https://chat.example\r\nSec-Fetch-Mode: cors\r\n";
    let picture = "Accept: image/avif,*/*\r\nSec-Fetch-Mode: no-cors\r\n";
    let events = "Accept: text/event-stream\r\n";
    for (line, lines, own, foreign) in [
        // What changes something.
        ("POST /t", "Sec-Fetch-Mode: no-cors\r\n", 200, 403),
        ("PUT /t", "Sec-Fetch-Mode: cors\r\n", 200, 403),
        ("POST /t", html, 200, 403),
        ("POST /api/publish", "Sec-Fetch-Mode: no-cors\r\n", 200, 403),
        ("POST /api/history_remove", html, 200, 403),
        ("POST /t", listed, 200, 200),
        ("POST /api/publish", listed, 200, 200),
        // What holds a place, and makes a topic.
        ("GET /new?wait=0", picture, 204, 403),
        ("GET /new?wait=0", html, 204, 403),
        ("GET /t", picture, 204, 403),
        ("GET /t", events, 200, 403),
        ("GET /t?since=all", picture, 200, 403),
        ("GET /t", listed, 204, 204),
        // What only shows something, by a link.
        ("GET /t", html, 200, 200),
        ("GET /", html, 200, 200),
        ("HEAD /t", html, 200, 200),
        ("GET /health", html, 200, 200),
        ("GET /", picture, 200, 403),
    ] {
        for (site, status) in [
            ("", own),
            ("Sec-Fetch-Site: none\r\n", own),
            ("Sec-Fetch-Site: same-origin\r\n", own),
            ("Sec-Fetch-Site: same-site\r\n", foreign),
            ("Sec-Fetch-Site: cross-site\r\n", foreign),
        ] {
            let body = match line.starts_with('P') {
                true => r#"{"channel":"t","data":1}"#,
                false => "",
            };
            let mut client = RawClient::connect(server.addr);
            client.send(format!(
                "{line} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY}\r\n{lines}{site}Content-Length: {}\r\n\r\n{body}",
                body.len()
            ));
            let head = client.until(b"\r\n\r\n");
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status} ")),
                "{line} {lines}{site}: {head}"
            );
        }
    }
}

const KEY: &str = "the-key-of-the-operator";
