//! Everything in a ring that contradicts something else in it.

use super::view::Control;
use super::{
    Header, Inconsistency, Observation, Observer, Place, ReaderKind, ReaderView, SlotState,
    SlotView,
};
use crate::api::attach;
use crate::api::check_fork;
use crate::error::{HoldsReason, QADataSwapError, Result};
use crate::layout::DataSegment;

/// What is found, as it is found.
struct Findings(Vec<Inconsistency>);

impl Findings {
    /// Says that `found` does not go with `expected`, if `wrong`.
    fn add_if(
        &mut self,
        wrong: bool,
        place: Place,
        field: &'static str,
        found: u64,
        expected: u64,
    ) {
        if wrong {
            self.0.push(Inconsistency { place, field, found, expected });
        }
    }
}

pub(super) fn all(observer: &Observer) -> Result<Vec<Inconsistency>> {
    check_fork(observer.made_in)?;
    let before = observer.look()?;
    let (Some(data), Some(header)) = (observer.data(), &before.header) else {
        return Ok(before.faults);
    };
    let mut findings = Findings(before.faults.clone());
    check_header(observer, data, header, &mut findings)?;
    let slots = observer.slots()?;
    // What has been published meanwhile is not wrong.
    let after = observer.look()?;
    let next = after.header.map_or(header.published, |header| header.published);
    for slot in &slots {
        check_slot(slot, header, next, before.writer.alive || after.writer.alive, &mut findings);
    }
    match &after.control {
        Ok(control) => check_control(&after, control, header, next, &mut findings),
        // Not to be looked at by this user is not wrong.
        Err(HoldsReason::NoControlSegment) => findings.add_if(
            true,
            Place::Control,
            "is missing, or of another ring",
            0,
            header.ring_id,
        ),
        Err(_) => {}
    }
    Ok(findings.0)
}

fn check_header(
    observer: &Observer,
    data: &DataSegment,
    header: &Header,
    findings: &mut Findings,
) -> Result<()> {
    let last = header.published.saturating_sub(1) % header.slot_count;
    let has_memory = data.slot_has_memory(last).map_err(|e| e.on_ring(observer.name.as_str()))?;
    if header.published > header.first_position {
        // Without memory it was never written.
        findings.add_if(!has_memory, Place::Slot(last), "memory", 0, header.published);
        if has_memory && let Err(fault) = attach::check_published(data) {
            findings.0.push(fault.into());
        }
    }
    if let Err(QADataSwapError::Damaged { field, found, expected, .. }) =
        attach::check_claimed(&observer.name, data)
    {
        findings.0.push(Inconsistency { place: Place::Header, field, found, expected });
    }
    // Between the two stores of a publish it is one ahead.
    let most = header.published.saturating_add(1);
    findings.add_if(
        header.message_count > most,
        Place::Header,
        "message_count",
        header.message_count,
        most,
    );
    Ok(())
}

/// `next` is one past the last position published after the slot was looked at.
fn check_slot(
    slot: &SlotView,
    header: &Header,
    next: u64,
    writer_lives: bool,
    findings: &mut Findings,
) {
    let place = Place::Slot(slot.index);
    if slot.state == SlotState::Empty {
        return;
    }
    let own = slot.position % header.slot_count;
    findings.add_if(own != slot.index, place, "position", slot.position, slot.index);
    if slot.state == SlotState::Writing {
        // The next one is written again by the next writer; others were left behind by damage.
        let begun = slot.position == next || (writer_lives && slot.position <= next);
        findings.add_if(!begun, place, "position that is being written", slot.position, next);
        return;
    }
    // One may be published that the header does not say yet, if the writer died in between.
    let beyond = slot.position > next;
    findings.add_if(beyond, place, "position that was published", slot.position, next);
    let most = slot.position;
    findings.add_if(slot.sequence > most, place, "sequence", slot.sequence, most);
    if slot.state == SlotState::Published {
        let known = slot.kind.is_some();
        findings.add_if(!known, place, "kind", slot.kind_word.into(), 0);
        let (length, most) = (u64::from(slot.length), header.payload_capacity);
        findings.add_if(length > most, place, "length", length, most);
    }
}

fn check_control(
    seen: &Observation,
    control: &Control,
    header: &Header,
    next: u64,
    findings: &mut Findings,
) {
    let most = header.segment_number.saturating_add(1);
    let first = control.first_segment;
    findings.add_if(first > most, Place::Control, "first_segment", first, most);
    for reader in &seen.readers {
        check_entry(reader, control, header, next, findings);
    }
}

fn check_entry(
    reader: &ReaderView,
    control: &Control,
    header: &Header,
    next: u64,
    findings: &mut Findings,
) {
    let place = Place::Entry(reader.index);
    if let ReaderKind::Unknown(word) = reader.kind {
        findings.add_if(true, place, "kind", word.into(), 2);
    }
    // Left by a reader that died; the next who needs the entry, or the writer, clears it.
    let pid = reader.process.pid.into();
    findings.add_if(!reader.alive, place, "pid of a reader that is dead", pid, 0);
    let position = reader.position;
    findings.add_if(position > next, place, "position", position, next);
    let bit = |mask: u64| mask >> reader.index & 1;
    if let Some(gate) = reader.gate {
        findings.add_if(gate > next, place, "gate", gate, next);
        findings.add_if(bit(control.gating) == 0, place, "bit in gating", 0, 1);
    }
    if reader.lease_count() > 0 && reader.leases_segment == header.segment_number {
        findings.add_if(bit(control.leasing) == 0, place, "bit in leasing", 0, 1);
        for lease in reader.leases.into_iter().flatten() {
            let (slot, slots) = (u64::from(lease), header.slot_count);
            findings.add_if(slot >= slots, place, "slot that is leased", slot, slots);
        }
    }
    let counted = reader.consumed.saturating_add(reader.lost);
    let most = header.message_count.max(next);
    findings.add_if(counted > most, place, "consumed + lost", counted, most);
}
