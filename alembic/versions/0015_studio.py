"""the Studio: texts kept under a name, favourites, what is rated or tagged, and takes of listening tests

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_JSON = sa.JSON(none_as_null=True)
_TESTED = sa.text("listening_test_id IS NOT NULL")
_LIKED = sa.text("is_favorite")


def upgrade() -> None:
    op.add_column("generation", sa.Column("listening_test_id", sa.String(32), nullable=True))
    for name in ("is_rated", "is_favorite"):
        op.add_column("generation", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    order = ["owner_id", "created_at", "id"]
    op.create_index("ix_generation_by_rated", "generation", ["owner_id", "is_rated", "created_at", "id"])
    for name, where in (("ix_generation_favorite", _LIKED), ("ix_generation_of_tests", _TESTED)):
        op.create_index(name, "generation", order, sqlite_where=where, postgresql_where=where)
    _create_tables()
    op.execute(
        """UPDATE generation SET listening_test_id = (SELECT max(test_id) FROM listening_cell
        WHERE generation_id = generation.id)"""
    )
    op.execute(
        """UPDATE generation SET is_rated = EXISTS (SELECT 1 FROM take JOIN rating ON take_id = take.id
        WHERE take.generation_id = generation.id AND rating.rater_id = generation.owner_id)"""
    )
    _fill_tags()
    _recount("WHERE generation.listening_test_id IS NULL")


def _create_tables() -> None:
    def user(name: str = "owner_id", **more: bool) -> sa.Column:
        return sa.Column(name, sa.String(32), sa.ForeignKey("user.id"), **more)

    def part_of(table: str) -> sa.Column:
        key = sa.ForeignKey(f"{table}.id", ondelete="CASCADE")
        return sa.Column(f"{table}_id", sa.String(32), key, primary_key=True, index=True)

    op.create_table(
        "generation_tag",
        user(primary_key=True),
        sa.Column("tag", sa.String(32), primary_key=True),
        part_of("generation"),
    )
    op.create_table(
        "mark_state",
        user(primary_key=True),
        sa.Column("changes", sa.Integer(), nullable=False),
    )
    op.create_table(
        "favorite",
        user("user_id", primary_key=True),
        part_of("take"),
        sa.Column("created_at", _TIME, nullable=False),
    )
    op.create_table(
        "prompt_template",
        sa.Column("id", sa.String(32), primary_key=True),
        user(nullable=False),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("name_key", sa.String(120), nullable=False),
        sa.Column("prompt", sa.String(1000), nullable=False),
        sa.Column("model_id", sa.String(32), nullable=True),
        sa.Column("adapter_id", sa.String(32), nullable=True),
        sa.Column("strength", sa.Float(), nullable=False),
        sa.Column("duration_s", sa.Float(), nullable=False),
        sa.Column("n_takes", sa.Integer(), nullable=False),
        sa.Column("guidance", sa.Float(), nullable=False),
        sa.Column("temperature", sa.Float(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=True),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.UniqueConstraint("owner_id", "name_key"),
    )


def _fill_tags() -> None:
    rating = sa.table("rating", sa.column("take_id"), sa.column("rater_id"), sa.column("tags", _JSON))
    take = sa.table("take", sa.column("id"), sa.column("generation_id"), sa.column("owner_id"))
    found = sa.select(take.c.owner_id, take.c.generation_id, rating.c.tags)
    found = found.join_from(rating, take, rating.c.take_id == take.c.id)
    rows = op.get_bind().execute(found.where(rating.c.rater_id == take.c.owner_id))
    marks = {(owner, generation, tag) for owner, generation, tags in rows for tag in tags or ()}
    table = sa.table("generation_tag", sa.column("owner_id"), sa.column("generation_id"), sa.column("tag"))
    if marks:
        names = ("owner_id", "generation_id", "tag")
        op.bulk_insert(table, [dict(zip(names, mark, strict=True)) for mark in sorted(marks)])


def _recount(where: str) -> None:
    """Count takes and their ratings anew, where some are for listening tests."""
    some = sa.text("SELECT 1 FROM generation WHERE listening_test_id IS NOT NULL LIMIT 1")
    if op.get_bind().execute(some).first() is None:
        return
    of_takes = f"FROM take JOIN generation ON generation.id = take.generation_id {where}"
    counts = {
        "generation_tally": f"""SELECT owner_id, model_id, status, count(*) FROM generation {where}
            GROUP BY owner_id, model_id, status""",
        "take_tally": f"""SELECT take.owner_id, take.model_id, coalesce(mean_stars, 0), count(*) {of_takes}
            GROUP BY take.owner_id, take.model_id, coalesce(mean_stars, 0)""",
        "rating_tally": f"""SELECT take.owner_id, take.model_id, criterion, stars, count(*)
            FROM rating JOIN take ON take.id = rating.take_id
            JOIN generation ON generation.id = take.generation_id {where}
            GROUP BY take.owner_id, take.model_id, criterion, stars""",
        "criterion_tally": f"""SELECT owner_id, model_id, criterion, mean_stars, count(*) FROM (
            SELECT take.owner_id, take.model_id, criterion,
            CAST(sum(stars) AS DOUBLE PRECISION) / count(*) AS mean_stars
            FROM rating JOIN take ON take.id = rating.take_id
            JOIN generation ON generation.id = take.generation_id {where}
            GROUP BY take.id, take.owner_id, take.model_id, criterion) AS one
            GROUP BY owner_id, model_id, criterion, mean_stars""",
        "prompt_tally (owner_id, model_id, prompt_key, prompt, n_takes, n_rated, n_votes)": f"""SELECT
            generation.owner_id, generation.model_id, prompt_key, max(prompt), count(*),
            sum(CASE WHEN n_ratings > 0 THEN 1 ELSE 0 END), 0 {of_takes}
            GROUP BY generation.owner_id, generation.model_id, prompt_key""",
    }
    for table, query in counts.items():
        op.execute(f"DELETE FROM {table.split()[0]}")
        op.execute(f"INSERT INTO {table} {query}")
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    day = "substr({}, 1, 10)" if is_sqlite else "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
    day = day.format("rating.created_at")
    op.execute("DELETE FROM feedback_day WHERE kind = 'rating'")
    op.execute(
        f"""INSERT INTO feedback_day
        SELECT take.owner_id, take.model_id, {day}, rater_id, 'rating', count(*)
        FROM rating JOIN take ON take.id = rating.take_id
        JOIN generation ON generation.id = take.generation_id {where}
        GROUP BY take.owner_id, take.model_id, {day}, rater_id"""
    )
    op.execute(
        """UPDATE prompt_tally SET n_votes = (SELECT count(*) FROM preference_vote AS vote
        WHERE vote.owner_id = prompt_tally.owner_id AND vote.model_id = prompt_tally.model_id
        AND vote.prompt_key = prompt_tally.prompt_key AND vote.listening_test_id IS NULL)"""
    )


def downgrade() -> None:
    _recount("")
    for table in ("prompt_template", "favorite", "mark_state", "generation_tag"):
        op.drop_table(table)
    for index in ("ix_generation_of_tests", "ix_generation_favorite", "ix_generation_by_rated"):
        op.drop_index(index, "generation")
    for column in ("is_favorite", "is_rated", "listening_test_id"):
        op.drop_column("generation", column)
