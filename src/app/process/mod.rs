//! What the server takes from its process and gives back: memory, descriptors, files, standard input, a successor.
//!
//! Serves nobody: that is the handlers'.

pub(crate) mod descriptors;
pub(crate) mod dev_cert;
pub(crate) mod handover;
pub(crate) mod heap;
pub(crate) mod inherited;
pub(crate) mod lines;
pub(crate) mod memory;
pub(crate) mod outlet;
pub(crate) mod reload;
pub(crate) mod residue;
pub(crate) mod start_up;
pub(crate) mod stdin;
pub(crate) mod tls_files;
