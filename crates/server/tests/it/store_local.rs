//! What the local backend promises beyond the contract: the order of its steps, what a crash leaves, who is refused.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use updraft_core::layout::Key;
use updraft_server::store::{Created, Error, Kind, Step, Store, Swap};

use crate::store_contract::{content, key, keys};

/// A store whose steps are written down, as `verb path` or `verb path -> path` below its root.
struct Logged {
    store: Store,
    log: Arc<Mutex<Vec<String>>>,
    _dir: TempDir,
}

impl Logged {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (root, log) = (dir.path().to_path_buf(), Arc::new(Mutex::new(Vec::new())));
        let lines = Arc::clone(&log);
        let probe = move |step: &Step| {
            lines.lock().unwrap().push(written(&root, step));
            Ok(())
        };
        let store = Store::local_probed(dir.path(), Arc::new(probe)).unwrap();
        Self { store, log, _dir: dir }
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

fn written(root: &Path, step: &Step) -> String {
    let name = |path: &Path| match path.strip_prefix(root).unwrap().to_str().unwrap() {
        "" => ".".to_owned(),
        // Temporary files have numbers for names.
        path if path.starts_with("scratch/spool/") => "TEMP".to_owned(),
        path => path.to_owned(),
    };
    match step {
        Step::NewFile(path) => format!("new file {}", name(path)),
        Step::Append(path) => format!("append {}", name(path)),
        Step::SyncFile(path) => format!("sync {}", name(path)),
        Step::NewDir(path) => format!("new dir {}", name(path)),
        Step::SyncDir(path) => format!("sync dir {}", name(path)),
        Step::Link(source, target) => format!("link {} -> {}", name(source), name(target)),
        Step::Rename(source, target) => format!("rename {} -> {}", name(source), name(target)),
        Step::Remove(path) => format!("remove {}", name(path)),
    }
}

#[tokio::test]
async fn bytes_are_durable_before_their_name_and_the_name_before_the_answer() {
    let logged = Logged::new();
    let opening = logged.take();
    assert_eq!(
        opening,
        [
            "remove format.new",
            "new file format.new",
            "append format.new",
            "sync format.new",
            "rename format.new -> format",
            "sync dir .",
            "new dir scratch",
            "new dir scratch/spool",
            "new dir scratch/partial",
        ]
    );

    let store = &logged.store;
    store.create(&key("apps/demo/head"), b"x".to_vec()).await.unwrap();
    assert_eq!(
        logged.take(),
        [
            "new file TEMP",
            "append TEMP",
            "sync TEMP",
            "new dir apps",
            "sync dir .",
            "new dir apps/demo",
            "sync dir apps",
            "link TEMP -> apps/demo/head",
            "sync dir apps/demo",
            "remove TEMP",
        ]
    );
    // Its maker may not have synced the directory yet, and this caller will rely on it.
    assert_eq!(store.create(&key("apps/demo/head"), b"x".to_vec()).await.unwrap(), Created::Exists);
    assert_eq!(logged.take(), ["sync dir apps/demo"]);

    let (_, tag) = store.read(&key("apps/demo/head"), 10).await.unwrap().unwrap();
    assert_eq!(logged.take(), [""; 0]);
    store.swap(&key("apps/demo/head"), Some(&tag), "y".into()).await.unwrap();
    let swapped = [
        "new file TEMP",
        "append TEMP",
        "sync TEMP",
        "rename TEMP -> apps/demo/head",
        "sync dir apps/demo",
        "remove TEMP",
    ];
    assert_eq!(logged.take(), swapped);
    store.put(&key("apps/demo/head"), "z".into()).await.unwrap();
    assert_eq!(logged.take(), swapped);
    assert_eq!(store.swap(&key("apps/demo/head"), Some(&tag), "y".into()).await.unwrap(), Swap::Conflict);
    assert_eq!(logged.take(), [""; 0]);

    store.delete(&key("apps/demo/head")).await.unwrap();
    assert_eq!(logged.take(), ["remove apps/demo/head", "sync dir apps/demo"]);
}

#[tokio::test]
async fn a_finished_spool_is_synced_once() {
    let logged = Logged::new();
    logged.take();
    let mut spool = logged.store.spool().unwrap();
    spool.append(b"x").unwrap();
    let spool = spool.finish().unwrap();
    assert_eq!(logged.take(), ["new file TEMP", "append TEMP", "sync TEMP"]);
    logged.store.create(&key("apps/a"), spool).await.unwrap();
    assert_eq!(logged.take(), ["new dir apps", "sync dir .", "link TEMP -> apps/a", "sync dir apps", "remove TEMP"]);
}

/// What a publish does to a store, in small. Each line is acknowledged before the next begins.
const WRITES: [&str; 6] = ["create blob", "create tree by spool", "swap head in", "swap head on", "put", "delete tree"];

async fn write(store: &Store, n: usize) -> Result<(), Error> {
    let (blob, tree, head, stamp) = names();
    match n {
        0 => store.create(&blob, b"blob".to_vec()).await.map(drop),
        1 => {
            let mut spool = store.spool()?;
            spool.append(b"tree")?;
            store.create(&tree, spool.finish()?).await.map(drop)
        }
        2 => store.swap(&head, None, "gen 1".into()).await.map(drop),
        3 => match store.read(&head, 100).await? {
            Some((_, tag)) => store.swap(&head, Some(&tag), "gen 2".into()).await.map(drop),
            None => panic!("the head was acknowledged and is gone"),
        },
        4 => store.put(&stamp, "stamp".into()).await,
        _ => store.delete(&tree).await,
    }
}

fn names() -> (Key, Key, Key, Key) {
    (key("apps/a/blobs/aa/b"), key("apps/a/trees/t"), key("apps/a/head"), key("private/a/stamp"))
}

/// The objects after the first `done` writes, by name.
fn state(done: usize) -> Vec<(String, &'static str)> {
    let (blob, tree, head, stamp) = names();
    let all = [
        (done > 0, blob, "blob"),
        (done > 2, head, if done > 3 { "gen 2" } else { "gen 1" }),
        (done > 1 && done < 6, tree, "tree"),
        (done > 4, stamp, "stamp"),
    ];
    all.into_iter().filter(|(there, ..)| *there).map(|(_, key, text)| (key.to_string(), text)).collect()
}

async fn found(store: &Store) -> Vec<(String, String)> {
    let mut objects = Vec::new();
    for name in keys(store).await {
        let bytes = content(store, &key(&name)).await.unwrap();
        objects.push((name, String::from_utf8(bytes.to_vec()).unwrap()));
    }
    objects
}

fn same(found: &[(String, String)], state: &[(String, &str)]) -> bool {
    found.len() == state.len() && found.iter().zip(state).all(|(a, b)| a.0 == b.0 && a.1 == b.1)
}

/// How a run of all [`WRITES`] on a new store went.
struct Run {
    steps: usize,
    acknowledged: usize,
    failure: Option<Error>,
}

/// Opens a store whose steps `answers` by their number, and writes until something fails.
async fn run(root: &Path, answers: impl Fn(usize) -> io::Result<()> + Send + Sync + 'static) -> Run {
    let steps = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&steps);
    let probe = move |_: &Step| answers(count.fetch_add(1, Ordering::SeqCst));
    let mut run = Run { steps: 0, acknowledged: 0, failure: None };
    match Store::local_probed(root, Arc::new(probe)) {
        Err(error) => run.failure = Some(error),
        Ok(store) => {
            while run.acknowledged < WRITES.len() && run.failure.is_none() {
                match write(&store, run.acknowledged).await {
                    Ok(()) => run.acknowledged += 1,
                    Err(error) => run.failure = Some(error),
                }
            }
        }
    }
    run.steps = steps.load(Ordering::SeqCst);
    run
}

