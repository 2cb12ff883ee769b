//! What an operator may set: flags over environment over a TOML file over defaults, parsed once to a checked value.
//!
//! Every setting has one name, spelled the same everywhere: `--trusted-proxies`, `UPDRAFT_TRUSTED_PROXIES`,
//! `trusted_proxies = [...]`. A key that does not exist is an error that names the nearest one: a mistyped setting must
//! not silently be no setting. A secret may also be named by a file: `UPDRAFT_ADMIN_TOKEN_FILE`.

mod amount;
mod layer;
pub mod operator;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use updraft_core::name::AppName;

use crate::depot;
use crate::http::{Access, AdminToken, Network};
use layer::{Key, Layers};

pub use amount::{Amount, NoAmount};
pub use layer::{Error, Origin};

/// Where the seed listens, and we after it: reachable from anywhere.
const LISTEN: &str = "0.0.0.0:8080";
/// As many releases of a platform as the depot remembers.
const PATCH_RELEASES_MAX: usize = 16;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything that an operator has set, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The data directory: the store, the keys that lie on the server, the operator's own copies.
    pub data: PathBuf,
    /// The folder that is an app, if there is one.
    pub folder: Option<Folder>,
    /// What is open to whom.
    pub access: Access,
    /// An admin token that the operator brings along; without it the server makes one.
    pub admin_token: Option<AdminToken>,
    /// The address that people use, without a `/` at its end.
    pub public_url: Option<String>,
    /// How long `gc` waits before it deletes what it condemned.
    pub gc_grace: Duration,
    /// How long a timestamp is good for.
    pub timestamp_lifetime: Duration,
    /// How patches are made.
    pub patches: Patches,
}

/// How patches are made in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patches {
    /// From how many of the last releases a new one gets patches.
    pub releases: usize,
    /// Whether what newcomers get has a bundle.
    pub bundles: bool,
    /// How many are made at a time; 0 for none at all.
    pub jobs: usize,
    /// How much memory making one may take, in bytes; none for what the machine allows.
    pub memory: Option<u64>,
    /// How long making one may take.
    pub timeout: Duration,
}

/// A folder that is an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// The app that it is.
    pub app: AppName,
    /// Whether to publish whenever it has been quiet after a change.
    pub watch: bool,
}

impl Config {
    /// What flags, environment, file and defaults say together.
    ///
    /// `flags` are names and values as on the command line, without dashes in front; a flag without a value is `true`.
    /// `environment` may be the whole environment. The file is the one that the setting `config` names, if any.
    /// `default_data` is where the data directory is when nobody says.
    ///
    /// # Errors
    /// On the first setting that does not exist or cannot be used; it says which, where it was made, and what would do.
    pub fn load(
        flags: impl IntoIterator<Item = (String, String)>,
        environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
        default_data: &Path,
    ) -> Result<Self, Error> {
        let layers = Layers::read(flags, environment)?;
        let folder = folder(&layers)?;
        Ok(Self {
            listen: layers
                .parsed(Key::Listen, "an address such as 127.0.0.1:8080")?
                .unwrap_or_else(|| LISTEN.parse().expect("the default is an address")),
            data: layers.path(Key::Data).unwrap_or_else(|| default_data.to_owned()),
            access: Access {
                allow_plain_admin: layers.switch(Key::AllowPlainAdmin)?,
                open_generate: layers.switch(Key::OpenGenerate)?,
                trusted_proxies: layers
                    .list::<Network>(Key::TrustedProxies, "addresses or networks such as 10.0.0.0/8")?,
            },
            admin_token: layers.secret(Key::AdminToken)?,
            public_url: layers
                .parsed::<Url>(Key::PublicUrl, "an address such as https://updates.example.com")?
                .map(|url| url.0),
            gc_grace: span(&layers, Key::GcGrace, 7 * DAY, Duration::ZERO..=3_650 * DAY)?,
            timestamp_lifetime: span(&layers, Key::TimestampLifetime, DAY, Duration::from_secs(60)..=90 * DAY)?,
            patches: patches(&layers)?,
            folder,
        })
    }

