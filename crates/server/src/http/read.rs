//! What devices read: `/apps/{app}/...`, straight from memory or from the store.
//!
//! The head and the metadata that is current are in the app's [`View`]; everything else is immutable and comes from the
//! store, a slice at a time. Patches alone may be made anew, with other bytes that do the same. Nothing here waits for
//! anything but the store, and nothing is decided here. Which patches are asked for, and which are missing, is told to
//! the depot in passing.

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use http_body::Body as _;
use updraft_core::layout::{self, Key, Public};
use updraft_core::name::AppName;

use super::body::Body;
use super::content::{Content, Keep, Source, Tag};
use super::error::Error;
use crate::depot::{Depot, View};

/// Answers a `GET` or `HEAD` of a public place of the store.
pub(super) async fn read(
    depot: &Depot,
    place: &Public,
    method: &Method,
    asked: &HeaderMap,
) -> Result<Response<Body>, Error> {
    let (Public::Head(app) | Public::FirstRoot(app) | Public::Timestamp(app) | Public::Immutable(app, _)) = place;
    let view = depot.view(app).ok_or_else(|| absent(depot, app))?;
    let content = match place {
        Public::Head(_) => mutable(view.head_bytes.clone(), "application/octet-stream"),
        Public::FirstRoot(_) => mutable(view.first_root.clone(), "application/json"),
        Public::Timestamp(_) => mutable(Bytes::copy_from_slice(&view.head.timestamp), "application/json"),
        Public::Immutable(_, key) => immutable(depot, &view, key).await?,
    };
    let answer = content.answer(method, asked)?;
    if let Public::Immutable(app, key) = place
        && is_patch(app, key)
        && method == Method::GET
    {
        depot.patch_served(app, key, answer.body().size_hint().exact().unwrap_or_default());
    }
    Ok(answer)
}

/// Why there is no view of `app`. A device that hears "not found" may take its app for gone; a broken one comes back.
fn absent(depot: &Depot, app: &AppName) -> Error {
    if depot.broken().iter().any(|(broken, _)| broken == app) {
        return unready(app);
    }
    Error::not_found(&format!("apps/{app}"))
}

fn unready(app: &AppName) -> Error {
    Error::not_ready(format!("app {app} cannot be served now; the server's log says why"))
}

fn mutable(bytes: Bytes, kind: &'static str) -> Content {
    Content { tag: Tag::of(&bytes), source: Source::Memory(bytes), keep: Keep::Revalidate, kind, disposition: None }
}

async fn immutable(depot: &Depot, view: &View, key: &Key) -> Result<Content, Error> {
    let source = match view.metadata.get(key) {
        Some(bytes) => Source::Memory(bytes.clone()),
        // Older metadata, another replica's newer one, or what is not metadata at all.
        None => match depot.store().open(key).await.map_err(|e| Error::store(&e))? {
            Some(object) if !key.as_str().ends_with(".root.json") => Source::Object(object),
            Some(_) => Source::Memory(next_root(depot, view, key).await?),
            None => {
                depot.patch_missed(view, key);
                return Err(Error::not_found(key.as_str()));
            }
        },
    };
    let kind = if key.as_str().ends_with(".json") { "application/json" } else { "application/octet-stream" };
    let tag = match &source {
        Source::Memory(bytes) => Tag::of(bytes),
        // Half of one patch and half of another are none.
        Source::Object(object) if is_patch(&view.name, key) => Tag::of_replaceable(key.as_str(), object),
        Source::Object(object) => Tag::of_object(key.as_str(), object.len()),
    };
    Ok(Content {
        source,
        tag,
        keep: if is_patch(&view.name, key) { Keep::AWhile } else { Keep::Immutable },
        kind,
        disposition: None,
    })
}

fn is_patch(app: &AppName, key: &Key) -> bool {
    key.as_str().starts_with(&layout::patches_prefix(app))
}

/// A root that is newer than the view: another replica's, or one that is about to count. Whoever gets it asks for what goes
/// with it next, so it is given together with that or not at all.
async fn next_root(depot: &Depot, view: &View, key: &Key) -> Result<Bytes, Error> {
    let newest = depot.newest(&view.name).await.map_err(|error| {
        tracing::error!(app = %view.name, %error, "a newer root is in the store, and the app cannot be read anew");
        unready(&view.name)
    })?;
    newest.metadata.get(key).cloned().ok_or_else(|| Error::not_found(key.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of an app that was called `patches` was once taken for patches, which caches keep for an hour and no longer.
    #[test]
    fn an_app_may_be_called_patches() {
        let app: AppName = "patches".parse().unwrap();
        let digest = updraft_core::digest::Digest::of(b"x");
        assert!(is_patch(&app, &layout::patch(&app, digest, digest)));
        assert!(!is_patch(&app, &layout::tree(&app, digest)));
    }
}