async fn steps_of_a_run() -> usize {
    let dir = tempfile::tempdir().unwrap();
    let run = run(dir.path(), |_| Ok(())).await;
    assert!(run.failure.is_none());
    assert!(run.steps > 40, "{}", run.steps);
    run.steps
}

/// What is there is what was acknowledged, or that and the whole write that was under way.
async fn assert_old_or_new(store: &Store, run: &Run, n: usize) {
    let objects = found(store).await;
    let old = same(&objects, &state(run.acknowledged));
    let new = run.failure.is_some() && same(&objects, &state(run.acknowledged + 1));
    assert!(old || new, "step {n}, {} writes acknowledged: {objects:?}", run.acknowledged);
}

#[tokio::test]
async fn a_crash_at_any_step_leaves_the_old_or_the_new() {
    let mut leftovers = 0;
    for n in 0..steps_of_a_run().await {
        let dir = tempfile::tempdir().unwrap();
        let spools = || fs::read_dir(dir.path().join("scratch/spool")).map_or(0, Iterator::count);
        let run = run(dir.path(), move |step| if step < n { Ok(()) } else { Err(io::ErrorKind::Other.into()) }).await;
        leftovers += spools();

        let store = Store::local(dir.path()).unwrap();
        assert_eq!(spools(), 0, "swept");
        assert_old_or_new(&store, &run, n).await;
        // And it goes on from there.
        for (next, name) in WRITES.iter().enumerate().skip(run.acknowledged) {
            write(&store, next).await.unwrap_or_else(|error| panic!("{name} after step {n}: {error}"));
        }
        assert!(same(&found(&store).await, &state(WRITES.len())), "after step {n}");
    }
    assert!(leftovers > 5, "{leftovers} temporary files were left to sweep");
}

