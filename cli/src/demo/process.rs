//! What must not be left behind: the demo's processes and its ring.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::wire::Fallible;

/// A child that talks over pipes. Killed and waited for when dropped.
pub struct Process(Child);

/// The name of a ring that is this run's own; the ring is removed when this is dropped.
pub struct Ring(String);

impl Process {
    /// Starts it. `said` gets each line that it says, and `None` when it has ended.
    pub fn start(
        mut command: Command,
        said: impl Fn(Option<String>) + Send + 'static,
    ) -> io::Result<Self> {
        // A process group of its own: Ctrl-C on the terminal is for the parent, who then cleans up.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut process = command.spawn()?;
        let from = process.stdout.take().expect("piped");
        std::thread::spawn(move || {
            BufReader::new(from).lines().map_while(Result::ok).for_each(|line| said(Some(line)));
            said(None);
        });
        Ok(Self(process))
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Says a line to the child.
    pub fn order(&mut self, line: &str) {
        if let Some(to) = &mut self.0.stdin {
            // A child that has ended is noticed by the end of what it says.
            let _ = writeln!(to, "{line}");
        }
    }

    /// kill -9. Returns the pid it had.
    pub fn kill(&mut self) -> io::Result<u32> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(self.0.id())
    }

    /// Lets the child end and waits until it has.
    pub fn finish(mut self) -> io::Result<()> {
        drop(self.0.stdin.take());
        self.0.wait().map(drop)
    }

    /// For a child that has ended: with which status.
    pub fn how_it_ended(&mut self) -> String {
        self.0.wait().map_or_else(|error| error.to_string(), |status| status.to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Neither can fail for a child that was not waited for; for others there is nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Ring {
    /// The name asked for, or a new one that begins with the verb's. It must be free: the ring is removed in the end.
    pub fn choose(verb: &str, wanted: Option<&str>) -> Fallible<Self> {
        let taken = qadataswap::list()?;
        let is_taken = |name: &str| taken.iter().any(|other| other == name);
        if let Some(name) = wanted {
            return match is_taken(name) {
                true => {
                    Err(format!("there is a ring '{name}' already; choose another name").into())
                }
                false => Ok(Self(name.to_owned())),
            };
        }
        // Someone that was killed may have had the same pid and have left one.
        let own = format!("{verb}-{}", std::process::id());
        let more = (2u32..).map(|number| format!("{own}-{number}"));
        let free = std::iter::once(own.clone()).chain(more).find(|name| !is_taken(name));
        Ok(Self(free.unwrap_or(own)))
    }

    pub fn name(&self) -> &str {
        &self.0
    }

    /// Removes the ring.
    pub fn remove(&self) -> qadataswap::Result<()> {
        qadataswap::unlink(&self.0)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Usually it is gone already, or was never made.
        let _ = self.remove();
    }
}
