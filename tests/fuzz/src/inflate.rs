//! Compressed messages: a naive inflater finds the same text or the same fault, within the same bound; and what is compressed
//! here is inflated to what it was.
//!
//! An input's first byte says with which limit and window it is read, its second how many messages it is, its third where
//! reads end; the rest are payloads.

use wsfast::proto::deflate::Deflater;
use wsfast::proto::header::{Fin, Role, encode};
use wsfast::proto::opcode::Opcode;

use super::inbound::agrees_with_twin;
use super::input::{Dice, Input};
use super::naive_inflate;
use super::twin::Setting;

/// Checks it.
pub fn check(bytes: &[u8]) {
    let mut input = Input(bytes);
    let choice = input.byte();
    let count = usize::from(input.byte() % 4) + 1;
    let dice = Dice(input.byte().into());
    let window_bits = [None, Some(9), Some(12), Some(15)][usize::from(choice & 3)];
    let bytes_max = [0, 5, 1000, 70_000][usize::from(choice >> 2 & 3)];
    let opcode = if choice & 16 == 0 { Opcode::Binary } else { Opcode::Text };
    let setting =
        Setting { role: Role::Client, bytes_max, frames_max: 2, deflate: Some(window_bits) };
    let len = input.0.len() / count;
    let payloads: Vec<&[u8]> =
        (0..count).map(|at| input.part(if at + 1 == count { usize::MAX } else { len })).collect();
    let mut stream = Vec::new();
    for payload in &payloads {
        let header = encode(Fin::Last, opcode, payload.len(), None).compressed();
        stream.extend_from_slice(header.as_bytes());
        stream.extend_from_slice(payload);
    }
    agrees_with_twin(setting, dice, &stream);
    comes_back(&payloads, choice);
}

/// What is compressed is read by another as it was, with reference to what came before and without.
fn comes_back(payloads: &[&[u8]], choice: u8) {
    let bits = 9 + choice % 7;
    let mut deflater = Deflater::new(1 + choice % 9, bits);
    let (mut room, mut said) = (Vec::new(), Vec::new());
    for (at, payload) in payloads.iter().enumerate() {
        // Twice, so that there is something to save.
        let text = [*payload, payload].concat();
        let known = &said[usize::saturating_sub(said.len(), 1 << bits)..];
        if at % 3 == 2 {
            // What comes next may refer to it, and not to what was before.
            said.clear();
            if let Some(alone) = deflater.deflate_alone(&text, &mut room) {
                assert_eq!(
                    naive_inflate::inflate(alone, &[], 1 << bits, text.len()).as_ref(),
                    Ok(&text)
                );
                said.extend_from_slice(&text);
            }
        } else if let Some(next) = deflater.deflate_next(&text, &mut room) {
            assert!(next.len() <= text.len() + 16, "{} for {}", next.len(), text.len());
            assert_eq!(
                naive_inflate::inflate(next, known, 1 << bits, text.len()).as_ref(),
                Ok(&text)
            );
            said.extend_from_slice(&text);
        } else {
            said.clear();
        }
    }
}
