"""Running a list of checks: every one has a name, an outcome and, where it did not pass, the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from scrutiny.core.errors import ContractError, InputError, NotApplicable

Check = Callable[[Any], None]
"""Takes what is checked; raises AssertionError where a promise is broken and NotApplicable where it was not made."""

CARD_CHECK = "check_card"
"""The one check that needs no data."""


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"
    EXPECTED_FAILURE = "expected failure"
    UNEXPECTED_PASS = "unexpected pass"


@dataclass(frozen=True)
class CheckResult:
    """Outcome of one check. ``detail`` says what was found where it did not simply pass."""

    check: str
    outcome: Outcome
    detail: str = ""


def run_checks(
    checks: Sequence[Check], subject: Any, *, expected_failures: Mapping[str, str], on_fail: Literal["raise", "report"]
) -> list[CheckResult]:
    """Run every check on the subject.

    Parameters
    ----------
    expected_failures
        Name of a check -> why it must fail. A listed check that passes is a failure too: the reason no longer holds.
    on_fail
        Whether failures are raised together after the last check, or only reported.

    Raises
    ------
    ContractError
        If a check fails, or none applies.
    InputError
        If a name in ``expected_failures`` is no check.
    """
    names = [check.__name__ for check in checks]
    if unknown := sorted(set(expected_failures) - set(names)):
        raise InputError(f"there is no check called {unknown}; the checks are {names}")
    results = [_result(check, subject, expected_failures) for check in checks]
    if on_fail == "raise":
        _raise_failures(results)
    return results


def _result(check: Check, subject: Any, expected_failures: Mapping[str, str]) -> CheckResult:
    name = check.__name__
    try:
        check(subject)
    except NotApplicable as error:
        return CheckResult(name, Outcome.NOT_APPLICABLE, str(error))
    except Exception as error:  # noqa: BLE001
        outcome = Outcome.EXPECTED_FAILURE if name in expected_failures else Outcome.FAILED
        return CheckResult(name, outcome, f"{type(error).__name__}: {error}" if not isinstance(error, AssertionError) else str(error))
    if name in expected_failures:
        return CheckResult(name, Outcome.UNEXPECTED_PASS, f"it was expected to fail: {expected_failures[name]}")
    return CheckResult(name, Outcome.PASSED)


def _raise_failures(results: Iterable[CheckResult]) -> None:
    results = list(results)
    bad = [r for r in results if r.outcome in (Outcome.FAILED, Outcome.UNEXPECTED_PASS)]
    if bad:
        raise ContractError("\n".join(f"{r.check}: {r.detail}" for r in bad))
    made = [r for r in results if r.check != CARD_CHECK]
    if all(r.outcome is Outcome.NOT_APPLICABLE for r in made):
        raise ContractError(f"beside the card nothing could be checked: {made[0].detail}; give data that fit")
