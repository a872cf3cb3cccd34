//! `qads bench`, `doctor` and `export`.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use prometheus_parse::{Scrape, Value};
use qadataswap::ReaderOptions;
use qadataswap::observe::Observer;
use support::Scratch;
use support::qads::{Ran, Running, TestRing, command, qads};

#[test]
fn bench_reports_latency_and_throughput() {
    let report = qads(&["bench", "--seconds", "0.05", "--json"]).json();
    let latency = report["latency"].as_array().unwrap();
    assert_eq!(latency.len(), 2);
    for measured in latency {
        let messages = measured["messages"].as_u64().unwrap();
        let bars = measured["histogram"].as_array().unwrap();
        let counted: u64 = bars.iter().map(|bar| bar["messages"].as_u64().unwrap()).sum();
        assert_eq!(counted, messages, "{measured}");
        let at = |name: &str| measured[name].as_u64().unwrap();
        assert!(at("p50_ns") <= at("p99_ns") && at("p99_ns") <= at("max_ns"), "{measured}");
    }
    assert_eq!(report["throughput"].as_array().unwrap().len(), 5);
    let shown = qads(&["bench", "--seconds", "0.02"]).ok();
    assert!(
        shown.contains("latency, reader that spins") && shown.contains("MESSAGES/S"),
        "{shown}"
    );
    qads(&["bench", "--seconds", "0"]).failed(2);
}

#[test]
fn bench_leaves_nothing_when_it_is_stopped() {
    let bench = Running::start(&["bench", "--seconds", "60"]);
    let ring = format!("bench-{}", bench.pid());
    let path = format!("/dev/shm/qads_{ring}");
    support::qads::wait_until(|| fs::exists(&path).unwrap());
    bench.signal(libc::SIGINT);
    assert_eq!(bench.finish().code, Some(130));
    support::assert_nothing_left(&ring);
}

#[test]
fn bench_leaves_nothing_when_it_is_killed() {
    let bench = Running::start(&["bench", "--seconds", "60"]);
    let ring = format!("bench-{}", bench.pid());
    support::qads::await_readers(&ring, 1);
    bench.signal(libc::SIGKILL);
    // Its reader is left, to clean up.
    let path = format!("/dev/shm/qads_{ring}");
    support::qads::wait_until(|| !fs::exists(&path).unwrap());
    assert_eq!(bench.finish().code, None);
    support::assert_nothing_left(&ring);
}

/// A machine as `doctor` would like it, below a folder.
fn good_machine(scratch: &Scratch) {
    let files = [
        ("proc/mounts", "tmpfs /dev/shm tmpfs rw,nosuid,nodev 0 0\n"),
        (
            "proc/self/limits",
            "Limit                     Soft Limit           Hard Limit           Units\n\
             Max file size             unlimited            unlimited            bytes\n\
             Max open files            65536                65536                files\n\
             Max locked memory         unlimited            unlimited            bytes\n\
             Max address space         unlimited            unlimited            bytes\n",
        ),
        ("proc/self/cgroup", "0::/unit\n"),
        ("proc/swaps", "Filename Type Size Used Priority\n"),
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
        ("sys/devices/system/cpu/isolated", "2-3\n"),
        ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
        ("sys/kernel/mm/transparent_hugepage/shmem_enabled", "always within_size [advise] never\n"),
        ("sys/fs/cgroup/unit/memory.max", "max\n"),
        ("sys/fs/cgroup/unit/cpu.max", "max 100000\n"),
    ];
    for (path, text) in files {
        write(scratch, path, text);
    }
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(scratch.path("dev/shm")).unwrap();
    fs::set_permissions(scratch.path("dev/shm"), fs::Permissions::from_mode(0o1777)).unwrap();
}

