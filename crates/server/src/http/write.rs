//! The publisher's and the administrator's API, `/api/v1/...`: thin doors to the depot.
//!
//! Every route in [`routes`] is behind the gate, by construction: the gate is put around all of them at once. What
//! changes something runs to its end even when its caller goes away, for a change that is made and not seen would be the
//! worst of both.

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use updraft_core::Timestamp;
use updraft_core::api;
use updraft_core::digest::Digest;
use updraft_core::limits::{API_BODY_LEN_MAX, MISSING_BATCH_MAX, TREE_LEN_MAX};
use updraft_core::name::{AppName, ChannelName};
use updraft_core::tree::stored::Encoding;

use super::error::Error;
use super::{Shared, health};
use crate::depot::{self, Pair, Repair};

/// The routes, without `/api/v1` in front.
pub(super) fn routes(shared: &Shared) -> Router<Shared> {
    Router::new()
        .route("/apps", get(apps).post(propose))
        .route("/apps/{app}", get(app))
        .route("/apps/{app}/root", post(create))
        .route("/apps/{app}/online-key", post(next_online_key))
        .route("/apps/{app}/rotate", post(rotate))
        .route("/apps/{app}/missing", post(missing))
        .route("/apps/{app}/uploads/{blob}", get(upload_state))
        .route("/apps/{app}/blobs/{blob}", put(put_blob))
        .route("/apps/{app}/trees/{tree}", put(put_tree))
        .route("/apps/{app}/patches", get(patches))
        .route("/apps/{app}/patches/{from}/{to}", put(put_patch).delete(remove_patch))
        .route("/apps/{app}/patches/{from}/{to}/retry", post(retry_patch))
        .route("/apps/{app}/releases", post(publish))
        .route("/apps/{app}/promote", post(promote))
        .route("/apps/{app}/channels/{channel}", get(channel).post(change_channel))
        .route("/gc", post(gc))
        .route("/fsck", post(fsck))
        .route("/health", get(health::all))
        .route_layer(middleware::from_fn_with_state(shared.clone(), gate))
}

async fn gate(State(shared): State<Shared>, request: Request, next: Next) -> Result<Response, Error> {
    let (parts, body) = request.into_parts();
    shared.gate.admin(&parts)?;
    Ok(next.run(Request::from_parts(parts, body)).await)
}

async fn apps(State(shared): State<Shared>) -> Json<Vec<api::App>> {
    let views = shared.depot.apps().into_iter().filter_map(|app| shared.depot.view(&app));
    Json(views.map(|view| view.describe()).collect())
}

async fn app(State(shared): State<Shared>, Name(app): Name) -> Result<Json<api::App>, Error> {
    let view = shared.depot.view(&app).ok_or_else(|| Error::not_found(&format!("app {app}")))?;
    Ok(Json(view.describe()))
}

async fn propose(
    State(shared): State<Shared>,
    Bounded(new): Bounded<api::NewApp>,
) -> Result<Json<api::NewAppKeys>, Error> {
    let online = to_its_end(async move { shared.depot.propose_app(&new.name).await }).await?;
    Ok(Json(api::NewAppKeys { online }))
}

async fn create(
    State(shared): State<Shared>,
    Name(app): Name,
    Bounded(first): Bounded<api::FirstMetadata>,
) -> Result<Json<api::Committed>, Error> {
    to_its_end(async move { shared.depot.create_app(&app, &first, Timestamp::now()).await }).await.map(Json)
}

/// What the body says is not looked at: the path says it all.
async fn next_online_key(State(shared): State<Shared>, Name(app): Name) -> Result<Json<api::NewAppKeys>, Error> {
    let online = to_its_end(async move { shared.depot.next_online_key(&app).await }).await?;
    Ok(Json(api::NewAppKeys { online }))
}

async fn rotate(
    State(shared): State<Shared>,
    Name(app): Name,
    Bounded(next): Bounded<api::NextRoot>,
) -> Result<Json<api::Committed>, Error> {
    to_its_end(async move { shared.depot.rotate(&app, &next, Timestamp::now()).await }).await.map(Json)
}

