"""Which keys of `notes.json` are left out, whatever their value: the table that a privacy officer reviews.

A key is compared word by word, in small letters and without accents: `patientName`, `PATIENT-NAME`, `Patient name` and
`patient_name` are the same two words. A phrase forbids every key in which its words stand next to each other; `#` in a
phrase stands for any of `NUMBER_WORDS`. The identifiers are those of HIPAA's safe-harbour list (45 CFR 164.514(b)(2)),
with the words that European records use for them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from .kinds import (
    ADDRESS,
    BIRTH,
    CLINICIAN,
    DATE,
    INSTITUTION,
    NATIONAL,
    ONLINE,
    PERSON,
    PHONE,
    RECORD,
)

NUMBER_WORDS = (
    "number",
    "numbers",
    "no",
    "nr",
    "num",
    "code",
    "nummer",
    "numero",
    "ref",
    "reference",
    "label",
    "barcode",
)

# A phrase of at least this many letters is also found inside a key that is written as one word ("legalsurname").
_DISTINCTIVE = 7


@dataclass(frozen=True, slots=True)
class KeyRule:
    """Keys that are left out.

    Attributes:
        kind: What the user is told was left out.
        reason: Why such a key must not pass.
        phrases: Words that forbid a key that has them next to each other.
        whole: Keys forbidden only as a whole, since the word is harmless in others.
        unless: Phrases that make a key clinical after all.
    """

    kind: str
    reason: str
    phrases: tuple[str, ...]
    whole: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()


KEY_RULES = (
    KeyRule(
        BIRTH,
        "A birth date with sex and place singles out most people; only the age is needed.",
        ("dob", "birth", "birthdate", "birthday", "birthplace", "birth date", "date of birth", "born", "bday",
         "yob", "geburtsdatum", "geburtstag", "geburtsort", "geboren", "geb datum", "naissance", "nacimiento",
         "nascita", "nascimento", "geboortedatum", "fodselsdato", "fodelsedatum"),
        unless=("birth weight", "birth control"),
    ),
    KeyRule(
        CLINICIAN,
        "Staff are persons too, and who treated a case narrows down whose it is.",
        ("physician", "doctor", "surgeon", "pathologist", "radiologist", "oncologist", "clinician",
         "practitioner", "nurse", "consultant", "radiographer", "technician", "technologist", "referrer",
         "referring", "referred by", "attending", "signed by", "signed out by", "reported by", "requested by",
         "ordered by", "verified by", "reviewed by", "operator", "operator name", "provider", "performer",
         "author", "gp", "arzt", "aerztin", "hausarzt", "operateur", "medecin", "medico", "medica", "einsender"),
        unless=("provider type", "operator experience"),
    ),
    KeyRule(
        INSTITUTION,
        "The hospital, with the diagnosis and the year, leaves few patients; small sites are identifying alone.",
        ("hospital", "clinic", "institution", "institute", "facility", "ward", "department", "practice",
         "laboratory name", "lab name", "medical center", "medical centre", "treatment center",
         "treatment centre", "organisation", "organization", "trust", "krankenhaus", "klinik", "klinikum",
         "praxis", "hopital", "ospedale", "centre name", "center name", "site name", "employer", "school"),
        whole=("center", "centre", "station"),
        unless=("hospital mortality", "hospital stay", "hospital days"),
    ),
    KeyRule(
        PHONE,
        "Telephone and fax numbers reach the person.",
        ("phone", "telephone", "fax", "mobile number", "cellphone", "cell number", "tel", "telecom", "contact",
         "handy", "telefon", "telefono", "mobil"),
        unless=("contact inhibition",),
    ),
    KeyRule(
        ONLINE,
        "Electronic addresses and log-ins reach the person or name them.",
        ("email", "e mail", "mail", "url", "uri", "website", "homepage", "ip address", "mac address",
         "username", "user name", "login", "user"),
        whole=("ip",),
    ),
    KeyRule(
        ADDRESS,
        "Any place smaller than a country region identifies when combined with a diagnosis.",
        ("address", "street", "city", "town", "village", "municipality", "county", "zip", "zipcode", "postcode",
         "post code", "postal", "postal code", "residence", "domicile", "hometown", "neighbourhood",
         "neighborhood", "latitude", "longitude", "gps", "geolocation", "adresse", "anschrift", "strasse",
         "wohnort", "plz", "ort", "stadt", "rue", "ville", "calle", "ciudad", "direccion", "indirizzo", "citta"),
    ),
    KeyRule(
        NATIONAL,
        "Numbers given by the state, an insurer, a bank or a maker belong to one person or thing.",
        ("ssn", "sin", "nino", "nhs", "nhs #", "chi #", "social security", "national insurance", "national id",
         "national identity", "tax id", "tax #", "insurance", "insurer", "policy", "policy #", "health plan",
         "health card", "medicare", "medicaid", "beneficiary", "member #", "subscriber", "group #", "passport",
         "driver license", "driver licence", "drivers license", "driving licence", "license", "licence",
         "license plate", "vehicle", "vin", "serial", "account", "iban", "bank", "billing", "biometric",
         "fingerprint", "photo", "photograph", "versicherung", "versicherten", "versichertennummer",
         "krankenkasse", "kvnr", "svnr", "ahv", "bsn", "cpf", "pesel", "aadhaar", "codice fiscale",
         "numero de securite sociale", "nir", "dni", "personnummer", "cpr"),
        whole=("chi", "plate"),
        unless=("gps",),
    ),
    KeyRule(
        RECORD,
        "A number or code of the hospital's or the biobank's leads straight to the record.",
        ("id", "ids", "ident", "identifier", "identifiers", "identification", "uid", "uuid", "guid", "oid",
         "pid", "mrn", "mpi", "empi", "urn", "uhid", "pseudonym", "patientid", "patid", "ptid", "subjid",
         "caseid", "studyid", "specimenid", "sampleid", "blockid", "slideid", "accession", "acc #", "barcode",
         "record #", "medical record", "chart", "chart #", "patient #", "pat #", "pt #", "person #",
         "subject #", "case #", "hospital #", "specimen #", "sample #", "block #", "slide #", "lab #",
         "laboratory #", "path #", "pathology #", "report #", "episode", "encounter #", "visit #",
         "admission #", "order #", "request #", "requisition", "file #", "filename", "file name", "filepath",
         "file path", "folder", "submitter", "fall nr", "fallnummer", "patientennummer", "auftragsnummer",
         "eingangsnummer", "journalnummer", "blocknummer"),
        whole=("case", "patient", "subject", "person", "record", "file", "number", "no", "nr", "code",
               "reference", "ref", "key", "index", "label", "block", "barcode"),
    ),
    KeyRule(
        PERSON,
        "A name is the person.",
        ("name", "names", "surname", "forename", "forenames", "firstname", "lastname", "fullname", "givenname",
         "familyname", "middlename", "maidenname", "first name", "last name", "given name", "family name",
         "maiden", "nickname", "initials", "salutation", "patientname", "nachname", "vorname", "familienname",
         "geburtsname", "prenom", "nom", "apellido", "apellidos", "nombre", "cognome", "nome", "sobrenome",
         "achternaam", "voornaam", "etternavn", "fornavn", "next of kin", "kin", "emergency contact",
         "guardian", "caregiver", "relative name"),
        whole=("given", "family", "alias", "aka", "first", "last", "middle", "mother", "father", "spouse",
               "husband", "wife", "partner", "son", "daughter", "brother", "sister", "parent", "informant"),
        unless=("gene name", "drug name", "marker name", "antibody name", "protein name", "biomarker name",
                "disease name", "tumor name", "tumour name", "diagnosis name", "regimen name", "test name",
                "variant name", "tissue name", "organ name", "cancer name", "stain name"),
    ),
    KeyRule(
        DATE,
        "An exact date of care links the case to the hospital's calendar; durations say the same clinically, and stay.",
        ("date", "dates", "datetime", "timestamp", "day of", "dod", "deceased on", "died on", "admitted on",
         "discharged on", "collected on", "received on", "reported on", "datum", "fecha", "data di", "data de",
         "time of"),
        whole=("time", "day", "admission", "discharge"),
        unless=("up to date", "date to", "months", "weeks", "days", "duration", "interval"),
    ),
)  # fmt: skip

# Haiku's own filter (published code, caption recipe): a key with any of these anywhere in it never enters a caption.
# Such a fact is no identifier; it is left out because the model was trained without it.
CAPTION_FILTER = ("position", "no.", "spot number", "core id", "core no", "spot", "patient id", "case id")

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def forbidden_key(key: str) -> str | None:
    """The kind of identifier that a key names, or None for a clinical key.

    Examples:
        >>> forbidden_key("patientName")
        'name of a person'
        >>> forbidden_key("tumor_grade") is None
        True
    """
    words = key_words(key)
    return next((rule.kind for rule in KEY_RULES if _matches(rule, words)), None)


def unused_key(key: str) -> bool:
    """Whether the published model's captions leave a key out, such as the position of a core on a tissue array."""
    lowered = unicodedata.normalize("NFKC", key).casefold().replace("_", " ")
    return any(part in lowered for part in CAPTION_FILTER)


