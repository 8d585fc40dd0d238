//! What commands and API requests are answered with, one JSON object each.
//!
//! Appends to a buffer, and nothing else: no line feed at the end. Several replies to one message go into one frame,
//! [`next_line`] between them.

use super::codes::ReplyError;
use super::data::Data;
use super::{ClientInfo, Position, Publication, write};

/// The server's ping, as a whole message; clients answer it with the same two bytes.
pub(crate) const PING: &[u8] = b"{}";

/// Who is answered: the two differ in what stands around a result, not in the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// The command of this id.
    Command(u32),
    /// A request to the HTTP API.
    Api,
}

/// What a client gets to know of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connected<'a> {
    /// The connection's id.
    pub(crate) client: &'a str,
    /// The server's version.
    pub(crate) version: &'a str,
    /// How often the server will send [`PING`]. A client that hears none for longer drops the connection.
    pub(crate) ping_s: u32,
}

/// What a client gets to know of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscribed<'a> {
    /// Where the client is: at the topic's end or, if it recovers, where it was before what it missed.
    pub(crate) position: Position<'a>,
    /// What came of recovery.
    pub(crate) recovery: Recovery,
}

/// What came of a subscribe command's wish to recover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// There was no such wish.
    NotAsked,
    /// Messages are lost.
    Failed,
    /// All that the client missed is there: its first messages are in the reply, and the rest follows.
    Complete,
}

/// Separates what is appended next from what `out` holds, if it holds something.
pub(crate) fn next_line(out: &mut Vec<u8>) {
    if !out.is_empty() {
        out.push(b'\n');
    }
}

/// Refuses a request.
pub(crate) fn error(out: &mut Vec<u8>, to: To, error: ReplyError) {
    match to {
        To::Command(id) => {
            out.extend_from_slice(b"{\"id\":");
            write::number(out, u64::from(id));
            out.push(b',');
        }
        To::Api => out.push(b'{'),
    }
    error_member(out, error);
    out.push(b'}');
}

/// `"error":{…}`.
pub(super) fn error_member(out: &mut Vec<u8>, error: ReplyError) {
    out.extend_from_slice(b"\"error\":{\"code\":");
    write::number(out, u64::from(error.code()));
    out.extend_from_slice(b",\"message\":");
    write::string(out, error.message().as_bytes());
    if error.is_temporary() {
        out.extend_from_slice(b",\"temporary\":true");
    }
    out.push(b'}');
}

/// Answers a connect command. Asks for pongs: a client that is gone shows in their absence.
pub(crate) fn connect(out: &mut Vec<u8>, id: u32, connected: &Connected<'_>) {
    open(out, To::Command(id), "connect");
    out.extend_from_slice(b"{\"client\":");
    write::string(out, connected.client.as_bytes());
    out.extend_from_slice(b",\"version\":");
    write::string(out, connected.version.as_bytes());
    out.extend_from_slice(b",\"ping\":");
    write::number(out, u64::from(connected.ping_s));
    out.extend_from_slice(b",\"pong\":true}}");
}

/// Answers a subscribe command; `missed` are the first messages of a recovery, oldest first.
pub(crate) fn subscribe<'m>(
    out: &mut Vec<u8>,
    id: u32,
    subscribed: &Subscribed<'_>,
    missed: impl IntoIterator<Item = Publication<'m>>,
) {
    open(out, To::Command(id), "subscribe");
    out.extend_from_slice(b"{\"recoverable\":true,\"positioned\":true,");
    position_members(out, subscribed.position);
    let recovered = match subscribed.recovery {
        Recovery::NotAsked => None,
        Recovery::Failed => Some(false),
        Recovery::Complete => Some(true),
    };
    if let Some(recovered) = recovered {
        out.extend_from_slice(b",\"was_recovering\":true,\"recovered\":");
        write::flag(out, recovered);
        out.push(b',');
        publications_member(out, missed);
    }
    out.extend_from_slice(b"}}");
}

/// Answers an unsubscribe command.
pub(crate) fn unsubscribe(out: &mut Vec<u8>, id: u32) {
    open(out, To::Command(id), "unsubscribe");
    out.extend_from_slice(b"{}}");
}

/// Answers a publish command.
pub(crate) fn publish(out: &mut Vec<u8>, id: u32) {
    open(out, To::Command(id), "publish");
    out.extend_from_slice(b"{}}");
}

