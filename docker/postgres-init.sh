#!/bin/sh
# Run once by the postgres image, on an empty data folder (docs/operating/containers.md). It makes the two logins that
# may make other things, and nothing more: tables, roles and rights are the migrations', Temporal's schema is its own
# tool's. Neither login is a superuser, as on any hosted PostgreSQL.
set -eu

: "${TOLLGATE_OWNER_PASSWORD:?is needed for the login tollgate_owner}"
: "${TEMPORAL_DATABASE_PASSWORD:?is needed for the login temporal}"

# \getenv, not -v: arguments of a command can be read by every process of the machine.
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv owner_password TOLLGATE_OWNER_PASSWORD
\getenv temporal_password TEMPORAL_DATABASE_PASSWORD
create role tollgate_owner login createrole password :'owner_password';
create database tollgate owner tollgate_owner;
create role temporal login createdb password :'temporal_password';
SQL
