//! How a release gets here: what each way costs, and going it.
//!
//! A patch is fetched instead of the tree and the blobs: it brings the tree itself. So does a bundle, which is a patch from
//! nothing, for a device that lacks most of the release. Should it be no good, the tree and the blobs that changed are
//! fetched, in the same call.

use updraft_core::digest::Digest;
use updraft_core::path::RESERVED_DIR;
use updraft_core::plan::{self, Offer, Offers, Plan, Route};
use updraft_core::tree::stored::repack;
use updraft_core::tree::{Tree, patch as numbers};
use updraft_files::Dir;

use super::Updater;
use crate::check::{Price, Update};
use crate::download;
use crate::download::patch::{self, Blame, Installed, Job, Refusal, Stop};
use crate::error::Error;
use crate::fetched::{self, FellBack};
use crate::home;
use crate::install;
use crate::offer;
use crate::progress::{Phase, Progress};
use crate::record::Record;
use crate::staged::Staged;

/// Whole blobs up to this length cost less than asking for anything better.
const PATCH_ASKED_FROM: u64 = 8 << 10;

impl Updater {
    /// Finds out what `update` costs, and by which way that is.
    pub(super) fn price(&self, update: &mut Update, record: Option<&Record>) -> Result<(), Error> {
        let downloads = self.home.downloads()?;
        let have = record.map(|record| install::have(&self.home, &record.tree)).transpose()?;
        let said = record.and_then(|record| Price::said(&update.release, record.release.tree.digest));
        // What whole blobs cost from here, as far as that can be known.
        let mut blobs = said.map(|said| said.fetch_bytes);
        // With the list of files at hand, from a download that was begun, the price is known.
        if let Some(kept) = download::kept_tree(&update.release.tree, &downloads) {
            let have = install::have(&self.home, &kept.tree)?;
            let plan = plan::plan(&have, &kept.tree, &Offers { blobs: kept.hint, ..Offers::default() });
            update.price = Price::of(&plan, kept.packed.len() as u64);
            blobs = Some(plan.fetch_bytes() - download::here_bytes(&plan, &downloads)?);
        } else if let (Some(record), Some(have), Some(said)) = (record, &have, said)
            && record.tree == *have
        {
            // Nothing here was edited, so the publisher's figure for this very tree is what will travel.
            update.price = said;
        } else if record.is_some() {
            // Something is here, and how much of it can stay is not known yet.
            update.price.route = Route::Blobs;
        }
        if let (Some(record), Some(have)) = (record, have) {
            self.price_patch(update, record, &have, blobs.unwrap_or(update.price.fetch_bytes))?;
        }
        if record.is_none() && self.is_bare()? {
            blobs = blobs.or(Some(update.release.tree.stored));
        }
        match blobs {
            Some(blobs) if update.patch.is_none() => self.price_bundle(update, blobs),
            _ => Ok(()),
        }
    }

    /// Asks for a patch from what is installed, and prefers it where it is cheaper than `blobs`.
    fn price_patch(&self, update: &mut Update, record: &Record, have: &Tree, blobs: u64) -> Result<(), Error> {
        if let Some(offer) = self.cheaper(record.release.tree.digest, update, blobs)? {
            // A content that was edited away here may be wanted, and then it is fetched whole.
            let lost = numbers::lacking(have, &record.tree).iter().map(|file| file.size).sum();
            update.price = Price::by_patch(&update.release, &offer, lost, lost == 0);
            update.patch = Some(Box::new(offer));
        }
        Ok(())
    }

    /// Asks for the bundle, where so much is lacking that it may be cheaper than `blobs`, and prefers it if it is.
    fn price_bundle(&self, update: &mut Update, blobs: u64) -> Result<(), Error> {
        if plan::is_bundle_likely(blobs, update.release.tree.stored)
            && let Some(offer) = self.cheaper(numbers::nothing(), update, blobs)?
        {
            update.price = Price::by_patch(&update.release, &offer, 0, true);
            update.patch = Some(Box::new(offer));
        }
        Ok(())
    }

    /// A patch from the tree `from`, if the source has one that is not known to be bad, and less of it is to come than `blobs`.
    fn cheaper(&self, from: Digest, update: &Update, blobs: u64) -> Result<Option<offer::Offer>, Error> {
        let to = update.release.tree.digest;
        if blobs <= PATCH_ASKED_FROM || from == to {
            return Ok(None);
        }
        let Some(offer) = offer::ask(self.place(), from, to).map_err(download::Error::from)? else { return Ok(None) };
        if fetched::is_bad(self.home.folder(), &offer) {
            return Ok(None);
        }
        let to_come = offer.bytes.saturating_sub(patch::here_bytes(&offer, &self.home.downloads()?)?);
        let offers = [Offer { route: offer.route(), bytes: to_come }, Offer { route: Route::Blobs, bytes: blobs }];
        Ok((plan::routes(offers)[0].route == offer.route()).then_some(offer))
    }

