//! `docs/threats.md` tells people what to type on a bad day: each of its commands exists, with these arguments.

use std::fs;
use std::path::Path;

use crate::support::{Said, run, updraft};

/// What the command line says to `command` when it is only asked for help: it reads everything in front of that.
fn asked_for_help(command: &str) -> Said {
    let command = command.replace("HEX", &"0".repeat(64));
    let words = command.split_whitespace().skip(1);
    let mut program = updraft();
    if command.starts_with("updraft-agent ") {
        program.arg("agent");
    }
    run(program.args(words).arg("--help"))
}

#[test]
fn every_command_for_a_bad_day_can_be_typed() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/threats.md");
    let text = fs::read_to_string(document).unwrap();
    let blocks = text.split("\n```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let commands: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert!(commands.len() >= 8, "the document is read: {commands:?}");
    for command in commands {
        assert!(command.starts_with("updraft ") || command.starts_with("updraft-agent "), "{command}");
        let said = asked_for_help(command);
        assert_eq!(said.code, 0, "{command}: {}", said.err);
    }
    assert_eq!(asked_for_help("updraft keys rotate nothing --app demo").code, 2, "what cannot be typed is noticed");
    assert_eq!(asked_for_help("updraft keys show --ap demo").code, 2, "what cannot be typed is noticed");
}
