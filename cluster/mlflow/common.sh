# shellcheck shell=bash disable=SC2034
# What the scripts beside it share; sourced, not run. The first argument of each is the server's folder.
set -euo pipefail
umask 077

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The interpreter of the environment that requirements.txt was installed into.
PYTHON=${PYTHON:-python3}
# Keeps the current folder off Python's import path: a csv.py there would run with the server's passwords.
export PYTHONSAFEPATH=1
# Each is also the name of its role. The order in which they are backed up: `backup` says why.
DATABASES="mlflow_auth sweeps mlflow"

fail() {
    echo "error: $*" >&2
    exit 2
}

# Older ones ignore PYTHONSAFEPATH.
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "PYTHON must be Python 3.11 or newer; $PYTHON is not: set PYTHON to the interpreter of the server's environment"

# Root writes to no folder, and gives none away, that another user could replace with a link meanwhile. All folders
# above it are root's, those behind links too. In a folder where others may make files, such as /tmp, the next one on
# the path must be there and be root's.
check_parents() {
    local path above owner
    if [ "$(id -u)" != 0 ]; then return; fi
    for path in "$1" "$(realpath --canonicalize-missing "$1")"; do
        while [ "$path" != / ]; do
            above=$(dirname "$path")
            owner=$(stat --format=%U "$path" 2>/dev/null || echo 'nobody yet')
            case $(stat --format=%u%A "$above" 2>/dev/null)-$owner in
                -* | 0l* | 0d????-??-?* | 0d????????[tT]-root) ;;
                0*) fail "nobody but root may write to the folders above $1; others may write to $above, and $path" \
                    "belongs to $owner: name a folder below /srv, for example" ;;
                *) fail "root must own the folders above $1; $above belongs to $(stat --format=%U "$above"): name a" \
                    "folder below /srv, for example" ;;
            esac
            path=$above
        done
    done
}

# Runs the script again as the owner of the server's folder, if root runs it, and ends with its status. Root must follow
# no link, setting or module of a folder that somebody else may write to. The folder `lent` is the owner's meanwhile.
run_as_owner() {
    local owner group status=0 lenders mode
    # One call, as the folder may be another one at the next.
    read -r owner group <<<"$(stat --format='%u %g' "$folder")"
    if [ "$(id -u)" != 0 ]; then return; fi
    if [ -n "${lent:-}" ]; then check_parents "$lent"; fi
    if [ "$owner" = 0 ]; then
        check_parents "$folder"
        return
    fi
    if [ -n "${lent:-}" ]; then
        [ ! -L "$lent" ] || fail "root gives no link away; $lent is one: name the folder that it leads to"
        read -r lenders mode <<<"$(stat --format='%u:%g %a' "$lent")"
        # The mode comes last: its owner may change it.
        # shellcheck disable=SC2064
        trap "chown --no-dereference $lenders $(printf %q "$lent"); chmod $mode $(printf %q "$lent")" EXIT
        chown --no-dereference "$owner:$group" "$lent"
    fi
    # Without root's other variables, and without root's terminal, which the owner's process could read and type into:
    # a session of its own has none, and `printable` alone writes there, also after Ctrl-C.
    {
        { as_owner "$@" 2>&3 3>&- 4>&- </dev/null | (trap '' INT && printable >&4 3>&-); } 3>&1 |
            (trap '' INT && printable >&2 4>&-)
    } 4>&1 || status=$?
    exit "$status"
}

# Copies its input, with ? for each byte that is no printable ASCII, newline or tab. A terminal obeys control characters.
printable() {
    LC_ALL=C stdbuf --output=0 tr --complement '\n\t -~' '?'
}

# The arguments are those of the script; the variables `owner` and `group` say as whom.
as_owner() {
    local name
    for name in $(compgen -e); do
        case "$name" in
            # Passwords of root's own are not for the owner, who can read the environment of the process.
            MLFLOW_TRACKING_*) unset "$name" ;;
            PATH | PYTHON | LANG | LC_* | TZ | ACCOUNT_PASSWORD | BACKUP_BEGUN | PGSSL* | MLFLOW_*) ;;
            *) unset "$name" ;;
        esac
    done
    cd / && exec setsid --wait setpriv --reuid="$owner" --regid="$group" --clear-groups -- "$here/${0##*/}" "$@"
}

# The server's folder, which `setup` has made. All arguments of the script.
open_folder() {
    folder=${1:-}
    [ -n "$folder" ] && [ -f "$folder/server.env" ] ||
        fail "the first argument must be a folder that setup has made; given '$folder': run $here/setup $folder"
    folder=$(cd "$folder" && pwd)
    run_as_owner "$folder" "${@:2}"
    read_settings
}

