//! What a topic may be called, whichever way a client names it: by a path, or as a channel of the Centrifugo protocol.
//!
//! Says nothing of who may use it, nor which paths are no topics.

/// Whether a topic may be called that: 1 to 255 bytes, and no control characters, so that names fit into a line of a log.
pub(crate) fn is_topic_name(name: &str) -> bool {
    (1..=TOPIC_NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control)
}

const TOPIC_NAME_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lines_of_up_to_255_bytes() {
        let (longest, too_long) = ("n".repeat(255), "n".repeat(256));
        for name in ["a", "a/b c", "\u{e9}", "/", "..", &longest] {
            assert!(is_topic_name(name), "{name:?}");
        }
        for name in ["", "a\nb", "\0", "\u{7f}", "\u{85}", &too_long] {
            assert!(!is_topic_name(name), "{name:?}");
        }
    }
}
