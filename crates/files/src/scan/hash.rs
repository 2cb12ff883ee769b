//! Reading files, a few at a time.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use updraft_core::digest::{Digest, Hasher};
use updraft_core::path::RelPath;

use super::Hooks;
use crate::dir::{self, Dir, stat_file};
use crate::index::Stamp;

/// How much is read at once: enough for full speed, little enough for many.
const PIECE_LEN: usize = 1 << 20;

/// Most threads: an updater shares the machine with the program that it updates.
const THREADS_MAX: usize = 8;

/// A file to hash, and the stamp that it must have before and after.
pub(super) struct Job {
    pub(super) path: RelPath,
    pub(super) stamp: Stamp,
}

/// What became of a job.
pub(super) enum Outcome {
    Hashed(Digest),
    /// The file is not, or not all the time, what the walk saw.
    Changed,
    Unreadable(dir::Error),
}

enum Report {
    Read(u64),
    Done(Job, Outcome),
}

/// Hashes every file of `jobs`, in no order.
pub(super) fn all(dir: &Dir, jobs: Vec<Job>, hooks: &Hooks<'_>) -> Vec<(Job, Outcome)> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX).min(jobs.len());
    let mut done = Vec::with_capacity(jobs.len());
    let jobs = Mutex::new(jobs.into_iter());
    let next = || jobs.lock().expect("nobody panics while taking a job").next();
    let opened = hooks.opened;
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(64);
        for _ in 0..threads {
            let sender = sender.clone();
            scope.spawn(move || work(dir, next, opened, &sender));
        }
        drop(sender);
        for report in receiver {
            match report {
                Report::Read(len) => (hooks.progress)(len),
                Report::Done(job, outcome) => done.push((job, outcome)),
            }
        }
    });
    done
}

fn work(dir: &Dir, next: impl Fn() -> Option<Job>, opened: &(dyn Fn(&RelPath) + Sync), reports: &SyncSender<Report>) {
    let mut piece = vec![0; PIECE_LEN];
    while let Some(job) = next() {
        let outcome = hash(dir, &job, opened, &mut piece, &mut |len| drop(reports.send(Report::Read(len))));
        if reports.send(Report::Done(job, outcome)).is_err() {
            return;
        }
    }
}

fn hash(
    dir: &Dir,
    job: &Job,
    opened: &(dyn Fn(&RelPath) + Sync),
    piece: &mut [u8],
    progress: &mut dyn FnMut(u64),
) -> Outcome {
    let at = Path::new(job.path.as_str());
    let mut file = match dir.open_file(at) {
        Ok(file) => file,
        // Gone, or something else by now: the next walk will see it.
        Err(error) if error.is_absent() || error.kind() == io::ErrorKind::InvalidInput => return Outcome::Changed,
        Err(error) => return Outcome::Unreadable(error),
    };
    let unreadable = |cause| Outcome::Unreadable(dir::Error::new("read", dir.path().join(at), cause));
    match stat_file(&file) {
        Ok(stat) if Stamp::from(&stat) != job.stamp => return Outcome::Changed,
        Ok(_) => opened(&job.path),
        Err(cause) => return unreadable(cause),
    }
    let mut hasher = Hasher::new();
    // A file that grows as fast as it is read must not hold us for ever.
    while hasher.len() <= job.stamp.size {
        match file.read(piece) {
            Ok(0) => break,
            Ok(len) => {
                hasher.update(&piece[..len]);
                progress(len as u64);
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return unreadable(cause),
        }
    }
    match stat_file(&file) {
        Ok(stat) if Stamp::from(&stat) == job.stamp && hasher.len() == job.stamp.size => {
            Outcome::Hashed(hasher.finish())
        }
        Ok(_) => Outcome::Changed,
        Err(cause) => unreadable(cause),
    }
}
