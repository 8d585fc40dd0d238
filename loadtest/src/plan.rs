//! The plan: what the flags ask for, checked against what this machine has, before anything is opened.
//!
//! What cannot work is refused with the number that is missing and the command that would fix it. The plan is not
//! changed to fit: a run that measured something other than what was asked for would be worth nothing.

pub(crate) mod broadcast;
pub(crate) mod machine;
pub(crate) mod target;

use std::net::{IpAddr, Ipv4Addr};

use crate::cli::{Args, Arrival, Mode, ServerPid, Source, Stamping, Verify};
use crate::engine::ramp::Endpoint;
use crate::judge::payload::Filling;
use crate::plan::broadcast::{BroadcastPlan, Envelope};
use crate::plan::target::{
    BROADCAST_URL, DEFAULT_URL, Place, Scheme, Target, is_loopback_v4, resolve,
};
use crate::time::live::Phase;
use crate::time::schedule::Rate;
use crate::units::{as_ns, bytes, count};
use crate::wire::tls::{Connector, Trust};

/// A run that can start.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// What is loaded.
    pub(crate) target: Target,
    /// What to connect to.
    pub(crate) endpoint: Endpoint,
    /// True: any certificate was accepted, so that nobody knows who answered.
    pub(crate) insecure: bool,
    /// Whether compression is offered, and payloads are such that it pays.
    pub(crate) compression: bool,
    /// How messages are paced.
    pub(crate) load: LoadPlan,
    /// Connections to open.
    pub(crate) conns: u32,
    /// Addresses to connect from, in turns of [`CONNS_PER_SOURCE`]; empty: the kernel picks one.
    pub(crate) sources: Vec<IpAddr>,
    /// Payload bytes of a message.
    pub(crate) size: usize,
    /// Whether messages are text, else binary.
    pub(crate) text: bool,
    /// What of a reply is proved.
    pub(crate) verify: Verify,
    /// Load before the measurement.
    pub(crate) warmup_ns: u64,
    /// The measurement.
    pub(crate) duration_ns: u64,
    /// A reply slower than this is late.
    pub(crate) timeout_ns: u64,
    /// How long the last replies are waited for, and how far this client may fall behind.
    pub(crate) drain_ns: u64,
    /// When messages of an open loop are due.
    pub(crate) arrival: Arrival,
    /// Messages of it that are due at once.
    pub(crate) burst: u32,
    /// Connections opened a second at most.
    pub(crate) connect_rate: Option<Rate>,
    /// Connections being opened at any time.
    pub(crate) connect_window: usize,
    /// How long opening one may take.
    pub(crate) connect_timeout_ns: u64,
    /// Connections replaced a second, while messages flow.
    pub(crate) churn: Option<Rate>,
    /// Whether the kernel is to say when it received what a read brings.
    pub(crate) is_stamped: bool,
    /// Further header fields of the upgrade request.
    pub(crate) headers: Vec<(String, String)>,
    /// The upgrade request's Origin.
    pub(crate) origin: Option<String>,
    /// Subprotocols offered.
    pub(crate) subprotocols: Vec<String>,
    /// Which process is the server.
    pub(crate) server_pid: ServerPid,
    /// What was found enough of, for the report.
    pub(crate) room: Room,
}

/// How messages are paced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LoadPlan {
    /// Open loop at this rate over all connections.
    Echo(Rate),
    /// Closed loop, this many messages under way on each connection.
    Throughput(u32),
    /// Open loop: publishers publish, subscribers listen.
    Broadcast(Box<BroadcastPlan>),
    /// Nothing is said.
    Connect,
    /// Nothing is said but a Ping on each connection at the end.
    Idle,
}

/// What a machine grants a process, as far as a plan can fail on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// The hard limit of file descriptors.
    pub(crate) fds_max: u64,
    /// The first and the last port that connect(2) may pick.
    pub(crate) ports: (u16, u16),
    /// Memory that can be had without swapping, in bytes.
    pub(crate) memory_bytes: u64,
    /// The longest queue of connections that listen(2) grants.
    pub(crate) backlog_max: u64,
}

/// What the plan needs and the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// File descriptors needed.
    pub(crate) fds: u64,
    /// The machine.
    pub(crate) machine: Machine,
    /// Connections to the target that the sources have ports for, at the kernel's full speed.
    ///
    /// connect(2) looks through every second port first: past half of the range it searches long. Measured with one
    /// source, the connect rate falls from about 40,000 to 1,000 a second at connection 14,116.
    ///
    /// `None`: a Unix socket, which takes none.
    pub(crate) fast_ports: Option<u64>,
}

