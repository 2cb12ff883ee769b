//! Whether all is well, and how long everything still lives: what `GET /readyz` answers to anybody, and `GET
//! /api/v1/health`, with the details, to whoever has the admin token.
//!
//! The levels are the same words everywhere: in these bodies, in the server's log, in what `updraft doctor` prints.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::name::AppName;

const DAY: i64 = 24 * 60 * 60;

/// How pressing something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing is to be done.
    Ok,
    /// There is time; 30 days at most are left.
    Notice,
    /// It is to be done; 14 days at most are left, or the server did not do its own part in time.
    Warning,
    /// It is to be done now; 7 days at most are left, or hours.
    Urgent,
    /// It is over: devices call the app stale, and keep what they have.
    Expired,
    /// It does not work at all.
    Broken,
}

impl Level {
    /// How pressing it is that a person signs anew what ends in so many seconds.
    pub fn of_time_left(secs: i64) -> Self {
        match secs {
            ..=0 => Self::Expired,
            secs if secs <= 7 * DAY => Self::Urgent,
            secs if secs <= 14 * DAY => Self::Warning,
            secs if secs <= 30 * DAY => Self::Notice,
            _ => Self::Ok,
        }
    }

    /// Whether somebody has to do something.
    pub fn needs_a_person(self) -> bool {
        self >= Self::Warning
    }

    /// The word for it, as it is written in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Urgent => "urgent",
            Self::Expired => "expired",
            Self::Broken => "broken",
        }
    }
}

/// A server at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether devices can be sent here: any app is ready, or there is none. What a person has not signed in time makes nobody
    /// unready: another server would have no more than this one.
    pub ready: bool,
    /// The most pressing level of all that follows.
    pub level: Level,
    /// The moment, by the server's clock.
    pub at: Timestamp,
    /// Every app, by name.
    pub apps: Vec<AppHealth>,
    /// What is not as it should be, the most pressing first.
    pub findings: Vec<Finding>,
}

/// An app at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppHealth {
    /// Its name.
    pub app: AppName,
    /// What devices make of it.
    pub state: AppState,
    /// Whether the server does its part: the app can be read, and what the server signs is fresh.
    pub ready: bool,
    /// The most pressing level of its roles and of what was found.
    pub level: Level,
    /// Whether the online key that its root names is here, and can be used; not known of a broken app.
    pub online_key: Option<bool>,
    /// How often the server could not sign its part anew, since it was started.
    pub renewal_failures: u64,
    /// How long each role lives; empty for a broken app.
    pub roles: Vec<RoleHealth>,
}

/// What devices make of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppState {
    /// They believe it.
    Fresh,
    /// They do not: the time of a role is over. They keep what they have.
    Stale,
    /// It cannot be served.
    Broken,
}

/// How long a role lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleHealth {
    /// Which.
    pub role: String,
    /// Who signs it anew.
    pub renewed_by: Renewer,
    /// When it ends.
    pub expires: Timestamp,
    /// How much time is left, in seconds; below zero once it is over.
    pub seconds_left: i64,
    /// How pressing that is. For a role of the server it says whether the server is late: a timestamp never has many days.
    pub level: Level,
}

/// Who signs a role anew before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Renewer {
    /// Somebody who has its keys.
    Person,
    /// The server, by itself.
    Server,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How pressing it is.
    pub level: Level,
    /// What kind of thing it is.
    pub kind: Matter,
    /// The app; none for the server as a whole.
    pub app: Option<AppName>,
    /// The role, where it is about one.
    pub role: Option<String>,
    /// What is the matter, as a sentence that need not name the app.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// What went wrong inside, for the operator's eyes: never in `/readyz`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Matter {
    /// What a person signs ends soon, or is over.
    Ends,
    /// The server has not signed its own part in time.
    Late,
    /// The online key is not here, or cannot be used.
    OnlineKey,
    /// A rotation of keys was announced and is not complete.
    Rotation,
    /// The keys that sign releases lie on the server. Never in `/readyz`.
    PublisherKeys,
    /// The folder has not been published yet.
    Unpublished,
    /// Patches cannot be made: updates are larger than they need be.
    Patches,
    /// The app cannot be served.
    Broken,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

impl Health {
    /// The health of these apps, with what was found of them.
    pub fn new(at: Timestamp, apps: Vec<AppHealth>, findings: Vec<Finding>) -> Self {
        // Other servers of the same store would have the same trouble with an app: those that are well go on.
        let ready = apps.is_empty() || apps.iter().any(|app| app.ready);
        let mut health = Self { ready, level: Level::Ok, at, apps, findings };
        health.settle();
        health
    }

    /// One more thing was found, because of which no device of its app should be sent here.
    pub fn add_obstacle(&mut self, finding: Finding) {
        self.apps.iter_mut().filter(|app| Some(&app.app) == finding.app.as_ref()).for_each(|app| app.ready = false);
        self.ready = self.apps.iter().any(|app| app.ready);
        self.findings.push(finding);
        self.settle();
    }

