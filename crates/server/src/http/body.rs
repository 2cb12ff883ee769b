//! What an answer is made of.
//!
//! An object is sent as it is read, [`READ_LEN`] bytes at a time: however large it is, an answer holds one slice of it.
//! A body that turns out shorter than was announced breaks the connection; it is never ended as if it were whole.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::store::{self, Object, READ_LEN};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer.
pub struct Body(Inner);

enum Inner {
    /// At most one piece of memory; what almost every small answer is.
    Memory(Option<Bytes>),
    /// Pieces of an object, and what stands between them.
    Object(Box<Pieces>),
    /// What a handler of the router made.
    Router(axum::body::Body),
}

impl Body {
    /// No bytes.
    pub(super) fn empty() -> Self {
        Self(Inner::Memory(None))
    }

    pub(super) fn memory(bytes: Bytes) -> Self {
        Self(Inner::Memory((!bytes.is_empty()).then_some(bytes)))
    }

    pub(super) fn object(object: Object, pieces: VecDeque<Piece>) -> Self {
        let left = pieces.iter().map(Piece::len).sum();
        Self(Inner::Object(Box::new(Pieces { object, pieces, left, reading: None })))
    }

    pub(super) fn router(body: axum::body::Body) -> Self {
        Self(Inner::Router(body))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("len", &http_body::Body::size_hint(self).exact()).finish_non_exhaustive()
    }
}

/// A piece of a body that is read from an object.
#[derive(Debug)]
pub(super) enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// These bytes of the object.
    Range(Range<u64>),
}

impl Piece {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Range(range) => range.end - range.start,
        }
    }
}

type Reading = Pin<Box<dyn Future<Output = Result<Bytes, store::Error>> + Send>>;

struct Pieces {
    object: Object,
    pieces: VecDeque<Piece>,
    /// Bytes that are still to come, those being read included.
    left: u64,
    reading: Option<Reading>,
}

impl Pieces {
    /// The next bytes to send, or the reading of them begun; `None` when there is nothing left.
    fn begin(&mut self) -> Option<Bytes> {
        while let Some(piece) = self.pieces.pop_front() {
            let range = match piece {
                Piece::Bytes(bytes) if bytes.is_empty() => continue,
                Piece::Bytes(bytes) => return Some(bytes),
                Piece::Range(range) => range,
            };
            let len = (range.end - range.start).min(READ_LEN as u64);
            if len == 0 {
                continue;
            }
            self.pieces.push_front(Piece::Range(range.start + len..range.end));
            let (object, offset) = (self.object.clone(), range.start);
            // `len` is at most READ_LEN.
            self.reading = Some(Box::pin(async move { object.read_at(offset, len as usize).await }));
            return None;
        }
        None
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if self.reading.is_none()
            && let Some(bytes) = self.begin()
        {
            return Poll::Ready(Some(Ok(self.sent(bytes))));
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let result = ready!(reading.as_mut().poll(context));
        self.reading = None;
        match result {
            Ok(bytes) if bytes.is_empty() => Poll::Ready(Some(Err("the object ended before its length".into()))),
            Ok(bytes) => Poll::Ready(Some(Ok(self.sent(bytes)))),
            Err(error) => {
                tracing::error!(%error, "an answer was broken off");
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }

    fn sent(&mut self, bytes: Bytes) -> Bytes {
        self.left -= bytes.len() as u64;
        bytes
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut self.0 {
            Inner::Memory(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Inner::Object(pieces) => pieces.poll(context).map(|next| next.map(|result| result.map(Frame::data))),
            Inner::Router(body) => {
                Pin::new(body).poll_frame(context).map(|next| next.map(|result| result.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Memory(bytes) => bytes.is_none(),
            Inner::Object(pieces) => pieces.left == 0,
            Inner::Router(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Memory(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Inner::Object(pieces) => SizeHint::with_exact(pieces.left),
            Inner::Router(body) => body.size_hint(),
        }
    }
}
