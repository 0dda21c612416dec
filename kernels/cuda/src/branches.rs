//! Streams beside a driver's own, on which the branches of a graph are captured.
//!
//! A capture forks where another stream waits for an event that the capturing one recorded, and joins where that one
//! waits for an event of the other. Invariants: streams and events are made before a capture begins, as many as the
//! graph with the most branches needs, and given back by [`Branches::give_back`].

use std::ptr;

use cudarc::driver::sys;

use crate::{api::Functions, driver::DriverError};

/// A stream and the event at its end.
struct Beside {
    stream: sys::CUstream,
    joined: sys::CUevent,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Branches {
    /// Where the driver's own stream forks; none before there is a branch.
    fork: Option<sys::CUevent>,
    beside: Vec<Beside>,
}

impl Branches {
    /// Sees to it that so many branches find a stream beside the first one's, which is the driver's own.
    pub(crate) fn make_room(
        &mut self,
        functions: &Functions,
        branches: usize,
    ) -> Result<(), DriverError> {
        let wanted = branches.saturating_sub(1);
        if wanted > 0 && self.fork.is_none() {
            self.fork = Some(new_event(functions)?);
        }
        while self.beside.len() < wanted {
            let joined = new_event(functions)?;
            let mut stream = ptr::null_mut();
            let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
            // SAFETY: it points to a stream, and the context is current.
            let code = unsafe { (functions.stream_create)(&raw mut stream, flags) };
            // Kept, though without a stream, so that the event is given back.
            self.beside.push(Beside { stream, joined });
            functions.check("cuStreamCreate", code)?;
        }
        Ok(())
    }

    /// Calls with the number and the stream of each of so many branches, for which there is room: the first on
    /// `own`, which waits for all of them at the end.
    pub(crate) fn each(
        &self,
        functions: &Functions,
        own: sys::CUstream,
        branches: usize,
        mut enqueue: impl FnMut(usize, sys::CUstream) -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        let beside = &self.beside[..branches.saturating_sub(1)];
        if let Some(fork) = self.fork.filter(|_| !beside.is_empty()) {
            record(functions, fork, own)?;
            for Beside { stream, .. } in beside {
                wait_for(functions, fork, *stream)?;
            }
        }
        if branches > 0 {
            enqueue(0, own)?;
        }
        for (n, Beside { stream, joined }) in (1..).zip(beside) {
            enqueue(n, *stream)?;
            record(functions, *joined, *stream)?;
            wait_for(functions, *joined, own)?;
        }
        Ok(())
    }

    /// Gives all back; what the driver says to it is nobody's business any more.
    ///
    /// # Safety
    /// The context is current and nothing runs on these streams.
    pub(crate) unsafe fn give_back(&mut self, functions: &Functions) {
        for Beside { stream, joined } in self.beside.drain(..) {
            // SAFETY: both were had of the driver and are given back once.
            unsafe {
                (functions.event_destroy)(joined);
                if !stream.is_null() {
                    (functions.stream_destroy)(stream);
                }
            }
        }
        if let Some(fork) = self.fork.take() {
            // SAFETY: as before.
            unsafe { (functions.event_destroy)(fork) };
        }
    }
}

fn new_event(functions: &Functions) -> Result<sys::CUevent, DriverError> {
    let mut event = ptr::null_mut();
    let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
    // SAFETY: it points to an event, and the context is current.
    let code = unsafe { (functions.event_create)(&raw mut event, flags) };
    functions.check("cuEventCreate", code)?;
    Ok(event)
}

fn record(
    functions: &Functions,
    event: sys::CUevent,
    stream: sys::CUstream,
) -> Result<(), DriverError> {
    // SAFETY: both are the driver's own.
    let code = unsafe { (functions.event_record)(event, stream) };
    functions.check("cuEventRecord", code)
}

/// Makes a stream wait for an event.
fn wait_for(
    functions: &Functions,
    event: sys::CUevent,
    stream: sys::CUstream,
) -> Result<(), DriverError> {
    // SAFETY: both are the driver's own.
    let code = unsafe { (functions.stream_await)(stream, event, 0) };
    functions.check("cuStreamWaitEvent", code)
}
