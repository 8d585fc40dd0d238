use clap::CommandFactory as _;
use wsfast::proto::proxy_protocol::Versions;
use wsfast::{CompressionMode, LagPolicy, Limits, Rate};

use crate::app::centrifugo::protocol::json::JsonLimits;
use crate::app::config::{Ask, Log, LogFormat};
use crate::app::gate::secret::{Anonymous, ClientPublish, GateConfig, Secret};
use crate::app::process::reload::LIVE;
use crate::app::process::tls_files::TlsFiles;
use crate::cli::listens::AskList;

use super::*;

#[test]
fn the_flags_are_consistent() {
    Flags::command().debug_assert();
}

#[test]
fn the_flags_defaults_are_the_limits_defaults() {
    let config = config(&[]);
    assert_eq!(format!("{:?}", config.limits), format!("{:?}", Limits::default()));
    assert_eq!(config.json, JsonLimits::default());
    assert_eq!(config.listening.asks, [ask("127.0.0.1:8002")]);
    assert_eq!(config.listening.said_by, SaidBy::Nobody);
    assert!(!config.listening.reuse_port && config.listening.proxy.is_none());
    assert_eq!(config.peers_asked, None);
    assert_eq!((config.tls, config.stdin, config.listening.admin), (None, None, None));
    assert_eq!(config.gate, GateConfig::default());
    assert_eq!(config.log, Log { format: LogFormat::Text, verbosity: 0 });
}

#[test]
fn every_flag_reaches_its_limit() {
    assert_eq!(config(&["--memory-limit=2G"]).memory_limit, Some(2 << 30));
    let limits = config(&[
        "--max-connections=1",
        "--max-connections-per-ip=18",
        "--max-headers=19",
        "--max-topic-name-bytes=20",
        "--max-message-bytes=2K",
        "--max-fragments=3",
        "--max-head-bytes=4K",
        "--max-queue-bytes=5M",
        "--handshake-timeout=6ms",
        "--ping-interval=7s",
        "--pong-timeout=8m",
        "--close-timeout=9h",
        "--drain=0",
        "--keep-alive=11s",
        "--send-timeout=23s",
        "--history=12",
        "--topic-bytes=13K",
        "--history-bytes=14M",
        "--history-ttl=15m",
        "--message-rate=24/25",
        "--connect-rate=26",
        "--max-topics=16",
        "--max-topics-per-owner=23",
        "--max-subscriptions=17",
        "--lag=latest",
        "--compression=dedicated",
        "--compress-min-bytes=10",
        "--compression-level=9",
        "--compression-window=1K",
        "--compression-memory=3G",
    ])
    .limits;
    assert_eq!(limits.peers_max, 1);
    assert_eq!((limits.peers_per_ip_max, limits.headers_max), (Some(18), 19));
    assert_eq!(limits.message_rate, Some(Rate::new(24, 25)));
    assert_eq!(limits.connect_rate, Some(Rate::new(26, 26)));
    assert_eq!(limits.message_bytes_max, 2 << 10);
    assert_eq!(limits.fragments_max, 3);
    assert_eq!(limits.head_bytes_max, 4 << 10);
    assert_eq!(limits.queue_bytes_max, 5 << 20);
    assert_eq!(limits.handshake_timeout_ms, 6);
    assert_eq!(limits.ping_interval_ms, 7_000);
    assert_eq!(limits.pong_timeout_ms, 480_000);
    assert_eq!(limits.close_timeout_ms, 32_400_000);
    assert_eq!(limits.drain_ms, 0);
    let topics = limits.topics;
    assert_eq!((limits.keep_alive_ms, topics.history_ttl_ms), (11_000, 900_000));
    assert_eq!(limits.send_timeout_ms, 23_000);
    assert_eq!((topics.history_messages, topics.topics_max), (12, 16));
    assert_eq!((topics.subscriptions_max, topics.lag), (17, LagPolicy::Latest));
    assert_eq!(topics.name_bytes_max, 20);
    assert_eq!(topics.topics_per_owner_max, Some(23));
    let json = config(&["--max-json-depth=21", "--max-commands=22"]).json;
    assert_eq!((json.depth_max, json.channels_max), (21, 22));
    assert_eq!((topics.topic_bytes_max, topics.history_bytes_max), (13 << 10, 14 << 20));
    let compression = limits.compression;
    assert_eq!(compression.mode, CompressionMode::Dedicated);
    assert_eq!((compression.bytes_min, compression.level), (10, 9));
    assert_eq!((compression.window_bits, compression.memory_bytes_max), (10, 3 << 30));
}

