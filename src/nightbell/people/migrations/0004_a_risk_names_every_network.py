"""What a risk was accepted for names every network that calls may come from: 200 characters held the first ones."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("people", "0003_what_a_risk_covers"),
    ]

    operations = [
        migrations.AlterField(
            model_name="riskacceptance",
            name="about",
            field=models.TextField(),
        ),
    ]
