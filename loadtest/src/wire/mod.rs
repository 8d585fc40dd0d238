//! A connection, from the socket to whole messages.
//!
//! Decides neither what is sent nor when.

pub(crate) mod compressor;
pub(crate) mod conn;
pub(crate) mod link;
pub(crate) mod loan;
pub(crate) mod post;
pub(crate) mod tls;
pub(crate) mod upgrade;
