"""Calls that a provider answers for us, and the recordings that it holds."""

import django.db.models.deletion
from django.db import migrations, models

import nightbell.core.ids
import nightbell.store.ids


class Migration(migrations.Migration):
    dependencies = [
        ("line", "0004_trunk"),
    ]

    operations = [
        migrations.CreateModel(
            name="CarrierCall",
            fields=[
                (
                    "id",
                    nightbell.store.ids.UlidField(
                        default=nightbell.core.ids.new_ulid, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("provider", models.CharField(max_length=10)),
                ("digest", models.CharField(max_length=64)),
                ("sid", models.CharField(blank=True, default="", max_length=200)),
                ("capture", models.CharField(max_length=26)),
                ("later", models.CharField(max_length=26)),
                ("turn", models.PositiveIntegerField(default=0)),
                ("sealed", models.BinaryField(null=True)),
                ("answered_at", models.DateTimeField()),
                ("seen_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                ("takes", models.PositiveIntegerField(default=0)),
                ("urgent", models.BooleanField(default=False)),
                (
                    "stage",
                    models.CharField(
                        choices=[
                            ("open", "Open"),
                            ("ended", "Ended"),
                            ("spooled", "Spooled"),
                            ("done", "Done"),
                        ],
                        default="open",
                        max_length=8,
                    ),
                ),
                ("due_at", models.DateTimeField()),
                ("attempts", models.PositiveIntegerField(default=0)),
                ("stand_in_at", models.DateTimeField(null=True)),
                ("verified_at", models.DateTimeField(null=True)),
                ("done_at", models.DateTimeField(null=True)),
                ("trouble", models.CharField(blank=True, default="", max_length=40)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("stage", "done"), _negated=True),
                        fields=["due_at"],
                        name="carrier_call_due",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("provider", "digest"), name="one_row_a_carrier_call")
                ],
            },
        ),
        migrations.CreateModel(
            name="CarrierRecording",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("take", models.PositiveIntegerField()),
                ("sid", models.CharField(blank=True, default="", max_length=80)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("completed", "Completed"),
                            ("absent", "Absent"),
                            ("lost", "Lost"),
                            ("bad", "Bad"),
                        ],
                        default="waiting",
                        max_length=10,
                    ),
                ),
                ("deleted_at", models.DateTimeField(null=True)),
                (
                    "call",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="recordings",
                        to="line.carriercall",
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("call", "take"), name="one_row_a_take")],
            },
        ),
    ]
