//! A next root on its way to those who must sign it: one file, carried to each of them and back.
//!
//! It holds everything that a signer needs on a machine without a network: every root from the first, the targets of now,
//! and what is to follow. It is believed as little as anything else that comes from outside: [`Proposal::decode`] verifies
//! the chain, the base and each signature, derives what changes from the documents themselves, and refuses what is signed
//! by a stranger. What a person compares is [`Proposal::fingerprint`], which no signature changes.
//!
//! ```text
//! {"format": 1, "app": "demo",
//!  "roots": ["1.root.json as it is", "2.root.json as it is"], "base": "N.targets.json as it is",
//!  "root": "3.root.json with the signatures so far", "targets": "N+1.targets.json, the same; or null"}
//! ```

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use updraft_core::Timestamp;
use updraft_core::api::NextRoot;
use updraft_core::digest::Sha256;
use updraft_core::json;
use updraft_core::key::{KeyId, PublicKey, SigningKey};
use updraft_core::limits::{METADATA_LEN_MAX, ROOT_LEN_MAX, ROOT_ROTATIONS_MAX};
use updraft_core::name::AppName;
use updraft_core::signed::{Envelope, RoleKeys};
use updraft_core::trust::{self, Expires, Role, Root};

use super::change::{self, Next, Refused, all_keys, check};
use super::difference;
use super::signers::{Signers, is_same};
use super::standing::{Standing, check_memory};
use crate::keys::{self, KeyName, Keystore, Ring};
use crate::sign::text_of;

/// Largest proposal that is read, in bytes. Two roots of three keys and targets with ten releases are about 10 kB; room is
/// left for hundreds of roots and the largest targets.
pub const PROPOSAL_LEN_MAX: u64 = 16 << 20;

const FORMAT: u32 = 1;

/// Hexadecimal digits of what people compare, read out in groups of four: 128 bits.
const FINGERPRINT_LEN: usize = 32;

/// Why a proposal is not signed, not merged, or not sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("it is no whole proposal: {0}; fetch the file again from whoever sent it")]
    Format(String),
    /// It does not follow from what it says it follows from.
    #[error("what it builds on does not verify: {0}; do not sign it, and ask whoever sent it for a new one")]
    Base(trust::Error),
    /// It is no sound change of keys.
    #[error("it is not to be signed: {0}")]
    Refused(#[from] Refused),
    /// Somebody signed it who has no part in it.
    #[error(
        "it is signed by key {key}, which neither the root of now nor the next one names for {role}; \
         do not sign it, and find out who had the file"
    )]
    Stranger {
        /// The key.
        key: KeyId,
        /// What it signed.
        role: Role,
    },
    /// A signature is none.
    #[error("the signature of key {key} on {role} does not verify; fetch the file again from whoever signed it")]
    Damaged {
        /// The key.
        key: KeyId,
        /// What is signed.
        role: Role,
    },
    /// It is for another app than the one whose root lies here.
    #[error(
        "it begins with another root than {path}, so it is for another app, or another server's; \
         it says app {app}: name the directory with the keys of that app"
    )]
    OtherApp {
        /// The root that lies here.
        path: PathBuf,
        /// The app that it says.
        app: AppName,
    },
    /// Nothing here says what the app's first root is.
    #[error(
        "there is no {path} to verify it from: give the SHA-256 of the app's first root with --root-sha256, \
         as its devices were installed with it; the file says {found}, which proves nothing"
    )]
    Unpinned {
        /// Where the first root would lie.
        path: PathBuf,
        /// What the proposal itself begins with.
        found: Sha256,
    },
    /// It begins with another root than the one that was said.
    #[error("it begins with root {found}, and {told} was said; do not sign it, and find out who made it")]
    OtherRoot {
        /// What it begins with.
        found: Sha256,
        /// What was said.
        told: Sha256,
    },
    /// What was believed here last does not agree with it.
    #[error("it is out of date, or follows another history: {0}; ask whoever sent it for a new one")]
    Outdated(trust::Error),
    /// Its time is over.
    #[error(
        "{role} in it expired at {expired}; ask whoever sent it for a new one, and see that the clock here is right"
    )]
    Expired {
        /// The role.
        role: Role,
        /// When it did.
        expired: Timestamp,
    },
    /// Two files are not copies of one proposal.
    #[error(
        "it is another proposal: its fingerprint is {found}, that of the first is {first}; accept them one at a time"
    )]
    Different {
        /// The fingerprint of this one.
        found: String,
        /// The fingerprint of the other.
        first: String,
    },
    /// None of the keys here has a part in it.
    #[error("{dir}: none of the keys here may sign it; these may: {names}")]
    NoPart {
        /// The key directory.
        dir: PathBuf,
        /// Those that may.
        names: String,
    },
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] keys::Error),
}

