//! A bounded single-producer, single-consumer ring of whole byte messages.
//!
//! Carries what hot threads hand to slow ones (journal lines, Kafka values, records): a message is
//! either in the ring completely or not at all, nothing allocates on the sending side, and a full
//! ring is an answer, not a wait.

use std::mem::MaybeUninit;

use rtrb::{Consumer, CopyToUninit, Producer, RingBuffer, chunks::ChunkError};

use super::waker::Waker;

const PREFIX_BYTES: usize = 4;

/// The sending half.
#[derive(Debug)]
pub struct ByteSender {
    ring: Producer<u8>,
    waker: Waker,
}

/// The receiving half.
#[derive(Debug)]
pub struct ByteReceiver {
    ring: Consumer<u8>,
    waker: Waker,
}

/// A ring of `capacity_bytes`; each message costs 4 bytes beside its own. `waker` is woken after
/// every message.
#[must_use]
pub fn byte_ring(capacity_bytes: usize, waker: Waker) -> (ByteSender, ByteReceiver) {
    let (producer, consumer) = RingBuffer::new(capacity_bytes);
    (ByteSender { ring: producer, waker: waker.clone() }, ByteReceiver { ring: consumer, waker })
}

impl ByteSender {
    /// Sends the concatenation of `parts` as one message; `false` if it does not fit now.
    pub fn try_send(&mut self, parts: &[&[u8]]) -> bool {
        let len: usize = parts.iter().map(|p| p.len()).sum();
        let Ok(prefix) = u32::try_from(len) else { return false };
        let Ok(mut chunk) = self.ring.write_chunk_uninit(PREFIX_BYTES + len) else { return false };
        let (head, tail) = chunk.as_mut_slices();
        let (head, tail) = copy(&prefix.to_le_bytes(), head, tail);
        parts.iter().fold((head, tail), |(head, tail), part| copy(part, head, tail));
        // SAFETY: the prefix and all parts, together as long as the chunk, have just been copied in.
        unsafe { chunk.commit_all() };
        self.waker.wake();
        true
    }

    /// Whether the receiver is gone.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }
}

/// Copies `part` to the start of `head` continued by `tail`; returns what is left of the two.
fn copy<'a>(
    part: &[u8],
    head: &'a mut [MaybeUninit<u8>],
    tail: &'a mut [MaybeUninit<u8>],
) -> (&'a mut [MaybeUninit<u8>], &'a mut [MaybeUninit<u8>]) {
    let (first, second) = part.split_at(part.len().min(head.len()));
    let (into_head, head) = head.split_at_mut(first.len());
    let (into_tail, tail) = tail.split_at_mut(second.len());
    first.copy_to_uninit(into_head);
    second.copy_to_uninit(into_tail);
    (head, tail)
}

impl ByteReceiver {
    /// Moves the next message into `into` (cleared first); `false` if there is none.
    pub fn try_recv(&mut self, into: &mut Vec<u8>) -> bool {
        into.clear();
        let len = match self.ring.read_chunk(PREFIX_BYTES) {
            Ok(chunk) => {
                let mut prefix = [0; PREFIX_BYTES];
                for (to, from) in prefix.iter_mut().zip(chunk) {
                    *to = from;
                }
                u32::from_le_bytes(prefix) as usize
            }
            Err(ChunkError::TooFewSlots(_)) => return false,
        };
        // Prefix and body were published together, so the body is here.
        if let Ok(chunk) = self.ring.read_chunk(len) {
            let (head, tail) = chunk.as_slices();
            into.extend_from_slice(head);
            into.extend_from_slice(tail);
            chunk.commit_all();
        }
        true
    }

    /// Whether the sender is gone and everything has been read.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        // The order matters: nothing can be sent after the sender is gone.
        self.ring.is_abandoned() && self.ring.is_empty()
    }

    /// Whether there is nothing to read now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// What the sender wakes after each message.
    #[must_use]
    pub fn waker(&self) -> &Waker {
        &self.waker
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_in_order_and_a_full_ring_says_no() {
        let (mut tx, mut rx) = byte_ring(16, Waker::default());
        let mut got = Vec::new();
        for round in 0..100u8 {
            assert!(tx.try_send(&[&[round], b"ab"]));
            assert!(tx.try_send(&[b"x"]));
            assert!(!tx.try_send(&[b"yz"]), "only four of six bytes are free");
            assert!(rx.try_recv(&mut got));
            assert_eq!(got, [round, b'a', b'b']);
            assert!(rx.try_recv(&mut got));
            assert_eq!(got, b"x");
            assert!(!rx.try_recv(&mut got));
        }
        drop(tx);
        assert!(rx.is_finished());
    }
}
