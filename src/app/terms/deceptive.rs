//! Characters that make a text look like another one: what a stranger says is shown without them.
//!
//! Knows no terminal and no format but JSON's way to name a character.

/// Whether a character steers a terminal, breaks lines, turns the direction of what follows, or is not to be seen. Not among these
/// are the selectors that emoji are written with.
pub(crate) fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Writes a character's number as JSON strings have it (RFC 8259 §7).
pub(crate) fn escape(c: char, out: &mut String) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        out.push_str(&format!("\\u{unit:04x}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_deceives_is_told_from_what_is_read() {
        for c in "\0\u{7}\n\r\t\u{1b}\u{7f}\u{80}\u{85}\u{9b}\u{9f}\u{ad}\u{61c}\u{200b}\u{200d}\u{200f}\u{2028}\u{202a}\u{202e}\u{2060}\u{2066}\u{2069}\u{206f}\u{feff}\u{e0041}".chars() {
            assert!(is_deceptive(c), "{c:?}");
        }
        for c in " a\u{e9}~\u{a0}\u{200a}\u{2010}\u{202f}\u{2070}\u{4e2d}\u{5d0}\u{fe0f}\u{1f600}"
            .chars()
        {
            assert!(!is_deceptive(c), "{c:?}");
        }
    }

    #[test]
    fn a_number_is_read_back_as_its_character() {
        for c in ['\u{1b}', '\u{202e}', '\u{e0041}'] {
            let mut out = String::new();
            escape(c, &mut out);
            let read: char = serde_json::from_str(&format!("\"{out}\"")).unwrap();
            assert_eq!(read, c, "{out}");
        }
    }
}
