//! Bytes from a place that is laid out as the store's public paths: a server, a folder, a test's memory.
//!
//! A [`Transport`] makes one attempt. The `Fetcher` in front of it asks again, goes on where an answer broke off, keeps
//! to the bandwidth limit, gives up on an answer that trickles, and stops when it is told to. Both refuse to believe
//! anything: what arrives is verified by whoever asked for it, and is never longer than they allowed.

pub mod authority;
pub mod clock;
pub mod dir;
pub mod http;
pub mod pace;
pub mod retry;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use updraft_core::layout::Key;

use clock::{Clock, SystemClock};
use pace::{Pace, Trickle};
use retry::Retry;

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source cannot be reached, or the answer broke off.
    #[error("{what}: {reason}")]
    Unreachable {
        /// What was asked for.
        what: String,
        /// What happened.
        reason: String,
    },
    /// The server answered with a status that is no answer.
    #[error("{what}: the server answered {status}")]
    Status {
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// The answer goes on past what was allowed: endless data, or another file.
    #[error("{what}: longer than the {max} bytes that it may have (an endless-data attack looks like this)")]
    TooLong {
        /// What was asked for.
        what: String,
        /// How many bytes it may have.
        max: u64,
    },
    /// What arrived cannot be kept here.
    #[error("{what}: cannot keep what arrived: {source}")]
    Keep {
        /// What was asked for.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// It was told to stop.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// Whether asking again may help.
    fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::TooLong { .. } | Self::Keep { .. } | Self::Cancelled => false,
        }
    }
}

/// One question to a [`Transport`].
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The object.
    pub key: &'a Key,
    /// The first byte that is wanted.
    pub from: u64,
    /// How many are, when not all of them: a source may send more.
    pub len: Option<u64>,
    /// The tag of what was read so far: another object now means that all of it is wanted, from the start.
    pub if_range: Option<&'a str>,
    /// The tag of what is at hand: the same object now means [`Answer::NotModified`].
    pub if_none_match: Option<&'a str>,
}

/// What a [`Transport`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The object; all its bytes from [`Sink::begin`] on went to the sink.
    Body {
        /// Its tag, if it has one.
        etag: Option<String>,
    },
    /// It is what the asker has.
    NotModified,
    /// There is no such object.
    Missing,
    /// There is, but it has no byte at [`Request::from`].
    PastEnd,
}

/// Where a [`Transport`] puts a body, piece by piece.
pub trait Sink {
    /// A body begins at byte `at` of the object: [`Request::from`], or 0 when the source starts over.
    ///
    /// # Errors
    /// When the sink cannot go there, or does not want what comes.
    fn begin(&mut self, at: u64, etag: Option<&str>) -> Result<(), Error>;

    /// The next bytes.
    ///
    /// # Errors
    /// When the sink cannot keep them, or wants no more.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error>;
}

/// A place that objects can be read from. One call is one attempt.
pub trait Transport: Send + Sync + fmt::Debug {
    /// Asks for an object and feeds its bytes to `sink`, in pieces of bounded size.
    ///
    /// # Errors
    /// When the source gives no answer, or one that breaks off; or when the sink refuses, with the sink's error.
    fn get(&self, request: &Request<'_>, sink: &mut dyn Sink) -> Result<Answer, Error>;
}

/// A flag that stops what runs, from another thread or a signal handler. Clones are the same flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Raises the flag; it stays up.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is up.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// A small object, read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Got {
    /// Its bytes and its tag.
    Found(Vec<u8>, Option<String>),
    /// It is what the asker has.
    NotModified,
    /// There is no such object.
    Missing,
}

/// How [`Fetcher::stream`] ended, when nothing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streamed {
    /// The sink has the whole object.
    Whole,
    /// There is no such object.
    Missing,
    /// The object ends before the byte that was asked for.
    PastEnd,
}

/// Asks a [`Transport`] with patience and within bounds. Shared by all threads of a download.
#[derive(Debug)]
pub(crate) struct Fetcher {
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    retry: Retry,
    pace: Option<Pace>,
    cancel: Cancel,
}

