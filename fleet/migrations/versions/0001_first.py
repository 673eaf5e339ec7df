"""Devices, their windows, and the windows' sums by hour."""

from alembic import op

revision = "0001"
down_revision = None

_READINGS = ", ".join(f"{half}{i} {{kind}} NOT NULL DEFAULT 0" for half in "re" for i in range(1, 8))
_PUBLISHED = ", ".join(f"p{i} SMALLINT" for i in range(1, 8))

DEVICE = """
CREATE TABLE device (
    device TEXT PRIMARY KEY,
    name TEXT, site TEXT, region TEXT, grp TEXT,
    state TEXT, session TEXT, camera TEXT, trouble TEXT, problem BOOLEAN, paused BOOLEAN,
    info TEXT, health TEXT,
    status_ms BIGINT, health_ms BIGINT, window_ms BIGINT
)
"""
MODEL = "CREATE TABLE model (model TEXT PRIMARY KEY, labels TEXT NOT NULL)"
WINDOW = f"""
CREATE TABLE {{name}} (
    device TEXT NOT NULL, session TEXT NOT NULL, seq BIGINT NOT NULL, start_ms BIGINT NOT NULL,
    window_s REAL NOT NULL, suppressed BOOLEAN NOT NULL, people INTEGER,
    model TEXT NOT NULL, familiar REAL, quality REAL, gated TEXT,
    {_READINGS.format(kind="SMALLINT")}, {_PUBLISHED},
    PRIMARY KEY (device, session, seq{{more}})
)
"""
HOUR = f"""
CREATE TABLE hour (
    device TEXT NOT NULL, hour BIGINT NOT NULL, model TEXT NOT NULL,
    windows BIGINT NOT NULL, suppressed BIGINT NOT NULL, published BIGINT NOT NULL, people BIGINT NOT NULL,
    familiar DOUBLE PRECISION NOT NULL, quality DOUBLE PRECISION NOT NULL,
    {_READINGS.format(kind="BIGINT")},
    PRIMARY KEY (device, hour, model)
)
"""


def upgrade() -> None:
    """PostgreSQL keeps the windows of each day in a table of its own; days far off share one."""
    postgres = op.get_bind().dialect.name == "postgresql"
    for statement in (DEVICE, MODEL, HOUR):
        op.execute(statement)
    op.execute(WINDOW.format(name='"window"', more=", start_ms") + " PARTITION BY RANGE (start_ms)" * postgres)
    op.execute(WINDOW.format(name="undated", more=""))
    if postgres:
        op.execute('CREATE TABLE window_rest PARTITION OF "window" DEFAULT')
    op.execute("CREATE INDEX hour_by_time ON hour (hour, device)")


def downgrade() -> None:
    """Everything goes."""
    for table in ('"window"', "undated", "hour", "model", "device"):
        op.execute(f"DROP TABLE {table}")
