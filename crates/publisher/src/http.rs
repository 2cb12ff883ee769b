//! A server that is reached over HTTP.
//!
//! The token goes only to the API, never beyond this machine unencrypted unless that was allowed, and never along a
//! redirect. Every answer has a bound, every wait an end, and an upload that broke off goes on where it stopped.

mod address;
mod call;

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use updraft_core::api::{
    BlobStored, Committed, FirstMetadata, Have, Missing, NewApp, NewAppKeys, NewTargets, NextRoot, Patches, Promotion,
    UploadState,
};
use updraft_core::digest::Digest;
use updraft_core::head::Head;
use updraft_core::key::PublicKey;
use updraft_core::layout::{self, Key};
use updraft_core::limits::{API_BODY_LEN_MAX, HEAD_LEN_MAX};
use updraft_core::name::AppName;
use updraft_core::tree::stored::Encoding;
use ureq::http::Method;

use crate::keys::Zeroizing;
use crate::remote::{Remote, RemoteError};
use address::Address;
pub use address::Error;
use call::{Answer, As, Failure, Line, Payload, decode};

/// An upload of at most this many bytes is not worth the question how far an earlier attempt came.
const ASK_FIRST_LEN: u64 = 256 << 10;
/// Progress by this many bytes means that the line works, and gives an upload new patience.
const PROGRESS_LEN_MIN: u64 = 64 << 10;
/// What a small answer has at most, in bytes.
const SMALL_ANSWER_LEN_MAX: u64 = 64 << 10;

/// How to talk to a server.
#[derive(Clone)]
pub struct Options {
    /// What shows the server that we may publish.
    pub token: Option<Zeroizing<String>>,
    /// Lets the token travel over plain HTTP to another machine.
    pub allow_http: bool,
    /// The certificates, in DER, of the authority that has to vouch for the server; none for the public ones.
    pub authority: Option<Vec<Vec<u8>>>,
    /// The first pause before a call is tried again; each further one is four times as long.
    pub first_pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { token: None, allow_http: false, authority: None, first_pause: Duration::from_millis(250) }
    }
}

/// A server that is reached over HTTP.
pub struct Http {
    line: Line,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Http({})", self.line.address)
    }
}

