//! The signals that the client library may hold: a fixed number of slots, allocated once.
//!
//! Invariants: a value that was handed to the library is not written to, moved or freed before every
//! hand-over of it has been reported back ([`Window::end_report`]); a slot is free, or owned by whoever
//! acquired it. Nothing allocates after construction.

use std::{fmt, ptr::NonNull};

use super::envelope::Envelope;
use crate::signals::encode::MAX_LINE_BYTES;

/// Room for a value, bytes.
pub const MAX_VALUE_BYTES: usize = MAX_LINE_BYTES;

/// Index of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub(crate) u32);

impl Slot {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// See the module.
pub struct Window {
    envelopes: Box<[Envelope]>,
    lens: Box<[u32]>,
    /// Hand-overs that have not been reported back.
    pending: Box<[u8]>,
    /// `MAX_VALUE_BYTES` a slot. Behind a pointer because the library reads through its own copies of it.
    values: NonNull<[u8]>,
    free: Vec<u32>,
}

// SAFETY: the pointer is to memory that only this value owns.
unsafe impl Send for Window {}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Window({} of {} slots free)", self.free.len(), self.lens.len())
    }
}

impl Window {
    /// A window of so many slots.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let values = Box::leak(vec![0; slots * MAX_VALUE_BYTES].into_boxed_slice());
        Self {
            envelopes: vec![Envelope::EMPTY; slots].into(),
            lens: vec![0; slots].into(),
            pending: vec![0; slots].into(),
            values: NonNull::from(values),
            free: (0..slots as u32).rev().collect(),
        }
    }

    /// Slots there are.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.lens.len()
    }

    /// Free slots.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Takes a free slot and lets `write` fill in the value; `None` where there is no free one or `write`
    /// says that the value does not fit.
    pub fn acquire(
        &mut self,
        envelope: &Envelope,
        write: impl FnOnce(&mut [u8; MAX_VALUE_BYTES]) -> Option<usize>,
    ) -> Option<Slot> {
        let slot = Slot(*self.free.last()?);
        // SAFETY: a free slot has no pending hand-over, so nobody reads its bytes, which lie within
        // the allocation and are not borrowed elsewhere while `self` is.
        let value = unsafe { &mut *self.value_ptr(slot).cast::<[u8; MAX_VALUE_BYTES]>() };
        self.lens[slot.index()] = write(value)?.min(MAX_VALUE_BYTES) as u32;
        self.envelopes[slot.index()] = *envelope;
        self.free.pop();
        Some(slot)
    }

    /// Gives a slot back.
    pub fn release(&mut self, slot: Slot) {
        debug_assert_eq!(self.pending[slot.index()], 0, "the library still reads slot {slot:?}");
        if self.pending[slot.index()] == 0 {
            self.free.push(slot.0);
        }
    }

    /// The envelope of a slot.
    #[must_use]
    pub fn envelope(&self, slot: Slot) -> &Envelope {
        &self.envelopes[slot.index()]
    }

    /// The value in a slot.
    #[must_use]
    pub fn value(&self, slot: Slot) -> &[u8] {
        let len = self.lens[slot.index()] as usize;
        // SAFETY: `len` bytes from there lie within the allocation; only `acquire` writes to them, which
        // borrows `self` mutably.
        unsafe { std::slice::from_raw_parts(self.value_ptr(slot), len) }
    }

    /// Where the value begins, valid until the window is dropped.
    pub(super) fn value_ptr(&self, slot: Slot) -> *mut u8 {
        debug_assert!(slot.index() < self.slots());
        // SAFETY: slots are only made by `acquire`, so that the offset lies within the allocation.
        unsafe { self.values.as_ptr().cast::<u8>().add(slot.index() * MAX_VALUE_BYTES) }
    }

    /// Counts a hand-over to the library.
    pub fn begin_report(&mut self, slot: Slot) {
        self.pending[slot.index()] += 1;
    }

    /// Counts what became of a hand-over; returns how many are left.
    pub fn end_report(&mut self, slot: Slot) -> u8 {
        let pending = &mut self.pending[slot.index()];
        *pending = pending.saturating_sub(1);
        *pending
    }

    /// Hand-overs of a slot that have not been reported back.
    #[must_use]
    pub fn pending(&self, slot: Slot) -> u8 {
        self.pending[slot.index()]
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: made by `Box::leak` in `new` and freed here alone; the library is gone (see
        // `NativeProducer`, which owns the window and destroys the client first).
        drop(unsafe { Box::from_raw(self.values.as_ptr()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(window: &mut Window, text: &[u8]) -> Option<Slot> {
        window.acquire(&Envelope::EMPTY, |value| {
            value[..text.len()].copy_from_slice(text);
            Some(text.len())
        })
    }

    #[test]
    fn slots_are_handed_out_once_and_come_back() {
        let mut window = Window::new(2);
        let a = put(&mut window, b"first").unwrap();
        let b = put(&mut window, b"second").unwrap();
        assert_eq!(put(&mut window, b"third"), None);
        assert_eq!((window.value(a), window.value(b)), (&b"first"[..], &b"second"[..]));
        window.release(a);
        assert_eq!(put(&mut window, b"third"), Some(a));
        assert_eq!(window.value(b), b"second");
    }

    #[test]
    fn what_does_not_fit_takes_no_slot() {
        let mut window = Window::new(1);
        assert_eq!(window.acquire(&Envelope::EMPTY, |_| None), None);
        assert_eq!(window.free(), 1);
    }
}
