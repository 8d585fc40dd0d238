//! Whether a request comes from this machine, as far as its head tells: its host, and what proxies write into it.
//!
//! A proxy on this machine connects from a loopback address, whoever it speaks for. Most of them say that they are there, or pass on
//! the name that they are known by. One that does neither cannot be told from a program on this machine: what it passes on counts as
//! near. Nothing here is taken from a sign but that it is there: whom a proxy names is not believed (`--proxy-protocol` is for that).

use wsfast::proto::handshake::Request;
use wsfast::saved;

use crate::app::gate::access::is_this_machines;

/// From where a request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// This machine, if the server listens on loopback addresses alone: it asks for one of this machine's names, and shows no
    /// proxy.
    Here,
    /// Perhaps another.
    Elsewhere,
}

saved!(enum Place { 0 => Here, 1 => Elsewhere });

impl Place {
    /// Where `request` comes from.
    pub(super) fn of(request: &Request<'_>) -> Self {
        // A target in absolute form has a host of its own; a proxy may have looked at either.
        let is_named = |host: &[u8]| str::from_utf8(host).is_ok_and(is_this_machines);
        let is_near = is_this_machines(request.host()) && request.headers("host").all(is_named);
        if is_near && !shows_proxy(request) { Self::Here } else { Self::Elsewhere }
    }
}

/// Whether a header line is there that proxies write, or one that asks a proxy to take such a line out again (RFC 9110 §7.6.1).
fn shows_proxy(request: &Request<'_>) -> bool {
    let names_one =
        |value: &[u8]| value.split(|&byte| byte == b',').any(|it| is_sign(it.trim_ascii()));
    request.header_names().any(|name| is_sign(name.as_bytes()))
        || request.headers("connection").any(names_one)
}

fn is_sign(name: &[u8]) -> bool {
    let begins = |start: &str| {
        name.get(..start.len()).is_some_and(|it| it.eq_ignore_ascii_case(start.as_bytes()))
    };
    if begins("X-") {
        return EXTENSIONS.iter().any(|&start| begins(start));
    }
    NAMES.iter().any(|it| name.eq_ignore_ascii_case(it.as_bytes()))
        || FAMILIES.iter().any(|&start| begins(start))
}

/// Names that the standards have for it (RFC 7239, RFC 9110 §7.6.3, RFC 8470, RFC 9440), and others that stand alone.
const NAMES: &[&str] = &[
    "Forwarded",
    "Forwarded-For",
    "Via",
    "Early-Data",
    "Client-Cert",
    "Client-Cert-Chain",
    "Client-IP",
    "True-Client-IP",
    "DO-Connecting-IP",
    "Front-End-Https",
    "Surrogate-Capability",
];

/// How names begin: of what clients send to proxies alone, of CDNs (RFC 8586) and of a product or a provider: Cloudflare, CloudFront,
/// Fastly, Fly, Tailscale, ngrok, Akamai, Alibaba, nginx' ingress, Imperva, WebLogic; and of who a proxy let in.
const FAMILIES: &[&str] = &[
    "Proxy-",
    "CDN-",
    "CF-",
    "CloudFront-",
    "Fastly-",
    "Fly-",
    "Tailscale-",
    "Ngrok-",
    "Akamai-",
    "Ali-",
    "SSL-Client-",
    "Incap-",
    "WL-Proxy-",
    "Remote-",
];

/// The same of names that begin with `X-`; each counts for all that begin with it.
const EXTENSIONS: &[&str] = &[
    "X-Forwarded",
    "X-Real-",
    "X-Original-",
    "X-Client-",
    "X-Cluster-",
    "X-Remote-",
    "X-Source-",
    "X-Proxy",
    "X-Via",
    "X-Host",
    "X-Scheme",
    "X-Url-Scheme",
    "X-SSL",
    "X-Auth-Request-",
    "X-Request-Start",
    "X-Queue-Start",
    "X-Envoy-",
    "X-Varnish",
    "X-Edge-",
    "X-Amz",
    "X-Azure-",
    "X-FD-",
    "X-Goog-",
    "X-Appengine-",
    "X-Cloud-Trace-Context",
    "X-ARR-",
    "X-Railway-",
    "X-Sucuri-",
    "X-Vercel-",
    "X-NF-",
    "X-Tunnel",
];

#[cfg(test)]
mod tests {
    use wsfast::proto::handshake::HeadLimits;

    use super::*;

    /// Nothing that programs and browsers say by themselves is a sign.
    #[test]
    fn what_clients_say_is_no_sign() {
        for name in [
            "Host",
            "Origin",
            "Connection",
            "Upgrade",
            "User-Agent",
            "Accept",
            "Authorization",
            "Cache-Control",
            "Content-Type",
            "Cookie",
            "CSRF-Token",
            "Flyer",
            "Forwarded-To",
            "Last-Event-ID",
            "Priority",
            "Sec-Fetch-Site",
            "Sec-CH-UA",
            "Traceparent",
            "Via-",
            "X-API-Key",
            "X-CSRF-Token",
            "X-Forward",
            "X-Request-Id",
            "X-Requested-With",
            "X-B3-TraceId",
            "X",
            "X-",
        ] {
            assert!(!is_sign(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_request_is_near_under_this_machines_names_and_without_signs() {
        for (target, lines, expected) in [
            ("/t", "Host: localhost:8002", Place::Here),
            ("/t", "Host: [::1]", Place::Here),
            ("/t", "Host: [::ffff:127.0.0.1]", Place::Elsewhere),
            ("/t", "Host: localhost.", Place::Elsewhere),
            ("/t", "Host: localhost\r\nConnection: keep-alive, Upgrade", Place::Here),
            ("http://localhost/t", "Host: localhost", Place::Here),
            ("http://localhost/t", "Host: chat.example", Place::Elsewhere),
            ("http://chat.example/t", "Host: localhost", Place::Elsewhere),
            ("/t", "Host: chat.example", Place::Elsewhere),
            ("/t", "Host: 192.0.2.1", Place::Elsewhere),
            ("/t", "Host:", Place::Elsewhere),
            ("/t", "Host: localhost\r\nVIA: 1.1 a", Place::Elsewhere),
            ("/t", "Host: localhost\r\nx-forwarded-for:", Place::Elsewhere),
            ("/t", "Host: localhost\r\nConnection: close, x-real-ip", Place::Elsewhere),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\n{lines}\r\n\r\n");
            let request = Request::parse(head.as_bytes(), &HeadLimits::default()).unwrap();
            assert_eq!(Place::of(&request), expected, "{target} {lines}");
        }
    }
}
