"""How bench/sparklite.py speaks with an engine of RDDs: JSON, a line each way, as in conversation.py.

    in   {"do": "word_count", "place": "/some/folder"}     out  {"seconds": [1.2], "answer": [100, 200]}
         {"do": "start"}                                        {"seconds": [0.4], "answer": null}

The first line out is {"version": ..., "setting": ...}, said when there is a context that has run a job. `start` stops that
context, and times another from its making to the first count.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, ClassVar

from .rdd_programs import PROGRAMS


class RddEngine:
    """One way to run the programs; as it stands, an engine with PySpark's API."""

    #: For people: of the library.
    version = ""
    #: For people: how it is set up.
    setting = ""
    #: Those that it can run, by name.
    programs: ClassVar[dict[str, Callable[[Any, str], Any]]] = PROGRAMS

    def open(self) -> Any:
        """Return a context with two worker processes."""
        raise NotImplementedError

    def close(self, context: Any) -> None:
        """End it, and what it started."""
        context.stop()

    def first(self, context: Any) -> None:
        """The first job."""
        assert context.parallelize(range(100), 2).count() == 100


def serve(engine: RddEngine) -> None:
    """Do what the benchmark asks for until it has enough."""
    # Libraries print; this conversation is not for them.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)

        def say(**answer: Any) -> None:
            out.write(json.dumps(answer) + "\n")
            out.flush()

        context = engine.open()
        try:
            engine.first(context)
            say(version=engine.version, setting=engine.setting)
            for line in sys.stdin:
                order = json.loads(line)
                if order["do"] == "start":
                    engine.close(context)
                began_s = time.perf_counter()
                answer: Any = None
                if order["do"] == "start":
                    context = engine.open()
                    engine.first(context)
                else:
                    answer = engine.programs[order["do"]](context, order["place"])
                say(seconds=[time.perf_counter() - began_s], answer=answer)
        finally:
            engine.close(context)
