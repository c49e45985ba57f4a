"""``vodray``: the command line. Knows its commands by name; each is imported when it is invoked."""

from importlib import import_module

import click

from serve_app.commands._errors import explained

# Name -> one line for `vodray --help`; the command is `serve_app.commands.<name>.command`.
COMMANDS = {
    "up": "Start the service with whatever the environment does not name.",
    "demo": "Record a real stream end to end and show each result.",
    "convert": "Turn one HLS playlist into an MP4, without any service.",
    "inspect": "Show what is in a stream and what would become of it.",
    "profiles": "Show what can be made of a recording, or of one stream.",
    "verify": "Check an MP4 that vodray made.",
    "ls": "List recordings, newest first.",
    "status": "Show one recording; --follow waits until it is done.",
    "retry": "Begin a failed recording anew.",
    "cancel": "End a recording that goes on, and keep nothing of it.",
    "retention": "Delete recordings that are too old, or show which they are.",
    "backup": "Write the catalogue into one file.",
    "restore": "Make the catalogue what a backup says.",
    "rebuild": "Make rows for recordings that only the bucket knows.",
    "token": "Mint an API token, or revoke one.",
}

_EPILOG = """\b
Examples:
  vodray up
  vodray convert https://example.com/live/stream.m3u8 talk.mp4
  vodray inspect https://example.com/live/stream.m3u8
  vodray profiles https://example.com/live/stream.m3u8
  vodray verify talk.mp4
  vodray ls --json
  vodray status e410066c-8d50-4e0f-965f-452af1814ffa --follow
"""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are invoked, and whose errors are explained."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        with explained():
            command = import_module(f"serve_app.commands.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        with explained():
            return super().invoke(ctx)


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from serve_app.version import version

        click.echo(f"vodray {version()}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Record live HLS streams and turn them into VOD: MP4 and HLS in one object.

    Settings come from the environment and from .env in the working directory.
    """


if __name__ == "__main__":
    main()
