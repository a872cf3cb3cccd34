//! A short storm, in every build that is tested: `make storm` has longer ones.

use std::process::Command;

#[test]
fn a_few_seconds_of_storm() {
    let storm = Command::new(env!("CARGO_BIN_EXE_qads-storm")).args(["--seconds", "6"]).output();
    let storm = storm.expect("it starts");
    let said = String::from_utf8_lossy(&storm.stdout);
    print!("{said}");
    assert!(storm.status.success(), "{said}{}", String::from_utf8_lossy(&storm.stderr));
    // That there was one: messages were checked while processes were killed.
    let crashed = cfg!(qads_crash).then_some("killed at a crash point");
    for what in ["messages checked", "all"].into_iter().chain(crashed) {
        let line = said.lines().find(|line| line.starts_with(what)).expect(what);
        let count = line[what.len()..].split_whitespace().next().and_then(|word| word.parse().ok());
        assert!(count > Some(0u64), "{line}");
    }
}
