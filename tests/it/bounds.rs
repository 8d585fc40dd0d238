//! Bounds that no other file is about, each at its limit and one past it: connections of an address.

use std::net::{SocketAddr, UdpSocket};

use rustls::version::TLS13;
use wsfast::proto::proxy_protocol::Versions;
use wsfast::{Limits, Listen, Over, ProxyProtocol};

use crate::support::client::{RawClient, Response};
use crate::support::server::{Hooks, TestServer};
use crate::support::tls::{End, Pair, TlsClient};
use crate::support::{DEADLINE, limits, wire};

#[test]
fn an_address_has_as_many_connections_as_its_limit_and_no_more() {
    let server = proxied(two_per_ip(), None);
    // Who has one count, and who has another.
    for (count, same, other) in [
        ("TCP4 192.0.2.7", "TCP4 192.0.2.7", "TCP4 192.0.2.8"),
        ("TCP4 192.0.2.9", "TCP6 ::ffff:192.0.2.9", "TCP4 192.0.2.10"),
        ("TCP6 2001:db8::1", "TCP6 2001:db8::2:2:2:2", "TCP6 2001:db8:0:1::1"),
    ] {
        let first = open_as(server.addr, count);
        let mut second = open_as(server.addr, same);
        let _other = open_as(server.addr, other);
        for how in ["close", "fin", "reset"] {
            let mut third = connect_as(server.addr, same);
            third.send(wire::request());
            expect_refusal(&third.response());
            third.expect_eof();
            second.expect_echo("undisturbed");
            match how {
                "close" => {
                    second.send(wire::close(1000, ""));
                    second.expect_close(1000);
                    second.expect_eof();
                    drop(second);
                }
                "fin" => drop(second),
                _ => second.reset(),
            }
            server.closed();
            second = open_as(server.addr, count);
        }
        drop((first, second));
    }
    assert_eq!(server.stop().counters.over_per_ip, 9);
}

/// A proxy's own checks, whom it cannot name, and this machine are not one address' clients.
#[test]
fn loopback_and_the_nameless_have_no_limit() {
    let server = proxied(two_per_ip(), None);
    for name in ["TCP4 127.0.0.1", "TCP6 ::1", "UNKNOWN"] {
        let _clients: Vec<RawClient> = (0..5).map(|_| open_as(server.addr, name)).collect();
    }
    let direct = TestServer::echo_with(two_per_ip());
    let _clients: Vec<RawClient> = (0..5).map(|_| RawClient::open(direct.addr)).collect();
    assert_eq!(direct.stop().counters.over_per_ip, 0);
}

/// However the header is cut, and whether its client has said something or not.
#[test]
fn one_too_many_is_refused_as_soon_as_its_proxy_names_it() {
    let server = proxied(two_per_ip(), None);
    let _clients = [open_as(server.addr, "TCP4 192.0.2.7"), open_as(server.addr, "TCP4 192.0.2.7")];
    let mut client = RawClient::connect(server.addr);
    for byte in header("TCP4 192.0.2.7").bytes() {
        client.send([byte]);
    }
    expect_refusal(&client.response());
    client.expect_eof();
}

/// Their refusals cost places of the reserve, not those of clients; past it they are cut.
#[test]
fn a_crowd_of_one_address_takes_no_place_from_others() {
    let mut limits = two_per_ip();
    limits.peers_max = 4;
    let server = proxied(limits, None);
    let first = [(); 2].map(|()| open_as(server.addr, "TCP4 192.0.2.7"));
    let mut crowd = Vec::new();
    for _ in 0..REFUSALS_MAX {
        // Until it has said who it is, a connection has a place like any other.
        let mut client = connect_as(server.addr, "TCP4 192.0.2.7");
        expect_refusal(&client.response());
        crowd.push(client);
    }
    for _ in 0..20 {
        let mut cut = connect_as(server.addr, "TCP4 192.0.2.7");
        assert!(cut.is_over_within(DEADLINE));
    }
    let mut others =
        [open_as(server.addr, "TCP4 192.0.2.8"), open_as(server.addr, "TCP4 192.0.2.9")];
    others.iter_mut().for_each(|client| client.expect_echo("there is room"));
    drop((first, crowd));
    let counters = server.stop().counters;
    assert_eq!(counters.over_per_ip, REFUSALS_MAX as u64 + 20);
    assert_eq!(counters.over_capacity, 0);
}

