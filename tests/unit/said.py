"""What patients say, made up: names, dates of birth, drugs, signs and numbers in several languages."""

from __future__ import annotations

import random
import re
import unicodedata

FIRST = (
    "Maria", "José", "Ana", "Linh", "Ahmed", "Siobhán", "Bao", "Walter", "Priya", "Denise", "Rosa", "Chidi", "Åsa",
    "Zoë", "Tyrone", "Olga", "Xochitl", "Nguyễn", "Björk", "Fátima", "Дмитрий", "美玲", "فاطمة", "Σοφία",
)  # fmt: skip
LAST = (
    "Gonzalez", "Núñez", "Okafor", "Delgado", "Fairweather", "Simms", "Nair", "Tran", "O'Brien", "Papadakis",
    "Hughes", "Castellanos", "Иванова", "陈", "حسن", "Ó Súilleabháin", "d'Arc-Müller",
)  # fmt: skip
DRUGS = (
    "lisinopril", "metformin", "atorvastatin", "warfarin", "metoprolol", "furosemide", "albuterol", "gabapentin",
    "Ozempic", "insulin", "levotiroxina", "amoxicilina", "ibuprofeno", "paracétamol", "таблетки", "阿司匹林",
)  # fmt: skip
SIGNS = (
    "chest pain", "short of breath", "bleeding heavily", "fever of 104", "passed out", "a rash", "a headache",
    "it is urgent", "still waiting for a call back", "dolor en el pecho", "me falta el aire", "sangrado",
    "fiebre de 40 grados", "se desmayó", "es urgente", "douleur à la poitrine", "đau ngực", "боль в груди", "胸痛",
    "ألم في الصدر", "чужой код", "my numbers are high", "mi clave no sirve",
)  # fmt: skip
MONTHS = ("March", "April", "June", "marzo", "junio", "novembre", "tháng tư", "мая", "三月")
CONDITIONS = (
    "diabetes",
    "HIV",
    "asthma",
    "embarazo",
    "depression",
    "cáncer",
    "lupus",
    "dialysis",
    "epilepsia",
)


def message_of(generator: random.Random) -> str:
    """The words of one message."""
    pick = generator.choice
    number = (
        f"{generator.randrange(200, 999)} {generator.randrange(200, 999)} {generator.randrange(1000, 9999)}"
    )
    born = pick(
        (
            f"{pick(MONTHS)} {generator.randrange(1, 28)} {generator.randrange(1930, 2024)}",
            f"{generator.randrange(1, 12)}/{generator.randrange(1, 28)}/{generator.randrange(1930, 2024)}",
        )
    )
    return (
        f"{pick(FIRST)} {pick(LAST)} {born} {pick(SIGNS)} {pick(CONDITIONS)} {pick(DRUGS)} "
        f"{generator.randrange(5, 900)} mg {number}"
    )


def tokens_of(text: str) -> set[str]:
    """Its words and numbers, small, as they are and without accents."""
    plain = "".join(one for one in unicodedata.normalize("NFD", text) if not unicodedata.combining(one))
    return {word.lower() for form in (text, plain) for word in re.findall(r"[\w'’-]+", form)}
