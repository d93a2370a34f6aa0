"""Every address of the pages. Each view says who may come to it; `guarded` says it for allauth's."""

from __future__ import annotations

from typing import Any

from allauth.account import views as account
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as passkeys
from allauth.usersessions import views as sessions
from django.urls import URLPattern, URLResolver, path

from nightbell.web import factors
from nightbell.web.api import api_urls
from nightbell.web.doors import Door, guarded
from nightbell.web.hooks.urls import hook_urls
from nightbell.web.views import account as own
from nightbell.web.views import (
    audit,
    callflow,
    callflow_more,
    callflow_sound,
    contacts,
    covering,
    feed,
    inbox,
    message,
    message_after,
    message_call,
    numbers,
    oncall,
    oncall_hand,
    oncall_import,
    oncall_plan,
    oncall_policy,
    oncall_recording,
    oncall_swap,
    oncall_tests,
    records,
    setup,
    status,
    trunks,
)

ULID = "<str:message_id>"


def _open(route: str, view: Any, name: str) -> URLPattern:
    return path(f"account/{route}", guarded(view, Door.OPEN), name=name)


def _self(route: str, view: Any, name: str) -> URLPattern:
    return path(f"account/{route}", guarded(view, Door.SELF), name=name)


# allauth's views with our forms.
_CODE = mfa.AuthenticateView.as_view(form_class=factors.CodeForm, webauthn_form_class=factors.PasskeyForm)
_CONFIRM_CODE = mfa.ReauthenticateView.as_view(form_class=factors.ConfirmCodeForm)
_PASSKEY = passkeys.LoginWebAuthnView.as_view(form_class=factors.PasskeyLoginForm)
_CONFIRM_PASSKEY = passkeys.ReauthenticateWebAuthnView.as_view(form_class=factors.ConfirmPasskeyForm)

_ACCOUNT = [
    _open("login/", account.login, "account_login"),
    path("account/passkey/login/", own.passkey(_PASSKEY), name="mfa_login_webauthn"),
    _open("logout/", account.logout, "account_logout"),
    _open("inactive/", account.account_inactive, "account_inactive"),
    path("account/code/", own.second_factor(_CODE), name="mfa_authenticate"),
    path("account/second-factor/", own.enrol, name="enrol"),
    path("account/lost-phone/", own.lost_phone, name="lost_phone"),
    _self("", mfa.index, "mfa_index"),
    _self("confirm/", account.reauthenticate, "account_reauthenticate"),
    _self("confirm/code/", _CONFIRM_CODE, "mfa_reauthenticate"),
    _self("confirm/passkey/", _CONFIRM_PASSKEY, "mfa_reauthenticate_webauthn"),
    _self("password/", account.password_change, "account_change_password"),
    _self("app/", factors.ActivateApp.as_view(), "mfa_activate_totp"),
    _self("app/remove/", totp.deactivate_totp, "mfa_deactivate_totp"),
    _self("passkeys/", passkeys.list_webauthn, "mfa_list_webauthn"),
    _self("passkeys/add/", passkeys.add_webauthn, "mfa_add_webauthn"),
    _self("passkeys/<int:pk>/remove/", passkeys.remove_webauthn, "mfa_remove_webauthn"),
    _self("passkeys/<int:pk>/edit/", passkeys.edit_webauthn, "mfa_edit_webauthn"),
    _self("recovery/", codes.view_recovery_codes, "mfa_view_recovery_codes"),
    _self("recovery/new/", codes.generate_recovery_codes, "mfa_generate_recovery_codes"),
    _self("recovery/download/", codes.download_recovery_codes, "mfa_download_recovery_codes"),
    _self("sessions/", sessions.list_usersessions, "usersessions_list"),
    # allauth asks for these names; behind them is nothing.
    *(
        path(f"account/none/{name}/", own.gone, name=name)
        for name in (
            "account_signup", "account_email", "account_set_password", "account_reset_password",
            "account_email_verification_sent", "account_reset_password_done", "account_confirm_login_code",
        )
    ),
]  # fmt: skip

