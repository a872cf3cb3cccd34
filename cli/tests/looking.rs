//! `qads ls`, `schema`, `inspect`, `rm`, `gc`, `completions`, `man`, and what all verbs have in common.

mod support;

use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;

use qadataswap::ReaderOptions;
use support::qads::{TestRing, await_readers, batch, command, qads, start_endless_writer};
use support::{RingGuard, Scratch, ring_name};

/// Every verb that is not hidden.
const VERBS: [&str; 15] = [
    "ls",
    "top",
    "tail",
    "schema",
    "inspect",
    "record",
    "replay",
    "bench",
    "doctor",
    "rm",
    "gc",
    "export",
    "demo",
    "completions",
    "man",
];

#[test]
fn ls_shows_a_ring_and_who_is_on_it() {
    let ring = TestRing::with_numbers(0..5);
    let _reader = ReaderOptions::new().lossless(true).attach(ring.name()).unwrap();
    let shown = qads(&["ls", ring.name()]).ok();
    let line = shown.lines().nth(1).expect("a line");
    let mut cells = line.split_whitespace();
    assert_eq!(cells.next(), Some(ring.name()));
    assert_eq!(cells.next(), Some("alive"));
    assert_eq!(cells.next(), Some(std::process::id().to_string().as_str()));
    assert!(line.ends_with("ts: Timestamp(ns, \"UTC\"), n: Int64, price: Float64, name: Utf8?"));
    assert!(!shown.contains('\x1b'), "no colours in a pipe");

    let all = qads(&["ls", "--json"]).json();
    let own = all.as_array().unwrap().iter().find(|one| one["name"] == ring.name()).unwrap();
    assert_eq!(
        (&own["state"], &own["position"], &own["messages"]),
        (&"alive".into(), &5.into(), &5.into())
    );
    assert_eq!(own["writer"]["epoch"], 1);
    assert!(own["committed_bytes"].as_u64().unwrap() > 0);
    assert_eq!(own["readers"][0]["kind"], "lossless");
    assert_eq!(own["readers"][0]["lag"], 5);
    assert_eq!(own["messages_per_second"], 0.0);
}

#[test]
fn readers_that_cannot_be_seen_are_not_said_to_be_none() {
    let ring = TestRing::with_numbers(0..5);
    std::fs::remove_file(format!("/dev/shm/qads_{}.ctl", ring.name())).unwrap();
    let shown = qads(&["ls", ring.name()]).ok();
    let cells: Vec<&str> = shown.lines().nth(1).unwrap().split_whitespace().collect();
    assert!(cells.contains(&"?"), "{shown}");
    let own = qads(&["ls", "--json", ring.name()]).json();
    assert!(own[0]["readers"].is_null(), "{own}");
    let metrics = qads(&["export", "--once"]).ok();
    let has = |metric: &str| metrics.contains(&format!("{metric}{{ring=\"{}\"}}", ring.name()));
    assert!(has("qads_position_total") && !has("qads_readers"), "{metrics}");
}

#[test]
fn ls_tells_the_dead_the_closed_and_the_damaged() {
    let mut closed = TestRing::with_numbers(0..1);
    closed.close();
    let dead = RingGuard(ring_name());
    let scratch = Scratch::new("dead");
    drop(start_endless_writer(&scratch, &dead.0));
    let damaged = RingGuard(ring_name());
    fs::write(format!("/dev/shm/qads_{}", damaged.0), vec![7; 8192]).unwrap();

    let shown = qads(&["ls", "--json", closed.name(), &dead.0, &damaged.0]).json();
    let states: Vec<_> = shown.as_array().unwrap().iter().map(|ring| &ring["state"]).collect();
    assert_eq!(states, ["closed", "dead", "damaged"]);
    assert!(shown[2]["error"].as_str().unwrap().starts_with("header: magic is"));
    // Damaged or not, it is shown for people too.
    assert!(qads(&["ls", &damaged.0]).ok().contains("damaged"));
    assert!(qads(&["ls", "no-such-ring"]).failed(1).contains("no-such-ring"));
    assert!(qads(&["ls", "a/b"]).failed(2).contains("no '/'"));
    let said = qads(&["schema", &damaged.0]).failed(1);
    assert!(said.contains("damaged: header: magic is"), "{said}");
}

