"""Listening sockets of the page and the metrics."""

from __future__ import annotations

import errno
import logging
import socket

from edge_agent.errors import ListenError

log = logging.getLogger(__name__)

_BACKLOG = 128
_IP_FREEBIND = 15
"""<linux/in.h>; Python has a name for it only from 3.11 on. It works for IPv6 sockets, too."""


def listen(section: str, host: str, port: int) -> socket.socket:
    """A listening socket for a section of the configuration, ``kiosk`` or ``metrics``.

    At the start the network may not be up yet. So it listens also on an address that this machine does not have, with a
    warning; it answers there as soon as the machine has it.

    Raises:
        ListenError: the port is taken or not for this user, or the name leads to no address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(address)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
                listener.bind(address)
                log.warning(
                    "%s.host: %s is no address of this machine now; it will be answered once it is", section, host
                )
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise ListenError(_explain(section, host, port, error=error)) from error
    return listener


def _explain(section: str, host: str, port: int, *, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{section}.port: {port} is in use on {host}; stop the other program or choose another port"
    if error.errno == errno.EACCES:
        return f"{section}.port: {port} may not be opened by this user; choose a port above 1023"
    return f"{section}.host: cannot listen on {host}:{port}: {error.strerror or error}"
