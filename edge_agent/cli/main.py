"""The ``edge-agent`` command. Each command imports what it needs when it runs, so that ``--help`` stays instant."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent import __version__
from edge_agent.errors import CountenanceError

if TYPE_CHECKING:
    from edge_agent.config import Config

EXIT_CODES = """exit codes:
  0  done (run, demo and watch: stopped, too)  7  a package is not installed
  1  doctor: something failed                  8  MQTT broker
  2  wrong command line                        9  window store
  3  a picture or film                        10  an address to listen on
  4  camera                                   11  an update of models
  5  face detector                            70  a defect in this program
  6  model missing or damaged                 78  configuration
                                             130  Ctrl-C before it was done
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; errors of ours become one clear message and their exit code."""
    args = _parser().parse_args(argv)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except CountenanceError as error:
        _complain(f"edge-agent: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has closed it ("| head"). Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # noqa: BLE001 (the outermost boundary: it reports and ends)
        _complain(f"{traceback.format_exc()}edge-agent: a defect of this program; please report the lines above")
        return 70


def _complain(message: str) -> None:
    from edge_agent.host.logs import complain

    complain(message)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-agent",
        description="Facial-emotion percentages at the edge: camera in, MQTT and an offline page out, never a picture.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"countenance {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="read the camera and publish until stopped")
    run.add_argument("-c", "--config", type=Path, metavar="FILE", help="configuration; default: all defaults")
    run.set_defaults(run=_run)

    demo = commands.add_parser("demo", help="show a film of a real face, or your webcam, through broker and page")
    demo.add_argument("--camera", type=_camera, metavar="N", help="a webcam's number or path, in place of the film")
    demo.add_argument("--seconds", type=_seconds, metavar="N", help="stop after N seconds (default off a terminal: 30)")
    demo.set_defaults(run=_demo)

    predict = commands.add_parser("predict", help="read the faces in pictures")
    predict.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="pictures, or folders of them")
    predict.add_argument("--json", action="store_true", help="one JSON object a line for each picture")
    predict.add_argument("--annotate", type=Path, metavar="DIR", help="write copies with boxes and emotions into DIR")
    predict.add_argument("--detector", choices=("built_in", "yunet", "whole_frame"), metavar="KIND")
    predict.add_argument("-c", "--config", type=Path, metavar="FILE")
    predict.set_defaults(run=_predict)

    watch = commands.add_parser("watch", help="show a device's percentages live in this terminal")
    watch.add_argument("-c", "--config", type=Path, metavar="FILE", help="take broker and credentials from here")
    watch.add_argument("--host", type=_setting("mqtt", "host"), help="MQTT broker")
    watch.add_argument("--port", type=_setting("mqtt", "port"))
    watch.add_argument(
        "--device", type=_setting("device", "id", "+"), default="+", metavar="ID", help="device id; default: + (all)"
    )
    watch.set_defaults(run=_watch)

    export = commands.add_parser("export", help="write the stored windows as CSV or JSON lines")
    export.add_argument("-c", "--config", type=Path, metavar="FILE", help="names the store; default: all defaults")
    export.add_argument("--from", dest="start", type=_moment, metavar="TIME", help="ISO 8601; default: the oldest")
    export.add_argument("--to", dest="end", type=_moment, metavar="TIME", help="not included; default: the newest")
    export.add_argument("--bucket", choices=("hour", "day"), help="add windows up by the hour or the day of UTC")
    export.add_argument("--json", action="store_true", help="one JSON object a line, as on MQTT")
    export.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: standard output")
    export.set_defaults(run=_export)

    calibrate = commands.add_parser("calibrate", help="learn how faces look at this site, from people who agreed")
    calibrate.add_argument("-c", "--config", type=Path, metavar="FILE", help="names model, detector and store")
    what = calibrate.add_mutually_exclusive_group(required=True)
    what.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="DIR/happy/*.jpg, DIR/sad/*.jpg and so on")
    what.add_argument("--remove", action="store_true", help="delete the calibration and all it holds of these people")
    calibrate.set_defaults(run=_calibrate)

    _add_model(commands)

    config = commands.add_parser("config", help="check a configuration, or print its JSON Schema")
    actions = config.add_subparsers(metavar="ACTION", required=True)
    check = actions.add_parser("check", help="say what is wrong with FILE, all of it")
    check.add_argument("file", type=Path, metavar="FILE")
    check.set_defaults(run=_config_check)
    schema = actions.add_parser("schema", help="print the JSON Schema")
    schema.set_defaults(run=_config_schema)

    first = commands.add_parser("setup", help="choose camera, broker and page, write the configuration, and start")
    way = first.add_mutually_exclusive_group()
    way.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: the service's, else ./agent.yaml")
    way.add_argument("--code", action="store_true", help="open /setup for a browser: print its address and a code")
    way.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)  # countenance-setup.service
    way.add_argument("--apply", action="store_true", help=argparse.SUPPRESS)  # countenance-setup-write.service
    first.set_defaults(run=_setup)

    alone = commands.add_parser("try-alone", help="for 15 minutes the page shows one person's figures, kept nowhere")
    alone.set_defaults(run=_try_alone)

    fetch = commands.add_parser("fetch-detector", help="download and verify the YuNet face detector")
    fetch.add_argument("--from", dest="source", type=Path, metavar="FILE", help="take this file, without internet")
    fetch.add_argument("--to", type=Path, metavar="DIR", help="folder to put it into")
    fetch.set_defaults(run=_fetch_detector)

    doctor = commands.add_parser("doctor", help="check camera, model, broker and machine, and say how to fix them")
    doctor.add_argument("-c", "--config", type=Path, metavar="FILE")
    doctor.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    doctor.set_defaults(run=_doctor)

    bench = commands.add_parser("bench", help="time each stage on this device")
    bench.add_argument("-c", "--config", type=Path, metavar="FILE")
    bench.add_argument("--threads", type=_threads, default=(1, 2, 4), metavar="N,N", help="default: 1,2,4")
    bench.add_argument(
        "--faces", type=_whole(0, 1000), default=1, metavar="N", help="faces in every picture; default: 1"
    )
    bench.add_argument(
        "--frames", type=_whole(1, 1_000_000), default=100, metavar="N", help="pictures to time; default: 100"
    )
    bench.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    bench.set_defaults(run=_bench)
    return parser


def _add_model(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    model = commands.add_parser("model", help="signed updates of models: look, take, go back")
    actions = model.add_subparsers(metavar="ACTION", required=True)

    def add(name: str, summary: str, *, reads: bool) -> argparse.ArgumentParser:
        action = actions.add_parser(name, help=summary)
        action.add_argument("-c", "--config", type=Path, metavar="FILE", help="names source, channel and folder")
        action.set_defaults(run=_model, action=name, scheduled=False, off=False, name=None, source=None)
        action.set_defaults(without_site=False, without_shadow=False)
        if reads:
            action.add_argument("--from", dest="source", metavar="SOURCE", help="a URL or a folder, e.g. a USB stick's")
        return action

    add("check", "say what is in use and what the channel offers", reads=True)
    update = add("update", "take what the channel offers", reads=True)
    add("rollback", "return to what was in use before", reads=False)
    pin = add("pin", "stay with what is in use, or with one release", reads=True)
    pin.add_argument("name", nargs="?", metavar="RELEASE", help="take this one; default: what is in use")
    pin.add_argument("--off", action="store_true", help="follow the channel again")
    for each in (update, pin):
        each.add_argument("--without-site", action="store_true", help="accept that the site's calibration is set aside")
        each.add_argument("--without-shadow", action="store_true", help="take it at once, without a try beside")
    update.add_argument("--scheduled", action="store_true", help="carry on as the timer does: only what is due")


def _whole(low: int, high: int) -> Callable[[str], int]:
    """Reads a whole number within these bounds."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is wrong: must be a whole number from {low} to {high}")
        return number

    return read


