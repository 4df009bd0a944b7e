"""The desk: what an operator sees and does in a browser. Server-rendered, without scripts.

From a request to its page::

    protocol ─▶ gate ─▶ app ─▶ pages/<page>.py ─▶ views.render ─▶ templates/<page>.html
    bounds     host, body,     one module a page,
    time       cross-site,     plain functions in
               session, CSRF   threads of a pool

**How to write a page.** A module in ``pages``, listed in ``app.PAGES`` (also the order of the navigation), with

* ``TITLE`` and ``PATH``, by which it stands in the navigation; leave ``PATH`` empty for a page that is only linked to;
* ``routes``, a list of Starlette's ``Route``; their functions are ``def``, not ``async def``, and take the request.

A page that looks::

    def show(request: Request) -> Response:
        services = services_of(request)
        return render(request, "halts.html", title=TITLE, halts=services.operator.halts())

``services_of`` has the same services as the program ``orders``. :class:`~worker.ledger.base.LedgerUnavailable`, errors
of Redis, and what the services raise where something is not (any more) as it was (``NoSuchCommand``, ``NotUnknown``,
``NotHeld``, ``NoCoolDown``…) need no ``except``: ``app`` makes a page of each. Anything else that a person should read
is a :class:`~worker.desk.views.PageError`.

A page that changes has one route, ``methods=["POST"]``, for the form and for its confirmation::

    def lift(request: Request) -> Response:
        form, services = form_of(request), services_of(request)
        ...                                      # read the form, look at what there is now
        shown = Change(title="…", effects=["…"], facts=[("Scope", "…")], button="Lift the halt", back="/halts")
        return change(request, shown, lambda who, why: act(...))        # returns the sentence of the notice

``change`` shows the confirmation page, where who and why are asked, and calls the act when it is confirmed exactly as
it was shown, once. It keeps all fields of the form. Build ``Change`` from what there is *now*: where it differs from
what was shown, the page is shown again. What is not in ``facts`` but must be the same goes into ``state``.

A template extends ``base.html`` and fills the block ``main``. Every value is made printable and escaped by itself.
In it:

* ``{{ url("/command", id=each.command_id) }}`` writes a path with its query;
* ``{{ moment(each.since) }}`` writes UNIX ms as UTC with its age;
* ``value="{{ each.command_id | exact }}"`` writes a value that is sent back: escaped, and otherwise as it is;
* ``{{ csrf() }}`` belongs into each form, and ``method="post"``;
* a table is ``<table class="records">``, and each cell has ``data-label="…"``: on a phone rows become records.

There are no inline styles and no scripts; the browser would refuse them. Rows are bounded by the page that lists them.
"""
