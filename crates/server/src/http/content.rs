//! Bytes under a validator, answered in whole, in part, or not at all because the asker has them.
//!
//! One way for everything that devices and the seed's clients fetch: preconditions first, then ranges, in the order of
//! RFC 9110, section 13.2.2. There are no dates: every validator is a strong entity tag.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use updraft_core::digest::{Digest, Hasher};

use super::body::{Body, Piece};
use super::error::Error;
use super::range::{self, Wanted};
use crate::store::Object;

/// How long others may keep an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// For ever: it never changes.
    Immutable,
    /// For an hour: what is there now holds, but may be replaced by what does the same.
    AWhile,
    /// Only if they ask each time whether it still holds.
    Revalidate,
}

impl Keep {
    fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Immutable => "public, max-age=31536000, immutable",
            Self::AWhile => "public, max-age=3600",
            Self::Revalidate => "no-cache",
        })
    }
}

/// A strong entity tag: the same tag is the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag(String);

impl Tag {
    /// The tag of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self::of_digest(Digest::of(bytes))
    }

    /// The tag of the bytes with this digest.
    pub(super) fn of_digest(digest: Digest) -> Self {
        // 128 bits are enough to tell bytes apart, and a 304 stays small.
        Self(format!("\"{}\"", &digest.to_string()[..32]))
    }

    /// The tag of an object that is never overwritten, and too large to be read for its tag. Its length tells it from
    /// another that may have the name after it was collected and uploaded again: the same content, compressed by another
    /// version of zstd.
    pub(super) fn of_object(key: &str, len: u64) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(key.as_bytes());
        hasher.update(&len.to_be_bytes());
        Self::of_digest(hasher.finish())
    }

    /// The tag of an object that may be deleted and made anew, with other bytes of the same length.
    pub(super) fn of_replaceable(key: &str, object: &Object) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(key.as_bytes());
        hasher.update(&object.len().to_be_bytes());
        hasher.update(&object.stamp().to_be_bytes());
        Self::of_digest(hasher.finish())
    }

    fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("a tag is hexadecimal digits in quotes")
    }

    /// Whether the list of tags in `header` names this one, or is `*`. A weak tag counts as its strong one.
    fn is_in(&self, header: &HeaderValue) -> bool {
        let Ok(text) = header.to_str() else { return false };
        text.trim() == "*" || text.split(',').any(|tag| tag.trim().trim_start_matches("W/") == self.0)
    }

    /// The same, and a weak tag counts as none.
    fn is_strongly_in(&self, header: &HeaderValue) -> bool {
        let Ok(text) = header.to_str() else { return false };
        text.trim() == "*" || text.split(',').any(|tag| tag.trim() == self.0)
    }
}

/// Where the bytes are.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// In memory.
    Memory(Bytes),
    /// In the store.
    Object(Object),
}

impl Source {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Object(object) => object.len(),
        }
    }

    fn body(self, pieces: VecDeque<Piece>) -> Body {
        match self {
            Self::Object(object) => Body::object(object, pieces),
            Self::Memory(bytes) => {
                // What is kept in memory is small: metadata, a list. Joining a few pieces of it is cheap.
                let cut = |piece: &Piece| match piece {
                    Piece::Bytes(between) => between.clone(),
                    Piece::Range(range) => bytes.slice(range.start as usize..range.end as usize),
                };
                match pieces.len() {
                    1 => Body::memory(cut(&pieces[0])),
                    _ => Body::memory(pieces.iter().flat_map(cut).collect()),
                }
            }
        }
    }
}

/// Something that can be fetched.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) source: Source,
    pub(super) tag: Tag,
    pub(super) keep: Keep,
    pub(super) kind: &'static str,
    /// The value of `Content-Disposition`, where it has one.
    pub(super) disposition: Option<HeaderValue>,
}

