//! wsfast: a WebSocket server at the cost of the kernel.

pub mod proto;