/// Connections from one source address, within the fast half of the default port range (14,116).
pub(crate) const CONNS_PER_SOURCE: u32 = 12_000;

/// File descriptors other than connections: poll, timer, standard streams, what the sampler opens.
pub(crate) const FDS_RESERVED: u64 = 16;

impl Machine {
    /// How many ports one source has towards one target.
    fn ports_per_source(&self) -> u64 {
        u64::from(self.ports.1.saturating_sub(self.ports.0)) + 1
    }
}

impl Plan {
    /// Turns `args` into a plan for `machine`.
    ///
    /// # Errors
    ///
    /// One line: what does not work, and what would.
    pub(crate) fn new(args: &Args, machine: Machine) -> Result<Self, String> {
        let default = if args.mode == Mode::Broadcast { BROADCAST_URL } else { DEFAULT_URL };
        let target = Target::parse(args.url.as_deref().unwrap_or(default))?;
        let target = target.overridden(args.host.as_deref(), args.port, args.path.as_deref())?;
        let endpoint = endpoint(args, &target.place)?;
        let load = load_plan(args, &target.path)?;
        let conns = load.conns(args.conns);
        if args.duration.is_zero() {
            return Err("--duration 0 measures nothing; try --duration 10s".to_owned());
        }
        if args.connect_timeout.is_zero() {
            return Err("--connect-timeout 0 opens nothing; try 10s".to_owned());
        }
        let sources = sources(args, conns, &endpoint)?;
        let mut room = room(conns, &endpoint, sources.len(), machine);
        room.fds += churn_fds(args);
        check_room(args, conns, &endpoint, &load, &room)?;
        let timeout_ns = as_ns(args.timeout);
        let is_stamped = is_stamped(args.kernel_timestamps, &load);
        // Protocols that wrap messages are protocols of text, unless they are said not to be.
        let text = args.text || load.envelope() == Envelope::Unknown && !args.binary;
        Ok(Self {
            target,
            endpoint,
            insecure: args.insecure,
            compression: args.compression,
            load,
            conns,
            sources,
            size: args.size,
            text,
            verify: args.verify,
            warmup_ns: as_ns(args.warmup),
            duration_ns: as_ns(args.duration),
            timeout_ns,
            drain_ns: args.drain.map_or(timeout_ns, as_ns),
            arrival: args.arrival,
            burst: args.burst(),
            connect_rate: connect_rate(args)?,
            connect_window: usize::try_from(args.connect_window).unwrap_or(usize::MAX),
            connect_timeout_ns: as_ns(args.connect_timeout),
            churn: churn(args)?,
            is_stamped,
            headers: args.headers.clone(),
            origin: args.origin.clone(),
            subprotocols: args.subprotocols.clone(),
            server_pid: args.server_pid,
            room,
        })
    }

    /// The address that connection `index` comes from.
    pub(crate) fn source(&self, index: u32) -> Option<IpAddr> {
        let turn = usize::try_from(index / CONNS_PER_SOURCE).unwrap_or_default();
        self.sources.get(turn).or(self.sources.last()).copied()
    }

    /// What payloads are made of.
    pub(crate) fn filling(&self) -> Filling {
        match (self.compression, self.text) {
            _ if self.load.envelope() == Envelope::Unknown => Filling::Letters,
            (true, _) => Filling::Words,
            (false, true) => Filling::Ascii,
            (false, false) => Filling::Bytes,
        }
    }

    /// The phases that the server's and this client's CPU time are told of: from the first on, before the second.
    pub(crate) fn window(&self) -> (Phase, Phase) {
        match self.load {
            LoadPlan::Connect => (Phase::Connect, Phase::Drain),
            LoadPlan::Idle => (Phase::Hold, Phase::Warmup),
            LoadPlan::Echo(_) | LoadPlan::Throughput(_) | LoadPlan::Broadcast(_) => {
                (Phase::Measure, Phase::Drain)
            }
        }
    }

    /// The mode's name, as `--mode` takes it.
    pub(crate) fn mode_name(&self) -> &'static str {
        match self.load {
            LoadPlan::Echo(_) => "echo",
            LoadPlan::Throughput(_) => "throughput",
            LoadPlan::Broadcast(_) => "broadcast",
            LoadPlan::Connect => "connect",
            LoadPlan::Idle => "idle",
        }
    }
}