#[test]
fn schema_shows_columns_and_says_so_of_bytes() {
    let ring = TestRing::new(8);
    assert!(qads(&["schema", ring.name()]).failed(1).contains("no message yet"));
    ring.writer().write(b"12345").unwrap();
    assert!(qads(&["schema", ring.name()]).ok().contains("plain bytes; the newest message has 5"));
    assert_eq!(qads(&["schema", "--json", ring.name()]).json()["kind"], "bytes");
    ring.writer().write_arrow(&batch(0, 1)).unwrap();
    let shown = qads(&["schema", ring.name()]).ok();
    assert!(shown.lines().any(|line| line.split_whitespace().eq(["price", "Float64", "no"])));
    assert!(shown.lines().any(|line| line.split_whitespace().eq(["name", "Utf8", "yes"])));
    let json = qads(&["schema", "--json", ring.name()]).json();
    assert_eq!(json["fields"][1]["name"], "n");
    assert_eq!(json["fields"][3]["nullable"], true);
}

#[test]
fn inspect_shows_everything_and_names_what_is_wrong() {
    let mut ring = TestRing::with_numbers(0..3);
    let reader = ReaderOptions::new().lossless(true).attach(ring.name()).unwrap();
    let shown = qads(&["inspect", ring.name()]).ok();
    let says = |name: &str, value: &str| {
        let line = shown.lines().find(|line| line.trim_start().starts_with(name));
        line.is_some_and(|line| line.contains(value))
    };
    assert!(says("slot_count", "1,024") && says("published", "3"), "{shown}");
    assert!(says("writer", &format!("alive, pid {}", std::process::id())), "{shown}");
    assert!(says("0  lossless", "alive"), "{shown}");
    assert!(shown.trim_end().ends_with("inconsistencies\n  none"), "{shown}");
    drop(reader);
    ring.close();
    // The position of the first slot becomes one that was never published.
    let segment = format!("/dev/shm/qads_{}", ring.name());
    let segment = fs::OpenOptions::new().write(true).open(segment).unwrap();
    segment.write_all_at(&(4096u64 << 2 | 2).to_le_bytes(), 4096).unwrap();
    let ran = qads(&["inspect", ring.name()]);
    assert!(ran.out.contains("slot 0: position that was published is 4096"), "{ran:?}");
    assert!(ran.failed(1).contains("has an inconsistency"));
}

#[test]
fn rm_leaves_alone_what_is_in_use() {
    let mut ring = TestRing::with_numbers(0..3);
    assert!(qads(&["rm", ring.name()]).failed(1).contains("its writer lives"));
    let reader = qadataswap::create_reader(ring.name()).unwrap();
    ring.close();
    assert!(qads(&["rm", ring.name()]).failed(1).contains("it is being read"));
    drop(reader);
    // One that is not registered is known by its mapping.
    let reader = ReaderOptions::new().register(false).attach(ring.name()).unwrap();
    assert!(qads(&["rm", ring.name()]).failed(1).contains("mapped by a process"));
    drop(reader);
    qads(&["rm", ring.name()]).ok();
    support::assert_nothing_left(ring.name());
    assert!(qads(&["rm", ring.name()]).failed(1).contains("no ring named"));
    assert!(qads(&["rm", "a/b"]).failed(2).contains("no '/'"));

    let forced = TestRing::with_numbers(0..1);
    qads(&["rm", "--force", forced.name()]).ok();
    support::assert_nothing_left(forced.name());
    // Its writer goes on.
    forced.writer().write(b"more").unwrap();
}

#[test]
fn gc_removes_what_nobody_uses_and_nothing_else() {
    // In a /dev/shm of its own: it would remove other tests' rings.
    let script = r#"
        set -e
        printf 'ts,n\n0,1\n3600000000000,2\n' > "$TMPDIR/in.csv"
        "$1" replay --quiet "$TMPDIR/in.csv" closed --speed max
        "$1" replay --quiet "$TMPDIR/in.csv" live --time-column ts & writer=$!
        "$1" replay --quiet "$TMPDIR/in.csv" read --time-column ts & other=$!
        until "$1" tail -n 1 live 2>/dev/null | grep -q .; do :; done
        until "$1" tail -n 1 read 2>/dev/null | grep -q .; do :; done
        "$1" tail --follow --lossless read > "$TMPDIR/tail.out" & reader=$!
        until "$1" ls --json --interval-ms 0 read | grep -q '"kind": "lossless"'; do :; done
        kill -9 $other
        "$1" gc --dry-run
        echo ---
        "$1" gc
        echo ---
        ls /dev/shm
        kill $reader $writer
        wait || :
    "#;
    let scratch = Scratch::new("gc");
    let folder = scratch.path("");
    let script = format!("export TMPDIR='{}'; {script}", folder.display());
    let Some(outcome) = support::run_in_own_memory(&script) else { return };
    let parts: Vec<&str> = outcome.stdout.split("---\n").collect();
    assert_eq!(parts.len(), 3, "{outcome:?}");
    assert_eq!((parts[0], parts[1]), ("would remove closed\n", "removed closed\n"), "{outcome:?}");
    assert_eq!(parts[2], "qads_live\nqads_live.ctl\nqads_read\nqads_read.ctl\n", "{outcome:?}");
}

