//! `updraft doctor`: one page that says whether all is well, and what to do where it is not.
//!
//! It asks a server, or looks at a data directory; it opens no key and renews nothing. Every line names a thing, its state
//! and, where something is to be done, the remedy. Its words for how pressing that is are those of `/readyz` and the log.

mod disk;
mod keys;
mod page;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde::Deserialize;
use updraft_agent::ui::{Exit, say_json};
use updraft_core::Timestamp;
use updraft_core::api::{AppHealth, Finding, Health, Level, Matter, Renewer, RoleHealth, span};
use updraft_core::name::AppName;
use updraft_publisher::http::{Error as HttpError, Http, Options};
use updraft_publisher::{Remote, RemoteError};
use updraft_server::config::{Config, operator};
use updraft_server::depot::{Depot, OnlineKeys};
use updraft_server::store::{self, Store};

use crate::args::Doctor;
use crate::in_process::InProcess;
use crate::remote::{self, Usage};
use crate::secrets::{self, Secret, shell_word};
use page::{Line, Report, Section};

/// The clocks of two machines may be so far apart, in seconds, and nobody notices.
const SKEW_SECS: u64 = 60;
/// From here on what one of them signs is over, or has not begun, for the other.
const SKEW_MAX_SECS: u64 = 24 * 60 * 60;

pub(crate) fn run(args: &Doctor) -> anyhow::Result<Exit> {
    let mut report = Report::default();
    match place(args)? {
        Place::Server(url) => {
            let token = secrets::token(args.server.token.as_deref(), args.server.token_file.as_deref())?;
            if let Some((http, health)) = ask(&url, token, remote::options(&args.server)?, &mut report)? {
                tell_apps(&http, health, args, &mut report);
            }
        }
        Place::Data(data) => at_home(&data, args, &mut report)?,
    }
    report.settle();
    if args.json {
        say_json(&report)?;
    } else {
        report.print();
    }
    Ok(report.exit())
}

/// What is looked at.
enum Place {
    Server(String),
    Data(PathBuf),
}

fn place(args: &Doctor) -> anyhow::Result<Place> {
    if let Some(data) = &args.data {
        if !data.join("store").is_dir() {
            bail!("{} is not the data directory of a server", data.display());
        }
        return Ok(Place::Data(data.clone()));
    }
    if let Ok(url) = remote::address(&args.server) {
        return Ok(Place::Server(url));
    }
    // On the server's own machine nobody has to say where it is.
    let here = dirs::data_dir().map(|dir| dir.join("updraft")).filter(|data| data.join("store").is_dir());
    match here {
        Some(data) => Ok(Place::Data(data)),
        None => {
            Err(Usage("which server? name it with --server URL or UPDRAFT_SERVER, or its directory with --data DIR")
                .into())
        }
    }
}

/// A data directory: the files in it, and its server, asked if it runs.
fn at_home(data: &Path, args: &Doctor, report: &mut Report) -> anyhow::Result<()> {
    let data = &absolute(data);
    let files = disk::lines(data);
    let shown = |lines| Section::new("data", data.display(), lines);
    let store = match Store::local(&data.join("store")) {
        Ok(store) => store,
        Err(error) if error.kind() == store::Kind::InUse => {
            let found = match address(data) {
                Some(url) => ask(&url, disk::token(data), Options::default(), report)?,
                None => {
                    report.unreachable = true;
                    let line = Line::new(Level::Broken, "reachable", format!("nobody says where to reach it: {error}"))
                        .remedy("wait until what uses the directory is done, or has started");
                    report.add(Section::new("server", "", vec![line]));
                    None
                }
            };
            report.add(shown(files));
            if let Some((http, mut health)) = found {
                name_data(&mut health, data);
                tell_apps(&http, health, args, report);
            }
            return Ok(());
        }
        Err(error) => {
            let line = Line::new(Level::Broken, "store", error.to_string());
            report.add(shown([vec![line], files].concat()));
            return Ok(());
        }
    };
    let file = args.config.iter().map(|file| ("config".to_owned(), file.display().to_string()));
    let options = Config::load(file, std::env::vars_os(), data)?.depot_options();
    let runtime = tokio::runtime::Runtime::new()?;
    let depot = runtime.block_on(Depot::look(store, OnlineKeys::directory(&data.join("keys")), options))?;
    let line = Line::new(Level::Notice, "server", "it is not running: nothing is served, and nothing renewed")
        .remedy("start it: what it signs itself is renewed at once");
    report.add(shown([vec![line], files].concat()));
    let mut health = runtime.block_on(depot.health(Timestamp::now()));
    name_data(&mut health, data);
    for late in health.findings.iter_mut().filter(|finding| finding.kind == Matter::Late) {
        late.remedy = "start the server, which renews it at once".to_owned();
    }
    tell_apps(&InProcess::new(depot, runtime.handle().clone()), health, args, report);
    Ok(())
}

