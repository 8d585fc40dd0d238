//! The `wsfast` binary: flags to configuration to a running server, and its exit codes.

mod app;
mod cli;
mod client;

use std::process::ExitCode;
use std::sync::mpsc;

use wsfast::{Ended, Error, Listen, Server, Side};

use crate::app::admin::Admin;
use crate::app::admin::logs;
use crate::app::admin::logs::LogLevel;
use crate::app::config::{Config, SaidBy};
use crate::app::gate::Gate;
use crate::app::gate::access::Reach;
use crate::app::hub::Hub;
use crate::app::process::dev_cert::DevCert;
use crate::app::process::handover::{Left, Signals, Successor};
use crate::app::process::inherited::{KnownAs, LeftSocket};
use crate::app::process::reload::{self, Checked, Running};
use crate::app::process::start_up::{Announcement, StartError, announce, complain, print};
use crate::app::process::{descriptors, handover, inherited, memory, stdin, tls_files};
use crate::cli::Instead;

fn main() -> ExitCode {
    let code = run();
    logs::finish();
    code
}

/// Does what the arguments ask for.
fn run() -> ExitCode {
    let config = match cli::parse(std::env::args_os()) {
        Ok(config) => config,
        Err(Instead::Page(page)) => {
            // Nobody may be reading.
            let _ = page.print();
            return ExitCode::SUCCESS;
        }
        Err(Instead::Text(page)) => {
            print(&page);
            return ExitCode::SUCCESS;
        }
        Err(Instead::Check(config)) => return check(&config),
        Err(Instead::DevCert(dev_cert)) => return make_dev_cert(&dev_cert),
        Err(Instead::Pub(publish)) => return publish.run(),
        Err(Instead::Sub(sub)) => return sub.run(),
        Err(Instead::Usage(error)) => {
            complain(&error);
            return ExitCode::from(NOT_STARTED);
        }
    };
    let signals = Signals::block();
    if config.memory_limit.is_some() {
        memory::keep_large_apart();
    }
    let log_level = match logs::start(config.log, config.memory_limit) {
        Ok(log_level) => log_level,
        Err(error) => {
            complain(&format_args!("no thread for the log: {error}"));
            return ExitCode::from(NOT_STARTED);
        }
    };
    let places = config.places.clone();
    // Before anything else is opened.
    let left = match handover::receive() {
        Ok(left) => left,
        Err(error) => {
            complain(&error);
            return ExitCode::FAILURE;
        }
    };
    // Who had been serving has failed while it ran.
    let failed = if left.is_some() { ExitCode::FAILURE } else { ExitCode::from(NOT_STARTED) };
    match start(config, log_level, left) {
        Ok(started) => serve(started, signals),
        Err(error) => {
            complain(&places.blame(error.flag(), &error));
            failed
        }
    }
}

/// A server, and what it takes to restart it.
struct Started {
    server: Server<Hub>,
    successor: Successor,
    /// What it listens on, in its order.
    known: Vec<KnownAs>,
}

/// Serves to the end, be it by a new binary.
fn serve(started: Started, signals: Signals) -> ExitCode {
    let Started { mut server, successor, known } = started;
    loop {
        signals.unblock();
        let ended = server.run();
        signals.block_again();
        match ended {
            Ok(Ended::HandOver) if server.is_told_to_end() => {}
            Ok(Ended::HandOver) => successor.execute(&server, &known),
            Ok(ended) => return exit_code(ended),
            Err(error) => {
                complain(&error);
                return ExitCode::FAILURE;
            }
        }
    }
}