fn write(scratch: &Scratch, path: &str, text: &str) {
    let path = scratch.path(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The findings that are not ok, but for those of the rings and the number of processors of the machine that this
/// runs on.
fn doctor(scratch: &Scratch) -> Vec<(String, String)> {
    let ran: Ran =
        command(&["doctor", "--json", "--root"]).arg(scratch.path("")).output().unwrap().into();
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    let findings: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    let findings = findings.as_array().unwrap().iter();
    let text = |finding: &serde_json::Value, name: &str| finding[name].as_str().unwrap().to_owned();
    findings
        .filter(|finding| finding["level"] != "ok")
        .inspect(|finding| assert!(finding["advice"].is_string(), "{finding}"))
        .filter(|finding| finding["subject"] != "rings")
        .map(|finding| (text(finding, "level"), text(finding, "found")))
        .filter(|(_, found)| !found.contains("to be used"))
        .collect()
}

#[test]
fn doctor_has_something_to_say_of_each_trouble() {
    let scratch = Scratch::new("doctor");
    good_machine(&scratch);
    assert_eq!(doctor(&scratch), []);
    let limits = "Max open files            256                  256                  files\n\
                  Max locked memory         65536                65536                bytes\n\
                  Max address space         1073741824           1073741824           bytes\n";
    let troubles = [
        ("proc/mounts", "none / none rw 0 0\n", "bad", "is not mounted"),
        ("proc/mounts", "/dev/sda /dev/shm ext4 rw 0 0\n", "warning", "is ext4, not tmpfs"),
        ("proc/self/limits", limits, "warning", "256 descriptors"),
        ("proc/self/limits", limits, "note", "64.0 KiB of locked memory"),
        ("proc/self/limits", limits, "warning", "address space is limited to 1.0 GiB"),
        (
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor",
            "powersave\n",
            "warning",
            "powersave",
        ),
        ("sys/devices/system/cpu/isolated", "\n", "note", "no isolated cores"),
        (
            "sys/devices/system/clocksource/clocksource0/current_clocksource",
            "hpet\n",
            "warning",
            "clock hpet",
        ),
        (
            "sys/kernel/mm/transparent_hugepage/shmem_enabled",
            "always advise [never]\n",
            "note",
            "shared memory: never",
        ),
        ("sys/fs/cgroup/unit/memory.max", "1048576\n", "bad", "memory limit 1.0 MiB"),
        ("sys/fs/cgroup/unit/cpu.max", "50000 100000\n", "warning", "limited to 0.5 processors"),
        ("proc/swaps", "Filename Type Size\n/swap file 1\n", "note", "there is swap"),
    ];
    for (path, text, level, said) in troubles {
        write(&scratch, path, text);
        let found = doctor(&scratch);
        let is_said = found.iter().any(|(at, found)| at == level && found.contains(said));
        assert!(is_said, "{path}: {said}: {found:?}");
        good_machine(&scratch);
        let _ = fs::remove_dir_all(scratch.path("sys/devices/system/cpu/cpu1"));
    }
}

#[test]
fn what_doctor_says_can_be_typed_in_whatever_files_are_called() {
    let scratch = Scratch::new("doctor-names");
    good_machine(&scratch);
    write(&scratch, "dev/shm/qads_it's; \x1b[31m.ctl", "");
    let ran: Ran = command(&["doctor", "--root"]).arg(scratch.path("")).output().unwrap().into();
    assert!(ran.out.contains(r"rm '/dev/shm/qads_it'\''s; \x1b[31m.ctl'"), "{ran:?}");
    assert!(!ran.out.contains('\x1b'), "{ran:?}");
}

#[test]
fn doctor_shows_this_machine() {
    let ran = qads(&["doctor"]);
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    assert!(ran.out.contains("/dev/shm") && ran.out.contains("free of"), "{ran:?}");
    assert!(!ran.out.contains('\x1b'));
}

/// What the exporter answers: its status line and its body.
fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

/// The value of a metric with these labels.
fn value(scrape: &Scrape, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let has = |sample: &prometheus_parse::Sample| {
        labels.iter().all(|(name, value)| sample.labels.get(name) == Some(value))
    };
    let sample = scrape.samples.iter().find(|sample| sample.metric == metric && has(sample))?;
    match &sample.value {
        Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => Some(*value),
        other => panic!("{metric} is {other:?}"),
    }
}

fn parsed(text: &str) -> Scrape {
    Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).expect("Prometheus text")
}

#[test]
fn export_serves_what_a_parser_of_prometheus_text_understands() {
    let ring = TestRing::with_numbers(0..7);
    let reader = ReaderOptions::new().lossless(true).attach(ring.name()).unwrap();
    reader.read_arrow(0).unwrap();
    let mut export = Running::start(&["export", "--prometheus", "127.0.0.1:0"]);
    let url = export.line();
    let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/metrics")).unwrap();
    assert!(address.starts_with("127.0.0.1:"));
    let (head, body) = get(address, "/metrics");
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"),
        "{head}"
    );
    let scrape = parsed(&body);
    let of_ring = |metric| value(&scrape, metric, &[("ring", ring.name())]);
    assert_eq!(of_ring("qads_position_total"), Some(7.0));
    assert_eq!(of_ring("qads_messages_total"), Some(7.0));
    let bytes = Observer::open(ring.name()).unwrap().look().unwrap().header.unwrap().message_bytes;
    assert!(bytes > 7 * 100, "{bytes}");
    assert_eq!(of_ring("qads_bytes_total"), Some(bytes as f64));
    assert_eq!(of_ring("qads_lease_skips_total"), Some(0.0));
    assert_eq!(of_ring("qads_writer_alive"), Some(1.0));
    assert_eq!(of_ring("qads_readers"), Some(1.0));
    assert!(of_ring("qads_committed_bytes").unwrap() > 0.0);
    let pid = std::process::id().to_string();
    let labels = [("ring", ring.name()), ("kind", "lossless"), ("pid", pid.as_str())];
    assert_eq!(value(&scrape, "qads_reader_lag", &labels), Some(6.0));
    assert_eq!(value(&scrape, "qads_reader_consumed_total", &labels), Some(1.0));
    assert_eq!(value(&scrape, "qads_reader_lost_total", &labels), Some(0.0));
    assert!(value(&scrape, "qads_reader_asleep", &labels).is_some());

    assert!(get(address, "/other").0.starts_with("HTTP/1.1 404"));
    let name = ring.name().to_owned();
    drop((reader, ring));
    let scrape = parsed(&get(address, "/metrics").1);
    assert_eq!(value(&scrape, "qads_position_total", &[("ring", &name)]), None);

    let once = qads(&["export", "--once"]).ok();
    assert_eq!(value(&parsed(&once), "qads_position_total", &[("ring", &name)]), None);
    export.signal(libc::SIGTERM);
    assert_eq!(export.finish().code, Some(143));
}

