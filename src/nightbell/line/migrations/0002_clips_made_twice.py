"""Before each content has one row a place: what a race made twice becomes one."""

from typing import Any

from django.db import migrations


def join(apps: Any, schema_editor: Any) -> None:
    clips, numbers = apps.get_model("line", "Clip"), apps.get_model("line", "TryNumber")
    first: dict[tuple[str, str, str, str], str] = {}
    for row in clips.objects.order_by("id"):
        place = (row.practice_id, row.clip, row.language, row.sha256)
        if first.setdefault(place, row.id) != row.id:
            numbers.objects.filter(kept=row).update(kept_id=first[place])
            row.delete()


class Migration(migrations.Migration):
    dependencies = [("line", "0001_initial")]

    operations = [migrations.RunPython(join, migrations.RunPython.noop)]
