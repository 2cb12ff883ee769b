//! HTTPS with an authority of one's own: who is taken for the server, and that the authority is remembered.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use updraft_client::fetch::authority::{Authority, Vouching};
use updraft_client::{Class, Error, InstallOptions, OpenOptions, Pin, Source, Updater, Verdict};
use updraft_testkit::{SimRepo, TreeFixture, clock};

use crate::support::TestClock;

fn file(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls").join(name)).unwrap()
}

fn authority() -> Authority {
    Authority::parse(&file("ca.pem")).unwrap()
}

/// Serves the repository with this certificate, and answers until the test ends.
fn serve(repo: &SimRepo, certificate: &str) -> String {
    let certificate = CertificateDer::from_pem_slice(&file(certificate)).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&file("server.key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let repo = repo.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that does not like the certificate hangs up.
            let _ = answer(&repo, &config, stream.unwrap());
        }
    });
    base
}

fn answer(repo: &SimRepo, config: &Arc<ServerConfig>, stream: TcpStream) -> std::io::Result<()> {
    let tls = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(tls, stream));
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && stream.by_ref().take(8_192).read_line(&mut head)? > 0 {}
    let path = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let found = repo.objects().iter().find(|(key, _)| key.as_str() == path).map(|(_, bytes)| bytes);
    let (status, body) = found.map_or(("404 Not Found", &b""[..]), |bytes| ("200 OK", bytes));
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let stream = stream.get_mut();
    stream.write_all(&[head.as_bytes(), body].concat())?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn repo() -> SimRepo {
    let mut repo = SimRepo::new("demo");
    let release = repo.publish("1.0.0", "any", &TreeFixture::of(&[("app*", "one")]));
    repo.promote("stable", &release);
    repo
}

fn install(dir: &Path, base: &str, repo: &SimRepo, ca: Option<Authority>) -> Result<Updater, Error> {
    let source = Source::url(&format!("{base}/apps/demo")).unwrap();
    let mut options = InstallOptions::new(source, Pin::Sha256(repo.root_sha256()));
    options.open = opened(ca);
    Updater::install(dir, options)
}

fn opened(ca: Option<Authority>) -> OpenOptions {
    OpenOptions { ca: ca.map(Vouching::Own), clock: Some(Arc::new(TestClock::default())), ..OpenOptions::default() }
}

#[track_caller]
fn unreachable(outcome: Result<impl Sized, Error>, words: &str) {
    let error = outcome.map(|_| ()).unwrap_err();
    assert_eq!(error.class(), Class::Unreachable, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn an_authority_of_ones_own_is_believed_when_it_is_named_and_remembered() {
    let (repo, folder) = (repo(), tempfile::tempdir().unwrap());
    let (base, dir) = (serve(&repo, "server.pem"), folder.path().join("app"));
    unreachable(install(&dir, &base, &repo, None), "name that one's certificate with --ca FILE");
    assert!(!dir.exists());
    let mut updater = install(&dir, &base, &repo, Some(authority())).unwrap();
    assert!(matches!(updater.check(clock::now()), Ok(Verdict::Available(_))));
    drop(updater);
    let mut later = Updater::open(&dir, opened(None)).unwrap();
    assert!(matches!(later.check(clock::now()), Ok(Verdict::Available(_))));
}

/// Organisations replace their authorities, too: a check with the new one is enough, and a wrong one is not kept.
#[test]
fn an_authority_is_replaced_by_one_that_works() {
    let (repo, folder) = (repo(), tempfile::tempdir().unwrap());
    let (base, dir) = (serve(&repo, "server.pem"), folder.path().join("app"));
    drop(install(&dir, &base, &repo, Some(authority())).unwrap());
    // The server's own certificate is no authority for another.
    let wrong = Authority::parse(&file("expired.pem")).unwrap();
    let check = |ca| Updater::open(&dir, opened(ca)).unwrap().check(clock::now());
    unreachable(check(Some(wrong.clone())), "certificate");
    assert!(matches!(check(None), Ok(Verdict::Available(_))), "the wrong one was not kept");
    let settings = folder.path().join("app.updraft/settings.json");
    let text = fs::read_to_string(&settings).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["ca"] = String::from(wrong).into();
    fs::write(&settings, value.to_string()).unwrap();
    unreachable(check(None), "certificate");
    assert!(check(Some(authority())).is_ok());
    assert!(check(None).is_ok(), "the new one was kept");
}

#[test]
fn a_certificate_that_is_out_of_date_may_be_a_clock_that_is_wrong() {
    let (repo, folder) = (repo(), tempfile::tempdir().unwrap());
    let base = serve(&repo, "expired.pem");
    let outcome = install(&folder.path().join("app"), &base, &repo, Some(authority()));
    unreachable(outcome, "or this device's clock is wrong");
}

/// Once given, an authority could not be taken back, and what was said of it sent people in a circle.
#[test]
fn an_authority_of_ones_own_is_given_up_for_the_public_ones() {
    let (repo, folder) = (repo(), tempfile::tempdir().unwrap());
    let (base, dir) = (serve(&repo, "server.pem"), folder.path().join("app"));
    drop(install(&dir, &base, &repo, Some(authority())).unwrap());
    let public = || OpenOptions { ca: Some(Vouching::Public), ..opened(None) };
    // No public authority made this one, so it is not kept either.
    let check = |options| Updater::open(&dir, options).unwrap().check(clock::now());
    unreachable(check(public()), "name that one's certificate with --ca FILE");
    assert!(check(opened(None)).is_ok());
    // What does not need one serves to see that it is: a server that the public ones know.
    let settings = folder.path().join("app.updraft/settings.json");
    let read = || serde_json::from_str::<serde_json::Value>(&fs::read_to_string(&settings).unwrap()).unwrap();
    assert!(read().get("ca").is_some());
    let plain = OpenOptions { transport: Some(Arc::new(crate::support::Server::of(repo.clone()))), ..public() };
    assert!(check(plain).is_ok());
    assert!(read().get("ca").is_none());
    // Another authority's certificate, on a device that believes its own only.
    let mut value = read();
    value["ca"] = String::from(Authority::parse(&file("expired.pem")).unwrap()).into();
    fs::write(&settings, value.to_string()).unwrap();
    unreachable(check(opened(None)), "believe the public ones again with --ca public");
}