impl LoadPlan {
    /// All connections, of which `asked_for` do the listening.
    fn conns(&self, asked_for: u32) -> u32 {
        match self {
            Self::Echo(_) | Self::Throughput(_) | Self::Connect | Self::Idle => asked_for,
            Self::Broadcast(broadcast) => broadcast.conns(),
        }
    }

    /// What messages come wrapped in.
    fn envelope(&self) -> Envelope {
        match self {
            Self::Echo(_) | Self::Throughput(_) | Self::Connect | Self::Idle => Envelope::None,
            Self::Broadcast(broadcast) => broadcast.envelope,
        }
    }
}

/// What `place` resolves to, and whom to trust there; no flag that would be ignored.
fn endpoint(args: &Args, place: &Place) -> Result<Endpoint, String> {
    let trust = match (&args.cacert, args.insecure) {
        (_, true) => Trust::Anyone,
        (Some(path), false) => Trust::File(path),
        (None, false) => Trust::System,
    };
    match place {
        Place::Tcp { scheme: Scheme::Wss, host, port } => {
            let connector = Connector::new(host, trust)?;
            Ok(Endpoint::Tls(resolve(host, *port)?, connector))
        }
        _ if trust != Trust::System => {
            Err("--cacert and --insecure have no meaning without TLS: use a wss:// URL".to_owned())
        }
        Place::Tcp { scheme: Scheme::Ws, host, port } => Ok(Endpoint::Tcp(resolve(host, *port)?)),
        Place::Unix(path) => Ok(Endpoint::Unix(path.clone())),
    }
}

/// The pace that the flags ask for, and no flag that this mode would ignore.
fn load_plan(args: &Args, path: &str) -> Result<LoadPlan, String> {
    if args.mode != Mode::Broadcast {
        broadcast::refuse_flags(args)?;
    }
    let is_open_loop = matches!(args.mode, Mode::Echo | Mode::Broadcast);
    if !is_open_loop && (args.arrival != Arrival::Constant || args.burst.is_some()) {
        return Err("--arrival and --burst need an open loop: --mode echo or broadcast".to_owned());
    }
    if args.arrival == Arrival::Poisson && args.burst.is_some() {
        return Err("--burst has no meaning with --arrival poisson; use --arrival burst".to_owned());
    }
    match args.mode {
        Mode::Broadcast => {
            if args.pipeline.is_some() {
                return Err("--pipeline has no meaning with --mode broadcast".to_owned());
            }
            Ok(LoadPlan::Broadcast(Box::new(BroadcastPlan::new(args, path)?)))
        }
        Mode::Throughput => {
            if args.rate.is_some() || args.rate_per_conn.is_some() {
                return Err(
                    "--rate has no meaning with --mode throughput; use --mode echo".to_owned()
                );
            }
            Ok(LoadPlan::Throughput(args.pipeline.unwrap_or(1)))
        }
        Mode::Echo => {
            if args.pipeline.is_some() {
                return Err(
                    "--pipeline has no meaning with --mode echo; use --mode throughput".to_owned()
                );
            }
            let per_conn = args.rate_per_conn.unwrap_or(1.0) * f64::from(args.conns);
            let flag = if args.rate.is_some() { "--rate" } else { "--rate-per-conn" };
            Ok(LoadPlan::Echo(rate(args.rate.unwrap_or(per_conn), flag)?))
        }
        Mode::Connect => silent(args, "connect", LoadPlan::Connect),
        Mode::Idle => silent(args, "idle", LoadPlan::Idle),
    }
}

/// A load without messages, and so without what says how many.
fn silent(args: &Args, mode: &str, load: LoadPlan) -> Result<LoadPlan, String> {
    let given = [
        ("--rate", args.rate.is_some()),
        ("--rate-per-conn", args.rate_per_conn.is_some()),
        ("--pipeline", args.pipeline.is_some()),
    ];
    match given.iter().find(|&&(_, is_given)| is_given) {
        Some((flag, _)) => Err(format!(
            "{flag} has no meaning with --mode {mode}, which sends no messages (--connect-rate?)"
        )),
        None => Ok(load),
    }
}

fn rate(per_second: f64, flag: &str) -> Result<Rate, String> {
    Rate::new(per_second)
        .ok_or_else(|| format!("{flag}: from 0.000001 to 10,000,000 messages a second in all"))
}

