"""Which bug, which harness claims it, in the smallest form that catches it, and what that then says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import seeded_races

from seeded import of_files, of_forms, of_recovery, of_snapshots, of_the_catalog


@dataclass(frozen=True)
class Seeded:
    """``claim``: arguments of Python. ``symptom``: a pattern in what it prints when it has caught the bug.

    ``needs``: what the claim needs to be there, see ``test_seeded_bugs``.
    """

    bug: Callable[[], None]
    claim: tuple[str, ...]
    symptom: str
    settings: tuple[tuple[str, str], ...] = ()
    needs: str = ""


def _test(node: str) -> tuple[str, ...]:
    return ("-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", f"tests/{node}")


def _harness(name: str, *arguments: object) -> tuple[str, ...]:
    return (f"tests/proofs/{name}.py", *map(str, arguments))


_REPLAY = "proofs/test_replay.py::test_a_power_cut_loses_nothing_that_was_acknowledged[{}]"
_KILLS = "proofs/test_faults.py::test_killed_at_every_system_call[{}]"
_MEANWHILE = "test_named_meanwhile.py::test_what_is_named_while_a_collection_runs_is_spared[{}]"
_TIDYING = "test_collection.py::test_temporary_files_of_the_dead_are_tidied_and_those_of_the_living_are_not"
_ZOMBIE = "test_a_zombie_commit_does_not_come_back_for_a_file_that_has_no_row_yet"
_BETWEEN = "test_snapshots_beside.py::test_what_happens_between_the_look_and_the_commit_costs_no_bytes[{}]"
_LOOKS_BETWEEN = (
    "test_snapshots_beside.py::"
    "test_a_collection_that_looked_between_look_and_commit_takes_nothing_of_it[by the log]"
)
_FORKED = "test_lock_descriptors.py::test_a_child_forked_at_any_bytecode_keeps_no_lock[{}]"
_LOST_ROW = (
    "test_snapshot_damage.py::test_a_changed_row_of_a_snapshot_is_index_damage_and_nothing_is_taken"
    "[DELETE FROM snapshots]"
)
_FUZZ = "test_manifest_fuzz.py::test_reader_and_oracle_agree_on_mutations[20000]"
_FLUSH_FAILS = (
    "test_settling.py::test_a_flush_that_fails_is_an_unknown_outcome_and_puts_the_log_in_doubt_for_all[{}]"
)
_CUT_FAILS = "test_settling.py::test_an_error_while_the_log_is_emptied_puts_it_in_doubt_for_all[{}]"

SEEDED: dict[str, Seeded] = {
    # --- files
    "a blob is written in place": Seeded(
        of_files.write_in_place,
        _test(_KILLS.format("write-same-stream")),
        "the bytes hash to",
        needs="strace",
    ),
    "a file without a row is trusted": Seeded(
        of_files.trust_a_file_without_a_row,
        _test(_REPLAY.format("the unflushed link of another")),
        "missing|damaged",
        (("REPLAY_STATES", "60"),),
        needs="strace",
    ),
    "a rotten file is kept": Seeded(
        of_files.keep_a_rotten_copy,
        _test("test_rotten_bytes.py::test_storing_the_bytes_again_heals_a_rotten_copy[blake3-put-middle]"),
        "BlobHashMismatchError",
    ),
    "errors of a listing are ignored": Seeded(
        of_files.ignore_errors_of_a_listing,
        _test("test_collection.py::test_a_listing_that_fails_stops_a_collection_with_nothing_deleted"),
        "DID NOT RAISE",
    ),
    "temporary files of the living are tidied": Seeded(
        of_files.tidy_the_living,
        _test(_TIDYING),
        "AssertionError: assert {",
    ),
    "life is told by age": Seeded(
        of_files.tell_life_by_age,
        _test(
            "test_collection.py::test_temporary_files_of_the_dead_are_tidied_and_those_of_the_living_are_not"
        ),
        "AssertionError: assert {",
    ),
    "a full disk keeps nothing back": Seeded(
        of_files.keep_nothing_back,
        _test("proofs/test_limits.py::test_on_a_full_disk_space_can_be_won_back[small-8]"),
        "StorageFullError",
        needs="root",
    ),
    "a moved store goes on": Seeded(
        of_files.go_on_where_another_store_is,
        _test("test_moved_while_open.py::test_the_first_large_write_goes_nowhere_either[move_and_copy]"),
        "DID NOT RAISE",
    ),
    "a stored catalog is taken for ours": Seeded(
        of_files.take_any_catalog_for_ours,
        _test("test_repair_store.py::test_a_database_that_is_stored_is_never_taken_for_the_catalog"),
        r"== \(False, 0\)",
    ),
    "connections stay open over a fork": Seeded(
        of_the_catalog.fork_with_connections,
        _test("proofs/test_hazard_fork.py::test_a_child_writes_to_a_log_that_its_parent_cannot_delete"),
        r"\['parent'\] == \['child', 'parent'\]",
    ),
    "a fork counts the connections that are idle": Seeded(
        of_the_catalog.count_the_idle_at_a_fork,
        _test("test_pool.py::test_no_connection_is_open_at_a_fork_whenever_a_reader_comes[taken-False]"),
        "a connection was open at the fork",
    ),
    "forks are overlooked while a lock is opened": Seeded(
        of_the_catalog.overlook_forks_while_opening,
        _test(_FORKED.format("a lock is taken")),
        "a child has kept a lock",
    ),
    "a lock is closed and not let go": Seeded(
        of_the_catalog.close_without_unlocking,
        _test(_FORKED.format("a lock is let go")),
        "a child has kept a lock",
    ),
    "a read is not verified": Seeded(
        of_files.read_unverified, _harness("test_damage", 1, 60), "WrongBytesError"
    ),
    # --- the catalog
    "a condition is not checked": Seeded(
        of_the_catalog.check_no_condition, _harness("increments", 4, 50), "4 x 50 made"
    ),
    "the time of a path goes back": Seeded(
        of_the_catalog.let_time_go_back,
        _test("test_conditional.py::test_the_time_of_a_path_never_goes_back_with_the_clock"),
        "updated_at_ms",
    ),
    "an interrupt leaves a transaction open": Seeded(
        of_the_catalog.leave_a_transaction_open,
        _test("proofs/test_interrupts.py::test_interrupted_at_every_line[delete-KeyboardInterrupt]"),
        "StoreBusyError",
    ),
    "an error of the log is forgotten": Seeded(
        of_the_catalog.forget_that_the_log_is_in_doubt,
        _test(_FLUSH_FAILS.format("full")),
        "== b'.x01'",
        needs="strace",
    ),
    "an error while the log is cut is forgotten": Seeded(
        of_the_catalog.forget_an_error_while_the_log_is_cut,
        _test(_CUT_FAILS.format("truncating")),
        "== b'.x01'",
        needs="strace",
    ),
    "an unknown outcome is told as none": Seeded(
        of_the_catalog.report_an_unknown_outcome_as_none,
        _test(_FLUSH_FAILS.format("full")),
        "StorageIOError",
        needs="strace",
    ),
    "a group is told before its commit": Seeded(
        of_the_catalog.tell_before_the_commit,
        _test(
            "test_group_commit.py::test_nobody_is_told_of_what_a_neighbour_did_that_was_then_undone",
        ),
        "FileConflictError",
    ),
    "a group is noted as done before its commit": Seeded(
        of_the_catalog.note_success_before_the_commit,
        _test(
            "test_group_interrupts.py::"
            "test_whoever_is_struck_nobody_is_told_a_lie_or_waits_for_ever[head-MemoryError]",
        ),
        "was acknowledged and is not there",
    ),
    "a conflict in a group is not taken back": Seeded(
        of_the_catalog.keep_what_a_conflict_left_in_a_group,
        _test("test_group_commit.py::test_who_conflicts_is_told_and_the_others_go_on"),
        "AssertionError|assert not True",
    ),
    "a transaction remembers what was undone": Seeded(
        of_the_catalog.remember_what_was_undone,
        _test("test_group_commit.py::test_a_transaction_whose_group_was_undone_is_checked_again"),
        "AssertionError",
    ),
    "the room of the log is written over it": Seeded(
        of_the_catalog.write_the_room_of_the_log_over_it,
        _test("test_wal_room.py::test_room_is_never_made_where_something_is"),
        "assert b",
    ),
    "the log grows beside busy writers": Seeded(
        of_the_catalog.let_the_log_grow,
        _test("test_wal_length.py::test_who_writes_copies_the_log_when_nobody_else_has[8]"),
        r"assert \d{4,} < .400 . 200.",
    ),
    "room is made beside a checkpoint": Seeded(
        of_the_catalog.make_room_beside_a_checkpoint,
        _test("proofs/test_hazards_extending.py"),
        "corrupt blobs",
        needs="strace",
    ),
    "a log in doubt is copied": Seeded(
        of_the_catalog.copy_a_log_in_doubt,
        _test("test_wal_in_doubt.py::test_what_is_in_doubt_is_not_copied[shorten]"),
        "assert b",
    ),
    "what was copied unflushed is not copied again": Seeded(
        of_the_catalog.copy_nothing_again,
        _test("test_wal_in_doubt.py::test_settling_copies_again_what_was_copied_without_a_flush"),
        "CatalogError|malformed|contradicts|assert",
    ),
    "what is lost of the log is copied": Seeded(
        of_the_catalog.settle_what_is_lost,
        _test("test_wal_chain.py::test_a_log_that_is_lost_as_a_whole_is_not_taken_for_the_one_before_it"),
        "database disk image is malformed",
    ),
    "an index in any order is taken for sound": Seeded(
        of_the_catalog.take_an_index_in_any_order,
        _test(
            "test_audit_damage.py::"
            "test_what_a_scan_finds_and_a_search_does_not_is_damage[sqlite_autoindex_blobs_1]",
        ),
        "assert \\(\\)|index_damage",
    ),
    "a row that was not sought is believed": Seeded(
        of_the_catalog.take_the_row_that_a_search_ends_at,
        _test(
            "test_wrong_rows.py::"
            "test_content_that_is_stored_again_replaces_no_other_that_would_seem_to_be_damaged"
        ),
        "assert .* >= ",
    ),
    "a rotten row is kept": Seeded(
        of_the_catalog.trust_a_rotten_row,
        _test("test_collection.py::test_a_rotten_inline_blob_is_refused_found_and_healed"),
        "BlobHashMismatchError",
    ),
    "the digest keeps what is deleted": Seeded(
        of_the_catalog.forget_the_digest_of_what_is_deleted,
        _harness("random_kills", 1, 60),
        "are not the set that was written",
    ),
    "the digest of pins is not kept": Seeded(
        of_the_catalog.forget_the_digest_of_pins,
        _harness("random_kills", 1, 60),
        "are not the set that was written",
    ),
    "a checksum is not compared": Seeded(
        of_the_catalog.compare_no_checksum,
        _test("test_audit_damage.py::test_an_entry_that_is_damaged_is_never_read_as_good"),
        "DID NOT RAISE CatalogError",
    ),
    # --- collections
    "a collection does not check again": Seeded(
        of_the_catalog.take_without_checking_again,
        _test(_MEANWHILE.format("when it has looked-link-large")),
        "hash_bytes.data. not in taken",
    ),
    "writers do not serve the recorder": Seeded(
        seeded_races.name_without_telling_a_collection,
        _harness("schedule_scenarios", "link, prune"),
        "again: python tests/proofs/schedule_scenarios.py 'link, prune'",
    ),
    "a batch of stray files commits nothing": Seeded(
        of_the_catalog.commit_nothing_for_a_file_without_a_row,
        _test("proofs/test_hazards_collection.py::" + _ZOMBIE),
        r"== \(\)",
        needs="strace",
    ),
    "a lease keeps nothing": Seeded(
        of_the_catalog.take_all_leases_for_dead,
        _test("test_audit.py::test_what_is_leased_or_staged_is_no_orphan"),
        "False = is_clean",
    ),
    "what is in flight is taken": Seeded(
        of_the_catalog.take_what_is_in_flight,
        _test("test_collection.py::test_a_stray_file_is_an_orphan_once_nobody_is_bringing_it_in"),
        "'1 1' == '0 0'",
    ),
    "a damaged catalog is believed": Seeded(
        of_the_catalog.believe_a_damaged_catalog,
        _test("proofs/test_hazards_collection.py::test_a_damaged_catalog_costs_no_live_blob"),
        "a live blob was taken",
    ),
    # --- the index
    "an import takes two commits": Seeded(
        of_the_catalog.import_in_two_commits,
        _test(_KILLS.format("import")),
        "PathNotFoundError",
        needs="strace",
    ),
    "what is not there is named": Seeded(
        of_the_catalog.name_what_is_not_there,
        _test("test_pins.py::test_what_has_lost_its_bytes_cannot_be_pinned"),
        "DID NOT RAISE",
    ),
    "a stream is not what was announced": Seeded(
        of_the_catalog.store_before_hashing_a_stream,
        _test("test_streams_in.py::test_what_was_not_expected_leaves_no_trace[blake3-8193]"),
        "DID NOT RAISE",
    ),
    # --- snapshots
    "a snapshot trusts its look": Seeded(
        of_snapshots.trust_the_look,
        _test(_BETWEEN.format("deleted, and collected-by the log")),
        "BlobMissingError",
    ),
    "a snapshot tells no collection": Seeded(
        of_snapshots.tell_no_collection,
        _test(_LOOKS_BETWEEN),
        "not in",
    ),
    "a collection knows no snapshots": Seeded(
        of_snapshots.collect_without_snapshots,
        _test("test_snapshots.py::test_a_prune_spares_all_that_a_snapshot_names_until_it_is_dropped[blake3]"),
        "BlobMissingError",
    ),
    "lost snapshots are not missed": Seeded(
        of_snapshots.miss_lost_rows,
        _test(_LOST_ROW),
        "index_damage",
    ),
    "a part is told by letters": Seeded(
        of_snapshots.restore_by_letters,
        _test("test_snapshot_restore.py::test_a_part_is_restored_and_nothing_beside_it[blake3-docs]"),
        "AssertionError",
    ),
    # --- recovery
    "what a dead repair lost is forgotten": Seeded(
        of_recovery.forget_what_a_dead_repair_lost,
        _test(
            "test_repair_cut_off.py::test_a_repair_that_died_is_no_reason_to_forget_what_it_could_not_save"
        ),
        "assert not True",
    ),
    "what a repair lost is overwritten": Seeded(
        of_recovery.overwrite_what_a_repair_lost,
        _test("test_backup.py::test_a_backup_from_before_a_repair_that_lost_files_keeps_them"),
        "DID NOT RAISE",
    ),
    # --- forms
    "bytes behind a manifest are accepted": Seeded(
        of_forms.accept_bytes_behind_the_end, _test(_FUZZ), "accepted: d9d9f7"
    ),
    "a manifest in any order is accepted": Seeded(
        of_forms.accept_any_order, _test(_FUZZ), "accepted: d9d9f7"
    ),
    "a path twice in a manifest is accepted": Seeded(
        of_forms.accept_a_path_twice, _test(_FUZZ), "accepted: d9d9f7"
    ),
    "a line feed behind a hash is accepted": Seeded(
        of_forms.accept_a_line_feed_behind_a_hash,
        _test("test_contracts.py::TestBlobsOfALocalStore::test_what_is_no_hash_is_refused"),
        "2 failed",
    ),
    "a path may climb out": Seeded(
        of_forms.climb_out, _test("test_paths.py::test_no_spelling_climbs_out"), r"\.\."
    ),
}
