"""Makes every Python process that finds this on its path a later release: it reads layout 2, and layout 1 as before."""

import taskq.message as message

_decode = message.decode


def decode(id: bytes, body: bytes) -> message.Message:
    """Layout 2 is laid out as layout 1 here; only its number differs."""
    return _decode(id, b"\x01" + body[1:] if body[:1] == b"\x02" else body)


message.LAYOUT = 2
message.decode = decode
