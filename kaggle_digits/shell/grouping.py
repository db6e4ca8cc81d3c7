"""Help with its options in groups: what, how much, where, output; the most used first."""

from __future__ import annotations

from collections.abc import Sequence

import click

WHAT = "What"
GROUPS = {
    WHAT: (),
    "How much": (
        "--preset", "--time-budget", "--trials", "--max-epochs", "--race", "--top-k", "--folds",
        "--epochs", "--seeds", "--refit", "--pseudo-rounds", "--workers", "--threads", "--cluster",
        "--seed", "--precision", "--public-share", "--interval", "--times", "--full",
    ),
    "Where": (
        "--data", "--image-shape", "--image-size", "--skip-broken", "--groups", "--fold-column",
        "--labels", "--workspace", "--competition", "--local", "--truth", "--dir",
    ),
    "Output": (
        "--output", "--show", "--compare", "--export", "--plot", "--tensorboard", "--track",
        "--json", "--quiet", "--help",
    ),
}  # fmt: skip
"""Group → its options, in the order shown; one that stands in no group says what is done."""


def grouped(
    parameters: Sequence[click.Parameter],
) -> list[tuple[str, list[click.Parameter]]]:
    """Sort a command's visible options into groups; empty groups are left out.

    Args:
        parameters: Its options, and arguments, which stand in no group.

    Returns:
        Titles and options, both in the order in which they are shown.
    """
    place = {
        name: (title, number)
        for title, names in GROUPS.items()
        for number, name in enumerate(names)
    }
    found: dict[str, list[tuple[int, click.Parameter]]] = {title: [] for title in GROUPS}
    for declared, option in enumerate(parameters):
        if isinstance(option, click.Option) and not option.hidden:
            named = (place[name] for name in option.opts if name in place)
            title, number = next(named, (WHAT, declared))
            found[title].append((number, option))
    return [
        (title, [option for _, option in sorted(options, key=lambda entry: entry[0])])
        for title, options in found.items()
        if options
    ]


class GroupedHelp(click.Command):
    """A command whose help shows its options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each group."""
        for title, options in grouped(self.get_params(ctx)):
            records = [option.get_help_record(ctx) for option in options]
            with formatter.section(title):
                formatter.write_dl([record for record in records if record is not None])
