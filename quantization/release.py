"""``release``: a signed repository of models, static files for any web server or a USB stick (docs/updates.md).

The Update Framework's own metadata and signatures; here are only which roles there are, and what our files are called.
Owners sign what devices may run (``root`` and ``targets``): several people, of whom a stated number must agree. One key
that may lie on a server signs every day that this is still the newest (``snapshot`` and ``timestamp``).

::

    REPO/metadata/       N.root.json, N.targets.json, N.snapshot.json, timestamp.json
    REPO/targets/        HASH.channels.json, NAME/HASH.classifier.tflite ...
    REPO/waiting/        signed by too few owners so far; no device looks there
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from edge_agent.detectors.built_in_file import read_detector
from edge_agent.errors import InputError
from edge_agent.updates.release import (
    CHANNELS,
    CLASSIFIER,
    DETECTOR,
    FILES,
    RELEASE,
    Channel,
    Channels,
    Release,
    Rollout,
)
from edge_agent.updates.repository import MADE, MOST_BYTES
from edge_agent.vision.model import default_model_path, load_model
from training.files import write_atomically

OWNERS, DAILY = (Root.type, Targets.type), (Snapshot.type, Timestamp.type)
VALID = {
    Root.type: timedelta(days=2 * 365),
    Targets.type: timedelta(days=365),
    Snapshot.type: timedelta(days=30),
    Timestamp.type: timedelta(days=30),
}
"""Devices that hear nothing new for longer than the last two say so; renew them every week."""
PASSWORD = "COUNTENANCE_KEY_PASSWORD"  # noqa: S105 (the variable's name)


class Repository:
    """What an owner does with a repository; each method raises InputError and then has changed nothing.

    Args:
        folder: the repository.
        keys: files of the private keys that are at hand; what needs more waits for ``sign``.
    """

    def __init__(self, folder: Path, keys: Sequence[Path] = ()) -> None:
        self._folder = folder
        self._signers = [read_key(path) for path in keys]

    # -- what owners do -----------------------------------------------------------------------------------------

    def create(self, *, owners: Sequence[Path], threshold: int, daily: Path) -> list[str]:
        """Begin a repository whose releases ``threshold`` of these owners must sign; the keys may be public ones."""
        if (self._folder / "metadata").exists():
            raise InputError(f"{self._folder}: there is a repository already")
        if not 1 <= threshold <= len(owners):
            raise InputError(f"--threshold {threshold}: must be from 1 to the number of owners, {len(owners)}")
        root = Root(expires=_until(Root.type))
        for path in owners:
            for role in OWNERS:
                root.add_key(read_public_key(path), role)
        for role in DAILY:
            root.add_key(read_public_key(daily), role)
        for role in OWNERS:
            root.roles[role].threshold = threshold
        told = self._propose(Metadata(root))
        first = self._with_target(Targets(expires=_until(Targets.type)), CHANNELS, _text(Channels(channels={})))
        return [*told, *self._propose(Metadata(first))]

    def add(self, release: Release, *, classifier: Path, detector: Path, card: Path) -> list[str]:
        """Put a release's files into the repository, and sign that they belong to it."""
        read_detector(detector)
        targets = self._newest(Targets)
        if f"{release.name}/{RELEASE}" in targets.targets:
            raise InputError(f"{release.name}: there is such a release already; devices know it by its name")
        content = {
            RELEASE: _text(release),
            "card.md": _read(card),
            CLASSIFIER: _read(classifier),
            "classifier.json": _read(classifier.with_suffix(".json")),
            DETECTOR: _read(detector),
            "detector.json": _read(detector.with_suffix(".json")),
        }
        for file in FILES:
            if len(content[file]) > MOST_BYTES:
                raise InputError(f"{file}: {len(content[file]):,} bytes; devices take at most {MOST_BYTES:,}")
            targets = self._with_target(targets, f"{release.name}/{file}", content[file])
        return self._propose(Metadata(targets))

    def roll_out(self, name: str, channel: Channel, percent: float) -> list[str]:
        """Let a channel lead to a release, for this share of its devices."""
        targets = self._newest(Targets)
        if f"{name}/{RELEASE}" not in targets.targets:
            raise InputError(f"{name}: there is no such release here; add it first")
        channels = {**self._channels(targets).channels, channel: Rollout(release=name, percent=percent)}
        return self._propose(Metadata(self._with_target(targets, CHANNELS, _text(Channels(channels=channels)))))

    def replace_owner(self, old: Path, new: Path) -> list[str]:
        """Let another key count instead of one that was lost or stolen."""
        root = self._newest(Root)
        gone = read_public_key(old).keyid
        if gone not in root.roles[Root.type].keyids:
            raise InputError(f"{old}: this key is no owner's")
        for role in OWNERS:
            root.revoke_key(gone, role)
            root.add_key(read_public_key(new), role)
        # What the old key signed counts no longer, so the releases are signed again, too.
        return [*self._propose(Metadata(root)), *self._propose(Metadata(self._newest(Targets)))]

    def sign(self) -> list[str]:
        """Add the signatures of the keys at hand to what waits for them."""
        waiting = sorted((self._folder / "waiting").glob("*.json"), key=lambda path: path.name != "root.json")
        if not waiting:
            raise InputError(f"{self._folder}: nothing waits for a signature")
        return [line for path in waiting for line in self._propose(Metadata.from_file(str(path)))]

    def renew(self) -> list[str]:
        """Say that what is there is still the newest: devices refuse a repository that nobody has renewed for long."""
        snapshot, timestamp = self._next(Snapshot), self._next(Timestamp)
        targets = self._published(Targets)
        if targets is None:
            raise InputError(f"{self._folder}: the owners have not signed anything yet")
        snapshot.meta = {"targets.json": MetaFile(targets.signed.version)}
        signed = self._signed_daily(snapshot)
        timestamp.snapshot_meta = MetaFile(snapshot.version, len(signed), {"sha256": _sha256(signed)})
        timestamp.unrecognized_fields[MADE] = datetime.now(timezone.utc).isoformat(timespec="seconds")
        stamped = self._signed_daily(timestamp)
        self._write(f"metadata/{snapshot.version}.snapshot.json", signed)
        self._write("metadata/timestamp.json", stamped)
        return [f"the repository is good until {timestamp.expires:%Y-%m-%d}; renew it every week"]

    # -- signing ------------------------------------------------------------------------------------------------

    def _propose(self, metadata: Metadata[Any]) -> list[str]:
        """Sign with the keys at hand; publish if enough owners have signed, and let it wait otherwise."""
        role, published = metadata.signed.type, self._published(Root)
        # A new root must be signed by the old one's owners, too; all else by the published one's.
        judges = [metadata.signed] if role == Root.type else []
        judges += [] if published is None else [published.signed]
        owners = {key for judge in judges for key in judge.roles[Root.type].keyids}
        for signer in self._signers:
            if signer.public_key.keyid in owners:
                metadata.sign(signer, append=True)
        if not judges or not _is_signed(metadata, judges):
            self._write(f"waiting/{role}.json", metadata.to_bytes())
            return [f"{role}: not signed by enough owners yet; it waits for: release sign {self._folder} --key KEY"]
        self._write(f"metadata/{metadata.signed.version}.{role}.json", metadata.to_bytes())
        (self._folder / "waiting" / f"{role}.json").unlink(missing_ok=True)
        told = [f"{role} {metadata.signed.version}: signed by enough owners"]
        if role == Root.type:
            return told
        return [*told, *(self.renew() if self._daily_signer() else ["now sign with the daily key: release renew"])]

    def _daily_signer(self) -> CryptoSigner | None:
        published = self._published(Root)
        wanted = [] if published is None else published.signed.roles[Timestamp.type].keyids
        return next((signer for signer in self._signers if signer.public_key.keyid in wanted), None)

    def _signed_daily(self, signed: Snapshot | Timestamp) -> bytes:
        signer = self._daily_signer()
        if signer is None:
            raise InputError("this needs the daily key: --key DAILY.pem")
        metadata: Metadata[Any] = Metadata(signed)
        metadata.sign(signer)
        return metadata.to_bytes()

    # -- files --------------------------------------------------------------------------------------------------

    def _newest(self, form: type[Any]) -> Any:
        """What waits for signatures or else is published, as the beginning of the next version."""
        waiting = self._folder / "waiting" / f"{form.type}.json"
        if waiting.exists():
            return Metadata.from_file(str(waiting)).signed
        published = self._published(form)
        if published is None:
            raise InputError(f"{self._folder}: no repository that was signed; begin with: release create")
        signed = published.signed
        signed.version += 1
        signed.expires = _until(form.type)
        return signed

    def _next(self, form: type[Any]) -> Any:
        published = self._published(form)
        if published is None:
            return form(expires=_until(form.type))
        published.signed.version += 1
        published.signed.expires = _until(form.type)
        return published.signed

    def _published(self, form: type[Any]) -> Metadata[Any] | None:
        folder = self._folder / "metadata"
        if form is Timestamp:
            return Metadata.from_file(str(folder / "timestamp.json")) if (folder / "timestamp.json").exists() else None
        versions = [int(path.name.split(".")[0]) for path in folder.glob(f"*.{form.type}.json")]
        return Metadata.from_file(str(folder / f"{max(versions)}.{form.type}.json")) if versions else None

    def _channels(self, targets: Targets) -> Channels:
        digest = targets.targets[CHANNELS].hashes["sha256"]
        return Channels.model_validate_json(_read(self._folder / "targets" / f"{digest}.{CHANNELS}"))

    def _with_target(self, targets: Targets, path: str, content: bytes) -> Targets:
        target = TargetFile.from_data(path, content, ["sha256"])
        folder, _, name = path.rpartition("/")
        self._write(f"targets/{folder}/{target.hashes['sha256']}.{name}", content)
        targets.targets[path] = target
        return targets

    def _write(self, path: str, content: bytes) -> None:
        file = self._folder / path
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, content)
        except OSError as error:
            raise InputError(f"{file}: {error.strerror}") from error


