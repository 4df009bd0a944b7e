"""Pages of a long list."""

from starlette.requests import Request

MAX_PAGE = 100_000


def page_number(request: Request) -> int:
    """The number of the page that the query names, from 1 on; 1 where it names none."""
    text = request.query_params.get("page", "")
    return min(int(text), MAX_PAGE) if text.isascii() and text.isdecimal() and 0 < len(text) < 7 and int(text) else 1


def page_count(count: int, per_page: int) -> int:
    """How many pages a list of so many has; an empty one has one."""
    return max(1, -(-count // per_page))