#[test]
fn thousands_of_looks_leak_nothing() {
    let ring = TestRing::with_numbers(0..3);
    let mut export = Running::start(&["export", "--prometheus", "127.0.0.1:0"]);
    let url = export.line();
    let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/metrics")).unwrap();
    get(address, "/metrics");
    let of_process = |what: &str| format!("/proc/{}/{what}", export.pid());
    // Of this ring only: other tests' rings come and go meanwhile.
    let mapped = || fs::read_to_string(of_process("maps")).unwrap().matches(ring.name()).count();
    let opened = || {
        let all = fs::read_dir(of_process("fd")).unwrap().flatten();
        all.filter(|fd| {
            fs::read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().contains("/dev/shm"))
        })
        .count()
    };
    let objects = || {
        let all = fs::read_dir("/dev/shm").unwrap().flatten();
        all.filter(|entry| entry.file_name().to_string_lossy().contains(ring.name())).count()
    };
    let control = || fs::read(format!("/dev/shm/qads_{}.ctl", ring.name())).unwrap();
    let before = (objects(), control());
    for _ in 0..2_000 {
        let (head, _) = get(address, "/metrics");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
    assert_eq!((mapped(), opened()), (0, 0));
    assert!(before == (objects(), control()));
}

#[test]
fn export_says_what_an_address_is() {
    for address in ["9644", "nonsense", "127.0.0.1:x"] {
        let said = qads(&["export", "--prometheus", address]).failed(2);
        assert!(said.contains("write HOST:PORT"), "{said}");
    }
    let mut export = Running::start(&["export", "--prometheus", "localhost:0"]);
    assert!(export.line().starts_with("http://"));
}

#[test]
fn export_survives_whatever_is_sent() {
    let mut export = Running::start(&["export", "--prometheus", "127.0.0.1:0"]);
    let url = export.line();
    let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/metrics")).unwrap();
    // Some that say nothing, some that do not listen, and one that hangs up at once.
    let silent: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut deaf = TcpStream::connect(address).unwrap();
    deaf.write_all(&b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(500)).unwrap();
    drop(TcpStream::connect(address).unwrap());
    let send = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(address).expect("it listens");
        // It may have answered, and gone, before it has all of this.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).expect("text").lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(send(&[0; 100]), "HTTP/1.1 400 Bad Request");
    assert_eq!(send(&[b'x'; 20_000]), "HTTP/1.1 400 Bad Request");
    assert_eq!(
        send(b"POST /metrics HTTP/1.0\r\nContent-Length: 99999999999\r\n\r\nx"),
        "HTTP/1.1 405 Method Not Allowed"
    );
    assert_eq!(
        send(b"GET /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\nx"),
        "HTTP/1.1 200 OK"
    );
    assert_eq!(send(b"GET /metrics?debug=1 HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 OK");
    let mut head = TcpStream::connect(address).unwrap();
    head.write_all(b"HEAD /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    head.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\r\n\r\n"), "{answer}");
    export.signal(libc::SIGINT);
    let ended = export.finish();
    assert_eq!((ended.code, ended.err.as_str()), (Some(130), ""), "{ended:?}");
    drop((silent, deaf));
}

#[test]
fn silent_clients_keep_no_scrape_away() {
    let mut export = Running::start(&["export", "--prometheus", "127.0.0.1:0"]);
    let url = export.line();
    let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/metrics")).unwrap();
    // More than are served at a time. All of them have come before the next, and stay.
    let mut silent: Vec<TcpStream> = Vec::new();
    for number in 0..100 {
        let mut stream = TcpStream::connect(address).unwrap();
        if number % 2 == 1 {
            // Begun, and never ended.
            stream.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
        }
        silent.push(stream);
    }
    for _ in 0..40 {
        let (head, _) = get(address, "/metrics");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
    drop(silent);
    export.signal(libc::SIGINT);
    assert_eq!(export.finish().code, Some(130));
}
