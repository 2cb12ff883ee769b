"""Repositories as python-tuf writes them, for our client to read.

usage: write.py DIR

Writes DIR/NAME/metadata and DIR/NAME/targets for each repository and serves DIR on loopback until its standard input
ends. Prints one line of JSON first: the port, and of each repository its first root, the target paths that can be found
with the SHA-256 of their content, and those that cannot, with the reason.
"""
import datetime
import hashlib
import http.server
import json
import pathlib
import sys
import threading
import urllib.parse

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole, Delegations, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp,
)

EXPIRES = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(days=2)
ED25519, ECDSA, RSA = CryptoSigner.generate_ed25519, CryptoSigner.generate_ecdsa, CryptoSigner.generate_rsa
TOP_LEVEL = ("root", "timestamp", "snapshot", "targets")


class Repository:
    """One repository: consistent snapshots, any keys, any tree of delegations."""

    def __init__(self, folder, signers, thresholds=None, algorithm="sha256"):
        self.metadata, self.targets_dir = folder / "metadata", folder / "targets"
        self.metadata.mkdir(parents=True)
        self.signers, self.thresholds, self.algorithm = signers, thresholds or {}, algorithm
        self.root = Root(expires=EXPIRES, consistent_snapshot=True)
        self.roles = {"targets": Targets(expires=EXPIRES)}
        self.contents, self.absent = {}, {}
        self.name_signers("root", "timestamp", "snapshot", "targets")

    def name_signers(self, *roles):
        for role in roles:
            for keyid in list(self.root.roles[role].keyids):
                self.root.revoke_key(keyid, role)
            for signer in self.signers[role]:
                self.root.add_key(signer.public_key, role)
            self.root.roles[role].threshold = self.thresholds.get(role, 1)

    def add(self, path, content, role="targets", found=True):
        """A target that `role` lists; its file lies where consistent snapshots want it."""
        info = TargetFile.from_data(path, content, [self.algorithm])
        self.roles[role].targets[path] = info
        folder, _, name = path.rpartition("/")
        file = self.targets_dir / urllib.parse.quote(f"{folder}/{info.hashes[self.algorithm]}.{name}".lstrip("/"))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        if found:
            self.contents[path] = hashlib.sha256(content).hexdigest()

    def delegate(self, parent, name, signers, threshold=1, **scope):
        """A role that `parent` delegates to, behind those that are there already."""
        targets = self.roles[parent]
        if targets.delegations is None:
            targets.delegations = Delegations(keys={}, roles={})
        terminating = scope.pop("terminating", False)
        keyids = [signer.public_key.keyid for signer in signers]
        targets.delegations.roles[name] = DelegatedRole(name, keyids, threshold, terminating, **scope)
        targets.delegations.keys.update({signer.public_key.keyid: signer.public_key for signer in signers})
        self.signers[name] = signers
        self.roles.setdefault(name, Targets(expires=EXPIRES))

    def write(self, name, signed, signers, version=None):
        metadata = Metadata(signed)
        for n, signer in enumerate(signers):
            metadata.sign(signer, append=n > 0)
        prefix = "" if version is None else f"{version}."
        # Files are named as URLs spell them: what could be more than a plain name in a path is encoded.
        file = self.metadata / f"{prefix}{urllib.parse.quote(name, '')}.json"
        file.write_bytes(data := metadata.to_bytes())
        return MetaFile(signed.version, len(data), {self.algorithm: hashlib.new(self.algorithm, data).hexdigest()})

    def write_root(self, *before):
        """The root, signed by its own keys and by those of the root before."""
        signers = {signer.public_key.keyid: signer for signer in [*self.signers["root"], *before]}
        self.write("root", self.root, list(signers.values()), self.root.version)

    def rotate(self, signers, **thresholds):
        before = self.signers["root"]
        self.root.version += 1
        self.signers.update(signers)
        self.thresholds.update(thresholds)
        self.name_signers(*signers)
        self.write_root(*before)

    def publish(self):
        snapshot = Snapshot(version=3, expires=EXPIRES, meta={})
        for name, signed in self.roles.items():
            snapshot.meta[f"{name}.json"] = self.write(name, signed, self.signers[name], signed.version)
        meta = self.write("snapshot", snapshot, self.signers["snapshot"], 3)
        timestamp = Timestamp(version=5, expires=EXPIRES, snapshot_meta=meta)
        self.write("timestamp", timestamp, self.signers["timestamp"])

    def told(self):
        return {"contents": self.contents, "absent": self.absent}


