"""Run ten commands on the cluster of `mesolite up` and print what became of them.

python -m mesolite.frameworks.examples.hello_batch
"""

from mesolite.frameworks import batch


def main() -> int:
    """Return 0 where every task succeeded."""
    with batch.connect() as cluster:
        job = cluster.submit(
            "echo hello from $MESOLITE_INDEX", count=10, cpus=0.5, mem_mib=64, retry=batch.RetryPolicy(max_attempts=3)
        )
        for result in job.results():
            print(result.index, result.state.name, result.exit_code, result.stdout_url)  # noqa: T201 - it is an example
        return 0 if job.wait().succeeded else 1


if __name__ == "__main__":
    raise SystemExit(main())
