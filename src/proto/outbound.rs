//! Encoding of frames (RFC 6455 §5.2, §6.1), both roles.
//!
//! Appends to a buffer that the caller owns. Does not fragment: a message leaves as one frame. Whether a frame may
//! be sent at this point of the closing handshake is the caller's to know.

use crate::proto::close::{self, StatusCode};
use crate::proto::header::{self, CONTROL_BYTES_MAX, Fin};
use crate::proto::mask;
use crate::proto::message::Kind;
use crate::proto::opcode::Opcode;

/// Appends a server's frame: FIN, no masking key.
///
/// A control frame's payload is cut at 125 bytes (§5.5).
pub fn append(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let payload = fit(opcode, payload);
    out.extend_from_slice(header::encode(Fin::Last, opcode, payload.len(), None).as_bytes());
    out.extend_from_slice(payload);
}

/// Appends a client's frame: FIN, masked with `key`, which must not be predictable to whoever chose the payload (§10.3).
///
/// A control frame's payload is cut at 125 bytes (§5.5).
pub fn append_masked(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], key: [u8; 4]) {
    let payload = fit(opcode, payload);
    out.extend_from_slice(header::encode(Fin::Last, opcode, payload.len(), Some(key)).as_bytes());
    let start = out.len();
    out.extend_from_slice(payload);
    mask::unmask(&mut out[start..], key, 0);
}

/// Appends a server's frame with a whole compressed message (RFC 7692 §6.1): `payload` is what a `Deflater` made of it.
pub fn append_compressed(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    let header = header::encode(Fin::Last, kind.opcode(), payload.len(), None).compressed();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(payload);
}

/// As [`append_compressed`], for a client; `key` as of [`append_masked`].
pub fn append_compressed_masked(out: &mut Vec<u8>, kind: Kind, payload: &[u8], key: [u8; 4]) {
    let header = header::encode(Fin::Last, kind.opcode(), payload.len(), Some(key)).compressed();
    out.extend_from_slice(header.as_bytes());
    let start = out.len();
    out.extend_from_slice(payload);
    mask::unmask(&mut out[start..], key, 0);
}

/// Appends a Close frame (§5.5.1); `key` is the masking key, where the sender is a client.
pub fn append_close(out: &mut Vec<u8>, key: Option<[u8; 4]>, code: StatusCode, reason: &str) {
    let mut body = Vec::with_capacity(CONTROL_BYTES_MAX);
    close::encode(&mut body, code, reason);
    match key {
        None => append(out, Opcode::Close, &body),
        Some(key) => append_masked(out, Opcode::Close, &body, key),
    }
}

