"""Every bad input and attack of the lists, what must happen, and the tests that say so."""

from __future__ import annotations

from dataclasses import dataclass

_BAD = "tests/attacks/test_bad_inputs.py"
_BUNDLE = "tests/attacks/test_bundle_attacks.py"
_TRUST = "tests/attacks/test_trust_attacks.py"
_TRIAL = "tests/attacks/test_hostile_models_trial.py"
_WEIGHTS = "tests/attacks/test_weights_attacks.py"
_WORKER = "tests/attacks/test_worker_attacks.py"
_EDGE = "tests/edge_runtime"
_FORMAT = f"{_EDGE}/contract/bundle"


@dataclass(frozen=True)
class Row:
    """One line of a list.

    Attributes:
        what: the input or attack.
        then: what must happen.
        tests: who says so, each ``FILE::NAME``.
    """

    what: str
    then: str
    tests: tuple[str, ...]


def _row(what: str, then: str, file: str, *names: str) -> Row:
    """Return a row; a name with a file of its own keeps it."""
    tests = (name if "::" in name else f"{file}::test_{name}" for name in names)
    return Row(what, then, tuple(tests))


INPUTS = (
    _row(
        "a payload file absent from the signed list",
        "`files-mismatch`",
        _BUNDLE,
        "an_extra_layer_is_refused",
        "an_extra_file_that_is_signed_but_in_no_table_is_refused",
        "a_missing_file_that_no_signature_covers_is_refused",
    ),
    _row(
        "bytes that no hash covers",
        "every changed byte is refused, or changes neither a decision nor an installed byte",
        "tests/attacks/test_byte_flips.py",
        "every_changed_byte_is_refused_or_changes_nothing",
    ),
    _row(
        "a trust directory that is missing, empty, changed or unreadable",
        "refusal: never an empty set of rules",
        _BAD,
        "trust_that_cannot_be_read_means_refusal_and_is_never_skipped",
        "a_trust_directory_that_may_not_be_read_is_no_empty_one",
    ),
    _row(
        "a payload over 2 GiB and 4 GiB, with a hole",
        "covered to its last byte",
        _BUNDLE,
        "a_payload_over_two_and_four_gibibytes_is_covered_to_its_last_byte",
    ),
    _row(
        "a bundle swapped between verification and use",
        "refused, or without effect: what was opened is what is copied",
        f"{_FORMAT}/test_verify.py",
        "a_bundle_swapped_between_verification_and_use_is_refused",
        "a_bundle_renamed_over_between_verification_and_use_changes_nothing",
    ),
    _row(
        "duplicate signatures or resources",
        "`signature-invalid`",
        _BAD,
        "a_second_signature_beside_a_good_one_is_refused",
        "a_valid_signature_over_an_odd_statement_is_refused",
    ),
    _row(
        "rejected metadata",
        "the store is byte for byte as before, and trusts nothing more later",
        _BAD,
        "a_row_of_refused_bundles_leaves_nothing_that_a_later_one_is_trusted_by",
        f"{_EDGE}/test_errors.py::test_an_error_is_typed_says_both_sides_and_changes_nothing",
    ),
    _row(
        "different content under the same version",
        "`version-conflict`",
        _BAD,
        "other_content_under_an_installed_version_is_refused",
    ),
    _row(
        "an unknown hash algorithm, odd names, wrong types",
        "`signature-invalid`, `manifest-invalid`, `archive-corrupt`, also where validly signed",
        _BAD,
        "a_valid_signature_over_an_odd_statement_is_refused",
        f"{_BUNDLE}::test_a_path_that_leaves_the_package_is_refused_signed_or_not",
        f"{_FORMAT}/test_signature.py::"
        "test_a_statement_of_another_form_is_refused_though_validly_signed",
    ),
    _row(
        "a floor that was raised, and then a new version that is unhealthy",
        "back to the last version proven; nothing below the floor is installed",
        _BAD,
        "the_floor_rises_with_what_was_found_good_and_an_unhealthy_version_above_it_goes_back",
    ),
    _row(
        "a clock in 1970, 2099, or jumping back",
        "no decision asks it",
        _BAD,
        "no_decision_asks_the_clock",
        f"{_TRUST}::test_no_clock_is_asked_by_anything_that_decides_on_trust",
    ),
    _row(
        "a release near 2⁶³",
        "installs up to 2⁶³ less one, `manifest-invalid` beyond",
        _BAD,
        "a_release_near_the_largest_number_installs_and_none_after_it_is_taken_for_newer",
    ),
    _row(
        "an activation interrupted, and a second deployment",
        "the old or the new serves, and the second just works",
        _BAD,
        "a_deployment_that_ends_midway_leaves_the_old_or_the_new_and_the_next_one_works",
    ),
    _row(
        "a stick with AppleDouble files, two bundles, odd names",
        "the newest that fits is taken; each other is skipped with a word",
        f"{_EDGE}/test_sticks.py",
        "every_other_bundle_is_skipped_with_a_word",
        "the_newest_release_is_taken_by_its_number_and_not_by_its_name",
        "names_from_a_stick_cannot_draw_on_the_terminal",
        f"{_EDGE}/test_stick_search.py::test_what_only_looks_like_a_bundle_is_skipped_with_a_word",
    ),
    _row(
        "a stick removed while it is copied (EIO)",
        "a typed error; the next one works",
        f"{_EDGE}/test_sticks_mounted.py",
        "a_stick_pulled_midway_is_typed_and_the_next_one_works",
        "a_read_that_fails_is_typed_and_leaves_nothing",
    ),
    _row(
        "no space",
        "`no-space` with numbers, before anything is written where it can be known",
        f"{_EDGE}/test_sticks_mounted.py",
        "a_store_too_small_is_told_with_numbers_before_anything_is_written",
        "a_stream_larger_than_the_disk_is_given_up_and_leaves_no_byte",
        f"{_EDGE}/state/test_disk.py::test_every_fault_while_writing_is_typed_and_names_the_place",
    ),
    _row(
        "links and hard links out of the tree",
        "`archive-corrupt` in a bundle, `store-corrupt` in the store",
        _BAD,
        "mapped_weights_that_are_a_link_are_not_mapped",
        "a_weights_file_that_is_a_link_in_a_bundle_directory_is_refused",
        f"{_FORMAT}/test_verify_installed.py::test_a_directory_that_is_not_as_installed_is_refused",
        f"{_FORMAT}/test_archive.py::test_a_trick_is_refused",
    ),
    _row(
        "a name twice in the archive",
        "`archive-corrupt`",
        _BAD,
        "a_file_that_stands_twice_in_the_archive_is_refused",
    ),
    _row(
        "a valid bundle of another product or another target",
        "a model beside this one; `no-matching-target`; keys count for their names alone",
        _BAD,
        "a_bundle_of_another_product_changes_nothing_of_this_one",
        f"{_TRUST}::test_wrong_software_installation",
        f"{_EDGE}/test_runtime.py::test_a_bundle_for_other_machines_says_what_they_are",
    ),
    _row(
        "the manifest of one release with the weights of another",
        "`digest-mismatch`, `files-mismatch`",
        _BUNDLE,
        "the_manifest_of_the_release_before_over_these_weights_is_refused",
        "weights_of_the_release_before_under_this_manifest_are_refused",
        "a_signature_of_another_release_is_refused",
    ),
    _row(
        "an older signed bundle",
        "`release-too-old` below the floor, also after the record was lost",
        _BAD,
        "the_floor_rises_with_what_was_found_good_and_an_unhealthy_version_above_it_goes_back",
        f"{_EDGE}/test_runtime.py::test_a_lost_record_opens_no_way_back_to_an_older_release",
    ),
    _row(
        "a record restored from a backup",
        "one copy changes nothing; both serve nothing that was never proven",
        _BAD,
        "a_copy_of_the_record_out_of_a_backup_changes_nothing",
        "a_whole_record_out_of_a_backup_serves_only_what_was_proven",
    ),
    _row(
        "a revoked key, and the revocation arriving on the stick",
        "`signer-revoked`: the list counts before the bundle beside it",
        _TRUST,
        "a_revocation_that_arrives_on_the_stick_counts_before_the_bundle_beside_it",
        "a_withdrawn_release_is_not_loaded_by_keys_that_are_named_instead",
    ),
    _row(
        "a bad stick and then a good one",
        "the good one installs",
        f"{_EDGE}/test_sticks.py",
        "a_bad_stick_and_then_a_good_one_works",
        f"{_TRUST}::test_a_bad_stick_and_then_a_good_one",
    ),
)