#[tokio::test]
async fn a_full_disk_at_any_step_is_named_and_nothing_is_lost() {
    for n in 0..steps_of_a_run().await {
        let dir = tempfile::tempdir().unwrap();
        let run =
            run(dir.path(), move |step| if step == n { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }).await;
        if let Some(error) = &run.failure {
            assert_eq!(error.kind(), Kind::Full, "step {n}: {error}");
            let text = error.to_string();
            assert!(text.contains(dir.path().to_str().unwrap()), "step {n}: {text}");
            assert!(text.ends_with("free some, or move the data directory to a larger one"), "{text}");
        } else {
            assert_eq!(run.acknowledged, WRITES.len(), "only tidying up failed");
        }
        // Somebody makes room.
        assert_old_or_new(&Store::local(dir.path()).unwrap(), &run, n).await;
    }
}

#[tokio::test]
async fn a_full_disk_names_key_and_path() {
    let dir = tempfile::tempdir().unwrap();
    let probe = |step: &Step| match step {
        Step::Append(path) if path.to_string_lossy().contains("spool") => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    };
    let store = Store::local_probed(dir.path(), Arc::new(probe)).unwrap();
    let error = store.put(&key("apps/demo/head"), "x".into()).await.unwrap_err();
    let spool = dir.path().join("scratch/spool/0");
    assert_eq!(
        error.to_string(),
        format!(
            "apps/demo/head ({}): no space left on its file system; free some, or move the data directory to a larger one",
            spool.display()
        )
    );
    assert!(!spool.exists(), "the space is given back");
    assert_eq!(store.create(&key("apps/demo/head"), b"x".to_vec()).await.unwrap_err().kind(), Kind::Full);
    assert_eq!(content(&store, &key("apps/demo/head")).await, None);
}

#[test]
fn a_second_opener_is_refused_and_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::local(dir.path()).unwrap();
    let error = Store::local(dir.path()).unwrap_err();
    assert_eq!(error.kind(), Kind::InUse);
    let expected = format!(
        "{}: in use by process {}; stop it first, or choose another data directory",
        dir.path().display(),
        std::process::id()
    );
    assert_eq!(error.to_string(), expected);

    // A file that is still in somebody's hands would be swept by the next opener.
    let spool = first.spool().unwrap();
    drop(first);
    assert_eq!(Store::local(dir.path()).unwrap_err().kind(), Kind::InUse);
    drop(spool);
    Store::local(dir.path()).unwrap();
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::local(dir.path()).unwrap());
    assert_eq!(fs::read_to_string(dir.path().join("format")).unwrap(), "updraft store 1\n");
    fs::write(dir.path().join("format"), "updraft store 2\n").unwrap();
    fs::write(dir.path().join("scratch/spool/theirs"), "x").unwrap();
    let error = Store::local(dir.path()).unwrap_err();
    assert_eq!(error.kind(), Kind::NewerFormat);
    assert!(error.to_string().contains("has format 2, and this version of updraft knows formats up to 1"), "{error}");
    assert!(dir.path().join("scratch/spool/theirs").exists());
}

