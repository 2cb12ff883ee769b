//! Connections: every wait for a client has an end, and a server stops without tearing an answer.
//!
//! Limits are short here; what is asserted is that something ends, or goes on, never how fast.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use updraft_server::http::Access;
use updraft_server::serve::{Limits, Measure, bind, serve};
use updraft_testkit::{TreeFixture, noise};

use crate::http_scene::Scene;

const SHORT: Duration = Duration::from_millis(200);
/// Longer than anything here takes; reaching it is a failure.
const LONG: Duration = Duration::from_secs(60);

struct Server {
    address: SocketAddr,
    scene: Scene,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let files = TreeFixture::of(&[("small", "0123456789")]).with("big", noise(1, 32 << 20));
        let (scene, _) = Scene::folder(&files, Access::default(), None).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(serve(listener, scene.service.clone(), limits, async {
            let _ = stopped.await;
        }));
        Self { address, scene, stop, running }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn stop(self) {
        let _ = self.stop.send(());
        tokio::time::timeout(LONG, self.running).await.expect("the server stops").unwrap();
    }
}

fn long() -> Limits {
    let patient = Measure { full: LONG, bytes_per_sec_min: 1 };
    Limits {
        header_timeout: LONG,
        idle_timeout: LONG,
        reading: patient,
        writing: patient,
        drain_timeout: LONG,
        ..Limits::default()
    }
}

/// Everything up to the end of the connection; a reset is an end.
async fn to_the_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut piece = vec![0; 64 << 10];
    let read = async {
        while let Ok(count @ 1..) = stream.read(&mut piece).await {
            all.extend_from_slice(&piece[..count]);
        }
    };
    tokio::time::timeout(LONG, read).await.expect("the server ends the connection");
    all
}

/// One answer whose length is in its head.
async fn answer(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&all);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let len = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
            if body.len() >= len.map_or(0, |len| len.parse().unwrap()) {
                return text.into_owned();
            }
        }
        let mut piece = [0; 4096];
        let count = tokio::time::timeout(LONG, stream.read(&mut piece)).await.unwrap().unwrap();
        assert!(count > 0, "the connection ended within an answer: {text}");
        all.extend_from_slice(&piece[..count]);
    }
}