TUF = (
    _row(
        "arbitrary installation",
        "what no trusted key signed is not installed",
        _TRUST,
        "arbitrary_installation",
        "arbitrary_installation_under_a_borrowed_root",
    ),
    _row(
        "endless data",
        "every length is bounded before it is read",
        _TRUST,
        "endless_data",
        "endless_data_inside_a_bundle",
        f"{_EDGE}/test_spool.py::test_an_endless_stream_ends_where_the_disk_would_be_full",
    ),
    _row(
        "extraneous dependencies",
        "a package names no other",
        _TRUST,
        "extraneous_dependencies",
    ),
    _row("fast-forward", "the highest serial is still one", _TRUST, "fast_forward"),
    _row(
        "indefinite freeze",
        "cannot be told offline; `trust list` shows the serial",
        _TRUST,
        "indefinite_freeze",
    ),
    _row(
        "malicious mirrors",
        "leaving the list out, or bringing an old one, changes nothing",
        _TRUST,
        "malicious_mirrors_that_leave_the_list_out",
        "malicious_mirrors_that_bring_an_old_bundle_with_an_old_list",
    ),
    _row(
        "mix and match",
        "files, targets and releases count only as they were signed together",
        _TRUST,
        "mix_and_match",
        "mix_and_match_of_targets",
        f"{_BUNDLE}::test_targets_of_two_releases_are_refused",
    ),
    _row(
        "rollback",
        "no lower serial, no root that was left behind, no release below the floor",
        _TRUST,
        "rollback_of_the_list",
        "rollback_to_a_root_that_was_left_behind",
    ),
    _row(
        "slow retrieval",
        "readers and the writer's lock are not held up",
        _TRUST,
        "slow_retrieval",
    ),
    _row(
        "key compromise",
        "a withdrawn key counts no more; another root ends that of the root",
        _TRUST,
        "key_compromise_of_a_release_key",
        "key_compromise_of_the_root_is_ended_by_pinning_another",
        f"{_FORMAT}/test_certificate_names.py::"
        "test_a_withdrawn_certificate_is_withdrawn_in_its_other_form_too",
    ),
    _row(
        "wrong software installation",
        "a key counts for its names alone",
        _TRUST,
        "wrong_software_installation",
    ),
)

