"""Whether the compiled form of this core is used: only where it was built from exactly the source beside it.

`hatch_build.py` compiles the modules that an order passes through, from their Python source, into this folder. Whoever
changes a source gets plain Python until the project is installed again, never old behaviour.
"""

from __future__ import annotations

import pkgutil
import sys
from typing import Final

from polaris_synapse.risk.core.native.sources import BUILT_FROM, digest_of

#: ``python -X plain-risk-core`` uses the plain form where both are there.
PLAIN_OPTION: Final = "plain-risk-core"


def _why_not() -> str:
    """Why the plain form is used; empty where the compiled one is."""
    if PLAIN_OPTION in sys._xoptions:
        return f"Python runs with -X {PLAIN_OPTION}"
    try:
        built_from = (pkgutil.get_data(__name__, BUILT_FROM) or b"").decode()
    except OSError:
        return (
            "the compiled one was not built, for want of a C compiler or because POLARIS_PURE_PYTHON was set when this "
            "was installed"
        )
    digest, *names = built_from.splitlines()
    try:
        sources = [pkgutil.get_data(*name.split(" ", 1)) or b"" for name in names]
    except OSError as error:
        return f"the compiled one is out of date ({error})"
    if digest_of(sources) != digest:
        return "the compiled one is out of date, its source has changed"
    try:
        from polaris_synapse.risk.core.native import places
    except ImportError as error:
        return f"the compiled one cannot be loaded ({error})"
    misplaced = places.misplaced()
    return f"structs lie otherwise than when it was compiled ({', '.join(misplaced[:3])})" if misplaced else ""


_REASON: Final = _why_not()
#: Whether orders are checked and booked by compiled code.
RISK_CORE_IS_COMPILED: Final = not _REASON
#: One sentence for people: which form is in use, and why.
RISK_CORE_IN_USE: Final = (
    f"The plain Python risk core is in use, which is slower: {_REASON}."
    if _REASON
    else "The compiled risk core is in use."
)
#: Where Python looks for the core's modules before it looks at their source.
FOLDERS: Final[tuple[str, ...]] = () if _REASON else tuple(__path__)
