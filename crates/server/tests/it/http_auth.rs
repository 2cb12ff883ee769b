//! Who may pass: by peer, by `Host`, by what proxies add, by token.

use updraft_server::http::{Access, AdminToken};

use crate::http_scene::{LOCAL, STRANGER, Scene, memory};

const PROXY: &str = "10.1.2.3:9";

fn access(allow_plain_admin: bool, trusted_proxies: &[&str]) -> Access {
    let trusted_proxies = trusted_proxies.iter().map(|network| network.parse().unwrap()).collect();
    Access { allow_plain_admin, open_generate: false, trusted_proxies }
}

async fn scene(access: Access) -> Scene {
    Scene::over(memory().await, access, None)
}

/// What `GET /api/v1/apps` answers to somebody with the right token.
async fn api(scene: &Scene, peer: &str, headers: &[(&str, &str)]) -> u16 {
    let authorization = format!("Bearer {}", scene.token.reveal());
    let mut headers = headers.to_vec();
    headers.push(("authorization", &authorization));
    let answer = scene.ask("GET", "/api/v1/apps", peer, &headers, "").await;
    if answer.status != 200 {
        assert_eq!(answer.problem(), "plain-http");
    }
    answer.status.as_u16()
}

#[tokio::test]
async fn over_plain_http_only_this_machine() {
    let scene = scene(access(false, &[])).await;
    for (peer, host) in [
        (LOCAL, "127.0.0.1:8080"),
        (LOCAL, "localhost"),
        (LOCAL, "LocalHost:8080"),
        (LOCAL, "127.8.8.8"),
        (LOCAL, "[::1]:8080"),
        ("[::1]:1", "localhost"),
        ("[::ffff:127.0.0.1]:1", "localhost"),
    ] {
        assert_eq!(api(&scene, peer, &[("host", host)]).await, 200, "{peer} {host}");
    }
    for (peer, host) in [
        (STRANGER, "127.0.0.1:8080"),
        (STRANGER, "localhost"),
        ("[2001:db8::1]:1", "localhost"),
        ("[::ffff:203.0.113.9]:1", "localhost"),
        (LOCAL, "updates.example.com"),
        (LOCAL, "localhost.example.com"),
        (LOCAL, "127.0.0.1.example.com"),
        (LOCAL, "127.0.0.1@example.com"),
        (LOCAL, "localhost@203.0.113.9"),
        (LOCAL, "0.0.0.0:8080"),
        (LOCAL, ""),
        (LOCAL, "localhost, example.com"),
    ] {
        assert_eq!(api(&scene, peer, &[("host", host)]).await, 403, "{peer} {host}");
    }
    assert_eq!(api(&scene, LOCAL, &[]).await, 403, "without Host");
    assert_eq!(api(&scene, LOCAL, &[("host", "localhost"), ("host", "example.com")]).await, 403, "with two");
}

#[tokio::test]
async fn a_trace_of_a_proxy_is_not_this_machine() {
    let scene = scene(access(false, &[])).await;
    for name in [
        "Forwarded",
        "Via",
        "X-Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Original-Forwarded-For",
        "X-Real-IP",
        "X-Client-IP",
        "X-Cluster-Client-IP",
        "CF-Connecting-IP",
        "True-Client-IP",
    ] {
        assert_eq!(api(&scene, LOCAL, &[("host", "localhost"), (name, "https")]).await, 403, "{name}");
    }
}

#[tokio::test]
async fn a_request_line_may_not_name_another_host() {
    let scene = scene(access(false, &[])).await;
    let authorization = format!("Bearer {}", scene.token.reveal());
    let headers = [("host", "localhost"), ("authorization", authorization.as_str())];
    for (uri, status) in [("http://localhost/api/v1/apps", 200), ("http://example.com/api/v1/apps", 403)] {
        assert_eq!(scene.ask("GET", uri, LOCAL, &headers, "").await.status, status, "{uri}");
    }
}

