"""Messages that devices send over MQTT to a NATS cluster, shared by any number of collectors.

The cluster acknowledges a device's message (QoS 1) when it is in the stream ``$MQTT_msgs``, on most nodes. A durable
consumer of that stream keeps each message until one of the collectors has acknowledged it, so nothing lies between.
``health`` has QoS 0 and is in no stream: it comes by a plain subscription that the collectors share.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from edge_agent.errors import BrokerError
from fleet.collecting import BATCH, Message

STREAM = "$MQTT_msgs"
SUBJECTS = "$MQTT.msgs."
CONSUMER = "countenance-fleet"
ACK_WAIT_S = 60
"""A message that a collector took and did not acknowledge for so long goes to another."""
MOST_UNACKNOWLEDGED = 20 * BATCH
ANSWER_S = 20

T = TypeVar("T")


class NatsSource:
    """See :class:`fleet.collecting.Source`."""

    def __init__(self, urls: Sequence[str], prefix: str, ack_wait_s: float = ACK_WAIT_S) -> None:
        self._urls, self._prefix, self._ack_wait_s = list(urls), prefix, ack_wait_s
        self._loop = asyncio.new_event_loop()
        self._client: Client | None = None
        self._pull: JetStreamContext.PullSubscription | None = None
        self._health: dict[str, Message] = {}

    def take(self) -> Sequence[Message]:
        """See the protocol."""
        return self._do(self._take())

    def done(self, messages: Sequence[Message]) -> None:
        """See the protocol."""
        self._do(self._done(messages))

    def close(self) -> None:
        """See the protocol."""
        self._loop.run_until_complete(self._leave())
        self._loop.close()

    def _do(self, action: Coroutine[Any, Any, T]) -> T:
        try:
            return self._loop.run_until_complete(asyncio.wait_for(action, 2 * ANSWER_S))
        except NotFoundError as error:
            raise BrokerError(f"no device has spoken MQTT to this NATS yet: {error}") from error
        except (NatsError, OSError, asyncio.TimeoutError) as error:
            raise BrokerError(f"NATS {', '.join(self._urls)}: {type(error).__name__} {error}") from error

    async def _take(self) -> Sequence[Message]:
        pull = self._pull or await self._begin()
        with contextlib.suppress(asyncio.TimeoutError):  # nats.errors.TimeoutError is one
            return [
                Message(msg.subject.removeprefix(SUBJECTS).replace(".", "/"), msg.data, msg)
                for msg in await pull.fetch(BATCH, timeout=1)
            ] + self._healths()
        return self._healths()

    def _healths(self) -> list[Message]:
        taken, self._health = list(self._health.values()), {}
        return taken

    async def _done(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if isinstance(message.handle, Msg):
                await message.handle.ack()
        assert self._client is not None
        await self._client.flush(ANSWER_S)

    async def _begin(self) -> JetStreamContext.PullSubscription:
        if self._client is None:
            self._client = await nats.connect(self._urls, name=CONSUMER, max_reconnect_attempts=-1)
            await self._client.subscribe(f"{self._prefix}.*.health", queue=CONSUMER, cb=self._hear)
        stream = self._client.jetstream()
        await stream.add_consumer(
            STREAM,
            ConsumerConfig(
                durable_name=CONSUMER,
                filter_subject=f"{SUBJECTS}{self._prefix}.>",
                ack_policy=AckPolicy.EXPLICIT,
                deliver_policy=DeliverPolicy.ALL,
                ack_wait=self._ack_wait_s,
                max_ack_pending=MOST_UNACKNOWLEDGED,
            ),
        )
        self._pull = await stream.pull_subscribe_bind(CONSUMER, STREAM)
        return self._pull

    async def _leave(self) -> None:
        if self._client is not None:
            with contextlib.suppress(NatsError, OSError):
                await self._client.close()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await asyncio.sleep(0)  # the transport closes its socket in the loop's next turn

    async def _hear(self, msg: Msg) -> None:
        self._health[msg.subject] = Message(msg.subject.replace(".", "/"), msg.data, None)