impl Fetcher {
    /// A fetcher with the system's clock and no bandwidth limit.
    pub(crate) fn new(transport: Arc<dyn Transport>, cancel: Cancel) -> Self {
        Self { transport, clock: Arc::new(SystemClock::default()), retry: Retry::default(), pace: None, cancel }
    }

    /// Waits by this clock.
    pub(crate) fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Takes at most this many bytes per second, all threads together.
    pub(crate) fn with_limit(mut self, bytes_per_sec: Option<u64>) -> Self {
        self.pace = bytes_per_sec.map(Pace::new);
        self
    }

    /// What stops it.
    pub(crate) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// A small object, whole and in memory.
    pub(crate) fn get(&self, key: &Key, max: u64) -> Result<Option<Vec<u8>>, Error> {
        match self.get_if_changed(key, None, max)? {
            Got::Found(bytes, _) => Ok(Some(bytes)),
            Got::NotModified | Got::Missing => Ok(None),
        }
    }

    /// A small object, unless it is the one with the tag `etag`.
    pub(crate) fn get_if_changed(&self, key: &Key, etag: Option<&str>, max: u64) -> Result<Got, Error> {
        let mut attempts = self.retry.attempts();
        loop {
            // It may change between two attempts, so each begins anew.
            let mut bytes = Vec::new();
            let mut tap = Tap::new(self, key, max, &mut bytes);
            let request = Request { key, from: 0, len: None, if_range: None, if_none_match: etag };
            match self.attempt(&request, &mut tap) {
                Ok(Answer::Body { etag }) => return Ok(Got::Found(bytes, etag)),
                Ok(Answer::NotModified) => return Ok(Got::NotModified),
                Ok(Answer::Missing | Answer::PastEnd) => return Ok(Got::Missing),
                Err(error) => self.wait_or_fail(&mut attempts, error)?,
            }
        }
    }

    /// The first `len` bytes of an object, and its tag; fewer when it has no more. It is asked for once: whoever asks for no
    /// more than this can do without.
    pub(crate) fn front(&self, key: &Key, len: usize) -> Result<Got, Error> {
        let mut front = Front { bytes: Vec::with_capacity(len), len };
        let mut tap = Tap::new(self, key, u64::MAX, &mut front);
        let request = Request { key, from: 0, len: Some(len as u64), if_range: None, if_none_match: None };
        let answer = self.attempt(&request, &mut tap);
        let began = tap.etag.take();
        match answer {
            Ok(Answer::Body { etag }) => Ok(Got::Found(front.bytes, etag)),
            Ok(Answer::Missing | Answer::PastEnd | Answer::NotModified) => Ok(Got::Missing),
            // A source that does not know ranges is left when there is enough.
            Err(_) if front.bytes.len() == len => Ok(Got::Found(front.bytes, began)),
            Err(error) => Err(error),
        }
    }

    /// An immutable object of at most `max` bytes, into `sink`, which has the bytes before `from` already. When an answer
    /// breaks off, the next attempt goes on from there.
    pub(crate) fn stream(&self, key: &Key, from: u64, max: u64, sink: &mut dyn Sink) -> Result<Streamed, Error> {
        let mut attempts = self.retry.attempts();
        let mut tap = Tap::new(self, key, max, sink);
        (tap.at, tap.furthest) = (from, from);
        loop {
            let (before, etag) = (tap.furthest, tap.etag.take());
            let request = Request { key, from: tap.at, len: None, if_range: etag.as_deref(), if_none_match: None };
            let answer = self.attempt(&request, &mut tap);
            tap.etag = tap.etag.take().or(etag);
            match answer {
                Ok(Answer::Body { .. }) => return Ok(Streamed::Whole),
                Ok(Answer::Missing | Answer::NotModified) => return Ok(Streamed::Missing),
                Ok(Answer::PastEnd) => return Ok(Streamed::PastEnd),
                Err(error) => {
                    attempts.progressed(tap.furthest - before);
                    self.wait_or_fail(&mut attempts, error)?;
                }
            }
        }
    }

