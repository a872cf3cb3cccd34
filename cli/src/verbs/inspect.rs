//! `qads inspect`: everything that a ring's shared memory says, and everything in it that cannot be.

use std::io::{self, Write};

use qadataswap::observe::{Header, Observation, Observer, SlotState, SlotView};

use crate::failure::{Outcome, failed};
use crate::text::{self, Look, Table, cell, grouped, painted};
use crate::verbs::ls::kind_word;
use crate::verbs::processes;

const EXAMPLES: &str = "\
Examples:
  qads inspect ticks
  qads inspect ticks --slots 1000      more slots than the 64 that are shown otherwise

The words are explained in docs/protocol.md. Every inconsistency is named at the end; of a ring that is at work,
only those that are still there at a second look.

Exit status: 0 consistent, 1 failed or inconsistent, 2 wrong usage, 130 stopped with Ctrl-C.";

/// Show a ring's header, slots and control entries, and name every inconsistency
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct InspectArguments {
    /// The ring
    name: String,
    /// How many slots to show, the newest of them
    #[arg(long, value_name = "N", default_value_t = 64)]
    slots: usize,
}

pub fn run(arguments: &InspectArguments) -> Outcome {
    let observer = Observer::open(&arguments.name)?;
    let seen = observer.look()?;
    let colours = text::colours();
    let out = &mut io::stdout().lock();
    write_header(out, &seen, colours)?;
    write_slots(out, observer.slots()?, arguments.slots, seen.header.as_ref(), colours)?;
    write_control(out, &seen, colours)?;

    let mut wrong = observer.check()?;
    if !wrong.is_empty() {
        // What was only under way is over by now.
        let again = observer.check()?;
        wrong.retain(|inconsistency| again.contains(inconsistency));
    }
    writeln!(out, "\n{}", painted("inconsistencies", Look::Bold, colours))?;
    for inconsistency in &wrong {
        writeln!(out, "  {}", painted(&inconsistency.to_string(), Look::Bad, colours))?;
    }
    if wrong.is_empty() {
        writeln!(out, "  none")?;
        return Ok(());
    }
    out.flush()?;
    let count = match wrong.len() {
        1 => "an inconsistency".to_owned(),
        several => format!("{several} inconsistencies"),
    };
    Err(failed(format!("ring '{}' has {count}", arguments.name)))
}

fn write_header(out: &mut dyn Write, seen: &Observation, colours: bool) -> io::Result<()> {
    let title = format!("ring {}", text::tame(&seen.name));
    writeln!(out, "{}", painted(&title, Look::Bold, colours))?;
    let mut say = |name: &str, value: String| writeln!(out, "  {name:<18} {value}");
    say("object", processes::object_path(&text::tame(&seen.name)))?;
    say("permissions", format!("{:04o}, user {}", seen.mode, seen.owner))?;
    say("bytes", grouped(seen.bytes))?;
    say("bytes committed", grouped(seen.committed_bytes))?;
    let Some(header) = &seen.header else {
        return say("header", "none yet: the ring is being made, or was left unfinished".into());
    };
    say("abi_version", header.abi_version.to_string())?;
    say("header_bytes", header.header_bytes.to_string())?;
    say("segment_bytes", grouped(header.segment_bytes))?;
    say("slot_count", grouped(header.slot_count))?;
    say("slot_stride", grouped(header.slot_stride))?;
    say("payload_capacity", grouped(header.payload_capacity))?;
    let holds = if header.holds { "messages can be held" } else { "no holds" };
    say("features", format!("{:#x} ({holds})", header.features))?;
    say("ring_id", format!("{:016x}", header.ring_id))?;
    say("created_ns", header.created_ns.to_string())?;
    say("first_position", grouped(header.first_position))?;
    say("first_sequence", grouped(header.first_sequence))?;
    say("segment_number", header.segment_number.to_string())?;
    say("checksum", format!("{:016x}", header.checksum))?;
    say("published", grouped(header.published))?;
    say("message_count", grouped(header.message_count))?;
    say("message_bytes", grouped(header.message_bytes))?;
    say("lease skips", grouped(header.lease_skips()))?;
    say("claimed", grouped(header.claimed))?;
    say("wake_sequence", header.wake_sequence.to_string())?;
    say("state", format!("{:?}", header.phase).to_lowercase())?;
    let writer = &seen.writer;
    let alive = if writer.alive { "alive" } else { "gone" };
    let command = processes::command(writer.process.pid).filter(|_| writer.process.is_here);
    let command = command.map_or(String::new(), |command| format!(" ({command})"));
    say("writer", format!("{alive}, pid {}{command}, epoch {}", writer.process.pid, writer.epoch))
}

