"""Logs of the service: JSON, a line each, on stderr; without anything about a person."""

import json
import logging
import sys
from datetime import UTC, datetime


class _AsJson(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "from": record.name,
            "process": record.process,
        }
        text = record.getMessage()
        if record.name == "tailrec.requests":
            said |= json.loads(text)
        else:
            said["message"] = text
        return json.dumps(said, ensure_ascii=False)


def log_as_json(*, requests: bool) -> None:
    """Send what the service and its server log to stderr.

    Args:
        requests: one line a request, too.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_AsJson())
    for name in ("tailrec", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False
    logging.getLogger("tailrec.requests").setLevel(logging.INFO if requests else logging.WARNING)
