//! Where settings come from, as text, before anybody looks at what they say.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Largest configuration file or secret that is read, in bytes.
const FILE_LEN_MAX: u64 = 256 << 10;
/// How alike two names must be for one to be a slip of the other.
const SLIP: f64 = 0.7;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such setting.
    #[error("{}: there is no such setting{}", .name, nearest_sentence(.nearest))]
    Unknown {
        /// As it was written, and where.
        name: Origin,
        /// What was perhaps meant, written in the same way.
        nearest: Option<String>,
    },
    /// A setting with a value that cannot be used.
    #[error("{}: '{value}' was given, expected {expected}", .name)]
    Value {
        /// As it was written, and where.
        name: Origin,
        /// What it said; `...` for a secret.
        value: String,
        /// What it may say.
        expected: String,
    },
    /// A secret that is given twice in one place.
    #[error("{name}: give the secret itself or a file that holds it, not both")]
    Twice {
        /// As it was written, and where.
        name: Origin,
    },
    /// A file that cannot be read.
    #[error("{}: {reason}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A folder whose name is no name for an app.
    #[error("folder {}: its name is no name for an app: name the app with --app", .path.display())]
    FolderName {
        /// The folder.
        path: PathBuf,
    },
}

fn nearest_sentence(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |nearest| format!("; did you mean '{nearest}'?"))
}

/// Where a setting was made, and how it is spelled there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag(String),
    /// In the environment.
    Environment(String),
    /// In a file.
    File(String, PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Environment(name) => write!(f, "{name}"),
            Self::File(name, path) => write!(f, "{name} in {}", path.display()),
        }
    }
}