MODELS = (
    _row(
        "68 bytes that take 8 GiB while they run (ConstantOfShape), 77 bytes (Tile)",
        "the trial ends them by name, [in figures](trial.md)",
        _TRIAL,
        "a_graph_that_wants_4_gib_fails_its_trial_by_its_working_set",
        "the_limits_alone_refuse_what_the_engine_asks_for",
    ),
    _row(
        "207 bytes that never end (Loop)",
        "the trial ends it; a deadline does while it serves",
        _TRIAL,
        "a_loop_without_an_end_fails_its_trial_by_its_time",
        "the_limits_alone_end_what_never_answers",
    ),
    _row(
        "a sparse tensor",
        "refused before any engine opens it",
        _TRIAL,
        "a_sparse_tensor_is_refused_before_any_engine_opens_it",
    ),
    _row(
        "weights out of an absolute path, `..`, another file, beyond their end",
        "`graph-refused`",
        _WEIGHTS,
        "a_graph_that_names_another_file_is_refused",
        "a_graph_that_reads_past_the_end_of_its_weights_is_refused",
        "a_reference_inside_a_node_is_found",
    ),
    _row(
        "weights through a link or a hard link",
        "`store-corrupt`",
        _BAD,
        "mapped_weights_that_are_a_link_are_not_mapped",
    ),
    _row(
        "native code: custom operators, EPContext, the engine's other format",
        "`graph-refused`; no option of a manifest names a library",
        "tests/attacks/test_hostile_graphs.py",
        "a_hostile_graph_is_not_installed_although_it_is_signed",
        "a_sound_file_that_engines_open_as_another_model_is_refused_by_its_mark_alone",
    ),
    _row(
        "3000 functions inside one another, functions that use themselves",
        "`graph-refused`",
        "tests/attacks/test_hostile_graphs.py",
        "a_hostile_graph_is_refused_by_its_bytes_alone",
    ),
    _row(
        "a graph that took over the process that runs it (`isolate=True`)",
        "what a worker answers is read as a stranger's; it is replaced",
        _WORKER,
        "a_worker_that_lies_is_replaced_and_the_next_call_answered",
        "a_worker_that_never_answers_is_bounded_by_the_deadline",
    ),
)

OFFLINE = (
    _row(
        "every command, one after the other, under strace with `CI` unset",
        "no connection, nothing written but the store and what was named",
        f"{_EDGE}/test_offline.py",
        "no_command_connects_or_writes_outside_what_was_named",
        "the_script_below_names_every_command",
    ),
    _row(
        "a service in a loop: plain, with a deadline, in a worker, following",
        "the same",
        f"{_EDGE}/test_offline.py",
        "a_service_that_predicts_in_a_loop_stays_offline",
        "a_version_that_is_taken_up_while_it_serves_is_taken_up_offline",
    ),
)

TABLES = {
    "Bad inputs": INPUTS,
    "Attacks on updates": TUF,
    "Hostile models": MODELS,
    "Offline": OFFLINE,
}
