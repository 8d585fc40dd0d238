//! What the standalone server does: its handlers, who may reach them, and what it takes from the process.

pub(crate) mod access;
pub(crate) mod descriptors;
pub(crate) mod dev_cert;
pub(crate) mod echo;
pub(crate) mod inherited;
pub(crate) mod logs;
pub(crate) mod start_up;
pub(crate) mod tls_files;
