"""Options made from the settings' structs, so that a setting has one name, one meaning and one limit wherever it is given.

click decides which of flag, environment variable and settings file counts; mesolite.config checks the outcome. Settings of
the whole cluster are also read from variables without the command's name: MESOLITE_REDIS_URL for every process.
"""

import os
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeVar

import click
import msgspec
from click.core import ParameterSource
from msgspec import Struct

from mesolite.config import ClusterConfig, check_config, description
from mesolite.errors import ResourceError
from mesolite.resources import mib_from_text

from .root import RootOptions

ConfigT = TypeVar("ConfigT", bound=Struct)
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

#: A thousandth of a CPU is the smallest amount that there is; the largest is beyond any machine.
MAX_CPUS: Final = 100_000


def config_options(kind: type[Struct], command: str) -> Callable[[FunctionT], FunctionT]:
    """Give a command one option for each setting."""

    def decorate(function: FunctionT) -> FunctionT:
        for field in reversed(msgspec.structs.fields(kind)):
            flag = field.name.replace("_", "-")
            default = "" if field.default in (None, (), msgspec.NODEFAULT) else f"  [{_shown(field.default)}]"
            is_switch = isinstance(field.default, bool)
            function = click.option(
                f"--{flag}/--no-{flag}" if is_switch else f"--{flag}",
                field.name,
                default=None,
                type=None if is_switch else click.UNPROCESSED,
                metavar=None if is_switch else _metavar(field.default),
                envvar=_variables(field.name, command),
                help=description(kind, field.name) + default,
            )(function)
        return function

    return decorate


def read_config(ctx: click.Context, kind: type[ConfigT], command: str) -> ConfigT:
    """Check what the options of a command give together.

    Raises:
        ConfigError: A setting is wrong; says which and where it came from.
    """
    given = {
        field.name: ctx.params[field.name]
        for field in msgspec.structs.fields(kind)
        if ctx.get_parameter_source(field.name) not in (ParameterSource.DEFAULT, None)
    }

    def source_of(name: str) -> str:
        match ctx.get_parameter_source(name):
            case ParameterSource.COMMANDLINE:
                return f"--{name.replace('_', '-')}"
            case ParameterSource.ENVIRONMENT:
                return next(variable for variable in _variables(name, command) if os.environ.get(variable))
            case _:
                root_options = ctx.find_object(RootOptions)
                return str(root_options.config if root_options is not None else "the settings file")

    return check_config(kind, given, source_of)


def cpus_milli(value: str | int) -> int:
    """Read CPUs as people write them into thousandths: "0.5" is 500. For click's `type=`."""
    if isinstance(value, int):
        return value
    milli = _decimal(value) * 1000
    if milli.is_nan():
        raise click.BadParameter(f"{value!r} is not a number of CPUs; write it like 0.5")
    if not 1 <= milli <= MAX_CPUS * 1000 or milli != int(milli):
        raise click.BadParameter(f"{value} CPUs: allowed are 0.001 to {MAX_CPUS}, in thousandths")
    return int(milli)


def mem_mib(value: str | int) -> int:
    """Read memory as people write it into MiB: "64", "64MiB", "1.5GiB". Bare numbers are MiB; parts are rounded up."""
    if isinstance(value, int):
        return value
    try:
        return mib_from_text("memory", value)
    except ResourceError as error:
        raise click.BadParameter(str(error)) from error


def _decimal(text: str) -> Decimal:
    """Read a number; what is none becomes NaN."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("nan")


def _variables(name: str, command: str) -> list[str]:
    own = f"MESOLITE_{command.upper()}_{name.upper()}"
    return [own, f"MESOLITE_{name.upper()}"] if name in ClusterConfig.__struct_fields__ else [own]


def _metavar(default: object) -> str:
    return "NUMBER" if isinstance(default, (int, float)) else "TEXT"


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"{default:g}" if isinstance(default, float) else str(default)
