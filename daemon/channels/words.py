"""What a notice looks like outside: a JSON object, or a subject with lines below it."""

from typing import Any

from actors.notices import Notice
from daemon.redaction import redact, redacted

SUBJECT_MAX = 150


def as_json(notice: Notice, run: str) -> dict[str, Any]:
    """Return a notice of the desk `run` as what JSON can say, without secrets."""
    told = {
        "run": run,
        "ts": notice.ts,
        "number": notice.number,
        "ref": notice.ref,
        "urgency": notice.urgency.name.lower(),
        "subject": notice.subject,
        "text": notice.text,
        "fields": notice.fields,
        "needs_ack": notice.needs_ack,
        "is_over": notice.is_over,
        "times": notice.times,
    }
    return redacted(told)  # type: ignore[return-value]


def subject(notice: Notice, run: str) -> str:
    """Return one line without control characters."""
    said = redact(f"[{run}] {notice.urgency.name} {notice.subject}")
    return "".join(char if char.isprintable() else " " for char in said)[:SUBJECT_MAX]


def body(notice: Notice, run: str) -> str:
    """Return what a person reads."""
    lines = [notice.text, "", *(f"{name}: {value}" for name, value in notice.fields.items())]
    if notice.needs_ack:
        lines += ["", "Acknowledge it: basisctl ack --reason ..."]
    lines += ["", f"{run}, notice {notice.number}, cause {notice.ref}, told {notice.times} times"]
    return redact("\n".join(lines))
