"""SQL as named statements: ``sql/queries.sql``, each under a line ``-- name:``."""

import re
from collections.abc import Mapping
from importlib.resources import files

_HEADING = re.compile(r"^-- (\w+):$", re.MULTILINE)


def load_queries(**fragments: str) -> Mapping[str, str]:
    """Statement by name, with each ``{fragment}`` replaced.

    Raises ``ValueError`` for a name that is there twice.
    """
    text = (files("pipeline.stores") / "sql" / "queries.sql").read_text("utf-8")
    for fragment, columns in fragments.items():
        text = text.replace(f"{{{fragment}}}", columns)
    _, *pieces = _HEADING.split(text)
    names, statements = pieces[0::2], pieces[1::2]
    if len(set(names)) != len(names):
        raise ValueError("A query's name is there twice")
    return {name: body.strip() for name, body in zip(names, statements, strict=True)}
