"""What SQL cannot fit: pure functions, frames and arrays in, rows out. Nothing here knows a database."""

from __future__ import annotations

from warehouse.errors import WarehouseError


class MissingScipy(WarehouseError):
    """Fitting needs pandas and scipy, one of which is not installed: pip install 'token-warehouse[fits]'"""