impl Http {
    /// The server at `url`. Nothing is sent yet.
    ///
    /// # Errors
    /// When it is no address, or the token would be readable on the way there.
    pub fn new(url: &str, options: Options) -> Result<Self, Error> {
        let address = Address::parse(url)?;
        if let Some(token) = &options.token {
            if address.is_readable_on_the_way() && !options.allow_http {
                return Err(Error::PlainHttp { server: address.to_string() });
            }
            if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(Error::Token);
            }
        }
        Ok(Self { line: Line::new(address, options) })
    }

    /// Asks the API something: `GET` of a path below `/api/v1/`, for lists and reports.
    ///
    /// # Errors
    /// When the server cannot be asked, says no, or answers something else.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, RemoteError> {
        self.api(Method::GET, path, None)
    }

    /// Tells the API something: `POST` to a path below `/api/v1/`.
    ///
    /// # Errors
    /// When the server cannot be asked, says no, or answers something else.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, RemoteError> {
        let body = serde_json::to_vec(body).expect("a body of the API is plain JSON");
        self.api(Method::POST, path, Some(&body))
    }

    /// Looks how a server is: `GET` of a path below `/api/v1/`, once, and not for long. What a server says that is not ready
    /// for others is an answer, too.
    ///
    /// # Errors
    /// When the server cannot be asked, says no, or answers something else.
    pub fn look<T: DeserializeOwned>(&self, path: &str) -> Result<T, RemoteError> {
        self.line.look(&format!("api/v1/{path}"), API_BODY_LEN_MAX as u64)
    }

    /// Removes a patch, and keeps it away.
    ///
    /// # Errors
    /// When the server cannot be asked, or has none and is to make none.
    pub fn remove_patch(&self, app: &AppName, from: Digest, to: Digest) -> Result<(), RemoteError> {
        self.tell(Method::DELETE, &format!("api/v1/apps/{app}/patches/{from}/{to}"))
    }

    /// Removes a patch, or what is remembered of why there is none, so that it is made anew.
    ///
    /// # Errors
    /// When the server cannot be asked, or has none and is to make none.
    pub fn retry_patch(&self, app: &AppName, from: Digest, to: Digest) -> Result<(), RemoteError> {
        self.tell(Method::POST, &format!("api/v1/apps/{app}/patches/{from}/{to}/retry"))
    }

    /// A request that says everything in its path, and whose answer says nothing.
    fn tell(&self, method: Method, path: &str) -> Result<(), RemoteError> {
        let once = || {
            // A `POST` has a body, if an empty one.
            let nothing = match method {
                Method::POST => Payload::Bytes(&[], "application/octet-stream"),
                _ => Payload::Empty,
            };
            self.line.once(method.clone(), path, As::Publisher, nothing, SMALL_ANSWER_LEN_MAX)
        };
        self.line.retrying(once).map(drop)
    }

    fn api<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&[u8]>) -> Result<T, RemoteError> {
        let path = format!("api/v1/{path}");
        let answer = self.line.retrying(|| {
            let payload = body.map_or(Payload::Empty, |bytes| Payload::Bytes(bytes, "application/json"));
            self.line.once(method.clone(), &path, As::Publisher, payload, API_BODY_LEN_MAX as u64)
        })?;
        decode(&answer.bytes, &self.line.address.url(&path))
    }

    /// A public object, of which `None` means that there is none.
    fn public(&self, key: &Key, max: u64) -> Result<Option<Vec<u8>>, RemoteError> {
        // A key may hold '%' as a letter of its own (`core::layout`): in a URL that is written '%25'.
        let path = key.as_str().replace('%', "%25");
        let answer = self.line.retrying(|| self.line.once(Method::GET, &path, As::Anybody, Payload::Empty, max));
        match answer {
            Ok(Answer { bytes }) => Ok(Some(bytes)),
            Err(RemoteError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn upload_offset(&self, upload: &Upload<'_>) -> Result<u64, RemoteError> {
        let state: UploadState = self.get(&format!("apps/{}/uploads/{}", upload.app, upload.name()))?;
        Ok(state.offset)
    }

    /// Sends what is left of an upload from `offset` on.
    fn send_rest(
        &self,
        upload: &Upload<'_>,
        content: &mut File,
        offset: u64,
        progress: &dyn Fn(u64),
    ) -> Result<(), Failure> {
        let unreadable = |e: std::io::Error| Failure::Final(RemoteError::Content(e.to_string()));
        content.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
        let rest = upload.len.saturating_sub(offset);
        let mut counted = Counted { inner: content.take(rest), sent: Cell::new(offset), progress };
        let path = format!("api/v1/apps/{}/blobs/{}", upload.app, upload.name());
        let payload = Payload::Stream { content: &mut counted, offset, len: rest };
        self.line.once(Method::PUT, &path, As::Publisher, payload, SMALL_ANSWER_LEN_MAX).map(drop)
    }

    /// Whether the server has this blob in this encoding: an answer may have been lost after it was stored.
    fn is_stored(&self, upload: &Upload<'_>) -> bool {
        let zstd = upload.encoding == Encoding::Zstd;
        let stored = self.missing(upload.app, &[upload.digest]);
        stored.is_ok_and(|stored| matches!(stored.as_slice(), [Some(stored)] if stored.zstd == zstd))
    }

    fn upload(&self, upload: &Upload<'_>, content: &mut File, progress: &dyn Fn(u64)) -> Result<(), RemoteError> {
        let mut offset = if upload.len > ASK_FIRST_LEN { self.upload_offset(upload)? } else { 0 };
        let mut tries = 0;
        loop {
            let begun = offset;
            let (error, pause) = match self.send_rest(upload, content, offset.min(upload.len), progress) {
                Ok(()) => {
                    progress(upload.len);
                    return Ok(());
                }
                Err(Failure::Offset(kept)) => {
                    offset = kept;
                    (Failure::Offset(kept).into(), Some(Duration::ZERO))
                }
                Err(Failure::Passing { error, pause }) => {
                    if self.is_stored(upload) {
                        return Ok(());
                    }
                    (error, pause)
                }
                // What an earlier attempt left may be of other bytes: the server forgot them, and we begin again.
                Err(Failure::Final(error @ RemoteError::Refused { .. })) if begun > 0 => (error, None),
                Err(Failure::Final(error)) => return Err(error),
            };
            if !Line::may_try_again(tries) {
                return Err(error);
            }
            self.line.pause(tries, pause);
            if pause != Some(Duration::ZERO) {
                offset = self.upload_offset(upload)?;
            }
            tries = if offset >= begun + PROGRESS_LEN_MIN { 0 } else { tries + 1 };
        }
    }
}

/// What is being uploaded.
struct Upload<'a> {
    app: &'a AppName,
    digest: Digest,
    encoding: Encoding,
    len: u64,
}

impl Upload<'_> {
    fn name(&self) -> String {
        let suffix = match self.encoding {
            Encoding::Raw => "",
            Encoding::Zstd => ".zst",
        };
        format!("{}{suffix}", self.digest)
    }
}

