//! The client's side of the wire format, written a second time and without a thought for speed, so that one mistake cannot
//! cancel itself: frames (RFC 6455 §5.2) and permessage-deflate (RFC 7692) by another library.
//!
//! What a server sends is taken strictly: no mask, the shortest form.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// A frame of the server's.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) is_compressed: bool,
    /// Whether it ends its message.
    pub(crate) is_last: bool,
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

/// A client's frame. `first`: FIN, reserved bits, opcode.
pub(crate) fn masked(first: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..=125 => frame.push(0x80 | u8::try_from(len).unwrap()),
        len @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// Takes the first frame out of `bytes`, if it is whole.
pub(crate) fn take(bytes: &mut Vec<u8>) -> Result<Option<Frame>, String> {
    let [first, second, ..] = bytes[..] else { return Ok(None) };
    if first & 0x30 != 0 || second & 0x80 != 0 {
        return Err(format!("frame begins with {first:#x} {second:#x}"));
    }
    let (at, least) = match second {
        0..=125 => (2, 0),
        126 => (4, 126),
        _ => (10, 0x1_0000),
    };
    if bytes.len() < at {
        return Ok(None);
    }
    let long = bytes[2..at].iter().fold(0, |len, &byte| len << 8 | usize::from(byte));
    let len = if at == 2 { usize::from(second) } else { long };
    let opcode = first & 0x0F;
    let is_last = first & 0x80 != 0;
    let is_bad_control = opcode >= 8 && (len > 125 || !is_last);
    if len < least || is_bad_control || !matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10) {
        return Err(format!("frame with opcode {opcode} and length {len}"));
    }
    if bytes.len() < at + len {
        return Ok(None);
    }
    let payload = bytes[at..at + len].to_vec();
    bytes.drain(..at + len);
    Ok(Some(Frame { is_compressed: first & 0x40 != 0, is_last, opcode, payload }))
}

/// What a client that agreed on compression has.
#[derive(Debug)]
pub(crate) struct Deflate {
    compress: Compress,
    decompress: Decompress,
    client_takeover: bool,
    server_takeover: bool,
}

impl Deflate {
    /// `agreed`: the response's header value.
    pub(crate) fn new(agreed: &str) -> Self {
        Self {
            compress: Compress::new(Compression::new(1), false),
            decompress: Decompress::new(false),
            client_takeover: !agreed.contains("client_no_context_takeover"),
            server_takeover: !agreed.contains("server_no_context_takeover"),
        }
    }

    pub(crate) fn deflate(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(payload.len() + 1024);
        if !self.client_takeover {
            self.compress.reset();
        }
        self.compress.compress_vec(payload, &mut out, FlushCompress::Sync).unwrap();
        assert!(out.ends_with(&[0, 0, 0xFF, 0xFF]), "it did not fit");
        out.truncate(out.len() - 4);
        out
    }

    pub(crate) fn inflate(&mut self, payload: &[u8], most: usize) -> Result<Vec<u8>, String> {
        if !self.server_takeover {
            self.decompress.reset(false);
        }
        let mut out = Vec::with_capacity(most + 64);
        for part in [payload, &[0, 0, 0xFF, 0xFF]] {
            self.decompress
                .decompress_vec(part, &mut out, FlushDecompress::Sync)
                .map_err(|error| format!("does not inflate: {error}"))?;
        }
        if out.len() > most {
            return Err(format!("inflates to {} bytes and more", out.len()));
        }
        Ok(out)
    }
}
