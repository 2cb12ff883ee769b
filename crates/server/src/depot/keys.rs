//! The online keys: each app has one that signs snapshot, timestamp and channels, the one that its newest root names. No
//! key ever signs for two apps.
//!
//! They live in a directory of their own, never in a store: `{app}/online.pem` is the first, `{app}/online-{fingerprint}.pem`
//! are those that came after it or were made for a root to name. PKCS#8, readable by the owner only. A key that was made
//! is durable before anybody hears of it, is proposed once, and is never replaced or removed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::zeroize::Zeroizing;
use pkcs8::der::{Decode, Encode};
use pkcs8::{AlgorithmIdentifierRef, LineEnding, ObjectIdentifier, PrivateKeyInfoRef, SecretDocument};
use updraft_core::key::{PublicKey, SigningKey};
use updraft_core::name::AppName;

/// RFC 8410.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const LABEL: &str = "PRIVATE KEY";

/// Largest key file that is read, in bytes; ours have 119.
const FILE_LEN_MAX: u64 = 16 << 10;

/// How many files may lie in the directory of an app. There is a key for each time that somebody wanted a new one.
const NAMES_MAX: usize = 1_000;

/// Why an online key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("online key {}: {reason}", .path.display())]
pub struct Error {
    path: PathBuf,
    reason: String,
}

impl Error {
    fn new(path: &Path, reason: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// Where the online keys of all apps are.
#[derive(Clone)]
pub struct OnlineKeys(Arc<Place>);

type Seed = Zeroizing<[u8; 32]>;

enum Place {
    Directory(PathBuf),
    Memory(Mutex<Apps>),
}

type Apps = BTreeMap<AppName, InMemory>;

/// The keys of an app that are in no directory.
#[derive(Default)]
struct InMemory {
    first: Option<Seed>,
    others: Vec<Seed>,
}

impl fmt::Debug for OnlineKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Place::Directory(path) => write!(f, "OnlineKeys({})", path.display()),
            Place::Memory(_) => write!(f, "OnlineKeys(memory)"),
        }
    }
}

impl OnlineKeys {
    /// The keys in `directory`, which is made when the first key is.
    pub fn directory(directory: &Path) -> Self {
        Self(Arc::new(Place::Directory(directory.to_owned())))
    }

    /// Keys that are forgotten when the last clone goes: for tests.
    pub fn memory() -> Self {
        Self(Arc::new(Place::Memory(Mutex::default())))
    }

    /// The first online key of `app`, if it has one. Blocks for a moment, as files do.
    ///
    /// # Errors
    /// When there is a file and it cannot be read, or is no Ed25519 key.
    pub fn get(&self, app: &AppName) -> Result<Option<SigningKey>, Error> {
        match &*self.0 {
            Place::Directory(directory) => read(&file_of(directory, app)),
            Place::Memory(apps) => Ok(lock(apps).get(app).and_then(|keys| keys.first.as_ref()).map(key_of)),
        }
    }

    /// The first online key of `app`, made if it has none. Of several callers at once all get the same.
    ///
    /// # Errors
    /// When it can be neither read nor written.
    pub fn get_or_make(&self, app: &AppName) -> Result<SigningKey, Error> {
        let seed = new_seed(app)?;
        match &*self.0 {
            Place::Directory(directory) => {
                let path = file_of(directory, app);
                if let Some(key) = read(&path)? {
                    return Ok(key);
                }
                write(&path, &seed)?;
                read(&path)?.ok_or_else(|| Error::new(&path, "it was written just now and is gone"))
            }
            Place::Memory(apps) => Ok(key_of(lock(apps).entry(app.clone()).or_default().first.get_or_insert(seed))),
        }
    }

    /// The private half of `public`, if it is here.
    ///
    /// # Errors
    /// When no file has it, and one that may is damaged.
    pub fn find(&self, app: &AppName, public: &PublicKey) -> Result<Option<SigningKey>, Error> {
        let is_it = |key: &SigningKey| key.public() == *public;
        match &*self.0 {
            Place::Directory(directory) => {
                let mut damaged = None;
                let (named, first) = (named_file(directory, app, public), file_of(directory, app));
                for path in [&named, &first] {
                    match read(path) {
                        Ok(Some(key)) if is_it(&key) => return Ok(Some(key)),
                        Ok(Some(key)) if *path == named => tracing::warn!(
                            path = %path.display(), holds = key.public().fingerprint(),
                            "this file is left alone: its name is not the fingerprint of the key in it"
                        ),
                        Ok(_) => {}
                        Err(error) => damaged = Some(error),
                    }
                }
                damaged.map_or(Ok(None), Err)
            }
            Place::Memory(apps) => Ok(lock(apps).get(app).and_then(|keys| {
                let mut all = keys.first.iter().chain(&keys.others).map(key_of);
                all.find(is_it)
            })),
        }
    }

    /// Whether keys that sign the releases of `app` lie beside its online keys, as those of a folder do.
    pub(super) fn has_publishers(&self, app: &AppName) -> bool {
        match &*self.0 {
            Place::Directory(directory) => {
                files(&directory.join(app.as_str()), is_publishers).is_ok_and(|files| !files.is_empty())
            }
            Place::Memory(_) => false,
        }
    }

