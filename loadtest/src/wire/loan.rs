//! The loan: what the measuring thread lends to the connection whose turn it is, and what is put together there.
//!
//! One of each buffer of size for all connections. Reads and writes no socket.

use wsfast::proto::deflate::Agreed;
use wsfast::proto::header::Role;
use wsfast::proto::inbound::{BodyPool, Rules};
use wsfast::proto::opcode::Opcode;
use wsfast::proto::outbound;

use crate::judge::{Judge, Saying};
use crate::time::schedule::Random;
use crate::wire::compressor::Packer;
use crate::wire::post::PostHead;
use crate::wire::tls::{Connector, WIRE_BYTES};
use crate::wire::upgrade::Request;

/// What the measuring thread lends to the connection whose turn it is.
#[derive(Debug)]
pub(crate) struct Loan<R> {
    /// What is read.
    pub(crate) scratch: Vec<u8>,
    /// The same before it is decrypted; empty without TLS.
    pub(crate) wire: Vec<u8>,
    /// What TLS starts from, if there is to be any.
    pub(crate) connector: Option<Connector>,
    /// What is to be written.
    pub(crate) out: Vec<u8>,
    /// The payload of the message being written.
    pub(crate) payload: Vec<u8>,
    /// Compresses it.
    pub(crate) packer: Packer,
    /// Bodies of messages that do not come in one read.
    pub(crate) pool: BodyPool,
    /// Masking keys and the like.
    pub(crate) random: Random,
    /// What is asked for.
    pub(crate) asks: Asks,
    /// Judges what comes.
    pub(crate) judge: R,
}

/// What connections ask a server for, by the places that the judge names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asks {
    /// Opening handshakes' requests.
    pub(crate) upgrades: Vec<Request>,
    /// Publications' heads.
    pub(crate) posts: Vec<PostHead>,
}

/// Bytes of one read. What large messages need; small ones leave the rest untouched.
const READ_BYTES_MAX: usize = 256 << 10;

/// The longest that a header or a control frame can be, and so what `owed` can hold.
const OWED_BYTES_MAX: usize = 144;

/// Frames that a reply may come in.
const FRAGMENTS_MAX: u32 = 1 << 16;

impl<R: Judge> Loan<R> {
    /// A loan for messages that `judge` decides on.
    pub(crate) fn new(judge: R, asks: Asks, random: Random, connector: Option<Connector>) -> Self {
        Self {
            scratch: vec![0; READ_BYTES_MAX + OWED_BYTES_MAX],
            wire: vec![0; if connector.is_some() { WIRE_BYTES } else { 0 }],
            connector,
            out: Vec::new(),
            payload: Vec::new(),
            packer: Packer::default(),
            pool: BodyPool::new(16 << 20),
            random,
            asks,
            judge,
        }
    }

    /// Appends the next message of `lane` to what is to be written.
    pub(crate) fn append_message(
        &mut self,
        lane: &mut R::Lane,
        deflate: Option<Agreed>,
        now_ns: u64,
    ) {
        let saying = self.judge.next_message(lane, now_ns, &mut self.payload);
        let key = masking_key(&mut self.random);
        let Saying::Message(kind) = saying else {
            return outbound::append_masked(&mut self.out, Opcode::Ping, &self.payload, key);
        };
        match deflate.and_then(|agreed| self.packer.pack(agreed, &self.payload)) {
            Some(packed) => outbound::append_compressed_masked(&mut self.out, kind, packed, key),
            None => outbound::append_masked(&mut self.out, kind.opcode(), &self.payload, key),
        }
    }

    /// Appends the request that publishes the next message of `lane` to what is to be written.
    pub(crate) fn append_post(&mut self, lane: &mut R::Lane, head: usize, now_ns: u64) {
        self.judge.next_message(lane, now_ns, &mut self.payload);
        self.asks.posts[head].append(&self.payload, &mut self.out);
    }

    /// Appends what `lane` says first.
    pub(crate) fn append_greetings(&mut self, lane: &R::Lane) {
        for greeting in self.judge.greetings(lane) {
            let key = masking_key(&mut self.random);
            outbound::append_masked(&mut self.out, Opcode::Text, greeting.as_bytes(), key);
        }
    }

    /// Appends an answer of a protocol's own.
    pub(crate) fn append_answer(&mut self, number: usize) {
        let key = masking_key(&mut self.random);
        let answer = self.judge.answer(number).as_bytes();
        outbound::append_masked(&mut self.out, Opcode::Text, answer, key);
    }

    /// What messages may be: somewhat longer than what is sent, so that a wrong length is a wrong message.
    pub(crate) fn rules(&self) -> Rules {
        Rules::new(Role::Client, self.judge.message_bytes_max(), FRAGMENTS_MAX)
    }
}

/// A masking key (RFC 6455 §5.3). Unpredictable enough: the payload is our own.
pub(crate) fn masking_key(random: &mut Random) -> [u8; 4] {
    let [a, b, c, d, ..] = random.next().to_le_bytes();
    [a, b, c, d]
}
