"""The help of a command with a section for each panel of its options, so that thirty filters do not hide the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

if TYPE_CHECKING:
    import typer

ARGUMENTS, OPTIONS = "Arguments", "Options"


class SectionedCommand(TyperCommand):
    """A command that shows its options by panel."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, options without a panel, then each panel in the order in which it is met."""
        sections: dict[str, list[tuple[str, str]]] = {ARGUMENTS: [], OPTIONS: []}
        for parameter in self.get_params(ctx):
            told = parameter.get_help_record(ctx)
            if told is not None:
                sections.setdefault(_section(parameter), []).append(told)
        for title, lines in sections.items():
            if lines:
                with formatter.section(title):
                    formatter.write_dl(lines)


def _section(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return ARGUMENTS
    return getattr(parameter, "rich_help_panel", None) or OPTIONS


def show_sections(app: typer.Typer) -> None:
    """Let the help of every command of an app, and of the apps in it, have sections."""
    for command in app.registered_commands:
        command.cls = SectionedCommand
    for group in app.registered_groups:
        if group.typer_instance is not None:
            show_sections(group.typer_instance)
