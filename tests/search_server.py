"""Optuna's gRPC proxy of a database, as one machine would run it for many: search_server.py URL PORT."""

from __future__ import annotations

import sys

import optuna

if __name__ == "__main__":
    storage = optuna.storages.RDBStorage(sys.argv[1], engine_kwargs={"connect_args": {"timeout": 60}})
    optuna.storages.run_grpc_proxy_server(storage, host="localhost", port=int(sys.argv[2]))
