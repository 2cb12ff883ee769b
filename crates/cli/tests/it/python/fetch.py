"""What python-tuf's own client makes of a repository: it fetches every target that it can reach.

usage: fetch.py METADATA_URL TARGETS_URL ROOT DIR [--tamper PART]

ROOT is the first root, DIR is where the client keeps what it believes and what it fetched; run twice, it goes on from
there. With --tamper, one bit is flipped on the way, in the middle of every answer whose URL has PART in it.

Prints one line of JSON: the versions that it believes, and what each target path led to. When the repository is
refused, it prints the name of python-tuf's error and ends with exit code 3; any other failure is one of the test.
"""
import argparse
import hashlib
import json
import pathlib
import sys

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata
from tuf.ngclient import Updater
from tuf.ngclient.urllib3_fetcher import Urllib3Fetcher


class Thief(Urllib3Fetcher):
    """Flips one bit in the middle of what it is told to alter."""

    def __init__(self, part):
        super().__init__()
        self.part, self.altered = part, 0

    def _fetch(self, url):
        body = b"".join(super()._fetch(url))
        if self.part in url:
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1:]
            self.altered += 1
        yield body


def believed(folder):
    """The roles that the client has kept, by name."""
    files = pathlib.Path(folder).glob("*.json")
    return {file.stem: Metadata.from_file(str(file)).signed for file in files}


def fetch(args, fetcher):
    folder = pathlib.Path(args.dir)
    metadata, targets = folder / "metadata", folder / "targets"
    for part in (metadata, targets):
        part.mkdir(parents=True, exist_ok=True)
    updater = Updater(
        metadata_dir=str(metadata),
        metadata_base_url=args.metadata_url,
        target_dir=str(targets),
        target_base_url=args.targets_url,
        fetcher=fetcher,
        bootstrap=pathlib.Path(args.root).read_bytes(),
    )
    updater.refresh()
    # The first search makes it load the role that is delegated to.
    updater.get_targetinfo("channels/there is none of this name")
    roles = believed(metadata)
    paths = sorted({path for role in roles.values() for path in getattr(role, "targets", {})})
    found = {}
    for path in paths:
        info = updater.get_targetinfo(path)
        assert info is not None, f"{path} is listed and cannot be found"
        assert updater.find_cached_target(info) is None, f"{path} cannot be here before it is fetched"
        file = pathlib.Path(updater.download_target(info))
        assert updater.find_cached_target(info) == str(file)
        found[path] = hashlib.sha256(file.read_bytes()).hexdigest()
        file.unlink()
    return {"versions": {name: role.version for name, role in sorted(roles.items())}, "targets": found}


def main():
    parser = argparse.ArgumentParser()
    for name in ("metadata_url", "targets_url", "root", "dir"):
        parser.add_argument(name)
    parser.add_argument("--tamper", metavar="PART")
    args = parser.parse_args()
    thief = Thief(args.tamper) if args.tamper else None
    try:
        print(json.dumps(fetch(args, thief)))
    except RepositoryError as error:
        print(json.dumps({"refused": type(error).__name__, "because": str(error)}))
        sys.exit(3)
    finally:
        if thief and not thief.altered:
            print(f"nothing with {thief.part} in its URL was fetched", file=sys.stderr)
            sys.exit(4)


main()
