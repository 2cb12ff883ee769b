"""python-tuf's opinion of metadata, for a test that compares it with ours.

Reads one line of JSON at a time, a list of questions, and answers each line with a line: a list of answers. Questions:

{"set": {...}}       a device and what it is served: trusted root, cache, files (in hexadecimal), time, and target paths to look up
{"key": {...}}       whether a signature over a message is by a key
{"pattern": {...}}   whether a delegated role may speak of a target path

Whatever python-tuf raises is a refusal, and its name is the answer: {"refused": "BadVersionNumberError: ..."}.
"""
import datetime
import json
import pathlib
import shutil
import sys
import tempfile
import warnings

from securesystemslib.signer import Key, Signature
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import DelegatedRole
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

warnings.simplefilter("ignore")
BASE = "memory:/"
MEMORY = "/dev/shm" if pathlib.Path("/dev/shm").is_dir() else None


class Served(FetcherInterface):
    def __init__(self, files):
        self.files = files

    def _fetch(self, url):
        name = url.removeprefix(BASE)
        if name not in self.files:
            raise DownloadHTTPError(name, 404)
        yield bytes.fromhex(self.files[name])


def judge_set(question):
    folder = tempfile.mkdtemp(dir=MEMORY, prefix="updraft-judge-")
    try:
        for name, content in question["cache"].items():
            pathlib.Path(folder, name).write_bytes(bytes.fromhex(content))
        updater = Updater(
            metadata_dir=folder,
            metadata_base_url=BASE,
            fetcher=Served(question["files"]),
            bootstrap=bytes.fromhex(question["root"]),
        )
        now = datetime.datetime.fromtimestamp(question["now"], datetime.timezone.utc)
        updater._trusted_set.reference_time = now
        updater.refresh()
        found = {}
        for path in question["paths"]:
            info = updater.get_targetinfo(path)
            found[path] = None if info is None else {"length": info.length, "hashes": info.hashes}
        roles = ("root", "timestamp", "snapshot", "targets")
        return {"versions": {role: updater._trusted_set[role].version for role in roles}, "found": found}
    finally:
        shutil.rmtree(folder)


def judge_key(question):
    key = Key.from_dict("id", question["key"])
    key.verify_signature(Signature("id", question["signature"]), question["message"].encode())
    return {"verified": True}


def judge_pattern(question):
    role = DelegatedRole("role", [], 1, False, question.get("paths"), question.get("path_hash_prefixes"))
    return {"may_speak": role.is_delegated_path(question["path"])}


def answer(question):
    [(kind, body)] = question.items()
    try:
        return {"set": judge_set, "key": judge_key, "pattern": judge_pattern}[kind](body)
    except Exception as error:
        names = [type(error).__name__]
        while error.__cause__ is not None:
            error = error.__cause__
            names.append(type(error).__name__)
        return {"refused": " < ".join(names) + f": {error}"[:300]}


for line in sys.stdin:
    print(json.dumps([answer(question) for question in json.loads(line)]), flush=True)