macro_rules! keys {
    ($($variant:ident = $name:literal,)*) => {
        /// The settings that there are.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Key {
            $($variant,)*
        }

        impl Key {
            const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in a file.
            fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

keys! {
    Config = "config",
    Listen = "listen",
    Data = "data",
    Folder = "folder",
    App = "app",
    Watch = "watch",
    OpenGenerate = "open_generate",
    AllowPlainAdmin = "allow_plain_admin",
    TrustedProxies = "trusted_proxies",
    AdminToken = "admin_token",
    PublicUrl = "public_url",
    GcGrace = "gc_grace",
    TimestampLifetime = "timestamp_lifetime",
    PatchReleases = "patch_releases",
    PatchBundles = "patch_bundles",
    PatchJobs = "patch_jobs",
    PatchMemory = "patch_memory",
    PatchTimeout = "patch_timeout",
}

impl Key {
    /// Whether nobody may see it.
    fn is_secret(self) -> bool {
        self == Self::AdminToken
    }

    /// The key that `name` is, and whether it names a file that holds the value.
    fn find(name: &str) -> Option<(Self, Holds)> {
        let exact = |name: &str| Self::ALL.iter().copied().find(|key| key.name() == name);
        if let Some(key) = exact(name) {
            return Some((key, Holds::Value));
        }
        let key = exact(name.strip_suffix("_file")?)?;
        key.is_secret().then_some((key, Holds::File))
    }

    /// The name that `name` is perhaps a slip of.
    fn nearest(name: &str) -> Option<&'static str> {
        let alike = |key: &Self| strsim::normalized_damerau_levenshtein(name, key.name());
        let best = Self::ALL.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
        (alike(best) >= SLIP).then(|| best.name())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Value,
    File,
}

/// One setting: what it says, in one piece or in several, and where it was made.
#[derive(Debug, Clone)]
struct Setting {
    origin: Origin,
    words: Vec<String>,
}

/// Every setting that was made; the one that counts, where several were.
#[derive(Debug, Default)]
pub(super) struct Layers {
    settings: BTreeMap<Key, Setting>,
}

impl Layers {
    pub(super) fn read(
        flags: impl IntoIterator<Item = (String, String)>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Error> {
        let mut layers = Self::default();
        layers.add(of_flags(flags)?);
        layers.add(of_environment(environment)?);
        if let Some(path) = layers.path(Key::Config) {
            layers.add(of_file(&path)?);
        }
        Ok(layers)
    }

    /// Adds what is not there already: the first layer counts.
    fn add(&mut self, layer: BTreeMap<Key, Setting>) {
        for (key, setting) in layer {
            self.settings.entry(key).or_insert(setting);
        }
    }

    pub(super) fn has(&self, key: Key) -> bool {
        self.settings.contains_key(&key)
    }

    /// The error that `key` does not say what it may.
    ///
    /// # Panics
    /// When nobody has set it.
    pub(super) fn wrong(&self, key: Key, expected: &str) -> Error {
        let Setting { origin, words } = &self.settings[&key];
        let value = if key.is_secret() { "...".to_owned() } else { words.join(", ") };
        Error::Value { name: origin.clone(), value, expected: expected.to_owned() }
    }

    pub(super) fn path(&self, key: Key) -> Option<PathBuf> {
        self.settings.get(&key).map(|setting| PathBuf::from(setting.words.join(",")))
    }

    pub(super) fn parsed<T: FromStr>(&self, key: Key, expected: &str) -> Result<Option<T>, Error> {
        let Some(setting) = self.settings.get(&key) else { return Ok(None) };
        setting.words.join(",").parse().map(Some).map_err(|_| self.wrong(key, expected))
    }

    pub(super) fn switch(&self, key: Key) -> Result<bool, Error> {
        let Some(setting) = self.settings.get(&key) else { return Ok(false) };
        match setting.words.join(",").to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(self.wrong(key, "true or false")),
        }
    }

    /// A list: with commas between its elements on the command line and in the environment.
    pub(super) fn list<T: FromStr>(&self, key: Key, expected: &str) -> Result<Vec<T>, Error> {
        let Some(setting) = self.settings.get(&key) else { return Ok(Vec::new()) };
        let words =
            setting.words.iter().flat_map(|word| word.split(',')).map(str::trim).filter(|word| !word.is_empty());
        words.map(|word| word.parse().map_err(|_| self.wrong(key, expected))).collect()
    }

    pub(super) fn secret<T: FromStr<Err: fmt::Display>>(&self, key: Key) -> Result<Option<T>, Error> {
        let Some(setting) = self.settings.get(&key) else { return Ok(None) };
        let secret = setting.words.join(",").trim().parse();
        secret.map(Some).map_err(|e: T::Err| self.wrong(key, &format!("a token as `updraft serve` makes them ({e})")))
    }
}

fn of_flags(flags: impl IntoIterator<Item = (String, String)>) -> Result<BTreeMap<Key, Setting>, Error> {
    let mut layer = BTreeMap::new();
    for (name, value) in flags {
        let origin = Origin::Flag(name.clone());
        let plain = name.replace('-', "_");
        let nearest = || Key::nearest(&plain).map(|key| format!("--{}", key.replace('_', "-")));
        let found = Key::find(&plain).ok_or_else(|| Error::Unknown { name: origin.clone(), nearest: nearest() })?;
        insert(&mut layer, found, origin, vec![value])?;
    }
    Ok(layer)
}

/// A variable that no setting is near to is somebody else's: `UPDRAFT_PORT` is what an orchestrator says of a service.
fn of_environment(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<Key, Setting>, Error> {
    let mut layer = BTreeMap::new();
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with("UPDRAFT_")) else { continue };
        let origin = Origin::Environment(name.to_owned());
        let plain = name["UPDRAFT_".len()..].to_ascii_lowercase();
        let Some(found) = Key::find(&plain) else {
            match Key::nearest(&plain) {
                Some(key) => {
                    let nearest = Some(format!("UPDRAFT_{}", key.to_ascii_uppercase()));
                    return Err(Error::Unknown { name: origin, nearest });
                }
                None => continue,
            }
        };
        let Ok(value) = value.into_string() else {
            let expected = "text in UTF-8".to_owned();
            return Err(Error::Value { name: origin, value: "...".to_owned(), expected });
        };
        insert(&mut layer, found, origin, vec![value])?;
    }
    Ok(layer)
}

fn of_file(path: &Path) -> Result<BTreeMap<Key, Setting>, Error> {
    let text = read(path)?;
    let table: toml::Table = toml::from_str(&text).map_err(|e| {
        let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        Error::File { path: path.to_owned(), reason: format!("line {line}: {}", e.message()) }
    })?;
    let mut layer = BTreeMap::new();
    for (name, value) in table {
        let origin = Origin::File(name.clone(), path.to_owned());
        let nearest = || Key::nearest(&name).map(str::to_owned);
        let found = Key::find(&name)
            .filter(|(key, _)| *key != Key::Config)
            .ok_or_else(|| Error::Unknown { name: origin.clone(), nearest: nearest() })?;
        let words = words(&value).ok_or_else(|| Error::Value {
            name: origin.clone(),
            value: format!("a {}", value.type_str()),
            expected: "text, a number, true or false, or a list of texts".to_owned(),
        })?;
        insert(&mut layer, found, origin, words)?;
    }
    Ok(layer)
}

fn words(value: &toml::Value) -> Option<Vec<String>> {
    Some(match value {
        toml::Value::String(text) => vec![text.clone()],
        toml::Value::Integer(number) => vec![number.to_string()],
        toml::Value::Boolean(switch) => vec![switch.to_string()],
        toml::Value::Array(items) => {
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<_>>()?
        }
        _ => return None,
    })
}

fn insert(
    layer: &mut BTreeMap<Key, Setting>,
    (key, holds): (Key, Holds),
    origin: Origin,
    words: Vec<String>,
) -> Result<(), Error> {
    let words = match holds {
        Holds::Value => words,
        Holds::File => vec![read(Path::new(&words.concat()))?],
    };
    match layer.insert(key, Setting { origin: origin.clone(), words }) {
        Some(_) if key.is_secret() => Err(Error::Twice { name: origin }),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let fail = |reason: String| Error::File { path: path.to_owned(), reason };
    let file = std::fs::File::open(path).map_err(|e| fail(e.to_string()))?;
    let mut text = String::new();
    file.take(FILE_LEN_MAX + 1).read_to_string(&mut text).map_err(|e| fail(e.to_string()))?;
    if text.len() as u64 > FILE_LEN_MAX {
        return Err(fail(format!("longer than {FILE_LEN_MAX} bytes")));
    }
    Ok(text)
}
