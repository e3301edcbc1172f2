"""What further arguments of workers say that counts for how many there should be."""

import pytest

from mesolite.frameworks.celery_workers.arguments import prefetch_multiplier


@pytest.mark.parametrize(
    ("arguments", "multiplier"),
    [
        ((), None),
        (("--loglevel", "INFO"), None),
        (("--prefetch-multiplier", "1"), 1),
        (("--prefetch-multiplier=16", "-E"), 16),
        (("--prefetch-multiplier=16", "--prefetch-multiplier", "2"), 2),
        (("--prefetch-multiplier", "0"), None),
        (("--prefetch-multiplier", "many"), None),
        (("--prefetch-multiplier",), None),
    ],
)
def test_the_prefetch_multiplier_is_what_celery_reads_of_the_same_arguments(
    arguments: tuple[str, ...], multiplier: int | None
) -> None:
    assert prefetch_multiplier(arguments) == multiplier
