//! RFC 1951 and RFC 7692 §7.2.2 as plainly as they can be written: bit by bit, each code found by its length and value.
//!
//! As strict as zlib about codes: none that says more than there is room for, and no incomplete one but a single code of one bit.

use std::collections::HashMap;

use wsfast::proto::error::ProtocolError;

/// What a message's `payload` stands for, where it may refer back to `history`, and by `reach_max` bytes at most.
pub(crate) fn inflate(
    payload: &[u8],
    history: &[u8],
    reach_max: usize,
    bytes_max: usize,
) -> Result<Vec<u8>, ProtocolError> {
    if payload.is_empty() {
        return Ok(Vec::new());
    }
    let whole = [payload, &[0, 0, 0xFF, 0xFF, 1, 0, 0, 0xFF, 0xFF]].concat();
    let mut message = Vec::new();
    let (mut at, mut history) = (0, history.to_vec());
    loop {
        let mut stream = Stream {
            bytes: &whole[at..],
            bit: 0,
            known: history.len(),
            reach_max,
            bytes_max: history.len() + bytes_max - message.len(),
            out: std::mem::take(&mut history),
        };
        stream.run()?;
        message.extend_from_slice(&stream.out[stream.known..]);
        at += stream.bit.div_ceil(8);
        // A final block ends the message, or another stream begins behind it.
        if at == payload.len() || at == whole.len() {
            return Ok(message);
        }
    }
}

struct Stream<'a> {
    bytes: &'a [u8],
    bit: usize,
    /// What was known before, and then what came out.
    out: Vec<u8>,
    known: usize,
    reach_max: usize,
    bytes_max: usize,
}

/// Codes, by how many bits they have and their value.
type Codes = HashMap<(u32, u32), usize>;

impl Stream<'_> {
    fn run(&mut self) -> Result<(), ProtocolError> {
        loop {
            let is_final = self.bits(1)? == 1;
            match self.bits(2)? {
                0 => self.stored()?,
                1 => {
                    let lengths = [vec![8; 144], vec![9; 112], vec![7; 24], vec![8; 8]].concat();
                    self.compressed(&codes(&lengths)?, &codes(&[5; 32])?)?;
                }
                2 => {
                    let (literals, distances) = self.dynamic()?;
                    self.compressed(&literals, &distances)?;
                }
                _ => return Err(ProtocolError::DeflateInvalid),
            }
            if is_final {
                return Ok(());
            }
        }
    }

    fn bits(&mut self, count: usize) -> Result<usize, ProtocolError> {
        let mut number = 0;
        for place in 0..count {
            let byte = self.bytes.get(self.bit / 8).ok_or(ProtocolError::DeflateInvalid)?;
            number |= usize::from(byte >> (self.bit % 8) & 1) << place;
            self.bit += 1;
        }
        Ok(number)
    }

    fn symbol(&mut self, codes: &Codes) -> Result<usize, ProtocolError> {
        let mut code = 0;
        for len in 1..=15 {
            code = code << 1 | u32::from(self.bits(1)? == 1);
            if let Some(&symbol) = codes.get(&(len, code)) {
                return Ok(symbol);
            }
        }
        Err(ProtocolError::DeflateInvalid)
    }

    fn put(&mut self, byte: u8) -> Result<(), ProtocolError> {
        self.out.push(byte);
        if self.out.len() > self.bytes_max {
            return Err(ProtocolError::MessageTooBig);
        }
        Ok(())
    }

    fn stored(&mut self) -> Result<(), ProtocolError> {
        self.bit = self.bit.next_multiple_of(8);
        let len = self.bits(16)?;
        if self.bits(16)? != len ^ 0xFFFF {
            return Err(ProtocolError::DeflateInvalid);
        }
        for _ in 0..len {
            let byte = self.bits(8)?;
            self.put(u8::try_from(byte).unwrap_or_default())?;
        }
        Ok(())
    }

    fn compressed(&mut self, literals: &Codes, distances: &Codes) -> Result<(), ProtocolError> {
        loop {
            let len = match self.symbol(literals)? {
                literal @ 0..256 => {
                    self.put(u8::try_from(literal).unwrap_or_default())?;
                    continue;
                }
                256 => return Ok(()),
                // Four lengths for each number of further bits, after the first eight; 258 has a symbol of its own.
                symbol @ 257..265 => symbol - 254,
                285 => 258,
                symbol @ 265..285 => {
                    let further = (symbol - 261) / 4;
                    3 + ((4 + (symbol - 261) % 4) << further) + self.bits(further)?
                }
                _ => return Err(ProtocolError::DeflateInvalid),
            };
            let distance = match self.symbol(distances)? {
                symbol @ 0..4 => symbol + 1,
                symbol @ 4..30 => {
                    let further = (symbol - 2) / 2;
                    1 + ((2 + symbol % 2) << further) + self.bits(further)?
                }
                _ => return Err(ProtocolError::DeflateInvalid),
            };
            if distance > self.reach_max {
                return Err(ProtocolError::DeflateInvalid);
            }
            for _ in 0..len {
                let from = self.out.len().checked_sub(distance);
                let byte = self.out[from.ok_or(ProtocolError::DeflateInvalid)?];
                self.put(byte)?;
            }
        }
    }

    fn dynamic(&mut self) -> Result<(Codes, Codes), ProtocolError> {
        const ORDER: [usize; 19] =
            [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        let literals = self.bits(5)? + 257;
        let distances = self.bits(5)? + 1;
        let count = self.bits(4)? + 4;
        if literals > 286 || distances > 30 {
            return Err(ProtocolError::DeflateInvalid);
        }
        let mut lengths = [0; 19];
        for place in &ORDER[..count] {
            lengths[*place] = self.bits(3)?;
        }
        if lengths.iter().map(|&len| if len > 0 { 128 >> len } else { 0 }).sum::<usize>() != 128 {
            return Err(ProtocolError::DeflateInvalid);
        }
        let code_lengths = codes(&lengths)?;
        let mut lengths = Vec::new();
        while lengths.len() < literals + distances {
            let (length, times) = match self.symbol(&code_lengths)? {
                16 => {
                    let last = *lengths.last().ok_or(ProtocolError::DeflateInvalid)?;
                    (last, 3 + self.bits(2)?)
                }
                17 => (0, 3 + self.bits(3)?),
                18 => (0, 11 + self.bits(7)?),
                length => (length, 1),
            };
            lengths.extend(std::iter::repeat_n(length, times));
        }
        if lengths.len() > literals + distances || lengths[256] == 0 {
            return Err(ProtocolError::DeflateInvalid);
        }
        let (literals, distances) = lengths.split_at(literals);
        Ok((codes(literals)?, codes(distances)?))
    }
}

/// The codes of symbols whose codes have these lengths (RFC 1951 §3.2.2).
fn codes(lengths: &[usize]) -> Result<Codes, ProtocolError> {
    let mut codes = Codes::new();
    let (mut code, mut longest) = (0_u32, 0);
    for len in 1..=15 {
        code <<= 1;
        for (symbol, _) in lengths.iter().enumerate().filter(|(_, length)| **length == len as usize)
        {
            if code >= 1 << len {
                return Err(ProtocolError::DeflateInvalid);
            }
            codes.insert((len, code), symbol);
            (code, longest) = (code + 1, len);
        }
    }
    // Fifteen doublings of `code`: all of the room is taken, or it is incomplete.
    if longest > 1 && code != 1 << 15 {
        return Err(ProtocolError::DeflateInvalid);
    }
    Ok(codes)
}
