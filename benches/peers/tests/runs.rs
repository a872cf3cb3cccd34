//! Runs of the real program: what they leave in their folder, and what becomes of one that nobody reads, that is stopped
//! or that loses a worker. A results file that is not as documented is refused.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const PEERS: &str = env!("CARGO_BIN_EXE_qadataswap-peers");

fn folder(name: &str) -> PathBuf {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("folder");
    folder
}

fn check(text: &str) -> Output {
    let folder = folder("check");
    let file = folder.join("results.json");
    fs::write(&file, text).expect("written");
    let output = Command::new(PEERS).arg("check").arg(&file).output().expect("runs");
    fs::remove_dir_all(folder).expect("removed");
    output
}

#[test]
fn results_are_checked() {
    let latency = r#""impl": "pipe", "mode": "ping-pong", "payload_bytes": 40, "readers": 1, "repetitions": 3,
        "samples": 10000, "p50_ns": 1.5, "p99_ns": 2, "p999_ns": 3, "max_ns": 4, "lost_share": 0.0"#;
    let whole = format!(r#"[{{"bench": "bytes-ping-pong", "group": "40 B", {latency}}}]"#);
    assert!(check(&whole).status.success());
    let few = whole.replace("10000", "9999").replace("\"p999_ns\": 3,", "");
    assert!(check(&few).status.success());
    let fewer = few.replace("9999", "999").replace("\"p99_ns\": 2,", "");
    assert!(check(&fewer).status.success());
    let floor = whole.replace("\"pipe\"", "\"raw\"").replace("\"payload_bytes\": 40,", "");
    assert!(check(&floor).status.success());
    let sides = r#"[{"bench": "sides", "mode": "sides", "impl": "qadataswap", "group": "64 MiB", "rows": 7, "readers": 1,
        "repetitions": 3, "figures": {"write": 1.5}}]"#;
    assert!(check(sides).status.success());
    let cases = [
        ("[]".to_owned(), "no results"),
        (format!("[{{{latency}}}]"), "bench is missing"),
        (whole.replace("\"p50_ns\": 1.5,", ""), "p50_ns is missing"),
        (whole.replace("\"readers\": 1,", ""), "readers is missing"),
        (whole.replace("\"p999_ns\": 3,", ""), "p999_ns is to be there"),
        (whole.replace("10000", "9999"), "p999_ns is to be there"),
        (few.replace("9999", "999"), "p99_ns is to be there"),
        (whole.replace("1.5", "\"fast\""), "p50_ns is not a number"),
        (whole.replace("1.5", "2.5"), "less than the one before"),
        (whole.replace("ping-pong", "chess"), "no such bench"),
        (whole.replace("\"ping-pong", "\"wake"), "has another mode"),
        (whole.replace("ping-pong", "throughput"), "msgs_per_s is missing"),
        (whole.replace("\"pipe", "\"pigeon"), "no such implementation"),
        (whole.replace("\"payload_bytes\": 40,", ""), "payload_bytes and rows: 0"),
        (whole.replace("\"readers\"", "\"rows\": 1, \"readers\""), "payload_bytes and rows: 2"),
        (floor.replace("\"readers\"", "\"rows\": 1, \"readers\""), "payload_bytes and rows: 1"),
        (whole.replace("\"readers\": 1", "\"readers\": 1.5"), "readers is not a whole number"),
        (whole.replace("\"repetitions\": 3", "\"repetitions\": 0"), "repetitions is not a whole"),
        (
            whole.replace("\"lost_share\": 0.0", "\"lost_share\": 7"),
            "lost_share is not from 0 to 1",
        ),
        (whole.replace("\"lost_share\": 0.0", "\"crowded\": \"yes\""), "crowded is not true or"),
        (whole.replace("lost_share", "lost_percent"), "lost_percent is no field"),
        (sides.replace("{\"write\": 1.5}", "{}"), "figures is not an object of numbers"),
        (sides.replace("1.5", "-1.5"), "figures is not an object of numbers"),
    ];
    for (text, expected) in cases {
        let output = check(&text);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{text}: {said}");
    }
}

/// Process ids of the workers, once there are two.
fn workers(bench: &Child) -> Vec<String> {
    let children = format!("/proc/{0}/task/{0}/children", bench.id());
    loop {
        let found = fs::read_to_string(&children).expect("the benchmark runs");
        let found: Vec<_> = found.split_whitespace().map(str::to_owned).collect();
        if found.len() == 2 {
            return found;
        }
        std::thread::yield_now();
    }
}