/// Binds, and says so. Signals are in hand before the line that scripts wait for appears.
///
/// `left`: what an earlier image of this program was serving.
fn start(config: Config, log_level: LogLevel, left: Option<Left>) -> Result<Started, StartError> {
    let Checked { memory, certificate: pair, credentials } = Checked::new(&config)?;
    let Config {
        listening,
        mut limits,
        json,
        memory_limit,
        peers_asked,
        origins,
        stdin,
        places,
        settings,
        ..
    } = config;
    limits.memory = memory;
    let said_by = listening.said_by;
    // Before anything stays open, while the numbers of inherited descriptors can be nobody else's.
    let certificate = pair.as_ref().map(|pair| &pair.config);
    let (mut left_listeners, left) = match left {
        Some(Left { listeners, state, connections }) => (listeners, Some((state, connections))),
        None => (Vec::new(), None),
    };
    let heard = inherited::listens(listening, certificate, &mut left_listeners)?;
    left_listeners.into_iter().for_each(LeftSocket::forget);
    let mut known: Vec<KnownAs> = heard.iter().map(KnownAs::new).collect();
    let (asks, listens): (Vec<_>, Vec<_>) = heard.into_iter().map(|it| (it.ask, it.listen)).unzip();
    let descriptors = descriptors::raise_limit();
    let peers_max = descriptors::peers_max(descriptors, peers_asked, limits.peers_max)?;
    limits.peers_max = peers_max;
    let line_bytes_max = limits.message_bytes_max.min(limits.topics.topic_bytes_max);

    let sides: Vec<Side> = listens.iter().map(|it| it.side).collect();
    let reach_of = |it: &Listen| Reach::new(inherited::ip(it), it.proxy.is_some());
    let of_clients = listens.iter().filter(|it| it.side == Side::Public);
    let reach = of_clients.map(reach_of).max().unwrap_or(Reach::Network);
    let admin_listen = listens.iter().find(|it| it.side == Side::Admin);
    let admin = admin_listen.map(|it| Admin::new(reach_of(it)));
    let gate = Gate::new(reach, origins, credentials.clone());
    let open_to = gate.to_string();
    let (renew, renewals) = mpsc::channel();
    let hub = Hub::new(gate, &limits, json, admin, renewals);
    let named = |error| match error {
        Error::Listen { index, cause, .. } => {
            let said_by = if sides[index] == Side::Admin { SaidBy::Admin } else { said_by };
            StartError::Listen { what: asks[index].clone(), said_by, cause }
        }
        error => StartError::Server(error),
    };
    let takes_over = left.is_some();
    let mut server = match left {
        None => Server::listen(listens, limits, hub).map_err(named)?,
        Some((mut state, connections)) => {
            let taken_over = Server::take_over(listens, limits, hub, &mut state, connections);
            let (server, left_out) = taken_over.map_err(named)?;
            leave_out(left_out, &mut known, named);
            server
        }
    };
    server.drain_on_signals()?;
    let successor = Successor::of_this_program();
    let keeps = stdin.is_some().then_some(handover::READS_STDIN);
    successor.await_signal(server.remote(), keeps).map_err(Error::Poll)?;
    let running = Running {
        file: places.file().map(Into::into),
        read: cli::parse_again,
        settings,
        credentials,
        memory_limit,
        descriptors,
        reach,
        certificate: pair.map(tls_files::Watch::new),
        log_level,
        renew,
        remote: server.remote(),
    };
    reload::watch(running).map_err(Error::Poll)?;
    if let Some(topic) = stdin {
        stdin::publish(topic, server.remote(), line_bytes_max).map_err(Error::Poll)?;
    }
    if takes_over {
        tell_taken_over(&server);
        return Ok(Started { server, successor, known });
    }
    let (addresses, admin) =
        server.local_addrs().split_at(sides.iter().filter(|&&it| it == Side::Public).count());
    announce(&Announcement {
        addresses,
        admin: admin.first(),
        access: &open_to,
        peers_max,
        descriptors,
    })
    .map_err(Error::Poll)?;
    Ok(Started { server, successor, known })
}

/// Goes on without what cannot be listened on.
fn leave_out(errors: Vec<Error>, known: &mut Vec<KnownAs>, named: impl Fn(Error) -> StartError) {
    // From the last, so that the places of the others stay.
    for error in errors.into_iter().rev() {
        if let Error::Listen { index, .. } = error {
            known.remove(index);
        }
        tracing::error!("{}", named(error));
    }
}

/// One line: who went on, who did not, and for how long nobody was served.
fn tell_taken_over(server: &Server<Hub>) {
    let Some(taken_over) = server.taken_over() else { return };
    let wsfast::Ending { tls, compressed, other, .. } = taken_over.ended;
    tracing::info!(
        connections = taken_over.connections,
        ended_tls = tls,
        ended_compressed = compressed,
        ended_other = other,
        stall_ms = taken_over.stall_us() as f64 / 1000.0,
        version = env!("CARGO_PKG_VERSION"),
        "restarted"
    );
}

/// Tries what `start` would need, short of the sockets and the descriptors, which are the starting process' to have.
fn check(config: &Config) -> ExitCode {
    let answer = handover::answer_if_asked();
    let checked = || -> Result<(), StartError> {
        Checked::new(config)?;
        if answer.is_some() {
            // Its descriptors are those of who asks.
            let (asked, peers_max) = (config.peers_asked, config.limits.peers_max);
            descriptors::peers_max(descriptors::raise_limit(), asked, peers_max)?;
        }
        Ok(())
    };
    match checked() {
        Ok(()) => {
            print(&"a server can be started with this\n");
            if let Some(answer) = answer {
                print(&format!("{answer}\n"));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&config.places.blame(error.flag(), &error));
            ExitCode::from(NOT_STARTED)
        }
    }
}

fn make_dev_cert(dev_cert: &DevCert) -> ExitCode {
    match dev_cert.write() {
        Ok(written) => {
            print(&written);
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            ExitCode::from(NOT_STARTED)
        }
    }
}

fn exit_code(ended: Ended) -> ExitCode {
    match ended {
        Ended::DrainTimedOut(connections) => {
            tracing::warn!(connections, "the drain deadline came; connections were cut");
            ExitCode::SUCCESS
        }
        Ended::Signalled(signal) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        // `Ended` is non-exhaustive; `Drained` and `Stopped` are what was asked for.
        _ => ExitCode::SUCCESS,
    }
}

/// Bad flags, or something that the server cannot start without.
const NOT_STARTED: u8 = 2;