fn write_slots(
    out: &mut dyn Write,
    mut slots: Vec<SlotView>,
    most: usize,
    header: Option<&Header>,
    colours: bool,
) -> io::Result<()> {
    let used = slots.len();
    slots.retain(|slot| slot.state != SlotState::Empty);
    slots.sort_by_key(|slot| std::cmp::Reverse(slot.position));
    let of = header.map_or(0, |header| header.slot_count);
    let title = format!("slots: {} of {} have memory", grouped(used as u64), grouped(of));
    writeln!(out, "\n{}", painted(&title, Look::Bold, colours))?;
    if slots.is_empty() {
        return Ok(());
    }
    let heads = ["  SLOT", "STATE", "POSITION", "SEQUENCE", "LENGTH", "KIND"];
    let mut table = Table::new(&heads, &[0, 2, 3, 4]);
    for slot in slots.iter().take(most) {
        table.row(vec![
            cell(slot.index),
            cell(format!("{:?}", slot.state).to_lowercase()),
            cell(grouped(slot.position)),
            cell(grouped(slot.sequence)),
            cell(grouped(slot.length.into())),
            match slot.kind {
                Some(kind) => cell(format!("{kind:?}").to_lowercase()),
                None => (format!("unknown ({:#x})", slot.kind_word), Look::Bad),
            },
        ]);
    }
    table.write(out, colours)?;
    if slots.len() > most {
        writeln!(out, "  ... and {} older", grouped((slots.len() - most) as u64))?;
    }
    Ok(())
}

fn write_control(out: &mut dyn Write, seen: &Observation, colours: bool) -> io::Result<()> {
    writeln!(out, "\n{}", painted("control segment", Look::Bold, colours))?;
    let control = match &seen.control {
        Ok(control) => control,
        Err(reason) => return writeln!(out, "  not to be had: {reason}"),
    };
    let mut say = |name: &str, value: String| writeln!(out, "  {name:<18} {value}");
    say("first_segment", control.first_segment.to_string())?;
    say(
        "waiters",
        (if control.may_be_asleep { "somebody may be asleep" } else { "nobody" }).into(),
    )?;
    say("joins", control.joins.to_string())?;
    say("gating", format!("{:#018x}", control.gating))?;
    say("leasing", format!("{:#018x}", control.leasing))?;
    say("blocked", (if control.writer_blocked { "the writer waits" } else { "no" }).into())?;
    if seen.readers.is_empty() {
        return writeln!(out, "  no entries");
    }
    let heads = [
        "  ENTRY", "KIND", "OWNER", "PID", "POSITION", "LAG", "CONSUMED", "LOST", "OVERRUNS",
        "TIMEOUTS", "GATE", "LEASES",
    ];
    let mut table = Table::new(&heads, &[0, 3, 4, 5, 6, 7, 8, 9, 10]);
    for reader in &seen.readers {
        let leases = reader.leases.iter().flatten().map(|slot| slot.to_string());
        let gate = reader.gate.map_or_else(|| "-".to_owned(), grouped);
        table.row(vec![
            cell(reader.index),
            cell(kind_word(reader.kind)),
            if reader.alive { cell("alive") } else { ("dead".to_owned(), Look::Bad) },
            cell(reader.process.pid),
            cell(grouped(reader.position)),
            cell(grouped(reader.lag)),
            cell(grouped(reader.consumed)),
            cell(grouped(reader.lost)),
            cell(grouped(reader.overruns)),
            cell(grouped(reader.timeouts)),
            cell(if reader.joining { "joining".to_owned() } else { gate }),
            cell(leases.collect::<Vec<_>>().join(" ")),
        ]);
    }
    table.write(out, colours)
}
