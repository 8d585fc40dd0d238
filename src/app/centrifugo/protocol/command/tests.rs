//! Commands, as the stock JavaScript client (centrifuge 5.8.0) sent them to a stub, and as nobody should.

use proptest::prelude::*;

use super::super::json::JsonLimits;
use super::super::reply::PING;
use super::*;

fn reader() -> Reader {
    Reader::new(JsonLimits::default())
}

const NEWS: Subscribe<'_> = Subscribe {
    channel: "news",
    token: None,
    data: None,
    recover: None,
    refuse_unrecovered: false,
    positioned: true,
    recoverable: true,
    join_leave: true,
};

#[test]
fn a_stock_clients_messages_are_understood() {
    let connect = Request::Connect(Connect {
        token: Some("eyJ.a.b"),
        data: Some("{\"hello\":\"wörld\"}".as_bytes()),
        name: "js",
        version: "1.2",
    });
    let recover = Some(Position { epoch: "e1", offset: 1 });
    let news = "news";
    let since = Some(Position { epoch: "e1", offset: 1 });
    let history =
        |limit, since, reverse| Request::History(History { channel: news, limit, since, reverse });
    let denied = Subscribe {
        channel: "denied",
        token: Some("tok"),
        data: Some(br#"{"a":1}"#),
        positioned: false,
        recoverable: false,
        join_leave: false,
        ..NEWS
    };
    let table: Vec<(&str, Vec<(u32, Request<'_>)>)> = vec![
        (
            concat!(
                r#"{"connect":{"token":"eyJ.a.b","data":{"hello":"wörld"},"name":"js","version":"1.2","#,
                r#""headers":{"X-A":"b"}},"id":1}"#,
                "\n",
                r#"{"subscribe":{"channel":"news","positioned":true,"recoverable":true,"join_leave":true,"#,
                r#""flag":1},"id":2}"#
            ),
            vec![(1, connect), (2, Request::Subscribe(NEWS))],
        ),
        (
            concat!(
                r#"{"publish":{"channel":"news","data":{"n":1.5,"big":12345678901234567000,"#,
                r#""s":"a\"\\\n😀</é"}},"id":3}"#
            ),
            vec![(
                3,
                Request::Publish {
                    channel: news,
                    data: "{\"n\":1.5,\"big\":12345678901234567000,\"s\":\"a\\\"\\\\\\n😀</é\"}"
                        .as_bytes(),
                },
            )],
        ),
        (
            r#"{"presence":{"channel":"news"},"id":4}"#,
            vec![(4, Request::Presence { channel: news })],
        ),
        (
            r#"{"presence_stats":{"channel":"news"},"id":5}"#,
            vec![(5, Request::PresenceStats { channel: news })],
        ),
        (
            concat!(
                r#"{"history":{"channel":"news","since":{"offset":1,"epoch":"e1"},"limit":10,"#,
                r#""reverse":true},"id":6}"#
            ),
            vec![(6, history(Some(10), since, true))],
        ),
        (
            r#"{"history":{"channel":"news","limit":-1},"id":7}"#,
            vec![(7, history(None, None, false))],
        ),
        (
            r#"{"history":{"channel":"news","limit":0},"id":8}"#,
            vec![(8, history(Some(0), None, false))],
        ),
        (r#"{"send":{"data":{"fire":1}}}"#, vec![(0, Request::Send)]),
        (r#"{"rpc":{"method":"m","data":{"a":1}},"id":9}"#, vec![(9, Request::Rpc)]),
        (
            r#"{"publish":{"channel":"other/ünï \"q\"","data":"text"},"id":10}"#,
            vec![(10, Request::Publish { channel: "other/ünï \"q\"", data: br#""text""# })],
        ),
        (
            concat!(
                r#"{"subscribe":{"channel":"denied","token":"tok","data":{"a":1},"flag":1,"#,
                r#""delta":"fossil"},"id":11}"#
            ),
            vec![(11, Request::Subscribe(denied))],
        ),
        ("{}", vec![(0, Request::Pong)]),
        (
            concat!(
                r#"{"subscribe":{"channel":"news","positioned":true,"recoverable":true,"join_leave":true,"#,
                r#""flag":1,"recover":true,"offset":1,"epoch":"e1"},"id":12}"#
            ),
            vec![(12, Request::Subscribe(Subscribe { recover, ..NEWS }))],
        ),
        (
            concat!(
                r#"{"publish":{"channel":"news","data":1},"id":17}"#,
                "\n",
                r#"{"publish":{"channel":"news","data":null},"id":18}"#,
                "\n",
                r#"{"publish":{"channel":"news","data":[true]},"id":19}"#
            ),
            vec![
                (17, Request::Publish { channel: news, data: b"1" }),
                (18, Request::Publish { channel: news, data: b"null" }),
                (19, Request::Publish { channel: news, data: b"[true]" }),
            ],
        ),
        (
            r#"{"unsubscribe":{"channel":"news"},"id":20}"#,
            vec![(20, Request::Unsubscribe { channel: news })],
        ),
    ];
    let mut reader = reader();
    for (message, expected) in table {
        let lines: Vec<_> = lines(message.as_bytes()).collect();
        assert_eq!(lines.len(), expected.len(), "{message}");
        for (line, (id, request)) in lines.into_iter().zip(expected) {
            assert_eq!(parse(&mut reader, line), Ok(Command { id, request }), "{message}");
        }
    }
}

#[test]
fn what_other_clients_may_send_is_understood() {
    let publish = |channel, data| Request::Publish { channel, data };
    let plain = Subscribe { positioned: false, recoverable: false, join_leave: false, ..NEWS };
    let table: Vec<(&str, u32, Request<'_>)> = vec![
        (r#"{"id":1,"ping":{}}"#, 1, Request::Ping),
        (r#"{"id":1}"#, 1, Request::Unknown),
        (r#"{"id":1,"launch":{}}"#, 1, Request::Unknown),
        (r#"{"id":1,"publish":null,"ping":{}}"#, 1, Request::Ping),
        (r#"{"id":7,"id":1,"ping":{}}"#, 1, Request::Ping),
        (r#"{"id":4294967295,"ping":{}}"#, u32::MAX, Request::Ping),
        (r#"{"id":1,"refresh":{"token":"t"}}"#, 1, Request::Refresh { token: Some("t") }),
        (
            r#"{"id":1,"sub_refresh":{"channel":"c","token":""}}"#,
            1,
            Request::SubRefresh { channel: "c", token: None },
        ),
        (
            r#"{"id":1,"connect":{"token":"","data":null}}"#,
            1,
            Request::Connect(Connect { token: None, data: None, name: "", version: "" }),
        ),
        // White space wherever it may be, and data with its own.
        (
            "\t{ \"publish\" : { \"data\" : [ 1 , {\"a\" :2}\t] , \"channel\" : \"c\" } , \"id\" : 1 }\r",
            1,
            publish("c", b"[ 1 , {\"a\" :2}\t]"),
        ),
        // Scalars end before the white space behind them, numbers keep their digits.
        (r#"{"id":1,"publish":{"channel":"c","data":1.500E+00 }}"#, 1, publish("c", b"1.500E+00")),
        (r#"{"id":1,"publish":{"channel":"c","data" :true ,"x":1}}"#, 1, publish("c", b"true")),
        (
            r#"{"id":1,"publish":{"channel":"c","data":-123456789012345678901234567890}}"#,
            1,
            publish("c", b"-123456789012345678901234567890"),
        ),
        // Strings hold what looks like structure, and spaces at their end.
        (
            r#"{"id":1,"publish":{"channel":"c","data":"}],\"{ \\" , "y":[]}}"#,
            1,
            publish("c", br#""}],\"{ \\""#),
        ),
        (r#"{"id":1,"publish":{"channel":"c","data":{}}}"#, 1, publish("c", b"{}")),
        (
            r#"{"id":1,"publish":{"channel":"c","data":[[],{},[{}]]}}"#,
            1,
            publish("c", b"[[],{},[{}]]"),
        ),
        // The last one counts.
        (
            r#"{"id":1,"publish":{"data":[1,2],"channel":"a","channel":"b","data":{"a":[]}}}"#,
            1,
            publish("b", br#"{"a":[]}"#),
        ),
        (
            r#"{"id":1,"publish":{"channel":"a","data":1},"publish":{"channel":"b","data":2}}"#,
            1,
            publish("b", b"2"),
        ),
        // Names are unescaped, those of members too.
        (
            r#"{"\u0069d":1,"publish":{"ch\u0061nnel":"\ud83d\ude00\u00e9\/","data":"\u0061"}}"#,
            1,
            publish("😀é/", br#""\u0061""#),
        ),
        // What the grammar allows is data like any other, and no fault where nobody asks for it.
        (
            r#"{"id":1,"\ud83d":"\ude00","publish":{"channel":"c","":1e400,"data":{"\ud83d":["\udc00",-1E400]}}}"#,
            1,
            publish("c", br#"{"\ud83d":["\udc00",-1E400]}"#),
        ),
        (r#"{"id":"\ud800","id":1e400,"id":1,"ping":{}}"#, 1, Request::Ping),
        // What stands around the data does not matter.
        (
            r#"{"x":[{"a":[1,2,{"b":"c"}]},[]],"publish":{"y":{"z":[[0]]},"channel":"c","data":0},"id":1}"#,
            1,
            publish("c", b"0"),
        ),
        (
            r#"{"id":1,"subscribe":{"channel":"news","recover":true}}"#,
            1,
            Request::Subscribe(Subscribe {
                recover: Some(Position { epoch: "", offset: 0 }),
                ..plain
            }),
        ),
        (
            r#"{"id":1,"subscribe":{"channel":"news","offset":18446744073709551615,"epoch":"e","recover":true}}"#,
            1,
            Request::Subscribe(Subscribe {
                recover: Some(Position { epoch: "e", offset: u64::MAX }),
                ..plain
            }),
        ),
        (
            r#"{"id":1,"subscribe":{"channel":"news","offset":5,"epoch":"e","flag":3,"tf":null,"type":0}}"#,
            1,
            Request::Subscribe(Subscribe { refuse_unrecovered: true, ..plain }),
        ),
        (
            r#"{"id":1,"history":{"channel":"c","limit":99999999999,"since":null}}"#,
            1,
            Request::History(History {
                channel: "c",
                limit: Some(u32::MAX),
                since: None,
                reverse: false,
            }),
        ),
    ];
    for (line, id, request) in table {
        assert_eq!(parse(&mut reader(), line.as_bytes()), Ok(Command { id, request }), "{line}");
    }
}

#[test]
fn faults_are_answered_where_an_id_says_to_what() {
    use Malformed::{BadId, NoId, NotAnObject, NotJson};
    use ReplyError::{BadRequest, NotAvailable};
    let malformed = Fault::Malformed;
    let refused = |error| Fault::Refused { id: 1, error };
    let table: Vec<(&str, Fault)> = vec![
        ("", malformed(NotJson)),
        ("{", malformed(NotJson)),
        (r#"{"id":1}}"#, malformed(NotJson)),
        (r#"{"id":1} {"id":2}"#, malformed(NotJson)),
        (r#"{"id":1,}"#, malformed(NotJson)),
        (r#"{'id':1}"#, malformed(NotJson)),
        (r#"{"id":01}"#, malformed(NotJson)),
        (r#"{"id":1,"x":"\x"}"#, malformed(NotJson)),
        (r#"{"id":1,"x":"\ud80"}"#, malformed(NotJson)),
        (r#"{"id":1,"x":1e}"#, malformed(NotJson)),
        ("{\"id\":1,\"x\":\"\t\"}", malformed(NotJson)),
        ("[]", malformed(NotAnObject)),
        ("null", malformed(NotAnObject)),
        ("1", malformed(NotAnObject)),
        (r#"{"id":"1","ping":{}}"#, malformed(BadId)),
        (r#"{"id":1.0,"ping":{}}"#, malformed(BadId)),
        (r#"{"id":-1,"ping":{}}"#, malformed(BadId)),
        (r#"{"id":4294967296,"ping":{}}"#, malformed(BadId)),
        (r#"{"id":1e400,"ping":{}}"#, malformed(BadId)),
        (r#"{"id":"\ud83d","ping":{}}"#, malformed(BadId)),
        (r#"{"ping":{}}"#, malformed(NoId)),
        (r#"{"id":0,"ping":{}}"#, malformed(NoId)),
        (r#"{"id":0}"#, malformed(NoId)),
        (r#"{"publish":7}"#, malformed(NoId)),
        (r#"{"pong":{}}"#, malformed(NoId)),
        (r#"{"id":1,"publish":7}"#, refused(BadRequest)),
        (r#"{"id":1,"publish":[]}"#, refused(BadRequest)),
        (r#"{"id":1,"publish":{"channel":"c","data":1},"ping":{}}"#, refused(BadRequest)),
        (r#"{"id":1,"publish":{"channel":"c"}}"#, refused(BadRequest)),
        (r#"{"id":1,"publish":{"data":1}}"#, refused(BadRequest)),
        (r#"{"id":1,"publish":{"channel":"","data":1}}"#, refused(BadRequest)),
        (r#"{"id":1,"publish":{"channel":"\u0001events","data":1}}"#, refused(BadRequest)),
        (r#"{"id":1,"publish":{"channel":null,"data":1}}"#, refused(BadRequest)),
        (r#"{"id":1,"publish":{"channel":"\ud83d","data":1}}"#, refused(BadRequest)),
        (r#"{"id":1,"publish":{"channel":1e400,"data":1}}"#, refused(BadRequest)),
        (r#"{"id":1,"publish":{"channel":["c"],"data":1}}"#, refused(BadRequest)),
        (r#"{"id":1,"publish":{"channel":"c","data":1,"key":"k"}}"#, refused(NotAvailable)),
        (r#"{"id":1,"subscribe":{}}"#, refused(BadRequest)),
        (r#"{"id":1,"subscribe":{"channel":"c","recover":1}}"#, refused(BadRequest)),
        (r#"{"id":1,"subscribe":{"channel":"c","offset":-1}}"#, refused(BadRequest)),
        (r#"{"id":1,"subscribe":{"channel":"c","offset":1.5}}"#, refused(BadRequest)),
        (r#"{"id":1,"subscribe":{"channel":"c","offset":"1"}}"#, refused(BadRequest)),
        (
            r#"{"id":1,"subscribe":{"channel":"c","offset":18446744073709551616}}"#,
            refused(BadRequest),
        ),
        (r#"{"id":1,"subscribe":{"channel":"c","tf":{"key":"k"}}}"#, refused(NotAvailable)),
        (r#"{"id":1,"subscribe":{"channel":"c","type":1}}"#, refused(NotAvailable)),
        (r#"{"id":1,"history":{"channel":"c","since":7}}"#, refused(BadRequest)),
        (r#"{"id":1,"history":{"channel":"c","limit":18446744073709551615}}"#, refused(BadRequest)),
        (r#"{"id":1,"connect":{"token":7}}"#, refused(BadRequest)),
        (r#"{"id":1,"connect":{"name":"\ud83d"}}"#, refused(BadRequest)),
        (r#"{"id":1,"send":{"data":1}}"#, refused(NotAvailable)),
    ];
    let mut reader = reader();
    for (line, fault) in table {
        assert_eq!(parse(&mut reader, line.as_bytes()), Err(fault), "{line}");
    }
    for bytes in [&b"\xff"[..], b"{\"id\":1,\"x\":\"\xc3\"}", b"\0", b"\xef\xbb\xbf{}"] {
        let fault = Err(Fault::Malformed(NotJson));
        assert_eq!(parse(&mut reader, bytes), fault, "{}", bytes.escape_ascii());
    }
    assert_eq!(parse(&mut reader, PING), Ok(Command { id: 0, request: Request::Pong }));
}

#[test]
fn limits_hold_where_they_are_and_one_past_them() {
    let mut reader = reader();
    let deep = |depth: usize| {
        // The command and the request are two of them.
        let (open, close) = ("[".repeat(depth - 2), "]".repeat(depth - 2));
        format!(r#"{{"id":1,"publish":{{"channel":"c","data":{open}{close}}}}}"#)
    };
    assert!(parse(&mut reader, deep(64).as_bytes()).is_ok());
    let refused = Err(Fault::Refused { id: 1, error: ReplyError::BadRequest });
    for depth in [65, 66, 100_000] {
        let line = deep(depth);
        assert_eq!(parse(&mut reader, line.as_bytes()), refused);
        // Its id is found behind it, too.
        let request = &line[r#"{"id":1,"#.len()..line.len() - 1];
        let id_last = format!(r#"{{{request},"id":1}}"#);
        assert_eq!(parse(&mut reader, id_last.as_bytes()), refused);
        let no_id = Err(Fault::Malformed(Malformed::NoId));
        assert_eq!(parse(&mut reader, format!("{{{request}}}").as_bytes()), no_id);
        let cut = &line.as_bytes()[..line.len() - 1];
        assert_eq!(parse(&mut reader, cut), Err(Fault::Malformed(Malformed::NotJson)));
    }
    let not_json = Err(Fault::Malformed(Malformed::NotJson));
    assert_eq!(parse(&mut reader, &b"[".repeat(100_000)), not_json);

    let named =
        |len: usize| format!(r#"{{"id":1,"presence":{{"channel":"{}"}}}}"#, "c".repeat(len));
    assert!(parse(&mut reader, named(255).as_bytes()).is_ok());
    assert_eq!(parse(&mut reader, named(256).as_bytes()), refused);
    let with_line_feed = br#"{"id":1,"presence":{"channel":"c\n"}}"#;
    assert_eq!(parse(&mut reader, with_line_feed), refused);
}

#[test]
fn a_message_has_a_line_for_each_command() {
    let count = |message: &[u8]| lines(message).count();
    assert_eq!(count("{}\n".repeat(100_000).as_bytes()), 100_000);
    assert_eq!(count(b"\n \r\n{}\n\n{}\n"), 2);
    assert_eq!(count(b""), 0);
    assert_eq!(count(b" \n\t"), 0);
    // Whoever leaves off goes on where it was.
    let message = b"\n{\"id\":1}\n\n {} \nlast";
    let mut at = 0;
    assert_eq!(next_line(message, &mut at), Some(&b"{\"id\":1}"[..]));
    assert_eq!(next_line(&message[at..], &mut 0), Some(&b" {} "[..]));
    assert_eq!(next_line(message, &mut at), Some(&b" {} "[..]));
    assert_eq!(next_line(message, &mut at), Some(&b"last"[..]));
    assert_eq!((next_line(message, &mut at), next_line(message, &mut at)), (None, None));
}

fn lines(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || next_line(message, &mut at))
}

/// A reader is used for many texts, large and small, good and bad.
#[test]
fn a_reader_forgets_what_it_read_before() {
    let mut reader = reader();
    for len in [1, 100, 300_000, 10, 70_000, 1_000_000, 0, 50] {
        let data = format!("[{}0]", "\"\\n\",".repeat(len / 5));
        let line = format!(r#"{{"publish":{{"channel":"\u0063","data":{data}}},"id":1}}"#);
        let request = Request::Publish { channel: "c", data: data.as_bytes() };
        assert_eq!(parse(&mut reader, line.as_bytes()), Ok(Command { id: 1, request }));
        let cut = parse(&mut reader, &line.as_bytes()[..line.len() - 1]);
        assert_eq!(cut, Err(Fault::Malformed(Malformed::NotJson)));
    }
}

proptest! {
    /// The bytes of `data` are those that were written, whatever they are and whatever stands around them.
    #[test]
    fn data_is_found_byte_for_byte(
        data in json(),
        other in json(),
        name in "[a-z]{0,8}",
        gaps in proptest::collection::vec("[ \t\r]{0,2}", 9),
        first: bool,
    ) {
        let g = |at: usize| gaps[at].as_str();
        let other = format!("\"x{name}\"{}:{}{other}{},", g(0), g(1), g(2));
        let (before, behind) = if first { ("", &other[..]) } else { (&other[..], "") };
        let line = format!(
            "{}{{\"publish\":{{{before}\"data\"{}:{}{data}{},{behind}\"channel\":\"c\"}},{}{before}\"id\":1{}}}{}",
            g(3), g(4), g(5), g(6), g(7), g(8), g(0),
        );
        let request = Request::Publish { channel: "c", data: data.as_bytes() };
        let mut reader = reader();
        prop_assert_eq!(
            parse(&mut reader, line.as_bytes()),
            Ok(Command { id: 1, request }),
            "{}", line
        );
    }

    /// What serde_json makes of the same line.
    #[test]
    fn serde_json_reads_the_same(id in 1u32.., channel in "\\PC{1,60}", data in json(), offset: u64) {
        let publish = serde_json::json!({"channel": channel, "data": offset});
        let line = serde_json::json!({"id": id, "publish": publish}).to_string();
        let mut reader = reader();
        let digits = offset.to_string();
        let request = Request::Publish { channel: &channel, data: digits.as_bytes() };
        prop_assert_eq!(parse(&mut reader, line.as_bytes()), Ok(Command { id, request }));

        let escaped = serde_json::to_string(&channel).unwrap();
        let line = format!(r#"{{"publish":{{"channel":{escaped},"data":{data}}},"id":{id}}}"#);
        let raw: Raw<'_> = serde_json::from_str(&line).unwrap();
        let request =
            Request::Publish { channel: &channel, data: raw.publish.data.get().as_bytes() };
        prop_assert_eq!(parse(&mut reader, line.as_bytes()), Ok(Command { id, request }));
    }

    /// Any bytes: an answer, the same as serde_json's as to whether they are JSON.
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        agrees_with_serde_json(&bytes)?;
    }

    /// Bytes that are nearly JSON get further than any others.
    #[test]
    fn no_damage_to_a_command_makes_it_panic(
        data in json(),
        at: prop::sample::Index,
        len in 0usize..3,
        put in "[\\[\\]{}:,\"\\\\0-9eE.+tfn \\-]{0,3}",
    ) {
        let line = format!(r#"{{"publish":{{"channel":"c\u00e9","data":{data}}},"id":1}}"#);
        let mut bytes = line.into_bytes();
        let at = at.index(bytes.len());
        let end = bytes.len().min(at.saturating_add(len));
        bytes.splice(at..end, put.bytes());
        agrees_with_serde_json(&bytes)?;
    }
}

#[derive(serde::Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    publish: RawPublish<'a>,
}

#[derive(serde::Deserialize)]
struct RawPublish<'a> {
    #[serde(borrow)]
    data: &'a serde_json::value::RawValue,
}

fn agrees_with_serde_json(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut reader = reader();
    let is_json = parse(&mut reader, bytes) != Err(Fault::Malformed(Malformed::NotJson));
    let serde = serde_json::from_slice::<&serde_json::value::RawValue>(bytes);
    prop_assert_eq!(is_json, serde.is_ok(), "{}: {:?}", bytes.escape_ascii(), serde);
    Ok(())
}

/// JSON as no serializer writes it: white space, escapes, numbers of all forms, equal keys.
fn json() -> impl Strategy<Value = String> {
    let string = prop_oneof![
        "\"[ -!#-\\[\\]-~äß漢😀]{0,20}\"",
        "\"(\\\\[\"\\\\/bfnrt]|\\\\u00[0-9a-fA-F]{2}|\\\\u[dD][89a-fA-F][0-9a-f]{2}|[{}\\[\\],: ]){0,12}\"",
    ];
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?",
        string.clone(),
    ];
    let gap = || "[ \t\r]{0,2}";
    scalar.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec((gap(), inner.clone(), gap()), 0..6).prop_map(|items| {
                let items: Vec<_> = items.iter().map(|(a, b, c)| format!("{a}{b}{c}")).collect();
                format!("[{}]", items.join(","))
            }),
            proptest::collection::vec((string.clone(), gap(), inner, gap()), 0..6).prop_map(
                |items| {
                    let items: Vec<_> = items
                        .iter()
                        .map(|(key, a, b, c)| format!("{a}{key}{c}:{a}{b}{c}"))
                        .collect();
                    format!("{{{}}}", items.join(","))
                }
            ),
        ]
    })
}
