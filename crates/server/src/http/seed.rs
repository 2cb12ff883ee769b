//! The seed's routes, for the folder's app: what a client of the old server asks for, answered as it expects.
//!
//! The domain is [`crate::seed`]; here are paths, headers and the two odd spellings that clients depend on.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{ACCEPT, ACCEPT_LANGUAGE, CACHE_CONTROL, VARY};
use http::{HeaderMap, HeaderValue, Method};
use serde::Serialize;
use updraft_core::version::Version;

use super::Shared;
use super::body::Body;
use super::content::{Content, Keep, Source, Tag};
use super::error::Error;
use super::path;
use crate::seed::{File, Seed};

/// What `GET /checkUpdate` answers.
#[derive(Debug, Serialize)]
struct CheckUpdate {
    #[serde(rename = "Version")]
    version: Version,
    #[serde(rename = "Msg")]
    message: String,
}

/// What `GET /generateNewConfig` answers. Its readers know it by this spelling.
#[derive(Debug, Serialize)]
struct Generated {
    #[serde(rename = "Statu")]
    status: &'static str,
}

/// `GET /`
pub(super) async fn greet(State(shared): State<Shared>) -> String {
    match shared.seed.as_ref().map(|seed| (seed.app(), seed.release())) {
        Some((app, Ok(release))) => {
            format!("{app} {}, served by Updraft. Its state is at /dashboard.\n", release.version)
        }
        Some((app, Err(_))) => format!("{app} has no release yet. Updraft's state is at /dashboard.\n"),
        None => "This is an Updraft server. Its state is at /dashboard.\n".to_owned(),
    }
}

/// `GET /checkUpdate`
pub(super) async fn check_update(State(shared): State<Shared>, headers: HeaderMap) -> Result<Response, Error> {
    let release = seed(&shared, "checkUpdate")?.release()?;
    let locales = preferred(&headers);
    let message = release.notes.for_locales(locales.iter().map(String::as_str)).to_owned();
    let body = Json(CheckUpdate { version: release.version, message });
    let mut response = axum::response::IntoResponse::into_response(body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-language"));
    Ok(response)
}

/// `GET /generateNewConfig`
pub(super) async fn generate(State(shared): State<Shared>, request: Request) -> Result<Response, Error> {
    let seed = seed(&shared, "generateNewConfig")?;
    let (parts, _) = request.into_parts();
    shared.gate.scan(&parts)?;
    match seed.rescan().await {
        None => Err(Error::not_found("/generateNewConfig: this server scans no folder")),
        Some(Err(reason)) => Err(Error::scan_failed(reason)),
        Some(Ok(outcome)) => {
            tracing::debug!(?outcome, "the folder was scanned because somebody asked");
            let mut response = axum::response::IntoResponse::into_response(Json(Generated { status: "success" }));
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok(response)
        }
    }
}

/// `GET /listFile`
pub(super) async fn list_file(
    State(shared): State<Shared>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let list = seed(&shared, "listFile")?.list().await?;
    let content = match wants_json(&headers) {
        true => Content {
            tag: Tag::of(&list.json),
            source: Source::Memory(list.json.clone()),
            keep: Keep::Revalidate,
            kind: "application/json",
            disposition: None,
        },
        false => Content {
            tag: Tag::of(&list.pickle),
            source: Source::Memory(list.pickle.clone()),
            keep: Keep::Revalidate,
            kind: "application/octet-stream",
            disposition: Some(attachment("listFile")),
        },
    };
    let mut response = content.answer(&method, &headers)?;
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(response.map(axum::body::Body::new))
}

fn seed<'a>(shared: &'a Shared, route: &str) -> Result<&'a Seed, Error> {
    shared.seed.as_ref().ok_or_else(|| Error::not_found(&format!("/{route}: this server serves no folder")))
}

/// The answer to a `GET` or `HEAD` of a file of the folder.
pub(super) fn download(file: File, method: &Method, asked: &HeaderMap) -> Result<http::Response<Body>, Error> {
    let content = Content {
        tag: Tag::of_digest(file.digest),
        source: Source::Object(file.object),
        keep: Keep::Revalidate,
        kind: "application/octet-stream",
        disposition: Some(attachment(&file.name)),
    };
    content.answer(method, asked)
}

/// `Content-Disposition: attachment` with a name that old and new readers understand (RFC 6266, appendix D).
fn attachment(name: &str) -> HeaderValue {
    let plain = |c: char| (c.is_ascii_graphic() || c == ' ') && !matches!(c, '"' | '\\' | '%');
    let simple: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    let text = match simple == name {
        true => format!("attachment; filename=\"{simple}\""),
        false => format!("attachment; filename=\"{simple}\"; filename*=UTF-8''{}", path::encode(name)),
    };
    HeaderValue::from_str(&text).expect("printable ASCII is a header value")
}

/// Whether somebody asks for JSON by name; `*/*` is a reader of pickles.
fn wants_json(headers: &HeaderMap) -> bool {
    weighted(headers.get_all(ACCEPT).iter()).iter().any(|kind| kind.eq_ignore_ascii_case("application/json"))
}

/// The locales that a reader prefers, best first.
pub(super) fn preferred(headers: &HeaderMap) -> Vec<String> {
    weighted(headers.get_all(ACCEPT_LANGUAGE).iter())
}

/// The words of a list with weights (RFC 9110, 12.4.2), the heaviest first, without those of weight 0.
fn weighted<'a>(headers: impl Iterator<Item = &'a HeaderValue>) -> Vec<String> {
    /// Nobody speaks more.
    const WORDS_MAX: usize = 32;
    let mut words: Vec<(u16, String)> = headers
        .filter_map(|header| header.to_str().ok())
        .flat_map(|text| text.split(','))
        .take(WORDS_MAX)
        .filter_map(|item| {
            let mut parts = item.split(';').map(str::trim);
            let word = parts.next().filter(|word| !word.is_empty())?.to_owned();
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            let weight = weight.map_or(Some(1.0), |q| q.parse::<f32>().ok()).filter(|q| (0.0..=1.0).contains(q))?;
            Some(((weight * 1000.0) as u16, word))
        })
        .filter(|(weight, _)| *weight > 0)
        .collect();
    // Stable: of equal weights the first comes first.
    words.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    words.into_iter().map(|(_, word)| word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_every_reader_understands() {
        assert_eq!(attachment("a b.txt"), "attachment; filename=\"a b.txt\"");
        assert_eq!(attachment("名前.txt"), "attachment; filename=\"__.txt\"; filename*=UTF-8''%E5%90%8D%E5%89%8D.txt");
        assert_eq!(attachment("50%\".txt"), "attachment; filename=\"50__.txt\"; filename*=UTF-8''50%25%22.txt");
        assert_eq!(attachment("a\r\nb"), "attachment; filename=\"a__b\"; filename*=UTF-8''a%0D%0Ab");
    }

    #[test]
    fn languages_by_weight() {
        let locales =
            |text: &'static str| preferred(&HeaderMap::from_iter([(ACCEPT_LANGUAGE, HeaderValue::from_static(text))]));
        assert_eq!(locales("fr;q=0.5, zh-CN, en;q=0.9"), ["zh-CN", "en", "fr"]);
        assert_eq!(locales("en;q=0, de;q=nonsense, it;q=2, , es"), ["es"]);
        assert_eq!(locales(""), [""; 0]);
    }
}
