//! A connection that does not wait for ever.
//!
//! It knows three things to wait for: a request from a connection that has been quiet (idle), the rest of a request's
//! head, and room to write an answer. The body of a request is [`super::inbound`]'s.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::Limits;
use super::patience::Patience;

/// How far the requests of one connection have come. The service counts, the stream looks.
#[derive(Debug, Default)]
pub(super) struct Progress {
    begun: AtomicU64,
    ended: AtomicU64,
    /// Who looked while a request was going on, and wants to look again when it has ended: hyper has asked the stream to
    /// read by then, and does not ask twice.
    waker: Mutex<Option<Waker>>,
}

impl Progress {
    /// A request has begun; it ends when the guard goes.
    pub(super) fn begin(self: &Arc<Self>) -> Ongoing {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Ongoing(Arc::clone(self))
    }

    fn call_back(&self, context: &Context<'_>) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
    }

    fn look_again(&self) {
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }
}

/// A request between its head and the end of its answer.
#[derive(Debug)]
pub(super) struct Ongoing(Arc<Progress>);

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
        self.0.look_again();
    }
}

/// The wait for a request's head.
#[derive(Debug)]
struct Wait {
    /// After how many requests.
    after: u64,
    /// Whether its first byte is here.
    heard: bool,
    end: Option<Pin<Box<Sleep>>>,
}

/// A connection with limits on every wait.
#[derive(Debug)]
pub(super) struct Stream {
    inner: TcpStream,
    progress: Arc<Progress>,
    header_timeout: Duration,
    idle_timeout: Duration,
    wait: Wait,
    writing: Patience,
}

impl Stream {
    pub(super) fn new(inner: TcpStream, limits: &Limits, progress: Arc<Progress>) -> Self {
        Self {
            inner,
            progress,
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
            wait: Wait { after: 0, heard: false, end: None },
            writing: Patience::new(limits.writing),
        }
    }

    /// Looks whether a request has begun or ended since; `None` while one is going on.
    fn wait(&mut self) -> Option<&mut Wait> {
        let begun = self.progress.begun.load(Ordering::Relaxed);
        if self.wait.after != begun {
            self.wait = Wait { after: begun, heard: false, end: None };
        }
        // While the client has yet to take an answer, it has no reason to ask for more.
        let quiet = self.progress.ended.load(Ordering::Relaxed) == begun && !self.writing.is_waiting();
        quiet.then_some(&mut self.wait)
    }

    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (header, idle) = (self.header_timeout, self.idle_timeout);
        let Some(wait) = self.wait() else {
            self.progress.call_back(context);
            return Poll::Pending;
        };
        // Whoever has just connected wants something.
        let limit = if wait.heard || wait.after == 0 { header } else { idle };
        wait.end.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit))).as_mut().poll(context)
    }

    fn hear(&mut self) {
        if let Some(wait) = self.wait().filter(|wait| !wait.heard) {
            wait.heard = true;
            // From here the whole head has one deadline, however slowly its bytes drip.
            wait.end = None;
        }
    }

    fn written(&mut self, result: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(count)) => {
                let waited = self.writing.is_waiting();
                self.writing.restore(count);
                if waited {
                    self.progress.look_again();
                }
                Poll::Ready(Ok(count))
            }
            Poll::Pending if self.writing.poll_spent(context).is_ready() => {
                // A reset, so that the system does not keep for them what they do not take either.
                let _ = self.inner.set_zero_linger();
                Poll::Ready(Err(timed_out("the client takes its answer too slowly")))
            }
            other => other,
        }
    }
}

fn timed_out(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, reason)
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.inner).poll_read(context, buffer) {
            Poll::Pending if self.poll_silence(context).is_ready() => {
                Poll::Ready(Err(timed_out("no request came in time")))
            }
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                self.hear();
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.written(result, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.written(result, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