/// A next root, what it builds on, and the signatures so far.
#[derive(Debug, Clone)]
pub struct Proposal {
    standing: Standing,
    next: Next,
    root: Envelope,
    targets: Option<Envelope>,
}

/// Signatures that must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The document.
    pub document: KeyName,
    /// Whether the root of now asks for them, or the next one.
    pub by_next: bool,
    /// Who may sign, and how many must.
    pub signers: Signers,
    /// Those who did.
    pub signed: Vec<PublicKey>,
}

impl Need {
    /// How many signatures are lacking.
    pub fn lacking(&self) -> usize {
        (self.signers.threshold as usize).saturating_sub(self.signed.len())
    }

    /// Those who may sign and did not.
    pub fn others(&self) -> impl Iterator<Item = &PublicKey> {
        self.signers.keys.iter().filter(|key| !self.signed.iter().any(|signed| is_same(signed, key)))
    }
}

/// A signature that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The document.
    pub document: KeyName,
    /// The fingerprint of the key.
    pub fingerprint: String,
}

/// What a proposal was verified from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinned {
    /// From the root that lies beside the keys.
    Here,
    /// From the first root that it brings itself, whose SHA-256 was said.
    Told,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    format: u32,
    app: AppName,
    roots: Vec<String>,
    base: String,
    root: String,
    targets: Option<String>,
}

impl Proposal {
    /// A proposal that nobody has signed.
    pub(super) fn new(standing: Standing, next: Next) -> Self {
        let (root, targets) = (Envelope::new(&next.root), next.targets.as_ref().map(Envelope::new));
        Self { standing, next, root, targets }
    }

    /// The bytes of its file.
    pub fn encode(&self) -> Vec<u8> {
        let text =
            |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("metadata that was read is JSON, so it is text");
        let wire = Wire {
            format: FORMAT,
            app: self.standing.app().clone(),
            roots: self.standing.roots().iter().map(|root| text(root)).collect(),
            base: text(self.standing.targets_bytes()),
            root: text_of(&self.root),
            targets: self.targets.as_ref().map(text_of),
        };
        let mut bytes = serde_json::to_vec_pretty(&wire).expect("texts are plain JSON");
        bytes.push(b'\n');
        bytes
    }

    /// Reads the file of a proposal and verifies all that can be verified without a network.
    ///
    /// # Errors
    /// When it is damaged, does not follow from its base, is signed by a stranger, or is over.
    pub fn decode(bytes: &[u8], now: Timestamp) -> Result<Self, Error> {
        let proposal = Self::read(bytes)?;
        proposal.check_signatures()?;
        let fresh = |role: Role, expires: &Expires| {
            if expires.at() > now { Ok(()) } else { Err(Error::Expired { role, expired: expires.at() }) }
        };
        fresh(Role::Root, &proposal.next.root.expires)?;
        proposal.next.targets.iter().try_for_each(|targets| fresh(Role::Targets, &targets.expires))?;
        Ok(proposal)
    }

    fn read(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() as u64 > PROPOSAL_LEN_MAX {
            return Err(Error::Format(format!("{} bytes are over the limit of {PROPOSAL_LEN_MAX}", bytes.len())));
        }
        let wire: Wire = serde_json::from_slice(bytes).map_err(|e| Error::Format(e.to_string()))?;
        if wire.format != FORMAT {
            return Err(Error::Format(format!("format {} is not known here: update this program", wire.format)));
        }
        if wire.roots.len() as u64 > ROOT_ROTATIONS_MAX + 1 {
            return Err(Error::Format(format!("{} roots are more than anybody follows", wire.roots.len())));
        }
        let roots = wire.roots.into_iter().map(String::into_bytes).collect();
        let standing = Standing::verify(wire.app, roots, wire.base.into_bytes()).map_err(Error::Base)?;
        let envelope =
            |text: &str, max| Envelope::parse(text.as_bytes(), max).map_err(|e| Error::Format(e.to_string()));
        let root = envelope(&wire.root, ROOT_LEN_MAX)?;
        let targets = wire.targets.map(|text| envelope(&text, METADATA_LEN_MAX)).transpose()?;
        let unreadable = |e: updraft_core::signed::Error| Error::Format(e.to_string());
        let is_typed = |envelope: &Envelope, role: Role| envelope.role_type() == Some(role.name());
        if !is_typed(&root, Role::Root) || !targets.iter().all(|targets| is_typed(targets, Role::Targets)) {
            return Err(Error::Format("its documents are no root and targets".to_owned()));
        }
        let next = Next {
            root: root.content().map_err(unreadable)?,
            targets: targets.as_ref().map(Envelope::content).transpose().map_err(unreadable)?,
        };
        check(standing.root(), standing.envelope(), standing.targets(), &next)?;
        let proposal = Self { standing, next, root, targets };
        // What is signed must be what was read: nothing beside it that this program does not know.
        let fresh = Self::new(proposal.standing.clone(), proposal.next.clone());
        if fresh.fingerprint() != proposal.fingerprint() {
            return Err(
                change::Refused::Shape("it says more than this program knows; update the program".into()).into()
            );
        }
        Ok(proposal)
    }

