//! What clients get without having asked for it just now: messages of their topics, and the end of a subscription.
//!
//! A push is the same for all subscribers of a topic: encoded once, sent to many. Each is a message of its own, or a line
//! of one.

use super::codes::Unsubscribe;
use super::reply::publication;
use super::{Publication, write};

/// A message of `channel`.
pub(crate) fn publish(out: &mut Vec<u8>, channel: &str, message: Publication<'_>) {
    open(out, channel, "pub");
    publication(out, message);
    out.extend_from_slice(b"}}");
}

/// The client's subscription to `channel` has ended. For [`Unsubscribe::InsufficientState`] it subscribes anew, and recovers.
pub(crate) fn unsubscribe(out: &mut Vec<u8>, channel: &str, why: Unsubscribe) {
    open(out, channel, "unsubscribe");
    code_and_reason(out, why.code(), why.reason());
    out.extend_from_slice(b"}}");
}

fn open(out: &mut Vec<u8>, channel: &str, kind: &str) {
    out.extend_from_slice(b"{\"push\":{\"channel\":");
    write::string(out, channel.as_bytes());
    out.extend_from_slice(b",\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\":");
}

fn code_and_reason(out: &mut Vec<u8>, code: u16, reason: &str) {
    out.extend_from_slice(b"{\"code\":");
    write::number(out, u64::from(code));
    out.extend_from_slice(b",\"reason\":");
    write::string(out, reason.as_bytes());
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::super::data::Data;
    use super::*;

    /// As a stub sent them that a stock client (centrifuge 5.8.0) acted on.
    #[test]
    fn pushes_are_what_a_stock_client_acted_on() {
        let message = Publication { data: Data::Text(b"text"), offset: 1 };
        let mut out = Vec::new();
        publish(&mut out, "other/\u{fc}n\u{ef} \"q\"", message);
        out.push(b'\n');
        unsubscribe(&mut out, "news", Unsubscribe::InsufficientState);
        let expected = concat!(
            r#"{"push":{"channel":"other/ünï \"q\"","pub":{"data":"text","offset":1}}}"#,
            "\n",
            r#"{"push":{"channel":"news","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#,
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
