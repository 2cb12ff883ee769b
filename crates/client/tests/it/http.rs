//! The HTTP transport against a real socket on the loopback: what is sent, and what is made of the answers.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};

use updraft_client::fetch::http::Http;
use updraft_client::fetch::{Answer, Error, Request, Transport};
use updraft_core::layout::{self, Key};

/// Answers one request after the other with the next of some prepared answers, over as many connections as it takes.
struct Scripted {
    base: String,
    requests: Receiver<(usize, String)>,
    thread: JoinHandle<()>,
}

impl Scripted {
    /// An answer that ends in `Connection: close` closes the connection, as one that breaks off must.
    fn new(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = channel();
        let thread = thread::spawn(move || {
            let mut answers = answers.into_iter().peekable();
            let mut connections = 0;
            while answers.peek().is_some() {
                let (stream, _) = listener.accept().unwrap();
                connections += 1;
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while answers.peek().is_some() {
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
                    if head.is_empty() {
                        break;
                    }
                    sender.send((connections, head.to_lowercase())).unwrap();
                    let answer = answers.next().unwrap();
                    (&stream).write_all(answer.as_bytes()).unwrap();
                    if answer.contains("Connection: close") {
                        break;
                    }
                }
            }
        });
        Self { base, requests, thread }
    }

    fn http(&self) -> Http {
        Http::new(&self.base, "test/1", 1, None)
    }

    /// Every request, with the number of the connection that it came over.
    fn finish(self) -> Vec<(usize, String)> {
        self.thread.join().unwrap();
        self.requests.iter().collect()
    }
}

fn key() -> Key {
    layout::head(&"demo".parse().unwrap())
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn ask(http: &Http, from: u64, tags: [Option<&str>; 2], sink: &mut Vec<u8>) -> Result<Answer, Error> {
    let key = key();
    http.get(&Request { key: &key, from, len: None, if_range: tags[0], if_none_match: tags[1] }, sink)
}

#[test]
fn a_body_its_tag_and_one_connection_for_all() {
    let server = Scripted::new(vec![
        answer("200 OK", "ETag: \"t\"\r\n", "0123456789"),
        "HTTP/1.1 304 Not Modified\r\nETag: \"t\"\r\n\r\n".to_owned(),
        answer("404 Not Found", "", "no such object"),
        answer("206 Partial Content", "Content-Range: bytes 4-9/10\r\n", "456789"),
        answer("416 Range Not Satisfiable", "Content-Range: bytes */10\r\n", ""),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n".to_owned(),
    ]);
    let http = server.http();
    let mut bytes = Vec::new();
    let whole = Answer::Body { etag: Some("\"t\"".into()) };
    assert_eq!(ask(&http, 0, [None, None], &mut bytes).unwrap(), whole);
    assert_eq!(bytes, b"0123456789");
    assert_eq!(ask(&http, 0, [None, Some("\"t\"")], &mut bytes).unwrap(), Answer::NotModified);
    assert_eq!(ask(&http, 0, [None, None], &mut bytes).unwrap(), Answer::Missing);
    bytes.truncate(4);
    assert_eq!(ask(&http, 4, [Some("\"t\""), None], &mut bytes).unwrap(), Answer::Body { etag: None });
    assert_eq!(bytes, b"0123456789");
    assert_eq!(ask(&http, 10, [None, None], &mut bytes).unwrap(), Answer::PastEnd);
    bytes.clear();
    assert_eq!(ask(&http, 0, [None, None], &mut bytes).unwrap(), Answer::Body { etag: None });
    assert_eq!(bytes, b"abcdefg");
    drop(http);

    let requests = server.finish();
    assert!(requests.iter().all(|(connection, _)| *connection == 1), "{requests:?}");
    let heads: Vec<&str> = requests.iter().map(|(_, head)| head.as_str()).collect();
    assert!(heads[0].starts_with("get /apps/demo/head http/1.1\r\n") && heads[0].contains("user-agent: test/1\r\n"));
    assert!(
        !heads[0].contains("range") && !heads[0].contains("if-none-match") && !heads[0].contains("accept-encoding")
    );
    assert!(heads[1].contains("if-none-match: \"t\"\r\n"));
    assert!(heads[3].contains("range: bytes=4-\r\n") && heads[3].contains("if-range: \"t\"\r\n"));
    assert!(heads[4].contains("range: bytes=10-\r\n") && !heads[4].contains("if-range"));
}

#[test]
fn answers_that_are_none() {
    let broken = |head: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{head}Connection: close\r\n\r\n{body}");
    let closed = "Connection: close\r\n";
    let server = Scripted::new(vec![
        broken("Content-Length: 10\r\n", "01234"),
        broken("Transfer-Encoding: chunked\r\n", "5\r\n01234\r\n"),
        answer("206 Partial Content", closed, "no range"),
        "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_owned(),
        answer("503 Service Unavailable", &format!("Retry-After: 7\r\n{closed}"), "later"),
        answer("301 Moved", &format!("Location: /apps/demo/head\r\n{closed}"), ""),
        answer("200 OK", closed, "moved"),
        format!("nonsense\r\n{closed}\r\n"),
    ]);
    let http = server.http();
    let mut bytes = Vec::new();
    let mut next = || ask(&http, 0, [None, None], &mut bytes);
    assert!(matches!(next(), Err(Error::Unreachable { .. })), "a body that is shorter than it said");
    assert!(matches!(next(), Err(Error::Unreachable { .. })), "chunks that do not end");
    assert!(matches!(next(), Err(Error::Unreachable { .. })), "a part of nobody knows what");
    assert!(matches!(next(), Err(Error::Status { status: 304, .. })), "nothing was said to be at hand");
    match next() {
        Err(Error::Status { status: 503, retry_after: Some(wait), .. }) => assert_eq!(wait.as_secs(), 7),
        other => panic!("{other:?}"),
    }
    assert!(matches!(next(), Ok(Answer::Body { .. })), "a redirect is followed");
    assert!(matches!(next(), Err(Error::Unreachable { .. })), "no HTTP at all");
    drop(http);
    server.finish();
    let nobody = Http::new("http://127.0.0.1:1", "test/1", 1, None);
    match ask(&nobody, 0, [None, None], &mut Vec::new()) {
        Err(Error::Unreachable { what, .. }) => assert_eq!(what, "http://127.0.0.1:1/apps/demo/head"),
        other => panic!("{other:?}"),
    }
}

/// A sink that has had enough ends the request with its own error.
#[test]
fn a_sink_that_refuses_ends_it() {
    struct Full;
    impl updraft_client::fetch::Sink for Full {
        fn begin(&mut self, _: u64, _: Option<&str>) -> Result<(), Error> {
            Ok(())
        }
        fn write(&mut self, _: &[u8]) -> Result<(), Error> {
            Err(Error::Cancelled)
        }
    }
    let server = Scripted::new(vec![answer("200 OK", "Connection: close\r\n", "0123456789")]);
    let http = server.http();
    let key = key();
    let request = Request { key: &key, from: 0, len: None, if_range: None, if_none_match: None };
    assert!(matches!(http.get(&request, &mut Full), Err(Error::Cancelled)));
    server.finish();
}
