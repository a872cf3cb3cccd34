//! How often memory is allocated by a publish and by a read, once everything is warm.

use qadataswap::{ReaderOptions, WriterOptions};

use crate::Result;
use crate::batches::Batches;
use crate::channel::Channel;
use crate::counting::allocations;
use crate::payload::Payload;
use crate::process::{step, tell};
use crate::spec::{Outcome, Spec};

const SLOTS: usize = 16;
const CAPACITY: usize = 64 << 10;

/// Counts in one process, which writes and reads in turn.
pub fn run(spec: &Spec) -> Result<()> {
    let name = Channel { spec, number: 0 }.name();
    let writer = WriterOptions::new(SLOTS).slot_capacity(CAPACITY).create(&name)?;
    let reader = ReaderOptions::new().attach(&name)?;
    step("writing end is there")?;
    step("reading ends are there")?;
    let mut named = Vec::new();
    let mut buffer = vec![0; CAPACITY];
    for size in [40, 1 << 10, 8 << 10, 64 << 10] {
        let mut payload = Payload::new(size);
        let write = || Ok(writer.write(payload.message(0))?);
        let mut read = || reader.read_into(&mut buffer, 0).map(|_| ());
        let (writes, reads) = count(spec, write, || Ok(read()?))?;
        named.push((format!("write {size} B"), writes));
        named.push((format!("read_into {size} B"), reads));
        let mut read = {
            let (reader, mut out) = (&reader, Vec::new());
            move || reader.read_to(&mut out, 0).map(|_| ())
        };
        let message = payload.message(0).to_vec();
        let (_, reads) = count(spec, || Ok(writer.write(&message)?), || Ok(read()?))?;
        named.push((format!("read_to {size} B"), reads));
    }
    let value = [1u64; 5];
    let read = || reader.read_value::<[u64; 5]>(0).map(|_| ());
    let (writes, reads) = count(spec, || Ok(writer.write_value(&value)?), || Ok(read()?))?;
    named.push(("write_value".to_owned(), writes));
    named.push(("read_value".to_owned(), reads));
    let batches = Batches::new(1);
    let read = || reader.read_arrow(0).map(|_| ());
    let (writes, reads) =
        count(spec, || Ok(writer.write_arrow(batches.batch(0))?), || Ok(read()?))?;
    named.push(("write_arrow 1 row".to_owned(), writes));
    named.push(("read_arrow 1 row".to_owned(), reads));
    tell(&Outcome { messages: spec.count as u64, named, ..Outcome::default() })?;
    Ok(writer.unlink()?)
}

/// Allocations of each of the two for one message, on average.
fn count(
    spec: &Spec,
    mut write: impl FnMut() -> Result<()>,
    mut read: impl FnMut() -> Result<()>,
) -> Result<(f64, f64)> {
    let (mut writes, mut reads) = (0, 0);
    for number in 0..spec.total() {
        let (wrote, written) = allocations(&mut write);
        written?;
        let (got, done) = allocations(&mut read);
        done?;
        if number >= spec.warm_up as u64 {
            writes += wrote;
            reads += got;
        }
    }
    Ok((writes as f64 / spec.count as f64, reads as f64 / spec.count as f64))
}
