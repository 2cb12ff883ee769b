//! Finding a target in a tree of delegations (TUF 5.6.7).
//!
//! Our own apps need none of this: their two targets roles are known by name, and read by [`super::refresh()`]. It is here so
//! that repositories of others can be read by the same code that devices run.

use std::collections::BTreeSet;

use super::refresh::Driver;
use super::{Cache, RefreshError, Role, Source, TargetFile, Trusted};
use crate::limits::DELEGATIONS_VISITED_MAX;

/// What the most trusted role that knows the target at `path` says of it; `None` where no role may speak of it and does.
///
/// `trusted` is what [`super::refresh()`] came to believe. Roles are searched before those that they delegate to, and in
/// the order in which they are delegated to; each once, and 32 at most. Those that are read on the way are kept in `cache`.
///
/// # Errors
/// When a role on the way cannot be had or is not believed: what it would have said may have come first.
pub fn find_target<S: Source, C: Cache>(
    trusted: &mut Trusted,
    path: &str,
    source: &mut S,
    cache: &mut C,
) -> Result<Option<TargetFile>, RefreshError<S::Error, C::Error>> {
    let mut driver = Driver { trusted, source, cache, changed: false };
    let mut visited = BTreeSet::new();
    // A stack: the next role to visit is the last.
    let mut waiting = vec![(Role::Targets, None)];
    while let Some((role, delegator)) = waiting.pop() {
        // TUF 5.6.7.1: cycles are left, and so is a tree without end.
        if visited.contains(&role) {
            continue;
        }
        if visited.len() > DELEGATIONS_VISITED_MAX {
            break;
        }
        if let Some(delegator) = &delegator {
            driver.targets(&role, Some(delegator))?;
        }
        let Some(targets) = driver.trusted.targets(&role) else { break };
        if let Some(file) = targets.targets.get(path) {
            return Ok(Some(file.clone()));
        }
        // TUF 5.6.7.2: those that may speak of it, in order of appearance; a terminating one ends the search behind it.
        let mut next = Vec::new();
        let delegated = targets.delegations.iter().flat_map(|delegations| &delegations.roles);
        for delegated in delegated.filter(|delegated| delegated.may_speak_of(path)) {
            next.push((Role::from_name(&delegated.name), Some(role.clone())));
            if delegated.terminating {
                waiting.clear();
                break;
            }
        }
        waiting.extend(next.into_iter().rev());
        visited.insert(role);
    }
    Ok(None)
}
