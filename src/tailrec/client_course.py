"""How a call goes: sent, sent again where that is safe, read, or an error."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Generic, TypeVar

import httpx
from pydantic import ValidationError

from tailrec.client_calls import Call
from tailrec.errors import ProviderError
from tailrec.wire import Problem

A = TypeVar("A")

_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 30.0
"""A service that asks for a longer wait gets its answer handed on instead."""
_BUSY: Final = (429, 503)
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_SHOWN: Final = 200
"""Letters of a body that is no problem, in a message."""


class ServiceError(ProviderError):
    """The service did not do what it was asked.

    Attributes:
        status: of the answer; None without one.
        problem: what the service says is wrong; None where it says nothing in that form.
        retry_after_s: seconds after which it wants to be asked again, where it said so.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        problem: Problem | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem
        self.retry_after_s = retry_after_s


class NoAnswer(ServiceError):  # noqa: N818
    """The service cannot be reached, or did not answer in time."""


class Refused(ServiceError):  # noqa: N818
    """The request is at fault: its key, its body, or what it names is not there."""


class Failed(ServiceError):  # noqa: N818
    """The service is at fault, too busy, or its answer is none."""


@dataclass(slots=True)
class Course(Generic[A]):
    """What becomes of one call; whoever sends it only sends and waits.

    Attributes:
        call: what is asked.
        where: address of the service.
        retries: how often it may still be sent again.
    """

    call: Call[A]
    where: str
    retries: int
    _wait_s: float = _FIRST_WAIT_S

    def again_after(self, answer: httpx.Response) -> float | None:
        """Seconds to wait before it is sent again; None: the answer stands."""
        if answer.status_code in self.call.answers or answer.status_code not in _BUSY:
            return None
        asked = _retry_after_s(answer)
        if not self.retries or (asked or 0) > _LONGEST_WAIT_S:
            return None
        return max(self._pause_s(), asked or 0)

    def again_after_none(self, error: httpx.RequestError) -> float:
        """Seconds to wait before it is sent again.

        Raises:
            NoAnswer: it must not be, or was too often.
        """
        if self.retries and (self.call.lost_is_safe or isinstance(error, _NOT_SENT)):
            return self._pause_s()
        reason = str(error) or type(error).__name__
        message = f"{self._asked}: no answer from the service at {self.where} ({reason})"
        raise NoAnswer(message) from error

    def read(self, answer: httpx.Response) -> A:
        """The answer.

        Raises:
            Refused: the request is at fault.
            Failed: the service is.
        """
        status = answer.status_code
        if status in self.call.answers:
            try:
                return self.call.read(status, answer.content)
            except ValidationError as error:
                message = f"{self._asked}: the answer is none this version of tailrec knows"
                raise Failed(f"{message} ({_told(answer)})", status=status) from error
        problem = _problem(answer)
        kind = Refused if 400 <= status < 500 else Failed
        raise kind(
            f"{self._asked}: {status} {_said(problem) if problem else _told(answer)}",
            status=status,
            problem=problem,
            retry_after_s=_retry_after_s(answer),
        )

    @property
    def _asked(self) -> str:
        return f"{self.call.method} {self.call.path}"

    def _pause_s(self) -> float:
        """A pause twice as long each time, and never the same for all who wait."""
        self.retries -= 1
        pause_s, self._wait_s = self._wait_s, min(2 * self._wait_s, _LONGEST_WAIT_S)
        return pause_s * random.uniform(0.5, 1.0)


def _retry_after_s(answer: httpx.Response) -> float | None:
    """What `Retry-After` asks for: seconds, or a moment."""
    told = answer.headers.get("retry-after", "")
    try:
        return max(float(told), 0.0)
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(told)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max((aware - datetime.now(UTC)).total_seconds(), 0.0)


def _problem(answer: httpx.Response) -> Problem | None:
    try:
        return Problem.model_validate_json(answer.content, extra="ignore")
    except ValidationError:
        return None


def _said(problem: Problem) -> str:
    faults = "; ".join(f"{fault.path}: {fault.message}" for fault in problem.errors)
    return ": ".join(part for part in (problem.title, problem.detail, faults) if part)


def _told(answer: httpx.Response) -> str:
    text = " ".join(answer.text.split())
    return text[:_SHOWN] or answer.reason_phrase