#[tokio::test]
async fn trusted_proxies_speak_for_their_users_if_those_used_tls() {
    let scene = scene(access(false, &["10.0.0.0/8"])).await;
    let host = ("host", "updates.example.com");
    for (headers, status) in [
        (vec![host, ("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https")], 200),
        (vec![host, ("forwarded", "for=203.0.113.9;proto=https")], 200),
        (vec![host], 200),
        (vec![host, ("x-forwarded-proto", "http")], 403),
        (vec![host, ("x-forwarded-proto", "https, http")], 403),
        (vec![host, ("forwarded", "for=1.2.3.4; Proto=\"http\"")], 403),
    ] {
        assert_eq!(api(&scene, PROXY, &headers).await, status, "{headers:?}");
        assert_eq!(api(&scene, STRANGER, &headers).await, 403, "not the proxy: {headers:?}");
    }
    assert_eq!(api(&scene, LOCAL, &[("host", "localhost")]).await, 200, "this machine is still this machine");
}

#[tokio::test]
async fn an_operator_may_open_the_door_and_the_token_is_still_needed() {
    let scene = scene(access(true, &[])).await;
    assert_eq!(api(&scene, STRANGER, &[("host", "example.com"), ("x-forwarded-proto", "http")]).await, 200);
    let answer = scene.ask("GET", "/api/v1/apps", STRANGER, &[("host", "example.com")], "").await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (401, "token-missing"));
}

#[tokio::test]
async fn tokens() {
    let scene = scene(access(false, &[])).await;
    let right = scene.token.reveal().to_owned();
    let other = AdminToken::generate().unwrap().reveal().to_owned();
    let mistyped = right.replace("upd_", "upd_0")[..right.len()].to_owned();
    for (authorization, status, problem) in [
        (format!("Bearer {right}"), 200, ""),
        (format!("bearer  {right} "), 200, ""),
        (format!("Bearer {other}"), 401, "token-wrong"),
        (format!("Bearer {mistyped}"), 401, "token-wrong"),
        (format!("Bearer {}", &right[..right.len() - 1]), 401, "token-wrong"),
        ("Bearer ".to_owned(), 401, "token-wrong"),
        (format!("Basic {right}"), 401, "token-missing"),
        (right, 401, "token-missing"),
        (String::new(), 401, "token-missing"),
    ] {
        let headers = [("host", "localhost"), ("authorization", authorization.as_str())];
        let answer = scene.ask("GET", "/api/v1/apps", LOCAL, &headers, "").await;
        assert_eq!(answer.status, status, "{authorization}");
        if status != 200 {
            assert_eq!(answer.problem(), problem, "{authorization}");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
            assert!(!answer.text().contains(&authorization[7.min(authorization.len())..]) || authorization.len() < 8);
        }
    }
}

#[tokio::test]
async fn every_route_of_the_api_is_behind_the_gate() {
    let scene = scene(access(false, &[])).await;
    let digest = "0".repeat(64);
    let uploads = format!("/apps/demo/uploads/{digest}");
    let blobs = format!("/apps/demo/blobs/{digest}.zst");
    let trees = format!("/apps/demo/trees/{digest}");
    for (method, path) in [
        ("GET", "/apps"),
        ("POST", "/apps"),
        ("GET", "/apps/demo"),
        ("POST", "/apps/demo/root"),
        ("POST", "/apps/demo/missing"),
        ("GET", uploads.as_str()),
        ("PUT", &blobs),
        ("PUT", &trees),
        ("POST", "/apps/demo/releases"),
        ("POST", "/apps/demo/promote"),
        ("GET", "/apps/demo/channels/stable"),
        ("POST", "/apps/demo/channels/stable"),
        ("POST", "/gc"),
        ("POST", "/fsck"),
    ] {
        let path = format!("/api/v1{path}");
        let answer = scene.ask(method, &path, LOCAL, &[("host", "localhost")], "").await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (401, "token-missing"), "{method} {path}");
        let answer = scene.ask(method, &path, STRANGER, &[("host", "localhost")], "").await;
        assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (403, "plain-http"), "{method} {path}");
    }
}
