"""A client as a reader of the seed's blog post would write it: urllib, pickle, hashlib and nothing of ours.

usage: seed_client.py URL DIR

Asks for the version, fetches the list, compares MD5s, downloads what is different or missing, deletes what it downloaded
earlier and is no longer listed. Prints what it did as JSON.
"""
import hashlib
import json
import os
import pathlib
import pickle
import sys
import urllib.parse
import urllib.request


def fetch(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read()


def main(url, folder):
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    news = json.loads(fetch(url + "/checkUpdate"))
    listed = pickle.loads(fetch(url + "/listFile"))
    assert isinstance(listed, dict) and all(isinstance(v, str) and len(v) == 32 for v in listed.values()), listed
    memory = folder.with_suffix(".listed")
    before = json.loads(memory.read_text()) if memory.exists() else []
    downloaded, deleted, size = [], [], 0
    for path, md5 in sorted(listed.items()):
        mine = folder / path
        if mine.exists() and hashlib.md5(mine.read_bytes()).hexdigest() == md5:
            continue
        content = fetch(url + "/" + urllib.parse.quote(path))
        assert hashlib.md5(content).hexdigest() == md5, f"{path} is not what the list says"
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.write_bytes(content)
        downloaded.append(path)
        size += len(content)
    for path in before:
        if path not in listed and (folder / path).exists():
            os.remove(folder / path)
            deleted.append(path)
    memory.write_text(json.dumps(sorted(listed)))
    print(json.dumps({"version": news["Version"], "msg": news["Msg"], "downloaded": downloaded, "deleted": deleted, "bytes": size}))


main(*sys.argv[1:])
