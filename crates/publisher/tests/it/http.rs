//! HTTP, against a server that does exactly what its script says.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use updraft_core::api::{BlobStored, Committed, NextRoot};
use updraft_core::digest::Digest;
use updraft_core::layout;
use updraft_core::tree::stored::Encoding;
use updraft_publisher::http::{Error, Http, Options};
use updraft_publisher::keys::Zeroizing;
use updraft_publisher::{Remote, RemoteError};
use updraft_testkit::noise;

use crate::app;

/// A request as it arrived.
#[derive(Debug, Clone)]
struct Request {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

/// What the server does about the next request.
#[derive(Debug, Clone)]
enum Act {
    /// Answers with this status, these headers, and this body.
    Answer(u16, String, Vec<u8>),
    /// Takes so many bytes of the body, and hangs up.
    HangUpAfter(usize),
}

fn answer(status: u16, body: &str) -> Act {
    Act::Answer(status, String::new(), body.as_bytes().to_vec())
}

/// A server on a free port of this machine that plays `acts`, one connection each, and then hears nobody.
struct Scripted {
    url: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Scripted {
    fn play(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        std::thread::spawn(move || {
            for act in acts {
                let Ok((stream, _)) = listener.accept() else { return };
                serve(stream, &act, &log);
            }
        });
        Self { url, seen }
    }

    fn http(&self, token: Option<&str>) -> Http {
        let token = token.map(|token| Zeroizing::new(token.to_owned()));
        Http::new(&self.url, Options { token, first_pause: Duration::ZERO, ..Options::default() }).unwrap()
    }

    fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|request| request.line).collect()
    }
}

fn serve(mut stream: TcpStream, act: &Act, log: &Mutex<Vec<Request>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let len = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, len)| len.parse().unwrap());
    let take = if let Act::HangUpAfter(take) = act { len.min(*take as u64) } else { len };
    let mut body = Vec::new();
    reader.by_ref().take(take).read_to_end(&mut body).unwrap();
    log.lock().unwrap().push(Request { line, headers, body });
    if let Act::Answer(status, headers, body) = act {
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n", body.len());
        // The other side may have heard enough.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    }
}

