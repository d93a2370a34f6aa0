"""What granian serves."""

from __future__ import annotations

import multiprocessing
import signal
import sys

from nightbell.core.sandbox import follow_parent
from nightbell.server.django_setup import setup

# Granian's workers outlive a killed parent and would answer beside the new ones, for ever; also one that was just begun.
parent = multiprocessing.parent_process()
follow_parent(signal.SIGKILL, None if parent is None else parent.pid)
# A thread that holds SQLite's write lock waits for the interpreter after every statement; not 5 ms each time.
sys.setswitchinterval(0.0005)
setup()

from django.core.handlers.wsgi import WSGIHandler  # noqa: E402

from nightbell.core.config import load  # noqa: E402
from nightbell.server import health, wiring  # noqa: E402
from nightbell.web import callflow_sound, context  # noqa: E402
from nightbell.web.hooks import views as hooks  # noqa: E402
from nightbell.web.views import contacts  # noqa: E402

context.HEALTH = health.of_this_home
callflow_sound.DECODER, callflow_sound.SPEAKER = wiring.decoder(load()), wiring.speaker(load())
hooks.HOOKS = wiring.hooks(load())
contacts.PUSH_KEY = lambda: wiring.vapid_public_key(load())
application = WSGIHandler()
