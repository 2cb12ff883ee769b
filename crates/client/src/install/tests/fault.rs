//! Lets a chosen change to the disk fail, or every one from there on, as if the process had died.

use std::cell::RefCell;
use std::path::Path;

use super::super::Error;

/// What happens at the chosen change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: changes are only counted.
    None,
    /// It and every later one fails: the process is dead, nothing it would do is done.
    Die,
    /// It alone fails, with this error number.
    Fail(i32),
}

#[derive(Debug)]
struct Plan {
    fault: Fault,
    at: u64,
    only: Option<&'static str>,
    seen: u64,
    last: String,
}

thread_local! {
    static PLAN: RefCell<Option<Plan>> = const { RefCell::new(None) };
}

/// Runs `run` with `fault` at its change number `at` (from 0), of those whose operation is `only` if it is given.
/// Returns how many such changes there were.
pub(crate) fn with<T>(fault: Fault, at: u64, only: Option<&'static str>, run: impl FnOnce() -> T) -> (T, u64, String) {
    PLAN.with_borrow_mut(|plan| *plan = Some(Plan { fault, at, only, seen: 0, last: String::new() }));
    let value = run();
    let plan = PLAN.with_borrow_mut(Option::take).expect("it was put there");
    (value, plan.seen, plan.last)
}

/// Asked before every change.
pub(crate) fn gate(op: &'static str, at: &Path) -> Result<(), Error> {
    BEFORE.with_borrow_mut(|before| match before {
        Some((wanted, act)) if *wanted == op => act(),
        _ => {}
    });
    PLAN.with_borrow_mut(|plan| {
        let Some(plan) = plan else { return Ok(()) };
        if plan.only.is_some_and(|only| only != op) {
            return Ok(());
        }
        let number = plan.seen;
        plan.seen += 1;
        let hit = match plan.fault {
            Fault::None => None,
            Fault::Die if number >= plan.at => Some(5),
            Fault::Fail(errno) if number == plan.at => Some(errno),
            _ => None,
        };
        match hit {
            Some(errno) => {
                if number == plan.at {
                    plan.last = format!("{op} {}", at.display());
                }
                Err(Error::Injected(errno))
            }
            None => Ok(()),
        }
    })
}

type Act = Box<dyn FnMut()>;

thread_local! {
    static BEFORE: RefCell<Option<(&'static str, Act)>> = const { RefCell::new(None) };
}

/// Runs `run`, and `act` before each change of this kind: what somebody else does at the same time.
pub(crate) fn before<T>(op: &'static str, act: impl FnMut() + 'static, run: impl FnOnce() -> T) -> T {
    BEFORE.set(Some((op, Box::new(act))));
    let value = run();
    BEFORE.set(None);
    value
}