/// Whether the kernel is to say when it received what a read brings.
fn is_stamped(stamping: Stamping, load: &LoadPlan) -> bool {
    match (stamping, load) {
        (Stamping::Off, _) | (_, LoadPlan::Connect | LoadPlan::Idle) => false,
        // A closed loop is for the rate, which what each read costs more would lower.
        (Stamping::Auto, LoadPlan::Throughput(_)) => false,
        (Stamping::Auto | Stamping::On, _) => true,
    }
}

/// Connections replaced a second.
fn churn(args: &Args) -> Result<Option<Rate>, String> {
    let Some(asked) = args.churn else { return Ok(None) };
    match args.mode {
        Mode::Echo => rate(asked.per_second(args.conns), "--churn").map(Some),
        // What is published while one subscriber takes another's place may reach both, or neither.
        Mode::Broadcast => {
            Err("--churn would lose messages of a broadcast; use --mode echo".to_owned())
        }
        Mode::Connect => Err("--churn needs messages; see --connect-rate".to_owned()),
        Mode::Throughput | Mode::Idle => Err("--churn needs --mode echo".to_owned()),
    }
}

/// File descriptors that connections take which open in place of others, and those that retire.
pub(crate) fn churn_fds(args: &Args) -> u64 {
    args.churn.map_or(0, |_| 2 * u64::from(args.connect_window))
}

/// Connections opened a second at most. What an idle connection costs is read off the server while they come, which
/// takes a ramp that is long enough to be seen.
fn connect_rate(args: &Args) -> Result<Option<Rate>, String> {
    let default = (args.mode == Mode::Idle).then(|| f64::from(args.conns) / IDLE_RAMP_S);
    args.connect_rate.or(default).map(|r| rate(r, "--connect-rate")).transpose()
}

/// How long the ramp of `--mode idle` takes, where nothing else is said.
const IDLE_RAMP_S: f64 = 4.0;

/// The addresses to connect from.
fn sources(args: &Args, conns: u32, endpoint: &Endpoint) -> Result<Vec<IpAddr>, String> {
    let Some(addr) = endpoint.addr() else {
        return match args.source_ip {
            Source::Auto => Ok(Vec::new()),
            Source::Addr(_) => Err("--source-ip has no meaning with a Unix socket".to_owned()),
        };
    };
    match args.source_ip {
        Source::Addr(ip) if ip.is_ipv4() != addr.is_ipv4() => {
            Err(format!("--source-ip {ip} cannot reach {}: they differ in family", addr.ip()))
        }
        Source::Addr(ip) => Ok(vec![ip]),
        Source::Auto if !is_loopback_v4(addr) => Ok(Vec::new()),
        Source::Auto => {
            let turns = conns.div_ceil(CONNS_PER_SOURCE);
            let first = args.source_offset + 1;
            Ok((first..first + turns)
                .map(|n| Ipv4Addr::from_bits(LOOPBACK_NET + n).into())
                .collect())
        }
    }
}

/// 127.0.0.0.
const LOOPBACK_NET: u32 = 127 << 24;

fn room(conns: u32, endpoint: &Endpoint, sources: usize, machine: Machine) -> Room {
    let fds = u64::from(conns) + FDS_RESERVED;
    let fast_ports =
        endpoint.addr().map(|_| machine.ports_per_source() / 2 * sources.max(1) as u64);
    Room { fds, machine, fast_ports }
}

/// Refuses what cannot work.
fn check_room(
    args: &Args,
    conns: u32,
    endpoint: &Endpoint,
    load: &LoadPlan,
    room: &Room,
) -> Result<(), String> {
    let conns = u64::from(conns);
    let machine = &room.machine;
    if room.fds > machine.fds_max {
        let missing = room.fds - machine.fds_max;
        if matches!(load, LoadPlan::Broadcast(_)) {
            return Err(broadcast_past_limit(room));
        }
        let fewer = match machine.fds_max.saturating_sub(FDS_RESERVED + churn_fds(args)) {
            0 => "a smaller --connect-window, which --churn takes twice".to_owned(),
            fits => format!("--conns {fits}"),
        };
        return Err(format!(
            "{} connections need {} file descriptors, {} more than the hard limit of {}: \
             'sudo prlimit --pid $$ --nofile={}' raises it, or use {fewer}",
            count(conns),
            count(room.fds),
            count(missing),
            count(machine.fds_max),
            room.fds,
        ));
    }
    // The fast half is for speed; up to the whole range it works.
    let ports = room.fast_ports.map_or(u64::MAX, |fast| fast * 2);
    if conns > ports {
        return Err(format!(
            "{} connections need as many source ports, {} more than the {} there are: \
             'sudo sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"' widens the range, or use --conns {ports}",
            count(conns),
            count(conns - ports),
            count(ports),
        ));
    }
    let needed = memory_bytes(args, conns, endpoint, load);
    if needed > machine.memory_bytes {
        return Err(format!(
            "{} connections with messages of {} take about {} of memory, {} more than is free: \
             use fewer --conns or a smaller --size",
            count(conns),
            bytes(args.size as u64),
            bytes(needed),
            bytes(needed - machine.memory_bytes),
        ));
    }
    Ok(())
}