/// What a benchmark ends with and says that is sent `signal`, or of which a worker is. It is to leave nothing.
fn ended_by(implementation: &str, signal: &str, worker: bool) -> Output {
    let out = folder(&format!("{implementation}-{signal}"));
    let bench = Command::new(PEERS)
        .args(["--bench", "bytes-open-loop", "--impl", implementation, "--out"])
        .arg(&out)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("begins");
    let id = bench.id();
    let worker_id = workers(&bench)[1].clone();
    let target = if worker { worker_id } else { id.to_string() };
    assert!(Command::new("kill").args([signal, &target]).status().expect("runs").success());
    let output = bench.wait_with_output().expect("ends");
    let left = |folder: &Path, part: &str| {
        let entries = fs::read_dir(folder).expect("listed").flatten();
        entries.map(|entry| entry.file_name()).find(|name| name.to_string_lossy().contains(part))
    };
    assert_eq!(left(Path::new("/dev/shm"), &format!("qads-peers-{id}-")), None);
    assert_eq!(left(&out, ""), None, "results or a scratch folder are left");
    fs::remove_dir_all(out).expect("removed");
    output
}

#[test]
fn a_worker_that_dies_ends_the_run() {
    for implementation in ["qadataswap", "iceoryx2"] {
        let output = ended_by(implementation, "-KILL", true);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains("ended"), "{said}");
    }
}

#[test]
fn a_run_that_is_stopped_leaves_nothing() {
    for implementation in ["qadataswap", "iceoryx2"] {
        for (signal, number) in [("INT", 2), ("TERM", 15), ("HUP", 1)] {
            let output = ended_by(implementation, &format!("-{signal}"), false);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.signal(), Some(number), "{said}");
            assert_eq!(said, format!("stopped by SIG{signal}\n"));
        }
    }
}

/// A run of a part, whose figures mean nothing.
fn once(out: &Path, parts: &[&str]) -> Command {
    let mut command = Command::new(PEERS);
    command.args(["--once", "--out"]).arg(out).args(parts);
    command
}

const PIPE: [&str; 4] = ["--bench", "bytes-ping-pong", "--impl", "pipe"];

/// What writes to it is told that nobody reads.
fn closed() -> Stdio {
    let (reading, writing) = std::io::pipe().expect("a pipe");
    drop(reading);
    writing.into()
}

#[test]
fn results_are_written_where_nobody_reads_the_tables() {
    let out = folder("closed");
    let status = once(&out, &PIPE).stdout(closed()).stderr(closed()).status().expect("runs");
    assert_eq!(status.code(), Some(0));
    for file in ["results.json", "figures.md", "latency-against-size.svg"] {
        assert!(out.join(file).exists(), "{file} is missing");
    }
    fs::remove_dir_all(&out).expect("removed");
    // An error that cannot be told is still one, not a panic.
    let mut check = Command::new(PEERS);
    let status = check.arg("check").arg(&out).stderr(closed()).status().expect("runs");
    assert_eq!(status.code(), Some(1));
}

#[test]
fn what_is_named_must_be_there() {
    let out = folder("named");
    let refused: [(&[&str], &[&str]); 3] = [
        (&["--bench", "wake", "--bench", "chess"], &["\"chess\"", "bytes-ping-pong", "wake"]),
        (&["--bench", "wake", "--impl", "pipe", "--impl", "shaq"], &["has shaq", "futex", "pipe"]),
        (&["--impl", "chess"], &["'chess'", "qadataswap"]),
    ];
    for (parts, expected) in refused {
        let output = once(&out, parts).output().expect("runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{parts:?}");
        for part in expected {
            assert!(said.contains(part), "{parts:?}: {said}");
        }
    }
    fs::remove_dir_all(out).expect("removed");
}

#[test]
fn results_go_to_a_folder_of_any_name() {
    let above = folder("any");
    // Longer than a socket's address may be, and letters that are not ASCII.
    let out = above.join("long ".repeat(20)).join("\u{e9}\u{6f22}");
    let parts = ["--bench", "bytes-ping-pong", "--impl", "iceoryx2", "--impl", "qadataswap"];
    let output = once(&out, &parts).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let left: Vec<_> =
        fs::read_dir(&out).expect("listed").flatten().map(|e| e.file_name()).collect();
    assert!(left.iter().any(|name| name == "results.json"), "{left:?}");
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("scratch")), "{left:?}");
    fs::remove_dir_all(above).expect("removed");
}

#[test]
fn a_folder_that_nothing_can_be_made_in_is_named() {
    // Nobody can, whoever runs this.
    let output = once(Path::new("/proc"), &PIPE).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("cannot write to the folder /proc"),
        "{said}"
    );
}

