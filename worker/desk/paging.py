"""Pages of a long list."""

from starlette.requests import Request

MAX_PAGE = 100_000


def page_number(request: Request) -> int:
    """The number of the page that the query names, from 1 on; 1 where it names none."""
    text = request.query_params.get("page", "")
    return min(int(text), MAX_PAGE) if text.isascii() and text.isdecimal() and 0 < len(text) < 7 and int(text) else 1
