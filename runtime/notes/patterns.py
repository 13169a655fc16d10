"""Which values look like identifiers, whatever their key: the second table that a privacy officer reviews.

Every pattern is matched on text as `values.plain` writes it, so that look-alike characters don't hide a number. A fact
whose value matches is left out whole; in free text the match is cut out. The rules run in the order of the table.
No rule can know every name: `docs/notes.md` says what these rules can't see.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ._names import GIVEN_NAMES
from .kinds import ADDRESS, BIRTH, CLINICIAN, DATE, INSTITUTION, LONG_NUMBER, NATIONAL, ONLINE, PERSON, PHONE, RECORD


@dataclass(frozen=True, slots=True)
class ValueRule:
    """Text that is taken for an identifier.

    Attributes:
        kind: What the user is told was left out.
        reason: Why, and what the pattern must not catch.
        pattern: The text.
    """

    kind: str
    reason: str
    pattern: re.Pattern[str]


_MONTH = (
    r"(?:jan(?:uar[y]?|vier)?|feb(?:ruar[y]?)?|f[eé]vr(?:ier)?|mar(?:ch|s|zo)?|m[aä]rz|apr(?:il|ile)?|avril|may|mai|"
    r"mayo|june?|juni|juin|july?|juli|juillet|aug(?:ust)?|ao[uû]t|agosto|sept?(?:ember|embre)?|"
    r"o[ck]t(?:ober|obre|ubre)?|nov(?:ember|embre)?|de[cz](?:ember|embre)?|d[eé]c(?:embre)?|enero|febrero|abril|"
    r"junio|julio|septiembre|noviembre|diciembre|gennaio|febbraio|maggio|giugno|luglio|settembre|ottobre|dicembre)"
)
# Months that can't be read as another word, for dates without a year ("5 may show", "SOX2 OCT4").
_CLEAR_MONTH = (
    r"(?:january|february|march|april|june|july|august|september|october|november|december|januar|februar|m[aä]rz|juni|"
    r"juli|oktober|dezember|janvier|f[eé]vrier|avril|juin|juillet|ao[uû]t|septembre|octobre|novembre|d[eé]cembre|enero|"
    r"febrero|marzo|abril|junio|julio|agosto|septiembre|octubre|noviembre|diciembre|gennaio|febbraio|aprile|maggio|giugno|"
    r"luglio|settembre|ottobre|dicembre)"
)
_TITLE_MONTH = r"May|Mai|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Nov|Dec|Dez"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_MONTH_NUMBER = r"(?:0?[1-9]|1[0-2])"
_DD, _MM = r"(?:0[1-9]|[12]\d|3[01])", r"(?:0[1-9]|1[0-2])"
_YEAR = r"(?:1[89]|20|21)\d{2}"
_TIME = r"(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?Z|[+-]\d{2}:?\d{2})?)?"

# Repeats are bounded everywhere, so that no text makes a rule slow.
# Capitals of the Latin, Greek and Cyrillic scripts; `re` has no class for them.
_BLOCKS = (range(0xC0, 0x250), range(0x370, 0x530), range(0x1E00, 0x1F00))
CAPITAL = "[A-Z" + "".join(chr(c) for block in _BLOCKS for c in block if chr(c).isupper()) + "]"
_CAPITAL = CAPITAL
_PARTICLES = r"(?:(?:van|von|de|der|den|del|della|di|da|la|le|al|el|bin|ben|Mc|O'|D')[ ']?){0,3}"
_WORD = rf"{_CAPITAL}[\w'’-]{{0,40}}"
_SURNAME = rf"{_PARTICLES}{_WORD}"
_INITIALS = rf"(?:{_CAPITAL}\.? ){{0,3}}"
_FULL_NAME = rf"{_INITIALS}{_SURNAME}(?: {_INITIALS}{_SURNAME}){{0,3}}"
_GIVEN = rf"(?:{'|'.join((*GIVEN_NAMES, *(name.upper() for name in GIVEN_NAMES)))})"
_TITLE = (
    r"(?:Dr|Prof|Professor|Doctor|Mr|Mrs|Ms|Miss|Mister|Sir|Madam|Herrn?|Frau|Mme|Mlle|Monsieur|Madame|Dott|Dra|Sig|"
    r"Sra|(?:Hr|Fr|Sr|DR|MR|MRS|MS|PROF|HERR|FRAU)(?=\.))"
)
_NUMBER_LABEL = r"(?:no|nr|number|num|id|#)\.?"
_RECORD_NUMBER = r"[A-Z]{0,5}[-/]?\d[\w/-]*"
_HOSPITALS = (
    r"(?:Hospitals?|Clinic|Infirmary|Klinikum|Klinik|Krankenhaus|Medical Cent(?:er|re)|NHS Trust|"
    r"Health Cent(?:er|re)|Hospice)"
)
_STREETS = (
    r"(?:Street|St\.|Road|Rd|Avenue|Ave|Lane|Drive|Boulevard|Blvd|Court|Terrace|Crescent|Square|Way)"
)  # fmt: skip
# Five digits beside a capitalised word, unless they are a count: round, with a unit, or of a known kind.
_POST_CODE = (
    r"(?!\d{3}00)\d{5}(?:-\d{4})?"
    r"(?![\w.%/-]|,\d| ?(?:/|%|µ|x ?10|per |cells|copies|counts?|mg|ng|pg|ug|mm|cm|ml|k?U|IU|U/))"
)
_NO_COUNT = (
    r"(?!(?i:platelets?|leu[ck]ocytes?|thrombocytes?|lymphocytes?|neutrophils?|monocytes?|eosinophils?|cells?|counts?|total|"
    r"ferritin|area|density|copies|load|reads?|depth|dose|score|value|volume|psa|ldh|afp|cea|wbc|rbc)\b)"
)
_NO_NAMES = r"(?!(?i:male|female|man|woman|boy|girl|adult|age|aged|with|stage|history)\b)"


# A word after "Patient" that is a name: capitals inside only after a hyphen, and no word of a report.
_NOT_A_NAME = (
    r"(?!(?i:male|female|man|woman|boy|girl|adult|child|age|aged|with|without|stage|history|has|had|have|is|was|were|not|no|"
    r"died|alive|dead|deceased|lives|lived|received|receiving|presented|presents|presenting|underwent|undergoing|reported|"
    r"treated|diagnosed|known|positive|negative|status|group|cohort|data|care|name|number|specific|derived|related|outcomes?|"
    r"survival|smok\w+|tumou?r|cancer|metasta\w+|grade|gender|sex|weight|height|characteristics|information|summary|biopsy|"
    r"resistant|resistance|sensitive|refractory|responded|response|therapy|treatment|progressed|remains|after|before|and|or|"
    r"in|on|at|of|from|the|a|an|who|whose|lung|breast|colon|skin|liver|kidney|brain|prostate|ovar\w+|left|right|her|his|"
    r"never|former|current|asian|african|caucasian|white|black|hispanic|european|mit|ohne|ist|war|hat|wurde|unter|nach|"
    r"\w{2,}(?:omas?|itis|osis|emia|itive|ative|platin|inib|mab|taxel|ology))\b)"
)
_NAME_PART = (
    rf"{_NOT_A_NAME}{_CAPITAL}['’]?{_CAPITAL}?[^\W\d_A-Z][^\W\d_]{{0,40}}(?:[-'’]{_CAPITAL}[^\W\d_]{{1,40}})?(?![\w-])"
)


def _rule(kind: str, reason: str, *alternatives: str, any_case: bool = False) -> ValueRule:
    return ValueRule(kind, reason, re.compile("|".join(alternatives), re.IGNORECASE if any_case else 0))


VALUE_RULES = (
    _rule(
        ONLINE,
        "An e-mail, web or network address reaches the person or a machine near them.",
        r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,9}",
        r"(?:https?|ftp|file)://\S+",
        r"\bwww\.\S+",
        r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]*\d)",
        any_case=True,
    ),
    _rule(
        RECORD,
        "A UUID, a DICOM UID or a long hexadecimal code is one study, slide or person.",
        r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b",
        r"(?<![\d.])\d+(?:\.\d+){5,}",
        r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{12,}\b",
        any_case=True,
    ),
    _rule(
        BIRTH,
        "Any number after a word for birth goes, even a year alone.",
        r"(?<![\w-])(?:dob|d\.o\.b\.?|born|date of birth|birth ?date|birthday|geb\.|geboren)"
        r"[\s:=.]*(?:on|in|am)?\s*\d[\d./-]*",
        any_case=True,
    ),
    _rule(
        DATE,
        "A full date in digits, with or without a time. Years alone and counts such as 3/12 stay.",
        rf"(?<!\d){_YEAR}(?P<iso>[-/.])(?:0?[1-9]|1[0-2])(?P=iso){_DAY}(?!\d){_TIME}",
        rf"(?<![\d.]){_DAY}(?P<mark>[./-]| ?\. ?| / | - )(?:{_DAY}|{_MONTH_NUMBER})(?P=mark)"
        rf"(?:{_YEAR}|\d{{2}})(?![\d%]|\.\d){_TIME}",
    ),
    _rule(
        DATE,
        "Day, month and year with blanks between (4 3 2021), or six digits without (210304). Round counts stay.",
        rf"(?<![\w.,/-]){_DAY} (?:{_DAY}|{_MONTH_NUMBER}) {_YEAR}(?![\w%]|[.,]\d)",
        rf"(?<![\w.,/-]){_YEAR} {_MONTH_NUMBER} {_DAY}(?![\w%]|[.,]\d)",
        rf"(?<![\w.,/-])(?<!OMIM )(?!\d{{4}}00)"
        rf"(?:\d{{2}}{_MM}{_DD}|{_DD}{_MM}\d{{2}}|{_MM}{_DD}\d{{2}})(?![\w%-]|[.,/]\d)",
    ),
    _rule(
        DATE,
        "A day of a month without a year, where capitals tell the month from another word (5 may show, OCT4, Mayo 2).",
        rf"(?<![\w.-])(?:{_TITLE_MONTH})\.? {_DAY}(?:st|nd|rd|th)?(?![\w%/-]| ?%|[.,]\d)",
        rf"(?<![\w.-]){_DAY}(?:st|nd|rd|th|\.)? (?:of )?(?:{_TITLE_MONTH})\b(?![ -]?\d)",
    ),
    _rule(
        DATE,
        "Month and year still tell when. A decimal such as 1.2019 and a span of years stay.",
        rf"(?<![\d./-]){_MONTH_NUMBER}/{_YEAR}(?!\d)",
        r"(?<!\d)(?:19|20)\d{2}[-/](?:0[1-9]|1[0-2])(?![\d/-])",
        r"(?<![\d.])0[1-9]\.(?:19|20)\d{2}(?!\d)",
    ),
    _rule(
        DATE,
        "Dates with the month as a word, in five languages.",
        rf"(?<![\w-]){_DAY}(?:st|nd|rd|th|º|\.)?[ ./-]*(?:of |de )?{_MONTH}\b\.?,?[ ./-]*(?:de )?"
        rf"(?:{_YEAR}|['’]?\d{{2}}\b)(?!\d)",
        rf"(?<![\w-]){_DAY}{_MONTH}(?:{_YEAR}|\d{{2}}\b)(?!\d)",
        rf"(?<![\w-]){_MONTH}(?:\. ?|[ -]+){_DAY}(?:st|nd|rd|th)?,? +{_YEAR}(?!\d)",
        rf"(?<![\w-]){_MONTH}\b\.?,?[ /-]*(?:de )?{_YEAR}(?!\d)",
        rf"\b{_DAY}(?:st|nd|rd|th|\.)? (?:of )?{_CLEAR_MONTH}\b",
        rf"\b{_CLEAR_MONTH} {_DAY}(?:st|nd|rd|th)?\b",
        any_case=True,
    ),
    _rule(
        RECORD,
        "A number that is introduced as a record's goes, however short.",
        r"\b(?:mrn|pid|ssn|nhi|hcn|uhid|empi|kvnr|nhs|chi|accession)\b[\s:#=.-]*(?:no|nr|number|num|id)?[\s:#=.-]*"
        + _RECORD_NUMBER,
        r"\b(?:case|record|chart|specimen|block|sample|slide|lab|path|pathology|report|patient|pat|pt|hospital|account|"
        r"policy|insurance|member|file|episode|encounter|order|reference|ref)\.? ?"
        rf"{_NUMBER_LABEL}[\s:#=.-]*{_RECORD_NUMBER}",
        rf"\bid ?[:#=] ?{_RECORD_NUMBER}",
        any_case=True,
    ),
    _rule(
        RECORD,
        "Accession numbers: letters, two-digit year, running number (S22-12345); TCGA barcodes name one donor.",
        r"\b(?i:TCGA)-\w{2}-\w{4}[\w-]*",
        r"\b[A-Z]{1,4}[-: ]?\d{2}[-/:]\d{3,}\b",
        r"\b(?!ck|cd|ki|il)[a-z]{1,4}[-:]?\d{2}[-/:]\d{3,}\b",
        r"\b[a-z]{1,2}[-.]?\d{4,6}/(?:19|20)?\d{2}\b",
        r"\b\d{2}-?(?!x)[a-z]{1,3}-\d{4,}\b",
        r"\b\d{2}[-/ ]?[A-Z]{1,3}[-/ ]?\d{4,}\b",
        r"\b[A-Z]{1,2}[-/.]?\d{4,6}/(?:19|20)?\d{2}\b",
        r"\b(?:19|20)\d{2}[-/](?!(?:19|20)\d{2}\b)\d{4,}\b",
    ),
    _rule(
        RECORD,
        "Letters with five digits or more are a record number; gene, variant, transcript and trial numbers stay.",
        r"\b(?!(?:rs|ss|COSM|COSV|ENS[A-Z]|NCT|ORPHA|OMIM|HGNC|CVCL|NM|NP|NC|NR)[_-]?\d)[A-Z]{1,6}[-_/]?\d{5,}\w*\b",
        any_case=True,
    ),
    _rule(
        NATIONAL,
        "Social security and national insurance numbers have shapes of their own.",
        r"\b\d{3}[- ]\d{2}[- ]\d{4}\b",
        r"\b[A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b",
        r"\b756\.\d{4}\.\d{4}\.\d{2}\b",
        r"\b\d{3}\.\d{3}\.\d{3}-\d{2}\b",
    ),
    _rule(
        PHONE,
        "Telephone numbers: a leading +, 00 or 0, or groups of three, three and four digits.",
        r"(?<![\w.])(?:\+|00)\d[\d ()./-]{5,20}\d",
        r"(?<![\w.])\(?\d{3}\)?[ .-]{1,2}\d{3}[ .-]\d{4}(?!\d)",
        r"(?<![\w.])\(?0\d{1,5}\)?[ /-]{1,2}\d{3,}(?:[ -]\d{2,})*",
        r"\b(?:tel|phone|fax|mobile)\b[\s.:]*\+?[\d(][\d ()./-]{4,20}\d",
        any_case=True,
    ),
    _rule(
        LONG_NUMBER,
        "Counts and measures in pathology have fewer than seven digits, records have more. Decimals stay.",
        r"(?<![\d])(?<!\d\.)(?<!rs)(?<!COSM)(?<!COSV)(?<!NCT)(?<!ENS[GTP])\d{7,}",
        r"(?<![\w.])(?=(?:\d[ -]?){9})\d{2,}(?:[ -]\d{2,}){2,}(?!\d)",
    ),
    _rule(
        CLINICIAN,
        "A medical title with a name, or who signed and referred. 'HLA-DR' is no title.",
        rf"(?<![\w-])(?:(?:Dr|Prof|Professor|Doctor|PROF|DR)\.? ?){{1,3}}(?:med\. )?(?<=[ .]){_FULL_NAME}",
        r"(?<![\w-])(?i:dr|prof)\.\s+[\w'’-]{1,40}",
        r"\b(?i:signed(?: out)?(?: by)?|reported by|referred by|seen by|reviewed by|requested by|operated by|"
        rf"pathologist|surgeon|physician|consultant|oncologist|radiologist)\b\s*[:=]?\s*{_FULL_NAME}",
    ),
    _rule(
        PERSON,
        "A form of address, a label or a common given name with a name. 'Patient: female' is no name.",
        rf"(?<![\w-]){_TITLE}\.?\s*(?<=[ .]){_FULL_NAME}",
        rf"(?<![\w-])(?i:mr|mrs)\.\s+[\w'’-]{{1,40}}(?: {_SURNAME}){{0,3}}",
        rf"\b(?i:name|patient name|patient|surname)\s*[:=]\s*{_NO_NAMES}{_FULL_NAME}",
        rf"(?<![\w-])(?:Patient(?:in|en)?|patient(?:in|en)?|PATIENT|[Pp]at\.?|PAT\.|P[Tt]\.|Pt|pt\.?) "
        rf"{_INITIALS}{_PARTICLES}{_NAME_PART}"
        rf"(?:,? (?:{_INITIALS}{_PARTICLES}{_NAME_PART}|{_CAPITAL}\b\.?(?!\d))){{0,3}}",
        rf"(?<![\w-])(?:Patient|patient|Pat\.?|Pt\.?) {_NOT_A_NAME}{_CAPITAL}{{6,40}}(?:-{_CAPITAL}{{2,40}})?(?![\w-])",
        rf"(?<![\w-]){_GIVEN}(?:[ -]{_GIVEN})?(?: {_CAPITAL}\.?){{0,3}} {_SURNAME}(?:-{_SURNAME})?",
        rf"(?<![\w-]){_SURNAME}, {_GIVEN}\b(?: {_CAPITAL}\.?(?!\w))?",
    ),
    _rule(
        INSTITUTION,
        "A hospital or clinic that is called by its name.",
        rf"(?:(?<!\w){_CAPITAL}[\w'’.-]{{1,40}} (?:of |and |& )?){{1,4}}{_HOSPITALS}\b",
        r"\b(?:Klinikum|Krankenhaus|Universit(?:y|ä)ts?(?:klinik\w*| Hospital)|Hospital(?: de)?|H[oô]pital|Ospedale) "
        rf"(?:of |de |di |am |der )?{_WORD}(?: {_WORD}){{0,3}}",
    ),
    _rule(
        ADDRESS,
        "A street with a house number, or a post code.",
        rf"\b\d{{1,5}}[a-z]? (?:{_CAPITAL}[\w'’.-]{{0,40}} ){{1,3}}{_STREETS}\b\.?",
        rf"\b{_CAPITAL}[\wäöüß-]{{0,40}}(?:straße|strasse|str\.|gasse|platz|allee|weg) ?\d+[a-z]?\b",
        rf"\b(?:rue|via|calle|avenue) (?:d[eu] )?(?:la )?{_CAPITAL}[\w'’ -]{{0,40}}\d+",
        r"\b(?i:lives|living|lived|resid(?:es|ed|ing|ent)|wohnt|wohnhaft|home is|moved|native) (?i:in|at|near|to|of) "
        rf"{_WORD}(?: {_WORD}){{0,2}}(?:,? [A-Z]{{2}}\b)?(?:,? \d{{4,5}}\b(?:-\d{{4}})?)?",
        rf"(?<![\w-]){_NO_COUNT}{_CAPITAL}[^\W\d_]{{2,40}}(?: {_CAPITAL}[^\W\d_]{{2,40}}){{0,2}} {_POST_CODE}",
        rf"(?<![\w.,/-]){_POST_CODE} {_NO_COUNT}{_CAPITAL}[^\W\d_]{{2,40}}\b",
        r"\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b",
        r"\b[A-Z]{2} \d{5}(?:-\d{4})?\b",
    ),
)
