"""Measures proxies beside each other: the same work, the same cores, taking turns."""

import os
from pathlib import Path

# OpenSSL reads it once, when it is first used here and in the clients that we start.
os.environ["OPENSSL_CONF"] = str(Path(__file__).with_name("client.cnf"))