    fn attempt(&self, request: &Request<'_>, tap: &mut Tap<'_>) -> Result<Answer, Error> {
        self.cancel.check()?;
        tap.trickle = Trickle::new(self.clock.elapsed());
        self.transport.get(request, tap)
    }

    fn wait_or_fail(&self, attempts: &mut retry::Attempts, error: Error) -> Result<(), Error> {
        let retry_after = match &error {
            Error::Status { retry_after, .. } => *retry_after,
            _ => None,
        };
        if !error.is_transient() {
            return Err(error);
        }
        match attempts.next(retry_after, random()) {
            Some(wait) => self.sleep(wait),
            None => Err(error),
        }
    }

    /// Sleeps in short pieces, so that a cancelled download ends soon.
    fn sleep(&self, wait: Duration) -> Result<(), Error> {
        let mut left = wait;
        while !left.is_zero() {
            self.cancel.check()?;
            let piece = left.min(Duration::from_millis(100));
            self.clock.sleep(piece);
            left -= piece;
        }
        Ok(())
    }
}

/// Random bits for jitter; no security hangs on them.
fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

/// What stands between a transport and the sink: bounds, pace, cancellation.
struct Tap<'a> {
    fetcher: &'a Fetcher,
    key: &'a Key,
    max: u64,
    sink: &'a mut dyn Sink,
    /// The next byte of the object.
    at: u64,
    /// The furthest that `at` ever was: an answer that breaks off at the same byte each time is no progress.
    furthest: u64,
    etag: Option<String>,
    trickle: Trickle,
}

impl<'a> Tap<'a> {
    fn new(fetcher: &'a Fetcher, key: &'a Key, max: u64, sink: &'a mut dyn Sink) -> Self {
        let trickle = Trickle::new(Duration::ZERO);
        Self { fetcher, key, max, sink, at: 0, furthest: 0, etag: None, trickle }
    }
}

impl Sink for Tap<'_> {
    fn begin(&mut self, at: u64, etag: Option<&str>) -> Result<(), Error> {
        if at != 0 && at != self.at {
            let reason = format!("the answer begins at byte {at}, {} was asked for", self.at);
            return Err(Error::Unreachable { what: self.key.to_string(), reason });
        }
        self.at = at;
        self.etag = etag.map(str::to_owned);
        self.sink.begin(at, etag)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.fetcher.cancel.check()?;
        let len = bytes.len() as u64;
        if len > self.max.saturating_sub(self.at) {
            return Err(Error::TooLong { what: self.key.to_string(), max: self.max });
        }
        self.sink.write(bytes)?;
        self.at += len;
        self.furthest = self.furthest.max(self.at);
        let clock = &self.fetcher.clock;
        if !self.trickle.is_fast_enough(clock.elapsed(), len) {
            let reason = "the answer trickles: less than 100 bytes a second for a minute".to_owned();
            return Err(Error::Unreachable { what: self.key.to_string(), reason });
        }
        if let Some(pace) = &self.fetcher.pace {
            let wait = pace.take(clock.elapsed(), len);
            self.fetcher.sleep(wait)?;
            self.trickle.forgive(wait);
        }
        Ok(())
    }
}

/// The first bytes of a body, and no more.
struct Front {
    bytes: Vec<u8>,
    len: usize,
}

impl Sink for Front {
    fn begin(&mut self, _: u64, _: Option<&str>) -> Result<(), Error> {
        self.bytes.clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let lacking = self.len - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(lacking)]);
        match bytes.len() > lacking {
            true => Err(Error::TooLong { what: "the first bytes of an object".to_owned(), max: self.len as u64 }),
            false => Ok(()),
        }
    }
}

impl Sink for Vec<u8> {
    fn begin(&mut self, at: u64, _: Option<&str>) -> Result<(), Error> {
        self.truncate(usize::try_from(at).unwrap_or(usize::MAX));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}
