-- Runs once, in a new PostgreSQL: genmeter's role, which owns its database and can do nothing else.
\set password `cat /run/secrets/accounts_password`
CREATE ROLE genmeter LOGIN PASSWORD :'password';
CREATE DATABASE genmeter OWNER genmeter;
