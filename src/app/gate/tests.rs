//! The table of the module's header row by row, where credentials are taken from, and what is never shown.

use wsfast::proto::handshake::HeadLimits;

use super::secret::{Anonymous, GateConfig, Secret};
use super::token::signed::token;
use super::*;

const KEY: &str = "a-key-of-the-right-length";
const SECRET: &str = "a secret of the right length";
const NOW_S: u64 = 1_800_000_000;

/// What a gate says, as a status; `Ok` is zero.
const OK: u16 = 0;

/// Where the server is reached from, its key, its secret, its flag; the request's headers; and the statuses of subscribing,
/// publishing over HTTP, publishing by message, the API.
type Row<'a> = (Reach, Option<&'a str>, Option<&'a str>, ClientPublish, &'a str, [u16; 4]);

#[test]
fn the_semantics_row_by_row() {
    use ClientPublish::{Auto, Off, On};
    use Reach::{Local, Loopback, Network};
    let (key, secret) = (Some(KEY), Some(SECRET));
    let key_header = &format!("X-API-Key: {KEY}\r\n");
    let key_bearer = &format!("Authorization: Bearer {KEY}\r\n");
    let wrong = "X-API-Key: another-key-of-that-length\r\n";
    let wrong_bearer = "Authorization: Bearer another-key\r\n";
    let bearer = |claims: &str| format!("Authorization: Bearer {}\r\n", token(SECRET, claims));
    let reader = &bearer(r#"{"subscribe":["t"]}"#);
    let writer = &bearer(r#"{"publish":["t"]}"#);
    let both = &bearer(r#"{"subscribe":["*"],"publish":["/*"]}"#);
    let other = &bearer(r#"{"subscribe":["u"],"publish":["t/*"]}"#);
    let nothing = &bearer("{}");
    let key_and_reader = &format!("{key_header}{reader}");
    let wrong_and_writer = &format!("{wrong}{writer}");
    let proxied = "X-Forwarded-For: 127.0.0.1\r\n";
    let proxied_key = &format!("{proxied}{key_header}");
    let table: [Row<'_>; 52] = [
        // Open.
        (Loopback, None, None, Auto, "", [OK, OK, OK, OK]),
        (Loopback, None, None, On, "", [OK, OK, OK, OK]),
        (Loopback, None, None, Off, "", [OK, OK, 403, OK]),
        (Loopback, None, None, Auto, wrong, [OK, OK, OK, OK]),
        (Loopback, None, None, Auto, nothing, [OK, OK, OK, OK]),
        // Open to this machine, and asked from elsewhere.
        (Loopback, None, None, Auto, proxied, [OK, 403, 403, 403]),
        (Loopback, None, None, On, proxied, [OK, 403, OK, 403]),
        (Loopback, None, None, Off, proxied, [OK, 403, 403, 403]),
        (Loopback, key, None, Auto, proxied, [OK, 401, 403, 401]),
        (Loopback, key, None, Auto, proxied_key, [OK, OK, OK, OK]),
        (Loopback, None, secret, Auto, proxied, [401, 401, 401, 403]),
        // Reached by others, and nothing to show.
        (Local, None, None, Auto, "", [OK, 403, 403, 403]),
        (Network, None, None, Auto, "", [OK, 403, 403, 403]),
        (Network, None, None, Off, "", [OK, 403, 403, 403]),
        (Network, None, None, On, "", [OK, 403, OK, 403]),
        (Network, None, None, On, key_header, [OK, 403, OK, 403]),
        (Network, None, None, On, both, [OK, 403, OK, 403]),
        // Keys.
        (Network, key, None, Auto, "", [OK, 401, 403, 401]),
        (Network, key, None, On, "", [OK, 401, OK, 401]),
        (Network, key, None, Auto, wrong, [OK, 401, 403, 401]),
        (Network, key, None, Auto, wrong_bearer, [OK, 401, 403, 401]),
        (Network, key, None, Auto, key_header, [OK, OK, OK, OK]),
        (Network, key, None, Off, key_header, [OK, OK, OK, OK]),
        (Network, key, None, Auto, key_bearer, [OK, OK, OK, OK]),
        (Network, key, None, Auto, both, [OK, 401, 403, 401]),
        (Loopback, key, None, Auto, "", [OK, 401, 403, 401]),
        (Loopback, key, None, On, "", [OK, 401, OK, 401]),
        (Loopback, key, None, Auto, key_header, [OK, OK, OK, OK]),
        // Tokens.
        (Network, None, secret, Auto, "", [401, 401, 401, 403]),
        (Network, None, secret, On, "", [401, 401, 401, 403]),
        (Network, None, secret, Off, "", [401, 401, 403, 403]),
        (Network, None, secret, Auto, reader, [OK, 403, 403, 403]),
        (Network, None, secret, On, reader, [OK, 403, 403, 403]),
        (Network, None, secret, Auto, writer, [403, OK, OK, 403]),
        (Network, None, secret, On, writer, [403, OK, OK, 403]),
        (Network, None, secret, Off, writer, [403, OK, 403, 403]),
        (Network, None, secret, Auto, both, [OK, OK, OK, 403]),
        (Network, None, secret, Auto, other, [403, 403, 403, 403]),
        (Network, None, secret, Auto, nothing, [403, 403, 403, 403]),
        (Network, None, secret, Auto, key_header, [401, 401, 401, 403]),
        (Loopback, None, secret, Auto, "", [401, 401, 401, 403]),
        (Loopback, None, secret, Auto, both, [OK, OK, OK, 403]),
        // Both.
        (Network, key, secret, Auto, "", [401, 401, 401, 401]),
        (Network, key, secret, Off, "", [401, 401, 403, 401]),
        (Network, key, secret, Auto, wrong, [401, 401, 401, 401]),
        (Network, key, secret, Auto, key_header, [401, OK, OK, OK]),
        (Network, key, secret, Off, key_header, [401, OK, OK, OK]),
        (Network, key, secret, Auto, key_bearer, [401, OK, OK, OK]),
        (Network, key, secret, Auto, reader, [OK, 403, 403, 401]),
        (Network, key, secret, Auto, writer, [403, OK, OK, 401]),
        (Network, key, secret, Auto, key_and_reader, [OK, OK, OK, OK]),
        (Network, key, secret, Auto, wrong_and_writer, [403, OK, OK, 401]),
    ];
    for (reach, key, secret, client_publish, headers, expected) in table {
        let gate = gate(reach, &[], key, secret, client_publish);
        let told = with_request("/t", headers, |request| {
            let caller = gate.admit(request, None, NOW_S).unwrap();
            [
                gate.may_subscribe(&caller, "t"),
                gate.may_publish(&caller, "t", Via::Http),
                gate.may_publish(&caller, "t", Via::ClientMessage),
                gate.may_call_api(&caller),
            ]
            .map(status)
        });
        assert_eq!(told, expected, "{reach:?} {key:?} {secret:?} {client_publish:?} {headers}");
    }
}

/// Only the reason tells these from others of their status.
#[test]
fn a_refusal_says_what_would_be_right() {
    let none = None;
    for (key, secret, headers, via, expected) in [
        (none, none, "", Via::Http, "--publish-key"),
        (none, none, "", Via::ClientMessage, "--client-publish on"),
        (Some(KEY), none, "", Via::Http, "X-API-Key: KEY"),
        (Some(KEY), none, "X-API-Key: x\r\n", Via::Http, "not one of this server's"),
        (Some(KEY), Some(SECRET), "X-API-Key: x\r\n", Via::Http, "not one of this server's"),
        (none, Some(SECRET), "", Via::Http, "?token=TOKEN"),
        (none, Some(SECRET), "", Via::ClientMessage, "bearer.TOKEN"),
        (Some(KEY), Some(SECRET), "", Via::Http, "or a token"),
    ] {
        let gate = gate(Reach::Network, &[], key, secret, ClientPublish::Auto);
        let refusal = with_request("/t", headers, |request| {
            let caller = gate.admit(request, None, NOW_S).unwrap();
            gate.may_publish(&caller, "t", via).unwrap_err()
        });
        assert!(refusal.reason.contains(expected), "{}", refusal.reason);
        assert!(!refusal.reason.contains('\n'), "{}", refusal.reason);
    }
}

#[test]
fn a_token_is_taken_from_where_it_may_stand() {
    let gate = gate(Reach::Network, &[], Some(KEY), Some(SECRET), ClientPublish::Auto);
    let ann = &token(SECRET, r#"{"sub":"ann"}"#);
    let bob = &token(SECRET, r#"{"sub":"bob"}"#);
    let encoded = &ann.replace('.', "%2E").replace('e', "%65");
    let bad = &token("another secret of that length", "{}");
    for (target, headers, expected) in [
        ("/t".to_owned(), String::new(), Ok(None)),
        ("/t".to_owned(), format!("Authorization: Bearer {ann}\r\n"), Ok(Some("ann"))),
        ("/t".to_owned(), format!("authorization: bEARER   {ann}\r\n"), Ok(Some("ann"))),
        (format!("/t?token={ann}"), String::new(), Ok(Some("ann"))),
        (format!("/t?since=all&token={encoded}&self=0"), String::new(), Ok(Some("ann"))),
        (
            "/t".to_owned(),
            format!("Sec-WebSocket-Protocol: wsfast, bearer.{ann}\r\n"),
            Ok(Some("ann")),
        ),
        // The first place counts, and the first in it.
        (format!("/t?token={bob}"), format!("Authorization: Bearer {ann}\r\n"), Ok(Some("ann"))),
        (
            format!("/t?token={ann}&token={bob}"),
            format!("Sec-WebSocket-Protocol: bearer.{bob}\r\n"),
            Ok(Some("ann")),
        ),
        (format!("/t?token={ann}"), format!("Authorization: Bearer {bad}\r\n"), Err(401)),
        // A key where a token could stand leaves room for one elsewhere.
        (format!("/t?token={ann}"), format!("Authorization: Bearer {KEY}\r\n"), Ok(Some("ann"))),
        // What is none at all.
        ("/t?token=".to_owned(), String::new(), Ok(None)),
        (format!("/t?atoken={ann}&Token={ann}"), String::new(), Ok(None)),
        (format!("/token={ann}"), String::new(), Ok(None)),
        ("/t".to_owned(), format!("Authorization: Basic {ann}\r\n"), Ok(None)),
        ("/t".to_owned(), format!("Authorization: Bearer{ann}\r\n"), Ok(None)),
        ("/t".to_owned(), "Authorization: Bearer \r\n".to_owned(), Ok(None)),
        ("/t".to_owned(), "Authorization: Bear\r\n".to_owned(), Ok(None)),
        ("/t".to_owned(), "Sec-WebSocket-Protocol: bearer\r\n".to_owned(), Ok(None)),
        // What is a bad one.
        ("/t?token=undefined".to_owned(), String::new(), Err(401)),
        ("/t?token=%".to_owned(), String::new(), Err(401)),
        ("/t?token=%FF%2".to_owned(), String::new(), Err(401)),
        ("/t".to_owned(), "Sec-WebSocket-Protocol: bearer.\r\n".to_owned(), Err(401)),
        ("/t".to_owned(), "Authorization: Bearer \u{e9}\r\n".to_owned(), Err(401)),
        (format!("/t?token={bad}"), format!("X-API-Key: {KEY}\r\n"), Err(401)),
    ] {
        let upgrading = format!("{UPGRADE}{headers}");
        let told = with_request(&target, &upgrading, |request| {
            let upgrade = request.upgrade().unwrap();
            gate.admit(request, Some(&upgrade), NOW_S)
                .map(|caller| caller.subject().map(str::to_owned))
                .map_err(|refusal| refusal.status.code())
        });
        assert_eq!(told, expected.map(|it| it.map(str::to_owned)), "{target} {headers}");
    }
}

#[test]
fn a_token_that_does_not_hold_is_refused_with_its_fault() {
    let gate = gate(Reach::Loopback, &[], None, Some(SECRET), ClientPublish::Auto);
    for (claims, expected) in [
        (r#"{"exp":1800000000}"#, Ok(Some(1_800_000_010))),
        (r#"{"exp":1799999990}"#, Err("expired")),
        (r#"{"nbf":1800000011}"#, Err("not valid yet")),
        (r#"{"exp":"soon"}"#, Err("claims")),
        (r#"{"aud":"other"}"#, Err("audience")),
        ("{}", Ok(None)),
    ] {
        let target = format!("/t?token={}", token(SECRET, claims));
        let told = with_request(&target, "", |request| {
            gate.admit(request, None, NOW_S).map(|caller| caller.ends_at_s())
        });
        match (told, expected) {
            (Ok(told), Ok(expected)) => assert_eq!(told, expected, "{claims}"),
            (Err(refusal), Err(part)) => {
                assert_eq!(refusal.status, Status::Unauthorized, "{claims}");
                assert!(refusal.reason.contains(part), "{}", refusal.reason);
            }
            (told, _) => panic!("{claims}: {told:?}"),
        }
    }
}

/// Before its credentials are looked at, and whether it asks for an upgrade or not.
#[test]
fn a_page_that_may_not_connect_is_refused_first() {
    let on_loopback = gate(Reach::Loopback, &[], None, Some(SECRET), ClientPublish::Auto);
    let listed = ["https://app.example"];
    let on_network = gate(Reach::Network, &listed, None, Some(SECRET), ClientPublish::Auto);
    for (gate, host, origin, upgrade, plain) in [
        (&on_loopback, "localhost:1", Some("http://localhost:2"), OK, OK),
        (&on_loopback, "localhost:1", Some("https://evil.example"), 403, 403),
        (&on_loopback, "evil.example", Some("http://evil.example"), 403, 403),
        (&on_loopback, "evil.example", None, OK, 403),
        (&on_loopback, "localhost:1", None, OK, OK),
        (&on_network, "a.example", Some("https://app.example"), OK, OK),
        (&on_network, "a.example", Some("https://evil.example"), 403, 403),
        (&on_network, "a.example", Some("http://a.example"), OK, OK),
        (&on_network, "a.example", None, OK, OK),
    ] {
        let origin_line = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
        for token in ["", "Authorization: Bearer bad\r\n"] {
            // A bad token is refused only where the page is not.
            let or_bad = |page: u16| if page == OK && !token.is_empty() { 401 } else { page };
            let lines = format!("{UPGRADE}{origin_line}{token}");
            let told = with_host(host, "/t", &lines, |request| {
                let upgrade = request.upgrade().unwrap();
                [Some(&upgrade), None].map(|it| status(gate.admit(request, it, NOW_S).map(|_| ())))
            });
            assert_eq!(told, [or_bad(upgrade), or_bad(plain)], "{host} {origin:?} {token}");
        }
    }
}

#[test]
fn a_page_reads_responses_where_it_may_connect() {
    let listed = gate(Reach::Network, &["https://app.example"], None, None, ClientPublish::Auto);
    let open = gate(Reach::Network, &["*"], None, None, ClientPublish::Auto);
    for (gate, origin, expected) in [
        (&listed, None, None),
        (&listed, Some("https://app.example"), Some("https://app.example")),
        (&listed, Some("https://evil.example"), None),
        (&listed, Some("http://a.example"), Some("http://a.example")),
        (&open, Some("https://evil.example"), Some("https://evil.example")),
        (&open, Some("null"), Some("null")),
        (&open, Some("not an origin"), None),
    ] {
        let line = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
        with_host("a.example", "/t", &line, |request| {
            assert_eq!(gate.cors(request), expected.map(Cors::new), "{origin:?}");
        });
    }
}

#[test]
fn who_shows_nothing_costs_nothing() {
    assert_eq!(size_of::<Caller>(), 2 * size_of::<usize>());
    let gate = gate(Reach::Network, &[], Some(KEY), None, ClientPublish::Auto);
    with_request("/t?token=x", "Authorization: Basic x\r\n", |request| {
        assert!(gate.admit(request, None, NOW_S).unwrap().shown.is_none());
    });
}

#[test]
fn the_start_up_lines_say_what_is_open_to_whom() {
    use ClientPublish::{Auto, Off, On};
    use Reach::{Loopback, Network};
    for (reach, key, secret, client_publish, subscribe, http, message) in [
        (Loopback, None, None, Auto, "anyone", "this machine", "this machine"),
        (Loopback, None, None, On, "anyone", "this machine", "anyone"),
        (Loopback, None, None, Off, "anyone", "this machine", "nobody"),
        (Network, None, None, Auto, "anyone", "nobody", "nobody"),
        (Network, None, None, On, "anyone", "nobody", "anyone"),
        (Network, Some(KEY), None, Auto, "anyone", "who has a key", "who has a key"),
        (Network, Some(KEY), None, On, "anyone", "who has a key", "anyone"),
        (
            Loopback,
            None,
            Some(SECRET),
            On,
            "who has a token for it",
            "who has a token for it",
            "who has a token for it",
        ),
        (
            Network,
            None,
            Some(SECRET),
            Off,
            "who has a token for it",
            "who has a token for it",
            "nobody",
        ),
        (
            Network,
            Some(KEY),
            Some(SECRET),
            Auto,
            "who has a token for it",
            "who has a key or a token for it",
            "who has a key or a token for it",
        ),
        (
            Network,
            Some(KEY),
            Some(SECRET),
            Off,
            "who has a token for it",
            "who has a key or a token for it",
            "who has a key",
        ),
    ] {
        let gate = gate(reach, &[], key, secret, client_publish);
        let warning = if gate.is_open { format!("{WHAT_IS_HERE}\n") } else { String::new() };
        let access = gate.access.to_string();
        assert_eq!(
            gate.to_string(),
            format!(
                "to subscribe: {subscribe} (--jwt-secret); to publish over HTTP: {http} (--publish-key, --jwt-secret); \
                 by message: {message} (--client-publish)\n{warning}{access}"
            )
        );
    }
}

#[test]
fn nothing_secret_is_shown() {
    let gate = gate(Reach::Network, &[], Some(KEY), Some(SECRET), ClientPublish::Auto);
    let token = token(SECRET, r#"{"sub":"ann","exp":1900000000}"#);
    let bad = format!("{token}A");
    let mut shown = format!("{gate:?} {gate}");
    for token in [&token, &bad] {
        let headers = format!("X-API-Key: {KEY}\r\nAuthorization: Bearer {token}\r\n");
        shown += &with_request("/t", &headers, |request| {
            format!("{:?}", gate.admit(request, None, NOW_S))
        });
    }
    let signature = token.rsplit('.').next().unwrap();
    for secret in [KEY, SECRET, signature, "a-key", "a secret", "eyJ", "97, 45, 107", "[97"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn percent_triples_are_decoded() {
    for (text, expected) in [
        ("", ""),
        ("a.b", "a.b"),
        ("a%2Eb%2e", "a.b."),
        ("%C3%A9", "é"),
        ("%FF", "%FF"),
        ("a+b", "a+b"),
        ("%", "%"),
        ("%2", "%2"),
        ("%2G%%41", "%2G%A"),
    ] {
        assert_eq!(percent_decoded(text), expected, "{text}");
    }
}

fn gate(
    reach: Reach,
    origins: &[&str],
    key: Option<&str>,
    secret: Option<&str>,
    client_publish: ClientPublish,
) -> Gate {
    let given = |text: &str| Secret::Inline(text.into());
    let config = GateConfig {
        publish_keys: key.map(given).into_iter().collect(),
        client_publish,
        jwt_secret: secret.map(given),
        anonymous: Anonymous::Refused,
    };
    let origins = origins.iter().map(|text| text.parse().unwrap()).collect();
    Gate::new(reach, origins, config.load().unwrap())
}

fn status(told: Result<(), Refusal>) -> u16 {
    told.map_or_else(|refusal| refusal.status.code(), |()| OK)
}

fn with_request<T>(target: &str, headers: &str, ask: impl FnOnce(&Request<'_>) -> T) -> T {
    with_host("localhost:8002", target, headers, ask)
}

fn with_host<T>(host: &str, target: &str, headers: &str, ask: impl FnOnce(&Request<'_>) -> T) -> T {
    let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
    let limits = HeadLimits { head_bytes_max: 1 << 20, headers_max: 100 };
    ask(&Request::parse(head.as_bytes(), &limits).unwrap())
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
