//! Whether the server lives, whether it is ready, and which version it is.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use updraft_core::Timestamp;

use super::Shared;
use super::error::Error;

/// `GET /healthz`: the process answers.
pub(super) async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: devices can be sent here. Every app can be read, the folder's release is out, and what the server signs
/// is fresh.
pub(super) async fn ready(State(shared): State<Shared>) -> Result<&'static str, Error> {
    if let Some(seed) = &shared.seed {
        seed.release()?;
    }
    // Why is for the log: this answers anybody.
    if let Some((app, _)) = shared.depot.broken().first() {
        return Err(Error::not_ready(format!("app {app} cannot be served; the server's log says why")));
    }
    let now = Timestamp::now();
    for app in shared.depot.apps() {
        let Some(view) = shared.depot.view(&app) else { continue };
        let stale = view.expires().into_iter().find(|(role, at)| is_online(role) && *at <= now);
        if let Some((role, at)) = stale {
            return Err(Error::not_ready(format!("app {app}: its {role} metadata expired at {at}")));
        }
    }
    Ok("ready\n")
}

/// Whether the server renews this role by itself. What the publisher signs makes nobody unready.
fn is_online(role: &str) -> bool {
    matches!(role, "timestamp" | "snapshot" | "channels")
}

/// `GET /version`
pub(super) async fn version() -> Json<Value> {
    Json(json!({ "name": "updraft", "version": env!("CARGO_PKG_VERSION") }))
}
