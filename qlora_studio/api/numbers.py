"""Whole numbers in requests, no larger than a column of the database can hold."""

from typing import Annotated

from pydantic import Field

_LARGEST = 2**31 - 1
FromZero = Annotated[int, Field(ge=0, le=_LARGEST)]
FromOne = Annotated[int, Field(ge=1, le=_LARGEST)]
