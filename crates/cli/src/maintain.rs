//! `updraft gc` and `updraft fsck`: over a running server, or on a data directory that nobody uses just now.

use updraft_agent::ui::{Exit, say, say_json, size, warn};
use updraft_core::Timestamp;
use updraft_core::api::{FsckReport, GcReport, GcRequest};
use updraft_server::config::Config;
use updraft_server::depot::{Depot, OnlineKeys, Repair};
use updraft_server::store::Store;

use crate::args::{Fsck, Gc, Maintain};
use crate::remote;

pub(crate) fn gc(args: &Gc) -> anyhow::Result<Exit> {
    let request = GcRequest { dry_run: args.dry_run };
    let report: GcReport = match offline(&args.at)? {
        Some((runtime, depot)) => runtime.block_on(depot.gc(request, Timestamp::now()))?,
        None => remote::connect(&args.at.server)?.post("gc", &request)?,
    };
    if args.at.json {
        say_json(&report)?;
        return Ok(Exit::Done);
    }
    let GcReport { kept, condemned, waiting, pardoned, deleted, deleted_bytes } = report;
    let would = if args.dry_run { " would be" } else { "" };
    say(format_args!("{kept} objects are needed"));
    say(format_args!(
        "{condemned}{would} condemned now, {waiting} wait for the end of their grace, {pardoned} pardoned"
    ));
    say(format_args!("{deleted}{would} deleted, {}", size(deleted_bytes)));
    Ok(Exit::Done)
}

pub(crate) fn fsck(args: &Fsck) -> anyhow::Result<Exit> {
    let report: FsckReport = match offline(&args.at)? {
        Some((runtime, depot)) => {
            let repair = if args.repair { Repair::WhatCanBe } else { Repair::Nothing };
            runtime.block_on(depot.fsck(repair))?
        }
        None => {
            let path = if args.repair { "fsck?repair=true" } else { "fsck" };
            remote::connect(&args.at.server)?.post(path, &serde_json::json!({}))?
        }
    };
    let exit = if report.problems.is_empty() { Exit::Done } else { Exit::Verification };
    if args.at.json {
        say_json(&report)?;
        return Ok(exit);
    }
    for problem in &report.problems {
        warn(format_args!("problem: {problem}"));
    }
    let verdict = if report.problems.is_empty() {
        "no problems".to_owned()
    } else {
        format!("{} problems", report.problems.len())
    };
    say(format_args!("{} objects, {} checked: {verdict}", report.checked, size(report.checked_bytes)));
    Ok(exit)
}

/// The depot in `--data`, when that was given, with the operator's settings. It takes the directory's lock: a running
/// server keeps it.
fn offline(at: &Maintain) -> anyhow::Result<Option<(tokio::runtime::Runtime, Depot)>> {
    let Some(data) = &at.data else { return Ok(None) };
    anyhow::ensure!(data.join("store").is_dir(), "{} is not the data directory of a server", data.display());
    let file = at.config.iter().map(|file| ("config".to_owned(), file.display().to_string()));
    let config = Config::load(file, std::env::vars_os(), data)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let store = Store::local(&data.join("store"))?;
    let keys = OnlineKeys::directory(&data.join("keys"));
    let depot = runtime.block_on(Depot::open(store, keys, config.depot_options(), Timestamp::now()))?;
    Ok(Some((runtime, depot)))
}