/// Why a broadcast is not shared out to workers, as other loads are, and what to do.
fn broadcast_past_limit(room: &Room) -> String {
    let (fds, fds_max) = (room.fds, room.machine.fds_max);
    format!(
        "a broadcast to so many needs {} file descriptors, {} more than this process's hard limit of {}, and it cannot \
         be shared out to worker processes as other modes are: each message's first, median and last delivery, and \
         whom it missed, are known only where all deliveries are counted. 'sudo prlimit --pid $$ --nofile={fds}' \
         raises the limit, {} connections with publishers fit as it is, or run --mode idle -c for the others beside it",
        count(fds),
        count(fds - fds_max),
        count(fds_max),
        count(fds_max.saturating_sub(FDS_RESERVED)),
    )
}

/// A rough upper bound of what the run takes: sockets (both ends, where the server is here), TLS sessions, and messages
/// under way in the kernel's buffers and ours.
fn memory_bytes(args: &Args, conns: u64, endpoint: &Endpoint, load: &LoadPlan) -> u64 {
    const SOCKET_BYTES: u64 = 4 << 10;
    const CONN_BYTES: u64 = 512;
    const SESSION_BYTES: u64 = 16 << 10;
    let (is_here, tls_bytes) = match endpoint {
        Endpoint::Tcp(addr) => (is_loopback_v4(*addr), 0),
        Endpoint::Tls(addr, _) => (is_loopback_v4(*addr), SESSION_BYTES),
        Endpoint::Unix(_) => (true, 0),
    };
    let ends = if is_here { 2 } else { 1 };
    let under_way = match load {
        LoadPlan::Echo(_) | LoadPlan::Broadcast(_) => 1,
        LoadPlan::Throughput(depth) => u64::from(*depth),
        LoadPlan::Connect | LoadPlan::Idle => 0,
    };
    let messages = under_way * args.size as u64 * 2;
    let accounts = match load {
        LoadPlan::Echo(_) | LoadPlan::Throughput(_) | LoadPlan::Connect | LoadPlan::Idle => 0,
        LoadPlan::Broadcast(broadcast) => broadcast.memory_bytes(patience_s(args)),
    };
    let rate = match load {
        LoadPlan::Echo(rate) => Some(*rate),
        LoadPlan::Broadcast(broadcast) => Some(broadcast.rate),
        LoadPlan::Throughput(_) | LoadPlan::Connect | LoadPlan::Idle => None,
    };
    // Even arrivals are computed, random ones are kept.
    let drawn = rate.filter(|_| args.arrival == Arrival::Poisson);
    let span_ns = as_ns(args.warmup.saturating_add(args.duration));
    let drawn_bytes = drawn.map_or(0, |rate| rate.count_in(span_ns).saturating_mul(24));
    let fixed = accounts.saturating_add(drawn_bytes);
    (conns * (CONN_BYTES + ends * (SOCKET_BYTES + tls_bytes) + messages)).saturating_add(fixed)
}

