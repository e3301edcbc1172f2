"""The processes of a container that runs plain ones: who they are, what they use, what they are told and held to.

Where there is a control group the kernel knows them; else they are found by their session, and by a mark in their
environment (process_table.py).
"""

import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from .process_record import ProcessRecord
from .process_run import mark_of
from .process_table import ProcessStat, ProcessTable, parent_of
from .resizing import NewLimits

_MEBIBYTE: Final = 1024 * 1024


def members_of(record: ProcessRecord) -> list[int]:
    """The pids of all processes of a container, its shell's included."""
    if record.group is not None:
        return record.group.pids()
    return [process.pid for process in _marked(record)]


def signal_members(record: ProcessRecord, number: signal.Signals) -> int:
    """Signal all processes of a container but the shell, which must live to tell.

    Returns:
        How many will hear it. The shell's child is not among them until it has become the task: a signal that comes
        between fork and exec finds the shell's trap still set, and is lost.
    """
    return _signal([pid for pid in members_of(record) if pid != record.shell_pid], record, number)


def signal_first(record: ProcessRecord, number: signal.Signals) -> int:
    """Signal the first process of a container, the shell's child; as `signal_members`."""
    return _signal([pid for pid in members_of(record) if parent_of(pid) == record.shell_pid], record, number)


def _signal(pids: Sequence[int], record: ProcessRecord, number: signal.Signals) -> int:
    shell = _command_line(record.shell_pid)
    hearing = sum(_command_line(pid) != shell for pid in pids)
    for pid in pids:
        send(pid, number)
    return hearing


def end_over_limit(records: Sequence[ProcessRecord], table: ProcessTable) -> None:
    """Look at what containers without a control group use, and kill what uses too much.

    Args:
        records: Of one thread, whose `table` it is.
        table: Remembers marks from one look to the next.
    """
    if not records:
        return
    by_mark = {mark_of(record.container_id): record for record in records}
    sessions = {mark: record.shell_pid for mark, record in by_mark.items()}
    for mark, members in table.members(sessions).items():
        record = by_mark[mark]
        used_bytes = _used_bytes(record, members)
        record.peak_bytes = max(record.peak_bytes or 0, used_bytes)
        if used_bytes > record.mem_limit_bytes:
            record.over_limit = True
            for process in members:
                if process.pid != record.shell_pid:
                    send(process.pid, signal.SIGKILL)


def set_limits(record: ProcessRecord, limits: NewLimits) -> str:
    """Hold a container to other limits from now on; returns why they could not be set, empty where they could."""
    try:
        if record.group is not None:
            record.group.resize(limits.cpus_milli, limits.mem_mib)
        else:
            used_bytes = _used_bytes(record, _marked(record))
            if used_bytes > limits.mem_mib * _MEBIBYTE:
                return f"memory cannot be limited to {limits.mem_mib} MiB: {used_bytes // _MEBIBYTE} MiB are in use"
    except OSError as error:
        return f"memory cannot be limited to {limits.mem_mib} MiB, more may be in use: {error.strerror or error}"
    record.mem_mib = limits.mem_mib
    return ""


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process, where it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _marked(record: ProcessRecord) -> list[ProcessStat]:
    """All processes of a container. With a table of its own: several threads come here, and they come rarely."""
    mark = mark_of(record.container_id)
    return ProcessTable().members({mark: record.shell_pid})[mark]


def _used_bytes(record: ProcessRecord, members: Sequence[ProcessStat]) -> int:
    return sum(process.rss_bytes for process in members if process.pid != record.shell_pid)


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