def make_key(path: Path) -> str:
    """Write a new private key, which only its owner may read, and its public one beside it; returns its id."""
    password = os.environ.get(PASSWORD, "")
    key = Ed25519PrivateKey.generate()
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
            path.with_suffix(".pub").write_bytes(
                key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            )
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    return CryptoSigner(key).public_key.keyid


def read_key(path: Path) -> CryptoSigner:
    """A private key; its password is in COUNTENANCE_KEY_PASSWORD. Raises InputError."""
    return CryptoSigner(_private(path))


def _private(path: Path) -> Ed25519PrivateKey:
    password = os.environ.get(PASSWORD, "")
    try:
        key = load_pem_private_key(_read(path), password.encode() or None)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: no private key, or its password in {PASSWORD} is wrong ({error})") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path}: must be an Ed25519 key, which devices verify without a further package")
    return key


def read_public_key(path: Path) -> SSlibKey:
    """A key's public half, from either of the two files that :func:`make_key` writes."""
    if path.suffix != ".pub":
        return SSlibKey.from_crypto(_private(path).public_key())
    try:
        return SSlibKey.from_crypto(load_pem_public_key(_read(path)))
    except ValueError as error:
        raise InputError(f"{path}: no public key ({error})") from error


def describe(
    name: str,
    *,
    improves: str,
    agent: str,
    classifier: Path | None = None,
    boards: Sequence[str] = (),
    processors: Sequence[str] = ("aarch64", "x86_64"),
    least_agreement: float,
) -> Release:
    """``release.json`` of these models: checked, and with what each runtime and processor may be off by."""
    model = load_model(classifier or default_model_path())
    return Release(
        name=name,
        made=datetime.now(timezone.utc).replace(microsecond=0),
        improves=improves,
        agent=agent,
        boards=tuple(boards),
        classifier_sha256=model.info.sha256,
        answers={
            f"{runtime}/{processor}": model.info.self_test.tolerance
            for runtime in model.info.self_test.outputs
            for processor in processors
        },
        least_agreement=least_agreement,
    )


def _is_signed(metadata: Metadata[Any], judges: Sequence[Root]) -> bool:
    """Whether the threshold of each of these is reached."""
    try:
        for judge in judges:
            judge.verify_delegate(metadata.signed.type, metadata.signed_bytes, metadata.signatures)
    except RepositoryError:
        return False
    return True


def _until(role: str) -> datetime:
    return (datetime.now(timezone.utc) + VALID[role]).replace(microsecond=0)


def _text(form: Release | Channels) -> bytes:
    return form.model_dump_json(indent=1).encode() + b"\n"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
