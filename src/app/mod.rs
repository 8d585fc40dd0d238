//! What the standalone server does: its handlers, who may reach them, and what it takes from the process.

pub(crate) mod access;
pub(crate) mod admin;
pub(crate) mod centrifugo;
pub(crate) mod client;
pub(crate) mod descriptors;
pub(crate) mod dev_cert;
pub(crate) mod dialects;
pub(crate) mod expiry;
pub(crate) mod gate;
pub(crate) mod hub;
pub(crate) mod inherited;
pub(crate) mod lines;
pub(crate) mod listening;
pub(crate) mod logs;
pub(crate) mod memory;
pub(crate) mod metrics;
pub(crate) mod pages;
pub(crate) mod peer;
pub(crate) mod presence;
pub(crate) mod reload;
pub(crate) mod route;
pub(crate) mod start_up;
pub(crate) mod stdin;
pub(crate) mod tls_files;
pub(crate) mod topic_name;
pub(crate) mod wall;