#[test]
#[expect(clippy::print_stdout, reason = "what is skipped is said")]
fn what_does_not_fit_into_shared_memory_is_left_out_and_told() {
    let out = folder("small");
    let parts = ["--bench", "arrow-ping-pong", "--impl", "iceoryx2", "--impl", "qadataswap"];
    let small = "mount -t tmpfs -o size=64m tmpfs /dev/shm && exec \"$@\"";
    let own_mounts = ["--mount", "--map-root-user", "sh", "-c", small, "sh", PEERS];
    let mut command = Command::new("unshare");
    command.args(own_mounts).args(["--once", "--out"]).arg(&out).args(parts);
    let Ok(output) = command.output() else {
        return println!("skipped: no `unshare` here");
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("unshare:") || said.contains("mount:") {
        return println!("skipped: no /dev/shm of one's own to be had here ({said})");
    }
    assert!(output.status.success(), "{said}");
    let figures = fs::read_to_string(out.join("figures.md")).expect("read");
    for text in [&said, &figures] {
        let left_out = text.lines().filter(|line| line.contains("not measured: arrow-ping-pong"));
        assert_eq!(left_out.count(), 1, "{text}");
    }
    assert!(figures.contains("10000 rows") && figures.contains("| iceoryx2 |"), "{figures}");
    fs::remove_dir_all(out).expect("removed");
}

#[test]
fn a_run_tells_how_long_it_took_and_leaves_only_its_own_plots() {
    let out = folder("earlier");
    let (earlier, mine) = (out.join("throughput-40.svg"), out.join("mine.svg"));
    for file in [&earlier, &mine, &out.join("latency-against-size.svg")] {
        fs::write(file, "of an earlier run").expect("written");
    }
    let output = once(&out, &PIPE).output().expect("runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = said.trim_end().lines().last().unwrap_or_default();
    assert!(last.contains("measured for ") && last.ends_with(" s"), "{last}");
    assert!(!earlier.exists() && mine.exists());
    let figures = fs::read_to_string(out.join("figures.md")).expect("read");
    for entry in fs::read_dir(&out).expect("listed").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        if name.ends_with(".svg") && name != "mine.svg" {
            assert!(figures.contains(&format!("]({name})")), "{name} is not shown");
            assert!(fs::read_to_string(entry.path()).expect("read").contains("<svg"), "{name}");
        }
    }
    fs::remove_dir_all(out).expect("removed");
}

#[test]
fn figures_tell_the_commit_and_the_clock() {
    let out = folder("commit");
    assert!(once(&out, &PIPE).stdout(Stdio::null()).status().expect("runs").success());
    let figures = fs::read_to_string(out.join("figures.md")).expect("read");
    let step =
        figures.lines().find_map(|line| line.strip_prefix("* clock: steps of ")?.split_once(" ns"));
    let step: f64 = step.expect("the clock").0.parse().expect("a number");
    assert!(step > 0.0, "{step}");
    let told: Vec<_> = figures.lines().filter_map(|line| line.strip_prefix("* commit ")).collect();
    let here = env!("CARGO_MANIFEST_DIR");
    let git = Command::new("git").args(["-C", here, "rev-parse", "--short", "HEAD"]).output();
    match git.ok().filter(|output| output.status.success()) {
        Some(output) => {
            let head = String::from_utf8(output.stdout).expect("text");
            assert!(told.len() == 1 && told[0].contains(head.trim()), "{told:?}, not {head}");
        }
        // Sources without their history.
        None => assert!(told.is_empty(), "{told:?}"),
    }
    fs::remove_dir_all(out).expect("removed");
}

#[test]
fn few_messages_have_no_high_percentiles() {
    let out = folder("few");
    assert!(once(&out, &PIPE).stdout(Stdio::null()).status().expect("runs").success());
    let results = fs::read_to_string(out.join("results.json")).expect("read");
    assert!(results.contains("\"p50_ns\"") && !results.contains("\"p99_ns\""), "{results}");
    let figures = fs::read_to_string(out.join("figures.md")).expect("read");
    let row = figures.lines().find(|line| line.starts_with("| pipe |")).expect("a row");
    let cells: Vec<_> = row.split(" | ").collect();
    assert!(cells[1].ends_with("s") && cells[2] == "-" && cells[3] == "-", "{row}");
    fs::remove_dir_all(out).expect("removed");
}

#[test]
fn tables_of_batches_tell_rates_and_ratios() {
    let out = folder("rates");
    let parts = ["--bench", "arrow-throughput", "--bench", "sides"];
    assert!(once(&out, &parts).stdout(Stdio::null()).status().expect("runs").success());
    let figures = fs::read_to_string(out.join("figures.md")).expect("read");
    let head = "|  | batches | rows | each | to qadataswap | to lossless | lost |";
    assert!(figures.matches(head).count() >= 2, "{figures}");
    let alone = figures.matches("rows, as fast as possible, readers: 0").count();
    assert_eq!(alone, 2, "{figures}");
    assert!(figures.contains("|  | time | to memcpy |"), "{figures}");
    for row in figures.lines().filter(|line| line.starts_with("| iceoryx2 |")) {
        assert!(row.matches("/s |").count() == 2 && !row.contains("| - |"), "{row}");
    }
    let results = fs::read_to_string(out.join("results.json")).expect("read");
    assert!(results.contains("\"rows\": 100,") && results.contains("\"rows\": 10000,"));
    fs::remove_dir_all(out).expect("removed");
}
