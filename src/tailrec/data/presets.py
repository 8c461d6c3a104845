"""Well-known files whose columns tailrec knows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

import polars as pl

from tailrec import columns as c
from tailrec.data.clean import RULE, Cleaned
from tailrec.data.cleaning import Cleaning
from tailrec.data.mapping import QUANTITY, Layout, json_object
from tailrec.errors import SchemaError

