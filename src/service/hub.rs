//! Server-sent events to several clients: each has a bounded queue, and who does not keep up loses events, not
//! the others.
//!
//! Invariants: at most [`MAX_STREAMS`] clients; an event is made once for all who get it; what a client lost is
//! counted and told to it before the next event that it gets.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

/// Most clients at a time.
pub const MAX_STREAMS: usize = 32;

/// Events that wait for a client, of each kind of stream.
const SIGNALS_QUEUE: usize = 1_024;
const FRAMES_QUEUE: usize = 16;

/// What a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Signals, of one instrument or of all.
    Signals {
        /// The instrument.
        instrument: Option<usize>,
    },
    /// What the dashboard shows.
    Frames {
        /// The instrument whose book it shows.
        book: usize,
    },
}

/// The body of a stream.
#[derive(Debug)]
pub struct EventStream(Receiver<Bytes>);

impl Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

#[derive(Debug)]
struct Client {
    wants: Wants,
    queue: Sender<Bytes>,
    /// Lost since the last event that it got.
    lost: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Hub {
    clients: Vec<Client>,
    lost: u64,
    sent: u64,
}

/// An event as it goes over the wire.
#[must_use]
pub fn event(kind: &str, id: Option<u64>, data: &str) -> Bytes {
    let id = id.map_or(String::new(), |id| format!("id: {id}\n"));
    Bytes::from(format!("event: {kind}\n{id}data: {data}\n\n"))
}

impl Hub {
    /// Another client, which gets `first` before all else; `None` where there are too many.
    pub fn subscribe(
        &mut self,
        wants: Wants,
        first: impl IntoIterator<Item = Bytes>,
    ) -> Option<EventStream> {
        self.clients.retain(|client| !client.queue.is_closed());
        if self.clients.len() >= MAX_STREAMS {
            return None;
        }
        let (queue, events) = channel(match wants {
            Wants::Signals { .. } => SIGNALS_QUEUE,
            Wants::Frames { .. } => FRAMES_QUEUE,
        });
        let mut client = Client { wants, queue, lost: 0 };
        for event in first {
            self.lost += u64::from(!client.send(event));
        }
        self.clients.push(client);
        Some(EventStream(events))
    }

    /// Gives an event to all who want it; `make` is called once at most, and only if somebody does.
    pub fn send(&mut self, is_for: impl Fn(Wants) -> bool, make: impl FnOnce() -> Option<Bytes>) {
        let mut make = Some(make);
        let mut made = None;
        let (mut lost, mut sent) = (0, 0);
        self.clients.retain_mut(|client| {
            if !is_for(client.wants) {
                return !client.queue.is_closed();
            }
            if let Some(make) = make.take() {
                made = make();
            }
            let Some(event) = made.clone() else { return true };
            let was_sent = client.send(event);
            sent += u64::from(was_sent);
            lost += u64::from(!was_sent);
            !client.queue.is_closed()
        });
        self.lost += lost;
        self.sent += sent;
    }

    /// What the clients want, each wish once.
    #[must_use]
    pub fn wishes(&self) -> Vec<Wants> {
        let mut wishes: Vec<Wants> = Vec::new();
        for client in &self.clients {
            if !wishes.contains(&client.wants) {
                wishes.push(client.wants);
            }
        }
        wishes
    }

    /// How many clients there are, events they got, and events they lost.
    #[must_use]
    pub fn counts(&self) -> [u64; 3] {
        let open = self.clients.iter().filter(|client| !client.queue.is_closed()).count();
        [open as u64, self.sent, self.lost]
    }
}

impl Client {
    /// Whether there was room. A client that is gone counts as having got it.
    fn send(&mut self, event: Bytes) -> bool {
        if self.lost > 0 {
            match self.queue.try_send(self::event("lost", None, &self.lost.to_string())) {
                Ok(()) => self.lost = 0,
                Err(TrySendError::Full(_)) => {
                    self.lost += 1;
                    return false;
                }
                Err(TrySendError::Closed(_)) => return true,
            }
        }
        match self.queue.try_send(event) {
            Err(TrySendError::Full(_)) => {
                self.lost += 1;
                false
            }
            Ok(()) | Err(TrySendError::Closed(_)) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(stream: &mut EventStream) -> Vec<String> {
        let mut events = Vec::new();
        while let Ok(event) = stream.0.try_recv() {
            events.push(String::from_utf8(event.to_vec()).unwrap());
        }
        events
    }

    #[test]
    fn a_client_that_does_not_keep_up_is_told_how_much_it_lost_and_costs_the_others_nothing() {
        let mut hub = Hub::default();
        let frames = Wants::Frames { book: 0 };
        let mut slow = hub.subscribe(frames, [event("hello", None, "{}")]).unwrap();
        let mut quick = hub.subscribe(frames, []).unwrap();
        for k in 0..FRAMES_QUEUE as u64 + 4 {
            hub.send(|_| true, || Some(event("frame", Some(k), "{}")));
            assert_eq!(received(&mut quick).len(), 1);
        }
        // The greeting took one place.
        assert_eq!(hub.counts(), [2, 2 * FRAMES_QUEUE as u64 + 3, 5]);
        assert_eq!(received(&mut slow).len(), FRAMES_QUEUE);
        hub.send(|_| true, || Some(event("frame", None, "{}")));
        assert_eq!(received(&mut slow), ["event: lost\ndata: 5\n\n", "event: frame\ndata: {}\n\n"]);
    }

    #[test]
    fn an_event_is_made_once_and_only_for_those_who_want_it() {
        let mut hub = Hub::default();
        let one = |k| Wants::Signals { instrument: Some(k) };
        let mut a = hub.subscribe(one(0), []).unwrap();
        let mut b = hub.subscribe(one(0), []).unwrap();
        let mut made = 0;
        hub.send(
            |wants| wants == one(1),
            || {
                made += 1;
                None
            },
        );
        assert_eq!(made, 0);
        hub.send(
            |wants| wants == one(0),
            || {
                made += 1;
                Some(event("signal", Some(9), "{}"))
            },
        );
        assert_eq!((made, received(&mut a).len(), received(&mut b).len()), (1, 1, 1));
        assert_eq!(hub.wishes(), [one(0)]);
        drop(a);
        assert_eq!(hub.counts()[0], 1);
    }

    #[test]
    fn there_is_a_limit_to_the_clients_and_those_who_left_do_not_count() {
        let mut hub = Hub::default();
        let wants = Wants::Frames { book: 0 };
        let mut streams: Vec<_> =
            (0..MAX_STREAMS).map(|_| hub.subscribe(wants, []).unwrap()).collect();
        assert!(hub.subscribe(wants, []).is_none());
        streams.pop();
        assert!(hub.subscribe(wants, []).is_some());
    }
}
