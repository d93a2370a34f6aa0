"""Triggers that make the log append-only, on SQLite and PostgreSQL (reference: DESIGN decision 7)."""

from django.db import migrations

SQLITE = [
    """CREATE TRIGGER audit_event_no_update BEFORE UPDATE ON audit_event
       BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
    """CREATE TRIGGER audit_event_no_delete BEFORE DELETE ON audit_event
       BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
    # INSERT OR REPLACE deletes without firing delete triggers unless recursive_triggers is on, which
    # is a setting of each connection: so an insert must itself be the next leaf and nothing else.
    """CREATE TRIGGER audit_event_next_only BEFORE INSERT ON audit_event
       WHEN NEW.seq IS NOT (SELECT size FROM audit_log WHERE id = NEW.log_id)
         OR EXISTS (SELECT 1 FROM audit_event WHERE id = NEW.id)
         OR EXISTS (SELECT 1 FROM audit_event WHERE log_id = NEW.log_id AND seq = NEW.seq)
       BEGIN SELECT RAISE(ABORT, 'an audit event must be the next leaf'); END""",
    """CREATE TRIGGER audit_log_grows BEFORE UPDATE ON audit_log
       WHEN NEW.id IS NOT OLD.id OR NEW.size IS NOT OLD.size + 1 OR NEW.epoch < OLD.epoch
         OR NOT EXISTS (SELECT 1 FROM audit_event WHERE log_id = OLD.id AND seq = OLD.size)
       BEGIN SELECT RAISE(ABORT, 'a log grows by one leaf at a time'); END""",
    """CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log
       BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
    """CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log
       WHEN EXISTS (SELECT 1 FROM audit_log WHERE id = NEW.id) OR NEW.size IS NOT 0
       BEGIN SELECT RAISE(ABORT, 'a log starts empty, once'); END""",
    """CREATE TRIGGER audit_checkpoint_no_update BEFORE UPDATE ON audit_checkpoint
       BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
    """CREATE TRIGGER audit_checkpoint_no_delete BEFORE DELETE ON audit_checkpoint
       BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
    """CREATE TRIGGER audit_checkpoint_no_replace BEFORE INSERT ON audit_checkpoint
       WHEN EXISTS (SELECT 1 FROM audit_checkpoint WHERE id = NEW.id)
       BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END""",
]

POSTGRES = [
    """CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$""",
    """CREATE FUNCTION audit_next_only() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN
         IF NEW.seq IS DISTINCT FROM (SELECT size FROM audit_log WHERE id = NEW.log_id) THEN
           RAISE EXCEPTION 'an audit event must be the next leaf';
         END IF;
         RETURN NEW;
       END $$""",
    """CREATE FUNCTION audit_grows() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN
         IF NEW.id <> OLD.id OR NEW.size <> OLD.size + 1 OR NEW.epoch < OLD.epoch
            OR NOT EXISTS (SELECT 1 FROM audit_event WHERE log_id = OLD.id AND seq = OLD.size) THEN
           RAISE EXCEPTION 'a log grows by one leaf at a time';
         END IF;
         RETURN NEW;
       END $$""",
    """CREATE FUNCTION audit_starts_empty() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN
         IF NEW.size <> 0 THEN RAISE EXCEPTION 'a log starts empty, once'; END IF;
         RETURN NEW;
       END $$""",
    """CREATE TRIGGER audit_event_fixed BEFORE UPDATE OR DELETE ON audit_event
       FOR EACH ROW EXECUTE FUNCTION audit_refuse()""",
    """CREATE TRIGGER audit_event_next_only BEFORE INSERT ON audit_event
       FOR EACH ROW EXECUTE FUNCTION audit_next_only()""",
    """CREATE TRIGGER audit_log_grows BEFORE UPDATE ON audit_log
       FOR EACH ROW EXECUTE FUNCTION audit_grows()""",
    """CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log
       FOR EACH ROW EXECUTE FUNCTION audit_refuse()""",
    """CREATE TRIGGER audit_log_starts_empty BEFORE INSERT ON audit_log
       FOR EACH ROW EXECUTE FUNCTION audit_starts_empty()""",
    """CREATE TRIGGER audit_checkpoint_fixed BEFORE UPDATE OR DELETE ON audit_checkpoint
       FOR EACH ROW EXECUTE FUNCTION audit_refuse()""",
    # Row triggers do not see TRUNCATE.
    *(
        f"""CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()"""
        for table in ("audit_event", "audit_log", "audit_checkpoint")
    ),
]


def install(apps, schema_editor):
    statements = {"sqlite": SQLITE, "postgresql": POSTGRES}[schema_editor.connection.vendor]
    for statement in statements:
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]
    operations = [migrations.RunPython(install, migrations.RunPython.noop)]
