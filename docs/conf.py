"""The documentation's site. `make docs` builds it: `.ci/docs.py` lays out the pages that Sphinx reads."""

from producers import __version__

project = "Order execution worker"
release = version = __version__
language = "en"

extensions = ["myst_parser"]
root_doc = "index"
nitpicky = True

# Links to headings are written as a code host makes their anchors, and so they are made here.
myst_heading_anchors = 6
myst_enable_extensions = ["strikethrough"]

html_theme = "furo"
html_title = f"{project} {release}"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False
html_use_index = False
html_domain_indices = False
# No page loads anything from elsewhere: Furo takes the fonts of the reader's system; the search runs in the browser.
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}

highlight_language = "text"
