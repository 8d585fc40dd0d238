//! Places in a topic that clients name: read as a naive reading does, and placed where counting the messages places them. What is
//! missing is declared in each dialect, what is declared can be read, and behind it nothing is missing any more.
//!
//! An input is a topic (its epoch, how many of its messages are gone, how many are there), where the place is named, and the text
//! that names it, in which `$` stands for the topic's own epoch. Topics themselves are the server's, and not looked at here.

use wsfast::proto::handshake::{HeadLimits, Request};
use wsfast::{Gap, Kept, Lag, MessageId, Since};

use super::bodies::message_id;
use super::input::Input;
use super::plain_dialect::{BARE, EVENTS, LINES, META, POLL, encode_gap};
use super::route::{Route, route};

/// Checks it.
pub fn check(bytes: &[u8]) {
    let mut input = Input(bytes);
    let topic = Topic::of(&mut input);
    let named_by = input.one_of(&[Named::Query, Named::LastEventId, Named::IfNoneMatch]);
    let text = String::from_utf8_lossy(input.0).replace('$', &format!("{:x}", topic.epoch));
    let Some(since) = named_by.read(&text) else { return };
    topic.places(since);
    if let Since::Id(id) = since {
        assert_eq!(id.to_string().parse(), Ok(id));
        // The same distance from where something changes.
        for edge in [topic.first(), topic.next(), u128::from(u64::MAX)] {
            for offset in [edge + u128::from(id.offset), edge.saturating_sub(id.offset.into())] {
                let offset = u64::try_from(offset).unwrap_or(u64::MAX);
                topic.places(Since::Last(offset));
                topic.places(Since::Id(MessageId { epoch: topic.epoch, offset }));
                topic.places(Since::Id(MessageId { offset, ..id }));
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Named {
    Query,
    LastEventId,
    IfNoneMatch,
}

impl Named {
    /// What a request for it asks for; `None`: it is no request, or names no place.
    fn read(self, text: &str) -> Option<Since> {
        let (query, line) = match self {
            Self::Query => {
                let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
                (format!("?since={encoded}"), String::new())
            }
            Self::LastEventId => (String::new(), format!("Last-Event-ID: {text}\r\n")),
            Self::IfNoneMatch => (String::new(), format!("If-None-Match: {text}\r\n")),
        };
        let head = format!("GET /t{query} HTTP/1.1\r\nHost: h\r\n{line}\r\n");
        let request = Request::parse(head.as_bytes(), &HeadLimits::default()).ok()?;
        if text.contains(['\r', '\n']) && line.len() > 1 {
            // It makes lines of its own.
            return None;
        }
        let since = match route(&request) {
            Ok(Route::Topic(target)) => Some(target.since),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        };
        assert_eq!(since, self.naive(text), "{text:?}");
        since
    }

    fn naive(self, text: &str) -> Option<Since> {
        match self {
            Self::Query if text == "all" => Some(Since::All),
            Self::Query => match text.strip_prefix("last:") {
                Some(count) => count.parse().ok().map(Since::Last),
                None => message_id(text).map(Since::Id),
            },
            Self::LastEventId | Self::IfNoneMatch => match text.trim_matches([' ', '\t']) {
                "" => Some(Since::Now),
                text => message_id(text.trim_matches('"')).map(Since::Id),
            },
        }
    }
}

/// A topic by its numbers; they are added up in more bits than they have.
struct Topic {
    epoch: u64,
    gone: u64,
    count: u64,
}

impl Topic {
    fn of(input: &mut Input<'_>) -> Self {
        let mut number = || {
            let bits = u32::from(input.byte()) % 65;
            let mut bytes = [0; 8];
            let part = input.part(bits.div_ceil(8) as usize);
            bytes[..part.len()].copy_from_slice(part);
            u64::from_le_bytes(bytes) & 1_u64.checked_shl(bits).map_or(u64::MAX, |bit| bit - 1)
        };
        let (epoch, gone) = (number(), number());
        Self { epoch, gone, count: number() % 64 }
    }

    fn first(&self) -> u128 {
        (u128::from(self.gone) + 1).min(u64::MAX.into())
    }

    fn next(&self) -> u128 {
        (self.first() + u128::from(self.count)).min(u64::MAX.into())
    }

    fn kept(&self) -> Kept {
        Kept::new(self.epoch, self.gone.saturating_add(1), self.count)
    }

    /// Holds a position against the list of what is there.
    fn places(&self, since: Since) {
        let (first, next) = (self.first(), self.next());
        let there: Vec<u128> = (first..next).collect();
        // What a reader is given, and what it is told to have lost, if anything.
        let (given, lost): (&[u128], Option<Option<u128>>) = match since {
            Since::Now => (&[], None),
            Since::All => (&there, None),
            Since::Last(count) => {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                (&there[there.len().saturating_sub(count)..], None)
            }
            Since::Id(id) if id.epoch != self.epoch || u128::from(id.offset) >= next => {
                (&there, Some(None))
            }
            Since::Id(id) => {
                let behind = u128::from(id.offset) + 1;
                let from = there.partition_point(|&offset| offset < behind);
                let lost = first.saturating_sub(behind);
                (&there[from..], (lost > 0).then_some(Some(lost)))
            }
        };
        let position = self.kept().position(since);
        assert_eq!(u128::from(position.next()), next - given.len() as u128, "{since:?}");
        assert_eq!(position.last, self.id(next - 1), "{since:?}");
        let told = position.gap.map(|gap| gap.lost().map(u128::from));
        assert_eq!(told, lost, "{since:?}");
        if let (Some(gap), Since::Id(from)) = (position.gap, since) {
            assert_eq!(gap, Gap { from, to: self.id(first - 1) });
            self.goes_on_behind(gap.to);
            self.is_told(gap);
        }
        given.iter().take(3).for_each(|&offset| {
            let behind = self.kept().position(Since::Id(self.id(offset)));
            assert_eq!((u128::from(behind.next()), behind.gap), (offset + 1, None));
        });
    }

    fn id(&self, offset: u128) -> MessageId {
        MessageId { epoch: self.epoch, offset: u64::try_from(offset).expect("an offset") }
    }

    /// A reader that comes back with this place is given all that is there, and told of no gap.
    fn goes_on_behind(&self, place: MessageId) {
        let behind = self.kept().position(Since::Id(place));
        assert_eq!((u128::from(behind.next()), behind.gap), (self.first(), None), "{place}");
    }

    fn is_told(&self, gap: Gap) {
        for form in [META, EVENTS, LINES, POLL] {
            let mut out = Vec::new();
            assert!(matches!(encode_gap(form, gap, &mut out), Lag::Told(_)));
            let notice = std::str::from_utf8(&out).expect("text");
            let json = match form {
                META => notice.strip_prefix("gap: ").and_then(|it| it.strip_suffix("\n\n")),
                EVENTS => notice
                    .strip_prefix(&*format!("id: {}\nevent: gap\ndata: ", gap.to))
                    .and_then(|it| it.strip_suffix("\n\n")),
                _ => notice.strip_prefix("{\"gap\":").and_then(|it| it.strip_suffix("}\n")),
            };
            let value: serde_json::Value =
                serde_json::from_str(json.expect("its form")).expect("JSON");
            assert_eq!(value["from"], gap.from.to_string());
            assert_eq!(value["to"], gap.to.to_string());
            assert_eq!(value["lost"].as_u64(), gap.lost());
            assert!(value["lost"].is_null() == gap.lost().is_none());
        }
        let Lag::Close(_, reason) = encode_gap(BARE, gap, &mut Vec::new()) else {
            panic!("it has no other way to be told");
        };
        assert!(reason.len() <= 123, "a Close has no room for {reason}");
        let (_, advice) = reason.split_once("?since=").expect("a place");
        let advice = message_id(advice).expect("a place");
        match gap.lost() {
            Some(_) => assert_eq!(advice, gap.from),
            None => self.goes_on_behind(advice),
        }
    }
}
