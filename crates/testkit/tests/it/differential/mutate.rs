//! What is done to valid metadata: to its content before it is signed, to its signatures, to its bytes.
//!
//! Each function does one thing and says what it did, so that a case can be read.

use serde_json::{Map, Value, json};
use updraft_core::key::SigningKey;
use updraft_testkit::keys;

use super::rng::Rng;

/// There was nothing to change.
const NOTHING: &str = "nothing";

/// Values that readers trip over.
fn odd_value(rng: &mut Rng) -> Value {
    let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
    let pool = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(1),
        json!(2),
        json!(3),
        json!(1.0),
        json!(1.5),
        json!(9_007_199_254_740_991_i64),
        json!(9_007_199_254_740_992_i64),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("x"),
        json!("1"),
        json!("root"),
        json!("targets"),
        json!("snapshot.json"),
        json!("\u{0}"),
        json!("\u{10ffff}\""),
        json!([]),
        json!({}),
        json!([[]]),
        json!({"": null}),
        json!(["x"]),
        json!({"version": 1}),
        json!("a".repeat(300)),
        deep,
    ];
    rng.pick(&pool).clone()
}

/// Dates that some readers take.
const DATES: &[&str] = &[
    "2026-01-31T00:00:00Z",
    "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:01Z",
    "2025-12-31T23:59:59Z",
    "2026-01-31T00:00:00z",
    "2026-01-31t00:00:00Z",
    "2026-01-31 00:00:00Z",
    "2026-01-31T00:00:00",
    "2026-01-31T00:00:00+00:00",
    "2026-01-31T00:00:00.0Z",
    "2026-1-31T0:0:0Z",
    "2026-01-31T23:59:60Z",
    "2026-01-31T24:00:00Z",
    "2026-02-30T00:00:00Z",
    "20260131T000000Z",
    "2026-01-31T000000.0Z",
    "2026-01-31T00:00Z",
    "9999-12-31T23:59:59Z",
    "10000-01-01T00:00:00Z",
    "+002026-01-31T00:00Z",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z",
    "-999-01-01T00:00:00Z",
    "2026-W05-6T00:00:00Z",
    "2026-031T00:00:00.0Z",
    "2026-01-31T00:00:00Z ",
    " 026-01-31T00:00:00Z",
    "2026-01-31T00:00:0\u{661}Z",
    "2026-01-31T+0:00:00Z",
    "2026-01-31T00:00:00\u{2d}",
];

const SPEC_VERSIONS: &[&str] = &[
    "1.0.34",
    "1.0",
    "1",
    "1.0.34.1",
    "1.9999.0",
    "2.0.0",
    "0.9",
    "01.0",
    "1.0.x",
    "1..0",
    "v1.0",
    "",
    "1.\u{661}.0",
    " 1.0.0",
    "1.0.0-rc1",
    "+1.0",
];

/// Names of members that mean something somewhere.
const NAMES: &[&str] = &[
    "_type",
    "version",
    "expires",
    "spec_version",
    "meta",
    "keys",
    "roles",
    "keyids",
    "threshold",
    "consistent_snapshot",
    "targets",
    "delegations",
    "name",
    "paths",
    "path_hash_prefixes",
    "terminating",
    "hashes",
    "length",
    "custom",
    "sha256",
    "sha512",
    "keytype",
    "scheme",
    "keyval",
    "public",
    "snapshot.json",
    "targets.json",
    "docs.json",
    "root",
    "timestamp",
    "snapshot",
    "mirrors",
    "succinct_roles",
    "x-unknown",
    "signatures",
    "sig",
    "keyid",
    "unrecognized",
];

const KEY_KINDS: &[(&str, &str)] = &[
    ("ed25519", "ed25519"),
    ("ecdsa", "ecdsa-sha2-nistp256"),
    ("rsa", "rsassa-pss-sha256"),
    ("ed25519", "rsassa-pss-sha256"),
    ("unknown", "ed25519"),
    ("ed25519", "unknown"),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"),
    ("", ""),
];

/// Where every value of a document is.
fn places(value: &Value, here: &str, found: &mut Vec<String>) {
    found.push(here.to_owned());
    let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(map) => map.iter().for_each(|(name, v)| places(v, &format!("{here}/{}", escaped(name)), found)),
        Value::Array(items) => items.iter().enumerate().for_each(|(n, v)| places(v, &format!("{here}/{n}"), found)),
        _ => {}
    }
}

fn any_place(rng: &mut Rng, value: &Value) -> String {
    let mut found = Vec::new();
    places(value, "", &mut found);
    rng.pick(&found).clone()
}

