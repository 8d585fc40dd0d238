//! Encoding of frames (RFC 6455 §5.2, §6.1), both roles.
//!
//! Appends to a buffer that the caller owns. Does not fragment: a message leaves as one frame. Whether a frame may
//! be sent at this point of the closing handshake is the caller's to know.

use crate::proto::close::{self, StatusCode};
use crate::proto::header::{self, CONTROL_BYTES_MAX, Fin};
use crate::proto::mask;
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
