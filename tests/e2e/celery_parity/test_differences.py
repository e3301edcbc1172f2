"""The documents list the differences that the tests know of, and no other."""

from .differences import DIFFERENCES, HEADING
from .servers import ROOT


def test_the_documents_table_is_that_of_the_tests() -> None:
    lines = (ROOT / "docs" / "celery.md").read_text(encoding="utf-8").splitlines()
    first = lines.index(HEADING) + 2
    rows = [each.row() for each in DIFFERENCES]
    assert lines[first : first + len(rows)] == rows
    assert not lines[first + len(rows)].startswith("|"), "a line that no test knows of"