async fn missing(
    State(shared): State<Shared>,
    Name(app): Name,
    Bounded(have): Bounded<api::Have>,
) -> Result<Json<api::Missing>, Error> {
    if have.blobs.len() > MISSING_BATCH_MAX {
        let asked = have.blobs.len();
        return Err(Error::bad_request(format!(
            "{asked} blobs in one question; at most {MISSING_BATCH_MAX} are allowed"
        )));
    }
    let blobs = shared.depot.missing(&app, &have.blobs).await?;
    Ok(Json(api::Missing { blobs }))
}

async fn upload_state(
    State(shared): State<Shared>,
    Blob { app, digest, encoding }: Blob,
) -> Result<Json<api::UploadState>, Error> {
    let offset = shared.depot.upload_offset(&app, digest, encoding).await?;
    Ok(Json(api::UploadState { offset }))
}

/// The body is the blob from `Upload-Offset` on to its end.
async fn put_blob(
    State(shared): State<Shared>,
    Blob { app, digest, encoding }: Blob,
    headers: HeaderMap,
    mut body: Body,
) -> Result<StatusCode, Error> {
    let offset = upload_offset(&headers)?;
    let mut upload = shared.depot.upload(&app, digest, encoding, offset).await?;
    if upload.is_stored() {
        return Ok(StatusCode::NO_CONTENT);
    }
    while let Some(frame) = body.frame().await {
        // Dropping the upload keeps what came.
        let frame = frame.map_err(|e| Error::body(innermost(&e)))?;
        if let Ok(piece) = frame.into_data() {
            upload.write(piece).await?;
        }
    }
    to_its_end(upload.finish()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn put_tree(
    State(shared): State<Shared>,
    Path((app, tree)): Path<(String, String)>,
    request: Request,
) -> Result<StatusCode, Error> {
    let (app, digest) = (parse::<AppName>(&app)?, parse::<Digest>(&tree)?);
    let packed = read(request, TREE_LEN_MAX as usize).await?;
    to_its_end(async move { shared.depot.put_tree(&app, digest, packed).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn patches(State(shared): State<Shared>, Name(app): Name) -> Result<Json<api::Patches>, Error> {
    Ok(Json(shared.depot.patches(&app, Timestamp::now()).await?))
}

/// The body is the patch. It is no longer than what it replaces, or nobody needs it.
async fn put_patch(
    State(shared): State<Shared>,
    Patch { app, pair }: Patch,
    mut body: Body,
) -> Result<StatusCode, Error> {
    let mut upload = shared.depot.upload_patch(&app, pair).await?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Error::body(innermost(&e)))?;
        if let Ok(piece) = frame.into_data() {
            upload.write(piece).await?;
        }
    }
    to_its_end(upload.finish(Timestamp::now())).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_patch(State(shared): State<Shared>, Patch { app, pair }: Patch) -> Result<StatusCode, Error> {
    to_its_end(async move { shared.depot.remove_patch(&app, pair, Timestamp::now()).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn retry_patch(State(shared): State<Shared>, Patch { app, pair }: Patch) -> Result<StatusCode, Error> {
    to_its_end(async move { shared.depot.retry_patch(&app, pair, Timestamp::now()).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn publish(
    State(shared): State<Shared>,
    Name(app): Name,
    Bounded(new): Bounded<api::NewTargets>,
) -> Result<Json<api::Committed>, Error> {
    to_its_end(async move { shared.depot.accept(&app, &new, Timestamp::now()).await }).await.map(Json)
}

async fn promote(
    State(shared): State<Shared>,
    Name(app): Name,
    Bounded(promotion): Bounded<api::Promotion>,
) -> Result<Json<api::Committed>, Error> {
    to_its_end(async move { shared.depot.promote(&app, &promotion, Timestamp::now()).await }).await.map(Json)
}

async fn channel(
    State(shared): State<Shared>,
    OnChannel { app, channel }: OnChannel,
) -> Result<Json<api::ChannelStatus>, Error> {
    Ok(Json(shared.depot.channel(&app, &channel, Timestamp::now())?))
}

async fn change_channel(
    State(shared): State<Shared>,
    OnChannel { app, channel }: OnChannel,
    Bounded(change): Bounded<api::ChannelChange>,
) -> Result<Json<api::ChannelChanged>, Error> {
    to_its_end(async move { shared.depot.change_channel(&app, &channel, &change, Timestamp::now()).await })
        .await
        .map(Json)
}

async fn gc(
    State(shared): State<Shared>,
    Bounded(request): Bounded<api::GcRequest>,
) -> Result<Json<api::GcReport>, Error> {
    to_its_end(async move { shared.depot.gc(request, Timestamp::now()).await }).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FsckQuery {
    #[serde(default)]
    repair: bool,
}

/// `?repair=true` mends what can be mended.
async fn fsck(
    State(shared): State<Shared>,
    query: Result<Query<FsckQuery>, QueryRejection>,
) -> Result<Json<api::FsckReport>, Error> {
    let Query(FsckQuery { repair }) = query.map_err(|e| Error::bad_request(e.body_text()))?;
    let repair = if repair { Repair::WhatCanBe } else { Repair::Nothing };
    to_its_end(async move { shared.depot.fsck(repair).await }).await.map(Json)
}

/// Runs `work` in a task of its own, which nobody's going away stops.
async fn to_its_end<T, F>(work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, depot::Error>> + Send + 'static,
{
    match tokio::spawn(work).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(Error::internal(&error)),
    }
}

fn upload_offset(headers: &HeaderMap) -> Result<u64, Error> {
    let Some(header) = headers.get("upload-offset") else { return Ok(0) };
    let offset = header.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    offset
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::bad_request("Upload-Offset is not a number of bytes"))
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Error> {
    text.parse().map_err(|e: T::Err| Error::bad_request(e.to_string()))
}

/// The app that a path names.
struct Name(AppName);

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Name {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut http::request::Parts, state: &S) -> Result<Self, Error> {
        let Path(app) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|e| Error::bad_request(e.body_text()))?;
        parse(&app).map(Self)
    }
}

/// The channel that a path names.
struct OnChannel {
    app: AppName,
    channel: ChannelName,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for OnChannel {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut http::request::Parts, state: &S) -> Result<Self, Error> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((app, channel)) = path.map_err(|e| Error::bad_request(e.body_text()))?;
        Ok(Self { app: parse(&app)?, channel: parse(&channel)? })
    }
}

/// The blob that a path names: `{digest}` as it is, `{digest}.zst` compressed.
struct Blob {
    app: AppName,
    digest: Digest,
    encoding: Encoding,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Blob {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut http::request::Parts, state: &S) -> Result<Self, Error> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((app, blob)) = path.map_err(|e| Error::bad_request(e.body_text()))?;
        let (digest, encoding) = match blob.strip_suffix(".zst") {
            Some(digest) => (digest, Encoding::Zstd),
            None => (blob.as_str(), Encoding::Raw),
        };
        Ok(Self { app: parse(&app)?, digest: parse(digest)?, encoding })
    }
}

/// The patch that a path names, by its two trees.
struct Patch {
    app: AppName,
    pair: Pair,
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Patch {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut http::request::Parts, state: &S) -> Result<Self, Error> {
        let path = Path::<(String, String, String)>::from_request_parts(parts, state).await;
        let Path((app, from, to)) = path.map_err(|e| Error::bad_request(e.body_text()))?;
        Ok(Self { app: parse(&app)?, pair: Pair { to: parse(&to)?, from: parse(&from)? } })
    }
}

/// A JSON body of at most [`API_BODY_LEN_MAX`] bytes.
struct Bounded<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Bounded<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self, Error> {
        let bytes = read(request, API_BODY_LEN_MAX).await?;
        let value = serde_json::from_slice(&bytes);
        value.map(Self).map_err(|e| Error::bad_request(format!("the body is not what this call takes: {e}")))
    }
}

/// The body of `request`, of at most `max` bytes.
async fn read(request: Request, max: usize) -> Result<Bytes, Error> {
    match Limited::new(request.into_body(), max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Error::too_large(max)),
        Err(error) => Err(Error::body(innermost(error.as_ref()))),
    }
}

/// What began it: the layers above say no more than "error reading a body".
fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// The answer to a path below `/api` that is none.
pub(super) async fn nowhere(request: Request) -> Response {
    Error::not_found(request.uri().path()).into_response()
}
