"""`moue completion`: a script that completes commands, options and their values in a shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from moue.cli.main import COMMANDS, parser_of
from moue.runtime.weights import BUNDLED, EXTRA

SHELLS = ("bash", "zsh", "fish")

HEAD = """\
# Completes the commands and options of moue {version}. For every new shell: {install}
"""
INSTALL = {
    "bash": "moue completion bash > ~/.local/share/bash-completion/completions/moue",
    "zsh": 'eval "$(moue completion zsh)" in ~/.zshrc',
    "fish": "moue completion fish > ~/.config/fish/completions/moue.fish",
}

BASH = """\
_moue() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} command="" word words=""
    for word in "${{COMP_WORDS[@]:1:$((COMP_CWORD-1))}}"; do
        case "$command $word" in
            {commands}) command="${{command:+$command }}$word" ;;
        esac
    done
    case "$command $prev" in
{values}
        *) case "$command" in
{words}
        esac
        [[ $cur == -* ]] || words=${{words#*|}}
        [[ $cur == -* ]] && words=${{words%%|*}} ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _moue moue
"""


@dataclass(frozen=True)
class Command:
    """A command, or a command of a command, as far as a shell completes it."""

    words: tuple[str, ...]
    """What is typed for it: ("data", "info"); () for moue itself."""
    about: str
    options: dict[str, tuple[str, tuple[str, ...] | None]]
    """Long option to its help and its values: () for any, None for an option without one."""
    positionals: tuple[str, ...]
    """What can follow that is no option: commands, names of models or recipes; files are completed by the shell."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of `moue completion`."""
    parser.add_argument("shell", choices=SHELLS, help="the shell to complete in")
    parser.epilog = "Type: " + "; ".join(f"{shell}: {line}" for shell, line in INSTALL.items())


def run(args: argparse.Namespace) -> None:
    """Print the script."""
    from moue._version import __version__

    found = list(commands())
    body = _fish(found) if args.shell == "fish" else _bash(found)
    if args.shell == "zsh":
        body = "autoload -U +X compinit bashcompinit && compinit && bashcompinit\n" + body
    sys.stdout.write(HEAD.format(version=__version__, install=INSTALL[args.shell]) + body)


def commands() -> Iterator[Command]:
    """Every command of moue, moue itself first."""
    yield Command((), "", {"--help": ("", None), "--version": ("", None), "--debug": ("", None)}, tuple(COMMANDS))
    for name, about in COMMANDS.items():
        yield from _walk((name,), about, parser_of(name))


def _walk(words: tuple[str, ...], about: str, parser: argparse.ArgumentParser) -> Iterator[Command]:
    options: dict[str, tuple[str, tuple[str, ...] | None]] = {}
    positionals: list[str] = []
    inner: list[tuple[str, argparse.ArgumentParser]] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            inner = list(action.choices.items())
            positionals += action.choices
        elif not action.option_strings:
            positionals += _values(action)
        elif action.help != argparse.SUPPRESS:
            values = None if action.nargs == 0 else tuple(_values(action))
            help = (action.help or "").replace("%%", "%")
            options |= {option: (help, values) for option in action.option_strings if option.startswith("--")}
    yield Command(words, about, options, tuple(dict.fromkeys(positionals)))
    for name, sub in inner:
        yield from _walk((*words, name), sub.description or "", sub)


def _values(action: argparse.Action) -> list[str]:
    """What an argument takes: its choices, or the names that moue has for it."""
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    # As the help calls it: RECIPE|RUN|MODEL takes both.
    kinds = str(action.metavar or action.dest).upper().split("|")
    names: list[str] = []
    if "RECIPE" in kinds:
        from moue.training.recipe import recipes

        names += recipes()
    if "MODEL" in kinds:
        names += [*BUNDLED, *EXTRA]
    return names


def _bash(found: list[Command]) -> str:
    def path(command: Command) -> str:
        return " ".join(command.words)

    values = [
        f'        "{path(command)} {option}") words="{" ".join(given)}" ;;'
        for command in found
        for option, (_, given) in command.options.items()
        if given is not None
    ]
    # Options before the bar, what is no option after it.
    words = [
        f'            "{path(command)}") words="{" ".join(command.options)}|{" ".join(command.positionals)}" ;;'
        for command in found
    ]
    known = "|".join(f'"{" ".join(command.words[:-1])} {command.words[-1]}"' for command in found if command.words)
    return BASH.format(commands=known, values="\n".join(values), words="\n".join(words))


def _fish(found: list[Command]) -> str:
    lines = []
    inner = {command.words[:-1] for command in found if len(command.words) > 1}
    for command in found:
        seen = [f"__fish_seen_subcommand_from {word}" for word in command.words]
        if command.words in inner:
            others = " ".join(c.words[-1] for c in found if c.words[:-1] == command.words)
            seen.append(f"not __fish_seen_subcommand_from {others}")
        line = f"complete -c moue -n {_quoted('; and '.join(seen) or '__fish_use_subcommand')}"
        for word in command.positionals:
            lines.append(f"{line} -a {_quoted(word)}{_described(COMMANDS.get(word, '') if not command.words else '')}")
        for option, (help, given) in command.options.items():
            takes = "" if given is None else f" -x -a {_quoted(' '.join(given))}" if given else " -r"
            lines.append(f"{line} -l {option[2:]}{takes}{_described(help)}")
    return "\n".join(lines) + "\n"


def _described(help: str) -> str:
    return f" -d {_quoted(help)}" if help else ""


def _quoted(text: Any) -> str:
    # In fish, a backslash escapes the quote inside of quotes.
    return "'" + str(text).replace("\\", "\\\\").replace("'", "\\'") + "'"