fn fit(opcode: Opcode, payload: &[u8]) -> &[u8] {
    if opcode.is_control() { &payload[..payload.len().min(CONTROL_BYTES_MAX)] } else { payload }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test may fail")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::error::ProtocolError;
    use crate::proto::header::Role;
    use crate::proto::inbound::{BodyPool, Inbound, Rules, Step};

    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    /// RFC 6455 §5.7.
    #[test]
    fn the_rfc_examples_are_written() {
        type Row<'a> = (Opcode, &'a [u8], Option<[u8; 4]>, &'a [u8]);
        let table: [Row<'_>; 6] = [
            (Opcode::Text, b"Hello", None, b"\x81\x05Hello"),
            (Opcode::Text, b"Hello", Some(KEY), b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
            (Opcode::Ping, b"Hello", None, b"\x89\x05Hello"),
            (Opcode::Pong, b"Hello", Some(KEY), b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
            (Opcode::Binary, &[7; 256], None, &[&b"\x82\x7e\x01\x00"[..], &[7; 256]].concat()),
            (
                Opcode::Binary,
                &[7; 65_536],
                None,
                &[&b"\x82\x7f\0\0\0\0\0\x01\0\0"[..], &[7; 65_536]].concat(),
            ),
        ];
        for (opcode, payload, key, expected) in table {
            let mut out = b"before".to_vec();
            match key {
                None => append(&mut out, opcode, payload),
                Some(key) => append_masked(&mut out, opcode, payload, key),
            }
            assert!(out[..6] == *b"before" && out[6..] == *expected, "{opcode:?} {key:?}");
        }
    }

    #[test]
    fn a_close_carries_its_code_and_as_much_reason_as_fits() {
        let mut out = Vec::new();
        append_close(&mut out, None, StatusCode::NORMAL, "bye");
        assert_eq!(out, b"\x88\x05\x03\xe8bye");
        out.clear();
        append_close(&mut out, Some(KEY), StatusCode::GOING_AWAY, "");
        assert_eq!(out, b"\x88\x82\x37\xfa\x21\x3d\x34\x13");
        out.clear();
        append_close(&mut out, None, StatusCode::NORMAL, &"x".repeat(124));
        assert_eq!((out.len(), out[1]), (2 + 125, 125));
    }

    #[test]
    fn a_control_frame_is_cut_at_125_bytes_and_a_data_frame_is_not() {
        for (opcode, expected) in
            [(Opcode::Ping, 125), (Opcode::Pong, 125), (Opcode::Close, 125), (Opcode::Text, 126)]
        {
            let mut out = Vec::new();
            append(&mut out, opcode, &[b'x'; 126]);
            let header_len = if expected == 126 { 4 } else { 2 };
            assert_eq!(out.len(), header_len + expected, "{opcode:?}");
        }
    }

    /// A frame as RFC 6455 §5.2 draws it: `first`, the shortest length, the key, the payload under it.
    fn naive(first: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
        let mask_bit = if key.is_some() { 0x80 } else { 0 };
        let len = payload.len().to_be_bytes();
        let (short, extended) = match payload.len() {
            0..126 => (len[7], &[][..]),
            126..65_536 => (126, &len[6..]),
            _ => (127, &len[..]),
        };
        let bits = key.unwrap_or_default();
        let masked: Vec<u8> = payload.iter().zip(bits.iter().cycle()).map(|(a, b)| a ^ b).collect();
        [&[first, mask_bit | short], extended, key.as_slice().as_flattened(), &masked].concat()
    }

    proptest! {
        #[test]
        fn frames_are_written_as_a_naive_twin_writes_them(
            payload in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                (65_530..65_540_usize).prop_map(|len| (0..=250).cycle().take(len).collect()),
            ],
            key: Option<[u8; 4]>,
            code in 3000_u16..5000,
            reason: String,
        ) {
            let write = |opcode, payload: &[u8]| {
                let mut out = Vec::new();
                match key {
                    None => append(&mut out, opcode, payload),
                    Some(key) => append_masked(&mut out, opcode, payload, key),
                }
                out
            };
            let cut = &payload[..payload.len().min(125)];
            for (opcode, first, sent) in [
                (Opcode::Continuation, 0x80, &payload[..]),
                (Opcode::Text, 0x81, &payload),
                (Opcode::Binary, 0x82, &payload),
                (Opcode::Close, 0x88, cut),
                (Opcode::Ping, 0x89, cut),
                (Opcode::Pong, 0x8a, cut),
            ] {
                prop_assert!(write(opcode, &payload) == naive(first, sent, key), "{opcode:?}");
            }
            for (kind, first) in [(Kind::Text, 0xc1), (Kind::Binary, 0xc2)] {
                let mut out = Vec::new();
                match key {
                    None => append_compressed(&mut out, kind, &payload),
                    Some(key) => append_compressed_masked(&mut out, kind, &payload, key),
                }
                prop_assert!(out == naive(first, &payload, key), "{kind:?}");
            }
            // As many whole characters as there is room for.
            let ends = (0..=reason.len().min(123)).rev();
            let fits = ends.into_iter().find_map(|len| reason.get(..len)).unwrap_or_default();
            let mut out = Vec::new();
            append_close(&mut out, key, StatusCode::from_wire(code).unwrap(), &reason);
            prop_assert_eq!(out, naive(0x88, &[&code.to_be_bytes(), fits.as_bytes()].concat(), key));
        }

        /// What one end writes, the other reads.
        #[test]
        fn the_other_end_reads_what_was_sent(
            payload in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                Just(vec![3; 65_535]),
                Just(vec![4; 65_536]),
            ],
            key: Option<[u8; 4]>,
            text: String,
        ) {
            let mut out = Vec::new();
            let role = if key.is_some() { Role::Server } else { Role::Client };
            for (opcode, payload) in [(Opcode::Binary, &payload[..]), (Opcode::Text, text.as_bytes())] {
                match key {
                    None => append(&mut out, opcode, payload),
                    Some(key) => append_masked(&mut out, opcode, payload, key),
                }
            }
            append_close(&mut out, key, StatusCode::NORMAL, &text);
            let mut pool = BodyPool::new(0);
            let mut inbound = Inbound::new(Rules::new(role, 65_536, 1));
            let mut at = 0;
            let mut next = |expected: &dyn Fn(&Step<'_>) -> bool| -> Result<bool, ProtocolError> {
                let (used, step) = inbound.step(&mut out[at..], &mut pool)?;
                at += used;
                Ok(expected(&step))
            };
            let is_binary =
                |step: &Step<'_>| matches!(step, Step::Message(message) if message.payload() == payload);
            let is_text =
                |step: &Step<'_>| matches!(step, Step::Message(message) if message.payload() == text.as_bytes());
            let is_close = |step: &Step<'_>| {
                matches!(step, Step::Close(Some(body)) if text.starts_with(body.reason))
            };
            prop_assert_eq!(next(&is_binary), Ok(true));
            prop_assert_eq!(next(&is_text), Ok(true));
            prop_assert_eq!(next(&is_close), Ok(true));
        }
    }
}
