//! Uploads that break, go on, lie, and take over from each other.

use bytes::Bytes;
use updraft_core::digest::Digest;
use updraft_core::layout;
use updraft_core::tree::stored::Encoding;
use updraft_server::depot::{Depot, Error};
use updraft_server::store::Store;
use updraft_testkit::{clock, noise};

use super::depot_support::*;

async fn depot() -> Depot {
    let (store, online) = with_one_release().await;
    open(&store, &online, clock::now()).await
}

async fn stored(store: &Store, digest: Digest) -> Option<Bytes> {
    let key = layout::blob(&app(), digest, Encoding::Raw);
    store.read(&key, 10 << 20).await.unwrap().map(|(bytes, _)| bytes)
}

#[tokio::test]
async fn an_upload_goes_on_where_it_broke() {
    let depot = depot().await;
    let content = noise(1, 1 << 20);
    let digest = Digest::of(&content);
    let mut sent = 0;
    for stop in [1, 300_000, 300_001, 900_000] {
        assert_eq!(depot.upload_offset(&app(), digest, Encoding::Raw).await.unwrap(), sent as u64);
        let mut upload = depot.upload(&app(), digest, Encoding::Raw, sent as u64).await.unwrap();
        assert!(!upload.is_stored());
        for piece in content[sent..stop].chunks(100_000) {
            upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        sent = stop;
    }
    let wrong = depot.upload(&app(), digest, Encoding::Raw, 0).await.unwrap_err();
    assert!(matches!(wrong, Error::Offset { have: 900_000, asked: 0 }), "{wrong}");
    assert_eq!(stored(depot.store(), digest).await, None);
    let mut upload = depot.upload(&app(), digest, Encoding::Raw, sent as u64).await.unwrap();
    upload.write(Bytes::copy_from_slice(&content[sent..])).await.unwrap();
    upload.finish().await.unwrap();
    assert_eq!(stored(depot.store(), digest).await.unwrap(), content);
    assert_eq!(depot.upload_offset(&app(), digest, Encoding::Raw).await.unwrap(), 0);

    // Again: the server says so at once, and takes whatever is sent all the same.
    let mut again = depot.upload(&app(), digest, Encoding::Raw, 0).await.unwrap();
    assert!(again.is_stored());
    again.write(Bytes::from_static(b"whatever")).await.unwrap();
    again.finish().await.unwrap();
    assert_eq!(stored(depot.store(), digest).await.unwrap(), content);
}

#[tokio::test]
async fn bytes_that_are_not_the_blob_are_thrown_away() {
    let depot = depot().await;
    let content = noise(2, 5_000);
    let digest = Digest::of(&content);
    for (sent, encoding) in [
        (&content[..4_999], Encoding::Raw),
        (&content[..], Encoding::Zstd),
        (&[][..], Encoding::Raw),
        (&[&content[..], b"x"].concat(), Encoding::Raw),
    ] {
        let mut upload = depot.upload(&app(), digest, encoding, 0).await.unwrap();
        upload.write(Bytes::copy_from_slice(sent)).await.unwrap();
        let error = upload.finish().await.unwrap_err();
        assert!(matches!(&error, Error::Refused(reason) if reason.contains("send it again")), "{error}");
        assert_eq!(depot.upload_offset(&app(), digest, encoding).await.unwrap(), 0);
    }
    assert_eq!(depot.missing(&app(), &[digest]).await.unwrap(), [None]);
    upload(&depot, &content).await.unwrap();
}

#[tokio::test]
async fn a_newer_upload_takes_over() {
    let depot = depot().await;
    let content = noise(3, 1 << 20);
    let digest = Digest::of(&content);
    let mut old = depot.upload(&app(), digest, Encoding::Raw, 0).await.unwrap();
    old.write(Bytes::copy_from_slice(&content[..600_000])).await.unwrap();
    let have = depot.upload_offset(&app(), digest, Encoding::Raw).await.unwrap();
    let mut new = depot.upload(&app(), digest, Encoding::Raw, have).await.unwrap();
    let late = old.write(Bytes::copy_from_slice(&content[600_000..])).await;
    assert!(matches!(late, Err(Error::Superseded(_))), "{late:?}");
    drop(old);
    new.write(Bytes::copy_from_slice(&content[have as usize..])).await.unwrap();
    new.finish().await.unwrap();
    assert_eq!(stored(depot.store(), digest).await.unwrap(), content);
}

#[tokio::test]
async fn a_caller_that_goes_away_in_the_middle_of_the_end_loses_nothing() {
    let depot = depot().await;
    let content = noise(4, 300_000);
    let digest = Digest::of(&content);
    let mut upload = depot.upload(&app(), digest, Encoding::Raw, 0).await.unwrap();
    upload.write(content.clone().into()).await.unwrap();
    let finishing = tokio::time::timeout(std::time::Duration::ZERO, upload.finish());
    let was_cut = finishing.await.is_err();
    // Whoever comes next waits until it is decided, and finds it stored or as it was.
    let have = if was_cut { content.len() as u64 } else { 0 };
    match depot.upload(&app(), digest, Encoding::Raw, have).await {
        Ok(next) => next.finish().await.unwrap(),
        Err(Error::Offset { have: 0, .. }) => {}
        Err(error) => panic!("{error}"),
    }
    assert_eq!(stored(depot.store(), digest).await.unwrap(), content);
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let depot = depot().await;
    upload(&depot, b"").await.unwrap();
    assert_eq!(stored(depot.store(), Digest::of(b"")).await.unwrap(), Bytes::new());
}
