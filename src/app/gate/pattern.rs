//! Which topics a token names: one name, all below a name, or all.
//!
//! Pure comparison of text, byte by byte. Nothing is decoded or normalised, neither here nor in the topic that is asked
//! for: `a/../b` is a topic below `a`. So who decodes a path does it before asking, and uses what was asked for.

use serde::Deserialize;
use wsfast::saved;

/// One entry of a token's `subscribe` or `publish` list.
///
/// | entry                      | topics                                                |
/// |----------------------------|-------------------------------------------------------|
/// | `*`, `/*`                  | all                                                   |
/// | `news/*`, `/news/*`        | `news/sport`, `news/sport/chess`; not `news`, `newsy` |
/// | any other: `news`, `/news` | that one; a `*` elsewhere is an asterisk              |
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(super) enum Pattern {
    All,
    /// All that begin with this and go on; ends with `/`.
    Below(Box<str>),
    Exactly(Box<str>),
}

saved!(enum Pattern { 0 => All, 1 => Below(start), 2 => Exactly(name) });

impl Pattern {
    /// Whether `topic`, which has no slash in front, is one of these.
    pub(super) fn matches(&self, topic: &str) -> bool {
        match self {
            Self::All => true,
            Self::Below(start) => topic.len() > start.len() && topic.starts_with(&**start),
            Self::Exactly(name) => **name == *topic,
        }
    }
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&str> for Pattern {
    fn from(text: &str) -> Self {
        // A topic is a path without its first slash; people write both.
        let name = text.strip_prefix('/').unwrap_or(text);
        match name.strip_suffix('*') {
            Some("") => Self::All,
            Some(start) if start.ends_with('/') => Self::Below(start.into()),
            _ => Self::Exactly(name.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_by_segments() {
        for (pattern, matching, others) in [
            ("*", &["", "a", "a/b", "*", "/"][..], &[][..]),
            ("/*", &["", "a", "a/b", "*", "/"], &[]),
            ("news", &["news"], &["", "new", "newsy", "news/", "news/a", "News", "/news"]),
            ("/news", &["news"], &["", "newsy", "news/a", "/news"]),
            (
                "news/*",
                &["news/a", "news/a/b", "news/*", "news//", "news/.."],
                &["", "news", "news/", "newsy", "newsy/a", "a/news/b", "News/a"],
            ),
            ("/news/*", &["news/a"], &["news", "/news/a"]),
            ("a/b/*", &["a/b/c"], &["a/b", "a/c", "a/bc/d"]),
            ("new*", &["new*"], &["new", "news"]),
            ("*/b", &["*/b"], &["a/b"]),
            ("a/*/c", &["a/*/c"], &["a/b/c"]),
            ("a/**", &["a/**"], &["a/b", "a/b/c"]),
            ("**", &["**"], &["", "a"]),
            ("//*", &["/a"], &["", "a", "/"]),
            ("", &[""], &["a", "/"]),
            ("/", &[""], &["a", "/"]),
            ("caf%C3%A9", &["caf%C3%A9"], &["café"]),
        ] {
            let pattern = Pattern::from(pattern);
            for topic in matching {
                assert!(pattern.matches(topic), "{pattern:?} {topic:?}");
            }
            for topic in others {
                assert!(!pattern.matches(topic), "{pattern:?} {topic:?}");
            }
        }
    }

    /// Segment by segment, as the documentation says it.
    fn naive(pattern: &str, topic: &str) -> bool {
        let mut chars = pattern.chars();
        let pattern: String = match chars.next() {
            Some('/') => chars.collect(),
            _ => pattern.to_owned(),
        };
        if pattern == "*" {
            return true;
        }
        let wanted: Vec<&str> = pattern.split('/').collect();
        let given: Vec<&str> = topic.split('/').collect();
        let Some((&"*", above)) = wanted.split_last() else { return wanted == given };
        let (Some(start), Some(below)) = (given.get(..above.len()), given.get(above.len()..))
        else {
            return false;
        };
        start == above && !below.is_empty() && below != [""]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn patterns_match_what_a_naive_twin_matches(pattern in "[ab/*]{0,6}", topic in "[ab/*]{0,7}") {
            prop_assert_eq!(Pattern::from(pattern.as_str()).matches(&topic), naive(&pattern, &topic));
        }

        /// Topics that are likely to match.
        #[test]
        fn what_goes_on_is_below(start in "[ab/]{1,5}", rest in "[ab/*]{0,3}") {
            let topic = format!("{start}/{rest}");
            let pattern = format!("{start}/*");
            prop_assert_eq!(Pattern::from(pattern.as_str()).matches(&topic), naive(&pattern, &topic));
        }
    }
}
