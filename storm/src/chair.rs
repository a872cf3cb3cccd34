//! What a storm consists of, and what must not be left behind: its processes and its ring.

use std::io;
use std::process::Child;
use std::time::Instant;

use crate::board::{Board, Count, SEATS};
use crate::seat::Kind;

/// A process at a seat, or the place for the next one. The process is killed when this is dropped.
pub struct Chair {
    /// `None`: the writer.
    pub kind: Option<Kind>,
    pub process: Option<Child>,
    /// Until when it is stopped.
    pub stopped: Option<Instant>,
    /// When the next one is due; `None` if nobody follows.
    pub due: Option<Instant>,
}

impl Chair {
    /// An empty one, for a process that is due now.
    pub fn new(kind: Option<Kind>) -> Self {
        Self { kind, process: None, stopped: None, due: Some(Instant::now()) }
    }

    /// Where the tally counts whoever has this chair.
    pub fn place(&self) -> usize {
        self.kind.map_or(0, |kind| 1 + kind as usize)
    }

    pub fn name(&self) -> &'static str {
        self.kind.map_or("writer", Kind::name)
    }
}

impl Drop for Chair {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // Neither can fail for a child that has not been waited for.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A ring; nothing of it is left when this is dropped.
pub struct Ring {
    pub name: String,
    pub slots: usize,
    pub capacity: usize,
    /// How many of the policies its writers have.
    pub policies: usize,
}

impl Ring {
    /// What is left of it in /dev/shm.
    pub fn objects(&self) -> io::Result<Vec<String>> {
        let own = format!("qads_{}", self.name);
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/dev/shm")? {
            let object = entry?.file_name().into_string().unwrap_or_default();
            let rest = object.strip_prefix(&own);
            if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
                found.push(object);
            }
        }
        Ok(found)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        for object in self.objects().unwrap_or_default() {
            let _ = std::fs::remove_file(format!("/dev/shm/{object}"));
        }
    }
}

/// When each seat was last seen to come forward.
pub struct Watch(pub [(u64, Instant); SEATS]);

impl Watch {
    pub fn new(board: &Board) -> Self {
        let messages = |seat| board.seat(seat).get(Count::Messages);
        Self(std::array::from_fn(|seat| (messages(seat), Instant::now())))
    }

    pub fn look(&mut self, board: &Board) {
        for (seat, (known, since)) in self.0.iter_mut().enumerate() {
            let messages = board.seat(seat).get(Count::Messages);
            if *known != messages {
                (*known, *since) = (messages, Instant::now());
            }
        }
    }
}
