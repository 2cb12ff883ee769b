//! The head: the one small mutable object of an app.
//!
//! It carries the exact bytes of the newest timestamp and snapshot, and says how far the roots have come, so that a
//! device learns from a single request whether anything is new. It adds no authority: the two documents inside are
//! verified as if they had been fetched one by one.
//!
//! ```text
//! {"format":1,"gen":7,"op_id":"9f2c01aa34d7e6b1","root":1,"timestamp":412,"snapshot":398}\n
//! 412 bytes of timestamp.json
//! 398 bytes of snapshot.json
//! ```

use serde::{Deserialize, Serialize};

use crate::limits::{HEAD_LEN_MAX, SNAPSHOT_LEN_MAX, TIMESTAMP_LEN_MAX};

/// Why some bytes are not a head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("head: {0}")]
pub struct Error(String);

/// The newest state of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Grows by one with every swap, so that no two heads are ever the same bytes.
    pub generation: u64,
    /// Random; tells a writer whose answer was lost whether the head it reads is its own.
    pub op_id: String,
    /// Version of the newest root.
    pub root: u64,
    /// Exact bytes of `timestamp.json`.
    pub timestamp: Vec<u8>,
    /// Exact bytes of `N.snapshot.json`.
    pub snapshot: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    format: u32,
    #[serde(rename = "gen")]
    generation: u64,
    op_id: String,
    root: u64,
    timestamp: u64,
    snapshot: u64,
}

impl Head {
    /// The bytes of this head.
    pub fn encode(&self) -> Vec<u8> {
        let line = Line {
            format: 1,
            generation: self.generation,
            op_id: self.op_id.clone(),
            root: self.root,
            timestamp: self.timestamp.len() as u64,
            snapshot: self.snapshot.len() as u64,
        };
        let mut out = serde_json::to_vec(&line).expect("a head line is plain JSON");
        out.push(b'\n');
        out.extend_from_slice(&self.timestamp);
        out.extend_from_slice(&self.snapshot);
        out
    }

    /// The head in `bytes`.
    ///
    /// # Errors
    /// When it is of another format, or its parts do not fill it exactly.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let fail = |reason: &str| Error(reason.to_owned());
        if bytes.len() as u64 > HEAD_LEN_MAX {
            return Err(fail("longer than 64 KiB"));
        }
        let end = bytes.iter().position(|b| *b == b'\n').ok_or_else(|| fail("no header line"))?;
        let line: Line = serde_json::from_slice(&bytes[..end]).map_err(|e| Error(e.to_string()))?;
        if line.format != 1 {
            return Err(Error(format!("format {} is newer than this program: update it", line.format)));
        }
        let body = &bytes[end + 1..];
        let fits = line.timestamp <= TIMESTAMP_LEN_MAX
            && line.snapshot <= SNAPSHOT_LEN_MAX
            && line.timestamp + line.snapshot == body.len() as u64;
        if !fits || line.op_id.len() > 64 {
            return Err(fail("its parts do not fill it exactly"));
        }
        let (timestamp, snapshot) = body.split_at(line.timestamp as usize);
        Ok(Self {
            generation: line.generation,
            op_id: line.op_id,
            root: line.root,
            timestamp: timestamp.to_vec(),
            snapshot: snapshot.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let head = Head {
            generation: 7,
            op_id: "9f2c".into(),
            root: 1,
            timestamp: b"{\"t\":\n1}".to_vec(),
            snapshot: b"{}".to_vec(),
        };
        let bytes = head.encode();
        assert_eq!(Head::decode(&bytes).unwrap(), head);
        assert!(Head::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(Head::decode(&[&bytes[..], b"x"].concat()).is_err());
        assert!(Head::decode(b"").is_err());
        let newer = String::from_utf8(bytes).unwrap().replace("\"format\":1", "\"format\":2");
        assert!(Head::decode(newer.as_bytes()).unwrap_err().to_string().contains("newer"));
    }

    #[test]
    fn lengths_that_overflow_are_refused() {
        let line = br#"{"format":1,"gen":1,"op_id":"","root":1,"timestamp":18446744073709551615,"snapshot":1}"#;
        assert!(Head::decode(&[&line[..], b"\n"].concat()).is_err());
    }
}
