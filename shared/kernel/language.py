"""The languages that people are written to in."""

from enum import StrEnum


class Language(StrEnum):
    """What a text is written in."""

    ENGLISH = "en"
    CHINESE = "zh"
