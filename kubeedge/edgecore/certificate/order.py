"""What the keeper and its short-lived process say to each other, one JSON object each way."""

from __future__ import annotations

import msgspec


class Order(msgspec.Struct):
    """What to do: `ensure` (check, and apply with the token where needed) or `rotate`. Paths are PEM files."""

    action: str
    node: str
    url: str
    ca_file: str
    certificate_file: str
    key_file: str
    token: str = ""


class Report(msgspec.Struct):
    """What became of it. Times are Unix seconds of the certificate that is now in place, 0 when there is none.

    outcome is `usable` (nothing was to be done), `obtained` or `failed`; is_final says that trying again is no use
    before somebody has changed something; warning is something to look at although all went well.
    """

    outcome: str
    reason: str = ""
    warning: str = ""
    is_final: bool = False
    not_before: float = 0
    not_after: float = 0


encode = msgspec.json.Encoder().encode
decode_order = msgspec.json.Decoder(Order).decode
decode_report = msgspec.json.Decoder(Report).decode
