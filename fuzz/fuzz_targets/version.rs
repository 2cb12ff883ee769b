//! Versions: text stays as it is but for a `v` in front, and the order is one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use updraft_core::version::Version;

fuzz_target!(|texts: (&str, &str, &str)| {
    let (Ok(a), Ok(b), Ok(c)) = (texts.0.parse::<Version>(), texts.1.parse::<Version>(), texts.2.parse::<Version>())
    else {
        return;
    };
    assert_eq!(a.as_str(), texts.0.strip_prefix(['v', 'V']).unwrap_or(texts.0));
    assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
    assert_eq!(a == b, a.cmp(&b).is_eq());
    if a <= b && b <= c {
        assert!(a <= c, "{a} <= {b} <= {c}");
    }
});