#[test]
fn addresses_and_origins_add_up_and_other_flags_count_last() {
    let config =
        config(&["--bind=::1", "--bind=127.0.0.1,0.0.0.0", "--port=1", "--port", "2", "-vv", "-v"]);
    let expected = ["[::1]:2", "127.0.0.1:2", "0.0.0.0:2"].map(ask);
    assert_eq!(config.listening.asks, expected);
    assert_eq!(config.listening.said_by, SaidBy::Bind);
    assert_eq!(config.log.verbosity, 3);

    let origins =
        self::config(&["--allow-origin", "https://a.example,null", "--allow-origin=*"]).origins;
    assert_eq!(origins, ["https://a.example", "null", "*"].map(|text| text.parse().unwrap()));

    let listening = self::config(&["--listen=fd:3,unix:/a,mode=600", "--listen", "[::1]:1"]);
    assert_eq!(listening.listening.asks, ["fd:3", "unix:/a,mode=600", "[::1]:1"].map(ask));
    assert_eq!(listening.listening.said_by, SaidBy::Listen);
}

#[test]
fn proxies_and_shared_ports() {
    let proxied = config(&[
        "--proxy-protocol=auto",
        "--trust-proxy=10.0.0.0/8,::1",
        "--trust-proxy",
        "192.0.2.1",
        "--reuse-port",
    ]);
    assert!(proxied.listening.reuse_port);
    let proxy = proxied.listening.proxy.unwrap();
    assert_eq!(proxy.versions, Versions::Auto);
    let trusted = ["10.0.0.0/8", "::1", "192.0.2.1"].map(|text| text.parse().unwrap());
    assert_eq!(*proxy.trusted, trusted);
}

