//! HTTPS with an authority of one's own: who is taken for the server.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use updraft_publisher::RemoteError;
use updraft_publisher::http::{Http, Options};

/// Certificates that the client's tests have, too.
fn file(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/tests/data/tls").join(name)).unwrap()
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(&file(name)).unwrap()
}

/// A server that has no apps, and how often it was called.
fn serve() -> (String, Arc<AtomicUsize>) {
    let key = PrivateKeyDer::from_pem_slice(&file("server.key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate("server.pem")], key).unwrap();
    let (config, calls) = (Arc::new(config), Arc::new(AtomicUsize::new(0)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let called = Arc::clone(&calls);
    thread::spawn(move || {
        for stream in listener.incoming() {
            called.fetch_add(1, Ordering::SeqCst);
            // Who does not like the certificate hangs up.
            let _ = answer(&config, stream.unwrap());
        }
    });
    (base, calls)
}

fn answer(config: &Arc<ServerConfig>, stream: TcpStream) -> std::io::Result<()> {
    let tls = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(tls, stream));
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && stream.by_ref().take(8_192).read_line(&mut head)? > 0 {}
    let stream = stream.get_mut();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]")?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn apps(base: &str, authority: Option<&str>) -> Result<Vec<String>, RemoteError> {
    let authority = authority.map(|name| vec![certificate(name).to_vec()]);
    Http::new(base, Options { authority, ..Options::default() }).unwrap().get("apps")
}

#[test]
fn an_authority_of_ones_own_counts_and_no_other() {
    let (base, calls) = serve();
    assert_eq!(apps(&base, Some("ca.pem")).unwrap(), Vec::<String>::new());
    for authority in [None, Some("expired.pem")] {
        let before = calls.load(Ordering::SeqCst);
        let said = apps(&base, authority).unwrap_err();
        assert!(matches!(said, RemoteError::Unreachable { .. }), "{said}");
        assert!(said.to_string().contains("name the authority's with --ca FILE"), "{said}");
        assert_eq!(calls.load(Ordering::SeqCst), before + 1, "a certificate that is not taken is not tried again");
    }
}
