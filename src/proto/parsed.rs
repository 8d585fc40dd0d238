//! The answer of an incremental parser (the errors are its own).

/// What a parser says about a prefix of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// `T`, and how many bytes of the input it used.
    Done(T, usize),
    /// Nothing was consumed. No progress is possible with fewer than this many bytes in all.
    NeedBytes(usize),
}
