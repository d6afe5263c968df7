"""How answers of every service say why a record does not count."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from shared.kernel.reasons import Reason, Words


class WordsAnswer(BaseModel):
    """The same text in both languages."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"en": "status is won", "zh": "状态为 won"}]})

    en: str
    zh: str

    @classmethod
    def of(cls, words: Words) -> Self:
        return cls(en=words.en, zh=words.zh)


class ReasonAnswer(BaseModel):
    """Why a record does not count, in a salesperson's words."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "code": "filter_not_met",
                    "sentence": {
                        "en": "Only deals count whose status is won; of this one that is not so.",
                        "zh": "只计入满足“状态为 won”的商机，该商机不满足。",
                    },
                    "found": "status: open",
                    "expected": {"en": "status is won", "zh": "状态为 won"},
                    "remedy": {
                        "en": "If that is wrong, correct it in the CRM: it then counts within moments.",
                        "zh": "如果有误，请在 CRM 中更正，更正后随即计入。",
                    },
                }
            ]
        }
    )

    code: str = Field(description="The same word as `reason`.")
    sentence: WordsAnswer
    found: str | None = Field(description="What the record has; null where there is nothing to compare.")
    expected: WordsAnswer | None = Field(description="What would count.")
    remedy: WordsAnswer = Field(description="What to do about it, if it should count.")

    @classmethod
    def of(cls, reason: Reason) -> Self:
        return cls(
            code=reason.code,
            sentence=WordsAnswer.of(reason.sentence),
            found=reason.found,
            expected=None if reason.expected is None else WordsAnswer.of(reason.expected),
            remedy=WordsAnswer.of(reason.remedy),
        )
