"""Some of the tests of shared subscriptions on one-node clusters, where each partition has a reader of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.events import shared_stage as stage
from tests.events import test_shared as plain
from tests.events import test_shared_failing as failing
from tests.events import test_shared_groups as groups
from tests.servers import RealServer, declared_keys, server_binaries

CLUSTERS = [f"cluster-{name}" for name in server_binaries()] or [""]


@pytest.fixture(params=CLUSTERS)
def place(request: pytest.FixtureRequest, server_at: Callable[[str], RealServer]) -> Iterator[str]:
    """The server refuses a key that was not declared."""
    name: str = request.param
    with declared_keys(server_at(name)):
        yield name


noted, orders = stage.noted, stage.orders

test_s1 = plain.test_s1_a_new_group_at_earliest_gets_every_record_of_the_log
test_s2 = plain.test_s2_a_group_at_latest_gets_what_is_published_once_it_has_begun
test_s6 = plain.test_s6_a_seek_goes_to_an_offset_a_time_or_the_end
test_s13 = plain.test_s13_no_more_is_in_hand_than_was_said
test_s17 = plain.test_s17_more_consumers_than_partitions_all_get_records
test_s49 = failing.test_s49_what_fails_too_often_is_a_dead_letter_with_all_that_is_known
test_s52 = failing.test_s52_redriven_letters_run_again_with_a_count_and_a_cap
test_s57 = groups.test_s57_what_was_in_hand_and_not_begun_is_given_back_at_once
test_s102 = groups.test_s102_lag_is_exact_in_records_bytes_and_seconds
