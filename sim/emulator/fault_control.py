"""Decides how faults are set and taken away while the emulator runs: POST, GET and DELETE /emulator/faults."""

from typing import Any, Final

import msgspec

from sim.emulator.fault_rules import FaultError, parse_json, rules_of
from sim.emulator.faults import Faults
from sim.emulator.http_server import HttpRequest, HttpResponse

PATH: Final = "/emulator/"
_FAULTS: Final = "/emulator/faults"


def answer(faults: Faults, request: HttpRequest) -> HttpResponse:
    """Answer a request about faults; 400 names the key that is wrong."""
    place, _, number = request.path.partition(f"{_FAULTS}/")
    if request.path != _FAULTS and (place or not number.isascii() or not number.isdigit()):
        return _says(404, {"error": f"there is {_FAULTS}, not {request.path}"})
    if request.method == "DELETE":
        return _delete(faults, number)
    if number:
        return _says(405, {"error": "one fault can only be deleted"})
    if request.method == "GET":
        return _says(200, {"faults": faults.listing()})
    if request.method != "POST":
        return _says(405, {"error": "GET, POST or DELETE"})
    try:
        ids = faults.add(rules_of(parse_json(request.body)))
    except FaultError as error:
        return _says(400, {"error": str(error)})
    return _says(200, {"ids": ids})


def _delete(faults: Faults, number: str) -> HttpResponse:
    if not number:
        ids = [one["id"] for one in faults.listing()]
        for fault_id in ids:
            faults.remove(fault_id)
        return _says(200, {"deleted": ids})
    if not faults.remove(int(number)):
        return _says(404, {"error": f"there is no fault {number}"})
    return _says(200, {"deleted": [int(number)]})


def _says(status: int, body: Any) -> HttpResponse:
    return HttpResponse(status, msgspec.json.encode(body))