    /// The depot's share of it.
    pub fn depot_options(&self) -> depot::Options {
        // Both are within ten years, so they fit.
        depot::Options {
            timestamp_life_secs: self.timestamp_lifetime.as_secs() as i64,
            gc_grace_secs: self.gc_grace.as_secs() as i64,
            patch_releases: self.patches.releases,
            patch_bundles: self.patches.bundles,
            ..depot::Options::default()
        }
    }
}

fn folder(layers: &Layers) -> Result<Option<Folder>, Error> {
    let watch = layers.switch(Key::Watch)?;
    let app = layers.parsed::<AppName>(Key::App, "1 to 64 letters, digits, '.', '_' or '-'")?;
    let Some(path) = layers.path(Key::Folder) else {
        // A `watch` that is off asks for nothing: one file may serve machines with and without a folder.
        let lonely = if layers.has(Key::App) { Some(Key::App) } else { watch.then_some(Key::Watch) };
        return lonely.map_or(Ok(None), |key| Err(layers.wrong(key, "a folder to serve along with it")));
    };
    let app = match app {
        Some(app) => app,
        None => app_of(&path).ok_or_else(|| Error::FolderName { path: path.clone() })?,
    };
    Ok(Some(Folder { path, app, watch }))
}

/// The app that a folder is named after, if its name is one.
fn app_of(path: &Path) -> Option<AppName> {
    let absolute = std::path::absolute(path).ok()?;
    absolute.file_name()?.to_str()?.parse().ok()
}

fn patches(layers: &Layers) -> Result<Patches, Error> {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    let number = |key, default, max: usize| {
        let expected = format!("a number from 0 to {max}");
        match layers.parsed::<usize>(key, &expected)? {
            None => Ok(default),
            Some(number) if number <= max => Ok(number),
            Some(_) => Err(layers.wrong(key, &expected)),
        }
    };
    const MEMORY: &str = "an amount from 64MiB on, such as 512MiB or 4GiB";
    let memory = layers.parsed::<Amount>(Key::PatchMemory, MEMORY)?.map(|Amount(bytes)| bytes);
    if memory.is_some_and(|bytes| bytes < 64 << 20) {
        return Err(layers.wrong(Key::PatchMemory, MEMORY));
    }
    Ok(Patches {
        releases: number(Key::PatchReleases, 5, PATCH_RELEASES_MAX)?,
        bundles: !layers.has(Key::PatchBundles) || layers.switch(Key::PatchBundles)?,
        jobs: number(Key::PatchJobs, 1, 64)?,
        memory,
        timeout: span(layers, Key::PatchTimeout, HOUR, Duration::from_secs(1)..=7 * DAY)?,
    })
}

fn span(
    layers: &Layers,
    key: Key,
    default: Duration,
    allowed: std::ops::RangeInclusive<Duration>,
) -> Result<Duration, Error> {
    let expected = format!("a time from {} to {}, such as 12h or 7d", Span(*allowed.start()), Span(*allowed.end()));
    match layers.parsed::<Span>(key, &expected)? {
        None => Ok(default),
        Some(Span(span)) if allowed.contains(&span) => Ok(span),
        Some(_) => Err(layers.wrong(key, &expected)),
    }
}

/// A number and its unit: `s`, `m`, `h` or `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span(Duration);

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

impl FromStr for Span {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (number, secs) = UNITS.iter().find_map(|(unit, secs)| Some((text.strip_suffix(*unit)?, *secs))).ok_or(())?;
        let number: u64 = number.trim_end().parse().map_err(drop)?;
        number.checked_mul(secs).map(|secs| Self(Duration::from_secs(secs))).ok_or(())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs();
        let (unit, size) =
            UNITS.into_iter().find(|(_, size)| secs >= *size && secs.is_multiple_of(*size)).unwrap_or(('s', 1));
        write!(f, "{}{unit}", secs / size)
    }
}

/// `http://` or `https://`, a host, and perhaps a path.
struct Url(String);

