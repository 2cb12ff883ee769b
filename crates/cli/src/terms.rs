//! What only a publisher may say of who gets a release, as arguments of `updraft publish`.

use std::str::FromStr;

use clap::Args;
use updraft_core::name::ChannelName;
use updraft_core::release;
use updraft_core::version::Version;

/// Who may get a release. It is signed with it; channels can only narrow it.
#[derive(Debug, Args)]
pub(crate) struct Terms {
    /// Only these channels may ever carry it; may be given more than once
    #[arg(long, value_name = "C")]
    allow_channel: Vec<ChannelName>,
    /// Only for devices whose operating system is at least this new, such as macos=12.3; may be given more than once
    #[arg(long, value_name = "OS=VERSION")]
    min_os: Vec<MinOs>,
    /// Devices on older versions must have VERSION before they go on; without a VERSION, this release itself before they go
    /// on to later ones. May be given more than once
    #[arg(long, value_name = "VERSION", num_args = 0..=1, default_missing_value = THIS)]
    stepping_stone: Vec<Stone>,
    /// Devices on older versions must update, to this or to whatever later release they get
    #[arg(long)]
    mandatory: bool,
}

/// What stands for the release itself.
const THIS: &str = "this";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stone {
    This,
    Other(Version),
}

impl FromStr for Stone {
    type Err = updraft_core::version::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == THIS { Ok(Self::This) } else { text.parse().map(Self::Other) }
    }
}

/// A system, and the oldest version of it that will do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MinOs {
    os: String,
    version: Version,
}

/// The systems that a platform may begin with. Of another one, nobody would notice that its name is misspelt.
const SYSTEMS: [&str; 6] = ["linux", "macos", "windows", "freebsd", "android", "ios"];

impl FromStr for MinOs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (os, version) = text.split_once('=').ok_or("say which system, and which version of it: macos=12.3")?;
        if !SYSTEMS.contains(&os) {
            return Err(format!("'{os}' is none of the systems that are known: {}", SYSTEMS.join(", ")));
        }
        let version = version.parse().map_err(|e: updraft_core::version::Error| e.to_string())?;
        Ok(Self { os: os.to_owned(), version })
    }
}

impl Terms {
    /// The same, of the release `version`.
    pub(crate) fn of(&self, version: &Version) -> release::Terms {
        let stone = |stone: &Stone| match stone {
            Stone::This => version.clone(),
            Stone::Other(other) => other.clone(),
        };
        release::Terms {
            channels: (!self.allow_channel.is_empty()).then(|| self.allow_channel.clone()),
            min_os: self.min_os.iter().map(|min| (min.os.clone(), min.version.clone())).collect(),
            stepping_stones: self.stepping_stone.iter().map(stone).collect(),
            mandatory_since: self.mandatory.then(|| version.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        terms: Terms,
    }

    fn read(words: &[&str]) -> Result<serde_json::Value, String> {
        let line =
            Line::try_parse_from(std::iter::once("x").chain(words.iter().copied())).map_err(|e| e.to_string())?;
        Ok(serde_json::to_value(line.terms.of(&"2.1".parse().unwrap())).unwrap())
    }

    #[test]
    fn what_publishers_say() {
        assert_eq!(read(&[]), Ok(json!({})));
        let all =
            ["--allow-channel", "beta", "--min-os", "macos=12.3", "--min-os", "windows=10.0.19041", "--mandatory"];
        let expected = json!({
            "channels": ["beta"], "min_os": { "macos": "12.3", "windows": "10.0.19041" }, "mandatory_since": "2.1"
        });
        assert_eq!(read(&all), Ok(expected));
        assert_eq!(read(&["--stepping-stone"]), Ok(json!({ "stepping_stones": ["2.1"] })));
        let two = ["--stepping-stone", "2.0", "--stepping-stone", "--mandatory"];
        assert_eq!(read(&two), Ok(json!({ "stepping_stones": ["2.0", "2.1"], "mandatory_since": "2.1" })));
        for (words, hint) in [
            (["--min-os", "12.3"], "which system"),
            (["--min-os", "mac=12.3"], "linux, macos, windows"),
            (["--min-os", "macos="], "--min-os"),
            (["--stepping-stone", "build"], "build"),
        ] {
            let error = read(&words).unwrap_err();
            assert!(error.contains(hint), "{error}");
        }
    }
}
