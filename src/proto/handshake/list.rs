//! Comma-separated header values (RFC 9110 §5.6.1), tokens (§5.6.2) and optional white space (§5.6.3).
//!
//! Each byte is looked at a fixed number of times. Knows no quoted strings: the lists here are of tokens.

/// The elements of one header value, trimmed; empty ones are left out, as §5.6.1.2 asks of recipients.
pub(crate) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim).filter(|element| !element.is_empty())
}

/// Whether one of the elements of `value` is `name`, in any case.
pub(crate) fn lists(value: &[u8], name: &str) -> bool {
    elements(value).any(|element| element.eq_ignore_ascii_case(name.as_bytes()))
}

/// `text` as a token, if it is one: at least one `tchar` and nothing else (§5.6.2).
pub(crate) fn token(text: &[u8]) -> Option<&str> {
    if text.is_empty() || !text.iter().copied().all(is_tchar) {
        return None;
    }
    str::from_utf8(text).ok()
}

/// Whether `byte` may stand in a token (§5.6.2).
pub(crate) const fn is_tchar(byte: u8) -> bool {
    matches!(byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')
}

/// `text` without the spaces and tabs at its ends.
fn trim(text: &[u8]) -> &[u8] {
    let is_ink = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let start = text.iter().position(is_ink).unwrap_or(text.len());
    let end = text.iter().rposition(is_ink).map_or(start, |last| last.saturating_add(1));
    &text[start..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_are_trimmed_and_empty_ones_left_out() {
        let table: [(&[u8], &[&[u8]]); 9] = [
            (b"", &[]),
            (b" \t ", &[]),
            (b",,\t,", &[]),
            (b"a", &[b"a"]),
            (b"a,b", &[b"a", b"b"]),
            (b"\t a \t,\tb\t", &[b"a", b"b"]),
            (b",a,,b,", &[b"a", b"b"]),
            (b"a b,c", &[b"a b", b"c"]),
            (b"keep-alive, Upgrade", &[b"keep-alive", b"Upgrade"]),
        ];
        for (value, expected) in table {
            assert_eq!(elements(value).collect::<Vec<_>>(), expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn a_listed_name_is_found_in_any_case() {
        let table: [(&[u8], bool); 9] = [
            (b"upgrade", true),
            (b"Upgrade", true),
            (b"keep-alive, UPGRADE", true),
            (b"keep-alive\t,\tuPgRaDe ,x", true),
            (b"", false),
            (b"upgrades", false),
            (b"upgrad", false),
            (b"up grade", false),
            (b"keep-alive; upgrade", false),
        ];
        for (value, expected) in table {
            assert_eq!(lists(value, "upgrade"), expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn tokens_are_tchars_only() {
        let tchars =
            "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        for byte in 0..=u8::MAX {
            let expected = tchars.as_bytes().contains(&byte);
            assert_eq!(is_tchar(byte), expected, "{byte}");
            assert_eq!(token(&[b'a', byte]).is_some(), expected, "{byte}");
        }
        assert_eq!(token(b""), None);
        assert_eq!(token(b"mqtt"), Some("mqtt"));
    }

    proptest! {
        #[test]
        fn elements_are_what_a_naive_split_says(value in "[ab ,\t]{0,40}") {
            let naive: Vec<_> = value
                .split(',')
                .map(|element| element.trim_matches([' ', '\t']))
                .filter(|element| !element.is_empty())
                .map(str::as_bytes)
                .collect();
            prop_assert_eq!(elements(value.as_bytes()).collect::<Vec<_>>(), naive);
        }
    }
}
