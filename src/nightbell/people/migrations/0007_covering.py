"""Clinicians of another practice who cover nights of this one: docs/adr/0010."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import nightbell.core.ids
import nightbell.store.ids


class Migration(migrations.Migration):
    dependencies = [("people", "0006_emails_in_use")]

    operations = [
        migrations.AddField(
            "user", "home",
            models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name="guests", to=settings.AUTH_USER_MODEL),
        ),
        migrations.CreateModel(
            name="Cover",
            fields=[
                ("id", nightbell.store.ids.UlidField(default=nightbell.core.ids.new_ulid, editable=False, primary_key=True, serialize=False)),
                ("asked_at", models.DateTimeField()),
                ("accepted_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                ("ended_by", models.CharField(blank=True, default="", max_length=80)),
                ("asked_by", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
                ("guest", models.OneToOneField(null=True, on_delete=django.db.models.deletion.PROTECT, related_name="cover", to=settings.AUTH_USER_MODEL)),
                ("practice", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="covers", to="people.practice")),
                ("user", models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name="covers", to=settings.AUTH_USER_MODEL)),
            ],
            options={
                "constraints": [models.UniqueConstraint(condition=models.Q(("ended_at", None)), fields=("practice", "user"), name="one_cover_at_a_time")],
            },
        ),
        migrations.AddField("practice", "tested_number", models.CharField(blank=True, default="", max_length=20)),
    ]
