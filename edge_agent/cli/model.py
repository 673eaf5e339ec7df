"""``edge-agent model``: what is in use, what there is, and switching by hand."""

from __future__ import annotations

from edge_agent.config import Config
from edge_agent.updates.folder import State
from edge_agent.updates.news import news_path, read_news
from edge_agent.updates.release import OWN
from edge_agent.updates.updater import BY_DEFAULT, Updater, Wish, become_owner_of


def model(
    config: Config,
    action: str,
    *,
    source: str | None = None,
    name: str | None = None,
    wish: Wish = BY_DEFAULT,
) -> int:
    """One action: ``check``, ``update``, ``scheduled``, ``rollback``, ``pin`` or ``unpin``; returns the exit code 0.

    Raises:
        UpdateError, MissingPackageError: as :class:`edge_agent.updates.updater.Updater` does.
    """
    become_owner_of(config.updates.folder)
    updater = Updater(config, source)
    match action:
        case "check":
            state = updater.check()
        case "update":
            state = updater.update(wish)
        case "scheduled":
            state = updater.scheduled()
        case "rollback":
            state = updater.roll_back()
        case "pin":
            state = updater.pin(name, wish)
        case _:
            state = updater.unpin()
    print("\n".join(lines(config, state)))
    return 0


def lines(config: Config, state: State) -> list[str]:
    """What is in use, and what there is, for people."""
    told = [f"in use: {state.current or OWN}{', pinned' if state.pinned else ''} (channel {config.updates.channel})"]
    if state.latest is not None:
        told.append(f"offered: {state.latest}: {state.improves}")
    if state.candidate is not None:
        tried = read_news(news_path(config)).verdicts.get(state.candidate)
        people = 0 if tried is None or tried.people is None else tried.people
        told.append(f"candidate: {state.candidate}: the agent tries it beside the present one, {people} people so far")
    if state.held:
        told.append(f"not taken: {state.held}")
    elif state.latest is not None and state.latest == state.current:
        told.append("up to date")
    return told