/// Answers a client's own ping.
pub(crate) fn ping(out: &mut Vec<u8>, id: u32) {
    open(out, To::Command(id), "ping");
    out.extend_from_slice(b"{}}");
}

/// Who hears a topic.
pub(crate) fn presence<'m>(
    out: &mut Vec<u8>,
    to: To,
    clients: impl IntoIterator<Item = ClientInfo<'m>>,
) {
    open(out, to, "presence");
    out.extend_from_slice(b"{\"presence\":{");
    list(out, clients, |out, info| {
        write::string(out, info.client.as_bytes());
        out.push(b':');
        client_info(out, info);
    });
    out.extend_from_slice(b"}}}");
}

/// How many hear a topic, and how many users they are.
pub(crate) fn presence_stats(out: &mut Vec<u8>, to: To, clients: u64, users: u64) {
    open(out, to, "presence_stats");
    out.extend_from_slice(b"{\"num_clients\":");
    write::number(out, clients);
    out.extend_from_slice(b",\"num_users\":");
    write::number(out, users);
    out.extend_from_slice(b"}}");
}

/// What was said on a topic, and where it is now.
pub(crate) fn history<'m>(
    out: &mut Vec<u8>,
    to: To,
    position: Position<'_>,
    publications: impl IntoIterator<Item = Publication<'m>>,
) {
    begin_history(out, to);
    list(out, publications, publication);
    end_history(out, position);
}

/// The same up to where the first message begins.
pub(crate) fn begin_history(out: &mut Vec<u8>, to: To) {
    open(out, to, "history");
    out.extend_from_slice(b"{\"publications\":[");
}

/// And from where the last message ends.
pub(crate) fn end_history(out: &mut Vec<u8>, position: Position<'_>) {
    out.extend_from_slice(b"],");
    position_members(out, position);
    out.extend_from_slice(b"}}");
}

/// Up to where the result begins; a closing brace ends it.
pub(super) fn open(out: &mut Vec<u8>, to: To, method: &str) {
    match to {
        To::Command(id) => {
            out.extend_from_slice(b"{\"id\":");
            write::number(out, u64::from(id));
            out.extend_from_slice(b",\"");
            out.extend_from_slice(method.as_bytes());
            out.extend_from_slice(b"\":");
        }
        To::Api => out.extend_from_slice(b"{\"result\":"),
    }
}

/// `"epoch":"…","offset":…`.
pub(super) fn position_members(out: &mut Vec<u8>, position: Position<'_>) {
    out.extend_from_slice(b"\"epoch\":");
    write::string(out, position.epoch.as_bytes());
    out.extend_from_slice(b",\"offset\":");
    write::number(out, position.offset);
}

/// One message, as an object.
pub(super) fn publication(out: &mut Vec<u8>, publication: Publication<'_>) {
    let Publication { data, offset } = publication;
    out.reserve(publication_len(publication));
    publication_part(out, data, offset, 0..data.len());
}

/// A part of that object: what comes of those bytes of the payload, with what precedes the first and follows the last of them.
/// A part that is not the last ends at a multiple of three bytes.
pub(crate) fn publication_part(
    out: &mut Vec<u8>,
    data: Data<'_>,
    offset: u64,
    part: std::ops::Range<usize>,
) {
    if part.start == 0 {
        out.extend_from_slice(b"{\"data\":");
    }
    let is_last = part.end == data.len();
    data.encode_part(part, out);
    if is_last {
        out.extend_from_slice(b",\"offset\":");
        write::number(out, offset);
        out.push(b'}');
    }
}

/// How many bytes a message takes in a list of them, at most about.
pub(crate) fn publication_len(publication: Publication<'_>) -> usize {
    publication.data.encoded_len().saturating_add(PUBLICATION_BYTES)
}

/// What a message has there beside its data: `{"data":,"offset":18446744073709551615},`.
pub(crate) const PUBLICATION_BYTES: usize = 40;

/// One connection, as an object.
fn client_info(out: &mut Vec<u8>, info: ClientInfo<'_>) {
    out.extend_from_slice(b"{\"client\":");
    write::string(out, info.client.as_bytes());
    out.extend_from_slice(b",\"user\":");
    write::string(out, info.user.as_bytes());
    out.push(b'}');
}

fn publications_member<'m>(
    out: &mut Vec<u8>,
    publications: impl IntoIterator<Item = Publication<'m>>,
) {
    out.extend_from_slice(b"\"publications\":[");
    list(out, publications, publication);
    out.push(b']');
}

