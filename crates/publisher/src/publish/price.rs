//! What an update to a new release costs from those that devices are likely to have.
//!
//! The figures are signed with the release, so that a device can say what an update will fetch before it fetches a list of
//! files. They are for people: a tree that cannot be had is left out, and nothing is refused on their account.

use updraft_core::layout;
use updraft_core::limits::{FROM_TREES_MAX, TREE_LEN_MAX};
use updraft_core::plan::{Offers, plan};
use updraft_core::release::{FromTree, Release};
use updraft_core::tree::Tree;
use updraft_core::tree::stored::{Hint, unpack};

use super::Wanted;
use crate::base::Base;
use crate::remote::Remote;

/// What an update from each live release of `wanted`'s platform costs, the newest first. `hint` says how the blobs of
/// `tree` are stored, and `packed_len` is the length of its document.
pub(super) fn from_live(
    remote: &dyn Remote,
    base: &Base,
    wanted: &Wanted,
    tree: &Tree,
    hint: &Hint,
    packed_len: u64,
) -> Vec<FromTree> {
    let offers = Offers { blobs: hint.clone(), ..Offers::default() };
    let mut live: Vec<_> = base.live().filter(|live| live.name.platform == wanted.platform).collect();
    live.sort_by(|a, b| b.name.version.cmp(&a.name.version));
    let mut prices: Vec<FromTree> = Vec::new();
    for live in live.into_iter().take(FROM_TREES_MAX) {
        let Ok(release) = base.document(remote, &live) else { continue };
        let digest = release.tree.digest;
        if prices.iter().any(|price| price.tree == digest) {
            continue;
        }
        let Some(old) = read_tree(remote, wanted, &release) else { continue };
        let bytes = plan(&old, tree, &offers).fetch_bytes() + packed_len;
        prices.push(FromTree { tree: digest, bytes });
    }
    prices
}

fn read_tree(remote: &dyn Remote, wanted: &Wanted, release: &Release) -> Option<Tree> {
    let key = layout::tree(&wanted.app, release.tree.digest);
    let packed = remote.read(&key, TREE_LEN_MAX).ok()??;
    unpack(&packed, release.tree.digest, release.tree.length).ok().map(|(tree, _)| tree)
}
