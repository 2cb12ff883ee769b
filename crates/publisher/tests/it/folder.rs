//! A folder that publishes itself.

use std::path::PathBuf;

use updraft_core::digest::Digest;
use updraft_core::name::ChannelName;
use updraft_core::release::Notes;
use updraft_publisher::folder::{Error, Folder, Outcome, Report, Warning};
use updraft_testkit::{TreeFixture, clock};

use crate::server::Server;
use crate::{Desk, app, wanted};

struct Home {
    server: Server,
    desk: Desk,
    path: PathBuf,
    folder: Folder,
}

impl Home {
    fn new(files: &TreeFixture) -> Self {
        let server = Server::new("demo");
        let desk = Desk::with_app(&server);
        let path = desk.temp.path().join("updateFiles");
        files.write_to(&path);
        let folder = Folder::open(&path, app(), ChannelName::stable(), &desk.keys).unwrap();
        Self { server, desk, path, folder }
    }

    fn look(&mut self) -> Report {
        self.folder.publish(&self.desk.publisher(&self.server), clock::now()).unwrap()
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path.join(name), content).unwrap();
    }

    fn current(&self) -> String {
        self.server.current("stable").unwrap()
    }
}

fn is_published(report: &Report) -> bool {
    matches!(report.outcome, Outcome::Published(_))
}

#[test]
fn whoever_changes_a_file_has_published() {
    let mut home = Home::new(&TreeFixture::of(&[("a.txt", "one"), ("sub/b.txt", "two")]));
    let report = home.look();
    assert!(is_published(&report) && report.warnings.is_empty(), "{report:?}");
    assert_eq!(home.current(), "0.0.1");
    assert!(!is_published(&home.look()));

    home.write("a.txt", "changed");
    std::fs::remove_file(home.path.join("sub/b.txt")).unwrap();
    assert!(is_published(&home.look()));
    let (tree, contents) = home.server.fetch("0.0.2");
    assert_eq!(contents.into_values().collect::<Vec<_>>(), [b"changed"]);
    assert!(tree.files().all(|file| file.path.as_str() == "a.txt"));
}

