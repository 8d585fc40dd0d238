//! Values that all of `net` speaks in. None knows a socket, a peer or a topic.

pub(crate) mod addr;
pub(crate) mod arrival;
pub(crate) mod closed;
pub(crate) mod counters;
pub(crate) mod cursor;
pub(crate) mod peer_id;
pub(crate) mod refusal;
pub(crate) mod sent;
pub(crate) mod topic;
