"""A recording has one row a place and content."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("line", "0002_clips_made_twice")]

    operations = [
        migrations.AddConstraint(
            model_name="clip",
            constraint=models.UniqueConstraint(
                fields=("practice", "clip", "language", "sha256"), name="one_clip_a_content"
            ),
        ),
    ]
