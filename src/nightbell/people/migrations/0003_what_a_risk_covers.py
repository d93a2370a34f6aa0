"""A risk is accepted for all that decides who may call, not for words that name a part of it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("people", "0002_risk_acceptance"),
    ]

    operations = [
        migrations.AddField(
            model_name="riskacceptance",
            name="covers",
            field=models.CharField(default="", max_length=64),
        ),
    ]
