"""A way that people were told by before there were contacts stays one: their email address."""

from django.db import migrations, models
from django.utils import timezone


def take_over(apps, schema_editor):
    user_model, contact = apps.get_model("people", "User"), apps.get_model("people", "Contact")
    now = timezone.now()
    for user in user_model.objects.exclude(email=""):
        contact.objects.get_or_create(
            user=user, kind="email", address=user.email, defaults={"created_at": now, "verified_at": now}
        )


class Migration(migrations.Migration):
    dependencies = [("people", "0005_contacts_and_pins")]

    operations = [
        migrations.AddField("contact", "code_sealed", models.TextField(blank=True, default="")),
        migrations.AddField("contact", "send_at", models.DateTimeField(null=True)),
        migrations.AddField("practice", "line_test_at", models.PositiveSmallIntegerField(default=1050, null=True)),
        migrations.RunPython(take_over, migrations.RunPython.noop),
    ]