    /// What of it anybody may know: dates are in public metadata anyway, what went wrong inside is not, nor is where keys lie.
    #[must_use]
    pub fn for_anybody(mut self) -> Self {
        self.findings.retain(|finding| finding.kind != Matter::PublisherKeys);
        self.findings.iter_mut().for_each(|finding| finding.detail = None);
        self.settle();
        self
    }

    /// What was found of `app`.
    pub fn of<'a>(&'a self, app: &'a AppName) -> impl Iterator<Item = &'a Finding> {
        self.findings.iter().filter(move |finding| finding.app.as_ref() == Some(app))
    }

    fn settle(&mut self) {
        // A stable sort: what is equally pressing stays by app and role.
        self.findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        let levels = self.apps.iter().map(|app| app.level).chain(self.findings.iter().map(|finding| finding.level));
        self.level = levels.max().unwrap_or(Level::Ok);
    }
}

/// So many seconds as people say them: `10 years`, `12 days`, `23 hours`, `5 minutes`, `40 seconds`. Rounded down, so that
/// nobody is told of a day that is not there; but for years, where that is of no interest.
pub fn span(secs: u64) -> String {
    const YEAR: u64 = 365 * 86_400 + 86_400 / 4;
    const UNITS: [(u64, &str); 3] = [(86_400, "days"), (3_600, "hours"), (60, "minutes")];
    if secs >= 2 * YEAR {
        return format!("{} years", secs.saturating_add(YEAR / 2) / YEAR);
    }
    // Two of a unit at least: "1 day" could be almost two.
    match UNITS.into_iter().find(|(unit, _)| secs >= 2 * unit) {
        Some((unit, name)) => format!("{} {name}", secs / unit),
        None if secs == 1 => "1 second".to_owned(),
        None => format!("{secs} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_signs_is_pressing_in_time() {
        let table = [
            (31 * DAY, Level::Ok),
            (30 * DAY + 1, Level::Ok),
            (30 * DAY, Level::Notice),
            (14 * DAY + 1, Level::Notice),
            (14 * DAY, Level::Warning),
            (7 * DAY + 1, Level::Warning),
            (7 * DAY, Level::Urgent),
            (1, Level::Urgent),
            (0, Level::Expired),
            (-1, Level::Expired),
            (i64::MIN, Level::Expired),
            (i64::MAX, Level::Ok),
        ];
        for (secs, level) in table {
            assert_eq!(Level::of_time_left(secs), level, "{secs}");
        }
    }

    #[test]
    fn a_word_is_what_json_says() {
        let all = [Level::Ok, Level::Notice, Level::Warning, Level::Urgent, Level::Expired, Level::Broken];
        assert!(all.is_sorted());
        for level in all {
            assert_eq!(serde_json::to_value(level).unwrap(), level.word());
        }
        assert_eq!(all.iter().filter(|level| level.needs_a_person()).count(), 4);
    }

    #[test]
    fn spans_as_people_say_them() {
        let table = [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (2 * 3_600 - 1, "119 minutes"),
            (24 * 3_600, "24 hours"),
            (2 * 86_400, "2 days"),
            (30 * 86_400 - 1, "29 days"),
            (729 * 86_400, "729 days"),
            (3_650 * 86_400 - 1, "10 years"),
            (u64::MAX, "584542046090 years"),
            (3_653 * 86_400, "10 years"),
        ];
        for (secs, words) in table {
            assert_eq!(span(secs), words);
        }
    }

    fn finding(level: Level, kind: Matter) -> Finding {
        let (what, remedy) = ("x".to_owned(), "y".to_owned());
        Finding { level, kind, app: None, role: None, what, remedy, detail: Some("/secret/path".to_owned()) }
    }

    #[test]
    fn the_most_pressing_is_first_and_counts() {
        let findings = vec![finding(Level::Notice, Matter::PublisherKeys), finding(Level::Urgent, Matter::OnlineKey)];
        let mut health = Health::new(Timestamp::UNIX_EPOCH, Vec::new(), findings);
        assert_eq!((health.ready, health.level, health.findings[0].level), (true, Level::Urgent, Level::Urgent));
        health.add_obstacle(finding(Level::Warning, Matter::Unpublished));
        assert_eq!((health.ready, health.level, health.findings[1].level), (false, Level::Urgent, Level::Warning));
    }

    #[test]
    fn anybody_hears_neither_details_nor_where_keys_lie() {
        let all = Health::new(
            Timestamp::UNIX_EPOCH,
            Vec::new(),
            vec![finding(Level::Notice, Matter::PublisherKeys), finding(Level::Ok, Matter::Late)],
        );
        let told = all.for_anybody();
        assert_eq!((told.findings.len(), told.level), (1, Level::Ok));
        let text = serde_json::to_string(&told).unwrap();
        assert!(!text.contains("secret") && !text.contains("publisher"), "{text}");
        assert_eq!(serde_json::from_str::<Health>(&text).unwrap(), told);
    }

    #[test]
    fn a_finding_of_a_later_version_is_a_finding() {
        let mut value = serde_json::to_value(finding(Level::Ok, Matter::Late)).unwrap();
        value["kind"] = "comet".into();
        assert_eq!(serde_json::from_value::<Finding>(value).unwrap().kind, Matter::Other);
    }
}
