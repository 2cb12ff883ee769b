//! Whether the server lives, whether it is ready and all is well, and which version it is.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use serde_json::{Value, json};
use updraft_core::Timestamp;
use updraft_core::api::{Finding, Health, Level, Matter};

use super::Shared;
use super::error::Error;

/// `GET /healthz`: the process answers.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: devices can be sent here. Some app can be read, its release is out if it is a folder's, and what the server
/// signs of it is fresh. What a person has to do in time is said, and makes nobody unready. This answers anybody.
pub(super) async fn ready(State(shared): State<Shared>) -> Result<Response, Error> {
    let health = examine(&shared).await.for_anybody();
    if health.ready { Ok(fresh(health)) } else { Err(Error::unwell(health)) }
}

/// `GET /api/v1/health`: the same, and what went wrong inside. Behind the gate.
pub(super) async fn all(State(shared): State<Shared>) -> Response {
    fresh(examine(&shared).await)
}

fn fresh(health: Health) -> Response {
    let mut response = Json(health).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The apps, and the folder.
pub(super) async fn examine(shared: &Shared) -> Health {
    let mut health = shared.depot.health(Timestamp::now()).await;
    if let Some(seed) = &shared.seed
        && let Err(error) = seed.release()
        && !health.of(seed.app()).any(|finding| finding.kind == Matter::Broken)
    {
        let finding = Finding {
            level: Level::Broken,
            kind: Matter::Unpublished,
            app: Some(seed.app().clone()),
            role: None,
            what: "its folder has not been published yet".to_owned(),
            remedy: "wait while it is being read for the first time; where that fails, the server's log says why"
                .to_owned(),
            detail: Some(error.to_string()),
        };
        health.add_obstacle(finding);
    }
    health
}

/// `GET /version`
pub(super) async fn version() -> Json<Value> {
    Json(json!({ "name": "updraft", "version": env!("CARGO_PKG_VERSION") }))
}