/// Tells how far a reader has come.
struct Counted<'a, R> {
    inner: R,
    sent: Cell<u64>,
    progress: &'a dyn Fn(u64),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(into)?;
        self.sent.set(self.sent.get() + n as u64);
        (self.progress)(self.sent.get());
        Ok(n)
    }
}

impl Remote for Http {
    fn propose_app(&self, app: &AppName) -> Result<PublicKey, RemoteError> {
        let keys: NewAppKeys = self.post("apps", &NewApp { name: app.clone() })?;
        Ok(keys.online)
    }

    fn create_app(&self, app: &AppName, first: &FirstMetadata) -> Result<Committed, RemoteError> {
        self.post(&format!("apps/{app}/root"), first)
    }

    fn missing(&self, app: &AppName, blobs: &[Digest]) -> Result<Vec<Option<BlobStored>>, RemoteError> {
        let path = format!("apps/{app}/missing");
        let answer: Missing = self.post(&path, &Have { blobs: blobs.to_vec() })?;
        if answer.blobs.len() != blobs.len() {
            let reason = format!("{} blobs were asked for and {} answered", blobs.len(), answer.blobs.len());
            return Err(RemoteError::Nonsense { what: self.line.address.url(&path), reason });
        }
        Ok(answer.blobs)
    }

    fn put_blob(
        &self,
        app: &AppName,
        digest: Digest,
        encoding: Encoding,
        content: &mut File,
        len: u64,
        progress: &dyn Fn(u64),
    ) -> Result<(), RemoteError> {
        self.upload(&Upload { app, digest, encoding, len }, content, progress)
    }

    fn put_tree(&self, app: &AppName, digest: Digest, packed: &[u8]) -> Result<(), RemoteError> {
        let path = format!("api/v1/apps/{app}/trees/{digest}");
        let send = || {
            let payload = Payload::Bytes(packed, "application/octet-stream");
            self.line.once(Method::PUT, &path, As::Publisher, payload, SMALL_ANSWER_LEN_MAX)
        };
        self.line.retrying(send).map(drop)
    }

    fn submit(&self, app: &AppName, new: &NewTargets) -> Result<Committed, RemoteError> {
        self.post(&format!("apps/{app}/releases"), new)
    }

    fn promote(&self, app: &AppName, promotion: &Promotion) -> Result<Committed, RemoteError> {
        self.post(&format!("apps/{app}/promote"), promotion)
    }

    fn next_online_key(&self, app: &AppName) -> Result<PublicKey, RemoteError> {
        // The call takes no more than its path says; an empty object leaves room for what it may take one day.
        let keys: NewAppKeys = self.post(&format!("apps/{app}/online-key"), &serde_json::json!({}))?;
        Ok(keys.online)
    }

    fn rotate(&self, app: &AppName, next: &NextRoot) -> Result<Committed, RemoteError> {
        self.post(&format!("apps/{app}/rotate"), next)
    }

    fn patches(&self, app: &AppName) -> Result<Patches, RemoteError> {
        self.get(&format!("apps/{app}/patches"))
    }

    fn put_patch(&self, app: &AppName, from: Digest, to: Digest, patch: &[u8]) -> Result<(), RemoteError> {
        let path = format!("api/v1/apps/{app}/patches/{from}/{to}");
        let send = || {
            let payload = Payload::Bytes(patch, "application/octet-stream");
            self.line.once(Method::PUT, &path, As::Publisher, payload, SMALL_ANSWER_LEN_MAX)
        };
        self.line.retrying(send).map(drop)
    }

    fn head(&self, app: &AppName) -> Result<Option<Head>, RemoteError> {
        let key = layout::head(app);
        let Some(bytes) = self.public(&key, HEAD_LEN_MAX)? else { return Ok(None) };
        let nonsense = |e| RemoteError::Nonsense {
            what: self.line.address.url(key.as_str()),
            reason: format!("what answered is not an Updraft server of this version: {e}"),
        };
        Head::decode(&bytes).map(Some).map_err(|e| nonsense(e.to_string()))
    }

    fn read(&self, key: &Key, max: u64) -> Result<Option<Vec<u8>>, RemoteError> {
        self.public(key, max)
    }
}
