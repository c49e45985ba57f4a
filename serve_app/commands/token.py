"""``vodray token``."""

from datetime import UTC, datetime, timedelta

import click

from serve_app.commands import _api

_SCOPES = ("read", "write", "admin")


@click.command(
    "token",
    epilog="""\b
Examples:
  vodray token --scope read --user alice
  vodray token --scope read --scope write --days 7
  VODRAY_TOKEN=$(vodray token --scope admin) vodray ls
  vodray token --revoke "$TOKEN"
""",
)
@click.option(
    "--scope", "scopes", type=click.Choice(_SCOPES), multiple=True,
    help="What it is good for; may be given again. admin: both others, and not limited to a user.",
)  # fmt: skip
@click.option(
    "--user", metavar="ID",
    help="Whose recordings it is limited to.  [default: nobody's, as a service needs it]",
)  # fmt: skip
@click.option(
    "--days", type=click.FloatRange(0, 3650, min_open=True), default=90.0, show_default=True,
    help="How long it is good.",
)  # fmt: skip
@click.option("--revoke", metavar="TOKEN", help="Make this one no good, instead of a new one.")
@_api.url_option
@_api.json_option
def command(
    scopes: tuple[str, ...],
    user: str | None,
    days: float,
    revoke: str | None,
    url: str | None,
    as_json: bool,
) -> None:
    """Mint an API token: signed with AUTH_SECRET, kept nowhere, good for the services that have
    the same AUTH_SECRET, AUTH_ISSUER and AUTH_AUDIENCE.

    Clients send it as `Authorization: Bearer TOKEN`; the commands here take it from VODRAY_TOKEN.
    """
    if revoke is not None:
        _api.ApiClient(url).post("/tokens/revoke", {"token": revoke})
        click.echo("revoked")
        return
    if not scopes:
        raise click.UsageError("Name at least one --scope: read, write or admin")
    # Imported now: `--help` must not wait for it.
    from pipeline.settings import load_settings
    from serve_app.access.caller import Scope
    from serve_app.access.tokens import mint

    token = mint(load_settings(), map(Scope, scopes), user, days)
    if as_json:
        expires_at = datetime.now(UTC) + timedelta(days=days)
        _api.print_json({"token": token, "expires_at": expires_at.isoformat()})
    else:
        click.echo(token)
