import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('mailbox', '0003_promises_that_ran_out'),
    ]

    operations = [
        migrations.CreateModel(
            name='Shown',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('since', models.DateTimeField()),
                ('message', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='shown_to', to='mailbox.message')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('message', 'user'), name='one_showing_a_person')],
            },
        ),
        migrations.AddField(
            model_name='number',
            name='staff',
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name='message',
            name='dialled',
            field=models.CharField(blank=True, default='', max_length=40),
        ),
        migrations.AddField(
            model_name='message',
            name='tried_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='note',
            name='kind',
            field=models.CharField(choices=[('note', 'Note'), ('phone-note', 'Phone')], default='note', max_length=10),
        ),
        migrations.AlterField(
            model_name='message',
            name='outcome',
            field=models.CharField(blank=True, choices=[('reached', 'Reached'), ('left_word', 'Left Word'), ('wrong_number', 'Wrong Number'), ('emergency', 'Emergency'), ('no_call_needed', 'No Call Needed'), ('no_answer', 'No Answer')], default='', max_length=16),
        ),
    ]
