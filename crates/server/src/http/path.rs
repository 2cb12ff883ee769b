//! From a URL path to the text it spells.

/// The text of a URL path, percent-decoded once, without its leading `/`.
///
/// Returns `None` for what is not a path: a bad escape, bytes that are not UTF-8, a NUL.
pub(super) fn decode(path: &str) -> Option<String> {
    let path = path.strip_prefix('/')?;
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                bytes.extend(hex::decode(digits).ok()?);
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// `text` with everything percent-encoded that RFC 5987 does not allow in an extended value, and no path may hold raw.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn once_and_strictly() {
        assert_eq!(decode("/a/b%20c").as_deref(), Some("a/b c"));
        assert_eq!(decode("/%e5%90%8d").as_deref(), Some("名"));
        assert_eq!(decode("/%252e%2e").as_deref(), Some("%2e."));
        assert_eq!(decode("/a+b").as_deref(), Some("a+b"));
        assert_eq!(decode("//a").as_deref(), Some("/a"));
        for bad in ["/%", "/%4", "/%zz", "/%ff", "/%00", "a", "*", ""] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn there_and_back(text in "[^\0]{0,20}") {
            let encoded = encode(&text);
            prop_assert_eq!(decode(&format!("/{encoded}")), Some(text));
        }
    }
}
