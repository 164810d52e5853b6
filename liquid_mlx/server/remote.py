"""Pictures from the web, for servers that allow it: public addresses only, looked up once.

A name is resolved here, every address checked, and the connection made to that very address, so
that a second answer of the name server (DNS rebinding) cannot lead inside. Redirects start over.
"""

from __future__ import annotations

import http.client
import ipaddress
import ssl
import time
from socket import SOCK_STREAM, create_connection, getaddrinfo, socket
from urllib.parse import urljoin, urlsplit

from liquid_mlx._version import __version__
from liquid_mlx.server.errors import APIError, bad

MOST_BYTES = 20 << 20
MOST_SECONDS = 20.0
MOST_REDIRECTS = 3
PORTS = {"http": 80, "https": 443}


def fetch(url: str, param: str) -> bytes:
    """The body behind a web address. Blocks: call it in a thread.

    Raises:
        APIError: it is not allowed, not there, too large or too slow.
    """
    end = time.monotonic() + MOST_SECONDS
    for _ in range(MOST_REDIRECTS + 1):
        try:
            found = _get(url, param, end)
        except (OSError, http.client.HTTPException, ValueError):
            raise _failed("The picture's address cannot be reached.", param) from None
        if isinstance(found, bytes):
            return found
        url = found
    raise _failed("The picture's address leads to too many others.", param)


def _failed(message: str, param: str) -> APIError:
    return bad(message, param, "invalid_image_url")


def _get(url: str, param: str, end: float) -> bytes | str:
    """The body of an address, or the address that it redirects to."""
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port or PORTS.get(parts.scheme)
    if parts.scheme not in PORTS or not host or parts.username or parts.password:
        raise _failed("A picture's address begins with http:// or https:// and a name.", param)
    if port != PORTS[parts.scheme]:
        raise _failed("A picture's address has no port of its own.", param)
    connection = http.client.HTTPConnection(host, port, timeout=5)
    connection.sock = _connected(host, port, parts.scheme == "https", param)
    try:
        path = parts.path or "/"
        target = f"{path}?{parts.query}" if parts.query else path
        agent = {"User-Agent": f"liquid-mlx/{__version__}", "Accept": "image/*"}
        connection.request("GET", target, headers=agent)
        answer = connection.getresponse()
        if answer.status in (301, 302, 303, 307, 308):
            return urljoin(url, answer.getheader("Location") or "")
        if answer.status != 200:
            raise _failed(f"The picture's address answers with {answer.status}.", param)
        data = bytearray()
        while piece := answer.read1(1 << 16):
            data += piece
            if len(data) > MOST_BYTES:
                raise _failed(f"The picture is larger than {MOST_BYTES >> 20} MiB.", param)
            if time.monotonic() > end:
                raise _failed(f"The picture takes longer than {MOST_SECONDS:g} s.", param)
        return bytes(data)
    finally:
        connection.close()


def _connected(host: str, port: int, secure: bool, param: str) -> socket:
    """A connection to a public address of this name."""
    found = getaddrinfo(host, port, type=SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(map(is_public, addresses)):
        raise bad("The picture's address is not a public one.", param, "address_not_allowed")
    connection = create_connection((addresses[0], port), timeout=5)
    if not secure:
        return connection
    try:
        return ssl.create_default_context().wrap_socket(connection, server_hostname=host)
    except (OSError, ValueError):
        connection.close()
        raise


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet, also behind forms that hold another one."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.teredo is not None or int(ip) >> 32 == 0:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved
