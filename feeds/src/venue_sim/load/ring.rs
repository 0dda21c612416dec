//! The frames of one lap for one session, rendered once; of each, the numbers that grow.
//!
//! A lap is rendered twice in a row. The two texts of a frame differ only in numbers, all of the
//! same width, which are found by comparing the texts: no dialect has to say where its numbers are.
//!
//! Invariant: the text of lap k equals what the dialect would render; writing one allocates nothing.

use super::lap::Lap;
use crate::Side;
use crate::venue_sim::book::ModelBook;
use crate::venue_sim::dialect::{BookFrame, Checksum, Dialect, Session, Topic};
use crate::venue_sim::view::DepthView;

/// A number of 16 digits or fewer that grows by the same amount in each lap.
#[derive(Clone, Copy, Debug)]
struct Patch {
    at: u32,
    width: u8,
    value: u64,
    per_lap: u64,
}

#[derive(Debug)]
struct Frame {
    /// Place in the endless round, in the ring's first lap.
    place: u64,
    text: Box<[u8]>,
    patches: Box<[Patch]>,
}

/// Why a lap cannot be rendered once and for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotPatchable;

/// The frames of a session.
#[derive(Debug)]
pub(crate) struct Ring {
    frames: Vec<Frame>,
    next: usize,
    lap: u64,
    lap_length: u64,
}

impl Ring {
    /// Renders the round from `place` on for the topics of a session as it is now.
    pub(crate) fn new(
        dialect: &dyn Dialect,
        lap: &Lap,
        place: u64,
        topics: &[Topic],
        session: &Session,
    ) -> Result<Self, NotPatchable> {
        let mut session = session.clone();
        let first = render(dialect, lap, place, topics, &mut session);
        let lap_length = lap.updates.len() as u64;
        let second = render(dialect, lap, place + lap_length, topics, &mut session);
        if first.len() != second.len() {
            return Err(NotPatchable);
        }
        let frames = first.into_iter().zip(second).map(|((place, text), (_, later))| {
            let patches = patches(&text, &later)?.into();
            Ok(Frame { place, text: text.into(), patches })
        });
        Ok(Self { frames: frames.collect::<Result<_, _>>()?, next: 0, lap: 0, lap_length })
    }

    /// Appends the next frame to `out`, its header by `header`, and returns its place in the round;
    /// `None` when the ring is empty.
    pub(crate) fn write_next(
        &mut self,
        out: &mut Vec<u8>,
        header: impl FnOnce(&mut Vec<u8>, usize),
    ) -> Option<u64> {
        let frame = self.frames.get(self.next)?;
        header(out, frame.text.len());
        let start = out.len();
        out.extend_from_slice(&frame.text);
        for patch in &frame.patches {
            let mut value = patch.value + self.lap * patch.per_lap;
            let at = start + patch.at as usize;
            for digit in out[at..at + usize::from(patch.width)].iter_mut().rev() {
                *digit = b'0' + (value % 10) as u8;
                value /= 10;
            }
        }
        let place = frame.place + self.lap * self.lap_length;
        self.next += 1;
        if self.next == self.frames.len() {
            (self.next, self.lap) = (0, self.lap + 1);
        }
        Some(place)
    }

    /// Frames written so far.
    pub(crate) fn written(&self) -> u64 {
        self.lap * self.frames.len() as u64 + self.next as u64
    }
}

/// One lap as text, with the place of each frame.
fn render(
    dialect: &dyn Dialect,
    lap: &Lap,
    from: u64,
    topics: &[Topic],
    session: &mut Session,
) -> Vec<(u64, Vec<u8>)> {
    let leaving_level = dialect.facts().leaving_level;
    let mut books: Vec<ModelBook> =
        (0..lap.listings.len()).map(|i| lap.before(from, i).book).collect();
    let mut views: Vec<_> = topics
        .iter()
        .map(|topic| {
            let book = &books[usize::from(topic.instrument)];
            (topic.depth > 0).then(|| DepthView::new(topic.depth, book))
        })
        .collect();
    let mut frames = Vec::with_capacity(lap.updates.len());
    for place in from..from + lap.updates.len() as u64 {
        let update = lap.at(place);
        let book = &mut books[update.instrument];
        for change in &update.changes {
            book.set(change.side, change.price, change.qty);
        }
        for (topic, view) in topics.iter().zip(&mut views) {
            if usize::from(topic.instrument) != update.instrument {
                continue;
            }
            let changes = match view {
                Some(view) => view.advance(book, leaving_level),
                None => &update.changes[..],
            };
            let frame = BookFrame {
                listing: &lap.listings[update.instrument],
                topic: *topic,
                book,
                changes,
                ids: lap.ids_at(place),
                venue_ns: update.venue_ns,
                checksum: Checksum::True,
                is_restart: false,
            };
            let mut text = Vec::with_capacity(256);
            dialect.write_update(session, &frame, &mut text);
            if !text.is_empty() {
                frames.push((place, text));
            }
        }
    }
    debug_assert!(books.iter().all(|book| !book.levels(Side::Bid).is_empty()));
    frames
}

/// The numbers in which two texts of the same frame differ.
fn patches(first: &[u8], second: &[u8]) -> Result<Vec<Patch>, NotPatchable> {
    if first.len() != second.len() {
        return Err(NotPatchable);
    }
    let mut list = Vec::new();
    let mut at = 0;
    while let Some(step) = first[at..].iter().zip(&second[at..]).position(|(a, b)| a != b) {
        let differs = at + step;
        let is_digit = |at: usize| first.get(at).is_some_and(u8::is_ascii_digit);
        let start =
            (0..=differs).rev().take_while(|at| is_digit(*at)).last().ok_or(NotPatchable)?;
        let end = (differs..first.len()).find(|at| !is_digit(*at)).unwrap_or(first.len());
        let number = |text: &[u8]| std::str::from_utf8(&text[start..end]).ok()?.parse::<u64>().ok();
        let value = number(first).ok_or(NotPatchable)?;
        let later = number(second).ok_or(NotPatchable)?;
        let (width, start) = (end - start, start as u32);
        let per_lap = later.checked_sub(value).ok_or(NotPatchable)?;
        let width = u8::try_from(width).map_err(|_| NotPatchable)?;
        list.push(Patch { at: start, width, value, per_lap });
        at = end;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue_sim::dialect::Channel;
    use crate::venue_sim::dialects::{Binance, Bybit};
    use crate::venue_sim::model::{Listing, ModelConfig};

    #[test]
    fn frames_of_later_laps_are_what_the_dialect_would_render() {
        let listings = vec![Listing::like_btc("A"), Listing::like_btc("B")];
        let config = ModelConfig { listings, ..ModelConfig::default() };
        let lap = Lap::new(&config, 50).unwrap();
        let topic =
            |instrument, depth| Topic { instrument, channel: Channel::Book, depth, variant: 0 };
        let cases: [(&dyn Dialect, [Topic; 2]); 3] = [
            (&Binance::SPOT, [topic(0, 0), topic(1, 0)]),
            (&Binance::USDM, [topic(0, 0), topic(1, 0)]),
            (&Bybit::LINEAR, [topic(0, 50), topic(1, 200)]),
        ];
        for (dialect, topics) in cases {
            // Not from the start of a lap, as after a subscription under load.
            let mut ring = Ring::new(dialect, &lap, 33, &topics, &Session::new(0)).unwrap();
            for lap_number in 0..4 {
                let from = 33 + lap_number * 100;
                let expected = render(dialect, &lap, from, &topics, &mut Session::new(0));
                assert_eq!(ring.written(), lap_number * 100);
                for (place, text) in expected {
                    let mut out = Vec::new();
                    assert_eq!(ring.write_next(&mut out, |_, _| {}), Some(place));
                    assert_eq!(String::from_utf8(out), String::from_utf8(text));
                }
            }
        }
    }
}
