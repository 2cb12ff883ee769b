//! The body of a request, from a client that keeps sending.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::patience::{Measure, Patience};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A body that fails when its sender is too slow.
#[derive(Debug)]
pub(super) struct Inbound {
    inner: Incoming,
    patience: Patience,
}

impl Inbound {
    pub(super) fn new(inner: Incoming, measure: Measure) -> Self {
        Self { inner, patience: Patience::new(measure) }
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Pending if self.patience.poll_spent(context).is_ready() => {
                let error = io::Error::new(io::ErrorKind::TimedOut, "the client sends too slowly");
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.patience.restore(frame.data_ref().map_or(0, Bytes::len));
                Poll::Ready(Some(Ok(frame)))
            }
            other => other.map(|next| next.map(|result| result.map_err(Into::into))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
