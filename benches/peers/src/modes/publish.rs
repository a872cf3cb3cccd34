//! What a publish costs its writer, alone or with many readers attached that do nothing.

use qadataswap::{Reader, ReaderOptions};

use crate::Result;
use crate::channel::Channel;
use crate::clock;
use crate::ports::{Out, Ports};
use crate::process::{step, tell};
use crate::spec::{Impl, Outcome, Spec};

/// The writer (role 0), or a process that holds idle readers.
pub fn run<P: Ports>(spec: &Spec) -> Result<()> {
    if spec.role != 0 {
        return idle(spec);
    }
    let mut out = P::out(&Channel { spec, number: 0 })?;
    step("writing end is there")?;
    step("idle readers are there")?;
    for number in 0..spec.warm_up as u64 {
        out.send(number)?;
    }
    let from = clock::now();
    for number in spec.warm_up as u64..spec.total() {
        out.send(number)?;
    }
    let elapsed_ns = (clock::now() - from) as f64 * spec.ns_per_tick;
    tell(&Outcome { messages: spec.count as u64, elapsed_ns, ..Outcome::default() })
}

/// Attaches ordinary (lossy) readers, as any program would, and sleeps.
fn idle(spec: &Spec) -> Result<()> {
    if !matches!(spec.implementation, Impl::Qadataswap) {
        return Err("only qadataswap is measured with idle readers".into());
    }
    step("writing end is there")?;
    let name = Channel { spec, number: 0 }.name();
    let attach = |_| ReaderOptions::new().attach(&name);
    let readers = (0..spec.handles).map(attach).collect::<Result<Vec<Reader>, _>>()?;
    step("idle readers are there")?;
    let told = tell(&Outcome::default());
    drop(readers);
    told
}
