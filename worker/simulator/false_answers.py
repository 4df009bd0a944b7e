"""False answers ("lies") by name: what a venue, or a proxy in front of it, may respond to a request that it executed.

Each is the JSON of a fault (`faults.Fault`) and is armed as `{"lie": "doubtful_refusal", "path": "close"}`. A lie
executes the request unless the fault says `"execute": false`. The same response also comes from a venue that did
nothing, so a client must conclude neither.
"""

from collections.abc import Mapping
from typing import Any

DOUBT = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."
"""Binance's words for -1007 TIMEOUT (the error codes of its REST API), in this venue's envelope."""

_JSON_TYPE = {"content-type": "application/json"}
_BLANK_IN_A_NAME = (
    "HTTP/1.1 200 OK\r\nRequest Id: 7\r\nX-Debug-Api-Key: $API_KEY\r\nX-Debug-Signature: $SIGNATURE\r\n"
    "Content-Type: application/json\r\nContent-Length: $LENGTH\r\n\r\n$BODY"
)
_COMPLETE_RESPONSE = (
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 47\r\n\r\n"
    '{"code":200,"msg":"string","result":{"id":"x"}}'
)


def _page(status: int, title: str, **headers: str) -> dict[str, Any]:
    body = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return _lie("status", status=status, body=body, headers=headers)


def _success(result: object) -> dict[str, Any]:
    return _lie("respond", data={"code": 200, "msg": "string", "result": result})


def _lie(kind: str, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "execute": True, **fields}


_ANOTHER_ID = dict.fromkeys(("id", "order_id", "orderId", "ordId", "algoId", "wdId"), "another-order")
_ANOTHER_CLIENT_ID = dict.fromkeys(("cliOrdId", "clOrdId", "algoClOrdId"), "anotherhandle")
_ANOTHER_PAIR = dict.fromkeys(("pair", "symbol", "instId"), "ANOTHER_PAIR")

LIES: Mapping[str, Mapping[str, Any]] = {
    # Refusals in the venue's own envelope that prove nothing.
    "doubtful_refusal": _lie("envelope", message=DOUBT),
    "service_unavailable": _lie("envelope", message="Service unavailable"),
    "unlisted_refusal": _lie("envelope", message="Something nobody listed"),
    # Pages of a proxy in front of the venue.
    "page_400": _page(400, "400 Bad Request"),
    "page_401": _page(401, "401 Authorization Required"),
    "page_403": _page(403, "Just a moment...", server="cloudflare"),
    "page_404": _page(404, "404 Not Found"),
    "page_422": _lie("status", status=422, body='{"detail":"Unprocessable"}', headers=_JSON_TYPE),
    "page_502": _page(502, "502 Bad Gateway"),
    "page_504": _page(504, "504 Gateway Time-out"),
    # Success responses about something else.
    "another_answer": _lie(
        "altered",
        changes={
            **_ANOTHER_ID,
            **_ANOTHER_CLIENT_ID,
            **_ANOTHER_PAIR,
            "asset": "OTHER",
            "ccy": "OTHER",
            "address": "0xother",
        },
    ),
    "another_id": _lie("altered", path="cancel", changes=_ANOTHER_ID),
    "another_pair": _lie("altered", path="close", changes=_ANOTHER_PAIR),
    "another_asset": _lie("altered", path="withdraw", changes={"asset": "OTHER"}),
    "another_address": _lie("altered", path="withdraw", changes={"address": "0xother"}),
    # Success responses whose record shows a failure, or that have no record.
    "record_rejected": _lie("altered", changes={"status": "REJECTED", "sCode": "59999"}),
    "record_failed": _lie("altered", path="withdraw", changes={"status": "FAILED"}),
    "record_expired": _lie("altered", path="close", changes={"status": "EXPIRED"}),
    "record_completed": _lie("altered", path="cancel", changes={"status": "COMPLETED"}),
    "result_null": _success(None),
    "result_list": _success([]),
    "result_string": _success("ok"),
    # A response to an earlier request.
    "stale_read": {"kind": "stale"},
    # Responses that would put secrets into logs and reports.
    "key_echoed": _lie("respond", data={"code": "Invalid API-key: $API_KEY", "msg": "x", "result": {}}),
    "blank_in_a_name": _lie("raw", body=_BLANK_IN_A_NAME),
    # Responses that violate HTTP.
    "surplus_byte": _lie("surplus", body="X"),
    "surplus_answer": _lie("surplus", body=_COMPLETE_RESPONSE),
    "head_cut": _lie("raw", body="HTTP/1.1 200 OK\r\nContent-Le"),
    # An honest response, which executes nothing.
    "limited_for_a_fraction": {"kind": "status", "status": 429, "retry_after": "1.5"},
}
"""The fields of each false answer, by name."""
