"""What is advised about a key that a venue refuses, by the venues' own messages."""

import pytest

from worker.operations.doctor.key_advice import key_advice

PREFIX = "ORDERS_ACCOUNTS__MAIN__"
KEY, SECRET, PASSPHRASE = f"{PREFIX}API_KEY", f"{PREFIX}SECRET_KEY", f"{PREFIX}PASSPHRASE"
CLOCK, ADDRESS, RIGHTS, NETWORK = "NTP", "public address", "rights to read", f"{PREFIX}TESTNET"
EACH = (KEY, SECRET, PASSPHRASE, CLOCK, ADDRESS, RIGHTS, NETWORK)


@pytest.mark.parametrize(
    ("message", "advised"),
    [
        ("the venue answered 401 (50111): Invalid OK-ACCESS-KEY", {KEY}),
        ("the venue answered 401 (50119): API key doesn't exist", {KEY}),
        ("the venue answered 401 (50113): Invalid Sign", {SECRET}),
        ("the venue answered 401 (50105): Request header OK-ACCESS-PASSPHRASE incorrect.", {PASSPHRASE}),
        ("the venue answered 401 (50102): Timestamp request expired", {CLOCK}),
        (
            "the venue answered 401 (50110): Your IP 192.0.2.7 is not included in your API key's IP whitelist",
            {ADDRESS},
        ),
        ("the venue answered 401 (50120): This API key doesn't have permission to use this function", {RIGHTS}),
        ("the venue answered 401 (50101): APIKey does not match current environment.", {NETWORK}),
        (
            "the venue answered 401 (-2015): Invalid API-key, IP, or permissions for action.",
            {KEY, ADDRESS, RIGHTS},
        ),
        ("the venue answered 400 (-1021): Timestamp for this request is outside of the recvWindow.", {CLOCK}),
        ("the venue answered 400 (-1022): Signature for this request is not valid.", {SECRET}),
        (
            "the venue answered 200 (10010): Unmatched IP, please check your API key's bound IP addresses.",
            {ADDRESS},
        ),
        ("the venue answered 200 (10003): API key is invalid.", {KEY}),
        ("the venue answered 401 (-2014): API-key format invalid.", {KEY}),
        ("the venue answered 401 (INVALID_KEY): Invalid key provided", {KEY}),
        ("the venue answered 401 (INVALID_SIGNATURE): Signature mismatch", {SECRET}),
        ("the venue answered 200 (authenticationError)", {KEY, SECRET}),
        ("the venue answered 200 (EAPI:Invalid nonce)", {CLOCK}),
        ("the venue answered 200 (EGeneral:Permission denied)", {RIGHTS}),
        ("the venue refused it: Unauthorized", {KEY, SECRET}),
        ("the venue refused it (-105)", {SECRET}),
        ("the venue refused it (-300069)", {KEY}),
        ("the venue refused it: no", {KEY, SECRET, RIGHTS, ADDRESS}),
    ],
)
def test_the_causes_that_a_message_names_are_advised(message: str, advised: set[str]) -> None:
    """All of them, and no other."""
    advice = key_advice(message, PREFIX)
    assert {each for each in EACH if each in advice} == advised