#[test]
fn a_mistake_is_one_line_with_its_remedy() {
    for (args, expected) in [
        (
            &["--port", "99999"][..],
            "--port '99999' is not a port; write a number from 1 to 65535, or 0 for any free port",
        ),
        (
            &["--port", "-1"],
            "--port '-1' is not a port; write a number from 1 to 65535, or 0 for any free port",
        ),
        (
            &["--port="],
            "--port '' is not a port; write a number from 1 to 65535, or 0 for any free port",
        ),
        (&["--port"], "--port needs a value; see 'wsfast --help'"),
        (&["--prot", "80"], "there is no flag '--prot'; did you mean --port?"),
        (&["--xyzzy"], "there is no flag '--xyzzy'; 'wsfast --help' lists them all"),
        (&["-x"], "there is no flag '-x'; 'wsfast --help' lists them all"),
        (&["9000"], "'9000' belongs to no flag; did you mean --port 9000?"),
        (&["start"], "'start' belongs to no flag; 'wsfast --help' lists them all"),
        (
            &["a\nb\u{1b}[31m"],
            "'a\\nb\\u{1b}[31m' belongs to no flag; 'wsfast --help' lists them all",
        ),
        (
            &["--listen", "8002"],
            "--listen '8002' has no address; write 127.0.0.1:PORT, or 0.0.0.0:PORT for all of IPv4",
        ),
        (
            &["--listen", "127.0.0.1:1", "--port", "2"],
            "--listen says where to listen, as --bind and --port do; leave them out, and write both into --listen \
                 ADDRESS:PORT",
        ),
        (
            &["--trust-proxy", "10.0.0.1/8", "--proxy-protocol", "v1"],
            "--trust-proxy '10.0.0.1/8' has bits behind its prefix; write 10.0.0.0/8, or the address alone",
        ),
        (
            &["--trust-proxy", "10.0.0.0/8"],
            "--trust-proxy is for --proxy-protocol; add --proxy-protocol auto, or leave it out",
        ),
        (&["--proxy-protocol", "3"], "--proxy-protocol '3' is unknown; write one of v1, v2, auto"),
        (&["--reuse-port=yes"], "--reuse-port takes no value; see 'wsfast --help'"),
        (&["--log", "xml"], "--log 'xml' is unknown; write one of text, json"),
        (&["--log="], "--log '' is unknown; write one of text, json"),
        (&["--verbose=3"], "--verbose takes no value; see 'wsfast --help'"),
        (
            &["--bind", "eth0"],
            "--bind 'eth0' is not an IP address; write one, such as 127.0.0.1, ::1, or 0.0.0.0 for all of IPv4",
        ),
        (
            &["--bind", "127.0.0.1,"],
            "--bind '' is not an IP address; write one, such as 127.0.0.1, ::1, or 0.0.0.0 for all of IPv4",
        ),
        (
            &["--handshake-timeout", "10 parsecs"],
            "--handshake-timeout '10 parsecs' is not a duration; write a whole number and a unit, such as 250ms, 10s, 2m or 1h",
        ),
        (
            &["--drain", "-5s"],
            "--drain '-5s' is not a duration; write a whole number and a unit, such as 250ms, 10s, 2m or 1h",
        ),
        (
            &["--compression", "gzip"],
            "--compression 'gzip' is unknown; write one of off, shared, dedicated",
        ),
        (
            &["--compression-window", "256"],
            "--compression-window '256' is not a window; write 512, 1K, 2K, 4K, 8K, 16K or 32K",
        ),
        (&["--compression-level", "0"], "--compression-level is 0; it must be between 1 and 9"),
        (
            &["--compression-memory", "2048G"],
            "--compression-memory is 2048G; it must be between 0 and 1024G",
        ),
        (&["--drain", "25h"], "--drain is 25h; it must be between 0 and 24h"),
        (&["--drain", "99999999999999999h"], "--drain '99999999999999999h' is too large"),
        (&["--pong-timeout", "0"], "--pong-timeout is 0; it must be between 1ms and 24h"),
        (
            &["--max-message-bytes", "2G"],
            "--max-message-bytes is 2G; it must be between 125 and 1G",
        ),
        (&["--max-head-bytes", "0"], "--max-head-bytes is 0; it must be between 256 and 1M"),
        (&["--max-queue-bytes", "1K"], "--max-queue-bytes is 1K; it must be between 64K and 1G"),
        (&["--max-connections", "0"], "--max-connections is 0; it must be between 1 and 16777216"),
        (
            &["--max-connections-per-ip", "0"],
            "--max-connections-per-ip is 0; it must be between 1 and 16777216",
        ),
        (&["--max-headers", "1001"], "--max-headers is 1001; it must be between 8 and 1000"),
        (
            &["--max-json-depth", "7"],
            "--max-json-depth '7' is out of range; write a number from 8 to 1024",
        ),
        (
            &["--max-commands", "10001"],
            "--max-commands '10001' is out of range; write a number from 1 to 10000",
        ),
        (
            &["--max-topic-name-bytes", "256"],
            "--max-topic-name-bytes is 256; it must be between 16 and 255",
        ),
        (
            &["--max-topic-name-bytes", "16", "--stdin", "seventeen-letters"],
            "--stdin names a topic with 17 bytes, and --max-topic-name-bytes is 16; take a shorter name, or raise that",
        ),
        (
            &["--stdin", "/"],
            "--stdin '/' is no topic; write its name, 1 to 255 bytes without control characters, such as news",
        ),
        (
            &["--allow-origin", "example.com"],
            "--allow-origin 'example.com' has no scheme; write it as the page's address begins, such as https://example.com",
        ),
        (
            &["--allow-origin="],
            "--allow-origin '' is empty; give an origin such as https://example.com, null, or *",
        ),
    ] {
        assert_eq!(mistake(args), expected, "{args:?}");
    }
}

