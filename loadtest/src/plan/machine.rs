//! What this machine grants, read from the kernel; and who listens on a port of it.
//!
//! Reads only, but for one thing: the soft limit of file descriptors is raised to the hard one, which needs no right.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use crate::engine::ramp::Endpoint;
use crate::plan::Machine;
use crate::watch::sample::parse_kib;

/// Where a run was made, for whoever compares it with another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Environment {
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The CPU's name, as the kernel has it.
    pub(crate) cpu: String,
    /// CPUs that this process may use.
    pub(crate) cpus: usize,
}

impl Environment {
    /// This machine.
    pub(crate) fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        let cpu = model.and_then(|rest| rest.split_once(':')).map_or("", |(_, name)| name.trim());
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: cpu.to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl Machine {
    /// This machine, with every file descriptor that it lets this process have.
    pub(crate) fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            fds_max: raise_fd_limit(),
            ports: parse_pair(&read("/proc/sys/net/ipv4/ip_local_port_range"))
                .unwrap_or((32_768, 60_999)),
            memory_bytes: parse_available(&read("/proc/meminfo")).unwrap_or(u64::MAX),
            backlog_max: read("/proc/sys/net/core/somaxconn").trim().parse().unwrap_or(4096),
        }
    }
}

/// Raises the soft limit to the hard one; returns what holds then.
fn raise_fd_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // Failing leaves the soft limit as it was, which is then the limit.
    let raised =
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let holds = if raised.is_ok() { limit.maximum } else { limit.current };
    holds.unwrap_or(u64::MAX)
}

fn parse_pair(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// MemAvailable of /proc/meminfo, in bytes.
fn parse_available(meminfo: &str) -> Option<u64> {
    parse_kib(meminfo, "MemAvailable:")
}

/// The processes that listen on `endpoint`, this one excepted. Empty: it is on another machine, or belongs to another
/// user, whose descriptors can't be seen.
pub(crate) fn listeners(endpoint: &Endpoint) -> Vec<u32> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let inodes = match endpoint {
        // Only an address of this machine can be bound.
        Endpoint::Tcp(addr) | Endpoint::Tls(addr, _) if UdpSocket::bind((addr.ip(), 0)).is_ok() => {
            let mut inodes = listening_inodes(&read("/proc/net/tcp"), *addr);
            inodes.extend(listening_inodes(&read("/proc/net/tcp6"), *addr));
            inodes
        }
        Endpoint::Tcp(_) | Endpoint::Tls(..) => return Vec::new(),
        Endpoint::Unix(path) => unix_listening_inodes(&read("/proc/net/unix"), path),
    };
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let own = std::process::id();
    pids.filter(|&pid: &u32| pid != own && holds_socket(pid, &inodes)).collect()
}

/// The inodes of sockets that accept connections to `addr`, from /proc/net/tcp or tcp6.
fn listening_inodes(table: &str, addr: SocketAddr) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (ip, port) = parse_address(fields.get(1)?)?;
        let accepts = ip.is_unspecified() || ip == addr.ip();
        let listens = *fields.get(3)? == LISTEN && port == addr.port() && accepts;
        if listens { fields.get(9)?.parse().ok() } else { None }
    };
    table.lines().filter_map(inode).collect()
}

/// The inodes of Unix sockets that accept connections to `path`, from /proc/net/unix.
fn unix_listening_inodes(table: &str, path: &Path) -> Vec<u64> {
    /// `__SO_ACCEPTCON`, the flag of a socket that listens.
    const LISTENS: &str = "00010000";
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let listens = *fields.get(3)? == LISTENS && Path::new(fields.get(7)?) == path;
        if listens { fields.get(6)?.parse().ok() } else { None }
    };
    table.lines().filter_map(inode).collect()
}

/// An address as the kernel prints it: words in the machine's byte order, then the port.
fn parse_address(text: &str) -> Option<(IpAddr, u16)> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    if ip.len() == 8 {
        let word = u32::from_str_radix(ip, 16).ok()?;
        return Some((Ipv4Addr::from(word.to_ne_bytes()).into(), port));
    }
    let mut bytes = [0; 16];
    for (at, word) in bytes.chunks_exact_mut(4).enumerate() {
        let digits = ip.get(at * 8..at * 8 + 8)?;
        word.copy_from_slice(&u32::from_str_radix(digits, 16).ok()?.to_ne_bytes());
    }
    Some((Ipv6Addr::from(bytes).to_canonical(), port))
}

fn holds_socket(pid: u32, inodes: &[u64]) -> bool {
    let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).any(|link| {
        let inode = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']'));
        inode.and_then(|inode| inode.parse().ok()).is_some_and(|inode| inodes.contains(&inode))
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn limits_parse_as_the_kernel_prints_them() {
        assert_eq!(parse_pair("32768\t60999\n"), Some((32_768, 60_999)));
        assert_eq!(parse_pair("32768"), None);
        let meminfo = "MemTotal:       24684084 kB\nMemAvailable:   24122776 kB\n";
        assert_eq!(parse_available(meminfo), Some(24_122_776 * 1024));
        assert_eq!(parse_available("MemTotal: 1 kB"), None);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn listening_sockets_are_found_by_address_and_port() {
        let table = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:07E8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1677 1 0 100 0 0 10 0
   1: 0100007F:1F42 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1678 1 0 100 0 0 10 0
   2: 0100007F:1F42 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 1679 1 0 100 0 0 10 0
";
        let found = |addr: &str| listening_inodes(table, addr.parse().unwrap());
        assert_eq!(found("127.0.0.1:8002"), [1678]);
        assert!(found("127.0.0.2:8002").is_empty());
        assert_eq!(found("127.0.0.9:2024"), [1677]);
        let table6 = "   0: 00000000000000000000000001000000:1F42 0:0 0A 0:0 0:0 0 0 0 77 1\n";
        assert_eq!(listening_inodes(table6, "[::1]:8002".parse().unwrap()), [77]);
        let mapped = "   0: 0000000000000000FFFF00000100007F:1F42 0:0 0A 0:0 0:0 0 0 0 78 1\n";
        assert_eq!(listening_inodes(mapped, "127.0.0.1:8002".parse().unwrap()), [78]);
    }

    #[test]
    fn this_process_holds_its_own_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let inodes = listening_inodes(&table, addr);
        assert_eq!(inodes.len(), 1);
        assert!(holds_socket(std::process::id(), &inodes));
        assert!(listeners(&Endpoint::Tcp(addr)).is_empty());
        assert!(listeners(&Endpoint::Tcp("192.0.2.1:80".parse().unwrap())).is_empty());
    }

    #[test]
    fn listening_unix_sockets_are_found_by_path() {
        let table = "\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 41 /run/s.sock
0000000000000000: 00000003 00000000 00000000 0001 03 42 /run/s.sock
0000000000000000: 00000002 00000000 00010000 0001 01 43 /run/other.sock
";
        assert_eq!(unix_listening_inodes(table, Path::new("/run/s.sock")), [41]);
    }
}
