"""Which tests run in the same worker where there are several (``pytest -n``)."""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Of the first, all files use one service, and two browsers at once would make each other stutter.
# Those of the last two use one service with faults, and one Apache Kafka, which take long to start.
_TOGETHER = ("tests/e2e/", "tests/browser/", "tests/faults/", "tests/stores/test_kafka_")
# Long, and with services of their own: beside the one that the others of their folder share these
# would have less of the machine. Two of them share one.
_APART = tuple(f"tests/e2e/test_{name}.py" for name in ("ingest", "nodes", "profiles", "recovery"))


class BySharing(LoadScopeScheduling):
    """The tests of a file stay together, since many share what is slow to make.

    They are handed out as they were collected: what takes long comes early.
    """

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file in _APART:
            return _APART[0]
        return next((start for start in _TOGETHER if file.startswith(start)), file)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(_APART))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> BySharing:
    return BySharing(config, log)