/// Each limit at the ends of its hard range, and one past them.
#[test]
fn every_limit_has_a_hard_range() {
    for (flag, least, most, past) in [
        ("max-connections", ["0", "1"], "16777216", "16777217"),
        ("max-connections-per-ip", ["0", "1"], "16777216", "16777217"),
        ("message-rate", ["0", "1"], "1000000", "1000001"),
        ("message-rate", ["1/0", "1/1"], "1/1000000", "1/1000001"),
        ("connect-rate", ["0", "1"], "1000000", "1000001"),
        ("max-message-bytes", ["124", "125"], "1G", "1073741825"),
        ("max-fragments", ["0", "1"], "4294967295", "4294967296"),
        ("max-head-bytes", ["255", "256"], "1M", "1048577"),
        ("max-headers", ["7", "8"], "1000", "1001"),
        ("max-queue-bytes", ["65535", "64K"], "1G", "1073741825"),
        ("handshake-timeout", ["0", "1ms"], "24h", "86400001ms"),
        ("keep-alive", ["0", "1ms"], "24h", "86400001ms"),
        ("send-timeout", ["0", "1ms"], "24h", "86400001ms"),
        ("ping-interval", ["-1ms", "0"], "24h", "86400001ms"),
        ("pong-timeout", ["0", "1ms"], "24h", "86400001ms"),
        ("close-timeout", ["0", "1ms"], "24h", "86400001ms"),
        ("drain", ["-1ms", "0"], "24h", "86400001ms"),
        ("history", ["0", "1"], "16777216", "16777217"),
        ("topic-bytes", ["1023", "1K"], "1G", "1073741825"),
        ("history-bytes", ["65535", "64K"], "1024G", "1099511627777"),
        ("history-ttl", ["0", "1ms"], "720h", "2592000001ms"),
        ("max-topics", ["0", "1"], "16777216", "16777217"),
        ("max-topics-per-owner", ["0", "1"], "16777216", "16777217"),
        ("max-subscriptions", ["0", "1"], "65536", "65537"),
        ("max-topic-name-bytes", ["15", "16"], "255", "256"),
        ("max-commands", ["0", "1"], "10000", "10001"),
        ("max-json-depth", ["7", "8"], "1024", "1025"),
        ("compression-level", ["0", "1"], "9", "10"),
        ("compression-window", ["511", "512"], "32K", "64K"),
        ("compression-memory", ["-1", "0"], "1024G", "1099511627777"),
    ] {
        let [below, least] = least;
        for value in [least, most] {
            config(&[&format!("--{flag}={value}")]);
        }
        for value in [below, past] {
            let told = mistake(&[&format!("--{flag}={value}")]);
            assert!(told.starts_with(&format!("--{flag} ")), "{told}");
            let says_what_to_do =
                told.contains("; it must be between ") || told.contains("; write ");
            assert!(says_what_to_do || told.ends_with(" is too large"), "{told}");
        }
    }
}

#[test]
fn secrets_stand_in_place_or_in_files() {
    let gate = config(&[
        "--publish-key=one,@/run/two",
        "--publish-key",
        "-three",
        "--client-publish=on",
        "--jwt-secret=overridden",
        "--jwt-secret=@/run/jwt,1",
    ])
    .gate;
    let inline = |text: &str| Secret::Inline(text.into());
    assert_eq!(
        gate,
        GateConfig {
            publish_keys: vec![inline("one"), Secret::File("/run/two".into()), inline("-three")],
            client_publish: ClientPublish::On,
            jwt_secret: Some(Secret::File("/run/jwt,1".into())),
            anonymous: Anonymous::Refused,
        }
    );
    assert_eq!(config(&["--allow-anonymous"]).gate.anonymous, Anonymous::Allowed);
    for (text, expected) in
        [("off", ClientPublish::Off), ("auto", ClientPublish::Auto), ("on", ClientPublish::On)]
    {
        assert_eq!(config(&["--client-publish", text]).gate.client_publish, expected);
    }
    assert_eq!(
        mistake(&["--client-publish", "yes"]),
        "--client-publish 'yes' is unknown; write one of on, off, auto"
    );
}

