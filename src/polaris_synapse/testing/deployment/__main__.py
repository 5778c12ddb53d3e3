"""`python -m polaris_synapse.testing.deployment`: what scripts/test-integration.sh and scripts/stress-test.sh run.

Exit codes: 0 passed, 1 failed, 2 wrong options, 3 no deployment to be found. Progress goes to standard error, the
result to standard output.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from polaris_synapse.testing.deployment.checks import CheckResult, order_checks, quick_checks, run_checks
from polaris_synapse.testing.deployment.load import LoadReport, run_load
from polaris_synapse.testing.deployment.target import RefusedError, Target, TargetError, find_target, paper_account

_PASSED: Final = 0
_FAILED: Final = 1
_NOT_FOUND: Final = 3
#: A load check that anybody may run at any time.
_LOAD_CONCURRENT: Final = 10
_LOAD_SECONDS: Final = 15.0
#: Connections that share a user: order entry has a budget for each user.
_CONNECTIONS_A_USER: Final = 10
_USERS_MAX: Final = 20


def main(arguments: list[str] | None = None) -> int:
    """Run the command; its exit code."""
    options = _parser().parse_args(arguments)
    try:
        target = find_target(url=options.url, key_file=options.key_file, ca_file=options.ca_file)
        try:
            return _stress(target, options) if options.what == "stress" else _integration(target, options)
        finally:
            target.close()
    except TargetError as error:
        _say(str(error))
        return _NOT_FOUND
    except RefusedError as error:
        _say(f"The check could not be set up: {error}")
        return _FAILED


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--url", default="", help="the gateway's URL; POLARIS_URL, or the desk that runs here")
    shared.add_argument("--key-file", type=Path, help="a key of role ADMIN; POLARIS_KEY_FILE, or the desk's own")
    shared.add_argument("--ca-file", type=Path, help="the certificate authority of an https URL, where it is private")
    shared.add_argument("--json", action="store_true", help="print the figures as JSON")
    shared.add_argument("--p99-ms-max", type=float, default=250.0, help="the highest p99 of placing an order (250)")
    shared.add_argument("--error-ratio-max", type=float, default=0.001, help="the highest share of errors (0.001)")
    parser = argparse.ArgumentParser(prog="python -m polaris_synapse.testing.deployment", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    check = commands.add_parser("integration", parents=[shared])
    check.add_argument("kind", nargs="?", choices=["all", "quick", "load"], default="all")
    stress = commands.add_parser("stress", parents=[shared])
    stress.add_argument("--concurrent", type=_positive, default=100, help="connections at the same time (100)")
    stress.add_argument("--duration", type=_seconds, default=300.0, help="seconds (300)")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 2_000:
        raise argparse.ArgumentTypeError("a number from 1 to 2000")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = 0.0
    if not 1 <= value <= 86_400:
        raise argparse.ArgumentTypeError("seconds from 1 to 86400")
    return value


def _integration(target: Target, options: argparse.Namespace) -> int:
    results: list[CheckResult] = run_checks(quick_checks(target), _show)
    report: LoadReport | None = None
    if options.kind != "quick":
        with paper_account(target, traders=1) as account:
            results += run_checks(order_checks(target, account), _show)
            if options.kind == "load":
                report = uvloop.run(
                    run_load(target, account, concurrent=_LOAD_CONCURRENT, seconds=_LOAD_SECONDS, progress=_progress)
                )
    problems = [f"{result.name}: {result.problem}" for result in results if result.problem]
    if report is not None:
        problems += _verdict(report, options)
    return _conclude(options, {"target": target.place.url("gateway"), "checks": results, "load": report}, problems)


def _stress(target: Target, options: argparse.Namespace) -> int:
    users = min(_USERS_MAX, -(-options.concurrent // _CONNECTIONS_A_USER))
    with paper_account(target, traders=users) as account:
        report = uvloop.run(
            run_load(target, account, concurrent=options.concurrent, seconds=options.duration, progress=_progress)
        )
    figures = {"target": target.place.url("gateway"), "load": report}
    return _conclude(options, figures, _verdict(report, options))


def _verdict(report: LoadReport, options: argparse.Namespace) -> list[str]:
    problems = []
    if not report.orders:
        problems.append("not a single order was placed")
    if report.error_ratio > options.error_ratio_max:
        problems.append(f"{report.error_ratio:.2%} of the requests failed, allowed are {options.error_ratio_max:.2%}")
    if report.place.p99_ms > options.p99_ms_max:
        problems.append(f"the p99 of placing an order is {report.place.p99_ms} ms, allowed are {options.p99_ms_max} ms")
    return problems


def _conclude(options: argparse.Namespace, figures: dict[str, Any], problems: list[str]) -> int:
    report: LoadReport | None = figures["load"]
    if options.json:
        document = figures | {"passed": not problems, "problems": problems}
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    else:
        lines = [] if report is None else list(_sentences(report))
        lines += [f"PROBLEM  {problem}" for problem in problems]
        lines.append("FAILED" if problems else "PASSED")
        sys.stdout.write("\n".join(lines) + "\n")
    return _FAILED if problems else _PASSED


def _sentences(report: LoadReport) -> list[str]:
    orders = f"{report.orders:,} orders in {report.seconds:.1f} s over {report.concurrent} connections"
    lines = [f"{orders}: {report.orders_per_second:,.1f} a second, {report.throttled:,} times told to slow down"]
    for name, found in (("place", report.place), ("cancel", report.cancel)):
        lines.append(
            f"{name:<7} p50 {found.p50_ms} ms   p99 {found.p99_ms} ms   p99.9 {found.p999_ms} ms   "
            f"max {found.max_ms} ms   ({found.count:,} answers)"
        )
    lines += [f"errors  {count:,} {name}" for name, count in sorted(report.errors.items())]
    return lines


def _show(result: CheckResult) -> None:
    _say(f"{'FAILED' if result.problem else 'ok':<7}{result.milliseconds:>8.1f} ms  {result.name}  {result.problem}")


def _progress(share: float, orders: int) -> None:
    _say(f"{share:>6.0%}  {orders:,} orders")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
