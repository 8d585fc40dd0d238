//! Text as the inside of a JSON string (RFC 8259 §7), appended to a buffer.
//!
//! A control character costs what a letter costs: both are looked up. Writes text from its start or from any byte of it, so that
//! a long string can be written in parts. Checks nothing: `text` is UTF-8, or a part of it.

/// Appends `text` as a JSON string, with its quotes.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(escaped_len(text).saturating_add(2));
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

/// Appends `text` without quotes: whatever a string or a line of JSON may not hold is escaped.
pub(crate) fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    loop {
        let plain = rest.iter().position(|&byte| must_be_escaped(byte)).unwrap_or(rest.len());
        let (run, behind) = rest.split_at(plain);
        out.extend_from_slice(run);
        rest = behind;
        while let [byte, behind @ ..] = rest
            && must_be_escaped(*byte)
        {
            let (escape, len) = &ESCAPES[usize::from(*byte)];
            out.extend_from_slice(&escape[..usize::from(*len)]);
            rest = behind;
        }
        if rest.is_empty() {
            return;
        }
    }
}

/// How many bytes `push_escaped` appends.
pub(crate) fn escaped_len(text: &[u8]) -> usize {
    text.iter().map(|&byte| usize::from(ESCAPES[usize::from(byte)].1)).sum()
}

const fn must_be_escaped(byte: u8) -> bool {
    ESCAPES[byte as usize].1 > 1
}

/// What each byte is written as: the first so many of these. One that stays as it is has length 1.
const ESCAPES: [([u8; 6], u8); 256] = {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut table = [([0; 6], 1); 256];
    let mut byte = 0;
    while byte < 0x20 {
        let (high, low) = (HEX[byte >> 4], HEX[byte & 0xF]);
        table[byte] = ([b'\\', b'u', b'0', b'0', high, low], 6);
        byte += 1;
    }
    let short = [
        (b'"', b'"'),
        (b'\\', b'\\'),
        (b'\n', b'n'),
        (b'\r', b'r'),
        (b'\t', b't'),
        (0x08, b'b'),
        (0x0C, b'f'),
    ];
    let mut at = 0;
    while at < short.len() {
        let (byte, letter) = short[at];
        table[byte as usize] = ([b'\\', letter, 0, 0, 0, 0], 2);
        at += 1;
    }
    table
};

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test that wraps panics")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn strings_are_read_back_by_serde_json(text: String) {
            let out = written(text.as_bytes());
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            prop_assert!(!out.contains(&b'\n'));
        }

        /// A string's meaning does not depend on where it was cut, be it within a character.
        #[test]
        fn parts_come_to_the_whole(text in "[\\x00-\\x7f€]{0,40}", at in 0usize..40) {
            let text = text.as_bytes();
            let (first, second) = text.split_at(at.min(text.len()));
            let mut parts = Vec::new();
            push_escaped(&mut parts, first);
            push_escaped(&mut parts, second);
            prop_assert_eq!(parts.len(), escaped_len(text));
            let whole = written(text);
            prop_assert_eq!(&parts[..], &whole[1..whole.len() - 1]);
        }
    }

    #[test]
    fn every_ascii_character_survives() {
        let text: String = (0..=0x7f).map(char::from).collect();
        let out = written(text.as_bytes());
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        assert!(out.starts_with(br#""\u0000\u0001"#));
    }

    fn written(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        push_string(&mut out, text);
        assert!(out.capacity() <= out.len().max(8), "no more room than it takes");
        out
    }
}
