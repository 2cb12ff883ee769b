//! `GET /dashboard`: the state of the server on one plain page, without a script.
//!
//! It shows what anybody may fetch anyway. Everything on it that a publisher or a request chose is escaped.

use std::fmt::{self, Write};

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, X_CONTENT_TYPE_OPTIONS};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue};
use updraft_core::Timestamp;
use updraft_core::channel::Stream;
use updraft_core::name::Platform;
use updraft_core::release::{Release, ReleaseName};

use super::{Shared, seed};
use crate::depot::View;

/// Most releases of an app on the page: the newest.
const RELEASES_MAX: usize = 20;
/// Most of the notes of a release on the page, in characters.
const NOTES_LEN_MAX: usize = 2_000;

const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) async fn show(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let page = Page { now: Timestamp::now(), url: base_url(&shared, &headers), locales: seed::preferred(&headers) };
    let mut html = String::with_capacity(16 << 10);
    page.whole(&shared, &mut html).expect("writing to a String cannot fail");
    let mut response = Html(html).into_response();
    let own = response.headers_mut();
    own.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    own.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    own.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Where people reach this server, as far as it can know.
fn base_url(shared: &Shared, headers: &HeaderMap) -> String {
    let asked = || {
        let host = headers.get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok())?;
        Some(format!("http://{host}"))
    };
    shared.public_url.clone().or_else(asked).unwrap_or_else(|| "http://HOST:8080".to_owned())
}

struct Page {
    now: Timestamp,
    url: String,
    locales: Vec<String>,
}

impl Page {
    fn whole(&self, shared: &Shared, html: &mut String) -> fmt::Result {
        html.push_str(HEAD);
        let apps = shared.depot.apps();
        for app in &apps {
            if let Some(view) = shared.depot.view(app) {
                self.app(&view, html)?;
            }
        }
        for (app, reason) in shared.depot.broken() {
            write!(html, "<section><h2>{app}</h2><p class=bad>Cannot be served: {}</p></section>", Text(&reason))?;
        }
        if apps.is_empty() {
            write!(
                html,
                "<section><h2>No app yet</h2><p>Make one from the publisher's machine:</p><pre>updraft app create NAME --server {0}\n\
                 updraft publish DIR --app NAME --version 1.0.0 --channel stable --server {0}</pre></section>",
                Text(&self.url)
            )?;
        }
        writeln!(
            html,
            "<footer>Updraft {} &middot; {}</footer></main></html>",
            env!("CARGO_PKG_VERSION"),
            minute(self.now)
        )
    }

    fn app(&self, view: &View, html: &mut String) -> fmt::Result {
        let (app, root) = (&view.name, view.root_sha256);
        write!(html, "<section><h2>{app}</h2><p>Install it:</p>")?;
        let url = Text(&self.url);
        write!(html, "<pre>updraft-agent install --url {url}/apps/{app} --root-sha256 {root} ./{app}-installed</pre>")?;
        self.channels(view, html)?;
        self.releases(view, html)?;
        self.expiry(view, html)?;
        html.push_str("</section>\n");
        Ok(())
    }

    fn channels(&self, view: &View, html: &mut String) -> fmt::Result {
        if view.channels.is_empty() {
            html.push_str("<p>Nothing is on a channel yet.</p>");
            return Ok(());
        }
        html.push_str(
            "<h3>Channels</h3><table><tr><th>Channel<th>Platform<th>Current<th>Before<th class=number>Size</tr>",
        );
        for (name, channel) in &view.channels {
            for (platform, stream) in &channel.platforms {
                self.stream(view, name.as_str(), platform, stream, html)?;
            }
        }
        html.push_str("</table>");
        Ok(())
    }

    fn stream(
        &self,
        view: &View,
        channel: &str,
        platform: &Platform,
        stream: &Stream,
        html: &mut String,
    ) -> fmt::Result {
        let current = ReleaseName { platform: platform.clone(), version: stream.current.clone() };
        let size = view.release(&current).map_or(String::new(), |release| bytes(release.tree.bytes));
        let before = stream.previous.as_ref().map_or(String::new(), ToString::to_string);
        write!(
            html,
            "<tr><td>{channel}<td>{platform}<td><b>{}</b><td>{before}<td class=number>{size}</tr>",
            stream.current
        )
    }

    fn releases(&self, view: &View, html: &mut String) -> fmt::Result {
        let mut releases: Vec<&Release> = view.releases.values().collect();
        if releases.is_empty() {
            return Ok(());
        }
        releases.sort_by(|a, b| b.version.cmp(&a.version).then_with(|| a.platform.cmp(&b.platform)));
        html.push_str("<h3>Releases</h3><table><tr><th>Version<th>Platform<th>Date");
        html.push_str("<th class=number>Files<th class=number>Size<th>Notes</tr>");
        for release in releases.iter().take(RELEASES_MAX) {
            let Release { version, platform, date, tree, .. } = release;
            let (date, size) = (minute(*date), bytes(tree.bytes));
            write!(
                html,
                "<tr><td>{version}<td>{platform}<td>{date}<td class=number>{}<td class=number>{size}<td>",
                tree.files
            )?;
            self.notes(release, html)?;
            html.push_str("</tr>");
        }
        html.push_str("</table>");
        match releases.len().checked_sub(RELEASES_MAX) {
            Some(more @ 1..) => write!(html, "<p>and {more} more</p>"),
            _ => Ok(()),
        }
    }

    fn notes(&self, release: &Release, html: &mut String) -> fmt::Result {
        let text = release.notes.for_locales(self.locales.iter().map(String::as_str)).trim();
        let text: String = text.chars().take(NOTES_LEN_MAX).collect();
        match text.split_once('\n') {
            None => write!(html, "{}", Text(&text)),
            Some((first, rest)) => {
                write!(
                    html,
                    "<details><summary>{}</summary><div class=notes>{}</div></details>",
                    Text(first),
                    Text(rest.trim())
                )
            }
        }
    }

    fn expiry(&self, view: &View, html: &mut String) -> fmt::Result {
        html.push_str("<h3>Signatures</h3><table><tr><th>Role<th>Good until<th></tr>");
        for (role, at) in view.expires() {
            let (class, word) = if at > self.now { ("good", "fresh") } else { ("bad", "expired") };
            write!(html, "<tr><td>{}<td>{}<td class={class}>{word}</tr>", Text(&role), minute(at))?;
        }
        write!(html, "</table><p class=pin>First root, SHA-256: <code>{}</code></p>", view.root_sha256)
    }
}

/// A moment to the minute, in UTC.
fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// So many bytes, for people.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1_000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1_000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    if value < 10.0 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

/// Text that is shown, whatever it says.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            other => f.write_char(other),
        })
    }
}

const HEAD: &str = concat!(
    "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\n",
    "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>Updraft</title>\n<style>\n",
    include_str!("dashboard.css"),
    "</style>\n<main><h1>Updraft</h1>\n",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        assert_eq!(
            Text("<script>alert('x' & \"y\")</script>").to_string(),
            "&lt;script&gt;alert(&#39;x&#39; &amp; &quot;y&quot;)&lt;/script&gt;"
        );
    }

    #[test]
    fn sizes_for_people() {
        let table = [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (12_345, "12 kB"),
            (999_600, "1.0 MB"),
            (170 << 20, "178 MB"),
        ];
        for (count, text) in table {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(bytes(u64::MAX), "18446744 TB");
    }
}