def flat(folder):
    repository = Repository(folder, {role: [ED25519()] for role in TOP_LEVEL})
    repository.write_root()
    for path in ("a.txt", "dir/sub/b.bin", "with space.txt", "per%20cent", "\u66f4\u65b0/\u00fcml\u00e4ut+~.txt"):
        repository.add(path, f"the content of {path}".encode() * 999)
    repository.add("empty", b"")
    repository.absent["dir"] = "nobody lists it"
    repository.publish()
    return repository.told()


def keys(folder):
    """Every scheme in every place, thresholds over kinds of keys, sha512 and nothing else, four roots."""
    mixed = [ED25519(), ECDSA(), RSA()]
    signers = {"root": mixed, "timestamp": [ED25519(), RSA(size=2048)], "snapshot": [ECDSA()], "targets": [RSA(size=4096)]}
    repository = Repository(folder, signers, {"root": 2, "timestamp": 2}, "sha512")
    repository.write_root()
    repository.rotate({"root": [mixed[2], ECDSA(), ED25519()]}, root=3)
    repository.rotate({"snapshot": [RSA(size=2048), ECDSA()], "timestamp": [ECDSA()]}, snapshot=2, timestamp=1)
    repository.rotate({"targets": [ED25519(), ECDSA(), mixed[2]]}, targets=3)
    repository.add("dir/file", b"signed by three kinds of keys")
    repository.publish()
    return repository.told()


def delegations(folder):
    repository = Repository(folder, {role: [ED25519()] for role in TOP_LEVEL})
    repository.write_root()
    repository.add("top.txt", b"of the top-level role")
    ecdsa, rsa, other = ECDSA(), RSA(size=2048), ED25519()

    repository.delegate("targets", "by-path", [ecdsa, rsa, other], 2, paths=["docs/*.md", "docs/?.txt", "docs/[x-z]/*"])
    for path in ("docs/guide.md", "docs/1.txt", "docs/y/any"):
        repository.add(path, path.encode(), "by-path")
    repository.add("elsewhere.txt", b"?", "by-path", found=False)
    repository.absent["elsewhere.txt"] = "a role lists it that may not speak of it"
    repository.add("docs/w/any", b"?", "by-path", found=False)
    repository.absent["docs/w/any"] = "outside the class of its pattern"

    # Deeper, under a name that is no plain file name, and back up again: a cycle.
    deeper = "../d\u00e9ep er"
    repository.delegate("by-path", deeper, [rsa], paths=["docs/*.md"])
    repository.add("docs/deep.md", b"two levels down", deeper)
    repository.delegate(deeper, "by-path", [ecdsa, rsa, other], 2, paths=["docs/*.md"])
    repository.absent["docs/nobody.md"] = "the search goes in a circle, and ends"

    # The first that speaks of a target is heard.
    repository.delegate("targets", "also", [other], paths=["docs/*.txt"])
    repository.add("docs/2.txt", b"the second role's own", "also")
    repository.add("docs/1.txt", b"not this one", "also", found=False)

    # A terminating role ends the search behind it.
    repository.delegate("targets", "ends", [ecdsa], paths=["last/*"], terminating=True)
    repository.delegate("targets", "behind", [ecdsa], paths=["last/*"])
    repository.add("last/one", b"of the terminating role", "ends")
    repository.add("last/two", b"?", "behind", found=False)
    repository.absent["last/two"] = "behind a terminating role"

    # Every other target, by the hash of its path.
    for first, bin_name in (("01234567", "bin-low"), ("89abcdef", "bin-high")):
        repository.delegate("targets", bin_name, [rsa], path_hash_prefixes=list(first))
    for n in range(16):
        path = f"bins/{n}"
        low = hashlib.sha256(path.encode()).hexdigest()[0] in "01234567"
        repository.add(path, path.encode(), "bin-low" if low else "bin-high")
    repository.publish()
    return repository.told()


def main(folder):
    folder = pathlib.Path(folder)
    told = {write.__name__: write(folder / write.__name__) for write in (flat, keys, delegations)}

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path):
            return str(folder.joinpath(*(part for part in path.split("/") if part not in ("", ".."))))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_port, "repositories": told}), flush=True)
    sys.stdin.read()


main(*sys.argv[1:])