def _seconds(text: str) -> float:
    """A time to wait; NaN fails the comparison, too."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is wrong: must be a number of seconds above 0")
    return seconds


def _threads(text: str) -> tuple[int, ...]:
    """``1,2,4``; each must be valid for ``model.threads``."""
    read = _setting("model", "threads")
    return tuple(read(part) for part in text.split(","))


def _moment(text: str) -> datetime:
    """An ISO 8601 time, local without an offset."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone()
    except (ValueError, OverflowError):  # the latter next to the years 1 and 9999
        raise argparse.ArgumentTypeError(
            f"{text!r} is wrong: must be an ISO 8601 time such as 2026-01-31T12:00"
        ) from None


def _setting(section: str, key: str, *also: str) -> Callable[[str], Any]:
    """Reads an option by the rule of this configuration key, or takes one of ``also`` as it is."""

    def read(text: str) -> Any:
        from pydantic import ValidationError

        from edge_agent.config import Config

        if text in also:
            return text
        try:
            config = Config.model_validate({section: {key: text}})
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise argparse.ArgumentTypeError(f"{text!r} is wrong: {reason[:1].lower()}{reason[1:]}") from None
        return getattr(getattr(config, section), key)

    return read


def _run(args: argparse.Namespace) -> int:
    from edge_agent.assembly import run_agent

    return run_agent(args.config)


