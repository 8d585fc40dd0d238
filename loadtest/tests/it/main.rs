//! The load generator against servers that are right, wrong and stopped.