#[test]
fn every_verb_has_help_with_examples_and_exit_codes() {
    for verb in VERBS {
        let help = qads(&[verb, "--help"]).ok();
        assert!(help.contains(&format!("  qads {verb}")), "{verb}: {help}");
        assert!(help.contains("Exit status:"), "{verb}: {help}");
        assert!(!help.contains('\x1b'), "{verb}: colours in a pipe");
    }
    let all = qads(&["--help"]).ok();
    assert!(VERBS.iter().all(|verb| all.contains(verb)), "{all}");
    qads(&["no-such-verb"]).failed(2);
    qads(&["tail", "x", "--where", "price >"]).failed(2);
    qads(&["tail", "x", "--format", "pdf"]).failed(2);
}

#[test]
fn a_reader_of_the_output_that_goes_away_is_no_failure() {
    let ring = TestRing::with_numbers(0..1000);
    for arguments in [
        &["tail", "-n", "1000", ring.name()][..],
        &["tail", "-n", "1000", "--format", "json", ring.name()],
        &["tail", "-n", "1000", "--format", "csv", ring.name()],
        &["tail", "-n", "1000", "--format", "arrow", ring.name()],
        &["inspect", "--slots", "5000", ring.name()],
    ] {
        let mut child = command(arguments)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0; 10]).unwrap();
        drop(out);
        let ended: support::qads::Ran = child.wait_with_output().unwrap().into();
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn where_errors_go_may_be_full() {
    let ring = TestRing::with_numbers(0..3);
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("it is there");
    for (arguments, code) in [
        (&["ls", "no-such-ring"][..], 1),
        (&["ls", ""], 2),
        (&["tail", ring.name(), "--columns", "no-such-column"], 1),
    ] {
        let status = command(arguments).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn completions_and_manual_pages_know_every_verb() {
    for shell in ["bash", "zsh", "fish"] {
        let script = qads(&["completions", shell]).ok();
        assert!(VERBS.iter().all(|verb| script.contains(verb)), "{shell}");
        assert!(!script.contains("bench-reader"), "{shell} offers hidden verbs");
    }
    assert!(qads(&["man"]).ok().contains(".TH qads 1"));
    let scratch = Scratch::new("man");
    let folder = scratch.path("man1");
    qads(&["man", "--output", folder.to_str().unwrap()]).ok();
    for verb in VERBS {
        let page = fs::read_to_string(folder.join(format!("qads-{verb}.1"))).expect(verb);
        assert!(page.contains("Examples"), "{verb}");
    }
}

#[test]
fn a_thousand_looks_leave_nothing_behind() {
    let ring = TestRing::with_numbers(0..3);
    let reader = ReaderOptions::new().attach(ring.name()).unwrap();
    await_readers(ring.name(), 1);
    let objects = || {
        let all = fs::read_dir("/dev/shm").unwrap().flatten();
        all.filter(|entry| entry.file_name().to_string_lossy().contains(ring.name())).count()
    };
    let control = || fs::read(format!("/dev/shm/qads_{}.ctl", ring.name())).unwrap();
    let before = (objects(), control());
    for _ in 0..30 {
        qads(&["ls", "--interval-ms", "0", ring.name()]).ok();
        qads(&["tail", ring.name()]).ok();
        qads(&["inspect", ring.name()]).ok();
    }
    assert!(before == (objects(), control()));
    drop(reader);
}

#[test]
fn what_is_no_ring_is_never_collected_and_removed_only_by_force() {
    let script = r#"
        cd /dev/shm
        mkdir qads_folder; mkfifo qads_pipe; ln -s /etc/passwd qads_link
        echo "another's" > qads_text
        head -c 8192 /dev/zero | tr '\0' '\7' > qads_sevens
        { head -c 8 /dev/zero; head -c 8184 /dev/zero | tr '\0' '\7'; } > qads_late
        { head -c 8192 /dev/zero; echo "far behind"; } > qads_zeros_first
        truncate -s 1M qads_holes; printf %64s x | dd of=qads_holes bs=64 seek=100 conv=notrunc 2>/dev/null
        # As creators leave them that are killed: at once, with its size, with memory for the header.
        : > qads_empty
        truncate -s 1M qads_sized
        truncate -s 1M qads_zeros; fallocate -l 8K qads_zeros
        cp qads_zeros qads_sized.ctl
        "$1" gc --dry-run; echo "code $?"; echo ---
        "$1" gc; echo "code $?"; echo ---
        ls -x -w 200; echo ---
        for name in folder pipe link text sevens late; do "$1" rm $name 2>&1; done; echo ---
        for name in pipe link text sevens late; do "$1" rm --force $name || echo "$name failed"; done
        "$1" rm --force folder 2>&1
        ls -x -w 200
    "#;
    let Some(outcome) = support::run_in_own_memory(script) else { return };
    let parts: Vec<&str> = outcome.stdout.split("---\n").collect();
    assert_eq!(parts.len(), 5, "{outcome:?}");
    let stale = ["empty", "sized", "zeros"];
    let said = |word: &str| stale.map(|name| format!("{word} {name}\n")).concat() + "code 0\n";
    assert_eq!((parts[0], parts[1]), (&*said("would remove"), &*said("removed")), "{outcome:?}");
    let kept = ["folder", "holes", "late", "link", "pipe", "sevens", "text", "zeros_first"];
    let kept = kept.map(|name| format!("qads_{name}"));
    assert_eq!(parts[2].split_whitespace().collect::<Vec<_>>(), kept, "{outcome:?}");
    let refusals: Vec<&str> = parts[3].lines().collect();
    assert_eq!(refusals.len(), 6, "{outcome:?}");
    for refusal in refusals {
        assert!(refusal.contains("is no ring: ") && refusal.contains("--force"), "{refusal}");
    }
    assert!(parts[4].contains("qads rm: ") && parts[4].contains("irectory"), "{outcome:?}");
    let left: Vec<&str> = parts[4].lines().last().unwrap().split_whitespace().collect();
    assert_eq!(left, ["qads_folder", "qads_holes", "qads_zeros_first"], "{outcome:?}");
}

#[test]
fn help_is_a_verb_too() {
    assert_eq!(qads(&["help"]).ok(), qads(&["--help"]).ok());
    for verb in VERBS {
        assert_eq!(qads(&["help", verb]).ok(), qads(&[verb, "--help"]).ok(), "{verb}");
    }
    assert!(qads(&["help", "no-such-verb"]).failed(2).contains("no-such-verb"));
}

#[test]
fn who_writes_a_ring_is_told_plainly() {
    let ring = TestRing::with_numbers(0..1);
    let scratch = Scratch::new("alive");
    let file = scratch.path("in.csv");
    fs::write(&file, "n\n1\n").unwrap();
    let said = qads(&["replay", file.to_str().unwrap(), ring.name(), "--speed", "max"]).failed(1);
    let plainly = format!("has a live writer (pid {}) and a ring", std::process::id());
    assert!(said.contains(&plainly), "{said}");
}

#[test]
fn a_ring_whose_creator_was_killed_before_the_end_is_one() {
    let mut ring = TestRing::new(16);
    ring.close();
    let segment = format!("/dev/shm/qads_{}", ring.name());
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    // All but the magic number is stored.
    file.write_all_at(&[0; 8], 0).unwrap();
    assert!(qads(&["ls", ring.name()]).ok().contains("not ready"));
    qads(&["rm", ring.name()]).ok();
    support::assert_nothing_left(ring.name());
    // What has had messages was whole once: damaged, it is for somebody to look at.
    let mut ring = TestRing::with_numbers(0..1);
    ring.close();
    let segment = format!("/dev/shm/qads_{}", ring.name());
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(&[0; 8], 0).unwrap();
    assert!(qads(&["rm", ring.name()]).failed(1).contains("--force removes it"));
    qads(&["rm", "--force", ring.name()]).ok();
    support::assert_nothing_left(ring.name());
}
