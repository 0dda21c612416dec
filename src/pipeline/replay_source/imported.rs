//! Records of events: an import's, replayed by the event clock.
//!
//! Invariants: a cycle is never cut within a message; every complete message is followed by its
//! `FrameEnd`, as a frame is.

use purkinje_feeds::{EventBody, net::Link, recording::events::events};

use super::{EventClock, Input, Line, ReplayError, ReplaySource};
use crate::{clock::monotonic_ns, pipeline::event_feed::Feed};

impl ReplaySource {
    /// Replays the events of one record of a connection.
    pub(super) fn imported(
        &mut self,
        line: usize,
        bytes: &[u8],
        clock: &mut EventClock,
    ) -> Result<(), ReplayError> {
        let mut begin_ns = monotonic_ns();
        for event in events(bytes) {
            let event = event?;
            if !self.lines[line].is_within {
                begin_ns = monotonic_ns();
                self.notes.frames += 1;
                self.note_order((line, Link::Active), event.ts_recv_ns);
                self.note_latency(event.ts_recv_ns, event.ts_sent_ns);
                while let Some(cut) = clock.due(event.ts_recv_ns) {
                    self.cut(cut);
                }
            }
            let Line { feed, out, is_within, .. } = &mut self.lines[line];
            let Feed::Events(feed) = feed else {
                return Err(ReplayError::Carries { connection: line, found: "events" });
            };
            let is_known = feed.take(&event, &mut |event| out.items.push_back(Input::Event(event)));
            if !is_known {
                return Err(ReplayError::Instrument { found: event.instrument.0 });
            }
            *is_within = matches!(event.body, EventBody::BookBegin | EventBody::Level { .. });
            if !*is_within {
                let decoded_mono_ns = monotonic_ns();
                self.decode.record(decoded_mono_ns - begin_ns);
                out.items.push_back(Input::FrameEnd { recv_mono_ns: begin_ns, decoded_mono_ns });
                self.release(line);
            }
        }
        Ok(())
    }
}
