"""What a caller may say that must not wait, as tables: data for triage.py, no decisions here. Pure.

Recall first: a needless call to the clinician costs sleep, a missed one may cost a life. The groups
follow public lists of emergency signs (when to call 999/911, the stroke signs F.A.S.T., telephone triage
dispositions); the words are ours, tried on made-up messages. A clinician should review them yearly.

Patterns are regular expressions on lower-case words joined by single spaces, with the punctuation
. , ; ! ? kept after a word; they are put between word boundaries. `{gap}` stands for up to three words,
`{wide}` for up to nine, in the same sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_GAP = r"(?:[\w'-]+,? ){0,3}?"
_WIDE = r"(?:[\w'-]+,? ){0,9}?"


@dataclass(frozen=True, slots=True)
class Flag:
    """One group of signs in one language. label: fixed name of the group, the same in all languages."""

    label: str
    pattern: re.Pattern[str]


_ENGLISH: Mapping[str, tuple[str, ...]] = {
    "cardiac": (
        r"chests? {gap}(?:pains?|pressure|tight\w*|heav\w*|discomfort|hurts?|hurting|aches?|aching|burn\w*)",
        r"(?:pains?|pressure|tight\w*|heav\w*|squeezing|crushing|stabbing|hurts?|aches?) {gap}(?:chest|left arm|jaw)",
        r"heart attack|cardiac arrest|palpitations",
        r"heart {wide}(?:racing|pounding|flutter\w*|stop\w*|skipping|irregular|hurts?|pains?|fast)",
        r"left arm {gap}(?:numb\w*|pains?|hurts?|aches?|aching|tingl\w*|heavy)",
    ),
    "breathing": (
        r"short(?:ness)? of (?:breath|air)|out of breath|(?:trouble|difficulty|problems?) {gap}breathing",
        r"(?:hard|difficult|struggl\w+|labou?red|trying) {gap}(?:to )?breath\w*",
        r"(?:can'?t|cannot|can not|couldn'?t|could not|unable to|not able to|isn'?t|not|stopped) {gap}"
        r"(?:breathe|breathing|catch {gap}breath)",
        r"lips? {gap}(?:blue|purple)|turn\w* (?:blue|purple|gr[ae]y)",
        r"chok(?:e|es|ed|ing)|gasping|suffocat\w*|wheez\w+|asthma attack",
    ),
    "stroke": (
        r"(?:face|mouth|smile) {gap}droop\w*|droop\w* {gap}(?:face|mouth)",
        r"slur\w*|having a stroke|had a stroke|a stroke|mini stroke",
        r"(?:sudden\w*|one side|left side|right side|arms?|legs?|face) {gap}(?:numb\w*|weak\w*|paraly[sz]\w*)",
        r"(?:numb\w*|weak\w*) {gap}(?:one side|left side|right side|arms?|legs?|face)",
        r"(?:can'?t|cannot|couldn'?t|unable to) {gap}(?:speak|talk|see|move)",
        r"sudden\w* {gap}(?:confus\w*|vision|blind\w*|dizz\w*|headache)|double vision|lost {gap}vision",
        r"(?:worst|terrible|severe|thunderclap|sudden) {gap}headache",
    ),
    "consciousness": (
        r"pass(?:ed|ing|es)? out|blacked out|faint(?:ed|ing|s)?|unconscious|unresponsive|not respon\w+",
        r"(?:won'?t|can'?t|cannot|not|doesn'?t|isn'?t|hard to) {gap}wak\w+",
        r"seizures?|seizing|convuls\w+|collaps\w+|(?:very|really|so|suddenly) confused|(?:hallucinat\w+|delirious)",
    ),
    "bleeding": (
        r"(?:cough\w*|throw\w*|vomit\w*|spit\w*|puk\w*|peeing|pooping) {gap}blood",
        r"blood in {gap}(?:stools?|vomit|urine|poop|pee)|(?:black|bloody|tarry) (?:stools?|diarrhea)",
        r"(?:heav\w*|sever\w*|vaginal\w*|lots? of|won'?t stop|can'?t stop|not stop\w*) {gap}(?:bleed\w*|blood)",
        r"bleed\w* {wide}(?:heav\w*|stop\w*|a lot|everywhere|badly|through)|h[ae]+morrhag\w+",
    ),
    "allergy": (
        r"anaphyla\w+|epi ?pen|allergic reaction|hives",
        r"(?:throat|tongue|lips?|face) {gap}(?:swell\w*|swoll\w*|clos\w*|tight\w*)",
        r"swell\w* {gap}(?:throat|tongue|lips?|face)",
    ),
    "self_harm": (
        r"suicid\w*|kill(?:ing)? (?:myself|himself|herself|themsel\w+|yourself)|self[ -]?harm\w*",
        r"(?:end|ending|take|taking) (?:my|his|her|their) (?:own )?life|end it all",
        r"(?:don'?t|do not|not|no longer) {gap}(?:want|wanna|wish) (?:to )?{gap}(?:be here|live|be alive|go on|exist)",
        r"better off (?:dead|without me)|(?:want|wanna|going|wish) {gap}(?:to )?(?:die|be dead)|wish i (?:was|were) dead",
        r"(?:hurt|hurting|cut|cutting|harm\w*) (?:myself|himself|herself|themsel\w+)",
        r"overdos\w+|took (?:too many|all (?:my|the|of)|a whole bottle)",
    ),
    "obstetric": (
        r"baby {gap}(?:not|isn'?t|stopped|hasn'?t|less|no longer|barely) {gap}mov\w+",
        r"waters? (?:just )?(?:broke|broken)|contractions?|in labou?r|going into labou?r",
        r"pregnan\w+ {wide}(?:bleed\w*|blood|headaches?|cramp\w*|swell\w*|swollen|vision|fell)",
        r"(?:bleed\w*|blood|cramp\w*|fell) {wide}pregnan\w+",
    ),
    "infant_fever": (
        r"(?:newborn|infant|(?:weeks?|days?|months?)[ -]old) {wide}(?:fever|temperature|limp|not eating)",
        r"(?:fever|temperature) {wide}(?:newborn|infant|(?:weeks?|days?|months?)[ -]old)",
        r"(?:fever|temperature) {gap}10[4-9]|10[4-9](?:\.\d)? {gap}(?:fever|temperature)|stiff neck|soft spot",
    ),
    "trauma": (
        r"(?:hit|hurt|banged|bumped|cracked) (?:my|his|her|their|the) head|head injury|concussion",
        r"(?:fell|fallen|fall) {wide}(?:head|hip|stairs|can'?t get up|neck|back)",
        r"broken? (?:bone|arm|leg|hip|neck)|car (?:accident|crash|wreck)|burn(?:ed|s|t) {gap}(?:bad\w*|sever\w*)",
        r"poison\w*|swallowed|electrocut\w*|drown\w*|gunshot|stabbed",
    ),
    "pain": (
        r"(?:severe|unbearable|excruciating|worst|terrible|intense|extreme) {gap}pain\w*",
        r"pain\w* {gap}(?:severe|unbearable|excruciating)|(?:testic\w+|rigid (?:belly|stomach|abdomen))",
        r"blood sugar {gap}(?:very |really |too |so )?(?:low|high)|insulin {gap}too much|too much insulin",
    ),
    "caller_says": (
        r"emergenc(?:y|ies)|urgent\w*|9-?1-?1|nine one one|ambulance|paramedics?|emergency room|the er",
        r"dying|life or death|right away|right now|immediately|as soon as possible|please hurry",
    ),
}

_SPANISH: Mapping[str, tuple[str, ...]] = {
    "cardiac": (
        r"(?:dolor\w*|duel\w+|presión|presion|opresión|opresion|ardor|punzad\w+) {gap}(?:pecho|corazón|corazon)",
        r"pecho {gap}(?:duel\w+|aprieta|apretado|oprim\w+)|brazo izquierdo {gap}(?:dorm\w+|duel\w+|dolor)",
        r"(?:duel\w+|dolor\w*|dormido|adormecido) {gap}brazo izquierdo|(?:infarto|ataque (?:al|del|de) corazón)",
        r"ataque (?:al|de) corazon|ataque cardíaco|palpitaciones|taquicardia",
    ),
    "breathing": (
        r"(?:no|cuesta|dificultad|trabajo|difícil|dificil|problemas?) {gap}(?:respir\w+|agarr\w+ aire)",
        r"(?:falta|sin) (?:de |el )?(?:aire|aliento|respiración)|(?:se )?(?:ahog\w+|asfixi\w+|atragant\w+)",
        r"labios {gap}(?:azul\w*|morad\w+)|poniendo (?:azul|morad[oa])|ataque de asma",
    ),
    "stroke": (
        r"derrame|embolia|(?:un|accidente|infarto) (?:ictus|cerebrovascular|cerebral)|ictus",
        r"(?:cara|boca) {gap}(?:caíd\w+|caid\w+|torcid\w+|chuec\w+|dorm\w+)",
        r"(?:brazo|pierna|cara|lado (?:izquierdo|derecho)) {gap}(?:débil\w*|debil\w*|dorm\w+|adorm\w+|paraliz\w+|entum\w+)",
        r"(?:no puede|no puedo|no podía) {gap}(?:hablar|ver|mover\w*)|(?:arrastra|traba) {gap}(?:palabras|lengua)",
        r"(?:peor|terrible|fuerte|horrible) {gap}dolor de cabeza|dolor de cabeza {gap}(?:terrible|fuerte|horrible|insoportable)",
    ),
    "consciousness": (
        r"desmay\w+|inconsciente|perdió el (?:conocimiento|sentido)|perdi\w* el conocimiento",
        r"no (?:se |me )?(?:despiert\w+|respond\w+|reaccion\w+)|convulsi\w+|muy confundid[oa]|colaps\w+",
    ),
    "bleeding": (
        r"(?:vomit\w+|tos\w+|escup\w+|orin\w+) {gap}sangre|sangre {gap}(?:heces|vómito|vomito|orina|popó|excremento)",
        r"sangr(?:a|o|ado|ando|ar) {gap}(?:mucho|mucha|para|parar)|(?:hemorragia|mucha sangre|desangr\w+)",
        r"(?:no (?:deja|para|dejo|paro) de) sangrar|sangrado {gap}(?:fuerte|abundante|vaginal|no para)",
    ),
    "allergy": (
        r"anafil\w+|reacción alérgica|reaccion alergica|ronchas|urticaria",
        r"(?:garganta|lengua|labios?|cara) {gap}(?:hinch\w+|inflam\w+|cerr\w+|cierra)",
        r"(?:hinch\w+|inflam\w+|cierra|cerrando) {gap}(?:garganta|lengua|labios?|cara)",
    ),
    "self_harm": (
        r"suicid\w+|(?:matar|quitar)(?:me|se) ?(?:la vida)?|quiero morir\w*|quiere morir\w*|(?:me|se) quiero morir",
        r"no quier[oe] {gap}(?:vivir|estar aquí|estar viv[oa]|seguir)|(?:hacerme|hacerse|me hago) daño|cortar(?:me|se)",
        r"sobredosis|(?:tomé|tome|tomó) (?:demasiad\w+|todas (?:mis|las)|muchas pastillas)",
    ),
    "obstetric": (
        r"(?:bebé|bebe) {gap}(?:no|dejó|dejo) {gap}(?:muev\w+|mover\w*)|(?:rompió|rompio|rompieron) {gap}(?:fuente|aguas)",
        r"contracciones|(?:trabajo de|de) parto|embaraz\w+ {wide}(?:sangr\w+|dolor\w*|hinch\w+|caí)",
        r"(?:sangr\w+|dolor\w*) {wide}embaraz\w+",
    ),
    "infant_fever": (
        r"(?:recién nacid[oa]|recien nacid[oa]|(?:semanas?|días?|dias?|mes(?:es)?) de nacid[oa]) {wide}(?:fiebre|calentura|temperatura)",
        r"(?:fiebre|calentura|temperatura) {wide}(?:recién nacid[oa]|recien nacid[oa]|bebé|bebe|de nacid[oa])",
        r"(?:bebé|bebe) {wide}(?:fiebre|calentura)|(?:fiebre|calentura|temperatura) {gap}(?:4[0-2]|cuarenta)|cuello rígido",
    ),
    "trauma": (
        r"(?:golpe\w*|pegó|pego|golpeó) {gap}(?:la |en la )?cabeza|(?:se cayó|me caí|se cayo|me cai) {wide}(?:cabeza|cadera|escaleras)",
        r"hueso roto|accidente de (?:carro|coche|auto)|quemadura\w*|envenen\w+|intoxic\w+|se tragó|se trago",
    ),
    "pain": (
        r"dolor\w* {gap}(?:insoportable|muy fuerte|terrible|intenso|horrible|severo)",
        r"azúcar {gap}(?:muy |demasiado )?(?:baj[oa]|alt[oa])|demasiada insulina",
    ),
    "caller_says": (
        r"emergencia\w*|urgente\w*|urgencia\w*|9-?1-?1|nueve once|nueve uno uno|ambulancia",
        r"muriendo|de inmediato|inmediatamente|ahora mismo|lo antes posible|cuanto antes|ayuda por favor",
    ),
}


def _compile(table: Mapping[str, tuple[str, ...]]) -> tuple[Flag, ...]:
    return tuple(
        Flag(
            label,
            re.compile(r"\b(?:" + pattern.replace("{gap}", _GAP).replace("{wide}", _WIDE) + r")(?![\w'])"),
        )
        for label, patterns in table.items()
        for pattern in patterns
    )


# All are tried on every message: people change language in the middle, and a wrong guess must cost nothing.
FLAGS: tuple[Flag, ...] = _compile(_ENGLISH) + _compile(_SPANISH)
LABELS: tuple[str, ...] = tuple(dict.fromkeys((*_ENGLISH, *_SPANISH)))

# A sign is denied only if nothing but these words stands between the denial and the sign: any other word
# ("not feeling well, chest pain") leaves the sign standing.
_DENIALS = (
    r"no|not|nor|without|never|denies|denied|deny|negative for|don'?t|do not|doesn'?t|does not|didn'?t|did not"
    r"|haven'?t|have not|hasn'?t|has not|isn'?t|is not|wasn'?t|aren'?t|ain'?t|ni|sin|nunca|tampoco|niega"
)
_BETWEEN = (
    r"have|has|had|having|got|get|getting|been|be|is|it|there|any|a|an|the|of|real|really|actual|actually|more"
    r"|feel|feeling|felt|experience|experienced|experiencing|signs?|symptoms?|or|and|nor|my|his|her|in|an?y|currently"
    r"|fevers?|cough|nausea|vomiting|dizz\w+|headaches?|swelling|rash|chills|weakness|numbness"
    r"|tengo|tiene|tenía|he|ha|tenido|es|una?|ningún|ninguna?|de|del|el|la|los|las|le|me|se|en|o|y|ni|hay|fiebre|tos"
    r"|náuseas?|mareos?|vómitos?|síntomas?|señal\w*"
    r"|pains?|chest|tightness|pressure|shortness|breath|breathing|trouble|bleeding|blood|seizures?|dolor|pecho|sangre"
)
# Between them may also stand another sign that is itself denied: triage.py puts this mark in its place.
MASK = "\x01"
DENIED = re.compile(rf"(?:^|\s)(?:{_DENIALS}) (?:(?:{_BETWEEN}|{MASK}+),? )*{MASK}*$")
# Words that begin with a denial of their own ("can't breathe", "not moving", "no puedo respirar").
OWN_DENIAL = re.compile(
    r"(?:no|not|can'?t|cannot|won'?t|don'?t|do not|couldn'?t|unable|isn'?t|doesn'?t|sin)\b"
)
