"""A service that closes positions over HTTP: FastAPI, with an idempotency key of the caller's for each order.

Run it with ``uvicorn --app-dir docs/examples --factory closing_service:create_app``, and ``ORDERS_REDIS_URL`` set.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, Path, Query, Request, Response

from producers import AsyncOrderClient, BrokerUnavailable, Close, IdReused, Outcome, Report, ReportPending

EXECUTED = {Outcome.ACCEPTED: True, Outcome.REJECTED: False, Outcome.NOT_SENT: False, Outcome.UNKNOWN: None}
"""Whether the venue has executed the order; None where nobody can know it yet."""
ADVICE = {
    Outcome.ACCEPTED: "The venue took the order.",
    Outcome.REJECTED: "The venue refused the order, and nothing was executed. Mend it and send it under a new key.",
    Outcome.NOT_SENT: "Nothing was executed. If it still makes sense, send it under a new key.",
    Outcome.UNKNOWN: "The order may have been executed. Do not send another one: the desk settles it. Ask again later.",
}
AGAIN = {"Retry-After": "1"}

Key = Annotated[str, Header(alias="Idempotency-Key", pattern="^[A-Za-z0-9_-]{1,64}$")]
"""The caller makes a key for each order, and repeats it when it repeats the request."""
KeyInPath = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{1,64}$")]


def command_id(key: str) -> str:
    """The command's id: of one key always the same, so that a repeated request executes nothing twice."""
    return f"web-{key}"


def client_of(request: Request) -> AsyncOrderClient:
    """The client that the application opened."""
    client: AsyncOrderClient = request.app.state.orders
    return client


Client = Annotated[AsyncOrderClient, Depends(client_of)]


def create_app(make_client: Callable[[], AsyncOrderClient] = AsyncOrderClient) -> FastAPI:
    """The application. One client serves all requests, from start to end; tests pass one in memory."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with make_client() as client:
            app.state.orders = client
            yield

    app = FastAPI(title="Closing positions", lifespan=lifespan)
    app.post("/closes", status_code=202)(close)
    app.get("/closes/{key}")(report)
    return app


async def close(command: Close, key: Key, client: Client) -> dict[str, str]:
    """Enqueue an order. 202: it is enqueued, and nothing more is known yet."""
    try:
        sent = await client.enqueue(command, command_id(key))
    except BrokerUnavailable as error:
        words = "It is not known whether the order was enqueued. Repeat the request with the same Idempotency-Key."
        raise HTTPException(503, words, AGAIN) from error
    try:
        await client.report(sent)
    except IdReused as error:
        raise HTTPException(409, "The Idempotency-Key belongs to another order: this one was not executed.") from error
    except ReportPending:
        pass  # the results can't be reached, which does not matter yet
    return {"id": sent.command_id, "report": f"/closes/{key}"}


async def report(
    key: KeyInPath, client: Client, response: Response, wait: Annotated[float, Query(ge=0, le=30)] = 0
) -> dict[str, Any]:
    """How the order ended, waiting up to 30 s for that. 202: there is no report yet."""
    try:
        told = await client.wait(command_id(key), timeout=wait)
    except ReportPending as pending:
        if pending.unreachable:
            raise HTTPException(503, "The reports can't be reached. The order is not lost.", AGAIN) from pending
        response.status_code = 202
        return {"id": command_id(key), "outcome": None}
    return shown(told)


def shown(told: Report) -> dict[str, Any]:
    """What the caller is told of a report."""
    return {
        "id": told.command_id,
        "outcome": told.outcome,
        "executed": EXECUTED[told.outcome],
        "reason": told.reason,
        "message": told.message,
        "advice": ADVICE[told.outcome],
    }