read_settings() {
    read_env "$folder/server.env"
    read_env "$folder/settings.env"
    # While PostgreSQL is down, any user of its host can take its port. psycopg then refuses to send the password in the
    # clear or as MD5. With SCRAM the password is never sent, and the server proves that it knows it.
    export PGREQUIREAUTH=scram-sha-256
}

# Lines of NAME=VALUE, as systemd reads them too. What stands in the environment already, stays.
read_env() {
    local line name value
    while read -r line || [ -n "$line" ]; do
        case "$line" in '' | '#'*) continue ;; esac
        name=${line%%=*} value=${line#*=}
        # Nothing that changes how programs start, such as LD_PRELOAD.
        [[ $name =~ ^((MLFLOW|AWS|AZURE|GOOGLE|GCLOUD)_[A-Z0-9_]+|DATABASE_SERVER)$ ]] ||
            fail "a setting must be named MLFLOW_..., AWS_..., AZURE_..., GOOGLE_... or GCLOUD_...; $1 has" \
                "$(printf %q "${name:0:60}"): remove the line, or set it in the server's environment"
        [ "$name" != DATABASE_SERVER ] || [[ $value =~ ^[A-Za-z0-9.:_-]+$ ]] ||
            fail "DATABASE_SERVER must be a host and a port; $1 has $(printf %q "${value:0:60}"): correct the line"
        if [ -z "${!name+set}" ]; then export "$name=$value"; fi
    done <"$1"
}

# The password of a role, from the one line that names it.
secret_of() {
    local line secret
    line=$(grep --max-count=1 ":$1:$1:" "$folder/pgpass") || fail "$folder/pgpass must have a line for the role '$1'"
    secret=${line##*:}
    [[ $secret =~ ^[A-Za-z0-9._~-]{12,}$ ]] || fail "the password of '$1' in $folder/pgpass must have at least 12" \
        "letters, digits and . _ ~ - of ASCII: correct the line"
    printf %s "$secret"
}

# Where a database is, for psql and its kin. The password is in a file, so this may be shown.
uri() {
    echo "postgresql://$1@$DATABASE_SERVER/$1?passfile=$folder/pgpass"
}

# The same for SQLAlchemy.
sqlalchemy_uri() {
    echo "postgresql+psycopg://$1@$DATABASE_SERVER/$1?passfile=$folder/pgpass"
}

# A program with the passwords of the roles alone. PGPASSWORD would have precedence over the file, and would go to
# whatever server the folder names.
with_pgpass() {
    env --unset=PGPASSWORD --unset=PGPASSFILE --unset=PGUSER "$@"
}

query() {
    with_pgpass "$PYTHON" "$here/query.py" "$(uri "$1")" "$2"
}

# Ends the script unless the server of a database answers, and proves that it knows the role's password.
reach() {
    query "$1" 'SELECT 1' >/dev/null || fail "PostgreSQL must be up at $DATABASE_SERVER: the reason is above"
}

# A program of PostgreSQL on a database: on_database NAME PROGRAM [ARGUMENT...]. Before version 16 these programs do not
# know PGREQUIREAUTH.
on_database() {
    reach "$1"
    with_pgpass "${@:2}" --no-password --dbname="$(uri "$1")"
}

# Backup, restore and clean-up exclude each other: what one reads, another deletes.
lock() {
    exec 9>"$folder/lock"
    flock --nonblock 9 || fail "one backup, restore or clean-up at a time: wait for the other one on $folder"
}

# The folder that artifacts are in; empty if it is a bucket.
artifact_folder() {
    case "$MLFLOW_ARTIFACTS_DESTINATION" in
        file://*) echo "${MLFLOW_ARTIFACTS_DESTINATION#file://}" ;;
        *://*) ;;
        *) echo "$MLFLOW_ARTIFACTS_DESTINATION" ;;
    esac
}

# A password of the environment, or one of 192 random bits.
password() {
    local given=${1:-}
    if [ -z "$given" ]; then
        head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n'
    elif [[ $given =~ ^[A-Za-z0-9._~-]{12,}$ ]]; then
        printf %s "$given"
    else
        fail "a password must have at least 12 letters, digits and . _ ~ - of ASCII, as it is read from several" \
            "kinds of file; $2 has something else: choose another"
    fi
}

# Makes an account, or gives one a new password, which is in ACCOUNT_PASSWORD.
set_account() {
    # MLflow itself would try for an hour.
    reach mlflow_auth
    # What MLflow says while it starts is of no use here.
    MLFLOW_AUTH_CONFIG_PATH=$folder/basic_auth.ini PYTHONWARNINGS=ignore MLFLOW_LOGGING_LEVEL=WARNING \
        "$PYTHON" "$here/account.py" "$@"
}
