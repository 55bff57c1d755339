"""Print the rows of a statement: `query.py URI STATEMENT`. Called by the scripts beside it.

psycopg brings its own libpq, which obeys PGREQUIREAUTH. The libpq of psql may be older, and ignore it.
"""

from __future__ import annotations

import sys

import psycopg


def main() -> None:
    uri, statement = sys.argv[1:]
    try:
        with psycopg.connect(uri, autocommit=True) as connection:
            answer = connection.execute(statement.encode())
            for row in answer if answer.description else ():
                print(*row, sep="|")
    except psycopg.Error as error:
        # The text may be another server's.
        said = "".join(each if each.isprintable() or each == "\n" else "?" for each in str(error))
        sys.exit(f"PostgreSQL: {said}")


if __name__ == "__main__":
    main()
