//! Notes, as people write them down.

use std::fs::write;

use updraft_core::limits::NOTES_LEN_MAX;
use updraft_core::release::Notes;
use updraft_files::Dir;
use updraft_publisher::notes::{Error, Manifest, from_argument, in_dir};

fn dir(files: &[(&str, &str)]) -> (tempfile::TempDir, Dir) {
    let temp = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, content)| write(temp.path().join(name), content).unwrap());
    let dir = Dir::open(temp.path()).unwrap();
    (temp, dir)
}

fn read(files: &[(&str, &str)]) -> Result<Option<Notes>, Error> {
    in_dir(&dir(files).1)
}

fn locales(all: &[(&str, &str)]) -> Notes {
    Notes::Locales(all.iter().map(|(locale, text)| ((*locale).to_owned(), (*text).to_owned())).collect())
}

#[test]
fn one_text_or_one_for_each_locale() {
    assert_eq!(read(&[("README.md", "no notes")]).unwrap(), None);
    assert_eq!(read(&[("notes.md", "all")]).unwrap(), Some(Notes::Text("all".into())));
    assert_eq!(read(&[("notes.txt", "\u{feff}all")]).unwrap(), Some(Notes::Text("all".into())));
    let both = read(&[("notes.en.md", "new"), ("notes.zh-CN.md", "新")]).unwrap();
    assert_eq!(both, Some(locales(&[("en", "new"), ("zh-CN", "新")])));
    for twice in [
        [("notes.md", "a"), ("notes.txt", "b")],
        [("notes.md", "a"), ("notes.en.md", "b")],
        [("notes.en.txt", "a"), ("notes.en.md", "b")],
    ] {
        assert!(matches!(read(&twice), Err(Error::Twice { .. })), "{twice:?}");
    }
    // What release.json says comes first.
    let manifest = read(&[("release.json", r#"{"notes": "from json"}"#), ("notes.md", "from md")]).unwrap();
    assert_eq!(manifest, Some(Notes::Text("from json".into())));
}

#[test]
fn release_json_is_strict() {
    let parse = |text: &str| Manifest::read(&dir(&[("release.json", text)]).1).map(Option::unwrap);
    let full = parse(r#"{"version": "v1.2", "notes": {"en": "x"}}"#).unwrap();
    assert_eq!((full.version.unwrap().as_str(), full.notes), ("1.2", Some(locales(&[("en", "x")]))));
    assert_eq!(parse("{}").unwrap(), Manifest::default());
    for bad in [
        "",
        "[]",
        r#"{"version": 1.2}"#,
        r#"{"version": "latest"}"#,
        r#"{"verson": "1.2"}"#,
        r#"{"version": "1", "version": "2"}"#,
        r#"{"notes": ["a"]}"#,
    ] {
        let error = parse(bad).unwrap_err();
        assert!(matches!(error, Error::Manifest { .. }), "{bad}: {error}");
        assert!(error.to_string().contains("it looks like"), "{error}");
    }
    assert!(matches!(parse(r#"{"notes": {"not a locale": "x"}}"#), Err(Error::Notes(_))));
}

#[test]
fn what_is_too_long_or_no_text_is_refused() {
    let long = "x".repeat(NOTES_LEN_MAX + 1);
    assert!(matches!(read(&[("notes.md", &long)]), Err(Error::TooLong { .. })));
    assert!(matches!(from_argument(&long), Err(Error::Notes(_))));
    let (temp, dir) = dir(&[]);
    write(temp.path().join("notes.md"), b"\xff\xfe").unwrap();
    assert!(matches!(in_dir(&dir), Err(Error::NotText { .. })));
}

#[test]
fn an_argument_is_a_file_a_directory_or_the_text_itself() {
    let (temp, _) = dir(&[("notes.en.md", "new"), ("release.json", r#"{"notes": "json"}"#), ("other.json", "{}")]);
    let at = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();
    let text = |text: &str| Notes::Text(text.to_owned());
    assert_eq!(from_argument(&at("notes.en.md")).unwrap(), text("new"));
    assert_eq!(from_argument(&at("release.json")).unwrap(), text("json"));
    assert!(matches!(from_argument(&at("other.json")), Err(Error::Manifest { .. })));
    assert_eq!(from_argument(&at("")).unwrap(), text("json"));
    for itself in ["Faster.", "", "* one\n* two", "faster, see notes.md", "fixes a/b"] {
        assert_eq!(from_argument(itself).unwrap(), text(itself));
    }
    // A typing error does not become the notes of a release.
    assert!(matches!(from_argument(&at("nots.md")), Err(Error::NoFile(_))));
    assert!(matches!(from_argument("no/such/notes.txt"), Err(Error::NoFile(_))));
}