/// How long a broadcast message may be under way.
fn patience_s(args: &Args) -> f64 {
    (args.timeout + args.drain.unwrap_or(args.timeout)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const MACHINE: Machine = Machine {
        fds_max: 20_000,
        ports: (32_768, 60_999),
        memory_bytes: 8 << 30,
        backlog_max: 4096,
    };

    fn plan(line: &str, machine: Machine) -> Result<Plan, String> {
        let words = std::iter::once("loadtest").chain(line.split_whitespace());
        Plan::new(&Args::try_parse_from(words).unwrap(), machine)
    }

    #[test]
    fn ten_thousand_connections_just_work() {
        let plan = plan("--conns 10000 --port 8002", MACHINE).unwrap();
        assert_eq!(plan.target.to_string(), DEFAULT_URL);
        assert_eq!(plan.load, LoadPlan::Echo(Rate::new(10_000.0).unwrap()));
        assert_eq!((plan.room.fds, plan.room.fast_ports), (10_016, Some(14_116)));
        assert_eq!(plan.sources, [IpAddr::from([127, 0, 0, 1])]);
    }

    #[test]
    fn every_twelve_thousand_connections_get_a_source_of_their_own() {
        let plan = plan("-c 19900", MACHINE).unwrap();
        assert_eq!(plan.sources.len(), 2);
        let source = |index| plan.source(index).unwrap();
        assert_eq!(source(0), IpAddr::from([127, 0, 0, 1]));
        assert_eq!(source(11_999), IpAddr::from([127, 0, 0, 1]));
        assert_eq!(source(12_000), IpAddr::from([127, 0, 0, 2]));
        assert_eq!(source(19_899), IpAddr::from([127, 0, 0, 2]));
    }

    #[test]
    fn flags_replace_parts_of_the_url() {
        let named = |line| plan(line, MACHINE).unwrap().target.to_string();
        assert_eq!(named("ws://127.0.0.1:1/a --port 2"), "ws://127.0.0.1:2/a");
        assert_eq!(named("--path chat?x=1"), "ws://127.0.0.1:8002/chat?x=1");
        assert_eq!(named("--host ::1 --path /"), "ws://[::1]:8002/");
        assert_eq!(named("wss://127.0.0.1/a --port 2 --insecure"), "wss://127.0.0.1:2/a");
        assert_eq!(named("ws+unix:/s --path x"), "ws+unix:/s:/x");
    }

    #[test]
    fn what_cannot_work_is_refused_with_number_and_remedy() {
        let roomy = Machine { fds_max: 1 << 20, ..MACHINE };
        let poor = Machine { memory_bytes: 1 << 20, ..MACHINE };
        let table = [
            ("-c 30000", MACHINE, "10,016 more"),
            ("-c 30000", MACHINE, "--nofile=30016"),
            ("-c 30000", MACHINE, "--conns 19984"),
            ("-c 30000 --source-ip 127.0.0.1", roomy, "1,768 more"),
            ("-c 30000 --source-ip 127.0.0.1", roomy, "ip_local_port_range"),
            ("-c 10000", poor, "fewer --conns"),
            ("--source-ip ::1", MACHINE, "--source-ip"),
            ("--mode throughput -r 5", MACHINE, "--mode echo"),
            ("-p 5", MACHINE, "--mode throughput"),
            ("--mode broadcast -p 5", MACHINE, "--pipeline"),
            ("--mode throughput --arrival poisson", MACHINE, "--mode echo"),
            ("--arrival poisson --burst 4", MACHINE, "--arrival burst"),
            ("-r 1000000 -d 1h --arrival poisson", MACHINE, "of memory"),
            ("--mode connect -r 5", MACHINE, "--connect-rate"),
            ("--mode idle --topics 5", MACHINE, "--topics"),
            ("--mode broadcast -c 30000", MACHINE, "10,017 more"),
            ("--mode broadcast -c 1000 -r 100000", poor, "of memory"),
            ("--topics 3", MACHINE, "--mode broadcast"),
            ("--publish-http", MACHINE, "--mode broadcast"),
            ("--churn 5/s --mode broadcast", MACHINE, "--mode echo"),
            ("--churn 5 --mode connect", MACHINE, "--connect-rate"),
            ("-c 19984 --churn 5", MACHINE, "--conns 19856"),
            ("-r 0", MACHINE, "--rate"),
            ("-c 1000000 --rate-per-conn 100", roomy, "--rate-per-conn"),
            ("-d 0", MACHINE, "--duration"),
            ("--insecure", MACHINE, "wss://"),
            ("ws+unix:/s --cacert f", MACHINE, "wss://"),
            ("ws+unix:/s --port 5", MACHINE, "--port"),
            ("ws+unix:/s --host h", MACHINE, "--host"),
            ("ws+unix:/s --source-ip 127.0.0.1", MACHINE, "--source-ip"),
            ("wss://127.0.0.1 --cacert /nowhere.pem", MACHINE, "/nowhere.pem"),
        ];
        for (line, machine, part) in table {
            let message = plan(line, machine).unwrap_err();
            assert!(message.contains(part), "{line}: {message}");
            assert!(!message.contains('\n'), "{line}: {message}");
        }
    }
}
