//! The list of files that the seed's readers fetch: `{path: md5}`, as a pickle or as JSON.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Serialize, Serializer};

/// MD5 of a file. No security rests on it; the seed's readers compare it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Md5(pub(super) [u8; 16]);

impl fmt::Display for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Md5({self})")
    }
}

impl Serialize for Md5 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A list, in both forms.
#[derive(Debug, Clone)]
pub struct List {
    /// As `pickle.load` reads it, in every Python since 2.3: protocol 2.
    pub pickle: Bytes,
    /// As a JSON object.
    pub json: Bytes,
}

impl List {
    /// The list with these files.
    pub(super) fn new(files: &BTreeMap<String, Md5>) -> Self {
        let pickle = serde_pickle::to_vec(files, serde_pickle::SerOptions::new().proto_v2());
        Self {
            pickle: pickle.expect("texts can be pickled").into(),
            json: serde_json::to_vec(files).expect("texts are plain JSON").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pickle_is_of_protocol_2() {
        let list = List::new(&BTreeMap::from([("a/名".to_owned(), Md5([0xab; 16]))]));
        assert_eq!(&list.pickle[..2], &[0x80, 2]);
        assert_eq!(list.json, r#"{"a/名":"abababababababababababababababab"}"#);
    }
}
