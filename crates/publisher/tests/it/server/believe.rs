//! A device that looks at the server in memory.

use std::convert::Infallible;

use updraft_core::Timestamp;
use updraft_core::head::Head;
use updraft_core::layout;
use updraft_core::name::AppName;
use updraft_core::trust::{MetadataFile, Source, Trusted, refresh};
use updraft_testkit::MemoryCache;

use super::Live;

/// What a device that remembers `live.device` believes of `live`, and what it then remembers.
pub(super) fn believe(app: &AppName, live: &Live, now: Timestamp) -> Result<(Trusted, MemoryCache), String> {
    struct Metadata<'a>(&'a AppName, &'a Live);
    impl Source for Metadata<'_> {
        type Error = Infallible;
        fn head(&mut self) -> Result<Option<Head>, Infallible> {
            Ok(self.1.head.clone())
        }
        fn fetch(&mut self, file: &MetadataFile, _: u64) -> Result<Option<Vec<u8>>, Infallible> {
            Ok(self.1.objects.get(&layout::metadata(self.0, file)).cloned())
        }
    }
    let root = live.objects.get(&layout::first_root(app)).expect("an app has a root");
    let mut device = live.device.clone();
    let refreshed = refresh(root, now, &mut Metadata(app, live), &mut device).map_err(|e| e.to_string())?;
    Ok((refreshed.trusted, device))
}