#[test]
fn raw_blobs_are_kept_for_those_who_download_single_files() {
    let text = "compresses well ".repeat(2_000);
    let mut home =
        Home::new(&TreeFixture::of(&[("big.txt", &text), ("small.txt", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")]));
    home.look();
    assert_eq!(home.server.encodings(Digest::of(text.as_bytes())), (true, true));
    let small = Digest::of(b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    assert_eq!(home.server.encodings(small), (true, false), "a compressed copy of this is not worth a file");
    // The price of a download is that of the compressed ones.
    assert!(home.server.release("0.0.1").tree.stored < 1_000);
}

#[test]
fn release_json_names_the_version_and_is_no_content() {
    let mut home = Home::new(&TreeFixture::of(&[("a", "1"), ("listFile", "what the old server left")]));
    home.write("release.json", r#"{"version": "1.2.0", "notes": {"en": "new", "zh": "新"}}"#);
    home.look();
    assert_eq!(home.current(), "1.2.0");
    assert_eq!(home.server.fetch("1.2.0").0.len(), 1, "only 'a' is content");
    let Notes::Locales(notes) = home.server.release("1.2.0").notes else { panic!() };
    assert_eq!(notes["zh"], "新");

    // A change without a new version is not published, and its keeper hears why.
    home.write("a", "2");
    let report = home.look();
    assert!(!is_published(&report));
    assert_eq!(report.warnings, [Warning::SameVersion("1.2.0".parse().unwrap())]);
    assert!(report.warnings[0].to_string().contains("raise the version"));
    home.write("release.json", r#"{"version": "1.1.0"}"#);
    assert!(matches!(home.look().warnings[..], [Warning::OlderVersion { .. }]));
    home.write("release.json", r#"{"version": "1.10.0"}"#);
    assert!(is_published(&home.look()));
    assert_eq!(home.current(), "1.10.0");
}

#[test]
fn notes_lie_beside_the_files() {
    let mut home = Home::new(&TreeFixture::of(&[("a", "1"), ("notes.md", "# for everybody"), ("notesapp", "content")]));
    home.look();
    assert_eq!(home.server.release("0.0.1").notes, Notes::Text("# for everybody".into()));
    assert_eq!(home.server.fetch("0.0.1").0.len(), 2);
    // Notes alone are no new release.
    home.write("notes.md", "# better said");
    assert!(!is_published(&home.look()));
}

#[test]
fn what_is_ignored_and_what_belongs_to_the_server() {
    let files = TreeFixture::of(&[
        ("a", "1"),
        (".hidden", "counts"),
        ("debug.log", "does not"),
        (".updraftignore", "*.log\n"),
        (".git/config", "does not"),
        ("api/x", "served elsewhere"),
        ("dashboard", "served elsewhere"),
    ]);
    let mut home = Home::new(&files);
    let report = home.look();
    assert_eq!(report.warnings, [Warning::Reserved(vec!["api".into(), "dashboard".into()])]);
    let (tree, _) = home.server.fetch("0.0.1");
    let paths: Vec<_> = tree.files().map(|file| file.path.as_str().to_owned()).collect();
    assert_eq!(paths, [".hidden", "a", "api/x", "dashboard"]);
}

#[test]
fn a_version_that_somebody_published_by_hand_is_not_taken_again() {
    let mut home = Home::new(&TreeFixture::of(&[("a", "1")]));
    home.look();
    home.desk.publish(&home.server, &TreeFixture::of(&[("a", "by hand")]), &wanted("0.0.2", "")).unwrap();
    home.write("a", "2");
    home.look();
    assert_eq!(home.current(), "0.0.3");
}

#[test]
fn what_cannot_be_published_leaves_what_is_out() {
    let mut home = Home::new(&TreeFixture::of(&[("a", "1")]));
    home.look();
    for (name, content) in
        [("release.json", "{"), ("release.json", r#"{"verson": "1.0"}"#), ("CON", "no name on Windows")]
    {
        home.write(name, content);
        let error = home.folder.publish(&home.desk.publisher(&home.server), clock::now()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        std::fs::remove_file(home.path.join(name)).unwrap();
    }
    assert_eq!(home.current(), "0.0.1");
}

#[test]
fn a_look_sees_whatever_would_make_a_difference() {
    let mut home = Home::new(&TreeFixture::of(&[("a", "1")]));
    let mut seen = vec![home.folder.look().unwrap()];
    assert_eq!(home.folder.look().unwrap(), seen[0]);
    for (name, content) in [("a", "2"), ("b", ""), ("release.json", r#"{"version": "1"}"#), ("notes.md", "new")] {
        home.write(name, content);
        let now = home.folder.look().unwrap();
        assert!(!seen.contains(&now), "{name}");
        seen.push(now);
    }
    assert_eq!(home.server.current("stable"), None, "a look publishes nothing");
}

#[test]
fn an_empty_folder_is_a_release_too() {
    let mut home = Home::new(&TreeFixture::of(&[]));
    std::fs::create_dir_all(&home.path).unwrap();
    assert!(is_published(&home.look()));
    assert!(home.server.fetch("0.0.1").0.is_empty());
}

/// The folder was opened once and kept: after `mv updateFiles old; mkdir updateFiles` the server went on to publish `old`.
#[test]
fn a_folder_that_was_replaced_is_the_one_that_is_published() {
    let mut home = Home::new(&TreeFixture::of(&[("a", "1")]));
    home.look();
    let looked = home.folder.look().unwrap();
    let old = home.desk.temp.path().join("old");
    std::fs::rename(&home.path, &old).unwrap();
    TreeFixture::of(&[("a", "2")]).write_to(&home.path);
    assert_ne!(home.folder.look().unwrap(), looked, "a watcher sees it");
    assert!(is_published(&home.look()));
    assert_eq!(home.server.fetch("0.0.2").1.into_values().collect::<Vec<_>>(), [b"2"]);
    std::fs::write(old.join("a"), "3").unwrap();
    assert!(!is_published(&home.look()), "nobody asks what became of the old one");
}

/// A folder that was deleted, or whose disk was gone, went out as an empty release: every device deleted its files.
#[test]
fn a_folder_that_is_gone_or_lost_its_files_does_not_empty_every_device() {
    let mut home = Home::new(&TreeFixture::of(&[("a", "1")]));
    home.look();
    std::fs::remove_dir_all(&home.path).unwrap();
    home.folder.look().unwrap_err();
    let error = home.folder.publish(&home.desk.publisher(&home.server), clock::now()).unwrap_err();
    assert!(error.to_string().contains("updateFiles"), "{error}");

    // The mount point is there, and the disk is not.
    std::fs::create_dir(&home.path).unwrap();
    let report = home.look();
    assert!(!is_published(&report));
    assert_eq!(report.warnings, [Warning::Empty { current: "0.0.1".parse().unwrap() }]);
    assert!(report.warnings[0].to_string().contains("release.json"), "{}", report.warnings[0]);
    assert_eq!(home.current(), "0.0.1");

    // Whoever means it says so.
    home.write("release.json", r#"{"version": "0.0.2"}"#);
    assert!(is_published(&home.look()));
    assert!(home.server.fetch("0.0.2").0.is_empty());
}

/// A path that leads elsewhere by now was only looked at when the server started: a link to the keys would have gone out.
#[cfg(unix)]
#[test]
fn a_folder_that_has_become_a_way_to_the_keys_is_refused() {
    let mut home = Home::new(&TreeFixture::of(&[("a", "1")]));
    home.look();
    std::fs::remove_dir_all(&home.path).unwrap();
    std::os::unix::fs::symlink(home.desk.keys.dir(), &home.path).unwrap();
    let error = home.folder.publish(&home.desk.publisher(&home.server), clock::now()).unwrap_err();
    assert!(matches!(error, Error::Overlap { .. }), "{error}");
    assert_eq!(home.current(), "0.0.1");
}

/// A folder whose content was out was `Unchanged`, whatever had become of its blobs: nobody could bring them back.
#[test]
fn what_the_server_lost_comes_back_from_a_folder_that_did_not_change() {
    let files = TreeFixture::of(&[("a", "1"), ("b", "2")]);
    let mut home = Home::new(&files);
    home.look();
    let mended = |blobs| {
        let current = wanted("0.0.1", "").name();
        [Warning::Mended { current, blobs }]
    };
    home.server.collect(Digest::of(b"1"));
    let report = home.look();
    assert_eq!((report.outcome, &report.warnings[..]), (Outcome::Unchanged, &mended(1)[..]));
    home.server.lose_tree(files.tree().digest());
    assert_eq!(home.look().warnings, mended(0));
    assert_eq!(home.server.fetch("0.0.1"), (files.tree(), files.contents().clone()));
    assert_eq!(home.look().warnings, [], "and then it is whole");
}

/// Somebody published to the folder's app by hand: what compresses well lay there compressed only. The folder took that for
/// present, and whoever downloaded the single file got an error from then on, however often the folder was scanned.
#[test]
fn what_lies_there_compressed_only_is_sent_as_it_is_too() {
    let (first, second) = ("compresses well ".repeat(2_000), "so does this one ".repeat(2_000));
    let of = |text: &str| Digest::of(text.as_bytes());
    let by_hand = TreeFixture::of(&[("a", &first), ("b", &second)]);
    let mut home = Home::new(&by_hand.clone().without("b"));
    home.desk.publish(&home.server, &by_hand, &wanted("1.0", "stable")).unwrap();
    assert_eq!(home.server.encodings(of(&first)), (false, true));

    // In a release that the folder publishes.
    assert!(is_published(&home.look()));
    assert_eq!(home.server.encodings(of(&first)), (true, true));
    assert_eq!(home.server.encodings(of(&second)), (false, true), "not the folder's");
    // And in one that holds what the folder holds, and is out already.
    home.desk.publish(&home.server, &by_hand, &wanted("1.2", "stable")).unwrap();
    home.write("b", &second);
    let report = home.look();
    assert!(matches!(report.warnings[..], [Warning::Mended { blobs: 1, .. }]), "{report:?}");
    assert_eq!(home.server.encodings(of(&second)), (true, true));
    assert_eq!(home.look().warnings, []);
    // A device pays for the compressed ones, as before.
    assert_eq!(home.server.fetch(&home.current()).1, *by_hand.contents());
}
