"""What pyproject.toml cannot express: the worker has the producers' version and depends on exactly that version."""

import re
from pathlib import Path

from setuptools import setup

SOURCE = Path(__file__).with_name("producers") / "__init__.py"
VERSION = re.findall(r'^__version__ = "([^"]+)"$', SOURCE.read_text(encoding="utf-8"), re.MULTILINE)[0]

setup(version=VERSION, install_requires=[f"order-execution-producers=={VERSION}"])
