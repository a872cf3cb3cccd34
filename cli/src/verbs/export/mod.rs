//! `qads export`: the figures of all rings, over HTTP, for Prometheus.

mod http;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::time::{Duration, Instant};

use prometheus::{Encoder, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use crate::failure::{Failure, Outcome, failed};
use crate::verbs::ls::kind_word;
use crate::verbs::processes::{self, Doing};
use crate::verbs::rings::{self, Health, Ring};
use crate::verbs::signals::Stop;

const EXAMPLES: &str = "\
Examples:
  qads export                                  on 127.0.0.1:9644, at /metrics
  qads export --prometheus 127.0.0.1:0         on a free port, which is printed
  qads export --prometheus 0.0.0.0:9644        for everybody who can reach this machine
  qads export --once                           print the metrics and end

Rates come from rate(qads_position_total[1m]) and the like. A ring is labelled with its name, a reader with the
number of its entry, its kind and its pid.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 stopped with Ctrl-C.";

/// A server that is told to end does so; until then there is nothing to do here.
const SLICE: Duration = Duration::from_secs(3600);

/// Serve the figures of all rings to Prometheus
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ExportArguments {
    /// Where to listen: this machine only, unless told otherwise
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9644")]
    prometheus: String,
    /// Print the metrics once instead
    #[arg(long)]
    once: bool,
}

pub fn run(arguments: &ExportArguments) -> Outcome {
    if arguments.once {
        return Ok(io::stdout().lock().write_all(&metrics()?)?);
    }
    let stop = Stop::on_signals()?;
    let address = &arguments.prometheus;
    let addresses: Vec<SocketAddr> = address
        .to_socket_addrs()
        .map_err(|error| {
            let wanted = "write HOST:PORT, as 127.0.0.1:9644 or [::1]:9644";
            Failure::Usage(format!("'{address}' is no address to listen on ({error}); {wanted}"))
        })?
        .collect();
    let listener = TcpListener::bind(addresses.as_slice())
        .map_err(|error| failed(format!("cannot listen on {address}: {error}")))?;
    let mut out = io::stdout().lock();
    writeln!(out, "http://{}/metrics", listener.local_addr()?)?;
    out.flush()?;
    std::thread::spawn(move || http::serve(&listener, metrics));
    loop {
        stop.sleep_until(Instant::now() + SLICE)?;
    }
}

/// All metrics, in the text format.
fn metrics() -> Outcome<Vec<u8>> {
    let rings = rings::survey(&[])?;
    let figures = Figures::new().map_err(failed)?;
    for ring in &rings {
        figures.add(ring);
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&figures.registry.gather(), &mut text).map_err(failed)?;
    Ok(text)
}

/// A fresh set of figures: a ring that is gone leaves none behind.
struct Figures {
    registry: Registry,
    up: IntGaugeVec,
    position: IntCounterVec,
    messages: IntCounterVec,
    bytes: IntCounterVec,
    lease_skips: IntCounterVec,
    wake_ups: IntCounterVec,
    epoch: IntCounterVec,
    committed: IntGaugeVec,
    slots: IntGaugeVec,
    sleepers: IntGaugeVec,
    blocked: IntGaugeVec,
    readers: IntGaugeVec,
    reader_lag: IntGaugeVec,
    reader_consumed: IntCounterVec,
    reader_lost: IntCounterVec,
    reader_overruns: IntCounterVec,
    reader_timeouts: IntCounterVec,
    reader_leases: IntGaugeVec,
    reader_asleep: IntGaugeVec,
}

impl Figures {
    fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let labels = &["ring"][..];
        let reader = &["ring", "reader", "kind", "pid"][..];
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok::<_, prometheus::Error>(vec)
        };
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let vec = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok::<_, prometheus::Error>(vec)
        };
        Ok(Self {
            up: gauge("qads_writer_alive", "1 if the ring has a live writer.", labels)?,
            position: counter("qads_position_total", "Positions published.", labels)?,
            messages: counter("qads_messages_total", "Messages published.", labels)?,
            bytes: counter("qads_bytes_total", "Bytes of the messages published.", labels)?,
            lease_skips: counter(
                "qads_lease_skips_total",
                "Positions that the writer passed over because a reader had leased the slot.",
                labels,
            )?,
            wake_ups: counter("qads_wake_ups_total", "Wake-ups of sleeping readers.", labels)?,
            epoch: counter("qads_writers_total", "Writers that the ring has had.", labels)?,
            committed: gauge("qads_committed_bytes", "Memory that the ring takes.", labels)?,
            slots: gauge("qads_slots", "Slots of the ring.", labels)?,
            sleepers: gauge("qads_sleepers", "1 if a reader may be asleep.", labels)?,
            blocked: gauge(
                "qads_writer_blocked",
                "1 if the writer waits for a lossless reader.",
                labels,
            )?,
            readers: gauge("qads_readers", "Registered readers.", labels)?,
            reader_lag: gauge("qads_reader_lag", "Positions not yet consumed.", reader)?,
            reader_consumed: counter("qads_reader_consumed_total", "Messages consumed.", reader)?,
            reader_lost: counter("qads_reader_lost_total", "Messages lost.", reader)?,
            reader_overruns: counter("qads_reader_overruns_total", "Times lapped.", reader)?,
            reader_timeouts: counter(
                "qads_reader_timeouts_total",
                "Reads that ended without a message.",
                reader,
            )?,
            reader_leases: gauge("qads_reader_leases", "Slots leased.", reader)?,
            reader_asleep: gauge(
                "qads_reader_asleep",
                "1 if all threads of the reader's process sleep.",
                reader,
            )?,
            registry,
        })
    }

    fn add(&self, ring: &Ring) {
        let labels = &[ring.name.as_str()];
        // Prometheus counts in 64 bits with a sign.
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let alive = ring.health() == Health::Alive;
        self.up.with_label_values(labels).set(i64::from(alive));
        let Ok(seen) = &ring.seen else { return };
        self.committed.with_label_values(labels).set(signed(seen.committed_bytes));
        // What a damaged header says is no figure.
        let Some(header) = seen.header.filter(|_| seen.faults.is_empty()) else { return };
        self.position.with_label_values(labels).inc_by(header.published);
        self.messages.with_label_values(labels).inc_by(header.message_count);
        self.bytes.with_label_values(labels).inc_by(header.message_bytes);
        self.lease_skips.with_label_values(labels).inc_by(header.lease_skips());
        self.wake_ups.with_label_values(labels).inc_by(header.wake_sequence.into());
        self.epoch.with_label_values(labels).inc_by(seen.writer.epoch);
        self.slots.with_label_values(labels).set(signed(header.slot_count));
        if let Ok(control) = &seen.control {
            self.sleepers.with_label_values(labels).set(control.may_be_asleep.into());
            self.blocked.with_label_values(labels).set(control.writer_blocked.into());
        }
        if let Some(count) = ring.reader_count() {
            self.readers.with_label_values(labels).set(count as i64);
        }
        for reader in ring.readers() {
            let entry = reader.index.to_string();
            let pid = reader.process.pid.to_string();
            let labels = &[ring.name.as_str(), &entry, kind_word(reader.kind), &pid];
            self.reader_lag.with_label_values(labels).set(signed(reader.lag));
            self.reader_consumed.with_label_values(labels).inc_by(reader.consumed);
            self.reader_lost.with_label_values(labels).inc_by(reader.lost);
            self.reader_overruns.with_label_values(labels).inc_by(reader.overruns);
            self.reader_timeouts.with_label_values(labels).inc_by(reader.timeouts);
            self.reader_leases.with_label_values(labels).set(reader.lease_count() as i64);
            let asleep = processes::doing(reader.process.pid) == Doing::Asleep;
            self.reader_asleep.with_label_values(labels).set(asleep.into());
        }
    }
}