/// There is no way to say why before TLS is set up.
#[test]
fn over_tls_one_too_many_is_just_ended() {
    let pair = Pair::new();
    let server = proxied(two_per_ip(), Some(&pair));
    let config = pair.client(&TLS13);
    let connect = || {
        let mut client = TlsClient::begin(server.addr, &config);
        std::io::Write::write_all(&mut client.stream.sock, header("TCP4 192.0.2.7").as_bytes())
            .unwrap();
        client
    };
    let _clients = [(); 2].map(|()| {
        let mut client = connect();
        client.send(wire::request());
        client.expect_open();
        client
    });
    connect().expect_end(End::Cut);
    assert_eq!(server.stop().counters.over_per_ip, 1);
}

/// Where there is no proxy it is the connection's own address that counts.
#[test]
fn without_a_proxy_the_connection_s_own_address_counts() {
    let Some(own) = own_address() else {
        return eprintln!("not tested: this machine has no address but loopback");
    };
    let listen = Listen::from(SocketAddr::new(own.ip(), 0));
    let server = TestServer::listen(vec![listen], two_per_ip(), Hooks::echo());
    let _first = RawClient::open(server.addr);
    let second = RawClient::open(server.addr);
    let mut third = RawClient::connect(server.addr);
    expect_refusal(&third.response());
    third.expect_eof();
    second.reset();
    server.closed();
    RawClient::open(server.addr).expect_echo("there is room");
}

/// Connections past a limit that are told so; `net::server` cuts those beyond.
const REFUSALS_MAX: usize = 64;

fn two_per_ip() -> Limits {
    let mut limits = limits();
    limits.peers_per_ip_max = Some(2);
    limits
}

/// An echo that believes a proxy on this machine.
fn proxied(limits: Limits, pair: Option<&Pair>) -> TestServer {
    let mut listen = Listen::from(SocketAddr::from(([127, 0, 0, 1], 0)));
    let trusted = ["127.0.0.0/8".parse().unwrap()].into();
    listen.proxy = Some(ProxyProtocol { versions: Versions::Auto, trusted });
    if let Some(pair) = pair {
        listen.over = Over::Tls(pair.server());
    }
    TestServer::listen(vec![listen], limits, Hooks::echo())
}

/// What a proxy says of `name`: family and address, or that it does not know.
fn header(name: &str) -> String {
    match name.split_once(' ') {
        Some((family, ip)) => format!("PROXY {family} {ip} {ip} 40000 443\r\n"),
        None => format!("PROXY {name}\r\n"),
    }
}

fn connect_as(addr: SocketAddr, name: &str) -> RawClient {
    let mut client = RawClient::connect(addr);
    client.send_in_vain(header(name));
    client
}

fn open_as(addr: SocketAddr, name: &str) -> RawClient {
    let mut client = connect_as(addr, name);
    client.send(wire::request());
    client.expect_open(wire::KEY);
    client
}

/// A 503 that says when to come back, and why, in one line.
fn expect_refusal(response: &Response) {
    assert_eq!(response.status, 503, "{}", response.head);
    assert_eq!(response.values("connection"), ["close"]);
    let retry_after = response.values("retry-after");
    assert!(retry_after.len() == 1 && retry_after[0].parse::<u32>().is_ok(), "{retry_after:?}");
    assert_eq!(response.body, "too many connections from this address\n");
}

/// The address that this machine would speak to others from. Nothing is sent to find out.
fn own_address() -> Option<SocketAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    let own = socket.local_addr().ok()?;
    (!own.ip().is_loopback() && !own.ip().is_unspecified()).then_some(own)
}
