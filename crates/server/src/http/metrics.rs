//! `GET /metrics`: what the depot tells, in the text format of Prometheus.
//!
//! Only apps and roles are labels, so there are as many lines as an operator has made apps, whatever anybody asks for. It
//! answers anybody, as `/readyz` does, with nothing that is not in public metadata or there.

use std::fmt::{self, Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use updraft_core::api::{AppHealth, AppState, Health};

use super::{Shared, health};
use crate::depot::{Depot, Tally};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`
pub(super) async fn show(State(shared): State<Shared>) -> Response {
    let mut page = Page::default();
    page.family("updraft_build_info", Kind::Gauge, "Always 1; the label says which version runs.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    write_health(&mut page, &health::examine(&shared).await);
    write_patches(&mut page, &shared.depot);
    ([(CONTENT_TYPE, TEXT), (CACHE_CONTROL, "no-store")], page.text).into_response()
}

/// Whether all is well, and how long everything still lives.
fn write_health(page: &mut Page, health: &Health) {
    let flag = |is: bool| u8::from(is);
    page.family("updraft_ready", Kind::Gauge, "Whether devices can be sent to this server, as /readyz says.")
        .sample(&[], flag(health.ready));
    let mut of_apps = |name, kind, help, value: &dyn Fn(&AppHealth) -> Option<u64>| {
        let mut family = page.family(name, kind, help);
        for app in &health.apps {
            if let Some(value) = value(app) {
                family.sample(&[("app", app.app.as_str())], value);
            }
        }
    };
    of_apps(
        "updraft_app_ready",
        Kind::Gauge,
        "Whether the server does its part for the app: it can be read, and what the server signs is fresh.",
        &|app| Some(flag(app.ready).into()),
    );
    of_apps(
        "updraft_app_stale",
        Kind::Gauge,
        "Whether devices take nothing new of the app, because a role of it has ended.",
        &|app| (app.state != AppState::Broken).then(|| flag(app.state == AppState::Stale).into()),
    );
    of_apps(
        "updraft_app_online_key",
        Kind::Gauge,
        "Whether the online key that the root of the app names is on this server.",
        &|app| app.online_key.map(|is_here| flag(is_here).into()),
    );
    of_apps(
        "updraft_renewal_failures_total",
        Kind::Counter,
        "How often the server could not sign its part of the app anew, since it was started.",
        &|app| Some(app.renewal_failures),
    );
    let mut ends = page.family(
        "updraft_role_expires_timestamp_seconds",
        Kind::Gauge,
        "When a role of the app ends. Root and targets are renewed by a person, the others by the server.",
    );
    for app in &health.apps {
        for role in &app.roles {
            ends.sample(&[("app", app.app.as_str()), ("role", role.role.as_str())], role.expires.as_second());
        }
    }
}

/// A number of a tally: its metric, what it does over time, what it says, and where it is.
type Told = (&'static str, Kind, &'static str, fn(&Tally) -> &AtomicU64);

const PATCHES: [Told; 7] = [
    ("updraft_patches_made_total", Kind::Counter, "Patches that were made here or handed in.", |t| &t.made),
    ("updraft_patches_failed_total", Kind::Counter, "Tries to make a patch that failed.", |t| &t.failed),
    (
        "updraft_patches_skipped_total",
        Kind::Counter,
        "Patches that were left out: too large to make, or no smaller than what they replace.",
        |t| &t.skipped,
    ),
    ("updraft_patches_waiting", Kind::Gauge, "Patches that are still to be made.", |t| &t.waiting),
    ("updraft_patch_misses_total", Kind::Counter, "Requests for a patch to a live release that was not there.", |t| {
        &t.asked
    }),
    ("updraft_patch_served_bytes_total", Kind::Counter, "Bytes of patches that were answered.", |t| &t.served_bytes),
    (
        "updraft_patch_saved_bytes_total",
        Kind::Counter,
        "Bytes that devices would have fetched more without patches.",
        |t| &t.saved_bytes,
    ),
];

/// What patches there are, and what they save; since the server was started.
fn write_patches(page: &mut Page, depot: &Depot) {
    for (name, kind, help, counter) in PATCHES {
        let mut family = page.family(name, kind, help);
        depot.patch_tallies(|app, tally| {
            family.sample(&[("app", app.as_str())], counter(tally).load(Ordering::Relaxed));
        });
    }
}

/// A page of metrics.
#[derive(Default)]
struct Page {
    text: String,
}

/// What a metric does over time.
#[derive(Clone, Copy)]
enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only goes up, until the server is started again.
    Counter,
}

impl Page {
    /// Begins a metric: its samples follow at once.
    fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.write(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { page: self, name }
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("writing to a String cannot fail");
    }
}

/// The samples of one metric.
struct Family<'a> {
    page: &'a mut Page,
    name: &'static str,
}

impl Family<'_> {
    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let pairs: Vec<String> = labels.iter().map(|(name, text)| format!("{name}=\"{}\"", escaped(text))).collect();
        let labels = if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        self.page.write(format_args!("{}{labels} {value}\n", self.name));
    }
}

/// A label's value, as it stands between quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_end_its_line() {
        let mut page = Page::default();
        page.family("m", Kind::Counter, "two\nlines").sample(&[("app", "a\"} 1\nevil 2"), ("b", "\\")], 7);
        assert_eq!(page.text, "# HELP m two\\nlines\n# TYPE m counter\nm{app=\"a\\\"} 1\\nevil 2\",b=\"\\\\\"} 7\n");
    }
}
