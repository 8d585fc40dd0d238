//! RFC 6455 §5 and RFC 7692 §6 for a stream that is there as a whole, byte by byte, as plainly as they can be written.
//!
//! Where bytes break several rules, the one counts that the earliest byte shows, and among those of one byte the one that
//! stands first here.

use wsfast::Kind;
use wsfast::proto::close::StatusCode;
use wsfast::proto::error::ProtocolError;
use wsfast::proto::header::Role;

use super::naive_inflate;

/// What a connection allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) role: Role,
    pub(crate) bytes_max: usize,
    pub(crate) frames_max: u32,
    /// Whether permessage-deflate was agreed on, and with which window, if with one.
    pub(crate) deflate: Option<Option<u8>>,
}

/// What the receiver is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

/// All of it, and the breach that ended it.
pub(crate) fn read(stream: &[u8], setting: Setting) -> (Vec<Seen>, Option<ProtocolError>) {
    let mut twin =
        Twin { rest: stream, setting, seen: Vec::new(), message: None, said: Vec::new() };
    loop {
        match twin.frame() {
            Ok(()) if matches!(twin.seen.last(), Some(Seen::Close(_))) => return (twin.seen, None),
            Ok(()) => {}
            Err(Stop::End) => return (twin.seen, None),
            Err(Stop::Breach(error)) => return (twin.seen, Some(error)),
        }
    }
}

struct Twin<'a> {
    rest: &'a [u8],
    setting: Setting,
    seen: Vec<Seen>,
    message: Option<Draft>,
    /// All that compressed messages said, for the next to refer to.
    said: Vec<u8>,
}

struct Draft {
    kind: Kind,
    is_compressed: bool,
    frames: u32,
    bytes: Vec<u8>,
}

enum Stop {
    End,
    Breach(ProtocolError),
}

fn rule(is_kept: bool, error: ProtocolError) -> Result<(), Stop> {
    if is_kept { Ok(()) } else { Err(Stop::Breach(error)) }
}

impl Twin<'_> {
    fn byte(&mut self) -> Result<u8, Stop> {
        let (&byte, rest) = self.rest.split_first().ok_or(Stop::End)?;
        self.rest = rest;
        Ok(byte)
    }

    fn frame(&mut self) -> Result<(), Stop> {
        use ProtocolError::*;
        let first = self.byte()?;
        let (is_last, opcode) = (first >= 0x80, first & 15);
        let (is_control, is_compressed) = (opcode >= 8, first & 0x40 != 0);
        rule(
            first & 0x30 == 0 && (!is_compressed || self.setting.deflate.is_some()),
            ReservedBits,
        )?;
        rule(matches!(opcode, 0..=2 | 8..=10), ReservedOpcode)?;
        rule(!is_compressed || matches!(opcode, 1 | 2), ReservedBits)?;
        rule(!is_control || is_last, FragmentedControl)?;
        if !is_control {
            let frames = self.message.as_ref().map(|draft| draft.frames);
            rule(frames.is_some() || opcode != 0, UnexpectedContinuation)?;
            rule(frames.is_none() || opcode == 0, ExpectedContinuation)?;
            rule(frames.is_none_or(|frames| frames < self.setting.frames_max), TooManyFragments)?;
        }
        let second = self.byte()?;
        rule(!is_control || second & 0x7F <= 125, ControlTooLong)?;
        rule(opcode != 8 || second & 0x7F != 1, CloseBodyOneByte)?;
        let is_masked = second >= 0x80;
        rule(self.setting.role == Role::Client || is_masked, UnmaskedFrame)?;
        rule(self.setting.role == Role::Server || !is_masked, MaskedFrame)?;
        let len = self.payload_len(second & 0x7F)?;
        if is_control {
            return self.control(opcode, len);
        }
        let kind = if opcode == 1 { Kind::Text } else { Kind::Binary };
        let mut draft = self.message.take().unwrap_or(Draft {
            kind,
            is_compressed,
            frames: 0,
            bytes: Vec::new(),
        });
        let most = self.setting.bytes_max;
        let most = if draft.is_compressed { most + most / 8 + 64 } else { most };
        rule(draft.bytes.len() as u128 + u128::from(len) <= most as u128, MessageTooBig)?;
        let (payload, is_whole) = self.payload(len)?;
        draft.frames += 1;
        draft.bytes.extend(payload);
        if draft.kind == Kind::Text && !draft.is_compressed {
            rule(may_become_utf8(&draft.bytes), InvalidUtf8)?;
        }
        if !is_whole {
            return Err(Stop::End);
        }
        if is_last {
            return self.deliver(draft);
        }
        self.message = Some(draft);
        Ok(())
    }

    fn deliver(&mut self, draft: Draft) -> Result<(), Stop> {
        let Draft { kind, is_compressed, mut bytes, .. } = draft;
        if is_compressed {
            let window = self.setting.deflate.flatten().map_or(0, |bits| 1 << bits);
            let known = &self.said[self.said.len().saturating_sub(window)..];
            bytes = naive_inflate::inflate(&bytes, known, 1 << 15, self.setting.bytes_max)
                .map_err(Stop::Breach)?;
            self.said.extend_from_slice(&bytes);
        }
        let is_sound = kind == Kind::Binary || std::str::from_utf8(&bytes).is_ok();
        rule(is_sound, ProtocolError::InvalidUtf8)?;
        self.seen.push(Seen::Message(kind, bytes));
        Ok(())
    }

    fn payload_len(&mut self, short: u8) -> Result<u64, Stop> {
        use ProtocolError::*;
        let mut len = 0;
        let count = match short {
            126 => 2,
            127 => 8,
            short => return Ok(short.into()),
        };
        for place in 0..count {
            let byte = self.byte()?;
            rule(count == 2 || place > 0 || byte < 0x80, LengthTopBit)?;
            len = len << 8 | u64::from(byte);
            // Six zero bytes of eight leave at most 65,535.
            rule(count == 2 || place != 5 || len > 0, LengthNotMinimal)?;
        }
        rule(len > 125, LengthNotMinimal)?;
        Ok(len)
    }

    /// The key, and what there is of the payload; whether that is all of it.
    fn payload(&mut self, len: u64) -> Result<(Vec<u8>, bool), Stop> {
        let mut key = [0; 4];
        if self.setting.role == Role::Server {
            key = [self.byte()?, self.byte()?, self.byte()?, self.byte()?];
        }
        let there = self.rest.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        let (payload, rest) = self.rest.split_at(there);
        self.rest = rest;
        let payload =
            payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        Ok((payload, there as u64 == len))
    }

    fn control(&mut self, opcode: u8, len: u64) -> Result<(), Stop> {
        use ProtocolError::*;
        let (payload, is_whole) = self.payload(len)?;
        let mut close = None;
        if let (8, [high, low, reason @ ..]) = (opcode, &payload[..]) {
            let code = u16::from_be_bytes([*high, *low]);
            rule(StatusCode::from_wire(code).is_some(), CloseCodeInvalid)?;
            rule(may_become_utf8(reason), InvalidUtf8)?;
            rule(!is_whole || std::str::from_utf8(reason).is_ok(), InvalidUtf8)?;
            close = Some((code, String::from_utf8_lossy(reason).into_owned()));
        }
        if !is_whole {
            return Err(Stop::End);
        }
        self.seen.push(match opcode {
            8 => Seen::Close(close),
            9 => Seen::Ping(payload),
            _ => Seen::Pong(payload),
        });
        Ok(())
    }
}

fn may_become_utf8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true)
}