def key_words(key: str) -> tuple[str, ...]:
    """A key's words in small letters, without accents or separators."""
    plain = unicodedata.normalize("NFKD", key.replace("ß", "ss"))
    letters = "".join(character for character in plain if not unicodedata.combining(character))
    return tuple(word.casefold() for word in _WORDS.findall(letters))


def _matches(rule: KeyRule, words: tuple[str, ...]) -> bool:
    joined = "".join(words)
    if any(_contains(words, phrase) for unless in rule.unless for phrase in _expand(unless)):
        return False
    if joined in {whole.replace(" ", "") for whole in rule.whole}:
        return True
    phrases = [phrase for text in rule.phrases for phrase in _expand(text)]
    return any(_contains(words, phrase) or _written_together(joined, phrase) for phrase in phrases)


def _expand(phrase: str) -> Iterator[tuple[str, ...]]:
    """A phrase's words; with `#`, once for every number word."""
    if "#" not in phrase:
        yield tuple(phrase.split())
        return
    for number in NUMBER_WORDS:
        yield tuple(phrase.replace("#", number).split())


def _contains(words: tuple[str, ...], phrase: tuple[str, ...]) -> bool:
    return any(words[start : start + len(phrase)] == phrase for start in range(len(words) - len(phrase) + 1))


def _written_together(joined: str, phrase: tuple[str, ...]) -> bool:
    together = "".join(phrase)
    return joined == together or (len(together) >= _DISTINCTIVE and together in joined)