    fn check_signatures(&self) -> Result<(), Error> {
        for (document, envelope) in self.documents() {
            let role = document.role();
            let (old, new) = (self.standing.root(), &self.next.root);
            let keys = all_keys(old, new);
            for id in envelope.signers() {
                let names = |root: &Root| root.roles.get(role.name()).is_some_and(|named| named.keyids.contains(id));
                if !names(old) && !names(new) {
                    return Err(Error::Stranger { key: id.clone(), role });
                }
                let alone = RoleKeys { keyids: vec![id.clone()], threshold: 1 };
                if envelope.verify(&keys, &alone).is_err() {
                    return Err(Error::Damaged { key: id.clone(), role });
                }
            }
        }
        Ok(())
    }

    fn documents(&self) -> impl Iterator<Item = (KeyName, &Envelope)> {
        [(KeyName::Root, &self.root)].into_iter().chain(self.targets.iter().map(|targets| (KeyName::Targets, targets)))
    }

    /// The app that it says it is for.
    pub fn app(&self) -> &AppName {
        self.standing.app()
    }

    /// The version of the next root.
    pub fn version(&self) -> u64 {
        self.next.root.version
    }

    /// The SHA-256 of the first root: what the app's devices pinned.
    pub fn root_sha256(&self) -> Sha256 {
        Sha256::of(&self.standing.roots()[0])
    }

    /// What it builds on.
    pub(super) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// What it changes, a line for each thing, derived from the documents.
    pub fn lines(&self) -> Vec<String> {
        difference::lines(self.standing.root(), self.standing.targets(), &self.next)
    }

    /// Who may sign under the next root, for every role and whether or not it changes. What changes is no more than what
    /// the base says; this is what will count.
    pub fn signers_lines(&self) -> Vec<String> {
        difference::signers(&self.next.root)
    }

    /// What people compare: 32 digits in groups of four, the same however often it was signed.
    pub fn fingerprint(&self) -> String {
        let content = |envelope: &Envelope| envelope.content::<serde_json::Value>().unwrap_or_default();
        let whole = serde_json::json!({
            "app": self.app(),
            "first": self.root_sha256(),
            "root": content(&self.root),
            "targets": self.targets.as_ref().map(content),
        });
        let digits = Sha256::of(&json::canonical(&whole)).to_string();
        let groups: Vec<&str> = (0..FINGERPRINT_LEN / 4).map(|n| &digits[4 * n..4 * n + 4]).collect();
        groups.join("-")
    }

    /// Compares it with what lies beside the keys: the first root, and the root that was believed last. Where no root
    /// lies, it counts only if its first root is the one that was `told`: whoever made the file chose what it begins with,
    /// so what follows from that shows nothing.
    ///
    /// # Errors
    /// When it is for another app, or another history of this one, or nothing says which it is.
    pub fn check_pinned(&self, keys: &Keystore, told: Option<Sha256>) -> Result<Pinned, Error> {
        let found = self.root_sha256();
        if let Some(told) = told.filter(|told| *told != found) {
            return Err(Error::OtherRoot { found, told });
        }
        let Some(first) = keys.first_root()? else {
            return match told {
                Some(_) => Ok(Pinned::Told),
                None => Err(Error::Unpinned { path: keys.root_path(), found }),
            };
        };
        if first != self.standing.roots()[0] {
            return Err(Error::OtherApp { path: keys.root_path(), app: self.app().clone() });
        }
        check_memory(self.standing.roots(), keys).map_err(Error::Outdated)?;
        Ok(Pinned::Here)
    }

    /// Keeps its first root beside the keys, where that was compared with what was told: from here on it is what
    /// everything is verified from.
    ///
    /// # Errors
    /// When it cannot be written, or another root lies there.
    pub fn pin(&self, keys: &Keystore) -> Result<(), Error> {
        Ok(keys.pin(&self.standing.roots()[0])?)
    }

    /// Every signature that must be there: those that the root of now asks for, those that the next one does.
    pub fn needs(&self) -> Vec<Need> {
        let (old, new) = (self.standing.root(), &self.next.root);
        let mut needs = vec![self.need(KeyName::Root, old, false), self.need(KeyName::Root, new, true)];
        if self.targets.is_some() {
            needs.push(self.need(KeyName::Targets, new, true));
        }
        needs
    }

