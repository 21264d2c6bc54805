"""``genmeter token``: make, list and revoke tokens, also while the server runs."""

from contextlib import closing
from typing import Any

import click

from genmeter.auth.accounts import Accounts
from genmeter.cli.options import settings_of
from genmeter.clock import iso, now_ms
from genmeter.config.load import load
from genmeter.errors import BadRequestError
from genmeter.storage.backup import verify_restored


@click.group(short_help="Create, list and revoke tokens.")
def command() -> None:
    """Create, list and revoke tokens; a running server notices within a second."""


@command.command()
@settings_of("token create")
def create(**flags: str | None) -> None:
    """Create a token and print it. Only its hash is kept, so it is never shown again."""
    values = load("token create", flags)
    with closing(_accounts(values)) as accounts:
        text, _ = accounts.create(
            values["account"],
            values["scope"],
            now_ms=now_ms(),
            name=values["name"] or "",
            expires_days=values["expires"],
        )
    click.echo(text)


@command.command(name="list")
@settings_of("token list")
def list_(**flags: str | None) -> None:
    """List all tokens without their secrets."""
    values = load("token list", flags)
    with closing(_accounts(values)) as accounts:
        tokens = accounts.tokens()
    now = now_ms()
    rows = [("ID", "ACCOUNT", "SCOPES", "STATE", "CREATED", "EXPIRES", "NAME")]
    for token in tokens:
        state = "valid" if token.valid(now) else "revoked" if token.revoked_ms else "expired"
        ends = iso(token.expires_ms)[:16] if token.expires_ms else "never"
        made = iso(token.created_ms)[:16]
        scopes = ",".join(token.scopes)
        rows.append((token.id, token.account, scopes, state, made, ends, token.name))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


@command.command()
@click.argument("token_id", metavar="ID")
@settings_of("token revoke")
def revoke(token_id: str, **flags: str | None) -> None:
    """Revoke the token with this ID (see list)."""
    values = load("token revoke", flags)
    with closing(_accounts(values)) as accounts:
        if not accounts.revoke(token_id, now_ms=now_ms()):
            raise BadRequestError(f'there is no token "{token_id}" left to revoke; see token list')
    click.echo(f"revoked {token_id}")


def _accounts(values: dict[str, Any]) -> Accounts:
    verify_restored(values["data"])
    return Accounts.opened(values["accounts"], values["accounts_password"], values["data"])
