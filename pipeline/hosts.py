"""Hosts in URLs: how they are compared, and where no name may lead.

Whoever answers at link-local addresses and their like trusts the machine that asks (cloud metadata
with its credentials), and whoever owns a name decides what it resolves to, anew each time.
"""

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Metadata services whose addresses are not link-local: of AWS over IPv6, of Alibaba Cloud.
_METADATA = frozenset({"fd00:ec2::254", "100.100.100.200"})
# IPv6 addresses that stand for an IPv4 one, which is their last four bytes: RFC 6052, RFC 4291.
_WRAPPED = tuple(ipaddress.IPv6Network(net) for net in ("64:ff9b::/96", "::ffff:0:0/96", "::/96"))


class HostAndPort(NamedTuple):
    """``port``: None stands for every one."""

    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> "HostAndPort":
        """``name``, ``name:port``, ``[::1]:port``. Raises ``ValueError``."""
        parts = urlsplit(f"//{text}")
        if not parts.hostname or parts.netloc != text or "@" in text:
            raise ValueError(f"{text[:80]!r} is no name or name:port")
        return cls(canonical(parts.hostname), parts.port)


def canonical(host: str) -> str:
    """As it is looked up: lower case, in ASCII (IDNA), without a last dot, addresses in their
    shortest form. Raises ``ValueError`` for what is no host."""
    name = host.encode("idna").decode("ascii").lower().removesuffix(".")
    if not name or name.split() != [name]:
        raise ValueError("no host")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name


def may_lead_to(host: str, address: str) -> bool:
    """Whether a connection to ``host`` may go to ``address``, which it resolved to.

    An address that is written as such was named by somebody who knew: ``pipeline.source.WebRules``
    lets no other through.
    """
    found = _unwrapped(ipaddress.ip_address(address))
    if canonical(host) == str(ipaddress.ip_address(address)):
        return True
    refused = found.is_link_local or found.is_unspecified or found.is_multicast
    return not (refused or str(found) in _METADATA)


def _unwrapped(address: IPAddress) -> IPAddress:
    if isinstance(address, ipaddress.IPv6Address):
        if address.sixtofour is not None:
            return address.sixtofour
        if int(address) > 1 and any(address in net for net in _WRAPPED):
            return ipaddress.IPv4Address(address.packed[-4:])
    return address
