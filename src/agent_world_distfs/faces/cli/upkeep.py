"""Commands that maintain a store: init audit prune upgrade."""

from __future__ import annotations

import click

from agent_world_distfs import HashAlgorithm, PruneReport, UpgradeReport, upgrade_store
from agent_world_distfs.faces.cli import output
from agent_world_distfs.faces.cli.failures import ExitCode
from agent_world_distfs.faces.cli.findings import describe
from agent_world_distfs.faces.cli.invocation import Invocation, pass_invocation
from agent_world_distfs.faces.cli.options import Budget, command, takes_budget, takes_hash_algorithm


@command("init", "distfs init --store world", "distfs init --store world --hash-algorithm sha256")
@takes_hash_algorithm("The hash that names content, for the life of the store; blake3 by default.")
@pass_invocation
def init(invocation: Invocation, hash_algorithm: HashAlgorithm | None) -> None:
    """Make a store. An existing one is left as it is if its hash algorithm is the same.

    write, update, put, import-tree, adopt and pull make a missing store too.
    """
    is_new = invocation.is_missing()
    with invocation.make_store(hash_algorithm) as store:
        location, algorithm = store.location, store.hash_algorithm
    did = "Made a store" if is_new else "There is a store already"
    invocation.answer(
        {"location": location, "hash_algorithm": algorithm, "created": is_new},
        [f"{did} in {output.printable(location)} ({algorithm.value})."],
    )


@command("audit", "distfs audit", "distfs audit --verify --strict", "distfs audit --verify --budget 10GB")
@click.option("--verify", is_flag=True, help="Also hash every byte.")
@takes_budget()
@click.option("--strict", is_flag=True, help="Also exit with 5 for orphans.")
@pass_invocation
def audit(invocation: Invocation, *, verify: bool, budget: Budget | None, strict: bool) -> int:
    """Compare index and bytes, and say what to do about each finding.

    The exit code is 0 if the store is sound (nothing missing, damaged or corrupt), else 5. Orphans, bytes
    that nothing names, are not damage: every overwrite leaves some, and `distfs prune` removes them.
    """
    if budget is not None and not verify:
        raise click.UsageError("--budget needs --verify")
    limits = budget or Budget()
    store = (
        invocation.read_store() if budget is None else invocation.open_store()
    )  # which remembers how far it came
    with store, invocation.watching("audit") as progress:
        report = store.audit_file_index(
            verify=verify,
            max_bytes=limits.max_bytes,
            max_seconds=limits.max_seconds,
            progress=progress,
        )
        verdict = {"is_sound": report.is_sound(), "is_clean": report.is_clean()}
        invocation.answer(output.fields(report) | verdict, describe(report, store))
    is_fine = report.is_clean() if strict else report.is_sound()
    return ExitCode.OK if is_fine else ExitCode.CORRUPT


@command("prune", "distfs prune --dry-run", "distfs prune")
@click.option("--dry-run", is_flag=True, help="Report what would be removed, but remove nothing.")
@pass_invocation
def prune(invocation: Invocation, *, dry_run: bool) -> None:
    """Remove blobs that no path, pin, snapshot, kept history or running operation names.

    Safe while others write: bytes that a running process has stored but not named yet are kept.
    """
    store = invocation.read_store() if dry_run else invocation.open_store()
    with store, invocation.watching("prune", "blobs") as progress:
        report = store.prune_orphan_blobs(dry_run=dry_run, progress=progress)
    invocation.answer(output.fields(report) | {"dry_run": dry_run}, [_pruned(report, dry_run=dry_run)])


def _pruned(report: PruneReport, *, dry_run: bool) -> str:
    did = "Would remove" if dry_run else "Removed"
    taken = output.counted(report.pruned_blobs, "orphan blob")
    return f"{did} {taken}, {output.shown_size(report.freed_bytes)}."


@command("upgrade", "distfs upgrade --store world")
@pass_invocation
def upgrade(invocation: Invocation) -> None:
    """Upgrade a store of an older format.

    All or nothing, in one step. Refused while another process has the store open. Older versions of distfs
    cannot open it afterwards.
    """
    report = upgrade_store(invocation.place())
    invocation.answer(report, [_upgraded(report)])


def _upgraded(report: UpgradeReport) -> str:
    if report.format_before == report.format_after:
        return f"The store has format {report.format_after} already."
    return f"The store had format {report.format_before} and now has format {report.format_after}."
