"""The command line of ``python -m quantization release``."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from edge_agent import __version__
from edge_agent.detectors.built_in_file import SHIPPED
from edge_agent.updates.release import Channel
from edge_agent.vision.model import default_model_path

if TYPE_CHECKING:
    from quantization.release import Repository

LEAST_AGREEMENT = 85.0
"""Percent; an estimate. State less where a release is meant to answer otherwise."""


def add_release(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``release`` and what it does."""
    release = commands.add_parser("release", help="a signed repository of models that devices update from")
    actions = release.add_subparsers(required=True, metavar="ACTION")

    key = actions.add_parser("key", help="make a private key, and its public one beside it")
    key.add_argument("file", type=Path, metavar="KEY.pem")
    key.set_defaults(command=_key)

    create = _action(actions, "create", do=lambda repository, options: repository.create(
        owners=options.owner, threshold=options.threshold, daily=options.daily
    ), summary="begin a repository")  # fmt: skip
    create.add_argument("--owner", type=Path, action="append", required=True, metavar="KEY.pub", help="once for each")
    create.add_argument("--threshold", type=int, default=2, help="owners who must sign (default: %(default)s)")
    create.add_argument("--daily", type=Path, required=True, metavar="KEY.pub", help="signs that this is the newest")

    add = _action(actions, "add", do=_add, summary="put a release into it")
    add.add_argument("name", metavar="RELEASE", help="for example 2026.12.1; never used again")
    add.add_argument("--classifier", type=Path, default=default_model_path(), metavar="TFLITE", help="(%(default)s)")
    add.add_argument("--detector", type=Path, default=SHIPPED, metavar="TFLITE", help="(default: %(default)s)")
    add.add_argument("--card", type=Path, required=True, metavar="MD", help="its model card")
    add.add_argument("--improves", required=True, metavar="TEXT", help="what is better than before, for people")
    add.add_argument("--agent", default=__version__, metavar="VERSION", help="lowest that can run it (%(default)s)")
    add.add_argument(
        "--board", action="append", default=[], metavar="TEXT", help="only for boards with this in the name"
    )
    add.add_argument(
        "--least-agreement", type=float, default=LEAST_AGREEMENT, metavar="PERCENT",
        help="of shares with the present model's on the device (default: %(default)s)",
    )  # fmt: skip

    roll_out = _action(actions, "roll-out", do=lambda repository, options: repository.roll_out(
        options.name, options.channel, options.percent
    ), summary="let a channel lead to a release")  # fmt: skip
    roll_out.add_argument("name", metavar="RELEASE")
    roll_out.add_argument("--channel", choices=get_args(Channel), required=True)
    roll_out.add_argument("--percent", type=float, default=100.0, help="of its devices (default: %(default)s)")

    replace = _action(actions, "replace", do=lambda repository, options: repository.replace_owner(
        options.old, options.new
    ), summary="let another owner's key count")  # fmt: skip
    replace.add_argument("--old", type=Path, required=True, metavar="KEY.pub")
    replace.add_argument("--new", type=Path, required=True, metavar="KEY.pub")

    _action(actions, "sign", do=lambda repository, _options: repository.sign(), summary="sign what waits for it")
    _action(
        actions,
        "renew",
        do=lambda repository, _options: repository.renew(),
        summary="say that this is still the newest",
    )


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    *,
    do: Callable[[Repository, argparse.Namespace], list[str]],
    summary: str,
) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=summary)
    action.add_argument("repository", type=Path, metavar="REPOSITORY", help="its folder")
    action.add_argument("--key", type=Path, action="append", default=[], metavar="KEY.pem", help="sign with this one")

    def run(options: argparse.Namespace) -> None:
        from quantization.release import Repository

        logging.getLogger("tuf").setLevel(logging.ERROR)  # it tells of each owner who has not signed yet
        print("\n".join(do(Repository(options.repository, options.key), options)))

    action.set_defaults(command=run)
    return action


def _key(options: argparse.Namespace) -> None:
    from quantization.release import make_key

    print(make_key(options.file))


def _add(repository: Repository, options: argparse.Namespace) -> list[str]:
    from quantization.release import describe

    release = describe(
        options.name,
        improves=options.improves,
        agent=options.agent,
        classifier=options.classifier,
        boards=options.board,
        least_agreement=options.least_agreement,
    )
    return repository.add(release, classifier=options.classifier, detector=options.detector, card=options.card)