/// Changes a document's content in one place.
pub(super) fn content(rng: &mut Rng, value: &mut Value) -> String {
    match rng.below(14) {
        0 | 1 => by_name(rng, value, "expires", |rng| json!(rng.pick(DATES))),
        2 => by_name(rng, value, "version", |rng| {
            rng.pick(&[
                json!(1),
                json!(2),
                json!(3),
                json!(4),
                json!(5),
                json!(0),
                json!(-1),
                json!(99),
                json!("3"),
                json!(3.0),
            ])
            .clone()
        }),
        3 => by_name(rng, value, "threshold", |rng| {
            rng.pick(&[
                json!(0),
                json!(1),
                json!(2),
                json!(3),
                json!(-1),
                json!("1"),
                json!(4_294_967_296_u64),
                json!(true),
            ])
            .clone()
        }),
        4 => by_name(rng, value, "spec_version", |rng| json!(rng.pick(SPEC_VERSIONS))),
        5 => {
            let (keytype, scheme) = *rng.pick(KEY_KINDS);
            let said = by_name(rng, value, "keytype", |_| json!(keytype));
            if rng.once_in(2) { said } else { format!("{said}; {}", by_name(rng, value, "scheme", |_| json!(scheme))) }
        }
        6 => add_member(rng, value),
        7 => swap(rng, value),
        8 => edit_text(rng, value),
        9 => duplicate_item(rng, value),
        10 => rename(rng, value),
        11 | 12 => remove(rng, value),
        _ => {
            let place = any_place(rng, value);
            let odd = odd_value(rng);
            let said = format!("{place} = {}", short(&odd));
            *value.pointer_mut(&place).unwrap() = odd;
            said
        }
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}

fn by_name(rng: &mut Rng, value: &mut Value, name: &str, new: impl FnOnce(&mut Rng) -> Value) -> String {
    let Some(place) = place_where(rng, value, |place, _| place.rsplit('/').next() == Some(name)) else {
        return NOTHING.to_owned();
    };
    let new = new(rng);
    let said = format!("{place} = {}", short(&new));
    *value.pointer_mut(&place).unwrap() = new;
    said
}

/// A place that is as asked for, if there is one.
fn place_where(rng: &mut Rng, value: &Value, is_so: impl Fn(&str, &Value) -> bool) -> Option<String> {
    let mut found = Vec::new();
    places(value, "", &mut found);
    found.retain(|place| is_so(place, value.pointer(place).unwrap()));
    (!found.is_empty()).then(|| rng.pick(&found).clone())
}

fn add_member(rng: &mut Rng, value: &mut Value) -> String {
    let Some(place) = place_where(rng, value, |_, v| v.is_object()) else { return NOTHING.to_owned() };
    let (name, odd) = (*rng.pick(NAMES), odd_value(rng));
    let said = format!("{place}/{name} added: {}", short(&odd));
    value.pointer_mut(&place).and_then(Value::as_object_mut).unwrap().insert(name.to_owned(), odd);
    said
}

fn rename(rng: &mut Rng, value: &mut Value) -> String {
    let has_members = |v: &Value| v.as_object().is_some_and(|map| !map.is_empty());
    let Some(place) = place_where(rng, value, |_, v| has_members(v)) else { return NOTHING.to_owned() };
    let map: &mut Map<_, _> = value.pointer_mut(&place).and_then(Value::as_object_mut).unwrap();
    let names: Vec<String> = map.keys().cloned().collect();
    let (old, new) = (rng.pick(&names).clone(), *rng.pick(NAMES));
    let moved = map.remove(&old).unwrap();
    map.insert(new.to_owned(), moved);
    format!("{place}/{old} is called {new}")
}

fn remove(rng: &mut Rng, value: &mut Value) -> String {
    let place = any_place(rng, value);
    let Some((above, last)) = place.rsplit_once('/') else { return NOTHING.to_owned() };
    match value.pointer_mut(above).unwrap() {
        Value::Object(map) => {
            map.remove(&last.replace("~1", "/").replace("~0", "~"));
        }
        Value::Array(items) => {
            items.remove(last.parse().unwrap());
        }
        _ => unreachable!("only objects and arrays have members"),
    }
    format!("{place} removed")
}

fn swap(rng: &mut Rng, value: &mut Value) -> String {
    let (one, other) = (any_place(rng, value), any_place(rng, value));
    if one.starts_with(&other) || other.starts_with(&one) {
        return NOTHING.to_owned();
    }
    let (a, b) = (value.pointer(&one).unwrap().clone(), value.pointer(&other).unwrap().clone());
    *value.pointer_mut(&one).unwrap() = b;
    *value.pointer_mut(&other).unwrap() = a;
    format!("{one} and {other} swapped")
}

fn duplicate_item(rng: &mut Rng, value: &mut Value) -> String {
    let has_items = |v: &Value| v.as_array().is_some_and(|items| !items.is_empty());
    let Some(place) = place_where(rng, value, |_, v| has_items(v)) else { return NOTHING.to_owned() };
    let items = value.pointer_mut(&place).and_then(Value::as_array_mut).unwrap();
    items.push(rng.pick(items).clone());
    format!("an item of {place} twice")
}

fn edit_text(rng: &mut Rng, value: &mut Value) -> String {
    let Some(place) = place_where(rng, value, |_, v| v.is_string()) else { return NOTHING.to_owned() };
    let text = value.pointer(&place).and_then(Value::as_str).unwrap().to_owned();
    let new = match rng.below(6) {
        0 => text.to_uppercase(),
        1 => format!("{text} "),
        2 => text.chars().skip(1).collect(),
        3 => format!("{text}{text}"),
        4 => text.replacen(|c: char| c.is_ascii_hexdigit(), "0", 1),
        _ => text.chars().rev().collect(),
    };
    let said = format!("{place} = {}", short(&json!(new)));
    *value.pointer_mut(&place).unwrap() = json!(new);
    said
}

/// Changes who signs: the names of keys.
pub(super) fn signers(rng: &mut Rng, signers: &mut Vec<String>) -> String {
    match rng.below(4) {
        0 if !signers.is_empty() => {
            let at = rng.below(signers.len());
            signers.remove(at);
        }
        1 => signers.push("a stranger".to_owned()),
        2 => *signers = vec!["a stranger".to_owned()],
        _ => {
            let at = rng.below(signers.len().max(1));
            signers.drain(..at);
        }
    }
    format!("signed by {signers:?}")
}

/// Changes the signatures of a document that was signed.
pub(super) fn envelope(rng: &mut Rng, wire: &mut Value) -> String {
    let canonical = updraft_core::json::canonical(&wire["signed"]);
    let Some(signatures) = wire["signatures"].as_array_mut() else { return NOTHING.to_owned() };
    if signatures.is_empty() || !signatures.iter().all(Value::is_object) {
        return NOTHING.to_owned();
    }
    let at = rng.below(signatures.len());
    let sig = signatures[at]["sig"].as_str().unwrap_or_default().to_owned();
    let what = rng.below(11);
    match what {
        0 => signatures[at]["sig"] = json!(sig.to_uppercase()),
        1 => signatures[at]["sig"] = json!(format!("{sig} ")),
        2 => signatures[at]["sig"] = json!(sig.chars().rev().collect::<String>()),
        3 => signatures[at]["sig"] = json!(""),
        4 => signatures.push(signatures[at].clone()),
        5 => {
            let mut twin = signatures[at].clone();
            twin["keyid"] = json!("twin");
            signatures.push(twin);
        }
        6 => signatures[at]["keyid"] = signatures[0]["keyid"].clone(),
        7 => {
            let stranger: SigningKey = keys::named("another stranger");
            let keyid = signatures[at]["keyid"].clone();
            signatures.insert(0, json!({"keyid": keyid, "sig": stranger.sign(&canonical)}));
        }
        8 => signatures[at]["method"] = json!("unknown"),
        9 => signatures[at] = odd_value(rng),
        _ => signatures.reverse(),
    }
    format!("signatures, way {what}")
}

/// Changes bytes.
pub(super) fn bytes(rng: &mut Rng, bytes: &mut Vec<u8>) -> String {
    if bytes.is_empty() {
        return NOTHING.to_owned();
    }
    let at = rng.below(bytes.len());
    let what = rng.below(8);
    match what {
        0 | 1 => bytes[at] ^= 1 << rng.below(8),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..(at + 1 + rng.below(8)).min(bytes.len()))),
        4 => {
            let part: Vec<u8> = bytes[at..(at + 1 + rng.below(40)).min(bytes.len())].to_vec();
            drop(bytes.splice(at..at, part));
        }
        5 => bytes.insert(at, *rng.pick(b" \n\t\0{}[]\",:0\\\xff\xef")),
        6 => bytes.extend_from_slice(rng.pick(&[" ", "\n{}", "\0", "x", "]"]).as_bytes()),
        _ => {
            drop(bytes.splice(
                0..0,
                rng.pick(&[&b"\xef\xbb\xbf"[..], b" \r\n\t", b"\xff\xfe", b"[", b"//\n"]).iter().copied(),
            ))
        }
    }
    format!("bytes, way {what} at {at}")
}

/// Writes the same document another way: what is signed stays what it is, for whoever reads it so.
pub(super) fn spelling(rng: &mut Rng, bytes: &mut Vec<u8>) -> String {
    let Ok(text) = String::from_utf8(bytes.clone()) else { return NOTHING.to_owned() };
    let what = rng.below(9);
    let new = match what {
        0 => text.replacen("\"version\":", "\"version\":7,\"version\":", 1),
        1 => text.replacen("\"signed\":{", "\"signed\":{\"_type\":\"root\",", 1),
        2 => text.replacen("\"signed\":", "\"signed\":{},\"signed\":", 1),
        3 => text.replacen("\"version\":", "\"versi\\u006fn\":", 1),
        4 => text.replacen("\"threshold\":1", "\"threshold\":1.0", 1),
        5 => text.replacen("\"threshold\":1", "\"threshold\":10e-1", 1),
        6 => text.replace(',', " , \n"),
        7 => text.replacen("\"signatures\":", "\"signatures\":[],\"signatures\":", 1),
        _ => text.replacen('{', "{\"extra\":NaN,", 1),
    };
    *bytes = new.into_bytes();
    format!("spelled another way, {what}")
}