/// Not in the configuration, and not in a mistake, be it the secret's own flag that is misspelt.
#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?}", config(&["--publish-key=hunter2", "--jwt-secret=hunter2"]));
    assert!(!shown.contains("hunter2"), "{shown}");
    for args in [
        &["--jwt-secrt=hunter2"][..],
        &["--jwt-secret=hunter2", "--port=x"],
        &["--publish-key=hunter2", "--publish-keys=hunter2"],
        &["--client-publish=x", "--publish-key", "hunter2"],
    ] {
        let shown = mistake(args);
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn a_certificate_comes_with_its_key() {
    let tls = config(&["--tls-cert=a b.pem", "--tls-key", "k"]).tls;
    assert_eq!(tls, Some(TlsFiles { cert: "a b.pem".into(), key: "k".into() }));
    assert_eq!(
        mistake(&["--tls-cert", "c"]),
        "--tls-cert needs --tls-key, too; 'wsfast dev-cert' writes a pair to try"
    );
    assert_eq!(
        mistake(&["--tls-key", "k"]),
        "--tls-key needs --tls-cert, too; 'wsfast dev-cert' writes a pair to try"
    );
}

#[test]
fn the_admin_side_is_not_opened_to_all_by_mistake() {
    let asked = |args: &[&str]| config(args).listening.admin.map(|it| it.to_string());
    assert_eq!(asked(&["--admin=127.0.0.1:8003"]).as_deref(), Some("127.0.0.1:8003"));
    assert_eq!(asked(&["--admin=unix:/a,mode=600"]).as_deref(), Some("unix:/a"));
    let with_key = asked(&["--admin=0.0.0.0:8003", "--publish-key=@/run/key"]);
    assert_eq!(with_key.as_deref(), Some("0.0.0.0:8003"));
    assert_eq!(
        mistake(&["--admin", "0.0.0.0:8003"]),
        "--admin 0.0.0.0:8003 is open to others, who could end connections there; write 127.0.0.1:PORT or unix:PATH, \
             or give a --publish-key, which it then asks for"
    );
    assert_eq!(
        mistake(&["--admin", "8003"]),
        "--admin '8003' has no address; write 127.0.0.1:PORT, or 0.0.0.0:PORT for all of IPv4"
    );
}

#[test]
fn dev_cert_has_flags_of_its_own() {
    let asked = |args: &[&str]| match parse_strs(args) {
        Err(Instead::DevCert(asked)) => (asked.dir, asked.force),
        other => panic!("{args:?}: {other:?}"),
    };
    assert_eq!(asked(&["dev-cert"]), (".".into(), false));
    assert_eq!(asked(&["dev-cert", "--force", "--dir", "/x"]), ("/x".into(), true));
    assert!(matches!(parse_strs(&["dev-cert", "--help"]), Err(Instead::Page(_))));
    assert_eq!(
        mistake(&["dev-cert", "--port", "1"]),
        "there is no flag '--port'; 'wsfast --help' lists them all"
    );
}

#[test]
fn a_value_that_is_not_utf8_is_a_mistake() {
    use std::os::unix::ffi::OsStringExt;
    let args = [b"wsfast".to_vec(), b"--port".to_vec(), b"\xff".to_vec()].map(OsString::from_vec);
    let Err(Instead::Usage(error)) = parse(args) else { panic!("taken") };
    assert_eq!(
        error.to_string(),
        "an argument or a WSFAST_ variable is not UTF-8 text; see 'wsfast --help'"
    );
}

#[test]
fn help_and_version_are_pages() {
    for args in [["--help"], ["-h"], ["--version"], ["-V"]] {
        assert!(matches!(parse_strs(&args), Err(Instead::Page(_))), "{args:?}");
    }
}

#[test]
fn the_help_fits_a_terminal_and_names_every_variable_as_promised() {
    let page =
        Flags::command().after_help(AFTER_LONG_HELP).term_width(100).render_help().to_string();
    for line in page.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    for flag in Flags::command().get_arguments() {
        let Some(long) =
            flag.get_long().filter(|long| !matches!(*long, "help" | "version" | "print-config"))
        else {
            continue;
        };
        let variable = format!("WSFAST_{}", long.to_uppercase().replace('-', "_"));
        assert_eq!(flag.get_env().and_then(|name| name.to_str()), Some(variable.as_str()));
        assert!(page.contains(&format!("--{long}")), "{long}");
    }
}

fn ask(text: &str) -> Ask {
    let mut list: AskList = text.parse().unwrap();
    list.0.remove(0)
}

fn config(args: &[&str]) -> Config {
    match parse_strs(args) {
        Ok(config) => config,
        Err(instead) => panic!("{args:?}: {instead:?}"),
    }
}

fn mistake(args: &[&str]) -> String {
    match parse_strs(args) {
        Err(Instead::Usage(error)) => error.to_string(),
        other => panic!("{args:?}: {other:?}"),
    }
}

fn parse_strs(args: &[&str]) -> Result<Config, Instead> {
    parse(["wsfast"].iter().chain(args).map(OsString::from))
}

/// One that is no flag would never be found to have changed.
#[test]
fn what_is_live_is_a_setting() {
    let args = ["wsfast", "--print-config"].map(Into::into);
    let Err(Instead::Text(page)) = parse(args) else { panic!("it is not printed") };
    for key in LIVE {
        let is_there = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{key} ="));
        assert!(page.lines().any(is_there), "{key}");
    }
}