    fn need(&self, document: KeyName, root: &Root, by_next: bool) -> Need {
        let signers = Signers::of(root, &document.role());
        let signed = signers.keys.iter().filter(|key| self.has_signed(document, key)).cloned().collect();
        Need { document, by_next, signers, signed }
    }

    fn has_signed(&self, document: KeyName, key: &PublicKey) -> bool {
        let alone = RoleKeys { keyids: vec![key.id()], threshold: 1 };
        let keys = [(key.id(), key.clone())].into();
        self.documents().any(|(other, envelope)| other == document && envelope.verify(&keys, &alone).is_ok())
    }

    /// Whether every signature is there that must be.
    pub fn is_complete(&self) -> bool {
        self.needs().iter().all(|need| need.lacking() == 0)
    }

    /// Those who could sign what is lacking, and what each would sign; by fingerprint.
    pub fn missing_signers(&self) -> Vec<(String, BTreeSet<KeyName>)> {
        let mut missing = std::collections::BTreeMap::<String, BTreeSet<KeyName>>::new();
        for need in self.needs().iter().filter(|need| need.lacking() > 0) {
            for key in need.others() {
                missing.entry(key.fingerprint()).or_default().insert(need.document);
            }
        }
        missing.into_iter().collect()
    }

    /// Signs with every key here that has a part in it and has not signed. The keys of now sign beside the next ones, also
    /// what only the next ones must sign: then the server can show both kinds of devices something that they believe.
    ///
    /// # Errors
    /// When none of the keys here has a part in it, or one cannot be opened.
    pub fn sign(&mut self, ring: &Ring<'_>) -> Result<Vec<Signed>, Error> {
        let (mut signed, mut has_part) = (Vec::new(), false);
        let documents: Vec<KeyName> = self.documents().map(|(document, _)| document).collect();
        for document in documents {
            for key in ring.find(document, &self.parties(document), usize::MAX)? {
                has_part = true;
                if !self.has_signed(document, &key.public()) {
                    self.add(document, &key);
                    signed.push(Signed { document, fingerprint: key.public().fingerprint() });
                }
            }
        }
        if has_part {
            return Ok(signed);
        }
        let all = KeyName::ALL.into_iter().flat_map(|document| self.parties(document));
        let names: Vec<String> = all.map(|key| key.fingerprint()).collect();
        Err(Error::NoPart { dir: ring.store().dir().to_owned(), names: names.join(", ") })
    }

    /// Everybody who may sign a document, under the root of now or the next one.
    fn parties(&self, document: KeyName) -> Vec<PublicKey> {
        let of = |root: &Root| Signers::of(root, &document.role()).keys;
        let mut keys = of(self.standing.root());
        for key in of(&self.next.root) {
            if !keys.iter().any(|known| is_same(known, &key)) {
                keys.push(key);
            }
        }
        keys
    }

    fn add(&mut self, document: KeyName, key: &SigningKey) {
        match document {
            KeyName::Root => self.root = self.root.clone().sign(key),
            KeyName::Targets => self.targets = self.targets.take().map(|targets| targets.sign(key)),
        }
    }

    /// Takes over the signatures of another copy.
    ///
    /// # Errors
    /// When it is no copy of this one.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        let different = || Error::Different { found: other.fingerprint(), first: self.fingerprint() };
        let same_base = self.standing.roots() == other.standing.roots()
            && self.standing.targets_bytes() == other.standing.targets_bytes();
        let root = self.root.clone().merge(&other.root);
        let targets = match (&self.targets, &other.targets) {
            (Some(ours), Some(theirs)) => ours.clone().merge(theirs).map(Some),
            (None, None) => Some(None),
            _ => None,
        };
        let (true, Some(root), Some(targets)) = (same_base, root, targets) else { return Err(different()) };
        (self.root, self.targets) = (root, targets);
        Ok(())
    }

    /// Whether `root`, exact bytes, is the root that this proposes, whoever signed that.
    pub(super) fn proposes(&self, root: &[u8]) -> bool {
        Envelope::parse(root, ROOT_LEN_MAX).is_ok_and(|envelope| self.root.clone().merge(&envelope).is_some())
    }

    /// The exact text of the next root, as it is signed now.
    pub(super) fn root_text(&self) -> String {
        text_of(&self.root)
    }

    /// What is to be handed in, on top of `base`.
    pub(super) fn next_root(&self, base: u64) -> NextRoot {
        NextRoot { base, root: self.root_text(), targets: self.targets.as_ref().map(text_of) }
    }
}
