//! How a writer publishes Arrow batches: by the template of their schema, or through arrow-ipc.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use super::create::Stored;
use super::writer::Inner;
use crate::codec::encode_stream;
use crate::error::Result;
use crate::flat::{Pieces, There};
use crate::layout::SlotTable;
use crate::ring::{Descriptor, MessageKind, words};
use crate::sync::Ordering;

/// An Arrow stream with a note before it.
const NOTED_STREAM: Descriptor =
    Descriptor { kind: MessageKind::NotedStream, ..Descriptor::ARROW_STREAM };

impl Inner {
    /// Publishes these batches as one message.
    pub(super) fn write_batches(
        &mut self,
        schema: &SchemaRef,
        batches: &[RecordBatch],
    ) -> Result<()> {
        if let [batch] = batches
            && self.write_by_template(schema, batch)?
        {
            return Ok(());
        }
        let stream = encode_stream(schema, batches)?;
        let descriptor = Descriptor::ARROW_STREAM;
        self.claim(descriptor, stream.len())?;
        let (slot, pace) = self.claimed_and_pace(descriptor);
        let mut at = 0;
        pace.store(stream.len(), |way| {
            for part in stream.parts() {
                words::store_at(slot, at, part, way);
                at += part.len();
            }
        });
        self.publish(descriptor, at);
        Ok(())
    }

    /// Publishes a batch by the template of its schema; `false` if there is none.
    fn write_by_template(&mut self, schema: &SchemaRef, batch: &RecordBatch) -> Result<bool> {
        let Some(number) = self.templates.find(schema, batch) else { return Ok(false) };
        let layout = self.templates.layout(number);
        let descriptor = NOTED_STREAM;
        // They come while the batch is looked through.
        let slot = self.ring.data.slot(self.ring.publisher.index());
        words::prepare(&slot.payload[..1]);
        layout.prepare(&slot.payload[descriptor.first_word..]);
        let mut pieces: Pieces<'_> = std::mem::take(&mut self.pieces);
        let mut len = layout.plan(batch, &mut pieces)?;
        if len as u64 > self.ring.data.geometry().payload_capacity {
            len = layout.plan_tightly(&mut pieces);
        }
        if !self.claim_at_once(descriptor, len) {
            self.claim(descriptor, len)?;
        }
        // Relaxed: stored by this writer only.
        let epoch = self.ring.data.header().owner.epoch.load(Ordering::Relaxed);
        let layout = self.templates.layout(number);
        let stored = Stored { template: epoch << 32 | number, layout: layout.number() };
        let there = match self.ring.in_slot() {
            Some(there) if there == stored => There::Layout,
            Some(there) if there.template == stored.template => There::Template,
            _ => There::Other,
        };
        let slot = self.ring.data.slot(self.ring.publisher.index());
        layout.note(stored.template).store(slot);
        let stream = &slot.payload[descriptor.first_word..];
        self.pace.store(len, |way| layout.store(&pieces, stream, there, way));
        self.pieces = pieces.emptied();
        self.ring.set_in_slot(stored);
        self.publish(descriptor, len);
        Ok(true)
    }
}