/// A path that means the same from wherever it is pasted.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Where the server of a data directory listens, as one reaches it from this machine.
fn address(data: &Path) -> Option<String> {
    let text = remote::read_text(&data.join(operator::ADDRESS_FILE), 1_024).ok()?;
    let mut address: SocketAddr = text.trim().parse().ok()?;
    if address.ip().is_unspecified() {
        let v4 = address.is_ipv4();
        address.set_ip(if v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    Some(format!("http://{address}"))
}

/// Names the directory in what is to be typed.
fn name_data(health: &mut Health, data: &Path) {
    let dir = shell_word(data);
    for finding in health.findings.iter_mut().filter(|finding| finding.kind == Matter::PublisherKeys) {
        finding.remedy = finding.remedy.replace("--data DATA", &format!("--data {dir}"));
    }
}

/// Says in what is to be typed to renew a role where its key is.
fn name_keys(lines: &mut [Line], app: &AppName, keys: &Path) {
    let keys = shell_word(keys);
    for remedy in lines.iter_mut().filter_map(|line| line.remedy.as_mut()).filter(|text| text.contains(" keys renew "))
    {
        *remedy = remedy.replace(&format!("--app {app}`"), &format!("--app {app} --keys {keys}`"));
    }
}

#[derive(Deserialize)]
struct Version {
    name: String,
    version: String,
}

/// What the server at `url` says of itself; none when it does not.
fn ask(
    url: &str,
    token: Option<Secret>,
    options: Options,
    report: &mut Report,
) -> anyhow::Result<Option<(Http, Health)>> {
    let mut lines = Vec::new();
    let connect = |token| Http::new(url, Options { token, ..options.clone() });
    let has_token = token.is_some();
    let (http, refused) = match connect(token) {
        Ok(http) => (http, None),
        Err(error @ (HttpError::PlainHttp { .. } | HttpError::Token)) => (connect(None)?, Some(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let answer = http.look::<Version>("version").and_then(|version| {
        let token = has_token && refused.is_none();
        Ok((version, examine(&http, token)?))
    });
    let found = match answer {
        Ok((version, examined)) => {
            lines.push(of_version(&version, &examined.health));
            lines.push(of_clock(examined.ahead_secs));
            lines.push(of_token(has_token, refused.or(examined.refused)));
            let server_wide = examined.health.findings.iter().filter(|finding| finding.app.is_none());
            lines.extend(server_wide.map(of_finding));
            Some(examined.health)
        }
        Err(error) => {
            report.unreachable = matches!(error, RemoteError::Unreachable { .. });
            let (what, remedy) = match report.unreachable {
                true => ("it cannot be reached", "start it, or check its address and what is in between"),
                false => ("it does not answer as a server of this version", "check its address, and update it"),
            };
            lines.push(Line::new(Level::Broken, "reachable", format!("{what}: {error}")).remedy(remedy));
            None
        }
    };
    report.add(Section::new("server", url, lines));
    Ok(found.map(|health| (http, health)))
}

/// What a server said of its health.
struct Examined {
    health: Health,
    /// How far its clock is ahead of ours.
    ahead_secs: i64,
    /// Why it did not tell everything.
    refused: Option<String>,
}

fn examine(http: &Http, has_token: bool) -> Result<Examined, RemoteError> {
    let timed = |path| {
        let asked = Timestamp::now();
        let health: Health = http.look(path)?;
        let waited = Timestamp::now().duration_since(asked);
        let ahead = health.at.duration_since(asked).saturating_sub(waited / 2);
        Ok::<_, RemoteError>((health, ahead.as_secs()))
    };
    let all = if has_token { Some(timed("health")) } else { None };
    let (found, refused) = match all {
        Some(Ok(found)) => (found, None),
        Some(Err(error @ (RemoteError::Denied { .. } | RemoteError::NotFound { .. }))) => {
            (timed("readyz")?, Some(error.to_string()))
        }
        Some(Err(error)) => return Err(error),
        None => (timed("readyz")?, None),
    };
    let (health, ahead_secs) = found;
    Ok(Examined { health, ahead_secs, refused })
}

fn of_version(version: &Version, health: &Health) -> Line {
    let Version { name, version } = version;
    let ready = if health.ready { "ready for devices" } else { "not ready for devices" };
    let own = env!("CARGO_PKG_VERSION");
    let (level, other) = match (health.ready, version == own) {
        (false, _) => (Level::Broken, String::new()),
        (true, false) => (Level::Notice, format!("; this program is {own}")),
        (true, true) => (Level::Ok, String::new()),
    };
    let line = Line::new(level, "reachable", format!("{name} {version}, {ready}{other}"));
    if health.ready { line } else { line.remedy("see what is said of the apps") }
}

fn of_clock(ahead_secs: i64) -> Line {
    let apart = ahead_secs.unsigned_abs();
    let level = match apart {
        _ if apart <= SKEW_SECS => Level::Ok,
        _ if apart <= SKEW_MAX_SECS => Level::Warning,
        _ => Level::Broken,
    };
    let side = if ahead_secs > 0 { "ahead of" } else { "behind" };
    let state = match apart {
        0..=1 => "the same as here".to_owned(),
        _ => format!("{} {side} this machine's", span(apart)),
    };
    let line = Line::new(level, "clock", state);
    if level == Level::Ok {
        return line;
    }
    line.remedy(
        "set the one that is wrong: the server signs by its clock, you sign by this one, and devices have theirs",
    )
}

fn of_token(is_given: bool, refused: Option<String>) -> Line {
    match (is_given, refused) {
        (true, None) => Line::new(Level::Ok, "token", "accepted"),
        (true, Some(reason)) => Line::new(Level::Warning, "token", reason),
        (false, _) => Line::new(Level::Ok, "token", "none given, so what is only for the operator is left out"),
    }
}

fn tell_apps(remote: &dyn Remote, mut health: Health, args: &Doctor, report: &mut Report) {
    if let Some(wanted) = &args.app {
        health = of_one(health, wanted);
        if health.apps.is_empty() && health.findings.is_empty() {
            let line = Line::new(Level::Broken, "app", "there is no such app on this server")
                .remedy("check the name: `updraft app list` shows those that are there");
            report.add(Section::new("app", wanted, vec![line]));
        }
    }
    for app in &health.apps {
        let mut lines = of_app(app, &health);
        // The keys of a folder's app lie in the server's own directory.
        let has_folder = health.of(&app.app).any(|finding| finding.kind == Matter::PublisherKeys);
        let of_folder = args.data.as_ref().filter(|_| has_folder).map(|data| absolute(data).join("keys"));
        if let Some(keys) = &of_folder {
            name_keys(&mut lines, &app.app, keys);
        }
        if !app.roles.is_empty() {
            let keys = of_folder.as_deref().or(args.keys.as_deref());
            lines.extend(keys::lines(remote, app, keys, Timestamp::now()));
        }
        report.add(Section::new("app", &app.app, lines));
    }
    // The folder's app before its first release.
    let is_listed = |name: &AppName| health.apps.iter().any(|app| app.app == *name);
    for finding in &health.findings {
        if let Some(app) = finding.app.as_ref().filter(|app| !is_listed(app)) {
            report.add(Section::new("app", app, vec![of_finding(finding)]));
        }
    }
    if health.apps.is_empty() && args.app.is_none() {
        let line = Line::new(Level::Ok, "apps", "there is none yet; `updraft app create NAME` makes one");
        report.add(Section::new("apps", "", vec![line]));
    }
    report.health = Some(health);
}

fn of_one(health: Health, wanted: &AppName) -> Health {
    let Health { ready, at, mut apps, mut findings, .. } = health;
    apps.retain(|app| app.app == *wanted);
    findings.retain(|finding| finding.app.as_ref() == Some(wanted));
    Health { ready, ..Health::new(at, apps, findings) }
}

fn of_app(app: &AppHealth, health: &Health) -> Vec<Line> {
    let found: Vec<&Finding> = health.of(&app.app).collect();
    let role = |role: &RoleHealth| {
        let found = found.iter().find(|finding| finding.role.as_deref() == Some(role.role.as_str()));
        found.map_or_else(|| of_role(&app.app, role), |finding| of_finding(finding))
    };
    let mut lines: Vec<Line> = app.roles.iter().map(role).collect();
    let elsewhere =
        |finding: &&&Finding| finding.role.as_ref().is_none_or(|name| app.roles.iter().all(|role| role.role != *name));
    if app.online_key == Some(true) {
        let state = match app.renewal_failures {
            0 => "on the server".to_owned(),
            failures => format!("on the server; {failures} renewals failed since it was started"),
        };
        lines.push(Line::new(Level::Ok, "online key", state));
    }
    lines.extend(found.iter().filter(elsewhere).map(|finding| of_finding(finding)));
    lines
}

/// A role of which nothing is to be said but how long it lives.
fn of_role(app: &AppName, role: &RoleHealth) -> Line {
    let left = format!("{} left", span(role.seconds_left.unsigned_abs()));
    match role.renewed_by {
        Renewer::Server => Line::new(Level::Ok, &role.role, format!("{left}, renewed by the server")),
        Renewer::Person => {
            let until = role.expires.strftime("%Y-%m-%d");
            Line::new(Level::Ok, &role.role, format!("{left}, until {until}"))
                .remedy(format!("renewed with `updraft keys renew {} --app {app}`", role.role))
        }
    }
}

fn of_finding(finding: &Finding) -> Line {
    let Finding { level, kind, role, what, remedy, detail, .. } = finding;
    let thing = match (role, kind) {
        (Some(role), _) => role.as_str(),
        (None, Matter::OnlineKey) => "online key",
        (None, Matter::PublisherKeys) => "signing keys",
        (None, Matter::Broken) => "state",
        (None, Matter::Unpublished) => "folder",
        (None, Matter::Patches) => "patches",
        (None, _) => "server",
    };
    // The thing is named once.
    let what = what.strip_prefix(&format!("{thing} ")).unwrap_or(what);
    let detail = detail.as_ref().map_or(String::new(), |detail| format!(" ({detail})"));
    Line::new(*level, thing, format!("{what}{detail}")).remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ() {
        let table = [
            (0, Level::Ok, "the same as here"),
            (-1, Level::Ok, "the same as here"),
            (60, Level::Ok, "60 seconds ahead of this machine's"),
            (61, Level::Warning, "61 seconds ahead of this machine's"),
            (-3_600, Level::Warning, "60 minutes behind this machine's"),
            (86_400, Level::Warning, "24 hours ahead of this machine's"),
            (-86_401, Level::Broken, "24 hours behind this machine's"),
            (i64::MIN, Level::Broken, "292271023045 years behind this machine's"),
        ];
        for (secs, level, state) in table {
            let line = of_clock(secs);
            assert_eq!((line.level, line.state.as_str()), (level, state), "{secs}");
            assert_eq!(line.remedy.is_some(), level != Level::Ok, "{secs}");
        }
    }
}