/// Each of `items`, and a comma between two.
pub(super) fn list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    encode: impl Fn(&mut Vec<u8>, T),
) {
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        encode(out, item);
    }
}

#[cfg(test)]
mod tests {
    use super::super::data::Data;
    use super::*;

    const HERE: Position<'_> = Position { epoch: "e1", offset: 2 };
    const ME: ClientInfo<'_> = ClientInfo { client: "c1", user: "" };

    /// As a stub sent them that a stock client (centrifuge 5.8.0) understood.
    #[test]
    fn replies_are_what_a_stock_client_understood() {
        let one = Publication { data: Data::Json(br#"{"n":1}"#), offset: 1 };
        let two = Publication { data: Data::Json(br#"{"n":2}"#), offset: 2 };
        let mut out = Vec::new();
        connect(&mut out, 1, &Connected { client: "c1", version: "wsfast", ping_s: 25 });
        next_line(&mut out);
        let start = Position { epoch: "e1", offset: 0 };
        subscribe(&mut out, 2, &Subscribed { position: start, recovery: Recovery::NotAsked }, []);
        next_line(&mut out);
        publish(&mut out, 3);
        next_line(&mut out);
        presence(&mut out, To::Command(4), [ME]);
        next_line(&mut out);
        presence_stats(&mut out, To::Command(5), 1, 1);
        next_line(&mut out);
        history(&mut out, To::Command(6), HERE, [one]);
        next_line(&mut out);
        error(&mut out, To::Command(9), ReplyError::NotAvailable);
        next_line(&mut out);
        subscribe(
            &mut out,
            12,
            &Subscribed { position: HERE, recovery: Recovery::Complete },
            [two],
        );
        next_line(&mut out);
        unsubscribe(&mut out, 20);
        next_line(&mut out);
        ping(&mut out, 21);
        let expected = concat!(
            r#"{"id":1,"connect":{"client":"c1","version":"wsfast","ping":25,"pong":true}}"#,
            "\n",
            r#"{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1","offset":0}}"#,
            "\n",
            r#"{"id":3,"publish":{}}"#,
            "\n",
            r#"{"id":4,"presence":{"presence":{"c1":{"client":"c1","user":""}}}}"#,
            "\n",
            r#"{"id":5,"presence_stats":{"num_clients":1,"num_users":1}}"#,
            "\n",
            r#"{"id":6,"history":{"publications":[{"data":{"n":1},"offset":1}],"epoch":"e1","offset":2}}"#,
            "\n",
            r#"{"id":9,"error":{"code":108,"message":"not available"}}"#,
            "\n",
            r#"{"id":12,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1","offset":2,"#,
            r#""was_recovering":true,"recovered":true,"publications":[{"data":{"n":2},"offset":2}]}}"#,
            "\n",
            r#"{"id":20,"unsubscribe":{}}"#,
            "\n",
            r#"{"id":21,"ping":{}}"#,
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn results_for_the_api_stand_alone() {
        let user = ClientInfo { client: "c\"2", user: "ü" };
        type Encode = fn(&mut Vec<u8>);
        let table: [(Encode, &str); 5] = [
            (|out| presence(out, To::Api, []), r#"{"result":{"presence":{}}}"#),
            (
                |out| presence_stats(out, To::Api, 3, 2),
                r#"{"result":{"num_clients":3,"num_users":2}}"#,
            ),
            (
                |out| history(out, To::Api, HERE, []),
                r#"{"result":{"publications":[],"epoch":"e1","offset":2}}"#,
            ),
            (
                |out| error(out, To::Api, ReplyError::Internal),
                r#"{"error":{"code":100,"message":"internal server error","temporary":true}}"#,
            ),
            (
                |out| {
                    let failed = Subscribed { position: HERE, recovery: Recovery::Failed };
                    subscribe(out, u32::MAX, &failed, []);
                },
                concat!(
                    r#"{"id":4294967295,"subscribe":{"recoverable":true,"positioned":true,"epoch":"e1","#,
                    r#""offset":2,"was_recovering":true,"recovered":false,"publications":[]}}"#
                ),
            ),
        ];
        for (encode, expected) in table {
            let mut out = Vec::new();
            encode(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let mut out = Vec::new();
        presence(&mut out, To::Api, [ME, user]);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"result":{"presence":{"c1":{"client":"c1","user":""},"c\"2":{"client":"c\"2","user":"ü"}}}}"#
        );
    }
}