#[tokio::test]
async fn whoever_says_nothing_is_not_waited_for() {
    let server = Server::start(Limits { header_timeout: SHORT, ..long() }).await;
    assert_eq!(to_the_end(&mut server.connect().await).await, b"");
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_drips_is_not_waited_for() {
    let server = Server::start(Limits { header_timeout: SHORT, ..long() }).await;
    let (mut reader, mut writer) = server.connect().await.into_split();
    let drip = tokio::spawn(async move {
        for byte in b"GET / HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x')) {
            if writer.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(SHORT / 20).await;
        }
    });
    let mut all = Vec::new();
    let _ = tokio::time::timeout(LONG, reader.read_to_end(&mut all)).await.expect("the server ends the connection");
    assert_eq!(all, b"");
    tokio::time::timeout(LONG, drip).await.unwrap().unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_quiet_connection_is_kept_longer_than_a_slow_head_and_not_for_ever() {
    let server = Server::start(Limits { header_timeout: SHORT, idle_timeout: 4 * SHORT, ..long() }).await;
    let mut stream = server.connect().await;
    for _ in 0..2 {
        stream.write_all(b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(answer(&mut stream).await.ends_with("0123456789"));
        // The head's deadline passes; the connection is quiet, not slow.
        tokio::time::sleep(2 * SHORT).await;
    }
    assert_eq!(to_the_end(&mut stream).await, b"");
    server.stop().await;
}

#[tokio::test]
async fn whoever_does_not_take_the_answer_is_cut_off() {
    let writing = Measure { full: SHORT, bytes_per_sec_min: 1 << 20 };
    let server = Server::start(Limits { writing, ..long() }).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(4 * SHORT).await;
    let got = to_the_end(&mut stream).await.len();
    assert!(got < 32 << 20, "the whole answer came after all");
    server.stop().await;
}

#[tokio::test]
async fn whoever_takes_the_answer_slowly_but_steadily_gets_it_whole() {
    let writing = Measure { full: 4 * SHORT, bytes_per_sec_min: 1 << 20 };
    let server = Server::start(Limits { writing, idle_timeout: SHORT, ..long() }).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let (mut got, mut piece) = (0, vec![0; 1 << 20]);
    loop {
        match tokio::time::timeout(LONG, stream.read(&mut piece)).await.unwrap().unwrap() {
            // Having taken it all, it says no more, and is idle like anybody else.
            0 => break,
            count => got += count,
        }
        // In all longer than the patience of the server.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(got > 32 << 20, "{got}");
    server.stop().await;
}

#[tokio::test]
async fn an_upload_that_stops_is_not_waited_for_and_what_came_is_kept() {
    let server = Server::start(Limits { reading: Measure { full: SHORT, bytes_per_sec_min: 1 << 20 }, ..long() }).await;
    let content = noise(5, 100_000);
    let digest = updraft_core::digest::Digest::of(&content);
    let mut stream = server.connect().await;
    let head = format!(
        "PUT /api/v1/apps/demo/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
        server.scene.token.reveal(),
        content.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&content[..40_000]).await.unwrap();
    let said = String::from_utf8(to_the_end(&mut stream).await).unwrap();
    assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("too slowly"), "{said}");
    let state = server.scene.admin("GET", &format!("/api/v1/apps/demo/uploads/{digest}"), "").await;
    assert_eq!(state.json()["offset"], 40_000);
    server.stop().await;
}

#[tokio::test]
async fn a_head_has_16_kib_and_no_more() {
    let server = Server::start(long()).await;
    for (len, status) in [(15 << 10, "200"), (17 << 10, "431")] {
        let mut stream = server.connect().await;
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: {}\r\n\r\n", "x".repeat(len));
        stream.write_all(request.as_bytes()).await.unwrap();
        let said = String::from_utf8_lossy(&to_the_end(&mut stream).await).into_owned();
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{len}: {said}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_check_that_finds_nothing_new_is_one_kilobyte_in_all() {
    let server = Server::start(long()).await;
    let tag = server.scene.get("/apps/demo/head").await.header("etag").to_owned();
    let mut stream = server.connect().await;
    let request = format!(
        "GET /apps/demo/head HTTP/1.1\r\nHost: updates.example.com\r\nUser-Agent: updraft-agent/0.1.0\r\nIf-None-Match: {tag}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let said = answer(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 304 "), "{said}");
    assert!(request.len() + said.len() <= 512, "{} bytes", request.len() + said.len());
    server.stop().await;
}

#[tokio::test]
async fn a_head_request_has_a_length_and_no_bytes() {
    let server = Server::start(long()).await;
    let mut stream = server.connect().await;
    stream.write_all(b"HEAD /small HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let said = String::from_utf8(to_the_end(&mut stream).await).unwrap().to_ascii_lowercase();
    assert!(said.starts_with("http/1.1 200 ") && said.contains("\r\ncontent-length: 10\r\n"), "{said}");
    assert!(said.ends_with("\r\n\r\n"), "{said}");
    server.stop().await;
}

#[tokio::test]
async fn further_connections_wait_for_a_place() {
    let server = Server::start(Limits { connections_max: 1, ..long() }).await;
    let mut first = server.connect().await;
    let request = b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n";
    first.write_all(request).await.unwrap();
    answer(&mut first).await;
    let mut second = server.connect().await;
    second.write_all(request).await.unwrap();
    let mut byte = [0; 1];
    assert!(tokio::time::timeout(SHORT, second.read(&mut byte)).await.is_err(), "it was answered at once");
    drop(first);
    assert!(answer(&mut second).await.ends_with("0123456789"));
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_ends_what_it_began_and_begins_nothing() {
    let server = Server::start(long()).await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    answer(&mut idle).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 1];
    busy.read_exact(&mut first).await.unwrap();

    let address = server.address;
    let stopping = tokio::spawn(server.stop());
    assert_eq!(to_the_end(&mut idle).await, b"");
    let rest = to_the_end(&mut busy).await;
    assert!(rest.len() > 32 << 20, "the answer was torn: {}", rest.len());
    tokio::time::timeout(LONG, stopping).await.unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn answers_that_do_not_end_are_cut_off() {
    let server = Server::start(Limits { drain_timeout: SHORT, ..long() }).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    busy.read_exact(&mut [0; 1]).await.unwrap();
    server.stop().await;
    assert!(to_the_end(&mut busy).await.len() < 32 << 20);
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = bind(address).await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("--listen"), "{error}");
}