    /// Whether nothing lies where the app is to be installed.
    fn is_bare(&self) -> Result<bool, Error> {
        let Ok(dir) = self.home.open_dir() else { return Ok(true) };
        let entries = dir.entries().map_err(home::Error::from)?;
        Ok(entries.iter().all(|entry| entry.name == RESERVED_DIR))
    }

    /// Fetches `update`, by the cheapest way that leads there.
    pub(super) fn fetch(&self, update: &Update, progress: &dyn Progress) -> Result<Staged, Error> {
        progress.phase(Phase::Planning);
        let downloads = self.home.downloads()?;
        let Some(offer) = &update.patch else {
            return self.by_blobs(update, None, &downloads, progress);
        };
        let refusal = match self.by_patch(update, offer, &downloads, progress)? {
            Ok(staged) => return Ok(staged),
            Err(refusal) => refusal,
        };
        if refusal.blame == Blame::Patch {
            fetched::shun(self.home.folder(), offer, &refusal.reason);
        }
        let fell_back = FellBack { from: offer.route(), reason: refusal.reason, bytes: refusal.fetched };
        progress.fell_back(&fell_back);
        self.by_blobs(update, Some(fell_back), &downloads, progress)
    }

    /// By a patch. It brings the tree itself; what it was not made for, because it was edited away here, is fetched as blobs.
    fn by_patch(
        &self,
        update: &Update,
        offer: &offer::Offer,
        downloads: &Dir,
        progress: &dyn Progress,
    ) -> Result<Result<Staged, Refusal>, Error> {
        let signed = &update.release.tree;
        if offer.to != signed.digest {
            return Ok(Err(Refusal::not_now("it is of another release")));
        }
        let old = match self.installed(offer)? {
            Ok(old) => old,
            Err(refusal) => return Ok(Err(refusal)),
        };
        progress.planned(&update.price);
        let job = Job { place: self.place(), offer, old: &old, signed, downloads, progress };
        let made = match patch::make(&job) {
            Ok(made) => made,
            Err(Stop::Refused(refusal)) => return Ok(Err(refusal)),
            Err(Stop::Failed(error)) => return Err(error.into()),
        };
        let have = install::have(&self.home, &made.tree)?;
        let plan = plan::plan(&have, &made.tree, &Offers { made: made.contents, ..Offers::default() });
        let price = Price::by_patch(&update.release, offer, plan.fetch_bytes(), plan.is_exact());
        download::sweep(&plan, Some(offer), downloads)?;
        if !plan.fetch.is_empty() {
            progress.phase(Phase::Fetching);
            download::blobs(self.place(), &plan, downloads, self.jobs, progress)?;
        }
        let packed = repack(&made.tree);
        Ok(Ok(staged(update, (made.tree, packed), plan, price, None)))
    }

    /// What there is for a patch to read, if it is what the patch was made from.
    fn installed(&self, offer: &offer::Offer) -> Result<Result<Installed, Refusal>, Error> {
        if offer.is_bundle() {
            return Ok(Ok(Installed::default()));
        }
        let record = self.home.record()?.filter(|record| record.release.tree.digest == offer.from);
        let Some(record) = record else { return Ok(Err(Refusal::not_now("another release was installed meanwhile"))) };
        let dir = match self.home.open_dir() {
            Ok(dir) => Some(dir),
            Err(error) => return Ok(Err(Refusal::not_now(error))),
        };
        let have = install::have(&self.home, &record.tree)?;
        Ok(Ok(Installed { tree: record.tree, have, dir }))
    }

    /// By the tree's document, and the blobs of it that are not here.
    fn by_blobs(
        &self,
        update: &Update,
        fell_back: Option<FellBack>,
        downloads: &Dir,
        progress: &dyn Progress,
    ) -> Result<Staged, Error> {
        let fetched = download::tree(self.place(), &update.release.tree, downloads)?;
        let have = install::have(&self.home, &fetched.tree)?;
        let plan = plan::plan(&have, &fetched.tree, &Offers { blobs: fetched.hint, ..Offers::default() });
        let price = Price::of(&plan, fetched.packed.len() as u64);
        progress.planned(&price);
        // A patch that could not be used this time may do the next time.
        download::sweep(&plan, update.patch.as_deref(), downloads)?;
        progress.phase(Phase::Fetching);
        let blobs = || download::blobs(self.place(), &plan, downloads, self.jobs, progress);
        match blobs() {
            // What is here of the patch takes room that this way needs.
            Err(download::Error::NoSpace { .. }) if update.patch.is_some() => {
                download::sweep(&plan, None, downloads)?;
                blobs()?;
            }
            fetched => fetched?,
        }
        Ok(staged(update, (fetched.tree, fetched.packed), plan, price, fell_back))
    }
}

fn staged(
    update: &Update,
    (tree, packed_tree): (Tree, Vec<u8>),
    plan: Plan,
    price: Price,
    fell_back: Option<FellBack>,
) -> Staged {
    Staged {
        release: (*update.release).clone(),
        document: update.document.clone(),
        tree,
        packed_tree,
        plan,
        price,
        fell_back,
        chooser: update.chooser,
    }
}
