//! What a topic's messages look like to each kind of client. Pure functions over bytes.

pub(crate) mod plain;
