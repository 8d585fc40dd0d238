//! The same as serde_json, which is another parser: as to what is JSON, and where in it each value is.

use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::*;

/// Documents, and whether the grammar allows them. All are UTF-8.
#[test]
fn the_grammar_is_rfc_8259s() {
    let yes = [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "-0.0",
        "1e400",
        "-1E+400",
        "0e0",
        "0.0e-0",
        "10",
        "1.5e05",
        "123456789012345678901234567890",
        "1e99999999999999999999",
        r#""""#,
        r#""\ud83d""#,
        r#""\uDE00\uD83D""#,
        r#"{"\ud83d":"\udc00","":1,"":2}"#,
        r#""\"\\\/\b\f\n\r\t\u0000\uFFFF""#,
        "\"\u{7f}\u{80}\u{2028}\u{feff}\"",
        "[]",
        "{}",
        " [ ] ",
        "\t\r\n {\r} ",
        "[[],{}]",
        "[1,2]",
        r#"{"a":[{"b":null}]}"#,
        "\n1\n",
        r#"["\\","\\"]"#,
        r#"{"a":"}],\"{"}"#,
        "[true,false,null]",
    ];
    let no = [
        "",
        " ",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "[[]",
        "[]]",
        "{}{}",
        "[] []",
        "1 2",
        "[1 2]",
        "[1,]",
        "[,1]",
        "[,]",
        "{,}",
        "[1}",
        "{]",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{"a" 1}"#,
        r#"{"a"::1}"#,
        r#"{"a":1:2}"#,
        "{1:2}",
        r#"{a:1}"#,
        r#"{"a":1 "b":2}"#,
        r#"{"a",1}"#,
        r#"["a":1]"#,
        "tru",
        "true1",
        "truefalse",
        "nul",
        "nulll",
        "True",
        "01",
        "-01",
        "00",
        "-",
        "+1",
        ".5",
        "1.",
        "1.e1",
        "1e",
        "1e+",
        "1e1.5",
        "0x1",
        "1_0",
        "--1",
        "-a",
        "NaN",
        "Infinity",
        "1a",
        "1\u{c}",
        "\u{c}1",
        "\u{b}",
        "\u{a0}1",
        "\u{feff}1",
        "[\u{c}]",
        "[1\u{c},2]",
        "'a'",
        r#""a"b"#,
        r#"a"b""#,
        r#""a""b""#,
        r#""\x""#,
        r#""\u12""#,
        r#""\u12G4""#,
        r#""\u+123""#,
        r#""\u""#,
        r#""\"#,
        r#""\\\""#,
        r#"\"a""#,
        "\\",
        "[\\n]",
        "1\\",
        "\"\t\"",
        "\"\n\"",
        "\"\0\"",
        "\0",
        "1\0",
        "[1\0]",
        "//",
        "[1]//",
        "/**/1",
        ":",
        ",",
        "\"a\":1",
    ];
    for (texts, is_json) in [(&yes[..], true), (&no[..], false)] {
        for text in texts {
            // Where a block of 64 bytes ends makes no difference.
            for padding in [0, 1, 31, 62, 63, 64, 65, 127, 128] {
                let text = format!("{}{text}{}", " ".repeat(padding), " ".repeat(128 - padding));
                assert_eq!(check(text.as_bytes()), is_json, "{text:?}");
            }
            assert_eq!(check(text.as_bytes()), is_json, "{text:?}");
        }
    }
    for bytes in [
        &b"\"\xff\""[..],
        b"\"\xed\xa0\x80\"",
        b"\"\xc0\x80\"",
        b"\"\xf4\x90\x80\x80\"",
        b"\xff",
        b"[\"\xe2\x82\"]",
    ] {
        assert!(!check(bytes), "{}", bytes.escape_ascii());
    }
}

/// Brackets inside of each other take no stack, and none is left out.
#[test]
fn depth_is_counted_and_no_limit_of_the_grammar() {
    for depth in [0, 1, 63, 64, 65, 1000, 300_000] {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        let text = format!("{open}{close}").into_bytes();
        let text = if depth == 0 { b"7".to_vec() } else { text };
        let mut reader = Reader::new(JsonLimits::default());
        assert_eq!(reader.accepts(&text), depth <= 64, "{depth}");
        assert_eq!(reader.read(&text).map(|it| it.is_too_deep()), Ok(depth > 64), "{depth}");
        let open_ended = &text[..text.len() - 1];
        assert_eq!(reader.read(open_ended).map(|_| ()), Err(NotJson), "{depth}");
        let mut crossed = text.clone();
        crossed[text.len() / 2] = b'}';
        assert_eq!(reader.read(&crossed).map(|_| ()), Err(NotJson), "{depth}");
    }
}

