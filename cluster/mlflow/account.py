"""Make an account in MLflow's database of accounts, or give it a new password. Called by the scripts beside it."""

from __future__ import annotations

import argparse
import os
import sys

from mlflow.server.auth import auth_config, store


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--new-password", action="store_true")
    args = parser.parse_args()
    password = os.environ["ACCOUNT_PASSWORD"]
    store.init_db(auth_config.database_uri)
    if args.new_password != store.has_user(args.name):
        found = "no account has that name: leave it out" if args.new_password else "it is there: --new-password"
        print(f"error: {args.name!r}: a new account must be new, a new password needs one; {found}", file=sys.stderr)
        sys.exit(2)
    if args.new_password:
        store.update_user(args.name, password=password)
    else:
        store.create_user(args.name, password)


if __name__ == "__main__":
    main()