_LINE = [
    path("line/", callflow.editor, name="line"),
    path("line/edit", callflow.edit, name="line_edit"),
    path("line/publish", callflow.publish, name="line_publish"),
    path("line/discard", callflow.discard, name="line_discard"),
    path("line/number", callflow.try_number, name="line_number"),
    path("line/close", callflow.close_now, name="line_close"),
    path("line/open", callflow.reopen_now, name="line_open"),
    path("line/closure", callflow.add_closure, name="line_closure"),
    path("line/closure/<str:closure_id>/remove", callflow.remove_closure, name="line_closure_remove"),
    path("line/recording", callflow_sound.record, name="line_recording"),
    path("line/recording/number", callflow_sound.record_number, name="line_record_number"),
    path("line/recording/news", callflow_sound.news, name="line_recording_news"),
    path("line/recording/use", callflow_sound.use, name="line_use"),
    path("line/clip/<str:language>/<str:name>.wav", callflow_sound.clip, name="line_clip"),
    path("line/hear", callflow_sound.hear, name="line_hear"),
    path("line/try", callflow_more.trying, name="line_try"),
    path("line/try/step", callflow_more.try_step, name="line_try_step"),
    path("line/versions", callflow_more.versions, name="line_versions"),
    path("line/versions/<int:number>", callflow_more.version, name="line_version"),
    path("line/versions/<int:number>/back", callflow_more.bring_back, name="line_bring_back"),
    path("line/heard", callflow_more.heard, name="line_heard"),
]

_TRUNKS = [
    path("trunks/", trunks.listed, name="trunks"),
    path("trunks/states", trunks.states, name="trunk_states"),
    path("trunks/add", trunks.add, name="trunk_add"),
    path("trunks/<str:trunk_id>", trunks.edit, name="trunk"),
    path("trunks/<str:trunk_id>/remove", trunks.remove, name="trunk_remove"),
    path("trunks/<str:trunk_id>/back", trunks.back, name="trunk_back"),
    path("trunks/<str:trunk_id>/ask", trunks.ask, name="trunk_ask"),
    path("trunks/<str:trunk_id>/realm", trunks.realm, name="trunk_realm"),
    path("trunks/<str:trunk_id>/risk", trunks.risk, name="trunk_risk"),
    path("trunks/<str:trunk_id>/withdraw", trunks.withdraw, name="trunk_withdraw"),
    path("evidence/transport", trunks.evidence, name="evidence_transport"),
]

_ON_CALL = [
    path("oncall/", oncall.schedule, name="oncall"),
    path("oncall/feed/<str:secret>.ics", feed.calendar, name="oncall_feed"),
    path("oncall/override", oncall.add_override, name="add_override"),
    path("oncall/override/<str:override_id>/remove", oncall.remove_override, name="remove_override"),
    path("oncall/undo/<str:change_id>", oncall_plan.undo_change, name="undo_change"),
    path("oncall/swap", oncall_swap.swap, name="swap"),
    path("oncall/swap/<str:swap_id>/withdraw", oncall_swap.withdraw, name="swap_withdraw"),
    path("oncall/swap/<str:swap_id>/answer", oncall_swap.answer, name="swap_answer"),
    path("oncall/plan", oncall_plan.plan, name="oncall_plan"),
    path("oncall/shift", oncall_plan.add_shift, name="add_shift"),
    path("oncall/shift/<str:shift_id>/remove", oncall_plan.remove_shift, name="remove_shift"),
    path("oncall/rotation/new", oncall_plan.add_rotation, name="rotation_add"),
    path("oncall/rotation/<str:rotation_id>", oncall_plan.rotation, name="rotation"),
    path("oncall/rotation/<str:rotation_id>/remove", oncall_plan.remove_rotation, name="rotation_remove"),
    path("oncall/holiday", oncall_plan.holiday, name="oncall_holiday"),
    path("oncall/last-resort", oncall_plan.last_resort, name="last_resort"),
    path("oncall/cover/ask", covering.ask, name="cover_ask"),
    path("oncall/cover/<str:cover_id>/end", covering.send_home, name="cover_end"),
    path("oncall/schedules/add", oncall_plan.add_schedule, name="schedule_add"),
    path("oncall/schedules/<str:schedule_id>/rename", oncall_plan.rename, name="schedule_rename"),
    path("oncall/schedules/<str:schedule_id>/remove", oncall_plan.remove_schedule, name="schedule_remove"),
    path("oncall/feed", oncall_plan.make_feed, name="oncall_feed_make"),
    path("oncall/import", oncall_import.take_over, name="oncall_import"),
    path("oncall/policies", oncall_policy.policies, name="policies"),
    path("oncall/policies/usual", oncall_policy.usual, name="policy_usual"),
    path("oncall/policy/new", oncall_policy.add_policy, name="policy_add"),
    path("oncall/policy/<str:policy_id>", oncall_policy.policy, name="policy"),
    path("oncall/policy/<str:policy_id>/remove", oncall_policy.remove_policy, name="policy_remove"),
    path("oncall/route/add", oncall_policy.add_route, name="route_add"),
    path("oncall/route/<str:route_id>/remove", oncall_policy.remove_route, name="route_remove"),
    path("oncall/route/<str:route_id>/move", oncall_policy.move_route, name="route_move"),
    path("oncall/recording/allow", oncall_recording.allow, name="recording_allow"),
    path("oncall/recording/withdraw", oncall_recording.withdraw, name="recording_withdraw"),
    path("oncall/tests", oncall_tests.tests, name="oncall_tests"),
    path("oncall/tests/evening", oncall_tests.evening, name="oncall_evening"),
    path("oncall/tests/drill", oncall_tests.drill, name="oncall_drill"),
    path("oncall/group/add", oncall_policy.add_group, name="group_add"),
    path("oncall/group/<str:group_id>", oncall_policy.save_group, name="group"),
    path("oncall/group/<str:group_id>/remove", oncall_policy.remove_group, name="group_remove"),
]

