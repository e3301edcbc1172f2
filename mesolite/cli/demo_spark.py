"""The demo's second framework: the words of the same source, counted by a program of RDDs, and again without a cluster."""

import sys
import time
from typing import Final

import click

from mesolite.discovery import ClusterAddress
from mesolite.errors import MesoliteError
from mesolite.frameworks import batch
from mesolite.frameworks.examples.sparklite.source_text import source_files
from mesolite.frameworks.examples.sparklite.word_count import plain_word_count, word_count
from mesolite.frameworks.sparklite import SparkConf, SparkContext
from mesolite.sandbox_client import read_sandbox

from .output import Column, plain, print_table

#: Two of them fit on an agent of the demo.
WORKER_CPUS: Final = 0.5
WORKER_MEM_MIB: Final = 160
#: Lines of the table.
SHOWN: Final = 5
_OWN_PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
_SAY_VERSION: Final = "import sys; print('%d.%d' % sys.version_info[:2])"


def count_words(address: ClusterAddress, *, in_container: bool) -> list[str]:
    """Count, compare and show; returns what was wrong.

    Args:
        address: The cluster.
        in_container: Its tasks run in an image, whose Python may be another than this one: then there is nothing to show.
    """
    images_python = _python_in_image(address) if in_container else _OWN_PYTHON
    if images_python != _OWN_PYTHON:
        click.echo(
            f"\nsparklite sends functions to workers, and needs the same Python there: this is {_OWN_PYTHON}, the image has "
            f"{images_python}. Choose an image with --image, or MESOLITE_IMAGE, to see it"
        )
        return []
    texts = source_files()
    began_s = time.monotonic()
    try:
        with SparkContext(conf=_conf(address)) as sc:
            counted = word_count(sc, texts)
    except MesoliteError as error:
        return [f"sparklite: {error}"]
    took_s = time.monotonic() - began_s
    click.echo(f"\nsparklite, the words of {len(texts)} modules by flatMap, map and reduceByKey, in {took_s:.1f} s:")
    cells = [[plain(word), f"{count:,}"] for word, count in counted[:SHOWN]]
    print_table([Column("WORD"), Column("TIMES", is_number=True)], cells, nothing="")
    if counted != plain_word_count(texts):
        return [f"sparklite counted {counted[:SHOWN]}, plain Python {plain_word_count(texts)[:SHOWN]}"]
    click.echo("plain Python counts the same")
    return []


def _conf(address: ClusterAddress) -> SparkConf:
    return (
        SparkConf()
        .setMaster(address.redis_url)
        .setAppName("demo-words")
        .set("spark.executor.cores", str(WORKER_CPUS))
        .set("spark.executor.memory", f"{WORKER_MEM_MIB}m")
    )


def _python_in_image(address: ClusterAddress) -> str:
    """Ask a task for the version of what runs it."""
    with batch.connect(address.redis_url, address.cluster, name="demo-python") as cluster:
        job = cluster.submit(["python3", "-c", _SAY_VERSION], name="version", cpus=0.1, mem_mib=32)
        job.wait()
        result = next(job.results())
        path = f"/{result.framework_id}/{result.task_id}/latest/stdout"
        return read_sandbox(result.agent_url, path, offset=0).decode().strip() if result.succeeded else "none"
