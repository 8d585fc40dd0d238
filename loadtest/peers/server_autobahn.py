"""Autobahn|Testsuite's own echo server: PORT, and for wss CERTIFICATE KEY.

What `wstest -m echoserver` starts, which hands no certificate on. Runs under Python 2.7 and 3.
"""

import sys

if sys.version_info[0] >= 3:
    import ab_shim3  # noqa: F401
from autobahn.twisted.websocket import listenWS
from autobahntestsuite.echo import EchoServerFactory
from twisted.internet import reactor, ssl

port, files = sys.argv[1], sys.argv[2:]
tls = None
if files:
    certificate, key = files
    tls = ssl.DefaultOpenSSLContextFactory(key, certificate)
listenWS(EchoServerFactory("%s://127.0.0.1:%s" % ("wss" if files else "ws", port), False), tls)
reactor.run()