    /// Makes another key for `app`, for a root to name. Never one that was here before: whoever asks may be replacing keys
    /// that leaked, and what lies in the directory may have leaked with them, or have been put there.
    ///
    /// # Errors
    /// When the key cannot be written, or there are too many.
    pub fn make_next(&self, app: &AppName) -> Result<SigningKey, Error> {
        let seed = new_seed(app)?;
        let key = key_of(&seed);
        match &*self.0 {
            Place::Directory(directory) => {
                // There has to be room for one more: what cannot be listed cannot be looked after.
                files(&directory.join(app.as_str()), |_| true)?;
                let path = named_file(directory, app, &key.public());
                write(&path, &seed)?;
                match read(&path)? {
                    Some(there) if there.public() == key.public() => {}
                    Some(_) => return Err(Error::new(&path, "another key has its name; ask again")),
                    None => return Err(Error::new(&path, "it was written just now and is gone")),
                }
            }
            Place::Memory(apps) => lock(apps).entry(app.clone()).or_default().others.push(seed),
        }
        Ok(key)
    }
}

/// Whether a file of this name would hold a key that a publisher signs with.
fn is_publishers(name: &str) -> bool {
    let stem = name.strip_suffix(".pem").map(|stem| stem.split_once('-').map_or(stem, |(role, _)| role));
    matches!(stem, Some("root" | "targets"))
}

fn lock(apps: &Mutex<Apps>) -> MutexGuard<'_, Apps> {
    apps.lock().unwrap_or_else(PoisonError::into_inner)
}

fn new_seed(app: &AppName) -> Result<Seed, Error> {
    let mut seed = Seed::default();
    getrandom::fill(&mut *seed).map_err(|e| Error::new(Path::new(app.as_str()), e))?;
    Ok(seed)
}

fn key_of(seed: &Seed) -> SigningKey {
    SigningKey::from_seed(**seed)
}

fn file_of(directory: &Path, app: &AppName) -> PathBuf {
    directory.join(app.as_str()).join("online.pem")
}

/// Where every key but the first is: a new key is a new file, so none is ever written over.
fn named_file(directory: &Path, app: &AppName, public: &PublicKey) -> PathBuf {
    directory.join(app.as_str()).join(format!("online-{}.pem", public.fingerprint()))
}