def _camera(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def _demo(args: argparse.Namespace) -> int:
    from edge_agent.cli.demo import run_demo

    return run_demo(args.seconds, args.camera)


def _predict(args: argparse.Namespace) -> int:
    from edge_agent.cli.predict import predict_files
    from edge_agent.config import load_config
    from edge_agent.host.logs import setup
    from edge_agent.updates.releases import in_use

    config = in_use(load_config(args.config))
    if args.detector:
        config = config.model_copy(update={"detector": config.detector.model_copy(update={"kind": args.detector})})
    setup("warning", form=config.log.format)  # the answers are the output; only warnings go to standard error
    return predict_files(args.images, config, as_json=args.json, annotate_dir=args.annotate)


def _watch(args: argparse.Namespace) -> int:
    from edge_agent.cli.watch import watch
    from edge_agent.config import load_config
    from edge_agent.host.logs import setup

    config = load_config(args.config)
    setup("warning", form=config.log.format)
    wanted = {"host": args.host, "port": args.port}
    return watch(config.mqtt.model_copy(update={k: v for k, v in wanted.items() if v is not None}), args.device)


def _export(args: argparse.Namespace) -> int:
    from edge_agent.cli.export import Wanted, export, write_file
    from edge_agent.config import load_config
    from edge_agent.updates.releases import in_use

    config, wanted = in_use(load_config(args.config)), Wanted(args.start, args.end, args.json, args.bucket)
    if args.output is None:
        export(config, wanted, sys.stdout)
    else:
        count = write_file(config, wanted, args.output)
        print(f"{args.output}: {count} {'windows' if wanted.bucket is None else f'{wanted.bucket}s'}")
    return 0


def _calibrate(args: argparse.Namespace) -> int:
    from edge_agent.cli.calibrate import calibrate, remove
    from edge_agent.config import load_config
    from edge_agent.host.logs import setup
    from edge_agent.updates.releases import in_use

    config = in_use(load_config(args.config))
    setup("warning", form=config.log.format)
    return remove(config) if args.remove else calibrate(config, args.folder)


def _model(args: argparse.Namespace) -> int:
    from edge_agent.cli.model import model
    from edge_agent.config import load_config
    from edge_agent.host.logs import setup
    from edge_agent.updates.updater import Wish

    config = load_config(args.config)
    setup("info" if args.scheduled else "warning", form=config.log.format)
    action = "scheduled" if args.scheduled else "unpin" if args.off else args.action
    wish = Wish(without_site=args.without_site, without_shadow=args.without_shadow)
    return model(config, action, source=args.source, name=args.name, wish=wish)


def _config_check(args: argparse.Namespace) -> int:
    from edge_agent.config import load_config
    from edge_agent.errors import ConfigError
    from edge_agent.preflight import check_fit

    config = load_config(args.file)
    try:
        check_fit(config, lambda: _labels(config))
    except ConfigError as error:
        raise ConfigError("\n".join(f"{args.file}: {fault}" for fault in str(error).splitlines())) from None
    print(f"{args.file}: good")
    return 0


def _labels(config: Config) -> tuple[str, ...]:
    from edge_agent.updates.releases import in_use
    from edge_agent.vision.model import load_model

    return load_model(in_use(config).model.path).info.labels


def _config_schema(args: argparse.Namespace) -> int:
    import json

    from edge_agent.config import Config

    print(json.dumps(Config.model_json_schema(), indent=2))
    return 0


def _setup(args: argparse.Namespace) -> int:
    from edge_agent.cli.setup import browser, setup_here
    from edge_agent.config import KioskConfig
    from edge_agent.first_start.code import SetupPlaces
    from edge_agent.host.logs import setup

    setup("info" if args.serve or args.apply else "warning")
    if args.code:
        return browser.open_setup(SetupPlaces())
    if args.serve:
        return browser.serve(SetupPlaces(), KioskConfig().port)
    return browser.apply(SetupPlaces()) if args.apply else setup_here(args.output)


def _try_alone(_args: argparse.Namespace) -> int:
    from edge_agent.first_start.trial import TRIAL_S, begin_trial, trial_folder

    begin_trial(trial_folder())
    print(f"For {TRIAL_S / 60:.0f} minutes the page shows the figures of one person. They are neither stored nor sent.")
    return 0


def _fetch_detector(args: argparse.Namespace) -> int:
    from edge_agent.detectors.yunet_file import fetch_yunet

    print(fetch_yunet(args.to, args.source))
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from edge_agent.cli import doctor
    from edge_agent.cli.doctor.onward import next_steps
    from edge_agent.config import load_config
    from edge_agent.host.logs import setup
    from edge_agent.updates.releases import in_use

    config = in_use(load_config(args.config))
    setup("error", form=config.log.format)  # warnings are the doctor's own lines
    return doctor.report(
        doctor.run(config),
        as_json=args.json,
        write=lambda text: print(text, flush=True),
        onward=lambda checks: next_steps(config, args.config, checks),
    )


def _bench(args: argparse.Namespace) -> int:
    import json

    from edge_agent.cli import bench
    from edge_agent.config import load_config
    from edge_agent.updates.releases import in_use

    done = bench.run(in_use(load_config(args.config)), args.threads, args.faces, frames=args.frames)
    print(json.dumps(done.as_dict(), indent=2) if args.json else done)
    return 0
