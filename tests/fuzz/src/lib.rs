//! What must hold for any bytes: a function `check` for each fuzz target, which panics where it does not.
//!
//! Compiled twice: with libFuzzer for `run`, and into the integration tests (`tests/it/corpus.rs`), which give each function
//! its seeds and every input that ever failed. So nothing here is nightly's, and all paths are relative.
//!
//! Not panicking is the least. Each target holds the code against something that was written otherwise: a naive twin, another
//! library, std, or its own inverse. Opens no socket; the server as a whole is not fuzzed here.

pub mod bodies;
pub mod cursors;
pub mod extensions;
pub mod header;
pub mod http;
pub mod inbound;
pub mod inflate;
pub mod json;
pub mod plain;
pub mod proxy;
pub mod request;
pub mod utf8;

mod input;
mod naive_inflate;
mod naive_json;
mod naive_request;
mod twin;

#[allow(dead_code, unused_imports, reason = "a codec of which one half is looked at")]
#[path = "../../../src/app/centrifugo/protocol/mod.rs"]
mod centrifugo;

#[allow(dead_code, unused_imports, reason = "its tests are there, too")]
#[path = "../../../src/app/terms/json_text.rs"]
pub(crate) mod json_text;

#[allow(dead_code, reason = "the same")]
#[path = "../../../src/app/hub/plain.rs"]
mod plain_dialect;

#[allow(dead_code, reason = "the same")]
#[path = "../../../src/app/hub/route.rs"]
mod route;

#[allow(unused_imports, reason = "its tests are there, too")]
#[path = "../../../src/app/terms/topic_name.rs"]
pub(crate) mod topic_name;

/// Where the protocols look for what they name of the binary.
pub(crate) mod app {
    pub(crate) mod terms {
        pub(crate) use super::super::{json_text, topic_name};
    }
}