impl FromStr for Url {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let uri: http::Uri = text.parse().map_err(drop)?;
        let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        let plain =
            uri.query().is_none() && !text.contains('#') && uri.authority().is_some_and(|a| !a.as_str().contains('@'));
        (scheme && plain).then(|| Self(text.trim_end_matches('/').to_owned())).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(flags: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Config, Error> {
        let flags = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let environment = environment.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        Config::load(flags, environment, Path::new("/default"))
    }

    fn with_file(content: &str, flags: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Config, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("updraft.toml");
        std::fs::write(&path, content).unwrap();
        let flags: Vec<_> = flags.iter().copied().chain([("config", path.to_str().unwrap())]).collect();
        load(&flags, environment)
    }

    #[test]
    fn nothing_needs_to_be_set() {
        let config = load(&[], &[("PATH", "/bin")]).unwrap();
        assert_eq!(config.listen.to_string(), LISTEN);
        assert_eq!(config.data, Path::new("/default"));
        assert_eq!(config.folder, None);
        assert_eq!(config.access, Access::default());
        assert_eq!(config.depot_options().timestamp_life_secs, 86_400);
        assert_eq!(config.depot_options().gc_grace_secs, 7 * 86_400);
        assert_eq!((config.patches.releases, config.patches.jobs, config.patches.memory), (5, 1, None));
        let options = config.depot_options();
        assert_eq!((options.patch_releases, options.patch_bundles), (5, true));
    }

    #[test]
    fn flags_over_environment_over_file() {
        let file = "listen = '127.0.0.1:1'\ngc_grace = '1h'\nwatch = true\nfolder = 'f'\ntrusted_proxies = ['10.0.0.1', '::/0']";
        let environment = [("UPDRAFT_LISTEN", "127.0.0.1:2"), ("UPDRAFT_GC_GRACE", "2h")];
        let config = with_file(file, &[("listen", "127.0.0.1:3")], &environment).unwrap();
        assert_eq!(config.listen.port(), 3);
        assert_eq!(config.gc_grace, Duration::from_secs(7_200));
        assert_eq!(config.access.trusted_proxies.len(), 2);
        assert_eq!(config.folder, Some(Folder { path: "f".into(), app: "f".parse().unwrap(), watch: true }));
    }

    #[test]
    fn a_key_that_does_not_exist_names_the_nearest() {
        let message = |result: Result<Config, Error>| result.unwrap_err().to_string();
        let text = message(with_file("listn = '127.0.0.1:1'", &[], &[]));
        assert!(
            text.contains("listn") && text.contains("updraft.toml") && text.contains("did you mean 'listen'"),
            "{text}"
        );
        let text = message(load(&[], &[("UPDRAFT_ALOW_PLAIN_ADMIN", "true")]));
        assert!(text.contains("UPDRAFT_ALOW_PLAIN_ADMIN") && text.contains("UPDRAFT_ALLOW_PLAIN_ADMIN"), "{text}");
        let text = message(with_file("completely_different = 1", &[], &[]));
        assert!(text.contains("completely_different") && !text.contains("did you mean"), "{text}");
        let text = message(load(&[("open-generat", "true")], &[]));
        assert!(text.contains("--open-generate"), "{text}");
    }

    #[test]
    fn what_others_put_into_the_environment_is_no_mistake() {
        // An orchestrator describes a service named "updraft" by such variables; other verbs have their own.
        for (key, value) in [
            ("UPDRAFT_PORT", "tcp://10.0.0.1:8080"),
            ("UPDRAFT_SERVICE_HOST", "10.0.0.1"),
            ("UPDRAFT_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("UPDRAFT_SERVER", "https://x"),
            ("UPDRAFT_TOKEN", "x"),
            ("UPDRAFT_KEYS", "/k"),
        ] {
            assert!(load(&[], &[(key, value)]).is_ok(), "{key}");
        }
    }

    #[test]
    fn what_cannot_be_used_says_what_would_do() {
        for (key, value) in [
            ("listen", "8080"),
            ("listen", "localhost"),
            ("watch", "maybe"),
            ("trusted-proxies", "10.0.0.0/33"),
            ("public-url", "updates.example.com"),
            ("public-url", "ftp://x"),
            ("public-url", "https://x/?q"),
            ("gc-grace", "7"),
            ("gc-grace", "-1d"),
            ("timestamp-lifetime", "91d"),
            ("timestamp-lifetime", "1s"),
            ("admin-token", "upd_secret"),
            ("patch-releases", "17"),
            ("patch-jobs", "-1"),
            ("patch-memory", "63MiB"),
            ("patch-memory", "1000000000"),
            ("patch-memory", "99999999999999GiB"),
            ("patch-timeout", "0s"),
            ("app", "../x"),
            ("app", "lonely"),
        ] {
            let text = load(&[(key, value)], &[]).unwrap_err().to_string();
            assert!(text.contains(&format!("--{key}")) && text.contains("expected"), "{text}");
            assert!(!text.contains("upd_secret"), "{text}");
        }
    }

    #[test]
    fn a_folder_names_its_app_or_somebody_must() {
        let app = |path: &str| load(&[("folder", path)], &[]).map(|config| config.folder.unwrap().app.to_string());
        assert_eq!(app("/srv/updateFiles").unwrap(), "updateFiles");
        assert_eq!(app("updateFiles/").unwrap(), "updateFiles");
        for path in ["/", "/srv/my files"] {
            assert!(app(path).unwrap_err().to_string().contains("--app"), "{path}");
        }
        let named = load(&[("folder", "/srv/my files"), ("app", "mine")], &[]).unwrap();
        assert_eq!(named.folder.unwrap().app.as_str(), "mine");
    }

    #[test]
    fn a_watch_that_is_off_needs_no_folder() {
        assert_eq!(with_file("watch = false", &[], &[]).unwrap().folder, None);
        assert!(with_file("watch = true", &[], &[]).unwrap_err().to_string().contains("folder"));
    }

    #[test]
    fn a_secret_may_lie_in_a_file() {
        let token = AdminToken::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, format!("{}\n", token.reveal())).unwrap();
        let path = path.to_str().unwrap();
        assert_eq!(load(&[], &[("UPDRAFT_ADMIN_TOKEN_FILE", path)]).unwrap().admin_token, Some(token.clone()));
        assert_eq!(load(&[], &[("UPDRAFT_ADMIN_TOKEN", token.reveal())]).unwrap().admin_token, Some(token.clone()));
        let toml = format!("admin_token_file = '{path}'");
        let config = with_file(&toml, &[], &[]).unwrap();
        assert!(!format!("{config:?}").contains(token.reveal()));
        assert_eq!(config.admin_token, Some(token.clone()));
        let both = [("UPDRAFT_ADMIN_TOKEN_FILE", path), ("UPDRAFT_ADMIN_TOKEN", token.reveal())];
        assert!(load(&[], &both).unwrap_err().to_string().contains("not both"));
        let absent = load(&[], &[("UPDRAFT_ADMIN_TOKEN_FILE", "/does/not/exist")]).unwrap_err().to_string();
        assert!(absent.contains("/does/not/exist"), "{absent}");
    }

    #[test]
    fn a_file_that_is_not_toml_says_where() {
        let text = with_file("listen = \n", &[], &[]).unwrap_err().to_string();
        assert!(text.contains("updraft.toml") && text.contains("line 1"), "{text}");
        let text = with_file("[listen]\nx = 1", &[], &[]).unwrap_err().to_string();
        assert!(text.contains("listen"), "{text}");
        assert!(
            load(&[("config", "/does/not/exist.toml")], &[]).unwrap_err().to_string().contains("/does/not/exist.toml")
        );
    }

    #[test]
    fn patches_are_made_as_it_is_set() {
        let file =
            "patch_releases = 2\npatch_bundles = false\npatch_jobs = 0\npatch_memory = '3 GiB'\npatch_timeout = '90m'";
        let patches = with_file(file, &[], &[]).unwrap().patches;
        let timeout = Duration::from_secs(5_400);
        assert_eq!(patches, Patches { releases: 2, bundles: false, jobs: 0, memory: Some(3 << 30), timeout });
    }

    #[test]
    fn spans_print_as_they_are_written() {
        for text in ["7d", "12h", "90m", "1s", "0s", "36h"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
    }
}