impl Content {
    /// The answer to a `GET` or `HEAD` with these headers.
    ///
    /// # Errors
    /// 412 and 416, as the headers ask for them.
    pub(super) fn answer(self, method: &Method, asked: &HeaderMap) -> Result<Response<Body>, Error> {
        if asked.get_all(IF_MATCH).iter().next().is_some()
            && !asked.get_all(IF_MATCH).iter().any(|header| self.tag.is_strongly_in(header))
        {
            return Err(Error::precondition_failed());
        }
        if asked.get_all(IF_NONE_MATCH).iter().any(|header| self.tag.is_in(header)) {
            return Ok(self.not_modified());
        }
        match self.wanted(method, asked) {
            Wanted::Whole => Ok(self.whole(method)),
            Wanted::Pieces(pieces) => Ok(match <[Range<u64>; 1]>::try_from(pieces) {
                Ok([piece]) => self.part(piece),
                Err(pieces) => self.parts(pieces),
            }),
            Wanted::Unsatisfiable => Err(Error::range_not_satisfiable(self.source.len())),
        }
    }

    fn wanted(&self, method: &Method, asked: &HeaderMap) -> Wanted {
        // RFC 9110, 14.2: a Range means something for GET only. 13.1.5: with another If-Range, it means nothing.
        let holds = asked.get(IF_RANGE).is_none_or(|tag| tag.as_bytes() == self.tag.0.as_bytes());
        let header = asked.get(RANGE).filter(|_| method == Method::GET && holds);
        match header.map(|header| header.to_str()) {
            Some(Ok(header)) => range::parse(header, self.source.len()),
            _ => Wanted::Whole,
        }
    }

    fn not_modified(&self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().insert(ETAG, self.tag.header());
        response.headers_mut().insert(CACHE_CONTROL, self.keep.header());
        response
    }

    fn whole(self, method: &Method) -> Response<Body> {
        let len = self.source.len();
        let mut response = self.head(StatusCode::OK, len);
        if method != Method::HEAD {
            *response.body_mut() = self.source.body(VecDeque::from([Piece::Range(0..len)]));
        }
        response
    }

    fn part(self, piece: Range<u64>) -> Response<Body> {
        let mut response = self.head(StatusCode::PARTIAL_CONTENT, piece.end - piece.start);
        let range = format!("bytes {}-{}/{}", piece.start, piece.end - 1, self.source.len());
        response.headers_mut().insert(CONTENT_RANGE, header(&range));
        *response.body_mut() = self.source.body(VecDeque::from([Piece::Range(piece)]));
        response
    }

    /// RFC 9110, 14.6.
    fn parts(self, ranges: Vec<Range<u64>>) -> Response<Body> {
        let boundary = boundary();
        let total = self.source.len();
        let mut pieces = VecDeque::with_capacity(2 * ranges.len() + 1);
        for range in ranges {
            let head = format!(
                "\r\n--{boundary}\r\nContent-Type: {}\r\nContent-Range: bytes {}-{}/{total}\r\n\r\n",
                self.kind,
                range.start,
                range.end - 1,
            );
            pieces.push_back(Piece::Bytes(head.into()));
            pieces.push_back(Piece::Range(range));
        }
        pieces.push_back(Piece::Bytes(format!("\r\n--{boundary}--\r\n").into()));
        let mut response = self.head(StatusCode::PARTIAL_CONTENT, pieces.iter().map(Piece::len).sum());
        response.headers_mut().insert(CONTENT_TYPE, header(&format!("multipart/byteranges; boundary={boundary}")));
        *response.body_mut() = self.source.body(pieces);
        response
    }

    /// An answer with these bytes to come, and its headers.
    fn head(&self, status: StatusCode, len: u64) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
        headers.insert(ETAG, self.tag.header());
        headers.insert(CACHE_CONTROL, self.keep.header());
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Some(disposition) = &self.disposition {
            headers.insert(CONTENT_DISPOSITION, disposition.clone());
        }
        quarantine(headers);
        response
    }
}

/// A publisher chose these bytes: a browser shall neither guess what they are nor let them act for this site.
fn quarantine(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("numbers and words are a header value")
}

/// Something that no publisher can have put into a file, for it is drawn for each answer.
fn boundary() -> String {
    let mut bytes = [0; 16];
    match getrandom::fill(&mut bytes) {
        Ok(()) => hex::encode(bytes),
        Err(error) => panic!("the system has no random numbers: {error}"),
    }
}
