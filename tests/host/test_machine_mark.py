"""What tells one machine from another of the same name."""

from __future__ import annotations

from pathlib import Path

from edge_agent.config import Config
from edge_agent.host import machine

MACHINE_ID = "3d1219c7c4c5404aaa1f6d2a48adfda4\n"


def root(folder: Path, serial_number: str = "", machine_id: str = MACHINE_ID) -> Path:
    for name, text in (("proc/device-tree/serial-number", serial_number), ("etc/machine-id", machine_id)):
        if text:
            (folder / name).parent.mkdir(parents=True)
            (folder / name).write_text(text)
    return folder


def test_boards_with_copies_of_one_card_differ(tmp_path):
    """The card brings its machine id along."""
    one, other = (root(tmp_path / serial, f"{serial}\0") for serial in ("10000000aaaa", "10000000bbbb"))
    assert machine.mark(one) != machine.mark(other)


def test_a_machine_keeps_its_mark_and_does_not_tell_its_number(tmp_path):
    here = root(tmp_path)
    assert machine.mark(here) == machine.mark(here)
    assert len(machine.mark(here)) == 6
    assert machine.mark(here) not in MACHINE_ID


def test_without_any_number_there_is_no_mark(tmp_path):
    assert machine.mark(tmp_path) is None


def test_the_default_id_ends_with_the_mark():
    """Of this machine; a container without any has its host name alone, which is its own."""
    assert Config().device.id.endswith(machine.mark() or "")
