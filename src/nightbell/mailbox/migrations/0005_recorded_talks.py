import django.db.models.deletion
from django.db import migrations, models

import nightbell.core.ids
import nightbell.store.ids


class Migration(migrations.Migration):

    dependencies = [
        ('mailbox', '0004_outcomes_and_phone_notes'),
    ]

    operations = [
        migrations.CreateModel(
            name='Talk',
            fields=[
                ('id', nightbell.store.ids.UlidField(default=nightbell.core.ids.new_ulid, editable=False, primary_key=True, serialize=False)),
                ('agreed', models.BooleanField()),
                ('asked_at', models.DateTimeField()),
                ('stored_at', models.DateTimeField(null=True)),
                ('duration_ms', models.PositiveIntegerField(default=0)),
                ('interrupted', models.BooleanField(default=False)),
                ('audio_bytes', models.BigIntegerField(default=0)),
                ('wav_bytes', models.BigIntegerField(default=0)),
                ('message', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='talks', to='mailbox.message')),
            ],
        ),
        migrations.AddField(
            model_name='playgrant',
            name='talk',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='mailbox.talk'),
        ),
    ]