# One's own, whatever the role.
_WAYS = [
    path("account/ways/", contacts.listed, name="ways"),
    path("account/ways/add", contacts.add, name="way_add"),
    path("account/ways/push", contacts.add_push, name="way_push"),
    path("account/ways/pin", contacts.pin, name="pin"),
    path("account/ways/<str:contact_id>/code", contacts.send_code, name="way_code"),
    path("account/ways/<str:contact_id>/prove", contacts.prove, name="way_prove"),
    path("account/ways/<str:contact_id>/test", contacts.test, name="way_test"),
    path("account/ways/<str:contact_id>/move", contacts.move, name="way_move"),
    path("account/ways/<str:contact_id>/silent", contacts.silence, name="way_silent"),
    path("account/ways/<str:contact_id>/remove", contacts.remove, name="way_remove"),
    path("account/covering/", covering.mine, name="covering"),
    path("account/covering/back", covering.back, name="cover_back"),
    path("account/covering/<str:cover_id>/accept", covering.accept, name="cover_accept"),
    path("account/covering/<str:cover_id>/go", covering.go, name="cover_go"),
    path("account/covering/<str:cover_id>/end", covering.end, name="cover_leave"),
    path("sw.js", contacts.worker_script, name="service_worker"),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("", inbox.inbox, name="inbox"),
    path("pulse/", inbox.pulse, name="pulse"),
    path("more/", own.more, name="more"),
    path(f"m/{ULID}/", message.message, name="message"),
    path(f"m/{ULID}/audio", message.audio, name="audio"),
    path(f"m/{ULID}/heard", message.heard, name="heard"),
    path(f"m/{ULID}/take", message.take, name="take"),
    path(f"m/{ULID}/note", message.note, name="note"),
    path(f"m/{ULID}/close", message.close, name="close"),
    path(f"m/{ULID}/call", message_call.start, name="call"),
    path(f"m/{ULID}/call/news", message_call.news, name="call_news"),
    path(f"m/{ULID}/call/<str:talk_id>/audio", message_call.talk, name="talk"),
    path(f"m/{ULID}/phone-note", message_after.sign, name="note_sign"),
    path(f"m/{ULID}/phone-note.txt", message_after.as_text, name="note_text"),
    path(f"m/{ULID}/phone-note.pdf", message_after.as_pdf, name="note_pdf"),
    path(f"m/{ULID}/phone-note.json", message_after.as_fhir, name="note_fhir"),
    path(f"m/{ULID}/hand-over", oncall_hand.hand_over, name="hand_over"),
    path(f"m/{ULID}/reopen", message.reopen, name="reopen"),
    path(f"m/{ULID}/real", message.make_real, name="make_real"),
    path("n/<str:token>", message.from_notification, name="notification"),
    path("audit/", audit.audit, name="audit"),
    path("audit/export", audit.export, name="audit_export"),
    *_ON_CALL,
    *_WAYS,
    *_LINE,
    *_TRUNKS,
    path("numbers/", numbers.shown, name="numbers"),
    path("numbers/what-if", numbers.what_if_page, name="what_if"),
    path("records/", records.shown, name="records"),
    path("records/allow", records.allow, name="records_allow"),
    path("records/withdraw", records.withdraw, name="records_withdraw"),
    path("setup/<str:token>", setup.setup, name="setup"),
    path("status/", status.status, name="status"),
    path("healthz", status.healthz, name="healthz"),
    *_ACCOUNT,
    *api_urls(),
    *hook_urls,
]
