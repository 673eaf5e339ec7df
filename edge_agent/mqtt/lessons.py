"""What earlier connections taught about the broker: the MQTT it speaks, the will it takes, and what it hangs up on.

A broker of MQTT 3.1.1 has no other answer to a message that it does not allow, or that is too long for it, than to hang
up; some of MQTT 5 do the same. So after a connection that ended with something unanswered, the next one sends one
message at a time, and what the link ends on twice without ever being answered is left out.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace

import paho.mqtt.client as mqtt

from edge_agent.mqtt.connection import CLOSED_EARLY, UNSUPPORTED_VERSION, Connection, Sent, Terms

log = logging.getLogger(__name__)

SILENT = "no answer to CONNECT"
LEFT_OUT_S = 3600.0
"""Then what was left out is tried again: the broker's access list may be another one by now."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What the broker hung up on."""

    about: str
    """The topic, or "subscription to FILTER"."""
    size: int
    """Bytes of the packet: what is clearly shorter is still tried, since the size may have been the reason."""
    until_s: float

    def __str__(self) -> str:
        """One sentence for the log and for doctor."""
        return (
            f"the broker ends the link right after {self.about} ({self.size} bytes); that is left out for an hour: "
            "its access list, or its limit of size, must allow it"
        )


class Lessons:
    """Belongs to the publisher's thread; ``version`` is ``mqtt.version`` of the configuration."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._terms = Terms(mqtt.MQTTv311 if version == "3.1.1" else mqtt.MQTTv5)
        self._suspect: tuple[str, int] = ("", 0)
        """What the link ended on, and how many times running."""
        self._left_out: dict[str, LeftOut] = {}

    @property
    def terms(self) -> Terms:
        """For the next connection."""
        return self._terms

    @property
    def investigates(self) -> bool:
        """Whether the next connection is to show what the broker hangs up on: no reason to wait for long."""
        return self._terms.one_at_a_time and self._suspect[1] > 0

    @property
    def left_out(self) -> list[LeftOut]:
        """All that is left out now."""
        now_s = time.monotonic()
        return [each for each in self._left_out.values() if each.until_s > now_s]

    def allows(self, about: str, size: int) -> bool:
        """Whether this may be sent, as far as we know; what is left out for its size is not if it is much shorter."""
        found = self._left_out.get(about)
        return found is None or size < 0.75 * found.size or time.monotonic() > found.until_s

    def learn(self, ended: Connection) -> bool:
        """Take the lesson of a connection that is over; whether the next one follows at once, on other terms."""
        if ended.ready:
            self._learn_from_a_loss(ended)
            return False
        before = self._terms
        self._learn_from_a_refusal(ended.problem)
        # Back at MQTT 5 both have failed, which is a reason to wait.
        return self._terms != before and self._terms.protocol <= before.protocol

    def _learn_from_a_refusal(self, problem: str) -> None:
        terms = self._terms
        if "QoS not supported" in problem:
            self._terms = replace(terms, will_qos=0)
        elif "Retain not supported" in problem:
            self._terms = replace(terms, will_retain=False)
        elif self._version == "auto" and any(sign in problem for sign in (UNSUPPORTED_VERSION, CLOSED_EARLY, SILENT)):
            # Brokers that know no MQTT 5 say so, hang up, or keep silent; so may one that is just starting.
            self._terms = replace(terms, protocol=mqtt.MQTTv311 if terms.protocol == mqtt.MQTTv5 else mqtt.MQTTv5)

    def _learn_from_a_loss(self, ended: Connection) -> None:
        stuck = ended.unanswered if ended.hung_up else []
        if self._suspect[0] in ended.answered or not stuck:
            self._suspect = ("", 0)
        if ended.one_at_a_time and len(stuck) == 1 and stuck[0].about not in ended.answered:
            self._suspect_again(stuck[0])
        self._terms = replace(self._terms, one_at_a_time=ended.hung_up)

    def _suspect_again(self, sent: Sent) -> None:
        about, times = self._suspect
        self._suspect = (sent.about, times + 1 if about == sent.about else 1)
        if self._suspect[1] == 2:
            self._suspect = ("", 0)
            left_out = LeftOut(sent.about, sent.size, time.monotonic() + LEFT_OUT_S)
            if sent.about not in {each.about for each in self.left_out}:  # else a shorter one fares no better
                log.error("MQTT: %s", left_out)
            self._left_out[sent.about] = left_out
