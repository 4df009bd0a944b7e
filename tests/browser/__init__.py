"""Tests that look at pages with a real browser: Debian's `chromium` and `chromium-driver`, driven by Selenium."""