fn problem(kind: &str, status: u16, remedy: &str) -> Act {
    answer(
        status,
        &format!(r#"{{"type":"{kind}","title":"T","status":{status},"detail":"the reason","remedy":"{remedy}"}}"#),
    )
}

/// A file that holds `content`.
fn file(content: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    file
}

#[test]
fn the_token_goes_to_the_api_and_nowhere_else() {
    let server = Scripted::play(vec![answer(200, r#"{"blobs":[null]}"#), answer(200, "public"), answer(404, "")]);
    let http = server.http(Some("secret"));
    assert_eq!(http.missing(&app(), &[Digest::of(b"")]).unwrap(), [None]);
    let key = layout::first_root(&app());
    assert_eq!(http.read(&key, 6).unwrap().unwrap(), b"public");
    assert_eq!(http.read(&key, 6).unwrap(), None);
    let seen = server.seen();
    assert_eq!(seen[0].line, "POST /api/v1/apps/demo/missing");
    assert_eq!(seen[0].header("authorization"), Some("Bearer secret"));
    assert_eq!((seen[1].line.as_str(), seen[1].header("authorization")), ("GET /apps/demo/root.json", None));
}

#[test]
fn a_token_does_not_travel_where_everybody_can_read_it() {
    let with_token =
        |allow_http| Options { token: Some(Zeroizing::new("secret".to_owned())), allow_http, ..Options::default() };
    let refused = Http::new("http://updates.example.org", with_token(false)).unwrap_err();
    assert!(matches!(&refused, Error::PlainHttp { .. }) && !refused.to_string().contains("secret"), "{refused}");
    assert!(Http::new("http://updates.example.org", with_token(true)).is_ok());
    assert!(Http::new("https://updates.example.org", with_token(false)).is_ok());
    assert!(Http::new("http://127.0.0.1:1", with_token(false)).is_ok());
    assert!(Http::new("http://updates.example.org", Options::default()).is_ok());
    for bad in ["", "two words", "line\nbreak"] {
        let token = Some(Zeroizing::new(bad.to_owned()));
        assert_eq!(Http::new("https://x", Options { token, ..Options::default() }).unwrap_err(), Error::Token);
    }
    let debug = format!("{:?}", Http::new("https://x", with_token(false)).unwrap());
    assert!(!debug.contains("secret"), "{debug}");
}

#[test]
fn a_rotation_is_asked_for_and_handed_in() {
    let key = updraft_testkit::keys::online().public();
    let keys = serde_json::json!({ "online": key }).to_string();
    let conflict = problem("conflict", 409, "do this");
    let server = Scripted::play(vec![answer(200, &keys), answer(200, r#"{"gen":9,"targets":4}"#), conflict]);
    let http = server.http(Some("secret"));
    assert_eq!(http.next_online_key(&app()).unwrap(), key);
    let next = NextRoot { base: 3, root: "the root".to_owned(), targets: None };
    assert_eq!(http.rotate(&app(), &next).unwrap(), Committed { generation: 9, targets: 4 });
    let next = NextRoot { targets: Some("the targets".to_owned()), ..next };
    assert!(matches!(http.rotate(&app(), &next), Err(RemoteError::Conflict { .. })));
    let paths = ["online-key", "rotate", "rotate"].map(|path| format!("POST /api/v1/apps/demo/{path}"));
    assert_eq!(server.lines(), paths);
    let seen = server.seen();
    assert!(seen.iter().all(|request| request.header("authorization") == Some("Bearer secret")));
    let body = |n: usize| serde_json::from_slice::<serde_json::Value>(&seen[n].body).unwrap();
    assert_eq!(body(1), serde_json::json!({ "base": 3, "root": "the root" }));
    assert_eq!(body(2), serde_json::json!({ "base": 3, "root": "the root", "targets": "the targets" }));
}

#[test]
fn a_problem_is_told_with_its_remedy() {
    type IsExpected = fn(&RemoteError) -> bool;
    let cases: [(Act, IsExpected); 7] = [
        (problem("token-wrong", 401, "do this"), |e| matches!(e, RemoteError::Denied { .. })),
        (problem("plain-http", 403, "do this"), |e| matches!(e, RemoteError::Denied { .. })),
        (problem("not-found", 404, "do this"), |e| matches!(e, RemoteError::NotFound { .. })),
        (problem("conflict", 409, "do this"), |e| matches!(e, RemoteError::Conflict { .. })),
        (problem("missing", 422, "do this"), |e| matches!(e, RemoteError::Missing { .. })),
        (problem("not-newer", 422, "do this"), |e| matches!(e, RemoteError::Refused { .. })),
        (problem("full", 507, "do this"), |e| matches!(e, RemoteError::Refused { .. })),
    ];
    for (act, is_expected) in cases {
        let server = Scripted::play(vec![act.clone()]);
        let error = server.http(None).propose_app(&app()).unwrap_err();
        assert!(is_expected(&error), "{act:?}: {error:?}");
        assert_eq!(error.to_string(), "the reason; do this");
        assert_eq!(server.lines().len(), 1, "it is not asked again");
    }
    // Without a body of ours the status speaks, and the remedy is a general one.
    let server = Scripted::play(vec![answer(401, "<html>go away</html>")]);
    let error = server.http(None).propose_app(&app()).unwrap_err().to_string();
    assert!(error.contains("401") && error.contains("token") && !error.contains("html"), "{error}");
}

#[test]
fn what_is_no_answer_is_not_taken_for_one() {
    let redirect = Act::Answer(302, "location: https://elsewhere.example\r\n".to_owned(), Vec::new());
    let server =
        Scripted::play(vec![redirect, answer(200, "hello"), answer(200, &"x".repeat(11)), answer(200, "not a head")]);
    let http = server.http(Some("secret"));
    let error = http.propose_app(&app()).unwrap_err();
    assert!(error.to_string().contains("https://elsewhere.example"), "{error}");
    assert!(matches!(http.propose_app(&app()), Err(RemoteError::Nonsense { .. })));
    let long = http.read(&layout::first_root(&app()), 10).unwrap_err();
    assert!(matches!(&long, RemoteError::Nonsense { .. }) && long.to_string().contains("10"), "{long}");
    assert!(matches!(http.head(&app()), Err(RemoteError::Nonsense { .. })));
}

#[test]
fn what_may_pass_is_tried_again_and_not_for_ever() {
    let busy = Act::Answer(503, "retry-after: 0\r\n".to_owned(), Vec::new());
    let server = Scripted::play(vec![Act::HangUpAfter(0), busy.clone(), answer(200, "at last")]);
    assert_eq!(server.http(None).read(&layout::first_root(&app()), 10).unwrap().unwrap(), b"at last");

    let server = Scripted::play(vec![busy; 20]);
    let error = server.http(None).read(&layout::first_root(&app()), 10).unwrap_err();
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error}");
    assert_eq!(server.lines().len(), 5);
}

#[test]
fn an_upload_goes_on_where_it_broke_off() {
    let content = noise(1, 600 << 10);
    let digest = Digest::of(&content);
    let state = |offset: usize| answer(200, &format!(r#"{{"offset":{offset}}}"#));
    let server = Scripted::play(vec![
        state(0),
        Act::HangUpAfter(200 << 10),
        answer(200, r#"{"blobs":[null]}"#),
        state(200 << 10),
        answer(204, ""),
    ]);
    let heard = RefCell::new(Vec::new());
    let len = content.len() as u64;
    let put = |http: Http| {
        let progress = |sent| heard.borrow_mut().push(sent);
        http.put_blob(&app(), digest, Encoding::Zstd, &mut file(&content), len, &progress)
    };
    put(server.http(Some("secret"))).unwrap();
    let seen = server.seen();
    let path = format!("/api/v1/apps/demo/blobs/{digest}.zst");
    let uploads = format!("GET /api/v1/apps/demo/uploads/{digest}.zst");
    let lines: Vec<&str> = seen.iter().map(|request| request.line.as_str()).collect();
    assert_eq!(
        lines,
        [&*uploads, &format!("PUT {path}"), "POST /api/v1/apps/demo/missing", &uploads, &format!("PUT {path}")]
    );
    assert_eq!(seen[1].header("upload-offset"), Some("0"));
    assert_eq!(seen[4].header("upload-offset"), Some("204800"));
    assert_eq!(seen[4].header("transfer-encoding"), None);
    assert_eq!([&seen[1].body[..], &seen[4].body[..]].concat(), content);
    assert_eq!(heard.borrow().last(), Some(&len));
}

#[test]
fn the_server_knows_better_how_far_an_upload_is() {
    let content = b"a small blob";
    let digest = Digest::of(content);
    let elsewhere = r#"{"type":"offset","title":"T","status":409,"detail":"it is at byte 8","offset":8}"#;
    let server = Scripted::play(vec![answer(409, elsewhere), answer(204, "")]);
    let http = server.http(None);
    http.put_blob(&app(), digest, Encoding::Raw, &mut file(content), 12, &|_| ()).unwrap();
    let seen = server.seen();
    assert_eq!((seen[1].header("upload-offset"), &seen[1].body[..]), (Some("8"), &b"blob"[..]));

    // A server that never agrees is given up.
    let server = Scripted::play(vec![answer(409, elsewhere); 20]);
    let http = server.http(None);
    let error = http.put_blob(&app(), digest, Encoding::Raw, &mut file(content), 12, &|_| ()).unwrap_err();
    assert!(matches!(error, RemoteError::Conflict { .. }), "{error}");
    assert_eq!(server.lines().len(), 5);
}

#[test]
fn an_upload_whose_answer_was_lost_is_not_sent_again() {
    let content = b"a small blob";
    let stored = format!(
        r#"{{"blobs":[{}]}}"#,
        serde_json::to_string(&BlobStored { size: 12, zstd: false, raw: true }).unwrap()
    );
    let server = Scripted::play(vec![Act::HangUpAfter(usize::MAX), answer(200, &stored)]);
    let http = server.http(None);
    http.put_blob(&app(), Digest::of(content), Encoding::Raw, &mut file(content), 12, &|_| ()).unwrap();
    assert_eq!(server.lines().len(), 2);
}

#[test]
fn a_file_that_has_become_shorter_is_our_fault_and_said_at_once() {
    let server = Scripted::play(vec![answer(204, "")]);
    let http = server.http(None);
    let error = http.put_blob(&app(), Digest::of(b""), Encoding::Raw, &mut file(b"short"), 12, &|_| ()).unwrap_err();
    assert!(matches!(error, RemoteError::Content(_)), "{error}");
}
