"""What is stored, and the keys of the store, stand in no message, log, report or output."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_world_distfs import LocalCasStore
from behind import blob_file, look

CANARY = "canary-4711"

FAILING_CALLS = """
import faulthandler, io, logging, sys, traceback, warnings
from pathlib import Path

logging.basicConfig(level=logging.DEBUG)
warnings.simplefilter("always")
from agent_world_distfs import *

location, canary = sys.argv[1], Path(sys.argv[2]).read_text()
small, large = canary.encode(), canary.encode() * 2_000
store = LocalCasStore(location)
store.write_file("small", small)
store.write_file("large", large)
store.pin(store.put_bytes(b"pinned " + small))
ref = store.export_file_index_manifest(pin=True)
name = store.hash_bytes(large)
other = store.hash_bytes(b"other")

class Broken:
    def read(self, size):
        return canary

class Short:
    def __init__(self):
        self.parts = [small, large]
    def read(self, size):
        if not self.parts:
            raise OSError(5, "Input/output error")
        return self.parts.pop(0)[:size]

def rot():
    for path in Path(location, "blobs").glob("*/*"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)

def lose():
    for path in Path(location, "blobs").glob("*/*"):
        path.unlink()

calls = [
    lambda: store.put(other, small),
    lambda: store.put(other, large),
    lambda: store.put_stream(io.BytesIO(large), expected_content_hash=other),
    lambda: store.put_stream(Broken()),
    lambda: store.put_stream(Short()),
    lambda: store.write_file_stream("x", Short()),
    lambda: store.write_file("..", small),
    lambda: store.write_file("a", canary),
    lambda: store.write_file("a", [small]),
    lambda: store.write_file_if_match("small", ABSENT, large),
    lambda: store.write_file_if_match("none", other, small),
    lambda: store.import_file_index_manifest(FileIndexManifestRef(name, len(large))),
    lambda: store.read_file_index_manifest(FileIndexManifestRef(store.hash_bytes(small), len(small))),
    rot,
    lambda: store.read_file("large"),
    lambda: store.get(name),
    lambda: store.import_file_index_manifest(ref),
    lambda: print(store.audit_file_index(verify=True)),
    lambda: store.checkout(location + ".out"),
    lambda: LocalCasStore(location + ".other").pull_index(store),
    lose,
    lambda: store.read_file("large"),
    lambda: print(store.audit_file_index(verify=True)),
    lambda: print(store.prune_orphan_blobs()),
    lambda: print(repr(store), store.list_files(), store.list_pins()),
    store.close,
    lambda: store.write_file("closed", large),
]
failed = 0
for call in calls:
    try:
        call()
    except Exception as error:
        failed += 1
        traceback.print_exc()
        print(repr(error), error, vars(error), error.args, getattr(error, "__notes__", ""))
print("failed:", failed)
"""


def test_content_and_keys_are_in_no_message_log_or_report(location: Path, tmp_path: Path) -> None:
    ((key,),) = look(location, "SELECT checksum_key FROM store")
    assert isinstance(key, bytes)
    secret = tmp_path / "secret"
    secret.write_text(CANARY)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", FAILING_CALLS, location, secret],
        capture_output=True,
        check=True,
    )
    said = done.stdout + done.stderr
    assert b"failed: 2" in said, done.stderr.decode()  # twenty and some
    assert CANARY.encode() not in said
    assert key not in said
    assert key.hex().encode() not in said
    assert repr(key)[2:-1].encode() not in said


FAILING_COMMANDS: dict[str, Callable[[Path], list[str]]] = {
    "a conflict": lambda secret: ["write", "large", str(secret), "--if-absent"],
    "a path that is none": lambda secret: ["write", "..", str(secret)],
    "a hash that is none": lambda secret: ["get", "no-hash"],
    "rotten bytes": lambda secret: ["read", "large"],
    "an audit": lambda secret: ["audit", "--verify"],
    "a directory that is in the way": lambda secret: ["checkout", str(secret.parent)],
    "no such command": lambda secret: ["wirte", str(secret)],
}


@pytest.mark.parametrize("words", FAILING_COMMANDS.values(), ids=FAILING_COMMANDS.keys())
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_no_command_that_fails_prints_content(
    words: Callable[[Path], list[str]], form: list[str], location: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(CANARY.encode() * 2_000)
    with LocalCasStore(location) as store:
        content_hash = store.write_file("large", secret.read_bytes()).content_hash
    with blob_file(location, content_hash).open("r+b") as file:
        file.write(b"!")
    done = subprocess.run(
        [Path(sys.executable).with_name("distfs"), "--store", location, *form, *words(secret)],
        env={**os.environ, "DISTFS_DEBUG": "1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0
    assert CANARY.encode() not in done.stdout + done.stderr
