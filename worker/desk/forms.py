"""Fields of a form and of a query: bounded, each name once, UTF-8."""

from collections.abc import Mapping
from urllib.parse import parse_qsl

MAX_BODY_BYTES = 16 * 1024
MAX_FIELDS = 40
MAX_QUERY_BYTES = 2 * 1024


class BadForm(Exception):
    """The text says what is wrong with the form."""


def parse(content: bytes) -> Mapping[str, str]:
    """The fields of ``application/x-www-form-urlencoded``.

    Raises:
        BadForm: too many fields, one twice, or no UTF-8.
    """
    try:
        text = content.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise BadForm(f"the form is not URL-encoded UTF-8 with at most {MAX_FIELDS} fields") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise BadForm("the form has a field twice")
    return fields
