//! What happened since the server was made.

/// What happened since the server was made. Each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// TCP connections accepted.
    pub accepted: u64,
    /// Opening handshakes completed.
    pub opened: u64,
    /// Requests that were no opening handshake, and went to the handler.
    pub requests: u64,
    /// Requests answered with an HTTP error, those below included.
    pub refused: u64,
    /// Connections that got 503, or were cut at once, because `peers_max` was reached.
    pub over_capacity: u64,
    /// Connections that got 503, or were cut at once, because their address had `peers_per_ip_max` of them.
    pub over_per_ip: u64,
    /// Connections that got 429, or were cut at once, and messages that were refused, because they were past a rate.
    pub over_rate: u64,
    /// Requests that were not whole within the handshake timeout (408).
    pub handshakes_timed_out: u64,
    /// Connections dropped because they began with TLS where plain HTTP is spoken.
    pub tls_where_plain: u64,
    /// Connections dropped because they did not begin with the PROXY header that they had to begin with.
    pub proxy_headers_refused: u64,
    /// Connections, requests, messages and publications that were refused, and connections that were cut, for want of memory.
    pub short_of_memory: u64,
    /// Times that accepting paused for want of a descriptor.
    pub accepts_paused: u64,
    /// TLS connections that failed: a breach of TLS, no version or protocol in common, an alert from the client.
    pub tls_failed: u64,
    /// Connections failed for a breach of the protocol.
    pub protocol_errors: u64,
    /// Connections closed because their queue passed `queue_bytes_max`.
    pub overflowed: u64,
    /// Times that a topic's subscriber was too slow for its history and was told so or closed, or went on with the newest message.
    pub gaps: u64,
    /// Connections dropped because the peer did not answer our Close, take what was due, or end TCP in time.
    pub closes_timed_out: u64,
    /// Connections dropped for silence.
    pub silent: u64,
    /// Connections that ended without a closing handshake.
    pub lost: u64,
}

saved!(struct Counters {
    accepted, opened, requests, refused, over_capacity, over_per_ip, over_rate, handshakes_timed_out, tls_where_plain,
    proxy_headers_refused, short_of_memory, accepts_paused, tls_failed, protocol_errors, overflowed, gaps, closes_timed_out,
    silent, lost,
});
