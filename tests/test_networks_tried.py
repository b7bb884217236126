"""Every row of docs/networks.md is what comes of the network today."""

import pytest

from tests.networks_tried import CASES, tried, written


@pytest.mark.parametrize("name", CASES)
def test_a_network_of_the_page_does_what_its_row_says(tmp_path, name):
    assert tried(name, tmp_path) == written()[name]


def test_the_page_has_a_row_for_each_network_and_no_other():
    assert set(CASES) <= set(written())