/// The files in the directory of an app whose names are wanted, by name.
fn files(app_dir: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, Error> {
    let fail = |e: io::Error| Error::new(app_dir, e);
    let entries = match fs::read_dir(app_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut files = Vec::new();
    for (n, entry) in entries.enumerate() {
        if n == NAMES_MAX {
            return Err(Error::new(
                app_dir,
                format_args!("more than {NAMES_MAX} files are in it; remove keys that no root ever named"),
            ));
        }
        let path = entry.map_err(fail)?.path();
        if is_wanted(path.file_name().and_then(|name| name.to_str()).unwrap_or_default()) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Option<SigningKey>, Error> {
    let fail = |e: io::Error| Error::new(path, e);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_LEN_MAX + 1).read_to_string(&mut text).map_err(fail)?;
    if text.len() as u64 > FILE_LEN_MAX {
        return Err(Error::new(path, format_args!("it has more than {FILE_LEN_MAX} bytes")));
    }
    seed_of(&text).map(|seed| Some(SigningKey::from_seed(*seed))).map_err(|reason| Error::new(path, reason))
}

/// Writes a new key whole, or leaves the one that another caller wrote meanwhile.
fn write(path: &Path, seed: &Seed) -> Result<(), Error> {
    let fail = |e: io::Error| Error::new(path, e);
    let app_dir = path.parent().ok_or_else(|| Error::new(path, "it is in no directory"))?;
    make_dir(app_dir).map_err(fail)?;
    let mut temporary = tempfile::Builder::new().prefix(".new-").tempfile_in(app_dir).map_err(fail)?;
    temporary.write_all(text_of(seed).as_bytes()).map_err(fail)?;
    temporary.as_file().sync_all().map_err(fail)?;
    match temporary.persist_noclobber(path) {
        Ok(_) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(fail(error.error)),
    }
    sync_dir(app_dir).map_err(fail)
}

/// Makes the directory of an app's keys, and those above it, durably and for the owner only.
fn make_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_dir(parent)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    path.parent().map_or(Ok(()), sync_dir)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

fn text_of(seed: &Seed) -> Zeroizing<String> {
    const CANNOT_FAIL: &str = "a key of 32 bytes has a PKCS#8 form";
    // RFC 8410, section 7: the seed is an OCTET STRING inside the OCTET STRING.
    let inner = Zeroizing::new(OctetStringRef::new(&**seed).and_then(|seed| seed.to_der()).expect(CANNOT_FAIL));
    let algorithm = AlgorithmIdentifierRef { oid: ED25519, parameters: None };
    let info = PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(&inner).expect(CANNOT_FAIL));
    let document = SecretDocument::encode_msg(&info).expect(CANNOT_FAIL);
    document.to_pem(LABEL, LineEnding::LF).expect(CANNOT_FAIL)
}

fn seed_of(text: &str) -> Result<Seed, String> {
    let (label, document) = SecretDocument::from_pem(text.trim_start()).map_err(|e| format!("it is no key: {e}"))?;
    if label != LABEL {
        return Err(format!("it holds a '{label}', not a '{LABEL}'"));
    }
    let damaged = |e: pkcs8::der::Error| format!("it is damaged: {e}");
    let info = PrivateKeyInfoRef::from_der(document.as_bytes()).map_err(damaged)?;
    if info.algorithm.oid != ED25519 {
        return Err(format!("it is a key of the kind {}, not Ed25519", info.algorithm.oid));
    }
    let inner = <&OctetStringRef>::from_der(info.private_key.as_bytes()).map_err(damaged)?;
    let seed: [u8; 32] = inner.as_bytes().try_into().map_err(|_| "its seed has not 32 bytes".to_owned())?;
    Ok(Zeroizing::new(seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let keys = OnlineKeys::directory(&dir.path().join("a/keys"));
        let (demo, other): (AppName, AppName) = ("demo".parse().unwrap(), "other".parse().unwrap());
        assert!(keys.get(&demo).unwrap().is_none());
        let made = std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(|| keys.get_or_make(&demo).unwrap().public())).collect();
            all.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let again = OnlineKeys::directory(&dir.path().join("a/keys")).get(&demo).unwrap().unwrap().public();
        assert!(made.iter().all(|key| *key == again));
        assert_ne!(keys.get_or_make(&other).unwrap().public(), again, "no key signs for two apps");
        let left: Vec<_> = fs::read_dir(dir.path().join("a/keys/demo")).unwrap().collect();
        assert_eq!(left.len(), 1, "no temporary file is left");
    }

    #[test]
    fn another_key_is_made_each_time_and_each_is_found_by_its_name_only() {
        let dir = tempfile::tempdir().unwrap();
        let app: AppName = "demo".parse().unwrap();
        let in_files = OnlineKeys::directory(dir.path());
        for keys in [&in_files, &OnlineKeys::memory()] {
            let first = keys.get_or_make(&app).unwrap().public();
            let made = [(); 3].map(|()| keys.make_next(&app).unwrap().public());
            for (n, key) in made.iter().enumerate() {
                assert!(*key != first && !made[..n].contains(key), "a fresh one each time");
                assert_eq!(keys.find(&app, key).unwrap().unwrap().public(), *key);
            }
            assert_eq!(keys.find(&app, &first).unwrap().unwrap().public(), first);
        }
        // Somebody else's key under the name of ours, and ours under no name of a key.
        let (ours, app_dir) = (in_files.make_next(&app).unwrap().public(), dir.path().join("demo"));
        let (planted, elsewhere) = (named_file(dir.path(), &app, &ours), app_dir.join("online-spare.pem"));
        fs::rename(&planted, &elsewhere).unwrap();
        fs::write(&planted, &*text_of(&Seed::new([7; 32]))).unwrap();
        assert!(in_files.find(&app, &ours).unwrap().is_none());
        assert!(![ours, SigningKey::from_seed([7; 32]).public()].contains(&in_files.make_next(&app).unwrap().public()));
        assert!(planted.exists() && elsewhere.exists(), "every file stays");
    }

    #[test]
    fn there_is_an_end_to_how_many_are_made() {
        let dir = tempfile::tempdir().unwrap();
        let (keys, app) = (OnlineKeys::directory(dir.path()), "demo".parse().unwrap());
        keys.make_next(&app).unwrap();
        for n in 0..NAMES_MAX {
            fs::write(dir.path().join("demo").join(n.to_string()), "").unwrap();
        }
        let error = keys.make_next(&app).unwrap_err().to_string();
        assert!(error.contains("more than 1000 files"), "{error}");
    }

    #[test]
    fn a_publishers_key_beside_it_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (keys, app) = (OnlineKeys::directory(dir.path()), "demo".parse().unwrap());
        keys.get_or_make(&app).unwrap();
        for (name, is_one) in
            [("root.json", false), ("rooted.pem", false), ("online-root.pem", false), ("targets-01ab.pem", true)]
        {
            fs::write(dir.path().join("demo").join(name), "").unwrap();
            assert_eq!(keys.has_publishers(&app), is_one, "{name}");
        }
        assert!(!keys.has_publishers(&"other".parse().unwrap()));
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        OnlineKeys::directory(&path).get_or_make(&"demo".parse().unwrap()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path.join("demo/online.pem")), 0o600);
        assert_eq!((mode(&path), mode(&path.join("demo"))), (0o700, 0o700));
    }

    #[test]
    fn a_damaged_file_is_named_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let keys = OnlineKeys::directory(dir.path());
        let app = "demo".parse().unwrap();
        keys.get_or_make(&app).unwrap();
        let path = dir.path().join("demo/online.pem");
        for text in [String::new(), "hello".into(), "x".repeat(20_000)] {
            fs::write(&path, &text).unwrap();
            let error = keys.get_or_make(&app).unwrap_err().to_string();
            assert!(error.contains("demo/online.pem"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
