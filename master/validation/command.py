"""T8: what is wrong with a command, be it a task's or an executor's."""

from mesolite.protocol import CommandInfo

from .work import MAX_TASK_TEXT_BYTES

MAX_URIS = 1000


def command_error(command: CommandInfo) -> str | None:
    """Say what is wrong with a command, or None."""
    if command.shell and not command.value:
        return "a shell command needs its text in `value`"
    if not command.shell and not command.value and not command.arguments:
        return "a command without shell needs its executable in `value` or in `arguments`"
    if len(command.uris) > MAX_URIS:
        return f"{len(command.uris)} URIs; at most {MAX_URIS} are allowed"
    uris = [text for uri in command.uris for text in (uri.value, uri.output_file or "")]
    texts = (command.value or "", *command.arguments, *command.environment, *command.environment.values(), *uris)
    if any("\0" in text for text in texts):
        return "a NUL character stands in the command, its environment or its URIs"
    if any(not name or "=" in name for name in command.environment):
        return "an environment variable's name is empty or contains '='"
    if sum(map(len, texts)) > MAX_TASK_TEXT_BYTES:
        return (
            f"the command, its environment and its URIs are over {MAX_TASK_TEXT_BYTES} characters; pass a file by URI"
        )
    return None
