//! Many who want to create, take over or remove one ring at the same time.

mod support;

use std::fs::File;
use std::path::Path;

use qadataswap::{QADataSwapError, WriterOptions, create_writer, unlink};
use support::numbered::Random;
use support::{Child, Parent, RingName, inspect};

#[test]
fn child_process() {
    support::play(&[("contend", contend), ("grow", grow)]);
}

/// Tries to become the writer of one ring after another, each time the moment a file appears.
fn contend(parent: Parent, _: &[String]) {
    let watch = inspect::ParentWatch::new();
    let mut _writer = None;
    loop {
        let line = parent.hear();
        _writer = None;
        let (name, start) = line.split_once(' ').unwrap();
        parent.say("waiting");
        while !Path::new(start).exists() {
            watch.check();
            std::thread::yield_now();
        }
        match create_writer(name, 4) {
            Ok(made) => {
                parent.say(format!("won {}", made.stats().epoch));
                _writer = Some(made);
            }
            Err(QADataSwapError::WriterAlive { pid, .. }) => parent.say(format!("alive {pid}")),
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Moves its ring to larger slots, as often as it will go, without ever letting go of it.
fn grow(parent: Parent, arguments: &[String]) {
    let mut writer = WriterOptions::new(2).slot_capacity(1).create(&arguments[0]).unwrap();
    parent.say("ready");
    parent.hear();
    for _ in 0..24 {
        let _ = writer.reserve(writer.slot_capacity() + 1).unwrap();
    }
    parent.say(format!("{} rollovers", writer.stats().rollovers));
    parent.hear();
}

fn contenders(count: usize) -> Vec<Child> {
    (0..count).map(|_| Child::spawn("contend", &[])).collect()
}

/// Has all of them try at the same moment. Gives the winner's place among them.
#[track_caller]
fn race(all: &mut [Child], ring: &RingName, epoch: u64, dead: Option<u32>) -> usize {
    let start = RingName::new("start");
    for child in &mut *all {
        child.say(format!("{} {}", ring.name(), start.data_path()));
        assert_eq!(child.hear(), "waiting");
    }
    File::create(start.data_path()).unwrap();
    let said: Vec<String> = all.iter_mut().map(Child::hear).collect();
    let won = format!("won {epoch}");
    let winners: Vec<usize> = (0..all.len()).filter(|index| said[*index] == won).collect();
    let &[winner] = winners.as_slice() else { panic!("one should win: {said:?}") };
    let named = format!("alive {}", all[winner].pid());
    for (index, said) in said.iter().enumerate() {
        // A loser may come before the winner has written who it is: then it names nobody, and never
        // one that is dead.
        let fits = index == winner || *said == named || said == "alive 0";
        assert!(fits, "winner {}, dead {dead:?}: {said}", all[winner].pid());
    }
    winner
}

#[test]
fn never_two_creators_win() {
    let mut all = contenders(4);
    for _ in 0..2_000 {
        let ring = RingName::new("race-often");
        race(&mut all, &ring, 1, None);
    }
}

#[test]
fn one_of_many_creators_wins_and_after_its_death_one_of_the_others() {
    let mut all = contenders(5);
    for _ in 0..30 {
        let ring = RingName::new("race");
        let winner = race(&mut all, &ring, 1, None);
        let dead = all[winner].pid();
        all.remove(winner).kill();
        let winner = race(&mut all, &ring, 2, Some(dead));
        all.remove(winner).kill();
        assert_eq!(create_writer(ring.name(), 4).unwrap().stats().epoch, 3);
        assert_eq!(inspect::objects(ring.name()).len(), 2);
        all.extend(contenders(2));
    }
}

#[test]
fn one_of_many_wins_a_name_that_a_creator_left_half_made() {
    let mut all = contenders(4);
    for _ in 0..20 {
        let ring = RingName::new("race-half");
        File::create(ring.data_path()).unwrap();
        let winner = race(&mut all, &ring, 1, None);
        all.remove(winner).kill();
        all.extend(contenders(1));
    }
}

#[test]
fn ring_of_a_live_writer_cannot_be_unlinked_in_the_middle_of_a_rollover() {
    let mut random = Random::new();
    for _ in 0..40 {
        let ring = RingName::new("unlink-race");
        let mut writer = Child::spawn("grow", &[ring.name()]);
        assert_eq!(writer.hear(), "ready");
        writer.say("go");
        let alive = writer.pid();
        let done = std::thread::scope(|scope| {
            let done = scope.spawn(|| writer.hear());
            while !done.is_finished() {
                match unlink(ring.name()) {
                    Err(QADataSwapError::WriterAlive { pid, .. }) => assert_eq!(pid, alive),
                    other => panic!("the writer lives, but unlink gave {other:?}"),
                }
                random.dawdle(100);
            }
            done.join().unwrap()
        });
        assert_eq!(done, "24 rollovers");
        assert_eq!(inspect::objects(ring.name()).len(), 2);
    }
}
