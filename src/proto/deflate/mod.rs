//! permessage-deflate (RFC 7692): what two ends agree on, and the codec of one message.
//!
//! | RFC 7692 | file |
//! |---|---|
//! | §5, §7.1 offers, responses, parameters | `offer` |
//! | §7.2 compression and decompression of a message | `codec` |
//!
//! Knows no frame: which one carries RSV1 is `inbound`'s and `header`'s business. Keeps no memory for a connection but
//! the window of one that agreed on context takeover.

mod codec;
mod offer;

pub use codec::{Deflater, Inflater, Window, fragment, stored_fragment};
pub use offer::{Agreed, Offer, ResponseError, Terms, accept, check_response};

/// The least window that can be asked of a compressor, base 2 logarithm: no implementation really keeps to 8 (256 bytes).
pub const WINDOW_BITS_MIN: u8 = 9;

/// The greatest window, base 2 logarithm: 32 KiB (RFC 7692 §7.1.2).
pub const WINDOW_BITS_MAX: u8 = 15;
