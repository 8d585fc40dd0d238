//! Values that all of `net` speaks in. None knows a socket, a peer or a topic.

pub(crate) mod addr;
pub(crate) mod cursor;
