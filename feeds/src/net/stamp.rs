//! The receive timestamp: one clock read per socket read that returned data.
//!
//! [`Stamped`] sits between the TCP socket and whatever decodes its bytes (TLS, then WebSocket), so a
//! stamp holds no time spent waiting in our own layers. Invariants: a read that returned no data (would
//! block, end of stream, error) takes no stamp; nothing above the socket reads the clock per frame.
//!
//! What the stamp of a frame means:
//! * a frame that spans several reads carries the stamp of the **last** one, the moment it was complete;
//! * several frames that arrived in one read carry the **same** stamp;
//! * under TLS the reads are those of encrypted records, so the two rules hold for records: a frame
//!   cannot be seen before its last record is complete.
//!
//! Stamps are the host's realtime clock and step when it is stepped: they are what was seen, never
//! smoothed. The kernel's own queue (a packet received but not yet read) is outside the stamp.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The realtime clock, nanoseconds since the epoch UTC; negative before 1970, saturating in 2262.
#[must_use]
pub fn realtime_ns() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}

/// Where a [`Stamped`] stream leaves its newest stamp for the layers above it.
#[derive(Debug, Default)]
pub struct Stamp {
    last_read_ns: AtomicI64,
    bytes_read: AtomicU64,
}

impl Stamp {
    /// When the newest bytes were read, nanoseconds since the epoch UTC; 0 before the first read.
    #[must_use]
    pub fn last_read_ns(&self) -> i64 {
        self.last_read_ns.load(Ordering::Relaxed)
    }

    /// Bytes read from the socket so far; a change is proof that the peer is alive.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    fn note(&self, now_ns: i64, bytes: usize) {
        self.last_read_ns.store(now_ns, Ordering::Relaxed);
        self.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A byte stream that stamps every read that returned data; writes pass through untouched.
#[derive(Debug)]
pub struct Stamped<S> {
    inner: S,
    stamp: Arc<Stamp>,
}

impl<S> Stamped<S> {
    /// Wraps `inner`; the stamps are left in `stamp`.
    pub fn new(inner: S, stamp: Arc<Stamp>) -> Self {
        Self { inner, stamp }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stamped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        let bytes = buf.filled().len() - before;
        if bytes > 0 {
            self.stamp.note(realtime_ns(), bytes);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stamped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn a_read_that_returns_data_is_stamped_and_an_end_of_stream_is_not() {
        block_on(async {
            let (mut peer, ours) = tokio::io::duplex(64);
            let stamp = Arc::new(Stamp::default());
            let mut stream = Stamped::new(ours, Arc::clone(&stamp));
            assert_eq!((stamp.last_read_ns(), stamp.bytes_read()), (0, 0));

            peer.write_all(b"abcdef").await.unwrap();
            drop(peer);
            let before_ns = realtime_ns();
            let mut buf = [0; 4];
            assert_eq!(stream.read(&mut buf).await.unwrap(), 4);
            let first_ns = stamp.last_read_ns();
            assert!(first_ns >= before_ns && first_ns <= realtime_ns());
            assert_eq!(stamp.bytes_read(), 4);

            assert_eq!(stream.read(&mut buf).await.unwrap(), 2);
            let second_ns = stamp.last_read_ns();
            assert!(second_ns >= first_ns);
            assert_eq!(stamp.bytes_read(), 6);

            assert_eq!(stream.read(&mut buf).await.unwrap(), 0);
            assert_eq!((stamp.last_read_ns(), stamp.bytes_read()), (second_ns, 6));
        });
    }

    #[test]
    fn a_read_that_would_block_leaves_the_stamp_alone() {
        block_on(async {
            let (_peer, ours) = tokio::io::duplex(64);
            let stamp = Arc::new(Stamp::default());
            let mut stream = Stamped::new(ours, Arc::clone(&stamp));
            let mut buf = [0; 4];
            let polled = std::future::poll_fn(|cx| {
                let mut read_buf = ReadBuf::new(&mut buf);
                Poll::Ready(Pin::new(&mut stream).poll_read(cx, &mut read_buf).is_pending())
            });
            assert!(polled.await);
            assert_eq!((stamp.last_read_ns(), stamp.bytes_read()), (0, 0));
        });
    }

    #[test]
    fn writes_pass_through_and_take_no_stamp() {
        block_on(async {
            let (mut peer, ours) = tokio::io::duplex(64);
            let stamp = Arc::new(Stamp::default());
            let mut stream = Stamped::new(ours, Arc::clone(&stamp));
            stream.write_all(b"hello").await.unwrap();
            let mut buf = [0; 5];
            peer.read_exact(&mut buf).await.unwrap();
            assert_eq!(&buf, b"hello");
            assert_eq!(stamp.last_read_ns(), 0);
        });
    }
}
