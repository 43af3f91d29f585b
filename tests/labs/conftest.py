"""`make test` runs a quick part of these tests; those marked slow run with `make test-all`."""

import os


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: a test of the labs that only `make test-all` runs")


def pytest_collection_modifyitems(config, items):
    if os.environ.get("WORKBOOK_ALL_TESTS") != "1":
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
