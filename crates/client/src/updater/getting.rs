//! How a release gets here: what each way costs, and going it.
//!
//! A patch is fetched instead of the tree and the blobs: it brings the tree itself. Should it be no good, the tree and the
//! blobs that changed are fetched, in the same call.

use updraft_core::plan::{self, Offer, Offers, Plan, Route};
use updraft_core::tree::stored::repack;
use updraft_core::tree::{Tree, patch as numbers};
use updraft_files::Dir;

use super::Updater;
use crate::check::{Price, Update};
use crate::download;
use crate::download::patch::{self, Blame, Job, Refusal, Stop};
use crate::error::Error;
use crate::fetched::{self, FellBack};
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
        Ok(())
    }

    /// Asks for a patch, and prefers it where it is cheaper than `blobs`.
    fn price_patch(&self, update: &mut Update, record: &Record, have: &Tree, blobs: u64) -> Result<(), Error> {
        let (from, to) = (record.release.tree.digest, update.release.tree.digest);
        if blobs <= PATCH_ASKED_FROM || from == to {
            return Ok(());
        }
        let Some(offer) = offer::ask(self.place(), from, to).map_err(download::Error::from)? else { return Ok(()) };
        if fetched::is_bad(self.home.folder(), &offer) {
            return Ok(());
        }
        let offers = [Offer { route: Route::Patch, bytes: offer.bytes }, Offer { route: Route::Blobs, bytes: blobs }];
        if plan::routes(offers)[0].route == Route::Patch {
            // A content that was edited away here may be wanted, and then it is fetched whole.
            let lost = numbers::lacking(have, &record.tree).iter().map(|file| file.size).sum();
            update.price = Price::by_patch(&update.release, offer.bytes, lost, lost == 0);
            update.patch = Some(Box::new(offer));
        }
        Ok(())
    }

    /// Fetches `update`, by the cheapest way that leads there.
    pub(super) fn fetch(&self, update: &Update, progress: &dyn Progress) -> Result<Staged, Error> {
        progress.phase(Phase::Planning);
        let downloads = self.home.downloads()?;
        let (Some(offer), Some(record)) = (&update.patch, self.home.record()?) else {
            return self.by_blobs(update, None, &downloads, progress);
        };
        let refusal = match self.by_patch(update, offer, &record, &downloads, progress)? {
            Ok(staged) => return Ok(staged),
            Err(refusal) => refusal,
        };
        if refusal.blame == Blame::Patch {
            fetched::shun(self.home.folder(), offer, &refusal.reason);
        }
        let fell_back = FellBack { from: Route::Patch, reason: refusal.reason, bytes: refusal.fetched };
        progress.fell_back(&fell_back);
        self.by_blobs(update, Some(fell_back), &downloads, progress)
    }

    /// By a patch from what is installed. It brings the tree itself; what it was not made for, because it was edited away
    /// here, is fetched as blobs.
    fn by_patch(
        &self,
        update: &Update,
        offer: &offer::Offer,
        record: &Record,
        downloads: &Dir,
        progress: &dyn Progress,
    ) -> Result<Result<Staged, Refusal>, Error> {
        let signed = &update.release.tree;
        let dir = match self.home.open_dir() {
            Ok(dir) if (offer.from, offer.to) == (record.release.tree.digest, signed.digest) => dir,
            Ok(_) => return Ok(Err(Refusal::not_now("another release was installed meanwhile"))),
            Err(error) => return Ok(Err(Refusal::not_now(error))),
        };
        progress.planned(&update.price);
        let (old, have) = (&record.tree, install::have(&self.home, &record.tree)?);
        let job = Job { place: self.place(), offer, old, have: &have, dir: &dir, signed, downloads, progress };
        let made = match patch::make(&job) {
            Ok(made) => made,
            Err(Stop::Refused(refusal)) => return Ok(Err(refusal)),
            Err(Stop::Failed(error)) => return Err(error.into()),
        };
        let have = install::have(&self.home, &made.tree)?;
        let plan = plan::plan(&have, &made.tree, &Offers { made: made.contents, ..Offers::default() });
        let price = Price::by_patch(&update.release, offer.bytes, plan.fetch_bytes(), plan.is_exact());
        download::sweep(&plan, Some(offer), downloads)?;
        if !plan.fetch.is_empty() {
            progress.phase(Phase::Fetching);
            download::blobs(self.place(), &plan, downloads, self.jobs, progress)?;
        }
        let packed = repack(&made.tree);
        Ok(Ok(staged(update, (made.tree, packed), plan, price, None)))
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
        release: update.release.clone(),
        document: update.document.clone(),
        tree,
        packed_tree,
        plan,
        price,
        fell_back,
        chooser: update.chooser,
    }
}
