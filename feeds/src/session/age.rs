//! How old the data of a frame was, told to the topic that it came on.
//!
//! Invariant: only data that a frame has just brought is judged, never updates that waited here for a
//! snapshot.

use super::Session;
use super::outbox::Outbox;
use crate::EventBody;
use crate::topic::Channel;

impl Session {
    /// Judges the events that [`Session::on_frame`] left in `out`; call it after that and before they
    /// are drained. Where the venue gives no time nothing is judged.
    pub fn watch_age(&mut self, out: &mut Outbox) {
        // All events of a frame are of one channel of one instrument, and the last is the frame's own.
        let Some(event) = out.events.last().filter(|event| event.ts_venue_ns != 0) else { return };
        let channel = match event.body {
            EventBody::BookBegin | EventBody::Level { .. } | EventBody::BookCommit { .. } => {
                Channel::Depth
            }
            EventBody::Top { .. } => Channel::BookTicker,
            EventBody::Trade { .. } => Channel::Trade,
            EventBody::Oracle { .. } => Channel::Oracle,
            EventBody::Desync { .. } => return,
        };
        let slot = self.slot_index(event.instrument);
        if let Some(topic) = slot.and_then(|slot| self.topic(slot, channel)) {
            self.topics.aged(topic, event.ts_recv_ns, event.ts_venue_ns, &mut out.topics);
        }
    }
}