#[test]
fn strings_and_integers_are_read_when_asked_for() {
    let strings = [
        (r#""""#, Ok(Some(""))),
        (r#""a""#, Ok(Some("a"))),
        (
            r#""\u0061\u00e9\u20ac\ud83d\ude00\"\\\/\b\f\n\r\t\u0000" "#,
            Ok(Some("a\u{e9}€😀\"\\/\u{8}\u{c}\n\r\t\0")),
        ),
        ("null", Ok(None)),
        (r#""\ud83d""#, Err(Mistyped)),
        (r#""\ud83d.""#, Err(Mistyped)),
        (r#""\ud83d\u0041""#, Err(Mistyped)),
        (r#""\ud83d\ud83d\ude00""#, Err(Mistyped)),
        (r#""\ude00""#, Err(Mistyped)),
        ("1", Err(Mistyped)),
        ("[]", Err(Mistyped)),
    ];
    for (text, expected) in strings {
        let mut reader = Reader::new(JsonLimits::default());
        let document = reader.read(text.as_bytes()).unwrap();
        assert_eq!(document.root().string(), expected, "{text}");
    }
    let integers = [
        ("0", Ok(Some(0)), Ok(Some(0))),
        ("-0", Err(Mistyped), Ok(Some(0))),
        ("18446744073709551615", Ok(Some(u64::MAX)), Err(Mistyped)),
        ("18446744073709551616", Err(Mistyped), Err(Mistyped)),
        ("-9223372036854775808", Err(Mistyped), Ok(Some(i64::MIN))),
        ("1e0", Err(Mistyped), Err(Mistyped)),
        ("1.0", Err(Mistyped), Err(Mistyped)),
        ("1e400", Err(Mistyped), Err(Mistyped)),
        ("null", Ok(None), Ok(None)),
        ("\"1\"", Err(Mistyped), Err(Mistyped)),
    ];
    for (text, unsigned, signed) in integers {
        let mut reader = Reader::new(JsonLimits::default());
        let document = reader.read(text.as_bytes()).unwrap();
        let root = document.root();
        assert_eq!((root.unsigned(), root.signed()), (unsigned, signed), "{text}");
    }
}

/// All strings of a text can be had from it, be they nothing but escapes.
#[test]
fn there_is_room_for_every_string() {
    let text = format!(r#"{{{}"z":0}}"#, r#""\u20ac\/":"\ud83d\ude00\n","#.repeat(1000));
    let mut reader = Reader::new(JsonLimits::default());
    let document = reader.read(text.as_bytes()).unwrap();
    let mut members = document.root().members().unwrap().unwrap();
    for (name, value) in members.by_ref().take(1000) {
        assert_eq!((name, value.string()), ("€/", Ok(Some("😀\n"))));
    }
    assert_eq!(members.map(|(name, _)| name).collect::<Vec<_>>(), ["z"]);
}

proptest! {
    #[test]
    fn any_text_of_tokens_is_what_serde_json_takes_it_for(
        tokens in proptest::collection::vec(prop::sample::select(TOKENS), 0..12),
    ) {
        check(tokens.concat().as_bytes());
    }

    #[test]
    fn any_bytes_are_what_serde_json_takes_them_for(
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        check(&bytes);
        check(&[b"\"", &bytes[..], b"\""].concat());
    }

    #[test]
    fn any_characters_are_what_serde_json_takes_them_for(text in "[\\[\\]{}:,\"\\\\0-9eE.+truefalsn du8cD \n-]{0,80}") {
        check(text.as_bytes());
    }

    /// Across the blocks of 64 bytes in which the first stage reads.
    #[test]
    fn every_value_of_a_large_text_is_where_serde_json_has_it(text in json(), gap in 0_usize..130) {
        let text = format!("[{}{text},{text}]", " ".repeat(gap));
        prop_assert!(check(text.as_bytes()), "{}", text);
        for end in 0..text.len().min(200) {
            check(&text.as_bytes()[..end]);
        }
    }
}

/// What texts are made of, right and wrong.
const TOKENS: &[&str] = &[
    "[",
    "]",
    "{",
    "}",
    ":",
    ",",
    "\"",
    "\\",
    " ",
    "\n",
    "\"a\"",
    "\"\":",
    "\"k\":1,",
    "1",
    "-",
    "0",
    "1e400",
    ".5",
    "true",
    "null",
    "\\ud83d",
    "\\ude00",
    "\"\\ud83d\\ude00\"",
    "\\\"",
    "\\\\",
    "\u{c}",
    "é",
    "\u{0}",
];

/// JSON of all forms.
fn json() -> impl Strategy<Value = String> {
    let string = "\"([ -!#-\\[\\]-~äß漢😀]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}|\\\\ud[89a-f][0-9a-f]{2}){0,12}\"";
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,5})?",
        string,
    ];
    let gap = || "[ \t\r\n]{0,3}";
    scalar.prop_recursive(6, 64, 6, move |inner| {
        let item = (gap(), inner.clone(), gap()).prop_map(|(a, b, c)| format!("{a}{b}{c}"));
        let member =
            (gap(), string, gap(), item.clone()).prop_map(|(a, b, c, d)| format!("{a}{b}{c}:{d}"));
        prop_oneof![
            proptest::collection::vec(item, 0..6)
                .prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec(member, 0..6)
                .prop_map(|items| format!("{{{}}}", items.join(","))),
        ]
    })
}

/// Whether bytes are JSON; that, and each value, as serde_json has it.
fn check(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(JsonLimits::default());
    let document = reader.read(bytes);
    let twin: Result<&RawValue, _> = serde_json::from_slice(bytes);
    match (&document, twin) {
        (Ok(document), Ok(twin)) => agree(document.root(), twin),
        (Err(NotJson), Err(_)) => {}
        (_, twin) => panic!("{}: for serde_json it is {twin:?}", bytes.escape_ascii()),
    }
    document.is_ok()
}

fn agree(value: Value<'_, '_>, twin: &RawValue) {
    let text = twin.get();
    // A pointer, and not only the same bytes elsewhere.
    assert_eq!(value.raw().as_ptr_range(), text.as_bytes().as_ptr_range(), "{text}");
    assert_eq!(value.is_null(), text == "null");
    match text.as_bytes()[0] {
        b'[' => {
            let twins: Vec<&RawValue> = serde_json::from_str(text).unwrap();
            let elements: Vec<_> = value.elements().unwrap().unwrap().collect();
            assert_eq!(elements.len(), twins.len(), "{text}");
            assert_eq!(value.is_default(), twins.is_empty());
            elements.into_iter().zip(twins).for_each(|(value, twin)| agree(value, twin));
        }
        b'{' => {
            let Pairs(twins) = serde_json::from_str(text).unwrap();
            let members: Vec<_> = value.members().unwrap().unwrap().collect();
            assert_eq!(members.len(), twins.len(), "{text}");
            assert_eq!(value.is_default(), twins.is_empty());
            for ((name, value), (twin_name, twin)) in members.into_iter().zip(twins) {
                assert_eq!(name, unescaped(twin_name).unwrap_or_default());
                agree(value, twin);
            }
        }
        b'"' => assert_eq!(value.string().ok().flatten().map(str::to_owned), unescaped(twin)),
        _ => {
            let (unsigned, signed) = (value.unsigned().ok(), value.signed().ok());
            assert_eq!(unsigned, serde_json::from_str::<Option<u64>>(text).ok(), "{text}");
            // A float for serde_json.
            let twin = if text == "-0" { Some(Some(0)) } else { serde_json::from_str(text).ok() };
            assert_eq!(signed, twin, "{text}");
            assert_eq!(
                value.flag().ok(),
                serde_json::from_str::<Option<bool>>(text).ok().map(Option::unwrap_or_default)
            );
        }
    }
}

fn unescaped(string: &RawValue) -> Option<String> {
    serde_json::from_str(string.get()).ok()
}

/// All members of an object, with the text of their names.
struct Pairs<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(&'de RawValue, &'de RawValue)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Collect).map(Pairs)
    }
}
