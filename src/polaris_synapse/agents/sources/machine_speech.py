"""How texts speak to a machine that reads them: one pattern a line, all for lower-case text.

A list like this is never complete, and nothing rests on it: a reading is a few bounded numbers whatever a text says. It
finds what is tried most, so that such texts are withheld instead of scored. A news item that quotes an attack is
withheld with the attacks; what is lost by that is one item.
"""

from __future__ import annotations

import re
from typing import Final

_OPENINGS: Final = r"""
^\W{0,4}(?:system|assistant|developer|user|tool|function|human|admin|operator)\s*[:>\]]
^\W{0,4}(?:system|assistant|developer|tool|function|admin|operator) (?:message|prompt|note|call|result|output)\s*[:>\]]
"""

_ANYWHERE: Final = r"""
\b(?:ignore|disregard|forget|override|bypass|skip)\b[^.!?\n]{0,40}\b(?:instruct\w*|prompts?|rules?|guidelines?)\b
\b(?:ignore|disregard|forget|override|bypass|skip)\b[^.!?\n]{0,40}\b(?:polic(?:y|ies)|restrictions?)\b
\b(?:ignore|disregard|forget|override|bypass|skip)\b[^.!?\n]{0,40}\b(?:limits?|mandates?)\b
\b(?:ignore|disregard|forget|override|bypass|skip)\b[^.!?\n]{0,20}\b(?:above|previous|prior|earlier)\b
<\/?\s*(?:system|assistant|user|instructions?|tool\w*|function\w*|im_start|im_end)\b
\[\/?(?:inst|sys)\]|<<\/?sys>>|<\|[a-z_]+\|>|###\s*(?:system|instructions?|assistant|human)
\byou are (?:now|no longer)\b
\byou (?:must|should|will|shall|have to|are to) (?:now )?(?:buy|sell|output|return|reply|respond|answer|print|reveal)\b
\byou (?:must|should|will|shall|have to|are to) (?:now )?(?:execute|place|submit|call|set|score|rate|transfer|send)\b
\b(?:score|confidence)(?:_ppm)?\b\W{0,12}(?:=|:|to|of|is|as|must be|should be)\W{0,3}-?\d{3,}
\bscore_ppm\b|\bconfidence_ppm\b|\btool_?calls?\b|\bfunction_?calls?\b|\bplace_?order\b|\bsubmit_?order\b
\b(?:new|updated|real|actual|hidden|secret) (?:system )?(?:instructions?|prompts?|directives?)\b
\b(?:system|developer) (?:prompt|message|instructions?|override|notice)\b
\b(?:dear|attention|note to|hey|hello|message for) (?:an? |the |any |all )?(?:ai|llm|language model|assistant)s?\b
\b(?:dear|attention|note to|hey|hello|for) (?:an? |the |any |all )?(?:chatbot|trading (?:bot|agent)|sentiment bot)s?\b
\b(?:ai|llm|model|machine)s? (?:that |which )?(?:reads?|reading|processing|parsing|scoring|summari[sz]ing) this\b
\bdeveloper mode\b|\bjailbreak\w*|\bdan mode\b|\bdo anything now\b|\brole-?play\b
\bpretend (?:to be|you|that)\b|\bact as (?:an?|the|if)\b
\b(?:classif\w+|label|rate|mark|treat|report|read) (?:this|it|the (?:text|article|item|news))\b[^.!?\n]{0,30}\bas\b
\b(?:respond|reply|answer|output|return)\b[^.!?\n]{0,20}\b(?:only|json|exactly)\b
\b(?:step|task|part) ?(?:1|one)\b[^\n]{0,160}\b(?:step|task|part) ?(?:2|two)\b
\bdecode (?:this|the|it|and)\b|\b(?:base64|rot13|rot-13)\b
["']?(?:action|side|tool|function|name|role|type)["']?\s*[:=]\s*["'](?:buy|sell|order|place\w*|submit\w*|system)
["']?(?:action|side|tool|function|name|role|type)["']?\s*[:=]\s*["'](?:assistant|withdraw\w*|transfer\w*|tool\w*)
\b(?:buy|sell|go long|go short)\b[^.!?\n]{0,30}\b(?:at once|all (?:of )?your|entire balance|max(?:imum)? size)\b
\b(?:buy|sell|order|trade|act|approve)\b[^.!?\n]{0,30}\bwithout (?:any )?(?:confirmation|approval|asking)\b
\b(?:place|execute|submit|issue)\b[^.!?\n]{0,20}\b(?:market|limit|buy|sell) orders?\b
\b(?:raise|increase|remove|lift|disable|change|set|turn off)\b[^.!?\n]{0,20}\b(?:risk|your|agent'?s?) limits?\b
\b(?:raise|increase|remove|lift|disable|turn off|switch off)\b[^.!?\n]{0,20}\b(?:mandates?|kill switch|collar)\b
\bignor\w+\b[^.!?\n]{0,40}\b(?:instrucciones|instruções|anweisungen|regeln|istruzioni|reglas|consignes|instructies)
\bignorez?\b[^.!?\n]{0,40}\b(?:instructions|consignes|règles)|\bignoriere\b|\bvergiss\b[^.!?\n]{0,30}\banweis
\b(?:oubliez?|olvida|dimentica|esqueça|vergeet|zapomnij)\b[^.!?\n]{0,30}\b(?:instr|istruz|consign|poprzed)
\bnegeer\b[^.!?\n]{0,30}\binstruc|\bzignoruj\b|\btalimatlar|\byönergeler
игнорируй\w*|забудь\w*[^.!?\n]{0,30}инструкц
忽略|无视|無視|系统提示|系統提示|指示を無|무시|تجاهل|अनदेखा|התעלם
"""

_SECRETS: Final = re.compile(
    r"\b(?:print|reveal|show|send|output|return|leak|exfiltrate|include|tell|give|dump|post|repeat|email|share|quote|"
    r"encode)\b[^.!?\n]{0,60}\b(?:api[- _]?keys?|private keys?|secrets?|passwords?|seed phrases?|mnemonics?|"
    r"credentials?|environment variables?|env vars?|\.env|system prompts?|access tokens?|jwt|canary)\b"
)


def _compiled(lines: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(line) for line in lines.strip().splitlines())


_AT_LINE_STARTS: Final = _compiled(_OPENINGS)
_PATTERNS: Final = _compiled(_ANYWHERE)


def speaks_to_machines(text: str) -> bool:
    """Whether a lower-case text gives orders to, or imitates the surroundings of, a machine that reads it."""
    if any(pattern.search(text) for pattern in _PATTERNS):
        return True
    lines = [line.strip() for line in text.splitlines()]
    return any(pattern.search(line) for line in lines for pattern in _AT_LINE_STARTS)


def asks_for_secrets(text: str) -> bool:
    """Whether a lower-case text asks for keys, passwords or prompts."""
    return _SECRETS.search(text) is not None
