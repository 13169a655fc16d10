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
    r"(?:january|february|april|june|july|august|september|october|november|december|januar|februar|juni|juli)"
)
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"
_MONTH_NUMBER = r"(?:0?[1-9]|1[0-2])"
_YEAR = r"(?:1[89]|20|21)\d{2}"
_TIME = r"(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?Z|[+-]\d{2}:?\d{2})?)?"

# Repeats are bounded everywhere, so that no text makes a rule slow.
_CAPITAL = r"[A-ZÀ-ÖØ-ÞŁŚŠŽ]"
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
_NO_NAMES = r"(?!(?i:male|female|man|woman|boy|girl|adult|age|aged|with|stage|history)\b)"


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
        r"\bTCGA-\w{2}-\w{4}[\w-]*",
        r"\b[A-Z]{1,4}[-: ]?\d{2}[-/:]\d{3,}\b",
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
        r"\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b",
        r"\b[A-Z]{2} \d{5}(?:-\d{4})?\b",
    ),
)