#[test]
fn objects_without_a_readable_format_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::local(dir.path()).unwrap());
    for text in ["", "updraft store 0\n", "updraft store -1\n", "updraft store\n", "2\n", "updraft store 99999999999\n"]
    {
        fs::write(dir.path().join("format"), text).unwrap();
        assert_eq!(Store::local(dir.path()).unwrap_err().kind(), Kind::Corrupt, "{text:?}");
    }
    fs::remove_file(dir.path().join("format")).unwrap();
    drop(Store::local(dir.path()).unwrap());
    fs::remove_file(dir.path().join("format")).unwrap();
    fs::create_dir(dir.path().join("apps")).unwrap();
    let error = Store::local(dir.path()).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("missing, though there are objects beside it"), "{error}");
}

#[tokio::test]
async fn the_data_directory_is_made_with_what_is_above_it() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("a/b/data");
    let store = Store::local(&root).unwrap();
    store.put(&key("private/keys/x"), "x".into()).await.unwrap();
    #[cfg(unix)]
    for owners in ["", "private", "scratch"] {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(root.join(owners)).unwrap().permissions().mode() & 0o777, 0o700, "{owners}");
    }
}

/// Without hard links `create` looks and then renames, and nobody may come in between. The first to rename waits here
/// for a second, which comes only if the key's lock does not keep it out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_links_two_creators_do_not_pass_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (arrived, first) = (Condvar::new(), Mutex::new(0));
    let probe = move |step: &Step| match step {
        Step::Link(..) => Err(io::ErrorKind::Unsupported.into()),
        Step::Rename(_, target) if target.ends_with("apps/x") => {
            let mut count = first.lock().unwrap();
            *count += 1;
            arrived.notify_all();
            drop(arrived.wait_timeout_while(count, Duration::from_millis(200), |count| *count < 2).unwrap());
            Ok(())
        }
        _ => Ok(()),
    };
    let store = Store::local_probed(dir.path(), Arc::new(probe)).unwrap();
    let key = key("apps/x");
    let (one, two) = tokio::join!(store.create(&key, b"1".to_vec()), store.create(&key, b"2".to_vec()));
    let answers = [one.unwrap(), two.unwrap()];
    assert!(answers.contains(&Created::New) && answers.contains(&Created::Exists), "{answers:?}");
}

#[tokio::test]
async fn a_removed_directory_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::local(dir.path()).unwrap();
    store.create(&key("apps/demo/head"), b"x".to_vec()).await.unwrap();
    fs::remove_dir_all(dir.path().join("apps")).unwrap();
    assert_eq!(store.create(&key("apps/demo/head"), b"y".to_vec()).await.unwrap(), Created::New);
    fs::remove_dir_all(dir.path().join("apps")).unwrap();
    store.put(&key("apps/demo/head"), "z".into()).await.unwrap();
    assert_eq!(content(&store, &key("apps/demo/head")).await.unwrap(), "z");
}

#[tokio::test]
async fn a_file_that_shrinks_under_its_reader_is_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::local(dir.path()).unwrap();
    store.create(&key("apps/demo/head"), b"hello".to_vec()).await.unwrap();
    let object = store.open(&key("apps/demo/head")).await.unwrap().unwrap();
    assert!(object.as_file().is_some());
    fs::write(dir.path().join("apps/demo/head"), "he").unwrap();
    assert_eq!(object.read_at(0, 2).await.unwrap(), "he");
    assert_eq!(object.read_at(0, 5).await.unwrap_err().kind(), Kind::Corrupt);
}

#[tokio::test]
async fn what_is_no_object_is_not_listed_and_in_nobodys_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::local(dir.path()).unwrap();
    store.create(&key("apps/demo/head"), b"x".to_vec()).await.unwrap();
    fs::write(dir.path().join("apps/demo/a name with spaces"), "x").unwrap();
    fs::write(dir.path().join("address"), "x").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("head", dir.path().join("apps/demo/link")).unwrap();
    assert_eq!(keys(&store).await, ["apps/demo/head"]);
    let error = store.create(&key("apps/demo"), b"x".to_vec()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
}

/// The story: SIGTERM came while the folder was scanned. The scan's thread waited for the store, the store for a runtime
/// that began nothing any more, and the process for the thread: it never ended.
#[test]
fn a_store_whose_runtime_is_gone_says_so() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::local(root.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    let error = handle.block_on(store.list("", None, 1)).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("stopping"), "{error}");
}
